//! Warnings go to the program's logger. A process has one logger, so this is a program of its own.

use std::sync::Mutex;

use tallies::{Histogram, Registry};

static LOGGED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

struct Collect;

impl log::Log for Collect {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = (record.target().to_owned(), record.args().to_string());
        LOGGED.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

/// A family's first rejected update is logged with its reason, and no other.
#[test]
fn a_rejected_update_is_logged_once_for_each_family() {
    log::set_logger(&Collect).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let registry = Registry::new();
    let waits = registry.histogram("wait_seconds", "Time in the queue.");
    let waits = waits.unwrap();
    let busy = tallies::Counter::builder("busy_seconds_total", "Time spent.")
        .float()
        .labels(["job"])
        .register(&registry)
        .unwrap();
    for _ in 0..3 {
        waits.observe(f64::NAN);
        busy.with(["mail"]).add(-0.5);
    }
    let logged = std::mem::take(&mut *LOGGED.lock().unwrap());
    let counts = "; this is logged once for each family, and `tallies_rejected_updates_total` \
                  counts all rejected updates";
    let line = |text: &str| ("tallies".to_owned(), format!("{text}{counts}"));
    assert_eq!(
        logged,
        [
            line("family `wait_seconds` cannot observe NaN"),
            line(
                "counter `busy_seconds_total` can only grow, by a finite amount of 0 or more, got \
                 -0.5"
            ),
        ]
    );
    // The caller has the error, so nothing is logged.
    let other = Histogram::builder("other_seconds", "Time elsewhere.").register(&registry);
    assert!(other.unwrap().try_observe(f64::NAN).is_err());
    assert!(LOGGED.lock().unwrap().is_empty());
}
