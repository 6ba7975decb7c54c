//! The lock of a series' cold cells: the cells that threads write while the series is cold.
//!
//! The lock's word also has the generation of the series that the cold cells count for. A thread
//! takes the lock by swapping the word for [`LOCKED`], and keeps the word until it unlocks. An
//! update looks at the generation that it took: if it is not its own, the cells were given to
//! another series, and it puts the word back. The collector takes the lock to fold and to clear the
//! cells, and releases it with the generation of the next series:
//!
//! - U1: Only the thread that holds the lock writes the cold cells. (A hot gauge has only a
//!   cold cell; [`gauge`](super::gauge) says who may write it. In the child of a `fork` the only
//!   thread takes the lock from threads that are gone.)
//! - U2: An update that holds the lock finishes before the collector folds and clears the cells. An
//!   update that comes after that finds another generation in the word, and writes nothing.
//!
//! A swap, because it needs no load before it and cannot fail. A processor has more of them under
//! way than of exchanges that compare. So where caches are cold, an update of a counter takes three
//! quarters of the time.
//!
//! The word counts the updates of the running minute as well. Two threads never update the count at
//! the same time, because both would need the lock. The first update of a series in each minute
//! does what is not to be done with every update: it takes a shard for the thread, and promotes a
//! series whose family is declared hot.
//!
//! ```text
//!  63         32     31   30          16 15           0
//! +-------------+--------+--------------+--------------+
//! | generation  | 0      | minute       | updates      |
//! +-------------+--------+--------------+--------------+
//! ```

use super::Engine;
use super::pass::TRIES;
use super::slot::SlotWord;
use super::update::promote;
use crate::lockfree::Generation;
use crate::sync::{Acquire, Release, SwappedWord, const_fn};

/// The number of updates of its cold cells in one minute after which a series is promoted: a
/// power of two.
#[cfg(not(any(loom, miri)))]
pub const PROMOTE_AFTER: u64 = 1024;
/// Miri is so slow that a minute may end before 1024 updates.
#[cfg(all(miri, not(loom)))]
pub const PROMOTE_AFTER: u64 = 64;
#[cfg(loom)]
pub const PROMOTE_AFTER: u64 = 1;

/// The word while a thread has the lock.
const LOCKED: u64 = 1 << 31;
/// One minute.
pub(super) const MINUTE: u64 = 1 << 16;
pub(super) const MINUTES: u64 = LOCKED - MINUTE;
/// No minute, so that the first update of a series is the first in its minute.
const NO_MINUTE: u64 = MINUTES;

/// The lock of the cold cells of one series. Written by cold updates, also those that come too
/// late, by the collector, and by a reader whose tries keep failing.
#[repr(transparent)]
pub struct ColdLock(SwappedWord);

/// The reason why an update does not get the lock.
pub(super) enum Denied {
    /// The cells count for another series by now.
    Stale,
    /// Another thread holds the lock.
    Busy,
}

/// The lock, held by the calling thread. Dropping it unlocks, also if the holder panics.
#[must_use = "dropping it unlocks the cells"]
pub(super) struct ColdGuard<'a> {
    lock: &'a ColdLock,
    /// The word that the holder found, and later the one that unlocks.
    word: u64,
}

impl ColdLock {
    const_fn! {
        pub(super) fn new() -> Self {
            Self(SwappedWord::new(Generation::FIRST.word() | NO_MINUTE))
        }
    }

    /// Locks the cells for an update of the series with this generation.
    #[inline(always)]
    pub(super) fn lock(&self, generation: Generation) -> Result<ColdGuard<'_>, Denied> {
        let word = self.swap();
        // One comparison: another generation, or `LOCKED`.
        if word ^ generation.word() < LOCKED {
            Ok(ColdGuard { lock: self, word })
        } else if let Some(_puts_it_back) = self.taken(word) {
            Err(Denied::Stale)
        } else {
            Err(Denied::Busy)
        }
    }

    /// Locks the cells, whichever series they count for. Returns `None` if another thread holds the
    /// lock. Called by the collector.
    pub(super) fn lock_any(&self) -> Option<ColdGuard<'_>> {
        self.taken(self.swap())
    }

    /// Returns the word before, which a thread that finds [`LOCKED`] leaves to the holder.
    #[inline(always)]
    fn swap(&self) -> u64 {
        // Acquire: pairs with the Release in `drop`. This thread sees the stores of the last
        // holder.
        self.0.swap(LOCKED, Acquire)
    }

    /// Returns the lock, if [`swap`](Self::swap) returned this word.
    fn taken(&self, word: u64) -> Option<ColdGuard<'_>> {
        // Not `then_some`: dropping the guard would release another holder's lock.
        (word != LOCKED).then(|| ColdGuard { lock: self, word })
    }

    /// Calls `read`, which tries to read the cold cells, until it succeeds.
    ///
    /// A writer needs only a few stores, and after a few observations the series is promoted and
    /// the cells no longer change. But if there is no slot for the series, threads may write them
    /// without a pause. So after [`TRIES`] tries the reader locks out the writers for one read.
    pub(super) fn read(&self, mut read: impl FnMut() -> bool) {
        let mut tries = 0;
        while !read() {
            super::engine::back_off(&mut tries);
            let held = (tries >= TRIES).then(|| self.lock_any());
            if held.flatten().is_some_and(|_held| read()) {
                return;
            }
        }
    }

    /// Takes the lock from a thread that does not exist any more, in the child of a `fork`, for
    /// the series of this generation.
    pub(super) fn take(&self, generation: Generation) -> ColdGuard<'_> {
        let word = generation.word() | NO_MINUTE;
        ColdGuard { lock: self, word }
    }
}

impl ColdGuard<'_> {
    /// Unlocks the cells after an update. Promotes the series to a slot of `cells` cells if it had
    /// [`PROMOTE_AFTER`] updates in the running minute, or if `is_hot`, which is asked at the first
    /// update of a minute.
    #[inline(always)]
    pub(super) fn count(
        self,
        engine: &Engine,
        (slot_word, cells): (&SlotWord, u64),
        is_hot: impl FnOnce() -> bool,
    ) {
        let word = self.word + 1;
        // One comparison: another minute, or enough updates.
        if (word ^ engine.minute()) & (MINUTES | PROMOTE_AFTER) == 0 {
            self.unlock(word);
        } else {
            self.count_anew(engine, (slot_word, cells), is_hot());
        }
    }

    #[cold]
    #[inline(never)]
    fn count_anew(self, engine: &Engine, (slot_word, cells): (&SlotWord, u64), is_hot: bool) {
        let (generation, minute) = (Generation::of(self.word), engine.minute());
        let is_same = self.word & MINUTES == minute;
        // In a model one update is enough.
        let is_due = is_same || PROMOTE_AFTER == 1;
        self.unlock(generation.word() | minute | u64::from(!is_due));
        // The minute may be over, if nobody noticed.
        if is_hot || is_due && !engine.begin_minute() {
            promote(engine, slot_word, generation, cells);
        }
        // The update is over. In tests with an engine of their own, the thread is still one of the
        // process' engine.
        #[cfg(not(loom))]
        super::thread(|thread| thread.attend(super::engine()));
    }

    /// Unlocks the cells, which are clear now, for a series of another generation.
    pub(super) fn hand_over(self, generation: Generation) {
        self.unlock(generation.word() | NO_MINUTE);
    }

    /// Unlocks the cells, whose lock has this word then.
    #[inline(always)]
    fn unlock(mut self, word: u64) {
        self.word = word;
    }
}

impl Drop for ColdGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `swap`.
        self.lock.0.store(self.word, Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// All later updates of the series waited for ever.
    #[test]
    fn a_holder_that_panics_unlocks() {
        let lock = ColdLock::new();
        let panics = || {
            let _held = lock.lock(Generation::FIRST);
            assert!(lock.lock_any().is_none(), "a failed try unlocked it");
            assert!(lock.lock_any().is_none(), "a failed try unlocked it");
            std::panic::panic_any(());
        };
        catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        assert!(lock.lock(Generation::FIRST).is_ok());
    }
}
