//! A pointer to a value that is replaced as a whole. Readers follow it while they have the epoch
//! pinned; a replaced value is freed an epoch later.
//!
//! - P1: a value is complete before it is published, and is not written afterwards except through
//!   its atomics (Release, Acquire).
//! - P2: a value is freed once: by the thread whose exchange removed it, after all pins that could
//!   reach it are released (E1).

use std::ptr::{NonNull, null_mut};

use crate::sync::{AcqRel, Acquire, AtomicPtr, Relaxed, Release, owner_load_ptr};

use super::epoch::{Guard, later};

/// A type whose values can be published.
pub(crate) trait Free {
    /// Frees the value. Provided for values that [`AtomicBox::replace_by`] boxed.
    ///
    /// # Safety
    ///
    /// The value was published, and no thread can reach it any more.
    unsafe fn free(this: NonNull<Self>)
    where
        Self: Sized,
    {
        // SAFETY: leaked from a box in `replace_by`. By the caller's contract nobody else has it.
        drop(unsafe { Box::from_raw(this.as_ptr()) });
    }
}

/// A published value, or nothing. Written by threads that publish, read by pinned threads. See the
/// module's documentation.
pub(crate) struct AtomicBox<T: Free>(AtomicPtr<T>);

impl<T: Free> AtomicBox<T> {
    /// Creates a pointer without a value.
    pub(crate) fn empty() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// Returns whether there is a value now.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        !self.0.load(Relaxed).is_null()
    }

    /// Returns the current value, which stays valid while the epoch is pinned.
    #[inline]
    pub(crate) fn get(&self, _pinned: &Guard) -> Option<NonNull<T>> {
        // Acquire: pairs with the Release in `set` and in `replace`. The reader sees the complete
        // value (P1).
        NonNull::new(self.0.load(Acquire))
    }

    /// Publishes `fresh`, which the caller must own, where no value is. If a value were published
    /// already, or two threads called this at the same time, all values but the last would leak.
    pub(crate) fn set(&self, fresh: NonNull<T>) {
        debug_assert!(!self.is_set(), "a value is already published");
        // Release: pairs with the Acquire in `get` and in `replace`. A store, because an exchange
        // would cost as much as the rest of the function.
        self.0.store(fresh.as_ptr(), Release);
    }

    /// Boxes and publishes a value. Frees the previous value an epoch later.
    pub(crate) fn replace_by(&self, fresh: T) {
        self.replace(Some(NonNull::from(Box::leak(Box::new(fresh)))));
    }

    /// Publishes `fresh`, which the caller must own, or removes the value. Frees the previous value
    /// an epoch later.
    pub(crate) fn replace(&self, fresh: Option<NonNull<T>>) {
        let fresh = fresh.map_or(null_mut(), NonNull::as_ptr);
        // AcqRel: Release pairs with the Acquire in `get`. Acquire pairs with the Release of the
        // thread that published the old value, so that this thread frees a complete value (P1).
        if let Some(old) = NonNull::new(self.0.swap(fresh, AcqRel)) {
            // SAFETY: a thread that pins from now on cannot reach the old value, and only this
            // thread's exchange returned it (P2).
            unsafe { later(move || T::free(old)) };
        }
    }
}

impl<T: Free> Drop for AtomicBox<T> {
    fn drop(&mut self) {
        if let Some(last) = NonNull::new(owner_load_ptr(&self.0)) {
            // SAFETY: `&mut self`: no other thread can reach the value (P2).
            unsafe { T::free(last) };
        }
    }
}
