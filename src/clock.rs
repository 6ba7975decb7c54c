//! Time, where it is a parameter: what expires asks here, and tests move it on.

use std::time::{Instant, SystemTime};

/// Now; in tests of this crate, plus what `advance` added on this thread.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    return Instant::now() + AHEAD.get();
    #[cfg(not(test))]
    Instant::now()
}

/// Milliseconds since the epoch of Unix; in tests of this crate, plus what `advance` added on this thread.
pub(crate) fn millis() -> u64 {
    #[cfg(test)]
    return crate::snapshot::millis(SystemTime::now() + AHEAD.get());
    #[cfg(not(test))]
    crate::snapshot::millis(SystemTime::now())
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
