//! The settings of a histogram that is made at run time: the setters of its builder.

use tallies_names::setters;

use crate::declare::Builder;
use crate::family::label::LabelSet;
use crate::snapshot::Resolution;

use super::Histogram;

impl<L: LabelSet> Builder<Histogram<L>> {
    setters! {
        /// Sets the upper bounds of the buckets, in ascending order. `+Inf` is added if it is
        /// missing. [`linear`](crate::buckets::linear) and
        /// [`exponential`](crate::buckets::exponential) compute such bounds.
        /// [`register`](Self::register) checks them.
        fn buckets(self, bounds: &[f64]) = self.desc.set_bounds(bounds);

        /// Adds exponential buckets. See [`Histogram::native`]. [`register`](Self::register) checks
        /// the schema.
        fn native(self, schema: i8) = self.resolution().schema = schema;

        /// Limits the number of exponential buckets. See [`Histogram::native_limit`].
        fn native_limit(self, buckets: u32) = self.resolution().limit = buckets;

        /// Sets the zero threshold. See [`Histogram::zero_threshold`].
        fn zero_threshold(self, distance: f64) = self.resolution().zero_threshold = distance;
    }

    fn resolution(&mut self) -> &mut Resolution {
        self.desc.native.get_or_insert(Resolution::new(3))
    }
}
