//! The counts of a process beyond a baseline, which another process has folded.

use std::collections::HashMap;
use std::time::SystemTime;

use crate::snapshot::{Family, GaugeMode, Quantiles, Values};

impl Family {
    /// Returns what this family has beyond `baseline`, an earlier copy of it whose totals somebody
    /// else has now. Both are [normalized](crate::share::store::normalized).
    ///
    /// ```
    /// use tallies::share::store::normalized;
    /// use tallies::snapshot::{Number, Value};
    ///
    /// let registry = tallies::Registry::new();
    /// let jobs = registry.counter("jobs_total", "Jobs done.")?;
    /// jobs.add(3);
    /// let mut folded = normalized(&registry.snapshot()).swap_remove(0);
    /// jobs.add(2);
    /// let now = normalized(&registry.snapshot()).swap_remove(0);
    /// let rest = now.beyond(&mut folded);
    /// assert_eq!(rest.series().next().unwrap().1, Value::Counter(Number::Int(2)));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Counters, histograms and summaries are differences, as by [`Snapshot::since`], but summaries
    /// have quantiles: a sketch can lose what came before. Of gauges, only those that add up with
    /// the values of ended processes change.
    ///
    /// The baseline follows the series: the total of one that was retired since moves to the
    /// overflow series, where it counts now, and that of one that was removed is dropped. So one
    /// baseline holds for all later copies.
    ///
    /// [`Snapshot::since`]: crate::snapshot::Snapshot::since
    #[must_use]
    pub fn beyond(&self, baseline: &mut Self) -> Self {
        baseline.follow(self);
        let mut rest = self.clone();
        rest.subtract_earlier(Some(baseline), SystemTime::UNIX_EPOCH);
        rest.restore_sketches(self, baseline);
        rest.subtract_sums(baseline);
        rest
    }

    /// Intervals have no quantiles. Here the sketch of what came later is known: a window has
    /// recent observations only, and folding has dropped those of the baseline.
    fn restore_sketches(&mut self, now: &Self, before: &Self) {
        let Values::Summary {
            values, interval, ..
        } = &mut self.values
        else {
            return;
        };
        let Values::Summary {
            values: all,
            max_age,
            ..
        } = &now.values
        else {
            return;
        };
        *interval = false;
        let Values::Summary { values: old, .. } = &before.values else {
            return;
        };
        if max_age.is_some() {
            return;
        }
        let index: HashMap<_, usize> = before.texts.iter().zip(0..).collect();
        for ((value, all), text) in values.iter_mut().zip(all).zip(now.texts.iter()) {
            let old: Option<&Quantiles> = index.get(text).map(|at| &old[*at]);
            if let Some(old) = old.filter(|old| old.sketch.n() <= all.sketch.n()) {
                value.sketch = all.sketch.beyond(&old.sketch);
            }
        }
    }

    fn subtract_sums(&mut self, before: &Self) {
        if self.meta.mode != GaugeMode::Sum {
            return;
        }
        let (Values::Gauge(values), Values::Gauge(old)) = (&mut self.values, &before.values) else {
            return;
        };
        let index: HashMap<_, usize> = before.texts.iter().zip(0..).collect();
        for (value, text) in values.iter_mut().zip(self.texts.iter()) {
            if let Some(at) = index.get(text) {
                *value -= old[*at];
            }
        }
    }
}
