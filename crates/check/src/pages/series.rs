//! The reader of a series: collects its samples, and checks that they are complete.

use std::time::SystemTime;

use tallies::snapshot::{Family, Histogram, Kind, Native, Number, Summary, Value};

use super::family::Part;
use super::line::Label;
use super::remark::Notes;
use super::sample::{self, Exemplar, Sample, SampleValue};
use super::{Dialect, Fault, number, show};

/// The bound of a bucket, or a quantile.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) value: f64,
    /// The offset of its label in the line.
    pub(super) offset: usize,
}

/// A number of a series: the value of a sample, or a part of a composite value.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) part: Part,
    pub(super) step: Option<Step>,
    pub(super) value: Number,
    /// The offset of the value in the line.
    pub(super) offset: usize,
}

/// An incomplete series.
#[derive(Default)]
pub(super) struct PartialSeries<'a> {
    /// The line in which the series began.
    pub(super) line: usize,
    labels: Vec<Label<'a>>,
    pub(super) time: Option<SystemTime>,
    /// The exemplars, each with the index of its bucket.
    exemplars: Vec<(usize, Exemplar<'a>)>,
    /// The bounds or the quantiles, each with its value. The value of a bound is its cumulative
    /// count.
    steps: Vec<(f64, Number)>,
    /// The values of the parts that are no steps, by part.
    values: [Option<Number>; Part::Created as usize + 1],
    native: Option<Native>,
    /// The start time in the sample's line.
    start: Option<SystemTime>,
    /// Whether the steps are not in ascending order, so that exemplars have no index.
    is_unordered: bool,
}

impl<'a> PartialSeries<'a> {
    pub(super) fn new(line: usize, sample: &Sample<'a>) -> Self {
        Self {
            line,
            labels: sample.labels.clone(),
            time: sample.time,
            start: sample.start.map(|(_, time)| time),
            ..Self::default()
        }
    }

    /// Adds one of its samples. `kind` is the type of its family.
    pub(super) fn add(
        &mut self,
        sample: Sample<'a>,
        part: Part,
        step: Option<Step>,
        kind: Kind,
        dialect: Dialect,
        notes: &mut Notes,
    ) -> Result<(), Fault> {
        let has_quantiles =
            matches!(&sample.value, SampleValue::Composite(value) if value.kind == Kind::Summary);
        match sample.value {
            SampleValue::Number(value) => {
                let offset = sample.value_offset;
                let entry = Entry {
                    part,
                    step,
                    value,
                    offset,
                };
                if self.add_entry(entry, kind, dialect, notes)? {
                    let what =
                        "of this series is given twice; a snapshot holds one point per series";
                    let what = format!("{} {what}", show(&sample.name));
                    notes.odd(Fault::new(sample.offset, what))?;
                    // The first one holds, unless the other is a later point.
                    if part == Part::Value && sample.time > self.time {
                        self.time = sample.time;
                        self.values[part as usize] = Some(value);
                    }
                    return Ok(());
                }
            }
            SampleValue::Composite(value) => {
                for entry in value.entries {
                    if self.add_entry(entry, kind, dialect, notes)? {
                        let offset = entry.step.map_or(entry.offset, |step| step.offset);
                        return Err(Fault::new(offset, "this bound or quantile is given twice"));
                    }
                }
                self.native = value.native;
            }
        }
        let buckets = &self.steps[if has_quantiles { self.steps.len() } else { 0 }..];
        let last = buckets.len().saturating_sub(1);
        for (offset, exemplar) in sample.exemplars {
            let value = exemplar.value;
            let what = match (part, buckets.last()) {
                _ if dialect == Dialect::OpenMetrics2 => None,
                (Part::Value, _) if kind == Kind::Counter => None,
                (Part::Bucket, Some((bound, _))) if value <= *bound => None,
                (Part::Bucket, _) => {
                    Some("the value of this exemplar is not within the bound of its bucket")
                }
                _ => Some("only totals of counters and buckets can have exemplars"),
            };
            if let Some(what) = what {
                notes.odd(Fault::new(offset, what))?;
                continue;
            }
            if self.is_unordered {
                continue;
            }
            // In OpenMetrics 1.0, the line is that of a bucket. NaN is in the last bucket.
            let bucket = match dialect == Dialect::OpenMetrics2 && !value.is_nan() {
                true => buckets
                    .partition_point(|(bound, _)| *bound < value)
                    .min(last),
                false => last,
            };
            self.exemplars.push((bucket, exemplar));
        }
        if dialect == Dialect::OpenMetrics2 {
            self.exemplars.sort_by_key(|(bucket, _)| *bucket);
        }
        Ok(())
    }

    /// Adds a number. Returns whether it is a duplicate.
    fn add_entry(
        &mut self,
        entry: Entry,
        kind: Kind,
        dialect: Dialect,
        notes: &mut Notes,
    ) -> Result<bool, Fault> {
        let value = match check(entry.part, kind, dialect, entry.value) {
            Ok(value) => value,
            Err(what) => {
                notes.odd(fault(&entry, what))?;
                match entry.part {
                    Part::Count | Part::Bucket => Number::Int(number::rounded(entry.value)),
                    Part::Created => return Ok(false),
                    _ => entry.value,
                }
            }
        };
        if let Some(step) = entry.step {
            return self.add_step(step, Entry { value, ..entry }, notes);
        }
        let known = &mut self.values[entry.part as usize];
        let is_duplicate = known.is_some();
        known.get_or_insert(value);
        Ok(is_duplicate)
    }

    /// Adds a bucket or a quantile. Returns whether it is a duplicate of the last one.
    fn add_step(&mut self, step: Step, entry: Entry, notes: &mut Notes) -> Result<bool, Fault> {
        let Entry { part, value, .. } = entry;
        if let Some((last, below)) = self.steps.last() {
            if *last == step.value {
                return Ok(true);
            }
            if *last > step.value {
                let now = step.value;
                let what = format!("{now} follows {last}; bounds and quantiles have to ascend");
                notes.odd(Fault::new(step.offset, what))?;
                self.is_unordered = true;
                self.exemplars.clear();
            }
            let (below, count) = (number::whole(*below), number::whole(value));
            if part == Part::Bucket && below > count && !self.is_unordered {
                let below = below.unwrap_or_default();
                let what = "and the counts of buckets are cumulative";
                let what = format!("the bucket before has {below}, {what}");
                notes.odd(fault(&entry, &what))?;
            }
        }
        self.steps.push((step.value, value));
        Ok(false)
    }

    fn get(&self, part: Part) -> Option<f64> {
        self.values[part as usize].map(Number::as_f64)
    }

    fn count(&self) -> Option<u64> {
        self.values[Part::Count as usize].and_then(number::whole)
    }

    /// Checks that all parts of a histogram are present and consistent. Returns the error message
    /// if not.
    fn check_histogram(&self, kind: Kind, dialect: Dialect) -> Result<(), String> {
        let Some((f64::INFINITY, Number::Int(last))) = self.steps.last() else {
            return Err("has no bucket `le=\"+Inf\"`".into());
        };
        let has_negative = self.steps[0].0 < 0.0;
        let is_text = dialect == Dialect::Text;
        let is_first = dialect == Dialect::OpenMetrics;
        if let Some(native) = self.native.as_ref().map(Native::count) {
            // Only NaN is in no exponential bucket, and makes the sum NaN.
            let is_nan = self.get(Part::Sum).is_some_and(f64::is_nan);
            if native > *last || (native < *last && !is_nan) {
                let what = format!("has a count of {last} and {native} in its exponential buckets");
                return Err(what);
            }
        }
        let what = match (self.get(Part::Sum), self.count()) {
            (_, Some(count)) if count != *last => {
                return Err(format!("has a count of {count} and {last} in all buckets"));
            }
            (None, _) if is_text => "has no sum",
            (_, None) if is_text => "has no count",
            (Some(_), None) | (None, Some(_)) => "has only one of sum and count; both are required",
            (Some(_), _) if is_first && has_negative && kind != Kind::GaugeHistogram => {
                "has a sum and a bucket below 0; OpenMetrics allows no sum there"
            }
            (Some(sum), _) if is_first && sum < 0.0 && !has_negative => {
                return Err(format!("has a sum of {sum} and no bucket below 0"));
            }
            _ => return Ok(()),
        };
        Err(what.into())
    }

    /// Returns whether it has no value at all.
    pub(super) fn is_empty(&self) -> bool {
        let has_part = |part: &Option<Number>| part.is_some();
        let parts = &self.values[..Part::Created as usize];
        self.steps.is_empty() && !parts.iter().any(has_part)
    }

    /// Sorts the steps, of which the first of each value holds.
    pub(super) fn sort(&mut self) {
        if self.is_unordered {
            self.steps.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            self.steps.dedup_by(|(later, _), (first, _)| later == first);
        }
    }

    /// Checks a histogram after its last sample, and completes what a lenient
    /// reader takes: counts become cumulative, and there is a bucket for all values.
    pub(super) fn complete(
        &mut self,
        family: &Family,
        dialect: Dialect,
        notes: &mut Notes,
    ) -> Result<(), Fault> {
        self.sort();
        let kind = family.kind();
        let mut below = 0;
        for (_, count) in &mut self.steps {
            below = below.max(number::whole(*count).unwrap_or_default());
            *count = Number::Int(below);
        }
        let Err(what) = self.check_histogram(kind, dialect) else {
            return Ok(());
        };
        let what = self.message(family, &what);
        notes.odd(Fault::in_line(self.line, what))?;
        // The buckets say how many observations there are, and if they do not, the count does.
        if self
            .steps
            .last()
            .is_none_or(|(bound, _)| *bound != f64::INFINITY)
        {
            let all = self.count().unwrap_or_default().max(below);
            self.steps.push((f64::INFINITY, Number::Int(all)));
        }
        self.native = None;
        Ok(())
    }

    /// Says what is wrong with the series.
    fn message(&self, family: &Family, what: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let label = |Label { name, value, .. }: &Label<'_>| match name.chars().all(is_plain) {
            true => format!("{name}={value:?}"),
            false => format!("{name:?}={value:?}"),
        };
        let labels: Vec<_> = self.labels.iter().map(label).collect();
        let (labels, kind, name) = (labels.join(","), family.kind(), show(family.name()));
        format!("series {{{labels}}} of {kind} {name} {what}")
    }

    /// Returns the finite bounds, or the quantiles without the last.
    pub(super) fn bounds(&self) -> Vec<f64> {
        let finite = self.steps.len().saturating_sub(1);
        let finite = self.steps[..finite].iter();
        finite.map(|(bound, _)| *bound).collect()
    }

    /// Adds the series, which must be complete, to its family, whose bounds these are. Returns the
    /// error message if it does not fit.
    pub(super) fn add_to(self, family: &mut Family, bounds: &[f64]) -> Result<(), String> {
        let kind = family.kind();
        let fault = |what: &str| self.message(family, what);
        let (mut counts, mut quantiles) = (Vec::new(), Vec::new());
        let sum = self.get(Part::Sum).unwrap_or(f64::NAN);
        let value = match (kind, self.values[Part::Value as usize]) {
            (Kind::Histogram | Kind::GaugeHistogram, _) => {
                let mut below = 0;
                counts.extend(self.steps.iter().map(|(_, count)| {
                    let Number::Int(count) = *count else { return 0 };
                    count - std::mem::replace(&mut below, count)
                }));
                let value = Histogram::new(bounds, &counts, sum);
                let value = value.map_err(|error| error.to_string())?;
                Value::Histogram(match &self.native {
                    Some(native) => value.and_native(native),
                    None => value,
                })
            }
            (Kind::Summary, _) => {
                quantiles.extend(self.steps.iter().map(|(phi, x)| (*phi, x.as_f64())));
                Value::Summary(Summary::new(self.count(), sum, &quantiles))
            }
            (_, None) => return Err(fault("has no value")),
            (Kind::Counter, Some(value)) => Value::Counter(value),
            (_, Some(value)) => Value::Gauge(value.as_f64()),
        };
        let mut add = || {
            family.push(&sample::borrowed(&self.labels), value)?;
            let created = self.get(Part::Created).and_then(number::created);
            if let Some(created) = self.start.or(created) {
                family.set_created(family.len() - 1, created);
            }
            self.exemplars.iter().try_for_each(|(bucket, exemplar)| {
                let labels = sample::borrowed(&exemplar.labels);
                family.push_exemplar(*bucket, &labels, exemplar.value, exemplar.time)
            })
        };
        add().map_err(|error: tallies::Error| error.to_string())
    }
}

/// Gives all series of a family the bounds that they have in common. Counts are cumulative, so
/// those that are left are exact.
pub(super) fn share_bounds(
    all: &mut [PartialSeries<'_>],
    family: &Family,
    notes: &mut Notes,
) -> Result<(), Fault> {
    let Some((first, others)) = all.split_first() else {
        return Ok(());
    };
    let first = first.bounds();
    let mut common = first.clone();
    for series in others {
        let own = series.bounds();
        if own != first {
            let what = "has other buckets than the first series; a snapshot holds one list of bounds \
                        per family";
            let what = series.message(family, what);
            notes.odd(Fault::in_line(series.line, what))?;
            common.retain(|bound| own.binary_search_by(|x| x.total_cmp(bound)).is_ok());
        }
    }
    for series in all {
        if series.bounds() != common {
            series.exemplars.clear();
            let is_common = |x: &f64| common.binary_search_by(|bound| bound.total_cmp(x)).is_ok();
            let steps = &mut series.steps;
            steps.retain(|(x, _)| x.is_infinite() && *x > 0.0 || is_common(x));
        }
    }
    Ok(())
}

/// Checks that a value is valid for a part of a series, and returns it. Counts of observations are
/// integers then. Returns the error message if it is not valid.
fn check(part: Part, kind: Kind, dialect: Dialect, value: Number) -> Result<Number, &'static str> {
    let x = value.as_f64();
    // In OpenMetrics 2.0, the sum of a histogram may be any number, also none.
    let has_sum = dialect == Dialect::OpenMetrics;
    let has_positive_sum = match dialect {
        Dialect::Text => false,
        Dialect::OpenMetrics => kind != Kind::GaugeHistogram,
        Dialect::OpenMetrics2 => kind == Kind::Summary,
    };
    Err(match (part, kind) {
        (Part::Value, Kind::Counter) if x.is_nan() || x < 0.0 => "a counter has to be 0 or more",
        (Part::Value, Kind::Info) if x != 1.0 => "the value of an info has to be 1",
        (Part::Value, Kind::StateSet) if x != 0.0 && x != 1.0 => {
            "the value of a state has to be 0 or 1"
        }
        (Part::Sum, _)
            if x.is_nan() && (has_sum || has_positive_sum) || x < 0.0 && has_positive_sum =>
        {
            "a sum in OpenMetrics has to be 0 or more"
        }
        (Part::Quantile, Kind::Summary) if dialect != Dialect::Text && x < 0.0 => {
            "a quantile in OpenMetrics has to be 0 or more"
        }
        (Part::Created, _) if number::created(x).is_none() => {
            "a creation time is a number of seconds since 1970"
        }
        (Part::Count | Part::Bucket, _) => {
            return number::count(value).map(Number::Int);
        }
        _ => return Ok(value),
    })
}

/// Returns an error at a number.
pub(super) fn fault(entry: &Entry, what: &str) -> Fault {
    let what = format!("found {}; {what}", entry.value.as_f64());
    Fault::new(entry.offset, what)
}
