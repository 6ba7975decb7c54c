//! Declarations: the common part of all metric types. A declaration has a description, and the
//! family after the first use.
//!
//! A `static` cannot be its own family, because the registry has to own the family, and a
//! declaration in a `let` is dropped earlier. So the first use makes the family and shares it with
//! the registry, and the same place finds it there when it declares it again. The declaration keeps
//! what the hot path needs: its own copy of the slot word of the series without labels, which is
//! never removed or retired.

use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::observe::{self, SlotWord};

use super::lazy_ref::LazyRef;
use crate::family::SeriesRef;
use crate::family::desc::Desc;
use crate::family::label::LabelSet;
use crate::family::{Family, MetricCells};
use crate::lockfree::{CachedRef, PartRef, SeriesKey, TextRef};
use crate::registry::{self, Registry};

/// A declared metric. See the [module](self).
pub(crate) struct Declaration<C: MetricCells> {
    /// A copy of the slot word of the series without labels, or of the first series of the row of a
    /// closed label set. Written by updates on the cold path, read by updates and look-ups.
    pub(crate) slot_word: SlotWord,
    pub(crate) desc: Desc,
    /// The family as updates look it up, and its cells. Set by the first use, unless a view
    /// switched the family off: then every update takes the branch of the first one, and returns
    /// there.
    family: PartRef<Family<C>, C>,
    /// The family, also if it is off. Set by the first use, read on the cold path.
    made: OnceLock<Arc<Family<C>>>,
}

impl<C: MetricCells> Declaration<C> {
    pub(crate) const fn new(desc: Desc) -> Self {
        Self {
            slot_word: SlotWord::new(),
            desc,
            family: PartRef::new(),
            made: OnceLock::new(),
        }
    }

    fn of(family: Arc<Family<C>>) -> Self {
        let mut desc = family.desc.clone();
        if let Some(view) = &desc.view {
            (desc.name, desc.labels) = (view.name.clone(), view.labels);
        }
        let declaration = Self::new(desc);
        if !family.desc.is_off() {
            declaration.family.owner_or(|| Arc::clone(&family));
        }
        // `set` cannot fail: the cell is new.
        let _ = declaration.made.set(family);
        declaration
    }

    /// Returns the family. The first call makes it and registers it in the default registry.
    #[inline]
    pub(crate) fn family(&self) -> &Arc<Family<C>> {
        match self.family.owner() {
            Some(family) => family,
            None => self.make_family(),
        }
    }

    #[cold]
    #[inline(never)]
    fn make_family(&self) -> &Arc<Family<C>> {
        if self.made.get().is_none() {
            let registry = registry::registry();
            let mut note = None;
            let making = crate::family::published::making();
            self.made.get_or_init(|| {
                let desc = registry.viewed(self.desc.clone(), C::FOLDS);
                let (family, to_log) = registry.add_static(desc, Family::create);
                note = to_log;
                family
            });
            drop(making);
            // A logger may use this very static, or wait for a thread that makes another one.
            if let Some(note) = note {
                registry.log_note(note);
            }
        }
        let made = self.made.get().expect("it was just made");
        if !made.desc.is_off() {
            let _making = crate::family::published::making();
            self.family.owner_or(|| Arc::clone(made));
        }
        made
    }

    /// Returns whether the family was made and is off, so that an update has nothing to do.
    #[inline]
    pub(crate) fn is_off(&self) -> bool {
        self.made.get().is_some_and(|family| family.desc.is_off())
    }

    /// Returns the family if it was made and is not off.
    #[inline]
    pub(crate) fn made(&self) -> Option<&Family<C>> {
        self.family.owner().map(|family| &**family)
    }

    /// Returns the series of combination `index` of a closed label set, which has `count` of them.
    #[inline(always)]
    pub(super) fn combination(&self, index: usize, count: usize) -> LazyRef<'_, C> {
        if has_row(C::cells(&self.desc), count) {
            return LazyRef::in_row(self, index);
        }
        let family = self.family();
        // The family may have a row all the same: if `buckets` was called on this declaration after
        // the family was made, the family's series have fewer cells than `self.desc` says.
        family.row();
        family.combination(index).into()
    }

    /// Returns one series of a closed label set. If the series are in a row, stores the row's slot
    /// word here for the next look-up.
    pub(super) fn in_row(&self, index: usize) -> SeriesRef<'_, C> {
        let family = self.family();
        if let Some(last) = family.row().filter(|_| self.has_family_row()) {
            self.slot_word.init_row(last);
        }
        family.combination(index)
    }

    /// Returns the cells of the series without labels, once [`found`](Self::found) was called.
    #[inline(always)]
    pub(crate) fn quick(&self) -> Option<&C> {
        self.family.part()
    }

    /// Makes [`quick`](Self::quick) return the cells from now on.
    pub(crate) fn found(&self) {
        self.family.set_part(Family::first);
    }

    /// Copies the slot word of the series without labels once it is hot.
    pub(crate) fn copy_slot_word(&self) {
        if self.slot_word.slot().is_none() && self.has_family_buckets() {
            let cells = self.family().first();
            cells.slot_word().copy_to(&self.slot_word);
        }
    }

    /// Returns whether this declaration has the same kinds of buckets as its family. They differ if
    /// a view or a later `buckets` or `native` changed them. The hot path asks this declaration for
    /// the kinds and writes the family's cells, so it may run only if they agree. It takes the
    /// bounds from the family.
    pub(crate) fn has_family_buckets(&self) -> bool {
        let kinds = |desc: &Desc| {
            let is_native = desc.native.is_some();
            (is_native, is_native && !desc.bounds.is_empty())
        };
        kinds(&self.desc) == kinds(&self.family().desc)
    }

    /// Returns whether this declaration and its family agree on the distance of the slots in a row.
    fn has_family_row(&self) -> bool {
        let stride = |desc| observe::stride(C::cells(desc));
        self.has_family_buckets() && stride(&self.desc) == stride(&self.family().desc)
    }

    /// Returns another handle of the family.
    pub(crate) fn another(&self) -> Self {
        Self::of(Arc::clone(self.family()))
    }

    pub(crate) fn register(desc: Desc, registry: &Registry) -> Result<Self, Error> {
        let family = Family::create(Self::viewed(desc, registry)?);
        registry.add_family(family.clone())?;
        Ok(Self::of(family))
    }

    pub(crate) fn get_or_register(desc: Desc, registry: &Registry) -> Result<Self, Error> {
        let desc = Self::viewed(desc, registry)?;
        registry.get_or_add(desc, Family::create).map(Self::of)
    }

    /// Applies the views of a registry to a description, and checks it: the shape of a family's
    /// cells can be computed only from valid bounds.
    fn viewed(desc: Desc, registry: &Registry) -> Result<Desc, Error> {
        // Unused statics have their names, too, so they are registered first.
        registry.enlist();
        let desc = registry.viewed(desc, C::FOLDS);
        desc.check().map(|()| desc)
    }
}

/// Returns whether `series` series of `cells` cells each fit in a row. The compiler evaluates this
/// for all kinds except histograms.
#[inline(always)]
fn has_row(cells: usize, series: usize) -> bool {
    cells > 0 && observe::stride(cells) <= observe::MOST_IN_ROW / series as u64
}

/// A bound series. It looks the series up again if that was removed or retired; the look-up makes
/// it again.
///
/// Aligned, so that what an update reads is in one cache line.
#[repr(C, align(16))]
pub(crate) struct BoundSeries<C: MetricCells> {
    series: CachedRef<Family<C>, C>,
    /// The label text, which the series has as well; the empty text for a label set that is not
    /// valid, which every look-up rejects. `None` for a combination of a closed label set, whose
    /// series are never removed or retired, so that the first look-up is the last; and in a family
    /// without fixed label names for a label set that is not valid.
    text: Option<TextRef>,
}

impl<C: MetricCells> BoundSeries<C> {
    /// Looks a label set up in a family that was enlisted.
    pub(super) fn new<L: LabelSet>(family: Arc<Family<C>>, labels: &L::Borrowed<'_>) -> Self {
        let series = CachedRef::new(family);
        if series.owner().is_closed() {
            // The first update of a series could otherwise promote the series alone, and it could
            // not be in the row.
            series.owner().row();
            return Self::closed(series, L::dense_index(labels));
        }
        let text = L::with_texts(labels, |texts| {
            let (_, key) = series.find(|family| {
                let series = family.with(texts);
                (series.cells, series.key)
            });
            series.owner().own_text(texts, key)
        });
        Self { series, text }
    }

    /// Returns the series of a combination of a closed label set, whose series exist.
    fn closed(series: CachedRef<Family<C>, C>, combination: usize) -> Self {
        series.find(|family| {
            let series = family.combination(combination);
            (series.cells, series.key)
        });
        let text = None;
        Self { series, text }
    }

    pub(super) fn family(&self) -> &Family<C> {
        self.series.owner()
    }

    /// Returns the series of the last look-up. It may have been removed or retired since.
    #[inline(always)]
    pub(super) fn last_found(&self) -> (&C, SeriesKey) {
        self.series.get_or(|| self.find())
    }

    /// Returns the series. Makes it if it was removed or retired.
    #[inline]
    pub(crate) fn get(&self) -> SeriesRef<'_, C> {
        let (cells, key) = self.last_found();
        self.current(cells, key)
    }

    /// Returns the series that [`last_found`](Self::last_found) returned, unless it was removed or
    /// retired since. Then makes it again.
    #[inline]
    pub(super) fn current<'a>(&'a self, cells: &'a C, key: SeriesKey) -> SeriesRef<'a, C> {
        let series = self.series_ref(cells, key);
        if series.is_current() {
            return series;
        }
        let (cells, key) = self.find();
        self.series_ref(cells, key)
    }

    fn series_ref<'a>(&'a self, cells: &'a C, key: SeriesKey) -> SeriesRef<'a, C> {
        let family = self.family();
        SeriesRef { family, cells, key }
    }

    /// Returns what the series has counted: nothing, if there is no such series. Makes none.
    pub(crate) fn total(&self) -> C::Total {
        let overflow = || (self.family().first(), SeriesKey::OVERFLOW);
        let (cells, key) = self.series.get_or(overflow);
        let found = self.series_ref(cells, key);
        let series = match &self.text {
            None => self.family().is_closed().then_some(found),
            Some(_) if !key.is_overflow() && found.is_current() => Some(found),
            Some(text) => self.family().find_text(text),
        };
        series.map_or_else(C::Total::default, SeriesRef::total)
    }

    /// Looks the series up, and makes it if needed.
    #[cold]
    #[inline(never)]
    fn find(&self) -> (&C, SeriesKey) {
        self.series.find(|family| {
            let series = match &self.text {
                Some(text) => family.with_text(text),
                None => family.with_invalid(),
            };
            (series.cells, series.key)
        })
    }
}

impl<C: MetricCells> Clone for BoundSeries<C> {
    fn clone(&self) -> Self {
        let series = CachedRef::new(Arc::clone(self.series.owner()));
        if self.text.is_none() && self.family().is_closed() {
            return Self::closed(series, self.last_found().1.index() as usize);
        }
        // The clone looks the series up when it is first used.
        let text = self.text.clone();
        Self { series, text }
    }
}

#[cfg(test)]
mod tests {
    use crate::family::desc::{ClosedSet, Names};
    use crate::observe::{Buckets, Tally, UpDown};

    use super::*;

    /// `has_row` and `Family::row` agree.
    #[test]
    fn rows_are_as_long_as_the_engine_makes_them() {
        fn agrees<C: MetricCells>(longest: usize) {
            for series in [1, longest - 1, longest, longest + 1, 4096] {
                let mut desc = Desc::new("row", C::KIND, Names::Fixed(&["x"]));
                desc.closed = ClosedSet::new(series, |_| vec!["x"]);
                let row = Family::<C>::new(desc.clone()).row();
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
