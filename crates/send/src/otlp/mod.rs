//! OTLP: metrics for OpenTelemetry collectors, and for databases that read what collectors send.
//!
//! A request is an HTTP POST of protocol buffers or JSON. [`Otlp`] has the settings. gRPC is not
//! spoken: every receiver of OTLP accepts HTTP.
//!
//! # The form of each metric
//!
//! | here | OTLP |
//! |---|---|
//! | counter | monotonic Sum, of integers up to 2⁶³ - 1 or of floats |
//! | up-down counter, and a gauge that [adds up](tallies::snapshot::Family::adds_up) | cumulative Sum that is not monotonic |
//! | other gauge, info, state set, metric of no type | Gauge |
//! | histogram with fixed buckets | Histogram |
//! | histogram with exponential buckets, also if it has fixed ones | ExponentialHistogram |
//! | summary | Summary |
//! | gauge histogram | not sent: OTLP has none |
//!
//! - **Names** stay as they are declared, `_total` and the unit included. So the way back to
//!   Prometheus gives the same names: a receiver adds `_total` and the unit only where they are
//!   missing.
//! - **Units** become codes of UCUM, such as `s` for `seconds`. The metadata `prometheus.type` has
//!   the kind, which OTLP has fewer of.
//! - **Labels** become attributes, constant labels included. The overflow series of a family has
//!   the attribute `otel.metric.overflow` in addition to its labels.
//! - **Start times** are those of the series. The first snapshot is the start of a series that does
//!   not know its own. All times are cut to the millisecond.
//! - **Sums** of histograms are sent whenever they are known, also if values were negative:
//!   Prometheus drops an exponential histogram without a sum.
//! - **Exponential buckets** between the first and the last in use are sent, too. If these are more
//!   than 8192, the resolution is halved. Infinite values are neither in a bucket nor in the count.
//! - **Quantiles** that are negative or not known are left out, and so are min and max.
//! - **Exemplars** keep their labels, but `trace_id` and `span_id` become the IDs of OTLP if they
//!   are 32 and 16 hexadecimal digits.
//!
//! Sources: the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility" and
//! "Metrics Exporter - OTLP"; OTLP 1.x.

mod answer;
mod binary;
mod delta;
pub(crate) mod environment;
mod exponential;
mod fields;
mod json;
mod point;
mod protocol;
mod response;
#[cfg(test)]
mod tests;
mod units;
mod walk;
mod writer;

use std::fmt;
use std::str::FromStr;

use tallies_names::setters;

use protocol::Encoding;
pub(crate) use protocol::OtlpProtocol;

/// The settings of OTLP: encoding, temporality and resource.
///
/// ```
/// use tallies_send::{Otlp, Temporality};
///
/// let otlp = Otlp::new()
///     .temporality(Temporality::Delta)
///     .resource("service.name", "checkout")
///     .resource("service.instance.id", "checkout-7f9c");
/// # let _ = otlp;
/// ```
///
/// By default, requests are protocol buffers with totals.
///
/// # Resource
///
/// The resource says which process sends. Set at least `service.name`, which is otherwise
/// `unknown_service:` and the name of the executable. Set `service.instance.id` if several
/// processes have one name, because Prometheus makes the labels `job` and `instance` of these two.
/// The attributes `telemetry.sdk.name`, `telemetry.sdk.language` and `telemetry.sdk.version` are
/// there, too.
#[derive(Clone, Debug, Default)]
#[must_use = "settings do nothing until a sender has them"]
pub struct Otlp {
    encoding: Encoding,
    temporality: Temporality,
    resource: Vec<(String, String)>,
}

impl Otlp {
    /// Returns the default settings.
    ///
    /// ```
    /// let otlp = tallies_send::Otlp::new();
    /// # let _ = otlp;
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// Chooses between totals and deltas; see [`Temporality`].
        ///
        /// ```
        /// use tallies_send::{Otlp, Temporality};
        ///
        /// let otlp = Otlp::new().temporality(Temporality::Delta);
        /// # let _ = otlp;
        /// ```
        fn temporality(self, temporality: Temporality) = self.temporality = temporality;

        /// Sends JSON instead of protocol buffers, for a receiver that reads nothing else or for a
        /// reader of the requests. It takes about three times as many bytes.
        ///
        /// ```
        /// let otlp = tallies_send::Otlp::new().json();
        /// # let _ = otlp;
        /// ```
        fn json(self) = self.encoding = Encoding::Json;
    }

    /// Sets an attribute of the resource. The last value of a name counts.
    ///
    /// ```
    /// let otlp = tallies_send::Otlp::new().resource("deployment.environment.name", "test");
    /// # let _ = otlp;
    /// ```
    pub fn resource(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.resource.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.resource.push((name, value)),
        }
        self
    }

    /// Returns the protocol with these settings.
    pub(crate) fn protocol(&self) -> OtlpProtocol {
        let sends_deltas = match self.temporality {
            Temporality::Cumulative => false,
            Temporality::Delta | Temporality::LowMemory => true,
        };
        let mut all = Self::new()
            .resource("service.name", unknown_service())
            .resource("telemetry.sdk.name", "tallies")
            .resource("telemetry.sdk.language", "rust")
            .resource("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
        for (name, value) in &self.resource {
            all = all.resource(name, value);
        }
        OtlpProtocol::new(self.encoding, all.resource, sends_deltas)
    }
}

/// Returns the name of a service that has none: that of its executable.
fn unknown_service() -> String {
    let executable = std::env::current_exe().ok();
    let name = executable.as_deref().and_then(|path| path.file_name());
    match name {
        Some(name) => format!("unknown_service:{}", name.to_string_lossy()),
        None => "unknown_service".to_owned(),
    }
}

/// The choice between totals and deltas.
///
/// ```
/// use tallies_send::Temporality;
///
/// assert_eq!("Delta".parse(), Ok(Temporality::Delta));
/// let error = "rate".parse::<Temporality>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "temporality `rate` is unknown; there are `cumulative`, `delta` and `lowmemory`"
/// );
/// ```
///
/// Totals lose nothing if a request is lost: the next one has it. Choose deltas only for a receiver
/// that asks for them.
///
/// # Deltas
///
/// A delta that a receiver did not accept is added to the next one, also if its series was removed
/// meanwhile. So nothing that a snapshot had is missing, however long an outage lasts. Deltas are
/// as exact as [`Snapshot::since`](tallies::snapshot::Snapshot::since). There are two exceptions.
///
/// - A delta that the receiver refused for good (a status such as 400) is lost, and counted as
///   such.
/// - A delta is counted twice if the receiver took it, but its answer did not arrive in time. OTLP
///   prefers that to a loss.
///
/// Deltas need the memory of one more snapshot than totals. Series that are removed during an
/// outage take memory until its end: up to 4096 of a family, and beyond that they are added up in
/// an overflow series.
///
/// A series that did not change is not sent. Gauges, infos and state sets have their current value.
/// Summaries are totals, because OTLP has no others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Temporality {
    /// Counters and histograms are totals since the start of their series.
    #[default]
    Cumulative,
    /// Counters and histograms are what was counted since the last request that was accepted.
    Delta,
    /// The same as [`Delta`](Self::Delta). The two differ for counters that are read by callbacks,
    /// which a snapshot does not tell from others.
    LowMemory,
}

impl FromStr for Temporality {
    type Err = UnknownTemporality;

    /// Returns the temporality of this name, in letters of either case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match &*name.to_ascii_lowercase() {
            "cumulative" => Ok(Self::Cumulative),
            "delta" => Ok(Self::Delta),
            "lowmemory" => Ok(Self::LowMemory),
            _ => Err(UnknownTemporality(name.to_owned())),
        }
    }
}

/// The error of a name that no [`Temporality`] has.
///
/// ```
/// use tallies_send::Temporality;
///
/// assert!("rate".parse::<Temporality>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownTemporality(String);

impl fmt::Display for UnknownTemporality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name) = self;
        write!(
            f,
            "temporality `{name}` is unknown; there are `cumulative`, `delta` and `lowmemory`"
        )
    }
}

impl std::error::Error for UnknownTemporality {}
