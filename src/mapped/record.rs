//! Records: memory of the region whose words other processes find by their offsets.

use std::ptr::NonNull;

use crate::sync::{AcqRel, AtomicU64, Relaxed, Release};

use super::format::{FNV_START, checksum, checksum_from, description, label};
use super::region;

/// A record that this value owns. Its owner removes it from where other processes find it, and
/// drops it then.
pub(crate) struct Record {
    memory: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a record is accessed through atomics, except before it is published.
unsafe impl Send for Record {}
// SAFETY: as above.
unsafe impl Sync for Record {}

impl Record {
    /// Allocates a record of zeroes. Returns `None` if the process does not share its metrics, and
    /// if the file is full.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        if !region::is_published() {
            return None;
        }
        let memory = region::allocate(bytes)?;
        Some(Self { memory, bytes })
    }

    /// Returns the address.
    pub(crate) fn address(&self) -> u64 {
        self.memory.as_ptr().expose_provenance() as u64
    }

    /// Returns the record at an address, which this call owns.
    ///
    /// # Safety
    ///
    /// `address` is that of a record of this size, which nobody else owns.
    pub(crate) unsafe fn at(address: u64, bytes: usize) -> Self {
        let memory = std::ptr::with_exposed_provenance_mut(address as usize);
        let memory = NonNull::new(memory).expect("a record has an address");
        Self { memory, bytes }
    }

    /// Returns the word at an offset.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset % 8 == 0 && offset + 8 <= self.bytes, "in the record");
        // SAFETY: inside the record, which is aligned to 16. All threads access it as an atomic.
        unsafe { self.memory.add(offset).cast().as_ref() }
    }

    /// Stores a word.
    pub(crate) fn set(&self, offset: usize, value: u64) {
        self.word(offset).store(value, Relaxed);
    }

    /// Stores two halves of a word, the one at the lower address first.
    pub(crate) fn set_halves(&self, offset: usize, first: u32, second: u32) {
        self.set(offset, halves(first, second));
    }

    /// Stores bytes, from a word on.
    pub(crate) fn set_bytes(&self, offset: usize, bytes: &[u8]) {
        for (i, part) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.set(offset + 8 * i, u64::from_ne_bytes(word));
        }
    }

    /// Publishes the record at the head of a list. Its first word is the address of the next one.
    pub(crate) fn push_to(&self, head: &AtomicU64) {
        push(head, self.word(0), self.address());
    }

    /// Gives up the record. Returns its address.
    fn into_address(self) -> u64 {
        let address = self.address();
        std::mem::forget(self);
        address
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this size, and this value owns it.
        unsafe { region::free(self.memory, self.bytes) };
    }
}

/// Returns a word of two halves, the one at the lower address first.
pub(crate) fn halves(first: u32, second: u32) -> u64 {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Publishes a record at the head of a list, where readers in other processes find it (Acquire).
/// `next` is the word of the record with the address of the next one.
pub(crate) fn push(head: &AtomicU64, next: &AtomicU64, address: u64) {
    let mut first = head.load(Relaxed);
    loop {
        next.store(first, Relaxed);
        // Release: pairs with the Acquire of a reader, who sees the content of the record. The
        // exchanges of several threads continue each other's Release.
        match head.compare_exchange(first, address, Release, Relaxed) {
            Ok(_) => return,
            Err(now) => first = now,
        }
    }
}

/// Allocates a description. Returns `None` as [`Record::new`] does.
pub(crate) fn describe(bytes: &[u8]) -> Option<Record> {
    let record = Record::new(description::CONTENT + bytes.len().next_multiple_of(8))?;
    record.set(description::LEN, bytes.len() as u64);
    record.set(description::CHECKSUM, checksum(bytes));
    record.set_bytes(description::CONTENT, bytes);
    Some(record)
}

/// Publishes a label text in a word, and frees the one that was there. `generation` has its number
/// in the upper half.
pub(crate) fn set_label(word: &AtomicU64, text: &str, created: u64, generation: u64) {
    let stamp = generation | text.len() as u64;
    let record = Record::new(label_bytes(text.len()));
    let record = record.inspect(|record| {
        record.set(label::CREATED, created);
        record.set(label::STAMP, stamp);
        let sum = checksum_from(FNV_START, &created.to_ne_bytes());
        let sum = checksum_from(sum, &stamp.to_ne_bytes());
        record.set(label::CHECKSUM, checksum_from(sum, text.as_bytes()));
        record.set_bytes(label::TEXT, text.as_bytes());
    });
    if record.is_none() && region::is_published() {
        region::count_unpublished(label_bytes(text.len()) / 8);
    }
    replace_label(word, record.map_or(0, Record::into_address));
}

/// Removes a label text from a word, and frees it.
pub(crate) fn clear_label(word: &AtomicU64) {
    replace_label(word, 0);
}

/// Puts the address of something complete into a word, where readers in other processes find it.
pub(crate) fn publish(word: &AtomicU64, address: u64) {
    // Release: pairs with the Acquire of a reader, who sees the content.
    word.store(address, Release);
}

/// Puts the address of a complete record into a word, and returns the one before.
pub(crate) fn exchange(word: &AtomicU64, address: u64) -> u64 {
    // Release: a reader that finds the new record sees its content. Acquire: this thread frees the
    // old one.
    word.swap(address, AcqRel)
}

fn replace_label(word: &AtomicU64, address: u64) {
    let old = exchange(word, address);
    if old != 0 {
        // SAFETY: a label text, which only this thread took out of the word. Threads of this
        // process read their own copies of label texts.
        unsafe {
            let head = std::mem::ManuallyDrop::new(Record::at(old, label::TEXT));
            let stamp = head.word(label::STAMP).load(Relaxed);
            drop(Record::at(old, label_bytes(stamp as u32 as usize)));
        }
    }
}

fn label_bytes(len: usize) -> usize {
    label::TEXT + len.next_multiple_of(8)
}
