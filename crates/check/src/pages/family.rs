//! The reader of a family: gathers its samples in series, and checks them once the family is
//! complete.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use tallies::snapshot::{Family, Kind};

use super::line::{Label, Line};
use super::remark::Notes;
use super::sample::{self, Key, Sample, SampleValue};
use super::series::{self, PartialSeries, Step};
use super::{Dialect, Fault, number, show};

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
#[derive(Default)]
pub(super) struct PartialFamily<'a> {
    pub(super) name: Cow<'a, str>,
    /// The line in which the family began.
    pub(super) line: usize,
    dialect: Dialect,
    kind: Option<Kind>,
    /// The kind that the first composite value shows, if the type is unknown.
    shown_kind: Option<Kind>,
    help: Option<String>,
    unit: Option<&'a str>,
    /// Whether its samples have its name, although its kind needs a suffix.
    is_bare: bool,
    /// The series, in the order of the page.
    series: Vec<PartialSeries<'a>>,
    /// The index of each series in `series`, by its key.
    indices: HashMap<Key<'a>, usize>,
    /// The label sets of a state set that were read, without the label of the state.
    state_sets: HashSet<Key<'a>>,
    /// The last of these label sets.
    last_state_set: Option<Key<'a>>,
}

impl<'a> PartialFamily<'a> {
    pub(super) fn new(name: Cow<'a, str>, line: usize, dialect: Dialect) -> Self {
        Self {
            name,
            line,
            dialect,
            ..Self::default()
        }
    }

    /// Reads the text of a HELP, TYPE or UNIT line.
    pub(super) fn describe(&mut self, word: &str, line: &mut Line<'a>) -> Result<(), Fault> {
        // The first one holds.
        fn set<T>(value: &mut Option<T>, new: T) -> bool {
            let is_duplicate = value.is_some();
            value.get_or_insert(new);
            is_duplicate
        }
        let offset = line.offset;
        let is_duplicate = match word {
            "HELP" => set(&mut self.help, read_help(line)?),
            "TYPE" => set(&mut self.kind, read_kind(line)?),
            _ => {
                let unit = self.read_unit(line)?;
                set(&mut self.unit, unit)
            }
        };
        line.end()?;
        if is_duplicate {
            line.notes.odd(self.twice(offset, word))?;
        }
        Ok(())
    }

    /// Returns the fault of a second HELP, TYPE or UNIT line.
    fn twice(&self, offset: usize, word: &str) -> Fault {
        Fault::new(
            offset,
            format!("{word} of {} is given twice", show(&self.name)),
        )
    }

    /// Returns the fault of a HELP, TYPE or UNIT line after samples.
    pub(super) fn late(&self, offset: usize, word: &str) -> Fault {
        let is_duplicate = match word {
            "HELP" => self.help.is_some(),
            "TYPE" => self.kind.is_some(),
            _ => self.unit.is_some(),
        };
        if is_duplicate {
            return self.twice(offset, word).taken();
        }
        let what = format!(
            "{word} of {} has to come before its samples",
            show(&self.name)
        );
        Fault::new(offset, what).taken()
    }

    fn read_unit(&self, line: &mut Line<'a>) -> Result<&'a str, Fault> {
        let (offset, unit) = (line.offset, line.token());
        if self.dialect == Dialect::OpenMetrics2 {
            let is_in = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let what = format!("found {}; a unit has only a-z, A-Z, 0-9, _, :", show(unit));
            let is_unit = unit.chars().all(is_in);
            return is_unit.then_some(unit).ok_or(Fault::new(offset, what));
        }
        let ends = self.name.strip_suffix(unit);
        if unit.is_empty() || ends.is_some_and(|before| before.ends_with('_')) {
            return Ok(unit);
        }
        let (unit, name) = (show(unit), show(&self.name));
        let what = format!("unit {unit} has to be the end of the name {name}, after a `_`");
        Err(Fault::new(offset, what))
    }

    /// Returns the kind: [`Kind::Unknown`] if there is no TYPE and no composite value.
    fn kind(&self) -> Kind {
        self.shown_kind.unwrap_or(self.declared_kind())
    }

    /// Returns the kind of the TYPE line.
    fn declared_kind(&self) -> Kind {
        self.kind.unwrap_or(Kind::Unknown)
    }

    /// Returns whether a sample was read, so that HELP, TYPE and UNIT can no longer follow.
    pub(super) fn has_samples(&self) -> bool {
        !self.series.is_empty()
    }

    /// Iterates over the names that its samples may have.
    pub(super) fn sample_names(&self) -> impl Iterator<Item = String> {
        self.parts()
            .iter()
            .map(|(suffix, _)| format!("{}{suffix}", self.name))
    }

    /// Returns the part that a sample with this name describes, or `None` if it is not in this
    /// family.
    pub(super) fn part(&self, name: &str) -> Option<Part> {
        let suffix = name.strip_prefix(&*self.name)?;
        let mut parts = self.parts().iter();
        let (_, part) = parts.find(|(known, _)| *known == suffix)?;
        Some(*part)
    }

    /// Returns the sample suffixes, each with the part that it describes.
    fn parts(&self) -> &'static [(&'static str, Part)] {
        match self.is_bare {
            true => &[("", Part::Value), ("_created", Part::Created)],
            false => parts(self.kind(), self.dialect),
        }
    }

    /// Lets its samples have its name, if it has no samples yet and needs no other suffixes.
    pub(super) fn be_bare(&mut self) -> bool {
        let is_plain = matches!(self.kind(), Kind::Counter | Kind::Info);
        self.is_bare = is_plain && !self.has_samples();
        self.is_bare
    }

    /// Returns the error message for a sample with the name of the family, if samples of its kind
    /// need a suffix.
    pub(super) fn suffix_message(&self) -> String {
        let names: Vec<_> = self.sample_names().map(|name| show(&name)).collect();
        let (kind, name) = (self.kind(), show(&self.name));
        format!("samples of {kind} {name} are called {}", names.join(", "))
    }

    /// Adds a sample from line `number`.
    pub(super) fn sample(
        &mut self,
        number: usize,
        mut sample: Sample<'a>,
        part: Part,
        notes: &mut Notes,
    ) -> Result<(), Fault> {
        if self.dialect == Dialect::OpenMetrics2 {
            self.check_sample(&sample)?;
        }
        let step = self.take_step(&mut sample, part, notes)?;
        let kind = self.declared_kind();
        let i = self.series_index(number, &sample, notes)?;
        let series = &mut self.series[i];
        if self.dialect == Dialect::OpenMetrics && series.time != sample.time {
            let what = format!("line {} has another timestamp for this series", series.line);
            let what = format!("{what}; a snapshot holds one point per series");
            notes.odd(Fault::new(sample.value_offset, what))?;
        }
        series.add(sample, part, step, kind, self.dialect, notes)
    }

    /// Checks that a sample of OpenMetrics 2.0 has only what its kind has.
    fn check_sample(&mut self, sample: &Sample<'a>) -> Result<(), Fault> {
        let found = match &sample.value {
            SampleValue::Number(_) => None,
            SampleValue::Composite(value) => Some(value.kind),
        };
        if self.declared_kind() == Kind::Unknown && !self.has_samples() {
            self.shown_kind = found;
        }
        let kind = self.kind();
        let is_composite = matches!(kind, Kind::Histogram | Kind::GaugeHistogram | Kind::Summary);
        let wanted = is_composite.then_some(kind);
        if found != wanted {
            let value = |kind: Option<Kind>| match kind {
                Some(kind) => format!("the fields of a {kind}"),
                None => "a number".to_owned(),
            };
            let (found, wanted, name) = (value(found), value(wanted), show(&self.name));
            let what = format!("found {found}; {kind} {name} needs {wanted}");
            return Err(Fault::new(sample.value_offset, what));
        }
        let is_gauge = matches!(kind, Kind::Gauge | Kind::Info | Kind::StateSet);
        let start = sample.start.map(|(offset, _)| (offset, "a start time"));
        let start = start.filter(|_| is_gauge || kind == Kind::GaugeHistogram);
        let exemplar = sample.exemplars.first();
        let exemplar = exemplar.map(|(offset, _)| (*offset, "an exemplar"));
        match start.or(exemplar.filter(|_| is_gauge)) {
            None => Ok(()),
            Some((offset, what)) => {
                let what = format!("{kind} {} cannot have {what}", show(&self.name));
                Err(Fault::new(offset, what))
            }
        }
    }

    /// Removes and parses the label that does not identify a series: the bound of a bucket, or a
    /// quantile. Returns `None` if the sample has no such label and needs none.
    fn take_step(
        &self,
        sample: &mut Sample<'a>,
        part: Part,
        notes: &mut Notes,
    ) -> Result<Option<Step>, Fault> {
        let (reserved, what) = match self.kind() {
            Kind::Histogram | Kind::GaugeHistogram => ("le", "bound"),
            Kind::Summary => ("quantile", "quantile"),
            _ => return Ok(None),
        };
        let mut labels = sample.labels.iter();
        let position = labels.position(|label| label.name == reserved);
        match (part, position) {
            (Part::Bucket | Part::Quantile, Some(position)) => {
                let Label { value, offset, .. } = sample.labels.remove(position);
                let parsed = match part {
                    Part::Quantile => number::quantile(&value),
                    _ => number::bound(&value),
                };
                let value = match parsed {
                    Some(parsed) => parsed,
                    None => {
                        let fault = Fault::new(offset, number::describe_invalid(&value, what));
                        // A snapshot can hold every number, although no observation is above it.
                        let number = number::real(&value).or(number::word(&value));
                        let Some(number) = number.filter(|x| !x.is_nan()) else {
                            return Err(fault);
                        };
                        notes.odd(fault)?;
                        number
                    }
                };
                Ok(Some(Step { value, offset }))
            }
            (Part::Bucket | Part::Quantile, None) => {
                let what = format!("the label `{reserved}` is missing");
                Err(Fault::new(sample.offset, what))
            }
            (_, Some(position)) => {
                let what = format!("the label `{reserved}` is not allowed here");
                Err(Fault::new(sample.labels[position].offset, what))
            }
            (_, None) => Ok(None),
        }
    }

    /// Returns the index of the series of a sample, and adds the series if it is new. In
    /// OpenMetrics, the lines of a series have to be adjacent, and so do those of a state set. In
    /// OpenMetrics 2.0, each further line is a later point, which replaces the one before.
    fn series_index(
        &mut self,
        number: usize,
        sample: &Sample<'a>,
        notes: &mut Notes,
    ) -> Result<usize, Fault> {
        let new = self.series.len();
        let key = sample::key(&sample.labels, "");
        let i = *self.indices.entry(key).or_insert(new);
        let is_newer = self.dialect == Dialect::OpenMetrics2;
        if i == new {
            self.series.push(PartialSeries::new(number, sample));
        } else if is_newer {
            let series = &mut self.series[i];
            if series.time.is_none() || sample.time <= series.time {
                let what = "has this series, too; a further sample needs a later timestamp";
                let what = format!("line {} {what}", series.line);
                return Err(Fault::new(sample.offset, what));
            }
            *series = PartialSeries::new(number, sample);
        }
        // A kind with one line per series gets a better error elsewhere: its second line is a
        // duplicate, not just out of order.
        let has_more = parts(self.kind(), self.dialect).len() > 1;
        let is_strict = is_newer || (self.dialect == Dialect::OpenMetrics && has_more);
        let mut is_adjacent = !is_strict || i + 1 == self.series.len();
        if self.kind() == Kind::StateSet {
            if !sample.labels.iter().any(|label| label.name == self.name) {
                let name = show(&self.name);
                let what = format!("a state needs the label {name}, named like its family");
                return Err(Fault::new(sample.offset, what));
            }
            let state_set = sample::key(&sample.labels, &self.name);
            is_adjacent = self.last_state_set.as_ref() == Some(&state_set)
                || self.state_sets.insert(state_set.clone());
            self.last_state_set = Some(state_set);
        }
        if !is_adjacent {
            let what = "the lines of this label set have to be adjacent";
            let what = format!("{what}, but another label set is between them");
            notes.odd(Fault::new(sample.offset, what))?;
        }
        Ok(i)
    }

    /// Completes the family, after its last sample. Its name is that of its values.
    pub(super) fn into_family(mut self, notes: &mut Notes) -> Result<Family, Fault> {
        let kind = self.kind();
        let mut parts = self.parts().iter();
        let suffix = parts.find(|(_, part)| *part == Part::Value);
        let name = format!("{}{}", self.name, suffix.map_or("", |(suffix, _)| suffix));
        let help = self.help.unwrap_or_default();
        let mut unit = self.unit.unwrap_or_default();
        if !unit.is_empty() && matches!(kind, Kind::Info | Kind::StateSet) {
            let what = format!("{kind} {} cannot have a unit", show(&self.name));
            notes.odd(Fault::in_line(self.line, what))?;
            unit = "";
        }
        if self.dialect == Dialect::OpenMetrics2 && kind == Kind::Info && !name.ends_with("_info") {
            let what = format!("the name of info {} has to end in `_info`", show(&name));
            notes.odd(Fault::in_line(self.line, what))?;
        }
        let family = Family::empty(&name, &help, unit, kind);
        let mut family = family.map_err(|error| Fault::in_line(self.line, error.to_string()))?;
        if notes.is_lenient {
            // Lines that were left out may leave a series without a value.
            self.series.retain(|series| !series.is_empty());
        }
        if matches!(kind, Kind::Histogram | Kind::GaugeHistogram) {
            for series in &mut self.series {
                series.complete(&family, self.dialect, notes)?;
            }
            series::share_bounds(&mut self.series, &family, notes)?;
        } else {
            self.series.iter_mut().for_each(PartialSeries::sort);
        }
        let first = self.series.first();
        let bounds = first.map_or(Vec::new(), PartialSeries::bounds);
        for series in self.series {
            let line = series.line;
            let added = series.add_to(&mut family, &bounds);
            added.or_else(|what| notes.odd(Fault::in_line(line, what)))?;
        }
        Ok(family)
    }
}

fn read_help(line: &mut Line<'_>) -> Result<String, Fault> {
    let help = line.unescape(line.dialect != Dialect::Text)?;
    let mut help = help.into_owned();
    if !line.rest().is_empty() {
        let what = "a quote in HELP has to be escaped as `\\\"`";
        line.notes.odd(Fault::new(line.offset, what))?;
        help += line.rest();
        line.offset += line.rest().len();
    }
    Ok(help)
}

fn read_kind(line: &mut Line<'_>) -> Result<Kind, Fault> {
    let (offset, word) = (line.offset, line.token());
    if let Some(kind) = kind_of(word, line.dialect) {
        return Ok(kind);
    }
    let types = TYPES.iter();
    let types = types.filter(|(_, _, dialects)| dialects.contains(&line.dialect));
    let names: Vec<_> = types.map(|(name, ..)| *name).collect();
    let (word, names) = (show(word), names.join(", "));
    let what = format!("{word} is not a type; the types are {names}");
    Err(Fault::new(offset, what))
}

/// Returns the kind that a format calls `word` in a TYPE line.
pub(super) fn kind_of(word: &str, dialect: Dialect) -> Option<Kind> {
    let mut types = TYPES.iter();
    let is = |(name, _, dialects): &&Type| *name == word && dialects.contains(&dialect);
    types.find(is).map(|(_, kind, _)| *kind)
}

/// The name of a type in a TYPE line, its kind, and the formats that have it.
type Type = (&'static str, Kind, &'static [Dialect]);

const ALL: &[Dialect] = &[Dialect::Text, Dialect::OpenMetrics, Dialect::OpenMetrics2];
const OPEN_METRICS: &[Dialect] = &[Dialect::OpenMetrics, Dialect::OpenMetrics2];

const TYPES: &[Type] = &[
    ("counter", Kind::Counter, ALL),
    ("gauge", Kind::Gauge, ALL),
    ("histogram", Kind::Histogram, ALL),
    ("gaugehistogram", Kind::GaugeHistogram, OPEN_METRICS),
    ("summary", Kind::Summary, ALL),
    ("info", Kind::Info, OPEN_METRICS),
    ("stateset", Kind::StateSet, OPEN_METRICS),
    ("unknown", Kind::Unknown, OPEN_METRICS),
    ("untyped", Kind::Unknown, &[Dialect::Text]),
];

/// Returns the sample suffixes of a kind, each with the part that it describes.
pub(super) fn parts(kind: Kind, dialect: Dialect) -> &'static [(&'static str, Part)] {
    use Part::{Bucket, Count, Created, Quantile, Sum, Value};
    let all: &[(&str, Part)] = match kind {
        _ if dialect == Dialect::OpenMetrics2 => &[("", Value)],
        Kind::Counter if dialect == Dialect::OpenMetrics => {
            &[("_total", Value), ("_created", Created)]
        }
        Kind::Histogram => &[
            ("_bucket", Bucket),
            ("_sum", Sum),
            ("_count", Count),
            ("_created", Created),
        ],
        Kind::GaugeHistogram => &[("_bucket", Bucket), ("_gsum", Sum), ("_gcount", Count)],
        Kind::Summary => &[
            ("", Quantile),
            ("_sum", Sum),
            ("_count", Count),
            ("_created", Created),
        ],
        Kind::Info if dialect == Dialect::OpenMetrics => &[("_info", Value)],
        _ => &[("", Value)],
    };
    // Text has no creation times.
    match all {
        [known @ .., (_, Created)] if dialect == Dialect::Text => known,
        _ => all,
    }
}
