//! A child of `fork` has a file of its own, and starts at zero.

#![allow(unsafe_code, reason = "fork is")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use tallies::event::{Event, Events};
use tallies::{
    Counter, Gauge, Histogram, Info, LabelValue, Labels, StateSet, Summary, label::AnyLabels,
};

use crate::support::{Directory, child, kill_self, processes};

static UPDATES: Counter = Counter::new("updates_total").help("Updates.");
static PEERS: Counter<[&str; 1]> = Counter::labelled("peers_total", &["peer"]).help("Peers.");
static CAPPED: Counter<[&str; 1]> = Counter::labelled("capped_total", &["peer"]).help("Peers.");
static LEVEL: Gauge = Gauge::new("level").help("Level.");
static LATENCY: Histogram = Histogram::new("latency_seconds").help("Latency.");
static NATIVE: Histogram = Histogram::new("native_seconds").help("Latency.").native(3);
static SIZES: Summary = Summary::new("sizes").help("Sizes.");
static DEEDS: Events<Deed, [&str; 1]> = Events::labelled(&["peer"]);

#[derive(Event)]
struct Deed {
    deeds_total: u64,
    deed_seconds: f64,
}

fn update(times: u64) {
    let bound = PEERS.bind(["bound"]);
    for i in 0..times {
        UPDATES.inc();
        PEERS.with(["a"]).inc();
        bound.inc();
        LEVEL.set(i as f64);
        LATENCY.observe(0.1);
        NATIVE.observe(i as f64);
        SIZES.observe(i as f64);
        DEEDS.with(["a"]).record(Deed {
            deeds_total: 1,
            deed_seconds: 0.1,
        });
    }
}

/// Forks; the child counts `times` and ends. Returns when it has.
fn fork(times: u64) {
    // SAFETY: the child calls functions that allocate and lock, which the libraries of this test
    // allow.
    match unsafe { libc::fork() } {
        0 => {
            update(times);
            kill_self();
        }
        // SAFETY: a child of this process.
        child => unsafe {
            assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
        },
    }
}

/// Regression: a child whose scrape had the number of its parent's last one showed what the parent
/// had read.
#[test]
fn a_child_shows_no_event_of_its_parent() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        update(5);
        let _ = tallies::snapshot();
        for passes in 0..8 {
            // SAFETY: as in `fork`.
            match unsafe { libc::fork() } {
                0 => {
                    update(1);
                    for _ in 0..passes {
                        let _ = UPDATES.get();
                    }
                    let labels = [("peer", "a")];
                    let seen = tallies::snapshot().get("deeds_total", &labels);
                    std::process::exit(i32::from(seen != Some(1.0)));
                }
                child => {
                    let mut status = 0;
                    // SAFETY: a child of this process.
                    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                    assert_eq!(status, 0, "after {passes} passes");
                }
            }
        }
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("forks::a_child_shows_no_event_of_its_parent");
}

/// Checks what each process has counted.
fn check(directory: &Directory, expected: &[f64]) {
    let mut all: Vec<f64> = Vec::new();
    for snapshot in processes(&directory.0) {
        let updates = snapshot.get("updates_total", &[]).unwrap();
        for (name, labels) in [
            ("peers_total", &[("peer", "a")][..]),
            ("deeds_total", &[("peer", "a")]),
            ("deed_seconds_count", &[("peer", "a")]),
            ("peers_total", &[("peer", "bound")]),
        ] {
            assert_eq!(
                snapshot.get(name, labels),
                Some(updates)
                    .filter(|n| *n > 0.0)
                    .or(snapshot.get(name, labels))
            );
        }
        let page = tallies::encode::text(&snapshot);
        for name in ["latency_seconds", "native_seconds", "sizes"] {
            assert!(
                page.contains(&format!("{name}_count {updates}\n")),
                "{name}"
            );
        }
        all.push(updates);
    }
    all.sort_by(f64::total_cmp);
    assert_eq!(all, expected);
}

#[test]
fn a_child_before_the_first_update() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        fork(7);
        update(3000);
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("forks::a_child_before_the_first_update");
    check(&directory, &[7.0, 3000.0]);
}

#[test]
fn a_child_after_many_updates() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        update(3000);
        fork(5000);
        fork(5);
        update(10);
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("forks::a_child_after_many_updates");
    check(&directory, &[5.0, 3010.0, 5000.0]);
}

#[test]
fn children_of_a_process_whose_threads_count() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| update(20_000));
            }
            (0..20).for_each(|_| fork(100));
        });
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("forks::children_of_a_process_whose_threads_count");
    let expected: Vec<f64> = std::iter::repeat_n(100.0, 20).chain([60_000.0]).collect();
    check(&directory, &expected);
}

/// Waits for a child of this process, and returns its status.
fn wait_for(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: a child of this process.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

/// Runs `child` in a child, which ends by itself, and returns its result.
fn is_right(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: as in `fork`. The alarm ends a child that waits for ever.
    let id = unsafe { libc::fork() };
    if id == 0 {
        // SAFETY: no memory is involved.
        unsafe { libc::alarm(60) };
        let is_right = child();
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(!is_right)) };
    }
    wait_for(id) == 0
}

/// Runs `child` in many children, until it returns `false`, and sets `is_done`.
fn fork_often(is_done: &AtomicBool, child: impl Fn(usize) -> bool) {
    let wrong = (0..100).find(|i| !is_right(|| child(*i)));
    // First, since the threads of the caller's scope go on until then.
    is_done.store(true, Relaxed);
    assert_eq!(wrong, None, "the first child that went wrong");
}

/// The first child waited for ever for the index of the family, which a thread of its parent had
/// locked.
#[test]
fn a_child_of_a_process_whose_threads_look_up_labels_makes_series() {
    if let Some(path) = child() {
        let views = tallies::registry();
        views
            .add_view(tallies::View::new("capped_total").cap("peer", 1000))
            .unwrap();
        tallies::share::dir(path).unwrap();
        CAPPED.with(["first"]).inc();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let is_done = &is_done;
                scope.spawn(move || {
                    for i in 0.. {
                        let peer = format!("{thread} {}", i % 700);
                        PEERS.with([&*peer]).inc();
                        CAPPED.with([&*peer]).inc();
                        // An update through a stale handle asks what became of the series.
                        let stale = PEERS.with([&*peer]);
                        PEERS.remove([&*peer]);
                        stale.inc();
                        if is_done.load(Relaxed) {
                            break;
                        }
                    }
                });
            }
            fork_often(&is_done, |child| {
                for i in 0..50 {
                    let peer = format!("child {child} {i}");
                    PEERS.with([&*peer]).inc();
                    CAPPED.with([&*peer]).inc();
                }
                let page = tallies::registry().snapshot();
                let peer = format!("child {child} 49");
                page.get("peers_total", &[("peer", &peer)]) == Some(1.0)
            });
        });
        kill_self();
    }
    let directory = Directory::new();
    directory
        .run_until_killed("forks::a_child_of_a_process_whose_threads_look_up_labels_makes_series");
}

/// It had the state of its parent, or waited for ever for the rows, which a thread of its parent
/// had locked.
#[test]
fn a_child_has_the_first_state_of_a_state_set() {
    if let Some(path) = child() {
        let registry = tallies::registry();
        let pump = StateSet::<String>::builder("pump", "The pump.").states(&["off", "on"]);
        let pump = pump.register(registry).unwrap();
        let server = Info::builder("server_info", "The server.").label_set::<AnyLabels>();
        let server = server.register(registry).unwrap();
        let version = [("version", "8")];
        server.set(&version);
        tallies::share::dir(path).unwrap();
        pump.set("on".to_owned());
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Relaxed) {
                    pump.set("on".to_owned());
                }
            });
            fork_often(&is_done, |_| {
                let page = tallies::registry().snapshot();
                let is_on =
                    |page: &tallies::snapshot::Snapshot| page.get("pump", &[("pump", "on")]);
                let started = (is_on(&page), page.get("server_info", &version));
                pump.set("on".to_owned());
                let set = is_on(&tallies::registry().snapshot());
                (started, set) == ((Some(0.0), Some(1.0)), Some(1.0))
            });
        });
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("forks::a_child_has_the_first_state_of_a_state_set");
}

/// Records that the parent had put aside are in lists of its file, and in none of the child's.
#[test]
fn a_child_makes_records_of_its_own() {
    if let Some(path) = child() {
        let dir = tallies::share::dir(path).unwrap();
        let registry = tallies::registry();
        let names: Vec<_> = (0..20).map(|i| format!("parents_{i}_total")).collect();
        for name in &names {
            registry.counter(name, "Help.").unwrap().inc();
        }
        for name in &names {
            registry.remove(name).unwrap();
        }
        // More threads at once than the pool has spare shards.
        let barrier = std::sync::Barrier::new(20);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    (0..2000).for_each(|_| UPDATES.inc());
                    barrier.wait();
                });
            }
        });
        (0..8).for_each(|_| _ = dir.snapshot().unwrap());
        // SAFETY: as in `fork`.
        if unsafe { libc::fork() } == 0 {
            registry.counter("childs_total", "Help.").unwrap().add(3);
            (0..2000).for_each(|_| UPDATES.inc());
            kill_self();
        }
        // SAFETY: the child of this process.
        unsafe { libc::wait(std::ptr::null_mut()) };
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("forks::a_child_makes_records_of_its_own");
    let sum = |name: &str| -> f64 {
        let all = processes(&directory.0);
        all.iter().filter_map(|page| page.get(name, &[])).sum()
    };
    assert_eq!((sum("childs_total"), sum("updates_total")), (3.0, 42_000.0));
}

/// The child had the lock of the directory's reader, from a thread that it did not have.
#[test]
fn a_child_of_a_process_that_is_scraped_is_scraped() {
    if let Some(path) = child() {
        let dir = tallies::share::dir(path).unwrap();
        (0..3000).for_each(|i| PEERS.with([&*format!("peer {i}")]).inc());
        let scraped = dir.clone();
        let (first, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            loop {
                scraped.snapshot().unwrap();
                let _ = first.send(());
            }
        });
        wait.recv().unwrap();
        for _ in 0..10 {
            // SAFETY: as in `fork`. The alarm ends a child that waits for ever.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: no memory is involved.
                unsafe { libc::alarm(60) };
                UPDATES.inc();
                let page = dir.snapshot().unwrap();
                let is_there = page.get("updates_total", &[]) >= Some(1.0);
                // SAFETY: ends the process.
                unsafe { libc::_exit(i32::from(!is_there)) };
            }
            assert_eq!(wait_for(child), 0);
        }
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("forks::a_child_of_a_process_that_is_scraped_is_scraped");
}

/// Its page had the counts of the others only, and nobody was told.
#[test]
fn a_child_without_a_file_has_no_page_instead_of_a_lower_one() {
    if let Some(path) = child() {
        let dir = tallies::share::dir(path).unwrap();
        UPDATES.inc();
        let set_limit = |files| {
            let limit = libc::rlimit {
                rlim_cur: files,
                rlim_max: 1024,
            };
            // SAFETY: no memory is involved.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        };
        set_limit(0);
        // SAFETY: as in `fork`.
        let child = unsafe { libc::fork() };
        set_limit(1024);
        if child == 0 {
            UPDATES.inc();
            let error = dir.snapshot().unwrap_err().to_string();
            assert!(error.contains("forked"), "{error}");
            assert_eq!(
                tallies::registry().snapshot().get("updates_total", &[]),
                Some(1.0)
            );
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) };
        }
        assert_eq!(wait_for(child), 0);
        assert_eq!(dir.snapshot().unwrap().get("updates_total", &[]), Some(1.0));
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("forks::a_child_without_a_file_has_no_page_instead_of_a_lower_one");
}

#[derive(Clone, Copy, Debug, LabelValue)]
enum Digit {
    Zero,
    One,
    Two,
    Three,
    Four,
    Five,
    Six,
    Seven,
}

/// Of these, the first use makes 4 096 series.
#[derive(Clone, Copy, Labels)]
struct Code {
    first: Digit,
    second: Digit,
    third: Digit,
    fourth: Digit,
}

static FIRST_USES: [Counter<Code>; 8] = [
    Counter::new("first_use_0_total").help("Uses."),
    Counter::new("first_use_1_total").help("Uses."),
    Counter::new("first_use_2_total").help("Uses."),
    Counter::new("first_use_3_total").help("Uses."),
    Counter::new("first_use_4_total").help("Uses."),
    Counter::new("first_use_5_total").help("Uses."),
    Counter::new("first_use_6_total").help("Uses."),
    Counter::new("first_use_7_total").help("Uses."),
];

/// It waited for ever for the series, which a thread that it does not have was making.
#[test]
fn a_child_uses_what_a_thread_of_its_parent_was_making() {
    use Digit::{Five, Four, One, Seven, Six, Three, Two, Zero};
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        let digits = [Zero, One, Two, Three, Four, Five, Six, Seven];
        for (uses, fourth) in FIRST_USES.iter().zip(digits) {
            let code = Code {
                first: Zero,
                second: One,
                third: Two,
                fourth,
            };
            let begins = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    begins.store(true, Relaxed);
                    uses.with(code).inc();
                });
                while !begins.load(Relaxed) {
                    std::hint::spin_loop();
                }
                let is_right = is_right(|| {
                    uses.with(code).inc();
                    uses.with(code).get() == 1
                });
                assert!(is_right, "{fourth:?}");
            });
        }
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("forks::a_child_uses_what_a_thread_of_its_parent_was_making");
}

/// Each waited for the other: one dropped a family while it had the locks of others, for one of
/// which the other fork waited with the locks that the drop needed.
#[test]
fn two_threads_fork_while_families_are_dropped() {
    if let Some(path) = child() {
        let _dir = tallies::share::dir(path).unwrap();
        // SAFETY: no memory is involved.
        unsafe { libc::alarm(60) };
        let registry = tallies::registry();
        let names: Vec<_> = (0..200).map(|i| format!("short_lived_{i}_total")).collect();
        let (begun, is_done) = (AtomicUsize::new(0), AtomicBool::new(false));
        let fork_often = || {
            for _ in 0..100 {
                begun.fetch_add(1, Relaxed);
                assert!(is_right(|| true));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Relaxed) {
                    // With labels, because a family without them has no lock of its own.
                    let make = |name: &String| {
                        let family = Counter::builder(name, "Help.").labels(["of"]);
                        family.register(registry).unwrap()
                    };
                    let families: Vec<_> = names.iter().map(make).collect();
                    names.iter().for_each(|name| registry.remove(name).unwrap());
                    // The last that has a family is then often the fork.
                    let mut families = families.into_iter();
                    while families.len() > 0 {
                        let forks = begun.load(Relaxed);
                        while begun.load(Relaxed) == forks && !is_done.load(Relaxed) {
                            std::thread::yield_now();
                        }
                        families.by_ref().take(20).for_each(drop);
                    }
                }
            });
            let forks = [(); 4].map(|()| scope.spawn(fork_often));
            let _ = forks.map(|forks| forks.join().unwrap());
            is_done.store(true, Relaxed);
        });
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("forks::two_threads_fork_while_families_are_dropped");
}
