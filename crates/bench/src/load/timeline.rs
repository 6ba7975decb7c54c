//! The parts of a run in the order of time, for charts.

use std::time::Duration;

use crate::Error;
use crate::recorder::Recording;

/// The number of parts at which pairs are joined.
const MOST: usize = 128;

/// Intervals of a recorder, joined with their neighbours so that there are never more than 128.
#[derive(Debug)]
pub(super) struct Timeline {
    parts: Vec<Recording>,
    /// The number of intervals of a part.
    size: usize,
    /// The number of intervals of the last part.
    filled: usize,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            size: 1,
            filled: 1,
        }
    }
}

impl Timeline {
    /// Adds the interval that follows the last one.
    pub(super) fn push(&mut self, interval: Recording) -> Result<(), Error> {
        if self.filled == self.size && self.parts.len() == MOST {
            for place in 0..MOST / 2 {
                let second = self.parts.remove(place + 1);
                self.parts[place].merge(&second)?;
            }
            self.size *= 2;
            self.filled = self.size;
        }
        match self.parts.last_mut() {
            Some(last) if self.filled < self.size => {
                last.merge(&interval)?;
                self.filled += 1;
            }
            _ => {
                self.parts.push(interval);
                self.filled = 1;
            }
        }
        Ok(())
    }

    /// The parts, the first one first.
    pub(super) fn parts(&self) -> &[Recording] {
        &self.parts
    }
}

/// The measured requests that had ended at some time, or were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Count {
    /// The time since the begin of the measurement.
    pub(super) at: Duration,
    pub(super) succeeded: u64,
    /// Failed or panicked.
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

/// Counts at equal distances, of which every second one is left out when there would be more than
/// 256.
#[derive(Debug, Default)]
pub(super) struct Progression {
    kept: Vec<Count>,
    /// One in `2^halved` of the counts is kept.
    halved: u32,
    seen: u64,
    last: Count,
}

impl Progression {
    pub(super) fn push(&mut self, count: Count) {
        self.seen += 1;
        self.last = count;
        if self.seen.is_multiple_of(1 << self.halved) {
            self.kept.push(count);
        }
        if self.kept.len() > 2 * MOST {
            // The last of each pair, as for those that follow.
            let pairs = self.kept.chunks_exact(2);
            self.kept = pairs.map(|pair| pair[1]).collect();
            self.halved += 1;
        }
    }

    /// The differences of counts, with the times of their ends: at most `most`, and one more for
    /// the rest.
    pub(super) fn parts(&self, most: usize) -> Vec<(Count, Count)> {
        let every = self.kept.len().div_ceil(most).max(1);
        let ends = self.kept.chunks_exact(every).map(|part| part[every - 1]);
        let mut ends: Vec<Count> = std::iter::once(Count::default()).chain(ends).collect();
        if ends.last() != Some(&self.last) {
            ends.push(self.last);
        }
        ends.windows(2).map(|pair| (pair[0], pair[1])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_left_out_evenly_and_their_differences_add_up() {
        for pushed in [0_u64, 1, 5, 256, 257, 1000, 5000] {
            let mut counts = Progression::default();
            for tick in 1..=pushed {
                counts.push(Count {
                    at: Duration::from_millis(50 * tick),
                    succeeded: 10 * tick,
                    failed: tick,
                    skipped: 2 * tick,
                });
                assert!(counts.kept.len() <= 2 * MOST);
            }
            let parts = counts.parts(40);
            assert!(parts.len() <= 41, "{}", parts.len());
            let sum = |of: fn(&Count) -> u64| -> u64 {
                parts.iter().map(|(from, to)| of(to) - of(from)).sum()
            };
            assert_eq!(sum(|count| count.succeeded), 10 * pushed);
            assert_eq!(sum(|count| count.failed), pushed);
            assert_eq!(sum(|count| count.skipped), 2 * pushed);
            // All but the last are equally long.
            let lengths: Vec<Duration> = parts.iter().map(|(from, to)| to.at - from.at).collect();
            if let [first, middle @ .., _] = &lengths[..] {
                assert!(middle.iter().all(|length| length == first), "{lengths:?}");
            }
        }
    }
    use crate::recorder::Recorder;

    #[test]
    fn neighbours_are_joined_and_nothing_is_lost() {
        let recorder = Recorder::new("query_seconds").unwrap();
        let mut intervals = recorder.intervals();
        let mut timeline = Timeline::default();
        for pushed in 1..=1000 {
            recorder.record_seconds(1.0);
            timeline.push(intervals.next_interval()).unwrap();
            let counts = timeline
                .parts
                .iter()
                .map(|part| part.distribution().count());
            assert_eq!(counts.sum::<u64>(), pushed);
            assert!(timeline.parts.len() <= MOST);
            assert!(pushed <= 64 || timeline.parts.len() > MOST / 2);
        }
        let counts = timeline
            .parts
            .iter()
            .map(|part| part.distribution().count());
        let counts: Vec<u64> = counts.collect();
        assert!(counts[..counts.len() - 1].iter().all(|count| *count == 8));
        let begins = timeline.parts.iter().map(Recording::begin);
        assert!(begins.is_sorted());
    }
}
