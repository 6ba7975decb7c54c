//! What several registries have at one time, as one page shows it: no family twice, and no sample.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Error;

use super::{Beside, Family, Snapshot, Source};

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
        let beside: Vec<_> = snapshots
            .iter()
            .map(|snapshot| Beside::new(&snapshot.families))
            .collect();
        let mut names = HashMap::new();
        for (of, snapshot) in snapshots.iter().enumerate() {
            for (at, family) in snapshot.families.iter().enumerate() {
                let Some(&there) = names.get(family.name()) else {
                    // Those of one registry stand together already.
                    let others = beside[..of].iter();
                    let mut clashes = others.flat_map(|beside| beside.clashes(family));
                    if let Some(other) = clashes.find(|other| names.contains_key(other.name())) {
                        misfit(Error::beside(family.name(), other.name()));
                        continue;
                    }
                    names.insert(family.name(), page.len());
                    page.push(Place::In(of, at));
                    continue;
                };
                let place: &mut Place = &mut page[there];
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
