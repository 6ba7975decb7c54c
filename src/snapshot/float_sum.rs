//! Running sums of floats that are rounded once, when they are read.
//!
//! The total of a series has a term in each of its cells, and a fold moves a term from one cell to
//! another. A scrape has to find a total that is not lower than before:
//!
//! - A scrape adds the terms without rounding, so that the result is the exact sum, rounded once.
//!   Rounding keeps the order of numbers. So the result does not go down unless the exact sum does,
//!   whatever the order and the grouping of the terms.
//! - A fold must not lower the exact sum. If the sum of the two cells is not a float, the fold
//!   stores the next float above ([`sum_up`]).
//!
//! Two floats hold nearly every sum of this kind exactly: they have 106 bits, and the terms of a
//! total are seldom that far apart. They are not enough for all, because next to the middle between
//! two floats any lost bit can decide which of them is the result. So a sum whose second float
//! would have to be rounded goes on as an [`ExactSum`].

use super::exact::ExactSum;

/// A sum of floats that is not rounded before it is read.
#[cfg_attr(loom, allow(unreachable_pub, reason = "models lack the public trait"))]
#[derive(Clone, Debug, Default)]
pub struct FloatSum {
    /// The sum of all terms is exactly `high + low`.
    high: f64,
    /// NaN if `exact` has the sum instead, so that one comparison tells.
    low: f64,
    exact: Option<Box<ExactSum>>,
}

impl From<f64> for FloatSum {
    #[inline]
    fn from(term: f64) -> Self {
        Self {
            high: term,
            low: 0.0,
            exact: None,
        }
    }
}

impl FloatSum {
    /// Adds a term. The sum is never NaN afterwards.
    #[inline(always)]
    pub(crate) fn add(&mut self, term: f64) {
        self.add_all([term]);
    }

    /// Adds terms, with one branch for all of them.
    #[inline(always)]
    pub(crate) fn add_all<const TERMS: usize>(&mut self, terms: [f64; TERMS]) {
        let (mut high, mut low, mut fits) = (self.high, self.low, true);
        for term in terms {
            let (sum, lost) = two_sum(high, term);
            let (lost, rest) = two_sum(low, lost);
            (high, low) = (sum, lost);
            // Not if a number is infinite or NaN, either: `rest` is NaN then.
            fits &= rest == 0.0;
        }
        if fits {
            (self.high, self.low) = (high, low);
        } else {
            self.add_exact(&terms);
        }
    }

    /// Adds terms to a sum that two floats do not hold, or that is not finite.
    #[cold]
    #[inline(never)]
    fn add_exact(&mut self, terms: &[f64]) {
        for &term in terms {
            let now = self.value();
            if !(now.is_finite() && term.is_finite()) {
                *self = Self::from(join_infinities(now, term));
                continue;
            }
            let exact = self.exact.get_or_insert_with(|| {
                let mut exact = ExactSum::default();
                exact.add(self.high);
                exact.add(self.low);
                Box::new(exact)
            });
            exact.add(term);
            self.low = f64::NAN;
        }
    }

    /// Returns the sum, rounded once.
    #[inline]
    pub(crate) fn value(&self) -> f64 {
        match &self.exact {
            None => self.high + self.low,
            Some(exact) => exact.value(),
        }
    }

    /// Returns the lowest float that is not below the sum.
    pub(crate) fn round_up(&self) -> f64 {
        let nearest = self.value();
        let lost = match &self.exact {
            None => two_sum(self.high, self.low).1,
            Some(exact) => {
                let mut lost = (**exact).clone();
                lost.add(-nearest);
                lost.value()
            }
        };
        // Not if the sum is infinite: the rest is then NaN or that infinity.
        if lost > 0.0 && nearest.is_finite() {
            next_up(nearest)
        } else {
            nearest
        }
    }
}

#[cfg(test)]
impl PartialEq<f64> for FloatSum {
    fn eq(&self, value: &f64) -> bool {
        self.value() == *value
    }
}

/// Adds two floats for a fold: returns the lowest float that is not below their sum.
///
/// Sums of which one is infinite or NaN are added as in a [`FloatSum`].
pub(crate) fn sum_up(a: f64, b: f64) -> f64 {
    let mut sum = FloatSum::from(a);
    sum.add(b);
    sum.round_up()
}

/// Returns the sum of two floats, and what rounding took from it. NaN if the sum is not finite.
///
/// Source: D. E. Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem B.
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    let from_a = sum - from_b;
    (sum, (a - from_a) + (b - from_b))
}

/// Adds two floats of which one is not finite. The result is never NaN.
///
/// A sum becomes infinite when finite values overflow, and adding an infinity of the other sign
/// then gives NaN. In that case the result is `a`, or positive infinity if `b` is already NaN.
fn join_infinities(a: f64, b: f64) -> f64 {
    match (a + b, b.is_nan()) {
        (_, true) => f64::INFINITY,
        (sum, _) if sum.is_nan() => a,
        (sum, _) => sum,
    }
}

/// Returns the next float above one that is finite.
// `f64::next_up` needs Rust 1.86.
fn next_up(x: f64) -> f64 {
    let bits = x.to_bits();
    f64::from_bits(match x {
        0.0 => 1,
        0.0.. => bits + 1,
        _ => bits - 1,
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(terms: &[f64]) -> FloatSum {
        let mut sum = FloatSum::default();
        terms.iter().for_each(|term| sum.add(*term));
        sum
    }

    fn exact(terms: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|term| sum.add(*term));
        sum.value()
    }

    #[test]
    fn two_floats_hold_what_is_not_far_apart() {
        let tenths = sum(&[0.1; 10]);
        assert!(tenths.exact.is_none() && tenths == 1.0);
        assert_eq!(sum(&[1e16, 1.0, 1e-15]), 10_000_000_000_000_002.0);
    }

    /// Two floats alone would give these four terms another sum in another order.
    #[test]
    fn the_order_does_not_matter_next_to_a_tie() {
        let (large, tiny) = (2_f64.powi(53), 2_f64.powi(-53));
        let terms = [large, 1.0, tiny, tiny];
        assert!(sum(&terms).exact.is_some());
        assert_eq!(sum(&terms), large + 2.0);
        assert_eq!(sum(&[tiny, tiny, 1.0, large]), large + 2.0);
        assert_eq!(sum(&[terms.as_slice(), &[1.0; 5]].concat()), large + 6.0);
    }

    #[test]
    fn infinities_and_nan_stay_infinite() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let large = [2_f64.powi(53), 1.0, 1e-20];
        for (terms, expected) in [
            (&[inf, 1.0][..], inf),
            (&[1.0, inf, -inf], inf),
            (&[-inf, inf, 1.0], -inf),
            (&[-inf, nan], inf),
            (&[nan, 1.0], inf),
            (&[f64::MAX, f64::MAX, -f64::MAX], inf),
            (&[-f64::MAX, -f64::MAX, 1.0], -inf),
            (&[large[0], large[1], large[2], -inf, 1.0], -inf),
            (&[large[0], large[1], large[2], f64::MAX, f64::MAX], inf),
        ] {
            let sum = sum(terms);
            assert_eq!(
                (sum.value(), sum.round_up()),
                (expected, expected),
                "{terms:?}"
            );
        }
        assert_eq!(sum_up(-inf, inf), -inf);
        assert_eq!(sum_up(1.0, nan), inf);
    }

    #[test]
    fn a_fold_rounds_up_and_only_if_it_has_to() {
        let large = 2_f64.powi(53);
        assert_eq!(sum_up(1.0, 2.0), 3.0);
        assert_eq!(sum_up(0.0, 0.0), 0.0);
        assert_eq!(sum_up(large, 1.0), large + 2.0);
        assert_eq!(sum_up(large, 1e-300), large + 2.0);
        assert_eq!(sum_up(-large, 1e-300), 1.0 - large);
        assert_eq!(sum_up(-1.0, 1.0), 0.0);
        assert_eq!(sum(&[large, 1.0, 1e-20]).round_up(), large + 2.0);
        assert_eq!(sum(&[large, 2.0, 1e-20]).round_up(), large + 4.0);
        assert_eq!(sum(&[large, 2.0, -1e-20]).round_up(), large + 2.0);
        for x in [
            1.0,
            -1.0,
            0.0,
            f64::MIN_POSITIVE,
            -5e-324,
            f64::MAX,
            f64::MIN,
        ] {
            assert_eq!(next_up(x), x.next_up());
        }
    }

    /// Any float, also where terms are far apart or cancel.
    fn float() -> impl Strategy<Value = f64> {
        let scaled = |(digits, power): (i64, i32)| digits as f64 * 2_f64.powi(power);
        prop_oneof![
            (-(1_i64 << 53)..1 << 53, -100_i32..100).prop_map(scaled),
            (-4_i64..4, -60_i32..60).prop_map(scaled),
            prop::sample::select(vec![
                2_f64.powi(53),
                1.0,
                -1.0,
                2_f64.powi(-53),
                2_f64.powi(-54)
            ]),
            (-1e6..1e6).prop_map(|x: f64| x),
        ]
    }

    proptest! {
        #[test]
        fn a_sum_is_the_exact_sum_rounded_once(
            terms in prop::collection::vec(float(), 0..20),
        ) {
            let sum = sum(&terms);
            prop_assert_eq!(sum.value(), exact(&terms));
            let (fours, rest) = terms.as_chunks::<4>();
            let mut together = FloatSum::default();
            fours.iter().for_each(|four| together.add_all(*four));
            rest.iter().for_each(|term| together.add(*term));
            prop_assert_eq!(together.value(), exact(&terms));
            let up = sum.round_up();
            let mut left = terms.clone();
            left.push(-up);
            prop_assert!(exact(&left) <= 0.0, "{up} is below the sum");
            left.push(up);
            left.push(-up.next_down());
            prop_assert!(exact(&left) > 0.0, "{up} is too high");
        }

        #[test]
        fn integers_stay_integers(terms in prop::collection::vec(0_u64..1 << 48, 0..20)) {
            let floats: Vec<_> = terms.iter().map(|n| *n as f64).collect();
            let folded = floats.iter().copied().fold(0.0, sum_up);
            let expected = terms.iter().sum::<u64>() as f64;
            prop_assert_eq!((sum(&floats).value(), folded), (expected, expected));
        }
    }
}
