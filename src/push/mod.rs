//! What nobody scrapes is pushed: to a Pushgateway or VictoriaMetrics, once or in the background.

mod background;
mod gateway;
mod send;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::Agent;
use ureq::http::{HeaderValue, Method};

use crate::error::Error;
use crate::snapshot::{MergedView, Source};

use send::Gateway;

pub use background::Pushing;

/// How long a gateway may take, from looking up its name to the last byte of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Beyond this a time is for ever; clocks overflow later.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Pushes metrics to a [Pushgateway](https://github.com/prometheus/pushgateway), for programs that end before anybody
/// scrapes them; or to VictoriaMetrics, with [`path`](Self::path).
///
/// Metrics are pushed as a *group*, named by the job and the [`grouping`](Self::grouping) labels. The gateway puts these
/// labels on every series, so a push whose series have one of them already is refused here. The body is the text format
/// 0.0.4, without timestamps.
///
/// # In an async program
///
/// A push blocks, for up to the [`timeout`](Self::timeout): `tokio::task::spawn_blocking(move || pusher.add())`. What
/// [`start`](Self::start) begins has a thread of its own; it is [`Pushing::stop`] that blocks.
///
/// # What it says of itself
///
/// With its self-metrics the default registry counts `tallies_pushes_total` and `tallies_push_failures_total`, over all
/// pushers of the program, and has `tallies_last_push_timestamp_seconds`: when a gateway last took one.
///
/// ```no_run
/// use tallies::Pusher;
///
/// // At the end of a batch job:
/// Pusher::new("http://127.0.0.1:9091", "nightly_backup")
///     .grouping("instance", "db1")
///     .replace()?;
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone)]
pub struct Pusher {
    sources: Vec<Arc<dyn Source>>,
    /// Whether the sources are those of `new`, which the first `registry` replaces.
    default: bool,
    url: String,
    job: String,
    grouping: Vec<(String, String)>,
    path: Option<String>,
    credentials: Credentials,
    timeout: Duration,
    gzip: bool,
    #[cfg(feature = "push-tls")]
    roots: Vec<u8>,
}

#[derive(Clone)]
enum Credentials {
    None,
    Basic(String, String),
    Bearer(String),
}

impl Pusher {
    /// A pusher of what `source` gives, until [`registry`](Self::registry) says otherwise.
    pub(crate) fn of(source: Arc<dyn Source>, url: &str, job: &str) -> Self {
        Self {
            sources: vec![source],
            default: true,
            url: url.to_owned(),
            job: job.to_owned(),
            grouping: Vec::new(),
            path: None,
            credentials: Credentials::None,
            timeout: TIMEOUT,
            gzip: false,
            #[cfg(feature = "push-tls")]
            roots: Vec::new(),
        }
    }

    /// Pushes this registry instead of the default one; called again, several as one page. Families of one name are one then;
    /// one that cannot stand beside those of registries before it is an error of the push.
    #[must_use]
    pub fn registry<S: Source + Clone + 'static>(mut self, registry: &S) -> Self {
        if std::mem::take(&mut self.default) {
            self.sources.clear();
        }
        self.sources.push(Arc::new(registry.clone()));
        self
    }

    /// A label of the group beside its job, often `instance`. Any value will do, an empty one as well. The order in
    /// which they are given does not matter: they are sent in that of their names.
    #[must_use]
    pub fn grouping(mut self, name: &str, value: &str) -> Self {
        self.grouping.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Pushes to this path, behind that of the URL, instead of a group's: for what reads the format but keeps no groups.
    ///
    /// With `/api/v1/import/prometheus` that is VictoriaMetrics, which takes the job and the grouping labels in its
    /// query (`extra_label`). Then [`replace`](Self::replace) and [`delete`](Self::delete) are errors.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Signs in with a user and a password (RFC 7617).
    #[must_use]
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        self.credentials = Credentials::Basic(user.to_owned(), password.to_owned());
        self
    }

    /// Signs in with a token (RFC 6750).
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        self.credentials = Credentials::Bearer(token.to_owned());
        self
    }

    /// How long a push may take, from looking up the gateway's name to the last byte of its answer; 10 s without this.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(FOR_EVER);
        self
    }

    /// Compresses what is sent. A Pushgateway reads that from version 1.5.0 on.
    #[must_use]
    pub fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// Trusts the certificates in this PEM text, a private authority's, say, and no others; Mozilla's without this.
    #[cfg(feature = "push-tls")]
    #[must_use]
    pub fn root_certificates(mut self, pem: &[u8]) -> Self {
        self.roots = pem.to_owned();
        self
    }

    /// Adds to the group: families of the same names are replaced, others stay (POST). It is tried once.
    ///
    /// # Errors
    ///
    /// A URL, job or label that cannot be; a series that has one of the group's labels; a gateway that cannot be reached,
    /// does not answer in time, or answers anything but 2xx. The message names the URL and repeats the status and what the
    /// gateway said.
    pub fn add(&self) -> Result<(), Error> {
        self.gateway()?.push(&Method::POST)
    }

    /// Replaces the whole group (PUT).
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add); with a [`path`](Self::path), where there are no groups.
    pub fn replace(&self) -> Result<(), Error> {
        self.grouped()?.push(&Method::PUT)
    }

    /// Deletes the group: this one, not those that have more labels. One that is not there is no error (DELETE). The gateway
    /// does it a moment later, but before any push that follows.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace).
    pub fn delete(&self) -> Result<(), Error> {
        self.grouped()?.delete()
    }

    /// Replaces the group now and then every `interval`, on a thread of its own, until [`Pushing::stop`] or until that is
    /// dropped: both push once more. With a [`path`](Self::path) it adds.
    ///
    /// A push that fails is tried again after a second, then after twice as long each time, up to a minute or the
    /// interval if that is longer. Pauses are up to a tenth shorter or longer than that, by chance. An outage is said on
    /// standard error when it begins and when it ends; it costs the program nothing else, as updates know nothing of pushes.
    ///
    /// # Errors
    ///
    /// A URL, job or label that cannot be; an interval of zero; a system that gives no thread. A gateway that cannot be
    /// reached is none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tallies::Pusher;
    ///
    /// # fn main() -> Result<(), tallies::Error> {
    /// let pushing = Pusher::new("http://127.0.0.1:9", "worker").start(Duration::from_secs(15))?;
    /// // ... the program ...
    /// if let Err(error) = pushing.stop() {
    ///     eprintln!("{error}"); // nobody listens there
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(&self, interval: Duration) -> Result<Pushing, Error> {
        if interval.is_zero() {
            return Err(Error::push_to("push interval", "0", "has to be longer"));
        }
        let method = match self.path {
            None => Method::PUT,
            Some(_) => Method::POST,
        };
        Pushing::start(self.gateway()?, method, interval)
    }

    fn grouped(&self) -> Result<Gateway, Error> {
        match &self.path {
            None => self.gateway(),
            Some(path) => Err(Error::push_to(
                "push path",
                path,
                "has no groups to replace or delete: `add` is what it takes",
            )),
        }
    }

    fn gateway(&self) -> Result<Gateway, Error> {
        let url = match &self.path {
            None => gateway::group(&self.url, &self.job, &self.grouping),
            Some(path) => gateway::import(&self.url, path, &self.job, &self.grouping),
        }?;
        let authorization = self.credentials.header()?;
        if authorization.is_some()
            && url.starts_with("http://")
            && !gateway::is_of_this_machine(&url)
        {
            crate::error::warn_once(&format_args!(
                "pushes to `{url}` carry a password that others can read along: give the gateway an `https://` URL"
            ));
        }
        let grouping = self.grouping.iter().map(|(name, _)| name.clone());
        Ok(Gateway {
            agent: self.agent(&url)?,
            timeout: self.timeout,
            url,
            labels: std::iter::once("job".to_owned()).chain(grouping).collect(),
            authorization,
            gzip: self.gzip,
            sources: self.sources.clone(),
            found: MergedView::default(),
            page: Vec::new(),
            packed: Vec::new(),
        })
    }

    fn agent(&self, url: &str) -> Result<Agent, Error> {
        let config = Agent::config_builder()
            .user_agent(concat!("tallies/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(self.timeout))
            // A status is for us to judge, and a redirect would lose the method.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false);
        // A program that a web server starts for a request has that request's `Proxy` header as `HTTP_PROXY`.
        let of_a_request = std::env::var_os("REQUEST_METHOD").is_some();
        let config = if gateway::is_of_this_machine(url) || of_a_request {
            config.proxy(None)
        } else {
            config
        };
        #[cfg(feature = "push-tls")]
        let config = match &*self.roots {
            [] => config,
            pem => {
                let tls = ureq::tls::TlsConfig::builder().root_certs(roots(pem)?);
                config.tls_config(tls.build())
            }
        };
        Ok(config.build().new_agent())
    }
}

/// The certificates of a PEM text: at least one, and nothing else.
#[cfg(feature = "push-tls")]
fn roots(pem: &[u8]) -> Result<ureq::tls::RootCerts, Error> {
    use ureq::tls::{PemItem, RootCerts, parse_pem};
    let bad = || {
        Error::push_to(
            "root certificates",
            "…",
            "are not PEM text with certificates",
        )
    };
    let certificates: Vec<_> = parse_pem(pem)
        .map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Ok(certificate),
            _ => Err(bad()),
        })
        .collect::<Result<_, _>>()?;
    if certificates.is_empty() {
        return Err(bad());
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

impl Credentials {
    /// The header; its value is in no log and no error.
    fn header(&self) -> Result<Option<HeaderValue>, Error> {
        let value = match self {
            Self::None => return Ok(None),
            Self::Basic(user, _) if user.contains(':') => {
                return Err(Error::push_to("user", user, "may not have a colon"));
            }
            Self::Basic(user, password) => {
                let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
                format!("Basic {pair}")
            }
            Self::Bearer(token) => format!("Bearer {token}"),
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| Error::push_to("token", "…", "has characters that no header may have"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Debug for Pusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pusher")
            .field("registries", &self.sources.len())
            .field("job", &self.job)
            .field("grouping", &self.grouping)
            .finish_non_exhaustive()
    }
}
