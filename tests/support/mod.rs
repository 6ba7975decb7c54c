//! Helpers that several tests need.

#![allow(dead_code, reason = "each test uses some of it")]

pub mod examples;
pub mod exposition;
pub mod http;

use tallies::Registry;

/// Says why a test cannot run on this machine. Fails where `CI` is set, so that nothing is skipped
/// there.
pub fn not_tested(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "not tested: {reason}");
    eprintln!("not tested: {reason}");
}

/// Renders the page of a registry and reads it back strictly.
pub fn page(registry: &Registry) -> (String, Vec<exposition::Family>) {
    let page = tallies::encode::text(&registry.snapshot());
    let read = exposition::read(&page).unwrap_or_else(|e| panic!("{e}\n{page}"));
    (page, read)
}
