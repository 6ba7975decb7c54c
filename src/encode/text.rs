//! The Prometheus text formats 0.0.4 and 1.0.0. Both have the same lines, and only 1.0.0 allows
//! names in quotes.

use std::time::SystemTime;

use crate::snapshot::{Family, Histogram, Number, Summary};

use super::lines::{BoundForm, Lines, suffixes};
use super::number;
use super::walk::{EscapedNames, PaddedText, SeriesMeta, Writer};

/// Writes text. Omits exemplars and `_created` samples, which the format does not have.
pub(super) struct TextWriter<'a>(Lines<'a>);

impl<'a> TextWriter<'a> {
    /// Creates a writer that appends to `out`. Timestamps are in milliseconds.
    pub(super) fn new(out: &'a mut Vec<u8>, time: Option<SystemTime>) -> Self {
        Self(Lines::new(out, BoundForm::LABEL, time, number::integer))
    }
}

impl Writer for TextWriter<'_> {
    fn out(&mut self) -> &mut Vec<u8> {
        self.0.out
    }

    fn prepare(&mut self, family: &Family, names: &EscapedNames<'_>) {
        self.0.family(family, names, suffixes(family.kind()));
    }

    fn head(&mut self, family: &Family, names: &EscapedNames<'_>) {
        self.0.help(family, names, false);
        self.0.comment("TYPE", names, family.kind().as_text());
    }

    #[inline(always)]
    fn counter(&mut self, labels: PaddedText<'_>, value: Number, _: SeriesMeta<'_>) {
        self.0.line(0, labels, value);
    }

    #[inline(always)]
    fn gauge(&mut self, labels: PaddedText<'_>, value: f64, _: SeriesMeta<'_>) {
        self.0.line(0, labels, Number::Float(value));
    }

    fn histogram(&mut self, labels: PaddedText<'_>, value: &Histogram<'_>, _: SeriesMeta<'_>) {
        let count = self.0.buckets(labels, value, |_, _| {});
        self.0.line(1, labels, Number::Float(value.sum()));
        self.0.line(2, labels, Number::Int(count));
    }

    fn summary(&mut self, labels: PaddedText<'_>, value: &Summary<'_>, _: SeriesMeta<'_>) {
        self.0.quantiles(labels, value, |_| true);
        self.0.sum_and_count(labels, value, |sum| !sum.is_nan());
    }
}
