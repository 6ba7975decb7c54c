//! The stream of a summary: one thread's observations of one series, as a buffer and a sketch.
//!
//! A reader gets an exact prefix of the thread's observations. Count, sum and quantiles belong to
//! the same observations.
//!
//! # Protocol
//!
//! A stream has two pages, and its *generation* `g` is in page `g & 1`. A page has count, sum and
//! sketch of all earlier generations, and a buffer for the values of its own. The owner appends
//! values to the buffer of the current generation. If the buffer is full, the owner *flushes* it:
//!
//! 1. It stores `seq = 2g + 1`. Readers still read generation `g`.
//! 2. It writes the other page: the sketch with the values of the buffer, count, sum, and an empty
//!    buffer.
//! 3. It stores `seq = 2g + 2`, which publishes the other page as generation `g + 1`.
//!
//! A reader loads `seq`, copies the page of that generation, and loads `seq` again:
//!
//! - If the second `seq` is at most `2(g + 1)`, the owner has not begun the flush that overwrites
//!   page `g & 1`. The copy is valid.
//! - If it is higher, the copy may be torn. The reader retries.
//!
//! # Invariants
//!
//! - F1: Between `seq = 2g` and `seq = 2(g + 1) + 1`, nothing in page `g & 1` changes but the
//!   length of its buffer, the values above that length, and the limit.
//! - F2: `values[..len]` do not change once `len` is stored (Release). A reader that loads the
//!   length (Acquire) sees those values.
//! - F3: Page `g & 1` is overwritten by the flush to `g + 2`, after `seq = 2(g + 1) + 1` and a
//!   Release fence. A reader that saw any of that flush's stores loads a `seq` above `2(g + 1)`
//!   after its Acquire fence, and retries.
//! - F4: A page that a larger one replaced is freed an epoch later. Readers pin the epoch. Only the
//!   owner replaces pages, so it reads them without a pin.
//! - F5: A stream has one writer: the owner of the slot, or the thread that holds the lock of the
//!   cold stream (invariants D1 and D3 of [`summary`](super::summary)).
//!
//! With a window, the sketch is that of one age, and `history` has the sketches of earlier ages:
//! see [`window`](super::window).
//!
//! A writer that is suspended at any instruction leaves `seq` unchanged, so the reader's next try
//! succeeds. It misses at most the unfinished observation. A try fails only if the owner begins two
//! flushes during it, and so fills a whole buffer in between.
//!
//! Source: a sequence lock over two slots (Lameter, "Effective synchronization on Linux/NUMA
//! systems", 2005, has the form with one slot). The odd store has to be a Release as well: a reader
//! that starts from it could see a stale page otherwise.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::address::take_soon;
use super::window::{AgeSketch, Ages, History, closed_limit, is_open};
use crate::mapped::{Own, Place, Words, take};
use crate::snapshot::FloatSum;
use crate::snapshot::sketch::{Bound, Scratch, Sketch, Tuple, key_of};
use crate::sync::{
    Acquire, AtomicPtr, AtomicU64, Relaxed, Release, fence, owner_load, owner_load_ptr,
};

/// The minimum number of observations for each size of the buffer. A series with few observations
/// costs a few hundred bytes.
#[cfg(not(loom))]
const BUFFERS: [(u64, usize); 3] = [(0, 16), (48, 64), (512, 256)];
#[cfg(loom)]
const BUFFERS: [(u64, usize); 2] = [(0, 1), (2, 2)];

// The words of a page: four single ones, the values of the buffer, and two words per tuple.
const LEN: usize = 0;
const COUNT: usize = 1;
const SUM: usize = 2;
const TUPLES: usize = 3;
pub(crate) const VALUES: usize = 4;

/// One generation of a stream. See the module's text. Other processes may read it in a file.
#[repr(C)]
struct StreamPage {
    /// The capacity of the buffer. Never changes.
    capacity: usize,
    /// The length at which a push asks for a flush: `capacity`, or a negative number once a scrape
    /// has closed the buffer. Written by the owner, and by readers that close the buffer; read by
    /// both.
    limit: AtomicU64,
    /// The age in which the buffer was started, the age of the sketch, and the sketches of earlier
    /// ages. Null without a window. Written by the owner, read by passes.
    history: AtomicPtr<History>,
    /// Length, count, sum, number of tuples, values and tuples. Written by the owner, read by
    /// passes.
    words: Words,
    /// The budget that this page counts against.
    budget: Arc<StreamBudget>,
}

impl Drop for StreamPage {
    fn drop(&mut self) {
        self.budget.add(-(self.words.len() as i64));
    }
}

/// The memory that all streams together may use, and the memory that they use, in words of 8 bytes.
/// Replaced pages count until they are freed.
///
/// Above half of the limit, new buffers have the smallest size. At the limit, no thread gets a
/// stream of its own any more, and threads share the series' stream. Existing streams stay, so
/// sketches that grow large because of unfavourable values can exceed the limit.
///
/// All accesses are Relaxed: the limit is approximate, and no other memory depends on it.
pub(crate) struct StreamBudget {
    /// The limit. Written by `limit_summaries`, read by every thread that flushes.
    limit: AtomicU64,
    /// The words in use. Written by every thread that allocates or frees a page.
    used: AtomicU64,
    /// The words that existing streams are expected to grow to. Written by every thread that
    /// creates or drops a stream.
    expected: AtomicU64,
}

impl StreamBudget {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicU64::new(DEFAULT_LIMIT / 8),
            used: AtomicU64::new(0),
            expected: AtomicU64::new(0),
        })
    }

    /// Adds to the words in use; a negative number subtracts.
    pub(crate) fn add(&self, words: i64) {
        self.used.fetch_add(words as u64, Relaxed);
    }

    /// Returns the bytes in use, and the limit in bytes.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (8 * self.used.load(Relaxed), 8 * self.limit.load(Relaxed))
    }

    /// Sets the limit.
    pub(crate) fn set(&self, bytes: u64) {
        self.limit.store(bytes / 8, Relaxed);
    }

    /// Returns whether another thread may have a stream of its own: the limit has to leave memory
    /// for the growth of all existing streams.
    pub(crate) fn allows_streams(&self) -> bool {
        let (used, expected) = (self.used.load(Relaxed), self.expected.load(Relaxed));
        used.max(expected) < self.limit.load(Relaxed)
    }

    /// Returns the mode: 0 without restrictions, 1 if new buffers are small, 2 if there are no new
    /// streams.
    pub(crate) fn mode(&self) -> u8 {
        if !self.allows_streams() {
            2
        } else {
            u8::from(!self.may_grow())
        }
    }

    /// Returns whether buffers may grow.
    fn may_grow(&self) -> bool {
        self.used.load(Relaxed) < self.limit.load(Relaxed) / 2
    }
}

/// The number of words of a stream with small buffers and a sketch of typical size: two pages.
const TYPICAL_STREAM: u64 = 2 * (VALUES as u64 + 16 + 2 * 130);

/// The number of words of a typical sketch of an earlier age.
const TYPICAL_SKETCH: u64 = 2 * 90;

/// The default limit for all streams of a process, in bytes.
const DEFAULT_LIMIT: u64 = 64 << 20;

impl StreamPage {
    fn new(budget: &Arc<StreamBudget>, capacity: usize, tuples: usize, place: Place) -> Own<Self> {
        let words = VALUES + capacity + 2 * tuples;
        budget.add(words as i64);
        let page = Self {
            capacity,
            limit: AtomicU64::new(capacity as u64),
            history: AtomicPtr::new(std::ptr::null_mut()),
            words: Words::new(words, place),
            budget: Arc::clone(budget),
        };
        Own::new(page, place)
    }

    /// Returns the number of tuples that fit in this page.
    fn tuple_capacity(&self) -> usize {
        (self.words.len() - VALUES - self.capacity) / 2
    }

    /// Opens the buffer of a new generation. Called by the owner.
    fn open(&self, history: *mut History) {
        // Stores only values that change, so that models have fewer interleavings to explore.
        if self.limit.load(Relaxed) != self.capacity as u64 {
            self.limit.store(self.capacity as u64, Relaxed);
        }
        if owner_load_ptr(&self.history) != history {
            self.history.store(history, Relaxed);
        }
    }

    /// Returns the two words of a tuple.
    fn tuple(&self, i: usize) -> [&AtomicU64; 2] {
        let first = VALUES + self.capacity + 2 * i;
        [&self.words[first], &self.words[first + 1]]
    }
}

/// One thread's observations of one series. See the module's text. Other processes may read it in a
/// file.
#[repr(C)]
pub(crate) struct Stream {
    /// Twice the generation, plus 1 during a flush. Written by the owner, read by passes.
    seq: AtomicU64,
    /// The pages of even and odd generations. The second one is null until the first flush.
    /// Replaced by the owner, read by passes with the epoch pinned.
    pages: [AtomicPtr<StreamPage>; 2],
    /// The budget that this stream counts against.
    budget: Arc<StreamBudget>,
    /// The words that this stream is expected to grow to. Never changes.
    expected: u64,
}

/// The buffers of a flush, which it reuses.
#[derive(Debug, Default)]
pub struct Flush {
    keys: Vec<u64>,
    sketch: Sketch,
    scratch: Scratch,
}

/// The total of a summary: a prefix of every thread's observations.
#[derive(Debug, Default)]
pub struct SummaryTotal {
    /// The number of observations.
    pub count: u64,
    /// The sum of the observed values, not rounded yet.
    pub sum: FloatSum,
    /// The sketches of the ages in the window: one or two per thread and age.
    pub sketches: Vec<AgeSketch>,
}

impl Stream {
    /// Creates a stream that starts now, for a window of `ages` ages. `ages` is 1 without a window.
    /// It is about to be at `place`.
    pub(crate) fn new(budget: &Arc<StreamBudget>, now: Ages, ages: u64, place: Place) -> Self {
        let mut first = StreamPage::new(budget, BUFFERS[0].1, 0, place);
        if ages > 1 {
            first.history = AtomicPtr::new(History::start(now, budget, place));
        }
        Self::starting_with(first, TYPICAL_STREAM + (ages - 1) * TYPICAL_SKETCH)
    }

    /// Creates a stream of one page, which is expected to grow to this number of words.
    fn starting_with(first: Own<StreamPage>, expected: u64) -> Self {
        let budget = Arc::clone(&first.budget);
        budget.expected.fetch_add(expected, Relaxed);
        let pages = [first.into_raw(), std::ptr::null_mut()];
        Self {
            seq: AtomicU64::new(0),
            pages: pages.map(AtomicPtr::new),
            budget,
            expected,
        }
    }

    /// Returns a stream of the same content, in memory that is allocated now. Called by the owner.
    pub(crate) fn copy(&self, place: Place) -> Self {
        let page = self.own_page(owner_load(&self.seq) >> 1);
        let fresh = StreamPage::new(&self.budget, page.capacity, page.tuple_capacity(), place);
        // Relaxed: the thread that publishes the stream carries these stores.
        for (to, from) in fresh.words.iter().zip(page.words.iter()) {
            to.store(owner_load(from), Relaxed);
        }
        fresh.limit.store(page.limit.load(Relaxed), Relaxed);
        let history = owner_load_ptr(&page.history);
        // SAFETY: null, or allocated by an owner, and freed only after a flush of this thread
        // replaces it (A2 of `window`).
        let history =
            unsafe { history.as_ref() }.map_or(std::ptr::null_mut(), |history| history.copy(place));
        fresh.history.store(history, Relaxed);
        Self::starting_with(fresh, self.expected)
    }

    /// Returns the page of the current generation. Called by the owner.
    #[inline(always)]
    fn own_page(&self, generation: u64) -> &StreamPage {
        // Relaxed: this thread stored the pointer, or an earlier owner, whose stores were carried
        // here with the stream (F5).
        let page = owner_load_ptr(&self.pages[(generation & 1) as usize]);
        // SAFETY: the page of the current generation is not null, and only the owner replaces pages
        // (F4).
        unsafe { &*page }
    }

    /// Appends a value. Returns `false` if the buffer is full or closed. Called by the owner.
    #[inline]
    pub(crate) fn push(&self, value: f64) -> bool {
        let page = self.own_page(owner_load(&self.seq) >> 1);
        let len = owner_load(&page.words[LEN]);
        // Relaxed: a scrape that closes the buffer publishes nothing else with the limit.
        if len as i64 >= page.limit.load(Relaxed) as i64 {
            return false;
        }
        page.words[VALUES + len as usize].store(value.to_bits(), Relaxed);
        // Release: pairs with the Acquire in `PageCopy::load` (F2).
        page.words[LEN].store(len + 1, Release);
        true
    }

    /// Appends a value. Called by the owner.
    ///
    /// Calls `flush` while the buffer is full or closed: more than once only if a scrape closes the
    /// buffer between flush and push (invariant A3 of [`window`](super::window)).
    pub(crate) fn insert(&self, value: f64, mut flush: impl FnMut()) {
        while !self.push(value) {
            flush();
        }
    }

    /// Inserts the values of the buffer into the sketch, and continues in the other page. Called by
    /// the owner if its buffer is full or closed.
    pub(crate) fn flush(&self, bound: Option<&Bound>, ages: Ages, flush: &mut Flush) {
        let generation = owner_load(&self.seq) >> 1;
        let page = self.own_page(generation);
        let len = owner_load(&page.words[LEN]) as usize;
        let mut sum = f64::from_bits(owner_load(&page.words[SUM]));
        flush.keys.clear();
        // `extend` rather than `push` in a loop: `push` may grow the vector, so the compiler would
        // keep the sum in memory, at a third of an observation's cost.
        let values = page.words[VALUES..][..len].iter().map(owner_load);
        flush.keys.extend(values.map(|bits| {
            sum += f64::from_bits(bits);
            key_of(f64::from_bits(bits))
        }));
        let count = owner_load(&page.words[COUNT]) + len as u64;
        let old_history = owner_load_ptr(&page.history);
        // SAFETY: null, or allocated by an owner, and freed only after a flush of this thread
        // replaces it (A2 of `window`).
        let page_ages = History::view(unsafe { old_history.as_ref() });
        // Relaxed: as in `push`, the limit is the only word that a scrape writes.
        let buffer_age = ages.buffer_age(page_ages.started, page.limit.load(Relaxed));
        let mut finished = None;
        if let Some(bound) = bound {
            let tuple_word = owner_load(&page.words[TUPLES]);
            let tuples = (0..(tuple_word >> 1) as usize)
                .map(|i| Tuple::from_words(page.tuple(i).map(owner_load)));
            flush.sketch.load(tuples, tuple_word & 1 == 1);
            if buffer_age > page_ages.sketch_age {
                finished = Some(flush.sketch.clone());
                flush.sketch.load([].into_iter(), false);
            }
            flush.sketch.insert(bound, &flush.keys, &mut flush.scratch);
        } else {
            // Without objectives there is no sketch. The reused one may hold another stream's
            // tuples.
            flush.sketch.load([].into_iter(), false);
        }
        let history = if finished.is_some() || ages.now > page_ages.started {
            page_ages.next(finished, buffer_age, ages, (&self.budget, Place::of(self)))
        } else {
            old_history
        };
        let tuples = flush.sketch.tuples();
        let buffer = BUFFERS
            .iter()
            .rev()
            .find(|(least, _)| count >= *least)
            .filter(|_| page.budget.may_grow())
            .map_or(BUFFERS[0].1, |(_, buffer)| *buffer);

        let next = &self.pages[((generation + 1) & 1) as usize];
        // SAFETY: null, or a page that only the owner replaces (F4).
        let fits = unsafe { owner_load_ptr(next).as_ref() }
            .is_some_and(|page| page.capacity >= buffer && page.tuple_capacity() >= tuples.len());
        let fresh = (!fits).then(|| {
            let tuple_capacity = if bound.is_some() {
                tuples.len() + tuples.len() / 4 + 4
            } else {
                0
            };
            StreamPage::new(&page.budget, buffer, tuple_capacity, Place::of(self)).into_raw()
        });
        // Release: pairs with the Acquire load of `seq` in `read_current`. A reader that starts
        // from this value sees page `generation` complete.
        self.seq.store(2 * generation + 1, Release);
        // Release: pairs with the Acquire fence in `read_current` (F3), and carries a fresh page to
        // the Acquire load of its pointer.
        // - If a reader sees one of the stores below, its second load of `seq` gets the value
        //   above, and it retries if it has read the page that is being overwritten.
        // - If it sees none of them, it has copied the page as it was.
        fence(Release);
        if let Some(fresh) = fresh {
            // Relaxed: the fence above carries the content of the page to the Acquire in `read`.
            let old = next.swap(fresh, Relaxed);
            // SAFETY: a reader that pins from now on cannot reach the page (F4).
            unsafe { take_soon(old) };
        }
        // SAFETY: just allocated, or not null and large enough. Only the owner replaces it (F4).
        let page = unsafe { &*owner_load_ptr(next) };
        for (i, tuple) in tuples.iter().enumerate() {
            for (word, value) in page.tuple(i).into_iter().zip(tuple.to_words()) {
                word.store(value, Relaxed);
            }
        }
        let degraded = u64::from(flush.sketch.is_degraded());
        page.words[TUPLES].store((tuples.len() as u64) << 1 | degraded, Relaxed);
        page.words[COUNT].store(count, Relaxed);
        page.words[SUM].store(sum.to_bits(), Relaxed);
        page.words[LEN].store(0, Relaxed);
        page.open(history);
        // Release: pairs with the Acquire load of `seq` in `read_current`. A reader that starts
        // from this value sees the new generation complete.
        self.seq.store(2 * generation + 2, Release);
        if old_history != history {
            // SAFETY: a reader that pins from now on starts from this generation or a later one,
            // and those do not have it (A2 of `window`).
            unsafe { take_soon(old_history) };
        }
    }

    /// Resets the stream. No thread writes it, and the calling pass is the only reader.
    pub(crate) fn clear(&self) {
        let page = self.own_page(self.seq.load(Relaxed) >> 1);
        for word in [LEN, COUNT, SUM, TUPLES] {
            page.words[word].store(0, Relaxed);
        }
        // SAFETY: null, or not used by any other thread: there is no writer and no other reader.
        if let Some(history) = unsafe { page.history.load(Relaxed).as_mut() } {
            history.clear();
        }
        // Closed, so that the first value of the next series starts a new buffer in the age of
        // then.
        page.limit.store(closed_limit(1), Relaxed);
    }

    /// Adds a prefix of the observations to `total`: count and sum of all, sketches of those in
    /// `ages`. Returns `false`, and adds nothing, if the owner overwrote the page during the read.
    ///
    /// One thread at a time calls this, with the epoch pinned.
    pub(crate) fn read(&self, ages: Ages, total: &mut SummaryTotal) -> bool {
        let read = |which: usize| {
            // Acquire: pairs with the Release fence in `flush`, which precedes the exchange of the
            // page.
            let page = self.pages[which].load(Acquire);
            // SAFETY: null, or a page that is not freed while the caller pins the epoch (F4).
            let page = unsafe { page.as_ref() }?;
            let copy = PageCopy::load(&page.words, page.capacity);
            let (limit, history) = (page.limit.load(Relaxed), page.history.load(Relaxed));
            Some((page, copy, limit, history))
        };
        let current = read_current(|order| self.seq.load(order), read);
        let Some((page, copy, limit, history)) = current.flatten() else {
            return false;
        };
        // SAFETY: null, or the pointer of this generation, as `seq` confirmed. It is not freed
        // while the epoch is pinned (A2 of `window`).
        let page_ages = History::view(unsafe { history.as_ref() });
        let (age, buffer_age) = (
            page_ages.sketch_age,
            ages.buffer_age(page_ages.started, limit),
        );
        if is_open(limit) && ages.now > page_ages.started {
            // Relaxed: this store may arrive late, in a later generation (A3 of `window`).
            page.limit.store(closed_limit(buffer_age), Relaxed);
        }
        total.count = total.count.wrapping_add(copy.count());
        total.sum.add(copy.sum());
        let mut add = |age, sketch| total.sketches.push(AgeSketch { age, sketch });
        let values = copy.values;
        if !copy.tuples.is_empty() && ages.contains(age) {
            add(age, Sketch::from_parts(copy.tuples, copy.is_degraded));
        }
        if !values.is_empty() && ages.contains(buffer_age) {
            add(buffer_age, sketch_of_values(values));
        }
        total.sketches.extend(page_ages.older_in(ages));
        true
    }
}

/// Reads the page of the current generation. `seq` loads the sequence number, and `read` copies one
/// of the two pages: those of this process, or of another one in its file. Returns `None` if the
/// owner may have overwritten the page during the copy, which may be torn then.
#[inline]
pub(crate) fn read_current<T>(
    seq: impl Fn(Ordering) -> u64,
    read: impl FnOnce(usize) -> T,
) -> Option<T> {
    // Acquire: pairs with the Release stores of `seq` in `flush`.
    let generation = seq(Acquire) >> 1;
    let copy = read((generation & 1) as usize);
    // Acquire: pairs with the Release fence in `flush` (F3).
    fence(Acquire);
    (seq(Relaxed) <= generation.saturating_add(1).saturating_mul(2)).then_some(copy)
}

/// A copy of the words of a page.
pub(crate) struct PageCopy {
    /// The count and the sum of earlier generations.
    earlier: (u64, f64),
    /// The sketch of earlier generations.
    pub(crate) tuples: Vec<Tuple>,
    pub(crate) is_degraded: bool,
    /// The values in the buffer.
    pub(crate) values: Vec<f64>,
}

impl PageCopy {
    /// Copies the words of a page, of this process or of another one in its file, with a buffer of
    /// this capacity.
    ///
    /// The lengths are clamped, because the page may be overwritten right now, and they may be
    /// torn: [`read_current`] finds that out later.
    #[inline]
    pub(crate) fn load(page: &[AtomicU64], capacity: usize) -> Self {
        let word = |word: &AtomicU64| word.load(Relaxed);
        // Acquire: pairs with the Release in `push` (F2).
        let values = (page[LEN].load(Acquire) as usize).min(capacity);
        let (count, sum) = (word(&page[COUNT]), word(&page[SUM]));
        let tuple_word = word(&page[TUPLES]);
        let (buffer, rest) = page[VALUES..].split_at(capacity);
        let tuples = ((tuple_word >> 1) as usize).min(rest.len() / 2);
        let tuples = rest.chunks_exact(2).take(tuples);
        let values = buffer[..values].iter();
        Self {
            earlier: (count, f64::from_bits(sum)),
            tuples: tuples
                .map(|pair| Tuple::from_words([word(&pair[0]), word(&pair[1])]))
                .collect(),
            is_degraded: tuple_word & 1 == 1,
            values: values.map(|value| f64::from_bits(word(value))).collect(),
        }
    }

    /// Returns the number of observations.
    pub(crate) fn count(&self) -> u64 {
        self.earlier.0.wrapping_add(self.values.len() as u64)
    }

    /// Returns their sum, rounded as the next flush will, so that a flush does not change it.
    pub(crate) fn sum(&self) -> f64 {
        let values = self.values.iter();
        values.fold(self.earlier.1, |sum, value| sum + value)
    }
}

/// Returns the sketch of the values in a buffer.
pub(crate) fn sketch_of_values(values: Vec<f64>) -> Sketch {
    let mut keys: Vec<_> = values.into_iter().map(key_of).collect();
    keys.sort_unstable();
    Sketch::from_sorted(&keys)
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.budget.expected.fetch_sub(self.expected, Relaxed);
        let history = self
            .own_page(self.seq.load(Relaxed) >> 1)
            .history
            .load(Relaxed);
        if !history.is_null() {
            // SAFETY: no thread reads the stream any more. The other page has the same pointer, or
            // one that was retired, so this one is freed once.
            unsafe { take(history) };
        }
        for page in &self.pages {
            let page = page.load(Relaxed);
            if !page.is_null() {
                // SAFETY: no thread reads the stream any more.
                unsafe { take(page) };
            }
        }
    }
}
