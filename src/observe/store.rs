//! The series of one family: in chunks that never move, and found by a thread's own memory of the label sets it has
//! used: hash, compare, done; no lock and no shared line.
//!
//! A thread has a table per store. A line remembers a copy of the label values, where the series is, and the generation
//! it had then. Who removes a series moves its generation on, and the caller no longer believes the line.
//!
//! - I1: a series stays where it is until its store is dropped, and no two stores have the same id. So a line of a
//!   table with a store's id points to a live series of that store while the store is borrowed.
//! - I2: tables are reached through the thread's [`Tables`] only. While they are written (which allocates, and an
//!   allocator may count through a label set) `Tables` is empty, so a table that is read is not written.
//! - I3: from `Line::key` on lie `Line::len` bytes: the label values that were remembered, each before an `END`, which no
//!   text contains. So the lengths that a comparison branches on are those of the texts asked for, known long before the
//!   line is.

use std::cell::Cell;
use std::ptr::null;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::slot::Tag;

/// Eight chunks for every doubling, so that at most an eighth of the series is made ahead.
const CHUNKS: usize = 8 * 29;

/// Ends a label value in a key.
const END: u8 = 0xFF;

/// Lines after which a thread forgets a family's label sets and begins anew.
const MOST_LINES: usize = 8192;

/// Series that a scrape reads together, and that share a word of [`Chunk::live`].
pub const BATCH: usize = 64;

type Chunks<S> = Box<[OnceLock<Chunk<S>>]>;

/// Series that were made together.
#[derive(Debug)]
struct Chunk<S> {
    series: Box<[S]>,
    /// A bit for every series, set while it lives. Relaxed: what a scrape sees late was made, or has ended, during it.
    live: Box<[AtomicU64]>,
}

/// The first series of a chunk, as many as were made.
#[derive(Debug)]
pub struct Made<'a, S> {
    series: &'a [S],
    live: &'a [AtomicU64],
}

impl<'a, S> Made<'a, S> {
    /// Whether one of them lives.
    #[inline]
    pub fn has_live(&self) -> bool {
        self.live.iter().any(|word| word.load(Relaxed) != 0)
    }

    /// The series in batches: the index of the first one, if that of the chunk's is `first`, and whether one of them lives.
    #[inline]
    pub fn batches(self, first: u32) -> impl Iterator<Item = (u32, &'a [S], bool)> {
        (first..)
            .step_by(BATCH)
            .zip(self.series.chunks(BATCH))
            .zip(self.live)
            .map(|((first, series), live)| (first, series, live.load(Relaxed) != 0))
    }
}

/// Series that never move. See the module's text.
#[derive(Debug)]
pub struct Store<S> {
    /// Never used twice.
    id: u64,
    /// Used again by later stores: where threads keep their tables.
    place: usize,
    chunks: OnceLock<Chunks<S>>,
}

/// A series as a thread remembers it.
#[derive(Debug)]
pub struct Found<'a, S> {
    /// The series.
    pub series: &'a S,
    /// Which one it is.
    pub index: u32,
    /// The generation it had.
    pub tag: Tag,
}

impl<S> Default for Store<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Store<S> {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        Self {
            id: IDS.fetch_add(1, Relaxed),
            place: PLACES.take(),
            chunks: OnceLock::new(),
        }
    }

    /// Never used for another store.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Series `index`, if it was made.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&S> {
        let (chunk, at) = chunk(index);
        self.chunks.get()?.get(chunk)?.get()?.series.get(at)
    }

    /// Series `index`, made together with its chunk if there is none.
    pub fn get_or_make(&self, index: usize, make: impl Fn() -> S) -> Option<&S> {
        let (chunk, at) = chunk(index);
        self.chunks
            .get_or_init(|| (0..CHUNKS).map(|_| OnceLock::new()).collect())
            .get(chunk)?
            .get_or_init(|| {
                let len: usize = 1 << (chunk / 8);
                Chunk {
                    series: (0..len).map(|_| make()).collect(),
                    live: (0..len.div_ceil(BATCH))
                        .map(|_| AtomicU64::new(0))
                        .collect(),
                }
            })
            .series
            .get(at)
    }

    /// Notes that a series that was made lives, or has ended.
    pub fn set_live(&self, index: usize, lives: bool) {
        let (chunk, at) = chunk(index);
        let chunk = self
            .chunks
            .get()
            .and_then(|chunks| chunks.get(chunk)?.get());
        if let Some(word) = chunk.and_then(|chunk| chunk.live.get(at / BATCH)) {
            let bit = 1 << (at % BATCH);
            if lives {
                word.fetch_or(bit, Relaxed);
            } else {
                word.fetch_and(!bit, Relaxed);
            }
        }
    }

    /// The first `made` series, chunk by chunk, each with the index of its first one.
    pub fn chunks(&self, made: usize) -> impl Iterator<Item = (u32, Made<'_, S>)> {
        let mut first = 0;
        self.chunks
            .get()
            .into_iter()
            .flat_map(|chunks| chunks.iter())
            .enumerate()
            .map_while(move |(chunk, all)| {
                let begin = first;
                first += 1 << (chunk / 8);
                let len = made.checked_sub(begin)?;
                let (series, live) = match all.get() {
                    Some(chunk) => (&chunk.series[..len.min(chunk.series.len())], &*chunk.live),
                    None => (&[][..], &[][..]),
                };
                Some((begin as u32, Made { series, live }))
            })
    }

    /// What the calling thread remembers of a label set.
    #[inline]
    pub fn find(&self, hash: u64, texts: &[&str]) -> Option<Found<'_, S>> {
        TABLES.with(|tables| {
            if self.place >= tables.len.get() {
                return None;
            }
            // SAFETY: `place` is below the length. Nothing below writes or allocates (I2).
            let table = unsafe { &*tables.first.get().add(self.place) };
            if table.id != self.id {
                return None;
            }
            let line = table.find(hash | 1, texts)?;
            let (tag, index) = Tag::unpack(line.which);
            // SAFETY: I1.
            let series = unsafe { &*line.series.cast::<S>() };
            Some(Found { series, index, tag })
        })
    }

    /// Remembers where a label set's series is. Does nothing in a thread that ends, or inside an allocation of this
    /// very memory.
    pub fn remember(&self, hash: u64, texts: &[&str], index: u32, tag: Tag) {
        let Some(series) = self.get(index as usize) else {
            return;
        };
        let series = std::ptr::from_ref(series).cast();
        let line = Line {
            hash: hash | 1,
            series,
            which: tag.pack(index),
            key: 0,
            len: 0,
        };
        let _ = OWNED.try_with(|owned| {
            let Some(mut tables) = owned.tables.take() else {
                return;
            };
            TABLES.with(|reached| reached.set(&[]));
            while tables.len() <= self.place {
                // Of no store, and so never looked into.
                tables.push(Table {
                    id: 0,
                    lines: Box::default(),
                    used: 0,
                    keys: Vec::new(),
                });
            }
            if tables[self.place].id != self.id {
                tables[self.place] = Table::new(self.id);
            }
            tables[self.place].put(line, texts);
            TABLES.with(|reached| reached.set(&tables));
            owned.tables.set(Some(tables));
        });
    }
}

/// Asks for the memory of `len` of these from `from` on. A hint: nothing is read, and any address will do.
#[inline]
pub fn prefetch<S>(from: *const S, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for at in (0..len * size_of::<S>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(at)) };
    }
    let _ = (from, len);
}

impl<S> Drop for Store<S> {
    fn drop(&mut self) {
        PLACES.give_back(self.place);
    }
}

/// The chunk of a series, and its place there. In the `o`th eight, chunks have 2^o series.
#[inline]
fn chunk(index: usize) -> (usize, usize) {
    let biased = index + 8;
    let octave = biased.ilog2() as usize - 3;
    let chunk = 8 * octave + (biased >> octave & 7);
    (chunk, biased & ((1 << octave) - 1))
}

/// One thread's tables, as a look-up reaches them: no destructor, so no check.
struct Tables {
    first: Cell<*const Table>,
    len: Cell<usize>,
}

impl Tables {
    fn set(&self, tables: &[Table]) {
        self.first.set(tables.as_ptr());
        self.len.set(tables.len());
    }
}

thread_local! {
    static TABLES: Tables = const { Tables { first: Cell::new(null()), len: Cell::new(0) } };
    static OWNED: Owned = const { Owned { tables: Cell::new(Some(Vec::new())) } };
}

/// What owns them; touched by the cold path only. `None` while they are written.
struct Owned {
    tables: Cell<Option<Vec<Table>>>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        TABLES.with(|reached| reached.set(&[]));
    }
}

/// One thread's label sets of one store.
struct Table {
    id: u64,
    /// A power of two of them, at most half of them used; none only where the table is no store's.
    lines: Box<[Line]>,
    used: usize,
    /// The label values, each before an `END`.
    keys: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Line {
    /// 0 where the line is empty.
    hash: u64,
    series: *const (),
    /// Generation and index of the series.
    which: u64,
    key: u32,
    len: u32,
}

impl Table {
    fn new(id: u64) -> Self {
        Self {
            id,
            lines: vec![Line::EMPTY; 16].into(),
            used: 0,
            keys: Vec::new(),
        }
    }

    #[inline(always)]
    fn find(&self, hash: u64, texts: &[&str]) -> Option<&Line> {
        let at = self.place(hash, texts).ok()?;
        // SAFETY: below the number of lines.
        Some(unsafe { self.lines.get_unchecked(at) })
    }

    /// Where the line of a label set is, or where it would be.
    #[inline(always)]
    fn place(&self, hash: u64, texts: &[&str]) -> Result<usize, usize> {
        let mask = self.lines.len() - 1;
        let len = key_len(texts);
        // Not the last bit, which is always set.
        let mut at = (hash >> 1) as usize & mask;
        loop {
            // SAFETY: masked, and the number of lines is a power of two.
            let line = unsafe { self.lines.get_unchecked(at) };
            // SAFETY: a line of this table.
            if line.hash == hash && unsafe { self.has_key(line, len, texts) } {
                return Ok(at);
            }
            if line.hash == 0 {
                return Err(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// # Safety
    ///
    /// The line is of this table, and `len` is `key_len(texts)`.
    #[inline(always)]
    unsafe fn has_key(&self, line: &Line, len: usize, texts: &[&str]) -> bool {
        if line.len as usize != len {
            return false;
        }
        // SAFETY: the key is as long as the texts and their ends together (I3).
        unsafe {
            let mut key = self.keys.as_ptr().add(line.key as usize);
            for text in texts {
                if !same(key, text.as_ptr(), text.len()) || *key.add(text.len()) != END {
                    return false;
                }
                key = key.add(text.len() + 1);
            }
        }
        true
    }

    fn put(&mut self, line: Line, texts: &[&str]) {
        debug_assert!(
            TABLES.with(|reached| reached.len.get() == 0),
            "a look-up can reach what is written (I2)"
        );
        let at = match self.place(line.hash, texts) {
            Ok(at) => {
                self.lines[at].which = line.which;
                self.lines[at].series = line.series;
                return;
            }
            Err(_) if 2 * (self.used + 1) > self.lines.len() => {
                self.grow();
                self.free(line.hash)
            }
            Err(at) => at,
        };
        let key = self.keys.len() as u32;
        for text in texts {
            self.keys.extend_from_slice(text.as_bytes());
            self.keys.push(END);
        }
        let len = key_len(texts) as u32;
        self.lines[at] = Line { key, len, ..line };
        self.used += 1;
    }

    /// Where a line of this hash goes that is not there yet.
    fn free(&self, hash: u64) -> usize {
        let mask = self.lines.len() - 1;
        let mut at = (hash >> 1) as usize & mask;
        while self.lines[at].hash != 0 {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        if self.lines.len() >= MOST_LINES || self.keys.len() > MOST_LINES * 256 {
            // Begin anew: what is still in use comes back.
            self.lines.fill(Line::EMPTY);
            self.keys.clear();
            self.used = 0;
            return;
        }
        let more = vec![Line::EMPTY; 2 * self.lines.len()].into();
        let old = std::mem::replace(&mut self.lines, more);
        for line in old.into_iter().filter(|line| line.hash != 0) {
            let at = self.free(line.hash);
            self.lines[at] = line;
        }
    }
}

#[inline(always)]
fn key_len(texts: &[&str]) -> usize {
    texts.iter().map(|text| text.len() + 1).sum()
}

/// Whether two texts are the same: by words, the last one overlapping; without a call.
///
/// # Safety
///
/// Both have `len` bytes.
#[inline(always)]
unsafe fn same(one: *const u8, two: *const u8, len: usize) -> bool {
    // SAFETY: every read ends at `len` or before.
    unsafe {
        let word = |text: *const u8, at: usize| text.add(at).cast::<u64>().read_unaligned();
        let half = |text: *const u8, at: usize| text.add(at).cast::<u32>().read_unaligned();
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
        } else {
            (0..len).all(|i| *one.add(i) == *two.add(i))
        }
    }
}

impl Line {
    const EMPTY: Self = Self {
        hash: 0,
        series: null(),
        which: 0,
        key: 0,
        len: 0,
    };
}

/// Places for the threads' tables, used again when a store is dropped.
struct Places(Mutex<(usize, Vec<usize>)>);

static PLACES: Places = Places(Mutex::new((0, Vec::new())));

impl Places {
    fn take(&self) -> usize {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.1.pop().unwrap_or_else(|| {
            places.0 += 1;
            places.0 - 1
        })
    }

    fn give_back(&self, place: usize) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hash: u64, index: u32) -> Line {
        Line {
            hash,
            which: u64::from(index),
            ..Line::EMPTY
        }
    }

    #[test]
    fn remembers_and_grows() {
        let mut table = Table::new(1);
        assert!(table.find(1, &["a"]).is_none());
        let many = if cfg!(miri) { 50 } else { 1000_u32 };
        for i in 0..many {
            // Few different hashes: lines have to be told apart by their keys.
            table.put(line(u64::from(i % 7) | 1, i), &["x", &i.to_string()]);
        }
        for i in 0..many {
            let line = table.find(u64::from(i % 7) | 1, &["x", &i.to_string()]);
            assert_eq!(line.unwrap().which, u64::from(i));
        }
        assert!(table.find(1, &["x1", "0"]).is_none());
        table.put(line(1, 5), &["x", "0"]);
        assert_eq!(table.find(1, &["x", "0"]).unwrap().which, 5);
        assert_eq!(table.used, many as usize);
    }

    #[test]
    fn forgets_rather_than_grow_for_ever() {
        let mut table = Table::new(1);
        for i in 0..if cfg!(miri) { 300 } else { 100_000_u64 } {
            table.put(line(i | 1, 0), &[&i.to_string()]);
        }
        assert!(table.lines.len() <= MOST_LINES);
    }

    #[test]
    fn stores_that_come_and_go() {
        for round in 0..100 {
            let store = Store::new();
            assert!(store.find(3, &["a"]).is_none());
            assert!(store.get_or_make(0, || round).is_some());
            store.remember(3, &["a"], 0, Tag::FIRST);
            assert_eq!(*store.find(3, &["a"]).unwrap().series, round);
            assert!(store.find(3, &["b"]).is_none());
        }
    }

    /// Else every thread's list of tables grows with every store there ever was.
    #[test]
    fn places_are_used_again() {
        let first = Store::<u32>::new().place;
        let last = (0..1000).map(|_| Store::<u32>::new().place).max();
        // Other tests have some, too.
        assert!(
            last.is_some_and(|last| last < first + 500),
            "{last:?} {first}"
        );
    }

    #[test]
    fn chunks_cover_every_index_once() {
        let mut next = (0, 0);
        for index in 0..if cfg!(miri) { 300 } else { 10_000 } {
            let (at, place) = chunk(index);
            assert!(
                (at, place) == next || (at, place) == (next.0 + 1, 0),
                "{index}"
            );
            assert!(place < 1 << (at / 8) && at < CHUNKS);
            next = (at, place + 1);
        }
        let store = Store::new();
        (0..1000).for_each(|i| assert!(store.get_or_make(i, || 7).is_some()));
        let all: Vec<_> = store.chunks(990).collect();
        assert_eq!(
            all.iter()
                .map(|(_, chunk)| chunk.series.len())
                .sum::<usize>(),
            990
        );
        assert!(
            all.windows(2)
                .all(|two| two[0].0 as usize + two[0].1.series.len() == two[1].0 as usize)
        );
    }
}
