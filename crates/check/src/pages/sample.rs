//! Samples: a name, labels, a value, and optionally a timestamp and an exemplar.

use std::borrow::Cow;
use std::time::SystemTime;

use tallies::snapshot::Number;

use super::composite::Composite;
use super::line::{Label, Line};
use super::{Dialect, Fault};

/// The maximum number of characters in the labels of an exemplar, names and values together.
/// OpenMetrics 2.0 has no limit, but a snapshot has this one.
const EXEMPLAR: usize = 128;

/// The text before a start time.
const START: &str = " st@";

/// A sample line.
pub(super) struct Sample<'a> {
    pub(super) name: Cow<'a, str>,
    /// The offset of the name in the line.
    pub(super) offset: usize,
    pub(super) labels: Vec<Label<'a>>,
    pub(super) value: SampleValue,
    /// The offset of the value in the line.
    pub(super) value_offset: usize,
    pub(super) time: Option<SystemTime>,
    /// The start time and its offset in the line.
    pub(super) start: Option<(usize, SystemTime)>,
    /// The exemplars, each with its offset in the line.
    pub(super) exemplars: Vec<(usize, Exemplar<'a>)>,
}

/// The value of a sample.
pub(super) enum SampleValue {
    Number(Number),
    /// Only OpenMetrics 2.0 has it.
    Composite(Composite),
}

/// An exemplar.
pub(super) struct Exemplar<'a> {
    pub(super) labels: Vec<Label<'a>>,
    pub(super) value: f64,
    pub(super) time: Option<SystemTime>,
}

impl Exemplar<'_> {
    /// Returns the number of characters in its labels.
    fn chars(&self) -> usize {
        let texts = self.labels.iter();
        let texts = texts.flat_map(|label| [&label.name, &label.value]);
        texts.map(|text| text.chars().count()).sum()
    }
}

/// Names and values of labels, by which a series is found.
pub(super) type Key<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl<'a> Sample<'a> {
    /// Reads a whole line.
    pub(super) fn read(line: &mut Line<'a>) -> Result<Self, Fault> {
        if line.dialect == Dialect::Text && line.offset > 0 {
            let what = "a blank before a name: Prometheus 2 refuses it, and Prometheus 3 takes it for \
                        a part of the name";
            line.notes.warn(Fault::new(0, what).taken());
        }
        let mut offset = line.offset;
        let mut name = None;
        if !line.rest().starts_with('{') {
            if line.rest().starts_with('"') {
                let place = "inside the braces: `{\"name\"} 1`";
                return line.fault(format!("a sample's name in quotes has to be {place}"));
            }
            name = Some(line.name("a sample's name", true)?);
            line.blanks();
        }
        let mut labels = Vec::new();
        let braces = line.skip("{");
        if braces {
            line.blanks();
            if name.is_none() {
                offset = line.offset;
            }
            labels = line.labels(Some(&mut name))?;
        }
        let Some(name) = name else {
            let what = "a sample needs a name; a name in quotes comes first in the braces";
            return Err(Fault::new(offset, what));
        };
        // Text requires no blank between a brace and the value. Blanks after a name are already
        // read.
        match line.dialect {
            Dialect::Text if braces || line.offset > offset + name.len() => line.blanks(),
            _ => line.gap("the value")?,
        }
        let mut sample = Self {
            name,
            offset,
            labels,
            value_offset: line.offset,
            value: match line.rest().starts_with('{') && line.dialect == Dialect::OpenMetrics2 {
                true => SampleValue::Composite(Composite::read(line)?),
                false => SampleValue::Number(line.value()?),
            },
            time: None,
            start: None,
            exemplars: Vec::new(),
        };
        line.blanks();
        let is_text = line.dialect == Dialect::Text;
        if is_text && line.rest().starts_with('#') {
            let what = "the text format allows no exemplars and no comments after a value";
            return line.fault(what);
        }
        let is_newer = line.dialect == Dialect::OpenMetrics2;
        let ends = |rest: &str| rest.starts_with(" #") || (is_newer && rest.starts_with(START));
        if !line.rest().is_empty() && !ends(line.rest()) {
            if !is_text {
                line.gap("the timestamp")?;
            }
            sample.time = Some(line.time()?);
        }
        if is_newer && line.skip(START) {
            sample.start = Some((line.offset, line.time()?));
        }
        while !is_text && (is_newer || sample.exemplars.is_empty()) && line.skip(" # ") {
            let offset = line.offset;
            let exemplar = exemplar(line)?;
            let chars = exemplar.chars();
            if chars <= EXEMPLAR {
                sample.exemplars.push((offset, exemplar));
            } else if !is_newer {
                let what = "an exemplar's labels have";
                let what = format!("{what} {EXEMPLAR} characters at most, got {chars}");
                line.notes.odd(Fault::new(offset, what))?;
            }
        }
        line.end()?;
        Ok(sample)
    }
}

/// Reads an exemplar, after its `#`.
fn exemplar<'a>(line: &mut Line<'a>) -> Result<Exemplar<'a>, Fault> {
    if !line.skip("{") {
        return line.fault("an exemplar begins with its labels in braces");
    }
    let labels = line.labels(None)?;
    line.gap("the exemplar's value")?;
    let mut exemplar = Exemplar {
        labels,
        value: line.value()?.as_f64(),
        time: None,
    };
    if !line.rest().is_empty() || line.dialect == Dialect::OpenMetrics2 {
        line.gap("the exemplar's timestamp")?;
        exemplar.time = Some(line.time()?);
    }
    Ok(exemplar)
}

/// Returns the labels as snapshots take them.
pub(super) fn borrowed<'a>(all: &'a [Label<'_>]) -> Vec<(&'a str, &'a str)> {
    let pairs = all.iter().map(|label| (&*label.name, &*label.value));
    pairs.collect()
}

/// Returns the key of a series: its labels sorted by name. Skips the label `without`, and labels
/// with an empty value, which are equal to no label.
pub(super) fn key<'a>(all: &[Label<'a>], without: &str) -> Key<'a> {
    let is_in = |label: &&Label<'_>| !label.value.is_empty() && label.name != without;
    let pair = |label: &Label<'a>| (label.name.clone(), label.value.clone());
    let mut sorted: Key<'a> = all.iter().filter(is_in).map(pair).collect();
    sorted.sort_unstable();
    sorted
}
