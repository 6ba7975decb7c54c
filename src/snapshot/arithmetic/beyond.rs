//! The counts of a process beyond a baseline, which another process has folded.

use std::collections::HashMap;
use std::time::SystemTime;

use crate::snapshot::{Family, GaugeMode, Values};

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
        match (&mut rest.values, &baseline.values) {
            // One that was removed, and set again, is still in the baseline.
            (Values::Gauge(rest), Values::Gauge(old)) if self.meta.mode == GaugeMode::Sum => {
                let index: HashMap<_, usize> = baseline.texts.iter().zip(0..).collect();
                for (value, text) in rest.values.iter_mut().zip(self.texts.iter()) {
                    *value -= index.get(text).map_or(0.0, |at| old.values[*at]);
                }
            }
            // Intervals have no quantiles. Here the sketch of what came later is known: a window
            // has recent observations only, and folding has dropped those of the baseline.
            (Values::Summary(objectives, rest), old) => {
                objectives.interval = false;
                if let (None, Values::Summary(_, old)) = (objectives.max_age, old) {
                    let earlier = self.ended(baseline, 0).earlier;
                    for (value, at) in rest.iter_mut().zip(earlier) {
                        let old = at.map(|at| &old[at].sketch);
                        if let Some(old) = old.filter(|old| old.n() <= value.sketch.n()) {
                            value.sketch = value.sketch.beyond(old);
                        }
                    }
                }
            }
            _ => {}
        }
        rest
    }
}
