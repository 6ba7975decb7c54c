//! What every kind of metric is made of: a description, and the family once there is one.
//!
//! A static cannot be its own family: the registry has to hold it for longer than a `let` would. So the family is made
//! on first use, shared with the registry, and the declaration keeps what the hot path needs: its own copy of the
//! place of the series without labels, which is never retired.

use std::sync::{Arc, OnceLock};

use crate::error::{Difference, Error};
use crate::observe::{self, SlotWord};
use crate::snapshot::Kind;

use super::handle::Handle;
use crate::family::SeriesRef;
use crate::family::desc::{ClosedSet, Desc};
use crate::family::label::LabelSet;
use crate::family::{Family, MetricCells};
use crate::lockfree::CachedRef;
use crate::registry::{self, Registry};

/// A declared metric: see the module's text.
#[derive(Debug)]
pub(crate) struct Declaration<C: MetricCells> {
    /// Copied from the family's only series once that is hot.
    pub(crate) slot_word: SlotWord,
    pub(crate) desc: Desc,
    family: OnceLock<Arc<Family<C>>>,
}

impl<C: MetricCells> Declaration<C> {
    pub(crate) const fn new(desc: Desc) -> Self {
        Self {
            slot_word: SlotWord::new(),
            desc,
            family: OnceLock::new(),
        }
    }

    fn of(family: Arc<Family<C>>) -> Self {
        let declaration = Self::new(family.desc.clone());
        // It is empty: just made.
        let _ = declaration.family.set(family);
        declaration
    }

    /// The family; made, and enlisted in the default registry, on first use.
    #[inline]
    pub(crate) fn family(&self) -> &Arc<Family<C>> {
        match self.family.get() {
            Some(family) => family,
            None => self.make(),
        }
    }

    #[cold]
    fn make(&self) -> &Arc<Family<C>> {
        self.family.get_or_init(|| {
            let family = Arc::new(Family::new(self.desc.clone()));
            registry::registry().families().add_static(family.clone());
            family
        })
    }

    /// Makes every series of a closed label set.
    pub(crate) fn enlist<L: LabelSet>(&self) {
        let family = self.family();
        // An info says what is the case, not what could be.
        if L::DENSE > 0 && self.desc.kind != Kind::Info {
            family.make_closed(ClosedSet::of::<L>());
        }
    }

    /// The series of a label set.
    #[inline]
    pub(crate) fn with<L: LabelSet>(&self, labels: &L::Borrowed<'_>) -> Handle<'_, C> {
        if L::DENSE == 0 {
            L::with_texts(labels, |texts| self.family().with(texts)).into()
        } else if !has_row(C::cells(&self.desc), L::DENSE) {
            let family = self.family();
            // Its series may have fewer cells than this declaration says, if that was given other buckets since.
            family.row(ClosedSet::of::<L>());
            let index = L::dense_index(labels);
            family.closed(ClosedSet::of::<L>(), index).into()
        } else {
            Handle::in_row(self, L::dense_index(labels), ClosedSet::of::<L>())
        }
    }

    /// One of the combinations of a closed label set; from now on their row is known here, if they have one.
    pub(super) fn in_row(&self, set: ClosedSet, index: usize) -> SeriesRef<'_, C> {
        let family = self.family();
        if let Some(last) = family.row(set)
            && self.is_shaped()
        {
            self.slot_word.be_row(last);
        }
        family.closed(set, index)
    }

    /// Returns the series of a label set if it exists.
    pub(crate) fn find<L: LabelSet>(&self, labels: &L::Borrowed<'_>) -> Option<SeriesRef<'_, C>> {
        self.enlist::<L>();
        L::with_texts(labels, |texts| self.family().find(texts))
    }

    /// The series without labels.
    pub(crate) fn only(&self) -> &C {
        &self.family().first
    }

    /// What the series without labels has counted.
    pub(crate) fn total(&self) -> C::Total {
        let family = self.family();
        family.total(&family.first)
    }

    /// Copies the place of the series without labels, once it is hot.
    pub(crate) fn copy_slot_word(&self) {
        if self.is_shaped() {
            self.only().slot_word().copy_to(&self.slot_word);
        }
    }

    /// Whether this declaration was not given other buckets than the family has: the hot path counts them here, and the
    /// cells are there.
    fn is_shaped(&self) -> bool {
        let family = &self.family().desc;
        self.desc.bounds == family.bounds && self.desc.native == family.native
    }

    pub(crate) fn share(&self) -> Self {
        Self::of(Arc::clone(self.family()))
    }

    pub(crate) fn register(desc: Desc, registry: &Registry) -> Result<Self, Error> {
        let family = Arc::new(Family::new(checked(desc)?));
        registry.families().add(family.clone())?;
        Ok(Self::of(family))
    }

    pub(crate) fn get_or_register(desc: Desc, registry: &Registry) -> Result<Self, Error> {
        let name = desc.name.clone();
        let family = registry
            .families()
            .get_or_add(Arc::new(Family::<C>::new(checked(desc)?)))?;
        let (kind, place) = (family.desc().kind, family.desc().location);
        let family = family
            .as_any()
            .downcast::<Family<C>>()
            .map_err(|_| Error::registered(&name, kind, place, Some(Difference::Type)))?;
        Ok(Self::of(family))
    }
}

/// Whether so many series of so many cells lie in a row. Of all but histograms the compiler knows.
#[inline(always)]
fn has_row(cells: usize, series: usize) -> bool {
    cells > 0 && observe::stride(cells) <= observe::MOST_IN_ROW / series as u64
}

/// Before a family is made of it: a shape needs good bounds.
fn checked(desc: Desc) -> Result<Desc, Error> {
    desc.check().map(|()| desc)
}

/// A bound series: owns its labels, and looks the series up again if it was retired.
#[derive(Debug)]
pub(crate) struct BoundSeries<C: MetricCells> {
    series: CachedRef<Family<C>, C>,
    texts: Box<[Box<str>]>,
    /// The number of the combination in a closed label set, whose series are never retired.
    combination: Option<usize>,
}

impl<C: MetricCells> BoundSeries<C> {
    pub(crate) fn new<L: LabelSet>(declaration: &Declaration<C>, labels: &L::Borrowed<'_>) -> Self {
        declaration.enlist::<L>();
        let family = Arc::clone(declaration.family());
        let combination = (L::DENSE > 0).then(|| L::dense_index(labels));
        if L::DENSE > 0 {
            // The row has to be made before the first update.
            family.row(ClosedSet::of::<L>());
        }
        let texts = L::with_texts(labels, |texts| {
            texts.iter().map(|text| (*text).into()).collect()
        });
        let bound = Self {
            series: CachedRef::new(family),
            texts,
            combination,
        };
        bound.find();
        bound
    }

    /// Returns the series.
    #[inline]
    pub(crate) fn get(&self) -> SeriesRef<'_, C> {
        match self.series.get() {
            Some((cells, key)) if cells.slot_word().generation() == key.generation() => SeriesRef {
                family: self.series.owner(),
                cells,
                key,
            },
            _ => self.find(),
        }
    }

    #[cold]
    fn find(&self) -> SeriesRef<'_, C> {
        let (cells, key) = self.series.find(|family| {
            let series = match self.combination {
                Some(index) => family.closed(ClosedSet::NONE, index),
                None => family.with(&self.texts.iter().map(|text| &**text).collect::<Vec<_>>()),
            };
            (series.cells, series.key)
        });
        SeriesRef {
            family: self.series.owner(),
            cells,
            key,
        }
    }
}

impl<C: MetricCells> Clone for BoundSeries<C> {
    fn clone(&self) -> Self {
        Self {
            series: self.series.another(),
            texts: self.texts.clone(),
            combination: self.combination,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::family::desc::Names;
    use crate::observe::{Buckets, Tally, UpDown};

    use super::*;

    /// What is taken for a row is one, and what is not is none.
    #[test]
    fn rows_are_as_long_as_the_engine_makes_them() {
        fn agrees<C: MetricCells>(longest: usize) {
            for series in [1, longest - 1, longest, longest + 1, 4096] {
                let desc = Desc::new("row", C::KIND, Names::Fixed(&["x"]));
                let family = Family::<C>::new(desc.clone());
                let row = family.row(ClosedSet::new(series, |_| vec!["x"]));
                assert_eq!(row.is_some(), has_row(C::cells(&desc), series), "{series}");
                assert_eq!(row.is_some(), series <= longest);
            }
        }
        agrees::<Tally<u64>>(1024);
        agrees::<UpDown>(512);
        // Eleven bounds.
        agrees::<Buckets>(64);
    }
}
