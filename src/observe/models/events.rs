//! Loom models of events: counters and a histogram in one block.

use std::sync::Arc;

use loom::thread;

use crate::sync::AtomicU64;

use super::super::bucket_block::{read_event, record};
use super::super::memory::Block;
use super::super::{Buckets, Cells, Engine, Generation, Outcome, Shape, promote, reclaim};
use super::{reached, set, spawn, total};

/// Events: what they add to two counters, a bucket and the sum. The second one observes nothing.
const EVENTS: [([u64; 2], usize, f64); 3] = [([1, 10], 0, 1.0), ([1, 0], 2, 0.0), ([1, 5], 1, 4.0)];

/// The counters, the buckets and the sum after each event.
const PREFIXES: [([u64; 2], [u64; 3], f64); 4] = [
    ([0, 0], [0, 0, 0], 0.0),
    ([1, 10], [1, 0, 0], 1.0),
    ([2, 10], [1, 0, 1], 1.0),
    ([3, 15], [1, 1, 1], 5.0),
];

/// A block of its own, with two counters and three buckets.
struct Cold(Box<[AtomicU64]>);

impl Cold {
    fn new() -> Arc<Self> {
        let cells = Buckets::event_cells(2, 3);
        Arc::new(Self((0..cells).map(|_| AtomicU64::new(0)).collect()))
    }

    fn record(&self, events: &[([u64; 2], usize, f64)]) {
        for (added, bucket, value) in events {
            // SAFETY: a block of two counters and three buckets, and one writer in each model (B4
            // of `buckets`).
            unsafe { record(Block::of(&self.0), added, *bucket, *value) };
        }
    }

    /// Returns the number of events in a read, or `None` if the reader has to retry.
    fn read(&self) -> Option<usize> {
        let (mut counters, mut counts) = ([0; 2], [0; 3]);
        let block = Block::of(&self.0);
        // SAFETY: a block of two counters and three buckets (B4 of `buckets`).
        let load = |cell, order| unsafe { block.cell(cell) }.load(order);
        let sum = read_event(load, &mut counters, &mut counts)?;
        let prefix = PREFIXES.iter().position(|p| *p == (counters, counts, sum));
        Some(prefix.unwrap_or_else(|| panic!("torn: {counters:?}, {counts:?} and {sum}")))
    }
}

/// One read beside two events, of which one observes nothing, in all interleavings.
#[test]
fn a_read_sees_all_of_an_event_or_nothing() {
    let seen = reached(0, || {
        let cells = Cold::new();
        let owner = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || cells.record(&EVENTS[..2]))
        };
        let read = cells.read();
        owner.join().unwrap();
        read
    });
    assert_eq!(seen, set(&[None, Some(0), Some(1), Some(2)]));
}

/// Two reads beside three events.
#[test]
fn reads_of_events_never_go_back() {
    reached(2, || {
        let cells = Cold::new();
        let owner = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || cells.record(&EVENTS))
        };
        let (first, second) = (cells.read(), cells.read());
        if let (Some(first), Some(second)) = (first, second) {
            assert!(first <= second, "went back");
        }
        owner.join().unwrap();
        assert_eq!(cells.read(), Some(3));
    });
}

/// Two threads record while the series is cold, and the collector folds it into another one: each
/// counter ends with what the histogram has.
#[test]
fn events_of_a_retired_series_are_folded_whole() {
    let seen = reached(2, || {
        let engine = Arc::new(Engine::new());
        let shape = Shape::event(1, &[]);
        let [old, overflow] = std::array::from_fn(|_| Arc::new(Buckets::new(&shape)));
        let record = |engine: &Engine, thread: &super::super::thread::Thread, series: &Buckets| {
            let event = (&[2][..], 0, 1.0);
            series.record_cold(engine, thread, Generation::FIRST, event, false)
        };
        let writer = {
            let (old, overflow) = (Arc::clone(&old), Arc::clone(&overflow));
            spawn(&engine, move |engine, thread| {
                promote(
                    engine,
                    old.slot_word(),
                    Generation::FIRST,
                    Buckets::width(&Shape::event(1, &[])) as u64,
                );
                match record(engine, thread, &old) {
                    Outcome::Stale => record(engine, thread, &overflow),
                    done => done,
                }
            })
        };
        let mut pass = engine.pass();
        let retired = pass.retire(old.slot_word(), false);
        drop(pass);
        let outcome = writer.join().unwrap();
        assert!(outcome == Outcome::Done, "the update was lost");
        let mut pass = engine.pass();
        let folded = reclaim(&mut pass, &shape, &*old, retired, Some(&*overflow));
        let read = total(&mut pass, &*overflow);
        if folded {
            assert_eq!(
                (&*read.counters, &*read.counts, read.sum.value()),
                (&[2][..], &[1, 0][..], 1.0)
            );
        }
        folded
    });
    assert!(seen.contains(&true));
}
