//! The clocks of the crate: one for expiry, which tests can advance, and one that timers read.
//!
//! With the feature `tsc`, timers read the processor's time-stamp counter, scaled by the factor
//! that `quanta` measures. The measurement takes 20 to 200 ms, and no timer waits for it: the first
//! timer starts a thread that measures, and until it finishes timers read the system's monotonic
//! clock. They read that clock permanently where the counter does not run evenly (`quanta`
//! decides).

#[cfg(feature = "tsc")]
use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use std::time::{Duration, Instant};

/// Returns the current time. In tests of this crate, adds what `advance` added on this thread.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    return Instant::now() + OFFSET.get();
    #[cfg(not(test))]
    Instant::now()
}

/// Returns milliseconds since the Unix epoch, for uses where an error of one kernel tick (1 to 10
/// ms) does not matter. In tests of this crate, adds what `advance` added on this thread.
pub(crate) fn millis() -> u64 {
    #[cfg(test)]
    return coarse_millis() + OFFSET.get().as_millis() as u64;
    #[cfg(not(test))]
    coarse_millis()
}

/// Returns nanoseconds since the Unix epoch, for times that have to order what happens within one
/// tick. In tests of this crate, adds what `advance` added on this thread.
pub(crate) fn nanos() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let now = since.map_or(0, |since| since.as_nanos() as u64);
    #[cfg(test)]
    return now + OFFSET.get().as_nanos() as u64;
    #[cfg(not(test))]
    now
}

/// Returns the time of the kernel's last tick. Reading the precise clock took a third of the time
/// that it takes to create a series.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
fn coarse_millis() -> u64 {
    crate::sync::last_tick().as_millis() as u64
}

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
fn coarse_millis() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| since.as_millis() as u64)
}

/// The start of a measured duration, on the clock that timers read.
///
/// ```
/// let start = tallies::instrument::Start::now();
/// assert!(start.elapsed() <= start.elapsed());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Start(Reading);

#[derive(Clone, Copy, Debug)]
enum Reading {
    /// The system's monotonic clock.
    System(Instant),
    /// Steps of the time-stamp counter.
    #[cfg(feature = "tsc")]
    Counter(u64),
}

/// The time-stamp counter, and the seconds per step. One multiplication costs less than the scaling
/// of `quanta`. Set once by [`calibrate`], read by every timer.
#[cfg(feature = "tsc")]
static CLOCK: OnceLock<(quanta::Clock, f64)> = OnceLock::new();

impl Start {
    /// Starts measuring now. Takes about 25 ns, or 15 ns with the feature `tsc`.
    ///
    /// ```
    /// let start = tallies::instrument::Start::now();
    /// # let _ = start;
    /// ```
    #[inline]
    #[must_use]
    pub fn now() -> Self {
        #[cfg(feature = "tsc")]
        match CLOCK.get() {
            Some((clock, _)) => return Self(Reading::Counter(clock.raw())),
            None => calibrate_in_background(),
        }
        Self(Reading::System(Instant::now()))
    }

    /// Returns the time since the start.
    ///
    /// ```
    /// let start = tallies::instrument::Start::now();
    /// assert!(start.elapsed() < std::time::Duration::from_secs(60));
    /// ```
    #[inline]
    #[must_use]
    pub fn elapsed(self) -> Duration {
        match self.0 {
            Reading::System(start) => start.elapsed(),
            #[cfg(feature = "tsc")]
            Reading::Counter(_) => Duration::from_secs_f64(self.seconds()),
        }
    }

    /// Returns the time since the start, in seconds, as histograms observe it.
    ///
    /// ```
    /// let start = tallies::instrument::Start::now();
    /// assert!(start.seconds() < 60.0);
    /// ```
    #[inline]
    #[must_use]
    pub fn seconds(self) -> f64 {
        match self.0 {
            Reading::System(start) => start.elapsed().as_secs_f64(),
            #[cfg(feature = "tsc")]
            Reading::Counter(start) => match CLOCK.get() {
                Some((clock, tick)) => clock.raw().saturating_sub(start) as f64 * tick,
                None => 0.0,
            },
        }
    }
}

/// Makes timers read the time-stamp counter from now on, where it runs evenly.
///
/// ```
/// tallies::instrument::calibrate();
/// ```
///
/// Takes 20 to 200 ms the first time, and returns at once after that. A program that never calls
/// this function gets the same effect later: its first timer starts a thread that calibrates.
#[cfg(feature = "tsc")]
pub fn calibrate() {
    CLOCK.get_or_init(|| {
        const STEPS: u64 = 1 << 40;
        let clock = quanta::Clock::new();
        let tick = clock.delta_as_nanos(0, STEPS) as f64 / STEPS as f64 / 1e9;
        (clock, tick)
    });
}

#[cfg(feature = "tsc")]
#[cold]
#[inline(never)]
fn calibrate_in_background() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    // Load before the swap: a swap by every timer would move the cache line between all threads.
    if !STARTED.load(Relaxed) && !STARTED.swap(true, Relaxed) {
        // If no thread can be started, timers keep using the system's clock.
        let thread = std::thread::Builder::new().name("tallies-clock".to_owned());
        let _ = thread.spawn(calibrate);
    }
}

#[cfg(test)]
thread_local! {
    static OFFSET: std::cell::Cell<std::time::Duration> = const { std::cell::Cell::new(std::time::Duration::ZERO) };
}

/// Advances this thread's clock.
#[cfg(test)]
pub(crate) fn advance(by: std::time::Duration) {
    OFFSET.set(OFFSET.get() + by);
}

#[cfg(all(test, feature = "tsc"))]
mod tests {
    use super::*;

    /// Reads each clock around the other, so both bounds hold however busy the machine is.
    #[test]
    fn the_counter_runs_as_the_system_clock_does() {
        calibrate();
        let outer = Instant::now();
        let start = Start::now();
        assert!(matches!(start.0, Reading::Counter(_)));
        let inner = Instant::now();
        while inner.elapsed() < Duration::from_millis(30) {}
        let least = inner.elapsed();
        let took = start.elapsed();
        let most = outer.elapsed();
        assert!(took >= least.mul_f64(0.99), "{took:?} of {least:?}");
        assert!(took <= most.mul_f64(1.01), "{took:?} of {most:?}");
    }
}
