//! Redis is wiped, or comes back with less than it had. No page goes back, and none jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tallies::snapshot::{Snapshot, Source};
use tallies::{Counter, Registry};
use tallies_redis::Redis;

use super::counting::{builder, quiet, total, view};
use super::process::Process;
use super::server::Server;
use super::trouble::{evict_the_folded_totals, fold_others};
use crate::support::eventually;

/// Starts a store that flushes often. Its signs of life come hours later.
fn awake(url: &str, registry: &Registry) -> Redis {
    let builder = builder(url, registry).flush_every(Duration::from_millis(50));
    builder.start().unwrap()
}

/// Waits until the store shows a page that is whole, and returns it.
#[track_caller]
fn whole(store: &Redis) -> Snapshot {
    eventually("the page is whole", || {
        let page = view(store);
        (page.get("tallies_share_up", &[]) == Some(1.0)).then_some(page)
    })
}

/// The page of one process lacked the counts of another one, which had nothing to send, for half a
/// minute, and then jumped.
#[test]
fn after_a_wipe_no_page_lacks_a_process_that_is_idle() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = one.counter("jobs_total", "").unwrap();
    jobs.add(5);
    two.counter("jobs_total", "").unwrap().add(7);
    let store = quiet(&server.url(), &one);
    let idle = quiet(&server.url(), &two);
    idle.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 12.0);
    let () = server.run_command(&["FLUSHALL"]);
    jobs.inc();
    // What is missing in Redis was read before.
    for counted in 0..3 {
        let page = view(&store);
        assert_eq!(page.get("jobs_total", &[]), Some(13.0 + f64::from(counted)));
        assert_eq!(page.get("tallies_share_up", &[]), Some(0.0));
        jobs.inc();
    }
    let error = store.overview_blocking().unwrap_err().to_string();
    assert!(
        error.contains("1 processes have not sent theirs"),
        "{error}"
    );
    idle.flush_blocking().unwrap();
    assert_eq!(total(&store, "tallies_share_up"), 1.0);
    assert_eq!(total(&store, "jobs_total"), 16.0);
    assert_eq!(total(&idle, "jobs_total"), 16.0);
}

#[test]
fn after_a_wipe_a_page_that_may_not_be_old_is_an_error() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    two.counter("jobs_total", "").unwrap().add(7);
    let strict = builder(&server.url(), &one).serve_stale_for(Duration::ZERO);
    let strict = strict.start().unwrap();
    let idle = quiet(&server.url(), &two);
    idle.flush_blocking().unwrap();
    assert_eq!(total(&strict, "jobs_total"), 7.0);
    let () = server.run_command(&["FLUSHALL"]);
    let error = strict.try_snapshot_into(&mut Snapshot::default());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("1 processes have not sent theirs"),
        "{error}"
    );
    assert!(error.contains("Redis, namespace `test`"), "{error}");
    idle.flush_blocking().unwrap();
    assert_eq!(total(&strict, "jobs_total"), 7.0);
}

/// It had nothing to send until its next sign of life.
#[test]
fn an_idle_process_sends_again_what_a_wipe_took_within_a_flush() {
    let server = Server::start();
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().add(7);
    let _idle = awake(&server.url(), &registry);
    let writers = || server.keys("*}:w:*").len();
    for _ in 0..3 {
        eventually("the process is there", || writers() == 1);
        let () = server.run_command(&["FLUSHALL"]);
    }
    eventually("the process is there again", || writers() == 1);
    // What was folded of it, too.
    let other = quiet(&server.url(), &Registry::new());
    fold_others(&other, 1);
    eventually("it is there under another name", || writers() == 2);
    let () = server.run_command(&["DEL", &server.keys("*}:acc")[0]]);
    assert_eq!(whole(&other).get("jobs_total", &[]), Some(7.0));
}

/// Redis evicts keys one by one. Until a process knew that what had been folded of it was gone, no
/// page had it.
#[test]
fn without_the_folded_totals_no_page_lacks_what_was_folded_of_a_live_process() {
    let server = Server::start();
    let (store, other, _theirs) = evict_the_folded_totals(&server);
    assert_eq!(total(&store, "jobs_total"), 6.0);
    other.flush_blocking().unwrap();
    assert_eq!(total(&store, "tallies_share_up"), 1.0);
    assert_eq!(total(&store, "jobs_total"), 6.0);
}

/// A page went back to the numbers of the dump, until the process had something to send.
#[test]
fn a_server_that_comes_back_with_an_older_dump_takes_no_page_back() {
    let mut server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let store = quiet(&server.url(), &one);
    let idle = awake(&server.url(), &two);
    let theirs = two.counter("jobs_total", "").unwrap();
    theirs.add(7);
    idle.flush_blocking().unwrap();
    let () = server.run_command(&["SAVE"]);
    theirs.add(2);
    idle.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 9.0);
    server.restart();
    eventually("the page is whole", || {
        let page = view(&store);
        assert_eq!(page.get("jobs_total", &[]), Some(9.0));
        page.get("tallies_share_up", &[]) == Some(1.0)
    });
}

/// It cannot send anything again. The others have not to wait for longer than it could live.
#[test]
fn a_process_that_was_killed_before_a_wipe_is_awaited_until_its_gauges_would_expire() {
    let server = Server::start();
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().add(5);
    let mut killed = Process::start(&server.url(), "test");
    assert_eq!(killed.tell("count 100"), "ok");
    assert_eq!(killed.tell("flush"), "ok");
    let ttl = Duration::from_secs(2);
    let store = builder(&server.url(), &registry).refresh_every(ttl / 4);
    let store = store.gauge_ttl(ttl).start().unwrap();
    assert_eq!(total(&store, "jobs_total"), 105.0);
    killed.kill();
    let () = server.run_command(&["FLUSHALL"]);
    let begun = Instant::now();
    let mut before = 105.0;
    eventually("the page is whole", || {
        let page = view(&store);
        let is_whole = page.get("tallies_share_up", &[]) == Some(1.0);
        before = page.get("jobs_total", &[]).unwrap();
        assert_eq!(before, if is_whole { 5.0 } else { 105.0 });
        is_whole
    });
    assert!(begun.elapsed() >= ttl);
}

/// Sets a flag when it is dropped.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Four processes, one of which is idle and one of which has so many series that it sends them in
/// parts, and a page of each of them, all the time.
#[test]
fn no_page_goes_back_or_jumps_when_redis_is_wiped_again_and_again() {
    const SERIES: usize = 5_000;
    const WIPES: usize = 8;
    let mut server = Server::start();
    let registries = [(); 4].map(|()| Registry::new());
    let stores: Vec<_> = registries.iter().map(|r| awake(&server.url(), r)).collect();
    let families = registries.each_ref().map(|registry| {
        let family = Counter::builder("jobs_total", "Jobs.").labels(["queue"]);
        family.limit(2 * SERIES).register(registry).unwrap()
    });
    (0..SERIES).for_each(|i| families[0].with([&*format!("q{i}")]).add(2));
    families[1].with(["idle"]).add(1_000);
    stores
        .iter()
        .for_each(|store| store.flush_blocking().unwrap());
    let counted = AtomicU64::new(2 * SERIES as u64 + 1_000);
    let sum = |page: &Snapshot| -> u64 {
        let values = page.family("jobs_total").unwrap().series();
        let values = values.map(|(_, value)| match value {
            tallies::snapshot::Value::Counter(n) => n.as_f64() as u64,
            _ => unreachable!("a counter"),
        });
        values.sum()
    };
    let is_done = AtomicBool::new(false);
    let begun = Instant::now();
    let whole_pages = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        // Also after a page that was wrong.
        let done = SetAtEnd(&is_done);
        scope.spawn(|| {
            while !is_done.load(Relaxed) {
                counted.fetch_add(1, Relaxed);
                families[2].with(["busy"]).inc();
                std::thread::yield_now();
            }
        });
        for (at, store) in stores.iter().enumerate() {
            let (is_done, counted, whole_pages) = (&is_done, &counted, &whole_pages);
            let sum = &sum;
            scope.spawn(move || {
                let (mut before, mut second) = (0, 0);
                eventually("all processes are there", || sum(&view(store)) >= 11_000);
                while !is_done.load(Relaxed) {
                    let page = view(store);
                    let (now, most) = (sum(&page), counted.load(Relaxed));
                    assert!(now >= before, "page {at}: {now} after {before}");
                    assert!(now <= most, "page {at}: {now} of {most}");
                    before = now;
                    let up = page.get("tallies_share_up", &[]).unwrap();
                    whole_pages.fetch_add(up as u64, Relaxed);
                    if begun.elapsed().as_secs() > second {
                        second = begun.elapsed().as_secs();
                        println!("page {at}, second {second}: {now}, up {up}");
                    }
                }
            });
        }
        for wipe in 0..WIPES {
            let pages = whole_pages.load(Relaxed);
            eventually("pages are whole", || whole_pages.load(Relaxed) > pages + 40);
            println!("wipe {wipe} after {:?}", begun.elapsed());
            match wipe % 4 {
                3 => server.restart(),
                _ => server.run_command::<()>(&["FLUSHALL"]),
            }
        }
        let pages = whole_pages.load(Relaxed);
        eventually("pages are whole", || whole_pages.load(Relaxed) > pages + 40);
        drop(done);
    });
    for store in &stores {
        assert_eq!(sum(&whole(store)), counted.load(Relaxed));
    }
}
