//! A thread that calls a task in a rhythm, until it is stopped.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::MAX_DURATION;

/// The time beyond the timeout that `stop` gives the thread to report its result.
const GRACE: Duration = Duration::from_millis(500);

/// A task for a thread in the background.
///
/// ```
/// use std::time::Duration;
/// use tallies_client::{Background, Task};
///
/// struct Ticks(u32);
///
/// impl Task for Ticks {
///     type Last = u32;
///
///     fn call(&mut self) -> Duration {
///         self.0 += 1;
///         Duration::from_secs(60)
///     }
///
///     fn last(self) -> u32 {
///         self.0
///     }
/// }
///
/// let mut ticks = Background::start("ticks", Duration::from_secs(10), Ticks(0))?;
/// assert!(ticks.stop().unwrap().unwrap() <= 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Task: Send + 'static {
    /// The result of the last call, which [`Background::stop`] returns.
    type Last: Send + 'static;

    /// Does one step, and returns the pause until the next one. The thread sees a stop between
    /// steps, so a step should not take longer than the timeout.
    fn call(&mut self) -> Duration;

    /// Does the last step, after the stop.
    fn last(self) -> Self::Last;
}

/// A thread that calls a [`Task`] at once, and then after each pause, until it is stopped.
///
/// [`Task`] has an example. Dropping this value ends the thread as [`stop`](Self::stop) does,
/// without waiting for it. Pauses do not depend on the time of day.
#[must_use = "the thread ends when it is dropped"]
#[derive(Debug)]
pub struct Background<T> {
    timeout: Duration,
    /// The process that has the thread.
    process: u32,
    /// `None` after a stop.
    ends: Option<Ends<T>>,
}

/// The ends of the channels to the thread.
#[derive(Debug)]
struct Ends<T> {
    /// Carries no messages. Dropping it tells the thread to stop.
    stop: SyncSender<()>,
    /// Receives the result of the last call. The lock makes `Background` usable in a static.
    last: Mutex<Receiver<T>>,
}

impl<T: Send + 'static> Background<T> {
    /// Starts a thread called `name`. `timeout` is the longest time that a call should take.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tallies_client::{Background, Task};
    /// # struct Tick;
    /// # impl Task for Tick {
    /// #     type Last = ();
    /// #     fn call(&mut self) -> Duration { Duration::from_secs(1) }
    /// #     fn last(self) {}
    /// # }
    /// let background = Background::start("tick", Duration::from_secs(10), Tick)?;
    /// drop(background); // calls the task a last time
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the thread cannot be created.
    pub fn start(name: &str, timeout: Duration, task: impl Task<Last = T>) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let (sender, last) = sync_channel(1);
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || {
            // An error means that the receiver has stopped waiting.
            let _ = sender.send(run(task, &stopped));
        })?;
        Ok(Self {
            timeout,
            process: std::process::id(),
            ends: Some(Ends {
                stop,
                last: Mutex::new(last),
            }),
        })
    }

    /// Stops the rhythm, lets the thread call the task a last time, and returns the result. It
    /// waits for the timeout and half a second. Returns `None` if it was called before.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tallies_client::{Background, StopError, Task};
    /// struct Broken;
    ///
    /// impl Task for Broken {
    ///     type Last = ();
    ///
    ///     fn call(&mut self) -> Duration {
    ///         panic!("a bug")
    ///     }
    ///
    ///     fn last(self) {
    ///         panic!("a bug")
    ///     }
    /// }
    ///
    /// let mut background = Background::start("broken", Duration::from_secs(10), Broken)?;
    /// assert_eq!(background.stop(), Some(Err(StopError::Panicked)));
    /// assert_eq!(background.stop(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`StopError::TimedOut`] if no result arrives in time: a call hangs, and the thread
    /// ends by itself after it. Returns [`StopError::Panicked`], without waiting, if the task has
    /// panicked, and [`StopError::Forked`] in the child of a fork, which does not have the thread.
    pub fn stop(&mut self) -> Option<Result<T, StopError>> {
        let ends = self.ends.take()?;
        if self.process != std::process::id() {
            // The thread may have had the locks of the channels, which no drop must wait for.
            std::mem::forget(ends);
            return Some(Err(StopError::Forked));
        }
        drop(ends.stop);
        let last = ends
            .last
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let result = last.recv_timeout(self.timeout.saturating_add(GRACE));
        Some(result.map_err(|error| match error {
            RecvTimeoutError::Timeout => StopError::TimedOut,
            RecvTimeoutError::Disconnected => StopError::Panicked,
        }))
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // As in `stop`.
            std::mem::forget(self.ends.take());
        }
    }
}

/// Calls the task at once and then after every pause, until the stop. Then calls it a last time.
fn run<T: Task>(mut task: T, stopped: &Receiver<()>) -> T::Last {
    let mut wait = Duration::ZERO;
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
        wait = task.call().min(MAX_DURATION);
    }
    task.last()
}

/// An error of [`Background::stop`].
///
/// ```
/// use tallies_client::StopError;
///
/// assert_eq!(StopError::TimedOut.to_string(), "the last call did not end in time");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopError {
    /// The last call did not end in time.
    TimedOut,
    /// The task panicked, and its thread has ended.
    Panicked,
    /// This process is the child of a fork. The thread is one of its parent.
    Forked,
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "the last call did not end in time",
            Self::Panicked => "the thread panicked",
            Self::Forked => "it was started before a fork; start it in each process",
        })
    }
}

impl std::error::Error for StopError {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// A task that calls functions.
    struct Calls<F, L>(F, L);

    impl<T: Send + 'static, F, L> Task for Calls<F, L>
    where
        F: FnMut() -> Duration + Send + 'static,
        L: FnOnce() -> T + Send + 'static,
    {
        type Last = T;

        fn call(&mut self) -> Duration {
            self.0()
        }

        fn last(self) -> T {
            self.1()
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_task_is_called_at_once_in_a_rhythm_and_a_last_time() {
        let (sender, calls) = channel();
        let mut number = 0;
        let call = move || {
            number += 1;
            sender.send(number).unwrap();
            Duration::from_millis(1)
        };
        let mut background = Background::start("rhythm", MINUTE, Calls(call, || "last")).unwrap();
        for expected in 1..=5 {
            assert_eq!(calls.recv_timeout(MINUTE), Ok(expected));
        }
        assert_eq!(background.stop(), Some(Ok("last")));
        assert_eq!(background.stop(), None);
        // The thread has dropped the task, and so the sender.
        assert!(calls.iter().count() < 1_000_000);
    }

    #[test]
    fn a_stop_ends_the_longest_pause() {
        let (sender, calls) = channel();
        let call = move || {
            sender.send(()).unwrap();
            Duration::MAX
        };
        let mut background = Background::start("pause", MINUTE, Calls(call, || ())).unwrap();
        calls.recv_timeout(MINUTE).unwrap();
        assert_eq!(background.stop(), Some(Ok(())));
        assert_eq!(calls.iter().count(), 0);
    }

    #[test]
    fn a_stop_does_not_wait_for_a_call_that_hangs() {
        let (sender, calls) = channel();
        let (end, ended) = channel::<()>();
        let call = move || {
            sender.send(()).unwrap();
            // Until the test ends.
            let _ = ended.recv();
            Duration::ZERO
        };
        let task = Calls(call, || ());
        let mut background = Background::start("hangs", Duration::from_millis(1), task).unwrap();
        calls.recv_timeout(MINUTE).unwrap();
        assert_eq!(background.stop(), Some(Err(StopError::TimedOut)));
        drop(end);
    }

    #[test]
    fn a_stop_does_not_wait_for_a_thread_that_has_panicked() {
        let call = || -> Duration { panic!("a test") };
        let last = || -> u8 { panic!("a test") };
        let mut background = Background::start("panics", MINUTE, Calls(call, last)).unwrap();
        assert_eq!(background.stop(), Some(Err(StopError::Panicked)));
    }

    #[test]
    fn dropping_it_calls_the_task_a_last_time() {
        fn shared<T: Send + Sync + 'static>(_: &T) {}
        let (sender, last) = channel();
        let task = Calls(|| Duration::MAX, move || sender.send(()).unwrap());
        let background = Background::start("dropped", MINUTE, task).unwrap();
        shared(&background);
        drop(background);
        assert_eq!(last.recv_timeout(MINUTE), Ok(()));
    }
}
