use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Exp, LogNormal, Normal};

use super::*;

const RUNS: usize = 2_000;
const LOOKS: usize = 100;

/// Counts the runs in which one of the looks misses the mean.
fn missed(mean: f64, from: u64, mut draw: impl FnMut(&mut StdRng) -> f64) -> usize {
    let mut rng = StdRng::seed_from_u64(7);
    let run = |_: &usize| {
        let mut sequence = Sequence::new();
        (0..LOOKS).any(|_| {
            sequence.push(draw(&mut rng));
            let interval = sequence.interval(0.05);
            sequence.count() >= from && interval.is_some_and(|interval| !interval.contains(mean))
        })
    };
    (0..RUNS).filter(run).count()
}

#[test]
fn the_bound_is_where_the_bayes_factor_is_one_over_the_error() {
    // The factor at these statistics, as a numeric double integral, is 20.000 000 000.
    for (count, expected) in [
        (5, 8.453187187536571),
        (6, 5.449819717280555),
        (10, 3.869786739371321),
        (30, 3.346589086902767),
    ] {
        assert!(
            (critical(count, 0.05).unwrap() - expected).abs() < 1e-9,
            "{count}"
        );
    }
}

#[test]
fn an_interval_is_so_many_standard_errors_around_the_mean() {
    let ten: Sequence = (1..=10).map(f64::from).collect();
    assert_eq!((ten.count(), ten.mean()), (10, 5.5));
    assert!((ten.deviation() - 3.027_650_354).abs() < 1e-9);
    let interval = ten.interval(0.05).unwrap();
    let radius = 3.869_786_739 * 3.027_650_354 / 10_f64.sqrt();
    assert!((interval.high - 5.5 - radius).abs() < 1e-6, "{interval:?}");
    assert!((5.5 - interval.low - radius).abs() < 1e-6, "{interval:?}");
}

#[test]
fn with_many_values_the_bound_is_that_of_the_asymptotic_sequence() {
    let t = 1e6_f64;
    let asymptotic = (2.0 * (t + 1.0) / t * ((t + 1.0).sqrt() / 0.05).ln()).sqrt();
    assert!((critical(1_000_000, 0.05).unwrap() / asymptotic - 1.0).abs() < 1e-5);
}

#[test]
fn too_few_values_and_impossible_errors_have_no_interval() {
    assert_eq!(critical(4, 0.05), None);
    assert_eq!(critical(0, 0.05), None);
    for error in [0.0, 1.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(critical(100, error), None);
    }
}

#[test]
fn normal_values_are_missed_at_any_look_in_at_most_one_run_of_twenty() {
    let normal = Normal::new(3.0, 2.0).unwrap();
    let missed = missed(3.0, 0, |rng| normal.sample(rng));
    assert!((20..=100).contains(&missed), "{missed} of {RUNS}");
}

#[test]
fn an_interval_for_one_look_misses_far_more_often_if_it_is_looked_at_again_and_again() {
    let normal = Normal::new(0.0, 1.0).unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let run = |_: &usize| {
        let mut sequence = Sequence::new();
        (0..LOOKS).any(|look| {
            sequence.push(normal.sample(&mut rng));
            // Larger than the quantile of Student's distribution for 5 and more values: 2.776.
            let radius = 2.8 * sequence.deviation() / (sequence.count as f64).sqrt();
            look >= 4 && sequence.mean.abs() > radius
        })
    };
    let missed = (0..RUNS).filter(run).count();
    assert!(
        missed > RUNS / 20,
        "{missed} of {RUNS}: the simulation shows nothing"
    );
}

#[test]
fn two_layouts_of_a_program_are_covered() {
    // A restart lands in one of two layouts, 2 % apart, and adds noise.
    let noise = Normal::new(0.0, 0.002).unwrap();
    let missed = missed(0.01, FEW as u64, |rng| {
        noise.sample(rng) + if rng.random_bool(0.5) { 0.02 } else { 0.0 }
    });
    assert!(missed <= 100, "{missed} of {RUNS}");
}

#[test]
fn logarithms_of_ratios_of_exponential_and_of_lognormal_times_are_covered() {
    let exponential = Exp::new(1.0_f64).unwrap();
    let ratio = |rng: &mut StdRng| (exponential.sample(rng) / exponential.sample(rng)).ln();
    let found = missed(0.0, 0, ratio);
    assert!(found <= 100, "exponential: {found} of {RUNS}");
    let lognormal = LogNormal::new(0.0, 1.0_f64).unwrap();
    let ratio = |rng: &mut StdRng| (lognormal.sample(rng) / lognormal.sample(rng)).ln();
    let found = missed(0.0, 0, ratio);
    assert!(found <= 100, "lognormal: {found} of {RUNS}");
}

#[test]
fn correlated_rounds_are_covered_in_growing_batches_and_not_one_by_one() {
    let normal = Normal::new(0.0, 1.0).unwrap();
    let mut rng = StdRng::seed_from_u64(11);
    let runs = 400;
    let (mut growing, mut raw) = (0, 0);
    for _ in 0..runs {
        let mut state = normal.sample(&mut rng);
        // Blocks of 16 rounds, each round correlated with the one before by 0.9.
        let blocks: Vec<f64> = (0..320)
            .map(|_| {
                let mut block = Vec::new();
                for _ in 0..16 {
                    state = 0.9 * state + 0.19_f64.sqrt() * normal.sample(&mut rng);
                    block.push(state);
                }
                midmean(&mut block)
            })
            .collect();
        let misses = |grow: bool| {
            (BATCHES..=blocks.len()).step_by(16).any(|count| {
                let blocks = blocks[..count].to_vec();
                let values = if grow { batches(blocks) } else { blocks };
                let sequence: Sequence = values.into_iter().collect();
                sequence
                    .interval(0.05)
                    .is_some_and(|interval| !interval.contains(0.0))
            })
        };
        growing += usize::from(misses(true));
        raw += usize::from(misses(false));
    }
    assert!(growing <= runs / 20, "growing: {growing} of {runs}");
    assert!(
        raw > growing,
        "{raw} of {runs}: the simulation shows nothing"
    );
}

#[test]
fn batches_grow_by_doubling() {
    assert_eq!(batches(vec![1.0; BATCHES - 1]).len(), BATCHES - 1);
    let values = (0..BATCHES).map(|i| i as f64).collect();
    assert_eq!(batches(values)[..2], [0.5, 2.5]);
    assert_eq!(batches(vec![1.0; 4 * BATCHES - 1]).len(), BATCHES - 1);
}

#[test]
fn blocks_grow_by_doubling_and_an_interrupted_round_does_not_move_them() {
    assert_eq!(blocks(&[1.0; BATCHES - 1]).len(), BATCHES - 1);
    assert_eq!(blocks(&[1.0; BATCHES]).len(), BATCHES / 2);
    assert_eq!(blocks(&[1.0; 2 * BATCHES - 1]).len(), BATCHES - 1);
    let mut rounds = [1.0; 4 * BATCHES];
    rounds[7] = 900.0;
    assert_eq!(blocks(&rounds), [1.0; BATCHES / 2]);
}

#[test]
fn the_bootstrap_covers_the_mean_of_twenty_restarts() {
    let normal = Normal::new(1.0, 1.0).unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let runs = 40;
    let covers = |run: &u64| {
        let values: Vec<f64> = (0..20).map(|_| normal.sample(&mut rng)).collect();
        bootstrap(&values, 0.05, *run).unwrap().contains(1.0)
    };
    // Fewer than 34 of 40 have a probability of 0.3 % if each one covers with 95 %.
    let covered = (0..runs).filter(covers).count();
    assert!(covered >= 34, "{covered} of {runs}");
    assert!(bootstrap(&[1.0; FEW], 0.05, 0).is_none());
    assert!(bootstrap(&[1.0, 2.0], 0.05, 0).is_none());
}

/// Both ends leave out half of the error.
#[test]
fn the_bootstrap_of_symmetric_values_is_symmetric() {
    let values: Vec<f64> = (-10..=10).map(f64::from).collect();
    let Interval { low, high } = bootstrap(&values, 0.1, 3).unwrap();
    assert!((high + low).abs() < 0.05 * high, "{low} {high}");
    // Student's quantile for 20 degrees of freedom, 1.725, times the standard error.
    assert!(
        (high / (1.725 * 6.2048 / 21_f64.sqrt()) - 1.0).abs() < 0.1,
        "{low} {high}"
    );
}

#[test]
fn an_interrupted_batch_does_not_move_the_midmean() {
    assert_eq!(
        midmean(&mut [1.0, 900.0, 2.0, 3.0, 2.0, 2.0, 2.0, 1.0]),
        2.0
    );
    assert_eq!(
        midmean(&mut [4.0, 0.0, 900.0, 3.0, 0.0, 900.0, 2.0, 1.0]),
        2.5
    );
    assert_eq!(midmean(&mut [4.0]), 4.0);
    assert_eq!(midmean(&mut []), 0.0);
}

#[test]
fn undisturbed_batches_are_the_fastest_quarter() {
    assert_eq!(
        undisturbed(&mut [9.0, 1.0, 3.0, 8.0, 7.0, 9.0, 5.0, 4.0]),
        2.0
    );
    assert_eq!(undisturbed(&mut [4.0, 2.0, 3.0]), 2.0);
    assert_eq!(undisturbed(&mut []), 0.0);
}
