//! Families and series as bytes, in the form in which both stores keep them.
//!
//! A *description* has what all series of a family have in common: name, help, unit, kind, the mode
//! of a gauge, and the shape of the values. [`description`] has its form. A *record* has the value
//! of one series, the time since when it counts, and its exemplars. The label text of a series
//! stands beside its record and is not part of it.
//!
//! Equal families have equal descriptions, and equal series have equal records, so a store compares
//! bytes to find out what changed. Numbers and varints are as in descriptions.
//!
//! ```text
//! record        created                            varint: milliseconds since 1970, 0 if unknown
//!               counter: 0, varint; or 1, sum
//!               gauge: varint at, float           at: nanoseconds since 1970, when it was set last;
//!                                                0: never; 1: at a time that is not recorded
//!               histogram: sum, then a varint per bucket, then the native histogram, if any:
//!                          schema (1 byte), zero threshold, varint zero count, and twice
//!                          (above zero, below zero) varint n, n pairs of varints: the distance
//!                          from the index before (the first one zigzag), the count
//!               summary: varint count, sum, degraded (1 byte), varint n, n tuples:
//!                        key (8 bytes), varint g, varint delta
//!               exemplars: varint n, and for each: varint bucket, float, varint time in
//!                          nanoseconds plus one (0 if unknown), varint length, label text
//! sum           varint n, n floats                 n = 1: the sum; n > 1: floats whose exact sum it is
//! ```
//!
//! The exact sum keeps a total from going back when the totals of another process are added to it:
//! rounding twice can lower it in its last bit, and Prometheus takes a lower total for a restart.
//!
//! Bytes may come from another version of the program, or from somebody else. Reading them never
//! panics, and never allocates more than a small multiple of their length. All that is read is
//! checked, so a family that was read can be merged and encoded like any other.

use std::time::{Duration, UNIX_EPOCH};

use crate::observe::MOST_BUCKETS;
use crate::snapshot::description::{
    self, NATIVE, PAGE, TTL, UTF8, VERSION, WINDOW, write_float, write_sized, write_varint,
};
use crate::snapshot::labels::{self, Order};
use crate::snapshot::sketch::{Sketch, Targets, Tuple, key_of};
use crate::snapshot::{
    ExactSum, Exemplar, Family, GaugeMode, Kind, LAST_MILLIS, LastSet, Meta, Native, Number,
    PageSummary, Quantiles, Resolution, Values, is_metric_name, is_utf8_name,
};

use super::bytes::{Bytes, Malformed, Read, ensure};

/// The longest description and the longest label text of a series, in bytes.
pub(crate) const LONGEST_TEXT: usize = 16 << 20;

/// The longest label text of an exemplar, in bytes: 128 characters and their escapes need less.
const MAX_EXEMPLAR_TEXT: usize = 4096;

/// The flags that are known.
const KNOWN_FLAGS: u8 = UTF8 | NATIVE | WINDOW | PAGE | TTL;

/// The kinds, by their number in a description.
const KINDS: [Kind; 8] = [
    Kind::Counter,
    Kind::Gauge,
    Kind::Histogram,
    Kind::Summary,
    Kind::Info,
    Kind::StateSet,
    Kind::GaugeHistogram,
    Kind::Unknown,
];

/// Appends the description of `family`: what all its series have in common, but for its constant
/// labels. Equal families have equal descriptions. [`store`](crate::share::store) has an example.
pub fn write_description(family: &Family, out: &mut Vec<u8>) {
    description::write(&family.meta, &family.values, out);
}

/// Reads a description. Returns a family without series and without constant labels.
///
/// # Errors
///
/// Returns an error if [`write_description`] of this version did not write the bytes.
pub fn read_description(description: &[u8]) -> Result<Family, Malformed> {
    let fits = description.len() <= LONGEST_TEXT;
    ensure(fits, "the description is too long")?;
    let mut bytes = Bytes(description);
    let is_ours = bytes.byte()? == VERSION;
    ensure(is_ours, "the description has another version")?;
    let kind = KINDS.get(usize::from(bytes.byte()?)).copied();
    let kind = kind.ok_or(Malformed("the kind is unknown"))?;
    let mode = GaugeMode::NAMES.get(usize::from(bytes.byte()?));
    let (mode, _) = *mode.ok_or(Malformed("the gauge mode is unknown"))?;
    let flags = bytes.byte()?;
    ensure(flags & !KNOWN_FLAGS == 0, "a flag is unknown")?;
    let (name, help, unit) = (bytes.text()?, bytes.text()?, bytes.text()?);
    let utf8 = flags & UTF8 != 0;
    let is_name = if utf8 { is_utf8_name } else { is_metric_name };
    ensure(is_name(name.as_bytes()), "the name is invalid")?;
    let shared_ttl = (flags & TTL != 0).then(|| bytes.duration()).transpose()?;
    let values = match kind {
        Kind::Histogram | Kind::GaugeHistogram => {
            Values::histogram(bytes.bounds()?.into(), flags & NATIVE != 0)
        }
        Kind::Summary if flags & PAGE == 0 => {
            let targets = Targets::try_new(&bytes.pairs()?);
            let targets = targets.map_err(|_| Malformed("the objectives are invalid"))?;
            let max_age = (flags & WINDOW != 0).then(|| bytes.duration());
            Values::summary(targets, max_age.transpose()?)
        }
        kind => Values::of(kind),
    };
    bytes.end()?;
    let meta = Meta {
        unit: unit.into(),
        shared_ttl,
        utf8,
        ..Meta::new(name, help, kind, mode)
    };
    let family = Family::new(meta, values);
    // One family has one description: no flags, for example, that its kind does not have.
    let mut again = Vec::with_capacity(description.len());
    write_description(&family, &mut again);
    let is_normal = again == description;
    ensure(is_normal, "the description is not in its normal form")?;
    Ok(family)
}

/// Appends the bytes of series `i` of `family`: its value, exactly, with the time since when it
/// counts and its exemplars. Its labels are not part of them. Equal series have equal bytes.
///
/// # Panics
///
/// Panics if there is no series `i`.
pub fn write_series(family: &Family, i: usize, out: &mut Vec<u8>) {
    write_varint(family.texts.created(i), out);
    match &family.values {
        Values::Counter(values) => match values.get(i) {
            Number::Int(n) => {
                out.push(0);
                write_varint(n, out);
            }
            Number::Float(x) => {
                out.push(1);
                write_sum(family, i, x, out);
            }
        },
        Values::Gauge(all) => {
            let LastSet { value, at } = all.get(i);
            write_varint(at, out);
            write_float(value, out);
        }
        Values::Histogram(all) => {
            let value = all.get(i);
            write_sum(family, i, value.sum(), out);
            value.counts.iter().for_each(|n| write_varint(*n, out));
            if let Some(native) = value.native() {
                write_native(native, out);
            }
        }
        Values::Summary(_, values) => {
            let Quantiles { count, sum, sketch } = &values[i];
            write_varint(*count, out);
            write_sum(family, i, *sum, out);
            out.push(u8::from(sketch.is_degraded()));
            write_varint(sketch.tuples().len() as u64, out);
            for tuple in sketch.tuples() {
                out.extend(tuple.key.to_le_bytes());
                write_varint(u64::from(tuple.g), out);
                write_varint(u64::from(tuple.delta), out);
            }
        }
        Values::PageSummary(values) => {
            let value = &values[i];
            out.push(u8::from(value.count.is_some()));
            write_varint(value.count.unwrap_or(0), out);
            write_float(value.sum, out);
            write_varint(value.quantiles.len() as u64, out);
            for (phi, value) in &value.quantiles {
                write_float(*phi, out);
                write_float(*value, out);
            }
        }
    }
    let exemplars = family.exemplars_of(i);
    write_varint(exemplars.len() as u64, out);
    for (_, bucket, exemplar) in exemplars {
        write_varint(u64::from(*bucket), out);
        write_float(exemplar.value, out);
        let since = exemplar.time.map(|time| time.duration_since(UNIX_EPOCH));
        let nanos = since.and_then(|since| u64::try_from(since.ok()?.as_nanos()).ok());
        write_varint(nanos.map_or(0, |nanos| nanos.saturating_add(1)), out);
        write_sized(exemplar.labels.as_bytes(), out);
    }
}

/// Reads a series of `family` and appends it. `text` is the [text](Family::label_text) of its
/// labels, sorted by name.
///
/// # Errors
///
/// Returns an error if [`write_series`] of this version did not write the bytes for such a family,
/// or if the labels are invalid. The family is then unchanged.
pub fn read_series(family: &mut Family, text: &str, bytes: &[u8]) -> Result<(), Malformed> {
    let is_text = text.len() <= LONGEST_TEXT && labels::is_text(text, Order::Sorted);
    ensure(is_text, "the label text is invalid")?;
    let reserved = family.meta.kind.reserved_label();
    let are_free = labels::parts(text).all(|(name, _)| name != reserved);
    ensure(are_free, "a label has a reserved name")?;
    let mut bytes = Bytes(bytes);
    let created = bytes.varint()?;
    ensure(created <= LAST_MILLIS, "a time is too late")?;
    let i = family.len();
    let mut exact = None;
    // Exemplars are read last and appended first, so that an error leaves no half of a series.
    match &mut family.values {
        Values::Counter(values) => {
            let number = match bytes.byte()? {
                0 => Number::Int(bytes.varint()?),
                1 => Number::Float(bytes.sum(&mut exact)?),
                _ => return Err(Malformed("a counter is neither an integer nor a float")),
            };
            family.exemplars.extend(bytes.exemplars(i, 1)?);
            values.push(number);
        }
        Values::Gauge(all) => {
            let (at, value) = (bytes.varint()?, bytes.float()?);
            family.exemplars.extend(bytes.exemplars(i, 1)?);
            all.push(LastSet { value, at });
        }
        Values::Histogram(all) => {
            let sum = bytes.sum(&mut exact)?;
            let counts = (0..=all.bounds.len()).map(|_| bytes.varint());
            let counts: Vec<u64> = counts.collect::<Read<_>>()?;
            let native = all.natives.is_some().then(|| bytes.native()).transpose()?;
            family.exemplars.extend(bytes.exemplars(i, counts.len())?);
            all.push(&counts, sum, native.as_ref());
        }
        Values::Summary(_, values) => {
            let (count, sum) = (bytes.varint()?, bytes.sum(&mut exact)?);
            let sketch = bytes.sketch()?;
            family.exemplars.extend(bytes.exemplars(i, 1)?);
            values.push(Quantiles { count, sum, sketch });
        }
        Values::PageSummary(values) => {
            let value = bytes.page_summary()?;
            family.exemplars.extend(bytes.exemplars(i, 1)?);
            values.push(value);
        }
    }
    family.texts.push(text, created);
    if let Some(sum) = exact {
        family.exact.resize(i, ExactSum::default());
        family.exact.push(sum);
    }
    Ok(())
}

/// Appends the sum of series `i`, which is `rounded` in its family.
fn write_sum(family: &Family, i: usize, rounded: f64, out: &mut Vec<u8>) {
    let exact = family.exact.get(i).map(ExactSum::normal);
    let terms: Vec<f64> = exact.iter().flat_map(ExactSum::terms).collect();
    let rounded = [rounded];
    let terms = if terms.len() > 1 { &*terms } else { &rounded };
    write_varint(terms.len() as u64, out);
    terms.iter().for_each(|term| write_float(*term, out));
}

fn write_native(native: &Native, out: &mut Vec<u8>) {
    out.push(native.schema as u8);
    write_float(native.zero_threshold, out);
    write_varint(native.zero_count, out);
    for buckets in [&native.positive, &native.negative] {
        write_varint(buckets.len() as u64, out);
        let mut before = None;
        for (index, count) in buckets {
            let distance = match before {
                // Zigzag: small negative numbers are short, too.
                None => u64::from((index << 1 ^ index >> 31) as u32),
                Some(before) => (i64::from(*index) - i64::from(before)) as u64,
            };
            write_varint(distance, out);
            write_varint(*count, out);
            before = Some(*index);
        }
    }
}

/// Returns a sketch that was read, if its tuples are in order and within the range of keys.
pub(super) fn checked(sketch: Sketch) -> Read<Sketch> {
    let tuples = sketch.tuples();
    let keys = key_of(f64::NEG_INFINITY)..=key_of(f64::INFINITY);
    let is_valid = tuples
        .iter()
        .all(|tuple| tuple.g > 0 && keys.contains(&tuple.key))
        && tuples.is_sorted_by(|one, next| one.key <= next.key);
    ensure(is_valid, "a sketch is invalid")?;
    Ok(sketch)
}

impl Bytes<'_> {
    /// Reads a sum. Sets `exact` if it is that of several floats.
    fn sum(&mut self, exact: &mut Option<ExactSum>) -> Read<f64> {
        let n = self.count(8)?;
        if n == 1 {
            return self.float();
        }
        let terms: Vec<f64> = (0..n).map(|_| self.float()).collect::<Read<_>>()?;
        let sum = ExactSum::of(terms.iter().copied());
        let same = |(one, other): (f64, &f64)| one.to_bits() == other.to_bits();
        // One sum has one form.
        let is_normal = n > 0 && sum.terms().count() == n && sum.terms().zip(&terms).all(same);
        let why = "the floats of a sum are not in their normal form";
        ensure(is_normal, why)?;
        let rounded = sum.value();
        *exact = Some(sum);
        Ok(rounded)
    }

    /// Reads bounds after their number.
    fn bounds(&mut self) -> Read<Vec<f64>> {
        let n = self.count(8)?;
        // A bucket has a byte in a record and a word in memory.
        ensure(n < MOST_BUCKETS, "there are too many buckets")?;
        let bounds: Vec<f64> = (0..n).map(|_| self.float()).collect::<Read<_>>()?;
        let ascend = bounds.is_sorted_by(|one, next| one < next);
        let are_valid = ascend && bounds.iter().all(|bound| bound.is_finite());
        ensure(are_valid, "bucket bounds do not ascend")?;
        Ok(bounds)
    }

    fn native(&mut self) -> Read<Native> {
        let (schema, zero_threshold) = (self.byte()? as i8, self.float()?);
        // `widen` may have raised the threshold to the bound of a bucket: the largest finite
        // number.
        let in_range = (0.0..=f64::MAX).contains(&zero_threshold);
        let is_valid = in_range && Resolution::new(schema).check().is_ok();
        ensure(is_valid, "a native histogram is out of range")?;
        Ok(Native {
            schema,
            zero_threshold,
            zero_count: self.varint()?,
            positive: self.native_buckets()?,
            negative: self.native_buckets()?,
        })
    }

    fn native_buckets(&mut self) -> Read<Vec<(i32, u64)>> {
        /// The finest index of any float is below 2^19; twice that leaves room and no overflow.
        const MAX_INDEX: i64 = 1 << 20;
        let n = self.count(2)?;
        let mut before = None;
        (0..n)
            .map(|_| {
                let index = match before {
                    None => {
                        let zigzag = self.short()?;
                        i64::from((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32))
                    }
                    Some(before) => i64::from(before) + i64::from(self.short()?),
                };
                let count = self.varint()?;
                let ascends = before.is_none_or(|before| i64::from(before) < index);
                let in_range = index.abs() <= MAX_INDEX && count > 0 && ascends;
                ensure(in_range, "a native bucket is out of range")?;
                before = Some(index as i32);
                Ok((index as i32, count))
            })
            .collect()
    }

    fn sketch(&mut self) -> Read<Sketch> {
        let degraded = self.flag()?;
        let n = self.count(10)?;
        let tuples = (0..n).map(|_| {
            Ok(Tuple {
                key: self.word()?,
                g: self.short()?,
                delta: self.short()?,
            })
        });
        let tuples: Vec<_> = tuples.collect::<Read<_>>()?;
        checked(Sketch::from_parts(tuples, degraded))
    }

    fn page_summary(&mut self) -> Read<PageSummary> {
        let known = self.flag()?;
        let (count, sum, quantiles) = (self.varint()?, self.float()?, self.pairs()?);
        ensure(known || count == 0, "a summary is invalid")?;
        Ok(PageSummary {
            count: known.then_some(count),
            sum,
            quantiles,
        })
    }

    /// Reads pairs of a quantile and its error or its value, after their number.
    fn pairs(&mut self) -> Read<Vec<(f64, f64)>> {
        let n = self.count(16)?;
        (0..n).map(|_| Ok((self.float()?, self.float()?))).collect()
    }

    /// Reads the exemplars of series `i`, which has this many buckets. Nothing follows them.
    fn exemplars(&mut self, i: usize, buckets: usize) -> Read<Vec<(u32, u32, Exemplar)>> {
        let n = self.count(11)?;
        let mut all: Vec<(u32, u32, Exemplar)> = Vec::with_capacity(n);
        for _ in 0..n {
            let (bucket, value) = (self.short()?, self.float()?);
            let ascends = all.last().is_none_or(|(_, before, _)| *before < bucket);
            let exists = ascends && (bucket as usize) < buckets;
            ensure(exists, "an exemplar is in a bucket that does not exist")?;
            let time = self.varint()?.checked_sub(1).map(Duration::from_nanos);
            let labels = self.text()?;
            let is_text = labels.len() <= MAX_EXEMPLAR_TEXT && labels::is_text(labels, Order::Any);
            ensure(is_text, "the labels of an exemplar are invalid")?;
            let exemplar = Exemplar {
                labels: labels.to_owned(),
                value,
                time: time.map(|time| UNIX_EPOCH + time),
            };
            all.push((i as u32, bucket, exemplar));
        }
        self.end()?;
        Ok(all)
    }
}

#[cfg(all(test, not(miri)))]
mod tests;
