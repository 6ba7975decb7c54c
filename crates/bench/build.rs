//! Exports the compiler and its level of optimization, which reports name.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let text = |name| std::env::var(name).unwrap_or_default();
    let version = Command::new(text("RUSTC")).arg("--version").output();
    let version = version
        .ok()
        .and_then(|said| String::from_utf8(said.stdout).ok());
    let version = version.as_deref().map_or("unknown", str::trim);
    println!("cargo::rustc-env=TALLIES_BENCH_COMPILER={version}");
    println!(
        "cargo::rustc-env=TALLIES_BENCH_OPT_LEVEL={}",
        text("OPT_LEVEL")
    );
}
