//! The promise, over unkind orders, splits and targets: true error <= certified error <= promise.
//!
//! `cargo test --release --lib orders -- --nocapture` also prints the worst of each order.

use super::support::*;
use crate::snapshot::sketch::{Bound, MAX_TUPLES, Scratch, Sketch, Targets};

#[test]
fn errors_stay_within_the_promise() {
    // Unoptimised, the last size would take minutes.
    let sizes: &[usize] = if cfg!(debug_assertions) {
        &[1_000, 20_000]
    } else {
        &[1_000, 10_000, 100_000, 1_000_000]
    };
    for n in sizes {
        println!(
            "\nn = {n}: worst error / worst certified, in units of the promise; tuples of a shard / merged / compressed"
        );
        for (order, stream) in orders(*n) {
            let mut sorted = stream.clone();
            sorted.sort_unstable();
            for (name, pairs) in TARGETS {
                let worst = SPLITS.map(|split| {
                    one(
                        &stream,
                        &sorted,
                        pairs,
                        split,
                        &format!("{order}, {n}, {name}, {}", split.0),
                    )
                });
                let most = |part: fn(&Outcome) -> f64| worst.iter().map(part).fold(0.0, f64::max);
                println!(
                    "{order:12} {name:16} {:4.2} / {:4.2}  {:5} / {:5} / {:5}{}",
                    most(|o| o.error),
                    most(|o| o.certified),
                    most(|o| o.tuples as f64),
                    most(|o| o.merged as f64),
                    most(|o| o.compressed as f64),
                    if worst.iter().any(|o| o.degraded) {
                        "  degraded"
                    } else {
                        ""
                    },
                );
            }
        }
    }
}

struct Outcome {
    error: f64,
    certified: f64,
    tuples: usize,
    merged: usize,
    compressed: usize,
    degraded: bool,
}

fn one(
    stream: &[u64],
    sorted: &[u64],
    pairs: &[(f64, f64)],
    (_, split): (&str, Split),
    what: &str,
) -> Outcome {
    let bound = Bound::new(&Targets::new(pairs));
    let n = stream.len();
    let mut random = Random(7);
    let mut shards = vec![Vec::new(); SHARDS];
    for (i, key) in stream.iter().enumerate() {
        let rank = sorted.partition_point(|other| other < key);
        shards[split(i, rank, n, &mut random)].push(*key);
    }
    let mut tuples = 0;
    let mut parts = Vec::new();
    for keys in &shards {
        let mut sketch = Sketch::new();
        let tail = feed(&bound, keys, &mut sketch, |sketch| {
            tuples = tuples.max(sketch.tuples().len());
            if !sketch.is_degraded() && sketch.n() % (61 * BATCH as u64) == 0 {
                sketch
                    .check(&bound)
                    .unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            }
        });
        assert!(tuples <= MAX_TUPLES);
        parts.extend([sketch, Sketch::from_sorted(&tail)]);
    }
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
