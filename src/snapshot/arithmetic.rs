//! Snapshots subtract (intervals) and add up (threads, processes, machines).

use std::cell::LazyCell;
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use crate::error::Error;

use super::sketch::Sketch;
use super::{Family, GaugeMerge, Kind, Snapshot, Values, labels};

impl Snapshot {
    /// What happened since `earlier`: counters and histograms are differences, gauges and gauge
    /// histograms are what they are now.
    ///
    /// A series that was not there counts from nothing, and so does one that has started over since. Nothing is reset:
    /// any number of readers can each keep an earlier snapshot.
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
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut interval = self.clone();
        for family in &mut interval.families {
            if let Some(before) = earlier.family(family.name())
                && before.can_be_taken_from(family)
            {
                family.subtract(before, super::millis(earlier.taken));
            }
        }
        interval
    }

    /// Adds another process's (or registry's) snapshot to this one: series of the same labels add up, gauges by their
    /// [`GaugeMerge`], all others are taken over.
    ///
    /// # Errors
    ///
    /// A family that is of another kind, or has other buckets, objectives or another window there; a summary that was
    /// [read](crate::encode::read) from a page. Nothing is changed then.
    ///
    /// ```
    /// let (one, two) = (tallies::Registry::new(), tallies::Registry::new());
    /// one.counter("jobs_total", "Jobs done.")?.add(2);
    /// two.counter("jobs_total", "Jobs done.")?.add(3);
    /// let mut both = one.snapshot();
    /// both.merge(&two.snapshot())?;
    /// assert_eq!(both.get("jobs_total", &[]), Some(5.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        for theirs in &other.families {
            if let Some(ours) = self.family(theirs.name()) {
                ours.takes(theirs)?;
            }
        }
        for theirs in &other.families {
            match self
                .families
                .binary_search_by(|ours| ours.name().cmp(theirs.name()))
            {
                Ok(at) => self.families[at].add(theirs),
                Err(at) => self.families.insert(at, theirs.clone()),
            }
        }
        self.taken = self.taken.max(other.taken);
        Ok(())
    }
}

impl Family {
    /// Whether the series of `theirs`, a family of the same name, can be added to these.
    pub(super) fn takes(&self, theirs: &Self) -> Result<(), Error> {
        if self.same_kind(theirs) && (self.is_shapeless() || theirs.is_shapeless()) {
            return Ok(());
        }
        let is_written = |family: &Self| matches!(family.values, Values::Written(_));
        if self.meta.kind == theirs.meta.kind && (is_written(self) || is_written(theirs)) {
            return Err(Error::merge_written(theirs.name()));
        }
        if !self.same_shape(theirs) {
            return Err(Error::merge(theirs.name(), self.kind(), theirs.kind()));
        }
        Ok(())
    }

    pub(crate) fn same_shape(&self, other: &Self) -> bool {
        self.same_kind(other) && self.values.same_shape(&other.values)
    }

    /// Whether they are of one kind, as far as pages in text tell kinds apart.
    fn same_kind(&self, other: &Self) -> bool {
        self.meta.kind.as_text() == other.meta.kind.as_text()
    }

    /// Whether it was read from a page, which does not say the buckets and quantiles of a family without series.
    fn is_shapeless(&self) -> bool {
        let unsaid = match &self.values {
            Values::Histogram {
                bounds, natives, ..
            } => bounds.is_empty() && natives.is_none(),
            values => matches!(values, Values::Written(_)),
        };
        unsaid && self.is_empty()
    }

    /// Whether `now` has what this had before: of summaries count and sum are enough.
    fn can_be_taken_from(&self, now: &Self) -> bool {
        self.same_kind(now)
            && (self.meta.kind == Kind::Summary || self.values.same_shape(&now.values))
    }

    /// Adds the series of `other`, which has the same shape.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.meta.constant != other.meta.constant {
            self.own_constants();
            let mut theirs = other.clone();
            theirs.own_constants();
            return self.add(&theirs);
        }
        self.source = (0, 0);
        self.meta.utf8 |= other.meta.utf8;
        if self.is_shapeless() {
            self.values = other.values.emptied();
        }
        // A page in text calls an info a gauge.
        if self.meta.kind == Kind::Gauge {
            (self.meta.kind, self.meta.merge) = match other.meta.kind {
                Kind::Gauge => (Kind::Gauge, self.meta.merge),
                kind => (kind, other.meta.merge),
            };
        }
        let merge = self.meta.merge;
        let mut places = self.places();
        for i in 0..other.len() {
            match places.entry(labels::ordered(other.texts.get(i)).into_owned()) {
                Entry::Vacant(place) => {
                    place.insert(self.len());
                    self.push_from(other, i);
                }
                Entry::Occupied(place) => {
                    let at = *place.get();
                    // What they count together, they count since the first of them; unknown where one is.
                    let created = self.texts.created(at).min(other.texts.created(i));
                    self.texts.set_created(at, created);
                    match (&mut self.values, &other.values) {
                        (Values::Counter(ours), Values::Counter(theirs)) => {
                            ours.set(at, ours.get(at).plus(theirs.get(i)));
                        }
                        (Values::Gauge(ours), Values::Gauge(theirs)) => {
                            ours[at] = match merge {
                                GaugeMerge::Sum => ours[at] + theirs[i],
                                GaugeMerge::Min => ours[at].min(theirs[i]),
                                GaugeMerge::Max => ours[at].max(theirs[i]),
                                GaugeMerge::Last => theirs[i],
                            };
                        }
                        (
                            Values::Histogram {
                                bounds,
                                counts: ours,
                                sums: our_sums,
                                natives: our_natives,
                            },
                            Values::Histogram {
                                counts: theirs,
                                sums: their_sums,
                                natives: their_natives,
                                ..
                            },
                        ) => {
                            let n = bounds.len() + 1;
                            for (ours, theirs) in
                                ours[at * n..][..n].iter_mut().zip(&theirs[i * n..])
                            {
                                *ours = ours.wrapping_add(*theirs);
                            }
                            our_sums[at] = join_sums(our_sums[at], their_sums[i]);
                            if let (Some(ours), Some(theirs)) = (our_natives, their_natives) {
                                ours.get_mut(at).merge(theirs.get(i));
                            }
                        }
                        (
                            Values::Summary { values: ours, .. },
                            Values::Summary { values: theirs, .. },
                        ) => {
                            let (ours, theirs) = (&mut ours[at], &theirs[i]);
                            ours.count = ours.count.wrapping_add(theirs.count);
                            ours.sum = join_sums(ours.sum, theirs.sum);
                            ours.sketch = Sketch::merge(&[&ours.sketch, &theirs.sketch]);
                        }
                        _ => debug_assert!(false, "the caller has compared the shapes"),
                    }
                }
            }
        }
    }

    fn subtract(&mut self, before: &Self, taken: u64) {
        if self.meta.kind == Kind::GaugeHistogram {
            return;
        }
        if self.meta.constant != before.meta.constant {
            self.own_constants();
            let mut before = before.clone();
            before.own_constants();
            return self.subtract(&before, taken);
        }
        let places = LazyCell::new(|| before.places());
        self.take_out_moved(before);
        for i in 0..self.len() {
            // Most series are where they were.
            let text = self.texts.get(i);
            let at = if i < before.len() && before.texts.get(i) == text {
                Some(i)
            } else {
                places.get(&*labels::ordered(text)).copied()
            };
            if let Some(at) = at {
                self.take_away(i, before, at);
                let created = self.texts.created(i).max(taken);
                self.texts.set_created(i, created);
            }
        }
    }

    /// Takes away from series `i` what series `at` of `before` had; one that has started over since keeps all.
    fn take_away(&mut self, i: usize, before: &Self, at: usize) {
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
                    let count = now.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n));
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
                if let Some((count, sum)) = before.observed(at)
                    && now.count >= count
                {
                    now.count -= count;
                    now.sum = sum_since(now.sum, sum, now.count);
                }
            }
            (Values::Written(now), before) => {
                let now = &mut now[i];
                now.quantiles.clear();
                if let (Some(n), Some((count, sum))) = (now.count, before.observed(at))
                    && n >= count
                {
                    now.count = Some(n - count);
                    now.sum = sum_since(now.sum, sum, n - count);
                }
            }
            _ => {}
        }
    }

    /// What a series that has ended since had counted before moved to the overflow series: that is no gain. Of families with
    /// constant labels that were merged each has its own.
    fn take_out_moved(&mut self, before: &Self) {
        const OVERFLOW: &str = "__overflow__";
        let sets = |family: &Self, i| -> BTreeMap<String, String> {
            let pairs = labels::pairs(family.texts.get(i));
            pairs
                .map(|(name, value)| (name.to_owned(), value.into_owned()))
                .collect()
        };
        let mut overflows: Vec<_> = (0..self.len())
            .filter(|i| self.texts.get(*i).contains(OVERFLOW))
            .map(|i| (i, sets(self, i)))
            .collect();
        if overflows.is_empty() {
            return;
        }
        // First those where most has moved to; of these the one that says the most of what it takes.
        let moved = |set: &BTreeMap<_, _>| set.values().filter(|value| *value == OVERFLOW).count();
        overflows.sort_by_key(|(_, set)| Reverse((moved(set), set.len())));
        let now = self.places();
        let gone: Vec<_> = (0..before.len())
            .filter(|i| !now.contains_key(&*labels::ordered(before.texts.get(*i))))
            .collect();
        for i in gone {
            let set = sets(before, i);
            // Where every series brings its own names, the overflow series has one that says so.
            let takes = |overflow: &BTreeMap<String, String>| {
                overflow.iter().all(|(name, value)| {
                    set.get(name).map_or(name == "overflow", |own| own == value)
                        || value == OVERFLOW && set.contains_key(name)
                })
            };
            if let Some((at, _)) = overflows.iter().find(|(_, set)| takes(set)) {
                self.take_away(*at, before, i);
            }
        }
    }

    /// Where each series is, by its labels in the order of their names: families may differ in theirs.
    fn places(&self) -> HashMap<String, usize> {
        (0..self.len())
            .map(|i| (labels::ordered(self.texts.get(i)).into_owned(), i))
            .collect()
    }

    /// Where a series has a label that is also a constant one, its own value stands; what then is the same series adds up.
    pub(crate) fn let_samples_win(&mut self) {
        let constant = self.meta.constant.clone();
        let names: Vec<_> = labels::pairs(&constant).map(|(name, _)| name).collect();
        let wins = |text| labels::pairs(text).any(|(name, _)| names.contains(&name));
        if !(0..self.len()).any(|i| wins(self.texts.get(i))) {
            return;
        }
        let mut all = std::mem::replace(self, Self::new(self.meta.clone(), self.values.emptied()));
        self.meta.constant.clear();
        let texts = std::mem::take(&mut all.texts);
        for i in 0..all.len() {
            let own = texts.get(i);
            let set: BTreeMap<_, _> = labels::pairs(&constant).chain(labels::pairs(own)).collect();
            let set: Vec<_> = set.iter().map(|(name, value)| (*name, &**value)).collect();
            all.texts.push(&labels::text(&set), texts.created(i));
        }
        all.meta.constant.clear();
        self.add(&all);
    }

    /// Makes the constant labels part of every series, so that families with different ones can stand together.
    fn own_constants(&mut self) {
        let constant = std::mem::take(&mut self.meta.constant);
        if constant.is_empty() {
            return;
        }
        let mut texts = super::labels::Texts::default();
        for i in 0..self.len() {
            let own = self.texts.get(i);
            let comma = if own.is_empty() { "" } else { "," };
            let text = format!("{constant}{comma}{own}");
            texts.push(&text, self.texts.created(i));
        }
        self.texts = texts;
        self.source = (0, 0);
    }
}

impl Values {
    /// Count and sum of series `i` of a summary, where they are known.
    fn observed(&self, i: usize) -> Option<(u64, f64)> {
        match self {
            Values::Summary { values, .. } => Some((values[i].count, values[i].sum)),
            Values::Written(values) => Some((values[i].count?, values[i].sum)),
            _ => None,
        }
    }

    /// Whether two places are of one kind, with the same buckets, or objectives and window.
    pub(super) fn same_shape(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Values::Histogram {
                    bounds: ours,
                    natives: our_natives,
                    ..
                },
                Values::Histogram {
                    bounds: theirs,
                    natives: their_natives,
                    ..
                },
            ) => ours == theirs && our_natives.is_some() == their_natives.is_some(),
            (Values::Counter(_), Values::Counter(_)) | (Values::Gauge(_), Values::Gauge(_)) => true,
            (
                Values::Summary {
                    targets: ours,
                    max_age: our_age,
                    ..
                },
                Values::Summary {
                    targets: theirs,
                    max_age: their_age,
                    ..
                },
            ) => ours == theirs && our_age == their_age,
            _ => false,
        }
    }
}

/// What `count` observations added to a sum that was `before`. An infinite one does not say: it stays, unless there were
/// none.
pub(crate) fn sum_since(now: f64, before: f64, count: u64) -> f64 {
    if count == 0 && !now.is_nan() {
        return 0.0;
    }
    join_sums(now, -before)
}

/// The sum of two sums. Where both are infinite, of different signs, the first one stands: a sum is never NaN, unless a
/// page did not say it.
fn join_sums(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if sum.is_nan() && !b.is_nan() { a } else { sum }
}
