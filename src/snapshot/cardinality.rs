//! Cardinality reports: how many series each family has, and which labels make them.

use std::collections::HashMap;
use std::fmt;

use super::json::Json;
use super::{Family, Snapshot, labels};

/// The most series of a family whose labels are read.
const MOST_READ: usize = 100_000;

/// The number of values that a label's list of the largest has.
const LARGEST: usize = 10;

/// How many series each family has, and which labels make them: the report for the question where
/// all the series come from. [`Registry::cardinality`](crate::Registry::cardinality) makes it.
///
/// ```
/// use tallies::{Counter, Registry};
///
/// let registry = Registry::new();
/// let hits = Counter::builder("hits_total", "Hits.")
///     .labels(["method", "path"])
///     .register(&registry)?;
/// for (method, path) in [("get", "/"), ("get", "/a"), ("put", "/a")] {
///     hits.with([method, path]).inc();
/// }
/// let report = registry.cardinality();
/// let family = &report.families()[0];
/// assert_eq!((&*family.name, family.series, family.limit), ("hits_total", 3, Some(10_000)));
/// let path = &family.labels[1];
/// assert_eq!((&*path.label, path.distinct), ("path", 2));
/// assert_eq!(path.largest[0], ("/a".to_owned(), 2));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// `Display` writes a table. Families with the most series come first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cardinality {
    families: Vec<FamilyCardinality>,
}

/// The series of one family. See [`Cardinality`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FamilyCardinality {
    /// The name, with the prefix of the registry.
    pub name: String,
    /// The number of series, without the overflow series.
    pub series: usize,
    /// The limit of series, if the family has one.
    pub limit: Option<usize>,
    /// The number of updates that got no series of their own: those in the overflow series, and
    /// those with a value beyond a [cap](crate::View::cap).
    pub refused: u64,
    /// Whether only the labels of the first 100 000 series were read.
    pub partial: bool,
    /// The labels in the order of the first series that has them. Labels that all series of a
    /// registry share are not among them.
    pub labels: Vec<LabelCardinality>,
}

/// The values of one label. See [`Cardinality`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LabelCardinality {
    /// The name of the label.
    pub label: String,
    /// The number of different values.
    pub distinct: usize,
    /// The ten values with the most series, and how many these are.
    pub largest: Vec<(String, usize)>,
}

impl Cardinality {
    /// Returns the report about a snapshot, which knows neither limits nor refused updates.
    ///
    /// ```
    /// use tallies::snapshot::Cardinality;
    ///
    /// let registry = tallies::Registry::new();
    /// registry.set_self_metrics(false);
    /// registry.counter("jobs_total", "Jobs done.")?.inc();
    /// assert_eq!(Cardinality::of(&registry.snapshot()).families()[0].series, 1);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let families = snapshot.families();
        let families = families.map(|family| FamilyCardinality::of(family.name(), [family]));
        Self::new(families.collect())
    }

    /// Creates a report of these families.
    pub(crate) fn new(mut families: Vec<FamilyCardinality>) -> Self {
        families.sort_by(|a, b| b.series.cmp(&a.series).then_with(|| a.name.cmp(&b.name)));
        Self { families }
    }

    /// Returns the families, those with the most series first.
    #[must_use]
    pub fn families(&self) -> &[FamilyCardinality] {
        &self.families
    }

    /// Returns the report as JSON:
    /// `[{"family":"hits_total","series":3,"limit":10000,"refused":0,"labels":[{"label":"path",`
    /// `"distinct":2,"largest":[["/a",2],["/",1]]}]}]`.
    ///
    /// The limit of a family without one is `null`. If only some of the series were read, the
    /// family has `"partial":true`, and `distinct` is at least that.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        json.array(|json| self.families.iter().for_each(|family| family.write(json)));
        json.0
    }

    /// Adds the families of another report.
    pub(crate) fn append(&mut self, other: Self) {
        self.families.extend(other.families);
        *self = Self::new(std::mem::take(&mut self.families));
    }
}

impl FamilyCardinality {
    /// Counts the series of a family, which may have several parts of one name.
    pub(crate) fn of<'a>(name: &str, parts: impl IntoIterator<Item = &'a Family>) -> Self {
        let mut count = LabelCount::default();
        parts.into_iter().for_each(|part| count.add_all(part));
        Self::new(name.to_owned(), count, None, 0)
    }

    /// Creates the entry of a family whose series were counted.
    pub(crate) fn new(name: String, count: LabelCount, limit: Option<usize>, refused: u64) -> Self {
        Self {
            name,
            series: count.series,
            limit,
            refused,
            partial: count.series > MOST_READ,
            labels: count.labels(),
        }
    }

    fn write(&self, json: &mut Json) {
        json.object(|json| {
            json.field("family", self.name.as_str());
            json.field("series", self.series);
            json.field("limit", self.limit);
            json.field("refused", self.refused);
            if self.partial {
                json.field("partial", true);
            }
            json.list("labels", &self.labels, |json, label| {
                json.object(|json| {
                    json.field("label", label.label.as_str());
                    json.field("distinct", label.distinct);
                    json.list("largest", &label.largest, |json, (value, series)| {
                        json.array(|json| {
                            json.value(value.as_str());
                            json.value(*series);
                        });
                    });
                });
            });
        });
    }
}

impl fmt::Display for Cardinality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and values come from outside: no line breaks, no control characters.
        for family in &self.families {
            let name = family.name.escape_debug();
            write!(f, "{name}: {} series", family.series)?;
            if let Some(limit) = family.limit {
                write!(f, " of at most {limit}")?;
            }
            if family.refused > 0 {
                write!(f, ", {} updates refused", family.refused)?;
            }
            if family.partial {
                write!(f, ", labels of the first {MOST_READ} series")?;
            }
            writeln!(f)?;
            for label in &family.labels {
                write!(f, "  {}: {}", label.label.escape_debug(), label.distinct)?;
                let values = label.largest.iter();
                for (i, (value, series)) in values.enumerate() {
                    let before = if i == 0 { " (" } else { ", " };
                    write!(f, "{before}{} {series}", value.escape_debug())?;
                }
                let has_more = label.distinct > label.largest.len();
                writeln!(f, "{})", if has_more { ", …" } else { "" })?;
            }
        }
        Ok(())
    }
}

/// Counts the label values of a family's series.
#[derive(Default)]
pub(crate) struct LabelCount {
    series: usize,
    /// The labels, and how many series each of their values has.
    labels: Vec<(String, HashMap<String, usize>)>,
}

impl LabelCount {
    /// Adds the series of a family.
    pub(crate) fn add_all(&mut self, family: &Family) {
        family.texts.iter().for_each(|text| self.add(text));
    }

    /// Adds a series with this label text.
    pub(crate) fn add(&mut self, text: &str) {
        self.series += 1;
        if self.series > MOST_READ {
            return;
        }
        for (i, (name, value)) in labels::pairs(text).enumerate() {
            // In most families, all series have the same labels in the same order.
            let is_usual = self.labels.get(i).is_some_and(|(label, _)| label == name);
            let find = || self.labels.iter().position(|(label, _)| label == name);
            let known = if is_usual { Some(i) } else { find() };
            let at = known.unwrap_or(self.labels.len());
            if known.is_none() {
                self.labels.push((name.to_owned(), HashMap::new()));
            }
            let values = &mut self.labels[at].1;
            match values.get_mut(&*value) {
                Some(count) => *count += 1,
                None => _ = values.insert(value.into_owned(), 1),
            }
        }
    }

    fn labels(self) -> Vec<LabelCardinality> {
        let report = |(label, values): (String, HashMap<String, usize>)| {
            let distinct = values.len();
            let mut largest: Vec<_> = values.into_iter().collect();
            let order = |a: &(String, usize), b: &(String, usize)| {
                b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0))
            };
            if largest.len() > LARGEST {
                largest.select_nth_unstable_by(LARGEST - 1, order);
                largest.truncate(LARGEST);
            }
            largest.sort_unstable_by(order);
            LabelCardinality {
                label,
                distinct,
                largest,
            }
        };
        self.labels.into_iter().map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(texts: impl IntoIterator<Item = String>) -> Cardinality {
        let mut count = LabelCount::default();
        texts.into_iter().for_each(|text| count.add(&text));
        let family = FamilyCardinality::new("f".to_owned(), count, Some(7), 3);
        Cardinality::new(vec![family])
    }

    #[test]
    fn the_largest_values_come_first() {
        let texts = (0..100).map(|i| format!("a=\"{}\",b=\"{i}\"", i % 3));
        let report = counted(texts);
        let labels = &report.families()[0].labels;
        assert_eq!((labels[0].distinct, labels[1].distinct), (3, 100));
        let values: Vec<_> = labels[0].largest.iter().map(|(v, n)| (&**v, *n)).collect();
        assert_eq!(values, [("0", 34), ("1", 33), ("2", 33)]);
        assert_eq!(labels[1].largest.len(), LARGEST);
        assert_eq!(labels[1].largest[1], ("1".to_owned(), 1));
    }

    #[test]
    fn json_and_text_escape_what_comes_from_outside() {
        let report = counted(["a=\"</script>\\n\\\"\"".to_owned()]);
        assert_eq!(
            report.to_json(),
            r#"[{"family":"f","series":1,"limit":7,"refused":3,"labels":[{"label":"a","distinct":1,"largest":[["\u003c/script\u003e\n\"",1]]}]}]"#
        );
        assert_eq!(
            report.to_string(),
            "f: 1 series of at most 7, 3 updates refused\n  a: 1 (</script>\\n\\\" 1)\n"
        );
    }

    #[test]
    fn names_that_a_terminal_would_obey_are_escaped() {
        let mut count = LabelCount::default();
        count.add("\"l\u{1b}[2J\r\n\"=\"v\"");
        let name = "f\u{7}\u{9b}\u{202e}\u{2028}".to_owned();
        let family = FamilyCardinality::new(name, count, None, 0);
        let report = Cardinality::new(vec![family]);
        assert_eq!(
            report.to_string(),
            "f\\u{7}\\u{9b}\\u{202e}\\u{2028}: 1 series\n  l\\u{1b}[2J\\r\\n: 1 (v 1)\n"
        );
    }

    #[test]
    fn a_family_with_too_many_series_is_read_in_part() {
        let report = counted((0..=MOST_READ).map(|i| format!("a=\"{i}\"")));
        let family = &report.families()[0];
        assert_eq!(family.series, MOST_READ + 1);
        assert!(family.partial && report.to_json().contains("\"partial\":true"));
        assert_eq!(family.labels[0].distinct, MOST_READ);
    }
}
