//! The examples, as programs of their own.

use std::path::PathBuf;
use std::process::Command;

/// Builds these, as the tests are built, and says in which folder they are.
pub fn build(examples: &[&str]) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--all-features"]);
    for example in examples {
        build.args(["--example", example]);
    }
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(
        build.status().unwrap().success(),
        "the examples do not build"
    );
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().unwrap().parent().unwrap();
    profile.join("examples")
}
