//! Runs one update `n` times: `updates NAME N`. `limits.rs` counts the instructions of `n` and of
//! `2n`.
//!
//! Without arguments, prints the names. With a directory in `TALLIES_INSTRUCTIONS`, the cells are
//! in a mapped file there.

use std::hint::black_box;
use std::time::Duration;

use tallies::event::{Event, Events};
use tallies::{Bound, Counter, Gauge, Histogram, LabelValue, Labels, Summary, UpDownCounter, View};

#[derive(LabelValue, Clone, Copy)]
enum Method {
    Get,
    Post,
}

#[derive(Labels)]
struct Request {
    method: Method,
}

#[derive(Event)]
struct Deed {
    deeds_total: u64,
    bytes_in_total: u64,
    bytes_out_total: u64,
    deed_errors_total: u64,
    deed_seconds: f64,
}

#[derive(Labels)]
struct Pair {
    method: Method,
    ok: bool,
}

static COUNTER: Counter = Counter::new("counter_total").hot();
static FLOAT: Counter<(), f64> = Counter::new("float_total").hot();
static HOT: Counter<[&str; 2]> = Counter::labelled("hot_total", &["a", "b"]).hot();
static COLD: Counter<[&str; 2]> = Counter::labelled("cold_total", &["a", "b"]);
static ENUM: Counter<Request> = Counter::new("enum_total").hot();
static GAUGE: Gauge = Gauge::new("gauge");
static GAUGES: Gauge<[&str; 1]> = Gauge::labelled("gauges", &["x"]);
static UP_DOWN: UpDownCounter = UpDownCounter::new("up_down").hot();
static HISTOGRAM: Histogram = Histogram::new("histogram").hot();
static HISTOGRAMS: Histogram<[&str; 1]> = Histogram::labelled("histograms", &["x"]).hot();
static COLD_HISTOGRAMS: Histogram<[&str; 1]> = Histogram::labelled("cold_histograms", &["x"]);
/// Four counters and a histogram.
static EVENT: Events<Deed> = Events::new().hot();
static EVENT_ENUM: Events<Deed, Request> = Events::new().hot();
static COLD_EVENTS: Events<Deed, [&str; 1]> = Events::labelled(&["x"]);
/// Bounds that are too close for the table.
static CLOSE: Histogram = Histogram::new("close")
    .buckets(&const { tallies::buckets::linear_array::<100>(1.0, 1.0) })
    .hot();
static NATIVE: Histogram = Histogram::new("native").native(3).hot();
static BOTH: Histogram = Histogram::new("both")
    .buckets(&[0.01, 0.1, 1.0])
    .native(3)
    .hot();
/// The histogram of a recorder of `tallies-bench`.
static RECORDER: Histogram = Histogram::new("recorder")
    .native(8)
    .native_limit(8192)
    .hot();
static SUMMARY: Summary = Summary::new("summary").hot();

/// Families that views switch off.
static OFF: Counter = Counter::new("off_total");
static OFF_LABELS: Counter<[&str; 2]> = Counter::labelled("off_labels_total", &["a", "b"]);
static OFF_ENUM: Counter<Request> = Counter::new("off_enum_total");
static OFF_GAUGE: Gauge = Gauge::new("off_gauge");
static OFF_HISTOGRAM: Histogram = Histogram::new("off_histogram");
static OFF_SUMMARY: Summary = Summary::new("off_summary");
/// Families whose last label a view drops.
static DROPPED: Counter<[&str; 2]> = Counter::labelled("dropped_total", &["a", "b"]).hot();
static DROPPED_ENUM: Counter<Pair> = Counter::new("dropped_enum_total").hot();
/// Histograms whose buckets a view changes.
static BOUNDS: Histogram = Histogram::new("bounds_by_view").hot();
static NATIVE_BY_VIEW: Histogram = Histogram::new("native_by_view").hot();

/// Adds the views. They have families of their own, so that the others show that views of one
/// family cost the others nothing.
fn add_views() {
    for view in [
        View::new("off_*").off(),
        View::new("dropped_total").drop_label("b"),
        View::new("dropped_enum_total").drop_label("ok"),
        View::new("bounds_by_view").buckets(&[0.01, 0.1, 1.0]),
        View::new("native_by_view").native(3),
    ] {
        tallies::registry()
            .add_view(view)
            .expect("nothing is registered yet");
    }
}

/// The number of cold series. Updates take turns, so none of them becomes hot.
const SERIES: usize = 1000;

/// Values of all kinds of buckets.
static VALUES: [f64; 8] = [0.03, 0.001, 0.7, 2.0, 0.2, 40.0, 0.008, 0.09];

#[inline(never)]
fn repeat(n: usize, mut update: impl FnMut(usize)) {
    for i in 0..n {
        update(black_box(i));
    }
}

macro_rules! updates {
    ($($name:literal => |$i:pat_param| $update:expr;)*) => {
        let mut arguments = std::env::args().skip(1);
        let Some(name) = arguments.next() else {
            return [$($name),*].iter().for_each(|name| println!("{name}"));
        };
        let n = arguments.next().unwrap().parse().unwrap();
        match &*name {
            $($name => repeat(n, |$i| $update),)*
            _ => panic!("no update `{name}`"),
        }
    };
}

fn main() {
    add_views();
    #[cfg(feature = "mmap")]
    let _shared =
        std::env::var_os("TALLIES_INSTRUCTIONS").map(|path| tallies::share::dir(path).unwrap());
    let names: Vec<String> = (0..SERIES).map(|i| i.to_string()).collect();
    let hot = HOT.bind(["x", "y"]);
    let cold: Vec<Bound<Counter>> = names.iter().map(|name| COLD.bind(["a", name])).collect();
    let gauge = GAUGES.bind(["x"]);
    let histogram = HISTOGRAMS.bind(["x"]);
    let cold_histograms: Vec<Bound<Histogram>> = names
        .iter()
        .map(|name| COLD_HISTOGRAMS.bind([&**name]))
        .collect();
    let cold_events: Vec<Bound<Events<Deed>>> = names
        .iter()
        .map(|name| COLD_EVENTS.bind([&**name]))
        .collect();
    let deed = |i: usize| Deed {
        deeds_total: 1,
        bytes_in_total: i as u64,
        bytes_out_total: 2 * i as u64,
        deed_errors_total: 0,
        deed_seconds: VALUES[i % 8],
    };
    let recorder = RECORDER.bind(());
    let times = VALUES.map(Duration::from_secs_f64);
    let method = |i: usize| {
        if i % 2 == 0 {
            Method::Get
        } else {
            Method::Post
        }
    };
    // More values than a thread's label cache has room for.
    let many: Vec<String> = (0..10_000).map(|i| i.to_string()).collect();
    let new_value = |i: usize| &many[i % many.len()];
    updates! {
        "nothing" => |_| ();
        "value" => |_| _ = black_box(1.5);
        "counter" => |_| COUNTER.inc();
        "float counter" => |_| FLOAT.add(black_box(1.5));
        "counter, bound" => |_| hot.inc();
        "counter, bound, cold" => |i| cold[i % SERIES].inc();
        "counter, two strings" => |_| HOT.with([black_box("GET"), black_box("200")]).inc();
        "counter, two strings, cold" => |i| COLD.with(["a", &names[i % SERIES]]).inc();
        "counter, enum" => |i| ENUM.with(Request { method: method(i) }).inc();
        "gauge" => |_| GAUGE.set(black_box(1.5));
        "gauge, bound" => |_| gauge.set(black_box(1.5));
        "up and down" => |_| { UP_DOWN.inc(); UP_DOWN.dec() };
        "histogram" => |i| HISTOGRAM.observe(VALUES[i % 8]);
        "histogram, bound" => |i| histogram.observe(VALUES[i % 8]);
        "histogram, bound, cold" => |i| cold_histograms[i % SERIES].observe(VALUES[i % 8]);
        "event" => |i| EVENT.record(deed(i));
        "event, enum" => |i| EVENT_ENUM.with(Request { method: method(i) }).record(deed(i));
        "event, bound, cold" => |i| cold_events[i % SERIES].record(deed(i));
        "histogram, close bounds" => |_| CLOSE.observe(black_box(77.5));
        "native histogram" => |i| NATIVE.observe(VALUES[i % 8]);
        "native histogram, fixed buckets" => |i| BOTH.observe(VALUES[i % 8]);
        "recorder" => |i| recorder.observe(black_box(times[i % 8]).as_secs_f64());
        "summary" => |i| SUMMARY.observe(i as f64);
        "counter, off" => |_| OFF.inc();
        "counter, two strings, off" => |_| OFF_LABELS.with([black_box("GET"), black_box("200")]).inc();
        "counter, enum, off" => |i| OFF_ENUM.with(Request { method: method(i) }).inc();
        "gauge, off" => |_| OFF_GAUGE.set(black_box(1.5));
        "histogram, off" => |i| OFF_HISTOGRAM.observe(VALUES[i % 8]);
        "summary, off" => |i| OFF_SUMMARY.observe(i as f64);
        "counter, dropped label" => |_| DROPPED.with([black_box("GET"), black_box("200")]).inc();
        "counter, dropped label, many values" => |i| DROPPED.with(["GET", &names[i % SERIES]]).inc();
        "counter, dropped label, new values" => |i| DROPPED.with(["GET", new_value(i)]).inc();
        "counter, dropped enum" => |i| DROPPED_ENUM.with(Pair { method: method(i), ok: true }).inc();
        "histogram, bounds of a view" => |i| BOUNDS.observe(VALUES[i % 8]);
        "histogram, native by a view" => |i| NATIVE_BY_VIEW.observe(VALUES[i % 8]);
    }
}
