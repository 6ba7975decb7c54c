//! Values that are freed once no reader can have them.

use crate::lockfree::epoch::soon;
use crate::mapped::{region, take};

/// Drops a value and frees its memory once every pin of now is released.
///
/// # Safety
///
/// `value` comes from [`Own::into_raw`](crate::mapped::Own::into_raw), and a thread that pins the epoch from now on
/// cannot reach it.
pub(super) unsafe fn take_soon<T: 'static>(value: *mut T) {
    let forks = region::forks();
    // SAFETY: the caller's contract. In the child of a `fork`, memory of the region has lost its content, and
    // is not used again.
    unsafe {
        soon(move || {
            if region::forks() == forks || !region::contains(value.cast()) {
                take(value);
            }
        });
    }
}
