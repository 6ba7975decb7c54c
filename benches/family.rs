//! Time to look up the series of a label set: the first time, and every later time.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tallies::{Counter, LabelValue, Labels, Registry};

#[derive(LabelValue, Clone, Copy)]
enum Method {
    Get,
    Post,
}

#[derive(LabelValue, Clone, Copy)]
enum Class {
    Good,
    Bad,
}

#[derive(Labels)]
struct Closed {
    method: Method,
    class: Class,
}

#[derive(Labels)]
struct Open<'a> {
    route: &'a str,
    status: &'a str,
}

static CLOSED: Counter<Closed> = Counter::new("bench_closed_total").hot();
static OPEN: Counter<Open> = Counter::new("bench_open_total").hot();

fn family(c: &mut Criterion) {
    let sets: Vec<_> = (0..100)
        .map(|i| (format!("/route/{}", i / 5), format!("{}", 200 + i % 5)))
        .collect();
    let mut next = 0;
    c.bench_function("look-up, strings, 100 series", |b| {
        b.iter(|| {
            next = (next + 1) % 100;
            let (route, status) = black_box(&sets[next]);
            OPEN.with(Open { route, status }).inc();
        });
    });
    let bound = OPEN.bind(Open {
        route: "/route/1",
        status: "200",
    });
    c.bench_function("bound", |b| b.iter(|| bound.inc()));
    let methods = [Method::Get, Method::Post];
    let classes = [Class::Good, Class::Bad];
    c.bench_function("look-up, enums", |b| {
        b.iter(|| {
            next = (next + 1) % 4;
            let (method, class) = black_box((methods[next % 2], classes[next / 2]));
            CLOSED.with(Closed { method, class }).inc();
        });
    });
    c.bench_function("register 1000 series", |b| {
        let registry = Registry::new();
        let names: Vec<_> = (0..1000).map(|i| format!("/route/{i}")).collect();
        let mut families = 0;
        b.iter_batched(
            || {
                families += 1;
                Counter::builder(&format!("f{families}_total"), "")
                    .labels(["route"])
                    .register(&registry)
                    .unwrap()
            },
            |family| {
                names.iter().for_each(|name| family.with([name]).inc());
                registry.remove(family.name()).unwrap();
                family
            },
            BatchSize::PerIteration,
        );
    });
    assert_eq!(CLOSED.get_all().len(), 4);
}

criterion_group!(benches, family);
criterion_main!(benches);
