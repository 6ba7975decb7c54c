//! The protocols under loom. Models drive the code that ships, with tiny capacities: a first slab of four cells, and a
//! series that is hot after its first cold update. Each asserts the set of outcomes that it reached, so that a model
//! that explores nothing fails; `tests/mutate.sh` weakens every ordering and names the model that fails.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use loom::thread;

use crate::snapshot::sketch::{Bound, Targets, value_of};
use crate::sync::{Acquire, AtomicBool, AtomicU64, Passes, Relaxed, Release};

use super::buckets::{observe, try_read};
use super::epoch::with_epochs;
use super::memory::Block;
use super::pass::Pass;
use super::shard::Thread;
use super::stream::{Budget, Flush, Stream, Streamed};
use super::window::Ages;
use super::{Buckets, Cells, Change, Engine, Level, Outcome, Place, Shape, Tag, Tally, UpDown};

mod native;
mod published;

/// Runs a model over all interleavings with at most `preemptions` (0: all there are), and returns what it noted.
fn reached<T: Ord + Debug + Send + 'static>(
    preemptions: usize,
    model: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = (preemptions > 0).then_some(preemptions);
    builder.max_branches = 20_000;
    let notes = Arc::clone(&seen);
    builder.check(move || {
        let outcome = model();
        notes.lock().unwrap().insert(outcome);
    });
    std::mem::take(&mut *seen.lock().unwrap())
}

fn set<T: Ord + Clone>(items: &[T]) -> BTreeSet<T> {
    items.iter().cloned().collect()
}

/// A thread with its own side of the engine, which it leaves at the end.
fn spawn<T: 'static>(
    engine: &Arc<Engine>,
    f: impl FnOnce(&Engine, &Thread) -> T + 'static,
) -> thread::JoinHandle<T> {
    let engine = Arc::clone(engine);
    thread::spawn(move || f(&engine, &Thread::new()))
}

/// An update as `declare` does it: hot, or else cold.
fn inc(engine: &Engine, thread: &Thread, tally: &Tally<u64>, tag: Tag) -> Outcome {
    if Tally::add(thread, tally.place().last(tag), 1_u64) {
        return Outcome::Done;
    }
    tally.add_cold(engine, thread, tag, 1, false)
}

fn total<C: Cells>(pass: &mut Pass<'_>, cells: &C) -> C::Total {
    let mut total = C::Total::default();
    cells.read(pass, cells.place().slot(), &mut total);
    total
}

// ---- A histogram of one thread ----

const STEPS: [(usize, f64); 3] = [(0, 1.0), (1, 2.0), (0, 4.0)];

struct Cold(Box<[AtomicU64]>);

impl Cold {
    fn new() -> Arc<Self> {
        Arc::new(Self((0..5).map(|_| AtomicU64::new(0)).collect()))
    }

    fn observe(&self, bucket: usize, value: f64, times: u64) {
        // SAFETY: five cells, two of them buckets; the models have one writer.
        unsafe { observe(Block::of(&self.0), bucket, value, times) };
    }

    /// The number of observations that were seen, or `None` where the reader has to try again.
    fn read(&self) -> Option<usize> {
        let mut counts = [0; 2];
        // SAFETY: as above.
        let sum = unsafe { try_read(Block::of(&self.0), &mut counts) }?;
        let prefixes = [([0, 0], 0.0), ([1, 0], 1.0), ([1, 1], 3.0), ([2, 1], 7.0)];
        let prefix = prefixes.iter().position(|p| *p == (counts, sum));
        Some(prefix.unwrap_or_else(|| panic!("torn: {counts:?} and {sum}")))
    }
}

#[test]
fn a_histogram_read_is_a_prefix() {
    let seen = reached(0, || {
        let cells = Cold::new();
        let owner = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || STEPS[..2].iter().for_each(|&(b, v)| cells.observe(b, v, 1)))
        };
        let read = cells.read();
        owner.join().unwrap();
        read
    });
    assert_eq!(seen, set(&[None, Some(0), Some(1), Some(2)]));
}

#[test]
fn histogram_reads_never_go_back() {
    let seen = reached(2, || {
        let cells = Cold::new();
        let owner = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || STEPS.iter().for_each(|&(b, v)| cells.observe(b, v, 1)))
        };
        let (first, second) = (cells.read(), cells.read());
        if let (Some(first), Some(second)) = (first, second) {
            assert!(first <= second, "went back");
        }
        owner.join().unwrap();
        assert_eq!(cells.read(), Some(3));
        (first, second)
    });
    let all = set(&[None, Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(seen.iter().map(|s| s.0).collect::<BTreeSet<_>>(), all);
    assert_eq!(seen.iter().map(|s| s.1).collect::<BTreeSet<_>>(), all);
}

/// An even number at once leaves the count's own parity as it is: the side must not depend on it.
#[test]
fn a_histogram_takes_many_at_once() {
    let seen = reached(0, || {
        let cells = Cold::new();
        let owner = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || {
                cells.observe(0, 1.0, 2);
                cells.observe(1, 5.0, 2);
            })
        };
        let mut counts = [0; 2];
        // SAFETY: five cells, two of them buckets.
        let sum = unsafe { try_read(Block::of(&cells.0), &mut counts) };
        owner.join().unwrap();
        sum.map(|sum| (counts, sum as u64))
    });
    assert_eq!(
        seen,
        set(&[
            None,
            Some(([0, 0], 0)),
            Some(([2, 0], 2)),
            Some(([2, 2], 12))
        ])
    );
}

/// Two threads on a cold histogram: one of them makes it hot, nothing is lost, nothing torn.
#[test]
fn a_cold_histogram_has_one_writer_at_a_time() {
    let seen = reached(2, || {
        let engine = Arc::new(Engine::new());
        let histogram = Arc::new(Buckets::new(&Shape::fixed(2)));
        let writers: Vec<_> = [(0, 1.0), (1, 2.0)]
            .into_iter()
            .map(|(bucket, value)| {
                let histogram = Arc::clone(&histogram);
                spawn(&engine, move |engine, thread| {
                    let what = (bucket, value, 1);
                    let outcome = histogram.observe_cold(engine, thread, Tag::FIRST, what, false);
                    assert_eq!(outcome, Outcome::Done);
                })
            })
            .collect();
        let mut pass = engine.pass();
        let read = total(&mut pass, &*histogram);
        let expected = read.counts[0] as f64 + 2.0 * read.counts[1] as f64;
        assert_eq!(read.sum, expected, "torn: {read:?}");
        drop(pass);
        writers.into_iter().for_each(|w| w.join().unwrap());
        let mut pass = engine.pass();
        let all = total(&mut pass, &*histogram);
        assert_eq!((all.counts, all.sum), (vec![1, 1], 3.0), "lost");
        (
            read.counts[0],
            read.counts[1],
            histogram.place().slot().is_some(),
        )
    });
    for counts in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        assert!(
            seen.iter().any(|s| (s.0, s.1) == counts),
            "{counts:?} of {seen:?}"
        );
    }
}

/// The reader's last resort: a copy that the owner makes between two observations.
#[test]
fn an_owner_answers_with_a_copy() {
    let seen = reached(4, || {
        let engine = Arc::new(Engine::new());
        let histogram = Arc::new(Buckets::new(&Shape::fixed(1)));
        super::promote(&engine, histogram.place(), Tag::FIRST, 4);
        let last = histogram.place().slot().unwrap();
        let owner = {
            let histogram = Arc::clone(&histogram);
            spawn(&engine, move |engine, thread| {
                for value in [1.0, 2.0] {
                    if !Buckets::observe(thread, histogram.place().last(Tag::FIRST), 0, value, 1) {
                        let what = (0, value, 1);
                        histogram.observe_cold(engine, thread, Tag::FIRST, what, false);
                    }
                }
            })
        };
        let copy = engine.shards.iter().next().and_then(|shard| {
            shard.ask_for_block(1, last, 4, false);
            let mut counts = [0];
            let block = shard.answered_block(1, 4)?;
            // SAFETY: four cells, one of them a bucket.
            let sum = unsafe { try_read(block, &mut counts) }.expect("a copy is still");
            assert_eq!(sum, [0.0, 1.0, 3.0][counts[0] as usize], "torn");
            Some(counts[0])
        });
        owner.join().unwrap();
        copy
    });
    assert!(
        seen.is_superset(&set(&[None, Some(0), Some(1)])),
        "{seen:?}"
    );
}

// ---- Totals ----

#[test]
fn totals_never_go_back_across_promotion() {
    let seen = reached(2, || {
        let engine = Arc::new(Engine::new());
        let tally = Arc::new(Tally::<u64>::new(&()));
        let threads: Vec<_> = [2, 1]
            .into_iter()
            .map(|updates| {
                let tally = Arc::clone(&tally);
                spawn(&engine, move |engine, thread| {
                    for _ in 0..updates {
                        assert_eq!(inc(engine, thread, &tally, Tag::FIRST), Outcome::Done);
                    }
                })
            })
            .collect();
        let first = total(&mut engine.pass(), &*tally);
        let second = total(&mut engine.pass(), &*tally);
        assert!(first <= second, "went back from {first} to {second}");
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(total(&mut engine.pass(), &*tally), 3, "lost or doubled");
        (first, second)
    });
    assert!(seen.len() >= 6, "{seen:?}");
}

/// Growth copies: what a reader saw in the old slab it finds in the new one.
#[test]
fn totals_never_go_back_across_growth() {
    let seen = reached(2, || {
        let engine = Arc::new(Engine::new());
        let (small, large) = (
            Arc::new(Tally::<u64>::new(&())),
            Arc::new(Tally::<u64>::new(&())),
        );
        super::promote(&engine, small.place(), Tag::FIRST, 1);
        while large.place().slot().is_none_or(|slot| slot < 4) {
            let last = engine.slots.allocate(1).unwrap();
            if last >= 4 {
                large.place().promote(Tag::FIRST, last);
            }
        }
        let owner = {
            let small = Arc::clone(&small);
            spawn(&engine, move |engine, thread| {
                for tally in [&small, &large, &small] {
                    inc(engine, thread, tally, Tag::FIRST);
                }
            })
        };
        let first = total(&mut engine.pass(), &*small);
        let second = total(&mut engine.pass(), &*small);
        assert!(first <= second, "went back from {first} to {second}");
        owner.join().unwrap();
        assert_eq!(total(&mut engine.pass(), &*small), 2, "lost");
        (first, second)
    });
    let expected = set(&[(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]);
    assert!(seen.is_superset(&expected), "{seen:?}");
}

/// A shard that was left is adopted with everything in it, by one thread only.
#[test]
fn an_adopted_shard_goes_on_where_it_was() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let tally = Arc::new(Tally::<u64>::new(&()));
        super::promote(&engine, tally.place(), Tag::FIRST, 1);
        let one = {
            let tally = Arc::clone(&tally);
            move |engine: &Engine, thread: &Thread| _ = inc(engine, thread, &tally, Tag::FIRST)
        };
        let threads = [spawn(&engine, one.clone()), spawn(&engine, one.clone())];
        one(&engine, &Thread::new());
        let seen = total(&mut engine.pass(), &*tally);
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(total(&mut engine.pass(), &*tally), 3, "lost or doubled");
        (seen, engine.shards.iter().count())
    });
    let shards: BTreeSet<_> = seen.iter().map(|s| s.1).collect();
    assert!(shards.contains(&1) && shards.contains(&2), "{seen:?}");
}

// ---- Up and down ----

/// A counts up in a place that is new to the reader and hands the work to B, which counts down in its own.
#[test]
fn in_flight_is_never_below_zero() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let in_flight = Arc::new(UpDown::new(&()));
        super::promote(&engine, in_flight.place(), Tag::FIRST, 2);
        let message = Arc::new(AtomicBool::new(false));
        let a = {
            let (in_flight, message) = (Arc::clone(&in_flight), Arc::clone(&message));
            spawn(&engine, move |engine, thread| {
                in_flight.add_cold(engine, thread, Tag::FIRST, 1, 0, false);
                message.store(true, Release);
            })
        };
        let b = {
            let (in_flight, message) = (Arc::clone(&in_flight), Arc::clone(&message));
            spawn(&engine, move |engine, thread| {
                // The reader knows this thread, and not yet the other one.
                thread.warm(engine);
                if message.load(Acquire) {
                    in_flight.add_cold(engine, thread, Tag::FIRST, 0, 1, false);
                }
            })
        };
        let seen = total(&mut engine.pass(), &*in_flight);
        assert!(seen >= 0, "below zero: {seen}");
        a.join().unwrap();
        b.join().unwrap();
        seen
    });
    assert_eq!(seen, set(&[0, 1]));
}

/// The same through the shared cells.
#[test]
fn in_flight_is_never_below_zero_when_cold() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        // No slot is left: it stays cold.
        engine
            .slots
            .waiting(1, super::slot::UNRECLAIMED_LIMIT as i64);
        let in_flight = Arc::new(UpDown::new(&()));
        let message = Arc::new(AtomicBool::new(false));
        let a = {
            let (in_flight, message) = (Arc::clone(&in_flight), Arc::clone(&message));
            spawn(&engine, move |engine, thread| {
                in_flight.add_cold(engine, thread, Tag::FIRST, 1, 0, false);
                message.store(true, Release);
            })
        };
        let b = {
            let (in_flight, message) = (Arc::clone(&in_flight), Arc::clone(&message));
            spawn(&engine, move |engine, thread| {
                if message.load(Acquire) {
                    in_flight.add_cold(engine, thread, Tag::FIRST, 0, 1, false);
                }
            })
        };
        let seen = total(&mut engine.pass(), &*in_flight);
        assert!(seen >= 0, "below zero: {seen}");
        a.join().unwrap();
        b.join().unwrap();
        seen
    });
    assert_eq!(seen, set(&[0, 1]));
}

// ---- A slot that is used again ----

/// The collector takes the slot of one series and gives it to another, beside an owner that updates both; while it
/// grows, if `grows`. No update lands in the other series, none is lost, no request either.
fn reuse(grows: bool) -> BTreeSet<(bool, u64, bool)> {
    reached(2, move || {
        let engine = Arc::new(Engine::new());
        let old = Arc::new(Tally::<u64>::new(&()));
        let new = Arc::new(Tally::<u64>::new(&()));
        let overflow = Arc::new(Tally::<u64>::new(&()));
        super::promote(&engine, old.place(), Tag::FIRST, 1);
        let slot = old.place().slot().unwrap();
        // A series that only fits a larger slab.
        let far = Arc::new(Place::new());
        if grows {
            while engine.slots.allocate(1).unwrap() < 4 {}
            far.promote(Tag::FIRST, 5);
        }
        // Nobody else is promoted: the others stay in their shared cells.
        engine
            .slots
            .waiting(1, super::slot::UNRECLAIMED_LIMIT as i64 + 9);
        let owner = {
            let (old, new, overflow) = (Arc::clone(&old), Arc::clone(&new), Arc::clone(&overflow));
            spawn(&engine, move |engine, thread| {
                let or_overflow = |outcome| {
                    if outcome == Outcome::Stale {
                        inc(engine, thread, &overflow, Tag::FIRST);
                    }
                };
                or_overflow(inc(engine, thread, &old, Tag::FIRST));
                if grows && !Tally::add(thread, far.last(Tag::FIRST), 0_u64) {
                    thread.settle(engine, &far, Tag::FIRST);
                }
                or_overflow(inc(engine, thread, &old, Tag::FIRST));
                inc(engine, thread, &new, Tag::FIRST);
            })
        };
        let mut pass = engine.pass();
        let retired = pass.retire(old.place());
        assert_eq!(retired.slot(), Some(slot));
        drop(pass);
        // The request is sent by the next pass, and answered by the one after that, if the owner has come by.
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = super::end(&mut pass, &(), &*old, retired, Some(&*overflow));
        if reused {
            assert!(new.place().promote(Tag::FIRST, slot));
            let news = total(&mut pass, &*new);
            assert!(news <= 1, "the same pass finds an old count in it: {news}");
        }
        drop(pass);
        owner.join().unwrap();
        let shard = engine.shards.iter().next().unwrap();
        assert!(
            !shard.owes_an_answer(),
            "request lost: the owner is back in its hot path and has not answered"
        );
        let mut pass = engine.pass();
        let mut olds = total(&mut pass, &*overflow);
        if !reused {
            old.read(&mut pass, retired.slot(), &mut olds);
        }
        let news = total(&mut pass, &*new);
        assert_eq!((olds, news), (2, 1), "reused: {reused}");
        (reused, shard.slab().capacity(), shard.has_answered(1))
    })
}

#[test]
fn a_slot_is_used_again() {
    let seen = reuse(false);
    let reused: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(reused, set(&[false, true]), "{seen:?}");
}

#[test]
fn a_slot_is_used_again_while_its_shard_grows() {
    let seen = reuse(true);
    let reused: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(reused, set(&[false, true]), "{seen:?}");
}

/// A shard that nobody owns: the collector answers for it, and who adopts it then knows what was retired.
#[test]
fn a_slot_of_a_free_shard_is_used_again() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let [old, new, overflow] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
        super::promote(&engine, old.place(), Tag::FIRST, 1);
        engine
            .slots
            .waiting(1, super::slot::UNRECLAIMED_LIMIT as i64 + 9);
        inc(&engine, &Thread::new(), &old, Tag::FIRST);
        let next = {
            let (old, overflow) = (Arc::clone(&old), Arc::clone(&overflow));
            spawn(&engine, move |engine, thread| {
                if inc(engine, thread, &old, Tag::FIRST) == Outcome::Stale {
                    inc(engine, thread, &overflow, Tag::FIRST);
                }
            })
        };
        let retired = engine.pass().retire(old.place());
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = super::end(&mut pass, &(), &*old, retired, Some(&*overflow));
        drop(pass);
        if reused {
            assert!(new.place().promote(Tag::FIRST, retired.slot().unwrap()));
        }
        next.join().unwrap();
        let mut pass = engine.pass();
        let mut olds = total(&mut pass, &*overflow);
        if !reused {
            old.read(&mut pass, retired.slot(), &mut olds);
        }
        assert_eq!((olds, total(&mut pass, &*new)), (2, 0), "reused: {reused}");
        (reused, engine.shards.iter().count())
    });
    assert!(
        seen.contains(&(true, 1)) && seen.iter().any(|s| !s.0),
        "{seen:?}"
    );
}

/// A slot that was used before reaches an owner through the copy that another thread made of the place.
#[test]
fn a_copied_place_carries_the_zeroes() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let [old, new] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
        super::promote(&engine, old.place(), Tag::FIRST, 1);
        let copy = Arc::new(Place::new());
        let owner = {
            let (old, copy) = (Arc::clone(&old), Arc::clone(&copy));
            spawn(&engine, move |engine, thread| {
                inc(engine, thread, &old, Tag::FIRST);
                // Meets the request, if it is there by now.
                inc(engine, thread, &old, Tag::FIRST);
                Tally::add(thread, copy.last(Tag::FIRST), 1_u64)
            })
        };
        let copier = {
            let (new, copy) = (Arc::clone(&new), Arc::clone(&copy));
            thread::spawn(move || new.place().copy_to(&copy))
        };
        let retired = engine.pass().retire(old.place());
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = super::end(&mut pass, &(), &*old, retired, None);
        drop(pass);
        if reused {
            assert!(new.place().promote(Tag::FIRST, retired.slot().unwrap()));
        }
        copier.join().unwrap();
        let counted = owner.join().unwrap();
        if reused {
            let news = total(&mut engine.pass(), &*new);
            assert_eq!(news, u64::from(counted), "an old count came back");
        }
        (reused, counted)
    });
    assert!(seen.contains(&(true, true)), "{seen:?}");
}

/// A thread registers while the collector asks: either it is asked, or it finds the series retired.
#[test]
fn a_new_thread_is_asked_or_finds_it_retired() {
    let seen = reached(0, || {
        let engine = Arc::new(Engine::new());
        let tally = Arc::new(Tally::<u64>::new(&()));
        super::promote(&engine, tally.place(), Tag::FIRST, 1);
        let thread = {
            let tally = Arc::clone(&tally);
            spawn(&engine, move |engine, thread| {
                inc(engine, thread, &tally, Tag::FIRST)
            })
        };
        tally.place().retire();
        let found = engine.shards.iter_to_ask().count();
        let outcome = thread.join().unwrap();
        assert!(
            found == 1 || outcome == Outcome::Stale,
            "a thread that nobody asked writes the slot"
        );
        (found, outcome == Outcome::Stale)
    });
    assert_eq!(seen, set(&[(0, true), (1, false), (1, true)]));
}

// ---- A gauge that is used again ----

/// A gauge's series ends, and another one begins in its cell, beside a thread that opens and sets it: none of its updates
/// lands in the other one.
#[test]
fn a_gauge_is_used_again() {
    let seen = with_epochs(|| {
        reached(2, || {
            let engine = Arc::new(Engine::new());
            let level = Arc::new(Level::new(&0.0));
            let owner = {
                let level = Arc::clone(&level);
                spawn(&engine, move |engine, thread| {
                    for value in [1.0, 2.0] {
                        let set = Change::Set(value);
                        if !level.change(thread, Tag::FIRST, set) {
                            level.change_cold(engine, thread, Tag::FIRST, set);
                        }
                    }
                })
            };
            let retired = engine.pass().retire(level.place());
            // The request is sent by the next pass, and answered by the one after that.
            drop(engine.pass());
            let mut pass = engine.pass();
            let reused = super::end(&mut pass, &0.0, &*level, retired, None);
            drop(pass);
            if reused {
                level.apply(Change::Set(9.0));
            }
            owner.join().unwrap();
            if reused {
                assert_eq!(level.value(), 9.0, "another's update");
            }
            (reused, retired.slot().is_some(), level.value() as u64)
        })
    });
    for how in [(false, false), (false, true), (true, false), (true, true)] {
        assert!(
            seen.iter().any(|&(reused, open, _)| (reused, open) == how),
            "{how:?} of {seen:?}"
        );
    }
}

// ---- Passes ----

#[test]
fn a_shared_pass_has_the_update_of_who_asked() {
    let seen = reached(2, || {
        let passes = Arc::new(Passes::<u64>::new());
        let cells = Arc::new([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]);
        let ran = Arc::new(AtomicU64::new(0));
        let inside = Arc::new(AtomicU64::new(0));
        let scrape = {
            let ran = Arc::clone(&ran);
            Arc::new(move |me: usize| {
                cells[me].store(1 << (4 * me), Relaxed);
                let found = passes.share(|| {
                    assert_eq!(inside.fetch_add(1, Relaxed), 0, "two passes at once");
                    ran.fetch_add(1, Relaxed);
                    let found = cells.iter().map(|cell| cell.load(Relaxed)).sum();
                    inside.fetch_sub(1, Relaxed);
                    found
                });
                assert_eq!(
                    found >> (4 * me) & 1,
                    1,
                    "an update that returned is missing"
                );
            })
        };
        let others: Vec<_> = (1..3)
            .map(|me| {
                let scrape = Arc::clone(&scrape);
                thread::spawn(move || scrape(me))
            })
            .collect();
        scrape(0);
        others.into_iter().for_each(|t| t.join().unwrap());
        ran.load(Relaxed)
    });
    assert!(
        seen.contains(&2),
        "three scrapes never shared a pass: {seen:?}"
    );
}

// ---- A summary's stream ----

/// Values 1, 2, 3.. so that count and sum say which prefix it is; a buffer of one, so that every push but the first flushes.
fn streamed(stream: &Stream) -> Option<u64> {
    let mut total = Streamed::default();
    if !stream.read(Ages::ALL, &mut total) {
        return None;
    }
    let n = total.count;
    assert_eq!(total.sum, (n * (n + 1) / 2) as f64, "torn: {total:?}");
    Some(n)
}

fn push(stream: &Stream, values: std::ops::RangeInclusive<u32>) {
    let mut flush = Flush::default();
    for value in values {
        stream.insert(f64::from(value), || {
            stream.flush(None, Ages::ALL, &mut flush)
        });
    }
}

#[test]
fn a_stream_read_is_a_prefix() {
    let seen = reached(2, || {
        let stream = Arc::new(Stream::new(&Budget::new(), Ages::ALL, 1));
        let owner = {
            let stream = Arc::clone(&stream);
            thread::spawn(move || push(&stream, 1..=4))
        };
        let (first, second) = (streamed(&stream), streamed(&stream));
        if let (Some(first), Some(second)) = (first, second) {
            assert!(first <= second, "went back");
        }
        owner.join().unwrap();
        assert_eq!(streamed(&stream), Some(4));
        (first, second)
    });
    let firsts: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(
        firsts,
        set(&[None, Some(0), Some(1), Some(2), Some(3), Some(4)])
    );
}

/// Each value is of an age of its own, its number: every push flushes and most put an age aside. A first reader has them
/// all and closes buffers, a second one has a window of two ages.
#[test]
fn a_window_read_has_every_value_once() {
    let bound = Arc::new(Bound::new(&Targets::new(&[(0.5, 0.25)])));
    let seen = reached(2, move || {
        let (first, last) = (1, 3);
        let stream = Arc::new(Stream::new(&Budget::new(), Ages::new(first, 100), 100));
        let owner = {
            let (stream, bound) = (Arc::clone(&stream), Arc::clone(&bound));
            // A sketch's insertion has more on its stack than models get.
            let big = thread::Builder::new().stack_size(1 << 15);
            big.spawn(move || {
                let mut flush = Flush::default();
                for age in first..=last {
                    stream.insert(age as f64, || {
                        stream.flush(Some(&bound), Ages::new(age, 100), &mut flush);
                    });
                }
            })
            .unwrap()
        };
        let read = |ages: Ages| {
            let mut total = Streamed::default();
            if !stream.read(ages, &mut total) {
                return None;
            }
            let mut values = Vec::new();
            for part in &total.parts {
                assert!(ages.hold(part.age), "{total:?}");
                for tuple in part.sketch.tuples() {
                    assert_eq!(tuple.g, 1);
                    values.push(value_of(tuple.key) as u64);
                }
            }
            values.sort_unstable();
            let gone = total.count - values.len() as u64;
            assert_eq!(
                values,
                (gone + 1..=total.count).collect::<Vec<_>>(),
                "{total:?}"
            );
            Some((gone, total.count))
        };
        let all = read(Ages::new(3, 100));
        assert!(all.is_none_or(|(gone, _)| gone == 0), "lost");
        let lately = read(Ages::new(4, 2));
        owner.join().unwrap();
        assert_eq!(read(Ages::new(last, 100)), Some((0, last)), "lost");
        (all.map(|all| all.1), lately)
    });
    let all: BTreeSet<_> = seen.iter().map(|seen| seen.0).collect();
    assert_eq!(all, set(&[None, Some(0), Some(1), Some(2), Some(3)]));
    let lately: BTreeSet<_> = seen.iter().filter_map(|seen| seen.1).collect();
    assert!(
        lately.is_superset(&set(&[(0, 0), (0, 1), (1, 2), (2, 3)])),
        "{lately:?}"
    );
}
