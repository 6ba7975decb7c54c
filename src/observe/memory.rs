//! A slab: the memory of one thread's cells. The length that the owner compares slots with is in
//! the same allocation.
//!
//! - M1: the cells follow the header without a gap, so that an update needs one pointer. A slab of
//!   capacity n has the cells 0 to n - 1.
//! - M2: a [`SlabRef`] is used only by the owner of its shard, by the collector for a shard without
//!   an owner, or by a thread that has pinned the epoch since before it loaded the pointer. A slab
//!   is freed an epoch after its shard stopped pointing to it (I3), so each of these uses a live
//!   slab.
//! - M3: the header is written before the slab is published. Later only `len` changes, which is an
//!   atomic.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use crate::mapped::Place;
use crate::sync::{AtomicU64, Relaxed, owner_load};

use super::file;
use super::shard::Shard;

/// The header of a slab. It has 128 bytes, so that two slabs never share a cache line or a pair of
/// cache lines.
///
/// Other processes may read the capacity and the cells in a mapped file.
#[repr(C, align(128))]
pub(crate) struct Slab {
    /// The length that the owner compares a slot with: the capacity, or 0 while a request is open.
    /// Written by the collector (0) and the owner (the capacity), read by the owner.
    len: AtomicU64,
    /// The number of cells. Written before the slab is published.
    capacity: u64,
    /// The shard that the slab belongs to; null in the empty slab. Written before the slab is
    /// published.
    shard: *const Shard,
    /// The offset in bytes from the start of the allocation to this header. Written before the slab
    /// is shared.
    offset: usize,
}

// SAFETY: the header does not change except for its atomic (M3), and cells are atomics.
unsafe impl Sync for Slab {}

/// The slab of a thread without a shard. Every slot is beyond its length.
#[cfg(not(loom))]
static EMPTY: Slab = Slab {
    len: AtomicU64::new(0),
    capacity: 0,
    shard: std::ptr::null(),
    offset: 0,
};

/// A pointer to a live slab.
#[derive(Clone, Copy)]
pub(crate) struct SlabRef(NonNull<Slab>);

impl SlabRef {
    /// The slab of a thread without a shard.
    #[cfg(not(loom))]
    pub(crate) const EMPTY: Self = match NonNull::new((&raw const EMPTY).cast_mut()) {
        Some(slab) => Self(slab),
        None => unreachable!(),
    };

    /// Allocates a slab of `capacity` zeroed cells: in the mapped file if the process shares its
    /// metrics, else on the heap. Returns `None` if the allocator refuses, or the file is full.
    pub(crate) fn allocate(capacity: u64, shard: *const Shard) -> Option<Self> {
        let layout = layout(capacity)?;
        let memory = file::allocate_slab(bytes(capacity), || {
            // SAFETY: the layout is not empty: it holds at least the header.
            NonNull::new(unsafe { alloc_zeroed(layout) })
        })?;
        // 0 in the file, whose memory is aligned.
        let offset = memory.addr().get().wrapping_neg() % align_of::<Slab>();
        // SAFETY: the layout includes the bytes that aligning the header may take.
        let slab = unsafe { memory.add(offset) }.cast::<Slab>();
        let header = Slab {
            len: AtomicU64::new(capacity),
            capacity,
            shard,
            offset,
        };
        // SAFETY: the memory is fresh, large enough for the header, and aligned by `offset`.
        unsafe { slab.write(header) };
        #[cfg(loom)]
        for i in 0..capacity {
            // SAFETY: cell `i` is below the capacity (M1). Loom's atomics have to be constructed.
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
        // SAFETY: the slab is live (M2).
        unsafe { &(*self.0.as_ptr()).len }
    }

    pub(crate) fn capacity(self) -> u64 {
        // SAFETY: the slab is live (M2).
        unsafe { (*self.0.as_ptr()).capacity }
    }

    /// Returns the shard that this slab belongs to; null for the empty slab.
    pub(crate) fn shard(self) -> *const Shard {
        // SAFETY: the slab is live (M2).
        unsafe { (*self.0.as_ptr()).shard }
    }

    /// Returns the block whose last cell is `last`, if the slab has it.
    #[inline]
    pub(crate) fn get_block(self, last: u64) -> Option<Block> {
        // SAFETY: below the capacity.
        (last < self.capacity()).then(|| unsafe { self.block(last) })
    }

    /// Returns the block whose last cell is `last`.
    ///
    /// # Safety
    ///
    /// `last` must be below the capacity. Then all cells of the block are inside the slab (W3).
    #[inline(always)]
    pub(crate) unsafe fn block(self, last: u64) -> Block {
        // SAFETY: cell `last` follows the header and is below the capacity (M1).
        Block(unsafe {
            self.0
                .as_ptr()
                .add(1)
                .cast::<AtomicU64>()
                .add(last as usize)
        })
    }

    /// Returns the cells `first..first + len`.
    ///
    /// # Safety
    ///
    /// All of them must be below the capacity, and the slab must outlive the result.
    pub(crate) unsafe fn cells<'a>(self, first: u64, len: usize) -> &'a [AtomicU64] {
        // SAFETY: the cells are below the capacity by the caller's contract and follow each other
        // (M1). All threads access them as atomics.
        unsafe { std::slice::from_raw_parts(self.block(first).0, len) }
    }

    /// Returns whether every cell is zero. For a shard that no thread writes.
    pub(crate) fn is_zero(self) -> bool {
        // SAFETY: the cells are all below the capacity (M1), and the slab is live (M2).
        let cells = unsafe { self.cells(0, self.capacity() as usize) };
        cells.iter().all(|cell| cell.load(Relaxed) == 0)
    }

    /// Copies the cells that are not zero, so that untouched pages stay uncommitted.
    ///
    /// # Safety
    ///
    /// The caller must own the shard of `old`. `self` must be larger and not yet published.
    pub(crate) unsafe fn copy_from(self, old: Self) {
        for i in 0..old.capacity() {
            // SAFETY: `i` is below both capacities (M1).
            let (from, to) = unsafe { (old.block(i), self.block(i)) };
            // SAFETY: a block of one cell, which only this thread writes (I1).
            let value = owner_load(unsafe { from.cell(0) });
            if value != 0 {
                // SAFETY: as above. Relaxed: the exchange that publishes the slab (`end_growth`)
                // carries it.
                unsafe { to.cell(0) }.store(value, Relaxed);
            }
        }
    }

    /// Frees the slab.
    ///
    /// # Safety
    ///
    /// No thread can reach the slab any more.
    pub(crate) unsafe fn free(self) {
        let capacity = self.capacity();
        // SAFETY: `allocate` allocated it with this size, and no thread can reach it.
        if unsafe { file::free_slab(self, bytes(capacity)) } {
            return;
        }
        // SAFETY: the slab is live until this function frees it.
        let offset = unsafe { (*self.0.as_ptr()).offset };
        #[cfg(loom)]
        // SAFETY: `allocate` constructed `capacity` cells and the header (M1). Each is dropped
        // once.
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
        // SAFETY: `allocate` allocated `offset` bytes below the header, with the same layout.
        unsafe { dealloc(self.0.as_ptr().cast::<u8>().sub(offset), layout) };
    }
}

/// Returns the layout of the header, aligned to a cache line wherever the memory begins, and the
/// cells.
///
/// The layout itself has a cell's alignment. For larger alignments the system's allocator writes
/// every zero itself, which commits every page.
fn layout(capacity: u64) -> Option<Layout> {
    let cells = usize::try_from(capacity)
        .ok()?
        .checked_mul(size_of::<AtomicU64>())?;
    let size = cells.checked_add(size_of::<Slab>() + align_of::<Slab>() - ALIGN)?;
    Layout::from_size_align(size, ALIGN).ok()
}

/// Returns the size of the header and the cells.
fn bytes(capacity: u64) -> usize {
    size_of::<Slab>() + size_of::<AtomicU64>() * capacity as usize
}

const ALIGN: usize = align_of::<AtomicU64>();

/// The cells of one series in one slab, or in a cold block. Cells are counted downwards from the
/// last one, so that one comparison of the last one with a length covers all of them.
#[derive(Clone, Copy)]
pub(crate) struct Block(*const AtomicU64);

impl Block {
    /// Returns the block that fills a slice.
    pub(crate) fn of(cells: &[AtomicU64]) -> Self {
        Self::at(cells, cells.len() - 1)
    }

    /// Returns the block of words that begin at `first`.
    pub(crate) fn from_first(first: *const AtomicU64, cells: usize) -> Self {
        Self(first.wrapping_add(cells - 1))
    }

    /// Returns the block of a slice whose last cell has this index.
    pub(crate) fn at(cells: &[AtomicU64], last: usize) -> Self {
        debug_assert!(last < cells.len());
        Self(cells.as_ptr().wrapping_add(last))
    }

    /// Returns where the block is.
    pub(crate) fn place(self) -> Place {
        Place::of(self.0)
    }

    /// Returns where memory that a cell of the block will point to has to be. Once the process
    /// publishes its metrics, that is the region, also while the block itself is on the heap: only
    /// what was there before is moved later. The thread that promoted the series knew of it, and
    /// the slot word carries that to the owner.
    pub(crate) fn place_of_content(self) -> Place {
        if crate::mapped::region::is_published() {
            Place::Region
        } else {
            self.place()
        }
    }

    /// Returns the first `cells` cells, in the order of memory: the last one first.
    ///
    /// # Safety
    ///
    /// The block has at least that many cells, and the memory outlives the result.
    pub(crate) unsafe fn words<'a>(self, cells: usize) -> &'a [AtomicU64] {
        // SAFETY: inside the block by the caller's contract.
        unsafe { std::slice::from_raw_parts(self.0.sub(cells - 1), cells) }
    }

    /// Copies the first `cells` cells of this block to the same cells of a buffer's block.
    ///
    /// # Safety
    ///
    /// The block must have at least that many cells, and the caller must be the thread that writes
    /// them.
    pub(crate) unsafe fn copy_to(self, buffer: &[AtomicU64], cells: usize) {
        for (i, copy) in buffer.iter().rev().take(cells).enumerate() {
            // SAFETY: `i` is below `cells`.
            copy.store(owner_load(unsafe { self.cell(i) }), Relaxed);
        }
    }

    /// Prefetches the first `cells` cells. A hint: nothing is read.
    #[inline(always)]
    pub(crate) fn prefetch(self, cells: usize) {
        #[cfg(not(loom))]
        crate::sync::prefetch(self.0.wrapping_sub(cells - 1), cells);
        #[cfg(loom)]
        let _ = cells;
    }

    /// Returns the word that is `above` words above cell `i`. Processors add to an address with the
    /// access itself, but do not subtract.
    ///
    /// # Safety
    ///
    /// The word is in the slice or slab that this block is part of, and the memory outlives the
    /// result.
    #[inline(always)]
    pub(crate) unsafe fn cell_above<'a>(self, i: usize, above: usize) -> &'a AtomicU64 {
        // SAFETY: inside the block, and the memory lives long enough, by the caller's contract.
        unsafe { &*self.0.sub(i).add(above) }
    }

    /// Returns cell `i`, counted downwards from the last one.
    ///
    /// # Safety
    ///
    /// `i` must be below the block's number of cells, and the memory must outlive the result.
    #[inline(always)]
    pub(crate) unsafe fn cell<'a>(self, i: usize) -> &'a AtomicU64 {
        // SAFETY: inside the block, and the memory lives long enough, by the caller's contract.
        unsafe { &*self.0.sub(i) }
    }
}
