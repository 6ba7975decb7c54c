//! An allocator that counts: on the hot path in the calling thread's own cells, else in shared ones.
//!
//! It may be called from anywhere: from a thread's first and last instructions, and from the middle of taking a shard
//! or growing one. So it takes the hot path or none: it never registers a thread, grows its cells or answers a
//! request, touches no thread-local with a destructor, takes no lock and allocates nothing.
//!
//! - I1: an add to own cells allocates nothing, so none interrupts another.
//! - I2: growing allocates before it copies, and frees after the thread points to the new cells; what is counted
//!   meanwhile is copied, or is in the new ones.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;

use crate::sync::{AtomicU64, Relaxed};

use super::update::promote;
use super::{Cells, Pass, SlotWord, Tally, UpDown, engine, fold_idle, thread};
use crate::lockfree::Generation;

/// Where own cells are, once somebody asked to see them; copies of the places in [`Counted`].
static BYTES: SlotWord = SlotWord::new();
static ALLOCATIONS: SlotWord = SlotWord::new();

/// What is behind the places: made when somebody asks, as making it allocates.
static COUNTED: OnceLock<Counted> = OnceLock::new();

/// Counts of threads without cells of their own: a few, so that such threads seldom meet.
static SHARED: [Shared; 16] = [const { Shared::new() }; 16];

#[derive(Debug)]
struct Counted {
    bytes: UpDown,
    allocations: Tally<u64>,
}

#[repr(align(128))]
struct Shared {
    bytes: UpDown,
    allocations: AtomicU64,
}

impl Shared {
    const fn new() -> Self {
        Self {
            bytes: UpDown::cold(),
            allocations: AtomicU64::new(0),
        }
    }

    /// The calling thread's, by where its side of the engine lies.
    fn mine() -> &'static Self {
        let at = thread(|thread| std::ptr::from_ref(thread).addr());
        // Threads' memory is pages apart.
        &SHARED[(at >> 12 ^ at >> 20) % SHARED.len()]
    }
}

/// What was allocated and not freed yet, in bytes, and how often something was allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Bytes in use, as programs asked for them: without what the allocator below adds.
    pub bytes: u64,
    /// Allocations since program start; growing one in its place is none.
    pub allocations: u64,
}

/// Gives own cells to every thread that counts metrics, from now on.
pub fn count_allocations() -> &'static impl std::fmt::Debug {
    COUNTED.get_or_init(|| {
        let counted = Counted {
            bytes: UpDown::new(&()),
            allocations: Tally::new(&()),
        };
        promote(engine(), counted.bytes.slot_word(), Generation::FIRST, 2);
        promote(
            engine(),
            counted.allocations.slot_word(),
            Generation::FIRST,
            1,
        );
        counted.bytes.slot_word().copy_to(&BYTES);
        counted.allocations.slot_word().copy_to(&ALLOCATIONS);
        counted
    })
}

/// What all threads have counted so far. A scrape that shares its pass hands it in.
pub fn allocated(pass: &mut Pass<'_>) -> Allocated {
    // Downs first, as in `UpDown`: what is seen to be freed is seen to be allocated.
    let down: u64 = SHARED
        .iter()
        .map(|shared| shared.bytes.shared_downs())
        .fold(0, u64::wrapping_add);
    let (mut bytes, mut allocations) = (0, 0);
    if let Some(counted) = COUNTED.get() {
        fold_idle(pass, &(), &counted.bytes);
        fold_idle(pass, &(), &counted.allocations);
        let slot = counted.bytes.slot_word().slot();
        counted.bytes.read(pass, slot, &mut bytes);
        let slot = counted.allocations.slot_word().slot();
        counted.allocations.read(pass, slot, &mut allocations);
    }
    let up: u64 = SHARED
        .iter()
        .map(|shared| shared.bytes.shared_ups())
        .fold(0, u64::wrapping_add);
    let shared: u64 = SHARED
        .iter()
        .map(|shared| shared.allocations.load(Relaxed))
        .sum();
    Allocated {
        bytes: (up as i64)
            .wrapping_sub(down as i64)
            .wrapping_add(bytes)
            .max(0) as u64,
        allocations: allocations.wrapping_add(shared),
    }
}

/// An allocator around another one, which counts bytes in use and allocations, each thread in its own cells.
///
/// An allocation and its free cost some 1 ns more in threads that count metrics, if [`register`](Self::register) is called
/// early in `main`; in others, and before, they add to one of a few shared cells: some 15 ns. Nothing is exposed before
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
    /// Around the system's allocator.
    #[must_use]
    pub const fn new() -> Self {
        Self::around(System)
    }
}

impl<A> Allocator<A> {
    /// Around any other one: jemalloc's, mimalloc's.
    #[must_use]
    pub const fn around(inner: A) -> Self {
        Self { inner }
    }
}

#[inline]
fn count_up(bytes: usize, allocations: u64) {
    let bytes = bytes as u64;
    if !thread(|thread| UpDown::up(thread, BYTES.last(Generation::FIRST), bytes)) {
        Shared::mine().bytes.add_shared(bytes, 0);
    }
    if !thread(|thread| Tally::<u64>::add(thread, ALLOCATIONS.last(Generation::FIRST), allocations))
    {
        let shared = &Shared::mine().allocations;
        shared.fetch_add(allocations, Relaxed);
    }
}

#[inline]
fn count_down(bytes: usize) {
    let bytes = bytes as u64;
    if !thread(|thread| UpDown::down(thread, BYTES.last(Generation::FIRST), bytes)) {
        Shared::mine().bytes.add_shared(0, bytes);
    }
}

// SAFETY: hands everything on to the inner allocator, and counts what that did.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        let at = unsafe { self.inner.alloc(layout) };
        if !at.is_null() {
            count_up(layout.size(), 1);
        }
        at
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        let at = unsafe { self.inner.alloc_zeroed(layout) };
        if !at.is_null() {
            count_up(layout.size(), 1);
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count_down(layout.size());
        // SAFETY: the caller's word.
        unsafe { self.inner.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        let new = unsafe { self.inner.realloc(at, layout, size) };
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

    /// Of this thread alone: the tests beside it have the system's allocator.
    #[test]
    fn what_is_allocated_is_counted_and_what_is_freed() {
        let allocator = Allocator::new();
        let layout = Layout::from_size_align(4096, 8).expect("a layout");
        let bytes = || allocated(&mut engine().pass());
        for _ in 0..2 {
            let before = bytes();
            // SAFETY: the layout is not empty, and what was allocated is freed with it.
            unsafe {
                let at = allocator.alloc(layout);
                let now = bytes();
                assert_eq!(now.bytes - before.bytes, 4096);
                assert_eq!(now.allocations - before.allocations, 1);
                allocator.dealloc(at, layout);
            }
            assert_eq!(bytes().bytes, before.bytes);
            // Again in this thread's own cells.
            count_allocations();
        }
    }
}
