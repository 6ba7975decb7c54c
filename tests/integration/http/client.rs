//! The client layer around real reqwest, hyper and tower clients, which call a real server that
//! misbehaves.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tallies::Registry;
use tallies_http::{ClientMetrics, Clients, FailureKind, Template};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

fn clients() -> (Registry, Clients) {
    let registry = Registry::new();
    let clients = ClientMetrics::new()
        .prefix("aioli")
        .register(&registry)
        .unwrap();
    (registry, clients)
}

fn calls(registry: &Registry, path: &str, status: &str) -> f64 {
    let labels = [
        ("client_name", "users"),
        ("method", "GET"),
        ("path", path),
        ("status_code", status),
    ];
    registry
        .snapshot()
        .get("aioli_http_requests_total", &labels)
        .unwrap_or_default()
}

async fn backend() -> SocketAddr {
    let app = Router::new()
        .route("/users/{id}", get(async || "a user"))
        .route("/gone", get(async || StatusCode::GONE))
        .route("/waits", get(async || pending::<()>().await))
        .route("/loop", get(async || Redirect::to("/loop")))
        .route(
            "/panics",
            get(async || {
                if true {
                    panic!("as it must")
                }
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

/// Returns an address without a listener.
fn unused_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_reqwest_is_counted_by_kind() {
    let (registry, clients) = clients();
    let users = clients.named("users");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let root = format!("http://{}", backend().await);
    for i in 0..2 {
        let answer = users
            .send("/users/{id}", http.get(format!("{root}/users/{i}")))
            .await
            .unwrap();
        assert_eq!(answer.text().await.unwrap(), "a user");
    }
    users
        .send("/gone", http.get(format!("{root}/gone")))
        .await
        .unwrap()
        .error_for_status()
        .unwrap_err();
    let slow = http
        .get(format!("{root}/waits"))
        .timeout(Duration::from_millis(50));
    assert!(users.send("/waits", slow).await.unwrap_err().is_timeout());
    users
        .send("/down", http.get(format!("http://{}", unused_address())))
        .await
        .unwrap_err();
    users
        .send("/loop", http.get(format!("{root}/loop")))
        .await
        .unwrap_err();
    users
        .send("/panics", http.get(format!("{root}/panics")))
        .await
        .unwrap_err();
    // A request that cannot be built.
    users.send("/bad", http.get("not a url")).await.unwrap_err();
    let cancelled = sendable(users.send("/waits", http.get(format!("{root}/waits"))));
    tokio::time::timeout(Duration::from_millis(50), cancelled)
        .await
        .unwrap_err();
    for (path, status, expected) in [
        ("/users/{id}", "200", 2.0),
        ("/gone", "410", 1.0),
        ("/waits", "timeout", 1.0),
        ("/waits", "cancelled", 1.0),
        ("/down", "connect", 1.0),
        ("/loop", "redirect", 1.0),
        ("/panics", "error", 1.0),
    ] {
        assert_eq!(calls(&registry, path, status), expected, "{path} {status}");
    }
    let snapshot = registry.snapshot();
    // The method is unknown, since the request could not be built.
    let bad = [
        ("client_name", "users"),
        ("method", "other"),
        ("path", "/bad"),
        ("status_code", "error"),
    ];
    let counted = snapshot.get("aioli_http_requests_total", &bad);
    assert_eq!(counted, Some(1.0));
    assert_eq!(
        snapshot
            .family("aioli_http_requests_total")
            .unwrap()
            .series()
            .count(),
        8
    );
    assert_eq!(
        snapshot
            .family("aioli_request_latency_seconds")
            .unwrap()
            .series()
            .count(),
        8
    );
    let in_flight = snapshot.family("aioli_http_requests_in_flight").unwrap();
    assert!(
        in_flight
            .series()
            .all(|(_, value)| format!("{value:?}").contains("0.0")),
        "{in_flight:?}"
    );
}

/// Requires a future to be `Send`, so that it can be spawned.
fn sendable<F: Send>(future: F) -> F {
    future
}

/// Compares all names and labels, and the latency's bounds.
#[tokio::test]
async fn the_names_of_aioli_and_others() {
    let registry = Registry::new();
    let clients = ClientMetrics::new()
        .prefix("aioli")
        .version(env!("CARGO_PKG_VERSION"))
        .register(&registry)
        .unwrap();
    let users = clients.named("users").templates(["/users/{id}"]);
    let mut service = users_service(users);
    service
        .ready()
        .await
        .unwrap()
        .call(Request::get("http://x/users/7").body(()).unwrap())
        .await
        .unwrap();
    let page = tallies::encode::text(&registry.snapshot());
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        format!("aioli_info{{version=\"{version}\"}} 1"),
        "# TYPE aioli_http_requests_total counter".into(),
        "aioli_http_requests_total{client_name=\"users\",method=\"GET\",path=\"/users/{id}\",status_code=\"200\"} 1".into(),
        "aioli_request_latency_seconds_bucket{client_name=\"users\",method=\"GET\",path=\"/users/{id}\",status_code=\"200\",le=\"25.6\"} 1".into(),
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\n{page}");
    }
    // Other settings in the same registry; a second layer with the same settings shares its
    // families.
    let other = ClientMetrics::new()
        .version("9")
        .constant("zone", "a")
        .requests_name("calls_total")
        .latency_name("call_seconds")
        .buckets(&[1.0])
        .prefix("shop");
    for _ in 0..2 {
        let mut service = users_service(other.clone().register(&registry).unwrap().named("users"));
        let request = Request::get("http://x/raw/path")
            .extension(Template("/by/extension"))
            .body(())
            .unwrap();
        service.ready().await.unwrap().call(request).await.unwrap();
        service
            .ready()
            .await
            .unwrap()
            .call(Request::get("http://x/raw/path").body(()).unwrap())
            .await
            .unwrap();
    }
    let now = registry.snapshot();
    assert_eq!(
        now.get("shop_info", &[("version", "9"), ("zone", "a")]),
        Some(1.0)
    );
    for path in ["/by/extension", "unmatched"] {
        let labels = [
            ("client_name", "users"),
            ("method", "GET"),
            ("path", path),
            ("status_code", "200"),
            ("zone", "a"),
        ];
        assert_eq!(now.get("shop_calls_total", &labels), Some(2.0), "{path}");
    }
    assert_eq!(now.family("shop_call_seconds").unwrap().series().count(), 2);
    let error = ClientMetrics::new()
        .prefix("a-b")
        .register(&registry)
        .unwrap_err()
        .to_string();
    assert!(error.contains("a-b_"), "{error}");
}

/// Also if the prefix already ends in an underscore.
#[test]
fn prefixes_are_separated_by_one_underscore() {
    let registry = Registry::new();
    for prefix in ["", "shop", "zoo_", "web:"] {
        let _ = ClientMetrics::new()
            .prefix(prefix)
            .version("1")
            .register(&registry)
            .unwrap();
    }
    let snapshot = registry.snapshot();
    let names: Vec<_> = snapshot.families().map(|family| family.name()).collect();
    for name in ["info", "shop_info", "zoo_info", "web:info"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
}

/// Repeated `templates` calls add up, and invalid templates are left out. Layers of one name share
/// their families.
#[tokio::test]
async fn templates_of_clients() {
    let (registry, clients) = clients();
    for layer in [
        clients.named("users").templates(["/users/{id}", "users"]),
        clients.named("users").templates(["/users/{id"]),
    ] {
        let layer = layer.templates(["/groups/{id}"]);
        for path in ["/users/7", "/groups/7"] {
            let request = Request::get(format!("http://x{path}")).body(()).unwrap();
            let service = users_service(layer.clone());
            service.oneshot(request).await.unwrap();
        }
    }
    assert_eq!(calls(&registry, "/users/{id}", "200"), 1.0);
    assert_eq!(calls(&registry, "/groups/{id}", "200"), 2.0);
    assert_eq!(calls(&registry, "unmatched", "200"), 1.0);
}

fn users_service(
    layer: tallies_http::ClientLayer,
) -> impl Service<Request<()>, Response = Response<()>, Error = Infallible> {
    ServiceBuilder::new()
        .layer(layer)
        .service_fn(async |_| Ok(Response::new(())))
}

#[derive(Clone)]
struct Three(usize);

impl tower::retry::Policy<Request<()>, Response<()>, Infallible> for Three {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<()>,
        _: &mut Result<Response<()>, Infallible>,
    ) -> Option<Self::Future> {
        self.0 -= 1;
        (self.0 > 0).then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<()>) -> Option<Request<()>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn every_attempt_counts_and_towers_timeout_is_one() {
    let (registry, clients) = clients();
    let layer = clients.named("users").templates(["/users/{id}", "/waits"]);
    let mut again = ServiceBuilder::new()
        .retry(Three(3))
        .service(users_service_clone(layer.clone()));
    again
        .ready()
        .await
        .unwrap()
        .call(Request::get("http://x/users/7").body(()).unwrap())
        .await
        .unwrap();
    assert_eq!(calls(&registry, "/users/{id}", "200"), 3.0);
    let mut slow = ServiceBuilder::new()
        .layer(layer)
        .timeout(Duration::from_millis(10))
        .service(service_fn(async |_: Request<()>| {
            pending::<()>().await;
            Ok::<_, Infallible>(Response::new(()))
        }));
    slow.ready()
        .await
        .unwrap()
        .call(Request::get("http://x/waits").body(()).unwrap())
        .await
        .unwrap_err();
    assert_eq!(calls(&registry, "/waits", "timeout"), 1.0);
    let elapsed = tokio::time::timeout(Duration::ZERO, pending::<()>())
        .await
        .unwrap_err();
    assert_eq!(FailureKind::of(&elapsed), FailureKind::Timeout);
}

fn users_service_clone(
    layer: tallies_http::ClientLayer,
) -> impl Service<Request<()>, Response = Response<()>, Error = Infallible> + Clone {
    ServiceBuilder::new()
        .layer(layer)
        .service_fn(async |_| Ok(Response::new(())))
}

/// hyper's own client, and reqwest's client as a tower service.
#[tokio::test]
async fn other_clients() {
    let (registry, clients) = clients();
    let kind = |error: &legacy::Error| {
        Some(if error.is_connect() {
            FailureKind::Connect
        } else {
            FailureKind::of(error)
        })
    };
    let layer = clients
        .named("users")
        .templates(["/users/{id}"])
        .kind_of(kind);
    let root = format!("http://{}", backend().await);
    let hyper = legacy::Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut hyper = ServiceBuilder::new().layer(layer.clone()).service(hyper);
    let get = |url: String| Request::get(url).body(Empty::new()).unwrap();
    hyper
        .ready()
        .await
        .unwrap()
        .call(get(format!("{root}/users/7")))
        .await
        .unwrap();
    hyper
        .ready()
        .await
        .unwrap()
        .call(get(format!("http://{}/users/7", unused_address())))
        .await
        .unwrap_err();
    assert_eq!(calls(&registry, "/users/{id}", "200"), 1.0);
    assert_eq!(calls(&registry, "/users/{id}", "connect"), 1.0);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut service = ServiceBuilder::new().layer(layer).service(client.clone());
    for url in [
        format!("{root}/users/7"),
        format!("http://{}/users/7", unused_address()),
    ] {
        let _ = service
            .ready()
            .await
            .unwrap()
            .call(client.get(url).build().unwrap())
            .await;
    }
    assert_eq!(calls(&registry, "/users/{id}", "200"), 2.0);
    assert_eq!(calls(&registry, "/users/{id}", "connect"), 2.0);
}
