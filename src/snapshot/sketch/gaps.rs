//! Gaps: counts the keys of a batch in each gap of a sketch, and groups the batch by gap.
//!
//! The module [`insert`](super::insert) defines the words.

use std::ops::Range;

use super::Tuple;

/// The size of the largest table of pivots. [`seek`] needs a power of two that exceeds the number
/// of tuples, and this is the first one above [`MAX_TUPLES`](super::MAX_TUPLES). The table takes
/// 32 KiB of stack.
pub(super) const MOST_PIVOTS: usize = 4096;

/// The number of keys that [`seek`] searches for at once, so that the processor overlaps their
/// loads.
///
/// Among 128 pivots, a search takes 3.7 ns per key if done for 1 key at once, 3.0 ns for 4, 2.7 ns
/// for 8, 2.9 ns for 16, and 4.7 ns for 32 (AMD EPYC, a benchmark outside this repository).
pub(super) const LANES: usize = 8;

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
    pub(super) keys: Vec<u64>,
    /// The gap of each key of the batch. Empty if the batch ascends, and so is grouped already.
    pub(super) gaps: Vec<u16>,
    /// The number of keys in each gap: one element more than there are tuples.
    pub(super) counts: Vec<u32>,
    /// The position in `keys` of the next key of each gap, while the keys are grouped.
    pub(super) positions: Vec<u32>,
    /// The tuples that a pass wrote, from right to left.
    pub(super) packed: Vec<Tuple>,
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
    pub(super) fn count(&mut self, tuples: &[Tuple], batch: &[u64]) {
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
    pub(super) fn gallop(&mut self, tuples: &[Tuple], batch: &[u64]) {
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

    /// Returns the keys at these positions of the batch grouped by gap, which happens on first use.
    /// Within a gap, they are in no order.
    pub(super) fn keys(&mut self, batch: &[u64], range: Range<usize>) -> &mut [u64] {
        if self.keys.is_empty() {
            self.keys.extend_from_slice(batch);
            if !self.gaps.is_empty() {
                self.distribute(batch);
            }
        }
        &mut self.keys[range]
    }

    /// Groups the keys by gap: a counting sort.
    #[cold]
    fn distribute(&mut self, batch: &[u64]) {
        self.positions.clear();
        let mut begin = 0;
        self.positions.extend(self.counts.iter().map(|count| {
            begin += count;
            begin - count
        }));
        let last = self.counts.len() - 1;
        for (key, gap) in batch.iter().zip(&self.gaps) {
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
