//! What is served, where, to whom, and within which limits.

use std::fmt::Debug;
use std::net::{TcpListener, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
#[cfg(any(unix, feature = "tls"))]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::sync::Semaphore;

use crate::encode::Options;
use crate::error::Error;
use crate::snapshot::Source;

use super::answer::{PAGES, Pages, SCRAPES};
use super::auth::Credentials;
use super::connection::{Host, Limits};
use super::listen::{Address, Listener, tcp};
use super::routes::{Hosts, Routes};
use super::seats::Seats;
use super::serving::{Bound, Serving};

/// Times beyond this are this: what clocks can add to now.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Paths that are not the page's.
const TAKEN: [&str; 4] = ["/", "/robots.txt", "/-/healthy", "/-/ready"];

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
///
/// Beside the page it answers at `/`, with a link to the page, at `/robots.txt`, and at `/-/healthy` and `/-/ready`,
/// with `ok`; none of these runs a collector. Anything else is 404, and methods other than GET and HEAD are 405.
///
/// # Limits
///
/// What a client can cost is bounded: 16 KB for a request's head, 10 s until that has arrived
/// ([`head_timeout`](Self::head_timeout)), 256 connections at once, of which the longest idle makes room for a new one
/// ([`connections`](Self::connections)), 60 s of life for each ([`connection_age`](Self::connection_age)), 4 pages being
/// made at once ([`scrapes`](Self::scrapes)), 30 s until a page is made, and 30 s until it is taken
/// ([`answer_timeout`](Self::answer_timeout)); and 128 MiB for all pages that are being read
/// ([`page_memory`](Self::page_memory)). Of an answer the kernel holds 256 KiB at most. A page that is not made within its
/// time, or within nine tenths of what the header `X-Prometheus-Scrape-Timeout-Seconds` leaves, is a 503. Requests at once
/// share passes and pages. A connection is closed after a refusal, and after a probe.
///
/// # Exposing the endpoint
///
/// Within these limits the following remains, and is for a firewall or a proxy where strangers reach the port:
///
/// - Whoever may scrape can have pages made without a pause: one processor for each of `scrapes`.
/// - Whoever opens connections without a pause costs the handling of each. Others are served, but a connection of theirs
///   that is idle may have to be made anew, and a slow one may not end.
/// - Credentials can be guessed as fast as the network allows: secrets have to be long. Over plain HTTP others can read along.
/// - Any web site can lead a browser here by its name, unless [`hosts`](Self::hosts) are given. Other origins cannot read
///   what it gets, and types are not sniffed.
/// - A client whose CA was withdrawn is let go after its next request, or when its connection is too old.
#[derive(Clone)]
pub struct Server {
    sources: Vec<Arc<dyn Source>>,
    /// Whether the sources are those of `new`, which the first `registry` replaces.
    default: bool,
    options: Options,
    path: String,
    addresses: Vec<Address>,
    credentials: Credentials,
    limits: Limits,
    hosts: Hosts,
    /// Of the files of Unix sockets.
    socket_mode: u32,
    #[cfg(feature = "tls")]
    tls: super::tls::Files,
}

impl Server {
    /// A server of what `source` gives, until [`registry`](Self::registry) says otherwise.
    pub(crate) fn of(source: Arc<dyn Source>) -> Self {
        Self {
            sources: vec![source],
            default: true,
            options: Options::new(),
            path: "/metrics".to_owned(),
            addresses: Vec::new(),
            credentials: Credentials::default(),
            limits: Limits {
                connections: 256,
                scrapes: SCRAPES,
                head: Duration::from_secs(10),
                answer: Duration::from_secs(30),
                age: Duration::from_secs(60),
                pages: PAGES,
            },
            hosts: Hosts::default(),
            socket_mode: 0o600,
            #[cfg(feature = "tls")]
            tls: super::tls::Files::default(),
        }
    }

    /// Serves this registry instead of the default one; called again, several as one page. Families of one name are one
    /// then; one that cannot stand beside those of registries before it, as it is of another kind or writes the same samples,
    /// is left out, which is said once on standard error.
    #[must_use]
    pub fn registry<S: Source + Clone + 'static>(mut self, registry: &S) -> Self {
        if std::mem::take(&mut self.default) {
            self.sources.clear();
        }
        self.sources.push(Arc::new(registry.clone()));
        self
    }

    /// With times at every sample, or with `_created` samples in OpenMetrics. Names are escaped as the request asks.
    ///
    /// ```
    /// use tallies::{Server, encode::Options};
    ///
    /// let serving = Server::new().options(Options::new().created(true)).listen("127.0.0.1:0")?;
    /// # serving.stop();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The path of the page; `/metrics` without this.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// Listens on this address, such as `0.0.0.0:9464` or `[::1]:9464`; called again, on several. Port 0 takes a free one;
    /// of a name that stands for several addresses the first that can be bound.
    ///
    /// ```
    /// use tallies::Server;
    ///
    /// let serving = Server::new().address("127.0.0.1:0").address("127.0.0.1:0").start()?;
    /// assert_eq!(serving.addresses().len(), 2);
    /// # serving.stop();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn address(mut self, address: impl ToString) -> Self {
        self.addresses.push(Address::Tcp(address.to_string()));
        self
    }

    /// Listens on a Unix socket: `curl --unix-socket <path> http://localhost/metrics`. A socket that a program left there
    /// when it ended is replaced. Without TLS; only the program's own user may open it, unless
    /// [`socket_mode`](Self::socket_mode) says otherwise.
    #[cfg(unix)]
    #[must_use]
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.addresses.push(Address::Unix(path.into()));
        self
    }

    /// The permissions of the files of [`unix_socket`](Self::unix_socket); 0600 without this.
    #[cfg(unix)]
    #[must_use]
    pub fn socket_mode(mut self, mode: u32) -> Self {
        self.socket_mode = mode;
        self
    }

    /// Listens on a socket that is bound already, such as one that a service manager hands over (socket activation).
    ///
    /// It stays bound while this server or whoever else has it does: clients that come while nobody serves wait, and are
    /// served by the next one. It becomes non-blocking, also for whoever else has it.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use tallies::Server;
    ///
    /// let serving = Server::new().listener(TcpListener::bind("127.0.0.1:0")?).start()?;
    /// # serving.stop();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.addresses.push(Address::Given(Arc::new(listener)));
        self
    }

    /// As [`listener`](Self::listener), a Unix socket; its file stays when the service ends.
    #[cfg(unix)]
    #[must_use]
    pub fn unix_listener(mut self, listener: UnixListener) -> Self {
        self.addresses.push(Address::GivenUnix(Arc::new(listener)));
        self
    }

    /// Serves only who shows this name and password, or another one that was given. Over plain HTTP others can read along.
    ///
    /// Compared in constant time. Probes at `/-/healthy` and `/-/ready` need none.
    ///
    /// ```
    /// # use tallies::Server;
    /// let serving = Server::new().basic_auth("prometheus", "a long password").listen("127.0.0.1:0")?;
    /// // curl -u 'prometheus:a long password' http://…/metrics
    /// # serving.stop();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        self.credentials.basic(user, password);
        self
    }

    /// Serves only who shows this bearer token, or another secret that was given; as [`basic_auth`](Self::basic_auth).
    #[must_use]
    pub fn bearer_token(mut self, token: &str) -> Self {
        self.credentials.bearer(token);
        self
    }

    /// Serves HTTPS with the certificates of this PEM file, the server's own first; [`key`](Self::key) belongs to it.
    ///
    /// The files are read again when they change; new connections then get the new certificate. A change that cannot be
    /// used is said once on standard error, and the last good one stays.
    ///
    /// ```no_run
    /// # use tallies::Server;
    /// let serving = Server::new().certificate("tls.crt").key("tls.key").client_ca("ca.crt").listen("[::]:9464")?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn certificate(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls.certificate = Some(file.into());
        self
    }

    /// The private key of the [`certificate`](Self::certificate), in a PEM file.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn key(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls.key = Some(file.into());
        self
    }

    /// Serves only clients with a certificate that one of those in this PEM file signed.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn client_ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls.client_ca = Some(file.into());
        self
    }

    /// Connections at once, over all addresses; 256 without this, and at most a quarter of the file descriptors that the
    /// process may have. A further one takes the place of the one that has been idle for longest, or else of the slowest
    /// reader; it waits where pages are being made for all.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.limits.connections = most.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Pages being made at once; 4 without this. Further requests wait for their turn, as long as they have time. Each takes
    /// a thread, of a service on a thread of its own as of a runtime.
    #[must_use]
    pub fn scrapes(mut self, most: usize) -> Self {
        self.limits.scrapes = most.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long a client may take for a TLS handshake, and how long until its next request's head has arrived; 10 s without
    /// this. A connection that is kept alive ends when no request comes for as long.
    #[must_use]
    pub fn head_timeout(mut self, most: Duration) -> Self {
        self.limits.head = most.min(LONGEST);
        self
    }

    /// How old a connection may become; 60 s without this. It ends then, after the answer that is under way.
    #[must_use]
    pub fn connection_age(mut self, most: Duration) -> Self {
        self.limits.age = most.min(LONGEST);
        self
    }

    /// Bytes of pages at once, those that are being read among them; 128 MiB without this, and always enough for four pages.
    /// Beyond, the slowest readers are let go; where none is slow, a request is answered with 503.
    #[must_use]
    pub fn page_memory(mut self, bytes: usize) -> Self {
        self.limits.pages = bytes;
        self
    }

    /// Serves only requests for these hosts, as `Host` names them, without a port; all of them without this. Against web
    /// sites whose names lead to this address, and which a browser would let read the page.
    ///
    /// ```
    /// # use tallies::Server;
    /// let serving = Server::new().hosts(["localhost", "127.0.0.1"]).listen("127.0.0.1:0")?;
    /// # serving.stop();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hosts.0.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// How long making a page may take, and how long a client may take to read it, however steadily; 30 s each without this.
    #[must_use]
    pub fn answer_timeout(mut self, most: Duration) -> Self {
        self.limits.answer = most.min(LONGEST);
        self
    }

    /// Binds this address beside those that were named, and serves on a thread of its own until [`Serving::stop`], or for
    /// as long as the program runs.
    ///
    /// # Errors
    ///
    /// As of [`bind`](Self::bind); the program goes on either way, and may try again.
    pub fn listen(&self, address: impl ToSocketAddrs + Debug) -> Result<Serving, Error> {
        let named = format!("{address:?}");
        self.bound(Some(tcp(address, named.trim_matches('"'))))?
            .start()
    }

    /// Binds the addresses that were named, and serves on a thread of its own; as [`listen`](Self::listen).
    ///
    /// # Errors
    ///
    /// As of [`bind`](Self::bind).
    pub fn start(&self) -> Result<Serving, Error> {
        self.bind()?.start()
    }

    /// Binds every address that was named, or none of them. Clients that come from now on wait until [`Bound::start`] or
    /// [`Bound::run`].
    ///
    /// # Errors
    ///
    /// An address that cannot be bound, which the message names; no address at all; a path that does not begin with `/`,
    /// has a query, belongs to another page or cannot be in a request; an empty password or token, and one that cannot be
    /// shown; half a TLS configuration, or files of one that cannot be used, which the message names. Nothing stays bound then.
    pub fn bind(&self) -> Result<Bound, Error> {
        self.bound(None)
    }

    fn bound(&self, first: Option<Result<Listener, Error>>) -> Result<Bound, Error> {
        if !self.path.starts_with('/') {
            return Err(Error::path(&self.path, "has to begin with `/`"));
        }
        if self.path.contains(['?', '#']) || TAKEN.contains(&&*self.path) {
            return Err(Error::path(
                &self.path,
                "has to be a path of its own, without a query",
            ));
        }
        if !self.path.is_ascii() || self.path.parse::<PathAndQuery>().is_err() {
            return Err(Error::path(
                &self.path,
                "has to be as requests have it: what is not ASCII, blanks and such are percent-encoded",
            ));
        }
        self.credentials.check()?;
        #[cfg(feature = "tls")]
        let tls = self.tls.load()?;
        let listeners = first
            .into_iter()
            .chain(
                self.addresses
                    .iter()
                    .map(|address| address.bind(self.socket_mode)),
            )
            .collect::<Result<Vec<_>, _>>()?;
        if listeners.is_empty() {
            return Err(Error::service(
                "the metrics service has no address: name one, as in `.address(\"127.0.0.1:9464\")`",
            ));
        }
        #[cfg(feature = "tls")]
        let secure = tls.is_some();
        #[cfg(not(feature = "tls"))]
        let secure = false;
        let seats = Seats::new(self.limits.connections.min(descriptors() / 4).max(1));
        let relief = {
            let seats = Arc::clone(&seats);
            Box::new(move || seats.evict_a_reader())
        };
        let pages = (self.limits.scrapes, self.limits.pages);
        let host = Host {
            routes: Routes {
                pages: Pages::new(self.sources.clone(), self.options, pages, Some(relief)),
                path: self.path.clone(),
                credentials: self.credentials.clone(),
                patience: self.limits.answer,
                hosts: self.hosts.clone(),
            },
            limits: self.limits,
            seats,
            #[cfg(feature = "tls")]
            tls,
            open: Arc::default(),
        };
        Ok(Bound::new(listeners, host, secure))
    }
}

/// The file descriptors that this process may have: metrics take a quarter of them at most.
fn descriptors() -> usize {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let most = None;
    most.map_or(usize::MAX, |most| most as usize)
}

impl Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("registries", &self.sources.len())
            .field("path", &self.path)
            .field("addresses", &self.addresses)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
