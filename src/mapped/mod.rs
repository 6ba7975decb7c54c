//! The memory of cells: a region of addresses that a file can be mapped to, and the file itself.
//!
//! Before the process shares its metrics, the region has memory of its own. [`region::publish`]
//! replaces that by a file, at the same addresses and with the same content. So nothing that is in
//! the region moves, and nobody who writes there notices.
//!
//! - X1: Memory of the region is given out once, until it is freed. Its bytes are zero then.
//! - X2: The region is reserved once, and never unmapped. Extents are mapped in the order of their
//!   addresses, and an address below the end of the last one stays mapped.
//! - X3: What a word of the region points to is in the region, unless that was full ([`Place`]).
//!
//! Where there are no mapped files (without the feature `mmap`, on other systems, under loom and
//! Miri) the region gives out nothing, and callers use the heap.
//!
//! This module knows no threads, shards or metrics. `docs/mapped-files.md` describes the file.

#![allow(
    unsafe_code,
    reason = "memory: every block cites the invariant it rests on"
)]
#![allow(dead_code, reason = "not all of it is used without the feature `mmap`")]

pub(crate) mod format;
pub(crate) mod held;
pub(crate) mod journal;
pub(crate) mod record;
pub(crate) mod words;

#[cfg_attr(not(mapped), path = "heap_only.rs")]
pub(crate) mod region;

pub(crate) use journal::Move;
pub(crate) use words::{Own, Place, Words, owned, take};
