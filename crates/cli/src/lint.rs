//! Says what Prometheus users would not expect of a page of metrics.
//!
//!     tallies lint http://127.0.0.1:9464/metrics
//!     tallies lint --json page.txt
//!     curl -s http://127.0.0.1:9464/metrics | tallies lint -
//!
//! Exits with 0 if there is nothing to say, with 1 if there is, and with 2 if a page cannot be had
//! or is HTML.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tallies::encode::Syntax;
use tallies_check::Remark;
use tallies_check::lint::{Problem, Rule, lint};
use tallies_names::Printable;

use crate::fetch::{Access, Page};
use crate::printable::json;

/// Says what Prometheus users would not expect of a page of metrics: the rules of `promtool check
/// metrics` and ours, and lines that are not as the format has them (`format`) or for which
/// Prometheus refuses the page (`syntax`).
#[derive(Args)]
pub struct LintOptions {
    /// URLs (http or https, with user:password@ if needed), files, or - for standard input.
    #[arg(required_unless_present = "rules", value_name = "URL|FILE")]
    pages: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Leave out what these rules say, such as `shared-samples,format`.
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = rule)]
    allow: Vec<&'static str>,
    /// Keep only the rules of promlint, and what Prometheus refuses.
    #[arg(long)]
    promlint: bool,
    /// Print the names of the rules.
    #[arg(long)]
    rules: bool,
    #[command(flatten)]
    access: Access,
}

/// The rule of remarks about lines that Prometheus takes, although the format forbids them.
const FORMAT: &str = "format";
/// The rule of remarks about lines for which Prometheus refuses the page. Always kept.
const SYNTAX: &str = "syntax";

fn rule(name: &str) -> Result<&'static str, &'static str> {
    let rules = Rule::ALL.iter().map(|rule| rule.name());
    let rule = rules.chain([FORMAT]).find(|rule| *rule == name);
    rule.ok_or("there is no such rule; --rules prints all")
}

/// A page with its findings, as JSON has it.
#[derive(Serialize)]
struct Checked {
    page: String,
    problems: Vec<Finding>,
}

/// One line of the output.
#[derive(PartialEq, Serialize)]
struct Finding {
    family: String,
    /// Where it is, if it is in a line.
    line: Option<usize>,
    column: Option<usize>,
    promlint: bool,
    /// The name of the rule; `format` or `syntax` if a line is not as it has to be.
    rule: &'static str,
    text: String,
}

/// Checks the pages and prints the findings.
pub fn run(options: &LintOptions) -> ExitCode {
    if options.rules {
        for rule in Rule::ALL {
            let origin = rule.is_promlint().then_some("  (promlint)");
            println!("{}{}", rule.name(), origin.unwrap_or_default());
        }
        println!("{FORMAT}\n{SYNTAX}");
        return ExitCode::SUCCESS;
    }
    let mut all = Vec::new();
    let mut families = 0;
    let mut failed = false;
    let mut fail = |error: &str| {
        eprintln!("tallies lint: {}", Printable(error));
        failed = true;
    };
    for page in &options.pages {
        match pages(page, &options.access) {
            Ok((page, pages)) => match options.findings(&pages) {
                Ok((count, problems)) => {
                    families += count;
                    all.push(Checked { page, problems });
                }
                Err(error) => fail(&format!("{page}: {error}")),
            },
            Err(error) => fail(&error),
        }
    }
    let output = match options.json {
        // Texts and booleans: this cannot fail.
        true => json(&serde_json::to_string_pretty(&all).unwrap_or_default()) + "\n",
        false => as_text(&all),
    };
    // A reader that went away, such as `head`, is no error.
    let _ = std::io::stdout().write_all(output.as_bytes());
    let clean = all.iter().all(|checked| checked.problems.is_empty());
    if clean && !failed && std::io::stderr().is_terminal() {
        let plural = if families == 1 { "family" } else { "families" };
        eprintln!("tallies lint: {families} {plural}, nothing to say");
    }
    ExitCode::from(if failed { 2 } else { u8::from(!clean) })
}

/// Reads a page in each format that its source has. Returns its name without a password, too.
fn pages(page: &str, access: &Access) -> Result<(String, Vec<Page>), String> {
    if page.contains("://") {
        let client = access.client(page, Duration::from_secs(10))?;
        let get = |accept| {
            let page = client.get(accept);
            page.map_err(|error| format!("{}: {error}", client.url))
        };
        // Only OpenMetrics has units, and only version 2.0 every name as it is declared.
        let mut pages = Vec::new();
        for (accept, syntax) in [
            (
                "application/openmetrics-text;version=2.0.0,text/plain;q=0.5",
                Syntax::OpenMetrics2,
            ),
            (
                "application/openmetrics-text;version=1.0.0",
                Syntax::OpenMetrics,
            ),
        ] {
            pages.extend(Some(get(accept)?).filter(|page| page.syntax == syntax));
        }
        pages.push(get("text/plain;version=0.0.4")?);
        return Ok((client.url, pages));
    }
    let mut body = Vec::new();
    match page {
        "-" => std::io::stdin().read_to_end(&mut body).map(drop),
        path => std::fs::read(path).map(|read| body = read),
    }
    .map_err(|e| format!("{page}: {e}"))?;
    let read = Page {
        body,
        content_type: None,
        syntax: Syntax::Text,
    };
    Ok((page.to_owned(), vec![read]))
}

impl LintOptions {
    /// Returns the number of families, and what the rules say about the page in all of its formats,
    /// each thing once: lines that are not as they have to be first. What Prometheus refuses is
    /// always a finding.
    fn findings(&self, pages: &[Page]) -> Result<(usize, Vec<Finding>), tallies::Error> {
        let mut found = Vec::new();
        let mut families = 0;
        for page in pages {
            let read = page.read()?;
            families = families.max(read.snapshot().families().count());
            let remarks = read.remarks().iter().map(of_remark);
            let unlisted = read.unlisted();
            let unlisted = (unlisted > 0).then(|| Finding {
                family: String::new(),
                line: None,
                column: None,
                promlint: false,
                rule: FORMAT,
                text: format!("{unlisted} more remarks are not listed"),
            });
            let of_lines = remarks.chain(unlisted);
            let of_lines = of_lines.filter(|finding| {
                let keeps = !self.promlint && !self.allow.contains(&finding.rule);
                finding.rule == SYNTAX || keeps
            });
            let problems = lint(read.snapshot()).into_iter();
            let problems = problems.filter(|problem| self.keeps(problem.rule()));
            for finding in of_lines.chain(problems.map(of_problem)) {
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
        found.sort_by(|a, b| (&a.family, a.line).cmp(&(&b.family, b.line)));
        Ok((families, found))
    }

    fn keeps(&self, rule: Rule) -> bool {
        !self.allow.contains(&rule.name()) && (rule.is_promlint() || !self.promlint)
    }
}

fn of_problem(problem: Problem) -> Finding {
    Finding {
        family: problem.family().to_owned(),
        line: None,
        column: None,
        promlint: problem.rule().is_promlint(),
        rule: problem.rule().name(),
        text: problem.text().to_owned(),
    }
}

fn of_remark(remark: &Remark) -> Finding {
    let (line, column) = remark.position().unzip();
    let again = match remark.times() {
        1 => String::new(),
        times => format!(", and {} more times", times - 1),
    };
    let refused = match remark.is_refused() {
        true => "; Prometheus refuses the page",
        false => "",
    };
    Finding {
        family: String::new(),
        line,
        column,
        promlint: false,
        rule: if remark.is_refused() { SYNTAX } else { FORMAT },
        text: format!("{}{again}{refused}", remark.text()),
    }
}

fn as_text(all: &[Checked]) -> String {
    let mut out = String::new();
    for Checked { page, problems } in all {
        for finding in problems {
            if all.len() > 1 {
                out += &format!("{}: ", Printable(page));
            }
            if !finding.family.is_empty() {
                out += &format!("{}: ", finding.family.escape_debug());
            }
            if let Some((line, column)) = finding.line.zip(finding.column) {
                out += &format!("line {line}, column {column}: ");
            }
            out += &format!("{} [{}]\n", finding.text, finding.rule);
        }
    }
    out
}
