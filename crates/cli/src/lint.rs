//! Says what Prometheus users would not expect of a page of metrics.
//!
//!     tallies lint http://127.0.0.1:9464/metrics
//!     tallies lint --json page.txt
//!     curl -s http://127.0.0.1:9464/metrics | tallies lint -
//!
//! Exits with 0 if there is nothing to say, with 1 if there is, and with 2 if a page cannot be had.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tallies_check::lint::{Problem, Rule, lint};

use crate::fetch::{Client, Page, Target};
use crate::printable::{Printable, json as json_text};

/// Says what Prometheus users would not expect of a page of metrics: the rules of `promtool check
/// metrics` and ours.
#[derive(Args)]
pub struct Options {
    /// URLs (http or https, with user:password@ if needed), files, or - for standard input.
    #[arg(required_unless_present = "rules", value_name = "URL|FILE")]
    pages: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Leave out what these rules say, such as `shared-samples,help`.
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = rule)]
    allow: Vec<String>,
    /// Keep only the rules of promlint.
    #[arg(long)]
    promlint: bool,
    /// Print the names of the rules.
    #[arg(long)]
    rules: bool,
    /// Trust the certificates in this PEM file instead of the public ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Wait so many seconds for a page.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

fn rule(name: &str) -> Result<String, String> {
    match Rule::ALL.iter().any(|rule| rule.name() == name) {
        true => Ok(name.to_owned()),
        false => Err("there is no such rule; --rules prints all".to_owned()),
    }
}

/// One line of the output.
#[derive(Debug, PartialEq)]
struct Finding {
    family: String,
    rule: &'static str,
    promlint: bool,
    text: String,
}

/// Checks the pages and prints the findings.
pub fn run(options: &Options) -> ExitCode {
    if options.rules {
        for rule in Rule::ALL {
            let origin = if rule.is_promlint() {
                "  (promlint)"
            } else {
                ""
            };
            println!("{}{origin}", rule.name());
        }
        return ExitCode::SUCCESS;
    }
    let mut found = Vec::new();
    let mut families = 0;
    let mut failed = false;
    for page in &options.pages {
        match pages(page, options) {
            Ok(pages) => {
                // The URL without its password.
                let shown = Target::parse(page).ok().filter(|_| is_url(page));
                let shown = shown.map_or_else(|| page.clone(), |target| target.url);
                let (count, mut findings) = findings(&pages);
                families += count;
                findings.retain(|finding| options.keeps(finding));
                found.push((shown, findings));
            }
            Err(error) => {
                eprintln!("tallies lint: {}", Printable(&error));
                failed = true;
            }
        }
    }
    let output = if options.json {
        as_json(&found)
    } else {
        as_text(&found)
    };
    // A reader that went away, such as `head`, is no error.
    let _ = std::io::stdout().write_all(output.as_bytes());
    let clean = found.iter().all(|(_, findings)| findings.is_empty());
    match (failed, clean) {
        (true, _) => ExitCode::from(2),
        (_, false) => ExitCode::from(1),
        _ => {
            if std::io::stderr().is_terminal() {
                let plural = if families == 1 { "family" } else { "families" };
                eprintln!("tallies lint: {families} {plural}, nothing to say");
            }
            ExitCode::SUCCESS
        }
    }
}

impl Options {
    /// Returns whether a finding is printed. A page that cannot be read always is.
    fn keeps(&self, finding: &Finding) -> bool {
        let is_allowed = self.allow.iter().any(|rule| rule == finding.rule);
        finding.rule == "syntax" || !is_allowed && (finding.promlint || !self.promlint)
    }
}

fn is_url(page: &str) -> bool {
    page.contains("://")
}

/// Reads a page in each format that its source has.
fn pages(page: &str, options: &Options) -> Result<Vec<Page>, String> {
    if is_url(page) {
        let target = Target::parse(page)?;
        let url = target.url.clone();
        let timeout = Duration::from_secs(options.timeout.max(1));
        let client = Client::new(target, timeout, options.ca.as_deref())?;
        let get = |accept| {
            client
                .get(accept)
                .map_err(|error| format!("{url}: {error}"))
        };
        let mut pages = vec![get("text/plain;version=0.0.4")?];
        // Only OpenMetrics has units.
        let other = get("application/openmetrics-text;version=1.0.0")?;
        if other.is_open_metrics() {
            pages.push(other);
        }
        return Ok(pages);
    }
    let mut body = Vec::new();
    let read = match page {
        "-" => std::io::stdin().read_to_end(&mut body).map(|_| ()),
        path => std::fs::read(path).map(|read| body = read),
    };
    read.map_err(|e| format!("{page}: {e}"))?;
    let content_type = String::new();
    Ok(vec![Page { content_type, body }])
}

/// Returns the number of families, and what the rules say about the page in all of its formats,
/// each thing once.
fn findings(pages: &[Page]) -> (usize, Vec<Finding>) {
    let mut found: Vec<Finding> = Vec::new();
    let mut families = 0;
    for page in pages {
        let read = match page.is_open_metrics() {
            true => tallies_check::read_open_metrics(&page.body),
            false => tallies_check::read(&page.body),
        };
        let new: Vec<_> = match read {
            Ok(snapshot) => {
                families = families.max(snapshot.families().count());
                let finding = |problem: &Problem| Finding {
                    family: problem.family().to_owned(),
                    rule: problem.rule().name(),
                    promlint: problem.rule().is_promlint(),
                    text: problem.text().to_owned(),
                };
                lint(&snapshot).iter().map(finding).collect()
            }
            Err(error) => vec![Finding {
                family: String::new(),
                rule: "syntax",
                promlint: false,
                text: error.to_string(),
            }],
        };
        for finding in new {
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
    }
    found.sort_by(|a, b| a.family.cmp(&b.family));
    (families, found)
}

fn as_text(found: &[(String, Vec<Finding>)]) -> String {
    let mut text = String::new();
    for (page, findings) in found {
        for finding in findings {
            let prefix = if found.len() > 1 {
                format!("{}: ", Printable(page))
            } else {
                String::new()
            };
            let family = match finding.family.as_str() {
                "" => String::new(),
                family => format!("{}: ", family.escape_debug()),
            };
            text += &format!("{prefix}{family}{} [{}]\n", finding.text, finding.rule);
        }
    }
    text
}

fn as_json(found: &[(String, Vec<Finding>)]) -> String {
    let pages: Vec<Value> = found
        .iter()
        .map(|(page, findings)| {
            let problems: Vec<_> = findings
                .iter()
                .map(|finding| {
                    json!({
                        "family": finding.family,
                        "rule": finding.rule,
                        "promlint": finding.promlint,
                        "text": finding.text,
                    })
                })
                .collect();
            json!({ "page": page, "problems": problems })
        })
        .collect();
    json_text(&format!("{:#}\n", Value::from(pages)))
}
