//! The Prometheus text format 0.0.4.

use crate::snapshot::{Family, Histogram, Kind, Number};

use super::{Format, number};

/// Writes text; a line is copies of prepared text and a number.
pub(super) struct Text<'a> {
    out: &'a mut Vec<u8>,
    name: String,
    constant: String,
    /// What the lines of one histogram's buckets have in common.
    head: Vec<u8>,
    /// Of a histogram: what follows the labels in the line of each bucket.
    les: Vec<String>,
    bounds: Vec<f64>,
}

impl<'a> Text<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            name: String::new(),
            constant: String::new(),
            head: Vec::new(),
            les: Vec::new(),
            bounds: Vec::new(),
        }
    }

    /// `name` or `name{labels}`, and a blank.
    #[inline]
    fn sample(&mut self, suffix: &str, labels: &str) {
        let out = &mut *self.out;
        out.reserve(self.name.len() + suffix.len() + self.constant.len() + labels.len() + 32);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(suffix.as_bytes());
        if labels.is_empty() && self.constant.is_empty() {
            out.push(b' ');
            return;
        }
        out.push(b'{');
        out.extend_from_slice(self.constant.as_bytes());
        if !labels.is_empty() && !self.constant.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(labels.as_bytes());
        out.extend_from_slice(b"} ");
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

impl Format for Text<'_> {
    fn family(&mut self, family: &Family) {
        self.name.clear();
        self.name.push_str(family.name());
        self.constant.clear();
        self.constant.push_str(&family.meta.constant);
        if !family.help().is_empty() {
            self.out.extend_from_slice(b"# HELP ");
            self.out.extend_from_slice(self.name.as_bytes());
            self.out.push(b' ');
            self.help(family.help());
            self.out.push(b'\n');
        }
        self.out.extend_from_slice(b"# TYPE ");
        self.out.extend_from_slice(self.name.as_bytes());
        self.out.push(b' ');
        self.out
            .extend_from_slice(family.kind().as_text().as_bytes());
        self.out.push(b'\n');
        if family.kind() == Kind::Histogram {
            self.prepare(family);
        }
    }

    fn counter(&mut self, labels: &str, value: Number) {
        self.sample("", labels);
        match value {
            Number::Int(n) => number::integer(self.out, n),
            Number::Float(x) => number::float(self.out, x),
        }
        self.out.push(b'\n');
    }

    fn gauge(&mut self, labels: &str, value: f64) {
        self.sample("", labels);
        number::float(self.out, value);
        self.out.push(b'\n');
    }

    fn histogram(&mut self, labels: &str, value: &Histogram<'_>) {
        // The same for every bucket of this series: `name_bucket{labels,`.
        self.head.clear();
        self.head.extend_from_slice(self.name.as_bytes());
        self.head.extend_from_slice(b"_bucket{");
        for labels in [&*self.constant, labels] {
            if !labels.is_empty() {
                self.head.extend_from_slice(labels.as_bytes());
                self.head.push(b',');
            }
        }
        let mut count = 0;
        for (le, (_, cumulative)) in self.les.iter().zip(value.buckets()) {
            self.out.reserve(self.head.len() + le.len() + 24);
            self.out.extend_from_slice(&self.head);
            self.out.extend_from_slice(le.as_bytes());
            number::integer(self.out, cumulative);
            self.out.push(b'\n');
            count = cumulative;
        }
        self.sample("_sum", labels);
        number::float(self.out, value.sum());
        self.out.push(b'\n');
        self.sample("_count", labels);
        number::integer(self.out, count);
        self.out.push(b'\n');
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
                .map(|bound| format!("le=\"{}\"}} ", number::bound(*bound)))
                .collect();
        }
    }
}
