//! The index of the exponential bucket of a number, found from its bits: without a logarithm, and
//! exact at every bound.
//!
//! At schema `s`, bucket `i` covers (b^(i-1), b^i] with b = 2^(2^-s). All schemas are coarser forms
//! of schema 8, whose bounds divide every power of two into 256 buckets. The exponent of the number
//! is the octave. The bucket within the octave depends on where the fraction lies among 256
//! irrational numbers. The top nine bits of the fraction leave only one candidate, because two
//! bounds are more than 1/512 apart. One addition compares with it and carries into the index: see
//! [`STEPS`]. Each halving of the resolution turns index `i` into ⌈i / 2⌉.
//!
//! Sources: the native histograms page of the Prometheus documentation; the table by linear steps
//! comes from the look-up in OpenTelemetry's exponential histograms (NrSketch).

/// The finest schema.
pub(crate) const FINEST: i8 = 8;
/// The coarsest schema.
pub(crate) const COARSEST: i8 = -4;

const FRACTION: u64 = (1 << 52) - 1;
const MAX_BITS: u64 = f64::INFINITY.to_bits();
/// The index at schema 8 of the bucket after the one that holds the largest finite number.
const BEYOND: i32 = 1024 * 256 + 1;

/// 2^(2^-j) for j = 1 to 8, with 127 binary digits after the point.
const ROOTS: [u128; 8] = [
    0xb504_f333_f9de_6484_597d_89b3_754a_be9f,
    0x9837_f051_8db8_a96f_46ad_2318_2e42_f6f6,
    0x8b95_c1e3_ea8b_d6e6_fbe4_6287_58a5_3c90,
    0x85aa_c367_cc48_7b14_c5c9_5b8c_2154_c1b2,
    0x82cd_8698_ac2b_a1d7_3e2a_475b_4652_0bff,
    0x8164_d1f3_bc03_0773_7be5_6527_bd14_def4,
    0x80b1_ed4f_d999_ab6c_2533_5719_b6e6_fd20,
    0x8058_d7d2_d5e5_f6b0_94d5_89f6_08ee_4aa2,
];

/// Entry `k` is the fraction of the largest number that is at most 2^(k/256); for 256 it is that of
/// the largest number below 2.
static BOUNDS: [u64; 257] = bounds();

/// The number of low bits that [`STEPS`] leaves below the index.
const BELOW: u32 = 44;

/// Entry `j` turns the bits of a number whose fraction has `j` in its top nine bits into the index
/// of its bucket: the sum is exponent * 256 + bucket within the octave, above [`BELOW`] other bits.
///
/// The entry exchanges `j` for the index of the first bound that is not below, and adds as much as
/// numbers above that bound need to carry one into the index.
static STEPS: [u64; 512] = steps(&bounds());

const fn bounds() -> [u64; 257] {
    let mut all = [FRACTION; 257];
    let mut k = 0;
    while k < 256 {
        // The product of the roots that the binary digits of k/256 select, with an error below
        // 2^-120.
        let mut product: u128 = 1 << 127;
        let mut j = 0;
        while j < 8 {
            if k >> (7 - j) & 1 == 1 {
                product = multiply(product, ROOTS[j]);
            }
            j += 1;
        }
        all[k] = (product >> 75) as u64 & FRACTION;
        k += 1;
    }
    all
}

/// Multiplies two numbers from 1 to below 2 with 127 binary digits after the point.
const fn multiply(a: u128, b: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (low, cross, other) = (a0 * b0, a1 * b0, a0 * b1);
    let middle = (low >> 64) + (cross & LOW) + (other & LOW);
    let high = a1 * b1 + (cross >> 64) + (other >> 64) + (middle >> 64);
    (high << 1) | ((middle >> 63) & 1)
}

const fn steps(bounds: &[u64; 257]) -> [u64; 512] {
    const MOST: u64 = (1 << BELOW) - 1;
    let mut steps = [0; 512];
    let (mut j, mut k) = (0, 0);
    while j < 512 {
        let fraction = (j as u64) << 43;
        while bounds[k] < fraction {
            k += 1;
        }
        // At most `MOST`: if the bound is further away, no number with these top bits is above it.
        let distance = bounds[k] - fraction;
        let distance = if distance < MOST { distance } else { MOST };
        steps[j] = ((k as u64) << BELOW) - fraction + (MOST - distance);
        j += 1;
    }
    steps
}

/// Adds to the bits of a number its entry of [`STEPS`]. The sign may be set.
#[inline(always)]
fn stepped(bits: u64) -> u64 {
    bits.wrapping_add(STEPS[(bits >> 43) as usize & 511])
}

/// Returns the bucket at schema 8 of a number that is not subnormal. `bits` are the bits of the
/// number without the sign.
#[inline(always)]
fn of_normal(bits: u64) -> i32 {
    (stepped(bits) >> BELOW) as i32 - (1023 << 8)
}

/// The buckets of one schema as *places*: small positive numbers that one addition and one shift
/// compute from the bits of a common number. A place is the index plus [`origin`](Self::origin).
///
/// Other processes may read `shift` in a file.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Places {
    /// The number of bits to drop: [`BELOW`], and one for every halving of the finest resolution.
    shift: u32,
    /// The addend that rounds the division by these halvings up, and makes index 0 a multiple of
    /// all of them.
    round: u64,
    /// Twice the bits of the first common number, so that the sign is shifted out.
    first: u64,
    /// Twice the number of common numbers of one sign.
    len: u64,
}

impl Places {
    /// The number of halvings from the finest to the coarsest schema.
    const MOST_HALVINGS: u32 = (FINEST - COARSEST) as u32;

    /// Creates the places of the schema that is `halvings` below the finest. Numbers are common if
    /// they are normal, further from zero than `zero_threshold`, and below the last bucket or two.
    pub(crate) fn new(halvings: u32, zero_threshold: f64) -> Self {
        debug_assert!(halvings <= Self::MOST_HALVINGS, "no such schema");
        let zero = zero_threshold.abs().to_bits();
        let first = (zero + 1).max(f64::MIN_POSITIVE.to_bits());
        // The exponent of the octave, or of the last bucket if that has several octaves.
        let last = (2047 - (1 << halvings >> 8).max(1)) << 52;
        Self {
            shift: BELOW + halvings,
            round: ((1 << halvings) - 1 + 256) << BELOW,
            first: first << 1,
            len: u64::saturating_sub(last, first) << 1,
        }
    }

    /// Returns the number of halvings from the finest schema.
    pub(crate) fn halvings(self) -> u32 {
        self.shift - BELOW
    }

    /// Returns the bit that marks the place of a negative number.
    pub(crate) fn sign(self) -> u32 {
        1 << (63 - self.shift)
    }

    /// Returns the place of index 0.
    pub(crate) fn origin(self) -> i32 {
        1 << 18 >> self.halvings()
    }

    /// Returns the place of a number, with [`sign`](Self::sign) set if it is negative. Returns
    /// `None` if the number is not common.
    #[inline(always)]
    pub(crate) fn find(&self, bits: u64) -> Option<u32> {
        if (bits << 1).wrapping_sub(self.first) < self.len {
            // The sum of a common number does not reach the sign.
            Some((stepped(bits).wrapping_add(self.round) >> self.shift) as u32)
        } else {
            None
        }
    }
}

/// Returns the bucket of a number above 0. Infinity is in the bucket after that of the largest
/// finite number.
#[inline(always)]
pub(crate) fn of(value: f64, schema: i8) -> i32 {
    let bits = value.to_bits();
    let finest = if bits.wrapping_sub(1 << 52) < MAX_BITS - (1 << 52) {
        of_normal(bits)
    } else {
        of_rare(value)
    };
    coarser(finest, (FINEST - schema) as u32)
}

#[cold]
fn of_rare(value: f64) -> i32 {
    if value.is_infinite() {
        return BEYOND;
    }
    // A subnormal number. The multiplication makes it normal and is exact.
    const UP: f64 = (1_u64 << 54) as f64;
    of_normal((value * UP).to_bits()) - (54 << 8)
}

/// Returns the bucket that contains bucket `index` after the given number of halvings of the
/// resolution.
#[inline(always)]
pub(crate) fn coarser(index: i32, halvings: u32) -> i32 {
    // The shift rounds down, so the two negations round up.
    -(-index >> halvings)
}

/// Returns the largest number in bucket `index` or below it: the bound, rounded down.
///
/// Returns 0 below the bucket of the smallest number, and infinity above that of the largest one.
pub(crate) fn upper(index: i32, schema: i8) -> f64 {
    let finest = i64::from(index) << (FINEST - schema) as u32;
    if finest >= i64::from(BEYOND) - 1 {
        // The bucket that ends at 2^1024 holds the largest finite number; the next one holds
        // infinity.
        let is_last = index == coarser(BEYOND - 1, (FINEST - schema) as u32);
        return if is_last { f64::MAX } else { f64::INFINITY };
    }
    let (octave, k) = (finest.div_euclid(256), finest.rem_euclid(256) as usize);
    if octave < -1075 {
        return 0.0;
    }
    let bits = |octave: i64| (octave + 1023) as u64 * (1 << 52) + BOUNDS[k];
    if octave >= -1022 {
        return f64::from_bits(bits(octave));
    }
    // A subnormal number: the fraction loses its lowest digits, which rounds down.
    let whole = BOUNDS[k] | 1 << 52;
    f64::from_bits(whole >> (-1022 - octave))
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    /// A natural number in binary digits, lowest first, with the operations that the exact
    /// definition of a bucket needs.
    #[derive(Clone, PartialEq, Eq)]
    struct Natural(Vec<u32>);

    impl Natural {
        fn square(&self) -> Self {
            let mut out = vec![0_u32; 2 * self.0.len()];
            for (i, &a) in self.0.iter().enumerate() {
                let mut carry = 0_u64;
                for (j, &b) in self.0.iter().enumerate() {
                    let sum = u64::from(out[i + j]) + u64::from(a) * u64::from(b) + carry;
                    out[i + j] = sum as u32;
                    carry = sum >> 32;
                }
                out[i + self.0.len()] = carry as u32;
            }
            Self(out)
        }

        /// Returns whether the number is at most 2^n.
        fn at_most_two_to(&self, n: u32) -> bool {
            let digits: Vec<u32> = (0..self.0.len() as u32 * 32)
                .filter(|i| self.0[*i as usize / 32] >> (i % 32) & 1 == 1)
                .collect();
            match digits.as_slice() {
                [] => true,
                [.., top] if *top < n => true,
                all => all == [n],
            }
        }
    }

    /// Returns whether x is at most 2^(k/256), computed in integers: x^256 <= 2^k. The number x is
    /// from 1 to below 2 and given by its fraction.
    fn is_at_most(fraction: u64, k: u32) -> bool {
        let whole = fraction | 1 << 52;
        let x = Natural(vec![whole as u32, (whole >> 32) as u32]);
        let power = (0..8).fold(x, |x, _| x.square());
        power.at_most_two_to(52 * 256 + k)
    }

    #[test]
    fn every_bound_is_the_largest_number_that_is_not_above_the_root() {
        for k in 0..256 {
            let bound = BOUNDS[k as usize];
            assert!(is_at_most(bound, k), "{k}");
            assert!(!is_at_most(bound + 1, k), "{k}");
        }
        assert_eq!(BOUNDS[256], FRACTION);
    }

    /// As the bounds are right, a number is in bucket `i` if it is at most bound `i` and above the
    /// bound before it.
    #[test]
    fn the_bucket_is_right_at_every_bound_of_every_schema_and_beside_it() {
        for schema in COARSEST..=FINEST {
            let halvings = (FINEST - schema) as u32;
            let octave = 1.max(256 >> halvings);
            let (lowest, highest) = (of(f64::from_bits(1), schema), of(f64::MAX, schema));
            assert_eq!(of(f64::INFINITY, schema), highest + 1);
            assert_eq!(highest, coarser(1024 * 256, halvings));
            let edges = (lowest..lowest + 60 * octave)
                .chain(-2 * octave..=2 * octave)
                .chain(highest - 2 * octave..=highest);
            for i in edges {
                let bound = upper(i, schema);
                let of = |value| of(value, schema);
                let exact = bound.to_bits() & FRACTION == 0;
                if bound > 0.0 && upper(i - 1, schema) < bound {
                    assert_eq!(of(bound), i, "at {bound:e}, schema {schema}");
                    let below = bound.next_down();
                    if below > upper(i - 1, schema) {
                        assert_eq!(of(below), i, "below {bound:e}, schema {schema}");
                    } else if below > 0.0 {
                        assert!(of(below) < i, "below {bound:e}, schema {schema}");
                    }
                }
                assert!(of(bound.next_up()) > i, "above {bound:e}, schema {schema}");
                if schema <= 0 && bound >= f64::MIN_POSITIVE && i != highest {
                    assert!(exact, "{bound:e} is a power of two");
                }
            }
        }
        for (value, schema, bucket) in [(1.0, 0, 0), (2.0, 0, 1), (1.0, 8, 0), (4.0, -1, 1)] {
            assert_eq!(of(value, schema), bucket);
        }
        assert_eq!(of(4.0_f64.next_up(), -1), 2);
    }

    #[test]
    fn subnormal_numbers_have_buckets_of_their_own() {
        for exponent in 0..52 {
            let (power, octave) = (f64::from_bits(1 << exponent), exponent - 1074);
            for schema in COARSEST..=FINEST {
                let bucket = coarser(octave << 8, (FINEST - schema) as u32);
                assert_eq!(of(power, schema), bucket, "{power:e}, schema {schema}");
            }
            assert_eq!(upper(octave, 0), power);
            assert_eq!(of(power.next_up(), 0), octave + 1, "above {power:e}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_place_of_a_number_is_its_index(bits: u64, around in -300_i32..300, schema in COARSEST..=FINEST, zero in 0..MAX_BITS) {
            let halvings = (FINEST - schema) as u32;
            let zero = f64::from_bits(zero);
            let bound = upper(around, schema);
            let near = [bound.next_down(), bound, bound.next_up(), -bound];
            for value in near.into_iter().chain([f64::from_bits(bits)]) {
                for zero in [0.0, 1e-9, zero] {
                    let places = Places::new(halvings, zero);
                    let place = places.find(value.to_bits());
                    let usual = value.is_normal() && value.abs() > zero && value.abs() < 1e303;
                    proptest::prop_assert!(place.is_some() || !usual, "{value:e}");
                    let Some(place) = place else { continue };
                    proptest::prop_assert!(value.is_normal() && value.abs() > zero, "{value:e}");
                    proptest::prop_assert_eq!(place & places.sign() != 0, value < 0.0);
                    let index = (place & !places.sign()) as i32 - places.origin();
                    proptest::prop_assert_eq!(index, of(value.abs(), schema), "{:e}", value);
                }
            }
        }

        #[test]
        fn a_number_is_at_most_its_bound_and_above_the_one_below(bits in 1..MAX_BITS, schema in COARSEST..=FINEST) {
            let value = f64::from_bits(bits);
            let i = of(value, schema);
            proptest::prop_assert!(value <= upper(i, schema));
            proptest::prop_assert!(value > upper(i - 1, schema));
        }
    }
}
