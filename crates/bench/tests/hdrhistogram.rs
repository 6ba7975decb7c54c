//! The files of HdrHistogram's formats, read by its port to Python and by the rules of its plotter.
//!
//! `tests/run.sh tests` installs the port and runs this test by name.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;
use tallies_bench::recorder::{IntervalLog, Recorder, Recording};

/// Milliseconds since 1970.
fn millis(time: SystemTime) -> f64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    since_1970.unwrap().as_secs_f64() * 1e3
}

/// Returns what the Python port reads from a log and a file of percentiles.
fn python(log: &[u8], percentiles: &[u8]) -> Value {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let folder = tempfile::tempdir().unwrap();
    let files = [("log.hlog", log), ("percentiles.hgrm", percentiles)].map(|(name, text)| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    });
    let python = std::env::var_os("TALLIES_PYTHON");
    let run = Command::new(python.unwrap_or(root.join("target/parsers/bin/python").into()))
        .arg(root.join("crates/bench/tests/hdrhistogram.py"))
        .args(files)
        .output()
        .expect("`tests/run.sh tests` installs it");
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
    serde_json::from_slice(&run.stdout).unwrap()
}

/// Pairs of numbers.
fn pairs(value: &Value) -> Vec<(u64, u64)> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The read counts are those of the written buckets, in order, at values within them.
fn assert_same(read: &[(u64, u64)], written: &Recording) {
    let buckets: Vec<_> = written.distribution().buckets().collect();
    assert_eq!(read.len(), buckets.len());
    for ((value, count), bucket) in read.iter().zip(buckets) {
        assert_eq!(*count, bucket.count);
        let seconds = *value as f64 * 1e-9;
        assert!(bucket.lower < seconds && seconds < bucket.upper * 1.002);
    }
}

#[test]
fn the_python_port_reads_a_log_and_its_plotter_the_percentiles() {
    let recorder = Recorder::new("query_seconds").unwrap();
    let mut intervals = recorder.intervals();
    // 1 µs to 1 000 s: every bucket has one of HdrHistogram's for itself.
    let wide: Vec<f64> = (0..4001).map(|i| 1e-6 * 1.005_194_f64.powi(i)).collect();
    let narrow: Vec<f64> = (1..=10_007).map(|i| 1e-6 * f64::from(i)).collect();
    let parts = [wide.as_slice(), &[], &narrow, &[2e-3]].map(|values| {
        values
            .iter()
            .for_each(|value| recorder.record_seconds(*value));
        intervals.next_interval()
    });
    let whole = recorder.read();
    let mut log = IntervalLog::new(Vec::new(), whole.begin()).unwrap();
    parts.iter().for_each(|part| log.write(part).unwrap());
    let mut percentiles = Vec::new();
    whole.write_hgrm(&mut percentiles).unwrap();

    let read = python(&log.into_inner(), &percentiles);
    let intervals = read["intervals"].as_array().unwrap();
    assert_eq!(intervals.len(), parts.len());
    for (interval, part) in intervals.iter().zip(&parts) {
        assert_eq!(interval["tag"], part.name());
        // The log has milliseconds, of the begin of the log and since then.
        let begin = interval["start"].as_f64().unwrap();
        let end = interval["end"].as_f64().unwrap();
        assert!((begin - millis(part.begin())).abs() < 2.0, "{begin}");
        assert!((end - millis(part.end())).abs() < 3.0, "{end}");
        assert_same(&pairs(&interval["counts"]), part);
    }

    let rows: Vec<[f64; 4]> = serde_json::from_value(read["rows"].clone()).unwrap();
    let expected = pairs(&read["expected"]);
    assert!(rows.len() > 50, "{rows:?}");
    for ([value, percentile, count, inverse], (nanos, below)) in rows.into_iter().zip(expected) {
        assert_eq!((value * 1e6).round() as u64, nanos, "{percentile}");
        assert_eq!(count as u64, below, "{percentile}");
        let exact = 1.0 / (1.0 - percentile);
        assert!(
            (inverse - exact).abs() <= 0.005 + 1e-9 * exact * exact,
            "{percentile}"
        );
    }
}
