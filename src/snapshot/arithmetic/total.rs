//! The total of some series of one family.

use crate::snapshot::sketch::Sketch;
use crate::snapshot::{Family, Quantiles, Values};

use super::join_sums;

/// The most summaries whose sketches are merged. A total of more has no quantiles, because merging
/// them takes too long.
const SKETCHES: usize = 64;

impl Family {
    /// Adds up these series, into a family of one series without labels, or of none. Gauges are
    /// combined by the rule of their family.
    pub(crate) fn total(&self, series: impl Iterator<Item = usize> + Clone) -> Self {
        let mut total = Self::new(self.meta.clone(), self.values.to_empty());
        let mut rest = series.clone();
        let Some(first) = rest.next() else {
            return total;
        };
        total.texts.push("", 0);
        match (&mut total.values, &self.values) {
            (Values::Summary { values: total, .. }, Values::Summary { values, .. }) => {
                let mut all = Quantiles::default();
                for i in series.clone() {
                    all.count = all.count.wrapping_add(values[i].count);
                    all.sum = join_sums(all.sum, values[i].sum);
                }
                let sketches: Vec<_> = series
                    .take(SKETCHES + 1)
                    .map(|i| &values[i].sketch)
                    .collect();
                if sketches.len() <= SKETCHES {
                    all.sketch = Sketch::merge(&sketches);
                }
                total.push(all);
            }
            // Pages do not have what it takes to add up quantiles.
            (Values::PageSummary(_), _) => total.values.push(self.value(first)),
            _ => {
                total.values.push(self.value(first));
                rest.for_each(|i| total.add_series(0, self, i));
            }
        }
        total
    }
}
