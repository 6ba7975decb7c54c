//! Epoch pins, and memory that is freed once all current pins are released. Uses crossbeam's
//! epochs, or a stand-in in a model.
//!
//! - E1: memory that was reachable when a thread pinned is not freed before that thread drops its
//!   [`Guard`].
//!
//! The crate has a crossbeam collector of its own. With crossbeam's default collector, which all
//! crates share, a pin may run what another crate deferred: a destructor of the host, which may
//! update metrics, remove a series or scrape. It would do so in the middle of a flush or under one
//! of our locks. Our own deferred functions only free memory. An allocator of the
//! host that updates metrics would still re-enter; the README forbids that.

#[cfg(not(loom))]
pub(crate) use process::{Guard, pin};

#[cfg(loom)]
pub(crate) use model::{Guard, pin, with_epochs};

/// Runs `f`, which frees memory, once every thread that is pinned now has unpinned.
///
/// In a model that counts pins, runs `f` immediately if no thread is pinned, and otherwise never.
/// In other models, never runs it.
///
/// # Safety
///
/// A thread that pins from now on must not be able to reach what `f` frees. Any thread may run `f`.
pub(crate) unsafe fn later(f: impl FnOnce()) {
    #[cfg(not(loom))]
    // SAFETY: the caller's contract is the contract of `defer_unchecked`.
    unsafe {
        pin().defer_unchecked(f);
    }
    #[cfg(loom)]
    if model::has_passed() {
        f();
    }
}

/// Like [`later`], but runs `f` as early as possible. For objects that are rare, and too large to
/// wait until more garbage accumulates.
///
/// # Safety
///
/// As for [`later`].
pub(crate) unsafe fn soon(f: impl FnOnce()) {
    // SAFETY: the caller's contract is the same.
    unsafe { later(f) };
    #[cfg(not(loom))]
    pin().flush();
}

#[cfg(not(loom))]
mod process {
    use std::sync::LazyLock;

    pub(crate) use crossbeam_epoch::Guard;
    use crossbeam_epoch::{Collector, LocalHandle};

    static EPOCHS: LazyLock<Collector> = LazyLock::new(Collector::new);

    thread_local! {
        static HANDLE: LocalHandle = EPOCHS.register();
    }

    /// Pins the epoch: memory that is reachable now is not freed before the guard is dropped (E1).
    #[inline]
    pub(crate) fn pin() -> Guard {
        // The handle may be destroyed already if the thread is ending.
        HANDLE
            .try_with(LocalHandle::pin)
            .unwrap_or_else(|_| EPOCHS.register().pin())
    }
}

/// Epochs in models. In a model that runs under `with_epochs`, pins are counted, and an epoch
/// passes when no thread is pinned. The other models free nothing; counting pins there would add
/// orderings that hide the ones under test.
#[cfg(loom)]
mod model {
    use std::cell::Cell;

    use crate::sync::{AcqRel, Acquire, AtomicU64, Release};

    std::thread_local! {
        /// Loom runs a model in one system thread.
        static COUNTS: Cell<bool> = const { Cell::new(false) };
    }

    loom::lazy_static! {
        // The number of pinned threads. Written by every thread of the model.
        static ref PINNED: AtomicU64 = AtomicU64::new(0);
    }

    /// Runs a model with counted pins.
    pub(crate) fn with_epochs<T>(model: impl FnOnce() -> T) -> T {
        COUNTS.set(true);
        let result = model();
        COUNTS.set(false);
        result
    }

    pub(crate) struct Guard(());

    /// Acquire: pairs with the Release in `Guard::drop` and in `has_passed`. A thread that pins
    /// after an epoch has passed sees everything that happened before the end of that epoch.
    pub(crate) fn pin() -> Guard {
        if COUNTS.get() {
            PINNED.fetch_add(1, Acquire);
        }
        Guard(())
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            // Release: pairs with the AcqRel in `has_passed`.
            if COUNTS.get() {
                PINNED.fetch_sub(1, Release);
            }
        }
    }

    /// Returns whether pins are counted and no thread is pinned now. If so, the caller sees
    /// everything that was done while pinned: AcqRel pairs with the Release in `Guard::drop`.
    pub(super) fn has_passed() -> bool {
        COUNTS.get() && PINNED.fetch_add(0, AcqRel) == 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::pin;

    #[test]
    fn what_other_crates_deferred_does_not_run_in_our_pins() {
        let ran = Arc::new(AtomicBool::new(false));
        let theirs = crossbeam_epoch::pin();
        let their_own = Arc::clone(&ran);
        theirs.defer(move || their_own.store(true, Relaxed));
        theirs.flush();
        drop(theirs);
        (0..1000).for_each(|_| pin().flush());
        assert!(!ran.load(Relaxed));
    }

    #[test]
    fn a_thread_that_ends_can_pin() {
        struct Last;
        impl Drop for Last {
            fn drop(&mut self) {
                pin().flush();
            }
        }
        thread_local! {
            static LAST: Last = const { Last };
        }
        // The thread-local that is created later is destroyed first. Both orders have to work.
        for order in [[true, false], [false, true]] {
            let thread = std::thread::spawn(move || {
                for mine in order {
                    if mine {
                        LAST.with(|_| ());
                    } else {
                        drop(pin());
                    }
                }
            });
            thread.join().unwrap();
        }
    }
}
