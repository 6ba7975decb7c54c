//! Sharing between processes: one page for all processes of a program, whichever is scraped.
//!
//! A *store* holds the absolute totals of each process, which is a *writer* of the store. Readers
//! merge them. When a writer has ended, one of the others folds its totals into those of all ended
//! writers, exactly once. So totals never go back, and the cost of a page follows the writers that
//! are alive.

mod bytes;
#[cfg(mapped)]
pub(crate) mod files;
mod merge;
mod record;
pub mod store;
mod total;

// Two attributes, so that the compiler names the feature to a program that lacks it.
#[cfg(feature = "mmap")]
#[cfg(mapped)]
pub use files::{Dir, Overview, Process, dir};
pub use total::Totalled;
