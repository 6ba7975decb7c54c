//! Background pushes: a task that pushes, backs off after a failure, and logs outages.

use std::time::Duration;

use tallies_client::{Background, Backoff, Client, StopError, Task};

use crate::error::{Error, warn};

use super::client_error;
use super::gateway::Gateway;

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
    client: Client,
    method: &'static str,
    background: Background<LastPush>,
}

/// The result of the last push, and whether an earlier push of the same outage was already logged.
type LastPush = (Result<(), Error>, bool);

impl Pushing {
    pub(super) fn start(
        gateway: Gateway,
        method: &'static str,
        interval: Duration,
    ) -> Result<Self, Error> {
        let client = gateway.client.clone();
        let pushes = Pushes {
            gateway,
            method,
            backoff: Backoff::new(interval),
        };
        let background = Background::start("tallies-push", client.timeout(), pushes);
        let background = background.map_err(|e| {
            Error::with_cause(format!("cannot start the pushes to {}", client.url()), e)
        })?;
        Ok(Self {
            client,
            method,
            background,
        })
    }

    /// Returns the URL that it pushes to.
    #[must_use]
    pub fn url(&self) -> &str {
        self.client.url()
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
        let last = self.background.stop()?;
        let error = |stopped| match stopped {
            StopError::TimedOut => client_error(self.client.timed_out(self.method)),
            StopError::Panicked => Error::other(format_args!(
                "the pushes to {} have ended, because one of them panicked",
                self.client.url()
            )),
            StopError::Forked => Error::other(format_args!(
                "cannot stop the pushes to {}: {stopped}",
                self.client.url()
            )),
        };
        // A child of a fork that drops it has lost nothing, so nothing is logged.
        let is_forked = matches!(last, Err(StopError::Forked));
        Some(last.unwrap_or_else(|stopped| (Err(error(stopped)), is_forked)))
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        if let Some((Err(error), false)) = self.end() {
            warn(&error);
        }
    }
}

/// The task of the thread.
struct Pushes {
    gateway: Gateway,
    method: &'static str,
    backoff: Backoff,
}

impl Task for Pushes {
    type Last = LastPush;

    fn call(&mut self) -> Duration {
        match self.gateway.push(self.method) {
            Ok(()) => {
                let failures = self.backoff.succeeded();
                if failures > 0 {
                    let url = self.gateway.client.url();
                    warn(&format_args!(
                        "pushes to {url} succeed again; {failures} failed"
                    ));
                }
            }
            Err(error) => {
                if self.backoff.failed() == 1 {
                    warn(&format_args!(
                        "{error}; pushes are retried, and further failures are not logged until \
                         one succeeds"
                    ));
                }
            }
        }
        self.backoff.pause(None)
    }

    fn last(mut self) -> LastPush {
        (self.gateway.push(self.method), self.backoff.failures() > 0)
    }
}
