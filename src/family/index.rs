//! The index of a family: from the hash of label values to series numbers.
//!
//! A hash map of several shards, each with a read-write lock:
//!
//! | who | method | lock |
//! |---|---|---|
//! | `with`, if it misses the thread's label cache; `find`, `remove`, `retire` | `find` | read |
//! | `with`, if there is no series | `find_or_insert` | write |
//! | `remove`, `retain`, `clear`, `retire` | `remove` | write |
//! | a scrape that retires an expired series | `try_remove` | write, if no thread has it |
//! | a `fork`, and a thread that has other processes read the family | `lock` | write, all shards |
//!
//! A scrape never waits for these locks. The label values to compare are in the series, so an entry
//! is eight bytes: half the hash and the number.
//!
//! Invariant: no thread parks for a lock. dashmap's locks park threads in a table of the process,
//! with locks of its own, which a child of `fork` could inherit locked. So this module takes them
//! with `try_read` and `try_write` only, and [`wait`] spins, yields and sleeps in between. A lock
//! for which no thread is parked is released without that table. Of a map, only `shards` and
//! `determine_shard` are called, since all other methods may park.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::time::Duration;

use dashmap::{DashMap, SharedValue};

use crate::lockfree::SeriesKey;
use crate::sync::RandomState;
use crate::sync::prefetch;

/// The number of shards, each with its own lock. More of them make scrapes no faster and small
/// families larger.
const SHARDS: usize = 8;

/// The index of one family. See the module's documentation.
#[derive(Default)]
pub(super) struct Index {
    hasher: RandomState,
    /// From the upper half of the hash to the number of the series. Allocated for the first series
    /// with labels.
    map: OnceLock<DashMap<u32, u32, RandomState>>,
}

impl Index {
    /// Hashes label values.
    #[inline(always)]
    pub(super) fn hash(&self, texts: &[&str]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for text in texts {
            // `write` also hashes the length, so ("ab", "c") and ("a", "bc") differ.
            hasher.write(text.as_bytes());
        }
        hasher.finish()
    }

    /// Finds the series of this hash for which `matches` returns `true`, and returns its key.
    ///
    /// `key_of` reads the key while the shard is locked for reading. A thread that removes or
    /// retires the series first removes its entry, under the same lock, and then advances the
    /// generation. So the key is that of the series that was found. Read later, it could be that of
    /// the next series of this number.
    pub(super) fn find(
        &self,
        hash: u64,
        matches: impl Fn(u32) -> bool,
        key_of: impl Fn(u32) -> SeriesKey,
    ) -> Option<SeriesKey> {
        let map = self.map();
        let spread = spread(short(hash));
        let shard = &map.shards()[map.determine_shard(spread as usize)];
        let shard = wait(|| shard.try_read());
        let same =
            |(half, index): &(u32, SharedValue<u32>)| *half == short(hash) && matches(*index.get());
        shard
            .get(spread, same)
            .map(|(_, index)| key_of(*index.get()))
    }

    /// Finds a series as [`find`](Self::find) does, or inserts an entry with the number that `make`
    /// returns. The shard is locked for writing in both cases, so that only one thread makes the
    /// series. Returns `None` if `make` returned `None`.
    pub(super) fn find_or_insert(
        &self,
        hash: u64,
        matches: impl Fn(u32) -> bool,
        key_of: impl Fn(u32) -> SeriesKey,
        make: impl FnOnce() -> Option<u32>,
    ) -> Option<SeriesKey> {
        let map = self.map();
        let spread_hash = spread(short(hash));
        let shard = &map.shards()[map.determine_shard(spread_hash as usize)];
        let mut shard = wait(|| shard.try_write());
        // The new entry is written to a cache line far from the one that the search reads.
        let position = spread_hash as usize & (shard.buckets() - 1);
        prefetch(shard.data_end().as_ptr().wrapping_sub(position + 16), 16);
        let same =
            |(half, index): &(u32, SharedValue<u32>)| *half == short(hash) && matches(*index.get());
        if let Some((_, index)) = shard.get(spread_hash, same) {
            return Some(key_of(*index.get()));
        }
        let index = make()?;
        let entry = (short(hash), SharedValue::new(index));
        shard.insert(spread_hash, entry, |(half, _)| spread(*half));
        Some(key_of(index))
    }

    /// Removes the entry of a series. Waits for threads that make or look up a series in the same
    /// shard.
    pub(super) fn remove(&self, hash: u64, index: u32) {
        wait(|| self.try_remove(hash, index).then_some(()));
    }

    /// Removes the entry of a series. Returns `false`, and does nothing, if another thread has the
    /// shard's lock.
    pub(super) fn try_remove(&self, hash: u64, index: u32) -> bool {
        let map = self.map();
        let spread = spread(short(hash));
        let Some(mut shard) = map.shards()[map.determine_shard(spread as usize)].try_write() else {
            return false;
        };
        shard.remove_entry(spread, |(_, other)| *other.get() == index);
        true
    }

    /// Locks all shards. Makes them if a thread may be making them.
    pub(super) fn lock(&self) -> Vec<impl Sized> {
        let shards = self.map().shards().iter();
        shards.map(|shard| wait(|| shard.try_write())).collect()
    }

    fn map(&self) -> &DashMap<u32, u32, RandomState> {
        self.map
            .get_or_init(|| DashMap::with_hasher_and_shard_amount(self.hasher.clone(), SHARDS))
    }
}

/// Takes the lock of a shard. Waits for threads that look up, make or remove a series in it, or
/// that fork: spins for the first few tries, yields for the next ones, then sleeps between two
/// tries. A thread that only yielded would never let one of a lower priority run, which may have
/// the lock.
pub(super) fn wait<T>(mut try_lock: impl FnMut() -> Option<T>) -> T {
    let mut tries = 0;
    loop {
        if let Some(guard) = try_lock() {
            return guard;
        }
        match tries {
            0..8 => (0..1 << tries).for_each(|_| std::hint::spin_loop()),
            8..100 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
        tries = 100.min(tries + 1);
    }
}

/// Returns the half of a hash that the index stores.
fn short(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Computes a whole hash from the half: `short(spread(half)) == half`, and the lower half is as
/// well distributed.
fn spread(half: u32) -> u64 {
    u64::from(half) << 32 | u64::from(half.wrapping_mul(0x9E37_79B1))
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    /// With a real-time priority, it kept the thread that had the lock from running, for ever.
    #[test]
    fn a_thread_that_waits_for_long_lets_all_others_run() {
        let sleeps = || -> u64 {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse().unwrap()
        };
        let (before, mut tries) = (sleeps(), 0);
        let after = wait(|| {
            tries += 1;
            (tries == 300).then(sleeps)
        });
        // Reading the file may sleep, too.
        assert!(after - before >= 100, "{before}, {after}");
    }
}
