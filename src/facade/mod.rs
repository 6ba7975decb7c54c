//! For programs that use the [`metrics`] crate: a recorder in place of metrics-exporter-prometheus.
//!
//! ```
//! tallies::facade::install()?;
//!
//! metrics::describe_counter!("http_requests", "Requests answered.");
//! metrics::counter!("http_requests", "method" => "GET", "status" => "200").increment(1);
//!
//! let page = tallies::encode::text(&tallies::snapshot());
//! assert!(page.contains("http_requests{method=\"GET\",status=\"200\"} 1\n"));
//! # Ok::<(), tallies::Error>(())
//! ```
//!
//! Then `tallies::serve`, `MetricsService` or `Pusher` expose them, beside metrics declared here.
//!
//! # Cost
//!
//! The macros ask the recorder on every update. A thread has a table of its own for what it has asked for before: no lock,
//! no allocation, no memory shared with other threads; some 16 ns with two constant labels, of which the handle's count of
//! owners takes half. (metrics-exporter-prometheus: 71 ns alone, 166 at two threads, in one run of `benches/peers`, row
//! `facade`.) A handle that is kept (`let requests = counter!(..)`) costs some 4 ns.
//!
//! # As metrics-exporter-prometheus has it
//!
//! Names to the byte: what may not stand in a metric's or a label's name becomes `_`. A `histogram!` is a summary of the last
//! minute unless [`Builder::buckets`] or [`Builder::buckets_for`] give it bounds, or [`Builder::native_for`] exponential
//! buckets. Units change names only with [`Builder::recommended_naming`]. Descriptions count whenever they come, and the
//! first one stays.
//!
//! # What is different
//!
//! - A name is of one kind. Who uses it as another one gets a handle that does nothing; that is said once on standard
//!   error, and counted in `tallies_refused_families_total`. The same goes for names whose samples another family has, as
//!   a histogram `x` and a counter `x_count`.
//! - Names that become the same one, as `a.b` and `a_b`, are one family: their updates add up.
//! - The labels `le` of histograms, `quantile` of summaries and those that begin with `__` get `exported_` before them; of a
//!   label given twice the last value counts, and an empty value is no label.
//! - A counter's `absolute` counts what the largest total it was told of grows by; `increment` on the same series adds to
//!   that.
//! - Quantiles keep a promised error of ranks, not of values. Quantiles of no observations are NaN, not 0. NaN is not
//!   observed. The labels of bounds and quantiles are written `1.0` where the exporter writes `1`: Prometheus 3 reads both as
//!   the former.
//! - A name has 10 000 series at most: [`Builder::limit`].
//! - [`Builder::expire_after`] asks whether a value changed, where the exporter's `idle_timeout` asks whether anything was
//!   written: a gauge that is set to what it was goes as well. A counter that comes back counts from zero, also one that is
//!   told its total by `absolute`, which the exporter shows again.
//! - A `histogram!` that is a summary takes [`record_many`](metrics::Histogram::record_many) as so many observations, each
//!   at the cost of one.

mod builder;
mod cache;
mod families;
mod handles;
mod names;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

use crate::error::Error;

pub use builder::Builder;
pub use names::Matcher;

use families::Families;

/// Makes a recorder that writes to the default registry the one of this program: [`Builder::install`] without settings.
///
/// # Errors
///
/// A program that has a recorder: that one stays.
///
/// ```
/// tallies::facade::install()?;
/// let error = tallies::facade::install().unwrap_err();
/// assert!(error.to_string().contains("installed already"));
/// # Ok::<(), tallies::Error>(())
/// ```
pub fn install() -> Result<(), Error> {
    Builder::default().install()
}

/// What the macros of [`metrics`] write to: see the [module](self).
///
/// ```
/// let registry = tallies::Registry::new();
/// let recorder = tallies::facade::Recorder::builder().registry(&registry).build()?;
/// metrics::with_local_recorder(&recorder, || metrics::gauge!("queue.length").set(3));
/// assert_eq!(registry.snapshot().get("queue_length", &[]), Some(3.0));
/// # Ok::<(), tallies::Error>(())
/// ```
pub struct Recorder {
    families: Arc<Families>,
    /// Tells its handles from those of other recorders, and keeps made-up keys from falling together.
    seed: u64,
}

impl Recorder {
    /// Settings to begin with: those of metrics-exporter-prometheus, and the default registry.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn of(settings: Builder) -> Self {
        Self {
            families: Arc::new(Families::new(settings)),
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
        cache::forget();
    }
}
