//! Lint: what Prometheus users would not expect of the families of a page or a registry.
//!
//! ```
//! let page = "# HELP jobs Jobs done.\n# TYPE jobs counter\njobs 3\n";
//! let read = tallies_check::read(page)?;
//! let problems = tallies_check::lint(&read);
//! assert_eq!(problems[0].to_string(), "jobs: it is a counter, so its name should be `jobs_total`");
//! # Ok::<(), tallies::Error>(())
//! ```
//!
//! The rules about names are the ones that declarations are checked by. Most of them are those of
//! `promtool check metrics`; [`Rule::is_promlint`] says which.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use tallies::snapshot::Family;
use tallies::snapshot::Snapshot;
use tallies_names::{Described, Note, of_family, of_label};

/// A rule about families.
///
/// ```
/// use tallies_check::lint::Rule;
///
/// assert_eq!(Rule::BaseUnit.name(), "base-unit");
/// assert!(Rule::BaseUnit.is_promlint() && !Rule::Overflow.is_promlint());
/// assert!(Rule::ALL.contains(&Rule::Overflow));
/// ```
///
/// Source: the page "Metric and label naming" of the Prometheus documentation, and promlint of
/// `client_golang`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A family has a help text.
    Help,
    /// The name of a family with a unit ends in that unit. Text has no units, and the reader
    /// rejects OpenMetrics that breaks this rule, so only the snapshot of a registry can break it.
    Unit,
    /// The name of a counter ends in `_total`.
    CounterSuffix,
    /// Only the names of counters end in `_total`.
    TotalSuffix,
    /// Only the names of gauges end in `_timestamp_seconds`.
    TimestampSuffix,
    /// Only the names of histograms end in `_bucket`, and only those of histograms and summaries in
    /// `_count` and `_sum`.
    SampleSuffix,
    /// A name has base units, such as seconds and bytes.
    BaseUnit,
    /// A name has no abbreviated units, such as `ms`.
    UnitAbbreviation,
    /// A name does not have the kind of the family as a word.
    KindInName,
    /// A name has no colon.
    Colon,
    /// Names of metrics and labels are in snake case.
    SnakeCase,
    /// Only histograms have the label `le`, and only summaries the label `quantile`.
    ReservedLabel,
    /// No label begins with two underscores.
    LabelUnderscores,
    /// A name does not end in `_by_` and the name of a label.
    LabelInName,
    /// A family has at most 10 000 series.
    TooManySeries,
    /// No series were counted in the overflow series.
    Overflow,
    /// No two families have samples of the same name, in any format.
    SharedSamples,
}

impl Rule {
    /// All rules, in the order of the page that explains them.
    pub const ALL: &'static [Self] = &[
        Self::Help,
        Self::Unit,
        Self::CounterSuffix,
        Self::TotalSuffix,
        Self::TimestampSuffix,
        Self::SampleSuffix,
        Self::BaseUnit,
        Self::UnitAbbreviation,
        Self::KindInName,
        Self::Colon,
        Self::SnakeCase,
        Self::ReservedLabel,
        Self::LabelUnderscores,
        Self::LabelInName,
        Self::TooManySeries,
        Self::Overflow,
        Self::SharedSamples,
    ];

    /// Returns the name of the rule, for output that programs read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Help => "help",
            Self::Unit => "unit",
            Self::CounterSuffix => "counter-suffix",
            Self::TotalSuffix => "total-suffix",
            Self::TimestampSuffix => "timestamp-suffix",
            Self::SampleSuffix => "sample-suffix",
            Self::BaseUnit => "base-unit",
            Self::UnitAbbreviation => "unit-abbreviation",
            Self::KindInName => "kind-in-name",
            Self::Colon => "colon",
            Self::SnakeCase => "snake-case",
            Self::ReservedLabel => "reserved-label",
            Self::LabelUnderscores => "label-underscores",
            Self::LabelInName => "label-in-name",
            Self::TooManySeries => "too-many-series",
            Self::Overflow => "overflow",
            Self::SharedSamples => "shared-samples",
        }
    }

    /// Returns whether the rule is one of promlint, which `promtool check metrics` runs.
    #[must_use]
    pub fn is_promlint(self) -> bool {
        !matches!(
            self,
            Self::Unit
                | Self::LabelUnderscores
                | Self::LabelInName
                | Self::TooManySeries
                | Self::Overflow
                | Self::SharedSamples
        )
    }

    fn of(note: &Note) -> Self {
        match note {
            Note::NoHelp => Self::Help,
            Note::Unit(..) => Self::Unit,
            Note::NoTotal(_) => Self::CounterSuffix,
            Note::Total => Self::TotalSuffix,
            Note::Timestamp => Self::TimestampSuffix,
            Note::Suffix(_) => Self::SampleSuffix,
            Note::BaseUnit(..) => Self::BaseUnit,
            Note::Abbreviation(_) => Self::UnitAbbreviation,
            Note::Kind(_) => Self::KindInName,
            Note::Colon => Self::Colon,
            Note::CamelCase | Note::LabelCamelCase(_) => Self::SnakeCase,
            Note::LabelReserved(..) => Self::ReservedLabel,
            Note::LabelUnderscores(_) => Self::LabelUnderscores,
            Note::LabelInName(_) => Self::LabelInName,
        }
    }
}

/// A family that breaks a rule.
///
/// ```
/// use tallies_check::lint::Rule;
///
/// let registry = tallies::Registry::new();
/// registry.set_lint(false);
/// registry.gauge("delay_ms", "Time until the next run.")?;
/// let problems = tallies_check::lint(&registry.snapshot());
/// assert_eq!((problems[0].family(), problems[0].rule()), ("delay_ms", Rule::UnitAbbreviation));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// `Display` writes the family, a colon, and the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    family: String,
    rule: Rule,
    text: String,
}

impl Problem {
    fn new(family: &Family, rule: Rule, text: String) -> Self {
        let family = family.name().to_owned();
        Self { family, rule, text }
    }

    /// Returns the name of the family.
    #[must_use]
    pub fn family(&self) -> &str {
        &self.family
    }

    /// Returns the rule.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Returns what is wrong, and what would be right, as the end of a sentence about the family.
    /// Names in it are escaped, so that a terminal does not obey them.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.family.escape_debug(), self.text)
    }
}

/// The most series that a family has without a note: the default limit of declared families.
const MOST_SERIES: usize = 10_000;

/// Returns what Prometheus users would not expect of these families, by the rules of
/// [`lint`](mod@crate::lint).
///
/// ```
/// let registry = tallies::Registry::new();
/// registry.counter("sent_bytes_total", "Bytes sent.")?;
/// assert_eq!(tallies_check::lint(&registry.snapshot()), []);
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The problems are sorted by family. Each is listed once, however many series have it. Info
/// metrics and state sets count as gauges, and gauge histograms as histograms.
///
/// Takes time proportional to the number of series.
#[must_use]
pub fn lint(snapshot: &Snapshot) -> Vec<Problem> {
    let clashes: HashMap<_, _> = snapshot
        .clashes()
        .into_iter()
        .map(|(family, other)| (family.name(), other))
        .collect();
    let mut problems = Vec::new();
    for family in snapshot.families() {
        lint_names(family, &mut problems);
        lint_series(family, &mut problems);
        if let Some(other) = clashes.get(family.name()) {
            let text = format!(
                "it has a sample name in common with `{}`, in some format",
                other.name().escape_debug()
            );
            problems.push(Problem::new(family, Rule::SharedSamples, text));
        }
    }
    problems
}

fn lint_names(family: &Family, problems: &mut Vec<Problem>) {
    let described = Described {
        name: family.name(),
        kind: family.kind().as_text(),
        unit: family.unit(),
        help: family.help(),
    };
    let labels: BTreeSet<_> = family
        .series()
        .flat_map(|(labels, _)| labels.iter().map(|(name, _)| name).collect::<Vec<_>>())
        .collect();
    let of_labels = labels.iter().flat_map(|label| of_label(described, label));
    for note in of_family(described).into_iter().chain(of_labels) {
        problems.push(Problem::new(family, Rule::of(&note), note.to_string()));
    }
}

fn lint_series(family: &Family, problems: &mut Vec<Problem>) {
    if family.len() > MOST_SERIES {
        let text = format!(
            "it has {} series: a label has too many values, such as ids or paths",
            family.len()
        );
        problems.push(Problem::new(family, Rule::TooManySeries, text));
    }
    let is_overflow = |(_, value): (_, Cow<'_, str>)| value == "__overflow__";
    if family
        .series()
        .any(|(labels, _)| labels.iter().any(is_overflow))
    {
        let text = "it has an overflow series, in which everything beyond the limit of its series \
                    was counted; raise the limit, or use labels with fewer values";
        problems.push(Problem::new(family, Rule::Overflow, text.to_owned()));
    }
}
