//! The crate `prometheus` with the crates that send its metrics by remote write 1.0.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts};
use prometheus::{Registry, TextEncoder};
use prometheus_reqwest_remote_write as by_reqwest;
use reqwest::Client;
use tokio::runtime::{Builder, Runtime};

use crate::receiver::{Receiver, Traffic};
use crate::workload::{BOUNDS, Kind, LABELS, Workload, amount, value};
use crate::{Interval, Row, Way, meter};

/// Returns the rows of what these crates have: `prometheus` has no native histograms, and
/// `prometheus_remote_write` takes no histogram.
pub fn rows(kind: Kind) -> Vec<Row> {
    let row = |name, send: Send| -> Row {
        let prepare = move |workload, receiver: &Receiver| -> Box<dyn Way> {
            Box::new(Written::new(workload, receiver.url("/api/v1/write"), send))
        };
        (name, Box::new(prepare))
    };
    let mut rows = Vec::new();
    if kind != Kind::Native {
        rows.push(row(
            "`prometheus-reqwest-remote-write`",
            Written::of_families,
        ));
    }
    if kind == Kind::Counter {
        rows.push(row("`prometheus_remote_write`", Written::of_text));
    }
    rows
}

/// Returns the request for all series.
type Send = fn(&Written) -> reqwest::Request;

/// A program that sends its metrics.
struct Written {
    workload: Workload,
    registry: Registry,
    counters: Vec<IntCounter>,
    histograms: Vec<Histogram>,
    runtime: Runtime,
    client: Client,
    url: String,
    send: Send,
}

impl Written {
    fn new(workload: Workload, url: String, send: Send) -> Self {
        let registry = Registry::new();
        let (mut counters, mut histograms) = (Vec::new(), Vec::new());
        for family in 0..workload.families {
            let (name, help) = (workload.name(family), "What the shop answered.");
            let values = (0..workload.series).map(|series| workload.values(series));
            if workload.kind == Kind::Counter {
                let family = IntCounterVec::new(Opts::new(name, help), &LABELS);
                let family = family.expect("valid names");
                registry
                    .register(Box::new(family.clone()))
                    .expect("a new family");
                counters.extend(values.map(|values| family.with_label_values(&values)));
            } else {
                let options = HistogramOpts::new(name, help).buckets(BOUNDS.to_vec());
                let family = HistogramVec::new(options, &LABELS).expect("valid names");
                registry
                    .register(Box::new(family.clone()))
                    .expect("a new family");
                histograms.extend(values.map(|values| family.with_label_values(&values)));
            }
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let written = Self {
            workload,
            registry,
            counters,
            histograms,
            runtime: runtime.expect("a runtime"),
            client: Client::new(),
            url,
            send,
        };
        workload.first(|series, n| written.add(series, n));
        written
    }

    fn add(&self, series: usize, n: usize) {
        match self.workload.kind {
            Kind::Counter => self.counters[series].inc_by(amount(series, n)),
            _ => self.histograms[series].observe(value(series, n)),
        }
    }

    fn of_families(&self) -> reqwest::Request {
        let request = by_reqwest::WriteRequest::from_metric_families(self.registry.gather(), None);
        let request = request.expect("families of known kinds");
        let request = request.build_http_request(self.client.clone(), &self.url, "wire");
        request.expect("a request")
    }

    /// The crate reads the text page.
    fn of_text(&self) -> reqwest::Request {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        let text = text.expect("a page");
        let request = prometheus_remote_write::WriteRequest::from_text_format(text);
        let body = request.expect("a valid page").encode_compressed();
        let version = prometheus_remote_write::REMOTE_WRITE_VERSION_01;
        let request = self
            .client
            .post(&self.url)
            .header("content-type", prometheus_remote_write::CONTENT_TYPE)
            .header("content-encoding", "snappy")
            .header("user-agent", "wire")
            .header(
                prometheus_remote_write::HEADER_NAME_REMOTE_WRITE_VERSION,
                version,
            )
            .body(body.expect("a compressed page"));
        request.build().expect("a request")
    }
}

impl Way for Written {
    fn update(&mut self, round: usize) {
        self.workload.round(round, |series, n| self.add(series, n));
    }

    fn send(&mut self) -> Interval {
        let before = Traffic::now();
        let processor = meter::all(|| {
            let request = (self.send)(self);
            let response = self.runtime.block_on(self.client.execute(request));
            let status = response.expect("an answer").status();
            assert!(status.is_success(), "{status}");
        });
        let traffic = Traffic::now() - before;
        Interval { processor, traffic }
    }
}
