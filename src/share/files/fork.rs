//! What happens around a `fork`: the child must not write to the file of its parent, and gets one of its own.
//!
//! Before the fork, the parent locks what the child needs, and copies the words of all series: afterwards the
//! child could not read them in the file, because its parent goes on. The child replaces the file by private
//! memory at the same addresses, with the series as they were. So all handles stay valid. Then it resets all
//! counts, and makes a file of its own. If that fails, it does not share its metrics.

use std::cell::RefCell;
use std::sync::MutexGuard;

use crate::family::{living, shared};
use crate::mapped::fork::{Hooks, register};
use crate::mapped::region;
use crate::observe::ForkGuard;
use crate::registry::{SharedFamilies, registry};

use super::dir::WholeReads;
use super::writer::{Own, own, set_no_file, share_again};

/// What is locked around a fork, in the order of locking, and the words of all series.
struct Held {
    series: region::Series,
    // Dropped, and so unlocked, in the opposite order.
    memory: region::Locked,
    _all: MutexGuard<'static, ()>,
    living: MutexGuard<'static, living::Living>,
    families: SharedFamilies<'static>,
    engine: ForkGuard,
    own: MutexGuard<'static, Option<Own>>,
    _reads: WholeReads,
}

thread_local! {
    /// Set between the hooks. A fork returns in the thread that called it, in both processes.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
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
    // A child must not find a directory locked by a thread that it does not have.
    let reads = WholeReads::wait();
    let own = own();
    if !region::is_shared() {
        return;
    }
    let engine = ForkGuard::lock();
    let families = registry().before_fork();
    let living = living::lock();
    let all = shared::lock_all();
    let memory = region::lock();
    let held = Held {
        series: memory.copy_series(),
        memory,
        _all: all,
        living,
        families,
        engine,
        own,
        _reads: reads,
    };
    let _ = HELD.try_with(|slot| slot.replace(Some(held)));
}

fn in_parent() {
    let _ = HELD.try_with(RefCell::take);
}

fn in_child() {
    let Ok(Some(mut held)) = HELD.try_with(RefCell::take) else {
        return;
    };
    let own = held.own.take();
    if held.memory.detach(&held.series).is_err() {
        // There is no memory for page tables. The child would write to the file of its parent.
        std::process::abort();
    }
    held.engine.start_over();
    let families = held.living.all();
    let Held {
        memory,
        families: registered,
        ..
    } = held;
    drop(memory);
    shared::forget_spare();
    families.iter().for_each(|family| family.after_fork());
    registry().note_process();
    if let Some(own) = own {
        match share_again(own) {
            Ok(own) => *held.own = Some(own),
            Err(error) => set_no_file(&error),
        }
    }
    drop((held._all, held.living));
    registered.share_all();
}
