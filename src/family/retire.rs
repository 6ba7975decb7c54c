//! What ends series: they are removed, forgotten, or expire; and are used again when nobody can be updating them.

use std::cmp::Reverse;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use crate::lockfree::OVERFLOW;
use crate::observe::{self, Pass};

use super::{Exported, Family, Retired, Retirement, read};

impl<C: Exported> Family<C> {
    /// Retires the series of a label set; what it counted stays in the family's sum. Waits for a pass that is running.
    pub(crate) fn remove(&self, texts: &[&str]) -> bool {
        if self.is_unlabelled() {
            return false;
        }
        let hash = self.index.hash(texts);
        let mut pass = observe::engine().pass();
        let Some(index) = self.look_up(hash, texts) else {
            return false;
        };
        self.retire(&mut pass, index, false);
        let retirement = self.retirement();
        let sweep_threshold = retirement.retired.len() >= retirement.sweep_threshold;
        drop(retirement);
        if sweep_threshold {
            self.reclaim_retired(&mut pass);
        }
        true
    }

    /// Retires every series that `keep` does not want; `forget`: and what it counted.
    pub(crate) fn retain(&self, forget: bool, mut keep: impl FnMut(&str) -> bool) -> usize {
        // The caller's code runs under no lock; a series that is another's by then stays.
        let unwanted: Vec<_> = self
            .all()
            .filter_map(|(index, series)| {
                let generation = series.cells.slot_word().generation();
                // One look: between two of them it may end, and be used again.
                let text = series
                    .text
                    .get(|text| text.map(|(text, _)| text.to_owned()))?;
                Some((index, generation, text))
            })
            .filter(|(_, _, text)| !keep(text))
            .collect();
        let forget = forget && C::FORGETS;
        let mut pass = observe::engine().pass();
        let mut gone = 0;
        for (index, generation, _) in unwanted {
            let still = self.series(index as usize).is_some_and(|series| {
                series.is_live() && series.cells.slot_word().generation() == generation
            });
            if still {
                gone += usize::from(self.retire(&mut pass, index, forget));
            }
        }
        if forget && !self.is_unlabelled() {
            let mut held = C::Total::default();
            read(&self.first, &mut pass, &mut held);
            self.created.store(crate::clock::millis(), Relaxed);
            self.version.fetch_add(1, Relaxed);
            if let Some(exemplars) = self.exemplars.get() {
                exemplars.clear(OVERFLOW);
            }
            let mut retirement = self.retirement();
            retirement.cleared = Some(held);
            retirement.exported_sum = 0.0;
            for retired in &mut retirement.retired {
                retired.forget = true;
            }
            if !C::FOLDS {
                self.overflowed.store(false, Relaxed);
            }
        }
        self.reclaim_retired(&mut pass);
        gone
    }

    /// Every series at zero again, in a process that has but one thread.
    pub(crate) fn start_over(&self, pass: &Pass<'_>) {
        let dense = self.closed.get().map_or(&[][..], |all| all);
        std::iter::once(&self.first)
            .chain(dense.iter().map(|series| &series.cells))
            .chain(self.all().map(|(_, series)| &series.cells))
            .for_each(|cells| observe::start_over(pass, &self.shape, cells, None));
        let mut retirement = self.retirement();
        for retired in &retirement.retired {
            if let Some(series) = self.series(retired.index as usize) {
                observe::start_over(pass, &self.shape, &series.cells, Some(retired.what));
            }
        }
        retirement.idle.clear();
        retirement.cleared = None;
        retirement.exported_sum = 0.0;
        if let Some(exemplars) = self.exemplars.get() {
            let count = self.population.made().max(dense.len()) as u32;
            (0..count)
                .chain([OVERFLOW])
                .for_each(|index| exemplars.clear(index));
        }
        self.infinity.store(0, Relaxed);
        self.overflowed.store(false, Relaxed);
        let live = dense.iter().chain(self.all().map(|(_, series)| series));
        for series in live.filter(|series| series.is_live()) {
            let text = series.text.with(str::to_owned);
            series.text.clear();
            series.open(&text);
        }
        self.created.store(crate::clock::millis(), Relaxed);
        self.version.fetch_add(1, Relaxed);
    }

    /// Makes one change after another, for who looks first and then retires.
    pub(crate) fn alone<R>(&self, f: impl FnOnce() -> R) -> R {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        f()
    }

    /// Removes a series from the index and makes its handles stale. Waits for threads that make a series now.
    fn retire(&self, pass: &mut Pass<'_>, index: u32, forget: bool) -> bool {
        self.index.remove(self.hash_of(index), index);
        self.retire_removed(pass, index, forget)
    }

    /// As [`retire`](Self::retire), in a scrape: if another thread makes a series now, a later scrape retires this one.
    pub(super) fn expire(&self, pass: &mut Pass<'_>, index: u32) -> bool {
        self.index.try_remove(self.hash_of(index), index) && self.retire_removed(pass, index, false)
    }

    /// Retires a series that is no longer in the index.
    fn retire_removed(&self, pass: &mut Pass<'_>, index: u32, forget: bool) -> bool {
        let Some(series) = self.series(index as usize) else {
            return false;
        };
        series.text.clear();
        self.arena.set_live(index as usize, false);
        let what = pass.retire(series.cells.slot_word());
        let forget = forget || !C::FOLDS;
        if !forget {
            self.overflowed.store(true, Relaxed);
        }
        let mut retirement = self.retirement();
        retirement.retired.push(Retired {
            index,
            what,
            forget,
        });
        if let Some(idle) = retirement.idle.get_mut(index as usize) {
            *idle = (0, None);
        }
        drop(retirement);
        self.population.end();
        self.version.fetch_add(1, Relaxed);
        true
    }

    /// Folds retired series into the overflow series where no thread can be updating them any more.
    pub(super) fn reclaim_retired(&self, pass: &mut Pass<'_>) {
        // Not under the lock: a thread that makes a series asks it for one to use again.
        let retired = {
            let mut retirement = self.retirement();
            let mut retired = retirement.retired.iter();
            if !retired.any(|retired| pass.is_safe(retired.what)) {
                retirement.sweep_threshold = 2 * retirement.retired.len();
                return;
            }
            std::mem::take(&mut retirement.retired)
        };
        let (mut waiting, mut free) = (Vec::new(), Vec::new());
        for retired in retired {
            let Some(series) = self.series(retired.index as usize) else {
                continue;
            };
            let into = (!retired.forget).then_some(&self.first);
            if observe::reclaim(pass, &self.shape, &series.cells, retired.what, into) {
                if let Some(exemplars) = self.exemplars.get() {
                    exemplars.clear(retired.index);
                }
                free.push(Reverse(retired.index));
            } else {
                waiting.push(retired);
            }
        }
        pass.free_cleared();
        let mut retirement = self.retirement();
        retirement.sweep_threshold = 2 * waiting.len();
        retirement.retired = waiting;
        retirement.free.extend(free);
        self.has_free.store(!retirement.free.is_empty(), Relaxed);
    }

    /// Reads the overflow series and what is retired into it, so that the family's sum never drops.
    pub(super) fn read_overflow(&self, pass: &mut Pass<'_>) -> C::Total {
        let retired: Vec<_> = self
            .retirement()
            .retired
            .iter()
            .filter(|retired| !retired.forget)
            .map(|retired| (retired.index, retired.what))
            .collect();
        let retired = retired.iter().filter_map(|&(index, what)| {
            let series = self.series(index as usize)?;
            Some((&series.cells, what))
        });
        let mut total = C::Total::default();
        observe::read_overflow(pass, &self.first, retired, &mut total);
        total
    }

    pub(super) fn has_expired(&self, index: u32, total: &C::Total) -> bool {
        let Some(after) = self.desc.expire_after else {
            return false;
        };
        let now = crate::clock::now();
        let seen = C::fingerprint(total);
        let mut retirement = self.retirement();
        let index = index as usize;
        if retirement.idle.len() <= index {
            retirement.idle.resize(index + 1, (0, None));
        }
        let (last, since) = &mut retirement.idle[index];
        let since_when = match since {
            Some(since) if *last == seen => *since,
            _ => {
                *last = seen;
                *since = Some(now);
                now
            }
        };
        now.duration_since(since_when) >= after && C::may_expire(total)
    }
}

/// By how much a sum of floats may differ from itself in another order: that of ten million terms of one sign.
const REORDERED: f64 = 1e-9;

impl<T> Retirement<T> {
    /// Leaves the overflow series' sum of floats where it was, if it went back by rounding: folding adds up in another
    /// order, and to who reads it an ulp less is a restart.
    pub(super) fn steady(&mut self, float: &mut f64) {
        let back = self.exported_sum - *float;
        if back > 0.0 && back <= self.exported_sum * REORDERED {
            *float = self.exported_sum;
        }
        self.exported_sum = *float;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::family::desc::{Desc, Names};
    use crate::observe::Tally;
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
}
