//! A summary of one thread: a buffer and a sketch, published so that a reader takes away an exact prefix of its
//! observations: count, sum and quantiles belong to the same ones.
//!
//! A stream has two pages. Generation `g` is page `g & 1`: a sketch, count and sum of all earlier generations, and a
//! buffer. The page of the current generation only ever gets values appended. A full buffer is sorted into the sketch,
//! and the result goes to the other page, which becomes generation `g + 1`.
//!
//! - I1: between `seq = 2g` and `seq = 2g + 2` nothing of page `g & 1` changes but its buffer's length and what lies beyond.
//! - I2: `values[..len]` are final once `len` is published (Release); who sees the length sees the values.
//! - I3: page `g & 1` is next written in the flush to `g + 2`, after `seq = 2(g + 1) + 1` and a Release fence. So a reader
//!   that saw anything of that finds, behind its Acquire fence, a `seq` beyond `2(g + 1)`, and tries again.
//! - I4: a page that was replaced by a larger one is freed an epoch later; readers pin.
//!
//! With a window the sketch is of one age, and `past` has those before: see [`window`](super::window).
//!
//! A writer stopped at any instruction leaves `seq` where it is: the next try of a reader succeeds, and hides at most its one
//! unfinished observation. A try fails only if a whole buffer was filled and flushed during it, twice.
//!
//! Source: a sequence lock over two slots (Lameter, "Effective synchronization on Linux/NUMA systems", 2005, has the one-slot
//! form); the odd store has to be a Release, too, or a reader that starts from it could see a stale page.

use std::sync::Arc;

use super::window::{Ages, Part, Past, closed, is_open};
use crate::lockfree::epoch::soon;
use crate::snapshot::sketch::{Bound, Scratch, Sketch, Tuple, key_of};
use crate::sync::{
    Acquire, AtomicPtr, AtomicU64, Relaxed, Release, fence, owner_load, owner_load_ptr,
};

/// Buffers grow with the stream: a rare series costs some hundred bytes.
#[cfg(not(loom))]
const BUFFERS: [(u64, usize); 3] = [(0, 16), (48, 64), (512, 256)];
#[cfg(loom)]
const BUFFERS: [(u64, usize); 2] = [(0, 1), (2, 2)];

const LEN: usize = 0;
const COUNT: usize = 1;
const SUM: usize = 2;
const TUPLES: usize = 3;
const VALUES: usize = 4;

/// One generation of a stream. See the module's text.
struct Page {
    /// Values the buffer takes.
    buffer: usize,
    /// The length at which a push is sent to a flush: `buffer`, or none once a scrape has closed it. The one word that
    /// readers write.
    limit: AtomicU64,
    /// When the buffer was begun, the age of the sketch, and the ages before; null without a window.
    past: AtomicPtr<Past>,
    words: Box<[AtomicU64]>,
    budget: Arc<Budget>,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.budget.add(-(self.words.len() as i64));
    }
}

/// What all streams together may take, and what they take: words of 8 bytes, replaced pages included until they are freed.
///
/// Near the limit new buffers are the smallest ones; at the limit no thread gets a stream of its own any more, and threads
/// share the series' one. What is there stays, so the limit is exceeded by sketches that unkind values make large.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
    /// What the streams there are may be expected to grow to.
    expected: AtomicU64,
}

impl Budget {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicU64::new(DEFAULT_LIMIT / 8),
            used: AtomicU64::new(0),
            expected: AtomicU64::new(0),
        })
    }

    /// Relaxed, as all of it: it is a rough rule, not a lock.
    pub(crate) fn add(&self, words: i64) {
        self.used.fetch_add(words as u64, Relaxed);
    }

    /// Bytes in use, and the limit.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (8 * self.used.load(Relaxed), 8 * self.limit.load(Relaxed))
    }

    pub(crate) fn set(&self, bytes: u64) {
        self.limit.store(bytes / 8, Relaxed);
    }

    /// Whether another thread may have a stream of its own: there has to be room for what each of them may grow to.
    pub(crate) fn has_room(&self) -> bool {
        let (used, expected) = (self.used.load(Relaxed), self.expected.load(Relaxed));
        used.max(expected) < self.limit.load(Relaxed)
    }

    /// What it asks of streams: 0 nothing, 1 small buffers, 2 that there are no more of them.
    pub(crate) fn mode(&self) -> u8 {
        if !self.has_room() {
            2
        } else {
            u8::from(!self.may_grow())
        }
    }

    /// Whether buffers may grow.
    fn may_grow(&self) -> bool {
        self.used.load(Relaxed) < self.limit.load(Relaxed) / 2
    }
}

/// Words of a stream with small buffers and an ordinary sketch: two pages.
const GROWN: u64 = 2 * (VALUES as u64 + 16 + 2 * 130);

/// Words of an ordinary sketch that is put aside.
const PUT_ASIDE: u64 = 2 * 90;

/// Bytes that all streams of a process may take, unless it says otherwise.
const DEFAULT_LIMIT: u64 = 64 << 20;

impl Page {
    fn new(budget: &Arc<Budget>, buffer: usize, tuples: usize) -> Box<Self> {
        let words = VALUES + buffer + 2 * tuples;
        budget.add(words as i64);
        Box::new(Self {
            buffer,
            limit: AtomicU64::new(buffer as u64),
            past: AtomicPtr::new(std::ptr::null_mut()),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            budget: Arc::clone(budget),
        })
    }

    fn room(&self) -> usize {
        (self.words.len() - VALUES - self.buffer) / 2
    }

    /// The owner begins it anew.
    fn open(&self, past: *mut Past) {
        // Stored only where they change: what does not change is nothing for models to explore.
        if self.limit.load(Relaxed) != self.buffer as u64 {
            self.limit.store(self.buffer as u64, Relaxed);
        }
        if owner_load_ptr(&self.past) != past {
            self.past.store(past, Relaxed);
        }
    }

    fn tuple(&self, i: usize) -> [&AtomicU64; 2] {
        let at = VALUES + self.buffer + 2 * i;
        [&self.words[at], &self.words[at + 1]]
    }
}

/// One thread's observations of one series. See the module's text.
pub(crate) struct Stream {
    seq: AtomicU64,
    pages: [AtomicPtr<Page>; 2],
    budget: Arc<Budget>,
    /// What the budget expects of it.
    expected: u64,
}

/// What a flush needs besides the stream.
#[derive(Debug, Default)]
pub struct Flush {
    keys: Vec<u64>,
    sketch: Sketch,
    scratch: Scratch,
}

/// What was observed: a prefix of every thread's observations.
#[derive(Debug, Default)]
pub struct Streamed {
    /// The number of observations.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The sketches of those that the window holds, one or two for every thread and age.
    pub parts: Vec<Part>,
}

impl Stream {
    /// Begins now, in a window of so many ages; 1 without a window.
    pub(crate) fn new(budget: &Arc<Budget>, now: Ages, ages: u64) -> Self {
        let mut first = Page::new(budget, BUFFERS[0].1, 0);
        if ages > 1 {
            first.past = AtomicPtr::new(Past::begin(now, budget));
        }
        let first = Box::into_raw(first);
        let expected = GROWN + (ages - 1) * PUT_ASIDE;
        budget.expected.fetch_add(expected, Relaxed);
        Self {
            budget: Arc::clone(budget),
            expected,
            seq: AtomicU64::new(0),
            pages: [AtomicPtr::new(first), AtomicPtr::new(std::ptr::null_mut())],
        }
    }

    /// The owner's page. Relaxed: the owner, or the one before it, stored the pointer.
    #[inline(always)]
    fn own_page(&self, generation: u64) -> &Page {
        let page = owner_load_ptr(&self.pages[(generation & 1) as usize]);
        // SAFETY: the page of the current generation is never null, and only the owner replaces it.
        unsafe { &*page }
    }

    /// The owner appends a value, if its buffer has room.
    #[inline]
    pub(crate) fn push(&self, value: f64) -> bool {
        let page = self.own_page(owner_load(&self.seq) >> 1);
        let len = owner_load(&page.words[LEN]);
        // Relaxed: a scrape that closes the buffer carries nothing but that.
        if len as i64 >= page.limit.load(Relaxed) as i64 {
            return false;
        }
        page.words[VALUES + len as usize].store(value.to_bits(), Relaxed);
        // Release: pairs with the Acquire in `read` (I2).
        page.words[LEN].store(len + 1, Release);
        true
    }

    /// The owner appends a value, and calls `flush` for room: more than once only where a scrape comes between (A3).
    /// Returns the number of observations.
    pub(crate) fn insert(&self, value: f64, mut flush: impl FnMut()) -> u64 {
        while !self.push(value) {
            flush();
        }
        self.own_count()
    }

    /// The owner takes its full or closed buffer into the sketch, and goes on in the other page.
    pub(crate) fn flush(&self, bound: Option<&Bound>, ages: Ages, flush: &mut Flush) {
        let generation = owner_load(&self.seq) >> 1;
        let page = self.own_page(generation);
        let len = owner_load(&page.words[LEN]) as usize;
        let mut sum = f64::from_bits(owner_load(&page.words[SUM]));
        flush.keys.clear();
        // Not by `push`, whose growth would keep the sum in memory: a third of what an observation costs.
        let values = page.words[VALUES..][..len].iter().map(owner_load);
        flush.keys.extend(values.map(|bits| {
            sum += f64::from_bits(bits);
            key_of(f64::from_bits(bits))
        }));
        let count = owner_load(&page.words[COUNT]) + len as u64;
        let before = owner_load_ptr(&page.past);
        // SAFETY: null, or made by an owner and freed by an owner only, after the flush that leaves it out (A2).
        let era = Past::of(unsafe { before.as_ref() });
        // Relaxed: as in `push`.
        let of_buffer = ages.of_buffer(era.begun, page.limit.load(Relaxed));
        let mut over = None;
        if let Some(bound) = bound {
            let tuples = owner_load(&page.words[TUPLES]);
            let held = (0..(tuples >> 1) as usize)
                .map(|i| Tuple::from_words(page.tuple(i).map(owner_load)));
            flush.sketch.load(held, tuples & 1 == 1);
            if of_buffer > era.age {
                over = Some(flush.sketch.clone());
                flush.sketch.load([].into_iter(), false);
            }
            flush.sketch.insert(bound, &flush.keys, &mut flush.scratch);
        } else {
            // It may be another stream's.
            flush.sketch.load([].into_iter(), false);
        }
        let past = if over.is_some() || ages.now > era.begun {
            era.next(over, of_buffer, ages, &self.budget)
        } else {
            before
        };
        let held = flush.sketch.tuples();
        let buffer = BUFFERS
            .iter()
            .rev()
            .find(|(least, _)| count >= *least)
            .filter(|_| page.budget.may_grow())
            .map_or(BUFFERS[0].1, |(_, buffer)| *buffer);

        let next = &self.pages[((generation + 1) & 1) as usize];
        // SAFETY: null, or a page that only the owner replaces.
        let fits = unsafe { owner_load_ptr(next).as_ref() }
            .is_some_and(|page| page.buffer >= buffer && page.room() >= held.len());
        let fresh = (!fits).then(|| {
            let room = if bound.is_some() {
                held.len() + held.len() / 4 + 4
            } else {
                0
            };
            Box::into_raw(Page::new(&page.budget, buffer, room))
        });
        // Release: pairs with the Acquire in `read`: a reader that begins from here sees page `generation` whole.
        self.seq.store(2 * generation + 1, Release);
        // Release: pairs with the Acquire fence in `read` (I3).
        fence(Release);
        if let Some(fresh) = fresh {
            // Relaxed: the fence above carries the page as it was made, to the Acquire in `read`.
            let old = next.swap(fresh, Relaxed);
            // SAFETY: no longer reachable for who pins from now on.
            unsafe { retire(old) };
        }
        // SAFETY: just made, or seen to fit.
        let page = unsafe { &*owner_load_ptr(next) };
        for (i, tuple) in held.iter().enumerate() {
            for (word, value) in page.tuple(i).into_iter().zip(tuple.to_words()) {
                word.store(value, Relaxed);
            }
        }
        let degraded = u64::from(flush.sketch.is_degraded());
        page.words[TUPLES].store((held.len() as u64) << 1 | degraded, Relaxed);
        page.words[COUNT].store(count, Relaxed);
        page.words[SUM].store(sum.to_bits(), Relaxed);
        page.words[LEN].store(0, Relaxed);
        page.open(past);
        // Release: pairs with the Acquire in `read`: the new generation is seen whole.
        self.seq.store(2 * generation + 2, Release);
        if before != past {
            // SAFETY: who pins from now on begins from this generation at least, which does not have it (A2).
            unsafe { retire(before) };
        }
    }

    /// The number of observations, as the owner knows it.
    pub(crate) fn own_count(&self) -> u64 {
        let page = self.own_page(owner_load(&self.seq) >> 1);
        owner_load(&page.words[COUNT]) + owner_load(&page.words[LEN])
    }

    /// Makes it like a fresh one; nobody writes it, and the pass that calls this is the only reader.
    pub(crate) fn clear(&self) {
        let page = self.own_page(self.seq.load(Relaxed) >> 1);
        for word in [LEN, COUNT, SUM, TUPLES] {
            page.words[word].store(0, Relaxed);
        }
        // SAFETY: null, or a past that nobody else uses now.
        if let Some(past) = unsafe { page.past.load(Relaxed).as_mut() } {
            past.forget();
        }
        // The next series begins when its first value comes.
        page.limit.store(closed(1), Relaxed);
    }

    /// Adds a prefix of the observations, and the quantiles of what is of these ages; false where the writer was too quick.
    /// One thread at a time does this, and has pinned the epoch.
    pub(crate) fn read(&self, ages: Ages, total: &mut Streamed) -> bool {
        let seq = self.seq.load(Acquire);
        let generation = seq >> 1;
        // Acquire: pairs with the Release fence in `flush`, before the exchange of the page.
        let page = self.pages[(generation & 1) as usize].load(Acquire);
        // SAFETY: null, or a page that is not freed while the epoch is pinned (I4).
        let Some(page) = (unsafe { page.as_ref() }) else {
            return false;
        };
        // Acquire: pairs with the Release in `push` (I2). Clamped: what is read may turn out to be torn.
        let len = (page.words[LEN].load(Acquire) as usize).min(page.buffer);
        let (count, sum) = (
            page.words[COUNT].load(Relaxed),
            page.words[SUM].load(Relaxed),
        );
        let tuples = page.words[TUPLES].load(Relaxed);
        let held = ((tuples >> 1) as usize).min(page.room());
        let held: Vec<_> = (0..held)
            .map(|i| Tuple::from_words(page.tuple(i).map(|word| word.load(Relaxed))))
            .collect();
        let tail: Vec<_> = page.words[VALUES..][..len]
            .iter()
            .map(|word| f64::from_bits(word.load(Relaxed)))
            .collect();
        let (limit, past) = (page.limit.load(Relaxed), page.past.load(Relaxed));
        // Pairs with the Release fence in `flush` (I3).
        fence(Acquire);
        if self.seq.load(Relaxed) > 2 * (generation + 1) {
            return false;
        }
        // SAFETY: null, or what this generation has, which is not freed while the epoch is pinned (A2).
        let era = Past::of(unsafe { past.as_ref() });
        let (age, of_buffer) = (era.age, ages.of_buffer(era.begun, limit));
        if is_open(limit) && ages.now > era.begun {
            // Relaxed, and maybe late (A3).
            page.limit.store(closed(of_buffer), Relaxed);
        }
        total.count = total.count.wrapping_add(count).wrapping_add(len as u64);
        let sum = tail
            .iter()
            .fold(f64::from_bits(sum), |sum, value| sum + value);
        total.sum = super::join_sums(total.sum, sum);
        let mut add = |age, sketch| total.parts.push(Part { age, sketch });
        if !held.is_empty() && ages.hold(age) {
            add(age, Sketch::from_parts(held, tuples & 1 == 1));
        }
        if !tail.is_empty() && ages.hold(of_buffer) {
            let mut keys: Vec<_> = tail.into_iter().map(key_of).collect();
            keys.sort_unstable();
            add(of_buffer, Sketch::from_sorted(&keys));
        }
        total.parts.extend(era.held(ages).cloned());
        true
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.budget.expected.fetch_sub(self.expected, Relaxed);
        let past = self
            .own_page(self.seq.load(Relaxed) >> 1)
            .past
            .load(Relaxed);
        if !past.is_null() {
            // SAFETY: as below; the other page has the same one, or one that was retired.
            drop(unsafe { Box::from_raw(past) });
        }
        for page in &self.pages {
            let page = page.load(Relaxed);
            if !page.is_null() {
                // SAFETY: the stream ends, so nobody reads its pages any more.
                drop(unsafe { Box::from_raw(page) });
            }
        }
    }
}

/// Frees a page, or a past, once nobody can be reading it any more.
///
/// # Safety
///
/// Who pins from now on does not find it.
unsafe fn retire<T: 'static>(page: *mut T) {
    if !page.is_null() {
        // SAFETY: by the caller's word.
        unsafe { soon(move || drop(Box::from_raw(page))) };
    }
}
