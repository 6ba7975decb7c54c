//! The result of a look-up: a series, or a combination of a closed label set, whose series is
//! looked up when it is needed.
//!
//! The series of a closed label set have their slots in one row, in the order of the combinations,
//! from the first update of the family on. So a look-up reads nothing but the declaration: the slot
//! of a series is the first slot of the row plus a multiple of the series' index. The family and
//! the cells are looked up only if an update takes the cold path. Such a series is never removed or
//! retired, so it is never stale.

use crate::lockfree::{Generation, SeriesKey};
use crate::observe;

use super::declaration::{BoundSeries, Declaration};
use crate::family::desc::Desc;
use crate::family::{Family, MetricCells, SeriesRef};

/// A reference to a series that looks up family and cells only if they are needed. See the
/// [module](self).
pub(crate) enum LazyRef<'a, C: MetricCells> {
    /// A series that was looked up.
    Resolved(SeriesRef<'a, C>),
    /// The series that a bound series found last. It may be stale by now.
    Bound {
        bound: &'a BoundSeries<C>,
        cells: &'a C,
        key: SeriesKey,
    },
    /// A series in the row of a closed label set.
    Row {
        declaration: &'a Declaration<C>,
        /// The last cell of the series. A number above the length of every slab, if there is no row
        /// yet.
        last: u64,
        index: usize,
    },
}

/// An update that the hot path rejected.
pub(crate) trait SeriesUpdate<C: MetricCells>: Copy {
    /// The common case. Returns `false`, and does nothing, in any other.
    ///
    /// Gets the cells; the last cell of their block, as [`SlotWord::last`](observe::SlotWord::last)
    /// returned it, and the generation; and the family.
    fn quick<'a>(
        self,
        cells: &C,
        last_and_generation: (u64, Generation),
        family: impl FnOnce() -> &'a Family<C>,
    ) -> bool;

    /// All cases.
    fn slow(self, series: SeriesRef<'_, C>);
}

impl<C: MetricCells> Clone for LazyRef<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: MetricCells> Copy for LazyRef<'_, C> {}

impl<'a, C: MetricCells> From<SeriesRef<'a, C>> for LazyRef<'a, C> {
    #[inline(always)]
    fn from(series: SeriesRef<'a, C>) -> Self {
        Self::Resolved(series)
    }
}

impl<'a, C: MetricCells> LazyRef<'a, C> {
    /// Returns the series of a bound series, without a check whether it is current.
    #[inline(always)]
    pub(super) fn bound(bound: &'a BoundSeries<C>) -> Self {
        let (cells, key) = bound.last_found();
        Self::Bound { bound, cells, key }
    }

    /// Returns the series of the combination `index`, in the row of its family.
    #[inline(always)]
    pub(super) fn in_row(declaration: &'a Declaration<C>, index: usize) -> Self {
        let stride = observe::stride(C::cells(&declaration.desc));
        Self::Row {
            declaration,
            last: declaration.slot_word.last(Generation::FIRST) + stride * index as u64,
            index,
        }
    }

    /// Returns the last cell of the series. If the series is cold or stale, or its slot is closing,
    /// returns a number above the length of every slab.
    #[inline(always)]
    pub(crate) fn last(&self) -> u64 {
        match *self {
            Self::Resolved(series) => series.cells.slot_word().last(series.generation()),
            Self::Bound { cells, key, .. } => cells.slot_word().last(key.generation()),
            Self::Row { last, .. } => last,
        }
    }

    /// Returns the series, if it is not in a row. It may be stale.
    #[inline(always)]
    pub(crate) fn resolved(&self) -> Option<SeriesRef<'a, C>> {
        match *self {
            Self::Resolved(series) => Some(series),
            Self::Bound { bound, cells, key } => {
                let family = bound.family();
                Some(SeriesRef { family, cells, key })
            }
            Self::Row { .. } => None,
        }
    }

    /// Returns the family if it was made.
    #[inline(always)]
    pub(crate) fn family(&self) -> Option<&'a Family<C>> {
        match *self {
            Self::Resolved(series) => Some(series.family),
            Self::Bound { bound, .. } => Some(bound.family()),
            Self::Row { declaration, .. } => declaration.made(),
        }
    }

    /// Returns the description of the family. For a series in a row it is the declaration's own,
    /// whose buckets may differ from the family's. Then the row is never hot, so only hot updates
    /// may rely on the buckets.
    #[inline(always)]
    pub(crate) fn desc(&self) -> &'a Desc {
        match *self {
            Self::Resolved(series) => &series.family.desc,
            Self::Bound { bound, .. } => &bound.family().desc,
            Self::Row { declaration, .. } => &declaration.desc,
        }
    }

    /// Runs an update that the hot path rejected. `last` is what [`last`](Self::last) returned.
    ///
    /// The parts are passed one by one. If `self` were passed as a whole, it would have to be in
    /// memory, and the hot path would have to write it there as well.
    #[inline(always)]
    pub(crate) fn update(self, last: u64, update: impl SeriesUpdate<C>) {
        match self {
            Self::Resolved(series) => {
                update_series(series.family, series.cells, series.key, last, update);
            }
            Self::Bound { bound, cells, key } => {
                update_bound(bound, cells, key.generation(), last, update);
            }
            Self::Row {
                declaration, index, ..
            } => resolve_row(declaration, index, |series| update.slow(series)),
        }
    }

    /// Runs `f` with the series, for everything but updates. Passes the parts one by one, as
    /// [`update`](Self::update) does.
    #[inline(always)]
    pub(crate) fn resolve<R>(self, f: impl FnOnce(SeriesRef<'a, C>) -> R) -> R {
        match self {
            Self::Resolved(series) => resolve_series(series.family, series.cells, series.key, f),
            Self::Bound { bound, cells, key } => resolve_bound(bound, cells, key, f),
            Self::Row {
                declaration, index, ..
            } => resolve_row(declaration, index, f),
        }
    }
}

#[cold]
#[inline(never)]
fn resolve_series<'a, C: MetricCells, R>(
    family: &'a Family<C>,
    cells: &'a C,
    key: SeriesKey,
    f: impl FnOnce(SeriesRef<'a, C>) -> R,
) -> R {
    f(SeriesRef { family, cells, key })
}

#[inline(never)]
fn update_series<C: MetricCells>(
    family: &Family<C>,
    cells: &C,
    key: SeriesKey,
    last: u64,
    update: impl SeriesUpdate<C>,
) {
    if !update.quick(cells, (last, key.generation()), || family) {
        resolve_series(family, cells, key, |series| update.slow(series));
    }
}

#[inline(never)]
fn update_bound<C: MetricCells>(
    bound: &BoundSeries<C>,
    cells: &C,
    generation: Generation,
    last: u64,
    update: impl SeriesUpdate<C>,
) {
    if !update.quick(cells, (last, generation), || bound.family()) {
        update_current(bound, cells, update);
    }
}

#[cold]
#[inline(never)]
fn update_current<C: MetricCells>(bound: &BoundSeries<C>, cells: &C, update: impl SeriesUpdate<C>) {
    let family = bound.family();
    // Another look-up would count one more update in the overflow series.
    let is_first = std::ptr::eq(cells, family.first());
    update.slow(if is_first { family.only() } else { bound.get() });
}

#[cold]
#[inline(never)]
fn resolve_bound<'a, C: MetricCells, R>(
    bound: &'a BoundSeries<C>,
    cells: &'a C,
    key: SeriesKey,
    f: impl FnOnce(SeriesRef<'a, C>) -> R,
) -> R {
    f(bound.current(cells, key))
}

#[cold]
#[inline(never)]
fn resolve_row<'a, C: MetricCells, R>(
    declaration: &'a Declaration<C>,
    index: usize,
    f: impl FnOnce(SeriesRef<'a, C>) -> R,
) -> R {
    f(declaration.in_row(index))
}
