//! The server layer as a middleware of a real actix-web server.

use std::io::{Error, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use futures_util::stream::{self, StreamExt};
use tallies::Registry;
use tallies::http::ServerMetrics;

fn get_of(registry: &Registry, name: &str, labels: &[(&str, &str)]) -> f64 {
    registry.snapshot().get(name, labels).unwrap_or_default()
}

/// The sum over all series of a family; pass a histogram's `_count` to add up its counts.
fn sum(registry: &Registry, name: &str) -> f64 {
    let page = tallies::encode::text(&registry.snapshot());
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    page.lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .map(value)
        .sum()
}

fn eventually(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < end, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a server on a thread of its own until the test process ends.
fn serve(registry: &Registry) -> SocketAddr {
    let metrics = ServerMetrics::new()
        .exclude(["/healthy"])
        .register(registry)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let app = move || {
            App::new()
                .wrap(metrics.clone())
                .route("/users/{id}", web::get().to(async || "a user"))
                .service(web::scope("/api").route("/items/{id}", web::get().to(async || "an item")))
                .route(
                    "/reads",
                    web::post().to(async |body: web::Bytes| body.len().to_string()),
                )
                .route(
                    "/reads_some",
                    web::post().to(async |mut body: web::Payload| {
                        body.next().await.unwrap().unwrap().len().to_string()
                    }),
                )
                .route("/ignores", web::post().to(async || "ignored"))
                .route("/healthy", web::get().to(async || "yes"))
                .route(
                    "/waits",
                    web::get().to(async || -> HttpResponse { std::future::pending().await }),
                )
                .route(
                    "/breaks",
                    web::get().to(async || {
                        let parts = [
                            Ok(web::Bytes::from("part")),
                            Err(Error::other("as it must")),
                        ];
                        HttpResponse::Ok().streaming(stream::iter(parts))
                    }),
                )
                .route(
                    "/streams",
                    web::get().to(async || {
                        let first = stream::iter([Ok::<_, Error>(web::Bytes::from("first"))]);
                        HttpResponse::Ok().streaming(first.chain(stream::pending()))
                    }),
                )
                .route(
                    "/fails",
                    web::get()
                        .to(async || Err::<&str, _>(actix_web::error::ErrorBadGateway("down"))),
                )
                .route(
                    "/panics",
                    web::get().to(async || if true { panic!("as it must") } else { "" }),
                )
        };
        let server = HttpServer::new(app)
            .workers(2)
            .disable_signals()
            // Otherwise actix-web completes requests whose client has closed its connection.
            .h1_allow_half_closed(false)
            .listen(listener)
            .unwrap();
        actix_web::rt::System::new().block_on(server.run()).unwrap();
    });
    address
}

fn open(address: SocketAddr, method: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    stream
}

fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut answer = String::new();
    // A connection reset only ends the response.
    let _ = open(address, method, path).read_to_string(&mut answer);
    answer
}

#[test]
fn requests_are_counted_by_pattern_once() {
    let registry = Registry::new();
    let address = serve(&registry);
    for i in 0..50 {
        assert!(ask(address, "GET", &format!("/users/{i}")).ends_with("a user"));
        assert!(ask(address, "GET", &format!("/api/items/{i}")).ends_with("an item"));
        assert!(ask(address, "GET", &format!("/.git/{i}")).starts_with("HTTP/1.1 404"));
        assert!(ask(address, &format!("M{i}"), "/users/1").starts_with("HTTP/1.1 404"));
        assert!(ask(address, "GET", "/fails").starts_with("HTTP/1.1 502"));
        assert!(ask(address, "HEAD", "/users/1").starts_with("HTTP/1.1 404"));
        ask(address, "GET", "/healthy");
    }
    let requests = |method, route, status| {
        let labels = [("method", method), ("route", route), ("status", status)];
        get_of(&registry, "http_requests_total", &labels)
    };
    assert_eq!(requests("GET", "/users/{id}", "200"), 50.0);
    assert_eq!(requests("GET", "/api/items/{id}", "200"), 50.0);
    assert_eq!(requests("GET", "unmatched", "404"), 50.0);
    assert_eq!(requests("other", "/users/{id}", "404"), 50.0);
    assert_eq!(requests("HEAD", "/users/{id}", "404"), 50.0);
    assert_eq!(requests("GET", "/fails", "502"), 50.0);
    assert_eq!(sum(&registry, "http_requests_total"), 300.0);
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 300.0);
    // A request without a body counts as one of zero bytes.
    assert_eq!(sum(&registry, "http_request_size_bytes_count"), 300.0);
    assert_eq!(sum(&registry, "http_request_size_bytes_sum"), 0.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 0.0);
    let sent = r#"http_response_size_bytes_sum{method="GET",route="/users/{id}"} 300"#;
    let page = tallies::encode::text(&registry.snapshot());
    assert!(page.lines().any(|line| line == sent), "{page}");
}

#[test]
fn clients_that_leave_and_handlers_that_panic() {
    let registry = Registry::new();
    let address = serve(&registry);
    for round in 0..5 {
        let waiting: Vec<_> = (0..100).map(|_| open(address, "GET", "/waits")).collect();
        eventually("100 in flight", || {
            sum(&registry, "http_requests_in_flight") == 100.0
        });
        drop(waiting);
        eventually("none in flight", || {
            sum(&registry, "http_requests_in_flight") == 0.0
        });
        assert_eq!(
            sum(&registry, "http_requests_total"),
            f64::from(100 * (round + 1))
        );
    }
    for _ in 0..10 {
        assert_eq!(ask(address, "GET", "/panics"), "");
        // Bytes sent before the failure may still be in actix-web's buffer.
        ask(address, "GET", "/breaks");
        let mut stream = open(address, "GET", "/streams");
        stream.read_exact(&mut [0; 12]).unwrap();
    }
    eventually("none in flight", || {
        sum(&registry, "http_requests_in_flight") == 0.0
    });
    let failed = |route, kind| {
        let labels = [("method", "GET"), ("route", route), ("kind", kind)];
        get_of(&registry, "http_requests_failed_total", &labels)
    };
    assert_eq!(failed("/waits", "cancelled"), 500.0);
    assert_eq!(failed("/panics", "panic"), 10.0);
    assert_eq!(failed("/breaks", "body"), 10.0);
    assert_eq!(failed("/streams", "cancelled"), 10.0);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 530.0);
    assert_eq!(sum(&registry, "http_requests_total"), 530.0);
}

/// Sizes of requests are the bytes that the handler read, not those that the client announced.
#[test]
fn request_bodies_are_counted_as_they_are_read() {
    let registry = Registry::new();
    let address = serve(&registry);
    let post = |path: &str, head: &str, body: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let timeout = Some(Duration::from_secs(30));
        stream.set_read_timeout(timeout).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
        write!(stream, "{head}\r\n{body}").unwrap();
        stream
    };
    let answer = |mut stream: TcpStream| {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let size = |route: &str, what: &str| {
        let labels = [("method", "POST"), ("route", route)];
        let name = format!("http_request_size_bytes_{what}");
        get_of(&registry, &name, &labels)
    };
    let sizes = |route: &str| (size(route, "sum"), size(route, "count"));

    // Announces an absurd length, or 4 GiB, and sends nothing.
    for length in ["18446744073709551613", "4294967296"] {
        let head = format!("Content-Length: {length}");
        assert!(answer(post("/ignores", &head, "")).ends_with("ignored"));
        drop(post("/reads_some", &head, ""));
    }
    eventually("2 requests whose client left", || {
        size("/reads_some", "count") == 2.0
    });
    assert_eq!(sizes("/ignores"), (0.0, 2.0));
    assert_eq!(sizes("/reads_some"), (0.0, 2.0));

    assert!(answer(post("/reads", "Content-Length: 5", "hello")).ends_with("\r\n\r\n5"));
    assert_eq!(sizes("/reads"), (5.0, 1.0));
    let chunked = "5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n";
    assert!(answer(post("/reads", "Transfer-Encoding: chunked", chunked)).ends_with("\r\n\r\n8"));
    assert_eq!(sizes("/reads"), (13.0, 2.0));
    // A handler that reads the first part. The other 995 bytes are never sent.
    assert!(answer(post("/reads_some", "Content-Length: 1000", "hello")).ends_with("\r\n\r\n5"));
    assert_eq!(sizes("/reads_some"), (5.0, 3.0));
}
