//! Push results, summed over all pushers of the program: written by `push`, read by the
//! self-metrics.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

/// The number of pushes tried. Written by pushing threads, read by scrapes, like the two statics
/// below. All three are `Relaxed`: each is independent, and no other memory is published through
/// them.
static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
/// The number of pushes that failed.
static FAILURES: AtomicU64 = AtomicU64::new(0);
/// The time of the last successful push, in milliseconds since 1970; 0 before the first.
static LAST_SUCCESS: AtomicU64 = AtomicU64::new(0);

/// Counts a push that ended.
pub(crate) fn record(succeeded: bool) {
    if succeeded {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        // Fits until about the year 584 million.
        LAST_SUCCESS.store(now.as_millis() as u64, Relaxed);
    } else {
        FAILURES.fetch_add(1, Relaxed);
    }
    ATTEMPTS.fetch_add(1, Relaxed);
}

/// Returns the number of pushes tried, the number of them that failed, and the time of the last
/// success since 1970 (zero if there was none).
pub(crate) fn totals() -> (u64, u64, Duration) {
    let last = Duration::from_millis(LAST_SUCCESS.load(Relaxed));
    (ATTEMPTS.load(Relaxed), FAILURES.load(Relaxed), last)
}
