//! Requests, decoded with the official types.

mod answers;
mod delta_cases;
mod deltas;
mod environment;
mod kinds;
mod python;
mod requests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use prost::Message;
use tallies::snapshot::{Family, Kind, Snapshot, Value};

use crate::protocol::{Answer, Protocol, Verdict};

use super::{Otlp, OtlpProtocol, Temporality};

/// Returns a time, in milliseconds after one in 2023.
fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + millis)
}

/// Returns the same in nanoseconds since the Unix epoch.
fn nanos_at(millis: u64) -> u64 {
    (1_700_000_000_000 + millis) * 1_000_000
}

fn family(name: &str, kind: Kind, series: &[(&[(&str, &str)], Value<'_>)]) -> Family {
    let mut family = Family::empty(name, "Some help.", "", kind).unwrap();
    for (labels, value) in series {
        family.push(labels, *value).unwrap();
    }
    family
}

fn snapshot(families: Vec<Family>, millis: u64) -> Snapshot {
    Snapshot::new(families, at(millis)).unwrap()
}

fn status(status: u16) -> Answer {
    Answer {
        status,
        ..Answer::default()
    }
}

fn accept(protocol: &mut OtlpProtocol) {
    let accepted = Verdict::Accepted {
        rejected: 0,
        why: String::new(),
    };
    assert_eq!(protocol.answered(Some(&status(200))), accepted);
}

/// Returns the bodies of all requests, each of which is accepted.
fn bodies(protocol: &mut OtlpProtocol) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut body = Vec::new();
    while protocol.next(&mut body).is_some() {
        accept(protocol);
        all.push(std::mem::take(&mut body));
    }
    assert!(body.is_empty());
    all
}

/// Returns the only request for a snapshot, in both encodings, which are equal.
fn request(otlp: &Otlp, snapshot: &Snapshot) -> ExportMetricsServiceRequest {
    let encoded = [otlp.clone(), otlp.clone().json()].map(|otlp| {
        let mut protocol = otlp.protocol();
        protocol.take(snapshot);
        let mut bodies = bodies(&mut protocol);
        assert_eq!(bodies.len(), 1);
        bodies.remove(0)
    });
    let binary = decoded(&encoded[0]);
    let json: ExportMetricsServiceRequest = serde_json::from_slice(&encoded[1]).unwrap();
    assert_eq!(binary, json);
    binary
}

fn decoded(body: &[u8]) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest::decode(body).unwrap()
}

/// Returns the metrics of a request, which has one resource and one scope.
fn metrics(request: ExportMetricsServiceRequest) -> Vec<Metric> {
    let [resource] = <[_; 1]>::try_from(request.resource_metrics).unwrap();
    let [scope] = <[_; 1]>::try_from(resource.scope_metrics).unwrap();
    assert!(!scope.metrics.is_empty());
    scope.metrics
}

/// Returns names and values of attributes that are strings.
fn texts(attributes: &[KeyValue]) -> Vec<(&str, &str)> {
    let texts = attributes.iter().filter_map(|attribute| {
        match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
            any_value::Value::StringValue(text) => Some((&*attribute.key, &**text)),
            _ => None,
        }
    });
    texts.collect()
}
