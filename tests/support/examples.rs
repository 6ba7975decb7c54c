//! Builds the examples as programs.

use std::path::PathBuf;
use std::process::Command;

/// Builds these examples in the profile of the tests and returns the directory of the programs.
pub fn build(examples: &[&str]) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    // With the features that the tests of the whole workspace have, so that nothing is built twice.
    build.args(["build", "--quiet", "--workspace", "--all-features"]);
    // Those of this test are Cargo's for this package. Build scripts read them, so Cargo would build what
    // depends on these scripts again, here and in the next command of the user.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|own| name.starts_with(own))
        {
            build.env_remove(&*name);
        }
    }
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
