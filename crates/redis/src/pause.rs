//! Pauses between tries.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The pause after the first failure in a row. Each further failure doubles it.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);

/// Returns the pause after `failures` failures in a row.
pub(super) fn after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    vary(FIRST.saturating_mul(1 << doublings).min(LONGEST))
}

/// Makes a pause up to a quarter shorter, at random, so that processes do not keep step.
pub(super) fn vary(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    pause.mul_f64(1.0 - 0.25 * random)
}
