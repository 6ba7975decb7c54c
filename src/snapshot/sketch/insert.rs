//! Insertion: one pass over the sketch inserts a batch of keys and compresses the sketch.
//!
//! **Words.** The module [`sketch`](super) defines tuples, their `low`, `high` and width, runs, and
//! the bound F. Here, *left* means lower and *right* means higher.
//!
//! - A *gap* is the space between two neighbouring tuples. A sketch of `k` tuples has `k + 1` gaps:
//!   gap 0 is below tuple 0, gap `i` is between tuples `i - 1` and `i`, and gap `k` is above all
//!   tuples. A key that is equal to the keys of some tuples lies in the gap above the last of them,
//!   so the gaps within a run are always empty.
//! - A tuple *absorbs* keys of the batch and tuples to its left: its `g` grows by the number of
//!   values absorbed, and the sketch forgets their keys.
//! - A tuple *hides* `g + delta - 1` values ([`Tuple::hidden`]): `g - 1` values that it absorbed,
//!   and `delta` values that may lie on either side of it.
//! - The *capacity* of a tuple is the largest `g` that F allows at its ranks ([`Capacity`]).
//!
//! **Invariants.** The module [`sketch`](super) says what follows from them. Insertion preserves
//! them as follows:
//!
//! - S1: A tuple covers one rank only, or its width is at most F. Inserting a value anywhere never
//!   lowers F for an existing tuple. A tuple absorbs others only within its capacity. A new value
//!   may lie above all values that the tuple to its right hides. Their number is therefore the
//!   `delta` of the new tuple, which makes it as wide as the tuple to its right.
//! - S2: The sketch holds the smallest and the largest value and knows their ranks. No tuple
//!   absorbs the smallest value. The largest value has no tuple to its right that could absorb it.
//! - S3: S1 applies to a run of tuples with equal keys as if it were one tuple, which covers the
//!   ranks that its first tuple covers. The other tuples of the run may have any width. They may
//!   absorb the middle of the run beyond their capacity, but the first tuple only within it.
//!
//! **One pass** ([`Sketch::pack`]) visits gaps and tuples once each, from right to left: gap `k`,
//! tuple `k - 1`, gap `k - 1`, and so on down to tuple 0 and gap 0. It builds the new list of
//! tuples. Only the leftmost tuple of the new list, the *current* one, can still grow. The current
//! tuple absorbs the next gap or tuple if it has the capacity. Otherwise, the pass starts a new
//! current tuple. Absorbing values from the left changes neither the `low` nor the `high` of the
//! current tuple, so its capacity is computed only once. To compress is to make a pass without
//! keys.
//!
//! **Keys are counted, not sorted.** If the current tuple absorbs a whole gap, only the number of
//! keys in that gap matters. A search finds the gap of each key, and the keys of each gap are
//! counted. The pass needs the keys themselves only if a new tuple has to start within a gap. It
//! then groups the batch by gap, once, and sorts the keys of that gap. With a million ordinary
//! values, this happens for one batch in ten.
//!
//! **Limits.** Each is explained in full where it is defined.
//!
//! | limit | value | reason |
//! |---|---|---|
//! | `g` of a tuple | 2^32 - 1 | `g` and `delta` share a word ([`Tuple::to_words`]). |
//! | [`MAX_TUPLES`] | 2048 | Tuples of 16 bytes take at most 32 KiB. |
//! | [`MAX_WEIGHT`] | 2^41 | 2048 tuples may not hold twice as many values. |
//! | [`MOST_PIVOTS`] | 4096 | The next power of two above [`MAX_TUPLES`], for the search. |
//! | [`LANES`] | 8 | Keys searched for at once: the fastest number measured. |
//!
//! [`Capacity`]: super::bound::Capacity
//! [`LANES`]: super::gaps::LANES
//! [`Tuple::hidden`]: super::Tuple::hidden
//! [`Tuple::to_words`]: super::Tuple::to_words

use super::bound::Bound;
use super::gaps::{MOST_PIVOTS, Scratch};
use super::{MAX_TUPLES, Sketch};

/// The maximum weight of a sketch after an insertion: 2^41 values, or 25 days of a million per
/// second.
///
/// **Why:** A tuple holds at most `2^32 - 1` values, even if F is larger. Under a bound that is
/// wide enough, this is the only limit on a tuple. Two neighbours that stay apart then hold at
/// least 2^32 values together. The only exception is the smallest value, which nothing absorbs. A
/// sketch of 2^41 values can therefore be compressed to `2 * 2^41 / 2^32 + 2 = 1026` tuples. A
/// sketch of 2^42 values might keep 2050, and [`MAX_TUPLES`] is 2048.
///
/// **Beyond:** The sketch halves the weight of every value that it holds, so a new value weighs as
/// much as two older ones. [`Sketch::n`] is the sum of the weights, and quantiles are those of the
/// weighted values. Halving adds an error of at most two ranks in all, however often it happens. A
/// summary stores its count and sum outside the sketch, so they stay exact. A merge does not halve:
/// its result may exceed the limit until it is compressed.
const MAX_WEIGHT: u64 = 1 << 41;

impl Sketch {
    /// Inserts `keys`, in any order. Does not allocate once `scratch` and the sketch have grown.
    ///
    /// ```
    /// use tallies::snapshot::sketch::{Bound, Scratch, Sketch, Targets, key_of};
    ///
    /// let bound = Bound::new(&Targets::new(&[(0.5, 0.05)]));
    /// let (mut sketch, mut scratch) = (Sketch::new(), Scratch::new());
    /// sketch.insert(&bound, &[3.0, 1.0, 2.0].map(key_of), &mut scratch);
    /// assert_eq!(sketch.quantile(0.5), Some((2.0, 0)));
    /// ```
    pub fn insert(&mut self, bound: &Bound, keys: &[u64], scratch: &mut Scratch) {
        // `count` works for fewer tuples than this. An insertion leaves MAX_TUPLES at most, but a
        // merge can create any number.
        if self.tuples.len() >= MOST_PIVOTS {
            self.compress(bound, scratch);
        }
        if keys.is_sorted() {
            scratch.gallop(&self.tuples, keys);
        } else {
            scratch.count(&self.tuples, keys);
        }
        self.insert_counted(bound, keys, scratch);
    }

    /// Inserts `keys`, which must ascend. If they do not, the sketch still counts all of them, but
    /// their ranks are wrong.
    ///
    /// ```
    /// use tallies::snapshot::sketch::{Bound, Scratch, Sketch, Targets, key_of};
    ///
    /// let bound = Bound::new(&Targets::new(&[(0.5, 0.05)]));
    /// let (mut sketch, mut scratch) = (Sketch::new(), Scratch::new());
    /// sketch.insert_sorted(&bound, &[1.0, 2.0, 3.0].map(key_of), &mut scratch);
    /// assert_eq!(sketch.n(), 3);
    /// ```
    pub fn insert_sorted(&mut self, bound: &Bound, keys: &[u64], scratch: &mut Scratch) {
        scratch.gallop(&self.tuples, keys);
        self.insert_counted(bound, keys, scratch);
    }

    /// Removes the tuples that `bound` does not need. This is useful after a merge.
    ///
    /// ```
    /// use tallies::snapshot::sketch::{Bound, Scratch, Sketch, Targets, key_of};
    ///
    /// let bound = Bound::new(&Targets::new(&[(0.5, 0.05)]));
    /// let keys: Vec<u64> = (0..1000).map(|i| key_of(f64::from(i))).collect();
    /// let mut sketch = Sketch::from_sorted(&keys);
    /// sketch.compress(&bound, &mut Scratch::new());
    /// assert!(sketch.tuples().len() < 100 && sketch.n() == 1000);
    /// ```
    pub fn compress(&mut self, bound: &Bound, scratch: &mut Scratch) {
        self.insert_sorted(bound, &[], scratch);
    }

    /// Inserts a batch that `scratch` has counted by gap. Then enforces the limits on the weight
    /// and on the number of tuples.
    fn insert_counted(&mut self, bound: &Bound, keys: &[u64], scratch: &mut Scratch) {
        self.n += keys.len() as u64;
        self.pack(&bound.capacity(self.n, 1.0), keys, scratch);
        while self.n > MAX_WEIGHT {
            self.halve();
        }
        // Widens F by a quarter until the tuples are few enough. At a scale of 1e15, F no longer
        // limits any tuple, and 1026 tuples are enough (see MAX_WEIGHT). The condition on `scale`
        // only ends the loop if a caller loaded tuples with impossible ranks.
        let mut scale = 1.0;
        while self.tuples.len() > MAX_TUPLES && scale < 1e15 {
            self.degraded = true;
            scale *= 1.25;
            scratch.gallop(&self.tuples, &[]);
            self.pack(&bound.capacity(self.n, scale), &[], scratch);
        }
    }

    /// Halves the weight of all values, and with it every rank.
    ///
    /// An odd `low` is rounded down and an odd `high` up. A width of at most F becomes at most half
    /// of F plus one rank, and half of F is the F of the halved sketch. A tuple whose `g` becomes 0
    /// is dropped. It has the same halved `low` as the tuple below it, so the tuple above it covers
    /// the same ranks with or without it.
    ///
    /// In a run, only the `high` of the first tuple and the `low` of the last one matter (S3). The
    /// `low` of the others is rounded up, so that the first tuple is dropped only together with the
    /// whole run. Otherwise, the next tuple would become the first, and it may be wider than F.
    pub(super) fn halve(&mut self) {
        let n = self.n;
        // The `low` of the last tuple visited, before and after halving.
        let (mut low, mut half) = (0, 0);
        for run in self.tuples.chunk_by_mut(|a, b| a.key == b.key) {
            let end = low + run.iter().map(|tuple| u64::from(tuple.g)).sum::<u64>();
            // The halved `low` of the run. S2: the smallest value stays at rank 1, and the largest
            // value at the highest rank.
            let end = if end == n { end.div_ceil(2) } else { end / 2 }.max(1);
            // The first tuple of the run has a `g` of at least 1, unless the run's is 0.
            let begin = half + 1;
            for tuple in run {
                low += u64::from(tuple.g);
                let high = tuple.high(low, n);
                let next = low.div_ceil(2).max(begin).min(end);
                let delta = high.div_ceil(2).saturating_sub(next);
                if tuple.delta != u32::MAX {
                    tuple.delta = delta as u32;
                }
                tuple.g = (next - half) as u32;
                half = next;
            }
        }
        self.tuples.retain(|tuple| tuple.g > 0);
        self.n = half;
    }
}
