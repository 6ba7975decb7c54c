//! The series of a family. Which of three kinds they are is settled when the family is made:
//!
//! - *One* series without labels.
//! - Those of a *closed* label set: all combinations, made with the family. They are never removed
//!   or retired. Their slots are in one row, so that a look-up is a multiplication.
//! - Those of an *open* label set: made when they are first looked up, up to a limit. They may be
//!   removed or retired, and their numbers are used again.
//!
//! A view that changes labels makes a closed label set an open one.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::lockfree::{AtomicText, CachedArena, Generation, LabelledRun, SeriesKey};
use crate::observe::{self, Cells, Pass};

use super::desc::Desc;
use super::roster::{OpenSet, RetiredSeries, Roster, SeriesTable};
use super::{Core, Family, LabelledSeries, MetricCells, each_of, published};
use crate::observe::SlotWord;
use crate::sync::lock;

/// The series of a family, without the one that every family has. See the [module](self).
#[allow(
    clippy::large_enum_variant,
    reason = "a family has one; behind a pointer each look-up would load one word more"
)]
pub(super) enum SeriesStore<C: MetricCells> {
    /// The series without labels is the only one.
    One,
    Closed(ClosedSeries<C>),
    /// The overflow series is not in here: it is the one that every family has.
    Open(OpenSeries<C>),
}

/// The series of a closed label set.
pub(super) struct ClosedSeries<C> {
    /// The combinations, in their order.
    pub(super) all: LabelledRun<C, AtomicText>,
    /// The slot of the first combination, or `None` if there can be no row. Set by the first
    /// look-up, before any update: a series that has a slot of its own cannot be in a row.
    row: OnceLock<Option<u64>>,
}

/// The series of an open label set.
pub(super) struct OpenSeries<C: MetricCells> {
    /// The series, and the threads' label caches. Series are made under a lock of the index, and
    /// read by updates and scrapes.
    pub(super) arena: CachedArena<C, AtomicText>,
    pub(super) roster: Roster,
    /// The total of the overflow series when the family was last cleared, which scrapes subtract.
    /// Locked by passes, and by threads that publish the family.
    baseline: Mutex<Option<C::Total>>,
}

impl<C: MetricCells> SeriesStore<C> {
    pub(super) fn new(desc: &Desc, shape: &C::Shape) -> Self {
        if desc.is_unlabelled() {
            Self::One
        } else if desc.is_closed() {
            Self::Closed(ClosedSeries::new(desc, shape))
        } else {
            Self::Open(OpenSeries {
                arena: CachedArena::new(),
                roster: Roster::default(),
                baseline: Mutex::default(),
            })
        }
    }

    /// Returns the runs of series, each with the number of its first series. They are few.
    pub(super) fn runs(&self) -> Vec<(usize, &LabelledRun<C, AtomicText>)> {
        match self {
            Self::One => Vec::new(),
            Self::Closed(closed) => vec![(0, &closed.all)],
            Self::Open(open) => open.arena.runs().collect(),
        }
    }
}

impl<C: MetricCells> ClosedSeries<C> {
    fn new(desc: &Desc, shape: &C::Shape) -> Self {
        let all = LabelledRun::<C, AtomicText>::new(desc.closed.len(), || C::new(shape));
        for (series, texts) in each_of(&all).zip(desc.closed.texts()) {
            series
                .text
                .set(&desc.text_of(&texts), crate::clock::millis());
        }
        Self {
            all,
            row: OnceLock::new(),
        }
    }

    /// Returns the slot of the first combination, and makes the row if needed. Returns `None` if
    /// the combinations have no cells or are too many for a row, or if no slots are free.
    pub(super) fn row(&self, desc: &Desc) -> Option<u64> {
        if let Some(row) = self.row.get() {
            return *row;
        }
        // Keeps the process from forking while the row is half made.
        let _making = published::making();
        *self.row.get_or_init(|| {
            let words = self.all.series.iter().map(Cells::slot_word);
            observe::promote_row(observe::engine(), words, C::cells(desc))
        })
    }

    /// Returns the combination that has this label text.
    pub(super) fn find_text(&self, text: &str) -> Option<(&C, SeriesKey)> {
        let mut all = each_of(&self.all).zip(0..);
        let (series, index) = all.find(|(series, _)| series.text.with(|own| own == text))?;
        Some((series.cells, SeriesKey::new(Generation::FIRST, index)))
    }
}

impl<C: MetricCells> OpenSeries<C> {
    #[inline]
    pub(super) fn series(&self, index: usize) -> Option<LabelledSeries<'_, C>> {
        let (run, index) = self.arena.run_of(index)?;
        LabelledSeries::new(run, index)
    }

    pub(super) fn baseline(&self) -> MutexGuard<'_, Option<C::Total>> {
        lock(&self.baseline)
    }

    /// Forgets the state of the overflow series and of expiry; live series stay.
    pub(super) fn start_over(&self) {
        self.roster.start_over();
        *self.baseline() = None;
    }
}

impl<C: MetricCells> Family<C> {
    /// Returns the family's open label set, without the type of its cells.
    pub(super) fn open_set(&self) -> Option<OpenSet<'_>> {
        let open = self.open()?;
        Some(self.set_of(open))
    }

    /// As [`open_set`](Self::open_set), for a caller that has the store.
    #[inline]
    pub(super) fn set_of<'a>(&'a self, open: &'a OpenSeries<C>) -> OpenSet<'a> {
        OpenSet {
            core: &self.core,
            roster: &open.roster,
            series: self,
            folds: C::FOLDS,
        }
    }

    /// Makes a series of a run live under this label text.
    pub(super) fn open_text(
        core: &Core,
        run: &LabelledRun<C, AtomicText>,
        index: usize,
        text: &str,
    ) {
        let Some(series) = LabelledSeries::new(run, index) else {
            return;
        };
        // Not before the family, even if the clock was set back: older counts were cleared.
        let created = crate::clock::millis().max(core.created.load(Relaxed));
        series.text.set(text, created);
        Self::publish_text(run, index, text, created);
    }

    /// Removes the label text of a series that is not live any more.
    pub(super) fn close_text(run: &LabelledRun<C, AtomicText>, index: usize) {
        if let Some(series) = LabelledSeries::new(run, index) {
            series.text.clear();
        }
        Self::unpublish_text(run, index);
    }
}

impl<C: MetricCells> SeriesTable for Family<C> {
    fn get(&self, index: u32) -> Option<(&SlotWord, &AtomicText)> {
        let series = self.open()?.series(index as usize)?;
        Some((series.cells.slot_word(), series.text))
    }

    fn begin(&self, index: u32, text: &str) -> Option<()> {
        let (arena, index) = (&self.open()?.arena, index as usize);
        arena.get_or_make(index, || C::new(&self.shape))?;
        self.publish_run_of(arena, index);
        if let Some((run, index)) = arena.run_of(index) {
            Self::open_text(&self.core, run, index, text);
        }
        arena.set_live(index, true);
        Some(())
    }

    fn end(&self, index: u32) {
        let Some(open) = self.open() else {
            return;
        };
        if let Some((run, index)) = open.arena.run_of(index as usize) {
            Self::close_text(run, index);
        }
        open.arena.set_live(index as usize, false);
    }

    fn reclaim(&self, pass: &mut Pass<'_>, retired: &RetiredSeries) -> bool {
        let series = self
            .open()
            .and_then(|open| open.series(retired.index as usize));
        series.is_some_and(|series| {
            let into = (!retired.forget).then_some(self.first());
            observe::reclaim(pass, &self.shape, series.cells, retired.cells, into)
        })
    }
}
