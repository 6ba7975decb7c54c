//! The lock of a series' shared cells: the cells that threads write while the series is cold.
//!
//! The lock's word also has the generation of the series that the shared cells count for. An update
//! takes the lock by an exchange that expects its own generation. So it either holds the lock of
//! its own series, or learns that the cells were given to another one. The collector takes the lock
//! to fold and to clear the cells, and releases it with the generation of the next series:
//!
//! - U1: Only the thread that holds the lock writes the shared cells. (A hot gauge has only a
//!   shared cell; [`gauge`](super::gauge) says who may write it.)
//! - U2: An update that holds the lock finishes before the collector folds and clears the cells. An
//!   update that comes after that finds another generation in the word, and writes nothing.
//!
//! The word counts the updates of the last minute as well. Two threads never update the count at
//! the same time, because both would need the lock.
//!
//! ```text
//!  63         32 31          16 15           1     0
//! +-------------+--------------+--------------+--------+
//! | generation  | minute       | updates      | locked |
//! +-------------+--------------+--------------+--------+
//! ```

use crate::lockfree::Generation;
use crate::sync::{Acquire, AtomicU64, Relaxed, Release, const_fn};

use super::Engine;

/// The number of updates of its shared cells in one minute after which a series is promoted.
#[cfg(not(loom))]
pub const PROMOTE_AFTER: u64 = 1024;
#[cfg(loom)]
pub const PROMOTE_AFTER: u64 = 1;

const LOCKED: u64 = 1;
/// One update.
const UPDATE: u64 = 1 << 1;
const UPDATES: u64 = (1 << 16) - UPDATE;
/// One minute.
pub(super) const MINUTE: u64 = 1 << 16;
const MINUTES: u64 = (1 << 32) - MINUTE;

/// The lock of the shared cells of one series. Written by cold updates, by the collector, and by a
/// reader whose tries keep failing.
#[derive(Debug)]
pub struct SharedLock(AtomicU64);

/// The reason why an update does not get the lock.
pub(super) enum Denied {
    /// The cells count for another series by now.
    Stale,
    /// Another thread holds the lock.
    Busy,
}

/// The lock, held by the calling thread.
#[must_use = "it stays locked"]
pub(super) struct Held<'a> {
    lock: &'a SharedLock,
    /// The word before it was locked.
    word: u64,
}

impl SharedLock {
    const_fn! {
        pub(super) fn new() -> Self {
            Self(AtomicU64::new(Generation::FIRST.word()))
        }
    }

    /// Locks the cells for an update of the series with this generation.
    #[inline(always)]
    pub(super) fn lock(&self, generation: Generation) -> Result<Held<'_>, Denied> {
        let word = self.0.load(Relaxed);
        if Generation::of(word) != generation {
            return Err(Denied::Stale);
        }
        self.try_lock_from(word).ok_or(Denied::Busy)
    }

    /// Locks the cells, whichever series they count for. Returns `None` if another thread holds the
    /// lock. Called by the collector.
    pub(super) fn lock_any(&self) -> Option<Held<'_>> {
        self.try_lock_from(self.0.load(Relaxed))
    }

    #[inline(always)]
    fn try_lock_from(&self, word: u64) -> Option<Held<'_>> {
        // Acquire: pairs with the Release in `Held`. This thread sees the stores of the last
        // holder.
        let locks = |word| self.0.compare_exchange(word, word | LOCKED, Acquire, Relaxed);
        (word & LOCKED == 0 && locks(word).is_ok()).then_some(Held { lock: self, word })
    }

    /// Takes the lock from a thread that does not exist any more, in the child of a `fork`.
    pub(super) fn take(&self) -> Held<'_> {
        let word = self.0.load(Relaxed) & !LOCKED;
        Held { lock: self, word }
    }
}

impl Held<'_> {
    /// Unlocks the cells after an update. Returns whether the series is due for promotion: it had
    /// [`PROMOTE_AFTER`] updates in the running minute.
    #[inline(always)]
    pub(super) fn count(self, engine: &Engine) -> bool {
        let minute = engine.minute();
        let mut word = self.word;
        if word & MINUTES != minute {
            word = Generation::of(word).word() | minute;
        }
        word += UPDATE;
        let hot = word & UPDATES >= PROMOTE_AFTER * UPDATE;
        if hot {
            word &= !UPDATES;
        }
        self.unlock(word);
        hot
    }

    /// Unlocks the cells without counting an update.
    pub(super) fn release(self) {
        self.unlock(self.word);
    }

    /// Unlocks the cells, which are clear now, for a series of another generation.
    pub(super) fn hand_over(self, generation: Generation) {
        self.unlock(generation.word());
    }

    #[inline(always)]
    fn unlock(&self, word: u64) {
        // Release: pairs with the Acquire in `try_lock_from`.
        self.lock.0.store(word, Release);
    }
}
