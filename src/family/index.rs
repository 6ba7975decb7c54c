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
//! | a `fork` | `lock` | write, all shards |
//!
//! A scrape never waits for these locks. The label values to compare are in the series, so an entry
//! is eight bytes: half the hash and the number.

use std::hash::{BuildHasher, Hasher};
#[cfg(feature = "mmap")]
use std::sync::RwLockWriteGuard;
use std::sync::{OnceLock, PoisonError, RwLock, TryLockError};

use ahash::RandomState;
use hashbrown::raw::RawTable;

use crate::lockfree::{SeriesKey, prefetch};

/// The number of shards, each with its own lock. More of them make scrapes no faster and small
/// families larger.
const SHARDS: usize = 8;

/// The index of one family. See the module's documentation.
#[derive(Debug)]
pub(super) struct Index {
    hasher: RandomState,
    /// Allocated for the first series with labels.
    shards: OnceLock<Box<[Shard; SHARDS]>>,
}

/// A part of the index, by the hash. In cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(RwLock<Table>);

/// Entries: the upper half of the hash, and the number of the series.
#[derive(Default)]
pub(super) struct Table(RawTable<(u32, u32)>);

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.0.len())
            .finish_non_exhaustive()
    }
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: OnceLock::new(),
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
        let spread = spread(short(hash));
        let shard = self.shard(spread).read();
        let table = &shard.unwrap_or_else(PoisonError::into_inner).0;
        let same = |(half, index): &(u32, u32)| *half == short(hash) && matches(*index);
        table.get(spread, same).map(|(_, index)| key_of(*index))
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
        let spread_hash = spread(short(hash));
        let shard = self.shard(spread_hash).write();
        let table = &mut shard.unwrap_or_else(PoisonError::into_inner).0;
        // The new entry is written to a cache line far from the one that the search reads.
        let position = spread_hash as usize & (table.buckets() - 1);
        prefetch(table.data_end().as_ptr().wrapping_sub(position + 16), 16);
        let same = |(half, index): &(u32, u32)| *half == short(hash) && matches(*index);
        if let Some((_, index)) = table.get(spread_hash, same) {
            return Some(key_of(*index));
        }
        let index = make()?;
        table.insert(spread_hash, (short(hash), index), |(half, _)| spread(*half));
        Some(key_of(index))
    }

    /// Removes the entry of a series. Waits for threads that make or look up a series in the same
    /// shard.
    pub(super) fn remove(&self, hash: u64, index: u32) {
        let spread = spread(short(hash));
        let shard = self.shard(spread).write();
        let mut table = shard.unwrap_or_else(PoisonError::into_inner);
        table.0.remove_entry(spread, |(_, other)| *other == index);
    }

    /// Removes the entry of a series. Returns `false`, and does nothing, if another thread has the
    /// shard's lock.
    pub(super) fn try_remove(&self, hash: u64, index: u32) -> bool {
        let spread = spread(short(hash));
        let mut table = match self.shard(spread).try_write() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(table)) => table.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        table.0.remove_entry(spread, |(_, other)| *other == index);
        true
    }

    /// Locks all shards, around a `fork`. Makes them if a thread may be making them.
    #[cfg(feature = "mmap")]
    pub(super) fn lock(&self) -> Vec<RwLockWriteGuard<'_, Table>> {
        let shards = self.shards().iter();
        shards
            .map(|shard| shard.0.write().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    /// Returns the lock of the entries with this hash. By other bits of the hash than those with
    /// which a table finds an entry.
    fn shard(&self, spread: u64) -> &RwLock<Table> {
        let number = (spread << 7) >> (u64::BITS - SHARDS.ilog2());
        &self.shards()[number as usize].0
    }

    fn shards(&self) -> &[Shard; SHARDS] {
        self.shards.get_or_init(Box::default)
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
