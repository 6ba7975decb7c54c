//! How many series a family has made, and how many of them live.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Both in one word, the living in its upper half: making a series takes one exchange.
#[derive(Debug, Default)]
pub(super) struct Population(AtomicU64);

const LIVING: u64 = 1 << 32;

impl Population {
    /// Series made so far, ended ones included.
    pub(super) fn made(&self) -> usize {
        self.0.load(Relaxed) as u32 as usize
    }

    pub(super) fn live(&self) -> usize {
        (self.0.load(Relaxed) >> 32) as usize
    }

    /// One more lives, made anew or used again; `None` where `limit` do already. Gives the number made before.
    pub(super) fn add(&self, limit: usize, anew: bool) -> Option<u32> {
        let one = LIVING + u64::from(anew);
        let more = |word: u64| ((word >> 32) < limit as u64).then(|| word + one);
        let before = self.0.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(before as u32)
    }

    /// One that was to be used again is made anew after all.
    pub(super) fn make(&self) -> u32 {
        self.0.fetch_add(1, Relaxed) as u32
    }

    /// One ends.
    pub(super) fn end(&self) {
        self.0.fetch_sub(LIVING, Relaxed);
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
        all.end();
        assert_eq!((all.live(), all.made()), (1, 2));
        assert_eq!(all.add(2, false), Some(2));
        assert_eq!((all.make(), all.live(), all.made()), (2, 2, 3));
    }
}
