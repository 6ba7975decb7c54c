//! Code measured for its author: what stands between a program and its metrics.

#[cfg(feature = "middleware")]
pub mod http;
