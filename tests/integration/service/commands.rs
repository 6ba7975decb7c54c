//! The examples that are command-line tools: their arguments and their output.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use crate::support::{Running, eventually, examples};

static EXAMPLES: LazyLock<PathBuf> =
    LazyLock::new(|| examples::build(&["daemon", "push", "quantiles"]));

/// Runs an example to its end, for a bounded time, and returns its output, which has to fit into
/// the pipe.
fn run(example: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(EXAMPLES.join(example))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let mut running = Running(child);
    let mut output = Output {
        status: eventually(example, || running.0.try_wait().unwrap()),
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    let (stdout, stderr) = (running.0.stdout.take(), running.0.stderr.take());
    stdout.unwrap().read_to_end(&mut output.stdout).unwrap();
    stderr.unwrap().read_to_end(&mut output.stderr).unwrap();
    output
}

/// JSON has no infinity.
#[test]
fn quantiles_are_json_whatever_was_read() {
    for (input, sum) in [
        ("1\n2.5\n", Some(3.5)),
        ("1\ninf\n", None),
        ("inf\n-inf\n", None),
        ("", Some(0.0)),
    ] {
        let output = run("quantiles", &["--json"], input);
        let object: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        assert_eq!(object["sum"].as_f64(), sum, "{object}");
    }
}

#[test]
fn each_tool_prints_its_usage() {
    for (example, words) in [
        ("daemon", &["[DIRECTORY]"][..]),
        ("push", &["[GAUGE=NUMBER]...", "One label of the group"]),
        ("quantiles", &["--targets"]),
    ] {
        let output = run(example, &["--help"], "");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        for word in words.iter().chain(&["Usage:"]) {
            assert!(said.contains(word), "{example}, {word}: {said}");
        }
    }
}

/// The error uses the words of the command line, not those of the library.
#[test]
fn a_path_takes_posts_only() {
    for method in ["put", "delete"] {
        let arguments = ["--job", "j", "--path", "/import", "--method", method];
        let output = run("push", &arguments, "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("--method post"), "{said}");
    }
}
