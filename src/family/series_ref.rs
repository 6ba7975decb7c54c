//! A reference to a series, from the look-up to the update.

use crate::lockfree::{Generation, SeriesKey};
use crate::observe::Outcome;

use super::{Exported, Family};

/// A series, and the key it had when it was found.
#[derive(Debug)]
pub(crate) struct SeriesRef<'a, C: Exported> {
    pub(crate) family: &'a Family<C>,
    pub(crate) cells: &'a C,
    pub(crate) key: SeriesKey,
}

impl<C: Exported> Clone for SeriesRef<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: Exported> Copy for SeriesRef<'_, C> {}

impl<C: Exported> SeriesRef<'_, C> {
    /// The generation that the series had when it was found.
    #[inline(always)]
    pub(crate) fn generation(&self) -> Generation {
        self.key.generation()
    }

    /// Whether the series was not retired since it was found.
    pub(crate) fn is_current(&self) -> bool {
        self.cells.slot_word().generation() == self.generation()
    }

    /// Runs an update off the hot path: on this series or, if it was retired, on the overflow series.
    ///
    /// `update` gets the cells, their generation, and whether the series is hot from its first update.
    pub(crate) fn update(self, update: impl Fn(&C, Generation, bool) -> Outcome) {
        let hot = self.family.desc.hot;
        if update(self.cells, self.generation(), hot) == Outcome::Stale {
            update(self.family.overflow().cells, Generation::FIRST, false);
        }
    }
}
