//! An allocator that counts bytes and allocations: on the hot path in the calling thread's own
//! cells, otherwise in cold cells.
//!
//! It may be called from anywhere: from a thread's first and last instructions, and while the
//! thread takes a shard or grows one. So it uses the hot path or none. It never registers a thread,
//! grows a slab or acknowledges a request, accesses no thread-local with a destructor, takes no
//! lock and allocates nothing.
//!
//! - A1: an add to own cells allocates nothing, so no add interrupts another one.
//! - A2: growth allocates before it copies, and frees after the thread points to the new slab. So
//!   an allocation that growth itself causes is counted before the copy, or in the new slab.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;

use crate::sync::{AtomicU64, Relaxed};

use super::tally::ColdUpDown;
use super::update::promote;
use super::{Cells, Pass, SlotWord, Tally, UpDown, engine, fold_idle, thread};
use crate::lockfree::Generation;

/// Copies of the slot words in [`Counted`]; cold until `count_allocations` is called. Written by it
/// once, read by every allocation.
static BYTES: SlotWord = SlotWord::new();
static ALLOCATIONS: SlotWord = SlotWord::new();

/// The cells behind the slot words. Created on demand, because creating them allocates.
static COUNTED: OnceLock<Counted> = OnceLock::new();

/// The counts of threads without own cells. Several, so that such threads seldom write the same
/// cache line. Written by those threads, read by scrapes.
static COLD_COUNTS: [ColdCounts; 16] = [const { ColdCounts::new() }; 16];

struct Counted {
    bytes: UpDown,
    allocations: Tally<u64>,
}

#[repr(align(128))]
struct ColdCounts {
    bytes: ColdUpDown,
    allocations: AtomicU64,
}

impl ColdCounts {
    const fn new() -> Self {
        Self {
            bytes: ColdUpDown::new(),
            allocations: AtomicU64::new(0),
        }
    }

    /// Returns the cold counts of the calling thread, chosen by the address of its thread-local.
    fn of_this_thread() -> &'static Self {
        let address = thread(|thread| std::ptr::from_ref(thread).addr());
        // The thread-locals of different threads are pages apart.
        &COLD_COUNTS[(address >> 12 ^ address >> 20) % COLD_COUNTS.len()]
    }
}

/// The bytes in use and the number of allocations so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Bytes in use, as the program requested them. Excludes what the inner allocator adds.
    pub bytes: u64,
    /// Allocations since the program started. A reallocation is not counted as one.
    pub allocations: u64,
}

/// Gives own cells to every thread that updates metrics, from now on.
pub fn count_allocations() {
    COUNTED.get_or_init(|| {
        let counted = Counted {
            bytes: UpDown::new(&()),
            allocations: Tally::new(&()),
        };
        for (own, cells, copy) in [
            (counted.bytes.slot_word(), 2, &BYTES),
            (counted.allocations.slot_word(), 1, &ALLOCATIONS),
        ] {
            promote(engine(), own, Generation::FIRST, cells);
            own.copy_to(copy);
        }
        counted
    });
}

/// Returns what all threads have counted so far. Reads it in `pass`, which the caller may use for
/// other reads as well.
pub fn allocated(pass: &mut Pass<'_>) -> Allocated {
    // Decrements before increments, as in `UpDown`: a reader that sees an object freed sees it
    // allocated.
    let cold = |count: fn(&ColdCounts) -> u64| {
        let counts = COLD_COUNTS.iter().map(count);
        counts.fold(0, u64::wrapping_add)
    };
    let down = cold(|counts| counts.bytes.downs());
    let (mut bytes, mut allocations) = (0, 0);
    if let Some(counted) = COUNTED.get() {
        fold_idle(pass, &(), &counted.bytes);
        fold_idle(pass, &(), &counted.allocations);
        let slot = counted.bytes.slot_word().slot();
        counted.bytes.read(pass, slot, &mut bytes);
        let slot = counted.allocations.slot_word().slot();
        counted.allocations.read(pass, slot, &mut allocations);
    }
    let up = cold(|counts| counts.bytes.ups());
    let cold_bytes = up.wrapping_sub(down) as i64;
    let cold_allocations = cold(|counts| counts.allocations.load(Relaxed));
    Allocated {
        bytes: cold_bytes.wrapping_add(bytes).max(0) as u64,
        allocations: allocations.wrapping_add(cold_allocations),
    }
}

/// An allocator around another one that counts bytes in use and allocations, each thread in its own
/// cells.
///
/// In threads that update metrics, an allocation and its free together take about 1 ns more, if
/// [`register`](Self::register) is called early in `main`. In other threads, and before `register`,
/// they add to one of a few cold cells, which takes about 15 ns. Nothing is exported before
/// `register`.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: tallies::process::Allocator = tallies::process::Allocator::new();
///
/// let registry = tallies::Registry::new();
/// ALLOCATOR.register(&registry)?;
/// let before = registry.snapshot().get("process_allocated_bytes", &[]).unwrap();
/// let large = vec![1_u8; 1 << 20];
/// let now = registry.snapshot().get("process_allocated_bytes", &[]).unwrap();
/// assert!(now - before >= large.len() as f64);
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator<A = System> {
    inner: A,
}

impl Allocator {
    /// Creates an allocator around the system's allocator.
    #[must_use]
    pub const fn new() -> Self {
        Self::around(System)
    }
}

impl<A> Allocator<A> {
    /// Creates an allocator around any other allocator, such as jemalloc or mimalloc.
    #[must_use]
    pub const fn around(inner: A) -> Self {
        Self { inner }
    }
}

#[inline]
fn count_up(bytes: usize, allocations: u64) {
    let bytes = bytes as u64;
    if !thread(|thread| UpDown::up(thread, BYTES.last(Generation::FIRST), bytes)) {
        ColdCounts::of_this_thread().bytes.up(bytes);
    }
    if !thread(|thread| Tally::<u64>::add(thread, ALLOCATIONS.last(Generation::FIRST), allocations))
    {
        let counts = &ColdCounts::of_this_thread().allocations;
        counts.fetch_add(allocations, Relaxed);
    }
}

#[inline]
fn count_down(bytes: usize) {
    let bytes = bytes as u64;
    if !thread(|thread| UpDown::down(thread, BYTES.last(Generation::FIRST), bytes)) {
        ColdCounts::of_this_thread().bytes.down(bytes);
    }
}

// SAFETY: every call is passed to the inner allocator, which fulfils the contract. Counting
// allocates nothing (A1).
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the inner allocator's.
        let memory = unsafe { self.inner.alloc(layout) };
        if !memory.is_null() {
            count_up(layout.size(), 1);
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the inner allocator's.
        let memory = unsafe { self.inner.alloc_zeroed(layout) };
        if !memory.is_null() {
            count_up(layout.size(), 1);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count_down(layout.size());
        // SAFETY: the caller's contract is the inner allocator's.
        unsafe { self.inner.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the inner allocator's.
        let new = unsafe { self.inner.realloc(memory, layout, size) };
        if !new.is_null() {
            if size >= layout.size() {
                count_up(size - layout.size(), 0);
            } else {
                count_down(layout.size() - size);
            }
        }
        new
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    /// Counts of an allocator that only this thread uses. The other tests use the system's.
    #[test]
    fn allocations_and_frees_are_counted() {
        let allocator = Allocator::new();
        let layout = Layout::from_size_align(4096, 8).expect("a layout");
        let bytes = || allocated(&mut engine().pass());
        for _ in 0..2 {
            let before = bytes();
            // SAFETY: the layout is not empty, and the allocation is freed with it.
            unsafe {
                let memory = allocator.alloc(layout);
                let now = bytes();
                assert_eq!(now.bytes - before.bytes, 4096);
                assert_eq!(now.allocations - before.allocations, 1);
                allocator.dealloc(memory, layout);
            }
            assert_eq!(bytes().bytes, before.bytes);
            // The second round counts in this thread's own cells.
            count_allocations();
        }
    }
}
