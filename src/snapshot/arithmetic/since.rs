//! Subtraction: what changed since an earlier snapshot.

use std::cell::LazyCell;
use std::time::SystemTime;

use crate::snapshot::{Family, Kind, Snapshot, Values, labels, millis};

use super::ended::Ended;
use super::sum_since;

impl Snapshot {
    /// Returns what changed since `earlier`: counters and histograms become differences, while
    /// gauges and gauge histograms keep their current values.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = registry.counter("jobs_total", "Jobs done.")?;
    /// jobs.add(5);
    /// let before = registry.snapshot();
    /// jobs.add(2);
    /// assert_eq!(registry.snapshot().since(&before).get("jobs_total", &[]), Some(2.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// A summary becomes the difference of its counts and sums, without quantiles. A series that
    /// `earlier` does not have counts from zero, and so does a series that was restarted since.
    /// The total that a retired series had in `earlier` is subtracted from the overflow series,
    /// where it is now. If both snapshots are of one registry, and no more than 4 096 series of a
    /// family were removed in between, an interval is exact: it has what was counted between them.
    /// Nothing is reset, so any number of readers can each keep an earlier snapshot of their own.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut interval = self.clone();
        for family in &mut interval.families {
            family.subtract_earlier(earlier.family(family.name()), earlier.taken);
        }
        interval
    }
}

impl Family {
    /// Subtracts the same family of a snapshot that was taken at `taken`. If there was none, or if
    /// it was another one of that name, everything counts from zero.
    pub(crate) fn subtract_earlier(&mut self, before: Option<&Self>, taken: SystemTime) {
        if let Some(before) = before.filter(|before| before.is_subtractable_from(self)) {
            self.subtract(before, millis(taken));
        }
    }

    fn subtract(&mut self, before: &Self, taken: u64) {
        self.exact.clear();
        if self.meta.kind == Kind::GaugeHistogram {
            return;
        }
        if self.meta.constant != before.meta.constant {
            self.inline_constant_labels();
            let mut before = before.clone();
            before.inline_constant_labels();
            return self.subtract(&before, taken);
        }
        let ended = match &self.values {
            Values::Gauge(_) => Ended::default(),
            _ => self.ended(before, taken),
        };
        // Most series have the same index in both snapshots.
        let same = self.texts.same(&before.texts);
        let is_same = |i| same.get(i) == Some(&true);
        let indices = LazyCell::new(|| before.indices());
        let mut others = Vec::new();
        for i in 0..self.len() {
            let at = if is_same(i) {
                Some(i)
            } else {
                let text = self.texts.get(i);
                indices.get(&*labels::ordered(text)).copied()
            };
            let at = at.filter(|at| !ended.has(*at));
            match (ended.moved_to(i), at) {
                (Some(total), _) => _ = self.subtract_series(i, total, 0),
                (None, Some(at)) => _ = self.subtract_series(i, before, at),
                (None, None) => {}
            }
            if at.is_none() {
                others.push((i, self.texts.created(i)));
            }
        }
        self.texts.raise_created(taken);
        for (i, created) in others {
            self.texts.set_created(i, created);
        }
    }

    /// Subtracts series `at` of `before` from series `i`. Returns `false` for a series that went
    /// down, which was restarted and keeps its whole value.
    pub(super) fn subtract_series(&mut self, i: usize, before: &Self, at: usize) -> bool {
        match (&mut self.values, &before.values) {
            (Values::Counter(now), Values::Counter(before)) => {
                let Some(increase) = now.get(i).since(before.get(at)) else {
                    return false;
                };
                now.set(i, increase);
            }
            (
                Values::Histogram {
                    bounds,
                    counts: now,
                    sums,
                    natives,
                },
                Values::Histogram {
                    counts: before,
                    sums: sums_before,
                    natives: natives_before,
                    ..
                },
            ) => {
                let n = bounds.len() + 1;
                let (now, before) = (&mut now[i * n..][..n], &before[at * n..][..n]);
                let mut native = natives.as_mut().map(|natives| natives.get_mut(i));
                let left = match (&native, natives_before) {
                    (Some(now), Some(before)) => match now.without(before.get(at)) {
                        None => return false,
                        left => left,
                    },
                    _ => None,
                };
                if now.iter().zip(before).any(|(now, before)| now < before) {
                    return false;
                }
                if let (Some(now), Some(left)) = (&mut native, left) {
                    **now = left;
                }
                for (now, before) in now.iter_mut().zip(before) {
                    *now -= before;
                }
                let count = now.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
                sums[i] = sum_since(sums[i], sums_before[at], count);
            }
            (
                Values::Summary {
                    values: now,
                    interval,
                    ..
                },
                before,
            ) => {
                *interval = true;
                let now = &mut now[i];
                let before = before.observed(at);
                let Some((count, sum)) = before.filter(|(count, _)| *count <= now.count) else {
                    return false;
                };
                now.count -= count;
                now.sum = sum_since(now.sum, sum, now.count);
            }
            (Values::PageSummary(now), before) => {
                let now = &mut now[i];
                now.quantiles.clear();
                match (now.count, before.observed(at)) {
                    (Some(n), Some((count, sum))) if n >= count => {
                        now.count = Some(n - count);
                        now.sum = sum_since(now.sum, sum, n - count);
                    }
                    _ => return false,
                }
            }
            _ => {}
        }
        true
    }
}

impl Values {
    /// Returns the count and the sum of series `i` of a summary, if they are known.
    fn observed(&self, i: usize) -> Option<(u64, f64)> {
        match self {
            Values::Summary { values, .. } => Some((values[i].count, values[i].sum)),
            Values::PageSummary(values) => Some((values[i].count?, values[i].sum)),
            _ => None,
        }
    }
}
