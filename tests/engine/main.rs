//! The engine in good and in bad conditions.

mod docs;
mod lint;
mod modules;
mod pages;
mod regressions;
mod summary;
#[path = "../support/mod.rs"]
mod support;
mod trouble;
