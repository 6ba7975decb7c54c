//! Labels that a view drops or caps.

use std::thread;

use tallies::label::AnyLabels;
use tallies::snapshot::GaugeMode;
use tallies::{
    Counter, Gauge, Histogram, Info, LabelValue, Labels, Registry, Summary, UpDownCounter, View,
    collect::Collected,
};

use crate::{counter, lines};

#[derive(LabelValue, Clone, Copy)]
enum Method {
    Get,
    Put,
}

#[derive(Labels, Clone, Copy)]
struct Closed {
    method: Method,
    ok: bool,
}

#[derive(Labels)]
struct Open<'a> {
    method: Method,
    user: &'a str,
}

#[test]
fn totals_stay_exact_when_a_label_is_dropped() {
    let (registry, hits) = counter(View::new("hits_*").drop_label("user"));
    thread::scope(|scope| {
        for thread in 0..4 {
            let hits = hits.clone();
            scope.spawn(move || {
                // More values than the thread's cache has room for.
                for i in 0..20_000 {
                    let path = ["/a", "/b"][i % 2];
                    hits.with([path, &format!("{thread}-{}", i % 10_000)]).inc();
                }
            });
        }
    });
    let expected = [
        "hits_total{path=\"/a\"} 40000",
        "hits_total{path=\"/b\"} 40000",
    ];
    assert_eq!(lines(&registry), expected);
    assert_eq!(hits.len(), 2, "and no more series are made");
}

#[test]
fn a_family_that_loses_all_labels_has_one_series() {
    let (registry, hits) = counter(View::new("*").drop_label("user").drop_label("path"));
    hits.with(["/a", "x"]).add(2);
    hits.bind(["/b", "y"]).add(3);
    assert_eq!(lines(&registry), ["hits_total 5"]);
    assert_eq!(hits.with(["/c", "z"]).get(), 5);
}

#[test]
fn every_kind_adds_up() {
    let registry = Registry::new();
    registry
        .add_view(View::new("*").drop_label("user"))
        .unwrap();
    macro_rules! declare {
        ($kind:ident, $name:literal) => {
            $kind::builder($name, "Help.")
                .labels(["user"])
                .register(&registry)
                .unwrap()
        };
    }
    let busy = Counter::builder("busy_total", "Help.")
        .labels(["user"])
        .float()
        .register(&registry)
        .unwrap();
    let open = declare!(UpDownCounter, "open");
    let took = declare!(Histogram, "took_seconds");
    let native = Histogram::builder("native_seconds", "Help.")
        .labels(["user"])
        .native(3)
        .register(&registry)
        .unwrap();
    let size = declare!(Summary, "size_bytes");
    for i in 0..1000 {
        let user = [&*i.to_string()];
        busy.with(user).add(0.5);
        open.with(user).add(2);
        open.with(user).dec();
        took.with(user).observe(f64::from(i));
        native.with(user).observe(f64::from(i));
        size.with(user).observe(f64::from(i));
    }
    let now = registry.snapshot();
    assert_eq!(now.get("busy_total", &[]), Some(500.0));
    assert_eq!(now.get("open", &[]), Some(1000.0));
    for name in ["took_seconds", "native_seconds", "size_bytes"] {
        assert_eq!(
            now.get(&format!("{name}_count"), &[]),
            Some(1000.0),
            "{name}"
        );
        assert_eq!(
            now.get(&format!("{name}_sum"), &[]),
            Some(499_500.0),
            "{name}"
        );
    }
    let median = now.get("size_bytes", &[("quantile", "0.5")]).unwrap();
    assert!((median - 500.0).abs() <= 50.0, "{median}");
    assert_eq!(
        now.get("took_seconds_bucket", &[("le", "10.0")]),
        Some(11.0)
    );
}

#[test]
fn gauges_are_combined_by_a_rule() {
    for (rule, expected) in [
        (None, 7.0),
        (Some(GaugeMode::Sum), 7.0),
        (Some(GaugeMode::Min), 3.0),
        (Some(GaugeMode::Max), 4.0),
        (Some(GaugeMode::Recent), 3.0),
    ] {
        let registry = Registry::new();
        let view = View::new("depth").drop_label("queue");
        let view = match rule {
            Some(rule) => view.gauge_mode(rule),
            None => view,
        };
        registry.add_view(view).unwrap();
        let depth = Gauge::builder("depth", "Depth.")
            .labels(["host", "queue"])
            .register(&registry)
            .unwrap();
        depth.with(["a", "x"]).set(4.0);
        depth.with(["a", "y"]).set(3.0);
        depth.with(["b", "y"]).set(9.0);
        // Several scrapes, because a scrape reuses the memory of the last one.
        let mut now = registry.snapshot();
        for _ in 0..3 {
            registry.snapshot_into(&mut now);
            assert_eq!(
                now.get("depth", &[("host", "a")]),
                Some(expected),
                "{rule:?}"
            );
            assert_eq!(now.get("depth", &[("host", "b")]), Some(9.0), "{rule:?}");
            assert_eq!(now.family("depth").unwrap().len(), 2, "{rule:?}");
        }
        let own = if rule == Some(GaugeMode::Recent) {
            3.0
        } else {
            4.0
        };
        assert_eq!(depth.with(["a", "x"]).get(), own, "{rule:?}");
    }
}

#[test]
fn the_rule_of_a_gauge_is_that_of_its_declaration_if_the_view_has_none() {
    let registry = Registry::new();
    registry
        .add_view(View::new("peak").drop_label("x"))
        .unwrap();
    let peak = Gauge::builder("peak", "Peak.")
        .labels(["x"])
        .mode(GaugeMode::Max)
        .register(&registry)
        .unwrap();
    peak.with(["a"]).set(5.0);
    peak.with(["b"]).set(2.0);
    assert_eq!(registry.snapshot().get("peak", &[]), Some(5.0));
}

#[test]
fn a_closed_label_set_keeps_its_zeros() {
    let registry = Registry::new();
    registry.add_view(View::new("*").drop_label("ok")).unwrap();
    let hits = Counter::builder("hits_total", "Hits.")
        .label_set::<Closed>()
        .limit(1)
        .register(&registry)
        .unwrap();
    let expected = [
        "hits_total{method=\"get\"} 0",
        "hits_total{method=\"put\"} 0",
    ];
    assert_eq!(
        lines(&registry),
        expected,
        "all reduced combinations, whatever the limit is"
    );
    let set = |method, ok| Closed { method, ok };
    for _ in 0..3000 {
        hits.with(set(Method::Get, true)).inc();
        hits.with(set(Method::Get, false)).inc();
    }
    let bound = hits.bind(set(Method::Put, true));
    bound.add(7);
    let took = Histogram::builder("took_seconds", "Time.")
        .label_set::<Closed>()
        .register(&registry)
        .unwrap();
    took.with(set(Method::Put, false)).observe(1.0);
    let now = registry.snapshot();
    assert_eq!(now.get("hits_total", &[("method", "get")]), Some(6000.0));
    assert_eq!(now.get("hits_total", &[("method", "put")]), Some(7.0));
    assert_eq!(
        now.get("took_seconds_count", &[("method", "put")]),
        Some(1.0)
    );
    assert_eq!(bound.get(), 7);
    assert_eq!(hits.find(set(Method::Put, false)).unwrap().get(), 7);
}

#[test]
fn a_derived_label_set_and_one_of_any_names_lose_a_label() {
    let registry = Registry::new();
    registry
        .add_view(View::new("*").drop_label("user"))
        .unwrap();
    let derived = Counter::builder("derived_total", "Help.")
        .label_set::<Open>()
        .register(&registry)
        .unwrap();
    let any = Counter::builder("any_total", "Help.")
        .label_set::<AnyLabels>()
        .register(&registry)
        .unwrap();
    for user in ["a", "b"] {
        derived
            .with(Open {
                method: Method::Get,
                user,
            })
            .inc();
        any.with(&[("user", user)]).inc();
        any.with(&[("user", user), ("x", "1")]).inc();
    }
    let expected = [
        "any_total 2",
        "any_total{x=\"1\"} 2",
        "derived_total{method=\"get\"} 2",
    ];
    assert_eq!(lines(&registry), expected);
}

#[test]
fn an_info_and_a_constant_label_lose_a_label() {
    let registry = Registry::new();
    registry.add_constant("host", "h").unwrap();
    registry
        .add_view(View::new("*").drop_label("secret").drop_label("host"))
        .unwrap();
    let leader = Info::builder("leader_info", "The leader.")
        .labels(["name", "secret"])
        .constant("zone", "z")
        .register(&registry)
        .unwrap();
    leader.set(["a", "1"]);
    leader.set(["b", "2"]);
    registry
        .info("build_info", "Build.", &[("secret", "s"), ("version", "1")])
        .unwrap();
    let expected = [
        "build_info{host=\"h\",version=\"1\"} 1",
        "leader_info{host=\"h\",zone=\"z\",name=\"b\"} 1",
    ];
    assert_eq!(
        lines(&registry),
        expected,
        "a constant label of the registry stays"
    );
}

#[test]
fn values_beyond_a_cap_share_one() {
    let (registry, hits) = counter(View::new("hits_total").cap("user", 2));
    assert!(hits.find(["/x", "d"]).is_none(), "a look-up takes no room");
    for user in ["a", "b", "c", "d", "a"] {
        hits.with(["/x", user]).inc();
        hits.with(["/y", user]).inc();
    }
    let expected = [
        "hits_total{path=\"/x\",user=\"__overflow__\"} 2",
        "hits_total{path=\"/x\",user=\"a\"} 2",
        "hits_total{path=\"/x\",user=\"b\"} 1",
        "hits_total{path=\"/y\",user=\"__overflow__\"} 2",
        "hits_total{path=\"/y\",user=\"a\"} 2",
        "hits_total{path=\"/y\",user=\"b\"} 1",
    ];
    assert_eq!(lines(&registry), expected);
    let refused = || registry.cardinality().families()[0].refused;
    assert_eq!(refused(), 4);
    (0..3).for_each(|_| hits.with(["/x", "c"]).inc());
    assert_eq!(refused(), 7, "updates of one label set, too");
    hits.clear();
    hits.with(["/x", "c"]).inc();
    assert!(lines(&registry).contains(&"hits_total{path=\"/x\",user=\"c\"} 1".to_owned()));
}

#[test]
fn a_cap_holds_while_threads_race_for_its_room() {
    let (registry, hits) = counter(View::new("hits_total").cap("user", 10));
    thread::scope(|scope| {
        for _ in 0..4 {
            let hits = hits.clone();
            scope.spawn(move || {
                for i in 0..2000 {
                    hits.with(["/", &i.to_string()]).inc();
                }
            });
        }
    });
    let report = registry.cardinality();
    let family = &report.families()[0];
    assert_eq!((family.series, family.labels[1].distinct), (11, 11));
    let values = hits.get_all().into_iter();
    assert_eq!(values.map(|(_, total)| total).sum::<u64>(), 8000);
}

#[test]
fn a_cap_of_the_only_label_uses_the_overflow_series() {
    let registry = Registry::new();
    registry.add_view(View::new("*").cap("user", 1)).unwrap();
    let logins = Counter::builder("logins_total", "Logins.")
        .labels(["user"])
        .register(&registry)
        .unwrap();
    let bound = logins.bind(["b"]);
    logins.with(["a"]).inc();
    bound.inc();
    logins.with(["b"]).inc();
    let expected = [
        "logins_total{user=\"__overflow__\"} 1",
        "logins_total{user=\"b\"} 2",
    ];
    assert_eq!(lines(&registry), expected, "`b` was bound first");
}

#[test]
fn families_of_collectors_have_views() {
    let registry = Registry::new();
    registry.set_prefix("app").unwrap();
    for view in [
        View::new("disk_*")
            .drop_label("device")
            .gauge_mode(GaugeMode::Max),
        View::new("net_bytes_total")
            .drop_label("device")
            .rename("network_bytes_total"),
        View::new("secret").off(),
    ] {
        registry.add_view(view).unwrap();
    }
    registry
        .add_collector("machine", |out: &mut Collected| {
            for (device, value) in [("a", 1.0), ("b", 2.0)] {
                out.gauge("disk_used", "Used.", &[("device", device)], value)?;
                out.counter("net_bytes_total", "Bytes.", &[("device", device)], value)?;
            }
            out.gauge("secret", "Secret.", &[], 1.0)?;
            Ok(())
        })
        .unwrap();
    registry.add_view(View::new("other").off()).unwrap();
    assert_eq!(
        lines(&registry),
        ["app_disk_used 2", "app_network_bytes_total 3"]
    );
}
