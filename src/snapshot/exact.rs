//! Sums of floats that do not depend on the order of their terms.
//!
//! A total has many terms: the cells of threads, the values of processes. A fold moves a term from
//! one group to another. With rounded additions, that could lower a sum in its last bit, and
//! Prometheus takes a lower sum for a restart. An [`ExactSum`] does not round before the end. So
//! the result depends only on the terms, and it never goes down while the terms only grow.
//!
//! Source: J. R. Shewchuk, "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric
//! Predicates", 1997 (the addition of a term to an expansion).

/// A sum of floats that is not rounded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ExactSum {
    /// Floats that do not overlap, in ascending order of magnitude. Their sum is the sum of all
    /// finite terms.
    parts: Vec<f64>,
    /// The infinity among the terms, if there is one: the first, if there are both. NaN only if
    /// every other term is finite.
    special: Option<f64>,
}

impl ExactSum {
    /// Adds a term.
    pub(crate) fn add(&mut self, term: f64) {
        if !term.is_finite() {
            return self.add_special(term);
        }
        let mut carried = term;
        let mut len = 0;
        for i in 0..self.parts.len() {
            let part = self.parts[i];
            let (large, small) = if carried.abs() < part.abs() {
                (part, carried)
            } else {
                (carried, part)
            };
            let sum = large + small;
            if !sum.is_finite() {
                // Beyond the range of floats. It stays there, so that the sum does not go down.
                return self.add_special(sum);
            }
            let rest = small - (sum - large);
            if rest != 0.0 {
                self.parts[len] = rest;
                len += 1;
            }
            carried = sum;
        }
        self.parts.truncate(len);
        if carried != 0.0 {
            self.parts.push(carried);
        }
    }

    fn add_special(&mut self, term: f64) {
        if self.special.is_none_or(f64::is_nan) {
            self.special = Some(term);
        }
    }

    /// Returns the sum, rounded once.
    pub(crate) fn value(&self) -> f64 {
        if let Some(special) = self.special {
            return special;
        }
        let mut rest = self.parts.iter().rev().copied();
        let mut sum = rest.next().unwrap_or(0.0);
        while let Some(part) = rest.next() {
            let before = sum;
            sum = before + part;
            let lost = part - (sum - before);
            if lost != 0.0 {
                // `sum` is the nearest float to `before + part`. If it is exactly between two
                // floats, the smaller parts decide.
                if rest.next().is_some_and(|next| (next < 0.0) == (lost < 0.0)) {
                    let doubled = lost * 2.0;
                    let up = sum + doubled;
                    if up - sum == doubled {
                        sum = up;
                    }
                }
                break;
            }
        }
        sum
    }

    /// Returns the sum of these terms.
    pub(crate) fn of(terms: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = Self::default();
        terms.into_iter().for_each(|term| sum.add(term));
        sum
    }

    /// Returns the sum in its normal form, in which stores have it: the sum of its terms has the
    /// same terms again.
    pub(crate) fn normal(&self) -> Self {
        let mut normal = self.clone();
        if normal.special.is_some() {
            normal.parts.clear();
            return normal;
        }
        // Each pass moves digits from small parts to large ones, until none has room.
        loop {
            let again = Self::of(normal.terms());
            if again == normal || again.special.is_some() {
                return again;
            }
            normal = again;
        }
    }

    /// Returns floats whose exact sum this is, so that it can be stored and continued.
    pub(crate) fn terms(&self) -> impl Iterator<Item = f64> {
        self.parts.iter().copied().chain(self.special)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(terms: &[f64]) -> f64 {
        ExactSum::of(terms.iter().copied()).value()
    }

    #[test]
    fn the_result_is_rounded_once() {
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[1e16, 1.0, 1e-16]), 10_000_000_000_000_002.0);
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[f64::NAN, f64::INFINITY]), f64::INFINITY);
        assert!(sum(&[f64::NAN, 1.0]).is_nan());
    }

    proptest! {
        #[test]
        fn neither_order_nor_grouping_matters(
            mut terms in prop::collection::vec((0_u64..1 << 53, -80_i32..80), 1..12),
            cut in 0_usize..12,
        ) {
            let float = |&(digits, power): &(u64, i32)| digits as f64 * 2_f64.powi(power);
            let floats: Vec<_> = terms.iter().map(float).collect();
            let (first, second) = floats.split_at(cut.min(floats.len()));
            let mut folded = ExactSum::default();
            second.iter().for_each(|term| folded.add(*term));
            let normal = folded.normal();
            let mut stored = ExactSum::of(normal.terms());
            prop_assert_eq!(&stored, &normal);
            first.iter().for_each(|term| stored.add(*term));
            terms.sort_unstable();
            let sorted: Vec<_> = terms.iter().map(float).collect();
            prop_assert_eq!(stored.value(), sum(&sorted));
        }

        #[test]
        fn a_larger_term_never_makes_a_lower_sum(
            terms in prop::collection::vec(0.0_f64..1e20, 1..8),
            more in 0.0_f64..1e5,
        ) {
            let mut larger = terms.clone();
            larger[0] += more;
            prop_assert!(sum(&larger) >= sum(&terms));
        }
    }
}
