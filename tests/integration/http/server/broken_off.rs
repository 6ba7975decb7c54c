//! Aborted requests: clients that disconnect, handlers that panic, futures that are dropped.

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Waker};

use axum::Router;
use axum::routing::get;
use http::{Request, Response};
use http_body_util::{Empty, StreamBody};
use hyper::body::{Bytes, Frame};
use tallies::Registry;
use tallies_http::ServerMetrics;
use tower::{Layer, Service, service_fn};

use super::{Pending, futures_of, get_of, layer, request, serve, sum};
use crate::support::eventually;
use crate::support::http::{connect, try_get};

/// In the middle of a handler and in the middle of a body, over real connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_that_leave() {
    let registry = Registry::new();
    let app = Router::new()
        .route("/waits", get(async || pending::<()>().await))
        .route(
            "/streams",
            get(async || {
                let first = ready(Ok::<_, Infallible>(Frame::data(Bytes::from_static(
                    b"first",
                ))));
                let rest = pending::<Result<Frame<Bytes>, Infallible>>();
                let frames = futures_of([Box::pin(first) as Pending, Box::pin(rest)]);
                axum::body::Body::new(StreamBody::new(frames))
            }),
        )
        .layer(ServerMetrics::new().register(&registry).unwrap());
    let address = serve(app).await;
    for round in 0..10 {
        let mut open = Vec::new();
        for i in 0..100 {
            let path = if i % 2 == 0 { "/waits" } else { "/streams" };
            let mut stream = connect(address);
            stream
                .write_all(&crate::support::http::request("GET", path, &[]))
                .unwrap();
            open.push(stream);
        }
        eventually("100 in flight", || {
            sum(&registry, "http_requests_in_flight") == 100.0
        });
        drop(open);
        eventually("none in flight", || {
            sum(&registry, "http_requests_in_flight") == 0.0
        });
        assert_eq!(
            sum(&registry, "http_requests_total"),
            f64::from(100 * (round + 1))
        );
    }
    let requests = |route, status| {
        let labels = [("method", "GET"), ("route", route), ("status", status)];
        get_of(&registry, "http_requests_total", &labels)
    };
    assert_eq!(requests("/waits", "499"), 500.0);
    assert_eq!(requests("/streams", "200"), 500.0);
    for route in ["/waits", "/streams"] {
        let labels = [("method", "GET"), ("route", route), ("kind", "cancelled")];
        assert_eq!(
            get_of(&registry, "http_requests_failed_total", &labels),
            500.0
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_panic() {
    let registry = Registry::new();
    let app = Router::new()
        .route(
            "/panics",
            get(async || {
                if true {
                    panic!("as it must")
                }
            }),
        )
        .layer(ServerMetrics::new().register(&registry).unwrap());
    let address = serve(app).await;
    for _ in 0..50 {
        assert!(try_get(address, "/panics").map_or(true, |answer| answer.head.is_empty()));
    }
    let labels = [("method", "GET"), ("route", "/panics")];
    assert_eq!(
        get_of(
            &registry,
            "http_requests_total",
            &[&labels[..], &[("status", "500")]].concat()
        ),
        50.0
    );
    assert_eq!(
        get_of(
            &registry,
            "http_requests_failed_total",
            &[&labels[..], &[("kind", "panic")]].concat()
        ),
        50.0
    );
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
}

/// Also if the caller catches the panic and drops the future later, and if `call` itself panics.
#[test]
fn panics_that_are_caught() {
    let (registry, layer) = layer();
    let mut cx = Context::from_waker(Waker::noop());
    let mut later = layer.layer(service_fn(|_: Request<Empty<Bytes>>| async {
        if true {
            panic!("as it must");
        }
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let mut future = Box::pin(later.call(request("GET", "/")));
    catch_unwind(AssertUnwindSafe(|| _ = future.as_mut().poll(&mut cx))).unwrap_err();
    assert_eq!(
        sum(&registry, "http_requests_failed_total"),
        1.0,
        "before it is dropped"
    );
    drop(future);
    let mut at_once = layer.layer(service_fn(|_: Request<Empty<Bytes>>| -> std::future::Ready<Result<Response<Empty<Bytes>>, Infallible>> {
        panic!("as it must")
    }));
    catch_unwind(AssertUnwindSafe(|| drop(at_once.call(request("GET", "/"))))).unwrap_err();
    let labels = [("method", "GET"), ("route", "/"), ("kind", "panic")];
    assert_eq!(
        get_of(&registry, "http_requests_failed_total", &labels),
        2.0
    );
    assert_eq!(sum(&registry, "http_requests_total"), 2.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
}

#[test]
fn futures_that_are_dropped() {
    let (registry, layer) = layer();
    let mut cx = Context::from_waker(Waker::noop());
    let mut service = layer.layer(service_fn(|_: Request<Empty<Bytes>>| {
        pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    }));
    drop(service.call(request("GET", "/")));
    let mut polled = Box::pin(service.call(request("GET", "/")));
    assert!(polled.as_mut().poll(&mut cx).is_pending());
    assert_eq!(sum(&registry, "http_requests_in_flight"), 1.0);
    drop(polled);
    let labels = [("method", "GET"), ("route", "/"), ("status", "499")];
    assert_eq!(get_of(&registry, "http_requests_total", &labels), 2.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
}
