//! Metrics that are described by data: a list of [`MetricConfig`] in code or from a file, which may
//! have views, too, and the metrics by name that a registry creates from it.

mod config;
mod create;
#[cfg(feature = "config-files")]
mod file;
mod metric;
mod states;
#[cfg(feature = "config-files")]
mod views;

pub use config::{Config, MetricConfig, Setting};
pub use metric::{AnyMetric, AnySeries, MetricMap};
