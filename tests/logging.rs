//! Warnings go to the program's logger. A process has one logger, so this is a program of its own.

use std::sync::Mutex;

use tallies::{Counter, Gauge, Histogram, Registry};

static LOGGED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Held by the tests, since all of them see all lines.
static LOGGING: Mutex<()> = Mutex::new(());

struct Collect;

impl log::Log for Collect {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = match record.level() {
            log::Level::Warn => record.args().to_string(),
            level => format!("{level}: {}", record.args()),
        };
        let line = (record.target().to_owned(), text);
        LOGGED.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

/// Installs the logger, and returns the lines since the last call.
fn taken() -> Vec<(String, String)> {
    if log::set_logger(&Collect).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
    std::mem::take(&mut *LOGGED.lock().unwrap())
}

/// A family's first rejected update is logged with its reason, and no other.
#[test]
fn a_rejected_update_is_logged_once_for_each_family() {
    let logging = LOGGING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    taken();
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
    let logged = taken();
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
    assert!(taken().is_empty());
    drop(logging);
}

/// Each use of such a metric takes the family from the registry.
#[test]
#[expect(
    clippy::declare_interior_mutable_const,
    clippy::borrow_interior_mutable_const,
    reason = "the mistake that this is about"
)]
fn a_metric_that_is_no_static_is_logged_once_with_its_place() {
    const AGAIN: Counter = Counter::new("again_total").help("Each use declares it.");
    const TAKEN: Gauge = Gauge::new("again_total").help("Another kind.");
    // One place, two statics: a file that is compiled twice looks like this.
    macro_rules! twice {
        () => {{
            static A: Counter = Counter::new("statics_total").help("Here and there.");
            static B: Counter = Counter::new("statics_total").help("Here and there.");
            [&A, &B]
        }};
    }

    let logging = LOGGING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    taken();
    for _ in 0..10 {
        AGAIN.inc();
        TAKEN.inc();
        twice!().iter().for_each(|counter| counter.inc());
    }
    let texts: Vec<_> = taken().into_iter().map(|(_, text)| text).collect();
    let [rejected, again] = &*texts else {
        panic!("{texts:?}")
    };
    assert!(rejected.contains("is already registered as a counter at tests/logging.rs"));
    let (place, advice) = again.rsplit_once(", which").unwrap();
    assert!(
        place.starts_with(
            "family `again_total` is declared again by each use of the metric at tests/logging.rs:"
        ),
        "{again}"
    );
    assert!(advice.ends_with("make it a `static`"), "{again}");
    let now = tallies::snapshot();
    assert_eq!(now.get("tallies_rejected_families_total", &[]), Some(1.0));
    assert_eq!(now.get("statics_total", &[]), Some(20.0));
    drop(logging);
}

/// Names that `promtool check metrics` would object to are logged at registration, once.
#[test]
fn a_name_that_surprises_is_noted_at_registration() {
    let logging = LOGGING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    taken();
    for on in [false, true] {
        let registry = Registry::new();
        registry.set_lint(on);
        registry.counter("jobs", "Jobs done.").unwrap();
        registry.counter_fn("calls", "Calls.", || 1.0).unwrap();
        registry.gauge("free_bytes", "").unwrap();
        let sent = tallies::Counter::builder("sent_total", "Sent.").unit("bytes");
        sent.register(&registry).unwrap();
        let odd = tallies::Counter::builder("\u{202e}odd", "Odd.").utf8();
        odd.register(&registry).unwrap();
        registry.counter("good_bytes_total", "Good.").unwrap();
        let texts: Vec<_> = taken().into_iter().map(|(_, text)| text).collect();
        let expected: &[&str] = match on {
            false => &[],
            true => &[
                "DEBUG: family `jobs` at tests/logging.rs: it is a counter, so its name should be \
                 `jobs_total`",
                "DEBUG: family `calls` at tests/logging.rs: it is a counter, so its name should be \
                 `calls_total`",
                "DEBUG: family `free_bytes` at tests/logging.rs: it has no help text",
                "DEBUG: family `sent_total` at tests/logging.rs: its unit is `bytes`, so its name should \
                 be `sent_bytes_total`",
                "DEBUG: family `\\u{202e}odd` at tests/logging.rs: it is a counter, so its name should be \
                 `\\u{202e}odd_total`",
            ],
        };
        assert_eq!(texts.len(), expected.len(), "{texts:?}");
        for (text, expected) in texts.iter().zip(expected) {
            let (place, note) = expected.rsplit_once(": ").unwrap();
            assert!(text.starts_with(place) && text.contains(note), "{text}");
        }
    }
    drop(logging);
}
