//! Bugs that occurred once, here or in a predecessor, and must not come back. Each test's comment
//! says what went wrong.

mod cells;
mod collectors;
mod gauges;
mod lifecycle;
mod names;
mod shared_families;
mod snapshots;
mod sums;
