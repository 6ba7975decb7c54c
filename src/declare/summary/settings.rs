//! The objectives and the window of a summary: the setters of statics and of builders.

use std::time::Duration;

use crate::declare::Builder;
use crate::error::Error;
use crate::family::label::LabelSet;
use crate::family::shape::check_window;
use crate::snapshot::sketch::Targets;

use super::Summary;

impl<L: LabelSet> Summary<L> {
    /// Adds an objective: the quantile `phi`, within `error` of the ranks. The first call replaces
    /// the defaults.
    ///
    /// # Panics
    ///
    /// - If `phi` is not in 0 to 1, or was given before.
    /// - If `error` is not above 0 and below 1, or too small for a sketch of 2048 values.
    /// - If there are more than seven objectives.
    ///
    /// In a `static` these are compile errors.
    #[must_use]
    pub const fn objective(mut self, phi: f64, error: f64) -> Self {
        if let Err(error) = self.inner.desc.add_target(phi, error) {
            panic!("{}", error.rule());
        }
        self
    }

    /// Limits the quantiles to the observations of the last `max_age`. Count and sum are still
    /// those since the program began. See [the type](Self#windows).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tallies::Summary;
    ///
    /// /// Time of a call, of the last ten minutes.
    /// #[tallies::metric]
    /// static LATELY: Summary =
    ///     Summary::new("lately_seconds").max_age(Duration::from_secs(600)).ages(10);
    ///
    /// LATELY.observe(0.25);
    /// assert_eq!(LATELY.get().quantile(0.5), Some((0.25, 0.0)));
    /// ```
    ///
    /// # Panics
    ///
    /// If `max_age` is less than 0.1 seconds: a compile error in a `static`.
    #[must_use]
    pub const fn max_age(mut self, max_age: Duration) -> Self {
        self.inner.desc.max_age = Some(max_age);
        self.windowed()
    }

    /// Sets the number of ages of the window: 2 to 60, by default 5. More ages take more memory;
    /// with fewer ages, more observations leave the window at once.
    ///
    /// # Panics
    ///
    /// If `ages` is not in 2 to 60, or [`max_age`](Self::max_age) was not called before: a compile
    /// error in a `static`.
    #[must_use]
    pub const fn ages(mut self, ages: u32) -> Self {
        self.inner.desc.ages = Some(ages);
        self.windowed()
    }

    const fn windowed(self) -> Self {
        if let Err(rule) = check_window(self.inner.desc.max_age, self.inner.desc.ages) {
            panic!("{}", rule.text());
        }
        self
    }

    /// Removes all objectives. The summary then has only a count and a sum.
    ///
    /// ```
    /// use tallies::Summary;
    ///
    /// static WAIT: Summary = Summary::new("wait_seconds").no_objectives();
    ///
    /// WAIT.observe(0.25);
    /// assert_eq!((WAIT.get().count(), WAIT.get().sum()), (1, 0.25));
    /// ```
    #[must_use]
    pub const fn no_objectives(mut self) -> Self {
        self.inner.desc.targets = Targets::new(&[]);
        self.inner.desc.own_targets = true;
        self
    }
}

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
    /// The causes for which [`Summary::objective`] panics.
    pub fn objectives(mut self, objectives: &[(f64, f64)]) -> Result<Self, Error> {
        self.desc.targets = Targets::try_new(objectives)
            .map_err(|rule| Error::objectives(&self.desc.name, rule))?;
        self.desc.bad_targets = None;
        self.desc.own_targets = true;
        Ok(self)
    }

    /// Limits the quantiles to the observations of the last `max_age`. See [`Summary::max_age`].
    /// [`register`](Self::register) rejects less than 0.1 seconds.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.desc.max_age = Some(max_age);
        self
    }

    /// Sets the number of ages of the window. See [`Summary::ages`]. [`register`](Self::register)
    /// rejects less than 2 or more than 60 ages, and ages without a window.
    pub fn ages(mut self, ages: u32) -> Self {
        self.desc.ages = Some(ages);
        self
    }
}
