//! The exporter framework: metrics from data, and the example exporters as processes.

mod cli;
mod data;
#[path = "../../support/events.rs"]
mod events;
mod live;
#[cfg(target_os = "linux")]
#[path = "../../support/peers.rs"]
mod peers;
mod process;
#[path = "../../support/mod.rs"]
mod support;
#[cfg(unix)]
mod systemd;
mod updates;
mod views;
mod web;
