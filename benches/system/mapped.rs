//! Processes that share a directory of mapped files: the cost of a scrape and of a fold.
//!
//! Run it with `cargo bench -p tallies-system-benches --bench mapped`. Arguments are the number of
//! processes and the number of series in each: `-- 16 10000`.
//!
//! - *First scrape* is that of a reader that has not read the files before: it checks every label
//!   text.
//! - *Scrape* is every later one: it reads all values, merges them, and encodes the page.
//! - *Fold* adds the files of all processes, which have died, to the totals. *After the fold* is
//!   the scrape that reads these totals.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tallies::share::Dir;
use tallies::{Counter, Histogram, encode};

const ROUNDS: usize = 15;

static JOBS: Counter<[&str; 2]> = Counter::labelled("jobs_total", &["queue", "worker"])
    .help("Jobs done.")
    .limit(10_000_000);
static LATENCY: Histogram<[&str; 1]> = Histogram::labelled("latency_seconds", &["queue"])
    .help("Time to answer.")
    .limit(10_000_000);

/// A writer: nine counters for each histogram. It counts, says so, and waits for its end.
fn write(directory: &Path, series: usize, number: usize) {
    let _shared = tallies::share::dir(directory).unwrap();
    for i in 0..series {
        // Each process meets its series in an order of its own.
        let i = ((i + number * 31) % series).to_string();
        if i.ends_with('7') {
            LATENCY.with([&*i]).observe(0.25);
        } else {
            JOBS.with([&*i, "worker"]).add(3);
        }
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}

/// Returns the median duration of some calls.
fn median(mut f: impl FnMut()) -> Duration {
    let mut all: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            f();
            begin.elapsed()
        })
        .collect();
    all.sort_unstable();
    all[ROUNDS / 2]
}

fn show(name: &str, time: Duration) {
    println!("{name:<24}{:>10.2} ms", time.as_secs_f64() * 1e3);
}

fn main() {
    let arguments: Vec<_> = std::env::args()
        .filter(|argument| argument != "--bench")
        .collect();
    let number = |i: usize, default| {
        let argument = arguments.get(i).and_then(|argument| argument.parse().ok());
        argument.unwrap_or(default)
    };
    if let Some(directory) = std::env::var_os("TALLIES_BENCH_DIRECTORY") {
        return write(&PathBuf::from(directory), number(1, 0), number(2, 0));
    }
    let (processes, series) = (number(1, 16), number(2, 10_000));
    let directory = PathBuf::from(format!("/dev/shm/tallies-bench-{}", std::process::id()));
    let mut children: Vec<Child> = (0..processes)
        .map(|i| {
            Command::new(std::env::current_exe().unwrap())
                .args([series.to_string(), i.to_string()])
                .env("TALLIES_BENCH_DIRECTORY", &directory)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in &mut children {
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    }
    println!("{processes} processes with {series} series each");
    let open = || Dir::open(&directory).unwrap();
    show("first scrape", median(|| drop(open().snapshot().unwrap())));
    let dir = open();
    let mut page = String::new();
    show(
        "scrape",
        median(|| page = encode::text(&dir.snapshot().unwrap())),
    );
    let snapshot = dir.snapshot().unwrap();
    show(
        "of it, the encoding",
        median(|| drop(encode::text(&snapshot))),
    );
    let jobs = snapshot.family("jobs_total").unwrap();
    assert!(jobs.series().all(|(_, value)| {
        value
            == tallies::snapshot::Value::Counter(tallies::snapshot::Number::Int(
                3 * processes as u64,
            ))
    }));
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let before = Instant::now();
    assert_eq!(dir.fold().unwrap(), processes);
    show("fold of all", before.elapsed());
    show(
        "first after the fold",
        median(|| drop(open().snapshot().unwrap())),
    );
    show(
        "after the fold",
        median(|| page = encode::text(&dir.snapshot().unwrap())),
    );
    std::fs::remove_dir_all(&directory).unwrap();
}
