//! Caches, for each thread, the label sets that it used. A hit hashes and compares; it takes no
//! lock and touches no cache line that another thread writes.
//!
//! A thread has one table per arena. An entry has a copy of the label values, the address of the
//! series, and the key that the series had. Retiring a series advances its generation; the caller
//! compares generations and ignores an entry whose generation is old.
//!
//! - T1: a series keeps its address until its arena is dropped (R1), and no two arenas have the
//!   same id. So an entry of a table with an arena's id points to an existing series of that arena
//!   while the arena is borrowed.
//! - T2: look-ups reach tables only through the thread's `TABLES`. `TABLES` is empty while a
//!   table is written, because writing allocates and an allocator may update a labelled metric. So
//!   a look-up never reads a table that is being written.
//! - T3: the `CachedSeries::len` bytes from `CachedSeries::start` on are the label values of the
//!   entry, each followed by `END`, which no UTF-8 text contains. So a comparison branches on the
//!   lengths of the caller's values, which are known long before the entry is loaded.

use std::cell::Cell;
use std::ops::Deref;
use std::ptr::null;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sync::{Mutex, leaf, lock};

use super::arena::Arena;
use super::series_key::SeriesKey;

/// The byte that follows each label value in a table's values.
const END: u8 = 0xFF;

/// The most entries of a thread's table of a family.
const MOST_ENTRIES: usize = 8192;

/// The number of label sets that a full table refuses before it starts again. So label sets in turn
/// that are too many for it cost no more than the look-up, and it soon has those of a program that
/// goes on with others.
const MOST_REFUSED: usize = 2 * MOST_ENTRIES;

/// An arena with each thread's label cache in front of it.
pub struct CachedArena<S, L> {
    arena: Arena<S, L>,
    /// The id of the arena. No other arena ever has it.
    id: u64,
    /// The index of this arena's table in each thread's list. Used again after the arena is
    /// dropped.
    table: usize,
}

impl<S, L> Deref for CachedArena<S, L> {
    type Target = Arena<S, L>;

    fn deref(&self) -> &Arena<S, L> {
        &self.arena
    }
}

impl<S, L: Default> CachedArena<S, L> {
    /// Creates an empty arena.
    #[must_use]
    pub fn new() -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let _leaf = leaf();
        Self {
            arena: Arena::new(),
            id: IDS.fetch_add(1, Relaxed),
            table: lock(&TABLE_INDEXES).take(),
        }
    }

    /// Returns the series of a label set and the key that it had, if the calling thread has cached
    /// it.
    ///
    /// The caller compares the key's generation with the series' current one.
    #[inline(always)]
    pub fn find(&self, hash: u64, texts: &[&str]) -> Option<(&S, SeriesKey)> {
        // SAFETY: nothing in this function writes a table or allocates.
        let entry = unsafe { self.table() }?.find(hash | 1, texts)?;
        // SAFETY: the entry's table has this arena's id, so the pointer is to a series of this
        // arena (T1).
        let series = unsafe { &*entry.series.cast::<S>() };
        Some((series, entry.series_key))
    }

    /// Returns the calling thread's table, if it has one.
    ///
    /// # Safety
    ///
    /// While it uses the table, the caller writes none, and allocates nothing (T2).
    #[inline(always)]
    unsafe fn table(&self) -> Option<&LabelTable> {
        // Not the whole look-up inside `with`: the compiler would not inline that, and would not
        // know the number of texts.
        let tables = TABLES.get();
        if self.table >= tables.len() {
            return None;
        }
        // SAFETY: `self.table` is below the length, and the caller keeps to its contract.
        let table = unsafe { &*tables.cast::<LabelTable>().add(self.table) };
        (table.id == self.id).then_some(table)
    }

    /// Adds a label set to the calling thread's cache. Does nothing if the thread is ending, or if
    /// the call comes from an allocation that this function makes.
    #[inline]
    pub fn remember(&self, hash: u64, texts: &[&str], series_key: SeriesKey) {
        // SAFETY: nothing in `refuses` writes a table or allocates.
        if !unsafe { self.table() }.is_some_and(LabelTable::refuses) {
            self.put(hash, texts, series_key);
        }
    }

    fn put(&self, hash: u64, texts: &[&str], series_key: SeriesKey) {
        let Some(series) = self.get(series_key.index() as usize) else {
            return;
        };
        let series = std::ptr::from_ref(series).cast();
        let entry = CachedSeries {
            hash: hash | 1,
            series,
            series_key,
            start: 0,
            len: 0,
        };
        let _ = OWNED.try_with(|owned| {
            let Some(mut tables) = owned.tables.take() else {
                return;
            };
            TABLES.set(&[]);
            if tables.len() <= self.table {
                // No arena has the id 0, so no look-up uses these tables.
                tables.resize_with(self.table + 1, LabelTable::default);
            }
            if tables[self.table].id != self.id {
                tables[self.table] = LabelTable::new(self.id);
            }
            tables[self.table].put(entry, texts);
            TABLES.set(&*tables);
            owned.tables.set(Some(tables));
        });
    }
}

impl<S, L> Drop for CachedArena<S, L> {
    fn drop(&mut self) {
        let _leaf = leaf();
        lock(&TABLE_INDEXES).free.push(self.table);
    }
}

thread_local! {
    /// One thread's tables, as look-ups reach them. Without a destructor, so that access needs no
    /// check.
    static TABLES: Cell<*const [LabelTable]> = const { Cell::new(&[]) };
    static OWNED: OwnedTables = const { OwnedTables { tables: Cell::new(Some(Vec::new())) } };
}

/// The owner of one thread's tables. Used by the cold path only.
struct OwnedTables {
    /// `None` while a table is being written (T2).
    tables: Cell<Option<Vec<LabelTable>>>,
}

impl Drop for OwnedTables {
    fn drop(&mut self) {
        TABLES.set(&[]);
    }
}

/// One thread's label sets of one arena.
#[derive(Default)]
struct LabelTable {
    id: u64,
    /// The number of entries is a power of two; at most half are used. Empty in a table without an
    /// arena.
    entries: Box<[CachedSeries]>,
    /// The offset of the last entry in bytes, so that a hash masked with it is the offset of one.
    mask: usize,
    used: usize,
    /// The number of label sets that were refused since the table is full.
    refused: Cell<usize>,
    /// The label values of all entries, each followed by `END` (T3).
    values: Vec<u8>,
}

/// A label set that a thread has used. Aligned, so that its size is a power of two where a `u64` is
/// aligned to four bytes, too.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct CachedSeries {
    /// 0 if the entry is empty.
    hash: u64,
    series: *const (),
    series_key: SeriesKey,
    /// Where the label values begin in `LabelTable::values`.
    start: u32,
    len: u32,
}

/// The bytes of an entry.
const SIZE: usize = size_of::<CachedSeries>();

// Offsets of entries are hashes, masked.
const _: () = assert!(SIZE.is_power_of_two());

impl LabelTable {
    fn new(id: u64) -> Self {
        Self {
            id,
            entries: vec![CachedSeries::EMPTY; 16].into(),
            mask: 15 * SIZE,
            ..Self::default()
        }
    }

    #[inline(always)]
    fn find(&self, hash: u64, texts: &[&str]) -> Option<&CachedSeries> {
        let at = self.position(hash, texts).ok()?;
        // SAFETY: `position` returns the offset of an entry.
        Some(unsafe { self.at(at) })
    }

    /// Returns the entry at this offset in bytes.
    ///
    /// # Safety
    ///
    /// The offset must be a multiple of `SIZE` up to `mask`.
    #[inline(always)]
    unsafe fn at(&self, offset: usize) -> &CachedSeries {
        debug_assert!(offset % SIZE == 0 && offset / SIZE < self.entries.len());
        // SAFETY: the caller's. `mask` is the offset of the last entry.
        unsafe { &*self.entries.as_ptr().byte_add(offset) }
    }

    /// Returns the offset of a label set's entry, or as an error the offset where it belongs.
    #[inline(always)]
    fn position(&self, hash: u64, texts: &[&str]) -> Result<usize, usize> {
        let len = key_len(texts);
        let mut at = hash as usize & self.mask;
        loop {
            // SAFETY: the number of entries and their size are powers of two. So `mask` has all
            // bits of such offsets set, and a masked number is one of them.
            let entry = unsafe { self.at(at) };
            // SAFETY: the entry belongs to this table.
            if entry.hash == hash && unsafe { self.has_values(entry, len, texts) } {
                return Ok(at);
            }
            if entry.hash == 0 {
                return Err(at);
            }
            at = (at + SIZE) & self.mask;
        }
    }

    /// Returns whether an entry has these label values.
    ///
    /// # Safety
    ///
    /// The entry must belong to this table, and `len` must be `key_len(texts)`.
    #[inline(always)]
    unsafe fn has_values(&self, entry: &CachedSeries, len: usize, texts: &[&str]) -> bool {
        if entry.len as usize != len {
            return false;
        }
        // SAFETY: the entry has `len` bytes: the texts and an `END` after each (T3).
        unsafe {
            let mut value = self.values.as_ptr().add(entry.start as usize);
            for text in texts {
                if !same(value, text.as_ptr(), text.len()) || *value.add(text.len()) != END {
                    return false;
                }
                value = value.add(text.len() + 1);
            }
        }
        true
    }

    fn put(&mut self, entry: CachedSeries, texts: &[&str]) {
        debug_assert!(
            TABLES.get().is_empty(),
            "a look-up can reach what is being written (T2)"
        );
        let at = match self.position(entry.hash, texts) {
            Ok(at) => {
                let known = &mut self.entries[at / SIZE];
                known.series_key = entry.series_key;
                known.series = entry.series;
                return;
            }
            Err(_) if 2 * (self.used + 1) > self.entries.len() => {
                self.grow();
                self.free(entry.hash)
            }
            Err(at) => at / SIZE,
        };
        let start = self.values.len() as u32;
        for text in texts {
            self.values.extend_from_slice(text.as_bytes());
            self.values.push(END);
        }
        let len = key_len(texts) as u32;
        self.entries[at] = CachedSeries {
            start,
            len,
            ..entry
        };
        self.used += 1;
    }

    /// Returns the index of the first empty entry for a new hash.
    fn free(&self, hash: u64) -> usize {
        let mut at = hash as usize & self.mask;
        while self.entries[at / SIZE].hash != 0 {
            at = (at + SIZE) & self.mask;
        }
        at / SIZE
    }

    /// Returns whether the table is full. Then it refuses a label set, even one that it has under
    /// an old key.
    #[inline]
    fn refuses(&self) -> bool {
        let is_full = 2 * (self.used + 1) > self.entries.len() && self.is_largest();
        is_full && self.refused.replace(self.refused.get() + 1) < MOST_REFUSED
    }

    fn is_largest(&self) -> bool {
        self.entries.len() >= MOST_ENTRIES || self.values.len() > MOST_ENTRIES * 256
    }

    fn grow(&mut self) {
        if self.is_largest() {
            // Start again. Label sets that are still in use will be added again.
            self.entries.fill(CachedSeries::EMPTY);
            self.values.clear();
            self.used = 0;
            self.refused.set(0);
            return;
        }
        let more: Box<[_]> = vec![CachedSeries::EMPTY; 2 * self.entries.len()].into();
        self.mask = (more.len() - 1) * SIZE;
        let old = std::mem::replace(&mut self.entries, more);
        for entry in old.into_iter().filter(|entry| entry.hash != 0) {
            let at = self.free(entry.hash);
            self.entries[at] = entry;
        }
    }
}

#[inline(always)]
fn key_len(texts: &[&str]) -> usize {
    texts.iter().map(|text| text.len() + 1).sum()
}

/// Compares two texts in words of eight bytes, without a call. The last word overlaps the one
/// before.
///
/// # Safety
///
/// Both texts must have `len` bytes.
#[inline(always)]
unsafe fn same(one: *const u8, two: *const u8, len: usize) -> bool {
    // SAFETY: every read ends at or before `len`.
    unsafe {
        let word = |text: *const u8, at: usize| text.add(at).cast::<u64>().read_unaligned();
        let half = |text: *const u8, at: usize| text.add(at).cast::<u32>().read_unaligned();
        let quarter = |text: *const u8, at: usize| text.add(at).cast::<u16>().read_unaligned();
        if len >= 8 {
            let mut at = 0;
            while at < len - 8 {
                if word(one, at) != word(two, at) {
                    return false;
                }
                at += 8;
            }
            word(one, len - 8) == word(two, len - 8)
        } else if len >= 4 {
            half(one, 0) == half(two, 0) && half(one, len - 4) == half(two, len - 4)
        } else if len >= 2 {
            quarter(one, 0) == quarter(two, 0) && quarter(one, len - 2) == quarter(two, len - 2)
        } else {
            len == 0 || *one == *two
        }
    }
}

impl CachedSeries {
    const EMPTY: Self = Self {
        hash: 0,
        series: null(),
        series_key: SeriesKey::of_word(0),
        start: 0,
        len: 0,
    };
}

/// Allocates indexes in the threads' lists of tables. The index of a dropped arena is used again.
struct TableIndexes {
    /// The number of indexes that exist.
    count: usize,
    /// Those of dropped arenas.
    free: Vec<usize>,
}

static TABLE_INDEXES: Mutex<TableIndexes> = Mutex::new(TableIndexes {
    count: 0,
    free: Vec::new(),
});

impl TableIndexes {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Generation;
    use super::*;

    fn entry(hash: u64, index: u32) -> CachedSeries {
        CachedSeries {
            hash,
            series_key: SeriesKey::new(Generation::FIRST, index),
            ..CachedSeries::EMPTY
        }
    }

    #[test]
    fn remembers_and_grows() {
        let mut table = LabelTable::new(1);
        assert!(table.find(1, &["a"]).is_none());
        let many = if cfg!(miri) { 50 } else { 1000_u32 };
        for i in 0..many {
            // Few distinct hashes, so that the table has to compare values.
            table.put(entry(u64::from(i % 7) | 1, i), &["x", &i.to_string()]);
        }
        for i in 0..many {
            let entry = table.find(u64::from(i % 7) | 1, &["x", &i.to_string()]);
            assert_eq!(entry.unwrap().series_key.index(), i);
        }
        assert!(table.find(1, &["x1", "0"]).is_none());
        table.put(entry(1, 5), &["x", "0"]);
        assert_eq!(table.find(1, &["x", "0"]).unwrap().series_key.index(), 5);
        assert_eq!(table.used, many as usize);
    }

    #[test]
    fn forgets_rather_than_grow_for_ever() {
        let mut table = LabelTable::new(1);
        for i in 0..if cfg!(miri) { 300 } else { 100_000_u64 } {
            table.put(entry(i | 1, 0), &[&i.to_string()]);
        }
        assert!(table.entries.len() <= MOST_ENTRIES);
    }

    /// Otherwise label sets in turn, more than the table has room for, would evict each other.
    #[test]
    #[cfg_attr(miri, ignore = "thousands of label sets")]
    fn a_full_table_keeps_what_it_has_for_a_while() {
        let mut table = LabelTable::new(1);
        let put = |table: &mut LabelTable, i: usize| {
            if !table.refuses() {
                table.put(entry((2 * i as u64) | 1, i as u32), &[&i.to_string()]);
            }
        };
        let has = |table: &LabelTable, i: usize| {
            table.find((2 * i as u64) | 1, &[&i.to_string()]).is_some()
        };
        let full = MOST_ENTRIES / 2;
        (0..full + MOST_REFUSED).for_each(|i| put(&mut table, i));
        assert!(has(&table, 0) && has(&table, full - 1) && !has(&table, full));
        put(&mut table, full);
        assert!(
            !has(&table, 0) && has(&table, full),
            "it never starts again"
        );
    }

    #[test]
    fn arenas_that_come_and_go() {
        for round in 0..100 {
            let arena = CachedArena::<_, ()>::new();
            assert!(arena.find(3, &["a"]).is_none());
            assert!(arena.get_or_make(0, || round).is_some());
            arena.remember(3, &["a"], SeriesKey::new(Generation::FIRST, 0));
            assert_eq!(*arena.find(3, &["a"]).unwrap().0, round);
            assert!(arena.find(3, &["b"]).is_none());
        }
    }

    /// Otherwise every thread's list of tables would grow with each arena of the process.
    #[test]
    fn table_indexes_are_used_again() {
        let first = CachedArena::<u32, ()>::new().table;
        let last = (0..1000).map(|_| CachedArena::<u32, ()>::new().table).max();
        // Other tests use indexes at the same time.
        assert!(
            last.is_some_and(|last| last < first + 500),
            "{last:?} {first}"
        );
    }
}
