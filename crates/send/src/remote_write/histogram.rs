//! Native histograms: the message `Histogram`, which both versions of the protocol have with the
//! same fields.
//!
//! Buckets are written as spans of neighbours, and as the difference of each count to the one
//! before. With schema −53, the bounds are in the message, and bucket `i` ends at bound `i`.
//!
//! Sources: `prompb/types.proto`, `prompb/io/prometheus/write/v2/types.proto`, and the native
//! histograms page of the Prometheus documentation.

use tallies::snapshot::{Histogram, Kind, Native};

use crate::protobuf::{begin, bytes, double, integer, signed, varint, zigzag};

use super::series::{STALE, SampleValue, number};

/// Field numbers.
const COUNT: u32 = 1;
const SUM: u32 = 3;
const SCHEMA: u32 = 4;
const ZERO_THRESHOLD: u32 = 5;
const ZERO_COUNT: u32 = 6;
/// Field numbers of the spans and of the deltas.
const NEGATIVE: [u32; 2] = [8, 9];
const POSITIVE: [u32; 2] = [11, 12];
const RESET_HINT: u32 = 14;
const TIMESTAMP: u32 = 15;
const CUSTOM_VALUES: u32 = 16;
/// Only in version 2.
const START_TIMESTAMP: u32 = 17;

/// The schema of custom buckets.
const CUSTOM: i64 = -53;
/// The reset hint of gauge histograms, whose counts may go down. Without a hint, the receiver looks
/// for resets itself.
const GAUGE: u64 = 3;

/// Buckets whose indices differ by at most this much share a span. Each empty bucket between them
/// takes one byte, a new span takes six.
const GAP: i32 = 3;

/// Appends a native histogram as field `field`, with times in milliseconds. `start` is 0 if the
/// time is unknown or the version has no such field.
pub(super) fn push(
    out: &mut Vec<u8>,
    field: u32,
    value: SampleValue<'_>,
    kind: Kind,
    time: u64,
    start: u64,
) {
    let message = begin(out, field);
    match value {
        SampleValue::Float(_) => debug_assert!(false, "a float is no histogram"),
        SampleValue::Exponential { buckets, sum } => exponential(out, buckets, sum),
        SampleValue::Custom(histogram) => custom(out, &histogram),
        SampleValue::HistogramEnd => {
            integer(out, COUNT, 0);
            double(out, SUM, STALE);
            integer(out, ZERO_COUNT, 0);
        }
    }
    if kind == Kind::GaugeHistogram {
        integer(out, RESET_HINT, GAUGE);
    }
    integer(out, TIMESTAMP, time);
    if start > 0 {
        integer(out, START_TIMESTAMP, start);
    }
    message.end(out);
}

fn exponential(out: &mut Vec<u8>, native: &Native, sum: f64) {
    integer(out, COUNT, native.count());
    double(out, SUM, sum);
    signed(out, SCHEMA, i64::from(native.schema()));
    double(out, ZERO_THRESHOLD, native.zero_threshold());
    integer(out, ZERO_COUNT, native.zero_count());
    buckets(out, NEGATIVE, native.negative());
    buckets(out, POSITIVE, native.positive());
}

fn custom(out: &mut Vec<u8>, histogram: &Histogram<'_>) {
    integer(out, COUNT, histogram.count());
    double(out, SUM, number(histogram.sum()));
    signed(out, SCHEMA, CUSTOM);
    integer(out, ZERO_COUNT, 0);
    let mut before = 0;
    let counts = histogram
        .buckets()
        .zip(0..)
        .map(|((_, cumulative), index)| {
            let count = cumulative - before;
            before = cumulative;
            (index, count)
        });
    let used: Vec<(i32, u64)> = counts.filter(|(_, count)| *count > 0).collect();
    buckets(out, POSITIVE, &used);
    let bounds = histogram.buckets().map(|(bound, _)| bound);
    let bounds = bounds.take_while(|bound| *bound < f64::INFINITY);
    let packed: Vec<u8> = bounds.flat_map(f64::to_le_bytes).collect();
    if !packed.is_empty() {
        bytes(out, CUSTOM_VALUES, &packed);
    }
}

/// Appends the spans and the deltas of some buckets, given their indices and counts.
fn buckets(out: &mut Vec<u8>, [spans, deltas]: [u32; 2], buckets: &[(i32, u64)]) {
    if buckets.is_empty() {
        return;
    }
    let is_near = |a: &(i32, u64), b: &(i32, u64)| b.0 - a.0 <= GAP;
    let mut end = 0;
    for near in buckets.chunk_by(is_near) {
        let (first, last) = (near[0].0, near[near.len() - 1].0);
        let span = begin(out, spans);
        // The first offset is an index, the others are gaps.
        signed(out, 1, i64::from(first - end));
        integer(out, 2, (last - first) as u64 + 1);
        span.end(out);
        end = last + 1;
    }
    let packed = begin(out, deltas);
    let mut before = 0_u64;
    for near in buckets.chunk_by(is_near) {
        let mut next = near[0].0;
        for &(index, count) in near {
            for count in (next..index).map(|_| 0).chain([count]) {
                varint(out, zigzag(count.wrapping_sub(before) as i64));
                before = count;
            }
            next = index + 1;
        }
    }
    packed.end(out);
}
