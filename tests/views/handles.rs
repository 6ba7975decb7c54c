//! Handles, look-ups and removals in a family with views.

use std::time::Duration;

use tallies::{Counter, Gauge, Registry, View};

use crate::{counter, lines};

#[test]
fn look_ups_find_the_series_in_which_a_label_set_counts() {
    let (_, hits) = counter(View::new("*").drop_label("user"));
    assert!(hits.find(["/", "a"]).is_none(), "a look-up makes nothing");
    hits.with(["/", "a"]).add(2);
    assert_eq!(hits.with(["/", "b"]).get(), 2);
    assert_eq!(hits.find(["/", "never seen"]).unwrap().get(), 2);
    assert_eq!(
        hits.get_all(),
        [(vec![("path".to_owned(), "/".to_owned())], 2)]
    );
    assert_eq!(
        hits.named(&[("user", "c"), ("path", "/")]).unwrap().get(),
        2
    );
    assert!(
        hits.named(&[("path", "/")]).is_err(),
        "the names are those of the declaration"
    );
}

#[test]
fn remove_and_retain_act_on_shared_series() {
    let (registry, hits) = counter(View::new("*").drop_label("user"));
    let (a, b) = (hits.bind(["/", "a"]), hits.bind(["/", "b"]));
    a.inc();
    b.inc();
    hits.with(["/x", "a"]).inc();
    assert!(
        hits.remove(["/", "c"]),
        "any label set of the series removes it"
    );
    assert!(!hits.remove(["/", "a"]));
    assert_eq!(lines(&registry), ["hits_total{path=\"/x\"} 1"]);
    b.inc();
    assert_eq!(
        (a.get(), b.get()),
        (1, 1),
        "a bound series is made again, for both"
    );
    let removed = hits.retain(|labels| {
        assert_eq!(labels.len(), 1, "the labels are those of the series");
        labels[0].1 == "/"
    });
    assert_eq!(removed, 1);
    assert_eq!(lines(&registry), ["hits_total{path=\"/\"} 1"]);
    hits.clear();
    assert!(lines(&registry).is_empty());
}

#[test]
fn stale_handles_and_retired_series_keep_the_total() {
    let (registry, hits) = counter(View::new("*").drop_label("user").limit(3));
    for i in 0..5 {
        hits.with([&*format!("/{i}"), "u"]).inc();
    }
    let series = hits.with(["/0", "v"]);
    assert!(hits.retire(["/0", "w"]));
    series.inc();
    let total = |lines: Vec<String>| -> u64 {
        let values = lines.iter().map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    };
    assert_eq!(total(lines(&registry)), 6);
    assert_eq!(registry.snapshot().family("hits_total").unwrap().len(), 3);
}

#[test]
fn a_wrong_number_of_values_is_rejected_as_without_views() {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    registry.add_view(View::new("*").drop_label("b")).unwrap();
    let hits = Counter::builder("hits_total", "Hits.")
        .labels(&["a", "b"][..])
        .register(&registry)
        .unwrap();
    // As many as the series have, and not as many as the declaration has.
    hits.with(&["x"]).inc();
    hits.bind(&["x"]).inc();
    hits.with(&["x", "y"]).inc();
    let now = registry.snapshot();
    assert_eq!(now.get("hits_total", &[("a", "x")]), Some(1.0));
    assert_eq!(now.get("hits_total", &[("a", "__overflow__")]), Some(2.0));
    let error = hits.check(&["x"]).unwrap_err().to_string();
    assert!(
        error.contains("takes 2 labels (`a`, `b`), got 1"),
        "{error}"
    );
}

#[test]
fn bound_series_survive_what_removes_others() {
    let registry = Registry::new();
    registry
        .add_view(View::new("*").drop_label("a").drop_label("b"))
        .unwrap();
    let hits = Counter::builder("hits_total", "Hits.")
        .labels(["a", "b"])
        .register(&registry)
        .unwrap();
    let bound = hits.bind(["1", "2"]);
    let copy = bound.clone();
    bound.inc();
    assert!(!hits.remove(["1", "2"]), "a series without labels stays");
    copy.inc();
    drop(hits);
    assert_eq!(bound.get(), 2);
}

#[test]
fn combined_gauges_expire_one_by_one() {
    let registry = Registry::new();
    registry.add_view(View::new("*").drop_label("x")).unwrap();
    let gauge = Gauge::builder("depth", "Depth.")
        .labels(["x"])
        .expire_after(Duration::from_secs(3600))
        .register(&registry)
        .unwrap();
    gauge.with(["a"]).set(1.0);
    gauge.with(["b"]).set(2.0);
    assert!(gauge.remove(["a"]));
    assert_eq!(registry.snapshot().get("depth", &[]), Some(2.0));
    assert_eq!(gauge.len(), 1);
}
