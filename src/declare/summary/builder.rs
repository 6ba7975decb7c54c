//! The settings of a summary that is made at run time: the setters of its builder.

use std::time::Duration;

use tallies_names::setters;

use crate::declare::Builder;
use crate::error::Error;
use crate::family::label::LabelSet;
use crate::snapshot::sketch::Targets;

use super::Summary;

impl<L: LabelSet> Builder<Summary<L>> {
    /// Adds an objective: the quantile `phi`, within `error` of the ranks. The first call replaces
    /// the defaults. [`register`](Self::register) returns an error where [`Summary::objective`]
    /// panics.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let s = tallies::Summary::builder("s", "A summary.")
    ///     .objective(0.5, 0.01)
    ///     .register(&registry)?;
    /// (1..=100).for_each(|i| s.observe(f64::from(i)));
    /// assert!((s.get().quantile(0.5).unwrap().0 - 50.0).abs() <= 1.0);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn objective(mut self, phi: f64, error: f64) -> Self {
        if let Err(error) = self.desc.add_target(phi, error) {
            self.desc.bad_targets.get_or_insert(error);
        }
        self
    }

    /// Sets all objectives: quantiles and their rank errors. With an empty list, the summary has
    /// only a count and a sum.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let wait = tallies::Summary::builder("wait_seconds", "Time waited.")
    ///     .objectives(&[(0.5, 0.01), (0.99, 0.001)])?
    ///     .register(&registry)?;
    /// wait.observe(0.25);
    /// assert_eq!(registry.snapshot().get("wait_seconds", &[("quantile", "0.99")]), Some(0.25));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error where [`Summary::objective`] would panic.
    pub fn objectives(mut self, objectives: &[(f64, f64)]) -> Result<Self, Error> {
        self.desc.targets = Targets::try_new(objectives)
            .map_err(|rule| Error::other(format_args!("family `{}`: {rule}", self.desc.name)))?;
        self.desc.bad_targets = None;
        self.desc.own_targets = true;
        Ok(self)
    }

    setters! {
        /// Limits the quantiles to the observations of the last `max_age`. See
        /// [`Summary::max_age`]. [`register`](Self::register) rejects less than 0.1 seconds.
        fn max_age(self, max_age: Duration) = self.desc.max_age = Some(max_age);

        /// Sets the number of ages of the window. See [`Summary::ages`].
        /// [`register`](Self::register) rejects less than 2 or more than 60 ages, and ages without
        /// a window.
        fn ages(self, ages: u32) = self.desc.ages = Some(ages);
    }
}
