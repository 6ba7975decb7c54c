//! The roster of an open label set: which label set is which series, how many series there are, and
//! which numbers are free. And the overflow series, for label sets that have no series of their
//! own.
//!
//! The roster knows no cells. [`OpenSet`] has it together with the series, behind a trait, so that
//! look-ups that miss the label cache, and the ways in which series leave, are compiled once and
//! not for each kind of cells.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use crate::error::warn;
use crate::lockfree::{AtomicText, LONGEST_TEXT, SeriesKey};
use crate::observe::{self, Pass, SlotWord};
use crate::snapshot::{self, labels};
use crate::sync::lock;

use super::Core;
use super::desc::Desc;
use super::index::Index;
use super::population::Population;
use super::retire::RemovedTexts;

/// Which series of an open label set is which. See the [module](self).
#[derive(Default)]
pub(super) struct Roster {
    /// From label sets to series numbers. Written by threads that make, remove or retire series,
    /// read by look-ups that miss the label cache.
    pub(super) index: Index,
    /// The number of series. Written by threads that make, remove or retire series, read by those
    /// and by scrapes.
    pub(super) population: Population,
    pub(super) overflow: Overflow,
    /// The keys of the series in which the combinations of a closed label set count, if a view
    /// changes their labels. Written and read by look-ups; a key that is stale or missing is looked
    /// up again.
    combinations: OnceLock<Box<[AtomicU64]>>,
    /// Whether `retirement` has a series to reuse. Written under its lock, and read without it by
    /// threads that make series.
    pub(super) has_free: AtomicBool,
    /// Locked by passes, by threads that reuse a series, and by updates through stale handles.
    retirement: Mutex<Retirement>,
}

/// The state of the overflow series, besides its cells.
#[derive(Default)]
pub(super) struct Overflow {
    /// Whether there is an overflow series to export. Set by updates and by threads that retire a
    /// series, cleared by `clear`, read by scrapes.
    exists: AtomicBool,
    /// Whether the family was cleared, so that an overflow series without later updates is not
    /// exported. Written by `clear`, read by scrapes.
    is_cleared: AtomicBool,
    /// The number of updates in the overflow series. Written by these updates, read by scrapes.
    updates: AtomicU64,
    /// Whether reaching the limit was logged. Read and written by updates above the limit.
    is_limit_logged: AtomicBool,
}

/// The series that are not reclaimed yet, those to reuse, and the state of expiry. A lock of the
/// family guards all of it.
#[derive(Default)]
pub(super) struct Retirement {
    /// Removed and retired series that wait for owners to acknowledge, or for a writer.
    pub(super) retired: Vec<RetiredSeries>,
    /// The length of `retired` from which `remove` and `retire` try to reclaim: twice as many as
    /// the last attempt could not reclaim.
    pub(super) sweep_threshold: usize,
    /// Reclaimed series, to reuse. The lowest number comes first, so that live series stay close
    /// together.
    pub(super) free: BinaryHeap<Reverse<u32>>,
    /// The last fingerprint of each series, and since when it has been that.
    pub(super) idle: Vec<(u64, Option<Instant>)>,
    /// The label texts of the last series that were removed, so that updates through their handles
    /// make the series again.
    pub(super) removed: RemovedTexts,
    /// The series that left with their totals, for snapshots.
    pub(super) listed: snapshot::RemovedList,
}

/// A removed or retired series that is not reclaimed yet.
pub(super) struct RetiredSeries {
    pub(super) index: u32,
    /// The slot that it had, and what has to happen before it is reclaimed.
    pub(super) cells: observe::Retired,
    /// Whether its total is dropped and not folded into the overflow series: for removed series,
    /// and for gauges.
    pub(super) forget: bool,
}

impl Roster {
    pub(super) fn retirement(&self) -> MutexGuard<'_, Retirement> {
        lock(&self.retirement)
    }

    /// Takes the series that are not reclaimed yet, of a family that is dropped.
    pub(super) fn take_retired(&self) -> Vec<RetiredSeries> {
        std::mem::take(&mut self.retirement().retired)
    }

    /// Returns whether there are as many live series as the limit allows.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.population.live() >= limit
    }

    /// Counts an update in the overflow series. Logs once if the family has reached its limit.
    pub(super) fn count_overflow(&self, desc: &Desc) {
        let overflow = &self.overflow;
        overflow.updates.fetch_add(1, Relaxed);
        overflow.begin();
        if self.is_full(desc.limit) && !overflow.is_limit_logged.swap(true, Relaxed) {
            warn(&desc.limit_reached());
        }
    }

    /// Returns the place of the key of combination `index` of a closed label set.
    #[inline]
    pub(super) fn combination(&self, desc: &Desc, index: usize) -> Option<&AtomicU64> {
        let keys = self.combinations.get_or_init(|| {
            let none = || AtomicU64::new(SeriesKey::OVERFLOW.word());
            (0..desc.closed.len()).map(|_| none()).collect()
        });
        keys.get(index)
    }

    /// Begins again, with the series that are live.
    pub(super) fn start_over(&self) {
        self.retirement().idle.clear();
        self.overflow.is_cleared.store(false, Relaxed);
        self.overflow.exists.store(false, Relaxed);
    }
}

impl Overflow {
    /// Makes scrapes export the overflow series.
    pub(super) fn begin(&self) {
        self.exists.store(true, Relaxed);
    }

    /// Makes scrapes leave it out until it counts again.
    pub(super) fn clear(&self) {
        self.is_cleared.store(true, Relaxed);
        self.exists.store(false, Relaxed);
    }

    /// Returns whether there is an overflow series to export.
    pub(super) fn exists(&self) -> bool {
        self.exists.load(Relaxed)
    }

    /// Returns whether there may be one: that of a family that was cleared may have counted since.
    pub(super) fn may_exist(&self) -> bool {
        self.exists() || self.is_cleared.load(Relaxed)
    }

    /// Returns the number of updates in the overflow series.
    pub(super) fn updates(&self) -> u64 {
        self.updates.load(Relaxed)
    }
}

/// The series of an open label set, whatever their cells.
pub(super) trait SeriesTable {
    /// Returns the slot word and the label text of a series, if its memory was allocated.
    fn get(&self, index: u32) -> Option<(&SlotWord, &AtomicText)>;
    /// Makes a series live under this label text. Returns `None` if there is no memory for a series
    /// of this number.
    fn begin(&self, index: u32, text: &str) -> Option<()>;
    /// Removes the label text of a series, which is not live any more.
    fn end(&self, index: u32);
    /// Reclaims the cells of a retired series. Returns `false` if a later pass has to try again.
    fn reclaim(&self, pass: &mut Pass<'_>, retired: &RetiredSeries) -> bool;
}

/// An open label set, without the type of its cells.
pub(super) struct OpenSet<'a> {
    pub(super) core: &'a Core,
    pub(super) roster: &'a Roster,
    pub(super) series: &'a dyn SeriesTable,
    /// Whether the totals of retired series are folded into the overflow series.
    pub(super) folds: bool,
}

/// A series that a look-up found or made.
pub(super) struct LookUp {
    pub(super) key: SeriesKey,
    /// Whether the thread should remember the label set. A thread that makes a series does not. It
    /// does so at its next look-up, so that label sets that are used once do not evict others. Nor
    /// does it if a cap replaced a value, because the values beyond a cap are many.
    pub(super) is_worth_caching: bool,
}

impl OpenSet<'_> {
    /// Returns the series in which a given label set counts, whose hash is `hash`, and makes it if
    /// needed. Returns `None` for the overflow series: for a label set that is not valid, and above
    /// the limit.
    pub(super) fn with(&self, hash: u64, texts: &[&str]) -> Option<LookUp> {
        let desc = &self.core.desc;
        let Some(own) = desc.own(texts, true) else {
            self.core.reject(1, || desc.wrong_count(texts.len()));
            return None;
        };
        let hash = match own.texts {
            Cow::Borrowed(_) => hash,
            Cow::Owned(_) => self.roster.index.hash(&own.texts),
        };
        let found = self.find(hash, &own.texts);
        let key = match found {
            Some(key) => key,
            None => self.make_once(hash, &own.texts)?,
        };
        if let (true, Some(view)) = (own.is_capped, desc.changing_view()) {
            view.count_refused();
        }
        Some(LookUp {
            key,
            is_worth_caching: found.is_some() && !own.is_capped,
        })
    }

    /// Does what [`with`](Self::with) does, for the label values of a series.
    pub(super) fn with_own(&self, texts: &[&str]) -> Option<SeriesKey> {
        let hash = self.roster.index.hash(texts);
        self.find(hash, texts)
            .or_else(|| self.make_once(hash, texts))
    }

    /// Returns the key of the series with these label values from the index, if the series exists.
    pub(super) fn find(&self, hash: u64, texts: &[&str]) -> Option<SeriesKey> {
        let desc = &self.core.desc;
        let has_values = |text: &str| desc.is_text_of(text, texts);
        self.roster.index.find(
            hash,
            |index| self.has(index, has_values),
            |index| self.key_of(index),
        )
    }

    /// Makes the series with these label values, unless another thread has just done so. Returns
    /// its key, or `None` if the label values are not valid, if they are those of the overflow
    /// series, and above the limit.
    fn make_once(&self, hash: u64, texts: &[&str]) -> Option<SeriesKey> {
        let desc = &self.core.desc;
        if let Err(error) = desc.check_values(texts) {
            self.core.reject(1, || error);
            return None;
        }
        // The text is rendered before the index is locked, because rendering takes time.
        labels::with_text(desc.pairs(texts), |text| {
            let is_same = |own: &str| own == text;
            self.roster.index.find_or_insert(
                hash,
                |index| self.has(index, is_same),
                |index| self.key_of(index),
                || self.make(texts, text),
            )
        })
    }

    /// Makes the series of a label set, in the memory of a reclaimed series if there is one.
    /// Returns its number, or `None` as [`make_once`](Self::make_once) does. The caller has locked
    /// the index for writing.
    fn make(&self, texts: &[&str], text: &str) -> Option<u32> {
        let desc = &self.core.desc;
        if text.len() > LONGEST_TEXT
            || texts.contains(&"__overflow__") && text == desc.overflow_text()
        {
            // Too long; or the labels are those of the overflow series.
            return None;
        }
        let (limit, population) = (desc.limit, &self.roster.population);
        let index = if self.roster.has_free.load(Relaxed) {
            // Another thread may take the last free number in between. Then a new one is counted.
            population.add(limit, false)?;
            self.reuse().unwrap_or_else(|| population.count_made())
        } else {
            population.add(limit, true)?
        };
        self.series.begin(index, text)?;
        Some(index)
    }

    /// Takes the number of a reclaimed series, if there is one.
    fn reuse(&self) -> Option<u32> {
        let mut retirement = self.roster.retirement();
        let index = retirement.free.pop().map(|Reverse(index)| index);
        let has_free = !retirement.free.is_empty();
        self.roster.has_free.store(has_free, Relaxed);
        index
    }

    /// Returns whether a series has a label text for which `is_wanted` returns `true`.
    fn has(&self, index: u32, is_wanted: impl FnOnce(&str) -> bool) -> bool {
        let series = self.series.get(index);
        series.is_some_and(|(_, text)| text.with(is_wanted))
    }

    /// Returns the current key of a series. The caller has locked the index.
    pub(super) fn key_of(&self, index: u32) -> SeriesKey {
        let series = self.series.get(index);
        series.map_or(SeriesKey::OVERFLOW, |(slot_word, _)| {
            SeriesKey::new(slot_word.generation(), index)
        })
    }

    /// Computes the hash of an existing series' label values from its label text; the series does
    /// not store the hash.
    pub(super) fn hash_of(&self, index: u32) -> u64 {
        let Some((_, text)) = self.series.get(index) else {
            return 0;
        };
        let desc = &self.core.desc;
        text.with(|text| desc.with_values_of(text, |texts| self.roster.index.hash(texts)))
    }
}
