//! The part of a family that other processes read: a record in the mapped file, with the
//! description, and where the series are. `docs/mapped-files.md` has the format.
//!
//! All hooks of families for mapped files stand here. Where nothing can be mapped, the region is
//! empty, and they do nothing.
//!
//! Series and their cold cells are in the region from the start, so they are in the file as well. A
//! reader does not look at them unless their family has a record.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::fence;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use crate::lockfree::{AtomicText, CachedArena, LabelledRun, SeriesKey};
use crate::mapped::format::{self, chunk, header};
use crate::mapped::record::{Record, clear_label, describe, set_label};
use crate::mapped::region;
use crate::observe::Buckets;
use crate::snapshot::description::{self, write_float, write_sized, write_varint};
use crate::snapshot::{Exemplar, Kind, Meta, Resolution, Values};
use crate::sync::lock;

use super::desc::{Desc, Names};
use super::{CellKind, Family, LabelledSeries, MetricCells, each_of, event};

/// The records of a family.
#[derive(Default)]
pub(crate) struct Records {
    /// The record, and the description that it has. `None` if other processes do not read the
    /// family.
    family: Option<(Record, Record)>,
    /// The chunks in the record, by the number of their first series.
    chunks: HashMap<usize, Record>,
    /// The counts that readers subtract from the overflow series.
    baseline: Option<Record>,
    /// The exemplars of each series that has one, by its number.
    exemplars: HashMap<u32, Record>,
}

/// The records of a family, and their lock.
#[derive(Default)]
pub(crate) struct FamilyRecords(Mutex<Records>);

/// Read by threads that have the records of a family, and written around a `fork`, which so waits
/// for all of them.
static ALL: RwLock<()> = RwLock::new(());

impl FamilyRecords {
    /// Runs `f` with the records.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Records) -> R) -> R {
        let _all = ALL.read().unwrap_or_else(PoisonError::into_inner);
        self.with_all_locked(f)
    }

    /// Runs `f` with the records, unless another thread has them, or the process forks.
    fn try_with(&self, f: impl FnOnce(&mut Records)) {
        if let Ok(_all) = ALL.try_read() {
            if let Ok(mut records) = self.0.try_lock() {
                f(&mut records);
            }
        }
    }

    /// As [`with`](Self::with), for a caller that has locked all.
    pub(crate) fn with_all_locked<R>(&self, f: impl FnOnce(&mut Records) -> R) -> R {
        f(&mut lock(&self.0))
    }
}

/// The fields of a record, besides the description.
pub(crate) struct Fields {
    /// The kind of the cells.
    pub(crate) kind: CellKind,
    /// The number of cells of a block.
    pub(crate) width: usize,
    /// The bytes of a series.
    pub(crate) stride: usize,
    /// The address of the first series, if it is in the file.
    pub(crate) first: Option<u64>,
    /// When it began to count.
    pub(crate) created: u64,
    /// The window of a summary.
    pub(crate) window: [u64; 3],
}

impl Records {
    /// Lets other processes read a family, or gives it another description. Returns the record if
    /// it is new.
    pub(crate) fn publish(&mut self, text: &[u8], fields: &Fields) -> Option<&Record> {
        use format::family as offset;
        if !region::is_published() {
            return None;
        }
        let description = describe(text)?;
        if let Some((record, old)) = &mut self.family {
            // Release: pairs with the Acquire of a reader, who reads the description again.
            let address = description.address();
            record.word(offset::DESCRIPTION).store(address, Release);
            record.word(offset::STATE).fetch_add(2, Release);
            *old = description;
            return None;
        }
        debug_assert!(fields.stride >= fields.kind.series_bytes());
        let Some(first) = fields.first else {
            region::count_unpublished(fields.stride / 8);
            return None;
        };
        let used = spare().pop();
        let is_new = used.is_none();
        let record = used.or_else(|| Record::new(offset::BYTES))?;
        record.set(offset::DESCRIPTION, description.address());
        record.set_halves(offset::KIND, fields.kind as u32, fields.width as u32);
        record.set_halves(offset::STRIDE, fields.stride as u32, 0);
        record.set(offset::FIRST, first);
        record.set(offset::CREATED, fields.created);
        record.set(offset::CHUNKS, 0);
        record.set(offset::BASELINE, 0);
        record.set(offset::EXEMPLARS, 0);
        let [origin, length, ages] = fields.window;
        record.set(offset::WINDOW_ORIGIN, origin);
        record.set(offset::WINDOW_LENGTH, length);
        record.set(offset::WINDOW_AGES, ages);
        // Release: a reader that sees an odd state sees the record.
        record.word(offset::STATE).fetch_add(1, Release);
        if let (true, Some(families)) = (is_new, region::header_word(header::FAMILIES)) {
            record.push_to(families);
        }
        let (record, _) = self.family.insert((record, description));
        Some(record)
    }

    /// Makes readers subtract these words from the overflow series, if there are any. Returns
    /// `None` if the family or the words are not in the file.
    fn set_baseline(&mut self, words: &[u64]) -> Option<()> {
        let (record, _) = self.family.as_ref().filter(|_| !words.is_empty())?;
        let baseline = Record::new(8 + 8 * words.len())?;
        baseline.set(0, words.len() as u64);
        for (i, word) in words.iter().enumerate() {
            baseline.set(8 + 8 * i, *word);
        }
        // Release: a reader that finds the baseline sees its words.
        let word = record.word(format::family::BASELINE);
        word.store(baseline.address(), Release);
        self.baseline = Some(baseline);
        Some(())
    }

    /// Replaces the exemplar of a bucket of a series.
    fn set_exemplar(
        &mut self,
        key: SeriesKey,
        (bucket, buckets): (usize, usize),
        exemplar: &Exemplar,
        is_closed: bool,
    ) {
        use format::exemplars as offset;
        let Some((record, _)) = &self.family else {
            return;
        };
        let text = exemplar.labels.as_bytes();
        if text.len() > offset::LONGEST_TEXT || bucket >= buckets {
            return;
        }
        let number = key.index();
        let block = match self.exemplars.entry(number) {
            Entry::Occupied(block) => block.into_mut(),
            Entry::Vacant(place) => {
                let Some(block) = Record::new(offset::FIRST + buckets * offset::BYTES) else {
                    return;
                };
                block.set_halves(offset::SERIES, number, buckets as u32);
                block.set(offset::IS_CLOSED, u64::from(is_closed));
                block.push_to(record.word(format::family::EXEMPLARS));
                place.insert(block)
            }
        };
        let first = offset::FIRST + bucket * offset::BYTES;
        let sequence = block.word(first + offset::SEQUENCE);
        // Relaxed: the lock of the records orders the writers.
        let before = sequence.load(Relaxed);
        sequence.store(before | 1, Relaxed);
        // Release: pairs with the Acquire fence of a reader, who finds an odd number if it sees any
        // of the next stores.
        fence(Release);
        let time = exemplar.time.map_or(0, crate::snapshot::millis);
        let stamp = key.generation().word() | text.len() as u64;
        block.set(first + offset::STAMP, stamp);
        block.set(first + offset::VALUE, exemplar.value.to_bits());
        block.set(first + offset::TIME, time);
        block.set_bytes(first + offset::TEXT, text);
        // Release: pairs with the Acquire of a reader.
        sequence.store((before | 1) + 1, Release);
    }

    /// Removes the family from the file.
    pub(crate) fn unpublish(&mut self) {
        if let Some((record, description)) = self.family.take() {
            // Release: pairs with the Acquire of a reader, who finds out that what it read is not
            // valid.
            record.word(format::family::STATE).fetch_add(1, Release);
            spare().push(record);
            drop(description);
            *self = Self::default();
        }
    }
}

/// Records of families that were dropped. They stay in the list of the file, for other families.
static SPARE: Mutex<Vec<Record>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<Record>> {
    lock(&SPARE)
}

impl<C: MetricCells> Family<C> {
    /// Lets other processes read this family, under this description. Does nothing if the process
    /// does not share its metrics. If the file is full, the family is not shared until the next
    /// call.
    pub(crate) fn publish(&self, meta: &Meta) {
        if !region::is_published() {
            return;
        }
        // Readers know state sets of one series.
        let is_states = self.desc.kind == Kind::StateSet;
        if is_states && !self.desc.is_unlabelled() {
            return;
        }
        self.publish_as(&encode(
            meta,
            &self.desc,
            &C::values(&self.desc, &self.shape),
        ));
    }

    /// The same, with a description as bytes.
    fn publish_as(&self, text: &[u8]) {
        let baseline = self.open();
        let baseline = baseline.and_then(|open| open.baseline().as_ref().map(C::baseline));
        let first = std::ptr::from_ref(self.first()).addr() as u64;
        let fields = Fields {
            kind: if self.desc.kind == Kind::StateSet {
                CellKind::StateSet
            } else {
                C::format(&self.shape)
            },
            width: C::width(&self.shape),
            stride: size_of::<C>(),
            first: self.first.is_in_region().then_some(first),
            created: self.created.load(Relaxed),
            window: C::window(&self.shape),
        };
        // A thread makes a series under one of these locks. Either this thread finds the series, or
        // that one finds the words for label texts.
        let _making = self.open().map(|open| open.roster.index.lock());
        self.records.with(|records| {
            if records.publish(text, &fields).is_none() {
                return;
            }
            if let Some(baseline) = baseline {
                records.set_baseline(&baseline);
            }
            let flags = if self.is_closed() { chunk::CLOSED } else { 0 };
            for (first, run) in self.store.runs() {
                Self::publish_run(records, run, first, flags);
            }
        });
    }

    /// Lets other processes read the run of a series that was made. Called before the series is
    /// live.
    #[inline]
    pub(super) fn publish_run_of(&self, arena: &CachedArena<C, AtomicText>, index: usize) {
        if region::is_published() {
            if let Some((run, offset)) = arena.run_of(index) {
                self.records
                    .with(|records| Self::publish_run(records, run, index - offset, 0));
            }
        }
    }

    /// Lets other processes read a run, if they read the family and not the run yet.
    fn publish_run(
        records: &mut Records,
        run: &LabelledRun<C, AtomicText>,
        first: usize,
        flags: u64,
    ) {
        let Some((record, _)) = &records.family else {
            return;
        };
        let Entry::Vacant(place) = records.chunks.entry(first) else {
            return;
        };
        let chunk_and_texts = run.make_texts().and_then(|texts| {
            let chunk_record = Record::new(chunk::BYTES)?;
            Some((chunk_record, texts))
        });
        let Some((chunk_record, texts)) = chunk_and_texts else {
            region::count_unpublished(run.series.len() * size_of::<C>() / 8);
            return;
        };
        for (word, series) in texts.iter().zip(each_of(run)) {
            series.text.get(|text| {
                if let Some((text, created)) = text.filter(|_| word.load(Relaxed) == 0) {
                    set_label(word, text, created, generation_of(&series));
                }
            });
        }
        chunk_record.set(chunk::SERIES, run.series.as_ptr().addr() as u64);
        chunk_record.set(chunk::LABELS, texts.as_ptr().addr() as u64);
        chunk_record.set_halves(chunk::FIRST, first as u32, run.series.len() as u32);
        chunk_record.set(chunk::FLAGS, flags);
        chunk_record.push_to(record.word(format::family::CHUNKS));
        place.insert(chunk_record);
    }

    /// Makes other processes read the exemplar of a bucket of a series.
    pub(crate) fn publish_exemplar(
        &self,
        key: SeriesKey,
        bucket: (usize, usize),
        exemplar: &Exemplar,
    ) {
        if region::is_published() {
            let is_closed = self.is_closed() && !key.is_overflow();
            self.records
                .try_with(|records| records.set_exemplar(key, bucket, exemplar, is_closed));
        }
    }

    /// Makes other processes subtract this total from the overflow series.
    pub(super) fn publish_baseline(&self, total: &C::Total) {
        if region::is_published() {
            let words = C::baseline(total);
            self.records.with(|records| records.set_baseline(&words));
        }
    }

    /// Removes the family from the file.
    pub(crate) fn unpublish(&self) {
        self.records.with(Records::unpublish);
    }

    /// Lets other processes read the label text of a series, if they read the series.
    pub(super) fn publish_text(
        run: &LabelledRun<C, AtomicText>,
        index: usize,
        text: &str,
        created: u64,
    ) {
        if let (Some(texts), Some(series)) = (run.texts(), LabelledSeries::new(run, index)) {
            set_label(&texts[index], text, created, generation_of(&series));
        }
    }

    /// Removes the label text of a series from the file.
    pub(super) fn unpublish_text(run: &LabelledRun<C, AtomicText>, index: usize) {
        if let Some(texts) = run.texts() {
            clear_label(&texts[index]);
        }
    }

    /// Removes the label texts of all series from the file.
    pub(super) fn unpublish_texts(&self) {
        for (_, run) in self.store.runs() {
            run.texts().into_iter().flatten().for_each(clear_label);
        }
    }
}

impl Family<Buckets> {
    /// Lets other processes read these metrics of an event: of each the description, and the number
    /// of its counter, if it is one.
    pub(super) fn publish_event(&self, metrics: &[(&event::ShownMetric, Option<usize>)]) {
        if !region::is_published() {
            return;
        }
        if metrics.is_empty() {
            return self.unpublish();
        }
        let values = Buckets::values(&self.desc, &self.shape);
        let mut text = encode(&event::meta(&self.desc), &self.desc, &values);
        write_varint(self.shape.counters as u64, &mut text);
        write_varint(metrics.len() as u64, &mut text);
        for ((meta, dropped), counter) in metrics {
            write_varint(counter.map_or(0, |counter| counter as u64 + 1), &mut text);
            let mut metric = Vec::new();
            match counter {
                Some(_) => description::write(meta, &Values::of(Kind::Counter), &mut metric),
                None => description::write(meta, &values, &mut metric),
            }
            write_sized(&metric, &mut text);
            write_sized(meta.constant.as_bytes(), &mut text);
            write_varint(dropped.len() as u64, &mut text);
            for name in dropped {
                write_sized(name.as_bytes(), &mut text);
            }
        }
        self.publish_as(&text);
    }
}

fn generation_of<C: MetricCells>(series: &LabelledSeries<'_, C>) -> u64 {
    series.cells.slot_word().generation().word()
}

/// Encodes a description. `docs/mapped-files.md` has the form.
fn encode(meta: &Meta, desc: &Desc, values: &Values) -> Vec<u8> {
    let (mut out, mut family) = (Vec::new(), Vec::new());
    description::write(meta, values, &mut family);
    let overflow = desc.overflow_text();
    for part in [&*family, meta.constant.as_bytes(), overflow.as_bytes()] {
        write_sized(part, &mut out);
    }
    let (is_labelled, has_any) = (!desc.is_unlabelled(), desc.labels == Names::Any);
    out.extend([is_labelled, has_any].map(u8::from));
    let native = desc.native.unwrap_or(Resolution::new(0));
    out.push(native.schema as u8);
    write_varint(native.limit.into(), &mut out);
    write_float(native.zero_threshold, &mut out);
    write_varint(desc.states.len() as u64, &mut out);
    for state in desc.states {
        write_sized(state.as_bytes(), &mut out);
    }
    out
}

pub(crate) use process::*;

/// Hooks for all families of the process: the beginning, and a `fork`.
#[cfg(mapped)]
mod process {
    use std::collections::HashSet;
    use std::sync::{Arc, RwLockWriteGuard, Weak};

    use super::super::AnyFamily;
    use super::super::event::EventPart;
    use super::super::view::LabelRules;
    use super::*;
    pub(crate) use crate::mapped::held::{Guards, making};
    use crate::observe::{Cells, ColdLock, MoveBlock};

    /// The work of a family of any kind when the process begins to publish its metrics, and around
    /// a `fork`.
    pub(crate) trait FamilyHooks {
        /// Returns the locks of the cold cells of all series.
        fn locks(&self) -> Vec<&ColdLock>;
        /// Returns the blocks in shards that hold more than numbers, whose owners have to move the
        /// rest to the file.
        fn blocks_to_move(&self) -> Vec<(u64, MoveBlock)>;
        /// Takes the locks of look-ups and of updates that a pass does not hold, before a `fork`.
        fn lock(&self) -> Box<dyn Guards + '_>;
        /// Starts at zero in the child of a `fork`, which has only the calling thread. Other
        /// processes do not read the family any more, until it is published again. The caller has
        /// locked all records.
        fn after_fork(&self);
    }

    impl<C: MetricCells> FamilyHooks for Family<C> {
        fn locks(&self) -> Vec<&ColdLock> {
            self.cells().map(Cells::cold_lock).collect()
        }

        fn blocks_to_move(&self) -> Vec<(u64, MoveBlock)> {
            let Some(move_block) = C::block_to_file(&self.shape) else {
                return Vec::new();
            };
            let slots = self
                .cells()
                .filter_map(|cells| cells.slot_word().open_slot());
            slots.map(|last| (last, move_block)).collect()
        }

        fn lock(&self) -> Box<dyn Guards + '_> {
            let view = self.desc.changing_view();
            let values: Vec<_> = view.into_iter().flat_map(LabelRules::lock).collect();
            let roster = self.open().map(|open| &open.roster);
            Box::new((
                values,
                roster.map(|roster| (roster.index.lock(), roster.retirement())),
            ))
        }

        fn after_fork(&self) {
            self.cells().for_each(|cells| cells.after_fork(&self.shape));
            if let Some(open) = self.open() {
                open.start_over();
            }
            self.core.start_over();
            self.records
                .with_all_locked(|records| *records = Records::default());
        }
    }

    impl FamilyHooks for EventPart {
        fn locks(&self) -> Vec<&ColdLock> {
            self.family().locks()
        }

        fn blocks_to_move(&self) -> Vec<(u64, MoveBlock)> {
            self.family().blocks_to_move()
        }

        fn lock(&self) -> Box<dyn Guards + '_> {
            self.family().lock()
        }

        fn after_fork(&self) {
            self.family().after_fork();
        }
    }

    impl LabelRules {
        /// Locks the values of all caps.
        fn lock(&self) -> impl Iterator<Item = RwLockWriteGuard<'_, HashSet<Box<str>>>> {
            let values = self.caps.iter().map(|cap| cap.values.write());
            values.map(|values| values.unwrap_or_else(PoisonError::into_inner))
        }
    }

    /// Keeps others from having the records of a family.
    pub(crate) fn lock_all() -> RwLockWriteGuard<'static, ()> {
        ALL.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the records that no family has, in the child of a `fork`.
    pub(crate) fn forget_spare() {
        spare().clear();
    }

    /// The families of the process, also those of no registry any more. Some may have been dropped.
    /// Locked by threads that make one, by the one that begins to publish the metrics of the
    /// process, and around a `fork`.
    static LIVING: Mutex<Living> = Mutex::new(Living {
        families: Vec::new(),
        prune_at: 64,
    });

    /// All families of the process.
    pub(crate) struct Living {
        families: Vec<Weak<dyn AnyFamily>>,
        /// The length at which those that were dropped are removed: twice as many as were left the
        /// last time.
        prune_at: usize,
    }

    /// Locks the list of all families.
    pub(crate) fn all_living() -> MutexGuard<'static, Living> {
        lock(&LIVING)
    }

    /// Adds a family that was made.
    pub(crate) fn add<F: AnyFamily + 'static>(family: &Arc<F>) {
        let family: Weak<dyn AnyFamily> = Arc::downgrade(family) as _;
        let mut living = all_living();
        if living.families.len() >= living.prune_at {
            living.families.retain(|family| family.strong_count() > 0);
            living.prune_at = (2 * living.families.len()).max(64);
        }
        living.families.push(family);
    }

    impl Living {
        /// Returns the families that exist.
        pub(crate) fn all(&self) -> Vec<Arc<dyn AnyFamily>> {
            self.families.iter().filter_map(Weak::upgrade).collect()
        }
    }
}

/// Where nothing can be mapped.
#[cfg(not(mapped))]
mod process {
    pub(crate) trait FamilyHooks {}

    impl<F> FamilyHooks for F {}

    /// Keeps the process from forking while something is made once.
    pub(crate) fn making() -> impl Sized {}

    pub(crate) fn add<F>(_: &std::sync::Arc<F>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: an exemplar was left out while any family of the process made a series.
    #[test]
    fn an_exemplar_is_left_out_only_while_its_own_family_is_busy() {
        let (busy, other) = (FamilyRecords::default(), FamilyRecords::default());
        let mut is_done = false;
        busy.with(|_| {
            other.try_with(|_| is_done = true);
            busy.try_with(|_| panic!("another thread has the records"));
        });
        assert!(is_done, "the other family is not busy");
    }
}
