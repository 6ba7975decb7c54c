//! The same functions with metrics and without, whose instructions `nothing.rs` compares.

#![allow(deprecated, reason = "no help texts")]

use std::hint::black_box;

use tallies::{Counter, Gauge, Histogram, Labels, Summary, UpDownCounter, label::AnyLabels};

#[derive(Labels)]
struct Request<'a> {
    route: &'a str,
    status: u16,
}

#[tallies::metric]
static TOTAL: Counter = Counter::new("calls_total");
#[tallies::metric]
static REQUESTS: Counter<Request> = Counter::new("requests_total");
#[tallies::metric]
static EVENTS: Counter<AnyLabels> = Counter::new("events_total");
#[tallies::metric]
static ACTIVE: UpDownCounter = UpDownCounter::new("active");
#[tallies::metric]
static QUEUE: Gauge = Gauge::new("queue_length");
#[tallies::metric]
static LATENCY: Histogram = Histogram::new("latency_seconds");
#[tallies::metric]
static SIZES: Summary = Summary::new("size_bytes");

#[inline(never)]
fn increment_bare(n: u64) -> u64 {
    black_box(n)
}

#[inline(never)]
fn increment_measured(n: u64) -> u64 {
    TOTAL.inc();
    black_box(n)
}

#[inline(never)]
fn double_bare(n: u64, route: &str) -> u64 {
    black_box((n, route.len())).0 * 2
}

#[inline(never)]
fn double_measured(n: u64, route: &str) -> u64 {
    let _active = ACTIVE.track();
    let timer = LATENCY.start_timer();
    REQUESTS.with(Request { route, status: 200 }).inc();
    EVENTS.with(&[("route", route)]).add(n);
    QUEUE.set(n);
    SIZES.observe(n as f64);
    LATENCY.observe_exemplar(0.5, &[("trace_id", route)]);
    if TOTAL.get() > 0 {
        std::process::abort();
    }
    let doubled = LATENCY.time(|| black_box((n, route.len())).0 * 2);
    timer.stop();
    doubled
}

#[inline(never)]
fn parse_bare(text: &str) -> Result<u64, std::num::ParseIntError> {
    Ok(black_box(text).parse::<u64>()? + 1)
}

#[inline(never)]
#[tallies::timed(LATENCY)]
#[tallies::in_progress(ACTIVE)]
#[tallies::count(REQUESTS, labels = Request { route: &text.to_uppercase(), status: 0 })]
#[tallies::count_errors(EVENTS, labels = |error| &[("error", &error.to_string())])]
fn parse_measured(text: &str) -> Result<u64, std::num::ParseIntError> {
    Ok(black_box(text).parse::<u64>()? + 1)
}

fn main() {
    let (n, text) = black_box((3, "4"));
    assert_eq!(increment_bare(n), increment_measured(n));
    assert_eq!(double_bare(n, text), double_measured(n, text));
    assert_eq!(parse_bare(text), parse_measured(text));
}
