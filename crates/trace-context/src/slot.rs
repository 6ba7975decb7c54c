//! The thread-local pointer `otel_thread_ctx_v1` of this thread, and the record behind it.
//!
//! A tracer, which may be written in any language, owns both. This module only reads. It relies on
//! OTEP 4947:
//!
//! 1. The symbol is a thread-local variable that holds a pointer to a record, or null
//!    ("Thread-Local Variable"). For such a symbol, `dlsym` returns the address of the calling
//!    thread's variable.
//! 2. The variable lives as long as its thread, and its library stays loaded: the `dlsym` of glibc
//!    makes the object that calls it depend on the one that has the symbol, and musl unloads
//!    nothing. `tests/late.rs` unloads one.
//! 3. A pointer that is not null points to a record of at least 28 bytes, which is not freed before
//!    the pointer is replaced ("Context Attachment", "Context Detachment").
//! 4. Only the thread writes its variable, and a record that is attached to it ("Concurrency
//!    model"). So nothing is written while this module reads on that thread; a tracer that calls it
//!    in the middle of a change has marked the record as not valid.
//!
//! Tracers may break 3 in one place, the end of a thread: a record that is freed with the thread
//! leaves its pointer behind. So this module reads nothing after the destructor of its own
//! thread-local. That of a tracer, if it is used before, is destroyed after that.

#![allow(
    unsafe_code,
    reason = "only `dlsym` finds a symbol that a program may not have"
)]

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;

use crate::HEADER;

/// The symbol. Version 1 of the layout is in its name.
const SYMBOL: &CStr = c"otel_thread_ctx_v1";

/// The most calls between two look-ups of a symbol that does not exist.
const LONGEST_PAUSE: u32 = 1 << 16;

/// The knowledge of a thread about its variable.
struct Slot {
    /// The address of the variable; null before it is found.
    address: Cell<*const *const [u8; HEADER]>,
    /// The number of calls until the thread looks again.
    pause: Cell<u32>,
    /// The length of the last pause.
    last_pause: Cell<u32>,
}

impl Drop for Slot {
    /// Makes the thread-local one that is destroyed, so that [`header`] knows when the thread ends.
    fn drop(&mut self) {}
}

thread_local! {
    static SLOT: Slot = const {
        Slot {
            address: Cell::new(ptr::null()),
            pause: Cell::new(0),
            last_pause: Cell::new(0),
        }
    };
}

/// Returns the first bytes of the record that is attached to this thread.
#[inline]
pub(crate) fn header() -> Option<[u8; HEADER]> {
    let address = SLOT.try_with(|slot| match slot.address.get() {
        address if address.is_null() => slot.find(),
        address => address,
    });
    let address = address.ok().filter(|address| !address.is_null())?;
    // SAFETY: by 1 and 2, the address is that of a pointer. It belongs to this thread, because
    // `SLOT` does, and the thread is not ending. By 4, nothing writes it now. Volatile, because
    // code that the compiler does not see writes it between two calls.
    let record = unsafe { ptr::read_volatile(address) };
    // SAFETY: by 3 and 4. Bytes have no alignment.
    (!record.is_null()).then(|| unsafe { ptr::read(record) })
}

impl Slot {
    /// Looks the variable up. Returns null if there is none, and then again for a while without
    /// looking: the pauses double, because a tracer may be loaded later, but most programs have
    /// none.
    #[cold]
    fn find(&self) -> *const *const [u8; HEADER] {
        if let Some(pause) = self.pause.get().checked_sub(1) {
            self.pause.set(pause);
            return ptr::null();
        }
        let address = look_up();
        self.address.set(address);
        let pause = (2 * self.last_pause.get()).clamp(1, LONGEST_PAUSE);
        self.pause.set(pause);
        self.last_pause.set(pause);
        address
    }
}

/// Returns the address of this thread's variable; null if there is none.
fn look_up() -> *const *const [u8; HEADER] {
    // SAFETY: the name ends with a zero.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, SYMBOL.as_ptr()) };
    let address: *const *const [u8; HEADER] = address.cast_const().cast();
    // No compiler makes such a variable.
    match address.is_aligned() {
        true => address,
        false => ptr::null(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No tracer is in this program.
    #[test]
    fn a_thread_looks_for_a_tracer_more_and_more_seldom() {
        let slot = Slot {
            address: Cell::new(ptr::null()),
            pause: Cell::new(0),
            last_pause: Cell::new(0),
        };
        for expected in (0..20).map(|look_up| LONGEST_PAUSE.min(1 << look_up)) {
            assert!(slot.find().is_null());
            assert_eq!(slot.pause.get(), expected, "it has looked");
            for left in (0..expected).rev() {
                assert!(slot.find().is_null());
                assert_eq!(slot.pause.get(), left, "it does not look");
            }
        }
    }
}
