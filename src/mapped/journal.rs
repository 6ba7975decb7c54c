//! The journal: it makes a move between cells one step for readers in other processes, also if this
//! process is killed in between.
//!
//! # Protocol
//!
//! Passes make all moves, and passes are serialized. So there is one journal, and it has one writer
//! at a time. A move is a list of stores. The writer puts the list into the journal and makes the
//! sequence number odd; then it makes the stores; then it makes the number even. A reader that
//! finds an odd number reads the values of the list instead of those of the words.
//!
//! - J1: A reader that loads an odd number (Acquire) sees the whole list of that move, because the
//!   number is stored (Release) behind it. If it sees anything of the next move's list instead, it
//!   sees another number afterwards: a Release fence stands between the even number and that list,
//!   and an Acquire fence between the reader's two.
//! - J2: A reader that sees a store of a move sees the odd number, or a later one, when it loads
//!   the number again: a Release fence stands between that number and the stores.
//! - J3: A reader that loads the even number after a move (Acquire) sees all stores of the move.
//!
//! So a reader that loads the same number before and after has read the words as they were before a
//! move or after it. If the writer is killed, the last number stays, and one of the two holds as
//! well.

#[cfg(test)]
use crate::sync::Acquire;
use crate::sync::{AtomicU64, Relaxed, Release, fence};

use super::format::journal::MOST_ENTRIES;
use super::region;

/// The journal of a file. Written by passes, read by other processes.
#[repr(C)]
pub(crate) struct Journal {
    /// Twice the number of moves, plus 1 while a move is open.
    sequence: AtomicU64,
    /// The number of entries.
    len: AtomicU64,
    /// Address, number of words and value of each entry.
    entries: [[AtomicU64; 3]; MOST_ENTRIES],
}

/// The stores of a move.
pub(crate) struct Move<'a> {
    /// The first word, the number of words, and their value afterwards.
    stores: Vec<Fill<'a>>,
}

struct Fill<'a> {
    words: &'a [AtomicU64],
    value: u64,
}

impl<'a> Move<'a> {
    pub(crate) const fn new() -> Self {
        Self { stores: Vec::new() }
    }

    /// Adds a store to one word.
    pub(crate) fn set(&mut self, word: &'a AtomicU64, value: u64) {
        self.fill(std::slice::from_ref(word), value);
    }

    /// Adds stores of the same value to several words.
    pub(crate) fn fill(&mut self, words: &'a [AtomicU64], value: u64) {
        debug_assert!(self.stores.len() < MOST_ENTRIES, "the journal holds a move");
        self.stores.push(Fill { words, value });
    }

    /// Makes the stores. They are one step for readers in other processes.
    pub(crate) fn commit(self) {
        match region::journal() {
            Some(journal) => self.commit_to(journal),
            None => self.make(),
        }
    }

    /// Makes the stores, which are one step for readers of this journal.
    pub(crate) fn commit_to(self, journal: &Journal) {
        journal.open(&self);
        self.make();
        journal.close();
    }

    /// Makes the stores. Relaxed: within the process, the lock of the pass, or that of the cells,
    /// carries them to the next who writes or reads them.
    fn make(&self) {
        for store in &self.stores {
            for word in store.words {
                word.store(store.value, Relaxed);
            }
        }
    }
}

impl Journal {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            len: AtomicU64::new(0),
            entries: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
        }
    }

    /// Publishes a move. Called by a pass.
    pub(crate) fn open(&self, list: &Move<'_>) {
        for (entry, store) in self.entries.iter().zip(&list.stores) {
            let [address, count, value] = entry;
            address.store(store.words.as_ptr().addr() as u64, Relaxed);
            count.store(store.words.len() as u64, Relaxed);
            value.store(store.value, Relaxed);
        }
        self.len.store(list.stores.len() as u64, Relaxed);
        // Relaxed load: only passes write it.
        let sequence = self.sequence.load(Relaxed);
        // Release: pairs with the Acquire of a reader's first load (J1).
        self.sequence.store(sequence | 1, Release);
        // Release: pairs with the Acquire fence before a reader's second load (J2).
        fence(Release);
    }

    /// Ends a move whose stores are made. Called by a pass.
    pub(crate) fn close(&self) {
        let sequence = self.sequence.load(Relaxed);
        // Release: pairs with the Acquire of a reader's first load (J3).
        self.sequence.store((sequence | 1) + 1, Release);
        // Release: pairs with the Acquire fence before a reader's second load (J1): the next move's
        // list is not taken for this one's.
        fence(Release);
    }
}

/// The steps of a reader, which another process takes.
#[cfg(test)]
impl Journal {
    /// Returns the sequence number, and the stores of the move that is open. Returns `None` if the
    /// list changed while it was copied.
    pub(crate) fn read(&self) -> Option<(u64, Vec<[u64; 3]>)> {
        // Acquire: pairs with the Release in `open` and `close` (J1, J3).
        let sequence = self.sequence.load(Acquire);
        if sequence & 1 == 0 {
            return Some((sequence, Vec::new()));
        }
        let len = (self.len.load(Relaxed) as usize).min(MOST_ENTRIES);
        let load = |entry: &[AtomicU64; 3]| std::array::from_fn(|i| entry[i].load(Relaxed));
        let entries = self.entries[..len].iter().map(load).collect();
        self.is_still(sequence).then_some((sequence, entries))
    }

    /// Returns whether no move began or ended since the sequence number was loaded.
    pub(crate) fn is_still(&self, sequence: u64) -> bool {
        // Acquire: pairs with the Release fences in `open` and `close` (J1, J2).
        fence(Acquire);
        self.sequence.load(Relaxed) == sequence
    }
}
