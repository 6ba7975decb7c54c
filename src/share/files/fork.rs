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
//! An update or a scrape takes these locks, and a thread that holds one waits only for those with a
//! higher number. The child has one thread, so a lock that another thread held at the fork would
//! never be released. The parent therefore takes all of them first, in this order:
//!
//! 0. `error::WRITING`: warnings on standard error. Not waited for longer than a tenth of a second,
//!    because the thread that holds it waits for whoever reads standard error.
//! 1. `mapped::held::MAKING`: the first use of a declaration or of a closed label set.
//! 2. `files::dir` `READS` and the state of each `Dir`: reads of the directory.
//! 3. `files::writer` `OWN`: `share::dir`, reads of the directory.
//! 4. `family::core` `CHANGES`: infos that are set.
//! 5. The engine, in the order of the fields of [`ForkGuard`]: passes (scrapes, removal,
//!    retirement), the first update of a thread, its end, promotion, dropped families, updates that
//!    move or grow a slab.
//! 6. The default registry: its settings, its names, what is attached to them: scrapes and
//!    registration.
//! 7. The list of all families: making a family.
//! 8. Each family: the values of caps, the shards of the index, `Retirement` (look-ups that miss
//!    the label cache, stale handles, registration).
//! 9. `family::published::ALL`: making a series, registration, exemplars. Threads that hold it hold
//!    the lock of one family's records or of the spare records besides, which are therefore free.
//! 10. `region::MEMORY`: allocation in the file, promotion, and under it the list of blocks to
//!     move.
//! 11. `sync::leaf`: what is held for a moment, and the first exemplars of a family or series.
//!
//! The child takes the locks of cold cells ([`crate::observe::ColdLock`]) from threads that are
//! gone. `Family::scraped` is locked in passes only, and the baseline of an open label set in a
//! pass or under 6. Not covered: registries other than the default one, which a child must not use
//! if another thread of its parent may have been registering there.
//!
//! `tests/mapped/updates.rs` calls each method of the public list in children of a process whose
//! threads do the same.

use std::cell::RefCell;
use std::panic::catch_unwind;
use std::sync::{MutexGuard, RwLockWriteGuard};

use crate::error::no_warnings;
use crate::family::{AnyFamily, changing, published};
use crate::mapped::held::{LockedValue, making};
use crate::mapped::region::{self, fork::register};
use crate::observe::ForkGuard;
use crate::registry::{published::LockedRegistry, registry};
use crate::sync::{AllocatingGuard, leaf};

use super::dir::lock_reads;
use super::writer::{OwnWriter, fold_in_child, own, share_again};

/// The locks around a fork, with their numbers in the order of locking, and the words of all
/// series. Dropped, and so unlocked, from the last lock to the first.
struct Forking {
    series: region::SeriesCopy,
    /// 11.
    _leaf: Option<AllocatingGuard<'static, ()>>,
    /// 10.
    memory: region::Locked,
    /// 9.
    _records: RwLockWriteGuard<'static, ()>,
    /// 7.
    living: MutexGuard<'static, published::Living>,
    /// 6.
    registry: LockedRegistry<'static>,
    /// 5.
    engine: ForkGuard,
    /// 4.
    _changing: Option<AllocatingGuard<'static, ()>>,
    /// 3.
    own: MutexGuard<'static, OwnWriter>,
    /// 2.
    _reads: RwLockWriteGuard<'static, ()>,
    /// 1.
    _making: Option<AllocatingGuard<'static, ()>>,
    /// 0.
    _writing: Option<AllocatingGuard<'static, ()>>,
    /// 8. Unlocked last, because this may drop a family, which takes other locks.
    each: Vec<LockedValue<dyn AnyFamily>>,
}

thread_local! {
    /// Set between the hooks. A fork returns in the thread that called it, in both processes.
    static FORKING: RefCell<Option<Forking>> = const { RefCell::new(None) };
}

/// Makes forks of this process run the hooks of this module.
pub(super) fn register_hooks() {
    // A panic must not leave a function that C calls.
    extern "C" fn before() {
        let _ = catch_unwind(lock_all);
    }
    extern "C" fn in_parent() {
        let _ = catch_unwind(unlock_all);
    }
    extern "C" fn in_child() {
        let _ = catch_unwind(start_over);
    }
    register(before, in_parent, in_child);
}

/// Takes the locks, in the parent.
fn lock_all() {
    // 0.
    let writing = no_warnings();
    // 1.
    let making = making();
    // 2. A child must not find a directory locked by a thread that it does not have.
    let reads = lock_reads();
    // 3.
    let own = own();
    if !region::is_published() {
        return;
    }
    // 4.
    let changing = changing();
    // 5.
    let engine = ForkGuard::lock();
    // 6.
    let registry = registry().before_fork();
    // 7.
    let living = published::all_living();
    // 8.
    let each = living.all().into_iter();
    let each = each.map(|family| LockedValue::new(family, |family| family.lock()));
    let each = each.collect();
    // 9.
    let records = published::lock_all();
    // 10.
    let memory = region::lock();
    // 11.
    let leaf = leaf();
    let forking = Forking {
        series: memory.copy_series(),
        _leaf: leaf,
        memory,
        _records: records,
        living,
        registry,
        engine,
        _changing: changing,
        own,
        _reads: reads,
        _making: making,
        _writing: writing,
        each,
    };
    let _ = FORKING.try_with(|slot| slot.replace(Some(forking)));
}

/// Releases the locks, in the parent.
fn unlock_all() {
    let Ok(Some(forking)) = FORKING.try_with(RefCell::take) else {
        return;
    };
    // Dropped after all of `forking`: a family that is dropped needs locks that another fork may
    // have, and that fork may wait for the locks of another family.
    let _families = forking.living.all();
    drop(forking);
}

/// Leaves the file of the parent, and makes one, in the child.
fn start_over() {
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
        _leaf: leaf,
        memory,
        _records: records,
        living,
        mut registry,
        engine,
        _changing: changing,
        own: mut locked_own,
        _reads: reads,
        _making: making,
        _writing: writing,
        each,
        ..
    } = forking;
    drop((leaf, memory, each));
    published::forget_spare();
    families.iter().for_each(|family| family.after_fork());
    registry.note_process();
    let share = |own| share_again(own).map_err(|error| error.to_string());
    *locked_own = own.map(|own| own.and_then(share));
    drop((records, living));
    registry.publish_all();
    drop((
        registry, engine, changing, locked_own, reads, making, writing,
    ));
    fold_in_child();
}
