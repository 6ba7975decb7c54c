//! Background pushes: a thread that sleeps between pushes, and retries with growing pauses after a
//! failure.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::http::Method;

use crate::error::{Error, warn};

use super::MAX_DURATION;
use super::gateway::{Gateway, timeout_error};

/// The pause after the first failure in a row. Each further failure doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause after a failure, unless the interval is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// The time beyond the timeout that `stop` gives the thread to report its result.
const GRACE: Duration = Duration::from_millis(500);

/// Pushes that run in the background, started with [`Pusher::start`](super::Pusher::start).
///
/// ```
/// use std::time::Duration;
/// use tallies::push::Pusher;
///
/// # fn main() -> Result<(), tallies::Error> {
/// let pushing = Pusher::new("http://127.0.0.1:9", "worker").start(Duration::from_secs(15))?;
/// assert_eq!(pushing.url(), "http://127.0.0.1:9/metrics/job/worker");
/// // ... the program ...
/// let last = pushing.stop();
/// assert!(last.is_err(), "no gateway listens at this address");
/// # Ok(())
/// # }
/// ```
///
/// Dropping this value pushes once more and ends the pushes, as [`stop`](Self::stop) does. An error
/// of that last push is logged. A program should therefore keep the value until
/// it ends. `std::process::exit` runs no destructors, so it skips the last push.
#[must_use = "pushes end when it is dropped"]
#[derive(Debug)]
pub struct Pushing {
    url: String,
    method: Method,
    timeout: Duration,
    /// Carries no messages. Dropping it tells the thread to stop. `None` after a stop.
    stop: Option<SyncSender<()>>,
    /// Receives the result of the last push. The lock makes `Pushing` usable in a static.
    last: Mutex<Receiver<LastPush>>,
}

/// The result of the last push, and whether an earlier push of the same outage was already logged.
type LastPush = (Result<(), Error>, bool);

impl Pushing {
    pub(super) fn start(
        mut gateway: Gateway,
        method: Method,
        interval: Duration,
    ) -> Result<Self, Error> {
        let (stop, stopped) = sync_channel(0);
        let (sender, last) = sync_channel(1);
        let (url, timeout, own_method) = (gateway.url.clone(), gateway.timeout, method.clone());
        std::thread::Builder::new()
            .name("tallies-push".to_owned())
            .spawn(move || {
                // An error means that the receiver has stopped waiting.
                let _ = sender.send(run(&mut gateway, &own_method, interval, &stopped));
            })
            .map_err(|e| Error::with_cause(format!("cannot start the pushes to {url}"), e))?;
        Ok(Self {
            url,
            method,
            timeout,
            stop: Some(stop),
            last: Mutex::new(last),
        })
    }

    /// Returns the URL that it pushes to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Pushes once more and ends the pushes. It waits for the gateway, at most for the timeout.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Pusher::replace`](super::Pusher::replace) for the last push, or an
    /// error if the gateway does not answer in time. The pushes end in every case.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end().map_or(Ok(()), |(result, _)| result)
    }

    /// Returns the result of the last push, unless the pushes have ended before.
    fn end(&mut self) -> Option<LastPush> {
        drop(self.stop.take()?);
        // If no result arrives, a push of the thread hangs. The thread ends by itself after that
        // push.
        let last = self.last.get_mut().unwrap_or_else(PoisonError::into_inner);
        let last = last.recv_timeout(self.timeout.saturating_add(GRACE));
        let timed_out = || timeout_error(&self.url, &self.method, self.timeout);
        Some(last.unwrap_or_else(|_| (Err(timed_out()), false)))
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        if let Some((Err(error), false)) = self.end() {
            warn(&error);
        }
    }
}

/// Pushes at once and then after every pause, until the stop. Then pushes a last time.
fn run(
    gateway: &mut Gateway,
    method: &Method,
    interval: Duration,
    stopped: &Receiver<()>,
) -> LastPush {
    let mut failures = 0_u32;
    let mut wait = Duration::ZERO;
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
        match gateway.push(method) {
            Ok(()) => {
                if failures > 0 {
                    warn(&format_args!(
                        "pushes to {} succeed again; {failures} failed",
                        gateway.url
                    ));
                }
                failures = 0;
            }
            Err(error) => {
                if failures == 0 {
                    warn(&format_args!(
                        "{error}; pushes are retried, and further failures are not logged until \
                         one succeeds"
                    ));
                }
                failures = failures.saturating_add(1);
            }
        }
        wait = pause(interval, failures, random());
    }
    (gateway.push(method), failures > 0)
}

/// Returns the pause after `failures` failed pushes in a row.
///
/// `random`, from 0 to 1, makes the pause up to a tenth shorter or longer, so that programs that
/// started together do not keep pushing at the same moment.
fn pause(interval: Duration, failures: u32, random: f64) -> Duration {
    let interval = interval.min(MAX_DURATION);
    let wait = match failures {
        0 => interval,
        _ => FIRST_RETRY
            .min(interval)
            .saturating_mul(1 << (failures - 1).min(20))
            .min(interval.max(LONGEST_RETRY)),
    };
    wait.mul_f64(0.9 + 0.2 * random)
}

/// Returns a random number from 0 to 1, good enough to vary a pause.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    bits as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pauses(interval: u64) -> Vec<u64> {
        (0..9)
            .map(|failures| pause(Duration::from_secs(interval), failures, 0.5).as_secs())
            .collect()
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(pauses(15), [15, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses(200), [200, 1, 2, 4, 8, 16, 32, 64, 128]);
        let short = |failures| pause(Duration::from_millis(10), failures, 0.5).as_millis();
        assert_eq!([0, 1, 2, 3].map(short), [10, 10, 20, 40]);
    }

    proptest! {
        #[test]
        fn a_pause_is_near_what_it_should_be(nanos: u64, failures: u32, random in 0.0..=1.0) {
            let interval = Duration::from_nanos(nanos);
            let middle = pause(interval, failures, 0.5);
            let wait = pause(interval, failures, random);
            prop_assert!(wait >= middle.mul_f64(0.89) && wait <= middle.mul_f64(1.11));
            prop_assert!(wait <= MAX_DURATION.mul_f64(1.2));
            // Another failure must not shorten the pause.
            prop_assert!(failures == 0 || pause(interval, failures.saturating_add(1), 0.5) >= middle);
        }
    }

    #[test]
    fn randomness_differs() {
        let all: Vec<_> = (0..8).map(|_| random()).collect();
        assert!(all.iter().all(|x| (0.0..=1.0).contains(x)), "{all:?}");
        assert!(all.windows(2).any(|pair| pair[0] != pair[1]), "{all:?}");
    }
}
