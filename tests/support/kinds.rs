//! Snapshots of one of everything that a format may write, forbid, or have to escape.

use tallies::{
    Counter, Gauge, Histogram, Info, LabelValue, Labels, Registry, StateSet, Summary, buckets,
    collect::Collected, label::AnyLabels, snapshot::Snapshot,
};

#[derive(LabelValue)]
enum Pump {
    Off,
    Running,
}

#[derive(Labels)]
pub struct Request<'a> {
    #[label("http.method")]
    pub method: &'a str,
    pub status: u16,
}

/// One family of each kind, and of everything that some format forbids.
pub fn every_kind() -> Snapshot {
    let registry = Registry::new();
    registry.add_constant("zone", "a\"b\\c\nd").unwrap();
    let busy = Counter::builder("busy_seconds_total", "Busy \\ \"or\"\nnot.")
        .float()
        .unit("seconds")
        .register(&registry)
        .unwrap();
    busy.add(0.1);
    busy.add(0.2);
    // Its name has neither the unit nor `_total` as a suffix.
    let events = Counter::builder("events", "Things that happened.")
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
    let sizes = Histogram::builder("sizes_bytes", "Sizes.")
        .unit("bytes")
        .buckets(&buckets::exponential(1.0, 1000.0, 3).unwrap())
        .labels(["kind"])
        .register(&registry)
        .unwrap();
    sizes.with(["a"]).observe(1.0);
    sizes.with(["a"]).observe_many(5e6, 3);
    sizes.with(["debts"]).observe(-1.0);
    let drift = Histogram::builder("drift", "Both ways.")
        .buckets(&[-1.0, 0.0, 1.0])
        .register(&registry)
        .unwrap();
    drift.observe(-0.5);
    Info::builder("app_info", "This program.")
        .unit("seconds")
        .constant("version", "1.2")
        .register(&registry)
        .unwrap();
    let pump = StateSet::<Pump>::builder("pump", "What it does.")
        .register(&registry)
        .unwrap();
    pump.set(Pump::Running);
    let latency = Summary::builder("latency_seconds", "Time.")
        .unit("seconds")
        .labels(["route"])
        .register(&registry)
        .unwrap();
    pump.set(Pump::Off);
    pump.set(Pump::Running);
    (1..=100).for_each(|i| latency.with(["/"]).observe(f64::from(i)));
    latency.with(["/negative"]).observe(-1.0);
    registry
        .add_collector("queue", |out: &mut Collected| {
            let help = "Ages of jobs.";
            for (queue, counts, sum) in [("a\nb", [2, 0, 1], 93.5), ("idle", [0; 3], 0.0)] {
                let labels = [("queue", queue)];
                out.gauge_histogram("ages_seconds", help, &labels, &[1.0, 60.0], &counts, sum)?;
            }
            let (bounds, counts) = ([-1.0, 1.0], [1, 1, 0]);
            out.gauge_histogram("offsets", "Both ways.", &[], &bounds, &counts, -2.5)?;
            Ok(())
        })
        .unwrap();
    let _ = latency.with(["/nothing"]);
    registry.snapshot()
}

/// A family whose names need quotes, and one whose names do not.
pub fn utf8_names() -> Snapshot {
    let registry = Registry::new();
    let requests = Counter::builder("http.requests_total", "Requests.")
        .label_set::<Request>()
        .utf8()
        .constant("host.name", "a")
        .register(&registry)
        .unwrap();
    requests
        .with(Request {
            method: "GET",
            status: 200,
        })
        .inc();
    requests
        .with(Request {
            method: "\"\\\n",
            status: 200,
        })
        .add(2);
    let latency = Histogram::builder("http latency", "Time.")
        .utf8()
        .buckets(&[1.0])
        .register(&registry)
        .unwrap();
    latency.observe(0.5);
    let any = Gauge::builder("花火", "")
        .label_set::<AnyLabels>()
        .utf8()
        .register(&registry)
        .unwrap();
    any.with(&[("größe", "x"), ("plain_one", "1")]).set(1.0);
    any.with(&[("größe", "x"), ("plain_one", "1")]).add(1.0);
    any.with(&[]).set(3.0);
    registry.gauge("old_name", "").unwrap().set(1.0);
    registry.snapshot()
}
