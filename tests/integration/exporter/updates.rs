//! Row E5, and troubles: updates before each page, and probes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;

use crate::process::{Running, folder, serve, value};
use crate::support::eventually;
use crate::support::http::{get, request};

const SUCCESS: &str = "exporter_update_success{update=\"metrics\"}";
const DURATION: &str = "exporter_update_duration_seconds{update=\"metrics\"}";

fn errors(reason: &str) -> String {
    format!("exporter_update_errors_total{{update=\"metrics\",reason=\"{reason}\"}}")
}

/// An exporter that obeys a file.
pub struct Troubled {
    running: Running,
    orders: PathBuf,
    pub address: SocketAddr,
}

impl Troubled {
    fn start(name: &str) -> Self {
        Self::with(name, &[])
    }

    /// Starts it with further arguments.
    pub fn with(name: &str, args: &[&str]) -> Self {
        let orders = folder(name).join("orders");
        std::fs::write(&orders, "ok").unwrap();
        let path = orders.display().to_string();
        let args = [&["--orders", &path], args].concat();
        let mut running = serve("troubled_exporter", &args);
        let address = running.address();
        Self {
            running,
            orders,
            address,
        }
    }

    pub fn order(&self, order: &str) {
        let new = self.orders.with_extension("new");
        std::fs::write(&new, order).unwrap();
        std::fs::rename(new, &self.orders).unwrap();
    }

    /// Returns the page for a scrape with this timeout in seconds.
    pub fn scrape(&self, timeout: &str) -> String {
        let header = format!("X-Prometheus-Scrape-Timeout-Seconds: {timeout}");
        let answer = get(self.address, "/metrics", &[&header]);
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.text().to_owned()
    }
}

#[test]
fn e5_the_handler_runs_once_before_each_page() {
    let troubled = Troubled::start("once");
    for run in 1..=3 {
        let page = troubled.scrape("10");
        assert_eq!(value(&page, "updates"), Some(f64::from(run)));
        assert_eq!(value(&page, "last_good"), Some(f64::from(run)));
        assert_eq!(value(&page, SUCCESS), Some(1.0));
        assert!(value(&page, DURATION).unwrap() < 10.0);
    }
    // Other pages run no update.
    for path in ["/", "/-/healthy", "/no"] {
        get(troubled.address, path, &[]);
    }
    assert_eq!(value(&troubled.scrape("10"), "updates"), Some(4.0));
}

#[test]
fn e5_a_handler_that_fails_or_panics_leaves_the_last_good_values() {
    let mut troubled = Troubled::start("fails");
    troubled.scrape("10");
    for (order, reason) in [("fail", "error"), ("panic", "panic")] {
        troubled.order(order);
        let page = troubled.scrape("10");
        assert_eq!(value(&page, "last_good"), Some(1.0), "{page}");
        assert_eq!(value(&page, SUCCESS), Some(0.0));
        assert_eq!(value(&page, &errors(reason)), Some(1.0));
    }
    let failed = troubled.running.wait_for("update failed", 2);
    assert_eq!(failed[0]["error"], "told to fail");
    assert_eq!(failed[0]["level"], "warning");
    troubled.order("ok");
    let page = troubled.scrape("10");
    assert_eq!(value(&page, SUCCESS), Some(1.0));
    assert_eq!(value(&page, "last_good"), Some(4.0));
    assert_eq!(value(&page, &errors("timeout")), Some(0.0));
}

/// The run was never marked as ended, so there was no other one, and no page told of it.
#[test]
fn e5_an_error_without_a_text_is_a_panic_of_the_handler() {
    let troubled = Troubled::start("unspeakable");
    troubled.order("fail to say");
    for run in 1..=2 {
        let page = troubled.scrape("10");
        assert_eq!(value(&page, "updates"), Some(f64::from(run)));
        assert_eq!(value(&page, SUCCESS), Some(0.0));
        assert_eq!(value(&page, &errors("panic")), Some(f64::from(run)));
    }
}

#[test]
fn e5_a_handler_that_hangs_holds_no_page() {
    for order in ["hang", "block"] {
        let troubled = Troubled::start(order);
        troubled.scrape("10");
        troubled.order(order);
        for _ in 0..3 {
            let page = troubled.scrape("0.5");
            assert_eq!(value(&page, "last_good"), Some(1.0), "{page}");
            assert_eq!(value(&page, SUCCESS), Some(0.0));
            assert_eq!(
                value(&page, &errors("timeout")),
                Some(1.0),
                "one run, one timeout"
            );
        }
        // All three waited for the same run, so no others pile up.
        assert_eq!(value(&troubled.scrape("0.5"), "updates"), Some(2.0));
    }
}

#[test]
fn e5_a_handler_that_takes_longer_than_the_timeout_is_fresh_at_the_next_scrape() {
    let troubled = Troubled::start("slow");
    troubled.scrape("10");
    troubled.order("sleep 1.5");
    let page = troubled.scrape("0.5");
    assert_eq!(value(&page, SUCCESS), Some(0.0), "{page}");
    assert_eq!(value(&page, "last_good"), Some(1.0));
    assert_eq!(value(&page, &errors("timeout")), Some(1.0));
    eventually("the end of the run", || {
        // Too short for a run, so it only sees the one that is running, and long enough to make the
        // page on a busy machine.
        value(&troubled.scrape("1"), "last_good") >= Some(2.0)
    });
}

#[test]
fn e5_ten_scrapes_at_once_share_one_run() {
    let troubled = Troubled::start("ten");
    troubled.order("sleep 1");
    let pages: Vec<String> = thread::scope(|scope| {
        let scrapes: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| troubled.scrape("30")))
            .collect();
        scrapes
            .into_iter()
            .map(|scrape| scrape.join().unwrap())
            .collect()
    });
    for page in &pages {
        assert_eq!(value(page, SUCCESS), Some(1.0), "{page}");
        // Two, if a thread came a second after the first.
        assert!(value(page, "last_good").unwrap() <= 2.0, "{page}");
    }
    let runs = pages
        .iter()
        .map(|page| value(page, "updates").unwrap())
        .fold(0.0, f64::max);
    assert!(runs <= 2.0, "{runs}");
}

#[test]
fn e5_an_exporter_without_metrics_about_itself() {
    let mut running = serve("troubled_exporter", &["--web.disable-exporter-metrics"]);
    let page = running.get("/metrics").text().to_owned();
    assert!(
        !page.contains("exporter_") && page.contains("last_good 1\n"),
        "{page}"
    );
    assert!(!page.contains("tallies_"), "{page}");
}

#[test]
fn a_probe_has_a_registry_of_its_own() {
    let mut running = serve("troubled_exporter", &[]);
    let address = running.address();
    let probe = |query: &str, headers: &[&str]| get(address, &format!("/probe?{query}"), headers);
    let pages: Vec<String> = thread::scope(|scope| {
        let probes: Vec<_> = (1..=8)
            .map(|length| {
                scope.spawn(move || {
                    let target = "x".repeat(length);
                    get(address, &format!("/probe?target={target}"), &[])
                        .text()
                        .to_owned()
                })
            })
            .collect();
        probes
            .into_iter()
            .map(|probe| probe.join().unwrap())
            .collect()
    });
    for (i, page) in pages.iter().enumerate() {
        assert_eq!(value(page, "probe_length"), Some(i as f64 + 1.0));
        assert_eq!(value(page, "probe_success"), Some(1.0));
        assert!(value(page, "probe_duration_seconds").is_some());
        assert!(!page.contains("last_good"), "{page}");
    }
    for target in ["fail", "panic"] {
        let page = probe(&format!("target={target}&token=hunter2"), &[]);
        assert_eq!(page.status(), 200);
        assert_eq!(value(page.text(), "probe_success"), Some(0.0));
    }
    let hanging = probe("target=hang", &["X-Prometheus-Scrape-Timeout-Seconds: 0.5"]);
    assert_eq!(value(hanging.text(), "probe_success"), Some(0.0));
    let missing = probe("module=x", &[]);
    assert_eq!(missing.status(), 400);
    assert!(missing.text().contains("target="), "{missing:?}");
    let page = probe("target=a%20b", &["Accept: application/openmetrics-text"]);
    assert!(page.text().ends_with("# EOF\n"));
    assert_eq!(value(page.text(), "probe_length"), Some(3.0));
    assert_eq!(running.wait_for("probe failed", 3)[0]["path"], "/probe");
    assert!(!running.log().concat().contains("hunter2"), "a secret");
    // Its metrics are on no other page.
    assert!(
        !get(address, "/metrics", &[])
            .text()
            .contains("probe_length")
    );
}

/// With all threads of the handlers' runtime blocked, nobody received signals.
#[test]
fn handlers_that_block_all_threads_hold_up_no_signal() {
    let mut running = serve("troubled_exporter", &[]);
    let address = running.address();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let timeout = "X-Prometheus-Scrape-Timeout-Seconds: 0.5";
                let page = get(address, "/probe?target=block", &[timeout]);
                assert_eq!(value(page.text(), "probe_success"), Some(0.0));
            });
        }
    });
    // The thread that drives the runtime may be the last one that is blocked.
    assert_eq!(get(address, "/-/healthy", &[]).status(), 200);
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
}

/// The password of the configured server went to any target, and a reply with a great length ended
/// the exporter for lack of memory.
#[test]
fn a_hostile_target_gets_no_password_and_does_no_harm() {
    let mut running = serve("redis_exporter", &["--password", "hunter2"]);
    let address = running.address();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = target.local_addr().unwrap();
    let hostile = thread::spawn(move || {
        let mut received = Vec::new();
        for reply in ["$999999999999999\r\n", "$18446744073709551615\r\n"] {
            let (mut client, _) = target.accept().unwrap();
            let mut bytes = [0; 1000];
            let length = client.read(&mut bytes).unwrap();
            received.extend_from_slice(&bytes[..length]);
            client.write_all(reply.as_bytes()).unwrap();
        }
        String::from_utf8(received).unwrap()
    });
    for _ in 0..2 {
        let page = get(address, &format!("/probe?target={place}"), &[]);
        assert_eq!(value(page.text(), "probe_success"), Some(0.0), "{page:?}");
    }
    let received = hostile.join().unwrap();
    assert!(
        received.contains("INFO") && !received.contains("hunter2"),
        "{received}"
    );
    assert_eq!(get(address, "/-/healthy", &[]).status(), 200);
}

/// Asks for probes that hang, from two hosts, until no further one has a place.
#[cfg(target_os = "linux")]
fn hanging_probes(address: SocketAddr, target: &str) -> Vec<TcpStream> {
    let hang = request("GET", &format!("/probe?target={target}"), &[]);
    let hanging = (0..80)
        .map(|i| {
            let mut stream = crate::peers::connect_from(2 + i / 40, address);
            stream.write_all(&hang).unwrap();
            stream
        })
        .collect();
    eventually("probes are rejected at once", || {
        get(address, "/probe?target=fail", &[]).status() == 503
    });
    hanging
}

/// Probes whose target hangs had all places of the exporter, so that nobody else was served: 13
/// requests a second sufficed.
#[cfg(target_os = "linux")]
#[test]
fn probes_that_hang_take_a_quarter_of_the_places() {
    let mut running = serve("troubled_exporter", &[]);
    let address = running.address();
    let hanging = hanging_probes(address, "hang");
    for path in ["/metrics", "/-/healthy"] {
        assert_eq!(get(address, path, &[]).status(), 200, "{path}");
    }
    drop(hanging);
    eventually("a probe has a place", || {
        get(address, "/probe?target=x", &[]).status() == 200
    });
}

/// Their pages had the threads of the metrics page.
#[cfg(target_os = "linux")]
#[test]
fn pages_of_probes_that_hang_leave_the_metrics_alone() {
    let mut running = serve("troubled_exporter", &[]);
    let address = running.address();
    let _hanging = hanging_probes(address, "collect");
    for path in ["/metrics", "/-/cardinality", "/-/healthy"] {
        assert_eq!(get(address, path, &[]).status(), 200, "{path}");
    }
}
