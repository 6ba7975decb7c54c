//! The settings of a store.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::cluster::ClusterClient;
use redis::{Client, IntoConnectionInfo};
use tallies::snapshot::{Family, Source};
use tallies::{Error, Registry};
use tokio::sync::mpsc;

use super::connection::{Connection, RedisServer};
use super::reader::ShardView;
use super::scripts::Keys;
use super::store::{Inner, Redis};
use super::worker::{Health, LastView, Worker};
use super::writer::{OwnWriter, random_name};
use super::{KEEP, WAITING, failed, one_line, url};

/// The durations of a store.
#[derive(Clone, Debug)]
pub(super) struct StoreSettings {
    pub(super) flush: Duration,
    pub(super) refresh: Duration,
    pub(super) ttl: Duration,
    pub(super) fold_after: Duration,
    pub(super) stale: Duration,
    pub(super) timeout: Duration,
    pub(super) close: Duration,
}

impl StoreSettings {
    /// Returns the times to live of the gauges among `families`.
    fn ttls(&self, families: &[Family]) -> impl Iterator<Item = Duration> {
        let declared = families.iter().filter_map(Family::shared_ttl);
        declared.chain([self.ttl])
    }

    /// Returns the longest time to live of a gauge, in milliseconds.
    pub(super) fn longest_ttl(&self, families: &[Family]) -> u64 {
        let longest = self.ttls(families).max().unwrap_or(self.ttl);
        (longest.as_millis() as u64).clamp(1, KEEP.as_millis() as u64)
    }

    /// Returns the longest time between two flushes: no gauge expires in between.
    pub(super) fn refresh_of(&self, families: &[Family]) -> Duration {
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

impl RedisBuilder {
    /// Returns the builder of a store at `url`, with the defaults.
    pub(super) fn at(url: &str) -> Result<Self, Error> {
        check_url(url)?;
        Ok(Self {
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
            let shard = usize::from_str_radix(&random_name()[..8], 16).unwrap_or(0);
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
                health: Health::default(),
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

/// Returns the error of a setting with a value that breaks a rule.
fn setting(what: &str, value: &str, rule: &str) -> Error {
    Error::new(format!("{what} `{}` {rule}", value.escape_debug()))
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
