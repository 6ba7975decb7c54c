//! Methods of [`Registry`] that declare a metric by name and help text only.

use crate::{Counter, Error, Gauge, Histogram, Info, Registry, Summary, UpDownCounter};

impl Registry {
    /// Declares a counter without labels. For labels and settings use [`Counter::builder`].
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let uploads = registry.counter("file_uploads_total", "Files accepted.")?;
    /// uploads.inc();
    /// assert_eq!(registry.snapshot().get("file_uploads_total", &[]), Some(1.0));
    /// assert!(registry.counter("file_uploads_total", "Again.").is_err());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the name is invalid ([`Error::is_invalid_name`]) or already registered
    /// ([`Error::is_already_registered`]). The message says where.
    #[track_caller]
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, Error> {
        Counter::builder(name, help).register(self)
    }

    /// Declares a gauge without labels. For labels and settings use [`Gauge::builder`].
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let temperature = registry.gauge("temperature_celsius", "Degrees.")?;
    /// temperature.set(21.5);
    /// assert_eq!(registry.snapshot().get("temperature_celsius", &[]), Some(21.5));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`counter`](Self::counter).
    #[track_caller]
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        Gauge::builder(name, help).register(self)
    }

    /// Declares an up-down counter without labels. For labels and settings use
    /// [`UpDownCounter::builder`].
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let open = registry.up_down_counter("connections_open", "Open connections.")?;
    /// open.inc();
    /// assert_eq!(registry.snapshot().get("connections_open", &[]), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`counter`](Self::counter).
    #[track_caller]
    pub fn up_down_counter(&self, name: &str, help: &str) -> Result<UpDownCounter, Error> {
        UpDownCounter::builder(name, help).register(self)
    }

    /// Declares a histogram without labels, with the default buckets. For labels and settings use
    /// [`Histogram::builder`].
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let wait = registry.histogram("wait_seconds", "Time waited.")?;
    /// wait.observe(0.25);
    /// assert_eq!(registry.snapshot().get("wait_seconds_count", &[]), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`counter`](Self::counter).
    #[track_caller]
    pub fn histogram(&self, name: &str, help: &str) -> Result<Histogram, Error> {
        Histogram::builder(name, help).register(self)
    }

    /// Declares a summary without labels, with the default objectives. For labels and settings use
    /// [`Summary::builder`].
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let wait = registry.summary("wait_seconds", "Time waited.")?;
    /// wait.observe(0.25);
    /// assert_eq!(registry.snapshot().get("wait_seconds", &[("quantile", "0.5")]), Some(0.25));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`counter`](Self::counter).
    #[track_caller]
    pub fn summary(&self, name: &str, help: &str) -> Result<Summary, Error> {
        Summary::builder(name, help).register(self)
    }

    /// Declares an info: labels that describe the program and do not change. The value is 1.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.info("app_info", "This program.", &[("version", "1.2.0")])?;
    /// assert_eq!(registry.snapshot().get("app_info", &[("version", "1.2.0")]), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`counter`](Self::counter), and invalid label names.
    #[track_caller]
    pub fn info(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<Info, Error> {
        let mut info = Info::builder(name, help);
        for (name, value) in labels {
            info = info.constant(name, value);
        }
        info.register(self)
    }
}
