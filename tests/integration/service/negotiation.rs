//! Content negotiation: clients select a format, a coding, and families. Both through the service
//! and through that for web frameworks.

use std::future::Future;
use std::io::Read;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::support::http::{ask, get};
use tallies::{
    Counter, Gauge, Histogram, Registry,
    serve::{MetricsService, Server, Serving},
};

fn registry() -> Registry {
    let registry = Registry::new();
    registry.counter("jobs_total", "Jobs.").unwrap().add(7);
    registry.gauge("queue", "Jobs waiting.").unwrap().set(2.0);
    let latency = registry.histogram("latency_seconds", "Time.").unwrap();
    latency.observe(0.3);
    registry
}

fn serving(registry: &Registry) -> Serving {
    Server::new()
        .registry(registry)
        .listen("127.0.0.1:0")
        .unwrap()
}

pub(crate) fn gunzipped(bytes: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut read)
        .unwrap();
    read
}

#[test]
fn codings_are_those_that_were_asked_for() {
    let registry = registry();
    let serving = serving(&registry);
    let plain = get(&serving, "/metrics", &[]);
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("Accept, Accept-Encoding"));
    for (accepted, coding) in [
        ("gzip", Some("gzip")),
        ("zstd", Some("zstd")),
        ("gzip;q=0.5, zstd;q=0.4", Some("gzip")),
        ("gzip;q=0", None),
        ("identity", None),
        ("identity;q=0", None),
        ("br", None),
        ("\u{7f}=;,", None),
    ] {
        for method in ["GET", "HEAD"] {
            let header = format!("Accept-Encoding: {accepted}");
            let answer = ask(&serving, method, "/metrics", &[&header]);
            if accepted.starts_with('\u{7f}') {
                // Hyper rejects control characters in headers; any response will do.
                assert!([200, 400].contains(&answer.status()), "{}", answer.head);
                continue;
            }
            assert_eq!(answer.status(), 200, "{accepted}");
            assert_eq!(answer.header("content-encoding"), coding, "{accepted}");
            assert_eq!(answer.header("vary"), Some("Accept, Accept-Encoding"));
            let length: usize = answer.header("content-length").unwrap().parse().unwrap();
            if method == "HEAD" {
                assert!(answer.body.is_empty() && length > 0);
                continue;
            }
            assert_eq!(length, answer.body.len(), "of what was sent: {accepted}");
            let read = match coding {
                Some("gzip") => gunzipped(&answer.body),
                Some("zstd") => zstd::decode_all(&answer.body[..]).unwrap(),
                _ => answer.body,
            };
            assert_eq!(read, plain.body, "{accepted}");
        }
    }
    serving.stop();
}

#[test]
fn any_accept_header_gets_a_page() {
    let registry = registry();
    let serving = serving(&registry);
    let text = "text/plain; version=0.0.4; charset=utf-8";
    for accept in [
        "Accept: */*",
        "Accept: ",
        "Accept: text/html;q=bad,;;,\"",
        "Accept: text/plain;version=0.0.4;q=0.3",
        "Accept: application/json",
        "Accept: \u{e4}\u{f6}\u{fc}",
    ] {
        let answer = get(&serving, "/metrics", &[accept]);
        assert_eq!(answer.status(), 200, "{accept}");
        assert_eq!(answer.header("content-type"), Some(text), "{accept}");
    }
    let twice = [
        "Accept: application/json",
        "Accept: text/plain;escaping=dots",
    ];
    assert_eq!(
        get(&serving, "/metrics", &twice).header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8; escaping=dots"),
        "several headers are one"
    );
    serving.stop();
}

/// A query names samples as any page shows them, whatever the format of the response.
#[test]
fn a_query_names_samples() {
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().inc();
    registry.counter("calls", "").unwrap().inc();
    registry.info("build_info", "", &[]).unwrap();
    Counter::builder("http.requests_total", "")
        .utf8()
        .register(&registry)
        .unwrap();
    let serving = serving(&registry);
    for (name, family) in [
        ("jobs_created", "jobs_total"),
        ("jobs_total_created", ""),
        ("jobs_total_total", ""),
        ("calls", "calls"),
        ("calls_total", "calls"),
        ("build", "build_info"),
        ("build_info", "build_info"),
        ("http_requests_total", "http_requests_total"),
        ("http_requests", "http_requests_total"),
        ("http_requests_created", "http_requests_total"),
        ("http.requests_total", "http_requests_total"),
    ] {
        let answer = get(&serving, &format!("/metrics?name[]={name}"), &[]);
        let read = crate::support::exposition::read(answer.text()).unwrap();
        let names: Vec<_> = read.iter().map(|family| &*family.name).collect();
        assert_eq!(names.join(" "), family, "{name}");
    }
    serving.stop();
}

/// Each family by its plain name, as pages show it under each escaping, and by the escaped names of
/// its samples, for every format and escaping of the response. Through the service and through the
/// `tower_service::Service`.
#[test]
fn a_query_names_samples_under_every_escaping() {
    let registry = Registry::new();
    Gauge::builder("http.open", "")
        .utf8()
        .register(&registry)
        .unwrap();
    Counter::builder("http.requests_total", "")
        .utf8()
        .register(&registry)
        .unwrap();
    Histogram::builder("http.wait_seconds", "")
        .utf8()
        .register(&registry)
        .unwrap();
    registry.gauge("pool_size", "").unwrap();
    // Never selected.
    Gauge::builder("httpxopen", "")
        .utf8()
        .register(&registry)
        .unwrap();
    registry.counter("http_dot", "").unwrap();
    registry.gauge("U__http", "").unwrap();
    let families: [(&str, &[&str]); 4] = [
        (
            "http.open",
            &["http_open", "http_dot_open", "U__http_2e_open"],
        ),
        (
            "http.requests_total",
            &[
                "http.requests",
                "http.requests_created",
                "http_requests_total",
                "http_requests",
                "http_requests_created",
                "http_dot_requests__total",
                "http_dot_requests",
                "http_dot_requests_", // the family, as OpenMetrics shows it
                "http_dot_requests__created",
                "U__http_2e_requests__total",
                "U__http_2e_requests",
                "U__http_2e_requests_",
                "U__http_2e_requests__created",
            ],
        ),
        (
            "http.wait_seconds",
            &[
                "http.wait_seconds_bucket",
                "http_wait_seconds",
                "http_wait_seconds_sum",
                "http_dot_wait__seconds",
                "http_dot_wait__seconds_bucket", // as a page shows it
                "http_dot_wait__seconds__bucket",
                "U__http_2e_wait__seconds",
                "U__http_2e_wait__seconds_count",
                "U__http_2e_wait__seconds__count",
            ],
        ),
        ("pool_size", &["pool__size"]),
    ];
    let wrong = [
        "http",
        "http.",
        "http_",
        "http_dot_",
        "U__",
        "U__http_2e_",
        "http__open",
        "http_2e_open",
        "http_open_",
        "http_dot_open_",
        "U__http_2e_open_total",
        "http_dot_wait_seconds",
        "http_dot_wait__seconds_total",
        "http_dot_wait__seconds___sum",
        "U__pool__size",
        "pool___size",
    ];
    let mut accepts = Vec::new();
    for format in [
        "text/plain;version=0.0.4",
        "text/plain;version=1.0.0",
        "application/openmetrics-text;version=1.0.0",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ] {
        accepts.push(format.to_owned());
        for escaping in ["allow-utf-8", "underscores", "dots", "values"] {
            accepts.push(format!("{format};escaping={escaping}"));
        }
    }
    let serving = serving(&registry);
    let service = MetricsService::of([&registry]);
    for accept in &accepts {
        let ask = |name: &str| {
            let path = format!("/metrics?name[]={name}");
            let page = get(&serving, &path, &[&format!("Accept: {accept}")]).body;
            let request = http::Request::get(path).header("accept", accept);
            let answer = now(service.answer(&request.body(()).unwrap()));
            let body = now(http_body_util::BodyExt::collect(answer.into_body())).unwrap();
            assert_eq!(body.to_bytes(), page, "{name}, {accept}");
            page
        };
        let nothing = ask("none");
        for (family, names) in families {
            let page = ask(family);
            assert!(page.len() > nothing.len(), "{family}, {accept}");
            for name in names {
                assert_eq!(ask(name), page, "{name}, {accept}");
            }
        }
        for name in wrong {
            assert_eq!(ask(name), nothing, "{name}, {accept}");
        }
    }
    serving.stop();
}

#[test]
fn a_query_names_families() {
    let registry = registry();
    let serving = serving(&registry);
    for (query, families) in [
        ("name[]=jobs_total", &["jobs_total"][..]),
        ("name%5B%5D=jobs%5ftotal", &["jobs_total"]),
        ("name[]=jobs", &["jobs_total"]),
        (
            "name[]=queue&name[]=jobs_total&x=y",
            &["jobs_total", "queue"],
        ),
        ("name[]=latency_seconds_bucket", &["latency_seconds"]),
        ("name[]=latency_seconds_sum", &["latency_seconds"]),
        ("name[]=latency_seconds_max", &[]),
        ("name[]=queue_total", &[]),
        ("name[]=", &[]),
        ("name[]=%FF%zz+", &[]),
        (
            "name=jobs_total",
            &["jobs_total", "latency_seconds", "queue"],
        ),
        ("", &["jobs_total", "latency_seconds", "queue"]),
    ] {
        let answer = get(&serving, &format!("/metrics?{query}"), &[]);
        assert_eq!(answer.status(), 200, "{query}");
        let read = crate::support::exposition::read(answer.text()).unwrap();
        let names: Vec<_> = read.iter().map(|family| &*family.name).collect();
        assert_eq!(names, families, "{query}");
    }
    let packed = get(
        &serving,
        "/metrics?name[]=queue",
        &["Accept-Encoding: gzip"],
    );
    assert_eq!(
        gunzipped(&packed.body),
        b"# HELP queue Jobs waiting.\n# TYPE queue gauge\nqueue 2\n"
    );
    serving.stop();
}

/// Polls a future once. Without a runtime the first poll renders the page.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

#[test]
fn a_tower_service_answers_as_the_service_does() {
    use tallies_http::PageService;
    use tower_service::Service;
    let (one, two) = (registry(), Registry::new());
    two.gauge("pool_size", "Workers.").unwrap().set(4.0);
    let mut service = PageService(MetricsService::of([&one, &two]));
    let mut ask = |method: &str, uri: &str| {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header("accept-encoding", "gzip;q=0.1")
            .body(())
            .unwrap();
        let (head, body) = now(service.call(request)).unwrap().into_parts();
        let frame = now(http_body_util::BodyExt::collect(body)).unwrap();
        (head, frame.to_bytes())
    };
    let (head, body) = ask("GET", "/wherever?name[]=pool_size");
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["content-encoding"], "gzip");
    assert_eq!(
        gunzipped(&body),
        b"# HELP pool_size Workers.\n# TYPE pool_size gauge\npool_size 4\n"
    );
    let (head, body) = ask("GET", "/");
    let page = gunzipped(&body);
    assert!(page.starts_with(b"# HELP jobs_total"));
    assert_eq!(head.headers["content-length"], body.len().to_string());
    let (head, empty) = ask("HEAD", "/");
    assert!(empty.is_empty());
    assert_eq!(head.headers["content-length"], body.len().to_string());
    let (head, _) = ask("POST", "/");
    assert_eq!(
        (head.status.as_u16(), &head.headers["allow"]),
        (405, &http::HeaderValue::from_static("GET, HEAD"))
    );
}

#[test]
fn timestamps_and_created_samples_are_optional() {
    use tallies::encode::Options;
    let registry = registry();
    let options = Options::new().created(true).timestamps(true);
    let serving = Server::new()
        .registry(&registry)
        .options(options)
        .listen("127.0.0.1:0")
        .unwrap();
    let accept = "Accept: application/openmetrics-text; version=1.0.0";
    let page = String::from_utf8(get(&serving, "/metrics", &[accept]).body).unwrap();
    assert!(page.contains("\njobs_created 1"), "{page}");
    assert!(page.contains("\njobs_total 7 1"), "{page}");
    let page = String::from_utf8(get(&serving, "/metrics", &[]).body).unwrap();
    assert!(
        page.contains("\njobs_total 7 1") && !page.contains("_created"),
        "{page}"
    );
}

/// Requests every line of `docs/formats.md` that lists a Content-Type.
#[test]
fn the_page_on_formats_says_what_is_answered() {
    let registry = registry();
    let serving = serving(&registry);
    let proto = "proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let mut lines = 0;
    for line in include_str!("../../../docs/formats.md").lines() {
        let Some((command, expected)) = line
            .split_once('#')
            .filter(|(command, _)| command.starts_with("curl ") && command.contains("$M"))
        else {
            continue;
        };
        let header = command.split(['\'', '"']).nth(1).unwrap_or_default();
        let header = header.replace("$PROTO", proto);
        let headers: Vec<&str> = Some(&*header)
            .into_iter()
            .filter(|h| !h.is_empty())
            .collect();
        let answer = get(&serving, "/metrics", &headers);
        assert_eq!(answer.status(), 200, "{line}");
        assert_eq!(
            answer.header("content-type"),
            Some(expected.trim()),
            "{line}"
        );
        let coding = ["gzip", "zstd"]
            .into_iter()
            .find(|coding| header.ends_with(coding));
        assert_eq!(answer.header("content-encoding"), coding, "{line}");
        lines += 1;
    }
    assert_eq!(lines, 6);
}
