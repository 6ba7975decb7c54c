//! Pushes to a Pushgateway or to VictoriaMetrics, once or in the background, for programs that are
//! not scraped.

mod background;
mod gateway;
mod url;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tallies_client::{ClientBuilder, ClientError};
use tallies_names::setters;

use crate::error::{Error, ErrorKind, warn_once};
use crate::snapshot::{Merged, MergedSnapshot, Source};

use gateway::Gateway;

pub use background::Pushing;

/// The word for a receiver in errors.
const GATEWAY: &str = "gateway";

/// Pushes metrics to a [Pushgateway](https://github.com/prometheus/pushgateway), for programs that
/// end before they are scraped, or to VictoriaMetrics with [`path`](Self::path).
///
/// ```no_run
/// use tallies::push::Pusher;
///
/// // At the end of a batch job:
/// Pusher::new("http://127.0.0.1:9091", "nightly_backup")
///     .grouping("instance", "db1")
///     .replace()?;
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The metrics form a *group*, which the job and the [`grouping`](Self::grouping) labels identify.
/// The gateway adds these labels to every series. A push therefore fails with an error if a series
/// already has one of them. The body is in the text format 0.0.4, without timestamps, so a
/// histogram with exponential buckets only arrives with its count and sum.
///
/// # Async programs
///
/// A push blocks for up to the [`timeout`](Self::timeout), so an async program calls
/// `tokio::task::spawn_blocking(move || pusher.add())`. Pushes that [`start`](Self::start) begins
/// run on their own thread, and only [`Pushing::stop`] blocks.
///
/// # Self-metrics
///
/// With self-metrics enabled, the default registry has `tallies_pushes_total` and
/// `tallies_push_failures_total`, counted over all pushers of the program. It also has
/// `tallies_last_push_timestamp_seconds`, the time of the last successful push.
#[must_use = "a pusher pushes when it is told to"]
#[derive(Clone)]
pub struct Pusher {
    sources: Merged,
    /// The source of a pusher to which none was added.
    default: Arc<dyn Source>,
    url: String,
    job: String,
    grouping: Vec<(String, String)>,
    path: Option<String>,
    gzip: bool,
    client: ClientBuilder,
}

impl Pusher {
    /// Creates a pusher of `source`, which the first [`registry`](Self::registry) replaces.
    pub(crate) fn of(source: Arc<dyn Source>, url: &str, job: &str) -> Self {
        Self {
            sources: Merged::new(),
            default: source,
            url: url.to_owned(),
            job: job.to_owned(),
            grouping: Vec::new(),
            path: None,
            gzip: false,
            client: ClientBuilder::new(GATEWAY, concat!("tallies/", env!("CARGO_PKG_VERSION"))),
        }
    }

    /// Pushes this registry instead of the default one. Further calls add registries to the same
    /// push.
    ///
    /// ```no_run
    /// use tallies::{Registry, push::Pusher};
    ///
    /// let registry = Registry::new();
    /// Pusher::new("http://127.0.0.1:9091", "import").registry(&registry).add()?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Families with the same name are merged. A push leaves out a family that conflicts with those
    /// of earlier registries, and pushes the rest. [`Merged`] says when, and how that is logged and
    /// counted.
    pub fn registry<S: Source + Clone + 'static>(mut self, registry: &S) -> Self {
        self.sources = self.sources.source(registry);
        self
    }

    setters! {
        /// Adds a label to those that identify the group beside the job, often `instance`.
        ///
        /// ```no_run
        /// # use tallies::push::Pusher;
        /// // Pushes to /metrics/job/import/instance/db1/shard/7.
        /// let pusher = Pusher::new("http://127.0.0.1:9091", "import");
        /// pusher.grouping("shard", "7").grouping("instance", "db1").add()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// The value may be any string, even an empty one. The order of calls does not matter,
        /// because labels are sent in the order of their names.
        fn grouping(self, name: &str, value: &str) =
            self.grouping.push((name.to_owned(), value.to_owned()));

        /// Pushes to this path, appended to the URL, instead of a group. It is meant for servers
        /// that read the text format but have no groups.
        ///
        /// ```no_run
        /// # use tallies::push::Pusher;
        /// Pusher::new("http://127.0.0.1:8428", "import").path("/api/v1/import/prometheus").add()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// `/api/v1/import/prometheus` is the path of VictoriaMetrics, which takes the job and the
        /// grouping labels in its query (`extra_label`). With a path, [`replace`](Self::replace)
        /// and [`delete`](Self::delete) return an error.
        fn path(self, path: &str) = self.path = Some(path.to_owned());

        /// Authenticates with a user name and a password (RFC 7617).
        ///
        /// ```no_run
        /// # use tallies::push::Pusher;
        /// Pusher::new("https://gateway.example.org", "import").basic_auth("ann", "a long password").add()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn basic_auth(self, user: &str, password: &str) =
            self.client = self.client.basic_auth(user, password);

        /// Authenticates with a bearer token (RFC 6750).
        ///
        /// ```no_run
        /// # use tallies::push::Pusher;
        /// Pusher::new("https://gateway.example.org", "import").bearer_token("a long secret").add()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn bearer_token(self, token: &str) = self.client = self.client.bearer_token(token);

        /// Limits the time of a push, from the name look-up to the last byte of the response.
        /// Default: 10 s.
        ///
        /// ```no_run
        /// # use tallies::push::Pusher;
        /// # use std::time::Duration;
        /// Pusher::new("http://127.0.0.1:9091", "import").timeout(Duration::from_secs(3)).gzip().add()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn timeout(self, timeout: Duration) = self.client = self.client.timeout(timeout);

        /// Compresses the body. The Pushgateway supports this since version 1.5.0.
        fn gzip(self) = self.gzip = true;

        /// Trusts only the certificates in this PEM text, such as those of a private CA. Default:
        /// Mozilla's root certificates.
        ///
        /// ```no_run
        /// # use tallies::push::Pusher;
        /// let ca = std::fs::read("ca.crt")?;
        /// Pusher::new("https://gateway.example.org", "import").root_certificates(&ca).add()?;
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[cfg(feature = "tls")]
        fn root_certificates(self, pem: &[u8]) = self.client = self.client.root_certificates(pem);
    }

    /// Adds the metrics to the group (POST). Families with the same names are replaced, and others
    /// stay. The push is not retried.
    ///
    /// ```no_run
    /// # use tallies::push::Pusher;
    /// if let Err(error) = Pusher::new("http://127.0.0.1:9091", "import").add() {
    ///     eprintln!("{error}");
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error in these cases. The message names the URL, and repeats the status and the
    /// text of the gateway's response.
    ///
    /// - The URL, the job or a label is invalid.
    /// - A series has one of the group's labels.
    /// - The gateway cannot be reached, does not respond in time, or responds with a status other
    ///   than 2xx.
    pub fn add(&self) -> Result<(), Error> {
        self.gateway()?.push("POST")
    }

    /// Replaces the whole group (PUT).
    ///
    /// # Errors
    ///
    /// Returns the errors of [`add`](Self::add), and an error if a [`path`](Self::path) is set,
    /// because there are no groups then.
    pub fn replace(&self) -> Result<(), Error> {
        self.gateway_with_groups()?.push("PUT")
    }

    /// Deletes the group (DELETE). Groups that have further labels stay. Deleting a group that does
    /// not exist succeeds.
    ///
    /// ```no_run
    /// # use tallies::push::Pusher;
    /// Pusher::new("http://127.0.0.1:9091", "import").grouping("instance", "db1").delete()?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The gateway deletes the group a moment later, but before it handles any later push.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`replace`](Self::replace).
    pub fn delete(&self) -> Result<(), Error> {
        // The Pushgateway's README: a DELETE request must not contain any content.
        self.gateway_with_groups()?.send("DELETE", &[], None)
    }

    /// Replaces the group now and then every `interval`, on a thread of its own. With a
    /// [`path`](Self::path), it adds instead.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tallies::push::Pusher;
    ///
    /// # fn main() -> Result<(), tallies::Error> {
    /// let pushing = Pusher::new("http://127.0.0.1:9", "worker").start(Duration::from_secs(15))?;
    /// // ... the program ...
    /// if let Err(error) = pushing.stop() {
    ///     eprintln!("{error}"); // no gateway listens at this address
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The pushes end with [`Pushing::stop`], or when the returned value is dropped. Both push once
    /// more.
    ///
    /// A failed push is retried after 1 s. The pause doubles with each further failure, up to a
    /// minute, or up to the interval if that is longer. Each pause is randomly made up to a tenth
    /// shorter or longer. The beginning and the end of an outage are logged. An
    /// outage does not slow down the program, because updates do not depend on pushes.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL, the job or a label is invalid, if the interval is zero, or if
    /// the thread cannot be created. An unreachable gateway is not an error. Nor is an interval of
    /// nanoseconds: then one push follows the other.
    pub fn start(&self, interval: Duration) -> Result<Pushing, Error> {
        if interval.is_zero() {
            let why = "has to be longer than 0";
            return Err(Error::setting("push interval", "0", why));
        }
        let method = match self.path {
            None => "PUT",
            Some(_) => "POST",
        };
        Pushing::start(self.gateway()?, method, interval)
    }

    fn gateway_with_groups(&self) -> Result<Gateway, Error> {
        match &self.path {
            None => self.gateway(),
            Some(path) => {
                let why = "has no groups to replace or delete; push to it with `add`";
                Err(Error::setting("push path", path, why))
            }
        }
    }

    fn gateway(&self) -> Result<Gateway, Error> {
        let url = match &self.path {
            None => url::group(&self.url, &self.job, &self.grouping),
            Some(path) => url::import(&self.url, path, &self.job, &self.grouping),
        }?;
        let client = self.client.build(&url).map_err(client_error)?;
        if let Some(warning) = client.warning("pushes") {
            warn_once(&warning);
        }
        let grouping = self.grouping.iter().map(|(name, _)| name.clone());
        Ok(Gateway {
            client,
            labels: std::iter::once("job".to_owned()).chain(grouping).collect(),
            gzip: self.gzip,
            sources: self.sources.clone().or(Arc::clone(&self.default)),
            merged: MergedSnapshot::default(),
            page: Vec::new(),
            compressed: Vec::new(),
        })
    }
}

/// Converts an error of the client. Its message includes the cause.
fn client_error(error: ClientError) -> Error {
    let kind = error.io_kind().map_or(ErrorKind::Other, ErrorKind::Io);
    kind.error(format_args!("{error}"))
}

impl Debug for Pusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pusher")
            .field("registries", &self.sources.sources().len().max(1))
            .field("job", &self.job)
            .field("grouping", &self.grouping)
            .finish_non_exhaustive()
    }
}
