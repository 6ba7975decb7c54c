//! A series as a look-up gives it: borrowed, for now.
//!
//! The series of a closed label set have slots in one row, in the order of the combinations, from the first update of the
//! family on. So a look-up needs no pointer but the declaration's own: the row's place and a product. Everything else
//! is found when an update goes the cold way.

use crate::lockfree::{Generation, SeriesKey};
use crate::observe;

use super::declaration::Declaration;
use crate::family::desc::{ClosedSet, Desc};
use crate::family::{Family, MetricCells, SeriesRef};

/// One series of a family. See the module's text.
#[derive(Debug)]
pub(crate) struct Handle<'a, C: MetricCells>(At<'a, C>);

#[derive(Debug)]
enum At<'a, C: MetricCells> {
    Series(SeriesRef<'a, C>),
    /// In the row of a closed label set.
    Row {
        declaration: &'a Declaration<C>,
        /// The last cell of the series; a huge number as long as there is no row.
        last: u64,
        index: usize,
        /// The combinations of the closed label set.
        set: ClosedSet,
    },
}

macro_rules! copy {
    ($($ty:ident),*) => {$(
        impl<C: MetricCells> Clone for $ty<'_, C> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<C: MetricCells> Copy for $ty<'_, C> {}
    )*};
}

copy!(Handle, At);

impl<'a, C: MetricCells> From<SeriesRef<'a, C>> for Handle<'a, C> {
    #[inline(always)]
    fn from(found: SeriesRef<'a, C>) -> Self {
        Self(At::Series(found))
    }
}

impl<'a, C: MetricCells> Handle<'a, C> {
    /// Combination `index` of `set`, in the row of its family.
    #[inline(always)]
    pub(super) fn in_row(declaration: &'a Declaration<C>, index: usize, set: ClosedSet) -> Self {
        let stride = observe::stride(C::cells(&declaration.desc));
        Self(At::Row {
            declaration,
            last: declaration.slot_word.last(Generation::FIRST) + stride * index as u64,
            index,
            set,
        })
    }

    /// The last cell of its block; a huge number if it is cold or stale.
    #[inline(always)]
    pub(crate) fn last(&self) -> u64 {
        match self.0 {
            At::Series(found) => found.cells.slot_word().last(found.generation()),
            At::Row { last, .. } => last,
        }
    }

    /// The series itself, where it is not in a row.
    #[inline(always)]
    pub(crate) fn series(&self) -> Option<SeriesRef<'a, C>> {
        match self.0 {
            At::Series(found) => Some(found),
            At::Row { .. } => None,
        }
    }

    /// What its family is and means; of a row it counts only where that is hot.
    #[inline(always)]
    pub(crate) fn desc(&self) -> &'a Desc {
        match self.0 {
            At::Series(found) => &found.family.desc,
            At::Row { declaration, .. } => &declaration.desc,
        }
    }

    /// Runs `f` with the series itself: an update that goes the cold way.
    ///
    /// The parts are handed over one by one: a handle that is handed over whole has to be in memory, also on the way
    /// where nobody wants it.
    #[inline(always)]
    pub(crate) fn cold<R>(self, f: impl FnOnce(SeriesRef<'a, C>) -> R) -> R {
        match self.0 {
            At::Series(found) => cold_series(found.family, found.cells, found.key, f),
            At::Row {
                declaration,
                index,
                set,
                ..
            } => cold_row(declaration, set, index, f),
        }
    }
}

#[cold]
#[inline(never)]
fn cold_series<'a, C: MetricCells, R>(
    family: &'a Family<C>,
    cells: &'a C,
    key: SeriesKey,
    f: impl FnOnce(SeriesRef<'a, C>) -> R,
) -> R {
    f(SeriesRef { family, cells, key })
}

#[cold]
#[inline(never)]
fn cold_row<'a, C: MetricCells, R>(
    declaration: &'a Declaration<C>,
    set: ClosedSet,
    index: usize,
    f: impl FnOnce(SeriesRef<'a, C>) -> R,
) -> R {
    f(declaration.in_row(set, index))
}
