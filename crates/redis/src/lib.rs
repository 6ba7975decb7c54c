//! Processes of any number of machines share the metrics that they count with [`tallies`] in Redis
//! or Valkey.
//!
//! [`Redis::builder`] starts the store of a process. Updates do not notice it: a thread of its own sends every second what has
//! changed. A scrape of any process flushes that process, reads all others, and shows the sum.
//!
//! ```no_run
//! use tallies_redis::Redis;
//!
//! let store = Redis::builder("redis://127.0.0.1/")?.namespace("shop").start()?;
//! # #[cfg(any())]
//! let server = tallies::Server::new().registry(&store).listen("0.0.0.0:9100")?;
//! // ... the program ...
//! store.close_blocking()?;
//! # Ok::<(), tallies::Error>(())
//! ```
//!
//! [One page](https://docs.rs/tallies/latest/tallies/docs/sharing/) has the promises,
//! [another one](https://docs.rs/tallies/latest/tallies/docs/redis_store/) the protocol and each
//! failure.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod admin;
mod connection;
mod content;
mod fold;
mod pause;
mod reader;
mod scripts;
#[cfg(unix)]
mod signals;
mod url;
mod worker;
mod writer;

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use redis::cluster::ClusterClient;
use redis::{Client, IntoConnectionInfo, RedisError};
use tokio::sync::{mpsc, oneshot};

use tallies::share::Totalled;
use tallies::snapshot::{Family, Source, Value};
use tallies::{Error, Registry, Snapshot};

use connection::{Connection, RedisServer};
use reader::ShardView;
use scripts::Keys;
use worker::{Command, LastView, Reply, Worker};
use writer::OwnWriter;

pub use admin::{Overview, Process};

/// The time after which a namespace that nobody uses disappears.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// The time for which the exact totals of a folded writer are kept, in case it comes back.
const REMEMBER: Duration = Duration::from_secs(24 * 3600);
/// The most writers of a shard that are read. With more, pages are errors until enough are folded.
const MOST_WRITERS: usize = 1 << 16;
/// The most requests of handles that wait. Further ones fail.
const WAITING: usize = 1024;

/// The durations of a store.
#[derive(Clone, Debug)]
struct StoreSettings {
    flush: Duration,
    refresh: Duration,
    ttl: Duration,
    fold_after: Duration,
    stale: Duration,
    timeout: Duration,
    close: Duration,
}

impl StoreSettings {
    /// Returns the times to live of the gauges among `families`.
    fn ttls(&self, families: &[Family]) -> impl Iterator<Item = Duration> {
        let declared = families.iter().filter_map(Family::shared_ttl);
        declared.chain([self.ttl])
    }

    /// Returns the longest time to live of a gauge, in milliseconds.
    fn longest_ttl(&self, families: &[Family]) -> u64 {
        let longest = self.ttls(families).max().unwrap_or(self.ttl);
        (longest.as_millis() as u64).clamp(1, KEEP.as_millis() as u64)
    }

    /// Returns the longest time between two flushes: no gauge expires in between.
    fn refresh_of(&self, families: &[Family]) -> Duration {
        let shortest = self.ttls(families).min().unwrap_or(self.ttl);
        self.refresh
            .min(shortest / 2)
            .max(Duration::from_millis(10))
    }
}

/// The settings of a store, before it [starts](Self::start).
///
/// ```no_run
/// use std::time::Duration;
///
/// let store = tallies_redis::Redis::builder("redis://user:password@db.example.org:6379/")?
///     .namespace("shop")
///     .gauge_ttl(Duration::from_secs(120))
///     .start()?;
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use = "a store starts with `start`"]
pub struct RedisBuilder {
    source: Arc<dyn Source>,
    /// The source, if it is a registry.
    registry: Option<Registry>,
    urls: Vec<String>,
    is_cluster: bool,
    namespace: String,
    shards: usize,
    settings: StoreSettings,
    observes: bool,
    #[cfg(feature = "tls")]
    tls: Certificates,
}

/// Certificates in PEM format.
#[cfg(feature = "tls")]
#[derive(Default)]
struct Certificates {
    roots: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

fn check_url(url: &str) -> Result<(), Error> {
    match url.into_connection_info() {
        Ok(_) => Ok(()),
        Err(_) => Err(failed(
            "cannot use the URL of",
            "a Redis store",
            url::problem(url),
        )),
    }
}

/// Returns an error of an operation on a store.
fn failed(
    action: &str,
    store: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    // So that `io_kind` says that the outside failed.
    let cause = match cause.into().downcast::<io::Error>() {
        Ok(cause) => *cause,
        Err(cause) => io::Error::other(cause),
    };
    Error::with_cause(format!("{action} {store}"), cause)
}

/// Returns the error of a setting with a value that breaks a rule.
fn setting(what: &str, value: &str, rule: &str) -> Error {
    Error::new(format!("{what} `{}` {rule}", value.escape_debug()))
}

/// Returns an error on one line: its words may be those of a hostile server.
fn one_line(error: &RedisError) -> String {
    let mut line = String::new();
    for c in error.to_string().chars().take(500) {
        if c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric() {
            line.push(c);
        } else {
            line.extend(c.escape_unicode());
        }
    }
    line
}

impl RedisBuilder {
    /// Shares this registry, or another source of snapshots, instead of the default registry.
    ///
    /// ```no_run
    /// let registry = tallies::Registry::new();
    /// let store = tallies_redis::Redis::builder("redis://127.0.0.1/")?.registry(&registry).start()?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn registry<S: Source + Clone + 'static>(mut self, registry: &S) -> Self {
        self.source = Arc::new(registry.clone());
        self.registry = (registry as &dyn Any).downcast_ref().cloned();
        self
    }

    /// Sets the namespace: the name of the application. Only processes with one namespace share
    /// their metrics. Default: `default`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// This process shares nothing and is no writer. Like all processes it folds those that have
    /// ended. For tools, and for a process whose only task is to be scraped.
    pub fn observe(mut self) -> Self {
        self.observes = true;
        self
    }

    /// Uses a cluster, of which the URL names a node, and so do these.
    ///
    /// ```no_run
    /// let store = tallies_redis::Redis::builder("redis://10.0.0.1:6379")?
    ///     .cluster(&["redis://10.0.0.2:6379"])?
    ///     .start()?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// All keys of a namespace have one hash tag, so they are in one slot and on one node. If that
    /// is too much for a node, set [`shards`](Self::shards).
    ///
    /// # Errors
    ///
    /// Returns an error if a URL is invalid.
    pub fn cluster(mut self, more_nodes: &[&str]) -> Result<Self, Error> {
        self.is_cluster = true;
        for url in more_nodes {
            check_url(url)?;
            self.urls.push((*url).to_owned());
        }
        Ok(self)
    }

    /// Distributes the writers over this number of shards, each in a slot of its own. All processes
    /// of a namespace need the same number. Default: 1.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Sets how often changes are sent. Default: 1 s.
    pub fn flush_every(mut self, interval: Duration) -> Self {
        self.settings.flush = interval;
        self
    }

    /// Sets how often a process sends a sign of life while nothing changes. Default: 30 s. It is
    /// sent more often if a gauge declares a time to live of less than twice that.
    pub fn refresh_every(mut self, interval: Duration) -> Self {
        self.settings.refresh = interval;
        self
    }

    /// Sets how long the live gauges of a process are shown that sends nothing more, where their
    /// declaration has no [`shared_ttl`](tallies::Gauge::shared_ttl). Default: 60 s.
    pub fn gauge_ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// Sets how long a process has to be silent before another one folds its totals into those of
    /// ended processes. Default: 10 min. A process that is folded and comes back goes on exactly
    /// where it was.
    pub fn fold_after(mut self, silence: Duration) -> Self {
        self.settings.fold_after = silence;
        self
    }

    /// Sets how long scrapes show the last view of the other processes while Redis cannot be
    /// reached. After that, they fail. Default: 5 min.
    pub fn serve_stale_for(mut self, limit: Duration) -> Self {
        self.settings.stale = limit;
        self
    }

    /// Limits the time of one command, and of opening a connection. Commands that move much data
    /// may take up to ten times as long. Default: 2 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Limits the time that closing takes. Default: 2 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close = timeout;
        self
    }

    /// Trusts only the certificates in this PEM text. Default: Mozilla's root certificates.
    #[cfg(feature = "tls")]
    pub fn root_certificates(mut self, pem: &[u8]) -> Self {
        self.tls.roots = Some(pem.to_owned());
        self
    }

    /// Identifies this process by a certificate and its key, in PEM format.
    #[cfg(feature = "tls")]
    pub fn client_certificate(mut self, certificate: &[u8], key: &[u8]) -> Self {
        self.tls.client = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// Starts the thread of the store. Does not wait for Redis.
    ///
    /// A process that forks starts the store after the fork: the child has no thread.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid, or if the thread cannot be started. That Redis
    /// cannot be reached is not an error: the store tries again.
    pub fn start(self) -> Result<Redis, Error> {
        self.check()?;
        if let Some(registry) = self.registry.as_ref().filter(|_| !self.observes) {
            registry.start_over_after_fork();
        }
        let store: Arc<str> = self.store_name().into();
        let server = self
            .server()
            .map_err(|error| failed("cannot use", &store, one_line(&error)))?;
        let last_view = LastView::default();
        let (sender, receiver) = mpsc::channel(WAITING);
        let handle = Redis {
            inner: Arc::new(Inner {
                store: Arc::clone(&store),
                commands: sender,
                last_view: Arc::clone(&last_view),
                stale: self.settings.stale,
                wait: self.settings.timeout.saturating_mul(12),
                close: self.settings.close,
                process: std::process::id(),
                observes: self.observes,
                registry: self.registry,
            }),
        };
        let no_thread =
            |error: io::Error| failed("cannot start the thread of", &handle.inner.store, error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(no_thread)?;
        let run = move || {
            let keys = |index| Keys::new(&self.namespace, index, self.shards);
            let shard = usize::from_str_radix(&writer::random_name()[..8], 16).unwrap_or(0);
            let shard = shard % self.shards;
            let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let started = started.map_or(0, |since| since.as_millis() as u64);
            let worker = Worker {
                store,
                connection: Connection::new(server, self.settings.timeout),
                observes: self.observes,
                writer: OwnWriter::new(self.source, keys(shard), started),
                shard,
                shards: (0..self.shards)
                    .map(|index| ShardView::new(keys(index)))
                    .collect(),
                settings: self.settings,
                last_view,
                health: worker::Health::default(),
            };
            runtime.block_on(worker.run(receiver));
        };
        std::thread::Builder::new()
            .name("tallies-redis".to_owned())
            .spawn(run)
            .map_err(no_thread)?;
        Ok(handle)
    }

    fn check(&self) -> Result<(), Error> {
        let namespace = &self.namespace;
        if namespace.is_empty() || namespace.contains(['{', '}']) {
            let rule = "must not be empty, or contain braces";
            return Err(setting("namespace", namespace, rule));
        }
        if !(1..=1024).contains(&self.shards) {
            let shards = self.shards.to_string();
            return Err(setting(
                "number of shards",
                &shards,
                "has to be from 1 to 1024",
            ));
        }
        let settings = &self.settings;
        for (what, duration) in [
            ("flush interval", settings.flush),
            ("refresh interval", settings.refresh),
            ("time to live of gauges", settings.ttl),
            ("time to fold", settings.fold_after),
            ("timeout", settings.timeout),
            ("timeout of closing", settings.close),
        ] {
            if duration < Duration::from_millis(1) || duration > KEEP {
                let value = format!("{duration:?}");
                return Err(setting(what, &value, "has to be from 1 ms to 7 days"));
            }
        }
        let value = format!("{:?}", settings.refresh);
        if settings.refresh > settings.ttl / 2 {
            let rule = "has to be at most half the time to live of gauges";
            return Err(setting("refresh interval", &value, rule));
        }
        if settings.refresh > settings.fold_after / 2 {
            let rule = "has to be at most half the time to fold";
            return Err(setting("refresh interval", &value, rule));
        }
        Ok(())
    }

    /// Returns the address, without user and password.
    fn store_name(&self) -> String {
        let url = self.urls.first().map(String::as_str).unwrap_or_default();
        let address = url.into_connection_info();
        address.map_or_else(|_| "Redis".to_owned(), |info| info.addr().to_string())
    }

    #[cfg(not(feature = "tls"))]
    fn server(&self) -> redis::RedisResult<RedisServer> {
        if self.is_cluster {
            let client = ClusterClient::builder(self.urls.iter().map(String::as_str));
            return Ok(RedisServer::Cluster(self.timeouts(client).build()?));
        }
        Ok(RedisServer::Single(Client::open(self.urls[0].as_str())?))
    }

    #[cfg(feature = "tls")]
    fn server(&self) -> redis::RedisResult<RedisServer> {
        use redis::{ClientTlsConfig, TlsCertificates};
        if self.urls.iter().any(|url| url.starts_with("rediss")) {
            // The client uses the provider of the process. One that the program has installed
            // stays.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let certificates =
            || TlsCertificates {
                client_tls: self.tls.client.clone().map(|(client_cert, client_key)| {
                    ClientTlsConfig {
                        client_cert,
                        client_key,
                    }
                }),
                root_cert: self.tls.roots.clone(),
            };
        let has_certificates = self.tls.roots.is_some() || self.tls.client.is_some();
        if self.is_cluster {
            let mut client = ClusterClient::builder(self.urls.iter().map(String::as_str));
            if has_certificates {
                client = client.certs(certificates());
            }
            return Ok(RedisServer::Cluster(self.timeouts(client).build()?));
        }
        let url = self.urls[0].as_str();
        Ok(RedisServer::Single(if has_certificates {
            Client::build_with_tls(url, certificates())?
        } else {
            Client::open(url)?
        }))
    }

    fn timeouts(
        &self,
        client: redis::cluster::ClusterClientBuilder,
    ) -> redis::cluster::ClusterClientBuilder {
        client
            .connection_timeout(self.settings.timeout)
            .response_timeout(self.settings.timeout.saturating_mul(10))
            .retries(3)
    }
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder")
            .field("store", &self.store_name())
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// A store in Redis that has started: a handle, which can be cloned.
///
/// It is a source of snapshots, so a
/// [`Server`](https://docs.rs/tallies/latest/tallies/struct.Server.html), a
/// [`MetricsService`](https://docs.rs/tallies/latest/tallies/struct.MetricsService.html) or a
/// [`Pusher`](https://docs.rs/tallies/latest/tallies/struct.Pusher.html) takes it in place of a
/// registry. [`builder`](Self::builder) has an example.
///
/// Dropping the last handle closes the store without waiting for it, and logs a warning: what the
/// process counts from then on is not shared. So keep a handle as long as the program counts, and
/// then [close](Self::close) the store.
#[derive(Clone)]
#[must_use = "the sharing ends when the last handle is dropped: keep it, and `close` it at the end"]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<str>,
    commands: mpsc::Sender<Command>,
    last_view: LastView,
    stale: Duration,
    /// The longest wait for an answer of the thread.
    wait: Duration,
    close: Duration,
    /// The process that has the thread.
    process: u32,
    /// Whether the process only reads.
    observes: bool,
    /// The source, if it is a registry.
    registry: Option<Registry>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let is_own = self.process == std::process::id();
        if is_own && !self.observes && !self.commands.is_closed() {
            let message = format!(
                "the store at {} is closed because its last handle was dropped: what this process \
                 counts from now on is not shared; keep the handle, and call `close` at the end",
                self.store
            );
            Error::new(message).log();
        }
    }
}

impl Redis {
    /// Returns a builder of a store at `url`, for the default registry.
    ///
    /// ```no_run
    /// let store = tallies_redis::Redis::builder("redis://127.0.0.1/")?.namespace("shop").start()?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The URL is `redis://[user[:password]@]host[:port][/database]`, `rediss://` for TLS (with the
    /// feature `tls`), or `unix:///path/to/socket?db=0&user=…&pass=…`. Names and passwords in a
    /// URL are percent-encoded.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is invalid. The message does not show it, because it can contain
    /// a password.
    pub fn builder(url: &str) -> Result<RedisBuilder, Error> {
        check_url(url)?;
        Ok(RedisBuilder {
            source: Arc::new(tallies::registry().clone()),
            registry: Some(tallies::registry().clone()),
            urls: vec![url.to_owned()],
            is_cluster: false,
            namespace: "default".to_owned(),
            shards: 1,
            settings: StoreSettings {
                flush: Duration::from_secs(1),
                refresh: Duration::from_secs(30),
                ttl: Duration::from_secs(60),
                fold_after: Duration::from_secs(600),
                stale: Duration::from_secs(300),
                timeout: Duration::from_secs(2),
                close: Duration::from_secs(2),
            },
            observes: false,
            #[cfg(feature = "tls")]
            tls: Certificates::default(),
        })
    }

    /// Sends what has changed, and returns when Redis has acknowledged it. Every update that
    /// returned before this call is then part of every scrape, of any process.
    ///
    /// ```no_run
    /// # async fn run(store: tallies_redis::Redis) -> Result<(), tallies::Error> {
    /// tallies::registry().counter("jobs_total", "Jobs done.")?.inc();
    /// store.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if Redis cannot be reached or refuses to write. Nothing is lost then: the
    /// next flush sends it.
    pub async fn flush(&self) -> Result<(), Error> {
        self.ask(Command::Flush).await
    }

    /// Blocks until Redis has acknowledged what has changed.
    ///
    /// # Errors
    ///
    /// The errors of [`flush`](Self::flush).
    pub fn flush_blocking(&self) -> Result<(), Error> {
        self.ask_blocking(Command::Flush, self.inner.wait)
    }

    /// Returns what all processes have counted. This flushes first, so updates of this process that
    /// returned before the call are included.
    ///
    /// # Errors
    ///
    /// Returns an error if Redis has not been reached for longer than
    /// [`serve_stale_for`](RedisBuilder::serve_stale_for).
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let view = self.ask(Command::Scrape).await?;
        Ok((*view).clone())
    }

    /// Returns what [`snapshot`](Self::snapshot) returns, and blocks until it is read.
    ///
    /// # Errors
    ///
    /// The errors of [`snapshot`](Self::snapshot).
    pub fn snapshot_blocking(&self) -> Result<Snapshot, Error> {
        Ok((*self.view_blocking()?).clone())
    }

    /// Returns the total of a metric over all processes, ended ones included; with labels, that of
    /// all its series. This flushes first, as [`snapshot`](Self::snapshot) does.
    ///
    /// ```no_run
    /// # async fn run(store: tallies_redis::Redis) -> Result<(), tallies::Error> {
    /// static PARCELS: tallies::Counter = tallies::Counter::new("parcels_total").help("Parcels sent.");
    ///
    /// PARCELS.inc();
    /// let all: f64 = store.total(&PARCELS).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`snapshot`](Self::snapshot), and a metric that is not in the registry of the
    /// store.
    pub async fn total(&self, metric: &impl Totalled) -> Result<f64, Error> {
        // Before the flush: a static that was not used yet is registered now, and its total is 0.
        let name = self.name_of(metric);
        let view = self.ask(Command::Scrape).await?;
        self.sum(&view, &name)
    }

    /// Returns what [`total`](Self::total) returns, and blocks until it is read.
    ///
    /// # Errors
    ///
    /// The errors of [`total`](Self::total).
    pub fn total_blocking(&self, metric: &impl Totalled) -> Result<f64, Error> {
        let name = self.name_of(metric);
        let view = self.view_blocking()?;
        self.sum(&view, &name)
    }

    /// Returns the name of a metric on pages.
    fn name_of(&self, metric: &impl Totalled) -> String {
        metric.name_in(self.inner.registry.as_ref().unwrap_or(tallies::registry()))
    }

    /// Adds up all series of a family.
    fn sum(&self, page: &Snapshot, name: &str) -> Result<f64, Error> {
        let Some(family) = page.family(name) else {
            let cause = format!(
                "no process shares `{name}`; the metric is not in the registry of the store, or a \
                 view switched it off"
            );
            return Err(failed("there is no total in", &self.inner.store, cause));
        };
        let values = family.series().map(|(_, value)| match value {
            Value::Counter(n) => n.as_f64(),
            Value::Gauge(x) => x,
            _ => 0.0,
        });
        Ok(values.sum())
    }

    /// Returns one number over all processes, addressed as by [`Snapshot::get`]. This flushes
    /// first, as [`snapshot`](Self::snapshot) does.
    ///
    /// ```no_run
    /// # async fn run(store: tallies_redis::Redis) -> Result<(), tallies::Error> {
    /// let mail = store.get("jobs_total", &[("queue", "mail")]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`snapshot`](Self::snapshot).
    pub async fn get(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>, Error> {
        let view = self.ask(Command::Scrape).await?;
        Ok(view.get(name, labels))
    }

    /// Returns what [`get`](Self::get) returns, and blocks until it is read.
    ///
    /// # Errors
    ///
    /// The errors of [`snapshot`](Self::snapshot).
    pub fn get_blocking(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>, Error> {
        Ok(self.view_blocking()?.get(name, labels))
    }

    fn view_blocking(&self) -> Result<Arc<Snapshot>, Error> {
        self.ask_blocking(Command::Scrape, self.inner.wait)
    }

    /// Returns the processes of the namespace, with what each of them has counted.
    ///
    /// # Errors
    ///
    /// Returns an error if Redis cannot be reached.
    pub async fn overview(&self) -> Result<Overview, Error> {
        self.ask(Command::Overview).await
    }

    /// Returns what [`overview`](Self::overview) returns, and blocks until it is read.
    ///
    /// # Errors
    ///
    /// The errors of [`overview`](Self::overview).
    pub fn overview_blocking(&self) -> Result<Overview, Error> {
        self.ask_blocking(Command::Overview, self.inner.wait)
    }

    /// Folds the processes that have been silent for this long, and returns their number. The store
    /// does this by itself; this is for tools.
    ///
    /// # Errors
    ///
    /// Returns an error if Redis cannot be reached.
    pub async fn fold(&self, silence: Duration) -> Result<usize, Error> {
        self.ask(|reply| Command::Fold(silence, reply)).await
    }

    /// Folds like [`fold`](Self::fold), and blocks until that is done.
    ///
    /// # Errors
    ///
    /// The errors of [`fold`](Self::fold).
    pub fn fold_blocking(&self, silence: Duration) -> Result<usize, Error> {
        let command = |reply| Command::Fold(silence, reply);
        self.ask_blocking(command, self.inner.wait)
    }

    /// Ends the sharing: sends the last changes, removes the gauges of this process, and folds its
    /// totals into those of ended processes (if many processes end at once, others do that). Waits
    /// for what is under way, up to [`close_timeout`](RedisBuilder::close_timeout).
    ///
    /// Closing twice is fine. After that, flushes and scrapes fail.
    ///
    /// # Errors
    ///
    /// Returns an error if Redis cannot be reached in time. The gauges then expire, and another
    /// process folds the totals that were flushed last.
    pub async fn close(&self) -> Result<(), Error> {
        if self.inner.commands.is_closed() {
            return Ok(());
        }
        // The limit holds even if the thread of the store waits for a collector, and no timer of
        // whatever runtime this is polled by is needed.
        let (sender, receiver) = oneshot::channel();
        let store = self.clone();
        let close = move || {
            let _ = sender.send(store.close_blocking());
        };
        let spawned = std::thread::Builder::new()
            .name("tallies-close".to_owned())
            .spawn(close);
        spawned.map_err(|error| failed("cannot close", &self.inner.store, error))?;
        receiver.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Closes like [`close`](Self::close), and blocks until that is done.
    ///
    /// # Errors
    ///
    /// The errors of [`close`](Self::close).
    pub fn close_blocking(&self) -> Result<(), Error> {
        if self.inner.commands.is_closed() {
            return Ok(());
        }
        // The thread keeps the limit itself, and can say more about the reason.
        let wait = self.inner.close.saturating_add(Duration::from_millis(200));
        self.ask_blocking(Command::Close, wait)
    }

    /// Closes the store when the program gets SIGINT or SIGTERM, and then ends the program as the
    /// signal does by default. For programs that do not handle these signals themselves.
    ///
    /// The program ends after [`close_timeout`](RedisBuilder::close_timeout) in any case, and if
    /// the store is closed already, at once. Several stores close at the same time.
    #[cfg(unix)]
    pub fn close_on_signals(&self) {
        if !self.inner.commands.is_closed() {
            signals::close_on_signals(&self.inner);
        }
    }

    /// Asks the thread, and blocks until it answers.
    fn ask_blocking<T: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
        wait: Duration,
    ) -> Result<T, Error> {
        let (sender, receiver) = sync_channel(1);
        self.send(command(Box::new(move |result| {
            // An error means that the caller has stopped waiting.
            let _ = sender.send(result);
        })))?;
        receiver.recv_timeout(wait).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => self.late(wait),
                RecvTimeoutError::Disconnected => self.closed(),
            })
        })
    }

    async fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.send(command(Box::new(move |result| {
            let _ = sender.send(result);
        })))?;
        receiver.await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn send(&self, command: Command) -> Result<(), Error> {
        let cause = if self.inner.process == std::process::id() {
            match self.inner.commands.try_send(command) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => "too many requests wait for it",
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(self.closed()),
            }
        } else {
            "it was started before a fork; start one in each process"
        };
        Err(failed("cannot use", &self.inner.store, cause))
    }

    fn closed(&self) -> Error {
        failed("cannot use", &self.inner.store, "it is closed")
    }

    fn late(&self, wait: Duration) -> Error {
        let cause = format!("no answer within {wait:?}; a collector may be hanging");
        failed("cannot use", &self.inner.store, cause)
    }
}

impl Source for Redis {
    /// Takes a snapshot of all processes. It is empty if there is none.
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        if self.try_snapshot_into(snapshot).is_err() {
            *snapshot = Snapshot::default();
        }
    }

    fn try_snapshot_into(&self, snapshot: &mut Snapshot) -> Result<(), Error> {
        // A server that is scraped has seconds. The thread may be busy, or wait for a collector.
        let wait = self.inner.wait / 4;
        match self.ask_blocking(Command::Scrape, wait) {
            Ok(view) => snapshot.clone_from(&view),
            // The last view of the parent says nothing of a child, and its lock may be held for
            // ever.
            Err(error) if self.inner.process != std::process::id() => return Err(error),
            Err(error) => {
                // The thread is late. What it has read before is still good for a while.
                let last = self.inner.last_view.lock();
                let last = last.unwrap_or_else(PoisonError::into_inner).clone();
                let is_closed = self.inner.commands.is_closed();
                match last.filter(|(_, read)| !is_closed && read.elapsed() <= self.inner.stale) {
                    Some((view, _)) => {
                        snapshot.clone_from(&view);
                        worker::insert_up(snapshot, false);
                    }
                    None => return Err(error),
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("store", &self.inner.store)
            .finish_non_exhaustive()
    }
}
