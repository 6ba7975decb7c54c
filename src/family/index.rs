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
//!
//! A scrape never waits for these locks. The label values to compare are in the series, so an entry
//! is eight bytes: half the hash and the number.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use ahash::RandomState;
use dashmap::{DashMap, SharedValue};

use crate::lockfree::{SeriesKey, prefetch};

/// The number of shards, each with its own lock. More of them make scrapes no faster and small
/// families larger.
const SHARDS: usize = 8;

/// The index of one family. See the module's documentation.
#[derive(Debug)]
pub(super) struct Index {
    hasher: RandomState,
    /// Allocated for the first series with labels.
    map: OnceLock<DashMap<u32, u32, RandomState>>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            map: OnceLock::new(),
        }
    }

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
        let shard = map.shards()[map.determine_shard(spread as usize)].read();
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
        let mut shard = map.shards()[map.determine_shard(spread_hash as usize)].write();
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
        let map = self.map();
        let spread = spread(short(hash));
        let mut shard = map.shards()[map.determine_shard(spread as usize)].write();
        shard.remove_entry(spread, |(_, other)| *other.get() == index);
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

    fn map(&self) -> &DashMap<u32, u32, RandomState> {
        self.map
            .get_or_init(|| DashMap::with_hasher_and_shard_amount(self.hasher.clone(), SHARDS))
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
