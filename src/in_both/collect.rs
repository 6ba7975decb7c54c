//! Collectors: user code that runs at scrape time.

use crate::collect::Collected;

/// A collector: computes families at scrape time.
///
/// If a collector fails or panics, its families are missing from the snapshot, and
/// `tallies_collect_errors_total{collector}` counts the failure. All other families are exported. A
/// collector may update metrics. A snapshot taken inside a collector runs no collectors. Closures
/// are collectors.
///
/// ```
/// use tallies::{Registry, collect::Collected};
///
/// let registry = Registry::new();
/// registry.add_collector("pool", |out: &mut Collected| {
///     out.gauge("pool_idle_connections", "Connections not in use.", &[("pool", "main")], 7.0)?;
///     out.counter("pool_timeouts_total", "Waits that ended without one.", &[], 3.0)?;
///     Ok(())
/// })?;
/// assert_eq!(registry.snapshot().get("pool_idle_connections", &[("pool", "main")]), Some(7.0));
/// # Ok::<(), tallies::Error>(())
/// ```
pub trait Collect: Send + Sync {
    /// Writes families. A snapshot calls it once. Two snapshots taken at the same time may call it
    /// concurrently.
    ///
    /// ```
    /// use tallies::{Registry, collect::{Collect, Collected}};
    ///
    /// struct Queue {
    ///     waiting: usize,
    /// }
    ///
    /// impl Collect for Queue {
    ///     fn collect(
    ///         &self,
    ///         out: &mut Collected,
    ///     ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    ///         out.gauge("queue_length", "Jobs waiting.", &[], self.waiting as f64)?;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let registry = Registry::new();
    /// registry.add_collector("queue", Queue { waiting: 4 })?;
    /// assert_eq!(registry.snapshot().get("queue_length", &[]), Some(4.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns any error. The snapshot then has none of the families written by this call.
    fn collect(&self, out: &mut Collected) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

impl<F> Collect for F
where
    F: Fn(&mut Collected) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync,
{
    fn collect(&self, out: &mut Collected) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self(out)
    }
}
