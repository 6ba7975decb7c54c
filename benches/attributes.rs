//! The cost that an attribute adds to a call, compared with equivalent code by hand.
//!
//! `add` is the call without attributes. The floors use the same clock and the same cells: for a
//! timer, two clock readings and an inline observation; for errors, a match on the result.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use tallies::{Counter, Histogram, LabelValue, Labels, Summary, UpDownCounter};

static LATENCY: Histogram = Histogram::new("bench_attribute_seconds").hot();
static QUANTILES: Summary = Summary::new("bench_attribute_quantiles").hot();
static BY_KIND: Histogram<Kinds> = Histogram::new("bench_attribute_kinds_seconds").hot();
static IN_FLIGHT: UpDownCounter = UpDownCounter::new("bench_attribute_in_flight").hot();
static CALLS: Counter = Counter::new("bench_attribute_total").hot();
static ERRORS: Counter = Counter::new("bench_attribute_errors_total").hot();

#[derive(LabelValue, Clone, Copy)]
enum Kind {
    Even,
    Odd,
}

#[derive(Labels)]
struct Kinds {
    kind: Kind,
}

/// Declares the same function once per attribute, and once with equivalent code by hand.
macro_rules! calls {
    ($($(#[$attribute:meta])* $name:ident($n:ident);)*) => {$(
        $(#[$attribute])*
        #[inline(never)]
        fn $name($n: u64) -> Result<u64, u64> {
            if $n == u64::MAX { Err($n) } else { Ok($n + 1) }
        }
    )*};
}

calls! {
    add(n);
    #[tallies::timed(LATENCY)]
    timed(n);
    #[tallies::timed(QUANTILES)]
    timed_summary(n);
    #[tallies::timed(BY_KIND, labels = Kinds { kind: if n.is_multiple_of(2) { Kind::Even } else { Kind::Odd } })]
    timed_labelled(n);
    #[tallies::in_progress(IN_FLIGHT)]
    in_progress(n);
    #[tallies::count(CALLS)]
    count(n);
    #[tallies::count_errors(ERRORS)]
    count_errors(n);
    #[tallies::timed(LATENCY)]
    #[tallies::in_progress(IN_FLIGHT)]
    #[tallies::count(CALLS)]
    #[tallies::count_errors(ERRORS)]
    all_four(n);
}

#[inline(never)]
fn timed_by_hand(n: u64) -> Result<u64, u64> {
    let start = Instant::now();
    let result = if n == u64::MAX { Err(n) } else { Ok(n + 1) };
    LATENCY.observe(start.elapsed().as_secs_f64());
    result
}

#[inline(never)]
fn timed_summary_by_hand(n: u64) -> Result<u64, u64> {
    let start = Instant::now();
    let result = if n == u64::MAX { Err(n) } else { Ok(n + 1) };
    QUANTILES.observe(start.elapsed().as_secs_f64());
    result
}

#[inline(never)]
fn in_progress_by_hand(n: u64) -> Result<u64, u64> {
    IN_FLIGHT.inc();
    let result = if n == u64::MAX { Err(n) } else { Ok(n + 1) };
    IN_FLIGHT.dec();
    result
}

#[inline(never)]
fn count_errors_by_hand(n: u64) -> Result<u64, u64> {
    let result = if n == u64::MAX { Err(n) } else { Ok(n + 1) };
    if result.is_err() {
        ERRORS.inc();
    }
    result
}

/// Declares the same function as a future that is ready at once.
macro_rules! futures {
    ($($(#[$attribute:meta])* $name:ident;)*) => {$(
        $(#[$attribute])*
        async fn $name(n: u64) -> Result<u64, u64> {
            std::future::ready(()).await;
            if n == u64::MAX { Err(n) } else { Ok(n + 1) }
        }
    )*};
}

futures! {
    add_later;
    #[tallies::timed(LATENCY)]
    timed_later;
    #[tallies::count_errors(ERRORS)]
    count_errors_later;
}

async fn timed_later_by_hand(n: u64) -> Result<u64, u64> {
    let start = Instant::now();
    std::future::ready(()).await;
    let result = if n == u64::MAX { Err(n) } else { Ok(n + 1) };
    LATENCY.observe(start.elapsed().as_secs_f64());
    result
}

#[inline(never)]
fn now<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("it waits for nothing"),
    }
}

fn attributes(c: &mut Criterion) {
    let mut sync = |name, call: fn(u64) -> Result<u64, u64>| {
        assert_eq!(call(1), Ok(2));
        c.bench_function(name, |b| b.iter(|| black_box(call)(black_box(1))));
    };
    sync("call", add);
    sync("timed", timed);
    sync("timed, by hand", timed_by_hand);
    sync("timed, summary", timed_summary);
    sync("timed, summary, by hand", timed_summary_by_hand);
    sync("timed, labelled", timed_labelled);
    sync("in_progress", in_progress);
    sync("in_progress, by hand", in_progress_by_hand);
    sync("count", count);
    sync("count_errors, good", count_errors);
    sync("count_errors, good, by hand", count_errors_by_hand);
    sync("all four", all_four);
    c.bench_function("future", |b| b.iter(|| now(add_later(black_box(1)))));
    c.bench_function("future, timed", |b| {
        b.iter(|| now(timed_later(black_box(1))))
    });
    c.bench_function("future, timed, by hand", |b| {
        b.iter(|| now(timed_later_by_hand(black_box(1))));
    });
    c.bench_function("future, count_errors, good", |b| {
        b.iter(|| now(count_errors_later(black_box(1))));
    });
    assert_eq!(ERRORS.get(), 0);
    assert_eq!(count_errors(u64::MAX), Err(u64::MAX));
    assert_eq!(ERRORS.get(), 1);
    assert_eq!(IN_FLIGHT.get(), 0);
}

criterion_group!(benches, attributes);
criterion_main!(benches);
