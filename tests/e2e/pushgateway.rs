//! The example and the library push to a real Pushgateway, whose API then returns what it received.
//! A real VictoriaMetrics receives the same on its import path.

#[path = "../support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use support::servers::{Release, with_each_release};
use support::{Running, eventually, examples, free_port, http};
use tallies::{Counter, Registry, Summary, push::Pusher};

with_each_release!(
    the_example_puts_posts_and_deletes,
    any_label_value_comes_out_as_it_went_in,
    every_kind_arrives,
    a_prefix_tls_and_a_password,
    in_the_background_over_a_restart,
    victoriametrics_takes_the_labels_as_well,
);

/// Starts a program and waits until it listens.
fn start(release: Release, program: &str, port: u16, arguments: &[String]) -> Running {
    let running = Running(
        release
            .command(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}; tests/run.sh installs it")),
    );
    eventually(program, || TcpStream::connect(("127.0.0.1", port)));
    running
}

/// Starts a Pushgateway without persistence on the given port.
fn pushgateway(release: Release, port: u16, more: &[&str]) -> Running {
    let mut arguments = vec![
        "--persistence.file=".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    start(release, "prometheus-pushgateway", port, &arguments)
}

/// Sends a request and returns status and body.
fn ask(port: u16, method: &str, target: &str, body: &str) -> (u16, String) {
    let head = http::request(
        method,
        target,
        &[&format!("Content-Length: {}", body.len())],
    );
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let answer = http::send(to, &[&head, body.as_bytes()].concat());
    (answer.status(), answer.text().to_owned())
}

/// Returns the gateway's groups, each family with its type and metrics.
fn groups(port: u16) -> Vec<Value> {
    let (status, body) = ask(port, "GET", "/api/v1/metrics", "");
    assert_eq!(status, 200, "{body}");
    let mut body: Value = serde_json::from_str(&body).unwrap();
    body["data"].as_array_mut().unwrap().drain(..).collect()
}

/// Returns the group with exactly these labels.
fn group(port: u16, labels: &Value) -> Option<Value> {
    groups(port)
        .into_iter()
        .find(|group| group["labels"] == *labels)
}

/// Waits until a group is gone, since the gateway only queues deletions.
fn gone(port: u16, labels: &Value) {
    eventually("the group is gone", || group(port, labels).is_none());
}

/// Returns the value of a family with one metric.
fn value(group: &Value, name: &str) -> Option<f64> {
    let metrics = group[name]["metrics"].as_array()?;
    assert_eq!(metrics.len(), 1, "{group}");
    metrics[0]["value"].as_str()?.parse().ok()
}

fn example() -> &'static PathBuf {
    static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLE.get_or_init(|| examples::build(&["push"]).join("push"))
}

fn run(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(example());
    command.args(["--url", url]).args(arguments);
    println!("push {}", arguments.join(" "));
    command.output().unwrap()
}

fn pushes(url: &str, arguments: &[&str]) {
    let output = run(url, arguments);
    assert!(output.status.success(), "{output:?}");
}

/// Returns the error output of a push that fails.
fn fails(url: &str, arguments: &[&str]) -> String {
    let output = run(url, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    println!("{}", said.trim());
    said
}

fn the_example_puts_posts_and_deletes(release: Release) {
    let port = free_port();
    let _running = pushgateway(release, port, &[]);
    let url = format!("http://127.0.0.1:{port}");
    let of = |labels: &Value| group(port, labels);

    // One group with a label value for each rule of escaping.
    #[rustfmt::skip]
    let grouping = [
        "--job", "nightly backup+1/2", "--grouping", "instance=db1:80", "--grouping", "path=/var/tmp",
        "--grouping", "empty=", "--grouping", "blank= + ", "--grouping", "dot=.", "--grouping", "dots=..",
        "--grouping", "wild=%2F?a=b&c#d;\"\\@base64", "--grouping", "name=Προμηθεύς",
    ];
    let labels = json!({
        "job": "nightly backup+1/2", "instance": "db1:80", "path": "/var/tmp", "empty": "", "blank": " + ",
        "dot": ".", "dots": "..", "wild": "%2F?a=b&c#d;\"\\@base64", "name": "Προμηθεύς",
    });
    let with = |method, gauges: &[&'static str]| {
        let all = [&["--method", method][..], &grouping, gauges].concat();
        pushes(&url, &all);
    };
    with("put", &["duration_seconds=63.5", "size_bytes=1048576"]);
    let put = of(&labels).expect("the group");
    assert_eq!(value(&put, "duration_seconds"), Some(63.5));
    assert_eq!(value(&put, "size_bytes"), Some(1_048_576.0));
    assert_eq!(put["duration_seconds"]["type"], "GAUGE");
    // POST leaves other families as they are.
    with("post", &["duration_seconds=-1e-9", "more=NaN"]);
    let post = of(&labels).unwrap();
    assert_eq!(value(&post, "duration_seconds"), Some(-1e-9));
    assert_eq!(value(&post, "size_bytes"), Some(1_048_576.0));
    assert!(value(&post, "more").unwrap().is_nan());
    // PUT does not.
    with("put", &["more=3", "--gzip"]);
    let put = of(&labels).unwrap();
    assert_eq!(value(&put, "more"), Some(3.0));
    assert_eq!(put.get("duration_seconds"), None);
    // DELETE removes this group only, not the one with fewer labels.
    pushes(&url, &["--job", "nightly backup+1/2", "more=4"]);
    with("delete", &[]);
    gone(port, &labels);
    let smaller = of(&json!({"job": "nightly backup+1/2"})).unwrap();
    assert_eq!(value(&smaller, "more"), Some(4.0));
    // Deleting a missing group is no error.
    with("delete", &[]);

    // The gateway's own error message.
    let said = fails(&format!("{url}/nowhere"), &["--job", "j", "x=1"]);
    assert!(
        said.contains("/nowhere/metrics/job/j: 404 Not Found: 404 page not found"),
        "{said}"
    );
    let (status, _) = ask(
        port,
        "PUT",
        "/metrics/job/other",
        "# TYPE taken counter\ntaken 1\n",
    );
    assert_eq!(status, 200);
    let said = fails(&url, &["--job", "j", "taken=1"]);
    assert!(
        said.contains(
            "/metrics/job/j: 400 Bad Request: pushed metrics are invalid or inconsistent"
        ),
        "{said}"
    );
    let said = fails(
        &format!("http://127.0.0.1:{}", free_port()),
        &["--job", "j", "x=1"],
    );
    assert!(said.contains("Connection refused"), "{said}");
}

fn any_label_value_comes_out_as_it_went_in(release: Release) {
    let port = free_port();
    let _running = pushgateway(release, port, &[]);
    let url = format!("http://127.0.0.1:{port}");
    let registry = Registry::new();
    registry.gauge("x", "X.").unwrap().set(1.0);
    let value = "(?s).{0,8}|\\.{1,3}|[/+ =%?#&;@:\\\\\"']{0,4}";
    let labels = (
        "(?s).{1,8}|\\.{1,3}|[/+ =%?#&;@:\\\\\"']{1,4}",
        proptest::collection::btree_map("[a-z]{1,2}", value, 0..4),
    );
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        cases: 300,
        ..ProptestConfig::default()
    });
    let law = runner.run(&labels, |(job, mut labels)| {
        labels.remove("le");
        let mut pusher = Pusher::new(&url, &job).registry(&registry);
        for (name, value) in &labels {
            pusher = pusher.grouping(name, value);
        }
        pusher
            .replace()
            .map_err(|e| TestCaseError::fail(e.to_string()))?;
        let mut expected = json!(labels);
        expected["job"] = json!(job);
        let all = groups(port);
        prop_assert_eq!(all.len(), 1, "{:?}", all);
        prop_assert_eq!(&all[0]["labels"], &expected);
        pusher
            .delete()
            .map_err(|e| TestCaseError::fail(e.to_string()))?;
        gone(port, &expected);
        Ok(())
    });
    law.unwrap();
}

fn every_kind_arrives(release: Release) {
    let port = free_port();
    let _running = pushgateway(release, port, &[]);
    let registry = Registry::new();
    let requests = Counter::builder("requests_total", "Requests.")
        .labels(["path"])
        .register(&registry)
        .unwrap();
    requests.with(["a\"b\\\n"]).add(3);
    let latency = registry.histogram("latency_seconds", "Latency.").unwrap();
    let sizes = Summary::builder("size_bytes", "Sizes.")
        .register(&registry)
        .unwrap();
    for i in 1..=100 {
        latency.observe(f64::from(i) / 1000.0);
        sizes.observe(f64::from(i));
    }
    let pusher = Pusher::new(&format!("http://127.0.0.1:{port}"), "kinds").registry(&registry);
    pusher.replace().unwrap();
    let group = group(port, &json!({"job": "kinds"})).unwrap();
    let metric = |name: &str| &group[name]["metrics"][0];
    assert_eq!(metric("requests_total")["labels"]["path"], "a\"b\\\n");
    assert_eq!(metric("requests_total")["value"], "3");
    assert_eq!(metric("latency_seconds")["count"], "100");
    assert_eq!(metric("latency_seconds")["buckets"]["0.05"], "50");
    assert_eq!(metric("latency_seconds")["buckets"]["+Inf"], "100");
    assert_eq!(metric("size_bytes")["count"], "100");
    assert_eq!(metric("size_bytes")["sum"], "5050");
    assert!(
        metric("size_bytes")["quantiles"]["0.99"].is_string(),
        "{group}"
    );
    // The default registry, with self-metrics.
    let url = format!("http://127.0.0.1:{port}");
    Pusher::new(&url, "default").replace().unwrap();
    let default = self::group(port, &json!({"job": "default"})).unwrap();
    assert!(value(&default, "tallies_shards").is_some(), "{default}");
    // The gateway overwrites a series' label that is also a group's label. This is why such a push
    // is rejected.
    let page = "# TYPE x gauge\nx{job=\"mine\"} 1\n";
    assert_eq!(ask(port, "PUT", "/metrics/job/theirs", page).0, 200);
    let theirs = self::group(port, &json!({"job": "theirs"})).unwrap();
    assert_eq!(theirs["x"]["metrics"][0]["labels"]["job"], "theirs");
    // The gateway rejects timestamps, so the pages above had none.
    let (status, said) = ask(port, "PUT", "/metrics/job/theirs", "x 1 1700000000000\n");
    assert!(status == 400 && said.contains("timestamp"), "{said}");
}

fn a_prefix_tls_and_a_password(release: Release) {
    let dir = std::env::temp_dir().join(format!(
        "tallies-pushgateway-{release:?}-{}",
        std::process::id()
    ));
    std::fs::create_dir_all(&dir).unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = file("cert.pem", &signed.cert.pem());
    let key = file("key.pem", &signed.signing_key.serialize_pem());
    // bcrypt of `test`, cost 4.
    let hash = "$2b$04$abcdefghijklmnopqrstuuoD8yw7MmybLKVooaTGGZAt3HXugv2.a";
    let config = file(
        "web.yml",
        &format!(
            "tls_server_config:\n  cert_file: {certificate}\n  key_file: {key}\nbasic_auth_users:\n  me: {hash}\n"
        ),
    );
    let port = free_port();
    let _running = pushgateway(
        release,
        port,
        &[
            &format!("--web.config.file={config}"),
            "--web.route-prefix=/push/gate",
        ],
    );
    let url = format!("https://127.0.0.1:{port}/push/gate/");
    let base = ["--job", "j", "x=1"];
    let said = fails(&url, &base);
    assert!(said.contains("certificate"), "{said}");
    let trusting = [&base[..], &["--ca", &certificate]].concat();
    let said = fails(&url, &trusting);
    assert!(said.contains("401 Unauthorized"), "{said}");
    let said = fails(
        &url,
        &[&trusting[..], &["--basic-auth", "me:guess"]].concat(),
    );
    assert!(
        said.contains("401 Unauthorized") && !said.contains("guess"),
        "{said}"
    );
    pushes(
        &url,
        &[&trusting[..], &["--basic-auth", "me:test"]].concat(),
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

fn in_the_background_over_a_restart(release: Release) {
    let port = free_port();
    let running = pushgateway(release, port, &[]);
    let registry = Registry::new();
    let gauge = registry.gauge("x", "X.").unwrap();
    gauge.set(1.0);
    let pushing = Pusher::new(&format!("http://127.0.0.1:{port}"), "worker")
        .registry(&registry)
        .start(Duration::from_millis(50))
        .unwrap();
    let arrives = |expected| {
        eventually(&format!("x is {expected}"), || {
            let group = group(port, &json!({"job": "worker"}));
            group.and_then(|group| value(&group, "x")) == Some(expected)
        });
    };
    arrives(1.0);
    drop(running);
    gauge.set(2.0);
    let failures = || tallies::snapshot().get("tallies_push_failures_total", &[]);
    eventually("a failure", || failures() > Some(0.0));
    let _running = pushgateway(release, port, &[]);
    arrives(2.0);
    gauge.set(3.0);
    pushing.stop().unwrap();
    let group = group(port, &json!({"job": "worker"})).unwrap();
    assert_eq!(value(&group, "x"), Some(3.0));
}

fn victoriametrics_takes_the_labels_as_well(release: Release) {
    let dir = std::env::temp_dir().join(format!(
        "tallies-victoria-{release:?}-{}",
        std::process::id()
    ));
    let port = free_port();
    let _running = start(
        release,
        "victoria-metrics",
        port,
        &[
            format!("-storageDataPath={}", dir.display()),
            format!("-httpListenAddr=127.0.0.1:{port}"),
        ],
    );
    let url = format!("http://127.0.0.1:{port}");
    let odd = "instance= /&=+%?#ü\"\\";
    #[rustfmt::skip]
    pushes(&url, &[
        "--path", "/api/v1/import/prometheus", "--gzip", "--job", "my job", "--grouping", odd, "vm_pushed=21.5",
    ]);
    let line = eventually("the pushed sample", || {
        // VictoriaMetrics returns new samples only after a flush.
        ask(port, "GET", "/internal/force_flush", "");
        let (status, body) = ask(port, "GET", "/api/v1/export?match=vm_pushed", "");
        assert_eq!(status, 200, "{body}");
        (!body.is_empty()).then_some(body)
    });
    let found: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(found["values"], json!([21.5]));
    let labels =
        json!({"__name__": "vm_pushed", "job": "my job", "instance": &odd["instance=".len()..]});
    assert_eq!(found["metric"], labels);
    #[rustfmt::skip]
    let said = fails(&url, &[
        "--method", "put", "--path", "/api/v1/import/prometheus", "--job", "j", "x=1",
    ]);
    assert!(said.contains("it takes --method post"), "{said}");
    std::fs::remove_dir_all(&dir).unwrap();
}
