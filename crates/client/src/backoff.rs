//! Pauses: regular after a success, doubling with failures in a row.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::MAX_DURATION;

/// The pause after the first failure in a row. Each further failure doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause after a failure, unless the interval is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// The longest pause that a receiver may ask for, unless the interval is longer. One wrong date
/// would otherwise silence a program for as long as it runs.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Pauses between requests: an interval after a success, and pauses that double with each failure
/// in a row.
///
/// ```
/// use std::time::Duration;
/// use tallies_client::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_secs(15));
/// assert!(backoff.pause(None) > Duration::from_secs(13));
/// assert_eq!(backoff.failed(), 1, "the first failure of an outage: the caller logs it");
/// assert!(backoff.pause(None) < Duration::from_secs(2));
/// assert_eq!(backoff.succeeded(), 1, "the end of an outage, after one failure");
/// ```
///
/// The first failure is followed by a pause of 1 s, or of the interval if that is shorter. The
/// longest pause is a minute, or the interval if that is longer.
#[derive(Clone, Debug)]
pub struct Backoff {
    interval: Duration,
    /// The number of failures in a row.
    failures: u32,
}

impl Backoff {
    /// Returns the pauses for requests that are sent every `interval`. More than a year is a year.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let backoff = tallies_client::Backoff::new(Duration::from_secs(15));
    /// assert_eq!(backoff.failures(), 0);
    /// ```
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval: interval.min(MAX_DURATION),
            failures: 0,
        }
    }

    /// Returns the number of failures since the last success.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let mut backoff = tallies_client::Backoff::new(Duration::from_secs(15));
    /// backoff.failed();
    /// assert_eq!(backoff.failures(), 1);
    /// ```
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes a failure and returns the number of failures in a row.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let mut backoff = tallies_client::Backoff::new(Duration::from_secs(15));
    /// assert_eq!((backoff.failed(), backoff.failed()), (1, 2));
    /// ```
    pub fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Notes a success and returns the number of failures in a row before it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let mut backoff = tallies_client::Backoff::new(Duration::from_secs(15));
    /// backoff.failed();
    /// assert_eq!((backoff.succeeded(), backoff.succeeded()), (1, 0));
    /// ```
    pub fn succeeded(&mut self) -> u32 {
        std::mem::take(&mut self.failures)
    }

    /// Returns the pause until the next request. It is up to a tenth shorter or longer, at random,
    /// so that programs that started together do not keep sending at the same moment.
    ///
    /// `retry_after` is the time that a receiver asks for
    /// ([`Response::retry_after`](crate::Response::retry_after)). The pause is not shorter, but for
    /// a receiver that asks for more than five minutes and more than the interval: it gets the
    /// longer of these.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let backoff = tallies_client::Backoff::new(Duration::from_millis(10));
    /// assert!(backoff.pause(None) < Duration::from_millis(12));
    /// assert!(backoff.pause(Some(Duration::from_secs(3))) >= Duration::from_secs(3));
    /// ```
    #[must_use]
    pub fn pause(&self, retry_after: Option<Duration>) -> Duration {
        pause(self.interval, self.failures, retry_after, random())
    }
}

/// Returns the pause after `failures` failures in a row, with a `random` number from 0 to 1.
fn pause(
    interval: Duration,
    failures: u32,
    retry_after: Option<Duration>,
    random: f64,
) -> Duration {
    let wait = match failures {
        0 => interval,
        _ => FIRST_RETRY
            .min(interval)
            .saturating_mul(1 << (failures - 1).min(20))
            .min(interval.max(LONGEST_RETRY)),
    };
    let least = retry_after
        .unwrap_or_default()
        .min(interval.max(LONGEST_ASKED));
    let later = least + least.mul_f64(0.1 * random);
    wait.mul_f64(0.9 + 0.2 * random).max(later)
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
            .map(|failures| pause(Duration::from_secs(interval), failures, None, 0.5).as_secs())
            .collect()
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(pauses(15), [15, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses(200), [200, 1, 2, 4, 8, 16, 32, 64, 128]);
        let short = |failures| pause(Duration::from_millis(10), failures, None, 0.5).as_millis();
        assert_eq!([0, 1, 2, 3].map(short), [10, 10, 20, 40]);
    }

    proptest! {
        #[test]
        fn a_pause_is_near_what_it_should_be(
            nanos: u64,
            failures: u32,
            asked: Option<Duration>,
            random in 0.0..=1.0,
        ) {
            let interval = Backoff::new(Duration::from_nanos(nanos)).interval;
            let middle = pause(interval, failures, None, 0.5);
            let wait = pause(interval, failures, None, random);
            prop_assert!(wait >= middle.mul_f64(0.89) && wait <= middle.mul_f64(1.11));
            prop_assert!(wait <= MAX_DURATION.mul_f64(1.2));
            // Another failure must not shorten the pause, nor must a wish of the receiver.
            let more = failures.saturating_add(1);
            prop_assert!(failures == 0 || pause(interval, more, None, 0.5) >= middle);
            let longer = pause(interval, failures, asked, random);
            let least = asked.unwrap_or_default().min(interval.max(LONGEST_ASKED));
            prop_assert!(longer >= wait && longer >= least);
            prop_assert!(longer <= wait.max(least.mul_f64(1.11)));
        }
    }

    #[test]
    fn a_receiver_may_ask_for_minutes_and_not_for_a_day() {
        let asked = |interval, seconds| {
            let asked = Some(Duration::from_secs(seconds));
            pause(Duration::from_secs(interval), 1, asked, 0.0).as_secs()
        };
        assert_eq!([0, 30, 300].map(|seconds| asked(15, seconds)), [0, 30, 300]);
        assert_eq!([301, 86_400].map(|seconds| asked(15, seconds)), [300, 300]);
        assert_eq!(
            [301, 86_400].map(|seconds| asked(3600, seconds)),
            [301, 3600]
        );
    }

    #[test]
    fn randomness_differs() {
        let all: Vec<_> = (0..8).map(|_| random()).collect();
        assert!(all.iter().all(|x| (0.0..=1.0).contains(x)), "{all:?}");
        assert!(all.windows(2).any(|pair| pair[0] != pair[1]), "{all:?}");
    }
}
