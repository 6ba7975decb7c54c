//! Arithmetic of snapshots: subtraction gives intervals, merging adds up threads, processes and
//! machines.

mod beyond;
mod constant;
mod ended;
#[cfg(all(test, not(loom), not(miri)))]
mod laws;
mod merge;
mod shape;
mod since;
#[cfg(all(test, reader, not(loom), not(miri)))]
mod tests;
mod total;

use std::collections::HashMap;

use crate::sync::RandomState;

use super::{Family, Text, labels};

pub(super) use since::interval;

impl Family {
    /// Returns the index of each series by its label text, sorted by label name, because two
    /// families may order their labels differently.
    pub(crate) fn indices(&self) -> HashMap<Text, usize, RandomState> {
        let texts = self.texts.iter().map(labels::ordered);
        texts.map(Text::from).zip(0..).collect()
    }
}

/// Returns the amount that `count` observations added to the sum `before`.
///
/// Returns 0 if `count` is 0 and `now` is known. If both sums are infinite with the same sign,
/// their difference is unknown and the result is `now`.
pub(crate) fn sum_since(now: f64, before: f64, count: u64) -> f64 {
    if count == 0 && !now.is_nan() {
        return 0.0;
    }
    join_sums(now, -before)
}

/// Adds two sums. If both are infinite with different signs, returns the first, so that a sum is
/// NaN only if a page did not contain it.
fn join_sums(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if sum.is_nan() && !b.is_nan() { a } else { sum }
}
