//! A family: its series, their look-up by label set, and their removal and retirement.
//!
//! | module | what it has |
//! |---|---|
//! | [`core`] | all that does not depend on the kind of cells: description, exemplars, what was rejected |
//! | [`store`] | the series: one without labels, those of a closed label set, those of an open one |
//! | [`roster`], [`index`], [`population`] | which series of an open label set is which, and how many there are |
//! | [`label`] | label sets as users give them |
//! | [`view`], [`values`] | label values as given and as the series has them, and the label text that they make |
//! | [`lookup`] | from label values, a label text or a combination to a series |
//! | [`retire`] | the ways in which series leave the family |
//! | [`quiet`] | series that went quiet, which give their slots back |
//! | [`desc`], [`shape`], [`grammar`], [`lint`] | the description, and its checks |
//! | [`event`] | the metrics of an event, whose series have their cells in one block |
//! | [`constants`], [`intern`] | constant labels; names and bounds that live as long as the program |
//! | [`series_ref`] | a series and the key that it had, from the look-up to the update |
//! | [`scrape`], [`pages`], [`states`] | the way to a snapshot |
//! | [`published`] | what other processes read |

mod constants;
mod core;
pub(crate) mod desc;
pub(crate) mod event;
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
mod roster;
mod scrape;
mod scratch;
mod series_ref;
pub(crate) mod shape;
mod states;
mod store;
mod values;
pub(crate) mod view;

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use crate::lockfree::{AtomicText, LabelledRun, Run, SeriesKey};
use crate::observe::{self, Cells, Pass};
use crate::snapshot::{self, GaugeMode, Kind, Values, labels};

use self::core::Core;
pub(crate) use crate::mapped::format::CellKind;
pub(crate) use core::changing;
use desc::Desc;
pub(crate) use scrape::Prefetch;
use scrape::Scraped;
pub(crate) use series_ref::SeriesRef;
use store::{OpenSeries, SeriesStore};

/// The part of a metric kind's cells, beyond [`Cells`], that a family needs to write them into
/// snapshots, to describe them in mapped files, and to retire series.
pub(crate) trait MetricCells: Cells {
    /// The kind of families that these cells are made for. Infos and state sets use the cells of
    /// gauges; `Desc::kind` tells them apart.
    const KIND: Kind;
    /// Returns the number of cells that a series has in the row of a closed label set (see
    /// [`store`]). 0 for gauges: their value is not in slots, so they have no row. `Cells::width`
    /// is 1 for them all the same: their slot has a cell, which stays 0.
    fn cells(desc: &Desc) -> usize;
    /// Returns what all series of a family share, such as bounds.
    fn shape(desc: &Desc) -> Self::Shape;
    /// Returns empty columns of values, with which a family of these cells begins in a snapshot.
    fn values(desc: &Desc, shape: &Self::Shape) -> Values;
    /// The column of a snapshot that has the values of series of these cells.
    type Column: 'static;
    /// Returns the column of values that [`values`](Self::values) made. `None` for those of other
    /// cells.
    fn column(values: &mut Values) -> Option<&mut Self::Column>;
    /// Writes one series.
    fn write(total: &Self::Total, column: &mut Self::Column);
    /// Writes several series.
    fn write_all(totals: &[Self::Total], column: &mut Self::Column) {
        totals.iter().for_each(|total| Self::write(total, column));
    }
    /// Returns a number by which a scrape sees that a series has counted something.
    fn fingerprint(total: &Self::Total) -> u64;
    /// Subtracts the baseline: the total that the overflow series had at the last `clear`, which
    /// leaves its cells as they are.
    fn subtract(total: &mut Self::Total, baseline: &Self::Total);
    /// Returns the kind of the cells in a mapped file.
    fn format(shape: &Self::Shape) -> CellKind;
    /// Returns the window of a summary for a mapped file: when age 1 began (nanoseconds of
    /// `CLOCK_MONOTONIC`), the nanoseconds of an age, and the number of ages. Zeros: no window.
    fn window(_shape: &Self::Shape) -> [u64; 3] {
        [0; 3]
    }
    /// Returns a total as the words of a baseline in a mapped file; none if
    /// [`subtract`](Self::subtract) does nothing.
    fn baseline(_total: &Self::Total) -> Vec<u64> {
        Vec::new()
    }
    /// Whether totals add up. If they do, each thread counts a hot series in cells of its own, and
    /// the total of a retired series moves to the overflow series. Gauges do not add up: all
    /// threads share one cell, and the value of a retired gauge is dropped.
    const FOLDS: bool = true;
    /// Whether every update changes the fingerprint. Those of an up-down counter can cancel out.
    const SHOWS_EACH_UPDATE: bool = true;
    /// Returns whether an unchanged series may expire. An up-down counter may only at 0.
    fn may_expire(_total: &Self::Total) -> bool {
        true
    }
}

/// A registered family: its [`Core`], and its series.
pub(crate) struct Family<C: MetricCells> {
    core: Core,
    /// The properties that the cells of all series share, such as bounds. Never changes.
    pub(crate) shape: C::Shape,
    /// The series without labels; in a labelled family, the overflow series.
    first: Run<C>,
    /// The series with labels.
    store: SeriesStore<C>,
    /// The label pages, quiet series and buffers that a scrape leaves for the next one. Locked by
    /// scrapes.
    scraped: Mutex<Scraped<C::Total>>,
}

impl<C: MetricCells> Deref for Family<C> {
    type Target = Core;

    #[inline(always)]
    fn deref(&self) -> &Core {
        &self.core
    }
}

/// The cells and the label text of one series with labels.
pub(crate) struct LabelledSeries<'a, C> {
    pub(crate) cells: &'a C,
    /// The label text, and when the series began to count. Set while the series is live. Written by
    /// threads that make, remove or retire the series, read by look-ups and scrapes.
    text: &'a AtomicText,
}

/// The label names and values of one series.
type Labels = Vec<(String, String)>;

impl<'a, C: MetricCells> LabelledSeries<'a, C> {
    fn new(run: &'a LabelledRun<C, AtomicText>, index: usize) -> Option<Self> {
        Some(Self {
            cells: run.series.get(index)?,
            text: run.labels.get(index)?,
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
fn each_of<C: MetricCells>(
    run: &LabelledRun<C, AtomicText>,
) -> impl Iterator<Item = LabelledSeries<'_, C>> {
    let pairs = run.series.iter().zip(&run.labels);
    pairs.map(|(cells, text)| LabelledSeries { cells, text })
}

impl<C: MetricCells> Family<C> {
    /// Makes a family and adds it to the list of all families, so that it can be published.
    pub(crate) fn create(desc: Desc) -> Arc<Self> {
        let family = Arc::new(Self::new(desc));
        published::add(&family);
        family
    }

    /// Makes a family that is in no list.
    pub(crate) fn new(mut desc: Desc) -> Self {
        let shape = C::shape(&desc);
        // An up-down counter: what adds up over threads adds up over processes, too.
        if C::KIND == Kind::Gauge && C::FOLDS {
            desc.mode = desc.mode.or(Some(GaugeMode::LiveSum));
        }
        Self {
            first: Run::new(1, || C::new(&shape)),
            store: SeriesStore::new(&desc, &shape),
            shape,
            core: Core::new(desc),
            scraped: Mutex::default(),
        }
    }

    /// Returns the cells of the series without labels, or of the overflow series.
    #[inline(always)]
    pub(crate) fn first(&self) -> &C {
        self.first.first()
    }

    /// Returns the first series: the one without labels, or the overflow series. Counts nothing; an
    /// update that lands in the overflow series gets it from [`overflow`](Self::overflow).
    pub(crate) fn only(&self) -> SeriesRef<'_, C> {
        self.series_ref(self.first(), SeriesKey::OVERFLOW)
    }

    /// Returns the open label set, if the family has one.
    fn open(&self) -> Option<&OpenSeries<C>> {
        match &self.store {
            SeriesStore::Open(open) => Some(open),
            SeriesStore::One | SeriesStore::Closed(_) => None,
        }
    }

    /// Returns the overflow series, for an update that gets no series of its own, and counts that
    /// update. Logs once if the family has reached its limit.
    pub(crate) fn overflow(&self) -> SeriesRef<'_, C> {
        if let Some(open) = self.open() {
            open.roster.count_overflow(&self.desc);
        }
        self.only()
    }

    /// Iterates over the series with labels, including those that are not live.
    fn labelled(&self) -> impl Iterator<Item = LabelledSeries<'_, C>> {
        let runs = self.store.runs().into_iter();
        runs.flat_map(|(_, run)| each_of(run))
    }

    /// Iterates over the cells of all series, including those that are not live.
    fn cells(&self) -> impl Iterator<Item = &C> {
        let runs = self.store.runs().into_iter();
        let labelled = runs.flat_map(|(_, run)| run.series.iter());
        std::iter::once(self.first()).chain(labelled)
    }

    /// Returns the labels and the total of every live series, without the overflow series.
    pub(crate) fn totals(&self) -> Vec<(Labels, C::Total)> {
        let mut pass = observe::engine().pass();
        if self.desc.is_unlabelled() {
            return vec![(Vec::new(), total_of(self.first(), &mut pass))];
        }
        // Series are removed and retired in passes only, so no text is cleared here.
        self.labelled()
            .filter(|series| series.is_live())
            .map(|series| {
                let labels = series.text.with(|text| {
                    labels::pairs(text)
                        .map(|(name, value)| (name.to_owned(), value.into_owned()))
                        .collect()
                });
                (labels, total_of(series.cells, &mut pass))
            })
            .collect()
    }

    /// Returns whether the family has reached its limit.
    pub(crate) fn is_full(&self) -> bool {
        self.open()
            .is_some_and(|open| open.roster.is_full(self.desc.limit))
    }

    /// Returns the number of live series with labels, without the overflow series.
    pub(crate) fn len(&self) -> usize {
        match &self.store {
            SeriesStore::One => 0,
            SeriesStore::Closed(closed) => closed.all.series.len(),
            SeriesStore::Open(open) => open.roster.population.live(),
        }
    }
}

/// Returns the total of one series.
fn total_of<C: MetricCells>(cells: &C, pass: &mut Pass<'_>) -> C::Total {
    let mut total = C::Total::default();
    read(cells, pass, &mut total);
    total
}

/// Reads one series into a total, which may have been used before.
fn read<C: MetricCells>(cells: &C, pass: &mut Pass<'_>, total: &mut C::Total) {
    C::reset(total);
    cells.read(pass, cells.slot_word().slot(), total);
}

impl<C: MetricCells> Drop for Family<C> {
    fn drop(&mut self) {
        self.unpublish();
        self.unpublish_texts();
        let unreclaimed = self.open().map(|open| open.roster.take_retired());
        let live = self.cells().filter_map(|cells| cells.slot_word().slot());
        // Handles borrow or share the family, so none exists, and no thread updates these series.
        let engine = observe::engine();
        // `false`, `true`: only the slots of retired series are counted as unreclaimed. The slot
        // words of those have no slot for this process, so no slot is handed over twice.
        engine.abandon::<C>(&self.shape, false, live);
        let retired = unreclaimed.iter().flatten();
        let slots = retired.filter_map(|retired| retired.cells.slot);
        engine.abandon::<C>(&self.shape, true, slots);
    }
}

/// A family of any kind, as a registry sees it.
pub(crate) trait AnyFamily: published::FamilyHooks + Send + Sync {
    /// Whether updates are in cells of the thread that made them.
    fn has_own_cells(&self) -> bool;
    /// Returns the description.
    fn desc(&self) -> &Desc;
    /// Returns the empty columns of values with which the family begins in a snapshot.
    fn values(&self) -> Values;
    /// Prefetches what [`write`](Self::write) reads; see [`Family::prefetch`].
    fn prefetch(&self, _step: Prefetch) {}
    /// Writes the series into `out`.
    fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family);
    /// Returns the numbers of rejected updates and of updates in the overflow series.
    fn unusual_updates(&self) -> (u64, u64);
    /// Does what a scrape has to do for a family that a view switched off. All its updates count in
    /// the first series, so this moves the counts of ended threads from their shards to the cold
    /// cells of that one. Then the shards can be freed.
    fn skip(&self, pass: &mut Pass<'_>);
    /// Calls a function with the label text of every live series, without the overflow series. A
    /// family without labels has one, which is empty.
    fn label_texts(&self, each: &mut dyn FnMut(&str));
    /// Returns the limit of series, if the family has one.
    fn limit(&self) -> Option<usize>;
    /// Sets every series to zero, in a process that has only one thread, such as the child of a
    /// `fork`.
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
        C::FOLDS
    }

    fn desc(&self) -> &Desc {
        &self.desc
    }

    fn values(&self) -> Values {
        C::values(&self.desc, &self.shape)
    }

    fn prefetch(&self, step: Prefetch) {
        self.prefetch(step);
    }

    fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family) {
        self.write(pass, out);
    }

    fn skip(&self, pass: &mut Pass<'_>) {
        self.fold_idle(pass, std::iter::once(self.first()));
    }

    fn label_texts(&self, each: &mut dyn FnMut(&str)) {
        if self.desc.is_unlabelled() {
            return self.desc.each_text("", each);
        }
        for series in self.labelled().filter(LabelledSeries::is_live) {
            series.text.with(|text| self.desc.each_text(text, each));
        }
    }

    fn limit(&self) -> Option<usize> {
        self.open().map(|_| self.desc.limit)
    }

    fn unusual_updates(&self) -> (u64, u64) {
        let overflowed = self.open().map_or(0, |open| open.roster.overflow.updates());
        (self.rejected(), overflowed)
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
