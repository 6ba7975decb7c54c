//! The reader of a series: collects its samples, and checks that they are complete.

use std::time::SystemTime;

use tallies::snapshot::{Family, Histogram, Kind, Number, Summary, Value};

use super::family::Part;
use super::line::Label;
use super::sample::{self, Exemplar, Sample};
use super::{Dialect, Fault, number, show};

/// The bound of a bucket, or a quantile.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) value: f64,
    /// The offset of its label in the line.
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
}

impl<'a> PartialSeries<'a> {
    pub(super) fn new(line: usize, sample: &Sample<'a>) -> Self {
        Self {
            line,
            labels: sample.labels.clone(),
            time: sample.time,
            ..Self::default()
        }
    }

    /// Adds one of its samples.
    pub(super) fn add(
        &mut self,
        sample: Sample<'a>,
        part: Part,
        step: Option<Step>,
        kind: Kind,
        dialect: Dialect,
    ) -> Result<(), Fault> {
        let value = check(part, kind, dialect, sample.value);
        let value = value.map_err(|what| fault(&sample, what))?;
        let is_duplicate = match step {
            Some(step) => self.add_step(&sample, step, part, value)?,
            None => self.values[part as usize].replace(value).is_some(),
        };
        if is_duplicate {
            let what = "of this series is given twice; a snapshot holds one point per series";
            let what = format!("{} {what}", show(&sample.name));
            return Err(Fault::new(sample.offset, what));
        }
        let Some((offset, exemplar)) = sample.exemplar else {
            return Ok(());
        };
        let what = match (part, self.steps.last()) {
            (Part::Value, _) if kind == Kind::Counter => None,
            (Part::Bucket, Some((bound, _))) if exemplar.value <= *bound => None,
            (Part::Bucket, _) => {
                Some("the value of this exemplar is not within the bound of its bucket")
            }
            _ => Some("only totals of counters and buckets can have exemplars"),
        };
        if let Some(what) = what {
            return Err(Fault::new(offset, what));
        }
        let bucket = self.steps.len().saturating_sub(1);
        self.exemplars.push((bucket, exemplar));
        Ok(())
    }

    /// Adds a bucket or a quantile. Returns whether it is a duplicate of the last one.
    fn add_step(
        &mut self,
        sample: &Sample<'_>,
        step: Step,
        part: Part,
        value: Number,
    ) -> Result<bool, Fault> {
        if let Some((last, below)) = self.steps.last() {
            if *last == step.value {
                return Ok(true);
            }
            if *last > step.value {
                let now = step.value;
                let what = format!("{now} follows {last}; bounds and quantiles have to ascend");
                return Err(Fault::new(step.offset, what));
            }
            let (below, count) = (number::whole(*below), number::whole(value));
            if part == Part::Bucket && below > count {
                let below = below.unwrap_or_default();
                let what = "and the counts of buckets are cumulative";
                let what = format!("the bucket before has {below}, {what}");
                return Err(fault(sample, &what));
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
        let what = match (self.get(Part::Sum), self.count()) {
            (_, Some(count)) if count != *last => {
                return Err(format!("has a count of {count} and {last} in all buckets"));
            }
            (None, _) if is_text => "has no sum",
            (_, None) if is_text => "has no count",
            (Some(_), None) | (None, Some(_)) => "has only one of sum and count; both are required",
            (Some(_), _) if !is_text && has_negative && kind != Kind::GaugeHistogram => {
                "has a sum and a bucket below 0; OpenMetrics allows no sum there"
            }
            (Some(sum), _) if !is_text && sum < 0.0 && !has_negative => {
                return Err(format!("has a sum of {sum} and no bucket below 0"));
            }
            _ => return Ok(()),
        };
        Err(what.into())
    }

    /// Returns the finite bounds, or the quantiles without the last.
    pub(super) fn bounds(&self) -> Vec<f64> {
        let finite = self.steps.len().saturating_sub(1);
        let finite = self.steps[..finite].iter();
        finite.map(|(bound, _)| *bound).collect()
    }

    /// Adds the series, which must be complete, to its family. `bounds` are those of the first
    /// series. Returns the error message if it does not fit.
    pub(super) fn add_to(
        self,
        family: &mut Family,
        bounds: &[f64],
        dialect: Dialect,
    ) -> Result<(), String> {
        let kind = family.kind();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let label = |Label { name, value, .. }: &Label<'_>| match name.chars().all(is_plain) {
            true => format!("{name}={value:?}"),
            false => format!("{name:?}={value:?}"),
        };
        let fault = |what: &str| {
            let labels: Vec<_> = self.labels.iter().map(label).collect();
            let (labels, name) = (labels.join(","), show(family.name()));
            format!("series {{{labels}}} of {kind} {name} {what}")
        };
        let (mut counts, mut quantiles) = (Vec::new(), Vec::new());
        let sum = self.get(Part::Sum).unwrap_or(f64::NAN);
        let value = match (kind, self.values[Part::Value as usize]) {
            (Kind::Histogram | Kind::GaugeHistogram, _) => {
                let complete = self.check_histogram(kind, dialect);
                complete.map_err(|what| fault(&what))?;
                if self.bounds() != bounds {
                    return Err(fault(
                        "has other buckets than the first series; a snapshot holds one list of \
                         bounds per family",
                    ));
                }
                let mut below = 0;
                counts.extend(self.steps.iter().map(|(_, count)| {
                    let Number::Int(count) = *count else { return 0 };
                    count - std::mem::replace(&mut below, count)
                }));
                let value = Histogram::new(bounds, &counts, sum);
                Value::Histogram(value.map_err(|error| error.to_string())?)
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
            if let Some(created) = self.get(Part::Created).and_then(number::created) {
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

/// Checks that a value is valid for a part of a series, and returns it. Counts of observations are
/// integers then. Returns the error message if it is not valid.
fn check(part: Part, kind: Kind, dialect: Dialect, value: Number) -> Result<Number, &'static str> {
    let x = value.as_f64();
    let is_strict = dialect == Dialect::OpenMetrics;
    let is_gauge = kind == Kind::GaugeHistogram;
    Err(match (part, kind) {
        (Part::Value, Kind::Counter) if x.is_nan() || x < 0.0 => "a counter has to be 0 or more",
        (Part::Value, Kind::Info) if x != 1.0 => "the value of an info has to be 1",
        (Part::Value, Kind::StateSet) if x != 0.0 && x != 1.0 => {
            "the value of a state has to be 0 or 1"
        }
        (Part::Sum, _) if is_strict && (x.is_nan() || (x < 0.0 && !is_gauge)) => {
            "a sum in OpenMetrics has to be 0 or more"
        }
        (Part::Quantile, _) if is_strict && x < 0.0 => {
            "a quantile in OpenMetrics has to be 0 or more"
        }
        (Part::Created, _) if number::created(x).is_none() => {
            "a creation time is a number of seconds since 1970"
        }
        (Part::Count | Part::Bucket, _) => {
            let count = number::whole(value).map(Number::Int);
            return count.ok_or("a number of observations has to be an integer below 2^64");
        }
        _ => return Ok(value),
    })
}

/// Returns an error at the value of a sample.
fn fault(sample: &Sample<'_>, what: &str) -> Fault {
    let what = format!("found {}; {what}", sample.value.as_f64());
    Fault::new(sample.value_offset, what)
}
