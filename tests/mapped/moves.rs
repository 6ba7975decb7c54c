//! Counts move while the process is killed: from shards of threads that ended, from slots that are
//! given back, and from retired series to the overflow series.

#![allow(
    unsafe_code,
    reason = "a word that survives the process is mapped memory"
)]

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tallies::{Counter, Histogram, Summary, UpDownCounter};

use crate::support::{Directory, child, processes};

static MOVED: Counter<[&str; 1]> = Counter::labelled("moved_total", &["x"])
    .help("Moved.")
    .hot();
static TIMES: Histogram<[&str; 1]> = Histogram::labelled("times_seconds", &["x"])
    .help("Moved.")
    .buckets(&[0.1, 1.0])
    .hot();
static NATIVE: Histogram<[&str; 1]> = Histogram::labelled("native_seconds", &["x"])
    .help("Moved.")
    .native(3)
    .hot();
static SIZES: Summary<[&str; 1]> = Summary::labelled("sizes", &["x"]).help("Moved.").hot();
static HELD: UpDownCounter<[&str; 1]> =
    UpDownCounter::labelled("held", &["x"]).help("Moved.").hot();

/// The number of threads that count at a time.
const THREADS: usize = 3;

/// Returns words that stay when the process is killed: how many rounds each thread has begun, and
/// how many it has ended.
fn rounds(directory: &Path) -> &'static [[AtomicU64; 2]; THREADS] {
    let path = directory.with_extension("rounds");
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap();
    let bytes = size_of::<[[AtomicU64; 2]; THREADS]>();
    file.set_len(bytes as u64).unwrap();
    // SAFETY: a new mapping of a file that is long enough. It is never unmapped.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let memory = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            protection,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        assert_ne!(memory, libc::MAP_FAILED);
        &*memory.cast()
    }
}

/// Counts until it is killed.
fn count(directory: &Path) {
    tallies::share::dir(directory).unwrap();
    let rounds = rounds(directory);
    println!("ready");
    std::thread::scope(|scope| {
        for [begun, ended] in rounds {
            scope.spawn(move || {
                let mut n = 0_u64;
                loop {
                    // Each round is a thread of its own, whose shard is folded when no other takes
                    // it.
                    std::thread::scope(|scope| {
                        scope.spawn(|| {
                            for _ in 0..50 {
                                n += 1;
                                begun.store(n, Relaxed);
                                let x = &*format!("{}", n % 7);
                                MOVED.with([x]).inc();
                                TIMES.with([x]).observe(0.5);
                                NATIVE.with([x]).observe((n % 100) as f64);
                                SIZES.with([x]).observe(n as f64);
                                HELD.with([x]).inc();
                                ended.store(n, Relaxed);
                            }
                        });
                    });
                }
            });
        }
        scope.spawn(|| {
            for i in 0_u64.. {
                drop(tallies::snapshot());
                let x = &*format!("{}", i % 7);
                MOVED.retire([x]);
                TIMES.retire([x]);
                NATIVE.retire([x]);
                SIZES.retire([x]);
                HELD.retire([x]);
            }
        });
    });
}

#[test]
fn a_kill_in_a_move_loses_and_doubles_nothing() {
    if let Some(path) = child() {
        count(&path);
    }
    let runs = 40;
    for run in 0..runs {
        let directory = Directory::new();
        let mut process = directory.spawn("moves::a_kill_in_a_move_loses_and_doubles_nothing");
        let mut stdout = process.stdout.take().unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("ready") {
            let mut byte = [0];
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "the child ended");
            seen.push(byte[0]);
        }
        let rounds = rounds(&directory.0);
        let load = |i: usize| {
            rounds
                .iter()
                .map(|round| round[i].load(Relaxed))
                .sum::<u64>()
        };
        let end = Instant::now() + Duration::from_secs(60);
        while load(1) < 200 + 97 * run {
            assert!(Instant::now() < end, "the child counts");
            std::thread::yield_now();
        }
        process.kill().unwrap();
        process.wait().unwrap();
        let (begun, ended) = (load(0), load(1));
        let snapshot = processes(&directory.0).remove(0);
        for name in [
            "moved_total",
            "times_seconds",
            "native_seconds",
            "sizes",
            "held",
        ] {
            let family = snapshot.family(name).unwrap();
            let counted: f64 = (family.series())
                .map(|(_, value)| match value {
                    tallies::snapshot::Value::Counter(n) => n.as_f64(),
                    tallies::snapshot::Value::Gauge(n) => n,
                    tallies::snapshot::Value::Histogram(histogram) => histogram.count() as f64,
                    tallies::snapshot::Value::Summary(summary) => summary.count() as f64,
                    _ => unreachable!("another kind"),
                })
                .sum();
            assert!(
                (ended as f64..=begun as f64).contains(&counted),
                "{name}: {counted} of {ended} to {begun}, run {run}"
            );
        }
    }
}
