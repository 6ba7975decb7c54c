//! One thread writes, a scrape reads: the only room with lock-free code.
//!
//! # The memory model on one page
//!
//! Every thread has a shard ([`shard`]): cells of 8 bytes that only it writes, with a relaxed load, an add and a
//! store. Nothing is lost because nobody else writes them, and any thread may read them. A series has a slot, its
//! place in every shard ([`slot`]); before it is hot it has none and counts in one shared cell with an atomic add.
//!
//! One compare, slot against the length of the thread's slab, tells the hot path from everything else: not yet
//! registered, not yet hot, not yet grown, retired, asked for a safe point. All of these go to one cold function,
//! [`Thread::settle`].
//!
//! A scrape is a pass ([`pass`]) that adds up the shared cell and the slot in every shard. Sources are only ever
//! added to, and only join, so totals never go back. What has to be seen together (a histogram's buckets and its sum)
//! is ordered by its own cells ([`buckets`]); what only makes sense in an order (ups before downs) by [`tally`].
//!
//! This room knows no names, labels or formats.

#![allow(
    unsafe_code,
    reason = "the room for it: every block names the invariant it rests on"
)]
#![cfg_attr(
    loom,
    allow(dead_code, unused_imports, reason = "models drive what they need")
)]

#[cfg(all(feature = "process", not(loom)))]
mod allocator;
mod buckets;
mod cells;
mod engine;
mod gauge;

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
pub use buckets::{Buckets, MOST_BUCKETS, Observed, Shape, join_sums};
#[cfg(all(test, not(loom)))]
use cells::PROMOTE_AFTER;
pub use cells::{
    Cells, MOST_IN_ROW, Outcome, end, fold_idle, promote_row, read_overflow, start_over,
};
pub use engine::Engine;
#[cfg(not(loom))]
pub use engine::{engine, reject, thread, warm};
pub use gauge::{GaugeCell, GaugeOp};
pub use pass::{Pass, Retired};
pub use slot::{SlotWord, stride};
pub use stream::SummaryTotal;
pub use summary::{Distribution, SummaryShape};
#[cfg(not(loom))]
pub use summary::{limit_summaries, stream_budget};
pub use tally::{Number, Tally, UpDown};
pub use thread::Thread;
pub use window::Window;

#[cfg(test)]
use crate::lockfree::Generation;
#[cfg(all(test, loom))]
use stream::Budget;
#[cfg(test)]
use update::promote;
