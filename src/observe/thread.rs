//! A thread's side of its shard: the hot path, and the steps of the cold path that decide where an
//! update goes.

use std::cell::Cell;

use super::Engine;
use super::memory::{Block, SlabRef};
use super::shard::ShardRef;
use super::slot::{MOST_CELLS, NOT_LIVE, SlotWord};
use crate::lockfree::Generation;
use crate::sync::Relaxed;

/// A thread's side of its shard. In the crate a `thread_local!`, in a model a value.
pub struct Thread {
    /// The slab of this thread's shard, or the empty slab. Only this thread accesses it.
    pub(super) slab: Cell<SlabRef>,
    /// Set while this thread allocates a shard or a larger slab. An allocator that updates metrics
    /// re-enters this module, and its updates then use cold cells. Only this thread accesses it.
    pub(super) in_allocation: Cell<bool>,
    /// The slab of a thread without a shard, instead of the static one.
    #[cfg(loom)]
    empty: SlabRef,
    /// The engine that this thread has a shard of, or null. In a model a thread leaves its shard
    /// when its value is dropped.
    #[cfg(loom)]
    engine: Cell<*const Engine>,
}

/// The target of an update, as [`Thread::resolve`] determined it.
pub(super) enum Target {
    /// This block, which only the calling thread writes.
    Hot(Block),
    /// The cold cells.
    Cold,
    /// No cell of this series: the handle is stale.
    Stale,
}

impl Thread {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            slab: Cell::new(SlabRef::EMPTY),
            in_allocation: Cell::new(false),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        let empty = SlabRef::allocate(0, std::ptr::null()).unwrap();
        Self {
            slab: Cell::new(empty),
            in_allocation: Cell::new(false),
            empty,
            engine: Cell::new(std::ptr::null()),
        }
    }

    /// Returns the block whose last cell is `last`, if this thread's slab has it and no request is
    /// open. Except for the add, this is the whole hot path.
    #[inline(always)]
    pub(crate) fn hot(&self, last: u64) -> Option<Block> {
        let slab = self.slab.get();
        // Relaxed: the length only signals a request. `restore` orders the request itself.
        if last < slab.len().load(Relaxed) {
            // SAFETY: the length is at most the capacity, so `last` is below it.
            Some(unsafe { slab.block(last) })
        } else {
            None
        }
    }

    /// Determines where an update goes. Registers the thread, acknowledges a request and grows the
    /// slab if needed.
    pub(super) fn resolve(
        &self,
        engine: &Engine,
        slot_word: &SlotWord,
        generation: Generation,
    ) -> Target {
        // Registering, acknowledging and growing take one round each, and each may meet a new
        // request. Eight rounds suffice.
        for _ in 0..8 {
            if self.shard().is_some() {
                let slab = self.slab.get();
                if slab.len().load(Relaxed) == 0 && !self.in_allocation.get() {
                    self.move_blocks_to_file();
                    self.shard().expect("the thread has a shard").restore(slab);
                    self.move_to_file();
                }
            } else if !self.register(engine) {
                break;
            }
            // The slot word is read after every acknowledgement (I4).
            let last = slot_word.last(generation);
            if let Some(block) = self.hot(last) {
                return Target::Hot(block);
            }
            if last > u64::from(u32::MAX) {
                return Target::Stale;
            }
            if last >= NOT_LIVE {
                break;
            }
            // The slab is long enough but its length is 0: a request arrived in between. Try again.
            if last >= self.slab.get().capacity() && !self.grow(last) {
                break;
            }
        }
        if slot_word.generation() == generation {
            Target::Cold
        } else {
            Target::Stale
        }
    }

    pub(super) fn shard(&self) -> Option<ShardRef> {
        ShardRef::of(self.slab.get())
    }

    /// Takes a shard for this thread. Returns `false` if the thread is ending, if this call comes
    /// from an allocation made for a shard, or if the allocator refuses.
    fn register(&self, engine: &Engine) -> bool {
        if self.in_allocation.replace(true) {
            return false;
        }
        let shard = if super::engine::register_exit() {
            engine.shards.claim(&engine.slots)
        } else {
            None
        };
        if let Some(shard) = shard {
            // The first minute begins with the first thread.
            engine.begin_minute();
            #[cfg(loom)]
            self.engine.set(engine);
            let slab = shard.slab();
            self.slab.set(slab);
            // The last owner left a request unacknowledged. Acknowledge it now, because this thread
            // may never run a hot update.
            if slab.len().load(Relaxed) == 0 {
                shard.restore(slab);
            }
        }
        self.in_allocation.set(false);
        self.move_to_file();
        shard.is_some()
    }

    /// Takes a shard if this thread has none, and acknowledges an open request of the collector.
    /// The thread must be between two updates.
    #[cfg(not(loom))]
    pub(super) fn attend(&self, engine: &Engine) {
        if self.shard().is_some() {
            self.acknowledge();
        } else {
            self.register(engine);
        }
    }

    /// Acknowledges an open request of the collector. The thread must be between two updates.
    #[cfg(not(loom))]
    pub(super) fn acknowledge(&self) {
        let slab = self.slab.get();
        let due = !self.in_allocation.get() && slab.len().load(Relaxed) == 0;
        if let Some(shard) = self.shard().filter(|_| due) {
            self.move_blocks_to_file();
            shard.restore(slab);
        }
        self.move_to_file();
    }

    /// Allocates cells for all slots used so far, so that this thread's first updates are as fast
    /// as its later ones.
    pub(crate) fn warm(&self, engine: &Engine) {
        if self.shard().is_some() || self.register(engine) {
            let cells = engine.slots.high_water();
            if cells > self.slab.get().capacity() {
                self.grow(cells);
            }
        }
    }

    /// Runs `f`, which allocates. Returns `None`, without running it, if this thread is already
    /// allocating for an update.
    pub(crate) fn without_reentry<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        if self.in_allocation.replace(true) {
            return None;
        }
        let result = f();
        self.in_allocation.set(false);
        Some(result)
    }

    /// Leaves the shard to another thread. Later updates of this thread use cold cells.
    pub(crate) fn leave(&self, engine: &Engine) {
        if let Some(shard) = self.shard() {
            #[cfg(not(loom))]
            self.slab.set(SlabRef::EMPTY);
            #[cfg(loom)]
            self.slab.set(self.empty);
            engine.shards.leave(shard);
        }
    }

    /// Replaces the slab by a larger one that has cell `needed`. Returns `false` if the collector
    /// has locked growth, if this call comes from an allocation made for an update, or if the
    /// allocator refuses.
    pub(super) fn grow(&self, needed: u64) -> bool {
        let Some(shard) = self.shard() else {
            return false;
        };
        if self.in_allocation.get() || !shard.begin_growth() {
            return false;
        }
        self.in_allocation.set(true);
        shard.move_blocks_before_growth();
        let old = self.slab.get();
        // Half as large again, so that growth is rare, in whole pairs of cache lines. As large, if
        // the slab only moves to the mapped file.
        let capacity = if needed < old.capacity() {
            old.capacity()
        } else {
            (needed + 1)
                .max(old.capacity() + old.capacity() / 2)
                .next_multiple_of(16)
                .min(MOST_CELLS)
        };
        let new = shard.make_slab(capacity, |new| {
            // SAFETY: this thread owns the shard (I1). The new slab is as large or larger, and not
            // yet published.
            unsafe { new.copy_from(old) };
        });
        if let Some(new) = new {
            self.slab.set(new);
        }
        shard.end_growth(new);
        if let Some(new) = new {
            shard.acknowledge(new);
            // SAFETY: neither the shard nor this thread points to the old slab any more (I3).
            unsafe { shard.free_replaced(old) };
        }
        self.in_allocation.set(false);
        new.is_some()
    }
}

#[cfg(loom)]
impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: null, or an engine that outlives its model's threads.
        if let Some(engine) = unsafe { self.engine.get().as_ref() } {
            self.leave(engine);
        }
        // SAFETY: only this thread ever pointed to it.
        unsafe { self.empty.free() };
    }
}
