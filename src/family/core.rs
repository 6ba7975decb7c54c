//! The part of a family that does not depend on its cells, and so is compiled once: the
//! description, and what is counted, logged and published of the family as a whole.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::error::{Error, ValueRule, warn};
use crate::lockfree::{Exemplars, SeriesKey};
use crate::snapshot::Exemplar;
use crate::sync::{AllocatingGuard, AllocatingMutex, leaf};

use super::desc::Desc;
use super::published::FamilyRecords;

/// Held by threads that look at a family first and then remove series: infos that are set. One for
/// all families, because removing waits for the running pass anyway, and because a `fork` takes it
/// before the locks that these threads take under it.
static CHANGES: AllocatingMutex<()> = AllocatingMutex::new(());

/// Keeps other threads from such a change while the result lives. `None` if the calling thread is
/// in one already: a logger that sets an info of its own, when the first one is at its limit.
pub(crate) fn changing() -> Option<AllocatingGuard<'static, ()>> {
    CHANGES.lock_unless_held()
}

/// Everything of a family but its series.
pub(crate) struct Core {
    /// Never changes.
    pub(crate) desc: Desc,
    /// When the series without labels, or the overflow series, began to count, in milliseconds
    /// since the Unix epoch. Written by `clear`, read by scrapes.
    pub(super) created: AtomicU64,
    /// Incremented when series begin to count again under the labels that they have. Scrapes
    /// compare it: after a change, they build all label pages again.
    pub(super) version: AtomicU64,
    /// The number of rejected updates. Written by these updates, read by scrapes.
    rejected: AtomicU64,
    /// Whether a rejected update was logged. Read and written by rejected updates.
    is_rejection_logged: AtomicBool,
    /// The sign of the first infinity that was observed: 1 is plus, 2 is minus, 0 is none yet.
    /// Written and read by updates.
    infinity: AtomicU32,
    /// Allocated for the first exemplar. Written by updates, read by scrapes.
    exemplars: OnceLock<Box<Exemplars>>,
    /// The record of the family in the mapped file, for other processes. Locked by threads that
    /// make series, and by those that register or drop the family.
    pub(super) records: FamilyRecords,
}

impl Core {
    pub(super) fn new(desc: Desc) -> Self {
        Self {
            desc,
            created: AtomicU64::new(crate::clock::millis()),
            version: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            is_rejection_logged: AtomicBool::new(false),
            infinity: AtomicU32::new(0),
            exemplars: OnceLock::new(),
            records: FamilyRecords::default(),
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
    pub(crate) fn check_value(&self, value: f64) -> Result<(), ValueRule> {
        if value.is_nan() {
            Err(ValueRule::NotANumber)
        } else if self.admits(value) {
            Ok(())
        } else {
            Err(ValueRule::BothInfinities)
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
        if !self.is_rejection_logged.swap(true, Relaxed) {
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

    /// Returns the number of rejected updates.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    /// Returns the exemplars of the family's series.
    pub(crate) fn exemplars(&self) -> &Exemplars {
        self.exemplars.get_or_init(Box::default)
    }

    /// Returns the exemplars, if there was one.
    #[inline]
    pub(super) fn made_exemplars(&self) -> Option<&Exemplars> {
        self.exemplars.get().map(|exemplars| &**exemplars)
    }

    /// Replaces the exemplar of one bucket of a series, which has so many buckets.
    pub(crate) fn set_exemplar(&self, key: SeriesKey, at: (usize, usize), exemplar: Exemplar) {
        let made = self.made_exemplars();
        let is_made = made.is_some_and(|exemplars| exemplars.is_made(key.index()));
        // Not while the process forks: in the child it would stay half made.
        let _leaf = (!is_made).then(leaf);
        self.exemplars().set(key, at, exemplar);
    }

    /// Drops the exemplars of a series, if the family has any.
    pub(super) fn clear_exemplars(&self, series: u32) {
        if let Some(exemplars) = self.made_exemplars() {
            exemplars.clear(series);
        }
    }

    /// Begins again: every series counts from zero, from now on.
    pub(super) fn start_over(&self) {
        self.infinity.store(0, Relaxed);
        self.created.store(crate::clock::millis(), Relaxed);
        self.version.fetch_add(1, Relaxed);
    }
}
