//! Version 2.0: the message `io.prometheus.write.v2.Request`. All its texts are symbols, which it
//! has once, and each series has its metadata.
//!
//! Source: `prompb/io/prometheus/write/v2/types.proto` of prometheus/prometheus, v2.0-rc.4.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::protobuf::{begin, bytes, double, integer, varint};

use super::histogram;
use super::series::{Description, FullSample, RequestWriter, SampleValue, millis, number};
use super::v1::kind_number;

use tallies::snapshot::Kind;

/// A text of a request.
#[derive(Default)]
struct Symbol {
    text: String,
    index: u32,
}

/// Writes a request.
pub(super) struct RequestV2 {
    /// The symbols as fields, and after [`message`](Self::message) the series.
    out: Vec<u8>,
    /// The series as fields.
    series: Vec<u8>,
    /// The indices of the symbols.
    symbols: HashMap<Box<str>, u32, ahash::RandomState>,
    /// The texts of the last sample, in their order. Most of the next one are the same, and a
    /// comparison is faster than a look-up.
    last: Vec<Symbol>,
    kind: Kind,
    help: u32,
    unit: u32,
    /// The references of one label set.
    refs: Vec<u32>,
}

impl RequestV2 {
    pub(super) fn new() -> Self {
        Self {
            out: Vec::new(),
            series: Vec::new(),
            // Clients of the program may choose label values, so the seed is random.
            symbols: HashMap::with_hasher(ahash::RandomState::with_seed(
                RandomState::new().build_hasher().finish() as usize,
            )),
            last: Vec::new(),
            kind: Kind::Unknown,
            help: 0,
            unit: 0,
            refs: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.out.clear();
        self.series.clear();
        self.symbols.clear();
        self.last.clear();
        // The first symbol is the empty text.
        self.symbol("");
    }

    /// Completes the message and returns it.
    pub(super) fn message(&mut self) -> &[u8] {
        self.out.append(&mut self.series);
        &self.out
    }

    /// Returns the index of a symbol, which is new or known.
    fn symbol(&mut self, text: &str) -> u32 {
        if let Some(index) = self.symbols.get(text) {
            return *index;
        }
        let index = self.symbols.len() as u32;
        self.symbols.insert(text.into(), index);
        bytes(&mut self.out, 4, text.as_bytes());
        index
    }

    /// Returns the index of the `k`-th text of a sample.
    fn symbol_at(&mut self, k: usize, text: &str) -> u32 {
        if let Some(last) = self.last.get(k).filter(|last| last.text == text) {
            return last.index;
        }
        let index = self.symbol(text);
        if self.last.len() <= k {
            self.last.resize_with(k + 1, Symbol::default);
        }
        let last = &mut self.last[k];
        last.text.clear();
        last.text.push_str(text);
        last.index = index;
        index
    }

    /// Replaces `refs` by the symbols of these labels, without those whose value is empty.
    fn reference<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        self.refs.clear();
        for (name, value) in labels.filter(|(_, value)| !value.is_empty()) {
            let k = self.refs.len();
            let refs = [self.symbol_at(k, name), self.symbol_at(k + 1, value)];
            self.refs.extend(refs);
        }
    }

    /// Appends `refs` as field 1.
    fn push_refs(&mut self) {
        if self.refs.is_empty() {
            return;
        }
        let packed = begin(&mut self.series, 1);
        for index in &self.refs {
            varint(&mut self.series, u64::from(*index));
        }
        packed.end(&mut self.series);
    }
}

impl RequestWriter for RequestV2 {
    fn family(&mut self, family: &Description<'_>, _with_metadata: bool) {
        self.kind = family.kind;
        self.help = self.symbol(family.help);
        self.unit = self.symbol(family.unit);
    }

    fn sample(&mut self, sample: &FullSample<'_>) {
        let series = begin(&mut self.series, 5);
        self.reference(sample.labels.iter().map(|(name, value)| (*name, &**value)));
        self.push_refs();
        match sample.value {
            SampleValue::Float(x) => {
                let out = &mut self.series;
                let message = begin(out, 2);
                double(out, 1, x);
                integer(out, 2, sample.time);
                if sample.start > 0 {
                    integer(out, 3, sample.start);
                }
                message.end(out);
            }
            value => {
                let (time, start) = (sample.time, sample.start);
                histogram::push(&mut self.series, 3, value, self.kind, time, start);
            }
        }
        for exemplar in sample.exemplars {
            let message = begin(&mut self.series, 4);
            let mut labels: Vec<_> = exemplar.labels().collect();
            labels.sort_unstable();
            self.reference(labels.iter().map(|(name, value)| (*name, &**value)));
            self.push_refs();
            let out = &mut self.series;
            double(out, 2, number(exemplar.value()));
            integer(out, 3, exemplar.time().map_or(0, millis));
            message.end(out);
        }
        let out = &mut self.series;
        let metadata = begin(out, 5);
        for (field, n) in [
            (1, kind_number(self.kind)),
            (3, u64::from(self.help)),
            (4, u64::from(self.unit)),
        ] {
            if n > 0 {
                integer(out, field, n);
            }
        }
        metadata.end(out);
        series.end(out);
    }

    fn bytes(&self) -> usize {
        self.out.len() + self.series.len()
    }
}
