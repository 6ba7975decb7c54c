//! Shards: the cells of one thread, their ownership and growth, and the collector's safepoint
//! requests to their owner.
//!
//! A thread that ends leaves its shard, with all counts in it, to the next thread that starts. A
//! shard that no thread takes between two passes is *idle*: the collector folds it into the shared
//! cells of the series, and later passes do not read it. So the cost of a pass depends on the
//! number of live threads, not on the number that ever ran.
//!
//! - I1: only the owner writes cells, and only through the slab that its [`Thread`] points to,
//!   which is the one that the shard points to. A shard without an owner is in the [`Pool`], whose
//!   lock hands it from its last owner to the collector or to the next owner.
//! - I2: only the thread that set `growing` replaces the slab or zeroes cells of free slots. No
//!   thread waits for it: an owner that finds it set does not grow now, and a collector tries again
//!   in its next pass.
//! - I3: a replaced slab keeps the counts that the owner had at that moment. It is freed an epoch
//!   later.
//! - I4: once `acknowledged >= g`, every update of this shard that read a slot word before request
//!   `g` has ended, and every later update sees what the collector wrote before the request. So an
//!   owner acknowledges only between two updates, and reads the slot word again afterwards.
//! - I5: an owner whose slab ends below a slot has no update of that slot in progress, and reads
//!   the slot word again after growing. So if the slab still ends below the slot when the collector
//!   looks, after its request, this shard need not acknowledge: later growth comes after the
//!   request's exchange of the slab, and sees what came before it.
//! - I6: a shard is freed by the collector, outside of passes, when it is empty, unowned and read
//!   by no pass.
//!
//! # A request
//!
//! The collector stores the ticket in `requested`, exchanges the slab pointer with itself, and
//! exchanges the slab's length with 0. The owner's next update fails its comparison with the
//! length, takes the cold path, exchanges the length back (`restore`), and stores the ticket in
//! `acknowledged`. [`Shard::request`] lists the cases in which the two race.

use std::ptr::{NonNull, null_mut};

use crate::sync::{
    AcqRel, Acquire, AtomicBool, AtomicPtr, AtomicU64, Mutex, MutexGuard, Relaxed, Release,
    const_fn, lock, owner_load,
};

use crate::lockfree::epoch::pin;
use crate::lockfree::published::{Free, Published};

use super::memory::{Block, Slab, SlabRef};
#[cfg(doc)]
use super::thread::Thread;

/// The number of cells of a thread's first slab: two cache lines. A thread that runs few updates
/// and sleeps delays only the slots below its capacity (I5).
#[cfg(not(loom))]
const FIRST_CAPACITY: u64 = 16;
#[cfg(loom)]
const FIRST_CAPACITY: u64 = 4;

/// Copies the content of a block to a buffer. The kind of the block's series defines the content:
/// the block's cells, or memory that they point to.
///
/// The owner calls the function between two updates, with the epoch pinned, on the block of the
/// requested slot.
pub(crate) type CopyBlock = unsafe fn(Block, &[AtomicU64]);

/// A reader's request for a copy of a block. Written before it is published.
pub(crate) struct CopyRequest {
    /// The last cell of the block. Read by the owner.
    last: u64,
    /// Copies the block. Called by the owner.
    copy: CopyBlock,
    /// The copy. Written by the owner before it acknowledges the request, read by the collector
    /// afterwards.
    buffer: Box<[AtomicU64]>,
}

impl Free for CopyRequest {
    unsafe fn free(this: NonNull<Self>) {
        // SAFETY: leaked from a box in `request_copy`. The caller guarantees that no thread can
        // reach it (P2).
        drop(unsafe { Box::from_raw(this.as_ptr()) });
    }
}

/// One thread's cells, and the words that the thread shares with the collector.
#[repr(align(128))]
pub(crate) struct Shard {
    /// The cells. Replaced by the owner when it grows, read by passes with the epoch pinned.
    slab: AtomicPtr<Slab>,
    /// Set while a thread has the right to replace the slab or to zero cells of free slots (I2).
    /// Set and cleared by the owner and by the collector.
    growing: AtomicBool,
    /// The ticket of the last request. Written by the collector, read by the owner.
    requested: AtomicU64,
    /// The last ticket that was acknowledged. Written by the owner, or by the collector while the
    /// shard has no owner. Read by the collector.
    acknowledged: AtomicU64,
    /// The copy that a reader requests. Replaced by the collector, read by the owner with the epoch
    /// pinned.
    copy_request: Published<CopyRequest>,
    /// The next shard in [`Shards::joined`]. Written by the owner before it joins, read by the
    /// collector.
    next: AtomicPtr<Shard>,
    /// In a model, the replaced slabs, which are freed with the shard. Written by the owner.
    #[cfg(loom)]
    replaced: std::sync::Mutex<Vec<SlabRef>>,
}

/// A pointer to a live shard: owned, in the pool, or read by passes (I6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShardRef(NonNull<Shard>);

// SAFETY: a shard consists of atomics and pointers to atomics. I1, I2 and I6 say which thread may
// write and free what.
unsafe impl Send for ShardRef {}
// SAFETY: as above.
unsafe impl Sync for ShardRef {}

impl std::fmt::Debug for ShardRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ShardRef").field(&self.0).finish()
    }
}

impl std::ops::Deref for ShardRef {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        // SAFETY: the shard is live (I6).
        unsafe { self.0.as_ref() }
    }
}

impl ShardRef {
    /// Returns the shard of a slab that the calling thread uses; `None` for the empty slab.
    pub(crate) fn of(slab: SlabRef) -> Option<Self> {
        NonNull::new(slab.shard().cast_mut()).map(Self)
    }

    /// Keeps the owner from growing the slab while the guard lives. Returns `None` if the owner is
    /// growing it now.
    pub(crate) fn lock_growth(self) -> Option<GrowthGuard> {
        // Acquire: pairs with the Release in `end_growth` and in the guard's `drop`. The last copy
        // is complete.
        //
        // Not `then_some`: it would build a guard even on failure, and dropping that would release
        // the other holder's lock.
        (!self.growing.swap(true, Acquire)).then(|| GrowthGuard(self))
    }

    fn new() -> Option<Self> {
        let shard = Self(NonNull::from(Box::leak(Box::new(Shard {
            slab: AtomicPtr::new(null_mut()),
            growing: AtomicBool::new(false),
            requested: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            copy_request: Published::empty(),
            next: AtomicPtr::new(null_mut()),
            #[cfg(loom)]
            replaced: std::sync::Mutex::default(),
        }))));
        match SlabRef::allocate(FIRST_CAPACITY, shard.0.as_ptr()) {
            Some(slab) => shard.slab.store(slab.as_ptr(), Relaxed),
            None => {
                // SAFETY: leaked above, and not shared yet.
                drop(unsafe { Box::from_raw(shard.0.as_ptr()) });
                return None;
            }
        }
        Some(shard)
    }

    /// Frees the shard with its slab.
    ///
    /// # Safety
    ///
    /// No thread can reach the shard any more (I6).
    unsafe fn free(self) {
        // SAFETY: leaked in `new`, and unreachable by the caller's contract (I6).
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Shard {
    /// Returns the slab, which is valid while the caller has the epoch pinned (I3).
    ///
    /// Acquire: pairs with the exchange in `end_growth`. A new slab is seen with the cells that
    /// were copied to it.
    pub(crate) fn slab(&self) -> SlabRef {
        SlabRef::from_ptr(self.slab.load(Acquire))
    }

    /// Restores the slab's length, then acknowledges the last request. Called by the owner, between
    /// two updates.
    ///
    /// An exchange, and in this order, so that no request is lost; see [`request`](Self::request).
    pub(super) fn restore(&self, slab: SlabRef) {
        // Acquire: pairs with the Release exchange of the length in `request`. Carries `requested`.
        slab.len().swap(slab.capacity(), Acquire);
        self.acknowledge(slab);
    }

    /// Acknowledges the last request if that was not done yet. Called by the owner, between two
    /// updates.
    pub(super) fn acknowledge(&self, slab: SlabRef) {
        // Acquire: pairs with the Release store in `request`. Later updates see what the collector
        // wrote before it.
        let requested = self.requested.load(Acquire);
        if requested <= owner_load(&self.acknowledged) {
            return;
        }
        // The request, and the memory that the block points to, stay alive while the epoch is
        // pinned.
        let pinned = pin();
        if let Some(request) = self.copy_request.get(&pinned) {
            // SAFETY: a published request is complete (P1), and is not freed while the epoch is
            // pinned (P2).
            let request = unsafe { request.as_ref() };
            if request.last < slab.capacity() {
                // SAFETY: `last` is below the capacity, and this thread owns the shard (I1). The
                // kind that owns the slot provided `copy`.
                unsafe { (request.copy)(slab.block(request.last), &request.buffer) };
            }
        }
        // Release: pairs with the Acquire in `acknowledged`. Carries this thread's updates so far,
        // and the copy (I4).
        self.acknowledged.store(requested, Release);
    }

    /// Sends the owner a request, which its next update sees. Called by the collector.
    pub(crate) fn request(&self, ticket: u64) {
        // Release: pairs with the Acquire in `acknowledge`. Carries the retired slot words and the
        // copy request.
        self.requested.store(ticket, Release);
        // This exchange does not change the slab pointer, but orders the request among the owner's
        // replacements of the slab. The owner may grow at the same time:
        // - If this exchange comes first, the owner's exchange in `end_growth` acquires
        //   `requested`, and the owner acknowledges the request right after it.
        // - If the owner's exchange comes first, this exchange returns the new slab, and the
        //   request is written there.
        let mut slab = self.slab.load(Relaxed);
        while let Err(now) = self.slab.compare_exchange(slab, slab, AcqRel, Relaxed) {
            slab = now;
        }
        // Release: pairs with the Acquire in `restore`. The owner may restore the length at the
        // same time, because of an earlier request:
        // - If this exchange comes first, the owner's exchange acquires `requested`, and the owner
        //   acknowledges this request as well.
        // - If the owner's exchange comes first, the length is now 0, and the owner's next update
        //   takes the cold path.
        SlabRef::from_ptr(slab).len().swap(0, Release);
    }

    /// Requests a copy of `cells` words of a block. Called by the collector, with the epoch pinned.
    /// [`copied_block`](Self::copied_block) returns the copy.
    pub(crate) fn request_copy(&self, ticket: u64, last: u64, cells: usize, copy: CopyBlock) {
        let buffer = (0..cells).map(|_| AtomicU64::new(0)).collect();
        let request = Box::new(CopyRequest { last, copy, buffer });
        self.copy_request
            .replace(Some(NonNull::from(Box::leak(request))));
        self.request(ticket);
    }

    /// Returns the copy of the last request once the owner has acknowledged it.
    pub(crate) fn copied_block(&self, ticket: u64) -> Option<Block> {
        if !self.has_acknowledged(ticket) {
            return None;
        }
        // SAFETY: only the collector replaces the request, and it is the caller, so the request is
        // not freed (P2).
        let request = unsafe { self.copy_request.get(&pin())?.as_ref() };
        Some(Block::of(&request.buffer))
    }

    /// Withdraws the copy request, so that later acknowledgements copy nothing.
    pub(crate) fn withdraw_copy_request(&self) {
        self.copy_request.replace(None);
    }

    /// Returns whether the owner has reached a safepoint since request `ticket` (I4).
    pub(crate) fn has_acknowledged(&self, ticket: u64) -> bool {
        self.acknowledged() >= ticket
    }

    /// Returns the last ticket that was acknowledged (I4).
    pub(crate) fn acknowledged(&self) -> u64 {
        // Acquire: pairs with the Release store in `acknowledge`.
        self.acknowledged.load(Acquire)
    }

    /// Returns whether the owner is back on its hot path without having acknowledged the last
    /// request, which means that the request was lost.
    #[cfg(all(test, loom))]
    pub(crate) fn has_lost_request(&self) -> bool {
        let requested = self.requested.load(Relaxed);
        requested > self.acknowledged.load(Relaxed) && self.slab().len().load(Relaxed) != 0
    }

    /// Takes the right to replace the slab (I2). Returns `false` if the collector has it. Called by
    /// the owner.
    pub(super) fn begin_growth(&self) -> bool {
        // Acquire: pairs with the Release in the guard's `drop`. The copy that follows sees the
        // zeroes that the collector wrote.
        !self.growing.swap(true, Acquire)
    }

    /// Publishes the owner's new slab, if there is one, and gives up the right to replace it.
    pub(super) fn end_growth(&self, new: Option<SlabRef>) {
        if let Some(new) = new {
            // AcqRel: Release carries the copied cells to the Acquire in `slab`. Acquire pairs with
            // the exchange in `request`, which lists the cases.
            self.slab.swap(new.as_ptr(), AcqRel);
        }
        // Release: pairs with the Acquire in `lock_growth`. Carries the copied cells.
        self.growing.store(false, Release);
    }

    /// Frees a slab that the owner has replaced, once no reader can be using it.
    ///
    /// # Safety
    ///
    /// Neither a shard nor a thread points to the slab.
    pub(super) unsafe fn free_replaced(&self, slab: SlabRef) {
        #[cfg(not(loom))]
        // SAFETY: a thread that pins from now on cannot reach the slab (I3).
        unsafe {
            crate::lockfree::epoch::soon(move || slab.free());
        }
        #[cfg(loom)]
        self.replaced.lock().unwrap().push(slab);
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let slab = self.slab.load(Relaxed);
        if !slab.is_null() {
            // SAFETY: no thread can reach the shard any more (I6), so no thread reads its slab.
            unsafe { SlabRef::from_ptr(slab).free() };
        }
        #[cfg(loom)]
        for slab in self.replaced.get_mut().unwrap().drain(..) {
            // SAFETY: as above.
            unsafe { slab.free() };
        }
    }
}

/// A lock on the growth of one shard (I2). Held by the collector; dropping it lets the owner grow
/// again.
pub(crate) struct GrowthGuard(ShardRef);

impl GrowthGuard {
    pub(crate) fn slab(&self) -> SlabRef {
        self.0.slab()
    }
}

impl Drop for GrowthGuard {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `begin_growth` and `lock_growth`. Carries the zeroes
        // that the collector wrote.
        self.0.growing.store(false, Release);
    }
}

/// The shards of an engine that have no owner, or that no pass knows yet. The others are in the
/// list of the [`Collector`](super::pass::Collector).
pub(crate) struct Shards {
    /// The shards that threads have taken since the collector last looked, newest first. Threads
    /// push one, the collector takes all.
    joined: AtomicPtr<Shard>,
    /// The shards without an owner. Locked by threads that start or end, and by the collector.
    pool: Mutex<Pool>,
}

/// The shards without an owner.
struct Pool {
    /// Shards that may hold counts of ended threads, so passes read them. Pushed by threads that
    /// end and by the collector, popped by threads that start and by the collector.
    unowned: Vec<UnownedShard>,
    /// Shards that hold nothing, so no pass reads them. Pushed by the collector, popped by threads
    /// that start.
    empty: Vec<ShardRef>,
    /// The number of existing shards. Both lists have capacity for all of them, so that a thread
    /// that ends allocates nothing. Raised by threads that start, lowered by the collector.
    shard_count: usize,
}

/// A shard that its thread has left.
struct UnownedShard {
    shard: ShardRef,
    /// The number of passes that the shard still waits before the collector takes it. A thread that
    /// ends sets 1, so that the next thread has the time of one pass to take the shard.
    passes_left: u8,
    /// The number of passes that the shard waited the last time.
    passes_waited: u8,
}

/// A shard that the collector has taken from the pool to fold its counts. Only the collector
/// accesses it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) shard: ShardRef,
    /// Whether the collector has moved a count out of the shard.
    pub(super) drained: bool,
    /// The number of passes that the shard waited before it was taken.
    passes_waited: u8,
}

/// The number of empty shards that are preserved for new threads. Further ones are freed.
const SPARE_LIMIT: usize = 8;

impl Shards {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                joined: AtomicPtr::new(null_mut()),
                pool: Mutex::new(Pool {
                    unowned: Vec::new(),
                    empty: Vec::new(),
                    shard_count: 0,
                }),
            }
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        // The lock carries the cells and `acknowledged` from one owner, or from the collector, to
        // the next (I1).
        lock(&self.pool)
    }

    /// Returns a shard for the calling thread: one that another thread left, or a new one. Returns
    /// `None` if the allocator refuses.
    pub(super) fn claim(&self) -> Option<ShardRef> {
        let mut pool = self.pool();
        if let Some(unowned) = pool.unowned.pop() {
            return Some(unowned.shard);
        }
        let shard = match pool.empty.pop() {
            Some(shard) => shard,
            None => {
                let shard_count = pool.shard_count + 1;
                let more_unowned = shard_count - pool.unowned.len();
                let more_empty = shard_count - pool.empty.len();
                pool.unowned.try_reserve(more_unowned).ok()?;
                pool.empty.try_reserve(more_empty).ok()?;
                let shard = ShardRef::new()?;
                pool.shard_count = shard_count;
                shard
            }
        };
        drop(pool);
        self.join(shard);
        Some(shard)
    }

    /// Makes a shard known to passes. A pass that sends a request takes the list at the same time,
    /// also by exchange:
    /// - If this exchange comes first, the pass finds the shard, and sends it the request.
    /// - If the pass's exchange comes first, this one acquires what the collector wrote before the
    ///   request. The owner reads slot words afterwards, so it finds retired series stale.
    fn join(&self, shard: ShardRef) {
        let mut head = self.joined.load(Relaxed);
        loop {
            shard.next.store(head, Relaxed);
            // AcqRel: Release carries the shard to `take_joined`. Acquire pairs with the Release
            // there.
            match self
                .joined
                .compare_exchange(head, shard.0.as_ptr(), AcqRel, Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Returns the shards that joined since the last call. Called by the collector.
    pub(super) fn take_joined(&self) -> impl Iterator<Item = ShardRef> {
        // AcqRel: pairs with the exchange in `join` in both directions.
        let mut next = self.joined.swap(null_mut(), AcqRel);
        std::iter::from_fn(move || {
            let shard = ShardRef(NonNull::new(next)?);
            next = shard.next.load(Relaxed);
            Some(shard)
        })
    }

    /// Returns whether a shard has joined that the collector has not taken yet.
    pub(super) fn have_joined(&self) -> bool {
        // Relaxed: a reader that has acquired an update of a thread sees that the thread's shard
        // joined before, and then takes it by exchange.
        !self.joined.load(Relaxed).is_null()
    }

    /// Puts the shard of a thread that ends into the pool.
    pub(super) fn leave(&self, shard: ShardRef) {
        self.pool().unowned.push(UnownedShard {
            shard,
            passes_left: 1,
            passes_waited: 0,
        });
    }

    /// Acknowledges a request for the shards without an owner. Called by the collector.
    pub(super) fn acknowledge_for_unowned(&self, ticket: u64) {
        for unowned in &self.pool().unowned {
            let acknowledged = &unowned.shard.acknowledged;
            // Relaxed: the pool's lock orders both accesses.
            if acknowledged.load(Relaxed) < ticket {
                acknowledged.store(ticket, Relaxed);
            }
        }
    }

    /// Moves the shards that no thread has taken for long enough to `idle`. Called by the
    /// collector.
    pub(super) fn take_idle(&self, idle: &mut Vec<Idle>) {
        self.pool().unowned.retain_mut(|unowned| {
            let taken = unowned.passes_left == 0;
            if taken {
                let UnownedShard {
                    shard,
                    passes_waited,
                    ..
                } = *unowned;
                let drained = false;
                idle.push(Idle {
                    shard,
                    drained,
                    passes_waited,
                });
            } else {
                unowned.passes_left -= 1;
            }
            !taken
        });
    }

    /// Returns idle shards to the pool, each with whether it is empty. Called by the collector.
    ///
    /// A shard that still holds a count stays among those that passes read. If nothing could be
    /// moved out of it, because its counts belong to registries that are not scraped, it waits
    /// longer each time.
    ///
    /// # Safety
    ///
    /// No pass may read the empty ones any more.
    pub(super) unsafe fn give_back(&self, idle: impl Iterator<Item = (Idle, bool)>) {
        let mut surplus = Vec::new();
        let mut pool = self.pool();
        for (idle, empty) in idle {
            let shard = idle.shard;
            if !empty {
                let passes_waited = if idle.drained {
                    0
                } else {
                    (2 * idle.passes_waited + 1).min(127)
                };
                pool.unowned.push(UnownedShard {
                    shard,
                    passes_left: passes_waited,
                    passes_waited,
                });
            } else if pool.empty.len() < SPARE_LIMIT {
                pool.empty.push(shard);
            } else {
                pool.shard_count -= 1;
                surplus.push(shard);
            }
        }
        drop(pool);
        for shard in surplus {
            // SAFETY: in no list and without an owner, and by the caller's contract read by no pass
            // (I6).
            unsafe { shard.free() };
        }
    }
}

#[cfg(loom)]
impl Drop for Shards {
    fn drop(&mut self) {
        // The shards that are owned, or left with counts, are in the collector's list; see
        // `Collector::drop`.
        for shard in self
            .take_joined()
            .chain(std::mem::take(&mut self.pool().empty))
        {
            // SAFETY: the engine is being dropped, so no thread reads its shards (I6).
            unsafe { shard.free() };
        }
    }
}

#[cfg(loom)]
pub(super) fn free_all(members: impl Iterator<Item = ShardRef>) {
    for shard in members {
        // SAFETY: the engine is being dropped, so no thread reads its shards (I6).
        unsafe { shard.free() };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_failed_growth_lock_leaves_the_owner_its_flag() {
        let shard = ShardRef::new().unwrap();
        shard.growing.store(true, Relaxed);
        assert!(shard.lock_growth().is_none());
        assert!(shard.lock_growth().is_none());
        shard.growing.store(false, Relaxed);
        assert!(shard.lock_growth().is_some());
        assert!(shard.lock_growth().is_some());
    }
}
