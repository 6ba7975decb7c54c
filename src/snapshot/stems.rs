//! Families by what the names of their samples begin with.

use std::borrow::Cow;
use std::collections::HashMap;

use super::clash::{clash, exposed, without_suffix};
use super::{Escaping, Family};

/// Finds families that clash in a few look-ups each.
pub(crate) struct Stems<'a> {
    families: HashMap<Cow<'a, str>, Vec<&'a Family>>,
    /// Whether there are names that are written in several ways.
    utf8: bool,
}

impl<'a> Stems<'a> {
    /// Of none yet. `utf8`: whether any of all has a name outside the old character set.
    pub(crate) fn new(utf8: bool) -> Self {
        let families = HashMap::new();
        Self { families, utf8 }
    }

    /// A family's, in every way that its name may be written.
    fn of<'b>(&self, family: &'b Family) -> impl Iterator<Item = Cow<'b, str>> + use<'b> {
        let lossy: &[Escaping] = if self.utf8 { &Escaping::LOSSY } else { &[] };
        let kind = family.kind();
        let escaped = lossy.iter().map(move |escaping| {
            let mut name = String::new();
            escaping.name(family.name(), &mut name);
            name.truncate(kind.stem(&name).len());
            Cow::Owned(name)
        });
        std::iter::once(Cow::Borrowed(kind.stem(family.name()))).chain(escaped)
    }

    pub(crate) fn insert(&mut self, family: &'a Family) {
        for stem in self.of(family) {
            self.families.entry(stem).or_default().push(family);
        }
    }

    /// One that would expose a sample of `family` as well.
    pub(crate) fn clash(&self, family: &Family) -> Option<&'a Family> {
        // The stems of two that clash are equal, or one is a sample of the other's family.
        self.of(family).find_map(|stem| {
            let samples = family.kind().suffixes().iter();
            let samples = samples.map(|suffix| Cow::Owned(format!("{stem}{suffix}")));
            let sampled = without_suffix(&stem).map(Cow::Borrowed);
            samples.chain(sampled).find_map(|stem: Cow<'_, str>| {
                let mut alike = self.families.get(&stem)?.iter();
                let clashes = |other: &&&Family| clash(exposed(family), exposed(other));
                alike.find(clashes).copied()
            })
        })
    }
}
