//! Samples: a name, labels, a value, and optionally a timestamp and an exemplar.

use std::borrow::Cow;
use std::time::SystemTime;

use tallies::snapshot::Number;

use super::line::{Label, Line};
use super::{Dialect, Fault, number};

/// The maximum number of characters in the labels of an exemplar, names and values together.
const EXEMPLAR: usize = 128;

/// A sample line.
pub(super) struct Sample<'a> {
    pub(super) name: Cow<'a, str>,
    /// The offset of the name in the line.
    pub(super) offset: usize,
    pub(super) labels: Vec<Label<'a>>,
    pub(super) value: Number,
    /// The offset of the value in the line.
    pub(super) value_offset: usize,
    pub(super) time: Option<SystemTime>,
    /// The exemplar and its offset in the line.
    pub(super) exemplar: Option<(usize, Exemplar<'a>)>,
}

/// An exemplar.
pub(super) struct Exemplar<'a> {
    pub(super) labels: Labels<'a>,
    pub(super) value: f64,
    pub(super) time: Option<SystemTime>,
}

/// Names and values of labels.
pub(super) type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl<'a> Sample<'a> {
    /// Reads a whole line.
    pub(super) fn read(line: &mut Line<'a>) -> Result<Self, Fault> {
        let mut offset = line.offset;
        let mut name = None;
        if !line.rest().starts_with('{') {
            if line.rest().starts_with('"') {
                return line.fault(
                    "a sample's name in quotes has to be inside the braces: `{\"name\"} 1`",
                );
            }
            name = Some(line.name("a sample's name", true)?);
            line.blanks();
        }
        let mut braces = false;
        let mut labels = Vec::new();
        if line.skip("{") {
            braces = true;
            line.blanks();
            if name.is_none() {
                offset = line.offset;
            }
            labels = line.labels(Some(&mut name))?;
        }
        let Some(name) = name else {
            return Err(Fault::new(
                offset,
                "a sample needs a name; a name in quotes comes first in the braces",
            ));
        };
        // Text requires no blank between a brace and the value. Blanks after a name are already
        // read.
        match line.dialect {
            Dialect::Text if braces || line.offset > offset + name.len() => line.blanks(),
            _ => line.gap("the value")?,
        }
        let value_offset = line.offset;
        let value = line.value()?;
        let mut sample = Self {
            name,
            offset,
            labels,
            value,
            value_offset,
            time: None,
            exemplar: None,
        };
        if line.dialect == Dialect::Text {
            line.blanks();
            if line.rest().starts_with('#') {
                return line
                    .fault("the text format allows no exemplars and no comments after a value");
            }
            if !line.rest().is_empty() {
                sample.time = Some(time(line)?);
            }
            line.end()?;
            return Ok(sample);
        }
        if !line.rest().is_empty() && !line.rest().starts_with(" #") {
            line.gap("the timestamp")?;
            sample.time = Some(time(line)?);
        }
        if line.skip(" # ") {
            sample.exemplar = Some((line.offset, exemplar(line)?));
        }
        line.end()?;
        Ok(sample)
    }
}

/// Reads a timestamp.
fn time(line: &mut Line<'_>) -> Result<SystemTime, Fault> {
    let offset = line.offset;
    let token = line.token();
    let what = match line.dialect {
        Dialect::Text => "timestamp in milliseconds",
        Dialect::OpenMetrics => "timestamp in seconds",
    };
    number::time(token, line.dialect)
        .ok_or_else(|| Fault::new(offset, number::describe_invalid(token, what)))
}

/// Reads an exemplar, after its `#`.
fn exemplar<'a>(line: &mut Line<'a>) -> Result<Exemplar<'a>, Fault> {
    let offset = line.offset;
    if !line.skip("{") {
        return line.fault("an exemplar begins with its labels in braces");
    }
    let all = line.labels(None)?;
    check_unique(&all)?;
    let chars: usize = all
        .iter()
        .map(|label| label.name.chars().count() + label.value.chars().count())
        .sum();
    if chars > EXEMPLAR {
        return Err(Fault::new(
            offset,
            format!("an exemplar's labels have {EXEMPLAR} characters at most, got {chars}"),
        ));
    }
    line.gap("the exemplar's value")?;
    let value = line.value()?.as_f64();
    let mut exemplar = Exemplar {
        labels: pairs(all),
        value,
        time: None,
    };
    if !line.rest().is_empty() {
        line.gap("the exemplar's timestamp")?;
        exemplar.time = Some(time(line)?);
    }
    Ok(exemplar)
}

/// Returns the labels without their positions.
pub(super) fn pairs(all: Vec<Label<'_>>) -> Labels<'_> {
    all.into_iter()
        .map(|label| (label.name, label.value))
        .collect()
}

/// Returns the labels as snapshots take them.
pub(super) fn borrowed<'a>(all: &'a Labels<'_>) -> Vec<(&'a str, &'a str)> {
    all.iter()
        .map(|(name, value)| (&**name, &**value))
        .collect()
}

/// Returns the key of a series: its labels sorted by name. Skips the label `without`, and labels
/// with an empty value, which are equal to no label.
pub(super) fn key<'a>(all: &[Label<'a>], without: &str) -> Labels<'a> {
    let mut sorted: Labels<'a> = all
        .iter()
        .filter(|label| !label.value.is_empty() && label.name != without)
        .map(|label| (label.name.clone(), label.value.clone()))
        .collect();
    sorted.sort_unstable();
    sorted
}

/// Returns an error if two labels have the same name.
pub(super) fn check_unique(all: &[Label<'_>]) -> Result<(), Fault> {
    let mut sorted: Vec<_> = all
        .iter()
        .map(|label| (&*label.name, label.offset))
        .collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Fault::new(
            pair[1].1,
            format!("label {} is given twice", super::show(pair[1].0)),
        )),
        None => Ok(()),
    }
}
