//! The last exemplar of every bucket of every series of a family. Allocated when the first exemplar
//! arrives, read without waiting.
//!
//! Each exemplar is in an [`AtomicBox`], so a reader sees one exemplar or another and never parts
//! of two. It has the generation of its series, and a reader wants those of one generation: an
//! update that comes late may store the exemplar of a series whose number has become another one's.
//! An update without an exemplar does not touch this module's memory.

use std::sync::OnceLock;

use crate::snapshot::Exemplar;

use super::atomic_box::{AtomicBox, Free};
use super::epoch::pin;
use super::series_key::{Generation, SeriesKey};

/// The exemplars of one family.
#[derive(Default)]
pub struct Exemplars {
    /// The exemplars of the only series of a family without labels, or of the overflow series.
    overflow: SeriesExemplars,
    /// Chunk k has the exemplars of 2^k series, from number 2^k - 1 on. Chunks never move.
    chunks: [OnceLock<Box<[SeriesExemplars]>>; 32],
}

/// The exemplars of one series, one for each bucket. Allocated with the first of them.
type SeriesExemplars = OnceLock<Box<[BucketExemplar]>>;

impl Exemplars {
    /// Replaces the exemplar of one bucket of a series. The series has `buckets` buckets in total.
    pub fn set(&self, key: SeriesKey, (bucket, buckets): (usize, usize), exemplar: Exemplar) {
        let series_exemplars = match locate(key.index()) {
            None => &self.overflow,
            Some((chunk, index)) => {
                let empty_chunk = || {
                    (0..1_u32 << chunk)
                        .map(|_| SeriesExemplars::new())
                        .collect()
                };
                &self.chunks[chunk].get_or_init(empty_chunk)[index]
            }
        };
        let empty_buckets = || (0..buckets).map(|_| BucketExemplar::empty()).collect();
        if let Some(last) = series_exemplars.get_or_init(empty_buckets).get(bucket) {
            // Not an exemplar of a series that had the number before. If both are stored at the
            // same time, the one of the current series may be lost.
            let pinned = pin();
            let is_newer = last.get(&pinned).is_some_and(|stored| {
                // SAFETY: not freed while the epoch is pinned (P2).
                unsafe { stored.as_ref() }
                    .generation
                    .is_after(key.generation())
            });
            if is_newer {
                return;
            }
            last.replace_by(Stamped {
                generation: key.generation(),
                exemplar,
            });
        }
    }

    /// Returns whether the series had an exemplar, so that nothing has to be made for the next one.
    pub fn is_made(&self, series: u32) -> bool {
        self.of_series(series).is_some()
    }

    fn of_series(&self, series: u32) -> Option<&[BucketExemplar]> {
        let series_exemplars = match locate(series) {
            None => &self.overflow,
            Some((chunk, index)) => &self.chunks[chunk].get()?[index],
        };
        series_exemplars.get().map(|buckets| &**buckets)
    }

    /// Calls `f` with each exemplar of a series and its bucket, in ascending order of buckets.
    pub fn read(&self, key: SeriesKey, mut f: impl FnMut(u32, &Exemplar)) {
        let pinned = pin();
        for (bucket, last) in (0..).zip(self.of_series(key.index()).into_iter().flatten()) {
            if let Some(stamped) = last.get(&pinned) {
                // SAFETY: a published exemplar is not written any more (P1), and it is not freed
                // while the epoch is pinned (P2).
                let stamped = unsafe { stamped.as_ref() };
                if stamped.generation == key.generation() {
                    f(bucket, &stamped.exemplar);
                }
            }
        }
    }

    /// Removes the exemplars of a series.
    pub fn clear(&self, series: u32) {
        for last in self.of_series(series).into_iter().flatten() {
            last.replace(None);
        }
    }

    /// Returns whether nothing is stored for a series.
    #[cfg(test)]
    pub fn is_clear(&self, series: u32) -> bool {
        let pinned = pin();
        let mut buckets = self.of_series(series).into_iter().flatten();
        buckets.all(|last| last.get(&pinned).is_none())
    }
}

/// Returns the chunk of a series and the index in that chunk. Returns `None` for the overflow
/// series.
fn locate(series: u32) -> Option<(usize, usize)> {
    let n = series.checked_add(1)?;
    let chunk = n.ilog2();
    Some((chunk as usize, (n - (1 << chunk)) as usize))
}

/// The last exemplar of a bucket, if it has one.
type BucketExemplar = AtomicBox<Stamped>;

/// An exemplar, and the generation of its series.
struct Stamped {
    generation: Generation,
    exemplar: Exemplar,
}

impl Free for Stamped {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_one_exemplar_or_the_other() {
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 5000 };
        let exemplars = Exemplars::default();
        let exemplar = |n: usize| Exemplar::new("x".repeat(n % 50), n as f64);
        let key = |series| SeriesKey::new(Generation::FIRST, series);
        std::thread::scope(|scope| {
            for t in 0..2 {
                let exemplars = &exemplars;
                scope.spawn(move || {
                    for n in 0..ROUNDS {
                        let series = key([u32::MAX, 0, 1, 6, 7][n % 5]);
                        exemplars.set(series, (n % 3, 3), exemplar(n + t));
                    }
                });
            }
            for n in 0..ROUNDS {
                let series = key([u32::MAX, 0, 1, 6, 7, 100][n % 6]);
                exemplars.read(series, |bucket, exemplar| {
                    assert!(bucket < 3);
                    assert_eq!(exemplar.labels.len(), exemplar.value() as usize % 50);
                });
            }
        });
        exemplars.clear(1);
        exemplars.read(key(1), |_, _| panic!("cleared"));
        let mut left = 0;
        exemplars.read(key(7), |_, _| left += 1);
        assert_eq!(left, 3);
    }
}
