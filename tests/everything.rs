//! Updates every kind from eight threads, by static, by bound series and by look-up, while another
//! thread scrapes without pause. Series are promoted and expire, slabs grow, threads start and end.
//! Totals and family sums are exact, nothing ever decreases, and no histogram is torn.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

use tallies::event::{Event, Events};
use tallies::snapshot::Value;
use tallies::{
    Counter, Histogram, LabelValue, Labels, Registry, UpDownCounter, snapshot::Snapshot,
};

const THREADS: u64 = 8;
/// Updates per thread, divided among the kinds below.
const UPDATES: u64 = if cfg!(debug_assertions) {
    100_000
} else {
    1_000_000
};
const BOUNDS: &[f64] = &[1.0, 2.0, 4.0, 8.0];

/// One of the metrics under test.
#[tallies::metric]
static PLAIN: Counter = Counter::new("all_plain_total");
/// One of the metrics under test.
#[tallies::metric]
static FLOAT: Counter<(), f64> = Counter::new("all_float_total");
/// One of the metrics under test.
#[tallies::metric]
static HISTOGRAM: Histogram = Histogram::new("all_observations").buckets(BOUNDS);
/// One of the metrics under test.
#[tallies::metric]
static IN_FLIGHT: UpDownCounter = UpDownCounter::new("all_in_flight");

#[derive(LabelValue, Clone, Copy)]
enum Method {
    Get,
    Post,
}

#[derive(Labels)]
struct Closed {
    method: Method,
    ok: bool,
}

#[derive(Labels)]
struct Open<'a> {
    route: &'a str,
    status: u16,
}

/// One of the metrics under test.
#[tallies::metric]
static CLOSED: Counter<Closed> = Counter::new("all_closed_total");
/// One of the metrics under test.
#[tallies::metric]
static OPEN: Counter<Open> = Counter::new("all_open_total");
/// Series of this family come and go: each expires between any two scrapes that find it unchanged.
#[tallies::metric]
static MORTAL: Counter<Open> = Counter::new("all_mortal_total").expire_after(Duration::ZERO);
/// One of the metrics under test.
#[tallies::metric]
static MORTAL_HISTOGRAM: Histogram<Open> = Histogram::new("all_mortal_observations")
    .buckets(BOUNDS)
    .expire_after(Duration::ZERO);

/// Some of the metrics under test.
#[tallies::metric]
static EVENTS: Events<Deed, Open> = Events::new();
/// Some of the metrics under test, whose series come and go.
#[tallies::metric]
static MORTAL_EVENTS: Events<MortalDeed, Open> = Events::new().expire_after(Duration::ZERO);

#[derive(Event)]
struct Deed {
    all_deeds_total: u64,
    all_deed_bytes_total: u64,
    #[metric(buckets = [1.0, 2.0, 4.0, 8.0])]
    all_deed_observations: f64,
}

#[derive(Event)]
struct MortalDeed {
    all_mortal_deeds_total: u64,
    all_mortal_deed_bytes_total: u64,
    #[metric(buckets = [1.0, 2.0, 4.0, 8.0])]
    all_mortal_deed_observations: f64,
}

/// Performs one round of ten updates.
fn round(i: u64) {
    const ROUTES: [&str; 3] = ["/", "/users", "/very/long/path/that/is/not/short"];
    let route = ROUTES[(i % 3) as usize];
    let status = 200 + (i % 2) as u16;
    PLAIN.inc();
    FLOAT.add(0.5);
    HISTOGRAM.observe((i % 10) as f64);
    IN_FLIGHT.inc();
    CLOSED
        .with(Closed {
            method: if i % 2 == 0 {
                Method::Get
            } else {
                Method::Post
            },
            ok: i % 3 == 0,
        })
        .inc();
    OPEN.with(Open { route, status }).inc();
    MORTAL.with(Open { route, status }).inc();
    MORTAL_HISTOGRAM
        .with(Open { route, status })
        .observe((i % 10) as f64);
    let value = (i % 10) as f64;
    EVENTS.with(Open { route, status }).record(Deed {
        all_deeds_total: 1,
        all_deed_bytes_total: 7,
        all_deed_observations: value,
    });
    MORTAL_EVENTS
        .with(Open { route, status })
        .record(MortalDeed {
            all_mortal_deeds_total: 1,
            all_mortal_deed_bytes_total: 7,
            all_mortal_deed_observations: value,
        });
    IN_FLIGHT.dec();
    PLAIN.add(1);
}

const ROUND: u64 = 10;

/// Checks that nothing decreases: every counter's series, every family's sum, every bucket.
#[derive(Default)]
struct Watch {
    seen: HashMap<String, f64>,
}

impl Watch {
    fn never_back(&mut self, what: String, now: f64) {
        let before = self.seen.entry(what.clone()).or_default();
        assert!(*before <= now, "{what} went back from {before} to {now}");
        *before = now;
    }

    /// Checks that the metrics of an event show the same events, series by series.
    fn whole(snapshot: &Snapshot, [events, bytes, observed]: [&str; 3]) {
        let values = |name| {
            // Where the linker lists no statics, the first event makes the family.
            let series = snapshot.family(name).map(|family| family.series());
            series
                .into_iter()
                .flatten()
                .map(|(labels, value)| {
                    (
                        format!("{labels:?}"),
                        match value {
                            Value::Counter(n) => n.as_f64(),
                            Value::Histogram(h) => h.count() as f64,
                            _ => unreachable!("no other kind is in an event"),
                        },
                    )
                })
                .collect::<HashMap<_, _>>()
        };
        let (events, bytes, observed) = (values(events), values(bytes), values(observed));
        assert_eq!(events, observed);
        let expected: HashMap<_, _> = events.into_iter().map(|(l, n)| (l, 7.0 * n)).collect();
        assert_eq!(bytes, expected);
    }

    fn look(&mut self, snapshot: &Snapshot) {
        Self::whole(
            snapshot,
            [
                "all_deeds_total",
                "all_deed_bytes_total",
                "all_deed_observations",
            ],
        );
        Self::whole(
            snapshot,
            [
                "all_mortal_deeds_total",
                "all_mortal_deed_bytes_total",
                "all_mortal_deed_observations",
            ],
        );
        for family in snapshot.families().filter(|f| f.name().starts_with("all_")) {
            let mortal = family.name().contains("mortal");
            let mut sum = 0.0;
            for (labels, value) in family.series() {
                let what = format!("{}{labels:?}", family.name());
                match value {
                    Value::Counter(n) => {
                        sum += n.as_f64();
                        if !mortal {
                            self.never_back(what, n.as_f64());
                        }
                    }
                    Value::Gauge(x) => {
                        assert!(x >= 0.0, "{what} is {x}");
                    }
                    Value::Histogram(h) => {
                        sum += h.count() as f64;
                        not_torn(&what, h);
                        if !mortal {
                            for (le, count) in h.buckets() {
                                self.never_back(format!("{what} {le}"), count as f64);
                            }
                        }
                    }
                    _ => unreachable!("no other kind is declared here"),
                }
            }
            self.never_back(format!("sum of {}", family.name()), sum);
        }
    }
}

/// Checks that a histogram's sum fits its buckets. Observed values are whole numbers below ten, so
/// the buckets bound the sum closely enough to detect a sum of other observations.
fn not_torn(what: &str, h: tallies::snapshot::Histogram<'_>) {
    let buckets: Vec<_> = h.buckets().map(|(_, count)| count).collect();
    assert_eq!(buckets.last(), Some(&h.count()), "{what}");
    let own: Vec<f64> = (0..buckets.len())
        .map(|i| (buckets[i] - if i == 0 { 0 } else { buckets[i - 1] }) as f64)
        .collect();
    let low = [0.0, 2.0, 3.0, 5.0, 9.0];
    let high = [1.0, 2.0, 4.0, 8.0, 9.0];
    let at_least: f64 = own.iter().zip(low).map(|(n, x)| n * x).sum();
    let at_most: f64 = own.iter().zip(high).map(|(n, x)| n * x).sum();
    assert!(
        at_least <= h.sum() && h.sum() <= at_most,
        "{what}: {own:?} sum {}",
        h.sum()
    );
}

#[test]
fn every_kind_under_scrapes() {
    let done = AtomicBool::new(false);
    let rounds = UPDATES / ROUND;
    let scrapes = AtomicU64::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut watch = Watch::default();
            let mut snapshot = Snapshot::default();
            while !done.load(Relaxed) {
                tallies::registry().snapshot_into(&mut snapshot);
                watch.look(&snapshot);
                scrapes.fetch_add(1, Relaxed);
            }
            watch
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    // Each part of the work runs on a thread of its own, so that threads start and
                    // end.
                    for part in 0..10 {
                        while scrapes.load(Relaxed) < part / 2
                            && begin.elapsed() < Duration::from_secs(60)
                        {
                            std::thread::yield_now();
                        }
                        std::thread::spawn(move || {
                            for i in part * rounds / 10..(part + 1) * rounds / 10 {
                                round(i);
                            }
                        })
                        .join()
                        .unwrap();
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Relaxed);
        let mut watch = watcher.join().unwrap();
        watch.look(&tallies::snapshot());
    });
    assert!(scrapes.load(Relaxed) > 3, "scraped while it ran");

    let n = (THREADS * rounds) as f64;
    let sum_of = |snapshot: &Snapshot, name: &str| -> f64 {
        snapshot
            .family(name)
            .unwrap()
            .series()
            .map(|(_, value)| match value {
                Value::Counter(n) => n.as_f64(),
                Value::Histogram(h) => h.count() as f64,
                _ => unreachable!("not asked for"),
            })
            .sum()
    };
    // A few more scrapes let every mortal series expire and be folded, and its cells be zeroed.
    for _ in 0..20 {
        let now = tallies::snapshot();
        assert_eq!(now.get("all_plain_total", &[]), Some(2.0 * n));
        assert_eq!(now.get("all_float_total", &[]), Some(0.5 * n));
        assert_eq!(now.get("all_in_flight", &[]), Some(0.0));
        assert_eq!(now.get("all_observations_count", &[]), Some(n));
        assert_eq!(
            now.get("all_observations_sum", &[]),
            Some(THREADS as f64 * 4.5 * rounds as f64)
        );
        for name in [
            "all_closed_total",
            "all_open_total",
            "all_mortal_total",
            "all_mortal_observations",
            "all_deeds_total",
            "all_mortal_deeds_total",
        ] {
            assert_eq!(sum_of(&now, name), n, "{name}");
        }
    }
    assert_eq!(PLAIN.get(), 2 * THREADS * rounds);
    let closed = CLOSED.get_all();
    assert_eq!(closed.len(), 4);
    assert_eq!(closed.iter().map(|(_, n)| n).sum::<u64>(), THREADS * rounds);
    assert_eq!(OPEN.get_all().len(), 6);
    assert!(MORTAL.is_empty(), "all of it has expired");
}

/// A series that was removed between an `inc` and its `dec` showed the `dec` alone, because the
/// scrape read the overflow series after the removed series. There are more threads than
/// processors, so that some are preempted in the middle of an update. With the old order this test
/// failed about once in twenty seconds; the loom model of the same name fails at once.
#[test]
fn in_flight_is_never_below_zero_while_series_end() {
    let registry = tallies::Registry::new();
    let in_flight = UpDownCounter::builder("in_flight", "")
        .labels(["peer"])
        .register(&registry)
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    let series = in_flight.with(["a"]);
                    series.inc();
                    series.dec();
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Relaxed) {
                in_flight.retire(["a"]);
                std::thread::yield_now();
            }
        });
        let mut snapshot = Snapshot::default();
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            registry.snapshot_into(&mut snapshot);
            for (labels, value) in snapshot.family("in_flight").unwrap().series() {
                let Value::Gauge(value) = value else {
                    unreachable!("an up-down counter is a gauge");
                };
                if value < 0.0 {
                    done.store(true, Relaxed);
                    panic!("{labels:?} is {value}");
                }
            }
        }
        done.store(true, Relaxed);
    });
    assert_eq!(
        in_flight.get_all().iter().map(|(_, n)| n).sum::<i64>(),
        0,
        "all series that live have come down"
    );
}

/// A look-up read the generation of its series after it had given the index back. If the series was
/// retired in between, the thread remembered the next label set's series under its own labels.
#[test]
fn label_sets_that_come_and_go_never_share_a_series() {
    let registry = Registry::new();
    let family = Counter::builder("f_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    family.with(["a"]).inc();
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Relaxed) {
                family.retire(["a"]);
                drop(registry.snapshot());
            }
        });
        let end = Instant::now() + Duration::from_secs(4);
        let (mut i, mut seen) = (0_u64, 1);
        while Instant::now() < end && seen == 1 {
            let label = i.to_string();
            i += 1;
            let series = family.with([&label]);
            series.inc();
            std::thread::yield_now();
            seen = series.get();
            family.retire([&label]);
        }
        done.store(true, Relaxed);
        assert_eq!(seen, 1, "another label set counted in series {i}");
    });
}
