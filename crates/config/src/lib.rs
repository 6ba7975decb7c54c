//! Metrics and views of [`tallies`] that are described by data: a list of [`MetricConfig`] in code,
//! or a [`Config`] from a YAML or TOML file.
//!
//! ```
//! use tallies::Registry;
//! use tallies_config::{Config, Configure};
//!
//! let config = Config::from_toml(
//!     r#"
//!     [[views]]
//!     family = "queue_*"
//!     drop = ["host"]
//!
//!     [[metrics]]
//!     name = "queue_length"
//!     type = "gauge"
//!     labels = ["queue", "host"]
//!     "#,
//! )?;
//! let registry = Registry::new();
//! let metrics = registry.configure(config)?;
//! metrics.with("queue_length", &[("queue", "mail"), ("host", "a")])?.set(4.0)?;
//! assert_eq!(registry.snapshot().get("queue_length", &[("queue", "mail")]), Some(4.0));
//! # Ok::<(), tallies::Error>(())
//! ```

#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod config;
mod create;
pub mod document;
mod file;
mod metric;
mod views;

pub use config::{Config, MetricConfig, MetricKind, Setting};
pub use create::Configure;
pub use metric::{AnyMetric, AnySeries, MetricMap};
