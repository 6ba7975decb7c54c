//! The rules of the sender suite of prometheus/compliance (`remotewrite/sender`, commit 67b8327a),
//! under the names of its cases.
//!
//! The suite scrapes a page and looks at the requests; here, the page is a snapshot. The cases
//! about connections, pauses and the user agent concern the sender of the requests and not their
//! content: all of `backoff_test.go` and `error_handling_test.go`, `user_agent_present`,
//! `TestHTTPMethod` and `TestConcurrentRequests` (there are none).

use std::collections::BTreeSet;

use super::*;

fn request(settings: &RemoteWrite, families: impl IntoIterator<Item = Family>) -> Received {
    let mut exchange = exchange(settings);
    exchange.take(&snapshot(families, NOW));
    next(&mut exchange).unwrap()
}

/// Returns the first request in version 2, which has all of these families.
fn in_v2(families: impl IntoIterator<Item = Family>) -> Received {
    request(&RemoteWrite::new(), families)
}

fn gauge(name: &str, labels: &[(&str, &str)], x: f64) -> Family {
    family(name, Kind::Gauge, &[(labels, Value::Gauge(x))])
}

/// A counter, a gauge, both kinds of histograms and a summary, with descriptions and exemplars.
fn everything() -> Vec<Family> {
    let mut total = Family::empty("a_bytes_total", "HTTP bytes\nsent", "bytes", Kind::Counter);
    let total = total.as_mut().unwrap();
    total
        .push(&[("service", "api"), ("method", "GET")], counted(1_000))
        .unwrap();
    total.set_created(0, at(NOW - 60_000));
    let ids = [
        ("trace_id", "abc123"),
        ("span_id", "def456"),
        ("user_id", "7"),
    ];
    total
        .push_exemplar(0, &ids, 999.0, Some(at(NOW - 5)))
        .unwrap();
    let mut histogram = family(
        "h",
        Kind::Histogram,
        &[(&[], fixed(&[0.1], &[3, 97], 250.5))],
    );
    histogram.set_created(0, at(NOW - 60_000));
    histogram
        .push_exemplar(0, &[("trace_id", "a")], 0.05, Some(at(NOW - 6)))
        .unwrap();
    histogram
        .push_exemplar(1, &[("trace_id", "b")], 3.0, Some(at(NOW - 7)))
        .unwrap();
    vec![
        total.clone(),
        histogram,
        gauge("memory", &[], 1_048_576.0),
        exponential("n", &[0.0, 1.0, 2.0, -1.0]),
        family(
            "s",
            Kind::Summary,
            &[(&[], summary(1_000, 100.0, &[(0.5, 0.05)]))],
        ),
    ]
}

// protocol_test.go

#[test]
fn content_type_protobuf() {
    let content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    assert_eq!(
        in_v2([gauges("g", &["1"])]).header("content-type"),
        content_type
    );
}

#[test]
fn content_type_with_proto_param() {
    let request = in_v2([gauges("g", &["1"])]);
    assert!(
        request
            .header("content-type")
            .contains("proto=io.prometheus.write.v2.Request")
    );
}

#[test]
fn content_encoding_snappy() {
    for settings in both() {
        let request = request(&settings, [gauges("g", &["1"])]);
        assert_eq!(request.header("content-encoding"), "snappy");
    }
}

#[test]
fn version_header_present() {
    for (settings, version) in both().iter().zip(["0.1.0", "2.0.0"]) {
        let request = request(settings, [gauges("g", &["1"])]);
        assert_eq!(request.header("x-prometheus-remote-write-version"), version);
    }
}

#[test]
fn version_header_value() {
    let request = in_v2([gauges("g", &["1"])]);
    assert_eq!(request.header("x-prometheus-remote-write-version"), "2.0.0");
}

#[test]
fn snappy_block_format() {
    for settings in both() {
        let body = request(&settings, everything()).body;
        // The first chunk of the framed format.
        assert!(!body.starts_with(b"\xff\x06\x00\x00sNaPpY"));
        assert!(snap::raw::decompress_len(&body).unwrap() > 0);
    }
}

#[test]
fn protobuf_parseable() {
    // `in_v2` panics if it is not.
    assert!(!in_v2(everything()).symbols.is_empty());
}

// symbols_test.go, batching_test.go

#[test]
fn empty_string_at_index_zero() {
    assert_eq!(in_v2(everything()).symbols[0], "");
}

#[test]
fn string_deduplication() {
    let symbols = in_v2(everything()).symbols;
    assert_eq!(symbols.iter().collect::<BTreeSet<_>>().len(), symbols.len());
}

/// All references have been followed when a request was read, also those of exemplars and metadata.
#[test]
fn labels_refs_valid_indices() {
    let exemplars = in_v2(everything())
        .samples
        .into_iter()
        .flat_map(|sample| sample.exemplars);
    assert_eq!(exemplars.count(), 3);
}

#[test]
fn labels_refs_even_length() {
    let read = messages::Request::decode(&*in_v2(everything()).message).unwrap();
    for series in read.timeseries {
        assert_eq!(series.labels_refs.len() % 2, 0);
        assert!(
            series
                .exemplars
                .iter()
                .all(|exemplar| exemplar.labels_refs.len() % 2 == 0)
        );
    }
}

#[test]
fn symbol_table_efficiency() {
    let values = ["1", "2", "3", "4"];
    let request = in_v2([gauges("a", &values), gauges("b", &values)]);
    // Nothing, two names of metrics, two names of labels, and four values.
    assert_eq!(request.symbols.len(), 1 + 2 + 2 + 4);
}

#[test]
fn multiple_series_per_request() {
    let names: BTreeSet<_> = in_v2(everything()).samples.iter().map(Seen::text).collect();
    assert!(names.len() >= 3);
}

#[test]
fn batch_size_reasonable() {
    let labels: Vec<_> = (0..12_000).map(|i| i.to_string()).collect();
    let labels: Vec<_> = labels.iter().map(|label| &**label).collect();
    assert_eq!(in_v2([gauges("g", &labels)]).samples.len(), 2_000);
}

#[test]
fn metadata_batching() {
    assert!(
        in_v2(everything())
            .samples
            .iter()
            .all(|sample| sample.metadata.is_some())
    );
}

// labels_test.go

#[test]
fn label_lexicographic_ordering() {
    let request = in_v2([gauge("m", &[("zzz", "3"), ("aaa", "1"), ("Z", "2")], 42.0)]);
    assert_eq!(request.texts(), [r#"m{Z="2",aaa="1",zzz="3"}"#]);
    for sample in in_v2(everything()).samples {
        assert!(sample.labels.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

#[test]
fn metric_name_label_present() {
    assert!(
        in_v2(everything())
            .samples
            .iter()
            .all(|sample| !sample.name().is_empty())
    );
}

#[test]
fn metric_name_format_valid() {
    assert_eq!(in_v2([gauge("a:b_c9", &[], 1.0)]).texts(), ["a:b_c9"]);
}

#[test]
fn label_name_format_valid() {
    let is_valid = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    for sample in in_v2(everything()).samples {
        assert!(sample.labels.iter().all(|(name, _)| is_valid(name)));
    }
}

#[test]
fn no_duplicate_label_names() {
    let settings = RemoteWrite::new().label("a", "2");
    let request = request(&settings, [gauge("m", &[("a", "1")], 1.0)]);
    assert_eq!(request.texts(), [r#"m{a="1"}"#]);
}

#[test]
fn label_names_not_empty() {
    for sample in in_v2(everything()).samples {
        assert!(sample.labels.iter().all(|(name, _)| !name.is_empty()));
    }
}

/// The suite allows empty values. The specification does not.
#[test]
fn label_values_may_be_empty() {
    assert_eq!(in_v2([gauge("m", &[("a", "")], 1.0)]).texts(), ["m"]);
}

#[test]
fn reserved_label_prefix() {
    for sample in in_v2(everything()).samples {
        let reserved = sample
            .labels
            .iter()
            .filter(|(name, _)| name.starts_with("__"));
        assert_eq!(reserved.count(), 1);
    }
}

#[test]
fn unicode_in_label_values() {
    let request = in_v2([gauge("m", &[("emoji", "🚀"), ("zh", "测试")], 1.0)]);
    assert_eq!(request.samples[0].label("emoji"), "🚀");
    assert_eq!(request.samples[0].label("zh"), "测试");
}

#[test]
fn special_chars_in_label_values() {
    let value = "/api/v1?a=b&c=\"d\"\\\n\t,}{";
    assert_eq!(
        in_v2([gauge("m", &[("path", value)], 1.0)]).samples[0].label("path"),
        value
    );
}

#[test]
fn very_long_label_names_and_values() {
    let (name, value) = ("n".repeat(300), "v".repeat(10_240));
    let request = in_v2([gauge("m", &[(&name, &value)], 1.0)]);
    assert_eq!(request.samples[0].label(&name), value);
}

#[test]
fn many_labels_per_series() {
    let names: Vec<_> = (0..40).map(|i| format!("l{i}")).collect();
    let labels: Vec<_> = names.iter().map(|name| (&**name, "v")).collect();
    assert_eq!(
        in_v2([gauge("m", &labels, 1.0)]).samples[0].labels.len(),
        41
    );
}

#[test]
fn job_instance_labels_present() {
    let settings = RemoteWrite::new()
        .label("job", "j")
        .label("instance", "i:1");
    for sample in request(&settings, everything()).samples {
        assert_eq!(
            (sample.label("job"), sample.label("instance")),
            ("j", "i:1")
        );
    }
}

// samples_test.go, edge_cases_test.go

#[test]
fn every_float_is_encoded_exactly() {
    for x in [
        // float_value_encoding, integer_value_encoding, zero_value_encoding
        123.45,
        42.0,
        0.0,
        -0.0,
        // negative_value_encoding, positive_infinity_encoding, negative_infinity_encoding
        -15.5,
        f64::INFINITY,
        f64::NEG_INFINITY,
        // large_float_values, small_float_values, scientific_notation, precision_preservation
        1.797e308,
        2.2e-308,
        5e-324,
        1.23e-4,
        0.123_456_789_012_345_68,
    ] {
        for settings in both() {
            let request = request(&settings, [gauge("m", &[], x)]);
            assert_eq!(request.samples[0].bits(), x.to_bits());
        }
    }
}

#[test]
fn nan_encoding() {
    let request = in_v2([gauge("m", &[], f64::NAN)]);
    assert!(request.samples[0].float().is_nan() && !request.samples[0].is_stale());
}

#[test]
fn empty_scrape() {
    let mut exchange = exchange(&RemoteWrite::new());
    exchange.take(&snapshot([], NOW));
    assert!(next(&mut exchange).is_none());
}

#[test]
fn very_long_metric_name() {
    let name = "n".repeat(500);
    assert_eq!(in_v2([gauge(&name, &[], 1.0)]).texts(), [name]);
}

#[test]
fn stale_marker() {
    let mut exchange = exchange(&RemoteWrite::new());
    exchange.take(&snapshot(everything(), NOW));
    let live = flush(&mut exchange)[0].texts();
    exchange.take(&snapshot([], NOW + 1_000));
    let ended = next(&mut exchange).unwrap();
    assert_eq!(ended.texts(), live);
    assert!(
        ended
            .samples
            .iter()
            .all(|sample| sample.bits() == 0x7ff0_0000_0000_0002)
    );
}

// timestamps_test.go

#[test]
fn timestamp_int64_milliseconds() {
    let samples = in_v2(everything()).samples;
    assert!(samples.iter().all(|sample| sample.time == NOW as i64));
}

/// A request has one sample of a series; see `read`.
#[test]
fn timestamp_ordering_within_series() {
    let mut exchange = exchange(&RemoteWrite::new());
    let mut before = 0;
    for millis in [NOW, NOW, NOW - 30_000, NOW + 5] {
        exchange.take(&snapshot([gauges("g", &["1"])], millis));
        let time = flush(&mut exchange)[0].samples[0].time;
        assert!(time > before);
        before = time;
    }
}

#[test]
fn start_timestamp_for_counters() {
    assert_eq!(in_v2(everything()).samples[0].start, NOW as i64 - 60_000);
}

#[test]
fn start_timestamp_for_histograms() {
    let samples = in_v2(everything()).samples;
    let of_histogram = samples
        .iter()
        .filter(|sample| sample.name().starts_with("h_"));
    assert!(of_histogram.clone().count() == 4);
    assert!(
        of_histogram
            .clone()
            .all(|sample| sample.start == NOW as i64 - 60_000)
    );
}

#[test]
fn start_timestamp_zero_handling() {
    let request = in_v2([family("u_total", Kind::Counter, &[(&[], counted(1))])]);
    assert_eq!(request.samples[0].start, 0);
}

#[test]
fn start_timestamp_before_sample_timestamp() {
    let mut total = family("a_total", Kind::Counter, &[(&[], counted(1))]);
    for (created, start) in [(NOW - 1, NOW - 1), (NOW, NOW), (NOW + 1, 0)] {
        total.set_created(0, at(created));
        assert_eq!(in_v2([total.clone()]).samples[0].start, start as i64);
    }
}

// histograms_test.go

#[test]
fn native_histogram_structure() {
    let samples = in_v2(everything()).samples;
    let native = samples
        .iter()
        .find(|sample| sample.name() == "n")
        .unwrap()
        .histogram();
    // histogram_count_present, histogram_sum_present, histogram_schema, histogram_zero_bucket
    assert_eq!(native.count, Some(messages::Count::Int(4)));
    assert_eq!((native.sum, native.schema), (2.0, 2));
    assert_eq!(native.zero_count, Some(messages::ZeroCount::Int(1)));
    // histogram_positive_buckets, histogram_negative_buckets, histogram_buckets_ordered
    let positive = messages::buckets(&native.positive_spans, &native.positive_deltas);
    let negative = messages::buckets(&native.negative_spans, &native.negative_deltas);
    assert_eq!((positive, negative), (vec![(0, 1), (4, 1)], vec![(0, 1)]));
    // histogram_timestamp
    assert_eq!(native.timestamp, NOW as i64);
}

/// `read` panics for a series with both.
#[test]
fn histogram_no_mixed_with_samples() {
    let samples = in_v2(everything()).samples;
    let histograms = samples
        .iter()
        .filter(|s| matches!(s.value, SeenValue::Histogram(_)));
    assert_eq!(histograms.count(), 1);
}

#[test]
fn histogram_empty_buckets() {
    let empty = family("h", Kind::Histogram, &[(&[], fixed(&[1.0], &[0, 0], 0.0))]);
    let request = in_v2([empty, exponential("n", &[])]);
    assert!(
        request.samples[..4]
            .iter()
            .all(|sample| sample.float() == 0.0)
    );
    assert_eq!(
        request.samples[4].histogram().count,
        Some(messages::Count::Int(0))
    );
}

#[test]
fn histogram_large_counts() {
    let large = fixed(&[1.0], &[1_000_000_000, 1 << 60], 1e18);
    let family = family("h", Kind::Histogram, &[(&[], large)]);
    let classic = in_v2([family.clone()]);
    assert_eq!(classic.samples[0].float(), 1e9);
    let native = request(
        &RemoteWrite::new().histograms(HistogramForm::Native),
        [family],
    );
    let native = native.samples[0].histogram();
    assert_eq!(
        native.count,
        Some(messages::Count::Int((1 << 60) + 1_000_000_000))
    );
    let buckets = messages::buckets(&native.positive_spans, &native.positive_deltas);
    assert_eq!(buckets, [(0, 1_000_000_000), (1, 1 << 60)]);
}

// exemplars_test.go

#[test]
fn exemplar_with_trace_id_span_id_and_custom_labels() {
    let samples = in_v2(everything()).samples;
    let labels: Vec<_> = samples[0].exemplars[0]
        .labels
        .iter()
        .map(|(name, _)| &**name)
        .collect();
    assert_eq!(labels, ["span_id", "trace_id", "user_id"]);
}

#[test]
fn exemplar_value_and_timestamp_valid() {
    let exemplar = &in_v2(everything()).samples[0].exemplars[0];
    assert_eq!((exemplar.value, exemplar.time), (999.0, NOW as i64 - 5));
}

#[test]
fn exemplar_on_histogram() {
    let samples = in_v2(everything()).samples;
    let exemplars = samples.iter().filter(|sample| sample.name() == "h_bucket");
    let exemplars: Vec<_> = exemplars.map(|sample| sample.exemplars.len()).collect();
    assert_eq!(exemplars, [1, 1]);
}

#[test]
fn multiple_exemplars_per_series() {
    let settings = RemoteWrite::new().histograms(HistogramForm::Native);
    let samples = request(&settings, everything()).samples;
    let times: Vec<_> = samples[1]
        .exemplars
        .iter()
        .map(|exemplar| exemplar.time)
        .collect();
    assert_eq!(times, [NOW as i64 - 7, NOW as i64 - 6]);
}

// metadata_test.go

#[test]
fn metadata_type() {
    let samples = in_v2(everything()).samples;
    for (name, kind) in [
        ("a_bytes_total", 1),
        ("memory", 2),
        ("h_bucket", 3),
        ("h_sum", 3),
        ("h_count", 3),
        ("n", 3),
        ("s", 5),
        ("s_count", 5),
    ] {
        // metadata_consistent_across_series
        let of_name = samples.iter().filter(|sample| sample.name() == name);
        assert!(of_name.clone().count() > 0);
        assert!(
            of_name
                .clone()
                .all(|sample| sample.metadata.as_ref().unwrap().0 == kind)
        );
    }
}

#[test]
fn metadata_help_and_unit() {
    // metadata_help_with_newlines, metadata_help_with_special_chars
    let expected = Some((1, "HTTP bytes\nsent".to_owned(), "bytes".to_owned()));
    assert_eq!(in_v2(everything()).samples[0].metadata, expected);
}

#[test]
fn metadata_empty_help_allowed() {
    let expected = Some((2, String::new(), String::new()));
    assert_eq!(in_v2([gauge("m", &[], 1.0)]).samples[0].metadata, expected);
}

// fallback_test.go, retry_test.go, response_test.go

/// Returns the versions of the requests to a receiver that gives these answers to version 2 and to
/// version 1.
fn versions(to_v2: u16, to_v1: u16, requests: usize) -> Vec<String> {
    let mut exchange = exchange(&RemoteWrite::new());
    let mut versions = Vec::new();
    for i in 0.. {
        exchange.take(&snapshot([gauges("g", &["1"])], NOW + i * 1_000));
        while let Some(request) = next(&mut exchange) {
            if versions.len() == requests {
                return versions;
            }
            versions.push(
                request
                    .header("x-prometheus-remote-write-version")
                    .to_owned(),
            );
            let status = if request.is_v2 { to_v2 } else { to_v1 };
            let mut answer = all_written(&request);
            answer.status = status;
            if status > 299 {
                answer.headers.clear();
            }
            if exchange.answered(Some(&answer)) == Verdict::Retry {
                break;
            }
        }
    }
    versions
}

#[test]
fn fallback_on_415_unsupported_media_type() {
    // retry_with_different_version, accept_success_after_fallback, persistent_fallback_choice
    assert_eq!(versions(415, 204, 4), ["2.0.0", "0.1.0", "0.1.0", "0.1.0"]);
}

#[test]
fn fallback_header_changes() {
    let mut exchange = exchange(&RemoteWrite::new());
    exchange.take(&snapshot([gauges("g", &["1"])], NOW));
    let first = next(&mut exchange).unwrap();
    exchange.answered(Some(&answer(415, &[])));
    let second = next(&mut exchange).unwrap();
    assert_ne!(first.header("content-type"), second.header("content-type"));
}

#[test]
fn no_fallback_on_2xx() {
    for status in [200, 204] {
        // handle_200_ok, handle_204_no_content, process_written_count_headers
        assert_eq!(versions(status, status, 3), ["2.0.0"; 3]);
    }
}

#[test]
fn no_retry_on_4xx() {
    // no_retry_on_400, no_retry_on_401, no_retry_on_404, no_retry_on_413
    for status in [400, 401, 404, 413] {
        for settings in both() {
            let mut exchange = exchange(&settings);
            exchange.take(&snapshot([gauges("g", &["1"])], NOW));
            next(&mut exchange).unwrap();
            assert_eq!(
                exchange.answered(Some(&answer(status, &[]))),
                Verdict::Refused
            );
            assert!(next(&mut exchange).is_none());
        }
    }
}

#[test]
fn retry_on_5xx_and_429() {
    // may_retry_on_429, retry_on_500, retry_on_502, retry_on_503, retry_on_504
    for status in [429, 500, 502, 503, 504] {
        let mut exchange = exchange(&RemoteWrite::new());
        exchange.take(&snapshot([gauges("g", &["1"])], NOW));
        let first = next(&mut exchange).unwrap();
        assert_eq!(
            exchange.answered(Some(&answer(status, &[]))),
            Verdict::Retry
        );
        assert_eq!(next(&mut exchange).unwrap().body, first.body);
    }
}

#[test]
fn ignore_response_body_on_success() {
    let mut exchange = exchange(&RemoteWrite::new());
    exchange.take(&snapshot([gauges("g", &["1"])], NOW));
    let mut answer = all_written(&next(&mut exchange).unwrap());
    answer.body = b"error: all is lost".to_vec();
    let why = String::new();
    assert_eq!(
        exchange.answered(Some(&answer)),
        Verdict::Accepted { rejected: 0, why }
    );
}

#[test]
fn handle_partial_write_response() {
    // log_error_messages_verbatim
    let mut exchange = exchange(&v2());
    exchange.take(&snapshot([gauges("g", &["1", "2"])], NOW));
    next(&mut exchange).unwrap();
    let mut partial = answer(400, &[("x-prometheus-remote-write-samples-written", "1")]);
    partial.body = b"out of order".to_vec();
    let why = "out of order".to_owned();
    assert_eq!(
        exchange.answered(Some(&partial)),
        Verdict::Accepted { rejected: 1, why }
    );
}

// rw1_compat_test.go

#[test]
fn rw1_headers() {
    // rw1_version_header, rw1_content_type
    let request = request(&v1(), everything());
    assert_eq!(request.header("x-prometheus-remote-write-version"), "0.1.0");
    assert_eq!(request.header("content-type"), "application/x-protobuf");
}

#[test]
fn rw1_content() {
    // rw1_samples_encoding, rw1_labels_encoding, rw1_metadata_handling, rw1_symbol_table_not_used
    let (one, two) = (request(&v1(), everything()), in_v2(everything()));
    assert_eq!(one.texts(), two.texts());
    let bits = |request: &Received| request.samples.iter().map(Seen::bits).collect::<Vec<_>>();
    assert_eq!(bits(&one), bits(&two));
    let described: Vec<_> = one
        .metadata
        .iter()
        .map(|m| &*m.metric_family_name)
        .collect();
    assert_eq!(described, ["a_bytes_total", "h", "memory", "n", "s"]);
    // rw1_no_start_timestamp
    assert!(one.samples.iter().all(|sample| sample.start == 0));
}

/// Fixed buckets are classic series. Exponential ones are sent as Prometheus sends them.
#[test]
fn rw1_no_native_histograms() {
    let settings = v1().histograms(HistogramForm::Native);
    let families = everything()
        .into_iter()
        .filter(|family| family.name() != "n");
    for sample in request(&settings, families).samples {
        assert!(matches!(sample.value, SeenValue::Float(_)));
    }
}
