//! Arithmetic of snapshots: subtraction gives intervals, merging adds up threads, processes and
//! machines.

use std::cell::LazyCell;
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use crate::error::{Difference, Error};

use super::sketch::Sketch;
use super::{Family, GaugeMerge, Kind, Snapshot, Values, labels};

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
            let before = earlier.family(family.name());
            if let Some(before) = before.filter(|before| before.is_subtractable_from(family)) {
                family.subtract(before, super::millis(earlier.taken));
            }
        }
        interval
    }

    /// Adds the snapshot of another process or registry to this one.
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
    ///
    /// Series with the same labels are added up, gauges by the [`GaugeMerge`] of their family. All
    /// other series and families are copied.
    ///
    /// # Errors
    ///
    /// Returns an error if a family has another kind, other buckets, other objectives or another
    /// window in `other`, or if a summary was [read](crate::encode::read) from a page. The snapshot
    /// is then unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        for theirs in &other.families {
            if let Some(ours) = self.family(theirs.name()) {
                ours.check_mergeable(theirs)?;
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
    /// Checks that the series of `theirs`, a family of the same name, can be added to this family.
    pub(super) fn check_mergeable(&self, theirs: &Self) -> Result<(), Error> {
        if self.same_kind(theirs) && (self.is_shapeless() || theirs.is_shapeless()) {
            return Ok(());
        }
        let is_from_page = |family: &Self| matches!(family.values, Values::PageSummary(_));
        if self.meta.kind == theirs.meta.kind && (is_from_page(self) || is_from_page(theirs)) {
            return Err(Error::merge_page(theirs.name()));
        }
        if !self.same_shape(theirs) {
            return Err(Error::merge(theirs.name(), self.difference(theirs)));
        }
        Ok(())
    }

    /// Returns why the shapes differ, for an error message.
    fn difference(&self, theirs: &Self) -> Difference {
        match (&self.values, &theirs.values) {
            (Values::Histogram { bounds: ours, .. }, Values::Histogram { bounds: theirs, .. })
                if ours != theirs =>
            {
                Difference::Buckets(Some((&**ours).into()), Some((&**theirs).into()))
            }
            (
                Values::Summary { targets: ours, .. },
                Values::Summary {
                    targets: theirs, ..
                },
            ) if ours != theirs => {
                Difference::Objectives(ours.as_slice().into(), theirs.as_slice().into())
            }
            (
                Values::Summary { max_age: ours, .. },
                Values::Summary {
                    max_age: theirs, ..
                },
            ) if ours != theirs => Difference::Window(*ours, *theirs),
            (Values::Histogram { natives, .. }, Values::Histogram { .. }) => {
                Difference::OnlyOneNative(natives.is_some())
            }
            _ => Difference::Kind(self.kind(), theirs.kind()),
        }
    }

    pub(crate) fn same_shape(&self, other: &Self) -> bool {
        self.same_kind(other) && self.values.same_shape(&other.values)
    }

    /// Returns whether both have the same kind, as far as the text format distinguishes kinds.
    fn same_kind(&self, other: &Self) -> bool {
        self.meta.kind.as_text() == other.meta.kind.as_text()
    }

    /// Returns whether the family was read from a page and has no series. Such a page does not
    /// contain the buckets and quantiles of the family.
    fn is_shapeless(&self) -> bool {
        let is_unknown = match &self.values {
            Values::Histogram {
                bounds, natives, ..
            } => bounds.is_empty() && natives.is_none(),
            values => matches!(values, Values::PageSummary(_)),
        };
        is_unknown && self.is_empty()
    }

    /// Returns whether this family can be subtracted from `now`. For summaries, count and sum
    /// suffice.
    fn is_subtractable_from(&self, now: &Self) -> bool {
        self.same_kind(now)
            && (self.meta.kind == Kind::Summary || self.values.same_shape(&now.values))
    }

    /// Adds the series of `other`, which has the same shape.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.meta.constant != other.meta.constant {
            self.inline_constant_labels();
            let mut theirs = other.clone();
            theirs.inline_constant_labels();
            return self.add(&theirs);
        }
        self.source = (0, 0);
        self.meta.utf8 |= other.meta.utf8;
        if self.is_shapeless() {
            self.values = other.values.to_empty();
        }
        // A page in the text format shows an info or a state set as a gauge.
        if self.meta.kind == Kind::Gauge {
            (self.meta.kind, self.meta.merge) = match other.meta.kind {
                Kind::Gauge => (Kind::Gauge, self.meta.merge),
                kind => (kind, other.meta.merge),
            };
        }
        let merge = self.meta.merge;
        let mut indices = self.indices();
        for i in 0..other.len() {
            match indices.entry(labels::ordered(other.texts.get(i)).into_owned()) {
                Entry::Vacant(entry) => {
                    entry.insert(self.len());
                    self.push_from(other, i);
                }
                Entry::Occupied(entry) => {
                    let at = *entry.get();
                    // Both count together since the earlier of the two times, or since an unknown
                    // time (0) if either is unknown.
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
            self.inline_constant_labels();
            let mut before = before.clone();
            before.inline_constant_labels();
            return self.subtract(&before, taken);
        }
        let indices = LazyCell::new(|| before.indices());
        self.subtract_moved(before);
        for i in 0..self.len() {
            // Most series have the same index in both snapshots.
            let text = self.texts.get(i);
            let at = if i < before.len() && before.texts.get(i) == text {
                Some(i)
            } else {
                indices.get(&*labels::ordered(text)).copied()
            };
            if let Some(at) = at {
                self.subtract_series(i, before, at);
                let created = self.texts.created(i).max(taken);
                self.texts.set_created(i, created);
            }
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
    fn subtract_moved(&mut self, before: &Self) {
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
        // Overflow series with the most `__overflow__` values come first, because most counts move
        // there. Among these, the series with the most labels comes first, because it is the most
        // specific.
        let moved = |set: &BTreeMap<_, _>| set.values().filter(|value| *value == OVERFLOW).count();
        overflows.sort_by_key(|(_, set)| Reverse((moved(set), set.len())));
        let now = self.indices();
        let gone: Vec<_> = (0..before.len())
            .filter(|i| !now.contains_key(&*labels::ordered(before.texts.get(*i))))
            .collect();
        for i in gone {
            let set = sets(before, i);
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

    /// Returns the index of each series by its label text, sorted by label name, because two
    /// families may order their labels differently.
    fn indices(&self) -> HashMap<String, usize> {
        (0..self.len())
            .map(|i| (labels::ordered(self.texts.get(i)).into_owned(), i))
            .collect()
    }

    /// Gives a collector's family the prefix and the constant labels of its registry. A label that
    /// the collector wrote itself keeps its value.
    pub(crate) fn add_common(&mut self, prefix: &str, constant: &str) {
        if !prefix.is_empty() {
            self.meta.name = format!("{prefix}{}", self.meta.name).into();
        }
        if !constant.is_empty() {
            constant.clone_into(&mut self.meta.constant);
            self.override_constant_labels();
        }
    }

    /// Resolves labels that a series has in addition to a constant label of the same name: the
    /// series' own value wins. Series that become equal are added up.
    pub(crate) fn override_constant_labels(&mut self) {
        let constant = self.meta.constant.clone();
        let names: Vec<_> = labels::pairs(&constant).map(|(name, _)| name).collect();
        let wins = |text| labels::pairs(text).any(|(name, _)| names.contains(&name));
        if !(0..self.len()).any(|i| wins(self.texts.get(i))) {
            return;
        }
        let mut all = std::mem::replace(self, Self::new(self.meta.clone(), self.values.to_empty()));
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

    /// Moves the constant labels into the text of every series, so that families with different
    /// constant labels can be combined.
    fn inline_constant_labels(&mut self) {
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
    /// Returns the count and the sum of series `i` of a summary, if they are known.
    fn observed(&self, i: usize) -> Option<(u64, f64)> {
        match self {
            Values::Summary { values, .. } => Some((values[i].count, values[i].sum)),
            Values::PageSummary(values) => Some((values[i].count?, values[i].sum)),
            _ => None,
        }
    }

    /// Returns whether both are of one kind, with the same buckets, or the same objectives and
    /// window.
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

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;
    use crate::encode::{open_metrics, read_open_metrics, read_text, text};
    use crate::snapshot::Value;
    use crate::{Histogram, Registry};

    fn read(page: &str) -> Snapshot {
        read_text(page).unwrap()
    }

    /// Returns the sample lines of a snapshot in the text format.
    fn samples(snapshot: &Snapshot) -> String {
        let page = text(snapshot);
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| format!("{line}\n")).collect()
    }

    fn merged(one: &str, two: &str) -> Result<String, String> {
        let mut one = read(one);
        let merged = one.merge(&read(two));
        merged.map(|()| samples(&one)).map_err(|e| e.to_string())
    }

    fn since(now: &str, before: &str) -> String {
        samples(&read(now).since(&read(before)))
    }

    const ONE: &str = "# TYPE c_total counter\nc_total{x=\"a\"} 1\nc_total{x=\"b\"} 20\n\
        # TYPE g gauge\ng{x=\"a\"} 1\ng{x=\"b\"} 20\n\
        # TYPE h histogram\nh_bucket{x=\"a\",le=\"1.0\"} 1\nh_bucket{x=\"a\",le=\"+Inf\"} 3\nh_sum{x=\"a\"} 7\nh_count{x=\"a\"} 3\n\
        h_bucket{x=\"b\",le=\"1.0\"} 10\nh_bucket{x=\"b\",le=\"+Inf\"} 30\nh_sum{x=\"b\"} 70\nh_count{x=\"b\"} 30\n";
    /// The same series in another order, and new ones.
    const TWO: &str = "# TYPE c_total counter\nc_total{x=\"b\"} 25\nc_total{x=\"a\"} 3\nc_total{x=\"c\"} 1\nc_total{x=\"d\"} 2\n\
        # TYPE g gauge\ng{x=\"b\"} 25\ng{x=\"a\"} 3\n\
        # TYPE h histogram\nh_bucket{x=\"b\",le=\"1.0\"} 11\nh_bucket{x=\"b\",le=\"+Inf\"} 34\nh_sum{x=\"b\"} 75\nh_count{x=\"b\"} 34\n\
        h_bucket{x=\"a\",le=\"1.0\"} 3\nh_bucket{x=\"a\",le=\"+Inf\"} 8\nh_sum{x=\"a\"} 9\nh_count{x=\"a\"} 8\n";

    #[test]
    fn series_of_the_same_labels_add_up_wherever_they_are() {
        assert_eq!(
            merged(ONE, TWO).unwrap(),
            "c_total{x=\"a\"} 4\nc_total{x=\"b\"} 45\nc_total{x=\"c\"} 1\nc_total{x=\"d\"} 2\n\
            g{x=\"a\"} 4\ng{x=\"b\"} 45\n\
            h_bucket{x=\"a\",le=\"1.0\"} 4\nh_bucket{x=\"a\",le=\"+Inf\"} 11\nh_sum{x=\"a\"} 16\nh_count{x=\"a\"} 11\n\
            h_bucket{x=\"b\",le=\"1.0\"} 21\nh_bucket{x=\"b\",le=\"+Inf\"} 64\nh_sum{x=\"b\"} 145\nh_count{x=\"b\"} 64\n"
        );
    }

    #[test]
    fn an_interval_is_the_difference_of_series_wherever_they_are() {
        let gained = "c_total{x=\"b\"} 5\nc_total{x=\"a\"} 2\nc_total{x=\"c\"} 1\nc_total{x=\"d\"} 2\n\
            g{x=\"b\"} 25\ng{x=\"a\"} 3\n\
            h_bucket{x=\"b\",le=\"1.0\"} 1\nh_bucket{x=\"b\",le=\"+Inf\"} 4\nh_sum{x=\"b\"} 5\nh_count{x=\"b\"} 4\n\
            h_bucket{x=\"a\",le=\"1.0\"} 2\nh_bucket{x=\"a\",le=\"+Inf\"} 5\nh_sum{x=\"a\"} 2\nh_count{x=\"a\"} 5\n";
        assert_eq!(since(TWO, ONE), gained);
        // A series that went down was restarted. For a histogram, one bucket that went down is
        // enough.
        let restarted = TWO.replace("c_total{x=\"a\"} 3", "c_total{x=\"a\"} 0");
        let restarted = restarted.replace(",le=\"1.0\"} 3", ",le=\"1.0\"} 0");
        let left = gained.replace("c_total{x=\"a\"} 2", "c_total{x=\"a\"} 0");
        let (left, _) = left.split_once("h_bucket{x=\"a\"").unwrap();
        assert_eq!(
            since(&restarted, ONE),
            format!(
                "{left}h_bucket{{x=\"a\",le=\"1.0\"}} 0\nh_bucket{{x=\"a\",le=\"+Inf\"}} 8\nh_sum{{x=\"a\"}} 9\nh_count{{x=\"a\"}} 8\n"
            )
        );
    }

    #[test]
    fn gauges_merge_as_their_family_says() {
        for (merge, value) in [
            (GaugeMerge::Sum, 5.0),
            (GaugeMerge::Min, 2.0),
            (GaugeMerge::Max, 3.0),
            (GaugeMerge::Last, 2.0),
        ] {
            let mut one = read("# TYPE g gauge\ng 3\n");
            one.families[0].meta.merge = merge;
            one.merge(&read("# TYPE g gauge\ng 2\n")).unwrap();
            assert_eq!(one.get("g", &[]), Some(value), "{merge:?}");
        }
    }

    #[test]
    fn other_kinds_and_other_buckets_do_not_mix() {
        let histogram = |le| {
            format!(
                "# TYPE x histogram\nx_bucket{{le=\"{le}\"}} 1\nx_bucket{{le=\"+Inf\"}} 2\nx_sum 5\nx_count 2\n"
            )
        };
        let pages = [
            "x 1\n".to_owned(),
            "# TYPE x gauge\nx 1\n".to_owned(),
            histogram("1.0"),
            histogram("2.0"),
        ];
        for (i, one) in pages.iter().enumerate() {
            for (j, two) in pages.iter().enumerate() {
                assert_eq!(merged(one, two).is_ok(), i == j, "{one}{two}");
                if i != j {
                    assert_eq!(since(one, two), samples(&read(one)), "{two}");
                }
            }
        }
        // Families without series do not mix either if their buckets differ.
        let bounds = |bounds: &[f64]| {
            let registry = Registry::new();
            let h = Histogram::builder("x", "").labels(["y"]);
            h.buckets(bounds).register(&registry).unwrap();
            registry.snapshot()
        };
        assert!(bounds(&[1.0]).merge(&bounds(&[2.0])).is_err());
        assert!(bounds(&[1.0]).merge(&bounds(&[1.0])).is_ok());
    }

    #[test]
    fn native_buckets_merge_and_subtract() {
        let registry = Registry::new();
        let h = Histogram::builder("h", "").native(0).labels(["x"]);
        let h = h.register(&registry).unwrap();
        h.with(["b"]).observe(1.0);
        h.with(["a"]).observe(2.0);
        let before = registry.snapshot();
        h.with(["a"]).observe_many(4.0, 3);
        let now = registry.snapshot();
        let buckets = |snapshot: &Snapshot| {
            let Values::Histogram {
                natives: Some(natives),
                ..
            } = &snapshot.families[0].values
            else {
                panic!("it has natives")
            };
            [0, 1].map(|i| natives.get(i).positive().to_vec())
        };
        assert_eq!(buckets(&now.since(&before)), [vec![], vec![(2, 3)]]);
        let mut both = now.clone();
        both.merge(&before).unwrap();
        assert_eq!(buckets(&both), [vec![(0, 2)], vec![(1, 2), (2, 3)]]);
        // The earlier snapshot has larger counts, so the series was restarted.
        assert_eq!(buckets(&before.since(&now)), [vec![], vec![(1, 1)]]);
    }

    /// The sum becomes 0, even if it is infinite and the difference is unknown.
    #[test]
    fn a_summary_without_new_observations_gained_nothing() {
        let page = "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum +Inf\ns_count 1\n";
        assert_eq!(since(page, page), "s_sum 0\ns_count 0\n");
        let later = page.replace("count 1", "count 3");
        assert_eq!(since(&later, page), "s_sum +Inf\ns_count 2\n");
    }

    /// Counts move to the overflow series with the most specific labels.
    #[test]
    fn moved_counts_are_no_gain_of_an_overflow_series() {
        let o = "__overflow__";
        let before = [("a", "1", 5), ("b", "1", 7), ("a", o, 50), (o, o, 100)];
        let page = |series: &[(&str, &str, u64)]| {
            let lines = series
                .iter()
                .map(|(x, y, n)| format!("c_total{{x=\"{x}\",y=\"{y}\"}} {n}\n"));
            format!("# TYPE c_total counter\n{}", lines.collect::<String>())
        };
        let now = [("a", o, 50), (o, o, 100 + 5 + 7 + 1)];
        let gained = page(&[("a", o, 0), (o, o, 1)])
            .split_once('\n')
            .unwrap()
            .1
            .to_owned();
        assert_eq!(since(&page(&now), &page(&before)), gained);

        let page = |host_one, host_two, other| {
            format!(
                "# TYPE c_total counter\nc_total{{x=\"{o}\"}} {other}\nc_total{{host=\"one\",x=\"{o}\"}} {host_one}\n\
                c_total{{host=\"two\",x=\"{o}\"}} {host_two}\nc_total{{overflow=\"{o}\"}} 9\n"
            )
        };
        let ended = "c_total{host=\"one\",x=\"a\"} 3\nc_total{host=\"two\",x=\"a\"} 4\nc_total{x=\"a\"} 5\nc_total{y=\"a\"} 6\n";
        let gained = since(&page(13, 24, 35), &(page(10, 20, 30) + ended));
        let mut lines = gained.lines().map(|line| line.rsplit_once(' ').unwrap().1);
        assert_eq!(lines.by_ref().take(3).collect::<Vec<_>>(), ["0", "0", "0"]);
    }

    #[test]
    fn counts_begin_with_the_first_and_intervals_with_the_snapshot() {
        let page = |created: &[u64], taken| {
            let lines = created.iter().zip(["a", "b"]).map(|(created, x)| {
                format!(
                    "c_total{{x=\"{x}\"}} 1 {taken}\nc_created{{x=\"{x}\"}} {created} {taken}\n"
                )
            });
            let page = format!("# TYPE c counter\n{}# EOF\n", lines.collect::<String>());
            read_open_metrics(page).unwrap()
        };
        let created = |snapshot: &Snapshot| [0, 1].map(|i| snapshot.families[0].texts.created(i));
        let mut both = page(&[1, 4], 10);
        both.merge(&page(&[3, 2], 20)).unwrap();
        assert_eq!(created(&both), [1_000, 2_000]);
        assert_eq!(super::super::millis(both.taken()), 20_000);
        let interval = page(&[15, 3], 20).since(&page(&[1, 3], 10));
        assert_eq!(created(&interval), [15_000, 10_000]);
        let page = open_metrics(&interval);
        assert_eq!(page.matches("c_total").count(), 2, "{page}");
    }

    #[test]
    fn sums_are_not_nan_unless_they_are_not_known() {
        let (infinity, unknown) = (f64::INFINITY, f64::NAN);
        for (a, b, sum) in [
            (1.0, 2.0, 3.0),
            (infinity, -infinity, infinity),
            (-infinity, infinity, -infinity),
            (infinity, 1.0, infinity),
        ] {
            assert_eq!(join_sums(a, b), sum);
            assert_eq!(sum_since(a, -b, 1), sum);
            assert_eq!(sum_since(a, -b, 0), 0.0);
        }
        for (a, b) in [(unknown, 1.0), (unknown, unknown)] {
            assert!(join_sums(a, b).is_nan() && sum_since(a, b, 1).is_nan());
            assert!(sum_since(a, b, 0).is_nan());
        }
        assert!(join_sums(1.0, unknown).is_nan() && sum_since(1.0, unknown, 1).is_nan());
    }

    /// If no series has a label with the name of a constant one, nothing changes.
    #[test]
    fn a_sample_wins_over_a_constant_label() {
        let family = |texts: &[&str]| {
            let mut page = read("# TYPE g gauge\n").families.remove(0);
            page.meta.constant = "a=\"1\",b=\"2\"".to_owned();
            page.values = Values::Gauge(Vec::new());
            for (i, text) in texts.iter().enumerate() {
                page.texts.push(text, 7);
                page.values.push(Value::Gauge(10.0_f64.powi(i as i32)));
            }
            page.override_constant_labels();
            let constant = page.meta.constant.clone();
            let mut snapshot = Snapshot::default();
            snapshot.families.push(page);
            (constant, samples(&snapshot))
        };
        let (constant, page) = family(&["", "a=\"3\"", "a=\"1\"", "c=\"4\""]);
        assert_eq!(constant, "");
        assert_eq!(
            page,
            "g{a=\"1\",b=\"2\"} 101\ng{a=\"3\",b=\"2\"} 10\ng{a=\"1\",b=\"2\",c=\"4\"} 1000\n"
        );
        let (constant, page) = family(&["", "c=\"4\""]);
        assert_eq!(constant, "a=\"1\",b=\"2\"");
        assert_eq!(
            page,
            "g{a=\"1\",b=\"2\"} 1\ng{a=\"1\",b=\"2\",c=\"4\"} 10\n"
        );
    }

    #[test]
    fn names_outside_the_old_character_set_stay_so() {
        let mut one = read("# TYPE g gauge\ng 1\n");
        one.merge(&read("# TYPE g gauge\ng{\"a.b\"=\"c\"} 2\n"))
            .unwrap();
        assert_eq!(samples(&one), "g 1\ng{a_b=\"c\"} 2\n");
        one.merge(&read("# TYPE g gauge\ng 1\n")).unwrap();
        assert_eq!(samples(&one), "g 2\ng{a_b=\"c\"} 2\n");
    }
}
