//! The last exemplar of every bucket of every series of a family: made when the first one comes, read without waiting.
//!
//! An exemplar is [`Published`]: a reader has one or the other, never parts of two. Nothing of this is touched by an update
//! without an exemplar.

use std::ptr::NonNull;
use std::sync::OnceLock;

use crate::snapshot::Exemplar;

use super::epoch::pin;
use super::published::{Free, Published};

/// The exemplars of one family.
#[derive(Debug, Default)]
pub struct Exemplars {
    /// Of the series without labels, or the overflow series.
    first: Spot,
    /// The series from 2^k - 1 on are in chunk k; chunks never move.
    chunks: [OnceLock<Box<[Spot]>>; 32],
}

/// Of one series: one per bucket, made with the first.
type Spot = OnceLock<Box<[Last]>>;

impl Exemplars {
    /// Makes `exemplar` the last one of a bucket, of `buckets`, of a series; `u32::MAX` is the first of all, see
    /// [`OVERFLOW`](super::OVERFLOW).
    ///
    /// Not done unless `still` holds: a series that ends meanwhile may be another's before long, but not while this thread
    /// has pinned the epoch.
    pub fn set(
        &self,
        series: u32,
        (bucket, buckets): (usize, usize),
        exemplar: Exemplar,
        still: impl FnOnce() -> bool,
    ) {
        let _pinned = pin();
        if !still() {
            return;
        }
        let spot = match place(series) {
            None => &self.first,
            Some((chunk, at)) => {
                let spots = || (0..1_u32 << chunk).map(|_| Spot::new()).collect();
                &self.chunks[chunk].get_or_init(spots)[at]
            }
        };
        let lasts = || (0..buckets).map(|_| Last::nothing()).collect();
        if let Some(last) = spot.get_or_init(lasts).get(bucket) {
            last.replace(Some(NonNull::from(Box::leak(Box::new(exemplar)))));
        }
    }

    fn spot(&self, series: u32) -> Option<&[Last]> {
        let spot = match place(series) {
            None => &self.first,
            Some((chunk, at)) => &self.chunks[chunk].get()?[at],
        };
        spot.get().map(|lasts| &**lasts)
    }

    /// The exemplars of a series, each with its bucket, ascending.
    pub fn read(&self, series: u32, mut f: impl FnMut(u32, &Exemplar)) {
        let pinned = pin();
        for (bucket, last) in (0..).zip(self.spot(series).into_iter().flatten()) {
            if let Some(exemplar) = last.get(&pinned) {
                // SAFETY: final, and not freed while the epoch is pinned.
                f(bucket, unsafe { exemplar.as_ref() });
            }
        }
    }

    /// Forgets those of a series.
    pub fn clear(&self, series: u32) {
        for last in self.spot(series).into_iter().flatten() {
            last.replace(None);
        }
    }
}

/// Chunk, and place in it.
fn place(series: u32) -> Option<(usize, usize)> {
    let n = series.checked_add(1)?;
    let chunk = n.ilog2();
    Some((chunk as usize, (n - (1 << chunk)) as usize))
}

/// The last exemplar of a bucket, if there was one.
type Last = Published<Exemplar>;

impl Free for Exemplar {
    unsafe fn free(this: NonNull<Self>) {
        // SAFETY: made from a box in `set`; by the caller's word nobody else has it.
        drop(unsafe { Box::from_raw(this.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_one_exemplar_or_the_other() {
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 5000 };
        let exemplars = Exemplars::default();
        let exemplar = |n: usize| Exemplar::new("x".repeat(n % 50), n as f64);
        std::thread::scope(|scope| {
            for t in 0..2 {
                let exemplars = &exemplars;
                scope.spawn(move || {
                    for n in 0..ROUNDS {
                        let series = [u32::MAX, 0, 1, 6, 7][n % 5];
                        exemplars.set(series, (n % 3, 3), exemplar(n + t), || true);
                    }
                });
            }
            for n in 0..ROUNDS {
                let series = [u32::MAX, 0, 1, 6, 7, 100][n % 6];
                exemplars.read(series, |bucket, exemplar| {
                    assert!(bucket < 3);
                    assert_eq!(exemplar.text().len(), exemplar.value() as usize % 50);
                });
            }
        });
        exemplars.set(1, (0, 3), exemplar(9), || false);
        exemplars.clear(1);
        exemplars.read(1, |_, _| panic!("cleared"));
        let mut left = 0;
        exemplars.read(7, |_, _| left += 1);
        assert_eq!(left, 3);
    }
}
