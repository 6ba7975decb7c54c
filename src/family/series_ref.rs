//! A reference to a series, from the look-up to the update.

use crate::lockfree::{Generation, SeriesKey};
use crate::observe::{self, Outcome};

use super::{Family, MetricCells, total_of};

/// A series and the key that it had when it was looked up. It is *stale* once the series was
/// removed or retired.
pub(crate) struct SeriesRef<'a, C: MetricCells> {
    pub(crate) family: &'a Family<C>,
    pub(crate) cells: &'a C,
    pub(crate) key: SeriesKey,
}

impl<C: MetricCells> Clone for SeriesRef<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: MetricCells> Copy for SeriesRef<'_, C> {}

impl<C: MetricCells> SeriesRef<'_, C> {
    /// Returns the generation that the series had when it was looked up.
    #[inline(always)]
    pub(crate) fn generation(&self) -> Generation {
        self.key.generation()
    }

    /// Returns whether the series is still the one that was looked up: it was neither removed nor
    /// retired since.
    pub(crate) fn is_current(&self) -> bool {
        self.cells.slot_word().generation() == self.generation()
    }

    /// Runs an update off the hot path. If this reference is stale, the update makes the series
    /// again if it was removed, and counts in the overflow series if it was retired; see
    /// [`Family::successor`].
    ///
    /// `update` takes the cells, their generation, and whether the series is promoted at its first
    /// update.
    #[inline(always)]
    pub(crate) fn update(self, update: impl Fn(&C, Generation, bool) -> Outcome) {
        if update(self.cells, self.generation(), self.family.desc.hot) == Outcome::Stale {
            // The parts are passed one by one, as in `LazyRef::resolve`.
            Self::update_successor(self.family, self.key, update);
        }
    }

    /// Returns the total of the series. If this reference is stale, the cells may belong to another
    /// label set. Then this is the total of the series that now has the same labels, if the series
    /// was removed, and an empty total if it was retired.
    pub(crate) fn total(self) -> C::Total {
        // Series are removed and retired in passes only. So during this pass none is.
        let mut pass = observe::engine().pass();
        let current = if self.is_current() {
            Some(self)
        } else {
            self.family.same_labels(self.key)
        };
        current.map_or_else(C::Total::default, |series| {
            total_of(series.cells, &mut pass)
        })
    }

    #[cold]
    #[inline(never)]
    fn update_successor(
        family: &Family<C>,
        mut key: SeriesKey,
        update: impl Fn(&C, Generation, bool) -> Outcome,
    ) {
        // The successor may be removed before it is updated. After eight tries, count in the
        // overflow series, which is never removed.
        for _ in 0..8 {
            let series = family.successor(key);
            key = series.key;
            let hot = family.desc.hot && !key.is_overflow();
            if update(series.cells, key.generation(), hot) != Outcome::Stale {
                return;
            }
        }
        update(family.overflow().cells, Generation::FIRST, false);
    }
}
