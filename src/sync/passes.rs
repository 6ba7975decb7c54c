//! Passes that are shared by who asked before they began.
//!
//! A scrape must have every update that returned before it asked. The pass that is running when it asks may have
//! passed those by, so all who come during a pass wait for the next one; the first of them to wake runs it, and the
//! others take what it found. Three scrapes at once cost two passes, and so do a hundred.

#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};

use std::sync::PoisonError;

/// Runs passes one at a time, and hands one's result to everybody who asked before it began.
#[derive(Debug)]
pub(crate) struct Passes<T> {
    state: Mutex<State<T>>,
    ended: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// The number of the last pass that began.
    begun: u64,
    running: bool,
    /// The thread that runs it. One that comes back from inside its own pass would wait for itself.
    #[cfg(not(loom))]
    runner: Option<std::thread::ThreadId>,
    /// The number of the last pass that ended well, and what it found.
    done: Option<(u64, T)>,
}

#[cfg_attr(
    not(feature = "tower"),
    allow(dead_code, reason = "who serves shares passes")
)]
impl<T: Clone> Passes<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                begun: 0,
                running: false,
                #[cfg(not(loom))]
                runner: None,
                done: None,
            }),
            ended: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a pass found that began after this call; `None` where the caller is inside a pass of these.
    ///
    /// Waits for the pass that is running, and perhaps for the one after it.
    pub(crate) fn share(&self, pass: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.lock();
        #[cfg(not(loom))]
        if state.running && state.runner == Some(std::thread::current().id()) {
            return None;
        }
        let wanted = state.begun + 1;
        loop {
            if let Some((number, found)) = &state.done
                && *number >= wanted
            {
                return Some(found.clone());
            }
            if !state.running {
                break;
            }
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.running = true;
        #[cfg(not(loom))]
        {
            state.runner = Some(std::thread::current().id());
        }
        state.begun += 1;
        let number = state.begun;
        // What was found before is no longer wanted by anybody; its memory may be used again.
        state.done = None;
        drop(state);
        let running = Running(self);
        let found = pass();
        self.lock().done = Some((number, found.clone()));
        drop(running);
        Some(found)
    }
}

/// Ends a pass, also when it panics; the next in line then runs its own.
struct Running<'a, T: Clone>(&'a Passes<T>);

impl<T: Clone> Drop for Running<'_, T> {
    fn drop(&mut self) {
        self.0.lock().running = false;
        self.0.ended.notify_all();
    }
}
