//! Requests: their limits, and the order in which they are sent and sent again.

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use tallies::snapshot::Number;

use crate::otlp::walk::RequestLimits;

use super::*;

/// Returns counters of as many series, and a gauge.
fn many(series: usize) -> Snapshot {
    let mut families = Vec::new();
    for name in ["a_total", "b_total"] {
        let mut family = family(name, Kind::Counter, &[]);
        for i in 0..series {
            let labels = [("i", &*i.to_string())];
            let number = Number::Int(i as u64 + 1);
            family.push(&labels, Value::Counter(number)).unwrap();
        }
        families.push(family);
    }
    families.push(family("load", Kind::Gauge, &[(&[], Value::Gauge(0.5))]));
    snapshot(families, 5)
}

/// Returns name and value of every data point.
fn points(bodies: &[Vec<u8>]) -> Vec<(String, u64)> {
    let metrics = bodies.iter().flat_map(|body| metrics(decoded(body)));
    let points = metrics.flat_map(|metric| {
        let points = match metric.data.unwrap() {
            Data::Sum(sum) => sum.data_points,
            Data::Gauge(gauge) => gauge.data_points,
            other => panic!("{other:?}"),
        };
        let names = std::iter::repeat(metric.name);
        let values = points.into_iter().map(|point| {
            let label = texts(&point.attributes)
                .first()
                .map(|(_, value)| value.parse::<u64>());
            label.map_or(0, |label| label.unwrap())
        });
        names.zip(values.collect::<Vec<_>>())
    });
    points.collect()
}

#[test]
fn a_request_is_bounded_and_the_next_one_goes_on() {
    let snapshot = many(25);
    let whole = bodies(&mut {
        let mut protocol = Otlp::new().protocol();
        protocol.take(&snapshot);
        protocol
    });
    assert_eq!(whole.len(), 1);
    let expected = points(&whole);
    assert_eq!(expected.len(), 51);
    // Of 10 data points: 10, 10, 5 and 5, and so on.
    for (points_limit, bytes, requests) in [(10, usize::MAX, 6), (25, usize::MAX, 3), (1, 1, 51)] {
        let mut protocol = Otlp::new().protocol().limits(RequestLimits {
            points: points_limit,
            bytes,
        });
        protocol.take(&snapshot);
        let bodies = bodies(&mut protocol);
        assert_eq!(bodies.len(), requests);
        assert_eq!(points(&bodies), expected);
    }
    let mut protocol = Otlp::new().protocol().limits(RequestLimits {
        points: u64::MAX,
        bytes: 1000,
    });
    protocol.take(&snapshot);
    let bodies = bodies(&mut protocol);
    // The lengths of the messages around come on top, and the point that reaches the limit.
    assert!(bodies.len() > 2 && bodies.iter().all(|body| body.len() < 1100));
    assert_eq!(points(&bodies), expected);
}

#[test]
fn a_request_has_ten_thousand_points_by_default() {
    let mut protocol = Otlp::new().protocol();
    protocol.take(&many(20_000));
    let bodies = bodies(&mut protocol);
    assert_eq!(bodies.len(), 5);
    assert!(bodies.iter().all(|body| body.len() < 1_100_000));
    assert_eq!(points(&bodies).len(), 40_001);
}

#[test]
fn a_request_is_sent_again_byte_for_byte_until_it_is_answered() {
    for otlp in [
        Otlp::new(),
        Otlp::new().json(),
        Otlp::new().temporality(Temporality::Delta),
    ] {
        let limits = RequestLimits {
            points: 4,
            bytes: usize::MAX,
        };
        let mut protocol = otlp.protocol().limits(limits);
        protocol.take(&many(5));
        let mut last = Vec::new();
        let mut requests = 0;
        loop {
            let mut body = Vec::new();
            let Some(headers) = protocol.next(&mut body) else {
                break;
            };
            assert_ne!(body, last);
            for answer in [None, Some(429), Some(503)] {
                let answer = answer.map(status);
                assert_eq!(protocol.answered(answer.as_ref()), Verdict::Retry);
                let mut again = Vec::new();
                assert_eq!(protocol.next(&mut again).as_ref(), Some(&headers));
                assert_eq!(body, again);
            }
            // One that is refused is not sent again, either.
            match requests {
                1 => assert_eq!(protocol.answered(Some(&status(400))), Verdict::Refused),
                _ => accept(&mut protocol),
            }
            requests += 1;
            last = body;
        }
        assert_eq!(requests, 3);
        assert_eq!(protocol.kept(), 0);
    }
}

/// The receiver takes one request of each snapshot.
#[test]
fn a_receiver_that_is_too_slow_gets_each_total_in_turn() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let otlp = Otlp::new().temporality(temporality);
        let mut protocol = otlp.protocol().limits(RequestLimits {
            points: 3,
            bytes: usize::MAX,
        });
        let gauges = |name| {
            let series = [[("i", "0")], [("i", "1")]];
            let series = series
                .each_ref()
                .map(|labels| (&labels[..], Value::Gauge(0.5)));
            family(name, Kind::Gauge, &series)
        };
        let mut snapshots = (5..).map(|time| {
            let names = ["a", "b", "c"].into_iter();
            snapshot(names.map(gauges).collect(), time)
        });
        let mut first = || {
            protocol.take(&snapshots.next().unwrap());
            let mut body = Vec::new();
            protocol.next(&mut body).unwrap();
            accept(&mut protocol);
            let points = points(&[body]).into_iter();
            points
                .map(|(name, i)| format!("{name}{i}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let seen = [first(), first(), first()];
        assert_eq!(
            seen,
            ["a0 a1 b0", "b1 c0 c1", "a0 a1 b0"],
            "{temporality:?}"
        );
        // One that is fast gets all of them.
        protocol.take(&snapshots.next().unwrap());
        let all = points(&bodies(&mut protocol));
        let all: Vec<_> = all.iter().map(|(name, i)| format!("{name}{i}")).collect();
        assert_eq!(all, ["b1", "c0", "c1", "a0", "a1", "b0"]);
        protocol.take(&snapshots.next().unwrap());
        assert_eq!(points(&bodies(&mut protocol))[0], ("a".to_owned(), 0));
    }
}

#[test]
fn a_snapshot_takes_the_place_of_the_last() {
    let mut protocol = Otlp::new().protocol().limits(RequestLimits {
        points: 4,
        bytes: usize::MAX,
    });
    protocol.take(&many(5));
    assert!(protocol.next(&mut Vec::new()).is_some());
    protocol.take(&many(2));
    // The answer to a request of the last snapshot comes too late.
    accept(&mut protocol);
    let expected = [
        ("a_total", 0),
        ("a_total", 1),
        ("b_total", 0),
        ("b_total", 1),
        ("load", 0),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(points(&bodies(&mut protocol)), expected);
}
