//! The fate of the series of an earlier snapshot that have ended since.
//!
//! The total of a series that was retired is in the overflow series, so it has to be subtracted
//! there. The total of one that was removed is nowhere. Both may have begun again since, under the
//! same labels; the time of creation tells.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::snapshot::labels::{self, OVERFLOW};
use crate::snapshot::{Family, Values};
use crate::snapshot::{GaugeMode, Kind};

/// The most by which a time of creation may be too early, in milliseconds: one tick of the kernel.
const TICK: u64 = 10;

/// The series of an earlier snapshot that have ended since.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Their indices, in ascending order.
    series: Vec<usize>,
    /// The totals of some of them, by the index of the overflow series that has them now.
    pub(super) moved: BTreeMap<usize, Moved>,
    /// The earlier index of each series that is there now and has not begun since.
    pub(super) earlier: Vec<Option<usize>>,
}

/// Earlier totals that are in one overflow series now.
#[derive(Debug)]
pub(super) struct Moved {
    /// The earlier indices of the series, and of the overflow series itself if it was there.
    from: Vec<usize>,
    /// The sum of these.
    pub(super) total: Family,
}

/// The names and values of a series' labels.
type LabelPairs<'a> = Vec<(&'a str, Cow<'a, str>)>;

impl Family {
    /// Finds the series of `before`, a snapshot of this family at the time `taken`, that have ended
    /// since: those that are not there any more, and those that have begun again.
    ///
    /// A series that is not known to have been removed was retired if the overflow series has
    /// counted enough since. That is certain for two snapshots of one registry, unless so many
    /// series were removed in between that they are not listed. In a family that was merged from
    /// several registries or processes, or read from a page, it is the best guess.
    pub(super) fn ended(&self, before: &Self, taken: u64) -> Ended {
        let same = self.texts.same(&before.texts);
        let indices = LazyCell::new(|| self.indices());
        let created: Vec<_> = self.texts.all_created().collect();
        // A family of several processes has the earliest of their times, which changes with them.
        // Only a time after `taken` is that of a series that began since.
        let began = |i: usize, then: u64| {
            let now = created[i];
            now != then && now != 0 && then != 0 && now.saturating_add(TICK) >= taken
        };
        let mut ended = Ended {
            earlier: vec![None; self.len()],
            ..Ended::default()
        };
        for (at, (text, then)) in before.texts.with_created().enumerate() {
            let i = match same.get(at) {
                Some(true) => Some(at),
                _ => indices.get(&*labels::ordered(text)).copied(),
            };
            match i.filter(|i| !began(*i, then)) {
                Some(i) => ended.earlier[i] = Some(at),
                None => ended.series.push(at),
            }
        }
        // Nothing moves the value of a gauge, and none is subtracted.
        if ended.series.is_empty() || matches!(self.values, Values::Gauge(_)) {
            return ended;
        }
        let overflows = self.overflows();
        let removed = self.removed.to_set();
        let mut moved = vec![Vec::new(); overflows.len()];
        for &at in &ended.series {
            let (text, then) = (before.texts.get(at), before.texts.created(at));
            if overflows.is_empty() || removed.contains(&(labels::ordered(text), then)) {
                continue;
            }
            let set: LabelPairs<'_> = labels::pairs(text).collect();
            let to = overflows
                .iter()
                .position(|(_, overflow)| takes(overflow, &set));
            // An overflow series that began later was cleared since, with all that was in it.
            if let Some(to) = to.filter(|to| then == 0 || created[overflows[*to].0] <= then) {
                moved[to].push(at);
            }
        }
        for ((to, _), mut from) in overflows.into_iter().zip(moved) {
            if from.is_empty() {
                continue;
            }
            let text = labels::ordered(self.texts.get(to));
            let mut texts = before.texts.iter();
            let own = texts.position(|before| labels::ordered(before) == text);
            from.extend(own.filter(|own| ended.series.binary_search(own).is_err()));
            let total = before.total(from.iter().copied());
            let mut now = self.total(std::iter::once(to));
            if now.values.subtract(0, total.value(0)).is_some() {
                ended.moved.insert(to, Moved { from, total });
            }
        }
        ended
    }

    /// Returns the indices and the labels of the overflow series, in the order in which they take
    /// the totals of other series. A family that was merged from families with different constant
    /// labels has one overflow series for each of them.
    fn overflows(&self) -> Vec<(usize, LabelPairs<'_>)> {
        let texts = (0..).zip(self.texts.iter());
        let mut overflows: Vec<_> = texts
            .filter(|(_, text)| text.contains(OVERFLOW))
            .map(|(i, text)| (i, labels::pairs(text).collect()))
            .collect();
        // Overflow series with the most `__overflow__` values come first, because most counts move
        // there. Among these, the series with the most labels comes first, because it is the most
        // specific.
        let moved =
            |set: &LabelPairs<'_>| set.iter().filter(|(_, value)| value == OVERFLOW).count();
        overflows.sort_by_key(|(_, set)| Reverse((moved(set), set.len())));
        overflows
    }

    /// Does with this earlier snapshot what the family has done since, as its later snapshot `now`
    /// shows: moves the totals of retired series to the overflow series, and drops those of removed
    /// ones.
    ///
    /// A gauge that was removed stays, because it may be set again.
    pub(super) fn follow(&mut self, now: &Self) {
        let is_gauge = matches!(self.meta.kind, Kind::Gauge | Kind::Unknown);
        if is_gauge && self.meta.mode != GaugeMode::Sum || !self.is_subtractable_from(now) {
            return;
        }
        let ended = now.ended(self, 0);
        if ended.series.is_empty() {
            return;
        }
        let mut stays = vec![true; self.len()];
        let gone = ended.series.iter().filter(|_| !is_gauge);
        let moved = ended.moved.values().flat_map(|moved| &moved.from);
        gone.chain(moved).for_each(|at| stays[*at] = false);
        let mut rest = self.to_empty();
        let stays = (0..self.len()).filter(|at| stays[*at]);
        stays.for_each(|at| rest.push_from(self, at));
        for (to, moved) in &ended.moved {
            rest.texts.push(now.texts.get(*to), now.texts.created(*to));
            rest.values.push_from(&moved.total.values, 0);
        }
        *self = rest;
    }
}

/// Returns whether an overflow series has the totals of retired series with these labels. If each
/// series brings label names of its own, the overflow series has a label `overflow` instead.
fn takes(overflow: &LabelPairs<'_>, set: &LabelPairs<'_>) -> bool {
    let own = |label: &str| set.iter().find(|(name, _)| *name == label);
    overflow.iter().all(|(name, value)| match own(name) {
        Some((_, own)) => own == value || value == OVERFLOW,
        None => *name == "overflow",
    })
}
