//! OpenMetrics 1.0.0: what it forbids is left out.
//!
//! Source: the OpenMetrics specification, version 1.0.0.

use std::time::SystemTime;

use crate::snapshot::{Exemplar, Family, Histogram, Kind, Number, Summary, millis};

use super::lines::{Lines, suffixes};
use super::number;
use super::walk::{Names, Series, Writer};

/// Writes OpenMetrics.
pub(super) struct OpenMetrics<'a> {
    lines: Lines<'a>,
    /// Whether to say since when a series counts. Prometheus 2 takes that for one more series, so it is asked for.
    created: bool,
    /// Whether the sum of the family's histograms may be told: not where a bound is negative.
    sums: bool,
}

impl<'a> OpenMetrics<'a> {
    /// Timestamps are seconds.
    pub(super) fn new(out: &'a mut Vec<u8>, time: Option<SystemTime>, created: bool) -> Self {
        let mut lines = Lines::new(out);
        if let Some(time) = time {
            lines.stamp(format!(" {}", Seconds(millis(time))));
        }
        Self {
            lines,
            created,
            sums: true,
        }
    }

    /// `_created`, if it is wanted and known.
    #[inline(always)]
    fn created(&mut self, head: usize, labels: &[u8], series: Series<'_>) {
        if self.created
            && let Some(created) = series.created()
        {
            let seconds = created as f64 / 1000.0;
            self.lines.line(head, labels, Number::Float(seconds));
        }
    }

    /// Count and sum stand together or not at all; neither sum nor count may be told where the sum can go down.
    fn sum_and_count(&mut self, labels: &[u8], sum: f64, count: u64) {
        self.lines.line(1, labels, Number::Float(sum));
        self.lines.line(2, labels, Number::Int(count));
    }
}

/// The family's name as OpenMetrics has it, without the suffix that its samples get; and their suffixes.
fn stem(name: &str, kind: Kind) -> (&str, &'static [&'static str]) {
    let (suffix, all): (_, &[_]) = match kind {
        Kind::Counter => ("_total", &["_total", "", "", "_created"]),
        Kind::Info => ("_info", &["_info"]),
        _ => return (name, suffixes(kind)),
    };
    match name.strip_suffix(suffix) {
        Some(stem) if !stem.is_empty() => (stem, all),
        _ => (name, all),
    }
}

impl Writer for OpenMetrics<'_> {
    fn family(&mut self, family: &Family, names: &Names<'_>) {
        let kind = family.kind();
        let (name, suffixes) = stem(names.name, kind);
        let names = &Names { name, ..*names };
        self.lines.comment("TYPE", names, |out| {
            out.extend_from_slice(match kind {
                Kind::Info => b"info",
                Kind::StateSet => b"stateset",
                other => other.as_text().as_bytes(),
            });
        });
        let unit = family.unit();
        let has_unit = !unit.is_empty()
            && !matches!(kind, Kind::Info | Kind::StateSet)
            && name
                .strip_suffix(unit)
                .is_some_and(|before| before.ends_with('_'));
        if has_unit {
            self.lines
                .comment("UNIT", names, |out| out.extend_from_slice(unit.as_bytes()));
        }
        if !family.help().is_empty() {
            self.lines.comment("HELP", names, |out| {
                for byte in family.help().bytes() {
                    match byte {
                        b'\\' => out.extend_from_slice(b"\\\\"),
                        b'"' => out.extend_from_slice(b"\\\""),
                        b'\n' => out.extend_from_slice(b"\\n"),
                        byte => out.push(byte),
                    }
                }
            });
        }
        self.sums = !family.has_negative_bounds();
        self.lines.family(family, names, suffixes);
    }

    #[inline]
    fn counter(&mut self, labels: &[u8], value: Number, series: Series<'_>) {
        self.lines.number(0, labels, value);
        if let [(.., last)] = series.exemplars() {
            exemplar(self.lines.out, last);
        }
        self.lines.end();
        self.created(3, labels, series);
    }

    #[inline]
    fn gauge(&mut self, labels: &[u8], value: f64) {
        self.lines.line(0, labels, Number::Float(value));
    }

    fn histogram(&mut self, labels: &[u8], value: &Histogram<'_>, series: Series<'_>) {
        let exemplars = series.exemplars();
        let count = self.lines.buckets(labels, value, |out, bucket| {
            for (.., of_bucket) in exemplars.iter().filter(|(_, at, _)| *at as usize == bucket) {
                exemplar(out, of_bucket);
            }
        });
        // A sum that goes down is no counter: the format has no place for it, nor for a count without it.
        if self.sums && value.sum() >= 0.0 {
            self.sum_and_count(labels, value.sum(), count);
        }
        self.created(3, labels, series);
    }

    fn summary(&mut self, labels: &[u8], value: &Summary<'_>, series: Series<'_>) {
        // NaN says that there is no data; a negative quantile is forbidden, and so is a negative sum.
        self.lines.quantiles(labels, value, |quantile| {
            quantile.is_nan() || quantile >= 0.0
        });
        if value.sum() >= 0.0 {
            self.lines.line(1, labels, Number::Float(value.sum()));
        }
        self.lines.line(2, labels, Number::Int(value.count()));
        self.created(3, labels, series);
    }

    fn end(&mut self) {
        self.lines.out.extend_from_slice(b"# EOF\n");
    }
}

/// ` # {trace_id="1f"} 0.7 1700000000.123`.
fn exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    out.extend_from_slice(b" # {");
    out.extend_from_slice(exemplar.labels.as_bytes());
    out.extend_from_slice(b"} ");
    number::float(out, exemplar.value);
    if let Some(time) = exemplar.time {
        out.extend_from_slice(format!(" {}", Seconds(millis(time))).as_bytes());
    }
}

/// Milliseconds, shown as seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
