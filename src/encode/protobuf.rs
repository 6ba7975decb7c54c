//! The protobuf format: `io.prometheus.client.MetricFamily` messages, each after its length,
//! written in the order of the walk.
//!
//! Source: `metrics.proto` of prometheus/client_model.

use std::time::SystemTime;

use crate::snapshot::{Exemplar, Family, Histogram, Kind, Number, Summary, Values, millis};

use super::native;
use super::pairs::{push_cut, push_pairs};
use super::single::{PAIR, SingleValue};
use super::walk::{EscapedNames, PaddedBuffer, PaddedText, SeriesMeta, Writer};
use super::wire::{Message, Timestamp, push_bytes, push_double, push_integer, tag_of_bytes};

/// Writes protobuf.
pub(super) struct Protobuf<'a> {
    /// The page.
    out: &'a mut Vec<u8>,
    /// The constant labels as messages.
    constant: PaddedBuffer,
    /// The current family, if its head is in this block and not yet complete.
    family: Option<Message>,
    /// The offset in `out` of the first series of the current family.
    series: usize,
    /// The message of the last series with a single value. The next series usually differs from it
    /// only in the value.
    value: SingleValue,
    /// The creation time of the last series. The next series usually has the same.
    created: Timestamp,
    /// The timestamp field of every sample. Empty if samples have no timestamp.
    timestamp: Vec<u8>,
}

/// Field numbers in `Metric` of the messages of each kind.
const GAUGE: u32 = 2;
const COUNTER: u32 = 3;
const SUMMARY: u32 = 4;
const UNTYPED: u32 = 5;
const HISTOGRAM: u32 = 7;

/// The tag of field 16 of a `Histogram`: exemplars of exponential buckets.
const EXEMPLARS: [u8; 2] = [0x82, 0x01];

impl<'a> Protobuf<'a> {
    /// Creates a writer that appends to `out`.
    pub(super) fn new(out: &'a mut Vec<u8>, time: Option<SystemTime>) -> Self {
        let mut timestamp = Vec::new();
        if let Some(time) = time {
            push_integer(&mut timestamp, 6, millis(time));
        }
        Self {
            out,
            constant: PaddedBuffer::default(),
            family: None,
            series: 0,
            value: SingleValue::default(),
            created: Timestamp::default(),
            timestamp,
        }
    }

    /// Begins a series and appends its labels. `len` estimates the length of the rest.
    #[inline(always)]
    fn metric(&mut self, labels: PaddedText<'_>, series: SeriesMeta<'_>, len: usize) -> Message {
        // A label takes about as many bytes in its message as in its text.
        let len = self.constant.len + labels.len + len;
        let metric = Message::field(self.out, 4, len);
        if self.constant.len > 0 {
            self.out.extend_from_slice(self.constant.text().bytes());
        }
        if series.cuts.is_empty() {
            push_pairs(self.out, labels.bytes());
        } else {
            push_cut(self.out, labels, series.cuts);
        }
        metric
    }

    /// Appends a whole series with a single value `x`. `self.value` holds its message, except for
    /// the value.
    #[inline(always)]
    fn single(&mut self, labels: PaddedText<'_>, series: SeriesMeta<'_>, x: f64) {
        let (value, constant) = (&self.value, self.constant.text());
        if !self.timestamp.is_empty()
            || !value.push_metric(self.out, constant, labels, series.cuts, x)
        {
            let metric = self.metric(labels, series, 32);
            self.value.push(self.out, x);
            self.end(metric);
        }
    }

    #[inline(always)]
    /// Ends a series, after its timestamp.
    fn end(&mut self, metric: Message) {
        if !self.timestamp.is_empty() {
            self.out.extend_from_slice(&self.timestamp);
        }
        metric.end(self.out);
    }

    /// Returns the creation time of the series as field `field`; it is empty if the time is
    /// unknown.
    #[inline(always)]
    fn created(&mut self, field: u32, series: SeriesMeta<'_>) -> &Timestamp {
        self.created.set(field, series.created());
        &self.created
    }
}

impl Writer for Protobuf<'_> {
    const HAS_LENGTHS: bool = true;

    fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    fn prepare(&mut self, family: &Family, names: &EscapedNames<'_>) {
        self.constant
            .set(PAIR, |out| push_pairs(out, names.constant.as_bytes()));
        self.value = SingleValue::new(
            match family.kind() {
                Kind::Counter => COUNTER,
                Kind::Unknown => UNTYPED,
                _ => GAUGE,
            },
            None,
        );
    }

    fn head(&mut self, family: &Family, names: &EscapedNames<'_>) {
        // Estimate: labels, and about as many bytes of numbers.
        let numbers = match &family.values {
            Values::Histogram(all) => 60 + 14 * all.bounds.len(),
            _ => 40,
        };
        let len = family.texts.len_of_text() + family.len() * (self.constant.len + numbers);
        self.family = Some(Message::begin(self.out, len));
        push_bytes(self.out, 1, names.name.as_bytes());
        if !family.help().is_empty() {
            push_bytes(self.out, 2, family.help().as_bytes());
        }
        let kind = match family.kind() {
            Kind::Counter => 0,
            Kind::Gauge | Kind::Info | Kind::StateSet => 1,
            Kind::Summary => 2,
            Kind::Unknown => 3,
            Kind::Histogram => 4,
            Kind::GaugeHistogram => 5,
        };
        push_integer(self.out, 3, kind);
        if !family.unit().is_empty() {
            push_bytes(self.out, 5, family.unit().as_bytes());
        }
        self.series = self.out.len();
    }

    #[inline(always)]
    fn counter(&mut self, labels: PaddedText<'_>, value: Number, series: SeriesMeta<'_>) {
        let exemplars = series.exemplars();
        if exemplars.is_empty() {
            if self.value.created != series.created() {
                self.value = SingleValue::new(COUNTER, series.created());
            }
            self.single(labels, series, value.as_f64());
            return;
        }
        let created = *self.created(3, series);
        let metric = self.metric(labels, series, 0x80);
        let message = Message::field(self.out, COUNTER, 0x80);
        push_double(self.out, 1, value.as_f64());
        if let Some((.., last)) = exemplars.last() {
            exemplar(self.out, &[tag_of_bytes(2)], last);
        }
        self.out.extend_from_slice(created.as_slice());
        message.end(self.out);
        self.end(metric);
    }

    #[inline(always)]
    fn gauge(&mut self, labels: PaddedText<'_>, value: f64, series: SeriesMeta<'_>) {
        self.single(labels, series, value);
    }

    fn histogram(&mut self, labels: PaddedText<'_>, value: &Histogram<'_>, series: SeriesMeta<'_>) {
        let created = *self.created(15, series);
        let buckets = value.counts.len();
        let len = 32 + 14 * buckets;
        let metric = self.metric(labels, series, len);
        let message = Message::field(self.out, HISTOGRAM, len);
        push_integer(self.out, 1, value.count());
        push_double(self.out, 2, value.sum());
        let exemplars = series.exemplars();
        let alone = value.native().is_some() && buckets == 1;
        // Next to exponential buckets, a single bucket for all values adds no information.
        let fixed = if alone { 0 } else { buckets };
        for (i, (bound, cumulative)) in value.buckets().take(fixed).enumerate() {
            let bucket = Message::field(self.out, 3, 0);
            push_integer(self.out, 1, cumulative);
            push_double(self.out, 2, bound);
            // A second one would be merged into the first.
            let last = exemplars.iter().rfind(|(_, at, _)| *at as usize == i);
            if let Some((.., last)) = last {
                exemplar(self.out, &[tag_of_bytes(3)], last);
            }
            bucket.end(self.out);
        }
        if let Some(native) = value.native() {
            native::push(self.out, native);
        }
        self.out.extend_from_slice(created.as_slice());
        // Prometheus 3 takes the exemplars of exponential buckets from here alone.
        if value.native().is_some() {
            for (.., of_all) in exemplars {
                exemplar(self.out, &EXEMPLARS, of_all);
            }
        }
        message.end(self.out);
        self.end(metric);
    }

    fn summary(&mut self, labels: PaddedText<'_>, value: &Summary<'_>, series: SeriesMeta<'_>) {
        let created = *self.created(4, series);
        let len = 32 + 20 * value.exported().count();
        let metric = self.metric(labels, series, len);
        let message = Message::field(self.out, SUMMARY, len);
        if let Some(count) = value.known_count() {
            push_integer(self.out, 1, count);
        }
        push_double(self.out, 2, value.sum());
        for (phi, quantile) in value.exported() {
            let message = Message::field(self.out, 3, 0);
            push_double(self.out, 1, phi);
            push_double(self.out, 2, quantile);
            message.end(self.out);
        }
        self.out.extend_from_slice(created.as_slice());
        message.end(self.out);
        self.end(metric);
    }

    fn cut(&mut self, rest: usize) {
        if let Some(family) = self.family.take() {
            family.end_before(self.out, rest);
        }
    }

    /// Ends the family. Removes a family without series: the Go encoder treats it as an error.
    fn family_end(&mut self) {
        let Some(family) = self.family.take() else {
            return;
        };
        if self.out.len() == self.series {
            self.out.truncate(family.at);
        } else {
            family.end(self.out);
        }
    }
}

/// Appends an exemplar as the field of this tag.
fn exemplar(out: &mut Vec<u8>, tag: &[u8], exemplar: &Exemplar) {
    out.extend_from_slice(tag);
    let message = Message::begin(out, exemplar.labels.len() + 32);
    push_pairs(out, exemplar.labels.as_bytes());
    push_double(out, 2, exemplar.value);
    if let Some(time) = exemplar.time {
        out.extend_from_slice(Timestamp::new(3, millis(time)).as_slice());
    }
    message.end(out);
}
