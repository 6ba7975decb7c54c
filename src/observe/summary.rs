//! The cells of a summary: the address of a stream per thread, and one stream that threads share
//! while the series is cold.
//!
//! # Invariants
//!
//! - D1: The block of a slot is one cell: 0, or the address of the thread's [`Stream`]. Only the
//!   owner of the shard writes it (invariant I1 of [`shard`](super::shard)), when it allocates the
//!   stream on its first observation (Release). A reader that loads the address (Acquire) sees the
//!   stream complete.
//! - D2: Only a pass frees a stream, after every owner has acknowledged or is gone. Passes are
//!   serialised, so no other reader has it.
//! - D3: The cold stream has one writer at a time: the thread that holds the lock (invariant U1 of
//!   [`cold_lock`](super::cold_lock)). Readers never take the lock. The cold stream lives as long
//!   as its series.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::lockfree::Generation;
use crate::mapped::{Move, Own, Place, Words, owned, region, take};
use crate::snapshot::FloatSum;
use crate::snapshot::sketch::{Bound, Scratch, Sketch, Targets};
use crate::sync::{Acquire, AtomicU64, Relaxed, Release, owner_load};

use super::address::{publish, value_at};
use super::cells::{Cells, MoveBlock, Outcome, SeriesWords};
use super::engine::Engine;
use super::memory::Block;
use super::pass::Pass;
use super::stream::{Flush, Stream, StreamBudget, SummaryTotal};
use super::thread::Thread;
use super::update::Update;
use super::window::{AgeSketch, Ages, Window, decode, encode, encoded_len};

/// The properties that all series of a summary share.
pub struct SummaryShape {
    /// The objectives.
    pub objectives: Targets,
    /// The maximum width of the sketch's tuples for these objectives. `None` without objectives.
    bound: Option<Bound>,
    /// The time that quantiles cover. `None` if they cover all observations.
    window: Option<Window>,
    /// The memory that all streams together may use.
    budget: Arc<StreamBudget>,
}

impl SummaryShape {
    /// Creates a shape, and computes its bound, which takes about 100 µs.
    #[must_use]
    pub(crate) fn new(
        objectives: Targets,
        window: Option<Window>,
        budget: &Arc<StreamBudget>,
    ) -> Arc<Self> {
        let bound = (!objectives.is_empty()).then(|| Bound::new(&objectives));
        Arc::new(Self {
            window: window.filter(|_| bound.is_some()),
            bound,
            objectives,
            budget: Arc::clone(budget),
        })
    }

    /// Returns the ages that the window holds now. Reads the clock only if there is a window.
    fn now(&self) -> Ages {
        match (&self.bound, &self.window) {
            (None, _) => Ages::NONE,
            (_, None) => Ages::ALL,
            (_, Some(window)) => window.now(),
        }
    }

    /// Returns the window as other processes read it: when age 1 began, the length of an age, and
    /// the number of ages. Zeroes without a window.
    #[cfg(not(loom))]
    pub(crate) fn window_in_file(&self) -> [u64; 3] {
        self.window.as_ref().map_or([0; 3], Window::in_file)
    }

    /// Creates a stream.
    fn stream(&self, place: Place) -> Own<Stream> {
        let ages = self.window.as_ref().map_or(1, Window::ages);
        Own::new(Stream::new(&self.budget, self.now(), ages, place), place)
    }

    /// Flushes a stream that the caller writes, with the calling thread's buffers.
    fn flush(&self, stream: &Stream) {
        with_flush(|flush: &mut Flush| {
            stream.flush(self.bound.as_ref(), self.now(), flush);
        });
    }
}

/// The cells of one series of a summary. Other processes may read it in a file.
#[repr(C)]
pub struct Distribution {
    series: SeriesWords,
    /// The properties of the summary. Never changes.
    shape: Arc<SummaryShape>,
    /// The address of the cold [`Stream`], or 0. Created by its first writer and removed by passes,
    /// both under the lock; read by passes.
    cold: AtomicU64,
    /// The address of what was folded, or 0: the number of words that follow, count, sum, and
    /// sketches as [`window::encode`](encode) writes them. Replaced and read by passes only.
    folded: AtomicU64,
}

/// The words before the sketches of what was folded.
const FOLDED_HEAD: usize = 3;

impl Distribution {
    /// Appends `value` to this thread's buffer. Returns `false` if the buffer is full or there is
    /// no stream: the caller has to take the cold path.
    #[inline(always)]
    pub fn observe(thread: &Thread, last: u64, value: f64) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        // SAFETY: D1 and D2; this thread owns the block, and so the stream.
        unsafe { stream(block) }.is_some_and(|stream| stream.push(value))
    }

    /// The cold path of [`observe`](Self::observe): registers the thread, creates streams, and
    /// flushes full buffers into sketches.
    ///
    /// `eager` promotes the series now, not after many updates.
    pub fn observe_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        generation: Generation,
        value: f64,
        eager: bool,
    ) -> Outcome {
        let mut own = |block| {
            // SAFETY: D1 and D2; `run` passes a block that this thread owns.
            let stream = unsafe { self.own_stream(block) };
            // `None` if the budget is used up. The observation then goes to the cold stream.
            stream.map(|stream| self.insert(stream, value)).is_some()
        };
        let mut update = Update::new(self, (engine, thread), generation, 1, eager);
        update.slot_helps = self.shape.budget.allows_streams();
        // If there is no slot or no shard for the series, this thread waits for the other writer's
        // push, at worst for its flush, but never for a reader.
        update.run(&mut own, &mut || {
            update.count_cold(|| self.insert(self.cold_or_new(), value))
        })
    }

    /// Returns the stream of a slot. Creates it if there is none and the budget allows one.
    ///
    /// # Safety
    ///
    /// As for [`stream`], and the caller owns the block.
    unsafe fn own_stream<'a>(&self, block: Block) -> Option<&'a Stream> {
        // SAFETY: the caller's contract.
        unsafe { stream(block) }.or_else(|| {
            let place = block.place_of_content();
            let fresh = (self.shape.budget.allows_streams())
                .then(|| self.shape.stream(place))
                // If the region is full, the observation goes to the cold stream, unless the block
                // is on the heap, too.
                .filter(|fresh| fresh.place() == place || block.place() == Place::Heap)?;
            // SAFETY: D1; this thread owns the block.
            unsafe {
                publish(block.cell(0), fresh);
                stream(block)
            }
        })
    }

    /// Appends a value, after a flush if the buffer is full.
    fn insert(&self, stream: &Stream, value: f64) {
        stream.insert(value, || self.shape.flush(stream));
    }
}

/// Returns the stream of a slot, if there is one.
///
/// # Safety
///
/// The block belongs to a summary, and its stream is not freed while the result is used.
#[inline(always)]
unsafe fn stream<'a>(block: Block) -> Option<&'a Stream> {
    // SAFETY: D1; the block has one cell: 0, or the address of a stream that the caller's contract
    // keeps alive.
    unsafe { value_at(owner_load(block.cell(0))) }
}

/// Moves the stream of a slot to the mapped file.
///
/// # Safety
///
/// As for [`stream`], and the caller owns the block.
unsafe fn move_block(block: Block) {
    // SAFETY: the caller's contract.
    let Some(old) = (unsafe { stream(block) }) else {
        return;
    };
    if region::contains(std::ptr::from_ref(old).cast()) {
        return;
    }
    let fresh = Own::new(old.copy(Place::Region), Place::Region);
    // SAFETY: D1; this thread owns the block. A reader that pins from now on cannot reach the old
    // stream.
    unsafe { publish(block.cell(0), fresh) };
}

impl Cells for Distribution {
    type Shape = Arc<SummaryShape>;
    type Total = SummaryTotal;

    fn new(shape: &Arc<SummaryShape>) -> Self {
        Self {
            series: SeriesWords::new(),
            shape: Arc::clone(shape),
            cold: AtomicU64::new(0),
            folded: AtomicU64::new(0),
        }
    }

    fn reset(total: &mut SummaryTotal) {
        total.count = 0;
        total.sum = FloatSum::default();
        total.sketches.clear();
    }

    fn series_words(&self) -> &SeriesWords {
        &self.series
    }

    fn width(_: &Arc<SummaryShape>) -> usize {
        1
    }

    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut SummaryTotal) {
        let now = self.shape.now();
        if pass.cold(true) {
            self.add_folded(now, total);
        }
        for cell in pass.cells(slot, 0) {
            // Acquire: pairs with the Release in `publish`. The stream is complete (D1).
            // SAFETY: D2; 0, or a stream that only a later pass frees.
            if let Some(stream) = unsafe { value_at(cell.load(Acquire)) } {
                read_whole(stream, now, total);
            }
        }
        if let Some(cold) = pass.cold(self.cold_stream()) {
            read_whole(cold, now, total);
        }
    }

    fn fold(&self, _: &Arc<SummaryShape>, block: Block) -> bool {
        // SAFETY: D1 and D2; every owner has acknowledged or is gone, so no thread writes the
        // stream.
        let Some(stream) = (unsafe { stream(block) }) else {
            return true;
        };
        // SAFETY: D1; the block has one cell.
        let cell = unsafe { block.cell(0) };
        let folded = self.fold_words(&[cell], |total| read_whole(stream, self.shape.now(), total));
        if folded {
            // SAFETY: no owner and no other reader has it (D2).
            unsafe { take(owned(stream)) };
        }
        folded
    }

    fn block_to_file(_: &Arc<SummaryShape>) -> Option<MoveBlock> {
        Some(move_block)
    }

    fn after_fork(&self, shape: &Arc<SummaryShape>) {
        drop(self.cold_lock().take(self.slot_word().generation()));
        for address in [&self.cold, &self.folded] {
            // The memory is zero now. It is not used again.
            let memory = std::ptr::with_exposed_provenance(address.load(Relaxed) as usize);
            if region::contains(memory) {
                address.store(0, Relaxed);
            }
        }
        self.clear(shape);
    }

    fn release(_: &Arc<SummaryShape>) -> fn(Block) {
        |block| {
            // SAFETY: D1 and D2: no owner and no other reader has the stream. The owner's
            // acknowledgement, or the pool's lock, carries its stores.
            unsafe {
                if let Some(stream) = stream(block) {
                    take(owned(stream));
                }
            }
        }
    }

    fn fold_cold(&self, _: &Arc<SummaryShape>, other: &Self) -> bool {
        let (cold, before) = (other.cold_stream(), other.folded_words());
        if cold.is_none() && before.is_none() {
            return true;
        }
        let folded = self.fold_words(&[&other.cold, &other.folded], |total| {
            other.add_folded(Ages::ALL, total);
            if let Some(cold) = cold {
                read_whole(cold, self.shape.now(), total);
            }
        });
        if folded {
            drop(before.map(ManuallyDrop::into_inner));
            if let Some(cold) = cold {
                // SAFETY: the caller holds both locks and runs a pass, so no thread has it (D3).
                unsafe { take(owned(cold)) };
            }
        }
        folded
    }

    fn clear(&self, _: &Arc<SummaryShape>) {
        if let Some(cold) = self.cold_stream() {
            cold.clear();
        }
        let folded = self.folded_words();
        self.folded.store(0, Relaxed);
        drop(folded.map(ManuallyDrop::into_inner));
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        drop(self.folded_words().map(ManuallyDrop::into_inner));
        if let Some(cold) = self.cold_stream() {
            // SAFETY: no thread can reach the series any more.
            unsafe { take(owned(cold)) };
        }
    }
}

impl Distribution {
    /// Returns the cold stream, if there is one.
    fn cold_stream(&self) -> Option<&Stream> {
        // Acquire: pairs with the Release in `cold_or_new`. The stream is complete.
        // SAFETY: 0, or a stream that only a pass frees, under the lock (D3). The caller runs a
        // pass or holds the lock.
        unsafe { value_at(self.cold.load(Acquire)) }
    }

    /// Returns the cold stream, and creates it if there is none. The caller holds the lock.
    fn cold_or_new(&self) -> &Stream {
        self.cold_stream().unwrap_or_else(|| {
            let fresh = self.shape.stream(Place::of(self)).into_raw();
            // Release: pairs with the Acquire in `cold_stream`.
            self.cold.store(fresh.expose_provenance() as u64, Release);
            // SAFETY: just made, and only a pass frees it, under the lock.
            unsafe { &*fresh }
        })
    }

    /// Returns the words of what was folded, if there are any. The caller runs the pass, and frees
    /// them once it has replaced their address.
    fn folded_words(&self) -> Option<ManuallyDrop<Words>> {
        let address = self.folded.load(Relaxed) as usize;
        let first = NonNull::new(std::ptr::with_exposed_provenance_mut::<AtomicU64>(address))?;
        // SAFETY: `fold_words` wrote the number of words behind the first one there.
        unsafe {
            let len = first.as_ref().load(Relaxed) as usize;
            Some(ManuallyDrop::new(Words::from_raw(first, 1 + len)))
        }
    }

    /// Adds what was folded to a total.
    fn add_folded(&self, now: Ages, total: &mut SummaryTotal) {
        let Some(words) = self.folded_words() else {
            return;
        };
        total.count = total.count.wrapping_add(words[1].load(Relaxed));
        total.sum.add(f64::from_bits(words[2].load(Relaxed)));
        let contained = decode(&words[FOLDED_HEAD..]).filter(|part| now.contains(part.age));
        total.sketches.extend(contained);
    }

    /// Adds what `read` reads to what was folded, and zeroes the cells that have it now. Returns
    /// `false`, and changes nothing, if there is no memory.
    fn fold_words(&self, cells: &[&AtomicU64], read: impl FnOnce(&mut SummaryTotal)) -> bool {
        let mut total = SummaryTotal::default();
        self.add_folded(Ages::ALL, &mut total);
        read(&mut total);
        self.compact(&mut total);
        let len = FOLDED_HEAD + encoded_len(&total.sketches);
        let Some(words) = Words::only(len, Place::of(self)) else {
            return false;
        };
        words[0].store(len as u64 - 1, Relaxed);
        words[1].store(total.count, Relaxed);
        words[2].store(total.sum.round_up().to_bits(), Relaxed);
        encode(&total.sketches, &words[FOLDED_HEAD..]);
        let before = self.folded_words();
        let mut moved = Move::new();
        moved.set(&self.folded, words.into_raw().expose_provenance() as u64);
        for cell in cells {
            moved.set(cell, 0);
        }
        moved.commit();
        drop(before.map(ManuallyDrop::into_inner));
        true
    }

    /// Merges the folded sketches of each age, and drops those of ages that have left the window.
    fn compact(&self, folded: &mut SummaryTotal) {
        if folded.sketches.len() <= 8 {
            return;
        }
        let now = self.shape.now();
        folded.sketches.retain(|part| now.contains(part.age));
        folded.sketches.sort_by_key(|part| part.age);
        let ages = folded.sketches.chunk_by(|a, b| a.age == b.age);
        let merged = ages.map(|sketches| {
            let (age, mut sketch) = (sketches[0].age, merge(sketches));
            if let Some(bound) = &self.shape.bound {
                sketch.compress(bound, &mut Scratch::new());
            }
            AgeSketch { age, sketch }
        });
        folded.sketches = merged.collect();
    }

    /// Merges all sketches of a total.
    #[must_use]
    pub fn merged(total: &SummaryTotal) -> Sketch {
        merge(&total.sketches)
    }
}

/// Adds a prefix of a stream's observations to a total, and waits while the owner overwrites what
/// is being read: for a pause between its flushes.
fn read_whole(stream: &Stream, now: Ages, total: &mut SummaryTotal) {
    let mut tries = 0;
    while !stream.read(now, total) {
        super::engine::back_off(&mut tries);
    }
}

fn merge(sketches: &[AgeSketch]) -> Sketch {
    Sketch::merge(&sketches.iter().map(|part| &part.sketch).collect::<Vec<_>>())
}

#[cfg(loom)]
fn with_flush<R>(f: impl FnOnce(&mut Flush) -> R) -> R {
    f(&mut Flush::default())
}

#[cfg(not(loom))]
use process::with_flush;
#[cfg(not(loom))]
pub use process::{limit_summaries, stream_budget};

/// The budget of this process, and the calling thread's buffers.
#[cfg(not(loom))]
mod process {
    use std::cell::Cell;
    use std::sync::{Arc, LazyLock};

    use super::{Flush, StreamBudget};

    static BUDGET: LazyLock<Arc<StreamBudget>> = LazyLock::new(StreamBudget::new);

    thread_local! {
        /// The buffers that this thread's flushes reuse.
        static FLUSH: Cell<Option<Box<Flush>>> = const { Cell::new(None) };
    }

    /// Returns the budget for the streams of all summaries in this process.
    pub fn stream_budget() -> &'static Arc<StreamBudget> {
        &BUDGET
    }

    /// Limits the memory, in bytes, that the streams of all summaries use together. The default is
    /// 64 MiB.
    ///
    /// A stream holds one thread's observations of one series. Above half of the limit, streams get
    /// small buffers, which costs time. At the limit, threads share one stream per series behind a
    /// short lock. Quantiles meet their objectives in all three modes; the metric
    /// `tallies_stream_mode` shows the current one.
    ///
    /// Memory can exceed the limit: every series has a cold stream in any case, and threads may
    /// be creating streams when the limit is reached, of 4 to 5 KB each.
    ///
    /// ```
    /// tallies::instrument::limit_summaries(16 << 20);
    /// # tallies::instrument::limit_summaries(64 << 20);
    /// ```
    pub fn limit_summaries(bytes: u64) {
        BUDGET.set(bytes);
    }

    /// Runs `f` with the buffers of this thread's flushes.
    pub fn with_flush<R>(f: impl FnOnce(&mut Flush) -> R) -> R {
        let mut flush = FLUSH
            .try_with(Cell::take)
            .ok()
            .flatten()
            .unwrap_or_default();
        let result = f(&mut flush);
        // If the thread is exiting, the buffers are dropped.
        let _ = FLUSH.try_with(|cell| cell.set(Some(flush)));
        result
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Regression: `start_over` cleared the cold stream while a thread wrote it, and freed the
    /// sketches of earlier ages that the thread was copying.
    #[test]
    fn starting_over_leaves_a_stream_that_a_thread_writes() {
        let (engine, thread) = (Engine::new(), Thread::new());
        let window = Window::new(
            std::time::Duration::from_secs(60),
            5,
            std::time::Instant::now,
        );
        let shape = SummaryShape::new(Targets::new(&[(0.5, 0.05)]), Some(window), stream_budget());
        let series = Distribution::new(&shape);
        series.observe_cold(&engine, &thread, Generation::FIRST, 1.0, false);
        let count = || {
            let mut total = SummaryTotal::default();
            series.read(&mut engine.pass(), None, &mut total);
            total.count
        };
        let held = series.cold_lock().lock_any().unwrap();
        super::super::start_over(&engine.pass(), &shape, &series, None);
        assert_eq!(count(), 1);
        drop(held);
        super::super::start_over(&engine.pass(), &shape, &series, None);
        assert_eq!(count(), 0);
        series.observe_cold(&engine, &thread, Generation::FIRST, 1.0, false);
        assert_eq!(count(), 1);
        thread.leave(&engine);
    }

    /// Regression: the sum went back by a rounding when a slot was closed.
    #[test]
    fn the_sum_stays_the_same_when_a_slot_is_closed() {
        let (engine, a, b) = (Engine::new(), Thread::new(), Thread::new());
        let shape = SummaryShape::new(Targets::new(&[(0.5, 0.05)]), None, stream_budget());
        let series = Distribution::new(&shape);
        let observe = |thread, value| {
            series.observe_cold(&engine, thread, Generation::FIRST, value, false);
        };
        observe(&a, 0.1);
        super::super::promote(&engine, series.slot_word(), Generation::FIRST, 1);
        observe(&a, 0.2);
        observe(&b, 0.3);
        let total = || {
            let mut total = SummaryTotal::default();
            series.read(&mut engine.pass(), series.slot_word().slot(), &mut total);
            (total.count, total.sum.value())
        };
        let before = total();
        let closing = engine.pass().close(series.slot_word()).unwrap();
        drop(engine.pass());
        [&a, &b].into_iter().for_each(Thread::acknowledge);
        assert!(super::super::end_closing(
            &mut engine.pass(),
            &shape,
            &series,
            closing
        ));
        assert_eq!(total(), before);
        [&a, &b]
            .into_iter()
            .for_each(|thread| thread.leave(&engine));
    }
}
