//! The pass over a sketch that inserts a batch and compresses the sketch.
//!
//! The module [`insert`](super::insert) describes it and defines the words.

use std::ops::Range;

use super::bound::Capacity;
use super::gaps::Scratch;
use super::{Sketch, Tuple};

impl Sketch {
    /// Makes one pass (see [`insert`](super::insert)) with the keys of `batch`, which `scratch` has
    /// counted by gap. The caller has added their number to `n`.
    pub(super) fn pack(&mut self, capacity: &Capacity, batch: &[u64], scratch: &mut Scratch) {
        scratch.packed.clear();
        scratch.packed.reserve(self.tuples.len() + batch.len());
        // Only `split` uses these two, and rarely. Reserving here makes the first insertions
        // allocate, rather than an arbitrary later one.
        scratch.keys.reserve(batch.len());
        scratch.positions.reserve(scratch.counts.len());
        let mut packer = Packer {
            capacity,
            batch,
            scratch,
            key: 0,
            g: 0,
            rank: self.n as f64,
            max_g: 0,
        };
        // In the batch grouped by gap, the keys of gap `i + 1` are at `begin..end`.
        let mut end = batch.len();
        for i in (0..self.tuples.len()).rev() {
            let begin = end - packer.scratch.counts[i + 1] as usize;
            packer.keys(begin..end, self.tuples.get(i + 1), Some(self.tuples[i].key));
            end = begin;
            let lower = i.checked_sub(1).map(|i| self.tuples[i].key);
            packer.tuple(self.tuples[i], lower, i == 0 && end == 0);
        }
        packer.keys(0..end, self.tuples.first(), None);
        packer.finish();
        self.tuples.clear();
        self.tuples.extend(scratch.packed.iter().rev());
    }
}

/// The state of a pass: the new tuples from right to left, and the current one, which can grow.
struct Packer<'a> {
    capacity: &'a Capacity,
    batch: &'a [u64],
    /// Has the counts of the batch, and the new tuples in `packed`.
    scratch: &'a mut Scratch,
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
        if let Some(last) = self.scratch.packed.last_mut() {
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
        self.scratch.packed.push(tuple);
        (self.key, self.g) = (tuple.key, tuple.g);
        self.max_g = self.capacity.max_g(self.rank, tuple.delta);
    }

    /// Visits a tuple: the current tuple absorbs it, or it becomes the current tuple. `lower` is
    /// the key of the tuple to its left.
    #[inline]
    fn tuple(&mut self, tuple: Tuple, lower: Option<u64>, is_minimum: bool) {
        let fits = tuple.g as usize <= self.free() && !is_minimum;
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
            self.split(range, higher.map_or(0, Tuple::hidden), lower);
        }
    }

    /// Inserts the keys of a gap in which at least one new tuple has to start.
    ///
    /// The tuple above the gap hides `above` values, which may all lie below a new key. New tuples
    /// therefore have this `delta` (S1).
    #[cold]
    fn split(&mut self, range: Range<usize>, above: u32, lower: Option<u64>) {
        let keys = self.scratch.keys(self.batch, range.clone());
        keys.sort_unstable();
        // S2: The minimum is not absorbed.
        let minimum = usize::from(lower.is_none());
        let mut end = range.end;
        loop {
            let rest = &self.scratch.keys[range.start..end];
            let absorbed = self.free().min(rest.len().saturating_sub(minimum));
            let is_run = self.g > 0 && rest.last() == Some(&self.key);
            let of_run = is_run.then(|| mid_run(rest, lower, u32::MAX - self.g));
            let absorbed = absorbed.max(of_run.unwrap_or(0));
            let key = rest[..rest.len() - absorbed].last().copied();
            self.g += absorbed as u32;
            let Some(key) = key else { return };
            end -= absorbed + 1;
            self.start(Tuple::new(key, 1, above));
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
