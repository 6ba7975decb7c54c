//! Series that went quiet give their slots back, so that the cells of threads are those of series
//! that are busy.
//!
//! A scrape notes what some series with slots have counted. If a scrape at least ten minutes later
//! finds the same, it begins to close these slots, and the next series are watched. So a family
//! with many series takes longer to find them all. A slot that is closing is opened again if its
//! series counts anything before all threads have acknowledged, which a thread that sleeps never
//! does.
//!
//! The slots of some series are never closed: of up-down counters, which may have been busy and
//! count what they did before; of families that are declared hot; of series without labels,
//! overflow series, and those of closed label sets, whose declarations know their slots.

use crate::lockfree::SeriesKey;
use crate::observe::{self, Closing, Pass};

use super::store::OpenSeries;
use super::{Family, MetricCells, read};

/// The number of series that are watched at a time, and the most slots that are closing.
const WATCHED: usize = 4096;

/// The number of minutes for which a series is watched. Passes count them.
const MINUTES: u32 = 10;

/// The series of a family that are watched, and the slots that are closing. Read and written by
/// scrapes.
#[derive(Default)]
pub(super) struct Quiet {
    /// The minute of the last scrape, and how many began since the watched series were noted.
    minute: u64,
    minutes: u32,
    /// The number of the first series to watch next.
    next: usize,
    /// The keys of the watched series, and their fingerprints.
    watched: Vec<(SeriesKey, u64)>,
    /// The series whose slots are closing: their numbers and fingerprints.
    closing: Vec<(u32, u64, Closing)>,
}

impl<C: MetricCells> Family<C> {
    /// Closes the slots of series that went quiet, and makes the series cold whose slots are
    /// closed.
    #[inline]
    pub(super) fn close_quiet(&self, open: &OpenSeries<C>, quiet: &mut Quiet, pass: &mut Pass<'_>) {
        if !quiet.closing.is_empty() {
            self.end_closing(open, quiet, pass);
        }
        let minute = pass.minute();
        if std::mem::replace(&mut quiet.minute, minute) != minute {
            quiet.minutes += 1;
            if quiet.minutes > MINUTES {
                quiet.minutes = 0;
                self.watch(open, quiet, pass);
            }
        }
    }

    #[cold]
    fn end_closing(&self, open: &OpenSeries<C>, quiet: &mut Quiet, pass: &mut Pass<'_>) {
        let mut total = C::Total::default();
        quiet.closing.retain(|&(index, before, closing)| {
            let Some(series) = open.series(index as usize) else {
                return false;
            };
            if observe::end_closing(pass, &self.shape, series.cells, closing) {
                return false;
            }
            read(series.cells, pass, &mut total);
            let is_quiet = C::fingerprint(&total) == before;
            if !is_quiet {
                pass.reopen(series.cells.slot_word(), closing);
            }
            is_quiet
        });
        pass.free_cleared();
    }

    /// Begins to close the slots of watched series that have counted nothing since, and watches the
    /// next series.
    #[cold]
    fn watch(&self, open: &OpenSeries<C>, quiet: &mut Quiet, pass: &mut Pass<'_>) {
        if !C::FOLDS || !C::SHOWS_EACH_UPDATE || self.desc.hot || pass.promotes_eagerly() {
            return;
        }
        let mut total = C::Total::default();
        let mut fingerprint = |cells: &C, pass: &mut Pass<'_>| {
            read(cells, pass, &mut total);
            C::fingerprint(&total)
        };
        for (key, before) in std::mem::take(&mut quiet.watched) {
            let Some(series) = open.series(key.index() as usize) else {
                continue;
            };
            // The number may be another series' by now.
            let same = series.key(key.index()) == key;
            let may_close = same && quiet.closing.len() < WATCHED;
            if may_close && fingerprint(series.cells, pass) == before {
                let closing = pass.close(series.cells.slot_word());
                let closing = closing.map(|closing| (key.index(), before, closing));
                quiet.closing.extend(closing);
            }
        }
        let made = open.roster.population.made();
        let first = if quiet.next < made { quiet.next } else { 0 };
        quiet.next = made.min(first + WATCHED);
        for index in first..quiet.next {
            let Some(series) = open.series(index) else {
                continue;
            };
            if series.is_live() && series.cells.slot_word().slot().is_some() {
                let key = series.key(index as u32);
                let fingerprint = fingerprint(series.cells, pass);
                quiet.watched.push((key, fingerprint));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::family::desc::{Desc, Names};
    use crate::family::{Family, MetricCells};
    use crate::lockfree::Generation;
    use crate::observe::{self, Buckets, Cells, Distribution, Outcome, Tally};
    use crate::snapshot::{self, Kind};

    use super::MINUTES;

    fn scrape<C: MetricCells>(family: &Family<C>) {
        let meta = crate::registry::meta(&family.desc, "", &[]);
        let mut out = snapshot::Family::new(meta, C::values(&family.desc, &family.shape));
        family.write(&mut observe::engine().pass(), &mut out);
    }

    /// Runs a scrape in each of as many minutes.
    fn minutes<C: MetricCells>(family: &Family<C>, count: u32) {
        for _ in 0..count {
            crate::clock::advance(Duration::from_secs(61));
            scrape(family);
        }
    }

    fn new<C: MetricCells>(kind: Kind) -> Family<C> {
        Family::new(Desc::new("quiet", kind, Names::Fixed(&["x"])))
    }

    /// Promotes two series, and updates only the first one from then on. The second one becomes
    /// cold and keeps its count.
    fn quiet<C: MetricCells>(family: &Family<C>, update: impl Fn(&C, Generation, bool) -> Outcome) {
        let [busy, idle] = ["busy", "idle"].map(|x| family.with(&[x]));
        for series in [busy, idle] {
            assert_eq!(
                update(series.cells, series.generation(), true),
                Outcome::Done
            );
            assert!(series.cells.slot_word().slot().is_some());
        }
        let before = C::fingerprint(&idle.total());
        for _ in 0..2 * MINUTES + 4 {
            update(busy.cells, busy.generation(), false);
            minutes(family, 1);
            assert_eq!(C::fingerprint(&idle.total()), before);
        }
        // Threads of other tests may have to acknowledge first.
        for _ in 0..6000 {
            if idle.cells.slot_word().slot().is_none() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            // Other tests advance the engine's minute.
            update(busy.cells, busy.generation(), false);
            scrape(family);
        }
        assert_eq!(idle.cells.slot_word().slot(), None);
        assert_eq!(C::fingerprint(&idle.total()), before);
        assert!(busy.cells.slot_word().slot().is_some());
        update(idle.cells, idle.generation(), false);
        assert_ne!(C::fingerprint(&idle.total()), before);
        // A busy series gets a slot again.
        assert_eq!(update(idle.cells, idle.generation(), true), Outcome::Done);
        assert!(idle.cells.slot_word().slot().is_some());
        assert!(family.retire(&["busy"], true));
    }

    #[test]
    fn a_series_that_went_quiet_becomes_cold() {
        let engine = observe::engine();
        quiet(
            &new::<Tally<u64>>(Kind::Counter),
            |cells, generation, hot| {
                observe::thread(|thread| cells.add_cold(engine, thread, generation, 1, hot))
            },
        );
        quiet(
            &new::<Buckets>(Kind::Histogram),
            |cells, generation, hot| {
                let observation = observe::Observation::new(2, 0.02, 1);
                observe::thread(|thread| {
                    cells.observe_cold(engine, thread, generation, observation, hot)
                })
            },
        );
        quiet(
            &new::<Distribution>(Kind::Summary),
            |cells, generation, hot| {
                observe::thread(|thread| cells.observe_cold(engine, thread, generation, 0.5, hot))
            },
        );
    }

    /// A series that is removed while its slot is closing gives the slot back once.
    #[test]
    fn a_series_may_leave_while_its_slot_is_closing() {
        let family = new::<Tally<u64>>(Kind::Counter);
        let series = family.with(&["x"]);
        let add = |n| {
            observe::thread(|thread| {
                series
                    .cells
                    .add_cold(observe::engine(), thread, series.generation(), n, true)
            })
        };
        assert_eq!(add(7_u64), Outcome::Done);
        let slot = series.cells.slot_word().slot();
        let mut pass = observe::engine().pass();
        let closing = pass.close(series.cells.slot_word()).unwrap();
        assert_eq!(series.cells.slot_word().slot(), slot);
        assert!(pass.close(series.cells.slot_word()).is_none());
        drop(pass);
        assert_eq!(add(1), Outcome::Done);
        assert_eq!(series.total(), 8);
        assert!(family.retire(&["x"], false));
        let mut pass = observe::engine().pass();
        assert!(observe::end_closing(&mut pass, &(), series.cells, closing));
        drop(pass);
        assert_eq!(
            family.read_overflow(family.open().unwrap(), &mut observe::engine().pass()),
            8
        );
        (0..3).for_each(|_| scrape(&family));
        assert_eq!(
            family.read_overflow(family.open().unwrap(), &mut observe::engine().pass()),
            8
        );
        let slots: std::collections::BTreeSet<_> = (0..100)
            .map(|i| {
                let series = family.with(&[&i.to_string()]);
                observe::thread(|thread| {
                    let (engine, generation) = (observe::engine(), series.generation());
                    series.cells.add_cold(engine, thread, generation, 1, true)
                });
                series.cells.slot_word().slot()
            })
            .collect();
        assert_eq!(slots.len(), 100, "two series have one slot");
    }

    /// Adds 1 as `declare` does.
    fn inc(cells: &Tally<u64>, generation: Generation) -> bool {
        let engine = observe::engine();
        let last = cells.slot_word().last(generation);
        observe::thread(|thread| {
            let hot = Tally::add(thread, last, 1_u64);
            if !hot && !cells.add_if_cold(engine, (last, generation), 1, || false) {
                cells.add_cold(engine, thread, generation, 1, false);
            }
            hot
        })
    }

    /// A thread that counted once sleeps, and never acknowledges that the slot is closing.
    #[test]
    fn a_series_that_is_busy_again_keeps_its_slot() {
        let family = new::<Tally<u64>>(Kind::Counter);
        let series = family.with(&["x"]);
        let (cells, generation) = (series.cells, series.generation());
        let (awake, sleep) = std::sync::mpsc::channel::<()>();
        let (counted, ready) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let engine = observe::engine();
                observe::thread(|thread| cells.add_cold(engine, thread, generation, 1, true));
                counted.send(()).unwrap();
                let _ = sleep.recv();
            });
            ready.recv().unwrap();
            minutes(&family, 2 * MINUTES + 4);
            assert!(cells.slot_word().slot().is_some());
            let before = series.total();
            (0..10).for_each(|_| _ = inc(cells, generation));
            minutes(&family, 1);
            assert!((0..10).any(|_| inc(cells, generation)), "cold for good");
            assert!(series.total() > before + 10);
            drop(awake);
        });
    }
}
