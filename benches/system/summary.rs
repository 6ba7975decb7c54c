//! Summaries: the full cost of observing, the cost of each part, and the pauses that a flush
//! causes.
//!
//! Criterion times the parts. The program first prints what criterion cannot time: processor time
//! at one, two and eight threads, and the durations of the observations that flush.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tallies::snapshot::sketch::{Bound, Scratch, Sketch, Targets, key_of};
use tallies::{Registry, Summary, snapshot::Snapshot};

static SHARED: Summary = Summary::new("bench_shared").hot();
static LATENCIES: Summary = Summary::new("bench_latencies").hot();
static UNIFORM: Summary = Summary::new("bench_uniform").hot();
static FEW: Summary = Summary::new("bench_few").hot();
static PAUSED: Summary = Summary::new("bench_paused").hot();

const DEFAULTS: [(f64, f64); 3] = [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)];

/// The number of different values; so large that no branch predictor learns their order.
const VALUES: usize = 1 << 16;

/// The number of values that one flush of a hot stream inserts.
const BUFFER: usize = 256;

/// SplitMix64, mapped to numbers from 0 to 1.
fn random() -> impl Iterator<Item = f64> {
    let mut state = 7_u64;
    std::iter::from_fn(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64)
    })
}

fn uniform() -> Vec<f64> {
    random().take(VALUES).collect()
}

/// Log-normal latencies around 10 ms, rounded to whole microseconds.
fn latencies() -> Vec<f64> {
    let mut random = random();
    let mut normal = || (&mut random).take(12).sum::<f64>() - 6.0;
    (0..VALUES)
        .map(|_| (normal().exp() * 1e4).round() * 1e-6)
        .collect()
}

fn few() -> Vec<f64> {
    random()
        .take(VALUES)
        .map(|part| (part * 20.0).floor())
        .collect()
}

/// Processor time of this thread in nanoseconds, or the time since `start` if the kernel does not
/// report it.
fn processor_time(start: Instant) -> f64 {
    // The kernel updates the figure at each scheduler tick and whenever a thread yields.
    std::thread::yield_now();
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| start.elapsed().as_nanos() as f64)
}

/// Processor time per observation in the fastest of several rounds, as the mean over `threads`.
fn amortised(threads: usize, values: &[f64]) -> f64 {
    let barrier = Barrier::new(threads);
    let work = || {
        tallies::instrument::warm();
        let start = Instant::now();
        let rounds = (0..16).map(|_| {
            barrier.wait();
            let before = processor_time(start);
            for value in values.iter().cycle().take(20 * VALUES) {
                SHARED.observe(black_box(*value));
            }
            (processor_time(start) - before) / (20 * VALUES) as f64
        });
        rounds.fold(f64::INFINITY, f64::min)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let count = threads.len() as f64;
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum::<f64>()
            / count
    })
}

/// Nanoseconds of the observations that flush: the slowest ones, one for each full buffer.
fn pauses(values: &[f64]) -> Vec<u64> {
    let rounds = 40;
    // The least time between two readings of the clock.
    let clock = (0..1000)
        .map(|_| Instant::now().elapsed().as_nanos() as u64)
        .min();
    let mut pauses = Vec::with_capacity(rounds * values.len());
    for value in values.iter().cycle().take(rounds * values.len()) {
        let start = Instant::now();
        PAUSED.observe(black_box(*value));
        pauses.push((start.elapsed().as_nanos() as u64).saturating_sub(clock.unwrap_or(0)));
    }
    pauses.sort_unstable();
    pauses.split_off(pauses.len() - pauses.len() / BUFFER)
}

fn print_plain() {
    let values = latencies();
    for threads in [1, 2, 8] {
        let least = amortised(threads, &values);
        println!("observe, {threads} threads: {least:.1} ns of processor time each");
    }
    let pauses = pauses(&values);
    let at = |part: f64| pauses[(part * (pauses.len() - 1) as f64) as usize] as f64 / 1e3;
    println!(
        "pause of a flush: p50 {:.2} us, p99 {:.2} us, max {:.1} us (with what else the machine did)",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn observe(c: &mut Criterion) {
    let mut group = c.benchmark_group("observe");
    for (name, summary, values) in [
        ("latencies", &LATENCIES, latencies()),
        ("uniform", &UNIFORM, uniform()),
        ("few distinct", &FEW, few()),
    ] {
        group.throughput(Throughput::Elements(VALUES as u64));
        group.bench_function(name, |b| {
            b.iter(|| values.iter().for_each(|value| summary.observe(*value)));
        });
        let total = summary.get();
        assert_eq!(total.count() % VALUES as u64, 0);
        // `count` stays zero if the command line selects other benchmarks only.
        if let Some((_, error)) = total.quantile(0.99) {
            assert!(error <= 0.001, "certified {error}");
        }
    }
}

/// A sketch that `values` were inserted into, up to 100 buffers.
fn sketch(values: &[f64], bound: &Bound, scratch: &mut Scratch) -> Sketch {
    let mut sketch = Sketch::new();
    for batch in values.chunks(BUFFER).take(100) {
        let keys: Vec<u64> = batch.iter().copied().map(key_of).collect();
        sketch.insert(bound, &keys, scratch);
    }
    sketch
}

fn parts(c: &mut Criterion) {
    let bound = Bound::new(&Targets::new(&DEFAULTS));
    let mut scratch = Scratch::new();
    let values = latencies();
    let keys: Vec<u64> = values.iter().copied().map(key_of).collect();

    let mut flushed = sketch(&values, &bound, &mut scratch);
    let mut batches = keys.chunks(BUFFER).cycle();
    c.bench_function("flush without publication", |b| {
        b.iter(|| flushed.insert(&bound, batches.next().unwrap(), &mut scratch));
    });
    flushed.check(&bound).unwrap();

    let shards: Vec<Sketch> = values
        .chunks(VALUES / 8)
        .map(|part| sketch(part, &bound, &mut scratch))
        .collect();
    let shards: Vec<&Sketch> = shards.iter().collect();
    c.bench_function("merge 8", |b| b.iter(|| Sketch::merge(black_box(&shards))));
    let merged = Sketch::merge(&shards);
    assert_eq!(
        merged.n(),
        shards.iter().map(|shard| shard.n()).sum::<u64>()
    );
    c.bench_function("quantile of 8 merged", |b| {
        b.iter(|| merged.quantile(black_box(0.99)))
    });
    c.bench_function("compress 8 merged", |b| {
        b.iter_batched_ref(
            || merged.clone(),
            |merged| merged.compress(&bound, &mut scratch),
            BatchSize::SmallInput,
        );
    });
}

/// Times a scrape of eight live threads that each have a full sketch and half a buffer.
fn scrape(c: &mut Criterion) {
    let registry = Registry::new();
    let family = Summary::builder("seconds", "")
        .hot()
        .register(&registry)
        .unwrap();
    let values = latencies();
    let (filled, done) = (Barrier::new(9), Barrier::new(9));
    std::thread::scope(|scope| {
        for part in values.chunks(VALUES / 8) {
            scope.spawn(|| {
                part[..part.len() - BUFFER / 2]
                    .iter()
                    .for_each(|value| family.observe(*value));
                filled.wait();
                done.wait();
            });
        }
        filled.wait();
        let (mut snapshot, mut page) = (Snapshot::default(), Vec::new());
        let mut scrape = || {
            let start = Instant::now();
            registry.snapshot_into(&mut snapshot);
            page.clear();
            tallies::encode::Options::new().write(
                &snapshot,
                tallies::encode::Format::TEXT,
                &mut page,
            );
            start.elapsed()
        };
        let least = (0..5000).map(|_| scrape()).min().unwrap_or_default();
        println!("scrape of 8 threads, the least of 5000: {least:.1?}");
        c.bench_function("scrape of 8 threads: snapshot and text", |b| {
            b.iter(&mut scrape)
        });
        assert_eq!(family.get().count(), (VALUES - 4 * BUFFER) as u64);
        done.wait();
    });
}

fn plain(_: &mut Criterion) {
    print_plain();
}

criterion_group!(benches, plain, observe, parts, scrape);
criterion_main!(benches);
