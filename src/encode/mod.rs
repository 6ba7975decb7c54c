//! Encoding: a snapshot as bytes.
//!
//! One walk drives every format through the small trait `Writer`: formats differ in lines, not in
//! logic.

pub(crate) mod accept;
mod lines;
mod native;
mod number;
mod open_metrics;
mod open_metrics_2;
mod options;
mod pairs;
mod protobuf;
mod single;
mod text;
mod walk;
mod wire;

use crate::snapshot::Snapshot;

pub use crate::snapshot::names::Escaping;
pub use accept::{Format, Syntax};
pub use options::Options;
#[cfg(any(feature = "page", feature = "push"))]
pub(crate) use walk::Cursor;

/// Encodes a snapshot in the format that an Accept header prefers. Returns the Content-Type and the
/// bytes.
///
/// ```
/// let accept = "text/plain;version=0.0.4";
/// let (content_type, page) = tallies::encode::render(&tallies::snapshot(), accept);
/// assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
/// assert!(page.starts_with(b"# HELP"));
/// ```
///
/// If the header is empty, malformed or names only unknown formats, the format is text 0.0.4. Join
/// several Accept headers with commas. Send an HTTP response with `Vary: Accept`, so that no cache
/// returns it to a client that asked for another format.
#[must_use]
pub fn render(snapshot: &Snapshot, accept: &str) -> (&'static str, Vec<u8>) {
    let format = Format::negotiate(accept);
    (format.content_type(), bytes(snapshot, format))
}

/// Encodes a snapshot in the Prometheus text format 0.0.4.
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
///
/// Families are sorted by name; series keep the order in which they were created. Values are
/// written with the fewest digits that parse back to the same value.
///
/// Source: the exposition formats page of the Prometheus documentation.
#[must_use]
pub fn text(snapshot: &Snapshot) -> String {
    string(snapshot, Format::TEXT)
}

/// Encodes a snapshot in OpenMetrics text 1.0.0.
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
///
/// Like [`text`](fn@text), with units and exemplars. Parts that the format forbids are left out,
/// such as the sum and count of a histogram that has negative bounds or whose sum is negative.
/// Samples of a counter end in `_total`, even if its name does not.
///
/// Source: the OpenMetrics specification, version 1.0.0.
#[must_use]
pub fn open_metrics(snapshot: &Snapshot) -> String {
    string(snapshot, Format::OPEN_METRICS)
}

/// Encodes a snapshot as protobuf messages of type `io.prometheus.client.MetricFamily`, each after
/// its length as a varint.
///
/// ```
/// let registry = tallies::Registry::new();
/// registry.gauge("q", "")?.set(1.0);
/// let page = tallies::encode::protobuf(&registry.snapshot());
/// // 18 bytes: name `q`, type 1 (gauge), one metric of 13 bytes, its gauge of 9, its value.
/// assert_eq!(page[..8], [18, 10, 1, b'q', 24, 1, 34, 11]);
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// Contains everything that the other formats contain, and the creation time of each series. Names
/// are as in [`text`](fn@text).
///
/// Source: `metrics.proto` of prometheus/client_model.
#[must_use]
pub fn protobuf(snapshot: &Snapshot) -> Vec<u8> {
    bytes(snapshot, Format::PROTOBUF)
}

/// Returns the value of the label `le` or `quantile` that a page has for this bound.
///
/// ```
/// use tallies::encode::bound_text;
///
/// let all = [5.0, 0.25, 1e6, f64::INFINITY].map(bound_text);
/// assert_eq!(all, ["5.0", "0.25", "1e+06", "+Inf"]);
/// ```
///
/// Prometheus 3 writes the bounds of all pages in this form.
///
/// Source: OpenMetrics 1.0, section "Numbers" under "Canonical Numbers".
#[must_use]
pub fn bound_text(bound: f64) -> String {
    number::bound(bound)
}

/// Encodes a snapshot in a text format.
#[inline(always)]
fn string(snapshot: &Snapshot, format: Format) -> String {
    // The writers write UTF-8 only. If one ever did not, a lossy page would still be better than
    // none.
    String::from_utf8(bytes(snapshot, format))
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[inline(always)]
fn bytes(snapshot: &Snapshot, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    Options::new().write(snapshot, format, &mut out);
    out
}
