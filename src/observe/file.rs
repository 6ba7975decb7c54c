//! Cells in a mapped file: what the engine does so that other processes can read it.
//!
//! All hooks of the engine stand here. Where nothing can be mapped, the region is empty: then they
//! do nothing, and cost nothing.
//!
//! # How the cells of a process get into its file
//!
//! Series and their cold cells are in the region from the start. When the process begins to publish
//! its metrics,
//!
//! 1. the region becomes a file while no thread updates cold cells (`while_locked`);
//! 2. a pass lists the blocks that hold more than numbers, moves those of unowned shards, and has
//!    all threads sent a request (`move_cells`);
//! 3. a thread that finds the request moves its blocks (`Thread::move_blocks_to_file`),
//!    acknowledges, and replaces its slab by one in the file (`Thread::move_to_file`). Until it
//!    acknowledges, no series of these blocks is reclaimed.
//!
//! A slab in the file has a [`SlabRecord`], by which readers find it.

use std::ptr::NonNull;

use crate::mapped::record::{Record, publish};
use crate::mapped::{format, region};
use crate::sync::{Mutex, lock};

use super::memory::SlabRef;
use super::thread::Thread;

/// Returns the number of words that are not in the file although the process publishes its metrics.
pub fn unpublished_cells() -> Option<u64> {
    region::is_published().then(region::unpublished)
}

/// Allocates zeroed memory for a slab, aligned to 128: in the file if the process publishes its
/// metrics. `Err`: not there.
pub(super) fn allocate_slab(bytes: usize) -> Result<Option<NonNull<u8>>, NotPublished> {
    if region::is_published() {
        Ok(region::allocate(bytes))
    } else {
        Err(NotPublished)
    }
}

/// The process does not publish its metrics.
pub(super) struct NotPublished;

/// Frees the memory of a slab if it is in the file. Returns `false` if it is not.
///
/// # Safety
///
/// The slab is of this size, and no thread can reach it any more.
pub(super) unsafe fn free_slab(slab: SlabRef, bytes: usize) -> bool {
    let is_in_file = slab.is_in_file();
    if is_in_file {
        let memory = NonNull::new(slab.as_ptr()).expect("a slab is not null");
        // SAFETY: `allocate_slab` allocated it with this size, and no thread can reach it.
        unsafe { region::free(memory.cast(), bytes) };
    }
    is_in_file
}

/// Returns a function that tells later whether this memory is still to be freed. In the child of a
/// `fork`, memory of the file has lost its content, and is not used again.
pub(super) fn is_still(memory: *const u8) -> impl FnOnce() -> bool {
    let forks = region::forks();
    move || region::forks() == forks || !region::contains(memory)
}

impl SlabRef {
    /// Returns whether the slab is in the mapped file.
    pub(super) fn is_in_file(self) -> bool {
        region::contains(self.as_ptr().cast())
    }
}

/// The record by which readers find the slab of a shard. Made by the owner when it first has a slab
/// in the file; used by the owner.
pub(super) struct SlabRecord(Mutex<Option<Record>>);

impl SlabRecord {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Lets other processes read the cells of a slab that is about to become the shard's, if it is
    /// in the file. Returns `false` if there is no memory for the record. Called by the owner,
    /// which has copied the cells of its last slab.
    pub(super) fn publish(&self, slab: SlabRef) -> bool {
        if !slab.is_in_file() {
            return true;
        }
        let mut record = lock(&self.0);
        let address = slab.as_ptr().addr() as u64;
        if let Some(record) = &*record {
            publish(record.word(format::shard::SLAB), address);
            return true;
        }
        let used = spare_records().pop();
        let is_new = used.is_none();
        let Some(fresh) = used.or_else(|| Record::new(format::shard::BYTES)) else {
            return false;
        };
        publish(fresh.word(format::shard::SLAB), address);
        if let (true, Some(shards)) = (is_new, region::header_word(format::header::SHARDS)) {
            fresh.push_to(shards);
        }
        *record = Some(fresh);
        true
    }

    /// Hides the slab, which is about to be freed.
    pub(super) fn unpublish(&self) {
        if let Some(record) = lock(&self.0).take() {
            record.set(format::shard::SLAB, 0);
            spare_records().push(record);
        }
    }
}

/// Returns the records of shards that were freed. They stay in the list of the file, for other
/// shards.
fn spare_records() -> std::sync::MutexGuard<'static, Vec<Record>> {
    static SPARE: std::sync::Mutex<Vec<Record>> = std::sync::Mutex::new(Vec::new());
    SPARE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Thread {
    /// Moves what this thread's blocks hold besides numbers to the file, if the process has come to
    /// publish its metrics. Called before the request is acknowledged: until then, no series of
    /// these blocks is reclaimed.
    pub(super) fn move_blocks_to_file(&self) {
        #[cfg(mapped)]
        if let Some(shard) = self.shard().filter(|_| region::is_published()) {
            // With the right to zero blocks, so that the collector does not clear those of a
            // dropped family.
            if !self.slab.get().is_in_file() && shard.begin_growth() {
                self.in_allocation.set(true);
                process::move_blocks(self.slab.get());
                self.in_allocation.set(false);
                shard.end_growth(None);
            }
        }
    }

    /// Moves this thread's slab to the file, if the process has come to publish its metrics. The
    /// thread must be between two updates.
    pub(super) fn move_to_file(&self) {
        if region::is_published() && self.shard().is_some() && !self.slab.get().is_in_file() {
            self.grow(0);
        }
    }
}

/// The hooks of the whole process: the beginning, and a `fork`. There are no models of these.
#[cfg(mapped)]
pub(super) mod process {
    use std::ptr::null_mut;

    use super::super::cells::MoveBlock;
    use super::super::cold_lock::ColdLock;
    use super::super::engine::{Abandoned, Engine, back_off, engine, thread};
    use super::super::pass::{Collector, Pass};
    use super::super::shard::Pool;
    use super::super::slot::Blocks;
    use super::*;
    use crate::sync::{AllocatingGuard, MutexGuard, Relaxed};

    /// The blocks that hold more than numbers, when the process began to publish its metrics: the
    /// last cell of each, and the function that moves the rest to the file. Written by the thread
    /// that begins, read by owners.
    static TO_MOVE: Mutex<Vec<(u64, MoveBlock)>> = Mutex::new(Vec::new());

    /// Runs `f` while no thread updates the cold cells behind these locks.
    pub fn while_locked<R>(locks: &[&ColdLock], f: impl FnOnce() -> R) -> R {
        let mut held = Vec::with_capacity(locks.len());
        for lock in locks {
            let mut tries = 0;
            held.push(loop {
                match lock.lock_any() {
                    Some(held) => break held,
                    None => back_off(&mut tries),
                }
            });
        }
        f()
    }

    /// Has all threads move their cells to the file, at their next update. `blocks` are those of
    /// live series that hold more than numbers: the last cell of each, and the function that moves
    /// the rest.
    pub fn move_cells(pass: &mut Pass<'_>, blocks: Vec<(u64, MoveBlock)>) {
        *lock(&TO_MOVE) = blocks;
        // The lock keeps threads from claiming them.
        for unowned in &engine().shards.pool().unowned {
            move_blocks(unowned.shard.slab());
        }
        pass.request();
    }

    /// Moves what the blocks of a slab hold besides numbers to the file. The caller owns the slab,
    /// is between two updates, and keeps the collector from clearing blocks.
    pub(super) fn move_blocks(slab: SlabRef) {
        for &(last, move_block) in &*lock(&TO_MOVE) {
            if last < slab.capacity() {
                // SAFETY: below the capacity. The series of this slot was live when the list was
                // made, and has not been reclaimed since, because the owner has not acknowledged a
                // request since then; or its family was dropped, and the block is zero or as it
                // was.
                unsafe { move_block(slab.block(last)) };
            }
        }
    }

    /// The locks of the engine, which are held around a `fork`, so that the child finds nothing
    /// half done.
    pub struct ForkGuard {
        engine: &'static Engine,
        // In the order in which they are locked.
        collector: MutexGuard<'static, Collector>,
        pool: MutexGuard<'static, Pool>,
        spare_records: std::sync::MutexGuard<'static, Vec<Record>>,
        _abandoned: MutexGuard<'static, Vec<Abandoned>>,
        _deferred: std::sync::MutexGuard<'static, Vec<(u64, u64)>>,
        _blocks: AllocatingGuard<'static, Blocks>,
        _to_move: MutexGuard<'static, Vec<(u64, MoveBlock)>>,
    }

    impl ForkGuard {
        /// Locks the engine. Waits for the running pass.
        pub fn lock() -> Self {
            let engine = engine();
            Self {
                engine,
                collector: lock(&engine.collector),
                pool: engine.shards.pool(),
                spare_records: spare_records(),
                _abandoned: lock(&engine.abandoned),
                _deferred: lock(&engine.slots.deferred),
                _blocks: engine.slots.blocks.lock(),
                _to_move: lock(&TO_MOVE),
            }
        }

        /// Forgets all shards, in the child of a `fork`: their memory is zero now. The slots of
        /// series stay.
        pub fn start_over(&mut self) {
            thread(|thread| {
                thread.slab.set(SlabRef::EMPTY);
                thread.in_allocation.set(false);
            });
            *self.collector = Collector::new();
            self.engine.shards.joined.store(null_mut(), Relaxed);
            self.pool.unowned.clear();
            self.pool.empty.clear();
            self.pool.shard_count = 0;
            self.spare_records.clear();
            self.engine.slots.shards.store(0, Relaxed);
        }
    }

    impl std::fmt::Debug for ForkGuard {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("ForkGuard").finish_non_exhaustive()
        }
    }
}
