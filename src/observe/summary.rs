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
//! - D3: The shared stream has one writer at a time: the thread that holds the lock (invariant U1
//!   of [`shared_lock`](super::shared_lock)). Readers never take the lock. The shared stream lives as long as its series.

use std::sync::Arc;

use crate::lockfree::Generation;
use crate::snapshot::sketch::{Bound, Scratch, Sketch, Targets};
use crate::sync::{Acquire, Mutex, OnceLock, Relaxed, Release, lock, owner_load};

use super::cells::{Cells, Outcome};
use super::engine::Engine;
use super::memory::Block;
use super::pass::Pass;
use super::shared_lock::SharedLock;
use super::slot::SlotWord;
use super::stream::{Budget, Flush, Stream, SummaryTotal};
use super::thread::Thread;
use super::update::{Shared, update_cold};
use super::window::{AgeSketch, Ages, Window};

/// The properties that all series of a summary share.
#[derive(Debug)]
pub struct SummaryShape {
    /// The objectives.
    pub objectives: Targets,
    /// The maximum width of the sketch's tuples for these objectives. `None` without objectives.
    bound: Option<Bound>,
    /// The time that quantiles cover. `None` if they cover all observations.
    window: Option<Window>,
    /// The memory that all streams together may use.
    budget: Arc<Budget>,
}

impl SummaryShape {
    /// Creates a shape, and computes its bound, which takes about 100 µs.
    #[must_use]
    pub(crate) fn new(
        objectives: Targets,
        window: Option<Window>,
        budget: &Arc<Budget>,
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

    /// Returns the window as other processes read it: when age 1 began, the length of an age, and the number of
    /// ages. Zeroes without a window.
    pub(crate) fn window_in_file(&self) -> [u64; 3] {
        self.window.as_ref().map_or([0; 3], Window::in_file)
    }

    /// Creates a stream.
    fn stream(&self) -> Stream {
        let ages = self.window.as_ref().map_or(1, Window::ages);
        Stream::new(&self.budget, self.now(), ages)
    }

    /// Flushes a stream that the caller writes, with the calling thread's buffers.
    fn flush(&self, stream: &Stream) {
        with_flush(|flush: &mut Flush| {
            stream.flush(self.bound.as_ref(), self.now(), flush);
        });
    }
}

/// The cells of one series of a summary.
#[derive(Debug)]
pub struct Distribution {
    /// Slot and generation. Written by promotion and retirement, read by every update and scrape.
    slot_word: SlotWord,
    /// The properties of the summary. Never changes.
    shape: Arc<SummaryShape>,
    /// The lock of the shared stream.
    lock: SharedLock,
    /// The shared stream. Created by its first writer, written under the lock, read by passes.
    shared: OnceLock<SharedStream>,
    /// The observations of folded streams. Written and read by passes only.
    folded: Mutex<SummaryTotal>,
}

/// The stream of a cold series, with a `Debug` that does not print its content.
struct SharedStream(Stream);

impl std::fmt::Debug for SharedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedStream")
    }
}

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
            // SAFETY: D1 and D2; `update_cold` passes a block that this thread owns.
            let stream = unsafe { self.own_stream(block) };
            // `None` if the budget is used up. The observation then goes to the shared stream.
            stream.map(|stream| self.insert(stream, value)).is_some()
        };
        let mut shared = || match self.lock.lock(generation) {
            Ok(held) => {
                let SharedStream(stream) = self
                    .shared
                    .get_or_init(|| SharedStream(self.shape.stream()));
                self.insert(stream, value);
                held.count(engine.minute(), engine, (&self.slot_word, 1), || false);
                Shared::Counted
            }
            // If there is no slot or no shard for the series, this thread waits for the other
            // writer's push, at worst for its flush, but never for a reader.
            Err(denied) => Shared::denied(&denied, self.shape.budget.allows_streams()),
        };
        update_cold(
            (engine, thread),
            (&self.slot_word, generation),
            (1, eager),
            &mut own,
            &mut shared,
        )
    }

    /// Returns the stream of a slot. Creates it if there is none and the budget allows one.
    ///
    /// # Safety
    ///
    /// As for [`stream`], and the caller owns the block.
    unsafe fn own_stream<'a>(&self, block: Block) -> Option<&'a Stream> {
        // SAFETY: the caller's contract.
        unsafe { stream(block) }.or_else(|| {
            self.shape.budget.allows_streams().then(|| {
                let fresh = Box::into_raw(Box::new(self.shape.stream()));
                let address = fresh.expose_provenance() as u64;
                // SAFETY: D1; this thread owns the block.
                // Release: pairs with the Acquire in `read`. Readers see the stream complete.
                unsafe {
                    block.cell(0).store(address, Release);
                    &*fresh
                }
            })
        })
    }

    /// Appends a value, after a flush if the buffer is full. Returns the number of observations.
    fn insert(&self, stream: &Stream, value: f64) -> u64 {
        stream.insert(value, || self.shape.flush(stream))
    }
}

/// Returns the stream of a slot, if there is one.
///
/// # Safety
///
/// The block belongs to a summary, and its stream is not freed while the result is used.
#[inline(always)]
unsafe fn stream<'a>(block: Block) -> Option<&'a Stream> {
    // SAFETY: D1; the block has one cell.
    let address = owner_load(unsafe { block.cell(0) });
    // SAFETY: D1; 0, or the address that `own_stream` exposed. The caller's contract keeps it
    // alive.
    unsafe { std::ptr::with_exposed_provenance::<Stream>(address as usize).as_ref() }
}

impl Cells for Distribution {
    type Shape = Arc<SummaryShape>;
    type Total = SummaryTotal;

    fn new(shape: &Arc<SummaryShape>) -> Self {
        Self {
            slot_word: SlotWord::new(),
            shape: Arc::clone(shape),
            lock: SharedLock::new(),
            shared: OnceLock::new(),
            folded: Mutex::default(),
        }
    }

    fn reset(total: &mut SummaryTotal) {
        total.count = 0;
        total.sum = 0.0;
        total.sketches.clear();
    }

    fn slot_word(&self) -> &SlotWord {
        &self.slot_word
    }

    fn shared_lock(&self) -> &SharedLock {
        &self.lock
    }

    fn width(_: &Arc<SummaryShape>) -> usize {
        1
    }

    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut SummaryTotal) {
        let now = self.shape.now();
        // In this order, sums stay the same to the last bit when streams are folded: the streams of a
        // slot that is closed are the first terms, in the same order.
        if pass.shared(true) {
            let folded = lock(&self.folded);
            total.count = total.count.wrapping_add(folded.count);
            total.sum = super::join_sums(total.sum, folded.sum);
            let contained = folded.sketches.iter().filter(|part| now.contains(part.age));
            total.sketches.extend(contained.cloned());
        }
        let mut read = |stream: &Stream| {
            let mut tries = 0;
            while !stream.read(now, total) {
                // The owner overwrote the page during the read. Waits for a pause between its
                // flushes.
                super::engine::back_off(&mut tries);
            }
        };
        for cell in pass.cells(slot, 0) {
            // Acquire: pairs with the Release in `own_stream`. The stream is complete (D1).
            let address = cell.load(Acquire) as usize;
            let stream = std::ptr::with_exposed_provenance::<Stream>(address);
            // SAFETY: D2; 0, or a stream that only a later pass frees.
            if let Some(stream) = unsafe { stream.as_ref() } {
                read(stream);
            }
        }
        if let Some(SharedStream(shared)) = pass.shared(self.shared.get()) {
            read(shared);
        }
    }

    fn fold(&self, shape: &Arc<SummaryShape>, block: Block) -> bool {
        // SAFETY: D1 and D2; every owner has acknowledged or is gone, so no thread writes the
        // stream.
        if let Some(stream) = unsafe { stream(block) } {
            self.fold_stream(stream);
        }
        Self::release(shape)(block);
        // SAFETY: D1; the block has one cell.
        unsafe { block.cell(0) }.store(0, Relaxed);
        true
    }

    fn release(_: &Arc<SummaryShape>) -> fn(Block) {
        |block| {
            // SAFETY: D1; the block has one cell.
            // Relaxed: the owner's acknowledgement, or the pool's lock, carries its stores.
            let address = unsafe { block.cell(0) }.load(Relaxed) as usize;
            if address != 0 {
                // SAFETY: allocated in `own_stream`. No owner and no other reader has it (D2).
                drop(unsafe {
                    Box::from_raw(std::ptr::with_exposed_provenance_mut::<Stream>(address))
                });
            }
        }
    }

    fn fold_shared(&self, _: &Arc<SummaryShape>, other: &Self) -> bool {
        if let Some(SharedStream(shared)) = other.shared.get() {
            self.fold_stream(shared);
        }
        let theirs = std::mem::take(&mut *lock(&other.folded));
        let mut folded = lock(&self.folded);
        folded.count = folded.count.wrapping_add(theirs.count);
        folded.sum = super::join_sums(folded.sum, theirs.sum);
        folded.sketches.extend(theirs.sketches);
        self.compact(&mut folded);
        drop(folded);
        other.clear(&other.shape);
        true
    }

    fn is_plain(_: &Arc<SummaryShape>) -> bool {
        false
    }

    fn clear(&self, _: &Arc<SummaryShape>) {
        if let Some(SharedStream(shared)) = self.shared.get() {
            shared.clear();
        }
        *lock(&self.folded) = SummaryTotal::default();
    }
}

impl Distribution {
    /// Adds a stream that no thread writes any more to the folded observations.
    fn fold_stream(&self, stream: &Stream) {
        let mut folded = lock(&self.folded);
        let mut tries = 0;
        while !stream.read(self.shape.now(), &mut folded) {
            super::engine::back_off(&mut tries);
        }
        self.compact(&mut folded);
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
        folded.sketches = ages.map(|sketches| self.merge_age(sketches)).collect();
    }

    /// Merges the sketches of one age.
    fn merge_age(&self, sketches: &[AgeSketch]) -> AgeSketch {
        let mut sketch = merge(sketches);
        if let Some(bound) = &self.shape.bound {
            sketch.compress(bound, &mut Scratch::new());
        }
        AgeSketch {
            age: sketches[0].age,
            sketch,
        }
    }

    /// Merges all sketches of a total.
    #[must_use]
    pub fn merged(total: &SummaryTotal) -> Sketch {
        merge(&total.sketches)
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

    use super::{Budget, Flush};

    static BUDGET: LazyLock<Arc<Budget>> = LazyLock::new(Budget::new);

    thread_local! {
        /// The buffers that this thread's flushes reuse.
        static FLUSH: Cell<Option<Box<Flush>>> = const { Cell::new(None) };
    }

    /// Returns the budget for the streams of all summaries in this process.
    pub fn stream_budget() -> &'static Arc<Budget> {
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
    /// Memory can exceed the limit: every series has a shared stream in any case, and threads may
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

    /// Regression: `start_over` cleared the shared stream while a thread wrote it, and freed the
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
        let held = series.lock.lock_any().unwrap();
        super::super::start_over(&engine.pass(), &shape, &series, None);
        assert_eq!(count(), 1);
        held.release();
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
        super::super::promote(&engine, &series.slot_word, Generation::FIRST, 1);
        observe(&a, 0.2);
        observe(&b, 0.3);
        let total = || {
            let mut total = SummaryTotal::default();
            series.read(&mut engine.pass(), series.slot_word.slot(), &mut total);
            (total.count, total.sum)
        };
        let before = total();
        let closing = engine.pass().close(&series.slot_word).unwrap();
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
