//! A scrape in its steady state: the pass over eight threads' cells, and the page in each format.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tallies::encode::{Format, Options};
use tallies::{Counter, Histogram, Registry, snapshot::Snapshot};

const SERIES: usize = 100_000;

const FORMATS: [(&str, Format); 3] = [
    ("text", Format::TEXT),
    ("OpenMetrics", Format::OPEN_METRICS),
    ("protobuf", Format::PROTOBUF),
];

/// Updates every series once in each of eight threads that are alive at the same time.
fn in_eight_threads(update: impl Fn(&str) + Sync) {
    let names: Vec<String> = (0..SERIES)
        .map(|i| format!("/a/route/of/some/length/{i}"))
        .collect();
    let ready = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                ready.wait();
                names.iter().for_each(|name| update(name));
                ready.wait();
            });
        }
    });
}

fn scrape(c: &mut Criterion) {
    let counters = Registry::new();
    let family = Counter::builder("requests_total", "")
        .labels(["route"])
        .limit(SERIES)
        .hot()
        .register(&counters)
        .unwrap();
    in_eight_threads(|name| family.with([name]).inc());
    let histograms = Registry::new();
    let family = Histogram::builder("latency", "")
        .labels(["route"])
        .limit(SERIES)
        .hot()
        .register(&histograms)
        .unwrap();
    in_eight_threads(|name| family.with([name]).observe(0.3));

    let mut group = c.benchmark_group("per series");
    group
        .throughput(Throughput::Elements(SERIES as u64))
        .sample_size(10);
    for (name, registry) in [("counters", &counters), ("histograms", &histograms)] {
        let mut snapshot = Snapshot::default();
        let mut page = Vec::new();
        group.bench_function(format!("{name}: snapshot"), |b| {
            b.iter(|| registry.snapshot_into(&mut snapshot))
        });
        for (written, format) in FORMATS {
            group.bench_function(format!("{name}: {written}"), |b| {
                b.iter(|| {
                    page.clear();
                    Options::new().write(&snapshot, format, &mut page);
                });
            });
        }
    }
    let now = counters.snapshot();
    assert_eq!(
        now.get("requests_total", &[("route", "/a/route/of/some/length/7")]),
        Some(8.0)
    );
}

criterion_group!(benches, scrape);
criterion_main!(benches);
