//! The samples that a receiver stores for a series of a family, once for both versions of the
//! protocol.

use std::borrow::Cow;
use std::time::SystemTime;

use tallies::encode::bound_text;
use tallies::snapshot::{Exemplar, Family, Histogram, Kind, Native, Value};

use super::HistogramForm;
use super::labels::LabelPair;

/// The value of a stale marker, which ends a series.
pub(super) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// The value of every other NaN, so that none looks like a stale marker. Prometheus has the same.
const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// One of the samples of a series: what it adds to the name and the labels of the series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// Nothing is added.
    Whole,
    Bucket(f64),
    Quantile(f64),
    Sum,
    Count,
}

impl Part {
    /// Returns what the name of the metric ends in.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Whole | Self::Quantile(_) => "",
            Self::Bucket(_) => "_bucket",
            Self::Sum => "_sum",
            Self::Count => "_count",
        }
    }

    /// Returns the label that is added, and its value as a number.
    fn label(self) -> Option<(&'static str, f64)> {
        match self {
            Self::Bucket(le) => Some(("le", le)),
            Self::Quantile(phi) => Some(("quantile", phi)),
            Self::Whole | Self::Sum | Self::Count => None,
        }
    }
}

/// The value of a sample.
#[derive(Clone, Copy)]
pub(super) enum SampleValue<'a> {
    Float(f64),
    /// A native histogram with exponential buckets.
    Exponential {
        buckets: &'a Native,
        sum: f64,
    },
    /// A native histogram with custom buckets (NHCB).
    Custom(Histogram<'a>),
    /// The stale marker of a native histogram.
    HistogramEnd,
}

/// A sample with all that a request says about it.
pub(super) struct FullSample<'a> {
    pub(super) labels: &'a [LabelPair<'a>],
    pub(super) value: SampleValue<'a>,
    /// Milliseconds since the Unix epoch, here and below.
    pub(super) time: u64,
    /// The time since when the series counts; 0 if it is unknown or the series does not count.
    pub(super) start: u64,
    /// All have a time.
    pub(super) exemplars: &'a [&'a Exemplar],
}

/// The description of a family.
pub(super) struct Description<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    pub(super) help: &'a str,
    pub(super) unit: &'a str,
}

impl<'a> Description<'a> {
    pub(super) fn of(family: &'a Family) -> Self {
        Self {
            name: family.name(),
            kind: family.kind(),
            help: family.help(),
            unit: family.unit(),
        }
    }
}

/// A request that is being written.
pub(super) trait RequestWriter {
    /// Begins the samples of a family. `with_metadata` says whether a version that has metadata
    /// apart from samples writes it.
    fn family(&mut self, family: &Description<'_>, with_metadata: bool);
    /// Appends a sample of the family that began last.
    fn sample(&mut self, sample: &FullSample<'_>);
    /// Returns the number of bytes up to now, before compression.
    fn bytes(&self) -> usize;
}

/// The samples that the series of a family have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shape {
    pub(super) parts: Vec<Part>,
    /// Whether [`Part::Whole`] is a native histogram.
    pub(super) is_native: bool,
}

impl Shape {
    /// Returns the shape of all series of a family. Only summaries that were read from a page can
    /// have different quantiles; their shape has the quantiles of all.
    pub(super) fn of(family: &Family, form: HistogramForm) -> Self {
        let mut shape = Self::default();
        let mut samples = Vec::new();
        for (_, value) in family.series() {
            samples_of(value, form, &mut samples);
            for (part, value) in &samples {
                if !shape.parts.contains(part) {
                    shape.parts.push(*part);
                }
                shape.is_native |= !matches!(value, SampleValue::Float(_));
            }
            if !is_from_page(value) {
                break;
            }
        }
        if family.kind() == Kind::Summary && !family.is_empty() {
            // A sum or a count that is unknown may become known.
            for part in [Part::Sum, Part::Count] {
                if !shape.parts.contains(&part) {
                    shape.parts.push(part);
                }
            }
        }
        shape
    }

    /// Returns the parts that `other` does not have.
    pub(super) fn without(&self, other: &Self) -> Self {
        let parts = self.parts.iter().copied();
        Self {
            parts: parts.filter(|part| !other.parts.contains(part)).collect(),
            is_native: self.is_native,
        }
    }

    /// Returns the value of a stale marker for a part.
    pub(super) fn end_of(&self, part: Part) -> SampleValue<'static> {
        match part {
            Part::Whole if self.is_native => SampleValue::HistogramEnd,
            _ => SampleValue::Float(STALE),
        }
    }
}

/// Returns whether a summary has only the quantiles of a page. Those of registries answer any
/// question about quantiles.
fn is_from_page(value: Value<'_>) -> bool {
    matches!(value, Value::Summary(summary) if summary.quantile(-1.0).is_err())
}

/// Replaces `samples` by those of a series, buckets and quantiles first.
pub(super) fn samples_of<'a>(
    value: Value<'a>,
    form: HistogramForm,
    samples: &mut Vec<(Part, SampleValue<'a>)>,
) {
    samples.clear();
    let mut push = |part, x| samples.push((part, SampleValue::Float(number(x))));
    match value {
        Value::Counter(n) => push(Part::Whole, n.as_f64()),
        Value::Gauge(x) => push(Part::Whole, x),
        Value::Summary(summary) => {
            for (phi, x) in summary.exported() {
                push(Part::Quantile(phi), x);
            }
            // A page may lack the sum, which is then NaN, and the count, which is then 0.
            let has_sum = !summary.sum().is_nan();
            if has_sum {
                push(Part::Sum, summary.sum());
            }
            if has_sum || summary.count() > 0 {
                push(Part::Count, summary.count() as f64);
            }
        }
        Value::Histogram(histogram) => match (form, histogram.native()) {
            (HistogramForm::AsDeclared | HistogramForm::Native, Some(buckets)) => {
                let sum = number(histogram.sum());
                samples.push((Part::Whole, SampleValue::Exponential { buckets, sum }));
            }
            (HistogramForm::Native, None) => {
                samples.push((Part::Whole, SampleValue::Custom(histogram)));
            }
            (HistogramForm::AsDeclared, None) | (HistogramForm::Classic, _) => {
                for (le, count) in histogram.buckets() {
                    push(Part::Bucket(le), count as f64);
                }
                push(Part::Sum, histogram.sum());
                push(Part::Count, histogram.count() as f64);
            }
        },
        // There are no other kinds today.
        _ => {}
    }
}

/// Returns a number as it is sent.
pub(super) fn number(x: f64) -> f64 {
    if x.is_nan() { NAN } else { x }
}

/// Returns the milliseconds since the Unix epoch.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// The names of the samples of a family, and the texts of its bounds or quantiles.
pub(super) struct PartNames<'a> {
    family: &'a str,
    bucket: String,
    sum: String,
    count: String,
    /// Bounds or quantiles with their texts, in the order of the parts.
    bounds: Vec<(f64, String)>,
    /// The name of the label with these texts.
    label: Option<&'static str>,
}

impl<'a> PartNames<'a> {
    pub(super) fn new(family: &'a str, parts: &[Part]) -> Self {
        let name = |part: Part| format!("{family}{}", part.suffix());
        let mut labels = parts.iter().filter_map(|part| part.label()).peekable();
        let label = labels.peek().copied();
        Self {
            family,
            bucket: name(Part::Bucket(0.0)),
            sum: name(Part::Sum),
            count: name(Part::Count),
            bounds: labels.map(|(_, x)| (x, bound_text(x))).collect(),
            label: label.map(|(name, _)| name),
        }
    }

    /// Returns the name of the label that some samples have: `le` or `quantile`.
    pub(super) fn label(&self) -> Option<&'static str> {
        self.label
    }

    /// Returns the name of the metric and the text of the added label for the `k`-th sample of a
    /// series.
    pub(super) fn of(&self, k: usize, part: Part) -> (&str, Cow<'_, str>) {
        let name: &str = match part {
            Part::Whole | Part::Quantile(_) => self.family,
            Part::Bucket(_) => &self.bucket,
            Part::Sum => &self.sum,
            Part::Count => &self.count,
        };
        let text = match part.label() {
            None => Cow::Borrowed(""),
            Some((_, x)) => match self.bounds.get(k) {
                Some((at, text)) if *at == x => Cow::Borrowed(&**text),
                // Summaries that were read from a page may have different quantiles.
                _ => Cow::Owned(bound_text(x)),
            },
        };
        (name, text)
    }
}
