//! A mutex under which memory is allocated.
//!
//! The program's allocator may update a metric, whose update may need the same mutex. Then the
//! thread would wait for itself. So this mutex knows which thread holds it, and such an update goes
//! on without what the mutex guards.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A mutex under which memory is allocated. See the module's documentation.
pub(crate) struct AllocatingMutex<T> {
    /// The mark of the thread that holds the mutex, or 0. Written by that thread. Relaxed: a thread
    /// finds its own mark only if it stored it, and all others are equal to it.
    holder: AtomicUsize,
    value: Mutex<T>,
}

/// The mutex, held by the calling thread.
pub(crate) struct AllocatingGuard<'a, T> {
    holder: &'a AtomicUsize,
    // Unlocked after `drop` has cleared the mark.
    value: MutexGuard<'a, T>,
}

impl<T> AllocatingMutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            holder: AtomicUsize::new(0),
            value: Mutex::new(value),
        }
    }

    /// Waits for the mutex, which the calling thread must not hold. Ignores poison.
    pub(crate) fn lock(&self) -> AllocatingGuard<'_, T> {
        self.held(self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for the mutex, or returns `None` if the calling thread holds it.
    pub(crate) fn lock_unless_held(&self) -> Option<AllocatingGuard<'_, T>> {
        (self.holder.load(Relaxed) != mark()).then(|| self.lock())
    }

    /// Returns `None` if a thread holds the mutex.
    pub(crate) fn try_lock(&self) -> Option<AllocatingGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(value) => Some(self.held(value)),
            Err(TryLockError::Poisoned(value)) => Some(self.held(value.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn held<'a>(&'a self, value: MutexGuard<'a, T>) -> AllocatingGuard<'a, T> {
        self.holder.store(mark(), Relaxed);
        AllocatingGuard {
            holder: &self.holder,
            value,
        }
    }
}

/// Locked by threads that hold a lock for a moment, and wait for no other one meanwhile, and around
/// a `fork`.
static LEAVES: AllocatingMutex<()> = AllocatingMutex::new(());

/// Keeps the process from forking while the result lives: for locks, and values that are made once,
/// which a child could otherwise find held for ever by a thread that it does not have. Take it
/// after all other locks. Returns `None` if the calling thread has it already.
pub(crate) fn leaf() -> Option<AllocatingGuard<'static, ()>> {
    LEAVES.lock_unless_held()
}

/// Returns a number that no other living thread has.
fn mark() -> usize {
    thread_local! {
        /// Its address is the mark. Without a destructor, so that a thread that ends has it, too.
        static MARK: u8 = const { 0 };
    }
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

impl<T> Deref for AllocatingGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for AllocatingGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for AllocatingGuard<'_, T> {
    fn drop(&mut self) {
        self.holder.store(0, Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_holds_it_goes_on_without_it() {
        let mutex = AllocatingMutex::new(1);
        let mut held = mutex.lock_unless_held().unwrap();
        *held += 1;
        assert!(mutex.lock_unless_held().is_none() && mutex.try_lock().is_none());
        std::thread::scope(|scope| {
            let other = scope.spawn(|| mutex.lock_unless_held().map(|value| *value));
            assert!(mutex.lock_unless_held().is_none());
            drop(held);
            assert_eq!(other.join().unwrap(), Some(2));
        });
        assert!(mutex.try_lock().is_some() && mutex.lock_unless_held().is_some());
    }
}
