//! The linter as a program: what it prints, and how it exits.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use portable_pty::CommandBuilder;
use tallies::{Registry, serve::Server};

use crate::screen::{TOOL, Terminal};

fn lint(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(&*TOOL)
        .arg("lint")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that exits early reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_exit_code_says_whether_there_are_problems() {
    for (arguments, input, code, output) in [
        (&["-"][..], "# HELP a A.\n# TYPE a gauge\na 1\n", 0, ""),
        (
            &["-"],
            "# HELP a A.\n# TYPE a counter\na 1\n",
            1,
            "a: it is a counter, so its name should be `a_total` [counter-suffix]\n",
        ),
        (
            &["-"],
            "a 1\na{b=c} 1\n",
            1,
            "line 2, column 5: found `c} 1`; a value in quotes is expected; Prometheus refuses the \
             page [syntax]\na: it has no help text [help]\n",
        ),
        // Prometheus takes it.
        (
            &["-"],
            "# HELP a A.\n# TYPE a gauge\na{b=\"1\"} 1\n# TYPE a gauge\na{b=\"2\"} 1\n# TYPE a gauge\n",
            1,
            "line 4, column 10: TYPE of `a` is given twice, and 1 more times [format]\n",
        ),
        (
            &["--allow", "format", "-"],
            "# HELP a A.\n# TYPE a gauge\na 1",
            0,
            "",
        ),
        (
            &["--allow", "format", "-"],
            "# HELP a A.\na one\n",
            1,
            "line 2, column 3: ",
        ),
        (&["-"], "\n <!DOCTYPE html>\n", 2, ""),
        (
            &["--allow", "help,kind-in-name", "-"],
            "# TYPE a_gauge gauge\na_gauge 1\n",
            0,
            "",
        ),
        (&["--promlint", "-"], "# HELP a A.\na{__b=\"1\"} 1\n", 0, ""),
        (
            &["-"],
            "# HELP a A.\na{__b=\"1\"} 1\n",
            1,
            "a: its label `__b` is reserved, because it begins with `__` [label-underscores]\n",
        ),
        (&["--allow", "no-such-rule", "-"], "", 2, ""),
        (&["/nonexistent"], "", 2, ""),
        (&["http://127.0.0.1:1/metrics"], "", 2, ""),
        (&[], "", 2, ""),
    ] {
        let run = lint(arguments, input);
        let said = text(run.stdout);
        assert_eq!(run.status.code(), Some(code), "{arguments:?}: {said}");
        let is_beginning = output.ends_with(' ') && said.starts_with(output);
        assert!(said == output || is_beginning, "{said}");
        assert_eq!(run.stderr.is_empty(), code < 2);
    }
}

/// A user who runs it by hand wants to see that it has read something.
#[test]
fn a_terminal_is_told_that_all_is_well() {
    let registry = Registry::new();
    for name in ["a", "b"] {
        registry.gauge(name, "A value.").unwrap();
    }
    registry.set_self_metrics(false);
    let serving = Server::new().registry(&registry);
    let serving = serving.listen("127.0.0.1:0").unwrap();
    let mut command = CommandBuilder::new(&*TOOL);
    command.args(["lint", &serving.metrics_url()]);
    let mut terminal = Terminal::start(10, 80, command);
    terminal.line(&["2 families, nothing to say"]);
    assert_eq!(terminal.ended(), 0);
}

/// Names from outside cannot write to the terminal, wherever they stand in the output.
#[test]
fn control_characters_in_names_are_shown_and_not_obeyed() {
    let name = "n\u{1b}]0;title\u{7}\u{9b}2J\r\u{202e}\u{2028}";
    let pages = [
        format!("# TYPE \"{name}\" counter\n{{\"{name}\"}} 1\n"),
        format!("# TYPE \"{name}\" counter\n{{\"{name}\"}} 1\n# EOF\n"),
        format!("# HELP a A.\n# TYPE a gauge\na{{\"__{name}\"=\"1\"}} 1\n"),
        format!("# TYPE a gauge\na 1\n# TYPE \"a{name}\" gauge\n\"a{name}\" 1\n"),
    ];
    for page in pages {
        for arguments in [&["-"][..], &["--json", "-"], &["-", "\u{1b}[2J"]] {
            let run = lint(arguments, &page);
            for said in [text(run.stdout), text(run.stderr)] {
                let obeyed =
                    |c: char| c != '\n' && c.is_control() || matches!(c, '\u{202e}' | '\u{2028}');
                assert!(!said.contains(obeyed), "{page:?}: {said:?}");
            }
        }
    }
}

/// The limit once counted the bytes before they were decompressed.
#[test]
fn a_page_that_is_small_only_while_it_is_compressed_is_refused() {
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..65).for_each(|_| coder.write_all(&zeros).unwrap());
    let body = coder.finish().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let length = body.len();
        let head = format!("Content-Encoding: gzip\r\nContent-Length: {length}");
        let head = format!("HTTP/1.1 200 OK\r\n{head}\r\nConnection: close\r\n\r\n");
        // The client leaves as soon as it has enough.
        let _ = stream.write_all(&[head.as_bytes(), &body].concat());
    });
    let run = lint(&["--timeout", "60", &url], "");
    assert_eq!(run.status.code(), Some(2));
    let said = text(run.stderr);
    assert!(said.contains("the page is larger than 64 MiB"), "{said}");
    server.join().unwrap();
}

/// Serves a page as text, and a broken one as OpenMetrics. Ends with the test's process.
fn serve_two_formats() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..n]);
            let (kind, body) = match request.contains("openmetrics") {
                true => (
                    "application/openmetrics-text; version=1.0.0",
                    "# TYPE a gauge\na 1\n",
                ),
                false => ("text/plain; version=0.0.4", "# TYPE a gauge\na 1\n"),
            };
            let length = body.len();
            let head = format!("Content-Type: {kind}\r\nContent-Length: {length}");
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\nConnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

#[test]
fn an_endpoint_is_checked_in_both_formats() {
    let url = serve_two_formats();
    let run = lint(&["--json", &url], "");
    assert_eq!(run.status.code(), Some(1), "{}", text(run.stderr));
    let pages: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(pages[0]["page"], url);
    let problems = pages[0]["problems"].as_array().unwrap();
    let rules: Vec<_> = problems
        .iter()
        .map(|problem| {
            (
                problem["rule"].as_str().unwrap(),
                problem["promlint"].as_bool().unwrap(),
            )
        })
        .collect();
    // Only the OpenMetrics page lacks its last line.
    assert_eq!(rules, [("syntax", false), ("help", true)], "{pages}");
}

#[test]
fn an_endpoint_of_ours_is_checked_over_http() {
    let registry = Registry::new();
    registry.set_lint(false);
    registry.counter("sent", "Sent.").unwrap();
    registry.counter("good_total", "Good.").unwrap();
    let serving = Server::new().registry(&registry).basic_auth("me", "secret");
    let serving = serving.listen("127.0.0.1:0").unwrap();
    let url = serving.metrics_url().replace("//", "//me:secret@");
    let run = lint(&[&url, "-"], "# HELP a A.\n# TYPE a gauge\na 1\n");
    assert_eq!(run.status.code(), Some(1), "{}", text(run.stderr));
    let shown = serving.metrics_url();
    assert_eq!(
        text(run.stdout),
        format!(
            "{shown}: sent: it is a counter, so its name should be `sent_total` [counter-suffix]\n"
        )
    );
}

#[test]
fn the_rules_are_listed() {
    let run = lint(&["--rules"], "");
    assert!(run.status.success());
    let said = text(run.stdout);
    let rules = tallies_check::lint::Rule::ALL;
    // And those of lines: `format` and `syntax`.
    assert_eq!(said.lines().count(), rules.len() + 2);
    assert!(
        rules.iter().all(|rule| said.contains(rule.name())),
        "{said}"
    );
}

/// Families that programs get from this crate keep its own rules.
#[tokio::test]
async fn our_own_families_have_no_problems() {
    let registry = Registry::new();
    tallies::process::register(&registry).unwrap();
    let runtime = tokio::runtime::Handle::current();
    tallies::process::register_runtime(&registry, &runtime).unwrap();
    let server = tallies_http::ServerMetrics::new().register(&registry);
    let client = tallies_http::ClientMetrics::new().register(&registry);
    let _layers = (server.unwrap(), client.unwrap());
    let snapshot = registry.snapshot();
    assert!(snapshot.families().count() > 15);
    assert_eq!(tallies_check::lint(&snapshot), []);
}
