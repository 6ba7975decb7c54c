//! Label sets as a receiver stores them: sorted by name, without empty values, and with the name of
//! the metric among them.

use std::borrow::Cow;

/// The label that has the name of the metric.
pub(super) const METRIC: &str = "__name__";

/// A name and an unescaped value. Writers leave out a label whose value is empty.
pub(super) type LabelPair<'a> = (&'a str, Cow<'a, str>);

/// The labels of the samples of one series, sorted by name. The name of the metric, and the label
/// that only some samples have, are set for each sample.
#[derive(Default)]
pub(super) struct LabelSet<'a> {
    labels: Vec<LabelPair<'a>>,
    /// The index of [`METRIC`].
    metric: usize,
    /// The index of `le` or `quantile`.
    added: Option<usize>,
}

impl<'a> LabelSet<'a> {
    /// Replaces the labels by those of a series, the constant ones first, and the external labels
    /// that it does not have. `added` is `le` or `quantile` if samples of the series have it.
    pub(super) fn fill(
        &mut self,
        own: impl Iterator<Item = LabelPair<'a>>,
        external: &'a [(String, String)],
        added: Option<&'static str>,
    ) {
        let labels = &mut self.labels;
        labels.clear();
        labels.push((METRIC, Cow::Borrowed("")));
        labels.extend(added.map(|name| (name, Cow::Borrowed(""))));
        labels.extend(own.filter(|(_, value)| !value.is_empty()));
        for label in external {
            if !labels.iter().any(|(name, _)| *name == label.0) {
                labels.push((&label.0, Cow::Borrowed(&label.1)));
            }
        }
        // The sort is stable, so that the first of two labels of one name stays.
        labels.sort_by_key(|(name, _)| *name);
        labels.dedup_by(|later, earlier| later.0 == earlier.0);
        let at = |name: &str| labels.iter().position(|(other, _)| *other == name);
        self.metric = at(METRIC).unwrap_or(0);
        self.added = added.and_then(at);
    }

    /// Returns the labels of one sample: those of the series with the name of the metric and the
    /// value of the label that is added, which may be empty.
    pub(super) fn of(&mut self, metric: &'a str, added: Cow<'a, str>) -> &[LabelPair<'a>] {
        self.labels[self.metric].1 = Cow::Borrowed(metric);
        if let Some(at) = self.added {
            self.labels[at].1 = added;
        }
        &self.labels
    }
}
