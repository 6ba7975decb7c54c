//! Version 1.0: the message `prometheus.WriteRequest`. Its labels are texts, and its metadata
//! stands apart from the samples.
//!
//! Source: `prompb/remote.proto` and `prompb/types.proto` of prometheus/prometheus. The
//! specification has only labels and samples; receivers know or skip the rest.

use tallies::snapshot::Kind;

use crate::protobuf::{begin, bytes, double, integer};

use super::histogram;
use super::series::{Description, FullSample, RequestWriter, SampleValue, millis, number};

/// Writes a request.
pub(super) struct RequestV1 {
    out: Vec<u8>,
    kind: Kind,
}

impl RequestV1 {
    pub(super) fn new() -> Self {
        Self {
            out: Vec::new(),
            kind: Kind::Unknown,
        }
    }

    pub(super) fn clear(&mut self) {
        self.out.clear();
    }

    /// Returns the whole message.
    pub(super) fn message(&self) -> &[u8] {
        &self.out
    }
}

/// Appends a message `Label` as field `field`, unless its value is empty.
fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    let label = begin(out, 1);
    bytes(out, 1, name.as_bytes());
    bytes(out, 2, value.as_bytes());
    label.end(out);
}

impl RequestWriter for RequestV1 {
    fn family(&mut self, family: &Description<'_>, with_metadata: bool) {
        self.kind = family.kind;
        if !with_metadata {
            return;
        }
        let out = &mut self.out;
        let metadata = begin(out, 3);
        integer(out, 1, kind_number(family.kind));
        bytes(out, 2, family.name.as_bytes());
        for (field, text) in [(4, family.help), (5, family.unit)] {
            if !text.is_empty() {
                bytes(out, field, text.as_bytes());
            }
        }
        metadata.end(out);
    }

    fn sample(&mut self, sample: &FullSample<'_>) {
        let out = &mut self.out;
        let series = begin(out, 1);
        for (name, value) in sample.labels {
            label(out, name, value);
        }
        match sample.value {
            SampleValue::Float(x) => {
                let message = begin(out, 2);
                double(out, 1, x);
                integer(out, 2, sample.time);
                message.end(out);
            }
            value => histogram::push(out, 4, value, self.kind, sample.time, 0),
        }
        for exemplar in sample.exemplars {
            let message = begin(out, 3);
            let mut labels: Vec<_> = exemplar.labels().collect();
            labels.sort_unstable();
            for (name, value) in &labels {
                label(out, name, value);
            }
            double(out, 2, number(exemplar.value()));
            integer(out, 3, exemplar.time().map_or(0, millis));
            message.end(out);
        }
        series.end(out);
    }

    fn bytes(&self) -> usize {
        self.out.len()
    }
}

/// Returns the number of a kind in the enums `MetricType` of both versions.
///
/// Infos and state sets are gauges, as on the text page: the OpenTelemetry collector answers 400 to
/// their own types.
pub(super) fn kind_number(kind: Kind) -> u64 {
    match kind {
        Kind::Counter => 1,
        Kind::Gauge | Kind::Info | Kind::StateSet => 2,
        Kind::Histogram => 3,
        Kind::GaugeHistogram => 4,
        Kind::Summary => 5,
        _ => 0,
    }
}
