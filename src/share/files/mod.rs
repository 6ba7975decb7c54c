//! The store of mapped files: a directory with one file per process.

mod dir;
mod directory;
mod fork;
mod read;
mod reader;
#[cfg(all(test, not(miri)))]
mod tests;
mod totals;
mod writer;

pub(crate) use crate::mapped::format;
pub use dir::{Dir, Overview, Process};
#[cfg(fuzzing)]
pub use read::read_bytes;
#[cfg(all(test, not(miri)))]
use tests::between;
pub use writer::dir;
use writer::own_file;

/// Marks a point at which a test changes what a reader reads.
#[cfg(not(all(test, not(miri))))]
fn between(_: &str) {}
