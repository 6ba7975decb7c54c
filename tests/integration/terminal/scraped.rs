//! Pages that are not as their format has them, in the viewer and the linter: each page that
//! Prometheus takes is shown, and each that it refuses is named.

use std::process::Command;

use serde_json::Value;

#[path = "../../support/scraped.rs"]
mod pages;

use crate::screen::{TOOL, Terminal, line_with};
use pages::{PAGES, Page, Verdict, serve};

fn is_refused(page: &Page) -> bool {
    matches!(page.prometheus, Verdict::Refused | Verdict::TakenBy2(_))
}

fn is_html(page: &Page) -> bool {
    page.body.starts_with(b"<")
}

/// The linter once said one line about such a page, and nothing about the rest of it.
#[test]
fn the_linter_remarks_on_lines_and_says_which_of_them_prometheus_refuses() {
    let address = serve();
    let urls = (0..PAGES.len()).map(|i| format!("http://{address}/{i}"));
    let run = Command::new(&*TOOL)
        .args(["lint", "--json"])
        .args(urls)
        .output()
        .unwrap();
    // There are pages of HTML among them.
    assert_eq!(run.status.code(), Some(2));
    let errors = String::from_utf8(run.stderr).unwrap();
    let said: Value = serde_json::from_slice(&run.stdout).unwrap();
    let mut said = said.as_array().unwrap().iter();
    for (i, page) in PAGES.iter().enumerate() {
        let name = page.name;
        if is_html(page) {
            let error = line_with(&errors, &[&format!("/{i}: "), "this is HTML"]);
            assert!(error.is_some(), "{name}: {errors}");
            continue;
        }
        let problems = said.next().unwrap()["problems"].as_array().unwrap();
        let of_rule = |rule| {
            problems
                .iter()
                .filter(move |problem| problem["rule"] == rule)
        };
        let refused = page.remarks.iter().filter(|remark| remark.contains('!'));
        assert_eq!(
            of_rule("syntax").count(),
            refused.count(),
            "{name}: {problems:?}"
        );
        assert_eq!(of_rule("syntax").count() > 0, is_refused(page), "{name}");
        let all = of_rule("syntax").count() + of_rule("format").count();
        assert_eq!(all, page.remarks.len(), "{name}: {problems:?}");
        for problem in of_rule("syntax").chain(of_rule("format")) {
            let is_header = problem["text"].as_str().unwrap().contains("Content-Type");
            assert_eq!(problem["line"].is_u64(), !is_header, "{name}: {problem}");
        }
    }
    assert!(said.next().is_none());
}

/// Endpoints that are watched at once.
const AT_ONCE: usize = 55;

/// The viewer once showed no row of a page that has a TYPE twice, or one line that is broken.
#[test]
fn the_viewer_shows_what_can_be_read_and_says_why_prometheus_refuses_a_page() {
    let address = serve();
    for (chunk, pages) in PAGES.chunks(AT_ONCE).enumerate() {
        let first = chunk * AT_ONCE;
        let urls: Vec<_> = (0..pages.len())
            .map(|i| format!("http://{address}/{}", first + i))
            .collect();
        let urls: Vec<_> = urls.iter().map(String::as_str).collect();
        let terminal = Terminal::top(130, 160, &urls);
        for (page, url) in pages.iter().zip(&urls) {
            let url = format!("{url} ");
            match page {
                _ if is_html(page) => terminal.line(&["✗", &url, "this is HTML"]),
                _ if is_refused(page) => {
                    terminal.line(&["!", &url, "Prometheus refuses this page: "])
                }
                _ => terminal.line(&["●", &url, "families"]),
            };
        }
        terminal.line(&["q quit", "remarks: `tallies lint` has them"]);
    }
}

/// A line that is broken hides no other.
#[test]
fn the_viewer_shows_the_other_lines_of_a_page_that_prometheus_refuses() {
    let address = serve();
    let i = PAGES
        .iter()
        .position(|page| page.name == "one bad line")
        .unwrap();
    let terminal = Terminal::top(30, 120, &[&format!("http://{address}/{i}")]);
    terminal.line(&[
        "!",
        "Prometheus refuses this page: line 2, column 3: `x` is not a number",
    ]);
    terminal.line(&["  a ", "1"]);
    terminal.line(&["  c ", "1"]);
    terminal.line(&["q quit", "1 remark: `tallies lint` has it"]);
}
