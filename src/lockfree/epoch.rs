//! Pins, and what happens once nobody is pinned who was: crossbeam's epochs, and in a model a stand-in.
//!
//! The epochs are ours alone. In those that all crates share, a pin may run what another crate deferred: a destructor of the
//! host, which may count, remove a series or scrape, and would do so in the middle of a flush or under a lock of ours. What
//! we defer only frees memory and notes that it is time. An allocator of the host that updates metrics would come back in all
//! the same; README says that it must not.

#[cfg(not(loom))]
pub(crate) use process::{Guard, pin};

#[cfg(loom)]
pub(crate) use model::{Guard, are_counted, are_over, pin, with_epochs};

/// Runs `f` once everybody has unpinned who is pinned now; any thread may run it. Unlike [`later`], in a model too: at once
/// where nobody is pinned, else by the last one who unpins.
pub(crate) fn after_epoch(f: impl FnOnce() + Send + 'static) {
    #[cfg(not(loom))]
    {
        let guard = pin();
        guard.defer(f);
        guard.flush();
    }
    #[cfg(loom)]
    model::after_epoch(Box::new(f));
}

/// Runs `f`, which frees something, once nobody is pinned who was. In a model that counts pins: at once where nobody is
/// pinned, else never; in others never.
///
/// # Safety
///
/// Who pins from now on cannot reach what `f` frees; any thread may run it.
pub(crate) unsafe fn later(f: impl FnOnce()) {
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

/// As [`later`], and as soon as may be: for what is rare, and large enough not to wait for more of it.
///
/// # Safety
///
/// As for [`later`].
pub(crate) unsafe fn soon(f: impl FnOnce()) {
    // SAFETY: by the caller's word.
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

    /// Nothing that can be reached now is freed before the guard is dropped.
    #[inline]
    pub(crate) fn pin() -> Guard {
        // In a thread that ends the handle may be gone.
        HANDLE
            .try_with(LocalHandle::pin)
            .unwrap_or_else(|_| EPOCHS.register().pin())
    }
}

/// A model that asks for it counts who is pinned; an epoch passes where nobody is. The others take it that cold updates have
/// ended at once, and keep the orderings apart that such a count would join.
#[cfg(loom)]
mod model {
    use std::cell::Cell;

    use crate::sync::{AcqRel, Acquire, AtomicU64, Mutex, lock};

    type Deferred = Mutex<Vec<Box<dyn FnOnce() + Send>>>;

    std::thread_local! {
        /// Loom runs a model in one thread of the system.
        static COUNTS: Cell<bool> = const { Cell::new(false) };
    }

    loom::lazy_static! {
        static ref PINNED: AtomicU64 = AtomicU64::new(0);
        static ref DEFERRED: Deferred = Mutex::new(Vec::new());
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
            // AcqRel: the last one runs what is to come after what all of them did.
            if COUNTS.get() && PINNED.fetch_sub(1, AcqRel) == 1 {
                run_deferred();
            }
        }
    }

    pub(super) fn after_epoch(f: Box<dyn FnOnce() + Send>) {
        if are_over() {
            return f();
        }
        lock(&DEFERRED).push(f);
        // They may have gone meanwhile.
        if are_over() {
            run_deferred();
        }
    }

    fn run_deferred() {
        let deferred = std::mem::take(&mut *lock(&DEFERRED));
        deferred.into_iter().for_each(|f| f());
    }

    pub(crate) fn are_counted() -> bool {
        COUNTS.get()
    }

    /// Whether nobody is pinned now; then what was done while pinned is seen.
    pub(crate) fn are_over() -> bool {
        !COUNTS.get() || PINNED.fetch_add(0, AcqRel) == 0
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
        // The later one of them is gone first, whichever that is.
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
