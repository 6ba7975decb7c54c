//! Closes stores when the program gets a signal. A thread of its own waits for it: the thread of a
//! store may be waiting for a collector, or may have ended.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tallies::Error;

use super::store::{Inner, Redis};
use super::thread;

/// The process that has the thread, and the stores that it closes.
static STORES: Mutex<(u32, Vec<Weak<Inner>>)> = Mutex::new((0, Vec::new()));

pub(super) fn close_on_signals(store: &Arc<Inner>) {
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let (process, stores) = &mut *stores;
    if *process != std::process::id() {
        let started = Signals::new([SIGINT, SIGTERM])
            .and_then(|signals| thread("tallies-signals").spawn(move || wait(signals)));
        if let Err(error) = started {
            Error::with_cause("cannot handle signals", error).log();
            return;
        }
        *process = std::process::id();
        stores.clear();
    }
    stores.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&Arc::downgrade(store)));
    stores.push(Arc::downgrade(store));
}

/// Waits for a signal, closes all stores at the same time, and ends the program.
fn wait(mut signals: Signals) {
    for signal in signals.forever() {
        let stores = std::mem::take(&mut STORES.lock().unwrap_or_else(PoisonError::into_inner).1);
        std::thread::scope(|scope| {
            for inner in stores.iter().filter_map(Weak::upgrade) {
                // Without a thread to close it, a store is closed by another process.
                let close = || Redis { inner }.close_blocking();
                let _ = thread("tallies-close").spawn_scoped(scope, close);
            }
        });
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
}
