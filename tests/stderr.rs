//! Standard error belongs to the program: opinions are never written there, and losses in a way
//! that tests capture and that cannot fail.
//!
//! Each test runs as a program of its own, and reads its standard error.

mod support;

use std::process::Output;

use tallies::{Counter, Gauge, Registry};

use support::alone;

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A program, or a library that it uses, with names that `promtool` objects to.
fn badly_named() {
    static BADLY: Counter = Counter::new("jobs");
    BADLY.inc();
    let registry = Registry::new();
    registry.counter("jobs", "").unwrap().inc();
    registry.gauge_fn("queue_ms_total", "", || 1.0).unwrap();
    Gauge::builder("sizeKB", "").register(&registry).unwrap();
    let preset = tallies_http::ServerMetrics::aioprometheus();
    preset.register(&registry).unwrap();
}

#[test]
fn names_are_no_reason_to_write_to_standard_error() {
    let test = "names_are_no_reason_to_write_to_standard_error";
    let output = alone(test, badly_named, |command| _ = command.arg("--nocapture"));
    assert_eq!(stderr(&output), "");
}

/// A program that loses an update.
fn losing() {
    let registry = Registry::new();
    let waits = registry.histogram("wait_seconds", "Time in the queue.");
    waits.unwrap().observe(f64::NAN);
}

#[test]
fn a_loss_is_written_to_standard_error_once() {
    let test = "a_loss_is_written_to_standard_error_once";
    let output = alone(test, losing, |command| _ = command.arg("--nocapture"));
    let text = stderr(&output);
    assert!(
        text.starts_with("tallies: family `wait_seconds` cannot observe NaN"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_test_captures_what_a_loss_writes() {
    let output = alone("a_test_captures_what_a_loss_writes", losing, |_| ());
    assert_eq!(stderr(&output), "");
}

/// Each write to this file fails.
#[cfg(target_os = "linux")]
#[test]
fn a_loss_is_no_panic_if_standard_error_is_full() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    alone(
        "a_loss_is_no_panic_if_standard_error_is_full",
        losing,
        |command| {
            command.arg("--nocapture").stderr(full.unwrap());
        },
    );
}

/// A program whose thread has standard error, and needs what another one needs that warns.
fn holding_standard_error() {
    let registry = Registry::new();
    let waits = registry.histogram("wait_seconds", "Time in the queue.");
    let (waits, held) = (waits.unwrap(), std::io::stderr().lock());
    std::thread::scope(|scope| {
        let (warned, has_warned) = std::sync::mpsc::channel();
        let warning = waits.clone();
        scope.spawn(move || {
            warned.send(()).unwrap();
            warning.observe(f64::NAN);
        });
        has_warned.recv().unwrap();
        // The other thread waits by now, or will soon.
        for i in 0..50 {
            std::thread::sleep(std::time::Duration::from_millis(1));
            let jobs = registry.counter(&format!("jobs_{i}_total"), "Jobs done.");
            jobs.unwrap().add_exemplar(1, &[("trace_id", "abc")]);
        }
        drop(held);
    });
}

/// The thread that warned held a lock that the first exemplar of a series takes, and so the program
/// stood for ever.
#[test]
fn a_warning_that_waits_for_standard_error_stops_nobody() {
    let test = "a_warning_that_waits_for_standard_error_stops_nobody";
    let output = alone(test, holding_standard_error, |command| {
        command.arg("--nocapture");
    });
    assert_eq!(stderr(&output).lines().count(), 1, "{output:?}");
}
