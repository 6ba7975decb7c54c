//! Loom models of histograms: one block, the cold block, and copies that a reader requests.

use std::collections::BTreeSet;
use std::sync::Arc;

use loom::thread;

use crate::sync::AtomicU64;

use super::super::bucket_block::{copy_fixed, observe, try_read};
use super::super::buckets::Observation;
use super::super::memory::Block;
use super::super::slot::UNRECLAIMED_LIMIT;
use super::super::thread::Thread;
use super::super::{Buckets, Cells, Engine, Generation, Outcome, Shape, promote, reclaim};
use super::{reached, set, shards, spawn, total};

const STEPS: [(usize, f64); 3] = [(0, 1.0), (1, 2.0), (0, 4.0)];

/// A block of its own, with two buckets.
struct Cold(Box<[AtomicU64]>);

impl Cold {
    fn new() -> Arc<Self> {
        Arc::new(Self((0..5).map(|_| AtomicU64::new(0)).collect()))
    }

    fn observe(&self, bucket: usize, value: f64, times: u64) {
        // SAFETY: five cells, two of them buckets, and one writer in each model (B4 of `buckets`).
        unsafe { observe(Block::of(&self.0), bucket, value * times as f64, times) };
    }

    /// Returns the number of observations in a read, or `None` if the reader has to retry.
    fn read(&self) -> Option<usize> {
        let mut counts = [0; 2];
        // SAFETY: five cells, two of them buckets (B4 of `buckets`).
        let sum = unsafe { try_read(Block::of(&self.0), &mut counts) }?;
        let prefixes = [([0, 0], 0.0), ([1, 0], 1.0), ([1, 1], 3.0), ([2, 1], 7.0)];
        let prefix = prefixes.iter().position(|p| *p == (counts, sum));
        Some(prefix.unwrap_or_else(|| panic!("torn: {counts:?} and {sum}")))
    }
}

/// One read beside two observations, in all interleavings.
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

/// Two reads beside three observations.
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

/// An observation that counts an even number of times does not change the parity of the count. The
/// side must not depend on that parity.
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
        // SAFETY: five cells, two of them buckets (B4 of `buckets`).
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

/// Two threads observe in a cold histogram, and one of them promotes it, beside a reader. No
/// observation is lost, and no read is torn.
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
                    let observation = Observation::new(bucket, value, 1);
                    let outcome = histogram.observe_cold(
                        engine,
                        thread,
                        Generation::FIRST,
                        observation,
                        false,
                    );
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
        assert_eq!((all.counts, all.sum.value()), (vec![1, 1], 3.0), "lost");
        (
            read.counts[0],
            read.counts[1],
            histogram.slot_word().slot().is_some(),
        )
    });
    for counts in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        assert!(
            seen.iter().any(|s| (s.0, s.1) == counts),
            "{counts:?} of {seen:?}"
        );
    }
}

/// The collector folds a retired histogram into the overflow series while another thread writes the
/// cold block of that series.
#[test]
fn a_fold_and_a_cold_writer_take_turns() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let shape = Shape::fixed(1);
        let [old, overflow] = std::array::from_fn(|_| Arc::new(Buckets::new(&shape)));
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
        let observation = |value| Observation::new(0, value, 1);
        old.observe_cold(
            &engine,
            &Thread::new(),
            Generation::FIRST,
            observation(2.0),
            false,
        );
        let retired = engine.pass().retire(old.slot_word(), false);
        let writer = {
            let overflow = Arc::clone(&overflow);
            spawn(&engine, move |engine, thread| {
                overflow.observe_cold(engine, thread, Generation::FIRST, observation(1.0), false)
            })
        };
        let ended = reclaim(&mut engine.pass(), &shape, &*old, retired, Some(&*overflow));
        assert_eq!(writer.join().unwrap(), Outcome::Done);
        let mut pass = engine.pass();
        if !ended {
            assert!(reclaim(&mut pass, &shape, &*old, retired, Some(&*overflow)));
        }
        let all = total(&mut pass, &*overflow);
        assert_eq!((all.counts, all.sum.value()), (vec![2], 3.0), "lost");
        ended
    });
    assert_eq!(seen, set(&[false, true]));
}

/// The reader requests a copy, which the owner makes between two observations.
#[test]
fn an_owner_makes_a_requested_copy() {
    let seen = reached(4, || {
        let engine = Arc::new(Engine::new());
        let histogram = Arc::new(Buckets::new(&Shape::fixed(1)));
        promote(&engine, histogram.slot_word(), Generation::FIRST, 4);
        let last = histogram.slot_word().slot().unwrap();
        let owner = {
            let histogram = Arc::clone(&histogram);
            spawn(&engine, move |engine, thread| {
                for value in [1.0, 2.0] {
                    if !Buckets::observe(
                        thread,
                        histogram.slot_word().last(Generation::FIRST),
                        || Some(0),
                        value,
                        1,
                    ) {
                        let observation = Observation::new(0, value, 1);
                        histogram.observe_cold(
                            engine,
                            thread,
                            Generation::FIRST,
                            observation,
                            false,
                        );
                    }
                }
            })
        };
        let copy = shards(&engine).first().and_then(|shard| {
            shard.request_copy(1, last, 4, copy_fixed);
            let mut counts = [0];
            let block = shard.copied_block(1)?;
            // SAFETY: four cells, one of them a bucket (B4 of `buckets`).
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

/// A collector makes a safepoint request, then requests a copy, then a longer copy, perhaps before
/// the owner acknowledges the first. An owner that acknowledges an earlier request may already see
/// the later copy request, and must then see its buffer, too.
#[test]
fn a_copy_request_comes_with_its_buffer() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let histogram = Arc::new(Buckets::new(&Shape::fixed(15)));
        promote(&engine, histogram.slot_word(), Generation::FIRST, 18);
        let last = histogram.slot_word().slot().unwrap();
        let owner = {
            let histogram = Arc::clone(&histogram);
            spawn(&engine, move |engine, thread| {
                for value in [1.0, 2.0] {
                    if !Buckets::observe(
                        thread,
                        histogram.slot_word().last(Generation::FIRST),
                        || Some(0),
                        value,
                        1,
                    ) {
                        let observation = Observation::new(0, value, 1);
                        histogram.observe_cold(
                            engine,
                            thread,
                            Generation::FIRST,
                            observation,
                            false,
                        );
                    }
                }
            })
        };
        let acknowledged = shards(&engine).first().map(|shard| {
            shard.request(1);
            shard.request_copy(2, last, 4, copy_fixed);
            let first = shard.acknowledged() >= 1;
            // Longer than the buffer of the previous request.
            shard.request_copy(3, last, 18, copy_fixed);
            (first, shard.acknowledged() >= 2, shard.acknowledged() >= 3)
        });
        owner.join().unwrap();
        acknowledged
    });
    for acknowledged in [
        (false, false, false),
        (false, false, true),
        (false, true, true),
        (true, true, false),
    ] {
        assert!(
            seen.contains(&Some(acknowledged)),
            "{acknowledged:?} of {seen:?}"
        );
    }
}
