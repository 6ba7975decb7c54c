//! Exact numbers of allocations, per update and per scrape.

#[path = "support/counting.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod counting;

use counting::{
    ALONE, COUNTER, HISTOGRAM, Method, NATIVE, OPEN, OPEN_HISTOGRAM, Request, UP_DOWN, allocations,
    bytes, shuffled, update_everything,
};
use tallies::encode::{Format, Options};
use tallies::{Counter, Histogram, Registry, Summary, snapshot::Snapshot};

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

/// Requests through both server layers and calls through the client layer, including bodies.
#[test]
fn a_measured_request_allocates_nothing_once_warm() {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::{Body, Bytes};
    use tallies_http::{ClientMetrics, Measured, ServerMetrics};
    use tower::{Layer, Service, service_fn};

    let _alone = ALONE.lock();
    let registry = Registry::new();
    let answer = |_: Request<Full<Bytes>>| -> Ready<Result<_, Infallible>> {
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
    };
    let layer = ServerMetrics::new()
        .exclude(["/metrics"])
        .templates(["/users/{id}"])
        .register(&registry)
        .unwrap();
    let mut server = layer.layer(service_fn(answer));
    let reads = |request: Request<Measured<Full<Bytes>>>| {
        let mut cx = Context::from_waker(Waker::noop());
        let frame = pin!(request.into_body()).poll_frame(&mut cx);
        assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
        answer(Request::default())
    };
    let mut counting = layer.count_request_bodies().layer(service_fn(reads));
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
        let answers = [
            pin!(server.call(request())).poll(&mut cx),
            pin!(counting.call(request())).poll(&mut cx),
        ];
        for answer in answers {
            let Poll::Ready(Ok(response)) = answer else {
                panic!("an answer at once");
            };
            let frame = pin!(response.into_body()).poll_frame(&mut cx);
            assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
        }
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
    assert_eq!(now.get("http_requests_total", &labels), Some(26_000.0));
    // Both sizes are 5: one as announced, one as read.
    let bytes = now.get("http_request_size_bytes_sum", &labels[..2]);
    assert_eq!(bytes, Some(130_000.0));
}

/// A function under every attribute; an empty route is an error.
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
        use tallies::instrument::Measure;
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

#[test]
fn a_summary_allocates_nothing_once_warm() {
    let _alone = ALONE.lock();
    let registry = Registry::new();
    let s = Summary::builder("s", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    (0..100_000).for_each(|i| s.with(["a"]).observe(shuffled(i)));
    let n = allocations(|| (100_000..400_000).for_each(|i| s.with(["a"]).observe(shuffled(i))));
    assert_eq!(n, 0);
}

#[test]
fn a_scrape_allocates_nothing_that_grows_with_the_series() {
    let _alone = ALONE.lock();
    let mut per_scrape = Vec::new();
    for series in [10, 10_000] {
        let registry = Registry::new();
        let c = Counter::builder("c_total", "")
            .labels(["x"])
            .limit(series)
            .register(&registry)
            .unwrap();
        let h = Histogram::builder("h", "")
            .labels(["x"])
            .limit(series)
            .register(&registry)
            .unwrap();
        let n = Histogram::builder("n", "")
            .labels(["x"])
            .native(3)
            .limit(series)
            .register(&registry)
            .unwrap();
        let s = Summary::builder("s", "")
            .labels(["x"])
            .limit(10)
            .register(&registry)
            .unwrap();
        let u = Counter::builder("u.total", "")
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
            for format in [Format::TEXT, Format::OPEN_METRICS, Format::PROTOBUF] {
                page.clear();
                Options::new().write(&snapshot, format, &mut page);
            }
        };
        scrape();
        scrape();
        per_scrape.push(allocations(|| (0..10).for_each(|_| scrape())) / 10);
    }
    assert!(per_scrape[1] <= per_scrape[0] + 10, "{per_scrape:?}");
}

/// The texts of exemplars reuse their memory, too.
#[test]
fn a_snapshot_of_exemplars_allocates_nothing_that_grows_with_the_series() {
    let _alone = ALONE.lock();
    let mut per_scrape = Vec::new();
    for series in [10, 1000] {
        let registry = Registry::new();
        let c = Counter::builder("c_total", "")
            .labels(["x"])
            .register(&registry)
            .unwrap();
        let update = |trace: &str| {
            (0..series).for_each(|i| {
                c.with([&i.to_string()])
                    .add_exemplar(1, &[("trace_id", trace)])
            });
        };
        let mut snapshot = Snapshot::default();
        for trace in ["0af7651916cd43dd", "1af7651916cd43de"] {
            update(trace);
            registry.snapshot_into(&mut snapshot);
        }
        let n = allocations(|| registry.snapshot_into(&mut snapshot));
        let family = snapshot.family("c_total").unwrap();
        assert!((0..series).all(|i| family.exemplars(i).count() == 1));
        per_scrape.push(n);
    }
    assert!(per_scrape[1] <= per_scrape[0] + 2, "{per_scrape:?}");
}

/// The service reuses pages and snapshots, compressed or not.
#[cfg(feature = "page")]
#[test]
fn a_request_allocates_nothing_that_grows_with_the_series() {
    use std::task::{Context, Poll, Waker};

    let _alone = ALONE.lock();
    for coding in ["identity", "gzip", "zstd"] {
        let mut per_request = Vec::new();
        for series in [10, 10_000] {
            let registry = Registry::new();
            let c = Counter::builder("c_total", "")
                .labels(["x"])
                .limit(series)
                .register(&registry)
                .unwrap();
            (0..series).for_each(|i| c.with([&i.to_string()]).inc());
            let other = Registry::new();
            other.gauge("pool_size", "Workers.").unwrap().set(4.0);
            let service = tallies::serve::MetricsService::of([&other, &registry]);
            let ask = || {
                let request = http::Request::builder()
                    .header("accept-encoding", coding)
                    .body(())
                    .unwrap();
                // Without a runtime the first poll renders the page.
                let answer = std::pin::pin!(service.answer(&request));
                let answer = answer.poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(answer, Poll::Ready(answer) if answer.status() == 200));
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

/// Writes an exemplar and its time into the page.
#[test]
fn exemplars_are_written_without_allocations() {
    let _alone = ALONE.lock();
    let per_page = [10, 1000].map(|series| {
        let registry = Registry::new();
        let c = Counter::builder("c_total", "")
            .labels(["x"])
            .register(&registry)
            .unwrap();
        (0..series).for_each(|i| {
            c.with([&i.to_string()])
                .add_exemplar(1, &[("trace_id", "1f")])
        });
        let snapshot = registry.snapshot();
        let mut page = Vec::new();
        Options::new().write(&snapshot, Format::OPEN_METRICS, &mut page);
        page.clear();
        allocations(|| Options::new().write(&snapshot, Format::OPEN_METRICS, &mut page))
    });
    assert_eq!(per_page[0], per_page[1]);
}

/// Each use of a `const` declared one more family: 1.5 kB that stayed, and a scan of all before it.
#[test]
#[expect(
    clippy::declare_interior_mutable_const,
    clippy::borrow_interior_mutable_const,
    reason = "the mistake that this is about"
)]
fn a_metric_that_is_no_static_declares_one_family_and_keeps_no_memory() {
    use tallies::{Gauge, StateSet};

    #[derive(tallies::LabelValue)]
    enum State {
        Off,
        On,
    }

    const PLAIN: Counter = Counter::new("const_plain_total");
    const LABELLED: Counter<[&str; 1]> = Counter::labelled("const_labelled_total", &["of"]);
    const CLOSED: Counter<counting::Closed> = Counter::new("const_closed_total");
    const SET: Gauge = Gauge::new("const_set");
    const STATE: StateSet<State> = StateSet::new("const_state");

    let use_all = |n: usize| {
        for _ in 0..n {
            PLAIN.inc();
            LABELLED.with(["a"]).inc();
            let (method, ok) = (Method::Get, true);
            CLOSED.with(counting::Closed { method, ok }).inc();
            SET.set(7.0);
            STATE.set(State::On);
            let local: Histogram = Histogram::new("let_seconds");
            local.observe(0.5);
        }
    };
    let _alone = ALONE.lock();
    use_all(2_000);
    let families = tallies::registry().names().len();
    let few = allocations(|| use_all(1_000));
    let mut many = 0;
    let kept = bytes(|| many = allocations(|| use_all(19_000)));
    assert_eq!((many, kept), (19 * few, 0));
    assert_eq!(tallies::registry().names().len(), families);
    let page = tallies::snapshot();
    for (name, labels) in [
        ("const_plain_total", &[][..]),
        ("const_labelled_total", &[("of", "a")]),
        ("const_closed_total", &[("method", "get"), ("ok", "true")]),
        ("let_seconds_count", &[]),
    ] {
        assert_eq!(page.get(name, labels), Some(22_000.0), "{name}");
    }
    assert_eq!(page.get("const_set", &[]), Some(7.0));
    assert_eq!(page.get("const_state", &[("const_state", "on")]), Some(1.0));
    assert_eq!((PLAIN.get(), LABELLED.with(["a"]).get()), (22_000, 22_000));
    let _ = State::Off;
}
