//! Conflicts between families: whether two families would expose samples of the same name.

use std::collections::HashMap;

use crate::sync::RandomState;

use super::{Escaping, Family, Kind};

/// A family's name and kind, and whether the name may be outside the legacy character set.
pub(crate) type ExposedName<'a> = (&'a str, Kind, bool);

impl Family {
    pub(crate) fn exposed(&self) -> ExposedName<'_> {
        (self.name(), self.kind(), self.meta.utf8)
    }
}

/// Why two different names clash.
pub(crate) const SHARED_SAMPLES: &str = "because suffixes such as `_total` and `_sum`, or the \
                                         escaping of UTF-8 names, make names equal";

/// The families by the names of their samples, in any format and under any [`Escaping`]. Finds a
/// conflict in a few look-ups, however many families there are. A key of type `K` identifies each
/// family.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClashIndex<K> {
    /// For each escaping, the key of the first family with each sample. The same name under
    /// different escapings is no conflict, because a page has one escaping.
    samples: [HashMap<String, K, RandomState>; Escaping::ALL.len()],
    /// Whether names can have several escaped forms.
    utf8: bool,
}

impl<K: Clone> ClashIndex<K> {
    /// Creates an empty index. `utf8` says whether any family can have a name outside the legacy
    /// character set.
    pub(crate) fn new(utf8: bool) -> Self {
        Self {
            samples: Default::default(),
            utf8,
        }
    }

    /// Returns whether the index covers every form in which this name is written. If not, the
    /// caller has to build a new index.
    pub(crate) fn knows(&self, (_, _, utf8): ExposedName<'_>) -> bool {
        self.utf8 || !utf8
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.samples[0].is_empty()
    }

    /// Adds a family. A sample that it shares with a family before it stays the other's.
    pub(crate) fn insert(&mut self, family: ExposedName<'_>, key: &K) {
        let samples = &mut self.samples;
        each_sample(self.utf8, family, &mut |escaping, sample| {
            if !samples[escaping].contains_key(sample) {
                samples[escaping].insert(sample.to_owned(), key.clone());
            }
        });
    }

    /// Removes a family, which shares no sample with another one.
    pub(crate) fn remove(&mut self, family: ExposedName<'_>) {
        let samples = &mut self.samples;
        each_sample(self.utf8, family, &mut |escaping, sample| {
            samples[escaping].remove(sample);
        });
    }

    /// Returns the first family that `counts` and would expose a sample of the same name as
    /// `family`.
    pub(crate) fn clashing(
        &self,
        family: ExposedName<'_>,
        counts: &dyn Fn(&K) -> bool,
    ) -> Option<&K> {
        let mut found = None;
        each_sample(self.utf8, family, &mut |escaping, sample| {
            let other = || self.samples[escaping].get(sample);
            found = found.or_else(|| other().filter(|key| counts(key)));
        });
        found
    }
}

/// Calls `with` for each name of a sample of the family, in every form in which it is written, with
/// the index of its escaping. Without `utf8`, names have one form.
fn each_sample(utf8: bool, (name, kind, _): ExposedName<'_>, with: &mut dyn FnMut(usize, &str)) {
    let escapings = match utf8 {
        true => &Escaping::ALL[..],
        false => &[Escaping::AllowUtf8],
    };
    let (mut escaped, mut sample) = (String::new(), String::new());
    for (i, escaping) in escapings.iter().enumerate() {
        escaped.clear();
        escaping.name(name, &mut escaped);
        let stem = kind.stem(&escaped);
        for suffix in kind.suffixes() {
            sample.clear();
            sample.extend([stem, suffix]);
            with(i, &sample);
        }
    }
}

// Many names and no unsafe code: Miri would take hours.
#[cfg(all(test, not(miri)))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Returns whether an index with one of two families finds the other.
    fn is_found(one: ExposedName<'_>, other: ExposedName<'_>) -> bool {
        let mut index = ClashIndex::new(one.2 || other.2);
        index.insert(other, &other.0);
        let found = index.clashing(one, &|_| true).copied();
        assert_eq!(found, found.map(|_| other.0));
        index.remove(other);
        assert!(index.is_empty() && index.clashing(one, &|_| true).is_none());
        found.is_some()
    }

    /// The plain twin compares the samples of two families, which are not escaped.
    fn clash_as_written((a, a_kind): (&str, Kind), (b, b_kind): (&str, Kind)) -> bool {
        let (a, b) = (a_kind.stem(a), b_kind.stem(b));
        a_kind.suffixes().iter().any(|a_suffix| {
            b_kind.suffixes().iter().any(|b_suffix| {
                let sample = b.bytes().chain(b_suffix.bytes());
                a.bytes().chain(a_suffix.bytes()).eq(sample)
            })
        })
    }

    #[test]
    fn who_clashes_is_found_by_name() {
        let kinds = [
            Kind::Counter,
            Kind::Gauge,
            Kind::Info,
            Kind::Summary,
            Kind::Histogram,
            Kind::GaugeHistogram,
        ];
        let ends = kinds.iter().flat_map(|kind| kind.suffixes());
        let ends: BTreeSet<_> = ends.chain(&["", "_sum_total", "_sums"]).collect();
        let names: Vec<_> = ["a", "ab", "b"]
            .iter()
            .flat_map(|stem| ends.iter().map(move |end| format!("{stem}{end}")))
            .collect();
        let all: Vec<_> = names
            .iter()
            .flat_map(|name| kinds.map(|kind| (&**name, kind)))
            .collect();
        for &(one, one_kind) in &all {
            for &(other, other_kind) in &all {
                let clash = clash_as_written((one, one_kind), (other, other_kind));
                for utf8 in [false, true] {
                    let found = is_found((one, one_kind, utf8), (other, other_kind, false));
                    assert_eq!(found, clash, "{one} {other} {utf8}");
                }
            }
        }
    }

    #[test]
    fn names_clash_as_they_are_escaped() {
        let names = [
            "a.b",
            "a_b",
            "a_dot_b",
            "a__b",
            "U__a_2e_b",
            "é",
            "_",
            "U__e9_",
            "9.a",
            "_.a",
            "_dot_a",
            ".a",
            ":a",
            "_a",
        ];
        let escaped = |name| {
            Escaping::LOSSY.map(|escaping| {
                let mut out = String::new();
                escaping.name(name, &mut out);
                out
            })
        };
        let mut clashing = 0;
        for a in names {
            for b in names {
                let mut pairs = escaped(a).into_iter().zip(escaped(b));
                let same = pairs.any(|(a, b)| a == b);
                let found = is_found((a, Kind::Gauge, true), (b, Kind::Gauge, true));
                assert_eq!(found, same, "{a} {b}");
                clashing += usize::from(same && a != b);
            }
        }
        assert!(clashing > 0);
    }
}
