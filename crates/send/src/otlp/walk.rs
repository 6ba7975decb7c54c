//! The walk over the families of a batch. It writes one request after another, each up to a limit,
//! and each complete with resource and scope.

use tallies::snapshot::{Family, Kind, Value};

use super::fields::*;
use super::point::{Point, attribute, nanos};
use super::units;
use super::writer::{Field, Writer};

/// The families that one snapshot gives to send.
#[derive(Debug, Default)]
pub(super) struct PointBatch {
    pub(super) parts: Vec<FamilyPart>,
    /// The time of the snapshot, in nanoseconds since the Unix epoch.
    pub(super) time: u64,
    /// The begin of series that do not know theirs.
    pub(super) start: u64,
}

/// One family of a batch.
#[derive(Debug)]
pub(super) struct FamilyPart {
    pub(super) family: Family,
    /// The number of series of the whole family that are before these.
    pub(super) from: usize,
    /// Whether the values are deltas.
    pub(super) is_delta: bool,
}

/// The next series of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PointCursor {
    pub(super) part: usize,
    pub(super) series: usize,
}

/// The limits of one request. It ends with the data point that reaches one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLimits {
    pub(super) points: u64,
    pub(super) bytes: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            points: 10_000,
            bytes: 1 << 20,
        }
    }
}

/// The content of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Written {
    /// The first series after the request.
    pub(super) end: PointCursor,
    /// The number of data points. If it is 0, nothing was left.
    pub(super) points: u64,
}

/// Writes a request with the series of `batch` from `from` on.
pub(super) fn write<W: Writer>(
    w: &mut W,
    batch: &PointBatch,
    resource: &[(String, String)],
    from: PointCursor,
    limits: RequestLimits,
) -> Written {
    let mut walk = Walk {
        batch,
        limits,
        written: Written {
            end: from,
            points: 0,
        },
    };
    w.request(|w| {
        w.list(RESOURCE_METRICS, |w| {
            w.element(RESOURCE_METRICS, |w| {
                w.message(RESOURCE, |w| attributes(w, resource));
                w.list(SCOPE_METRICS, |w| {
                    w.element(SCOPE_METRICS, |w| {
                        w.message(SCOPE, scope);
                        w.list(METRICS, |w| walk.metrics(w));
                    });
                });
            });
        });
    });
    walk.written
}

fn attributes<W: Writer>(w: &mut W, resource: &[(String, String)]) {
    w.list(RESOURCE_ATTRIBUTES, |w| {
        for (key, value) in resource {
            attribute(w, RESOURCE_ATTRIBUTES, key, value);
        }
    });
}

/// Writes the scope: the library that translates to OTLP, as for a collector that scrapes.
fn scope<W: Writer>(w: &mut W) {
    w.text(SCOPE_NAME, "tallies");
    w.text(SCOPE_VERSION, env!("CARGO_PKG_VERSION"));
}

/// A request that is being written.
struct Walk<'a> {
    batch: &'a PointBatch,
    limits: RequestLimits,
    written: Written,
}

impl Walk<'_> {
    fn metrics<W: Writer>(&mut self, w: &mut W) {
        let batch = self.batch;
        while let Some(part) = batch.parts.get(self.written.end.part) {
            let series = self.written.end.series..part.family.len();
            let mut series = series.filter(|i| part.sends(*i)).peekable();
            let data = series.peek().and_then(|i| Data::new(&part.family, *i));
            if let Some(data) = data {
                w.element(METRICS, |w| {
                    head(w, &part.family);
                    w.message(data.field(), |w| {
                        w.list(DATA_POINTS, |w| self.points(w, part, series));
                        data.write_rest(w, part.is_delta);
                    });
                });
                if self.is_full(w) {
                    return;
                }
            }
            self.written.end = PointCursor {
                part: self.written.end.part + 1,
                series: 0,
            };
        }
    }

    /// Writes the data points of these series, until the request is full.
    fn points<W: Writer>(
        &mut self,
        w: &mut W,
        part: &FamilyPart,
        all: impl Iterator<Item = usize>,
    ) {
        for series in all {
            let created = part.family.created(series);
            let start = created.map_or(self.batch.start, nanos);
            let point = Point {
                family: &part.family,
                series,
                // A clock that was set back could end a window before it began.
                start: start.min(self.batch.time),
                time: self.batch.time,
                is_delta: part.is_delta,
            };
            w.element(DATA_POINTS, |w| point.write(w));
            self.written.points += 1;
            self.written.end.series = series + 1;
            if self.is_full(w) {
                return;
            }
        }
    }

    fn is_full<W: Writer>(&self, w: &W) -> bool {
        self.written.points >= self.limits.points || w.size() >= self.limits.bytes
    }
}

/// Writes the fields of a metric besides its data.
fn head<W: Writer>(w: &mut W, family: &Family) {
    w.text(NAME, family.name());
    if !family.help().is_empty() {
        w.text(DESCRIPTION, family.help());
    }
    if !family.unit().is_empty() {
        w.text(UNIT, units::code(family.unit()));
    }
    let kind = match family.kind() {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
        Kind::Info => "info",
        Kind::StateSet => "stateset",
        _ => "unknown",
    };
    w.list(METADATA, |w| {
        attribute(w, METADATA, "prometheus.type", kind);
    });
}

impl FamilyPart {
    /// Returns whether series `i` is sent. A delta of nothing is not, as OpenTelemetry's SDKs have
    /// it: an idle series costs nothing.
    fn sends(&self, i: usize) -> bool {
        !self.is_delta
            || match self.family.value(i) {
                Value::Counter(number) => number.as_f64() != 0.0,
                Value::Histogram(value) => value.count() > 0,
                _ => true,
            }
    }
}

/// The kinds of data that a metric can have.
#[derive(Clone, Copy, Debug)]
enum Data {
    Gauge,
    Sum { is_monotonic: bool },
    Histogram,
    Exponential,
    Summary,
}

impl Data {
    /// Returns the kind of data of a family with values such as that of series `i`. Returns `None`
    /// if OTLP has none for it.
    fn new(family: &Family, i: usize) -> Option<Self> {
        match family.value(i) {
            Value::Counter(_) => Some(Self::Sum { is_monotonic: true }),
            Value::Gauge(_) if family.adds_up() => Some(Self::Sum {
                is_monotonic: false,
            }),
            Value::Gauge(_) => Some(Self::Gauge),
            Value::Histogram(_) if family.kind() == Kind::GaugeHistogram => None,
            Value::Histogram(value) if value.native().is_some() => Some(Self::Exponential),
            Value::Histogram(_) => Some(Self::Histogram),
            Value::Summary(_) => Some(Self::Summary),
            _ => None,
        }
    }

    fn field(self) -> Field {
        match self {
            Self::Gauge => GAUGE,
            Self::Sum { .. } => SUM,
            Self::Histogram => HISTOGRAM,
            Self::Exponential => EXPONENTIAL_HISTOGRAM,
            Self::Summary => SUMMARY,
        }
    }

    /// Writes the fields besides the data points.
    fn write_rest<W: Writer>(self, w: &mut W, is_delta: bool) {
        const DELTA: u64 = 1;
        const CUMULATIVE: u64 = 2;
        let temporality = if is_delta { DELTA } else { CUMULATIVE };
        match self {
            Self::Gauge | Self::Summary => {}
            Self::Histogram | Self::Exponential => w.code(AGGREGATION_TEMPORALITY, temporality),
            Self::Sum { is_monotonic } => {
                w.code(AGGREGATION_TEMPORALITY, temporality);
                w.flag(IS_MONOTONIC, is_monotonic);
            }
        }
    }
}
