//! One family in a writer's memory: its series, live or retired, and their values.
//!
//! 1. [`Known::read`] reads the record, and the description if the record has another state.
//! 2. [`FamilyAt::find_series`] lists the series of all chunks with their slot words.
//! 3. [`Total`] adds up the words of the overflow series and of the retired ones, then those of
//!    each live series.
//! 4. [`Known::write_texts`] reads the label texts in pages, and uses those of the last read again.
//! 5. [`FamilyAt::read_exemplars`] finds the exemplars of the series that are shown.
//! 6. If a series has left or changed its slot since step 2, or if the record has another state,
//!    this fails with [`Failed::Changed`]. [`super::retry`] also checks the journal and `replaced`.
//!    If anything has changed, it reads the family again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::observe::{Ages, last_set};
use crate::share::bytes::ensure;
use crate::share::record::LONGEST_TEXT;
use crate::snapshot::{Exemplar, Family, LAST_MILLIS, LastSet, PAGE, Page, Values};
use crate::sync::{Acquire, fence};

use super::super::between;
use super::super::format::{
    CellKind, FNV_START, checksum_from, chunk, exemplars, family, label, series,
};
use super::description::{FileDescription, is_text};
use super::memory::{Failed, Try, WriterMemory};
use super::total::Total;

/// The largest distance of two series, in bytes, that is not damage. No kind needs as much.
const MOST_STRIDE: u64 = 4096;

/// The number by which exemplars refer to the first series: the only one, or the overflow series.
const FIRST_SERIES: u32 = u32::MAX;

/// A reader's knowledge of a family from earlier reads.
#[derive(Default)]
pub(super) struct Known {
    /// The state of the record: odd while it has a family. Every change raises it.
    state: u64,
    description: Option<Arc<FileDescription>>,
    /// The label texts, in pages, each with the marks of its series.
    pages: Vec<(Vec<TextMark>, Arc<Page>)>,
}

/// The words of a family record.
#[derive(Clone, Copy)]
pub(super) struct FamilyRecord {
    pub(super) cells: CellKind,
    /// The number of cells that a series has in each slab.
    pub(super) width: u64,
    /// The bytes from one series to the next.
    stride: u64,
    /// The address of the first series.
    first: u64,
    /// When the first series began, in milliseconds since 1970.
    created: u64,
    /// The address of the newest chunk; 0: none.
    chunks: u64,
    /// The address of the baseline; 0: none.
    baseline: u64,
    /// The address of the newest block of exemplars; 0: none.
    exemplars: u64,
    pub(super) ages: Ages,
}

/// A series in the memory of a writer.
#[derive(Clone, Copy)]
pub(super) struct SeriesAt {
    pub(super) address: u64,
    pub(super) slot_word: u64,
    /// Its number, and whether it is one of a closed label set. For its exemplars.
    number: (u32, bool),
    /// Its label text, if it is live.
    text: Option<TextMark>,
}

impl SeriesAt {
    pub(super) fn slot(&self) -> Option<u64> {
        let slot = self.slot_word & series::SLOT;
        (slot != series::SLOT).then_some(slot)
    }

    fn generation(&self) -> u64 {
        self.slot_word >> 32
    }

    /// Returns whether the series was retired, so that its counts belong to the overflow series.
    /// The counts of other series without a text are dropped: these were removed, or never used.
    fn is_retired(&self) -> bool {
        self.text.is_none() && self.slot_word & series::STATE == series::RETIRED
    }
}

/// A family in a writer's memory.
#[derive(Clone, Copy)]
pub(super) struct FamilyAt<'a> {
    pub(super) memory: &'a WriterMemory<'a>,
    pub(super) record: &'a FamilyRecord,
    pub(super) description: &'a FileDescription,
}

impl Known {
    /// Reads the family, or those of an event's metrics. Returns none if the record has none.
    pub(super) fn read<'a>(
        &mut self,
        memory: &'a WriterMemory<'a>,
        address: u64,
    ) -> Try<Vec<Family>> {
        let at = |field: usize| address + field as u64;
        let state = memory.published(at(family::STATE));
        if state % 2 == 0 {
            *self = Self::default();
            return Ok(Vec::new());
        }
        let record = FamilyRecord::read(memory, address)?;
        let description = match &self.description {
            Some(description) if self.state == state => Arc::clone(description),
            _ => {
                let text = memory.published(at(family::DESCRIPTION));
                Arc::new(FileDescription::read(memory, text, record.cells)?)
            }
        };
        let family = FamilyAt {
            memory,
            record: &record,
            description: &description,
        };
        let read = self.read_series(family)?;
        if memory.published(at(family::STATE)) != state {
            return Err(Failed::Changed);
        }
        self.state = state;
        let families = if record.cells == CellKind::Event {
            metrics_of(&read, &description)
        } else {
            vec![read]
        };
        self.description = Some(description);
        Ok(families)
    }

    /// Reads the series. Fails with [`Failed::Changed`] if one left or changed its slot meanwhile.
    fn read_series(&mut self, family: FamilyAt<'_>) -> Try<Family> {
        let (memory, record) = (family.memory, family.record);
        let description = family.description;
        let mut out = description.empty.clone();
        let Some(first) = memory.range(record.first, record.stride)? else {
            // The writer had no space for the series in its file.
            return Ok(out);
        };
        let first = SeriesAt {
            address: first,
            slot_word: memory.published(first),
            number: (FIRST_SERIES, false),
            text: None,
        };
        if record.cells == CellKind::StateSet {
            // A state set in a file has no labels but that of its states, and no constant label has
            // that name. So there is nothing to override.
            family.read_states(first.address, &mut out);
            return Ok(out);
        }
        let all = match description.is_labelled {
            true => family.find_series()?,
            false => Vec::new(),
        };
        let live = all.iter().filter(|series| series.text.is_some());
        let live: Vec<&SeriesAt> = live.collect();
        let mut total = Total::new(family)?;
        between("values");
        // The overflow series comes first, as in `observe::read_overflow`. Assume that a series is
        // retired between an increment and its decrement, so that the decrement lands in the
        // overflow series. If this sum has the decrement, it also has the increment: in the retired
        // series, which is read later, or in the overflow series, to which it was moved.
        total.add(&first)?;
        // A writer marks a retired gauge as removed. In a damaged file, one that is marked as
        // retired would replace the value of the overflow series.
        if record.cells != CellKind::Gauge {
            for retired in all.iter().filter(|series| series.is_retired()) {
                total.add(retired)?;
            }
        }
        let has_first = if description.is_labelled {
            total.subtract(record.baseline)?;
            total.counts_anything()
        } else {
            true
        };
        // Read first, but shown last, so its value waits in a column of its own.
        let mut overflow = out.values.clone();
        total.push(&mut overflow);
        for series in &live {
            total.reset();
            total.add(series)?;
            total.push(&mut out.values);
        }
        self.write_texts(memory, &live, &mut out)?;
        if has_first {
            out.values.push_from(&overflow, 0);
            if let (Values::Histogram(all), Values::Histogram(first)) = (&mut out.values, &overflow)
            {
                all.counters.extend_from_slice(&first.counters);
            }
            out.texts.push(&description.overflow, record.created);
        }
        let shown = live.into_iter().chain(has_first.then_some(&first));
        family.read_exemplars(&shown.collect::<Vec<_>>(), &mut out)?;
        // Acquire: pairs with the Release of a decrement (C3 of `observe::tally`) and with the
        // Release fence of a move (J2 of `mapped::journal`). To retire a series raises its
        // generation. If a value above was stored by a decrement or a move after that, the word
        // below has the new generation.
        fence(Acquire);
        // A slot that was given back may belong to another series now. A series that was cold and
        // has a slot now is still right: its cold cell keeps its counts, and the slot has only
        // later ones.
        let is_same = |series: &SeriesAt| {
            let word = memory.word(series.address);
            word >> 32 == series.generation()
                && (series.slot().is_none()
                    || word & series::SLOT == series.slot_word & series::SLOT)
        };
        let mut seen = all.iter().chain([&first]);
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
        memory: &WriterMemory<'_>,
        live: &[&SeriesAt],
        out: &mut Family,
    ) -> Try<()> {
        let mut texts = out.texts.rewrite();
        let mut pages = std::mem::take(&mut self.pages).into_iter();
        for series in live.chunks(PAGE) {
            let marks: Vec<_> = series.iter().filter_map(|series| series.text).collect();
            let page = match pages.next().filter(|(old, _)| *old == marks) {
                Some((_, page)) => page,
                None => {
                    let mut page = Page::default();
                    for mark in &marks {
                        mark.read(memory, &mut page)?;
                    }
                    page.seal()
                }
            };
            texts.put(&page);
            self.pages.push((marks, page));
        }
        texts.finish();
        Ok(())
    }
}

/// Returns the metrics of an event whose series were read.
fn metrics_of(read: &Family, description: &FileDescription) -> Vec<Family> {
    let Values::Histogram(all) = &read.values else {
        return Vec::new();
    };
    let metrics = description.metrics.iter().map(|(counter, empty, dropped)| {
        let mut metric = empty.clone();
        metric.texts.clone_from(&read.texts);
        all.copy_metric(*counter, &mut metric.values);
        if !dropped.is_empty() {
            metric.drop_labels(dropped, metric.meta.mode);
        }
        if description.has_any_labels {
            metric.override_constant_labels();
        }
        metric
    });
    metrics.collect()
}

impl FamilyRecord {
    fn read(memory: &WriterMemory<'_>, address: u64) -> Try<Self> {
        let at = |field: usize| memory.word(address + field as u64);
        let half = |field: usize| memory.half(address + field as u64);
        let cells = CellKind::from_number(half(family::KIND));
        let cells = cells.ok_or(Failed::Damaged("a kind is unknown"))?;
        let stride = u64::from(half(family::STRIDE));
        let strides = cells.series_bytes() as u64..=MOST_STRIDE;
        let is_valid = strides.contains(&stride) && stride % 8 == 0;
        ensure(is_valid, "a family has no valid distance of series")?;
        let (length, count) = (at(family::WINDOW_LENGTH), at(family::WINDOW_AGES));
        let origin = at(family::WINDOW_ORIGIN);
        let ages = if length == 0 || cells != CellKind::Summary {
            Ages::ALL
        } else {
            // The number of the current age; the first is 1.
            let now = crate::mapped::region::monotonic_nanos().saturating_sub(origin) / length + 1;
            Ages::new(now, count)
        };
        Ok(Self {
            cells,
            width: u64::from(half(family::WIDTH)),
            stride,
            first: memory.published(address + family::FIRST as u64),
            created: at(family::CREATED),
            chunks: memory.published(address + family::CHUNKS as u64),
            baseline: memory.published(address + family::BASELINE as u64),
            exemplars: memory.published(address + family::EXEMPLARS as u64),
            ages,
        })
    }
}

impl FamilyAt<'_> {
    /// Reads the states of a state set, each with the time at which the current one was set.
    fn read_states(&self, address: u64, out: &mut Family) {
        // As in the writer: the time before the value.
        let set_at = self.memory.published(address + series::SET_AT as u64);
        let current = self.memory.word(address + series::COLD as u64);
        let LastSet { value, at } = last_set(current, set_at);
        let Values::Gauge(all) = &mut out.values else {
            return;
        };
        for (text, i) in self.description.states.iter().zip(0..) {
            let value = f64::from(u8::from(i == value.to_bits()));
            out.texts.push(text, 0);
            all.push(LastSet { value, at });
        }
    }

    /// Finds the series in all chunks, in the order of their numbers.
    fn find_series(&self) -> Try<Vec<SeriesAt>> {
        let memory = self.memory;
        let mut chunks = Vec::new();
        let mut next = self.record.chunks;
        // `range` counts the work, so a list that is a circle ends as damage.
        while let Some(chunk) = memory.range(next, chunk::BYTES as u64)? {
            chunks.push(chunk);
            next = memory.published(chunk + chunk::NEXT as u64);
        }
        let mut all = Vec::new();
        // Oldest first: the list begins with the newest chunk.
        for chunk in chunks.into_iter().rev() {
            let at = |field: usize| chunk + field as u64;
            let len = memory.half(at(chunk::LEN));
            let first = memory.half(at(chunk::FIRST));
            let is_closed = memory.word(at(chunk::FLAGS)) & chunk::CLOSED != 0;
            let series = memory.word(at(chunk::SERIES));
            let texts = memory.word(at(chunk::LABELS));
            let bytes = u64::from(len) * self.record.stride;
            let series = memory.range(series, bytes)?;
            let texts = memory.range(texts, 8 * u64::from(len))?;
            let (Some(series), Some(texts)) = (series, texts) else {
                continue;
            };
            for i in 0..len {
                let address = series + u64::from(i) * self.record.stride;
                let slot_word = memory.published(address);
                let text = memory.published(texts + 8 * u64::from(i));
                all.push(SeriesAt {
                    address,
                    slot_word,
                    number: (first.wrapping_add(i), is_closed),
                    text: TextMark::of(memory, text, slot_word >> 32)?,
                });
            }
        }
        Ok(all)
    }

    /// Reads the exemplars of the series that are shown, in their order.
    fn read_exemplars(&self, shown: &[&SeriesAt], out: &mut Family) -> Try<()> {
        let memory = self.memory;
        let mut next = self.record.exemplars;
        let mut index = None;
        // As in `find_series`, a list that is a circle ends as damage.
        while let Some(block) = memory.range(next, exemplars::FIRST as u64)? {
            let at = |field: usize| block + field as u64;
            next = memory.published(at(exemplars::NEXT));
            let number = memory.half(at(exemplars::SERIES));
            let buckets = memory.half(at(exemplars::BUCKETS));
            let is_closed = memory.word(at(exemplars::IS_CLOSED)) == 1;
            let exist = buckets as usize <= self.description.buckets;
            ensure(exist, "exemplars are in buckets that do not exist")?;
            let first = at(exemplars::FIRST);
            let bytes = u64::from(buckets) * exemplars::BYTES as u64;
            if memory.range(first, bytes)?.is_none() {
                continue;
            }
            let index = index.get_or_insert_with(|| {
                let numbers = shown.iter().map(|series| series.number);
                numbers.zip(0..).collect::<HashMap<_, u32>>()
            });
            // A writer never flags the first series as one of a closed label set. A damaged file
            // may.
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
        // A writer has one block for each series. A damaged file may have more, and the newest
        // wins.
        let all = &mut out.exemplars;
        all.sort_by_key(|(series, bucket, _)| (*series, *bucket));
        all.dedup_by_key(|(series, bucket, _)| (*series, *bucket));
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
    fn of(memory: &WriterMemory<'_>, address: u64, generation: u64) -> Try<Option<Self>> {
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
    fn read(&self, memory: &WriterMemory<'_>, page: &mut Page) -> Try<()> {
        let len = self.stamp & 0xffff_ffff;
        ensure(len <= LONGEST_TEXT as u64, "a label text is too long")?;
        let text = memory.range(self.address + label::TEXT as u64, len.next_multiple_of(8))?;
        let text = text.ok_or(Failed::Damaged("a label text is cut off"))?;
        let bytes = memory.bytes(text, len);
        let words = [self.created, self.stamp].map(u64::to_ne_bytes);
        let sum = checksum_from(FNV_START, words.as_flattened());
        // Builds of the fuzzer skip this: it would hardly find a text with the right checksum.
        let is_whole = checksum_from(sum, &bytes) == self.checksum || cfg!(fuzzing);
        ensure(is_whole, "a label text is damaged")?;
        match String::from_utf8(bytes) {
            Ok(text) if is_text(&text) => page.push(&text, self.created),
            _ => return Err(Failed::Damaged("a label text is invalid")),
        }
        Ok(())
    }
}

/// Reads the exemplar at an address, if there is one of this generation that is not being written.
fn read_exemplar(
    memory: &WriterMemory<'_>,
    address: u64,
    generation: u64,
) -> Try<Option<Exemplar>> {
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
