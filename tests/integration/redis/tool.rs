//! The tool that looks into a store.

use std::process::Command;

use tallies::{Counter, Registry};

use super::counting::builder;
use super::server::Server;
use crate::support::{eventually, examples};

#[test]
fn the_tool_lists_folds_and_checks_without_being_a_writer() {
    let tool = examples::build_tool();
    let server = Server::start();
    let run = |arguments: &[&str]| {
        let output = Command::new(&tool)
            .args(["shared", "--redis", &server.url(), "--namespace", "test"])
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (
            output.status.success(),
            text,
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let start = |jobs: u64| {
        let registry = Registry::new();
        registry.set_self_metrics(false);
        let counter = Counter::builder("jobs_total", "").labels(["queue"]);
        counter
            .register(&registry)
            .unwrap()
            .with(["mail"])
            .add(jobs);
        registry.histogram("http_seconds", "").unwrap().observe(0.5);
        let store = builder(&server.url(), &registry).start().unwrap();
        store.flush_blocking().unwrap();
        store
    };
    let (one, _two) = (start(5), start(7));
    let (success, text, error) = run(&["list", "jobs_*"]);
    assert!(success, "{error}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("process "))
            .count(),
        2,
        "{text}"
    );
    assert!(lines.contains(&"  jobs_total{queue=\"mail\"} 5"), "{text}");
    assert!(lines.contains(&"  jobs_total{queue=\"mail\"} 7"), "{text}");
    assert_eq!(
        lines.last(),
        Some(&"  jobs_total{queue=\"mail\"} 12"),
        "{text}"
    );
    assert!(
        text.contains(&format!("pid {}", std::process::id())),
        "{text}"
    );
    assert!(!text.contains("http_seconds"), "{text}");
    let (_, text, _) = run(&["list"]);
    assert!(text.contains("  http_seconds count 2 sum 1\n"), "{text}");
    assert_eq!(
        run(&["fold"]).1,
        "0 folded\n",
        "nobody has been silent for ten minutes"
    );
    one.close_blocking().unwrap();
    eventually("the other has been silent", || {
        run(&["fold", "--silent", "0.001"]).1 == "1 folded\n"
    });
    let (success, text, error) = run(&["check"]);
    assert!(success, "{text}{error}");
    assert!(text.starts_with("0 writers, "), "{text}");
    let (_, text, _) = run(&["list", "jobs_total"]);
    assert!(
        text.ends_with("all:\n  jobs_total{queue=\"mail\"} 12\n"),
        "{text}"
    );
    // Something that no writer wrote.
    let acc = server.keys("*}:acc").remove(0);
    let () = server.run_command(&["HSET", &acc, "d12345678", "garbage"]);
    let () = server.run_command(&["HINCRBY", &acc, "#ver", "1"]);
    let (success, text, _) = run(&["check"]);
    assert!(!success && text.contains("1 malformed"), "{text}");
    let output = Command::new(&tool)
        .args(["shared", "--redis", "redis://127.0.0.1:1/", "check"])
        .output();
    let output = output.unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("127.0.0.1:1")
    );
}
