//! Pins, and what happens once nobody is pinned who was: crossbeam's epochs, and in a model a stand-in.

#[cfg(not(loom))]
pub(super) use crossbeam_epoch::{Guard, pin};

#[cfg(loom)]
pub(super) use model::{Guard, are_over, pin, with_epochs};

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

    /// Whether nobody is pinned now; then what was done while pinned is seen.
    pub(crate) fn are_over() -> bool {
        !COUNTS.get() || PINNED.fetch_add(0, AcqRel) == 0
    }
}
