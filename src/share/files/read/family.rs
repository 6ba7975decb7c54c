//! One family in a writer's memory: its series, live or retired, and their values.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::observe::{Ages, BUCKET, UpDownCells, difference};
use crate::share::record::LONGEST_TEXT;
use crate::snapshot::{
    Exemplar, Family, FloatSum, Kind, LAST_MILLIS, Number, PAGE, Page, Quantiles, Value, Values,
};
use crate::sync::{Acquire, fence};

use super::super::between;
use super::super::format::{
    CellKind, FNV_START, checksum_from, chunk, exemplars, family, header, label, series, shard,
    slab,
};
use super::blocks::{Block, Observed};
use super::description::{Description, is_text};
use super::memory::{Failed, Memory, Try};
use super::stream::{Summed, sized};

/// The most bytes of a series. Every kind has fewer.
const MOST_BYTES: u64 = 4096;

/// The number by which exemplars refer to the first series: the only one, or the overflow series.
const FIRST_SERIES: u32 = u32::MAX;

/// A reader's knowledge of a family from earlier reads.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The state of the record: odd while it has a family. Every change raises it.
    state: u64,
    description: Option<Arc<Description>>,
    /// The label texts, in pages, each with the marks of its series.
    pages: Vec<(Vec<TextMark>, Arc<Page>)>,
}

/// The words of a family record.
#[derive(Clone, Copy)]
struct FamilyRecord {
    cells: CellKind,
    /// The cells of a block in a slab.
    width: u64,
    /// The bytes from one series to the next.
    stride: u64,
    /// The address of the first series.
    first: u64,
    /// When the first series began, in milliseconds since 1970.
    created: u64,
    /// The address of the baseline; 0: none.
    baseline: u64,
    /// The address of the newest block of exemplars; 0: none.
    exemplars: u64,
    ages: Ages,
}

/// A series in the memory of a writer.
#[derive(Clone, Copy)]
struct SeriesAt {
    address: u64,
    slot_word: u64,
    /// Its number, and whether it is one of a closed label set. For its exemplars.
    number: (u32, bool),
}

impl SeriesAt {
    fn slot(self) -> Option<u64> {
        let slot = self.slot_word & series::SLOT;
        (slot != series::SLOT).then_some(slot)
    }

    fn generation(self) -> u64 {
        self.slot_word >> 32
    }
}

impl Known {
    /// Reads the family. Returns `None` if the record has none.
    pub(super) fn read(&mut self, memory: &Memory<'_>, address: u64) -> Try<Option<Family>> {
        let at = |field: usize| address + field as u64;
        let state = memory.published(at(family::STATE));
        if state % 2 == 0 {
            *self = Self::default();
            return Ok(None);
        }
        let record = FamilyRecord::read(memory, address)?;
        let description = match &self.description {
            Some(description) if self.state == state => Arc::clone(description),
            _ => {
                let text = memory.published(at(family::DESCRIPTION));
                Arc::new(Description::read(memory, text, record.cells)?)
            }
        };
        let read = self.read_series(memory, address, &record, &description)?;
        if memory.published(at(family::STATE)) != state {
            return Err(Failed::Changed);
        }
        self.state = state;
        self.description = Some(description);
        Ok(Some(read))
    }

    /// Reads the series. Fails with [`Failed::Changed`] if one left or changed its slot meanwhile.
    fn read_series(
        &mut self,
        memory: &Memory<'_>,
        address: u64,
        record: &FamilyRecord,
        description: &Description,
    ) -> Try<Family> {
        let mut out = description.empty.clone();
        let Some(first) = memory.range(record.first, record.stride)? else {
            // There was no space to publish this family.
            return Ok(out);
        };
        let first = SeriesAt {
            address: first,
            slot_word: memory.published(first),
            number: (FIRST_SERIES, false),
        };
        if record.cells == CellKind::StateSet {
            read_states(memory, first.address, description, &mut out);
            return Ok(out);
        }
        let all = if description.is_labelled {
            AllSeries::find(memory, address, record)?
        } else {
            AllSeries::default()
        };
        let mut total = Total::new(memory, record, description)?;
        between("values");
        // The overflow series comes before the retired ones: if a decrement is seen there, its
        // increment is then found in one of them.
        total.reset();
        total.add(first)?;
        if record.cells != CellKind::Gauge {
            for retired in &all.retired {
                total.add(*retired)?;
            }
        }
        let has_first = if description.is_labelled {
            total.subtract(record.baseline)?;
            total.counts_anything()
        } else {
            true
        };
        // Read first, but shown last, so its values wait in a column of their own. `times` has one
        // time per series, or none.
        let mut overflow = out.values.clone();
        let mut times = Vec::new();
        if has_first {
            total.push(&mut overflow, &mut times);
        }
        let overflow_time = times.pop();
        for (series, _) in &all.live {
            total.reset();
            total.add(*series)?;
            total.push(&mut out.values, &mut times);
        }
        self.write_texts(memory, &all.live, &mut out)?;
        if has_first {
            out.values.push(overflow.get(0));
            out.texts.push(&description.overflow, record.created);
            times.extend(overflow_time);
        }
        for (i, time) in times.into_iter().enumerate() {
            out.texts.set_created(i, time);
        }
        let live = all.live.iter().map(|(series, _)| *series);
        let shown: Vec<_> = live.chain(has_first.then_some(first)).collect();
        read_exemplars(memory, record, description, &shown, &mut out)?;
        // Acquire: if a value above was read after a series was retired, the word below has the new
        // generation.
        fence(Acquire);
        let live = all.live.iter().map(|(series, _)| series);
        // A slot that was given back may belong to another series now. A series that has got a slot
        // since is right without it: the slot has only what it counted meanwhile.
        let is_same = |series: &SeriesAt| {
            let word = memory.word(series.address);
            word >> 32 == series.generation()
                && (series.slot().is_none()
                    || word & series::SLOT == series.slot_word & series::SLOT)
        };
        let mut seen = live.chain(&all.retired).chain(&all.unused).chain([&first]);
        if !seen.all(is_same) {
            return Err(Failed::Changed);
        }
        if description.has_any_labels {
            out.override_constant_labels();
        }
        Ok(out)
    }

    /// Writes the label texts of the live series. Pages whose series are the same as in the last
    /// read are used again.
    fn write_texts(
        &mut self,
        memory: &Memory<'_>,
        live: &[(SeriesAt, TextMark)],
        out: &mut Family,
    ) -> Try<()> {
        let mut texts = out.texts.rewrite();
        let mut pages = std::mem::take(&mut self.pages).into_iter();
        for series in live.chunks(PAGE) {
            let marks = series.iter().map(|(_, mark)| mark);
            let old = pages.next();
            let old =
                old.filter(|(old, _)| old.len() == marks.len() && old.iter().eq(marks.clone()));
            let (marks, page) = match old {
                Some(page) => page,
                None => {
                    let mut page = Page::default();
                    for mark in marks.clone() {
                        mark.read(memory, &mut page)?;
                    }
                    (marks.copied().collect(), page.seal())
                }
            };
            texts.put(&page);
            self.pages.push((marks, page));
        }
        texts.finish();
        Ok(())
    }
}

impl FamilyRecord {
    fn read(memory: &Memory<'_>, address: u64) -> Try<Self> {
        let at = |field: usize| memory.word(address + field as u64);
        let half = |field: usize| memory.half(address + field as u64);
        let cells = CellKind::from_number(half(family::KIND));
        let cells = cells.ok_or(Failed::Damaged("a kind is unknown"))?;
        let width = half(family::WIDTH);
        let stride = u64::from(half(family::STRIDE));
        if stride < cells.series_bytes() as u64 || stride % 8 != 0 || stride > MOST_BYTES {
            return Err(Failed::Damaged("a family has no valid distance of series"));
        }
        let (length, count) = (at(family::WINDOW_LENGTH), at(family::WINDOW_AGES));
        let origin = at(family::WINDOW_ORIGIN);
        let ages = if length == 0 || cells != CellKind::Summary {
            Ages::ALL
        } else {
            // The number of the current age; the first is 1.
            let now = crate::clock::monotonic_nanos().saturating_sub(origin) / length + 1;
            Ages::new(now, count)
        };
        Ok(Self {
            cells,
            width: u64::from(width),
            stride,
            first: memory.published(address + family::FIRST as u64),
            created: at(family::CREATED),
            baseline: memory.published(address + family::BASELINE as u64),
            exemplars: memory.published(address + family::EXEMPLARS as u64),
            ages,
        })
    }
}

/// The sizes of what a series of one kind has, in words and in exemplars.
struct Sizes {
    /// The cells in a shard.
    width: u64,
    /// The baseline of its total.
    baseline: u64,
    exemplars: u64,
}

impl FamilyRecord {
    fn sizes(&self, description: &Description) -> Sizes {
        let buckets = description.buckets as u64;
        let (width, baseline, exemplars) = match self.cells {
            // A gauge has a slot, whose cell stays 0.
            CellKind::Counter | CellKind::FloatCounter | CellKind::Gauge => (1, 1, 1),
            CellKind::UpDown => (2, 1, 1),
            CellKind::Histogram => (BUCKET as u64 + buckets, 1 + buckets, buckets),
            CellKind::Native => (1, 1 + buckets, buckets),
            CellKind::Summary => (1, 2, 1),
            // Has no cells in shards, and its series is not added up.
            CellKind::StateSet => (0, 1, 1),
        };
        Sizes {
            width,
            baseline,
            exemplars,
        }
    }
}

/// Reads the states of a state set, each with the time at which the current one was set.
fn read_states(memory: &Memory<'_>, address: u64, description: &Description, out: &mut Family) {
    let current = memory.word(address + series::COLD as u64);
    let time = memory.word(address + series::SET_AT as u64);
    for (text, i) in description.states.iter().zip(0..) {
        out.texts.push(text, time);
        out.values
            .push(Value::Gauge(f64::from(u8::from(i == current))));
    }
}

/// The series of a labelled family, by their state.
#[derive(Default)]
struct AllSeries {
    /// Those with a label text of their generation, in the order of their numbers.
    live: Vec<(SeriesAt, TextMark)>,
    /// Those whose counts belong to the overflow series.
    retired: Vec<SeriesAt>,
    /// Those that were removed, or have not been used.
    unused: Vec<SeriesAt>,
}

impl AllSeries {
    /// Finds the series in all chunks of the family whose record has this address.
    fn find(memory: &Memory<'_>, address: u64, record: &FamilyRecord) -> Try<Self> {
        let mut chunks = Vec::new();
        let mut next = memory.published(address + family::CHUNKS as u64);
        while let Some(chunk) = memory.record(next, chunk::BYTES)? {
            chunks.push(chunk);
            next = memory.published(chunk + chunk::NEXT as u64);
        }
        let mut all = Self::default();
        // Oldest first: the list begins with the newest chunk.
        for chunk in chunks.into_iter().rev() {
            let at = |field: usize| chunk + field as u64;
            let len = memory.half(at(chunk::LEN));
            let first = memory.half(at(chunk::FIRST));
            let is_closed = memory.word(at(chunk::FLAGS)) & chunk::CLOSED != 0;
            let series = memory.word(at(chunk::SERIES));
            let texts = memory.word(at(chunk::LABELS));
            let bytes = u64::from(len) * record.stride;
            let series = memory.range(series, bytes)?;
            let texts = memory.range(texts, 8 * u64::from(len))?;
            let (Some(series), Some(texts)) = (series, texts) else {
                continue;
            };
            for i in 0..len {
                let address = series + u64::from(i) * record.stride;
                let series = SeriesAt {
                    address,
                    slot_word: memory.published(address),
                    number: (first.wrapping_add(i), is_closed),
                };
                all.sort(memory, series, texts + 8 * u64::from(i))?;
            }
        }
        Ok(all)
    }

    /// Adds a series whose label text has its address at `text`.
    fn sort(&mut self, memory: &Memory<'_>, series: SeriesAt, text: u64) -> Try<()> {
        if let Some(mark) = TextMark::of(memory, memory.published(text), series.generation())? {
            self.live.push((series, mark));
        } else if series.slot_word & series::STATE == series::RETIRED {
            self.retired.push(series);
        } else {
            self.unused.push(series);
        }
        Ok(())
    }
}

/// The identity of a label text: its address, and the words before the text.
#[derive(Clone, Copy, Debug, PartialEq)]
struct TextMark {
    address: u64,
    created: u64,
    stamp: u64,
    checksum: u64,
}

impl TextMark {
    /// Returns the mark of the text at an address, if it is that of a series of this generation.
    fn of(memory: &Memory<'_>, address: u64, generation: u64) -> Try<Option<Self>> {
        let Some(address) = memory.range(address, label::TEXT as u64)? else {
            return Ok(None);
        };
        let at = |field: usize| memory.word(address + field as u64);
        let stamp = at(label::STAMP);
        Ok((stamp >> 32 == generation).then(|| Self {
            address,
            created: at(label::CREATED),
            stamp,
            checksum: at(label::CHECKSUM),
        }))
    }

    /// Appends the text to a page.
    fn read(&self, memory: &Memory<'_>, page: &mut Page) -> Try<()> {
        let len = self.stamp & 0xffff_ffff;
        if len > LONGEST_TEXT as u64 {
            return Err(Failed::Damaged("a label text is too long"));
        }
        let text = memory.range(self.address + label::TEXT as u64, len.next_multiple_of(8))?;
        let text = text.ok_or(Failed::Damaged("a label text is cut off"))?;
        let bytes = memory.bytes(text, len);
        let sum = [self.created, self.stamp]
            .iter()
            .fold(FNV_START, |sum, word| {
                checksum_from(sum, &word.to_ne_bytes())
            });
        // A fuzzer would not find a sum.
        if checksum_from(sum, &bytes) != self.checksum && !cfg!(fuzzing) {
            return Err(Failed::Damaged("a label text is damaged"));
        }
        match String::from_utf8(bytes) {
            Ok(text) if is_text(&text) => page.push(&text, self.created),
            _ => return Err(Failed::Damaged("a label text is invalid")),
        }
        Ok(())
    }
}

/// Returns the number in a cell of a float counter.
fn number(cell: u64) -> Try<f64> {
    let number = f64::from_bits(cell);
    if number.is_nan() || number < 0.0 {
        return Err(Failed::Damaged("a counter is below 0 or not a number"));
    }
    Ok(number)
}

/// The cells of a slab: their address and their number.
type Slab = (u64, u64);

/// Returns the slabs of all shards.
fn slabs(memory: &Memory<'_>) -> Try<Vec<Slab>> {
    let mut slabs = Vec::new();
    let mut next = memory.published_header(header::SHARDS);
    let mut records = 0;
    while let Some(record) = memory.locate(next, shard::BYTES as u64)? {
        memory.visit(1)?;
        records += 1;
        if records > memory.most(shard::BYTES) {
            return Err(Failed::Damaged("its records overlap"));
        }
        let slab = memory.published(record + shard::SLAB as u64);
        if let Some(slab) = memory.locate(slab, slab::CELLS as u64)? {
            let len = memory.word(slab + slab::CAPACITY as u64);
            let cells = slab + slab::CELLS as u64;
            let bytes = len.checked_mul(8);
            let bytes = bytes.ok_or(Failed::Damaged("a slab is too long"))?;
            // Not counted as work: only the cells of series are loaded.
            if memory.contains(cells, bytes) {
                slabs.push((cells, len));
            } else {
                return Err(Failed::Damaged("a slab is cut off"));
            }
        }
        next = memory.published(record + shard::NEXT as u64);
    }
    Ok(slabs)
}

/// Adds up the words of one series.
struct Total<'a> {
    memory: &'a Memory<'a>,
    record: &'a FamilyRecord,
    description: &'a Description,
    slabs: Vec<Slab>,
    int: u64,
    /// The total of a float counter, not rounded yet.
    float: FloatSum,
    gauge: f64,
    /// When a gauge was set, in milliseconds since 1970.
    set_at: u64,
    observed: Observed,
    summed: Summed,
}

impl<'a> Total<'a> {
    fn new(
        memory: &'a Memory<'a>,
        record: &'a FamilyRecord,
        description: &'a Description,
    ) -> Try<Self> {
        if record.width != record.sizes(description).width {
            return Err(Failed::Damaged("a family has no valid number of cells"));
        }
        Ok(Self {
            memory,
            record,
            description,
            slabs: slabs(memory)?,
            int: 0,
            float: FloatSum::default(),
            gauge: 0.0,
            set_at: 0,
            observed: Observed::default(),
            summed: Summed::default(),
        })
    }

    /// Begins another series.
    fn reset(&mut self) {
        (self.int, self.float) = (0, FloatSum::default());
        (self.gauge, self.set_at) = (0.0, 0);
        match self.record.cells {
            CellKind::Histogram | CellKind::Native => {
                let native = self.description.native.as_ref();
                self.observed.reset(self.description.buckets, native);
            }
            CellKind::Summary => self.summed.reset(),
            CellKind::Counter
            | CellKind::FloatCounter
            | CellKind::UpDown
            | CellKind::Gauge
            | CellKind::StateSet => {}
        }
    }

    /// Iterates over the blocks of a series in all slabs.
    fn blocks(&self, slot: Option<u64>) -> impl Iterator<Item = Block> + use<> {
        let width = self.record.width;
        // Cloned: there are few.
        let slabs = slot.map(|_| self.slabs.clone()).unwrap_or_default();
        let slot = slot.unwrap_or(0);
        let blocks = slabs
            .into_iter()
            .filter(move |(_, len)| slot < *len && slot + 1 >= width);
        blocks.map(move |(cells, _)| Block {
            top: cells + 8 * slot,
        })
    }

    /// Adds a series to the total. A gauge replaces it.
    fn add(&mut self, series: SeriesAt) -> Try<()> {
        let memory = self.memory;
        if series.slot().is_some() {
            memory.visit(self.slabs.len() as u64)?;
        }
        let at = |field: usize| series.address + field as u64;
        let cold = memory.published(at(series::COLD));
        match self.record.cells {
            CellKind::Counter => {
                self.int = self.int.wrapping_add(cold);
                for (cells, len) in &self.slabs {
                    if let Some(slot) = series.slot().filter(|slot| slot < len) {
                        let cell = memory.word(cells + 8 * slot);
                        self.int = self.int.wrapping_add(cell);
                    }
                }
            }
            CellKind::FloatCounter => {
                self.float.add(number(cold)?);
                for block in self.blocks(series.slot()) {
                    self.float.add(number(memory.word(block.cell(0)))?);
                }
            }
            CellKind::UpDown => {
                let mut cells = UpDownAt {
                    total: self,
                    series,
                };
                let difference = difference(&mut cells)?;
                self.int = self.int.wrapping_add(difference as u64);
            }
            CellKind::Gauge => {
                self.gauge = f64::from_bits(cold);
                self.set_at = memory.word(at(series::SET_AT));
            }
            CellKind::Histogram => {
                if let Some(block) = Block::own(memory, cold, self.record.width)? {
                    self.observed.add_fixed(memory, block)?;
                }
                for block in self.blocks(series.slot()) {
                    self.observed.add_fixed(memory, block)?;
                }
            }
            CellKind::Native => {
                if let Some(cell) = memory.range(cold, 8)? {
                    self.observed.add_table(memory, memory.published(cell))?;
                }
                for block in self.blocks(series.slot()) {
                    self.observed
                        .add_table(memory, memory.published(block.cell(0)))?;
                }
                if let Some(resolution) = &self.description.native {
                    self.observed.normalize(resolution.limit);
                }
            }
            CellKind::StateSet => {}
            CellKind::Summary => {
                let ages = self.record.ages;
                let folded = memory.published(at(series::FOLDED));
                self.summed.add_folded(memory, folded, ages)?;
                for block in self.blocks(series.slot()) {
                    let stream = memory.published(block.cell(0));
                    self.summed.add_stream(memory, stream, ages)?;
                }
                let stream = memory.published(at(series::STREAM));
                self.summed.add_stream(memory, stream, ages)?;
            }
        }
        Ok(())
    }

    /// Subtracts what the overflow series had counted when the family was cleared.
    fn subtract(&mut self, baseline: u64) -> Try<()> {
        let Some((words, first)) = sized(self.memory, baseline)? else {
            return Ok(());
        };
        let word = |i: u64| self.memory.word(first + 8 * i);
        if words != self.record.sizes(self.description).baseline {
            return Err(Failed::Damaged("a baseline is invalid"));
        }
        match self.record.cells {
            CellKind::Counter | CellKind::UpDown => self.int = self.int.wrapping_sub(word(0)),
            // Only a damaged file has a baseline above the total.
            CellKind::FloatCounter => {
                let left = self.float.value() - f64::from_bits(word(0));
                self.float = FloatSum::from(left.max(0.0));
            }
            CellKind::Gauge | CellKind::StateSet => {}
            CellKind::Summary => {
                self.summed.count = self.summed.count.wrapping_sub(word(0));
                self.summed.sum.subtract(f64::from_bits(word(1)));
            }
            CellKind::Histogram | CellKind::Native => {
                self.observed.sum.subtract(f64::from_bits(word(0)));
                for (count, i) in self.observed.counts.iter_mut().zip(1..) {
                    *count = count.wrapping_sub(word(i));
                }
            }
        }
        Ok(())
    }

    /// Returns whether the series has counted anything.
    fn counts_anything(&self) -> bool {
        match self.record.cells {
            CellKind::Counter | CellKind::UpDown => self.int != 0,
            // Every series of an info has the value 1, also one that was never set.
            CellKind::Gauge if self.description.empty.meta.kind == Kind::Info => false,
            CellKind::FloatCounter => self.float.value() != 0.0,
            CellKind::Gauge => self.gauge != 0.0,
            CellKind::Summary => self.summed.count != 0,
            CellKind::StateSet => false,
            CellKind::Histogram | CellKind::Native => !self.observed.is_empty(),
        }
    }

    /// Appends the total to the values of the family, and the time at which a gauge was set, if its
    /// mode asks for it, to `times`.
    fn push(&self, values: &mut Values, times: &mut Vec<u64>) {
        match values {
            Values::Counter(numbers) if self.record.cells == CellKind::FloatCounter => {
                numbers.push(Number::Float(self.float.value()));
            }
            Values::Counter(numbers) => numbers.push(Number::Int(self.int)),
            Values::Gauge(values) if self.record.cells == CellKind::UpDown => {
                values.push(self.int as i64 as f64);
            }
            Values::Gauge(values) => {
                values.push(self.gauge);
                if self.description.empty.meta.mode.is_recent() {
                    times.push(self.set_at);
                }
            }
            Values::Histogram {
                counts,
                sums,
                natives,
                ..
            } => {
                counts.extend_from_slice(&self.observed.counts);
                sums.push(self.observed.sum.value());
                if let (Some(natives), Some(native)) = (natives, &self.observed.native) {
                    natives.push(native);
                }
            }
            Values::Summary { values, .. } => values.push(Quantiles {
                count: self.summed.count,
                sum: self.summed.sum.value(),
                sketch: self.summed.sketch(),
            }),
            Values::PageSummary(_) => {}
        }
    }
}

/// The cells of an up-down counter, while they are added up.
struct UpDownAt<'t, 'a> {
    total: &'t mut Total<'a>,
    series: SeriesAt,
}

impl UpDownCells for UpDownAt<'_, '_> {
    type Error = Failed;

    fn downs(&self) -> u64 {
        let memory = self.total.memory;
        let cold = memory.published(self.series.address + series::DECREMENTS as u64);
        let blocks = self.total.blocks(self.series.slot());
        blocks
            .map(|block| memory.published(block.cell(1)))
            .fold(cold, u64::wrapping_add)
    }

    fn look_again(&mut self) -> Try<()> {
        let memory = self.total.memory;
        self.series.slot_word = memory.published(self.series.address);
        if self.series.slot().is_some() {
            self.total.slabs = slabs(memory)?;
        }
        Ok(())
    }

    fn ups(&self) -> u64 {
        let memory = self.total.memory;
        let cold = memory.word(self.series.address + series::COLD as u64);
        let blocks = self.total.blocks(self.series.slot());
        blocks
            .map(|block| memory.word(block.cell(0)))
            .fold(cold, u64::wrapping_add)
    }
}

/// Reads the exemplars of the series that are shown, in their order.
fn read_exemplars(
    memory: &Memory<'_>,
    record: &FamilyRecord,
    description: &Description,
    shown: &[SeriesAt],
    out: &mut Family,
) -> Try<()> {
    let mut next = record.exemplars;
    let mut index = None;
    while let Some(block) = memory.record(next, exemplars::FIRST)? {
        let at = |field: usize| block + field as u64;
        next = memory.published(at(exemplars::NEXT));
        let number = memory.half(at(exemplars::SERIES));
        let buckets = memory.half(at(exemplars::BUCKETS));
        let is_closed = memory.word(at(exemplars::IS_CLOSED)) == 1;
        if u64::from(buckets) > record.sizes(description).exemplars {
            return Err(Failed::Damaged(
                "exemplars are in buckets that do not exist",
            ));
        }
        let first = at(exemplars::FIRST);
        let bytes = u64::from(buckets) * exemplars::BYTES as u64;
        if memory.range(first, bytes)?.is_none() {
            continue;
        }
        let index = index.get_or_insert_with(|| {
            let numbers = shown.iter().map(|series| series.number);
            numbers.zip(0..).collect::<HashMap<_, u32>>()
        });
        let number = (number, is_closed && number != FIRST_SERIES);
        let Some(&i) = index.get(&number) else {
            continue;
        };
        let generation = shown[i as usize].generation();
        for bucket in 0..buckets {
            let at = first + u64::from(bucket) * exemplars::BYTES as u64;
            if let Some(exemplar) = read_exemplar(memory, at, generation)? {
                out.exemplars.push((i, bucket, exemplar));
            }
        }
    }
    out.exemplars
        .sort_by_key(|(series, bucket, _)| (*series, *bucket));
    out.exemplars
        .dedup_by_key(|(series, bucket, _)| (*series, *bucket));
    Ok(())
}

/// Reads the exemplar at an address, if there is one of this generation that is not being written.
fn read_exemplar(memory: &Memory<'_>, address: u64, generation: u64) -> Try<Option<Exemplar>> {
    let at = |field: usize| address + field as u64;
    // Acquire: pairs with the Release store of the number after an exemplar was written.
    let sequence = memory.published(at(exemplars::SEQUENCE));
    let stamp = memory.word(at(exemplars::STAMP));
    let len = stamp & 0xffff_ffff;
    if sequence == 0 || sequence % 2 == 1 || stamp >> 32 != generation {
        return Ok(None);
    }
    let value = f64::from_bits(memory.word(at(exemplars::VALUE)));
    let time = memory.word(at(exemplars::TIME));
    let len = len.min(exemplars::LONGEST_TEXT as u64);
    let text = memory.bytes(at(exemplars::TEXT), len);
    // Acquire: pairs with the Release fence of a writer before it writes the next exemplar.
    fence(Acquire);
    if memory.word(at(exemplars::SEQUENCE)) != sequence {
        return Ok(None);
    }
    let text = String::from_utf8(text).ok().filter(|text| is_text(text));
    let labels = text.ok_or(Failed::Damaged("the labels of an exemplar are invalid"))?;
    let is_known = (1..=LAST_MILLIS).contains(&time);
    let time = is_known.then(|| UNIX_EPOCH + Duration::from_millis(time));
    Ok(Some(Exemplar {
        labels,
        value,
        time,
    }))
}
