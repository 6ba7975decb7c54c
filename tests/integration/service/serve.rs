//! The service, scraped over real sockets.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::support::exposition;
use crate::support::http::{ask, connect, exchange, get, request, send};
use tallies::{Counter, Registry, collect::Collected, serve::Server};

fn registry() -> (Registry, Counter) {
    let registry = Registry::new();
    let counter = registry.counter("served_total", "Served.").unwrap();
    (registry, counter)
}

#[test]
fn routes_and_methods() {
    let (registry, counter) = registry();
    counter.add(7);
    let serving = Server::new()
        .registry(&registry)
        .listen("127.0.0.1:0")
        .unwrap();
    assert_eq!(
        serving.metrics_url(),
        format!("http://{}/metrics", serving.address())
    );
    let page = get(&serving, "/metrics", &[]);
    assert_eq!(page.status(), 200);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(page.header("content-type"), Some(kind));
    assert_eq!(
        page.header("content-length"),
        Some(&*page.body.len().to_string())
    );
    assert_eq!(
        page.text(),
        "# HELP served_total Served.\n# TYPE served_total counter\nserved_total 7\n"
    );
    let queried = get(&serving, "/metrics?x=y", &[]);
    assert_eq!(queried.body, page.body, "a query changes nothing");
    let home = get(&serving, "/", &[]);
    assert!(
        home.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert_eq!(
        home.text(),
        "<html><body><a href='/metrics'>metrics</a></body></html>"
    );
    assert_eq!(
        get(&serving, "/robots.txt", &[]).text(),
        "User-agent: *\nDisallow: /\n"
    );
    for path in ["/metrics/", "/nowhere", "/metricsx"] {
        assert_eq!(get(&serving, path, &[]).status(), 404, "{path}");
    }
    for path in ["/metrics", "/"] {
        let page = get(&serving, path, &[]);
        let head = ask(&serving, "HEAD", path, &[]);
        assert_eq!((head.status(), head.text()), (200, ""));
        assert_eq!(head.header("content-length"), page.header("content-length"));
        let post = ask(&serving, "POST", path, &[]);
        assert_eq!(
            (post.status(), post.header("allow")),
            (405, Some("GET, HEAD"))
        );
    }
    serving.stop();
}

#[test]
fn a_bind_error_names_the_address_and_leaves_everything_as_it_was() {
    let (registry, _) = registry();
    let server = Server::new().registry(&registry);
    let serving = server.listen("127.0.0.1:0").unwrap();
    let address = serving.address();
    let error = server.listen(address).unwrap_err().to_string();
    assert!(
        error.contains(&format!("cannot listen on `{address}`")),
        "{error}"
    );
    assert_eq!(
        get(&serving, "/metrics", &[]).status(),
        200,
        "the first one goes on"
    );
    let error = tallies::serve("127.0.0.1:notaport")
        .unwrap_err()
        .to_string();
    assert!(error.contains("127.0.0.1:notaport"), "{error}");
    for path in ["metrics", "", "/a?b", "/robots.txt"] {
        let error = server
            .clone()
            .path(path)
            .listen("127.0.0.1:0")
            .unwrap_err()
            .to_string();
        assert!(error.contains("metrics path"), "{error}");
    }
    serving.stop();
    // The address can be bound again after the error, and again after each stop.
    for _ in 0..3 {
        let serving = server.listen(address).unwrap();
        assert_eq!(get(&serving, "/metrics", &[]).status(), 200);
        serving.stop();
        assert!(TcpStream::connect(address).is_err(), "it has stopped");
    }
}

#[test]
fn the_path_can_be_set_and_is_escaped() {
    let (registry, _) = registry();
    let serving = Server::new()
        .registry(&registry)
        .path("/a'b&")
        .listen("[::1]:0")
        .unwrap();
    assert!(
        serving.root_url().starts_with("http://[::1]:"),
        "{}",
        serving.root_url()
    );
    assert_eq!(
        get(&serving, "/", &[]).text(),
        "<html><body><a href='/a&#39;b&amp;'>metrics</a></body></html>"
    );
    assert_eq!(get(&serving, "/metrics", &[]).status(), 404);
    assert_eq!(get(&serving, "/a'b&", &[]).status(), 200);
    serving.stop();
}

#[test]
fn an_address_without_a_host_is_all_addresses_of_this_machine() {
    let serving = tallies::serve(":0").unwrap();
    let bound = Server::new().address(":0").bind().unwrap();
    for address in [serving.address(), bound.addresses()[0]] {
        assert!(address.ip().is_unspecified(), "{address}");
    }
    TcpStream::connect(("127.0.0.1", serving.address().port())).unwrap();
    serving.stop();
    let error = tallies::serve(":70000").unwrap_err().to_string();
    assert!(error.contains("`:70000`"), "{error}");
}

/// A path that no request can name is an error at start.
#[test]
fn a_path_that_cannot_be_asked_for_is_an_error() {
    for path in [
        "", "metrics", "/", "/-/ready", "/a?b", "/a#b", "/a b", "/a\n", "/\u{7f}", "/größe",
        "/a<b>",
    ] {
        let error = Server::new().path(path).listen("127.0.0.1:0").unwrap_err();
        let named = format!("metrics path `{}` ", path.escape_debug());
        assert!(error.to_string().starts_with(&named), "{error}");
    }
}

#[test]
fn the_small_page_runs_no_collector_and_a_broken_one_costs_its_own_families() {
    let (registry, counter) = registry();
    counter.inc();
    let ran = Arc::new(AtomicU64::new(0));
    let inside = Arc::clone(&ran);
    registry
        .add_collector("good", move |out: &mut Collected| {
            inside.fetch_add(1, Relaxed);
            Ok(out.gauge("good_gauge", "Good.", &[], 1.0)?)
        })
        .unwrap();
    registry
        .add_collector("broken", |out: &mut Collected| {
            out.gauge("broken_gauge", "Written before it breaks.", &[], 1.0)?;
            Err("out of order".into())
        })
        .unwrap();
    registry
        .add_collector("panics", |_: &mut Collected| panic!("as it must"))
        .unwrap();
    let recursive = registry.clone();
    registry
        .gauge_fn(
            "inside",
            "What a snapshot inside a collector sees.",
            move || recursive.snapshot().get("served_total", &[]).unwrap(),
        )
        .unwrap();
    let serving = Server::new()
        .registry(&registry)
        .listen("127.0.0.1:0")
        .unwrap();
    get(&serving, "/", &[]);
    assert_eq!(ran.load(Relaxed), 0);
    for _ in 0..2 {
        let page = get(&serving, "/metrics", &[]);
        let page = page.text();
        let families = exposition::read(page).unwrap();
        let names: Vec<_> = families.iter().map(|f| &*f.name).collect();
        assert_eq!(
            names,
            [
                "good_gauge",
                "inside",
                "served_total",
                "tallies_collect_errors_total"
            ]
        );
        assert!(page.contains("inside 1\n"));
    }
    let now = registry.snapshot();
    assert_eq!(
        now.get("tallies_collect_errors_total", &[("collector", "broken")]),
        Some(3.0)
    );
    assert_eq!(
        now.get("tallies_collect_errors_total", &[("collector", "panics")]),
        Some(3.0)
    );
    serving.stop();
}

#[test]
fn several_registries_on_one_page() {
    let (one, two) = (Registry::new(), Registry::new());
    one.add_constant("part", "one").unwrap();
    one.counter("jobs_total", "Jobs.").unwrap().add(1);
    two.counter("jobs_total", "Jobs.").unwrap().add(2);
    two.counter("other_total", "Other.").unwrap();
    let serving = Server::new()
        .registry(&one)
        .registry(&two)
        .listen("127.0.0.1:0")
        .unwrap();
    let page = get(&serving, "/metrics", &[]);
    let page = page.text();
    exposition::read(page).unwrap();
    assert_eq!(
        page,
        "# HELP jobs_total Jobs.\n# TYPE jobs_total counter\njobs_total{part=\"one\"} 1\njobs_total 2\n\
         # HELP other_total Other.\n# TYPE other_total counter\nother_total 0\n"
    );
    serving.stop();
}

/// A family that conflicts is left out; the rest of its registry is exported.
#[test]
fn a_family_that_does_not_fit_is_left_out_alone() {
    let all = [Registry::new(), Registry::new(), Registry::new()];
    let [one, two, three] = &all;
    one.counter("kind", "Of one kind.").unwrap().add(1);
    one.histogram("lasted", "A histogram.").unwrap();
    one.gauge("above_count", "What a histogram `above` would write.")
        .unwrap();
    two.gauge("kind", "Of another.").unwrap();
    two.counter("lasted_count", "What `lasted` writes.")
        .unwrap();
    two.histogram("above", "A histogram.").unwrap();
    Counter::builder("kept.by.two", "Where others are.")
        .utf8()
        .register(two)
        .unwrap();
    three.counter("kind", "It fits again.").unwrap().add(2);
    three.gauge("kept_by_two", "The same, escaped.").unwrap();
    let mut server = Server::new();
    for registry in &all {
        server = server.registry(registry);
    }
    let serving = server.listen("127.0.0.1:0").unwrap();
    let page = get(&serving, "/metrics", &[]);
    let page = page.text();
    let families = exposition::read(page).unwrap();
    let names: Vec<_> = families.iter().map(|family| &*family.name).collect();
    assert_eq!(names, ["above_count", "kept_by_two", "kind", "lasted"]);
    assert!(page.contains("\nkind 3\n"), "{page}");
    assert!(page.contains("# TYPE kept_by_two counter\n"), "{page}");
    serving.stop();
}

/// Concurrent scrapes share passes, but each sees every update that returned before it was
/// requested.
#[test]
fn a_scrape_has_every_update_that_returned_before_it() {
    let (registry, counter) = registry();
    let serving = Arc::new(
        Server::new()
            .registry(&registry)
            .listen("127.0.0.1:0")
            .unwrap(),
    );
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (serving, counter) = (Arc::clone(&serving), counter.clone());
            std::thread::spawn(move || {
                for _ in 0..100 {
                    counter.inc();
                    let before = counter.get();
                    let page = get(&*serving, "/metrics", &[]);
                    let page = page.text();
                    let seen: u64 = page
                        .lines()
                        .last()
                        .unwrap()
                        .split(' ')
                        .next_back()
                        .unwrap()
                        .parse()
                        .unwrap();
                    assert!(seen >= before, "{seen} after {before}");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(counter.get(), 800);
}

/// Two hundred clients send nonsense, half a request or nothing, or disconnect, while another
/// client is served.
#[test]
fn bad_clients_do_not_affect_others() {
    let (registry, _) = registry();
    let serving = Server::new()
        .registry(&registry)
        .listen("127.0.0.1:0")
        .unwrap();
    let mut open = Vec::new();
    for i in 0..200 {
        let mut stream = connect(&serving);
        let sent: &[u8] = match i % 4 {
            0 => b"",
            1 => b"GET /metrics HTTP/1.1\r\nHo",
            2 => b"\x16\x03\x01\x02\x00 not http at all\r\n\r\n",
            _ => b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        let _ = stream.write_all(sent);
        if i % 2 == 0 {
            open.push(stream);
        }
    }
    let long = format!("X: {}", "y".repeat(100_000));
    let refused = exchange(connect(&serving), &request("GET", "/metrics", &[&long]));
    assert!(refused.map_or(true, |answer| answer.status() / 100 == 4));
    for _ in 0..20 {
        assert_eq!(get(&serving, "/metrics", &[]).status(), 200);
    }
    serving.stop();
}

/// A request without `Host` was served (RFC 9112, section 3.2).
#[test]
fn a_request_has_one_host() {
    let serving = Server::new()
        .registry(&Registry::new())
        .listen("127.0.0.1:0")
        .unwrap();
    let end = "Connection: close\r\n\r\n";
    for (head, status) in [
        (format!("GET /metrics HTTP/1.1\r\n{end}"), "400"),
        (
            format!("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n{end}"),
            "400",
        ),
        (format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{end}"), "200"),
        ("GET /metrics HTTP/1.0\r\n\r\n".to_owned(), "200"),
    ] {
        let answer = send(&serving, head.as_bytes());
        assert_eq!(answer.head.split(' ').nth(1), Some(status), "{head}");
    }
}
