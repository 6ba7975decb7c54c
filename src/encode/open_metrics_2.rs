//! The OpenMetrics format 2.0.0: one line per series, whose value may have fields and lists.
//!
//! A family that the format would refuse with its own type gets another one, so that nothing is
//! lost.
//!
//! Source: the OpenMetrics specification, version 2.0.0-rc0.

use std::time::SystemTime;

use crate::snapshot::{Family, Histogram, Kind, Native, Number, Numbers, Summary, Value, Values};

use super::lines::{BoundForm, Lines};
use super::native;
use super::number;
use super::open_metrics::{exemplar, seconds, type_name};
use super::walk::{EscapedNames, PaddedBuffer, PaddedText, SeriesMeta, Writer};

/// Buckets whose indices differ by at most this much share a span. The empty bucket between them
/// takes two bytes, a new span takes four.
const GAP: i32 = 2;

/// Writes OpenMetrics 2.0 text.
pub(super) struct OpenMetrics2<'a> {
    /// Writes the lines.
    lines: Lines<'a>,
    /// Whether the current family is a gauge histogram, which has other fields and no start.
    is_gauge: bool,
    /// The creation time of the last series, in milliseconds, and its text. The next series usually
    /// has the same.
    start: (u64, PaddedBuffer),
}

/// The size of a copy of ` st@1700000000.123`.
const START: usize = 32;

impl<'a> OpenMetrics2<'a> {
    /// Creates a writer that appends to `out`. Timestamps are in seconds.
    pub(super) fn new(out: &'a mut Vec<u8>, time: Option<SystemTime>) -> Self {
        Self {
            lines: Lines::new(out, BoundForm::KEY, time, seconds),
            is_gauge: false,
            start: Default::default(),
        }
    }

    /// Ends the line of a series that counts up: its start time and its exemplars.
    #[inline(always)]
    fn end_of_total(&mut self, series: SeriesMeta<'_>) {
        if let Some(created) = series.created() {
            let (millis, text) = &mut self.start;
            if *millis != created {
                *millis = created;
                text.set(START, |text| {
                    text.extend_from_slice(b" st@");
                    seconds(text, created);
                });
            }
            text.text().push::<START>(self.lines.out);
        }
        self.end_of_sample(series);
    }

    /// Ends a line after its exemplars, which must have a time.
    #[inline(always)]
    fn end_of_sample(&mut self, series: SeriesMeta<'_>) {
        for (.., of_series) in series.exemplars() {
            if of_series.time.is_some() {
                exemplar(self.lines.out, of_series);
            }
        }
        self.lines.end();
    }

    /// Appends exponential buckets.
    fn native(&mut self, native: &Native) {
        let out = &mut *self.lines.out;
        field(out, ",schema:", i64::from(native.schema()));
        out.extend_from_slice(b",zero_threshold:");
        number::float(out, native.zero_threshold());
        out.extend_from_slice(b",zero_count:");
        number::integer(out, native.zero_count());
        for (sign, buckets) in [
            ("negative", native.negative()),
            ("positive", native.positive()),
        ] {
            if buckets.is_empty() {
                continue;
            }
            for part in [",", sign, "_spans:["] {
                out.extend_from_slice(part.as_bytes());
            }
            for (i, (offset, len)) in native::spans(buckets, GAP).enumerate() {
                field(out, if i > 0 { "," } else { "" }, offset);
                out.push(b':');
                number::integer(out, len);
            }
            for part in ["],", sign, "_buckets:["] {
                out.extend_from_slice(part.as_bytes());
            }
            for (i, count) in native::counts(buckets, GAP).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                number::integer(out, count);
            }
            out.push(b']');
        }
    }
}

/// Appends a number after its name.
fn field(out: &mut Vec<u8>, name: &str, n: i64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Returns whether the format can write a unit. A line feed in one would begin another line.
fn is_unit(unit: &str) -> bool {
    let is_in = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    !unit.is_empty() && unit.bytes().all(is_in)
}

/// Returns the type of a family that the format admits.
fn type_of(family: &Family, names: &EscapedNames<'_>) -> &'static str {
    match family.kind() {
        Kind::Info if !names.name.ends_with("_info") => "gauge",
        Kind::Counter if !are_counts(&family.values) => "unknown",
        Kind::Summary if !(0..family.len()).all(|i| is_positive(&family.value(i))) => "unknown",
        kind => type_name(kind),
    }
}

/// Returns whether no total is negative or NaN. The difference of two infinite totals is NaN.
fn are_counts(values: &Values) -> bool {
    match values {
        Values::Counter(Numbers::Float(totals)) => totals.iter().all(|total| *total >= 0.0),
        _ => true,
    }
}

/// Returns whether neither the sum nor a quantile of a summary is negative. The first one that it
/// exports is the least.
fn is_positive(value: &Value<'_>) -> bool {
    match value {
        Value::Summary(value) => {
            let least = value.exported().next();
            value.sum() >= 0.0 && least.is_none_or(|(_, least)| least.is_nan() || least >= 0.0)
        }
        _ => true,
    }
}

impl Writer for OpenMetrics2<'_> {
    fn out(&mut self) -> &mut Vec<u8> {
        self.lines.out
    }

    fn prepare(&mut self, family: &Family, names: &EscapedNames<'_>) {
        self.is_gauge = family.kind() == Kind::GaugeHistogram;
        self.lines.family(family, names, &[""]);
    }

    fn head(&mut self, family: &Family, names: &EscapedNames<'_>) {
        self.lines.comment("TYPE", names, type_of(family, names));
        let unit = family.unit();
        if is_unit(unit) && !matches!(family.kind(), Kind::Info | Kind::StateSet) {
            self.lines.comment("UNIT", names, unit);
        }
        self.lines.help(family, names, true);
    }

    #[inline(always)]
    fn counter(&mut self, labels: PaddedText<'_>, value: Number, series: SeriesMeta<'_>) {
        self.lines.number(0, labels, value);
        self.end_of_total(series);
    }

    #[inline(always)]
    fn gauge(&mut self, labels: PaddedText<'_>, value: f64, _: SeriesMeta<'_>) {
        self.lines.line(0, labels, Number::Float(value));
    }

    fn histogram(&mut self, labels: PaddedText<'_>, value: &Histogram<'_>, series: SeriesMeta<'_>) {
        let (count, sum) = match self.is_gauge {
            true => (&b"{gcount:"[..], &b",gsum:"[..]),
            false => (&b"{count:"[..], &b",sum:"[..]),
        };
        self.lines.start(0, labels);
        self.lines.out.extend_from_slice(count);
        number::integer(self.lines.out, value.count());
        self.lines.out.extend_from_slice(sum);
        number::float(self.lines.out, value.sum());
        if let Some(native) = value.native() {
            self.native(native);
        }
        // Next to exponential buckets, a single bucket for all values adds no information.
        if value.native().is_none() || value.counts.len() > 1 {
            self.lines.out.extend_from_slice(b",bucket:[");
            self.lines.bucket_list(value);
            self.lines.out.push(b']');
        }
        self.lines.out.push(b'}');
        self.lines.push_timestamp();
        match self.is_gauge {
            true => self.end_of_sample(series),
            false => self.end_of_total(series),
        }
    }

    fn summary(&mut self, labels: PaddedText<'_>, value: &Summary<'_>, series: SeriesMeta<'_>) {
        let Some(count) = value.known_count() else {
            return;
        };
        self.lines.start(0, labels);
        self.lines.out.extend_from_slice(b"{count:");
        number::integer(self.lines.out, count);
        self.lines.out.extend_from_slice(b",sum:");
        number::float(self.lines.out, value.sum());
        self.lines.out.extend_from_slice(b",quantile:[");
        self.lines.quantile_list(value);
        self.lines.out.extend_from_slice(b"]}");
        self.lines.push_timestamp();
        self.end_of_total(series);
    }

    fn end(&mut self) {
        self.lines.out.extend_from_slice(b"# EOF\n");
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::snapshot::{Exemplar, GaugeMode, Meta, Snapshot};

    fn millis(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    /// A family with one series, without labels, that began at 1520430000.123.
    fn family(name: &'static str, kind: Kind, value: Value<'_>) -> Family {
        let meta = Meta::new(name, "", kind, GaugeMode::LiveSum);
        let mut family = Family::new(meta, value.to_empty());
        family.values.push(value);
        family.texts.push("", 1_520_430_000_123);
        family
    }

    fn page(families: impl IntoIterator<Item = Family>) -> String {
        let snapshot = Snapshot {
            families: families.into_iter().collect(),
            ..Snapshot::default()
        };
        let mut page = Vec::new();
        let format = crate::encode::Format::OPEN_METRICS_2;
        crate::encode::Options::new().write(&snapshot, format, &mut page);
        String::from_utf8(page).unwrap()
    }

    /// The first sample of a page with one family.
    fn sample(family: Family) -> String {
        let page = page([family]);
        let sample = page.lines().find(|line| !line.starts_with('#'));
        sample.unwrap_or_default().to_owned()
    }

    fn histogram(bounds: &[f64], counts: &[u64], sum: f64) -> Family {
        let value = Histogram::new(bounds, counts, sum).unwrap();
        family("foo", Kind::Histogram, Value::Histogram(value))
    }

    fn native(native: &Native, bounds: &[f64], counts: &[u64], sum: f64) -> Family {
        let mut family = histogram(bounds, counts, sum);
        family.values = Values::histogram(bounds.into(), true);
        if let Values::Histogram(all) = &mut family.values {
            all.push(counts, sum, Some(native));
        }
        family
    }

    fn traced(labels: &str, value: f64, at: Option<u64>) -> Exemplar {
        Exemplar {
            labels: labels.into(),
            value,
            time: at.map(millis),
        }
    }

    /// Examples of the specification.
    #[test]
    fn a_counter_has_its_start_before_its_exemplars() {
        let mut total = family("foo_total", Kind::Counter, Value::Counter(Number::Int(17)));
        assert_eq!(sample(total.clone()), "foo_total 17 st@1520430000.123");
        let exemplar = traced("trace_id=\"KOO5S4vxi0o\"", 0.67, Some(1_520_879_606_100));
        total.exemplars = vec![(0, 0, exemplar.clone())];
        let snapshot = Snapshot {
            families: vec![total.clone()],
            taken: millis(1_520_879_607_789),
            ..Snapshot::default()
        };
        let mut page = Vec::new();
        let options = crate::encode::Options::new().timestamps(true);
        options.write(&snapshot, crate::encode::Format::OPEN_METRICS_2, &mut page);
        let exemplar_text = "# {trace_id=\"KOO5S4vxi0o\"} 0.67 1520879606.100";
        assert_eq!(
            String::from_utf8(page).unwrap(),
            format!(
                "# TYPE foo_total counter\n\
                 foo_total 17 1520879607.789 st@1520430000.123 {exemplar_text}\n\
                 # EOF\n"
            )
        );
        // One without a time is left out.
        total.exemplars = vec![(0, 0, traced("", 1.0, None)), (0, 0, exemplar)];
        assert_eq!(
            sample(total),
            format!("foo_total 17 st@1520430000.123 {exemplar_text}")
        );
    }

    /// Examples of the specification.
    #[test]
    fn a_histogram_is_one_line() {
        let bounds = [
            0.0, 1e-05, 0.0001, 0.1, 1.0, 10.0, 100_000.0, 1e6, 1e23, 1.1e23,
        ];
        let counts = [0, 0, 5, 3, 2, 1, 0, 4, 1, 1, 0];
        assert_eq!(
            sample(histogram(&bounds, &counts, 324_789.3)),
            "foo {count:17,sum:324789.3,bucket:[0.0:0,1e-05:0,0.0001:5,0.1:8,1.0:10,10.0:11,\
             100000.0:11,1e+06:15,1e+23:16,1.1e+23:17,+Inf:17]} st@1520430000.123"
        );
        let mut traces = histogram(&[0.01, 0.1, 1.0, 10.0], &[0, 8, 3, 6, 0], 324_789.3);
        traces.exemplars = vec![
            (0, 1, traced("", 0.054, Some(1_520_879_607_700))),
            (
                0,
                2,
                traced("trace_id=\"KOO5S4vxi0o\"", 1.67, Some(1_520_879_602_890)),
            ),
            (
                0,
                3,
                traced("trace_id=\"oHg5SJYRHA0\"", 9.8, Some(1_520_879_607_789)),
            ),
        ];
        assert_eq!(
            sample(traces),
            "foo {count:17,sum:324789.3,bucket:[0.01:0,0.1:8,1.0:11,10.0:17,+Inf:17]} \
             st@1520430000.123 # {} 0.054 1520879607.700 \
             # {trace_id=\"KOO5S4vxi0o\"} 1.67 1520879602.890 \
             # {trace_id=\"oHg5SJYRHA0\"} 9.8 1520879607.789"
        );
        let value = Histogram::new(&[0.01, 0.1, 1.0], &[20, 5, 9, 8], 3289.3).unwrap();
        let gauge = family("foo", Kind::GaugeHistogram, Value::Histogram(value));
        assert_eq!(
            page([gauge]),
            "# TYPE foo gaugehistogram\n\
             foo {gcount:42,gsum:3289.3,bucket:[0.01:20,0.1:25,1.0:34,+Inf:42]}\n\
             # EOF\n"
        );
    }

    /// Examples of the specification.
    #[test]
    fn exponential_buckets_are_absolute_counts() {
        let both = Native {
            schema: 7,
            zero_threshold: 1e-4,
            zero_count: 0,
            negative: vec![(1, 5), (2, 7)],
            positive: vec![(-1, 5), (0, 7), (4, 10), (5, 9), (6, 8), (7, 8)],
        };
        assert_eq!(
            sample(native(&both, &[], &[59], 120.0)),
            "foo {count:59,sum:120,schema:7,zero_threshold:0.0001,zero_count:0,\
             negative_spans:[1:2],negative_buckets:[5,7],\
             positive_spans:[-1:2,3:4],positive_buckets:[5,7,10,9,8,8]} st@1520430000.123"
        );
        let none = Native {
            schema: 3,
            zero_threshold: 1e-4,
            ..Native::default()
        };
        assert_eq!(
            sample(native(&none, &[], &[0], 0.0)),
            "foo {count:0,sum:0,schema:3,zero_threshold:0.0001,zero_count:0} st@1520430000.123"
        );
        let two = Native {
            schema: 0,
            zero_threshold: 1e-4,
            zero_count: 0,
            negative: Vec::new(),
            positive: vec![(0, 5), (1, 12)],
        };
        assert_eq!(
            sample(native(
                &two,
                &[0.01, 0.1, 1.0, 10.0],
                &[0, 8, 3, 6, 0],
                324_789.3
            )),
            "foo {count:17,sum:324789.3,schema:0,zero_threshold:0.0001,zero_count:0,\
             positive_spans:[0:2],positive_buckets:[5,12],\
             bucket:[0.01:0,0.1:8,1.0:11,10.0:17,+Inf:17]} st@1520430000.123"
        );
        // One empty bucket is cheaper than another span; two are not.
        let gaps = Native {
            positive: vec![(1, 1), (3, 2), (6, 3)],
            ..Native::default()
        };
        let written = sample(native(&gaps, &[], &[6], 9.0));
        assert!(
            written.contains("positive_spans:[1:3,2:1],positive_buckets:[1,0,2,3]}"),
            "{written}"
        );
    }

    /// Examples of the specification.
    #[test]
    fn a_summary_is_one_line() {
        let foo = |sum, quantiles: &[(f64, f64)]| {
            let value = Summary::new(Some(17), sum, quantiles);
            family("foo", Kind::Summary, Value::Summary(value))
        };
        assert_eq!(
            page([foo(324_789.3, &[])]),
            "# TYPE foo summary\n\
             foo {count:17,sum:324789.3,quantile:[]} st@1520430000.123\n\
             # EOF\n"
        );
        assert_eq!(
            sample(foo(0.0, &[(0.95, 123.7), (0.99, f64::NAN)])),
            "foo {count:17,sum:0,quantile:[0.95:123.7,0.99:NaN]} st@1520430000.123"
        );
        // A summary must not have these values, but a family of no type may.
        for (sum, least) in [(-1.0, 1.0), (f64::NAN, 1.0), (1.0, -1.0)] {
            let page = page([foo(sum, &[(0.5, least)])]);
            assert!(
                page.starts_with("# TYPE foo unknown\nfoo {count:17,"),
                "{page}"
            );
        }
        let unknown = Summary::new(None, 1.0, &[]);
        let unknown = family("foo", Kind::Summary, Value::Summary(unknown));
        assert_eq!(page([unknown]), "# TYPE foo summary\n# EOF\n");
    }

    /// A unit with a line feed began a line of its own, and a help that ended in a carriage return
    /// ended its line in one.
    #[test]
    fn no_text_breaks_its_line() {
        let mut broken = family("a", Kind::Gauge, Value::Gauge(1.0));
        broken.meta.help = "Some\rhelp.\r\r".into();
        for unit in ["x\ny 1", "m/s", "a b"] {
            broken.meta.unit = unit.into();
            assert_eq!(
                page([broken.clone()]),
                "# TYPE a gauge\n# HELP a Some\rhelp.\na 1\n# EOF\n"
            );
        }
    }

    /// A counter must not have these values, but a family of no type may.
    #[test]
    fn a_counter_that_counts_nothing_has_no_type() {
        for total in [f64::NAN, -1.0] {
            let total = Value::Counter(Number::Float(total));
            let page = page([family("foo", Kind::Counter, total)]);
            assert!(page.starts_with("# TYPE foo unknown\nfoo "), "{page}");
        }
    }

    #[test]
    fn names_units_and_types_are_as_declared() {
        let mut families = Vec::new();
        for (name, unit, kind) in [
            ("events", "", Kind::Counter),
            ("foo_total", "seconds", Kind::Counter),
            ("sizes", "bytes", Kind::Gauge),
            ("build", "", Kind::Info),
            ("build_info", "", Kind::Info),
            ("foo", "", Kind::StateSet),
            ("x", "", Kind::Unknown),
        ] {
            let value = match kind {
                Kind::Counter => Value::Counter(Number::Int(1)),
                _ => Value::Gauge(1.0),
            };
            let mut family = family(name, kind, value);
            family.meta.unit = unit.into();
            family.meta.help = if kind == Kind::Gauge {
                "A \"size\".\n"
            } else {
                ""
            }
            .into();
            family.texts = Default::default();
            family.texts.push(
                if kind == Kind::StateSet {
                    "foo=\"a\""
                } else {
                    ""
                },
                0,
            );
            families.push(family);
        }
        assert_eq!(
            page(families),
            "# TYPE events counter\nevents 1\n\
             # TYPE foo_total counter\n# UNIT foo_total seconds\nfoo_total 1\n\
             # TYPE sizes gauge\n# UNIT sizes bytes\n# HELP sizes A \\\"size\\\".\\n\nsizes 1\n\
             # TYPE build gauge\nbuild 1\n\
             # TYPE build_info info\nbuild_info 1\n\
             # TYPE foo stateset\nfoo{foo=\"a\"} 1\n\
             # TYPE x unknown\nx 1\n\
             # EOF\n"
        );
    }
}
