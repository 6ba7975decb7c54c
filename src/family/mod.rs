//! A family: its series, their look-up by label set, and their removal and retirement.
//!
//! The series are in an arena: chunks that never move, in the order in which the series were made.
//! A look-up tries the thread's own [label cache](crate::lockfree::CachedArena), then the
//! [index]. A series that was removed or retired, and then reclaimed, is reused for another label
//! set, with the next generation; [`retire`] defines the three words.

mod constants;
pub(crate) mod desc;
pub(crate) mod grammar;
mod index;
mod intern;
pub(crate) mod label;
pub(crate) mod lint;
mod lookup;
mod pages;
mod population;
pub(crate) mod published;
mod quiet;
mod retire;
mod scrape;
mod series_ref;
pub(crate) mod shape;
mod states;
mod texts;
pub(crate) mod view;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::error::{Error, UpdateRule, warn};
use crate::lockfree::{
    AtomicText, CachedArena, Exemplars, Generation, LabelledRun, Run, SeriesKey,
};
use crate::observe::{self, Cells, Pass};
use crate::snapshot::{self, GaugeMode, Kind, Page, Values, labels};

pub(crate) use crate::mapped::format::CellKind;
use desc::{ClosedSet, Desc};
use index::Index;
use population::Population;
use retire::Removed;
use scrape::Scraped;
pub(crate) use series_ref::SeriesRef;

/// The part of a metric kind's cells, beyond [`Cells`], that a scrape needs to write them.
pub(crate) trait MetricCells: Cells {
    /// The metric kind of a family of these cells.
    const KIND: Kind;
    /// The number of cells that one series has in a shard; 0 for a kind without any.
    fn cells(desc: &Desc) -> usize;
    /// Returns what all series of a family share, such as bounds.
    fn shape(desc: &Desc) -> Self::Shape;
    /// Returns the empty column of a snapshot for the values of a family.
    fn values(desc: &Desc, shape: &Self::Shape) -> Values;
    /// Writes one series.
    fn write(total: &Self::Total, values: &mut Values);
    /// Writes several series.
    fn write_all(totals: &[Self::Total], values: &mut Values) {
        totals.iter().for_each(|total| Self::write(total, values));
    }
    /// Returns a number that changes when the series does.
    fn fingerprint(total: &Self::Total) -> u64;
    /// Subtracts what the overflow series held when the family was cleared.
    fn subtract(total: &mut Self::Total, baseline: &Self::Total);
    /// Returns the kind of the cells in a mapped file.
    fn format(shape: &Self::Shape) -> CellKind;
    /// Returns the window of a summary: when its first age began, the length of an age, and their
    /// number.
    fn window(_shape: &Self::Shape) -> [u64; 3] {
        [0; 3]
    }
    /// Returns a total as the words of a baseline in a mapped file; none if
    /// [`subtract`](Self::subtract) does nothing.
    fn baseline(_total: &Self::Total) -> Vec<u64> {
        Vec::new()
    }
    /// Whether the totals of retired series are folded into the overflow series.
    const FOLDS: bool;
    /// Whether updates are in cells of the thread that made them, once a series is hot.
    const OWN_CELLS: bool = true;
    /// Whether the fingerprint of a series changes with every update.
    const SHOWS_EACH_UPDATE: bool = true;
    /// Returns whether an unchanged series may expire.
    fn may_expire(_total: &Self::Total) -> bool {
        true
    }
}

/// A registered family.
#[derive(Debug)]
pub(crate) struct Family<C: MetricCells> {
    /// Never changes.
    pub(crate) desc: Desc,
    /// The properties that the cells of all series share, such as bounds. Never changes.
    pub(crate) shape: C::Shape,
    /// The series without labels; in a labelled family, the overflow series.
    first: Run<C>,
    /// From label sets to series numbers. Written by threads that make, remove or retire series,
    /// read by look-ups that miss the label cache.
    index: Index,
    /// The series, and the threads' label caches. Series are made under a lock of the index, and
    /// read by updates and scrapes.
    arena: CachedArena<C, Label>,
    /// Every combination of a closed label set. The first thread that needs one makes all of them.
    closed: OnceLock<LabelledRun<C, Label>>,
    /// The keys of the series in which the combinations count, if a view changes their labels.
    /// Written and read by look-ups; a key that is stale or missing is looked up again.
    combinations: OnceLock<Box<[AtomicU64]>>,
    /// The slot of the first combination, or `None` if the combinations are too many for a row. Set
    /// by the first update.
    row: OnceLock<Option<u64>>,
    /// The number of series. Written by threads that make, remove or retire series, read by those
    /// and by scrapes.
    population: Population,
    /// Incremented when series begin to count again under the labels that they have. Scrapes
    /// compare it: after a change, they build all label pages again.
    version: AtomicU64,
    /// Whether there is an overflow series to export. Set by updates and by threads that retire a
    /// series, cleared by `clear`, read by scrapes.
    overflowed: AtomicBool,
    /// Whether the family was cleared, so that an overflow series without later updates is not
    /// exported. Written by `clear`, read by scrapes.
    is_cleared: AtomicBool,
    /// Whether reaching the limit was logged. Read and written by updates above the limit.
    warned_full: AtomicBool,
    /// The number of updates in the overflow series. Written by these updates, read by scrapes.
    overflowed_updates: AtomicU64,
    /// The number of rejected updates. Written by these updates, read by scrapes.
    rejected: AtomicU64,
    /// Whether a rejected update was logged. Read and written by rejected updates.
    warned_rejected: AtomicBool,
    /// When the series without labels, or the overflow series, began to count, in milliseconds
    /// since the Unix epoch. Written by `clear`, read by scrapes.
    created: AtomicU64,
    /// The sign of the first infinity that was observed: 1 is plus, 2 is minus, 0 is none yet.
    /// Written and read by updates.
    infinity: AtomicU32,
    /// Whether `retirement` has a series to reuse. Written under its lock, and read without it by
    /// threads that make series.
    has_free: AtomicBool,
    /// Locked by passes, by threads that reuse a series, and by updates through stale handles.
    retirement: Mutex<Retirement<C::Total>>,
    /// Locked by scrapes.
    scraped: Mutex<Scraped<C::Total>>,
    /// Held by [`exclusively`](Family::exclusively).
    exclusive: Mutex<()>,
    /// Allocated for the first exemplar. Written by updates, read by scrapes.
    exemplars: OnceLock<Box<Exemplars>>,
    /// The record of the family in the mapped file, for other processes. Locked by threads that
    /// make series, and by those that register or drop the family.
    records: published::FamilyRecords,
}

/// The series that are not reclaimed yet, those to reuse, and the state of expiry. A lock of the
/// family guards all of it.
#[derive(Debug)]
struct Retirement<T> {
    /// Removed and retired series that wait for owners to acknowledge, or for a writer.
    retired: Vec<RetiredSeries>,
    /// The length of `retired` from which `remove` and `retire` try to reclaim: twice as many as
    /// the last attempt could not reclaim.
    sweep_threshold: usize,
    /// Reclaimed series, to reuse. The lowest number comes first, so that live series stay close
    /// together.
    free: BinaryHeap<Reverse<u32>>,
    /// The last fingerprint of each series, and since when it has been that.
    idle: Vec<(u64, Option<Instant>)>,
    /// The total of the overflow series when the family was last cleared.
    cleared: Option<T>,
    /// The label texts of the last series that were removed, so that updates through their handles
    /// make the series again.
    removed: Removed,
    /// The series that left with their totals, for snapshots.
    listed: snapshot::Removed,
}

/// A removed or retired series that is not reclaimed yet.
#[derive(Debug)]
struct RetiredSeries {
    index: u32,
    /// The slot that it had, and what has to happen before it is reclaimed.
    cells: observe::Retired,
    /// Whether its total is dropped and not folded into the overflow series: for removed series,
    /// and for gauges.
    forget: bool,
}

/// One label set of a family.
#[derive(Debug)]
pub(crate) struct Series<'a, C> {
    pub(crate) cells: &'a C,
    /// The label text, and when the series began to count. Set while the series is live.
    text: &'a AtomicText,
}

impl<C> Clone for Series<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Series<'_, C> {}

/// The label text of a series, and when the series began to count. Set while the series is live.
/// Written by threads that make, remove or retire the series, read by look-ups and scrapes.
#[derive(Debug)]
pub(crate) struct Label(AtomicText);

impl Default for Label {
    fn default() -> Self {
        Self(AtomicText::empty())
    }
}

impl Label {
    /// Appends the label text to `page`. Returns `false` if the series has none.
    fn copy_text(&self, page: &mut Page) -> bool {
        self.0.get(|text| {
            if let Some((text, created)) = text {
                page.push(text, created);
            }
            text.is_some()
        })
    }
}

/// The label names and values of one series.
type Labels = Vec<(String, String)>;

impl<'a, C: MetricCells> Series<'a, C> {
    fn new(run: &'a LabelledRun<C, Label>, index: usize) -> Option<Self> {
        Some(Self {
            cells: run.series.get(index)?,
            text: &run.labels.get(index)?.0,
        })
    }

    /// Returns the current key of this series, which has the number `index`.
    #[inline]
    fn key(&self, index: u32) -> SeriesKey {
        SeriesKey::new(self.cells.slot_word().generation(), index)
    }

    #[inline]
    fn is_live(&self) -> bool {
        self.text.is_set()
    }
}

/// Iterates over the series of a run.
fn each_of<C: MetricCells>(run: &LabelledRun<C, Label>) -> impl Iterator<Item = Series<'_, C>> {
    let pairs = run.series.iter().zip(&run.labels);
    pairs.map(|(cells, label)| Series {
        cells,
        text: &label.0,
    })
}

impl<C: MetricCells> Family<C> {
    /// Makes a family that a registry and declarations own.
    pub(crate) fn create(desc: Desc) -> Arc<Self> {
        let family = Arc::new(Self::new(desc));
        published::add(&family);
        family
    }

    pub(crate) fn new(mut desc: Desc) -> Self {
        let shape = C::shape(&desc);
        // What adds up over threads adds up over processes.
        if C::KIND == Kind::Gauge && C::FOLDS {
            desc.mode = desc.mode.or(Some(GaugeMode::LiveSum));
        }
        Self {
            desc,
            first: Run::new(1, || C::new(&shape)),
            shape,
            index: Index::new(),
            arena: CachedArena::new(),
            has_free: AtomicBool::new(false),
            closed: OnceLock::new(),
            combinations: OnceLock::new(),
            row: OnceLock::new(),
            population: Population::default(),
            version: AtomicU64::new(0),
            overflowed: AtomicBool::new(false),
            is_cleared: AtomicBool::new(false),
            warned_full: AtomicBool::new(false),
            overflowed_updates: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            warned_rejected: AtomicBool::new(false),
            infinity: AtomicU32::new(0),
            created: AtomicU64::new(crate::clock::millis()),
            retirement: Mutex::new(Retirement {
                retired: Vec::new(),
                sweep_threshold: 0,
                free: BinaryHeap::new(),
                idle: Vec::new(),
                cleared: None,
                removed: Removed::default(),
                listed: snapshot::Removed::default(),
            }),
            scraped: Mutex::default(),
            exclusive: Mutex::new(()),
            exemplars: OnceLock::new(),
            records: published::FamilyRecords::default(),
        }
    }

    /// Returns a series of a closed label set.
    ///
    /// A caller that updates the series calls [`row`](Self::row) first, even if its own declaration
    /// needs no row. Otherwise the update could promote the series alone, and a series that has a
    /// slot of its own can no longer be part of the row.
    #[inline]
    pub(crate) fn closed(&self, set: ClosedSet, index: usize) -> SeriesRef<'_, C> {
        let all = match self.closed.get() {
            Some(all) => all,
            None if self.has_other_labels() => return self.combination(set, index),
            None => self.make_closed(set),
        };
        match all.series.get(index) {
            Some(cells) => SeriesRef {
                family: self,
                cells,
                key: SeriesKey::new(Generation::FIRST, index as u32),
            },
            None => self.overflow(),
        }
    }

    /// Returns the series of a combination whose labels a view changes. The series of the family
    /// are those of an open label set.
    #[cold]
    fn combination(&self, set: ClosedSet, index: usize) -> SeriesRef<'_, C> {
        if self.is_unlabelled() {
            return self.only();
        }
        let keys = self.combinations.get_or_init(|| {
            let none = || AtomicU64::new(SeriesKey::OVERFLOW.word());
            (0..set.len()).map(|_| none()).collect()
        });
        let known = keys.get(index);
        if let Some(known) = known {
            let key = SeriesKey::of_word(known.load(Relaxed));
            let series = self.series(key.index() as usize).map(|series| SeriesRef {
                family: self,
                cells: series.cells,
                key,
            });
            if let Some(series) = series.filter(SeriesRef::is_current) {
                return series;
            }
        }
        let Some(texts) = set.texts_of(index) else {
            return self.overflow();
        };
        let series = self.with(&texts);
        if let Some(known) = known {
            known.store(series.key.word(), Relaxed);
        }
        series
    }

    /// Returns whether a view gives the series other labels than the declaration has.
    pub(crate) fn has_other_labels(&self) -> bool {
        self.desc.changing_view().is_some()
    }

    /// Returns whether the family has a closed label set.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// Returns the slot of the first combination of a closed label set, and makes the row if
    /// needed. Returns `None` if the combinations have no cells, or too many for a row.
    pub(crate) fn row(&self, set: ClosedSet) -> Option<u64> {
        if let Some(row) = self.row.get() {
            return *row;
        }
        let _making = published::making();
        *self.row.get_or_init(|| {
            if self.has_other_labels() {
                return None;
            }
            let series = self.make_closed(set).series.iter();
            observe::promote_row(
                observe::engine(),
                series.map(Cells::slot_word),
                C::cells(&self.desc),
            )
        })
    }

    /// Makes all series of a closed label set, or those of its reduced label sets.
    pub(crate) fn make_all(&self, set: ClosedSet) {
        if !self.has_other_labels() {
            self.make_closed(set);
        } else if !self.is_unlabelled() {
            set.texts().for_each(|texts| _ = self.with(&texts));
        }
    }

    /// Returns every series of a closed label set, and makes them if needed.
    #[cold]
    pub(crate) fn make_closed(&self, set: ClosedSet) -> &LabelledRun<C, Label> {
        if let Some(run) = self.closed.get() {
            return run;
        }
        let _making = published::making();
        let mut is_new = false;
        let run = self.closed.get_or_init(|| {
            is_new = true;
            let run = LabelledRun::<C, Label>::new(set.texts().count(), || C::new(&self.shape));
            for (series, texts) in each_of(&run).zip(set.texts()) {
                let text = self.text_of(&texts);
                series.text.set(&text, crate::clock::millis());
            }
            run
        });
        if is_new {
            self.publish_closed(run);
        }
        run
    }

    /// Returns the cells of the series without labels, or of the overflow series.
    #[inline(always)]
    pub(crate) fn first(&self) -> &C {
        self.first.first()
    }

    /// Returns the series of a closed label set, if they were made.
    fn closed_series(&self) -> impl Iterator<Item = Series<'_, C>> {
        self.closed.get().into_iter().flat_map(each_of)
    }

    /// Returns the series without labels.
    pub(crate) fn only(&self) -> SeriesRef<'_, C> {
        SeriesRef {
            family: self,
            cells: self.first(),
            key: SeriesKey::OVERFLOW,
        }
    }

    /// Returns whether a sum may take this value. An infinite value is rejected if one of the other
    /// sign was observed before, because their sum is NaN.
    pub(crate) fn admits(&self, value: f64) -> bool {
        if !value.is_infinite() {
            return true;
        }
        let sign = if value > 0.0 { 1 } else { 2 };
        match self.infinity.compare_exchange(0, sign, Relaxed, Relaxed) {
            Ok(_) => true,
            Err(seen) => seen == sign,
        }
    }

    /// Checks that `value` may be observed.
    pub(crate) fn check_value(&self, value: f64) -> Result<(), UpdateRule> {
        if value.is_nan() {
            Err(UpdateRule::NotANumber)
        } else if self.admits(value) {
            Ok(())
        } else {
            Err(UpdateRule::BothInfinities)
        }
    }

    /// Checks that `value` may be observed, and counts a rejected one. The caller gets the error,
    /// so nothing is logged.
    pub(crate) fn check_observed(&self, value: f64) -> Result<(), Error> {
        self.check_value(value).map_err(|rule| {
            self.count_rejected(1);
            rule.error(&self.desc.name, value)
        })
    }

    /// Counts rejected updates, and logs the reason of the family's first one.
    #[cold]
    pub(crate) fn reject(&self, times: u64, error: impl FnOnce() -> Error) {
        self.count_rejected(times);
        if !self.warned_rejected.swap(true, Relaxed) {
            warn(&format_args!(
                "{}; this is logged once for each family, and `tallies_rejected_updates_total` \
                 counts all rejected updates",
                error()
            ));
        }
    }

    /// Counts rejected updates.
    pub(crate) fn count_rejected(&self, times: u64) {
        self.rejected.fetch_add(times, Relaxed);
    }

    /// Returns the overflow series, for updates that get no series of their own. Logs once if the
    /// family has reached its limit.
    pub(crate) fn overflow(&self) -> SeriesRef<'_, C> {
        self.overflowed_updates.fetch_add(1, Relaxed);
        self.overflowed.store(true, Relaxed);
        if self.is_full() && !self.warned_full.swap(true, Relaxed) {
            warn(&self.desc.limit_reached());
        }
        self.only()
    }

    #[inline]
    fn series(&self, index: usize) -> Option<Series<'_, C>> {
        let (run, index) = self.arena.run_of(index)?;
        Series::new(run, index)
    }

    fn retirement(&self) -> MutexGuard<'_, Retirement<C::Total>> {
        self.retirement
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Iterates over all series with their numbers, including those that are not live.
    fn all(&self) -> impl Iterator<Item = (u32, Series<'_, C>)> {
        (0..self.population.made()).filter_map(|i| Some((i as u32, self.series(i)?)))
    }

    /// Returns the total of one series.
    pub(crate) fn total(&self, cells: &C) -> C::Total {
        let mut pass = observe::engine().pass();
        let mut total = C::Total::default();
        cells.read(&mut pass, cells.slot_word().slot(), &mut total);
        total
    }

    /// Returns the labels and the total of every live series.
    pub(crate) fn totals(&self) -> Vec<(Labels, C::Total)> {
        let mut pass = observe::engine().pass();
        if self.is_unlabelled() {
            let mut total = C::Total::default();
            read(self.first(), &mut pass, &mut total);
            return vec![(Vec::new(), total)];
        }
        self.closed_series()
            .chain(self.all().map(|(_, series)| series))
            .filter(|series| series.is_live())
            .map(|series| {
                let labels = series.text.with(|text| {
                    labels::pairs(text)
                        .map(|(name, value)| (name.to_owned(), value.into_owned()))
                        .collect()
                });
                let mut total = C::Total::default();
                read(series.cells, &mut pass, &mut total);
                (labels, total)
            })
            .collect()
    }

    /// Calls `each` with the label text of every live series, without the overflow series.
    fn live_texts(&self, each: &mut dyn FnMut(&str)) {
        if self.is_unlabelled() {
            return each("");
        }
        let open = self.all().map(|(_, series)| series);
        for series in self.closed_series().chain(open) {
            if series.is_live() {
                series.text.with(&mut *each);
            }
        }
    }

    /// Returns the exemplars of the family's series.
    pub(crate) fn exemplars(&self) -> &Exemplars {
        self.exemplars.get_or_init(Box::default)
    }

    /// Returns whether the family has reached its limit.
    pub(crate) fn is_full(&self) -> bool {
        self.population.live() >= self.desc.limit
    }

    /// Returns the number of live series, without the overflow series.
    pub(crate) fn len(&self) -> usize {
        self.closed
            .get()
            .map_or_else(|| self.population.live(), |all| all.series.len())
    }
}

/// Reads one series into a total whose memory is reused.
fn read<C: MetricCells>(cells: &C, pass: &mut Pass<'_>, total: &mut C::Total) {
    C::reset(total);
    cells.read(pass, cells.slot_word().slot(), total);
}

impl<C: MetricCells> Drop for Family<C> {
    fn drop(&mut self) {
        self.unpublish();
        self.unpublish_texts();
        let retired = std::mem::take(&mut self.retirement().retired);
        let live = std::iter::once(self.first())
            .chain(self.closed_series().map(|series| series.cells))
            .chain(self.all().map(|(_, series)| series.cells))
            .filter_map(|cells| cells.slot_word().slot());
        // Handles borrow or share the family, so none exists, and no thread updates these series.
        let engine = observe::engine();
        engine.abandon::<C>(&self.shape, false, live);
        let retired = retired.iter().filter_map(|retired| retired.cells.slot());
        engine.abandon::<C>(&self.shape, true, retired);
    }
}

/// A family of any kind, as a registry sees it.
pub(crate) trait AnyFamily: published::FamilyHooks + Send + Sync + std::fmt::Debug {
    /// Whether updates are in cells of the thread that made them.
    fn has_own_cells(&self) -> bool;
    /// Returns the description.
    fn desc(&self) -> &Desc;
    /// Returns an empty column for its values.
    fn values(&self) -> Values;
    /// Writes the series into `out`.
    fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family);
    /// Returns the numbers of rejected updates and of updates in the overflow series.
    fn unusual_updates(&self) -> (u64, u64) {
        (0, 0)
    }
    /// Does what a scrape does for a family that it does not export: moves the counts of threads
    /// that ended, so that their shards can be freed.
    fn skip(&self, _: &mut Pass<'_>) {}
    /// Calls a function with the label text of every live series.
    fn label_texts(&self, each: &mut dyn FnMut(&str));
    /// Returns the limit of series, if the family has one.
    fn limit(&self) -> Option<usize> {
        None
    }
    /// Sets every series to zero, in a process that has only one thread.
    fn start_over(&self, pass: &Pass<'_>);
    /// Lets other processes read the family, under this description, if the process shares its
    /// metrics.
    fn publish(&self, meta: &snapshot::Meta);
    /// Hides the family from other processes.
    fn unpublish(&self);
    /// Returns the family as `Any`, for `get_or_register`.
    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync>;
}

impl<C: MetricCells> AnyFamily for Family<C> {
    fn has_own_cells(&self) -> bool {
        C::OWN_CELLS
    }

    fn desc(&self) -> &Desc {
        &self.desc
    }

    fn values(&self) -> Values {
        C::values(&self.desc, &self.shape)
    }

    fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family) {
        self.write(pass, out);
    }

    fn skip(&self, pass: &mut Pass<'_>) {
        self.fold_first(pass);
    }

    fn label_texts(&self, each: &mut dyn FnMut(&str)) {
        self.live_texts(&mut |text| self.desc.each_text(text, each));
    }

    fn limit(&self) -> Option<usize> {
        let is_open = !self.is_unlabelled() && self.closed.get().is_none();
        is_open.then_some(self.desc.limit)
    }

    fn unusual_updates(&self) -> (u64, u64) {
        (
            self.rejected.load(Relaxed),
            self.overflowed_updates.load(Relaxed),
        )
    }

    fn start_over(&self, pass: &Pass<'_>) {
        self.start_over(pass);
    }

    fn publish(&self, meta: &snapshot::Meta) {
        self.publish(meta);
    }

    fn unpublish(&self) {
        self.unpublish();
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}
