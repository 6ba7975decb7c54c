//! Lines that text and OpenMetrics share. Each line is a few copies of prepared text, and a number.

use std::time::SystemTime;

use crate::snapshot::{Family, Histogram, Kind, Number, Summary, Values, millis};

use super::number;
use super::walk::{EscapedNames, PaddedBuffer, PaddedText};

/// Writes the lines of one family after the other.
pub(super) struct Lines<'a> {
    /// The page.
    pub(super) out: &'a mut Vec<u8>,
    /// The starts of a family's lines, one per suffix. A histogram has four (buckets, sum, count,
    /// `_created`), a gauge only the first; see [`suffixes`].
    heads: [Head; 4],
    /// The start of the bucket or quantile lines of the current series, in a histogram or a
    /// summary.
    head: Vec<u8>,
    /// How bounds and quantiles are written.
    form: BoundForm,
    /// The text before the count of each bucket, in a histogram.
    les: Vec<Le>,
    /// The bounds that `les` was prepared for.
    bounds: Vec<f64>,
    /// Each quantile with the text before its value, in a summary.
    quantiles: Vec<(f64, String)>,
    /// The text after every value: a blank and the timestamp. Empty if samples have no timestamp.
    timestamp: Vec<u8>,
}

/// The text before and after a bound or a quantile.
#[derive(Clone, Copy)]
pub(super) struct BoundForm {
    le: &'static str,
    quantile: &'static str,
    after: &'static str,
}

impl BoundForm {
    /// The end of a line's labels, such as `le="0.005"} `.
    pub(super) const LABEL: Self = Self {
        le: "le=\"",
        quantile: "quantile=\"",
        after: "\"} ",
    };
    /// A key in a list, such as `0.005:`.
    pub(super) const KEY: Self = Self {
        le: "",
        quantile: "",
        after: ":",
    };

    /// Returns the text before the value of a quantile.
    fn quantile(self, phi: f64) -> String {
        format!("{}{}{}", self.quantile, number::bound(phi), self.after)
    }
}

/// The text before the count of a bucket. The longest float has 24 characters.
struct Le {
    text: [u8; LE],
    len: usize,
}

const LE: usize = 32;

impl Le {
    fn new(form: BoundForm, bound: f64) -> Self {
        let bound = format!("{}{}{}", form.le, number::bound(bound), form.after);
        let mut text = [0; LE];
        text[..bound.len()].copy_from_slice(bound.as_bytes());
        let len = bound.len();
        Self { text, len }
    }

    #[inline(always)]
    fn push(&self, out: &mut Vec<u8>) {
        let (text, len) = (&self.text[..], self.len);
        PaddedText { text, len }.push::<LE>(out);
    }
}

/// The start of a line, before the labels of its series.
#[derive(Default)]
struct Head {
    /// The start of a line with labels: `name{`, `name{constant,` or `{"a name",constant,`.
    with_labels: PaddedBuffer,
    /// The start of a line without labels: `name `, `name{constant} ` or `{"a name"} `.
    without_labels: Vec<u8>,
}

impl Head {
    fn prepare(&mut self, names: &EscapedNames<'_>, suffix: &str) {
        let (before, after) = match names.quoted {
            true => ("{\"", "\","),
            false => ("", "{"),
        };
        let comma = if names.constant.is_empty() { "" } else { "," };
        self.with_labels.set(HEAD, |out| {
            for part in [before, names.name, suffix, after, names.constant, comma] {
                out.extend_from_slice(part.as_bytes());
            }
        });
        // `with_labels` without its last `{` or `,`.
        let (start, out) = (self.with_labels.text().bytes(), &mut self.without_labels);
        let braces = names.quoted || !names.constant.is_empty();
        out.clear();
        out.extend_from_slice(&start[..start.len() - 1]);
        out.extend_from_slice(if braces { b"} " } else { b" " });
    }

    /// Appends `name` or `name{labels}`, and a blank.
    #[inline(always)]
    fn push(&self, out: &mut Vec<u8>, labels: PaddedText<'_>) {
        if labels.is_empty() {
            out.extend_from_slice(&self.without_labels);
            return;
        }
        self.with_labels.text().push::<HEAD>(out);
        labels.push::<LABELS>(out);
        out.extend_from_slice(b"} ");
    }
}

/// Sizes of fixed copies: most names and most label texts fit. Multiples of a vector register.
const HEAD: usize = 32;
const LABELS: usize = 64;

impl<'a> Lines<'a> {
    /// Creates a writer that appends to `out`. With a time, `write` writes it after each value,
    /// from milliseconds since 1970.
    pub(super) fn new(
        out: &'a mut Vec<u8>,
        form: BoundForm,
        time: Option<SystemTime>,
        write: fn(&mut Vec<u8>, u64),
    ) -> Self {
        let mut timestamp = Vec::new();
        if let Some(time) = time {
            timestamp.push(b' ');
            write(&mut timestamp, millis(time));
        }
        Self {
            out,
            heads: Default::default(),
            head: Vec::new(),
            form,
            les: Vec::new(),
            bounds: Vec::new(),
            quantiles: Vec::new(),
            timestamp,
        }
    }

    /// Prepares the lines of a family. `suffixes` are indexed like the `head` arguments below.
    pub(super) fn family(&mut self, family: &Family, names: &EscapedNames<'_>, suffixes: &[&str]) {
        for (head, suffix) in self.heads.iter_mut().zip(suffixes) {
            head.prepare(names, suffix);
        }
        match &family.values {
            Values::Histogram(all) if self.bounds != *all.bounds || self.les.is_empty() => {
                self.bounds.clear();
                self.bounds.extend_from_slice(&all.bounds);
                self.les.clear();
                let all = all.bounds.iter().chain([&f64::INFINITY]);
                self.les.extend(all.map(|bound| Le::new(self.form, *bound)));
            }
            Values::Summary(objectives, _) => {
                let phis = objectives.targets.as_slice().iter().map(|(phi, _)| *phi);
                self.quantiles.clear();
                self.quantiles
                    .extend(phis.map(|phi| (phi, self.form.quantile(phi))));
            }
            _ => {}
        }
    }

    /// Writes `# WORD name text`, with the name in quotes if it needs them.
    pub(super) fn comment(&mut self, word: &str, names: &EscapedNames<'_>, text: &str) {
        self.start_comment(word, names);
        self.out.extend_from_slice(text.as_bytes());
        self.end();
    }

    fn start_comment(&mut self, word: &str, names: &EscapedNames<'_>) {
        let quote = if names.quoted { "\"" } else { "" };
        for part in ["# ", word, " ", quote, names.name, quote, " "] {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    /// Writes `# HELP name text` unless the help is empty. Escapes `\` and line feeds; if `quotes`
    /// is set, as OpenMetrics requires, also escapes `"`, and ends no line in a carriage return.
    pub(super) fn help(&mut self, family: &Family, names: &EscapedNames<'_>, quotes: bool) {
        let help = match quotes {
            true => family.help().trim_end_matches('\r'),
            false => family.help(),
        };
        if help.is_empty() {
            return;
        }
        self.start_comment("HELP", names);
        for byte in help.bytes() {
            match byte {
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                b'"' if quotes => self.out.extend_from_slice(b"\\\""),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                byte => self.out.push(byte),
            }
        }
        self.end();
    }

    /// Writes the start of a sample, up to its value.
    #[inline(always)]
    pub(super) fn start(&mut self, head: usize, labels: PaddedText<'_>) {
        self.heads[head].push(self.out, labels);
    }

    /// Writes a sample up to its value and timestamp. The caller then calls [`end`](Self::end).
    #[inline(always)]
    pub(super) fn number(&mut self, head: usize, labels: PaddedText<'_>, value: Number) {
        self.start(head, labels);
        match value {
            Number::Int(n) => number::integer(self.out, n),
            Number::Float(x) => number::float(self.out, x),
        }
        self.push_timestamp();
    }

    #[inline(always)]
    pub(super) fn push_timestamp(&mut self) {
        if !self.timestamp.is_empty() {
            self.out.extend_from_slice(&self.timestamp);
        }
    }

    #[inline(always)]
    pub(super) fn end(&mut self) {
        self.out.push(b'\n');
    }

    /// Writes a whole line.
    #[inline(always)]
    pub(super) fn line(&mut self, head: usize, labels: PaddedText<'_>, value: Number) {
        if let (Number::Int(n), true) = (value, self.timestamp.is_empty()) {
            self.start(head, labels);
            return number::integer_line(self.out, n);
        }
        self.number(head, labels, value);
        self.end();
    }

    /// Prepares the start of the bucket or quantile lines of one series: `name{labels,`.
    fn prepare_head(&mut self, labels: PaddedText<'_>) {
        self.head.clear();
        let start = self.heads[0].with_labels.text();
        start.push::<HEAD>(&mut self.head);
        if !labels.is_empty() {
            labels.push::<LABELS>(&mut self.head);
            self.head.push(b',');
        }
    }

    /// Writes the cumulative buckets of one series and returns the count of the last one, `+Inf`.
    /// `after` may append to each line.
    #[inline(always)]
    pub(super) fn buckets(
        &mut self,
        labels: PaddedText<'_>,
        value: &Histogram<'_>,
        mut after: impl FnMut(&mut Vec<u8>, usize),
    ) -> u64 {
        self.prepare_head(labels);
        let mut total = 0;
        for (i, (le, (_, cumulative))) in self.les.iter().zip(value.buckets()).enumerate() {
            self.out.extend_from_slice(&self.head);
            le.push(self.out);
            number::integer(self.out, cumulative);
            if !self.timestamp.is_empty() {
                self.out.extend_from_slice(&self.timestamp);
            }
            after(self.out, i);
            self.out.push(b'\n');
            total = cumulative;
        }
        total
    }

    /// Writes the sum and the count of a summary if they are known, the sum only if `wanted` admits
    /// it.
    pub(super) fn sum_and_count(
        &mut self,
        labels: PaddedText<'_>,
        value: &Summary<'_>,
        wanted: impl Fn(f64) -> bool,
    ) {
        if wanted(value.sum()) {
            self.line(1, labels, Number::Float(value.sum()));
        }
        if let Some(count) = value.known_count() {
            self.line(2, labels, Number::Int(count));
        }
    }

    /// Writes the quantiles of one series whose values `wanted` admits.
    pub(super) fn quantiles(
        &mut self,
        labels: PaddedText<'_>,
        value: &Summary<'_>,
        wanted: impl Fn(f64) -> bool,
    ) {
        self.prepare_head(labels);
        for (phi, quantile) in value.exported().filter(|(_, quantile)| wanted(*quantile)) {
            self.out.extend_from_slice(&self.head);
            self.push_quantile(phi, quantile);
            self.push_timestamp();
            self.end();
        }
    }

    /// Writes a quantile and its value.
    fn push_quantile(&mut self, phi: f64, quantile: f64) {
        match self.quantiles.iter().find(|(other, _)| *other == phi) {
            Some((_, text)) => self.out.extend_from_slice(text.as_bytes()),
            // A summary that was read from a page may have any quantiles.
            None => self
                .out
                .extend_from_slice(self.form.quantile(phi).as_bytes()),
        }
        number::float(self.out, quantile);
    }

    /// Writes the cumulative buckets of one series as a list, such as `0.5:1,+Inf:2`.
    pub(super) fn bucket_list(&mut self, value: &Histogram<'_>) {
        for (i, (le, (_, cumulative))) in self.les.iter().zip(value.buckets()).enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            le.push(self.out);
            number::integer(self.out, cumulative);
        }
    }

    /// Writes the quantiles of one series as a list, such as `0.5:1.25,0.9:NaN`.
    pub(super) fn quantile_list(&mut self, value: &Summary<'_>) {
        for (i, (phi, quantile)) in value.exported().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            self.push_quantile(phi, quantile);
        }
    }
}

/// Returns the suffixes of the sample names of a kind, in the order of `Lines::heads`.
pub(super) fn suffixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Histogram | Kind::GaugeHistogram => &["_bucket", "_sum", "_count", "_created"],
        Kind::Summary => &["", "_sum", "_count", "_created"],
        _ => &[""],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Escaping, Options};
    use crate::snapshot::{GaugeMode, Meta, Snapshot, Value};

    /// Encodes families that each have one series without labels.
    fn page(families: impl IntoIterator<Item = (&'static str, &'static str, Values)>) -> String {
        let mut snapshot = Snapshot::default();
        for (name, constant, values) in families {
            let kind = match values {
                Values::Histogram(_) => Kind::Histogram,
                _ => Kind::Gauge,
            };
            let mut family = Family::new(Meta::new(name, "", kind, GaugeMode::LiveSum), values);
            family.meta.constant = constant.into();
            family.texts.push("", 0);
            snapshot.families.push(family);
        }
        let mut page = Vec::new();
        let format = crate::encode::Format::TEXT.escaped(Escaping::AllowUtf8);
        Options::new().write(&snapshot, format, &mut page);
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn names_and_constant_labels_share_one_pair_of_braces() {
        let families = ["a", "b", "c.d", "e.f"].into_iter();
        let families = families.zip(["", "x=\"y\"", "", "x=\"y\""]);
        let written = page(families.map(|(name, constant)| {
            let mut values = Values::of(Kind::Gauge);
            values.push(Value::Gauge(1.0));
            (name, constant, values)
        }));
        let samples: Vec<_> = written
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        assert_eq!(
            samples,
            ["a 1", "b{x=\"y\"} 1", "{\"c.d\"} 1", "{\"e.f\",x=\"y\"} 1"]
        );
    }

    /// The bound texts are prepared again only if the bounds differ from the previous family's.
    #[test]
    fn every_histogram_has_its_own_bounds() {
        let all: [&[f64]; 6] = [&[], &[1.0], &[1.0], &[2.0], &[2.0, 3.0], &[]];
        let histogram = |bounds: &[f64]| {
            let mut values = Values::histogram(bounds.into(), false);
            let counts = vec![1; bounds.len() + 1];
            values.push(Value::Histogram(
                Histogram::new(bounds, &counts, 0.0).unwrap(),
            ));
            values
        };
        let written = page(all.map(|bounds| ("h", "", histogram(bounds))));
        let les = written
            .lines()
            .filter_map(|line| line.strip_prefix("h_bucket{le="));
        assert_eq!(
            les.collect::<Vec<_>>(),
            [
                "\"+Inf\"} 1",
                "\"1.0\"} 1",
                "\"+Inf\"} 2",
                "\"1.0\"} 1",
                "\"+Inf\"} 2",
                "\"2.0\"} 1",
                "\"+Inf\"} 2",
                "\"2.0\"} 1",
                "\"3.0\"} 2",
                "\"+Inf\"} 3",
                "\"+Inf\"} 1",
            ]
        );
    }
}
