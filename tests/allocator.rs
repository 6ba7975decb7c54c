//! An allocator that updates metrics. `docs/limitations.md` forbids it, but it must not hang the
//! process: the first update of a hot series allocated a slot, or waited for the region, under a
//! lock that the same thread had.

#![cfg(all(feature = "mmap", target_os = "linux"))]
#![allow(unsafe_code, reason = "allocators are")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tallies::{Bound, Counter, Registry};

/// Each allocation updates the next of these series, which are hot from their first update on.
static SERIES: [OnceLock<Vec<Bound<Counter>>>; 2] = [const { OnceLock::new() }; 2];
static NEXT: AtomicUsize = AtomicUsize::new(0);

struct Counting;

thread_local! {
    static IS_COUNTING: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if IS_COUNTING.replace(true) {
        return;
    }
    let series = SERIES.iter().rev().find_map(OnceLock::get);
    if let Some(series) = series {
        series[NEXT.fetch_add(1, Relaxed) % series.len()].inc();
    }
    IS_COUNTING.set(false);
}

// SAFETY: all calls go to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Makes so many series, of which none has been updated.
fn series(registry: &Registry, name: &'static str, many: usize) -> Vec<Bound<Counter>> {
    let family = Counter::builder(name, "Allocations.")
        .labels(["x"])
        .limit(many)
        .hot();
    let family = family.register(registry).unwrap();
    (0..many).map(|i| family.bind([&*i.to_string()])).collect()
}

/// Makes lists grow under the locks of the region and of the slots, while each allocation is the
/// first update of a series.
fn work() {
    let registry = tallies::registry();
    let others: Vec<_> = (0..2).map(|i| ["first_total", "second_total"][i]).collect();
    for (i, name) in others.into_iter().enumerate() {
        let used = series(registry, name, 5000);
        used.iter().for_each(|series| series.inc());
        let counting = series(
            registry,
            ["allocations_total", "more_allocations_total"][i],
            5000,
        );
        assert!(SERIES[i].set(counting).is_ok());
        // The region.
        let made = Counter::builder(["made_total", "made_again_total"][i], "Help.");
        let made = made.labels(["x"]).limit(5000).register(registry).unwrap();
        (0..5000).for_each(|i| made.with([&*i.to_string()]).inc());
        // The slots.
        drop(used);
        registry.remove(name).unwrap();
        (0..20).for_each(|_| _ = registry.snapshot());
    }
    assert!(NEXT.load(Relaxed) > 20_000);
}

/// Runs this program again, which an alarm ends if it hangs.
fn run(test: &str, directory: Option<&std::path::Path>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env("TALLIES_ALLOCATOR", directory.unwrap_or("".as_ref()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Returns the directory if this process is the child of a test.
fn child() -> Option<std::path::PathBuf> {
    let directory = std::env::var_os("TALLIES_ALLOCATOR")?;
    // SAFETY: no memory is involved.
    unsafe { libc::alarm(120) };
    Some(directory.into())
}

#[test]
fn first_updates_in_an_allocation_do_not_hang() {
    match child() {
        Some(_) => work(),
        None => run("first_updates_in_an_allocation_do_not_hang", None),
    }
}

#[test]
fn first_updates_in_an_allocation_do_not_hang_in_a_directory() {
    if let Some(directory) = child() {
        let _dir = tallies::share::dir(directory).unwrap();
        return work();
    }
    let directory = std::env::temp_dir().join(format!("tallies-alloc-{}", std::process::id()));
    run(
        "first_updates_in_an_allocation_do_not_hang_in_a_directory",
        Some(&directory),
    );
    std::fs::remove_dir_all(directory).unwrap();
}
