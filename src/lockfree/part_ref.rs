//! An owner that is made once, and a reference to a part of it, which takes one load to find.
//!
//! - N1: the owner is never replaced, and the part is borrowed from it for any lifetime. The owner
//!   is in an `Arc`, so no thread has exclusive access to it.

use std::ptr::{from_ref, null_mut};
use std::sync::{Arc, OnceLock};

use crate::sync::{Acquire, AtomicPtr, Release, const_fn};

/// An owner that is made once, and a part of it. See the module's documentation.
pub struct PartRef<O, P> {
    /// The part, or null. Written by threads that find it, read by every user.
    part: AtomicPtr<P>,
    /// Written once.
    owner: OnceLock<Arc<O>>,
}

impl<O, P> PartRef<O, P> {
    const_fn! {
        /// Creates a reference without an owner.
        #[must_use]
        pub fn new() -> Self {
            Self {
                part: AtomicPtr::new(null_mut()),
                owner: OnceLock::new(),
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
        // Acquire: pairs with the Release in `set_part`.
        // SAFETY: null, or a part of the owner, which lives as long as this value (N1).
        unsafe { self.part.load(Acquire).as_ref() }
    }

    /// Sets the part, if the owner was made.
    pub fn set_part(&self, find: impl for<'o> FnOnce(&'o O) -> &'o P) {
        if let Some(owner) = self.owner() {
            // Release: pairs with the Acquire in `part`.
            self.part.store(from_ref(find(owner)).cast_mut(), Release);
        }
    }
}
