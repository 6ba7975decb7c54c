//! Time, where it is a parameter: what expires asks here, and tests move it on. And what timers read.
//!
//! With the feature `tsc` timers read the processor's time-stamp counter, scaled by what `quanta` found out about it. That
//! takes some 20 to 200 ms, which no timer waits for: the first one starts a thread that does it, and until then they read the
//! system's monotonic clock, as they do for ever where the counter does not run evenly (`quanta` decides).

#[cfg(feature = "tsc")]
use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use std::time::{Duration, Instant};

/// Now; in tests of this crate, plus what `advance` added on this thread.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    return Instant::now() + AHEAD.get();
    #[cfg(not(test))]
    Instant::now()
}

/// Milliseconds since the epoch of Unix, where a tick of the kernel (1 to 10 ms) more or less does not matter; in tests of
/// this crate, plus what `advance` added on this thread.
pub(crate) fn millis() -> u64 {
    #[cfg(test)]
    return coarse_millis() + AHEAD.get().as_millis() as u64;
    #[cfg(not(test))]
    coarse_millis()
}

/// The time of the last tick: the precise clock was a third of what a new series costs.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
fn coarse_millis() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Duration::try_from(now).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
fn coarse_millis() -> u64 {
    crate::snapshot::millis(std::time::SystemTime::now())
}

/// When something began.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    System(Instant),
    #[cfg(feature = "tsc")]
    Counter(u64),
}

/// The counter, and how many seconds it counts in one step: a product costs less than the clock's own scaling.
#[cfg(feature = "tsc")]
static CLOCK: OnceLock<(quanta::Clock, f64)> = OnceLock::new();

impl Start {
    /// Now.
    #[inline]
    pub(crate) fn now() -> Self {
        #[cfg(feature = "tsc")]
        match CLOCK.get() {
            Some((clock, _)) => return Self::Counter(clock.raw()),
            None => calibrate_aside(),
        }
        Self::System(Instant::now())
    }

    /// The time since.
    #[inline]
    pub(crate) fn elapsed(self) -> Duration {
        match self {
            Self::System(start) => start.elapsed(),
            #[cfg(feature = "tsc")]
            Self::Counter(_) => Duration::from_secs_f64(self.seconds()),
        }
    }

    /// The time since, in seconds.
    #[inline]
    pub(crate) fn seconds(self) -> f64 {
        match self {
            Self::System(start) => start.elapsed().as_secs_f64(),
            #[cfg(feature = "tsc")]
            Self::Counter(start) => match CLOCK.get() {
                Some((clock, tick)) => clock.raw().saturating_sub(start) as f64 * tick,
                None => 0.0,
            },
        }
    }
}

/// Has timers read the time-stamp counter from now on, where it runs evenly. Takes some 20 to 200 ms, and nothing the
/// second time. Without this the first timer has a thread of its own do it.
///
/// ```
/// tallies::calibrate();
/// ```
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
fn calibrate_aside() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    // Most timers only look: a swap would pass one line between all threads.
    if !BEGUN.load(Relaxed) && !BEGUN.swap(true, Relaxed) {
        // Where there is no thread to be had, timers go on with the system's clock.
        let thread = std::thread::Builder::new().name("tallies-clock".to_owned());
        let _ = thread.spawn(calibrate);
    }
}

#[cfg(test)]
thread_local! {
    static AHEAD: std::cell::Cell<std::time::Duration> = const { std::cell::Cell::new(std::time::Duration::ZERO) };
}

/// Moves this thread's clock on.
#[cfg(test)]
pub(crate) fn advance(by: std::time::Duration) {
    AHEAD.set(AHEAD.get() + by);
}

#[cfg(all(test, feature = "tsc"))]
mod tests {
    use super::*;

    /// Each clock is read around the other, so whatever else the machine does, both spans hold.
    #[test]
    fn the_counter_runs_as_the_system_clock_does() {
        calibrate();
        let outer = Instant::now();
        let start = Start::now();
        assert!(matches!(start, Start::Counter(_)));
        let inner = Instant::now();
        while inner.elapsed() < Duration::from_millis(30) {}
        let least = inner.elapsed();
        let took = start.elapsed();
        let most = outer.elapsed();
        assert!(took >= least.mul_f64(0.99), "{took:?} of {least:?}");
        assert!(took <= most.mul_f64(1.01), "{took:?} of {most:?}");
    }
}
