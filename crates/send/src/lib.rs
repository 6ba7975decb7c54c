//! Sends metrics to OpenTelemetry collectors and to Prometheus and its long-term stores.

#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod protobuf;
mod protocol;
pub mod otlp;
pub mod remote_write;
