//! The environment variables of OpenTelemetry that configure a sender of metrics.
//!
//! A variable that cannot be read is an error. OpenTelemetry's SDKs log a warning and ignore it,
//! which sends to the wrong place or in the wrong form.
//!
//! Sources: the OpenTelemetry specification, "OpenTelemetry Protocol Exporter", "OpenTelemetry
//! Environment Variable Specification" and "Resource SDK".

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tallies::Error;

use super::{Otlp, Temporality};

/// The settings in the environment.
pub(crate) struct Environment {
    /// The URL of requests, path included.
    pub(crate) url: String,
    /// Headers of each request. The names are in lower case. The values may be secret.
    pub(crate) headers: Vec<(String, String)>,
    /// The limit on one request.
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
    /// A file of certificates to trust.
    pub(crate) certificate: Option<PathBuf>,
    /// The time from one snapshot to the next.
    pub(crate) interval: Duration,
    /// The limit on sending one snapshot, retries included.
    pub(crate) export_timeout: Duration,
    /// Encoding, temporality and resource.
    pub(crate) otlp: Otlp,
    /// Whether nothing is to be sent. The other settings are then the defaults.
    pub(crate) is_disabled: bool,
}

/// The longest time that a variable may set, in milliseconds: 49 days.
const MOST_MILLIS: u64 = u32::MAX as u64;

impl Environment {
    /// Reads the variables through `variable`, which returns the value of a variable.
    ///
    /// # Errors
    ///
    /// Returns an error for a variable that cannot be read, unless `OTEL_SDK_DISABLED` is `true`.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variables = Variables(variable);
        let mut found = Self {
            url: "http://localhost:4318/v1/metrics".to_owned(),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            gzip: false,
            certificate: None,
            interval: Duration::from_secs(60),
            export_timeout: Duration::from_secs(30),
            otlp: Otlp::new(),
            is_disabled: variables.is_disabled(),
        };
        if found.is_disabled {
            return Ok(found);
        }
        if let Some(url) = variables.url()? {
            found.url = url;
        }
        if let Some(headers) = variables.exporter("HEADERS") {
            found.headers = headers.headers()?;
        }
        if let Some(timeout) = variables.exporter("TIMEOUT") {
            found.timeout = timeout.timeout()?;
        }
        if let Some(compression) = variables.exporter("COMPRESSION") {
            found.gzip = compression.one_of(&[("none", false), ("gzip", true)])?;
        }
        let certificate = variables.exporter("CERTIFICATE");
        found.certificate = certificate.map(|file| file.value.into());
        if let Some(interval) = variables.get("OTEL_METRIC_EXPORT_INTERVAL") {
            found.interval = interval.interval()?;
        }
        if let Some(timeout) = variables.get("OTEL_METRIC_EXPORT_TIMEOUT") {
            found.export_timeout = timeout.timeout()?;
        }
        found.otlp = variables.otlp()?;
        Ok(found)
    }
}

/// All variables.
struct Variables<F>(F);

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    /// Returns a variable that is set. An empty one counts as not set.
    fn get(&self, name: &str) -> Option<Variable> {
        let value = (self.0)(name)?.trim().to_owned();
        let name = name.to_owned();
        (!value.is_empty()).then_some(Variable { name, value })
    }

    /// Returns the variable of an option of the exporter: that of metrics, or else that of all
    /// signals.
    fn exporter(&self, option: &str) -> Option<Variable> {
        let get = |signal| self.get(&format!("OTEL_EXPORTER_OTLP_{signal}{option}"));
        get("METRICS_").or_else(|| get(""))
    }

    fn is_disabled(&self) -> bool {
        let Some(disabled) = self.get("OTEL_SDK_DISABLED") else {
            return false;
        };
        let is = |text| disabled.value.eq_ignore_ascii_case(text);
        if !is("true") && !is("false") {
            // The specification has no other value that disables.
            let value = &disabled.value;
            let text = "which counts as `false`; use `true` or `false`";
            Error::new(format!("OTEL_SDK_DISABLED is `{value}`, {text}")).log_once();
        }
        is("true")
    }

    fn url(&self) -> Result<Option<String>, Error> {
        if let Some(url) = self.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") {
            return url.url().map(Some);
        }
        let Some(base) = self.get("OTEL_EXPORTER_OTLP_ENDPOINT") else {
            return Ok(None);
        };
        let base = base.url()?;
        let slash = if base.ends_with('/') { "" } else { "/" };
        Ok(Some(format!("{base}{slash}v1/metrics")))
    }

    fn otlp(&self) -> Result<Otlp, Error> {
        let mut otlp = Otlp::new();
        if let Some(protocol) = self.exporter("PROTOCOL") {
            if protocol.one_of(&[("http/protobuf", false), ("http/json", true)])? {
                otlp = otlp.json();
            }
        }
        let temporality = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        if let Some(temporality) = self.get(temporality) {
            let parsed: Result<Temporality, _> = temporality.value.parse();
            let parsed = parsed
                .map_err(|error| temporality.error(format_args!("cannot be used: {error}")))?;
            otlp = otlp.temporality(parsed);
        }
        if let Some(attributes) = self.get("OTEL_RESOURCE_ATTRIBUTES") {
            for (name, value) in attributes.pairs()? {
                otlp = otlp.resource(name, value);
            }
        }
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            otlp = otlp.resource("service.name", name.value);
        }
        Ok(otlp)
    }
}

/// A variable that is set.
struct Variable {
    name: String,
    value: String,
}

impl Variable {
    fn error(&self, problem: fmt::Arguments<'_>) -> Error {
        Error::new(format!("{} {problem}", self.name))
    }

    /// Reads a URL. One without a path gets the path `/`.
    fn url(&self) -> Result<String, Error> {
        let url = &self.value;
        let rest = ["http://", "https://"].iter().find_map(|scheme| {
            let (start, rest) = url.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        });
        match rest {
            Some(rest) if !rest.is_empty() && !rest.starts_with('/') => {
                let slash = if rest.contains('/') { "" } else { "/" };
                Ok(format!("{url}{slash}"))
            }
            _ => Err(self.error(format_args!(
                "is `{url}`; it needs a URL such as `http://localhost:4318`"
            ))),
        }
    }

    /// Reads one of these names, in letters of either case.
    fn one_of<T: Copy>(&self, names: &[(&str, T)]) -> Result<T, Error> {
        let is_it = |(name, _): &&(&str, T)| self.value.eq_ignore_ascii_case(name);
        if let Some((_, found)) = names.iter().find(is_it) {
            return Ok(*found);
        }
        let names: Vec<_> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
        let value = &self.value;
        Err(self.error(format_args!(
            "is `{value}`; it needs {}",
            names.join(" or ")
        )))
    }

    fn millis(&self) -> Result<u64, Error> {
        let value = &self.value;
        value.parse().map_err(|_| {
            self.error(format_args!(
                "is `{value}`; it needs a whole number of milliseconds"
            ))
        })
    }

    fn interval(&self) -> Result<Duration, Error> {
        match self.millis()? {
            0 => Err(self.error(format_args!(
                "is `0`; it needs a number of milliseconds above 0"
            ))),
            millis => Ok(Duration::from_millis(millis.min(MOST_MILLIS))),
        }
    }

    /// Reads a timeout; 0 stands for none.
    fn timeout(&self) -> Result<Duration, Error> {
        let millis = match self.millis()? {
            0 => MOST_MILLIS,
            millis => millis.min(MOST_MILLIS),
        };
        Ok(Duration::from_millis(millis))
    }

    /// Reads headers. The values may be secret, so no error shows them.
    fn headers(&self) -> Result<Vec<(String, String)>, Error> {
        let mut headers = self.pairs()?;
        for (name, value) in &mut headers {
            let is_token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if !name.bytes().all(is_token) {
                return Err(self.error(format_args!(
                    "has the name `{name}`, which no header can have"
                )));
            }
            if value.chars().any(char::is_control) {
                return Err(self.error(format_args!(
                    "has control characters in the value of `{name}`"
                )));
            }
            name.make_ascii_lowercase();
        }
        Ok(headers)
    }

    /// Reads `name=value,name=value`, percent-encoded. The values may be secret, so no error shows
    /// them.
    fn pairs(&self) -> Result<Vec<(String, String)>, Error> {
        let members = self.value.split(',').map(str::trim).zip(1..);
        let members = members.filter(|(member, _)| !member.is_empty());
        let pairs = members.map(|(member, number)| {
            let parts = member.split_once('=').map(|(name, value)| {
                let parts = [name, value].map(|part| decoded(part.trim()));
                let [name, value] = parts;
                name.filter(|name| !name.is_empty()).zip(value)
            });
            parts.flatten().ok_or_else(|| {
                self.error(format_args!(
                    "is invalid in its entry {number}; it needs `name=value,name=value`, where \
                     `,`, `=` and `%` within a name or a value are `%2C`, `%3D` and `%25`"
                ))
            })
        });
        pairs.collect()
    }
}

/// Decodes percent-encoding. Returns `None` if it is malformed, or not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let is_hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut parts = text.split('%').skip(1);
    let is_valid = parts.all(|part| part.get(..2).is_some_and(is_hex));
    let decoded = percent_decode_str(text).decode_utf8().ok();
    decoded.filter(|_| is_valid).map(Cow::into_owned)
}
