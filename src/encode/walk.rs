//! The walk over families that all formats share, and the trait `Writer` that a format implements.

use crate::snapshot::{
    Escaping, Exemplar, Family, Histogram, Number, Numbers, Summary, Value, Values, is_metric_name,
};

/// A text of `len` bytes at the start of a buffer. The bytes after it, if any, allow copies of a
/// fixed size.
#[derive(Clone, Copy)]
pub(super) struct PaddedText<'a> {
    /// The text and the bytes after it.
    pub(super) text: &'a [u8],
    /// The length of the text.
    pub(super) len: usize,
}

impl<'a> PaddedText<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let len = text.len();
        Self { text, len }
    }

    #[inline(always)]
    pub(super) fn bytes(self) -> &'a [u8] {
        &self.text[..self.len]
    }

    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Appends the text. If it has at most `N` bytes and the buffer has at least `N`, this is one
    /// copy of `N` bytes, which needs no call to `memcpy`.
    #[inline(always)]
    pub(super) fn push<const N: usize>(self, out: &mut Vec<u8>) {
        match self.text.first_chunk::<N>() {
            Some(chunk) if self.len <= N => {
                let end = out.len() + self.len;
                out.extend_from_slice(chunk);
                out.truncate(end);
            }
            _ => out.extend_from_slice(self.bytes()),
        }
    }
}

/// The operations of a format, in the order of the walk.
pub(super) trait Writer {
    /// Writes the head of a family. Its series follow.
    fn family(&mut self, family: &Family, names: &EscapedNames<'_>);
    /// Writes a series of a counter.
    fn counter(&mut self, labels: PaddedText<'_>, value: Number, series: SeriesMeta<'_>);
    /// Writes a series of a gauge, an info or a state set.
    fn gauge(&mut self, labels: PaddedText<'_>, value: f64, series: SeriesMeta<'_>);
    /// Writes a series of a histogram.
    fn histogram(&mut self, labels: PaddedText<'_>, value: &Histogram<'_>, series: SeriesMeta<'_>);
    /// Writes a series of a summary.
    fn summary(&mut self, labels: PaddedText<'_>, value: &Summary<'_>, series: SeriesMeta<'_>);
    /// Ends a family, after its last series.
    fn family_end(&mut self) {}
    /// Ends the page, after the last family.
    fn end(&mut self) {}
}

/// The name and the constant labels of a family, escaped for one format.
#[derive(Clone, Copy)]
pub(super) struct EscapedNames<'a> {
    /// The name after escaping.
    pub(super) name: &'a str,
    /// Whether the name must be in quotes.
    pub(super) quoted: bool,
    /// The text of the constant labels, which every series has.
    pub(super) constant: &'a str,
}

/// Extra data about a series that only some formats need.
#[derive(Clone, Copy)]
pub(super) struct SeriesMeta<'a> {
    family: &'a Family,
    /// The index of the series in its family.
    i: usize,
    /// Milliseconds since the Unix epoch; 0 if unknown.
    created: u64,
    /// The lengths of label names and values; see [`Entry`](crate::snapshot::Entry). Empty if the
    /// labels are escaped for this format.
    pub(super) cuts: &'a [u8],
}

impl<'a> SeriesMeta<'a> {
    /// Returns the creation time in milliseconds since the Unix epoch, if it is known.
    #[inline(always)]
    pub(super) fn created(self) -> Option<u64> {
        Some(self.created).filter(|millis| *millis > 0)
    }

    /// Returns the exemplars, each with the index of its series and of its bucket.
    #[inline(always)]
    pub(super) fn exemplars(self) -> &'a [(u32, u32, Exemplar)] {
        self.family.exemplars_of(self.i)
    }
}

/// Writes families, one after the other, with `writer`.
pub(super) fn walk<'a>(
    families: impl IntoIterator<Item = &'a Family>,
    escaping: Escaping,
    writer: &mut impl Writer,
) {
    let (mut name, mut constant, mut scratch) = (String::new(), String::new(), String::new());
    for family in families {
        let meta = &family.meta;
        let names = if needs_escaping(escaping, family) {
            name.clear();
            escaping.name(&meta.name, &mut name);
            constant.clear();
            escaping.labels(&meta.constant, &mut constant);
            EscapedNames {
                name: &name,
                quoted: false,
                constant: &constant,
            }
        } else {
            EscapedNames {
                name: &meta.name,
                quoted: meta.utf8 && !is_metric_name(meta.name.as_bytes()),
                constant: &meta.constant,
            }
        };
        writer.family(family, &names);
        let scratch = &mut scratch;
        match &family.values {
            Values::Counter(Numbers::Int(values)) => {
                for_each_series(family, escaping, scratch, |labels, series| {
                    writer.counter(labels, Number::Int(values[series.i]), series);
                })
            }
            Values::Counter(Numbers::Float(values)) => {
                for_each_series(family, escaping, scratch, |labels, series| {
                    writer.counter(labels, Number::Float(values[series.i]), series);
                });
            }
            Values::Gauge(values) => {
                for_each_series(family, escaping, scratch, |labels, series| {
                    writer.gauge(labels, values[series.i], series);
                })
            }
            Values::Summary { .. } | Values::PageSummary(_) => {
                for_each_series(family, escaping, scratch, |labels, series| {
                    if let Value::Summary(value) = family.value(series.i) {
                        writer.summary(labels, &value, series);
                    }
                })
            }
            Values::Histogram { .. } => {
                for_each_series(family, escaping, scratch, |labels, series| {
                    if let Value::Histogram(value) = family.value(series.i) {
                        writer.histogram(labels, &value, series);
                    }
                })
            }
        }
        writer.family_end();
    }
    writer.end();
}

/// Returns whether the escaping can change the names of a family.
fn needs_escaping(escaping: Escaping, family: &Family) -> bool {
    match escaping {
        Escaping::AllowUtf8 => false,
        Escaping::Dots => true,
        _ => family.meta.utf8,
    }
}

/// Calls `write` for every series with the escaped text of its labels.
#[inline(always)]
fn for_each_series<'a>(
    family: &'a Family,
    escaping: Escaping,
    scratch: &mut String,
    mut write: impl FnMut(PaddedText<'_>, SeriesMeta<'a>),
) {
    let escaped = needs_escaping(escaping, family);
    let since = family.texts.since();
    let mut i = 0;
    for page in family.texts.pages() {
        for entry in page.entries() {
            let mut labels = PaddedText {
                text: entry.text,
                len: entry.len,
            };
            let mut cuts = entry.cuts;
            if escaped {
                scratch.clear();
                escaping.labels(family.texts.get(i), scratch);
                labels = PaddedText::new(scratch.as_bytes());
                cuts = &[];
            }
            let series = SeriesMeta {
                family,
                i,
                created: entry.created.max(since),
                cuts,
            };
            // There is only one call, so that the compiler inlines the closure.
            write(labels, series);
            i += 1;
        }
    }
}
