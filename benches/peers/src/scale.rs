//! The scaling run: `cargo run --release -- scale`.
//!
//! Throughput at one thread, at two, and so on up to all processors, while another thread scrapes
//! ten times a second. All threads update the same metrics. Then the case in which cells per thread
//! cost most: 500 threads on few processors.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use tallies::{Counter, Histogram, Registry, Snapshot};

use crate::memory;
use crate::workload::*;

/// The time that each figure is measured for.
const TIME: Duration = Duration::from_millis(500);

/// The operations between two looks at the clock.
const BATCH: u64 = 2 * SEQUENCE;

/// The work of a thread in a batch.
type Work = Arc<dyn Fn() + Send + Sync>;

struct Contest {
    name: &'static str,
    work: Work,
    /// One scrape, if the contestant has one.
    scrape: Option<Box<dyn FnMut() + Send>>,
}

pub fn run() {
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    let steps: Vec<usize> = (0..)
        .map(|n| 1 << n)
        .take_while(|n| *n < most)
        .chain([most])
        .collect();
    println!(
        "Millions of operations per second, all threads together, beside ten scrapes a second.\n"
    );
    let titles: Vec<_> = steps.iter().map(|n| format!("{n} threads")).collect();
    println!("| operation | {} |", titles.join(" | "));
    println!("|---|{}", "---|".repeat(steps.len()));
    for mut contest in contests() {
        let figures: Vec<_> = steps
            .iter()
            .map(|threads| format!("{:.0}", throughput(&mut contest, *threads)))
            .collect();
        println!("| {} | {} |", contest.name, figures.join(" | "));
    }
    many_threads(500);
}

fn contests() -> Vec<Contest> {
    let atomic: &'static AtomicU64 = Box::leak(Box::default());
    let shared =
        prometheus::IntCounterVec::new(prometheus::Opts::new("c", "h"), &["method", "path"])
            .unwrap();
    let registry: &'static Registry = Box::leak(Box::default());
    let counter = registry.counter("counter_total", "Counted.").unwrap();
    let labels = Counter::builder("labelled_total", "Counted.")
        .labels(["method", "path"])
        .register(registry)
        .unwrap();
    let histogram = Histogram::builder("seconds", "Time.")
        .buckets(&BOUNDS)
        .register(registry)
        .unwrap();
    let vector = shared.clone();
    vec![
        Contest {
            name: "one shared atomic",
            work: Arc::new(|| (0..BATCH).for_each(|_| _ = atomic.fetch_add(1, Relaxed))),
            scrape: None,
        },
        Contest {
            name: "prometheus: look-up of 100 label sets",
            work: Arc::new(move || {
                twice(&REQUESTS, |(method, path)| {
                    vector.with_label_values(&[method, path]).inc()
                })
            }),
            scrape: Some(Box::new(move || {
                drop(prometheus::core::Collector::collect(&shared))
            })),
        },
        Contest {
            name: "tallies: counter",
            work: Arc::new(move || (0..BATCH).for_each(|_| counter.inc())),
            scrape: Some(scrapes(registry)),
        },
        Contest {
            name: "tallies: look-up of 100 label sets",
            work: Arc::new(move || {
                twice(&REQUESTS, |(method, path)| {
                    labels.with([*method, *path]).inc()
                })
            }),
            scrape: Some(scrapes(registry)),
        },
        Contest {
            name: "tallies: histogram of 11 bounds",
            work: Arc::new(move || twice(&VALUES, |value| histogram.observe(*value))),
            scrape: Some(scrapes(registry)),
        },
    ]
}

fn twice<T>(sequence: &[T], op: impl Fn(&T)) {
    (0..2).for_each(|_| sequence.iter().for_each(&op));
}

fn scrapes(registry: &'static Registry) -> Box<dyn FnMut() + Send> {
    let (mut snapshot, mut page) = (Snapshot::default(), Vec::new());
    Box::new(move || {
        registry.snapshot_into(&mut snapshot);
        page.clear();
        tallies::encode::text_into(&snapshot, &mut page);
    })
}

/// Millions of operations per second.
fn throughput(contest: &mut Contest, threads: usize) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let ready = Arc::new(Barrier::new(threads + 1));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (stop, ready, work) = (stop.clone(), ready.clone(), contest.work.clone());
            std::thread::spawn(move || {
                work();
                ready.wait();
                let mut done = 0;
                while !stop.load(Relaxed) {
                    work();
                    done += BATCH;
                }
                done
            })
        })
        .collect();
    ready.wait();
    let start = Instant::now();
    while start.elapsed() < TIME {
        std::thread::sleep(TIME / 5);
        if let Some(scrape) = &mut contest.scrape {
            scrape();
        }
    }
    stop.store(true, Relaxed);
    let done: u64 = workers
        .into_iter()
        .map(|worker| worker.join().unwrap())
        .sum();
    done as f64 / start.elapsed().as_secs_f64() / 1e6
}

/// Memory and time with many threads on few processors, each of which updates 100 series.
fn many_threads(threads: usize) {
    const ROUNDS: u64 = 200;
    let registry: &'static Registry = Box::leak(Box::default());
    let family = Counter::builder("many_total", "Counted.")
        .labels(["path"])
        .register(registry)
        .unwrap();
    let family = Arc::new(family);
    let names: Arc<Vec<String>> =
        Arc::new((0..100).map(|n| format!("/api/v1/items/{n}")).collect());
    let ready = Arc::new(Barrier::new(threads + 1));
    let mut time = Duration::ZERO;
    let bytes = memory::held(|| {
        for _ in 0..threads {
            let (family, names, ready) = (family.clone(), names.clone(), ready.clone());
            std::thread::spawn(move || {
                ready.wait();
                (0..ROUNDS).for_each(|_| names.iter().for_each(|name| family.with([name]).inc()));
                ready.wait();
                loop {
                    std::thread::park();
                }
            });
        }
        ready.wait();
        let start = Instant::now();
        ready.wait();
        time = start.elapsed();
        Box::new(())
    });
    let cores = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(threads);
    let updates = threads as u64 * ROUNDS * names.len() as u64;
    let mut scrape = scrapes(registry);
    scrape();
    let start = Instant::now();
    (0..10).for_each(|_| scrape());
    println!(
        "\n{threads} threads, {cores} processors, 100 series by look-up, {ROUNDS} times each: {:.1} ns of each processor per update, \
         {:.1} KB per thread, {:.0} µs per scrape.",
        time.as_nanos() as f64 * cores as f64 / updates as f64,
        bytes as f64 / threads as f64 / 1e3,
        start.elapsed().as_micros() as f64 / 10.0,
    );
}
