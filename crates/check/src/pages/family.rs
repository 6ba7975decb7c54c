//! The reader of a family: gathers its samples in series, and checks them once the family is
//! complete.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use tallies::snapshot::{Family, Kind};

use super::line::Line;
use super::sample::{self, Labels, Sample};
use super::series::{PartialSeries, Step};
use super::{Dialect, Fault, kind, number, show};

/// The part of its series that a sample describes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    Value,
    Quantile,
    Bucket,
    Sum,
    Count,
    Created,
}

/// An incomplete family.
pub(super) struct PartialFamily<'a> {
    pub(super) name: Cow<'a, str>,
    /// The line in which the family began.
    pub(super) line: usize,
    dialect: Dialect,
    kind: Option<Kind>,
    help: Option<String>,
    unit: Option<&'a str>,
    /// The sample suffixes that the family may have. Empty before its first sample.
    parts: &'static [(&'static str, Part)],
    /// The series, in the order of the page.
    series: Vec<PartialSeries<'a>>,
    /// The index of each series in `series`, by its key.
    indices: HashMap<Labels<'a>, usize>,
    /// The label sets of a state set that were read, without the label of the state.
    state_sets: HashSet<Labels<'a>>,
    /// The last of these label sets.
    last_state_set: Option<Labels<'a>>,
}

impl<'a> PartialFamily<'a> {
    pub(super) fn new(name: Cow<'a, str>, line: usize, dialect: Dialect) -> Self {
        Self {
            name,
            line,
            dialect,
            kind: None,
            help: None,
            unit: None,
            parts: &[],
            series: Vec::new(),
            indices: HashMap::new(),
            state_sets: HashSet::new(),
            last_state_set: None,
        }
    }

    /// Reads the text of a HELP, TYPE or UNIT line.
    pub(super) fn describe(&mut self, word: &str, mut line: Line<'a>) -> Result<(), Fault> {
        let offset = line.offset;
        let is_duplicate = match word {
            "HELP" => self.help.is_some(),
            "TYPE" => self.kind.is_some(),
            _ => self.unit.is_some(),
        };
        if is_duplicate {
            return line.fault(format!("{word} of {} is given twice", show(&self.name)));
        }
        match word {
            "HELP" => {
                let quotes = self.dialect == Dialect::OpenMetrics;
                let text = line.rest();
                let help = line.unescape(text.len(), quotes)?;
                if let Some(quote) = bare_quote(text).filter(|_| quotes) {
                    return Err(Fault::new(
                        offset + quote,
                        "a quote in HELP has to be escaped as `\\\"`",
                    ));
                }
                self.help = Some(help.into_owned());
            }
            "TYPE" => {
                let word = line.token();
                let Some(kind) = kind(word, self.dialect) else {
                    let kinds = match self.dialect {
                        Dialect::Text => "counter, gauge, histogram, summary, untyped",
                        Dialect::OpenMetrics => {
                            "counter, gauge, histogram, gaugehistogram, summary, info, stateset, unknown"
                        }
                    };
                    return Err(Fault::new(
                        offset,
                        format!("{} is not a type; the types are {kinds}", show(word)),
                    ));
                };
                self.kind = Some(kind);
                line.end()?;
            }
            _ => {
                let unit = line.token();
                line.end()?;
                let ends = self.name.strip_suffix(unit);
                if !unit.is_empty() && !ends.is_some_and(|before| before.ends_with('_')) {
                    return Err(Fault::new(
                        offset,
                        format!(
                            "unit {} has to be the end of the name {}, after a `_`",
                            show(unit),
                            show(&self.name)
                        ),
                    ));
                }
                self.unit = Some(unit);
            }
        }
        Ok(())
    }

    fn kind(&self) -> Kind {
        self.kind.unwrap_or(Kind::Unknown)
    }

    /// Returns whether a sample was read, so that HELP, TYPE and UNIT can no longer follow.
    pub(super) fn is_described(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Ends the description of the family. A family without TYPE has the kind [`Kind::Unknown`].
    pub(super) fn end_description(&mut self) -> Result<(), Fault> {
        let kind = self.kind();
        self.parts = parts(kind, self.dialect);
        let has_unit = self.unit.is_some_and(|unit| !unit.is_empty());
        if has_unit && matches!(kind, Kind::Info | Kind::StateSet) {
            return Err(Fault::in_line(
                self.line,
                format!("{kind} {} cannot have a unit", show(&self.name)),
            ));
        }
        Ok(())
    }

    /// Returns the names of its samples, except for the name of the family itself.
    pub(super) fn sample_names(&self) -> Vec<String> {
        let suffixes = self.parts.iter().map(|(suffix, _)| *suffix);
        suffixes
            .filter(|suffix| !suffix.is_empty())
            .map(|suffix| format!("{}{suffix}", self.name))
            .collect()
    }

    /// Returns the part that a sample with this name describes, or `None` if it is not in this
    /// family.
    pub(super) fn part(&self, name: &str) -> Option<Part> {
        let suffix = name.strip_prefix(&*self.name)?;
        let parts = parts(self.kind(), self.dialect).iter();
        parts
            .copied()
            .find(|(known, _)| *known == suffix)
            .map(|(_, part)| part)
    }

    /// Returns the error message for a sample with the name of the family, if samples of its kind
    /// need a suffix.
    pub(super) fn suffix_message(&self) -> String {
        let parts = parts(self.kind(), self.dialect).iter();
        let names: Vec<_> = parts
            .map(|(suffix, _)| show(&format!("{}{suffix}", self.name)))
            .collect();
        format!(
            "samples of {} {} are called {}",
            self.kind(),
            show(&self.name),
            names.join(", ")
        )
    }

    /// Adds a sample from line `number`.
    pub(super) fn sample(
        &mut self,
        number: usize,
        mut sample: Sample<'a>,
        part: Part,
    ) -> Result<(), Fault> {
        sample::check_unique(&sample.labels)?;
        let step = self.take_step(&mut sample, part)?;
        let i = self.series_index(number, &sample)?;
        let series = &mut self.series[i];
        if self.dialect == Dialect::OpenMetrics && series.time != sample.time {
            return Err(Fault::new(
                sample.value_offset,
                format!(
                    "line {} has another timestamp for this series; a snapshot holds one point \
                     per series",
                    series.line
                ),
            ));
        }
        series.add(
            sample,
            part,
            step,
            self.kind.unwrap_or(Kind::Unknown),
            self.dialect,
        )
    }

    /// Removes and parses the label that does not identify a series: the bound of a bucket, or a
    /// quantile. Returns `None` if the sample has no such label and needs none. Also checks that a
    /// state has the label that is named like its family.
    fn take_step(&self, sample: &mut Sample<'a>, part: Part) -> Result<Option<Step>, Fault> {
        let reserved = match self.kind() {
            Kind::Histogram | Kind::GaugeHistogram => "le",
            Kind::Summary => "quantile",
            Kind::StateSet if !sample.labels.iter().any(|label| label.name == self.name) => {
                return Err(Fault::new(
                    sample.offset,
                    format!(
                        "a state needs the label {}, named like its family",
                        show(&self.name)
                    ),
                ));
            }
            _ => return Ok(None),
        };
        let position = sample
            .labels
            .iter()
            .position(|label| label.name == reserved);
        let wanted = matches!(part, Part::Bucket | Part::Quantile);
        match position {
            None if !wanted => Ok(None),
            None => Err(Fault::new(
                sample.offset,
                format!("the label `{reserved}` is missing"),
            )),
            Some(position) => {
                let label = sample.labels.remove(position);
                if !wanted {
                    return Err(Fault::new(
                        label.offset,
                        format!("the label `{reserved}` is not allowed here"),
                    ));
                }
                let value = number::bound(&label.value).filter(|x| match part {
                    Part::Quantile => (0.0..=1.0).contains(x),
                    _ => !x.is_nan(),
                });
                let what = if part == Part::Bucket {
                    "bound"
                } else {
                    "quantile"
                };
                match value {
                    Some(value) => Ok(Some(Step {
                        value,
                        offset: label.offset,
                    })),
                    None => Err(Fault::new(
                        label.offset,
                        number::describe_invalid(&label.value, what),
                    )),
                }
            }
        }
    }

    /// Returns the index of the series of a sample, and adds the series if it is new.
    fn series_index(&mut self, number: usize, sample: &Sample<'a>) -> Result<usize, Fault> {
        let out_of_order = || {
            Err(Fault::new(
                sample.offset,
                "the lines of this label set have to be adjacent, but another label set is \
                 between them",
            ))
        };
        let is_strict = self.dialect == Dialect::OpenMetrics;
        if self.kind() == Kind::StateSet {
            let state_set = sample::key(&sample.labels, &self.name);
            if self.last_state_set.as_ref() != Some(&state_set) {
                if !self.state_sets.insert(state_set.clone()) {
                    return out_of_order();
                }
                self.last_state_set = Some(state_set);
            }
        }
        match self.indices.entry(sample::key(&sample.labels, "")) {
            Entry::Occupied(entry) => {
                let i = *entry.get();
                // A kind with one line per series gets a better error elsewhere: its second line is
                // a duplicate, not just out of order.
                let has_more = self.parts.len() > 1;
                if is_strict && has_more && i + 1 != self.series.len() {
                    return out_of_order();
                }
                Ok(i)
            }
            Entry::Vacant(entry) => {
                entry.insert(self.series.len());
                self.series.push(PartialSeries::new(number, sample));
                Ok(self.series.len() - 1)
            }
        }
    }

    /// Completes the family, after its last sample.
    pub(super) fn into_family(self) -> Result<Family, Fault> {
        let kind = self.kind();
        let suffix = match (kind, self.dialect) {
            (Kind::Counter, Dialect::OpenMetrics) => "_total",
            (Kind::Info, Dialect::OpenMetrics) => "_info",
            _ => "",
        };
        let name = format!("{}{suffix}", self.name);
        let (help, unit) = (self.help.unwrap_or_default(), self.unit.unwrap_or_default());
        let family = Family::empty(&name, &help, unit, kind);
        let mut family = family.map_err(|error| Fault::in_line(self.line, error.to_string()))?;
        let bounds = self
            .series
            .first()
            .map_or(Vec::new(), PartialSeries::bounds);
        for series in self.series {
            let line = series.line;
            series
                .add_to(&mut family, &bounds, self.dialect)
                .map_err(|what| Fault::in_line(line, what))?;
        }
        Ok(family)
    }
}

/// Returns the position of the first quote that is not escaped.
fn bare_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|b| {
        let bare = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        bare
    })
}

/// Returns the sample suffixes of a kind, each with the part that it describes.
fn parts(kind: Kind, dialect: Dialect) -> &'static [(&'static str, Part)] {
    use Part::{Bucket, Count, Created, Quantile, Sum, Value};
    match (kind, dialect) {
        (Kind::Counter, Dialect::OpenMetrics) => &[("_total", Value), ("_created", Created)],
        (Kind::Histogram, Dialect::Text) => {
            &[("_bucket", Bucket), ("_sum", Sum), ("_count", Count)]
        }
        (Kind::Histogram, Dialect::OpenMetrics) => &[
            ("_bucket", Bucket),
            ("_sum", Sum),
            ("_count", Count),
            ("_created", Created),
        ],
        (Kind::GaugeHistogram, _) => &[("_bucket", Bucket), ("_gsum", Sum), ("_gcount", Count)],
        (Kind::Summary, Dialect::Text) => &[("", Quantile), ("_sum", Sum), ("_count", Count)],
        (Kind::Summary, Dialect::OpenMetrics) => &[
            ("", Quantile),
            ("_sum", Sum),
            ("_count", Count),
            ("_created", Created),
        ],
        (Kind::Info, Dialect::OpenMetrics) => &[("_info", Value)],
        _ => &[("", Value)],
    }
}
