//! Pushes in the background: a thread that sleeps most of the time, and tries again when a push fails.

use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::http::Method;

use crate::error::{Error, warn};

use super::FOR_EVER;
use super::send::Gateway;

/// The pause after the first failure in a row; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause, where the interval is not longer.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// What the thread gets over the timeout to say what went wrong.
const GRACE: Duration = Duration::from_millis(500);

/// Pushes that go on in the background, from [`Pusher::start`](super::Pusher::start).
///
/// Dropping this pushes once more, as [`stop`](Self::stop) does, and ends them; what goes wrong then is said on standard error.
/// So a program keeps it until it ends; `std::process::exit` runs no destructors.
#[must_use = "dropping it ends the pushes"]
pub struct Pushing {
    url: String,
    /// `None`: stopped.
    thread: Option<Thread>,
}

struct Thread {
    /// Never sent to: its end is the sign.
    stop: SyncSender<()>,
    /// Behind a lock, so that a static can keep it.
    last: Mutex<Receiver<Last>>,
    no_answer: Error,
    wait: Duration,
}

/// The last push.
struct Last {
    pushed: Result<(), Error>,
    /// Whether the outage it belongs to was said before.
    said: bool,
}

impl Pushing {
    pub(super) fn start(
        mut gateway: Gateway,
        method: Method,
        interval: Duration,
    ) -> Result<Self, Error> {
        let (stop, stopped) = sync_channel(0);
        let (end, last) = sync_channel(1);
        let url = gateway.url.clone();
        let thread = Thread {
            stop,
            last: Mutex::new(last),
            no_answer: gateway.no_answer(&method),
            wait: gateway.timeout.saturating_add(GRACE),
        };
        std::thread::Builder::new()
            .name("tallies-push".to_owned())
            .spawn(move || {
                // Nobody may wait for it any more.
                let _ = end.send(run(&mut gateway, &method, interval, &stopped));
            })
            .map_err(|e| Error::push_failed("cannot start the pushes to", &url, e))?;
        Ok(Self {
            url,
            thread: Some(thread),
        })
    }

    /// Where it pushes to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Pushes once more and ends. Waits for the gateway, at most for the timeout.
    ///
    /// # Errors
    ///
    /// As [`Pusher::replace`](super::Pusher::replace), of the last push; no answer in time. It is ended either way.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end().pushed
    }

    fn end(&mut self) -> Last {
        let Some(thread) = self.thread.take() else {
            return Last {
                pushed: Ok(()),
                said: true,
            };
        };
        drop(thread.stop);
        // Without an answer the thread is in the middle of a push that hangs; it ends by itself.
        let last = thread
            .last
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        last.recv_timeout(thread.wait).unwrap_or(Last {
            pushed: Err(thread.no_answer),
            said: false,
        })
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        if let Last {
            pushed: Err(error),
            said: false,
        } = self.end()
        {
            warn(&error);
        }
    }
}

impl Debug for Pushing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pushing").field("url", &self.url).finish()
    }
}

/// Pushes at once, then after every pause, until stopped; then a last time.
fn run(gateway: &mut Gateway, method: &Method, interval: Duration, stopped: &Receiver<()>) -> Last {
    let mut failures = 0_u32;
    let mut wait = Duration::ZERO;
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
        match gateway.push(method) {
            Ok(()) => {
                if failures > 0 {
                    warn(&format_args!(
                        "pushes to {} succeed again, after {failures} that failed",
                        gateway.url
                    ));
                }
                failures = 0;
            }
            Err(error) => {
                if failures == 0 {
                    warn(&format_args!(
                        "{error}; it is tried again, and said again only after a success"
                    ));
                }
                failures = failures.saturating_add(1);
            }
        }
        wait = pause(interval, failures, random());
    }
    Last {
        pushed: gateway.push(method),
        said: failures > 0,
    }
}

/// How long to wait when the last `failures` pushes failed. `random`, from 0 to 1, makes it up to a tenth shorter or longer,
/// so that programs that started together do not push together for ever.
fn pause(interval: Duration, failures: u32, random: f64) -> Duration {
    let interval = interval.min(FOR_EVER);
    let wait = match failures {
        0 => interval,
        _ => FIRST_RETRY
            .min(interval)
            .saturating_mul(1 << (failures - 1).min(20))
            .min(interval.max(LONGEST_RETRY)),
    };
    wait.mul_f64(0.9 + 0.2 * random)
}

/// From 0 to 1; good enough for a pause.
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
            prop_assert!(wait <= FOR_EVER.mul_f64(1.2));
            // A failure that follows another does not make it more eager.
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
