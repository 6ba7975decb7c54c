//! Families by what the names of their samples begin with: finds families that clash in a few look-ups each, however many
//! there are.

use std::borrow::Cow;
use std::collections::HashMap;

use ahash::RandomState;

use super::Escaping;
use super::clash::{Exposed, clash, without_suffix};

/// An index of families, each known by a key of type `K`.
#[derive(Clone, Debug)]
pub(crate) struct Stems<K> {
    families: HashMap<Box<str>, Vec<K>, RandomState>,
    /// Whether there are names that are written in several ways.
    utf8: bool,
}

impl<K> Default for Stems<K> {
    fn default() -> Self {
        Self {
            families: HashMap::default(),
            utf8: false,
        }
    }
}

impl<K: Clone> Stems<K> {
    /// Of none yet. `utf8`: whether any of all has a name outside the old character set.
    pub(crate) fn new(utf8: bool) -> Self {
        Self {
            families: HashMap::default(),
            utf8,
        }
    }

    /// Whether it knows every way that a name may be written; else it has to be made anew.
    pub(crate) fn knows(&self, (_, _, utf8): Exposed<'_>) -> bool {
        self.utf8 || !utf8
    }

    /// A family's, in every way that its name may be written.
    fn of<'b>(
        &self,
        (name, kind, _): Exposed<'b>,
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

    pub(crate) fn insert(&mut self, family: Exposed<'_>, key: &K) {
        for stem in self.of(family) {
            let alike = match self.families.get_mut(&*stem) {
                Some(alike) => alike,
                None => self.families.entry(stem.into()).or_default(),
            };
            alike.push(key.clone());
        }
    }

    pub(crate) fn remove(&mut self, family: Exposed<'_>, key: &K)
    where
        K: PartialEq,
    {
        for stem in self.of(family) {
            if let Some(alike) = self.families.get_mut(&*stem) {
                alike.retain(|other| other != key);
                if alike.is_empty() {
                    self.families.remove(&*stem);
                }
            }
        }
    }

    /// One that would expose a sample of `family` as well; `exposed` says what is behind a key.
    pub(crate) fn clash<'k>(
        &'k self,
        family: Exposed<'_>,
        exposed: impl Fn(&'k K) -> Exposed<'k>,
    ) -> Option<&'k K> {
        let (_, kind, _) = family;
        // The stems of two that clash are equal, or one is a sample of the other's family.
        let alike = |stem: &str| {
            let mut alike = self.families.get(stem)?.iter();
            alike.find(|other| clash(family, exposed(other)))
        };
        self.of(family).find_map(|stem| {
            let mut sample = String::with_capacity(stem.len() + 8);
            let mut samples = kind.suffixes().iter();
            let of_a_sample = samples.find_map(|suffix| {
                sample.clear();
                sample.push_str(&stem);
                sample.push_str(suffix);
                alike(&sample)
            });
            of_a_sample.or_else(|| alike(without_suffix(&stem)?))
        })
    }
}
