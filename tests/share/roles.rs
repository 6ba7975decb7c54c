//! What child processes do.

use std::path::Path;

use tallies::{Counter, Gauge, Histogram, Summary, UpDownCounter};

use crate::child::{hear, say};

pub static JOBS: Counter = Counter::new("jobs_total").help("Jobs done.");
static SECONDS: Counter<(), f64> = Counter::new("busy_seconds_total").help("Time at work.");
static BY_QUEUE: Counter<[&str; 1]> =
    Counter::labelled("queue_jobs_total", &["queue"]).help("Jobs by queue.");
static IN_FLIGHT: UpDownCounter = UpDownCounter::new("in_flight_jobs").help("Jobs in progress.");
static LATENCY: Histogram = Histogram::new("latency_seconds")
    .help("Time to answer.")
    .buckets(&[1.0, 2.0, 4.0]);
static NATIVE: Histogram = Histogram::new("native_seconds")
    .help("Time to answer.")
    .buckets(&[1.0, 2.0, 4.0])
    .native(3);
static SIZES: Summary = Summary::new("sizes_bytes").help("Sizes.");
static LEVEL: Gauge = Gauge::new("level").help("A level.");

/// Counts one job in every kind.
fn job(i: u64) {
    JOBS.inc();
    SECONDS.add(0.25);
    BY_QUEUE
        .with([["mail", "print", "scan"][i as usize % 3]])
        .inc();
    IN_FLIGHT.inc();
    LATENCY.observe((i % 5) as f64);
    NATIVE.observe((i % 5) as f64);
    SIZES.observe((i % 100) as f64);
    IN_FLIGHT.dec();
    LEVEL.set(i as f64);
}

/// Plays a role: its name, and words that follow.
pub fn play(role: &str, directory: &Path) {
    let mut words = role.split(' ');
    let name = words.next().unwrap();
    let mut number = || words.next().map_or(0, |word| word.parse::<u64>().unwrap());
    match name {
        // Counts so often in each of so many threads, and ends.
        "count" => {
            let (times, threads) = (number(), number().max(1));
            let _dir = tallies::share::dir(directory).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| (0..times).for_each(|_| JOBS.inc()));
                }
            });
            say("done");
        }
        // Counts, and lives on until its parent tells it to end.
        "count-and-wait" => {
            let times = number();
            let _dir = tallies::share::dir(directory).unwrap();
            (0..times).for_each(|_| JOBS.inc());
            say("done");
            hear();
        }
        // Counts one by one, and writes the number to a file before and after each, until it is
        // killed.
        "count-until-killed" => {
            let _dir = tallies::share::dir(directory).unwrap();
            say("ready");
            for i in 1_u64.. {
                JOBS.inc();
                say(format_args!("counted {i}"));
            }
        }
        // The same in all kinds.
        "every-kind" => {
            let times = number();
            let _dir = tallies::share::dir(directory).unwrap();
            (0..times).for_each(job);
            say("done");
            hear();
        }
        other => panic!("no role {other}"),
    }
}
