//! The cost that a scrape adds to concurrent updates.
//!
//! One thread performs batches of 1 000 updates in each of these ways:
//!
//! - alone;
//! - while another thread scrapes a registry of 100 000 counters every 100 ms, or without a pause;
//! - while another thread writes the same page from one snapshot that it took earlier. This is as
//!   much work, but reads no cell, so its cost is due to the machine and not to the scrape.
//!
//! Run it with `cargo bench -p tallies-system-benches --bench beside`. It measures wall time and
//! needs two idle processors. The ways take turns, round by round. The figures include interrupts,
//! up to one in a thousand batches; the row `alone` shows their share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tallies::{Counter, Registry, encode, snapshot::Snapshot};

const SERIES: usize = 100_000;
const UPDATES: usize = 1_000;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(1);

/// The work of the other thread.
#[derive(Clone, Copy)]
struct Beside {
    /// The pause between two pages; `None` if the other thread does not run.
    pause: Option<Duration>,
    /// Whether the other thread takes a new snapshot for each page.
    snapshots: bool,
}

const WAYS: [(&str, Beside); 4] = [
    ("alone", beside(None, false)),
    (
        "a scrape every 100 ms",
        beside(Some(Duration::from_millis(100)), true),
    ),
    (
        "scrapes without a pause",
        beside(Some(Duration::ZERO), true),
    ),
    (
        "pages of one snapshot without a pause",
        beside(Some(Duration::ZERO), false),
    ),
];

const fn beside(pause: Option<Duration>, snapshots: bool) -> Beside {
    Beside { pause, snapshots }
}

/// Durations of one round's batches in nanoseconds, sorted.
fn batches(mut batch: impl FnMut()) -> Vec<u64> {
    let mut all = Vec::with_capacity(1 << 21);
    let start = Instant::now();
    let mut last = start;
    while last - start < ROUND {
        batch();
        let now = Instant::now();
        all.push((now - last).as_nanos() as u64);
        last = now;
    }
    all.sort_unstable();
    all
}

/// Runs one round. Returns the durations of its batches and the number of scrapes.
fn round(registry: &Registry, beside: Beside, batch: impl FnMut()) -> (Vec<u64>, u64) {
    let (stop, scrapes) = (&AtomicBool::new(false), &AtomicU64::new(0));
    std::thread::scope(|scope| {
        if let Some(pause) = beside.pause {
            scope.spawn(move || {
                let (mut snapshot, mut page) = (Snapshot::default(), Vec::new());
                while !stop.load(Relaxed) {
                    page.clear();
                    if beside.snapshots || snapshot.families().next().is_none() {
                        registry.snapshot_into(&mut snapshot);
                    }
                    encode::Options::new().write(&snapshot, encode::Format::TEXT, &mut page);
                    assert!(page.len() > SERIES);
                    scrapes.fetch_add(1, Relaxed);
                    if !pause.is_zero() {
                        std::thread::sleep(pause);
                    }
                }
            });
        }
        let all = batches(batch);
        stop.store(true, Relaxed);
        (all, scrapes.load(Relaxed))
    })
}

fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    of[of.len() / 2]
}

fn measure(what: &str, registry: &Registry, mut batch: impl FnMut()) {
    let mut figures: [[Vec<u64>; 3]; WAYS.len()] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, beside), figures) in WAYS.iter().zip(&mut figures) {
            let (all, scrapes) = round(registry, *beside, &mut batch);
            let at = |part: f64| all[(all.len() as f64 * part) as usize];
            for (to, figure) in figures.iter_mut().zip([at(0.5), at(0.999), scrapes]) {
                to.push(figure);
            }
        }
    }
    let least = |of: &[u64]| of.iter().min().copied().unwrap_or_default();
    let alone = [median(figures[0][1].clone()), least(&figures[0][1])];
    for ((name, _), [half, late, scrapes]) in WAYS.iter().zip(figures) {
        let more = |figure: u64, alone: u64| {
            let percent = (figure as f64 / alone as f64 - 1.0) * 100.0;
            format!("{figure} ({percent:+.1} %)")
        };
        println!(
            "| {what} | {name} | {} | {} | {} | {} |",
            median(half),
            more(least(&late), alone[1]),
            more(median(late), alone[0]),
            median(scrapes),
        );
    }
}

fn main() {
    let registry = Registry::new();
    let family = Counter::builder("requests_total", "")
        .labels(["route"])
        .limit(SERIES)
        .hot()
        .register(&registry)
        .unwrap();
    let names: Vec<String> = (0..SERIES).map(|i| format!("/items/{i}")).collect();
    names.iter().for_each(|name| family.with([name]).inc());

    println!("Nanoseconds per batch of {UPDATES} updates; {ROUNDS} rounds.\n");
    println!("| batch | beside | median | p99.9, best round | p99.9, median round | pages |");
    println!("|---|---|---|---|---|---|");
    let one = family.with([&names[0]]);
    measure("one counter", &registry, || {
        (0..UPDATES).for_each(|_| one.inc());
    });
    let each: Vec<_> = names[..UPDATES]
        .iter()
        .map(|name| family.with([name]))
        .collect();
    measure("1 000 counters", &registry, || {
        each.iter().for_each(|counter| counter.inc());
    });
    let last = [("route", &*names[SERIES - 1])];
    assert_eq!(registry.snapshot().get("requests_total", &last), Some(1.0));
}
