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

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use tallies::snapshot::{Family, Kind, Snapshot};
pub use tallies_names::Rule;
use tallies_names::{Described, of_family, of_label};

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
    let clashes = snapshot.clashes().into_iter();
    let clashes = clashes.map(|(family, other)| (family.name(), other));
    let clashes: HashMap<_, _> = clashes.collect();
    let mut problems = Vec::new();
    for family in snapshot.families() {
        lint_names(family, &mut problems);
        lint_series(family, &mut problems);
        if let Some(other) = clashes.get(family.name()) {
            let other = other.name().escape_debug();
            let text = format!("it has a sample name in common with `{other}`, in some format");
            problems.push(Problem::new(family, Rule::SharedSamples, text));
        }
    }
    problems
}

fn lint_names(family: &Family, problems: &mut Vec<Problem>) {
    let described = Described {
        name: family.name(),
        kind: match family.kind() {
            Kind::Info => "info",
            kind => kind.as_text(),
        },
        unit: family.unit(),
        help: family.help(),
    };
    let mut labels = BTreeSet::new();
    for (of_series, _) in family.series() {
        labels.extend(of_series.iter().map(|(name, _)| name));
    }
    let of_labels = labels.iter().flat_map(|label| of_label(described, label));
    for note in of_family(described).into_iter().chain(of_labels) {
        problems.push(Problem::new(family, note.rule, note.text));
    }
}

fn lint_series(family: &Family, problems: &mut Vec<Problem>) {
    let count = family.len();
    if count > MOST_SERIES {
        let why = "a label has too many values, such as ids or paths";
        let text = format!("it has {count} series: {why}");
        problems.push(Problem::new(family, Rule::TooManySeries, text));
    }
    if family.series().any(|(labels, _)| labels.is_overflow()) {
        let text = "it has an overflow series, in which everything beyond the limit of its series \
                    was counted; raise the limit, or use labels with fewer values";
        problems.push(Problem::new(family, Rule::Overflow, text.to_owned()));
    }
}
