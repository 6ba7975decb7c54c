//! One thread's cells: who owns them, how they grow, and how the collector asks their owner for a safe point.
//!
//! A thread that ends leaves its shard to the next one, with everything in it. A shard that nobody has taken between two
//! passes is *idle*: the collector folds it into the shared cells of the series, and no pass reads it any more.
//! So the cost of a pass follows the threads that live, not those that ever did.
//!
//! - I1: only the owner writes cells, and only through the slab its [`Thread`] points to, which is the one the
//!   shard points to. A shard without an owner is in the [`Pool`], whose lock hands it from its last owner to the
//!   collector or to the next owner.
//! - I2: whoever holds `moving` is the only one to replace the slab or to zero cells of free slots. Nobody waits for
//!   it: an owner that finds it taken does not grow now, a collector comes back in its next pass.
//! - I3: a slab that was replaced holds what the owner had at that moment, for ever; it is freed an epoch later.
//! - I4: after `answered >= g` every update of this shard that read a place before the request `g` has ended, and
//!   every later one sees what the collector wrote before it. So an owner answers between two updates only, and reads
//!   the place again afterwards.
//! - I5: an owner whose slab ends below a slot has no update of that slot under way, and reads the place again after it
//!   has grown. So if the slab ends below the slot when the collector looks, after its request, this shard need not
//!   answer: growth that comes later comes after the request's exchange of the slab, and sees what came before it.
//! - I6: a shard is freed by the collector, outside of passes, when it is empty, unowned and read by no pass.

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

/// Cells of a thread's first slab: two lines. A thread that updates little and sleeps holds up the slots below its
/// capacity only (I5).
#[cfg(not(loom))]
const FIRST_CAPACITY: u64 = 16;
#[cfg(loom)]
const FIRST_CAPACITY: u64 = 4;

/// Copies what a block holds to a buffer. The kind whose block it is defines what that is: the
/// block's cells, or what their addresses point to.
///
/// The function gets the block of the requested slot, and runs in the owner thread between two updates, with
/// the epoch pinned.
pub(crate) type CopyBlock = unsafe fn(Block, &[AtomicU64]);

/// A reader's request for a copy of a block.
pub(crate) struct CopyRequest {
    /// The last cell of the block.
    last: u64,
    copy: CopyBlock,
    /// Where the owner writes the copy. Read by the collector after the owner acknowledged the request.
    buffer: Box<[AtomicU64]>,
}

impl Free for CopyRequest {
    unsafe fn free(this: NonNull<Self>) {
        // SAFETY: made from a box in `request_copy`, and unreachable by the caller's contract.
        drop(unsafe { Box::from_raw(this.as_ptr()) });
    }
}

/// One thread's cells, and the words it shares with the collector.
#[repr(align(128))]
pub(crate) struct Shard {
    /// The cells. Replaced by the owner when it grows; read by passes under an epoch.
    slab: AtomicPtr<Slab>,
    /// Held by the owner while it replaces the slab, or by the collector while it zeroes cells of free slots.
    moving: AtomicBool,
    /// The ticket of the collector's last request. Written by the collector only.
    asked: AtomicU64,
    /// The last ticket that was answered. Written by the owner, or by the collector while there is none.
    answered: AtomicU64,
    /// The copy that a reader wants. Replaced by the collector only; read by the owner with the epoch pinned.
    copy_request: Published<CopyRequest>,
    /// The next one in [`Shards::joined`]. Written by the owner before it joins, read by the collector.
    next: AtomicPtr<Shard>,
    #[cfg(loom)]
    retired: std::sync::Mutex<Vec<SlabRef>>,
}

/// A shard that is reachable: owned, in the pool, or read by passes (I6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShardRef(NonNull<Shard>);

// SAFETY: what it points to is made of atomics and of pointers to such; the protocols above say who may free what.
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
        // SAFETY: I6.
        unsafe { self.0.as_ref() }
    }
}

impl ShardRef {
    /// The shard that a slab belongs to, which the calling thread owns.
    pub(crate) fn of(slab: SlabRef) -> Option<Self> {
        NonNull::new(slab.shard().cast_mut()).map(Self)
    }

    /// Keeps the owner from growing the slab; `None` if it is growing now.
    pub(crate) fn hold_still(self) -> Option<Still> {
        // Acquire: pairs with the Release that gave it back; the last copy is complete.
        // Not `then_some`: it would build a guard even on failure, and dropping it would release the other holder's lock.
        (!self.moving.swap(true, Acquire)).then(|| Still(self))
    }

    fn new() -> Option<Self> {
        let shard = Self(NonNull::from(Box::leak(Box::new(Shard {
            slab: AtomicPtr::new(null_mut()),
            moving: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            copy_request: Published::nothing(),
            next: AtomicPtr::new(null_mut()),
            #[cfg(loom)]
            retired: std::sync::Mutex::default(),
        }))));
        match SlabRef::allocate(FIRST_CAPACITY, shard.0.as_ptr()) {
            Some(slab) => shard.slab.store(slab.as_ptr(), Relaxed),
            None => {
                // SAFETY: leaked above, and not shared.
                drop(unsafe { Box::from_raw(shard.0.as_ptr()) });
                return None;
            }
        }
        Some(shard)
    }

    /// Frees a shard with its slab.
    ///
    /// # Safety
    ///
    /// Nobody can reach the shard any more (I6).
    unsafe fn free(self) {
        // SAFETY: by the caller's word; leaked in `new`.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Shard {
    /// The slab a reader adds up; valid while its epoch is pinned (I3).
    ///
    /// Acquire: pairs with the exchange in `Thread::grow`; a new slab is seen with what was copied into it.
    pub(crate) fn slab(&self) -> SlabRef {
        SlabRef::from_ptr(self.slab.load(Acquire))
    }

    /// The owner, between two updates: back to the hot path, then answer. By exchange, and in this order: of two
    /// exchanges of the length the later one sees what came before the earlier one, so no request is lost.
    pub(super) fn restore(&self, slab: SlabRef) {
        // Acquire: pairs with the Release in `ask`; it carries `asked`.
        slab.len().swap(slab.capacity(), Acquire);
        self.answer(slab);
    }

    /// The owner, between two updates: answers the last request, if it has not yet.
    pub(super) fn answer(&self, slab: SlabRef) {
        // Acquire: pairs with the Release in `ask`: updates from here on see what the collector wrote before it.
        let asked = self.asked.load(Acquire);
        if asked <= owner_load(&self.answered) {
            return;
        }
        // The request and what the block points to stay alive while the epoch is pinned.
        let pinned = pin();
        if let Some(request) = self.copy_request.get(&pinned) {
            // SAFETY: not freed while the epoch is pinned.
            let request = unsafe { request.as_ref() };
            if request.last < slab.capacity() {
                // SAFETY: below the capacity. The request's slot is of the kind that gave `copy`.
                unsafe { (request.copy)(slab.block(request.last), &request.buffer) };
            }
        }
        // Release: pairs with the Acquire in `has_answered`; it carries this thread's updates so far, and the copy.
        self.answered.store(asked, Release);
    }

    /// The collector: writes a request that the owner meets at its next update.
    pub(crate) fn ask(&self, ticket: u64) {
        // Release: pairs with the Acquire in `answer`; it carries the retired places and the question.
        self.asked.store(ticket, Release);
        // An exchange that changes nothing takes a place in the order of the owner's moves: either growth comes
        // later and finds `asked`, or it came before and this is the new slab.
        let mut slab = self.slab.load(Relaxed);
        while let Err(now) = self.slab.compare_exchange(slab, slab, AcqRel, Relaxed) {
            slab = now;
        }
        // Release: pairs with the Acquire in `restore`.
        SlabRef::from_ptr(slab).len().swap(0, Release);
    }

    /// Requests a copy of `cells` words of a block. Called by the collector, with the epoch pinned.
    /// [`copied_block`](Self::copied_block) returns the copy.
    pub(crate) fn request_copy(&self, ticket: u64, last: u64, cells: usize, copy: CopyBlock) {
        let buffer = (0..cells).map(|_| AtomicU64::new(0)).collect();
        let request = Box::new(CopyRequest { last, copy, buffer });
        self.copy_request
            .replace(Some(NonNull::from(Box::leak(request))));
        self.ask(ticket);
    }

    /// Returns the copy of the last request, once the owner has acknowledged it.
    pub(crate) fn copied_block(&self, ticket: u64) -> Option<Block> {
        if !self.has_answered(ticket) {
            return None;
        }
        // SAFETY: only the collector, which calls this, replaces the request.
        let request = unsafe { self.copy_request.get(&pin())?.as_ref() };
        Some(Block::of(&request.buffer))
    }

    /// Takes the request back, so that later acknowledgements copy nothing.
    pub(crate) fn withdraw_copy_request(&self) {
        self.copy_request.replace(None);
    }

    /// Whether the owner has reached a safe point since the request `ticket` (I4).
    pub(crate) fn has_answered(&self, ticket: u64) -> bool {
        self.answered() >= ticket
    }

    /// The last ticket that was answered (I4).
    pub(crate) fn answered(&self) -> u64 {
        // Acquire: pairs with the Release in `answer`.
        self.answered.load(Acquire)
    }

    /// Whether the owner is back in its hot path without an answer: a request was lost.
    #[cfg(all(test, loom))]
    pub(crate) fn owes_an_answer(&self) -> bool {
        let asked = self.asked.load(Relaxed);
        asked > self.answered.load(Relaxed) && self.slab().len().load(Relaxed) != 0
    }

    /// The owner takes the right to replace the slab; `false` if the collector has it.
    pub(super) fn begin_growth(&self) -> bool {
        // Acquire: pairs with the Release in `Still::drop`; the copy that follows sees the collector's zeroes.
        !self.moving.swap(true, Acquire)
    }

    /// The owner publishes its new slab, if it got one, and gives the right back.
    pub(super) fn end_growth(&self, new: Option<SlabRef>) {
        if let Some(new) = new {
            // AcqRel: Release carries the copy to the Acquire in `slab`; as an exchange it takes its place among the
            // collector's in `ask`.
            self.slab.swap(new.as_ptr(), AcqRel);
        }
        // Release: pairs with the Acquire in `hold_still`.
        self.moving.store(false, Release);
    }

    /// Frees a slab that the owner has replaced once nobody can be reading it any more.
    ///
    /// # Safety
    ///
    /// No shard and no thread points to the slab.
    pub(super) unsafe fn retire(&self, slab: SlabRef) {
        #[cfg(not(loom))]
        // SAFETY: unreachable for whoever pins from now on.
        unsafe {
            crate::lockfree::epoch::soon(move || slab.free());
        }
        #[cfg(loom)]
        self.retired.lock().unwrap().push(slab);
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let slab = self.slab.load(Relaxed);
        if !slab.is_null() {
            // SAFETY: nobody can reach the shard any more (I6), so nobody reads its slab.
            unsafe { SlabRef::from_ptr(slab).free() };
        }
        #[cfg(loom)]
        for slab in self.retired.get_mut().unwrap().drain(..) {
            // SAFETY: as above.
            unsafe { slab.free() };
        }
    }
}

/// A shard whose owner cannot grow it; given back on drop.
pub(crate) struct Still(ShardRef);

impl Still {
    pub(crate) fn slab(&self) -> SlabRef {
        self.0.slab()
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of who takes it next; it carries the zeroes.
        self.0.moving.store(false, Release);
    }
}

/// The shards of the engine, as threads see them: those that nobody owns, and those that passes have yet to hear of.
/// The others are in the list of the [`Collector`](super::pass::Collector).
pub(crate) struct Shards {
    /// Shards that threads took up since the collector last looked, newest first. Threads push, the collector takes all.
    joined: AtomicPtr<Shard>,
    pool: Mutex<Pool>,
}

/// The shards that nobody owns.
struct Pool {
    /// Passes read them: they hold what ended threads counted.
    left: Vec<Left>,
    /// Nobody reads them: they hold nothing.
    empty: Vec<ShardRef>,
    /// The number of shards there are: both lists have room for as many, so that a thread that ends allocates nothing.
    made: usize,
}

struct Left {
    shard: ShardRef,
    /// Passes until the collector takes it: at least the one that finds it here first.
    rest: u8,
    /// How many passes it rested the last time.
    rested: u8,
}

/// A shard that the collector has taken, to fold what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) shard: ShardRef,
    /// The collector has moved something out of it.
    pub(super) moved: bool,
    rested: u8,
}

/// Empty shards that wait for new threads; others are freed.
const SPARE: usize = 8;

impl Shards {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                joined: AtomicPtr::new(null_mut()),
                pool: Mutex::new(Pool {
                    left: Vec::new(),
                    empty: Vec::new(),
                    made: 0,
                }),
            }
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        // The lock carries the cells and `answered` from one owner, or from the collector, to the next (I1).
        lock(&self.pool)
    }

    /// A shard for the calling thread: one that was left, or a new one. `None` where memory is refused.
    pub(super) fn claim(&self) -> Option<ShardRef> {
        let mut pool = self.pool();
        if let Some(left) = pool.left.pop() {
            return Some(left.shard);
        }
        let shard = match pool.empty.pop() {
            Some(shard) => shard,
            None => {
                let made = pool.made + 1;
                let (left, empty) = (made - pool.left.len(), made - pool.empty.len());
                pool.left.try_reserve(left).ok()?;
                pool.empty.try_reserve(empty).ok()?;
                let shard = ShardRef::new()?;
                pool.made = made;
                shard
            }
        };
        drop(pool);
        self.join(shard);
        Some(shard)
    }

    /// Lets passes know of a shard. By exchange, as the collector takes them: either a request finds the shard, or its
    /// owner, which reads places afterwards, sees what the collector wrote before the request.
    fn join(&self, shard: ShardRef) {
        let mut head = self.joined.load(Relaxed);
        loop {
            shard.next.store(head, Relaxed);
            // AcqRel: Release carries the shard to the collector, Acquire pairs with the Release in `take_joined`.
            match self
                .joined
                .compare_exchange(head, shard.0.as_ptr(), AcqRel, Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// The collector takes the shards that joined since it last did.
    pub(super) fn take_joined(&self) -> impl Iterator<Item = ShardRef> {
        // AcqRel: pairs with the exchange in `join`, both ways.
        let mut next = self.joined.swap(null_mut(), AcqRel);
        std::iter::from_fn(move || {
            let shard = ShardRef(NonNull::new(next)?);
            next = shard.next.load(Relaxed);
            Some(shard)
        })
    }

    /// Whether a shard has joined that the collector has not taken yet.
    pub(super) fn have_joined(&self) -> bool {
        // Relaxed: a reader that has acquired a thread's update sees that its shard joined before, and takes it by exchange.
        !self.joined.load(Relaxed).is_null()
    }

    /// A thread that ends leaves its shard to the next one.
    pub(super) fn leave(&self, shard: ShardRef) {
        let (rest, rested) = (1, 0);
        self.pool().left.push(Left {
            shard,
            rest,
            rested,
        });
    }

    /// The collector answers a request for the shards that nobody owns.
    pub(super) fn answer_for_unowned(&self, ticket: u64) {
        for left in &self.pool().left {
            let answered = &left.shard.answered;
            // Relaxed, both: the lock is what orders them.
            if answered.load(Relaxed) < ticket {
                answered.store(ticket, Relaxed);
            }
        }
    }

    /// The collector takes the shards that nobody has taken since it last did this.
    pub(super) fn take_idle(&self, idle: &mut Vec<Idle>) {
        self.pool().left.retain_mut(|left| {
            let taken = left.rest == 0;
            if taken {
                let Left { shard, rested, .. } = *left;
                let moved = false;
                idle.push(Idle {
                    shard,
                    moved,
                    rested,
                });
            } else {
                left.rest -= 1;
            }
            !taken
        });
    }

    /// The collector gives idle shards back, each with whether it is empty. One that still holds something stays among
    /// those that passes read; where nothing of it could be moved, as it is of registries that nobody scrapes, it rests
    /// for longer each time.
    ///
    /// # Safety
    ///
    /// No pass reads those that are empty any more.
    pub(super) unsafe fn give_back(&self, idle: impl Iterator<Item = (Idle, bool)>) {
        let mut surplus = Vec::new();
        let mut pool = self.pool();
        for (idle, empty) in idle {
            let shard = idle.shard;
            if !empty {
                let rested = if idle.moved {
                    0
                } else {
                    (2 * idle.rested + 1).min(127)
                };
                let rest = rested;
                pool.left.push(Left {
                    shard,
                    rest,
                    rested,
                });
            } else if pool.empty.len() < SPARE {
                pool.empty.push(shard);
            } else {
                pool.made -= 1;
                surplus.push(shard);
            }
        }
        drop(pool);
        for shard in surplus {
            // SAFETY: in no list and without an owner, and by the caller's word read by no pass (I6).
            unsafe { shard.free() };
        }
    }
}

#[cfg(loom)]
impl Drop for Shards {
    fn drop(&mut self) {
        // Of members that are owned or left the collector's list has them all; see `Collector::drop`.
        for shard in self
            .take_joined()
            .chain(std::mem::take(&mut self.pool().empty))
        {
            // SAFETY: the engine ends, so nobody reads any more.
            unsafe { shard.free() };
        }
    }
}

#[cfg(loom)]
pub(super) fn free_all(members: impl Iterator<Item = ShardRef>) {
    for shard in members {
        // SAFETY: the engine ends, so nobody reads any more.
        unsafe { shard.free() };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn holding_still_in_vain_leaves_the_owner_its_flag() {
        let shard = ShardRef::new().unwrap();
        shard.moving.store(true, Relaxed);
        assert!(shard.hold_still().is_none());
        assert!(shard.hold_still().is_none());
        shard.moving.store(false, Relaxed);
        assert!(shard.hold_still().is_some());
        assert!(shard.hold_still().is_some());
    }
}
