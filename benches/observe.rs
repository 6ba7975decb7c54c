//! Time of one update of each kind, on a hot series. For comparisons with peers see
//! `benches/peers`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tallies::{Counter, Gauge, Histogram, UpDownCounter};

static COUNTER: Counter = Counter::new("bench_total").hot();
static FLOAT: Counter<(), f64> = Counter::new("bench_float_total").hot();
static GAUGE: Gauge = Gauge::new("bench_gauge");
static UP_DOWN: UpDownCounter = UpDownCounter::new("bench_up_down").hot();
static HISTOGRAM: Histogram = Histogram::new("bench_histogram").hot();
static NATIVE: Histogram = Histogram::new("bench_native").native(3).hot();

fn observe(c: &mut Criterion) {
    c.bench_function("counter inc", |b| b.iter(|| COUNTER.inc()));
    c.bench_function("counter add, float", |b| {
        b.iter(|| FLOAT.add(black_box(0.5)))
    });
    c.bench_function("gauge set", |b| b.iter(|| GAUGE.set(black_box(0.5))));
    c.bench_function("up and down", |b| {
        b.iter(|| {
            UP_DOWN.inc();
            UP_DOWN.dec();
        });
    });
    let values: Vec<f64> = (0..1024).map(|i| 0.003 * 1.008_f64.powi(i)).collect();
    c.bench_function("histogram observe, 11 bounds", |b| {
        let mut next = 0;
        b.iter(|| {
            next = (next + 1) % 1024;
            HISTOGRAM.observe(black_box(values[next]));
        });
    });
    c.bench_function("native histogram observe, schema 3", |b| {
        let mut next = 0;
        b.iter(|| {
            next = (next + 1) % 1024;
            NATIVE.observe(black_box(values[next]));
        });
    });
    c.bench_function("timer", |b| b.iter(|| HISTOGRAM.start_timer().stop()));
    let before = COUNTER.get();
    COUNTER.inc();
    assert_eq!(COUNTER.get(), before + 1);
}

criterion_group!(benches, observe);
criterion_main!(benches);
