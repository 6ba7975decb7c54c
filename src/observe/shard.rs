//! Shards: the cells of one thread, their ownership and growth, and the collector's safepoint
//! requests to their owner.
//!
//! # Ownership
//!
//! A thread that ends leaves its shard, with all counts in it, in the [`Pool`]. The next thread
//! that starts claims it from there. If no thread claims it for long enough, the collector takes it
//! out of the pool and moves its counts to the cold cells of their series. So a pass costs time
//! for the threads that live, not for all that ever ran.
//!
//! The collector has a list of the shards that every pass reads and every safepoint request
//! reaches: its *members*. A shard is in one of four states:
//!
//! | state | owner | where it is | member |
//! |---|---|---|---|
//! | owned | a thread | not in the pool | yes |
//! | unowned | none | `Pool::unowned`, where threads and the collector find it | yes |
//! | idle | none | out of the pool; only the running pass has it | yes |
//! | empty | none | `Pool::empty`, where threads find it | no, because its cells are all zero |
//!
//! A thread that claims a new or empty shard pushes it to [`Shards::joined`]. The next pass moves
//! it from there to the members. At the end of its pass, the collector returns an idle shard to the
//! pool: as an empty one if all its cells are zero, else as an unowned one.
//!
//! # Invariants
//!
//! - I1: Only the owner writes cells. It writes them through the slab that its [`Thread`] points
//!   to, which is the slab that the shard points to, except inside `Thread::grow`. The pool's lock
//!   hands a shard from its last owner to the collector, and from either to the next owner. The
//!   collector writes cells, too, in three cases:
//!   - It zeroes a block of any member while it holds the lock on growth (I2), if no thread can be
//!     updating the block's slot (invariant Q3 of [`pass`](super::pass)).
//!   - It zeroes blocks of an idle shard, without that lock. Only the running pass has the shard.
//!   - It zeroes any block while the process has only one thread, after a `fork`.
//! - I2: Only the thread that set `growing` replaces the slab or, in a shard that is not idle,
//!   zeroes a block. Otherwise growth could copy a count before it is zeroed, and then publish it
//!   again. No thread waits for `growing`: an owner that finds it set does not grow now, and a
//!   collector that finds it set tries again in its next pass.
//! - I3: A replaced slab keeps the counts that it had when the owner copied it. It is freed an
//!   epoch later.
//! - I4: Once `acknowledged >= g`, every update of this shard that relies on a slot word from
//!   before request `g` has finished, and every later update sees what the collector wrote before
//!   the request. So an owner acknowledges only between two updates, or on the cold path of an
//!   update, which then reads the slot word again. The collector acknowledges for an unowned shard.
//! - I5: An owner whose slab ends below a slot (capacity <= slot) has no update of that slot in
//!   progress, and reads the slot word again after growing. So if the slab still ends below the
//!   slot when the collector looks, after its request, this shard need not acknowledge: later
//!   growth comes after the request's exchange of the slab, and sees what came before it.
//! - I6: The collector frees an idle shard if all its cells are zero and the pool has enough empty
//!   ones. It first removes the shard from the members, and does so at the end of a pass, which
//!   reads no cells any more. So no other thread can reach the shard.
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

use crate::lockfree::atomic_box::{AtomicBox, Free};
use crate::lockfree::epoch::pin;

use super::file::FileState;
use super::memory::{Block, Slab, SlabRef};
use super::slot::Slots;
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

/// A reader's request for a copy of a block, and the buffer for the copy. The collector allocates
/// it, and frees it an epoch after it withdraws the request. All fields but the buffer's cells are
/// written before the request is published.
pub(crate) struct CopyRequest {
    /// The last cell of the block. Read by the owner.
    last: u64,
    /// Copies the block. Called by the owner.
    copy: CopyBlock,
    /// The memory for the copy. Its cells are written by the owner before it acknowledges the
    /// request, and read by the collector afterwards.
    buffer: Box<[AtomicU64]>,
}

impl Free for CopyRequest {}

/// One thread's cells, and the words that the thread shares with the collector.
#[repr(align(128))]
pub(crate) struct Shard {
    /// The cells. Replaced by the owner when it grows, read by passes with the epoch pinned and by
    /// a thread that claims the shard.
    slab: AtomicPtr<Slab>,
    /// Set while a thread has the right to replace the slab or to zero blocks (I2). Set and cleared
    /// by the owner and by the collector.
    growing: AtomicBool,
    /// The ticket of the last request. Written by the collector, read by the owner.
    requested: AtomicU64,
    /// The last ticket that was acknowledged. Written by the owner, or by the collector while the
    /// shard is unowned. Read by both.
    acknowledged: AtomicU64,
    /// The copy that a reader requests. Replaced by the collector, read by the owner with the epoch
    /// pinned.
    copy_request: AtomicBox<CopyRequest>,
    /// The state in the mapped file. Used by the owner, or by the collector if there is none.
    pub(super) file: FileState,
    /// The next shard in [`Shards::joined`]. Written by the owner before it publishes the shard
    /// there, read by the collector.
    next: AtomicPtr<Shard>,
    /// In a model, the replaced slabs, which are freed with the shard. Written by the owner.
    #[cfg(loom)]
    replaced: std::sync::Mutex<Vec<SlabRef>>,
}

/// A pointer to a shard that is not freed: one in any of the four states (I6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShardRef(NonNull<Shard>);

// SAFETY: a shard consists of atomics and pointers to atomics. I1, I2 and I6 say which thread may
// write and free what.
unsafe impl Send for ShardRef {}
// SAFETY: as above.
unsafe impl Sync for ShardRef {}

impl std::ops::Deref for ShardRef {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        // SAFETY: the shard is not freed (I6).
        unsafe { self.0.as_ref() }
    }
}

impl ShardRef {
    /// Returns the shard of a slab that the calling thread uses; `None` for the empty slab.
    pub(crate) fn of(slab: SlabRef) -> Option<Self> {
        NonNull::new(slab.shard().cast_mut()).map(Self)
    }

    /// Keeps the owner from growing the slab while the guard lives. Returns `None` if the owner is
    /// growing it now. Called by the collector.
    pub(crate) fn lock_growth(self) -> Option<GrowthGuard> {
        // Acquire: pairs with the Release in `end_growth`. The guard finds the slab of the last
        // growth, with all cells that were copied to it. (The guard's `drop` is a Release for the
        // owner; the collector's own lock orders two guards.)
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
            copy_request: AtomicBox::empty(),
            file: FileState::new(),
            next: AtomicPtr::new(null_mut()),
            #[cfg(loom)]
            replaced: std::sync::Mutex::default(),
        }))));
        match shard.make_slab(FIRST_CAPACITY, |_| ()) {
            Some(slab) => shard.slab.store(slab.as_ptr(), Relaxed),
            None => {
                // SAFETY: leaked above, and not published yet.
                unsafe { shard.free() };
                return None;
            }
        }
        Some(shard)
    }

    /// Allocates a slab for this shard, and fills it with `fill`. Lets other processes read it, if
    /// it is in the file. Called by the owner. Returns `None` if there is no memory.
    pub(super) fn make_slab(self, capacity: u64, fill: impl FnOnce(SlabRef)) -> Option<SlabRef> {
        let slab = SlabRef::allocate(capacity, self.0.as_ptr())?;
        fill(slab);
        if self.file.publish(slab) {
            return Some(slab);
        }
        // SAFETY: fresh, and not published.
        unsafe { slab.free() };
        None
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
    /// Returns the slab. It is valid while the caller has the epoch pinned (I3), holds the lock on
    /// growth (I2), or is the only thread that has the shard (I1).
    ///
    /// Acquire: pairs with the exchange in `end_growth`. A new slab is seen with the cells that
    /// were copied to it.
    pub(crate) fn slab(&self) -> SlabRef {
        SlabRef::from_ptr(self.slab.load(Acquire))
    }

    /// Restores the slab's length, then acknowledges the last request. Called by the owner at a
    /// safepoint (I4).
    ///
    /// The length is restored first, and by an exchange, so that no request is lost; see
    /// [`request`](Self::request).
    pub(super) fn restore(&self, slab: SlabRef) {
        // Acquire: pairs with the Release exchange of the length in `request`. Carries `requested`.
        slab.len().swap(slab.capacity(), Acquire);
        self.acknowledge(slab);
    }

    /// Acknowledges the last request if that was not done yet. Called by the owner at a safepoint
    /// (I4).
    pub(super) fn acknowledge(&self, slab: SlabRef) {
        // Acquire: pairs with the Release store in `request`. Later updates see what the collector
        // wrote before it.
        let requested = self.requested.load(Acquire);
        if requested <= owner_load(&self.acknowledged) {
            return;
        }
        if self.file.must_move() {
            return self.put_off(slab);
        }
        // Keeps alive the copy request and the memory that the block points to. The reader may have
        // withdrawn the request since, and the slot may have been freed, but only this thread can
        // store anything but 0 in the block.
        let pinned = pin();
        if let Some(request) = self.copy_request.get(&pinned) {
            // SAFETY: a published request is complete (P1), and is not freed while the epoch is
            // pinned (P2).
            let request = unsafe { request.as_ref() };
            if let Some(block) = slab.get_block(request.last) {
                // SAFETY: this thread owns the shard (I1). The kind of the slot's series provided
                // `copy`; if the slot was freed since, this thread has not written its block again,
                // and `copy` accepts zeroes.
                unsafe { (request.copy)(block, &request.buffer) };
            }
        }
        // Release: pairs with the Acquire in `acknowledged`. Carries this thread's updates so far,
        // and the copy (I4).
        self.acknowledged.store(requested, Release);
    }

    /// Makes the owner's next update find the open request again. Called by the owner.
    ///
    /// An exchange, not a store: `restore` acquires the last request also if this comes after it.
    pub(super) fn put_off(&self, slab: SlabRef) {
        // Relaxed: part of the release sequence of the exchange in `request`.
        slab.len().swap(0, Relaxed);
    }

    /// Sends the owner a request. An update of the owner soon sees it and takes the cold path.
    /// Called by the collector, with the epoch pinned.
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
        self.copy_request
            .replace_by(CopyRequest { last, copy, buffer });
        self.request(ticket);
    }

    /// Returns the copy of the last request once the owner has acknowledged it.
    pub(crate) fn copied_block(&self, ticket: u64) -> Option<Block> {
        if self.acknowledged() < ticket {
            return None;
        }
        // SAFETY: a published request is complete (P1). Only the collector replaces it, and the
        // collector is the caller, so the request is not freed (P2).
        let request = unsafe { self.copy_request.get(&pin())?.as_ref() };
        Some(Block::of(&request.buffer))
    }

    /// Withdraws the copy request, so that later acknowledgements copy nothing.
    pub(crate) fn withdraw_copy_request(&self) {
        self.copy_request.replace(None);
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
    /// Called by the owner.
    pub(super) fn end_growth(&self, new: Option<SlabRef>) {
        if let Some(new) = new {
            // AcqRel: Release carries the copied cells to the Acquire in `slab`. Acquire pairs with
            // the exchange in `request`, which lists the cases.
            self.slab.swap(new.as_ptr(), AcqRel);
        }
        // Release: pairs with the Acquire in `lock_growth`. Carries the new slab and its cells.
        self.growing.store(false, Release);
    }

    /// Frees a slab that the owner has replaced, once no reader can be using it.
    ///
    /// # Safety
    ///
    /// Neither a shard nor a thread points to the slab.
    pub(super) unsafe fn free_replaced(&self, slab: SlabRef) {
        #[cfg(not(loom))]
        // SAFETY: by the caller's contract, a thread that pins from now on cannot reach the slab
        // (I3).
        unsafe {
            super::address::free_soon(slab.as_ptr().cast(), move || slab.free());
        }
        #[cfg(loom)]
        self.replaced.lock().unwrap().push(slab);
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.file.unpublish();
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
    /// Returns the slab, which is not replaced while the guard lives (I2).
    pub(crate) fn slab(&self) -> SlabRef {
        self.0.slab()
    }
}

impl Drop for GrowthGuard {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `begin_growth`. Carries the zeroes that the collector
        // wrote.
        self.0.growing.store(false, Release);
    }
}

/// The shards of an engine that have no owner, and those that are not members yet. The members are
/// in the [`Collector`](super::pass::Collector); unowned shards are in both.
pub(crate) struct Shards {
    /// The new and empty shards that threads have claimed since the collector last looked, newest
    /// first. Threads push one, the collector takes all.
    pub(super) joined: AtomicPtr<Shard>,
    /// The unowned and the empty shards. Locked by threads that start or end, and by the collector.
    pool: Mutex<Pool>,
}

/// The unowned and the empty shards. Both lists have capacity for all existing shards, so that a
/// thread that ends allocates nothing.
pub(super) struct Pool {
    /// The unowned shards. They may hold counts of threads that have ended, so they are members.
    /// Pushed by threads that end and by the collector, taken by threads that start and by the
    /// collector.
    pub(super) unowned: Vec<UnownedShard>,
    /// The empty shards. Their cells are all zero, so they are no members. Pushed by the collector,
    /// popped by threads that start.
    pub(super) empty: Vec<ShardRef>,
}

/// A shard that its owner has left. In the pool, only threads that hold its lock access it; while
/// it is idle, only the running pass does.
#[derive(Clone, Copy)]
pub(super) struct UnownedShard {
    pub(super) shard: ShardRef,
    /// The number of calls of [`take_idle`](Shards::take_idle) that still leave the shard in the
    /// pool. A thread that ends sets 1, so that other threads have at least the time between two
    /// such passes to claim the shard.
    passes_left: u8,
    /// The value that the collector gives `passes_left` when it returns the shard to the pool: 0 if
    /// it has moved a count out of the shard, else about twice as much as the last time.
    pub(super) backoff: u8,
}

/// The number of cells of the shards that one pass folds at most. It takes some milliseconds. The
/// remaining shards wait for the next pass, which reads them as it did before.
const IDLE_PER_PASS: u64 = 1 << 18;

/// The number of empty shards that the pool has for new threads. Further ones are freed.
const SPARE_LIMIT: usize = 8;

impl Shards {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                joined: AtomicPtr::new(null_mut()),
                pool: Mutex::new(Pool {
                    unowned: Vec::new(),
                    empty: Vec::new(),
                }),
            }
        }
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        // The lock carries the cells and `acknowledged` from one owner to the collector, and from
        // either to the next owner (I1).
        lock(&self.pool)
    }

    /// Returns a shard for the calling thread: an unowned one, an empty one, or a new one. Returns
    /// `None` if the allocator refuses.
    pub(super) fn claim(&self, slots: &Slots) -> Option<ShardRef> {
        let mut pool = self.pool();
        // An unowned shard does not join: it is a member, or in `joined` already.
        if let Some(unowned) = pool.unowned.pop() {
            return Some(unowned.shard);
        }
        let shard = match pool.empty.pop() {
            Some(shard) => shard,
            None => {
                let shards = slots.shards() + 1;
                let more_unowned = shards - pool.unowned.len();
                let more_empty = shards - pool.empty.len();
                pool.unowned.try_reserve(more_unowned).ok()?;
                pool.empty.try_reserve(more_empty).ok()?;
                let shard = ShardRef::new()?;
                slots.count_shards(1);
                shard
            }
        };
        drop(pool);
        self.join(shard);
        shard.file.note_join();
        Some(shard)
    }

    /// Publishes a new or empty shard to passes. A pass takes the whole list, also by exchange,
    /// before it sends a request. The two exchanges race:
    /// - If this exchange comes first, the pass finds the shard, and sends it the request.
    /// - If the pass's exchange comes first, this one acquires what the collector wrote before its
    ///   own. The owner reads slot words afterwards, so it finds the series stale whose slots the
    ///   request is for.
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

    /// Takes the shards that joined since the last call. Called by the collector.
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
        // Relaxed: a reader that has acquired an update of a thread also sees that the thread's
        // shard joined before, and then takes the list by exchange. A reader that misses a shard
        // reads as if its updates came later.
        !self.joined.load(Relaxed).is_null()
    }

    /// Puts the shard of a thread that ends into the pool. Called by its owner.
    pub(super) fn leave(&self, shard: ShardRef) {
        self.pool().unowned.push(UnownedShard {
            shard,
            passes_left: 1,
            backoff: 0,
        });
    }

    /// Acknowledges a request for the unowned shards (I4). Called by the collector when a pass
    /// begins and no shard is idle.
    pub(super) fn acknowledge_for_unowned(&self, ticket: u64) {
        for unowned in &self.pool().unowned {
            let acknowledged = &unowned.shard.acknowledged;
            // Relaxed: the pool's lock orders both accesses. It also carries the last owner's
            // updates to the collector, and the retired slot words to the next owner.
            if acknowledged.load(Relaxed) < ticket {
                unowned.shard.move_unowned_blocks();
                // Otherwise a later pass does both.
                if !unowned.shard.file.must_move() {
                    acknowledged.store(ticket, Relaxed);
                }
            }
        }
    }

    /// Moves the shards that no thread has claimed for long enough to `idle`: those that were left
    /// first, as many as have [`IDLE_PER_PASS`] cells together. Takes no more than `idle` has
    /// capacity for: under the lock no memory is allocated, because the program's allocator may run
    /// a first update, which needs the lock. Called by the collector, at most once in a pass.
    pub(super) fn take_idle(&self, idle: &mut Vec<UnownedShard>) {
        let mut budget = IDLE_PER_PASS;
        self.pool().unowned.retain_mut(|unowned| {
            if unowned.passes_left > 0 {
                unowned.passes_left -= 1;
                return true;
            }
            let taken = budget > 0 && idle.len() < idle.capacity();
            if taken {
                budget = budget.saturating_sub(unowned.shard.slab().capacity());
                unowned.backoff = (2 * unowned.backoff + 1).min(127);
                idle.push(*unowned);
            }
            !taken
        });
    }

    /// Returns idle shards to the pool, or frees them. `empty` has, in order, those whose cells are
    /// all zero. Called by the collector.
    ///
    /// A shard that still holds a count stays a member, and becomes unowned again. If the pass
    /// could move nothing out of it, for example because its counts belong to registries that are
    /// not scraped, the shard waits for about twice as many passes each time, 127 at most.
    ///
    /// # Safety
    ///
    /// The shards without counts are no members any more, and the calling pass reads them no more.
    pub(super) unsafe fn give_back(
        &self,
        idle: &[UnownedShard],
        empty: &[ShardRef],
        slots: &Slots,
    ) {
        // As in `take_idle`, no memory is allocated under the lock.
        let mut surplus = Vec::with_capacity(empty.len());
        let mut pool = self.pool();
        for idle in idle {
            let shard = idle.shard;
            if empty.binary_search(&shard).is_err() {
                pool.unowned.push(UnownedShard {
                    passes_left: idle.backoff,
                    ..*idle
                });
            } else if pool.empty.len() < SPARE_LIMIT {
                pool.empty.push(shard);
            } else {
                slots.count_shards(-1);
                surplus.push(shard);
            }
        }
        drop(pool);
        for shard in surplus {
            // SAFETY: without an owner, not in the pool, and by the caller's contract no member
            // (I6).
            unsafe { shard.free() };
        }
    }
}

#[cfg(loom)]
impl Drop for Shards {
    fn drop(&mut self) {
        // The owned and the unowned shards are members, which `Collector::drop` frees, or still in
        // `joined`.
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
