//! Requests, read by OpenTelemetry's own types in Python.
//!
//! `tests/run.sh tests` installs them.

use std::path::Path;
use std::process::Command;

use tallies::snapshot::{Histogram, Number, Summary};
use tallies::{Counter, Registry};

use super::*;

/// Returns families of each kind.
fn everything() -> Snapshot {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "Jobs \"done\".\n").labels(["queue"]);
    let jobs = jobs.limit(1).register(&registry).unwrap();
    ["mail", "print"]
        .iter()
        .for_each(|queue| jobs.with([queue]).inc());
    let sizes = tallies::Histogram::builder("sizes_bytes", "Sizes.")
        .unit("bytes")
        .native(3);
    let sizes = sizes.register(&registry).unwrap();
    [0.0, 1.0, -2.5, 1e9]
        .iter()
        .for_each(|size| sizes.observe(*size));
    let ids = [
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("span_id", "00f067aa0ba902b7"),
    ];
    sizes.observe_exemplar(3.0, &ids);
    let now = registry.snapshot();
    let quantiles = [(0.5, 2.0), (0.9, f64::INFINITY)];
    let value = Histogram::new(&[0.5, 2.0], &[1, 0, u64::MAX - 1], 9.5).unwrap();
    let labels = [("x", "ä\u{1}\"\\\n")];
    let others = [
        family(
            "big_total",
            Kind::Counter,
            &[(&labels, Value::Counter(Number::Int(u64::MAX)))],
        ),
        family("load", Kind::Gauge, &[(&[], Value::Gauge(-1e-7))]),
        family("build_info", Kind::Info, &[(&labels, Value::Gauge(1.0))]),
        family(
            "state",
            Kind::StateSet,
            &[(&[("state", "on")], Value::Gauge(0.0))],
        ),
        family("old", Kind::Unknown, &[(&[], Value::Gauge(1e300))]),
        family(
            "wait",
            Kind::Histogram,
            &[(&labels, Value::Histogram(value))],
        ),
        family(
            "latency",
            Kind::Summary,
            &[(&[], Value::Summary(Summary::new(Some(4), 3.5, &quantiles)))],
        ),
    ];
    let families = now.families().cloned().chain(others).collect();
    Snapshot::new(families, now.taken()).unwrap()
}

#[test]
fn python_reads_the_same_in_both_encodings() {
    let snapshot = everything();
    let encoded = [Otlp::new(), Otlp::new().json()].map(|otlp| {
        let mut protocol = otlp.resource("service.name", "checkout").protocol();
        protocol.take(&snapshot);
        let mut body = Vec::new();
        protocol.next(&mut body).unwrap();
        body
    });
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let folder = std::env::temp_dir().join(format!("tallies-otlp-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let files = [("request.pb", 0), ("request.json", 1)].map(|(name, i)| {
        let file = folder.join(name);
        std::fs::write(&file, &encoded[i]).unwrap();
        file
    });
    let python = std::env::var_os("TALLIES_PYTHON");
    let run = Command::new(python.unwrap_or(root.join("target/parsers/bin/python").into()))
        .arg(root.join("crates/send/tests/otlp.py"))
        .args(files)
        .output()
        .expect("`tests/run.sh tests` installs it");
    std::fs::remove_dir_all(&folder).unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
    // Python has found both encodings equal, and prints the first in the second.
    let read: ExportMetricsServiceRequest = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(read, decoded(&encoded[0]));
    let metrics = metrics(read);
    assert_eq!(
        metrics.len(),
        snapshot
            .families()
            .filter(|family| !family.is_empty())
            .count()
    );
}
