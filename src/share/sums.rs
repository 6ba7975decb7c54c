//! The exact sums of the families in a snapshot.
//!
//! A reader adds up the totals of dead writers and the values of live ones, and a fold moves a
//! value from the second group to the first. The sums are [exact](ExactSum), so the result stays
//! the same.

use std::collections::BTreeMap;

use crate::snapshot::ExactSum;

/// The exact sums of the floats in the families of a snapshot. Families without floats have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums(BTreeMap<String, Vec<ExactSum>>);

impl Sums {
    /// Returns the sums of a family, in the order of its series. Empty if it has none.
    pub(crate) fn of(&self, family: &str) -> &[ExactSum] {
        self.0.get(family).map_or(&[], Vec::as_slice)
    }

    /// Sets the sums of a family, in the order of its series.
    pub(crate) fn set(&mut self, family: &str, sums: Vec<ExactSum>) {
        if sums.iter().any(|sum| *sum != ExactSum::default()) {
            self.0.insert(family.to_owned(), sums);
        }
    }
}
