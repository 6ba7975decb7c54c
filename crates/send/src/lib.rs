//! Sends metrics to OpenTelemetry collectors and to Prometheus and its long-term stores, for
//! programs that are not scraped.
//!
//! A [`Sender`] takes a snapshot every interval and sends it by a protocol: [`Otlp`], or
//! [`RemoteWrite`]. [One page](https://docs.rs/tallies/latest/tallies/docs/where_metrics_go/) says
//! which way is for whom, with the configuration of each receiver.
//!
//! ```no_run
//! use tallies_send::{Otlp, Sender};
//!
//! let service = Otlp::new().resource("service.name", "shop");
//! let sending = Sender::new("http://127.0.0.1:4318/v1/metrics", service).start()?;
//! // ... the program ...
//! sending.stop()?;
//! # Ok::<(), tallies::Error>(())
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod metrics;
mod otlp;
mod protobuf;
mod protocol;
mod remote_write;
mod sender;
mod worker;

pub use otlp::{Otlp, Temporality, UnknownTemporality};
pub use remote_write::{HistogramForm, RemoteWrite, Version};
pub use sender::{AnyProtocol, Sender, Sending};
