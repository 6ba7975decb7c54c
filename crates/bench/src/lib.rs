#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod bencher;
mod build;
pub mod compare;
mod error;
pub mod load;
mod machine;
mod page;
pub mod recorder;
pub mod stats;

pub use build::Build;
pub use error::Error;
pub use load::Load;
pub use machine::Machine;
pub use page::Page;
