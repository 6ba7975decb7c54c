//! An owner that is made once, and a reference to a part of it, or to several parts that follow
//! each other, which takes one load to find.
//!
//! - N1: the owner is never replaced, and the part is borrowed from it for any lifetime. The owner
//!   is in an `Arc`, so no thread has exclusive access to it.

use std::marker::PhantomData;
use std::ptr::null_mut;
use std::slice;
use std::sync::{Arc, OnceLock};

use crate::sync::{Acquire, AtomicPtr, Release, const_fn};

/// An owner that is made once, and a part of it. See the module's documentation.
pub struct PartRef<O, P> {
    /// The first part, or null. Written by threads that find it, read by every user.
    part: AtomicPtr<P>,
    /// Written once.
    owner: OnceLock<Arc<O>>,
    /// Threads that share this value share the parts.
    _part: PhantomData<Arc<P>>,
}

impl<O, P> PartRef<O, P> {
    const_fn! {
        /// Creates a reference without an owner.
        #[must_use]
        pub fn new() -> Self {
            Self {
                part: AtomicPtr::new(null_mut()),
                owner: OnceLock::new(),
                _part: PhantomData,
            }
        }
    }

    /// Returns the owner, if it was made.
    #[inline(always)]
    pub fn owner(&self) -> Option<&Arc<O>> {
        self.owner.get()
    }

    /// Returns the owner, and makes it if needed.
    pub fn owner_or(&self, make: impl FnOnce() -> Arc<O>) -> &Arc<O> {
        self.owner.get_or_init(make)
    }

    /// Returns the part, if it was set.
    #[inline(always)]
    pub fn part(&self) -> Option<&P> {
        // SAFETY: if any parts were set, there is a first one.
        unsafe { self.parts(1) }.map(|parts| &parts[0])
    }

    /// Returns the first `len` parts, if they were set.
    ///
    /// # Safety
    ///
    /// `len` is at most the number of parts that were set.
    #[inline(always)]
    pub unsafe fn parts(&self, len: usize) -> Option<&[P]> {
        // Acquire: pairs with the Release in `set_parts`.
        let first = self.part.load(Acquire);
        // SAFETY: null, or parts of the owner, which lives as long as this value (N1).
        (!first.is_null()).then(|| unsafe { slice::from_raw_parts(first, len) })
    }

    /// Sets the part, if the owner was made.
    pub fn set_part(&self, find: impl for<'o> FnOnce(&'o O) -> &'o P) {
        self.set_parts(|owner| slice::from_ref(find(owner)));
    }

    /// Sets the parts, if the owner was made and has any.
    pub fn set_parts(&self, find: impl for<'o> FnOnce(&'o O) -> &'o [P]) {
        let parts = self.owner().map(|owner| find(owner));
        if let Some(parts) = parts.filter(|parts| !parts.is_empty()) {
            // Release: pairs with the Acquire in `parts`.
            self.part.store(parts.as_ptr().cast_mut(), Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Regression: the owner alone decided, although a part may be of any lifetime, and so not in
    /// the owner.
    #[test]
    fn threads_share_only_parts_that_they_may_share() {
        struct Shared<T>(PhantomData<T>);
        trait NotShared {
            const IS_SHARED: bool = false;
        }
        impl<T> NotShared for Shared<T> {}
        impl<T: Send + Sync> Shared<T> {
            const IS_SHARED: bool = true;
        }
        let may = Shared::<PartRef<(), u64>>::IS_SHARED;
        let may_not = Shared::<PartRef<(), Cell<u64>>>::IS_SHARED;
        assert_eq!((may, may_not), (true, false));
    }
}
