//! Composite values of OpenMetrics 2.0: all numbers of a series, in one pair of braces.
//!
//! A composite value becomes the entries that OpenMetrics 1.0 has as lines, so that the same checks
//! apply to both. Only exponential buckets have no such lines.

use tallies::snapshot::{Kind, Native};

use super::family::Part;
use super::line::Line;
use super::series::{Entry, Step, fault};
use super::{Fault, number};

/// A composite value.
pub(super) struct Composite {
    /// The kind that has these fields.
    pub(super) kind: Kind,
    /// The count, the sum, and the buckets or quantiles.
    pub(super) entries: Vec<Entry>,
    /// The exponential buckets.
    pub(super) native: Option<Native>,
}

impl Composite {
    /// Reads the value, from its opening to its closing brace. The order of the fields is fixed.
    pub(super) fn read(line: &mut Line<'_>) -> Result<Self, Fault> {
        let is_gauge = line.rest().starts_with("{gcount:");
        let (kind, count, sum) = match is_gauge {
            true => (Kind::GaugeHistogram, "{gcount:", ",gsum:"),
            false => (Kind::Histogram, "{count:", ",sum:"),
        };
        line.expect(count)?;
        let count = entry(line, Part::Count, None)?;
        line.expect(sum)?;
        let sum = entry(line, Part::Sum, None)?;
        let mut value = Self {
            kind,
            entries: vec![count, sum],
            native: None,
        };
        if !is_gauge && line.skip(",quantile:[") {
            value.kind = Kind::Summary;
            value.steps(line, Part::Quantile)?;
        } else {
            if line.rest().starts_with(",schema:") {
                value.native = Some(native(line)?);
            }
            if value.native.is_some() && line.rest().starts_with('}') {
                // A histogram has a bucket for all values, even if it has no other fixed buckets.
                value.entries.push(Entry {
                    part: Part::Bucket,
                    step: Some(Step {
                        value: f64::INFINITY,
                        offset: count.offset,
                    }),
                    ..count
                });
            } else {
                if !line.skip(",bucket:[") {
                    return line.expected(match value.native {
                        None => "`,bucket:[`, `,schema:` or `,quantile:[` is expected",
                        Some(_) => "`,bucket:[` or `}` is expected",
                    });
                }
                value.steps(line, Part::Bucket)?;
            }
        }
        line.expect("}")?;
        Ok(value)
    }

    /// Reads a list of buckets or quantiles, such as `0.5:1,+Inf:2]`.
    fn steps(&mut self, line: &mut Line<'_>, part: Part) -> Result<(), Fault> {
        list(line, |line| {
            let offset = line.offset;
            let value = match part {
                Part::Quantile => line.item("quantile", |text, _| number::quantile(text))?,
                _ => line.item("bound", |text, _| number::bound(text))?,
            };
            line.expect(":")?;
            let step = Step { value, offset };
            self.entries.push(entry(line, part, Some(step))?);
            Ok(())
        })
    }
}

/// Reads a number.
fn entry(line: &mut Line<'_>, part: Part, step: Option<Step>) -> Result<Entry, Fault> {
    let offset = line.offset;
    let value = line.item("number", number::value)?;
    Ok(Entry {
        part,
        step,
        value,
        offset,
    })
}

/// Reads a number of observations.
fn count(line: &mut Line<'_>) -> Result<u64, Fault> {
    let entry = entry(line, Part::Count, None)?;
    number::count(entry.value).map_err(|what| fault(&entry, what))
}

/// Reads the elements of a list and its closing bracket.
fn list<'a>(
    line: &mut Line<'a>,
    mut element: impl FnMut(&mut Line<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if line.skip("]") {
        return Ok(());
    }
    loop {
        element(line)?;
        if line.skip("]") {
            return Ok(());
        }
        line.expect(",")?;
    }
}

/// Reads the fields of exponential buckets.
fn native(line: &mut Line<'_>) -> Result<Native, Fault> {
    line.expect(",schema:")?;
    let offset = line.offset;
    let schema = line.item("schema", |text, _| text.parse().ok())?;
    line.expect(",zero_threshold:")?;
    let zero_threshold = line.item("zero threshold", |text, _| number::real(text))?;
    line.expect(",zero_count:")?;
    let zero_count = count(line)?;
    let negative = buckets(line, ",negative_spans:[", ",negative_buckets:[")?;
    let positive = buckets(line, ",positive_spans:[", ",positive_buckets:[")?;
    Native::new(schema, zero_threshold, zero_count, positive, negative)
        .map_err(|error| Fault::new(offset, error.to_string()))
}

/// Reads the exponential buckets of one sign, as pairs of index and count.
fn buckets(line: &mut Line<'_>, spans: &str, buckets: &str) -> Result<Vec<(i32, u64)>, Fault> {
    if !line.skip(spans) {
        return Ok(Vec::new());
    }
    let mut spans = Vec::new();
    list(line, |line| {
        let first: i32 = line.item(
            "offset",
            match spans.is_empty() {
                true => |text, _| text.parse().ok(),
                false => |text, _| text.parse().ok().filter(|gap| *gap >= 0),
            },
        )?;
        line.expect(":")?;
        let len: u32 = line.item("span length", |text, _| {
            text.parse().ok().filter(|len| *len > 0)
        })?;
        spans.push((first, len));
        Ok(())
    })?;
    line.expect(buckets)?;
    let offset = line.offset;
    let mut counts = Vec::new();
    list(line, |line| {
        counts.push(count(line)?);
        Ok(())
    })?;
    // Checked first, so that memory follows the buckets of the page, not the lengths of its spans.
    let len: u64 = spans.iter().map(|(_, len)| u64::from(*len)).sum();
    if len != counts.len() as u64 {
        let what = format!(
            "found {} buckets; the spans before have {len}",
            counts.len()
        );
        return Err(Fault::new(offset, what));
    }
    // An index that overflows is beyond the last valid one.
    let mut index = 0_i32;
    let mut counts = counts.into_iter();
    let mut all = Vec::new();
    for (gap, len) in spans {
        index = index.saturating_add(gap);
        for count in counts.by_ref().take(len as usize) {
            all.push((index, count));
            index = index.saturating_add(1);
        }
    }
    Ok(all)
}
