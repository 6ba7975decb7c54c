//! The case in which cells per thread cost most: hundreds of threads on few processors.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use peers::form::keep;
use peers::memory;
use serde::Serialize;
use tallies::{Counter, Registry, snapshot::Snapshot};

#[derive(Serialize)]
pub struct Many {
    pub threads: usize,
    pub series: usize,
    /// Nanoseconds of each processor per update.
    pub ns: f64,
    pub bytes_per_thread: f64,
    /// Microseconds.
    pub scrape: f64,
}

const SERIES: usize = 100;
const ROUNDS: u64 = 200;

pub fn measure(threads: usize) -> Many {
    let registry: &'static Registry = keep(Registry::new());
    let family = Counter::builder("many_total", "Counted.").labels(["path"]);
    let family = keep(family.register(registry).unwrap());
    let names: &'static Vec<String> =
        keep((0..SERIES).map(|n| format!("/api/v1/items/{n}")).collect());
    let ready = Arc::new(Barrier::new(threads + 1));
    let (mut time, mut handles) = (Duration::ZERO, vec![]);
    let bytes = memory::held(|| {
        for _ in 0..threads {
            let ready = ready.clone();
            handles.push(std::thread::spawn(move || {
                ready.wait();
                (0..ROUNDS).for_each(|_| names.iter().for_each(|name| family.with([name]).inc()));
                ready.wait();
                ready.wait();
            }));
        }
        ready.wait();
        let from = Instant::now();
        ready.wait();
        time = from.elapsed();
        Box::new(())
    });
    let processors = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(threads);
    let updates = threads as u64 * ROUNDS * SERIES as u64;
    let (mut snapshot, mut page) = (Snapshot::default(), Vec::new());
    let mut scrape = || {
        registry.snapshot_into(&mut snapshot);
        page.clear();
        tallies::encode::Options::new().write(&snapshot, tallies::encode::Format::TEXT, &mut page);
    };
    scrape();
    let from = Instant::now();
    (0..10).for_each(|_| scrape());
    let time_of_scrape = from.elapsed().as_micros() as f64 / 10.0;
    // The threads end, and scrapes fold what they counted, within a budget each, so that those that
    // are measured later do not have to read it.
    ready.wait();
    handles
        .into_iter()
        .for_each(|handle| handle.join().expect("does not panic"));
    (0..1_000).for_each(|_| scrape());
    Many {
        threads,
        series: SERIES,
        ns: time.as_nanos() as f64 * processors as f64 / updates as f64,
        bytes_per_thread: bytes as f64 / threads as f64,
        scrape: time_of_scrape,
    }
}
