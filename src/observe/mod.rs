//! The engine and the cells of each metric kind: one thread writes a cell, a scrape reads it.
//!
//! # The memory model on one page
//!
//! Every thread has a shard ([`shard`]): cells of 8 bytes that only this thread writes, with a
//! relaxed load, an add and a store. No update is lost, because a cell has one writer. Any thread
//! may read it. A series has a slot, which is the index of its cells in every shard ([`slot`]). A
//! cold series has no slot yet; threads write its one cold cell under a lock of one word
//! ([`cold_lock`]).
//!
//! One comparison, of the slot with the length of the thread's slab, separates the hot path from
//! all other cases: the thread has no shard yet, the series is cold, the slab is too short, the
//! handle is stale, or the collector requests a safepoint. All of these continue in one cold
//! function, [`Thread::resolve`].
//!
//! A scrape is a pass ([`pass`]) that adds up the cold cell and the slot's cells in every shard.
//! Sources are only added to, and none is removed before its content is in another one, so totals
//! never go back. Where several cells have to be seen together (a histogram's buckets and its sum),
//! the kind's own cells order them ([`bucket_block`]). [`tally`] orders increments and decrements.
//!
//! Invariants are numbered by module: I ([`shard`]), M ([`memory`]), W ([`slot`]), Q ([`pass`]), U
//! ([`cold_lock`]), C ([`tally`]), G ([`gauge`]), B ([`bucket_block`]), T ([`native`]), D
//! ([`summary`]), F ([`stream`]), and A (`allocator`).
//!
//! Other processes can read the cells of this one in a mapped file: see [`mod@file`].
//!
//! This module knows no names, labels or formats.

#![allow(
    unsafe_code,
    reason = "lock-free code: every block cites the invariant it rests on"
)]
#![cfg_attr(
    loom,
    allow(dead_code, unused_imports, reason = "models drive what they need")
)]

mod address;
#[cfg(all(feature = "process", not(loom)))]
mod allocator;
mod bucket_block;
mod bucket_index;
mod buckets;
mod cells;
mod engine;
mod file;
mod gauge;
#[cfg(all(test, not(loom)))]
mod tests_of_floats;

mod cold_lock;
mod memory;
#[cfg(all(test, loom))]
mod models;
mod native;
mod pass;
mod shard;
mod slot;
mod stream;
mod summary;
mod tally;
#[cfg(all(test, not(loom)))]
mod tests;
mod thread;
mod update;
mod window;

#[cfg(all(feature = "process", not(loom)))]
pub use allocator::{Allocated, Allocator, allocated, count_allocations};
pub use buckets::{Buckets, MOST_BUCKETS, Observation, Observed, ObservedTotal, Shape};
pub use cells::{
    Cells, MOST_IN_ROW, Outcome, end_closing, fold_idle, promote_row, read_overflow, reclaim,
    start_over,
};
pub use engine::Engine;
#[cfg(not(loom))]
pub use engine::{engine, limit_cells, thread, warm};
pub use file::unpublished_cells;
pub use gauge::{GaugeCell, GaugeOp, GaugeShape};
pub use pass::{Closing, Pass, Retired};
pub use slot::{SlotWord, stride};
pub use stream::SummaryTotal;
pub use summary::{Distribution, SummaryShape};
#[cfg(not(loom))]
pub use summary::{limit_summaries, stream_budget};
pub use tally::{Number, Tally, UpDown, is_finite};
pub use thread::Thread;
pub use window::Window;
#[cfg(mapped)]
pub(crate) use {
    bucket_block::{BUCKET, read_event, read_unsteady},
    cells::MoveBlock,
    cold_lock::ColdLock,
    file::process::{ForkGuard, list_blocks, while_locked},
    gauge::last_set,
    native::Key,
    stream::{PageCopy, VALUES, read_current, sketch_of_values},
    tally::{UpDownCells, difference},
    window::{Ages, History, PageAges, decode, encoded_len},
};

#[cfg(test)]
use crate::lockfree::Generation;
#[cfg(all(test, not(loom)))]
use cold_lock::PROMOTE_AFTER;
#[cfg(all(test, mapped))]
pub(crate) use file::must_move_blocks;
#[cfg(all(test, loom))]
use stream::StreamBudget;
#[cfg(test)]
use update::promote;
