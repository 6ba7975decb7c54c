//! The reading side: one pass over the shards, and the requests that make slots free again.
//!
//! Passes are serialised: a [`Pass`] borrows the engine's only [`Collector`]. It pins the epoch once, loads every
//! slab pointer once, and adds up cells; it takes no lock that an update ever takes.

use std::sync::Arc;

use crate::sync::{Acquire, AtomicU64, MutexGuard, Relaxed, Release, lock};

use super::Engine;
use super::memory::{Block, SlabRef};
use super::shard::{CopyBlock, Idle, ShardRef, Shards, Still};
use super::slot::SlotWord;

/// Tries before a reader asks the owner for a copy, or takes a cold block from its writers.
pub(super) const TRIES: u32 = 64;

/// Cells that one pass clears at most, in all shards together: some milliseconds. What is left waits for the next pass.
const CLEARED_PER_PASS: u64 = if cfg!(loom) { 1 << 10 } else { 1 << 18 };

/// What only one pass at a time may do: ask owners, and give slots out anew.
#[derive(Debug)]
pub(crate) struct Collector {
    /// The shards that passes read, those without an owner as well.
    members: Vec<Member>,
    /// The ticket of the last request, for a safe point or for a copy.
    asked: u64,
    /// The ticket of the last request for a safe point.
    requested: u64,
    /// A series was retired since: a new request is due.
    to_ask: bool,
    /// The shards that have yet to answer some request, from the longest slab down: the length, and the least ticket that
    /// any shard so far has answered.
    behind: Vec<(u64, u64)>,
    /// Epochs asked for so far, and whether something was retired since.
    graces: u64,
    to_grace: bool,
    /// The last of them that has passed: cold updates of before have ended. Made with the first one.
    graced: Option<Arc<AtomicU64>>,
    /// Reused by every pass.
    scratch: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    shard: ShardRef,
    /// Tickets up to this one are older than its membership: its owners read places later.
    since: u64,
}

impl Collector {
    pub(crate) const fn new() -> Self {
        Self {
            members: Vec::new(),
            asked: 0,
            requested: 0,
            to_ask: false,
            behind: Vec::new(),
            graces: 0,
            to_grace: false,
            graced: None,
            scratch: Vec::new(),
        }
    }

    fn join(&mut self, shards: &Shards) {
        let since = self.asked;
        let new = shards.take_joined().map(|shard| Member { shard, since });
        self.members.extend(new);
    }

    /// Every shard that a request has to reach.
    #[cfg(all(test, loom))]
    pub(super) fn shards(&mut self, shards: &Shards) -> Vec<ShardRef> {
        self.join(shards);
        self.members.iter().map(|member| member.shard).collect()
    }
}

#[cfg(loom)]
impl Drop for Collector {
    fn drop(&mut self) {
        super::shard::free_all(self.members.drain(..).map(|member| member.shard));
    }
}

/// A series that was retired: the slot it had, and what its cells wait for.
#[derive(Clone, Copy, Debug)]
pub struct Retired {
    slot: Option<u64>,
    /// The request that owners have to answer; 0 where none need.
    ticket: u64,
    grace: u64,
}

impl Retired {
    /// The slot it had.
    #[must_use]
    pub fn slot(self) -> Option<u64> {
        self.slot
    }
}

/// Rows that are read together: their cells are added up before the sum is stored.
pub(crate) const TOGETHER: usize = 4;

/// What a reader reads in place of a block: the block itself, or what its cell points to.
pub(crate) trait View {
    /// Copies it, for a reader that keeps failing.
    const COPY: CopyBlock;

    /// The cells to read.
    fn block(&self) -> Block;

    /// The number of cells.
    fn cells(&self) -> usize;
}

/// A pass over all shards. See the module's text.
pub struct Pass<'e> {
    engine: &'e Engine,
    collector: MutexGuard<'e, Collector>,
    slabs: Vec<(SlabRef, ShardRef)>,
    /// Shards without an owner whose cells this pass moves to the shared cells of their series.
    idle: Vec<Idle>,
    /// Every shard, held still while slots are cleared.
    still: Vec<Still>,
    /// Slots that were cleared since.
    cleared: Vec<(u64, u64)>,
    /// Cells that this pass may still clear.
    budget: u64,
    #[cfg(not(loom))]
    _pinned: crate::lockfree::epoch::Guard,
}

impl<'e> Pass<'e> {
    /// Waits for the pass that is running, then begins one.
    pub(crate) fn begin(engine: &'e Engine) -> Self {
        Self::with(engine, lock(&engine.collector))
    }

    /// Begins a pass: the caller has the collector.
    pub(crate) fn with(engine: &'e Engine, collector: MutexGuard<'e, Collector>) -> Self {
        let mut pass = Self {
            engine,
            collector,
            slabs: Vec::new(),
            idle: Vec::new(),
            still: Vec::new(),
            cleared: Vec::new(),
            budget: CLEARED_PER_PASS,
            #[cfg(not(loom))]
            _pinned: crate::lockfree::epoch::pin(),
        };
        pass.advance();
        pass.free_abandoned();
        pass.reload();
        pass
    }

    /// Loads the list of shards and every slab pointer again. What is up must be read through places at least as
    /// new as what is down (`UpDown`).
    pub(crate) fn reload(&mut self) {
        if self.engine.shards.have_joined() {
            self.collector.join(&self.engine.shards);
        }
        let members = self.collector.members.iter();
        self.slabs.clear();
        self.slabs
            .extend(members.map(|member| (member.shard.slab(), member.shard)));
    }

    /// Takes the shards that nobody has owned since an earlier pass did this: [`fold_idle`](super::fold_idle) moves what
    /// they hold to shared cells. Those that are empty then are read by no pass any more.
    pub fn take_idle(&mut self) {
        self.engine.shards.take_idle(&mut self.idle);
    }

    /// Whether there are shards to fold.
    #[inline]
    pub fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Hands the block `last` of each idle shard that holds something there to `fold`, and zeroes it.
    pub(super) fn drain_idle(&mut self, last: u64, cells: usize, mut fold: impl FnMut(Block)) {
        for idle in &mut self.idle {
            let slab = idle.shard.slab();
            if last >= slab.capacity() {
                continue;
            }
            // SAFETY: below the capacity; nobody owns the shard but the collector (I1).
            let block = unsafe { slab.block(last) };
            // SAFETY: inside the block.
            let cell = |i| unsafe { block.cell(i) };
            if (0..cells).all(|i| cell(i).load(Relaxed) == 0) {
                continue;
            }
            fold(block);
            // Relaxed: the pool's lock carries the zeroes to the next owner.
            (0..cells).for_each(|i| cell(i).store(0, Relaxed));
            idle.moved = true;
        }
    }

    /// What this pass reads.
    #[cfg(all(test, loom))]
    pub(super) fn slabs(&self) -> &[(SlabRef, ShardRef)] {
        &self.slabs
    }

    /// The number of shards, and the cells they hold.
    pub fn shards(&self) -> (usize, u64) {
        (
            self.slabs.len(),
            self.slabs.iter().map(|(slab, _)| slab.capacity()).sum(),
        )
    }

    /// The cell `last - below` of every shard that has it.
    #[inline]
    pub(crate) fn cells(
        &self,
        last: Option<u64>,
        below: usize,
    ) -> impl Iterator<Item = &AtomicU64> {
        let last = last.unwrap_or(u64::MAX);
        self.slabs
            .iter()
            .filter(move |(slab, _)| last < slab.capacity())
            // SAFETY: below the capacity, and `below` is inside the block by the caller's kind of cells. The epoch
            // is pinned, so the slab is alive.
            .map(move |(slab, _)| unsafe { slab.block(last).cell(below) })
    }

    /// The cells of series that have one each: a row of them is the cells of the series from `at` on in one shard, and
    /// several rows of one length come together, in the order of the shards. Slots that follow each other are read in the
    /// order of memory.
    #[inline]
    pub(crate) fn rows(
        &self,
        slots: impl Iterator<Item = Option<u64>>,
        mut rows: impl FnMut(usize, &[&[AtomicU64]]),
    ) {
        let mut add = |at: usize, first: u64, len: u64| {
            let mut together: [&[AtomicU64]; TOGETHER] = Default::default();
            let mut n = 0;
            for (slab, _) in &self.slabs {
                let end = (first + len).min(slab.capacity());
                if first >= end {
                    continue;
                }
                if len >= 16 {
                    // What comes next is likely to lie behind: slots are given out in the order of series. Two rows ahead:
                    // memory takes longer than one takes to be read.
                    let next = (end + 2 * len).min(slab.capacity() - 1);
                    // SAFETY: below the capacity; the epoch is pinned.
                    unsafe { slab.block(next) }.prefetch(len as usize);
                }
                // SAFETY: below the capacity. The epoch is pinned, so the slab is alive.
                let row = unsafe { slab.cells(first, (end - first) as usize) };
                if n == TOGETHER || n > 0 && together[0].len() != row.len() {
                    rows(at, &together[..n]);
                    n = 0;
                }
                together[n] = row;
                n += 1;
            }
            rows(at, &together[..n]);
        };
        let (mut at, mut first, mut len) = (0, 0, 0);
        for (i, slot) in slots.enumerate() {
            match slot {
                Some(slot) if len > 0 && slot == first + len => len += 1,
                _ => {
                    add(at, first, len);
                    (at, first, len) = (i, slot.unwrap_or(0), u64::from(slot.is_some()));
                }
            }
        }
        add(at, first, len);
    }

    /// Asks for the memory of a block in every shard, so that waiting for one overlaps with waiting for the others.
    pub(crate) fn prefetch(&self, last: Option<u64>, cells: usize) {
        let Some(last) = last else { return };
        for (slab, _) in &self.slabs {
            if last < slab.capacity() {
                // SAFETY: below the capacity; the epoch is pinned.
                unsafe { slab.block(last) }.prefetch(cells);
            }
        }
    }

    /// Reads a block in every shard that has it.
    ///
    /// `read` tries once. After [`TRIES`] failures the owner is asked for a copy, and `read` gets the original and
    /// the copy in turn: if the owner makes an update, it makes the copy first; if it makes none, the original does not
    /// change.
    pub(crate) fn blocks<V: View>(
        &mut self,
        last: Option<u64>,
        view: impl Fn(Block) -> Option<V>,
        mut read: impl FnMut(&V, Block, &mut Vec<u64>) -> bool,
    ) {
        let Some(last) = last else { return };
        let mut scratch = self.scratch();
        for i in 0..self.slabs.len() {
            let (slab, shard) = self.slabs[i];
            if last >= slab.capacity() {
                continue;
            }
            // SAFETY: below the capacity; the epoch is pinned.
            let Some(view) = view(unsafe { slab.block(last) }) else {
                continue;
            };
            let mut read = |block| read(&view, block, &mut scratch);
            if !(0..TRIES).any(|_| read(view.block())) {
                self.read_copy(shard, last, (view.cells(), V::COPY), |copy| {
                    read(view.block()) || copy.is_some_and(&mut read)
                });
            }
        }
        self.give_scratch(scratch);
    }

    /// A buffer that passes reuse.
    pub(crate) fn scratch(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.collector.scratch)
    }

    pub(crate) fn give_scratch(&mut self, scratch: Vec<u64>) {
        self.collector.scratch = scratch;
    }

    /// Requests a copy and calls `read` until it succeeds, which is soon: once the owner sees the zero length it ends at
    /// most one update and then acknowledges.
    fn read_copy(
        &mut self,
        shard: ShardRef,
        last: u64,
        (cells, copy): (usize, CopyBlock),
        mut read: impl FnMut(Option<Block>) -> bool,
    ) {
        self.engine.stats.asked.fetch_add(1, Relaxed);
        self.collector.asked += 1;
        let ticket = self.collector.asked;
        shard.request_copy(ticket, last, cells, copy);
        let mut tries = 0;
        while !read(shard.copied_block(ticket)) {
            // The owner has to end the update that it is making.
            super::engine::back_off(&mut tries);
        }
        shard.withdraw_copy_request();
    }

    /// Retires a series: its handles are stale from now on. When what is returned [`is_safe`](Self::is_safe), its cells
    /// may be used again.
    pub(crate) fn retire(&mut self, place: &SlotWord) -> Retired {
        let slot = place.retire();
        let ticket = slot.map_or(0, |_| self.collector.asked + 1);
        if slot.is_some() {
            self.engine.slots.waiting(1);
        }
        self.collector.to_ask |= ticket != 0;
        self.collector.to_grace = true;
        Retired {
            slot,
            ticket,
            grace: self.collector.graces + 1,
        }
    }

    /// Whether nobody can still be updating what was retired: every thread has answered that could, and an epoch has
    /// passed since.
    pub(crate) fn is_safe(&self, retired: Retired) -> bool {
        retired.grace <= self.graced() && self.has_been_answered(retired)
    }

    /// Whether every shard whose slab has the slot (I5) has answered a request that came after the series was retired.
    pub(super) fn has_been_answered(&self, retired: Retired) -> bool {
        if retired.ticket > self.collector.requested {
            return false;
        }
        let Some(slot) = retired.slot else {
            return true;
        };
        let behind = &self.collector.behind;
        let have_it = behind.partition_point(|(capacity, _)| *capacity > slot);
        have_it == 0 || behind[have_it - 1].1 >= retired.ticket
    }

    fn graced(&self) -> u64 {
        // Acquire: pairs with the Release in `grace`; who pinned before has unpinned.
        let graced = self.collector.graced.as_ref();
        graced.map_or(0, |graced| graced.load(Acquire))
    }

    /// Asks for a safe point after what was retired since, and looks who has answered.
    fn advance(&mut self) {
        if std::mem::take(&mut self.collector.to_grace) {
            self.collector.graces += 1;
            self.grace(self.collector.graces);
        }
        if self.graced() < self.collector.graces {
            // Epochs pass when somebody looks; few threads do.
            #[cfg(not(loom))]
            crate::lockfree::epoch::pin().flush();
        }
        // By exchange, before the request: a shard that is not found here finds what was retired (`Shards::join`).
        self.collector.join(&self.engine.shards);
        if std::mem::take(&mut self.collector.to_ask) {
            self.collector.asked += 1;
            self.collector.requested = self.collector.asked;
            for member in &self.collector.members {
                member.shard.ask(self.collector.requested);
            }
        }
        // The thread that makes this pass is in no update: it need not come by later, which it may never do.
        #[cfg(not(loom))]
        super::thread(super::Thread::answer);
        self.look_who_is_behind();
    }

    /// Notes which shards have yet to answer, and how far each of them has come.
    fn look_who_is_behind(&mut self) {
        let collector = &mut *self.collector;
        let requested = collector.requested;
        collector.behind.clear();
        if requested == 0 {
            return;
        }
        self.engine.shards.answer_for_unowned(requested);
        for member in &collector.members {
            let answered = member.shard.answered().max(member.since);
            if answered < requested {
                // After the request, which the exchange of the slab orders before any growth to come (I5).
                let capacity = member.shard.slab().capacity();
                collector.behind.push((capacity, answered));
            }
        }
        collector.behind.sort_unstable_by(|a, b| b.cmp(a));
        let mut least = u64::MAX;
        for (_, answered) in &mut collector.behind {
            least = least.min(*answered);
            *answered = least;
        }
    }

    /// Frees slots of families that are gone, as many as the budget allows; the others wait for the next pass.
    fn free_abandoned(&mut self) {
        let mut abandoned = std::mem::take(&mut *lock(&self.engine.abandoned));
        while let Some((last, width, waiting, release)) = abandoned.pop() {
            if !self.clear_slot(last, width, release) {
                abandoned.push((last, width, waiting, release));
                break;
            }
            if waiting {
                self.engine.slots.waiting(-1);
            }
        }
        self.let_go();
        // Those that came meanwhile are few.
        let mut others = lock(&self.engine.abandoned);
        abandoned.append(&mut others);
        *others = abandoned;
    }

    /// Notes, an epoch from now, that the cold updates of before this ticket have ended.
    fn grace(&mut self, ticket: u64) {
        let graced = Arc::clone(
            self.collector
                .graced
                .get_or_insert_with(|| Arc::new(AtomicU64::new(0))),
        );
        // Release: pairs with the Acquire in `graced`; it carries the cold updates of before, which the thread that runs this
        // has seen the end of.
        crate::lockfree::epoch::after_epoch(move || _ = graced.fetch_max(ticket, Release));
    }

    /// Zeroes the block `last` in every shard, handing each to `fold` first; [`let_go`](Self::let_go) then frees the slot.
    /// Returns `false`, and does nothing, where a shard is growing now or the budget is spent.
    ///
    /// The caller has seen [`is_safe`](Self::is_safe), or that no handle exists any more.
    pub(crate) fn clear_slot(
        &mut self,
        last: u64,
        cells: usize,
        mut fold: impl FnMut(Block),
    ) -> bool {
        if self.budget == 0 || !self.hold_still() {
            return false;
        }
        for still in &self.still {
            let slab = still.slab();
            if last >= slab.capacity() {
                continue;
            }
            // SAFETY: below the capacity; `still` keeps the slab where it is.
            let block = unsafe { slab.block(last) };
            fold(block);
            for i in 0..cells {
                // SAFETY: inside the block. Nobody else writes it: every owner has answered. Relaxed: `moving` carries
                // the zero to growth, and the place of the next series to its updates.
                unsafe { block.cell(i) }.store(0, Relaxed);
            }
        }
        let visits = (self.still.len() + 1) * cells;
        self.budget = self.budget.saturating_sub(visits as u64);
        self.cleared.push((last, cells as u64));
        true
    }

    /// Holds every shard still; `false` where one is growing now. Once it could not, it does not try again in this pass.
    fn hold_still(&mut self) -> bool {
        if self.still.is_empty() {
            let members = self.collector.members.iter();
            let still = members.map(|member| member.shard.hold_still());
            match still.collect() {
                Some(still) => self.still = still,
                None => self.budget = 0,
            }
        }
        self.budget > 0
    }

    /// Lets shards grow again, and frees the slots that were cleared meanwhile.
    pub fn let_go(&mut self) {
        self.still.clear();
        if self.cleared.is_empty() {
            return;
        }
        self.engine.slots.free_later(self.cleared.drain(..));
        // A slot may be another series' at once. A slab that was replaced since this pass began still has the old count
        // there.
        self.reload();
    }

    /// Zeroes the block `last` in every shard, in use as it is: for the only thread of a process.
    pub(crate) fn zero(&self, last: u64, cells: usize) {
        for below in 0..cells {
            // Relaxed: no other thread is there. Were one, its count would be lost, and nothing worse.
            self.cells(Some(last), below)
                .for_each(|cell| cell.store(0, Relaxed));
        }
    }

    /// Clears the slot of a retired series; see [`clear_slot`](Self::clear_slot).
    pub(crate) fn reclaim(&mut self, last: u64, cells: usize, fold: impl FnMut(Block)) -> bool {
        let done = self.clear_slot(last, cells, fold);
        if done {
            self.engine.slots.waiting(-1);
        }
        done
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.let_go();
        if self.idle.is_empty() {
            return;
        }
        let is_empty = |idle: &Idle| idle.moved && idle.shard.slab().is_zero();
        let idle: Vec<_> = self
            .idle
            .drain(..)
            .map(|idle| (idle, is_empty(&idle)))
            .collect();
        let mut empty: Vec<_> = idle.iter().filter(|(_, empty)| *empty).collect();
        empty.sort_unstable_by_key(|(idle, _)| idle.shard);
        let is_gone = |member: &Member| {
            let shard = |(idle, _): &&(Idle, bool)| idle.shard;
            empty.binary_search_by_key(&member.shard, shard).is_ok()
        };
        self.collector.members.retain(|member| !is_gone(member));
        self.slabs.clear();
        // SAFETY: those that are empty are no members any more, and this pass is over.
        unsafe { self.engine.shards.give_back(idle.into_iter()) };
    }
}

impl std::fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass")
            .field("shards", &self.slabs.len())
            .finish_non_exhaustive()
    }
}
