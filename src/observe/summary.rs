//! One series of a summary: a stream in every thread that observes, and one that threads share until the series is hot.
//!
//! A slot is one cell: the address of the thread's stream, made on its first observation. The shared stream has one writer
//! at a time, by a word that readers never take; it stays with its series.

use std::sync::Arc;

use crate::lockfree::Generation;
use crate::snapshot::sketch::{Bound, Scratch, Sketch, Targets};
use crate::sync::{Acquire, AtomicBool, Mutex, OnceLock, Relaxed, Release, lock, owner_load};

use super::cells::{Cells, Outcome, PROMOTE_AFTER};
use super::engine::Engine;
use super::memory::Block;
use super::pass::Pass;
use super::slot::SlotWord;
use super::stream::{Budget, Flush, Stream, Streamed};
use super::thread::Thread;
use super::update::{Shared, update_cold};
use super::window::{Ages, Part, Window};

/// What all series of a summary have in common.
#[derive(Debug)]
pub struct SummaryShape {
    /// What it is asked for.
    pub targets: Targets,
    /// How wide tuples may be for that; none where it is asked for nothing.
    bound: Option<Bound>,
    /// How far back quantiles go; for ever without.
    window: Option<Window>,
    /// The memory that streams may take.
    budget: Arc<Budget>,
}

impl SummaryShape {
    /// The bound is chosen here: some hundred microseconds.
    #[must_use]
    pub(crate) fn new(targets: Targets, window: Option<Window>, budget: &Arc<Budget>) -> Arc<Self> {
        let bound = (!targets.is_empty()).then(|| Bound::new(&targets));
        Arc::new(Self {
            window: window.filter(|_| bound.is_some()),
            bound,
            targets,
            budget: Arc::clone(budget),
        })
    }

    /// Looks at the clock, if there is a window.
    fn now(&self) -> Ages {
        match (&self.bound, &self.window) {
            (None, _) => Ages::NONE,
            (_, None) => Ages::ALL,
            (_, Some(window)) => window.now(),
        }
    }

    fn stream(&self) -> Stream {
        let ages = self.window.as_ref().map_or(1, Window::ages);
        Stream::new(&self.budget, self.now(), ages)
    }

    fn flush(&self, stream: &Stream) {
        with_flush(|flush: &mut Flush| {
            stream.flush(self.bound.as_ref(), self.now(), flush);
        });
    }
}

/// One series of a summary.
#[derive(Debug)]
pub struct Distribution {
    slot_word: SlotWord,
    shape: Arc<SummaryShape>,
    /// Held by the one who writes the shared stream.
    taken: AtomicBool,
    shared: OnceLock<SharedStream>,
    /// What retired series had; only passes touch it.
    folded: Mutex<Streamed>,
}

struct SharedStream(Stream);

impl std::fmt::Debug for SharedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedStream")
    }
}

impl Distribution {
    /// Observes `value` if this thread's buffer has room; false: take the cold path.
    #[inline(always)]
    pub fn observe(thread: &Thread, last: u64, value: f64) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        // SAFETY: the block has one cell, and this thread owns it and the stream.
        unsafe { stream(block) }.is_some_and(|stream| stream.push(value))
    }

    /// The cold path of [`observe`](Self::observe): registers, makes streams, and takes full buffers into sketches.
    pub fn observe_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        generation: Generation,
        value: f64,
        eager: bool,
    ) -> Outcome {
        let own = |block| {
            // SAFETY: as in `observe`.
            let stream = unsafe { self.own_stream(block) };
            // Without one, all streams together are at their limit: the one that threads share.
            stream.map(|stream| self.insert(stream, value)).is_some()
        };
        let shared = || {
            // Acquire: pairs with the Release below; the stream as the last writer left it is ours.
            if self
                .taken
                .compare_exchange(false, true, Acquire, Relaxed)
                .is_err()
            {
                // Two threads at once are the sign of a hot series. Without a slot left, or a shard, this waits for
                // another writer's push, at worst for its flush; never for a reader.
                return Shared::Busy {
                    hot: self.shape.budget.has_room(),
                };
            }
            let SharedStream(stream) = self
                .shared
                .get_or_init(|| SharedStream(self.shape.stream()));
            let count = self.insert(stream, value);
            // Release: pairs with the Acquire above.
            self.taken.store(false, Release);
            Shared::Counted {
                hot: count.is_multiple_of(PROMOTE_AFTER),
            }
        };
        update_cold(
            (engine, thread),
            (&self.slot_word, generation),
            (1, eager),
            own,
            shared,
        )
    }

    /// The stream in a slot, made if there is none yet and memory for it.
    ///
    /// # Safety
    ///
    /// As [`stream`], and the caller owns the block.
    unsafe fn own_stream<'a>(&self, block: Block) -> Option<&'a Stream> {
        // SAFETY: by the caller's word.
        unsafe { stream(block) }.or_else(|| {
            self.shape.budget.has_room().then(|| {
                let made = Box::into_raw(Box::new(self.shape.stream()));
                let address = made.expose_provenance() as u64;
                // SAFETY: cell 0 is the slot, and this thread owns it. Release: pairs with the Acquire of readers, who see
                // the stream as it was made.
                unsafe {
                    block.cell(0).store(address, Release);
                    &*made
                }
            })
        })
    }

    /// Pushes, with a flush if the buffer is full; returns the number of observations there are.
    fn insert(&self, stream: &Stream, value: f64) -> u64 {
        stream.insert(value, || self.shape.flush(stream))
    }
}

/// The stream in a slot, if there is one yet.
///
/// # Safety
///
/// The block is a summary's, and its stream is not freed while the result is used.
#[inline(always)]
unsafe fn stream<'a>(block: Block) -> Option<&'a Stream> {
    // SAFETY: the block has one cell.
    let address = owner_load(unsafe { block.cell(0) });
    // SAFETY: 0, or the address that `own_stream` exposed.
    unsafe { std::ptr::with_exposed_provenance::<Stream>(address as usize).as_ref() }
}

impl Cells for Distribution {
    type Shape = Arc<SummaryShape>;
    type Total = Streamed;

    fn new(shape: &Arc<SummaryShape>) -> Self {
        Self {
            slot_word: SlotWord::new(),
            shape: Arc::clone(shape),
            taken: AtomicBool::new(false),
            shared: OnceLock::new(),
            folded: Mutex::default(),
        }
    }

    fn reset(total: &mut Streamed) {
        total.count = 0;
        total.sum = 0.0;
        total.parts.clear();
    }

    fn slot_word(&self) -> &SlotWord {
        &self.slot_word
    }

    fn width(_: &Arc<SummaryShape>) -> usize {
        1
    }

    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut Streamed) {
        let now = self.shape.now();
        let mut read = |stream: &Stream| {
            let mut tries = 0;
            while !stream.read(now, total) {
                // For the owner to be between two flushes.
                super::engine::back_off(&mut tries);
            }
        };
        if let Some(SharedStream(shared)) = self.shared.get() {
            read(shared);
        }
        for cell in pass.cells(slot, 0) {
            // Acquire: pairs with the Release in `own_stream`; the stream is seen as it was made.
            let address = cell.load(Acquire) as usize;
            let stream = std::ptr::with_exposed_provenance::<Stream>(address);
            // SAFETY: 0, or a stream that is freed by a later pass only.
            if let Some(stream) = unsafe { stream.as_ref() } {
                read(stream);
            }
        }
        let folded = lock(&self.folded);
        total.count = total.count.wrapping_add(folded.count);
        total.sum = super::join_sums(total.sum, folded.sum);
        let held = folded.parts.iter().filter(|part| now.hold(part.age));
        total.parts.extend(held.cloned());
    }

    fn fold(&self, block: Block) {
        // SAFETY: every owner has answered, so nobody writes the stream, and only passes free it.
        if let Some(stream) = unsafe { stream(block) } {
            self.fold_stream(stream);
        }
    }

    fn release(_: &Arc<SummaryShape>) -> fn(Block) {
        |block| {
            // SAFETY: the block has one cell; nobody writes it any more.
            // Relaxed: owners have answered or are gone, which carries what they made.
            let address = unsafe { block.cell(0) }.load(Relaxed) as usize;
            if address != 0 {
                // SAFETY: made in `own_stream`; no owner and no other reader is left, as passes are serialised.
                drop(unsafe {
                    Box::from_raw(std::ptr::with_exposed_provenance_mut::<Stream>(address))
                });
            }
        }
    }

    fn fold_shared(&self, other: &Self) {
        if let Some(SharedStream(shared)) = other.shared.get() {
            self.fold_stream(shared);
        }
        let theirs = std::mem::take(&mut *lock(&other.folded));
        let mut folded = lock(&self.folded);
        folded.count = folded.count.wrapping_add(theirs.count);
        folded.sum = super::join_sums(folded.sum, theirs.sum);
        folded.parts.extend(theirs.parts);
        self.pack(&mut folded);
    }

    fn start_over(&self, shape: &Arc<SummaryShape>) {
        // The shared stream has one writer at a time, here as anywhere. Acquire and Release as in `observe_cold`.
        if self
            .taken
            .compare_exchange(false, true, Acquire, Relaxed)
            .is_ok()
        {
            self.clear(shape);
            self.taken.store(false, Release);
        }
    }

    fn clear(&self, _: &Arc<SummaryShape>) {
        if let Some(SharedStream(shared)) = self.shared.get() {
            shared.clear();
        }
        *lock(&self.folded) = Streamed::default();
    }
}

impl Distribution {
    /// Adds a stream that nobody writes any more to what is folded.
    fn fold_stream(&self, stream: &Stream) {
        let mut folded = lock(&self.folded);
        let mut tries = 0;
        while !stream.read(self.shape.now(), &mut folded) {
            super::engine::back_off(&mut tries);
        }
        self.pack(&mut folded);
    }

    /// One sketch for an age, however many come, and none of ages that are over.
    fn pack(&self, folded: &mut Streamed) {
        if folded.parts.len() <= 8 {
            return;
        }
        let now = self.shape.now();
        folded.parts.retain(|part| now.hold(part.age));
        folded.parts.sort_by_key(|part| part.age);
        let ages = folded.parts.chunk_by(|a, b| a.age == b.age);
        folded.parts = ages.map(|parts| self.packed(parts)).collect();
    }

    fn packed(&self, parts: &[Part]) -> Part {
        let mut sketch = merge(parts);
        if let Some(bound) = &self.shape.bound {
            sketch.compress(bound, &mut Scratch::new());
        }
        Part {
            age: parts[0].age,
            sketch,
        }
    }

    /// Makes one sketch of what a read gave.
    #[must_use]
    pub fn merged(total: &Streamed) -> Sketch {
        merge(&total.parts)
    }
}

fn merge(parts: &[Part]) -> Sketch {
    Sketch::merge(&parts.iter().map(|part| &part.sketch).collect::<Vec<_>>())
}

#[cfg(loom)]
fn with_flush<R>(f: impl FnOnce(&mut Flush) -> R) -> R {
    f(&mut Flush::default())
}

#[cfg(not(loom))]
use process::with_flush;
#[cfg(not(loom))]
pub use process::{limit_summaries, stream_budget};

/// The streams' memory in this process, and the calling thread's buffers.
#[cfg(not(loom))]
mod process {
    use std::cell::Cell;
    use std::sync::{Arc, LazyLock};

    use super::{Budget, Flush};

    static BUDGET: LazyLock<Arc<Budget>> = LazyLock::new(Budget::new);

    thread_local! {
        /// Buffers that this thread's flushes reuse.
        static FLUSH: Cell<Option<Box<Flush>>> = const { Cell::new(None) };
    }

    /// The memory that all summaries' streams of this process may take.
    pub fn stream_budget() -> &'static Arc<Budget> {
        &BUDGET
    }

    /// Limits the memory of all summaries' streams together, in bytes; 64 MiB without this. Beyond it go the one stream that
    /// every series has in any case, and those that threads were making when it was met: some 4 to 5 KB each.
    ///
    /// From half of it on buffers are small ones, which costs time; beyond it threads share one stream per series behind a
    /// short lock. What is promised of quantiles holds either way. `tallies_stream_mode` tells which it is.
    ///
    /// ```
    /// tallies::limit_summaries(16 << 20);
    /// # tallies::limit_summaries(64 << 20);
    /// ```
    pub fn limit_summaries(bytes: u64) {
        BUDGET.set(bytes);
    }

    /// Runs `f` with memory that this thread's flushes use again.
    pub fn with_flush<R>(f: impl FnOnce(&mut Flush) -> R) -> R {
        let mut flush = FLUSH
            .try_with(Cell::take)
            .ok()
            .flatten()
            .unwrap_or_default();
        let result = f(&mut flush);
        // In a thread that ends it is simply dropped.
        let _ = FLUSH.try_with(|kept| kept.set(Some(flush)));
        result
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Starting over cleared the shared stream under the hands of who wrote it, and freed the ages that he was copying.
    #[test]
    fn starting_over_leaves_a_stream_that_is_written() {
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
            let mut total = Streamed::default();
            series.read(&mut engine.pass(), None, &mut total);
            total.count
        };
        series.taken.store(true, Relaxed);
        super::super::start_over(&engine.pass(), &shape, &series, None);
        assert_eq!(count(), 1);
        series.taken.store(false, Relaxed);
        super::super::start_over(&engine.pass(), &shape, &series, None);
        assert_eq!(count(), 0);
        series.observe_cold(&engine, &thread, Generation::FIRST, 1.0, false);
        assert_eq!(count(), 1);
        thread.leave(&engine);
    }
}
