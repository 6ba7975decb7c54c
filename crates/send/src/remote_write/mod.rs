//! Remote write: samples for Prometheus and its long-term stores, such as Mimir, Thanos and
//! VictoriaMetrics.
//!
//! [`RemoteWrite`] has the settings. A receiver stores what a scrape of the text page would have
//! stored: the same series with the same names, labels and values. In addition, it learns when a
//! series ends, and exponential histograms keep their buckets.
//!
//! The stages, in the order in which a snapshot passes them:
//!
//! | module | stage |
//! |---|---|
//! | `exchange` | takes snapshots in, hands requests out, and decides after each answer |
//! | `stale` | compares a snapshot with the one before and queues the ends of series |
//! | `held` | the snapshot that is being sent, and which series the receiver may have |
//! | `batch` | fills one request |
//! | `series` | the samples of one series |
//! | `labels` | the label set of a sample |
//! | `v1`, `v2`, `histogram` | the messages |
//! | `answer` | the meaning of an answer |
//!
//! Sources: the Prometheus Remote-Write specifications 1.0 and 2.0-rc.4 (prometheus/docs,
//! `docs/specs/prw`); `prompb/types.proto` and `prompb/io/prometheus/write/v2/types.proto` of
//! prometheus/prometheus (the latter as of commit cefefc68, which has a start timestamp in each
//! sample).

mod answer;
mod batch;
mod exchange;
mod held;
mod histogram;
mod labels;
mod series;
mod stale;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use tallies_names::setters;

use exchange::Exchange;

/// The settings of remote write.
///
/// ```
/// use tallies_send::RemoteWrite;
///
/// let protocol = RemoteWrite::new().label("job", "mail").label("instance", "mail-3");
/// # let _ = protocol;
/// ```
///
/// # Samples
///
/// The samples have the names, labels and values of the text page, and the time of the snapshot:
///
/// - Counters, gauges, infos and state sets are one series each.
/// - Histograms have a series per bucket, `_sum` and `_count`, unless they are sent as native
///   histograms; see [`histograms`](Self::histograms).
/// - Summaries have a series per quantile, `_sum` and `_count`.
///
/// Exemplars are sent once. An exemplar without a time is left out, because receivers need it.
/// A family that [clashes](tallies::snapshot::Snapshot::clashes) with one before it is left out, as
/// on pages.
///
/// # Requests
///
/// A request has at most 2 000 samples, the default of Prometheus, and about 1 MiB before
/// compression. If a snapshot is taken before the one before it is sent, the rest of that one is
/// dropped: newer samples are worth more. The new snapshot is then sent from the series on at which
/// the old one stopped, so that every series has its turn even if a receiver is too slow.
///
/// # Ends of series
///
/// A series that is removed, retired or expires gets a stale marker, one millisecond before the
/// first snapshot without it. At a clean shutdown, all series get one. So queries end them at once,
/// and not five minutes later. Markers survive an outage of up to half an hour.
///
/// # Clock
///
/// Receivers reject a sample that is not newer than the last one of its series. If the clock steps
/// back by up to a minute, samples have the last time plus two milliseconds until the clock has
/// caught up. If it steps back further, samples have the time of the clock, and the receiver
/// rejects them until then: they would otherwise be so far in the future that it rejects them for
/// that.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RemoteWrite {
    labels: Vec<(String, String)>,
    version: Version,
    histograms: HistogramForm,
}

/// The version of the protocol.
///
/// ```
/// use tallies_send::{RemoteWrite, Version};
///
/// let protocol = RemoteWrite::new().version(Version::V1);
/// # let _ = protocol;
/// ```
///
/// | receiver | 1.0 | 2.0 |
/// |---|---|---|
/// | Prometheus since 2.54 and 3 | yes | yes |
/// | Prometheus before 2.54 | yes | no |
/// | Mimir since 2.17 | yes | yes |
/// | Thanos since July 2026 | yes | yes |
/// | Thanos before that | yes | no |
/// | VictoriaMetrics | yes | no |
/// | OpenTelemetry collector | no | yes |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Version {
    /// 1.0. It has neither start times nor native histograms with custom buckets.
    V1,
    /// 2.0. A receiver that only knows 1.0 is an error.
    V2,
    /// 2.0 until a receiver does not take it, then 1.0. The default, because no version works with
    /// all receivers.
    ///
    /// A receiver does not take 2.0 if it answers 415, if it answers 400 before it has ever
    /// accepted a request, or if it answers 2xx without saying how many samples it wrote, because
    /// it then decoded nothing. The same samples are sent again at once in version 1.0. That
    /// version stays in use until the program restarts or the receiver answers 415 to it.
    #[default]
    Auto,
}

/// The form in which histograms are sent.
///
/// ```
/// use tallies_send::{HistogramForm, RemoteWrite};
///
/// let collector = RemoteWrite::new().histograms(HistogramForm::Native);
/// # let _ = collector;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistogramForm {
    /// All as the text page shows them: a series per fixed bucket, `_sum` and `_count`. Of
    /// exponential buckets, only `+Inf` is left. For receivers without native histograms:
    /// Prometheus before 3.8 answers 500 to them unless it runs with
    /// `--enable-feature=native-histograms`, and old versions of VictoriaMetrics drop them without
    /// a word.
    Classic,
    /// Exponential buckets as native histograms, fixed buckets as classic series. The default,
    /// because queries and dashboards for fixed buckets keep working.
    #[default]
    AsDeclared,
    /// All as native histograms: a histogram with N fixed buckets is one series with custom buckets
    /// (NHCB, schema −53) instead of N + 2 series. Much smaller, and the only form that the
    /// OpenTelemetry collector takes. Queries have no `_bucket` series. Version 1.0 has no custom
    /// buckets: there, this is the same as [`AsDeclared`](Self::AsDeclared).
    Native,
}

impl RemoteWrite {
    /// Returns the default settings.
    ///
    /// ```
    /// use tallies_send::RemoteWrite;
    ///
    /// let protocol = RemoteWrite::new();
    /// # let _ = protocol;
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// Adds a label to all series, such as `job` or `instance`. A series that has a label of
        /// this name keeps its own.
        ///
        /// ```
        /// use tallies_send::RemoteWrite;
        ///
        /// let protocol = RemoteWrite::new().label("job", "mail").label("instance", "mail-3");
        /// # let _ = protocol;
        /// ```
        ///
        /// The sender returns an error when it starts if a name does not match
        /// `[a-zA-Z_][a-zA-Z0-9_]*`, begins with `__`, is `le` or `quantile` or is given twice, or
        /// if a value is empty.
        fn label(self, name: &str, value: &str) =
            self.labels.push((name.to_owned(), value.to_owned()));

        /// Sets the version of the protocol. The default is [`Version::Auto`].
        ///
        /// ```
        /// use tallies_send::{RemoteWrite, Version};
        ///
        /// let victoria_metrics = RemoteWrite::new().version(Version::V1);
        /// # let _ = victoria_metrics;
        /// ```
        fn version(self, version: Version) = self.version = version;

        /// Sets the form of histograms. The default is [`HistogramForm::AsDeclared`].
        ///
        /// ```
        /// use tallies_send::{HistogramForm, RemoteWrite};
        ///
        /// let old_prometheus = RemoteWrite::new().histograms(HistogramForm::Classic);
        /// # let _ = old_prometheus;
        /// ```
        fn histograms(self, form: HistogramForm) = self.histograms = form;
    }

    /// Returns the protocol with these settings.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with a label, and which would be right.
    pub(crate) fn start(&self) -> Result<Exchange, String> {
        self.check()?;
        Ok(Exchange::new(self))
    }

    fn check(&self) -> Result<(), String> {
        for (i, (name, value)) in self.labels.iter().enumerate() {
            let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
            let is_name = name.starts_with(is_start)
                && name.chars().all(|c| is_start(c) || c.is_ascii_digit());
            let why = if !is_name {
                "has to match [a-zA-Z_][a-zA-Z0-9_]*, such as `instance`"
            } else if name.starts_with("__") {
                "is reserved for Prometheus; use a name that does not begin with `__`"
            } else if matches!(&**name, "le" | "quantile") {
                "belongs to the buckets of histograms or to the quantiles of summaries; use another \
                 name"
            } else if value.is_empty() {
                "has an empty value, which is the same as no label; leave it out"
            } else if self.labels[..i].iter().any(|(other, _)| other == name) {
                "is given twice; give it once"
            } else {
                continue;
            };
            return Err(format!("label `{name}` of remote write {why}"));
        }
        Ok(())
    }
}
