//! The recorder for the `metrics` crate, compared with metrics-exporter-prometheus.

use metrics::{
    Key, Label, Level, Metadata, Recorder as _, Unit, counter, describe_counter, describe_gauge,
    describe_histogram, gauge, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{Matcher as Theirs, PrometheusBuilder};
use tallies::Registry;
use tallies_metrics::{Builder, Matcher, Recorder};

use crate::support::exposition::{Comparable, comparable};

static METADATA: Metadata<'static> = Metadata::new("tests", Level::INFO, None);

fn ours(settings: impl FnOnce(Builder) -> Builder, f: impl FnOnce()) -> (Registry, Comparable) {
    let registry = Registry::new();
    let recorder = settings(Recorder::builder().registry(&registry));
    let recorder = recorder.build().unwrap();
    with_local_recorder(&recorder, f);
    let page = crate::support::page(&registry).0;
    (registry, comparable(&page))
}

fn theirs(builder: PrometheusBuilder, f: impl FnOnce()) -> Comparable {
    let recorder = builder.build_recorder();
    with_local_recorder(&recorder, f);
    comparable(&recorder.handle().render())
}

/// Uses names that have to be changed, described in every order, with units.
fn names() {
    describe_counter!("http.requests", Unit::Count, "Before.");
    counter!("http.requests", "content-type" => "text/plain", "a" => "b").increment(3);
    counter!("http.requests", "a" => "c").increment(1);
    counter!("9 lives/ü", "1st" => "x").increment(9);
    gauge!("queue-length").set(-2.5);
    gauge!("queue-length").increment(1.5);
    gauge!("queue-length").decrement(0.25);
    describe_gauge!("queue-length", "After.");
    describe_counter!("never.counted", "Nobody.");
    describe_histogram!("wait", Unit::Milliseconds, "Time to wait.");
    for i in 0..100 {
        histogram!("wait", "queue" => "mail").record(f64::from(i));
    }
    describe_counter!("sent", Unit::Bytes, "Sent.");
    counter!("sent").increment(12);
    counter!("received_total").increment(1);
    describe_counter!("received_total", Unit::Kibibytes, "Received.");
    gauge!("load").set(0.5);
    describe_gauge!("load", Unit::Percent, "Load.");
    histogram!("size_bytes").record(1000.0);
    describe_histogram!("size_bytes", Unit::Bytes, "Sizes.");
    counter!("mirrored").absolute(7);
    counter!("mirrored").absolute(5);
}

#[test]
fn names_kinds_and_values_are_those_of_the_exporter() {
    let (_, seen) = ours(|builder| builder, names);
    assert_eq!(seen, theirs(PrometheusBuilder::new(), names));
    assert!(seen.contains_key("__lives__"));
}

#[test]
fn recommended_names_are_those_of_the_exporter() {
    let (_, seen) = ours(|builder| builder.recommended_naming(true), names);
    let expected = theirs(
        PrometheusBuilder::new().with_recommended_naming(true),
        names,
    );
    assert_eq!(seen, expected);
    assert!(seen.contains_key("received_kibibytes_total"));
}

#[test]
fn matchers_and_global_labels_are_those_of_the_exporter() {
    fn updates() {
        for name in ["a.wait", "a.wait.seconds", "b.seconds", "c"] {
            histogram!(name, "host" => "own").record(0.5);
            histogram!(name).record(1.5);
        }
        counter!("events").increment(1);
    }
    let (_, seen) = ours(
        |builder| {
            builder
                .buckets_for(Matcher::suffix(".seconds"), &[1.0, 2.0])
                .buckets_for(Matcher::prefix("a."), &[3.0])
                .buckets_for(Matcher::full("a.wait.seconds"), &[0.25, 4.0])
                .label("host", "alpha")
        },
        updates,
    );
    let suffix = Theirs::Suffix(".seconds".into());
    let prefix = Theirs::Prefix("a.".into());
    let full = Theirs::Full("a.wait.seconds".into());
    let expected = PrometheusBuilder::new()
        .set_buckets_for_metric(suffix, &[1.0, 2.0])
        .and_then(|builder| builder.set_buckets_for_metric(prefix, &[3.0]))
        .and_then(|builder| builder.set_buckets_for_metric(full, &[0.25, 4.0]))
        .unwrap()
        .add_global_label("host", "alpha");
    assert_eq!(seen, theirs(expected, updates));
    assert_eq!(seen["c"].0, "summary");
}

#[test]
fn buckets_for_all() {
    let updates = || histogram!("wait").record_many(0.5, 3);
    let (_, seen) = ours(|builder| builder.buckets(&[0.25, 1.0]), updates);
    let expected = PrometheusBuilder::new().set_buckets(&[0.25, 1.0]).unwrap();
    assert_eq!(seen, theirs(expected, updates));
}

#[test]
fn exponential_buckets_alone_and_beside_others() {
    let (registry, seen) = ours(
        |builder| {
            builder
                .native_for(Matcher::suffix(".seconds"), 0)
                .native_for(Matcher::full("wait.seconds"), 3)
                .buckets_for(Matcher::prefix("wait."), &[0.5, 2.0])
        },
        || {
            for name in ["wait.seconds", "other.seconds", "wait.bytes", "other"] {
                histogram!(name).record_many(1.25, 3);
            }
        },
    );
    let now = registry.snapshot();
    let width = |name| {
        let bound = now.quantile(name, &[], 0.5).unwrap();
        assert!(bound.lower <= 1.25 && 1.25 <= bound.upper, "{name}");
        bound.upper / bound.lower
    };
    assert!(width("wait_seconds") < 1.1);
    assert_eq!((width("other_seconds"), width("wait_bytes")), (2.0, 4.0));
    assert_eq!(now.get("wait_seconds_bucket", &[("le", "2")]), Some(3.0));
    assert_eq!(now.get("other_seconds_count", &[]), Some(3.0));
    assert_eq!(seen["other"].0, "summary");
}

#[test]
fn a_second_kind_of_the_same_name_is_ignored() {
    let registry = Registry::new();
    registry.counter("taken", "By a family.").unwrap();
    let recorder = Recorder::builder().registry(&registry).build().unwrap();
    with_local_recorder(&recorder, || {
        counter!("events").increment(2);
        for _ in 0..3 {
            gauge!("events").set(7.0);
            histogram!("events", "a" => "b").record(7.0);
            counter!("taken").increment(7);
            histogram!("size").record(1.0);
            counter!("size_count").increment(7);
            counter!("").increment(1);
        }
        counter!("events").increment(1);
    });
    let (_, families) = crate::support::page(&registry);
    let names: Vec<_> = families.iter().map(|family| &*family.name).collect();
    assert_eq!(names, ["events", "size", "taken"]);
    let seen = registry.snapshot();
    assert_eq!(seen.get("events", &[]), Some(3.0));
    assert_eq!(seen.get("taken", &[]), Some(0.0));
    assert_eq!(seen.get("size_count", &[]), Some(3.0));
}

#[test]
fn the_first_description_stays() {
    let (_, seen) = ours(
        |builder| builder,
        || {
            describe_counter!("events", "");
            describe_counter!("events", "First.");
            counter!("events").increment(1);
            describe_counter!("events", "Second.");
        },
    );
    assert_eq!(seen["events"].1, "First.");
}

/// The unit comes late, and the name with its suffix belongs to another family, so the family keeps
/// its own name.
#[test]
fn a_family_keeps_its_name_if_the_recommended_one_is_taken() {
    let (registry, seen) = ours(
        |builder| builder.recommended_naming(true),
        || {
            gauge!("size_bytes").set(1.0);
            gauge!("size").set(2.0);
            describe_gauge!("size", Unit::Bytes, "Sizes.");
            gauge!("size").increment(1.0);
        },
    );
    assert_eq!(seen["size"].1, "Sizes.");
    assert_eq!(registry.snapshot().get("size", &[]), Some(3.0));
    assert_eq!(registry.snapshot().get("size_bytes", &[]), Some(1.0));
}

#[test]
fn names_that_become_one_add_up() {
    let (registry, _) = ours(
        |builder| builder,
        || {
            counter!("a.b", "x" => "1").increment(2);
            counter!("a-b", "x" => "1").increment(3);
        },
    );
    assert_eq!(registry.snapshot().get("a_b", &[("x", "1")]), Some(5.0));
}

#[test]
fn labels_that_formats_need_are_renamed() {
    let (registry, _) = ours(
        |builder| builder.buckets_for(Matcher::full("h"), &[1.0]),
        || {
            histogram!("h", "le" => "x", "quantile" => "q").record(0.5);
            histogram!("s", "le" => "x", "quantile" => "q").record(0.5);
            counter!("c", "le" => "x", "__name__" => "y", "" => "z", "gone" => "").increment(1);
            counter!("c", "twice" => "1", "twice" => "2").increment(1);
        },
    );
    let seen = registry.snapshot();
    let h = [("exported_le", "x"), ("quantile", "q")];
    assert_eq!(seen.get("h_count", &h), Some(1.0));
    let s = [("le", "x"), ("exported_quantile", "q")];
    assert_eq!(seen.get("s_count", &s), Some(1.0));
    let c = [("le", "x"), ("exported___name__", "y"), ("_", "z")];
    assert_eq!(seen.get("c", &c), Some(1.0));
    assert_eq!(seen.get("c", &[("twice", "2")]), Some(1.0));
}

/// Arbitrarily many label values: the number of series is bounded, and no update is lost.
#[test]
fn beyond_the_limit_there_is_one_more_series() {
    let (registry, _) = ours(
        |builder| builder.limit(100),
        || {
            for n in 0..1000 {
                counter!("events", "n" => n.to_string()).increment(1);
            }
            counter!("events", "n" => "7").increment(1);
        },
    );
    let seen = registry.snapshot();
    let family = seen.family("events").unwrap();
    assert_eq!(family.len(), 101);
    assert_eq!(seen.get("events", &[("n", "7")]), Some(2.0));
    assert_eq!(
        seen.get("events", &[("overflow", "__overflow__")]),
        Some(900.0)
    );
}

#[test]
fn threads_count_in_the_same_series_and_absolute_counts_once() {
    const THREADS: u64 = 8;
    const EACH: u64 = 10_000;
    let registry = Registry::new();
    let recorder = Recorder::builder().registry(&registry).build().unwrap();
    let kept = recorder.register_counter(&Key::from_name("kept"), &METADATA);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                with_local_recorder(&recorder, || {
                    for i in 1..=EACH {
                        counter!("events", "kind" => "a", "of" => "b").increment(1);
                        counter!("mirrored").absolute(i);
                        gauge!("in_flight").increment(1.0);
                        histogram!("wait").record(1.0);
                        gauge!("in_flight").decrement(1.0);
                        kept.increment(1);
                    }
                });
            });
        }
    });
    let seen = registry.snapshot();
    let all = (THREADS * EACH) as f64;
    assert_eq!(seen.get("events", &[("kind", "a"), ("of", "b")]), Some(all));
    assert_eq!(seen.get("kept", &[]), Some(all));
    assert_eq!(seen.get("mirrored", &[]), Some(EACH as f64));
    assert_eq!(seen.get("in_flight", &[]), Some(0.0));
    assert_eq!(seen.get("wait_count", &[]), Some(all));
    assert_eq!(seen.get("wait_sum", &[]), Some(all));
}

/// A thread that switches between recorders, and handles that outlive their recorder.
#[test]
fn recorders_do_not_mix() {
    let registries = [Registry::new(), Registry::new()];
    let mut last = None;
    for round in 0..3 {
        for registry in &registries {
            let recorder = Recorder::builder().registry(registry).build().unwrap();
            with_local_recorder(&recorder, || {
                let events = counter!("events", "round" => round.to_string());
                events.increment(1);
                last = Some(events);
            });
            registry.remove("events").unwrap();
            let page = crate::support::page(registry).0;
            assert_eq!(page, "", "removed, and not of the other");
        }
    }
    last.unwrap().increment(1);
}

#[test]
fn series_that_expire_leave_their_sum() {
    let registry = Registry::new();
    let recorder = Recorder::builder()
        .registry(&registry)
        .expire_after(std::time::Duration::ZERO)
        .build()
        .unwrap();
    let key = Key::from_parts("events", vec![Label::new("a", "b")]);
    let events = recorder.register_counter(&key, &METADATA);
    events.increment(2);
    let _ = registry.snapshot();
    let seen = registry.snapshot();
    assert_eq!(seen.get("events", &[("a", "b")]), None);
    assert_eq!(
        seen.get("events", &[("overflow", "__overflow__")]),
        Some(2.0)
    );
    events.increment(1);
    let _ = registry.snapshot();
    let seen = registry.snapshot();
    assert_eq!(
        seen.get("events", &[("overflow", "__overflow__")]),
        Some(3.0)
    );
}

#[test]
fn bad_settings_are_errors_when_a_recorder_is_built() {
    let registry = Registry::new();
    let fails = |settings: fn(Builder) -> Builder, why: &str| {
        let error = settings(Recorder::builder().registry(&registry))
            .build()
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    };
    fails(|builder| builder.buckets(&[]), "buckets of family");
    fails(
        |builder| builder.buckets(&[2.0, 1.0]),
        "have to ascend, got 1.0 after 2.0",
    );
    fails(
        |builder| builder.buckets_for(Matcher::full("a.b"), &[f64::NAN]),
        "buckets of family `histogram_a_b` have to be finite",
    );
    fails(
        |builder| builder.native_for(Matcher::full("a.b"), 9),
        "schema from -4 to 8, got 9",
    );
    fails(
        |builder| builder.objectives(&[(1.5, 0.1)]),
        "has to be from 0 to 1, got 1.5",
    );
    fails(
        |builder| builder.window(std::time::Duration::from_millis(1), 3),
        "at least 0.1 seconds",
    );
}

/// Updates through the second recorder used to be lost.
#[test]
fn two_recorders_of_one_registry_add_up() {
    let registry = Registry::new();
    let recorder = || {
        Recorder::builder()
            .registry(&registry)
            .limit(2)
            .build()
            .unwrap()
    };
    for _ in 0..2 {
        with_local_recorder(&recorder(), || {
            counter!("events", "a" => "b").increment(2);
            histogram!("size").record(1.0);
            // Series beyond the limit share one total.
            for n in 0..10 {
                counter!("mirrored", "n" => n.to_string()).absolute(7);
            }
        });
    }
    let seen = registry.snapshot();
    assert_eq!(seen.get("events", &[("a", "b")]), Some(4.0));
    assert_eq!(seen.get("size_count", &[]), Some(2.0));
    let overflow = seen.get("mirrored", &[("overflow", "__overflow__")]);
    assert!(overflow.is_some_and(|n| n <= 14.0), "{overflow:?}");
}

/// The series without labels and those beyond the limit used to share one largest total.
#[test]
fn beyond_the_limit_absolute_has_a_total_of_its_own() {
    let (registry, _) = ours(
        |builder| builder.limit(2),
        || {
            counter!("mirrored").absolute(100);
            counter!("mirrored", "n" => "1").absolute(1);
            counter!("mirrored", "n" => "2").absolute(7);
            counter!("mirrored", "n" => "3").absolute(9);
            counter!("mirrored").absolute(101);
        },
    );
    let seen = registry.snapshot();
    let overflow = [("overflow", "__overflow__")];
    assert_eq!(seen.get("mirrored", &overflow), Some(9.0));
    assert_eq!(seen.get("mirrored", &[]), Some(101.0));
}

#[test]
fn a_second_recorder_is_an_error_and_the_first_stays() {
    let registry = Registry::new();
    let other = Registry::new();
    let builder = || Recorder::builder();
    // The order of tests does not matter, since the other tests of this process use local
    // recorders.
    builder().registry(&registry).install().unwrap();
    let error = builder().registry(&other).install().unwrap_err();
    assert!(error.to_string().contains("installed already"), "{error}");
    counter!("installed").increment(1);
    assert_eq!(registry.snapshot().get("installed", &[]), Some(1.0));
    assert_eq!(other.snapshot().get("installed", &[]), None);
}

/// A description used to be lost when another recorder used the family, and the family's updates
/// were not exported.
#[test]
fn two_recorders_agree_on_what_was_described() {
    let registry = Registry::new();
    let recorder = || Recorder::builder().registry(&registry).build().unwrap();
    let (a, b, c) = (recorder(), recorder(), recorder());
    with_local_recorder(&a, || {
        counter!("wait_seconds").increment(1);
        describe_counter!("wait_seconds", Unit::Seconds, "Waited.");
    });
    with_local_recorder(&b, || {
        describe_counter!("wait_seconds", Unit::Seconds, "Waited.");
        counter!("wait_seconds").increment(2);
    });
    // A recorder without a description uses the same family.
    with_local_recorder(&c, || counter!("wait_seconds").increment(4));
    let now = registry.snapshot();
    assert_eq!(now.get("wait_seconds", &[]), Some(7.0));
    assert_eq!(now.family("wait_seconds").unwrap().unit(), "seconds");
}

/// Each name used to take 10 KB forever, and more time than the one before.
#[test]
fn names_are_limited() {
    let registry = Registry::new();
    let recorder = Recorder::builder()
        .registry(&registry)
        .limit_names(3)
        .build()
        .unwrap();
    with_local_recorder(&recorder, || {
        for i in 0..100 {
            metrics::counter!(format!("name_{i}")).increment(1);
            metrics::gauge!(format!("gauge_{i}")).set(1.0);
        }
        metrics::counter!("name_0").increment(1);
    });
    assert_eq!(registry.names(), ["gauge_0", "name_0", "name_1"]);
    assert_eq!(registry.snapshot().get("name_0", &[]), Some(2.0));
}
