//! The error bounds over adversarial orders, splits and objectives: the true error is at most the
//! certified error, which is at most the allowed error.
//!
//! `cargo test --release --lib orders -- --nocapture` also prints the largest error of each order.
//! For larger streams, see [`the_promise_holds_in_the_long_run`].

use super::support::*;
use crate::snapshot::sketch::{Bound, MAX_TUPLES, Scratch, Sketch, Targets, key_of};

#[test]
fn errors_stay_within_the_promise() {
    // Without optimization, the last size would take minutes.
    let sizes: &[usize] = if cfg!(debug_assertions) {
        &[1_000, 20_000]
    } else {
        &[1_000, 10_000, 100_000, 1_000_000]
    };
    for n in sizes {
        every_order(*n, &TARGETS);
    }
}

/// Takes several minutes for ten million values, and 40 bytes of memory for each value. For a
/// hundred million values with the default objectives, run:
///
/// `SIZE=100000000 SETS=1 cargo test --release --lib long_run -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn the_promise_holds_in_the_long_run() {
    let number = |name, default| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let (size, sets) = (number("SIZE", 10_000_000), number("SETS", TARGETS.len()));
    let worst = every_order(size, &TARGETS[..sets]);
    println!(
        "\nn = {size}: largest certified error {:.3} of the promise, most tuples of a thread {}",
        worst.certified, worst.tuples
    );
}

/// Returns the largest errors over all orders, splits and objectives.
fn every_order(n: usize, sets: &[(&str, &[(f64, f64)])]) -> Outcome {
    println!(
        "\nn = {n}: worst error / worst certified, in units of the promise; tuples of a shard / merged / compressed"
    );
    let mut worst = Outcome::default();
    for order in ORDERS {
        let keys = stream(order, n);
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        let rank = |key| sorted.partition_point(|other| *other < key) as u32;
        let stream: Vec<(u64, u32)> = keys.into_iter().map(|key| (key, rank(key))).collect();
        for (name, pairs) in sets {
            let outcomes = SPLITS.map(|split| {
                let what = format!("{order}, {n}, {name}, {}", split.0);
                one(&stream, &sorted, pairs, split, &what)
            });
            let of_order = outcomes.into_iter().fold(Outcome::default(), Outcome::or);
            println!(
                "{order:12} {name:16} {:4.2} / {:4.2}  {:5} / {:5} / {:5}{}",
                of_order.error,
                of_order.certified,
                of_order.tuples,
                of_order.merged,
                of_order.compressed,
                if of_order.degraded { "  degraded" } else { "" },
            );
            worst = worst.or(of_order);
        }
    }
    worst
}

/// The largest errors, as fractions of the allowed error, and the largest numbers of tuples.
#[derive(Default)]
struct Outcome {
    error: f64,
    certified: f64,
    tuples: usize,
    merged: usize,
    compressed: usize,
    degraded: bool,
}

impl Outcome {
    fn or(self, other: Self) -> Self {
        Self {
            error: self.error.max(other.error),
            certified: self.certified.max(other.certified),
            tuples: self.tuples.max(other.tuples),
            merged: self.merged.max(other.merged),
            compressed: self.compressed.max(other.compressed),
            degraded: self.degraded || other.degraded,
        }
    }
}

fn one(
    stream: &[(u64, u32)],
    sorted: &[u64],
    pairs: &[(f64, f64)],
    (_, split): (&str, Split),
    what: &str,
) -> Outcome {
    let bound = Bound::new(&Targets::new(pairs));
    let (mut random, mut scratch) = (Random(7), Scratch::new());
    let mut tuples = 0;
    let mut sketches = vec![Sketch::new(); SHARDS];
    let mut buffers = vec![Vec::new(); SHARDS];
    for (i, (key, rank)) in stream.iter().enumerate() {
        let shard = split(i, *rank as usize, stream.len(), &mut random);
        let (sketch, buffer) = (&mut sketches[shard], &mut buffers[shard]);
        buffer.push(*key);
        if buffer.len() == BATCH {
            sketch.insert(&bound, buffer, &mut scratch);
            buffer.clear();
            tuples = tuples.max(sketch.tuples().len());
            if !sketch.is_degraded() && sketch.n() % (61 * BATCH as u64) == 0 {
                sketch
                    .check(&bound)
                    .unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            }
        }
    }
    assert!(tuples <= MAX_TUPLES);
    let tails = buffers.iter_mut().map(|buffer| {
        buffer.sort_unstable();
        Sketch::from_sorted(buffer)
    });
    let parts: Vec<Sketch> = sketches.into_iter().chain(tails).collect();
    let mut merged = Sketch::merge(&parts.iter().collect::<Vec<_>>());
    let merged_tuples = merged.tuples().len();
    let before = audit(&merged, sorted, pairs, what);
    let degraded = merged.is_degraded();
    if !degraded {
        merged
            .check(&bound)
            .unwrap_or_else(|wrong| panic!("{what}, merged: {wrong}"));
    }
    merged.compress(&bound, &mut Scratch::new());
    let after = audit(&merged, sorted, pairs, what);
    if !merged.is_degraded() {
        merged
            .check(&bound)
            .unwrap_or_else(|wrong| panic!("{what}, compressed: {wrong}"));
    }
    Outcome {
        error: before.0.max(after.0),
        certified: before.1.max(after.1),
        tuples,
        merged: merged_tuples,
        compressed: merged.tuples().len(),
        degraded: merged.is_degraded(),
    }
}

/// A thread's sketch of ordinary values takes 1.5 KB at any time, for any number of values.
#[test]
fn ordinary_values_take_little() {
    ordinary(if cfg!(debug_assertions) {
        50_000
    } else {
        1_000_000
    });
}

/// `cargo test --release --lib ordinary -- --ignored --nocapture`
#[test]
#[ignore = "takes a minute"]
fn ordinary_values_take_little_in_the_long_run() {
    ordinary(100_000_000);
}

fn ordinary(n: usize) {
    let bound = Bound::new(&Targets::new(&DEFAULTS));
    type Kind = (&'static str, fn(&mut Random) -> f64);
    let kinds: [Kind; 4] = [
        ("uniform", |random| random.unit()),
        ("exponential", |random| -(1.0 - random.unit()).ln()),
        ("lognormal", |random| {
            let circle = std::f64::consts::TAU * random.unit();
            ((-2.0 * (1.0 - random.unit()).ln()).sqrt() * circle.cos()).exp()
        }),
        ("microseconds", |random| {
            (-1000.0 * (1.0 - random.unit()).ln()).round() / 1e6
        }),
    ];
    for (kind, next) in kinds {
        let (mut random, mut scratch) = (Random(3), Scratch::new());
        let (mut sketch, mut most) = (Sketch::new(), 0);
        for _ in 0..n / BATCH {
            let batch: [u64; BATCH] = std::array::from_fn(|_| key_of(next(&mut random)));
            sketch.insert(&bound, &batch, &mut scratch);
            most = most.max(size_of_val(sketch.tuples()));
        }
        println!("{kind:12} n = {n}: {most} bytes at most");
        assert!(most <= 1536, "{kind}: {most} bytes");
    }
}
