//! Sliding windows: which age an observation is of, and what becomes of the ages that are over.
//!
//! Time is cut into ages of equal length, numbered from 1. A stream's sketch is of one age: a flush in a later one puts
//! it aside, unchanged from then on ([`Past`]), and begins another. So a value is inserted once, and a scrape merges the
//! ages that the window holds, `oldest..=now`, of all streams: with what the sketches promise, for they merge. Nothing
//! has to happen for an age to leave: the next scrape passes it over, and the stream's next age drops it. Counts and sums
//! have no part in this. Without a window time stands still in age 1.
//!
//! **Which age.** The clock costs more than an observation, so only flushes and scrapes look at it. A buffer is begun in
//! some age `b`, and the looks in `b` find it so. The first look in a later age `t` settles that its values are of
//! `t - 1`: a flush takes them into the sketch of that age; a scrape *closes* the buffer with that age, which sends the
//! next push to a flush. Idle threads need no more: what they hold has an age, and the window moves on.
//!
//! A value of `b` or between is of a later age by this only if `t - 1 > b`: nobody has looked for a whole age. One of `t`
//! is of an earlier age by this: it came since the look before, which was in `b`. So:
//!
//! - A1: an observation stays for at least `(ages - 1) / ages` of the window, less the time between the looks before and
//!   after it; and for no longer than the window, unless nobody looked for a whole age when its own ended: then longer by
//!   that time and an age. With two ages or more, what was observed in the current age is in the window.
//!
//! Looks are as far apart as scrapes are, however rarely a thread observes; and by some microseconds in a busy one.
//!
//! **Beside a flush.** What a reader takes is one generation's (`stream`, I1 and I3): its sketch's age, its buffer's, and
//! the past. Each value is in one of the three, or its age was over when the owner looked.
//!
//! - A2: `Past` is written before the generation that has it is published, never changed, and freed an epoch after the next
//!   generation without it was. Readers follow the pointer once they know that it is their generation's.
//! - A3: closing is one store to a word that belongs to the page, and is not ordered with anything: it may come late, even to
//!   the generation after the next. Then it costs that one a flush, and no value is taken to be of an age before that page's
//!   beginning. As it may also come between a flush and the push that follows, a push tries until it has room; a scrape
//!   closes a stream once, and there is one scrape at a time.
//! - A4: ages of a stream never go back: the owner takes its clock for at least the age it has seen before. Where a clock
//!   goes back, or is behind another thread's, nothing leaves early.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::snapshot::sketch::Sketch;

use super::stream::Budget;

/// The length of a window, the number of its ages, and the time.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Nanoseconds of an age.
    length: u64,
    ages: u64,
    /// When age 1 began.
    origin: Instant,
    clock: fn() -> Instant,
}

impl Window {
    /// A window of so long, in so many ages, both above 0; the first age begins now.
    pub fn new(max_age: Duration, ages: u32, clock: fn() -> Instant) -> Self {
        Self {
            length: (saturated(max_age) / u64::from(ages.max(1))).max(1),
            ages: u64::from(ages),
            origin: clock(),
            clock,
        }
    }

    /// What the window holds now.
    pub(crate) fn now(&self) -> Ages {
        self.after((self.clock)().saturating_duration_since(self.origin))
    }

    /// The number of ages.
    pub(crate) fn ages(&self) -> u64 {
        self.ages
    }

    fn after(&self, passed: Duration) -> Ages {
        Ages::new(saturated(passed) / self.length + 1, self.ages)
    }
}

/// Nanoseconds; five hundred years are for ever.
fn saturated(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// The ages that a window holds at some time: `oldest..=now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ages {
    pub(crate) oldest: u64,
    pub(crate) now: u64,
}

impl Ages {
    /// Without a window.
    pub(crate) const ALL: Self = Self { oldest: 0, now: 1 };

    /// Where nobody asks for quantiles.
    pub(crate) const NONE: Self = Self {
        oldest: u64::MAX,
        now: 1,
    };

    pub(crate) fn new(now: u64, ages: u64) -> Self {
        Self {
            oldest: (now + 1).saturating_sub(ages),
            now,
        }
    }

    pub(crate) fn hold(self, age: u64) -> bool {
        age >= self.oldest
    }

    /// The age of the values in a buffer that was begun in `begun` and whose page has this limit.
    pub(crate) fn of_buffer(self, begun: u64, limit: u64) -> u64 {
        let settled = if is_open(limit) {
            self.now - 1
        } else {
            limit.wrapping_neg()
        };
        settled.max(begun)
    }
}

/// The limit of a buffer that a scrape closes with this age. A limit is what a push compares its buffer's length with, as
/// a signed number: the buffer's size, or the negative age.
pub(crate) fn closed(age: u64) -> u64 {
    age.wrapping_neg()
}

pub(crate) fn is_open(limit: u64) -> bool {
    limit as i64 > 0
}

/// What was observed in one age.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which.
    pub age: u64,
    /// Its values.
    pub sketch: Sketch,
}

/// What a stream has besides its current sketch: replaced once or twice in an age, and never changed.
pub(crate) struct Past {
    era: Era<Vec<Part>>,
    budget: Arc<Budget>,
}

/// When a page was begun, the age of its sketch, and the ages before.
#[derive(Clone, Copy)]
pub(crate) struct Era<P> {
    pub(crate) begun: u64,
    pub(crate) age: u64,
    parts: P,
}

impl Past {
    fn new(era: Era<Vec<Part>>, budget: &Arc<Budget>) -> *mut Self {
        let past = Self {
            era,
            budget: Arc::clone(budget),
        };
        budget.add(past.words());
        Box::into_raw(Box::new(past))
    }

    /// Of a stream that begins now.
    pub(crate) fn begin(now: Ages, budget: &Arc<Budget>) -> *mut Self {
        let (begun, age, parts) = (now.now, now.now, Vec::new());
        Self::new(Era { begun, age, parts }, budget)
    }

    /// As it is read; without a window it is always age 1.
    pub(crate) fn of(past: Option<&Self>) -> Era<&[Part]> {
        past.map_or(
            Era {
                begun: 1,
                age: 1,
                parts: &[],
            },
            |past| Era {
                begun: past.era.begun,
                age: past.era.age,
                parts: &past.era.parts,
            },
        )
    }

    /// Drops the ages before: the stream is another series' now.
    pub(crate) fn forget(&mut self) {
        self.budget.add(-self.words());
        self.era.parts = Vec::new();
        self.budget.add(self.words());
    }

    fn words(&self) -> i64 {
        let parts = self.era.parts.iter();
        let words = parts.map(|part| 6 + 2 * part.sketch.tuples().len());
        8 + words.sum::<usize>() as i64
    }
}

impl Era<&[Part]> {
    pub(crate) fn held(&self, ages: Ages) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| ages.hold(part.age))
    }

    /// The past of a page that is begun now: of these ages what the window holds, and the sketch that is over, if one is.
    pub(crate) fn next(
        self,
        over: Option<Sketch>,
        of_buffer: u64,
        ages: Ages,
        budget: &Arc<Budget>,
    ) -> *mut Past {
        let begun = ages.now.max(of_buffer);
        let age = if over.is_some() { of_buffer } else { self.age };
        let over = over.map(|sketch| Part {
            age: self.age,
            sketch,
        });
        let parts = self.parts.iter().cloned().chain(over);
        let parts = parts.filter(|part| ages.hold(part.age) && part.sketch.n() > 0);
        let parts = parts.collect();
        Past::new(Era { begun, age, parts }, budget)
    }
}

impl Drop for Past {
    fn drop(&mut self) {
        self.budget.add(-self.words());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::super::stream::{Flush, Stream, Streamed};
    use super::*;
    use crate::snapshot::sketch::{Bound, Targets, value_of};

    /// A stream beside its clock, with nothing absorbed: the sketches then tell which values the window holds.
    struct Watched {
        stream: Stream,
        budget: Arc<Budget>,
        bound: Bound,
        flush: Flush,
        ages: u64,
    }

    impl Watched {
        fn new(now: u64, ages: u64) -> Self {
            let budget = Budget::new();
            Self {
                stream: Stream::new(&budget, Ages::new(now, ages), ages),
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

        /// Count, and the values in the window.
        fn read(&self, now: u64) -> (u64, Vec<f64>) {
            let mut total = Streamed::default();
            let _pinned = crate::lockfree::epoch::pin();
            assert!(self.stream.read(Ages::new(now, self.ages), &mut total));
            let tuples = total.parts.iter().flat_map(|part| part.sketch.tuples());
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
        assert!(forever.hold(1));
    }

    #[test]
    fn each_age_leaves_in_its_turn() {
        let mut watched = Watched::new(1, 3);
        for age in 1..=6 {
            // A look at the beginning of each: what follows is of this one.
            watched.read(age);
            for i in 0..40 {
                watched.push(age, (100 * age + i) as f64);
            }
            let (count, values) = watched.read(age);
            assert_eq!(count, 40 * age);
            let expected = (age.saturating_sub(2).max(1)..=age)
                .flat_map(|age| (0..40).map(move |i| (100 * age + i) as f64));
            assert_eq!(values, expected.collect::<Vec<_>>());
        }
    }

    /// Nothing is ever flushed here: a scrape settles what the buffer is of, and moves on.
    #[test]
    fn an_idle_thread_ages_out() {
        let mut watched = Watched::new(1, 3);
        watched.push(1, 1.0);
        for (now, expected) in [(1, 1), (2, 1), (3, 1), (4, 0), (1000, 0)] {
            let (count, values) = watched.read(now);
            assert_eq!((count, values.len()), (1, expected), "{now}");
        }
        watched.push(1001, 2.0);
        assert_eq!(watched.read(1001), (2, vec![2.0]));
        // The same by sketches: 200 values are flushed.
        let mut watched = Watched::new(1, 3);
        (0..200).for_each(|i| watched.push(1 + i / 100, i as f64));
        assert_eq!(watched.read(3).1.len(), 200);
        let left = watched.read(4).1.len();
        // By what the buffer of then held, at most 64.
        assert!((36..=164).contains(&left), "{left}");
        assert_eq!(watched.read(5), (200, vec![]));
    }

    #[test]
    fn a_thread_that_observes_rarely_is_seen_all_the_same() {
        let mut watched = Watched::new(1, 5);
        for age in 1..=100 {
            watched.push(age, age as f64);
            let (_, values) = watched.read(age);
            assert_eq!(values.last(), Some(&(age as f64)));
            assert!(values.len() <= 6, "{values:?}");
        }
        // Nobody looks for long; then what is new is there.
        (101..=110).for_each(|age| watched.push(age, age as f64));
        assert_eq!(watched.read(300).1.last(), Some(&110.0));
        assert_eq!(watched.read(304), (110, vec![]));
    }

    #[test]
    fn a_clock_that_goes_back_loses_nothing() {
        let mut watched = Watched::new(10, 3);
        for i in 0..100 {
            watched.push(10, f64::from(i));
        }
        for now in [9, 1, 12] {
            assert_eq!(watched.read(now).1.len(), 100, "{now}");
        }
        for i in 100..200 {
            watched.push(3, f64::from(i));
        }
        assert_eq!(watched.read(3).1.len(), 200);
        assert_eq!(watched.read(12).1.len(), 200);
        assert_eq!(watched.read(15), (200, vec![]));
    }

    /// A scrape that is late closes a page that has been begun anew.
    #[test]
    fn what_is_closed_late_is_not_older_than_its_page() {
        let ages = Ages::new(9, 3);
        assert_eq!(ages.of_buffer(9, 16), 9);
        assert_eq!(ages.of_buffer(7, 16), 8);
        assert_eq!(ages.of_buffer(7, closed(7)), 7);
        assert_eq!(ages.of_buffer(9, closed(4)), 9);
        assert!(is_open(16) && !is_open(closed(1)));
    }

    #[test]
    fn ages_give_their_memory_back() {
        let mut watched = Watched::new(1, 4);
        let mut most = 0;
        for age in 1..=50 {
            (0..100).for_each(|i| watched.push(age, f64::from(i)));
            most = most.max(watched.budget.bytes().0);
        }
        // Four ages of 100 values that are all kept, and two pages for 200 values and a buffer of 256, at most.
        let least = 4 * 16 * 90;
        assert!((least..40_000).contains(&most), "{most}");
        let Watched { stream, budget, .. } = watched;
        drop(stream);
        while budget.bytes().0 > 0 {
            crate::lockfree::epoch::pin().flush();
        }
        assert!(budget.has_room());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Pass(u64),
        Push,
        Scrape,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

        /// A1, against a list of all values and their times: scrapes are the looks that are known here, and flushes come
        /// on top.
        #[test]
        fn every_value_stays_as_long_as_promised(
            ages in 2_u32..7,
            steps in prop::collection::vec(prop_oneof![
                (0_u64..400).prop_map(Step::Pass),
                (0_u64..40).prop_map(Step::Pass),
                Just(Step::Push), Just(Step::Push), Just(Step::Push),
                Just(Step::Scrape),
            ], 1..200),
        ) {
            let length = 100;
            let window = Window::new(Duration::from_nanos(length * u64::from(ages)), ages, Instant::now);
            let span = length * u64::from(ages);
            let age = |time| window.after(Duration::from_nanos(time)).now;
            let mut watched = Watched::new(1, u64::from(ages));
            let (mut time, mut looks, mut pushed) = (0, vec![0], Vec::new());
            for step in steps {
                match step {
                    Step::Pass(more) => time += more,
                    Step::Push => {
                        watched.push(age(time), pushed.len() as f64);
                        pushed.push((time, looks.len()));
                    }
                    Step::Scrape => {
                        looks.push(time);
                        let (count, held) = watched.read(age(time));
                        prop_assert_eq!(count, pushed.len() as u64);
                        for (i, (then, look)) in pushed.iter().enumerate() {
                            let (between, old) = (looks[*look] - looks[look - 1], time - then);
                            let holds = held.contains(&(i as f64));
                            prop_assert!(holds || old + between > span - length, "{} left at {}", then, time);
                            // The looks around the end of its age, if there was one since.
                            let later = looks.iter().position(|look| age(*look) > age(*then));
                            let end = later.map_or(0, |i| looks[i] - looks[i - 1]);
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
