//! The rules that an error can be about, with the offending values. Where a `const fn` checks a
//! rule, `text` says it without the value, because a const panic cannot print a number.

use std::fmt;
use std::time::Duration;

use crate::snapshot::Kind;

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
    /// Returns the rule as the end of a sentence that begins with the name.
    pub(super) const fn predicate(self) -> &'static str {
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

/// A property in which two declarations of one name differ, with its value in the first and in the
/// second declaration.
#[derive(Debug)]
pub(crate) enum Difference {
    Kind(Kind, Kind),
    /// Two Rust types of the same metric kind, such as counters of `u64` and of `f64`.
    Type,
    /// Two closed label sets with other values.
    LabelValues,
    Utf8,
    /// Views give both the same name. They were declared under these.
    Renamed(Box<str>, Box<str>),
    Help(Box<str>, Box<str>),
    Unit(Box<str>, Box<str>),
    Labels(Names, Names),
    ConstantLabels(Pairs, Pairs),
    Buckets(Bounds, Bounds),
    NativeBuckets(Native, Native),
    /// Only one has native buckets; the first one, if true.
    OnlyOneNative(bool),
    Objectives(Box<[(f64, f64)]>, Box<[(f64, f64)]>),
    Window(Option<Duration>, Option<Duration>),
    Ages(Option<u32>, Option<u32>),
}

/// Label names, or `None` if each series has its own.
pub(crate) type Names = Option<Box<[Box<str>]>>;
/// Label names and values.
pub(crate) type Pairs = Box<[(Box<str>, Box<str>)]>;
/// The bounds of buckets, or `None` for the default bounds.
pub(crate) type Bounds = Option<Box<[f64]>>;
/// Schema, limit of buckets and zero threshold, or `None` without native buckets.
pub(crate) type Native = Option<(i8, u32, f64)>;

impl Difference {
    /// Returns the property in which the declarations differ.
    pub(super) const fn property(&self) -> &'static str {
        match self {
            Self::Kind(..) => "another kind",
            Self::Type => "another Rust type",
            Self::LabelValues => "other values of an enum label",
            Self::Utf8 => "another character set: only one of the two allows UTF-8 names",
            Self::Renamed(..) => "another name before the views",
            Self::Help(..) => "another help text",
            Self::Unit(..) => "another unit",
            Self::Labels(..) => "other labels",
            Self::ConstantLabels(..) => "other constant labels",
            Self::Buckets(..) => "other buckets",
            Self::NativeBuckets(..) => "other native buckets",
            Self::OnlyOneNative(true) => "no native buckets",
            Self::OnlyOneNative(false) => "native buckets, and this one has none,",
            Self::Objectives(..) => "other objectives",
            Self::Window(..) => "another window",
            Self::Ages(..) => "another number of ages",
        }
    }

    /// Writes the two values, each followed by one of the words.
    pub(super) fn write_values(
        &self,
        f: &mut fmt::Formatter<'_>,
        first_word: &str,
        second_word: &str,
    ) -> fmt::Result {
        let (first, second) = match self {
            Self::Type | Self::LabelValues | Self::Utf8 | Self::OnlyOneNative(_) => return Ok(()),
            Self::Kind(a, b) => (a.to_string(), b.to_string()),
            Self::Renamed(a, b) | Self::Help(a, b) | Self::Unit(a, b) => (quoted(a), quoted(b)),
            Self::Labels(a, b) => (names(a), names(b)),
            Self::ConstantLabels(a, b) => (pairs(a), pairs(b)),
            Self::Buckets(a, b) => (bounds(a), bounds(b)),
            Self::NativeBuckets(a, b) => (native(*a), native(*b)),
            Self::Objectives(a, b) => (format!("{a:?}"), format!("{b:?}")),
            Self::Window(a, b) => (or_none(*a), or_none(*b)),
            Self::Ages(a, b) => (or_none(*a), or_none(*b)),
        };
        write!(f, ": {first} {first_word}, {second} {second_word}")
    }
}

fn quoted(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}

fn or_none(value: Option<impl fmt::Debug>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("{value:?}"))
}

fn bounds(bounds: &Bounds) -> String {
    match bounds.as_deref() {
        None => "the default ones".to_owned(),
        Some([]) => "none".to_owned(),
        Some(bounds) => format!("{bounds:?}"),
    }
}

fn names(names: &Names) -> String {
    match names.as_deref() {
        None => "any".to_owned(),
        Some([]) => "none".to_owned(),
        Some(names) => join(names.iter().map(|name| quoted(name))),
    }
}

fn pairs(pairs: &Pairs) -> String {
    match &**pairs {
        [] => "none".to_owned(),
        pairs => join(
            pairs
                .iter()
                .map(|(name, value)| format!("`{name}=\"{}\"`", value.escape_debug())),
        ),
    }
}

fn native(native: Native) -> String {
    native.map_or_else(
        || "none".to_owned(),
        |(schema, limit, zero)| {
            format!("schema {schema} with a limit of {limit} and a zero threshold of {zero:?}")
        },
    )
}

pub(super) fn join(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}
