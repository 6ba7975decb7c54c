//! The exponential buckets of one thread: a small hash table of counts that grows as new buckets are met, and is read as
//! [`buckets`](super::buckets) are: always an exact prefix of the observations.
//!
//! A slot is one cell: the address of the thread's table, made on its first observation. A table has the cells of a
//! histogram (`state`, two sums, one count per slot of the table) and behind them a key per slot: which exponential bucket,
//! and which fixed bucket, are counted there. So one count serves both kinds of buckets, and they never disagree.
//! An observation whose key is there is one of [`buckets::observe`](super::buckets::observe). A new key takes a free
//! slot. One that is full, or that has more exponential buckets than the limit, is copied to a larger or coarser one.
//!
//! - T1: a key is written once, before the first count of its slot is stored (Release). Who sees the count behind a fence
//!   (Acquire) sees the key.
//! - T2: a table that was replaced holds what the owner had at that moment, for ever, and the new one holds it too when its
//!   address is stored (Release). So reads never go back, whichever of the two they find.
//! - T3: a replaced table is freed an epoch later; readers pin. The owner reads its own without.
//! - T4: between reading the counts for a copy and storing its address nothing is allocated: an allocator that observes
//!   through this very table is either before the copy or in the new one.
//! - T5: a table is replaced by its owner only, and not inside a replacement: an observation by the allocator that would
//!   need one is refused.

mod key;

use crate::snapshot::native::index::{self, COARSEST, FINEST, coarser};
use crate::snapshot::{Native, Resolution};
use crate::sync::{Acquire, AtomicU64, Relaxed, Release, owner_load};

use super::buckets::{BUCKET, Observed, SUM, join_sums, observe, try_read};
use super::memory::Block;
use super::pass::View;
use super::shard::CopyBlock;
use super::thread::Thread;
use crate::lockfree::epoch::soon;
use key::Key;

/// Slots of a first table.
impl View for &Table {
    const COPY: CopyBlock = Table::copy;

    fn block(&self) -> Block {
        Table::block(self)
    }

    fn cells(&self) -> usize {
        self.words()
    }
}

#[cfg(not(loom))]
const FIRST_SLOTS: usize = 16;
#[cfg(loom)]
const FIRST_SLOTS: usize = 2;

/// One thread's table. See the module's text.
pub(crate) struct Table {
    /// Of the finest schema, down to the table's.
    halvings: u32,
    limit: u32,
    zero_threshold: f64,
    /// The bits of the first number that is neither zero here nor subnormal, and how many there are from it on below infinity.
    plain: (u64, u64),
    /// A power of two.
    slots: usize,
    /// The key of each slot. Seen from the end, as a [`Block`]: `state`, two sums, counts, and the keys, the last one first.
    words: Box<[AtomicU64]>,
}

impl Table {
    fn new(resolution: &Resolution, slots: usize) -> Box<Self> {
        let words = BUCKET + 2 * slots;
        let zero = resolution.zero_threshold.abs().to_bits();
        let first = (zero + 1).max(f64::MIN_POSITIVE.to_bits());
        Box::new(Self {
            halvings: (FINEST - resolution.schema) as u32,
            limit: resolution.limit,
            zero_threshold: resolution.zero_threshold,
            plain: (first, f64::INFINITY.to_bits() - first),
            slots,
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    #[inline(always)]
    pub(crate) fn block(&self) -> Block {
        debug_assert_eq!(self.words.len(), BUCKET + 2 * self.slots);
        // SAFETY: it has as many words. An observation need not look for their number besides.
        Block::of(unsafe { self.words.get_unchecked(..BUCKET + 2 * self.slots) })
    }

    fn schema(&self) -> i8 {
        FINEST - self.halvings as i8
    }

    /// The number of cells.
    pub(crate) fn words(&self) -> usize {
        self.words.len()
    }

    /// The key of a slot of the table.
    #[inline(always)]
    fn key(&self, slot: usize) -> &AtomicU64 {
        debug_assert!(slot < self.slots, "no such slot");
        // SAFETY: there are as many keys as slots, and every caller has masked or counted.
        unsafe { self.words.get_unchecked(slot) }
    }

    /// The same in a block.
    fn key_cell(&self, slot: usize) -> usize {
        BUCKET + 2 * self.slots - 1 - slot
    }

    /// The owner's own table, if it has one yet.
    ///
    /// # Safety
    ///
    /// The block is one cell of a native histogram, and the caller is its owner.
    #[inline(always)]
    pub(crate) unsafe fn own<'a>(block: Block) -> Option<&'a Self> {
        // SAFETY: by the caller's word; only the owner replaces it (T5).
        let address = owner_load(unsafe { block.cell(0) }) as usize;
        // SAFETY: 0, or a table that only its owner retires.
        unsafe { std::ptr::with_exposed_provenance::<Self>(address).as_ref() }
    }

    /// The table that is published in a block now.
    ///
    /// # Safety
    ///
    /// The block is one cell of a native histogram, and the epoch is pinned for as long as the table is used (T3).
    pub(crate) unsafe fn published<'a>(block: Block) -> Option<&'a Self> {
        // SAFETY: by the caller's word. Acquire: pairs with the Release in `publish`; the table is seen as it was made (T2).
        let address = unsafe { block.cell(0) }.load(Acquire) as usize;
        // SAFETY: 0, or a table that is freed an epoch after it was replaced.
        unsafe { std::ptr::with_exposed_provenance::<Self>(address).as_ref() }
    }

    /// Copies the table that is published in a block now. One that was made since the request may not fit, and
    /// the copy is useless then; but then the old table has stopped to change, and the reader reads that.
    ///
    /// # Safety
    ///
    /// As for [`published`](Self::published), and the caller is the table's owner.
    pub(crate) unsafe fn copy(block: Block, buffer: &[AtomicU64]) {
        // SAFETY: by the caller's contract.
        if let Some(table) = unsafe { Self::published(block) } {
            // SAFETY: a table's block has as many cells as the table has words.
            unsafe { table.block().copy_to(buffer, table.words()) };
        }
    }

    /// Where the owner counts this key, if it has met it before.
    #[inline(always)]
    fn find(&self, key: Key) -> Option<usize> {
        let mut slot = key.hash() & (self.slots - 1);
        loop {
            let there = owner_load(self.key(slot));
            if there == key.0 {
                return Some(slot);
            }
            if there == 0 {
                return None;
            }
            // Ends: a quarter of the slots is free.
            slot = (slot + 1) & (self.slots - 1);
        }
    }

    /// The free slot for a key that is not there.
    fn free_slot(&self, key: Key) -> usize {
        let mut slot = key.hash() & (self.slots - 1);
        while owner_load(self.key(slot)) != 0 {
            slot = (slot + 1) & (self.slots - 1);
        }
        slot
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        let keys = (0..self.slots).map(|slot| Key(owner_load(self.key(slot))));
        keys.filter(|key| key.0 != 0)
    }

    /// Whether another key fits in, without a larger or a coarser table.
    fn takes(&self, key: Key) -> bool {
        let there = self.keys().count();
        if (there + 1) * 4 > self.slots * 3 {
            return false;
        }
        // There are no more buckets than keys.
        if there < self.limit as usize || key.is_zero() {
            return true;
        }
        let mut codes: Vec<_> = self.keys().map(Key::code).collect();
        codes.contains(&key.code()) || distinct(&mut codes) < self.limit as usize
    }

    /// The number of observations, as the owner knows it.
    pub(crate) fn own_count(&self) -> u64 {
        // SAFETY: every table has a `state`.
        owner_load(unsafe { self.block().cell(0) }) >> 1
    }

    fn key_of(&self, value: f64, bucket: usize) -> Key {
        Key::new(value, self.schema(), self.zero_threshold, bucket)
    }

    /// As [`key_of`](Self::key_of), in fewer instructions; not of infinity, nor of subnormal numbers that are not zero here.
    #[inline(always)]
    fn common_key_of(&self, value: f64, bucket: usize) -> Option<Key> {
        // Of integers all the way: the caller has tested the same ones.
        let bits = value.to_bits() & (u64::MAX >> 1);
        let (first, len) = self.plain;
        let code = if bits.wrapping_sub(first) < len {
            let sign = (value.to_bits() >> 32) as u32 & Key::NEGATIVE;
            (index::of_normal_at(bits, self.halvings) + Key::BIAS) as u32 | sign
        } else if value.abs() <= self.zero_threshold {
            Key::ZERO
        } else {
            return None;
        };
        Some(Key(u64::from(code) | (bucket as u64) << 32))
    }

    /// The owner observes, if the key of this value is there.
    #[inline(always)]
    fn observe(&self, key: Key, (_, value, times): (usize, f64, u64)) -> bool {
        let Some(slot) = self.find(key) else {
            return false;
        };
        // SAFETY: the slot is one of the table's, and the caller owns it.
        unsafe { observe(self.block(), slot, value, times) };
        true
    }

    /// Adds what a valid read of this table found: `counts` per slot, and the keys of `block`, which is this one or a copy.
    fn add_to(&self, total: &mut Observed, block: Block, counts: &[u64], sum: f64) {
        let native = total.native.get_or_insert_with(Native::finest);
        native.reduce_to(self.schema());
        let halvings = (self.schema() - native.schema()) as u32;
        for (slot, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            // SAFETY: there are as many keys as slots. Relaxed: behind the fences of `try_read` (T1).
            let key = Key(unsafe { block.cell(self.key_cell(slot)) }.load(Relaxed));
            debug_assert!(key.0 != 0, "a count without a key");
            if let Some(total) = total.counts.get_mut(key.bucket()) {
                *total = total.wrapping_add(count);
            }
            if key.is_zero() {
                native.zero_count = native.zero_count.wrapping_add(count);
            } else {
                let negative = key.code() & Key::NEGATIVE != 0;
                native.add(coarser(key.index(), halvings), negative, count);
            }
        }
        total.sum = join_sums(total.sum, sum);
    }

    /// Adds a prefix of the observations to `total`; false where one ended meanwhile. `block` is this table's, or a copy.
    pub(crate) fn try_add(
        &self,
        block: Block,
        counts: &mut Vec<u64>,
        total: &mut Observed,
    ) -> bool {
        counts.clear();
        counts.resize(self.slots, 0);
        // SAFETY: the block has as many counts as slots.
        let Some(sum) = (unsafe { try_read(block, counts) }) else {
            return false;
        };
        self.add_to(total, block, counts, sum);
        true
    }
}

/// The hot path: observes where this thread has met the bucket before; false: take the cold path.
///
/// # Safety
///
/// The block is one cell of a native histogram, and the caller owns it.
#[inline(always)]
pub(super) unsafe fn observe_known(block: Block, what: (usize, f64, u64)) -> bool {
    // SAFETY: by the caller's word.
    let Some(table) = (unsafe { Table::own(block) }) else {
        return false;
    };
    let key = table.common_key_of(what.1, what.0);
    key.is_some_and(|key| table.observe(key, what))
}

/// Observes, with a larger or coarser table if it has to be; returns the number of observations there are. `None`, and
/// nothing is observed, inside another replacement (T5).
///
/// # Safety
///
/// The block is one cell of a native histogram, and the caller owns it.
pub(super) unsafe fn write(
    thread: &Thread,
    block: Block,
    resolution: &Resolution,
    what: (usize, f64, u64),
) -> Option<u64> {
    // SAFETY: by the caller's word.
    unsafe {
        // A key that the hot path does not make is made here.
        let known = |table: &Table| table.observe(table.key_of(what.1, what.0), what);
        if !Table::own(block).is_some_and(known) {
            thread.without_reentry(|| observe_new(block, resolution, what))?;
        }
        Table::own(block).map(Table::own_count)
    }
}

/// Observes what has no slot yet.
///
/// # Safety
///
/// As for [`write()`], and no other replacement is under way (T5).
unsafe fn observe_new(block: Block, resolution: &Resolution, what: (usize, f64, u64)) {
    let (bucket, value, times) = what;
    let key = |table: &Table| table.key_of(value, bucket);
    // SAFETY: by the caller's word.
    let old = unsafe { Table::own(block) };
    if !old.is_some_and(|old| old.takes(key(old))) {
        // SAFETY: as above.
        unsafe { replace(block, old, resolution, what) };
    }
    // SAFETY: as above; it was there, or was made.
    let table = unsafe { Table::own(block) }.expect("it was made");
    // At a lower resolution the bucket may be one that is there.
    let key = key(table);
    if !table.observe(key, what) {
        let slot = table.free_slot(key);
        // Relaxed: carried by the count's Release in `observe` (T1).
        table.key(slot).store(key.0, Relaxed);
        // SAFETY: the slot is one of the table's, and the caller owns it.
        unsafe { observe(table.block(), slot, value, times) };
    }
}

/// Makes room for another key: in a larger table, or at a lower resolution.
///
/// # Safety
///
/// As for [`observe_new`]; `old` is the owner's table.
unsafe fn replace(
    block: Block,
    old: Option<&Table>,
    resolution: &Resolution,
    (bucket, value, _): (usize, f64, u64),
) {
    let slots = old.map_or(FIRST_SLOTS, |old| {
        let crowded = (old.keys().count() + 1) * 2 > old.slots;
        if crowded { 2 * old.slots } else { old.slots }
    });
    let mut fresh = Table::new(resolution, slots);
    let mut entries = Vec::with_capacity(old.map_or(0, |old| old.slots));
    let mut codes = Vec::with_capacity(entries.capacity() + 1);
    // From here on nothing is allocated (T4).
    if let Some(old) = old {
        old.copy_entries(&mut entries);
        fresh.halvings = old.halvings;
        loop {
            let halvings = fresh.halvings - old.halvings;
            codes.clear();
            let new = fresh.key_of(value, bucket);
            let keys = entries
                .iter()
                .map(|(key, _): &(Key, u64)| key.coarser(halvings));
            codes.extend(keys.chain([new]).map(Key::code));
            if distinct(&mut codes) <= fresh.limit as usize || fresh.schema() == COARSEST {
                break;
            }
            fresh.halvings += 1;
        }
        fresh.take_over(old, &entries);
    }
    // SAFETY: by the caller's word, and `old` is what is published.
    unsafe { publish(block, fresh) };
}

/// Stores the address of a table that is complete, and retires the one that was there.
///
/// # Safety
///
/// The block is one cell of a native histogram, and the caller owns it.
pub(super) unsafe fn publish(block: Block, fresh: Box<Table>) {
    // SAFETY: by the caller's word.
    let cell = unsafe { block.cell(0) };
    let old = owner_load(cell);
    let fresh = Box::into_raw(fresh).expose_provenance() as u64;
    // Release: pairs with the Acquire in `published` (T2).
    cell.store(fresh, Release);
    // SAFETY: no longer reachable for who pins from now on (T3).
    unsafe { retire(old) };
}

/// Takes the table out of a block that nobody writes any more.
///
/// # Safety
///
/// The block is one cell of a native histogram; owners have answered or are gone, and so are other readers than those
/// that pinned before.
pub(super) unsafe fn release(block: Block) {
    // SAFETY: by the caller's word.
    let cell = unsafe { block.cell(0) };
    // Relaxed: owners have answered or are gone, which carries what they published.
    let old = cell.load(Relaxed);
    // Relaxed: the pass that calls this is pinned, so the table outlives it.
    cell.store(0, Relaxed);
    // SAFETY: no longer reachable for who pins after this pass.
    unsafe { retire(old) };
}

/// The number of exponential buckets in use, the zero bucket aside.
fn distinct(codes: &mut Vec<u32>) -> usize {
    codes.sort_unstable();
    codes.dedup();
    codes.len() - usize::from(codes.contains(&Key::ZERO))
}

impl Table {
    fn copy_entries(&self, entries: &mut Vec<(Key, u64)>) {
        let block = self.block();
        for slot in 0..self.slots {
            let key = Key(owner_load(self.key(slot)));
            if key.0 != 0 {
                // SAFETY: one of the counts.
                entries.push((key, owner_load(unsafe { block.cell(BUCKET + slot) })));
            }
        }
    }

    /// A fresh table takes over what an older one holds. Relaxed, all of it: `publish` carries it.
    fn take_over(&mut self, old: &Self, entries: &[(Key, u64)]) {
        for i in 0..BUCKET {
            // SAFETY: every table has these.
            let (from, to) = unsafe { (old.block().cell(i), self.block().cell(i)) };
            to.store(owner_load(from), Relaxed);
        }
        self.add_entries(entries, self.halvings - old.halvings);
    }

    fn add_entries(&self, entries: &[(Key, u64)], halvings: u32) {
        for &(key, count) in entries {
            let key = key.coarser(halvings);
            let slot = self.find(key).unwrap_or_else(|| self.free_slot(key));
            self.key(slot).store(key.0, Relaxed);
            // SAFETY: one of the counts.
            let cell = unsafe { self.block().cell(BUCKET + slot) };
            cell.store(owner_load(cell).wrapping_add(count), Relaxed);
        }
    }

    /// Both together, for a fold: nobody writes either, and the pass that calls this is the only reader.
    pub(super) fn joined(ours: Option<&Self>, theirs: &Self, resolution: &Resolution) -> Box<Self> {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        ours.inspect(|ours| ours.copy_entries(&mut a));
        theirs.copy_entries(&mut b);
        let slots = (2 * (a.len() + b.len())).next_power_of_two();
        let mut joined = Self::new(resolution, slots.max(FIRST_SLOTS));
        let halvings = ours.map_or(theirs.halvings, |ours| ours.halvings);
        joined.halvings = halvings.max(theirs.halvings);
        joined.add_entries(&a, joined.halvings - halvings);
        joined.add_entries(&b, joined.halvings - theirs.halvings);
        let total = |table: &Self| {
            let block = table.block();
            // SAFETY: every table has a `state` and two sums.
            unsafe {
                let state = owner_load(block.cell(0));
                let sum = owner_load(block.cell(SUM + (state & 1) as usize));
                (state >> 1, f64::from_bits(sum))
            }
        };
        let (mine, other) = (ours.map_or((0, 0.0), total), total(theirs));
        let block = joined.block();
        // SAFETY: as above. Relaxed: `publish` carries it.
        unsafe {
            block
                .cell(0)
                .store(mine.0.wrapping_add(other.0) << 1, Relaxed);
            let sum = join_sums(mine.1, other.1);
            block.cell(SUM).store(sum.to_bits(), Relaxed);
        }
        joined
    }
}

/// Frees a table once nobody can be reading it any more.
///
/// # Safety
///
/// `address` is 0, or that of a table that nothing points to.
unsafe fn retire(address: u64) {
    if address == 0 {
        return;
    }
    // SAFETY: by the caller's word; made by `Box::into_raw` in `publish`.
    unsafe {
        soon(move || {
            let table = std::ptr::with_exposed_provenance_mut::<Table>(address as usize);
            drop(Box::from_raw(table));
        });
    }
}

/// Loom sees who reads what is freed.
#[cfg(loom)]
impl Drop for Table {
    fn drop(&mut self) {
        for word in &mut self.words {
            word.with_mut(|_| ());
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
