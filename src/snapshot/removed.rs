//! The series that left a family together with their totals.
//!
//! The total of a series that was retired is in the overflow series from then on, and the total of
//! one that was removed is nowhere. A later snapshot lists the removed ones, because subtraction
//! has to tell both apart.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::labels;

/// The number of removed series that a family lists. Further removals evict the oldest.
pub(crate) const MOST_REMOVED: usize = 4096;

/// The last series that were removed from a family, and its gauges that expired or were retired.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemovedList(Option<Arc<VecDeque<RemovedSeries>>>);

/// The label text, and the time since when the series counted, which tells it from others with
/// these labels, in milliseconds since the Unix epoch.
type RemovedSeries = (Arc<str>, u64);

impl RemovedList {
    /// Appends a series with this label text and [`LabelEntry::created`](super::LabelEntry).
    pub(crate) fn push(&mut self, text: &str, created: u64) {
        let text = text.into();
        let all = Arc::make_mut(self.0.get_or_insert_default());
        if all.len() >= MOST_REMOVED {
            all.pop_front();
        }
        all.push_back((text, created));
    }

    /// Appends those of another family.
    pub(super) fn add(&mut self, other: &Self) {
        let Some(theirs) = &other.0 else { return };
        let all = self.0.get_or_insert_with(|| Arc::clone(theirs));
        if Arc::ptr_eq(all, theirs) {
            return;
        }
        let known: HashSet<_> = all.iter().cloned().collect();
        let new = theirs.iter().filter(|series| !known.contains(series));
        let all = Arc::make_mut(all);
        all.extend(new.cloned());
        // Of several processes, and of intervals that a program adds up for days.
        let excess = all.len().saturating_sub(16 * MOST_REMOVED);
        all.drain(..excess);
    }

    /// Replaces the label text of each series.
    pub(super) fn relabel(&mut self, text: &dyn Fn(&str) -> String) {
        if let Some(all) = &mut self.0 {
            let all = Arc::make_mut(all).iter_mut();
            all.for_each(|(own, _)| *own = text(own).into());
        }
    }

    /// Returns the label texts, with their labels sorted by name, and the times since when the
    /// series counted.
    pub(super) fn to_set(&self) -> HashSet<(Cow<'_, str>, u64)> {
        let all = self.0.iter().flat_map(|all| all.iter());
        all.map(|(text, created)| (labels::ordered(text), *created))
            .collect()
    }
}
