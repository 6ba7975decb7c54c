//! Float totals never go down: threads that end, slots that are closed and series that are retired
//! group the terms of a sum in another way, and the sum is never lower than before.

use proptest::prelude::*;

use crate::snapshot::Resolution;
use crate::snapshot::sketch::Targets;

use super::*;

const THREADS: usize = 5;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Adds a value in a thread. Promotes the series first, or not.
    Add(usize, f64, bool),
    /// A thread ends, and another one begins.
    End(usize),
    /// A pass folds idle shards, closed slots and retired series. Then all threads acknowledge.
    Scrape,
    /// The series goes quiet.
    Close,
    /// The series is retired, and another one begins.
    Retire,
}

/// A number that does not lose digits if it is multiplied by a power of two.
fn value() -> impl Strategy<Value = f64> {
    let scaled = |(digits, power): (u64, i32)| digits as f64 * 2_f64.powi(power);
    prop_oneof![
        (0.0..1000.0).prop_map(|x: f64| x),
        (0_u64..1 << 53, -140_i32..20).prop_map(scaled),
        (0_u64..4, -60_i32..60).prop_map(scaled),
    ]
}

fn steps(values: impl Strategy<Value = f64>) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..THREADS, values, prop::bool::weighted(0.9))
            .prop_map(|(thread, value, hot)| Step::Add(thread, value, hot)),
        2 => (0..THREADS).prop_map(Step::End),
        6 => Just(Step::Scrape),
        1 => Just(Step::Close),
        1 => Just(Step::Retire),
    ];
    prop::collection::vec(step, 1..if cfg!(miri) { 20 } else { 120 })
}

/// One live series, the overflow series, and the retired ones in between.
struct World<'a, C: Cells> {
    shape: &'a C::Shape,
    engine: Engine,
    threads: Vec<Thread>,
    live: C,
    overflow: C,
    retired: Vec<(C, Retired)>,
    closing: Option<Closing>,
}

impl<'a, C: Cells> World<'a, C> {
    fn new(shape: &'a C::Shape) -> Self {
        Self {
            shape,
            engine: Engine::new(),
            threads: (0..THREADS).map(|_| Thread::new()).collect(),
            live: C::new(shape),
            overflow: C::new(shape),
            retired: Vec::new(),
            closing: None,
        }
    }

    /// Returns the totals of the live series and of the overflow series.
    fn totals(&self) -> [C::Total; 2] {
        let mut pass = self.engine.pass();
        let mut live = C::Total::default();
        let slot = self.live.slot_word().slot();
        self.live.read(&mut pass, slot, &mut live);
        let mut overflow = C::Total::default();
        let retired = self
            .retired
            .iter()
            .map(|(cells, retired)| (cells, *retired));
        read_overflow(&mut pass, &self.overflow, retired, &mut overflow);
        [live, overflow]
    }

    fn scrape(&mut self) {
        let mut pass = self.engine.pass();
        pass.take_idle();
        for series in [&self.live, &self.overflow] {
            fold_idle(&mut pass, self.shape, series);
        }
        if let Some(closing) = self.closing {
            if end_closing(&mut pass, self.shape, &self.live, closing) {
                self.closing = None;
            }
        }
        self.retired.retain(|(cells, retired)| {
            !reclaim(&mut pass, self.shape, cells, *retired, Some(&self.overflow))
        });
        pass.free_cleared();
        drop(pass);
        self.threads.iter().for_each(Thread::acknowledge);
    }

    fn retire(&mut self) {
        let retired = self.engine.pass().retire(self.live.slot_word(), false);
        let old = std::mem::replace(&mut self.live, C::new(self.shape));
        self.retired.push((old, retired));
        self.closing = None;
    }

    /// Ends everything, so that no slot has memory of its own any more.
    fn end(mut self) -> C {
        self.retire();
        for _ in 0..4 {
            self.scrape();
        }
        assert!(self.retired.is_empty(), "never reclaimed");
        for thread in &self.threads {
            thread.leave(&self.engine);
        }
        self.overflow
    }
}

/// Runs the steps, and calls `check` after each with the totals of the live series and of the
/// overflow series. `true` if the live series is another one than before.
fn run<C: Cells>(
    shape: &C::Shape,
    steps: &[Step],
    add: impl Fn(&C, (&Engine, &Thread), f64, bool) -> Outcome,
    mut check: impl FnMut([C::Total; 2], bool),
) {
    let mut world = World::<C>::new(shape);
    for step in steps {
        match *step {
            Step::Add(thread, value, hot) => {
                let context = (&world.engine, &world.threads[thread]);
                assert_eq!(add(&world.live, context, value, hot), Outcome::Done);
            }
            Step::End(thread) => {
                world.threads[thread].leave(&world.engine);
                world.threads[thread] = Thread::new();
            }
            Step::Scrape => world.scrape(),
            Step::Close if world.closing.is_none() => {
                world.closing = world.engine.pass().close(world.live.slot_word());
            }
            Step::Close => {}
            Step::Retire => world.retire(),
        }
        check(world.totals(), matches!(step, Step::Retire));
    }
    drop(world.end());
}

/// Checks that no sum is lower than before.
fn never_lower<C: Cells>(
    shape: &C::Shape,
    steps: &[Step],
    add: impl Fn(&C, (&Engine, &Thread), f64, bool) -> Outcome,
    sum: impl Fn(&C::Total) -> f64,
) {
    let mut last = [0.0; 2];
    run(shape, steps, add, |totals, retired| {
        let now = totals.each_ref().map(&sum);
        let least = if retired { [0.0, last[1]] } else { last };
        assert!(
            now[0] >= least[0] && now[1] >= least[1],
            "{now:?} after {last:?}"
        );
        last = now;
    });
}

fn add_to_tally(
    cells: &Tally<f64>,
    (engine, thread): (&Engine, &Thread),
    value: f64,
    hot: bool,
) -> Outcome {
    let generation = cells.slot_word().generation();
    cells.add_cold(engine, thread, generation, value, hot)
}

fn add_to_histogram(
    cells: &Buckets,
    (engine, thread): (&Engine, &Thread),
    value: f64,
    hot: bool,
) -> Outcome {
    let generation = cells.slot_word().generation();
    cells.observe_cold(
        engine,
        thread,
        generation,
        Observation::new(0, value, 1),
        hot,
    )
}

fn add_to_summary(
    cells: &Distribution,
    (engine, thread): (&Engine, &Thread),
    value: f64,
    hot: bool,
) -> Outcome {
    let generation = cells.slot_word().generation();
    cells.observe_cold(engine, thread, generation, value, hot)
}

fn native() -> Shape {
    let resolution = Resolution {
        schema: 0,
        limit: 8,
        zero_threshold: 0.0,
    };
    Shape::new(&[], Some(resolution))
}

fn summary() -> std::sync::Arc<SummaryShape> {
    SummaryShape::new(Targets::new(&[(0.5, 0.05)]), None, stream_budget())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]

    #[test]
    fn a_float_counter_never_goes_down(steps in steps(value())) {
        never_lower(&(), &steps, add_to_tally, |total| total.value());
    }

    #[test]
    fn the_sum_of_a_histogram_never_goes_down(steps in steps(value())) {
        never_lower(&Shape::fixed(1), &steps, add_to_histogram, |total| total.sum.value());
    }

    #[test]
    fn the_sum_of_a_native_histogram_never_goes_down(steps in steps(value())) {
        never_lower(&native(), &steps, add_to_histogram, |total| total.sum.value());
    }

    #[test]
    fn the_sum_of_a_summary_never_goes_down(steps in steps(value())) {
        never_lower(&summary(), &steps, add_to_summary, |total| total.sum.value());
    }

    /// No fold rounds a sum up that is exact.
    #[test]
    fn integers_as_floats_stay_exact(
        steps in steps((0_u64..1 << 45).prop_map(|n| n as f64)),
    ) {
        let totals = std::cell::Cell::new([0_u64; 2]);
        let added = |cells: &Tally<f64>, context: (&Engine, &Thread), value, hot| {
            let [live, overflow] = totals.get();
            totals.set([live + value as u64, overflow]);
            add_to_tally(cells, context, value, hot)
        };
        run(&(), &steps, added, |now, retired| {
            if retired {
                let [live, overflow] = totals.get();
                totals.set([0, overflow + live]);
            }
            let now = now.map(|total| total.value());
            assert_eq!(now, totals.get().map(|total| total as f64));
        });
    }
}

/// A pass reads several series at once, four shards at a time.
#[test]
fn series_that_are_read_together_have_the_same_totals() {
    let engine = Engine::new();
    let threads: Vec<_> = (0..11).map(|_| Thread::new()).collect();
    let all: Vec<_> = (0..64).map(|_| Tally::<f64>::new(&())).collect();
    let mut expected = vec![0.0; all.len()];
    for (i, series) in all.iter().enumerate() {
        for (t, thread) in threads.iter().enumerate() {
            let value = (i * 1000 + t) as f64 * 0.1;
            add_to_tally(series, (&engine, thread), value, true);
        }
    }
    let mut pass = engine.pass();
    for (series, expected) in all.iter().zip(&mut expected) {
        let mut total = Default::default();
        series.read(&mut pass, series.slot_word().slot(), &mut total);
        *expected = total.value();
    }
    let mut totals = vec![Default::default(); all.len()];
    Tally::read_all(&mut pass, all.iter(), &mut totals);
    let totals: Vec<_> = totals.iter().map(|total| total.value()).collect();
    assert_eq!(totals, expected);
    drop(pass);
    threads.iter().for_each(|thread| thread.leave(&engine));
}
