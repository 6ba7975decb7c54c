//! Exemplars: single observations that illustrate a counter or a bucket, with labels that lead to
//! more detail.

use std::borrow::Cow;
use std::time::SystemTime;

use super::labels;

/// The most characters of the labels of an exemplar, names and values together (OpenMetrics
/// 1.0).
pub(crate) const MOST_CHARACTERS: usize = 128;

/// One observation behind a counter or a histogram bucket, with labels to find it by, such as a
/// trace ID.
///
/// ```
/// let registry = tallies::Registry::new();
/// let latency = registry.histogram("latency_seconds", "Time to answer.")?;
/// latency.observe_exemplar(0.3, &[("trace_id", "5ca1ab1e")]);
/// let snapshot = registry.snapshot();
/// let family = snapshot.family("latency_seconds").unwrap();
/// let (_bucket, exemplar) = family.exemplars(0).next().unwrap();
/// assert_eq!(exemplar.value(), 0.3);
/// assert_eq!(exemplar.labels().next(), Some(("trace_id", "5ca1ab1e".into())));
/// assert!(exemplar.time().is_some());
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// Source: OpenMetrics 1.0, section "Exemplars".
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The escaped label text, as written by [`labels::text`]. Names and values have at most 128
    /// characters in total.
    pub(crate) labels: String,
    pub(crate) value: f64,
    pub(crate) time: Option<SystemTime>,
}

impl Exemplar {
    /// Creates an exemplar with the current time. The labels are as written by [`labels::text`].
    pub(crate) fn new(labels: String, value: f64) -> Self {
        Self {
            labels,
            value,
            time: Some(SystemTime::now()),
        }
    }

    /// Iterates over the names and unescaped values of the labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        labels::pairs(&self.labels)
    }

    tallies_names::getters! {
        /// Returns the observed value, or the amount that was added to a counter.
        fn value(&self) -> f64 = self.value;

        /// Returns the time of the observation, if it is known.
        fn time(&self) -> Option<SystemTime> = self.time;
    }
}
