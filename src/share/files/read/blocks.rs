//! The blocks of one series in a writer's memory: numbers, histograms and native histograms.

use crate::observe::{BUCKET, read_prefix, read_unsteady};
use crate::snapshot::native::index::{COARSEST, FINEST, coarser};
use crate::snapshot::{FloatSum, Native, Resolution};

use super::super::format::table;
use super::memory::{Failed, Memory, Try};

/// The number of times that a reader tries to read a block whose thread observes meanwhile.
const TRIES: u32 = 2000;

/// A block: its cells are counted downwards from this address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The address of cell 0.
    pub(super) top: u64,
}

impl Block {
    /// Returns the block in memory of its own, whose lowest word has this address.
    pub(super) fn own(memory: &Memory<'_>, lowest: u64, width: u64) -> Try<Option<Self>> {
        let lowest = memory.range(lowest, 8 * width)?;
        Ok(lowest.map(|lowest| Self {
            top: lowest + 8 * (width - 1),
        }))
    }

    #[inline]
    pub(super) fn cell(self, i: u64) -> u64 {
        self.top - 8 * i
    }
}

/// The observations of one series.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// One count per bound, and a last one for `+Inf`.
    pub(super) counts: Vec<u64>,
    /// The sum of all observed values, not rounded yet.
    pub(super) sum: FloatSum,
    pub(super) native: Option<Native>,
    /// A buffer.
    scratch: Vec<u64>,
}

impl Observed {
    /// Resets the observations to none, in this number of buckets.
    pub(super) fn reset(&mut self, buckets: usize, native: Option<&Resolution>) {
        self.counts.clear();
        self.counts.resize(buckets, 0);
        self.sum = FloatSum::default();
        self.native = native.map(|resolution| {
            let mut native = Native::finest();
            native.coarsen(resolution);
            native
        });
    }

    /// Returns whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.sum.value() == 0.0 && self.counts.iter().all(|count| *count == 0)
    }

    /// Adds the observations in a block with fixed buckets. Counts wrap, as in the process: a
    /// baseline is subtracted from them.
    pub(super) fn add_fixed(&mut self, memory: &Memory<'_>, from: Block) -> Try<()> {
        self.scratch.clear();
        self.scratch.resize(self.counts.len(), 0);
        let sum = read(memory, from, &mut self.scratch)?;
        for (total, count) in self.counts.iter_mut().zip(&self.scratch) {
            *total = total.wrapping_add(*count);
        }
        self.sum.add(sum);
        Ok(())
    }

    /// Adds the observations in the table at an address, if there is one.
    pub(super) fn add_table(&mut self, memory: &Memory<'_>, address: u64) -> Try<()> {
        const BYTES: u64 = 32;
        let Some(address) = memory.range(address, BYTES)? else {
            return Ok(());
        };
        let mask = memory.word(address + table::MASK as u64);
        let entries = mask.checked_add(1).filter(|n| n.is_power_of_two());
        let entries = entries.filter(|n| *n <= 1 << 20);
        let entries = entries.ok_or(Failed::Damaged("a table has no valid length"))?;
        let shift = memory.half(address + table::SHIFT as u64);
        let halvings = shift.wrapping_sub(44);
        if halvings > (FINEST - COARSEST) as u32 {
            return Err(Failed::Damaged("a table has no valid schema"));
        }
        let zero = f64::from_bits(memory.word(address + table::ZERO_THRESHOLD as u64));
        if !(0.0..=f64::MAX).contains(&zero) {
            return Err(Failed::Damaged("a table has no valid zero bucket"));
        }
        let cells = BUCKET as u64 + entries;
        let lowest = memory.word(address + table::WORDS as u64);
        let Some(lowest) = memory.range(lowest, 8 * (cells + entries))? else {
            return Ok(());
        };
        let from = Block {
            top: lowest + 8 * (cells - 1),
        };
        self.scratch.clear();
        self.scratch.resize(entries as usize, 0);
        let sum = read(memory, from, &mut self.scratch)?;
        let native = self.native.get_or_insert_with(Native::finest);
        native.reduce_to(FINEST - halvings as i8);
        let further = (FINEST - native.schema - halvings as i8) as u32;
        for (entry, &count) in (0..).zip(&self.scratch).filter(|(_, count)| **count > 0) {
            let key = memory.word(lowest + 8 * (cells + entry));
            let Some(total) = self.counts.get_mut((key >> 32) as usize) else {
                return Err(Failed::Damaged("a table has a bucket that does not exist"));
            };
            *total = total.wrapping_add(count);
            match bucket_of(key as u32, halvings) {
                None => native.zero_count = native.zero_count.wrapping_add(count),
                Some((index, negative)) if index.unsigned_abs() <= 1 << 20 => {
                    native.add(coarser(index, further), negative, count);
                }
                Some(_) => return Err(Failed::Damaged("a table has an invalid key")),
            }
        }
        self.sum.add(sum);
        Ok(())
    }

    /// Joins the exponential buckets after the last table was added.
    pub(super) fn normalize(&mut self, limit: u32) {
        if let Some(native) = &mut self.native {
            native.normalize(limit);
        }
    }
}

/// Returns the index of the exponential bucket with this code, and whether its numbers are
/// negative. Returns `None` for the zero bucket.
fn bucket_of(code: u32, halvings: u32) -> Option<(i32, bool)> {
    if code == 1 << 31 {
        return None;
    }
    if code & 1 << 30 != 0 {
        let index = (code & ((1 << 29) - 1)) as i32 - (1 << 20);
        return Some((index, code & 1 << 29 != 0));
    }
    let sign = 1 << (19 - halvings);
    let place = (code & (sign - 1)) as i32;
    Some((place - (1 << 18 >> halvings), code & sign != 0))
}

/// Reads a prefix of a block's observations into `counts`, and returns their sum, by the protocol
/// of [`read_prefix`].
///
/// A thread that observes without a pause can make every try fail, and is not asked for a copy: it
/// belongs to another process. Then the last try takes what it gets.
fn read(memory: &Memory<'_>, from: Block, counts: &mut [u64]) -> Try<f64> {
    memory.spend(counts.len() as u64 + 3)?;
    let load = |cell: usize, order| memory.load(from.cell(cell as u64), order);
    for _ in 0..TRIES {
        if let Some(sum) = read_prefix(load, counts) {
            return Ok(sum);
        }
        std::hint::spin_loop();
    }
    Ok(read_unsteady(load, counts))
}
