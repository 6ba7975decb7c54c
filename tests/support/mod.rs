//! Helpers that several tests need.

#![allow(dead_code, reason = "each test uses some of it")]

pub mod examples;
pub mod exposition;
pub mod http;
pub mod servers;

use std::net::TcpListener;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant, SystemTime};

use tallies::Registry;

/// Says why a test cannot run on this machine. Fails where `CI` is set, so that nothing is skipped
/// there.
pub fn not_tested(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "not tested: {reason}");
    eprintln!("not tested: {reason}");
}

/// Runs `program` in a process of its own, and returns its output. The process runs the same test,
/// whose name the caller tells.
pub fn alone(test: &str, program: fn(), prepare: impl FnOnce(&mut Command)) -> Output {
    const IS_PROGRAM: &str = "TALLIES_TEST_PROGRAM";
    // Unlike the status of a run that found no test.
    const ENDED: i32 = 42;
    if std::env::var_os(IS_PROGRAM).is_some() {
        program();
        std::process::exit(ENDED);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(IS_PROGRAM, "1");
    prepare(&mut command);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(ENDED), "{output:?}");
    output
}

/// A process that is killed when the test ends.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Renders the page of a registry and reads it back strictly.
pub fn page(registry: &Registry) -> (String, Vec<exposition::Family>) {
    let page = tallies::encode::text(&registry.snapshot());
    let read = exposition::read(&page).unwrap_or_else(|e| panic!("{e}\n{page}"));
    (page, read)
}

/// Polls `condition` until it holds, and returns the value that it found. Fails after a minute.
#[track_caller]
pub fn eventually<C: Condition>(what: &str, mut condition: impl FnMut() -> C) -> C::Value {
    const LIMIT: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    loop {
        match condition().holds() {
            Ok(value) => return value,
            Err(now) if begun.elapsed() > LIMIT => panic!("not within {LIMIT:?}: {what}{now}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// The outcome of a poll: `true`, `Some` or `Ok` ends the wait. An error tells the state so far.
pub trait Condition {
    type Value;
    fn holds(self) -> Result<Self::Value, String>;
}

impl Condition for bool {
    type Value = ();
    fn holds(self) -> Result<(), String> {
        self.then_some(()).holds()
    }
}

impl<T> Condition for Option<T> {
    type Value = T;
    fn holds(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

impl<T, E: std::fmt::Display> Condition for Result<T, E> {
    type Value = T;
    fn holds(self) -> Result<T, String> {
        self.map_err(|now| format!("; last: {now}"))
    }
}

/// Returns once the clocks that stamp series, gauges and processes show a later millisecond. The
/// clock of series has steps of some milliseconds.
pub fn later_tick() {
    let before = SystemTime::now() + Duration::from_millis(1);
    eventually("a later tick", || {
        let registry = Registry::new();
        registry.counter("probe_total", "").unwrap().inc();
        registry
            .snapshot()
            .family("probe_total")
            .unwrap()
            .created(0)
            > Some(before)
    });
}
