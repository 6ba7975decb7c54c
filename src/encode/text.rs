//! The Prometheus text format 0.0.4.

use crate::snapshot::{Family, Histogram, Kind, Number, Summary};

use super::{Piece, Writer, number};

/// Writes text; a line is copies of prepared text and a number.
pub(super) struct Text<'a> {
    out: &'a mut Vec<u8>,
    /// What begins the lines of a family: of a histogram those of buckets, sum and count; else only the first.
    heads: [Head; 3],
    /// Of a histogram: what begins the lines of one series' buckets.
    head: Vec<u8>,
    /// Of a histogram: what follows the labels in the line of each bucket.
    les: Vec<Le>,
    bounds: Vec<f64>,
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
    /// Where labels follow: `name{` or `name{constant,`; and zeroes behind it.
    open: Vec<u8>,
    open_len: usize,
    /// Where none do: `name ` or `name{constant} `.
    whole: Vec<u8>,
}

impl Head {
    fn prepare(&mut self, name: &str, suffix: &str, constant: &str) {
        self.whole.clear();
        self.whole.extend_from_slice(name.as_bytes());
        self.whole.extend_from_slice(suffix.as_bytes());
        self.open.clone_from(&self.whole);
        self.open.push(b'{');
        if constant.is_empty() {
            self.whole.push(b' ');
        } else {
            self.open.extend_from_slice(constant.as_bytes());
            self.whole.clone_from(&self.open);
            self.whole.extend_from_slice(b"} ");
            self.open.push(b',');
        }
        self.open_len = self.open.len();
        self.open.resize(self.open_len.max(HEAD), 0);
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
        if labels.len == 0 {
            out.extend_from_slice(&self.whole);
            return;
        }
        self.open().push::<HEAD>(out);
        labels.push::<LABELS>(out);
        out.extend_from_slice(b"} ");
    }

    /// What begins each bucket's line: `name{labels,`.
    fn push_open(&self, out: &mut Vec<u8>, labels: Piece<'_>) {
        if labels.len != 0 {
            self.open().push::<HEAD>(out);
            labels.push::<LABELS>(out);
            out.push(b',');
        } else if let [before @ .., b'}', b' '] = &self.whole[..] {
            out.extend_from_slice(before);
            out.push(b',');
        } else {
            self.open().push::<HEAD>(out);
        }
    }
}

/// What most names and most label texts fit in: whole vector registers.
const HEAD: usize = 32;
const LABELS: usize = 64;

impl<'a> Text<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            heads: Default::default(),
            head: Vec::new(),
            les: Vec::new(),
            bounds: Vec::new(),
        }
    }

    /// HELP escapes `\` and line feed, and nothing else.
    fn help(&mut self, help: &str) {
        for byte in help.bytes() {
            match byte {
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                byte => self.out.push(byte),
            }
        }
    }
}

impl Writer for Text<'_> {
    fn family(&mut self, family: &Family) {
        let name = family.name().as_bytes();
        if !family.help().is_empty() {
            self.out.extend_from_slice(b"# HELP ");
            self.out.extend_from_slice(name);
            self.out.push(b' ');
            self.help(family.help());
            self.out.push(b'\n');
        }
        self.out.extend_from_slice(b"# TYPE ");
        self.out.extend_from_slice(name);
        self.out.push(b' ');
        self.out
            .extend_from_slice(family.kind().as_text().as_bytes());
        self.out.push(b'\n');
        let suffixes: &[&str] = match family.kind() {
            Kind::Histogram => {
                self.prepare(family);
                &["_bucket", "_sum", "_count"]
            }
            Kind::Summary => &["", "_sum", "_count"],
            _ => &[""],
        };
        for (head, suffix) in self.heads.iter_mut().zip(suffixes) {
            head.prepare(family.name(), suffix, &family.meta.constant);
        }
    }

    #[inline(always)]
    fn counter(&mut self, labels: Piece<'_>, value: Number) {
        self.heads[0].push(self.out, labels);
        match value {
            Number::Int(n) => number::integer_line(self.out, n),
            Number::Float(x) => {
                number::float(self.out, x);
                self.out.push(b'\n');
            }
        }
    }

    #[inline(always)]
    fn gauge(&mut self, labels: Piece<'_>, value: f64) {
        self.heads[0].push(self.out, labels);
        number::float(self.out, value);
        self.out.push(b'\n');
    }

    fn histogram(&mut self, labels: Piece<'_>, value: &Histogram<'_>) {
        let [buckets, sum, count] = &self.heads;
        self.head.clear();
        buckets.push_open(&mut self.head, labels);
        let mut total = 0;
        for (le, (_, cumulative)) in self.les.iter().zip(value.buckets()) {
            self.out.extend_from_slice(&self.head);
            let (text, len) = (&le.text[..], le.len);
            Piece { text, len }.push::<LE>(self.out);
            number::integer_line(self.out, cumulative);
            total = cumulative;
        }
        sum.push(self.out, labels);
        number::float(self.out, value.sum());
        self.out.push(b'\n');
        count.push(self.out, labels);
        number::integer_line(self.out, total);
    }

    fn summary(&mut self, labels: Piece<'_>, value: &Summary<'_>) {
        let [quantiles, sum, count] = &self.heads;
        self.head.clear();
        quantiles.push_open(&mut self.head, labels);
        for (phi, quantile) in value.exported() {
            self.out.extend_from_slice(&self.head);
            self.out.extend_from_slice(b"quantile=\"");
            self.out.extend_from_slice(number::bound(phi).as_bytes());
            self.out.extend_from_slice(b"\"} ");
            number::float(self.out, quantile);
            self.out.push(b'\n');
        }
        sum.push(self.out, labels);
        number::float(self.out, value.sum());
        self.out.push(b'\n');
        count.push(self.out, labels);
        number::integer_line(self.out, value.count());
    }
}

impl Text<'_> {
    fn prepare(&mut self, family: &Family) {
        let crate::snapshot::Values::Histogram { bounds, .. } = &family.values else {
            return;
        };
        if self.bounds != **bounds || self.les.is_empty() {
            self.bounds.clear();
            self.bounds.extend_from_slice(bounds);
            self.les = bounds
                .iter()
                .chain([&f64::INFINITY])
                .map(|bound| Le::new(*bound))
                .collect();
        }
    }
}
