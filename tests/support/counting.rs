//! A counting allocator, and helpers of tests that count allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use tallies::{Counter, Gauge, Histogram, LabelValue, Labels, Registry, UpDownCounter};

struct Counting;

thread_local! {
    /// Allocations of this thread. The test harness allocates on its own thread while a test runs.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}
/// Live bytes of the whole process.
static BYTES: AtomicI64 = AtomicI64::new(0);

#[allow(unsafe_code, reason = "an allocator that counts")]
// SAFETY: forwards every call to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Serializes tests that count for the whole process.
pub static ALONE: Mutex<()> = Mutex::new(());

/// The number of this thread's allocations in `f`.
pub fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

/// The number of bytes that are allocated now.
pub fn live() -> i64 {
    BYTES.load(Relaxed)
}

/// The number of bytes that `f` leaves allocated.
pub fn bytes(f: impl FnOnce()) -> i64 {
    let before = live();
    f();
    live() - before
}

/// Frees what earlier growth and earlier tests deferred. Such memory is freed an epoch later.
pub fn free_deferred() {
    (0..300).for_each(|_| _ = Registry::new().snapshot());
}

/// Returns distinct values in no particular order.
pub fn shuffled(i: u32) -> f64 {
    f64::from(i.wrapping_mul(2_654_435_769))
}

#[derive(LabelValue)]
pub enum Method {
    Get,
}

#[derive(Labels)]
pub struct Request<'a> {
    pub method: Method,
    pub route: &'a str,
    pub status: u16,
}

#[derive(Labels)]
pub struct Closed {
    pub method: Method,
    pub ok: bool,
}

pub static COUNTER: Counter = Counter::new("allocations_total");
pub static FLOAT: Counter<(), f64> = Counter::new("allocations_float_total");
pub static GAUGE: Gauge = Gauge::new("allocations_gauge");
pub static UP_DOWN: UpDownCounter = UpDownCounter::new("allocations_up_down");
pub static HISTOGRAM: Histogram = Histogram::new("allocations_histogram");
pub static NATIVE: Histogram = Histogram::new("allocations_native").native(3);
pub static OPEN: Counter<Request> = Counter::new("allocations_open_total");
pub static OPEN_HISTOGRAM: Histogram<Request> = Histogram::new("allocations_open_histogram");
pub static CLOSED: Counter<Closed> = Counter::new("allocations_closed_total");

/// Updates every kind once, series with labels and without.
pub fn update_everything() {
    COUNTER.inc();
    FLOAT.add(0.5);
    GAUGE.set(1.0);
    UP_DOWN.inc();
    UP_DOWN.dec();
    HISTOGRAM.observe(0.3);
    for status in 200..220 {
        OPEN.with(Request {
            method: Method::Get,
            route: "/users",
            status,
        })
        .inc();
        OPEN_HISTOGRAM
            .with(Request {
                method: Method::Get,
                route: "/users",
                status,
            })
            .observe(0.3);
    }
    CLOSED
        .with(Closed {
            method: Method::Get,
            ok: true,
        })
        .inc();
}
