//! A guard together with the value that it borrows from.

use std::sync::Arc;

use crate::sync::{AllocatingGuard, AllocatingMutex};

/// Locked by threads that make something once, and around a `fork`.
static MAKING: AllocatingMutex<()> = AllocatingMutex::new(());

/// Keeps the process from forking while the result lives. For what is made once: in a child it would stay half made if
/// another thread was making it. Returns `None` if the calling thread does that already.
pub(crate) fn making() -> Option<AllocatingGuard<'static, ()>> {
    MAKING.lock_unless_held()
}

/// A value with locks.
pub(crate) trait Lock: 'static {
    /// The guards of the locks.
    type Guard<'a>;

    /// Takes the locks.
    fn lock(&self) -> Self::Guard<'_>;
}

/// The locks of a value, held until this is dropped.
pub(crate) struct Held<T: Lock> {
    // Dropped before the value.
    _guard: T::Guard<'static>,
    _value: Arc<T>,
}

impl<T: Lock> Held<T> {
    /// Takes the locks of a value.
    pub(crate) fn new(value: Arc<T>) -> Self {
        // SAFETY: the result owns the value, which does not move, and drops the guard first. `lock`
        // works for any lifetime, so it leaves the reference nowhere but in its result, which is
        // private.
        let borrowed: &'static T = unsafe { &*Arc::as_ptr(&value) };
        Self {
            _guard: borrowed.lock(),
            _value: value,
        }
    }
}
