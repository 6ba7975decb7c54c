//! The reading side: a pass over all shards, and the requests that make slots free again.
//!
//! Passes are serialized: a [`Pass`] holds the lock of the engine's only [`Collector`]. In this
//! order, it takes that lock, pins the epoch, sends a safepoint request if one is due, frees slots
//! of dropped families, and loads every slab pointer. Then it adds up cells. It takes no lock that
//! a hot update takes.
//!
//! The engine *retires* a series (its slot word) for each reason for which a family gives the
//! series up, removal by the user included. It then *reclaims* the series' slot: it clears the slot
//! in every shard and frees it.
//!
//! # Invariants
//!
//! - Q1: A pass pins the epoch before it loads the first slab pointer. So each slab that it reads
//!   stays allocated until the end of the pass (I3). In models a shard frees its replaced slabs
//!   when it is dropped.
//! - Q2: A pass uses a slot in a slab only if the slot is below the slab's capacity. Then the whole
//!   block is inside the slab (W3).
//! - Q3: A pass clears a slot only if no thread can be updating it: [`Pass::is_acknowledged`] holds
//!   for the retired series, or [`Pass::is_closed`] for the slot that is closing, or the series'
//!   family was dropped and no handle exists. While the pass clears,
//!   it has locked the growth of every member (I2).
//!
//! # When is a retired series safe?
//!
//! An update that read the slot word before the series was retired may still be running. It is
//! either hot or cold:
//! - A hot update writes a block. It has finished once its shard has acknowledged a request that
//!   was sent after the series was retired (I4), or if the shard's slab ends below the slot (I5).
//! - A cold update writes cold cells under their lock. The collector takes the lock to fold and
//!   clear them, and hands it over to the next series (U1, U2).

use crate::lockfree::Generation;
use crate::sync::{AtomicU64, MutexGuard, Relaxed, lock};

use super::Engine;
use super::cold_lock::ColdLock;
use super::memory::{Block, SlabRef};
use super::shard::{CopyBlock, GrowthGuard, ShardRef, Shards, UnownedShard};
use super::slot::SlotWord;

/// The number of failed tries after which a reader requests a copy from the owner, or takes a
/// cold block from its writers.
pub(super) const TRIES: u32 = 64;

/// The number of cells that one pass clears at most, in all shards together. It takes some
/// milliseconds. The remaining cells wait for the next pass.
const CLEARED_PER_PASS: u64 = if cfg!(loom) { 1 << 10 } else { 1 << 18 };

/// The state of the reading side. Read and written only by the thread that holds the engine's lock
/// on it, which is the thread that runs a pass.
pub(crate) struct Collector {
    /// The shards that passes read: owned, unowned and idle ones, not the empty ones.
    members: Vec<Member>,
    /// The ticket of the last request, for a safepoint or for a copy.
    last_ticket: u64,
    /// The ticket of the last request for a safepoint.
    last_safepoint: u64,
    /// Whether a series with a slot was retired since that request, or a slot began to close, so
    /// that a new one is due.
    request_due: bool,
    /// The shards that have not acknowledged the last safepoint request, from the longest slab to
    /// the shortest. Each is given as its slab's capacity, and the ticket up to which this shard
    /// and all before it have acknowledged.
    lagging: Vec<(u64, u64)>,
    /// The number of passes since the last request.
    passes: u32,
    /// The number of the running pass.
    pub(super) number: u64,
    /// The slots that were cleared and are not free yet: last cell and number of cells. Locks on
    /// growth are held while a pass adds to them.
    pub(super) cleared: Vec<(u64, u64)>,
    /// A buffer that passes reuse.
    scratch: Vec<u64>,
}

/// A shard that passes read.
#[derive(Clone, Copy)]
struct Member {
    shard: ShardRef,
    /// The ticket of the last safepoint request when the shard became a member. The shard counts as
    /// having acknowledged the requests up to it: its owner joined after the pass that sent them
    /// took the list, so it reads slot words later (`Shards::join`). Not the last ticket of all:
    /// copy requests take tickets from the same sequence, and a series that was retired before such
    /// a request waits for a later one.
    since: u64,
}

impl Collector {
    pub(crate) const fn new() -> Self {
        Self {
            members: Vec::new(),
            last_ticket: 0,
            last_safepoint: 0,
            request_due: false,
            lagging: Vec::new(),
            passes: 0,
            number: 0,
            cleared: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Adds the shards that joined since the last call.
    fn join(&mut self, shards: &Shards) {
        let since = self.last_safepoint;
        let new = shards.take_joined().map(|shard| Member { shard, since });
        self.members.extend(new);
    }

    /// Returns the members, including the shards that joined since the last call.
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

/// A retired series: the slot that it had, and what has to happen before it is reclaimed.
#[derive(Clone, Copy)]
pub struct Retired {
    /// The slot that the series had when it was retired.
    pub slot: Option<u64>,
    /// The request that owners have to acknowledge; 0 if the series had no slot.
    ticket: u64,
}

/// A slot that is closing: its series went quiet.
#[derive(Clone, Copy)]
pub struct Closing {
    /// The generation of the series.
    pub(super) generation: Generation,
    /// The last cell of the block.
    pub(super) last: u64,
    /// The request that owners have to acknowledge.
    ticket: u64,
}

/// The number of rows that are read together: their cells are added up before the sum is stored.
pub(crate) const ROWS_TOGETHER: usize = 4;

/// The number of cells from a row to those that are prefetched: two full rows, because memory takes
/// longer than reading one.
const PREFETCHED: u64 = 128;

/// The memory that a reader reads for a block: the block itself, or memory that its cell points to.
pub(crate) struct ReadBlock<T> {
    /// The cells to read.
    pub(super) block: Block,
    /// The number of cells.
    pub(super) cells: usize,
    /// Copies them in the owner thread, for a reader that keeps failing.
    pub(super) copy: CopyBlock,
    /// The owner of the cells.
    pub(super) of: T,
}

/// A pass over all shards. Only the thread that runs the pass accesses its fields. See the module's
/// documentation.
pub struct Pass<'e> {
    engine: &'e Engine,
    /// The lock that serializes passes.
    collector: MutexGuard<'e, Collector>,
    /// The slabs that this pass reads, each with its shard.
    slabs: Vec<(SlabRef, ShardRef)>,
    /// Whether this pass reads only the cells of the thread that runs it, for `tallies::testing`.
    own_cells_only: bool,
    /// The idle shards: this pass moves their counts to the cold cells of their series.
    idle: Vec<UnownedShard>,
    /// Locks on the growth of every member, held while slots are cleared (I2).
    growth_guards: Vec<GrowthGuard>,
    /// The number of cells that this pass may still clear.
    budget: u64,
    // Declared last, so that the epoch stays pinned until all other fields are dropped (Q1).
    #[cfg(not(loom))]
    _pinned: crate::lockfree::epoch::Guard,
}

impl<'e> Pass<'e> {
    /// Begins a pass with the collector that the caller has locked.
    pub(crate) fn with(engine: &'e Engine, collector: MutexGuard<'e, Collector>) -> Self {
        let mut pass = Self {
            engine,
            collector,
            slabs: Vec::new(),
            own_cells_only: false,
            idle: Vec::new(),
            growth_guards: Vec::new(),
            budget: CLEARED_PER_PASS,
            #[cfg(not(loom))]
            _pinned: crate::lockfree::epoch::pin(),
        };
        pass.advance();
        pass.free_abandoned();
        pass.reload();
        pass
    }

    /// Loads the list of shards and every slab pointer again. `UpDown` calls this between
    /// decrements and increments: it must read increments through slabs that are at least as new as
    /// those of the decrements.
    pub(crate) fn reload(&mut self) {
        if self.engine.shards.have_joined() {
            self.collector.join(&self.engine.shards);
        }
        let members = self.collector.members.iter();
        self.slabs.clear();
        self.slabs
            .extend(members.map(|member| (member.shard.slab(), member.shard)));
        #[cfg(not(loom))]
        if self.own_cells_only {
            let own = super::engine::thread(super::Thread::shard);
            self.slabs.retain(|(_, shard)| Some(*shard) == own);
        }
    }

    /// Restricts this pass to the cells of the calling thread: no cold cells, no other shards.
    #[cfg(not(loom))]
    pub fn read_own_cells_only(&mut self) {
        self.own_cells_only = true;
        self.reload();
    }

    /// Returns the number of this pass, which is no other pass's and not 0.
    pub fn number(&self) -> u64 {
        self.collector.number
    }

    /// Returns a word that differs from minute to minute.
    #[inline]
    pub fn minute(&self) -> u64 {
        self.engine.minute()
    }

    /// Whether every series is promoted at its first update, for `tallies::testing`.
    pub fn promotes_eagerly(&self) -> bool {
        self.engine.is_eager()
    }

    /// Whether this pass reads only the cells of the calling thread. Such a pass retires no series.
    #[inline]
    pub fn reads_own_cells_only(&self) -> bool {
        self.own_cells_only
    }

    /// Returns the value of a cold cell, or the default if this pass does not read them.
    #[inline]
    pub(crate) fn cold<T: Default>(&self, value: T) -> T {
        if self.own_cells_only {
            T::default()
        } else {
            value
        }
    }

    /// Takes shards out of the pool that no thread has claimed for long enough, within a budget:
    /// they are idle until the end of the pass. [`fold_idle`](super::fold_idle) then moves their
    /// counts to cold cells. Later passes do not read the shards that are empty afterwards.
    pub fn take_idle(&mut self) {
        // The unowned shards are members.
        self.idle.reserve(self.slabs.len());
        self.engine.shards.take_idle(&mut self.idle);
    }

    /// Returns whether there are idle shards to fold.
    #[inline]
    pub fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Passes the block `last` of each idle shard to `fold`, unless the block is zero. `fold`
    /// zeroes it, or returns `false`.
    ///
    /// Relaxed: the pool's lock carries the zeroes to the next owner (I1).
    pub(super) fn drain_idle(
        &mut self,
        last: u64,
        cells: usize,
        mut fold: impl FnMut(Block) -> bool,
    ) {
        for idle in &mut self.idle {
            // Only this pass has an idle shard (I1), so the slab is not replaced.
            let Some(block) = idle.shard.slab().get_block(last) else {
                continue;
            };
            // SAFETY: inside the block (Q2).
            let cell = |i| unsafe { block.cell(i) };
            if (0..cells).any(|i| cell(i).load(Relaxed) != 0) && fold(block) {
                idle.backoff = 0;
            }
        }
    }

    /// The slabs that this pass reads, each with its shard.
    #[cfg(all(test, loom))]
    pub(super) fn slabs(&self) -> &[(SlabRef, ShardRef)] {
        &self.slabs
    }

    /// Returns the number of shards, and the number of cells that they have.
    pub fn shards(&self) -> (usize, u64) {
        (
            self.slabs.len(),
            self.slabs.iter().map(|(slab, _)| slab.capacity()).sum(),
        )
    }

    /// Returns the cell `last - below` of every shard that has it.
    #[inline]
    pub(crate) fn cells(
        &self,
        last: Option<u64>,
        below: usize,
    ) -> impl Iterator<Item = &AtomicU64> {
        let last = last.unwrap_or(u64::MAX);
        let blocks = self.slabs.iter();
        let blocks = blocks.filter_map(move |(slab, _)| slab.get_block(last));
        // SAFETY: the calling kind's blocks have more than `below` cells (Q2). The slab is alive
        // (Q1).
        blocks.map(move |block| unsafe { block.cell(below) })
    }

    /// Reads series that have one cell each. `rows` gets several rows of the same length: each row
    /// has the cells, in one shard, of the consecutive series that begin with the given index. Rows
    /// come in the order of the shards. Consecutive slots are read in the order of memory.
    #[inline]
    pub(crate) fn rows(
        &self,
        slots: impl Iterator<Item = Option<u64>>,
        mut rows: impl FnMut(usize, &[&[AtomicU64]]),
    ) {
        let mut add = |index: usize, first: u64, len: u64| {
            if len == 0 {
                return;
            }
            let mut together: [&[AtomicU64]; ROWS_TOGETHER] = Default::default();
            let mut n = 0;
            for (slab, _) in &self.slabs {
                let end = (first + len).min(slab.capacity());
                if first >= end {
                    continue;
                }
                if len >= 16 {
                    // Slots are allocated in the order of series, so the next cells to read are
                    // probably behind these. At one distance, so that rows of different lengths
                    // leave no gap.
                    let next = (end + PREFETCHED).min(slab.capacity() - 1);
                    // SAFETY: below the capacity (Q2), and the slab is alive (Q1).
                    unsafe { slab.block(next) }.prefetch(len as usize);
                }
                // SAFETY: the row ends at or below the capacity (Q2), and the slab is alive (Q1).
                let row = unsafe { slab.cells(first, (end - first) as usize) };
                if n == ROWS_TOGETHER || n > 0 && together[0].len() != row.len() {
                    rows(index, &together[..n]);
                    n = 0;
                }
                together[n] = row;
                n += 1;
            }
            rows(index, &together[..n]);
        };
        let (mut index, mut first, mut len) = (0, 0, 0);
        for (i, slot) in slots.enumerate() {
            match slot {
                Some(slot) if len > 0 && slot == first + len => len += 1,
                _ => {
                    add(index, first, len);
                    (index, first, len) = (i, slot.unwrap_or(0), u64::from(slot.is_some()));
                }
            }
        }
        add(index, first, len);
    }

    /// Prefetches a block in every shard, so that the cache misses overlap.
    pub(crate) fn prefetch(&self, last: Option<u64>, cells: usize) {
        let Some(last) = last else { return };
        for (slab, _) in &self.slabs {
            if let Some(block) = slab.get_block(last) {
                block.prefetch(cells);
            }
        }
    }

    /// Reads a series' cold block and the block in every shard that has it.
    ///
    /// `find` finds the cells of a block, and `read` tries to read them once. After [`TRIES`]
    /// failures the collector requests a copy from the owner, and `read` gets the original and the
    /// copy in turn:
    /// - If the owner runs another update, it makes the copy first.
    /// - If it runs none, the original does not change, and `read` succeeds on it.
    pub(crate) fn blocks<T>(
        &mut self,
        cold: Option<(Block, &ColdLock)>,
        last: Option<u64>,
        find: impl Fn(Block) -> Option<ReadBlock<T>>,
        mut read: impl FnMut(&T, Block, &mut Vec<u64>) -> bool,
    ) {
        let mut scratch = std::mem::take(&mut self.collector.scratch);
        if let Some((block, lock)) = self.cold(cold) {
            if let Some(found) = find(block) {
                lock.read(|| read(&found.of, found.block, &mut scratch));
            }
        }
        // Of a cold series, no shard has a block.
        let (last, shards) = last.map_or((0, 0), |last| (last, self.slabs.len()));
        for i in 0..shards {
            let (slab, shard) = self.slabs[i];
            let Some(found) = slab.get_block(last).and_then(&find) else {
                continue;
            };
            let mut read = |block| read(&found.of, block, &mut scratch);
            if !(0..TRIES).any(|_| read(found.block)) {
                self.read_copy(shard, last, (found.cells, found.copy), |copy| {
                    read(found.block) || copy.is_some_and(&mut read)
                });
            }
        }
        self.collector.scratch = scratch;
    }

    /// Requests a copy and calls `read` until it succeeds, which is soon: once the owner sees the
    /// length 0, it finishes at most one update and then acknowledges. If it runs no update, `read`
    /// succeeds on the original.
    fn read_copy(
        &mut self,
        shard: ShardRef,
        last: u64,
        (cells, copy): (usize, CopyBlock),
        mut read: impl FnMut(Option<Block>) -> bool,
    ) {
        self.engine.copy_requests.fetch_add(1, Relaxed);
        self.collector.last_ticket += 1;
        let ticket = self.collector.last_ticket;
        shard.request_copy(ticket, last, cells, copy);
        let mut tries = 0;
        while !read(shard.copied_block(ticket)) {
            // Wait for the owner to finish its current update.
            super::engine::back_off(&mut tries);
        }
        shard.withdraw_copy_request();
    }

    /// Retires a series: its handles are stale from now on. Once
    /// [`is_acknowledged`](Self::is_acknowledged) returns `true` for the result, its slot may be
    /// reclaimed. `forget`: its total is dropped.
    pub(crate) fn retire(&mut self, slot_word: &SlotWord, forget: bool) -> Retired {
        let slot = slot_word.retire(forget);
        let ticket = slot.map_or(0, |_| self.collector.last_ticket + 1);
        if slot.is_some() {
            self.engine.slots.waiting(1);
        }
        self.collector.request_due |= ticket != 0;
        Retired { slot, ticket }
    }

    /// Makes the next pass send a request to all threads.
    pub fn request(&mut self) {
        self.collector.request_due = true;
    }

    /// Begins to take the slot away from a series that went quiet: later updates use its cold
    /// cells. [`end_closing`](super::end_closing) does the rest in a later pass.
    pub fn close(&mut self, slot_word: &SlotWord) -> Option<Closing> {
        let (generation, last) = slot_word.close()?;
        self.collector.request_due = true;
        Some(Closing {
            generation,
            last,
            ticket: self.collector.last_ticket + 1,
        })
    }

    /// Opens a slot again whose series is busy again before the slot was cleared. Some of its
    /// blocks may be clear, if [`clear_slot`](Self::clear_slot) had to stop.
    pub fn reopen(&mut self, slot_word: &SlotWord, closing: Closing) {
        if slot_word.generation() == closing.generation {
            slot_word.reopen();
        }
    }

    /// Returns whether no thread can still be updating the slot of a retired series.
    pub(crate) fn is_acknowledged(&self, retired: Retired) -> bool {
        self.is_free_of_updates(retired.slot, retired.ticket)
    }

    /// Returns whether no thread can still be updating a slot that is closing.
    pub(super) fn is_closed(&self, closing: Closing) -> bool {
        self.is_free_of_updates(Some(closing.last), closing.ticket)
    }

    /// Returns whether every member whose slab has the slot (I5) has acknowledged the request (I4).
    fn is_free_of_updates(&self, slot: Option<u64>, ticket: u64) -> bool {
        if ticket > self.collector.last_safepoint {
            return false;
        }
        let Some(slot) = slot else {
            return true;
        };
        let lagging = &self.collector.lagging;
        let with_slot = lagging.partition_point(|(capacity, _)| *capacity > slot);
        with_slot == 0 || lagging[with_slot - 1].1 >= ticket
    }

    /// Sends a safepoint request if series with slots were retired since the last one, or slots
    /// began to close. Then determines which shards have acknowledged.
    fn advance(&mut self) {
        self.engine.begin_minute();
        // Frees the label texts, pages and tables that were replaced: an epoch advances only when
        // some thread tries to advance it, which few threads do.
        #[cfg(not(loom))]
        crate::lockfree::epoch::pin().flush();
        // By exchange, and before the request: the owner of a shard that joins later finds the
        // series retired (`Shards::join`).
        self.collector.join(&self.engine.shards);
        if std::mem::take(&mut self.collector.request_due) {
            self.collector.last_ticket += 1;
            self.collector.last_safepoint = self.collector.last_ticket;
            for member in &self.collector.members {
                member.shard.request(self.collector.last_safepoint);
            }
            self.collector.passes = 0;
        }
        // The thread that runs this pass is between two updates. Acknowledge for it here, because
        // it may never run another one.
        #[cfg(not(loom))]
        super::thread(super::Thread::acknowledge);
        self.update_lagging();
        // While a shard lags, every 16th pass has all cold updates look for the request. If every
        // pass did, they would be slow for as long as one thread sleeps.
        let asks = !self.collector.lagging.is_empty() && self.collector.passes % 16 == 0;
        self.engine.ask_threads(asks);
        self.collector.passes = self.collector.passes.wrapping_add(1);
        self.collector.number += 1;
    }

    /// Acknowledges for the unowned shards. Then determines which members have not acknowledged the
    /// last safepoint request, and which ticket each of them acknowledged last.
    fn update_lagging(&mut self) {
        let collector = &mut *self.collector;
        let last_safepoint = collector.last_safepoint;
        collector.lagging.clear();
        if last_safepoint == 0 {
            return;
        }
        self.engine.shards.acknowledge_for_unowned(last_safepoint);
        for member in &collector.members {
            let acknowledged = member.shard.acknowledged().max(member.since);
            if acknowledged < last_safepoint {
                // Loaded after the request. If this load misses a growth, the growth comes after
                // the request's exchange of the slab, and sees what came before it (I5).
                let capacity = member.shard.slab().capacity();
                collector.lagging.push((capacity, acknowledged));
            }
        }
        collector.lagging.sort_unstable_by(|a, b| b.cmp(a));
        let mut least = u64::MAX;
        for (_, acknowledged) in &mut collector.lagging {
            least = least.min(*acknowledged);
            *acknowledged = least;
        }
    }

    /// Frees slots of dropped families, as many as the budget allows. The others wait for the next
    /// pass.
    fn free_abandoned(&mut self) {
        let mut abandoned = std::mem::take(&mut *lock(&self.engine.abandoned));
        // A thread may have joined since `advance`, and may have updated a family before that was
        // dropped. The list's lock carries its shard, whose cells have to be cleared, too.
        self.collector.join(&self.engine.shards);
        while let Some(slot) = abandoned.last() {
            let done = self.clear_slot(slot.last, slot.width, |block| {
                (slot.release)(block);
                true
            });
            if !done {
                break;
            }
            if slot.is_unreclaimed {
                self.engine.slots.waiting(-1);
            }
            abandoned.pop();
        }
        self.free_cleared();
        // Append the few slots that were abandoned during this call to the many that remain, not
        // the other way round.
        let mut others = lock(&self.engine.abandoned);
        abandoned.append(&mut others);
        *others = abandoned;
    }

    /// Passes the block `last` of every member to `fold` and then zeroes it.
    /// [`free_cleared`](Self::free_cleared) frees the slot later. Returns `false` if a member is
    /// growing now, if the budget is spent, or if `fold` does.
    ///
    /// The caller must have checked Q3.
    pub(crate) fn clear_slot(
        &mut self,
        last: u64,
        cells: usize,
        mut fold: impl FnMut(Block) -> bool,
    ) -> bool {
        if self.budget == 0 || !self.lock_growth() {
            return false;
        }
        for guard in &self.growth_guards {
            // The lock on growth keeps the slab in place (I2).
            let Some(block) = guard.slab().get_block(last) else {
                continue;
            };
            if !fold(block) {
                return false;
            }
            for i in 0..cells {
                // SAFETY: inside the block (Q2), which no thread writes (Q3). Relaxed: `growing`
                // carries the zero to the owner's next growth, and the slot word of the next series
                // carries it to that series' updates (W2).
                unsafe { block.cell(i) }.store(0, Relaxed);
            }
        }
        let visits = (self.growth_guards.len() + 1) * cells;
        self.budget = self.budget.saturating_sub(visits as u64);
        self.collector.cleared.push((last, cells as u64));
        true
    }

    /// Locks the growth of every member. Returns `false` if a member is growing now; then this pass
    /// clears nothing more.
    fn lock_growth(&mut self) -> bool {
        if self.growth_guards.is_empty() {
            let members = self.collector.members.iter();
            let guards = members.map(|member| member.shard.lock_growth());
            match guards.collect() {
                Some(guards) => self.growth_guards = guards,
                None => self.budget = 0,
            }
        }
        self.budget > 0
    }

    /// Unlocks the growth of all members, and frees the slots that were cleared.
    pub fn free_cleared(&mut self) {
        self.growth_guards.clear();
        if self.collector.cleared.is_empty() {
            return;
        }
        self.engine.slots.try_free(&mut self.collector.cleared);
        // A freed slot may belong to another series immediately. A slab that was replaced since
        // this pass began still has the old count there, so load the slabs again.
        self.reload();
    }

    /// Zeroes the block `last` in every member while it is in use. The process must have only the
    /// calling thread (I1).
    pub(crate) fn zero(&self, last: u64, cells: usize) {
        for below in 0..cells {
            // Relaxed: no other thread exists. If one did, its counts could be lost, and a
            // histogram's sum could stop matching its buckets.
            self.cells(Some(last), below)
                .for_each(|cell| cell.store(0, Relaxed));
        }
    }

    /// Clears the slot of a retired series as [`clear_slot`](Self::clear_slot) does, and then no
    /// longer counts it as unreclaimed.
    pub(crate) fn reclaim_slot(
        &mut self,
        last: u64,
        cells: usize,
        fold: impl FnMut(Block) -> bool,
    ) -> bool {
        let done = self.clear_slot(last, cells, fold);
        if done {
            self.engine.slots.waiting(-1);
        }
        done
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.free_cleared();
        if self.idle.is_empty() {
            return;
        }
        // Also if nothing was drained: a thread that ran only cold updates leaves zeroes.
        let is_empty = |idle: &&UnownedShard| idle.shard.slab().is_zero();
        let empty = self.idle.iter().filter(is_empty);
        let mut empty: Vec<ShardRef> = empty.map(|idle| idle.shard).collect();
        empty.sort_unstable();
        let is_left = |shard| empty.binary_search(&shard).is_err();
        self.collector
            .members
            .retain(|member| is_left(member.shard));
        self.slabs.clear();
        let (shards, slots) = (&self.engine.shards, &self.engine.slots);
        // SAFETY: the shards whose cells are all zero are no members any more, and this pass has
        // dropped its growth locks and slabs, so it does not reach them again (I6).
        unsafe { shards.give_back(&self.idle, &empty, slots) };
    }
}
