//! Exact things: allocations per update and per scrape, bytes per series, and what threads leave behind.

#![allow(unsafe_code, reason = "a counting allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use tallies::{
    AnyLabels, Counter, Gauge, Histogram, LabelValue, Labels, Registry, Snapshot, Summary,
    UpDownCounter, encode,
};

struct Counting;

thread_local! {
    /// Of this thread: the harness allocates in its own while a test runs.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}
static BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's word.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's word.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller's word.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// These tests count what the whole process does: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

fn bytes(f: impl FnOnce()) -> i64 {
    let before = BYTES.load(Relaxed);
    f();
    BYTES.load(Relaxed) - before
}

/// What growing left behind is freed an epoch later, and so is what earlier tests left.
fn settle() {
    (0..300).for_each(|_| _ = Registry::new().snapshot());
}

#[derive(LabelValue)]
enum Method {
    Get,
}

#[derive(Labels)]
struct Request<'a> {
    method: Method,
    route: &'a str,
    status: u16,
}

#[derive(Labels)]
struct Closed {
    method: Method,
    ok: bool,
}

static COUNTER: Counter = Counter::new("allocations_total");
static FLOAT: Counter<(), f64> = Counter::new("allocations_float_total");
static GAUGE: Gauge = Gauge::new("allocations_gauge");
static UP_DOWN: UpDownCounter = UpDownCounter::new("allocations_up_down");
static HISTOGRAM: Histogram = Histogram::new("allocations_histogram");
static NATIVE: Histogram = Histogram::new("allocations_native").native(3);
static OPEN: Counter<Request> = Counter::new("allocations_open_total");
static OPEN_HISTOGRAM: Histogram<Request> = Histogram::new("allocations_open_histogram");
static CLOSED: Counter<Closed> = Counter::new("allocations_closed_total");

fn update_everything() {
    COUNTER.inc();
    FLOAT.add(0.5);
    GAUGE.set(1.0);
    UP_DOWN.inc();
    UP_DOWN.dec();
    HISTOGRAM.observe(0.3);
    for status in 200..220 {
        OPEN.with(Request {
            method: Method::Get,
            route: "/users",
            status,
        })
        .inc();
        OPEN_HISTOGRAM
            .with(Request {
                method: Method::Get,
                route: "/users",
                status,
            })
            .observe(0.3);
    }
    CLOSED
        .with(Closed {
            method: Method::Get,
            ok: true,
        })
        .inc();
}

#[test]
fn an_update_allocates_nothing_once_warm() {
    let _alone = ALONE.lock();
    for _ in 0..2000 {
        update_everything();
    }
    let n = allocations(|| {
        for _ in 0..10_000 {
            update_everything();
        }
    });
    assert_eq!(n, 0);
}

#[test]
fn a_native_histogram_allocates_nothing_once_it_has_met_its_buckets() {
    let _alone = ALONE.lock();
    let values: Vec<_> = (0..300).map(|i| 0.001 * 1.03_f64.powi(i)).collect();
    let observe = || values.iter().for_each(|value| NATIVE.observe(*value));
    (0..20).for_each(|_| observe());
    assert_eq!(allocations(|| (0..100).for_each(|_| observe())), 0);
}

/// Requests through the server layer and calls through the client layer, bodies and all.
#[test]
fn a_measured_request_allocates_nothing_once_warm() {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::{Body, Bytes};
    use tallies::http::{ClientMetrics, ServerMetrics};
    use tower::{Layer, Service, service_fn};

    let _alone = ALONE.lock();
    let registry = Registry::new();
    let answer = |_: Request<Full<Bytes>>| -> Ready<Result<_, Infallible>> {
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
    };
    let mut server = ServerMetrics::new()
        .exclude(["/metrics"])
        .templates(["/users/{id}"])
        .register(&registry)
        .unwrap()
        .layer(service_fn(answer));
    let mut client = ClientMetrics::new()
        .register(&registry)
        .unwrap()
        .named("users")
        .templates(["/users/{id}"])
        .layer(service_fn(answer));
    let mut cx = Context::from_waker(Waker::noop());
    let mut exchange = || {
        let request = || {
            let mut request = Request::new(Full::new(Bytes::from_static(b"hello")));
            *request.uri_mut() = http::Uri::from_static("/users/7");
            request
        };
        let Poll::Ready(Ok(response)) = pin!(server.call(request())).poll(&mut cx) else {
            panic!("an answer at once");
        };
        let frame = pin!(response.into_body()).poll_frame(&mut cx);
        assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
        assert!(pin!(client.call(request())).poll(&mut cx).is_ready());
    };
    (0..3000).for_each(|_| exchange());
    assert_eq!(allocations(|| (0..10_000).for_each(|_| exchange())), 0);
    let labels = [
        ("method", "GET"),
        ("route", "/users/{id}"),
        ("status", "200"),
    ];
    let now = registry.snapshot();
    assert_eq!(now.get("http_requests_total", &labels), Some(13_000.0));
}

/// Numbers in an order like no order; the `i`th.
#[tallies::timed(OPEN_HISTOGRAM, labels = Request { method: Method::Get, route, status: 200 })]
#[tallies::timed(HISTOGRAM)]
#[tallies::in_progress(UP_DOWN)]
#[tallies::count(COUNTER)]
#[tallies::count_errors(COUNTER)]
fn attributed(route: &str) -> Result<usize, std::fmt::Error> {
    match route.len() {
        0 => Err(std::fmt::Error),
        len => Ok(len),
    }
}

#[tallies::timed(OPEN_HISTOGRAM, labels = Request { method: Method::Get, route, status: 200 })]
#[tallies::count_errors(OPEN, on(error, panic, cancel), labels = Request { method: Method::Get, route, status: 500 })]
async fn attributed_later(route: &str) -> Result<usize, std::fmt::Error> {
    attributed(route)
}

#[test]
fn an_attribute_allocates_nothing_once_warm() {
    let _alone = ALONE.lock();
    let calls = || {
        use tallies::Measure;
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        for route in ["/users", ""] {
            let future = attributed_later(route)
                .timed(&HISTOGRAM)
                .in_progress(&UP_DOWN)
                .count_errors(&COUNTER);
            assert!(std::pin::pin!(future).poll(&mut cx).is_ready());
        }
    };
    (0..2000).for_each(|_| calls());
    assert_eq!(allocations(|| (0..1000).for_each(|_| calls())), 0);
}

fn shuffled(i: u32) -> f64 {
    f64::from(i.wrapping_mul(2_654_435_769))
}

#[test]
fn a_summary_allocates_nothing_once_warm() {
    let _alone = ALONE.lock();
    let registry = Registry::new();
    let s = Summary::<()>::builder("s", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    (0..100_000).for_each(|i| s.with(["a"]).observe(shuffled(i)));
    let n = allocations(|| (100_000..400_000).for_each(|i| s.with(["a"]).observe(shuffled(i))));
    assert_eq!(n, 0);
}

/// What a series of a summary takes in each further thread, cells and look-up table included.
#[test]
fn bytes_of_a_summary_per_series_and_thread() {
    const THREADS: usize = 4;
    let _alone = ALONE.lock();
    let per_stream = |series: usize, observations: u32| {
        settle();
        let registry = Registry::new();
        let s = Summary::<()>::builder("s", "")
            .labels(["x"])
            .hot()
            .register(&registry)
            .unwrap();
        let names: Vec<String> = (0..series).map(|i| i.to_string()).collect();
        names.iter().for_each(|name| s.with([name]).observe(0.0));
        let turn = std::sync::Barrier::new(THREADS + 1);
        let used = std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    turn.wait();
                    turn.wait();
                    for name in &names {
                        (0..observations).for_each(|i| s.with([name]).observe(shuffled(i)));
                    }
                    turn.wait();
                    turn.wait();
                });
            }
            turn.wait();
            let used = bytes(|| {
                turn.wait();
                turn.wait();
                settle();
            });
            turn.wait();
            used
        });
        used as f64 / (series * THREADS) as f64
    };
    let (rare, hot) = (per_stream(500, 10), per_stream(100, 20_000));
    println!("summary: {rare:.0} bytes in a thread that uses it rarely, {hot:.0} in a hot one");
    assert!(rare <= 400.0, "{rare}");
    assert!(hot <= 9.0 * 1024.0, "{hot}");
}

#[test]
fn a_scrape_allocates_nothing_that_grows_with_the_series() {
    let _alone = ALONE.lock();
    let mut per_scrape = Vec::new();
    for series in [10, 10_000] {
        let registry = Registry::new();
        let c = Counter::<()>::builder("c_total", "")
            .labels(["x"])
            .limit(series)
            .register(&registry)
            .unwrap();
        let h = Histogram::<()>::builder("h", "")
            .labels(["x"])
            .limit(series)
            .register(&registry)
            .unwrap();
        let n = Histogram::<()>::builder("n", "")
            .labels(["x"])
            .native(3)
            .limit(series)
            .register(&registry)
            .unwrap();
        let s = Summary::<()>::builder("s", "")
            .labels(["x"])
            .limit(10)
            .register(&registry)
            .unwrap();
        let u = Counter::<()>::builder("u.total", "")
            .utf8()
            .labels(["x.y"])
            .limit(series)
            .register(&registry)
            .unwrap();
        for i in 0..series {
            c.with([&i.to_string()]).add(2000);
            h.with([&i.to_string()]).observe(1.0);
            n.with([&i.to_string()]).observe(1.0);
            u.with([&i.to_string()]).inc();
        }
        (0..10).for_each(|i| s.with([&i.to_string()]).observe(1.0));
        let mut snapshot = Snapshot::default();
        let mut page = Vec::new();
        let mut scrape = || {
            registry.snapshot_into(&mut snapshot);
            for write in [
                encode::text_into,
                encode::open_metrics_into,
                encode::protobuf_into,
            ] {
                page.clear();
                write(&snapshot, &mut page);
            }
        };
        scrape();
        scrape();
        per_scrape.push(allocations(|| (0..10).for_each(|_| scrape())) / 10);
    }
    assert!(per_scrape[1] <= per_scrape[0] + 10, "{per_scrape:?}");
}

/// What the service does for a request, compressed or not: pages and snapshots are written over.
#[cfg(feature = "tower")]
#[test]
fn a_request_allocates_nothing_that_grows_with_the_series() {
    use std::task::{Context, Poll, Waker};
    use tower_service::Service;

    let _alone = ALONE.lock();
    for coding in ["identity", "gzip", "zstd"] {
        let mut per_request = Vec::new();
        for series in [10, 10_000] {
            let registry = Registry::new();
            let c = Counter::<()>::builder("c_total", "")
                .labels(["x"])
                .limit(series)
                .register(&registry)
                .unwrap();
            (0..series).for_each(|i| c.with([&i.to_string()]).inc());
            let other = Registry::new();
            other.gauge("pool_size", "Workers.").unwrap().set(4.0);
            let mut service = tallies::MetricsService::of([&other, &registry]);
            let mut ask = || {
                let request = http::Request::builder()
                    .header("accept-encoding", coding)
                    .body(())
                    .unwrap();
                // Without a runtime it is done when it is asked for.
                let answer = service
                    .call(request)
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(answer, Poll::Ready(Ok(answer)) if answer.status() == 200));
            };
            (0..3).for_each(|_| ask());
            let used = (
                allocations(|| (0..10).for_each(|_| ask())),
                bytes(|| (0..10).for_each(|_| ask())),
            );
            assert!(used.1 < 4096, "{coding}: it keeps {} bytes", used.1);
            per_request.push(used.0 / 10);
        }
        assert!(
            per_request[1] <= per_request[0] + 4,
            "{coding}: {per_request:?}"
        );
    }
}

/// In every format and coding, with updates in between: what is live after the first hundred is all there ever is.
#[test]
fn memory_is_flat_over_ten_thousand_scrapes() {
    use std::task::{Context, Poll, Waker};
    use tower_service::Service;

    const LABELS: [&str; 3] = ["a", "b", "\"c\""];

    let _alone = ALONE.lock();
    let accepts = [
        "text/plain;version=0.0.4",
        "text/plain;version=1.0.0;escaping=allow-utf-8",
        "application/openmetrics-text;version=1.0.0",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ];
    let registry = Registry::new();
    let counters = Counter::<()>::builder("c_total", "Counted.")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let histogram = Histogram::<()>::builder("h_seconds", "Time.")
        .native(3)
        .register(&registry)
        .unwrap();
    let summary = Summary::<()>::builder("s_seconds", "Time.")
        .register(&registry)
        .unwrap();
    (0..100).for_each(|i| summary.observe(shuffled(i)));
    // No number gets longer than it is at first, so pages do not.
    for x in LABELS {
        counters.with([x]).add(1_000_000);
    }
    (0..10).for_each(|i| histogram.observe_many(f64::from(i), 1_000_000));
    let mut service = tallies::MetricsService::of([&registry]);
    let mut scrape = |i: usize| {
        for x in LABELS {
            counters.with([x]).inc();
        }
        histogram.observe((i % 10) as f64);
        let accept = accepts[i % accepts.len()];
        let coding = ["identity", "gzip", "zstd"][i / accepts.len() % 3];
        let request = http::Request::builder()
            .header("accept", accept)
            .header("accept-encoding", coding)
            .body(())
            .unwrap();
        // Without a runtime it is done when it is asked for.
        let answer = service
            .call(request)
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(answer, Poll::Ready(Ok(answer)) if answer.status() == 200));
        let (_, page) = encode::render(&registry.snapshot(), accept);
        assert!(!page.is_empty());
    };
    let live = || {
        settle();
        BYTES.load(Relaxed)
    };
    (0..100).for_each(&mut scrape);
    let early = live();
    (100..10_000).for_each(&mut scrape);
    let grown = live() - early;
    assert!(grown <= 256, "ten thousand scrapes keep {grown} bytes");
}

/// The targets of the design: 1.3 times a hand-written floor of 92 and 300 bytes, for series that one thread uses.
#[test]
fn bytes_per_series() {
    const SERIES: usize = 10_000;
    let _alone = ALONE.lock();
    let names: Vec<String> = (0..SERIES).map(|i| format!("/route/{i}")).collect();
    let per_series = |registry: &Registry, what: &str, f: &dyn Fn()| {
        settle();
        let used = bytes(|| {
            f();
            settle();
        });
        let used = used as f64 / SERIES as f64;
        println!(
            "{what}: {used:.0} bytes a series, {}",
            registry.names().len()
        );
        used
    };
    let registry = Registry::new();
    let counters = Counter::<()>::builder("c_total", "")
        .labels(["route"])
        .hot()
        .register(&registry)
        .unwrap();
    let counter = per_series(&registry, "counter", &|| {
        // In a thread of its own: its cells and its table of label sets are part of what a series costs.
        std::thread::scope(|s| {
            s.spawn(|| names.iter().for_each(|n| counters.with([n]).inc()))
                .join()
                .unwrap()
        });
    });
    let histograms = Histogram::<()>::builder("h", "")
        .labels(["route"])
        .hot()
        .register(&registry)
        .unwrap();
    let histogram = per_series(&registry, "histogram", &|| {
        std::thread::scope(|s| {
            s.spawn(|| names.iter().for_each(|n| histograms.with([n]).observe(1.0)))
                .join()
                .unwrap()
        });
    });
    assert!(counter <= 120.0, "{counter}");
    assert!(histogram <= 390.0, "{histogram}");
}

/// Threads that come and go leave their cells to the next ones; registries that come and go leave nothing that adds up.
#[test]
fn memory_does_not_follow_what_has_ended() {
    let _alone = ALONE.lock();
    let threads = || {
        for _ in 0..200 {
            std::thread::spawn(update_everything).join().unwrap();
        }
    };
    threads();
    let grown = bytes(threads);
    assert!(grown < 16 * 1024, "200 threads left {grown} bytes");
    let registries = || {
        for _ in 0..50 {
            let registry = Registry::new();
            let c = Counter::<()>::builder("c_total", "")
                .labels(["x"])
                .hot()
                .register(&registry)
                .unwrap();
            let any = Histogram::<AnyLabels>::builder("h", "")
                .register(&registry)
                .unwrap();
            for i in 0..100 {
                c.with([&i.to_string()]).inc();
                any.with(&[("i", &i)]).observe(1.0);
            }
            let _ = registry.snapshot();
        }
        for _ in 0..300 {
            // Frees what is an epoch old.
            let _ = tallies::snapshot();
        }
    };
    registries();
    let grown = bytes(registries);
    assert!(grown < 64 * 1024, "50 registries left {grown} bytes");
}

/// Series of a summary that end leave one sketch of ordinary size.
#[test]
fn memory_does_not_follow_summaries_that_have_ended() {
    let _alone = ALONE.lock();
    let registry = Registry::new();
    let s = Summary::<()>::builder("s", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    let churn = || {
        for _ in 0..100 {
            (0..2000).for_each(|i| s.with(["a"]).observe(shuffled(i)));
            assert!(s.remove(["a"]));
            let _ = registry.snapshot();
        }
    };
    churn();
    let grown = bytes(churn);
    assert!(grown < 16 * 1024, "100 series left {grown} bytes");
}

/// Series that come and go are used again: a family that sees a new label set every time stays as it is.
#[test]
fn memory_does_not_follow_label_sets_that_have_ended() {
    let _alone = ALONE.lock();
    let registry = Registry::new();
    let c = Counter::<()>::builder("c_total", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    let mut next = 0_u64;
    let mut churn = || {
        for _ in 0..2000 {
            next += 1;
            let value = next.to_string();
            c.with([&value]).inc();
            assert!(c.remove([&value]));
            if next.is_multiple_of(16) {
                let _ = registry.snapshot();
            }
        }
    };
    churn();
    churn();
    let grown = bytes(&mut churn);
    assert!(grown < 64 * 1024, "2000 label sets left {grown} bytes");
    let sum: f64 = c.get_all().iter().map(|(_, n)| *n as f64).sum();
    assert_eq!(sum, 0.0);
    assert_eq!(
        registry.snapshot().get("c_total", &[("x", "__overflow__")]),
        Some(6000.0)
    );
}

/// A thread that sleeps for ever never answers, and what others retire meanwhile waits for it: up to a bound.
#[test]
fn memory_does_not_follow_gauges_that_wait_for_a_sleeper() {
    const AT_ONCE: usize = 8192;
    let _alone = ALONE.lock();
    let registry = Registry::new();
    let gauge = Gauge::<()>::builder("g", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let (wake, asleep) = std::sync::mpsc::channel::<()>();
    let (ready, begin) = std::sync::mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        COUNTER.inc();
        ready.send(()).unwrap();
        let _ = asleep.recv();
    });
    begin.recv().unwrap();
    let churn = |times: usize| {
        for _ in 0..times {
            for i in 0..AT_ONCE {
                gauge.with([&i.to_string()]).set(1.0);
            }
            gauge.clear();
            // For an epoch, and what it leaves to be freed.
            (0..300).for_each(|_| _ = Registry::new().snapshot());
            let _ = registry.snapshot();
        }
    };
    // 65 536 wait, and as many more as live at once.
    churn(65_536 / AT_ONCE + 3);
    let grown = bytes(|| churn(8));
    drop(wake);
    sleeper.join().unwrap();
    assert!(grown < 64 * 1024, "65536 gauges left {grown} bytes");
}

/// The macros ask the recorder on every update.
#[cfg(feature = "facade")]
#[test]
fn a_facade_update_allocates_nothing_once_warm() {
    let _alone = ALONE.lock();
    let registry = Registry::new();
    let recorder = tallies::facade::Recorder::builder().registry(&registry);
    let recorder = recorder
        .buckets_for(tallies::facade::Matcher::full("buckets"), &[1.0])
        .build()
        .unwrap();
    let update = || {
        metrics::counter!("events", "kind" => "a", "of" => "b").increment(1);
        metrics::gauge!("length", "queue" => "mail").set(1.0);
        metrics::histogram!("buckets", "a" => "b").record(0.5);
        metrics::counter!("mirrored").absolute(3);
    };
    metrics::with_local_recorder(&recorder, || {
        for _ in 0..2000 {
            update();
        }
        let n = allocations(|| {
            for _ in 0..10_000 {
                update();
            }
        });
        assert_eq!(n, 0);
    });
}
