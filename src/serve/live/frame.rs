//! Frames: what a page gets of one moment, as JSON.
//!
//! ```text
//! number    of the moment, 1 on
//! time      milliseconds since 1970
//! seconds   since the moment before; null if nobody listened then
//! families  in the program
//! matched   families that the search finds
//! series    that it finds
//! partial   true if the search ended early, because it compared too many bytes; else left out
//! names     of 300 families, those that the search finds first:
//!           [name, kind, unit, help, [[label, value]…]…]; left out if they are as before
//! all       in the same order: [series, value, increase]
//! found     in the same order: null if the search does not find the family, true if it finds all
//!           series, or that of those it finds: [series, value, increase]; left out without a search
//! seen      by name, for those that the page wants: {total, found, rows, groups}
//! ```
//!
//! Families and series that a search does not find are there, too: their history goes on.
//!
//! `value` is a total, a number of observations, or what a gauge holds: `[least, most]` for several
//! series of a gauge whose values do not add up, without infinities if others are finite.
//! `increase` is that within the last `seconds`. A `total`, that of the series `found` if these are
//! not all, and each of the `rows` is an object:
//!
//! ```text
//! id        the label text; not in a total
//! labels    [[name, value]…]; not in a total
//! value, increase
//! sum       of a histogram or a summary
//! heat      of a histogram: [from, to, count, from, to, count…] of the last seconds; for a row, only
//!           if the buckets are classic
//! quantiles [[quantile, value, at least, at most, error in ranks]…] of a summary; of a row with
//!           native buckets, of the last seconds
//! degraded  true for a summary whose errors may exceed its objectives
//! ```
//!
//! `groups` are rows, too: the series that are found, added up by the values of one label.
//!
//! A frame of the [ring](super::ring) has no names: `time`, `seconds`, and in `was`, by name, the
//! value, the increase, and `heat` or `quantiles` of each family.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::snapshot::{Estimate, Family, GaugeMode, Histogram, Kind, Number, Summary, Value};

use super::choice::{Choice, Found};
use super::json::Json;
use super::moment::Moment;

/// The most families of one frame.
pub(super) const FAMILIES: usize = 300;

/// The series that families share which are not open. A page shows the first few; it knows the
/// history of the others, for a search.
const ROWS: usize = 500;

/// The least of them that a family has, if it has so many.
const LEAST_ROWS: usize = 3;

/// The quantiles of native histograms that a page shows for each series.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// A family: now, what changed, and what the search finds.
struct Shown<'a> {
    now: &'a Family,
    change: Option<&'a Family>,
    /// `None` if the search does not find the family.
    found: Option<Found>,
}

/// Returns what `choice` shows of `moment`, and a hash of the list of names. The list is left out
/// if its hash is `names`.
pub(super) fn frame(moment: &Moment, choice: &Choice, names: Option<u64>) -> (String, u64) {
    let mut search = choice.search();
    let mut shown: Vec<_> = shown(moment, |family| search.find(family)).collect();
    let families = shown.len();
    let found = shown.iter().filter_map(|family| family.found.as_ref());
    let (matched, series) = found.fold((0, 0), |(n, series), found| (n + 1, series + found.len()));
    let mut others = FAMILIES.saturating_sub(matched);
    let mut found = FAMILIES;
    shown.retain(|family| {
        let left = match family.found {
            Some(_) => &mut found,
            None => &mut others,
        };
        let fits = *left > 0;
        *left = left.saturating_sub(1);
        fits
    });
    let hash = hash(&shown);
    let closed = closed_rows(&shown, choice);
    let mut json = Json::default();
    json.object(|json| {
        json.key("number");
        json.integer(moment.number);
        times(json, moment);
        for (key, n) in [
            ("families", families),
            ("matched", matched),
            ("series", series),
        ] {
            json.key(key);
            json.integer(n as u64);
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
        json.array(|json| {
            for family in &shown {
                json.array(|json| family.overview(json, &family.all()));
            }
        });
        if choice.is_search() {
            json.key("found");
            json.array(|json| shown.iter().for_each(|family| family.found(json)));
        }
        json.key("seen");
        json.object(|json| {
            for (at, family) in shown.iter().enumerate() {
                if let Some(rows) = choice.rows(at, family.now.name(), closed) {
                    json.key(family.now.name());
                    family.detail(json, rows, closed, choice);
                }
            }
        });
    });
    (json.0, hash)
}

/// Returns the frame of a moment for the ring. It has each family as a whole.
pub(super) fn past(moment: &Moment) -> String {
    let mut json = Json::default();
    json.object(|json| {
        times(json, moment);
        json.key("was");
        json.object(|json| {
            let all = shown(moment, |_| None);
            all.take(FAMILIES).for_each(|family| family.past(json));
        });
    });
    json.0
}

fn shown<'a>(
    moment: &'a Moment,
    mut find: impl FnMut(&Family) -> Option<Found>,
) -> impl Iterator<Item = Shown<'a>> {
    let families = moment.view.families().enumerate();
    families.map(move |(at, now)| Shown {
        now,
        change: moment.interval.as_ref().map(|(_, changes)| &changes[at]),
        found: find(now),
    })
}

/// Returns the most series of a family that is not open, so that all of them have [`ROWS`].
fn closed_rows(shown: &[Shown<'_>], choice: &Choice) -> usize {
    let all = shown.iter().map(|family| family.now).enumerate();
    let wanted = all.filter(|(at, family)| choice.rows(*at, family.name(), 0).is_some());
    let mut sizes: Vec<_> = wanted.map(|(_, family)| family.len()).collect();
    sizes.sort_unstable();
    let (mut left, mut rows) = (ROWS, ROWS);
    for (i, size) in sizes.iter().enumerate() {
        // The smaller ones leave the others more.
        rows = left / (sizes.len() - i);
        if *size > rows {
            break;
        }
        left -= size;
        rows = ROWS;
    }
    rows.max(LEAST_ROWS)
}

fn times(json: &mut Json, moment: &Moment) {
    json.key("time");
    json.integer(moment.millis());
    json.key("seconds");
    match &moment.interval {
        Some((seconds, _)) => json.float(*seconds),
        None => json.null(),
    }
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

    /// Writes the number of these series, their value, and their increase.
    fn overview(&self, json: &mut Json, of: &Found) {
        json.integer(of.len() as u64);
        held(json, self.now, of);
        match self.change.and_then(|change| sum(change, of)) {
            Some(increase) if self.grows() => number(json, increase),
            _ => json.null(),
        }
    }

    fn all(&self) -> Found {
        Found::All(self.now.len())
    }

    fn found(&self, json: &mut Json) {
        match &self.found {
            None => json.null(),
            Some(Found::All(_)) => json.bool(true),
            Some(found) => json.array(|json| self.overview(json, found)),
        }
    }

    /// Returns whether the values of this family are totals.
    fn grows(&self) -> bool {
        let first = (!self.now.is_empty()).then(|| self.now.value(0));
        !matches!(first, None | Some(Value::Gauge(_)))
    }

    fn past(&self, json: &mut Json) {
        if self.now.is_empty() || matches!(self.now.kind(), Kind::Info | Kind::StateSet) {
            return;
        }
        json.key(self.now.name());
        self.total(json, &self.all());
    }

    fn detail(&self, json: &mut Json, rows: usize, closed: usize, choice: &Choice) {
        let all = self.all();
        let found = self.found.as_ref().unwrap_or(&all);
        let part = Some(found).filter(|found| matches!(found, Found::Some(_)));
        json.object(|json| {
            for (key, of) in [("total", Some(&all)), ("found", part)] {
                if let Some(of) = of.filter(|of| of.len() > 0) {
                    json.key(key);
                    self.total(json, of);
                }
            }
            json.key("rows");
            json.array(|json| {
                let mut largest = largest(self.now, found, rows);
                let others = match part {
                    Some(_) => self::largest(self.now, &all, closed),
                    None => Vec::new(),
                };
                let selected = choice.selected(self.now.name());
                let selected = selected.and_then(|text| {
                    let mut all = all.iter();
                    all.find(|i| self.now.texts.get(*i) == text)
                });
                for i in others.into_iter().chain(selected) {
                    if !largest.contains(&i) {
                        largest.push(i);
                    }
                }
                largest.into_iter().for_each(|i| self.row(json, i));
            });
            if let Some(label) = choice.by(self.now.name()) {
                json.key("groups");
                json.array(|json| self.groups(json, found, label, rows));
            }
        });
    }

    fn total(&self, json: &mut Json, of: &Found) {
        let now = self.now.total(of.iter());
        // The sum of the sketches of an interval would not be used.
        let change = match now.value(0) {
            Value::Summary(_) => None,
            _ => self.change.map(|change| change.total(of.iter())),
        };
        let change = change.as_ref().map(|change| change.value(0));
        json.object(|json| self.total_fields(json, of, now.value(0), change));
    }

    fn total_fields(&self, json: &mut Json, of: &Found, now: Value<'_>, change: Option<Value<'_>>) {
        json.key("value");
        held(json, self.now, of);
        fields(json, now, change, true);
        if let Value::Summary(_) = now {
            json.key("increase");
            match self.change.and_then(|change| sum(change, of)) {
                Some(increase) => number(json, increase),
                None => json.null(),
            }
        }
    }

    fn row(&self, json: &mut Json, i: usize) {
        json.object(|json| {
            let text = self.now.texts.get(i);
            labels(json, text);
            let change = self.change.map(|change| change.value(i));
            json.key("value");
            held(json, self.now, &Found::Some(vec![i]));
            fields(json, self.now.value(i), change, false);
            if let (Value::Summary(_), Some(Value::Summary(change))) = (self.now.value(i), change) {
                json.key("increase");
                json.integer(change.count());
            }
        });
    }

    /// Writes the `limit` largest groups of series that share the value of `label`.
    fn groups(&self, json: &mut Json, found: &Found, label: &str, limit: usize) {
        let mut groups = BTreeMap::<_, Vec<usize>>::new();
        for i in found.iter() {
            let mut pairs = crate::snapshot::labels::pairs(self.now.texts.get(i));
            let value = pairs.find(|(name, _)| *name == label);
            let value = value.map(|(_, value)| value).unwrap_or_default();
            groups.entry(value).or_default().push(i);
        }
        let size = |series: &[usize]| series.iter().map(|i| size(self.now, *i)).sum::<f64>();
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by(|(_, one), (_, other)| size(other).total_cmp(&size(one)));
        for (value, series) in groups.into_iter().take(limit) {
            let now = self.now.total(series.iter().copied());
            let change = self
                .change
                .map(|change| change.total(series.iter().copied()));
            let change = change.as_ref().map(|change| change.value(0));
            json.object(|json| {
                labels(json, &crate::snapshot::labels::text(&[(label, &value)]));
                self.total_fields(json, &Found::Some(series), now.value(0), change);
            });
        }
    }
}

/// Writes the label text of a series, and its labels.
fn labels(json: &mut Json, text: &str) {
    json.key("id");
    json.text(text);
    json.key("labels");
    json.array(|json| {
        for (name, value) in crate::snapshot::labels::pairs(text) {
            pair(json, name, &value);
        }
    });
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

/// Writes the total, the number of observations, or what a gauge holds, of these series together:
/// the least and the largest value of a gauge whose values do not add up.
fn held(json: &mut Json, family: &Family, of: &Found) {
    let adds_up = matches!(family.meta.mode, GaugeMode::LiveSum | GaugeMode::Sum);
    let gauge = |i: usize| match family.value(i) {
        Value::Gauge(x) => x,
        _ => f64::NAN,
    };
    match of.iter().next().map(|first| family.value(first)) {
        None => json.null(),
        Some(Value::Gauge(_)) if of.len() > 1 && !adds_up => {
            let all = of.iter().map(gauge);
            // Infinities would leave the others no scale.
            let only_finite = all.clone().any(f64::is_finite);
            let all = all.filter(|x| !only_finite || x.is_finite());
            json.array(|json| {
                json.float(all.clone().fold(f64::NAN, f64::min));
                json.float(all.fold(f64::NAN, f64::max));
            });
        }
        Some(_) => match sum(family, of) {
            Some(value) => number(json, value),
            None => json.null(),
        },
    }
}

/// Writes the fields of one value that changed by `change`, after `value`. Those of a summary have
/// no increase.
fn fields(json: &mut Json, now: Value<'_>, change: Option<Value<'_>>, total: bool) {
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
            let cells = cells(&change);
            if total || change.native().is_none() {
                json.key("heat");
                json.array(|json| {
                    for (from, to, count) in &cells {
                        json.float(*from);
                        json.float(*to);
                        json.integer(*count);
                    }
                });
            } else if cells.len() > 1 {
                json.key("quantiles");
                json.array(|json| {
                    for phi in QUANTILES {
                        if let Some(found) = change.quantile(phi) {
                            quantile(json, phi, &found, None);
                        }
                    }
                });
            }
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

/// Returns the buckets that are not empty, each as its limits and its count. The exponential
/// buckets, if there are any, because they are finer.
fn cells(histogram: &Histogram<'_>) -> Vec<(f64, f64, u64)> {
    let mut cells = Vec::new();
    let mut bucket = |from: f64, to: f64, count: u64| {
        if count > 0 {
            cells.push((from, to, count));
        }
    };
    let Some(native) = histogram.native() else {
        let (mut from, mut before) = (f64::NEG_INFINITY, 0);
        for (to, count) in histogram.buckets() {
            bucket(from, to, count - before);
            (from, before) = (to, count);
        }
        return cells;
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
    cells
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

/// Returns the `limit` largest series, or the first ones of gauges, whose order would not be
/// steady.
fn largest(family: &Family, found: &Found, limit: usize) -> Vec<usize> {
    let mut all: Vec<_> = found.iter().map(|i| (size(family, i), i)).collect();
    let order = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if limit < all.len() {
        all.select_nth_unstable_by(limit, order);
        all.truncate(limit);
    }
    all.sort_unstable_by(order);
    all.into_iter().map(|(_, i)| i).collect()
}

fn size(family: &Family, i: usize) -> f64 {
    match family.value(i) {
        Value::Gauge(_) => 0.0,
        Value::Counter(n) => n.as_f64(),
        other => count(other) as f64,
    }
}
