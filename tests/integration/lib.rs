//! The tests are in the folders beside this file. Here are the programs of the pages on migration,
//! exporters, benchmarking and ways out, since only this package has the crates that they are
//! about.

#[cfg(doctest)]
#[doc = include_str!("../../docs/migration.md")]
mod migration {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/exporter.md")]
mod exporter {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/benchmarking.md")]
mod benchmarking {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/where-metrics-go.md")]
mod where_metrics_go {}
