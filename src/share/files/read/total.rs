//! The total of one series in a writer's memory.

use crate::observe::{BUCKET, UpDownCells, difference, last_set};
use crate::share::bytes::ensure;
use crate::snapshot::{Kind, LastSet, Number, Quantiles, Values, sum_since};
use crate::sync::Relaxed;

use super::super::format::{CellKind, header, series, shard, slab};
use super::blocks::{BlockAt, Sums};
use super::family::{FamilyAt, SeriesAt};
use super::memory::{Failed, Try, WriterMemory};
use super::stream::sized;

/// Adds up the words of one series after another.
pub(super) struct Total<'a> {
    family: FamilyAt<'a>,
    slabs: Vec<SlabAt>,
    sums: Sums,
    /// The value of a gauge.
    gauge: LastSet,
}

/// The cells of a slab.
struct SlabAt {
    /// The address of the first one.
    cells: u64,
    len: u64,
}

impl<'a> Total<'a> {
    /// Begins with the first series.
    pub(super) fn new(family: FamilyAt<'a>) -> Try<Self> {
        let width = match family.record.cells {
            CellKind::UpDown => 2,
            CellKind::Histogram | CellKind::Event => {
                BUCKET + 2 * family.description.counters + family.description.buckets
            }
            // A gauge has a slot, whose cell stays 0.
            CellKind::Counter
            | CellKind::FloatCounter
            | CellKind::Gauge
            | CellKind::Native
            | CellKind::Summary => 1,
            CellKind::StateSet => 0,
        };
        let fits = family.record.width == width as u64;
        ensure(fits, "a family has no valid number of cells")?;
        let mut total = Self {
            family,
            slabs: slabs(family.memory)?,
            sums: Sums::default(),
            gauge: LastSet::default(),
        };
        total.reset();
        Ok(total)
    }

    /// Begins another series.
    pub(super) fn reset(&mut self) {
        self.sums.reset(self.family.description);
    }

    /// Adds a series to the total. A gauge replaces it.
    pub(super) fn add(&mut self, series: &SeriesAt) -> Try<()> {
        let (memory, record) = (self.family.memory, self.family.record);
        if series.slot().is_some() {
            memory.visit(self.slabs.len() as u64)?;
        }
        let at = |field: usize| series.address + field as u64;
        let cold = memory.published(at(series::COLD));
        let slabs = &self.slabs;
        let blocks = || blocks(slabs, series.slot(), record.width);
        let sums = &mut self.sums;
        match record.cells {
            CellKind::Counter => {
                let cells = blocks().map(|block| memory.word(block.cell(0)));
                sums.counts[0] = cells.fold(sums.counts[0].wrapping_add(cold), u64::wrapping_add);
            }
            CellKind::FloatCounter => {
                sums.sum.add(number(cold)?);
                for block in blocks() {
                    sums.sum.add(number(memory.word(block.cell(0)))?);
                }
            }
            CellKind::UpDown => {
                let difference = difference(&mut UpDownAt {
                    family: self.family,
                    slabs: &mut self.slabs,
                    series: *series,
                })?;
                sums.counts[0] = sums.counts[0].wrapping_add(difference as u64);
            }
            CellKind::Gauge => {
                // As in the writer: the time before the value.
                let set_at = memory.published(at(series::SET_AT));
                self.gauge = last_set(memory.word(at(series::COLD)), set_at);
            }
            CellKind::Histogram | CellKind::Event => {
                let cold = BlockAt::own(memory, cold, record.width)?;
                for block in cold.into_iter().chain(blocks()) {
                    sums.add_fixed(memory, block)?;
                }
            }
            CellKind::Native => {
                let cold = memory.range(cold, 8)?.into_iter();
                for cell in cold.chain(blocks().map(|block| block.cell(0))) {
                    sums.add_table(memory, memory.published(cell))?;
                }
                let resolution = &self.family.description.native;
                if let (Some(native), Some(resolution)) = (&mut sums.native, resolution) {
                    native.normalize(resolution.limit);
                }
            }
            CellKind::Summary => {
                let ages = record.ages;
                sums.add_folded(memory, memory.published(at(series::FOLDED)), ages)?;
                for block in blocks() {
                    sums.add_stream(memory, memory.published(block.cell(0)), ages)?;
                }
                sums.add_stream(memory, memory.published(at(series::STREAM)), ages)?;
            }
            // Its words are not added up.
            CellKind::StateSet => {}
        }
        Ok(())
    }

    /// Subtracts what the overflow series had counted when the family was cleared.
    pub(super) fn subtract(&mut self, baseline: u64) -> Try<()> {
        let FamilyAt { memory, record, .. } = self.family;
        let Some(words) = sized(memory, baseline)? else {
            return Ok(());
        };
        let word = |i: usize| words[i].load(Relaxed);
        let (cells, sums) = (record.cells, &mut self.sums);
        // The number of the word with the sum, if there is one, and those of the counts.
        let (sum, counts) = match cells {
            CellKind::Counter | CellKind::UpDown | CellKind::Gauge | CellKind::StateSet => {
                (None, 0..1)
            }
            CellKind::FloatCounter => (Some(0), 0..0),
            CellKind::Histogram | CellKind::Native | CellKind::Event => {
                (Some(0), 1..1 + sums.counts.len() + sums.counters.len())
            }
            CellKind::Summary => (Some(1), 0..1),
        };
        let fits = words.len() == counts.len() + usize::from(sum.is_some());
        ensure(fits, "a baseline is invalid")?;
        let totals = sums.counts.iter_mut().chain(&mut sums.counters);
        for (n, i) in totals.zip(counts) {
            *n = n.wrapping_sub(word(i));
        }
        if let Some(sum) = sum {
            let (now, before) = (sums.sum.value(), f64::from_bits(word(sum)));
            // A counter of floats has no count by which to see that it counted nothing since, and
            // only a damaged file has its baseline above its total.
            let counts = sums.counts.iter().copied();
            let (count, least) = match cells {
                CellKind::FloatCounter => (1, 0.0),
                _ => (counts.fold(0, u64::wrapping_add), f64::NEG_INFINITY),
            };
            // Both are rounded before, so that nothing is left if nothing was added since.
            sums.sum = sum_since(now, before, count).max(least).into();
        }
        Ok(())
    }

    /// Returns whether the series has counted anything.
    pub(super) fn counts_anything(&self) -> bool {
        if self.family.record.cells == CellKind::Gauge {
            // Every series of an info has the value 1, also one that was never set.
            return self.gauge.at != LastSet::NEVER
                && self.family.description.empty.meta.kind != Kind::Info;
        }
        self.sums.sum.value() != 0.0 || self.sums.counts.iter().any(|count| *count != 0)
    }

    /// Appends the total to the values of the family.
    pub(super) fn push(&self, values: &mut Values) {
        let (sum, count) = (self.sums.sum.value(), self.sums.counts[0]);
        match values {
            Values::Counter(numbers) => numbers.push(match self.family.record.cells {
                CellKind::FloatCounter => Number::Float(sum),
                _ => Number::Int(count),
            }),
            Values::Gauge(values) => values.push(match self.family.record.cells {
                CellKind::UpDown => LastSet::untimed(count as i64 as f64),
                _ => self.gauge,
            }),
            Values::Histogram(all) => {
                let counts = &self.sums.counts[..=all.bounds.len()];
                all.push(counts, sum, self.sums.native.as_ref());
                all.counters.extend_from_slice(&self.sums.counters);
            }
            Values::Summary(_, values) => values.push(Quantiles {
                count,
                sum,
                sketch: self.sums.sketch(),
            }),
            Values::PageSummary(_) => {}
        }
    }
}

/// Returns the number in a cell of a float counter.
fn number(cell: u64) -> Try<f64> {
    let number = f64::from_bits(cell);
    ensure(number >= 0.0, "a counter is below 0 or not a number")?;
    Ok(number)
}

/// Returns the slabs of all shards.
fn slabs(memory: &WriterMemory<'_>) -> Try<Vec<SlabAt>> {
    let mut slabs = Vec::new();
    let mut next = memory.published_header(header::SHARDS);
    let mut records = 0;
    while let Some(record) = memory.locate(next, shard::BYTES as u64)? {
        memory.visit(1)?;
        records += 1;
        ensure(records <= memory.most(shard::BYTES), "its records overlap")?;
        let slab = memory.published(record + shard::SLAB as u64);
        if let Some(slab) = memory.locate(slab, slab::CELLS as u64)? {
            let len = memory.word(slab + slab::CAPACITY as u64);
            let cells = slab + slab::CELLS as u64;
            let bytes = len.checked_mul(8);
            let bytes = bytes.ok_or(Failed::Damaged("a slab is too long"))?;
            // Not counted as work: only the cells of series are loaded.
            ensure(memory.contains(cells, bytes), "a slab is cut off")?;
            slabs.push(SlabAt { cells, len });
        }
        next = memory.published(record + shard::NEXT as u64);
    }
    Ok(slabs)
}

/// Iterates over the blocks of a series in all slabs that have its slot.
fn blocks(slabs: &[SlabAt], slot: Option<u64>, width: u64) -> impl Iterator<Item = BlockAt> {
    slot.into_iter().flat_map(move |slot| {
        let slabs = slabs.iter();
        let slabs = slabs.filter(move |slab| slot < slab.len && slot + 1 >= width);
        slabs.map(move |slab| BlockAt(slab.cells + 8 * slot))
    })
}

/// The cells of an up-down counter, while they are added up.
struct UpDownAt<'a> {
    family: FamilyAt<'a>,
    slabs: &'a mut Vec<SlabAt>,
    series: SeriesAt,
}

impl UpDownAt<'_> {
    /// Adds up cell `i` of each block to the cold cell, both read with `load`.
    fn sum(&self, cold: usize, i: u64, load: impl Fn(u64) -> u64) -> u64 {
        let cold = load(self.series.address + cold as u64);
        blocks(self.slabs, self.series.slot(), self.family.record.width)
            .map(|block| load(block.cell(i)))
            .fold(cold, u64::wrapping_add)
    }
}

impl UpDownCells for UpDownAt<'_> {
    type Error = Failed;

    fn downs(&self) -> u64 {
        self.sum(series::DECREMENTS, 1, |cell| {
            self.family.memory.published(cell)
        })
    }

    fn look_again(&mut self) -> Try<()> {
        self.series.slot_word = self.family.memory.published(self.series.address);
        if self.series.slot().is_some() {
            *self.slabs = slabs(self.family.memory)?;
        }
        Ok(())
    }

    fn ups(&self) -> u64 {
        self.sum(series::COLD, 0, |cell| self.family.memory.word(cell))
    }
}
