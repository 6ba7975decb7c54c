//! The store in Redis, against real servers: exactness, trouble, gauges, clusters.

mod process;
mod proxy;
mod server;

mod counting;
