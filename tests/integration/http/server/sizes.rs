//! Sizes of requests: the bytes that the service read, or the announced length, which a client
//! makes up.

use std::convert::Infallible;
use std::future::ready;
use std::io::Write;
use std::pin::{Pin, pin};

use axum::Router;
use axum::middleware::{Next, from_fn};
use axum::routing::post;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use tallies::Registry;
use tallies_http::{Measured, ServerMetrics};
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _, service_fn};

use super::{Chunks, Pending, futures_of, get_of, layer, serve, serve_hyper, sum};
use crate::support::eventually;
use crate::support::http::{connect, request, send};

/// A length just below what hyper rejects, and 4 GiB.
const ABSURD: [&str; 2] = ["18446744073709551613", "4294967296"];

/// The sum and the count of the sizes of POST requests to a route.
fn sizes(registry: &Registry, route: &str) -> (f64, f64) {
    let labels = [("method", "POST"), ("route", route)];
    let of = |what| {
        let name = format!("http_request_size_bytes_{what}");
        get_of(registry, &name, &labels)
    };
    (of("sum"), of("count"))
}

/// A request that announces this length, and has this body.
fn announcing(path: &str, length: &str, body: &str) -> Vec<u8> {
    let head = request("POST", path, &[&format!("Content-Length: {length}")]);
    [&head, body.as_bytes()].concat()
}

fn reading_app() -> Router {
    Router::new()
        .route("/reads", post(async |body: Bytes| body))
        .route("/ignores", post(async || "ignored"))
        .route(
            "/reads_some",
            post(async |body: axum::body::Body| {
                let frame = pin!(body).frame().await.unwrap().unwrap();
                frame.into_data().unwrap()
            }),
        )
}

/// A single request without a body used to spoil the sum of sizes for good: with 2^64 added, the
/// sum increased in steps of thousands. Later, it still added up to 4 GiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_announces_gigabytes_and_sends_nothing_adds_nothing() {
    let registry = Registry::new();
    let app = reading_app().layer(ServerMetrics::new().register(&registry).unwrap());
    let address = serve(app).await;
    for length in ABSURD {
        let answer = send(address, &announcing("/ignores", length, ""));
        assert_eq!(answer.text(), "ignored");
        // A client that leaves while the handler waits for the body.
        let request = announcing("/reads_some", length, "hello");
        connect(address).write_all(&request).unwrap();
    }
    eventually("all requests", || {
        sum(&registry, "http_request_size_bytes_count") == 4.0
    });
    assert_eq!(sizes(&registry, "/ignores"), (0.0, 2.0));
    let (read, count) = sizes(&registry, "/reads_some");
    // The handler may or may not have read the five bytes when the client left.
    assert!(read <= 10.0 && count == 2.0, "{read} {count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hyper_with_a_handler_that_names_its_body() {
    let (registry, layer) = layer();
    let echo = async |request: Request<Measured<Incoming>>| {
        let body = match request.uri().path() {
            "/" => Bytes::from_static(b"ignored"),
            _ => request.into_body().collect().await.unwrap().to_bytes(),
        };
        Ok::<_, Infallible>(Response::new(Full::new(body)))
    };
    let service = layer.count_request_bodies().layer(service_fn(echo));
    let address = serve_hyper(service).await;
    for length in ABSURD {
        let answer = send(address, &announcing("/", length, ""));
        assert_eq!(answer.text(), "ignored");
    }
    let answer = send(address, &announcing("/users/1", "5", "hello"));
    assert_eq!(answer.text(), "hello");
    assert_eq!(sizes(&registry, "/"), (0.0, 2.0));
    assert_eq!(sizes(&registry, "/users/{id}"), (5.0, 1.0));
}

/// Without the layer that counts, only lengths within reason are observed.
#[tokio::test]
async fn lengths_that_are_only_announced_are_bounded() {
    let (registry, layer) = layer();
    let mut service = layer.layer(service_fn(async |_: Request<Chunks>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    for (announced, expected) in [
        (ABSURD[0], (0.0, 0.0)),
        (ABSURD[1], (0.0, 0.0)),
        ("16777217", (0.0, 0.0)),
        ("10", (10.0, 1.0)),
        ("16777216", (16_777_226.0, 2.0)),
    ] {
        let request = Request::post("/").header("content-length", announced);
        let request = request.body(chunks(0)).unwrap();
        drop(service.call(request).await.unwrap());
        assert_eq!(sizes(&registry, "/"), expected, "{announced}");
    }
}

fn chunks(left: usize) -> Chunks {
    Chunks { left, fails: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_axum_reads_in_whole_in_part_or_not_at_all() {
    let registry = Registry::new();
    let app = reading_app().layer(ServerMetrics::new().register(&registry).unwrap());
    let address = serve(app).await;
    let answer = send(address, &announcing("/reads", "5", "hello"));
    assert_eq!(answer.text(), "hello");
    assert_eq!(sizes(&registry, "/reads"), (5.0, 1.0));
    let head = request("POST", "/reads", &["Transfer-Encoding: chunked"]);
    let chunks = b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n";
    let answer = send(address, &[&head[..], chunks].concat());
    assert_eq!(answer.text(), "helloyou");
    assert_eq!(sizes(&registry, "/reads"), (13.0, 2.0));
    // The other 995 bytes are never sent.
    let answer = send(address, &announcing("/reads_some", "1000", "hello"));
    assert_eq!(answer.text(), "hello");
    assert_eq!(sizes(&registry, "/reads_some"), (5.0, 1.0));
    let answer = send(address, &announcing("/ignores", "5", "hello"));
    assert_eq!(answer.text(), "ignored");
    assert_eq!(sizes(&registry, "/ignores"), (0.0, 1.0));
    // A request without a body has a size, too.
    let answer = send(address, &announcing("/reads", "0", ""));
    assert_eq!(answer.status(), 200);
    assert_eq!(sizes(&registry, "/reads"), (13.0, 3.0));
}

/// A middleware that names axum's body fits inside the layer, which does not change the type.
#[tokio::test]
async fn the_layer_fits_around_functions_of_axum() {
    let registry = Registry::new();
    let pass = async |request: axum::extract::Request, next: Next| next.run(request).await;
    let app = reading_app().layer(
        ServiceBuilder::new()
            .layer(ServerMetrics::new().register(&registry).unwrap())
            .layer(from_fn(pass)),
    );
    let request = Request::post("/reads").body(axum::body::Body::from("hello"));
    let response = app.oneshot(request.unwrap()).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "hello");
    assert_eq!(sizes(&registry, "/reads"), (5.0, 1.0));
}

/// A router accepts any type of body, so it fits the layer that counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_of_axum_that_hyper_serves() {
    let registry = Registry::new();
    let layer = ServerMetrics::new()
        .templates(["/reads"])
        .register(&registry)
        .unwrap()
        .count_request_bodies();
    let router: Router = reading_app();
    let address = serve_hyper(layer.layer(router)).await;
    let answer = send(address, &announcing("/reads", "5", "hello"));
    assert_eq!(answer.text(), "hello");
    assert_eq!(sizes(&registry, "/reads"), (5.0, 1.0));
}

/// The size has the status of the response among its labels, so it is observed at the end, even if
/// the service has read the body before that.
#[tokio::test]
async fn sizes_with_the_names_of_opentelemetry_have_the_status() {
    let registry = Registry::new();
    let layer = ServerMetrics::opentelemetry().register(&registry).unwrap();
    let mut service = layer.count_request_bodies().layer(service_fn(
        async |request: Request<Measured<Chunks>>| {
            let _read = request.into_body().collect().await?;
            let response = Response::builder().status(422);
            Ok::<_, std::io::Error>(response.body(Empty::<Bytes>::new()).unwrap())
        },
    ));
    drop(service.call(Request::new(chunks(3))).await.unwrap());
    let labels = [
        ("http_request_method", "GET"),
        ("http_route", "unmatched"),
        ("http_response_status_code", "422"),
        ("error_type", ""),
    ];
    let name = "http_server_request_body_size_bytes_sum";
    assert_eq!(get_of(&registry, name, &labels), 30.0);
}

/// The service sees the frames, the length and the end of the body inside.
#[tokio::test]
async fn a_counted_body_is_like_the_one_inside() {
    type Frames = Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>;
    let (registry, layer) = layer();
    let mut service = layer.count_request_bodies().layer(service_fn(
        async |request: Request<Measured<Frames>>| {
            let mut body = request.into_body();
            if request_is_sized(&body) {
                return Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()));
            }
            assert!(body.frame().await.unwrap().unwrap().is_data());
            let trailers = body.frame().await.unwrap().unwrap();
            assert_eq!(trailers.into_trailers().unwrap()["checksum"], "1");
            assert!(body.frame().await.is_none());
            Ok(Response::new(Empty::new()))
        },
    ));
    fn request_is_sized(body: &Measured<Frames>) -> bool {
        body.size_hint().exact() == Some(5) && !body.is_end_stream()
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "1".parse().unwrap());
    let frames = [
        Frame::data(Bytes::from_static(b"data")),
        Frame::trailers(trailers),
    ];
    let frames = frames.map(|frame| Box::pin(ready(Ok(frame))) as Pending);
    let bodies: [Frames; 2] = [
        Box::pin(Full::from("hello")),
        Box::pin(StreamBody::new(futures_of(frames))),
    ];
    for body in bodies {
        let request = Request::post("/").body(body).unwrap();
        drop(service.call(request).await.unwrap());
    }
    assert_eq!(sizes(&registry, "/"), (4.0, 2.0));
    let unmeasured = Measured::<Full<Bytes>>::default();
    assert!(unmeasured.is_end_stream());
    assert!(format!("{unmeasured:?}").contains("Full"));
}

/// A body that outlives its exchange keeps its counter: what is read from it later counts for no
/// other request.
#[tokio::test]
async fn bodies_that_are_read_after_the_response() {
    let (registry, layer) = layer();
    let kept = std::sync::Mutex::new(None);
    let mut service = layer.count_request_bodies().layer(service_fn(
        async |request: Request<Measured<Chunks>>| {
            // Reads 10 bytes of its own body, and all of the body of the request before.
            let mut body = request.into_body();
            body.frame().await.unwrap()?;
            let before = kept.lock().unwrap().replace(body);
            if let Some(before) = before {
                assert_eq!(before.collect().await?.to_bytes().len(), 20);
            }
            Ok::<_, std::io::Error>(Response::new(Empty::<Bytes>::new()))
        },
    ));
    for n in 1..=100 {
        let request = Request::post("/").body(chunks(3)).unwrap();
        drop(service.call(request).await.unwrap());
        let n = f64::from(n);
        assert_eq!(sizes(&registry, "/"), (10.0 * n, n));
    }
}
