//! The server layer around real axum and hyper, and around services that misbehave.

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::{any, get, post};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame};
use tallies::Registry;
use tallies::http::{Measured, ServerLayer, ServerMetrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

fn layer() -> (Registry, ServerLayer) {
    let registry = Registry::new();
    let layer = ServerMetrics::new()
        .templates(["/", "/users/{id}"])
        .register(&registry)
        .unwrap();
    (registry, layer)
}

fn get_of(registry: &Registry, name: &str, labels: &[(&str, &str)]) -> f64 {
    registry.snapshot().get(name, labels).unwrap_or_default()
}

/// All series of a family together; of a histogram its counts.
fn sum(registry: &Registry, name: &str) -> f64 {
    let page = tallies::encode::text(&registry.snapshot());
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    page.lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .map(value)
        .sum()
}

/// Waits for what another task does in its own time.
async fn eventually(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < end, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Empty::new())
        .unwrap()
}

async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    // A connection that is reset has answered nothing more.
    let _ = tokio::time::timeout(Duration::from_secs(30), reading)
        .await
        .expect("an answer within 30 s");
    answer
}

fn plain(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

async fn answer<S, R>(service: &mut S, request: Request<Empty<Bytes>>) -> Response<Measured<R>>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Measured<R>>>,
    S::Error: std::fmt::Debug,
{
    service.ready().await.unwrap().call(request).await.unwrap()
}

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

/// The whole page: exactly these names and labels.
#[tokio::test]
async fn the_preset_of_aioprometheus() {
    let registry = Registry::new();
    let metrics = ServerMetrics::aioprometheus().register(&registry).unwrap();
    // A second one shares the families.
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
        .oneshot(request("POST", "/nowhere"))
        .await
        .unwrap_err();
    assert_eq!(
        tallies::encode::text(&registry.snapshot()),
        "# HELP exceptions_total_counter Requests that ended in an error or a panic.\n\
         # TYPE exceptions_total_counter counter\n\
         exceptions_total_counter{method=\"POST\",path=\"unmatched\"} 1\n\
         # HELP requests_total_counter Requests received.\n\
         # TYPE requests_total_counter counter\n\
         requests_total_counter{method=\"GET\",path=\"/users/{id}\"} 3\n\
         requests_total_counter{method=\"GET\",path=\"unmatched\"} 1\n\
         requests_total_counter{method=\"POST\",path=\"unmatched\"} 1\n\
         # HELP responses_total_counter Requests answered.\n\
         # TYPE responses_total_counter counter\n\
         responses_total_counter{method=\"GET\",path=\"/users/{id}\"} 3\n\
         responses_total_counter{method=\"GET\",path=\"unmatched\"} 1\n\
         responses_total_counter{method=\"POST\",path=\"unmatched\"} 1\n\
         # HELP status_codes_counter Requests answered, by status.\n\
         # TYPE status_codes_counter counter\n\
         status_codes_counter{method=\"GET\",path=\"/users/{id}\",status_code=\"200\"} 2\n\
         status_codes_counter{method=\"GET\",path=\"/users/{id}\",status_code=\"400\"} 1\n\
         status_codes_counter{method=\"GET\",path=\"unmatched\",status_code=\"404\"} 1\n\
         status_codes_counter{method=\"POST\",path=\"unmatched\",status_code=\"500\"} 1\n"
    );
}

#[tokio::test]
async fn the_names_of_opentelemetry_and_other_settings() {
    let registry = Registry::new();
    let layer = ServerMetrics::opentelemetry()
        .prefix("shop_")
        .constant("url_scheme", "http")
        .status_class()
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

/// Ten thousand made-up paths and two thousand made-up methods: a handful of series.
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

/// Durations are observed all the same, of answers with a body and of those without.
#[tokio::test]
async fn without_the_time_to_the_head() {
    let registry = Registry::new();
    let layer = ServerMetrics::new()
        .without_head_time()
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

/// A route that is asked for by its raw path cannot fill the memory.
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

/// What no route matches is no further route.
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

/// What is excluded takes no room from what is measured.
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

/// Families that have room for the routes: more than the 10 000 series of any other family, and none of them overflows.
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
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(plain("GET", path).as_bytes())
                .await
                .unwrap();
            open.push(stream);
        }
        eventually("100 in flight", || {
            sum(&registry, "http_requests_in_flight") == 100.0
        })
        .await;
        drop(open);
        eventually("none in flight", || {
            sum(&registry, "http_requests_in_flight") == 0.0
        })
        .await;
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

type Pending = Pin<Box<dyn Future<Output = Result<Frame<Bytes>, Infallible>> + Send>>;

/// A stream of what some futures give, one after the other.
fn futures_of<const N: usize>(
    futures: [Pending; N],
) -> impl futures_core::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    struct Each(std::collections::VecDeque<Pending>);
    impl futures_core::Stream for Each {
        type Item = Result<Frame<Bytes>, Infallible>;
        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            let Some(first) = self.0.front_mut() else {
                return Poll::Ready(None);
            };
            let item = std::task::ready!(first.as_mut().poll(cx));
            self.0.pop_front();
            Poll::Ready(Some(item))
        }
    }
    Each(futures.into())
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
        assert_eq!(ask(address, &plain("GET", "/panics")).await, "");
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

/// Also where somebody catches the panic and drops the future later, and where `call` itself panics.
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

/// A service that answers with one body, whatever it is asked.
fn answering<B: Body + Clone>(
    status: StatusCode,
    headers: &'static [(&'static str, &'static str)],
    body: B,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible> {
    service_fn(move |_: Request<Empty<Bytes>>| {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        ready(Ok(response.body(body.clone()).unwrap()))
    })
}

/// A body of some chunks, whose length nobody knows, and that may fail behind them.
#[derive(Clone)]
struct Chunks {
    left: usize,
    fails: bool,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match (self.left, self.fails) {
            (0, false) => None,
            (0, true) => Some(Err(std::io::Error::other("as it must"))),
            _ => {
                self.left -= 1;
                Some(Ok(Frame::data(Bytes::from_static(b"0123456789"))))
            }
        })
    }
}

#[tokio::test]
async fn bodies_to_their_end() {
    let (registry, layer) = layer();
    let ok = StatusCode::OK;
    // To the end, and to a failure behind the head: one request each, and one failure.
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
    // Left unread.
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
    // A body of known length is over with its last byte: nobody has to ask for more.
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
    // Those that have none are over with their head.
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

/// Behind trailers nobody asks for more: hyper drops the body there.
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

/// A body that panics while it is sent: a failure of its kind, and its request was counted with its head.
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

/// Over real connections: what is said before the answer (`100 Continue`) is no answer; HEAD has no body; and a body that fails
/// breaks the connection off.
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
    let expecting = "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    for _ in 0..10 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(expecting.as_bytes()).await.unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hello").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"));
        let answer = ask(address, &plain("HEAD", "/page")).await;
        assert!(answer.contains("content-length: 6\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        let answer = ask(address, &plain("GET", "/fails")).await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    }
    eventually("none in flight", || {
        sum(&registry, "http_requests_in_flight") == 0.0
    })
    .await;
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

#[tokio::test]
async fn streams_and_tunnels_are_told_apart() {
    let (registry, layer) = layer();
    let events = &[("content-type", "text/event-stream; charset=utf-8")];
    let mut service = layer.layer(answering(
        StatusCode::OK,
        events,
        Chunks {
            left: 3,
            fails: false,
        },
    ));
    let body = answer(&mut service, request("GET", "/")).await.into_body();
    assert_eq!(
        sum(&registry, "http_requests_total"),
        1.0,
        "counted at its head"
    );
    assert_eq!(sum(&registry, "http_requests_in_flight"), 1.0);
    body.collect().await.unwrap();
    // A listener that leaves: the ordinary end.
    drop(answer(&mut service, request("GET", "/")).await);
    let mut service = layer.layer(answering(
        StatusCode::OK,
        &[],
        Chunks {
            left: 3,
            fails: false,
        },
    ));
    drop(answer(&mut service, request("CONNECT", "/")).await);
    assert_eq!(sum(&registry, "http_stream_duration_seconds_count"), 2.0);
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 0.0);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 0.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
}

/// Types of media are the same in capitals, and others begin alike.
#[tokio::test]
async fn types_of_streams() {
    let (registry, layer) = layer();
    for (headers, streams) in [
        (&[("content-type", "Text/Event-Stream")], 1.0),
        (&[("content-type", "application/x-ndjson ; x=y")], 2.0),
        (&[("content-type", "text/event-streams")], 2.0),
    ] {
        let chunks = Chunks {
            left: 1,
            fails: false,
        };
        let mut service = layer.layer(answering(StatusCode::OK, headers, chunks));
        let body = answer(&mut service, request("GET", "/")).await.into_body();
        body.collect().await.unwrap();
        let counted = sum(&registry, "http_stream_duration_seconds_count");
        assert_eq!(counted, streams, "{headers:?}");
    }
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 1.0);
}

/// There requests are counted by their durations only, so whatever becomes of a request, it has one.
#[tokio::test]
async fn opentelemetry_counts_streams_and_tunnels() {
    let registry = Registry::new();
    let layer = ServerMetrics::opentelemetry().register(&registry).unwrap();
    let chunks = Chunks {
        left: 1,
        fails: false,
    };
    let events = &[("content-type", "text/event-stream")];
    let mut streams = layer.layer(answering(StatusCode::OK, events, chunks.clone()));
    let body = answer(&mut streams, request("GET", "/")).await.into_body();
    body.collect().await.unwrap();
    drop(answer(&mut streams, request("GET", "/")).await);
    let mut tunnel = layer.layer(answering(StatusCode::OK, &[], chunks.clone()));
    drop(answer(&mut tunnel, request("CONNECT", "/")).await);
    let switching = StatusCode::SWITCHING_PROTOCOLS;
    let mut upgrade = layer.layer(answering(switching, &[], chunks));
    drop(answer(&mut upgrade, request("GET", "/")).await);
    let durations = "http_server_request_duration_seconds_count";
    assert_eq!(sum(&registry, durations), 4.0);
    let streams = "http_server_stream_duration_seconds_count";
    assert_eq!(sum(&registry, streams), 2.0);
    assert_eq!(sum(&registry, "http_server_active_requests"), 0.0);
}

#[tokio::test]
async fn a_websocket_is_a_request_with_status_101() {
    let registry = Registry::new();
    let app = Router::new()
        .route(
            "/socket",
            any(async |upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(async |_| pending::<()>().await)
            }),
        )
        .layer(ServerMetrics::new().register(&registry).unwrap());
    let address = serve(app).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    let labels = [("method", "GET"), ("route", "/socket"), ("status", "101")];
    assert_eq!(get_of(&registry, "http_requests_total", &labels), 1.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 0.0);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 0.0);
}

/// hyper without a framework; bytes that a client announces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hyper_by_itself() {
    let (registry, layer) = layer();
    let service = layer.layer(service_fn(
        async |request: Request<hyper::body::Incoming>| {
            let body = request.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Response::new(Full::new(body)))
        },
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    for _ in 0..20 {
        let request = "POST /users/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        let answer = ask(address, request).await;
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
        assert!(
            ask(address, &plain("HEAD", "/"))
                .await
                .starts_with("HTTP/1.1 200")
        );
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

/// Requests counted are requests made, whichever threads they come from.
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

/// `post` alone answers other methods with 405: a route, and its method's series.
#[tokio::test]
async fn what_is_not_allowed_is_of_its_route() {
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
