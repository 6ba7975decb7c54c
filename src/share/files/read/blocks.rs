//! The blocks of one series in a writer's memory: numbers, histograms and native histograms.

use crate::observe::{BUCKET, Key, read_event, read_unsteady};
use crate::share::bytes::ensure;
use crate::snapshot::native::index::{COARSEST, FINEST, Places, coarser};
use crate::snapshot::sketch::Sketch;
use crate::snapshot::{FloatSum, Native};

use super::super::format::table;
use super::description::FileDescription;
use super::memory::{Failed, Try, WriterMemory};

/// The number of times that a reader tries to read a block whose thread observes meanwhile.
const TRIES: u32 = 2000;

/// A block: its cells are counted downwards from this address, which is that of cell 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockAt(pub(super) u64);

impl BlockAt {
    /// Returns the block in memory of its own, whose lowest word has this address.
    pub(super) fn own(memory: &WriterMemory<'_>, lowest: u64, width: u64) -> Try<Option<Self>> {
        let lowest = memory.range(lowest, 8 * width)?;
        Ok(lowest.map(|lowest| Self(lowest + 8 * (width - 1))))
    }

    #[inline]
    pub(super) fn cell(self, i: u64) -> u64 {
        self.0 - 8 * i
    }
}

/// The words of one series, added up. Each kind uses a part of it.
#[derive(Default)]
pub(super) struct Sums {
    /// One count per bound, and a last one for `+Inf`; one count of a series without buckets.
    pub(super) counts: Vec<u64>,
    /// The sum of all observed values, or a float counter; not rounded yet.
    pub(super) sum: FloatSum,
    pub(super) native: Option<Native>,
    /// The counters of an event.
    pub(super) counters: Vec<u64>,
    /// The sketches of a summary.
    pub(super) sketches: Vec<Sketch>,
    /// A buffer.
    scratch: Vec<u64>,
}

impl Sums {
    /// Begins another series of a family.
    pub(super) fn reset(&mut self, description: &FileDescription) {
        self.counts.clear();
        self.counts.resize(description.buckets, 0);
        self.counters.clear();
        self.counters.resize(description.counters, 0);
        self.sum = FloatSum::default();
        self.native = description.native.as_ref().map(|resolution| {
            let mut native = Native::finest();
            native.coarsen(resolution);
            native
        });
        self.sketches.clear();
    }

    /// Adds the observations in a block with fixed buckets, and the counters of an event. Counts
    /// wrap, as in the process: a baseline is subtracted from them.
    pub(super) fn add_fixed(&mut self, memory: &WriterMemory<'_>, from: BlockAt) -> Try<()> {
        self.scratch.clear();
        let counters = self.counters.len();
        self.scratch.resize(counters + self.counts.len(), 0);
        let (counters, counts) = self.scratch.split_at_mut(counters);
        let sum = read(memory, from, counters, counts)?;
        let totals = self.counters.iter_mut().chain(&mut self.counts);
        for (total, count) in totals.zip(&self.scratch) {
            *total = total.wrapping_add(*count);
        }
        self.sum.add(sum);
        Ok(())
    }

    /// Adds the observations in the table at an address, if there is one.
    pub(super) fn add_table(&mut self, memory: &WriterMemory<'_>, address: u64) -> Try<()> {
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
        let in_range = halvings <= (FINEST - COARSEST) as u32;
        ensure(in_range, "a table has no valid schema")?;
        let zero = f64::from_bits(memory.word(address + table::ZERO_THRESHOLD as u64));
        let in_range = (0.0..=f64::MAX).contains(&zero);
        ensure(in_range, "a table has no valid zero bucket")?;
        let cells = BUCKET as u64 + entries;
        let lowest = memory.word(address + table::WORDS as u64);
        let Some(lowest) = memory.range(lowest, 8 * (cells + entries))? else {
            return Ok(());
        };
        let from = BlockAt(lowest + 8 * (cells - 1));
        self.scratch.clear();
        self.scratch.resize(entries as usize, 0);
        let sum = read(memory, from, &mut [], &mut self.scratch)?;
        let native = self.native.get_or_insert_with(Native::finest);
        native.reduce_to(FINEST - halvings as i8);
        let further = (FINEST - native.schema - halvings as i8) as u32;
        let places = Places::new(halvings, zero);
        for (entry, &count) in (0..).zip(&self.scratch).filter(|(_, count)| **count > 0) {
            let key = Key(memory.word(lowest + 8 * (cells + entry)));
            let Some(total) = self.counts.get_mut(key.bucket()) else {
                return Err(Failed::Damaged("a table has a bucket that does not exist"));
            };
            *total = total.wrapping_add(count);
            if key.is_zero() {
                native.zero_count = native.zero_count.wrapping_add(count);
                continue;
            }
            // The code of the zero bucket is above all others.
            let index = (key.code() < Key::ZERO).then(|| key.index(places));
            let index = index.filter(|(index, _)| index.unsigned_abs() <= 1 << 20);
            let (index, negative) = index.ok_or(Failed::Damaged("a table has an invalid key"))?;
            native.add(coarser(index, further), negative, count);
        }
        self.sum.add(sum);
        Ok(())
    }
}

/// Reads a prefix of a block's observations into `counts` and, of an event, `counters`, and returns
/// their sum, by the protocol of [`read_event`].
///
/// A thread that observes without a pause can make every try fail, and is not asked for a copy: it
/// belongs to another process. Then the last try takes what it gets.
fn read(
    memory: &WriterMemory<'_>,
    from: BlockAt,
    counters: &mut [u64],
    counts: &mut [u64],
) -> Try<f64> {
    memory.spend((counts.len() + counters.len()) as u64 + 3)?;
    let load = |cell: usize, order| memory.load(from.cell(cell as u64), order);
    for _ in 0..TRIES {
        if let Some(sum) = read_event(load, counters, counts) {
            return Ok(sum);
        }
        std::hint::spin_loop();
    }
    Ok(read_unsteady(load, counters, counts))
}
