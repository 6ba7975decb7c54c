//! A receiver is away, while the program goes on counting: the sender's memory stays as it is, and
//! nothing is missing or twice afterwards.
//!
//! The outage takes three seconds. With `OUTAGE_SECONDS=600` it takes ten minutes:
//!
//! ```text
//! OUTAGE_SECONDS=600 cargo test --release -p tallies-tests --test outage -- --nocapture
//! ```

#[allow(dead_code, reason = "others use the rest")]
#[path = "../../support/counting.rs"]
mod counting;
#[path = "../../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use prost::Message;
use support::eventually;
use tallies::snapshot::Number;
use tallies::{Bound, Counter, Histogram, Registry};
use tallies_send::{Otlp, RemoteWrite, Sender, Sending, Temporality, Version};
use tokio::runtime::Runtime;

const INTERVAL: Duration = Duration::from_millis(100);
const QUEUES: usize = 200;

/// The data that a receiver has of each sender, which has a path of its own.
#[derive(Default)]
struct Received {
    /// The counts of the series, by path and series.
    counts: BTreeMap<(String, String), u64>,
    /// The requests that were accepted, by path.
    requests: BTreeMap<String, u64>,
    /// Whether the receiver shuts down, and takes nothing more.
    closes: bool,
}

impl Received {
    fn take(&mut self, path: &str, body: &[u8]) -> StatusCode {
        if self.closes {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        *self.requests.entry(path.to_owned()).or_default() += 1;
        if path != "/write" {
            for (series, count) in counts(body) {
                let known = self.counts.entry((path.to_owned(), series)).or_default();
                *known = count + if path == "/delta" { *known } else { 0 };
            }
        }
        StatusCode::OK
    }

    fn counts(&self, path: &str) -> BTreeMap<String, u64> {
        let of_path = self.counts.iter().filter(|((of, _), _)| of == path);
        of_path
            .map(|((_, series), count)| (series.clone(), *count))
            .collect()
    }
}

/// The count of each counter and histogram in a request.
fn counts(body: &[u8]) -> Vec<(String, u64)> {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let scopes = request.resource_metrics.into_iter();
    let metrics = scopes
        .flat_map(|of| of.scope_metrics)
        .flat_map(|of| of.metrics);
    let mut counts = Vec::new();
    for metric in metrics {
        let series = |labels: &[KeyValue]| format!("{} {labels:?}", metric.name);
        match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => counts.extend(sum.data_points.iter().map(|point| {
                let Some(Value::AsInt(count)) = point.value else {
                    panic!("{point:?}");
                };
                (series(&point.attributes), count as u64)
            })),
            Data::Histogram(histogram) => {
                let points = histogram.data_points.iter();
                counts.extend(points.map(|point| (series(&point.attributes), point.count)));
            }
            other => panic!("{other:?}"),
        }
    }
    counts
}

fn count(value: tallies::snapshot::Value<'_>) -> u64 {
    match value {
        tallies::snapshot::Value::Counter(Number::Int(count)) => count,
        other => panic!("{other:?}"),
    }
}

/// A receiver, until it is dropped.
fn receiver(address: &str, received: &Arc<Mutex<Received>>) -> Runtime {
    let (runtime, received) = (Runtime::new().unwrap(), Arc::clone(received));
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind(address))
        .unwrap();
    let take = move |uri: Uri, body: Bytes| async move {
        received.lock().unwrap().take(uri.path(), &body)
    };
    let app = Router::new()
        .fallback(take)
        .layer(DefaultBodyLimit::disable());
    runtime.spawn(async { axum::serve(listener, app).await });
    runtime
}

/// A program, and a sender of each kind.
struct Program {
    queues: Vec<(Bound<Counter>, Bound<Histogram>)>,
    /// How often each series was updated.
    updates: u64,
    about: Registry,
    sending: Vec<Sending>,
}

impl Program {
    fn new(address: &str) -> Self {
        let (registry, about) = (Registry::new(), Registry::new());
        let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
        let jobs = jobs.register(&registry).unwrap();
        let sizes = Histogram::builder("sizes_bytes", "Sizes of jobs.").labels(["queue"]);
        let sizes = sizes.register(&registry).unwrap();
        let queues = (0..QUEUES).map(|queue| {
            let queue = queue.to_string();
            (jobs.bind([&*queue]), sizes.bind([&*queue]))
        });
        let otlp = |temporality| Otlp::new().temporality(temporality);
        let url = |path| format!("http://{address}{path}");
        let senders = [
            Sender::new(&url("/total"), otlp(Temporality::Cumulative)),
            Sender::new(&url("/delta"), otlp(Temporality::Delta)),
            Sender::new(&url("/write"), RemoteWrite::new().version(Version::V1)),
        ];
        let sending = senders.map(|sender| {
            let sender = sender.registry(&registry).self_metrics(&about);
            sender.interval(INTERVAL).start().unwrap()
        });
        Self {
            queues: queues.collect(),
            updates: 0,
            about,
            sending: sending.into(),
        }
    }

    /// Updates every series once, and returns how long that took.
    fn update(&mut self) -> Duration {
        self.updates += 1;
        let began = Instant::now();
        for (jobs, size) in &self.queues {
            jobs.inc();
            size.observe(0.3);
        }
        began.elapsed()
    }

    /// Updates everything a hundred times a second for some time, and then returns the median of
    /// what an update took, in nanoseconds, and the live bytes in each interval.
    fn run(&mut self, time: Duration) -> (f64, Vec<i64>) {
        let end = Instant::now() + time;
        let (mut took, mut live) = (Vec::with_capacity(100_000), Vec::with_capacity(100_000));
        while Instant::now() < end {
            took.push(self.update());
            live.push(counting::live());
            std::thread::sleep(Duration::from_millis(10));
        }
        took.sort();
        let median = took[took.len() / 2].as_nanos() as f64;
        (median / (2 * QUEUES) as f64, live)
    }

    /// Waits until the senders know of every request that the receiver has taken.
    fn settle(&self, received: &Mutex<Received>) {
        eventually("every answer arrives", || {
            let taken: u64 = received.lock().unwrap().requests.values().sum();
            let about = self.about.snapshot();
            let sends = about.family("tallies_sends_total").unwrap().series();
            let sends: u64 = sends.map(|(_, value)| count(value)).sum();
            let settled = (sends == taken).then_some(());
            settled.ok_or(format!("{sends} of {taken} requests"))
        });
    }
}

#[test]
fn memory_is_flat_and_nothing_is_missing_or_twice() {
    let seconds = std::env::var("OUTAGE_SECONDS").map_or(3, |text| text.parse().unwrap());
    let address = format!("127.0.0.1:{}", support::free_port());
    let received = Arc::new(Mutex::new(Received::default()));
    let mut program = Program::new(&address);
    let runtime = receiver(&address, &received);
    let (before, _) = program.run(Duration::from_secs(2));
    received.lock().unwrap().closes = true;
    program.settle(&received);
    drop(runtime);

    // What the outage itself needs, it needs in its first second.
    program.run(Duration::from_secs(1));
    let (during, live) = program.run(Duration::from_secs(seconds));
    let (least, most) = (live.iter().min().unwrap(), live.iter().max().unwrap());
    println!("an update took {before:.1} ns before and {during:.1} ns in the outage");
    println!("between {least} and {most} bytes were live in its {seconds} s");

    received.lock().unwrap().closes = false;
    let _runtime = receiver(&address, &received);
    program.run(Duration::from_secs(1));
    for sending in std::mem::take(&mut program.sending) {
        sending.stop().unwrap();
    }
    let received = received.lock().unwrap();
    for path in ["/total", "/delta"] {
        let counts = received.counts(path);
        assert_eq!(counts.len(), 2 * QUEUES, "{path}");
        for (series, count) in counts {
            assert_eq!(count, program.updates, "{path}: {series}");
        }
    }
    assert!(received.requests["/write"] > 1);
    assert!(most - least < 1 << 20, "{least} to {most} bytes");
}
