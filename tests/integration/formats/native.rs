//! Native histograms from the user's view: alone, beside fixed buckets, in text, in intervals, and
//! merged.

use tallies::{Histogram, Registry, snapshot::Snapshot};

use crate::client_model;

/// Returns a bucket's index by its definition: the smallest power of 2^(1/8) that is not below the
/// value.
fn bucket(value: f64) -> i32 {
    (-100..100)
        .find(|i| value <= 2_f64.powf(f64::from(*i) / 8.0))
        .unwrap()
}

fn histogram(snapshot: &Snapshot, name: &str) -> tallies::snapshot::Native {
    let family = snapshot.family(name).unwrap();
    let (_, value) = family.series().next().unwrap();
    let tallies::snapshot::Value::Histogram(value) = value else {
        panic!("not a histogram")
    };
    value.native().unwrap().clone()
}

static STATIC: Histogram = Histogram::new("native_static_seconds")
    .native(3)
    .native_limit(16)
    .zero_threshold(0.001);

#[test]
fn a_static_halves_its_resolution_at_the_limit() {
    STATIC.observe(0.0005);
    (0..16).for_each(|i| STATIC.observe(2_f64.powf((f64::from(i) - 0.5) / 8.0)));
    let fine = STATIC.get().native.unwrap();
    assert_eq!((fine.schema(), fine.positive().len()), (3, 16));
    assert_eq!((fine.zero_count(), fine.zero_threshold()), (1, 0.001));
    STATIC.observe(100.0);
    let coarse = STATIC.get().native.unwrap();
    assert_eq!((coarse.schema(), coarse.positive().len()), (2, 9 + 1));
    assert_eq!(coarse.count(), 18);
}

#[test]
fn beside_fixed_buckets_both_count_the_same() {
    let registry = Registry::new();
    let both = Histogram::builder("both_seconds", "Both.")
        .buckets(&[0.1, 1.0])
        .native(3)
        .labels(["x"])
        .register(&registry)
        .unwrap();
    // Cold and hot observations, in two threads.
    std::thread::scope(|scope| {
        for part in 0..2 {
            let both = &both;
            scope.spawn(move || {
                (0..3000).for_each(|i| both.with(["a"]).observe(f64::from(i % 50 + part) * 0.04));
            });
        }
    });
    both.with(["a"]).observe_many(-0.3, 5);
    let seen = both.find(["a"]).map(|series| series.get()).unwrap();
    let native = seen.native.unwrap();
    assert_eq!((native.count(), seen.counts.iter().sum()), (6005, 6005_u64));
    assert_eq!(native.negative(), [(bucket(0.3), 5)]);
    assert_eq!(native.zero_count(), 60);
    let mut plain = std::collections::BTreeMap::new();
    for i in (0..2).flat_map(|part| (0..3000).map(move |i| i % 50 + part)) {
        let value = f64::from(i) * 0.04;
        if value > 0.0 {
            *plain.entry(bucket(value)).or_insert(0) += 1;
        }
    }
    assert_eq!(native.positive(), plain.into_iter().collect::<Vec<_>>());
    let page = tallies::encode::text(&registry.snapshot());
    assert!(
        page.contains("both_seconds_bucket{x=\"a\",le=\"+Inf\"} 6005\n"),
        "{page}"
    );
    assert!(
        page.contains("both_seconds_bucket{x=\"a\",le=\"0.1\"} "),
        "{page}"
    );
}

#[test]
fn alone_text_has_one_bucket() {
    let registry = Registry::new();
    let alone = Histogram::builder("alone_bytes", "Alone.")
        .native(0)
        .register(&registry)
        .unwrap();
    [1.0, 2.0, f64::INFINITY, f64::NAN]
        .iter()
        .for_each(|x| alone.observe(*x));
    assert_eq!(
        tallies::encode::text(&registry.snapshot()),
        "# HELP alone_bytes Alone.\n# TYPE alone_bytes histogram\nalone_bytes_bucket{le=\"+Inf\"} 3\n\
         alone_bytes_sum +Inf\nalone_bytes_count 3\n"
    );
    let native = histogram(&registry.snapshot(), "alone_bytes");
    assert_eq!(native.positive(), [(0, 1), (1, 1), (1025, 1)]);
    let largest = native.quantile(1.0).unwrap();
    assert_eq!((largest.lower, largest.upper), (f64::MAX, f64::INFINITY));
}

#[test]
fn intervals_and_sums_of_processes() {
    let registry = Registry::new();
    let h = Histogram::builder("h", "")
        .native(4)
        .native_limit(20)
        .register(&registry)
        .unwrap();
    h.observe_many(1.0, 3);
    let before = registry.snapshot();
    h.observe_many(1.0, 2);
    h.observe(3.0);
    let now = registry.snapshot();
    let interval = histogram(&now.since(&before), "h");
    assert_eq!(interval.positive(), [(0, 2), (26, 1)]);
    // The resolution is halved between the two snapshots.
    (0..30).for_each(|i| h.observe(1.5_f64.powi(i)));
    let later = registry.snapshot();
    let interval = histogram(&later.since(&before), "h");
    assert!(interval.schema() < 4);
    assert_eq!(interval.count(), 2 + 1 + 30);
    let mut both = now.clone();
    both.merge(&later).unwrap();
    assert_eq!(histogram(&both, "h").count(), 6 + 36);
    assert_eq!(histogram(&both, "h").schema(), interval.schema());
    // A histogram of fixed buckets with the same name does not merge.
    let other = Registry::new();
    other.histogram("h", "").unwrap();
    let error = both.merge(&other.snapshot()).unwrap_err().to_string();
    assert!(
        error.contains("other buckets in the snapshot to merge: none here"),
        "{error}"
    );
}

#[test]
fn removed_series_stay_in_the_sum() {
    let registry = Registry::new();
    let h = Histogram::builder("h", "")
        .native(3)
        .labels(["x"])
        .register(&registry)
        .unwrap();
    for x in ["a", "b", "c"] {
        (0..2000).for_each(|i| h.with([x]).observe(f64::from(i % 40)));
    }
    h.retire(["a"]);
    h.retire(["b"]);
    for _ in 0..50 {
        h.with(["c"]).observe(1.0);
        let counts: u64 = h
            .get_all()
            .iter()
            .map(|(_, seen)| seen.native.as_ref().unwrap().count())
            .sum();
        let page = registry.snapshot();
        let all: u64 = page
            .family("h")
            .unwrap()
            .series()
            .map(|(_, value)| match value {
                tallies::snapshot::Value::Histogram(value) => {
                    assert_eq!(value.count(), value.native().unwrap().count());
                    value.count()
                }
                _ => 0,
            })
            .sum();
        assert!(all >= 6000 && counts <= all);
    }
}

#[test]
fn quantiles_come_with_bounds() {
    let registry = Registry::new();
    let fixed = Histogram::builder("fixed", "")
        .buckets(&[1.0, 2.0, 4.0])
        .register(&registry)
        .unwrap();
    [0.5, 1.5, 3.0, 9.0].iter().for_each(|x| fixed.observe(*x));
    let snapshot = registry.snapshot();
    let at = |phi| {
        let found = snapshot.quantile("fixed", &[], phi).unwrap();
        (found.lower, found.value, found.upper)
    };
    // No bound is below 0, so no value is taken to be.
    assert_eq!(at(0.25), (0.0, 1.0, 1.0));
    assert_eq!(at(0.5), (1.0, 2.0, 2.0));
    assert_eq!(at(0.75), (2.0, 4.0, 4.0));
    assert_eq!(at(1.0), (4.0, 4.0, f64::INFINITY));
    assert_eq!(snapshot.quantile("fixed", &[], 1.5), None);
    assert_eq!(snapshot.quantile("absent", &[], 0.5), None);
}

#[test]
fn bad_resolutions_are_errors() {
    let registry = Registry::new();
    let named = |name: &str| Histogram::builder(name, "");
    for (builder, why) in [
        (named("a").native(9), "schema from -4 to 8, got 9"),
        (named("b").native(-5), "schema from -4 to 8, got -5"),
        (
            named("c").native_limit(7),
            "limit from 8 to 8192 native buckets, got 7",
        ),
        (
            named("d").zero_threshold(-1.0),
            "zero threshold from 0 to 1e300, got -1.0",
        ),
        (named("e").zero_threshold(f64::NAN), "zero threshold from 0"),
    ] {
        let error = builder.register(&registry).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    named("h").native(3).register(&registry).unwrap();
    let error = named("h").native(4).get_or_register(&registry).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("but with other native buckets: schema"),
        "{error}"
    );
    named("h").native(3).get_or_register(&registry).unwrap();
}

/// Decoded by prost: without fixed buckets, the message has none, and exemplars belong to the
/// histogram itself.
#[test]
fn native_histograms_in_protobuf() {
    let registry = Registry::new();
    let alone = Histogram::builder("alone", "")
        .native(0)
        .register(&registry)
        .unwrap();
    let both = Histogram::builder("both", "")
        .native(0)
        .buckets(&[1.0])
        .register(&registry)
        .unwrap();
    for x in [0.0, 0.5, 0.75, 3.0, 1000.0, -1.0] {
        alone.observe(x);
        both.observe(x);
    }
    alone.observe_exemplar(2.0, &[("trace_id", "t")]);
    let families = client_model::read(&tallies::encode::protobuf(&registry.snapshot()));
    let [alone, both] = [0, 1].map(|i| families[i].metric[0].histogram.clone().unwrap());
    let spans = |spans: &[client_model::BucketSpan]| -> Vec<_> {
        spans
            .iter()
            .map(|span| (span.offset.unwrap(), span.length.unwrap()))
            .collect()
    };
    assert_eq!((alone.schema, alone.zero_count), (Some(0), Some(1)));
    assert_eq!(alone.zero_threshold, Some(2.0_f64.powi(-128)));
    assert_eq!((alone.sample_count, alone.bucket.len()), (Some(7), 0));
    // 0.5 is in bucket -1, 0.75 in 0, 2 in 1, 3 in 2, 1000 in 10.
    assert_eq!(spans(&alone.positive_span), [(-1, 4), (7, 1)]);
    assert_eq!(alone.positive_delta, [1, 0, 0, 0, 0]);
    assert_eq!(spans(&alone.negative_span), [(0, 1)]);
    assert_eq!(alone.negative_delta, [1]);
    assert_eq!(alone.exemplars.len(), 1);
    assert!(alone.exemplars[0].timestamp.is_some());
    let fixed: Vec<_> = both.bucket.iter().map(|b| b.cumulative_count).collect();
    assert_eq!(fixed, [Some(4), Some(6)]);
    assert_eq!(spans(&both.positive_span), [(-1, 4), (7, 1)]);
    assert_eq!(both.positive_delta, [1, 0, -1, 1, 0]);
}
