//! The engine in good and in bad conditions.

mod docs;
mod modules;
mod pages;
mod regressions;
mod summary;
#[path = "../support/mod.rs"]
mod support;
mod trouble;
