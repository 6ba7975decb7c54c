//! Beginning and end of series, guards and collectors.

use std::time::Duration;

use tallies::{
    Counter, Gauge, Info, Labels, Registry, UpDownCounter, collect::Collected, label::AnyLabels,
};

use crate::support::eventually;

/// A guard that outlived its series decremented a series that it had not incremented.
#[test]
fn in_flight_is_not_below_zero_when_its_series_ends() {
    let registry = Registry::new();
    let f = UpDownCounter::builder("f", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let guard = f.with(["a"]).track();
    f.retire(["a"]);
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
    let idle = UpDownCounter::builder("idle", "")
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

/// Two threads that called `set` concurrently left no series at all.
#[test]
fn concurrent_info_updates_leave_one_series() {
    let registry = Registry::new();
    let leader = Info::builder("leader_info", "")
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
    let info = Info::builder("me_info", "")
        .label_set::<Me>()
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

/// With a limit of one, the first label set stayed forever, and later ones went to an overflow
/// series.
#[test]
fn an_info_changes_whatever_its_limit() {
    let registry = Registry::new();
    let leader = Info::builder("leader_info", "")
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
    let any = Info::builder("any_info", "")
        .label_set::<AnyLabels>()
        .limit(1)
        .register(&registry)
        .unwrap();
    any.set(&[("a", "1")]);
    any.set(&[("bad-name", "1")]);
    let now = registry.snapshot();
    assert_eq!(now.get("any_info", &[("a", "1")]), Some(1.0), "it stands");
    assert_eq!(now.family("any_info").unwrap().len(), 1);
}

/// A series that reused the memory of an expired one inherited its idle time.
#[test]
fn a_series_that_is_used_again_is_not_idle() {
    let registry = Registry::new();
    let g = Gauge::builder("g", "")
        .labels(["x"])
        .expire_after(Duration::from_millis(200))
        .register(&registry)
        .unwrap();
    g.with(["a"]).set(1.0);
    eventually("the first one has expired", || {
        registry.snapshot().get("g", &[("x", "a")]).is_none()
    });
    (0..5).for_each(|_| _ = registry.snapshot());
    g.with(["b"]).set(1.0);
    assert_eq!(registry.snapshot().get("g", &[("x", "b")]), Some(1.0));
}

/// The closure given to `retain` may use the family that it filters.
#[test]
fn retain_calls_its_closure_without_a_lock() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    c.with(["a"]).add(1);
    c.with(["b"]).add(2);
    assert_eq!(
        c.retain(|labels| c.find([&labels[0].1]).map(|series| series.get()) == Some(2)),
        1
    );
    assert_eq!(
        (
            c.find(["a"]).map(|series| series.get()),
            c.find(["b"]).map(|series| series.get())
        ),
        (None, Some(2))
    );
}

/// A collector may change its registry when it is dropped.
#[test]
fn a_collector_may_change_its_registry_when_it_is_dropped() {
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
        .add_collector("last", move |_: &mut Collected| {
            let _ = &last;
            Ok(())
        })
        .unwrap();
    registry.remove("last").unwrap();
    assert!(!registry.contains("other"));
}

/// The counts of an overflow handle that was made before `clear` were on no page until another
/// update overflowed.
#[test]
fn an_overflow_handle_counts_after_a_clear() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .limit(0)
        .register(&registry)
        .unwrap();
    let overflow = c.with(["a"]);
    overflow.add(3);
    c.clear();
    let seen = || registry.snapshot().get("c_total", &[("x", "__overflow__")]);
    assert_eq!(seen(), None);
    overflow.add(2);
    assert_eq!(seen(), Some(2.0));
    c.clear();
    assert_eq!(seen(), None);
}

/// Reading a bound series that was removed made it again.
#[test]
fn reading_a_removed_bound_series_makes_none() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "").labels(["x"]);
    let c = c.register(&registry).unwrap();
    let a = c.bind(["a"]);
    a.add(3);
    assert!(c.remove(["a"]));
    assert_eq!((a.get(), c.len()), (0, 0));
    a.inc();
    assert_eq!((a.get(), c.len()), (1, 1));
}
