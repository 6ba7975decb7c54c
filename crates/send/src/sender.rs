//! The settings of a sender, and the handle of one that runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tallies::snapshot::{Merged, Source};
use tallies::{Error, Registry};
use tallies_client::{Background, Client, ClientBuilder, StopError, Task, full_url};
use tallies_names::setters;

use crate::metrics::SelfMetrics;
use crate::otlp::Otlp;
use crate::otlp::environment::Environment;
use crate::protocol::Protocol;
use crate::remote_write::RemoteWrite;
use crate::worker::{SystemClock, Worker};

/// The word for a receiver in errors.
pub(crate) const RECEIVER: &str = "receiver";
/// The header that remote write asks for, and other receivers log.
const USER_AGENT: &str = concat!("tallies/", env!("CARGO_PKG_VERSION"));
/// The default time between two snapshots.
const INTERVAL: Duration = Duration::from_secs(15);

/// Sends the metrics of a program that nobody scrapes: all of them, now and then every interval, on
/// a thread of its own.
///
/// ```no_run
/// use std::time::Duration;
/// use tallies_send::{RemoteWrite, Sender};
///
/// let protocol = RemoteWrite::new().label("job", "import").label("instance", "db1");
/// let sending = Sender::new("http://127.0.0.1:9090/api/v1/write", protocol)
///     .interval(Duration::from_secs(10))
///     .start()?;
/// // ... the program ...
/// sending.stop()?;
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// Updates do not notice it: a snapshot takes what a scrape takes, and the thread does the rest.
///
/// # Failures
///
/// A request is sent again if the receiver does not answer, or if its answer asks for that: the
/// statuses 429 and 5xx, for OTLP only 429, 502, 503 and 504. The pause is what `Retry-After` says,
/// or else 1 s, doubled with each further failure up to a minute, and at random a tenth shorter or
/// longer. A receiver that asks for more than five minutes gets another request after five minutes,
/// or after the interval if that is longer. Other answers are not retried. Redirects are not
/// followed, since they would take the credentials along. The beginning and the end of an outage
/// are logged.
///
/// The next snapshot replaces what was not sent, so an outage takes memory for the series that
/// there are, however long it lasts. Totals are right afterwards; the values between are lost.
/// Deltas are added up, and lose nothing.
///
/// # Cost
///
/// One request holds at most about a mebibyte. Between requests, the thread keeps the last
/// snapshot, which shares the label texts of its series with the registry.
#[must_use = "a sender sends after `start`"]
pub struct Sender {
    url: String,
    protocol: AnyProtocol,
    sources: Merged,
    client: ClientBuilder,
    interval: Duration,
    gzip: bool,
    metrics: Option<Registry>,
}

/// The protocol of a [`Sender`].
///
/// ```
/// use tallies_send::{AnyProtocol, Otlp};
///
/// assert!(matches!(AnyProtocol::from(Otlp::new()), AnyProtocol::Otlp(_)));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyProtocol {
    /// OTLP over HTTP.
    Otlp(Otlp),
    /// Prometheus remote write.
    RemoteWrite(RemoteWrite),
}

impl From<Otlp> for AnyProtocol {
    fn from(otlp: Otlp) -> Self {
        Self::Otlp(otlp)
    }
}

impl From<RemoteWrite> for AnyProtocol {
    fn from(remote_write: RemoteWrite) -> Self {
        Self::RemoteWrite(remote_write)
    }
}

impl Sender {
    /// Creates a sender of the default registry, to the receiver of this URL. The URL has the whole
    /// path, such as `http://collector:4318/v1/metrics` or `http://mimir/api/v1/push`.
    ///
    /// ```no_run
    /// # use tallies_send::{Otlp, Sender};
    /// let sender = Sender::new("http://127.0.0.1:4318/v1/metrics", Otlp::new());
    /// let sending = sender.start()?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn new(url: &str, protocol: impl Into<AnyProtocol>) -> Self {
        Self {
            url: url.to_owned(),
            protocol: protocol.into(),
            sources: Merged::new(),
            client: ClientBuilder::new(RECEIVER, USER_AGENT),
            interval: INTERVAL,
            gzip: false,
            metrics: None,
        }
    }

    /// Creates a sender of the default registry as OpenTelemetry's environment variables say:
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` and the others of the OTLP exporter,
    /// `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`. Returns
    /// `None` if `OTEL_SDK_DISABLED` is `true`, or if `OTEL_METRICS_EXPORTER` names exporters, but
    /// not `otlp`: usually `none`.
    ///
    /// ```no_run
    /// let sending = tallies_send::Sender::from_env()?.map(|sender| sender.start()).transpose()?;
    /// // ... the program ...
    /// sending.map_or(Ok(()), |sending| sending.stop())?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the value of a variable is invalid, or if its certificate file cannot be
    /// read, is no regular file or is larger than 1 MiB. No error shows a password or the value of
    /// a header. The variables of client certificates are errors, because senders have none. An
    /// unknown exporter and a malformed `OTEL_RESOURCE_ATTRIBUTES` are logged and ignored, as the
    /// specification says.
    ///
    /// Source: OpenTelemetry, "OTLP Exporter Configuration" and "Environment Variable
    /// Specification".
    pub fn from_env() -> Result<Option<Self>, Error> {
        let environment = Environment::read(|name| {
            // What is not UTF-8 becomes a value that is refused, not a variable that is not set.
            let value = std::env::var_os(name)?;
            Some(value.to_string_lossy().into_owned())
        })?;
        if environment.is_disabled {
            return Ok(None);
        }
        let mut sender = Self::new(&environment.url, environment.otlp)
            .interval(environment.interval)
            .timeout(environment.timeout.min(environment.export_timeout));
        sender.gzip = environment.gzip;
        for (name, value) in &environment.headers {
            sender.client = sender.client.header(name, value);
        }
        #[cfg(feature = "tls")]
        if let Some(file) = &environment.certificate {
            let failed = |e| Error::with_cause(format!("cannot read `{}`", file.display()), e);
            let pem = tallies_names::read_file(file, 1).map_err(failed)?;
            sender = sender.root_certificates(&pem);
        }
        Ok(Some(sender))
    }

    /// Sends this registry, or the page of a store, instead of the default registry. Further calls
    /// add more; families of the same name are merged. A family that conflicts with those of
    /// earlier registries is left out, and the rest is sent. [`Merged`] says when, and how that is
    /// logged and counted.
    ///
    /// ```no_run
    /// # use tallies_send::{Otlp, Sender};
    /// let registry = tallies::Registry::new();
    /// let sender = Sender::new("http://127.0.0.1:4318/v1/metrics", Otlp::new());
    /// let sending = sender.registry(&registry).start()?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn registry<S: Source + Clone + 'static>(mut self, registry: &S) -> Self {
        self.sources = self.sources.source(registry);
        self
    }

    setters! {
        /// The time from one snapshot to the next, at most a year. Default: 15 s; from the
        /// environment 60 s.
        ///
        /// ```no_run
        /// # use tallies_send::{Otlp, Sender};
        /// # use std::time::Duration;
        /// let sender = Sender::new("http://127.0.0.1:4318/v1/metrics", Otlp::new());
        /// let sending = sender.interval(Duration::from_secs(5)).start()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn interval(self, interval: Duration) =
            self.interval = interval.min(Duration::from_secs(365 * 24 * 3600));

        /// Limits the time of a request, from the name look-up to the last byte of the response,
        /// and that of the last ones after [`Sending::stop`]. Default: 10 s.
        ///
        /// ```no_run
        /// # use tallies_send::{Otlp, Sender};
        /// # use std::time::Duration;
        /// let sender = Sender::new("http://127.0.0.1:4318/v1/metrics", Otlp::new());
        /// let sending = sender.timeout(Duration::from_secs(3)).start()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn timeout(self, timeout: Duration) = self.client = self.client.timeout(timeout);

        /// Authenticates with a user name and a password (RFC 7617).
        ///
        /// ```no_run
        /// # use tallies_send::{Otlp, Sender};
        /// let sender = Sender::new("https://collector.example.org/v1/metrics", Otlp::new());
        /// let sending = sender.basic_auth("ann", "a long password").start()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn basic_auth(self, user: &str, password: &str) =
            self.client = self.client.basic_auth(user, password);

        /// Authenticates with a bearer token (RFC 6750).
        ///
        /// ```no_run
        /// # use tallies_send::{Otlp, Sender};
        /// let sender = Sender::new("https://collector.example.org/v1/metrics", Otlp::new());
        /// let sending = sender.bearer_token("a long secret").start()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn bearer_token(self, token: &str) = self.client = self.client.bearer_token(token);

        /// Adds a header to every request, such as `X-Scope-OrgID` for a tenant, or `Authorization`
        /// for credentials of another kind. It replaces an earlier one of the same name.
        ///
        /// ```no_run
        /// # use tallies_send::{RemoteWrite, Sender};
        /// let sender = Sender::new("http://mimir:8080/api/v1/push", RemoteWrite::new());
        /// let sending = sender.header("X-Scope-OrgID", "shop").start()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn header(self, name: &str, value: &str) = self.client = self.client.header(name, value);

        /// Trusts only the certificates in this PEM text, such as those of a private CA. Default:
        /// Mozilla's root certificates.
        ///
        /// ```no_run
        /// # use tallies_send::{Otlp, Sender};
        /// let ca = std::fs::read("ca.crt")?;
        /// let sender = Sender::new("https://collector.example.org/v1/metrics", Otlp::new());
        /// let sending = sender.root_certificates(&ca).start()?;
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[cfg(feature = "tls")]
        fn root_certificates(self, pem: &[u8]) = self.client = self.client.root_certificates(pem);

        /// Compresses the bodies of OTLP. Remote write has a compression of its own, and ignores
        /// this.
        ///
        /// ```no_run
        /// # use tallies_send::{Otlp, Sender};
        /// let sender = Sender::new("http://127.0.0.1:4318/v1/metrics", Otlp::new());
        /// let sending = sender.gzip().start()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn gzip(self) = self.gzip = true;

        /// Counts in this registry how sending goes, in families with the label `receiver`, the
        /// URL:
        ///
        /// | family | counts |
        /// |---|---|
        /// | `tallies_sends_total` | requests that the receiver accepted |
        /// | `tallies_send_failures_total` | requests without an answer, or with another one |
        /// | `tallies_send_rejected_samples_total` | samples that the receiver rejected |
        /// | `tallies_send_superseded_samples_total` | samples that a newer snapshot replaced |
        /// | `tallies_last_send_timestamp_seconds` | the time of the last snapshot that arrived |
        ///
        /// ```no_run
        /// # use tallies_send::{Otlp, Sender};
        /// let sender = Sender::new("http://127.0.0.1:4318/v1/metrics", Otlp::new());
        /// let sending = sender.self_metrics(tallies::registry()).start()?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn self_metrics(self, registry: &Registry) = self.metrics = Some(registry.clone());
    }

    /// Sends now, and then every interval, until the returned value is stopped or dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL, a setting or a label is invalid, if the interval is zero, or if
    /// the thread cannot be created. A receiver that does not answer is not an error.
    #[track_caller]
    pub fn start(self) -> Result<Sending, Error> {
        if self.interval.is_zero() {
            return Err(Error::new(
                "the interval of a sender is 0; it has to be longer",
            ));
        }
        let sources = self.sources.or(Arc::new(tallies::registry().clone()));
        let client = full_url(RECEIVER, &self.url).and_then(|url| self.client.build(&url));
        let client = client.map_err(|error| Error::new(error.to_string()))?;
        if let Some(warning) = client.warning("requests") {
            Error::new(warning).log_once();
        }
        let protocol: Box<dyn Protocol> = match self.protocol {
            AnyProtocol::Otlp(otlp) => Box::new(otlp.protocol()),
            AnyProtocol::RemoteWrite(remote_write) => {
                Box::new(remote_write.start().map_err(Error::new)?)
            }
        };
        let metrics = match &self.metrics {
            Some(registry) => Some(SelfMetrics::new(registry, client.url())?),
            None => None,
        };
        let mut worker = Worker::new(
            Box::new(SystemClock),
            client.clone(),
            protocol,
            sources,
            self.interval,
        );
        worker.gzip = self.gzip;
        worker.metrics = metrics;
        // A request is under way, the last ones have as long, and the last of these begins late.
        let longest = client.timeout().saturating_mul(3);
        let background = Background::start("tallies-send", longest, worker);
        let failed = |e| Error::with_cause(format!("cannot start to send to {}", client.url()), e);
        Ok(Sending {
            background: background.map_err(failed)?,
            client,
        })
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("protocol", &self.protocol)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// A sender that runs. [`Sender`] has an example.
///
/// Dropping it ends it as [`stop`](Self::stop) does, and logs the error. A program should therefore
/// keep the value until it ends. `std::process::exit` runs no destructors, so the last values are
/// not sent then.
#[must_use = "sending ends when it is dropped"]
#[derive(Debug)]
pub struct Sending {
    client: Client,
    background: Background<<Worker as Task>::Last>,
}

impl Sending {
    /// Sends the last values, and what the protocol has for the end of series, and ends the thread.
    /// It waits for the receiver, at most for three times the [timeout](Sender::timeout). It does
    /// not wait for a receiver that has asked for a longer pause than that timeout.
    ///
    /// ```no_run
    /// # use tallies_send::{Otlp, Sender};
    /// let sender = Sender::new("http://127.0.0.1:4318/v1/metrics", Otlp::new());
    /// let sending = sender.start()?;
    /// // ... the program ...
    /// if let Err(error) = sending.stop() {
    ///     eprintln!("{error}");
    /// }
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if something of it did not arrive. Sending ends in every case.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end().map_or(Ok(()), |(result, _)| result)
    }

    /// Returns the URL of the receiver.
    ///
    /// ```no_run
    /// # use tallies_send::{Otlp, Sender};
    /// let sender = Sender::new("http://127.0.0.1:4318/v1/metrics", Otlp::new());
    /// assert_eq!(sender.start()?.url(), "http://127.0.0.1:4318/v1/metrics");
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn url(&self) -> &str {
        self.client.url()
    }

    /// Returns the result, unless sending has ended before.
    fn end(&mut self) -> Option<<Worker as Task>::Last> {
        let url = self.client.url();
        Some(self.background.stop()?.unwrap_or_else(|error| {
            // A child of a fork that drops it has lost nothing, so nothing is logged.
            let is_forked = error == StopError::Forked;
            let error = match error {
                StopError::TimedOut => Error::new(self.client.timed_out("POST").to_string()),
                other => Error::new(format!("sending to {url}: {other}")),
            };
            (Err(error), is_forked)
        }))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some((Err(error), false)) = self.end() {
            error.log();
        }
    }
}
