//! Totals are exact, whoever counts and whoever ends.

use std::time::Duration;

use tallies::share::{self, Redis};
use tallies::{Registry, Snapshot};

use super::process::Process;
use super::server::Server;

/// A store that does nothing by itself.
pub fn quiet(url: &str, registry: &Registry) -> Redis {
    builder(url, registry).start().unwrap()
}

pub fn builder(url: &str, registry: &Registry) -> share::Builder {
    let hour = Duration::from_secs(3600);
    share::redis(url)
        .unwrap()
        .registry(registry)
        .namespace("test")
        .flush_every(hour)
        .gauge_ttl(2 * hour)
        .refresh_every(hour)
        .fold_after(2 * hour)
        .timeout(Duration::from_secs(5))
}

pub fn view(store: &Redis) -> Snapshot {
    use tallies::snapshot::Source;
    let mut snapshot = Snapshot::default();
    store.try_snapshot_into(&mut snapshot).unwrap();
    snapshot
}

pub fn total(store: &Redis, name: &str) -> f64 {
    view(store).get(name, &[]).unwrap_or(0.0)
}

#[test]
fn three_processes_count_a_thousand_each() {
    processes_count_exactly(3, 1000);
}

#[test]
fn eight_processes_count_a_hundred_thousand_each() {
    processes_count_exactly(8, 100_000);
}

fn processes_count_exactly(processes: usize, updates: u64) {
    let server = Server::start();
    let mut all: Vec<_> = (0..processes)
        .map(|_| Process::start(&server.url(), "test"))
        .collect();
    all.iter_mut()
        .for_each(|p| p.send(&format!("count {updates}")));
    all.iter_mut().for_each(|p| assert_eq!(p.answer(), "ok"));
    all.iter_mut()
        .for_each(|p| assert_eq!(p.tell("flush"), "ok"));
    let wanted = processes as u64 * updates;
    for p in &mut all {
        assert_eq!(p.tell("get jobs_total"), format!("Some({wanted}.0)"));
        assert_eq!(
            p.tell("get latency_seconds_count"),
            format!("Some({wanted}.0)")
        );
        let half = wanted as f64 / 2.0;
        assert_eq!(p.tell("get busy_seconds_total"), format!("Some({half:?})"));
        assert_eq!(
            p.tell("get tallies_share_writers"),
            format!("Some({processes}.0)")
        );
    }
    // Half of them end properly, the others do not. One that starts later sees all.
    for (i, mut p) in all.into_iter().enumerate() {
        if i % 2 == 0 {
            assert_eq!(p.tell("close"), "ok");
            assert!(p.wait().success());
        } else {
            p.kill();
        }
    }
    let registry = Registry::new();
    let store = quiet(&server.url(), &registry);
    assert_eq!(total(&store, "jobs_total"), wanted as f64);
    let killed = processes / 2;
    assert_eq!(total(&store, "tallies_share_writers"), killed as f64 + 1.0);
    super::server::wait_for("all are folded", || {
        store.fold_blocking(Duration::ZERO).unwrap();
        (total(&store, "tallies_share_writers") == 1.0).then_some(())
    });
    assert_eq!(total(&store, "jobs_total"), wanted as f64);
    assert_eq!(total(&store, "busy_seconds_total"), wanted as f64 / 2.0);
    assert_eq!(
        view(&store).get("latency_seconds_bucket", &[("le", "0.5")]),
        Some(0.0)
    );
    assert_eq!(
        view(&store).get("latency_seconds_bucket", &[("le", "1")]),
        Some(wanted as f64)
    );
    assert_eq!(view(&store).get("load", &[]), None);
    store.close_blocking().unwrap();
}

/// Many short lives: each process is killed at a random moment while it counts and flushes.
#[test]
fn short_lived_processes_that_are_killed_leave_what_they_flushed() {
    let lives: usize = std::env::var("TALLIES_LIVES").map_or(120, |lives| lives.parse().unwrap());
    let server = Server::start();
    let registry = Registry::new();
    let store = quiet(&server.url(), &registry);
    let (mut least, mut last) = (0.0, 0.0);
    let mut seed = 0x9e37_79b9_u64;
    let mut random = move |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % n
    };
    for round in 0..lives.div_ceil(6) {
        let mut all: Vec<_> = (0..6)
            .map(|_| Process::start(&server.url(), "test"))
            .collect();
        all.iter_mut().for_each(|p| p.send("forever"));
        let mut acknowledged = 0;
        for mut p in all {
            let mut last = 0;
            for _ in 0..random(6) {
                last = p.answer().parse().unwrap();
            }
            p.signal(libc::SIGKILL);
            // What the process said was acknowledged, and the pipe still has it.
            acknowledged += p.rest().last().copied().unwrap_or(last);
            p.wait();
        }
        least += acknowledged as f64;
        if round % 4 == 0 {
            store.fold_blocking(Duration::ZERO).unwrap();
        }
        let now = total(&store, "jobs_total");
        assert!(now >= last, "{now} after {last}");
        assert!(now >= least, "{now} of {least}");
        assert_eq!(now % 7.0, 0.0, "an update is shared whole: {now}");
        last = now;
    }
    super::server::wait_for("all are folded", || {
        store.fold_blocking(Duration::ZERO).unwrap();
        (total(&store, "tallies_share_writers") == 1.0).then_some(())
    });
    assert_eq!(total(&store, "jobs_total"), last);
    // The cost of a page follows the processes that are alive.
    assert_eq!(server.keys("*}:w:*").len(), 1);
}

#[test]
fn many_series_are_folded_in_parts_and_read_whole() {
    let server = Server::start();
    let registry = Registry::new();
    let jobs = tallies::Counter::builder("jobs_total", "")
        .labels(["queue"])
        .limit(30_000);
    let jobs = jobs.register(&registry).unwrap();
    let store = quiet(&server.url(), &registry);
    for i in 0..20_000_u64 {
        jobs.with([&*i.to_string()]).add(i);
    }
    store.flush_blocking().unwrap();
    jobs.with(["7"]).add(1);
    store.close_blocking().unwrap();
    let other = quiet(&server.url(), &Registry::new());
    let seen = view(&other);
    let family = seen.family("jobs_total").unwrap();
    assert_eq!(family.len(), 20_000);
    assert_eq!(seen.get("jobs_total", &[("queue", "7")]), Some(8.0));
    assert_eq!(
        seen.get("jobs_total", &[("queue", "19999")]),
        Some(19_999.0)
    );
    // Folded by all others at once, it is folded once.
    let again = quiet(&server.url(), &registry);
    again.flush_blocking().unwrap();
    let others: Vec<_> = (0..4)
        .map(|_| quiet(&server.url(), &Registry::new()))
        .collect();
    let folds: usize = std::thread::scope(|scope| {
        let fold = |store: &Redis| {
            let store = store.clone();
            scope.spawn(move || store.fold_blocking(Duration::ZERO).unwrap())
        };
        let all: Vec<_> = others.iter().map(fold).collect();
        all.into_iter().map(|fold| fold.join().unwrap()).sum()
    });
    assert!(folds >= 1, "{folds}");
    assert_eq!(
        view(&other).get("jobs_total", &[("queue", "7")]),
        Some(16.0)
    );
}

#[test]
fn a_collector_that_hangs_keeps_nobody_waiting_for_long() {
    let server = Server::start();
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().inc();
    let hang = std::sync::Arc::new(std::sync::Mutex::new(()));
    let wait = std::sync::Arc::clone(&hang);
    let collect = move |_: &mut tallies::Collected| {
        drop(wait.lock());
        Ok(())
    };
    registry.collect("hanging", collect).unwrap();
    let store = builder(&server.url(), &registry).timeout(Duration::from_millis(200));
    let store = store.start().unwrap();
    assert_eq!(total(&store, "jobs_total"), 1.0);
    let held = hang.lock().unwrap();
    assert_eq!(total(&store, "jobs_total"), 1.0, "the last view");
    drop(held);
    registry.counter("more_total", "").unwrap().inc();
    assert_eq!(total(&store, "more_total"), 1.0);
}

#[test]
#[ignore = "most of a minute without optimizations"]
fn a_million_series_are_shared() {
    let server = Server::start();
    let registry = Registry::new();
    let jobs = tallies::Counter::builder("jobs_total", "")
        .labels(["job"])
        .limit(1_000_000);
    let jobs = jobs.register(&registry).unwrap();
    for i in 0..1_000_000_u64 {
        jobs.with([&*i.to_string()]).add(1);
    }
    let store = builder(&server.url(), &registry).timeout(Duration::from_secs(20));
    let store = store
        .close_timeout(Duration::from_secs(300))
        .start()
        .unwrap();
    let timed = |what: &str, f: &dyn Fn()| {
        let started = std::time::Instant::now();
        f();
        println!("{what}: {:.1?}", started.elapsed());
    };
    timed("first flush", &|| store.flush_blocking().unwrap());
    jobs.with(["7"]).add(1);
    timed("flush of one change", &|| store.flush_blocking().unwrap());
    let other = builder(&server.url(), &Registry::new()).timeout(Duration::from_secs(20));
    let other = other.start().unwrap();
    let sum = || {
        let seen = view(&other);
        let series = seen.family("jobs_total").unwrap().series();
        let values = series.map(|(_, value)| match value {
            tallies::snapshot::Value::Counter(n) => n.as_f64(),
            _ => 0.0,
        });
        values.sum::<f64>()
    };
    timed("first read", &|| assert_eq!(sum(), 1_000_001.0));
    timed("read without changes", &|| assert_eq!(sum(), 1_000_001.0));
    timed("close", &|| store.close_blocking().unwrap());
    timed("read of the folded totals", &|| {
        assert_eq!(sum(), 1_000_001.0)
    });
    let bytes: String = server.run_command(&["INFO", "memory"]);
    let used = bytes
        .lines()
        .find(|line| line.starts_with("used_memory_human"));
    println!("{}", used.unwrap());
}
