//! A service that is bound ([`BoundServer`]) and one that runs on its own thread ([`Serving`]).

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use tallies_names::getters;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::Error;

use super::connection::{DRAIN, Host, serve};
use super::listen::Listener;

/// The addresses of a service, and the parts of its URLs.
#[derive(Clone, Debug)]
struct Endpoint {
    addresses: Vec<SocketAddr>,
    secure: bool,
    path: String,
    /// A clone of [`Host::open`], to count the connections.
    open: Arc<()>,
}

impl Endpoint {
    fn url(&self, path: &str) -> String {
        match self.addresses.first() {
            Some(address) if self.secure => format!("https://{address}{path}"),
            Some(address) => format!("http://{address}{path}"),
            // A client of a Unix socket passes this URL beside the path of the socket.
            None => format!("http://localhost{path}"),
        }
    }
}

/// A service whose addresses are bound. It serves on its own thread after [`start`](Self::start),
/// or in the program's runtime with [`run`](Self::run). Dropping it closes its sockets.
///
/// ```
/// use tallies::serve::Server;
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
#[must_use = "a bound server closes its sockets when it is dropped"]
pub struct BoundServer {
    listeners: Vec<Listener>,
    host: Host,
    endpoint: Endpoint,
}

impl BoundServer {
    pub(super) fn new(listeners: Vec<Listener>, host: Host, secure: bool) -> Self {
        let address = |listener: &Listener| match listener {
            Listener::Tcp(_, address) => Some(*address),
            #[cfg(unix)]
            Listener::Unix(..) => None,
        };
        let endpoint = Endpoint {
            addresses: listeners.iter().filter_map(address).collect(),
            secure,
            path: host.routes.path.clone(),
            open: Arc::clone(&host.open),
        };
        Self {
            listeners,
            host,
            endpoint,
        }
    }

    getters! {
        /// Returns the TCP addresses, with the actual port where port 0 was requested.
        fn addresses(&self) -> &[SocketAddr] = &self.endpoint.addresses;

        /// Returns the URL of the metrics page at the first address.
        fn metrics_url(&self) -> String = self.endpoint.url(&self.endpoint.path);
    }

    /// Adds hosts that requests may name, as [`Server::hosts`](crate::serve::Server::hosts) does,
    /// when the addresses are known.
    ///
    /// ```
    /// let mut bound = tallies::serve::Server::new().address("127.0.0.1:0").bind()?;
    /// if bound.addresses().iter().all(|address| address.ip().is_loopback()) {
    ///     bound = bound.hosts(["localhost", "127.0.0.1"]);
    /// }
    /// # drop(bound);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let hosts = hosts.into_iter().map(Into::into);
        self.host.routes.hosts.0.extend(hosts);
        self
    }

    /// Serves on a thread of its own, until [`Serving::stop`] or until the program ends.
    ///
    /// # Errors
    ///
    /// Returns an error if the thread or its runtime cannot be created, for example because the
    /// process has no file descriptors left.
    pub fn start(self) -> Result<Serving, Error> {
        let failed = |e| Error::with_cause("cannot start the metrics service", e);
        let (stop, stopped) = watch::channel(false);
        let (listeners, host, endpoint) = (self.listeners, Arc::new(self.host), self.endpoint);
        let (sender, built) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("tallies-serve".to_owned())
            .spawn(move || {
                // The runtime is built and dropped on this thread, because the caller may be async
                // code, which can do neither.
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(host.routes.threads(host.limits.scrapes))
                    .thread_name("tallies-scrape")
                    .build();
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(e) => return drop(sender.send(Err(e))),
                };
                let _ = sender.send(Ok(()));
                let mut stop = stopped.clone();
                let ((), since) = runtime.block_on(async {
                    tokio::join!(serve(listeners, host, stopped), async {
                        let _ = stop.wait_for(|stop| *stop).await;
                        Instant::now()
                    })
                });
                // A hanging collector gets only the rest of `DRAIN`, which began at the stop.
                runtime.shutdown_timeout(DRAIN.saturating_sub(since.elapsed()));
            })
            .map_err(failed)?;
        let built = built.recv();
        if let Err(e) = built.unwrap_or_else(|e| Err(io::Error::other(e))) {
            // Joining the thread makes sure that its listeners are closed.
            let _ = thread.join();
            return Err(failed(e));
        }
        Ok(Serving {
            endpoint,
            stop,
            thread,
        })
    }

    /// Serves in the current Tokio runtime until `until` completes.
    ///
    /// The service then accepts no more connections and waits up to 2 s for responses in flight.
    /// Dropping the future ends the service at once. Pages are rendered on the runtime's blocking
    /// threads.
    ///
    /// # Errors
    ///
    /// Returns an error if it is awaited outside a Tokio runtime.
    ///
    /// # Panics
    ///
    /// Panics if the runtime has no I/O driver or no timer. Build it with `enable_all`.
    pub async fn run(self, until: impl Future<Output = ()>) -> Result<(), Error> {
        if Handle::try_current().is_err() {
            let why = "the metrics service needs a Tokio runtime; without one, `start` runs it on a \
                       thread of its own";
            return Err(Error::new(why));
        }
        let (stop, stopped) = watch::channel(false);
        let serving = serve(self.listeners, Arc::new(self.host), stopped);
        let ending = async {
            until.await;
            // An error means that the service has already ended.
            let _ = stop.send(true);
        };
        tokio::join!(serving, ending);
        Ok(())
    }
}

impl Debug for BoundServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoundServer")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// A service that runs on a thread of its own. Dropping this value leaves the service running.
///
/// ```
/// let serving = tallies::serve("127.0.0.1:0")?;
/// assert_eq!(serving.connections(), 0);
/// assert!(serving.metrics_url().ends_with("/metrics"));
/// serving.stop();
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Debug)]
pub struct Serving {
    endpoint: Endpoint,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Returns the first TCP address, with the actual port, or `0.0.0.0:0` if the service only
    /// listens on Unix sockets.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let none = (Ipv4Addr::UNSPECIFIED, 0).into();
        self.endpoint.addresses.first().copied().unwrap_or(none)
    }

    getters! {
        /// Returns the TCP addresses, with the actual ports. The address of
        /// [`Server::listen`](crate::serve::Server::listen) comes first, then the others in the
        /// order in which they were added.
        fn addresses(&self) -> &[SocketAddr] = &self.endpoint.addresses;

        /// Returns the URL of the small page that links to the metrics. It suits health checks,
        /// because it runs no collector.
        fn root_url(&self) -> String = self.endpoint.url("/");

        /// Returns the URL of the metrics page at the first address.
        fn metrics_url(&self) -> String = self.endpoint.url(&self.endpoint.path);

        /// Returns the number of connections that are open now.
        // One reference is held here and one by the host, as long as it lives. The rest are
        // connections.
        fn connections(&self) -> usize = Arc::strong_count(&self.endpoint.open).saturating_sub(2);
    }

    /// Stops the service: it accepts no more connections, waits up to 2 s for responses in flight,
    /// and closes its sockets.
    ///
    /// A socket from [`Server::listener`](crate::serve::Server::listener) stays bound as long as
    /// any holder keeps it open. The [`Server`](crate::serve::Server) that it was passed to is one
    /// of the holders.
    pub fn stop(self) {
        // An error from either call means that the thread has already ended.
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

    use crate::serve::Server;
    use crate::snapshot::{Snapshot, Source};

    /// A source that blocks until the test opens it.
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

    /// Counts the threads of this process that render pages. No other test in this binary has any.
    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        tasks
            .filter_map(|task| name(task.ok()?).ok())
            .filter(|name| name.trim_end() == "tallies-scrape")
            .count()
    }

    /// The service once rendered four pages at once, whatever the limit was.
    #[test]
    fn as_many_scrapes_as_were_asked_for() {
        let gate = Gate::default();
        let server = Server::new().registry(&gate).concurrent_scrapes(7);
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

    /// A thread that could not be created once caused a panic in an async program.
    #[test]
    fn no_thread_is_an_error() {
        // No address space can hold such a stack, even if the system overcommits its memory.
        let (variable, stack) = ("RUST_MIN_STACK", (1_u64 << 60).to_string());
        if std::env::var(variable).as_ref() == Ok(&stack) {
            return without_threads();
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "serve::server::serving::tests::no_thread_is_an_error",
            ])
            .arg("--test-threads=1")
            .env(variable, stack)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed"), "{said}");
    }

    fn without_threads() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let error = runtime.unwrap().block_on(async {
            let server = Server::new().registry(&Gate::default());
            server.listen("127.0.0.1:0").unwrap_err()
        });
        assert!(error.to_string().contains("cannot start"), "{error}");
    }
}
