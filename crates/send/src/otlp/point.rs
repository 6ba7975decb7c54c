//! One data point: attributes, times, value and exemplars of one series.

use std::time::{SystemTime, UNIX_EPOCH};

use tallies::snapshot::{Exemplar, Family, Histogram, Native, Number, Summary, Value};

use super::exponential::{Dense, Exponential};
use super::fields::*;
use super::writer::{Field, Writer};

/// The attribute that marks the overflow series of OpenTelemetry's SDKs.
const OVERFLOW: &str = "otel.metric.overflow";

/// One data point, without its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'a> {
    pub(super) family: &'a Family,
    /// The index of the series.
    pub(super) series: usize,
    /// The begin of the window, in nanoseconds since the Unix epoch.
    pub(super) start: u64,
    /// The end of the window.
    pub(super) time: u64,
    /// Whether the value is a delta, which has only the exemplars of its window.
    pub(super) is_delta: bool,
}

impl Point<'_> {
    /// Writes the fields of the data point.
    pub(super) fn write<W: Writer>(&self, w: &mut W) {
        match self.family.value(self.series) {
            Value::Counter(number) => self.counter(w, number),
            Value::Gauge(x) => {
                self.attributes(w, NUMBER_ATTRIBUTES);
                if self.family.adds_up() {
                    self.window(w);
                } else {
                    // The start of other gauges has no meaning.
                    w.fixed(TIME, self.time);
                }
                w.double(AS_DOUBLE, x);
            }
            Value::Histogram(value) => match value.native() {
                Some(native) => self.exponential(w, value, native),
                None => self.histogram(w, value),
            },
            Value::Summary(value) => self.summary(w, value),
            // The walk leaves out values that it does not know.
            _ => {}
        }
    }

    fn counter<W: Writer>(&self, w: &mut W, number: Number) {
        self.attributes(w, NUMBER_ATTRIBUTES);
        self.window(w);
        match number {
            // Integers are signed in OTLP.
            Number::Int(n) if n <= i64::MAX as u64 => w.fixed(AS_INT, n),
            number => w.double(AS_DOUBLE, number.as_f64()),
        }
        self.exemplars(w, NUMBER_EXEMPLARS);
    }

    fn histogram<W: Writer>(&self, w: &mut W, value: Histogram<'_>) {
        self.attributes(w, HISTOGRAM_ATTRIBUTES);
        self.window(w);
        counts(w, value.count(), value.sum());
        let mut below = 0;
        let buckets = value.buckets();
        let counts = buckets.map(|(_, n)| n - std::mem::replace(&mut below, n));
        w.fixed_list(BUCKET_COUNTS, counts);
        let bounds = value.buckets().map(|(bound, _)| bound);
        w.double_list(
            EXPLICIT_BOUNDS,
            bounds.filter(|bound| *bound < f64::INFINITY),
        );
        self.exemplars(w, HISTOGRAM_EXEMPLARS);
    }

    fn exponential<W: Writer>(&self, w: &mut W, value: Histogram<'_>, native: &Native) {
        self.attributes(w, EXPONENTIAL_ATTRIBUTES);
        self.window(w);
        let buckets = Exponential::new(native);
        counts(w, buckets.count, value.sum());
        w.signed(SCALE, buckets.scale);
        w.fixed(ZERO_COUNT, native.zero_count());
        dense(w, POSITIVE, &buckets.positive);
        dense(w, NEGATIVE, &buckets.negative);
        w.double(ZERO_THRESHOLD, native.zero_threshold());
        self.exemplars(w, EXPONENTIAL_EXEMPLARS);
    }

    fn summary<W: Writer>(&self, w: &mut W, value: Summary<'_>) {
        self.attributes(w, SUMMARY_ATTRIBUTES);
        self.window(w);
        w.fixed(COUNT, value.count());
        // The field is not optional; 0 stands for a sum that is not known.
        let sum = value.sum();
        w.double(SUM_OF_VALUES, if sum.is_nan() { 0.0 } else { sum });
        w.list(QUANTILE_VALUES, |w| {
            // NaN means that there is no data. OTLP forbids negative quantiles.
            for (quantile, value) in value.exported().filter(|(_, value)| *value >= 0.0) {
                w.element(QUANTILE_VALUES, |w| {
                    w.double(QUANTILE, quantile);
                    w.double(QUANTILE_VALUE, value);
                });
            }
        });
    }

    fn attributes<W: Writer>(&self, w: &mut W, field: Field) {
        let labels = self.family.labels(self.series);
        w.list(field, |w| {
            for (name, value) in labels.iter() {
                attribute(w, field, name, &value);
            }
            if labels.is_overflow() && labels.get(OVERFLOW).is_none() {
                w.element(field, |w| {
                    w.text(KEY, OVERFLOW);
                    w.message(VALUE, |w| w.flag(BOOL_VALUE, true));
                });
            }
        });
    }

    fn window<W: Writer>(&self, w: &mut W) {
        w.fixed(START_TIME, self.start);
        w.fixed(TIME, self.time);
    }

    fn exemplars<W: Writer>(&self, w: &mut W, field: Field) {
        let is_old = |time| self.is_delta && nanos(time) < self.start;
        let all = self.family.exemplars(self.series);
        let all = all.map(|(_, exemplar)| exemplar);
        let mut all = all.filter(|one| !one.time().is_some_and(is_old)).peekable();
        if all.peek().is_some() {
            w.list(field, |w| {
                all.for_each(|one| w.element(field, |w| exemplar(w, one)));
            });
        }
    }
}

/// Writes an attribute whose value is a string.
pub(super) fn attribute<W: Writer>(w: &mut W, field: Field, key: &str, value: &str) {
    w.element(field, |w| {
        w.text(KEY, key);
        w.message(VALUE, |w| w.text(STRING_VALUE, value));
    });
}

/// Writes the count and the sum of a histogram. A sum of negative values is written, too: without
/// it, Prometheus would drop an exponential histogram.
fn counts<W: Writer>(w: &mut W, count: u64, sum: f64) {
    w.fixed(COUNT, count);
    if !sum.is_nan() {
        w.double(SUM_OF_VALUES, if count == 0 { 0.0 } else { sum });
    }
}

fn dense<W: Writer>(w: &mut W, field: Field, buckets: &Dense) {
    if !buckets.counts.is_empty() {
        w.message(field, |w| {
            w.signed(OFFSET, buckets.offset);
            w.varint_list(OFFSET_COUNTS, buckets.counts.iter().copied());
        });
    }
}

fn exemplar<W: Writer>(w: &mut W, exemplar: &Exemplar) {
    let trace = find_id::<16>(exemplar, "trace_id");
    let span = find_id::<8>(exemplar, "span_id");
    w.list(FILTERED_ATTRIBUTES, |w| {
        for (name, value) in exemplar.labels() {
            // An ID that is not one stays a label.
            let has_field = match name {
                "trace_id" => trace.is_some(),
                "span_id" => span.is_some(),
                _ => false,
            };
            if !has_field {
                attribute(w, FILTERED_ATTRIBUTES, name, &value);
            }
        }
    });
    if let Some(time) = exemplar.time() {
        let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let exact = since_1970.as_nanos().try_into().unwrap_or(u64::MAX);
        w.fixed(EXEMPLAR_TIME, exact);
    }
    w.double(EXEMPLAR_DOUBLE, exemplar.value());
    if let Some(span) = span {
        w.id(SPAN_ID, &span);
    }
    if let Some(trace) = trace {
        w.id(TRACE_ID, &trace);
    }
}

/// Returns the ID in this label: `N` bytes in hexadecimal that are not all 0.
fn find_id<const N: usize>(exemplar: &Exemplar, label: &str) -> Option<[u8; N]> {
    let (_, text) = exemplar.labels().find(|(name, _)| *name == label)?;
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.len() != 2 * N || !is_hex {
        return None;
    }
    let mut id = [0; N];
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(id).filter(|id| id.iter().any(|byte| *byte != 0))
}

/// Returns a time in nanoseconds since the Unix epoch, cut to the millisecond. Series know their
/// creation to the millisecond, so the end of a window is the begin of the next.
pub(super) fn nanos(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    millis.saturating_mul(1_000_000)
}
