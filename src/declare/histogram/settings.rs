//! The buckets of a histogram: the setters of statics and of builders.

use crate::declare::Builder;
use crate::family::label::LabelSet;
use crate::family::shape::{check_bounds, without_infinity};
use crate::observe::SlotWord;
use crate::snapshot::Resolution;

use super::Histogram;

impl<L: LabelSet> Histogram<L> {
    /// Sets the upper bounds of the buckets, in ascending order. `+Inf` is added if it is missing.
    /// The default is .005 .01 .025 .05 .1 .25 .5 1 2.5 5 10: [`DEFAULT`](crate::buckets::DEFAULT).
    ///
    /// ```
    /// use tallies::Histogram;
    ///
    /// /// Sizes of requests.
    /// #[tallies::metric]
    /// static SIZES: Histogram = Histogram::new("request_bytes").buckets(&[256.0, 4096.0]);
    ///
    /// SIZES.observe(1000.0);
    /// assert_eq!(SIZES.get().counts, [0, 1, 0]);
    /// ```
    ///
    /// # Panics
    ///
    /// If the bounds do not ascend, or one of them is not finite (except a last `+Inf`): a compile
    /// error in a `static`.
    #[must_use]
    pub const fn buckets(mut self, bounds: &'static [f64]) -> Self {
        let bounds = without_infinity(bounds);
        if let Err(rule) = check_bounds(bounds) {
            panic!("{}", rule.text());
        }
        self.inner.desc.bounds = bounds;
        // If the family was made already, its cells have another shape, and the hot path must not
        // use its slots.
        self.inner.slot_word = SlotWord::new();
        self
    }

    /// Adds exponential buckets (a native histogram): 2^`schema` of them for every power of two.
    ///
    /// ```
    /// use tallies::Histogram;
    ///
    /// /// Time to answer.
    /// #[tallies::metric]
    /// static LATENCY: Histogram = Histogram::new("lookup_duration_seconds").native(3);
    ///
    /// (1..=100).for_each(|i| LATENCY.observe(f64::from(i) / 100.0));
    /// let median = LATENCY.get().native.unwrap().quantile(0.5).unwrap();
    /// assert!(median.lower <= 0.5 && 0.5 <= median.upper);
    /// assert!(median.upper < 1.1 * median.lower);
    /// ```
    ///
    /// Nothing has to be known about the values. The schema is -4 (each bound is 65 536 times the
    /// one before) to 8 (0.3 % above the one before); with 3 a bucket is 9 % wide. Without
    /// [`buckets`](Self::buckets) there are no fixed buckets; with it, both kinds count the same
    /// observations.
    ///
    /// Only buckets with observations exist, at most 160 in every thread and in a scrape. If there
    /// were more, the resolution is halved for good (see [`native_limit`](Self::native_limit)). The
    /// error of a quantile is at most the width of its bucket:
    /// [`Snapshot::quantile`](crate::Snapshot::quantile).
    ///
    /// An observation costs about 1 ns more than with fixed buckets. An observation that needs a
    /// new bucket takes a few microseconds. Each bucket of a series takes 32 bytes in every thread.
    ///
    /// Prometheus reads exponential buckets by protobuf, since 2.40, if native histograms are
    /// switched on. The text formats have only the fixed buckets and `+Inf`.
    ///
    /// # Panics
    ///
    /// If the schema is not in -4 to 8: a compile error in a `static`.
    ///
    /// Source: the native histograms page of the Prometheus documentation.
    #[must_use]
    pub const fn native(mut self, schema: i8) -> Self {
        let mut native = self.resolution();
        native.schema = schema;
        self.set_native(native);
        self
    }

    /// Limits the number of exponential buckets, without the zero bucket: 8 to 8192, by default
    /// 160.
    ///
    /// ```
    /// use tallies::Histogram;
    ///
    /// static LATENCY: Histogram = Histogram::new("lookup_seconds").native(3).native_limit(40);
    /// # LATENCY.observe(0.1);
    /// ```
    ///
    /// At the coarsest schema there can be more: up to 133 for positive numbers and 133 for
    /// negative ones.
    ///
    /// # Panics
    ///
    /// If the limit is not in 8 to 8192: a compile error in a `static`.
    #[must_use]
    pub const fn native_limit(mut self, buckets: u32) -> Self {
        let mut native = self.resolution();
        native.limit = buckets;
        self.set_native(native);
        self
    }

    /// Sets the zero threshold: values whose distance from zero is at most this count as zero. The
    /// default is 2^-128. For noise around zero.
    ///
    /// ```
    /// use tallies::Histogram;
    ///
    /// static DRIFT: Histogram = Histogram::new("drift_seconds").native(3).zero_threshold(1e-6);
    /// # DRIFT.observe(1e-7);
    /// ```
    ///
    /// # Panics
    ///
    /// If the threshold is below zero, above 1e300, or NaN: a compile error in a `static`.
    #[must_use]
    pub const fn zero_threshold(mut self, distance: f64) -> Self {
        let mut native = self.resolution();
        native.zero_threshold = distance;
        self.set_native(native);
        self
    }

    const fn resolution(&self) -> Resolution {
        match self.inner.desc.native {
            Some(native) => native,
            None => Resolution::new(3),
        }
    }

    const fn set_native(&mut self, native: Resolution) {
        if let Err(rule) = native.check() {
            panic!("{}", rule.text());
        }
        self.inner.desc.native = Some(native);
        self.inner.slot_word = SlotWord::new();
    }
}

impl<L: LabelSet> Builder<Histogram<L>> {
    /// Sets the upper bounds of the buckets, in ascending order. `+Inf` is added if it is missing.
    /// [`linear`](crate::buckets::linear) and [`exponential`](crate::buckets::exponential) compute
    /// such bounds. [`register`](Self::register) checks them.
    pub fn buckets(mut self, bounds: &[f64]) -> Self {
        self.desc.set_bounds(bounds);
        self
    }

    /// Adds exponential buckets. See [`Histogram::native`]. [`register`](Self::register) checks the
    /// schema.
    pub fn native(mut self, schema: i8) -> Self {
        self.resolution().schema = schema;
        self
    }

    /// Limits the number of exponential buckets. See [`Histogram::native_limit`].
    pub fn native_limit(mut self, buckets: u32) -> Self {
        self.resolution().limit = buckets;
        self
    }

    /// Sets the zero threshold. See [`Histogram::zero_threshold`].
    pub fn zero_threshold(mut self, distance: f64) -> Self {
        self.resolution().zero_threshold = distance;
        self
    }

    fn resolution(&mut self) -> &mut Resolution {
        self.desc.native.get_or_insert(Resolution::new(3))
    }
}
