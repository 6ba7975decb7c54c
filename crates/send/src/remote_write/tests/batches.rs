//! Requests: their size, and the walk over a snapshot.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn numbers(n: usize) -> Vec<String> {
    (0..n).map(|i| i.to_string()).collect()
}

fn many(name: &str, n: usize) -> Family {
    let values = numbers(n);
    gauges(
        name,
        &values.iter().map(|value| &**value).collect::<Vec<_>>(),
    )
}

#[test]
fn a_request_has_at_most_2000_samples() {
    for settings in both() {
        let mut exchange = exchange(&settings);
        exchange.take(&snapshot([many("a", 4_100), many("b", 1)], NOW));
        let requests = flush(&mut exchange);
        let lens: Vec<_> = requests
            .iter()
            .map(|request| request.samples.len())
            .collect();
        assert_eq!(lens, [2_000, 2_000, 101]);
    }
}

#[test]
fn all_samples_of_a_series_are_in_one_request() {
    let bounds: Vec<_> = (0..30).map(f64::from).collect();
    let counts = [1; 31];
    let value = fixed(&bounds, &counts, 1.0);
    let labels = numbers(3);
    let series: Vec<_> = labels.iter().map(|x| [("x", &**x)]).collect();
    let series: Vec<(&[(&str, &str)], _)> = series.iter().map(|x| (&x[..], value)).collect();
    let mut exchange = exchange(&v2());
    // One series has more, and is sent nevertheless.
    for (most, expected) in [
        (10, &[33, 33, 33][..]),
        (65, &[33, 33, 33]),
        (66, &[66, 33]),
    ] {
        exchange.most_samples = most;
        exchange.take(&snapshot(
            [family("h", Kind::Histogram, &series)],
            NOW + most * 10,
        ));
        let requests = flush(&mut exchange);
        let lens: Vec<_> = requests
            .iter()
            .map(|request| request.samples.len())
            .collect();
        assert_eq!(lens, expected);
    }
}

#[test]
fn a_request_has_about_a_mebibyte_at_most() {
    let value = "v".repeat(3_000);
    let labels: Vec<_> = (0..1_000).map(|i| format!("{value}{i}")).collect();
    let labels: Vec<_> = labels.iter().map(|label| &**label).collect();
    for settings in both() {
        let mut exchange = exchange(&settings);
        exchange.take(&snapshot([gauges("g", &labels)], NOW));
        let requests = flush(&mut exchange);
        assert_eq!(requests.len(), 3);
        for request in &requests[..2] {
            let range = (1 << 20)..(1 << 20) + 4_000;
            assert!(
                range.contains(&request.message.len()),
                "{}",
                request.message.len()
            );
        }
        let samples: usize = requests.iter().map(|request| request.samples.len()).sum();
        assert_eq!(samples, 1_000);
    }
}

#[test]
fn a_retry_is_the_same_byte_for_byte() {
    for settings in both() {
        let mut exchange = exchange(&settings);
        exchange.take(&snapshot([many("a", 10), many("b", 10)], NOW));
        flush(&mut exchange);
        // With markers.
        exchange.take(&snapshot([many("a", 5)], NOW + 1_000));
        let first = next(&mut exchange).unwrap();
        for retry in [None, Some(answer(503, &[])), Some(answer(429, &[]))] {
            assert_eq!(exchange.answered(retry.as_ref()), Verdict::Retry);
            let again = next(&mut exchange).unwrap();
            assert_eq!(
                (again.headers, again.body),
                (first.headers.clone(), first.body.clone())
            );
        }
    }
}

#[test]
fn a_refused_request_is_lost_and_the_rest_follows() {
    let mut exchange = exchange(&v1());
    exchange.most_samples = 2;
    exchange.take(&snapshot([many("a", 6)], NOW));
    let refused = next(&mut exchange).unwrap();
    assert_eq!(exchange.answered(Some(&answer(404, &[]))), Verdict::Refused);
    let rest = flush(&mut exchange);
    assert_eq!(refused.texts(), [r#"a{x="0"}"#, r#"a{x="1"}"#]);
    assert_eq!(
        (rest.len(), rest[0].texts()[0].as_str()),
        (2, r#"a{x="2"}"#)
    );
}

#[test]
fn a_newer_snapshot_supersedes_the_rest() {
    let mut exchange = exchange(&v2());
    exchange.most_samples = 2;
    exchange.take(&snapshot([many("a", 6), many("b", 3)], NOW));
    assert_eq!(exchange.superseded(), 0);
    let first = next(&mut exchange).unwrap();
    exchange.answered(Some(&all_written(&first)));
    next(&mut exchange).unwrap();
    exchange.answered(None);
    // Seven samples were not acknowledged.
    exchange.take(&snapshot([many("a", 6), many("b", 3)], NOW + 1_000));
    assert_eq!(exchange.superseded(), 7);
    let texts: Vec<_> = flush(&mut exchange)
        .iter()
        .flat_map(Received::texts)
        .collect();
    // The walk goes on after the last request, even if it was not answered: it may be the reason.
    let expected = [
        r#"a{x="4"}"#,
        r#"a{x="5"}"#,
        r#"b{x="0"}"#,
        r#"b{x="1"}"#,
        r#"b{x="2"}"#,
        r#"a{x="0"}"#,
        r#"a{x="1"}"#,
        r#"a{x="2"}"#,
        r#"a{x="3"}"#,
    ];
    assert_eq!(texts, expected);
    exchange.take(&snapshot([many("a", 1)], NOW + 2_000));
    assert_eq!(exchange.superseded(), 7);
}

/// A receiver that takes two requests per interval still gets every series.
#[test]
fn a_slow_receiver_gets_every_series_in_turn() {
    let mut exchange = exchange(&v2());
    exchange.most_samples = 3;
    let mut seen = BTreeMap::new();
    for round in 0..5 {
        exchange.take(&snapshot(
            [many("a", 13), many("b", 2)],
            NOW + round * 1_000,
        ));
        for _ in 0..2 {
            let request = next(&mut exchange).unwrap();
            for sample in &request.samples {
                *seen.entry(sample.text()).or_insert(0) += 1;
            }
            exchange.answered(Some(&all_written(&request)));
        }
    }
    assert_eq!(seen.len(), 15);
    assert!(seen.values().all(|n| *n >= 1), "{seen:?}");
}

/// Pages leave such a family out, too.
#[test]
fn of_two_families_with_samples_of_one_name_the_first_is_sent() {
    let families = [
        family("a", Kind::Summary, &[(&[], summary(1, 2.0, &[]))]),
        family("a_sum", Kind::Gauge, &[(&[], Value::Gauge(3.0))]),
        gauges("b", &["1"]),
    ];
    for settings in both() {
        let samples = sent(&settings, &snapshot(families.clone(), NOW));
        let texts: Vec<_> = samples.iter().map(Seen::text).collect();
        assert_eq!(texts, ["a_sum", "a_count", r#"b{x="1"}"#]);
    }
}

#[test]
fn nothing_to_send_is_no_request() {
    let mut exchange = exchange(&v2());
    assert!(next(&mut exchange).is_none());
    exchange.end();
    assert!(next(&mut exchange).is_none());
    exchange.take(&Snapshot::default());
    assert!(next(&mut exchange).is_none());
    exchange.take(&snapshot([gauges("a", &[]), gauges("b", &[])], NOW));
    assert!(next(&mut exchange).is_none());
    assert_eq!(exchange.superseded(), 0);
}

proptest! {
    #[test]
    fn requests_have_every_sample_once(
        sizes in proptest::collection::vec(0_usize..12, 0..5),
        most in 1_u64..9,
        stops in proptest::collection::vec(0_usize..4, 0..4),
    ) {
        let families = sizes.iter().enumerate();
        let families: Vec<_> = families.map(|(i, n)| many(&format!("f{i}"), *n)).collect();
        let mut expected: Vec<_> = sizes.iter().enumerate().flat_map(|(i, n)| {
            numbers(*n).into_iter().map(move |x| format!("f{i}{{x=\"{x}\"}}"))
        }).collect();
        expected.sort();
        let mut exchange = exchange(&v1());
        exchange.most_samples = most;
        // Walks that stop early, which lets the next one begin anywhere.
        for (round, stop) in (0..).zip(stops) {
            exchange.take(&snapshot(families.clone(), NOW + round * 1_000));
            for _ in 0..stop {
                if next(&mut exchange).is_some() {
                    exchange.answered(Some(&answer(204, &[])));
                }
            }
        }
        exchange.take(&snapshot(families, NOW + 1_000_000));
        let requests = flush(&mut exchange);
        prop_assert!(requests.iter().all(|request| request.samples.len() <= most as usize));
        let mut seen: Vec<_> = requests.iter().flat_map(Received::texts).collect();
        seen.sort();
        prop_assert_eq!(seen, expected);
    }
}
