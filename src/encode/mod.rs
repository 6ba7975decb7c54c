//! A snapshot as bytes, and back. One walk drives every format through one small trait: formats differ in lines, not in
//! logic.

pub(crate) mod accept;
mod lines;
mod native;
mod number;
mod open_metrics;
mod options;
mod pairs;
mod protobuf;
mod read;
mod single;
mod text;
mod walk;
mod wire;

use crate::snapshot::Snapshot;

pub use crate::snapshot::Escaping;
pub use accept::{Format, Syntax};
pub use options::Options;

pub use read::{read, read_open_metrics, read_text};

/// A snapshot in the format that an Accept header likes best: its Content-Type, and its bytes.
///
/// An unknown or malformed header gets the text format 0.0.4, as does an empty one; several are one, joined by commas. An
/// answer over HTTP has `Vary: Accept`, so that no cache gives it to who asked for another format.
///
/// ```
/// let (content_type, page) = tallies::encode::render(&tallies::snapshot(), "text/plain;version=0.0.4");
/// assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
/// assert!(page.starts_with(b"# HELP"));
/// ```
#[must_use]
pub fn render(snapshot: &Snapshot, accept: &str) -> (&'static str, Vec<u8>) {
    let format = Format::negotiate(accept);
    let mut out = Vec::new();
    render_into(snapshot, format, &mut out);
    (format.content_type(), out)
}

/// A snapshot in this format, behind what `out` holds already; its memory can be used again.
///
/// ```
/// use tallies::encode::{self, Format};
///
/// let mut page = Vec::new();
/// encode::render_into(&tallies::snapshot(), Format::negotiate("*/*"), &mut page);
/// assert!(page.starts_with(b"# HELP"));
/// ```
pub fn render_into(snapshot: &Snapshot, format: Format, out: &mut Vec<u8>) {
    Options::new().render_into(snapshot, format, out);
}

/// A snapshot in the Prometheus text format 0.0.4.
///
/// Families come in the order of their names, series in the order they were made; values are the shortest digits that
/// read back. Source: the exposition formats page of the Prometheus documentation.
///
/// ```
/// let registry = tallies::Registry::new();
/// registry.gauge("queue_length", "Jobs waiting.")?.set(2.5);
/// assert_eq!(
///     tallies::encode::text(&registry.snapshot()),
///     "# HELP queue_length Jobs waiting.\n# TYPE queue_length gauge\nqueue_length 2.5\n"
/// );
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use]
pub fn text(snapshot: &Snapshot) -> String {
    string(|out| text_into(snapshot, out))
}

/// As [`text`](fn@text), behind what `out` holds already; its memory can be used again.
///
/// ```
/// let mut page = Vec::new();
/// tallies::encode::text_into(&tallies::snapshot(), &mut page);
/// assert!(page.starts_with(b"# HELP"));
/// ```
pub fn text_into(snapshot: &Snapshot, out: &mut Vec<u8>) {
    Options::new().text_into(snapshot, out);
}

/// A snapshot in OpenMetrics text 1.0.0.
///
/// As [`text`](fn@text), with units and exemplars; what the format forbids is left out, such as sum and count of a histogram
/// with negative bounds, or whose sum is negative. A counter's samples end in `_total`, whether its name does or not.
/// Source: the OpenMetrics specification, version 1.0.0.
///
/// ```
/// let registry = tallies::Registry::new();
/// registry.counter("uploads_total", "Files accepted.")?.add(3);
/// assert_eq!(
///     tallies::encode::open_metrics(&registry.snapshot()),
///     "# TYPE uploads counter\n# HELP uploads Files accepted.\nuploads_total 3\n# EOF\n"
/// );
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use]
pub fn open_metrics(snapshot: &Snapshot) -> String {
    string(|out| open_metrics_into(snapshot, out))
}

/// As [`open_metrics`](fn@open_metrics), behind what `out` holds already; its memory can be used again.
///
/// ```
/// let mut page = Vec::new();
/// tallies::encode::open_metrics_into(&tallies::snapshot(), &mut page);
/// assert!(page.ends_with(b"# EOF\n"));
/// ```
pub fn open_metrics_into(snapshot: &Snapshot, out: &mut Vec<u8>) {
    Options::new().open_metrics_into(snapshot, out);
}

/// A snapshot as `io.prometheus.client.MetricFamily` messages of protobuf, each behind its length as a varint.
///
/// With everything the other formats have, and since when each series counts; names as in [`text`](fn@text). Source:
/// `metrics.proto` of prometheus/client_model.
///
/// ```
/// let registry = tallies::Registry::new();
/// registry.gauge("q", "")?.set(1.0);
/// let page = tallies::encode::protobuf(&registry.snapshot());
/// // 18 bytes: name `q`, type 1 (gauge), one metric of 13 bytes, its gauge of 9, its value.
/// assert_eq!(page[..8], [18, 10, 1, b'q', 24, 1, 34, 11]);
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use]
pub fn protobuf(snapshot: &Snapshot) -> Vec<u8> {
    let mut out = Vec::new();
    protobuf_into(snapshot, &mut out);
    out
}

/// As [`protobuf`](fn@protobuf), behind what `out` holds already; its memory can be used again.
///
/// ```
/// let mut page = Vec::new();
/// tallies::encode::protobuf_into(&tallies::snapshot(), &mut page);
/// assert!(!page.is_empty());
/// ```
pub fn protobuf_into(snapshot: &Snapshot, out: &mut Vec<u8>) {
    Options::new().protobuf_into(snapshot, out);
}

fn string(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    // Everything written is text; were it not, the page would still be worth having.
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}
