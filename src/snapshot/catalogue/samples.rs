//! Which family exports a sample.

// Functions are `#[inline]`, so that a program that does not call them does not compile them.

use super::super::Kind;
use super::{Catalogue, Declared};

impl Catalogue {
    /// Returns the family that exports samples of this name, in any format: `wait_seconds` for
    /// `wait_seconds_bucket`.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.histogram("wait_seconds", "Time in the queue.")?;
    /// let catalogue = registry.catalogue();
    /// assert_eq!(catalogue.with_sample("wait_seconds_bucket").unwrap().name, "wait_seconds");
    /// assert!(catalogue.with_sample("wait").is_none());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn with_sample(&self, name: &str) -> Option<&Declared> {
        let exports = |family: &&Declared| family.samples().iter().any(|sample| sample == name);
        self.families.iter().find(exports)
    }

    /// Returns the name of a sample that is similar to this one, for a hint.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?;
    /// assert_eq!(registry.catalogue().similar("job_total").unwrap(), "jobs_total");
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn similar(&self, name: &str) -> Option<String> {
        let all = self.families.iter().flat_map(Declared::samples);
        // Only one format has `_created`.
        let penalty = |other: &str| usize::from(other.ends_with("_created"));
        let far = |other: &str| dissimilarity(name, other) + penalty(other);
        // Of the samples of a histogram, nobody means the buckets without saying so.
        let is_bucket = |other: &str| other.ends_with("_bucket");
        let nearest = all.map(|other| (far(&other), is_bucket(&other), other));
        let (far, _, other) = nearest.min()?;
        (far <= 1 + name.len() / 4).then_some(other)
    }

    /// Returns the family that exports this sample, or why none does. The label `le` or `quantile`
    /// of a sample is given beside those of the family.
    #[inline]
    pub(crate) fn exporter_of(
        &self,
        name: &str,
        given: &[(&str, &str)],
    ) -> Result<&Declared, String> {
        let Some(family) = self.with_sample(name) else {
            let similar = self.similar(name);
            let hint = similar.map(|other| format!("; `{other}` is similar"));
            return Err(format!("no family exports it{}", hint.unwrap_or_default()));
        };
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
        let why_never = |(label, value): &(&str, &str)| family.why_never(label, value);
        given.iter().find_map(why_never).map_or(Ok(family), Err)
    }
}

impl Declared {
    /// Returns why no series has this value of a label, if the label is known to have others only.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let disks = tallies::Info::builder("disk_info", "Disks.").register(&registry)?;
    /// let catalogue = registry.catalogue();
    /// assert_eq!(catalogue.get("disk_info").unwrap().why_never("kind", "ssd"), None);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn why_never(&self, label: &str, value: &str) -> Option<String> {
        let known = self.labels.iter().find(|known| known.name == label)?;
        let is_never = !known.values.is_empty() && !known.values.iter().any(|known| known == value);
        let values = known.values.join(", ");
        is_never.then(|| format!("its label `{label}` is never `{value}`, but {values}"))
    }

    /// Iterates over the names of the samples, in any format.
    #[inline]
    fn samples(&self) -> Vec<String> {
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
        suffixes.iter().map(name).chain(whole).collect()
    }
}

/// Returns how different two names are. A name that got another ending, or lost it, is similar.
#[inline]
fn dissimilarity(a: &str, b: &str) -> usize {
    let begins = |a: &str, b: &str| a.len() >= 4 && b.starts_with(a);
    if begins(a, b) || begins(b, a) {
        return 1;
    }
    distance(a, b)
}

/// Returns the number of characters to insert, remove or replace to make one text the other.
#[inline]
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
