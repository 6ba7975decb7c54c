//! A logger that counts its lines through the recorder of `tallies-metrics`. Both are global, so
//! this is a program of its own.

use std::sync::mpsc;
use std::time::Duration;

use metrics::{Unit, counter, describe_gauge, gauge};

struct CountingLogger;

impl log::Log for CountingLogger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        counter!("log_lines", "level" => record.level().as_str()).increment(1);
    }

    fn flush(&self) {}
}

/// Runs `refused` on another thread, and returns how many lines it has logged. A recorder that logs
/// while it holds its lock would hang there: that fails after half a minute.
fn lines(refused: impl FnOnce() + Send + 'static) -> f64 {
    let logged = || {
        let lines = tallies::snapshot().get("log_lines_total", &[("level", "WARN")]);
        lines.unwrap_or(0.0)
    };
    let before = logged();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        refused();
        let _ = sender.send(());
    });
    let ended = receiver.recv_timeout(Duration::from_secs(30));
    assert!(ended.is_ok(), "the recorder logs while it holds its lock");
    logged() - before
}

#[test]
fn a_logger_may_count_its_lines_through_the_recorder_that_logs() {
    log::set_logger(&CountingLogger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    tallies_metrics::Recorder::builder()
        .limit_names(5)
        .recommended_naming(true)
        .install()
        .unwrap();
    // Another kind than before.
    let lines_of_kind = lines(|| {
        counter!("jobs").increment(1);
        gauge!("jobs").set(1.0);
    });
    assert_eq!(lines_of_kind, 1.0);
    // A description that would give a family the name of another one.
    let lines_of_description = lines(|| {
        gauge!("sent").set(1.0);
        gauge!("sent_bytes").set(1.0);
        describe_gauge!("sent", Unit::Bytes, "Bytes sent.");
    });
    assert_eq!(lines_of_description, 1.0);
    // Names beyond the limit: `jobs`, `log_lines`, `sent` and `sent_bytes` are four.
    let lines_beyond = lines(|| {
        for name in ["five", "six", "seven"] {
            counter!(name).increment(1);
        }
    });
    assert_eq!(lines_beyond, 1.0);
}
