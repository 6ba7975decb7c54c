//! Insertion: a batch of keys is counted by gap between the tuples, and one pass from right to left
//! inserts it and compresses the sketch.
//!
//! During a pass, a tuple has capacity for a number of ranks ([`Capacity`]). While it has capacity
//! for all keys between itself and the next lower tuple, only the number of these keys matters. A
//! batch is therefore counted rather than sorted: a search finds the gap of each key among the
//! tuples, which divide the values into parts of similar size because they are quantiles. A batch
//! is laid out by gap only once a new tuple divides a gap, and only the keys of that gap are
//! sorted. (With a million ordinary values, this happens for one batch in ten.)

use std::ops::Range;

use super::bound::{Bound, Capacity};
use super::{MAX_TUPLES, Sketch, Tuple};

/// The weight from which a sketch halves the weight of its values. It keeps `g` within 32 bits, and
/// the number of tuples within the limit.
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

    /// Inserts `keys`, which must ascend. In another order they are all counted, but with wrong
    /// ranks.
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

    /// Absorbs every tuple that `bound` does not need, for instance after a merge.
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

    fn insert_counted(&mut self, bound: &Bound, keys: &[u64], scratch: &mut Scratch) {
        self.n += keys.len() as u64;
        self.pack(&bound.capacity(self.n, 1.0), keys, scratch); // mutation: wide
        while self.n > MAX_WEIGHT {
            self.halve();
        }
        let mut scale = 1.0;
        while self.tuples.len() > MAX_TUPLES && scale < 1e15 {
            self.degraded = true;
            scale *= 1.25;
            scratch.gallop(&self.tuples, &[]);
            self.pack(&bound.capacity(self.n, scale), &[], scratch);
        }
    }

    /// Makes one pass from right to left over tuples and keys. Each tuple absorbs its neighbours to
    /// the left while it has capacity.
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
        // Reserves memory that is rarely needed in advance, so that a warm stream does not
        // allocate.
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

    /// Halves the weight of all values. Halved ranks are rounded outwards, so widths stay within F
    /// to one rank.
    pub(super) fn halve(&mut self) {
        let n = self.n;
        let (mut low, mut half) = (0, 0);
        for run in self.tuples.chunk_by_mut(|a, b| a.key == b.key) {
            let end = low + run.iter().map(|tuple| u64::from(tuple.g)).sum::<u64>();
            // The smallest and the largest value stay, with exact ranks.
            let end = if end == n { end.div_ceil(2) } else { end / 2 }.max(1);
            // The first tuple of a run stays if any of the run does, because only the first one
            // tells where the run begins (S3). Of the others, only the last `low` matters.
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

/// The maximum number of tuples that can divide a batch. A compressed sketch has fewer.
const MOST_PIVOTS: usize = 4096;

/// The number of keys that are searched for at once.
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
    /// The keys of the batch in the order of their gaps, if they were laid out.
    keys: Vec<u64>,
    /// The gap of each key; empty if the batch ascends.
    gaps: Vec<u16>,
    /// The number of keys below tuple 0, between tuples 0 and 1, and so on. A key equal to that of
    /// a tuple is above the tuple.
    counts: Vec<u32>,
    /// The position of the next key of each gap, while keys are laid out.
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
        // The key of a NaN can equal the padding of `pivots`, and then seems to be beyond the last
        // gap.
        let (counts, beyond) = counts.split_at_mut(tuples.len() + 1);
        counts[tuples.len()] += beyond.iter().sum::<u32>();
        self.counts.clear();
        self.counts.extend_from_slice(counts);
    }

    /// Counts the keys of an ascending `batch` by gap. Searches for the end of each gap in doubling
    /// steps.
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

/// A batch that is laid out by gap on first use.
struct Layout<'a> {
    batch: &'a [u64],
    gaps: &'a [u16],
    counts: &'a [u32],
    positions: &'a mut Vec<u32>,
    keys: &'a mut Vec<u64>,
}

impl Layout<'_> {
    /// Returns the keys at these positions, in the order of their gaps.
    fn keys(&mut self, range: Range<usize>) -> &mut [u64] {
        if self.keys.is_empty() {
            self.keys.extend_from_slice(self.batch);
            if !self.gaps.is_empty() {
                self.distribute();
            }
        }
        &mut self.keys[range]
    }

    /// Lays out the keys by gap with a counting sort.
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
            let position = &mut self.positions[last.min(usize::from(*gap))];
            self.keys[*position as usize] = *key;
            *position += 1;
        }
    }
}

/// Returns the gap of each key: the number of pivots that do not exceed it.
///
/// The number of pivots `N` is a power of two, and the search never reaches the last pivot. It is a
/// binary search of fixed depth without branches, for several keys at once. It takes 2 ns per key,
/// where sorting takes 6 ns.
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

/// The tuples of a pass, from right to left. The last one is still being filled.
struct Packer<'a> {
    capacity: &'a Capacity,
    packed: &'a mut Vec<Tuple>,
    layout: Layout<'a>,
    /// The key and `g` of the last tuple. Its `g` in `packed` is out of date, because reading back
    /// a value that was just written would stall.
    key: u64,
    g: u32,
    /// The lowest rank of the last tuple, and the limit of its `g`.
    rank: f64,
    max_g: u32,
}

impl Packer<'_> {
    fn finish(&mut self) {
        if let Some(last) = self.packed.last_mut() {
            last.g = self.g;
        }
    }

    #[inline]
    fn free(&self) -> usize {
        self.max_g.saturating_sub(self.g) as usize
    }

    /// Starts to fill `tuple`, to the left of the tuples so far.
    #[inline]
    fn start(&mut self, tuple: Tuple) {
        self.finish();
        self.rank -= f64::from(self.g);
        self.packed.push(tuple);
        (self.key, self.g) = (tuple.key, tuple.g);
        self.max_g = self.capacity.max_g(self.rank, tuple.delta);
    }

    /// Absorbs the next tuple to the left. Starts a new tuple instead if there is no capacity or if
    /// this is the minimum. `lower` is the key to its left.
    #[inline]
    fn tuple(&mut self, tuple: Tuple, lower: Option<u64>, is_minimum: bool) {
        let fits = tuple.g as usize <= self.free() && !is_minimum; // mutation: minimum
        // The middle of a run of equal keys is absorbed even without capacity (S3).
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

    /// Inserts the keys of one gap, between the tuples `higher` and `lower`. Without `lower`, the
    /// smallest key is the minimum.
    #[inline]
    fn keys(&mut self, range: Range<usize>, higher: Option<&Tuple>, lower: Option<u64>) {
        // A branch rather than a minimum, so that the rank of the next tuple does not wait for the
        // capacity of this one.
        if range.is_empty() || range.len() <= self.free() && lower.is_some() {
            self.g += range.len() as u32;
        } else {
            self.split(range, higher.map_or(0, Tuple::hidden), lower); // mutation: no-inheritance
        }
    }

    /// Inserts the keys of a gap that do not all fit. The values hidden `above` a key may lie below
    /// it.
    #[cold]
    fn split(&mut self, range: Range<usize>, above: u32, lower: Option<u64>) {
        self.layout.keys(range.clone()).sort_unstable();
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

/// Returns the number of keys, at most `most`, at the end of `keys` that are in the middle of a
/// run: the key above is equal, and so is the key below, in `keys` or `lower`.
fn mid_run(keys: &[u64], lower: Option<u64>, most: u32) -> usize {
    let Some(last) = keys.last() else { return 0 };
    let below = keys.partition_point(|key| key < last);
    let is_first_here = below > 0 || lower != Some(*last);
    (keys.len() - below - usize::from(is_first_here)).min(most as usize)
}
