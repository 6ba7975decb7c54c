//! A real Prometheus scrapes the example service every second while a client counts its own
//! requests. The metrics service is stopped and started once. Afterwards PromQL has to return what
//! the client counted. Another Prometheus scrapes the example client, on a route of its own web
//! framework. Histograms, exemplars and UTF-8 names are tested in `histograms`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

mod histograms;
#[path = "../support/mod.rs"]
mod support;

use support::servers::{Release, with_each_release};
use support::{Running, eventually, examples, free_port, http};

with_each_release!(
    prometheus_answers_what_the_client_counted,
    prometheus_answers_what_the_shop_called,
    prometheus_stores_names_as_they_are_without_openmetrics,
);

const REQUESTS: u32 = 12_000;
const CLIENTS: u32 = 4;

/// Starts an example and returns what it prints after each of these prefixes.
fn start<const N: usize>(name: &str, args: &[&str], says: [&str; N]) -> (Running, [String; N]) {
    let mut child = Command::new(examples::build(&[name]).join(name))
        .args(args)
        .arg("--no-traffic")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = says.map(|before| {
        let line = lines.next().unwrap().unwrap();
        line.strip_prefix(before)
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned()
    });
    // Drains the output, so that the process does not block on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), said)
}

/// Starts a Prometheus that scrapes `metrics` and stores its data in `dir`. Returns its address as
/// well.
fn prometheus(release: Release, dir: &Path, metrics: &str) -> (Running, String) {
    prometheus_with(release, dir, metrics, &[], "")
}

/// Like `prometheus`, with further arguments and a further line in the `global` section of its
/// configuration.
fn prometheus_with(
    release: Release,
    dir: &Path,
    metrics: &str,
    args: &[&str],
    global: &str,
) -> (Running, String) {
    let target = metrics
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix("/metrics")
        .unwrap();
    let config = include_str!("../../examples/prometheus.yml")
        .replace("127.0.0.1:9464", target)
        .replace("global:\n", &format!("global:\n{global}"));
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let child = release
        .command("prometheus")
        .arg(format!(
            "--config.file={}",
            dir.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .args(args)
        .stderr(std::fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .expect("prometheus: tests/run.sh installs it");
    (Running(child), format!("http://{address}"))
}

/// Returns the status and the body of an answer.
fn request(method: &str, url: &str, body: &[u8]) -> (u16, String) {
    let (address, path) = url["http://".len()..].split_once('/').unwrap();
    let length = format!("Content-Length: {}", body.len());
    let head = http::request(method, &format!("/{path}"), &[&length]);
    let answer = http::send(address, &[&head, body].concat());
    (answer.status(), answer.text().to_owned())
}

fn ready(prometheus: &str, dir: &Path) {
    let address = &prometheus["http://".len()..];
    eventually(
        &format!("Prometheus is ready; see {}", dir.display()),
        || http::try_get(address, "/-/ready").is_ok_and(|answer| answer.status() == 200),
    );
}

/// Returns the single value of an instant query.
fn query(prometheus: &str, query: &str) -> Option<f64> {
    let encoded: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
    let url = format!("{prometheus}/api/v1/query?query={encoded}");
    let (status, body) = request("GET", &url, &[]);
    assert_eq!(status, 200, "{query}: {body}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let result = body["data"]["result"].as_array().unwrap();
    assert!(result.len() <= 1, "{query}: {body}");
    Some(result.first()?["value"][1].as_str()?.parse().unwrap())
}

/// Waits until a query returns `expected`, since the last scrape may not have happened yet. A wrong
/// value stays wrong and fails.
fn expect(prometheus: &str, promql: &str, expected: f64) {
    eventually(
        &format!("{promql} is {expected}, as the client counted"),
        || {
            let answer = query(prometheus, promql);
            let is_it = answer.is_some_and(|x| (x - expected).abs() <= 1e-9 * expected.abs());
            is_it.then_some(()).ok_or(format!("{answer:?}"))
        },
    );
    println!("{promql} = {expected}");
}

/// The counts of one client.
#[derive(Default)]
struct Counted {
    home: f64,
    users: f64,
    no_user: f64,
    created: f64,
    refused: f64,
    sizes: Vec<usize>,
}

fn client(app: &str, me: u32) -> Counted {
    let mut counted = Counted::default();
    for i in (me..REQUESTS).step_by(CLIENTS as usize) {
        let (method, path, body) = match i % 6 {
            0 | 1 => ("GET", String::new(), Vec::new()),
            2 => ("GET", format!("users/{}", i % 1000), Vec::new()),
            3 => ("GET", format!("users/{}", 5000 + i), Vec::new()),
            4 => (
                "POST",
                "upload".to_owned(),
                vec![b'x'; (i as usize * 7919) % 20_000 + 1],
            ),
            _ => ("POST", "upload".to_owned(), Vec::new()),
        };
        let size = body.len();
        let (status, _) = request(method, &format!("{app}{path}"), &body);
        match (i % 6, status) {
            (0 | 1, 200) => counted.home += 1.0,
            (2, 200) => counted.users += 1.0,
            (3, 404) => counted.no_user += 1.0,
            (4, 201) => {
                counted.created += 1.0;
                counted.sizes.push(size);
            }
            (5, 400) => counted.refused += 1.0,
            other => panic!("{method} {path}: {other:?}"),
        }
        // The pace of the load: some seconds, so that scrapes happen in between.
        if i % 40 == 0 {
            std::thread::sleep(Duration::from_millis(40));
        }
    }
    counted
}

/// `histogram_quantile` by its documentation: linear interpolation within the bucket.
fn quantile(sizes: &[usize], q: f64) -> f64 {
    let bounds = [64.0, 256.0, 1024.0, 4096.0, 16_384.0];
    let rank = q * sizes.len() as f64;
    let mut low = (0.0, 0.0);
    for bound in bounds {
        let count = sizes.iter().filter(|size| **size as f64 <= bound).count() as f64;
        if count >= rank {
            return low.0 + (bound - low.0) * (rank - low.1) / (count - low.1);
        }
        low = (bound, count);
    }
    bounds[4]
}

fn prometheus_answers_what_the_client_counted(release: Release) {
    let dir = std::env::temp_dir().join(format!(
        "tallies-prometheus-{release:?}-{}",
        std::process::id()
    ));
    std::fs::create_dir_all(&dir).unwrap();
    let (service, [app, metrics]) = start(
        "service",
        &["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"],
        ["Serving the application on ", "Serving metrics on "],
    );
    let (_prometheus, prometheus) = prometheus(release, &dir, &metrics);
    ready(&prometheus, &dir);
    let mut all = Counted::default();
    std::thread::scope(|scope| {
        let app = &*app;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|me| scope.spawn(move || client(app, me)))
            .collect();
        // The metrics service is restarted in the middle.
        eventually("a scrape", || {
            query(&prometheus, "sum(http_requests_total)") > Some(0.0)
        });
        let hangup = Command::new("kill")
            .args(["-HUP", &service.0.id().to_string()])
            .status();
        assert!(hangup.unwrap().success());
        for client in clients {
            let counted = client.join().unwrap();
            all.home += counted.home;
            all.users += counted.users;
            all.no_user += counted.no_user;
            all.created += counted.created;
            all.refused += counted.refused;
            all.sizes.extend(counted.sizes);
        }
    });
    assert_eq!(
        f64::from(REQUESTS),
        all.home + all.users + all.no_user + all.created + all.refused
    );
    let sum: usize = all.sizes.iter().sum();
    let uploads = all.created + all.refused;
    for (promql, expected) in [
        ("sum(http_requests_total)", f64::from(REQUESTS)),
        (
            r#"http_requests_total{method="GET",route="/",status="200"}"#,
            all.home,
        ),
        (
            r#"http_requests_total{route="/users/{id}",status="200"}"#,
            all.users,
        ),
        (
            r#"http_requests_total{route="/users/{id}",status="404"}"#,
            all.no_user,
        ),
        (
            r#"http_requests_total{method="POST",route="/upload",status="201"}"#,
            all.created,
        ),
        (
            r#"http_requests_total{route="/upload",status="400"}"#,
            all.refused,
        ),
        (
            r#"http_request_duration_seconds_count{route="/"}"#,
            all.home,
        ),
        (
            r#"sum(http_request_duration_seconds_count{route="/users/{id}"})"#,
            all.users + all.no_user,
        ),
        (
            r#"sum(http_request_duration_seconds_bucket{route="/upload",le="+Inf"})"#,
            uploads,
        ),
        ("sum(http_requests_in_flight)", 0.0),
        (
            r#"http_request_size_bytes_sum{route="/upload"}"#,
            sum as f64,
        ),
        ("file_uploads_total", all.created),
        ("file_upload_size_bytes_count", all.created),
        ("file_upload_size_bytes_sum", sum as f64),
        (
            "histogram_quantile(0.2, file_upload_size_bytes_bucket)",
            quantile(&all.sizes, 0.2),
        ),
        (
            "histogram_quantile(0.5, file_upload_size_bytes_bucket)",
            quantile(&all.sizes, 0.5),
        ),
        (r#"service_build_info{version="0.1.0"}"#, 1.0),
    ] {
        expect(&prometheus, promql, expected);
    }
    // Scrapes went on all the time, and the restart made at most one of them fail.
    let scrapes = query(&prometheus, "count_over_time(up[10m])").unwrap();
    let failed = scrapes - query(&prometheus, "sum_over_time(up[10m])").unwrap();
    println!("{scrapes} scrapes, {failed} of them failed");
    assert!(
        scrapes >= 3.0 && failed <= 2.0,
        "{scrapes} scrapes, {failed} failed"
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

/// As in aioli's guide: an application that calls another one exposes counts of its calls.
fn prometheus_answers_what_the_shop_called(release: Release) {
    let dir =
        std::env::temp_dir().join(format!("tallies-client-{release:?}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (_shop, [_users, shop, metrics]) = start(
        "client",
        &["--listen", "127.0.0.1:0", "--users", "127.0.0.1:0"],
        [
            "Serving users on ",
            "Serving the shop on ",
            "Serving metrics on ",
        ],
    );
    let (_prometheus, prometheus) = prometheus(release, &dir, &metrics);
    ready(&prometheus, &dir);
    let greet = shop.strip_suffix("/1").unwrap();
    // One user in a hundred times out, and so on: see the example.
    for id in 0..400 {
        let (status, _) = request("GET", &format!("{greet}/{id}"), &[]);
        let expected = match id % 100 {
            97 => 504,
            98 => 502,
            99 => 404,
            _ => 200,
        };
        assert_eq!(status, expected, "user {id}");
    }
    let call = |status| {
        format!(
            r#"shop_http_requests_total{{client_name="users",method="GET",path="/users/{{id}}",status_code="{status}"}}"#
        )
    };
    for (promql, expected) in [
        (call("200"), 388.0),
        (call("timeout"), 4.0),
        (call("503"), 4.0),
        (call("404"), 4.0),
        ("sum(shop_http_requests_total)".into(), 400.0),
        ("sum(shop_request_latency_seconds_count)".into(), 400.0),
        (
            r#"shop_request_latency_seconds_bucket{status_code="timeout",le="0.4"}"#.into(),
            0.0,
        ),
        (
            r#"shop_request_latency_seconds_bucket{status_code="timeout",le="+Inf"}"#.into(),
            4.0,
        ),
        ("sum(shop_http_requests_in_flight)".into(), 0.0),
        (r#"shop_info{version="0.1.0"}"#.into(), 1.0),
        ("shop_greetings_total".into(), 388.0),
        (
            r#"http_requests_total{route="/greet/{id}",status="504"}"#.into(),
            4.0,
        ),
        (
            r#"sum(http_requests_total{route="/metrics"}) or vector(0)"#.into(),
            0.0,
        ),
    ] {
        expect(&prometheus, &promql, expected);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Prometheus asks for OpenMetrics, where the samples of a counter end in `_total`. So dashboards
/// of a program that served text only asked in vain for `events`.
fn prometheus_stores_names_as_they_are_without_openmetrics(release: Release) {
    let dir =
        std::env::temp_dir().join(format!("tallies-names-{release:?}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let registry = tallies::Registry::new();
    registry.set_lint(false);
    registry.counter("events", "Events.").unwrap().add(3);
    let http = tallies_http::ServerMetrics::aioprometheus()
        .register(&registry)
        .unwrap();
    let server = tallies::serve::Server::new()
        .registry(&registry)
        .open_metrics(false);
    let serving = server.listen("127.0.0.1:0").unwrap();
    let (_prometheus, prometheus) = prometheus(release, &dir, &serving.metrics_url());
    ready(&prometheus, &dir);
    expect(&prometheus, "events", 3.0);
    let other = r#"count({__name__=~"events_total|.*_counter_total"}) or vector(0)"#;
    expect(&prometheus, other, 0.0);
    drop(http);
    serving.stop();
    std::fs::remove_dir_all(&dir).unwrap();
}
