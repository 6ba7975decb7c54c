//! The exporter framework: metrics from data, and the example exporters as processes.

mod data;
#[path = "../../support/mod.rs"]
mod support;
