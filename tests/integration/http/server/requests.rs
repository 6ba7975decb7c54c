//! A request counts once: on its own, with plain hyper, and from many threads.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Waker};

use axum::Router;
use axum::routing::get;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use tallies::Registry;
use tallies_http::ServerMetrics;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{answer, answering, get_of, layer, request, serve_hyper, sum};
use crate::support::http::{ask, send};

#[tokio::test]
async fn every_answer_is_counted_once_with_its_route_and_status() {
    let (registry, layer) = layer();
    let mut service = layer.layer(service_fn(async |request: Request<Empty<Bytes>>| {
        let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
        if request.uri().path() == "/users/0" {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        Ok::<_, Infallible>(response)
    }));
    for path in [
        "/", "/users/1", "/users/2", "/users/0", "/nowhere", "/users",
    ] {
        let response = answer(&mut service, request("GET", path)).await;
        assert_eq!(
            get_of(
                &registry,
                "http_requests_in_flight",
                &[("method", "GET"), ("route", "/")]
            ) + sum(&registry, "http_requests_in_flight"),
            if path == "/" { 2.0 } else { 1.0 }
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "hello");
    }
    let requests = |route, status| {
        let labels = [("method", "GET"), ("route", route), ("status", status)];
        get_of(&registry, "http_requests_total", &labels)
    };
    assert_eq!(requests("/", "200"), 1.0);
    assert_eq!(requests("/users/{id}", "200"), 2.0);
    assert_eq!(requests("/users/{id}", "404"), 1.0);
    assert_eq!(requests("unmatched", "200"), 2.0);
    assert_eq!(sum(&registry, "http_requests_total"), 6.0);
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 6.0);
    assert_eq!(sum(&registry, "http_response_start_seconds_count"), 6.0);
    assert_eq!(sum(&registry, "http_response_size_bytes_sum"), 30.0);
    assert_eq!(sum(&registry, "http_request_size_bytes_count"), 6.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 0.0);
}

/// hyper without a framework; the sizes of requests come from their Content-Length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hyper_by_itself() {
    let (registry, layer) = layer();
    let service = layer.layer(service_fn(
        async |request: Request<hyper::body::Incoming>| {
            let body = request.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Response::new(Full::new(body)))
        },
    ));
    let address = serve_hyper(service).await;
    for _ in 0..20 {
        let request = "POST /users/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        assert_eq!(send(address, request.as_bytes()).text(), "hello");
        assert_eq!(ask(address, "HEAD", "/", &[]).status(), 200);
    }
    let labels = [("method", "POST"), ("route", "/users/{id}")];
    assert_eq!(
        get_of(
            &registry,
            "http_requests_total",
            &[&labels[..], &[("status", "200")]].concat()
        ),
        20.0
    );
    assert_eq!(sum(&registry, "http_request_size_bytes_sum"), 100.0);
    assert_eq!(sum(&registry, "http_response_size_bytes_sum"), 100.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 0.0);
}

/// As many requests are counted as are made, on whichever threads.
#[test]
fn requests_from_many_threads() {
    const THREADS: u64 = 4;
    const REQUESTS: u64 = 20_000;
    let (registry, layer) = layer();
    let layer = Arc::new(layer);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut cx = Context::from_waker(Waker::noop());
                let mut service =
                    layer.layer(answering(StatusCode::OK, &[], Empty::<Bytes>::new()));
                for i in 0..REQUESTS {
                    let path = if i % 2 == 0 { "/" } else { "/users/1" };
                    let mut request = request("GET", path);
                    *request.method_mut() = if i % 3 == 0 { Method::PUT } else { Method::GET };
                    assert!(
                        Box::pin(service.call(request))
                            .as_mut()
                            .poll(&mut cx)
                            .is_ready()
                    );
                }
            });
        }
    });
    assert_eq!(
        sum(&registry, "http_requests_total"),
        (THREADS * REQUESTS) as f64
    );
    assert_eq!(
        sum(&registry, "http_request_duration_seconds_count"),
        (THREADS * REQUESTS) as f64
    );
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
}

/// A request that its route refuses used to count under `other`, so its method was in no series, or
/// with aioprometheus' names in one of two.
#[tokio::test]
async fn a_refused_method_counts_under_its_own_name() {
    let (registry, layer) = layer();
    let mut service = layer.layer(service_fn(async |request: Request<Empty<Bytes>>| {
        let mut response = Response::new(Empty::<Bytes>::new());
        if request.method() != Method::GET {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        }
        Ok::<_, Infallible>(response)
    }));
    let known = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT",
    ];
    let made_up: Vec<_> = (0..100).map(|i| format!("M{i}")).collect();
    for method in known.into_iter().chain(made_up.iter().map(String::as_str)) {
        drop(answer(&mut service, request(method, "/")).await);
    }
    let of = |method, status| {
        let labels = [("method", method), ("route", "/"), ("status", status)];
        get_of(&registry, "http_requests_total", &labels)
    };
    assert_eq!(of("GET", "200"), 1.0);
    for method in &known[1..] {
        assert_eq!(of(method, "405"), 1.0, "{method}");
    }
    assert_eq!(of("other", "405"), 100.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
    // The nine methods and `other`: a client cannot make more.
    let snapshot = registry.snapshot();
    for family in ["http_requests_total", "http_request_duration_seconds"] {
        assert_eq!(
            snapshot.family(family).unwrap().series().count(),
            10,
            "{family}"
        );
    }
}

/// One POST that the router refused had POST in `requests_total_counter`, and `other` in the rest.
#[tokio::test]
async fn with_the_names_of_aioprometheus_requests_and_responses_agree_by_method() {
    let registry = Registry::new();
    let metrics = ServerMetrics::aioprometheus().register(&registry).unwrap();
    let app = Router::new()
        .route("/", get(async || "a page"))
        .layer(metrics);
    for method in ["GET", "POST", "DELETE", "BREW"] {
        let request = Request::builder().method(method).uri("/");
        let request = request.body(axum::body::Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status() == 405, method != "GET", "{method}");
    }
    for method in ["GET", "POST", "DELETE", "other"] {
        let labels = [("method", method), ("path", "/")];
        for family in ["requests_total_counter", "responses_total_counter"] {
            assert_eq!(get_of(&registry, family, &labels), 1.0, "{family} {method}");
        }
        let status = if method == "GET" { "200" } else { "405" };
        let labels = [("method", method), ("path", "/"), ("status_code", status)];
        assert_eq!(
            get_of(&registry, "status_codes_counter", &labels),
            1.0,
            "{method}"
        );
    }
}
