//! Nothing to build: cargo asks for a build script where `links` keeps one version per program.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
