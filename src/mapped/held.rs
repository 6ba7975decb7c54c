//! The locks that a thread holds while the process forks.

use std::sync::Arc;

use crate::sync::{AllocatingGuard, AllocatingMutex};

/// Locked by threads that make something once, and around a `fork`.
static MAKING: AllocatingMutex<()> = AllocatingMutex::new(());

/// Keeps the process from forking while the result lives. For values that are made once: in a child
/// they would stay half made if another thread was making them. Returns `None` if the calling
/// thread holds the lock already.
pub(crate) fn making() -> Option<AllocatingGuard<'static, ()>> {
    MAKING.lock_unless_held()
}

/// Guards of locks, which are released when this is dropped.
pub(crate) trait Guards {}

impl<T> Guards for T {}

/// A value, and the guards of its locks.
pub(crate) struct LockedValue<T: ?Sized + 'static> {
    // Dropped before the value. In a box, so that no function has references of the guards as its
    // arguments while it drops the value.
    _guards: Box<dyn Guards>,
    _value: Arc<T>,
}

impl<T: ?Sized + 'static> LockedValue<T> {
    /// Takes the locks of a value with `lock`.
    pub(crate) fn new(value: Arc<T>, lock: impl FnOnce(&T) -> Box<dyn Guards + '_>) -> Self {
        // SAFETY: the result owns the value, which does not move, and drops the guards first.
        // `lock` works for any lifetime, so it leaves the reference nowhere but in the guards,
        // which are private.
        let value_ref: &'static T = unsafe { &*Arc::as_ptr(&value) };
        Self {
            _guards: lock(value_ref),
            _value: value,
        }
    }
}
