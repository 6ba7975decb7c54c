//! Deltas, case by case.

use std::collections::HashSet;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use tallies::snapshot::{Histogram, Number};
use tallies::{Counter, Registry};

use crate::otlp::delta::Totals;

use super::deltas::{deltas, protocol};
use super::*;

/// Returns a counter with these series.
fn counter(name: &str, series: &[(&str, u64)], created: Option<u64>) -> Family {
    let mut family = family(name, Kind::Counter, &[]);
    for (i, (label, n)) in series.iter().enumerate() {
        let number = Value::Counter(Number::Int(*n));
        family.push(&[("x", label), ("y", "one")], number).unwrap();
        if let Some(created) = created {
            family.set_created(i, at(created));
        }
    }
    family
}

/// Returns labels, value and start of each data point.
fn received(protocol: &mut OtlpProtocol) -> Vec<(String, u64, u64)> {
    let all = bodies(protocol);
    let all = all.iter().flat_map(|body| deltas(body));
    all.map(|delta| (delta.series, delta.count.sum, delta.start))
        .collect()
}

#[test]
fn only_series_that_changed_are_sent() {
    let mut protocol = protocol(u64::MAX);
    protocol.take(&snapshot(
        vec![counter("a_total", &[("1", 0), ("2", 5)], None)],
        1,
    ));
    let two = "a_total [(\"x\", \"2\"), (\"y\", \"one\")]".to_owned();
    assert_eq!(received(&mut protocol), [(two.clone(), 5, nanos_at(1))]);
    protocol.take(&snapshot(
        vec![counter("a_total", &[("1", 0), ("2", 5)], None)],
        2,
    ));
    assert_eq!(received(&mut protocol), []);
    protocol.take(&snapshot(
        vec![counter("a_total", &[("1", 0), ("2", 6)], None)],
        3,
    ));
    assert_eq!(received(&mut protocol), [(two, 1, nanos_at(2))]);
}

/// The clock of a registry has nanoseconds, and that of its series milliseconds.
#[test]
fn a_window_begins_where_the_last_one_ended() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "Jobs done.");
    let jobs = jobs.register(&registry).unwrap();
    let mut protocol = protocol(u64::MAX);
    let mut end = None;
    for _ in 0..3 {
        jobs.inc();
        protocol.take(&registry.snapshot());
        let all = bodies(&mut protocol);
        let delta = deltas(&all[0]).remove(0);
        assert_eq!(*end.get_or_insert(delta.start), delta.start);
        end = Some(delta.end);
    }
}

#[test]
fn a_clock_that_is_set_back_gives_windows_that_are_no_shorter_than_zero() {
    let mut protocol = protocol(u64::MAX);
    for (millis, n) in [(500, 1), (100, 3), (200, 6)] {
        protocol.take(&snapshot(
            vec![counter("a_total", &[("1", n)], Some(400))],
            millis,
        ));
        let all = bodies(&mut protocol);
        let delta = deltas(&all[0]).remove(0);
        assert!(
            delta.start <= delta.end && delta.end == nanos_at(millis),
            "{delta:?}"
        );
    }
}

#[test]
fn gauges_and_summaries_are_as_they_are_now() {
    let quantiles = [(0.5, 2.0)];
    let mut protocol = protocol(u64::MAX);
    for millis in 1..3 {
        let gauge = Value::Gauge(millis as f64);
        let summary = tallies::snapshot::Summary::new(Some(millis), 3.0, &quantiles);
        let families = vec![
            family("load", Kind::Gauge, &[(&[], gauge)]),
            family("latency", Kind::Summary, &[(&[], Value::Summary(summary))]),
        ];
        protocol.take(&snapshot(families, millis));
        // The first request fails, and nothing of it is added up.
        let mut body = Vec::new();
        protocol.next(&mut body).unwrap();
        assert_eq!(protocol.answered(None), Verdict::Retry);
    }
    let metrics = metrics(decoded(&bodies(&mut protocol)[0]));
    let [Some(Data::Summary(summary)), Some(Data::Gauge(gauge))] =
        [&metrics[0].data, &metrics[1].data]
    else {
        panic!("{metrics:?}");
    };
    let value = number_data_point::Value::AsDouble(2.0);
    assert_eq!(gauge.data_points[0].value, Some(value));
    let point = &summary.data_points[0];
    assert_eq!((point.count, point.quantile_values.len()), (2, 1));
    // The first snapshot is the start.
    assert_eq!(point.start_time_unix_nano, nanos_at(1));
}

#[test]
fn a_delta_has_the_exemplars_of_its_window() {
    let mut protocol = protocol(u64::MAX);
    for (millis, n, exemplars) in [(10, 1, 1), (20, 2, 0), (30, 3, 1)] {
        let mut family = counter("a_total", &[("1", n)], Some(1));
        // The one of 20 is as old as that of 10.
        let time = if millis == 20 { 5 } else { millis };
        family.push_exemplar(0, &[], 1.0, Some(at(time))).unwrap();
        protocol.take(&snapshot(vec![family], millis));
        let metrics = metrics(decoded(&bodies(&mut protocol)[0]));
        let Some(Data::Sum(sum)) = &metrics[0].data else {
            panic!("{metrics:?}");
        };
        assert_eq!(sum.data_points[0].exemplars.len(), exemplars);
    }
}

/// A family of another kind or with other buckets does not take the counts of the one before.
#[test]
fn a_family_that_changed_is_sent_beside_its_last_delta() {
    let histogram = |bounds: &[f64], counts: &[u64]| {
        let value = Histogram::new(bounds, counts, 1.0).unwrap();
        family("sizes", Kind::Histogram, &[(&[], Value::Histogram(value))])
    };
    let mut totals = Totals::default();
    let first = totals.take(&snapshot(vec![histogram(&[1.0], &[1, 0])], 1), Vec::new());
    let second = totals.take(&snapshot(vec![histogram(&[2.0], &[5, 0])], 2), first);
    let third = totals.take(&snapshot(vec![histogram(&[2.0], &[7, 0])], 3), second);
    let fourth = totals.take(&snapshot(Vec::new(), 4), third);
    let counts = fourth.iter().map(|family| match family.series().next() {
        Some((_, Value::Histogram(value))) => value.count(),
        other => panic!("{other:?}"),
    });
    assert_eq!(counts.collect::<HashSet<_>>(), HashSet::from([7, 1]));
}

#[test]
fn a_long_outage_adds_up_series_that_have_ended() {
    let mut totals = Totals::default();
    let mut unsent = Vec::new();
    let mut all = 0;
    for pass in 0..5_u64 {
        let labels: Vec<_> = (0..2000).map(|i| format!("{pass}-{i}")).collect();
        let series: Vec<_> = labels
            .iter()
            .zip(pass..)
            .map(|(label, n)| (&**label, n))
            .collect();
        all += series.iter().map(|(_, n)| n).sum::<u64>();
        let family = counter("a_total", &series, Some(100 * pass));
        unsent = totals.take(&snapshot(vec![family], 100 * pass + 50), unsent);
        // A series that has not ended keeps its labels, whatever the others do.
        let start = format!("{pass}-");
        let series = unsent[0].series();
        let live = series.filter(|(labels, _)| {
            let label = labels.get("x");
            label.is_some_and(|x| x.starts_with(&start))
        });
        assert_eq!(live.count(), 2000, "{pass}");
    }
    let [family] = <[_; 1]>::try_from(unsent).unwrap();
    // The live ones, and at most as many as two passes left, and the overflow series.
    assert!(family.len() <= 2000 + 4096 + 1, "{}", family.len());
    let mut overflow = 0;
    let mut sum = 0;
    for (i, (labels, value)) in family.series().enumerate() {
        let Value::Counter(Number::Int(n)) = value else {
            panic!("{value:?}");
        };
        sum += n;
        if labels.is_overflow() {
            overflow += 1;
            // A label that they share stays.
            assert_eq!(labels.get("y").as_deref(), Some("one"));
            assert_eq!(family.created(i), Some(at(0)));
        }
    }
    assert_eq!((overflow, sum), (1, all));
}

/// Deltas wait for the next request; a gauge is replaced.
#[test]
fn what_is_added_up_is_not_superseded() {
    let mut protocol = protocol(1000);
    for pass in 1..4_u64 {
        let total = counter("a_total", &[("a", 3 * pass), ("b", pass)], Some(1));
        let (x, y) = ([("x", "x")], [("x", "y")]);
        let gauges = [(&x[..], Value::Gauge(1.0)), (&y[..], Value::Gauge(1.0))];
        let gauge = family("load", Kind::Gauge, &gauges);
        protocol.take(&snapshot(vec![total, gauge], 100 * pass));
        assert_eq!(protocol.superseded(), 2 * (pass - 1));
    }
}

#[test]
fn a_cut_keeps_all_of_the_other_series() {
    let registry = Registry::new();
    let sizes = tallies::Histogram::builder("sizes_bytes", "Sizes.").labels(["x"]);
    // The name does not end in the unit.
    let sizes = sizes
        .unit("pages")
        .constant("host", "db1")
        .native(3)
        .buckets(&[1.0]);
    let sizes = sizes.register(&registry).unwrap();
    for x in ["a", "b\"", "c"] {
        sizes
            .with([x])
            .observe_exemplar(2.5, &[("trace_id", "5ca1ab1e")]);
    }
    let snapshot = registry.snapshot();
    let whole = snapshot.family("sizes_bytes").unwrap();
    let rest = whole.part(1..whole.len());
    assert_eq!(
        (rest.len(), rest.name(), rest.help()),
        (2, whole.name(), whole.help())
    );
    for (i, (ours, theirs)) in rest.series().zip(whole.series().skip(1)).enumerate() {
        assert!(ours.0.iter().eq(theirs.0.iter()));
        assert_eq!(ours.1, theirs.1);
        assert_eq!(rest.created(i), whole.created(i + 1));
        assert!(rest.exemplars(i).eq(whole.exemplars(i + 1)));
    }
    // It adds up with what comes later.
    let mut both = whole.clone();
    both.merge(&rest).unwrap();
    let count = |(_, value): (_, Value<'_>)| match value {
        Value::Histogram(value) => value.count(),
        other => panic!("{other:?}"),
    };
    assert_eq!(both.series().map(count).collect::<Vec<_>>(), [1, 2, 2]);
    assert_eq!(both.unit(), "pages");
}
