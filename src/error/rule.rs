//! The rules that an error can be about, with the offending values. Where a `const fn` checks a
//! rule, `text` says it without the value, because a const panic cannot print a number.

use std::fmt;
use std::time::Duration;

use super::{Error, ErrorKind};

/// A thing that has a name. Labels have the name of their family with them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// A family.
    Metric,
    /// A family that a collector writes.
    Collected,
    /// The prefix of a registry.
    Prefix,
    /// A label of a family.
    Label(&'a str),
    /// A label of a family that a collector writes.
    CollectedLabel(&'a str),
    /// A constant label of a registry.
    Constant,
    /// A label of an exemplar.
    Exemplar,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metric | Self::Collected => "metric name",
            Self::Prefix => "prefix",
            Self::Label(_) | Self::CollectedLabel(_) => "label name",
            Self::Constant => "constant label",
            Self::Exemplar => "exemplar label",
        })
    }
}

/// A rule about names of metrics and labels. The doc of a variant states the rule. Its name may be
/// that of the mistake (`Twice`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// The grammar of metric names.
    Metric,
    /// The grammar of label names.
    Label,
    /// The grammar of names that are declared with `utf8`.
    Utf8,
    /// The name of a state set has to be a label name, too.
    StateSet,
    /// No label name begins with two underscores.
    Underscores,
    /// A histogram has the label `le` itself.
    Le,
    /// A summary has the label `quantile` itself.
    Quantile,
    /// A label is given once.
    Twice,
    /// A label is not a constant label of the registry as well.
    Constant,
    /// A constant label is not the label of a state set's states.
    States,
    /// No label may look like the metric's name after escaping.
    MetricName,
}

impl NameRule {
    /// Returns the error of a name that breaks the rule.
    #[cold]
    pub(crate) fn error(self, subject: Subject<'_>, name: &str) -> Error {
        let (category, family) = match subject {
            Subject::Exemplar => (ErrorKind::ExemplarName, String::new()),
            Subject::Label(family) | Subject::CollectedLabel(family) => {
                (ErrorKind::Name, format!(" of family `{family}`"))
            }
            _ => (ErrorKind::Name, String::new()),
        };
        let unless = match (subject, self) {
            (Subject::Metric, Self::Metric) => ", unless it is declared with `utf8`",
            (Subject::Label(_), Self::Label) => ", unless its family is declared with `utf8`",
            _ => "",
        };
        let (name, rule) = (name.escape_debug(), self.predicate());
        category.error(format_args!("{subject} `{name}`{family} {rule}{unless}"))
    }

    /// Returns the rule as the end of a sentence that begins with the name.
    const fn predicate(self) -> &'static str {
        match self {
            Self::Metric => "has to match [a-zA-Z_:][a-zA-Z0-9_:]*",
            Self::Label => "has to match [a-zA-Z_][a-zA-Z0-9_]*",
            Self::Utf8 => "must not be empty or contain `\"`, `\\` or a control character",
            Self::StateSet => {
                "is also the label of a state set: it has to match [a-zA-Z_][a-zA-Z0-9_]* and \
                 must not begin with `__`"
            }
            Self::Underscores => "is reserved, because it begins with `__`",
            Self::Le => "is reserved in histograms, for the bounds of their buckets",
            Self::Quantile => "is reserved in summaries, for their quantiles",
            Self::Twice => "is given twice",
            Self::Constant => "is also a constant label of the registry",
            Self::States => "is the label of its states, because a state set names it after itself",
            Self::MetricName => {
                "becomes `__name__` for a reader without UTF-8 names, and that is the metric's \
                 name; rename the label"
            }
        }
    }

    /// Returns the rule as a compile error for a metric name. It is `Utf8` or `Metric`, the only
    /// ones that `check_name_of` checks.
    pub(crate) const fn metric_text(self) -> &'static str {
        match self {
            Self::Utf8 => "this metric name is empty or contains `\"`, `\\` or a control character",
            _ => {
                "a metric name has to match [a-zA-Z_:][a-zA-Z0-9_:]*; `new_utf8` allows other \
                 characters"
            }
        }
    }

    /// Returns the rule, one that `check_labels` checks, as a compile error for a label name.
    pub(crate) const fn label_text(self) -> &'static str {
        match self {
            Self::Utf8 => "a label name is empty or contains `\"`, `\\` or a control character",
            Self::Underscores => "a label name begins with `__`: such names are reserved",
            Self::Le => {
                "the label name `le` is reserved in histograms, for the bounds of their buckets"
            }
            Self::Quantile => {
                "the label name `quantile` is reserved in summaries, for their quantiles"
            }
            Self::Twice => "a label name is given twice",
            _ => {
                "a label name has to match [a-zA-Z_][a-zA-Z0-9_]*; `new_utf8` allows other \
                 characters"
            }
        }
    }
}

/// A rule about a setting that gives a family its shape: its buckets, window or objectives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SettingRule {
    Empty,
    TooMany(usize),
    NotFinite(f64),
    /// A bound, the bound before it, and its index.
    Order(f64, f64, usize),
    Start(f64),
    Width(f64),
    Factor(f64),
    Count(usize),
    /// The number of counts that the bounds need, and the number that was given.
    Counts(usize, usize),
    Schema(i8),
    NativeLimit(u32),
    ZeroThreshold(f64),
    TooShort(Duration),
    Ages(u32),
    /// Ages without a window to divide.
    AgesAlone(u32),
    /// The quantile of one objective too many.
    TooManyTargets(f64),
    Quantile(f64),
    /// The quantile and the error of an objective.
    TargetError(f64, f64),
    Twice(f64),
    /// The number of tuples that the objectives would need.
    TooFine(f64),
}

impl SettingRule {
    /// Returns the error of a family whose buckets break the rule. For windows and objectives,
    /// callers write the sentence.
    pub(crate) fn error(self, family: &str) -> Error {
        Error::other(format_args!("buckets of family `{family}` {self}"))
    }

    /// Returns the rule without the value, as a whole sentence: the message of a const panic.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Empty => "buckets need at least one finite bound",
            Self::TooMany(_) => "buckets need 1 to 16383 bounds",
            Self::Count(_) => "buckets need a `count` from 1 to 16383",
            Self::NotFinite(_) => "buckets have to be finite (`+Inf` is added automatically)",
            Self::Order(_, _, 1) => {
                "bucket bounds have to ascend, and the second is not above the first"
            }
            Self::Order(_, _, 2) => {
                "bucket bounds have to ascend, and the third is not above the second"
            }
            Self::Order(_, _, 3) => {
                "bucket bounds have to ascend, and the fourth is not above the third"
            }
            Self::Order(_, _, 4) => {
                "bucket bounds have to ascend, and the fifth is not above the fourth"
            }
            Self::Order(_, _, 5) => {
                "bucket bounds have to ascend, and the sixth is not above the fifth"
            }
            Self::Order(..) => {
                "bucket bounds have to ascend, and one after the sixth is not above the one before"
            }
            Self::Start(_) => "buckets need a `start` above 0",
            Self::Width(_) => "buckets need a `width` above 0",
            Self::Factor(_) => "buckets need a `factor` above 1",
            Self::Counts(..) => {
                "buckets need a count for each bound and one for the values above all bounds"
            }
            Self::Schema(_) => "buckets need a schema from -4 to 8",
            Self::NativeLimit(_) => "buckets need a limit from 8 to 8192 native buckets",
            Self::ZeroThreshold(_) => "buckets need a zero threshold from 0 to 1e300",
            Self::TooShort(_) => "the window (`max_age`) has to be at least 0.1 seconds",
            Self::Ages(_) => "the window needs 2 to 60 ages",
            Self::AgesAlone(_) => "`ages` divides a window: set the window with `max_age` first",
            Self::TooManyTargets(_) => "a summary has at most 7 objectives",
            Self::Quantile(_) => "the quantile of an objective has to be from 0 to 1",
            Self::TargetError(..) => "the error of an objective has to be above 0 and below 1",
            Self::Twice(_) => "a quantile has two objectives",
            Self::TooFine(_) => {
                "the errors of the objectives are too small for a sketch of 2048 tuples"
            }
        }
    }
}

impl fmt::Display for SettingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Order(..) => "buckets have to ascend",
            _ => self.text(),
        };
        // The sentence of the caller has the word 'buckets' already.
        f.write_str(text.strip_prefix("buckets ").unwrap_or(text))?;
        match *self {
            Self::Empty => Ok(()),
            Self::Order(bound, before, _) => write!(f, ", got {bound:?} after {before:?}"),
            Self::TooMany(n) | Self::Count(n) => write!(f, ", got {n}"),
            Self::Counts(needed, got) => write!(f, ", {needed} in all, got {got}"),
            Self::Schema(schema) => write!(f, ", got {schema}"),
            Self::NativeLimit(limit) => write!(f, ", got {limit}"),
            Self::TooShort(max_age) => write!(f, ", got {max_age:?}"),
            Self::Ages(ages) | Self::AgesAlone(ages) => write!(f, ", got {ages} ages"),
            Self::TooManyTargets(phi) => write!(f, ", and the quantile {phi:?} is one more"),
            Self::TargetError(phi, eps) => write!(f, ", got {eps:?} for the quantile {phi:?}"),
            Self::Twice(phi) => write!(f, ": {phi:?}"),
            Self::TooFine(tuples) => write!(f, ", which would need {tuples:.0}"),
            Self::NotFinite(value)
            | Self::Start(value)
            | Self::Width(value)
            | Self::Factor(value)
            | Self::ZeroThreshold(value)
            | Self::Quantile(value) => write!(f, ", got {value:?}"),
        }
    }
}

/// A rule about the value of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueRule {
    /// NaN is not a number to observe.
    NotANumber,
    /// Infinities of both signs would make the sum NaN.
    BothInfinities,
}

impl ValueRule {
    /// Returns the error of an observation of this value.
    #[cold]
    pub(crate) fn error(self, family: &str, value: f64) -> Error {
        let why = match self {
            Self::NotANumber => "",
            Self::BothInfinities => {
                ", because it has observed an infinity of the other sign: the sum would be NaN"
            }
        };
        ErrorKind::Update.error(format_args!(
            "family `{family}` cannot observe {value}{why}"
        ))
    }
}
