//! The cost of a cache line on this machine: to update it where it is, and to get it from the
//! processor that wrote it last. A model of contention needs no more.

use std::hint::black_box;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Instant;

use serde::Serialize;

use crate::machine::pin;

/// Nanoseconds; medians.
#[derive(Serialize)]
pub struct Lines {
    /// Load, add and store of a word that no other thread uses.
    pub own_store: f64,
    /// `fetch_add` of such a word.
    pub own_exchange: f64,
    /// Reading one of many lines that this thread wrote last.
    pub read_own: f64,
    /// Each pair of the first processor and another one.
    pub pairs: Vec<Pair>,
}

#[derive(Clone, Copy, Serialize)]
pub struct Pair {
    pub first: usize,
    pub other: usize,
    /// One way of a ping-pong: the other one's store is seen, and answered.
    pub transfer: f64,
    /// Reading one of many lines that the other one wrote last. Several are under way at once.
    pub read: f64,
}

#[repr(align(128))]
struct Line(AtomicU64);

const TIMES: u64 = 2_000_000;
const TURNS: u64 = 20_000;
/// As many as a shard of 16 384 counters has.
const LINES: usize = 2_048;
const WORDS_OF_A_LINE: usize = 8;
const ROUNDS: usize = 9;

pub fn measure(processors: &[usize]) -> Lines {
    let first = processors[0];
    let on = |processor: usize, work: fn() -> f64| {
        let run = move || {
            pin(processor);
            median(work)
        };
        std::thread::spawn(run).join().expect("does not panic")
    };
    let pairs = processors[1..].iter().map(|other| Pair {
        first,
        other: *other,
        transfer: median(|| ping_pong(first, *other)),
        read: median(|| streamed(first, *other)),
    });
    Lines {
        own_store: on(first, || {
            own(|cell| cell.store(cell.load(Relaxed) + 1, Relaxed))
        }),
        own_exchange: on(first, || own(|cell| _ = cell.fetch_add(1, Relaxed))),
        read_own: on(first, || {
            let lines = new_lines();
            write_all(lines);
            read_all(lines)
        }),
        pairs: pairs.collect(),
    }
}

fn median(mut figure: impl FnMut() -> f64) -> f64 {
    let mut figures: Vec<f64> = (0..ROUNDS).map(|_| figure()).collect();
    figures.sort_by(f64::total_cmp);
    figures[ROUNDS / 2]
}

fn own(update: impl Fn(&AtomicU64)) -> f64 {
    let line = Line(AtomicU64::new(0));
    let from = Instant::now();
    for _ in 0..TIMES {
        update(black_box(&line.0));
    }
    from.elapsed().as_nanos() as f64 / TIMES as f64
}

/// The two write one line in turn.
fn ping_pong(first: usize, other: usize) -> f64 {
    let line = Line(AtomicU64::new(0));
    let play = |processor: usize, mine: u64| {
        pin(processor);
        let from = Instant::now();
        for turn in 0..TURNS {
            // Without a pause: that takes longer than the line on some processors.
            while line.0.load(Acquire) != 2 * turn + mine {}
            line.0.store(2 * turn + mine + 1, Release);
        }
        from.elapsed().as_nanos() as f64 / (2 * TURNS) as f64
    };
    std::thread::scope(|scope| {
        let played = scope.spawn(|| play(first, 0));
        scope.spawn(|| play(other, 1));
        played.join().expect("does not panic")
    })
}

fn streamed(first: usize, other: usize) -> f64 {
    let lines = new_lines();
    let on = |processor: usize, work: fn(&[AtomicU64]) -> f64| {
        let run = move || {
            pin(processor);
            work(lines)
        };
        std::thread::spawn(run).join().expect("does not panic")
    };
    on(first, |lines| {
        write_all(lines);
        0.0
    });
    on(other, |lines| {
        write_all(lines);
        0.0
    });
    on(first, read_all)
}

/// One allocation for the whole program.
fn new_lines() -> &'static [AtomicU64] {
    static WORDS: LazyLock<Vec<AtomicU64>> = LazyLock::new(|| {
        (0..(LINES * WORDS_OF_A_LINE) as u64)
            .map(AtomicU64::new)
            .collect()
    });
    &WORDS
}

fn firsts(words: &[AtomicU64]) -> impl Iterator<Item = &AtomicU64> {
    words.iter().step_by(WORDS_OF_A_LINE)
}

fn write_all(words: &[AtomicU64]) {
    firsts(words).for_each(|word| word.store(word.load(Relaxed) + 1, Relaxed));
}

fn read_all(words: &[AtomicU64]) -> f64 {
    let from = Instant::now();
    black_box(firsts(words).map(|word| word.load(Relaxed)).sum::<u64>());
    from.elapsed().as_nanos() as f64 / LINES as f64
}
