//! A recorder for the [`metrics`] crate, in place of metrics-exporter-prometheus.
//!
//! ```
//! tallies_metrics::install()?;
//!
//! metrics::describe_counter!("http_requests", "Requests answered.");
//! metrics::counter!("http_requests", "method" => "GET", "status" => "200").increment(1);
//!
//! let page = tallies::encode::text(&tallies::snapshot());
//! assert!(page.contains("http_requests{method=\"GET\",status=\"200\"} 1\n"));
//! # Ok::<(), tallies::Error>(())
//! ```
//!
//! [`tallies::serve`](https://docs.rs/tallies), `MetricsService` or `Pusher` then expose these
//! metrics, together with those that are declared with this crate.
//!
//! # Cost
//!
//! The macros ask the recorder for a handle on every update. Each thread has a cache of the handles
//! it has used, so an update takes no lock, allocates nothing, and touches no memory that threads
//! share. With two constant labels it takes about 16 ns, half of which is the handle's reference
//! count. metrics-exporter-prometheus takes 71 ns on one thread and 166 ns on two threads,
//! in the same run (`benches/peers`, row `facade`). An update through a handle that the
//! program keeps (`let requests = counter!(..)`) takes about 4 ns.
//!
//! # Same as metrics-exporter-prometheus
//!
//! - Names are the same, byte for byte: every character that a metric name or label name cannot
//!   contain becomes `_`.
//! - A `histogram!` is a summary over the last minute, unless [`Builder::buckets`] or
//!   [`Builder::buckets_for`] gives it bucket bounds, or [`Builder::native_for`] exponential
//!   buckets.
//! - Units change names only with [`Builder::recommended_naming`].
//! - A description applies whether it comes before or after the first update. The first description
//!   of a name stays.
//!
//! # Differences
//!
//! - A name has one kind. A macro that uses it as another kind gets a handle that does nothing;
//!   this is logged once and counted in `tallies_rejected_families_total`. The same applies to a
//!   name whose sample names belong to another family, such as a histogram `x` and a counter
//!   `x_count`.
//! - A label value is cut off after 1 KiB, since long ones often are texts of clients. Values that
//!   differ only after that count in one series.
//! - Names that become equal, such as `a.b` and `a_b`, are one family: their updates add up.
//! - The prefix `exported_` is added to the label `le` of histograms, to the label `quantile` of
//!   summaries, and to labels that begin with `__`. If a label is given twice, the last value
//!   counts. A label with an empty value is the same as no label.
//! - `absolute` on a counter counts the growth of the largest total it has received. `increment` on
//!   the same series adds to that.
//! - The error of a quantile is bounded in rank, not in value. A quantile without observations is
//!   NaN, not 0. Observations of NaN are rejected. The labels of bounds and quantiles are written
//!   `1.0` where the exporter writes `1`; Prometheus 3 normalizes both to `1.0`.
//! - A name has at most 10 000 series by default: see [`Builder::limit`].
//! - [`Builder::expire_after`] checks whether a value changed, while `idle_timeout` of the exporter
//!   checks whether it was written. So a gauge that is repeatedly set to the same value expires,
//!   too. A counter that comes back counts from zero, even one that receives its total through
//!   `absolute`; the exporter shows the whole total again.
//! - If a `histogram!` is a summary, [`record_many`](metrics::Histogram::record_many) makes that
//!   many observations, each at full cost.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod builder;
mod cache;
mod families;
mod handles;
mod names;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use tallies::Error;

pub use builder::Builder;
pub use names::Matcher;

use families::FamilyTable;

/// Installs a recorder that writes to the default registry. Same as [`Builder::install`] without
/// settings.
///
/// # Errors
///
/// Returns an error if the program already has a recorder. That recorder stays installed.
///
/// ```
/// tallies_metrics::install()?;
/// let error = tallies_metrics::install().unwrap_err();
/// assert!(error.to_string().contains("installed already"));
/// # Ok::<(), tallies::Error>(())
/// ```
#[track_caller]
pub fn install() -> Result<(), Error> {
    Builder::default().install()
}

/// The recorder that the macros of [`metrics`] write to. See the [module](self) documentation.
///
/// ```
/// let registry = tallies::Registry::new();
/// let recorder = tallies_metrics::Recorder::builder().registry(&registry).build()?;
/// metrics::with_local_recorder(&recorder, || metrics::gauge!("queue.length").set(3));
/// assert_eq!(registry.snapshot().get("queue_length", &[]), Some(3.0));
/// # Ok::<(), tallies::Error>(())
/// ```
pub struct Recorder {
    families: Arc<FamilyTable>,
    /// Distinguishes this recorder's handles in the threads' caches. It is random, so that made-up
    /// keys cannot be chosen to collide there.
    seed: u64,
}

impl Recorder {
    /// Returns a builder with the settings of metrics-exporter-prometheus and the default registry.
    #[track_caller]
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn of(settings: Builder) -> Self {
        Self {
            families: Arc::new(FamilyTable::new(settings)),
            seed: RandomState::new().hash_one(0),
        }
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.families.describe(name.as_str(), unit, &help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.families.describe(name.as_str(), unit, &help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.families.describe(name.as_str(), unit, &help);
    }

    #[inline]
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        cache::find_or(self.seed, key, || self.families.counter(key))
    }

    #[inline]
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        cache::find_or(self.seed, key, || self.families.gauge(key))
    }

    #[inline]
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        cache::find_or(self.seed, key, || self.families.histogram(key))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        cache::invalidate();
    }
}
