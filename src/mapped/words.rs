//! Values and words in memory of the region or on the heap.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::sync::AtomicU64;

use super::region;

/// Where memory is: in the region, so that other processes can read it, or on the heap, where tools
/// that look for leaks find it. What a word points to is where the word is, but for a slab that
/// moves to the region later than what its cells point to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Heap,
    /// If the region is full, on the heap all the same.
    Region,
}

impl Place {
    /// Returns where a value is.
    #[inline]
    pub(crate) fn of<T>(value: *const T) -> Self {
        if region::contains(value.cast()) {
            Self::Region
        } else {
            Self::Heap
        }
    }

    /// Allocates zeroed memory in the region, if it is to be there.
    fn allocate(self, bytes: usize) -> Option<NonNull<u8>> {
        if self == Self::Heap {
            return None;
        }
        let memory = region::allocate(bytes);
        if memory.is_none() {
            region::count_unpublished(bytes / 8);
        }
        memory
    }
}

/// Words that begin at zero, and that this value owns. Other processes may read it in a file.
#[repr(C)]
pub(crate) struct Words {
    first: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: words are atomics, and this value owns them as a box would.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Allocates words.
    pub(crate) fn new(len: usize, place: Place) -> Self {
        if let Some(first) = place.allocate(8 * len) {
            let first = first.cast();
            return Self { first, len };
        }
        let words: Box<[AtomicU64]> = (0..len).map(|_| AtomicU64::new(0)).collect();
        let first = NonNull::from(Box::leak(words)).cast();
        Self { first, len }
    }

    /// Allocates words. Returns `None` if they cannot be where they are to be.
    pub(crate) fn only(len: usize, place: Place) -> Option<Self> {
        if place == Place::Heap {
            return Some(Self::new(len, place));
        }
        let first = place.allocate(8 * len)?.cast();
        Some(Self { first, len })
    }

    /// Gives up the words, which [`from_raw`](Self::from_raw) takes again.
    pub(crate) fn into_raw(self) -> *mut AtomicU64 {
        let first = self.first.as_ptr();
        std::mem::forget(self);
        first
    }

    /// Returns the words as a box.
    #[cfg(loom)]
    pub(crate) fn into_box(self) -> Box<[AtomicU64]> {
        let words = std::ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len);
        std::mem::forget(self);
        // SAFETY: in models, words are on the heap: leaked in `new`.
        unsafe { Box::from_raw(words) }
    }

    /// Takes the words again.
    ///
    /// # Safety
    ///
    /// `first` comes from [`into_raw`](Self::into_raw) of as many words, and nobody else takes
    /// them.
    pub(crate) unsafe fn from_raw(first: NonNull<AtomicU64>, len: usize) -> Self {
        Self { first, len }
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    #[inline(always)]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `new` and `only` allocated as many words (X1).
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        if Place::of(self.first.as_ptr()) == Place::Region {
            // SAFETY: allocated with this size, and this value owns it (X1).
            unsafe { region::free(self.first.cast(), 8 * self.len) };
        } else {
            let words = std::ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len);
            // SAFETY: leaked in `new`.
            drop(unsafe { Box::from_raw(words) });
        }
    }
}

/// A value in memory of its own.
pub(crate) struct Own<T>(NonNull<T>);

impl<T> Own<T> {
    /// Moves a value to memory of its own.
    pub(crate) fn new(value: T, place: Place) -> Self {
        const { assert!(align_of::<T>() <= 16) };
        match place.allocate(size_of::<T>()) {
            Some(memory) => {
                let place = memory.cast::<T>();
                // SAFETY: fresh memory of this size, aligned to 16 (X1).
                unsafe { place.write(value) };
                Self(place)
            }
            None => Self(NonNull::from(Box::leak(Box::new(value)))),
        }
    }

    /// Returns where the value is.
    pub(crate) fn place(&self) -> Place {
        Place::of(self.0.as_ptr())
    }

    /// Gives up the value, which [`take`] drops.
    pub(crate) fn into_raw(self) -> *mut T {
        let value = self.0.as_ptr();
        std::mem::forget(self);
        value
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` wrote it, and only `drop` and `take` drop it.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Own<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; nobody else has the pointer.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        // SAFETY: this value owns it.
        unsafe { take(self.0.as_ptr()) };
    }
}

/// Returns the pointer with which the memory of a value that was found by its address can be freed.
/// A pointer that comes from the reference itself may only read.
pub(crate) fn owned<T>(value: &T) -> *mut T {
    std::ptr::with_exposed_provenance_mut(std::ptr::from_ref(value).addr())
}

/// Drops a value and frees its memory.
///
/// # Safety
///
/// `value` comes from [`Own::into_raw`], and no thread can reach it any more.
pub(crate) unsafe fn take<T>(value: *mut T) {
    if region::contains(value.cast()) {
        // SAFETY: by the caller's contract; `Own::new` allocated it with this size.
        unsafe {
            value.drop_in_place();
            region::free(NonNull::new_unchecked(value).cast(), size_of::<T>());
        }
    } else {
        // SAFETY: `Own::new` leaked a box.
        drop(unsafe { Box::from_raw(value) });
    }
}
