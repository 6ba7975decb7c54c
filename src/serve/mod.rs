//! The scrape endpoint over HTTP, on a thread of its own: for sync and async programs alike.

mod http;
mod scrape;

use std::fmt::Debug;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::Error;
use crate::snapshot::Source;

use http::Routes;
use scrape::Scraper;

/// How long `stop` waits for answers that are under way.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves metrics over HTTP. [`tallies::serve`](crate::serve()) is its short form.
///
/// ```
/// use tallies::{Registry, Server};
///
/// let registry = Registry::new();
/// let serving = Server::new().registry(&registry).path("/metrics").listen("127.0.0.1:0")?;
/// println!("{}", serving.metrics_url());
/// serving.stop();
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone)]
pub struct Server {
    sources: Vec<Arc<dyn Source>>,
    /// Whether the sources are those of `new`, which the first `registry` replaces.
    default: bool,
    path: String,
}

impl Server {
    /// A server of what `source` gives, until [`registry`](Self::registry) says otherwise.
    pub(crate) fn of(source: Arc<dyn Source>) -> Self {
        Self {
            sources: vec![source],
            default: true,
            path: "/metrics".to_owned(),
        }
    }

    /// Serves this registry instead of the default one; called again, several as one page.
    #[must_use]
    pub fn registry<S: Source + Clone + 'static>(mut self, registry: &S) -> Self {
        if std::mem::take(&mut self.default) {
            self.sources.clear();
        }
        self.sources.push(Arc::new(registry.clone()));
        self
    }

    /// The path of the page; `/metrics` without this. Any other path but `/` and `/robots.txt` is 404.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// Binds the address and serves until [`Serving::stop`], or for as long as the program runs. Port 0 takes a free
    /// one.
    ///
    /// # Errors
    ///
    /// An address that cannot be bound, which the message names; a path that does not begin with `/`. The program goes
    /// on either way, and may try again.
    pub fn listen(&self, address: impl ToSocketAddrs + Debug) -> Result<Serving, Error> {
        if !self.path.starts_with('/') {
            return Err(Error::path(&self.path, "has to begin with `/`"));
        }
        if self.path.contains(['?', '#', ' ']) || self.path == "/robots.txt" {
            return Err(Error::path(
                &self.path,
                "has to be a path of its own, without a query",
            ));
        }
        let named = format!("{address:?}");
        let bound = TcpListener::bind(address)
            .and_then(|listener| {
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                Ok((listener, address))
            })
            .map_err(|e| Error::bind(named.trim_matches('"'), e));
        let (listener, address) = bound?;
        let scraper = Arc::new(Scraper::new(self.sources.clone()));
        let routes = Arc::new(Routes::new(scraper, &self.path));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .thread_name("tallies-scrape")
            .build()
            .map_err(|e| Error::serve("cannot start the metrics service", e))?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("tallies-serve".to_owned())
            .spawn(move || {
                runtime.block_on(http::serve(listener, routes, stopped));
                runtime.shutdown_timeout(DRAIN);
            })
            .map_err(|e| Error::serve("cannot start the metrics service", e))?;
        Ok(Serving {
            address,
            path: self.path.clone(),
            stop,
            thread,
        })
    }
}

impl Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("registries", &self.sources.len())
            .field("path", &self.path)
            .finish()
    }
}

/// A service that runs. Dropping this leaves it running.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    path: String,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Serving {
    /// The address it listens on, with the port that was found.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the small page that says where the metrics are; for health checks, as it runs no collector.
    #[must_use]
    pub fn root_url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Where to scrape.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// Takes no more connections, waits up to 2 s for answers under way, and gives the address back.
    pub fn stop(self) {
        // An error means that the thread has ended already, as does one from joining.
        let _ = self.stop.send(true);
        let _ = self.thread.join();
    }
}
