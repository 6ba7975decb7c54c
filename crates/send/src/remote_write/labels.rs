//! Label sets as a receiver stores them: sorted by name, without empty values, and with the name of
//! the metric among them.

use std::borrow::Cow;

use tallies::snapshot::Family;

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
    /// Replaces the labels by those of a series: its label text, the constant labels of its family,
    /// and the external labels that it does not have. `added` is `le` or `quantile` if samples of
    /// the series have it.
    pub(super) fn fill(
        &mut self,
        own: &'a str,
        constant: &'a [(String, String)],
        external: &'a [(String, String)],
        added: Option<&'static str>,
    ) {
        let labels = &mut self.labels;
        labels.clear();
        labels.push((METRIC, Cow::Borrowed("")));
        labels.extend(added.map(|name| (name, Cow::Borrowed(""))));
        let constant = constant.iter().map(borrowed);
        labels.extend(
            constant
                .chain(pairs(own))
                .filter(|(_, value)| !value.is_empty()),
        );
        for label in external {
            if !labels.iter().any(|(name, _)| *name == label.0) {
                labels.push(borrowed(label));
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

fn borrowed((name, value): &(String, String)) -> LabelPair<'_> {
    (name.as_str(), Cow::Borrowed(value.as_str()))
}

/// Returns the labels that all series of a family share. Its label texts do not have them.
pub(super) fn constant(family: &Family) -> Vec<(String, String)> {
    let Some((labels, _)) = family.series().next() else {
        return Vec::new();
    };
    let all = labels.iter();
    let mut all: Vec<_> = all
        .map(|(name, value)| (name.to_owned(), value.into_owned()))
        .collect();
    // Constant labels come first.
    let own = pairs(family.label_text(0)).count();
    all.truncate(all.len().saturating_sub(own));
    all
}

/// Iterates over the names and unescaped values of a label text.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = LabelPair<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (name, value) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once("\"=\"")?,
            None => rest.split_once("=\"")?,
        };
        let end = closing_quote(value)?;
        let after = &value[end + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
        Some((name, unescaped(&value[..end])))
    })
}

fn closing_quote(value: &str) -> Option<usize> {
    let mut is_escaped = false;
    value.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    })
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next().map(|c| if c == 'n' { '\n' } else { c })),
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// Returns the text of a bucket bound or of a quantile: `5.0`, `0.25`, `1e+06`, `+Inf`. Pages have
/// the same, and Prometheus since version 3 writes every scraped bound in this way
/// (`FormatOpenMetricsFloat` in `model/labels/float.go`), so that pushed and scraped series are
/// equal.
pub(super) fn bound(x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        // `Debug` always writes a fraction, and never an exponent in this range.
        format!("{x:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}
