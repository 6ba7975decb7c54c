//! Values that cells and pointers have the address of: the tables of native histograms, the streams
//! of summaries, and what these point to.

use crate::lockfree::epoch::soon;
use crate::mapped::{Own, take};
use crate::sync::{AtomicU64, Release, owner_load};

/// Returns the value at an address, or `None` at 0.
///
/// # Safety
///
/// The address is 0, or it was published by [`publish`] or in a [`Move`](crate::mapped::Move), and
/// the value is not freed while the result is used.
#[inline(always)]
pub(super) unsafe fn value_at<'a, T>(address: u64) -> Option<&'a T> {
    // SAFETY: the caller's contract.
    unsafe { std::ptr::with_exposed_provenance::<T>(address as usize).as_ref() }
}

/// Publishes a complete value in a cell. The one that it replaces is freed an epoch later.
///
/// # Safety
///
/// The calling thread is the only writer of the cell, which has 0 or the address of a `T`.
pub(super) unsafe fn publish<T: 'static>(cell: &AtomicU64, fresh: Own<T>) {
    let old = owner_load(cell) as usize;
    // Release: pairs with the Acquire in `Table::published` and in `read` of `Distribution`. The
    // reader sees the value complete.
    cell.store(fresh.into_raw().expose_provenance() as u64, Release);
    // SAFETY: a thread that pins the epoch from now on cannot reach the old value.
    unsafe { take_soon(std::ptr::with_exposed_provenance_mut::<T>(old)) };
}

/// Drops a value, if there is one, and frees its memory once every pin of now is released.
///
/// # Safety
///
/// `value` is null, or comes from [`Own::into_raw`], and a thread that pins the epoch from now on
/// cannot reach it.
pub(super) unsafe fn take_soon<T: 'static>(value: *mut T) {
    if value.is_null() {
        return;
    }
    // SAFETY: the caller's contract.
    unsafe { free_soon(value.cast(), move || take(value)) };
}

/// Runs `free`, which frees this memory, once every pin of now is released. Not in the child of a
/// `fork`, if the memory is in the file: it has lost its content, and is not used again.
///
/// # Safety
///
/// A thread that pins the epoch from now on cannot reach the memory. Any thread may run `free`.
pub(super) unsafe fn free_soon(memory: *const u8, free: impl FnOnce()) {
    let is_still = super::file::is_still(memory);
    // SAFETY: the caller's contract.
    unsafe {
        soon(move || {
            if is_still() {
                free();
            }
        });
    }
}
