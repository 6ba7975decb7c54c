//! The key of an entry in a native histogram's table: an exponential bucket and a fixed bucket.

use crate::snapshot::native::index::{self, coarser};

/// An exponential bucket (bits 0 to 31) and a fixed bucket (bits 32 to 63). The key 0 marks an
/// empty entry of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64);

impl Key {
    /// The bit of negative values.
    pub(super) const NEGATIVE: u32 = 1 << 31;
    /// The code of the zero bucket.
    pub(super) const ZERO: u32 = 1;
    /// The number that is added to an index to make it positive and different from `ZERO`. Indexes
    /// are between -274 944 and 262 145.
    pub(super) const BIAS: i32 = 1 << 20;

    /// Returns the key of a value.
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

    /// Returns the fixed bucket.
    pub(super) fn bucket(self) -> usize {
        (self.0 >> 32) as usize
    }

    /// Returns the code of the exponential bucket: its sign and biased index, or `ZERO`.
    pub(super) fn code(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn is_zero(self) -> bool {
        self.code() == Self::ZERO
    }

    /// Returns the index of the exponential bucket.
    pub(super) fn index(self) -> i32 {
        (self.code() & !Self::NEGATIVE) as i32 - Self::BIAS
    }

    /// Returns the key of the same value after the resolution was halved `halvings` times.
    pub(super) fn coarser(self, halvings: u32) -> Self {
        if self.is_zero() {
            return self;
        }
        let code = (coarser(self.index(), halvings) + Self::BIAS) as u32;
        Self(self.0 & !u64::from(!Self::NEGATIVE) | u64::from(code))
    }

    /// Returns the hash, from which a search starts. Neighbouring buckets have neighbouring hashes.
    #[inline(always)]
    pub(super) fn hash(self) -> usize {
        self.code().wrapping_add(self.bucket() as u32) as usize
    }
}
