//! The same operations by a hand-written floor, by tallies and by its peers, each in its fastest
//! documented form. `main.rs` prints one table of all rows at one and two threads; `scaling` prints
//! what updates and scrapes cost at any number of threads.

pub mod fast_telemetry;
pub mod floor;
pub mod form;
pub mod hdrhistogram;
pub mod measured;
pub mod memory;
pub mod metrics;
pub mod prometheus;
pub mod prometheus_client;
pub mod quantiles;
pub mod sketches_ddsketch;
#[cfg(feature = "tallies")]
pub mod tallies;
pub mod workload;

use crate::form::Form;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Counter,
    Handles,
    Float,
    LabelStrings,
    LabelEnums,
    // Look-ups of a hundred label sets, as `LabelStrings`, for the other kinds: of the scaling run.
    LabelFloat,
    LabelGauge,
    LabelUpDown,
    LabelHistogram,
    LabelNative,
    LabelSummary,
    Thousand,
    Walk,
    WalkHistogram,
    InTurn,
    Event,
    Facade,
    Gauge,
    UpDown,
    Histogram,
    Native,
    Summary,
    Timer,
    TimerTsc,
    ScrapeCounters,
    ScrapeFresh,
    ScrapeRendered,
    ScrapeChurned,
    ScrapeFamilies,
    ScrapeFamiliesFresh,
    ScrapeHistograms,
    OpenMetricsCounters,
    OpenMetricsHistograms,
    ProtobufCounters,
    ProtobufHistograms,
    Register,
    BytesCounter,
    BytesHistogram,
    BytesBoundCounter,
    BytesBoundHistogram,
}

/// The exposition format of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
    Protobuf,
}

impl Row {
    pub fn format(self) -> Format {
        match self {
            Self::OpenMetricsCounters | Self::OpenMetricsHistograms => Format::OpenMetrics,
            Self::ProtobufCounters | Self::ProtobufHistograms => Format::Protobuf,
            _ => Format::Text,
        }
    }
}

/// A contestant's column, and its forms of an operation, which are empty if it does not support the
/// operation.
pub type Contestant = (&'static str, fn(Row) -> Vec<Form>);

pub const FLOOR: usize = 0;
pub const TALLIES: usize = 1;
pub const CONTESTANTS: [Contestant; 10] = [
    ("floor", floor::forms),
    ("tallies", tallies_forms),
    ("prometheus", prometheus::forms),
    ("prometheus-client", prometheus_client::forms),
    ("metrics", metrics::forms),
    ("measured", measured::forms),
    ("fast-telemetry", fast_telemetry::forms),
    ("hdrhistogram", hdrhistogram::forms),
    ("sketches-ddsketch", sketches_ddsketch::forms),
    ("quantiles", quantiles::forms),
];

#[cfg(feature = "tallies")]
use crate::tallies::forms as tallies_forms;

#[cfg(not(feature = "tallies"))]
fn tallies_forms(_: Row) -> Vec<Form> {
    vec![]
}
