//! All families of the process, also those of no registry any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::AnyFamily;

/// The families, some of which may have been dropped. Locked by threads that make one, by the one
/// that begins to share the metrics of the process, and around a `fork`.
static LIVING: Mutex<Living> = Mutex::new(Living {
    families: Vec::new(),
    prune_at: 64,
});

/// See [`lock`].
#[derive(Debug)]
pub(crate) struct Living {
    families: Vec<Weak<dyn AnyFamily>>,
    /// The length at which those that were dropped are removed: twice as many as were left the last
    /// time.
    prune_at: usize,
}

/// Locks the list.
pub(crate) fn lock() -> MutexGuard<'static, Living> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a family that was made.
pub(crate) fn add<F: AnyFamily + 'static>(family: &Arc<F>) {
    let family: Weak<dyn AnyFamily> = Arc::downgrade(family) as _;
    let mut living = lock();
    if living.families.len() >= living.prune_at {
        living.families.retain(|family| family.strong_count() > 0);
        living.prune_at = (2 * living.families.len()).max(64);
    }
    living.families.push(family);
}

impl Living {
    /// Returns the families that exist.
    pub(crate) fn all(&self) -> Vec<Arc<dyn AnyFamily>> {
        self.families.iter().filter_map(Weak::upgrade).collect()
    }
}
