//! The live page of an exporter.

use std::net::SocketAddr;

use serde_json::Value;

use crate::events::Events;
use crate::process::{HERE, command, folder, run, said, serve, start, value};
use crate::support::eventually;
use crate::support::http::{connect, get};
use crate::updates::Troubled;
use crate::web::{basic, hash};

const POLICY: &str = "content-security-policy";

fn events(address: SocketAddr, headers: &[&str]) -> Frames {
    let events = Events::begin(connect(address), "", headers);
    assert!(events.head.starts_with("HTTP/1.1 200 "), "{}", events.head);
    Frames {
        events,
        names: Vec::new(),
    }
}

/// The frames of a stream, and the names in their order.
struct Frames {
    events: Events,
    names: Vec<String>,
}

impl Frames {
    fn next(&mut self) -> Value {
        let frame = self.events.next().unwrap();
        if let Some(names) = frame["names"].as_array() {
            let name = |family: &Value| family[0].as_str().unwrap().to_owned();
            self.names = names.iter().map(name).collect();
        }
        frame
    }

    fn value(&self, frame: &Value, name: &str) -> f64 {
        let at = self.names.iter().position(|own| own == name).unwrap();
        frame["all"][at][1].as_f64().unwrap()
    }
}

#[test]
fn there_is_no_live_page_unless_it_is_wanted() {
    let mut running = serve("troubled_exporter", &[]);
    for path in ["/live", "/live/stream", "/live/page.js"] {
        assert_eq!(running.get(path).status(), 404, "{path}");
    }
    assert!(!running.get("/").text().contains("live"));
    // A program that has it can be told not to.
    const IS_LIVE: (&str, &str) = ("TROUBLED_EXAMPLE_IS_LIVE", "yes");
    const VARIABLE: &str = "TROUBLED_WEB_ENABLE_LIVE";
    for (option, variables, status) in [
        (Some("--web.enable-live"), &[][..], 200),
        (None, &[(VARIABLE, "true")], 200),
        (None, &[(VARIABLE, "false")], 404),
        (None, &[IS_LIVE], 200),
        (None, &[IS_LIVE, (VARIABLE, "false")], 404),
    ] {
        let mut command = command("troubled_exporter", HERE.iter().copied().chain(option));
        command.envs(variables.iter().copied());
        let mut running = start(command);
        let answer = running.get("/live");
        assert_eq!(answer.status(), status, "{option:?} {variables:?}");
        let home = running.get("/");
        assert_eq!(home.text().contains("<a href='live'>"), status == 200);
    }
    // It takes a path.
    let taken = ["--web.enable-live", "--metrics-path", "/live/metrics"];
    let output = run(command(
        "troubled_exporter",
        HERE.iter().copied().chain(taken),
    ));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        said(&output.stderr).contains("must not be `/live`"),
        "{output:?}"
    );
}

#[test]
fn the_live_page_and_the_report_ask_for_the_password_of_the_metrics() {
    let config = folder("live").join("web.yml");
    let headers = "http_server_config: {headers: {Content-Security-Policy: default-src *}}\n";
    let users = format!("basic_auth_users: {{ann: '{}'}}\n{headers}", hash("secret"));
    std::fs::write(&config, users).unwrap();
    let config = config.display().to_string();
    let args = ["--web.enable-live", "--web.config.file", &config];
    let mut running = serve("troubled_exporter", &args);
    let address = running.address();
    let paths = ["/live", "/live/page.js", "/live/stream", "/-/cardinality"];
    for path in paths {
        for headers in [&[][..], &[&*basic("ann:wrong")]] {
            let answer = get(address, path, headers);
            assert_eq!(answer.status(), 401, "{path}");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Basic"), "{challenge}");
            assert!(!answer.text().contains("last_good"));
        }
    }
    let secret = basic("ann:secret");
    let page = get(address, "/live", &[&secret]);
    assert_eq!(page.status(), 200);
    // The policy of the page stays as strict as it is. Other pages have the one of the file.
    let policy = page.header(POLICY).unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let metrics = get(address, "/metrics", &[&secret]);
    assert_eq!(metrics.header(POLICY), Some("default-src *"));
    assert_eq!(metrics.status(), 200);
    let report = get(address, "/-/cardinality", &[&secret]);
    assert_eq!(report.status(), 200);
    let text = report.text();
    assert!(text.contains("read_bytes_total: 2 series"), "{text}");
    assert!(text.contains("disk: 2 (sda 1, sdb 1)"), "{text}");
    let report = get(address, "/-/cardinality?format=json", &[&secret]);
    assert!(serde_json::from_slice::<Value>(&report.body).is_ok());
    let mut frames = events(address, &[&secret]);
    let frame = frames.next();
    assert!(frames.value(&frame, "last_good") >= 1.0, "{frame}");
}

#[test]
fn the_live_page_shows_current_figures_and_a_page_that_is_closed_costs_nothing() {
    let troubled = Troubled::with("live-current", &["--web.enable-live"]);
    let mut pages: Vec<_> = (0..3).map(|_| events(troubled.address, &[])).collect();
    let mut last: Option<f64> = None;
    for i in 0..4 {
        let frames: Vec<_> = pages.iter_mut().map(Frames::next).collect();
        let runs = pages[0].value(&frames[0], "updates");
        assert_eq!(pages[0].value(&frames[0], "last_good"), runs);
        // One run for all pages.
        assert!(
            runs <= f64::from(i + 1),
            "{runs} runs for {} moments",
            i + 1
        );
        if let Some(last) = last {
            assert!(runs >= last, "{runs} {last}");
            if i == 3 {
                assert!(runs > 1.0, "no run for the page: {}", frames[0]);
            }
        }
        last = Some(runs);
        for (page, frame) in pages.iter().zip(&frames) {
            // A page that is behind gets the last moment.
            if frame["number"] == frames[0]["number"] {
                assert_eq!(page.value(frame, "updates"), runs);
            }
            assert_eq!(
                page.value(frame, "read_bytes_total"),
                30.0 * page.value(frame, "updates")
            );
        }
    }
    drop(pages);
    let numbers = |page: &str| {
        (
            value(page, "updates").unwrap(),
            value(page, "ticks_total").unwrap(),
        )
    };
    // Each scrape has its own run. The ticks tell that some time passes.
    eventually("an end of other runs", || {
        let (first, begin) = numbers(&troubled.scrape("10"));
        let mut scrapes = 0.0;
        loop {
            scrapes += 1.0;
            let (now, ticks) = numbers(&troubled.scrape("10"));
            if ticks >= begin + 50.0 {
                return now == first + scrapes;
            }
        }
    });
}

#[test]
fn a_handler_that_hangs_or_fails_leaves_the_live_page_with_the_last_good_values() {
    for (order, reason) in [("hang", "timeout"), ("block", "timeout"), ("fail", "error")] {
        let troubled = Troubled::with(&format!("live-{order}"), &["--web.enable-live"]);
        let mut page = events(troubled.address, &[]);
        let frame = page.next();
        assert_eq!(page.value(&frame, "last_good"), 1.0);
        troubled.order(order);
        let mut frame = frame;
        // A run that began before the order may end well.
        eventually("the order", || {
            frame = page.next();
            page.value(&frame, "updates") > page.value(&frame, "last_good")
        });
        let (runs, good) = (
            page.value(&frame, "updates"),
            page.value(&frame, "last_good"),
        );
        for _ in 0..3 {
            frame = page.next();
            assert_eq!(page.value(&frame, "last_good"), good);
        }
        if order == "fail" {
            assert!(page.value(&frame, "exporter_update_errors_total") >= 1.0);
            assert!(page.value(&frame, "updates") > runs, "it tries again");
        } else {
            // One run, however many moments.
            assert_eq!(page.value(&frame, "updates"), runs);
        }
        // A scrape shares the run.
        let scraped = troubled.scrape("0.5");
        assert_eq!(
            value(&scraped, "exporter_update_success{update=\"metrics\"}"),
            Some(0.0)
        );
        let errors =
            format!("exporter_update_errors_total{{update=\"metrics\",reason=\"{reason}\"}}");
        assert!(value(&scraped, &errors) >= Some(1.0), "{scraped}");
        if order != "fail" {
            // Only the scrape says that it is late.
            assert_eq!(value(&scraped, &errors), Some(1.0));
            assert_eq!(value(&scraped, "updates"), Some(runs));
        }
    }
}

/// A run of 0.2 s is followed by a pause of 2 s.
#[test]
fn a_handler_that_takes_long_runs_for_at_most_a_tenth_of_the_time() {
    let troubled = Troubled::with("live-slow", &["--web.enable-live"]);
    troubled.order("sleep 0.2");
    let mut page = events(troubled.address, &[]);
    let mut frame = page.next();
    let number = |page: &Frames, frame: &Value| {
        (
            page.value(frame, "updates"),
            frame["time"].as_f64().unwrap(),
        )
    };
    let (first, begin) = number(&page, &frame);
    for _ in 0..6 {
        frame = page.next();
        let (runs, time) = number(&page, &frame);
        // Its runs begin at least 2.2 s apart. The first one ended before the first frame.
        let most = ((time - begin) / 1000.0 + 0.5) / 2.2 + 1.0;
        assert!(runs - first <= most, "{runs} {first} {most}");
    }
    eventually("another run", || {
        frame = page.next();
        number(&page, &frame).0 > first
    });
    assert!(page.value(&frame, "last_good") >= first);
}
