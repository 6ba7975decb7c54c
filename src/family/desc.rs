//! The description of a family (name, labels, limits, shape) and the grammar of names. Where
//! possible, `const` code checks them at compile time.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::panic::Location;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{BucketRule, Difference, Error, NameRule, WindowRule};
use crate::snapshot::sketch::{TargetError, Targets};
use crate::snapshot::{
    Escaping, GaugeMerge, Kind, Resolution, Text, is_label_name, is_metric_name,
};

use super::constants::Constants;
use super::label::LabelSet;

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
#[derive(Clone, Debug)]
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
    /// How the gauges of several processes are merged.
    pub(crate) merge: GaugeMerge,
    /// Whether its name and label names may be outside the legacy character set.
    pub(crate) utf8: bool,
    pub(crate) closed: ClosedSet,
    /// Whether registration logs notes about the name. Not for statics, about which the compiler
    /// makes them, and not for names that another crate chose.
    pub(crate) lint: bool,
    /// Where the family was declared, for error messages.
    pub(crate) location: &'static Location<'static>,
}

/// The attributes of a field of a `#[derive(Metrics)]` struct.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
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
}

/// The label names of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Every series has these labels, in this order.
    Fixed(&'static [&'static str]),
    /// Every series has its own labels.
    Any,
}

/// The combinations of a closed label set. An open label set has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClosedSet {
    count: usize,
    texts: fn(usize) -> Vec<&'static str>,
}

impl ClosedSet {
    /// No combinations: an open label set.
    pub(crate) const NONE: Self = Self::new(0, |_| Vec::new());

    /// Creates a set of `count` combinations. `texts` returns the label values of each.
    pub(crate) const fn new(count: usize, texts: fn(usize) -> Vec<&'static str>) -> Self {
        Self { count, texts }
    }

    /// Returns the combinations of a label set's type.
    pub(crate) const fn of<L: LabelSet>() -> Self {
        Self::new(L::DENSE, L::dense_texts)
    }

    /// Returns the label values of every combination.
    pub(crate) fn texts(self) -> impl Iterator<Item = Vec<&'static str>> {
        (0..self.count).map(self.texts)
    }
}

impl Names {
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
        let desc = Self::unchecked(Text::Static(name), kind, labels, Location::caller());
        if let Err(rule) = check_name(name.as_bytes()) {
            panic!("{}", rule.metric_text());
        }
        if let Err((_, rule)) = check_labels(labels.fixed(), kind, false) {
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
            merge: match kind {
                Kind::Info => GaugeMerge::Max,
                Kind::StateSet => GaugeMerge::Last,
                _ => GaugeMerge::Sum,
            },
            utf8: false,
            closed: ClosedSet::NONE,
            lint: true,
            location,
        }
    }

    /// Sets label names that are known only at run time.
    pub(crate) fn set_labels(&mut self, names: &[&str]) {
        static INTERNED: Interned<&'static str> = LazyLock::new(Mutex::default);
        let names: Vec<_> = names.iter().map(|name| intern(name)).collect();
        self.labels = Names::Fixed(intern_list(&INTERNED, &names));
    }

    pub(crate) fn add_constant(&mut self, name: &str, value: &str) {
        self.constant.add(name, value);
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
    pub(crate) fn apply(&mut self, options: Options<'_>, from_data: usize) -> Result<(), Error> {
        if from_data != usize::MAX && from_data != options.labels.len() {
            let got = options.labels.len();
            return Err(Error::label_count(&self.name, &[], from_data, got));
        }
        if from_data > 0 {
            self.set_labels(options.labels);
        }
        self.unit = Text::shared(options.unit);
        if !options.buckets.is_empty() {
            self.set_bounds(options.buckets);
        }
        if options.limit > 0 {
            self.limit = options.limit;
        }
        self.hot = options.hot;
        self.utf8 = options.utf8;
        Ok(())
    }

    /// Creates the description of a family whose name and label names may have any character. An
    /// invalid name in a `static` is a compile error.
    #[track_caller]
    pub(crate) const fn new_utf8(name: &'static str, kind: Kind, labels: Names) -> Self {
        let mut desc = Self::unchecked(Text::Static(name), kind, labels, Location::caller());
        desc.utf8 = true;
        if let Err(rule) = check_utf8(name.as_bytes()) {
            panic!("{}", rule.metric_text());
        }
        if let Err((_, rule)) = check_labels(labels.fixed(), kind, true) {
            panic!("{}", rule.label_text());
        }
        desc
    }

    /// Checks everything. For a `static`, the compiler has checked most of it; this also covers
    /// what was built at run time.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let check = if self.utf8 { check_utf8 } else { check_name };
        check(self.name.as_bytes()).map_err(|why| Error::name(&self.name, why))?;
        let labels = self.labels.fixed();
        check_labels(labels, self.kind, self.utf8)
            .map_err(|(i, why)| Error::label_name(&self.name, labels[i], why))?;
        for (i, name) in self.constant.names().enumerate() {
            self.check_label(name)
                .map_err(|why| Error::label_name(&self.name, name, why))?;
            if labels.contains(&name) || self.constant.names().take(i).any(|other| other == name) {
                return Err(Error::label_name(&self.name, name, NameRule::Twice));
            }
        }
        self.check_escaped(labels.iter().copied().chain(self.constant.names()))?;
        if matches!(self.kind, Kind::Histogram) && !self.bounds.is_empty() {
            check_bounds(self.bounds).map_err(|why| Error::buckets(&self.name, why))?;
        }
        if let Some(native) = self.native {
            native
                .check()
                .map_err(|why| Error::buckets(&self.name, why))?;
        }
        if let Some(rule) = self.bad_targets {
            return Err(Error::objectives(&self.name, rule));
        }
        check_window(self.max_age, self.ages).map_err(|rule| Error::window(&self.name, rule))
    }

    /// Checks that the name is valid with this prefix. The name of a state set is also the name of
    /// its label.
    pub(crate) fn check_prefixed(&self, prefix: &str) -> Result<(), Error> {
        let name = format!("{prefix}{}", self.name);
        if self.kind == Kind::StateSet && check_label(name.as_bytes(), self.kind).is_err() {
            return Err(Error::name(&name, NameRule::StateSet));
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
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), Error> {
        if !self.utf8 {
            return Ok(());
        }
        for escaping in Escaping::LOSSY {
            let mut seen: Vec<(String, &str)> = Vec::new();
            for name in names.clone() {
                let mut escaped = String::new();
                escaping.label(name, &mut escaped);
                // Other escaped names that begin with `__` are harmless, and names in most scripts
                // become such names.
                if escaped == "__name__" {
                    return Err(Error::label_name(&self.name, name, NameRule::MetricName));
                }
                if let Some((_, other)) = seen.iter().find(|(text, _)| *text == escaped) {
                    return Err(Error::same_label(&self.name, name, other, &escaped));
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
        let names = |names: Names| match names {
            Names::Fixed(names) => Some(names.iter().map(|name| Box::from(*name)).collect()),
            Names::Any => None,
        };
        let pairs = |labels: &Constants| {
            labels
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect()
        };
        let bounds = |desc: &Self| {
            let is_default = desc.bounds.is_empty() && desc.native.is_none();
            (!is_default).then(|| desc.bounds.into())
        };
        let native = |native: Option<Resolution>| {
            native.map(|native| (native.schema, native.limit, native.zero_threshold))
        };
        Some(if self.kind != other.kind {
            Difference::Kind(self.kind, other.kind)
        } else if self.labels != other.labels {
            Difference::Labels(names(self.labels), names(other.labels))
        } else if self.constant != other.constant {
            Difference::ConstantLabels(pairs(&self.constant), pairs(&other.constant))
        } else if self.bounds != other.bounds {
            Difference::Buckets(bounds(self), bounds(other))
        } else if self.native != other.native {
            Difference::NativeBuckets(native(self.native), native(other.native))
        } else if self.targets != other.targets {
            let pairs = |targets: &Targets| targets.as_slice().into();
            Difference::Objectives(pairs(&self.targets), pairs(&other.targets))
        } else if self.max_age != other.max_age {
            Difference::Window(self.max_age, other.max_age)
        } else if self.ages != other.ages {
            Difference::Ages(self.ages, other.ages)
        } else if self.unit != other.unit {
            Difference::Unit((&*self.unit).into(), (&*other.unit).into())
        } else if self.utf8 != other.utf8 {
            Difference::Utf8
        } else {
            return None;
        })
    }

    /// Returns whether handles of the two descriptions can be exchanged: a series of a closed label
    /// set is identified by its index, so both need the same combinations.
    pub(crate) fn has_same_combinations(&self, other: &Self) -> bool {
        self.closed.texts().eq(other.closed.texts())
    }
}

/// Puts a prefix before a name. Adds an underscore between them if the prefix ends in an ASCII
/// letter or digit.
pub(crate) fn prefixed(prefix: &str, name: &str) -> String {
    let joined = prefix.ends_with(|c: char| c.is_ascii_alphanumeric());
    let between = if joined { "_" } else { "" };
    format!("{prefix}{between}{name}")
}

/// Checks a metric name against the grammar of the Prometheus data model.
pub(crate) const fn check_name(name: &[u8]) -> Result<(), NameRule> {
    if is_metric_name(name) {
        Ok(())
    } else {
        Err(NameRule::Metric)
    }
}

/// Checks a label name: its grammar, and that it is not reserved.
pub(crate) const fn check_label(name: &[u8], kind: Kind) -> Result<(), NameRule> {
    check_label_of(name, kind, false)
}

const fn check_label_of(name: &[u8], kind: Kind, utf8: bool) -> Result<(), NameRule> {
    if utf8 {
        if let Err(why) = check_utf8(name) {
            return Err(why);
        }
    } else if !is_label_name(name) {
        return Err(NameRule::Label);
    }
    match name {
        [b'_', b'_', ..] => Err(NameRule::Underscores),
        b"le" if matches!(kind, Kind::Histogram | Kind::GaugeHistogram) => Err(NameRule::Le),
        b"quantile" if matches!(kind, Kind::Summary) => Err(NameRule::Quantile),
        _ => Ok(()),
    }
}

/// Checks the label name of an exemplar. None is reserved.
pub(crate) fn exemplar_label(name: &str) -> Result<(), NameRule> {
    if is_label_name(name.as_bytes()) {
        Ok(())
    } else {
        Err(NameRule::Label)
    }
}

/// Checks that a name can be written in quotes without escapes, which every format's parser reads.
const fn check_utf8(name: &[u8]) -> Result<(), NameRule> {
    let mut i = 0;
    while i < name.len() {
        if matches!(name[i], b'"' | b'\\' | b'\n') {
            return Err(NameRule::Utf8);
        }
        i += 1;
    }
    if i == 0 { Err(NameRule::Utf8) } else { Ok(()) }
}

const fn check_labels(names: &[&str], kind: Kind, utf8: bool) -> Result<(), (usize, NameRule)> {
    let mut i = 0;
    while i < names.len() {
        if let Err(why) = check_label_of(names[i].as_bytes(), kind, utf8) {
            return Err((i, why));
        }
        let mut other = 0;
        while other < i {
            if same_bytes(names[i].as_bytes(), names[other].as_bytes()) {
                return Err((i, NameRule::Twice));
            }
            other += 1;
        }
        i += 1;
    }
    Ok(())
}

/// Returns whether two names are equal, in `const` code.
const fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Returns the bounds without a last bound of `+Inf`, which every histogram has.
pub(crate) const fn without_infinity(bounds: &[f64]) -> &[f64] {
    match bounds {
        [rest @ .., f64::INFINITY] => rest,
        _ => bounds,
    }
}

/// Checks that bounds are finite and ascend. The `+Inf` bound is implied.
pub(crate) const fn check_bounds(bounds: &[f64]) -> Result<(), BucketRule> {
    if bounds.is_empty() || matches!(bounds, [f64::NEG_INFINITY]) {
        return Err(BucketRule::Empty);
    }
    if bounds.len() >= crate::observe::MOST_BUCKETS {
        return Err(BucketRule::TooMany(bounds.len()));
    }
    let mut i = 0;
    while i < bounds.len() {
        if !bounds[i].is_finite() {
            return Err(BucketRule::NotFinite(bounds[i]));
        }
        if i > 0 && bounds[i - 1] >= bounds[i] {
            return Err(BucketRule::Order(bounds[i], bounds[i - 1]));
        }
        i += 1;
    }
    Ok(())
}

/// The default number of ages of a window: a fifth of the window is dropped at a time.
pub(crate) const DEFAULT_AGES: u32 = 5;

/// Checks a window. With these limits an age lasts at least a millisecond. With two ages or more,
/// the latest observations are in another age than the one that is dropped.
pub(crate) const fn check_window(
    max_age: Option<Duration>,
    ages: Option<u32>,
) -> Result<(), WindowRule> {
    match (max_age, ages) {
        (Some(max_age), _) if max_age.as_millis() < 100 => Err(WindowRule::TooShort(max_age)),
        (Some(_), Some(ages)) if ages < 2 || ages > 60 => Err(WindowRule::Ages(ages)),
        (None, Some(ages)) => Err(WindowRule::AgesAlone(ages)),
        _ => Ok(()),
    }
}

/// Returns the values of labels given by name, in the order of the family's names.
pub(crate) fn in_order<'a>(desc: &Desc, labels: &[(&str, &'a str)]) -> Result<Vec<&'a str>, Error> {
    let names = desc.labels.fixed();
    if labels.len() != names.len() {
        let got = labels.len();
        return Err(Error::label_count(&desc.name, names, names.len(), got));
    }
    names
        .iter()
        .map(|name| {
            labels
                .iter()
                .find(|(given, _)| given == name)
                .map(|(_, value)| *value)
                .ok_or_else(|| Error::missing_label(&desc.name, name))
        })
        .collect()
}

/// Returns a label name that lives as long as the program. Equal names share one allocation, so
/// registries that are created and dropped do not leak more and more.
pub(crate) fn intern(text: &str) -> &'static str {
    static TEXTS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    if text.is_empty() {
        return "";
    }
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = texts.get(text) {
        return text;
    }
    let text: &'static str = Box::leak(text.into());
    texts.insert(text);
    text
}

type Interned<T> = LazyLock<Mutex<HashSet<&'static [T]>>>;

/// Returns a list that lives as long as the program. See [`intern`].
fn intern_list<T: Eq + Hash + Copy + Send + 'static>(
    interned: &Interned<T>,
    list: &[T],
) -> &'static [T] {
    let mut interned = interned.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(list) = interned.get(list) {
        return list;
    }
    let list: &'static [T] = Box::leak(list.into());
    interned.insert(list);
    list
}

/// Returns bounds that live as long as the program, for the hot path. See [`intern`].
fn intern_bounds(bounds: &[f64]) -> &'static [f64] {
    static INTERNED: LazyLock<Mutex<HashMap<Vec<u64>, &'static [f64]>>> =
        LazyLock::new(Mutex::default);
    let mut interned = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
    let bits = bounds.iter().map(|bound| bound.to_bits()).collect();
    interned
        .entry(bits)
        .or_insert_with(|| Box::leak(bounds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels() {
        for good in ["a", "a:b_c9", "_", ":"] {
            assert!(check_name(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["", "9a", "a-b", "ok\n", "a b", "ä"] {
            assert!(check_name(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for bad in ["", "1a", "bad-label", "a:b", "__x", "x\n"] {
            assert!(
                check_label(bad.as_bytes(), Kind::Counter).is_err(),
                "{bad:?}"
            );
        }
        assert!(check_label(b"le", Kind::Histogram).is_err());
        assert!(check_label(b"le", Kind::Counter).is_ok());
        assert!(check_label(b"job", Kind::Counter).is_ok());
        assert_eq!(
            check_labels(&["a", "b", "a"], Kind::Gauge, false),
            Err((2, NameRule::Twice))
        );
    }

    #[test]
    fn a_prefix_is_set_apart_from_the_name() {
        for (prefix, whole) in [
            ("", "name"),
            ("my", "my_name"),
            ("my_", "my_name"),
            ("my:", "my:name"),
            ("v2", "v2_name"),
            ("my__", "my__name"),
            ("my.", "my.name"),
            ("ö", "öname"),
        ] {
            assert_eq!(prefixed(prefix, "name"), whole);
        }
    }

    #[test]
    fn bounds() {
        assert!(check_bounds(&[1.0, 2.0]).is_ok());
        for bad in [
            &[][..],
            &[2.0, 1.0],
            &[1.0, 1.0],
            &[f64::NAN],
            &[1.0, f64::INFINITY],
        ] {
            assert!(check_bounds(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn interned_once() {
        assert!(std::ptr::eq(
            intern("some name"),
            intern(&String::from("some name"))
        ));
    }
}
