//! Dashboards and rules, checked against the catalogue.

use std::collections::BTreeSet;
use std::fmt;

use super::super::Kind;
use super::promql::{Selector, selectors};
use super::{Catalogue, Declared, grafana, rules};
use crate::error::Error;

/// Series that Prometheus makes itself.
const OWN: &[&str] = &["up", "ALERTS", "ALERTS_FOR_STATE", "scrape_*", "tallies_*"];

/// A query of a dashboard or a rule.
pub(super) struct Query {
    /// The panel or rule: `panel `Requests``.
    pub(super) place: String,
    pub(super) text: String,
    /// The name of the series that a recording rule makes.
    pub(super) record: Option<String>,
}

/// A panel or a rule that asks for what no family exports. `Display` writes a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// The panel, variable, alert or record, such as ``panel `Requests` ``.
    pub place: String,
    /// The query.
    pub query: String,
    /// The name in the query.
    pub name: String,
    /// What is wrong with it, and what may be meant.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asks for `{}`: {}", self.place, self.name, self.why)
    }
}

impl Catalogue {
    /// Says that other programs export the names that match a pattern, such as `node_*`, so that
    /// checks of queries do not report them.
    #[must_use]
    pub fn also(mut self, pattern: &str) -> Self {
        self.others.push(pattern.to_owned());
        self
    }

    /// Checks the queries of a dashboard (JSON, as Grafana exports it) or of alerting and recording
    /// rules (YAML or JSON).
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?;
    /// let rules = "groups:\n- rules:\n  - alert: NoJobs\n    expr: rate(job_total[5m]) == 0\n";
    /// let error = registry.catalogue().check_queries(rules).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "alert `NoJobs` asks for `job_total`: no family exports it; `jobs_total` is similar"
    /// );
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// It reports names that no family exports, labels that a view drops, and values that a label of
    /// enums does not have. Names with dashboard variables in them are not checked. Known are also
    /// the names of recording rules in the same text, those of [`also`](Self::also), and those that
    /// Prometheus and tallies make themselves. It reads neither all of YAML nor all of PromQL, but
    /// what rules and dashboards are written in.
    ///
    /// # Errors
    ///
    /// - Queries that ask for what is missing: one line for each panel or rule, and name.
    /// - A text without queries, and a text that is not JSON although it begins with a brace.
    pub fn check_queries(&self, text: &str) -> Result<(), Error> {
        let missing = self.missing(text)?;
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::queries(missing.iter().map(Missing::to_string)))
    }

    /// Returns what [`check_queries`](Self::check_queries) reports, as data.
    ///
    /// # Errors
    ///
    /// A text without queries, and a text that is not JSON although it begins with a brace.
    pub fn missing(&self, text: &str) -> Result<Vec<Missing>, Error> {
        let queries = if text.trim_start().starts_with(['{', '[']) {
            grafana::queries(text)?
        } else {
            rules::queries(text)
        };
        if queries.is_empty() {
            let why = "the text has no queries; a dashboard or rules have fields `expr`";
            return Err(Error::queries([why.to_owned()].into_iter()));
        }
        let records: Vec<_> = queries
            .iter()
            .filter_map(|query| query.record.as_deref())
            .collect();
        let mut all: Vec<Missing> = Vec::new();
        for query in &queries {
            for selector in selectors(&query.text) {
                if records.contains(&&*selector.name) {
                    continue;
                }
                for why in self.why_missing(&selector) {
                    let missing = Missing {
                        place: query.place.clone(),
                        query: query.text.clone(),
                        name: selector.name.clone(),
                        why,
                    };
                    if !all.contains(&missing) {
                        all.push(missing);
                    }
                }
            }
        }
        Ok(all)
    }

    fn why_missing(&self, selector: &Selector) -> Vec<String> {
        let name = &*selector.name;
        let Some(family) = self.families.iter().find(|family| family.exports(name)) else {
            let others = self
                .others
                .iter()
                .map(|other| &**other)
                .chain(OWN.iter().copied());
            let mut others = others.filter(|other| matches(other, name));
            return match others.next() {
                Some(_) => Vec::new(),
                None => vec![format!("no family exports it{}", self.hint(name))],
            };
        };
        if family.off {
            return vec!["a view switches the family off".to_owned()];
        }
        let mut why = Vec::new();
        for (label, operator, value) in &selector.matchers {
            if family.dropped.contains(label) {
                why.push(format!("a view drops its label `{label}`"));
            }
            let is_plain = operator == "=" && !value.is_empty() && !value.contains(['$', '[']);
            why.extend(family.why_never(label, value).filter(|_| is_plain));
        }
        why
    }

    /// Returns the family that exports this sample, or why none does. The label `le` or `quantile`
    /// of a sample is given beside those of the family.
    pub(crate) fn exporter_of(
        &self,
        name: &str,
        given: &[(&str, &str)],
    ) -> Result<&Declared, String> {
        let family = self.families.iter().find(|family| family.exports(name));
        let family = family.ok_or_else(|| format!("no family exports it{}", self.hint(name)))?;
        if family.off {
            return Err("a view switches the family off".to_owned());
        }
        let own = ["le", "quantile"];
        let constant = family.constant.iter().map(|(label, _)| &**label);
        let names = || family.labels.iter().map(|label| &*label.name);
        let known: Vec<&str> = names().chain(constant).chain(own).collect();
        let unknown = given.iter().find(|(label, _)| !known.contains(label));
        if let (Some((label, _)), false) = (unknown, family.any_labels) {
            let names: Vec<_> = names().map(|name| format!("`{name}`")).collect();
            return Err(match &*names {
                [] => format!("it has no label `{label}`, nor any other"),
                names => format!("it has no label `{label}`, but {}", names.join(", ")),
            });
        }
        if let Some(label) = names().find(|name| !given.iter().any(|(label, _)| label == name)) {
            return Err(format!("its label `{label}` is missing"));
        }
        let mut never = given
            .iter()
            .filter_map(|(label, value)| family.why_never(label, value));
        never.next().map_or(Ok(family), Err)
    }

    /// Returns the most similar name as a hint, if one is similar.
    fn hint(&self, name: &str) -> String {
        let all: BTreeSet<String> = self.families.iter().flat_map(Declared::samples).collect();
        // Only one format has `_created`.
        let penalty = |other: &str| usize::from(other.ends_with("_created"));
        let far = |other: &str| dissimilarity(name, other) + penalty(other);
        let nearest = all.into_iter().map(|other| (far(&other), other)).min();
        match nearest {
            Some((far, other)) if far <= 1 + name.len() / 4 => format!("; `{other}` is similar"),
            _ => String::new(),
        }
    }
}

impl Declared {
    fn exports(&self, name: &str) -> bool {
        self.samples().any(|sample| sample == name)
    }

    /// Returns why no series has this value of a label, if it is known to have others only.
    fn why_never(&self, label: &str, value: &str) -> Option<String> {
        let known = self.labels.iter().find(|known| known.name == label)?;
        let is_never = !known.values.is_empty() && !known.values.iter().any(|known| known == value);
        let values = known.values.join(", ");
        is_never.then(|| format!("its label `{label}` is never `{value}`, but {values}"))
    }

    /// Iterates over the names of the samples, in any format.
    fn samples(&self) -> impl Iterator<Item = String> {
        let stem = self.kind.stem(&self.name);
        let name = |suffix: &&'static str| format!("{stem}{suffix}");
        let suffixes: &'static [&'static str] = match self.kind {
            Kind::Counter => &["_total", "_created"],
            Kind::Info => &["_info"],
            Kind::Histogram if self.schema.is_none() => &["_bucket", "_count", "_sum", "_created"],
            Kind::GaugeHistogram => &["_bucket", "_gcount", "_gsum", "_count", "_sum"],
            kind => kind.suffixes(),
        };
        let whole = matches!(self.kind, Kind::Counter | Kind::Info).then(|| self.name.clone());
        suffixes
            .iter()
            .map(name)
            .chain(whole)
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// Returns whether a name matches a pattern that may end in `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// Returns how different two names are. A name that got another ending, or lost it, is similar.
fn dissimilarity(a: &str, b: &str) -> usize {
    let begins = |a: &str, b: &str| a.len() >= 4 && b.starts_with(a);
    if begins(a, b) || begins(b, a) {
        return 1;
    }
    distance(a, b)
}

/// Returns the number of characters to insert, remove or replace to make one text the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, n) in [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3)] {
            assert_eq!((distance(a, b), distance(b, a)), (n, n));
        }
    }
}
