//! A snapshot as bytes. One walk drives every format through one small trait: formats differ in lines, not in logic.

pub(crate) mod accept;
mod native;
mod number;
mod text;

use crate::snapshot::{Family, Histogram, Number, Numbers, Snapshot, Summary, Value, Values};

pub use accept::{Escaping, Format, Syntax};

/// A snapshot in the format that an Accept header likes best: its Content-Type, and its bytes.
///
/// An unknown or malformed header gets the text format 0.0.4, as does an empty one.
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
    render_families(snapshot, format, out);
}

/// As [`render_into`], of these families.
pub(crate) fn render_families<'a>(
    families: impl IntoIterator<Item = &'a Family>,
    format: Format,
    out: &mut Vec<u8>,
) {
    match format.syntax() {
        // Each in an arm of its own, once it is offered.
        Syntax::Text | Syntax::Text1 | Syntax::OpenMetrics | Syntax::Protobuf => {
            walk(families, &mut text::Text::new(out));
        }
    }
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
    let mut out = Vec::new();
    text_into(snapshot, &mut out);
    // Everything written is text; were it not, the page would still be worth having.
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// As [`text`](fn@text), behind what `out` holds already; its memory can be used again.
///
/// ```
/// let mut page = Vec::new();
/// tallies::encode::text_into(&tallies::snapshot(), &mut page);
/// assert!(page.starts_with(b"# HELP"));
/// ```
pub fn text_into(snapshot: &Snapshot, out: &mut Vec<u8>) {
    walk(snapshot, &mut text::Text::new(out));
}

/// What a format writes.
trait Writer {
    /// The head of a family; its series follow.
    fn family(&mut self, family: &Family);
    /// One series of a counter.
    fn counter(&mut self, labels: &[u8], value: Number);
    /// One series of a gauge, an info or a state set.
    fn gauge(&mut self, labels: &[u8], value: f64);
    /// One series of a histogram.
    fn histogram(&mut self, labels: &[u8], value: &Histogram<'_>);
    /// One series of a summary.
    fn summary(&mut self, labels: &[u8], value: &Summary<'_>);
}

/// The walk that all formats share.
fn walk<'a>(families: impl IntoIterator<Item = &'a Family>, format: &mut impl Writer) {
    for family in families {
        format.family(family);
        match &family.values {
            Values::Counter(Numbers::Int(values)) => {
                for (labels, value) in family.texts.iter().zip(values) {
                    format.counter(labels, Number::Int(*value));
                }
            }
            Values::Counter(Numbers::Float(values)) => {
                for (labels, value) in family.texts.iter().zip(values) {
                    format.counter(labels, Number::Float(*value));
                }
            }
            Values::Gauge(values) => {
                for (labels, value) in family.texts.iter().zip(values) {
                    format.gauge(labels, *value);
                }
            }
            Values::Summary { .. } => {
                for (i, labels) in family.texts.iter().enumerate() {
                    if let Value::Summary(value) = family.value(i) {
                        format.summary(labels, &value);
                    }
                }
            }
            Values::Histogram { .. } => {
                for (i, labels) in family.texts.iter().enumerate() {
                    if let Value::Histogram(value) = family.value(i) {
                        format.histogram(labels, &value);
                    }
                }
            }
        }
    }
}
