//! Encoding options: creation times and timestamps, which apply to any format.

use std::time::SystemTime;

use tallies_names::setters;

use crate::snapshot::{Family, Snapshot};

use super::accept::{Format, Syntax};
use super::open_metrics::OpenMetrics;
use super::open_metrics_2::OpenMetrics2;
use super::protobuf::Protobuf;
use super::text::TextWriter;
use super::walk::{Cursor, Walk};

/// Options for encoding a snapshot: what a reader may choose apart from the format.
///
/// ```
/// use tallies::encode::{Format, Options};
///
/// let registry = tallies::Registry::new();
/// registry.counter("jobs_total", "Jobs done.")?.inc();
/// let mut page = Vec::new();
/// let options = Options::new().created(true);
/// options.write(&registry.snapshot(), Format::OPEN_METRICS, &mut page);
/// assert!(page.ends_with(b"\n# EOF\n"));
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether an OpenMetrics 1.0 page has `_created` samples.
    created: bool,
    /// Whether samples have the time of the snapshot.
    timestamps: bool,
}

impl Options {
    /// Returns the default options: no `_created` samples, no timestamps.
    ///
    /// ```
    /// use tallies::encode::Options;
    ///
    /// assert_eq!(Options::new(), Options::default());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self {
            created: false,
            timestamps: false,
        }
    }

    setters! {
        /// Sets whether OpenMetrics 1.0 writes a `_created` sample with the creation time of each
        /// series.
        ///
        /// ```
        /// use tallies::encode::{Format, Options};
        ///
        /// let registry = tallies::Registry::new();
        /// registry.counter("jobs_total", "Jobs done.")?.inc();
        /// let mut page = Vec::new();
        /// let options = Options::new().created(true);
        /// options.write(&registry.snapshot(), Format::OPEN_METRICS, &mut page);
        /// let page = String::from_utf8(page).unwrap();
        /// assert!(page.contains("\njobs_created "));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// Off by default: Prometheus 2 stores each of them as one more series. OpenMetrics 2.0 and
        /// protobuf always contain creation times, text never.
        const fn created(self, on: bool) = self.created = on;

        /// Sets whether every sample has the time of the snapshot.
        ///
        /// ```
        /// use tallies::encode::{Format, Options};
        ///
        /// let registry = tallies::Registry::new();
        /// registry.gauge("queue_length", "")?.set(2.5);
        /// let mut page = Vec::new();
        /// let options = Options::new().timestamps(true);
        /// options.write(&registry.snapshot(), Format::TEXT, &mut page);
        /// let page = String::from_utf8(page).unwrap();
        /// let millis = page.trim_end().rsplit_once("queue_length 2.5 ").unwrap().1;
        /// assert!(millis.parse::<u64>().is_ok());
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// Off by default: the scraper knows the time, and Prometheus does not mark a series as
        /// stale if its samples have timestamps.
        const fn timestamps(self, on: bool) = self.timestamps = on;
    }

    /// Appends a snapshot to `out` in the given format. Reusing `out` between calls reuses its
    /// memory.
    ///
    /// ```
    /// use tallies::encode::{Format, Options};
    ///
    /// let mut page = Vec::new();
    /// Options::new().write(&tallies::snapshot(), Format::TEXT, &mut page);
    /// assert!(page.starts_with(b"# HELP"));
    /// ```
    #[inline]
    pub fn write(&self, snapshot: &Snapshot, format: Format, out: &mut Vec<u8>) {
        let (time, begin) = (snapshot.taken, Cursor::default());
        self.render_block(snapshot, time, format, begin, usize::MAX, out);
    }

    /// Appends a part of a page of families that were collected at `time`: from `cursor` on, until
    /// `out` has at least `limit` bytes. Returns the position of the next series, or `None` at the
    /// end of the page. `families` are those from `cursor.family` on.
    ///
    /// Inlined, so that a program has only the writers of the formats that it names.
    #[inline(always)]
    pub(crate) fn render_block<'a>(
        self,
        families: impl IntoIterator<Item = &'a Family>,
        time: SystemTime,
        format: Format,
        cursor: Cursor,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Option<Cursor> {
        let time = self.timestamps.then_some(time);
        let escaping = format.escaping();
        let walk = Walk { escaping, limit };
        match format.syntax() {
            Syntax::Text | Syntax::Text1 => {
                walk.block(&mut TextWriter::new(out, time), families, cursor)
            }
            Syntax::OpenMetrics => {
                let mut text = OpenMetrics::new(out, time, self.created);
                walk.block(&mut text, families, cursor)
            }
            Syntax::OpenMetrics2 => walk.block(&mut OpenMetrics2::new(out, time), families, cursor),
            Syntax::Protobuf => walk.block(&mut Protobuf::new(out, time), families, cursor),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Counter, Gauge, Histogram, Registry, Summary};

    /// Families of every kind with many series, without labels, and without series.
    fn registry() -> Registry {
        let registry = Registry::new();
        registry.add_constant("host", "a\"b").unwrap();
        registry.gauge("alone", "No labels.").unwrap().set(0.5);
        Counter::builder("empty_total", "No series.")
            .labels(["x"])
            .register(&registry)
            .unwrap();
        let labels = ["route", "x.y"];
        let counter = Counter::builder("c_total", "Counts.").utf8().labels(labels);
        let counter = counter.register(&registry).unwrap();
        let float = Counter::builder("f.total", "Floats.").utf8().float();
        let float = float.labels(labels).register(&registry).unwrap();
        let gauge = Gauge::builder("g_bytes", "Sizes.").utf8().labels(labels);
        let gauge = gauge.unit("bytes").register(&registry).unwrap();
        let histogram = Histogram::builder("h_seconds", "Times.").utf8();
        let histogram = histogram.labels(labels).register(&registry).unwrap();
        let native = Histogram::builder("n_seconds", "Times.").utf8().native(3);
        let native = native.labels(labels).register(&registry).unwrap();
        let summary = Summary::builder("s_seconds", "Times.").utf8();
        let summary = summary.labels(labels).register(&registry).unwrap();
        for i in 0..40_u32 {
            let route = format!("/{}", "r".repeat(i as usize * 7));
            let labels = [&*route, "\\"];
            counter.with(labels).add_exemplar(1, &[("trace_id", "7")]);
            float.with(labels).add(f64::from(i) / 3.0);
            gauge.with(labels).set(f64::from(i));
            histogram.with(labels).observe(f64::from(i));
            native.with(labels).observe(f64::from(i));
            summary.with(labels).observe(f64::from(i));
        }
        registry
    }

    proptest! {
        #[test]
        fn blocks_are_the_page(limits in proptest::collection::vec(1_usize..20_000, 1..20)) {
            thread_local! {
                static SNAPSHOT: Snapshot = registry().snapshot();
            }
            SNAPSHOT.with(|snapshot| {
                for accept in [
                    "text/plain;version=0.0.4",
                    "text/plain;version=1.0.0;escaping=allow-utf-8",
                    "application/openmetrics-text;version=1.0.0",
                    "application/openmetrics-text;version=2.0.0;escaping=allow-utf-8",
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                     encoding=delimited;escaping=dots",
                ] {
                    let format = Format::negotiate(accept);
                    let options = Options::new().created(true);
                    let mut whole = Vec::new();
                    options.write(snapshot, format, &mut whole);
                    let (mut page, mut block) = (Vec::new(), Vec::new());
                    let mut next = Some(Cursor::default());
                    let mut limits = limits.iter().cycle();
                    while let (Some(cursor), Some(limit)) = (next, limits.next()) {
                        let families = snapshot.families().skip(cursor.family);
                        let time = snapshot.taken();
                        next = options.render_block(families, time, format, cursor, *limit, &mut block);
                        // A block ends with one of the first series after the limit.
                        assert!(next.is_none() || block.len() >= *limit, "{accept}");
                        assert!(block.len() < limit + 20_000, "{accept}");
                        page.append(&mut block);
                    }
                    assert!(page == whole, "{accept}");
                }
            });
        }
    }
}
