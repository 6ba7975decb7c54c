//! A thread's side of its shard: the hot path, and what the cold path does before an update may go on.

use std::cell::Cell;

use super::Engine;
use super::memory::{Block, SlabRef};
use super::shard::ShardRef;
use super::slot::{MOST_CELLS, SlotWord};
use crate::lockfree::Generation;
use crate::sync::Relaxed;

/// A thread's side of its shard. In the crate a `thread_local!`, in a model a value.
pub struct Thread {
    slab: Cell<SlabRef>,
    /// Set while this thread is on its way to a shard or a larger slab: an allocator that counts through our cells
    /// comes back in here, and then counts in shared cells.
    busy: Cell<bool>,
    #[cfg(loom)]
    empty: SlabRef,
    /// In a model a thread leaves its shard when its value is dropped.
    #[cfg(loom)]
    engine: Cell<*const Engine>,
}

/// Where an update goes, as [`Thread::settle`] found it.
pub(super) enum Settled {
    /// To this block, which only the calling thread writes.
    Hot(Block),
    /// To the shared cell.
    Cold,
    /// Nowhere in this series: the handle is stale.
    Stale,
}

impl Thread {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            slab: Cell::new(SlabRef::EMPTY),
            busy: Cell::new(false),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        let empty = SlabRef::allocate(0, std::ptr::null()).unwrap();
        Self {
            slab: Cell::new(empty),
            busy: Cell::new(false),
            empty,
            engine: Cell::new(std::ptr::null()),
        }
    }

    /// The block whose last cell is `last`, if this thread has it. This is the whole hot path but for the add.
    #[inline(always)]
    pub(crate) fn hot(&self, last: u64) -> Option<Block> {
        let slab = self.slab.get();
        // Relaxed: only orders a request, which has its own (see `restore`).
        if last < slab.len().load(Relaxed) {
            // SAFETY: the length is at most the capacity.
            Some(unsafe { slab.block(last) })
        } else {
            None
        }
    }

    /// Whether this thread may touch what it found through a place; else it must take the cold path.
    #[inline(always)]
    pub(crate) fn may(&self, last: u64) -> bool {
        last < self.slab.get().len().load(Relaxed)
    }

    /// The cold path: registers, answers, grows, and says where this update goes.
    pub(super) fn settle(
        &self,
        engine: &Engine,
        place: &SlotWord,
        generation: Generation,
    ) -> Settled {
        // Registering, answering and growing, each perhaps met by a new request; never more than a few rounds.
        for _ in 0..8 {
            if self.shard().is_some() {
                let slab = self.slab.get();
                if slab.len().load(Relaxed) == 0 && !self.busy.get() {
                    self.shard().expect("just seen").restore(slab);
                }
            } else if !self.register(engine) {
                break;
            }
            // The place is read after every answer (I4).
            let last = place.last(generation);
            if let Some(block) = self.hot(last) {
                return Settled::Hot(block);
            }
            if last > u64::from(u32::MAX) {
                return Settled::Stale;
            }
            if last == u64::from(u32::MAX) {
                break;
            }
            // Room enough, but a request came in between: once more.
            if last >= self.slab.get().capacity() && !self.grow(last) {
                break;
            }
        }
        if place.generation() == generation {
            Settled::Cold
        } else {
            Settled::Stale
        }
    }

    fn shard(&self) -> Option<ShardRef> {
        ShardRef::of(self.slab.get())
    }

    /// Takes a shard for this thread; false if it may not have one (it ends, or is busy doing this).
    fn register(&self, engine: &Engine) -> bool {
        if self.busy.replace(true) {
            return false;
        }
        let shard = if super::engine::keep_until_exit() {
            engine.shards.claim()
        } else {
            None
        };
        if let Some(shard) = shard {
            #[cfg(loom)]
            self.engine.set(engine);
            let slab = shard.slab();
            self.slab.set(slab);
            // A request that the last owner has left unanswered: this thread may never meet it in an update.
            if slab.len().load(Relaxed) == 0 {
                shard.restore(slab);
            }
        }
        self.busy.set(false);
        shard.is_some()
    }

    /// Answers a request of the collector, if there is one; between two updates.
    #[cfg(not(loom))]
    pub(super) fn answer(&self) {
        let slab = self.slab.get();
        if let Some(shard) = self.shard().filter(|_| !self.busy.get())
            && slab.len().load(Relaxed) == 0
        {
            shard.restore(slab);
        }
    }

    /// Makes room for the slots given out so far, so that this thread's first updates are like its later ones.
    pub(crate) fn warm(&self, engine: &Engine) {
        if self.shard().is_some() || self.register(engine) {
            let cells = engine.slots.high_water();
            if cells > self.slab.get().capacity() {
                self.grow(cells);
            }
        }
    }

    /// Runs `f`, which allocates, unless this thread is on its way to memory already.
    pub(crate) fn alone<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        if self.busy.replace(true) {
            return None;
        }
        let result = f();
        self.busy.set(false);
        Some(result)
    }

    /// Whether an update comes from an allocation that this thread makes for another one.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// Leaves the shard to the next thread. An update after this counts in shared cells.
    pub(crate) fn leave(&self, engine: &Engine) {
        if let Some(shard) = self.shard() {
            #[cfg(not(loom))]
            self.slab.set(SlabRef::EMPTY);
            #[cfg(loom)]
            self.slab.set(self.empty);
            engine.shards.leave(shard);
        }
    }

    /// A larger slab, unless one is being made or the collector is at the old one.
    fn grow(&self, needed: u64) -> bool {
        let Some(shard) = self.shard() else {
            return false;
        };
        if self.busy.get() || !shard.begin_growth() {
            return false;
        }
        self.busy.set(true);
        let old = self.slab.get();
        // Half as much again, so that growing is rare, in whole pairs of lines.
        let capacity = (needed + 1)
            .max(old.capacity() + old.capacity() / 2)
            .next_multiple_of(16)
            .min(MOST_CELLS);
        let new = SlabRef::allocate(capacity, old.shard());
        if let Some(new) = new {
            // SAFETY: this thread owns the shard; the new slab is larger and not yet published.
            unsafe { new.copy_from(old) };
            self.slab.set(new);
        }
        shard.end_growth(new);
        if let Some(new) = new {
            shard.answer(new);
            // SAFETY: no longer reachable; readers that pinned before may still be reading it.
            unsafe { shard.retire(old) };
        }
        self.busy.set(false);
        new.is_some()
    }
}

#[cfg(loom)]
impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: null, or an engine that outlives its models' threads.
        if let Some(engine) = unsafe { self.engine.get().as_ref() } {
            self.leave(engine);
        }
        // SAFETY: only this thread ever pointed to it.
        unsafe { self.empty.free() };
    }
}

impl std::fmt::Debug for Thread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thread")
            .field("cells", &self.slab.get().capacity())
            .finish()
    }
}
