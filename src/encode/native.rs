//! Native histograms in protobuf: the fields of `io.prometheus.client.Histogram` for spans of
//! neighbouring buckets, and for the difference of each count to the one before.
//!
//! Source: `metrics.proto` of prometheus/client_model, and the native histograms page of the
//! Prometheus documentation.

use crate::snapshot::Native;

use super::wire::{Message, push_double, push_integer, push_signed};

/// Field numbers in `Histogram`.
const SCHEMA: u32 = 5;
const ZERO_THRESHOLD: u32 = 6;
const ZERO_COUNT: u32 = 7;
/// Field numbers of the spans and of the deltas.
const NEGATIVE: [u32; 2] = [9, 10];
const POSITIVE: [u32; 2] = [12, 13];

/// Buckets whose indices differ by at most this much share a span. Each empty bucket between them
/// takes one byte, a new span takes six.
const GAP: i32 = 3;

/// Appends the fields of a native histogram to a `Histogram` message.
pub(super) fn push(out: &mut Vec<u8>, native: &Native) {
    push_signed(out, SCHEMA, i64::from(native.schema()));
    push_double(out, ZERO_THRESHOLD, native.zero_threshold());
    push_integer(out, ZERO_COUNT, native.zero_count());
    buckets(out, NEGATIVE, native.negative());
    buckets(out, POSITIVE, native.positive());
    if native.count() == 0 && native.zero_threshold() == 0.0 {
        // Without this empty span, a reader would take an empty native histogram for one with fixed
        // buckets.
        span(out, POSITIVE[0], 0, 0);
    }
}

/// Appends the spans of the buckets of one sign, and each count as its difference to the one
/// before.
fn buckets(out: &mut Vec<u8>, [in_spans, in_deltas]: [u32; 2], buckets: &[(i32, u64)]) {
    for (offset, len) in spans(buckets, GAP) {
        span(out, in_spans, offset, len);
    }
    let mut before = 0;
    for count in counts(buckets, GAP) {
        push_signed(out, in_deltas, count.wrapping_sub(before) as i64);
        before = count;
    }
}

/// Returns the spans of the buckets of one sign: the offset of each, which is an index for the
/// first one and a gap for the others, and its length. Buckets whose indices differ by at most
/// `gap` share one.
pub(super) fn spans(buckets: &[(i32, u64)], gap: i32) -> impl Iterator<Item = (i64, u64)> {
    let mut end = 0;
    let spans = buckets.chunk_by(move |a, b| b.0 - a.0 <= gap);
    spans.map(move |near| {
        let (first, last) = (near[0].0, near[near.len() - 1].0);
        let offset = i64::from(first - end);
        end = last + 1;
        (offset, (last - first) as u64 + 1)
    })
}

/// Returns the counts of the buckets in these spans, also of those that are empty.
pub(super) fn counts(buckets: &[(i32, u64)], gap: i32) -> impl Iterator<Item = u64> {
    let before = buckets.iter().map(|bucket| Some(bucket.0));
    let before = std::iter::once(None).chain(before);
    before
        .zip(buckets)
        .flat_map(move |(before, (index, count))| {
            let empty = before.map_or(0, |before| index - before - 1);
            let empty = if empty < gap { empty as usize } else { 0 };
            std::iter::repeat_n(0, empty).chain([*count])
        })
}

/// Appends a `BucketSpan`.
fn span(out: &mut Vec<u8>, field: u32, offset: i64, len: u64) {
    let span = Message::field(out, field, 0);
    push_signed(out, 1, offset);
    push_integer(out, 2, len);
    span.end(out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads the fields back as the documentation describes them.
    #[derive(Default)]
    struct Read {
        numbers: Vec<(u32, u64)>,
        spans: Vec<(u32, i64, u64)>,
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut n = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            n |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        n
    }

    fn signed(n: u64) -> i64 {
        (n >> 1) as i64 ^ -((n & 1) as i64)
    }

    fn read(mut bytes: &[u8]) -> Read {
        let mut read = Read::default();
        while let Some((&tag, rest)) = bytes.split_first() {
            let tag = u32::from(tag);
            bytes = rest;
            match tag & 7 {
                0 => read.numbers.push((tag >> 3, varint(&mut bytes))),
                1 => {
                    let (eight, rest) = bytes.split_at(8);
                    let float = u64::from_le_bytes(eight.try_into().unwrap());
                    read.numbers.push((tag >> 3, float));
                    bytes = rest;
                }
                _ => {
                    let len = varint(&mut bytes) as usize;
                    let (mut message, rest) = bytes.split_at(len);
                    assert_eq!(message[0], 1 << 3);
                    message = &message[1..];
                    let offset = signed(varint(&mut message));
                    assert_eq!(message[0], 2 << 3);
                    message = &message[1..];
                    read.spans.push((tag >> 3, offset, varint(&mut message)));
                    assert!(message.is_empty());
                    bytes = rest;
                }
            }
        }
        read
    }

    impl Read {
        fn buckets(&self, [spans, deltas]: [u32; 2]) -> Vec<(i32, u64)> {
            let mut deltas = self.numbers.iter().filter(|(field, _)| *field == deltas);
            let (mut at, mut count) = (0_i64, 0_i64);
            let mut found = Vec::new();
            for (n, (_, offset, len)) in (0..).zip(self.spans.iter().filter(|span| span.0 == spans))
            {
                assert!(n == 0 || *offset >= 0, "a gap is not negative");
                at += offset;
                for _ in 0..*len {
                    count += signed(deltas.next().expect("as many deltas as buckets").1);
                    found.push((at as i32, count as u64));
                    at += 1;
                }
            }
            assert!(deltas.next().is_none(), "as many buckets as deltas");
            found.retain(|(_, count)| *count > 0);
            found
        }
    }

    proptest! {
        #[test]
        fn spans_and_deltas_are_the_buckets(
            positive in proptest::collection::btree_map(-3000_i32..3000, 1..u64::MAX >> 2, 0..40),
            near in proptest::collection::btree_map(-20_i32..20, 1_u64..200, 0..20),
            schema in -4_i8..=8,
            zero_count in 0_u64..10,
        ) {
            let native = Native {
                schema,
                zero_threshold: 0.5,
                zero_count,
                positive: positive.into_iter().collect(),
                negative: near.into_iter().collect(),
            };
            let mut out = Vec::new();
            push(&mut out, &native);
            let read = read(&out);
            let number = |field| read.numbers.iter().find(|(f, _)| *f == field).unwrap().1;
            prop_assert_eq!(signed(number(SCHEMA)), i64::from(schema));
            prop_assert_eq!(f64::from_bits(number(ZERO_THRESHOLD)), 0.5);
            prop_assert_eq!(number(ZERO_COUNT), zero_count);
            prop_assert_eq!(read.buckets(POSITIVE), native.positive);
            prop_assert_eq!(read.buckets(NEGATIVE), native.negative);
        }
    }

    #[test]
    fn as_the_documentation_lays_them_out() {
        let native = Native {
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0,
            positive: vec![(-2, 3), (-1, 1), (5, 4)],
            negative: vec![],
        };
        let mut out = Vec::new();
        push(&mut out, &native);
        assert_eq!(read(&out).spans, [(12, -2, 2), (12, 5, 1)]);
        let deltas: Vec<_> = read(&out).numbers[3..]
            .iter()
            .map(|n| signed(n.1))
            .collect();
        assert_eq!(deltas, [3, -2, 3]);
        out.clear();
        push(&mut out, &Native::default());
        assert_eq!(read(&out).spans, [(12, 0, 0)], "empty, and still native");
    }
}
