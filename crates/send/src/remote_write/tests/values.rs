//! Every kind of metric, value by value, in both versions.

use super::*;
use messages::{Count, ZeroCount, buckets};

/// Returns the names with labels and the floats.
fn floats(samples: &[Seen]) -> Vec<(String, f64)> {
    samples
        .iter()
        .map(|sample| (sample.text(), sample.float()))
        .collect()
}

#[test]
fn a_counter_a_gauge_an_info_a_state_and_an_unknown_are_one_series_each() {
    let families = [
        family(
            "a_total",
            Kind::Counter,
            &[(&[("q", "x")], counted(u64::MAX))],
        ),
        family("b", Kind::Gauge, &[(&[], Value::Gauge(-0.5))]),
        family(
            "c_info",
            Kind::Info,
            &[(&[("version", "1.2")], Value::Gauge(1.0))],
        ),
        family("d", Kind::StateSet, &[(&[("d", "up")], Value::Gauge(0.0))]),
        family(
            "e",
            Kind::Unknown,
            &[(&[], Value::Gauge(f64::NEG_INFINITY))],
        ),
    ];
    let snapshot = snapshot(families, NOW);
    for (settings, kinds) in both().iter().zip([None, Some([1, 2, 2, 2, 0])]) {
        let samples = sent(settings, &snapshot);
        let expected = [
            (r#"a_total{q="x"}"#, u64::MAX as f64),
            ("b", -0.5),
            (r#"c_info{version="1.2"}"#, 1.0),
            (r#"d{d="up"}"#, 0.0),
            ("e", f64::NEG_INFINITY),
        ];
        assert_eq!(
            floats(&samples),
            expected.map(|(text, x)| (text.to_owned(), x))
        );
        assert!(samples.iter().all(|sample| sample.time == NOW as i64));
        let seen = samples
            .iter()
            .map(|sample| Some(sample.metadata.as_ref()?.0));
        let seen: Option<Vec<_>> = seen.collect();
        assert_eq!(seen, kinds.map(Vec::from));
    }
}

#[test]
fn classic_histograms_and_summaries_have_a_series_per_sample() {
    let families = [
        family(
            "h",
            Kind::Histogram,
            &[(&[("q", "x")], fixed(&[1.0, 2.5], &[3, 0, 1], 7.5))],
        ),
        family(
            "s",
            Kind::Summary,
            &[(&[], summary(4, 6.5, &[(0.5, 1.5), (0.99, 3.0)]))],
        ),
    ];
    for settings in both() {
        let samples = sent(&settings, &snapshot(families.clone(), NOW));
        let expected = [
            (r#"h_bucket{le="1.0",q="x"}"#, 3.0),
            (r#"h_bucket{le="2.5",q="x"}"#, 3.0),
            (r#"h_bucket{le="+Inf",q="x"}"#, 4.0),
            (r#"h_sum{q="x"}"#, 7.5),
            (r#"h_count{q="x"}"#, 4.0),
            (r#"s{quantile="0.5"}"#, 1.5),
            (r#"s{quantile="0.99"}"#, 3.0),
            ("s_sum", 6.5),
            ("s_count", 4.0),
        ];
        assert_eq!(
            floats(&samples),
            expected.map(|(text, x)| (text.to_owned(), x))
        );
    }
}

#[test]
fn a_summary_of_a_page_lacks_what_the_page_lacks() {
    let known = Value::Summary(Summary::new(None, f64::NAN, &[(0.5, 2.0)]));
    let family = family("s", Kind::Summary, &[(&[], known)]);
    let samples = sent(&v2(), &snapshot([family], NOW));
    assert_eq!(floats(&samples), [(r#"s{quantile="0.5"}"#.to_owned(), 2.0)]);
}

#[test]
fn an_exponential_histogram_is_one_sample() {
    let observations = [0.0, 0.5, 0.5, 3.0, 900.0, -2.0];
    let snapshot = snapshot([exponential("h", &observations)], NOW);
    let value = snapshot.family("h").unwrap().series().next().unwrap().1;
    let Value::Histogram(histogram) = value else {
        panic!("{value:?} is no histogram");
    };
    let native = histogram.native().unwrap();
    for settings in both() {
        let [sample] = &sent(&settings, &snapshot)[..] else {
            panic!("one sample");
        };
        let seen = sample.histogram();
        assert_eq!((sample.text(), sample.time), ("h".to_owned(), NOW as i64));
        assert_eq!(seen.count, Some(Count::Int(6)));
        assert_eq!(seen.zero_count, Some(ZeroCount::Int(1)));
        assert_eq!((seen.sum, seen.schema, seen.reset_hint), (902.0, 2, 0));
        assert_eq!(seen.zero_threshold, native.zero_threshold());
        assert_eq!(
            buckets(&seen.positive_spans, &seen.positive_deltas),
            native.positive()
        );
        assert_eq!(
            buckets(&seen.negative_spans, &seen.negative_deltas),
            native.negative()
        );
        // 0.5 is in bucket -4, 3.0 in 7, 900.0 in 40: too far for one span.
        assert_eq!(seen.positive_spans.len(), 3);
        assert!(seen.custom_values.is_empty() && seen.positive_counts.is_empty());
    }
}

#[test]
fn an_exponential_histogram_can_be_sent_as_the_text_page_shows_it() {
    let settings = v2().histograms(HistogramForm::Classic);
    let samples = sent(&settings, &snapshot([exponential("h", &[0.5, 3.0])], NOW));
    let expected = [
        (r#"h_bucket{le="+Inf"}"#, 2.0),
        ("h_sum", 3.5),
        ("h_count", 2.0),
    ];
    assert_eq!(
        floats(&samples),
        expected.map(|(text, x)| (text.to_owned(), x))
    );
}

#[test]
fn a_histogram_with_fixed_buckets_can_be_one_sample() {
    let counts = [2, 0, 0, 0, 0, 5, 1];
    let bounds = [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0];
    let series: [(&[(&str, &str)], _); 2] = [
        (&[("x", "1")], fixed(&bounds, &counts, f64::NAN)),
        (&[("x", "2")], fixed(&bounds, &[0; 7], 0.0)),
    ];
    let family = family("h", Kind::Histogram, &series);
    let settings = v2().histograms(HistogramForm::Native);
    let samples = sent(&settings, &snapshot([family], NOW));
    assert_eq!(samples.len(), 2);
    let seen = samples[0].histogram();
    assert_eq!(
        (seen.count.clone(), seen.schema),
        (Some(Count::Int(8)), -53)
    );
    assert_eq!(seen.custom_values, bounds);
    assert_eq!(
        buckets(&seen.positive_spans, &seen.positive_deltas),
        [(0, 2), (5, 5), (6, 1)]
    );
    assert!(seen.sum.is_nan() && !samples[0].is_stale());
    // Prometheus rejects custom buckets with any of these.
    assert_eq!(
        (seen.zero_threshold, seen.zero_count.clone()),
        (0.0, Some(ZeroCount::Int(0)))
    );
    assert!(seen.negative_spans.is_empty() && seen.negative_deltas.is_empty());
    let empty = samples[1].histogram();
    assert_eq!((empty.count.clone(), empty.sum), (Some(Count::Int(0)), 0.0));
    assert_eq!(
        (&empty.custom_values[..], empty.positive_spans.len()),
        (&bounds[..], 0)
    );
}

#[test]
fn version_1_has_no_custom_buckets() {
    let family = family("h", Kind::Histogram, &[(&[], fixed(&[1.0], &[1, 2], 9.0))]);
    let settings = v1().histograms(HistogramForm::Native);
    let samples = sent(&settings, &snapshot([family], NOW));
    assert_eq!(samples.len(), 4);
    assert_eq!(samples[0].text(), r#"h_bucket{le="1.0"}"#);
}

#[test]
fn a_gauge_histogram_says_that_its_counts_may_go_down() {
    let series: [(&[(&str, &str)], _); 1] = [(&[], fixed(&[1.0], &[1, 2], 9.0))];
    let family = family("h", Kind::GaugeHistogram, &series);
    let settings = v2().histograms(HistogramForm::Native);
    let samples = sent(&settings, &snapshot([family.clone()], NOW));
    assert_eq!(samples[0].histogram().reset_hint, 3);
    assert_eq!(samples[0].metadata.as_ref().unwrap().0, 4);
    let classic = sent(&v2(), &snapshot([family], NOW));
    let names: Vec<_> = classic.iter().map(Seen::name).collect();
    assert_eq!(names, ["h_bucket", "h_bucket", "h_sum", "h_count"]);
}

/// A gauge can have any bits, and only a stale marker may have those of one.
#[test]
fn no_value_looks_like_a_stale_marker() {
    let values = [STALE, f64::NAN, -f64::NAN].map(Value::Gauge);
    let quantiles = [(0.5, STALE)];
    let families = [
        family(
            "g",
            Kind::Gauge,
            &[(&[("x", "1")], values[0]), (&[("x", "2")], values[1])],
        ),
        family("h", Kind::Histogram, &[(&[], fixed(&[], &[1], STALE))]),
        family("s", Kind::Summary, &[(&[], summary(1, 1.0, &quantiles))]),
        family("t", Kind::Gauge, &[(&[], values[2])]),
    ];
    for settings in both() {
        let samples = sent(&settings, &snapshot(families.clone(), NOW));
        let nans: Vec<_> = samples
            .iter()
            .filter(|sample| sample.float().is_nan())
            .collect();
        assert_eq!(nans.len(), 5);
        assert!(
            nans.iter()
                .all(|sample| sample.bits() == 0x7ff8_0000_0000_0001)
        );
    }
}

#[test]
fn what_counts_says_since_when() {
    let mut families = [
        family("a_total", Kind::Counter, &[(&[], counted(1))]),
        family("b", Kind::Gauge, &[(&[], Value::Gauge(1.0))]),
        family("h", Kind::Histogram, &[(&[], fixed(&[], &[1], 1.0))]),
        family("s", Kind::Summary, &[(&[], summary(1, 1.0, &[(0.5, 1.0)]))]),
        family("u_total", Kind::Counter, &[(&[], counted(1))]),
    ];
    families[..4]
        .iter_mut()
        .for_each(|family| family.set_created(0, at(NOW - 7)));
    // The clock was set back since.
    families[4].set_created(0, at(NOW + 9));
    let snapshot = snapshot(families, NOW);
    let since = (NOW - 7) as i64;
    let starts = |settings: &RemoteWrite| {
        let samples = sent(settings, &snapshot);
        samples
            .iter()
            .map(|sample| (sample.text(), sample.start))
            .collect::<Vec<_>>()
    };
    let expected = [
        ("a_total", since),
        ("b", 0),
        (r#"h_bucket{le="+Inf"}"#, since),
        ("h_sum", since),
        ("h_count", since),
        (r#"s{quantile="0.5"}"#, 0),
        ("s_sum", since),
        ("s_count", since),
        ("u_total", 0),
    ];
    assert_eq!(
        starts(&v2()),
        expected.map(|(text, start)| (text.to_owned(), start))
    );
    assert!(starts(&v1()).iter().all(|(_, start)| *start == 0));
    let native = sent(&v2().histograms(HistogramForm::Native), &snapshot);
    let native = native.iter().find(|sample| sample.name() == "h").unwrap();
    assert_eq!(native.start, since);
}

#[test]
fn exemplars_are_on_the_sample_that_they_belong_to() {
    let mut total = family("a_total", Kind::Counter, &[(&[], counted(3))]);
    let labels = [("trace_id", "5ca1ab1e"), ("span_id", "01"), ("empty", "")];
    total
        .push_exemplar(0, &labels, 2.0, Some(at(NOW - 3)))
        .unwrap();
    let mut histogram = family("h", Kind::Histogram, &[(&[], fixed(&[1.0], &[1, 2], 9.0))]);
    histogram
        .push_exemplar(0, &[("trace_id", "a")], 0.5, Some(at(NOW - 1)))
        .unwrap();
    histogram
        .push_exemplar(1, &[("trace_id", "b")], 5.0, Some(at(NOW - 2)))
        .unwrap();
    // A receiver needs a time.
    histogram
        .push_exemplar(1, &[("trace_id", "c")], 6.0, None)
        .unwrap();
    let snapshot = snapshot([total, histogram], NOW);
    let owned = |labels: &[(&str, &str)]| -> Labels {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        labels.iter().map(owned).collect()
    };
    let exemplar = |labels: &[(&str, &str)], value, before| SeenExemplar {
        labels: owned(labels),
        value,
        time: (NOW - before) as i64,
    };
    let of_total = exemplar(&[("span_id", "01"), ("trace_id", "5ca1ab1e")], 2.0, 3);
    let (a, b) = (
        exemplar(&[("trace_id", "a")], 0.5, 1),
        exemplar(&[("trace_id", "b")], 5.0, 2),
    );
    for settings in both() {
        let samples = sent(&settings, &snapshot);
        let exemplars: Vec<_> = samples.iter().map(|sample| &sample.exemplars[..]).collect();
        let of_total = &[of_total.clone()][..];
        let (a, b) = (&[a.clone()][..], &[b.clone()][..]);
        assert_eq!(exemplars, [of_total, a, b, &[], &[]]);
    }
    let native = sent(&v2().histograms(HistogramForm::Native), &snapshot);
    assert_eq!(native[1].exemplars, [b, a]);
}

/// Receivers reject an exemplar that they have if it is not the last one.
#[test]
fn exemplars_are_sent_once() {
    let with = |exemplars: &[(&str, u64)], millis| {
        let mut total = family("a_total", Kind::Counter, &[(&[], counted(3))]);
        for (id, time) in exemplars {
            total
                .push_exemplar(0, &[("trace_id", id)], 1.0, Some(at(NOW + time)))
                .unwrap();
        }
        snapshot([total], NOW + millis)
    };
    let mut exchange = exchange(&v2());
    let mut take = |exemplars: &[(&str, u64)], millis, written: bool| {
        exchange.take(&with(exemplars, millis));
        let request = next(&mut exchange).unwrap();
        exchange.answered(written.then(|| all_written(&request)).as_ref());
        request.samples[0].exemplars.len()
    };
    assert_eq!(take(&[("a", 1), ("b", 2)], 10, true), 2);
    assert_eq!(take(&[("a", 1), ("b", 2)], 20, true), 0);
    assert_eq!(take(&[("b", 2), ("c", 21)], 30, true), 1);
    // The receiver may have it although it did not answer.
    assert_eq!(take(&[("c", 21), ("d", 31)], 40, false), 1);
    assert_eq!(take(&[("d", 31), ("e", 41)], 50, true), 1);
}

#[test]
fn version_1_describes_each_family_once_a_minute() {
    let mut family = Family::empty("a_bytes", "All \"bytes\"\n\\.", "bytes", Kind::Gauge).unwrap();
    for x in ["1", "2", "3"] {
        family.push(&[("x", x)], Value::Gauge(1.0)).unwrap();
    }
    let mut exchange = exchange(&v1());
    exchange.most_samples = 2;
    let mut metadata = |millis| {
        exchange.take(&snapshot([family.clone()], NOW + millis));
        let requests = flush(&mut exchange);
        requests
            .into_iter()
            .flat_map(|request| request.metadata)
            .collect::<Vec<_>>()
    };
    let expected = [messages::MetricMetadata {
        kind: 2,
        metric_family_name: "a_bytes".to_owned(),
        help: "All \"bytes\"\n\\.".to_owned(),
        unit: "bytes".to_owned(),
    }];
    assert_eq!(metadata(0), expected);
    assert_eq!(metadata(59_999), []);
    assert_eq!(metadata(60_000), expected);
}

#[test]
fn version_2_describes_each_series() {
    let mut family = Family::empty("a_bytes", "All \"bytes\"\n\\.", "bytes", Kind::Gauge).unwrap();
    family.push(&[], Value::Gauge(1.0)).unwrap();
    let samples = sent(&v2(), &snapshot([family, gauges("b", &["1", "2"])], NOW));
    let metadata = samples
        .iter()
        .map(|sample| sample.metadata.clone().unwrap());
    let described = (2, "All \"bytes\"\n\\.".to_owned(), "bytes".to_owned());
    let plain = (2, String::new(), String::new());
    assert_eq!(
        metadata.collect::<Vec<_>>(),
        [described, plain.clone(), plain]
    );
}

/// A receiver that takes it for a message of version 1 finds nothing, instead of something wrong.
#[test]
fn version_2_has_no_field_of_version_1() {
    let mut exchange = exchange(&v2());
    exchange.take(&snapshot(
        [exponential("h", &[1.0]), gauges("g", &["1"])],
        NOW,
    ));
    let request = next(&mut exchange).unwrap();
    let read = messages::WriteRequest::decode(&*request.message).unwrap();
    assert_eq!(read, messages::WriteRequest::default());
}
