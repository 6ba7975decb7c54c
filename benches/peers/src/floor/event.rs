//! The floor of events: one look-up in a cache of the thread, and one update of one block.
//!
//! The cells of a label set are those of a histogram, with two cells for each counter as for the
//! sum: `state`, pairs of which an event stores that of the other side, then the buckets. A
//! thousand label sets do not fit in the first-level cache, so entries are small, and a cache's
//! texts stand end to end.
//!
//! - I4: only the owner of a shard has its address; the slots in it are those of blocks in its
//!   slab, and the texts of its entries are in `texts`.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::{LazyLock, Mutex};

use super::{HASHER, Index, PADDED, hash};
use crate::form::{Form, keep, over};
use crate::workload::*;

const COUNTERS: usize = 4;
const BUCKETS: usize = 3 + 2 * COUNTERS;

/// The cells of one label set: 23, in three cache lines.
#[repr(C, align(64))]
struct Block([AtomicU64; 24]);

type Slab = [Block; EVENT_SETS];

/// One thread's label cache, at most half full, and its cells.
struct Shard {
    hasher: ahash::RandomState,
    slab: &'static Slab,
    entries: [Entry; 2048],
    texts: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    /// `u32::MAX` if the entry is free.
    slot: u32,
    /// The place of both label texts.
    start: u32,
    lens: [u16; 2],
}

thread_local! {
    static SHARD: Cell<*mut Shard> = const { Cell::new(std::ptr::null_mut()) };
}

static SLABS: Mutex<Vec<&'static Slab>> = Mutex::new(Vec::new());
static SETS: LazyLock<Mutex<Index>> = LazyLock::new(Mutex::default);

pub fn forms() -> Vec<Form> {
    vec![Form::new(
        "table of the thread, one block with two sides",
        |_, n| over(n, &EVENTS, record),
        |done| {
            let (counts, observed) = total();
            assert_events(counts, observed, done.all);
        },
    )]
}

#[inline(always)]
fn record((labels, counts, value): &Event) {
    if value.is_nan() {
        return;
    }
    // SAFETY: this thread's shard, which nothing else refers to now (I4).
    let found = unsafe { SHARD.get().as_ref() }.and_then(|shard| shard.find(*labels));
    let block = found.unwrap_or_else(|| cache_label_set(*labels));
    let bucket: u64 = PADDED.iter().map(|bound| (bound < value) as u64).sum();
    let cells = block.0.as_ptr();
    // SAFETY: the numbers are at most 22: the side is 0 or 1, and the bucket at most 11.
    unsafe {
        let state = (*cells).load(Relaxed);
        let now = cells.add((state & 1) as usize);
        let next = cells.add((!state & 1) as usize);
        let sum = f64::from_bits((*now.add(1)).load(Relaxed)) + value;
        (*next.add(1)).store(sum.to_bits(), Release);
        for (n, count) in counts.iter().enumerate() {
            let pair = 3 + 2 * n;
            (*next.add(pair)).store((*now.add(pair)).load(Relaxed) + count, Release);
        }
        let bucket = &*cells.add(BUCKETS + bucket as usize);
        bucket.store(bucket.load(Relaxed) + 1, Release);
        (*cells).store((state + 2) ^ 1, Release);
    }
}

impl Shard {
    #[inline(always)]
    fn find(&self, labels: Request) -> Option<&'static Block> {
        let hash = hash(&self.hasher, labels) as u32;
        let [method, path] = [labels.0.len(), labels.1.len()];
        let mut at = hash as usize % 2048;
        loop {
            let entry = &self.entries[at];
            let lens = entry.lens.map(usize::from);
            // SAFETY: the texts and the block of an entry exist (I4).
            unsafe {
                if entry.hash == hash && lens == [method, path] && entry.slot != u32::MAX {
                    let text = self.texts.as_ptr().add(entry.start as usize);
                    if same(text, labels.0) && same(text.add(method), labels.1) {
                        return Some(self.slab.get_unchecked(entry.slot as usize));
                    }
                }
            }
            if entry.slot == u32::MAX {
                return None;
            }
            at = (at + 1) % 2048;
        }
    }
}

/// Compares in full, without a call or a loop over bytes.
///
/// # Safety
///
/// `one` has as many bytes as `two`.
#[inline(always)]
unsafe fn same(one: *const u8, two: &str) -> bool {
    let (two, len) = (two.as_ptr(), two.len());
    // SAFETY: every read ends at or before the last byte.
    unsafe {
        match len {
            8.. => {
                let mut at = 0;
                while at < len - 8 {
                    if !same_at::<u64>(one, two, at) {
                        return false;
                    }
                    at += 8;
                }
                same_at::<u64>(one, two, len - 8)
            }
            4.. => same_at::<u32>(one, two, 0) && same_at::<u32>(one, two, len - 4),
            2.. => same_at::<u16>(one, two, 0) && same_at::<u16>(one, two, len - 2),
            _ => len == 0 || *one == *two,
        }
    }
}

/// # Safety
///
/// Both have a `T` at this offset.
#[inline(always)]
unsafe fn same_at<T: PartialEq>(one: *const u8, two: *const u8, at: usize) -> bool {
    let read = |text: *const u8| unsafe { text.add(at).cast::<T>().read_unaligned() };
    read(one) == read(two)
}

/// Looks up or inserts the label set, and copies its texts into this thread's cache.
#[cold]
fn cache_label_set(labels: Request) -> &'static Block {
    let slot = SETS.lock().unwrap().find_or_insert(labels);
    if SHARD.get().is_null() {
        let slab = keep([const { Block([const { AtomicU64::new(0) }; 24]) }; EVENT_SETS]);
        SLABS.lock().unwrap().push(slab);
        let free = Entry {
            hash: 0,
            slot: u32::MAX,
            start: 0,
            lens: [0; 2],
        };
        SHARD.set(Box::into_raw(Box::new(Shard {
            hasher: HASHER.clone(),
            slab,
            entries: [free; 2048],
            texts: vec![],
        })));
    }
    // SAFETY: this thread's shard, which nothing else refers to now (I4).
    let shard = unsafe { &mut *SHARD.get() };
    let hash = hash(&shard.hasher, labels) as u32;
    let mut at = hash as usize % 2048;
    while shard.entries[at].slot != u32::MAX {
        at = (at + 1) % 2048;
    }
    shard.entries[at] = Entry {
        hash,
        slot: slot as u32,
        start: shard.texts.len() as u32,
        lens: [labels.0, labels.1].map(|text| text.len().try_into().unwrap()),
    };
    shard.texts.extend_from_slice(labels.0.as_bytes());
    shard.texts.extend_from_slice(labels.1.as_bytes());
    &shard.slab[slot]
}

/// The counters, and the histogram's count and sum. All writers have finished.
fn total() -> ([u64; COUNTERS], (u64, f64)) {
    let (mut counts, mut observed) = ([0; COUNTERS], (0, 0.0));
    for Block(cells) in SLABS.lock().unwrap().iter().copied().flatten() {
        let side = (cells[0].load(Relaxed) & 1) as usize;
        let read = |n: usize| cells[n].load(Relaxed);
        (0..COUNTERS).for_each(|n| counts[n] += read(3 + 2 * n + side));
        observed.0 += (BUCKETS..BUCKETS + 12).map(read).sum::<u64>();
        observed.1 += f64::from_bits(read(1 + side));
    }
    (counts, observed)
}
