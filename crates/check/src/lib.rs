//! Checks for tests: documents, dashboards and rules against the metrics that a program declares,
//! and pages against the conventions of Prometheus; and the reader of these pages.
//!
//! ```
//! use tallies_check::Check;
//!
//! let registry = tallies::Registry::new();
//! registry.counter("jobs_total", "Jobs done.")?;
//! let rules = "groups:\n- rules:\n  - alert: NoJobs\n    expr: rate(job_total[5m]) == 0\n";
//! let error = Check::new(registry.catalogue()).queries(rules).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "alert `NoJobs` asks for `job_total`: no family exports it; `jobs_total` is similar"
//! );
//! # Ok::<(), tallies::Error>(())
//! ```

#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod document;
pub mod lint;
mod pages;
mod promql;
mod queries;
mod write;

use tallies::snapshot::catalogue::Catalogue;

pub use lint::lint;
pub use pages::{
    Remark, Scraped, read, read_as_scraped, read_open_metrics, read_open_metrics_2, read_text,
};
pub use queries::Missing;
pub use write::{to_html, to_json, to_markdown};

/// Checks of texts against a catalogue.
///
/// ```no_run
/// let check = tallies_check::Check::new(tallies::catalogue()).also("node_*");
/// check.document("METRICS.md")?;
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Check {
    catalogue: Catalogue,
    /// Patterns of names that other programs export.
    others: Vec<String>,
}

impl Check {
    /// Creates a check against this catalogue. [`Catalogue::with`] adds that of another registry.
    ///
    /// ```
    /// let check = tallies_check::Check::new(tallies::catalogue());
    /// # let _ = check;
    /// ```
    #[must_use]
    pub fn new(catalogue: Catalogue) -> Self {
        let others = Vec::new();
        Self { catalogue, others }
    }

    /// Says that other programs export the names that match a pattern, such as `node_*`, so that
    /// [`queries`](Self::queries) does not report them.
    ///
    /// ```
    /// let check = tallies_check::Check::new(tallies::catalogue()).also("node_*");
    /// check.queries("{\"expr\": \"node_load1\"}")?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn also(mut self, pattern: &str) -> Self {
        self.others.push(pattern.to_owned());
        self
    }
}
