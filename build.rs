//! Exports compiler and target for `build_info!`, refuses processors without 64-bit atomics, and
//! sets `cfg(mapped)` where cells can be in a mapped file. Also required by `links`, which keeps
//! two versions out of one program. Without the feature `enabled` it does nothing else.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(mapped)");
    println!("cargo::rustc-check-cfg=cfg(reader)");
    let has = |name| std::env::var_os(name).is_some();
    if !has("CARGO_FEATURE_ENABLED") {
        return;
    }
    let text = |name| std::env::var(name).unwrap_or_default();
    if !text("CARGO_CFG_TARGET_HAS_ATOMIC")
        .split(',')
        .any(|bits| bits == "64")
    {
        println!(
            "cargo::error=tallies needs 64-bit atomics, which {} does not have",
            text("TARGET")
        );
    }
    let version = std::process::Command::new(text("RUSTC"))
        .arg("--version")
        .output();
    // `rustc 1.95.0 (…)`
    let version = version.ok().and_then(|said| {
        let said = String::from_utf8(said.stdout).ok()?;
        said.split(' ').nth(1).map(str::to_owned)
    });
    let version = version.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=TALLIES_RUSTC={}", version.trim());
    println!("cargo::rustc-env=TALLIES_TARGET={}", text("TARGET"));
    // Models and Miri know no mapped files.
    let system = text("CARGO_CFG_TARGET_OS");
    if has("CARGO_FEATURE_MMAP")
        && (system == "linux" || system == "android")
        && text("CARGO_CFG_TARGET_POINTER_WIDTH") == "64"
        && !has("CARGO_CFG_LOOM")
        && !has("CARGO_CFG_MIRI")
    {
        println!("cargo::rustc-cfg=mapped");
    }
    // Unit tests read pages with the sources of `tallies-check`, which the published archive lacks.
    if std::path::Path::new("crates/check/src/pages/mod.rs").exists() {
        println!("cargo::rustc-cfg=reader");
    }
}
