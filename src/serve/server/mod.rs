//! The builder of a service that listens itself: registries, addresses, credentials and limits.
//!
//! `bind` checks them and builds the service. The other modules decide where to listen (`listen`),
//! which clients to admit (`auth`, `tls`), what each path answers (`routes`), and which limits
//! apply to a connection (`connection`, `seats`, `stream`, `timed_body`). A program may add pages
//! and checks of its own (`extension`).

mod auth;
mod bind;
mod connection;
mod extension;
mod listen;
mod routes;
mod seats;
mod serving;
mod stream;
mod timed_body;
#[cfg(feature = "tls")]
pub mod tls;

use std::fmt::Debug;
use std::net::TcpListener;
#[cfg(unix)]
use std::os::unix::net::UnixListener;
#[cfg(any(unix, feature = "tls"))]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tallies_names::setters;
use tokio::sync::Semaphore;

use crate::encode::Options;
use crate::snapshot::{Merged, Source};

use super::answer::{PAGES, SCRAPES};
use super::page::Style;
use auth::Credentials;
use connection::Limits;
use extension::NoExtension;
use listen::Address;
use routes::Hosts;
#[cfg(feature = "tls")]
use tls::{ClientAuth, Pem};

pub use extension::{Admission, Extension, Later, PageSource, PageTime, Record};
pub use serving::{BoundServer, Serving};

/// The longest duration that a setting may have. Longer ones are capped, because adding them to the
/// current time could overflow the clock.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// Serves metrics over HTTP. [`tallies::serve`](crate::serve()) is the short form.
///
/// ```
/// use tallies::{Registry, serve::Server};
///
/// let registry = Registry::new();
/// let serving = Server::new().registry(&registry).path("/metrics").listen("127.0.0.1:0")?;
/// println!("{}", serving.metrics_url());
/// serving.stop();
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// | path | response | runs collectors |
/// |---|---|---|
/// | `/metrics`, or [`path`](Self::path) | the metrics | yes |
/// | `/` | a link to them | no |
/// | `/robots.txt` | disallows everything | no |
/// | `/-/healthy`, `/-/ready` | `ok`, for probes | no |
/// | `/-/cardinality` | where the series come from ([`Registry::cardinality`](crate::Registry::cardinality)): as text, or as JSON for `?format=json` and `Accept: application/json`; behind the authentication of the metrics | yes |
/// | `/live` | with `Server::live`, a page where the metrics move | yes |
///
/// Other paths return 404, and methods other than GET and HEAD return 405.
///
/// # Limits
///
/// The server bounds the cost of each client:
///
/// - The head of a request has at most 16 KB and must arrive within 10 s
///   ([`head_timeout`](Self::head_timeout)).
/// - At most 256 connections are open at once. A further one replaces one of the host that has the
///   most, the one that has been idle longest ([`connections`](Self::connections)).
/// - A connection lives at most 60 s ([`connection_age`](Self::connection_age)).
/// - At most 4 pages are rendered at once ([`concurrent_scrapes`](Self::concurrent_scrapes)).
///   Concurrent requests share passes over the registries. Requests of other hosts do not wait
///   behind all those of one.
/// - One cardinality report is made at once, beside the pages. Those who ask meanwhile share the
///   next.
/// - A page is rendered and compressed in blocks of about 100 KB, when its reader asks for the next
///   one. Concurrent requests for the same page share blocks, as long as they are no more than 8
///   blocks apart.
/// - The first block must be rendered within 30 s, and the client must read the page within another
///   30 s ([`answer_timeout`](Self::answer_timeout)).
/// - The scrapes and blocks that clients are reading take at most 128 MiB
///   ([`page_memory`](Self::page_memory)). The kernel holds at most 256 KiB of each response.
///
/// ```
/// use std::time::Duration;
/// use tallies::serve::Server;
///
/// let serving = Server::new()
///     .connections(64)
///     .concurrent_scrapes(2)
///     .head_timeout(Duration::from_secs(5))
///     .answer_timeout(Duration::from_secs(20))
///     .connection_age(Duration::from_secs(300))
///     .page_memory(32 << 20)
///     .listen("127.0.0.1:0")?;
/// # serving.stop();
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The server returns 503 for a page that is not rendered in time. The time is also limited to nine
/// tenths of the header `X-Prometheus-Scrape-Timeout-Seconds`. The server closes a connection after
/// it rejects a request, and after a probe.
///
/// # Exposing the endpoint
///
/// The limits leave the following risks. If strangers can reach the port, a firewall or a proxy has
/// to handle them:
///
/// - A client that may scrape can request pages without a pause, or read them so slowly that it
///   shares no blocks with others. That keeps one processor busy for each of `concurrent_scrapes`.
/// - A client that opens connections without a pause costs the handling of each. Other clients are
///   still served, but an idle connection of theirs may be closed, so that they have to reconnect,
///   and a slow one may be cut off.
/// - An attacker can guess credentials as fast as the network allows, so secrets have to be long.
///   Plain HTTP also lets others on the network read them.
/// - Unless [`hosts`](Self::hosts) is set, any web site can point its own host name at this address
///   and so lead a browser here. Other origins cannot read the responses, and browsers do not guess
///   their content types.
/// - When a client CA is removed, a client whose certificate it signed is disconnected after its
///   next request, or when its connection reaches the maximum age.
#[must_use = "a server listens when it is started"]
#[derive(Clone)]
pub struct Server {
    sources: Merged,
    /// The source of a server to which none was added.
    default: Arc<dyn Source>,
    style: Style,
    path: String,
    addresses: Vec<Address>,
    credentials: Credentials,
    limits: Limits,
    hosts: Hosts,
    /// The permissions of Unix socket files.
    socket_mode: u32,
    /// Whether the service has the live page.
    live: bool,
    #[cfg(feature = "tls")]
    tls: tls::Origin,
    extension: Arc<dyn Extension>,
}

impl Server {
    /// Creates a server of `source`, which the first [`registry`](Self::registry) replaces.
    pub(crate) fn of(source: Arc<dyn Source>) -> Self {
        Self {
            sources: Merged::new(),
            default: source,
            style: Style::new(),
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
            live: false,
            #[cfg(feature = "tls")]
            tls: tls::Origin::default(),
            extension: Arc::new(NoExtension),
        }
    }

    /// Serves this registry instead of the default one. Further calls add registries to the same
    /// page.
    ///
    /// ```
    /// use tallies::{Registry, serve::Server};
    ///
    /// let (jobs, pool) = (Registry::new(), Registry::new());
    /// let serving = Server::new().registry(&jobs).registry(&pool).listen("127.0.0.1:0")?;
    /// # serving.stop();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Families with the same name are merged. A family is left out if it conflicts with those of
    /// earlier registries, because its kind differs or because it would write the same samples.
    /// [`Merged`] says when, and how that is logged and counted.
    pub fn registry<S: Source + Clone + 'static>(mut self, registry: &S) -> Self {
        self.sources = self.sources.source(registry);
        self
    }

    setters! {
        /// Adds work before each page, further pages, or an authentication of the program's own.
        /// See [`Extension`]. A later one replaces it.
        fn extension(self, extension: impl Extension + 'static) =
            self.extension = Arc::new(extension);

        /// Serves HTTPS with the configurations of `source`, which is called for each connection
        /// and after each request: a connection ends if the result is another one than at its
        /// begin. Files beside it are an error.
        ///
        /// ```
        /// use tallies::serve::Server;
        /// use tallies::serve::tls::{Pem, Settings};
        ///
        /// # fn f() -> Result<(), tallies::Error> {
        /// let mut settings = Settings::default();
        /// settings.certificate = Some(Pem::File("tls.crt".into()));
        /// settings.key = Some(Pem::File("tls.key".into()));
        /// let config = settings.config()?;
        /// let serving = Server::new().tls_source(move || config.clone()).listen("[::]:9464")?;
        /// # Ok(())
        /// # }
        /// ```
        #[cfg(feature = "tls")]
        fn tls_source(self, source: impl Fn() -> tls::Config + Send + Sync + 'static) =
            self.tls.given = Some(Arc::new(source));

        /// Sets the encoding options, such as a timestamp on every sample or `_created` samples in
        /// OpenMetrics. The request, not the options, decides how names are escaped.
        ///
        /// ```
        /// use tallies::{encode::Options, serve::Server};
        ///
        /// let serving = Server::new().options(Options::new().created(true)).listen("127.0.0.1:0")?;
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn options(self, options: Options) = self.style.options = options;

        /// Sets whether clients that prefer OpenMetrics get it. Default: true.
        ///
        /// ```
        /// use tallies::serve::Server;
        ///
        /// let serving = Server::new().open_metrics(false).listen("127.0.0.1:0")?;
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// In OpenMetrics, the samples of each counter end in `_total`, and Prometheus asks for it,
        /// so it stores a counter `events` as `events_total`. Dashboards of a program that served
        /// the text format only, as many libraries do, ask for `events`. With `false`, the page has
        /// the names of the declarations in the text formats and in protobuf. Text has no
        /// exemplars.
        fn open_metrics(self, yes: bool) = self.style.open_metrics = yes;

        /// Sets the level of gzip, from 1 (fast) to 9 (small). Default: 1.
        ///
        /// ```
        /// use tallies::serve::Server;
        ///
        /// let serving = Server::new().gzip_level(6).listen("127.0.0.1:0")?;
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// A higher level helps where the network is slow or has a price. `docs/benchmarks.md` has
        /// the cost and the effect of each level.
        #[cfg(feature = "gzip")]
        fn gzip_level(self, level: u32) = self.style.levels.gzip = level;

        /// Sets the level of zstd, from 1 (fast) to 19 (small). Default: 1.
        ///
        /// ```
        /// use tallies::serve::Server;
        ///
        /// let serving = Server::new().zstd_level(3).listen("127.0.0.1:0")?;
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// High levels need more memory for each page that is being compressed, up to 80 MB.
        #[cfg(feature = "zstd")]
        fn zstd_level(self, level: i32) = self.style.levels.zstd = level;

        /// Sets the path of the metrics page. Default: `/metrics`.
        ///
        /// ```
        /// # use tallies::serve::Server;
        /// let serving = Server::new().path("/internal/metrics").listen("127.0.0.1:0")?;
        /// assert!(serving.metrics_url().ends_with("/internal/metrics"));
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn path(self, path: &str) = self.path = path.to_owned();

        /// Listens on this address, such as `127.0.0.1:9464`, `[::1]:9464`, or `:9464` for all
        /// addresses of this machine. Further calls add addresses.
        ///
        /// Port 0 takes a free port. If a name resolves to several addresses, the server takes the
        /// first one that it can bind.
        ///
        /// ```
        /// use tallies::serve::Server;
        ///
        /// let serving = Server::new().address("127.0.0.1:0").address("127.0.0.1:0").start()?;
        /// assert_eq!(serving.addresses().len(), 2);
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn address(self, address: impl ToString) =
            self.addresses.push(Address::Tcp(address.to_string()));

        /// Listens on all addresses that a name stands for: `localhost:9464` is often both
        /// `127.0.0.1` and `[::1]`, of which a machine may have only one. It is an error if none
        /// can be bound, or if another program has one. An address that the server has already is
        /// left out.
        ///
        /// ```
        /// use tallies::serve::Server;
        ///
        /// let serving = Server::new().every_address("localhost:0").start()?;
        /// assert!(serving.address().ip().is_loopback());
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn every_address(self, name: &str) = self.addresses.push(Address::Every(name.to_owned()));

        /// Adds `/live`: a page in the browser where the metrics move.
        ///
        /// ```
        /// # use tallies::serve::Server;
        /// let serving = Server::new().live().listen("127.0.0.1:0")?;
        /// println!("Watch the metrics at {}live", serving.root_url());
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// Each family has a card: the rate of a counter over the last five seconds, the value of a
        /// gauge or an up-down counter, a heat map of a histogram, and the quantiles of a summary
        /// with their certified errors. The page shows what is known: if one bucket has all
        /// observations, a quantile is `≤ 5 ms`, and several series of a gauge are a range, because
        /// their sum means nothing.
        ///
        /// A card that is closed shows the largest series, and before them those whose labels look
        /// as if something failed, such as `status="503"` or `outcome="timed_out"`, unless they are
        /// zero. It leaves out a label only if all series of the family agree in it.
        ///
        /// Families are in groups by the first word of their names, the one of the program's build
        /// info first; what does not move for a minute is one line. A click opens a card with all
        /// its series. The search finds words in names, help texts and labels, such as `requests
        /// route="/users"`, and all figures are then those of what it found. A drag zooms, `?`
        /// lists the keys, and the address remembers what is shown: `live#open=jobs_total&by=queue`
        /// is a link. A page that has no news is grey, and says how old its values are.
        ///
        /// The page needs no other service, and its script is part of this crate. Its content
        /// security policy allows no inline script or style and no other origin. It asks for the
        /// same credentials as the metrics; browsers send passwords, but no bearer tokens.
        ///
        /// While at least one page is in sight, the service takes a snapshot each second, which
        /// runs the collectors. All pages share it, nothing is reset, and other readers do not
        /// notice. If a snapshot and the frames of the pages take more than 100 ms, the pages get
        /// one less often, so that at most a tenth of the time is spent on them. They have a thread
        /// of their own, and take none from scrapes. A page in the background costs nothing. At
        /// most 64 streams are open at once, of which a host gets no more than 8 once half are
        /// open. Each is a connection that ends after [`connection_age`](Self::connection_age), and
        /// the page then begins another one. A frame has one line for each of at most 300 families,
        /// and at most 500 series of the 60 families in sight.
        ///
        /// The history is in the page, at most an hour. So that a page does not begin empty, the
        /// server remembers the last five minutes from its start on: a point in five seconds for
        /// each family as a whole, in at most 1 MiB (hundreds of families have fewer minutes). For
        /// that it takes a snapshot in five seconds, also while no page is open, and spends at most
        /// a thousandth of the time of one processor on it. An exporter remembers nothing, because
        /// its updates run only if someone asks.
        #[cfg(feature = "live")]
        fn live(self) = self.live = true;

        /// Listens on a Unix socket, which `curl --unix-socket <path> http://localhost/metrics`
        /// reads.
        ///
        /// ```
        /// # use tallies::serve::Server;
        /// let path = std::env::temp_dir().join(format!("metrics-{}.sock", std::process::id()));
        /// let serving = Server::new().unix_socket(&path).socket_mode(0o660).start()?;
        /// assert!(path.exists());
        /// serving.stop();
        /// assert!(!path.exists());
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// A socket file that a previous program left behind is replaced. The socket has no TLS.
        /// Only the program's own user may open it, unless [`socket_mode`](Self::socket_mode)
        /// allows others.
        #[cfg(unix)]
        fn unix_socket(self, path: impl Into<PathBuf>) =
            self.addresses.push(Address::Unix(path.into()));

        /// Sets the permissions of the socket files of [`unix_socket`](Self::unix_socket). Default:
        /// 0600.
        #[cfg(unix)]
        fn socket_mode(self, mode: u32) = self.socket_mode = mode;

        /// Listens on a socket that is already bound, such as one from a service manager (socket
        /// activation).
        ///
        /// The socket stays bound as long as this server or any other holder keeps it open. Clients
        /// that connect while no service runs wait for the next one. The socket becomes
        /// non-blocking, also for its other holders.
        ///
        /// ```
        /// use std::net::TcpListener;
        /// use tallies::serve::Server;
        ///
        /// let serving = Server::new().listener(TcpListener::bind("127.0.0.1:0")?).start()?;
        /// # serving.stop();
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        fn listener(self, listener: TcpListener) =
            self.addresses.push(Address::Given(Arc::new(listener)));

        /// Listens on a Unix socket that is already bound, as [`listener`](Self::listener) does for
        /// TCP. The socket file remains when the service ends.
        ///
        /// ```
        /// use std::os::unix::net::UnixListener;
        /// use tallies::serve::Server;
        ///
        /// let path = std::env::temp_dir().join(format!("bound-{}.sock", std::process::id()));
        /// let serving = Server::new().unix_listener(UnixListener::bind(&path)?).start()?;
        /// serving.stop();
        /// std::fs::remove_file(&path)?;
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[cfg(unix)]
        fn unix_listener(self, listener: UnixListener) =
            self.addresses.push(Address::GivenUnix(Arc::new(listener)));

        /// Requires clients to send this user name and password, or other credentials that were
        /// added.
        ///
        /// The server compares credentials in constant time. Probes at `/-/healthy` and `/-/ready`
        /// need none. Over plain HTTP, others on the network can read the password.
        ///
        /// ```
        /// # use tallies::serve::Server;
        /// let server = Server::new().basic_auth("prometheus", "a long password");
        /// let serving = server.listen("127.0.0.1:0")?;
        /// // curl -u 'prometheus:a long password' http://…/metrics
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn basic_auth(self, user: &str, password: &str) = self.credentials.basic(user, password);

        /// Requires clients to send this bearer token, or other credentials that were added.
        /// Everything else is as for [`basic_auth`](Self::basic_auth).
        ///
        /// ```
        /// # use tallies::serve::Server;
        /// let serving = Server::new().bearer_token("a long secret").listen("127.0.0.1:0")?;
        /// // curl -H 'Authorization: Bearer a long secret' http://…/metrics
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn bearer_token(self, token: &str) = self.credentials.bearer(token);

        /// Serves HTTPS with the certificate chain in this PEM file, the server's own certificate
        /// first. It needs the matching [`private_key`](Self::private_key).
        ///
        /// The server reads the files again when they change, and new connections get the new
        /// certificate. If the changed files are unusable, the server logs the error once on
        /// standard error and keeps the last good certificate.
        ///
        /// ```no_run
        /// # use tallies::serve::Server;
        /// let server = Server::new().certificate("tls.crt").private_key("tls.key").client_ca("ca.crt");
        /// let serving = server.listen("[::]:9464")?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        #[cfg(feature = "tls")]
        fn certificate(self, file: impl Into<PathBuf>) =
            self.tls.files.certificate = Some(Pem::File(file.into()));

        /// Sets the PEM file with the private key of the [`certificate`](Self::certificate).
        #[cfg(feature = "tls")]
        fn private_key(self, file: impl Into<PathBuf>) =
            self.tls.files.key = Some(Pem::File(file.into()));

        /// Requires clients to present a certificate that is signed by a CA in this PEM file.
        #[cfg(feature = "tls")]
        fn client_ca(self, file: impl Into<PathBuf>) = {
            self.tls.files.client_ca = Some(Pem::File(file.into()));
            self.tls.files.auth = ClientAuth::Verify;
        };

        /// Limits the open connections over all addresses. Default: 256. The limit is never more
        /// than a quarter of the file descriptors that the process may open.
        ///
        /// A further connection replaces one of the host (or the IPv6 network of 64 bits) that has
        /// the most: the one that has been idle longest, or else the one whose request has been
        /// waiting longest for its turn, or else the slowest reader. It replaces none of a host
        /// that has fewer than its own. If it can replace none, it waits; up to 1024 connections
        /// do, half of them of one host (another quarter of the file descriptors at most), and
        /// others are closed. While the limit is reached, connections close after each response.
        fn connections(self, limit: usize) =
            self.limits.connections = limit.clamp(1, Semaphore::MAX_PERMITS);

        /// Limits the pages that are rendered at once. Default: 4. Further requests wait for their
        /// turn until their time runs out.
        ///
        /// Each page of which a block is being rendered occupies a blocking thread, whether the
        /// service runs on its own thread or in a runtime.
        fn concurrent_scrapes(self, limit: usize) =
            self.limits.scrapes = limit.clamp(1, Semaphore::MAX_PERMITS);

        /// Limits the time for a TLS handshake, and the time until the head of the next request has
        /// arrived. Default: 10 s. A kept-alive connection closes if no request arrives within this
        /// time.
        fn head_timeout(self, limit: Duration) = self.limits.head = limit.min(MAX_DURATION);

        /// Limits the age of a connection. Default: 60 s. An older connection closes after the
        /// response that is in flight.
        fn connection_age(self, limit: Duration) = self.limits.age = limit.min(MAX_DURATION);

        /// Limits the bytes of the scrapes and blocks that clients are reading. Default: 128 MiB.
        /// Four scrapes of any size always fit.
        ///
        /// A client holds the scrape of its page, which others share that came before it was taken,
        /// until the last block of the page is made, and one block of about 100 KB. Pages of one
        /// block hold no scrape. Beyond the limit, the server disconnects the slowest readers. If
        /// no reader is slow, the request gets a 503.
        fn page_memory(self, bytes: usize) = self.limits.pages = bytes;

        /// Serves only requests whose `Host` header names one of these hosts. Default: all hosts.
        ///
        /// Hosts are compared without the port. This stops web sites that point their own host name
        /// at this address (DNS rebinding): without it, a browser would let such a site read the
        /// page. A server on a loopback address admits all hosts, too, because a proxy beside it
        /// may pass on the name that its client asked for. Exporters have a list there.
        ///
        /// ```
        /// # use tallies::serve::Server;
        /// let serving = Server::new().hosts(["localhost", "127.0.0.1"]).listen("127.0.0.1:0")?;
        /// # serving.stop();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn hosts(self, hosts: impl IntoIterator<Item = impl Into<String>>) =
            self.hosts.0.extend(hosts.into_iter().map(Into::into));

        /// Limits the time to render the first block of a page, and separately the time in which a
        /// client must read all of it, even if it reads steadily. Default: 30 s each.
        fn answer_timeout(self, limit: Duration) = self.limits.answer = limit.min(MAX_DURATION);
    }
}

impl Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("registries", &self.sources.sources().len().max(1))
            .field("path", &self.path)
            .field("addresses", &self.addresses)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
