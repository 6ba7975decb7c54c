//! The walk over families that all formats share, and the trait `Writer` that a format implements.

use crate::snapshot::{
    Escaping, Exemplar, Family, Histogram, Kind, Number, Numbers, Summary, Value, Values,
    is_metric_name,
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

/// A position in a page: the series that is written next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The index of the family among those of the page.
    pub(crate) family: usize,
    /// The index of the series in its family. The head of a family belongs to its first series.
    series: usize,
}

/// The operations of a format, in the order of the walk.
pub(super) trait Writer {
    /// Whether the head of a family contains the length of its series.
    const HAS_LENGTHS: bool = false;

    /// The buffer that the writer appends to.
    fn out(&mut self) -> &mut Vec<u8>;
    /// Prepares for the series of a family. Writes nothing.
    fn prepare(&mut self, family: &Family, names: &EscapedNames<'_>);
    /// Writes the head of the family that was prepared last. Its series follow.
    fn head(&mut self, family: &Family, names: &EscapedNames<'_>);
    /// Writes a series of a counter.
    fn counter(&mut self, labels: PaddedText<'_>, value: Number, series: SeriesMeta<'_>);
    /// Writes a series of a gauge, an info or a state set.
    fn gauge(&mut self, labels: PaddedText<'_>, value: f64, series: SeriesMeta<'_>);
    /// Writes a series of a histogram.
    fn histogram(&mut self, labels: PaddedText<'_>, value: &Histogram<'_>, series: SeriesMeta<'_>);
    /// Writes a series of a summary.
    fn summary(&mut self, labels: PaddedText<'_>, value: &Summary<'_>, series: SeriesMeta<'_>);
    /// Completes the head of a family whose other series, `rest` bytes, are not in this block. Only
    /// called if the head is in this block and [`HAS_LENGTHS`](Self::HAS_LENGTHS) is set.
    fn cut(&mut self, rest: usize) {
        let _ = rest;
    }
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

impl EscapedNames<'_> {
    /// Returns the names without the suffix that OpenMetrics adds to the samples only.
    pub(super) fn stem(&self, kind: Kind) -> Self {
        Self {
            name: kind.stem(self.name),
            ..*self
        }
    }
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

/// Writes a part of a page with `writer`: from `cursor` on, until the buffer has at least `limit`
/// bytes. Returns the position of the next series, or `None` at the end of the page.
///
/// `families` are those from `cursor.family` on. The parts of a page, one after the other, are the
/// whole page.
pub(super) fn walk_block<'a, W: Writer>(
    families: impl IntoIterator<Item = &'a Family>,
    escaping: Escaping,
    mut cursor: Cursor,
    limit: usize,
    writer: &mut W,
) -> Option<Cursor> {
    let (mut name, mut constant, mut scratch) = (String::new(), String::new(), String::new());
    for family in families {
        if writer.out().len() >= limit {
            return Some(cursor);
        }
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
        writer.prepare(family, &names);
        let with_head = cursor.series == 0;
        if with_head {
            writer.head(family, &names);
        }
        cursor.series = write_series(family, escaping, cursor.series, limit, &mut scratch, writer);
        if cursor.series < family.texts.len() {
            if W::HAS_LENGTHS && with_head {
                let rest = len_of_series(family, escaping, cursor.series, &mut scratch, writer);
                writer.cut(rest);
            }
            return Some(cursor);
        }
        writer.family_end();
        cursor.family += 1;
        cursor.series = 0;
    }
    writer.end();
    None
}

/// The number of series with a single value that are written before the walk looks at the length of
/// the buffer. Looking after each would take 2 % of the instructions.
const NUMBERS: usize = 32;

/// The same for histograms and summaries, which take more bytes each.
const DISTRIBUTIONS: usize = 4;

/// Writes the series of a family from index `from` on, until the buffer has at least `limit` bytes.
/// Returns the index of the next series.
fn write_series<W: Writer>(
    family: &Family,
    escaping: Escaping,
    from: usize,
    limit: usize,
    scratch: &mut String,
    writer: &mut W,
) -> usize {
    let escaping = needs_escaping(escaping, family).then_some(escaping);
    let part = (family, escaping, from, limit);
    match &family.values {
        Values::Counter(Numbers::Int(values)) => {
            for_each_series(part, NUMBERS, scratch, writer, |writer, labels, series| {
                writer.counter(labels, Number::Int(values[series.i]), series);
            })
        }
        Values::Counter(Numbers::Float(values)) => {
            for_each_series(part, NUMBERS, scratch, writer, |writer, labels, series| {
                writer.counter(labels, Number::Float(values[series.i]), series);
            })
        }
        Values::Gauge(values) => {
            for_each_series(part, NUMBERS, scratch, writer, |writer, labels, series| {
                writer.gauge(labels, values[series.i], series);
            })
        }
        Values::Summary { .. } | Values::PageSummary(_) => for_each_series(
            part,
            DISTRIBUTIONS,
            scratch,
            writer,
            |writer, labels, series| {
                if let Value::Summary(value) = family.value(series.i) {
                    writer.summary(labels, &value, series);
                }
            },
        ),
        Values::Histogram { .. } => for_each_series(
            part,
            DISTRIBUTIONS,
            scratch,
            writer,
            |writer, labels, series| {
                if let Value::Histogram(value) = family.value(series.i) {
                    writer.histogram(labels, &value, series);
                }
            },
        ),
    }
}

/// Returns the length of the series of a family from index `from` on, in bytes. Writes them to a
/// buffer of its own, a block at a time.
#[cold]
fn len_of_series<W: Writer>(
    family: &Family,
    escaping: Escaping,
    mut from: usize,
    scratch: &mut String,
    writer: &mut W,
) -> usize {
    const BLOCK: usize = 1 << 15;
    let (mut block, mut len) = (Vec::new(), 0);
    while from < family.texts.len() {
        std::mem::swap(writer.out(), &mut block);
        from = write_series(family, escaping, from, BLOCK, scratch, writer);
        std::mem::swap(writer.out(), &mut block);
        len += block.len();
        block.clear();
    }
    len
}

/// Returns whether the escaping can change the names of a family.
fn needs_escaping(escaping: Escaping, family: &Family) -> bool {
    match escaping {
        Escaping::AllowUtf8 => false,
        Escaping::Dots => true,
        _ => family.meta.utf8,
    }
}

/// Calls `write` for the series of `family` from index `from` on, with the text of their labels,
/// which is escaped if `escaping` is set. Stops once the buffer has at least `limit` bytes, and
/// returns the index of the next series. Looks at the buffer after every `batch` series.
#[inline(always)]
fn for_each_series<'a, W: Writer>(
    (family, escaping, mut from, limit): (&'a Family, Option<Escaping>, usize, usize),
    batch: usize,
    scratch: &mut String,
    writer: &mut W,
    mut write: impl FnMut(&mut W, PaddedText<'_>, SeriesMeta<'a>),
) -> usize {
    let since = family.texts.since();
    for (page, mut at) in family.texts.pages_from(from) {
        while at < page.len() {
            let count = batch.min(page.len() - at);
            for (i, entry) in (from..).zip(page.entries_from(at).take(count)) {
                let mut labels = PaddedText {
                    text: entry.text,
                    len: entry.len,
                };
                let mut cuts = entry.cuts;
                if let Some(escaping) = escaping {
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
                write(writer, labels, series);
            }
            (from, at) = (from + count, at + count);
            if writer.out().len() >= limit {
                return from;
            }
        }
    }
    from
}
