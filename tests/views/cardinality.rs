//! The cardinality report, also over HTTP.

use tallies::{Counter, Registry, View, collect::Collected, serve::Server};

use crate::support::http::{ask, get};

fn registry() -> Registry {
    let registry = Registry::new();
    let hits = Counter::builder("hits_total", "Hits.")
        .labels(["method", "path"])
        .limit(4)
        .register(&registry)
        .unwrap();
    for (method, path) in [
        ("get", "/"),
        ("get", "/a"),
        ("put", "/a"),
        ("get", "/<b>"),
        ("x", "y"),
    ] {
        hits.with([method, path]).inc();
    }
    registry.gauge("depth", "Depth.").unwrap();
    registry
        .add_collector("disks", |out: &mut Collected| {
            for disk in ["a", "b"] {
                out.gauge("disk_bytes", "Used.", &[("disk", disk)], 1.0)?;
            }
            Ok(())
        })
        .unwrap();
    registry
}

const JSON: &str = concat!(
    r#"[{"family":"hits_total","series":4,"limit":4,"refused":1,"labels":["#,
    r#"{"label":"method","distinct":2,"largest":[["get",3],["put",1]]},"#,
    r#"{"label":"path","distinct":3,"largest":[["/a",2],["/",1],["/\u003cb\u003e",1]]}]},"#,
    r#"{"family":"disk_bytes","series":2,"limit":null,"refused":0,"labels":["#,
    r#"{"label":"disk","distinct":2,"largest":[["a",1],["b",1]]}]},"#,
    r#"{"family":"depth","series":1,"limit":null,"refused":0,"labels":[]}]"#
);

const TEXT: &str = "\
hits_total: 4 series of at most 4, 1 updates refused
  method: 2 (get 3, put 1)
  path: 3 (/a 2, / 1, /<b> 1)
disk_bytes: 2 series
  disk: 2 (a 1, b 1)
depth: 1 series
";

#[test]
fn the_report_says_which_labels_make_the_series() {
    let report = registry().cardinality();
    assert_eq!(report.to_json(), JSON);
    assert_eq!(report.to_string(), TEXT);
}

#[test]
fn the_report_of_a_snapshot_has_no_limits() {
    let report = tallies::snapshot::Cardinality::of(&registry().snapshot());
    let hits = &report.families()[0];
    // With the overflow series.
    assert_eq!((hits.series, hits.limit, hits.refused), (5, None, 0));
}

#[test]
fn an_update_is_refused_once_whatever_refuses_it() {
    let registry = Registry::new();
    for view in [
        View::new("only_total").cap("path", 1),
        View::new("two_total").cap("path", 1).cap("user", 1),
        View::new("limited_total").cap("path", 1).limit(1),
    ] {
        registry.add_view(view).unwrap();
    }
    let declare = |name, labels: [&'static str; 2]| {
        let counter = Counter::builder(name, "Help.").labels(labels);
        counter.register(&registry).unwrap()
    };
    // A cap of the only label uses the overflow series, as the limit does.
    let only = Counter::builder("only_total", "Help.").labels(["path"]);
    let only = only.register(&registry).unwrap();
    let two = declare("two_total", ["path", "user"]);
    let limited = declare("limited_total", ["path", "user"]);
    for (path, user) in [("/a", "x"), ("/b", "x"), ("/b", "y"), ("/c", "z")] {
        only.with([path]).inc();
        two.with([path, user]).inc();
        limited.with([path, user]).inc();
    }
    let report = registry.cardinality();
    for family in report.families() {
        assert_eq!(family.refused, 3, "{}", family.name);
    }
}

#[test]
fn a_server_has_the_report_behind_its_authentication() {
    let other = Registry::new();
    other.gauge("other", "Other.").unwrap();
    let serving = Server::new()
        .registry(&registry())
        .registry(&other)
        .bearer_token("secret")
        .listen("127.0.0.1:0")
        .unwrap();
    const TOKEN: &str = "Authorization: Bearer secret";
    const ACCEPT: &str = "Accept: application/json";
    let report =
        |query: &str, headers: &[&str]| get(&serving, &format!("/-/cardinality{query}"), headers);
    let refused = report("", &[]);
    assert_eq!(refused.status(), 401);
    assert!(!refused.text().contains("hits_total"));
    let text = report("", &[TOKEN]);
    assert_eq!(
        (text.status(), text.header("cache-control")),
        (200, Some("no-store"))
    );
    assert_eq!(text.text(), format!("{TEXT}other: 1 series\n"));
    let own = JSON.trim_end_matches(']').to_owned();
    for answer in [
        report("?format=json", &[TOKEN]),
        report("", &[TOKEN, ACCEPT]),
    ] {
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.text().starts_with(&own), "{}", answer.text());
        assert!(answer.text().contains(r#"{"family":"other","series":1"#));
    }
    let plain = report("?format=text", &[TOKEN, ACCEPT]);
    assert_eq!(plain.text(), text.text());
    let head = ask(&serving, "HEAD", "/-/cardinality", &[TOKEN]);
    assert_eq!((head.status(), head.text()), (200, ""));
    assert_eq!(head.header("content-length"), None, "none is made");
    let post = ask(&serving, "POST", "/-/cardinality", &[TOKEN]);
    assert_eq!(post.status(), 405);
    serving.stop();
}

#[tokio::test]
async fn a_service_in_a_framework_has_the_report_where_it_is_routed() {
    use http_body_util::BodyExt;
    use tallies_http::PageService;
    use tower::ServiceExt;

    let service = tallies::serve::MetricsService::of([&registry()]);
    let app: axum::Router = axum::Router::new()
        .route_service("/metrics", PageService(service.clone()))
        .route_service("/admin/-/cardinality", PageService(service));
    let request = |target: &str| {
        http::Request::get(target)
            .body(axum::body::Body::empty())
            .unwrap()
    };
    let answer = app
        .clone()
        .oneshot(request("/admin/-/cardinality?format=json"))
        .await
        .unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, JSON);
    let answer = app.oneshot(request("/metrics")).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"# HELP"));
}
