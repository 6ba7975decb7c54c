//! The number of owners of one allocation, beside a constant in the same word.
//!
//! - O1: The owner that leaves last frees the allocation. It sees everything that the other owners
//!   did before they left.

use crate::sync::{AcqRel, AtomicU64, Relaxed};

const OWNER: u64 = 1 << 32;
/// The most owners. Far below the number at which the word would overflow, as several threads may
/// add one at the same time.
const MOST: u64 = OWNER >> 1;

/// The number of owners in the upper half of a word, and a constant in its lower half. Written by
/// owners that come and leave.
pub(crate) struct Owners(AtomicU64);

impl Owners {
    /// Creates the word of a new allocation, which has one owner.
    pub(crate) fn one(constant: u32) -> Self {
        Self(AtomicU64::new(OWNER | u64::from(constant)))
    }

    /// Returns the constant.
    #[inline]
    pub(crate) fn constant(&self) -> u32 {
        self.0.load(Relaxed) as u32
    }

    /// Adds an owner. The caller is an owner, or keeps one from leaving. Returns `false` if there
    /// are too many.
    pub(crate) fn add(&self) -> bool {
        let few = self.0.load(Relaxed) / OWNER < MOST;
        if few {
            self.0.fetch_add(OWNER, Relaxed);
        }
        few
    }

    /// Removes an owner. Returns whether it was the last one, which has to free the allocation
    /// (O1).
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        // AcqRel: Release carries this owner's accesses. Acquire pairs with the Release of all
        // owners that left before.
        self.0.fetch_sub(OWNER, AcqRel) / OWNER == 1
    }
}
