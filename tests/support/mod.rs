//! Helpers that several tests need.

#![allow(dead_code, reason = "each test uses some of it")]

pub mod examples;
pub mod exposition;
pub mod http;

use tallies::Registry;

/// Renders the page of a registry and reads it back strictly.
pub fn page(registry: &Registry) -> (String, Vec<exposition::Family>) {
    let page = tallies::encode::text(&registry.snapshot());
    let read = exposition::read(&page).unwrap_or_else(|e| panic!("{e}\n{page}"));
    (page, read)
}
