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

/// A text that is written once for many copies of a fixed size.
#[derive(Default)]
pub(super) struct PaddedBuffer {
    /// The text, and zeros after it.
    bytes: Vec<u8>,
    /// The length of the text.
    pub(super) len: usize,
}

impl PaddedBuffer {
    /// Replaces the text by the one that `write` appends, for copies of `size` bytes.
    pub(super) fn set(&mut self, size: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.clear();
        write(&mut self.bytes);
        self.len = self.bytes.len();
        self.bytes.resize(self.len.max(size), 0);
    }

    #[inline(always)]
    pub(super) fn text(&self) -> PaddedText<'_> {
        let (text, len) = (&*self.bytes, self.len);
        PaddedText { text, len }
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
    /// Completes the head of a family whose other series, `_rest` bytes, are not in this block.
    /// Only called if the head is in this block and [`HAS_LENGTHS`](Self::HAS_LENGTHS) is set.
    fn cut(&mut self, _rest: usize) {}
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
    /// The lengths of label names and values; see [`LabelEntry`](crate::snapshot::LabelEntry).
    /// Empty if the labels are escaped for this format.
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

/// The walk over the families of a page.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    pub(super) escaping: Escaping,
    /// The length at which the buffer is full, in bytes.
    pub(super) limit: usize,
}

/// The number of series with a single value that are written before the walk looks at the length of
/// the buffer. Looking after each would take 2 % of the instructions.
const NUMBERS: usize = 32;

/// The same for histograms and summaries, which take more bytes each.
const DISTRIBUTIONS: usize = 4;

impl Walk {
    /// Writes a part of a page with `writer`: from `cursor` on, until the buffer is full. Returns
    /// the position of the next series, or `None` at the end of the page.
    ///
    /// `families` are those from `cursor.family` on. The parts of a page, one after the other, are
    /// the whole page.
    pub(super) fn block<'a, W: Writer>(
        self,
        writer: &mut W,
        families: impl IntoIterator<Item = &'a Family>,
        mut cursor: Cursor,
    ) -> Option<Cursor> {
        for family in families {
            if writer.out().len() >= self.limit {
                return Some(cursor);
            }
            let meta = &family.meta;
            let (mut name, mut constant) = (String::new(), String::new());
            let mut names = EscapedNames {
                name: &meta.name,
                quoted: meta.utf8 && !is_metric_name(meta.name.as_bytes()),
                constant: &meta.constant,
            };
            if self.escapes(family) {
                self.escaping.name(&meta.name, &mut name);
                self.escaping.labels(&meta.constant, &mut constant);
                names = EscapedNames {
                    name: &name,
                    quoted: false,
                    constant: &constant,
                };
            }
            writer.prepare(family, &names);
            let with_head = cursor.series == 0;
            if with_head {
                writer.head(family, &names);
            }
            cursor.series = self.series(writer, family, cursor.series);
            if cursor.series < family.texts.len() {
                if W::HAS_LENGTHS && with_head {
                    let rest = self.len_of_series(writer, family, cursor.series);
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

    /// Writes the series of a family from index `from` on, until the buffer is full. Returns the
    /// index of the next series.
    fn series<W: Writer>(self, writer: &mut W, family: &Family, from: usize) -> usize {
        match &family.values {
            Values::Counter(Numbers::Int(values)) => {
                self.each(writer, family, from, |writer, labels, series| {
                    writer.counter(labels, Number::Int(values[series.i]), series);
                })
            }
            Values::Counter(Numbers::Float(values)) => {
                self.each(writer, family, from, |writer, labels, series| {
                    writer.counter(labels, Number::Float(values[series.i]), series);
                })
            }
            Values::Gauge(all) => self.each(writer, family, from, |writer, labels, series| {
                writer.gauge(labels, all.values[series.i], series);
            }),
            Values::Histogram(all) => self.each(writer, family, from, |writer, labels, series| {
                writer.histogram(labels, &all.get(series.i), series);
            }),
            Values::Summary(..) | Values::PageSummary(_) => {
                self.each(writer, family, from, |writer, labels, series| {
                    if let Value::Summary(value) = family.value(series.i) {
                        writer.summary(labels, &value, series);
                    }
                })
            }
        }
    }

    /// Returns the length of the series of a family from index `from` on, in bytes. Writes them to
    /// a buffer of its own, a block at a time.
    #[cold]
    fn len_of_series<W: Writer>(self, writer: &mut W, family: &Family, mut from: usize) -> usize {
        let (mut block, mut len) = (Vec::new(), 0);
        let blocks = Self {
            limit: 1 << 15,
            ..self
        };
        while from < family.texts.len() {
            std::mem::swap(writer.out(), &mut block);
            from = blocks.series(writer, family, from);
            std::mem::swap(writer.out(), &mut block);
            len += block.len();
            block.clear();
        }
        len
    }

    /// Returns whether the escaping can change the names of a family.
    fn escapes(self, family: &Family) -> bool {
        match self.escaping {
            Escaping::AllowUtf8 => false,
            Escaping::Dots => true,
            _ => family.meta.utf8,
        }
    }

    /// Calls `write` for the series of `family` from index `from` on, with the text of their
    /// labels, which is escaped if need be. Stops once the buffer is full, and returns the index of
    /// the next series.
    #[inline(always)]
    fn each<'a, W: Writer>(
        self,
        writer: &mut W,
        family: &'a Family,
        mut from: usize,
        mut write: impl FnMut(&mut W, PaddedText<'_>, SeriesMeta<'a>),
    ) -> usize {
        let (escapes, mut escaped) = (self.escapes(family), String::new());
        let batch = match family.values {
            Values::Counter(_) | Values::Gauge(_) => NUMBERS,
            _ => DISTRIBUTIONS,
        };
        let since = family.texts.since();
        for (page, mut at) in family.texts.pages_from(from) {
            while at < page.len() {
                let count = batch.min(page.len() - at);
                for (i, entry) in (from..).zip(page.entries_from(at).take(count)) {
                    let (mut text, mut len, mut cuts) = (entry.text, entry.len, entry.cuts);
                    if escapes {
                        escaped.clear();
                        self.escaping.labels(family.texts.get(i), &mut escaped);
                        (text, len, cuts) = (escaped.as_bytes(), escaped.len(), &[]);
                    }
                    let series = SeriesMeta {
                        family,
                        i,
                        created: entry.created.max(since),
                        cuts,
                    };
                    // There is only one call, so that the compiler inlines the closure.
                    write(writer, PaddedText { text, len }, series);
                }
                (from, at) = (from + count, at + count);
                if writer.out().len() >= self.limit {
                    return from;
                }
            }
        }
        from
    }
}
