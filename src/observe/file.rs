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
//! 1. a pass lists the blocks that hold more than numbers (`list_blocks`), and then the region
//!    becomes a file, while no thread updates cold cells (`while_locked`);
//! 2. the next pass sends a request;
//! 3. a thread that finds the request moves its blocks (`Thread::move_blocks_to_file`),
//!    acknowledges, and replaces its slab by one in the file (`Thread::move_to_file`). The
//!    collector does the same for unowned shards.
//!
//! A shard moves its blocks once (`FileState::has_moved`), and before it acknowledges that request
//! or grows: until then, no series of the list that has a block in the shard is reclaimed, so the
//! blocks are still of the listed kinds (I4, I5). A shard that joins later has no blocks to move.
//!
//! A slab in the file has a record, by which readers find it.

use std::ptr::NonNull;
use std::sync::atomic::AtomicBool;

use crate::mapped::record::{Record, publish};
use crate::mapped::{format, region};
use crate::sync::{Mutex, Relaxed, lock};

use super::memory::SlabRef;
use super::shard::Shard;
use super::thread::Thread;

/// Returns the number of words that are not in the file although the process publishes its metrics.
pub fn unpublished_cells() -> Option<u64> {
    region::is_published().then(region::unpublished)
}

/// Allocates zeroed memory for a slab: in the file, aligned to 128, if the process publishes its
/// metrics, else with `on_heap`.
pub(super) fn allocate_slab(
    bytes: usize,
    on_heap: impl FnOnce() -> Option<NonNull<u8>>,
) -> Option<NonNull<u8>> {
    if region::is_published() {
        region::allocate(bytes)
    } else {
        on_heap()
    }
}

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

/// The state of a shard in the file. Used by the owner, or by the collector if there is none.
pub(super) struct FileState {
    /// The record by which readers find the slab. Made when the shard first has a slab in the file.
    record: Mutex<Option<Record>>,
    /// Whether the shard has moved the listed blocks, or joined after the list was made. Not an
    /// atomic of the models: one thread at a time has it.
    has_moved: AtomicBool,
}

impl FileState {
    pub(super) fn new() -> Self {
        Self {
            record: Mutex::new(None),
            has_moved: AtomicBool::new(cfg!(loom)),
        }
    }

    /// Makes the owner move its blocks, in a model.
    #[cfg(loom)]
    pub(super) fn begin_moves(&self) {
        self.has_moved.store(false, Relaxed);
    }

    /// Notes whether the process published its metrics when the shard joined. Called by the owner,
    /// right after the shard joined: if the pass that sends the request has not found it, this
    /// finds the process published.
    pub(super) fn note_join(&self) {
        // Relaxed: only the owner has the shard.
        let is_published = region::is_published() || cfg!(loom);
        self.has_moved.store(is_published, Relaxed);
    }

    /// Returns whether blocks of the shard have to be moved to the file before the shard
    /// acknowledges a request or grows.
    pub(super) fn must_move(&self) -> bool {
        // Relaxed: the pool's lock hands the flag from owner to owner. After the request, both are
        // as the request found them; before it, the answer may be late.
        (region::is_published() || cfg!(loom)) && !self.has_moved.load(Relaxed)
    }

    /// Lets other processes read the cells of a slab that is about to become the shard's, if it is
    /// in the file. Returns `false` if there is no memory for the record. Called by the owner,
    /// which has copied the cells of its last slab.
    pub(super) fn publish(&self, slab: SlabRef) -> bool {
        if !slab.is_in_file() {
            return true;
        }
        let mut record = lock(&self.record);
        let address = slab.as_ptr().addr() as u64;
        let used = record.take().or_else(|| spare_records().pop());
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
        if let Some(record) = lock(&self.record).take() {
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
    /// publish its metrics. The thread must be between two updates, and its slab's length 0.
    pub(super) fn move_blocks_to_file(&self) {
        #[cfg(any(mapped, loom))]
        if let Some(shard) = self.shard().filter(|shard| shard.file.must_move()) {
            // With the right to zero blocks, so that the collector does not clear those of a
            // dropped family.
            if shard.begin_growth() {
                self.without_reentry(|| process::move_blocks(&shard));
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

/// Returns whether the calling thread still has to move blocks to the file.
#[cfg(all(test, mapped))]
pub fn must_move_blocks() -> bool {
    super::engine::thread(Thread::shard).is_some_and(|shard| shard.file.must_move())
}

impl Shard {
    /// Moves what the blocks hold besides numbers to the file, before the slab grows. Called by the
    /// owner, which has the right to replace the slab, and runs no update meanwhile.
    pub(super) fn move_blocks_before_growth(&self) {
        #[cfg(any(mapped, loom))]
        if self.file.must_move() {
            // Updates of an allocator find no hot cell, as in a move before an acknowledgement.
            self.put_off(self.slab());
            process::move_blocks(self);
        }
    }

    /// Does the same for a shard without an owner, before the collector acknowledges for it. Called
    /// with the pool's lock.
    pub(super) fn move_unowned_blocks(&self) {
        #[cfg(mapped)]
        if self.file.must_move() {
            // The first update of an allocator needs no shard meanwhile, and so not the pool.
            super::engine::thread(|thread| thread.without_reentry(|| process::move_blocks(self)));
        }
    }
}

/// In a model, no block has anything to move.
#[cfg(loom)]
mod process {
    use super::{Relaxed, Shard};

    pub(super) fn move_blocks(shard: &Shard) {
        shard.file.has_moved.store(true, Relaxed);
    }
}

/// The hooks of the whole process: the beginning, and a `fork`. There are no models of these.
#[cfg(mapped)]
pub(super) mod process {
    use std::ptr::null_mut;
    use std::sync::Arc;

    use super::super::cells::MoveBlock;
    use super::super::cold_lock::ColdLock;
    use super::super::engine::{AbandonedSlot, Engine, back_off, engine, thread};
    use super::super::pass::{Collector, Pass};
    use super::super::shard::Pool;
    use super::super::slot::BlockSpace;
    use super::*;
    use crate::sync::{AllocatingGuard, MutexGuard};

    /// The blocks that hold more than numbers, when the process began to publish its metrics: the
    /// last cell of each, and the function that moves the rest to the file. Written by the thread
    /// that begins, read by owners.
    static TO_MOVE: Mutex<Option<BlocksToMove>> = Mutex::new(None);

    type BlocksToMove = Arc<[(u64, MoveBlock)]>;

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

    /// Lists the blocks that hold more than numbers: `blocks` are those of live series, the last
    /// cell of each, and the function that moves the rest to the file. Called in a pass, before the
    /// region becomes a file. Then [`Pass::request`] has all threads move them.
    pub fn list_blocks(_: &Pass<'_>, blocks: Vec<(u64, MoveBlock)>) {
        let blocks = Some(Arc::from(blocks));
        *lock(&TO_MOVE) = blocks;
    }

    /// Moves what the listed blocks of a shard hold besides numbers to the file. The caller owns
    /// the shard, is between two updates, and keeps the collector from clearing blocks; or it is
    /// the collector, and the shard has no owner.
    pub(super) fn move_blocks(shard: &Shard) {
        let slab = shard.slab();
        // Not under the lock: an allocator that updates metrics takes others.
        let blocks = lock(&TO_MOVE).clone();
        for &(last, move_block) in blocks.iter().flat_map(|blocks| blocks.iter()) {
            if let Some(block) = slab.get_block(last) {
                // SAFETY: the series of this slot was live when the list was made, and has not been
                // reclaimed since, because the shard has neither acknowledged a request nor grown
                // since then; or its family was dropped, and the block is zero or as it was.
                unsafe { move_block(block) };
            }
        }
        shard.file.has_moved.store(true, Relaxed);
    }

    /// The locks of the engine, which are held around a `fork`, so that the child finds nothing
    /// half done.
    pub struct ForkGuard {
        engine: &'static Engine,
        // In the order in which they are locked.
        collector: MutexGuard<'static, Collector>,
        pool: MutexGuard<'static, Pool>,
        spare_records: std::sync::MutexGuard<'static, Vec<Record>>,
        _abandoned: MutexGuard<'static, Vec<AbandonedSlot>>,
        _blocks: AllocatingGuard<'static, BlockSpace>,
        to_move: MutexGuard<'static, Option<BlocksToMove>>,
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
                _blocks: engine.slots.blocks.lock(),
                to_move: lock(&TO_MOVE),
            }
        }

        /// Forgets all shards, in the child of a `fork`: their memory is zero now. The slots of
        /// series stay.
        pub fn start_over(&mut self) {
            thread(|thread| {
                thread.slab.set(SlabRef::EMPTY);
                thread.in_allocation.set(false);
            });
            let cleared = std::mem::take(&mut self.collector.cleared);
            let number = self.collector.number;
            *self.collector = Collector::new();
            // No number twice: what a family keeps of a pass is that of no later one.
            (self.collector.cleared, self.collector.number) = (cleared, number);
            self.engine.shards.joined.store(null_mut(), Relaxed);
            self.pool.unowned.clear();
            self.pool.empty.clear();
            self.spare_records.clear();
            *self.to_move = None;
            self.engine.slots.shards.store(0, Relaxed);
        }
    }
}
