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

use std::ops::Range;

use super::bound::{Bound, Capacity};
use super::{MAX_TUPLES, Sketch, Tuple};

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
        self.pack(&bound.capacity(self.n, 1.0), keys, scratch); // mutation: wide
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

    /// Makes one pass (see the [module](self)) with the keys of `batch`, which `scratch` has
    /// counted by gap. The caller has added their number to `n`.
    fn pack(&mut self, capacity: &Capacity, batch: &[u64], scratch: &mut Scratch) {
        let Scratch {
            keys,
            gaps,
            counts,
            positions,
            packed,
        } = scratch;
        packed.clear();
        packed.reserve(self.tuples.len() + batch.len());
        // Only `split` uses these two, and rarely. Reserving here makes the first insertions
        // allocate, rather than an arbitrary later one.
        keys.reserve(batch.len());
        positions.reserve(counts.len());
        let mut packer = Packer {
            capacity,
            packed,
            layout: Layout {
                batch,
                gaps,
                counts,
                positions,
                keys,
            },
            key: 0,
            g: 0,
            rank: self.n as f64,
            max_g: 0,
        };
        // In the batch grouped by gap, the keys of gap `i + 1` are at `begin..end`.
        let mut end = batch.len();
        for i in (0..self.tuples.len()).rev() {
            let begin = end - packer.layout.counts[i + 1] as usize;
            packer.keys(begin..end, self.tuples.get(i + 1), Some(self.tuples[i].key));
            end = begin;
            packer.tuple(
                self.tuples[i],
                i.checked_sub(1).map(|i| self.tuples[i].key),
                i == 0 && end == 0,
            );
        }
        packer.keys(0..end, self.tuples.first(), None);
        packer.finish();
        self.tuples.clear();
        self.tuples.extend(packed.iter().rev());
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
                let next = low.div_ceil(2).max(begin).min(end); // mutation: lost-run
                let delta = high.div_ceil(2).saturating_sub(next);
                tuple.delta = if tuple.delta == u32::MAX {
                    u32::MAX
                } else {
                    delta as u32
                };
                tuple.g = (next - half) as u32;
                half = next;
            }
        }
        self.tuples.retain(|tuple| tuple.g > 0);
        self.n = half;
    }
}

/// The size of the largest table of pivots. [`seek`] needs a power of two that exceeds the number
/// of tuples, and this is the first one above [`MAX_TUPLES`]. The table takes 32 KiB of stack.
const MOST_PIVOTS: usize = 4096;

/// The number of keys that [`seek`] searches for at once, so that the processor overlaps their
/// loads.
///
/// Among 128 pivots, a search takes 3.7 ns per key if done for 1 key at once, 3.0 ns for 4, 2.7 ns
/// for 8, 2.9 ns for 16, and 4.7 ns for 32 (AMD EPYC, a benchmark outside this repository).
const LANES: usize = 8;

/// The working memory of insertions. Reusing it avoids allocations.
///
/// ```
/// use tallies::snapshot::sketch::{Bound, Scratch, Sketch, Targets, key_of};
///
/// let bound = Bound::new(&Targets::new(&[(0.5, 0.05)]));
/// let mut scratch = Scratch::new();
/// for mut sketch in [Sketch::new(), Sketch::new()] {
///     sketch.insert(&bound, &[key_of(1.0)], &mut scratch);
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// The keys of the batch, grouped by gap. Empty until a pass needs them.
    keys: Vec<u64>,
    /// The gap of each key of the batch. Empty if the batch ascends, and so is grouped already.
    gaps: Vec<u16>,
    /// The number of keys in each gap: one element more than there are tuples.
    counts: Vec<u32>,
    /// The position in `keys` of the next key of each gap, while the keys are grouped.
    positions: Vec<u32>,
    /// The tuples that a pass wrote, from right to left.
    packed: Vec<Tuple>,
}

impl Scratch {
    /// Creates working memory without allocating it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            keys: Vec::new(),
            gaps: Vec::new(),
            counts: Vec::new(),
            positions: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Counts the keys of `batch`, in any order, by gap.
    ///
    /// A smaller table takes fewer steps: 7 for 128 pivots, 9 for 512, and 12 for 4096. With the
    /// default objectives, 128 are enough for ordinary values and 512 for many adversarial orders.
    fn count(&mut self, tuples: &[Tuple], batch: &[u64]) {
        self.keys.clear();
        match tuples.len() {
            0..128 => self.count_below::<128>(tuples, batch),
            128..512 => self.count_below::<512>(tuples, batch),
            _ => self.count_below::<MOST_PIVOTS>(tuples, batch),
        }
    }

    /// Implements [`count`](Self::count) for fewer than `N` tuples.
    fn count_below<const N: usize>(&mut self, tuples: &[Tuple], batch: &[u64]) {
        let mut pivots = [u64::MAX; N];
        for (pivot, tuple) in pivots.iter_mut().zip(tuples) {
            *pivot = tuple.key;
        }
        let mut counts = [0; N];
        self.gaps.clear();
        self.gaps.resize(batch.len(), 0);
        let mut chunks = batch.chunks_exact(LANES);
        let mut gap_chunks = self.gaps.chunks_exact_mut(LANES);
        for (keys, gaps) in chunks.by_ref().zip(gap_chunks.by_ref()) {
            let keys: &[u64; LANES] = keys.try_into().expect("a chunk has as many");
            gaps.copy_from_slice(&seek(&pivots, keys));
            for gap in gaps {
                counts[usize::from(*gap) % N] += 1;
            }
        }
        for (key, gap) in chunks.remainder().iter().zip(gap_chunks.into_remainder()) {
            [*gap] = seek(&pivots, &[*key]);
            counts[usize::from(*gap) % N] += 1;
        }
        // Unused pivots are u64::MAX. The key of a NaN can be equal to that, and then seems to be
        // above the last gap. It is counted in the last gap.
        let (counts, beyond) = counts.split_at_mut(tuples.len() + 1);
        counts[tuples.len()] += beyond.iter().sum::<u32>();
        self.counts.clear();
        self.counts.extend_from_slice(counts);
    }

    /// Counts the keys of an ascending `batch` by gap. The search for the end of a gap starts at
    /// its beginning and doubles its steps, so a short gap takes few of them.
    fn gallop(&mut self, tuples: &[Tuple], batch: &[u64]) {
        self.keys.clear();
        self.gaps.clear();
        self.counts.clear();
        let mut rest = batch;
        for tuple in tuples {
            let mut step = 1;
            while step < rest.len() && rest[step] < tuple.key {
                step *= 2;
            }
            let count = rest[..rest.len().min(step + 1)].partition_point(|key| *key < tuple.key);
            self.counts.push(count as u32);
            rest = &rest[count..];
        }
        self.counts.push(rest.len() as u32);
    }
}

/// A batch that is grouped by gap on first use. The fields are those of [`Scratch`].
struct Layout<'a> {
    batch: &'a [u64],
    gaps: &'a [u16],
    counts: &'a [u32],
    positions: &'a mut Vec<u32>,
    keys: &'a mut Vec<u64>,
}

impl Layout<'_> {
    /// Returns the keys at these positions of the batch grouped by gap. Within a gap, they are in
    /// no order.
    fn keys(&mut self, range: Range<usize>) -> &mut [u64] {
        if self.keys.is_empty() {
            self.keys.extend_from_slice(self.batch);
            if !self.gaps.is_empty() {
                self.distribute();
            }
        }
        &mut self.keys[range]
    }

    /// Groups the keys by gap: a counting sort.
    #[cold]
    fn distribute(&mut self) {
        self.positions.clear();
        let mut begin = 0;
        self.positions.extend(self.counts.iter().map(|count| {
            begin += count;
            begin - count
        }));
        let last = self.counts.len() - 1;
        for (key, gap) in self.batch.iter().zip(self.gaps) {
            // The key of a NaN can seem to be above the last gap, as in `count_below`.
            let position = &mut self.positions[last.min(usize::from(*gap))];
            self.keys[*position as usize] = *key;
            *position += 1;
        }
    }
}

/// Returns the gap of each key: the number of pivots that are less than or equal to it.
///
/// This is a binary search of fixed depth without branches, for `L` keys at once. `N` is a power of
/// two. Each step decides one bit of the result, which is at most `N - 1`. An index `% N` is the
/// index itself, without a bounds check. The search takes 2.7 ns per key among 128 pivots, and
/// sorting would take 5.8 ns (measured as for [`LANES`]).
#[inline(always)]
fn seek<const N: usize, const L: usize>(pivots: &[u64; N], keys: &[u64; L]) -> [u16; L] {
    let mut gaps = [0; L];
    let mut step = N / 2;
    while step > 0 {
        for (gap, key) in gaps.iter_mut().zip(keys) {
            *gap |= usize::from(pivots[(*gap | (step - 1)) % N] <= *key) << step.trailing_zeros();
        }
        step /= 2;
    }
    gaps.map(|gap| gap as u16)
}

/// The state of a pass: the new tuples from right to left, and the current one, which can grow.
struct Packer<'a> {
    capacity: &'a Capacity,
    packed: &'a mut Vec<Tuple>,
    layout: Layout<'a>,
    /// The key of the current tuple, the last one in `packed`.
    key: u64,
    /// The `g` of the current tuple, or 0 before the first one. It is copied to `packed` only by
    /// [`finish`](Self::finish), because reading back a value that was just written would stall.
    g: u32,
    /// The `low` of the current tuple.
    rank: f64,
    /// The capacity of the current tuple.
    max_g: u32,
}

impl Packer<'_> {
    /// Writes the `g` of the current tuple to `packed`.
    fn finish(&mut self) {
        if let Some(last) = self.packed.last_mut() {
            last.g = self.g;
        }
    }

    /// Returns the number of values that the current tuple can still absorb.
    #[inline]
    fn free(&self) -> usize {
        self.max_g.saturating_sub(self.g) as usize
    }

    /// Appends `tuple`, to the left of the tuples so far, and makes it the current one.
    #[inline]
    fn start(&mut self, tuple: Tuple) {
        self.finish();
        self.rank -= f64::from(self.g);
        self.packed.push(tuple);
        (self.key, self.g) = (tuple.key, tuple.g);
        self.max_g = self.capacity.max_g(self.rank, tuple.delta);
    }

    /// Visits a tuple: the current tuple absorbs it, or it becomes the current tuple. `lower` is
    /// the key of the tuple to its left.
    #[inline]
    fn tuple(&mut self, tuple: Tuple, lower: Option<u64>, is_minimum: bool) {
        let fits = tuple.g as usize <= self.free() && !is_minimum; // mutation: minimum
        // S3: The middle of a run is absorbed even without capacity. It lies between two tuples of
        // the same key: the current one on the right, and `lower`. Only the 32 bits of `g` limit
        // it.
        let is_mid_run = tuple.key == self.key
            && lower == Some(tuple.key)
            && self.g > 0
            && tuple.g <= u32::MAX - self.g;
        if fits || is_mid_run {
            self.g += tuple.g;
        } else {
            self.start(tuple);
        }
    }

    /// Visits a gap: inserts its keys, which are at the positions `range` of the grouped batch.
    /// `higher` is the tuple above the gap, and `lower` the key of the tuple below it. Gap 0 has no
    /// `lower`, and its smallest key becomes the minimum of the sketch.
    #[inline]
    fn keys(&mut self, range: Range<usize>, higher: Option<&Tuple>, lower: Option<u64>) {
        // A branch, which the processor predicts, rather than a minimum. The rank of the next tuple
        // then does not wait for the capacity of this one.
        if range.is_empty() || range.len() <= self.free() && lower.is_some() {
            self.g += range.len() as u32;
        } else {
            self.split(range, higher.map_or(0, Tuple::hidden), lower); // mutation: no-inheritance
        }
    }

    /// Inserts the keys of a gap in which at least one new tuple has to start.
    ///
    /// The tuple above the gap hides `above` values, which may all lie below a new key. New tuples
    /// therefore have this `delta` (S1).
    #[cold]
    fn split(&mut self, range: Range<usize>, above: u32, lower: Option<u64>) {
        self.layout.keys(range.clone()).sort_unstable();
        // S2: The minimum is not absorbed.
        let minimum = usize::from(lower.is_none());
        let mut end = range.end;
        loop {
            let rest = &self.layout.keys[range.start..end];
            let absorbed = self.free().min(rest.len().saturating_sub(minimum));
            let is_run = self.g > 0 && rest.last() == Some(&self.key);
            let absorbed = if is_run {
                absorbed.max(mid_run(rest, lower, u32::MAX - self.g))
            } else {
                absorbed
            };
            let [.., key] = rest[..rest.len() - absorbed] else {
                self.g += absorbed as u32;
                return;
            };
            self.g += absorbed as u32;
            end -= absorbed + 1;
            self.start(Tuple {
                key,
                g: 1,
                delta: above,
            });
        }
    }
}

/// Returns how many keys at the end of `keys` are in the middle of a run, but at most `most`.
///
/// The keys ascend, and the caller knows that the current tuple has the key of the last one. All
/// keys equal to the last one are then in the middle of the run, except that the lowest of them
/// begins the run if `lower` is another key.
fn mid_run(keys: &[u64], lower: Option<u64>, most: u32) -> usize {
    let Some(last) = keys.last() else { return 0 };
    let below = keys.partition_point(|key| key < last);
    let is_first_here = below > 0 || lower != Some(*last);
    (keys.len() - below - usize::from(is_first_here)).min(most as usize)
}
