//! What text and OpenMetrics have in common: a line is copies of prepared text and a number.

use crate::snapshot::{Family, Histogram, Kind, Number, Summary, Values};

use super::number;
use super::walk::{Names, Piece};

/// Writes lines.
pub(super) struct Lines<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// What begins the lines of a family: of a histogram those of buckets, sum and count; else only the first.
    heads: [Head; 4],
    /// Of a histogram or a summary: what begins the lines of one series' buckets or quantiles.
    head: Vec<u8>,
    /// Of a histogram: what follows the labels in the line of each bucket.
    les: Vec<Le>,
    bounds: Vec<f64>,
    /// Of a summary: what follows the labels in the line of each quantile.
    quantiles: Vec<(f64, String)>,
    /// What follows every value, if samples have a timestamp.
    stamp: Vec<u8>,
}

/// `le="0.005"} `. The longest float has 24 digits and signs.
struct Le {
    text: [u8; LE],
    len: usize,
}

const LE: usize = 32;

impl Le {
    fn new(bound: f64) -> Self {
        let bound = format!("le=\"{}\"}} ", number::bound(bound));
        let mut text = [0; LE];
        text[..bound.len()].copy_from_slice(bound.as_bytes());
        Self {
            text,
            len: bound.len(),
        }
    }
}

/// What stands before the labels of a series in a line.
#[derive(Default)]
struct Head {
    /// Where labels follow: `name{`, `name{constant,` or `{"a name",constant,`; and zeroes behind it.
    open: Vec<u8>,
    open_len: usize,
    /// Where none do: `name `, `name{constant} ` or `{"a name"} `.
    whole: Vec<u8>,
}

impl Head {
    fn prepare(&mut self, names: &Names<'_>, suffix: &str) {
        let Self {
            open,
            open_len,
            whole,
        } = self;
        open.clear();
        if names.quoted {
            open.extend_from_slice(b"{\"");
            open.extend_from_slice(names.name.as_bytes());
            open.extend_from_slice(suffix.as_bytes());
            open.extend_from_slice(b"\",");
        } else {
            open.extend_from_slice(names.name.as_bytes());
            open.extend_from_slice(suffix.as_bytes());
            open.push(b'{');
        }
        open.extend_from_slice(names.constant.as_bytes());
        if !names.constant.is_empty() {
            open.push(b',');
        }
        // Without the last `{` or `,`.
        whole.clear();
        whole.extend_from_slice(&open[..open.len() - 1]);
        let braces = names.quoted || !names.constant.is_empty();
        whole.extend_from_slice(if braces { b"} " } else { b" " });
        *open_len = open.len();
        open.resize((*open_len).max(HEAD), 0);
    }

    fn open(&self) -> Piece<'_> {
        Piece {
            text: &self.open,
            len: self.open_len,
        }
    }

    /// `name` or `name{labels}`, and a blank.
    #[inline(always)]
    fn push(&self, out: &mut Vec<u8>, labels: Piece<'_>) {
        if labels.is_empty() {
            out.extend_from_slice(&self.whole);
            return;
        }
        self.open().push::<HEAD>(out);
        labels.push::<LABELS>(out);
        out.extend_from_slice(b"} ");
    }
}

/// What most names and most label texts fit in: whole vector registers.
const HEAD: usize = 32;
const LABELS: usize = 64;

impl<'a> Lines<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            heads: Default::default(),
            head: Vec::new(),
            les: Vec::new(),
            bounds: Vec::new(),
            quantiles: Vec::new(),
            stamp: Vec::new(),
        }
    }

    /// From now on every sample has the timestamp that `write` writes.
    pub(super) fn stamp(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.stamp = vec![b' '];
        write(&mut self.stamp);
    }

    /// Prepares the lines of a family: those of each suffix, by place.
    pub(super) fn family(&mut self, family: &Family, names: &Names<'_>, suffixes: &[&str]) {
        for (head, suffix) in self.heads.iter_mut().zip(suffixes) {
            head.prepare(names, suffix);
        }
        match &family.values {
            Values::Histogram { bounds, .. } if self.bounds != **bounds || self.les.is_empty() => {
                self.bounds.clear();
                self.bounds.extend_from_slice(bounds);
                self.les.clear();
                let all = bounds.iter().chain([&f64::INFINITY]);
                self.les.extend(all.map(|bound| Le::new(*bound)));
            }
            Values::Summary { targets, .. } => {
                let phis = targets.as_slice().iter().map(|(phi, _)| *phi);
                self.quantiles.clear();
                self.quantiles
                    .extend(phis.map(|phi| (phi, quantile_label(phi))));
            }
            Values::PageSummary(_) => self.quantiles.clear(),
            _ => {}
        }
    }

    /// `# WORD name text`, where `name` has its quotes if it needs them.
    pub(super) fn comment(
        &mut self,
        word: &str,
        names: &Names<'_>,
        text: impl FnOnce(&mut Vec<u8>),
    ) {
        self.out.extend_from_slice(b"# ");
        self.out.extend_from_slice(word.as_bytes());
        let quote: &[u8] = if names.quoted { b"\"" } else { b"" };
        self.out.push(b' ');
        self.out.extend_from_slice(quote);
        self.out.extend_from_slice(names.name.as_bytes());
        self.out.extend_from_slice(quote);
        self.out.push(b' ');
        text(self.out);
        self.out.push(b'\n');
    }

    /// `# HELP name text`, if there is one; in both formats with `\` and line feed escaped, and in one of them quotes.
    pub(super) fn help(&mut self, family: &Family, names: &Names<'_>, quotes: bool) {
        if family.help().is_empty() {
            return;
        }
        self.comment("HELP", names, |out| {
            for byte in family.help().bytes() {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b'"' if quotes => out.extend_from_slice(b"\\\""),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    byte => out.push(byte),
                }
            }
        });
    }

    /// A sample up to its value; [`end`](Self::end) follows.
    #[inline(always)]
    pub(super) fn number(&mut self, head: usize, labels: Piece<'_>, value: Number) {
        self.heads[head].push(self.out, labels);
        match value {
            Number::Int(n) => number::integer(self.out, n),
            Number::Float(x) => number::float(self.out, x),
        }
        self.put_stamp();
    }

    #[inline(always)]
    fn put_stamp(&mut self) {
        if !self.stamp.is_empty() {
            self.out.extend_from_slice(&self.stamp);
        }
    }

    #[inline(always)]
    pub(super) fn end(&mut self) {
        self.out.push(b'\n');
    }

    /// A whole line.
    #[inline(always)]
    pub(super) fn line(&mut self, head: usize, labels: Piece<'_>, value: Number) {
        if let (Number::Int(n), true) = (value, self.stamp.is_empty()) {
            self.heads[head].push(self.out, labels);
            return number::integer_line(self.out, n);
        }
        self.number(head, labels, value);
        self.end();
    }

    /// What begins each bucket's or quantile's line: `name{labels,`.
    fn open(&mut self, labels: Piece<'_>) {
        self.head.clear();
        self.heads[0].open().push::<HEAD>(&mut self.head);
        if !labels.is_empty() {
            labels.push::<LABELS>(&mut self.head);
            self.head.push(b',');
        }
    }

    /// The buckets of one series, cumulative; the last is `+Inf`, and what it counts is returned. `after` may write
    /// behind each of them.
    #[inline(always)]
    pub(super) fn buckets(
        &mut self,
        labels: Piece<'_>,
        value: &Histogram<'_>,
        mut after: impl FnMut(&mut Vec<u8>, usize),
    ) -> u64 {
        self.open(labels);
        let mut total = 0;
        for (i, (le, (_, cumulative))) in self.les.iter().zip(value.buckets()).enumerate() {
            self.out.extend_from_slice(&self.head);
            let (text, len) = (&le.text[..], le.len);
            Piece { text, len }.push::<LE>(self.out);
            number::integer(self.out, cumulative);
            if !self.stamp.is_empty() {
                self.out.extend_from_slice(&self.stamp);
            }
            after(self.out, i);
            self.out.push(b'\n');
            total = cumulative;
        }
        total
    }

    /// Sum and count of a summary, as far as they are known; the sum if it is `wanted`.
    pub(super) fn sum_and_count(
        &mut self,
        labels: Piece<'_>,
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

    /// The quantiles of one series that `wanted` admits.
    pub(super) fn quantiles(
        &mut self,
        labels: Piece<'_>,
        value: &Summary<'_>,
        wanted: impl Fn(f64) -> bool,
    ) {
        self.open(labels);
        for (phi, quantile) in value.exported().filter(|(_, quantile)| wanted(*quantile)) {
            self.out.extend_from_slice(&self.head);
            match self.quantiles.iter().find(|(other, _)| *other == phi) {
                Some((_, text)) => self.out.extend_from_slice(text.as_bytes()),
                // Of a page that was read: there may be any number of them.
                None => self.out.extend_from_slice(quantile_label(phi).as_bytes()),
            }
            number::float(self.out, quantile);
            self.put_stamp();
            self.end();
        }
    }
}

/// What follows the labels in the line of a quantile.
fn quantile_label(phi: f64) -> String {
    format!("quantile=\"{}\"}} ", number::bound(phi))
}

/// The suffixes of a kind's lines, by place.
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
    use crate::snapshot::{GaugeMerge, Meta, Snapshot};

    /// One series without labels of its own in each family.
    fn page(families: impl IntoIterator<Item = (&'static str, &'static str, Values)>) -> String {
        let mut snapshot = Snapshot::default();
        for (name, constant, values) in families {
            let meta = Meta {
                name: name.into(),
                help: "".into(),
                unit: "".into(),
                kind: match values {
                    Values::Histogram { .. } => Kind::Histogram,
                    _ => Kind::Gauge,
                },
                merge: GaugeMerge::Sum,
                utf8: true,
                constant: constant.to_owned(),
            };
            let mut family = Family::new(meta, values);
            family.texts.push("", 0);
            snapshot.families.push(family);
        }
        let mut page = Vec::new();
        let options = Options::new().escaping(Escaping::AllowUtf8);
        options.text_into(&snapshot, &mut page);
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn names_and_constant_labels_share_one_pair_of_braces() {
        let families = ["a", "b", "c.d", "e.f"].into_iter();
        let families = families.zip(["", "x=\"y\"", "", "x=\"y\""]);
        let written =
            page(families.map(|(name, constant)| (name, constant, Values::Gauge(vec![1.0]))));
        let samples: Vec<_> = written
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        assert_eq!(
            samples,
            ["a 1", "b{x=\"y\"} 1", "{\"c.d\"} 1", "{\"e.f\",x=\"y\"} 1"]
        );
    }

    /// They are prepared anew only where they are others than before.
    #[test]
    fn every_histogram_has_its_own_bounds() {
        let all: [&[f64]; 6] = [&[], &[1.0], &[1.0], &[2.0], &[2.0, 3.0], &[]];
        let histogram = |bounds: &[f64]| Values::Histogram {
            bounds: bounds.into(),
            counts: vec![1; bounds.len() + 1],
            sums: vec![0.0],
            natives: None,
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
