//! How pushes went, over all pushers of the program: written by `push`, read by the self-metrics.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

/// Each is a total or a time of its own: nothing is carried from one to the other.
static TRIED: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);
/// In milliseconds since 1970; 0 before the first.
static LAST_SUCCESS: AtomicU64 = AtomicU64::new(0);

/// One push has ended.
pub(crate) fn count(well: bool) {
    if well {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        // Until the year 292 million or so.
        LAST_SUCCESS.store(now.as_millis() as u64, Relaxed);
    } else {
        FAILED.fetch_add(1, Relaxed);
    }
    TRIED.fetch_add(1, Relaxed);
}

/// Those tried, those of them that failed, and when the last one went well, since 1970 (zero: never).
pub(crate) fn counted() -> (u64, u64, Duration) {
    let last = Duration::from_millis(LAST_SUCCESS.load(Relaxed));
    (TRIED.load(Relaxed), FAILED.load(Relaxed), last)
}
