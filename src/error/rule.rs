//! The rules that an error can be about, with the offending values. Where a `const fn` checks a
//! rule, `text` says it without the value, because a const panic cannot print a number.

use std::fmt;
use std::time::Duration;

use super::{Error, Kind};

/// The owner of a name.
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

/// A rule about names of metrics and labels.
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
        let kind = match subject {
            Subject::Exemplar => Kind::ExemplarName,
            _ => Kind::Name,
        };
        let (name, rule) = (name.escape_debug(), self.predicate());
        let (Subject::Label(family) | Subject::CollectedLabel(family)) = subject else {
            let unless = match (subject, self) {
                (Subject::Metric, Self::Metric) => ", unless it is declared with `utf8`",
                _ => "",
            };
            return kind.error(format_args!("{subject} `{name}` {rule}{unless}"));
        };
        let unless = match (subject, self) {
            (Subject::Label(_), Self::Label) => ", unless its family is declared with `utf8`",
            _ => "",
        };
        kind.error(format_args!(
            "{subject} `{name}` of family `{family}` {rule}{unless}"
        ))
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

    /// Returns the rule as a compile error for a metric name.
    pub(crate) const fn metric_text(self) -> &'static str {
        match self {
            Self::Utf8 => "this metric name is empty or contains `\"`, `\\` or a control character",
            _ => {
                "a metric name has to match [a-zA-Z_:][a-zA-Z0-9_:]*; `new_utf8` allows other \
                 characters"
            }
        }
    }

    /// Returns the rule as a compile error for a label name.
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

/// A rule about the buckets of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BucketRule {
    Empty,
    TooMany(usize),
    NotFinite(f64),
    /// A bound, and the bound before it.
    Order(f64, f64),
    Start(f64),
    Width(f64),
    Factor(f64),
    Count(usize),
    /// The number of counts that the bounds need, and the number that was given.
    Counts(usize, usize),
    Schema(i8),
    NativeLimit(u32),
    ZeroThreshold(f64),
}

impl BucketRule {
    /// Returns the error of a family that breaks the rule.
    pub(crate) fn error(self, family: &str) -> Error {
        Error::other(format_args!("buckets of family `{family}` {self}"))
    }

    /// Returns the rule as the end of a sentence that begins with the buckets.
    const fn predicate(self) -> &'static str {
        match self {
            Self::Empty => "need at least one finite bound",
            Self::TooMany(_) => "need 1 to 16383 bounds",
            Self::Count(_) => "need a `count` from 1 to 16383",
            Self::NotFinite(_) => "have to be finite (`+Inf` is added automatically)",
            Self::Order(..) => "have to ascend",
            Self::Start(_) => "need a `start` above 0",
            Self::Width(_) => "need a `width` above 0",
            Self::Factor(_) => "need a `factor` above 1",
            Self::Counts(..) => {
                "need a count for each bound and one for the values above all bounds"
            }
            Self::Schema(_) => "need a schema from -4 to 8",
            Self::NativeLimit(_) => "need a limit from 8 to 8192 native buckets",
            Self::ZeroThreshold(_) => "need a zero threshold from 0 to 1e300",
        }
    }

    /// Returns the rule as a compile error.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Empty => "buckets need at least one finite bound",
            Self::TooMany(_) | Self::Count(_) => "buckets need 1 to 16383 bounds",
            Self::NotFinite(_) => {
                "bucket bounds have to be finite; `+Inf` is added automatically, so only the last \
                 bound may be it"
            }
            Self::Order(..) => {
                "bucket bounds have to ascend: one of them is not above the one before it"
            }
            Self::Start(_) => "the start of the bucket bounds has to be above 0",
            Self::Width(_) => "the width of the buckets has to be above 0",
            Self::Factor(_) => "the factor between bucket bounds has to be above 1",
            Self::Counts(..) => self.predicate(),
            Self::Schema(_) => "the schema of a native histogram has to be from -4 to 8",
            Self::NativeLimit(_) => {
                "the limit of a native histogram has to be from 8 to 8192 buckets"
            }
            Self::ZeroThreshold(_) => {
                "the zero threshold of a native histogram has to be from 0 to 1e300"
            }
        }
    }
}

impl fmt::Display for BucketRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.predicate())?;
        match *self {
            Self::Empty => Ok(()),
            Self::Order(bound, before) => write!(f, ", got {bound:?} after {before:?}"),
            Self::TooMany(n) | Self::Count(n) => write!(f, ", got {n}"),
            Self::Counts(needed, got) => write!(f, ", {needed} in all, got {got}"),
            Self::Schema(schema) => write!(f, ", got {schema}"),
            Self::NativeLimit(limit) => write!(f, ", got {limit}"),
            Self::NotFinite(value)
            | Self::Start(value)
            | Self::Width(value)
            | Self::Factor(value)
            | Self::ZeroThreshold(value) => write!(f, ", got {value:?}"),
        }
    }
}

/// A rule about the window of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowRule {
    TooShort(Duration),
    Ages(u32),
    AgesAlone(u32),
}

impl WindowRule {
    /// Returns the rule as a compile error.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::TooShort(_) => "the window (`max_age`) has to be at least 0.1 seconds",
            Self::Ages(_) => "the window needs 2 to 60 ages",
            Self::AgesAlone(_) => "`ages` divides a window: set the window with `max_age` first",
        }
    }
}

impl fmt::Display for WindowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        match self {
            Self::TooShort(max_age) => write!(f, "{text}, got {max_age:?}"),
            Self::Ages(ages) | Self::AgesAlone(ages) => write!(f, "{text}, got {ages} ages"),
        }
    }
}

/// A rule about the value of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpdateRule {
    /// NaN is not a number to observe.
    NotANumber,
    /// Infinities of both signs would make the sum NaN.
    BothInfinities,
    /// A counter only grows, by finite amounts.
    Increase,
    /// The total of a counter is 0 or more.
    Total,
    /// The sum of a gauge histogram is a number.
    Sum,
}

impl UpdateRule {
    /// Returns the error of an update with this value.
    #[cold]
    pub(crate) fn error(self, family: &str, value: f64) -> Error {
        let message = match self {
            Self::NotANumber => format!("family `{family}` cannot observe {value}"),
            Self::BothInfinities => format!(
                "family `{family}` cannot observe {value}, because it has observed an infinity of \
                 the other sign: the sum would be NaN"
            ),
            Self::Increase => format!(
                "counter `{family}` can only grow, by a finite amount of 0 or more, got {value}"
            ),
            Self::Total => {
                format!("counter `{family}` needs a total of 0 or more, got {value}")
            }
            Self::Sum => {
                format!("gauge histogram `{family}` needs a sum that is a number, got {value}")
            }
        };
        Kind::Update.error(format_args!("{message}"))
    }
}
