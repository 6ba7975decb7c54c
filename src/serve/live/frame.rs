//! Frames: what a page gets of one moment, as JSON.
//!
//! ```text
//! number    of the moment, 1 on
//! time      milliseconds since 1970
//! seconds   since the moment before; null if nobody listened then
//! families  and
//! series    in the program
//! matched   families that the search finds, of which the first 300 follow
//! partial   true if the search ended early, because it compared too many bytes; else left out
//! names     of these: [name, kind, unit, help, [[label, value]…]…]; left out if they are as before
//! all       in the same order: [series found, value, increase]
//! seen      by name, for those in sight: {total, rows}
//! ```
//!
//! `value` is a total, a number of observations, or what a gauge holds, of all series found together.
//! `increase` is that within the last `seconds`. A `total` and each of the `rows` is an object:
//!
//! ```text
//! id        the label text; not in a total
//! labels    [[name, value]…]; not in a total
//! value, increase
//! sum       of a histogram or a summary
//! heat      of a histogram: [from, to, count, from, to, count…] of the last seconds; totals only
//! quantiles [[quantile, value, at least, at most, error in ranks]…]; of a histogram, of the last
//!           seconds
//! degraded  true for a summary whose errors may exceed its objectives
//! ```
//!
//! If a series is selected, `total` is of that series alone, or null if there is none.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::snapshot::{Estimate, Family, Histogram, Number, Summary, Value};

use super::choice::{Choice, Found};
use super::json::Json;
use super::moment::Moment;

/// The most families of one frame.
const FAMILIES: usize = 300;

/// The quantiles of histograms that a page shows.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// A family that the search finds: now, what changed, and the series.
struct Shown<'a> {
    now: &'a Family,
    change: Option<&'a Family>,
    found: Found,
}

/// Returns what `choice` shows of `moment`, and a hash of the list of names. The list is left out if
/// its hash is `names`.
pub(super) fn frame(moment: &Moment, choice: &Choice, names: Option<u64>) -> (String, u64) {
    let (mut shown, mut matched, mut families, mut series) = (Vec::new(), 0, 0, 0);
    let mut search = choice.search();
    for (at, now) in moment.view.families().enumerate() {
        families += 1;
        series += now.len() as u64;
        let Some(found) = search.find(now) else {
            continue;
        };
        matched += 1;
        if shown.len() < FAMILIES {
            let change = moment.interval.as_ref().map(|(_, changes)| &changes[at]);
            shown.push(Shown { now, change, found });
        }
    }
    let hash = hash(&shown);
    let mut json = Json::default();
    json.object(|json| {
        json.key("number");
        json.integer(moment.number);
        json.key("time");
        json.integer(moment.millis());
        json.key("seconds");
        match &moment.interval {
            Some((seconds, _)) => json.float(*seconds),
            None => json.null(),
        }
        for (key, n) in [
            ("families", families),
            ("series", series),
            ("matched", matched),
        ] {
            json.key(key);
            json.integer(n);
        }
        if search.is_partial() {
            json.key("partial");
            json.bool(true);
        }
        if names != Some(hash) {
            json.key("names");
            json.array(|json| shown.iter().for_each(|family| family.name(json)));
        }
        json.key("all");
        json.array(|json| shown.iter().for_each(|family| family.overview(json)));
        json.key("seen");
        json.object(|json| {
            for family in &shown {
                if let Some(rows) = choice.rows(family.now.name()) {
                    json.key(family.now.name());
                    family.detail(json, rows, choice.selected(family.now.name()));
                }
            }
        });
    });
    (json.0, hash)
}

fn hash(shown: &[Shown<'_>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for family in shown {
        let meta = &family.now.meta;
        let texts = (&*meta.name, &*meta.help, &*meta.unit, &*meta.constant);
        (texts, meta.kind).hash(&mut hasher);
    }
    hasher.finish()
}

impl Shown<'_> {
    fn name(&self, json: &mut Json) {
        json.array(|json| {
            json.text(self.now.name());
            json.text(&self.now.kind().to_string());
            json.text(self.now.unit());
            json.text(self.now.help());
            json.array(|json| {
                for (name, value) in crate::snapshot::labels::pairs(&self.now.meta.constant) {
                    pair(json, name, &value);
                }
            });
        });
    }

    fn overview(&self, json: &mut Json) {
        json.array(|json| {
            json.integer(self.found.len() as u64);
            match sum(self.now, &self.found) {
                Some(value) => number(json, value),
                None => json.null(),
            }
            match self.change.and_then(|change| sum(change, &self.found)) {
                Some(increase) if self.grows() => number(json, increase),
                _ => json.null(),
            }
        });
    }

    /// Returns whether the values of this family are totals.
    fn grows(&self) -> bool {
        let first = (!self.now.is_empty()).then(|| self.now.value(0));
        !matches!(first, None | Some(Value::Gauge(_)))
    }

    fn detail(&self, json: &mut Json, rows: usize, selected: Option<&str>) {
        let selected = selected.map(|text| {
            let mut all = self.found.iter();
            all.find(|i| self.now.texts.get(*i) == text)
        });
        let of = match selected {
            None => Some(self.found.clone()),
            Some(one) => one.map(|i| Found::Some(vec![i])),
        };
        json.object(|json| {
            json.key("total");
            match of.filter(|of| of.len() > 0) {
                Some(of) => self.total(json, &of),
                None => json.null(),
            }
            json.key("rows");
            json.array(|json| {
                let mut largest = largest(self.now, &self.found, rows);
                if let Some(Some(selected)) = selected {
                    if !largest.contains(&selected) {
                        largest.push(selected);
                    }
                }
                largest.into_iter().for_each(|i| self.row(json, i));
            });
        });
    }

    fn total(&self, json: &mut Json, of: &Found) {
        let now = self.now.total(of.iter());
        // The sketches of an interval would be added up in vain.
        let change = match now.value(0) {
            Value::Summary(_) => None,
            _ => self.change.map(|change| change.total(of.iter())),
        };
        let change = change.as_ref().map(|change| change.value(0));
        json.object(|json| {
            fields(json, now.value(0), change);
            if let Value::Summary(_) = now.value(0) {
                json.key("increase");
                match self.change.and_then(|change| sum(change, of)) {
                    Some(increase) => number(json, increase),
                    None => json.null(),
                }
            }
            if let Some(Value::Histogram(change)) = change {
                json.key("heat");
                json.array(|json| heat(json, &change));
            }
        });
    }

    fn row(&self, json: &mut Json, i: usize) {
        json.object(|json| {
            let text = self.now.texts.get(i);
            json.key("id");
            json.text(text);
            json.key("labels");
            json.array(|json| {
                for (name, value) in crate::snapshot::labels::pairs(text) {
                    pair(json, name, &value);
                }
            });
            let change = self.change.map(|change| change.value(i));
            fields(json, self.now.value(i), change);
            if let (Value::Summary(_), Some(Value::Summary(change))) = (self.now.value(i), change) {
                json.key("increase");
                json.integer(change.count());
            }
        });
    }
}

fn pair(json: &mut Json, name: &str, value: &str) {
    json.array(|json| {
        json.text(name);
        json.text(value);
    });
}

fn number(json: &mut Json, number: Number) {
    match number {
        Number::Int(n) => json.integer(n),
        Number::Float(x) => json.float(x),
    }
}

/// Writes the fields of one value that changed by `change`. Those of a summary have no increase.
fn fields(json: &mut Json, now: Value<'_>, change: Option<Value<'_>>) {
    json.key("value");
    match now {
        Value::Counter(n) => number(json, n),
        Value::Gauge(x) => return json.float(x),
        Value::Histogram(histogram) => json.integer(histogram.count()),
        Value::Summary(summary) => json.integer(summary.count()),
    }
    match (now, change) {
        (Value::Counter(_), Some(Value::Counter(increase))) => {
            json.key("increase");
            number(json, increase);
        }
        (Value::Histogram(now), Some(Value::Histogram(change))) => {
            json.key("increase");
            json.integer(change.count());
            json.key("sum");
            json.float(now.sum());
            json.key("quantiles");
            json.array(|json| {
                for phi in QUANTILES {
                    if let Some(found) = change.quantile(phi) {
                        quantile(json, phi, &found, None);
                    }
                }
            });
        }
        (Value::Histogram(now), _) => {
            json.key("sum");
            json.float(now.sum());
        }
        (Value::Summary(now), _) => {
            json.key("sum");
            json.float(now.sum());
            quantiles(json, &now);
        }
        _ => {}
    }
}

/// Writes the quantiles of a summary, with their certified errors.
fn quantiles(json: &mut Json, summary: &Summary<'_>) {
    json.key("quantiles");
    json.array(|json| {
        for (phi, value) in summary.exported() {
            let error = summary.quantile(phi).ok().flatten();
            match (summary.estimate(phi), error) {
                (Some(found), Some((_, error))) => quantile(json, phi, &found, Some(error)),
                _ if value.is_nan() => {}
                _ => json.array(|json| {
                    json.float(phi);
                    json.float(value);
                }),
            }
        }
    });
    json.key("degraded");
    json.bool(summary.is_degraded());
}

fn quantile(json: &mut Json, phi: f64, found: &Estimate, error: Option<f64>) {
    json.array(|json| {
        json.float(phi);
        json.float(found.value);
        json.float(found.lower);
        json.float(found.upper);
        if let Some(error) = error {
            json.float(error);
        }
    });
}

/// Writes the buckets that are not empty, each as its limits and its count. The exponential buckets,
/// if there are any, because they are finer.
fn heat(json: &mut Json, histogram: &Histogram<'_>) {
    let mut bucket = |from: f64, to: f64, count: u64| {
        if count > 0 {
            json.float(from);
            json.float(to);
            json.integer(count);
        }
    };
    let Some(native) = histogram.native() else {
        let (mut from, mut before) = (f64::NEG_INFINITY, 0);
        for (to, count) in histogram.buckets() {
            bucket(from, to, count - before);
            (from, before) = (to, count);
        }
        return;
    };
    for &(index, count) in native.negative().iter().rev() {
        let (far, near) = (native.upper_bound(index), native.upper_bound(index - 1));
        bucket(-far, -near, count);
    }
    let zero = native.zero_threshold();
    bucket(-zero, zero, native.zero_count());
    for &(index, count) in native.positive() {
        bucket(
            native.upper_bound(index - 1),
            native.upper_bound(index),
            count,
        );
    }
}

/// Returns the total, the number of observations, or what a gauge holds, of these series together.
fn sum(family: &Family, found: &Found) -> Option<Number> {
    let mut all = found.iter().map(|i| family.value(i));
    match family.value(found.iter().next()?) {
        Value::Gauge(_) => match family.total(found.iter()).value(0) {
            Value::Gauge(x) => Some(Number::Float(x)),
            _ => None,
        },
        Value::Counter(Number::Float(_)) => {
            let float = |value| match value {
                Value::Counter(n) => n.as_f64(),
                _ => 0.0,
            };
            Some(Number::Float(all.map(float).sum()))
        }
        _ => Some(Number::Int(
            all.by_ref()
                .fold(0, |sum, value| sum.wrapping_add(count(value))),
        )),
    }
}

/// Returns the total of an integer counter, or the number of observations.
fn count(value: Value<'_>) -> u64 {
    match value {
        Value::Counter(Number::Int(n)) => n,
        Value::Histogram(histogram) => histogram.count(),
        Value::Summary(summary) => summary.count(),
        _ => 0,
    }
}

/// Returns the `limit` largest series, or the first ones of gauges, whose order would not be steady.
fn largest(family: &Family, found: &Found, limit: usize) -> Vec<usize> {
    let size = |i: usize| match family.value(i) {
        Value::Gauge(_) => 0.0,
        Value::Counter(n) => n.as_f64(),
        other => count(other) as f64,
    };
    let mut all: Vec<_> = found.iter().map(|i| (size(i), i)).collect();
    let order = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if limit < all.len() {
        all.select_nth_unstable_by(limit, order);
        all.truncate(limit);
    }
    all.sort_unstable_by(order);
    all.into_iter().map(|(_, i)| i).collect()
}
