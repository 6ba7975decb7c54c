//! The stream behind the live page, over real sockets.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::{Value, json};
use tallies::serve::Serving;
use tallies::{
    Counter, Gauge, Histogram, Registry,
    serve::{MetricsService, Server},
};

use super::events::Events;
use super::support::eventually;
use super::support::http::{ask, connect, get, request, send};

fn serve(registry: &Registry) -> Serving {
    let server = Server::new().registry(registry).live();
    server.listen("127.0.0.1:0").unwrap()
}

fn events(serving: &Serving, query: &str) -> Events {
    Events::begin(connect(serving), query, &[])
}

#[test]
fn increases_of_all_frames_add_up_and_nothing_is_reset() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "Jobs.")
        .labels(["queue"])
        .register(&registry)
        .unwrap();
    let latency = registry.histogram("latency_seconds", "").unwrap();
    jobs.with(["mail"]).add(5);
    let serving = serve(&registry);
    let mut one = events(&serving, "open=jobs_total&seen=latency_seconds");
    assert!(one.head.starts_with("HTTP/1.1 200 "), "{}", one.head);
    assert!(one.head.contains("content-type: text/event-stream\r\n"));
    assert!(one.head.contains("cache-control: no-store\r\n"));
    let mut two = events(&serving, "");
    let first = one.next().unwrap();
    assert_eq!(
        first["names"][0],
        json!(["jobs_total", "counter", "", "Jobs.", []])
    );
    assert_eq!(first["all"][0][1], 5);
    assert_eq!(two.next().unwrap()["seen"], json!({}));
    let (mut increase, mut observed, mut heat) = (0, 0, 0);
    let number = first["number"].as_u64().unwrap();
    for i in 1..=3 {
        jobs.with(["mail"]).add(i);
        jobs.with(["bulk"]).add(10);
        latency.observe(0.02);
        let frame = one.next().unwrap();
        assert!(frame["seconds"].as_f64().unwrap() > 0.5, "{frame}");
        assert!(frame.get("names").is_none(), "they have not changed");
        assert_eq!(frame["number"], number + i);
        increase += frame["all"][0][2].as_u64().unwrap();
        let total = &frame["seen"]["latency_seconds"]["total"];
        observed += total["increase"].as_u64().unwrap();
        for bucket in total["heat"].as_array().unwrap().chunks(3) {
            assert_eq!((&bucket[0], &bucket[1]), (&json!(0.01), &json!(0.025)));
            heat += bucket[2].as_u64().unwrap();
        }
        let rows = frame["seen"]["jobs_total"]["rows"].as_array().unwrap();
        let rows: u64 = rows.iter().map(|row| row["value"].as_u64().unwrap()).sum();
        assert_eq!(frame["all"][0][1], rows);
        assert_eq!(rows, 5 + increase);
    }
    assert_eq!((increase, observed, heat), (1 + 2 + 3 + 30, 3, 3));
    // The scraper beside them found everything.
    let page = get(&serving, "/metrics", &[]);
    assert!(
        page.text().contains("jobs_total{queue=\"bulk\"} 30\n"),
        "{}",
        page.text()
    );
    // A service that stops says so to the pages.
    let ended = std::thread::spawn(move || while two.next().is_some() {});
    serving.stop();
    while one.next().is_some() {}
    ended.join().unwrap();
}

#[test]
fn a_stream_has_what_was_asked_for() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "")
        .labels(["queue"])
        .register(&registry)
        .unwrap();
    (0..600).for_each(|i| jobs.with([&*format!("q{i:03}")]).add(i));
    let latency = Histogram::builder("latency_seconds", "")
        .labels(["queue"])
        .register(&registry)
        .unwrap();
    latency.with(["q007"]).observe(1.0);
    let rooms = Gauge::builder("room_celsius", "").labels(["room"]);
    let rooms = rooms.register(&registry).unwrap();
    rooms.with(["cellar"]).set(12.0);
    rooms.with(["roof"]).set(20.0);
    let serving = serve(&registry);
    let frame = |query: &str| events(&serving, query).next().unwrap();
    let rows = |frame: &Value, rows: &str| -> Vec<String> {
        let rows = frame["seen"]["jobs_total"][rows].as_array().unwrap();
        rows.iter()
            .map(|row| row["labels"][0][1].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(frame("")["seen"], json!({}));
    // Rows that are not shown, too: the page remembers what they did.
    let seen = rows(&frame("seen=jobs_total"), "rows");
    assert_eq!(
        (&seen[..2], seen.len()),
        (&["q599", "q598"].map(String::from)[..], 500)
    );
    let seen = rows(&frame("seen=jobs_total&seen=latency_seconds"), "rows");
    assert_eq!(seen.len(), 499);
    assert_eq!(rows(&frame("open=jobs_total&limit=550"), "rows").len(), 550);
    // A series that is not among the largest comes along if it is selected.
    let one = rows(&frame("open=jobs_total&series=queue%3D%22q007%22"), "rows");
    assert_eq!((one.len(), &*one[500]), (501, "q007"));
    // A search puts what it finds first, and the others do not end.
    let found = frame("match=Q007&seen=jobs_total");
    let first = rows(&found, "rows");
    assert_eq!((first.len(), &*first[0], &*first[1]), (501, "q007", "q599"));
    let seen = &found["seen"]["jobs_total"];
    assert_eq!(
        (&seen["found"]["value"], &seen["total"]["value"]),
        (&json!(7), &json!(179_700))
    );
    assert_eq!(
        (&found["matched"], &found["families"], &found["series"]),
        (&json!(2), &json!(3), &json!(2))
    );
    let values = |all: &Value| json!([all[0], all[1]]);
    assert_eq!(values(&found["all"][0]), json!([600, 179_700]));
    assert_eq!(values(&found["found"][0]), json!([1, 7]));
    assert_eq!(values(&found["found"][1]), json!([1, 1]));
    assert_eq!(found["found"][2], Value::Null);
    assert_eq!(frame("match=jobs")["found"], json!([true, null, null]));
    assert_eq!(frame("match=q007+latency")["matched"], 1);
    assert_eq!(frame("match=nothing")["matched"], 0);
    // Temperatures do not add up.
    assert_eq!(frame("")["all"][2], json!([2, [12, 20], null]));
    let groups = rows(&frame("match=q00&open=jobs_total&by=queue"), "groups");
    assert_eq!((groups.len(), &*groups[0]), (10, "q009"));
    serving.stop();
}

/// A page that shows three rows had none of those that failed, and a frame of the largest series
/// had none either.
#[test]
fn series_that_tell_of_failures_are_the_first_rows() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "").labels(["queue", "outcome"]);
    let jobs = jobs.register(&registry).unwrap();
    for i in 0..600 {
        jobs.with([&*format!("q{i:03}"), "ok"]).add(1000 - i);
    }
    jobs.with(["mail", "timed_out"]).add(2);
    jobs.with(["mail", "error"]).add(3);
    jobs.with(["disk", "error"]).add(0);
    let serving = serve(&registry);
    let frame = |query: &str| events(&serving, query).next().unwrap()["seen"]["jobs_total"].take();
    let rows = |seen: &Value, rows: &str| -> Vec<(String, bool)> {
        let rows = seen[rows].as_array().unwrap().iter();
        let row = |row: &Value| (row["id"].to_string(), row["failed"] == true);
        rows.map(row).take(3).collect()
    };
    let row = |id: &str, failed| (Value::from(id).to_string(), failed);
    for query in [
        "seen=jobs_total",
        "open=jobs_total&limit=500",
        "match=jobs&seen=jobs_total",
    ] {
        let seen = frame(query);
        assert_eq!(seen["failed"], 2, "{query}");
        let first = [
            row("queue=\"mail\",outcome=\"error\"", true),
            row("queue=\"mail\",outcome=\"timed_out\"", true),
            row("queue=\"q000\",outcome=\"ok\"", false),
        ];
        assert_eq!(rows(&seen, "rows"), first, "{query}");
    }
    // Sums by a label, too. A search counts what it finds.
    let seen = frame("open=jobs_total&by=outcome&match=mail");
    let sums = [
        row("outcome=\"error\"", true),
        row("outcome=\"timed_out\"", true),
    ];
    assert_eq!(rows(&seen, "groups"), sums);
    assert_eq!(frame("seen=jobs_total&match=q000").get("failed"), None);
    serving.stop();
}

#[test]
fn a_stream_outlives_the_time_of_an_answer() {
    let registry = Registry::new();
    let server = Server::new().registry(&registry).live();
    let server = server.answer_timeout(Duration::from_millis(200));
    let serving = server.listen("127.0.0.1:0").unwrap();
    let mut events = events(&serving, "");
    for _ in 0..3 {
        assert!(events.next().is_some());
    }
    serving.stop();
}

#[test]
fn a_stream_ends_at_the_age_of_its_connection() {
    let registry = Registry::new();
    let server = Server::new().registry(&registry).live();
    let server = server.connection_age(Duration::from_millis(1500));
    let serving = server.listen("127.0.0.1:0").unwrap();
    let mut events = events(&serving, "");
    while events.next().is_some() {}
    eventually("no connection", || serving.connections() == 0);
    serving.stop();
}

#[test]
fn pages_give_way_to_scrapes() {
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().inc();
    let server = Server::new().registry(&registry).live().connections(2);
    let serving = server.listen("127.0.0.1:0").unwrap();
    let mut pages = [(); 2].map(|()| events(&serving, ""));
    pages
        .iter_mut()
        .for_each(|page| assert!(page.next().is_some()));
    let page = get(&serving, "/metrics", &[]);
    assert!(page.text().contains("jobs_total 1\n"), "{}", page.text());
    serving.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn so_many_pages_and_no_more() {
    use super::peers::connect_from;
    let serving = serve(&Registry::new());
    // One host gets half of the streams, and each other one gets 8.
    let mut open: Vec<_> = (0..32).map(|_| events(&serving, "")).collect();
    assert_eq!(get(&serving, "/live/stream", &[]).status(), 503);
    for host in 2..6 {
        let stream = || connect_from(host, serving.address());
        open.extend((0..8).map(|_| Events::begin(stream(), "", &[])));
    }
    open.iter_mut()
        .for_each(|page| assert!(page.next().is_some()));
    let refused = get(&serving, "/live/stream", &[]);
    assert_eq!(
        (refused.status(), refused.header("retry-after")),
        (503, Some("5"))
    );
    // A page that goes makes room for the next one.
    open.pop();
    eventually("room for a page", || {
        let mut stream = connect_from(6, serving.address());
        stream
            .write_all(&request("GET", "/live/stream", &[]))
            .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        &head == b"HTTP/1.1 200"
    });
    serving.stop();
}

#[test]
fn only_the_page_and_its_parts_are_there_and_only_if_wanted() {
    let registry = Registry::new();
    let with = serve(&registry);
    let page = get(&with, "/live", &[]);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    // Every part that the page names is there; nothing is inline or from elsewhere.
    let mut parts = 0;
    for part in page
        .text()
        .split(['"'])
        .filter(|text| text.starts_with("live/"))
    {
        assert_eq!(get(&with, &format!("/{part}"), &[]).status(), 200, "{part}");
        parts += 1;
    }
    assert_eq!(parts, 3);
    assert!(!page.text().contains("://") && !page.text().contains("<style"));
    assert!(get(&with, "/", &[]).text().contains("<a href='live'>"));
    for path in ["/live/", "/live/nothing.js", "/livestream", "/live/stream/"] {
        assert_eq!(get(&with, path, &[]).status(), 404, "{path}");
    }
    let head = ask(&with, "HEAD", "/live/stream", &[]);
    assert_eq!((head.status(), head.body.len()), (200, 0));
    let post = ask(&with, "POST", "/live", &[]);
    assert_eq!(
        (post.status(), post.header("allow")),
        (405, Some("GET, HEAD"))
    );
    let other = get(&with, "/live/stream", &["Sec-Fetch-Site: cross-site"]);
    assert_eq!(other.status(), 403);
    with.stop();
    let without = Server::new()
        .registry(&registry)
        .listen("127.0.0.1:0")
        .unwrap();
    assert_eq!(get(&without, "/live", &[]).status(), 404);
    assert_eq!(get(&without, "/live/stream", &[]).status(), 404);
    assert!(!get(&without, "/", &[]).text().contains("live"));
    without.stop();
    let server = Server::new().registry(&registry);
    assert!(
        server
            .clone()
            .path("/live/metrics")
            .listen("127.0.0.1:0")
            .is_ok()
    );
    let beside = server.clone().live().path("/livestock");
    beside.listen("127.0.0.1:0").unwrap().stop();
    let error = server.live().path("/live/metrics").listen("127.0.0.1:0");
    assert!(error.unwrap_err().to_string().contains("`/live`"));
}

#[test]
fn the_page_asks_for_what_the_metrics_ask_for() {
    let server = Server::new().registry(&Registry::new()).live();
    let server = server.bearer_token("long secret").hosts(["localhost"]);
    let serving = server.listen("127.0.0.1:0").unwrap();
    for path in ["/live", "/live/page.js", "/live/stream"] {
        assert_eq!(get(&serving, path, &[]).status(), 401, "{path}");
    }
    assert_eq!(
        get(&serving, "/live", &["Authorization: Bearer long secret"]).status(),
        200
    );
    let other = b"GET /live/stream HTTP/1.1\r\nHost: evil\r\n\r\n";
    assert_eq!(send(&serving, other).status(), 403);
    serving.stop();
}

#[test]
fn a_service_needs_a_runtime_for_its_stream() {
    let service = MetricsService::of([&Registry::new()]).live();
    let status = |path: &str| {
        let request = http::Request::get(path).body(()).unwrap();
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(service.answer(&request)).poll(&mut cx) {
            std::task::Poll::Ready(answer) => answer.status().as_u16(),
            std::task::Poll::Pending => panic!("there is nothing to wait for"),
        }
    };
    assert_eq!(status("/live"), 200);
    assert_eq!(status("/any/where/live/style.css"), 200);
    assert_eq!(status("/live/stream"), 501);
    assert_eq!(status("/metrics"), 200);
}
