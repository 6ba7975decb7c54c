//! Tests of tables: their counts, with one thread, and while threads grow their tables and exit.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::observe::{Buckets, Cells, Engine, Generation, Outcome, Shape, reclaim};
use crate::snapshot::native::index;

fn shape(schema: i8, limit: u32, buckets: usize) -> Shape {
    let resolution = Resolution {
        schema,
        limit,
        zero_threshold: 1e-9,
    };
    Shape {
        native: Some(Arc::new(resolution)),
        ..Shape::fixed(buckets)
    }
}

fn observe(engine: &Engine, thread: &Thread, series: &Buckets, observation: Observation) {
    let generation = series.slot_word().generation();
    let last = series.slot_word().last(generation);
    let Observation {
        bucket,
        value,
        times,
    } = observation;
    if !Buckets::observe_native(thread, last, bucket, value, times) {
        let outcome = series.observe_cold(engine, thread, generation, observation, false);
        assert_eq!(outcome, Outcome::Done);
    }
}

fn total(engine: &Engine, series: &Buckets) -> ObservedTotal {
    let mut total = ObservedTotal::default();
    series.read(&mut engine.pass(), series.slot_word().slot(), &mut total);
    total
}

/// Why a child of `fork` may keep observations: the lock of the cold table may be that of a thread
/// which it does not have, or of one that lives and may replace the table.
#[test]
fn starting_over_leaves_a_table_that_a_thread_writes() {
    let (engine, thread) = (Engine::new(), Thread::new());
    let shape = shape(3, 160, 1);
    let series = Buckets::new(&shape);
    let one = Observation {
        bucket: 0,
        value: 1.0,
        times: 1,
    };
    let count = || {
        let counts = total(&engine, &series).counts;
        counts.iter().sum::<u64>()
    };
    let write = || series.observe_cold(&engine, &thread, Generation::FIRST, one, false);
    assert_eq!(write(), Outcome::Done);
    let held = series.cold_lock().lock_any().unwrap();
    crate::observe::start_over(&engine.pass(), &shape, &series, None);
    assert_eq!(count(), 1);
    drop(held);
    crate::observe::start_over(&engine.pass(), &shape, &series, None);
    assert_eq!(count(), 0);
    assert_eq!(write(), Outcome::Done);
    thread.leave(&engine);
}

/// The plain twin: counts every value in its bucket, one by one.
fn counted(values: &[f64], schema: i8) -> Native {
    let mut native = Native::finest();
    native.coarsen(&Resolution {
        schema,
        limit: 0,
        zero_threshold: 1e-9,
    });
    for value in values {
        if value.abs() <= 1e-9 {
            native.zero_count += 1;
        } else {
            native.add(index::of(value.abs(), schema), *value < 0.0, 1);
        }
    }
    native.normalize(u32::MAX);
    native
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 128 }))]
    #[test]
    fn it_counts_as_one_by_one(
        values in proptest::collection::vec(prop_oneof![
            4 => -1e3..1e3_f64, 1 => -1e300..1e300_f64, 1 => Just(0.0), 1 => Just(f64::INFINITY), 1 => 0.0..1e-300_f64,
        ], 0..if cfg!(miri) { 20 } else { 200 }),
        schema in -4_i8..=8,
        limit in 8_u32..200,
        hot_after in 0_usize..100,
    ) {
        let engine = Engine::new();
        let series = Buckets::new(&shape(schema, limit, 2));
        let thread = Thread::new();
        for (i, &value) in values.iter().enumerate() {
            if i == hot_after {
                super::super::promote(&engine, series.slot_word(), Generation::FIRST, 1);
            }
            observe(&engine, &thread, &series, Observation::new(usize::from(value > 1.0), value, 1));
        }
        let seen = total(&engine, &series);
        let above = values.iter().filter(|value| **value > 1.0).count() as u64;
        prop_assert_eq!(&seen.counts, &[values.len() as u64 - above, above]);
        let native = seen.native.unwrap();
        prop_assert!(native.schema() <= schema);
        let buckets = native.positive().len() + native.negative().len();
        prop_assert!(buckets <= limit as usize || native.schema() == COARSEST);
        prop_assert_eq!(&native, &counted(&values, native.schema()));
    }
}

/// Every value has a fixed bucket of its own, so the sum follows from the counts, and a torn read
/// shows. This holds while exponential buckets become coarser, too.
#[test]
fn reads_are_whole_while_threads_grow_and_leave() {
    const ROUNDS: u64 = if cfg!(miri) { 40 } else { 20_000 };
    const VALUES: usize = 40;
    // 2^(bucket - 10). Without `powi`, to which Miri adds random rounding errors.
    let value = |bucket: usize| f64::from_bits((bucket as u64 + 1013) << 52);
    let engine = Engine::new();
    let shape = shape(8, 8, VALUES);
    let series = Buckets::new(&shape);
    let check = |seen: &ObservedTotal| {
        let native = seen.native.as_ref().unwrap();
        let counts = seen.counts.iter().enumerate();
        let sum: f64 = counts.map(|(i, &count)| value(i) * count as f64).sum();
        assert_eq!(
            (seen.sum.value(), seen.count()),
            (sum, native.count()),
            "torn"
        );
        assert!(native.positive().len() <= 8, "{native:?}");
        seen.count()
    };
    std::thread::scope(|scope| {
        for t in 0..2 {
            let (engine, series) = (&engine, &series);
            scope.spawn(move || {
                for life in 0..3 {
                    let thread = Thread::new();
                    for i in 0..ROUNDS {
                        // More buckets in each life, so that tables grow.
                        let bucket = ((i + t) % (10 << life)) as usize;
                        let observation = Observation::new(bucket, value(bucket), 1 + i % 2);
                        observe(engine, &thread, series, observation);
                    }
                    thread.leave(engine);
                }
            });
        }
        let mut last = 0;
        for _ in 0..if cfg!(miri) { 20 } else { 200 } {
            let count = check(&total(&engine, &series));
            assert!(count >= last, "went back");
            last = count;
        }
    });
    let seen = total(&engine, &series);
    let all = check(&seen);
    assert_eq!(all, 6 * (ROUNDS + ROUNDS / 2));
    assert!(seen.native.unwrap().schema() < 0, "40 octaves, 8 buckets");
    let overflow = Buckets::new(&shape);
    let thread = Thread::new();
    observe(
        &engine,
        &thread,
        &overflow,
        Observation::new(0, value(0), 1),
    );
    thread.leave(&engine);
    let retired = engine.pass().retire(series.slot_word(), false);
    let mut passes = 0;
    while !reclaim(
        &mut engine.pass(),
        &shape,
        &series,
        retired,
        Some(&overflow),
    ) {
        passes += 1;
        assert!(passes < 10_000, "never safe");
        // An epoch passes once the threads of other tests have unpinned.
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    assert_eq!(check(&total(&engine, &overflow)), all + 1);
    assert_eq!(total(&engine, &series).count(), 0);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of buckets")]
fn the_largest_limit_is_reached_and_not_passed() {
    const LIMIT: usize = 8192;
    let engine = Engine::new();
    let series = Buckets::new(&shape(8, LIMIT as u32, 1));
    let thread = Thread::new();
    super::super::promote(&engine, series.slot_word(), Generation::FIRST, 1);
    let fill = |from: usize, to: usize| {
        for i in from..to {
            // The limit is for positive and negative buckets together.
            let value = index::upper(i as i32 / 2, 8) * [1.0, -1.0][i % 2];
            observe(&engine, &thread, &series, Observation::new(0, value, 1));
        }
        let native = total(&engine, &series).native.unwrap();
        let buckets = native.positive().len() + native.negative().len();
        (native.schema(), buckets, native.count())
    };
    assert_eq!(fill(0, LIMIT), (8, LIMIT, LIMIT as u64));
    let after = fill(LIMIT, LIMIT + 2);
    assert_eq!((after.0, after.2), (7, LIMIT as u64 + 2));
    assert!(after.1 <= LIMIT / 2 + 2, "{after:?}");
}

#[test]
fn an_observation_inside_a_replacement_is_refused_where_it_would_need_another() {
    let engine = Engine::new();
    let series = Buckets::new(&shape(3, 160, 1));
    let thread = Thread::new();
    observe(&engine, &thread, &series, Observation::new(0, 1.0, 1));
    thread.without_reentry(|| {
        observe(&engine, &thread, &series, Observation::new(0, 1.0, 1));
        let generation = series.slot_word().generation();
        let outcome = series.observe_cold(
            &engine,
            &thread,
            generation,
            Observation::new(0, 2.0, 1),
            false,
        );
        assert_eq!(outcome, Outcome::Rejected);
    });
    assert_eq!(total(&engine, &series).count(), 2);
}
