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
