//! Totals are exact, whoever counts and whoever ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tallies::{Registry, snapshot::Snapshot};
use tallies_redis::{Redis, RedisBuilder};

use super::process::Process;
use super::server::Server;
use crate::support::eventually;

/// A store that does nothing by itself.
pub fn quiet(url: &str, registry: &Registry) -> Redis {
    builder(url, registry).start().unwrap()
}

pub fn builder(url: &str, registry: &Registry) -> RedisBuilder {
    let hour = Duration::from_secs(3600);
    Redis::builder(url)
        .unwrap()
        .registry(registry)
        .namespace("test")
        .flush_every(hour)
        .gauge_ttl(2 * hour)
        .refresh_every(hour)
        .fold_after(2 * hour)
        .timeout(Duration::from_secs(5))
}

/// Adds a collector that hangs while the result is locked.
pub fn add_hanging_collector(registry: &Registry) -> Arc<Mutex<()>> {
    let hang = Arc::new(Mutex::new(()));
    let wait = Arc::clone(&hang);
    let collect = move |_: &mut tallies::collect::Collected| {
        drop(wait.lock());
        Ok(())
    };
    registry.add_collector("hanging", collect).unwrap();
    hang
}

/// A store that only reads.
pub fn observer(url: &str) -> Redis {
    builder(url, &Registry::new()).observe().start().unwrap()
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
    eventually("all are folded", || {
        store.fold_blocking(Duration::ZERO).unwrap();
        total(&store, "tallies_share_writers") == 1.0
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
    eventually("all are folded", || {
        store.fold_blocking(Duration::ZERO).unwrap();
        total(&store, "tallies_share_writers") == 1.0
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
    // Folded by all others at once, again and again, it is folded once.
    let others: Vec<_> = (0..4).map(|_| observer(&server.url())).collect();
    for round in 1..=3 {
        let again = quiet(&server.url(), &registry);
        again.flush_blocking().unwrap();
        std::mem::forget(again);
        let folds: usize = std::thread::scope(|scope| {
            let fold = |store: &Redis| {
                let store = store.clone();
                scope.spawn(move || store.fold_blocking(Duration::ZERO).unwrap())
            };
            let all: Vec<_> = others.iter().map(fold).collect();
            all.into_iter().map(|fold| fold.join().unwrap()).sum()
        });
        assert!(folds >= 1, "{folds}");
        let seen = view(&others[0]);
        assert_eq!(seen.get("tallies_share_writers", &[]), Some(0.0));
        let values = |i: usize| {
            seen.get("jobs_total", &[("queue", &i.to_string())])
                .unwrap()
        };
        assert_eq!(values(7), 8.0 * f64::from(round + 1));
        assert_eq!(values(19_999), 19_999.0 * f64::from(round + 1));
        let family = seen.family("jobs_total").unwrap();
        let sum = family.series().map(|(_, value)| match value {
            tallies::snapshot::Value::Counter(n) => n.as_f64(),
            _ => 0.0,
        });
        assert_eq!(sum.sum::<f64>(), 199_990_001.0 * f64::from(round + 1));
    }
}

#[test]
fn a_collector_that_hangs_keeps_nobody_waiting_for_long() {
    let server = Server::start();
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().inc();
    let hang = add_hanging_collector(&registry);
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
#[ignore = "takes minutes without optimizations"]
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

/// Every process is folded all the time although it lives, and any of them is read.
#[test]
fn reads_by_any_process_never_go_back_while_all_of_them_are_folded() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    let server = Server::start();
    let mut stores = Vec::new();
    for _ in 0..3 {
        let registry = Registry::new();
        let jobs = registry.counter("jobs_total", "").unwrap();
        let sizes = tallies::Histogram::builder("sizes", "").buckets(&[1.0]);
        let sizes = sizes.register(&registry).unwrap();
        let store = builder(&server.url(), &registry).flush_every(Duration::from_millis(3));
        stores.push((store.start().unwrap(), jobs, sizes));
    }
    let folder = quiet(&server.url(), &Registry::new());
    let (stop, mut folds) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        let stop = &stop;
        let folding = scope.spawn(move || {
            let mut folds = 0;
            while !stop.load(Relaxed) {
                folds += folder.fold_blocking(Duration::ZERO).unwrap_or(0);
            }
            folds
        });
        for (_, jobs, sizes) in &stores {
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    jobs.inc();
                    sizes.observe(0.5);
                    std::thread::yield_now();
                }
            });
        }
        let (mut last, mut reached) = ((0.0, 0.0), 0);
        for round in 0..300 {
            let (store, _, _) = &stores[round % 3];
            let seen = view(store);
            let now = ["jobs_total", "sizes_count"].map(|name| seen.get(name, &[]).unwrap_or(0.0));
            // A process that found no moment between two folds shows its last view, and says so.
            if seen.get("tallies_share_up", &[]) == Some(0.0) {
                continue;
            }
            reached += 1;
            if now[0] < last.0 || now[1] < last.1 {
                stop.store(true, Relaxed);
            }
            assert!(
                now[0] >= last.0 && now[1] >= last.1,
                "{now:?} after {last:?} in {round}"
            );
            last = (now[0], now[1]);
        }
        stop.store(true, Relaxed);
        assert!(reached > 200, "{reached}");
        folds = folding.join().unwrap();
    });
    assert!(folds > 20, "{folds}");
    stores
        .iter()
        .for_each(|(store, _, _)| store.flush_blocking().unwrap());
    let wanted: u64 = stores.iter().map(|(_, jobs, _)| jobs.get()).sum();
    for (store, _, _) in &stores {
        let seen = view(store);
        assert_eq!(seen.get("jobs_total", &[]), Some(wanted as f64));
        assert_eq!(seen.get("sizes_sum", &[]), Some(wanted as f64 / 2.0));
    }
}

/// The folded totals were rounded with each fold. That lowered the total from 13.9 to
/// 13.899999999999999, which Prometheus takes for a restart.
#[test]
fn folds_do_not_lower_sums_of_floats() {
    let server = Server::start();
    let reader = quiet(&server.url(), &Registry::new());
    let all = [0.9, 0.3, 8.4, 4.3].map(|seconds| {
        let registry = Registry::new();
        let busy = tallies::Counter::builder("busy_seconds_total", "").float();
        busy.register(&registry).unwrap().add(seconds);
        let sizes = tallies::Histogram::builder("sizes", "").register(&registry);
        sizes.unwrap().observe(seconds);
        let store = quiet(&server.url(), &registry);
        store.flush_blocking().unwrap();
        store
    });
    let sums = || {
        let page = view(&reader);
        ["busy_seconds_total", "sizes_sum"].map(|name| page.get(name, &[]).unwrap())
    };
    assert_eq!(sums(), [13.9; 2]);
    for store in all {
        store.close_blocking().unwrap();
        assert_eq!(sums(), [13.9; 2]);
    }
    assert_eq!(total(&reader, "tallies_share_malformed"), 0.0);
}

#[test]
fn what_did_not_change_is_neither_sent_nor_read_again() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = one.counter("jobs_total", "").unwrap();
    one.gauge("load", "").unwrap().set(1.0);
    one.set_self_metrics(false);
    two.set_self_metrics(false);
    let (store, other) = (quiet(&server.url(), &one), quiet(&server.url(), &two));
    let calls = |command: &str| server.calls(command);
    jobs.inc();
    store.flush_blocking().unwrap();
    assert_eq!(total(&other, "jobs_total"), 1.0);
    let (reads, writes) = (calls("hgetall"), calls("hset"));
    for _ in 0..5 {
        assert_eq!(total(&other, "jobs_total"), 1.0);
        assert_eq!(total(&store, "jobs_total"), 1.0);
    }
    // `store` reads once: the folded totals, and the empty hashes of `other`.
    assert!(
        calls("hgetall") <= reads + 3,
        "{} {reads}",
        calls("hgetall")
    );
    assert_eq!(calls("hset"), writes);
    jobs.inc();
    store.flush_blocking().unwrap();
    assert_eq!(total(&other, "jobs_total"), 2.0);
    assert!(
        calls("hgetall") <= reads + 4,
        "only the totals, not the gauges"
    );
}
