//! The cost that ended families, series, threads and registries leave behind.
//!
//! `cargo bench -p tallies-system-benches --bench lifecycle` prints one line for each benchmark;
//! with `-- threads` it runs only those whose names contain `threads`. Each benchmark runs in a
//! process of its own, since ended threads and series leave memory behind that a later benchmark
//! would reuse. Times are wall times, the minimum of several rounds unless the line says otherwise.
//! The ratios are what to look at.
#![allow(unsafe_code, reason = "a counting allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use tallies::{Counter, Registry, collect::Collected, snapshot::Snapshot};

struct Counting;

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

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The benchmarks, by name.
const BENCHMARKS: [(&str, fn()); 9] = [
    ("free-100000x8", || free_family(100_000, 8)),
    ("free-20000x300", || free_family(20_000, 300)),
    ("sleeper", sleeper),
    ("first-update", first_update),
    ("threads", ended_threads),
    ("series", ended_series),
    ("register", register),
    ("collect", collect),
    ("registries", registries),
];

fn main() {
    let wanted: Vec<_> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    if let Ok(name) = std::env::var("LIFECYCLE_QUESTION") {
        let benchmark = BENCHMARKS.iter().find(|(known, _)| *known == name);
        return benchmark.expect("one of the questions").1();
    }
    let program = std::env::current_exe().expect("this program has a path");
    for (name, _) in BENCHMARKS {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            let mut child = std::process::Command::new(&program);
            let ended = child.env("LIFECYCLE_QUESTION", name).status();
            assert!(ended.is_ok_and(|status| status.success()), "{name}");
        }
    }
}

/// Returns the shortest of several rounds.
fn least(rounds: usize, mut round: impl FnMut()) -> Duration {
    let once = |()| {
        let start = Instant::now();
        round();
        start.elapsed()
    };
    [(); 64][..rounds]
        .iter()
        .copied()
        .map(once)
        .min()
        .expect("some rounds")
}

/// `count` threads that run `first` and then park until this guard is dropped.
struct Parked(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);

fn parked(count: usize, first: impl Fn() + Send + Sync + 'static) -> Parked {
    let (end, first) = (Arc::new(AtomicBool::new(false)), Arc::new(first));
    let ready = Arc::new(Barrier::new(count + 1));
    let threads = (0..count)
        .map(|_| {
            let (end, first, ready) = (Arc::clone(&end), Arc::clone(&first), Arc::clone(&ready));
            let small = std::thread::Builder::new().stack_size(64 << 10);
            let thread = small.spawn(move || {
                first();
                // `first` may own the family or registry whose end is measured, and the thread
                // outlives it.
                drop(first);
                ready.wait();
                while !end.load(Relaxed) {
                    std::thread::park();
                }
            });
            thread.expect("as many threads as that")
        })
        .collect();
    drop(first);
    ready.wait();
    Parked(end, threads)
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
        for thread in self.1.drain(..) {
            thread.thread().unpark();
            thread.join().expect("it only waited");
        }
    }
}

fn labelled(registry: &Registry, name: &str, hot: bool) -> Counter<[&'static str; 1]> {
    let builder = Counter::builder(name, "").labels(["x"]).limit(2_000_000);
    let builder = if hot { builder.hot() } else { builder };
    builder.register(registry).expect("a free name")
}

/// Drops a family of `slots` series that `threads` threads have updated, and times the longest pass
/// that follows.
fn free_family(slots: usize, threads: usize) {
    let registry = Registry::new();
    let family = Arc::new(labelled(&registry, "many", true));
    let parked = parked(threads, {
        let family = Arc::clone(&family);
        move || (0..slots).for_each(|i| family.with([&*i.to_string()]).inc())
    });
    registry.remove("many").expect("it is there");
    drop(family);
    let other = Registry::new();
    let mut longest = Duration::ZERO;
    let mut passes = 0;
    let mut quiet = 0;
    // Continues until several passes in a row have nothing left to do.
    while quiet < 20 {
        let start = Instant::now();
        drop(other.snapshot());
        let took = start.elapsed();
        longest = longest.max(took);
        passes += 1;
        quiet = if took < Duration::from_micros(200) {
            quiet + 1
        } else {
            0
        };
        if passes > 3000 {
            break;
        }
    }
    println!(
        "a family of {slots} series in {threads} threads ends: longest pass {:.1} ms of {passes} (at most 10)",
        longest.as_secs_f64() * 1e3
    );
    drop(parked);
}

/// Creates and retires a million label sets while a thread that updated one counter sleeps.
fn sleeper() {
    let mut scrapes = Vec::new();
    let mut hot = Vec::new();
    for sleeps in [false, true] {
        let registry = Registry::new();
        let plain = registry.counter("plain", "").expect("a free name");
        let (family, also) = (
            labelled(&registry, "many", true),
            labelled(&registry, "other", true),
        );
        let sleeping = sleeps.then(|| parked(1, move || plain.inc()));
        let worker = std::thread::spawn(move || {
            for i in 0..1_000_000_u32 {
                let label = i.to_string();
                family.with([&*label]).inc();
                family.remove([&*label]);
            }
            family
        });
        let family = worker.join().expect("it only counts");
        let mut snapshot = Snapshot::default();
        (0..20).for_each(|_| registry.snapshot_into(&mut snapshot));
        scrapes.push(least(30, || registry.snapshot_into(&mut snapshot)));
        // If a new series is promoted to slots of its own, later updates are far cheaper than in
        // its shared cell.
        let series = also.with(["new"]);
        series.inc();
        let start = Instant::now();
        (0..10_000).for_each(|_| series.inc());
        hot.push(start.elapsed().as_secs_f64() * 1e5);
        drop((sleeping, family));
    }
    println!(
        "a sleeper, and a million label sets that came and went: a scrape {:.0} us, without the sleeper {:.0}: {:.2} (at most 1.5)",
        scrapes[1].as_secs_f64() * 1e6,
        scrapes[0].as_secs_f64() * 1e6,
        scrapes[1].as_secs_f64() / scrapes[0].as_secs_f64(),
    );
    println!(
        "an update of a new series beside the sleeper {:.1} ns, without {:.1}",
        hot[1], hot[0]
    );
}

/// Times a new thread's first update, beside 10 and beside 4 000 live threads.
fn first_update() {
    let mut took = Vec::new();
    for others in [10, 4000] {
        let counter = Arc::new(Registry::new().counter("first", "").expect("a free name"));
        let parked = parked(others, {
            let counter = Arc::clone(&counter);
            move || counter.inc()
        });
        // The new threads stay alive as well: an ended thread would leave its shard to the next
        // one.
        let times = Arc::new(std::sync::Mutex::new(Vec::new()));
        let new: Vec<_> = (0..200)
            .map(|_| {
                let (counter, times) = (Arc::clone(&counter), Arc::clone(&times));
                self::parked(1, move || {
                    let start = Instant::now();
                    counter.inc();
                    let took = start.elapsed();
                    times.lock().expect("no thread panics").push(took);
                })
            })
            .collect();
        let mut all = times.lock().expect("no thread panics").clone();
        all.sort_unstable();
        drop(new);
        took.push(all[all.len() / 2].as_secs_f64() * 1e6);
        drop(parked);
    }
    println!(
        "a thread's first update, median: {:.1} us beside 4000 threads, {:.1} beside 10: {:.2} (at most 2)",
        took[1],
        took[0],
        took[1] / took[0]
    );
}

/// Times a scrape of 1 000 counters, before 4 000 threads lived and after they ended.
fn ended_threads() {
    let registry = Registry::new();
    let counters: Arc<Vec<_>> = Arc::new(
        (0..1000)
            .map(|i| {
                let name = format!("c{i}_total");
                let builder = Counter::builder(&name, "").hot();
                builder.register(&registry).expect("a free name")
            })
            .collect(),
    );
    let update = {
        let counters = Arc::clone(&counters);
        move || counters.iter().for_each(Counter::inc)
    };
    update();
    let mut snapshot = Snapshot::default();
    let mut scrape = || {
        (0..5).for_each(|_| registry.snapshot_into(&mut snapshot));
        least(30, || registry.snapshot_into(&mut snapshot)).as_secs_f64() * 1e3
    };
    let before = scrape();
    let parked = parked(4000, update);
    let beside = scrape();
    drop(parked);
    let after = scrape();
    let counted = counters.iter().map(Counter::get).max();
    assert_eq!(counted, Some(4001));
    println!(
        "1 000 counters, a scrape: {before:.3} ms at first, {beside:.3} beside 4 000 threads, {after:.3} when they have ended: {:.2} (at most 1.5)",
        after / before
    );
}

/// Times a scrape of 1 000 series, before 100 000 other series lived and after they ended.
fn ended_series() {
    let registry = Registry::new();
    let family = labelled(&registry, "series_total", true);
    let labels: Vec<_> = (0..100_000).map(|i| i.to_string()).collect();
    let with = |i: usize| family.with([&*labels[i]]).inc();
    let mut snapshot = Snapshot::default();
    let mut scrape = || {
        (0..5).for_each(|_| registry.snapshot_into(&mut snapshot));
        least(30, || registry.snapshot_into(&mut snapshot)).as_secs_f64() * 1e3
    };
    (0..1000).for_each(with);
    let before = scrape();
    (0..100_000).for_each(with);
    (1000..100_000).for_each(|i| assert!(family.remove([&*labels[i]])));
    let after = scrape();
    println!(
        "1 000 series, a scrape: {before:.3} ms at first, {after:.3} when 99 000 more have ended: {:.2} (at most 1.5)",
        after / before
    );
}

/// Times the registration of a family beside a growing number of others.
fn register() {
    let registry = Registry::new();
    let names: Vec<_> = (0..4100).map(|i| format!("family_{i}_total")).collect();
    let mut took = Vec::new();
    let mut kept = Vec::new();
    for name in &names {
        let start = Instant::now();
        kept.push(registry.counter(name, "Some help.").expect("a free name"));
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let median = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        part[part.len() / 2]
    };
    let (first, last) = (median(&took[..100]), median(&took[4000..]));
    println!(
        "registering a family: {first:.2} us for the first hundred, {last:.2} from the 4 000th on: {:.2} (at most 2)",
        last / first
    );
}

/// Times a collector that writes one family of many series.
fn collect() {
    let mut took = Vec::new();
    for series in [1000, 8000] {
        let registry = Registry::new();
        let labels: Vec<_> = (0..series).map(|i: u32| i.to_string()).collect();
        let write = move |out: &mut Collected| {
            for label in &labels {
                out.gauge("many", "", &[("x", label)], 1.0)?;
            }
            Ok(())
        };
        registry.add_collector("many", write).expect("a free name");
        let took_ms = least(5, || drop(registry.snapshot())).as_secs_f64() * 1e3;
        took.push(took_ms);
    }
    println!(
        "a collector of 8 000 series, a scrape: {:.2} ms, of 1 000 {:.2}: {:.1} (8 is linear)",
        took[1],
        took[0],
        took[1] / took[0]
    );
}

/// Measures the memory that remains of registries with their own names and constant labels after
/// they are dropped.
fn registries() {
    let live = |scrapes: bool| {
        let once = |i: u32| {
            let registry = Registry::new();
            registry
                .add_constant("job", &format!("job {scrapes} {i}"))
                .expect("a fresh registry");
            let name = format!("jobs_{scrapes}_{i}_total");
            let help = format!("Help of {scrapes} {i}.");
            let counter = Counter::builder(&name, &help)
                .constant("run", &format!("run {scrapes} {i}"))
                .register(&registry)
                .expect("a free name");
            counter.inc();
            if scrapes {
                drop(registry.snapshot());
            }
        };
        (0..200).for_each(once);
        let before = LIVE.load(Relaxed);
        let start = Instant::now();
        (200..10_200).for_each(once);
        let took = start.elapsed().as_secs_f64();
        ((LIVE.load(Relaxed) - before) / 10_000, took)
    };
    let (scraped, took) = live(true);
    let (unseen, took_unseen) = live(false);
    println!(
        "10 000 registries of unique names, help and constants leave {scraped} B each ({took:.2} s), never scraped {unseen} B ({took_unseen:.2} s) (0)"
    );
}
