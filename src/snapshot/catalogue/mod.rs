//! The catalogue: every family that a program declares.
//!
//! ```
//! use tallies::Counter;
//!
//! /// Files accepted.
//! #[tallies::metric]
//! static UPLOADS: Counter = Counter::new("file_uploads_total");
//!
//! let catalogue = tallies::catalogue();
//! assert_eq!(catalogue.get("file_uploads_total").unwrap().help, "Files accepted.");
//! # let _ = &UPLOADS;
//! ```

mod samples;

// Functions are `#[inline]`, so that a program that does not call them does not compile them.

use std::panic::Location;
use std::time::Duration;

use super::{Family, Kind, Meta, Values, labels};

/// Every family of a registry, with or without series. [`tallies::catalogue()`](crate::catalogue())
/// and [`Registry::catalogue`](crate::Registry::catalogue) make it.
///
/// Statics with `#[tallies::metric]` are all there, because the linker lists them. Families that
/// are registered at run time are there after they are registered, and those of collectors as far
/// as their collectors write them now. Self-metrics are not.
///
/// The crate `tallies-check` writes it as a document, and checks documents, dashboards and rules
/// against it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    /// In the order of their names.
    families: Vec<Declared>,
}

/// A family of a [`Catalogue`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Declared {
    /// The name, with the prefix of the registry, after views.
    pub name: String,
    /// The kind of metric.
    pub kind: Kind,
    /// The help text.
    pub help: String,
    /// The unit, or an empty text.
    pub unit: String,
    /// The labels of the series. In a family of a collector: those of the series that it writes
    /// now.
    pub labels: Vec<Label>,
    /// Whether each series has labels of its own.
    pub any_labels: bool,
    /// The labels that all series share, with their values.
    pub constant: Vec<(String, String)>,
    /// The labels of the declaration that a view drops.
    pub dropped: Vec<String>,
    /// The upper bounds of a histogram's fixed buckets, without `+Inf`.
    pub bounds: Vec<f64>,
    /// The schema of a histogram's exponential buckets, if it has them.
    pub schema: Option<i8>,
    /// The objectives of a summary: quantiles and rank errors.
    pub objectives: Vec<(f64, f64)>,
    /// The window of a summary's quantiles, if it has one.
    pub window: Option<Duration>,
    /// The limit of series, if there is one.
    pub limit: Option<usize>,
    /// Whether a view switched the family off, so that it is not exported.
    pub off: bool,
    /// The collector that writes the family, if one does.
    pub collector: Option<String>,
    /// The crate of the declaration, where it is known: of statics with `#[tallies::metric]` and of
    /// `#[derive(Metrics)]`.
    pub krate: Option<String>,
    /// The source file of the declaration. That of another package begins with the package's name.
    pub file: String,
    /// The line of the declaration, from 1.
    pub line: u32,
}

/// A label of a [`Declared`] family.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// The name.
    pub name: String,
    /// All values that it can have, if they are known: those of enums and `bool`s. Else empty.
    pub values: Vec<String>,
}

impl Label {
    #[inline]
    pub(crate) fn new(name: String, values: Vec<String>) -> Self {
        Self { name, values }
    }
}

impl Catalogue {
    #[inline]
    pub(crate) fn new(mut families: Vec<Declared>) -> Self {
        families.sort_by(|a, b| a.name.cmp(&b.name));
        Self { families }
    }

    /// Returns the families in the order of their names.
    #[must_use]
    #[inline]
    pub fn families(&self) -> &[Declared] {
        &self.families
    }

    /// Returns the family of this name.
    #[must_use]
    #[inline]
    pub fn get(&self, name: &str) -> Option<&Declared> {
        self.families.iter().find(|family| family.name == name)
    }

    /// Adds the families of another catalogue, such as that of a second registry. A name that both
    /// have stays as it is.
    #[must_use]
    #[inline]
    pub fn with(mut self, other: Self) -> Self {
        let new = |family: &Declared| self.get(&family.name).is_none();
        let new: Vec<_> = other.families.into_iter().filter(new).collect();
        self.families.extend(new);
        Self::new(self.families)
    }

    /// Adds a family that a collector wrote, or the labels of its series to the family that another
    /// collector wrote.
    #[inline]
    pub(crate) fn add_collected(
        &mut self,
        family: &Family,
        collector: &str,
        location: &Location<'_>,
    ) {
        let mut labels: Vec<Label> = Vec::new();
        for (name, _) in family.texts.iter().flat_map(labels::parts) {
            if !labels.iter().any(|label| label.name == name) {
                labels.push(Label::new(name.to_owned(), Vec::new()));
            }
        }
        let declared = Declared {
            collector: Some(collector.to_owned()),
            ..Declared::new(&family.meta, &family.values, labels, location)
        };
        let name = |family: &Declared| family.name.cmp(&declared.name);
        match self.families.binary_search_by(name) {
            Err(at) => self.families.insert(at, declared),
            Ok(at) => {
                let known = &mut self.families[at];
                let adds = known.collector.is_some() && known.kind == declared.kind;
                for label in declared.labels.into_iter().filter(|_| adds) {
                    if !known.labels.contains(&label) {
                        known.labels.push(label);
                    }
                }
            }
        }
    }
}

impl Declared {
    /// Returns a family with no settings but those that a collector's family has, too.
    #[inline]
    pub(crate) fn new(
        meta: &Meta,
        values: &Values,
        labels: Vec<Label>,
        location: &Location<'_>,
    ) -> Self {
        let constant = labels::pairs(&meta.constant);
        Self {
            name: meta.name.to_string(),
            kind: meta.kind,
            help: meta.help.to_string(),
            unit: meta.unit.to_string(),
            labels,
            any_labels: false,
            constant: constant
                .map(|(name, value)| (name.to_owned(), value.into_owned()))
                .collect(),
            dropped: Vec::new(),
            bounds: match values {
                Values::Histogram(all) => all.bounds.to_vec(),
                _ => Vec::new(),
            },
            schema: None,
            objectives: Vec::new(),
            window: None,
            limit: None,
            off: false,
            collector: None,
            krate: None,
            file: short_path(location.file()),
            line: location.line(),
        }
    }
}

/// Returns a path that is the same on every machine: an absolute one begins with the directory of
/// its package, without the version.
#[inline]
fn short_path(path: &str) -> String {
    let path = path.replace('\\', "/");
    let is_absolute = path.starts_with('/') || path.get(1..3) == Some(":/");
    if !is_absolute {
        return path;
    }
    let parts: Vec<&str> = path.split('/').collect();
    let is_source = |part: &&str| ["src", "tests", "examples", "benches"].contains(part);
    let Some(at) = parts.iter().rposition(is_source).filter(|at| *at > 0) else {
        return parts.last().copied().unwrap_or_default().to_owned();
    };
    let package = match parts[at - 1].rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => name,
        _ => parts[at - 1],
    };
    format!("{package}/{}", parts[at..].join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_nothing_of_the_machine() {
        for (path, short) in [
            ("src/main.rs", "src/main.rs"),
            (
                "/a/registry/src/index-1a2b/some-crate-1.2.3/src/a/b.rs",
                "some-crate/src/a/b.rs",
            ),
            ("/home/me/work/src/app/src/lib.rs", "app/src/lib.rs"),
            (r"C:\work\app\tests\it.rs", "app/tests/it.rs"),
            ("/odd/place.rs", "place.rs"),
        ] {
            assert_eq!(short_path(path), short);
        }
    }
}
