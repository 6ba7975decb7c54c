//! The settings of a histogram that is made at run time: the setters of its builder.

use crate::declare::Builder;
use crate::family::label::LabelSet;
use crate::snapshot::Resolution;

use super::Histogram;

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
