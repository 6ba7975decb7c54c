//! The parts of a run in the order of time, for charts.

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

#[cfg(test)]
mod tests {
    use super::*;
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
