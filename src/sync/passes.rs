//! Coalesced passes: concurrent callers share one pass over the registry instead of running one
//! each.
//!
//! A scrape must contain every update that returned before the scrape began. A pass that is already
//! running may have read the updated cells before the update, so a caller never takes its result:
//!
//! - If no pass is running, the caller runs one.
//! - If a pass is running, the caller waits for it to end. The first waiting caller to wake runs
//!   the next pass, and the others take that pass's result.
//!
//! Three concurrent scrapes therefore cost two passes, and so do a hundred. A caller may arrive
//! long before it needs the result, for example to wait for its turn: a pass that began meanwhile
//! will do.

#[cfg(loom)]
use loom::sync::Condvar;
#[cfg(not(loom))]
use std::sync::Condvar;

use std::sync::PoisonError;

use super::{Mutex, MutexGuard, lock};

/// Runs passes one at a time, and gives the result of a pass to every caller that arrived before
/// the pass began.
pub(crate) struct CoalescedPasses<T> {
    /// Read and written by every caller.
    state: Mutex<PassState<T>>,
    /// Notified by the thread that ran a pass, when the pass ends. Callers of
    /// [`CoalescedPasses::run`] wait on it.
    pass_ended: Condvar,
}

struct PassState<T> {
    /// The number of passes that began, which is the number of the last one.
    started: u64,
    /// Whether a pass is running.
    running: bool,
    /// The thread that runs, or last ran, a pass. Detects a call from inside a pass, which would
    /// wait for itself.
    #[cfg(not(loom))]
    runner: Option<std::thread::ThreadId>,
    /// The number and the result of the last pass, if it ended without a panic.
    last_result: Option<(u64, T)>,
}

#[cfg_attr(
    not(feature = "page"),
    allow(dead_code, reason = "who serves shares passes")
)]
impl<T: Clone> CoalescedPasses<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(PassState {
                started: 0,
                running: false,
                #[cfg(not(loom))]
                runner: None,
                last_result: None,
            }),
            pass_ended: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, PassState<T>> {
        lock(&self.state)
    }

    /// Returns the arrival of a caller, which is the number of the last pass that began. What
    /// returned before is in the results of all later passes.
    pub(crate) fn arrive(&self) -> u64 {
        self.lock().started
    }

    /// Returns the result of the last pass, if it began after this arrival. Does not wait.
    pub(crate) fn last(&self, arrived: u64) -> Option<T> {
        let state = self.lock();
        let last = state.last_result.as_ref();
        last.filter(|(number, _)| *number > arrived)
            .map(|(_, result)| result.clone())
    }

    /// Returns the result of a pass that began after this arrival. Returns `None` if the caller is
    /// inside a pass of this object.
    ///
    /// Waits for the pass that is running, and perhaps for the one after it.
    pub(crate) fn run(&self, arrived: u64, pass: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.lock();
        #[cfg(not(loom))]
        if state.running && state.runner == Some(std::thread::current().id()) {
            return None;
        }
        loop {
            match &state.last_result {
                Some((number, result)) if *number > arrived => return Some(result.clone()),
                _ => {}
            }
            if !state.running {
                break;
            }
            state = self
                .pass_ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.running = true;
        #[cfg(not(loom))]
        {
            state.runner = Some(std::thread::current().id());
        }
        state.started += 1;
        let number = state.started;
        // Drop the previous result, so that its memory can be reused. A caller that still waits for
        // it takes the result of this pass instead.
        state.last_result = None;
        drop(state);
        let running = RunningPass(self);
        let result = pass();
        self.lock().last_result = Some((number, result.clone()));
        drop(running);
        Some(result)
    }
}

/// Ends a pass when dropped, also if the pass panicked. A waiting caller then runs the next pass.
struct RunningPass<'a, T: Clone>(&'a CoalescedPasses<T>);

impl<T: Clone> Drop for RunningPass<'_, T> {
    fn drop(&mut self) {
        self.0.lock().running = false;
        self.0.pass_ended.notify_all();
    }
}
