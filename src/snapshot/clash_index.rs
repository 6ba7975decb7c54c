//! An index of families by the stems of their names. It finds a conflict in a few look-ups, however
//! many families there are.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::sync::RandomState;

use super::Escaping;
use super::clash::{ExposedName, clash, without_suffix};

/// Why two different names clash.
pub(crate) const SHARED_SAMPLES: &str = "because suffixes such as `_total` and `_sum`, or the \
                                         escaping of UTF-8 names, make names equal";

/// An index of families. A key of type `K` identifies each family.
#[derive(Clone, Debug)]
pub(crate) struct ClashIndex<K> {
    /// The keys of the families with each stem, in every form that the stem is written in.
    families: HashMap<Box<str>, Vec<K>, RandomState>,
    /// Whether names can have several escaped forms.
    utf8: bool,
}

impl<K> Default for ClashIndex<K> {
    fn default() -> Self {
        Self {
            families: HashMap::default(),
            utf8: false,
        }
    }
}

impl<K: Clone> ClashIndex<K> {
    /// Creates an empty index. `utf8` says whether any family can have a name outside the legacy
    /// character set.
    pub(crate) fn new(utf8: bool) -> Self {
        Self {
            families: HashMap::default(),
            utf8,
        }
    }

    /// Returns whether the index covers every form in which this name is written. If not, the
    /// caller has to build a new index.
    pub(crate) fn knows(&self, (_, _, utf8): ExposedName<'_>) -> bool {
        self.utf8 || !utf8
    }

    /// Iterates over the family's stem in every form in which its name is written.
    fn stems<'b>(
        &self,
        (name, kind, _): ExposedName<'b>,
    ) -> impl Iterator<Item = Cow<'b, str>> + use<'b, K> {
        let lossy: &[Escaping] = if self.utf8 { &Escaping::LOSSY } else { &[] };
        let escaped = lossy.iter().map(move |escaping| {
            let mut escaped = String::new();
            escaping.name(name, &mut escaped);
            escaped.truncate(kind.stem(&escaped).len());
            Cow::Owned(escaped)
        });
        std::iter::once(Cow::Borrowed(kind.stem(name))).chain(escaped)
    }

    /// Adds a family under each form of its stem.
    pub(crate) fn insert(&mut self, family: ExposedName<'_>, key: &K) {
        for stem in self.stems(family) {
            let alike = match self.families.get_mut(&*stem) {
                Some(alike) => alike,
                None => self.families.entry(stem.into()).or_default(),
            };
            alike.push(key.clone());
        }
    }

    /// Removes a family from the entries of its stem.
    pub(crate) fn remove(&mut self, family: ExposedName<'_>, key: &K)
    where
        K: PartialEq,
    {
        for stem in self.stems(family) {
            if let Some(alike) = self.families.get_mut(&*stem) {
                alike.retain(|other| other != key);
                if alike.is_empty() {
                    self.families.remove(&*stem);
                }
            }
        }
    }

    /// Returns a family that would expose a sample of the same name as `family`. `exposed` returns
    /// the family of a key.
    pub(crate) fn clash<'k>(
        &'k self,
        family: ExposedName<'_>,
        exposed: impl Fn(&'k K) -> ExposedName<'k>,
    ) -> Option<&'k K> {
        let (_, kind, _) = family;
        // Two families conflict only if their stems are equal, or if one of the stems looks like a
        // sample of the other family.
        let alike = |stem: &str| {
            let mut alike = self.families.get(stem)?.iter();
            alike.find(|other| clash(family, exposed(other)))
        };
        self.stems(family).find_map(|stem| {
            let mut sample = String::with_capacity(stem.len() + 8);
            let mut samples = kind.suffixes().iter();
            let by_sample = samples.find_map(|suffix| {
                sample.clear();
                sample.push_str(&stem);
                sample.push_str(suffix);
                alike(&sample)
            });
            by_sample.or_else(|| alike(without_suffix(&stem)?))
        })
    }
}
