//! Bad input and bad conditions: no update is lost, no panic reaches the program, memory is
//! bounded.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::support::page;
use tallies::{Counter, Gauge, Histogram, Registry, UpDownCounter};

#[test]
fn threads_by_the_thousand_lose_nothing() {
    static C: Counter = Counter::new("trouble_threads_total");
    static F: Counter<(), f64> = Counter::new("trouble_threads_float_total");
    static H: Histogram = Histogram::new("trouble_threads_histogram");
    // The series are hot before the threads start, so the threads count in their shards.
    (0..2000).for_each(|_| {
        C.inc();
        F.add(0.5);
        H.observe(1.0);
    });
    let before = tallies::snapshot();
    for _ in 0..100 {
        let threads: Vec<_> = (0..20)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..50 {
                        C.inc();
                        F.add(0.5);
                        H.observe(1.0);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
    }
    let now = tallies::snapshot().since(&before);
    assert_eq!(now.get("trouble_threads_total", &[]), Some(100_000.0));
    assert_eq!(now.get("trouble_threads_float_total", &[]), Some(50_000.0));
    assert_eq!(
        now.get("trouble_threads_histogram_count", &[]),
        Some(100_000.0)
    );
    assert_eq!(
        now.get("trouble_threads_histogram_sum", &[]),
        Some(100_000.0)
    );
    let shards = tallies::snapshot().get("tallies_shards", &[]).unwrap();
    assert!(
        shards < 200.0,
        "{shards} shards for some 20 threads at once"
    );
}

/// Destructors of thread-locals run in any order. An update from one of them may find no shard, but
/// still counts.
#[test]
fn an_update_while_its_thread_ends_counts() {
    static C: Counter = Counter::new("trouble_exit_total");
    static LABELLED: Counter<[&str; 1]> = Counter::labelled("trouble_exit_labelled_total", &["x"]);
    static H: Histogram = Histogram::new("trouble_exit_histogram");
    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            C.inc();
            H.observe(1.0);
            LABELLED.with(["late"]).inc();
        }
    }
    thread_local! {
        static FIRST: RefCell<Option<Late>> = const { RefCell::new(None) };
        static LAST: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    (0..2000).for_each(|_| {
        C.inc();
        H.observe(1.0);
    });
    for _ in 0..50 {
        std::thread::spawn(|| {
            FIRST.with(|late| *late.borrow_mut() = Some(Late));
            C.inc();
            LABELLED.with(["early"]).inc();
            LAST.with(|late| *late.borrow_mut() = Some(Late));
        })
        .join()
        .unwrap();
    }
    assert_eq!(C.get(), 2000 + 150);
    assert_eq!(H.get().count(), 2000 + 100);
    assert_eq!(
        LABELLED.find(["late"]).map(|series| series.get()),
        Some(100)
    );
    assert_eq!(
        LABELLED.find(["early"]).map(|series| series.get()),
        Some(50)
    );
}

#[test]
fn any_text_is_a_label_value() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "q\"uo\\te\nd")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let long = "ä\"\\\n".repeat(250_000);
    let values = [
        "",
        "\"",
        "\\",
        "\n",
        "\\n",
        "\r\n",
        "a\"b",
        "a\\\"b",
        "\u{0}\u{7f}\u{85}",
        "👩‍🔬",
        "},{",
        &long,
    ];
    for value in values {
        c.with([value]).inc();
        c.with([value]).inc();
    }
    let (_, families) = page(&registry);
    assert_eq!(families[0].help, "q\"uo\\te\nd");
    let read: Vec<_> = families[0]
        .samples
        .iter()
        .map(|s| (&*s.labels[0].1, s.value))
        .collect();
    assert_eq!(read, values.map(|value| (value, 2.0)));
    for value in values {
        assert_eq!(c.find([value]).map(|series| series.get()), Some(2));
        assert_eq!(
            registry.snapshot().get("c_total", &[("x", value)]),
            Some(2.0),
            "{value:?}"
        );
    }
}

/// A million label values: the number of series is bounded, and no update is lost.
#[test]
fn a_label_bomb_is_bounded() {
    const BOMB: u64 = 1_000_000;
    let registry = Registry::new();
    let c = Counter::builder("bomb_total", "")
        .labels(["id"])
        .limit(1000)
        .register(&registry)
        .unwrap();
    registry.set_self_metrics(true);
    std::thread::scope(|s| {
        for t in 0..2 {
            let c = &c;
            s.spawn(move || {
                for i in (t..BOMB).step_by(2) {
                    c.with([&i.to_string()]).inc();
                }
            });
        }
    });
    let now = registry.snapshot();
    let family = now.family("bomb_total").unwrap();
    assert_eq!(family.len(), 1001);
    assert_eq!(
        now.get("bomb_total", &[("id", "__overflow__")]),
        Some((BOMB - 1000) as f64)
    );
    assert_eq!(
        now.get(
            "tallies_overflowed_updates_total",
            &[("family", "bomb_total")]
        ),
        Some((BOMB - 1000) as f64)
    );
    page(&registry);
}

#[test]
fn handles_outlive_their_registry() {
    let registry = Registry::new();
    let c = registry.counter("c_total", "").unwrap();
    let labelled = Histogram::builder("h", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let bound = labelled.bind(["a"]);
    drop(registry);
    c.add(3);
    bound.observe(1.0);
    drop(labelled);
    bound.observe(1.0);
    assert_eq!(c.get(), 3);
    let registry = Registry::new();
    let gone = registry.gauge("gone", "").unwrap();
    registry.remove("gone").unwrap();
    gone.set(1.0);
    assert!(registry.snapshot().family("gone").is_none());
    registry.gauge("gone", "The name is free again.").unwrap();
}

/// Several threads create, update, remove, retain, clear and scrape series at once. Only sums are
/// checked, and that nothing breaks.
#[test]
fn everything_at_once() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let g = Gauge::builder("g", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let h = Histogram::builder("h", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    let u = UpDownCounter::builder("u", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    let done = AtomicBool::new(false);
    let rounds = 20_000_u64;
    std::thread::scope(|s| {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                s.spawn(|| {
                    for i in 0..rounds {
                        let x = [["a", "b", "c", "d"][i as usize % 4]];
                        // Retires series in between, however the threads are scheduled.
                        if i % 997 == 0 {
                            c.retire(["b"]);
                        }
                        c.with(x).inc();
                        g.with(x).set(i as f64);
                        h.with(x).observe(i as f64 % 10.0);
                        u.with(x).inc();
                        u.with(x).dec();
                    }
                })
            })
            .collect();
        let ended = s.spawn(|| {
            let mut ended = 0;
            while !done.load(Relaxed) {
                ended += u64::from(c.retire(["a"])) + u64::from(c.retire(["b"]));
                h.retire(["c"]);
                g.retire(["d"]);
                u.retire(["d"]);
            }
            ended
        });
        let sums = s.spawn(|| {
            let mut last = [0.0; 2];
            while !done.load(Relaxed) {
                let now = registry.snapshot();
                let sum = |name| -> f64 {
                    now.family(name)
                        .unwrap()
                        .series()
                        .map(|(_, value)| match value {
                            tallies::snapshot::Value::Counter(n) => n.as_f64(),
                            tallies::snapshot::Value::Histogram(h) => h.count() as f64,
                            _ => unreachable!(),
                        })
                        .sum()
                };
                for (last, now) in last.iter_mut().zip([sum("c_total"), sum("h")]) {
                    assert!(
                        *last <= now,
                        "a family's sum went back from {last} to {now}"
                    );
                    *last = now;
                }
            }
        });
        workers.into_iter().for_each(|w| w.join().unwrap());
        done.store(true, Relaxed);
        ended.join().unwrap();
        sums.join().unwrap();
    });
    for _ in 0..10 {
        let now = registry.snapshot();
        let total: f64 = c.get_all().iter().map(|(_, n)| *n as f64).sum::<f64>()
            + now.get("c_total", &[("x", "__overflow__")]).unwrap_or(0.0);
        assert_eq!(total, 3.0 * rounds as f64);
    }
    c.clear();
    assert!(c.is_empty());
}
