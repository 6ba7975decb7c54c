//! One observation that stands for many: where to look, for who wonders about a bucket or a count.

use std::borrow::Cow;
use std::time::SystemTime;

use super::labels;

/// One observation behind a counter or a bucket of a histogram, and the labels to find it by, such as a trace's id.
///
/// Source: OpenMetrics 1.0, section "Exemplars".
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// As [`labels::text`] writes them; names and values are at most 128 characters together.
    pub(crate) labels: String,
    pub(crate) value: f64,
    pub(crate) time: Option<SystemTime>,
}

impl Exemplar {
    /// Of labels as [`labels::text`] writes them, now.
    pub(crate) fn new(labels: String, value: f64) -> Self {
        Self {
            labels,
            value,
            time: Some(SystemTime::now()),
        }
    }

    /// The labels, escaped.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.labels
    }

    /// Names and values, unescaped.
    pub fn labels(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        labels::pairs(&self.labels)
    }

    /// What was observed, or added.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value
    }

    /// When, if that is known.
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        self.time
    }
}
