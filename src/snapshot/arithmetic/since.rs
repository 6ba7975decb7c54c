//! Subtraction: what changed since an earlier snapshot.

use std::cell::LazyCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::snapshot::{Family, Kind, Snapshot, Values, labels, millis};

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
        if self.meta.kind == Kind::GaugeHistogram {
            return;
        }
        if self.meta.constant != before.meta.constant {
            self.inline_constant_labels();
            let mut before = before.clone();
            before.inline_constant_labels();
            return self.subtract(&before, taken);
        }
        // Most series have the same index in both snapshots.
        let same = self.texts.same(&before.texts);
        let is_same = |i| same.get(i) == Some(&true);
        self.subtract_moved(before, is_same);
        let indices = LazyCell::new(|| before.indices());
        let mut others = Vec::new();
        for i in 0..self.len() {
            let at = if is_same(i) {
                Some(i)
            } else {
                let text = self.texts.get(i);
                indices.get(&*labels::ordered(text)).copied()
            };
            match at {
                Some(at) => self.subtract_series(i, before, at),
                None => others.push((i, self.texts.created(i))),
            }
        }
        self.texts.raise_created(taken);
        for (i, created) in others {
            self.texts.set_created(i, created);
        }
    }

    /// Subtracts series `at` of `before` from series `i`. A series that was restarted since keeps
    /// its whole value.
    fn subtract_series(&mut self, i: usize, before: &Self, at: usize) {
        match (&mut self.values, &before.values) {
            (Values::Counter(now), Values::Counter(before)) => {
                now.set(i, now.get(i).since(before.get(at)));
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
                        None => return,
                        left => left,
                    },
                    _ => None,
                };
                if now.iter().zip(before).all(|(now, before)| now >= before) {
                    if let (Some(now), Some(left)) = (&mut native, left) {
                        **now = left;
                    }
                    for (now, before) in now.iter_mut().zip(before) {
                        *now -= before;
                    }
                    let count = now.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
                    sums[i] = sum_since(sums[i], sums_before[at], count);
                }
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
                if let Some((count, sum)) = before.filter(|(count, _)| *count <= now.count) {
                    now.count -= count;
                    now.sum = sum_since(now.sum, sum, now.count);
                }
            }
            (Values::PageSummary(now), before) => {
                let now = &mut now[i];
                now.quantiles.clear();
                match (now.count, before.observed(at)) {
                    (Some(n), Some((count, sum))) if n >= count => {
                        now.count = Some(n - count);
                        now.sum = sum_since(now.sum, sum, n - count);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Subtracts counts that moved to the overflow series.
    ///
    /// When a series is retired, its earlier counts move to the overflow series, which is not an
    /// increase. A family merged from families with different constant labels has one overflow
    /// series for each of them.
    ///
    /// `is_same` returns whether a series has the same index in both families.
    fn subtract_moved(&mut self, before: &Self, is_same: impl Fn(usize) -> bool) {
        const OVERFLOW: &str = "__overflow__";
        let others: Vec<_> = (0..before.len()).filter(|i| !is_same(*i)).collect();
        if others.is_empty() {
            return;
        }
        fn set(text: &str) -> BTreeMap<String, String> {
            let pairs = labels::pairs(text);
            pairs
                .map(|(name, value)| (name.to_owned(), value.into_owned()))
                .collect()
        }
        let texts = (0..).zip(self.texts.iter());
        let mut overflows: Vec<_> = texts
            .filter(|(_, text)| text.contains(OVERFLOW))
            .map(|(i, text)| (i, set(text)))
            .collect();
        if overflows.is_empty() {
            return;
        }
        // Overflow series with the most `__overflow__` values come first, because most counts move
        // there. Among these, the series with the most labels comes first, because it is the most
        // specific.
        let moved = |set: &BTreeMap<_, _>| set.values().filter(|value| *value == OVERFLOW).count();
        overflows.sort_by_key(|(_, set)| Reverse((moved(set), set.len())));
        let now = self.indices();
        for i in others {
            let text = before.texts.get(i);
            if now.contains_key(&*labels::ordered(text)) {
                continue;
            }
            let set = set(text);
            // If each series brings label names of its own, the overflow series has a label
            // `overflow` instead.
            let takes = |overflow: &BTreeMap<String, String>| {
                overflow.iter().all(|(name, value)| {
                    set.get(name).map_or(name == "overflow", |own| own == value)
                        || value == OVERFLOW && set.contains_key(name)
                })
            };
            if let Some((at, _)) = overflows.iter().find(|(_, set)| takes(set)) {
                self.subtract_series(*at, before, i);
            }
        }
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
