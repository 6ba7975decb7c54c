//! Any values, for any objectives, over any shards and merges, compared with a sorted vector:
//! through sketches, and through summaries whose snapshots are merged.

#![cfg_attr(fuzzing, no_main)]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tallies::snapshot::Value;
use tallies::snapshot::sketch::{Bound, Scratch, Sketch, Targets, key_of};
use tallies::{Registry, Summary, snapshot::Snapshot};

const SHARDS: usize = 4;
/// Keeps a case to a few milliseconds.
const MOST_VALUES: usize = 6000;

#[derive(Arbitrary, Debug)]
struct Case {
    /// A quantile in thousandths, and a number that gives its allowed error.
    targets: Vec<(u16, u16)>,
    batch: u8,
    /// Steps, each in one of the shards.
    steps: Vec<(u8, Step)>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// `from`, `from + by`, ...
    Run {
        from: i16,
        by: i8,
        len: u16,
    },
    /// Random whole numbers from 0 to `among`.
    Noise {
        seed: u32,
        among: u16,
        len: u16,
    },
    /// Values that start at two observed ones and approach their middle.
    Zoom {
        from: u8,
        to: u8,
        len: u16,
    },
    Values(Vec<f64>),
    /// A merge takes this shard's sketch, which then continues to be used.
    Merge,
    /// A snapshot in between.
    Scrape,
    /// The series is retired, and its observations go to the overflow series.
    End,
}

impl Step {
    fn values(&self, seen: &[f64]) -> Vec<f64> {
        let seen = |at: u8| seen.get((at as usize * seen.len()) >> 8).copied();
        match self {
            Self::Run { from, by, len } => (0..len % 1024)
                .map(|i| f64::from(*from) + f64::from(*by) * f64::from(i))
                .collect(),
            Self::Noise { seed, among, len } => {
                let mut state = *seed;
                let mut next = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    f64::from((state >> 8) % (u32::from(*among) + 1))
                };
                (0..len % 1024).map(|_| next()).collect()
            }
            Self::Zoom { from, to, len } => {
                let (Some(from), Some(to), len) = (seen(*from), seen(*to), len % 1024) else {
                    return Vec::new();
                };
                let part = |i: u16| f64::from(i) / f64::from(2 * len);
                (0..len)
                    .map(|i| match i % 2 {
                        0 => from + (to - from) * part(i),
                        _ => to - (to - from) * part(i),
                    })
                    .collect()
            }
            Self::Values(values) => values.clone(),
            Self::Merge | Self::Scrape | Self::End => Vec::new(),
        }
    }
}

/// Returns valid objectives, or the default ones. Quantiles are in thousandths, so that `check` can
/// compute ranks exactly.
fn targets(given: &[(u16, u16)]) -> Vec<(u16, f64)> {
    let targets: Vec<_> = given
        .iter()
        .map(|(phi, by)| (phi % 1001, 1.0 / f64::from(2 + by % 2000)))
        .collect();
    let good = Targets::try_new(&pairs(&targets)).is_ok_and(|targets| !targets.is_empty());
    if good {
        targets
    } else {
        vec![(500, 0.05), (900, 0.01), (990, 0.001)]
    }
}

fn pairs(targets: &[(u16, f64)]) -> Vec<(f64, f64)> {
    let pair = |(phi, eps): &(u16, f64)| (f64::from(*phi) / 1000.0, *eps);
    targets.iter().map(pair).collect()
}

/// One thread's data: a registry with a summary, and its observations.
struct Shard {
    registry: Registry,
    summary: Summary<[&'static str; 1]>,
    /// The sign of the first infinity; the other infinity is rejected.
    infinity: Option<bool>,
    live: Vec<f64>,
    ended: Vec<f64>,
    sketch: Sketch,
    sketched: Vec<f64>,
}

impl Shard {
    fn new(targets: &[(u16, f64)]) -> Self {
        let registry = Registry::new();
        let summary = Summary::builder("s", "")
            .objectives(&pairs(targets))
            .unwrap()
            .labels(["x"])
            .hot()
            .register(&registry)
            .unwrap();
        Self {
            registry,
            summary,
            infinity: None,
            live: Vec::new(),
            ended: Vec::new(),
            sketch: Sketch::new(),
            sketched: Vec::new(),
        }
    }

    fn observe(&mut self, value: f64) {
        self.summary.with(["a"]).observe(value);
        let positive = value > 0.0;
        if value.is_infinite() && *self.infinity.get_or_insert(positive) != positive {
            return;
        }
        if !value.is_nan() {
            self.live.push(value);
        }
    }
}

fuzz_target!(|case: Case| {
    let targets = targets(&case.targets);
    let bound = Bound::new(&Targets::new(&pairs(&targets)));
    let mut shards: Vec<_> = (0..SHARDS).map(|_| Shard::new(&targets)).collect();
    let (mut scratch, mut room) = (Scratch::new(), MOST_VALUES);
    for (at, step) in &case.steps {
        let at = *at as usize % SHARDS;
        let mut values = step.values(&shards[at].live);
        values.truncate(room);
        room -= values.len();
        let shard = &mut shards[at];
        values.iter().for_each(|value| shard.observe(*value));
        values.retain(|value| !value.is_nan());
        let keys: Vec<_> = values.iter().copied().map(key_of).collect();
        for batch in keys.chunks(1 + case.batch as usize) {
            shard.sketch.insert(&bound, batch, &mut scratch);
        }
        shard.sketched.extend(values);
        match step {
            Step::Merge => {
                let (one, other) = (&shards[at], &shards[(at + 1) % SHARDS]);
                let mut merged = Sketch::merge(&[&one.sketch, &other.sketch]);
                merged.compress(&bound, &mut scratch);
                let mut sketched = std::mem::take(&mut shards[(at + 1) % SHARDS].sketched);
                shards[(at + 1) % SHARDS].sketch = Sketch::new();
                shards[at].sketched.append(&mut sketched);
                shards[at].sketch = merged;
            }
            Step::Scrape => {
                check_snapshot(
                    &shard.registry.snapshot(),
                    std::slice::from_ref(shard),
                    &targets,
                );
            }
            Step::End => {
                shard.summary.retire(["a"]);
                shard.ended.append(&mut shard.live);
            }
            _ => {}
        }
    }
    let mut all = Snapshot::default();
    for shard in &shards {
        check_sketch(&shard.sketch, &bound, shard.sketched.clone(), &targets);
        all.merge(&shard.registry.snapshot()).unwrap();
    }
    check_snapshot(&all, &shards, &targets);
    let merged = Sketch::merge(&shards.iter().map(|shard| &shard.sketch).collect::<Vec<_>>());
    let sketched = shards.iter().flat_map(|shard| shard.sketched.clone());
    check_sketch(&merged, &bound, sketched.collect(), &targets);
});

fn check_snapshot(snapshot: &Snapshot, shards: &[Shard], targets: &[(u16, f64)]) {
    let family = snapshot.family("s").unwrap();
    let values = |overflow: bool| {
        let of = |shard: &Shard| if overflow { &shard.ended } else { &shard.live }.clone();
        shards.iter().flat_map(of).collect::<Vec<_>>()
    };
    let mut seen = 0;
    for (labels, value) in family.series() {
        let Value::Summary(value) = value else {
            panic!("{value:?}")
        };
        let values = values(labels.get("x").unwrap() == "__overflow__");
        assert_eq!(value.count(), values.len() as u64);
        seen += values.len();
        let magnitude: f64 = values.iter().map(|value| value.abs()).sum();
        if magnitude < 1e300 {
            let sum: f64 = values.iter().sum();
            assert!(
                (value.sum() - sum).abs() <= magnitude * 1e-10,
                "{} {sum}",
                value.sum()
            );
        }
        let degraded = value.is_degraded();
        check(values, targets, degraded, |phi| {
            value.quantile(phi).unwrap()
        });
    }
    let all: usize = shards
        .iter()
        .map(|shard| shard.live.len() + shard.ended.len())
        .sum();
    assert_eq!(seen, all);
}

fn check_sketch(sketch: &Sketch, bound: &Bound, values: Vec<f64>, targets: &[(u16, f64)]) {
    assert_eq!(sketch.n(), values.len() as u64);
    if !sketch.is_degraded() {
        sketch.check(bound).unwrap();
    }
    let part = |(value, ranks): (f64, u64)| (value, ranks as f64 / sketch.n() as f64);
    check(values, targets, sketch.is_degraded(), |phi| {
        sketch.quantile(phi).map(part)
    });
}

/// Checks that every quantile is an observed value, that it is within its certified error, and that
/// this error is at most the objective's.
fn check(
    mut sorted: Vec<f64>,
    targets: &[(u16, f64)],
    degraded: bool,
    quantile: impl Fn(f64) -> Option<(f64, f64)>,
) {
    sorted.iter_mut().for_each(|value| *value += 0.0);
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    for (phi, eps) in targets
        .iter()
        .copied()
        .chain([(0, 0.0), (1000, 0.0), (333, 1.0)])
    {
        let answer = quantile(f64::from(phi) / 1000.0);
        let Some((value, certified)) = answer else {
            assert_eq!(n, 0);
            continue;
        };
        let rank = (phi as usize * n).div_ceil(1000).max(1);
        let below = sorted.partition_point(|other| *other < value);
        let upto = sorted.partition_point(|other| *other <= value);
        assert!(below < upto, "{value} was never seen");
        let wrong = (below + 1)
            .saturating_sub(rank)
            .max(rank.saturating_sub(upto));
        let certified = (certified * n as f64).round();
        assert!(
            wrong as f64 <= certified,
            "{phi}: wrong by {wrong}, certified to {certified}"
        );
        let is_end = phi == 0 || phi == 1000;
        let promised = if is_end {
            0.0
        } else {
            eps * n as f64 * (1.0 + 1e-9)
        };
        assert!(
            certified <= promised || degraded && !is_end,
            "{phi}: certified to {certified}, promised {promised}"
        );
    }
}
