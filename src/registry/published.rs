//! The registry whose families other processes read: how the process begins to publish its metrics,
//! and the locks of the registry around a `fork`.

use std::sync::MutexGuard;

use crate::family::published::all_living;
use crate::observe;

use super::collectors::Collector;
use super::families::Inner;
use super::{Registry, Settings, lock};

impl Registry {
    /// Runs `f`, with which the process begins to publish its metrics, while no thread updates
    /// cells that are not its own. Then lets other processes read all families, from now on those
    /// that are registered later, too.
    pub(crate) fn publish<E>(&self, f: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        self.enlist();
        // Scrapes lock the families in a pass, so the pass comes first.
        let mut pass = observe::engine().pass();
        let mut inner = self.families().lock();
        let families = all_living().all();
        let locks: Vec<_> = families.iter().flat_map(|family| family.locks()).collect();
        observe::while_locked(&locks, f)?;
        drop(locks);
        let blocks = families.iter().flat_map(|family| family.blocks_to_move());
        observe::move_cells(&mut pass, blocks.collect());
        inner.is_published = true;
        inner.publish_all();
        drop(inner);
        drop(pass);
        // Sends the request.
        drop(observe::engine().pass());
        Ok(())
    }

    /// Locks what scrapes and registration lock, around a `fork`.
    pub(crate) fn before_fork(&self) -> LockedRegistry<'_> {
        let collectors = lock(&self.0.collectors.0);
        let settings = lock(&self.0.settings);
        LockedRegistry {
            families: self.families().lock(),
            settings,
            _collectors: collectors,
        }
    }
}

/// A registry, locked around a `fork`.
pub(crate) struct LockedRegistry<'a> {
    families: MutexGuard<'a, Inner>,
    settings: MutexGuard<'a, Settings>,
    _collectors: MutexGuard<'a, Vec<Collector>>,
}

impl LockedRegistry<'_> {
    /// Notes that this process, a child of `fork`, has started over.
    pub(crate) fn note_process(&mut self) {
        self.settings.process = std::process::id();
    }

    /// Lets other processes read the families again.
    pub(crate) fn publish_all(&self) {
        self.families.publish_all();
    }
}
