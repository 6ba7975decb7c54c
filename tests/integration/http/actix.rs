//! The server layer as a middleware of a real actix-web server.

use std::io::{Error, Read, Write};
use std::net::SocketAddr;

use actix_web::{App, HttpResponse, HttpServer, web};
use futures_util::stream::{self, StreamExt};
use tallies::Registry;
use tallies_http::ServerMetrics;

use crate::support::eventually;
use crate::support::http::{ask, connect, get, request, send, try_get};

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
                .service(web::resource("/only_post").route(web::post().to(async || "posted")))
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

#[test]
fn a_refused_method_counts_under_its_own_name() {
    let registry = Registry::new();
    let address = serve(&registry);
    for method in ["GET", "DELETE", "BREW"] {
        assert_eq!(ask(address, method, "/only_post", &[]).status(), 405);
    }
    for method in ["GET", "DELETE", "other"] {
        let labels = [
            ("method", method),
            ("route", "/only_post"),
            ("status", "405"),
        ];
        assert_eq!(
            get_of(&registry, "http_requests_total", &labels),
            1.0,
            "{method}"
        );
    }
}

#[test]
fn requests_are_counted_by_pattern_once() {
    let registry = Registry::new();
    let address = serve(&registry);
    for i in 0..50 {
        let get = |path: &str| get(address, path, &[]);
        assert_eq!(get(&format!("/users/{i}")).text(), "a user");
        assert_eq!(get(&format!("/api/items/{i}")).text(), "an item");
        assert_eq!(get(&format!("/.git/{i}")).status(), 404);
        assert_eq!(
            ask(address, &format!("M{i}"), "/users/1", &[]).status(),
            404
        );
        assert_eq!(get("/fails").status(), 502);
        assert_eq!(ask(address, "HEAD", "/users/1", &[]).status(), 404);
        get("/healthy");
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
    let open = |path: &str| {
        let mut stream = connect(address);
        stream.write_all(&request("GET", path, &[])).unwrap();
        stream
    };
    for round in 0..5 {
        let waiting: Vec<_> = (0..100).map(|_| open("/waits")).collect();
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
        // A connection reset only ends the response.
        assert!(try_get(address, "/panics").map_or(true, |answer| answer.head.is_empty()));
        // Bytes sent before the failure may still be in actix-web's buffer.
        let _ = try_get(address, "/breaks");
        let mut stream = open("/streams");
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
        [&request("POST", path, &[head]), body.as_bytes()].concat()
    };
    let answer = |path: &str, head: &str, body: &str| send(address, &post(path, head, body));
    let size = |route: &str, what: &str| {
        let labels = [("method", "POST"), ("route", route)];
        let name = format!("http_request_size_bytes_{what}");
        get_of(&registry, &name, &labels)
    };
    let sizes = |route: &str| (size(route, "sum"), size(route, "count"));

    // Announces an absurd length, or 4 GiB, and sends nothing.
    for length in ["18446744073709551613", "4294967296"] {
        let head = format!("Content-Length: {length}");
        assert_eq!(answer("/ignores", &head, "").text(), "ignored");
        let abandoned = post("/reads_some", &head, "");
        connect(address).write_all(&abandoned).unwrap();
    }
    eventually("2 requests whose client left", || {
        size("/reads_some", "count") == 2.0
    });
    assert_eq!(sizes("/ignores"), (0.0, 2.0));
    assert_eq!(sizes("/reads_some"), (0.0, 2.0));

    assert_eq!(answer("/reads", "Content-Length: 5", "hello").text(), "5");
    assert_eq!(sizes("/reads"), (5.0, 1.0));
    let chunked = "5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n";
    assert_eq!(
        answer("/reads", "Transfer-Encoding: chunked", chunked).text(),
        "8"
    );
    assert_eq!(sizes("/reads"), (13.0, 2.0));
    // A handler that reads the first part. The other 995 bytes are never sent.
    assert_eq!(
        answer("/reads_some", "Content-Length: 1000", "hello").text(),
        "5"
    );
    assert_eq!(sizes("/reads_some"), (5.0, 3.0));
}
