//! What a slot of a table counts.

use crate::snapshot::native::index::{self, coarser};

/// Which exponential and which fixed bucket; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64);

impl Key {
    pub(super) const NEGATIVE: u32 = 1 << 31;
    pub(super) const ZERO: u32 = 1;
    /// Keeps positive, and apart from `ZERO`, what an index can be: -274 944 to 262 145.
    pub(super) const BIAS: i32 = 1 << 20;

    #[inline(always)]
    pub(super) fn new(value: f64, schema: i8, zero_threshold: f64, bucket: usize) -> Self {
        let distance = value.abs();
        let code = if distance <= zero_threshold {
            Self::ZERO
        } else {
            let sign = (value.to_bits() >> 32) as u32 & Self::NEGATIVE;
            (index::of(distance, schema) + Self::BIAS) as u32 | sign
        };
        Self(u64::from(code) | (bucket as u64) << 32)
    }

    pub(super) fn bucket(self) -> usize {
        (self.0 >> 32) as usize
    }

    pub(super) fn code(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn is_zero(self) -> bool {
        self.code() == Self::ZERO
    }

    pub(super) fn index(self) -> i32 {
        (self.code() & !Self::NEGATIVE) as i32 - Self::BIAS
    }

    pub(super) fn coarser(self, halvings: u32) -> Self {
        if self.is_zero() {
            return self;
        }
        let code = (coarser(self.index(), halvings) + Self::BIAS) as u32;
        Self(self.0 & !u64::from(!Self::NEGATIVE) | u64::from(code))
    }

    /// Where a search begins: neighbours lie side by side.
    #[inline(always)]
    pub(super) fn hash(self) -> usize {
        self.code().wrapping_add(self.bucket() as u32) as usize
    }
}
