//! Pushes as a gateway sees them, and gateways that misbehave.

use std::io::Read;
use std::time::Duration;

use crate::gateway::{Answer, Gateway, fine};
use crate::support::{alone, eventually};
use tallies::{
    Counter, Gauge, Registry,
    push::{Pusher, Pushing},
};

/// Returns the URL of a local port without a listener.
fn unused_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn registry() -> (Registry, Gauge) {
    let registry = Registry::new();
    let gauge = registry.gauge("pushed", "Pushed.").unwrap();
    gauge.set(1.5);
    (registry, gauge)
}

const PAGE: &str = "# HELP pushed Pushed.\n# TYPE pushed gauge\npushed 1.5\n";

/// The error of a push to a gateway that replies `answer`.
fn error_of(answer: Answer) -> String {
    error_within(Duration::from_secs(60), answer)
}

fn error_within(timeout: Duration, answer: Answer) -> String {
    let gateway = Gateway::of(answer);
    let (registry, _) = registry();
    let pusher = Pusher::new(&gateway.url, "j")
        .registry(&registry)
        .timeout(timeout);
    let error = pusher.replace().unwrap_err().to_string();
    let url = format!("PUT {}/metrics/job/j: ", gateway.url);
    error
        .strip_prefix(&url)
        .unwrap_or_else(|| panic!("{error}"))
        .to_owned()
}

#[test]
fn methods_paths_and_bodies() {
    let gateway = Gateway::of(fine());
    let (registry, _) = registry();
    let pusher = Pusher::new(&format!("{}/prefix/", gateway.url), "my job")
        .registry(&registry)
        .grouping("path", "/var/tmp")
        .grouping("instance", "127.0.0.1:1234");
    let path = "/prefix/metrics/job/my%20job/instance/127.0.0.1:1234/path@base64/L3Zhci90bXA=";
    pusher.add().unwrap();
    pusher.replace().unwrap();
    pusher.delete().unwrap();
    for method in ["POST", "PUT"] {
        let request = gateway.next_request();
        assert_eq!((&*request.method, &*request.target), (method, path));
        assert_eq!(request.text(), PAGE, "neither timestamps nor anything else");
        assert_eq!(
            request.header("content-type"),
            Some(tallies::encode::Format::TEXT.content_type())
        );
        assert_eq!(request.header("content-encoding"), None);
        assert_eq!(request.header("authorization"), None);
        assert!(
            request
                .header("user-agent")
                .unwrap()
                .starts_with("tallies/")
        );
    }
    let request = gateway.next_request();
    assert_eq!((&*request.method, &*request.target), ("DELETE", path));
    assert_eq!(request.text(), "");
    for header in ["content-type", "content-length", "transfer-encoding"] {
        assert_eq!(request.header(header), None, "{request:?}");
    }
    assert!(gateway.is_quiet());
}

#[test]
fn a_custom_path_has_the_labels_in_its_query() {
    let gateway = Gateway::of(Answer::Status("204 No Content\r\n", String::new()));
    let (registry, _) = registry();
    let pusher = Pusher::new(&gateway.url, "j")
        .registry(&registry)
        .grouping("x", "a b")
        .path("/api/v1/import/prometheus");
    pusher.add().unwrap();
    let request = gateway.next_request();
    assert_eq!(
        (&*request.method, &*request.target),
        (
            "POST",
            "/api/v1/import/prometheus?extra_label=job%3Dj&extra_label=x%3Da%20b"
        )
    );
    assert_eq!(request.text(), PAGE);
    for error in [pusher.replace(), pusher.delete()] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("has no groups to replace"), "{error}");
    }
    pusher
        .start(Duration::from_secs(3600))
        .unwrap()
        .stop()
        .unwrap();
    assert_eq!(gateway.next_request().method, "POST");
}

#[test]
fn compressed() {
    let gateway = Gateway::of(fine());
    let (registry, _) = registry();
    let pusher = Pusher::new(&gateway.url, "j").registry(&registry).gzip();
    // Any timeout is accepted.
    let pusher = pusher.timeout(Duration::MAX);
    pusher.add().unwrap();
    let request = gateway.next_request();
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    let mut page = String::new();
    flate2::read::GzDecoder::new(&*request.body)
        .read_to_string(&mut page)
        .unwrap();
    assert_eq!(page, PAGE);
}

#[test]
fn credentials_are_sent_and_shown_nowhere() {
    let gateway = Gateway::of(Answer::Status("401 Unauthorized\r\n", "no".to_owned()));
    let (registry, _) = registry();
    let pusher = Pusher::new(&gateway.url, "j").registry(&registry);
    for (pusher, header) in [
        (
            // RFC 7617, section 2.
            pusher.clone().basic_auth("Aladdin", "open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (pusher.clone().bearer_token("sesame"), "Bearer sesame"),
    ] {
        let error = pusher.delete().unwrap_err().to_string();
        assert!(error.ends_with(": 401 Unauthorized: no"), "{error}");
        assert!(!error.contains("sesame"), "{error}");
        assert!(!format!("{pusher:?}").contains("sesame"), "{pusher:?}");
        assert_eq!(gateway.next_request().header("authorization"), Some(header));
    }
    for bad in [
        pusher.clone().basic_auth("a:b", "sesame"),
        pusher.bearer_token("sesame\n"),
    ] {
        let error = bad.add().unwrap_err().to_string();
        assert!(!error.contains("sesame"), "{error}");
        assert!(
            error.contains("colon") || error.contains("not allowed in a header"),
            "{error}"
        );
    }
    assert!(gateway.is_quiet());
}

#[test]
fn what_the_gateway_says_reaches_the_caller() {
    let status = |head, body: &str| error_of(Answer::Status(head, body.to_owned()));
    assert_eq!(
        status(
            "400 Bad Request\r\n",
            "text format parsing error\nin line 1\n"
        ),
        "400 Bad Request: text format parsing error in line 1"
    );
    assert_eq!(
        status("503 Service Unavailable\r\n", ""),
        "503 Service Unavailable: no reason given"
    );
    let long = status("500 Internal Server Error\r\n", &"ä\u{1b}".repeat(100_000));
    assert_eq!(
        long.chars().count(),
        "500 Internal Server Error: ".len() + 500
    );
    assert!(!long.contains('\u{1b}'), "{long}");
}

/// Following the redirect would turn the push into a GET, and report success.
#[test]
fn a_redirect_is_not_followed() {
    let gateway = Gateway::new(|n| match n {
        0 => Answer::Status(
            "301 Moved Permanently\r\nLocation: /elsewhere\r\n",
            "x".to_owned(),
        ),
        _ => fine(),
    });
    let (registry, _) = registry();
    let pusher = Pusher::new(&gateway.url, "j").registry(&registry);
    let error = pusher.replace().unwrap_err().to_string();
    let expected = "301 Moved Permanently: the gateway has moved; push to the address that \
                    `/elsewhere` leads to";
    assert!(error.ends_with(expected), "{error}");
    gateway.next_request();
    assert!(gateway.is_quiet());
}

#[test]
fn a_gateway_that_hangs_closes_or_babbles() {
    let timeout = Duration::from_millis(300);
    assert_eq!(
        error_within(timeout, Answer::Hang),
        "no response within 300ms"
    );
    for (bytes, word) in [
        ("", "disconnected"),
        ("HTTP/1.1 20", "disconnected"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
    ] {
        let error = error_of(Answer::Bytes(bytes));
        assert!(error.to_lowercase().contains(word), "{bytes:?}: {error}");
    }
    // The body is cut short, but the status decides.
    let error = error_of(Answer::Bytes(
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nbad",
    ));
    assert_eq!(error, "400 Bad Request: bad");
}

#[test]
fn a_gateway_that_is_not_there() {
    let url = unused_url();
    let error = Pusher::new(&url, "j").add().unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with(&format!("POST {url}/metrics/job/j: Connection refused")),
        "{message}"
    );
    // The message includes the cause, so `source` would repeat it.
    assert!(std::error::Error::source(&error).is_none());
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::ConnectionRefused));
}

#[test]
fn a_series_with_a_label_of_the_group_is_refused() {
    let gateway = Gateway::of(fine());
    let refused = |registry: &Registry, message: &str| {
        let pusher = Pusher::new(&gateway.url, "j").grouping("instance", "a");
        for pusher in [pusher.clone(), pusher.path("/import")] {
            let error = pusher.registry(registry).add().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    };
    let (first, _) = registry();
    first.add_constant("instance", "b").unwrap();
    refused(
        &first,
        "family `pushed` has the label `instance=\"b\"`, which the group sets",
    );
    let (second, _) = registry();
    let jobs = Counter::builder("jobs_total", "Jobs.")
        .labels(["kind", "job"])
        .register(&second)
        .unwrap();
    jobs.with(["x", ""]).inc();
    // An empty value means no label.
    let pusher = Pusher::new(&gateway.url, "j").registry(&second);
    pusher.add().unwrap();
    gateway.next_request();
    jobs.with(["x", "\"mine\""]).inc();
    refused(
        &second,
        "family `jobs_total` has the label `job=\"\\\"mine\\\"\"`",
    );
    assert!(gateway.is_quiet(), "nothing was sent");
}

#[test]
fn several_registries_are_one_page() {
    let gateway = Gateway::of(fine());
    let (first, _) = registry();
    let second = Registry::new();
    second.counter("more_total", "More.").unwrap().add(2);
    let pusher = Pusher::new(&gateway.url, "j").registry(&first);
    pusher.clone().registry(&second).add().unwrap();
    let page = gateway.next_request().text().to_owned();
    assert_eq!(
        page,
        format!("# HELP more_total More.\n# TYPE more_total counter\nmore_total 2\n{PAGE}")
    );
    let third = Registry::new();
    third.counter("pushed", "Another kind.").unwrap();
    pusher.registry(&third).add().unwrap();
    assert_eq!(gateway.next_request().text(), PAGE);
    assert!(gateway.is_quiet());
}

#[test]
fn in_the_background_until_stopped_and_once_more() {
    let gateway = Gateway::of(fine());
    let (registry, gauge) = registry();
    let pusher = Pusher::new(&gateway.url, "j").registry(&registry);
    let pushing = pusher.start(Duration::from_millis(5)).unwrap();
    assert_eq!(pushing.url(), format!("{}/metrics/job/j", gateway.url));
    for _ in 0..5 {
        let request = gateway.next_request();
        assert_eq!(
            (&*request.method, request.connection),
            ("PUT", 0),
            "kept alive"
        );
        assert_eq!(request.text(), PAGE);
    }
    gauge.set(7.0);
    pushing.stop().unwrap();
    let mut last = gateway.next_request();
    while !last.text().ends_with("pushed 7\n") {
        last = gateway.next_request();
    }
    // Dropping the handle during a long pause: there is a push at the start and one at the end.
    gauge.set(8.0);
    while !gateway.is_quiet() {}
    let pushing = pusher.start(Duration::MAX).unwrap();
    assert!(gateway.next_request().text().ends_with("pushed 8\n"));
    gauge.set(9.0);
    drop(pushing);
    assert!(gateway.next_request().text().ends_with("pushed 9\n"));
    assert!(gateway.is_quiet());
    let error = pusher.start(Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("push interval `0`"), "{error}");
    let error = Pusher::new(&gateway.url, "").start(Duration::from_secs(1));
    assert!(error.unwrap_err().to_string().contains("job"));
}

#[test]
fn a_gateway_that_hangs_does_not_block_stop() {
    let gateway = Gateway::of(Answer::Hang);
    let (registry, gauge) = registry();
    let pushing = Pusher::new(&gateway.url, "j")
        .registry(&registry)
        .timeout(Duration::from_millis(100))
        .start(Duration::from_secs(3600))
        .unwrap();
    gateway.next_request();
    // The gateway hangs from now on; updates continue.
    gauge.set(2.0);
    let error = pushing.stop().unwrap_err().to_string();
    assert!(error.ends_with("no response within 100ms"), "{error}");
}

#[test]
fn from_an_async_program() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Pusher>();
    shared::<Pushing>();
    let gateway = Gateway::of(fine());
    let (registry, _) = registry();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pusher = Pusher::new(&gateway.url, "j").registry(&registry);
        let pushing = pusher.start(Duration::from_secs(3600)).unwrap();
        gateway.next_request();
        tokio::task::spawn_blocking(move || pusher.add())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(gateway.next_request().method, "POST");
        tokio::task::spawn_blocking(|| pushing.stop())
            .await
            .unwrap()
            .unwrap();
    });
}

/// Runs a test of this file in a process of its own and returns its standard error.
fn said_alone(test: &str, program: fn()) -> String {
    let output = alone(&format!("push::{test}"), program, |command| {
        _ = command.arg("--nocapture");
    });
    String::from_utf8(output.stderr).unwrap()
}

fn self_metric(name: &str) -> f64 {
    tallies::snapshot().get(name, &[]).unwrap_or(-1.0)
}

/// Waits until a self-metric reaches a value.
fn until_is(name: &str, value: f64) {
    eventually(name, || {
        let now = self_metric(name);
        (now >= value).then_some(()).ok_or(now)
    });
}

fn outage() {
    assert_eq!(self_metric("tallies_pushes_total"), -1.0, "there was none");
    // The gateway is unavailable at first and available later.
    let gateway = Gateway::new(|n| match n {
        0 | 3.. => fine(),
        _ => Answer::Status("503 Service Unavailable\r\n", "later".to_owned()),
    });
    let pushing = Pusher::new(&gateway.url, "j")
        .start(Duration::from_millis(1))
        .unwrap();
    until_is("tallies_pushes_total", 5.0);
    pushing.stop().unwrap();
    assert_eq!(self_metric("tallies_push_failures_total"), 2.0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let last = self_metric("tallies_last_push_timestamp_seconds");
    assert!((now.as_secs_f64() - last).abs() < 300.0, "{last}");
    // Each push reports the results of earlier ones.
    for _ in 0..4 {
        gateway.next_request();
    }
    let page = gateway.next_request();
    assert!(
        page.text().contains("\ntallies_push_failures_total 2\n"),
        "{}",
        page.text()
    );
    // A program whose gateway stays unreachable until the program ends.
    let away = Pusher::new(&unused_url(), "j")
        .start(Duration::from_millis(1))
        .unwrap();
    until_is("tallies_push_failures_total", 7.0);
    drop(away);
}

#[test]
fn an_outage_is_logged_once_and_counted() {
    let said = said_alone("an_outage_is_logged_once_and_counted", outage);
    let lines: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("tallies: "))
        .collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(
        lines[0].ends_with(
            "503 Service Unavailable: later; pushes are retried, and further failures are not \
             logged until one succeeds"
        ),
        "{said}"
    );
    assert!(lines[1].ends_with("succeed again; 2 failed"), "{said}");
    assert!(lines[2].contains("Connection refused"), "{said}");
}

fn dropped() {
    let gateway = Gateway::new(|n| match n {
        0 => fine(),
        _ => Answer::Bytes(""),
    });
    let pushing = Pusher::new(&gateway.url, "j")
        .start(Duration::from_secs(3600))
        .unwrap();
    until_is("tallies_pushes_total", 1.0);
    drop(pushing);
}

#[test]
fn a_failed_last_push_is_logged() {
    let said = said_alone("a_failed_last_push_is_logged", dropped);
    let lines = said
        .lines()
        .filter(|line| line.starts_with("tallies: PUT "));
    assert_eq!(lines.count(), 1, "{said}");
}

#[test]
fn root_certificates_are_checked() {
    for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\n"] {
        let pusher = Pusher::new("https://127.0.0.1:1", "j").root_certificates(pem.as_bytes());
        // Without a certificate, Mozilla's are used.
        let error = pusher.add().unwrap_err().to_string();
        let expected = if pem.is_empty() {
            "refused"
        } else {
            "root certificates"
        };
        assert!(error.contains(expected), "{error}");
    }
}

/// Nothing was pushed if the registries had one family as different kinds.
#[test]
fn a_push_leaves_out_what_conflicts_and_only_that() {
    let gateway = Gateway::of(fine());
    let (first, second) = (Registry::new(), Registry::new());
    first.counter("c_total", "").unwrap().inc();
    second.gauge("c_total", "").unwrap().set(7.0);
    second.gauge("only_b", "").unwrap().set(2.0);
    let pusher = Pusher::new(&gateway.url, "j").registry(&first);
    pusher.registry(&second).add().unwrap();
    let request = gateway.next_request();
    let page = "# TYPE c_total counter\nc_total 1\n# TYPE only_b gauge\nonly_b 2\n";
    assert_eq!(request.text(), page);
}
