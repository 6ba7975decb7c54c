//! The memory of a writer, as its file has it: words by their address, with the journal applied.

use std::cell::Cell;

use crate::mapped::region::image::Image;
use crate::sync::{Acquire, AtomicU64, Relaxed, fence};

use super::super::format::{EXTENT, MOST_EXTENTS, header, journal};
use super::Refused;
use crate::share::bytes::{Malformed, ensure};

/// Why a try to read something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The writer changed it meanwhile. Another try may succeed.
    Changed,
    /// The writer's file has grown. The next try needs a larger image.
    Outgrown,
    /// The content is not what a writer writes.
    Damaged(&'static str),
}

pub(super) type Try<T> = Result<T, Failed>;

/// An entry of the journal: from this address on, this number of words have this value.
#[derive(Clone, Copy, Debug)]
struct MovedWords {
    address: u64,
    words: u64,
    value: u64,
}

/// The memory of a writer, for one try to read it.
pub(super) struct WriterMemory<'a> {
    words: &'a [AtomicU64],
    base: u64,
    /// The first address behind the extents.
    end: u64,
    /// The sequence number of the journal when the try began.
    sequence: u64,
    /// `replaced` when the try began.
    replaced: u64,
    /// The values that the open move has stored or is about to store.
    moved: Vec<MovedWords>,
    pub(super) budget: &'a WorkLimit,
}

/// The work that reading all families of a file may still take. A file cannot keep a reader busy
/// for longer than its length allows.
pub(super) struct WorkLimit {
    /// The number of words that may be loaded, each of which belongs to one family.
    words: Cell<u64>,
    /// The number of times that a slab may be looked at. All families look at all slabs, so there
    /// are more of these than words.
    visits: Cell<u64>,
}

impl WorkLimit {
    /// Returns the budget for an image of this length in bytes.
    pub(super) fn new(len: u64) -> Self {
        Self {
            words: Cell::new(len + (1 << 16)),
            visits: Cell::new(len.saturating_mul(32).saturating_add(1 << 24)),
        }
    }

    /// Runs `f`. Gives its work back if it read what the writer changed meanwhile, since it does
    /// not count.
    pub(super) fn refunded<T>(&self, f: impl FnOnce() -> Try<T>) -> Try<T> {
        let before = (self.words.get(), self.visits.get());
        let done = f();
        if matches!(done, Err(Failed::Changed)) {
            self.words.set(before.0);
            self.visits.set(before.1);
        }
        done
    }
}

impl<'a> WriterMemory<'a> {
    /// Begins to read.
    pub(super) fn begin(image: &'a Image, budget: &'a WorkLimit) -> Try<Self> {
        let words = image.words();
        let len = image.len();
        ensure(len >= header::BYTES as u64, "it is shorter than a header")?;
        let header = |offset: usize| words[offset / 8].load(Relaxed);
        let base = header(header::BASE);
        let end = base.checked_add(len).filter(|_| base % 8 == 0);
        let end = end.ok_or(Failed::Damaged("its addresses are invalid"))?;
        // Acquire: pairs with the Release of the writer. Everything that an earlier move stored is
        // seen.
        let replaced = words[header::REPLACED / 8].load(Acquire);
        let first = (header::JOURNAL + journal::SEQUENCE) / 8;
        let sequence = words[first].load(Acquire);
        let mut moved = Vec::new();
        if sequence % 2 == 1 {
            let entries = header(header::JOURNAL + journal::LEN);
            let is_valid = entries <= journal::MOST_ENTRIES as u64;
            ensure(is_valid, "its journal is invalid")?;
            moved.extend((0..entries as usize).map(|i| {
                let at = header::JOURNAL + journal::ENTRIES + 24 * i;
                MovedWords {
                    address: header(at),
                    words: header(at + 8),
                    value: header(at + 16),
                }
            }));
            // Acquire: pairs with the Release fence between the end of a move and the entries of
            // the next one. If an entry above is of a later move, the number below is, too.
            fence(Acquire);
            if words[first].load(Relaxed) != sequence {
                return Err(Failed::Changed);
            }
        }
        Ok(Self {
            words,
            base,
            end,
            sequence,
            replaced,
            moved,
            budget,
        })
    }

    /// Checks that no counts moved since [`begin`](Self::begin), and that no memory was used again.
    pub(super) fn check(&self) -> Try<()> {
        // Acquire: pairs with the Release fences of the writer. If a load above got a value of a
        // later move or of memory that was used again, the loads below get its numbers.
        fence(Acquire);
        let sequence = self.words[(header::JOURNAL + journal::SEQUENCE) / 8].load(Relaxed);
        let replaced = self.words[header::REPLACED / 8].load(Relaxed);
        let is_same = sequence == self.sequence && replaced == self.replaced;
        is_same.then_some(()).ok_or(Failed::Changed)
    }

    /// Returns a word of the header that publishes other memory.
    pub(super) fn published_header(&self, offset: usize) -> u64 {
        self.load(self.base + offset as u64, Acquire)
    }

    /// Returns whether these bytes are in the file.
    #[inline]
    pub(super) fn contains(&self, address: u64, bytes: u64) -> bool {
        let end = address.checked_add(bytes);
        address >= self.base && end.is_some_and(|end| end <= self.end)
    }

    /// Loads a word. The address is one that [`range`](Self::range) returned, or lies in such a
    /// range.
    #[inline]
    pub(super) fn load(&self, address: u64, order: std::sync::atomic::Ordering) -> u64 {
        for moved in &self.moved {
            if address.wrapping_sub(moved.address) / 8 < moved.words {
                return moved.value;
            }
        }
        let index = (address.wrapping_sub(self.base) / 8) as usize;
        // Outside the image only if the range was not checked.
        self.words.get(index).map_or(0, |word| word.load(order))
    }

    /// Loads a word without an order.
    #[inline]
    pub(super) fn word(&self, address: u64) -> u64 {
        self.load(address, Relaxed)
    }

    /// Loads a word whose store publishes other memory.
    #[inline]
    pub(super) fn published(&self, address: u64) -> u64 {
        self.load(address, Acquire)
    }

    /// Returns the lower or the upper half of a word.
    pub(super) fn half(&self, address: u64) -> u32 {
        let bytes = self.word(address & !7).to_ne_bytes();
        let at = (address & 4) as usize;
        u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    /// Checks that `bytes` bytes from an address on are in the file, and returns the address.
    /// Returns `None` if the address is 0, or that of memory which is not published.
    #[inline]
    pub(super) fn range(&self, address: u64, bytes: u64) -> Try<Option<u64>> {
        self.spend(bytes / 8 + 1)?;
        self.locate(address, bytes)
    }

    /// The same for memory that all families read, which is not counted as work of one of them.
    #[inline]
    pub(super) fn locate(&self, address: u64, bytes: u64) -> Try<Option<u64>> {
        if address % 8 == 0 && self.contains(address, bytes) {
            return Ok(Some(address));
        }
        self.outside(address)
    }

    #[cold]
    fn outside(&self, address: u64) -> Try<Option<u64>> {
        let reserved = self.base..self.base.saturating_add((EXTENT * MOST_EXTENTS) as u64);
        let extents = self.words[header::EXTENTS / 8].load(Acquire);
        let grown = extents.saturating_mul(EXTENT as u64) > self.end - self.base;
        if grown && reserved.contains(&address) {
            return Err(Failed::Outgrown);
        }
        Ok(None)
    }

    /// Counts work. Fails once it is more than a file of this length can contain.
    #[inline]
    pub(super) fn spend(&self, words: u64) -> Try<()> {
        spend(&self.budget.words, words)
    }

    /// Counts slabs that are looked at.
    #[inline]
    pub(super) fn visit(&self, slabs: u64) -> Try<()> {
        spend(&self.budget.visits, slabs)
    }

    /// Returns the most records of this size that fit the file.
    pub(super) fn most(&self, bytes: usize) -> usize {
        8 * self.words.len() / bytes
    }

    /// Returns words that no move changes. Returns `None` as [`range`](Self::range) does.
    pub(super) fn words(&self, address: u64, len: u64) -> Try<Option<&'a [AtomicU64]>> {
        ensure(len <= 1 << 32, "a length is invalid")?;
        let address = self.range(address, 8 * len)?;
        Ok(address.map(|address| {
            let first = ((address - self.base) / 8) as usize;
            &self.words[first..first + len as usize]
        }))
    }

    /// Copies bytes that do not change. The range was checked.
    pub(super) fn bytes(&self, address: u64, len: u64) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).map(|i| self.word(address + 8 * i));
        let mut bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        bytes.truncate(len as usize);
        bytes
    }
}

#[inline]
fn spend(budget: &Cell<u64>, work: u64) -> Try<()> {
    let left = budget.get().checked_sub(work);
    budget.set(left.ok_or(Failed::Damaged("its records overlap"))?);
    Ok(())
}

impl From<Malformed> for Failed {
    fn from(malformed: Malformed) -> Self {
        Self::Damaged(malformed.0)
    }
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Damaged(why) => Self::Damaged(why),
            Failed::Changed | Failed::Outgrown => Self::Busy,
        }
    }
}
