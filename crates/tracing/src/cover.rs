//! The time that overlapping intervals cover: each instant counts once.
//!
//! ```text
//!   child 1      |=========|
//!   child 2           |=========|          |====|
//!   open     0   1    2    1    0          1    0
//!   covered      |--------------|          |----|
//! ```
//!
//! A span has two of these: one for its measured children, whose intervals last from creation to
//! close, and one for the threads inside it, whose intervals last from enter to exit.
//!
//! Times come in almost in order. A thread reads the clock first and takes the lock of the span
//! after that, so another thread may pass it in between. The cases:
//!
//! - Two begin, or two end, in the wrong order: the earlier begin or the later end counts. Exact.
//! - An interval begins before another one ends, but is reported after it: it begins where the last
//!   run of intervals ended. Exact, if it began during that run.
//! - An interval ends before another one begins, but is reported after it: the time between the two
//!   counts as covered. It is shorter than the time for which the thread was held up.

/// The union of intervals so far. Times are nanoseconds on one clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cover {
    /// The number of intervals that have begun and not ended.
    open: u32,
    /// Begin of the current run of overlapping intervals.
    since: u64,
    /// The latest end in the current run.
    latest: u64,
    /// End of the last run. Nothing before it counts again.
    floor: u64,
    /// Length of all runs that have ended.
    total: u64,
}

impl Cover {
    /// Begins an interval.
    pub(crate) fn begin(&mut self, now: u64) {
        let now = now.max(self.floor);
        if self.open == 0 {
            self.since = now;
            self.latest = now;
        }
        self.since = self.since.min(now);
        self.open = self.open.saturating_add(1);
    }

    /// Ends an interval. Does nothing if none is open.
    pub(crate) fn end(&mut self, now: u64) {
        let Some(open) = self.open.checked_sub(1) else {
            return;
        };
        self.open = open;
        self.latest = self.latest.max(now);
        if open == 0 {
            self.total += self.latest - self.since;
            self.floor = self.latest;
        }
    }

    /// Returns the covered time. Intervals that are still open end now.
    pub(crate) fn total(&self, now: u64) -> u64 {
        match self.open {
            0 => self.total,
            _ => self.total + self.latest.max(now) - self.since,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cover(events: &[(u64, bool)]) -> u64 {
        let mut cover = Cover::default();
        for &(now, begins) in events {
            match begins {
                true => cover.begin(now),
                false => cover.end(now),
            }
        }
        cover.total(u64::MAX / 2)
    }

    #[test]
    fn overlapping_intervals_count_once() {
        let events = [(1, true), (3, true), (5, false), (8, false)];
        assert_eq!(cover(&events), 7);
        let apart = [(1, true), (3, false), (5, true), (8, false)];
        assert_eq!(cover(&apart), 5);
    }

    #[test]
    fn a_late_report_of_an_earlier_time_counts() {
        assert_eq!(cover(&[(2, true), (1, true), (5, false), (4, false)]), 4);
        // The second one began at 4, before the first one ended.
        let passed = [(1, true), (5, false), (4, true), (8, false)];
        assert_eq!(cover(&passed), 7);
        // The same, in a run that has another interval.
        let passed = [
            (1, true),
            (5, false),
            (6, true),
            (4, true),
            (7, false),
            (8, false),
        ];
        assert_eq!(cover(&passed), 7, "nothing before the floor counts twice");
    }

    #[test]
    fn an_end_without_a_begin_is_ignored() {
        assert_eq!(cover(&[(3, false), (4, true), (6, false), (9, false)]), 2);
    }

    #[test]
    fn what_is_open_ends_now() {
        let mut cover = Cover::default();
        cover.begin(2);
        assert_eq!(cover.total(5), 3);
        cover.end(3);
        assert_eq!(cover.total(5), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn it_is_the_number_of_covered_instants(
            intervals in prop::collection::vec((0..60_u64, 0..20_u64), 0..12),
            by_key in any::<u64>(),
        ) {
            let exact = (0..100)
                .filter(|t| intervals.iter().any(|(a, n)| (*a..a + n).contains(t)))
                .count() as u64;
            let mut events: Vec<_> = intervals
                .iter()
                .flat_map(|(a, n)| [(*a, true), (a + n, false)])
                .collect();
            // Begins come first, where several events have one time; otherwise in any order.
            events.sort_by_key(|(time, begins)| {
                (*time, !begins, time.wrapping_mul(by_key))
            });
            prop_assert_eq!(cover(&events), exact);
            // Neighbours of one kind may change places.
            for i in 1..events.len() {
                if events[i - 1].1 == events[i].1 && (by_key >> (i % 64)) & 1 == 1 {
                    events.swap(i - 1, i);
                }
            }
            prop_assert_eq!(cover(&events), exact);
        }
    }
}
