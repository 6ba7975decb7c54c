//! The memory of a writer, as its file has it: words by their address, with the journal applied.

use std::cell::Cell;

use crate::mapped::image::Image;
use crate::sync::{Acquire, AtomicU64, Relaxed, fence};

use super::super::format::{EXTENT, MOST_EXTENTS, header, journal};
use super::Refused;

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
struct Moved {
    address: u64,
    words: u64,
    value: u64,
}

/// The memory of a writer, for one try to read it.
pub(super) struct Memory<'a> {
    words: &'a [AtomicU64],
    base: u64,
    /// The first address behind the extents.
    end: u64,
    /// The sequence number of the journal when the try began.
    sequence: u64,
    /// `replaced` when the try began.
    replaced: u64,
    /// The values that the open move has stored or is about to store.
    moved: Vec<Moved>,
    budget: &'a Budget,
}

/// The work that reading all families of a file may still take. A file cannot keep a reader busy
/// for longer than its length allows.
#[derive(Debug)]
pub(super) struct Budget {
    /// The number of words that may be loaded, each of which belongs to one family.
    words: Cell<u64>,
    /// The number of times that a slab may be looked at. All families look at all slabs, so there
    /// are more of these than words.
    visits: Cell<u64>,
}

impl Budget {
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

impl<'a> Memory<'a> {
    /// Begins to read.
    pub(super) fn begin(image: &'a Image, budget: &'a Budget) -> Try<Self> {
        let words = image.words();
        let len = image.len();
        let mut memory = Self {
            words,
            base: 0,
            end: len,
            sequence: 0,
            replaced: 0,
            moved: Vec::new(),
            budget,
        };
        if len < header::BYTES as u64 {
            return Err(Failed::Damaged("it is shorter than a header"));
        }
        let base = memory.header(header::BASE);
        let end = base.checked_add(len);
        let end = end.ok_or(Failed::Damaged("its addresses are invalid"))?;
        if base % 8 != 0 {
            return Err(Failed::Damaged("its addresses are invalid"));
        }
        // Acquire: pairs with the Release of the writer. Everything that an earlier move stored is
        // seen.
        let replaced = words[header::REPLACED / 8].load(Acquire);
        let first = (header::JOURNAL + journal::SEQUENCE) / 8;
        let sequence = words[first].load(Acquire);
        if sequence % 2 == 1 {
            let entries = memory.header(header::JOURNAL + journal::LEN);
            if entries > journal::MOST_ENTRIES as u64 {
                return Err(Failed::Damaged("its journal is invalid"));
            }
            for i in 0..entries as usize {
                let at = header::JOURNAL + journal::ENTRIES + 24 * i;
                memory.moved.push(Moved {
                    address: memory.header(at),
                    words: memory.header(at + 8),
                    value: memory.header(at + 16),
                });
            }
            // Acquire: pairs with the Release fence between the end of a move and the entries of
            // the next one. If an entry above is of a later move, the number below is, too.
            fence(Acquire);
            if words[first].load(Relaxed) != sequence {
                return Err(Failed::Changed);
            }
        }
        memory.base = base;
        memory.end = end;
        memory.sequence = sequence;
        memory.replaced = replaced;
        Ok(memory)
    }

    /// Checks that no counts moved since [`begin`](Self::begin), and that no memory was used again.
    pub(super) fn check(&self) -> Try<()> {
        // Acquire: pairs with the Release fences of the writer. If a load above got a value of a
        // later move or of memory that was used again, the loads below get its numbers.
        fence(Acquire);
        let sequence = self.words[(header::JOURNAL + journal::SEQUENCE) / 8].load(Relaxed);
        let replaced = self.words[header::REPLACED / 8].load(Relaxed);
        if sequence == self.sequence && replaced == self.replaced {
            Ok(())
        } else {
            Err(Failed::Changed)
        }
    }

    /// Returns a word of the header.
    pub(super) fn header(&self, offset: usize) -> u64 {
        self.words[offset / 8].load(Relaxed)
    }

    /// Returns a word of the header that publishes other memory.
    pub(super) fn published_header(&self, offset: usize) -> u64 {
        self.load(self.base + offset as u64, Acquire)
    }

    /// Returns whether these bytes are in the file.
    pub(super) fn contains(&self, address: u64, bytes: u64) -> bool {
        let end = address.checked_add(bytes);
        address >= self.base && end.is_some_and(|end| end <= self.end)
    }

    /// Loads a word. The address is one that [`range`](Self::range) returned, or lies in such a
    /// range.
    #[inline]
    pub(super) fn load(&self, address: u64, order: std::sync::atomic::Ordering) -> u64 {
        if !self.moved.is_empty() {
            for moved in &self.moved {
                if address.wrapping_sub(moved.address) / 8 < moved.words {
                    return moved.value;
                }
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

    /// Checks that `bytes` bytes from an address on are in the file. Returns `None` if the address
    /// is 0, or that of memory which is not published.
    #[inline]
    pub(super) fn range(&self, address: u64, bytes: u64) -> Try<Option<u64>> {
        self.spend(bytes / 8 + 1)?;
        self.locate(address, bytes)
    }

    /// The same for memory that all families read, which is not counted as work of one of them.
    #[inline]
    pub(super) fn locate(&self, address: u64, bytes: u64) -> Try<Option<u64>> {
        let is_inside = address >= self.base
            && address % 8 == 0
            && address
                .checked_add(bytes)
                .is_some_and(|end| end <= self.end);
        if is_inside {
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

    /// Checks that a record at an address is in the file, and returns the address. Returns `None`
    /// for the address 0 and for memory that is not published.
    pub(super) fn record(&self, address: u64, bytes: usize) -> Try<Option<u64>> {
        self.range(address, bytes as u64)
    }

    /// Counts work. Fails once it is more than a file of this length can contain.
    #[inline]
    pub(super) fn spend(&self, words: u64) -> Try<()> {
        spend(&self.budget.words, words)
    }

    /// Runs `f`, which is tried again if it fails because the writer changed something.
    pub(super) fn refunded<T>(&self, f: impl FnOnce() -> Try<T>) -> Try<T> {
        self.budget.refunded(f)
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

    /// Copies bytes that do not change. The range was checked.
    pub(super) fn bytes(&self, address: u64, len: u64) -> Vec<u8> {
        let words = len.div_ceil(8);
        let mut bytes = Vec::with_capacity(8 * words as usize);
        for i in 0..words {
            bytes.extend(self.word(address + 8 * i).to_ne_bytes());
        }
        bytes.truncate(len as usize);
        bytes
    }
}

#[inline]
fn spend(budget: &Cell<u64>, work: u64) -> Try<()> {
    match budget.get().checked_sub(work) {
        Some(left) => {
            budget.set(left);
            Ok(())
        }
        None => Err(Failed::Damaged("its records overlap")),
    }
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Damaged(why) => Self::Damaged(why.into()),
            Failed::Changed | Failed::Outgrown => Self::Busy,
        }
    }
}
