//! The exporter framework: metrics from data, and the example exporters as processes.

mod cli;
mod data;
mod process;
#[path = "../../support/mod.rs"]
mod support;
#[cfg(unix)]
mod systemd;
mod updates;
mod web;
