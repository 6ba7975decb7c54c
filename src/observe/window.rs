//! Sliding windows: the age of an observation, and the sketches of earlier ages.
//!
//! # Ages
//!
//! Time is divided into *ages* of equal length, numbered from 1. The window holds the ages
//! `oldest..=now`. The sketch of a stream is of one age. The first flush in a later age puts that
//! sketch aside ([`History`]), where it does not change any more, and starts another. So a value is
//! inserted once.
//!
//! A scrape merges the sketches of the window's ages from all streams. Merged sketches still meet
//! the objectives. An age leaves the window without any action: the next scrape skips it, and the
//! stream drops it when its next age starts. Count and sum always cover all observations. Without a
//! window it is always age 1.
//!
//! # The age of a value
//!
//! Reading the clock costs more than an observation, so only flushes and scrapes read it. If a
//! buffer was started in age `b`, then a clock reading in `b` changes nothing. The first clock
//! reading in a later age `t` decides that the values of the buffer are of age `t - 1`:
//!
//! - A flush inserts them into the sketch of age `t - 1`.
//! - A scrape *closes* the buffer with age `t - 1`: it replaces the buffer's limit, and the next
//!   push has to flush. A thread that no longer observes does not have to do anything: its values
//!   have an age, which leaves the window in time.
//!
//! The decision can be wrong in two ways:
//!
//! - A value of age `b` to `t - 2` is counted for age `t - 1`, so it stays too long. This happens
//!   only if `t - 1 > b`: there was no clock reading for a whole age.
//! - A value of age `t` is counted for age `t - 1`, so it leaves too early. It was observed after
//!   the previous clock reading, which was in `b`.
//!
//! The time between clock readings is that between scrapes if the thread observes rarely, and some
//! microseconds if it is busy. The result:
//!
//! - A1: An observation stays for at least `(ages - 1) / ages` of the window, minus the time
//!   between the clock readings before and after it. It stays for no longer than the window, unless
//!   the clock readings before and after the end of its age are more than an age apart: then it
//!   stays longer by that time plus one age. If the window has two or more ages, it holds all
//!   observations of the current one.
//!
//! # A reader beside a flush
//!
//! A reader gets the sketch, the buffer and the earlier ages of one generation (invariants F1 and
//! F3 of [`stream`](super::stream)). Each value is in one of the three, unless its age had left the
//! window when the owner read the clock.
//!
//! - A2: A `History` is written before the generation that has it is published, and does not change
//!   as long as another thread can read it. It is freed an epoch after the first generation without
//!   it is published. A reader dereferences the pointer only after it has confirmed that the
//!   pointer belongs to its generation.
//! - A3: A scrape closes a buffer by one Relaxed store to a word of the page. The store can arrive
//!   late:
//!   - In a later generation of the same page. That generation is flushed early, and its values get
//!     an age that is not before the one in which its buffer was started.
//!   - Between a flush and the push that follows. The push flushes again, and so on until it
//!     succeeds. This ends because a scrape closes a stream once, and there is one scrape at a
//!     time.
//! - A4: The ages of a stream never go back: the owner raises the age from its clock to the highest
//!   that the stream has had. If a clock goes back, or is behind that of another thread, no value
//!   leaves the window early.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mapped::{Own, Place, Words};
use crate::snapshot::sketch::{Sketch, Tuple};
use crate::sync::{AtomicU64, Relaxed};

use super::stream::StreamBudget;

/// A sliding window: its length, the number of its ages, and its clock.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The length of an age in nanoseconds.
    length: u64,
    /// The number of ages.
    ages: u64,
    /// The time at which age 1 started.
    origin: Instant,
    /// The clock.
    clock: fn() -> Instant,
}

impl Window {
    /// Creates a window of length `max_age`, divided into `ages` ages. Both are above 0. Age 1
    /// starts now.
    pub fn new(max_age: Duration, ages: u32, clock: fn() -> Instant) -> Self {
        Self {
            length: (saturating_nanos(max_age) / u64::from(ages.max(1))).max(1),
            ages: u64::from(ages),
            origin: clock(),
            clock,
        }
    }

    /// Returns the ages that the window holds now.
    pub(crate) fn now(&self) -> Ages {
        self.after((self.clock)().saturating_duration_since(self.origin))
    }

    /// Returns when age 1 began, as `CLOCK_MONOTONIC` has it, the length of an age in nanoseconds,
    /// and the number of ages.
    #[cfg(not(loom))]
    pub(crate) fn in_file(&self) -> [u64; 3] {
        let now = (self.clock)();
        let passed = saturating_nanos(now.saturating_duration_since(self.origin));
        let origin = crate::mapped::region::monotonic_nanos().saturating_sub(passed);
        [origin, self.length, self.ages]
    }

    /// Returns the number of ages.
    pub(crate) fn ages(&self) -> u64 {
        self.ages
    }

    /// Returns the ages that the window holds at a time after its origin.
    fn after(&self, passed: Duration) -> Ages {
        Ages::new(saturating_nanos(passed) / self.length + 1, self.ages)
    }
}

/// Converts to nanoseconds. Durations above 584 years saturate.
fn saturating_nanos(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// The ages that a window holds at one time: `oldest..=now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ages {
    pub(crate) oldest: u64,
    pub(crate) now: u64,
}

impl Ages {
    /// The ages of a summary without a window: all observations are of age 1.
    pub(crate) const ALL: Self = Self { oldest: 0, now: 1 };

    /// The ages of a summary without objectives: no sketch is needed.
    pub(crate) const NONE: Self = Self {
        oldest: u64::MAX,
        now: 1,
    };

    /// Returns the last `ages` ages up to `now`.
    pub(crate) fn new(now: u64, ages: u64) -> Self {
        Self {
            oldest: (now + 1).saturating_sub(ages),
            now,
        }
    }

    /// Returns whether the window holds `age`.
    pub(crate) fn contains(self, age: u64) -> bool {
        age >= self.oldest
    }

    /// Returns the age of the values in a buffer that was started in age `started` and has this
    /// limit.
    pub(crate) fn buffer_age(self, started: u64, limit: u64) -> u64 {
        let age = if is_open(limit) {
            self.now - 1
        } else {
            limit.wrapping_neg()
        };
        age.max(started)
    }
}

/// Returns the limit of a buffer that a scrape closes with this age.
///
/// A push compares the length of its buffer with the limit, as signed numbers. The limit is the
/// capacity of the buffer if the buffer is open, and the negative age if it is closed.
pub(crate) fn closed_limit(age: u64) -> u64 {
    age.wrapping_neg()
}

/// Returns whether a limit is that of an open buffer.
pub(crate) fn is_open(limit: u64) -> bool {
    limit as i64 > 0
}

/// The observations of one stream in one age.
#[derive(Clone, Debug)]
pub struct AgeSketch {
    /// The age.
    pub age: u64,
    /// The values.
    pub sketch: Sketch,
}

/// The ages of a page, and the sketches of earlier ages. Does not change while it is published; a
/// flush replaces it once or twice per age (A2). Other processes may read it in a file.
#[repr(C)]
pub(crate) struct History {
    /// The age in which the page's buffer was started. Written by the owner before publication,
    /// read by passes, as all fields are.
    started: u64,
    /// The age of the page's sketch.
    sketch_age: u64,
    /// The sketches of earlier ages, as [`encode`] writes them.
    older: Words,
    /// The budget that the sketches count against.
    budget: Arc<StreamBudget>,
}

/// The ages of a page, with the sketches of earlier ages.
#[derive(Clone, Copy)]
pub(crate) struct PageAges<'a> {
    /// The age in which the page's buffer was started.
    pub(crate) started: u64,
    /// The age of the page's sketch.
    pub(crate) sketch_age: u64,
    /// The sketches of earlier ages, as [`encode`] writes them.
    pub(crate) older: &'a [AtomicU64],
}

/// Writes sketches to words: for each its age, twice the number of its tuples plus 1 if it is
/// degraded, and the tuples. The words are not published yet.
pub(crate) fn encode(sketches: &[AgeSketch], words: &[AtomicU64]) {
    let mut words = words.iter();
    let mut put = |value| {
        if let Some(word) = words.next() {
            // Relaxed: the thread that publishes the words carries this store.
            word.store(value, Relaxed);
        }
    };
    for AgeSketch { age, sketch } in sketches {
        put(*age);
        put((sketch.tuples().len() as u64) << 1 | u64::from(sketch.is_degraded()));
        sketch
            .tuples()
            .iter()
            .flat_map(|tuple| tuple.to_words())
            .for_each(&mut put);
    }
}

/// Returns the number of words that [`encode`] writes.
pub(crate) fn encoded_len(sketches: &[AgeSketch]) -> usize {
    let words = |part: &AgeSketch| 2 + 2 * part.sketch.tuples().len();
    sketches.iter().map(words).sum()
}

/// Iterates over the sketches that [`encode`] wrote.
pub(crate) fn decode(words: &[AtomicU64]) -> impl Iterator<Item = AgeSketch> {
    let mut rest = words;
    std::iter::from_fn(move || {
        // Relaxed: as in `encode`.
        let [age, head] = [rest.first()?, rest.get(1)?].map(|word| word.load(Relaxed));
        let (tuples, after) = rest.get(2..)?.split_at_checked((head >> 1) as usize * 2)?;
        rest = after;
        let tuples = tuples
            .chunks_exact(2)
            .map(|pair| Tuple::from_words([0, 1].map(|i| pair[i].load(Relaxed))))
            .collect();
        let sketch = Sketch::from_parts(tuples, head & 1 == 1);
        Some(AgeSketch { age, sketch })
    })
}

impl History {
    fn new(
        started: u64,
        sketch_age: u64,
        older: &[AgeSketch],
        (budget, place): (&Arc<StreamBudget>, Place),
    ) -> *mut Self {
        let words = Words::new(encoded_len(older), place);
        encode(older, &words);
        let history = Self {
            started,
            sketch_age,
            older: words,
            budget: Arc::clone(budget),
        };
        let history = Own::new(history, place);
        budget.add(history.words());
        history.into_raw()
    }

    /// Allocates the ages of a stream that starts now.
    pub(crate) fn start(now: Ages, budget: &Arc<StreamBudget>, place: Place) -> *mut Self {
        Self::new(now.now, now.now, &[], (budget, place))
    }

    /// Returns ages of the same content, in memory that is allocated now.
    pub(crate) fn copy(&self, place: Place) -> *mut Self {
        let older: Vec<_> = decode(&self.older).collect();
        Self::new(self.started, self.sketch_age, &older, (&self.budget, place))
    }

    /// Borrows the ages. Without a window (`None`) it is always age 1.
    pub(crate) fn view(history: Option<&Self>) -> PageAges<'_> {
        history.map_or(
            PageAges {
                started: 1,
                sketch_age: 1,
                older: &[],
            },
            |history| PageAges {
                started: history.started,
                sketch_age: history.sketch_age,
                older: &history.older,
            },
        )
    }

    /// Drops the sketches of earlier ages. Another series gets the stream.
    pub(crate) fn clear(&mut self) {
        self.budget.add(-self.words());
        self.older = Words::new(0, Place::of(self));
        self.budget.add(self.words());
    }

    /// Returns the size in words.
    fn words(&self) -> i64 {
        8 + self.older.len() as i64
    }
}

impl PageAges<'_> {
    /// Returns the sketches of those earlier ages that the window holds.
    pub(crate) fn older_in(&self, ages: Ages) -> impl Iterator<Item = AgeSketch> {
        decode(self.older).filter(move |part| ages.contains(part.age))
    }

    /// Allocates the ages of a page that is started now.
    ///
    /// `finished` is the page's sketch if its age has ended; it joins the sketches of earlier ages.
    /// Sketches that have left the window are dropped. `buffer_age` is the age of the flushed
    /// values.
    pub(crate) fn next(
        self,
        finished: Option<Sketch>,
        buffer_age: u64,
        ages: Ages,
        budget: (&Arc<StreamBudget>, Place),
    ) -> *mut History {
        let started = ages.now.max(buffer_age);
        let sketch_age = if finished.is_some() {
            buffer_age
        } else {
            self.sketch_age
        };
        let finished = finished.map(|sketch| AgeSketch {
            age: self.sketch_age,
            sketch,
        });
        let older = decode(self.older).chain(finished);
        let older = older.filter(|part| ages.contains(part.age) && part.sketch.n() > 0);
        let older: Vec<_> = older.collect();
        History::new(started, sketch_age, &older, budget)
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.budget.add(-self.words());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::super::stream::{Flush, Stream, SummaryTotal};
    use super::*;
    use crate::snapshot::sketch::{Bound, Targets, value_of};

    /// A stream with its clock. Its bound is so tight that sketches absorb nothing, so they tell
    /// which values the window holds.
    struct TimedStream {
        stream: Stream,
        budget: Arc<StreamBudget>,
        bound: Bound,
        flush: Flush,
        ages: u64,
    }

    impl TimedStream {
        fn new(now: u64, ages: u64) -> Self {
            let budget = StreamBudget::new();
            Self {
                stream: Stream::new(&budget, Ages::new(now, ages), ages, Place::Heap),
                budget,
                bound: Bound::new(&Targets::new(&[(0.5, 0.0005)])),
                flush: Flush::default(),
                ages,
            }
        }

        fn push(&mut self, now: u64, value: f64) {
            let now = Ages::new(now, self.ages);
            self.stream.insert(value, || {
                self.stream.flush(Some(&self.bound), now, &mut self.flush);
            });
        }

        /// Returns the count, and the values in the window.
        fn read(&self, now: u64) -> (u64, Vec<f64>) {
            let mut total = SummaryTotal::default();
            let _pinned = crate::lockfree::epoch::pin();
            assert!(self.stream.read(Ages::new(now, self.ages), &mut total));
            let tuples = total.sketches.iter().flat_map(|part| part.sketch.tuples());
            let mut values: Vec<_> = tuples
                .inspect(|tuple| assert_eq!(tuple.g, 1))
                .map(|tuple| value_of(tuple.key))
                .collect();
            values.sort_unstable_by(f64::total_cmp);
            (total.count, values)
        }
    }

    #[test]
    fn ages_end_at_their_boundary() {
        let window = Window::new(Duration::from_secs(600), 5, Instant::now);
        let at = |seconds, nanos| window.after(Duration::new(seconds, nanos));
        assert_eq!(at(0, 0), Ages { oldest: 0, now: 1 });
        assert_eq!(at(119, 999_999_999), Ages { oldest: 0, now: 1 });
        assert_eq!(at(120, 0), Ages { oldest: 0, now: 2 });
        assert_eq!(at(599, 999_999_999), Ages { oldest: 1, now: 5 });
        assert_eq!(at(600, 0), Ages { oldest: 2, now: 6 });
        let century = Duration::from_secs(3_000_000_000);
        let forever = Window::new(Duration::MAX, 2, Instant::now).after(century);
        assert!(forever.contains(1));
    }

    #[test]
    fn each_age_leaves_in_its_turn() {
        let mut timed = TimedStream::new(1, 3);
        for age in 1..=6 {
            // A clock reading at the start of each age: the following values are of this age.
            timed.read(age);
            for i in 0..40 {
                timed.push(age, (100 * age + i) as f64);
            }
            let (count, values) = timed.read(age);
            assert_eq!(count, 40 * age);
            let expected = (age.saturating_sub(2).max(1)..=age)
                .flat_map(|age| (0..40).map(move |i| (100 * age + i) as f64));
            assert_eq!(values, expected.collect::<Vec<_>>());
        }
    }

    /// The first part flushes nothing: a scrape decides the age of the buffer.
    #[test]
    fn an_idle_thread_ages_out() {
        let mut timed = TimedStream::new(1, 3);
        timed.push(1, 1.0);
        for (now, expected) in [(1, 1), (2, 1), (3, 1), (4, 0), (1000, 0)] {
            let (count, values) = timed.read(now);
            assert_eq!((count, values.len()), (1, expected), "{now}");
        }
        timed.push(1001, 2.0);
        assert_eq!(timed.read(1001), (2, vec![2.0]));
        // The same with sketches: 200 values are flushed.
        let mut timed = TimedStream::new(1, 3);
        (0..200).for_each(|i| timed.push(1 + i / 100, i as f64));
        assert_eq!(timed.read(3).1.len(), 200);
        let left = timed.read(4).1.len();
        // The difference is the content of the buffer when age 1 ended: at most 64 values.
        assert!((36..=164).contains(&left), "{left}");
        assert_eq!(timed.read(5), (200, vec![]));
    }

    #[test]
    fn a_thread_that_observes_rarely_is_seen_all_the_same() {
        let mut timed = TimedStream::new(1, 5);
        for age in 1..=100 {
            timed.push(age, age as f64);
            let (_, values) = timed.read(age);
            assert_eq!(values.last(), Some(&(age as f64)));
            assert!(values.len() <= 6, "{values:?}");
        }
        // There is no scrape for a long time. The next one still sees the latest value.
        (101..=110).for_each(|age| timed.push(age, age as f64));
        assert_eq!(timed.read(300).1.last(), Some(&110.0));
        assert_eq!(timed.read(304), (110, vec![]));
    }

    #[test]
    fn a_clock_that_goes_back_loses_nothing() {
        let mut timed = TimedStream::new(10, 3);
        for i in 0..100 {
            timed.push(10, f64::from(i));
        }
        for now in [9, 1, 12] {
            assert_eq!(timed.read(now).1.len(), 100, "{now}");
        }
        for i in 100..200 {
            timed.push(3, f64::from(i));
        }
        assert_eq!(timed.read(3).1.len(), 200);
        assert_eq!(timed.read(12).1.len(), 200);
        assert_eq!(timed.read(15), (200, vec![]));
    }

    /// A late store of a scrape closes a buffer that was started in a later age (A3).
    #[test]
    fn a_late_close_does_not_date_values_before_their_page() {
        let ages = Ages::new(9, 3);
        assert_eq!(ages.buffer_age(9, 16), 9);
        assert_eq!(ages.buffer_age(7, 16), 8);
        assert_eq!(ages.buffer_age(7, closed_limit(7)), 7);
        assert_eq!(ages.buffer_age(9, closed_limit(4)), 9);
        assert!(is_open(16) && !is_open(closed_limit(1)));
    }

    #[test]
    fn ages_give_their_memory_back() {
        let mut timed = TimedStream::new(1, 4);
        // At least the sketches of four ages with 100 values each, which absorb nothing. At most
        // those and two pages, each with 200 values and a buffer of 256.
        let allowed = 4 * 16 * 90..40_000;
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let mut most = 0;
        for age in 1..=50 {
            (0..100).for_each(|i| timed.push(age, f64::from(i)));
            // Memory that was replaced is there until the threads of other tests let go of it.
            while timed.budget.bytes().0 >= allowed.end && std::time::Instant::now() < end {
                crate::lockfree::epoch::pin().flush();
            }
            most = most.max(timed.budget.bytes().0);
        }
        assert!(allowed.contains(&most), "{most}");
        let TimedStream { stream, budget, .. } = timed;
        drop(stream);
        while budget.bytes().0 > 0 {
            crate::lockfree::epoch::pin().flush();
        }
        assert!(budget.allows_streams());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Elapse(u64),
        Push,
        Scrape,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

        /// A1, compared with a list of all values and their times. The test knows the clock
        /// readings of scrapes; flushes read the clock in addition.
        #[test]
        fn every_value_stays_as_long_as_promised(
            ages in 2_u32..7,
            steps in prop::collection::vec(prop_oneof![
                (0_u64..400).prop_map(Step::Elapse),
                (0_u64..40).prop_map(Step::Elapse),
                Just(Step::Push), Just(Step::Push), Just(Step::Push),
                Just(Step::Scrape),
            ], 1..200),
        ) {
            let length = 100;
            let window = Window::new(Duration::from_nanos(length * u64::from(ages)), ages, Instant::now);
            let span = length * u64::from(ages);
            let age = |time| window.after(Duration::from_nanos(time)).now;
            let mut timed = TimedStream::new(1, u64::from(ages));
            let (mut time, mut scrapes, mut pushed) = (0, vec![0], Vec::new());
            for step in steps {
                match step {
                    Step::Elapse(more) => time += more,
                    Step::Push => {
                        timed.push(age(time), pushed.len() as f64);
                        pushed.push((time, scrapes.len()));
                    }
                    Step::Scrape => {
                        scrapes.push(time);
                        let (count, held) = timed.read(age(time));
                        prop_assert_eq!(count, pushed.len() as u64);
                        for (i, (then, scrape)) in pushed.iter().enumerate() {
                            let (between, old) = (scrapes[*scrape] - scrapes[scrape - 1], time - then);
                            let holds = held.contains(&(i as f64));
                            prop_assert!(holds || old + between > span - length, "{} left at {}", then, time);
                            // The time between the scrapes before and after the end of the value's
                            // age.
                            let later = scrapes.iter().position(|scrape| age(*scrape) > age(*then));
                            let end = later.map_or(0, |i| scrapes[i] - scrapes[i - 1]);
                            let late = if end > length { end + length } else { 0 };
                            prop_assert!(!holds || old < span + late, "{} stayed at {}", then, time);
                            prop_assert!(holds || age(*then) < age(time), "{} is of now", then);
                        }
                    }
                }
            }
        }
    }
}
