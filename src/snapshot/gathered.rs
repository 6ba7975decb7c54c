//! What several registries have at one time, as one page shows it: no family twice, and no sample.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Error;

use super::{Escaping, Family, Snapshot, Source};

/// Snapshots of several sources. Families of one name are one; all others stay where they are.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    snapshots: Vec<Snapshot>,
    /// Families that several snapshots have, added up.
    joined: Vec<Family>,
    /// The families of the page, in the order of their names.
    page: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// A snapshot, and a family in it.
    In(usize, usize),
    Joined(usize),
}

impl Gathered {
    /// Takes a snapshot of each source. A family that cannot stand beside those of earlier sources is left out, and `misfit`
    /// hears why.
    pub(crate) fn take(&mut self, sources: &[Arc<dyn Source>], mut misfit: impl FnMut(Error)) {
        let Self {
            snapshots,
            joined,
            page,
        } = self;
        snapshots.resize_with(sources.len(), Snapshot::default);
        for (source, snapshot) in sources.iter().zip(&mut *snapshots) {
            source.snapshot_into(snapshot);
        }
        joined.clear();
        page.clear();
        if let [only] = &**snapshots {
            return page.extend((0..only.families.len()).map(|at| Place::In(0, at)));
        }
        let (mut names, mut stems) = (HashMap::new(), Stems::default());
        for (of, snapshot) in snapshots.iter().enumerate() {
            for (at, family) in snapshot.families.iter().enumerate() {
                match names.entry(family.name()) {
                    Entry::Occupied(there) => {
                        let place: &mut Place = &mut page[*there.get()];
                        let first = family_at(snapshots, joined, *place);
                        if let Err(error) = first.takes(family) {
                            misfit(error);
                            continue;
                        }
                        if let Place::In(..) = place {
                            let first = first.clone();
                            *place = Place::Joined(joined.len());
                            joined.push(first);
                        }
                        if let Place::Joined(at) = *place {
                            joined[at].add(family);
                        }
                    }
                    Entry::Vacant(name) => {
                        // Those of one registry stand together already.
                        if of > 0
                            && let Some(other) = stems.clash(family)
                        {
                            misfit(Error::beside(family.name(), other.name()));
                            continue;
                        }
                        stems.insert(family);
                        name.insert(page.len());
                        page.push(Place::In(of, at));
                    }
                }
            }
        }
        let name = |place: &Place| family_at(snapshots, joined, *place).name();
        page.sort_unstable_by(|one, other| name(one).cmp(name(other)));
    }

    /// When the first of them was taken.
    pub(crate) fn taken(&self) -> SystemTime {
        let first = self.snapshots.first();
        first.map_or(SystemTime::UNIX_EPOCH, |snapshot| snapshot.taken)
    }

    /// Every family, in the order of their names.
    pub(crate) fn families(&self) -> impl Iterator<Item = &Family> {
        let place = |place: &Place| family_at(&self.snapshots, &self.joined, *place);
        self.page.iter().map(place)
    }
}

fn family_at<'a>(snapshots: &'a [Snapshot], joined: &'a [Family], place: Place) -> &'a Family {
    match place {
        Place::In(of, at) => &snapshots[of].families[at],
        Place::Joined(at) => &joined[at],
    }
}

/// Families by what all of their samples' names begin with.
#[derive(Default)]
struct Stems<'a>(HashMap<Cow<'a, str>, &'a Family>);

impl<'a> Stems<'a> {
    /// As a reader without UTF-8 names knows it.
    fn stem(family: &Family) -> Cow<'_, str> {
        let kind = family.kind();
        if !family.meta.utf8 {
            return Cow::Borrowed(kind.stem(family.name()));
        }
        let mut name = String::new();
        Escaping::Underscores.name(family.name(), &mut name);
        name.truncate(kind.stem(&name).len());
        Cow::Owned(name)
    }

    fn insert(&mut self, family: &'a Family) {
        self.0.entry(Self::stem(family)).or_insert(family);
    }

    /// A family that would write samples of the same names, in one format or another. Every suffix has one `_`, and every
    /// family may have samples without: so it is enough to compare one's stem with the other's, and with what it writes.
    fn clash(&self, family: &Family) -> Option<&'a Family> {
        let stem = &*Self::stem(family);
        let shorter = || {
            let (before, suffix) = stem.split_at(stem.rfind('_')?);
            let other = self.0.get(before)?;
            other.kind().suffixes().contains(&suffix).then_some(other)
        };
        let longer = |suffix: &&str| self.0.get(&*format!("{stem}{suffix}"));
        // The first suffix is none.
        let found = family.kind().suffixes().iter().find_map(longer);
        found.or_else(shorter).copied()
    }
}
