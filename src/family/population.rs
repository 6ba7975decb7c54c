//! The number of series that a family has made, and how many of them are live.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Both numbers in one word, the live series in its upper half, so that making a series takes one
/// compare-and-swap. Written by threads that make, remove or retire series, read by those and by
/// scrapes.
#[derive(Debug, Default)]
pub(super) struct Population(AtomicU64);

const LIVE: u64 = 1 << 32;

impl Population {
    /// Returns the number of series made so far, including those that are not live. A reused series
    /// counts once.
    pub(super) fn made(&self) -> usize {
        self.0.load(Relaxed) as u32 as usize
    }

    /// Returns the number of live series.
    pub(super) fn live(&self) -> usize {
        (self.0.load(Relaxed) >> 32) as usize
    }

    /// Counts one more live series, which is new (`is_new`) or reused. Returns how many were made
    /// before, which is the number of a new one, or `None` if `limit` series are live.
    pub(super) fn add(&self, limit: usize, is_new: bool) -> Option<u32> {
        let one = LIVE + u64::from(is_new);
        let more = |word: u64| ((word >> 32) < limit as u64).then(|| word + one);
        let before = self.0.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(before as u32)
    }

    /// Counts a series as new that [`add`](Self::add) counted as reused, because there was none to
    /// reuse. Returns its number.
    pub(super) fn count_made(&self) -> u32 {
        self.0.fetch_add(1, Relaxed) as u32
    }

    /// Counts one live series less, which was removed or retired.
    pub(super) fn retire(&self) {
        self.0.fetch_sub(LIVE, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_of_the_living() {
        let all = Population::default();
        assert_eq!((all.add(2, true), all.add(2, true)), (Some(0), Some(1)));
        assert_eq!((all.add(2, true), all.add(2, false)), (None, None));
        all.retire();
        assert_eq!((all.live(), all.made()), (1, 2));
        assert_eq!(all.add(2, false), Some(2));
        assert_eq!((all.count_made(), all.live(), all.made()), (2, 2, 3));
    }
}
