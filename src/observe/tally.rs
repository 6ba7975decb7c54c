//! The cells of counters and of up-down counters: one or two per thread, and cold ones for a cold
//! series.
//!
//! # Counters
//!
//! The total of a [`Tally`] is its cold cell plus its cell in every shard.
//!
//! - C1: The block of a slot has one cell (two for an [`UpDown`]), and only the owner of the shard
//!   writes it (invariant I1 of [`shard`](super::shard)).
//! - C2: Each cell only grows, and cells are only added to the total. The cold cell is not
//!   cleared while the series lives. Passes are serialised, so totals never go back.
//! - C5: The total of floats is rounded once, after all cells are added, and a move between cells
//!   never lowers their exact sum. So C2 holds for the rounded total, too.
//!
//! # Up-down counters
//!
//! An [`UpDown`] has a cell for increments and a cell for decrements. The difference must never be
//! below the value that the program gave it, although increment and decrement may be in cells of
//! different threads.
//!
//! - C3: A decrement is a Release store or add, which carries the matching increment, the slot
//!   word, the slab and the shard in which it was counted.
//! - C4: A reader loads all decrements first (Acquire), then loads the shards, the slot and the
//!   slabs again, and then all increments.
//!
//! An update that runs during a read is in one of these cases:
//!
//! - The reader sees the decrement. By C3 it also sees the increment, and by C4 the cell of the
//!   increment is one that it reads.
//! - The reader sees the increment only, because it read the decrements earlier. The difference is
//!   too high. The reader therefore loads the decrements once more. If they have changed it repeats
//!   the read, [`MAX_READS`] times at most, and takes the lowest difference.
//!
//! This holds if the program orders increments before their decrements.

use std::convert::Infallible;
use std::fmt::Debug;
use std::marker::PhantomData;

use crate::lockfree::Generation;
use crate::mapped::Move;
use crate::snapshot::{self, FloatSum};
use crate::sync::{Acquire, AtomicU64, Relaxed, Release, owner_load};

use super::cells::SeriesWords;
use super::memory::Block;
use super::pass::Pass;
use super::thread::Thread;
use super::update::{Update, lock_if_cold};
use super::{Cells, Engine, Outcome};

/// The number type of a tally: `u64` or `f64`.
pub trait Number:
    Copy + PartialOrd + Default + Debug + Send + Sync + 'static + private::Sealed
{
    #[doc(hidden)]
    const ONE: Self;
    #[doc(hidden)]
    fn from_cell(bits: u64) -> Self;
    #[doc(hidden)]
    fn to_cell(self) -> u64;
    /// The sum of many numbers.
    #[doc(hidden)]
    type Sum: From<Self> + Clone + Default + Debug + Send + Sync;
    /// Adds two numbers. Integers wrap, which Prometheus treats as a counter reset.
    #[doc(hidden)]
    fn plus(self, n: Self) -> Self;
    /// Adds two numbers for a move between cells. The result is never below the exact sum (C5).
    #[doc(hidden)]
    fn plus_moved(self, n: Self) -> Self {
        self.plus(n)
    }
    /// Adds numbers to a sum.
    #[doc(hidden)]
    fn add_to<const NUMBERS: usize>(sum: &mut Self::Sum, numbers: [Self; NUMBERS]);
    /// Returns a sum, rounded once.
    #[doc(hidden)]
    fn rounded(sum: &Self::Sum) -> Self;
    #[doc(hidden)]
    fn minus(self, n: Self) -> Self;
    /// Returns whether a counter may add this number.
    #[doc(hidden)]
    fn can_add(self) -> bool;
    /// The same in fewer instructions. Returns `false` for -0, too, which a counter may add.
    #[doc(hidden)]
    #[inline(always)]
    fn can_add_hot(self) -> bool {
        self.can_add()
    }
    #[doc(hidden)]
    fn into_number(self) -> crate::snapshot::Number;
}

mod private {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for f64 {}
}

impl Number for u64 {
    type Sum = u64;

    const ONE: Self = 1;

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

    #[inline(always)]
    fn add_to<const NUMBERS: usize>(sum: &mut u64, numbers: [u64; NUMBERS]) {
        *sum = numbers.into_iter().fold(*sum, u64::wrapping_add);
    }

    #[inline(always)]
    fn rounded(sum: &u64) -> u64 {
        *sum
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
    type Sum = FloatSum;

    const ONE: Self = 1.0;

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

    fn plus_moved(self, n: f64) -> f64 {
        snapshot::sum_up(self, n)
    }

    #[inline(always)]
    fn add_to<const NUMBERS: usize>(sum: &mut FloatSum, numbers: [f64; NUMBERS]) {
        sum.add_all(numbers);
    }

    #[inline]
    fn rounded(sum: &FloatSum) -> f64 {
        sum.value()
    }

    fn minus(self, n: f64) -> f64 {
        self - n
    }

    #[inline(always)]
    fn can_add(self) -> bool {
        (0.0..f64::INFINITY).contains(&self)
    }

    #[inline(always)]
    fn can_add_hot(self) -> bool {
        // The bits of negative numbers and NaN are above those of infinity.
        self.to_bits() < f64::INFINITY.to_bits()
    }

    #[inline]
    fn into_number(self) -> crate::snapshot::Number {
        crate::snapshot::Number::Float(self)
    }
}

/// The same as `f64::is_finite` in fewer instructions.
#[inline(always)]
pub fn is_finite(value: f64) -> bool {
    // Without the sign. One comparison of integers.
    value.to_bits() << 1 < f64::INFINITY.to_bits() << 1
}

/// Adds to a cell that only the calling thread writes.
///
/// Relaxed: no other memory belongs to a counter's cell.
#[inline(always)]
pub(crate) fn add_own<N: Number>(cell: &AtomicU64, n: N) {
    cell.store(N::from_cell(owner_load(cell)).plus(n).to_cell(), Relaxed);
}

/// Moves numbers to cold cells, each from a cell that no thread writes any more.
///
/// Relaxed, as in all folds: the lock carries the stores to cold updates, and passes, which are
/// serialised, are the only readers without the lock.
fn take<N: Number>(cells: &[(&AtomicU64, &AtomicU64)]) {
    let mut moved = Move::new();
    for (to, from) in cells {
        let n = N::from_cell(from.load(Relaxed));
        moved.set(to, N::from_cell(owner_load(to)).plus_moved(n).to_cell());
        moved.set(from, N::default().to_cell());
    }
    moved.commit();
}

/// The cells of one series of a counter.
#[repr(C)]
pub struct Tally<N: Number> {
    series: SeriesWords,
    /// The cold cell: the bits of a number. Written under the lock, by cold updates and folds;
    /// read by passes.
    cold: AtomicU64,
    number: PhantomData<N>,
}

impl<N: Number> Tally<N> {
    /// Returns the number in the cold cell.
    fn cold(&self) -> N {
        N::from_cell(self.cold.load(Relaxed))
    }

    /// Adds `n` to the cell that ends at `last`, which is the slot word minus the generation.
    /// Returns `false` if the caller has to take the cold path.
    #[inline(always)]
    pub fn add(thread: &Thread, last: u64, n: N) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        // SAFETY: C1; the calling thread owns the block.
        add_own(unsafe { block.cell(0) }, n);
        true
    }

    /// Adds `n` to the cold cell, in the common case of a cold series. Returns `false` if the
    /// caller has to take the [slow path](Self::add_cold).
    ///
    /// `last` is what [`SlotWord::last`](super::SlotWord::last) returned. `is_hot` tells whether
    /// the family is declared hot.
    #[inline(always)]
    pub fn add_if_cold(
        &self,
        engine: &Engine,
        (last, generation): (u64, Generation),
        n: N,
        is_hot: impl FnOnce() -> bool,
    ) -> bool {
        let SeriesWords { slot_word, lock } = &self.series;
        let Some(held) = lock_if_cold(engine, last, (lock, generation)) else {
            return false;
        };
        add_own(&self.cold, n);
        held.count(engine, (slot_word, 1), is_hot);
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
        let mut own = |block: Block| {
            // SAFETY: C1; `run` passes a block that the calling thread owns.
            add_own(unsafe { block.cell(0) }, n);
            true
        };
        let update = Update::new(self, (engine, thread), generation, 1, eager);
        update.run(&mut own, &mut || {
            update.count_cold(|| add_own(&self.cold, n))
        })
    }
}

impl<N: Number> Cells for Tally<N> {
    type Shape = ();
    type Total = N::Sum;

    fn new((): &()) -> Self {
        Self {
            series: SeriesWords::new(),
            cold: AtomicU64::new(0),
            number: PhantomData,
        }
    }

    fn series_words(&self) -> &SeriesWords {
        &self.series
    }

    fn width((): &()) -> usize {
        1
    }

    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut N::Sum) {
        N::add_to(total, [pass.cold(self.cold())]);
        for cell in pass.cells(slot, 0) {
            N::add_to(total, [N::from_cell(cell.load(Relaxed))]);
        }
    }

    fn read_all<'a>(
        pass: &mut Pass<'_>,
        series: impl Iterator<Item = &'a Self> + Clone,
        totals: &mut [N::Sum],
    ) {
        for (total, series) in totals.iter_mut().zip(series.clone()) {
            *total = pass.cold(series.cold()).into();
        }
        let slots = series.map(|series| series.slot_word().slot());
        let read = |cell: &AtomicU64| N::from_cell(cell.load(Relaxed));
        pass.rows(slots, |first, rows| match *rows {
            [a, b, c, d] => {
                let cells = a.iter().zip(b).zip(c).zip(d);
                for (total, (((a, b), c), d)) in totals[first..].iter_mut().zip(cells) {
                    N::add_to(total, [read(a), read(b), read(c), read(d)]);
                }
            }
            _ => {
                for row in rows {
                    for (total, cell) in totals[first..].iter_mut().zip(*row) {
                        N::add_to(total, [read(cell)]);
                    }
                }
            }
        });
    }

    fn fold(&self, (): &(), block: Block) -> bool {
        // SAFETY: C1; the block has one cell.
        take::<N>(&[(&self.cold, unsafe { block.cell(0) })]);
        true
    }

    fn fold_cold(&self, (): &(), other: &Self) -> bool {
        take::<N>(&[(&self.cold, &other.cold)]);
        true
    }

    fn clear(&self, (): &()) {
        self.cold.store(N::default().to_cell(), Relaxed);
    }
}

/// The cells of one series of an up-down counter: increments and decrements, which only grow. See
/// the module's text.
#[repr(C)]
pub struct UpDown {
    series: SeriesWords,
    /// The cold cell of increments. Written under the lock, by cold updates and folds; read by
    /// passes.
    up: AtomicU64,
    /// The cold cell of decrements. Written and read like `up`.
    down: AtomicU64,
}

impl UpDown {
    /// Adds to the cells of increments and of decrements, which only the calling thread writes.
    fn count([up, down]: [&AtomicU64; 2], more: u64, less: u64) {
        add_own(up, more);
        Self::count_down(down, less);
    }

    /// Adds `n` to the increments. Returns `false` if the caller has to take the cold path.
    #[inline(always)]
    pub fn up(thread: &Thread, last: u64, n: u64) -> bool {
        Tally::<u64>::add(thread, last, n)
    }

    /// Adds `n` to the decrements. Returns `false` if the caller has to take the cold path.
    #[inline(always)]
    pub fn down(thread: &Thread, last: u64, n: u64) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        // SAFETY: C1; the calling thread owns the block.
        Self::count_down(unsafe { block.cell(1) }, n);
        true
    }

    #[inline(always)]
    fn count_down(cell: &AtomicU64, n: u64) {
        // Release: pairs with the Acquire in `downs`. It carries the matching increment (C3).
        cell.store(owner_load(cell).wrapping_add(n), Release);
    }

    /// The cold path of [`up`](Self::up) and [`down`](Self::down).
    pub fn add_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        generation: Generation,
        up: u64,
        down: u64,
        eager: bool,
    ) -> Outcome {
        let SeriesWords { slot_word, lock } = &self.series;
        let last = slot_word.last(generation);
        let cold = (!eager).then(|| lock_if_cold(engine, last, (lock, generation)));
        if let Some(held) = cold.flatten() {
            Self::count([&self.up, &self.down], up, down);
            held.count(engine, (slot_word, 2), || false);
            return Outcome::Done;
        }
        let mut own = |block: Block| {
            // SAFETY: C1; `run` passes a block that the calling thread owns.
            Self::count(unsafe { [block.cell(0), block.cell(1)] }, up, down);
            true
        };
        let update = Update::new(self, (engine, thread), generation, 2, eager);
        update.run(&mut own, &mut || {
            update.count_cold(|| Self::count([&self.up, &self.down], up, down))
        })
    }
}

/// The maximum number of reads of an up-down counter whose decrements change during the read. The
/// lowest difference is the best one.
const MAX_READS: u32 = if cfg!(loom) { 1 } else { 8 };

/// The cells of an up-down counter: those of this process, or of another one in its file.
pub trait UpDownCells {
    /// Why the cells cannot be found.
    type Error;
    /// Adds up the decrements, which it loads with Acquire (C3).
    fn downs(&self) -> u64;
    /// Loads the shards, the slot and the slabs again.
    fn look_again(&mut self) -> Result<(), Self::Error>;
    /// Adds up the increments.
    fn ups(&self) -> u64;
}

/// Returns increments minus decrements (C4).
#[inline(always)]
pub fn difference<C: UpDownCells>(cells: &mut C) -> Result<i64, C::Error> {
    let mut least = i64::MAX;
    for _ in 0..MAX_READS {
        let downs = cells.downs();
        cells.look_again()?;
        let ups = cells.ups();
        least = least.min(ups.wrapping_sub(downs) as i64);
        // A change means that this read may have counted an increment without its decrement. On a
        // machine that reorders loads it may miss that, and the difference is too high this once.
        if cells.downs() == downs {
            break;
        }
    }
    Ok(least)
}

/// The cells of a counter of this process, in a pass.
struct UpDownInPass<'a, 'e> {
    counter: &'a UpDown,
    pass: &'a mut Pass<'e>,
    slot: Option<u64>,
}

impl UpDownCells for UpDownInPass<'_, '_> {
    type Error = Infallible;

    fn downs(&self) -> u64 {
        let (counter, pass) = (self.counter, &*self.pass);
        // Acquire: pairs with the Release in `count_down` (C3).
        pass.cells(self.slot, 1)
            .map(|cell| cell.load(Acquire))
            .fold(pass.cold(counter.down.load(Acquire)), u64::wrapping_add)
    }

    fn look_again(&mut self) -> Result<(), Infallible> {
        self.pass.reload();
        self.slot = self.slot.or_else(|| self.counter.slot_word().slot());
        Ok(())
    }

    fn ups(&self) -> u64 {
        let (counter, pass) = (self.counter, &*self.pass);
        pass.cells(self.slot, 0)
            .map(|cell| cell.load(Relaxed))
            .fold(pass.cold(counter.up.load(Relaxed)), u64::wrapping_add)
    }
}

impl Cells for UpDown {
    type Shape = ();
    type Total = i64;

    fn new((): &()) -> Self {
        Self {
            series: SeriesWords::new(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        }
    }

    fn series_words(&self) -> &SeriesWords {
        &self.series
    }

    fn width((): &()) -> usize {
        2
    }

    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut i64) {
        let mut cells = UpDownInPass {
            counter: self,
            pass,
            slot,
        };
        let Ok(difference) = difference(&mut cells);
        *total = total.wrapping_add(difference);
    }

    fn fold(&self, (): &(), block: Block) -> bool {
        // SAFETY: C1; the block has two cells.
        let [up, down] = unsafe { [block.cell(0), block.cell(1)] };
        take::<u64>(&[(&self.up, up), (&self.down, down)]);
        true
    }

    fn fold_cold(&self, (): &(), other: &Self) -> bool {
        take::<u64>(&[(&self.up, &other.up), (&self.down, &other.down)]);
        true
    }

    fn clear(&self, (): &()) {
        self.up.store(0, Relaxed);
        self.down.store(0, Relaxed);
    }
}

/// Increments and decrements that any thread may count, without a series: those of a thread that
/// allocates and has no cells yet.
#[cfg(any(feature = "process", loom))]
pub(super) struct ColdUpDown {
    up: AtomicU64,
    down: AtomicU64,
}

#[cfg(any(feature = "process", loom))]
impl ColdUpDown {
    crate::sync::const_fn! {
        pub(super) fn new() -> Self {
            Self { up: AtomicU64::new(0), down: AtomicU64::new(0) }
        }
    }

    #[inline]
    pub(super) fn up(&self, n: u64) {
        self.up.fetch_add(n, Relaxed);
    }

    #[inline]
    pub(super) fn down(&self, n: u64) {
        // Release: pairs with the Acquire in `downs`. It carries the matching increment (C3).
        self.down.fetch_add(n, Release);
    }

    /// Returns the increments. The caller has read all decrements before (C4).
    pub(super) fn ups(&self) -> u64 {
        self.up.load(Relaxed)
    }

    /// Returns the decrements.
    pub(super) fn downs(&self) -> u64 {
        // Acquire: pairs with the Release in `down` (C3).
        self.down.load(Acquire)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Regression: if a series was promoted after a read had begun, all tries of that read missed
    /// the decrements in the new slot.
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
