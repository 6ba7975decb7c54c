//! Containers that several threads use without locks, and the keys of series that they return.
//!
//! - `arena`: series that never move. `label_cache`: each thread's cache of the label sets it used.
//! - `cached_ref`: the series that a bound series found last. `part_ref`: the cells of a declaration.
//! - [`published`]: a value that is replaced as a whole. `shared_text` and `exemplars` use it.
//! - `owners`: the number of owners of one allocation.
//! - [`epoch`]: pins, and work that is deferred until all current pins are released.
//!
//! Invariants are numbered by module: R (`arena`), T (`label_cache`), K (`cached_ref`), N (`part_ref`), P
//! (`published`), O (`owners`), S (`shared_text`), E (`epoch`).
//!
//! This module knows no cells and no metrics.

#![allow(
    unsafe_code,
    reason = "lock-free code: every block cites the invariant it rests on"
)]
#![cfg_attr(
    loom,
    allow(dead_code, unused_imports, reason = "models drive what they need")
)]

#[cfg(not(loom))]
mod arena;
mod cached_ref;
pub(crate) mod epoch;
#[cfg(not(loom))]
mod exemplars;
#[cfg(not(loom))]
mod label_cache;
pub(crate) mod owners;
mod part_ref;
pub(crate) mod published;
mod series_key;
#[cfg(not(loom))]
mod shared_text;

#[cfg(not(loom))]
pub use arena::{GROUP, Group, GroupVersion, LabelledRun, Run, SKIPPED, prefetch};
pub use cached_ref::CachedRef;
#[cfg(not(loom))]
pub use exemplars::Exemplars;
#[cfg(not(loom))]
pub use label_cache::CachedArena;
pub use part_ref::PartRef;
pub use series_key::{Generation, OVERFLOW, SeriesKey};
#[cfg(not(loom))]
pub use shared_text::{LONGEST_TEXT, SharedText, TextRef};
