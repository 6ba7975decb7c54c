//! The metrics that a registry makes by name and help text alone.

use crate::error::Error;
use crate::registry::Registry;

use super::{Counter, Gauge, Histogram, Info, Summary, UpDownCounter};

impl Registry {
    /// A counter without labels; for more, [`Counter::builder`].
    ///
    /// # Errors
    ///
    /// A name outside the grammar, or one that is taken: the message says where the first one is.
    #[track_caller]
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, Error> {
        Counter::builder(name, help).register(self)
    }

    /// A gauge without labels; for more, [`Gauge::builder`].
    ///
    /// # Errors
    ///
    /// As [`counter`](Self::counter).
    #[track_caller]
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        Gauge::builder(name, help).register(self)
    }

    /// An up-down counter without labels; for more, [`UpDownCounter::builder`].
    ///
    /// # Errors
    ///
    /// As [`counter`](Self::counter).
    #[track_caller]
    pub fn up_down_counter(&self, name: &str, help: &str) -> Result<UpDownCounter, Error> {
        UpDownCounter::builder(name, help).register(self)
    }

    /// A histogram without labels and with the default buckets; for more, [`Histogram::builder`].
    ///
    /// # Errors
    ///
    /// As [`counter`](Self::counter).
    #[track_caller]
    pub fn histogram(&self, name: &str, help: &str) -> Result<Histogram, Error> {
        Histogram::builder(name, help).register(self)
    }

    /// A summary without labels and with the default objectives; for more, [`Summary::builder`].
    ///
    /// # Errors
    ///
    /// As [`counter`](Self::counter).
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let wait = registry.summary("wait_seconds", "Time waited.")?;
    /// wait.observe(0.25);
    /// assert_eq!(registry.snapshot().get("wait_seconds", &[("quantile", "0.5")]), Some(0.25));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[track_caller]
    pub fn summary(&self, name: &str, help: &str) -> Result<Summary, Error> {
        Summary::builder(name, help).register(self)
    }

    /// What the program is, in labels that do not change; the value is 1.
    ///
    /// # Errors
    ///
    /// As [`counter`](Self::counter), and bad label names.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.info("app_info", "This program.", &[("version", "1.2.0")])?;
    /// assert_eq!(registry.snapshot().get("app_info", &[("version", "1.2.0")]), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[track_caller]
    pub fn info(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<Info, Error> {
        labels
            .iter()
            .fold(Info::builder(name, help), |info, (name, value)| {
                info.constant(name, value)
            })
            .register(self)
    }
}
