//! Values that are freed once no reader can have them.

use crate::lockfree::epoch::soon;
use crate::mapped::take;

/// Drops a value and frees its memory once every pin of now is released.
///
/// # Safety
///
/// `value` comes from [`Own::into_raw`](crate::mapped::Own::into_raw), and a thread that pins the
/// epoch from now on cannot reach it.
pub(super) unsafe fn take_soon<T: 'static>(value: *mut T) {
    let is_still = super::file::is_still(value.cast_const().cast());
    // SAFETY: the caller's contract.
    unsafe {
        soon(move || {
            if is_still() {
                take(value);
            }
        });
    }
}
