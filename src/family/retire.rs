//! The ways in which series leave a family, and what becomes of their memory. One word for each:
//!
//! - The user *removes* a series (`remove`, `retain`, `clear`). Its total is dropped. An update
//!   through a stale handle makes the series again.
//! - A series is *retired* if the user calls `retire`, or if a scrape finds that it has expired.
//!   Its total is folded into the overflow series; only the value of a gauge is dropped. An update
//!   through a stale handle counts in the overflow series.
//! - A pass *reclaims* a series that left in either way, once no thread can update it any more: it
//!   folds or drops the total, and frees the slot and the number for another series.
//!
//! The two ways to leave differ only in the flag `removed`. Up to that flag, the functions of this
//! module and the engine call both *retire*: `Pass::retire` makes the handles stale, and
//! `Retirement::retired` has the series of both kinds.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;

use crate::lockfree::{Generation, OVERFLOW, SeriesKey};
use crate::observe::{self, Pass};
use crate::snapshot::MOST_REMOVED;

use super::roster::{OpenSet, RetiredSeries};
use super::store::OpenSeries;
use super::{Family, MetricCells, SeriesRef, each_of, total_of};

impl<C: MetricCells> Family<C> {
    /// Removes (`removed`) or retires the series of a label set. Waits for a running pass. Returns
    /// whether there was such a series.
    pub(crate) fn retire(&self, texts: &[&str], removed: bool) -> bool {
        self.open_set()
            .is_some_and(|set| set.retire(texts, removed))
    }

    /// Removes every series whose label text `keep` returns `false` for, with its total. Returns
    /// their number.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&str) -> bool) -> usize {
        self.open_set().map_or(0, |set| set.retain(&mut keep))
    }

    /// Removes every series, the overflow series included.
    pub(crate) fn clear(&self) {
        let Some(open) = self.open() else {
            return;
        };
        // A series that another thread makes meanwhile is not older than the overflow series.
        let began = crate::clock::millis();
        let set = self.set_of(open);
        set.retain(&mut |_| false);
        if let Some(view) = self.desc.changing_view() {
            view.clear();
        }
        let mut pass = observe::engine().pass();
        // Threads may be updating the overflow series, so its cells stay as they are, and scrapes
        // subtract its total of now.
        let total = total_of(self.first(), &mut pass);
        self.created.store(began, Relaxed);
        self.version.fetch_add(1, Relaxed);
        self.clear_exemplars(OVERFLOW);
        self.publish_baseline(&total);
        *open.baseline() = Some(total);
        set.forget_retired();
        open.roster.overflow.clear();
    }

    /// Sets every series to zero, in a process that has only one thread.
    pub(crate) fn start_over(&self, pass: &Pass<'_>) {
        for cells in self.cells() {
            observe::start_over(pass, &self.shape, cells, None);
        }
        if let Some(open) = self.open() {
            for retired in &open.roster.retirement().retired {
                if let Some(series) = open.series(retired.index as usize) {
                    observe::start_over(pass, &self.shape, series.cells, Some(retired.cells));
                }
            }
            open.start_over();
        }
        self.core.start_over();
        for (first, run) in self.store.runs() {
            for (index, series) in each_of(run).enumerate() {
                self.clear_exemplars((first + index) as u32);
                if series.is_live() {
                    let text = series.text.with(str::to_owned);
                    Self::close_text(run, index);
                    Self::open_text(&self.core, run, index, &text);
                }
            }
        }
        self.clear_exemplars(OVERFLOW);
    }

    /// Returns the series that an update through a stale handle counts in. If the handle's series
    /// was removed, that is the series with the same labels, which is made if needed. If it was
    /// retired, or 4 096 other series of the family were removed since, that is the overflow
    /// series.
    pub(super) fn successor(&self, key: SeriesKey) -> SeriesRef<'_, C> {
        match self.removed_text(key) {
            Some(text) => self.with_text(&text),
            None => self.overflow(),
        }
    }

    /// Returns the series that now has the labels of a removed one, if there is one. Returns `None`
    /// for a retired one.
    pub(super) fn same_labels(&self, removed: SeriesKey) -> Option<SeriesRef<'_, C>> {
        self.find_text(&self.removed_text(removed)?)
    }

    /// Returns the label text that a series had when it was removed.
    fn removed_text(&self, key: SeriesKey) -> Option<Box<str>> {
        self.open()?.roster.retirement().removed.get(key)
    }

    /// Reads the overflow series, then the retired series that will be folded into it. With both,
    /// the family's sum never goes back.
    pub(super) fn read_overflow(&self, open: &OpenSeries<C>, pass: &mut Pass<'_>) -> C::Total {
        let retired: Vec<_> = open
            .roster
            .retirement()
            .retired
            .iter()
            .filter(|retired| !retired.forget)
            .map(|retired| (retired.index, retired.cells))
            .collect();
        let retired = retired.iter().filter_map(|&(index, retired)| {
            let series = open.series(index as usize)?;
            Some((series.cells, retired))
        });
        let mut total = C::Total::default();
        observe::read_overflow(pass, self.first(), retired, &mut total);
        total
    }
}

impl OpenSet<'_> {
    /// Does what [`Family::retire`] does.
    fn retire(&self, texts: &[&str], removed: bool) -> bool {
        let Some(own) = self.core.desc.own(texts, false) else {
            return false;
        };
        let hash = self.roster.index.hash(&own.texts);
        let mut pass = observe::engine().pass();
        let Some(key) = self.find(hash, &own.texts) else {
            return false;
        };
        self.retire_series(&mut pass, key.index(), removed);
        let retirement = self.roster.retirement();
        let is_due = retirement.retired.len() >= retirement.sweep_threshold;
        drop(retirement);
        if is_due {
            self.reclaim_retired(&mut pass);
        }
        true
    }

    /// Does what [`Family::retain`] does.
    fn retain(&self, keep: &mut dyn FnMut(&str) -> bool) -> usize {
        let text_of = |index| {
            let text = |text: Option<(&str, u64)>| text.map(|(text, _)| text.to_owned());
            self.series.get(index)?.1.get(text)
        };
        // The user's code runs under no lock. So a series may be removed or retired, and be reused
        // for other labels, before the pass begins. Then its text has changed, and it is not
        // removed here.
        let unwanted: Vec<_> = (0..self.roster.population.made() as u32)
            .filter_map(|index| Some((index, text_of(index)?)))
            .filter(|(_, text)| !keep(text))
            .collect();
        let mut pass = observe::engine().pass();
        let mut count = 0;
        for (index, text) in unwanted {
            if text_of(index) == Some(text) {
                count += usize::from(self.retire_series(&mut pass, index, true));
            }
        }
        self.reclaim_retired(&mut pass);
        count
    }

    /// Removes (`removed`) or retires a series: removes its entry from the index, and makes its
    /// handles stale. Waits for threads that are making or looking up a series.
    fn retire_series(&self, pass: &mut Pass<'_>, index: u32, removed: bool) -> bool {
        let Some((_, text)) = self.series.get(index) else {
            return false;
        };
        if removed {
            let text = text.with(str::to_owned);
            let key = self.key_of(index);
            self.roster.retirement().removed.insert(key, text);
        }
        self.roster.index.remove(self.hash_of(index), index);
        self.retire_unindexed(pass, index, removed)
    }

    /// Retires a series that has expired, in a scrape. Returns `false`, without waiting, if another
    /// thread has locked the series' shard of the index; a later scrape retries.
    pub(super) fn expire(&self, pass: &mut Pass<'_>, index: u32) -> bool {
        self.roster.index.try_remove(self.hash_of(index), index)
            && self.retire_unindexed(pass, index, false)
    }

    /// Makes the handles of a series stale that is no longer in the index. `forget`: it was
    /// removed.
    fn retire_unindexed(&self, pass: &mut Pass<'_>, index: u32, forget: bool) -> bool {
        let Some((slot_word, text)) = self.series.get(index) else {
            return false;
        };
        let forget = forget || !self.folds;
        if forget {
            let own = |text: Option<(&str, u64)>| text.map(|(text, at)| (text.to_owned(), at));
            if let Some((text, created)) = text.get(own) {
                self.roster.retirement().listed.push(&text, created);
            }
        }
        let cells = pass.retire(slot_word, forget);
        self.series.end(index);
        if !forget {
            self.roster.overflow.begin();
        }
        let mut retirement = self.roster.retirement();
        retirement.retired.push(RetiredSeries {
            index,
            cells,
            forget,
        });
        if let Some(idle) = retirement.idle.get_mut(index as usize) {
            *idle = (0, None);
        }
        drop(retirement);
        self.roster.population.retire();
        true
    }

    /// Makes a pass drop the totals of retired series that are not reclaimed yet.
    fn forget_retired(&self) {
        for retired in &mut self.roster.retirement().retired {
            retired.forget = true;
            if let Some((slot_word, _)) = self.series.get(retired.index) {
                slot_word.forget();
            }
        }
    }

    /// Reclaims the removed and retired series that no thread can update any more: folds the totals
    /// of the retired ones into the overflow series, drops those of the others, and frees the
    /// numbers of both.
    pub(super) fn reclaim_retired(&self, pass: &mut Pass<'_>) {
        // The lock is not held while series are reclaimed, because threads that make a series need
        // it to reuse one.
        let retired = {
            let mut retirement = self.roster.retirement();
            let mut retired = retirement.retired.iter();
            if !retired.any(|retired| pass.is_acknowledged(retired.cells)) {
                retirement.sweep_threshold = 2 * retirement.retired.len();
                return;
            }
            std::mem::take(&mut retirement.retired)
        };
        let (mut waiting, mut free) = (Vec::new(), Vec::new());
        for retired in retired {
            let Some((slot_word, _)) = self.series.get(retired.index) else {
                continue;
            };
            if self.series.reclaim(pass, &retired) {
                self.core.clear_exemplars(retired.index);
                // Otherwise a handle of long ago would be one of the next series.
                if slot_word.generation() != Generation::LAST {
                    free.push(Reverse(retired.index));
                }
            } else {
                waiting.push(retired);
            }
        }
        pass.free_cleared();
        let mut retirement = self.roster.retirement();
        retirement.sweep_threshold = 2 * waiting.len();
        retirement.retired = waiting;
        retirement.free.extend(free);
        let has_free = !retirement.free.is_empty();
        self.roster.has_free.store(has_free, Relaxed);
    }

    /// Returns whether the fingerprint of a series has not changed for as long as the family's
    /// `expire_after`. Stores its present fingerprint for the next call.
    pub(super) fn is_unchanged(&self, index: u32, fingerprint: u64) -> bool {
        let Some(after) = self.core.desc.expire_after else {
            return false;
        };
        let now = crate::clock::now();
        let mut retirement = self.roster.retirement();
        let index = index as usize;
        if retirement.idle.len() <= index {
            retirement.idle.resize(index + 1, (0, None));
        }
        let (last, since) = &mut retirement.idle[index];
        let unchanged_since = match since {
            Some(since) if *last == fingerprint => *since,
            _ => {
                *last = fingerprint;
                *since = Some(now);
                now
            }
        };
        now.duration_since(unchanged_since) >= after
    }
}

/// The label texts of the last series that were removed, by the keys that the series had.
#[derive(Debug, Default)]
pub(super) struct RemovedTexts {
    texts: HashMap<u64, Box<str>>,
    oldest_first: VecDeque<u64>,
}

impl RemovedTexts {
    fn insert(&mut self, key: SeriesKey, text: String) {
        if self.texts.insert(key.word(), text.into()).is_none() {
            self.oldest_first.push_back(key.word());
        }
        let too_many = self.oldest_first.len().saturating_sub(MOST_REMOVED);
        for oldest in self.oldest_first.drain(..too_many) {
            self.texts.remove(&oldest);
        }
    }

    fn get(&self, key: SeriesKey) -> Option<Box<str>> {
        self.texts.get(&key.word()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::family::desc::{Desc, Names};
    use crate::lockfree::SeriesKey;
    use crate::observe::{Cells, Tally};
    use crate::snapshot::{self, Kind};

    use super::*;

    fn scraped(family: &Family<Tally<u64>>) -> Vec<(String, f64)> {
        let meta = crate::registry::meta(&family.desc, "", &[]);
        let mut out = snapshot::Family::new(meta, <Tally<u64>>::values(&family.desc, &()));
        family.write(&mut observe::engine().pass(), &mut out);
        out.series()
            .map(|(labels, value)| match value {
                snapshot::Value::Counter(n) => (labels.get("x").unwrap().into_owned(), n.as_f64()),
                _ => unreachable!("a counter"),
            })
            .collect()
    }

    #[test]
    fn a_series_expires_after_its_time_and_not_before() {
        let mut desc = Desc::new("expiry_total", Kind::Counter, Names::Fixed(&["x"]));
        desc.expire_after = Some(Duration::from_secs(60));
        let family = Family::<Tally<u64>>::new(desc);
        let add = |label| {
            let handle = family.with(&[label]);
            observe::thread(|thread| {
                handle
                    .cells
                    .add_cold(observe::engine(), thread, handle.generation(), 1, false)
            })
        };
        add("idle");
        add("busy");
        assert_eq!(scraped(&family).len(), 2);
        crate::clock::advance(Duration::from_secs(59));
        add("busy");
        assert_eq!(
            scraped(&family),
            [("idle".into(), 1.0), ("busy".into(), 2.0)]
        );
        crate::clock::advance(Duration::from_secs(2));
        let expected = [("busy".to_owned(), 2.0), ("__overflow__".to_owned(), 1.0)];
        assert_eq!(scraped(&family), expected);
        add("idle");
        assert_eq!(scraped(&family).len(), 3, "it comes back");
    }

    /// Regression: a scrape read past the totals, for a series that another thread was making.
    #[test]
    fn a_scrape_leaves_out_series_that_another_thread_is_making() {
        let mut desc = Desc::new("made_total", Kind::Counter, Names::Fixed(&["x"]));
        desc.expire_after = Some(Duration::from_secs(60));
        let family = Family::<Tally<u64>>::new(desc);
        family.with(&["a"]);
        // One is beyond the number with which a scrape begins, and one in a chunk that is not made.
        for index in [1, 5] {
            family.open().unwrap().arena.set_live(index, true);
            assert_eq!(scraped(&family), [("a".into(), 0.0)]);
        }
    }

    /// A page leaves out exemplars of another series; their memory is freed all the same.
    #[test]
    fn exemplars_are_freed_with_their_series() {
        let family =
            Family::<Tally<u64>>::new(Desc::new("c_total", Kind::Counter, Names::Fixed(&["x"])));
        let series = family.with(&["a"]);
        let key = SeriesKey::new(series.generation(), 0);
        let exemplars = family.exemplars();
        exemplars.set(key, (0, 1), snapshot::Exemplar::new("x".to_owned(), 1.0));
        assert!(!exemplars.is_clear(0));
        assert!(family.retire(&["a"], false));
        // Threads of other tests may be in the way for a moment.
        for _ in 0..300 {
            scraped(&family);
            if exemplars.is_clear(0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the exemplar is still there");
    }

    /// A handle that is 2³² generations old counted for whatever series the number had by then.
    #[test]
    fn a_number_without_generations_is_not_used_again() {
        let family =
            Family::<Tally<u64>>::new(Desc::new("g_total", Kind::Counter, Names::Fixed(&["x"])));
        let first = family.with(&["first"]);
        let before_last = Generation::of(Generation::LAST.word() - (1 << 32));
        first.cells.slot_word().skip_to(before_last);
        assert!(family.retire(&["first"], false));
        assert_eq!(first.cells.slot_word().generation(), Generation::LAST);
        // Nothing has a slot, so one scrape reclaims.
        scraped(&family);
        assert!(family.open().unwrap().roster.take_retired().is_empty());
        assert_eq!(family.with(&["second"]).key.index(), 1);
        assert!(family.retire(&["second"], false));
        scraped(&family);
        assert_eq!(family.with(&["third"]).key.index(), 1);
    }
}
