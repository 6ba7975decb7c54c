//! The walk that all formats share, and what it hands them.

use crate::snapshot::{
    Escaping, Exemplar, Family, Histogram, Number, Numbers, Summary, Value, Values, is_metric_name,
};

/// A text of `len` bytes, and whatever lies behind it.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a [u8],
    pub(super) len: usize,
}

impl<'a> Piece<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
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

    /// Appends it: by a copy of `N` bytes, which needs no call, if it is not longer and so much is there.
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

/// What a format writes.
pub(super) trait Writer {
    /// The head of a family; its series follow.
    fn family(&mut self, family: &Family, names: &Names<'_>);
    /// One series of a counter.
    fn counter(&mut self, labels: Piece<'_>, value: Number, series: Series<'_>);
    /// One series of a gauge, an info or a state set.
    fn gauge(&mut self, labels: Piece<'_>, value: f64, series: Series<'_>);
    /// One series of a histogram.
    fn histogram(&mut self, labels: Piece<'_>, value: &Histogram<'_>, series: Series<'_>);
    /// One series of a summary.
    fn summary(&mut self, labels: Piece<'_>, value: &Summary<'_>, series: Series<'_>);
    /// No more series of this family.
    fn family_end(&mut self) {}
    /// No more families.
    fn end(&mut self) {}
}

/// What a family is called, as a format may write it.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    /// Escaped.
    pub(super) name: &'a str,
    /// Whether it has to stand in quotes.
    pub(super) quoted: bool,
    /// The text of the labels that all series have.
    pub(super) constant: &'a str,
}

/// What few formats ask of a series.
#[derive(Clone, Copy)]
pub(super) struct Series<'a> {
    family: &'a Family,
    i: usize,
    created: u64,
    /// The lengths in its text: see [`Entry`](crate::snapshot::labels::Entry). None where the labels are written otherwise.
    pub(super) cuts: &'a [u8],
}

impl<'a> Series<'a> {
    /// Since when it counts, in milliseconds since the epoch of Unix.
    #[inline(always)]
    pub(super) fn created(self) -> Option<u64> {
        Some(self.created).filter(|millis| *millis > 0)
    }

    /// Each behind the places of the series and of its bucket.
    #[inline(always)]
    pub(super) fn exemplars(self) -> &'a [(u32, u32, Exemplar)] {
        self.family.exemplars_of(self.i)
    }
}

/// Walks over families.
pub(super) fn walk<'a>(
    families: impl IntoIterator<Item = &'a Family>,
    escaping: Escaping,
    writer: &mut impl Writer,
) {
    let (mut name, mut constant, mut scratch) = (String::new(), String::new(), String::new());
    for family in families {
        let meta = &family.meta;
        let names = if changes(escaping, family) {
            name.clear();
            escaping.name(&meta.name, &mut name);
            constant.clear();
            escaping.labels(&meta.constant, &mut constant);
            Names {
                name: &name,
                quoted: false,
                constant: &constant,
            }
        } else {
            Names {
                name: &meta.name,
                quoted: meta.utf8 && !is_metric_name(meta.name.as_bytes()),
                constant: &meta.constant,
            }
        };
        writer.family(family, &names);
        let scratch = &mut scratch;
        match &family.values {
            Values::Counter(Numbers::Int(values)) => {
                each(family, escaping, scratch, |labels, series| {
                    writer.counter(labels, Number::Int(values[series.i]), series);
                })
            }
            Values::Counter(Numbers::Float(values)) => {
                each(family, escaping, scratch, |labels, series| {
                    writer.counter(labels, Number::Float(values[series.i]), series);
                });
            }
            Values::Gauge(values) => each(family, escaping, scratch, |labels, series| {
                writer.gauge(labels, values[series.i], series);
            }),
            Values::Summary { .. } | Values::PageSummary(_) => {
                each(family, escaping, scratch, |labels, series| {
                    if let Value::Summary(value) = family.value(series.i) {
                        writer.summary(labels, &value, series);
                    }
                })
            }
            Values::Histogram { .. } => each(family, escaping, scratch, |labels, series| {
                if let Value::Histogram(value) = family.value(series.i) {
                    writer.histogram(labels, &value, series);
                }
            }),
        }
        writer.family_end();
    }
    writer.end();
}

/// Whether the names of a family are not written as they are.
fn changes(escaping: Escaping, family: &Family) -> bool {
    match escaping {
        Escaping::AllowUtf8 => false,
        Escaping::Dots => true,
        _ => family.meta.utf8,
    }
}

/// Every series, and the text of its labels, escaped.
#[inline(always)]
fn each<'a>(
    family: &'a Family,
    escaping: Escaping,
    scratch: &mut String,
    mut write: impl FnMut(Piece<'_>, Series<'a>),
) {
    let changed = changes(escaping, family);
    for (i, entry) in family.texts.iter().enumerate() {
        let mut labels = Piece {
            text: entry.text,
            len: entry.len,
        };
        let mut cuts = entry.cuts;
        if changed {
            scratch.clear();
            escaping.labels(family.texts.get(i), scratch);
            labels = Piece::of(scratch.as_bytes());
            cuts = &[];
        }
        let series = Series {
            family,
            i,
            created: entry.created,
            cuts,
        };
        // Called in one place only: so it is inlined.
        write(labels, series);
    }
}
