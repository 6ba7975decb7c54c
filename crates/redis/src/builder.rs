//! The settings of a store.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::cluster::ClusterClient;
use redis::{Client, IntoConnectionInfo, RedisResult};
use tallies::snapshot::{Family, Source};
use tallies::{Error, Registry};
use tallies_names::setters;
use tokio::sync::mpsc;

use super::connection::{Connection, RedisServer};
use super::scripts::Keys;
use super::store::{Inner, Redis};
use super::worker::{LastView, Worker};
use super::{KEEP, WAITING, failed, millis, one_line, thread, url};

/// The settings that the handles, the thread and the writer of a store share.
pub(super) struct StoreSettings {
    /// The address in messages, without user and password.
    pub(super) store: String,
    pub(super) source: Arc<dyn Source>,
    /// The source, if it is a registry.
    pub(super) registry: Option<Registry>,
    /// Whether the process only reads.
    pub(super) observes: bool,
    pub(super) flush: Duration,
    pub(super) refresh: Duration,
    pub(super) ttl: Duration,
    pub(super) fold_after: Duration,
    pub(super) stale: Duration,
    pub(super) timeout: Duration,
    pub(super) close: Duration,
}

impl StoreSettings {
    /// Returns the longest time to live of a gauge among `families`, in milliseconds.
    pub(super) fn longest_ttl(&self, families: &[Family]) -> u64 {
        let declared = families.iter().filter_map(Family::shared_ttl);
        let longest = declared.fold(self.ttl, Duration::max);
        millis(longest).clamp(1, millis(KEEP))
    }

    /// Returns the longest time between two flushes: no gauge expires in between.
    pub(super) fn refresh_of(&self, families: &[Family]) -> Duration {
        let declared = families.iter().filter_map(Family::shared_ttl);
        let shortest = declared.fold(self.ttl, Duration::min);
        let longest = self.refresh.min(shortest / 2);
        longest.max(Duration::from_millis(10))
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
    urls: Vec<String>,
    is_cluster: bool,
    namespace: String,
    shards: usize,
    pub(super) settings: StoreSettings,
    /// Set if the program has certificates of its own.
    #[cfg(feature = "tls")]
    certificates: Option<redis::TlsCertificates>,
}

impl RedisBuilder {
    /// Returns the builder of a store at `url`, with the defaults.
    pub(super) fn at(url: &str) -> Result<Self, Error> {
        let store = address(url)?;
        Ok(Self {
            urls: vec![url.to_owned()],
            is_cluster: false,
            namespace: "default".to_owned(),
            shards: 1,
            settings: StoreSettings {
                store,
                source: Arc::new(tallies::registry().clone()),
                registry: Some(tallies::registry().clone()),
                observes: false,
                flush: Duration::from_secs(1),
                refresh: Duration::from_secs(30),
                ttl: Duration::from_secs(60),
                fold_after: Duration::from_secs(600),
                stale: Duration::from_secs(300),
                timeout: Duration::from_secs(2),
                close: Duration::from_secs(2),
            },
            #[cfg(feature = "tls")]
            certificates: None,
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
        self.settings.source = Arc::new(registry.clone());
        self.settings.registry = (registry as &dyn Any).downcast_ref().cloned();
        self
    }

    setters! {
        /// Sets the namespace: the name of the application. Only processes with one namespace share
        /// their metrics. Default: `default`.
        fn namespace(self, namespace: &str) = namespace.clone_into(&mut self.namespace);

        /// This process shares nothing and is no writer. Like all processes it folds those that
        /// have ended. For tools, and for a process whose only task is to be scraped.
        fn observe(self) = self.settings.observes = true;
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
            address(url)?;
            self.urls.push((*url).to_owned());
        }
        Ok(self)
    }

    setters! {
        /// Distributes the writers over this number of shards, each in a slot of its own. All
        /// processes of a namespace need the same number. Default: 1.
        fn shards(self, shards: usize) = self.shards = shards;

        /// Sets how often changes are sent. Default: 1 s.
        fn flush_every(self, interval: Duration) = self.settings.flush = interval;

        /// Sets how often a process sends a sign of life while nothing changes. Default: 30 s. It
        /// is sent more often if a gauge declares a time to live of less than twice that.
        fn refresh_every(self, interval: Duration) = self.settings.refresh = interval;

        /// Sets how long the live gauges of a process are shown that sends nothing more, where
        /// their declaration has no [`shared_ttl`](tallies::Gauge::shared_ttl). Default: 60 s.
        fn gauge_ttl(self, ttl: Duration) = self.settings.ttl = ttl;

        /// Sets how long a process has to be silent before another one folds its totals into those
        /// of ended processes. Default: 10 min. A process that is folded and comes back goes on
        /// exactly where it was.
        fn fold_after(self, silence: Duration) = self.settings.fold_after = silence;

        /// Sets how long scrapes show the last view of the other processes while Redis cannot be
        /// reached. After that, they fail. Default: 5 min.
        fn serve_stale_for(self, limit: Duration) = self.settings.stale = limit;

        /// Limits the time of one command, and of opening a connection. Commands that move much
        /// data may take up to ten times as long. Default: 2 s.
        fn timeout(self, timeout: Duration) = self.settings.timeout = timeout;

        /// Limits the time that closing takes. Default: 2 s.
        fn close_timeout(self, timeout: Duration) = self.settings.close = timeout;

        /// Trusts only the certificates in this PEM text. Default: Mozilla's root certificates.
        #[cfg(feature = "tls")]
        fn root_certificates(self, pem: &[u8]) =
            self.own_certificates().root_cert = Some(pem.to_owned());

        /// Identifies this process by a certificate and its key, in PEM format.
        #[cfg(feature = "tls")]
        fn client_certificate(self, certificate: &[u8], key: &[u8]) =
            self.own_certificates().client_tls = Some(redis::ClientTlsConfig {
                client_cert: certificate.to_owned(),
                client_key: key.to_owned(),
            });
    }

    #[cfg(feature = "tls")]
    fn own_certificates(&mut self) -> &mut redis::TlsCertificates {
        self.certificates.get_or_insert(redis::TlsCertificates {
            client_tls: None,
            root_cert: None,
        })
    }

    /// Starts the thread of the store. Does not wait for Redis.
    ///
    /// A process that forks starts the store after the fork: the child has no thread.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid, or if the thread cannot be started. That Redis
    /// cannot be reached is not an error: the store tries again.
    pub fn start(mut self) -> Result<Redis, Error> {
        self.check()?;
        // For messages: a program can have several stores on one server.
        let store = &mut self.settings.store;
        *store = format!("{store} (Redis, namespace `{}`)", self.namespace);
        let server = self.server().map_err(|error| {
            let cause = io::Error::other(one_line(&error));
            failed("cannot use", &self.settings.store, cause)
        })?;
        let settings = Arc::new(self.settings);
        if let Some(registry) = settings.registry.as_ref().filter(|_| !settings.observes) {
            registry.start_over_after_fork();
        }
        let last_view = LastView::default();
        let (sender, receiver) = mpsc::channel(WAITING);
        let handle = Redis {
            inner: Arc::new(Inner {
                commands: sender,
                last_view: Arc::clone(&last_view),
                process: std::process::id(),
                settings: Arc::clone(&settings),
            }),
        };
        let store = &handle.inner.settings.store;
        let no_thread = |error: io::Error| failed("cannot start the thread of", store, error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(no_thread)?;
        let run = move || {
            let connection = Connection::new(server, settings.timeout);
            let keys = |index| Keys::new(&self.namespace, index, self.shards);
            let keys = (0..self.shards).map(keys).collect();
            let worker = Worker::new(settings, connection, keys, last_view);
            runtime.block_on(worker.run(receiver));
        };
        thread("tallies-redis").spawn(run).map_err(no_thread)?;
        Ok(handle)
    }

    /// Checks the settings. An error has the name of the setting, its value and the rule.
    fn check(&self) -> Result<(), Error> {
        let (namespace, settings) = (&self.namespace, &self.settings);
        let is_name = !namespace.is_empty() && !namespace.contains(['{', '}']);
        let rule = "must not be empty, or contain braces";
        setting("namespace", namespace.escape_debug(), is_name, rule)?;
        let is_number = (1..=1024).contains(&self.shards);
        let rule = "has to be from 1 to 1024";
        setting("number of shards", self.shards, is_number, rule)?;
        for (what, duration) in [
            ("flush interval", settings.flush),
            ("refresh interval", settings.refresh),
            ("time to live of gauges", settings.ttl),
            ("time to fold", settings.fold_after),
            ("timeout", settings.timeout),
            ("timeout of closing", settings.close),
        ] {
            let is_right = (Duration::from_millis(1)..=KEEP).contains(&duration);
            let value = format!("{duration:?}");
            setting(what, value, is_right, "has to be from 1 ms to 7 days")?;
        }
        for (what, duration) in [
            ("time to live of gauges", settings.ttl),
            ("time to fold", settings.fold_after),
        ] {
            let is_right = settings.refresh <= duration / 2;
            let value = format!("{:?}", settings.refresh);
            let rule = format!("has to be at most half the {what}");
            setting("refresh interval", value, is_right, &rule)?;
        }
        Ok(())
    }

    fn server(&self) -> RedisResult<RedisServer> {
        #[cfg(feature = "tls")]
        if self.urls.iter().any(|url| url.starts_with("rediss")) {
            // The client uses the provider of the process. One that the program has installed
            // stays.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        if self.is_cluster {
            let client = ClusterClient::builder(self.urls.clone())
                .connection_timeout(self.settings.timeout)
                .response_timeout(self.settings.timeout.saturating_mul(10))
                .retries(3);
            #[cfg(feature = "tls")]
            let client = match self.certificates.clone() {
                Some(certificates) => client.certs(certificates),
                None => client,
            };
            return Ok(RedisServer::Cluster(client.build()?));
        }
        let url = self.urls[0].as_str();
        #[cfg(feature = "tls")]
        if let Some(certificates) = self.certificates.clone() {
            let client = Client::build_with_tls(url, certificates)?;
            return Ok(RedisServer::Single(client));
        }
        Ok(RedisServer::Single(Client::open(url)?))
    }
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder")
            .field("store", &self.settings.store)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Returns an error if a setting is not right.
fn setting(what: &str, value: impl fmt::Display, is_right: bool, rule: &str) -> Result<(), Error> {
    match is_right {
        true => Ok(()),
        false => Err(Error::new(format!("{what} `{value}` {rule}"))),
    }
}

/// Checks a URL, and returns the address in it, without user and password.
fn address(url: &str) -> Result<String, Error> {
    // The client's error may show the URL.
    let info = url.into_connection_info().map_err(|_| {
        let cause = io::Error::other(url::problem(url));
        failed("cannot use the URL of", "a Redis store", cause)
    })?;
    Ok(info.addr().to_string())
}
