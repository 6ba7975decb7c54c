//! A service that is bound, and one that runs.

use std::fmt::Debug;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::Error;

use super::connection::{DRAIN, Host, serve};
use super::listen::Listener;

/// Threads on which pages are made, of a service on a thread of its own.
const SCRAPE_THREADS: usize = 4;

/// Where a service is.
#[derive(Clone, Debug)]
struct Place {
    addresses: Vec<SocketAddr>,
    secure: bool,
    path: String,
    open: Arc<()>,
}

impl Place {
    /// The first address; an empty one where there are only Unix sockets.
    fn address(&self) -> SocketAddr {
        let none = (Ipv4Addr::UNSPECIFIED, 0).into();
        self.addresses.first().copied().unwrap_or(none)
    }

    fn url(&self, path: &str) -> String {
        match self.addresses.first() {
            Some(address) if self.secure => format!("https://{address}{path}"),
            Some(address) => format!("http://{address}{path}"),
            // What a client of a Unix socket is told beside the socket.
            None => format!("http://localhost{path}"),
        }
    }
}

/// A service whose addresses are bound: [`start`](Self::start) it on a thread of its own, or [`run`](Self::run) it in
/// the program's runtime. Dropping this gives the addresses back.
///
/// ```
/// use tallies::Server;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tallies::Error> {
/// let bound = Server::new().address("127.0.0.1:0").bind()?;
/// println!("{}", bound.metrics_url());
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let running = tokio::spawn(bound.run(async { _ = stopped.await }));
/// // …
/// drop(stop);
/// running.await.unwrap()
/// # }
/// ```
pub struct Bound {
    listeners: Vec<Listener>,
    host: Host,
    place: Place,
}

impl Bound {
    pub(super) fn new(listeners: Vec<Listener>, host: Host, secure: bool) -> Self {
        let address = |listener: &Listener| match listener {
            Listener::Tcp(_, address) => Some(*address),
            #[cfg(unix)]
            Listener::Unix(..) => None,
        };
        let place = Place {
            addresses: listeners.iter().filter_map(address).collect(),
            secure,
            path: host.routes.path.clone(),
            open: Arc::clone(&host.open),
        };
        Self {
            listeners,
            host,
            place,
        }
    }

    /// The TCP addresses, with the ports that were found.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.place.addresses
    }

    /// Where to scrape: the first address.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        self.place.url(&self.place.path)
    }

    /// Serves on a thread of its own, until [`Serving::stop`] or for as long as the program runs.
    ///
    /// # Errors
    ///
    /// A thread or a runtime that cannot be had, as when the program has no file descriptors left.
    pub fn start(self) -> Result<Serving, Error> {
        let failed = |e| Error::serve("cannot start the metrics service", e);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(SCRAPE_THREADS)
            .thread_name("tallies-scrape")
            .build()
            .map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let (listeners, host, place) = (self.listeners, Arc::new(self.host), self.place);
        let thread = std::thread::Builder::new()
            .name("tallies-serve".to_owned())
            .spawn(move || {
                runtime.block_on(serve(listeners, host, stopped));
                runtime.shutdown_timeout(DRAIN);
            })
            .map_err(failed)?;
        Ok(Serving {
            place,
            stop,
            thread,
        })
    }

    /// Serves in the runtime that this is awaited in, until `until` is ready; then takes no more connections and waits up
    /// to 2 s for answers under way. Dropping the future ends the service at once.
    ///
    /// Pages are made among the runtime's blocking threads.
    ///
    /// # Errors
    ///
    /// No Tokio runtime around it.
    ///
    /// # Panics
    ///
    /// A runtime without I/O or without time: `enable_all` is what it needs.
    pub async fn run(self, until: impl Future<Output = ()>) -> Result<(), Error> {
        if Handle::try_current().is_err() {
            return Err(Error::service(
                "the metrics service runs in a Tokio runtime, or on a thread of its own with `start`",
            ));
        }
        let (stop, stopped) = watch::channel(false);
        let serving = serve(self.listeners, Arc::new(self.host), stopped);
        let ending = async {
            until.await;
            // An error means that nobody serves any more.
            let _ = stop.send(true);
        };
        tokio::join!(serving, ending);
        Ok(())
    }
}

impl Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// A service that runs on a thread of its own. Dropping this leaves it running.
#[derive(Debug)]
pub struct Serving {
    place: Place,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Serving {
    /// The first TCP address, with the port that was found; `0.0.0.0:0` where it only listens on Unix sockets.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.place.address()
    }

    /// The TCP addresses, with the ports that were found: first that of [`Server::listen`](crate::Server::listen), then in
    /// the order they were named.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.place.addresses
    }

    /// The address of the small page that says where the metrics are; for health checks, as it runs no collector.
    #[must_use]
    pub fn root_url(&self) -> String {
        self.place.url("/")
    }

    /// Where to scrape: the first address.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        self.place.url(&self.place.path)
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        // This one, and that of the host while it lives, are no connections.
        Arc::strong_count(&self.place.open).saturating_sub(2)
    }

    /// Takes no more connections, waits up to 2 s for answers under way, and gives the addresses back.
    pub fn stop(self) {
        // An error means that the thread has ended already, as does one from joining.
        let _ = self.stop.send(true);
        let _ = self.thread.join();
    }
}
