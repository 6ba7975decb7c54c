//! The OpenMetrics format 1.0.0. Parts of a snapshot that the format forbids are left out.
//!
//! Source: the OpenMetrics specification, version 1.0.0.

use std::time::SystemTime;

use crate::snapshot::{Exemplar, Family, Histogram, Kind, Number, Summary, millis};

use super::lines::{BoundForm, Lines, suffixes};
use super::number;
use super::walk::{EscapedNames, PaddedText, SeriesMeta, Writer};

/// Writes OpenMetrics text.
pub(super) struct OpenMetrics<'a> {
    /// Writes the lines.
    lines: Lines<'a>,
    /// Whether the user asked for `_created` samples. They are off by default because Prometheus 2
    /// stores each as one more series.
    created_enabled: bool,
    /// Whether the current family gets `_created` samples.
    created: bool,
    /// Decides which sums of the current family's histograms are written. With a negative bound
    /// none is, except in a gauge histogram, where every sum but NaN is. Without a negative bound,
    /// every sum of 0 or more is.
    allows_sum: fn(f64) -> bool,
}

impl<'a> OpenMetrics<'a> {
    /// Creates a writer that appends to `out`. Timestamps are in seconds.
    pub(super) fn new(out: &'a mut Vec<u8>, time: Option<SystemTime>, created: bool) -> Self {
        Self {
            lines: Lines::new(out, BoundForm::LABEL, time, seconds),
            created_enabled: created,
            created,
            allows_sum: |_| true,
        }
    }

    /// Writes the `_created` sample if it is enabled and the creation time is known.
    #[inline(always)]
    fn created(&mut self, head: usize, labels: PaddedText<'_>, series: SeriesMeta<'_>) {
        if let (true, Some(created)) = (self.created, series.created()) {
            let seconds = created as f64 / 1000.0;
            self.lines.line(head, labels, Number::Float(seconds));
        }
    }
}

impl Writer for OpenMetrics<'_> {
    fn out(&mut self) -> &mut Vec<u8> {
        self.lines.out
    }

    fn prepare(&mut self, family: &Family, names: &EscapedNames<'_>) {
        let kind = family.kind();
        let suffixes = match kind {
            Kind::Counter => &["_total", "", "", "_created"],
            Kind::Info => &["_info"][..],
            Kind::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            other => suffixes(other),
        };
        // A gauge histogram describes current values, so it has no creation time, even if it was
        // merged with a family that has one.
        self.created = self.created_enabled && kind != Kind::GaugeHistogram;
        self.allows_sum = match (family.has_negative_bounds(), kind) {
            (true, Kind::GaugeHistogram) => |sum| !sum.is_nan(),
            (true, _) => |_| false,
            (false, _) => |sum| sum >= 0.0,
        };
        self.lines.family(family, &names.stem(kind), suffixes);
    }

    fn head(&mut self, family: &Family, names: &EscapedNames<'_>) {
        let kind = family.kind();
        let names = &names.stem(kind);
        self.lines.comment("TYPE", names, type_name(kind));
        let unit = family.unit();
        let before = names.name.strip_suffix(unit).unwrap_or_default();
        let may_have_unit = !unit.is_empty() && !matches!(kind, Kind::Info | Kind::StateSet);
        if may_have_unit && before.ends_with('_') {
            self.lines.comment("UNIT", names, unit);
        }
        self.lines.help(family, names, true);
    }

    #[inline(always)]
    fn counter(&mut self, labels: PaddedText<'_>, value: Number, series: SeriesMeta<'_>) {
        self.lines.number(0, labels, value);
        if let [.., (.., last)] = series.exemplars() {
            exemplar(self.lines.out, last);
        }
        self.lines.end();
        self.created(3, labels, series);
    }

    #[inline(always)]
    fn gauge(&mut self, labels: PaddedText<'_>, value: f64, _: SeriesMeta<'_>) {
        self.lines.line(0, labels, Number::Float(value));
    }

    fn histogram(&mut self, labels: PaddedText<'_>, value: &Histogram<'_>, series: SeriesMeta<'_>) {
        let exemplars = series.exemplars();
        let count = self.lines.buckets(labels, value, |out, bucket| {
            // A page that was read may have several, and also NaN, which no bound includes.
            let is_here = |at: u32, value: f64| at as usize == bucket && !value.is_nan();
            let last = exemplars.iter().rfind(|(_, at, of)| is_here(*at, of.value));
            if let Some((.., last)) = last {
                exemplar(out, last);
            }
        });
        // A sum that can decrease is not a counter: OpenMetrics forbids it, and also a count
        // without a sum.
        if (self.allows_sum)(value.sum()) {
            self.lines.line(1, labels, Number::Float(value.sum()));
            self.lines.line(2, labels, Number::Int(count));
        }
        self.created(3, labels, series);
    }

    fn summary(&mut self, labels: PaddedText<'_>, value: &Summary<'_>, series: SeriesMeta<'_>) {
        // A NaN quantile means that there is no data. OpenMetrics forbids negative quantiles and
        // sums.
        self.lines.quantiles(labels, value, |quantile| {
            quantile.is_nan() || quantile >= 0.0
        });
        self.lines.sum_and_count(labels, value, |sum| sum >= 0.0);
        self.created(3, labels, series);
    }

    fn end(&mut self) {
        self.lines.out.extend_from_slice(b"# EOF\n");
    }
}

/// Returns the name of a kind in OpenMetrics.
pub(super) fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Info => "info",
        Kind::StateSet => "stateset",
        Kind::GaugeHistogram => "gaugehistogram",
        Kind::Unknown => "unknown",
        other => other.as_text(),
    }
}

/// Appends an exemplar, such as ` # {trace_id="1f"} 0.7 1700000000.123`.
pub(super) fn exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    out.extend_from_slice(b" # {");
    out.extend_from_slice(exemplar.labels.as_bytes());
    out.extend_from_slice(b"} ");
    number::float(out, exemplar.value);
    if let Some(time) = exemplar.time {
        out.push(b' ');
        seconds(out, millis(time));
    }
}

/// Appends milliseconds as seconds, such as `1700000000.007`.
pub(super) fn seconds(out: &mut Vec<u8>, millis: u64) {
    number::integer(out, millis / 1000);
    let digit = |unit| b'0' + (millis / unit % 10) as u8;
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::snapshot::{GaugeMode, Meta, Number, Numbers, Snapshot, Value, Values};

    fn family(name: &'static str, kind: Kind, values: Values) -> Family {
        Family::new(Meta::new(name, "", kind, GaugeMode::LiveSum), values)
    }

    /// Exemplars of a counter and of a bucket, with and without a time. Text has none: they would
    /// break its lines.
    #[test]
    fn exemplars() {
        let exemplar = |labels: &str, value, millis: Option<u64>| Exemplar {
            labels: labels.into(),
            value,
            time: millis.map(|millis| UNIX_EPOCH + Duration::from_millis(millis)),
        };
        let mut total = Numbers::default();
        total.push(Number::Int(3));
        total.push(Number::Int(4));
        let mut counter = family("c_total", Kind::Counter, Values::Counter(total));
        counter.texts.push("x=\"1\"", 1_500);
        counter.texts.push("x=\"2\"", 0);
        let traced = exemplar("trace_id=\"a\\\"b\"", 0.5, Some(1_700_000_000_007));
        // Each line has one exemplar, the last.
        let first = exemplar("trace_id=\"first\"", 0.25, None);
        counter.exemplars = vec![(1, 0, first.clone()), (1, 0, traced.clone())];
        let mut values = Values::histogram([1.0].into(), false);
        values.push(Value::Histogram(
            Histogram::new(&[1.0], &[1, 2], 7.5).unwrap(),
        ));
        let mut histogram = family("h", Kind::Histogram, values);
        histogram.texts.push("", 2_000);
        histogram.exemplars = vec![
            (0, 0, first),
            (0, 0, exemplar("", 1.0, None)),
            (0, 1, traced),
        ];
        let snapshot = Snapshot {
            families: vec![counter, histogram],
            taken: UNIX_EPOCH + Duration::from_millis(12_034),
            pass: None,
        };
        let options = crate::encode::Options::new().created(true).timestamps(true);
        let mut page = Vec::new();
        options.write(&snapshot, crate::encode::Format::OPEN_METRICS, &mut page);
        let expected = r##"# TYPE c counter
c_total{x="1"} 3 12.034
c_created{x="1"} 1.5 12.034
c_total{x="2"} 4 12.034 # {trace_id="a\"b"} 0.5 1700000000.007
# TYPE h histogram
h_bucket{le="1.0"} 1 12.034 # {} 1 
h_bucket{le="+Inf"} 3 12.034 # {trace_id="a\"b"} 0.5 1700000000.007
h_sum 7.5 12.034
h_count 3 12.034
h_created 2 12.034
# EOF
"##
        .replace("# {} 1 \n", "# {} 1\n");
        assert_eq!(String::from_utf8(page).unwrap(), expected);
        assert!(!crate::encode::text(&snapshot).contains(" # "));
        let protobuf = crate::encode::protobuf(&snapshot);
        let label = b"\x0a\x0f\x0a\x08trace_id\x12\x03a\"b";
        let hits = protobuf.windows(label.len()).filter(|w| w == label);
        assert_eq!(hits.count(), 2, "{protobuf:?}");
        assert!(!protobuf.windows(5).any(|w| w == b"first"), "{protobuf:?}");
    }
}
