//! The store in Redis at 16 processes with 10 000 series each: what a flush, a scrape and a fold
//! take. Beside it Python's client, which shares mapped files, if `target/parsers/bin/python` has
//! it (`tests/run.sh parsers` installs it).
//!
//!     cargo bench -p tallies-system-benches --bench share
//!
//! Needs `redis-server`. Every process is a registry with a store of its own; the server is on the
//! same machine and shares its processors.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tallies::{Counter, Registry};
use tallies_redis::{Redis, RedisBuilder};

const PROCESSES: usize = 16;
const SERIES: usize = 10_000;

struct Server(Child, String);

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        drop(listener);
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server has to be installed");
        Self(child, format!("redis://127.0.0.1:{port}/"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn builder(server: &Server, registry: &Registry) -> RedisBuilder {
    let hour = Duration::from_secs(3600);
    let builder = Redis::builder(&server.1).unwrap().registry(registry);
    builder
        .flush_every(hour)
        .gauge_ttl(2 * hour)
        .refresh_every(hour)
        .fold_after(2 * hour)
        .timeout(Duration::from_secs(10))
        .close_timeout(Duration::from_secs(60))
}

/// Prints the median of several times, in milliseconds.
fn row(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let median = times[times.len() / 2].as_secs_f64() * 1e3;
    println!("| {what} | {median:.2} |");
}

fn timed(f: impl FnOnce()) -> Duration {
    let started = Instant::now();
    f();
    started.elapsed()
}

fn main() {
    let server = Server::start();
    let mut all: Vec<(Redis, Counter<[&'static str; 1]>)> = Vec::new();
    let names: Vec<&'static str> = (0..SERIES).map(|i| &*i.to_string().leak()).collect();
    let mut first = Vec::new();
    for _ in 0..PROCESSES {
        let registry = Registry::new();
        let jobs = Counter::builder("jobs_total", "Jobs.").labels(["job"]);
        let jobs = jobs.register(&registry).unwrap();
        names.iter().for_each(|name| jobs.with([*name]).inc());
        let store = builder(&server, &registry).start().unwrap();
        // The server may still be starting.
        while all.is_empty() && store.flush_blocking().is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        if !all.is_empty() {
            first.push(timed(|| store.flush_blocking().unwrap()));
        }
        all.push((store, jobs));
    }
    let observer = builder(&server, &Registry::new())
        .observe()
        .start()
        .unwrap();
    let scrape = |store: &Redis| {
        use tallies::snapshot::Source;
        let mut snapshot = tallies::snapshot::Snapshot::default();
        store.try_snapshot_into(&mut snapshot).unwrap();
        let page = tallies::encode::text(&snapshot);
        assert!(page.contains("jobs_total{job=\"9999\"}"));
    };
    println!("{PROCESSES} processes, {SERIES} counters each; medians in ms\n\n| | ms |\n|---|---|");
    row("first flush of a process", first);
    let flushes = |every: usize| {
        let times = all.iter().map(|(store, jobs)| {
            let changed = names.iter().step_by(every);
            changed.for_each(|name| jobs.with([*name]).inc());
            timed(|| store.flush_blocking().unwrap())
        });
        times.collect::<Vec<_>>()
    };
    row("flush, 100 series changed", flushes(100));
    row("flush, all series changed", flushes(1));
    row("first scrape", vec![timed(|| scrape(&observer))]);
    let unchanged = (0..7).map(|_| timed(|| scrape(&observer)));
    row("scrape, nothing changed", unchanged.collect());
    let one = (0..7).map(|_| {
        all[0].1.with([names[0]]).inc();
        all[0].0.flush_blocking().unwrap();
        timed(|| scrape(&observer))
    });
    row("scrape, one process changed", one.collect());
    let every = (0..5).map(|_| {
        flushes(100);
        timed(|| scrape(&observer))
    });
    row("scrape, all processes changed", every.collect());
    let folds = all
        .drain(1..)
        .map(|(store, _)| timed(|| store.close_blocking().unwrap()));
    row("fold of a process", folds.collect());
    row(
        "scrape, one process left",
        vec![timed(|| scrape(&observer))],
    );
    python();
}

/// The same page by Python's client in its multiprocess mode.
fn python() {
    let python = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/parsers/bin/python"
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/multiprocess.py");
    let (processes, series) = (PROCESSES.to_string(), SERIES.to_string());
    match Command::new(python)
        .args([script, &processes, &series])
        .status()
    {
        Ok(status) => assert!(status.success()),
        Err(_) => println!("\nno {python}: `tests/run.sh parsers` makes it"),
    }
}
