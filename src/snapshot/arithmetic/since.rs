//! Subtraction: what changed since an earlier snapshot.

use std::time::SystemTime;

use crate::snapshot::{Family, Kind, Snapshot, Value, Values, millis};

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
        Self {
            families: interval(self.families(), earlier.families(), earlier.taken),
            taken: self.taken,
            pass: self.pass,
        }
    }
}

/// Returns what changed in each family since a snapshot that was taken at `taken`, with the
/// families `before`. Both are in the order of their names.
pub(in crate::snapshot) fn interval<'a>(
    now: impl Iterator<Item = &'a Family>,
    before: impl Iterator<Item = &'a Family>,
    taken: SystemTime,
) -> Vec<Family> {
    let mut before = before.peekable();
    let interval = now.map(|family| {
        let is_lower = |before: &&Family| before.name() < family.name();
        while before.next_if(is_lower).is_some() {}
        let before = before.next_if(|before| before.name() == family.name());
        let mut family = family.clone();
        family.subtract_earlier(before, taken);
        family
    });
    interval.collect()
}

impl Family {
    /// Subtracts the same family of a snapshot that was taken at `taken`. If there was none, or if
    /// it was another one of that name, everything counts from zero.
    pub(crate) fn subtract_earlier(&mut self, before: Option<&Self>, taken: SystemTime) {
        let Some(before) = before.filter(|before| before.is_subtractable_from(self)) else {
            return;
        };
        let taken = millis(taken);
        self.exact.clear();
        if self.meta.kind == Kind::GaugeHistogram {
            return;
        }
        let mut inlined;
        let mut before = before;
        if self.meta.constant != before.meta.constant {
            self.inline_constant_labels();
            inlined = before.clone();
            inlined.inline_constant_labels();
            before = &inlined;
        }
        let ended = self.ended(before, taken);
        let mut others = Vec::new();
        for (i, at) in ended.earlier.iter().enumerate() {
            let total = ended.moved.get(&i).map(|moved| moved.total.value(0));
            if let Some(before) = total.or(at.map(|at| before.value(at))) {
                _ = self.values.subtract(i, before);
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
}

impl Values {
    /// Subtracts an earlier value from that of series `i`. Returns `None` for a series that went
    /// down, which was restarted and keeps its whole value.
    pub(super) fn subtract(&mut self, i: usize, before: Value<'_>) -> Option<()> {
        match (self, before) {
            (Self::Counter(all), Value::Counter(before)) => {
                all.set(i, all.get(i).since(before)?);
            }
            (Self::Histogram(all), Value::Histogram(before)) => {
                let n = before.counts.len();
                let counts = &mut all.counts[i * n..][..n];
                let mut pairs = counts.iter().zip(before.counts);
                if pairs.any(|(now, before)| now < before) {
                    return None;
                }
                if let (Some(natives), Some(before)) = (&mut all.natives, before.native()) {
                    let native = natives.get_mut(i);
                    *native = native.without(before)?;
                }
                for (now, before) in counts.iter_mut().zip(before.counts) {
                    *now -= before;
                }
                let count = counts.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
                all.sums[i] = sum_since(all.sums[i], before.sum(), count);
            }
            (Self::Summary(objectives, all), Value::Summary(before)) => {
                objectives.interval = true;
                let now = &mut all[i];
                now.count = now.count.checked_sub(before.known_count()?)?;
                now.sum = sum_since(now.sum, before.sum(), now.count);
            }
            (Self::PageSummary(all), Value::Summary(before)) => {
                let now = &mut all[i];
                now.quantiles.clear();
                let left = now.count?.checked_sub(before.known_count()?)?;
                now.count = Some(left);
                now.sum = sum_since(now.sum, before.sum(), left);
            }
            _ => {}
        }
        Some(())
    }
}
