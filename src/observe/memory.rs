//! A slab: the memory of one thread's cells, with the length that its owner tests in front.
//!
//! Cells follow the header without a gap, so that an update needs one pointer. A slab is only ever reached
//! through [`SlabRef`]; it is freed one epoch after its shard stopped pointing to it, because a reader that
//! pinned before may still be adding up its cells.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use crate::sync::{AtomicU64, Relaxed, owner_load};

use super::shard::Shard;

/// The header of a slab; 128 bytes, so that two slabs never share a line or a pair of lines.
#[repr(C, align(128))]
pub(crate) struct Slab {
    /// What the owner compares a slot with: the capacity, or 0 while the collector has a request.
    len: AtomicU64,
    capacity: u64,
    shard: *const Shard,
    /// What was allocated begins so many bytes before.
    before: usize,
}

// SAFETY: the header is immutable but for the atomic, and cells are atomics.
unsafe impl Sync for Slab {}

/// What a thread without a shard points to: every slot is beyond its length.
#[cfg(not(loom))]
static EMPTY: Slab = Slab {
    len: AtomicU64::new(0),
    capacity: 0,
    shard: std::ptr::null(),
    before: 0,
};

/// A pointer to a live slab.
#[derive(Clone, Copy)]
pub(crate) struct SlabRef(NonNull<Slab>);

impl SlabRef {
    /// The slab of a thread that has none.
    #[cfg(not(loom))]
    pub(crate) const EMPTY: Self = Self(NonNull::from_ref(&EMPTY));

    /// A fresh slab of `capacity` zeroed cells, or `None` where memory is refused.
    pub(crate) fn allocate(capacity: u64, shard: *const Shard) -> Option<Self> {
        let layout = layout(capacity)?;
        // SAFETY: the layout is not empty: it holds at least the header.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let before = memory.addr().get().wrapping_neg() % align_of::<Slab>();
        // SAFETY: the layout has room for that.
        let slab = unsafe { memory.add(before) }.cast::<Slab>();
        let header = Slab {
            len: AtomicU64::new(capacity),
            capacity,
            shard,
            before,
        };
        // SAFETY: fresh memory, large enough and aligned for the header.
        unsafe { slab.write(header) };
        #[cfg(loom)]
        for i in 0..capacity {
            // SAFETY: inside the allocation; loom's atomics have to be constructed.
            unsafe {
                slab.add(1)
                    .cast::<AtomicU64>()
                    .add(i as usize)
                    .write(AtomicU64::new(0))
            };
        }
        Some(Self(slab))
    }

    pub(crate) fn from_ptr(slab: *mut Slab) -> Self {
        Self(NonNull::new(slab).expect("a shard always has a slab"))
    }

    pub(crate) fn as_ptr(self) -> *mut Slab {
        self.0.as_ptr()
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> &AtomicU64 {
        // SAFETY: whoever holds a `SlabRef` owns the shard or has pinned the epoch (module text).
        unsafe { &(*self.0.as_ptr()).len }
    }

    pub(crate) fn capacity(self) -> u64 {
        // SAFETY: as in `len`.
        unsafe { (*self.0.as_ptr()).capacity }
    }

    /// The shard this slab belongs to; null for the empty one.
    pub(crate) fn shard(self) -> *const Shard {
        // SAFETY: as in `len`.
        unsafe { (*self.0.as_ptr()).shard }
    }

    /// The block whose last cell is `last`.
    ///
    /// # Safety
    ///
    /// `last` is below the capacity, and slots are given out so that a block's first cell is at 0 or above.
    #[inline(always)]
    pub(crate) unsafe fn block(self, last: u64) -> Block {
        // SAFETY: the cells lie directly behind the header, and the caller keeps to the capacity.
        Block(unsafe {
            self.0
                .as_ptr()
                .add(1)
                .cast::<AtomicU64>()
                .add(last as usize)
        })
    }

    /// The cells `first..first + len`.
    ///
    /// # Safety
    ///
    /// All of them are below the capacity, and the slab outlives the use.
    pub(crate) unsafe fn cells<'a>(self, first: u64, len: usize) -> &'a [AtomicU64] {
        // SAFETY: by the caller's word; the cells follow each other, and are shared as atomics only.
        unsafe { std::slice::from_raw_parts(self.block(first).0, len) }
    }

    /// Whether every cell is zero; nobody writes them.
    pub(crate) fn is_zero(self) -> bool {
        // SAFETY: all cells are below the capacity, and the caller's slab is not freed meanwhile.
        let cells = unsafe { self.cells(0, self.capacity() as usize) };
        cells.iter().all(|cell| cell.load(Relaxed) == 0)
    }

    /// Copies what is not zero; pages that nobody touched stay uncommitted.
    ///
    /// # Safety
    ///
    /// The caller owns the shard of `old`, and `self` is larger and not yet published.
    pub(crate) unsafe fn copy_from(self, old: Self) {
        for i in 0..old.capacity() {
            // SAFETY: `i` is below both capacities.
            let (from, to) = unsafe { (old.block(i), self.block(i)) };
            // SAFETY: a block of one cell.
            let value = owner_load(unsafe { from.cell(0) });
            if value != 0 {
                // SAFETY: as above. Relaxed: the exchange that publishes the slab carries it.
                unsafe { to.cell(0) }.store(value, Relaxed);
            }
        }
    }

    /// # Safety
    ///
    /// Nobody can reach the slab any more.
    pub(crate) unsafe fn free(self) {
        let capacity = self.capacity();
        // SAFETY: as in `len`.
        let before = unsafe { (*self.0.as_ptr()).before };
        #[cfg(loom)]
        // SAFETY: constructed in `allocate`, and dropped once.
        unsafe {
            for i in 0..capacity {
                self.0
                    .add(1)
                    .cast::<AtomicU64>()
                    .add(i as usize)
                    .drop_in_place();
            }
            self.0.drop_in_place();
        }
        let layout = layout(capacity).expect("it was allocated with this layout");
        // SAFETY: allocated in `allocate` with the same layout.
        unsafe { dealloc(self.0.as_ptr().cast::<u8>().sub(before), layout) };
    }
}

/// The header on a line of its own, wherever the memory begins, and the cells.
///
/// Aligned like any memory: asked for more, the system's allocator writes every zero itself, and so commits every page.
fn layout(capacity: u64) -> Option<Layout> {
    let cells = usize::try_from(capacity)
        .ok()?
        .checked_mul(size_of::<AtomicU64>())?;
    let size = cells.checked_add(size_of::<Slab>() + align_of::<Slab>() - ALIGN)?;
    Layout::from_size_align(size, ALIGN).ok()
}

const ALIGN: usize = align_of::<AtomicU64>();

/// The cells of one series in one slab, or in a cold block. They are counted from the last one downwards, so
/// that one compare of the last one with a length covers all of them.
#[derive(Clone, Copy)]
pub(crate) struct Block(*const AtomicU64);

impl Block {
    /// The block in a slice of its own.
    pub(crate) fn of(cells: &[AtomicU64]) -> Self {
        debug_assert!(!cells.is_empty());
        Self(cells.as_ptr().wrapping_add(cells.len().wrapping_sub(1)))
    }

    /// Copies the first `cells` cells of this block to the same cells of a buffer's block.
    ///
    /// # Safety
    ///
    /// The block has as many cells. The caller is the thread that writes them.
    pub(crate) unsafe fn copy_to(self, buffer: &[AtomicU64], cells: usize) {
        for (i, copy) in buffer.iter().rev().take(cells).enumerate() {
            // SAFETY: `i` is below `cells`.
            copy.store(owner_load(unsafe { self.cell(i) }), Relaxed);
        }
    }

    /// Asks for the memory of the first `cells` cells; a hint, nothing is read.
    #[inline(always)]
    pub(crate) fn prefetch(self, cells: usize) {
        #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
        for i in (0..cells).step_by(8) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: SSE is part of x86-64, and a prefetch of any address is harmless.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.0.wrapping_sub(i).cast()) };
        }
        let _ = cells;
    }

    /// Cell `i`, counted downwards.
    ///
    /// # Safety
    ///
    /// `i` is below the block's number of cells, and the memory outlives the use.
    #[inline(always)]
    pub(crate) unsafe fn cell<'a>(self, i: usize) -> &'a AtomicU64 {
        // SAFETY: inside the block by the caller's word.
        unsafe { &*self.0.sub(i) }
    }
}
