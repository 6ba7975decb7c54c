//! The floor: the cost of each operation in code that is written by hand for this one purpose,
//! without cheating.
//!
//! Without cheating means that any thread may read at any time, no update is lost, no read is torn,
//! a thread that was never seen before works, and labels are compared in full (except in summaries:
//! see there). The floor leaves out what a library needs in addition: growth, removal, reuse of
//! slots.
//!
//! - I1: only the owner of a slab writes its cells; any thread reads them.
//! - I2: slabs are never freed.
//! - I3: a histogram's fifteen cells always fit below a slab's length.

mod event;
mod removable;
mod summary;

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize, fence};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use crate::Row;
use crate::form::{Form, handles, keep, over, repeat};
use crate::workload::*;

pub fn forms(row: Row) -> Vec<Form> {
    match row {
        Row::Counter => {
            static COUNTER: Handle = Handle::new();
            COUNTER.allocate(1);
            vec![Form::new(
                "slab add, handle in a static",
                |_, n| repeat(n, || COUNTER.add(1)),
                |done| assert_eq!(COUNTER.total(), done.all),
            )]
        }
        Row::Handles => {
            static HANDLES: [Handle; 16] = [const { Handle::new() }; 16];
            HANDLES.iter().for_each(|handle| handle.allocate(1));
            vec![Form::new(
                "the same",
                |_, n| over(n, &HANDLES, |handle| handle.add(1)),
                |done| {
                    HANDLES
                        .iter()
                        .for_each(|handle| assert_eq!(handle.total(), done.all / 16))
                },
            )]
        }
        Row::Float => {
            static COUNTER: Handle = Handle::new();
            COUNTER.allocate(1);
            vec![Form::new(
                "slab add of f64 bits",
                |_, n| repeat(n, || COUNTER.add_float(0.5)),
                |done| assert_eq!(total_float(COUNTER.slot()), done.all as f64 * 0.5),
            )]
        }
        Row::LabelStrings => vec![Form::new(
            "table of the thread, ahash, full compare",
            |_, n| over(n, &REQUESTS, |request| add_labelled(*request)),
            |done| assert_eq!(total_labelled(), done.all),
        )],
        Row::LabelEnums => {
            static BLOCK: Handle = Handle::new();
            BLOCK.allocate(20);
            vec![Form::new(
                "block of slots",
                |_, n| {
                    over(n, &ENUMS, |(method, status)| {
                        add(BLOCK.slot() + *method as usize * 5 + *status as usize, 1);
                    });
                },
                |done| {
                    assert_eq!(
                        (0..20).map(|n| total(BLOCK.slot() + n)).sum::<u64>(),
                        done.all
                    )
                },
            )]
        }
        Row::Thousand | Row::Walk => {
            let all: &Vec<_> = keep((0..SERIES).map(|_| Box::new(AtomicU64::new(0))).collect());
            let inc = |cell: &Box<AtomicU64>| _ = cell.fetch_add(1, Relaxed);
            let mut forms = handles(row, all, inc, |all| {
                all.iter().map(|cell| cell.load(Relaxed)).sum()
            });
            if let Row::Walk = row {
                forms.extend(removable::walk());
            }
            forms
        }
        Row::WalkHistogram => {
            // A count per bucket and a sum, shared by all threads: what a cold series costs at
            // least.
            type Cells = [AtomicU64; 13];
            let all: &Vec<_> = keep((0..SERIES).map(|_| Box::<Cells>::default()).collect());
            let observe = |cells: &Box<Cells>| {
                let bucket = PADDED
                    .iter()
                    .filter(|bound| **bound < std::hint::black_box(0.3))
                    .count();
                cells[bucket].fetch_add(1, Relaxed);
                let add = |sum: u64| Some((f64::from_bits(sum) + 0.3).to_bits());
                _ = cells[12].fetch_update(Relaxed, Relaxed, add);
            };
            handles(row, all, observe, |all| {
                all.iter()
                    .map(|cells| {
                        cells[..12]
                            .iter()
                            .map(|cell| cell.load(Relaxed))
                            .sum::<u64>()
                    })
                    .sum()
            })
        }
        // See the row of a hundred series: at 100 000 the memory decides.
        Row::InTurn => vec![],
        Row::Event => event::forms(),
        // Of the contestants with labels as strings.
        Row::LabelFloat
        | Row::LabelGauge
        | Row::LabelUpDown
        | Row::LabelHistogram
        | Row::LabelNative
        | Row::LabelSummary => vec![],
        // Only the facade's two recorders are in this row.
        Row::Facade => vec![],
        Row::Gauge => {
            static GAUGE: AtomicU64 = AtomicU64::new(0);
            vec![Form::new(
                "one shared store",
                |_, n| over(n, &VALUES, |value| GAUGE.store(value.to_bits(), Relaxed)),
                |_| assert_set(f64::from_bits(GAUGE.load(Relaxed))),
            )]
        }
        Row::UpDown => {
            static UP_DOWN: Handle = Handle::new();
            UP_DOWN.allocate(2);
            vec![Form::new(
                "two slab adds",
                |_, n| {
                    repeat(n, || {
                        UP_DOWN.add(1);
                        add_release(UP_DOWN.slot() + 1, 1);
                    });
                },
                |done| {
                    assert_eq!(total(UP_DOWN.slot()), done.all);
                    assert_eq!(total(UP_DOWN.slot() + 1), done.all);
                },
            )]
        }
        Row::Histogram => {
            static HISTOGRAM: Handle = Handle::new();
            HISTOGRAM.allocate(HISTOGRAM_CELLS);
            vec![Form::new(
                "branchless count, count-chosen sum",
                |_, n| over(n, &VALUES, |value| observe(HISTOGRAM.slot(), *value)),
                |done| assert_observed(total_histogram(HISTOGRAM.slot()), done.all),
            )]
        }
        Row::Timer => {
            static TIMER: Handle = Handle::new();
            TIMER.allocate(HISTOGRAM_CELLS);
            vec![Form::new(
                "Instant",
                |_, n| {
                    repeat(n, || {
                        let start = Instant::now();
                        observe(TIMER.slot(), start.elapsed().as_secs_f64());
                    });
                },
                |done| assert_eq!(total_histogram(TIMER.slot()).0, done.all),
            )]
        }
        Row::TimerTsc => {
            static TIMER: Handle = Handle::new();
            TIMER.allocate(HISTOGRAM_CELLS);
            LazyLock::force(&SECONDS_PER_TICK);
            vec![Form::new(
                "time-stamp counter",
                |_, n| {
                    repeat(n, || {
                        let start = ticks();
                        observe(TIMER.slot(), (ticks() - start) as f64 * *SECONDS_PER_TICK);
                    });
                },
                |done| assert_eq!(total_histogram(TIMER.slot()).0, done.all),
            )]
        }
        Row::ScrapeCounters => {
            let text = keep(Mutex::new(String::new()));
            let scrape = keep(Scrape::new(0..SERIES, 1, |n, shard| {
                vec![part_of(n, shard)]
            }));
            vec![Form::scrape(
                "8 shards in memory order, text copied, itoa",
                SERIES,
                || {
                    let mut text = text.lock().unwrap();
                    text.clear();
                    scrape.counters(b"requests_total{", &mut text);
                },
                || assert_counters(&text.lock().unwrap()),
            )]
        }
        // These rows show how much more it costs if something is new.
        Row::ScrapeFresh | Row::ScrapeRendered | Row::ScrapeChurned => {
            crate::tallies_forms(Row::ScrapeCounters)
        }
        Row::ScrapeFamilies => {
            let mut forms = forms(Row::ScrapeCounters);
            forms
                .iter_mut()
                .for_each(|form| form.how = "one family, as above");
            let families = (0..SERIES / 100).map(|n| {
                let name = format!("requests_{n:03}_total{{");
                let name: [u8; 19] = name.into_bytes().try_into().unwrap();
                (
                    name,
                    Scrape::new(100 * n..100 * (n + 1), 1, |n, shard| {
                        vec![part_of(n, shard)]
                    }),
                )
            });
            let families: &[_] = keep(families.collect::<Vec<_>>());
            let text = keep(Mutex::new(String::new()));
            forms.push(Form::scrape(
                "1 000 families, each with shards and texts of its own",
                SERIES,
                move || {
                    let mut text = text.lock().unwrap();
                    text.clear();
                    for (name, family) in families {
                        family.counters(name, &mut text);
                    }
                },
                || assert_counters(&text.lock().unwrap()),
            ));
            forms
        }
        Row::ScrapeFamiliesFresh => crate::tallies_forms(Row::ScrapeFamilies),
        Row::ScrapeHistograms => {
            let text = keep(Mutex::new(String::new()));
            let scrape = keep(Scrape::new(0..SERIES, HISTOGRAM_CELLS, |_, shard| {
                // Twelve observations, so each shard has one or two.
                let mut cells = vec![0; HISTOGRAM_CELLS];
                for (bucket, value) in ONE_EACH.iter().enumerate().filter(|(n, _)| n % 8 == shard) {
                    observe_in(&mut cells, bucket, *value);
                }
                cells
            }));
            vec![Form::scrape(
                "the same, le texts shared",
                SERIES,
                || scrape.histograms(&mut text.lock().unwrap()),
                || assert_histograms(&text.lock().unwrap()),
            )]
        }
        // This row shows how much more the other formats cost.
        Row::OpenMetricsCounters | Row::ProtobufCounters => {
            crate::tallies_forms(Row::ScrapeCounters)
        }
        Row::OpenMetricsHistograms | Row::ProtobufHistograms => {
            crate::tallies_forms(Row::ScrapeHistograms)
        }
        Row::Register => {
            let family = keep(Mutex::new((Index::default(), vec![])));
            let least = Form::register(
                "one hash, one label text, one cold cell; one mutex",
                REGISTERED,
                || *family.lock().unwrap() = (Index::default(), vec![]),
                |thread| {
                    for labels in labels_of(thread) {
                        let (index, cells) = &mut *family.lock().unwrap();
                        let n = index.find_or_insert(*labels);
                        if n == cells.len() {
                            cells.push(AtomicU64::new(0));
                        }
                        cells[n].fetch_add(1, Relaxed);
                    }
                },
                |done| {
                    let (index, cells) = &*family.lock().unwrap();
                    let count = cells.iter().map(|cell| cell.load(Relaxed)).sum::<u64>();
                    assert_eq!((index.len(), count), (done.last as usize, done.last));
                },
            );
            vec![least, removable::register()]
        }
        Row::BytesBoundCounter | Row::BytesBoundHistogram => vec![],
        Row::BytesCounter => vec![Form::held("index, text, cold cell, slot", || held(1))],
        Row::BytesHistogram => vec![Form::held("the same", || held(HISTOGRAM_CELLS))],
        Row::Summary => summary::forms(),
        Row::Native => {
            static NATIVE: Handle = Handle::new();
            NATIVE.allocate(NATIVE_CELLS);
            vec![Form::new(
                "float bits, 64-entry table, count-chosen sum",
                |_, n| over(n, &VALUES, |value| observe_native(NATIVE.slot(), *value)),
                |done| assert_observed(total_native(NATIVE.slot()), done.all),
            )]
        }
    }
}

// Cells

const SLOTS: usize = 4096;

/// One thread's cells.
#[repr(C, align(128))]
struct Slab {
    len: AtomicUsize,
    cells: [AtomicU64; SLOTS],
}

impl Slab {
    const fn new(len: usize) -> Self {
        Self {
            len: AtomicUsize::new(len),
            cells: [const { AtomicU64::new(0) }; SLOTS],
        }
    }
}

/// The slab of an unregistered thread: every slot is beyond its length.
static EMPTY: Slab = Slab::new(0);

static SLABS: Mutex<Vec<&'static Slab>> = Mutex::new(Vec::new());

thread_local! {
    static SLAB: Cell<&'static Slab> = const { Cell::new(&EMPTY) };
}

/// A metric: the slot of its cell in every slab.
struct Handle {
    slot: AtomicUsize,
}

impl Handle {
    const fn new() -> Self {
        Self {
            slot: AtomicUsize::new(usize::MAX),
        }
    }

    fn allocate(&self, cells: usize) {
        self.slot.store(new_slots(cells), Release);
    }

    #[inline(always)]
    fn slot(&self) -> usize {
        self.slot.load(Acquire)
    }

    #[inline(always)]
    fn add(&self, n: u64) {
        add(self.slot(), n);
    }

    #[inline(always)]
    fn add_float(&self, value: f64) {
        let cell = cell(self.slot());
        cell.store(
            (f64::from_bits(cell.load(Relaxed)) + value).to_bits(),
            Relaxed,
        );
    }

    fn total(&self) -> u64 {
        total(self.slot())
    }
}

fn new_slots(cells: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(cells, Relaxed)
}

/// Returns this thread's cell of `slot`, after a single compare.
#[inline(always)]
fn cell(slot: usize) -> &'static AtomicU64 {
    let mut slab = SLAB.get();
    if slot >= slab.len.load(Relaxed) {
        slab = register_thread(slot);
    }
    // SAFETY: `slot` is below the length, and that is at most `SLOTS`.
    unsafe { slab.cells.get_unchecked(slot) }
}

#[cold]
fn register_thread(slot: usize) -> &'static Slab {
    assert!(slot < SLOTS, "the floor's slabs do not grow");
    let slab: &'static Slab = Box::leak(Box::new(Slab::new(SLOTS)));
    SLABS.lock().unwrap().push(slab);
    SLAB.set(slab);
    slab
}

#[inline(always)]
fn add(slot: usize, n: u64) {
    let cell = cell(slot);
    cell.store(cell.load(Relaxed) + n, Relaxed);
}

/// Like `add`, but with Release: a reader that sees the decrement also sees the increment before
/// it.
#[inline(always)]
fn add_release(slot: usize, n: u64) {
    let cell = cell(slot);
    cell.store(cell.load(Relaxed) + n, Release);
}

fn total(slot: usize) -> u64 {
    SLABS
        .lock()
        .unwrap()
        .iter()
        .map(|slab| slab.cells[slot].load(Relaxed))
        .sum()
}

fn total_float(slot: usize) -> f64 {
    let slabs = SLABS.lock().unwrap();
    slabs
        .iter()
        .map(|slab| f64::from_bits(slab.cells[slot].load(Relaxed)))
        .sum()
}

// Histograms: a state (count << 1 | side), two sums, twelve buckets

const HISTOGRAM_CELLS: usize = 15;

/// The bounds, padded to an even number for vector instructions.
static PADDED: [f64; 12] = {
    let mut padded = [f64::INFINITY; 12];
    let mut n = 0;
    while n < BOUNDS.len() {
        padded[n] = BOUNDS[n];
        n += 1;
    }
    padded
};

#[inline(always)]
fn observe(slot: usize, value: f64) {
    if value.is_nan() {
        return;
    }
    let bucket: u64 = PADDED.iter().map(|bound| (*bound < value) as u64).sum();
    // SAFETY: the bucket is at most 11.
    unsafe { count(slot, bucket as usize, value) };
}

/// # Safety
///
/// `slot` is a histogram's, and the histogram has that bucket.
#[inline(always)]
unsafe fn count(slot: usize, bucket: usize, value: f64) {
    let state = cell(slot);
    // SAFETY: a histogram's cells are consecutive in one slab (I3); side is 0 or 1.
    let [sum, other, bucket] = unsafe {
        let cells: *const AtomicU64 = state;
        let side = (state.load(Relaxed) & 1) as usize;
        [
            &*cells.add(1 + side),
            &*cells.add(2 - side),
            &*cells.add(3 + bucket),
        ]
    };
    other.store(
        (f64::from_bits(sum.load(Relaxed)) + value).to_bits(),
        Release,
    );
    bucket.store(bucket.load(Relaxed) + 1, Release);
    state.store((state.load(Relaxed) + 2) ^ 1, Release);
}

// Native histograms: the same cells with a row of 128 exponential buckets, eight to a power of two,
// from 2^-11 to 2^5

const NATIVE_CELLS: usize = 3 + 128;

/// The fractions of 2^(k/8), rounded down; the last one is above all fractions. For each value of
/// the top six fraction bits, the first candidate.
static EIGHTHS: std::sync::LazyLock<([u64; 9], [u8; 64])> = std::sync::LazyLock::new(|| {
    let fraction = |x: f64| x.to_bits() & ((1 << 52) - 1);
    let mut bounds = std::array::from_fn(|k| fraction(2_f64.powf(k as f64 / 8.0)));
    bounds[8] = u64::MAX;
    let start = |j: u64| bounds.iter().position(|bound| *bound >= j << 46).unwrap() as u8;
    (bounds, std::array::from_fn(|j| start(j as u64)))
});

#[inline(always)]
fn observe_native(slot: usize, value: f64) {
    let bits = value.to_bits();
    let (bounds, starts) = &*EIGHTHS;
    let fraction = bits & ((1 << 52) - 1);
    let start = starts[(fraction >> 46) as usize] as usize;
    let eighth = start + (fraction > bounds[start]) as usize;
    let bucket = ((bits >> 52) as usize * 8 + eighth).wrapping_sub((1023 - 11) * 8);
    if bucket < 128 {
        // SAFETY: the index was just checked.
        unsafe { count(slot, bucket, value) };
    }
}

fn total_native(slot: usize) -> (u64, f64) {
    let slabs = SLABS.lock().unwrap();
    let read = slabs.iter().map(|slab| {
        let cells = &slab.cells[slot..][..NATIVE_CELLS];
        // All writers have finished.
        let count = cells[3..]
            .iter()
            .map(|cell| cell.load(Relaxed))
            .sum::<u64>();
        let side = (cells[0].load(Relaxed) & 1) as usize;
        (count, f64::from_bits(cells[1 + side].load(Relaxed)))
    });
    read.fold((0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1))
}

/// Count and sum, read as a scrape does.
fn total_histogram(slot: usize) -> (u64, f64) {
    let slabs = SLABS.lock().unwrap();
    let read = slabs.iter().map(|slab| {
        let mut buckets = [0; 12];
        let sum = read_histogram(&slab.cells[slot..][..HISTOGRAM_CELLS], &mut buckets);
        (buckets.iter().sum::<u64>(), sum)
    });
    read.fold((0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1))
}

/// Adds one shard's buckets to `buckets` and returns its sum. Both cover the same observations.
#[inline(always)]
fn read_histogram(cells: &[AtomicU64], buckets: &mut [u64; 12]) -> f64 {
    let (words, counts) = cells.split_at(3);
    loop {
        let state = words[0].load(Acquire);
        let mut read = [0; 12];
        for (to, from) in read.iter_mut().zip(counts) {
            *to = from.load(Relaxed);
        }
        fence(Acquire);
        let side = (state ^ (read.iter().sum::<u64>() != state >> 1) as u64) & 1;
        let sum = f64::from_bits(words[1 + side as usize].load(Relaxed));
        fence(Acquire);
        if words[0].load(Relaxed) == state {
            for (to, from) in buckets.iter_mut().zip(read) {
                *to += from;
            }
            return sum;
        }
    }
}

/// Like `observe`, in cells that are not shared yet.
fn observe_in(cells: &mut [u64], bucket: usize, value: f64) {
    let side = (cells[0] & 1) as usize;
    cells[2 - side] = (f64::from_bits(cells[1 + side]) + value).to_bits();
    cells[3 + bucket] += 1;
    cells[0] = (cells[0] + 2) ^ 1;
}

// Clock

static SECONDS_PER_TICK: LazyLock<f64> = LazyLock::new(|| {
    let (start, first) = (Instant::now(), ticks());
    while start.elapsed() < Duration::from_millis(20) {}
    start.elapsed().as_secs_f64() / (ticks() - first) as f64
});

#[inline(always)]
fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads a register that every x86-64 processor has.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks;
        // SAFETY: reads a register that Linux lets every program read.
        unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks) };
        ticks
    }
}

// Labels

static HASHER: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);

/// One thread's label cache: open addressing, at most half full, without a lock or a shared cache
/// line.
struct LabelCache {
    hasher: ahash::RandomState,
    entries: Box<[Entry; 256]>,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    slot: usize,
    labels: Request,
}

thread_local! {
    static LABEL_CACHE: Cell<Option<&'static LabelCache>> = const { Cell::new(None) };
}

static LABELLED: LazyLock<Mutex<Index>> = LazyLock::new(Mutex::default);
static LABELLED_BLOCK: LazyLock<usize> = LazyLock::new(|| new_slots(100));

#[inline(always)]
fn add_labelled(labels: Request) {
    let slot = match LABEL_CACHE.get() {
        Some(table) => {
            let hash = hash(&table.hasher, labels);
            let mut at = hash as usize % 256;
            loop {
                let entry = &table.entries[at];
                if entry.hash == hash
                    && same(entry.labels.0, labels.0)
                    && same(entry.labels.1, labels.1)
                {
                    break entry.slot;
                }
                if entry.slot == usize::MAX {
                    break cache_label_set(labels);
                }
                at = (at + 1) % 256;
            }
        }
        None => cache_label_set(labels),
    };
    add(slot, 1);
}

#[inline(always)]
fn hash(hasher: &ahash::RandomState, labels: Request) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = hasher.build_hasher();
    hasher.write(labels.0.as_bytes());
    hasher.write(labels.1.as_bytes());
    hasher.finish()
}

/// Compares in full, without a call: word by word, where the last word overlaps the one before.
#[inline(always)]
fn same(one: &str, two: &str) -> bool {
    let (one, two) = (one.as_bytes(), two.as_bytes());
    if one.len() != two.len() {
        return false;
    }
    let word = |bytes: &[u8], at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    if one.len() >= 8 {
        let last = one.len() - 8;
        let mut at = 0;
        while at < last {
            if word(one, at) != word(two, at) {
                return false;
            }
            at += 8;
        }
        word(one, last) == word(two, last)
    } else {
        one.iter().zip(two).all(|(one, two)| one == two)
    }
}

/// Looks up or inserts the label set, and copies its text into a new cache of this thread.
#[cold]
fn cache_label_set(labels: Request) -> usize {
    let slot = *LABELLED_BLOCK + LABELLED.lock().unwrap().find_or_insert(labels);
    let mut table = match LABEL_CACHE.get() {
        Some(table) => LabelCache {
            hasher: table.hasher.clone(),
            entries: table.entries.clone(),
        },
        None => {
            let free = Entry {
                hash: 0,
                slot: usize::MAX,
                labels: ("", ""),
            };
            LabelCache {
                hasher: HASHER.clone(),
                entries: Box::new([free; 256]),
            }
        }
    };
    let hash = hash(&table.hasher, labels);
    let mut at = hash as usize % 256;
    while table.entries[at].slot != usize::MAX {
        at = (at + 1) % 256;
    }
    let copy = |text: &str| -> &'static str { text.to_owned().leak() };
    table.entries[at] = Entry {
        hash,
        slot,
        labels: (copy(labels.0), copy(labels.1)),
    };
    LABEL_CACHE.set(Some(keep(table)));
    slot
}

fn total_labelled() -> u64 {
    let series = LABELLED.lock().unwrap().len();
    assert_eq!(series, 100, "series");
    (0..series).map(|n| total(*LABELLED_BLOCK + n)).sum()
}

/// All series of a family in the order of their creation: their label texts end to end, and a hash
/// table of indices.
#[derive(Default)]
struct Index {
    text: Vec<u8>,
    /// The end of each series' text.
    ends: Vec<u32>,
    /// Half a hash, and an index plus one; 0 is a free entry.
    table: Vec<(u32, u32)>,
}

impl Index {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn text_of(&self, n: usize) -> &[u8] {
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        &self.text[start as usize..self.ends[n] as usize]
    }

    fn find_or_insert(&mut self, labels: Request) -> usize {
        if self.ends.len() * 8 >= self.table.len() * 7 {
            grow(&mut self.table);
        }
        let hash = hash(&HASHER, labels) as u32;
        // Writes the text where it would stay if it is new, and compares it there.
        let start = self.text.len();
        self.text.extend_from_slice(b"method=\"");
        push_escaped(&mut self.text, labels.0);
        self.text.extend_from_slice(b"\",path=\"");
        push_escaped(&mut self.text, labels.1);
        self.text.push(b'"');

        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.table[at] {
                (_, 0) => break,
                (same, n)
                    if same == hash && self.text_of(n as usize - 1) == &self.text[start..] =>
                {
                    self.text.truncate(start);
                    return n as usize - 1;
                }
                _ => at = (at + 1) & mask,
            }
        }
        self.ends.push(self.text.len() as u32);
        self.table[at] = (hash, self.ends.len() as u32);
        self.ends.len() - 1
    }
}

/// Doubles a hash table of half hashes and indices.
fn grow(table: &mut Vec<(u32, u32)>) {
    let len = (table.len() * 2).max(16);
    let old = std::mem::replace(table, vec![(0, 0); len]);
    for entry in old.into_iter().filter(|entry| entry.1 != 0) {
        let mut at = entry.0 as usize & (len - 1);
        while table[at].1 != 0 {
            at = (at + 1) & (len - 1);
        }
        table[at] = entry;
    }
}

fn push_escaped(to: &mut Vec<u8>, value: &str) {
    if !value
        .bytes()
        .any(|byte| matches!(byte, b'\\' | b'"' | b'\n'))
    {
        to.extend_from_slice(value.as_bytes());
        return;
    }
    for byte in value.bytes() {
        match byte {
            b'\\' => to.extend_from_slice(b"\\\\"),
            b'"' => to.extend_from_slice(b"\\\""),
            b'\n' => to.extend_from_slice(b"\\n"),
            other => to.push(other),
        }
    }
}

/// Allocates an index of all label sets, the shared cells of cold series, and one thread's slots,
/// without spare capacity.
fn held(cells: usize) -> Box<dyn Send> {
    let mut index = Index::default();
    let [mut cold, mut slab] = [(); 2].map(|()| Vec::<AtomicU64>::with_capacity(SERIES * cells));
    for labels in LABELS.iter() {
        let n = index.find_or_insert(*labels);
        for _ in 0..cells {
            cold.push(AtomicU64::new(0));
            slab.push(AtomicU64::new(0));
        }
        slab[n * cells].fetch_add(1, Relaxed);
    }
    Box::new((index, cold, slab))
}

// Scrape

const SHARDS: usize = 8;

/// A family of `SERIES` series that eight threads have counted in.
struct Scrape {
    index: Index,
    shards: Vec<Vec<AtomicU64>>,
    /// Reused by every scrape.
    sums: Mutex<Vec<u64>>,
}

impl Scrape {
    fn new(series: Range<usize>, cells: usize, start: impl Fn(usize, usize) -> Vec<u64>) -> Self {
        let mut index = Index::default();
        for labels in &LABELS[series.clone()] {
            index.find_or_insert(*labels);
        }
        let shard = |shard| {
            let cells = series.clone().flat_map(|n| start(n, shard));
            cells.map(AtomicU64::new).collect::<Vec<_>>()
        };
        let shards: Vec<_> = (0..SHARDS).map(shard).collect();
        let len = cells * series.len();
        assert!(shards.iter().all(|shard| shard.len() == len));
        Self {
            index,
            shards,
            sums: Mutex::default(),
        }
    }

    /// Appends a family of counters. After its name comes a brace.
    fn counters<const N: usize>(&self, name: &[u8; N], text: &mut String) {
        let mut sums = self.sums.lock().unwrap();
        sums.clear();
        sums.resize(self.index.len(), 0);
        for shard in &self.shards {
            for (sum, cell) in sums.iter_mut().zip(shard) {
                *sum += cell.load(Relaxed);
            }
        }
        let mut out = Out::new(text);
        out.reserve(80 + 2 * N);
        let family = &name[..N - 1];
        for part in [
            b"# HELP ",
            family,
            b" Requests.\n# TYPE ",
            family,
            b" counter\n",
        ] {
            out.push(part);
        }
        for (n, sum) in sums.iter().enumerate() {
            let labels = self.index.text_of(n);
            out.reserve(N + 25 + labels.len());
            out.push(name);
            out.push(labels);
            out.push(b"} ");
            out.integer(*sum);
            out.push(b"\n");
        }
    }

    fn histograms(&self, text: &mut String) {
        text.clear();
        text.push_str("# HELP seconds Time.\n# TYPE seconds histogram\n");
        let tails: Vec<String> = BOUNDS
            .iter()
            .map(|bound| format!(",le=\"{bound}\"}} "))
            .chain([",le=\"+Inf\"} ".to_owned()])
            .collect();
        let mut head = Vec::new();
        let mut out = Out::new(text);
        for n in 0..SERIES {
            let mut buckets = [0; 12];
            let mut sum = 0.0;
            for shard in &self.shards {
                let cells = &shard[n * HISTOGRAM_CELLS..][..HISTOGRAM_CELLS];
                sum += read_histogram(cells, &mut buckets);
            }
            let labels = self.index.text_of(n);
            out.reserve(14 * (64 + labels.len()));
            head.clear();
            head.extend_from_slice(b"seconds_bucket{");
            head.extend_from_slice(labels);
            let mut count = 0;
            for (bucket, tail) in buckets.iter().zip(&tails) {
                count += bucket;
                out.push(&head);
                out.push(tail.as_bytes());
                out.integer(count);
                out.push(b"\n");
            }
            out.push(b"seconds_sum{");
            out.push(labels);
            out.push(b"} ");
            out.push(zmij::Buffer::new().format(sum).as_bytes());
            out.push(b"\nseconds_count{");
            out.push(labels);
            out.push(b"} ");
            out.integer(count);
            out.push(b"\n");
        }
    }
}

/// Appends to a string with reserved capacity, without a check per piece.
struct Out<'a> {
    text: &'a mut Vec<u8>,
    number: itoa::Buffer,
}

impl<'a> Out<'a> {
    fn new(text: &'a mut String) -> Self {
        // SAFETY: only label texts, ASCII of our own and numbers are appended, all of which is
        // UTF-8.
        Self {
            text: unsafe { text.as_mut_vec() },
            number: itoa::Buffer::new(),
        }
    }

    fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes);
    }

    #[inline(always)]
    fn push(&mut self, bytes: &[u8]) {
        let len = self.text.len();
        debug_assert!(self.text.capacity() - len >= bytes.len());
        // SAFETY: `reserve` has reserved capacity for the whole series.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.text.as_mut_ptr().add(len),
                bytes.len(),
            );
            self.text.set_len(len + bytes.len());
        }
    }

    #[inline(always)]
    fn integer(&mut self, number: u64) {
        let Self {
            text,
            number: buffer,
        } = self;
        let bytes = buffer.format(number).as_bytes();
        let len = text.len();
        // SAFETY: `reserve` has reserved capacity for the whole series.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), text.as_mut_ptr().add(len), bytes.len());
            text.set_len(len + bytes.len());
        }
    }
}
