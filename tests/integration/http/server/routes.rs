//! Routes: their limit, excluded routes, and requests without a route.

use std::convert::Infallible;

use axum::Router;
use axum::routing::{any, get, post};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use tallies::Registry;
use tallies_http::ServerMetrics;
use tower::{Layer, ServiceExt, service_fn};

use super::{answer, answering, get_of, request, sum};

/// Ten thousand made-up paths and two thousand made-up methods create a handful of series.
#[tokio::test]
async fn scanners_make_no_series() {
    let registry = Registry::new();
    let app = Router::new()
        .route("/users/{id}", any(async || "a user"))
        .nest(
            "/api",
            Router::new().route("/items/{id}", get(async || "an item")),
        )
        .layer(ServerMetrics::new().register(&registry).unwrap());
    for i in 0..10_000_u32 {
        let path = match i % 4 {
            0 => format!("/users/{i}"),
            1 => format!("/api/items/{i}?x={i}"),
            _ => format!("/.git/{i:x}/%2e%2e/{}", i.wrapping_mul(2_654_435_761)),
        };
        let method = if i % 5 == 0 {
            format!("M{i}")
        } else {
            "GET".into()
        };
        let request = Request::builder()
            .method(&*method)
            .uri(path)
            .body(axum::body::Body::empty())
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(sum(&registry, "http_requests_total"), 10_000.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
    let snapshot = registry.snapshot();
    let series = snapshot
        .family("http_requests_total")
        .unwrap()
        .series()
        .count();
    // Three routes, two methods; a made-up one is not allowed at `/api/items/{id}`.
    assert_eq!(series, 6);
    assert_eq!(
        snapshot.get(
            "http_requests_total",
            &[
                ("method", "GET"),
                ("route", "/api/items/{id}"),
                ("status", "200")
            ]
        ),
        Some(2000.0)
    );
}

/// A program whose routes are raw paths cannot exhaust memory.
#[tokio::test]
async fn routes_are_limited() {
    let registry = Registry::new();
    let layer = ServerMetrics::new()
        .limit(10)
        .route(|uri, _| Some(uri.path()))
        .register(&registry)
        .unwrap();
    let mut service = layer.layer(service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    for i in 0..100 {
        answer(&mut service, request("GET", &format!("/{i}"))).await;
    }
    let labels = [
        ("method", "GET"),
        ("route", "__overflow__"),
        ("status", "200"),
    ];
    assert_eq!(get_of(&registry, "http_requests_total", &labels), 90.0);
    assert_eq!(sum(&registry, "http_requests_total"), 100.0);
}

/// Requests that match no route do not count towards the limit.
#[tokio::test]
async fn unmatched_stays_unmatched_beyond_the_limit() {
    let registry = Registry::new();
    let layer = ServerMetrics::new()
        .limit(1)
        .route(|uri, _| uri.path().starts_with("/r").then(|| uri.path()))
        .register(&registry)
        .unwrap();
    let mut service = layer.layer(answering(StatusCode::OK, &[], Empty::<Bytes>::new()));
    for path in ["/r1", "/r2", "/x", "/y"] {
        answer(&mut service, request("GET", path)).await;
    }
    for (route, expected) in [("/r1", 1.0), ("__overflow__", 1.0), ("unmatched", 2.0)] {
        let labels = [("method", "GET"), ("route", route), ("status", "200")];
        let counted = get_of(&registry, "http_requests_total", &labels);
        assert_eq!(counted, expected, "{route}");
    }
}

#[tokio::test]
async fn excluded_stays_excluded_beyond_the_limit() {
    let registry = Registry::new();
    let layer = ServerMetrics::new()
        .limit(0)
        .exclude(["/users/{id}"])
        .templates(["/users/{id}", "/groups/{id}"])
        .register(&registry)
        .unwrap();
    let mut service = layer.layer(answering(StatusCode::OK, &[], Empty::<Bytes>::new()));
    for path in ["/users/7", "/groups/7"] {
        answer(&mut service, request("GET", path)).await;
    }
    assert_eq!(sum(&registry, "http_requests_total"), 1.0);
    let labels = [
        ("method", "GET"),
        ("route", "__overflow__"),
        ("status", "200"),
    ];
    assert_eq!(get_of(&registry, "http_requests_total", &labels), 1.0);
}

/// Excluded routes do not count towards the limit.
#[tokio::test]
async fn excluded_does_not_count_towards_the_limit() {
    let registry = Registry::new();
    let layer = ServerMetrics::new()
        .limit(1)
        .exclude(["/healthy"])
        .route(|uri, _| Some(uri.path()))
        .register(&registry)
        .unwrap();
    let mut service = layer.layer(answering(StatusCode::OK, &[], Empty::<Bytes>::new()));
    for path in ["/healthy", "/a", "/b", "/healthy"] {
        answer(&mut service, request("GET", path)).await;
    }
    for (route, expected) in [("/healthy", 0.0), ("/a", 1.0), ("__overflow__", 1.0)] {
        let labels = [("method", "GET"), ("route", route), ("status", "200")];
        let counted = get_of(&registry, "http_requests_total", &labels);
        assert_eq!(counted, expected, "{route}");
    }
}

/// The limit of these families follows from the number of routes: it exceeds the 10 000 series of
/// other families, and no update overflows.
#[tokio::test]
async fn as_many_series_as_routes_need() {
    let registry = Registry::new();
    let layer = ServerMetrics::new()
        .route(|uri, _| Some(uri.path()))
        .register(&registry)
        .unwrap();
    let mut service = layer.layer(service_fn(async |request: Request<Empty<Bytes>>| {
        let status: u16 = request.uri().query().unwrap().parse().unwrap();
        let response = Response::builder().status(status);
        Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
    }));
    for route in 0..400 {
        for method in ["GET", "POST", "DELETE"] {
            for status in [200, 201, 204, 301, 304, 400, 404, 500, 503] {
                let request = request(method, &format!("/{route}?{status}"));
                answer(&mut service, request).await;
            }
        }
    }
    let snapshot = registry.snapshot();
    let series = snapshot.family("http_requests_total").unwrap().series();
    assert_eq!(series.count(), 400 * 3 * 9);
    assert!(!tallies::encode::text(&snapshot).contains("__overflow__"));
}

/// A route declared with `post` replies 405 to other methods: such a request has its route, and the
/// method's series.
#[tokio::test]
async fn disallowed_methods_count_under_their_route() {
    let registry = Registry::new();
    let app = Router::new()
        .route("/upload", post(async || "thanks"))
        .layer(ServerMetrics::new().register(&registry).unwrap());
    let request = Request::delete("/upload")
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(app.oneshot(request).await.unwrap().status(), 405);
    let labels = [
        ("method", "DELETE"),
        ("route", "/upload"),
        ("status", "405"),
    ];
    assert_eq!(get_of(&registry, "http_requests_total", &labels), 1.0);
}

/// `/users/me` used to count as `/users/{id}`, without a word.
#[test]
fn a_template_that_is_never_reached_is_an_error() {
    let of = |templates: [&str; 2]| {
        let metrics = ServerMetrics::new().templates(templates);
        metrics.register(&Registry::new()).map(drop)
    };
    of(["/users/me", "/users/{id}"]).unwrap();
    let error = of(["/users/{id}", "/users/me"]).unwrap_err().to_string();
    assert!(
        error.contains("`/users/me` is never reached, because `/users/{id}` before it"),
        "{error}"
    );
}
