//! A look at the record of a thread, with and without one.

#[cfg(all(target_os = "linux", not(target_feature = "crt-static")))]
#[path = "../tests/support/mod.rs"]
mod support;

#[cfg(all(target_os = "linux", not(target_feature = "crt-static")))]
fn current(criterion: &mut criterion::Criterion) {
    use support::{Record, SPAN, TRACE, Tracer};
    use tallies_trace_context::{current, sampled_trace_id};

    let mut group = criterion.benchmark_group("current");
    group.bench_function("no tracer", |bencher| bencher.iter(current));
    let tracer = Tracer::get();
    // Until this thread looks again.
    let record = Record::new(TRACE, SPAN, 1);
    tracer.in_span(&record, || while current().is_none() {});
    group.bench_function("no span", |bencher| bencher.iter(current));
    tracer.in_span(&record, || {
        group.bench_function("ids", |bencher| bencher.iter(current));
        group.bench_function("text", |bencher| bencher.iter(sampled_trace_id));
    });
}

#[cfg(not(all(target_os = "linux", not(target_feature = "crt-static"))))]
fn current(_: &mut criterion::Criterion) {}

criterion::criterion_group!(benches, current);
criterion::criterion_main!(benches);
