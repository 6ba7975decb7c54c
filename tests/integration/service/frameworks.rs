//! Runs the examples of web frameworks as processes: each is scraped and exits by itself.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::negotiation::gunzipped;
use crate::support::http::{Answer, exchange, request};
use crate::support::{examples, exposition};

const EXAMPLES: [&str; 3] = ["axum_metrics", "actix_metrics", "hyper_metrics"];

/// A process that is killed when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: &str, path: &str, headers: &[&str]) -> Answer {
    ask_by("GET", address, path, headers)
}

fn ask_by(method: &str, address: &str, path: &str, headers: &[&str]) -> Answer {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    exchange(stream, &request(method, path, headers)).unwrap()
}

#[test]
fn each_framework_exposes_metrics() {
    let folder = examples::build(&EXAMPLES);
    for example in EXAMPLES {
        let mut child = Command::new(folder.join(example))
            .arg("--once")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut running = Running(child);
        out.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("Serving metrics on http://")
            .and_then(|url| url.strip_suffix("/metrics"))
            .unwrap_or_else(|| panic!("{example}: {line}"));
        // The Accept header of Prometheus 2.0 and VictoriaMetrics.
        let accept = ["Accept: text/plain;version=0.0.4;q=1,*/*;q=0.1"];
        for _ in 0..3 {
            let page = ask(address, "/metrics", &accept);
            assert_eq!(page.status(), 200, "{example}");
            assert_eq!(
                page.header("content-type"),
                Some("text/plain; version=0.0.4; charset=utf-8"),
                "{example}"
            );
            exposition::read(page.text()).unwrap();
            assert!(page.text().contains("\ngreetings_total 0\n"), "{example}");
        }
        // Several Accept headers mean one list. `Vary` keeps caches from returning this page for
        // other Accept headers.
        let several = [
            "Accept: image/png",
            "Accept: application/openmetrics-text;version=1.0.0",
        ];
        let page = ask(address, "/metrics", &several);
        assert!(page.text().ends_with("# EOF\n"), "{example}");
        let vary = page.header("vary").unwrap_or_default();
        assert!(vary.to_ascii_lowercase().starts_with("accept"), "{example}");
        let query = "/metrics?name[]=greetings_total";
        let page = "# HELP greetings_total Greetings sent.\n# TYPE greetings_total counter\n\
                    greetings_total 0\n";
        assert_eq!(ask(address, query, &[]).text(), page, "{example}");
        let packed = ask(address, query, &["Accept-Encoding: gzip"]);
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{example}");
        assert_eq!(gunzipped(&packed.body), page.as_bytes(), "{example}");
        for headers in [&[][..], &["Accept-Encoding: gzip"]] {
            let get = ask(address, query, headers);
            let head = ask_by("HEAD", address, query, headers);
            assert_eq!(head.status(), 200, "{example}");
            assert_eq!(head.body, b"", "{example}");
            for name in ["content-type", "content-encoding", "content-length", "vary"] {
                assert_eq!(head.header(name), get.header(name), "{example}: {name}");
            }
            let length = get.body.len().to_string();
            assert_eq!(get.header("content-length"), Some(&*length), "{example}");
        }
        let post = ask_by("POST", address, "/metrics", &[]);
        assert_eq!(post.status(), 405, "{example}");
        assert_eq!(ask(address, "/", &[]).text(), "hello\n", "{example}");
        until_it_ends(example, &mut running.0);
    }
}

fn until_it_ends(example: &str, child: &mut Child) {
    let mut status = None;
    crate::support::http::until(example, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success(), "{example}");
}
