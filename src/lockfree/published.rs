//! A pointer to what is replaced as a whole: readers follow it while they have pinned the epoch, and what it pointed to is
//! freed an epoch later.
//!
//! - P1: what is published was made before, and is not written any more (Release, Acquire).
//! - P2: what is taken away is freed once, by who got it from the exchange.

use std::ptr::{NonNull, null_mut};

use crate::sync::{AcqRel, Acquire, AtomicPtr, Relaxed, Release, owner_load_ptr};

use super::epoch::{Guard, later};

/// What can be published.
pub(crate) trait Free {
    /// Gives its memory back.
    ///
    /// # Safety
    ///
    /// It was published, and nobody can reach it any more.
    unsafe fn free(this: NonNull<Self>);
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Published<T: Free>(AtomicPtr<T>);

impl<T: Free> Published<T> {
    /// Nothing yet.
    pub(crate) fn nothing() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// Whether there is something now.
    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        !self.0.load(Relaxed).is_null()
    }

    /// What is there now, for as long as the epoch is pinned.
    #[inline]
    pub(crate) fn get(&self, _pinned: &Guard) -> Option<NonNull<T>> {
        // Acquire: pairs with the Release in `put` and in `replace`; it is seen as it was made (P1).
        NonNull::new(self.0.load(Acquire))
    }

    /// Publishes `fresh`, which is the caller's alone, where nothing is. Were something there, or did two threads do it at
    /// once, all but the last would be leaked.
    pub(crate) fn put(&self, fresh: NonNull<T>) {
        debug_assert!(!self.is_there(), "it is taken away first");
        // Release: pairs with the Acquire in `get` and in `replace`. Not an exchange, which costs as much as the rest.
        self.0.store(fresh.as_ptr(), Release);
    }

    /// Publishes `fresh`, which is the caller's alone, or nothing, and takes away what was there.
    pub(crate) fn replace(&self, fresh: Option<NonNull<T>>) {
        let fresh = fresh.map_or(null_mut(), NonNull::as_ptr);
        // Release: pairs with the Acquire in `get`. Acquire: pairs with the Release of who published it; who frees it sees
        // it as it was made (P1).
        if let Some(old) = NonNull::new(self.0.swap(fresh, AcqRel)) {
            // SAFETY: no longer reachable for who pins from now on, and freed by this thread (P2).
            unsafe { later(move || T::free(old)) };
        }
    }
}

impl<T: Free> Drop for Published<T> {
    fn drop(&mut self) {
        if let Some(last) = NonNull::new(owner_load_ptr(&self.0)) {
            // SAFETY: nobody else has it any more.
            unsafe { T::free(last) };
        }
    }
}
