//! Tests of the whole protocol, without HTTP: a receiver decodes the requests and answers.

mod answers;
mod batches;
mod clock;
mod compliance;
mod labels;
mod messages;
mod negotiation;
mod pages;
mod stale;
mod values;

use std::time::{Duration, SystemTime};

use prost::Message;
use tallies::snapshot::{Family, Histogram, Kind, Number, SeriesLabels, Snapshot, Summary, Value};

use crate::protocol::{Answer, Protocol, Verdict};

use super::exchange::Exchange;
use super::series::STALE;
use super::{HistogramForm, RemoteWrite, Version};

/// A time like those of today, in milliseconds since the Unix epoch.
const NOW: u64 = 1_790_000_000_000;

type Labels = Vec<(String, String)>;

/// A sample as a receiver reads it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    labels: Labels,
    value: SeenValue,
    time: i64,
    start: i64,
    exemplars: Vec<SeenExemplar>,
    /// Type, help and unit, in version 2.
    metadata: Option<(i32, String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
enum SeenValue {
    /// The bits of a float, so that NaNs are equal.
    Float(u64),
    Histogram(Box<messages::Histogram>),
}

#[derive(Clone, Debug, PartialEq)]
struct SeenExemplar {
    labels: Labels,
    value: f64,
    time: i64,
}

impl Seen {
    fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value)
    }

    fn name(&self) -> &str {
        self.label("__name__")
    }

    /// Returns the float.
    fn float(&self) -> f64 {
        match &self.value {
            SeenValue::Float(bits) => f64::from_bits(*bits),
            SeenValue::Histogram(_) => panic!("{self:?} is no float"),
        }
    }

    /// Returns the native histogram.
    fn histogram(&self) -> &messages::Histogram {
        match &self.value {
            SeenValue::Histogram(histogram) => histogram,
            SeenValue::Float(_) => panic!("{self:?} is no histogram"),
        }
    }

    /// Returns the bits of the float, or those of the sum of the native histogram.
    fn bits(&self) -> u64 {
        match &self.value {
            SeenValue::Float(bits) => *bits,
            SeenValue::Histogram(histogram) => histogram.sum.to_bits(),
        }
    }

    fn is_stale(&self) -> bool {
        self.bits() == STALE.to_bits()
    }

    /// Returns the name with the labels, such as `a_bucket{le="1.0"}`.
    fn text(&self) -> String {
        let others = self.labels.iter().filter(|(name, _)| name != "__name__");
        let others: Vec<_> = others
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        match &*others {
            [] => self.name().to_owned(),
            others => format!("{}{{{}}}", self.name(), others.join(",")),
        }
    }
}

/// A request as a receiver reads it.
#[derive(Debug)]
struct Received {
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The body before compression.
    message: Vec<u8>,
    is_v2: bool,
    /// The symbols of version 2.
    symbols: Vec<String>,
    /// The metadata of version 1.
    metadata: Vec<messages::MetricMetadata>,
    samples: Vec<Seen>,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| *other == name);
        &found
            .unwrap_or_else(|| panic!("{:?} lack {name}", self.headers))
            .1
    }

    fn texts(&self) -> Vec<String> {
        self.samples.iter().map(Seen::text).collect()
    }
}

fn pairs_of(refs: &[u32], symbols: &[String]) -> Labels {
    assert_eq!(refs.len() % 2, 0);
    let symbol = |index: u32| symbols[index as usize].clone();
    let pairs = refs.chunks(2);
    pairs
        .map(|pair| (symbol(pair[0]), symbol(pair[1])))
        .collect()
}

fn pairs_in(labels: Vec<messages::Label>) -> Labels {
    labels
        .into_iter()
        .map(|label| (label.name, label.value))
        .collect()
}

/// Returns the value and the time of a series, and since when it counts. It has one sample.
fn only(samples: &[messages::Sample], histograms: &[messages::Histogram]) -> (SeenValue, i64, i64) {
    match (samples, histograms) {
        ([only], []) => {
            let value = SeenValue::Float(only.value.to_bits());
            (value, only.timestamp, only.start_timestamp)
        }
        ([], [only]) => {
            let value = SeenValue::Histogram(Box::new(only.clone()));
            (value, only.timestamp, only.start_timestamp)
        }
        _ => panic!("not one sample: {samples:?} {histograms:?}"),
    }
}

/// Reads a request as its headers demand.
fn read(headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Received {
    let message = snap::raw::Decoder::new()
        .decompress_vec(&body)
        .expect("snappy block");
    let mut received = Received {
        headers,
        body,
        message,
        is_v2: false,
        symbols: Vec::new(),
        metadata: Vec::new(),
        samples: Vec::new(),
    };
    if received.header("content-type") == "application/x-protobuf" {
        let request = messages::WriteRequest::decode(&*received.message).expect("a message");
        received.metadata = request.metadata;
        for series in request.timeseries {
            let (value, time, start) = only(&series.samples, &series.histograms);
            let exemplars = series.exemplars.into_iter().map(|exemplar| SeenExemplar {
                labels: pairs_in(exemplar.labels),
                value: exemplar.value,
                time: exemplar.timestamp,
            });
            received.samples.push(Seen {
                exemplars: exemplars.collect(),
                labels: pairs_in(series.labels),
                value,
                time,
                start,
                metadata: None,
            });
        }
        return received;
    }
    let request = messages::Request::decode(&*received.message).expect("a message");
    let symbols = &request.symbols;
    for series in &request.timeseries {
        let (value, time, start) = only(&series.samples, &series.histograms);
        let exemplars = series.exemplars.iter().map(|exemplar| SeenExemplar {
            labels: pairs_of(&exemplar.labels_refs, symbols),
            value: exemplar.value,
            time: exemplar.timestamp,
        });
        let metadata = series.metadata.as_ref().map(|metadata| {
            let symbol = |index: u32| symbols[index as usize].clone();
            (
                metadata.kind,
                symbol(metadata.help_ref),
                symbol(metadata.unit_ref),
            )
        });
        received.samples.push(Seen {
            labels: pairs_of(&series.labels_refs, symbols),
            value,
            time,
            start,
            exemplars: exemplars.collect(),
            metadata,
        });
    }
    received.is_v2 = true;
    received.symbols = request.symbols;
    received
}

fn exchange(settings: &RemoteWrite) -> Exchange {
    settings.start().expect("valid settings")
}

fn next(exchange: &mut Exchange) -> Option<Received> {
    let mut body = Vec::new();
    let headers = exchange.next(&mut body)?;
    Some(read(headers, body))
}

fn answer(status: u16, headers: &[(&str, &str)]) -> Answer {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Answer {
        status,
        headers: headers.iter().map(owned).collect(),
        body: Vec::new(),
    }
}

/// Returns the answer of a receiver that has written all of a request.
fn all_written(request: &Received) -> Answer {
    if !request.is_v2 {
        return answer(204, &[]);
    }
    let floats = request.samples.iter();
    let floats = floats
        .filter(|sample| matches!(sample.value, SeenValue::Float(_)))
        .count();
    let histograms = request.samples.len() - floats;
    answer(
        204,
        &[
            (
                "x-prometheus-remote-write-samples-written",
                &floats.to_string(),
            ),
            (
                "x-prometheus-remote-write-histograms-written",
                &histograms.to_string(),
            ),
            ("x-prometheus-remote-write-exemplars-written", "0"),
        ],
    )
}

/// Sends all that is left to a receiver that writes it.
fn flush(exchange: &mut Exchange) -> Vec<Received> {
    let mut all = Vec::new();
    while let Some(request) = next(exchange) {
        let verdict = exchange.answered(Some(&all_written(&request)));
        let why = String::new();
        assert_eq!(verdict, Verdict::Accepted { rejected: 0, why });
        all.push(request);
    }
    all
}

/// Returns the samples of a snapshot.
fn sent(settings: &RemoteWrite, snapshot: &Snapshot) -> Vec<Seen> {
    let mut exchange = exchange(settings);
    exchange.take(snapshot);
    let requests = flush(&mut exchange);
    requests
        .into_iter()
        .flat_map(|request| request.samples)
        .collect()
}

fn v1() -> RemoteWrite {
    RemoteWrite::new().version(Version::V1)
}

fn v2() -> RemoteWrite {
    RemoteWrite::new().version(Version::V2)
}

fn both() -> [RemoteWrite; 2] {
    [v1(), v2()]
}

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

fn snapshot(families: impl IntoIterator<Item = Family>, millis: u64) -> Snapshot {
    Snapshot::new(families.into_iter().collect(), at(millis)).unwrap()
}

/// Returns a family with series of these labels and values.
fn family(name: &str, kind: Kind, series: &[(&[(&str, &str)], Value<'_>)]) -> Family {
    let mut family = Family::empty(name, "", "", kind).unwrap();
    for (labels, value) in series {
        family.push(labels, *value).unwrap();
    }
    family
}

/// Returns a family of gauges with a label `x` of these values.
fn gauges(name: &str, values: &[&str]) -> Family {
    let mut family = Family::empty(name, "", "", Kind::Gauge).unwrap();
    for value in values {
        family.push(&[("x", value)], Value::Gauge(1.0)).unwrap();
    }
    family
}

fn counted(n: u64) -> Value<'static> {
    Value::Counter(Number::Int(n))
}

fn fixed<'a>(bounds: &'a [f64], counts: &'a [u64], sum: f64) -> Value<'a> {
    Value::Histogram(Histogram::new(bounds, counts, sum).unwrap())
}

fn summary(count: u64, sum: f64, quantiles: &[(f64, f64)]) -> Value<'_> {
    Value::Summary(Summary::new(Some(count), sum, quantiles))
}

/// Returns a family with a histogram with exponential buckets of these observations.
fn exponential(name: &str, observations: &[f64]) -> Family {
    let registry = tallies::Registry::new();
    let histogram = tallies::Histogram::builder(name, "").native(2);
    let histogram = histogram.register(&registry).unwrap();
    observations.iter().for_each(|x| histogram.observe(*x));
    registry.snapshot().family(name).unwrap().clone()
}
