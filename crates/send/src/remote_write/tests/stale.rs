//! Stale markers: which series end, and when.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Takes in a snapshot, sends it, and returns the samples, ends before others.
fn round(exchange: &mut Exchange, families: &[Family], millis: u64) -> Vec<Seen> {
    exchange.take(&snapshot(families.iter().cloned(), NOW + millis));
    let requests = flush(exchange);
    requests
        .into_iter()
        .flat_map(|request| request.samples)
        .collect()
}

/// Returns the series that end, with their time since [`NOW`].
fn ends(samples: &[Seen]) -> Vec<(String, i64)> {
    let ends = samples.iter().filter(|sample| sample.is_stale());
    ends.map(|sample| (sample.text(), sample.time - NOW as i64))
        .collect()
}

fn end(text: &str, millis: i64) -> (String, i64) {
    (text.to_owned(), millis)
}

#[test]
fn a_series_that_is_gone_gets_one_marker() {
    for settings in both() {
        let mut exchange = exchange(&settings.label("job", "mail"));
        let all = round(&mut exchange, &[gauges("g", &["1", "2", "3"])], 0);
        assert_eq!(ends(&all), []);
        let rest = round(&mut exchange, &[gauges("g", &["1", "3"])], 1_000);
        assert_eq!(ends(&rest), [end(r#"g{job="mail",x="2"}"#, 999)]);
        assert_eq!(rest.len(), 3);
        let rest = round(&mut exchange, &[gauges("g", &["1", "3"])], 2_000);
        assert_eq!((ends(&rest).len(), rest.len()), (0, 2));
    }
}

#[test]
fn the_order_of_series_does_not_matter() {
    let mut exchange = exchange(&v2());
    round(&mut exchange, &[gauges("g", &["1", "2", "3", "4"])], 0);
    let samples = round(&mut exchange, &[gauges("g", &["4", "5", "2", "1"])], 1_000);
    assert_eq!(ends(&samples), [end(r#"g{x="3"}"#, 999)]);
}

#[test]
fn a_family_that_is_gone_ends_with_all_its_samples() {
    let gone = [
        family("h", Kind::Histogram, &[(&[], fixed(&[1.0], &[1, 2], 9.0))]),
        exponential("n", &[1.0]),
        family("s", Kind::Summary, &[(&[], summary(1, 2.0, &[(0.5, 2.0)]))]),
    ];
    let expected = [
        r#"h_bucket{le="1.0"}"#,
        r#"h_bucket{le="+Inf"}"#,
        "h_sum",
        "h_count",
        "n",
        r#"s{quantile="0.5"}"#,
        "s_sum",
        "s_count",
    ];
    for settings in both() {
        let mut exchange = exchange(&settings);
        round(&mut exchange, &gone, 0);
        let samples = round(&mut exchange, &[gauges("a", &["1"])], 1_000);
        assert_eq!(ends(&samples), expected.map(|text| end(text, 999)));
        assert_eq!(samples.len(), expected.len() + 1);
        // A native histogram ends with a native histogram.
        let native = samples[4].histogram();
        assert_eq!(native.sum.to_bits(), STALE.to_bits());
        assert_eq!(native.count, Some(messages::Count::Int(0)));
        assert!(native.positive_spans.is_empty() && native.custom_values.is_empty());
    }
}

#[test]
fn constant_labels_are_on_markers() {
    let registry = tallies::Registry::new();
    registry.add_constant("host", "a").unwrap();
    let jobs = tallies::Counter::builder("jobs_total", "").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    jobs.with(["mail"]).inc();
    jobs.with(["print \"2\""]).inc();
    let mut exchange = exchange(&v2());
    exchange.take(&registry.snapshot());
    flush(&mut exchange);
    jobs.remove(["print \"2\""]);
    let later = registry.snapshot();
    let later = Snapshot::new(later.families().cloned().collect(), at(NOW + 999_999_999)).unwrap();
    exchange.take(&later);
    let ends = flush(&mut exchange);
    let ends: Vec<_> = ends[0]
        .samples
        .iter()
        .filter(|sample| sample.is_stale())
        .collect();
    assert_eq!(ends.len(), 1);
    assert_eq!(
        ends[0].text(),
        r#"jobs_total{host="a",queue="print \"2\""}"#
    );
}

#[test]
fn other_buckets_and_quantiles_end_the_old_ones() {
    let families = |bound: f64, phi: f64| {
        [
            family(
                "h",
                Kind::Histogram,
                &[(&[], fixed(&[1.0, bound], &[1, 2, 3], 9.0))],
            ),
            family("s", Kind::Summary, &[(&[], summary(1, 2.0, &[(phi, 2.0)]))]),
        ]
    };
    let mut exchange = exchange(&v2());
    round(&mut exchange, &families(2.0, 0.5), 0);
    let samples = round(&mut exchange, &families(3.0, 0.9), 1_000);
    let expected = [
        end(r#"h_bucket{le="2.0"}"#, 999),
        end(r#"s{quantile="0.5"}"#, 999),
    ];
    assert_eq!(ends(&samples), expected);
    assert_eq!(ends(&round(&mut exchange, &families(3.0, 0.9), 2_000)), []);
}

#[test]
fn another_kind_ends_what_it_does_not_go_on_with() {
    let as_gauge = [family("m", Kind::Gauge, &[(&[], Value::Gauge(1.0))])];
    let as_counter = [family("m", Kind::Counter, &[(&[], counted(1))])];
    let as_histogram = [family(
        "m",
        Kind::Histogram,
        &[(&[], fixed(&[], &[1], 1.0))],
    )];
    let mut exchange = exchange(&v2());
    round(&mut exchange, &as_gauge, 0);
    assert_eq!(ends(&round(&mut exchange, &as_counter, 1_000)), []);
    assert_eq!(
        ends(&round(&mut exchange, &as_histogram, 2_000)),
        [end("m", 1_999)]
    );
    // The series goes on as a native histogram.
    round(&mut exchange, &as_gauge, 3_000);
    assert_eq!(
        ends(&round(&mut exchange, &[exponential("m", &[1.0])], 4_000)),
        []
    );
}

/// The marker comes before the sample of the other family, so that no receiver rejects it.
#[test]
fn another_family_can_go_on_with_a_series() {
    let mut exchange = exchange(&v2());
    round(
        &mut exchange,
        &[family("a_sum", Kind::Gauge, &[(&[], Value::Gauge(1.0))])],
        0,
    );
    let summary = family("a", Kind::Summary, &[(&[], summary(1, 2.0, &[]))]);
    let samples = round(&mut exchange, &[summary], 1_000);
    let seen: Vec<_> = samples
        .iter()
        .map(|s| (s.text(), s.time - NOW as i64))
        .collect();
    assert_eq!(
        seen,
        [
            end("a_sum", 999),
            end("a_sum", 1_000),
            end("a_count", 1_000)
        ]
    );
    assert!(samples[0].is_stale() && samples[1].float() == 2.0);
}

#[test]
fn all_series_end_at_a_clean_shutdown() {
    for settings in both() {
        let mut exchange = exchange(&settings);
        exchange.most_samples = 3;
        let families = [
            gauges("g", &["1", "2"]),
            family("h", Kind::Histogram, &[(&[], fixed(&[], &[1], 1.0))]),
            exponential("n", &[1.0]),
        ];
        let sent = round(&mut exchange, &families, 0);
        exchange.end();
        let requests = flush(&mut exchange);
        assert_eq!(requests.len(), 3);
        let ended: Vec<_> = requests
            .into_iter()
            .flat_map(|request| request.samples)
            .collect();
        assert!(
            ended
                .iter()
                .all(|sample| sample.is_stale() && sample.time == NOW as i64 + 1)
        );
        let texts = |samples: &[Seen]| samples.iter().map(Seen::text).collect::<Vec<_>>();
        assert_eq!(texts(&ended), texts(&sent));
        assert!(
            ended
                .iter()
                .all(|sample| sample.start == 0 && sample.exemplars.is_empty())
        );
        // Whoever goes on nevertheless ends nothing twice.
        assert_eq!(ends(&round(&mut exchange, &[], 1_000)), []);
    }
}

#[test]
fn series_that_no_receiver_can_have_do_not_end() {
    let mut exchange = exchange(&v2());
    exchange.most_samples = 2;
    exchange.take(&snapshot([gauges("g", &["1", "2", "3", "4"])], NOW));
    next(&mut exchange).unwrap();
    // The receiver may have the first request.
    exchange.answered(None);
    let samples = round(&mut exchange, &[gauges("a", &["1"])], 1_000);
    assert_eq!(
        ends(&samples),
        [end(r#"g{x="1"}"#, 999), end(r#"g{x="2"}"#, 999)]
    );
    exchange.take(&snapshot(
        [gauges("a", &["1"]), gauges("b", &["1"])],
        NOW + 2_000,
    ));
    exchange.end();
    let ended: Vec<_> = flush(&mut exchange)
        .iter()
        .flat_map(Received::texts)
        .collect();
    assert_eq!(ended, [r#"a{x="1"}"#]);
}

#[test]
fn series_that_a_walk_from_the_middle_did_not_reach_do_not_end() {
    let mut exchange = exchange(&v2());
    exchange.most_samples = 2;
    let mut take = |labels: &[&str], millis, requests| {
        exchange.take(&snapshot([gauges("g", labels)], NOW + millis));
        let mut samples = Vec::new();
        for _ in 0..requests {
            let request = next(&mut exchange).unwrap();
            exchange.answered(Some(&all_written(&request)));
            samples.extend(request.samples);
        }
        samples
    };
    assert_eq!(take(&["1", "2", "3", "4"], 0, 1).len(), 2);
    // Markers of the two that were sent, and then the walk goes on at the third series.
    let samples = take(&["5", "6", "3", "4"], 1_000, 2);
    let texts: Vec<_> = samples.iter().map(Seen::text).collect();
    assert_eq!(
        texts,
        ["1", "2", "3", "4"].map(|x| format!("g{{x=\"{x}\"}}"))
    );
    let ended = ends(&take(&[], 2_000, 1));
    assert_eq!(
        ended,
        ["3", "4"].map(|x| end(&format!("g{{x=\"{x}\"}}"), 1_999))
    );
    assert!(next(&mut exchange).is_none());
}

#[test]
fn series_that_differ_in_a_constant_label_differ() {
    let page = |host: &str, millis| {
        let registry = tallies::Registry::new();
        registry.add_constant("host", host).unwrap();
        registry.counter("jobs_total", "").unwrap().inc();
        let families = registry.snapshot();
        snapshot(families.families().cloned(), NOW + millis)
    };
    let mut exchange = exchange(&v2());
    exchange.take(&page("a", 0));
    flush(&mut exchange);
    exchange.take(&page("b", 1_000));
    assert_eq!(exchange.queued(), 1);
    exchange.take(&page("b", 2_000));
    assert_eq!(exchange.queued(), 1);
    let samples: Vec<_> = flush(&mut exchange)
        .iter()
        .flat_map(Received::texts)
        .collect();
    assert_eq!(
        samples,
        ["a", "b"].map(|host| format!("jobs_total{{host=\"{host}\"}}"))
    );
}

/// A sample after a marker that has to wait could be newer than the marker, in the same series.
#[test]
fn samples_wait_for_all_markers() {
    let mut exchange = exchange(&v2());
    exchange.most_samples = 6;
    let value = fixed(&[1.0], &[1, 1], 1.0);
    let series: [(&[(&str, &str)], _); 2] = [(&[("x", "1")], value), (&[("x", "2")], value)];
    round(&mut exchange, &[family("h", Kind::Histogram, &series)], 0);
    exchange.take(&snapshot([gauges("g", &["1", "2"])], NOW + 1_000));
    let requests = flush(&mut exchange);
    let lens: Vec<_> = requests
        .iter()
        .map(|request| request.samples.len())
        .collect();
    assert_eq!(lens, [4, 6]);
    assert!(requests[0].samples.iter().all(Seen::is_stale));
}

#[test]
fn markers_outlive_an_outage_of_half_an_hour() {
    let fail = |exchange: &mut Exchange, families: &[Family], millis: u64| {
        exchange.take(&snapshot(families.iter().cloned(), NOW + millis));
        while next(exchange).is_some() {
            if exchange.answered(Some(&answer(503, &[]))) == Verdict::Retry {
                break;
            }
        }
    };
    let mut exchange = exchange(&v2());
    round(&mut exchange, &[gauges("g", &["1", "2", "3"])], 0);
    fail(&mut exchange, &[gauges("g", &["1", "3"])], 1_000);
    fail(&mut exchange, &[gauges("g", &["1"])], 2_000);
    assert_eq!(exchange.queued(), 2);
    let samples = round(&mut exchange, &[gauges("g", &["1"])], 1_800_000);
    assert_eq!(
        ends(&samples),
        [end(r#"g{x="2"}"#, 999), end(r#"g{x="3"}"#, 1_999)]
    );
    fail(&mut exchange, &[], 2_000_000);
    fail(&mut exchange, &[], 2_000_000 + 1_799_999);
    assert_eq!(exchange.queued(), 1);
    fail(&mut exchange, &[], 2_000_000 + 1_800_000);
    assert_eq!(exchange.queued(), 0);
}

#[test]
fn a_series_that_comes_back_before_its_marker_was_sent_needs_none() {
    let mut exchange = exchange(&v2());
    let both = [gauges("g", &["1", "2"])];
    round(&mut exchange, &both, 0);
    exchange.take(&snapshot([gauges("g", &["1"])], NOW + 1_000));
    assert_eq!(exchange.queued(), 1);
    let samples = round(&mut exchange, &both, 2_000);
    assert_eq!((ends(&samples), samples.len()), (vec![], 2));
    // Before it is sent again, it is gone again: the receiver still has it from the first round.
    exchange.take(&snapshot([gauges("g", &["1"])], NOW + 3_000));
    exchange.take(&snapshot([gauges("g", &["1", "2"])], NOW + 4_000));
    let samples = round(&mut exchange, &[gauges("g", &["1"])], 5_000);
    assert_eq!(ends(&samples), [end(r#"g{x="2"}"#, 4_999)]);
}

/// Other series every second, and a receiver that answers nothing: it may have what one request has
/// room for besides the markers.
#[test]
fn the_queue_is_bounded() {
    let mut exchange = exchange(&v2());
    for round in 0..100 {
        let labels: Vec<_> = (0..100).map(|i| format!("{round}-{i}")).collect();
        let labels: Vec<_> = labels.iter().map(|label| &**label).collect();
        exchange.take(&snapshot([gauges("g", &labels)], NOW + round * 1_000));
        next(&mut exchange).unwrap();
        exchange.answered(None);
        assert!(exchange.queued() <= 2_000);
    }
    assert_eq!(exchange.queued(), 2_000);
}

/// The outcome of one request.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Written,
    /// The receiver writes it, and its answer is lost.
    Lost,
    Dropped,
    Unavailable,
}

/// A receiver that has the last sample of each series: its time and the bits of its value.
#[derive(Default)]
struct Storage(BTreeMap<Labels, (i64, u64)>);

impl Storage {
    /// Writes samples, as Prometheus does: a sample has to be newer than the last one, or equal.
    fn write(&mut self, samples: &[Seen]) {
        for sample in samples {
            let new = (sample.time, sample.bits());
            let last = self.0.entry(sample.labels.clone()).or_insert(new);
            assert!(
                new.0 > last.0 || new == *last,
                "{} after {last:?}: {new:?}",
                sample.text()
            );
            *last = new;
        }
    }
}

/// One snapshot of the model: which series it has, with which buckets, and what happens to the
/// requests.
#[derive(Clone, Debug)]
struct Step {
    gauges: u8,
    histograms: u8,
    bound: u8,
    natives: u8,
    millis: u64,
    outcomes: Vec<Outcome>,
}

impl Step {
    fn families(&self, value: u64) -> Vec<Family> {
        let has = |bits: u8, i: u8| bits >> i & 1 == 1;
        let names = ["0", "1", "2", "3"];
        let mut families = vec![
            Family::empty("g", "", "", Kind::Gauge).unwrap(),
            Family::empty("h", "", "", Kind::Histogram).unwrap(),
        ];
        let bounds = [1.0, f64::from(self.bound) + 2.0];
        let counts = [value, 1, 1];
        for (i, name) in (0..).zip(names) {
            let labels = [("x", name)];
            if has(self.gauges, i) {
                families[0]
                    .push(&labels, Value::Gauge(value as f64))
                    .unwrap();
            }
            if has(self.histograms, i) {
                families[1]
                    .push(&labels, fixed(&bounds, &counts, value as f64))
                    .unwrap();
            }
            if has(self.natives, i) {
                families.push(exponential(&format!("n{i}"), &[value as f64]));
            }
        }
        families
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Written),
        1 => Just(Outcome::Lost),
        1 => Just(Outcome::Dropped),
        1 => Just(Outcome::Unavailable),
    ];
    let outcomes = proptest::collection::vec(outcome, 0..8);
    (0..16_u8, 0..16_u8, 0..2_u8, 0..4_u8, 2..5_000_u64, outcomes).prop_map(
        |(gauges, histograms, bound, natives, millis, outcomes)| Step {
            gauges,
            histograms,
            bound,
            natives,
            millis,
            outcomes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// After an exchange with any losses, a receiver that answers again has the last value of each
    /// series that is there, and the end of all others. It never rejects a sample.
    #[test]
    fn a_receiver_learns_the_end_of_every_series(
        steps in proptest::collection::vec(any_step(), 1..10),
        most_samples in 1_u64..12,
        is_v2 in any::<bool>(),
    ) {
        let mut exchange = exchange(&if is_v2 { v2() } else { v1() });
        exchange.most_samples = most_samples;
        let (mut storage, mut now) = (Storage::default(), NOW);
        for (value, step) in (1..).zip(&steps) {
            now += step.millis;
            exchange.take(&snapshot(step.families(value), now));
            for outcome in &step.outcomes {
                let Some(request) = next(&mut exchange) else {
                    break;
                };
                if let Outcome::Written | Outcome::Lost = outcome {
                    storage.write(&request.samples);
                }
                let written = all_written(&request);
                let unavailable = answer(503, &[]);
                exchange.answered(match outcome {
                    Outcome::Written => Some(&written),
                    Outcome::Lost | Outcome::Dropped => None,
                    Outcome::Unavailable => Some(&unavailable),
                });
            }
        }
        let last = &steps[steps.len() - 1];
        now += 1_000;
        let last = snapshot(last.families(1_000_000), now);
        exchange.take(&last);
        let mut live = BTreeMap::new();
        for request in flush(&mut exchange) {
            storage.write(&request.samples);
            let samples = request.samples.iter().filter(|sample| !sample.is_stale());
            live.extend(samples.map(|s| (s.labels.clone(), (s.time, s.bits()))));
        }
        prop_assert_eq!(exchange.queued(), 0);
        for (labels, seen) in &storage.0 {
            match live.remove(labels) {
                Some(expected) => prop_assert_eq!(*seen, expected),
                None => prop_assert_eq!(seen.1, STALE.to_bits(), "{:?} has not ended", labels),
            }
        }
        prop_assert!(live.is_empty());
        exchange.end();
        for request in flush(&mut exchange) {
            prop_assert!(request.samples.iter().all(Seen::is_stale));
            storage.write(&request.samples);
        }
        prop_assert!(storage.0.values().all(|(_, bits)| *bits == STALE.to_bits()));
    }
}
