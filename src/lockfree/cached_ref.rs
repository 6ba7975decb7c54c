//! Where a handle that is kept last found its series: a word and a pointer that belong together, read without a lock.
//!
//! Who keeps another place takes the word away, stores the pointer, and then its word; a reader loads word, pointer, word.
//!
//! - K1: a word has one pointer. While a pointer is being stored there is no word. A word that was replaced never returns: a
//!   finder stores only if the word is still the one that it read before it looked. So between two loads of one word lies its
//!   pointer.
//! - K2: what is pointed to lives as long as the owner: it was borrowed from it for any lifetime there is, and the owner
//!   is shared, so nobody has it for themselves.

use std::marker::PhantomData;
use std::ptr::{from_ref, null_mut};
use std::sync::Arc;

use crate::sync::{Acquire, AtomicPtr, AtomicU64, Relaxed, Release};

use super::series_key::SeriesKey;

/// Somebody is storing another place. No word is that large: it has a generation and an index.
const LOCKED: u64 = u64::MAX;
const NOTHING: u64 = u64::MAX - 1;

/// A part of a shared owner, and which one. See the module's text.
#[derive(Debug)]
pub struct CachedRef<O, P> {
    owner: Arc<O>,
    word: AtomicU64,
    part: AtomicPtr<P>,
    _part: PhantomData<Arc<P>>,
}

impl<O, P> CachedRef<O, P> {
    /// Nothing is found yet.
    #[must_use]
    pub fn new(owner: Arc<O>) -> Self {
        Self {
            owner,
            word: AtomicU64::new(NOTHING),
            part: AtomicPtr::new(null_mut()),
            _part: PhantomData,
        }
    }

    /// Another one of the same, which has found nothing yet.
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.owner))
    }

    /// What it is a part of.
    #[inline]
    pub fn owner(&self) -> &O {
        &self.owner
    }

    /// What was last found; nothing while another thread is at it.
    #[inline]
    pub fn get(&self) -> Option<(&P, SeriesKey)> {
        // Acquire: pairs with the Release of the word in `find`; who sees it sees its pointer, or a later one.
        let word = self.word.load(Acquire);
        // Acquire: pairs with the Release of the pointer in `find`; who sees a later one sees that the word was taken away.
        let part = self.part.load(Acquire);
        if word >= NOTHING || self.word.load(Relaxed) != word {
            return None;
        }
        // SAFETY: the pointer of this word (K1), of what lives as long as the owner (K2).
        Some((unsafe { &*part }, SeriesKey::of_word(word)))
    }

    /// Finds it anew, and keeps what it finds; not where the index is `u32::MAX`, which says that the part is another's.
    pub fn find(&self, find: impl for<'o> FnOnce(&'o O) -> (&'o P, SeriesKey)) -> (&P, SeriesKey) {
        // Acquire: pairs with the Release of the word below; what had ended for its finder has ended for ours.
        let old = self.word.load(Acquire);
        let (part, key) = find(&self.owner);
        // Acquire: pairs with the Release of the last word; its pointer was stored before ours.
        let take = || self.word.compare_exchange(old, LOCKED, Acquire, Relaxed);
        if !key.is_overflow() && old != LOCKED && take().is_ok() {
            // Release: carries that the word is taken to who sees the pointer.
            self.part.store(from_ref(part).cast_mut(), Release);
            // Release: carries the pointer, and what its finder saw of the part, to who sees the word.
            self.word.store(key.word(), Release);
        }
        (part, key)
    }
}
