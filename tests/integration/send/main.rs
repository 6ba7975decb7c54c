//! Senders as a receiver sees them, and receivers that misbehave. `tests/e2e/send.rs` sends to real
//! ones.

#[path = "../../support/gateway.rs"]
mod gateway;
#[path = "../../support/mod.rs"]
mod support;

mod clashes;
mod ends;
mod environment;
mod forks;
mod roads;
mod write_request;

use std::time::{Duration, Instant};

use gateway::{Answer, Gateway, fine};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use prost::Message;
use support::eventually;
use tallies::{Counter, Registry};
use tallies_send::{AnyProtocol, Otlp, RemoteWrite, Sender, Sending, Temporality, Version};
use write_request::WriteRequest;

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

/// The names of the metrics in a request.
fn metric_names(body: &[u8]) -> Vec<String> {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let resources = request.resource_metrics.into_iter();
    let scopes = resources.flat_map(|of| of.scope_metrics);
    let metrics = scopes.flat_map(|scope| scope.metrics);
    metrics.map(|metric| metric.name).collect()
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
    all_arrive_once(Otlp::new(), fine(), |body| {
        let request = ExportMetricsServiceRequest::decode(body).unwrap();
        let scopes = request.resource_metrics.into_iter();
        let scopes = scopes.flat_map(|of| of.scope_metrics);
        let metrics = scopes.flat_map(|scope| scope.metrics);
        let points = metrics.flat_map(|metric| match metric.data {
            Some(Data::Sum(sum)) => sum.data_points,
            other => panic!("{other:?}"),
        });
        let shards = points.map(|point| {
            assert_eq!(point.value, Some(Value::AsInt(1)));
            let value = point.attributes[0].value.clone().unwrap().value.unwrap();
            let any_value::Value::StringValue(shard) = value else {
                panic!("{value:?}");
            };
            shard.parse().unwrap()
        });
        shards.collect()
    });
}

#[test]
fn every_series_of_a_snapshot_arrives_once_by_remote_write_1() {
    let protocol = RemoteWrite::new().version(Version::V1);
    let answer = Answer::Status("204 No Content\r\n", String::new());
    all_arrive_once(protocol, answer, shards_of_remote_write);
}

/// The receiver goes away while it has the fourth of ten requests, and then is there again.
#[test]
fn a_restart_in_the_middle_of_a_snapshot_loses_nothing() {
    let receiver = Gateway::new(|n| match n {
        3 => Answer::Bytes(""),
        _ => Answer::Status("204 No Content\r\n", String::new()),
    });
    let registry = sharded(20_000);
    let protocol = RemoteWrite::new().version(Version::V1);
    let sender = Sender::new(&receiver.url, protocol).registry(&registry);
    let sending = sender.interval(LONG).start().unwrap();
    let mut bodies: Vec<_> = (0..11).map(|_| receiver.next_request().body).collect();
    assert_eq!(bodies[3], bodies[4]);
    bodies.remove(3);
    let shards = bodies.iter().flat_map(|body| shards_of_remote_write(body));
    let mut shards: Vec<_> = shards.collect();
    shards.sort_unstable();
    assert!(shards.into_iter().eq(0..20_000));
    drop(sending);
}

/// The values of the label `shard` in a request of version 1.0.
fn shards_of_remote_write(body: &[u8]) -> Vec<usize> {
    let request = WriteRequest::of(body);
    let shards = request.timeseries.iter().map(|series| {
        assert_eq!(series.samples[0].value, 1.0);
        series.label("shard").unwrap().parse().unwrap()
    });
    shards.collect()
}

/// A registry with a counter of this many shards, each with one job.
fn sharded(series: usize) -> Registry {
    let registry = Registry::new();
    let family = Counter::builder("jobs_by_shard_total", "Jobs done.").labels(["shard"]);
    let family = family.limit(series).register(&registry).unwrap();
    for shard in 0..series {
        family.with([&*shard.to_string()]).inc();
    }
    registry
}

/// Sends many series once, and expects each in one request. `shards` reads a request.
fn all_arrive_once(
    protocol: impl Into<AnyProtocol>,
    answer: Answer,
    shards: fn(&[u8]) -> Vec<usize>,
) {
    let series = std::env::var("SERIES").map_or(30_000, |n| n.parse().unwrap());
    let (receiver, registry) = (Gateway::of(answer), sharded(series));
    let begin = Instant::now();
    let sender = Sender::new(&receiver.url, protocol).registry(&registry);
    let sending = sender.interval(LONG).start().unwrap();
    let mut received = vec![false; series];
    let (mut count, mut requests) = (0, 0);
    while count < series {
        for shard in shards(&receiver.next_request().body) {
            assert!(!received[shard], "shard {shard} twice");
            received[shard] = true;
            count += 1;
        }
        requests += 1;
    }
    println!("{requests} requests in {:?}", begin.elapsed());
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
fn a_receiver_that_drips_has_answered() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || drip(stream.unwrap()));
        }
    });
    let program = Program::new();
    let sender = program.sender(&url, Otlp::new());
    let sender = sender.timeout(Duration::from_secs(2)).interval(LONG);
    let begin = Instant::now();
    assert_eq!(stop(sender.start().unwrap()), "arrived");
    assert_eq!(program.about("tallies_send_failures_total"), 0.0);
    assert!(begin.elapsed() < Duration::from_secs(30));
}

/// Reads a request, and answers with a body that does not end.
fn drip(mut stream: std::net::TcpStream) -> Option<()> {
    use std::io::{Read, Write};
    let _length = stream.read(&mut [0; 65_536]).ok()?;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    loop {
        stream.write_all(&[0]).ok()?;
        std::thread::sleep(SHORT);
    }
}

/// It once blamed the receiver, which had got no request.
#[test]
fn a_collector_that_hangs_is_no_missing_response() {
    let receiver = Gateway::of(fine());
    let program = Program::new();
    let (begun, begins) = std::sync::mpsc::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let (begun, ends) = (std::sync::Mutex::new(begun), std::sync::Mutex::new(ends));
    let hangs = move || {
        let _ = begun.lock().unwrap().send(());
        // Until the test ends.
        let _ = ends.lock().unwrap().recv();
        0.0
    };
    let gauge = program
        .registry
        .gauge_fn("hangs", "A callback that hangs.", hangs);
    gauge.unwrap();
    let sender = program.sender(&receiver.url, Otlp::new());
    let sender = sender.timeout(Duration::from_millis(50)).interval(LONG);
    let sending = sender.start().unwrap();
    begins.recv_timeout(Duration::from_secs(60)).unwrap();
    let error = stop(sending);
    assert!(error.contains("a collector or callback hangs"), "{error}");
    assert!(!error.contains("no response"), "{error}");
    assert!(receiver.is_quiet());
    drop(end);
}

/// The connection takes no more bytes, or the receiver answers nothing: in both cases, time is up.
#[test]
fn a_receiver_that_reads_nothing_delays_the_end_for_a_bounded_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let registry = sharded(30_000);
    let sender = Sender::new(&url, Otlp::new().json()).registry(&registry);
    let sender = sender.timeout(Duration::from_millis(200));
    let sending = sender.interval(LONG).start().unwrap();
    let _connection = listener.accept().unwrap();
    let begin = Instant::now();
    let error = stop(sending);
    assert!(error.contains("no response within 200ms"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(30));
}

/// Each request takes a part of the time that all last ones have together.
#[test]
fn a_slow_receiver_gets_what_the_timeout_allows_at_the_end() {
    let receiver = Gateway::new(|_| {
        std::thread::sleep(Duration::from_millis(100));
        fine()
    });
    let registry = sharded(100_000);
    let sender = Sender::new(&receiver.url, Otlp::new()).registry(&registry);
    let sender = sender.timeout(Duration::from_millis(500));
    let sending = sender.interval(LONG).start().unwrap();
    receiver.next_request();
    let begin = Instant::now();
    let error = stop(sending);
    assert!(error.contains("the timeout was over"), "{error}");
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
            Sender::new(url, Otlp::new()).header("Content-Type", "text/plain"),
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

/// One family that two registries have as different kinds, and nothing was sent, ever. A request
/// also had samples of the same name twice.
#[test]
fn a_conflict_of_registries_takes_only_what_conflicts() {
    let receiver = Gateway::of(fine());
    let (one, two) = (Registry::new(), Registry::new());
    one.counter("c_total", "").unwrap().inc();
    one.counter("fine_total", "").unwrap().inc();
    one.gauge("a_sum", "").unwrap().set(1.0);
    two.gauge("c_total", "").unwrap().set(1.0);
    two.gauge("only_b", "").unwrap().set(1.0);
    two.histogram("a", "").unwrap().observe(1.0);
    two.counter("fine_total", "").unwrap().add(2);
    let sender = Sender::new(&receiver.url, RemoteWrite::new().version(Version::V1));
    let sender = sender.registry(&one).registry(&two).interval(LONG);
    let sending = sender.start().unwrap();
    let request = WriteRequest::of(&receiver.next_request().body);
    let mut samples: Vec<_> = request
        .timeseries
        .iter()
        .map(|series| (series.label("__name__").unwrap(), series.samples[0].value))
        .collect();
    samples.sort_by_key(|(name, _)| *name);
    let expected = [
        ("a_sum", 1.0),
        ("c_total", 1.0),
        ("fine_total", 3.0),
        ("only_b", 1.0),
    ];
    assert_eq!(samples, expected);
    assert_eq!(stop(sending), "arrived");
}

/// Fails one request, and three requests, before all others succeed.
fn two_outages() {
    for failures in [1, 3] {
        let receiver = Gateway::new(move |n| match n {
            n if n <= failures && n > 0 => {
                Answer::Status("503 Service Unavailable\r\n", String::new())
            }
            _ => fine(),
        });
        let program = Program::new();
        let sender = program.sender(&receiver.url, Otlp::new());
        let sending = sender.interval(SHORT).start().unwrap();
        (0..failures + 4).for_each(|_| drop(receiver.next_request()));
        assert_eq!(stop(sending), "arrived");
    }
}

#[test]
fn the_begin_and_the_end_of_an_outage_are_logged_once() {
    let test = "the_begin_and_the_end_of_an_outage_are_logged_once";
    let output = support::alone(test, two_outages, |command| {
        command.args(["--nocapture"]);
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for (text, times) in [
        ("503 Service Unavailable", 2),
        ("requests are sent again", 2),
        ("takes metrics again; 1 requests failed", 1),
        ("takes metrics again; 3 requests failed", 1),
        ("takes metrics again", 2),
    ] {
        assert_eq!(said.matches(text).count(), times, "{text}: {said}");
    }
}

/// Sends native histograms to two receivers that answer as VictoriaMetrics 1.79 and 1.145 do.
fn native_histograms() {
    for head in [
        "204 No Content\r\nX-Server-Hostname: vm\r\n",
        "204 No Content\r\nX-Server-Hostname: vm\r\nVary: Accept-Encoding\r\n",
    ] {
        let receiver = Gateway::of(Answer::Status(head, String::new()));
        let registry = Registry::new();
        let sizes = tallies::Histogram::builder("sizes", "Sizes.").native(3);
        sizes.register(&registry).unwrap().observe(1.0);
        let sender = Sender::new(&receiver.url, RemoteWrite::new()).registry(&registry);
        eprintln!("to {head:?}");
        assert_eq!(stop(sender.interval(LONG).start().unwrap()), "arrived");
    }
}

/// They were lost without a word.
#[test]
fn a_receiver_that_drops_native_histograms_is_named() {
    let test = "a_receiver_that_drops_native_histograms_is_named";
    let output = support::alone(test, native_histograms, |command| {
        command.args(["--nocapture"]);
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (old, new) = said.split_once("Vary").expect("two receivers");
    assert!(old.contains("drops native histograms"), "{said}");
    assert!(!new.contains("drops native histograms"), "{said}");
}
