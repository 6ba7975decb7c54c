//! Senders as a receiver sees them, and receivers that misbehave. `tests/e2e/send.rs` sends to real
//! ones.

#[allow(dead_code, reason = "others use the rest")]
#[path = "../../support/gateway.rs"]
mod gateway;
#[path = "../../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use gateway::{Answer, Gateway, fine};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use prost::Message;
use support::eventually;
use tallies::{Counter, Registry};
use tallies_send::{Otlp, RemoteWrite, Sender, Sending, Temporality, Version};

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);

/// A registry with one counter, and another one for the self-metrics.
struct Program {
    registry: Registry,
    jobs: Counter,
    about: Registry,
}

impl Program {
    fn new() -> Self {
        let registry = Registry::new();
        let jobs = registry.counter("jobs_total", "Jobs done.").unwrap();
        Self {
            registry,
            jobs,
            about: Registry::new(),
        }
    }

    fn sender(&self, url: &str, otlp: Otlp) -> Sender {
        Sender::new(url, otlp)
            .registry(&self.registry)
            .self_metrics(&self.about)
    }

    /// A self-metric of the only receiver.
    fn about(&self, name: &str) -> f64 {
        let snapshot = self.about.snapshot();
        let family = snapshot.family(name).unwrap_or_else(|| panic!("{name}"));
        let value = family.series().next().map(|(_, value)| value);
        match value {
            Some(tallies::snapshot::Value::Counter(n)) => n.as_f64(),
            Some(tallies::snapshot::Value::Gauge(x)) => x,
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// The sum of the points of the counter in a request.
fn jobs(body: &[u8]) -> f64 {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let scopes = request
        .resource_metrics
        .iter()
        .flat_map(|of| &of.scope_metrics);
    let sums = scopes
        .flat_map(|scope| &scope.metrics)
        .filter_map(|metric| match &metric.data {
            Some(Data::Sum(sum)) if metric.name.starts_with("jobs") => Some(sum),
            _ => None,
        });
    let points = sums.flat_map(|sum| &sum.data_points);
    let values = points.map(|point| match point.value {
        Some(Value::AsInt(n)) => n as f64,
        Some(Value::AsDouble(x)) => x,
        None => panic!("a point without a value"),
    });
    values.sum()
}

fn stop(sending: Sending) -> String {
    match sending.stop() {
        Ok(()) => "arrived".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_snapshot_is_sent_at_once_in_a_rhythm_and_at_the_end() {
    let receiver = Gateway::of(fine());
    let program = Program::new();
    program.jobs.inc();
    let sender = program.sender(&format!("{}/v1/metrics", receiver.url), Otlp::new());
    let sending = sender
        .interval(SHORT)
        .header("X-Scope-OrgID", "shop")
        .start()
        .unwrap();
    for _ in 0..3 {
        let request = receiver.next_request();
        assert_eq!(
            (&*request.method, &*request.target),
            ("POST", "/v1/metrics")
        );
        assert_eq!(request.header("x-scope-orgid"), Some("shop"));
        assert_eq!(
            request.header("content-type"),
            Some("application/x-protobuf")
        );
        assert!(
            request
                .header("user-agent")
                .unwrap()
                .starts_with("tallies/")
        );
        assert_eq!(jobs(&request.body), 1.0);
    }
    program.jobs.add(6);
    assert_eq!(stop(sending), "arrived");
    let sends = program.about("tallies_sends_total") as usize;
    let mut last = None;
    for _ in 3..sends {
        last = Some(receiver.next_request());
    }
    assert_eq!(jobs(&last.unwrap().body), 7.0);
    assert_eq!(program.about("tallies_send_failures_total"), 0.0);
    assert!(program.about("tallies_last_send_timestamp_seconds") > 1e9);
}

#[test]
fn bodies_are_compressed_if_asked() {
    let receiver = Gateway::of(fine());
    let program = Program::new();
    program.jobs.add(3);
    let sending = program
        .sender(&receiver.url, Otlp::new())
        .gzip()
        .interval(LONG)
        .start()
        .unwrap();
    let request = receiver.next_request();
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    let mut body = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(&*request.body), &mut body).unwrap();
    assert_eq!(jobs(&body), 3.0);
    assert_eq!(stop(sending), "arrived");
}

#[test]
fn totals_are_right_after_an_outage() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        // The pause doubles from 5 ms on.
        let down = |n| (5..12).contains(&n);
        let receiver = Gateway::new(move |n| match n {
            n if down(n) && n % 2 == 0 => {
                Answer::Status("503 Service Unavailable\r\n", "down".into())
            }
            n if down(n) => Answer::Bytes(""),
            _ => fine(),
        });
        let program = Program::new();
        let otlp = Otlp::new().temporality(temporality);
        let sending = program
            .sender(&receiver.url, otlp)
            .interval(SHORT)
            .start()
            .unwrap();
        let mut received = 0.0;
        let mut receive = |n| {
            let request = receiver.next_request();
            if !down(n) {
                let before = if temporality == Temporality::Delta {
                    received
                } else {
                    0.0
                };
                received = before + jobs(&request.body);
            }
        };
        for n in 0..20 {
            program.jobs.inc();
            receive(n);
        }
        assert_eq!(stop(sending), "arrived");
        let failures = program.about("tallies_send_failures_total") as usize;
        let requests = program.about("tallies_sends_total") as usize + failures;
        (20..requests).for_each(receive);
        assert_eq!(received, 20.0, "{temporality:?}");
        assert_eq!(failures, 7);
    }
}

/// `SERIES=1000000` sends a million of them.
#[test]
fn every_series_of_a_snapshot_arrives_once() {
    let series = std::env::var("SERIES").map_or(30_000, |n| n.parse().unwrap());
    let receiver = Gateway::of(fine());
    let program = Program::new();
    let family = Counter::builder("jobs_by_shard_total", "Jobs done.").labels(["shard"]);
    let family = family.limit(series).register(&program.registry).unwrap();
    for shard in 0..series {
        family.with([&*shard.to_string()]).inc();
    }
    let sender = program.sender(&receiver.url, Otlp::new()).interval(LONG);
    let sending = sender.start().unwrap();
    let mut shards = std::collections::HashSet::new();
    let (mut received, mut requests) = (0.0, 0);
    while received < series as f64 {
        let request = receiver.next_request();
        received += jobs(&request.body);
        requests += 1;
        let request = ExportMetricsServiceRequest::decode(&*request.body).unwrap();
        let scopes = request
            .resource_metrics
            .into_iter()
            .flat_map(|of| of.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let Some(Data::Sum(sum)) = metric.data else {
                panic!("{}", metric.name);
            };
            shards.extend(
                sum.data_points
                    .into_iter()
                    .map(|point| format!("{:?}", point.attributes)),
            );
        }
    }
    println!("{requests} requests");
    // The counter without labels is one more.
    assert_eq!(shards.len(), series + 1);
    assert_eq!(received, series as f64);
    drop(sending);
}

#[test]
fn a_receiver_says_how_long_to_wait() {
    let receiver = Gateway::new(|n| match n {
        0 => Answer::Status("429 Too Many Requests\r\nRetry-After: 1\r\n", String::new()),
        _ => fine(),
    });
    let program = Program::new();
    let sending = program
        .sender(&receiver.url, Otlp::new())
        .interval(SHORT)
        .start()
        .unwrap();
    receiver.next_request();
    let begin = Instant::now();
    receiver.next_request();
    // A little less, since the pause began before this thread saw the first request.
    assert!(begin.elapsed() > Duration::from_millis(900));
    assert_eq!(stop(sending), "arrived");
}

/// Also at the end of the program.
#[test]
fn a_receiver_that_wants_a_longer_pause_than_the_timeout_gets_no_request() {
    let receiver = Gateway::of(Answer::Status(
        "503 Service Unavailable\r\nRetry-After: 100\r\n",
        String::new(),
    ));
    let program = Program::new();
    let sender = program
        .sender(&receiver.url, Otlp::new())
        .timeout(Duration::from_millis(300));
    let sending = sender.interval(LONG).start().unwrap();
    receiver.next_request();
    eventually("a failure", || {
        let failures = program.about("tallies_send_failures_total");
        (failures == 1.0).then_some(()).ok_or(failures)
    });
    let error = stop(sending);
    assert!(error.contains("asked for a longer pause"), "{error}");
    assert!(receiver.is_quiet());
}

#[test]
fn what_a_receiver_refuses_is_not_sent_again() {
    for status in [
        "400 Bad Request\r\n",
        "401 Unauthorized\r\n",
        "500 Internal Server Error\r\n",
    ] {
        let receiver = Gateway::of(Answer::Status(status, "not this".into()));
        let program = Program::new();
        let sending = program
            .sender(&receiver.url, Otlp::new())
            .interval(LONG)
            .start()
            .unwrap();
        receiver.next_request();
        eventually("a failure", || {
            let failures = program.about("tallies_send_failures_total");
            (failures == 1.0).then_some(()).ok_or(failures)
        });
        assert!(receiver.is_quiet());
        let error = stop(sending);
        assert!(
            error.contains(status.trim()) && error.contains("not this"),
            "{error}"
        );
    }
}

#[test]
fn a_redirect_does_not_get_the_credentials() {
    let other = Gateway::of(fine());
    let to = format!(
        "307 Temporary Redirect\r\nLocation: {}/elsewhere\r\n",
        other.url
    );
    let receiver = Gateway::of(Answer::Status(to.leak(), String::new()));
    let program = Program::new();
    let sender = program
        .sender(&receiver.url, Otlp::new())
        .bearer_token("secret");
    let sending = sender.interval(LONG).start().unwrap();
    assert_eq!(
        receiver.next_request().header("authorization"),
        Some("Bearer secret")
    );
    let error = stop(sending);
    assert!(
        error.contains("has moved") && !error.contains("secret"),
        "{error}"
    );
    assert!(other.is_quiet());
}

#[test]
fn a_receiver_that_hangs_delays_the_end_for_a_bounded_time() {
    let receiver = Gateway::of(Answer::Hang);
    let program = Program::new();
    let sender = program
        .sender(&receiver.url, Otlp::new())
        .timeout(Duration::from_millis(200));
    let sending = sender.interval(LONG).start().unwrap();
    receiver.next_request();
    let begin = Instant::now();
    let error = stop(sending);
    assert!(error.contains("no response within 200ms"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn garbage_is_a_failure_and_long_texts_are_cut() {
    for (answer, expected) in [
        (Answer::Bytes("\0\0garbage"), ""),
        (
            Answer::Status("403 Forbidden\r\n", "no ".repeat(4 << 20)),
            "403 Forbidden: no no",
        ),
        (
            Answer::Status("413 Payload Too Large\r\n", "\x1b[31m\n".into()),
            "413 Payload Too Large",
        ),
    ] {
        let receiver = Gateway::of(answer);
        let program = Program::new();
        let sender = program
            .sender(&receiver.url, Otlp::new())
            .timeout(Duration::from_secs(5));
        let error = stop(sender.interval(LONG).start().unwrap());
        assert!(error.contains(expected) && error.len() < 700, "{error}");
        assert!(
            !error.contains('\x1b') && !error.contains('\n'),
            "{error:?}"
        );
        assert!(program.about("tallies_send_failures_total") >= 1.0);
    }
}

#[test]
fn without_a_receiver_the_end_is_an_error() {
    let port = support::free_port();
    let program = Program::new();
    program.jobs.add(5);
    let url = format!("http://127.0.0.1:{port}/v1/metrics");
    let sending = program
        .sender(&url, Otlp::new())
        .interval(SHORT)
        .start()
        .unwrap();
    eventually("a failure", || {
        let failures = program.about("tallies_send_failures_total");
        (failures >= 2.0).then_some(()).ok_or(failures)
    });
    let error = stop(sending);
    assert!(error.contains(&url) && error.contains("refused"), "{error}");
}

#[test]
fn a_receiver_of_version_1_is_asked_once_for_version_2() {
    // Answers 204 without the headers of version 2.0: it has decoded nothing.
    let receiver = Gateway::of(Answer::Status("204 No Content\r\n", String::new()));
    let program = Program::new();
    let sender = Sender::new(&receiver.url, RemoteWrite::new().version(Version::Auto));
    let sending = sender
        .registry(&program.registry)
        .interval(SHORT)
        .start()
        .unwrap();
    let versions: Vec<_> = (0..4)
        .map(|_| {
            let request = receiver.next_request();
            assert_eq!(request.header("content-encoding"), Some("snappy"));
            request
                .header("x-prometheus-remote-write-version")
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(versions, ["2.0.0", "0.1.0", "0.1.0", "0.1.0"]);
    assert_eq!(stop(sending), "arrived");
}

#[test]
fn mistakes_are_errors_of_the_start() {
    let error = |sender: Sender| sender.start().unwrap_err().to_string();
    let url = "http://127.0.0.1:9/";
    for (sender, expected) in [
        (
            Sender::new("collector:4318", Otlp::new()),
            "receiver URL `collector:4318` has to begin",
        ),
        (
            Sender::new("http://me:secret@h", Otlp::new()),
            "contains an `@`",
        ),
        (
            Sender::new(url, Otlp::new()).interval(Duration::ZERO),
            "interval",
        ),
        (Sender::new(url, Otlp::new()).header("a b", "c"), "header"),
        (
            Sender::new(url, Otlp::new()).header("Authorization", "Bearer x"),
            "header",
        ),
        (
            Sender::new(url, RemoteWrite::new().label("__name__", "x")),
            "__name__",
        ),
        (
            Sender::new(url, RemoteWrite::new().label("a", "1").label("a", "2")),
            "twice",
        ),
    ] {
        let text = error(sender);
        assert!(
            text.contains(expected) && !text.contains("secret"),
            "{text}"
        );
    }
}
