//! Statistics of latencies: intervals of quantiles that hold at any look, and the correlation of
//! samples.
//!
//! ```
//! use tallies_bench::recorder::Recorder;
//! use tallies_bench::stats::{Batches, quantile};
//!
//! let recorder = Recorder::new("query_seconds")?;
//! let mut intervals = recorder.intervals();
//! let mut batches = Batches::default();
//! for i in 0..20 {
//!     (0..1000).for_each(|j| recorder.record_seconds(0.001 + f64::from(7919 * (i + j) % 1000) * 1e-6));
//!     batches.push(intervals.next_interval().distribution())?;
//! }
//! let effective = batches.effective_count(0.5);
//! let median = quantile(batches.total(), effective, 0.5, 0.05)?;
//! println!("{median}"); // p50 1.50 ms [1.48, 1.52]
//! assert!(median.lower < 0.0015 && 0.0015 <= median.upper);
//! # Ok::<(), tallies_bench::Error>(())
//! ```

mod correlation;
mod quantile;

pub use correlation::{Batches, lag1};
pub use quantile::{QuantileInterval, quantile, rank_radius};
pub(crate) use quantile::{TimeUnit, needed_count, percentile};
