//! Pages read by other parsers: the official Python client, whose OpenMetrics parser is the
//! strictest, and promtool.
//!
//! tests/run.sh installs both and runs this test by name.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tallies::encode::{self, Escaping, Format, Options};
use tallies::{Gauge, Registry, snapshot::Snapshot};

#[path = "../support/kinds.rs"]
mod kinds;
#[path = "../support/servers.rs"]
mod servers;

use servers::{Release, with_each_release};

with_each_release!(promtool_reads_text);

/// Returns the samples that the Python client reads from a page.
fn python(format: &str, name: &str, page: &[u8]) -> Vec<serde_json::Value> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let file = std::env::temp_dir().join(format!("tallies-{}-{name}", std::process::id()));
    std::fs::write(&file, page).unwrap();
    let python = std::env::var_os("TALLIES_PYTHON")
        .map_or_else(|| root.join("target/parsers/bin/python"), PathBuf::from);
    let run = Command::new(python)
        .arg(root.join("tests/e2e/parsers.py"))
        .arg(format)
        .arg(&file)
        .output()
        .expect("tests/run.sh parsers installs it");
    std::fs::remove_file(&file).unwrap();
    let page = String::from_utf8_lossy(page);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{name}: {errors}\n{page}");
    let lines = String::from_utf8(run.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut page = Vec::new();
    write(&mut page);
    page
}

fn samples(page: &[u8]) -> usize {
    let page = std::str::from_utf8(page).unwrap();
    let lines = page.split_terminator('\n');
    lines.filter(|line| !line.starts_with('#')).count()
}

#[test]
fn python_reads_every_kind() {
    let snapshot = kinds::every_kind();
    let all = Options::new().created(true).timestamps(true);
    for (i, options) in [Options::new(), all].into_iter().enumerate() {
        let text = written(|out| options.write(&snapshot, Format::TEXT, out));
        let read = python("text", &format!("text-{i}"), &text);
        assert_eq!(read.len(), samples(&text));
        let page = written(|out| options.write(&snapshot, Format::OPEN_METRICS, out));
        let read = python("openmetrics", &format!("openmetrics-{i}"), &page);
        assert_eq!(read.len(), samples(&page));
        let types = [
            "info",
            "counter",
            "histogram",
            "gaugehistogram",
            "summary",
            "gauge",
            "stateset",
        ];
        for kind in types {
            assert!(read.iter().any(|sample| sample["type"] == kind), "{kind}");
        }
        let busy = read.iter().find(|s| s["name"] == "busy_seconds_total");
        let busy = busy.unwrap();
        assert_eq!(
            (&busy["family"], &busy["unit"]),
            (&"busy_seconds".into(), &"seconds".into())
        );
        assert_eq!(busy["value"], "0.30000000000000004");
        assert_eq!(busy["help"], "Busy \\ \"or\"\nnot.");
        assert_eq!(busy["labels"]["zone"], "a\"b\\c\nd");
        let created = read.iter().filter(|s| s["name"] == "busy_seconds_created");
        assert_eq!(created.count(), i);
    }
}

#[test]
fn python_reads_utf8_names() {
    let snapshot = kinds::utf8_names();
    for scheme in [
        Escaping::AllowUtf8,
        Escaping::Underscores,
        Escaping::Dots,
        Escaping::Values,
    ] {
        let options = Options::new().created(true);
        let text_format = Format::TEXT.escaped(scheme);
        let open_metrics = Format::OPEN_METRICS.escaped(scheme);
        let name = |what: &str| format!("{what}-{scheme:?}");
        let text = written(|out| options.write(&snapshot, text_format, out));
        let read = python("text", &name("utf8-text"), &text);
        assert_eq!(read.len(), samples(&text));
        let page = written(|out| options.write(&snapshot, open_metrics, out));
        let read = python("openmetrics", &name("utf8-openmetrics"), &page);
        assert_eq!(read.len(), samples(&page));
        if scheme == Escaping::AllowUtf8 {
            let get = read.iter().find(|s| s["labels"]["http.method"] == "GET");
            assert_eq!(get.unwrap()["name"], "http.requests_total");
        }
    }
}

/// Label values of every script, and every control character.
fn scripts() -> (Snapshot, Vec<String>) {
    let registry = Registry::new();
    let gauge = Gauge::builder("scripts", "Scripts.")
        .labels(["v"])
        .register(&registry)
        .unwrap();
    let values: Vec<String> = (0..0x300)
        .chain((0x300..0x11_0000).step_by(1021))
        .filter_map(char::from_u32)
        .map(|c| format!("{c}x{c}"))
        .collect();
    values.iter().for_each(|value| gauge.with([value]).set(1.0));
    (registry.snapshot(), values)
}

#[test]
fn python_reads_every_script() {
    let (snapshot, values) = scripts();
    let page = encode::open_metrics(&snapshot);
    let read = python("openmetrics", "scripts-openmetrics", page.as_bytes());
    let read = read.iter().map(|s| s["labels"]["v"].as_str().unwrap());
    assert!(read.eq(values.iter().map(String::as_str)));
    // The Python parser of the text format strips Unicode white space from both ends of label
    // values, so only the number of samples is compared. The `x` keeps values from being empty.
    let page = encode::text(&snapshot);
    assert_eq!(
        python("text", "scripts-text", page.as_bytes()).len(),
        values.len()
    );
}

fn promtool_reads_text(release: Release) {
    for (snapshot, lints) in [
        (kinds::every_kind(), true),
        (kinds::utf8_names(), true),
        (scripts().0, false),
    ] {
        let mut promtool = release
            .command("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tests/run.sh parsers installs it");
        let page = encode::text(&snapshot);
        let mut stdin = promtool.stdin.take().unwrap();
        stdin.write_all(page.as_bytes()).unwrap();
        drop(stdin);
        let run = promtool.wait_with_output().unwrap();
        // promtool exits with 1 on an error and with 3 on a remark on style: a counter without
        // `_total`, a family without help.
        let good = if lints { &[0, 3][..] } else { &[0] };
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(good.contains(&run.status.code().unwrap()), "{said}\n{page}");
    }
}
