//! Containers that several threads use without locks, and the names of series that they hand out.
//!
//! - [`arena`]: series that never move; [`label_cache`]: each thread's cache of the label sets it used.
//! - [`cached_ref`]: a bound series' memory of where it was found last.
//! - [`published`]: a value that is replaced as a whole; [`shared_text`] and [`exemplars`] use it.
//! - [`epoch`]: pins, and work that is deferred until all current pins are released.
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
pub(crate) mod published;
mod series_key;
#[cfg(not(loom))]
mod shared_text;

#[cfg(not(loom))]
pub use arena::{BATCH, prefetch};
pub use cached_ref::CachedRef;
#[cfg(not(loom))]
pub use exemplars::Exemplars;
#[cfg(not(loom))]
pub use label_cache::CachedArena;
pub use series_key::{Generation, OVERFLOW, SeriesKey};
#[cfg(not(loom))]
pub use shared_text::SharedText;
