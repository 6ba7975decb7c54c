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
        let mut total = self.to_empty();
        let mut rest = series.clone();
        let Some(first) = rest.next() else {
            return total;
        };
        total.texts.push("", 0);
        if let (Values::Summary(_, total), Values::Summary(_, values)) =
            (&mut total.values, &self.values)
        {
            let (mut sum, mut sketches) = (Quantiles::default(), Vec::new());
            for value in series.map(|i| &values[i]) {
                sum.count = sum.count.saturating_add(value.count);
                sum.sum = join_sums(sum.sum, value.sum);
                sketches.push(&value.sketch);
            }
            if sketches.len() <= SKETCHES {
                sum.sketch = Sketch::merge(&sketches);
            }
            total.push(sum);
        } else {
            total.values.push_from(&self.values, first);
            rest.for_each(|i| total.values.add(0, (&self.values, i), self.meta.mode));
        }
        total
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::snapshot::{GaugeMode, Value};
    use crate::{Gauge, Histogram, Registry, Summary};

    #[test]
    fn a_total_is_what_one_series_would_have_had() {
        let registry = Registry::new();
        let peak = Gauge::builder("peak", "")
            .labels(["x"])
            .mode(GaugeMode::Max)
            .register(&registry)
            .unwrap();
        let latency = Histogram::builder("latency", "")
            .labels(["x"])
            .native(2)
            .register(&registry)
            .unwrap();
        let one = Histogram::builder("one", "")
            .native(2)
            .register(&registry)
            .unwrap();
        let sizes = Summary::builder("sizes", "")
            .labels(["x"])
            .register(&registry)
            .unwrap();
        for i in 0..100_u32 {
            let x = ["a", "b", "c"][i as usize % 3];
            peak.with([x]).set(f64::from(i));
            latency.with([x]).observe(f64::from(i));
            one.observe(f64::from(i));
            sizes.with([x]).observe(f64::from(i));
        }
        let now = registry.snapshot();
        let family = |name| now.family(name).unwrap();
        assert_eq!(family("peak").total(0..3).value(0), Value::Gauge(99.0));
        assert_eq!(
            family("peak").total([0, 1].into_iter()).value(0),
            Value::Gauge(99.0)
        );
        assert_eq!(family("peak").total(1..2).value(0), Value::Gauge(97.0));
        assert_eq!(
            family("latency").total(0..3).value(0),
            family("one").value(0)
        );
        let total = family("sizes").total(0..3);
        let Value::Summary(total) = total.value(0) else {
            panic!("{total:?}");
        };
        assert_eq!((total.count(), total.sum()), (100, 4950.0));
        assert_eq!(total.quantile(1.0).unwrap(), Some((99.0, 0.0)));
        assert_eq!(family("sizes").total(0..0).len(), 0);
    }
}
