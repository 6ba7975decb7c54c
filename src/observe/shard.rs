//! One thread's cells: who owns them, how they grow, and how the collector asks their owner for a safe point.
//!
//! A shard is never freed while the engine lives: a thread that ends leaves it as it is and the next one adopts
//! it, so nothing is folded, no count goes missing, and memory follows the most threads alive at once.
//!
//! - I1: only the owner writes cells, and only through the slab its [`Thread`] points to, which is the one the
//!   shard points to. `owner` is exchanged to become the owner (Acquire) and stored to stop being it (Release).
//! - I2: whoever holds `moving` is the only one to replace the slab or to zero cells of free slots. Nobody waits for
//!   it: an owner that finds it taken does not grow now, a collector comes back in its next pass.
//! - I3: a slab that was replaced holds what the owner had at that moment, for ever; it is freed an epoch later.
//! - I4: after `answered >= g` every update of this shard that read a place before the request `g` has ended, and
//!   every later one sees what the collector wrote before it. So an owner answers between two updates only, and reads
//!   the place again afterwards.

use std::cell::Cell;
use std::ptr::{NonNull, null_mut};

use crate::sync::{
    AcqRel, Acquire, AtomicBool, AtomicPtr, AtomicU64, Relaxed, Release, const_fn, owner_load,
};

use super::Engine;
use super::memory::{Block, Slab, SlabRef};
use super::native::Table;
use super::slot::{MOST_CELLS, Place, Tag};

/// Cells of a thread's first slab: 2 KiB.
#[cfg(not(loom))]
const FIRST_CAPACITY: u64 = 256;
#[cfg(loom)]
const FIRST_CAPACITY: u64 = 4;

/// In a question: the cells of the table whose address the block holds.
const TABLE: u64 = 1 << 31;
const CELLS: u64 = TABLE - 1;

const FREE: u64 = 0;
const TAKEN: u64 = 1;
const COLLECTOR: u64 = 2;

/// One thread's cells, and the words it shares with the collector.
#[repr(align(128))]
pub(crate) struct Shard {
    slab: AtomicPtr<Slab>,
    owner: AtomicU64,
    moving: AtomicBool,
    /// The ticket of the collector's last request.
    asked: AtomicU64,
    answered: AtomicU64,
    /// The block a reader wants copied, as `last << 32 | cells`, with [`TABLE`] perhaps; 0 for none.
    question: AtomicU64,
    answer: AtomicPtr<Vec<AtomicU64>>,
    /// Written before the shard is published, never after.
    next: AtomicPtr<Shard>,
    #[cfg(loom)]
    retired: std::sync::Mutex<Vec<SlabRef>>,
}

// SAFETY: raw pointers to slabs of atomics; the protocols of the module's text say who may free them.
unsafe impl Send for Shard {}
// SAFETY: as above.
unsafe impl Sync for Shard {}

impl Shard {
    fn new() -> Option<NonNull<Self>> {
        let shard = NonNull::from(Box::leak(Box::new(Self {
            slab: AtomicPtr::new(null_mut()),
            owner: AtomicU64::new(TAKEN),
            moving: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            question: AtomicU64::new(0),
            answer: AtomicPtr::new(null_mut()),
            next: AtomicPtr::new(null_mut()),
            #[cfg(loom)]
            retired: std::sync::Mutex::default(),
        })));
        match SlabRef::allocate(FIRST_CAPACITY, shard.as_ptr()) {
            // SAFETY: just made, and not shared yet.
            Some(slab) => unsafe { shard.as_ref() }.slab.store(slab.as_ptr(), Relaxed),
            None => {
                // SAFETY: leaked above, and not shared.
                drop(unsafe { Box::from_raw(shard.as_ptr()) });
                return None;
            }
        }
        Some(shard)
    }

    /// The slab a reader adds up; valid while its epoch is pinned (I3).
    ///
    /// Acquire: pairs with the exchange in [`Thread::grow`]; a new slab is seen with what was copied into it.
    pub(crate) fn slab(&self) -> SlabRef {
        SlabRef::from_ptr(self.slab.load(Acquire))
    }

    /// The owner, between two updates: back to the hot path, then answer. By exchange, and in this order: of two
    /// exchanges of the length the later one sees what came before the earlier one, so no request is lost.
    fn restore(&self, slab: SlabRef) {
        // Acquire: pairs with the Release in `ask`; it carries `asked`.
        slab.len().swap(slab.capacity(), Acquire);
        self.answer(slab);
    }

    /// The owner, between two updates: answers the last request, if it has not yet.
    fn answer(&self, slab: SlabRef) {
        // Acquire: pairs with the Release in `ask`: updates from here on see what the collector wrote before it.
        let asked = self.asked.load(Acquire);
        if asked <= owner_load(&self.answered) {
            return;
        }
        // A table in question may be that of a family that is gone; a pass retires it under an epoch.
        let _pinned = super::pin();
        // Acquire: pairs with the Release in `ask_for_block`: a question that is seen early, while this thread answers an
        // earlier request, comes with its buffer.
        let question = self.question.load(Acquire);
        let (last, cells) = (question >> 32, (question & CELLS) as usize);
        if cells != 0 && last < slab.capacity() {
            // SAFETY: not null since the first question, which is seen, and never freed while the shard lives. Acquire:
            // pairs with the Release in `ask_for_block`; it may be the buffer of a later question than this one.
            let answer = unsafe { &*self.answer.load(Acquire) };
            // SAFETY: `last` is below the capacity.
            let block = unsafe { slab.block(last) };
            let (block, there) = if question & TABLE == 0 {
                (Some(block), cells)
            } else {
                // SAFETY: `TABLE` came with `last`, so it is a native histogram's, and pinned.
                let table = unsafe { Table::published(block) };
                (table.map(Table::block), table.map_or(0, Table::words))
            };
            // In the order of a block: downwards. A table that was replaced meanwhile need not fit: the old one is still.
            for (i, copy) in answer.iter().take(cells).rev().take(there).enumerate() {
                let Some(block) = block else { break };
                // SAFETY: `i` is below the number of cells there are.
                copy.store(owner_load(unsafe { block.cell(i) }), Relaxed);
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

    /// The collector, with the epoch pinned: asks for a copy of a block. The answer is
    /// [`answered_block`](Self::answered_block). `table`: the cells are those of the table whose address is in the block.
    pub(crate) fn ask_for_block(&self, ticket: u64, last: u64, cells: u64, table: bool) {
        // Relaxed: only the collector writes this pointer, and `asked` carries it.
        let answer = self.answer.load(Relaxed);
        // SAFETY: null, or made here and never freed while the shard lives.
        let long_enough = unsafe { answer.as_ref() }.is_some_and(|a| a.len() as u64 >= cells);
        if !long_enough {
            // The old one stays reachable by an owner that is answering now: it is leaked, at most 20 times, as
            // lengths double.
            let cells = cells.next_power_of_two().max(16);
            let fresh: Vec<_> = (0..cells).map(|_| AtomicU64::new(0)).collect();
            // Release: pairs with the Acquire in `answer`.
            self.answer.store(Box::into_raw(Box::new(fresh)), Release);
        }
        let table = if table { TABLE } else { 0 };
        // Release: pairs with the Acquire in `answer`; it carries the buffer.
        self.question.store(last << 32 | table | cells, Release);
        self.ask(ticket);
    }

    /// The copy that [`ask_for_block`](Self::ask_for_block) asked for, once it is there.
    pub(crate) fn answered_block(&self, ticket: u64, cells: usize) -> Option<Block> {
        if !self.has_answered(ticket) {
            return None;
        }
        // SAFETY: `ask_for_block` came before, and made it long enough. Relaxed: only the collector writes it.
        let answer = unsafe { &*self.answer.load(Relaxed) };
        Some(Block::of(&answer[..cells]))
    }

    /// The collector takes its question back, so that later answers copy nothing.
    pub(crate) fn forget_question(&self) {
        self.question.store(0, Relaxed);
    }

    /// Whether the owner has reached a safe point since the request `ticket` (I4).
    pub(crate) fn has_answered(&self, ticket: u64) -> bool {
        // Acquire: pairs with the Release in `answer`.
        self.answered.load(Acquire) >= ticket
    }

    /// Whether no update of before the request `ticket` can still be under way here. A shard that was not asked came
    /// later: its thread reads places after it registered.
    pub(crate) fn is_past(&self, ticket: u64) -> bool {
        // Relaxed: only the collector writes `asked`.
        self.asked.load(Relaxed) < ticket
            || self.has_answered(ticket)
            || self.answer_if_free(ticket)
    }

    /// The collector answers for a shard that nobody owns.
    fn answer_if_free(&self, ticket: u64) -> bool {
        // Acquire: pairs with the Release of the owner that left; its updates are seen.
        if self
            .owner
            .compare_exchange(FREE, COLLECTOR, Acquire, Relaxed)
            .is_err()
        {
            return false;
        }
        self.answered.store(ticket, Relaxed);
        // Release: pairs with the Acquire in `adopt`; the next owner sees the retired places and `answered`.
        self.owner.store(FREE, Release);
        true
    }

    /// Runs `f` on the slab while the owner cannot grow it; `None` if it is growing now.
    pub(crate) fn hold_still(&self) -> Option<Still<'_>> {
        // Acquire: pairs with the Release that gave it back; the last copy is complete.
        // Not `then_some`: a `Still` that is made in vain gives back what is another's.
        (!self.moving.swap(true, Acquire)).then(|| Still(self))
    }

    /// Whether the owner is back in its hot path without an answer: a request was lost.
    #[cfg(all(test, loom))]
    pub(crate) fn owes_an_answer(&self) -> bool {
        let asked = self.asked.load(Relaxed);
        asked > self.answered.load(Relaxed) && self.slab().len().load(Relaxed) != 0
    }

    fn adopt(&self) -> bool {
        // Acquire: pairs with the Release in `leave`; the first add sees the last owner's cells.
        self.owner
            .compare_exchange(FREE, TAKEN, Acquire, Relaxed)
            .is_ok()
    }
}

#[cfg(loom)]
impl Drop for Shard {
    fn drop(&mut self) {
        let slab = self.slab.load(Relaxed);
        if !slab.is_null() {
            // SAFETY: the engine ends, so nobody reads any more.
            unsafe { SlabRef::from_ptr(slab).free() };
        }
        for slab in self.retired.get_mut().unwrap().drain(..) {
            // SAFETY: as above.
            unsafe { slab.free() };
        }
        let answer = self.answer.load(Relaxed);
        if !answer.is_null() {
            // SAFETY: made in `ask_for_block`.
            drop(unsafe { Box::from_raw(answer) });
        }
    }
}

/// A shard whose owner cannot grow it; given back on drop.
pub(crate) struct Still<'a>(&'a Shard);

impl Still<'_> {
    pub(crate) fn slab(&self) -> SlabRef {
        self.0.slab()
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of who takes it next; it carries the zeroes.
        self.0.moving.store(false, Release);
    }
}

/// Every shard of the engine, newest first.
pub(crate) struct Shards {
    head: AtomicPtr<Shard>,
}

impl Shards {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self { head: AtomicPtr::new(null_mut()) }
        }
    }

    /// A shard for the calling thread: one that was left, or a new one.
    fn claim(&self) -> Option<&Shard> {
        let mut head = self.exchanged_head();
        if let Some(shard) = self.from(head).find(|shard| shard.adopt()) {
            return Some(shard);
        }
        let shard = Shard::new()?;
        loop {
            // SAFETY: made above, and shards live as long as the engine.
            let shard = unsafe { shard.as_ref() };
            shard.next.store(head, Relaxed);
            // AcqRel: the list is changed and asked by exchange, so either a collector that retired a place finds
            // this shard, or this thread, which reads the place again, finds it retired.
            match self.head.compare_exchange(
                head,
                std::ptr::from_ref(shard).cast_mut(),
                AcqRel,
                Relaxed,
            ) {
                Ok(_) => return Some(shard),
                Err(now) => head = now,
            }
        }
    }

    /// The head of the list, by an exchange that changes nothing. (Not a load first: loom takes a thread's own load for
    /// the last one, and would not try the exchange before another thread's.)
    fn exchanged_head(&self) -> *mut Shard {
        let mut head = null_mut();
        while let Err(now) = self.head.compare_exchange(head, head, AcqRel, Relaxed) {
            head = now;
        }
        head
    }

    /// The shards there are now. Acquire: pairs with the exchange in `claim`.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.from(self.head.load(Acquire))
    }

    /// The shards that a request has to reach; by an exchange that changes nothing, see `claim`.
    pub(crate) fn iter_to_ask(&self) -> impl Iterator<Item = &Shard> {
        self.from(self.exchanged_head())
    }

    fn from(&self, mut at: *mut Shard) -> impl Iterator<Item = &Shard> {
        std::iter::from_fn(move || {
            // SAFETY: null, or a published shard, which lives as long as the engine.
            let shard = unsafe { at.as_ref() }?;
            at = shard.next.load(Relaxed);
            Some(shard)
        })
    }
}

#[cfg(loom)]
impl Drop for Shards {
    fn drop(&mut self) {
        let mut at = self.head.load(Relaxed);
        while !at.is_null() {
            // SAFETY: leaked in `Shard::new`; the engine ends, so nobody reads any more.
            let shard = unsafe { Box::from_raw(at) };
            at = shard.next.load(Relaxed);
        }
    }
}

/// A thread's side of its shard. In the crate a `thread_local!`, in a model a value.
pub struct Thread {
    slab: Cell<SlabRef>,
    /// Set while this thread is on its way to a shard or a larger slab: an allocator that counts through our cells
    /// comes back in here, and then counts in shared cells.
    busy: Cell<bool>,
    #[cfg(loom)]
    empty: SlabRef,
}

/// Where an update goes, as [`Thread::settle`] found it.
pub(crate) enum Settled {
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
    pub(crate) fn settle(&self, engine: &Engine, place: &Place, tag: Tag) -> Settled {
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
            let last = place.last(tag);
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
        if place.tag() == tag {
            Settled::Cold
        } else {
            Settled::Stale
        }
    }

    fn shard(&self) -> Option<&Shard> {
        // SAFETY: null, or the shard that this thread owns, which lives as long as the engine.
        unsafe { self.slab.get().shard().as_ref() }
    }

    /// Takes a shard for this thread; false if it may not have one (it ends, or is busy doing this).
    fn register(&self, engine: &Engine) -> bool {
        if self.busy.replace(true) {
            return false;
        }
        let shard = if super::keep_until_exit() {
            engine.shards.claim()
        } else {
            None
        };
        if let Some(shard) = shard {
            self.slab.set(shard.slab());
        }
        self.busy.set(false);
        shard.is_some()
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
    pub(crate) fn leave(&self) {
        if let Some(shard) = self.shard() {
            #[cfg(not(loom))]
            self.slab.set(SlabRef::EMPTY);
            #[cfg(loom)]
            self.slab.set(self.empty);
            // Release: pairs with the Acquire in `adopt` and in `answer_if_free`.
            shard.owner.store(FREE, Release);
        }
    }

    /// A larger slab, unless one is being made or the collector is at the old one.
    fn grow(&self, needed: u64) -> bool {
        let Some(shard) = self.shard() else {
            return false;
        };
        // Acquire: pairs with the Release in `Still::drop`; the copy below sees the collector's zeroes.
        if self.busy.get() || shard.moving.swap(true, Acquire) {
            return false;
        }
        self.busy.set(true);
        let old = self.slab.get();
        // Half as much again, so that growing is rare, in whole pairs of lines.
        let capacity = (needed + 1)
            .max(old.capacity() + old.capacity() / 2)
            .next_multiple_of(16)
            .min(MOST_CELLS);
        let new = SlabRef::allocate(capacity, shard);
        if let Some(new) = new {
            // SAFETY: this thread owns the shard; the new slab is larger and not yet published.
            unsafe { new.copy_from(old) };
            // AcqRel: Release carries the copy to the Acquire in `slab`; as an exchange it takes its place among the
            // collector's in `ask`.
            shard.slab.swap(new.as_ptr(), AcqRel);
            self.slab.set(new);
        }
        // Release: pairs with the Acquire in `hold_still`.
        shard.moving.store(false, Release);
        if let Some(new) = new {
            shard.answer(new);
            // SAFETY: no longer reachable; readers that pinned before may still be reading it.
            unsafe { retire(shard, old) };
        }
        self.busy.set(false);
        new.is_some()
    }
}

#[cfg(loom)]
impl Drop for Thread {
    fn drop(&mut self) {
        self.leave();
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

/// Frees a slab once nobody can be reading it any more.
///
/// # Safety
///
/// No shard and no thread points to the slab.
unsafe fn retire(_shard: &Shard, slab: SlabRef) {
    #[cfg(not(loom))]
    // SAFETY: unreachable for whoever pins from now on.
    unsafe {
        super::epoch::soon(move || slab.free());
    }
    #[cfg(loom)]
    _shard.retired.lock().unwrap().push(slab);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn holding_still_in_vain_leaves_the_owner_its_flag() {
        let shard = Shard::new().unwrap();
        // SAFETY: made above; leaked, as shards are.
        let shard = unsafe { shard.as_ref() };
        shard.moving.store(true, Relaxed);
        assert!(shard.hold_still().is_none());
        assert!(shard.hold_still().is_none());
        shard.moving.store(false, Relaxed);
        assert!(shard.hold_still().is_some());
        assert!(shard.hold_still().is_some());
    }
}
