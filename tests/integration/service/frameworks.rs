//! Runs the examples of web frameworks as processes: each is scraped and exits by itself.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::negotiation::gunzipped;
use crate::support::http::{ask, get};
use crate::support::{Running, eventually, examples, exposition};

const EXAMPLES: [&str; 3] = ["axum_metrics", "actix_metrics", "hyper_metrics"];

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
            let page = get(address, "/metrics", &accept);
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
        let page = get(address, "/metrics", &several);
        assert!(page.text().ends_with("# EOF\n"), "{example}");
        let vary = page.header("vary").unwrap_or_default();
        assert!(vary.to_ascii_lowercase().starts_with("accept"), "{example}");
        let query = "/metrics?name[]=greetings_total";
        let page = "# HELP greetings_total Greetings sent.\n# TYPE greetings_total counter\n\
                    greetings_total 0\n";
        assert_eq!(get(address, query, &[]).text(), page, "{example}");
        let packed = get(address, query, &["Accept-Encoding: gzip"]);
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{example}");
        assert_eq!(gunzipped(&packed.body), page.as_bytes(), "{example}");
        for headers in [&[][..], &["Accept-Encoding: gzip"]] {
            let whole = get(address, query, headers);
            let head = ask(address, "HEAD", query, headers);
            assert_eq!(head.status(), 200, "{example}");
            assert_eq!(head.body, b"", "{example}");
            for name in ["content-type", "content-encoding", "content-length", "vary"] {
                assert_eq!(head.header(name), whole.header(name), "{example}: {name}");
            }
            let length = whole.body.len().to_string();
            assert_eq!(head.header("content-length"), Some(&*length), "{example}");
        }
        let post = ask(address, "POST", "/metrics", &[]);
        assert_eq!(post.status(), 405, "{example}");
        assert_eq!(get(address, "/", &[]).text(), "hello\n", "{example}");
        let status = eventually(example, || running.0.try_wait().unwrap());
        assert!(status.success(), "{example}");
    }
}
