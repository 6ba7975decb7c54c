//! Containers that several threads use without locks, and the keys of series that they return.
//!
//! - `arena`: series that never move. `label_cache`: each thread's cache of the label sets it used.
//! - `cached_ref`: the series that a bound series found last. `part_ref`: the cells of a
//!   declaration, the series of a chunk.
//! - [`atomic_box`]: a value that is replaced as a whole. `atomic_text` and `exemplars` use it.
//! - `owners`: the number of owners of one allocation.
//! - [`epoch`]: pins, and work that is deferred until all current pins are released.
//!
//! Invariants are numbered by module: R (`arena`), T (`label_cache`), K (`cached_ref`), N
//! (`part_ref`), P (`atomic_box`), O (`owners`), S (`atomic_text`), E (`epoch`).
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
pub(crate) mod atomic_box;
#[cfg(not(loom))]
mod atomic_text;
mod cached_ref;
pub(crate) mod epoch;
#[cfg(not(loom))]
mod exemplars;
#[cfg(not(loom))]
mod label_cache;
pub(crate) mod owners;
mod part_ref;
mod series_key;

#[cfg(not(loom))]
pub use arena::{GROUP, Group, GroupVersion, LabelledRun, Run, SKIPPED};
#[cfg(not(loom))]
pub use atomic_text::{AtomicText, LONGEST_TEXT, TextRef};
pub use cached_ref::CachedRef;
#[cfg(not(loom))]
pub use exemplars::Exemplars;
#[cfg(not(loom))]
pub use label_cache::CachedArena;
pub use part_ref::PartRef;
pub use series_key::{Generation, OVERFLOW, SeriesKey};
