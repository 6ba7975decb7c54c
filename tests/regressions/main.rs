//! What went wrong once, here or in the predecessors, and must not again. Each says what it was.

mod cells;
mod collectors;
mod lifecycle;
mod names;
mod snapshots;
mod sums;
#[path = "../support/mod.rs"]
mod support;
