//! The description of a family: name, labels, limits and shape. Where possible, `const` code checks
//! them at compile time.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, NameRule, Subject};
use crate::snapshot::sketch::{TargetError, Targets};
use crate::snapshot::{
    Difference, Escaping, GaugeMode, Kind, Resolution, Text, join, or_none, quoted,
};

use super::constants::Constants;
use super::event;
use super::grammar::{check_label, check_label_of, check_labels, check_name_of};
use super::intern::{intern_bounds, intern_texts};
use super::label::LabelSet;
pub use super::label::Names;
use super::lint::log_notes;
use super::shape::{check_bounds, check_window, without_infinity};
use super::view::LabelRules;

/// The default limit of series per family. Updates of further series count in the overflow series.
///
/// ```
/// use tallies::{Counter, Registry, label::DEFAULT_LIMIT};
///
/// let registry = Registry::new();
/// let logins = Counter::<()>::builder("logins_total", "Logins.")
///     .labels(["user"])
///     .register(&registry)?;
/// for user in 0..DEFAULT_LIMIT + 2 {
///     logins.with([&*user.to_string()]).inc();
/// }
/// let snapshot = registry.snapshot();
/// assert_eq!(snapshot.get("logins_total", &[("user", "__overflow__")]), Some(2.0));
/// # Ok::<(), tallies::Error>(())
/// ```
pub const DEFAULT_LIMIT: usize = 10_000;

/// Default objectives.
const DEFAULT_OBJECTIVES: Targets = Targets::new(&[(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)]);

/// The description of a family: everything but its series.
#[derive(Clone)]
pub(crate) struct Desc {
    pub(crate) name: Text,
    pub(crate) help: Text,
    pub(crate) unit: Text,
    pub(crate) kind: Kind,
    pub(crate) labels: Names,
    pub(crate) constant: Constants,
    pub(crate) bounds: &'static [f64],
    /// The resolution of a histogram's exponential buckets, if it has them.
    pub(crate) native: Option<Resolution>,
    /// The objectives of a summary.
    pub(crate) targets: Targets,
    /// Whether `targets` were set by the user.
    pub(crate) own_targets: bool,
    /// The first invalid objective given to a builder, which `check` returns as an error.
    pub(crate) bad_targets: Option<TargetError>,
    /// The window of a summary's quantiles, and the number of ages it is divided into, if set.
    pub(crate) max_age: Option<Duration>,
    pub(crate) ages: Option<u32>,
    /// The most series, without the overflow series.
    pub(crate) limit: usize,
    /// Whether series are promoted at their first update.
    pub(crate) hot: bool,
    /// The time after which an unchanged series is retired, if any.
    pub(crate) expire_after: Option<Duration>,
    /// How the values of a gauge in several processes are combined, if the user has chosen.
    pub(crate) mode: Option<GaugeMode>,
    /// How long a store shows a live gauge whose process sends nothing; `None` for its default.
    pub(crate) shared_ttl: Option<Duration>,
    /// Whether its name and label names may be outside the legacy character set.
    pub(crate) utf8: bool,
    pub(crate) closed: ClosedSet,
    /// The metrics of an event, whose cells the family has. The fields above are those of the first
    /// one, but for the bounds.
    pub(crate) event: &'static [event::EventMetric],
    /// The number of counters among them, which look-ups need.
    pub(crate) counters: usize,
    /// The states of a state set.
    pub(crate) states: &'static [&'static str],
    /// The module that declared the family, if the declaration says it.
    pub(crate) module: &'static str,
    /// Logs notes about the name at registration. `None` for statics, about which the compiler
    /// makes them, and for names that another crate chose. A function, so that a program that has
    /// only such names is linked without the rules.
    pub(crate) lint: Option<fn(&Self)>,
    /// The views of the registry for this family. The fields above are those that they result in.
    pub(crate) view: Option<Arc<LabelRules>>,
    /// Where the family was declared, for error messages.
    pub(crate) location: &'static Location<'static>,
}

/// The attributes of a field of a `#[derive(Metrics)]` struct.
#[derive(Clone, Copy, Debug, Default)]
pub struct FieldOptions<'a> {
    /// The unit.
    pub unit: &'a str,
    /// Label names that the label set's type does not determine.
    pub labels: &'a [&'a str],
    /// The bounds of a histogram.
    pub buckets: &'a [f64],
    /// The most series, or 0 for the default.
    pub limit: usize,
    /// Whether series are promoted at their first update.
    pub hot: bool,
    /// Whether names may be outside the legacy character set.
    pub utf8: bool,
    /// The module of the struct.
    pub module: &'static str,
}

/// The combinations of a closed label set. An open label set has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClosedSet {
    count: usize,
    texts: fn(usize) -> Vec<&'static str>,
    /// The values of each label; none for an open one. Also of a set of which only some labels are
    /// closed.
    values: &'static [&'static [&'static str]],
}

impl ClosedSet {
    /// No combinations: an open label set.
    pub(crate) const NONE: Self = Self::new(0, |_| Vec::new());

    /// Creates a set of `count` combinations. `texts` returns the label values of each.
    pub(crate) const fn new(count: usize, texts: fn(usize) -> Vec<&'static str>) -> Self {
        let values = &[];
        Self {
            count,
            texts,
            values,
        }
    }

    /// Returns the combinations of a label set's type.
    pub(crate) const fn of<L: LabelSet>() -> Self {
        Self {
            count: L::DENSE,
            texts: L::dense_texts,
            values: L::VALUES,
        }
    }

    /// Returns the values of label `i`, if they are closed.
    pub(crate) fn values(self, i: usize) -> Option<&'static [&'static str]> {
        self.values.get(i).copied()
    }

    /// Returns the number of combinations.
    pub(crate) const fn len(self) -> usize {
        self.count
    }

    /// Returns the label values of combination `index`, if there is one.
    pub(crate) fn texts_of(self, index: usize) -> Option<Vec<&'static str>> {
        (index < self.count).then(|| (self.texts)(index))
    }

    /// Returns the label values of every combination.
    pub(crate) fn texts(self) -> impl Iterator<Item = Vec<&'static str>> {
        (0..self.count).map(self.texts)
    }
}

impl Names {
    /// Iterates over the pairs of name and value of a label set, whose values are `texts`; without
    /// fixed label names, names and values in turn.
    pub(super) fn pairs<'a>(
        self,
        texts: &[&'a str],
    ) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        let fixed = match self {
            Self::Fixed(names) => Some(names),
            Self::Any => None,
        };
        let count = fixed.map_or(texts.len() / 2, |names| names.len().min(texts.len()));
        (0..count).map(move |i| match fixed {
            Some(names) => (names[i], texts[i]),
            None => (texts[2 * i], texts[2 * i + 1]),
        })
    }

    pub(crate) const fn fixed(self) -> &'static [&'static str] {
        match self {
            Self::Fixed(names) => names,
            Self::Any => &[],
        }
    }
}

impl Desc {
    /// Creates the description of a family with a name. An invalid name in a `static` is a compile
    /// error.
    #[track_caller]
    pub(crate) const fn new(name: &'static str, kind: Kind, labels: Names) -> Self {
        Self::checked(name, kind, labels, false)
    }

    /// The same. `utf8`: the name and the label names may have any character.
    #[track_caller]
    pub(crate) const fn checked(name: &'static str, kind: Kind, labels: Names, utf8: bool) -> Self {
        let mut desc = Self::unchecked(Text::Static(name), kind, labels, Location::caller());
        desc.utf8 = utf8;
        if let Err(rule) = check_name_of(name.as_bytes(), utf8) {
            panic!("{}", rule.metric_text());
        }
        if let Err((_, rule)) = check_labels(labels.fixed(), kind, utf8) {
            panic!("{}", rule.label_text());
        }
        desc
    }

    pub(crate) const fn unchecked(
        name: Text,
        kind: Kind,
        labels: Names,
        location: &'static Location<'static>,
    ) -> Self {
        Self {
            name,
            help: Text::EMPTY,
            unit: Text::EMPTY,
            kind,
            labels,
            constant: Constants::NONE,
            bounds: &[],
            native: None,
            targets: DEFAULT_OBJECTIVES,
            own_targets: false,
            bad_targets: None,
            max_age: None,
            ages: None,
            limit: DEFAULT_LIMIT,
            hot: false,
            expire_after: None,
            mode: None,
            shared_ttl: None,
            utf8: false,
            closed: ClosedSet::NONE,
            event: &[],
            counters: 0,
            states: &[],
            module: "",
            lint: Some(log_notes),
            view: None,
            location,
        }
    }

    /// Returns the view if it gives the series other labels than the declaration has.
    pub(crate) fn changing_view(&self) -> Option<&LabelRules> {
        self.view.as_deref().filter(|view| view.changes_labels())
    }

    /// Returns whether the series are the combinations of a closed label set: unless a view changes
    /// their labels. An info has a series only for the current label set, not for every possible
    /// one.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.len() > 0 && self.kind != Kind::Info && self.changing_view().is_none()
    }

    /// Returns the name of the declaration.
    pub(crate) fn declared_name(&self) -> &Text {
        self.view.as_ref().map_or(&self.name, |view| &view.name)
    }

    /// Returns the label names of the declaration.
    pub(crate) fn declared_labels(&self) -> Names {
        self.view.as_ref().map_or(self.labels, |view| view.labels)
    }

    /// Returns the crate that declared the family, if the declaration says it.
    pub(crate) fn krate(&self) -> Option<&'static str> {
        let krate = self.module.split("::").next()?;
        (!krate.is_empty()).then_some(krate)
    }

    /// Returns whether a view has switched the family off.
    pub(crate) fn is_off(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.off)
    }

    /// Sets label names that are known only at run time.
    pub(crate) fn set_labels(&mut self, names: &[&str]) {
        self.labels = Names::Fixed(intern_texts(names));
    }

    /// Sets states that are known only at run time.
    pub(crate) fn set_states(&mut self, states: &[&str]) {
        self.states = intern_texts(states);
    }

    pub(crate) fn set_bounds(&mut self, bounds: &[f64]) {
        let bounds = without_infinity(bounds);
        self.bounds = if bounds.is_empty() {
            // An empty list would mean the default bounds. This one is an error: it has no finite
            // bound.
            &[f64::NEG_INFINITY]
        } else {
            intern_bounds(bounds)
        };
    }

    /// Adds an objective. The first one replaces the defaults.
    pub(crate) const fn add_target(&mut self, phi: f64, error: f64) -> Result<(), TargetError> {
        let targets = if self.own_targets {
            self.targets
        } else {
            Targets::new(&[])
        };
        self.own_targets = true;
        match targets.try_with(phi, error) {
            Ok(targets) => {
                self.targets = targets;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Applies the attributes of `#[derive(Metrics)]`.
    pub(crate) fn apply(
        &mut self,
        options: FieldOptions<'_>,
        from_data: usize,
    ) -> Result<(), Error> {
        if from_data != usize::MAX && from_data != options.labels.len() {
            let got = options.labels.len();
            return Err(label_count(&self.name, &[], from_data, got));
        }
        if from_data > 0 {
            self.set_labels(options.labels);
        }
        self.unit = Text::from(options.unit);
        if !options.buckets.is_empty() {
            self.set_bounds(options.buckets);
        }
        if options.limit > 0 {
            self.limit = options.limit;
        }
        self.hot = options.hot;
        self.utf8 = options.utf8;
        self.module = options.module;
        Ok(())
    }

    /// Checks everything. For a `static`, the compiler has checked most of it; this also covers
    /// what was built at run time.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_name_of(self.name.as_bytes(), self.utf8)
            .map_err(|rule| rule.error(Subject::Metric, &self.name))?;
        self.check_states()?;
        let labels = self.labels.fixed();
        check_labels(labels, self.kind, self.utf8)
            .map_err(|(i, rule)| rule.error(self.label(), labels[i]))?;
        for (i, name) in self.constant.names().enumerate() {
            self.check_label(name)
                .map_err(|rule| rule.error(self.label(), name))?;
            if labels.contains(&name) || self.constant.names().take(i).any(|other| other == name) {
                return Err(NameRule::Twice.error(self.label(), name));
            }
        }
        self.check_escaped(labels.iter().copied().chain(self.constant.names()))?;
        if matches!(self.kind, Kind::Histogram) && !self.bounds.is_empty() {
            check_bounds(self.bounds).map_err(|rule| rule.error(&self.name))?;
        }
        if let Some(native) = self.native {
            native.check().map_err(|rule| rule.error(&self.name))?;
        }
        if let Some(rule) = self.bad_targets {
            let name = &self.name;
            return Err(Error::other(format_args!("family `{name}`: {rule}")));
        }
        check_window(self.max_age, self.ages)
            .map_err(|rule| Error::other(format_args!("family `{}`: {rule}", self.name)))
    }

    /// Checks the states of a state set, and that its name can be the name of their label.
    fn check_states(&self) -> Result<(), Error> {
        if self.kind != Kind::StateSet {
            return Ok(());
        }
        let (name, states) = (&*self.name, self.states);
        if states.is_empty() {
            return Err(Error::other(format_args!(
                "state set `{name}` needs states: an enum with `#[derive(LabelValue)]`, whose \
                 variants they are, or `states` of its builder"
            )));
        }
        if let Some(twice) = (1..states.len()).find(|i| states[..*i].contains(&states[*i])) {
            let state = states[twice].escape_debug();
            return Err(Error::other(format_args!(
                "state `{state}` of `{name}` is given twice; remove one of them"
            )));
        }
        self.check_prefixed("")?;
        let labels = self.declared_labels().fixed();
        if labels.contains(&name) || self.constant.names().any(|constant| constant == name) {
            return Err(NameRule::States.error(self.label(), name));
        }
        Ok(())
    }

    /// Checks that the name is valid with this prefix. The name of a state set is also the name of
    /// its label.
    pub(crate) fn check_prefixed(&self, prefix: &str) -> Result<(), Error> {
        let name = format!("{prefix}{}", self.name);
        if self.kind == Kind::StateSet && check_label(name.as_bytes(), self.kind).is_err() {
            return Err(NameRule::StateSet.error(Subject::Metric, &name));
        }
        Ok(())
    }

    /// Checks a label name: its grammar, and that it is not reserved.
    pub(crate) fn check_label(&self, name: &str) -> Result<(), NameRule> {
        check_label_of(name.as_bytes(), self.kind, self.utf8)
    }

    /// Checks that these label names stay distinct, and that none becomes that of the metric, when
    /// they are escaped for a reader that knows only the legacy character set.
    pub(crate) fn check_escaped<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), Error> {
        match self.utf8 {
            true => self.check_all_escaped(&names.collect::<Vec<_>>()),
            false => Ok(()),
        }
    }

    fn check_all_escaped(&self, names: &[&str]) -> Result<(), Error> {
        for escaping in Escaping::LOSSY {
            let mut seen: Vec<(String, &str)> = Vec::new();
            for name in names {
                let mut escaped = String::new();
                escaping.label(name, &mut escaped);
                // Other escaped names that begin with `__` are harmless, and names in most scripts
                // become such names.
                if escaped == "__name__" {
                    return Err(NameRule::MetricName.error(self.label(), name));
                }
                if let Some((_, other)) = seen.iter().find(|(text, _)| *text == escaped) {
                    return Err(ErrorKind::Name.error(format_args!(
                        "labels `{name}` and `{other}` of family `{}` both become `{escaped}` \
                         for a reader without UTF-8 names; rename one of them",
                        self.name
                    )));
                }
                seen.push((escaped, name));
            }
        }
        Ok(())
    }

    /// Returns whether `other` declares the same family, so that the two can share their series.
    pub(crate) fn is_same_family(&self, other: &Self) -> bool {
        self.name == other.name && self.difference(other).is_none()
    }

    /// Returns a property in which two descriptions of one name differ, the help text aside.
    pub(crate) fn difference(&self, other: &Self) -> Option<Difference> {
        let names = |desc: &Self| match desc.declared_labels() {
            Names::Fixed(names) => quoted_all(names),
            Names::Any => "any".to_owned(),
        };
        let constants = |desc: &Self| {
            let pair =
                |(name, value): (&str, &str)| format!("`{name}=\"{}\"`", value.escape_debug());
            join(desc.constant.iter().map(pair))
        };
        let bounds = |desc: &Self| {
            let is_default = desc.bounds.is_empty() && desc.native.is_none();
            (!is_default).then_some(desc.bounds)
        };
        let native = |desc: &Self| {
            desc.native.map_or("none".to_owned(), |native| {
                let (schema, limit, zero) = (native.schema, native.limit, native.zero_threshold);
                format!("schema {schema} with a limit of {limit} and a zero threshold of {zero:?}")
            })
        };
        let both = |property, value: &dyn Fn(&Self) -> String| {
            Difference::of(property, value(self), value(other))
        };
        Some(if self.kind != other.kind {
            both("another kind", &|desc| desc.kind.to_string())
        } else if self.declared_name() != other.declared_name() {
            let name = |desc: &Self| quoted(desc.declared_name());
            both("another name before the views", &name)
        } else if self.declared_labels() != other.declared_labels() {
            both("other labels", &names)
        } else if self.states != other.states {
            both("other states", &|desc| quoted_all(desc.states))
        } else if self.constant != other.constant {
            both("other constant labels", &constants)
        } else if self.bounds != other.bounds {
            Difference::buckets(bounds(self), bounds(other))
        } else if self.native != other.native {
            both("other native buckets", &native)
        } else if self.targets != other.targets {
            Difference::objectives(&self.targets, &other.targets)
        } else if self.max_age != other.max_age {
            Difference::window(self.max_age, other.max_age)
        } else if self.ages != other.ages {
            both("another number of ages", &|desc| or_none(desc.ages))
        } else if self.unit != other.unit {
            both("another unit", &|desc| quoted(&desc.unit))
        } else if self.utf8 != other.utf8 {
            Difference::in_property("another character set: only one of the two allows UTF-8 names")
        } else {
            return None;
        })
    }

    /// Returns the error of a family that has reached its limit.
    pub(crate) fn limit_reached(&self) -> Error {
        let (family, limit) = (&self.name, self.limit);
        Error::other(format_args!(
            "family `{family}` has reached its limit of {limit} series; further label sets are \
             counted in one overflow series, whose labels are all `__overflow__`; raise the limit \
             with `.limit(..)`"
        ))
    }

    /// Returns this family as the owner of a label.
    pub(crate) fn label(&self) -> Subject<'_> {
        Subject::Label(&self.name)
    }

    /// Returns whether handles of the two descriptions can be exchanged: a series of a closed label
    /// set is identified by its index, so both need the same combinations; and the cells of an
    /// event are those of its metrics.
    pub(crate) fn has_same_combinations(&self, other: &Self) -> bool {
        self.closed.texts().eq(other.closed.texts()) && self.event == other.event
    }
}

/// Returns the values of labels given by name, in the order of the family's names.
pub(crate) fn in_order<'a>(desc: &Desc, labels: &[(&str, &'a str)]) -> Result<Vec<&'a str>, Error> {
    values_in_order(&desc.name, desc.declared_labels().fixed(), labels)
}

/// Returns the values of labels that are given by name, in the order of a family's label names.
///
/// ```
/// use tallies::label::values_in_order;
///
/// let labels = [("route", "/"), ("method", "get")];
/// let values = values_in_order("requests_total", &["method", "route"], &labels)?;
/// assert_eq!(values, ["get", "/"]);
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// # Errors
///
/// Returns an error, with the name of the family, if the names are not exactly those of the family.
pub fn values_in_order<'a>(
    family: &str,
    names: &[&str],
    labels: &[(&str, &'a str)],
) -> Result<Vec<&'a str>, Error> {
    let is_unknown = |given: &str| !names.is_empty() && !names.contains(&given);
    if let Some((unknown, _)) = labels.iter().find(|(given, _)| is_unknown(given)) {
        return Err(Error::other(format_args!(
            "family `{family}` has no label `{}`; it has {}",
            unknown.escape_debug(),
            quoted_all(names)
        )));
    }
    if labels.len() != names.len() {
        let got = labels.len();
        return Err(label_count(family, names, names.len(), got));
    }
    let value_of = |name: &&str| match labels.iter().find(|(given, _)| given == name) {
        Some((_, value)) => Ok(*value),
        None => Err(Error::other(format_args!(
            "the label `{name}` of family `{family}` is missing"
        ))),
    };
    names.iter().map(value_of).collect()
}

/// A wrong number of labels. `names` are those of the family, if it has them already.
pub(crate) fn label_count(family: &str, names: &[&str], expected: usize, got: usize) -> Error {
    let plural = if expected == 1 { "" } else { "s" };
    let names = match names {
        [] => String::new(),
        names => format!(" ({})", quoted_all(names)),
    };
    Error::other(format_args!(
        "family `{family}` takes {expected} label{plural}{names}, got {got}"
    ))
}

fn quoted_all(names: &[&str]) -> String {
    join(names.iter().map(|name| quoted(name)))
}
