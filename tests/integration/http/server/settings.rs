//! Settings: names, labels and buckets, and settings that are rejected.

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use tallies::Registry;
use tallies_http::ServerMetrics;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{answer, answering, request, sum};

/// Compares the whole page: it has exactly these names and labels.
#[tokio::test]
async fn the_preset_of_aioprometheus() {
    let registry = Registry::new();
    let metrics = ServerMetrics::aioprometheus().register(&registry).unwrap();
    // A second registration shares the families.
    let again = ServerMetrics::aioprometheus().register(&registry).unwrap();
    let app = Router::new()
        .route("/users/{id}", get(async |Path(_): Path<u32>| "a user"))
        .route("/metrics", get(async || "not counted"))
        .layer(metrics.clone());
    let failing =
        ServiceBuilder::new()
            .layer(again)
            .service_fn(async |_: Request<Empty<Bytes>>| {
                Err::<Response<Empty<Bytes>>, _>(std::io::Error::other("as it must"))
            });
    for path in [
        "/users/1",
        "/users/2",
        "/users/x",
        "/metrics",
        "/nowhere",
        "/favicon.ico",
    ] {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        app.clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap();
    }
    failing
        .oneshot(request("BREW", "/nowhere"))
        .await
        .unwrap_err();
    assert_eq!(
        tallies::encode::text(&registry.snapshot()),
        "# HELP exceptions_total_counter Requests that ended in an error or a panic.\n\
         # TYPE exceptions_total_counter counter\n\
         exceptions_total_counter{method=\"other\",path=\"unmatched\"} 1\n\
         # HELP requests_total_counter Requests received.\n\
         # TYPE requests_total_counter counter\n\
         requests_total_counter{method=\"GET\",path=\"/users/{id}\"} 3\n\
         requests_total_counter{method=\"GET\",path=\"unmatched\"} 1\n\
         requests_total_counter{method=\"other\",path=\"unmatched\"} 1\n\
         # HELP responses_total_counter Requests answered.\n\
         # TYPE responses_total_counter counter\n\
         responses_total_counter{method=\"GET\",path=\"/users/{id}\"} 3\n\
         responses_total_counter{method=\"GET\",path=\"unmatched\"} 1\n\
         responses_total_counter{method=\"other\",path=\"unmatched\"} 1\n\
         # HELP status_codes_counter Requests answered, by status.\n\
         # TYPE status_codes_counter counter\n\
         status_codes_counter{method=\"GET\",path=\"/users/{id}\",status_code=\"200\"} 2\n\
         status_codes_counter{method=\"GET\",path=\"/users/{id}\",status_code=\"400\"} 1\n\
         status_codes_counter{method=\"GET\",path=\"unmatched\",status_code=\"404\"} 1\n\
         status_codes_counter{method=\"other\",path=\"unmatched\",status_code=\"500\"} 1\n"
    );
}

#[tokio::test]
async fn the_names_of_opentelemetry_and_other_settings() {
    let registry = Registry::new();
    let layer = ServerMetrics::opentelemetry()
        .prefix("shop_")
        .constant("url_scheme", "http")
        .group_status_codes()
        .buckets(&[0.5, 50.0])
        .exclude(["/healthy", "/users/{id}"])
        .route(|uri, _| uri.path().starts_with("/api/").then_some("/api/{*rest}"))
        .templates(["/users/{id}"])
        .register(&registry)
        .unwrap();
    let mut service = layer.layer(service_fn(async |request: Request<Empty<Bytes>>| {
        let mut response = Response::new(Empty::<Bytes>::new());
        if request.method() == "BREW" {
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
        }
        match request.uri().path() {
            "/api/fail" => Err(std::io::Error::other("as it must")),
            _ => Ok(response),
        }
    }));
    for (method, path) in [("GET", "/healthy"), ("GET", "/users/7"), ("BREW", "/api/x")] {
        answer(&mut service, request(method, path)).await;
    }
    service
        .ready()
        .await
        .unwrap()
        .call(request("GET", "/api/fail"))
        .await
        .unwrap_err();
    let page = tallies::encode::text(&registry.snapshot());
    let counts: Vec<_> = page
        .lines()
        .filter(|line| line.contains("duration_seconds_count"))
        .collect();
    assert_eq!(
        counts,
        [
            "shop_http_server_request_duration_seconds_count{url_scheme=\"http\",http_request_method=\"_OTHER\",\
             http_response_status_code=\"4xx\",http_route=\"/api/{*rest}\"} 1",
            "shop_http_server_request_duration_seconds_count{url_scheme=\"http\",error_type=\"error\",\
             http_request_method=\"GET\",http_route=\"/api/{*rest}\"} 1",
        ]
    );
    assert!(page.contains("le=\"50.0\""));
    assert_eq!(sum(&registry, "shop_http_server_active_requests"), 0.0);
}

#[test]
fn what_cannot_be_declared_is_an_error() {
    let registry = Registry::new();
    for (metrics, word) in [
        (ServerMetrics::new().prefix("9-"), "9-http"),
        (ServerMetrics::new().constant("__x", "y"), "__x"),
        (ServerMetrics::new().buckets(&[2.0, 1.0]), "ascend"),
        (
            ServerMetrics::new().templates(["users"]),
            "`users` has to begin",
        ),
        (
            ServerMetrics::new().templates(["/", "/users/{id"]),
            "`/users/{id`",
        ),
    ] {
        let error = metrics.register(&registry).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let other = Registry::new();
    other.gauge("http_requests_in_flight", "Not that.").unwrap();
    other
        .counter("http_requests_total", "Without labels.")
        .unwrap();
    let error = ServerMetrics::new()
        .register(&other)
        .unwrap_err()
        .to_string();
    assert!(error.contains("http_requests_total"), "{error}");
}

/// Durations are still observed, for responses with and without a body.
#[tokio::test]
async fn without_the_time_to_the_head() {
    let registry = Registry::new();
    let layer = ServerMetrics::new()
        .skip_head_time()
        .templates(["/"])
        .register(&registry)
        .unwrap();
    let mut full = layer.layer(answering(StatusCode::OK, &[], Full::<Bytes>::from("abc")));
    let full = answer(&mut full, request("GET", "/")).await;
    full.into_body().collect().await.unwrap();
    let mut empty = layer.layer(answering(
        StatusCode::NO_CONTENT,
        &[],
        Empty::<Bytes>::new(),
    ));
    answer(&mut empty, request("GET", "/")).await;
    let page = tallies::encode::text(&registry.snapshot());
    for status in [200, 204] {
        let line = format!(
            "http_request_duration_seconds_count{{method=\"GET\",route=\"/\",status=\"{status}\"}} 1\n"
        );
        assert!(page.contains(&line), "{line}{page}");
    }
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 2.0);
    assert!(!page.contains("http_response_start_seconds"), "{page}");
}
