//! The reading side: one pass over the shards, and the requests that make slots free again.
//!
//! Passes are serialised: a [`Pass`] borrows the engine's only [`Collector`]. It pins the epoch once, loads every
//! slab pointer once, and adds up cells; it takes no lock that an update ever takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sync::{Acquire, AtomicU64, Relaxed, Release};

use super::Engine;
use super::memory::{Block, SlabRef};
use super::shard::Shard;
use super::slot::Place;

/// Tries before a reader asks the owner for a copy.
const TRIES: u32 = 64;

/// What only one pass at a time may do: ask owners, and give slots out anew.
#[derive(Debug)]
pub(crate) struct Collector {
    /// The ticket of the last request, for a safe point or for a copy.
    asked: u64,
    /// The ticket of the last request for a safe point.
    requested: u64,
    /// Whether something was retired since.
    pending: bool,
    /// Every shard has answered this ticket, and an epoch has passed since.
    safe: u64,
    /// The last ticket whose cold updates have ended, because an epoch has passed. Made with the first one.
    graced: Option<Arc<AtomicU64>>,
    /// Reused by every pass.
    scratch: Vec<u64>,
}

impl Collector {
    pub(crate) const fn new() -> Self {
        Self {
            asked: 0,
            requested: 0,
            pending: false,
            safe: 0,
            graced: None,
            scratch: Vec::new(),
        }
    }
}

/// A pass over all shards. See the module's text.
pub struct Pass<'e> {
    engine: &'e Engine,
    collector: MutexGuard<'e, Collector>,
    slabs: Vec<(SlabRef, &'e Shard)>,
    #[cfg(not(loom))]
    _pinned: crossbeam_epoch::Guard,
}

impl<'e> Pass<'e> {
    /// Waits for the pass that is running, then begins one.
    pub(crate) fn begin(engine: &'e Engine) -> Self {
        let mut pass = Self {
            engine,
            collector: lock(&engine.collector),
            slabs: Vec::new(),
            #[cfg(not(loom))]
            _pinned: crossbeam_epoch::pin(),
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
            self.ask_the_owner(shard, last, cells, |copy| {
                read(copy.unwrap_or(block), &mut scratch)
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
        cells: usize,
        mut read: impl FnMut(Option<Block>) -> bool,
    ) {
        self.engine.stats.asked.fetch_add(1, Relaxed);
        self.collector.asked += 1;
        let ticket = self.collector.asked;
        shard.ask_for_block(ticket, last, cells as u64);
        let mut tries = 0;
        while !read(shard.answered_block(ticket, cells)) {
            // For the owner, to end the update it is in.
            super::back_off(&mut tries);
        }
        shard.forget_question();
    }

    /// Retires a series: its handles are stale from now on. Returns the ticket after which its block and its slot may
    /// be used again (see [`is_safe`](Self::is_safe)), and the slot.
    pub(crate) fn retire(&mut self, place: &Place) -> (u64, Option<u64>) {
        let slot = place.retire();
        if slot.is_some() {
            self.engine.slots.waiting(1);
        }
        self.collector.pending = true;
        (self.collector.asked + 1, slot)
    }

    /// Whether nobody can still be updating what was retired with this ticket.
    pub(crate) fn is_safe(&self, ticket: u64) -> bool {
        ticket <= self.collector.safe
    }

    /// Sends what was retired since the last pass as one request, and looks who has answered.
    fn advance(&mut self) {
        // One request at a time: under a new one every time, none would ever be answered by all.
        if self.collector.pending && self.collector.safe == self.collector.requested {
            self.collector.pending = false;
            self.collector.asked += 1;
            self.collector.requested = self.collector.asked;
            let ticket = self.collector.asked;
            for shard in self.engine.shards.iter_to_ask() {
                shard.ask(ticket);
            }
            self.grace(ticket);
        }
        let requested = self.collector.requested;
        // Acquire: pairs with the Release in `grace`; who pinned before has unpinned.
        let graced = self
            .collector
            .graced
            .as_ref()
            .map_or(0, |graced| graced.load(Acquire));
        if self.collector.safe < requested && graced >= requested {
            let all = self
                .engine
                .shards
                .iter()
                .all(|shard| shard.is_past(requested));
            if all {
                self.collector.safe = requested;
            }
        }
    }

    /// Frees the slots of families that are gone; those that cannot be freed now wait for the next pass.
    fn free_abandoned(&self) {
        let mut abandoned = std::mem::take(&mut *lock(&self.engine.abandoned));
        abandoned.retain(|&(last, width, waiting)| {
            let done = self.clear_slot(last, width, |_| {});
            if done && waiting {
                self.engine.slots.waiting(-1);
            }
            !done
        });
        self.engine.abandon(abandoned.into_iter());
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
            let guard = crossbeam_epoch::pin();
            // Release: pairs with the Acquire in `advance`.
            guard.defer(move || graced.fetch_max(ticket, Release));
            guard.flush();
        }
        #[cfg(loom)]
        graced.store(ticket, Release);
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
        self.engine.slots.free(last, cells as u64);
        true
    }

    /// Frees the slot of a retired series; see [`clear_slot`](Self::clear_slot).
    pub(crate) fn reclaim(&mut self, last: u64, cells: usize, fold: impl FnMut(Block)) -> bool {
        let done = self.clear_slot(last, cells, fold);
        if done {
            self.engine.slots.waiting(-1);
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
