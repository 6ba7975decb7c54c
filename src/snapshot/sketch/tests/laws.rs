//! Laws of the sketch, for any objectives, values, batches and shards.

use super::support::{DEFAULTS, Random, audit, error};
use crate::snapshot::sketch::{
    Bound, MAX_TARGETS, MAX_TUPLES, Scratch, Sketch, TargetError, Targets, Tuple, key_of, value_of,
};
use proptest::prelude::*;

static TARGETS: Targets = Targets::new(&DEFAULTS);

fn bound(pairs: &[(f64, f64)]) -> Bound {
    Bound::new(&Targets::new(pairs))
}

fn sketch_of(bound: &Bound, keys: &[u64], batch: usize) -> Sketch {
    let (mut sketch, mut scratch) = (Sketch::new(), Scratch::new());
    keys.chunks(batch)
        .for_each(|batch| sketch.insert(bound, batch, &mut scratch));
    sketch
}

fn keys_of(values: &[f64]) -> Vec<u64> {
    values.iter().copied().map(key_of).collect()
}

#[test]
fn the_default_bound_is_the_published_one() {
    let bound = Bound::new(&TARGETS);
    for (x, h) in [
        (0.0, 0.02),
        (0.5, 0.02),
        (0.75, 0.02),
        (0.9, 0.0082),
        (0.99, 0.001),
        (1.0, 0.0002),
    ] {
        assert!((bound.at(x) - h).abs() < 1e-12, "h({x}) = {}", bound.at(x));
    }
}

/// For comparison, aioprometheus returns 4.0, 5.2, 5.2.
#[test]
fn few_values_give_the_nearest_rank() {
    let sketch = sketch_of(&Bound::new(&TARGETS), &keys_of(&[3.0, 5.2, 13.0, 4.0]), 256);
    let answers =
        [0.0, 0.25, 0.5, 0.51, 0.75, 0.9, 0.99, 1.0].map(|phi| sketch.quantile(phi).unwrap());
    assert_eq!(
        answers.map(|(value, _)| value),
        [3.0, 3.0, 4.0, 5.2, 5.2, 13.0, 13.0, 13.0]
    );
    assert_eq!(answers.map(|(_, error)| error), [0; 8]);
}

/// 0.07 of 100 is 7.000000000000001 in floating point.
#[test]
fn a_whole_rank_is_not_rounded_up() {
    for n in [10u32, 50, 100, 1000] {
        let sketch =
            Sketch::from_sorted(&(0..n).map(|i| key_of(f64::from(i + 1))).collect::<Vec<_>>());
        for percent in 1..=100 {
            let nearest = (percent * n).div_ceil(100);
            assert_eq!(
                sketch.quantile(f64::from(percent) / 100.0),
                Some((f64::from(nearest), 0)),
                "{percent} % of {n}"
            );
        }
    }
}

#[test]
fn nothing_seen_has_no_quantile_and_no_phi_is_outside() {
    let bound = Bound::new(&TARGETS);
    let mut sketch = Sketch::merge(&[&Sketch::new(), &Sketch::new()]);
    sketch.compress(&bound, &mut Scratch::new());
    assert_eq!((sketch.quantile(0.5), sketch.n()), (None, 0));
    assert_eq!(sketch.bounds(0.5), None);
    sketch.insert(&bound, &keys_of(&[1.0]), &mut Scratch::new());
    for phi in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!((sketch.quantile(phi), sketch.bounds(phi)), (None, None));
    }
}

#[test]
fn infinities_are_ordinary_ends_and_zeros_are_one() {
    let keys = keys_of(&[f64::INFINITY, -0.0, f64::NEG_INFINITY, 0.0, 1.0]);
    let sketch = sketch_of(&Bound::new(&TARGETS), &keys, 2);
    assert_eq!(sketch.quantile(0.0).unwrap().0, f64::NEG_INFINITY);
    assert_eq!(sketch.quantile(1.0).unwrap().0, f64::INFINITY);
    assert!(sketch.quantile(0.4).unwrap().0.is_sign_positive());
    assert_eq!(keys[1], keys[3]);
}

#[test]
fn targets_are_checked_once() {
    let refusal = |pairs: &[(f64, f64)]| Targets::try_new(pairs).unwrap_err().to_string();
    assert_eq!(
        refusal(&[(1.5, 0.01)]),
        "the quantile of an objective has to be from 0 to 1, got 1.5"
    );
    assert_eq!(
        refusal(&[(f64::NAN, 0.01)]),
        "the quantile of an objective has to be from 0 to 1, got NaN"
    );
    assert_eq!(
        refusal(&[(0.5, 0.0)]),
        "the error of an objective has to be above 0 and below 1, got 0.0 for the quantile 0.5"
    );
    assert_eq!(
        refusal(&[(0.5, 1.0)]),
        "the error of an objective has to be above 0 and below 1, got 1.0 for the quantile 0.5"
    );
    assert_eq!(
        refusal(&[(0.5, f64::NAN)]),
        "the error of an objective has to be above 0 and below 1, got NaN for the quantile 0.5"
    );
    assert_eq!(
        refusal(&[(0.5, 0.1), (0.9, 0.1), (0.5, 0.2)]),
        "a quantile has two objectives: 0.5"
    );
    let eight: Vec<_> = (1..=MAX_TARGETS + 1)
        .map(|i| (i as f64 / 10.0, 0.1))
        .collect();
    assert_eq!(
        refusal(&eight),
        "a summary has at most 7 objectives, and the quantile 0.8 is one more"
    );
    let too_fine = "the errors of the objectives are too small for a sketch of 2048 tuples, which \
                    would need 50000";
    assert_eq!(refusal(&[(0.5, 1e-5)]), too_fine);
    assert_eq!(
        Targets::try_new(&[(0.0, 0.0), (1.0, 0.0), (0.5, 0.01)])
            .unwrap()
            .as_slice()
            .len(),
        3
    );
    assert!(Targets::new(&[]).is_empty());
}

#[test]
fn targets_may_plan_for_a_thousand_tuples() {
    for (pairs, planned) in [
        (&[(0.5, 0.0005)][..], None),
        (&[(0.5, 0.0004)], Some(1250)),
        (&[(0.9, 1e-5)], Some(32_500)),
        (&[(0.1, 1e-5)], Some(32_500)),
        (&[(0.0, 0.0), (0.5, 0.01), (0.99, 1e-5)], Some(5550)),
        (&[(0.99, 0.0001), (0.5, 0.0008)], Some(1175)),
    ] {
        let told = Targets::try_new(pairs).err().map(|error| error.to_string());
        let told = told.map(|told| told.rsplit_once(' ').unwrap().1.parse().unwrap());
        assert_eq!(told, planned, "{pairs:?}");
    }
    assert!(!TARGETS.is_empty());
}

#[test]
fn only_the_ends_cost_two_tuples() {
    let sketch = sketch_of(
        &bound(&[(0.0, 0.0), (1.0, 0.0)]),
        &(0..10_000).collect::<Vec<_>>(),
        256,
    );
    assert_eq!(sketch.tuples().len(), 2);
    let sketch = sketch_of(&Bound::new(&TARGETS), &[key_of(7.0); 100_000], 256);
    assert_eq!(sketch.tuples().len(), 2);
    assert_eq!(sketch.quantile(0.99), Some((7.0, 0)));
}

/// Returns tuples with these keys, `g` and `delta`.
fn tuples(parts: &[(u64, u32, u32)]) -> Vec<Tuple> {
    let tuple = |&(key, g, delta): &(u64, u32, u32)| Tuple { key, g, delta };
    parts.iter().map(tuple).collect()
}

/// Without inner objectives, a tuple may be as wide as the number of values.
#[test]
fn a_broken_sketch_fails_its_check() {
    let bound = bound(&[]);
    let wrong = |parts: &[(u64, u32, u32)]| Sketch::from_parts(tuples(parts), false).check(&bound);
    for sound in [
        &[][..],
        &[(1, 1, 0)],
        &[(1, 1, 0), (2, 8, 2), (3, 1, 0)],
        &[(1, 1, 0), (1, 8, 9), (3, 1, 0)],
    ] {
        assert_eq!(wrong(sound), Ok(()), "{sound:?}");
    }
    for (parts, at, why) in [
        (&[(1, 1, 0), (2, 0, 0), (3, 1, 0)][..], 1, "out of order"),
        (&[(1, 1, 0), (3, 1, 0), (2, 1, 0)], 2, "out of order"),
        (&[(1, 2, 0), (2, 1, 0)], 0, "an end and not exact"),
        (&[(1, 1, 1), (2, 1, 0)], 0, "an end and not exact"),
        (&[(1, 1, 0), (2, 1, 1)], 1, "an end and not exact"),
        (
            &[(1, 1, 0), (2, 8, 3), (3, 1, 0)],
            1,
            "covering ranks 1 to 12",
        ),
    ] {
        let told = wrong(parts).unwrap_err();
        assert!(told.starts_with(&format!("tuple {at} of ")), "{told}");
        assert!(told.ends_with(why), "{told}");
    }
    let mut sketch = Sketch::from_sorted(&[1, 2]);
    sketch.n = 3;
    let told = sketch.check(&bound);
    assert_eq!(told, Err("the ranks add up to 2, not 3".to_owned()));
}

#[test]
fn of_two_values_equally_near_the_lower_one_is_the_quantile() {
    let [lower, upper] = [1.0, 2.0].map(key_of);
    let sketch = Sketch::from_parts(tuples(&[(lower, 1, 0), (upper, 2, 0)]), false);
    assert_eq!(sketch.quantile(0.5), Some((1.0, 1)));
}

#[test]
fn a_sketch_is_loaded_as_it_was_made() {
    let mut sketch = Sketch::from_sorted(&[1, 2, 3]);
    assert!(!sketch.is_degraded());
    for degraded in [true, false] {
        let other = Sketch::from_parts(tuples(&[(1, 1, 0), (5, 4, 3)]), degraded);
        sketch.load(other.tuples().iter().copied(), other.is_degraded());
        assert_eq!(sketch, other);
        assert_eq!((sketch.n(), sketch.is_degraded()), (5, degraded));
    }
}

/// The second sketch has one tuple too many, and no tuple has capacity for another.
#[test]
fn a_full_sketch_is_not_degraded() {
    let bound = Bound::new(&TARGETS);
    for (len, degraded) in [(MAX_TUPLES, false), (MAX_TUPLES + 1, true)] {
        let is_end = |key| key == 0 || key == len as u64 - 1;
        let part = |key| (key, 1, if is_end(key) { 0 } else { 500 });
        let parts: Vec<_> = (0..len as u64).map(part).collect();
        let mut sketch = Sketch::from_parts(tuples(&parts), false);
        sketch.compress(&bound, &mut Scratch::new());
        assert_eq!(sketch.is_degraded(), degraded, "{len}");
        assert_eq!(sketch.tuples().len() == len, !degraded);
        assert_eq!(sketch.n(), len as u64);
    }
}

#[test]
fn the_weight_halves_only_beyond_its_limit() {
    let bound = Bound::new(&TARGETS);
    let limit = 1_u64 << 41;
    // The tuples of one value have no capacity for their neighbours, which would lose half of it.
    let part = |key| match key {
        0 => (0, 1, 0),
        _ if key % 2 == 1 => (key, u32::MAX, 0),
        _ => (key, 1, 0),
    };
    let parts: Vec<_> = (0..1024).map(part).collect();
    let mut sketch = Sketch::from_parts(tuples(&parts), false);
    sketch.compress(&bound, &mut Scratch::new());
    assert_eq!(sketch.n(), limit);
    sketch.insert(&bound, &[2000], &mut Scratch::new());
    assert_eq!(sketch.n(), (limit + 1).div_ceil(2));
    assert!(sketch.tuples().iter().all(|tuple| tuple.g > 0));
}

/// The run stops below 2^32 and continues in a tuple of its own.
#[test]
fn a_run_of_equals_outgrows_one_tuple() {
    let bound = bound(&[(0.5, 0.01)]);
    let tuple = |value, g| Tuple {
        key: key_of(value),
        g,
        delta: 0,
    };
    let start = [
        tuple(1.0, 1),
        tuple(5.0, 1),
        tuple(5.0, u32::MAX - 100),
        tuple(9.0, 1),
    ];
    let mut sketch = Sketch::from_parts(start.to_vec(), false);
    let before = sketch.n();
    sketch.insert(&bound, &[key_of(5.0); 256], &mut Scratch::new());
    sketch.check(&bound).unwrap();
    assert_eq!(sketch.n(), before + 256);
    assert_eq!(sketch.tuples()[1..3], start[1..3]);
    assert_eq!(sketch.quantile(0.5), Some((5.0, 0)));
}

#[test]
fn the_middle_of_a_run_is_one_tuple_however_heavy() {
    let bound = Bound::new(&TARGETS);
    let run = (5, 1 << 20, 0);
    let parts = tuples(&[(1, 1, 0), run, run, run, (9, 1, 0)]);
    let mut sketch = Sketch::from_parts(parts, false);
    sketch.compress(&bound, &mut Scratch::new());
    let joined = (5, 1 << 21, 0);
    assert_eq!(
        sketch.tuples(),
        tuples(&[(1, 1, 0), run, joined, (9, 1, 0)])
    );
    // The same holds for the keys of NaNs.
    for key in [0, u64::MAX] {
        let parts = tuples(&[(key, 1, 0); 3]);
        let mut sketch = Sketch::from_parts(parts, false);
        sketch.compress(&bound, &mut Scratch::new());
        assert_eq!(sketch.check(&bound), Ok(()));
        assert_eq!(sketch_of(&bound, &[key; 600], 256).check(&bound), Ok(()));
    }
}

#[test]
fn a_month_of_observations_halves_in_weight() {
    let bound = Bound::new(&TARGETS);
    let tuple = |i: u32| Tuple {
        key: key_of(f64::from(i)),
        g: u32::MAX - 5 * i,
        delta: i,
    };
    let mut tuples: Vec<_> = (0..1000).map(tuple).collect();
    (tuples[0].g, tuples[999].delta) = (1, 0);
    let mut sketch = Sketch::from_parts(tuples, false);
    let before = sketch.n();
    sketch.insert(&bound, &keys_of(&[0.5, 2000.0]), &mut Scratch::new());
    assert_eq!(sketch.n(), (before + 2).div_ceil(2));
    let (value, error) = sketch.quantile(0.9).unwrap();
    assert!(
        (898.0..=901.0).contains(&value) && error < sketch.n() / 1000,
        "{value} {error}"
    );
    assert_eq!(
        [0.0, 1.0].map(|phi| sketch.quantile(phi)),
        [Some((0.0, 0)), Some((2000.0, 0))]
    );

    // More tuples than the limit, none of which can absorb another.
    let mut sketch = Sketch::from_parts(
        (0..5000)
            .map(|key| Tuple {
                key,
                g: u32::MAX,
                delta: 0,
            })
            .collect(),
        false,
    );
    sketch.compress(&bound, &mut Scratch::new());
    assert!(sketch.tuples().len() <= MAX_TUPLES);
}

/// The first tuple of a run says where the run begins. The next one may be far too wide for that.
/// Halving used to drop a first tuple of one value if its rank and the rank below it rounded to the
/// same number. The certified error of both quantiles below was then about 2^30 ranks, and 10^8 and
/// 7 * 10^8 are allowed.
#[test]
fn halving_keeps_the_beginning_of_a_run() {
    // Such a first tuple is what remains of a stream of one low value and then equal ones.
    let (low, fine) = ([(0.001, 0.0001)], [(0.5, 0.0006)]);
    let stream = [vec![1.0], vec![2.0; 9999]].concat();
    let [one, two] = [1.0, 2.0].map(key_of);
    assert_eq!(
        sketch_of(&bound(&low), &keys_of(&stream), 16).tuples(),
        tuples(&[(one, 1, 0), (two, 1, 0), (two, 9998, 0)])
    );

    // After 2^41 values, the run has many tuples of the maximum weight. A merge can bring the
    // beginning of such a run to any rank.
    let shape = |least, key, len| {
        let run = [vec![(key, 1, 0)], vec![(key, u32::MAX, 0); len]].concat();
        Sketch::from_parts(tuples(&[least, run].concat()), false)
    };
    let single = shape(vec![(one, 1, 0)], two, 513);
    let runs = [shape(vec![(0, 1, 0)], two, 257), shape(vec![], one, 256)];
    let merged = Sketch::merge(&[&runs[0], &runs[1]]);
    for (objectives, mut sketch) in [(low, single), (fine, merged)] {
        let [(phi, eps)] = objectives;
        let (bound, before) = (bound(&objectives), sketch.n());
        sketch.compress(&bound, &mut Scratch::new());
        assert_eq!(sketch.n(), before.div_ceil(2));
        let (value, error) = sketch.quantile(phi).unwrap();
        assert_eq!((value, error), (2.0, 0), "{phi}, {eps}");
        assert_eq!(sketch.check(&bound), Ok(()));
    }
}

/// A run at ranks 2 and 3 has no weight left beside the smallest value, which keeps its own.
#[test]
fn halving_drops_a_run_without_weight() {
    let parts = tuples(&[(1, 1, 0), (2, 1, 0), (2, 1, 0), (3, 3, 0), (4, 1, 0)]);
    let mut sketch = Sketch::from_parts(parts, false);
    sketch.halve();
    let parts = tuples(&[(1, 1, 0), (3, 2, 0), (4, 1, 0)]);
    assert_eq!((sketch.tuples(), sketch.n()), (&parts[..], 4));
}

#[test]
fn a_delta_beyond_32_bits_is_unknown() {
    let wide = |key| Tuple {
        key,
        g: u32::MAX / 2,
        delta: u32::MAX / 2,
    };
    let part = |first: u64| {
        let mut tuples: Vec<_> = (0..10).map(|i| wide(first + 20 * i)).collect();
        tuples.insert(
            0,
            Tuple {
                key: first - 10,
                g: 1,
                delta: 0,
            },
        );
        tuples.push(Tuple {
            key: 1000 + first,
            g: 1,
            delta: 0,
        });
        Sketch::from_parts(tuples, false)
    };
    let merged = Sketch::merge(&[&part(100), &part(101), &part(102), &part(103)]);
    let (_, error) = merged.quantile(0.5).unwrap();
    assert!(
        error >= u64::from(u32::MAX) && error <= merged.n() / 2,
        "{error}"
    );
}

#[test]
fn the_cap_holds_and_is_told() {
    // Ordinary values would need 1 700 tuples; these close in on the median from both sides.
    let bound = bound(&[(0.5, 0.0006)]);
    let (mut sketch, mut scratch) = (Sketch::new(), Scratch::new());
    for i in 0..4000u64 {
        let batch: Vec<u64> = (0..256)
            .map(|j| {
                if j % 2 == 0 {
                    i * 256 + j
                } else {
                    u64::MAX / 2 - i * 256 - j
                }
            })
            .collect();
        sketch.insert(&bound, &batch, &mut scratch);
        assert!(sketch.tuples().len() <= MAX_TUPLES);
    }
    assert!(sketch.is_degraded());
    assert!(Sketch::merge(&[&sketch, &Sketch::new()]).is_degraded());
    let (_, error) = sketch.quantile(0.5).unwrap();
    assert!((error as f64) < 8.0 * 0.0006 * sketch.n() as f64, "{error}");
}

#[test]
fn merging_and_compressing_again_and_again_adds_no_error() {
    let bound = Bound::new(&TARGETS);
    let mut random = Random(5);
    let (mut total, mut all, mut scratch) = (Sketch::new(), Vec::new(), Scratch::new());
    for thread in 0..400 {
        let middle = random.unit();
        let mut keys: Vec<u64> = (0..random.below(3000))
            .map(|_| key_of(middle + random.unit() / 10.0))
            .collect();
        match thread % 3 {
            0 => keys.sort_unstable(),
            1 => keys.sort_unstable_by(|a, b| b.cmp(a)),
            _ => {}
        }
        let shard = sketch_of(&bound, &keys, 256);
        total = Sketch::merge(&[&total, &shard]);
        total.compress(&bound, &mut scratch);
        total.check(&bound).unwrap();
        all.extend(keys);
    }
    all.sort_unstable();
    audit(&total, &all, &DEFAULTS, "accumulated");
    assert!(total.tuples().len() < 400, "{}", total.tuples().len());
}

fn any_targets() -> impl Strategy<Value = Vec<(f64, f64)>> {
    let phi = prop_oneof![4 => 0.0..=1.0, 1 => (1..100u32).prop_map(|i| f64::from(i) / 100.0), 1 => Just(0.0), 1 => Just(1.0)];
    let eps = prop_oneof![0.001..0.2, 0.01..0.02, 0.2..0.999];
    prop::collection::vec((phi, eps), 0..=7)
        .prop_filter("valid", |pairs| Targets::try_new(pairs).is_ok())
}

/// Few distinct values, many distinct values, and runs up and down, in numbers that a batch size
/// does not divide.
fn any_values() -> impl Strategy<Value = Vec<u64>> {
    let run =
        (0..2000u64, 0..3u64, 1..400usize, any::<bool>()).prop_map(|(from, step, len, down)| {
            let mut run: Vec<u64> = (0..len as u64)
                .map(|i| key_of((from + i * step) as f64))
                .collect();
            if down {
                run.reverse();
            }
            run
        });
    let noise = prop::collection::vec((0..3000u32).prop_map(|v| key_of(f64::from(v))), 1..400);
    prop::collection::vec(prop_oneof![run, noise], 0..12).prop_map(|runs| runs.concat())
}

fn rank_of(phi: f64, n: usize) -> usize {
    // The twin of the sketch's own function, in integers: a product less than 2^-40 above a
    // whole rank counts as that rank.
    let scaled = (phi * (1u64 << 52) as f64).round() as u128 * n as u128;
    ((scaled + (1 << 52) - (1 << 12)) >> 52).max(1) as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 3000 }))]

    #[test]
    fn any_stream_and_split_keep_the_promise(
        pairs in any_targets(), keys in any_values(), batch in 1..300usize, shards in 1..6usize, seed: u64,
    ) {
        let bound = bound(&pairs);
        let mut random = Random(seed);
        let mut split = vec![Vec::new(); shards];
        keys.iter().for_each(|key| split[random.below(shards)].push(*key));
        let parts: Vec<Sketch> = split.iter().map(|keys| sketch_of(&bound, keys, batch)).collect();
        for part in &parts {
            prop_assert_eq!(part.check(&bound), Ok(()));
        }
        let whole = sketch_of(&bound, &keys, batch);
        let merged = Sketch::merge(&parts.iter().collect::<Vec<_>>());
        let mut compressed = merged.clone();
        compressed.compress(&bound, &mut Scratch::new());
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        for sketch in [whole, merged, compressed] {
            prop_assert_eq!(sketch.check(&bound), Ok(()));
            prop_assert_eq!(sketch.n(), keys.len() as u64);
            for (phi, eps) in pairs.iter().copied().chain([(0.0, 0.0), (1.0, 0.0), (0.3, 1.0)]) {
                let Some((value, certified)) = sketch.quantile(phi) else { prop_assert!(keys.is_empty()); continue };
                let eps = if phi == 0.0 || phi == 1.0 { 0.0 } else { eps };
                prop_assert!(error(&sorted, key_of(value), rank_of(phi, keys.len())) as u64 <= certified);
                prop_assert!(certified as f64 <= eps * keys.len() as f64 * (1.0 + 1e-9), "{} certified {}", phi, certified);
            }
        }
    }

    /// Counting by gap and inserting a sorted batch give the same sketch.
    #[test]
    fn a_batch_may_come_in_any_order(pairs in any_targets(), keys in any_values(), batch in 1..600usize) {
        let bound = bound(&pairs);
        let (mut any, mut sorted, mut scratch) = (Sketch::new(), Sketch::new(), Scratch::new());
        for batch in keys.chunks(batch) {
            let mut ascending = batch.to_vec();
            ascending.sort_unstable();
            any.insert(&bound, batch, &mut scratch);
            sorted.insert_sorted(&bound, &ascending, &mut scratch);
            prop_assert_eq!(&any, &sorted);
        }
    }

    #[test]
    fn exact_parts_merge_exactly(keys in any_values(), cut in 0.0..1.0) {
        let (a, b) = keys.split_at((keys.len() as f64 * cut) as usize);
        let exact = |keys: &[u64]| { let mut keys = keys.to_vec(); keys.sort_unstable(); Sketch::from_sorted(&keys) };
        prop_assert_eq!(Sketch::merge(&[&exact(a), &exact(b)]), exact(&keys));
    }

    /// The order and the grouping of a merge change ties only.
    #[test]
    fn merging_is_associative_in_what_it_certifies(a in any_values(), b in any_values(), c in any_values()) {
        let bound = Bound::new(&TARGETS);
        let [a, b, c] = [a, b, c].map(|keys| sketch_of(&bound, &keys, 100));
        let left = Sketch::merge(&[&Sketch::merge(&[&a, &b]), &c]);
        let right = Sketch::merge(&[&a, &Sketch::merge(&[&b, &c])]);
        let flat = Sketch::merge(&[&a, &b, &c]);
        for merged in [&left, &right, &flat] {
            prop_assert_eq!(merged.check(&bound), Ok(()));
            prop_assert_eq!(merged.n(), a.n() + b.n() + c.n());
        }
        for (phi, eps) in DEFAULTS {
            for merged in [&left, &right, &flat] {
                let certified = merged.quantile(phi).map_or(0, |(_, certified)| certified);
                prop_assert!(certified as f64 <= eps * merged.n() as f64 * (1.0 + 1e-9));
            }
        }
    }

    /// The plain twin of halving: sort the values and keep every other one, the smallest and the
    /// largest included.
    #[test]
    fn halving_adds_one_rank_of_error_at_most(a in any_values(), b in any_values(), batch in 1..300usize) {
        let bound = bound(&[(0.5, 0.01), (0.9, 0.05)]);
        let mut sorted = [a.clone(), b.clone()].concat();
        prop_assume!(sorted.len() > 2);
        sorted.sort_unstable();
        let (n, half) = (sorted.len(), sorted.len().div_ceil(2));
        let twin: Vec<u64> = (1..=half).map(|i| match i {
            1 => sorted[0],
            _ => sorted[(2 * i).min(n) - 1],
        }).collect();
        let before = Sketch::merge(&[&sketch_of(&bound, &a, batch), &sketch_of(&bound, &b, batch)]);
        let mut after = before.clone();
        after.halve();
        prop_assert_eq!(after.n(), half as u64);
        prop_assert_eq!(after.check(&Bound::new(&Targets::new(&[]))), Ok(()));
        for x in (1..=half).step_by(1 + half / 100) {
            let certified = |sketch: &Sketch, x: usize| {
                sketch.quantile(x as f64 / sketch.n() as f64).unwrap()
            };
            let (value, error) = certified(&after, x);
            let key = key_of(value);
            let below = twin.partition_point(|other| *other < key);
            let upto = twin.partition_point(|other| *other <= key);
            let wrong = (below + 1).saturating_sub(x).max(x.saturating_sub(upto)) as u64;
            prop_assert!(wrong <= error, "rank {x}: wrong by {wrong}, certified {error}");
            let (_, old) = certified(&before, (2 * x).min(n));
            prop_assert!(error <= old / 2 + 1, "rank {x}: {error} after {old}");
        }
    }

    #[test]
    fn keys_order_as_values_and_come_back(a: f64, b: f64) {
        prop_assume!(!a.is_nan() && !b.is_nan());
        prop_assert_eq!(key_of(a).cmp(&key_of(b)), a.partial_cmp(&b).unwrap());
        prop_assert_eq!(value_of(key_of(a)), a);
    }

    #[test]
    fn tuples_survive_as_words(key: u64, g: u32, delta: u32) {
        let tuple = Tuple { key, g, delta };
        prop_assert_eq!(Tuple::from_words(tuple.to_words()), tuple);
    }

    #[test]
    fn any_floats_are_targets_or_an_error(pairs in prop::collection::vec(
        (prop_oneof![any::<f64>(), 0.0..=1.0, Just(1.0 - f64::EPSILON / 2.0), Just(5e-324)], prop_oneof![any::<f64>(), 0.0..1.0]), 0..9,
    )) {
        let targets: Result<Targets, TargetError> = Targets::try_new(&pairs);
        if let Ok(targets) = targets {
            let bound = Bound::new(&targets);
            for (phi, eps) in targets.as_slice() {
                prop_assert!(*phi == 0.0 || *phi == 1.0 || bound.at(*phi) <= eps * (1.0 + 1e-6));
            }
            for i in 0..=1000 {
                prop_assert!(bound.at(f64::from(i) / 1000.0) > 0.0);
            }
        }
    }

    /// Torn or invented tuples give wrong results, but no panics.
    #[test]
    fn garbage_does_not_panic(
        words in prop::collection::vec((prop_oneof![any::<u64>(), 0..9u64, Just(u64::MAX)], any::<u64>()), 0..40),
        more in prop::collection::vec(any::<(u64, u64)>(), 0..10),
        keys in prop::collection::vec(prop_oneof![any::<u64>(), 0..9u64, Just(u64::MAX)], 0..60), phi: f64, pairs in any_targets(),
    ) {
        let bound = bound(&pairs);
        let mut scratch = Scratch::new();
        let tuple = |(key, ranks): &(u64, u64)| Tuple::from_words([*key, *ranks]);
        let part = |words: &[(u64, u64)]| Sketch::from_parts(words.iter().map(tuple).collect(), false);
        let mut sketch = Sketch::merge(&[&part(&words), &part(&more)]);
        for phi in [phi, 0.0, 0.5, 1.0] {
            sketch.quantile(phi);
        }
        sketch.insert(&bound, &keys, &mut scratch);
        sketch.insert_sorted(&bound, &keys, &mut scratch);
        sketch.compress(&bound, &mut scratch);
        let _ = sketch.check(&bound);
        sketch.quantile(phi);
    }

    /// The keys of NaNs are the smallest and the largest, and even they are counted.
    #[test]
    fn no_key_is_lost(keys in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()], 0..2000), batch in 1..300usize) {
        let sketch = sketch_of(&Bound::new(&TARGETS), &keys, batch);
        prop_assert_eq!(sketch.n(), keys.len() as u64);
        prop_assert_eq!(sketch.check(&Bound::new(&TARGETS)), Ok(()));
    }
}
