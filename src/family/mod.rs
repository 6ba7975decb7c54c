//! A family: its series, how a label set finds its own, and what ends them.
//!
//! Series lie in chunks that never move, in the order they were made. A label set is looked for in the thread's own
//! [`Store`], then in the shared index (a sharded hash map, whose locks no scrape ever takes). A retired
//! series folds into the overflow series and is used again within the family, one generation later.

mod constants;
pub(crate) mod desc;
mod index;
pub(crate) mod label;
mod lookup;
mod population;
mod retire;
mod scrape;
mod series_ref;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::error::{Error, warn};
use crate::lockfree::{CachedArena, Exemplars, Generation, SeriesKey, SharedText};
use crate::observe::{self, Cells, Pass};
use crate::snapshot::{self, Kind, Values, labels};

use desc::Desc;
use index::Index;
use population::Population;
pub(crate) use series_ref::SeriesRef;

/// What a kind of cells adds to [`Cells`] so that a scrape can write it.
pub(crate) trait Exported: Cells {
    /// What families of it are.
    const KIND: Kind;
    /// The cells of one series in a shard; 0 for what has none there.
    fn cells(desc: &Desc) -> usize;
    /// The shape of a family's cells.
    fn shape(desc: &Desc) -> Self::Shape;
    /// A place for the values of a family.
    fn values(desc: &Desc, shape: &Self::Shape) -> Values;
    /// Writes one series.
    fn write(total: &Self::Total, values: &mut Values);
    /// Writes several series.
    fn write_all(totals: &[Self::Total], values: &mut Values) {
        totals.iter().for_each(|total| Self::write(total, values));
    }
    /// A number that changes when the series does.
    fn fingerprint(total: &Self::Total) -> u64;
    /// Takes away what the overflow series held when the family was cleared.
    fn subtract(total: &mut Self::Total, baseline: &Self::Total);
    /// What is a sum of floats, if anything is.
    fn float_sum(_total: &mut Self::Total) -> Option<&mut f64> {
        None
    }
    /// Whether retired series add up in the overflow series.
    const FOLDS: bool;
    /// Whether `clear` forgets what was counted. What is in flight is not forgotten: it comes down later.
    const FORGETS: bool = true;
    /// Whether a series that has not changed may end.
    fn may_expire(_total: &Self::Total) -> bool {
        true
    }
}

/// A family that the registry holds.
#[derive(Debug)]
pub(crate) struct Family<C: Exported> {
    pub(crate) desc: Desc,
    pub(crate) shape: C::Shape,
    /// The series without labels; of a labelled family the overflow series.
    pub(crate) first: C,
    index: Index,
    arena: CachedArena<Series<C>>,
    /// Every combination of closed label sets, made with the first one.
    closed: OnceLock<Box<[Series<C>]>>,
    /// The slot of the first of them, where they lie in a row; made with the first update.
    row: OnceLock<Option<u64>>,
    population: Population,
    /// Moves on when a series is retired or used again: label texts of a snapshot then have to be copied anew.
    version: AtomicU64,
    /// Whether there is an overflow series to export.
    overflowed: AtomicBool,
    /// Whether the limit was said to be reached.
    warned_full: AtomicBool,
    /// Since when the series without labels, or the overflow series, counts: milliseconds since the epoch of Unix.
    created: AtomicU64,
    /// The sign of the infinity that was observed: 1 for plus, 2 for minus.
    infinity: AtomicU32,
    /// Whether `ended` has a series to use again.
    has_free: AtomicBool,
    retirement: Mutex<Retirement<C::Total>>,
    alone: Mutex<()>,
    /// Made with the first one.
    exemplars: OnceLock<Box<Exemplars>>,
}

/// Series that were retired, and what expiry remembers.
#[derive(Debug)]
struct Retirement<T> {
    retired: Vec<Retired>,
    /// How many of them are worth a walk over all: twice those that the last one left.
    sweep_threshold: usize,
    /// Series that can be used again; the first ones first, so that those that live stay close together.
    free: BinaryHeap<Reverse<u32>>,
    /// Per series what was last seen, and since when.
    idle: Vec<(u64, Option<Instant>)>,
    /// What the overflow series held when the family was last cleared.
    cleared: Option<T>,
    /// The overflow series' sum of floats, as last exported.
    exported_sum: f64,
    /// Memory that scrapes use again.
    totals: Vec<T>,
}

#[derive(Debug)]
struct Retired {
    index: u32,
    what: observe::Retired,
    /// Not to be folded: `clear` and gauges.
    forget: bool,
}

/// One label set of a family.
#[derive(Debug)]
pub(crate) struct Series<C> {
    pub(crate) cells: C,
    /// There while the series is live.
    text: SharedText,
}

/// Names and values of one series.
type Labels = Vec<(String, String)>;

impl<C: Exported> Series<C> {
    fn new(shape: &C::Shape) -> Self {
        Self {
            cells: C::new(shape),
            text: SharedText::empty(),
        }
    }

    fn open(&self, text: &str) {
        self.text.set(text, crate::clock::millis());
    }

    /// Appends the text, and says since when the series counts.
    fn copy_text(&self, out: &mut String) -> u64 {
        self.text.with_stamp(|text, created| {
            out.push_str(text);
            created
        })
    }

    #[inline]
    fn is_live(&self) -> bool {
        self.text.is_set()
    }
}

impl<C: Exported> Family<C> {
    pub(crate) fn new(desc: Desc) -> Self {
        let shape = C::shape(&desc);
        Self {
            desc,
            first: C::new(&shape),
            shape,
            index: Index::new(),
            arena: CachedArena::new(),
            has_free: AtomicBool::new(false),
            closed: OnceLock::new(),
            row: OnceLock::new(),
            population: Population::default(),
            version: AtomicU64::new(0),
            overflowed: AtomicBool::new(false),
            warned_full: AtomicBool::new(false),
            infinity: AtomicU32::new(0),
            created: AtomicU64::new(crate::clock::millis()),
            retirement: Mutex::new(Retirement {
                retired: Vec::new(),
                sweep_threshold: 0,
                free: BinaryHeap::new(),
                idle: Vec::new(),
                cleared: None,
                exported_sum: 0.0,
                totals: Vec::new(),
            }),
            alone: Mutex::new(()),
            exemplars: OnceLock::new(),
        }
    }

    /// The series of a closed label set. Who updates it calls [`row`](Self::row) before, whatever its declaration says: a
    /// series that has a slot is in no row any more.
    #[inline]
    pub(crate) fn closed(
        &self,
        count: usize,
        index: usize,
        texts: fn(usize) -> Vec<&'static str>,
    ) -> SeriesRef<'_, C> {
        let all = match self.closed.get() {
            Some(all) => all,
            None => self.make_closed(count, texts),
        };
        match all.get(index) {
            Some(series) => SeriesRef {
                family: self,
                cells: &series.cells,
                key: SeriesKey::new(Generation::FIRST, index as u32),
            },
            None => self.overflow(),
        }
    }

    /// The slot of the first combination of a closed label set, if they lie in a row; they do unless they are many.
    pub(crate) fn row(&self, count: usize, texts: fn(usize) -> Vec<&'static str>) -> Option<u64> {
        *self.row.get_or_init(|| {
            let places = self.make_closed(count, texts).iter();
            observe::promote_row(
                observe::engine(),
                places.map(|series| series.cells.slot_word()),
                C::cells(&self.desc),
            )
        })
    }

    #[cold]
    pub(crate) fn make_closed(
        &self,
        count: usize,
        texts: fn(usize) -> Vec<&'static str>,
    ) -> &[Series<C>] {
        self.closed.get_or_init(|| {
            (0..count)
                .map(|i| {
                    let series = Series::new(&self.shape);
                    series.open(&self.text_of(&texts(i)));
                    series
                })
                .collect()
        })
    }

    /// The series without labels.
    pub(crate) fn only(&self) -> SeriesRef<'_, C> {
        SeriesRef {
            family: self,
            cells: &self.first,
            key: SeriesKey::OVERFLOW,
        }
    }

    /// Whether an infinite value may join a sum: not if one of the other sign did.
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

    /// Whether `value` may be observed, or why not; what may not is counted.
    pub(crate) fn check_observed(&self, value: f64) -> Result<(), Error> {
        let why = if value.is_nan() {
            "observes numbers"
        } else if self.admits(value) {
            return Ok(());
        } else {
            "has observed an infinity of the other sign: with both its sum would be NaN"
        };
        observe::reject();
        Err(Error::update(&self.desc.name, value, why))
    }

    /// Where updates land that have no series of their own.
    pub(crate) fn overflow(&self) -> SeriesRef<'_, C> {
        observe::engine().stats.overflowed.fetch_add(1, Relaxed);
        self.overflowed.store(true, Relaxed);
        if self.is_full() && !self.warned_full.swap(true, Relaxed) {
            warn(&Error::overflow(&self.desc.name, self.desc.limit));
        }
        self.only()
    }

    #[inline]
    fn series(&self, index: usize) -> Option<&Series<C>> {
        self.arena.get(index)
    }

    fn retirement(&self) -> MutexGuard<'_, Retirement<C::Total>> {
        self.retirement
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> impl Iterator<Item = (u32, &Series<C>)> {
        (0..self.population.made()).filter_map(|i| Some((i as u32, self.series(i)?)))
    }

    /// What one series has counted.
    pub(crate) fn total(&self, cells: &C) -> C::Total {
        let mut pass = observe::engine().pass();
        let mut total = C::Total::default();
        cells.read(&mut pass, cells.slot_word().slot(), &mut total);
        total
    }

    /// Every series: labels, and what it has counted.
    pub(crate) fn totals(&self) -> Vec<(Labels, C::Total)> {
        let mut pass = observe::engine().pass();
        if self.is_unlabelled() {
            let mut total = C::Total::default();
            read(&self.first, &mut pass, &mut total);
            return vec![(Vec::new(), total)];
        }
        let closed = self.closed.get().map_or(&[][..], |all| all);
        closed
            .iter()
            .chain(self.all().map(|(_, series)| series))
            .filter(|series| series.is_live())
            .map(|series| {
                let labels = series.text.with(|text| {
                    labels::pairs(text)
                        .map(|(name, value)| (name.to_owned(), value.into_owned()))
                        .collect()
                });
                let mut total = C::Total::default();
                read(&series.cells, &mut pass, &mut total);
                (labels, total)
            })
            .collect()
    }

    /// The exemplars of its series.
    pub(crate) fn exemplars(&self) -> &Exemplars {
        self.exemplars.get_or_init(Box::default)
    }

    /// Whether there is no room for another series.
    pub(crate) fn is_full(&self) -> bool {
        self.population.live() >= self.desc.limit
    }

    /// The number of series, without the overflow series.
    pub(crate) fn len(&self) -> usize {
        self.closed
            .get()
            .map_or_else(|| self.population.live(), |all| all.len())
    }
}

/// Reads one series into a total whose memory is used again.
fn read<C: Exported>(cells: &C, pass: &mut Pass<'_>, total: &mut C::Total) {
    C::reset(total);
    cells.read(pass, cells.slot_word().slot(), total);
}

impl<C: Exported> Drop for Family<C> {
    fn drop(&mut self) {
        let retired = std::mem::take(&mut self.retirement().retired);
        let closed = self.closed.get().map_or(&[][..], |all| all);
        let live = std::iter::once(&self.first)
            .chain(closed.iter().map(|series| &series.cells))
            .chain(self.all().map(|(_, series)| &series.cells))
            .filter_map(|cells| cells.slot_word().slot());
        // Nobody updates any more: handles borrow the family.
        let engine = observe::engine();
        engine.abandon::<C>(&self.shape, false, live);
        let retired = retired.iter().filter_map(|retired| retired.what.slot());
        engine.abandon::<C>(&self.shape, true, retired);
    }
}

/// A family as a registry sees it.
pub(crate) trait Declared: Send + Sync + std::fmt::Debug {
    /// What it is called.
    fn desc(&self) -> &Desc;
    /// The number of its series.
    fn series(&self) -> usize;
    /// A place for its values.
    fn values(&self) -> Values;
    /// Writes its series.
    fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family);
    /// Every series at zero again, in a process that has but one thread.
    fn start_over(&self, pass: &Pass<'_>);
    /// For `get_or_register`: the family itself.
    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync>;
}

impl<C: Exported> Declared for Family<C> {
    fn desc(&self) -> &Desc {
        &self.desc
    }

    fn series(&self) -> usize {
        self.len()
    }

    fn values(&self) -> Values {
        C::values(&self.desc, &self.shape)
    }

    fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family) {
        self.write(pass, out);
    }

    fn start_over(&self, pass: &Pass<'_>) {
        self.start_over(pass);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}
