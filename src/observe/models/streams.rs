//! Loom models of a summary's stream and its window.

use std::collections::BTreeSet;
use std::sync::Arc;

use loom::thread;

use crate::mapped::Place;
use crate::snapshot::sketch::{Bound, Targets, value_of};

use super::super::stream::{Flush, Stream, StreamBudget, SummaryTotal};
use super::super::window::Ages;
use super::{reached, set};

/// Returns the number of observations in a read, or `None` if the reader has to retry. Panics if
/// the read is not a prefix.
///
/// The values are 1, 2, 3, …, so count and sum identify the prefix. The buffer has one value, and
/// two from the third observation on, so most pushes flush, and a page is replaced.
fn prefix(stream: &Stream) -> Option<u64> {
    let mut total = SummaryTotal::default();
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

/// Without memory: buffers stay small, and no page is replaced.
#[test]
fn a_stream_read_is_a_prefix() {
    stream_reads_are_prefixes(0);
}

/// With memory: larger pages replace the first ones.
#[test]
fn a_stream_read_is_a_prefix_while_it_grows() {
    stream_reads_are_prefixes(1 << 20);
}

fn stream_reads_are_prefixes(memory: u64) {
    let seen = reached(2, move || {
        let budget = StreamBudget::new();
        budget.set(memory);
        let stream = Arc::new(Stream::new(&budget, Ages::ALL, 1, Place::Heap));
        let owner = {
            let stream = Arc::clone(&stream);
            thread::spawn(move || push(&stream, 1..=4))
        };
        let (first, second) = (prefix(&stream), prefix(&stream));
        if let (Some(first), Some(second)) = (first, second) {
            assert!(first <= second, "went back");
        }
        owner.join().unwrap();
        assert_eq!(prefix(&stream), Some(4));
        (first, second)
    });
    let firsts: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(
        firsts,
        set(&[None, Some(0), Some(1), Some(2), Some(3), Some(4)])
    );
}

/// Each value is observed in an age of its own, so every push flushes, and most flushes put a
/// sketch aside. The first read has all ages in its window, and closes buffers. The second one has
/// a window of two ages.
#[test]
fn a_window_read_has_every_value_once() {
    let bound = Arc::new(Bound::new(&Targets::new(&[(0.5, 0.25)])));
    let seen = reached(2, move || {
        let (first, last) = (1, 3);
        // Buffers of one value: the buffer is full or closed at every push but the first.
        let budget = StreamBudget::new();
        budget.set(0);
        let stream = Arc::new(Stream::new(
            &budget,
            Ages::new(first, 100),
            100,
            Place::Heap,
        ));
        let owner = {
            let (stream, bound) = (Arc::clone(&stream), Arc::clone(&bound));
            // An insertion into a sketch needs more stack than loom gives to a thread.
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
            let mut total = SummaryTotal::default();
            if !stream.read(ages, &mut total) {
                return None;
            }
            let mut values = Vec::new();
            for part in &total.sketches {
                assert!(ages.contains(part.age), "{total:?}");
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
        let recent = read(Ages::new(4, 2));
        owner.join().unwrap();
        assert_eq!(read(Ages::new(last, 100)), Some((0, last)), "lost");
        (all.map(|all| all.1), recent)
    });
    let all: BTreeSet<_> = seen.iter().map(|seen| seen.0).collect();
    assert_eq!(all, set(&[None, Some(0), Some(1), Some(2), Some(3)]));
    let recent: BTreeSet<_> = seen.iter().filter_map(|seen| seen.1).collect();
    assert!(
        recent.is_superset(&set(&[(0, 0), (0, 1), (1, 2), (2, 3)])),
        "{recent:?}"
    );
}
