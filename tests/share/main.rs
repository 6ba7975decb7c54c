//! Processes that share a directory of mapped files: totals are exact and never go back, whatever
//! happens to the processes and to the files.

#![cfg(target_os = "linux")]

mod child;
mod directory;
mod gauges;
mod golden;
mod kills;
mod roles;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod totals;
mod trouble;
