//! A service that is bound, and one that runs.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::Error;

use super::connection::{DRAIN, Host, serve};
use super::listen::Listener;

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
        let (stop, stopped) = watch::channel(false);
        let (listeners, host, place) = (self.listeners, Arc::new(self.host), self.place);
        let (told, built) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("tallies-serve".to_owned())
            .spawn(move || {
                // Built and dropped here: an async program, which may be the caller, can do neither.
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(host.limits.scrapes)
                    .thread_name("tallies-scrape")
                    .build();
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(e) => {
                        let _ = told.send(Err(e));
                        return;
                    }
                };
                let _ = told.send(Ok(()));
                let mut stop = stopped.clone();
                let ((), since) = runtime.block_on(async {
                    tokio::join!(serve(listeners, host, stopped), async {
                        let _ = stop.wait_for(|stop| *stop).await;
                        Instant::now()
                    })
                });
                // A collector that hangs gets what is left of the time.
                runtime.shutdown_timeout(DRAIN.saturating_sub(since.elapsed()));
            })
            .map_err(failed)?;
        let built = built.recv();
        if let Err(e) = built.unwrap_or_else(|e| Err(io::Error::other(e))) {
            // Then nothing is bound any more.
            let _ = thread.join();
            return Err(failed(e));
        }
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

    /// Takes no more connections, waits up to 2 s for answers under way, and gives the addresses back. A socket that was
    /// [given](crate::Server::listener) stays bound while anybody has it, the server that it was given to among them.
    pub fn stop(self) {
        // An error means that the thread has ended already, as does one from joining.
        let _ = self.stop.send(true);
        let _ = self.thread.join();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use crate::Server;
    use crate::snapshot::{Snapshot, Source};

    /// A source that hangs until it is opened.
    #[derive(Clone, Default)]
    struct Gate(super::Arc<(Mutex<bool>, Condvar)>);

    impl Gate {
        fn open(&self) {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.0.1.notify_all();
        }
    }

    impl Source for Gate {
        fn snapshot_into(&self, _: &mut Snapshot) {
            let open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.0.1.wait_while(open, |open| !*open));
        }
    }

    /// Threads of this process that make pages; no other test here has any.
    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        tasks
            .filter_map(|task| name(task.ok()?).ok())
            .filter(|name| name.trim_end() == "tallies-scrape")
            .count()
    }

    /// As many pages are being made at once as were asked for: it was four, whatever was asked for.
    #[test]
    fn as_many_scrapes_as_were_asked_for() {
        let gate = Gate::default();
        let server = Server::new().registry(&gate).scrapes(7);
        let serving = server.listen("127.0.0.1:0").unwrap();
        let mut clients: Vec<_> = (0..9)
            .map(|_| TcpStream::connect(serving.address()).unwrap())
            .collect();
        for client in &mut clients {
            client
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .unwrap();
        }
        let end = Instant::now() + Duration::from_secs(30);
        while threads() < 7 && Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(threads(), 7);
        gate.open();
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        serving.stop();
    }

    /// A thread that cannot be had is an error, also in an async program: it was a panic there.
    #[test]
    fn no_thread_is_an_error() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve::serving::tests::without_threads"])
            .args(["--ignored", "--test-threads=1"])
            // No address space has room for such a stack, whatever the system promises beyond its memory.
            .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "run by no_thread_is_an_error"]
    fn without_threads() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let error = runtime.unwrap().block_on(async {
            let server = Server::new().registry(&Gate::default());
            server.listen("127.0.0.1:0").unwrap_err()
        });
        assert!(error.to_string().contains("cannot start"), "{error}");
    }
}
