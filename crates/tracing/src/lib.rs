#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod callsites;
mod choice;
mod clock;
mod cover;
mod families;
mod fields;
mod layer;
mod settings;
mod state;
mod trace;

#[cfg(test)]
mod tests;

pub use choice::SpanFilter;
pub use layer::SpanRecorder;
pub use settings::{SpanLayer, SpanMetrics, SpanTime};
