//! Insertion: a batch is laid out between the tuples, and one pass from right to left takes it in and compresses.
//!
//! A tuple in a pass has room for so many ranks (`Rooms`), and of the keys between two tuples only their number counts
//! while there is room for all. So a batch is not sorted but distributed: each key seeks its gap among the tuples, which
//! cut the values into parts of like numbers, being quantiles. Keys are sorted only in a gap that a new tuple divides.

use std::hint::select_unpredictable;

use super::bound::{Bound, Rooms};
use super::{MAX_TUPLES, Sketch, Tuple};

/// Weight from which a sketch halves what it holds, so that `g` stays within 32 bits and the tuples within their cap.
const MAX_WEIGHT: u64 = 1 << 41;

impl Sketch {
    /// Inserts `keys`, in any order. Allocates nothing once `scratch` and the sketch have grown.
    pub fn insert(&mut self, bound: &Bound, keys: &[u64], scratch: &mut Scratch) {
        if self.tuples.len() >= MOST_PIVOTS {
            self.compress(bound, scratch);
        }
        if keys.is_sorted() {
            scratch.gallop(&self.tuples, keys);
        } else {
            scratch.distribute(&self.tuples, keys);
        }
        self.take_in(bound, scratch);
    }

    /// Inserts `keys`, which ascend. In another order they are all counted, but their ranks are wrong.
    pub fn insert_sorted(&mut self, bound: &Bound, keys: &[u64], scratch: &mut Scratch) {
        scratch.gallop(&self.tuples, keys);
        self.take_in(bound, scratch);
    }

    /// Absorbs every tuple that `bound` can spare: for the result of a merge.
    pub fn compress(&mut self, bound: &Bound, scratch: &mut Scratch) {
        self.insert_sorted(bound, &[], scratch);
    }

    fn take_in(&mut self, bound: &Bound, scratch: &mut Scratch) {
        self.n += scratch.keys.len() as u64;
        self.pack(&bound.rooms(self.n, 1.0), scratch); // mutation: wide
        while self.n > MAX_WEIGHT {
            self.halve();
        }
        let mut scale = 1.0;
        while self.tuples.len() > MAX_TUPLES && scale < 1e15 {
            self.degraded = true;
            scale *= 1.25;
            scratch.gallop(&self.tuples, &[]);
            self.pack(&bound.rooms(self.n, scale), scratch);
        }
    }

    /// One pass from right to left over tuples and keys: each tuple absorbs what lies to its left while it has room.
    fn pack(&mut self, rooms: &Rooms, scratch: &mut Scratch) {
        let Scratch {
            keys, ends, packed, ..
        } = scratch;
        packed.clear();
        packed.reserve(self.tuples.len() + keys.len());
        let mut packer = Packer {
            rooms,
            packed,
            key: 0,
            g: 0,
            rank: self.n as f64,
            room: 0,
        };
        let mut end = keys.len();
        for i in (0..self.tuples.len()).rev() {
            let begin = ends[i];
            packer.keys(
                &mut keys[begin..end],
                self.tuples.get(i + 1),
                Some(self.tuples[i].key),
            );
            end = begin;
            packer.tuple(
                self.tuples[i],
                i.checked_sub(1).map(|i| self.tuples[i].key),
                i == 0 && end == 0,
            );
        }
        packer.keys(&mut keys[..end], self.tuples.first(), None);
        packer.finish();
        self.tuples.clear();
        self.tuples.extend(packed.iter().rev());
    }

    /// Gives all that is held half its weight: ranks are halved, outwards, and so F is kept to one rank.
    fn halve(&mut self) {
        let (last, n) = (self.tuples.len().saturating_sub(1), self.n);
        let (mut low, mut half, mut i) = (0, 0, 0);
        self.tuples.retain_mut(|tuple| {
            low += u64::from(tuple.g);
            let high = tuple.high(low, n);
            // The least and the greatest value stay, and stay exact.
            let next = if i == last { low.div_ceil(2) } else { low / 2 }.max(1);
            let delta = high.div_ceil(2).saturating_sub(next);
            tuple.delta = if tuple.delta == u32::MAX {
                u32::MAX
            } else {
                delta as u32
            };
            tuple.g = (next - half) as u32;
            half = next;
            i += 1;
            tuple.g > 0
        });
        self.n = half;
    }
}

/// Tuples below this number sort a batch; more than a compressed sketch has.
const MOST_PIVOTS: usize = 4096;

/// Keys that seek their gap at once.
const LANES: usize = 8;

/// What an insertion needs besides the sketch; kept so that it allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// The batch, gap by gap: after the keys below tuple 0 those below tuple 1, and so on.
    keys: Vec<u64>,
    /// `ends[i]`: how many keys lie below tuple `i`. Equal keys lie above.
    ends: Vec<usize>,
    /// The gap of each key.
    gaps: Vec<u32>,
    /// The result of a pass, from right to left.
    packed: Vec<Tuple>,
}

impl Scratch {
    /// Without memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            keys: Vec::new(),
            ends: Vec::new(),
            gaps: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Lays `batch`, in any order, out by gap: a counting sort.
    fn distribute(&mut self, tuples: &[Tuple], batch: &[u64]) {
        self.gaps.clear();
        self.gaps.resize(batch.len(), 0);
        match tuples.len() {
            0..128 => self.find_gaps::<128>(tuples, batch),
            128..512 => self.find_gaps::<512>(tuples, batch),
            _ => self.find_gaps::<MOST_PIVOTS>(tuples, batch),
        }
        self.ends.clear();
        self.ends.resize(tuples.len() + 1, 0);
        for gap in &self.gaps {
            self.ends[*gap as usize] += 1;
        }
        let mut begin = 0;
        for end in &mut self.ends {
            begin += std::mem::replace(end, begin);
        }
        self.keys.clear();
        self.keys.resize(batch.len(), 0);
        for (key, gap) in batch.iter().zip(&self.gaps) {
            let place = &mut self.ends[*gap as usize];
            self.keys[*place] = *key;
            *place += 1;
        }
    }

    /// The gap of each key: how many of fewer than `N` tuples do not exceed it.
    ///
    /// A binary search of fixed depth without a branch, eight keys abreast: 2 ns a key, where sorting takes 6.
    fn find_gaps<const N: usize>(&mut self, tuples: &[Tuple], batch: &[u64]) {
        let mut pivots = [u64::MAX; N];
        for (pivot, tuple) in pivots.iter_mut().zip(tuples) {
            *pivot = tuple.key;
        }
        for (keys, gaps) in batch.chunks(LANES).zip(self.gaps.chunks_mut(LANES)) {
            let mut lanes = [0; LANES];
            lanes[..keys.len()].copy_from_slice(keys);
            let mut found = [0; LANES];
            let mut step = N / 2;
            while step > 0 {
                for (gap, key) in found.iter_mut().zip(lanes) {
                    *gap += select_unpredictable(pivots[(*gap + step - 1) % N] <= key, step, 0);
                }
                step /= 2;
            }
            for (gap, found) in gaps.iter_mut().zip(found) {
                *gap = found.min(tuples.len()) as u32;
            }
        }
    }

    /// Takes an ascending `batch`, which lies gap by gap as it is, and seeks the ends by doubling steps.
    fn gallop(&mut self, tuples: &[Tuple], batch: &[u64]) {
        self.keys.clear();
        self.keys.extend_from_slice(batch);
        self.ends.clear();
        let mut end = 0;
        for tuple in tuples {
            let rest = &batch[end..];
            let mut step = 1;
            while step < rest.len() && rest[step] < tuple.key {
                step *= 2;
            }
            end += rest[..rest.len().min(step + 1)].partition_point(|key| *key < tuple.key);
            self.ends.push(end);
        }
    }
}

/// The tuples of a pass, from right to left; the last one is being filled.
struct Packer<'a> {
    rooms: &'a Rooms,
    packed: &'a mut Vec<Tuple>,
    /// The last one's key and `g`. Its `g` in `packed` is out of date: reading back what was just written there stalls.
    key: u64,
    g: u32,
    /// The last one's least rank, and what its `g` may grow to.
    rank: f64,
    room: u32,
}

impl Packer<'_> {
    fn finish(&mut self) {
        if let Some(last) = self.packed.last_mut() {
            last.g = self.g;
        }
    }

    #[inline]
    fn free(&self) -> usize {
        self.room.saturating_sub(self.g) as usize
    }

    /// Goes on to fill `tuple`, on the left of what is filled.
    #[inline]
    fn start(&mut self, tuple: Tuple) {
        self.finish();
        self.rank -= f64::from(self.g);
        self.packed.push(tuple);
        (self.key, self.g) = (tuple.key, tuple.g);
        self.room = self.rooms.room(self.rank, tuple.delta);
    }

    /// Takes in the next tuple to the left, unless there is no room or it is the minimum. `lower` is the key on its left.
    #[inline]
    fn tuple(&mut self, tuple: Tuple, lower: Option<u64>, is_minimum: bool) {
        let has_room = tuple.g as usize <= self.free() && !is_minimum; // mutation: minimum
        // The middle of a run of equals is absorbed, room or not.
        let is_mid_run = tuple.key == self.key
            && lower == Some(tuple.key)
            && self.g > 0
            && tuple.g <= u32::MAX - self.g;
        if has_room || is_mid_run {
            self.g += tuple.g;
        } else {
            self.start(tuple);
        }
    }

    /// Takes in the keys of one gap, between the tuples `higher` and `lower`; without `lower` the least is the minimum.
    #[inline]
    fn keys(&mut self, keys: &mut [u64], higher: Option<&Tuple>, lower: Option<u64>) {
        // A branch, and not a minimum: the next tuple's rank then does not wait for this one's room.
        if keys.len() <= self.free() && lower.is_some() {
            self.g += keys.len() as u32;
        } else {
            self.split(keys, higher.map_or(0, Tuple::hidden), lower); // mutation: no-inheritance
        }
    }

    /// The same where not all have room. What is hidden `above` each key may lie below it.
    #[cold]
    fn split(&mut self, keys: &mut [u64], above: u32, lower: Option<u64>) {
        keys.sort_unstable();
        let minimum = usize::from(lower.is_none());
        let mut rest = &*keys;
        loop {
            let absorbed = self.free().min(rest.len().saturating_sub(minimum));
            let is_run = self.g > 0 && rest.last() == Some(&self.key);
            let absorbed = if is_run {
                absorbed.max(mid_run(rest, lower, u32::MAX - self.g))
            } else {
                absorbed
            };
            self.g += absorbed as u32;
            rest = &rest[..rest.len() - absorbed];
            let [below @ .., key] = rest else { return };
            self.start(Tuple {
                key: *key,
                g: 1,
                delta: above,
            });
            rest = below;
        }
    }
}

/// How many of the greatest keys, `most` at most, equal the one above and have an equal below, be that here or `lower`.
fn mid_run(keys: &[u64], lower: Option<u64>, most: u32) -> usize {
    let Some(last) = keys.last() else { return 0 };
    let below = keys.partition_point(|key| key < last);
    let is_first_here = below > 0 || lower != Some(*last);
    (keys.len() - below - usize::from(is_first_here)).min(most as usize)
}
