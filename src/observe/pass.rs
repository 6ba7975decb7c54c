//! The reading side: one pass over the shards, and the requests that make slots free again.
//!
//! Passes are serialised: a [`Pass`] borrows the engine's only [`Collector`]. It pins the epoch once, loads every
//! slab pointer once, and adds up cells; it takes no lock that an update ever takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sync::{Acquire, AtomicU64, Relaxed, Release};

use super::Engine;
use super::memory::{Block, SlabRef};
use super::native::Table;
use super::shard::Shard;
use super::slot::Place;

/// Tries before a reader asks the owner for a copy, or takes a cold block from its writers.
pub(super) const TRIES: u32 = 64;

/// What only one pass at a time may do: ask owners, and give slots out anew.
#[derive(Debug)]
pub(crate) struct Collector {
    /// The ticket of the last request, for a safe point or for a copy.
    asked: u64,
    /// The ticket of the last request for a safe point.
    requested: u64,
    /// Every shard has answered this ticket.
    safe: u64,
    /// Whether something was retired since that waits for answers.
    to_ask: bool,
    /// Epochs asked for so far, and whether something was retired since.
    graces: u64,
    to_grace: bool,
    /// The last of them that has passed: cold updates of before have ended. Made with the first one.
    graced: Option<Arc<AtomicU64>>,
    /// Reused by every pass.
    scratch: Vec<u64>,
}

impl Collector {
    pub(crate) const fn new() -> Self {
        Self {
            asked: 0,
            requested: 0,
            safe: 0,
            to_ask: false,
            graces: 0,
            to_grace: false,
            graced: None,
            scratch: Vec::new(),
        }
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

/// A pass over all shards. See the module's text.
pub struct Pass<'e> {
    engine: &'e Engine,
    collector: MutexGuard<'e, Collector>,
    slabs: Vec<(SlabRef, &'e Shard)>,
    #[cfg(not(loom))]
    _pinned: super::epoch::Guard,
}

impl<'e> Pass<'e> {
    /// Waits for the pass that is running, then begins one.
    pub(crate) fn begin(engine: &'e Engine) -> Self {
        let mut pass = Self {
            engine,
            collector: lock(&engine.collector),
            slabs: Vec::new(),
            #[cfg(not(loom))]
            _pinned: super::pin(),
        };
        pass.advance();
        pass.free_abandoned();
        pass.reload();
        pass
    }

    /// Loads the list of shards and every slab pointer again. What is up must be read through places at least as
    /// new as what is down (`UpDown`).
    pub(crate) fn reload(&mut self) {
        self.slabs.clear();
        self.slabs
            .extend(self.engine.shards.iter().map(|shard| (shard.slab(), shard)));
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

    /// Reads the block in every shard that has it: `read` tries once, and after too many tries the owner's copy is
    /// taken instead.
    pub(crate) fn blocks(
        &mut self,
        last: Option<u64>,
        cells: usize,
        mut read: impl FnMut(Block, &mut Vec<u64>) -> bool,
    ) {
        let Some(last) = last else { return };
        let mut scratch = self.scratch();
        for i in 0..self.slabs.len() {
            let (slab, shard) = self.slabs[i];
            if last >= slab.capacity() {
                continue;
            }
            // SAFETY: below the capacity; the epoch is pinned.
            let block = unsafe { slab.block(last) };
            if (0..TRIES).any(|_| read(block, &mut scratch)) {
                continue;
            }
            self.ask_the_owner(shard, last, (cells, false), |copy| {
                read(copy.unwrap_or(block), &mut scratch)
            });
        }
        self.give_scratch(scratch);
    }

    /// As [`blocks`](Self::blocks), for the tables whose addresses are in them. If a table is replaced before its owner
    /// answers, the copy is another's; then the table itself is still, and tried first.
    pub(crate) fn tables(
        &mut self,
        last: Option<u64>,
        mut read: impl FnMut(&Table, Block, &mut Vec<u64>) -> bool,
    ) {
        let Some(last) = last else { return };
        let mut scratch = self.scratch();
        for i in 0..self.slabs.len() {
            let (slab, shard) = self.slabs[i];
            if last >= slab.capacity() {
                continue;
            }
            // SAFETY: below the capacity; the epoch is pinned, and the slot is a native histogram's.
            let Some(table) = (unsafe { Table::published(slab.block(last)) }) else {
                continue;
            };
            let mut read = |block| read(table, block, &mut scratch);
            if (0..TRIES).any(|_| read(table.block())) {
                continue;
            }
            self.ask_the_owner(shard, last, (table.words(), true), |copy| {
                read(table.block()) || copy.is_some_and(&mut read)
            });
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

    /// Asks, and goes on trying until the owner's copy is there: one of the two soon is. Once the zero length is
    /// visible the owner ends at most one update and then answers; if it makes no update, the block is still.
    fn ask_the_owner(
        &mut self,
        shard: &Shard,
        last: u64,
        (cells, table): (usize, bool),
        mut read: impl FnMut(Option<Block>) -> bool,
    ) {
        self.engine.stats.asked.fetch_add(1, Relaxed);
        self.collector.asked += 1;
        let ticket = self.collector.asked;
        shard.ask_for_block(ticket, last, cells as u64, table);
        let mut tries = 0;
        while !read(shard.answered_block(ticket, cells)) {
            // For the owner, to end the update it is in.
            super::back_off(&mut tries);
        }
        shard.forget_question();
    }

    /// Retires a series: its handles are stale from now on. When what is returned [`is_safe`](Self::is_safe), its cells
    /// may be used again.
    pub(crate) fn retire(&mut self, place: &Place) -> Retired {
        let slot = place.retire();
        let ticket = slot.map_or(0, |_| self.collector.asked + 1);
        if let Some(slot) = slot {
            self.engine.slots.waiting(slot, 1);
        }
        self.collector.to_ask |= ticket != 0;
        self.collector.to_grace = true;
        Retired {
            slot,
            ticket,
            grace: self.collector.graces + 1,
        }
    }

    /// Whether nobody can still be updating what was retired: every thread that had a shard then has answered, and an
    /// epoch has passed since.
    pub(crate) fn is_safe(&self, retired: Retired) -> bool {
        retired.ticket <= self.collector.safe && retired.grace <= self.graced()
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
            super::pin().flush();
            #[cfg(loom)]
            self.grace(self.collector.graces);
        }
        // One request at a time: under a new one every time, none would ever be answered by all.
        if self.collector.to_ask && self.collector.safe == self.collector.requested {
            self.collector.to_ask = false;
            self.collector.asked += 1;
            self.collector.requested = self.collector.asked;
            for shard in self.engine.shards.iter_to_ask() {
                shard.ask(self.collector.requested);
            }
        }
        let requested = self.collector.requested;
        let mut shards = self.engine.shards.iter();
        if self.collector.safe < requested && shards.all(|shard| shard.is_past(requested)) {
            self.collector.safe = requested;
        }
    }

    /// Frees the slots of families that are gone; those that cannot be freed now wait for the next pass.
    fn free_abandoned(&self) {
        let mut abandoned = std::mem::take(&mut *lock(&self.engine.abandoned));
        abandoned.retain(|&(last, width, waiting, release)| {
            let done = self.clear_slot(last, width, release);
            if done && waiting {
                self.engine.slots.waiting(last, -1);
            }
            !done
        });
        lock(&self.engine.abandoned).append(&mut abandoned);
    }

    /// Notes, an epoch from now, that the cold updates of before this ticket have ended.
    fn grace(&mut self, ticket: u64) {
        let graced = Arc::clone(
            self.collector
                .graced
                .get_or_insert_with(|| Arc::new(AtomicU64::new(0))),
        );
        #[cfg(not(loom))]
        {
            let guard = super::pin();
            // Release: pairs with the Acquire in `graced`.
            guard.defer(move || graced.fetch_max(ticket, Release));
            guard.flush();
        }
        #[cfg(loom)]
        if super::epoch::are_over() {
            graced.store(ticket, Release);
        }
    }

    /// Zeroes the block `last` in every shard, handing each to `fold` first, and frees the slot. False, and nothing
    /// done, where a shard is growing now.
    ///
    /// The caller has seen [`is_safe`](Self::is_safe), or that no handle exists any more.
    pub(crate) fn clear_slot(&self, last: u64, cells: usize, mut fold: impl FnMut(Block)) -> bool {
        let shards: Vec<_> = self.engine.shards.iter().collect();
        let Some(still) = shards
            .iter()
            .map(|shard| shard.hold_still())
            .collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        for slab in still.iter().map(|still| still.slab()) {
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
        drop(still);
        self.engine.slots.free_later(last, cells as u64);
        true
    }

    /// Zeroes the block `last` in every shard, in use as it is: for the only thread of a process.
    pub(crate) fn zero(&self, last: u64, cells: usize) {
        for below in 0..cells {
            // Relaxed: no other thread is there. Were one, its count would be lost, and nothing worse.
            self.cells(Some(last), below)
                .for_each(|cell| cell.store(0, Relaxed));
        }
    }

    /// Frees the slot of a retired series; see [`clear_slot`](Self::clear_slot). That of a gauge has no cells, and stays.
    pub(crate) fn reclaim(&mut self, last: u64, cells: usize, fold: impl FnMut(Block)) -> bool {
        if cells == 0 {
            self.engine.slots.waiting(last, -1);
            return true;
        }
        let done = self.clear_slot(last, cells, fold);
        if done {
            self.engine.slots.waiting(last, -1);
            // The slot may be another series' at once. A slab that was replaced since this pass began still has the old
            // count there.
            self.reload();
        }
        done
    }
}

impl std::fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass")
            .field("shards", &self.slabs.len())
            .finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
