//! Comparisons of real processes and closures. Nothing here depends on how long anything takes.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Once;
use std::time::Duration;

use tallies_bench::compare::{Compare, Interval, Verdict};

/// The example `suite`, which `cargo test` builds beside the tests. With `--test` it does not, so
/// cargo is asked for it.
fn suite() -> PathBuf {
    static BUILT: Once = Once::new();
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let suite = profile
        .join("examples")
        .join(format!("suite{}", std::env::consts::EXE_SUFFIX));
    BUILT.call_once(|| {
        if !suite.exists() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--package", "tallies-bench", "--example", "suite"]);
            cargo.arg("--target-dir").arg(profile.parent().unwrap());
            assert!(cargo.status().unwrap().success());
        }
    });
    suite
}

fn tool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tallies-bench"))
        .args(arguments)
        .output()
        .unwrap()
}

fn short() -> Compare {
    Compare::new()
        .time(Duration::from_millis(100))
        .batch(Duration::from_micros(100))
        .seed(1)
}

#[test]
fn two_executables_are_compared_over_ten_restarts() {
    let suite = suite();
    let reports = short().programs(&suite, &suite, Some("join")).unwrap();
    let [report] = reports.as_slice() else {
        panic!("{reports:?}")
    };
    assert_eq!(report.name, "join");
    assert!(report.restarts >= 10 && report.rounds >= report.restarts);
    assert!(report.interval.unwrap().contains(report.effect));
    assert!(report.old_nanos > 0.0 && report.iterations > 0);
    assert!(!report.fails);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["verdict"], report.verdict.to_string());
    assert!(
        report
            .to_string()
            .starts_with(&format!("join: {}", report.verdict))
    );
}

#[test]
fn a_closure_that_does_a_hundred_times_the_work_is_slower_and_fails() {
    let work = |rounds: u64| (0..rounds).fold(1_u64, |sum, i| std::hint::black_box(sum ^ i));
    let compare = Compare::new().time(Duration::from_secs(60)).fail_above(0.5);
    let report = compare
        .closures("work", || work(100), || work(10_000))
        .unwrap();
    // On a machine that is disturbed, the control may move, too.
    let proven = report.verdict != Verdict::Unproven;
    assert!(!proven || report.verdict == Verdict::Slower, "{report}");
    assert!(!proven || report.fails && report.interval.unwrap().low > 0.5);
    assert!(report.effect > 10.0, "{report}");
    assert_eq!(report.restarts, 1);
    let report = compare
        .closures("work", || work(10_000), || work(100))
        .unwrap();
    assert!(
        matches!(report.verdict, Verdict::Faster | Verdict::Unproven),
        "{report}"
    );
    assert!(!report.fails);
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_name() {
    let refused = |compare: Compare, name: &str| {
        let error = compare.closures("work", || 1, || 1).unwrap_err();
        assert!(
            error.is_setting() && error.to_string().contains(name),
            "{error}"
        );
    };
    refused(Compare::new().time(Duration::ZERO), "`time`");
    refused(Compare::new().batch(Duration::ZERO), "`batch`");
    refused(Compare::new().same_within(f64::NAN), "`same_within`");
    refused(Compare::new().error(0.0), "`error`");
    refused(Compare::new().fail_above(-0.1), "`fail_above`");
}

#[test]
fn a_bench_that_nobody_has_and_a_file_that_is_not_there_are_errors() {
    let suite = suite();
    let error = short()
        .programs(&suite, &suite, Some("nothing"))
        .unwrap_err();
    assert!(
        error.is_setting() && error.to_string().contains("`nothing`"),
        "{error}"
    );
    assert!(
        short()
            .programs("/not/there".as_ref(), &suite, None)
            .unwrap_err()
            .is_io()
    );
}

#[test]
#[cfg(unix)]
fn a_program_that_is_no_bench_is_an_error_and_no_hang() {
    let error = short()
        .programs("/bin/true".as_ref(), &suite(), None)
        .unwrap_err();
    assert!(
        error.is_target() && error.to_string().contains("Suite::main"),
        "{error}"
    );
}

#[test]
fn the_tool_prints_json_and_its_exit_code_tells_errors_from_results() {
    let suite = suite();
    let suite = suite.to_str().unwrap();
    let output = tool(&[
        "compare", suite, suite, "split", "--time", "100ms", "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["name"], "split");
    let output = tool(&["compare", suite, suite, "--fail-above", "2"]);
    assert_eq!(output.status.code(), Some(2));
    let output = tool(&["against", "no-such-revision", "--bench", "suite"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(
        why.contains("git knows no revision `no-such-revision`"),
        "{why}"
    );
}

#[test]
fn bencher_and_a_page_get_all_benches_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let (suite, page) = (suite(), page.to_str().unwrap());
    let run = |program: &PathBuf, arguments: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["--time", "100ms", "--bencher", "--html", page]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (json, std::fs::read_to_string(page).unwrap())
    };
    let (json, html) = run(&suite, &["--bench"]);
    assert!(json["join"]["latency"]["value"].is_f64() && json["split"].is_object());
    assert!(html.contains("<td>join</td>") && html.contains("<td>split</td>"));
    let tool = PathBuf::from(env!("CARGO_BIN_EXE_tallies-bench"));
    let path = suite.to_str().unwrap();
    let (json, html) = run(&tool, &["compare", path, path, "join"]);
    let latency = json["join"]["latency"].as_object().unwrap();
    let mut fields: Vec<&str> = latency.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["lower_value", "upper_value", "value"]);
    assert_eq!(json.as_object().unwrap().len(), 1);
    assert!(html.contains("counts as the same") && html.contains("<svg"));
    for fact in [
        &format!("<dt>old</dt><dd>{path}</dd>"),
        "<dt>options</dt><dd>at most 100ms, batches of 300µs, same within 0.5 %, error 5 %</dd>",
        "<dt>duration</dt>",
        "<dt>compiler</dt><dd>rustc ",
        "<dt>profile</dt><dd>opt-level ",
        "<dt>measured at</dt>",
    ] {
        assert!(html.contains(fact), "{fact}: {html}");
    }
    assert_eq!(html.contains("debug build"), cfg!(debug_assertions));
}

#[test]
fn a_filter_that_no_bench_has_in_its_name_is_an_error_if_it_would_measure_nothing() {
    let run = |arguments: &[&str]| Command::new(suite()).args(arguments).output().unwrap();
    let output = run(&["--bench", "nosuch"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let why = String::from_utf8(output.stderr).unwrap();
    let expected = "no bench has `nosuch` in its name; there are: join, split";
    assert!(why.contains(expected), "{why}");
    // `cargo test nosuch --benches` gives the filter to every program.
    let output = run(&["nosuch"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains(expected));
}

/// A program that answers a comparison without measuring anything: an iteration of its first bench
/// takes so many nanoseconds, and one of the others 100.
#[cfg(unix)]
fn pretended(path: &std::path::Path, names: &str, nanos: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let text = format!(
        r#"#!/bin/sh
while read -r line; do
  iterations=${{line##*iterations\":}}
  iterations=${{iterations%%\}}*}}
  case $line in
    *bench\":0,*) nanos={nanos} ;;
    *) nanos=100 ;;
  esac
  case $line in
    *names*) echo '@tallies-bench {{"names":{{"version":1,"names":[{names}]}}}}' ;;
    *) echo "@tallies-bench {{\"took\":{{\"nanos\":$((iterations * nanos)),\"instructions\":null}}}}" ;;
  esac
done
"#
    );
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
#[cfg(unix)]
fn the_benches_of_both_are_compared_and_one_that_is_slower_than_the_limit_fails() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["old", "new"].map(|name| folder.path().join(name));
    pretended(&paths[0], r#""slower","equal","gone""#, 100);
    pretended(&paths[1], r#""slower","equal","added""#, 110);
    let paths = paths.each_ref().map(|path| path.to_str().unwrap());
    let compare = |arguments: &[&str]| {
        let output = tool(&[&["compare", paths[0], paths[1], "--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let reports = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (
            output.status.code(),
            reports.collect::<Vec<serde_json::Value>>(),
        )
    };
    let (code, reports) = compare(&["--fail-above", "5%"]);
    let [slower, equal] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(
        (&slower["name"], &equal["name"]),
        (&"slower".into(), &"equal".into())
    );
    assert_eq!(
        (&slower["verdict"], &equal["verdict"]),
        (&"slower".into(), &"same".into())
    );
    assert!(
        (slower["effect"].as_f64().unwrap() - 0.1).abs() < 1e-9,
        "{slower}"
    );
    assert_eq!(
        (&slower["fails"], &equal["fails"]),
        (&true.into(), &false.into())
    );
    assert_eq!(code, Some(1));
    assert_eq!(slower["new"]["name"], paths[1]);
    assert!(slower["new"]["build"].is_null(), "it does not tell");
    assert_eq!(compare(&["--fail-above", "20%", "slower"]).0, Some(0));
}

#[test]
fn a_bench_that_is_not_compared_takes_the_time_that_it_is_given() {
    let begin = std::time::Instant::now();
    let mut bench = Command::new(suite());
    let output = bench.args(["--bench", "join", "--time", "2s", "--json"]);
    let output = output.output().unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(2));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["interval"]["low"].as_f64().unwrap() <= json["nanos"].as_f64().unwrap());
}

#[test]
fn a_page_that_cannot_be_written_is_an_error_before_the_measurement() {
    let page = std::env::temp_dir().join("no-such-folder/page.html");
    let suite = suite();
    let arguments = ["compare", suite.to_str().unwrap(), suite.to_str().unwrap()];
    let output = tool(&[&arguments[..], &["--html", page.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_suite_without_arguments_runs_each_work_once() {
    let output = Command::new(suite()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text.lines()
            .filter(|line| line.contains("ran once"))
            .count(),
        2,
        "{text}"
    );
}

#[test]
fn intervals_contain_their_ends() {
    assert!(Interval::new(0.0, 1.0).contains(1.0) && !Interval::new(0.0, 1.0).contains(1.1));
}
