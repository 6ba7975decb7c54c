//! The floor of summaries, for the default objectives only. Each thread has a buffer of its own,
//! which it sorts and merges into its own sketch when it is full. Sketches are not published: a
//! thread's sketch is locked per batch, not per observation.
//!
//! The bound is `u <= 2 n min(0.02, 0.0802 - 0.08 r / n)`, as in tallies for these objectives; see
//! its `snapshot::sketch`.

use std::sync::Mutex;

use crate::form::{Form, along, keep};
use crate::workload::*;

const MOST_THREADS: usize = 1024;

pub fn forms() -> Vec<Form> {
    [
        ("buffer of 256, sort_unstable, galloping merge", 256),
        (
            "buffer of 4096, radix sort: a pause beyond what is allowed",
            4096,
        ),
    ]
    .map(|(how, room)| {
        let streams: &Vec<_> = keep(
            (0..MOST_THREADS)
                .map(|_| Mutex::new(Stream::new(room)))
                .collect(),
        );
        Form::new(
            how,
            |thread, n| {
                let stream = &mut *streams[thread].lock().unwrap();
                along(n, &SHUFFLED, |value| stream.observe(*value));
            },
            |done| {
                let streams = || streams.iter().map(|stream| stream.lock().unwrap());
                let sum = streams()
                    .map(|stream| stream.sum + stream.buffer.iter().sum::<f64>())
                    .sum::<f64>();
                let count = streams()
                    .map(|stream| stream.n + stream.buffer.len() as u64)
                    .sum::<u64>();
                assert_observed((count, sum), done.all);
                let used = streams().filter(|stream| stream.n > 0);
                used.for_each(|stream| stream.check());
            },
        )
    })
    .into()
}

/// A value's key, the number of ranks above the next lower tuple, and by how much its rank may be
/// higher.
#[derive(Clone, Copy)]
struct Tuple {
    key: u64,
    g: u32,
    delta: u32,
}

struct Stream {
    buffer: Vec<f64>,
    room: usize,
    sum: f64,
    n: u64,
    keys: Vec<u64>,
    other: Vec<u64>,
    tuples: Vec<Tuple>,
    packed: Vec<Tuple>,
}

impl Stream {
    fn new(room: usize) -> Self {
        Self {
            buffer: vec![],
            room,
            sum: 0.0,
            n: 0,
            keys: vec![],
            other: vec![],
            tuples: vec![],
            packed: vec![],
        }
    }

    #[inline(always)]
    fn observe(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        if self.buffer.len() == self.room {
            self.flush();
        }
        self.buffer.push(value);
    }

    #[cold]
    #[inline(never)]
    fn flush(&mut self) {
        let mut sums = [0.0; 4];
        for values in self.buffer.chunks_exact(4) {
            sums.iter_mut()
                .zip(values)
                .for_each(|(sum, value)| *sum += value);
        }
        self.sum += sums.iter().sum::<f64>();
        self.keys.clear();
        self.keys.extend(self.buffer.iter().map(|value| {
            let bits = (value + 0.0).to_bits();
            bits ^ ((bits as i64 >> 63) as u64 | 1 << 63)
        }));
        self.n += self.buffer.len() as u64;
        self.buffer.clear();
        sort(&mut self.keys, &mut self.other);
        self.merge();
    }

    /// Merges from right to left: each tuple absorbs the tuples to its left as long as its bound
    /// allows.
    fn merge(&mut self) {
        let n = self.n as f64;
        self.packed.clear();
        let mut rank = n;
        let mut last = Tuple {
            key: 0,
            g: 0,
            delta: 0,
        };
        let mut room = 0;
        let mut start = |next: Tuple, last: &mut Tuple, packed: &mut Vec<Tuple>| {
            if last.g > 0 {
                packed.push(*last);
            }
            rank -= f64::from(last.g);
            *last = next;
            // The falling line is lowest at the tuple's upper rank.
            let delta = f64::from(next.delta);
            let falling = 2.0 * (0.0802 * n - 0.08 * (rank + delta)) - delta;
            falling.min(0.04 * n - delta) as u32
        };
        let mut keys = &*self.keys;
        let mut hidden = 0;
        for i in (0..=self.tuples.len()).rev() {
            // The keys above tuple `i - 1`.
            let low = i.checked_sub(1).map(|i| self.tuples[i]);
            let begin = low.map_or(0, |low| gallop(keys, low.key));
            let (rest, mut gap) = keys.split_at(begin);
            keys = rest;
            while let [below @ .., key] = gap {
                let free = room.max(last.g) - last.g;
                let taken = (free as usize).min(gap.len() - usize::from(low.is_none()));
                if taken > 0 {
                    last.g += taken as u32;
                    gap = &gap[..gap.len() - taken];
                } else {
                    room = start(
                        Tuple {
                            key: *key,
                            g: 1,
                            delta: hidden,
                        },
                        &mut last,
                        &mut self.packed,
                    );
                    gap = below;
                }
            }
            let Some(low) = low else { break };
            hidden = low.g + low.delta - 1;
            let is_least = i == 1 && keys.is_empty();
            if last.g + low.g <= room && !is_least {
                last.g += low.g;
            } else {
                room = start(low, &mut last, &mut self.packed);
            }
        }
        self.packed.push(last);
        self.tuples.clear();
        self.tuples.extend(self.packed.iter().rev());
    }

    /// Asserts that each objective is met, without the few values that are still in the buffer.
    fn check(&self) {
        let mut sorted = VALUES.clone();
        sorted.sort_by(f64::total_cmp);
        let key = |value: f64| value.to_bits() | 1 << 63;
        for (phi, error) in [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)] {
            let rank = phi * self.n as f64;
            let mut low = 0;
            let best = self.tuples.iter().map(|tuple| {
                low += u64::from(tuple.g);
                ((low + u64::from(tuple.delta)) as f64 - rank).max(rank - low as f64)
            });
            let (best, _) = best.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            let found = sorted.partition_point(|value| key(*value) <= self.tuples[best].key);
            let error = error + 2.0 / SEQUENCE as f64;
            assert!(
                (found as f64 / SEQUENCE as f64 - phi).abs() <= error,
                "{phi} is {found} of {SEQUENCE}"
            );
        }
    }
}

/// The number of keys below `key`, found from the right by doubling steps.
fn gallop(keys: &[u64], key: u64) -> usize {
    let mut step = 1;
    while step < keys.len() && keys[keys.len() - step] >= key {
        step *= 2;
    }
    let begin = keys.len().saturating_sub(step);
    begin + keys[begin..].partition_point(|other| *other < key)
}

/// Radix sort from the lowest digit of 11 bits to the highest; skips digits that all keys share.
fn sort(keys: &mut Vec<u64>, other: &mut Vec<u64>) {
    let (all, any) = keys
        .iter()
        .fold((u64::MAX, 0), |(all, any), key| (all & key, any | key));
    other.resize(keys.len(), 0);
    if keys.len() < 512 {
        // Six passes do not pay off for few keys, since each pass clears and adds up 2048 counts.
        keys.sort_unstable();
        return;
    }
    for shift in (0..64).step_by(11) {
        if (all ^ any) >> shift & 0x7FF == 0 {
            continue;
        }
        let mut places = [0_u16; 2048];
        keys.iter()
            .for_each(|key| places[(key >> shift & 0x7FF) as usize] += 1);
        let mut place = 0;
        for count in &mut places {
            place += std::mem::replace(count, place);
        }
        for key in &*keys {
            let place = &mut places[(key >> shift & 0x7FF) as usize];
            other[*place as usize] = *key;
            *place += 1;
        }
        std::mem::swap(keys, other);
    }
}
