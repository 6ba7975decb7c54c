//! Gauges: live ones carry the number of their process and expire, others outlive it.

use std::time::Duration;

use tallies::snapshot::{GaugeMode, Value};
use tallies::{Gauge, Registry, StateSet, UpDownCounter};
use tallies_redis::Redis;

use super::counting::{builder, quiet, total, view};
use super::process::Process;
use super::server::Server;
use crate::support::eventually;

fn load(store: &tallies_redis::Redis) -> Vec<(String, f64)> {
    let seen = view(store);
    let Some(family) = seen.family("load") else {
        return Vec::new();
    };
    let mut all: Vec<_> = family
        .series()
        .map(|(labels, value)| {
            let tallies::snapshot::Value::Gauge(value) = value else {
                panic!("not a gauge");
            };
            (labels.get("gauge_index").unwrap().into_owned(), value)
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// Checks until the gauges of the first process were refreshed five times, at a third of their time
/// to live: that raises the time that is left.
fn while_refreshed(server: &Server, check: impl Fn()) {
    let key = server.keys("*}:g:*").remove(0);
    let left = || server.run_command::<i64>(&["PTTL", &key]);
    let (mut last, mut refreshed) = (left(), 0);
    while refreshed < 5 {
        check();
        let now = left();
        refreshed += u32::from(now > last);
        last = now;
    }
}

#[test]
fn numbers_of_processes_are_small_and_used_again() {
    let server = Server::start();
    let start = |value: f64| {
        let registry = Registry::new();
        registry.gauge("load", "").unwrap().set(value);
        let store = quiet(&server.url(), &registry);
        store.flush_blocking().unwrap();
        store
    };
    let indexed = |all: &[(u32, f64)]| -> Vec<(String, f64)> {
        all.iter()
            .map(|(index, value)| (index.to_string(), *value))
            .collect()
    };
    let [one, two, three] = [1.0, 2.0, 3.0].map(start);
    assert_eq!(load(&one), indexed(&[(0, 1.0), (1, 2.0), (2, 3.0)]));
    two.close_blocking().unwrap();
    assert_eq!(load(&one), indexed(&[(0, 1.0), (2, 3.0)]));
    let four = start(4.0);
    assert_eq!(load(&three), indexed(&[(0, 1.0), (1, 4.0), (2, 3.0)]));
    for store in [&one, &three, &four] {
        store.close_blocking().unwrap();
    }
    assert_eq!(server.keys("*}:g:*"), [""; 0]);
    let five = start(5.0);
    assert_eq!(load(&five), indexed(&[(0, 5.0)]));
}

/// Whose page it was decided the order: the own series came as they were made, others sorted.
#[test]
fn the_page_is_the_same_from_every_process() {
    let server = Server::start();
    let registries = [(); 3].map(|()| Registry::new());
    for (registry, queues) in registries.iter().zip([["b", "a"], ["c", "b"], ["a", "c"]]) {
        let jobs = tallies::Counter::builder("jobs_total", "").labels(["queue"]);
        let jobs = jobs.register(registry).unwrap();
        queues.iter().for_each(|queue| jobs.with([*queue]).inc());
        registry.gauge("load", "").unwrap().set(1.0);
    }
    let stores = registries.each_ref().map(|one| quiet(&server.url(), one));
    let flush = |store: &tallies_redis::Redis| store.flush_blocking().unwrap();
    stores.iter().for_each(flush);
    let pages = stores
        .each_ref()
        .map(|one| tallies::encode::text(&view(one)));
    assert_eq!(pages[0], pages[1]);
    assert_eq!(pages[0], pages[2]);
    let load: Vec<_> = pages[0]
        .lines()
        .filter(|line| line.starts_with("load{"))
        .collect();
    assert_eq!(
        load,
        [0, 1, 2].map(|i| format!("load{{gauge_index=\"{i}\"}} 1"))
    );
}

/// A page of 100 workers had 1 100 series about the engine.
#[test]
fn pages_have_no_self_metrics_of_single_processes() {
    let server = Server::start();
    let registry = Registry::new();
    registry.set_self_metrics(true);
    registry.counter("jobs_total", "").unwrap().inc();
    let store = quiet(&server.url(), &registry);
    store.flush_blocking().unwrap();
    let other = quiet(&server.url(), &Registry::new());
    for page in [view(&store), view(&other)] {
        let names = page.families().map(|family| family.name());
        let names: Vec<_> = names
            .filter(|name| !name.starts_with("tallies_share_"))
            .collect();
        assert_eq!(names, ["jobs_total"]);
    }
}

/// A million numbers in one hash, which anybody with the password can write, held up the server at
/// every flush.
#[test]
fn a_process_looks_for_a_number_only_so_long() {
    let server = Server::start();
    let fill = "for i = 0, 99999 do redis.call('HSET', KEYS[1], i, 'another') end \
                redis.call('ZADD', KEYS[2], 1e15, 'another')";
    let keys = ["{tallies:test}:slots", "{tallies:test}:writers"];
    let () = server.run_command(&["EVAL", fill, "2", keys[0], keys[1]]);
    let registry = Registry::new();
    registry.gauge("load", "").unwrap().set(1.0);
    let store = quiet(&server.url(), &registry);
    store.flush_blocking().unwrap();
    let numbered = |key: &String| server.run_command(&["HEXISTS", key, "#slot"]);
    let own = server.keys("{tallies:test}:w:*");
    assert!(
        !own.iter().any(numbered),
        "no number is free among the first 4096"
    );
    assert_eq!(load(&store).len(), 1);
    let () = server.run_command(&["HDEL", keys[0], "4095"]);
    // It does not search at each flush.
    eventually("4095, which is free", || {
        store.flush_blocking().unwrap();
        own.iter().all(numbered)
    });
    assert_eq!(load(&store), [("4095".to_owned(), 1.0)]);
}

/// They expired between two flushes, and half of all pages were without them.
#[test]
fn gauges_live_while_flushes_are_far_apart() {
    let server = Server::start();
    let registry = Registry::new();
    let load = Gauge::builder("load", "").shared_ttl(Duration::from_millis(600));
    load.register(&registry).unwrap().set(1.0);
    let store = quiet(&server.url(), &registry);
    store.flush_blocking().unwrap();
    let observer = super::counting::observer(&server.url());
    while_refreshed(&server, || {
        assert!(view(&observer).family("load").is_some())
    });
}

/// The next writer to flush got number 0, which another one showed as well.
#[test]
fn two_processes_never_have_one_number_on_a_page() {
    let server = Server::start();
    let mut all = Vec::new();
    for value in 0..3 {
        let registry = Registry::new();
        let load = Gauge::builder("load", "").register(&registry).unwrap();
        load.set(f64::from(value));
        let store = quiet(&server.url(), &registry);
        store.flush_blocking().unwrap();
        all.push((store, load));
    }
    for slots in server.keys("*}:slots") {
        let () = server.run_command(&["DEL", &slots]);
    }
    all[2].0.flush_blocking().unwrap();
    let observer = super::counting::observer(&server.url());
    for store in all.iter().map(|(store, _)| store).chain([&observer]) {
        let page = view(store);
        let load = |index: &str| page.get("load", &[("gauge_index", index)]).unwrap();
        let mut values = ["0", "1", "2"].map(load);
        values.sort_by(f64::total_cmp);
        assert_eq!(values, [0.0, 1.0, 2.0]);
    }
}

#[test]
fn gauges_live_while_they_are_refreshed_and_expire_with_their_process() {
    let server = Server::start();
    let registry = Registry::new();
    Gauge::builder("load", "")
        .register(&registry)
        .unwrap()
        .set(1.0);
    let patient = Gauge::builder("patient", "").shared_ttl(Duration::from_secs(3600));
    patient.register(&registry).unwrap().set(2.0);
    let short = Duration::from_millis(600);
    let store = builder(&server.url(), &registry)
        .flush_every(Duration::from_millis(50))
        .gauge_ttl(short)
        .refresh_every(short / 3)
        .start()
        .unwrap();
    store.flush_blocking().unwrap();
    let other = Registry::new();
    let watcher = builder(&server.url(), &other)
        .gauge_ttl(short)
        .refresh_every(short / 3);
    let watcher = watcher.start().unwrap();
    // Nothing changes, and they are still there after more than their time to live.
    while_refreshed(&server, || {
        assert_eq!(load(&watcher), [("0".to_owned(), 1.0)])
    });
    // A process that is killed leaves its gauges for that time only.
    let mut process = Process::start(&server.url(), "test");
    assert_eq!(process.tell("load 7"), "ok");
    assert_eq!(process.tell("flush"), "ok");
    assert_eq!(load(&watcher).len(), 2);
    assert_eq!(total(&watcher, "active"), 1.0);
    process.kill();
    eventually("the gauges of the killed process expire", || {
        load(&watcher).len() == 1
    });
    // The watcher's time to live holds for what it shows.
    assert_eq!(
        view(&watcher).get("patient", &[("gauge_index", "0")]),
        Some(2.0)
    );
    store.close_blocking().unwrap();
    assert_eq!(load(&watcher), []);
    assert_eq!(total(&watcher, "patient"), 0.0);
}

#[test]
fn gauges_that_expired_while_their_process_was_stopped_come_back() {
    let server = Server::start();
    let registry = Registry::new();
    let changing = registry.gauge("changing", "").unwrap();
    registry.gauge("load", "").unwrap().set(1.0);
    let store = quiet(&server.url(), &registry);
    store.flush_blocking().unwrap();
    let watcher = super::counting::observer(&server.url());
    // The others come back also if one of them has changed since.
    for value in [0.0, 2.0] {
        for key in server.keys("*}:g:*") {
            let () = server.run_command(&["DEL", &key]);
        }
        assert_eq!(load(&watcher), []);
        changing.set(value);
        store.flush_blocking().unwrap();
        assert_eq!(load(&watcher), [("0".to_owned(), 1.0)]);
        let changed = view(&watcher).get("changing", &[("gauge_index", "0")]);
        assert_eq!(changed, Some(value));
    }
}

#[test]
fn modes_decide_what_becomes_of_several_values() {
    let server = Server::start();
    let start = |value: f64| {
        let registry = Registry::new();
        for (name, mode) in [
            ("live_sum", GaugeMode::LiveSum),
            ("live_min", GaugeMode::LiveMin),
            ("live_max", GaugeMode::LiveMax),
            ("sum", GaugeMode::Sum),
            ("min", GaugeMode::Min),
            ("max", GaugeMode::Max),
        ] {
            let gauge = Gauge::builder(name, "")
                .mode(mode)
                .register(&registry)
                .unwrap();
            gauge.set(value);
        }
        let active = UpDownCounter::builder("active", "")
            .register(&registry)
            .unwrap();
        active.inc();
        registry
            .info("build_info", "", &[("version", "1")])
            .unwrap();
        let store = quiet(&server.url(), &registry);
        store.flush_blocking().unwrap();
        store
    };
    let (one, two) = (start(2.0), start(5.0));
    let of = |names: &[&str]| {
        names
            .iter()
            .map(|name| total(&two, name))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(&["live_sum", "live_min", "live_max", "active"]),
        [7.0, 2.0, 5.0, 2.0]
    );
    assert_eq!(of(&["sum", "min", "max"]), [7.0, 2.0, 5.0]);
    one.close_blocking().unwrap();
    assert_eq!(
        of(&["live_sum", "live_min", "live_max", "active"]),
        [5.0, 5.0, 5.0, 1.0]
    );
    assert_eq!(of(&["sum", "min", "max"]), [7.0, 2.0, 5.0]);
    assert_eq!(view(&two).get("build_info", &[("version", "1")]), Some(1.0));
    // A process that is folded while it lives does not add its value twice.
    let watcher = quiet(&server.url(), &Registry::new());
    eventually("the process is folded", || {
        watcher.fold_blocking(Duration::ZERO).unwrap();
        total(&watcher, "tallies_share_writers") == 1.0
    });
    two.flush_blocking().unwrap();
    assert_eq!(total(&watcher, "sum"), 7.0);
    assert_eq!(total(&watcher, "live_sum"), 5.0);
}

/// The modes in which one value wins.
const NAMES: [&str; 6] = [
    "live_min",
    "live_max",
    "live_recent",
    "min",
    "max",
    "recent",
];

/// Registers a gauge of each of these modes, and a state set.
fn last_values(registry: &Registry) -> ([Gauge; 6], StateSet<String>) {
    let gauges = NAMES.map(|name| {
        let gauge = Gauge::builder(name, "").mode(GaugeMode::from_name(name).unwrap());
        gauge.register(registry).unwrap()
    });
    let states = StateSet::<String>::builder("state", "").states(&["idle", "busy", "broken"]);
    (gauges, states.register(registry).unwrap())
}

/// Returns the state that the page shows.
fn state(store: &Redis) -> String {
    let page = view(store);
    let states = page.family("state").unwrap().series();
    let current = states.filter(|(_, value)| *value == Value::Gauge(1.0));
    let current: Vec<_> = current
        .map(|(labels, _)| labels.get("state").unwrap().into_owned())
        .collect();
    assert_eq!(current.len(), 1, "{current:?}");
    current[0].clone()
}

/// The process that had started last won for good, or the one whose name was the larger.
#[test]
fn the_value_that_was_set_last_is_shown() {
    let server = Server::start();
    let registries = [Registry::new(), Registry::new()];
    let metrics = registries.each_ref().map(last_values);
    let stores = registries.each_ref().map(|one| quiet(&server.url(), one));
    // The last two have the value that they had before.
    for (who, value) in [(0, 1), (1, 2), (0, 3), (1, 4), (0, 3), (1, 4)] {
        let ([_, _, live_recent, _, _, recent], states) = &metrics[who];
        let name = ["idle", "busy", "broken"][value % 3];
        live_recent.set(value);
        recent.set(value);
        states.set(name.to_owned());
        stores[who].flush_blocking().unwrap();
        for store in &stores {
            assert_eq!(total(store, "recent"), value as f64);
            assert_eq!(total(store, "live_recent"), value as f64);
            assert_eq!(state(store), name);
        }
    }
    let [one, two] = stores;
    two.close_blocking().unwrap();
    assert_eq!(total(&one, "recent"), 4.0, "set last by one that has ended");
    assert_eq!(total(&one, "live_recent"), 3.0);
    assert_eq!(state(&one), "idle");
    metrics[0].0[5].set(5.0);
    one.flush_blocking().unwrap();
    one.close_blocking().unwrap();
    let observer = super::counting::observer(&server.url());
    assert_eq!(total(&observer, "recent"), 5.0);
}

/// It took part with 0, and with its first state.
#[test]
fn a_process_that_sets_no_gauge_does_not_change_it() {
    let server = Server::start();
    let idle = || {
        let registry = Registry::new();
        last_values(&registry);
        let store = quiet(&server.url(), &registry);
        store.flush_blocking().unwrap();
        store
    };
    let first = idle();
    assert_eq!(total(&first, "min"), 0.0);
    assert_eq!(state(&first), "idle");
    let registry = Registry::new();
    let (gauges, states) = last_values(&registry);
    let setter = quiet(&server.url(), &registry);
    let values = [7.0, -7.0, 7.0, 7.0, -7.0, 7.0];
    gauges
        .iter()
        .zip(values)
        .for_each(|(gauge, x)| gauge.set(x));
    states.set("broken".to_owned());
    setter.flush_blocking().unwrap();
    let last = idle();
    let is_as_set = || {
        for store in [&first, &setter, &last] {
            let seen = NAMES.map(|name| total(store, name));
            assert_eq!(seen, values);
            assert_eq!(state(store), "broken");
        }
    };
    is_as_set();
    idle().close_blocking().unwrap();
    is_as_set();
    last.close_blocking().unwrap();
    setter.close_blocking().unwrap();
    let kept = ["min", "max", "recent"].map(|name| total(&first, name));
    assert_eq!(kept, [7.0, -7.0, 7.0]);
}
