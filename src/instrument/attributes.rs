//! The attributes, with their documentation: here examples can be run.

pub use tallies_macros::{count, count_errors, in_progress, timed};
