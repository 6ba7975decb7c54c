//! Asks a real `promtool check metrics` about many pages: our rules of promlint have to say the
//! same.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

use tallies::encode;

#[allow(dead_code, reason = "promtool 2 reads no names in quotes")]
#[path = "../support/kinds.rs"]
mod kinds;
#[path = "../support/servers.rs"]
mod servers;

use servers::{Release, with_each_release};

with_each_release!(
    promtool_says_the_same_about_generated_families,
    promtool_says_the_same_about_our_own_pages,
);

/// The family, the name of the rule, and what the rule found.
type Found = BTreeSet<(String, &'static str, String)>;

/// Returns what promtool says about a page, in our words.
fn promtool(release: Release, page: &str) -> Found {
    let mut promtool = release
        .command("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tests/run.sh parsers installs it");
    let mut stdin = promtool.stdin.take().unwrap();
    let input = page.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let run = promtool.wait_with_output().unwrap();
    writer.join().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert!([Some(0), Some(3)].contains(&run.status.code()), "{said}");
    let types: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
        .collect();
    let found: Found = said
        .lines()
        .filter_map(|line| in_our_words(line, &types))
        .collect();
    found
}

fn in_our_words(line: &str, types: &BTreeSet<&str>) -> Option<(String, &'static str, String)> {
    let (family, text) = line.split_once(' ').unwrap();
    let quoted: Vec<_> = text.split(['"', '\'']).skip(1).step_by(2).collect();
    let (rule, detail) = match text {
        "no help text" => ("help", ""),
        "metric names should not contain ':'" => ("colon", ""),
        "metric names should not contain abbreviated units" => ("unit-abbreviation", ""),
        _ if text.contains("snake_case") => (
            "snake-case",
            if text.starts_with("label") {
                "label"
            } else {
                ""
            },
        ),
        _ if text.starts_with("use base unit") => ("base-unit", quoted[1]),
        _ if text.starts_with("counter metrics should have") => ("counter-suffix", ""),
        _ if text.contains("\"_total\" suffix") => ("total-suffix", ""),
        _ if text.contains("\"_timestamp_seconds\" suffix") => return None,
        _ if text.ends_with(" suffix") => ("sample-suffix", quoted[0]),
        _ if text.ends_with(" label") => ("reserved-label", quoted[0]),
        _ if text.contains("should not include type") => {
            // Older versions look for the names of all kinds.
            let own = format!("# TYPE {family} {}", quoted[0]);
            if !types.contains(&*own) {
                return None;
            }
            ("kind-in-name", quoted[0])
        }
        _ => panic!("promtool has a rule that is not known here: {line}"),
    };
    Some((family.to_owned(), rule, detail.to_owned()))
}

/// Returns what our rules say about a page, without those that promtool does not have.
fn ours(page: &str) -> Found {
    let read = tallies_check::read_text(page).unwrap_or_else(|e| panic!("{e}"));
    let problems = tallies_check::lint(&read);
    let promlint = problems
        .iter()
        .filter(|problem| problem.rule().is_promlint());
    promlint
        .filter_map(|problem| {
            let quoted: Vec<_> = problem.text().split('`').skip(1).step_by(2).collect();
            let detail = match problem.rule().name() {
                // Newer versions of promtool have it.
                "timestamp-suffix" => return None,
                "snake-case" if problem.text().contains("label") => "label",
                "base-unit" => quoted[1],
                "sample-suffix" | "reserved-label" => quoted[0],
                "kind-in-name" => problem.text().rsplit(' ').next().unwrap(),
                _ => "",
            };
            let (family, rule) = (problem.family().to_owned(), problem.rule().name());
            Some((family, rule, detail.to_owned()))
        })
        .collect()
}

fn compare(release: Release, page: &str) -> usize {
    let (promtool, ours) = (promtool(release, page), ours(page));
    let only = |a: &Found, b: &Found| a.difference(b).cloned().collect::<Vec<_>>();
    let difference = (only(&promtool, &ours), only(&ours, &promtool));
    assert!(
        difference.0.is_empty() && difference.1.is_empty(),
        "only promtool: {:?}\nonly tallies: {:?}",
        difference.0,
        difference.1
    );
    ours.len()
}

/// Words of names that a rule looks for, or that look like them.
const WORDS: &[&str] = &[
    "a",
    "total",
    "count",
    "sum",
    "bucket",
    "gauge",
    "counter",
    "histogram",
    "summary",
    "untyped",
    "ms",
    "s",
    "sec",
    "b",
    "kb",
    "h",
    "d",
    "us",
    "ns",
    "m",
    "tb",
    "pb",
    "gb",
    "mb",
    "camelCase",
    "MS",
    "Gauge",
    "x:y",
    "info",
    "totals",
    "mss",
    "by",
];
const UNITS: &[&str] = &[
    "seconds",
    "minutes",
    "hours",
    "days",
    "weeks",
    "milliseconds",
    "nanoseconds",
    "microhours",
    "bytes",
    "kilobytes",
    "kibibytes",
    "mebibytes",
    "mibibytes",
    "bits",
    "gigabits",
    "kelvin",
    "kelvins",
    "kilokelvin",
    "fahrenheit",
    "rankine",
    "celsius",
    "meters",
    "metres",
    "kilometers",
    "thermometers",
    "inches",
    "yards",
    "miles",
    "grams",
    "pounds",
    "ounces",
    "calories",
    "joules",
    "volts",
    "amperes",
    "milliamperes",
    "second",
    "byte",
    "Seconds",
];
const LABELS: &[&str] = &[
    "le",
    "quantile",
    "route",
    "statusCode",
    "LE",
    "a_b",
    "fooB_ar",
];

/// A small generator of numbers, so that the corpus is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn one_of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Returns a page of one family whose name has the index, so that no two families clash.
fn family(i: usize, numbers: &mut Numbers) -> String {
    let mut words: Vec<String> = (0..numbers.below(4))
        .map(|_| numbers.one_of(WORDS).to_owned())
        .collect();
    // One at most: promtool 2 picks any, if there are two.
    if numbers.below(3) == 0 {
        words.insert(
            numbers.below(words.len() + 1),
            numbers.one_of(UNITS).to_owned(),
        );
    }
    words.insert(numbers.below(words.len() + 1), format!("n{i}"));
    let name = words.join("_");
    let kind = numbers.one_of(&["counter", "gauge", "histogram", "summary", "untyped", ""]);
    let mut page = match numbers.below(4) {
        0 => String::new(),
        1 => format!("# HELP {name} \n"),
        _ => format!("# HELP {name} Some help.\n"),
    };
    if !kind.is_empty() {
        page += &format!("# TYPE {name} {kind}\n");
    }
    for series in 0..=numbers.below(2) {
        let mut labels = vec![format!("series=\"{series}\"")];
        let label = numbers.one_of(LABELS);
        let own = [("histogram", "le"), ("summary", "quantile")];
        if numbers.below(2) == 0 && !own.contains(&(kind, label)) {
            labels.push(format!("{label}=\"0.5\""));
        }
        let labels = labels.join(",");
        page += &match kind {
            "histogram" => format!(
                "{name}_bucket{{{labels},le=\"+Inf\"}} 1\n{name}_sum{{{labels}}} 1\n\
                 {name}_count{{{labels}}} 1\n"
            ),
            "summary" => format!(
                "{name}{{{labels},quantile=\"0.5\"}} 1\n{name}_sum{{{labels}}} 1\n\
                 {name}_count{{{labels}}} 1\n"
            ),
            _ => format!("{name}{{{labels}}} 1\n"),
        };
    }
    page
}

fn promtool_says_the_same_about_generated_families(release: Release) {
    let mut numbers = Numbers(16);
    let page: String = (0..20_000).map(|i| family(i, &mut numbers)).collect();
    let problems = compare(release, &page);
    assert!(problems > 10_000, "the corpus breaks few rules: {problems}");
}

fn promtool_says_the_same_about_our_own_pages(release: Release) {
    // 2.42 reads no names in quotes, so the golden page of UTF-8 names is left out.
    for golden in ["every_kind", "formats"] {
        let path = format!("{}/../golden/{golden}.txt", env!("CARGO_MANIFEST_DIR"));
        compare(release, &std::fs::read_to_string(path).unwrap());
    }
    assert!(compare(release, &encode::text(&kinds::every_kind())) > 0);
    compare(release, &encode::text(&tallies::snapshot()));
}
