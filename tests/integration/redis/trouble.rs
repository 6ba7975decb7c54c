//! Trouble: Redis is away, slow, full, read-only, wiped, or has lost writes; processes are cut off
//! or stopped. After each: the merged total is what was counted.

use std::time::Duration;

use tallies::snapshot::{Kind, Source};
use tallies::{Counter, Histogram, Registry, Summary, snapshot::Snapshot};

use super::counting::{builder, observer, quiet, total, view};
use super::process::Process;
use super::proxy::{Mode, Proxy};
use super::server::Server;
use crate::support::http::get;
use crate::support::{eventually, later_tick};

/// Folds all silent writers, from another process, until only those that are open remain.
pub fn fold_others(store: &tallies_redis::Redis, remaining: usize) {
    eventually("all others are folded", || {
        store.fold_blocking(Duration::ZERO).unwrap();
        total(store, "tallies_share_writers") == remaining as f64
    });
}

#[test]
fn a_process_that_was_folded_while_it_was_stopped_goes_on_exactly() {
    let server = Server::start();
    let mut process = Process::start(&server.url(), "test");
    assert_eq!(process.tell("count 100"), "ok");
    assert_eq!(process.tell("flush"), "ok");
    let registry = Registry::new();
    let store = quiet(&server.url(), &registry);
    process.signal(libc::SIGSTOP);
    fold_others(&store, 1);
    assert_eq!(total(&store, "jobs_total"), 100.0);
    process.signal(libc::SIGCONT);
    assert_eq!(process.tell("count 20"), "ok");
    assert_eq!(process.tell("flush"), "ok");
    for name in ["jobs_total", "latency_seconds_count"] {
        assert_eq!(total(&store, name), 120.0, "{name}");
        assert_eq!(process.tell(&format!("get {name}")), "Some(120.0)");
    }
    assert_eq!(total(&store, "busy_seconds_total"), 60.0);
    // Once more: the baseline grows.
    process.signal(libc::SIGSTOP);
    fold_others(&store, 1);
    process.signal(libc::SIGCONT);
    assert_eq!(process.tell("count 8"), "ok");
    assert_eq!(process.tell("close"), "ok");
    assert_eq!(total(&store, "jobs_total"), 128.0);
    assert_eq!(total(&store, "busy_seconds_total"), 64.0);
    assert_eq!(total(&store, "latency_seconds_sum"), 96.0);
    process.wait();
}

#[test]
fn a_batch_whose_reply_was_lost_counts_once_even_if_its_writer_was_folded() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = one.counter("jobs_total", "").unwrap();
    let cut = builder(&proxy.url(), &one).timeout(Duration::from_millis(200));
    let cut = cut.start().unwrap();
    let other = quiet(&server.url(), &two);
    jobs.add(5);
    cut.flush_blocking().unwrap();
    jobs.add(3);
    proxy.set(Mode::DropReplies);
    let error = cut.flush_blocking().unwrap_err();
    assert!(error.is_io(), "{error}");
    assert!(proxy.dropped() > 0);
    assert_eq!(total(&other, "jobs_total"), 8.0, "it arrived");
    // It arrived, and the writer does not know. Sent again, it counts once.
    proxy.set(Mode::Cut);
    proxy.set(Mode::Forward);
    cut.flush_blocking().unwrap();
    assert_eq!(total(&other, "jobs_total"), 8.0);
    // The same, and in between the writer is folded.
    jobs.add(2);
    proxy.set(Mode::DropReplies);
    cut.flush_blocking().unwrap_err();
    fold_others(&other, 1);
    assert_eq!(total(&other, "jobs_total"), 10.0);
    jobs.add(1);
    proxy.set(Mode::Cut);
    proxy.set(Mode::Forward);
    cut.flush_blocking().unwrap();
    assert_eq!(total(&other, "jobs_total"), 11.0);
    assert_eq!(total(&cut, "jobs_total"), 11.0);
}

/// The reader learned that the writer was folded, and then Redis went away. It forgot the writer,
/// did not know the folded totals, and showed a page without both.
#[test]
fn a_read_that_fails_half_way_changes_no_page() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let (one, two) = (Registry::new(), Registry::new());
    two.set_self_metrics(false);
    one.counter("jobs_total", "").unwrap().add(5);
    let writer = quiet(&server.url(), &one);
    writer.flush_blocking().unwrap();
    let reader = builder(&proxy.url(), &two).timeout(Duration::from_millis(200));
    let reader = reader.start().unwrap();
    assert_eq!(total(&reader, "jobs_total"), 5.0);
    writer.close_blocking().unwrap();
    proxy.set(Mode::OneReply);
    let page = view(&reader);
    assert_eq!(page.get("tallies_share_up", &[]), Some(0.0));
    assert_eq!(page.get("jobs_total", &[]), Some(5.0));
    proxy.set(Mode::Forward);
    eventually("the store is reached again", || reader.flush_blocking());
    assert_eq!(total(&reader, "jobs_total"), 5.0);
}

/// Some servers close idle connections. That is no failure: the page said so, and so did the log.
#[test]
fn a_connection_that_is_closed_while_it_is_idle_is_opened_again() {
    let server = Server::start();
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "").unwrap();
    let store = quiet(&server.url(), &registry);
    for round in 1..4 {
        jobs.inc();
        store.flush_blocking().unwrap();
        assert_eq!(total(&store, "jobs_total"), f64::from(round));
        let closed: u64 = server.run_command(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(closed > 0);
        let () = server.run_command(&["SCRIPT", "FLUSH"]);
    }
    assert_eq!(total(&store, "tallies_share_up"), 1.0);
    assert_eq!(total(&store, "tallies_share_failures_total"), 0.0);
}

#[test]
fn a_network_that_delays_and_drops_costs_time_and_no_counts() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = one.counter("jobs_total", "").unwrap();
    let store = builder(&proxy.url(), &one).timeout(Duration::from_millis(50));
    let store = store.start().unwrap();
    let other = quiet(&server.url(), &two);
    let (mut failures, mut last) = (0, 0.0);
    for round in 0..40 {
        jobs.add(round);
        proxy.set(match round % 4 {
            0 => Mode::DropReplies,
            1 => Mode::Swallow,
            2 => Mode::Cut,
            _ => Mode::Forward,
        });
        // Longer than the timeout: the batch arrives after its writer gave up.
        let is_slow = round % 8 == 7;
        proxy.delay(Duration::from_millis(if is_slow { 80 } else { 0 }));
        failures += usize::from(store.flush_blocking().is_err());
        let now = total(&other, "jobs_total");
        assert!(now >= last && now <= jobs.get() as f64, "{last} {now}");
        last = now;
    }
    assert!(failures >= 30, "{failures}");
    proxy.delay(Duration::ZERO);
    proxy.set(Mode::Cut);
    proxy.set(Mode::Forward);
    eventually("the store is reached again", || store.flush_blocking());
    assert_eq!(total(&other, "jobs_total"), jobs.get() as f64);
}

#[test]
fn while_redis_is_away_scrapes_show_the_last_view_and_then_fail() {
    let mut server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = one.counter("jobs_total", "").unwrap();
    let theirs = two.counter("jobs_total", "").unwrap();
    let limit = Duration::from_millis(2500);
    let store = builder(&server.url(), &one).serve_stale_for(limit);
    let store = store.timeout(Duration::from_millis(300)).start().unwrap();
    let other = quiet(&server.url(), &two);
    jobs.add(1);
    theirs.add(10);
    other.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 11.0);
    assert_eq!(total(&store, "tallies_share_up"), 1.0);
    server.kill();
    jobs.add(100);
    let seen = view(&store);
    assert_eq!(seen.get("jobs_total", &[]), Some(111.0));
    assert_eq!(seen.get("tallies_share_up", &[]), Some(0.0));
    assert!(seen.get("tallies_share_failures_total", &[]).unwrap() >= 1.0);
    let serving = tallies::serve::Server::new()
        .registry(&store)
        .listen("127.0.0.1:0")
        .unwrap();
    let status = || get(&serving, "/metrics", &[]).status();
    let error = eventually("the view is too old", || {
        let mut snapshot = Snapshot::default();
        store.try_snapshot_into(&mut snapshot).err()
    });
    assert!(
        error.to_string().contains("its last view is served for"),
        "{error}"
    );
    assert_eq!(status(), 503);
    assert!(store.flush_blocking().is_err());
    // It comes back, without what it knew. What live processes know is there again.
    server.restart();
    eventually("the store is reached again", || store.flush_blocking());
    eventually("the other, too", || other.flush_blocking());
    assert_eq!(total(&store, "jobs_total"), 111.0);
    assert_eq!(total(&other, "jobs_total"), 111.0);
    assert_eq!(status(), 200);
    serving.stop();
}

#[test]
fn a_store_that_was_never_reached_shows_no_page_that_looks_like_a_reset() {
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().inc();
    let store = quiet("redis://127.0.0.1:1/", &registry);
    let mut snapshot = Snapshot::default();
    let error = store.try_snapshot_into(&mut snapshot).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("was never read: Connection refused"),
        "{error}"
    );
    store.snapshot_into(&mut snapshot);
    assert_eq!(snapshot.families().count(), 0);
    assert!(store.close_blocking().is_err());
    assert!(store.close_blocking().is_ok(), "closing twice is fine");
}

#[test]
fn nobody_waits_for_a_redis_that_hangs() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "").unwrap();
    let store = builder(&proxy.url(), &registry).timeout(Duration::from_millis(300));
    let store = store.start().unwrap();
    jobs.inc();
    assert_eq!(total(&store, "jobs_total"), 1.0);
    proxy.set(Mode::Swallow);
    jobs.inc();
    // The first scrape finds out, the others need not wait at all.
    for _ in 0..100 {
        let page = view(&store);
        assert_eq!(page.get("jobs_total", &[]), Some(2.0));
        assert_eq!(page.get("tallies_share_up", &[]), Some(0.0));
    }
    let tries = total(&store, "tallies_share_failures_total");
    assert!(tries < 10.0, "{tries} of 100 scrapes waited");
    proxy.set(Mode::Cut);
    proxy.set(Mode::Forward);
    eventually("the store is reached again", || store.flush_blocking());
    assert_eq!(total(&store, "tallies_share_up"), 1.0);
    let other = quiet(&server.url(), &Registry::new());
    assert_eq!(total(&other, "jobs_total"), 2.0);
}

#[test]
fn a_wiped_namespace_has_what_live_processes_know() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = one.counter("jobs_total", "").unwrap();
    let store = quiet(&server.url(), &one);
    let other = quiet(&server.url(), &two);
    let theirs = two.counter("jobs_total", "").unwrap();
    jobs.add(5);
    theirs.add(3);
    other.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 8.0);
    // One of them has a baseline, which is wiped with the totals that were folded.
    fold_others(&store, 1);
    theirs.add(1);
    other.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 9.0);
    let () = server.run_command(&["FLUSHALL"]);
    other.flush_blocking().unwrap();
    store.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 9.0);
    assert_eq!(total(&other, "jobs_total"), 9.0);
    jobs.inc();
    theirs.inc();
    other.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 11.0);
    // Only the hash of one writer disappears, as by an eviction.
    for key in server.keys("*}:w:*") {
        let () = server.run_command(&["DEL", &key]);
    }
    other.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 11.0);
}

/// Two stores. What the second one had counted is folded while it lives, and goes on to 6. Then
/// Redis evicts the folded totals. Returns the counter of the second store, too.
pub fn evict_the_folded_totals(
    server: &Server,
) -> (tallies_redis::Redis, tallies_redis::Redis, Counter) {
    let (one, two) = (Registry::new(), Registry::new());
    let store = quiet(&server.url(), &one);
    let other = quiet(&server.url(), &two);
    let theirs = two.counter("jobs_total", "").unwrap();
    theirs.add(5);
    other.flush_blocking().unwrap();
    store.flush_blocking().unwrap();
    fold_others(&store, 1);
    theirs.inc();
    other.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 6.0);
    let () = server.run_command(&["DEL", &server.keys("*}:acc")[0]]);
    (store, other, theirs)
}

/// Redis evicts keys one by one. The folded totals were gone, and what had been folded of a process
/// that lives was on no page.
#[test]
fn a_process_counts_what_was_folded_of_it_if_the_folded_totals_disappear() {
    let server = Server::start();
    let (store, other, theirs) = evict_the_folded_totals(&server);
    theirs.inc();
    other.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 7.0);
}

#[test]
fn a_failover_that_loses_writes_loses_no_counts() {
    let mut first = Server::start();
    let second = Server::start();
    let proxy = Proxy::to(first.port);
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = one.counter("jobs_total", "").unwrap();
    let store = quiet(&proxy.url(), &one);
    let other = quiet(&proxy.url(), &two);
    jobs.add(5);
    store.flush_blocking().unwrap();
    let port = first.port.to_string();
    let () = second.run_command(&["REPLICAOF", "127.0.0.1", &port]);
    eventually("the replica has all keys", || {
        second.keys("*") == first.keys("*")
    });
    let link: String = second.run_command(&["INFO", "replication"]);
    assert!(link.contains("role:slave"), "{link}");
    let () = second.run_command(&["REPLICAOF", "NO", "ONE"]);
    // These never reach the new primary.
    for _ in 0..3 {
        jobs.add(2);
        store.flush_blocking().unwrap();
    }
    assert_eq!(total(&other, "jobs_total"), 11.0);
    first.kill();
    proxy.lead_to(second.port);
    eventually("the new primary is reached", || store.flush_blocking());
    eventually("the other, too", || other.flush_blocking());
    assert_eq!(total(&other, "jobs_total"), 11.0);
    jobs.add(1);
    assert_eq!(total(&store, "jobs_total"), 12.0);
    assert_eq!(total(&other, "jobs_total"), 12.0);
}

/// The older state has the series, and the writer forgot that it ever was there: its counts were
/// shown twice, in the series and in the overflow series.
#[test]
fn a_series_that_a_failover_brings_back_is_removed_again() {
    for is_stale in [false, true] {
        a_failover_brings_back_a_series(is_stale);
    }
}

/// `is_stale`: the older state has a number of the last batch that is too high.
fn a_failover_brings_back_a_series(is_stale: bool) {
    let mut server = Server::start();
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    registry.gauge("load", "").unwrap().set(1.0);
    let store = quiet(&server.url(), &registry);
    let other = quiet(&server.url(), &Registry::new());
    jobs.with(["a"]).add(10);
    jobs.with(["b"]).add(1);
    store.flush_blocking().unwrap();
    let () = server.run_command(&["SAVE"]);
    jobs.retire(["a"]);
    registry.remove("load").unwrap();
    store.flush_blocking().unwrap();
    server.restart();
    if is_stale {
        for key in server.keys("*}:w:*") {
            let () = server.run_command(&["HSET", &key, "#seq", "1000"]);
        }
    }
    eventually("the server is reached", || store.flush_blocking());
    eventually("the other, too", || other.flush_blocking());
    for page in [view(&store), view(&other)] {
        assert_eq!(page.get("jobs_total", &[("queue", "a")]), None);
        assert_eq!(page.get("jobs_total", &[("queue", "b")]), Some(1.0));
        assert_eq!(
            page.get("jobs_total", &[("queue", "__overflow__")]),
            Some(10.0)
        );
        assert!(page.family("load").is_none());
    }
}

/// Both states have one fold, but not of the same writer. The reader took the folded totals that it
/// knew for those of the other state, and showed 10 instead of 105.
#[test]
fn a_failover_that_loses_a_fold_does_not_confuse_readers() {
    let mut server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    one.counter("jobs_total", "").unwrap().add(5);
    two.counter("jobs_total", "").unwrap().add(100);
    let (first, second) = (quiet(&server.url(), &one), quiet(&server.url(), &two));
    first.flush_blocking().unwrap();
    second.flush_blocking().unwrap();
    let reader = quiet(&server.url(), &Registry::new());
    assert_eq!(total(&reader, "jobs_total"), 105.0);
    let () = server.run_command(&["SAVE"]);
    first.close_blocking().unwrap();
    assert_eq!(total(&reader, "jobs_total"), 105.0);
    server.restart();
    eventually("the server is reached", || second.flush_blocking().ok());
    second.close_blocking().unwrap();
    eventually("the reader, too", || reader.flush_blocking());
    assert_eq!(total(&reader, "jobs_total"), 105.0);
}

#[test]
fn a_server_that_is_full_or_read_only_is_said_and_loses_nothing() {
    let server = Server::with(&["--maxmemory-policy", "noeviction"]);
    let primary = Server::start();
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "").unwrap();
    let store = quiet(&server.url(), &registry);
    jobs.inc();
    assert_eq!(total(&store, "jobs_total"), 1.0);
    let () = server.run_command(&["CONFIG", "SET", "maxmemory", "1"]);
    jobs.inc();
    let error = store.flush_blocking().unwrap_err();
    assert!(
        error.to_string().contains("OOM") || error.to_string().contains("memory"),
        "{error}"
    );
    assert_eq!(
        total(&store, "jobs_total"),
        2.0,
        "the view has this process' counts"
    );
    assert_eq!(total(&store, "tallies_share_up"), 0.0);
    let () = server.run_command(&["CONFIG", "SET", "maxmemory", "0"]);
    store.flush_blocking().unwrap();
    assert_eq!(total(&store, "tallies_share_up"), 1.0);
    let port = primary.port.to_string();
    let () = server.run_command(&["REPLICAOF", "127.0.0.1", &port]);
    jobs.inc();
    let error = store.flush_blocking().unwrap_err();
    assert!(error.to_string().to_lowercase().contains("read"), "{error}");
    let () = server.run_command(&["REPLICAOF", "NO", "ONE"]);
    eventually("it is a primary again", || store.flush_blocking());
    let other = quiet(&server.url(), &Registry::new());
    assert_eq!(total(&other, "jobs_total"), 3.0);
}

#[test]
fn a_wrong_password_is_said_without_showing_it() {
    let server = Server::with(&["--requirepass", "sesame"]);
    let registry = Registry::new();
    let url = server.url().replace("redis://", "redis://:opensaysme@");
    let store = quiet(&url, &registry);
    let error = store.flush_blocking().unwrap_err().to_string();
    assert!(
        error.contains("assword") || error.contains("uthentication"),
        "{error}"
    );
    assert!(!error.contains("opensaysme"), "{error}");
    assert!(!format!("{:?}{store:?}", builder(&url, &registry)).contains("opensaysme"));
    let error = tallies_redis::Redis::builder("redis://:opensaysme@host:port/").unwrap_err();
    assert!(!error.to_string().contains("opensaysme"), "{error}");
    let right = server.url().replace("redis://", "redis://:sesame@");
    quiet(&right, &registry).flush_blocking().unwrap();
}

/// The page said that the server had not been reached, which it had.
#[test]
fn a_key_of_another_type_is_named_as_the_reason() {
    let server = Server::start();
    let () = server.run_command(&["SET", "{tallies:test}:writers", "x"]);
    let registry = Registry::new();
    let store = quiet(&server.url(), &registry);
    let error = store.snapshot_blocking().unwrap_err().to_string();
    assert!(error.contains("wrong kind of value"), "{error}");
    assert!(!error.contains('\n'), "{error}");
    let _ = store.close_blocking();
}

/// A page of 200 000 writers took more time than a scrape has, and 200 MB.
#[test]
fn too_many_writers_are_no_page_until_they_are_folded() {
    let server = Server::start();
    let fill = "for i = 1, 70000 do redis.call('ZADD', KEYS[1], i, 'w' .. i) end";
    let () = server.run_command(&["EVAL", fill, "1", "{tallies:test}:writers"]);
    let store = quiet(&server.url(), &Registry::new());
    let error = store.snapshot_blocking().unwrap_err().to_string();
    assert!(error.contains("too many writers"), "{error}");
    assert!(error.contains("70001"), "{error}");
    store.close_blocking().unwrap();
}

#[test]
fn a_clock_that_jumps_folds_too_early_or_too_late_and_counts_exactly() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = one.counter("jobs_total", "").unwrap();
    let store = quiet(&server.url(), &one);
    let other = quiet(&server.url(), &two);
    jobs.add(5);
    store.flush_blocking().unwrap();
    let writers = server.keys("*}:writers").remove(0);
    // The clock of Redis jumps two days ahead: every writer seems to have been silent since.
    for name in server.run_command::<Vec<String>>(&["ZRANGE", &writers, "0", "-1"]) {
        let () = server.run_command(&["ZINCRBY", &writers, "-172800000", &name]);
    }
    assert_eq!(other.fold_blocking(Duration::from_secs(600)).unwrap(), 1);
    jobs.add(1);
    store.flush_blocking().unwrap();
    assert_eq!(total(&other, "jobs_total"), 6.0);
    // It jumps two days back: the last flush seems to be in the future.
    for name in server.run_command::<Vec<String>>(&["ZRANGE", &writers, "0", "-1"]) {
        let () = server.run_command(&["ZINCRBY", &writers, "172800000", &name]);
    }
    assert_eq!(other.fold_blocking(Duration::from_secs(600)).unwrap(), 0);
    jobs.add(1);
    store.flush_blocking().unwrap();
    assert_eq!(total(&other, "jobs_total"), 7.0);
}

#[test]
fn an_abandoned_namespace_disappears_and_a_process_that_was_away_for_a_week_goes_on() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = one.counter("jobs_total", "").unwrap();
    let store = quiet(&server.url(), &one);
    jobs.add(5);
    store.flush_blocking().unwrap();
    let other = quiet(&server.url(), &two);
    fold_others(&other, 1);
    store.flush_blocking().unwrap();
    let week = 7 * 24 * 3600 * 1000;
    for key in server.keys("*") {
        let ttl: i64 = server.run_command(&["PTTL", &key]);
        assert!(ttl > 0 && ttl <= week, "{key} {ttl}");
    }
    for key in server.keys("*") {
        let () = server.run_command(&["PEXPIRE", &key, "1"]);
    }
    eventually("all keys have expired", || server.keys("*").is_empty());
    store.flush_blocking().unwrap();
    assert_eq!(total(&other, "jobs_total"), 5.0);
    assert_eq!(total(&store, "tallies_share_uncertain_total"), 0.0);
    // The fold of a process is so long ago that `x:` has expired.
    fold_others(&other, 1);
    for key in server.keys("*}:x:*") {
        let () = server.run_command(&["DEL", &key]);
    }
    jobs.add(1);
    store.flush_blocking().unwrap();
    assert_eq!(total(&other, "jobs_total"), 6.0);
    assert_eq!(total(&store, "tallies_share_uncertain_total"), 1.0);
}

#[test]
fn a_series_that_expires_while_its_process_is_cut_off_counts_once() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = Counter::builder("jobs_total", "").labels(["queue"]);
    let jobs = jobs.register(&one).unwrap();
    let sizes = Histogram::builder("sizes", "")
        .buckets(&[1.0])
        .labels(["queue"]);
    let sizes = sizes.register(&one).unwrap();
    let store = builder(&proxy.url(), &one).timeout(Duration::from_millis(200));
    let store = store.start().unwrap();
    let other = quiet(&server.url(), &two);
    let sum = |name: &str| {
        let seen = view(&other);
        let family = seen.family(name).unwrap();
        let count = |value: tallies::snapshot::Value| match value {
            tallies::snapshot::Value::Counter(n) => n.as_f64(),
            tallies::snapshot::Value::Histogram(h) => h.count() as f64,
            _ => 0.0,
        };
        family.series().map(|(_, value)| count(value)).sum::<f64>()
    };
    for queue in ["a", "b", "c"] {
        jobs.with([queue]).add(5);
        sizes.with([queue]).observe(0.5);
    }
    store.flush_blocking().unwrap();
    assert_eq!((sum("jobs_total"), sum("sizes")), (15.0, 3.0));
    // Retired while connected: the counts move, in one step.
    jobs.retire(["a"]);
    sizes.retire(["a"]);
    store.flush_blocking().unwrap();
    assert_eq!((sum("jobs_total"), sum("sizes")), (15.0, 3.0));
    assert_eq!(view(&other).get("jobs_total", &[("queue", "a")]), None);
    // Retired while cut off, and folded in between.
    proxy.set(Mode::Cut);
    fold_others(&other, 1);
    jobs.retire(["b"]);
    sizes.retire(["b"]);
    // Removed and made again: it counts from zero.
    jobs.remove(["c"]);
    jobs.with(["c"]).add(2);
    proxy.set(Mode::Forward);
    eventually("the store is reached again", || store.flush_blocking());
    assert_eq!((sum("jobs_total"), sum("sizes")), (17.0, 3.0));
    jobs.with(["c"]).add(4);
    store.flush_blocking().unwrap();
    assert_eq!(sum("jobs_total"), 21.0);
}

/// The counts that were folded are in the overflow series, and were sent again from there: 201
/// instead of 101.
#[test]
fn a_series_that_ends_and_is_used_again_after_its_process_was_folded_counts_once() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = Counter::builder("jobs_total", "").labels(["queue"]);
    let jobs = jobs.register(&one).unwrap();
    let store = quiet(&server.url(), &one);
    let other = quiet(&server.url(), &two);
    let check = |wanted: [u32; 4]| {
        store.flush_blocking().unwrap();
        let page = view(&other);
        let queues = ["retired", "removed", "later", "__overflow__"];
        let found = queues.map(|queue| page.get("jobs_total", &[("queue", queue)]).unwrap_or(0.0));
        assert_eq!(found, wanted.map(f64::from));
    };
    for queue in ["retired", "removed", "later"] {
        jobs.with([queue]).add(100);
    }
    check([100, 100, 100, 0]);
    fold_others(&other, 1);
    later_tick();
    jobs.retire(["retired"]);
    jobs.with(["retired"]).inc();
    jobs.remove(["removed"]);
    jobs.with(["removed"]).inc();
    check([101, 101, 100, 0]);
    later_tick();
    jobs.retire(["later"]);
    jobs.with(["later"]).inc();
    jobs.retire(["retired"]);
    check([100, 101, 101, 1]);
    store.close_blocking().unwrap();
    fold_others(&other, 1);
    let total = || view(&other).family("jobs_total").unwrap().len();
    assert_eq!(total(), 4);
}

/// A value that was sent without an answer counted as unchanged when it came back: the gauge went
/// from 1 to 2 and back to 1, and the page showed 2.
#[test]
fn a_gauge_that_returns_to_its_old_value_after_a_lost_reply_is_sent() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let registry = Registry::new();
    let load = registry.gauge("load", "").unwrap();
    let store = builder(&proxy.url(), &registry).timeout(Duration::from_millis(200));
    let store = store.start().unwrap();
    load.set(1.0);
    // The first to come has number 0.
    store.flush_blocking().unwrap();
    let other = quiet(&server.url(), &Registry::new());
    let shown = || view(&other).get("load", &[("gauge_index", "0")]);
    assert_eq!(shown(), Some(1.0));
    proxy.set(Mode::DropReplies);
    load.set(2.0);
    store.flush_blocking().unwrap_err();
    assert_eq!(shown(), Some(2.0), "it arrived");
    load.set(1.0);
    proxy.set(Mode::Cut);
    proxy.set(Mode::Forward);
    store.flush_blocking().unwrap();
    assert_eq!(shown(), Some(1.0));
}

#[test]
fn a_batch_that_arrives_after_a_later_one_changes_nothing() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "").unwrap();
    let store = builder(&proxy.url(), &registry).timeout(Duration::from_millis(200));
    let store = store.start().unwrap();
    let other = observer(&server.url());
    jobs.add(5);
    store.flush_blocking().unwrap();
    proxy.set(Mode::Hold);
    jobs.add(3);
    store.flush_blocking().unwrap_err();
    proxy.set(Mode::Forward);
    jobs.add(2);
    store.flush_blocking().unwrap();
    assert_eq!(total(&other, "jobs_total"), 10.0);
    let before = server.calls("evalsha");
    proxy.release();
    eventually("the old batch arrives", || server.calls("evalsha") > before);
    assert_eq!(total(&other, "jobs_total"), 10.0);
    // A reader keeps what it has read before. One that comes now has nothing else.
    assert_eq!(total(&observer(&server.url()), "jobs_total"), 10.0);
}

/// While the clock of Redis was a week ahead, the fold was forgotten. The process, which lives,
/// sent again what was folded of it.
#[test]
fn a_process_whose_fold_was_forgotten_goes_on() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "").unwrap();
    let silence = Duration::from_millis(100);
    let store = builder(&proxy.url(), &registry).timeout(Duration::from_millis(200));
    let store = store.refresh_every(silence / 2).fold_after(silence);
    let store = store.gauge_ttl(silence).start().unwrap();
    let other = observer(&server.url());
    jobs.add(5);
    store.flush_blocking().unwrap();
    proxy.set(Mode::Cut);
    eventually("it is folded", || {
        other.fold_blocking(silence).unwrap() == 1
    });
    let folds = server.keys("*}:acc").remove(0);
    for (field, _) in server.fields(&folds) {
        if field[0] == b't' {
            let field = String::from_utf8(field).unwrap();
            let () = server.run_command(&["HDEL", &folds, &field]);
        }
    }
    for key in server.keys("*}:x:*") {
        let () = server.run_command(&["DEL", &key]);
    }
    proxy.set(Mode::Forward);
    jobs.inc();
    eventually("the store is reached again", || store.flush_blocking());
    assert_eq!(total(&other, "jobs_total"), 6.0);
    assert_eq!(total(&store, "tallies_share_uncertain_total"), 1.0);
}

/// Another version wrote a folded total. A fold replaced what it could not read, and the total was
/// gone.
#[test]
fn a_folded_total_that_cannot_be_read_is_not_replaced() {
    let server = Server::start();
    let [one, two] = [5, 7].map(|count| {
        let registry = Registry::new();
        registry.counter("jobs_total", "").unwrap().add(count);
        let store = quiet(&server.url(), &registry);
        store.flush_blocking().unwrap();
        store
    });
    let other = observer(&server.url());
    one.close_blocking().unwrap();
    let folds = server.keys("*}:acc").remove(0);
    let is_jobs = |(field, value): &(Vec<u8>, Vec<u8>)| {
        field[0] == b's' && field.len() == 9 && value.len() < 20
    };
    let all: Vec<_> = server.fields(&folds).into_iter().filter(is_jobs).collect();
    assert!(!all.is_empty());
    for (field, _) in &all {
        server.set_field(&folds, field, b"\xffnewer");
    }
    two.close_blocking().unwrap();
    assert_eq!(other.fold_blocking(Duration::ZERO).unwrap(), 0);
    assert_eq!(total(&other, "tallies_share_writers"), 1.0);
    assert_eq!(total(&other, "jobs_total"), 7.0);
    for (field, value) in &all {
        server.set_field(&folds, field, value);
    }
    fold_others(&other, 0);
    assert_eq!(total(&other, "jobs_total"), 12.0);
}

#[test]
fn two_programs_with_one_name_and_different_kinds_serve_the_older_one() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    one.counter("jobs_total", "").unwrap().add(5);
    one.gauge("things", "").unwrap().set(2.0);
    let old = quiet(&server.url(), &one);
    old.flush_blocking().unwrap();
    two.counter("jobs_total", "").unwrap().add(1);
    two.counter("things", "").unwrap().add(7);
    later_tick();
    let new = quiet(&server.url(), &two);
    for store in [&new, &old] {
        assert_eq!(total(store, "jobs_total"), 6.0);
        new.flush_blocking().unwrap();
        let things = view(store);
        let things = things.family("things").unwrap();
        assert_eq!((things.kind(), things.len()), (Kind::Gauge, 1));
        assert_eq!(total(store, "tallies_share_conflicts"), 1.0);
    }
}

#[test]
fn a_rolling_deployment_with_other_buckets_shows_those_of_the_newer_version() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let latency = |registry: &Registry, bounds: &[f64]| {
        let latency = Histogram::builder("latency_seconds", "").buckets(bounds);
        latency.register(registry).unwrap()
    };
    let (before, after) = (latency(&one, &[1.0]), latency(&two, &[1.0, 2.0]));
    one.counter("jobs_total", "").unwrap().add(5);
    before.observe(0.5);
    let old = quiet(&server.url(), &one);
    assert_eq!(total(&old, "latency_seconds_count"), 1.0);
    later_tick();
    let new = quiet(&server.url(), &two);
    after.observe(1.5);
    after.observe(1.5);
    for store in [&new, &old] {
        let seen = view(store);
        assert_eq!(
            seen.get("latency_seconds_bucket", &[("le", "2")]),
            Some(2.0)
        );
        assert_eq!(seen.get("jobs_total", &[]), Some(5.0));
    }
    // The old version ends. What it counted stays in the store, for versions with its buckets.
    old.close_blocking().unwrap();
    assert_eq!(total(&new, "latency_seconds_count"), 2.0);
    assert_eq!(total(&new, "jobs_total"), 5.0);
    new.close_blocking().unwrap();
    let registry = Registry::new();
    latency(&registry, &[1.0]).observe(0.25);
    let again = quiet(&server.url(), &registry);
    assert_eq!(total(&again, "latency_seconds_count"), 2.0);
}

/// The description of the removed family stayed, and displaced the new one.
#[test]
fn a_family_that_is_removed_leaves_its_name_to_another_kind() {
    let server = Server::start();
    let registry = Registry::new();
    let store = quiet(&server.url(), &registry);
    let other = quiet(&server.url(), &Registry::new());
    let sizes = |bounds: &'static [f64]| {
        let sizes = Histogram::builder("sizes", "").buckets(bounds);
        sizes.register(&registry).unwrap().observe(0.5);
        store.flush_blocking().unwrap();
    };
    sizes(&[1.0]);
    assert_eq!(total(&other, "sizes_count"), 1.0);
    registry.remove("sizes").unwrap();
    sizes(&[1.0, 2.0]);
    let page = view(&other);
    assert_eq!(page.get("sizes_bucket", &[("le", "2")]), Some(1.0));
    assert_eq!(page.get("tallies_share_conflicts", &[]), Some(0.0));
    registry.remove("sizes").unwrap();
    registry.counter("sizes", "").unwrap().add(9);
    store.flush_blocking().unwrap();
    let page = view(&other);
    assert_eq!(page.family("sizes").unwrap().kind(), Kind::Counter);
    assert_eq!(page.get("tallies_share_conflicts", &[]), Some(0.0));
}

#[test]
fn summaries_of_many_processes_certify_their_errors() {
    let server = Server::start();
    let mut values = Vec::new();
    let mut stores = Vec::new();
    for process in 0..6_u32 {
        let registry = Registry::new();
        let summary = Summary::builder("s", "")
            .objective(0.5, 0.01)
            .register(&registry)
            .unwrap();
        let windowed = Summary::builder("w", "").max_age(Duration::from_secs(600));
        let windowed = windowed.register(&registry).unwrap();
        let store = quiet(&server.url(), &registry);
        for i in 0..3000_u32 {
            let value = f64::from((i * 7919 + process * 104_729) % 100_003);
            summary.observe(value);
            windowed.observe(value);
            values.push(value);
            if i == 1000 {
                store.flush_blocking().unwrap();
            }
        }
        store.flush_blocking().unwrap();
        if process % 2 == 0 {
            store.close_blocking().unwrap();
        } else {
            stores.push((store, summary));
        }
    }
    values.sort_by(f64::total_cmp);
    let check = |values: &[f64], allowed: f64| {
        let seen = view(&stores[0].0);
        assert_eq!(seen.get("s_count", &[]), Some(values.len() as f64));
        let family = seen.family("s").unwrap();
        let (_, value) = family.series().next().unwrap();
        let tallies::snapshot::Value::Summary(summary) = value else {
            panic!("not a summary");
        };
        let (median, error) = summary.quantile(0.5).unwrap().unwrap();
        assert!(error <= allowed, "{error}");
        let rank = values.partition_point(|x| *x <= median) as f64 / values.len() as f64;
        assert!(
            (rank - 0.5).abs() <= error + 1.0 / values.len() as f64,
            "{rank} {error}"
        );
    };
    check(&values, 0.01);
    // One is folded while it lives, and comes back: its later observations are told apart.
    fold_others(&stores[0].0, 1);
    for i in 0..500 {
        stores[1].1.observe(f64::from(i));
        values.push(f64::from(i));
    }
    stores[1].0.flush_blocking().unwrap();
    values.sort_by(f64::total_cmp);
    check(&values, 0.05);
}
