//! The key of an entry in a native histogram's table: an exponential bucket and a fixed bucket.

use crate::snapshot::native::index::{self, FINEST, Places, coarser};

/// An exponential bucket (bits 0 to 31, the *code*) and a fixed bucket (bits 32 to 63). The key 0
/// marks an empty entry of the table.
///
/// The code is the [place](Places) of the bucket, which is never 0. Buckets of numbers that are not
/// common may have no place, and get a code above all places.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) u64);

impl Key {
    /// The code of the zero bucket.
    pub(crate) const ZERO: u32 = 1 << 31;
    /// The bit of a bucket without a place.
    const RARE: u32 = 1 << 30;
    /// The bit of negative numbers in a bucket without a place.
    const RARE_NEGATIVE: u32 = 1 << 29;
    /// The number that is added to an index in a bucket without a place. Indexes are between
    /// -274 944 and 262 145.
    const BIAS: i32 = 1 << 20;

    /// Returns the key of a value.
    pub(super) fn new(value: f64, places: Places, zero_threshold: f64, bucket: usize) -> Self {
        let distance = value.abs();
        let code = if distance <= zero_threshold {
            Self::ZERO
        } else {
            let schema = FINEST - places.halvings() as i8;
            Self::code_of(index::of(distance, schema), value < 0.0, places)
        };
        Self::of(code, bucket)
    }

    /// The same as [`new`](Self::new) in fewer instructions. Returns `None` if the number is not
    /// common.
    #[inline(always)]
    pub(super) fn find(value: f64, places: &Places, bucket: usize) -> Option<Self> {
        let place = places.find(value.to_bits())?;
        Some(Self::of(place, bucket))
    }

    /// Returns the key of the zero bucket and a fixed one.
    #[inline(always)]
    pub(super) fn zero(bucket: usize) -> Self {
        Self::of(Self::ZERO, bucket)
    }

    #[inline(always)]
    fn of(code: u32, bucket: usize) -> Self {
        Self(u64::from(code) | (bucket as u64) << 32)
    }

    /// Returns the code of an exponential bucket.
    fn code_of(index: i32, negative: bool, places: Places) -> u32 {
        let place = index + places.origin();
        let sign = |bit: u32| if negative { bit } else { 0 };
        if 0 < place && (place as u32) < places.sign() {
            place as u32 | sign(places.sign())
        } else {
            Self::RARE | sign(Self::RARE_NEGATIVE) | (index + Self::BIAS) as u32
        }
    }

    /// Returns the fixed bucket.
    pub(crate) fn bucket(self) -> usize {
        (self.0 >> 32) as usize
    }

    /// Returns the code of the exponential bucket.
    pub(crate) fn code(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn is_zero(self) -> bool {
        self.code() == Self::ZERO
    }

    /// Returns the index of the exponential bucket, and whether its numbers are negative. `places`
    /// are those of the table.
    pub(crate) fn index(self, places: Places) -> (i32, bool) {
        let code = self.code();
        if code & Self::RARE == 0 {
            let place = code & !places.sign();
            (place as i32 - places.origin(), code != place)
        } else {
            let biased = code & !(Self::RARE | Self::RARE_NEGATIVE);
            (biased as i32 - Self::BIAS, code & Self::RARE_NEGATIVE != 0)
        }
    }

    /// Returns the key of the same value at a resolution that is as coarse or coarser.
    pub(super) fn coarser(self, from: Places, to: Places) -> Self {
        if self.is_zero() {
            return self;
        }
        let (index, negative) = self.index(from);
        let index = coarser(index, to.halvings() - from.halvings());
        Self::of(Self::code_of(index, negative, to), self.bucket())
    }

    /// Returns the hash, from which a search starts. Neighbouring buckets have neighbouring hashes.
    #[inline(always)]
    pub(super) fn hash(self) -> usize {
        self.code().wrapping_add(self.bucket() as u32) as usize
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use crate::snapshot::native::index::COARSEST;

    use super::*;

    #[test]
    fn a_key_has_the_index_and_the_sign_of_every_number() {
        let powers = (0..2047).map(|exponent| f64::from_bits(exponent << 52));
        let special = [5e-324, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY, 1.5, 0.0];
        for number in powers.chain(special) {
            for value in [number.next_down(), number, number.next_up()] {
                if value.is_nan() {
                    continue;
                }
                for schema in COARSEST..=FINEST {
                    check(value.abs(), schema);
                    check(-value.abs(), schema);
                }
            }
        }
    }

    fn check(value: f64, schema: i8) {
        let halvings = (FINEST - schema) as u32;
        let places = Places::new(halvings, 0.0);
        let key = Key::new(value, places, 0.0, 7);
        assert!(key.bucket() == 7 && key.0 != 0);
        let found = Key::find(value, &places, 7);
        assert!(found.is_none_or(|found| found == key), "{value:e}");
        if value == 0.0 {
            return assert!(key.is_zero() && key == Key::zero(7) && found.is_none());
        }
        let expected = (index::of(value.abs(), schema), value < 0.0);
        assert_eq!(key.index(places), expected, "{value:e} at {schema}");
        for more in 0..=(schema - COARSEST) as u32 {
            let coarse = Places::new(halvings + more, 0.0);
            let expected = Key::new(value, coarse, 0.0, 7);
            assert!(key.coarser(places, coarse) == expected, "{value:e}");
        }
    }
}
