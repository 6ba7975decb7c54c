#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

pub mod compare;
mod error;
pub mod load;
pub mod recorder;
pub mod stats;

pub use error::Error;
pub use load::Load;
