//! The store in Redis, against real servers: exactness, trouble, gauges, clusters.

mod process;
mod proxy;
mod server;
#[path = "../../support/mod.rs"]
mod support;

mod closing;
mod counting;
mod gauges;
mod model;
mod tool;
mod trouble;
mod wipe;
