//! Caches the series that a bound series found last: a word and a pointer that belong together,
//! read without a lock.
//!
//! To cache another series, a thread first invalidates the word (it becomes `LOCKED`), then stores
//! the pointer, then the new word. A reader loads the word, the pointer, and the word again.
//!
//! - K1: if a reader loads the same word twice, the pointer that it loaded in between belongs to
//!   that word. An older pointer is impossible, because the first load of the word acquires the
//!   pointer that was stored before it. A newer pointer is impossible, because its writer
//!   invalidated the word first, and a word that was replaced by another series' never returns: a
//!   thread stores its word only if the cached word is still the one that it read before it looked
//!   the series up.
//! - K2: the pointee lives as long as the owner. `find` borrows it from the owner for any lifetime,
//!   and the owner is in an `Arc`, so no thread has exclusive access to it.

use std::marker::PhantomData;
use std::ptr::{from_ref, null_mut};
use std::sync::Arc;

use crate::sync::{Acquire, AtomicPtr, AtomicU64, Relaxed, Release};

use super::series_key::SeriesKey;

/// The word while a thread stores another pointer. No `SeriesKey` of a cached series is that large,
/// because the overflow series (number `u32::MAX`) is not cached.
const LOCKED: u64 = u64::MAX;
/// The word before the first look-up.
const EMPTY: u64 = u64::MAX - 1;

/// A reference into a reference-counted owner, with the key of the series it refers to. See the
/// module's documentation.
#[repr(C)]
pub struct CachedRef<O, P> {
    /// The `SeriesKey` of the cached series, `LOCKED` or `EMPTY`. Written by a thread that looks
    /// the series up, read by every user.
    word: AtomicU64,
    /// The cached series. Written only by the thread that changed `word` to `LOCKED`, read by every
    /// user.
    part: AtomicPtr<P>,
    /// Never replaced. Keeps the pointee alive (K2).
    owner: Arc<O>,
    _part: PhantomData<Arc<P>>,
}

impl<O, P> CachedRef<O, P> {
    /// Creates a reference that has nothing cached yet.
    #[must_use]
    pub fn new(owner: Arc<O>) -> Self {
        Self {
            word: AtomicU64::new(EMPTY),
            part: AtomicPtr::new(null_mut()),
            owner,
            _part: PhantomData,
        }
    }

    /// Returns the owner.
    #[inline]
    pub fn owner(&self) -> &Arc<O> {
        &self.owner
    }

    /// Returns the cached reference and its key. Before the first look-up, and while another thread
    /// replaces the cached values, returns what `other` returns.
    #[inline(always)]
    pub fn get_or<'a>(&'a self, other: impl FnOnce() -> (&'a P, SeriesKey)) -> (&'a P, SeriesKey) {
        // Acquire: pairs with the Release store of the word in `find`. The load of the pointer
        // below returns the pointer of this word or a later one.
        let word = self.word.load(Acquire);
        // Acquire: pairs with the Release store of the pointer in `find`. If the pointer is a later
        // one, the load of the word below does not return the old word.
        let part = self.part.load(Acquire);
        if word >= EMPTY || self.word.load(Relaxed) != word {
            return other();
        }
        // SAFETY: the pointer belongs to this word (K1), and the pointee lives as long as the owner
        // (K2).
        (unsafe { &*part }, SeriesKey::of_word(word))
    }

    /// Looks the series up with `find` and caches the result, unless it is the overflow series or
    /// another thread replaces the cached values at the same time.
    pub fn find(&self, find: impl for<'o> FnOnce(&'o O) -> (&'o P, SeriesKey)) -> (&P, SeriesKey) {
        // Acquire: pairs with the Release store of the word below. Our look-up sees every
        // retirement that the thread which stored `old` had seen, so it does not find an older
        // generation again (K1).
        let old = self.word.load(Acquire);
        let (part, key) = find(&self.owner);
        // Acquire: pairs with the Release store of the word below, so that our pointer is stored
        // after the previous one.
        let take = || self.word.compare_exchange(old, LOCKED, Acquire, Relaxed);
        if !key.is_overflow() && old != LOCKED && take().is_ok() {
            // Release: pairs with the Acquire of the pointer in `get_or`. A reader that sees this
            // pointer also sees that the word was invalidated.
            self.part.store(from_ref(part).cast_mut(), Release);
            // Release: pairs with the Acquire loads of the word in `get_or` and above. Carries the
            // pointer, and what our look-up saw of the series.
            self.word.store(key.word(), Release);
        }
        (part, key)
    }
}
