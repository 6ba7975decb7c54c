//! Ends of response bodies: by length, by trailers, by a failure, by a panic.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::routing::{get, post};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Body, Bytes, Frame};
use tallies::Registry;
use tallies_http::ServerMetrics;
use tower::{Layer, Service, service_fn};

use super::{Chunks, Pending, answer, answering, futures_of, get_of, layer, request, serve, sum};
use crate::support::eventually;
use crate::support::http::{ask, connect, exchange};

#[tokio::test]
async fn bodies_to_their_end() {
    let (registry, layer) = layer();
    let ok = StatusCode::OK;
    // Reads one body to its end and one to a failure after the head: one request each, and one
    // failure.
    for fails in [false, true] {
        let mut service = layer.layer(answering(ok, &[], Chunks { left: 3, fails }));
        let body = answer(&mut service, request("GET", "/")).await.into_body();
        assert_eq!(body.collect().await.is_err(), fails);
    }
    let failed = |kind| {
        get_of(
            &registry,
            "http_requests_failed_total",
            &[("method", "GET"), ("route", "/"), ("kind", kind)],
        )
    };
    assert_eq!(failed("body"), 1.0);
    // Drops a body unread.
    let mut service = layer.layer(answering(
        ok,
        &[],
        Chunks {
            left: 3,
            fails: false,
        },
    ));
    drop(answer(&mut service, request("GET", "/")).await);
    assert_eq!(failed("cancelled"), 1.0);
    // A body of known length ends with its last byte; it need not be polled again.
    let mut service = layer.layer(answering(
        ok,
        &[("content-length", "20")],
        Chunks {
            left: 9,
            fails: true,
        },
    ));
    let mut body = answer(&mut service, request("GET", "/")).await.into_body();
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
    }
    drop(body);
    assert_eq!(failed("cancelled"), 1.0);
    assert_eq!(
        sum(&registry, "http_response_size_bytes_sum"),
        30.0 + 30.0 + 20.0
    );
    // Responses without a body end with their head.
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let status = StatusCode::from_u16(status).unwrap();
        let mut service = layer.layer(answering(
            status,
            &[],
            Chunks {
                left: 3,
                fails: false,
            },
        ));
        drop(answer(&mut service, request(method, "/")).await);
    }
    assert_eq!(failed("cancelled") + failed("body"), 2.0);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 2.0);
    assert_eq!(sum(&registry, "http_requests_total"), 7.0);
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 7.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
}

/// hyper drops a body after its trailers without polling it again.
#[tokio::test]
async fn trailers_are_the_end() {
    let (registry, layer) = layer();
    let mut service = layer.layer(service_fn(async |_: Request<Empty<Bytes>>| {
        let frames = [
            Frame::data(Bytes::from_static(b"data")),
            Frame::trailers(http::HeaderMap::new()),
        ];
        let frames = frames.map(|frame| Box::pin(ready(Ok(frame))) as Pending);
        Ok::<_, Infallible>(Response::new(StreamBody::new(futures_of(frames))))
    }));
    let mut body = answer(&mut service, request("GET", "/")).await.into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert_eq!(sum(&registry, "http_requests_in_flight"), 1.0);
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
    drop(body);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 0.0);
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 1.0);
}

/// A body that panics while it is sent is a failure of its own kind; its request counted when its
/// head was sent.
#[test]
fn bodies_that_panic() {
    struct Panics;
    impl Body for Panics {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("as it must")
        }
    }
    let (registry, layer) = layer();
    let mut cx = Context::from_waker(Waker::noop());
    let mut service = layer.layer(service_fn(|_: Request<Empty<Bytes>>| {
        ready(Ok::<_, Infallible>(Response::new(Panics)))
    }));
    let Poll::Ready(Ok(response)) = Box::pin(service.call(request("GET", "/")))
        .as_mut()
        .poll(&mut cx)
    else {
        panic!("an answer at once");
    };
    let mut body = Box::pin(response.into_body());
    catch_unwind(AssertUnwindSafe(|| _ = body.as_mut().poll_frame(&mut cx))).unwrap_err();
    drop(body);
    let labels = [("method", "GET"), ("route", "/")];
    let of = |name, more| get_of(&registry, name, &[&labels[..], &[more]].concat());
    assert_eq!(of("http_requests_failed_total", ("kind", "panic")), 1.0);
    assert_eq!(of("http_requests_total", ("status", "200")), 1.0);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 1.0);
    assert_eq!(sum(&registry, "http_requests_total"), 1.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
}

/// Over real connections: an informational response (`100 Continue`) does not count as the
/// response; HEAD has no body; and a body that fails aborts the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_over_connections() {
    let registry = Registry::new();
    let app = Router::new()
        .route("/upload", post(async |body: Bytes| body))
        .route("/page", get(async || "a page"))
        .route(
            "/fails",
            get(async || {
                axum::body::Body::new(Chunks {
                    left: 2,
                    fails: true,
                })
            }),
        )
        .layer(ServerMetrics::new().register(&registry).unwrap());
    let address = serve(app).await;
    let expect = ["Content-Length: 5", "Expect: 100-continue"];
    let expecting = crate::support::http::request("POST", "/upload", &expect);
    for _ in 0..10 {
        let mut stream = connect(address);
        stream.write_all(&expecting).unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        let answer = exchange(stream, b"hello").unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "hello"));
        let answer = ask(address, "HEAD", "/page", &[]);
        assert_eq!(
            (answer.header("content-length"), answer.text()),
            (Some("6"), "")
        );
        assert!(!ask(address, "GET", "/fails", &[]).whole);
    }
    eventually("none in flight", || {
        sum(&registry, "http_requests_in_flight") == 0.0
    });
    for (method, route) in [("POST", "/upload"), ("HEAD", "/page"), ("GET", "/fails")] {
        let labels = [("method", method), ("route", route), ("status", "200")];
        let counted = get_of(&registry, "http_requests_total", &labels);
        assert_eq!(counted, 10.0, "{method} {route}");
    }
    assert_eq!(sum(&registry, "http_requests_total"), 30.0);
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 30.0);
    let labels = [("method", "GET"), ("route", "/fails"), ("kind", "body")];
    assert_eq!(
        get_of(&registry, "http_requests_failed_total", &labels),
        10.0
    );
    assert_eq!(sum(&registry, "http_requests_failed_total"), 10.0);
}
