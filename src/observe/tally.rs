//! What only grows: one cell per thread, and a shared one until the series is hot.
//!
//! The total is the shared cell plus the slots. Each of them only grows, and the set of them only grows, so totals of
//! serialised readers never go back; the shared cell is never emptied while the series lives.

use std::fmt::Debug;

use crate::lockfree::Generation;
use crate::sync::{Acquire, AtomicF64, AtomicU64, Relaxed, Release, owner_load};

use super::memory::Block;
use super::pass::Pass;
use super::slot::SlotWord;
use super::thread::Thread;
use super::update::update_cold;
use super::{Cells, Engine, Outcome};

/// What a tally adds up: `u64` or `f64`.
pub trait Number:
    Copy + PartialOrd + Default + Debug + Send + Sync + 'static + private::Sealed
{
    #[doc(hidden)]
    const ONE: Self;
    /// The shared cell.
    #[doc(hidden)]
    type Shared: Debug + Send + Sync;
    #[doc(hidden)]
    fn shared() -> Self::Shared;
    #[doc(hidden)]
    fn add_shared(shared: &Self::Shared, n: Self);
    #[doc(hidden)]
    fn load_shared(shared: &Self::Shared) -> Self;
    #[doc(hidden)]
    fn clear_shared(shared: &Self::Shared);
    #[doc(hidden)]
    fn from_cell(bits: u64) -> Self;
    #[doc(hidden)]
    fn to_cell(self) -> u64;
    /// The sum; integers wrap, as Prometheus expects of a counter that starts over.
    #[doc(hidden)]
    fn plus(self, n: Self) -> Self;
    #[doc(hidden)]
    fn minus(self, n: Self) -> Self;
    /// Whether a counter may add it.
    #[doc(hidden)]
    fn can_add(self) -> bool;
    #[doc(hidden)]
    fn into_number(self) -> crate::snapshot::Number;
}

mod private {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for f64 {}
}

impl Number for u64 {
    const ONE: Self = 1;
    type Shared = AtomicU64;

    fn shared() -> AtomicU64 {
        AtomicU64::new(0)
    }

    #[inline]
    fn add_shared(shared: &AtomicU64, n: u64) {
        shared.fetch_add(n, Relaxed);
    }

    #[inline]
    fn load_shared(shared: &AtomicU64) -> u64 {
        shared.load(Relaxed)
    }

    fn clear_shared(shared: &AtomicU64) {
        shared.store(0, Relaxed);
    }

    #[inline(always)]
    fn from_cell(bits: u64) -> u64 {
        bits
    }

    #[inline(always)]
    fn to_cell(self) -> u64 {
        self
    }

    #[inline(always)]
    fn plus(self, n: u64) -> u64 {
        self.wrapping_add(n)
    }

    fn minus(self, n: u64) -> u64 {
        self.wrapping_sub(n)
    }

    #[inline(always)]
    fn can_add(self) -> bool {
        true
    }

    #[inline]
    fn into_number(self) -> crate::snapshot::Number {
        crate::snapshot::Number::Int(self)
    }
}

impl Number for f64 {
    const ONE: Self = 1.0;
    type Shared = AtomicF64;

    fn shared() -> AtomicF64 {
        AtomicF64::new(0.0)
    }

    #[inline]
    fn add_shared(shared: &AtomicF64, n: f64) {
        shared.fetch_add(n, Relaxed);
    }

    #[inline]
    fn load_shared(shared: &AtomicF64) -> f64 {
        shared.load(Relaxed)
    }

    fn clear_shared(shared: &AtomicF64) {
        shared.store(0.0, Relaxed);
    }

    #[inline(always)]
    fn from_cell(bits: u64) -> f64 {
        f64::from_bits(bits)
    }

    #[inline(always)]
    fn to_cell(self) -> u64 {
        self.to_bits()
    }

    #[inline(always)]
    fn plus(self, n: f64) -> f64 {
        self + n
    }

    fn minus(self, n: f64) -> f64 {
        self - n
    }

    #[inline(always)]
    fn can_add(self) -> bool {
        (0.0..f64::INFINITY).contains(&self)
    }

    #[inline]
    fn into_number(self) -> crate::snapshot::Number {
        crate::snapshot::Number::Float(self)
    }
}

/// Adds to a cell that only the calling thread writes.
///
/// Relaxed: a cell is read on its own; what must be seen together has its own orderings.
#[inline(always)]
pub(crate) fn add_own<N: Number>(cell: &AtomicU64, n: N) {
    cell.store(N::from_cell(owner_load(cell)).plus(n).to_cell(), Relaxed);
}

/// One series of a counter.
#[derive(Debug)]
pub struct Tally<N: Number> {
    slot_word: SlotWord,
    /// Updates of the shared cell so far, roughly: racing threads may count one for two.
    updates: AtomicU64,
    shared: N::Shared,
}

impl<N: Number> Tally<N> {
    /// Adds `n` where the place, as a handle sees it, is `last`; false: take the cold path.
    #[inline(always)]
    pub fn add(thread: &Thread, last: u64, n: N) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        // SAFETY: every block has a cell 0, and this thread owns it.
        add_own(unsafe { block.cell(0) }, n);
        true
    }

    /// The cold path of [`add`](Self::add).
    pub fn add_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        generation: Generation,
        n: N,
        eager: bool,
    ) -> Outcome {
        let own = |block: Block| {
            // SAFETY: as in `add`.
            add_own(unsafe { block.cell(0) }, n);
            true
        };
        let shared = || {
            N::add_shared(&self.shared, n);
            super::cells::count_update(&self.updates)
        };
        update_cold(
            (engine, thread),
            (&self.slot_word, generation),
            (1, eager),
            own,
            shared,
        )
    }
}

impl<N: Number> Cells for Tally<N> {
    type Shape = ();
    type Total = N;

    fn new((): &()) -> Self {
        Self {
            slot_word: SlotWord::new(),
            updates: AtomicU64::new(0),
            shared: N::shared(),
        }
    }

    fn slot_word(&self) -> &SlotWord {
        &self.slot_word
    }

    fn width((): &()) -> usize {
        1
    }

    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut N) {
        *total = pass
            .cells(slot, 0)
            .map(|cell| N::from_cell(cell.load(Relaxed)))
            .fold(total.plus(N::load_shared(&self.shared)), N::plus);
    }

    fn read_all<'a>(
        pass: &mut Pass<'_>,
        series: impl Iterator<Item = &'a Self> + Clone,
        totals: &mut [N],
    ) {
        for (total, series) in totals.iter_mut().zip(series.clone()) {
            *total = N::load_shared(&series.shared);
        }
        let slots = series.map(|series| series.slot_word.slot());
        let read = |cell: &AtomicU64| N::from_cell(cell.load(Relaxed));
        pass.rows(slots, |at, rows| match *rows {
            [a, b, c, d] => {
                let cells = a.iter().zip(b).zip(c).zip(d);
                for (total, (((a, b), c), d)) in totals[at..].iter_mut().zip(cells) {
                    // In the order of the shards: floats add up to the same however many are read together.
                    *total = total
                        .plus(read(a))
                        .plus(read(b))
                        .plus(read(c))
                        .plus(read(d));
                }
            }
            _ => {
                for row in rows {
                    for (total, cell) in totals[at..].iter_mut().zip(*row) {
                        *total = total.plus(read(cell));
                    }
                }
            }
        });
    }

    fn fold(&self, block: Block) {
        // SAFETY: every block has a cell 0.
        let n = N::from_cell(unsafe { block.cell(0) }.load(Relaxed));
        N::add_shared(&self.shared, n);
    }

    fn fold_shared(&self, other: &Self) {
        N::add_shared(&self.shared, N::load_shared(&other.shared));
    }

    fn clear(&self, (): &()) {
        N::clear_shared(&self.shared);
        self.updates.store(0, Relaxed);
    }
}

/// One series of what goes up and comes down again: two cells that only grow.
///
/// A reader adds up every down first, then finds the shards, the slot and the slabs anew, then adds up every up: a
/// down that is seen carries everything before it, so also the up it answers and the place where that was counted.
/// So the difference is never below what the program made it, as long as ups and downs are ordered by the program. It is
/// above by what went up while the reader was on its way; so the reader looks again if something came down meanwhile.
#[derive(Debug)]
pub struct UpDown {
    slot_word: SlotWord,
    updates: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

impl UpDown {
    /// Adds `n` to the ups.
    #[inline(always)]
    pub fn up(thread: &Thread, last: u64, n: u64) -> bool {
        Tally::<u64>::add(thread, last, n)
    }

    /// Adds `n` to the downs.
    #[inline(always)]
    pub fn down(thread: &Thread, last: u64, n: u64) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        // SAFETY: the block has two cells, and this thread owns it.
        Self::count_down(unsafe { block.cell(1) }, n);
        true
    }

    #[inline(always)]
    fn count_down(cell: &AtomicU64, n: u64) {
        // Release: pairs with the Acquire in `read`; it carries the up that this down answers.
        cell.store(owner_load(cell).wrapping_add(n), Release);
    }

    /// Cells that are shared, for what can be in a static.
    #[cfg(all(feature = "process", not(loom)))]
    pub(super) const fn cold() -> Self {
        Self {
            slot_word: SlotWord::new(),
            updates: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        }
    }

    /// Adds to the shared cells.
    #[inline]
    pub(super) fn add_shared(&self, up: u64, down: u64) {
        self.up.fetch_add(up, Relaxed);
        // Release: as in `count_down`.
        self.down.fetch_add(down, Release);
    }

    /// The ups in the shared cells; after every down was read.
    pub(super) fn shared_ups(&self) -> u64 {
        self.up.load(Relaxed)
    }

    /// The downs in the shared cells. Acquire: pairs with the Release of every down.
    pub(super) fn shared_downs(&self) -> u64 {
        self.down.load(Acquire)
    }

    /// The cold path of both.
    pub fn add_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        generation: Generation,
        up: u64,
        down: u64,
        eager: bool,
    ) -> Outcome {
        let own = |block: Block| {
            // SAFETY: as in `up` and `down`.
            unsafe {
                add_own(block.cell(0), up);
                Self::count_down(block.cell(1), down);
            }
            true
        };
        let shared = || {
            self.add_shared(up, down);
            super::cells::count_update(&self.updates)
        };
        update_cold(
            (engine, thread),
            (&self.slot_word, generation),
            (2, eager),
            own,
            shared,
        )
    }
}

/// Looks at a series that goes up and down all the while; the least difference is the nearest.
const TRIES: u32 = if cfg!(loom) { 1 } else { 8 };

impl UpDown {
    fn downs(&self, pass: &Pass<'_>, slot: Option<u64>) -> u64 {
        // Acquire: pairs with the Release of every down.
        pass.cells(slot, 1)
            .map(|cell| cell.load(Acquire))
            .fold(self.shared_downs(), u64::wrapping_add)
    }
}

impl Cells for UpDown {
    type Shape = ();
    type Total = i64;

    fn new((): &()) -> Self {
        Self {
            slot_word: SlotWord::new(),
            updates: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        }
    }

    fn slot_word(&self) -> &SlotWord {
        &self.slot_word
    }

    fn width((): &()) -> usize {
        2
    }

    fn read(&self, pass: &mut Pass<'_>, mut slot: Option<u64>, total: &mut i64) {
        let mut least = i64::MAX;
        for _ in 0..TRIES {
            let downs = self.downs(pass, slot);
            pass.reload();
            slot = slot.or_else(|| self.slot_word.slot());
            let ups = pass
                .cells(slot, 0)
                .map(|cell| cell.load(Relaxed))
                .fold(self.shared_ups(), u64::wrapping_add);
            least = least.min(ups.wrapping_sub(downs) as i64);
            // What went up and down again meanwhile was counted as up only.
            if self.downs(pass, slot) == downs {
                break;
            }
        }
        *total = total.wrapping_add(least);
    }

    fn fold(&self, block: Block) {
        // SAFETY: the block has two cells.
        let (up, down) = unsafe { (block.cell(0).load(Relaxed), block.cell(1).load(Relaxed)) };
        self.up.fetch_add(up, Relaxed);
        self.down.fetch_add(down, Relaxed);
    }

    fn fold_shared(&self, other: &Self) {
        self.up.fetch_add(other.up.load(Relaxed), Relaxed);
        self.down.fetch_add(other.down.load(Relaxed), Relaxed);
    }

    fn clear(&self, (): &()) {
        self.up.store(0, Relaxed);
        self.down.store(0, Relaxed);
        self.updates.store(0, Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// What came down in a new slot was left out of all tries of a read that had begun without it.
    #[test]
    fn a_series_that_is_hot_since_a_read_began_is_read_whole() {
        let engine = Engine::new();
        let thread = Thread::new();
        let in_flight = UpDown::new(&());
        crate::observe::promote(&engine, in_flight.slot_word(), Generation::FIRST, 2);
        for (up, down) in [(3, 0), (0, 3)] {
            in_flight.add_cold(&engine, &thread, Generation::FIRST, up, down, false);
        }
        let mut total = 0;
        in_flight.read(&mut engine.pass(), None, &mut total);
        assert_eq!(total, 0);
    }
}
