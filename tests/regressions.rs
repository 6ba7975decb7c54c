//! What went wrong once, here or in the predecessors, and must not again. Each says what it was.

mod support;

use std::time::Duration;

use support::page;
use tallies::{
    AnyLabels, Collected, Counter, Gauge, Histogram, Info, LabelValue, Labels, Registry, Snapshot,
    StateSet, Summary, UpDownCounter,
};

/// A gauge series that was removed gave back slot 0, which it never had, and counters then shared it.
#[test]
fn a_removed_gauge_gives_no_slot_back() {
    let registry = Registry::new();
    let g = Gauge::<()>::builder("g", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    for x in ["a", "b", "c", "d"] {
        g.with([x]).set(1.0);
    }
    g.clear();
    (0..5).for_each(|_| _ = registry.snapshot());
    let a = Counter::<()>::builder("a_total", "")
        .hot()
        .register(&registry)
        .unwrap();
    let b = Counter::<()>::builder("b_total", "")
        .hot()
        .register(&registry)
        .unwrap();
    a.add(5);
    b.add(7);
    assert_eq!((a.total(), b.total()), (5, 7));
}

/// Bounds given to a histogram that was live already were used with cells of another shape.
#[test]
fn bounds_given_too_late_change_nothing() {
    static MANY: [f64; 40] = {
        let mut bounds = [0.0; 40];
        let mut i = 0;
        while i < 40 {
            bounds[i] = i as f64;
            i += 1;
        }
        bounds
    };
    let registry = Registry::new();
    let neighbours: Vec<_> = (0..30)
        .map(|i| {
            Counter::<()>::builder(&format!("n{i}_total"), "")
                .hot()
                .register(&registry)
                .unwrap()
        })
        .collect();
    let h = Histogram::<()>::builder("h", "")
        .buckets(&[1.0])
        .hot()
        .register(&registry)
        .unwrap();
    h.observe(0.5);
    let h = h.buckets(&MANY);
    for i in 0..3000 {
        h.observe(f64::from(i));
    }
    assert_eq!(h.total().counts.len(), 2);
    assert_eq!(h.total().count(), 3001);
    assert!(neighbours.iter().all(|n| n.total() == 0));
}

/// With more bounds than the family's its combinations seemed too many for a row, and were updated before they had one.
#[test]
fn bounds_given_too_late_break_no_row() {
    #[derive(Labels)]
    struct Outcome {
        outcome: bool,
    }
    static MANY: [f64; 2000] = {
        let mut bounds = [0.0; 2000];
        let mut i = 0;
        while i < 2000 {
            bounds[i] = i as f64;
            i += 1;
        }
        bounds
    };
    let registry = Registry::new();
    let h = Histogram::<Outcome>::builder("h", "")
        .buckets(&[1.0])
        .hot()
        .register(&registry)
        .unwrap();
    let h = h.buckets(&MANY);
    let no = Outcome { outcome: false };
    h.with(no).observe(0.5);
    for outcome in [false, true] {
        h.bind(Outcome { outcome }).observe(0.5);
    }
    let seen = [false, true].map(|outcome| h.get(Outcome { outcome }).unwrap().counts);
    assert_eq!(seen, [[2, 0], [1, 0]]);
}

/// A snapshot that was used again kept the bounds of a histogram that had been replaced.
#[test]
fn a_reused_snapshot_follows_new_bounds() {
    let registry = Registry::new();
    let mut snapshot = Snapshot::default();
    for bounds in [&[1.0, 2.0, 3.0][..], &[5.0], &[1.0, 50.0]] {
        let h = Histogram::<()>::builder("h", "")
            .buckets(bounds)
            .register(&registry)
            .unwrap();
        h.observe(25.0);
        registry.snapshot_into(&mut snapshot);
        assert_eq!(snapshot.get("h_count", &[]), Some(1.0));
        assert_eq!(snapshot.get("h_sum", &[]), Some(25.0));
        registry.remove("h").unwrap();
    }
}

/// Counts of an unlabelled family that came in through `with` or `bind` were nowhere to be seen.
#[test]
fn no_labels_are_a_label_set_too() {
    let registry = Registry::new();
    let c = registry.counter("c_total", "").unwrap();
    c.with(()).inc();
    c.bind(()).inc();
    c.inc();
    assert_eq!((c.total(), c.get(())), (3, Some(3)));
    assert_eq!(c.get_all(), [(vec![], 3)]);
    assert_eq!(registry.snapshot().get("c_total", &[]), Some(3.0));
    let empty = Counter::<()>::builder("e_total", "")
        .labels([])
        .register(&registry)
        .unwrap();
    empty.with([]).add(3);
    assert_eq!(registry.snapshot().get("e_total", &[]), Some(3.0));
    assert!(!empty.remove([]));
}

/// A guard that outlived its series counted down where nothing had counted up.
#[test]
fn in_flight_is_not_below_zero_when_its_series_ends() {
    let registry = Registry::new();
    let f = UpDownCounter::<()>::builder("f", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let guard = f.with(["a"]).track();
    f.remove(["a"]);
    let sum = || -> f64 {
        registry
            .snapshot()
            .family("f")
            .unwrap()
            .series()
            .map(|(_, v)| match v {
                tallies::snapshot::Value::Gauge(x) => {
                    assert!(x >= 0.0);
                    x
                }
                _ => unreachable!(),
            })
            .sum()
    };
    (0..5).for_each(|_| assert_eq!(sum(), 1.0));
    drop(guard);
    (0..5).for_each(|_| assert_eq!(sum(), 0.0));
    let guard = f.with(["b"]).track();
    f.clear();
    drop(guard);
    (0..5).for_each(|_| assert_eq!(sum(), 0.0));
    let idle = UpDownCounter::<()>::builder("idle", "")
        .labels(["x"])
        .expire_after(Duration::ZERO)
        .register(&registry)
        .unwrap();
    let guard = idle.with(["a"]).track();
    (0..5).for_each(|_| {
        assert_eq!(
            registry.snapshot().get("idle", &[("x", "a")]),
            Some(1.0),
            "it is in flight"
        )
    });
    drop(guard);
}

/// Two threads that said two things at once left nothing said.
#[test]
fn one_info_stands_whatever_races() {
    let registry = Registry::new();
    let leader = Info::<()>::builder("leader_info", "")
        .labels(["host"])
        .register(&registry)
        .unwrap();
    std::thread::scope(|s| {
        for host in ["a", "b"] {
            let leader = &leader;
            s.spawn(move || (0..200).for_each(|_| leader.set([host])));
        }
    });
    assert_eq!(registry.snapshot().family("leader_info").unwrap().len(), 1);

    #[derive(Labels)]
    struct Me {
        me: bool,
    }
    let info = Info::<Me>::builder("me_info", "")
        .register(&registry)
        .unwrap();
    assert!(
        registry.snapshot().family("me_info").unwrap().is_empty(),
        "nothing was said yet"
    );
    info.set(Me { me: true });
    let mut both = registry.snapshot();
    assert_eq!(both.family("me_info").unwrap().len(), 1);
    both.merge(&registry.snapshot()).unwrap();
    assert_eq!(
        both.get("me_info", &[("me", "true")]),
        Some(1.0),
        "still 1 after a merge"
    );
}

/// One series under labels in another order was two, and the page then had a series twice.
#[test]
fn labels_in_another_order_are_the_same_labels() {
    let registry = |labels: [&'static str; 2], values: [&'static str; 2]| {
        let registry = Registry::new();
        Counter::<()>::builder("c_total", "")
            .labels(labels)
            .register(&registry)
            .unwrap()
            .with(values)
            .inc();
        registry
    };
    let (one, two) = (
        registry(["b", "a"], ["1", "2"]),
        registry(["a", "b"], ["2", "1"]),
    );
    // A constant label stands in front of the others.
    let three = Registry::new();
    three.constant("b", "1").unwrap();
    Counter::<()>::builder("c_total", "")
        .labels(["a"])
        .register(&three)
        .unwrap()
        .with(["2"])
        .inc();
    let mut all = one.snapshot();
    all.merge(&two.snapshot()).unwrap();
    all.merge(&three.snapshot()).unwrap();
    assert_eq!(all.family("c_total").unwrap().len(), 1);
    assert_eq!(all.get("c_total", &[("a", "2"), ("b", "1")]), Some(3.0));
    let left = all.since(&two.snapshot());
    assert_eq!(left.get("c_total", &[("a", "2"), ("b", "1")]), Some(2.0));
}

/// A label outside the old character set was written in quotes to readers who know none, where it came with a merge.
#[test]
fn utf8_labels_stay_utf8_when_merged() {
    let (one, two) = (Registry::new(), Registry::new());
    one.counter("c_total", "").unwrap().inc();
    Counter::<()>::builder("c_total", "")
        .utf8()
        .labels(["host.name"])
        .register(&two)
        .unwrap()
        .with(["x"])
        .inc();
    let mut both = one.snapshot();
    both.merge(&two.snapshot()).unwrap();
    assert_eq!(
        tallies::encode::text(&both),
        "# TYPE c_total counter\nc_total 1\nc_total{host_name=\"x\"} 1\n"
    );
}

/// A label value could make a second overflow series, and the page then had a series twice.
#[test]
fn nothing_is_printed_twice() {
    let registry = Registry::new();
    let c = Counter::<()>::builder("c_total", "")
        .labels(["x"])
        .limit(1)
        .register(&registry)
        .unwrap();
    for x in ["a", "__overflow__", "b"] {
        c.with([x]).inc();
    }
    let any = Counter::<AnyLabels>::builder("any_total", "")
        .limit(1)
        .register(&registry)
        .unwrap();
    for x in ["a", "__overflow__", "b"] {
        any.with(&[("overflow", x)]).inc();
    }
    registry
        .collect("bad", |out: &mut Collected| {
            Ok(out.gauge("bad", "", &[("a", "1"), ("a", "2")], 1.0)?)
        })
        .unwrap();
    registry
        .collect("twice", |out: &mut Collected| {
            out.gauge("twice", "", &[("a", "1"), ("b", "2")], 1.0)?;
            Ok(out.gauge("twice", "", &[("b", "2"), ("a", "1")], 1.0)?)
        })
        .unwrap();
    let (page, _) = page(&registry);
    assert!(page.contains("c_total{x=\"__overflow__\"} 2\n"), "{page}");
    assert!(
        page.contains("any_total{overflow=\"__overflow__\"} 2\n"),
        "{page}"
    );
    assert!(
        !page.contains("\nbad") && !page.contains("\ntwice"),
        "{page}"
    );
}

/// A series that was used again inherited how long the one before had been idle.
#[test]
fn a_series_that_is_used_again_is_not_idle() {
    let registry = Registry::new();
    let g = Gauge::<()>::builder("g", "")
        .labels(["x"])
        .expire_after(Duration::from_millis(200))
        .register(&registry)
        .unwrap();
    g.with(["a"]).set(1.0);
    let _ = registry.snapshot();
    g.remove(["a"]);
    (0..5).for_each(|_| _ = registry.snapshot());
    std::thread::sleep(Duration::from_millis(250));
    g.with(["b"]).set(1.0);
    assert_eq!(registry.snapshot().get("g", &[("x", "b")]), Some(1.0));
}

/// An interval showed as a gain of the overflow series what an ended series had counted before.
#[test]
fn an_interval_does_not_count_what_has_moved() {
    let registry = Registry::new();
    let c = Counter::<()>::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    c.with(["a"]).add(5);
    let before = registry.snapshot();
    c.with(["a"]).add(2);
    c.remove(["a"]);
    let since = registry.snapshot().since(&before);
    assert_eq!(since.get("c_total", &[("x", "__overflow__")]), Some(2.0));
}

/// So it was where snapshots with other constant labels had been merged: each part has an overflow series of its own.
#[test]
fn an_interval_of_merged_parts_does_not_count_what_has_moved() {
    let parts = [None, Some("one"), Some("two")].map(|host| {
        let registry = Registry::new();
        let c = Counter::<()>::builder("c_total", "").labels(["x"]);
        let c = match host {
            Some(host) => c.constant("host", host),
            None => c,
        };
        let c = c.register(&registry).unwrap();
        c.with(["gone before"]).add(100);
        c.remove(["gone before"]);
        c.with(["a"]).add(5);
        (registry, c)
    });
    let merged = || {
        let mut all = parts[0].0.snapshot();
        for (registry, _) in &parts[1..] {
            all.merge(&registry.snapshot()).unwrap();
        }
        all
    };
    let before = merged();
    for ((_, c), more) in parts.iter().zip([1, 2, 3]) {
        c.with(["a"]).add(more);
        c.remove(["a"]);
    }
    let since = merged().since(&before);
    let x = ("x", "__overflow__");
    assert_eq!(since.get("c_total", &[x]), Some(1.0));
    for (host, more) in [("one", 2.0), ("two", 3.0)] {
        let overflow = [("host", host), x];
        assert_eq!(since.get("c_total", &overflow), Some(more), "{host}");
    }
}

/// A sum that has met both infinities, in whatever way, is not NaN.
#[test]
fn no_sum_is_ever_nan() {
    let registry = Registry::new();
    let h = registry.histogram("h", "").unwrap();
    h.observe(f64::MAX);
    h.observe(f64::MAX);
    h.observe(f64::NEG_INFINITY);
    page(&registry);
    let before = registry.snapshot();
    h.observe(1.0);
    assert!(
        !registry
            .snapshot()
            .since(&before)
            .get("h_sum", &[])
            .unwrap()
            .is_nan()
    );
    let l = Histogram::<()>::builder("l", "")
        .labels(["x"])
        .limit(0)
        .register(&registry)
        .unwrap();
    let s = Summary::<()>::builder("s", "")
        .labels(["x"])
        .limit(0)
        .register(&registry)
        .unwrap();
    let c = Counter::<(), f64>::builder("c_total", "")
        .labels(["x"])
        .limit(0)
        .register(&registry)
        .unwrap();
    l.with(["a"]).observe(f64::INFINITY);
    s.with(["a"]).observe(f64::INFINITY);
    c.with(["a"]).add(f64::MAX);
    c.with(["a"]).add(f64::MAX);
    l.clear();
    s.clear();
    c.clear();
    let sums = || {
        let now = registry.snapshot();
        let get = |name| now.get(name, &[("x", "__overflow__")]).unwrap();
        (get("l_sum"), get("s_sum"), get("c_total"))
    };
    // What is infinite stays so, but without observations there is no sum.
    assert_eq!(sums(), (0.0, 0.0, f64::INFINITY));
    l.with(["a"]).observe(1.0);
    s.with(["a"]).observe(1.0);
    assert_eq!(sums(), (f64::INFINITY, f64::INFINITY, f64::INFINITY));
    page(&registry);
}

/// An infinity that `observe` refuses was no error of its twin, and summaries had none.
#[test]
fn an_infinity_of_the_other_sign_is_an_error() {
    let registry = Registry::new();
    let h = registry.histogram("h", "").unwrap();
    let s = Summary::<()>::builder("s", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    h.try_observe(f64::INFINITY).unwrap();
    h.try_observe(f64::INFINITY).unwrap();
    s.with(["a"]).try_observe(f64::NEG_INFINITY).unwrap();
    s.with(["b"]).try_observe(-1.0).unwrap();
    for error in [
        h.try_observe(f64::NEG_INFINITY),
        h.try_observe_with(f64::NEG_INFINITY, &[("id", "x")]),
        s.with(["b"]).try_observe(f64::INFINITY),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("infinity of the other sign"), "{error}");
    }
    let error = s.with(["a"]).try_observe(f64::NAN).unwrap_err().to_string();
    assert!(error.contains("`s` observes numbers, got NaN"), "{error}");
    assert_eq!(h.total().count(), 2);
    assert_eq!(
        s.get(["a"]).unwrap().count() + s.get(["b"]).unwrap().count(),
        2
    );
}

/// A weight that was dropped was one refused update here, and as many as it stands for elsewhere.
#[test]
fn what_is_refused_many_times_is_counted_so() {
    let refused = || {
        let now = tallies::snapshot();
        now.get("tallies_refused_updates_total", &[]).unwrap()
    };
    let before = refused();
    let h = Registry::new().histogram("h", "").unwrap();
    h.observe_many(f64::NAN, 1_000_000);
    // Other tests have theirs refused meanwhile.
    assert!((1e6..2e6).contains(&(refused() - before)));
}

/// What `retain` asks may look at the family it is asked about.
#[test]
fn retain_asks_under_no_lock() {
    let registry = Registry::new();
    let c = Counter::<()>::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    c.with(["a"]).add(1);
    c.with(["b"]).add(2);
    assert_eq!(c.retain(|labels| c.get([&labels[0].1]) == Some(2)), 1);
    assert_eq!((c.get(["a"]), c.get(["b"])), (None, Some(2)));
}

/// A collector that undeclares something when it is dropped.
#[test]
fn a_collector_may_come_back_when_it_is_dropped() {
    struct Last(Registry);
    impl Drop for Last {
        fn drop(&mut self) {
            let _ = self.0.remove("other");
        }
    }
    let registry = Registry::new();
    registry.gauge("other", "").unwrap();
    let last = Last(registry.clone());
    registry
        .collect("last", move |_: &mut Collected| {
            let _ = &last;
            Ok(())
        })
        .unwrap();
    registry.remove("last").unwrap();
    assert!(!registry.contains("other"));
}

/// Series that expire in every scrape, beside a thread that sleeps: what they leave is used again.
#[test]
fn what_expires_is_used_again() {
    let registry = Registry::new();
    let (wake, asleep) = std::sync::mpsc::channel::<()>();
    let sleeper = {
        let c = registry.counter("slept_total", "").unwrap();
        std::thread::spawn(move || {
            (0..2000).for_each(|_| c.inc());
            let _ = asleep.recv();
        })
    };
    let c = Counter::<()>::builder("c_total", "")
        .labels(["x"])
        .expire_after(Duration::ZERO)
        .limit(50)
        .register(&registry)
        .unwrap();
    let mut snapshot = Snapshot::default();
    for i in 0..2000 {
        c.with([&i.to_string()]).inc();
        registry.snapshot_into(&mut snapshot);
        assert!(c.len() <= 3, "{} of them in round {i}", c.len());
    }
    assert_eq!(
        registry.snapshot().get("c_total", &[("x", "__overflow__")]),
        Some(2000.0)
    );
    drop(wake);
    sleeper.join().unwrap();
}

/// A summary without objectives was given the sketch that its thread had flushed last, which was another summary's: a
/// panic where its page had no room for that, and quantiles of what it never saw.
#[test]
fn a_summary_without_objectives_has_no_quantiles() {
    let registry = Registry::new();
    let other = Summary::<()>::builder("other", "")
        .register(&registry)
        .unwrap();
    let none = Summary::<()>::builder("none", "")
        .objectives(&[])
        .unwrap()
        .register(&registry)
        .unwrap();
    for i in 1..=3000 {
        other.observe(f64::from(i));
        none.observe(0.5);
        if i % 100 == 1 {
            let seen = none.total();
            assert_eq!((seen.count(), seen.sum()), (i as u64, f64::from(i) / 2.0));
            assert_eq!((seen.quantile(0.5), seen.sketched()), (None, 0));
        }
    }
}

#[derive(Labels)]
struct Outcome {
    outcome: bool,
}

/// Closed label sets of as many combinations, but others, shared their series by place: what one counted was another's.
#[test]
fn closed_sets_that_differ_share_nothing() {
    #[derive(Labels)]
    struct Other {
        outcome: Said,
    }
    #[derive(LabelValue, Clone, Copy)]
    enum Said {
        Yes,
        No,
    }
    let registry = Registry::new();
    let c = Counter::<Outcome>::builder("c_total", "")
        .get_or_register(&registry)
        .unwrap();
    let again = Counter::<Outcome>::builder("c_total", "")
        .get_or_register(&registry)
        .unwrap();
    c.with(Outcome { outcome: false }).inc();
    again.with(Outcome { outcome: true }).add(2);
    assert_eq!(c.get(Outcome { outcome: true }), Some(2));
    let other = Counter::<Other>::builder("c_total", "").get_or_register(&registry);
    if let Ok(other) = &other {
        other.with(Other { outcome: Said::Yes }).add(10);
        other.with(Other { outcome: Said::No }).add(10);
    }
    assert_eq!(c.get(Outcome { outcome: false }), Some(1));
    assert!(other.unwrap_err().to_string().contains("c_total"));
    // A static's name may be of any characters: then it forgot what its combinations are.
    static DOTTED: Counter<Outcome> = Counter::new_utf8("regression.closed");
    DOTTED.with(Outcome { outcome: true }).inc();
    let builder = Counter::<Outcome>::builder("regression.closed", "").utf8();
    let again = builder.get_or_register(tallies::registry()).unwrap();
    assert_eq!(again.get(Outcome { outcome: true }), Some(1));
    let open = Counter::<()>::builder("regression.closed", "")
        .utf8()
        .labels(["outcome"])
        .get_or_register(tallies::registry());
    assert!(open.is_err());
    // Nor with one that takes any text: its series would stand beside the closed ones, with the same labels.
    let derived = Registry::new();
    let _c = <Counter<Outcome> as tallies::Declare>::declare(
        "c_total",
        "",
        tallies::Options::default(),
        &derived,
    )
    .unwrap();
    let open = Counter::<()>::builder("c_total", "")
        .labels(["outcome"])
        .get_or_register(&derived);
    assert!(open.is_err());
}

/// The rows of closed label sets were fresh ones each time, so slabs grew with every registry that came and went.
#[test]
fn rows_are_used_again() {
    let of_all = Registry::new();
    of_all.self_metrics(true);
    for _ in 0..3000 {
        let registry = Registry::new();
        let c = Counter::<Outcome>::builder("c_total", "")
            .register(&registry)
            .unwrap();
        let h = Histogram::<Outcome>::builder("h", "")
            .register(&registry)
            .unwrap();
        for outcome in [false, true] {
            c.with(Outcome { outcome }).inc();
            h.with(Outcome { outcome }).observe(1.0);
            assert_eq!(c.get(Outcome { outcome }), Some(1));
            assert_eq!(h.get(Outcome { outcome }).unwrap().count(), 1);
        }
    }
    let bytes = of_all.snapshot().get("tallies_shard_bytes", &[]).unwrap();
    // 34 cells a round are 816 kB.
    assert!(bytes < 500_000.0, "{bytes}");
}

/// A function's samples stood on the page a second time, or were missing: only whole names were compared.
#[test]
fn what_a_function_exposes_is_no_others() {
    let registry = Registry::new();
    let one = || 4.0;
    let errs = |result: Result<(), tallies::Error>, says: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    registry.histogram("h", "").unwrap();
    registry.counter("a_total", "").unwrap();
    let says = "would expose the same samples as `h`, registered at tests/regressions.rs:";
    errs(registry.gauge_fn("h_count", "", one), says);
    errs(registry.counter_fn("h_sum_total", "", one), says);
    errs(registry.gauge_fn("a", "", one), "as `a_total`");
    errs(registry.gauge_fn("a_total", "", one), "is there already");
    // The other way round, and of two functions.
    registry.gauge_fn("i_count", "", one).unwrap();
    let says = "would expose the same samples as `i_count`, registered at tests/regressions.rs:";
    errs(registry.histogram("i", "").map(drop), says);
    errs(registry.counter_fn("i_count_total", "", one), says);
    errs(
        registry.gauge("i_count", "").map(drop),
        "`i_count` is there already",
    );
    let dotted = Counter::<()>::builder("i.count", "").utf8();
    errs(dotted.register(&registry).map(drop), says);
    errs(registry.gauge_fn("i_count", "", one), "is there already");
    // What is gone is in nobody's way.
    registry.remove("i_count").unwrap();
    registry.histogram("i", "").unwrap();
    registry.gauge_fn("j_count", "", one).unwrap();
    registry.clear();
    registry.histogram("j", "").unwrap();
    page(&registry);
}

/// A collector says its names too late to refuse them: then what clashes is not written.
#[test]
fn what_a_collector_exposes_is_no_others() {
    let registry = Registry::new();
    registry.self_metrics(true);
    registry.histogram("h", "").unwrap();
    registry.counter("a_total", "").unwrap();
    registry
        .collect("late", |out: &mut Collected| {
            for name in ["a", "b", "h_bucket", "h_c"] {
                out.gauge(name, "", &[], 1.0)?;
            }
            out.counter("b_total", "", &[], 1.0)?;
            out.counter("h_sum", "", &[], 1.0)?;
            Ok(())
        })
        .unwrap();
    let now = registry.snapshot();
    let has = |name| now.family(name).is_some();
    assert!(has("b") && has("h_c"));
    for name in ["a", "h_bucket", "b_total", "h_sum"] {
        assert!(!has(name), "{name}");
    }
    // Four families are missing: that is one scrape.
    for before in [1.0, 2.0] {
        let errors = registry
            .snapshot()
            .get("tallies_collect_errors_total", &[("collector", "late")]);
        assert_eq!(errors, Some(before));
    }
    page(&registry);
}

/// On pages of the old character set both would be `a_b`.
#[test]
fn what_a_collector_exposes_is_no_others_escaped() {
    let registry = Registry::new();
    let dotted = Gauge::<()>::builder("a.b", "").utf8();
    dotted.register(&registry).unwrap().set(1.0);
    registry
        .collect("late", |out: &mut Collected| {
            out.gauge("a_b", "", &[], 2.0)?;
            Ok(out.gauge("a_c", "", &[], 2.0)?)
        })
        .unwrap();
    let names = |now: &Snapshot| {
        now.families()
            .map(|f| f.name().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&registry.snapshot()), ["a.b", "a_c"]);
    page(&registry);
}

/// The prefix is not put before the names of functions: with it a family could be one of them.
#[test]
fn a_prefix_makes_no_family_a_functions() {
    let registry = Registry::new();
    registry.gauge_fn("app_x_total", "", || 1.0).unwrap();
    registry.counter("x_total", "").unwrap();
    registry.gauge_fn("lib_x", "", || 1.0).unwrap();
    for (prefix, says) in [
        ("app_", "`app_x_total` is there already"),
        ("lib_", "`lib_x`"),
    ] {
        let error = registry.prefix(prefix).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    registry.prefix("a_").unwrap();
    assert_eq!(registry.names(), ["a_x_total", "app_x_total", "lib_x"]);
    page(&registry);
}

/// Between what `clear` did to the collectors and to their names a collector's own end could add one, which lost its name.
#[test]
fn what_is_added_while_a_registry_is_cleared_keeps_its_name() {
    struct Adds(Registry);
    impl Drop for Adds {
        fn drop(&mut self) {
            self.0.gauge_fn("h_count", "", || 2.0).unwrap();
        }
    }
    let registry = Registry::new();
    let adds = Adds(registry.clone());
    registry
        .collect("adds", move |_: &mut Collected| {
            let Adds(_) = &adds;
            Ok(())
        })
        .unwrap();
    registry.clear();
    assert_eq!(registry.names(), ["h_count"]);
    assert!(registry.histogram("h", "").is_err());
}

/// With a limit of one what was said first stood for ever, and there was an overflow series.
#[test]
fn an_info_changes_whatever_its_limit() {
    let registry = Registry::new();
    let leader = Info::<()>::builder("leader_info", "")
        .labels(["host"])
        .limit(1)
        .register(&registry)
        .unwrap();
    for host in ["a", "a", "b", "c", "a"] {
        leader.set([host]);
        let now = registry.snapshot();
        assert_eq!(now.family("leader_info").unwrap().len(), 1);
        assert_eq!(now.get("leader_info", &[("host", host)]), Some(1.0));
    }
    let any = Info::<AnyLabels>::builder("any_info", "")
        .limit(1)
        .register(&registry)
        .unwrap();
    any.set(&[("a", "1")]);
    any.set(&[("bad-name", "1")]);
    let now = registry.snapshot();
    assert_eq!(now.get("any_info", &[("a", "1")]), Some(1.0), "it stands");
    assert_eq!(now.family("any_info").unwrap().len(), 1);
}

/// The label of a state set is called like the family: with such a prefix it was no label name of the text format.
#[test]
fn a_prefix_makes_no_bad_label_of_a_state_set() {
    #[derive(LabelValue)]
    enum State {
        Off,
    }
    let state = |registry: &Registry| StateSet::<State>::builder("state", "").register(registry);
    for (prefix, good) in [("a:", false), ("__", false), ("a_", true)] {
        let registry = Registry::new();
        registry.prefix(prefix).unwrap();
        registry.counter("c_total", "").unwrap();
        assert_eq!(state(&registry).is_ok(), good, "{prefix}");
        let registry = Registry::new();
        state(&registry).unwrap().set(State::Off);
        let error = registry.prefix(prefix).err().map(|e| e.to_string());
        assert_eq!(error.is_none(), good, "{prefix}");
        if let Some(error) = error {
            assert!(
                error.contains(&format!("`{prefix}state` is also the label of a state set")),
                "{error}"
            );
        }
        page(&registry);
    }
}

/// Floats that are folded add up in another order: the overflow series went back by an ulp, a restart to who reads it.
#[test]
fn what_series_leave_behind_never_shrinks() {
    let registry = Registry::new();
    let c = Counter::<(), f64>::builder("c_total", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    let h = Histogram::<()>::builder("h", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    let s = Summary::<()>::builder("s", "")
        .labels(["x"])
        .objectives(&[])
        .unwrap()
        .register(&registry)
        .unwrap();
    let other = Registry::new().counter("other_total", "").unwrap();
    let mut state = 1_u64;
    let mut random = || {
        // Source: Knuth's MMIX generator.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let overflow = |name| {
        let now = registry.snapshot();
        now.get(name, &[("x", "__overflow__")]).unwrap_or(0.0)
    };
    let mut last = [0.0; 3];
    let mut all = 0.0;
    for round in 0..1000 {
        for x in ["a", "b", "c"] {
            let value = random();
            c.with([x]).add(value);
            h.with([x]).observe(value);
            s.with([x]).observe(value);
            all += value;
        }
        for x in ["a", "b", "c"] {
            c.remove([x]);
            h.remove([x]);
            s.remove([x]);
        }
        // Until they are folded: any update says that nobody is in them any more.
        for _ in 0..4 {
            other.inc();
            let now = ["c_total", "h_sum", "s_sum"].map(overflow);
            for (now, last) in now.iter().zip(last) {
                assert!(*now >= last, "round {round}: {now} after {last}");
                assert!((now - all).abs() < 1e-9 * all, "round {round}");
            }
            last = now;
        }
    }
    // It goes back where it should.
    h.with(["a"]).observe(-100.0);
    h.remove(["a"]);
    assert!((overflow("h_sum") - (all - 100.0)).abs() < 1e-9 * all);
    c.clear();
    assert_eq!(overflow("c_total"), 0.0);
}
