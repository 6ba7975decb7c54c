//! Every kind is read from the file of a process that was killed.

use tallies::event::{Event, Events};
use tallies::{
    Counter, Gauge, Histogram, Info, LabelValue, Labels, StateSet, Summary, UpDownCounter,
};

use crate::support::{Directory, child, kill_self};

static ALONE: Counter = Counter::new("alone_total");
static SECONDS: Counter<(), f64> = Counter::new("seconds_total");
static LEVEL: Gauge = Gauge::new("level");
static IN_FLIGHT: UpDownCounter = UpDownCounter::new("in_flight");
static LATENCY: Histogram = Histogram::new("latency_seconds").buckets(&[0.1, 1.0]);
static NATIVE: Histogram = Histogram::new("native_seconds").native(3);
static SIZES: Summary = Summary::new("sizes");
static PEERS: Counter<[&str; 1]> = Counter::labelled("peers_total", &["peer"]);
static ROOMS: Gauge<[&str; 1]> = Gauge::labelled("rooms", &["room"]);
static SLOW: Histogram<[&str; 1]> =
    Histogram::labelled("slow_seconds", &["peer"]).buckets(&[0.1, 1.0]);
static DEEDS: Events<Deed, [&str; 1]> = Events::labelled(&["peer"]);
static MODE: StateSet<Up> = StateSet::new("mode");

/// The first metric is not that of the first counter.
#[derive(Event)]
struct Deed {
    #[metric(name = "deed_seconds", buckets = [0.1, 1.0])]
    took: Option<f64>,
    deeds_total: u64,
    deed_bytes_total: u64,
}

#[derive(Labels)]
struct Direction {
    up: Up,
}

#[derive(LabelValue, Clone, Copy)]
enum Up {
    Yes,
    No,
}

static CLOSED: Counter<Direction> = Counter::new("closed_total");

fn update(n: u64) {
    for i in 0..n {
        ALONE.inc();
        SECONDS.add(0.5);
        LEVEL.set(i as f64);
        IN_FLIGHT.inc();
        if i % 2 == 0 {
            IN_FLIGHT.dec();
        }
        LATENCY.observe((i % 3) as f64);
        NATIVE.observe(i as f64);
        SIZES.observe(i as f64);
        PEERS.with(["a"]).inc();
        PEERS.with([if i % 2 == 0 { "even" } else { "odd" }]).inc();
        ROOMS.with(["hall"]).add(1.0);
        SLOW.with(["a"]).observe(0.5);
        let took = (i % 2 == 0).then_some(0.5);
        DEEDS.with(["a"]).record(Deed {
            took,
            deeds_total: 1,
            deed_bytes_total: 7,
        });
        CLOSED.with(Direction { up: Up::Yes }).inc();
    }
    MODE.set(Up::No);
}

/// Checks what `total` rounds of `update` count. The last call had `n` rounds.
fn check(directory: &Directory, total: u64, n: u64) {
    let snapshot = directory.read();
    let get = |name, labels: &[(&str, &str)]| {
        snapshot
            .get(name, labels)
            .unwrap_or_else(|| panic!("{name} {labels:?}"))
    };
    let count = total as f64;
    assert_eq!(get("alone_total", &[]), count);
    assert_eq!(get("seconds_total", &[]), count / 2.0);
    assert_eq!(get("in_flight", &[]), (count / 2.0).floor());
    assert_eq!(get("level", &[]), n as f64 - 1.0);
    assert_eq!(get("rooms", &[("room", "hall")]), count);
    assert_eq!(get("mode", &[("mode", "no")]), 1.0);
    assert_eq!(get("peers_total", &[("peer", "a")]), count);
    assert_eq!(
        get("peers_total", &[("peer", "even")]),
        (count / 2.0).ceil()
    );
    assert_eq!(get("deeds_total", &[("peer", "a")]), count);
    assert_eq!(get("deed_bytes_total", &[("peer", "a")]), 7.0 * count);
    assert_eq!(get("closed_total", &[("up", "yes")]), count);
    assert_eq!(get("closed_total", &[("up", "no")]), 0.0);
    let page = tallies::encode::text(&snapshot);
    for line in [
        format!("latency_seconds_count {total}\n"),
        format!("native_seconds_count {total}\n"),
        format!("slow_seconds_count{{peer=\"a\"}} {total}\n"),
        format!("slow_seconds_sum{{peer=\"a\"}} {}\n", count / 2.0),
        format!("sizes_count {total}\n"),
        format!(
            "deed_seconds_bucket{{peer=\"a\",le=\"1.0\"}} {}\n",
            total.div_ceil(2)
        ),
        format!("deed_seconds_count{{peer=\"a\"}} {}\n", total.div_ceil(2)),
    ] {
        assert!(page.contains(&line), "{line}");
    }
}

/// Regression: other processes showed labels that a view drops from a metric of an event.
#[test]
fn a_label_that_a_view_drops_is_in_no_other_process() {
    if let Some(path) = child() {
        let view = tallies::View::new("deed_bytes_total").drop_label("peer");
        tallies::registry().add_view(view).unwrap();
        tallies::share::dir(path).unwrap();
        for peer in ["a", "b"] {
            DEEDS.with([peer]).record(Deed {
                took: None,
                deeds_total: 1,
                deed_bytes_total: 7,
            });
        }
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("kinds::a_label_that_a_view_drops_is_in_no_other_process");
    let snapshot = directory.read();
    assert_eq!(snapshot.get("deed_bytes_total", &[]), Some(14.0));
    assert_eq!(snapshot.get("deeds_total", &[("peer", "b")]), Some(1.0));
}

/// A metric that was removed stayed on the pages of other processes, if it was part of an event.
#[test]
fn a_metric_that_is_removed_is_in_no_other_process() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        update(10);
        for name in ["deed_bytes_total", "peers_total"] {
            tallies::registry().remove(name).unwrap();
        }
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("kinds::a_metric_that_is_removed_is_in_no_other_process");
    let snapshot = directory.read();
    for name in ["deed_bytes_total", "peers_total"] {
        assert!(snapshot.family(name).is_none(), "{name}");
    }
    assert_eq!(snapshot.get("deeds_total", &[("peer", "a")]), Some(10.0));
    let observed = snapshot.get("deed_seconds_count", &[("peer", "a")]);
    assert_eq!(observed, Some(5.0));
}

const MANY: u64 = 5000;

#[test]
fn a_process_that_was_killed_has_counted_everything() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        update(MANY);
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("kinds::a_process_that_was_killed_has_counted_everything");
    check(&directory, MANY, MANY);
}

#[test]
fn cold_series_are_in_the_file() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        update(10);
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("kinds::cold_series_are_in_the_file");
    check(&directory, 10, 10);
}

#[test]
fn what_was_counted_before_is_carried_over() {
    if let Some(path) = child() {
        update(2000);
        tallies::share::dir(path).unwrap();
        update(MANY);
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("kinds::what_was_counted_before_is_carried_over");
    check(&directory, 2000 + MANY, MANY);
}

#[test]
fn threads_that_end_leave_their_counts_in_the_file() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        for _ in 0..5 {
            let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| update(500))).collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            // Folds idle shards.
            (0..4).for_each(|_| drop(tallies::snapshot()));
        }
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("kinds::threads_that_end_leave_their_counts_in_the_file");
    check(&directory, 10_000, 500);
}

/// A gauge, an up-down counter or an info that was cleared made the file look damaged.
#[test]
fn families_that_were_cleared_begin_again() {
    static UP: UpDownCounter<[&str; 1]> = UpDownCounter::labelled("up", &["peer"]);
    static INFO: Info<[&str; 1]> = Info::labelled("own_info", &["peer"]);
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        for _ in 0..2 {
            UP.clear();
            INFO.clear();
            PEERS.clear();
            ROOMS.clear();
            SLOW.clear();
            update(10);
            UP.with(["a"]).inc();
            INFO.set(["a"]);
        }
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("kinds::families_that_were_cleared_begin_again");
    let read = directory.read();
    for (name, label, value) in [
        ("peers_total", ("peer", "a"), 10.0),
        ("rooms", ("room", "hall"), 10.0),
        ("up", ("peer", "a"), 1.0),
        ("own_info", ("peer", "a"), 1.0),
    ] {
        assert_eq!(read.get(name, &[label]), Some(value), "{name}");
    }
    let page = tallies::encode::text(&read);
    assert!(
        page.contains("slow_seconds_count{peer=\"a\"} 10\n"),
        "{page}"
    );
}
