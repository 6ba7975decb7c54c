//! The reader of a series: collects its samples, and checks that they are complete.

use std::time::SystemTime;

use tallies::snapshot::{Family, Histogram, Kind, Number, Summary, Value};

use super::family::Part;
use super::sample::{self, Exemplar, Labels, Sample};
use super::{Dialect, Fault, number, show};

/// The bound of a bucket, or a quantile.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) value: f64,
    /// The offset of its label in the line.
    pub(super) offset: usize,
}

/// An incomplete series.
pub(super) struct PartialSeries<'a> {
    /// The line in which the series began.
    pub(super) line: usize,
    labels: Labels<'a>,
    pub(super) time: Option<SystemTime>,
    created: Option<SystemTime>,
    /// The exemplars, each with the index of its bucket.
    exemplars: Vec<(usize, Exemplar<'a>)>,
    value: Option<Number>,
    /// The bounds or the quantiles, each with its value. The value of a bound is its cumulative
    /// count.
    steps: Vec<(f64, Number)>,
    sum: Option<f64>,
    count: Option<u64>,
}

impl<'a> PartialSeries<'a> {
    pub(super) fn new(line: usize, sample: &Sample<'a>) -> Self {
        let labels = sample.labels.iter();
        Self {
            line,
            labels: labels
                .map(|label| (label.name.clone(), label.value.clone()))
                .collect(),
            time: sample.time,
            created: None,
            exemplars: Vec::new(),
            value: None,
            steps: Vec::new(),
            sum: None,
            count: None,
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
        let is_duplicate = match part {
            Part::Value => {
                check_value(&sample, kind)?;
                self.value.replace(sample.value).is_some()
            }
            Part::Sum => {
                let x = sample.value.as_f64();
                let is_gauge = kind == Kind::GaugeHistogram;
                if dialect == Dialect::OpenMetrics && (x.is_nan() || (x < 0.0 && !is_gauge)) {
                    return fault(&sample, "a sum in OpenMetrics has to be 0 or more");
                }
                self.sum.replace(x).is_some()
            }
            Part::Count => self.count.replace(observation_count(&sample)?).is_some(),
            Part::Created => match number::created(sample.value.as_f64()) {
                None => return fault(&sample, "a creation time is a number of seconds since 1970"),
                created => std::mem::replace(&mut self.created, created).is_some(),
            },
            Part::Bucket | Part::Quantile => match step {
                None => false,
                Some(step) => self.add_step(&sample, step, part, dialect)?,
            },
        };
        if is_duplicate {
            return Err(Fault::new(
                sample.offset,
                format!(
                    "{} of this series is given twice; a snapshot holds one point per series",
                    show(&sample.name)
                ),
            ));
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
        dialect: Dialect,
    ) -> Result<bool, Fault> {
        let value = match part {
            Part::Bucket => Number::Int(observation_count(sample)?),
            _ if dialect == Dialect::OpenMetrics && sample.value.as_f64() < 0.0 => {
                return fault(sample, "a quantile in OpenMetrics has to be 0 or more");
            }
            _ => sample.value,
        };
        if let Some((last, below)) = self.steps.last() {
            if *last == step.value {
                return Ok(true);
            }
            if *last > step.value {
                let what = format!(
                    "{} follows {last}; bounds and quantiles have to ascend",
                    step.value
                );
                return Err(Fault::new(step.offset, what));
            }
            match (below, value, part) {
                (Number::Int(below), Number::Int(n), Part::Bucket) if *below > n => {
                    let what = format!(
                        "the bucket before has {below}, and the counts of buckets are cumulative"
                    );
                    return fault(sample, what);
                }
                _ => {}
            }
        }
        self.steps.push((step.value, value));
        Ok(false)
    }

    /// Checks that all parts of a histogram are present and consistent. Returns the error message
    /// if not.
    fn check_histogram(&self, kind: Kind, dialect: Dialect) -> Result<(), String> {
        let Some((f64::INFINITY, Number::Int(last))) = self.steps.last() else {
            return Err("has no bucket `le=\"+Inf\"`".into());
        };
        match self.count {
            Some(count) if count != *last => {
                return Err(format!("has a count of {count} and {last} in all buckets"));
            }
            _ => {}
        }
        if dialect == Dialect::Text {
            return match (self.sum, self.count) {
                (None, _) => Err("has no sum".into()),
                (_, None) => Err("has no count".into()),
                _ => Ok(()),
            };
        }
        let is_gauge = kind == Kind::GaugeHistogram;
        let has_negative = self.steps[0].0 < 0.0;
        match self.sum {
            _ if self.sum.is_some() != self.count.is_some() => {
                Err("has only one of sum and count; both are required".into())
            }
            Some(_) if has_negative && !is_gauge => {
                Err("has a sum and a bucket below 0; OpenMetrics allows no sum there".into())
            }
            Some(sum) if sum < 0.0 && !has_negative => {
                Err(format!("has a sum of {sum} and no bucket below 0"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the finite bounds, or the quantiles without the last.
    pub(super) fn bounds(&self) -> Vec<f64> {
        let finite = self.steps.len().saturating_sub(1);
        self.steps[..finite]
            .iter()
            .map(|(bound, _)| *bound)
            .collect()
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
        let fault = |what: &str| {
            let labels = self.labels.iter().map(|(name, value)| label(name, value));
            let labels = labels.collect::<Vec<_>>().join(",");
            Err(format!(
                "series {{{labels}}} of {kind} {} {what}",
                show(family.name())
            ))
        };
        let (mut counts, mut quantiles) = (Vec::new(), Vec::new());
        let sum = self.sum.unwrap_or(f64::NAN);
        let value = match (kind, self.value) {
            (Kind::Histogram | Kind::GaugeHistogram, _) => {
                if let Err(what) = self.check_histogram(kind, dialect) {
                    return fault(&what);
                }
                if self.bounds() != bounds {
                    return fault(
                        "has other buckets than the first series; a snapshot holds one list of \
                         bounds per family",
                    );
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
                Value::Summary(Summary::new(self.count, sum, &quantiles))
            }
            (_, None) => return fault("has no value"),
            (Kind::Counter, Some(value)) => Value::Counter(value),
            (_, Some(value)) => Value::Gauge(value.as_f64()),
        };
        let mut add = || {
            family.push(&sample::borrowed(&self.labels), value)?;
            if let Some(created) = self.created {
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

/// Returns a label as a page has it.
fn label(name: &str, value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let quote = if name.chars().all(is_plain) { "" } else { "\"" };
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{quote}{name}{quote}=\"{value}\"")
}

/// Checks that the value is valid for its kind.
fn check_value(sample: &Sample<'_>, kind: Kind) -> Result<(), Fault> {
    let x = sample.value.as_f64();
    match kind {
        Kind::Counter if x.is_nan() || x < 0.0 => fault(sample, "a counter has to be 0 or more"),
        Kind::Info if x != 1.0 => fault(sample, "the value of an info has to be 1"),
        Kind::StateSet if x != 0.0 && x != 1.0 => {
            fault(sample, "the value of a state has to be 0 or 1")
        }
        _ => Ok(()),
    }
}

/// Returns the value as a number of observations.
fn observation_count(sample: &Sample<'_>) -> Result<u64, Fault> {
    match sample.value {
        Number::Int(n) => Ok(n),
        // Below 2⁶⁴. From 2⁵³ on, every float is whole.
        Number::Float(x)
            if x.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&x) =>
        {
            Ok(x as u64)
        }
        Number::Float(_) => fault(
            sample,
            "a number of observations has to be an integer below 2^64",
        ),
    }
}

/// Returns an error at the value of a sample.
fn fault<T>(sample: &Sample<'_>, what: impl Into<String>) -> Result<T, Fault> {
    let what = format!("found {}; {}", sample.value.as_f64(), what.into());
    Err(Fault::new(sample.value_offset, what))
}
