//! Every kind in every format, compared whole; what a format forbids is not there; names that are UTF-8, and names that
//! would be one.

use tallies::encode::{self, Escaping, Options};
use tallies::{
    AnyLabels, Counter, Gauge, Histogram, Info, LabelValue, Labels, Registry, Snapshot, StateSet,
    Summary, buckets,
};

#[derive(LabelValue)]
enum Pump {
    Off,
    Running,
}

#[derive(Labels)]
struct Request<'a> {
    #[label("http.method")]
    method: &'a str,
    status: u16,
}

/// One family of each kind, and of each thing that a format may forbid.
fn every_kind() -> Snapshot {
    let registry = Registry::new();
    registry.constant("zone", "a\"b\\c\nd").unwrap();
    let busy = Counter::<(), f64>::builder("busy_seconds_total", "Busy \\ \"or\"\nnot.")
        .unit("seconds")
        .register(&registry)
        .unwrap();
    busy.add(0.1);
    busy.add(0.2);
    // Of another unit than it says, and without a suffix.
    let events = Counter::<()>::builder("events", "Things that happened.")
        .unit("seconds")
        .labels(["kind"])
        .register(&registry)
        .unwrap();
    events.with(["a"]).add(1_000_000);
    events.with(["\u{0}\t\r\u{7f}ä日😱"]).inc();
    registry
        .gauge("level", "A level.")
        .unwrap()
        .set(f64::NEG_INFINITY);
    let sizes = Histogram::<()>::builder("sizes_bytes", "Sizes.")
        .unit("bytes")
        .buckets(&buckets::exponential(1.0, 1000.0, 3).unwrap())
        .labels(["kind"])
        .register(&registry)
        .unwrap();
    sizes.with(["a"]).observe(1.0);
    sizes.with(["a"]).observe_many(5e6, 3);
    sizes.with(["debts"]).observe(-1.0);
    let drift = Histogram::<()>::builder("drift", "Both ways.")
        .buckets(&[-1.0, 0.0, 1.0])
        .register(&registry)
        .unwrap();
    drift.observe(-0.5);
    Info::<()>::builder("app_info", "This program.")
        .unit("seconds")
        .constant("version", "1.2")
        .register(&registry)
        .unwrap();
    let pump = StateSet::<Pump>::builder("pump", "What it does.")
        .register(&registry)
        .unwrap();
    pump.set(Pump::Running);
    let latency = Summary::<()>::builder("latency_seconds", "Time.")
        .unit("seconds")
        .labels(["route"])
        .register(&registry)
        .unwrap();
    (1..=100).for_each(|i| latency.with(["/"]).observe(f64::from(i)));
    latency.with(["/negative"]).observe(-1.0);
    let _ = latency.with(["/nothing"]);
    registry.snapshot()
}

fn page(
    snapshot: &Snapshot,
    options: Options,
    write: impl FnOnce(&Options, &Snapshot, &mut Vec<u8>),
) -> String {
    let mut page = Vec::new();
    write(&options, snapshot, &mut page);
    String::from_utf8(page).unwrap()
}

/// `page`, and what is in `tests/golden`; with `GOLDEN=write` in the environment it is written there.
fn golden(name: &str, page: &str) {
    let file = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::write(&file, page).unwrap();
    }
    assert_eq!(page, std::fs::read_to_string(&file).unwrap(), "{name}");
}

#[test]
fn every_kind_in_text() {
    golden("formats.txt", &encode::text(&every_kind()));
}

#[test]
fn every_kind_in_open_metrics() {
    let snapshot = every_kind();
    golden("formats.openmetrics", &encode::open_metrics(&snapshot));
}
