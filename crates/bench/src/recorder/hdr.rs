//! The formats of HdrHistogram: distributions of percentiles (`.hgrm`) and logs of intervals
//! (`.hlog`).
//!
//! Values are whole nanoseconds, in buckets of three decimal digits: below 2 048 every number has
//! one of its own, and each further power of two is divided into 1 024. That is finer than schema
//! 8, so each bucket of a recording becomes one value, its upper bound.
//!
//! Sources: the description of the V2 encoding in HdrHistogram's `AbstractHistogram`, and of the
//! log in its `HistogramLogWriter`. The tests read the logs with the crate `hdrhistogram`.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::{Distribution, Recording};

/// The cookies of V2 encodings, with the word size in their low bits.
const COOKIE: u32 = 0x1c84_9303 | 0x10;
const COMPRESSED_COOKIE: u32 = 0x1c84_9304 | 0x10;
/// Half of the buckets that the lowest values have; the number of those of every later power of
/// two.
const HALF: u64 = 1024;
/// The largest value that a log can have if no recorded one is larger: an hour.
const HOUR: u64 = 3_600_000_000_000;
/// The largest value that is exported, far beyond any duration: larger ones count there.
const MOST: u64 = 1 << 62;
const NANOS_PER_MILLI: f64 = 1e6;
/// How many steps of percentiles there are for each halving of the distance to 100 %.
const TICKS: f64 = 5.0;

/// The counts of a distribution by HdrHistogram's buckets.
pub(super) struct Counts {
    /// Pairs of index and count, sorted by index. No count is 0.
    counts: Vec<(usize, u64)>,
    mean: f64,
    deviation: f64,
}

/// Writes recordings as a log that the tools of HdrHistogram read: an `.hlog` file.
///
/// ```
/// use tallies_bench::recorder::{IntervalLog, Recorder};
///
/// let recorder = Recorder::new("query_seconds")?;
/// let mut intervals = recorder.intervals();
/// let mut log = IntervalLog::new(Vec::new(), recorder.read().begin())?;
/// recorder.record_seconds(0.25);
/// log.write(&intervals.next_interval())?;
/// let text = String::from_utf8(log.into_inner())?;
/// assert!(text.contains("Tag=query_seconds,"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Values are nanoseconds, and the column of the largest one is in milliseconds. Several recorders
/// can write to one log: their names are the tags.
#[derive(Debug)]
pub struct IntervalLog<W> {
    out: W,
    start: SystemTime,
}

impl<W: Write> IntervalLog<W> {
    /// Writes the head of a log. Intervals are at most a log's begin: their times are written as
    /// seconds since `start`.
    ///
    /// # Errors
    ///
    /// Returns the errors of `out`.
    pub fn new(mut out: W, start: SystemTime) -> io::Result<Self> {
        let since_1970 = start.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since_1970.unwrap_or_default().as_secs_f64();
        writeln!(out, "#[Logged with tallies-bench]")?;
        writeln!(out, "#[Histogram log format version 1.3]")?;
        writeln!(out, "#[StartTime: {seconds:.3} (seconds since epoch)]")?;
        writeln!(out, "#[BaseTime: {seconds:.3} (seconds since epoch)]")?;
        writeln!(
            out,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )?;
        Ok(Self { out, start })
    }

    /// Writes one interval.
    ///
    /// # Errors
    ///
    /// Returns the errors of the writer.
    pub fn write(&mut self, recording: &Recording) -> io::Result<()> {
        let counts = Counts::of(&recording.distribution);
        let begin = recording.begin.duration_since(self.start);
        let begin = begin.unwrap_or(Duration::ZERO).as_secs_f64();
        let length = recording.elapsed.as_secs_f64();
        let largest = counts.largest() as f64 / NANOS_PER_MILLI;
        let text = BASE64_STANDARD.encode(counts.compressed()?);
        let tag: String = recording.name.chars().map(in_tag).collect();
        if !tag.is_empty() {
            write!(self.out, "Tag={tag},")?;
        }
        writeln!(self.out, "{begin:.3},{length:.3},{largest:.3},{text}")
    }

    /// Returns the writer.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// Replaces the characters that end a tag.
fn in_tag(char: char) -> char {
    match char {
        ',' => '_',
        char if char.is_whitespace() || char.is_control() => '_',
        char => char,
    }
}

impl Counts {
    pub(super) fn of(distribution: &Distribution) -> Self {
        let mut counts: Vec<(usize, u64)> = Vec::new();
        let mean = distribution.mean().unwrap_or_default() * 1e9;
        let mut squares = 0.0;
        for bucket in distribution.buckets() {
            let middle = (bucket.lower + bucket.upper) / 2.0 * 1e9;
            squares += bucket.count as f64 * (middle - mean) * (middle - mean);
            let index = index_of(((bucket.upper * 1e9) as u64).min(MOST));
            match counts.last_mut() {
                Some((last, count)) if *last == index => {
                    *count = count.saturating_add(bucket.count);
                }
                _ => counts.push((index, bucket.count)),
            }
        }
        Self {
            deviation: (squares / distribution.count().max(1) as f64).sqrt(),
            counts,
            mean,
        }
    }

    fn total(&self) -> u64 {
        let counts = self.counts.iter().map(|(_, count)| *count);
        counts.fold(0, u64::saturating_add)
    }

    /// The largest value, or 0 if there is none.
    fn largest(&self) -> u64 {
        self.counts.last().map_or(0, |(index, _)| highest(*index))
    }

    /// The V2 encoding: a header, and a number for each count or run of zeros.
    fn encoded(&self) -> Vec<u8> {
        let mut counts = Vec::new();
        let mut next = 0;
        for &(index, count) in &self.counts {
            match index - next {
                0 => {}
                1 => write_signed(&mut counts, 0),
                zeros => write_signed(&mut counts, -(zeros as i64)),
            }
            write_signed(&mut counts, i64::try_from(count).unwrap_or(i64::MAX));
            next = index + 1;
        }
        if counts.is_empty() {
            write_signed(&mut counts, 0);
        }
        let mut bytes = Vec::with_capacity(40 + counts.len());
        bytes.extend(COOKIE.to_be_bytes());
        bytes.extend((counts.len() as u32).to_be_bytes());
        bytes.extend(0_u32.to_be_bytes()); // the offset of indices
        bytes.extend(3_u32.to_be_bytes()); // digits
        bytes.extend(1_u64.to_be_bytes()); // the lowest value
        bytes.extend(self.largest().max(HOUR).to_be_bytes());
        bytes.extend(1_f64.to_be_bytes()); // the ratio of values to integers
        bytes.extend(counts);
        bytes
    }

    fn compressed(&self) -> io::Result<Vec<u8>> {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&self.encoded())?;
        let payload = zlib.finish()?;
        let mut bytes = COMPRESSED_COOKIE.to_be_bytes().to_vec();
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(payload);
        Ok(bytes)
    }

    /// The text of an `.hgrm` file.
    pub(super) fn write_percentiles(&self, out: &mut impl Write) -> io::Result<()> {
        let titles = ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"];
        let [value, percentile, count, inverse] = titles;
        writeln!(
            out,
            "{value:>12} {percentile:>14} {count:>10} {inverse:>14}\n"
        )?;
        let total = self.total();
        let mut at = 0.0;
        let mut below = 0_u64;
        for (index, count) in &self.counts {
            below = below.saturating_add(*count);
            let value = highest(*index) as f64 / NANOS_PER_MILLI;
            while below as f64 / total as f64 * 100.0 >= at {
                let (part, inverse) = (at / 100.0, 1.0 / (1.0 - at / 100.0));
                writeln!(out, "{value:12.6} {part:2.12} {below:10} {inverse:14.2}")?;
                let halvings = (100.0 / (100.0 - at)).log2().floor() + 1.0;
                at += 100.0 / (TICKS * halvings.exp2());
                if below == total {
                    // The last value has one line here, and one at 100 %.
                    writeln!(out, "{value:12.6} {:2.12} {total:10}", 1.0)?;
                    break;
                }
            }
        }
        let (mean, deviation) = (
            self.mean / NANOS_PER_MILLI,
            self.deviation / NANOS_PER_MILLI,
        );
        let largest = self.largest() as f64 / NANOS_PER_MILLI;
        writeln!(
            out,
            "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]\n\
             #[Max     = {largest:12.6}, Total count    = {total:12}]\n\
             #[Buckets = {:12}, SubBuckets     = {:12}]",
            index_of(self.largest().max(HOUR)) / HALF as usize,
            2 * HALF
        )
    }
}

/// The index of the bucket of a value.
fn index_of(value: u64) -> usize {
    let power = (value | (2 * HALF - 1)).ilog2() - (2 * HALF - 1).ilog2();
    u64::from(power) as usize * HALF as usize + (value >> power) as usize
}

/// The largest value in a bucket.
fn highest(index: usize) -> u64 {
    let index = index as u64;
    let power = (index / HALF).saturating_sub(1);
    let sub = index - power * HALF;
    (sub << power) + ((1 << power) - 1)
}

/// Writes a number in the encoding of counts: zigzag, then seven bits a byte, and eight in a ninth.
fn write_signed(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    for _ in 0..8 {
        if rest < 128 {
            bytes.push(rest as u8);
            return;
        }
        bytes.push(rest as u8 | 128);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    /// Recordings of 1 ns to 1 000 s, empty ones among them.
    fn recordings() -> Vec<Recording> {
        let of = |i: u64, values: &[f64]| Recording {
            name: "query, seconds".to_owned(),
            begin: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + 1000 * i),
            elapsed: Duration::from_secs(1),
            distribution: Distribution::of_values(values),
        };
        // Prime numbers of values, so that no percentile is at a rounding error of a count.
        let wide: Vec<f64> = (0..4001).map(|i| 1e-9 * 1.0069_f64.powi(i)).collect();
        let narrow: Vec<f64> = (1..=10_007).map(|i| 1e-6 * f64::from(i)).collect();
        vec![of(0, &wide), of(1, &[]), of(2, &narrow), of(3, &[2e-3])]
    }

    /// The value that a bucket of a recording has in the formats.
    fn exported(upper: f64) -> u64 {
        highest(index_of((upper * 1e9) as u64))
    }

    #[test]
    fn the_tools_of_hdrhistogram_read_a_log_with_every_count() {
        let recordings = recordings();
        let mut log = IntervalLog::new(Vec::new(), recordings[0].begin()).unwrap();
        recordings.iter().for_each(|part| log.write(part).unwrap());
        let text = log.into_inner();
        let mut written = recordings.iter();
        let mut start = None;
        for entry in IntervalLogIterator::new(&text) {
            match entry.unwrap() {
                LogEntry::StartTime(time) => start = Some(time),
                LogEntry::BaseTime(time) => assert_eq!(Some(time), start),
                LogEntry::Interval(interval) => {
                    let part = written.next().unwrap();
                    assert_eq!(interval.tag().unwrap().as_str(), "query__seconds");
                    assert_eq!(interval.duration(), part.elapsed());
                    assert_eq!(start.unwrap() + interval.start_timestamp(), {
                        part.begin().duration_since(SystemTime::UNIX_EPOCH).unwrap()
                    });
                    let bytes = BASE64_STANDARD
                        .decode(interval.encoded_histogram())
                        .unwrap();
                    let read: Histogram<u64> = Deserializer::new()
                        .deserialize(&mut bytes.as_slice())
                        .unwrap();
                    assert_same(&read, part.distribution());
                }
            }
        }
        assert!(written.next().is_none());
    }

    fn assert_same(read: &Histogram<u64>, written: &Distribution) {
        assert_eq!(read.len(), written.count());
        let mut counted = std::collections::BTreeMap::new();
        for bucket in written.buckets() {
            *counted.entry(exported(bucket.upper)).or_insert(0) += bucket.count;
        }
        for value in read.iter_recorded() {
            let highest = read.highest_equivalent(value.value_iterated_to());
            assert_eq!(counted.remove(&highest), Some(value.count_at_value()));
        }
        assert!(counted.is_empty(), "{counted:?}");
    }

    #[test]
    fn an_exported_value_is_at_most_four_thousandths_above_the_recorded_one() {
        for i in 0..30_000 {
            let value = 1e-6 * 1.0007_f64.powi(i);
            let seen = Distribution::of_values(&[value]);
            let exported = exported(seen.buckets().next().unwrap().upper) as f64;
            assert!(exported + 1.0 >= value * 1e9, "{value}");
            assert!(exported <= value * 1e9 * 1.004, "{value}");
        }
    }

    /// The lines that HdrHistogram's own iterator makes of the same counts.
    #[test]
    fn percentiles_are_those_of_hdrhistogram() {
        for part in recordings() {
            let counts = Counts::of(part.distribution());
            let read: Histogram<u64> = Deserializer::new()
                .deserialize(&mut counts.encoded().as_slice())
                .unwrap();
            let mut text = Vec::new();
            part.write_hgrm(&mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let lines = text.lines().skip(2).filter(|line| !line.starts_with('#'));
            let lines: Vec<Vec<f64>> = lines
                .map(|line| {
                    line.split_whitespace()
                        .map(|n| n.parse().unwrap())
                        .collect()
                })
                .collect();
            let mut below = 0;
            let expected: Vec<(f64, f64, f64)> = read
                .iter_quantiles(TICKS as u32)
                .map(|value| {
                    below += value.count_since_last_iteration();
                    let highest = read.highest_equivalent(value.value_iterated_to());
                    let millis = highest as f64 / NANOS_PER_MILLI;
                    (millis, value.quantile_iterated_to(), below as f64)
                })
                .collect();
            let nearly = |line: &[f64], (value, quantile, count): (f64, f64, f64)| {
                (line[0] - value).abs() < 1e-6
                    && (line[1] - quantile).abs() < 1e-9
                    && line[2] == count
            };
            assert_eq!(lines.len(), expected.len(), "{text}");
            for (line, expected) in lines.iter().zip(expected) {
                assert!(nearly(line, expected), "{line:?} {expected:?}");
            }
        }
    }

    #[test]
    fn buckets_are_those_of_hdrhistogram() {
        let oracle = Histogram::<u64>::new_with_bounds(1, MOST, 3).unwrap();
        for i in 0..4300 {
            let value = (1.01_f64.powi(i)) as u64;
            let value = value.min(MOST);
            assert_eq!(highest(index_of(value)), oracle.highest_equivalent(value));
        }
        assert_eq!(
            (index_of(2047), index_of(2048), index_of(4096)),
            (2047, 2048, 3072)
        );
    }

    #[test]
    fn numbers_of_every_length_are_read_back() {
        // A count needs up to nine bytes.
        for shift in 0..63 {
            let mut part = Distribution::of_values(&[1e-6]);
            part.buckets[0].1 = 1 << shift;
            let counts = Counts::of(&part);
            let read: Histogram<u64> = Deserializer::new()
                .deserialize(&mut counts.encoded().as_slice())
                .unwrap();
            assert_eq!(read.len(), 1 << shift);
        }
    }
}
