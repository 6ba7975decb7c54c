use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use rand_distr::{Distribution, Normal};

use super::*;

fn short() -> Compare {
    Compare::new().time(Duration::from_millis(100)).seed(3)
}

fn names(count: usize) -> Vec<(String, bool)> {
    (0..count).map(|place| (place.to_string(), false)).collect()
}

/// Lanes of 10, 20 and 40 ns per iteration, with noise of 2 %. A batch whose threads did not run
/// together seems to take half of its time.
fn simulated(compare: &Compare, mut is_together: impl FnMut(u64) -> bool) -> Standings {
    let noise = Normal::new(1.0, 0.02).unwrap();
    let mut rng = StdRng::seed_from_u64(9);
    let mut batch = 0;
    let run = |place: usize, iterations: u64| {
        batch += 1;
        let is_together = is_together(batch);
        let wrong = if is_together { 1.0 } else { 0.5 };
        let nanos = [10.0, 20.0, 40.0][place] * noise.sample(&mut rng) * wrong;
        let nanos = nanos * iterations as f64;
        Ok(Timing { nanos, is_together })
    };
    race(compare, names(3), run).unwrap()
}

#[test]
fn a_field_ends_when_every_ratio_is_known_and_any_two_can_be_compared() {
    let compare = short().time(Duration::from_secs(3_600)).same_within(0.01);
    let standings = simulated(&compare, |_| true);
    for (of, to, expected) in [(1, 0, 2.0), (2, 0, 4.0), (2, 1, 2.0), (0, 2, 0.25)] {
        let ratio = standings.ratio(of, to);
        let interval = ratio.interval.unwrap();
        assert!(
            interval.contains(expected) && interval.contains(ratio.value),
            "{ratio}"
        );
        assert!(interval.high - interval.low < 0.03 * expected, "{ratio}");
    }
    assert_eq!(standings.ratio(2, 1).verdict, Verdict::Slower);
    assert_eq!(standings.ratio(0, 1).verdict, Verdict::Faster);
    assert!(standings.control().interval.unwrap().contains(1.0));
    assert!((standings.candidates[2].nanos - 40.0).abs() < 0.5);
    let text = standings.to_string();
    assert!(text.starts_with("0: ") && text.contains("\n2: "), "{text}");
}

#[test]
fn rounds_in_which_the_threads_did_not_run_together_are_left_out_if_others_are_left() {
    let standings = simulated(&short().time(Duration::from_secs(60)), |batch| {
        batch % 5 > 0
    });
    assert!(standings.ratio(1, 0).interval.unwrap().contains(2.0));
    assert!((standings.candidates[0].nanos - 10.0).abs() < 0.5);
    assert!(!standings.candidates[0].is_doubtful);

    let standings = simulated(&short(), |_| false);
    assert!(standings.candidates[0].is_doubtful);
    assert!((standings.candidates[0].nanos - 5.0).abs() < 0.5);
    let ratio = standings.ratio(1, 0);
    assert!(ratio.interval.is_none() && ratio.verdict == Verdict::Undecided);
    assert!((ratio.value - 2.0).abs() < 0.1);
}

#[test]
fn candidates_run_in_random_order_in_batches_of_one_length_in_time() {
    let mut runs = Vec::new();
    let run = |place: usize, iterations: u64| {
        runs.push((place, iterations));
        let nanos = iterations as f64 * [100.0, 700.0][place];
        Ok(Timing {
            nanos,
            is_together: true,
        })
    };
    let compare = short()
        .time(Duration::from_secs(60))
        .batch(Duration::from_millis(1));
    race(&compare, names(2), run).unwrap();
    let rounds = &runs[runs.len() - 30..];
    assert!(
        rounds
            .iter()
            .all(|run| [(0, 10_000), (1, 1_428)].contains(run)),
        "{rounds:?}"
    );
    let second = |round: &[(usize, u64)]| round.iter().position(|run| run.0 == 1);
    let places: std::collections::HashSet<_> = rounds.chunks(3).map(second).collect();
    assert_eq!(places.len(), 3);
}

#[test]
fn setup_runs_before_each_batch_in_every_thread_and_results_are_dropped() {
    struct Dropped<'a>(&'a AtomicUsize);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let (made, dropped) = (Mutex::new([0; 2]), AtomicUsize::new(0));
    let setup = |thread: usize| {
        made.lock().unwrap()[thread] += 1;
        thread
    };
    let work = |thread: usize, input: usize| {
        assert_eq!(thread, input);
        Dropped(&dropped)
    };
    let field = Field::new(&short())
        .threads(2)
        .with_setup("setup", setup, work);
    let standings = field
        .candidate("other", std::thread::current)
        .run()
        .unwrap();
    assert_eq!(standings.candidates.len(), 2);
    let made = *made.lock().unwrap();
    // Ten rounds of the candidate and of the control.
    assert!(made[0] == made[1] && made[0] >= 20, "{made:?}");
    assert_eq!(dropped.load(SeqCst), 2 * made[0]);
}

#[test]
#[cfg(target_os = "linux")]
fn processor_time_does_not_count_sleep() {
    let sleep = || std::thread::sleep(Duration::from_millis(5));
    let field = Field::new(&short()).processor_time();
    let field = field.with_setup("sleep", |_| (), |_, ()| sleep());
    let standings = field.run().unwrap();
    assert!(standings.candidates[0].nanos < 4e6, "{standings}");
}

#[test]
fn a_candidate_that_panics_ends_the_measurement_of_all_threads() {
    let panics = |thread: usize| assert!(thread == 0, "the candidate's own message");
    let field = Field::new(&short())
        .threads(2)
        .with_setup("panics", panics, |_, ()| ());
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| field.run()));
    assert!(ended.is_err());
}

#[test]
fn fields_that_cannot_run_are_refused() {
    let compare = short();
    let empty = Field::new(&compare).run().unwrap_err();
    assert!(empty.is_setting() && empty.to_string().contains("no candidate"));
    for threads in [0, 1_025] {
        let field = Field::new(&compare).candidate("a", || 1).threads(threads);
        let error = field.run().unwrap_err();
        assert!(error.is_setting() && error.to_string().contains(&threads.to_string()));
    }
}

#[test]
fn a_round_counts_only_if_the_threads_of_both_lanes_ran_together() {
    let timing = |(nanos, is_together): (f64, bool)| Timing { nanos, is_together };
    let of = [
        (1.0, true),
        (2.0, false),
        (3.0, true),
        (4.0, true),
        (5.0, true),
    ]
    .map(timing);
    let to = [
        (6.0, true),
        (7.0, true),
        (8.0, false),
        (9.0, true),
        (10.0, true),
    ]
    .map(timing);
    let rounds = Rounds::of(&of, &to);
    assert_eq!(rounds.pairs, [(1.0, 6.0), (4.0, 9.0), (5.0, 10.0)]);
    assert!(!rounds.are_doubtful);
    // Two are too few, so all count.
    let rounds = Rounds::of(&of[..4], &to[..4]);
    assert!(rounds.are_doubtful && rounds.pairs.len() == 4);
}

#[test]
fn a_field_has_ten_rounds_even_if_they_take_longer_than_its_time() {
    let mut batches = 0;
    let begin = std::time::Instant::now();
    let run = |_: usize, iterations: u64| {
        batches += 1;
        // Until time is up, in the first round.
        while begin.elapsed() < Duration::from_millis(150) {
            std::thread::yield_now();
        }
        let nanos = iterations as f64 * 100.0;
        Ok(Timing {
            nanos,
            is_together: true,
        })
    };
    let standings = race(&short(), names(1), run).unwrap();
    assert_eq!(standings.lanes[0].len(), stats::FEW);
}
