//! Streams that are hard for a quantile sketch, ways to split them, and the exact ranks from a
//! sorted vector.

use crate::snapshot::sketch::{Bound, Scratch, Sketch, Targets, key_of};

pub(super) const BATCH: usize = 256;

pub(super) const DEFAULTS: [(f64, f64); 3] = [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)];

pub(super) const TARGETS: [(&str, &[(f64, f64)]); 6] = [
    ("defaults", &DEFAULTS),
    (".9", &[(0.9, 0.04)]),
    (".9 .99", &[(0.9, 0.05), (0.99, 0.005)]),
    (".5", &[(0.5, 0.05)]),
    (".01 .5 .99", &[(0.01, 0.001), (0.5, 0.05), (0.99, 0.001)]),
    (
        ".5 .95 .99 .999",
        &[(0.5, 0.01), (0.95, 0.005), (0.99, 0.001), (0.999, 0.0001)],
    ),
];

/// The random generator SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

pub(super) const ORDERS: [&str; 17] = [
    "ascending",
    "descending",
    "shuffle",
    "zoom in .5",
    "zoom in .99",
    "zoom out .5",
    "zoom out .99",
    "saw",
    "saw few",
    "saw down",
    "band down",
    "dups",
    "one dup",
    "blocks",
    "blocks down",
    "desc0",
    "adaptive",
];

/// Returns a stream of `n` keys in one of [`ORDERS`].
pub(super) fn stream(order: &str, n: usize) -> Vec<u64> {
    let mut random = Random(n as u64);
    let saw = |teeth: usize| (0..teeth).flat_map(move |tooth| (tooth..n).step_by(teeth));
    let backwards = |mut ranks: Vec<usize>| {
        ranks.reverse();
        ranks
    };
    let mut blocks = || {
        let mut begins: Vec<usize> = (0..n).step_by(n.isqrt()).collect();
        random.shuffle(&mut begins);
        begins
            .into_iter()
            .map(|begin| begin..n.min(begin + n.isqrt()))
    };
    let ranks: Vec<usize> = match order {
        "ascending" => (0..n).collect(),
        "descending" => (0..n).rev().collect(),
        "shuffle" => {
            let mut ranks: Vec<usize> = (0..n).collect();
            random.shuffle(&mut ranks);
            ranks
        }
        "zoom in .5" => zoom(n, 0.5),
        "zoom in .99" => zoom(n, 0.99),
        "zoom out .5" => backwards(zoom(n, 0.5)),
        "zoom out .99" => backwards(zoom(n, 0.99)),
        "saw" => saw(n / 100).collect(),
        "saw few" => saw(10).collect(),
        "saw down" => backwards(saw(10).collect()),
        "band down" => (0..n)
            .map(|i| (n - 1 - i) * 1000 / n * n + random.below(n))
            .collect(),
        "dups" => (0..n).map(|_| random.below(40)).collect(),
        "one dup" => (0..n)
            .map(|i| if random.below(10) > 0 { n / 2 } else { i })
            .collect(),
        "blocks" => blocks().flatten().collect(),
        "blocks down" => blocks().flat_map(Iterator::rev).collect(),
        "desc0" => std::iter::once(0).chain((1..n).rev()).collect(),
        "adaptive" => return adaptive(n),
        _ => unreachable!("{order} is not one of ORDERS"),
    };
    ranks.into_iter().map(|rank| key_of(rank as f64)).collect()
}

/// Returns ranks from both ends towards `phi * n`.
fn zoom(n: usize, phi: f64) -> Vec<usize> {
    let (mut low, mut high) = (0, n);
    let mut ranks = Vec::with_capacity(n);
    while low < high {
        if (low as f64) < phi * ranks.len() as f64 || high as f64 <= phi * n as f64 {
            ranks.push(low);
            low += 1;
        } else {
            high -= 1;
            ranks.push(high);
        }
    }
    ranks
}

/// Returns a stream whose batches each go between the widest tuple of a sketch with the default
/// objectives and its neighbour.
fn adaptive(n: usize) -> Vec<u64> {
    let bound = Bound::new(&Targets::new(&DEFAULTS));
    let (mut sketch, mut scratch) = (Sketch::new(), Scratch::new());
    let mut stream: Vec<u64> = (0..BATCH.min(n)).map(|i| key_of(i as f64)).collect();
    sketch.insert(&bound, &stream, &mut scratch);
    while stream.len() < n {
        let gaps = sketch
            .tuples()
            .windows(2)
            .filter(|pair| pair[1].key - pair[0].key > 2 * BATCH as u64);
        let widest = gaps
            .max_by_key(|pair| u64::from(pair[1].g) + u64::from(pair[1].delta))
            .unwrap();
        let step = (widest[1].key - widest[0].key) / (BATCH as u64 + 1);
        let batch: Vec<u64> = (1..=BATCH.min(n - stream.len()) as u64)
            .map(|i| widest[0].key + i * step)
            .collect();
        sketch.insert(&bound, &batch, &mut scratch);
        stream.extend(batch);
    }
    stream
}

/// A way to split a stream into shards: returns the shard of the `i`th of `n` keys, whose rank is
/// `rank`.
pub(super) type Split = fn(i: usize, rank: usize, n: usize, random: &mut Random) -> usize;
pub(super) const SHARDS: usize = 8;
pub(super) const SPLITS: [(&str, Split); 7] = [
    ("whole", |_, _, _, _| 0),
    ("round robin", |i, _, _, _| i % SHARDS),
    ("ranges", |_, rank, n, _| rank * SHARDS / n),
    ("tail", |_, rank, n, random| {
        if rank * 100 >= 98 * n {
            0
        } else {
            1 + random.below(SHARDS - 1)
        }
    }),
    ("skew", |_, _, _, random| {
        (random.next().trailing_zeros() as usize).min(SHARDS - 1)
    }),
    ("slices", |i, _, n, _| i * SHARDS / n),
    ("random", |_, _, _, random| random.below(SHARDS)),
];

/// Returns `ceil(phi * n)` for a `phi` with at most five decimals.
pub(super) fn rank(phi: f64, n: usize) -> usize {
    ((phi * 1e5).round() as usize * n).div_ceil(100_000).max(1)
}

/// Returns the distance of `key` from rank `x` of `sorted`.
pub(super) fn error(sorted: &[u64], key: u64, x: usize) -> usize {
    let below = sorted.partition_point(|other| *other < key);
    let upto = sorted.partition_point(|other| *other <= key);
    assert!(below < upto, "the answer was never seen");
    (below + 1).saturating_sub(x).max(x.saturating_sub(upto))
}

/// Returns the largest true and the largest certified error at the objectives, as fractions of the
/// allowed error. Asserts that the true error is at most the certified one, and that at most the
/// allowed one.
pub(super) fn audit(
    sketch: &Sketch,
    sorted: &[u64],
    targets: &[(f64, f64)],
    what: &str,
) -> (f64, f64) {
    let n = sorted.len();
    assert_eq!(sketch.n(), n as u64, "{what}");
    let mut worst: (f64, f64) = (0.0, 0.0);
    let promised = targets.iter().copied();
    for (phi, eps) in promised.chain([(0.0, 0.0), (1.0, 0.0), (0.25, 1.0), (0.75, 1.0)]) {
        let (value, certified) = sketch.quantile(phi).unwrap();
        let wrong = error(sorted, key_of(value), rank(phi, n)) as u64;
        assert!(
            wrong <= certified,
            "{what}: {phi} is wrong by {wrong} and certified to {certified}"
        );
        let (lower, upper) = sketch.bounds(phi).unwrap();
        let within = key_of(lower)..=key_of(upper);
        assert!(within.contains(&key_of(value)), "{what}: {value} of {phi}");
        assert!(
            within.contains(&sorted[rank(phi, n) - 1]),
            "{what}: {phi} is not from {lower} to {upper}"
        );
        let most = eps * n as f64;
        let kept = certified as f64 <= most * (1.0 + 1e-9);
        assert!(
            kept || sketch.is_degraded(),
            "{what}: {phi} is certified to {certified} and promised to {most}"
        );
        if (0.0..1.0).contains(&phi) && eps > 0.0 && eps < 1.0 {
            worst = (
                worst.0.max(wrong as f64 / most),
                worst.1.max(certified as f64 / most),
            );
        }
    }
    worst
}
