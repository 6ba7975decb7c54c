//! Hooks around a `fork`: the child must not write to the file of its parent, and gets one
//! of its own.
//!
//! Before the fork, the parent locks what the child needs, and copies the words of all series:
//! afterwards the child could not read them in the file, because its parent goes on. The child
//! replaces the file by private memory at the same addresses, with the series as they were. So all
//! handles stay valid. Then it resets all counts, and makes a file of its own. If that fails, it
//! does not share its metrics.
//!
//! # The order of locks
//!
//! An update or a scrape takes these locks, and a thread that holds one waits only for those below.
//! The child has one thread, so a lock that another thread held at the fork would never be
//! released. The parent therefore takes all of them first, in this order:
//!
//! | lock | taken by |
//! |---|---|
//! | 0. `mapped::held::MAKING` | the first use of a declaration or of a closed label set |
//! | 1. `files::dir` `READS` and the state of each `Dir` | reads of the directory |
//! | 2. `files::writer` `OWN` | `share::dir`, reads of the directory |
//! | 3. `Engine::collector` | passes: scrapes, removal, retirement |
//! | 4. `Shards::pool`, `Engine::abandoned`, `Slots` | the first update of a thread, its end, promotion, dropped families |
//! | 5. `TO_MOVE`, `spare_records` | updates that move or grow a slab |
//! | 6. `Registry`: the collectors, the settings, `Families::inner` | scrapes and registration in the default registry |
//! | 7. `living` | making a family |
//! | 8. the values of caps, the shards of the index, `Retirement` | look-ups that miss the label cache, stale handles |
//! | 8. the rows of enums and infos from data | their updates, scrapes |
//! | 9. `family::published::ALL`, and under it the records of families and `SPARE` | making a series, registration |
//! | 10. `region::MEMORY` | allocation in the file, promotion |
//!
//! The locks of cold cells ([`crate::observe::ColdLock`]) are taken from threads that are gone.
//! `Family::scraped` and the texts of state sets are locked in passes only. Not covered:
//! registration and scrapes of registries other than the default one, and the first exemplar of a
//! family.

use std::cell::RefCell;
use std::sync::MutexGuard;

use crate::family::{AnyFamily, living, published};
use crate::mapped::fork::{Hooks, register};
use crate::mapped::held::{Held, making};
use crate::mapped::region;
use crate::observe::ForkGuard;
use crate::registry::{LockedRegistry, registry};
use crate::sync::AllocatingGuard;

use super::dir::WholeReads;
use super::writer::{Own, own, set_no_file, share_again};

/// The locks around a fork, in the order of locking, and the words of all series.
struct Forking {
    series: region::Series,
    // Dropped, and so unlocked, in the opposite order.
    memory: region::Locked,
    _all: MutexGuard<'static, ()>,
    living: MutexGuard<'static, living::Living>,
    registry: LockedRegistry<'static>,
    engine: ForkGuard,
    own: MutexGuard<'static, Option<Own>>,
    _reads: WholeReads,
    _making: Option<AllocatingGuard<'static, ()>>,
    each: Vec<Held<dyn AnyFamily>>,
}

thread_local! {
    /// Set between the hooks. A fork returns in the thread that called it, in both processes.
    static FORKING: RefCell<Option<Forking>> = const { RefCell::new(None) };
}

/// Has forks of this process run the hooks of this module.
pub(super) fn register_hooks() {
    register(Hooks {
        before,
        in_parent,
        in_child,
    });
}

fn before() {
    let making = making();
    // A child must not find a directory locked by a thread that it does not have.
    let reads = WholeReads::wait();
    let own = own();
    if !region::is_published() {
        return;
    }
    let engine = ForkGuard::lock();
    let registry = registry().before_fork();
    let living = living::lock();
    let each = living.all().into_iter();
    let each = each.map(|family| Held::new(family, |family| family.lock()));
    let each = each.collect();
    let all = published::lock_all();
    let memory = region::lock();
    let forking = Forking {
        series: memory.copy_series(),
        memory,
        _all: all,
        living,
        registry,
        engine,
        own,
        _reads: reads,
        _making: making,
        each,
    };
    let _ = FORKING.try_with(|slot| slot.replace(Some(forking)));
}

fn in_parent() {
    let Ok(Some(forking)) = FORKING.try_with(RefCell::take) else {
        return;
    };
    // Dropped after all of `forking`: a family that is dropped needs locks that another fork may
    // have, and that fork may wait for the locks of another family.
    let _families = forking.living.all();
    drop(forking);
}

fn in_child() {
    let Ok(Some(mut forking)) = FORKING.try_with(RefCell::take) else {
        return;
    };
    let own = forking.own.take();
    if forking.memory.detach(&forking.series).is_err() {
        // There is no memory for page tables. The child would write to the file of its parent.
        std::process::abort();
    }
    forking.engine.start_over();
    // Dropped after all of `forking`.
    let families = forking.living.all();
    let Forking {
        memory,
        _all: all,
        living,
        mut registry,
        engine,
        own: mut locked_own,
        _reads: reads,
        _making: making,
        each,
        ..
    } = forking;
    drop((memory, each));
    published::forget_spare();
    families.iter().for_each(|family| family.after_fork());
    registry.note_process();
    if let Some(own) = own {
        match share_again(own) {
            Ok(own) => *locked_own = Some(own),
            Err(error) => set_no_file(&error),
        }
    }
    drop((all, living));
    registry.publish_all();
    drop((registry, engine, locked_own, reads, making));
}
