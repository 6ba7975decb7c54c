//! The table of a native histogram: one thread's exponential buckets of one series, as a hash table
//! of counts.
//!
//! A reader gets an exact prefix of the thread's observations, as it does from the fixed buckets of
//! [`buckets`](super::buckets).
//!
//! # Protocol
//!
//! The block of a native histogram is one cell: the address of the owner's table. The owner creates
//! the table on its first observation. A table has the cells of a histogram (`state`, two sums, one
//! count per entry), and above them one key per entry. The key has both an exponential and a fixed
//! bucket, so one count serves both, and they never disagree.
//!
//! An observation is in one of these cases:
//!
//! - The table has its key: the observation is a [`observe`].
//! - The key is new and fits: the owner writes it to a free entry, and then observes.
//! - The table is full, or has as many exponential buckets as the limit: the owner copies it to a
//!   larger or coarser one, publishes that, and then observes.
//!
//! # Invariants
//!
//! - T1: A key is written once, before the first count of its entry is stored (Release). A reader
//!   that sees the count before its Acquire fence sees the key after it. A reader of a copy, which
//!   has no keys, sees those of the table, because the owner wrote them before it published the
//!   copy.
//! - T2: A replaced table does not change any more. The new table has all its observations when the
//!   owner stores the address (Release). So totals never go back, whichever of the two a reader
//!   loads (Acquire).
//! - T3: A replaced table is freed an epoch later. Readers pin the epoch. The owner reads its own
//!   table without a pin, because only the owner replaces it.
//! - T4: Between reading the counts for a copy and storing the new address, the owner allocates
//!   nothing. So if an allocator observes through this table, its observation is either made before
//!   the copy or goes to the new table.
//! - T5: Only the owner replaces a table, and never inside another replacement. An observation by
//!   an allocator that would need a second replacement is rejected.
//! - T6: A table has `BUCKET + 2 * capacity` words, which live as long as it: `BUCKET + capacity`
//!   cells that end at `block`, and above them `capacity` keys. `capacity` is `mask + 1`, a power
//!   of two, and never changes.

mod key;

use crate::mapped::{Move, Own, Place, Words, region};
use crate::snapshot::native::index::{COARSEST, FINEST, Places, coarser};
use crate::snapshot::{Native, Resolution};
use crate::sync::{Acquire, AtomicU64, Relaxed, owner_load};

use super::address::{publish, take_soon, value_at};
use super::bucket_block::{BUCKET, add_total, observe, try_read};
use super::buckets::{Observation, ObservedTotal};
use super::memory::Block;
use super::pass::ReadBlock;
use super::thread::Thread;
pub(crate) use key::Key;

/// The number of entries of a thread's first table.
#[cfg(not(loom))]
const FIRST_CAPACITY: usize = 16;
#[cfg(loom)]
const FIRST_CAPACITY: usize = 2;

/// One thread's table. See the module's text. Other processes may read it in a file.
#[repr(C)]
pub(crate) struct Table {
    /// The number of entries, a power of two, minus 1. No field changes after publication.
    mask: usize,
    /// The words of the block, and above them the keys. Owned.
    words: *mut AtomicU64,
    /// The largest absolute value that the zero bucket counts.
    zero_threshold: f64,
    /// The exponential buckets at the table's resolution.
    places: Places,
    /// The cells of a histogram: `state`, two sums, and a count per entry. Written by the owner,
    /// read by passes.
    block: Block,
    /// The maximum number of exponential buckets.
    limit: u32,
}

impl Table {
    /// Allocates an empty table.
    fn new(resolution: &Resolution, capacity: usize, place: Place) -> Own<Self> {
        let words = Words::new(BUCKET + 2 * capacity, place);
        let block = Block::at(&words, BUCKET + capacity - 1);
        let halvings = (FINEST - resolution.schema) as u32;
        let table = Self {
            places: Places::new(halvings, resolution.zero_threshold),
            limit: resolution.limit,
            zero_threshold: resolution.zero_threshold,
            mask: capacity - 1,
            block,
            // Only `drop` frees them.
            words: words.into_raw(),
        };
        Own::new(table, place)
    }

    /// Returns the cells of the table.
    #[inline(always)]
    pub(crate) fn block(&self) -> Block {
        self.block
    }

    /// Returns the number of entries.
    #[inline(always)]
    fn capacity(&self) -> usize {
        self.mask + 1
    }

    fn schema(&self) -> i8 {
        FINEST - self.halvings() as i8
    }

    /// Returns the resolution that the table has now.
    fn resolution(&self) -> Resolution {
        Resolution {
            schema: self.schema(),
            limit: self.limit,
            zero_threshold: self.zero_threshold,
        }
    }

    fn halvings(&self) -> u32 {
        self.places.halvings()
    }

    /// Sets the resolution of a table that is not published yet.
    fn set_halvings(&mut self, halvings: u32) {
        self.places = Places::new(halvings, self.zero_threshold);
    }

    /// Returns the number of cells.
    pub(crate) fn cells(&self) -> usize {
        BUCKET + self.capacity()
    }

    /// Returns the cells of the table, for a reader.
    pub(super) fn to_read(&self) -> ReadBlock<&Self> {
        ReadBlock {
            block: self.block,
            cells: self.cells(),
            copy: Self::copy,
            of: self,
        }
    }

    /// Returns the word of an entry's key.
    #[inline(always)]
    fn key(&self, entry: usize) -> &AtomicU64 {
        debug_assert!(entry <= self.mask, "no such entry");
        // SAFETY: T6; every caller masks the index or counts up to `capacity`.
        unsafe { self.block.cell_above(0, 1 + entry) }
    }

    /// Returns the owner's table, if there is one.
    ///
    /// # Safety
    ///
    /// The block is the one cell of a native histogram, and the caller is its owner.
    #[inline(always)]
    pub(crate) unsafe fn own<'a>(block: Block) -> Option<&'a Self> {
        // SAFETY: the caller's contract. 0, or a table that only its owner, the caller, replaces
        // (T3, T5).
        unsafe { value_at(owner_load(block.cell(0))) }
    }

    /// Returns the table that a block points to now.
    ///
    /// # Safety
    ///
    /// The block is the one cell of a native histogram, and the epoch is pinned for as long as the
    /// table is used (T3).
    pub(crate) unsafe fn published<'a>(block: Block) -> Option<&'a Self> {
        // SAFETY: the caller's contract. 0, or a table that is freed an epoch after its replacement
        // (T3).
        // Acquire: pairs with the Release in `publish`. The reader sees the table complete (T2).
        unsafe { value_at(block.cell(0).load(Acquire)) }
    }

    /// Copies the table that a block points to now, for a reader that requested a copy of the table
    /// it had loaded. The owner is in one of two cases:
    ///
    /// - It has not replaced that table since. The copy fits, and is what the reader needs.
    /// - It has replaced the table. The copy may not fit and is useless, but the old table does not
    ///   change any more (T2), so the reader can read it directly.
    ///
    /// # Safety
    ///
    /// As for [`published`](Self::published), and the caller is the owner of the table.
    pub(crate) unsafe fn copy(block: Block, buffer: &[AtomicU64]) {
        // SAFETY: the caller's contract.
        if let Some(table) = unsafe { Self::published(block) } {
            // SAFETY: T6; the block has as many cells.
            unsafe { table.block().copy_to(buffer, table.cells()) };
        }
    }

    /// Returns the entry of a key. If the table does not have the key, returns as an error the free
    /// entry where it belongs. Called by the owner.
    #[inline(always)]
    fn entry(&self, key: Key) -> Result<usize, usize> {
        let mut entry = key.hash() & self.mask;
        loop {
            let stored = owner_load(self.key(entry));
            if stored == key.0 {
                return Ok(entry);
            }
            if stored == 0 {
                return Err(entry);
            }
            // Ends at a free entry: at least a quarter of them are free.
            entry = (entry + 1) & self.mask;
        }
    }

    /// Iterates over the keys of the table.
    fn keys(&self) -> impl Iterator<Item = Key> {
        let keys = (0..self.capacity()).map(|entry| Key(owner_load(self.key(entry))));
        keys.filter(|key| key.0 != 0)
    }

    /// Returns whether the table can take this new key, or has to be replaced by a larger or
    /// coarser one.
    fn has_space_for(&self, key: Key) -> bool {
        let used = self.keys().count();
        if (used + 1) * 4 > self.capacity() * 3 {
            return false;
        }
        // There are at most as many exponential buckets as keys.
        if used < self.limit as usize || key.is_zero() {
            return true;
        }
        let mut codes: Vec<_> = self.keys().map(Key::code).collect();
        codes.contains(&key.code()) || distinct(&mut codes) < self.limit as usize
    }

    /// Returns the key of an observation at the table's resolution.
    fn key_of(&self, Observation { bucket, value, .. }: Observation) -> Key {
        Key::new(value, self.places, self.zero_threshold, bucket)
    }

    /// Observes a value if the table has its key. Called by the owner.
    #[inline(always)]
    fn observe(&self, key: Key, added: f64, times: u64) -> bool {
        let Ok(entry) = self.entry(key) else {
            return false;
        };
        // SAFETY: T6; `entry` is below `capacity`, and the caller owns the table.
        unsafe { observe(self.block(), entry, added, times) };
        true
    }

    /// Adds the result of a valid read to `total`.
    fn add_to(&self, total: &mut ObservedTotal, counts: &[u64], sum: f64) {
        let native = total.native.get_or_insert_with(Native::finest);
        native.reduce_to(self.schema());
        let halvings = (self.schema() - native.schema()) as u32;
        for (entry, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            // Relaxed: the Acquire fences of `try_read` stand between the count and this load (T1).
            let key = Key(self.key(entry).load(Relaxed));
            debug_assert!(key.0 != 0, "a count without a key");
            if let Some(total) = total.counts.get_mut(key.bucket()) {
                *total = total.wrapping_add(count);
            }
            if key.is_zero() {
                native.zero_count = native.zero_count.wrapping_add(count);
            } else {
                let (index, negative) = key.index(self.places);
                native.add(coarser(index, halvings), negative, count);
            }
        }
        total.sum.add(sum);
    }

    /// Adds a prefix of the observations to `total`. Returns `false`, and adds nothing, if an
    /// observation was completed during the read. `block` is that of this table or a copy.
    pub(crate) fn try_add(
        &self,
        block: Block,
        counts: &mut Vec<u64>,
        total: &mut ObservedTotal,
    ) -> bool {
        counts.clear();
        counts.resize(self.capacity(), 0);
        // SAFETY: T6; the block has as many counts as entries.
        let Some(sum) = (unsafe { try_read(block, counts) }) else {
            return false;
        };
        self.add_to(total, counts, sum);
        true
    }
}

/// The hot path: observes a value if this thread's table has its bucket. Returns `false` if the
/// caller has to take the cold path.
///
/// # Safety
///
/// The block is the one cell of a native histogram, and the caller owns it.
#[inline(always)]
pub(super) unsafe fn observe_known(block: Block, bucket: usize, value: f64, times: u64) -> bool {
    // SAFETY: the caller's contract.
    let Some(table) = (unsafe { Table::own(block) }) else {
        return false;
    };
    let added = value * times as f64;
    match Key::find(value, &table.places, bucket) {
        Some(key) => table.observe(key, added, times),
        None if value.abs() <= table.zero_threshold => {
            table.observe(Key::zero(bucket), added, times)
        }
        None => false,
    }
}

/// Observes a value, in a larger or coarser table if it has to be. Returns `None`, and observes
/// nothing, if it would need a replacement inside another one (T5).
///
/// # Safety
///
/// The block is the one cell of a native histogram, and the caller owns it.
pub(super) unsafe fn write(
    thread: &Thread,
    block: Block,
    resolution: &Resolution,
    observation: Observation,
) -> Option<()> {
    // SAFETY: the caller's contract.
    unsafe {
        // The hot path does not have a key for every value; `key_of` has.
        let known = |table: &Table| {
            let key = table.key_of(observation);
            table.observe(key, observation.sum(), observation.times)
        };
        if !Table::own(block).is_some_and(known) {
            thread.without_reentry(|| observe_new(block, resolution, observation))?;
        }
        Some(())
    }
}

/// Observes a value whose key the table does not have.
///
/// # Safety
///
/// As for [`write()`], and this thread is not inside another replacement (T5).
unsafe fn observe_new(block: Block, resolution: &Resolution, observation: Observation) {
    // SAFETY: the caller's contract.
    let old = unsafe { Table::own(block) };
    if !old.is_some_and(|old| old.has_space_for(old.key_of(observation))) {
        // SAFETY: the caller's contract.
        unsafe { replace(block, old, resolution, observation) };
    }
    // SAFETY: the caller's contract.
    let table = unsafe { Table::own(block) }.expect("it was made");
    // At a lower resolution the table may have the bucket already.
    let key = table.key_of(observation);
    let entry = table.entry(key).unwrap_or_else(|free| {
        // Relaxed: the Release store of the count in `observe` carries the key (T1).
        table.key(free).store(key.0, Relaxed);
        free
    });
    // SAFETY: T6; `entry` is below `capacity`, and the caller owns the table.
    unsafe { observe(table.block(), entry, observation.sum(), observation.times) };
}

/// Replaces a table that cannot take another key by a larger one, or by one of lower resolution.
///
/// # Safety
///
/// As for [`observe_new`], and `old` is the owner's table.
unsafe fn replace(
    block: Block,
    old: Option<&Table>,
    resolution: &Resolution,
    observation: Observation,
) {
    let capacity = old.map_or(FIRST_CAPACITY, |old| {
        let crowded = (old.keys().count() + 1) * 2 > old.capacity();
        if crowded {
            2 * old.capacity()
        } else {
            old.capacity()
        }
    });
    let resolution = old.map_or(*resolution, Table::resolution);
    let mut fresh = Table::new(&resolution, capacity, block.place_of_content());
    let mut codes = Vec::with_capacity(capacity + 1);
    // Nothing is allocated from here to `publish` (T4).
    if let Some(old) = old {
        loop {
            codes.clear();
            let keys = old.keys().map(|key| key.coarser(old.places, fresh.places));
            codes.extend(keys.chain([fresh.key_of(observation)]).map(Key::code));
            if distinct(&mut codes) <= fresh.limit as usize || fresh.schema() == COARSEST {
                break;
            }
            let halvings = fresh.halvings() + 1;
            fresh.set_halvings(halvings);
        }
        fresh.add(old);
    }
    // SAFETY: the caller's contract. A reader that pins from now on cannot reach the old table
    // (T3).
    unsafe { publish(block.cell(0), fresh) };
}

/// Moves what a block counts to the table of another one. Returns `false`, and moves nothing, if
/// there is no memory.
///
/// # Safety
///
/// Both blocks are the one cell of a native histogram. No other thread writes either of them, and
/// every reader has pinned the epoch.
pub(super) unsafe fn fold(block: Block, other: Block, resolution: &Resolution) -> bool {
    // SAFETY: the caller's contract.
    let (ours, theirs, to, from) = unsafe {
        let Some(theirs) = Table::published(other) else {
            return true;
        };
        (Table::own(block), theirs, block.cell(0), other.cell(0))
    };
    let tables = ours.into_iter().chain([theirs]);
    let used: usize = tables.clone().map(|table| table.keys().count()).sum();
    let capacity = (2 * used).next_power_of_two().max(FIRST_CAPACITY);
    let place = block.place();
    let mut merged = Table::new(resolution, capacity, place);
    let halvings = tables.clone().map(Table::halvings).max();
    merged.set_halvings(halvings.expect("there is a table"));
    tables.for_each(|table| merged.add(table));
    if merged.place() != place || Place::of(merged.words) != place {
        return false;
    }
    let replaced = [owner_load(to), from.load(Relaxed)];
    let mut moved = Move::new();
    moved.set(to, merged.into_raw().expose_provenance() as u64);
    moved.set(from, 0);
    moved.commit();
    for table in replaced {
        // SAFETY: a reader that pins from now on cannot reach the two tables (T3).
        unsafe {
            take_soon(std::ptr::with_exposed_provenance_mut::<Table>(
                table as usize,
            ))
        };
    }
    true
}

/// Moves the table of a block to the mapped file.
///
/// # Safety
///
/// The block is the one cell of a native histogram, and the caller owns it. It is not inside
/// another replacement (T5).
pub(super) unsafe fn move_block(block: Block) {
    // SAFETY: the caller's contract.
    let Some(old) = (unsafe { Table::own(block) }) else {
        return;
    };
    if region::contains(std::ptr::from_ref(old).cast()) {
        return;
    }
    let fresh = Table::new(&old.resolution(), old.capacity(), Place::Region);
    // Nothing is allocated from here to `publish` (T4).
    fresh.add(old);
    // SAFETY: the caller's contract. A reader that pins from now on cannot reach the old table
    // (T3).
    unsafe { publish(block.cell(0), fresh) };
}

/// Removes the table from a block that no thread writes any more, and retires it.
///
/// # Safety
///
/// The block is the one cell of a native histogram. Every owner has acknowledged or is gone, and
/// every reader of the block has pinned the epoch.
pub(super) unsafe fn release(block: Block) {
    // SAFETY: the caller's contract.
    let cell = unsafe { block.cell(0) };
    // Relaxed: the owner's acknowledgement, or the pool's lock, carries its stores.
    let old = cell.load(Relaxed) as usize;
    // Relaxed: the calling pass has pinned the epoch, so the table outlives the pass.
    cell.store(0, Relaxed);
    // SAFETY: a reader that pins after this pass cannot reach the table (T3).
    unsafe { take_soon(std::ptr::with_exposed_provenance_mut::<Table>(old)) };
}

/// Returns the number of different exponential buckets, without the zero bucket.
fn distinct(codes: &mut Vec<u32>) -> usize {
    codes.sort_unstable();
    codes.dedup();
    codes.len() - usize::from(codes.contains(&Key::ZERO))
}

impl Table {
    /// Adds the observations of a table that is as fine or finer, and that no other thread writes.
    /// This one is not published yet.
    ///
    /// All stores are Relaxed: the Release in `publish` carries them, or that of the lock under
    /// which a pass folds.
    fn add(&self, other: &Self) {
        // SAFETY: T6; every table has a `state` and two sums.
        unsafe { add_total(self.block, other.block) };
        for from in 0..other.capacity() {
            let key = Key(owner_load(other.key(from)));
            if key.0 == 0 {
                continue;
            }
            let key = key.coarser(other.places, self.places);
            let to = self.entry(key).unwrap_or_else(|free| free);
            self.key(to).store(key.0, Relaxed);
            // SAFETY: T6; both entries are below the capacity of their table.
            let [from, to] = unsafe {
                [
                    other.block.cell(BUCKET + from),
                    self.block.cell(BUCKET + to),
                ]
            };
            to.store(owner_load(to).wrapping_add(owner_load(from)), Relaxed);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let len = BUCKET + 2 * self.capacity();
        let words = std::ptr::NonNull::new(self.words).expect("a table has words");
        // SAFETY: T6; the words of `new`, which nothing else frees.
        let words = unsafe { Words::from_raw(words, len) };
        #[cfg(not(loom))]
        drop(words);
        // Writes every word, so that loom reports a thread that reads a freed table.
        #[cfg(loom)]
        words
            .into_box()
            .into_iter()
            .for_each(|mut word| word.with_mut(|_| ()));
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
