//! Standard error belongs to the program: opinions are never written there, and losses in a way that
//! tests capture and that cannot fail.
//!
//! Each test runs another one of this file as a program, and reads its standard error.

use std::process::{Command, Output, Stdio};

use tallies::{Counter, Gauge, Registry};

/// Set in the programs.
const IS_PROGRAM: &str = "TALLIES_TEST_PROGRAM";

fn is_program() -> bool {
    std::env::var_os(IS_PROGRAM).is_some()
}

/// Runs one of the programs below.
fn run(name: &str, args: &[&str], stderr: Stdio) -> Output {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .args(args)
        .env(IS_PROGRAM, "1")
        .stderr(stderr)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("1 passed"), "{stdout}");
    output
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A program, or a library that it uses, with names that `promtool` objects to.
#[test]
fn badly_named() {
    static BADLY: Counter = Counter::new("jobs");
    if !is_program() {
        return;
    }
    BADLY.inc();
    let registry = Registry::new();
    registry.counter("jobs", "").unwrap().inc();
    registry.gauge_fn("queue_ms_total", "", || 1.0).unwrap();
    Gauge::builder("sizeKB", "").register(&registry).unwrap();
    let preset = tallies::http::ServerMetrics::aioprometheus();
    preset.register(&registry).unwrap();
    #[cfg(feature = "facade")]
    tallies::facade::Recorder::builder()
        .buckets(&[1.0])
        .native_for(tallies::facade::Matcher::full("seconds"), 3)
        .install()
        .unwrap();
}

#[test]
fn names_are_no_reason_to_write_to_standard_error() {
    let output = run("badly_named", &["--nocapture"], Stdio::piped());
    assert_eq!(stderr(&output), "");
}

/// A program that loses an update.
#[test]
fn losing() {
    if is_program() {
        let registry = Registry::new();
        let waits = registry.histogram("wait_seconds", "Time in the queue.");
        waits.unwrap().observe(f64::NAN);
    }
}

#[test]
fn a_loss_is_written_to_standard_error_once() {
    let output = run("losing", &["--nocapture"], Stdio::piped());
    let text = stderr(&output);
    assert!(
        text.starts_with("tallies: family `wait_seconds` cannot observe NaN"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_test_captures_what_a_loss_writes() {
    let output = run("losing", &[], Stdio::piped());
    assert_eq!(stderr(&output), "");
}

/// Each write to this file fails.
#[cfg(target_os = "linux")]
#[test]
fn a_loss_is_no_panic_if_standard_error_is_full() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    run("losing", &["--nocapture"], full.unwrap().into());
}
