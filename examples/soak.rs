//! The program that `tests/soak.sh` runs: threads update every kind while a client scrapes over
//! HTTP every 20 ms.
//!
//! Each thread performs 2000 rounds of updates of every kind and ends. Half of its rounds go to a
//! label set of its own, whose series expire 300 ms after their last update. New threads replace
//! those that end, for as many seconds as the argument says (60 by default). Afterwards the program
//! fails unless
//!
//! - every total is exact, over all threads that ever lived and all series that were retired;
//! - memory is flat once the first quarter of the time has passed: the mean of the last half of the
//!   samples is at most 5 % and 1 MiB above that of the first half, both for live bytes, which an
//!   allocator counts, and for resident memory;
//! - memory at rest, when every series has expired and every thread has ended, has grown by at most
//!   256 KiB since the beginning. A few more concurrent threads may leave that much behind, but no
//!   byte may remain per thread or per scrape.
//!
//! The program begins by creating as many series as the limit allows at once, so that later updates
//! reuse their memory. Resident memory includes what the C library's allocator retains: glibc gives
//! threads arenas of their own, up to eight per core, and each arena grows to the most it ever
//! held. `tests/soak.sh` therefore allows one arena only.
#![allow(unsafe_code, reason = "a counting allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tallies::event::{Event, Events};
use tallies::snapshot::Value;
use tallies::{Counter, Gauge, Histogram, Labels, UpDownCounter, snapshot::Snapshot};

struct Counting;

/// Bytes that are allocated and not yet freed.
static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: forwards every call to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as i64 - layout.size() as i64, Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Labels)]
struct Peer<'a> {
    peer: &'a str,
}

/// The limit of each family's series; updates beyond it count in the overflow series.
const LIMIT: usize = 5000;
const EXPIRE_AFTER: Duration = Duration::from_millis(300);

/// One of the metrics under test.
#[tallies::metric]
static PLAIN: Counter = Counter::new("soak_plain_total");
/// One of the metrics under test.
#[tallies::metric]
static FLOAT: Counter<(), f64> = Counter::new("soak_float_total");
/// One of the metrics under test.
#[tallies::metric]
static IN_FLIGHT: UpDownCounter = UpDownCounter::new("soak_in_flight");
/// One of the metrics under test.
#[tallies::metric]
static LEVEL: Gauge<Peer> = Gauge::new("soak_level")
    .expire_after(EXPIRE_AFTER)
    .limit(LIMIT);
/// One of the metrics under test.
#[tallies::metric]
static LATENCY: Histogram<Peer> = Histogram::new("soak_latency")
    .expire_after(EXPIRE_AFTER)
    .limit(LIMIT);
/// One of the metrics under test.
#[tallies::metric]
static MORTAL: Counter<Peer> = Counter::new("soak_mortal_total")
    .expire_after(EXPIRE_AFTER)
    .limit(LIMIT);

/// Series of this family are removed by the thread that created them.
#[tallies::metric]
static REMOVED: Counter<Peer> = Counter::new("soak_removed_total").limit(LIMIT);

/// Several metrics of one update.
#[derive(Event)]
struct Answer {
    /// One of the metrics under test.
    soak_answers_total: u64,
    /// One of the metrics under test.
    #[metric(name = "soak_sent_bytes_total", unit = "bytes")]
    sent: u64,
    /// One of the metrics under test.
    #[metric(name = "soak_answer_seconds", unit = "seconds")]
    took: Option<f64>,
}

#[tallies::metric]
static ANSWERS: Events<Answer, Peer> = Events::new().expire_after(EXPIRE_AFTER).limit(LIMIT);

/// Rounds completed so far. Each round updates every metric.
static ROUNDS: AtomicU64 = AtomicU64::new(0);
static LIVES: AtomicU64 = AtomicU64::new(0);
/// The number of updates by the sleeping thread.
static SLEEPER: AtomicU64 = AtomicU64::new(0);

fn update(peer: &str, value: f64) {
    PLAIN.inc();
    FLOAT.add(0.5);
    let _one = IN_FLIGHT.track();
    LEVEL.with(Peer { peer }).set(value);
    LATENCY.with(Peer { peer }).observe(0.001 * value);
    MORTAL.with(Peer { peer }).inc();
    REMOVED.with(Peer { peer }).inc();
    ANSWERS.with(Peer { peer }).record(Answer {
        soak_answers_total: 1,
        sent: 3,
        took: (value as u64 & 2 == 0).then_some(0.001 * value),
    });
}

/// Runs one thread's life: 2000 rounds, half of them on a label set that no earlier thread used.
fn run_thread() {
    let me = LIVES.fetch_add(1, Relaxed);
    let peers = [format!("p{}", me % 7), format!("new{me}")];
    (0..2000).for_each(|i| update(&peers[i % 2], i as f64));
    assert!(REMOVED.retire(Peer { peer: &peers[1] }));
    ROUNDS.fetch_add(2000, Relaxed);
}

/// Runs short-lived threads until `end`, in two loops of four concurrent threads each.
fn run_threads(address: SocketAddr, end: Instant, mut sample: impl FnMut()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    std::thread::scope(|inner| {
                        (0..4).for_each(|_| _ = inner.spawn(run_thread));
                    });
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Relaxed) {
                if let Err(error) = scrape(address) {
                    eprintln!("a scrape failed: {error}");
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        while Instant::now() < end {
            sample();
        }
        done.store(true, Relaxed);
    });
}

fn scrape(address: SocketAddr) -> std::io::Result<usize> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page)
}

/// Waits until every series has expired and been reclaimed and all memory deferred by epochs is
/// freed. Returns the live KiB.
fn at_rest(address: SocketAddr) -> Result<i64, Box<dyn std::error::Error>> {
    for _ in 0..600 {
        scrape(address)?;
        let now = tallies::snapshot();
        let series = |name| now.family(name).map_or(0, |family| family.series().count());
        // A family that folds retired series into its overflow series keeps that one series.
        if series("soak_level") <= 1
            && series("soak_latency") <= 1
            && series("soak_mortal_total") <= 1
            && series("soak_answers_total") <= 1
        {
            drop(now);
            (0..300).for_each(|_| _ = tallies::snapshot());
            return Ok(live_kib());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("series do not expire".into())
}

fn live_kib() -> i64 {
    LIVE.load(Relaxed) / 1024
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|kib| kib.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

fn sum(snapshot: &Snapshot, name: &str) -> u64 {
    let family = snapshot.family(name).expect("declared above");
    family
        .series()
        .map(|(_, value)| match value {
            Value::Counter(n) => n.as_f64() as u64,
            Value::Histogram(h) => h.count(),
            _ => 0,
        })
        .sum()
}

/// Prints all totals and returns whether they are exact.
fn totals_are_exact() -> bool {
    let rounds = ROUNDS.load(Relaxed);
    let now = tallies::snapshot();
    let exact = [
        ("soak_plain_total", rounds + SLEEPER.load(Relaxed)),
        ("soak_float_total", rounds / 2),
        ("soak_latency", rounds),
        ("soak_mortal_total", rounds),
        ("soak_removed_total", rounds),
        ("soak_answers_total", rounds),
        ("soak_sent_bytes_total", 3 * rounds),
        // Half of the rounds of each thread, and each of the first ones.
        ("soak_answer_seconds", (rounds + LIMIT as u64) / 2),
    ]
    .map(|(name, expected)| {
        let counted = sum(&now, name);
        println!("{name}: {counted} counted of {expected}");
        counted == expected
    });
    let lives = LIVES.load(Relaxed);
    let shards = now.get("tallies_shards", &[]).unwrap_or(0.0);
    println!("{lives} threads lived, {shards} shards");
    exact == [true; 8] && now.get("soak_in_flight", &[]) == Some(0.0)
}

/// Prints the means of the samples and returns whether they are flat after the first quarter.
fn is_flat(what: &str, samples: &[i64]) -> bool {
    let settled = &samples[samples.len() / 4..];
    let (first, second) = settled.split_at(settled.len() / 2);
    let mean = |samples: &[i64]| samples.iter().sum::<i64>() / samples.len().max(1) as i64;
    let (first, second) = (mean(first), mean(second));
    println!(
        "{what}, KiB: {samples:?}; after a quarter, means of the halves: {first} and {second}"
    );
    second <= first + first / 20 + 1024
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds: u64 = std::env::args().nth(1).map_or(Ok(60), |s| s.parse())?;
    let serving = tallies::serve("127.0.0.1:0")?;
    let address = serving.address();
    let second = Duration::from_secs(1);
    // A thread that counts once and then sleeps for as long as the program runs.
    let (counted, sleeps) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        PLAIN.inc();
        let _ = counted.send(());
        loop {
            std::thread::park();
        }
    });
    sleeps.recv()?;
    SLEEPER.store(1, Relaxed);
    // Reaches the largest size first, in a thread that ends.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..LIMIT {
                let peer = format!("first{i}");
                update(&peer, 1.0);
                REMOVED.retire(Peer { peer: &peer });
            }
        });
    });
    ROUNDS.fetch_add(LIMIT as u64, Relaxed);
    for _ in 0..3 {
        scrape(address)?;
    }
    at_rest(address)?;
    run_threads(address, Instant::now() + 2 * second, || {
        std::thread::sleep(second)
    });
    let before = at_rest(address)?;
    let (mut live, mut resident) = (Vec::new(), Vec::new());
    let end = Instant::now() + Duration::from_secs(seconds);
    run_threads(address, end, || {
        std::thread::sleep(second * (seconds / 40).max(1) as u32);
        live.push(live_kib());
        resident.push(resident_kib());
    });
    let after = at_rest(address)?;
    let exact = totals_are_exact();
    let live_is_flat = is_flat("live", &live);
    let resident_is_flat = is_flat("resident", &resident);
    println!("live at rest, KiB: {before} at the beginning, {after} at the end");
    serving.stop();
    for (holds, otherwise) in [
        (exact, "a total is not exact"),
        (live_is_flat, "live memory grows"),
        (resident_is_flat, "resident memory grows"),
        (after <= before + 256, "memory at rest grows"),
    ] {
        if !holds {
            return Err(otherwise.into());
        }
    }
    Ok(())
}
