//! A disk or a limit that is full.

#![allow(unsafe_code, reason = "setting a limit is")]

use tallies::{Counter, Histogram, Summary};

use crate::support::{Directory, child, kill_self};

static ALONE: Counter = Counter::new("alone_total").help("Alone.");
static MANY: Counter<[&str; 1]> = Counter::labelled("many_total", &["x"])
    .help("Many.")
    .limit(1_000_000);
static LATENCY: Histogram<[&str; 1]> = Histogram::labelled("latency_seconds", &["x"])
    .help("Latency.")
    .limit(1_000_000);
static SIZES: Summary<[&str; 1]> = Summary::labelled("sizes", &["x"])
    .help("Sizes.")
    .limit(1_000_000);

#[test]
fn a_file_that_reached_the_limit_goes_on_in_private_memory() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        let limit = libc::rlimit {
            rlim_cur: 1 << 20,
            rlim_max: 1 << 20,
        };
        // SAFETY: a valid limit.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
        assert_eq!(limited, 0);
        for i in 0..20_000 {
            ALONE.inc();
            let x = &*i.to_string();
            MANY.with([x]).inc();
            LATENCY.with([x]).observe(0.5);
            if i % 10 == 0 {
                SIZES.with([x]).observe(0.5);
            }
        }
        for thread in 0..4 {
            let update =
                move || (0..3000).for_each(|i| MANY.with([&(i * (thread + 1)).to_string()]).inc());
            std::thread::spawn(update).join().unwrap();
            drop(tallies::snapshot());
        }
        // This process has all of it.
        let snapshot = tallies::snapshot();
        assert_eq!(snapshot.get("alone_total", &[]), Some(20_000.0));
        assert_eq!(snapshot.family("many_total").unwrap().len(), 20_000);
        assert_eq!(snapshot.family("latency_seconds").unwrap().len(), 20_000);
        let total: f64 = (snapshot.family("many_total").unwrap().series())
            .map(|(_, value)| match value {
                tallies::snapshot::Value::Counter(n) => n.as_f64(),
                _ => unreachable!("a counter"),
            })
            .sum();
        assert_eq!(total, 32_000.0);
        assert!(snapshot.get("tallies_cells_not_shared_total", &[]).unwrap() > 0.0);
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("full::a_file_that_reached_the_limit_goes_on_in_private_memory");
    let snapshot = directory.read();
    assert_eq!(snapshot.get("alone_total", &[]), Some(20_000.0));
    let shared = snapshot.family("many_total").unwrap().len();
    assert!((100..20_000).contains(&shared), "{shared}");
}

/// Sets a limit of this process.
fn set_limit(resource: u32, limit: u64) {
    let mut both = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: valid limits.
    let set = unsafe {
        libc::getrlimit(resource, &raw mut both) == 0 && {
            both.rlim_cur = limit;
            libc::setrlimit(resource, &raw const both) == 0
        }
    };
    assert!(set, "the limit of this process was not set");
}

/// A run of series that did not fit in the child's file had been in its parent's, and so was never
/// tried again.
#[test]
fn a_child_tries_again_what_did_not_fit_in_its_file() {
    if let Some(path) = child() {
        let dir = tallies::share::dir(path).unwrap();
        // Their label texts are as large as the records of runs, and take the place of these.
        let make = |i: usize| LIMITED.with([&*format!("job {i:012}")]).inc();
        (0..=120).for_each(make);
        set_limit(libc::RLIMIT_FSIZE, 256 << 10);
        (0..3000).for_each(|i| MANY.with([&*format!("{i:0200}")]).inc());
        // SAFETY: the child calls functions that allocate and lock, which the libraries of this
        // test allow. The alarm ends a child that waits for ever.
        let id = unsafe { libc::fork() };
        if id == 0 {
            // SAFETY: no memory is involved.
            unsafe { libc::alarm(60) };
            make(120);
            let job = [("job", "job 000000000120")];
            let both = || dir.snapshot().unwrap().get("limited_total", &job);
            assert_eq!(both(), Some(1.0), "it did not fit");
            set_limit(libc::RLIMIT_FSIZE, 1 << 30);
            let made = (121..180).find(|i| {
                std::thread::sleep(std::time::Duration::from_millis(100));
                make(*i);
                both() == Some(2.0)
            });
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(made.is_none())) };
        }
        let mut status = 0;
        // SAFETY: the child of this process.
        assert_eq!(unsafe { libc::waitpid(id, &mut status, 0) }, id);
        assert_eq!(status, 0);
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("full::a_child_tries_again_what_did_not_fit_in_its_file");
}

/// A write beyond the limit is a signal, which ended the process that was scraped.
#[test]
fn a_fold_beyond_the_file_limit_is_an_error() {
    const TEST: &str = "full::a_fold_beyond_the_file_limit_is_an_error";
    if let Some(path) = child() {
        if !path.exists() {
            tallies::share::dir(path).unwrap();
            (0..1000).for_each(|i| LIMITED.with([&*format!("job {i}")]).inc());
            kill_self();
        }
        set_limit(libc::RLIMIT_FSIZE, 4096);
        let dir = tallies::share::Dir::open(path).unwrap();
        let error = dir.fold().unwrap_err();
        assert!(error.to_string().contains("cannot fold"), "{error}");
        let page = dir.snapshot().unwrap();
        assert_eq!(page.get("limited_total", &[("job", "job 7")]), Some(1.0));
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed(TEST);
    directory.run_until_killed(TEST);
}

static LIMITED: tallies::Counter<[&str; 1]> =
    tallies::Counter::labelled("limited_total", &["job"]).help("Jobs.");
