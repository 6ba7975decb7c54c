//! Builds the examples and the command-line tool as programs.

#![allow(dead_code, reason = "each test uses some of it")]

use std::path::PathBuf;
use std::process::Command;

/// Builds these examples and returns the directory of the programs.
pub fn build(examples: &[&str]) -> PathBuf {
    let targets = examples.iter().flat_map(|example| ["--example", example]);
    build_targets(targets).join("examples")
}

/// Builds the tool `tallies` and returns the path of the program.
pub fn build_tool() -> PathBuf {
    build_targets(["--bin", "tallies"]).join("tallies")
}

/// Builds in the profile of the tests, unless `tests/run.sh` has built all programs already.
/// Returns the directory of that profile.
fn build_targets<'a>(targets: impl IntoIterator<Item = &'a str>) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().unwrap().parent().unwrap().to_owned();
    if std::env::var_os("TALLIES_PROGRAMS_ARE_BUILT").is_some() {
        return folder;
    }
    let mut build = Command::new(env!("CARGO"));
    // With the features that the tests of the whole workspace have, so that nothing is built twice.
    build.args(["build", "--quiet", "--workspace", "--all-features"]);
    // Those of this test are Cargo's for this package. Build scripts read them, so Cargo would
    // build what depends on these scripts again, here and in the next command of the user.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|own| name.starts_with(own))
        {
            build.env_remove(&*name);
        }
    }
    build.args(targets);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(
        build.status().unwrap().success(),
        "the programs do not build"
    );
    folder
}
