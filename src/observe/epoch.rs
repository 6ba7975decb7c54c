//! Pins, and what happens once nobody is pinned who was: crossbeam's epochs, and in a model a stand-in.

#[cfg(not(loom))]
pub(super) use crossbeam_epoch::{Guard, pin};

#[cfg(loom)]
pub(super) use model::{Guard, are_counted, are_over, pin, with_epochs};

/// Runs `f`, which frees something, once nobody is pinned who was. In a model that counts pins: at once where nobody is
/// pinned, else never; in others never.
///
/// # Safety
///
/// Who pins from now on cannot reach what `f` frees; any thread may run it.
pub(super) unsafe fn later(f: impl FnOnce()) {
    #[cfg(not(loom))]
    // SAFETY: by the caller's word.
    unsafe {
        pin().defer_unchecked(f);
    }
    #[cfg(loom)]
    if are_counted() && are_over() {
        f();
    }
}

/// A model that asks for it counts who is pinned; an epoch passes where nobody is. The others take it that cold updates have
/// ended at once, and keep the orderings apart that such a count would join.
#[cfg(loom)]
mod model {
    use std::cell::Cell;

    use crate::sync::{AcqRel, Acquire, AtomicU64, Release};

    std::thread_local! {
        /// Loom runs a model in one thread of the system.
        static COUNTS: Cell<bool> = const { Cell::new(false) };
    }

    loom::lazy_static! {
        static ref PINNED: AtomicU64 = AtomicU64::new(0);
    }

    /// Runs a model whose pins count.
    pub(crate) fn with_epochs<T>(model: impl FnOnce() -> T) -> T {
        COUNTS.set(true);
        let result = model();
        COUNTS.set(false);
        result
    }

    pub(crate) struct Guard(());

    /// Who pins after an epoch has passed sees what came before that.
    pub(crate) fn pin() -> Guard {
        if COUNTS.get() {
            PINNED.fetch_add(1, Acquire);
        }
        Guard(())
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            if COUNTS.get() {
                PINNED.fetch_sub(1, Release);
            }
        }
    }

    pub(crate) fn are_counted() -> bool {
        COUNTS.get()
    }

    /// Whether nobody is pinned now; then what was done while pinned is seen.
    pub(crate) fn are_over() -> bool {
        !COUNTS.get() || PINNED.fetch_add(0, AcqRel) == 0
    }
}
