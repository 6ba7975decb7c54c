//! The environment variables of OpenTelemetry that configure a sender of metrics.
//!
//! A variable that cannot be read is an error. OpenTelemetry's SDKs log a warning and ignore it,
//! which sends to the wrong place or in the wrong form. What only describes the program
//! (`OTEL_RESOURCE_ATTRIBUTES`), and what only this library does not know (an exporter in
//! `OTEL_METRICS_EXPORTER`), is logged and ignored, as the specification says.
//!
//! Addresses and headers may have secrets, so the rules of `tallies_client` say what of them an
//! error shows.
//!
//! Sources: the OpenTelemetry specification, "OpenTelemetry Protocol Exporter", "OpenTelemetry
//! Environment Variable Specification" and "Resource SDK".

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tallies::Error;
use tallies_client::{ClientError, base_url, check_header, full_url};

use crate::sender::RECEIVER;

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
    /// Returns an error for a variable that cannot be read, unless others say that nothing is to be
    /// sent.
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
            is_disabled: variables.is_disabled() || !variables.sends(),
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
        for option in ["CLIENT_CERTIFICATE", "CLIENT_KEY"] {
            if let Some(file) = variables.exporter(option) {
                let why = "is set, but senders have no client certificates; use another login, or \
                           a collector on this machine that has one";
                return Err(file.error(format_args!("{why}")));
            }
        }
        if let Some(file) = variables.exporter("CERTIFICATE") {
            if cfg!(not(feature = "tls")) {
                return Err(file.error(format_args!("needs the feature `tls` of `tallies-send`")));
            }
            found.certificate = Some(file.value.into());
        }
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
            let value = disabled.shown();
            let text = "which counts as `false`; use `true` or `false`";
            Error::new(format!("OTEL_SDK_DISABLED is `{value}`, {text}")).log_once();
        }
        is("true")
    }

    /// Returns whether metrics are to be sent by OTLP. The variable is a list.
    fn sends(&self) -> bool {
        let Some(exporters) = self.get("OTEL_METRICS_EXPORTER") else {
            return true;
        };
        let names = exporters.value.split(',').map(str::trim);
        let is = |name: &str, known: &str| name.eq_ignore_ascii_case(known);
        let (mut others, mut unknown) = (Vec::new(), false);
        for name in names.filter(|name| !name.is_empty()) {
            if is(name, "otlp") {
                return true;
            }
            match ["none", "prometheus", "console", "logging"]
                .iter()
                .find(|known| is(name, known))
            {
                Some(known) => others.push(*known),
                None => unknown = true,
            }
        }
        let name = exporters.name;
        if unknown {
            let text = "has an exporter that is unknown and ignored; `otlp` and `none` are known";
            Error::new(format!("{name} {text}")).log_once();
        }
        if let Some(other) = others.iter().find(|other| **other != "none") {
            let text = "so no metrics are sent; a sender is an exporter `otlp`";
            Error::new(format!("{name} is `{other}`, {text}")).log_once();
        }
        others.is_empty()
    }

    fn url(&self) -> Result<Option<String>, Error> {
        if let Some(url) = self.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") {
            return url.checked(full_url(RECEIVER, &url.value)).map(Some);
        }
        let Some(base) = self.get("OTEL_EXPORTER_OTLP_ENDPOINT") else {
            return Ok(None);
        };
        let url = base.checked(base_url(RECEIVER, &base.value))?;
        Ok(Some(format!("{url}/v1/metrics")))
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
            otlp = otlp.temporality(temporality.one_of(&[
                ("cumulative", Temporality::Cumulative),
                ("delta", Temporality::Delta),
                ("lowmemory", Temporality::LowMemory),
            ])?);
        }
        if let Some(attributes) = self.get("OTEL_RESOURCE_ATTRIBUTES") {
            match attributes.pairs() {
                Ok(pairs) => {
                    for (name, value) in pairs {
                        otlp = otlp.resource(name, value);
                    }
                }
                // As the specification says: the whole variable.
                Err(error) => Error::new(format!("{error}; all of it is ignored")).log_once(),
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

    /// Returns the value as an error may show it: a word or a number. Anything else may be the
    /// value of another variable, with a login.
    fn shown(&self) -> &str {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"/-+._".contains(&byte);
        match self.value.len() <= 20 && self.value.bytes().all(is_word) {
            true => &self.value,
            false => "…",
        }
    }

    /// Names the variable in an error of its value.
    fn checked<T>(&self, result: Result<T, ClientError>) -> Result<T, Error> {
        result.map_err(|error| Error::new(format!("{}: {error}", self.name)))
    }

    /// Reads one of these names, in letters of either case.
    fn one_of<T: Copy>(&self, names: &[(&str, T)]) -> Result<T, Error> {
        let is_it = |(name, _): &&(&str, T)| self.value.eq_ignore_ascii_case(name);
        if let Some((_, found)) = names.iter().find(is_it) {
            return Ok(*found);
        }
        let names: Vec<_> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
        let value = self.shown();
        Err(self.error(format_args!(
            "is `{value}`; it needs {}",
            names.join(" or ")
        )))
    }

    fn millis(&self) -> Result<u64, Error> {
        self.value.parse().map_err(|_| {
            let value = self.shown();
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
            self.checked(check_header(name, value))?;
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
