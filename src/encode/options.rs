//! What a reader may ask for beside a format.

use std::time::SystemTime;

use crate::snapshot::{Escaping, Family, Snapshot};

use super::accept::{Format, Syntax};
use super::open_metrics::OpenMetrics;
use super::protobuf::Protobuf;
use super::text::Text;
use super::walk::walk;

/// How a snapshot is written: what a reader may ask for beside a format.
///
/// ```
/// use tallies::encode::{Escaping, Options};
///
/// let registry = tallies::Registry::new();
/// tallies::Counter::<()>::builder("http.requests", "Requests.").utf8().register(&registry)?.inc();
/// let mut page = Vec::new();
/// Options::new().escaping(Escaping::AllowUtf8).text_into(&registry.snapshot(), &mut page);
/// assert!(page.ends_with(b"{\"http.requests\"} 1\n"));
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    escaping: Escaping,
    created: bool,
    timestamps: bool,
}

impl Options {
    /// Names in the old character set, and nothing that is not asked for.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            escaping: Escaping::Underscores,
            created: false,
            timestamps: false,
        }
    }

    /// What becomes of names outside the old character set. Only who asked for `escaping=allow-utf-8` can read quotes.
    #[must_use]
    pub const fn escaping(mut self, escaping: Escaping) -> Self {
        self.escaping = escaping;
        self
    }

    /// Whether OpenMetrics says in `_created` samples since when a series counts; protobuf always does, text never.
    ///
    /// Off by default: to Prometheus 2 each is one more series.
    #[must_use]
    pub const fn created(mut self, on: bool) -> Self {
        self.created = on;
        self
    }

    /// Whether every sample has the time of the snapshot.
    ///
    /// Off by default: whoever scrapes knows the time, and a sample with one of its own does not go stale.
    #[must_use]
    pub const fn timestamps(mut self, on: bool) -> Self {
        self.timestamps = on;
        self
    }

    /// A snapshot in this format, with its escaping, behind what `out` holds already.
    pub fn render_into(&self, snapshot: &Snapshot, format: Format, out: &mut Vec<u8>) {
        self.render_families(snapshot, snapshot.taken, format, out);
    }

    /// As [`render_into`](Self::render_into), of families that were taken at `time`.
    pub(crate) fn render_families<'a>(
        self,
        families: impl IntoIterator<Item = &'a Family>,
        time: SystemTime,
        format: Format,
        out: &mut Vec<u8>,
    ) {
        let time = self.time(time);
        let escaping = format.escaping();
        match format.syntax() {
            Syntax::Text | Syntax::Text1 => walk(families, escaping, &mut Text::new(out, time)),
            Syntax::OpenMetrics => {
                walk(
                    families,
                    escaping,
                    &mut OpenMetrics::new(out, time, self.created),
                );
            }
            Syntax::Protobuf => walk(families, escaping, &mut Protobuf::new(out, time)),
        }
    }

    fn time(self, taken: SystemTime) -> Option<SystemTime> {
        self.timestamps.then_some(taken)
    }

    /// A snapshot in the Prometheus text format, behind what `out` holds already. That is 0.0.4; with
    /// [`Escaping::AllowUtf8`] it is 1.0.0, which differs in nothing else.
    pub fn text_into(&self, snapshot: &Snapshot, out: &mut Vec<u8>) {
        let mut text = Text::new(out, self.time(snapshot.taken));
        walk(snapshot, self.escaping, &mut text);
    }

    /// A snapshot in OpenMetrics text 1.0.0, behind what `out` holds already.
    pub fn open_metrics_into(&self, snapshot: &Snapshot, out: &mut Vec<u8>) {
        let mut text = OpenMetrics::new(out, self.time(snapshot.taken), self.created);
        walk(snapshot, self.escaping, &mut text);
    }

    /// A snapshot as delimited `io.prometheus.client.MetricFamily` messages, behind what `out` holds already.
    pub fn protobuf_into(&self, snapshot: &Snapshot, out: &mut Vec<u8>) {
        let mut protobuf = Protobuf::new(out, self.time(snapshot.taken));
        walk(snapshot, self.escaping, &mut protobuf);
    }
}
