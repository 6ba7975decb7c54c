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
//! failed    true for a row that looks as if something failed, and is not zero; else left out.
//!           These rows are the first
//! ```
//!
//! The field `failed` of `seen` is the number of such series that were found, if there are any.
//!
//! `groups` are rows, too: the series that are found, added up by the values of one label.
//!
//! A frame of the [ring](super::ring) has no names: `time`, `seconds`, and in `was`, by name, the
//! value, the increase, and `heat` or `quantiles` of each family.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::snapshot::json::Json;
use crate::snapshot::{Estimate, Family, Histogram, Kind, Number, Step, Summary, Value};

use super::choice::{Choice, FoundSeries};
use super::failure::is_failure;
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
    moment: &'a Moment,
    /// Its index among the families of the moment.
    at: usize,
    now: &'a Family,
    change: Option<&'a Family>,
    /// `None` if the search does not find the family.
    found: Option<FoundSeries>,
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
        json.field("number", moment.number);
        times(json, moment);
        json.field("families", families);
        json.field("matched", matched);
        json.field("series", series);
        if search.is_partial() {
            json.field("partial", true);
        }
        if names != Some(hash) {
            json.list("names", &shown, |json, family| family.name(json));
        }
        json.list("all", &shown, |json, family| {
            family.overview(json, &family.all());
        });
        if choice.is_search() {
            json.list("found", &shown, |json, family| family.found(json));
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
    mut find: impl FnMut(&Family) -> Option<FoundSeries>,
) -> impl Iterator<Item = Shown<'a>> {
    let families = moment.view.families().enumerate();
    families.map(move |(at, now)| Shown {
        moment,
        at,
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
    json.field("time", moment.millis());
    let interval = moment.interval.as_ref();
    json.field("seconds", interval.map(|(seconds, _)| *seconds));
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
        let kind = self.now.kind().to_string();
        json.array(|json| {
            for text in [self.now.name(), &kind, self.now.unit(), self.now.help()] {
                json.value(text);
            }
            pairs(json, &self.now.meta.constant);
        });
    }

    /// Writes the number of these series, their value, and their increase.
    fn overview(&self, json: &mut Json, of: &FoundSeries) {
        json.array(|json| {
            json.value(of.len());
            held(json, self.now, of);
            json.value(self.increase(of).filter(|_| self.grows()));
        });
    }

    fn all(&self) -> FoundSeries {
        FoundSeries::All(self.now.len())
    }

    fn found(&self, json: &mut Json) {
        match &self.found {
            Some(found @ FoundSeries::Some(_)) => self.overview(json, found),
            found => json.value(found.as_ref().map(|_| true)),
        }
    }

    /// Returns the increase of these series together.
    fn increase(&self, of: &FoundSeries) -> Option<Number> {
        self.change.and_then(|change| sum(change, of))
    }

    /// Returns whether the values of this family are totals.
    fn grows(&self) -> bool {
        let first = (!self.now.is_empty()).then(|| self.now.value(0));
        !matches!(first, None | Some(Value::Gauge(_)))
    }

    fn past(&self, json: &mut Json) {
        if !self.now.is_empty() && !matches!(self.now.kind(), Kind::Info | Kind::StateSet) {
            json.key(self.now.name());
            json.object(|json| self.total(json, &self.all()));
        }
    }

    fn detail(&self, json: &mut Json, rows: usize, closed: usize, choice: &Choice) {
        let all = self.all();
        let found = self.found.as_ref().unwrap_or(&all);
        let part = Some(found).filter(|found| matches!(found, FoundSeries::Some(_)));
        json.object(|json| {
            for (key, of) in [("total", Some(&all)), ("found", part)] {
                if let Some(of) = of.filter(|of| of.len() > 0) {
                    json.key(key);
                    json.object(|json| self.total(json, of));
                }
            }
            let failed = found.iter().filter(|i| self.has_failed(*i)).count();
            if failed > 0 {
                json.field("failed", failed);
            }
            let mut shown = self.largest(found, rows);
            let others = part.map(|_| self.largest(&all, closed));
            let selected = choice.selected(self.now.name());
            let selected =
                selected.and_then(|text| all.iter().find(|i| self.now.texts.get(*i) == text));
            for i in others.into_iter().flatten().chain(selected) {
                if !shown.contains(&i) {
                    shown.push(i);
                }
            }
            json.list("rows", shown, |json, i| self.row(json, i));
            if let Some(label) = choice.by(self.now.name()) {
                let groups = self.groups(found, label, rows);
                json.list("groups", groups, |json, (value, series)| {
                    json.object(|json| {
                        labels(json, &crate::snapshot::labels::text(&[(label, &value)]));
                        if is_failure(label, &value) && series.iter().any(|i| self.has_failed(*i)) {
                            json.field("failed", true);
                        }
                        self.total(json, &FoundSeries::Some(series));
                    });
                });
            }
        });
    }

    /// Writes the fields of these series together.
    fn total(&self, json: &mut Json, of: &FoundSeries) {
        let now = self.now.total(of.iter());
        let is_summary = matches!(now.value(0), Value::Summary(_));
        // The sum of the sketches of an interval would not be used.
        let change = self.change.filter(|_| !is_summary);
        let change = change.map(|change| change.total(of.iter()));
        let change = change.as_ref().map(|change| change.value(0));
        json.key("value");
        held(json, self.now, of);
        fields(json, now.value(0), change, true);
        if is_summary {
            json.field("increase", self.increase(of));
        }
    }

    fn row(&self, json: &mut Json, i: usize) {
        json.object(|json| {
            labels(json, self.now.texts.get(i));
            let now = self.now.value(i);
            let change = self.change.map(|change| change.value(i));
            if self.has_failed(i) {
                json.field("failed", true);
            }
            json.key("value");
            held(json, self.now, &FoundSeries::Some(vec![i]));
            fields(json, now, change, false);
            if let (Value::Summary(_), Some(Value::Summary(change))) = (now, change) {
                json.field("increase", change.count());
            }
        });
    }

    fn has_failed(&self, i: usize) -> bool {
        self.moment.failed(self.at).binary_search(&i).is_ok()
    }

    /// Returns the `limit` largest series, or the first ones of gauges, whose order would not be
    /// steady. Those that look as if something failed come before all others.
    fn largest(&self, found: &FoundSeries, limit: usize) -> Vec<usize> {
        let key = |i| (self.has_failed(i), size(self.now, i), i);
        let mut all: Vec<_> = found.iter().map(key).collect();
        let order = |a: &(bool, f64, usize), b: &(bool, f64, usize)| {
            let by_size = || b.1.total_cmp(&a.1).then(a.2.cmp(&b.2));
            b.0.cmp(&a.0).then_with(by_size)
        };
        if limit < all.len() {
            all.select_nth_unstable_by(limit, order);
            all.truncate(limit);
        }
        all.sort_unstable_by(order);
        all.into_iter().map(|(.., i)| i).collect()
    }

    /// Returns the `limit` largest groups of series that share the value of `label`, those that
    /// look as if something failed first.
    fn groups(&self, found: &FoundSeries, label: &str, limit: usize) -> Vec<(String, Vec<usize>)> {
        let mut groups = BTreeMap::<_, Vec<usize>>::new();
        for i in found.iter() {
            let mut pairs = crate::snapshot::labels::pairs(self.now.texts.get(i));
            let value = pairs.find(|(name, _)| *name == label);
            let value = value.map(|(_, value)| value.into_owned());
            groups.entry(value.unwrap_or_default()).or_default().push(i);
        }
        let size = |series: &[usize]| series.iter().map(|i| size(self.now, *i)).sum::<f64>();
        let has_failed = |(value, series): &(String, Vec<usize>)| {
            is_failure(label, value) && series.iter().any(|i| self.has_failed(*i))
        };
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by(|(_, one), (_, other)| size(other).total_cmp(&size(one)));
        groups.sort_by_cached_key(|group| !has_failed(group));
        groups.truncate(limit);
        groups
    }
}

/// Writes the label text of a series, and its labels.
fn labels(json: &mut Json, text: &str) {
    json.field("id", text);
    json.key("labels");
    pairs(json, text);
}

fn pairs(json: &mut Json, text: &str) {
    json.array(|json| {
        for (name, value) in crate::snapshot::labels::pairs(text) {
            json.value([name, &*value]);
        }
    });
}

/// Writes the total, the number of observations, or what a gauge holds, of these series together:
/// the least and the largest value of a gauge whose values do not add up.
fn held(json: &mut Json, family: &Family, of: &FoundSeries) {
    let first = of.iter().next().map(|first| family.value(first));
    if family.adds_up() || of.len() < 2 || !matches!(first, Some(Value::Gauge(_))) {
        return json.value(sum(family, of));
    }
    let all = of.iter().map(|i| match family.value(i) {
        Value::Gauge(x) => x,
        _ => f64::NAN,
    });
    // Infinities would leave the others no scale.
    let only_finite = all.clone().any(f64::is_finite);
    let all = all.filter(|x| !only_finite || x.is_finite());
    let least = all.clone().fold(f64::NAN, f64::min);
    json.value([least, all.fold(f64::NAN, f64::max)]);
}

/// Writes the fields of one value that changed by `change`, after `value`. Those of a summary have
/// no increase.
fn fields(json: &mut Json, now: Value<'_>, change: Option<Value<'_>>, total: bool) {
    match (now, change) {
        (Value::Counter(_), Some(Value::Counter(increase))) => json.field("increase", increase),
        (Value::Histogram(now), Some(Value::Histogram(change))) => {
            json.field("increase", change.count());
            json.field("sum", now.sum());
            let cells = cells(&change);
            if total || change.native().is_none() {
                json.list("heat", cells, |json, cell| {
                    json.value(cell.lower);
                    json.value(cell.upper);
                    json.value(cell.count);
                });
            } else if cells.len() > 1 {
                json.list("quantiles", QUANTILES, |json, phi| {
                    if let Some(found) = change.quantile(phi) {
                        quantile(json, phi, &found, None);
                    }
                });
            }
        }
        (Value::Histogram(now), _) => json.field("sum", now.sum()),
        (Value::Summary(now), _) => {
            json.field("sum", now.sum());
            quantiles(json, &now);
        }
        _ => {}
    }
}

/// Writes the quantiles of a summary, with their certified errors.
fn quantiles(json: &mut Json, summary: &Summary<'_>) {
    json.list("quantiles", summary.exported(), |json, (phi, value)| {
        let error = summary.quantile(phi).ok().flatten();
        match (summary.estimate(phi), error) {
            (Some(found), Some((_, error))) => quantile(json, phi, &found, Some(error)),
            _ if value.is_nan() => {}
            _ => json.value([phi, value]),
        }
    });
    json.field("degraded", summary.is_degraded());
}

fn quantile(json: &mut Json, phi: f64, found: &Estimate, error: Option<f64>) {
    let known = [phi, found.value, found.lower, found.upper];
    json.array(|json| known.into_iter().chain(error).for_each(|x| json.value(x)));
}

/// Returns the buckets that are not empty. The exponential buckets, if there are any, because they
/// are finer.
fn cells(histogram: &Histogram<'_>) -> Vec<Step> {
    let mut cells: Vec<_> = match histogram.native() {
        Some(native) => native.steps().collect(),
        None => histogram.fixed_steps().collect(),
    };
    cells.retain(|cell| cell.count > 0);
    cells
}

/// Returns the total, the number of observations, or what a gauge holds, of these series together.
fn sum(family: &Family, found: &FoundSeries) -> Option<Number> {
    Some(match family.value(found.iter().next()?) {
        Value::Gauge(_) => match family.total(found.iter()).value(0) {
            Value::Gauge(x) => Number::Float(x),
            _ => return None,
        },
        Value::Counter(Number::Float(_)) => {
            Number::Float(found.iter().map(|i| size(family, i)).sum())
        }
        _ => {
            let counts = found.iter().map(|i| count(family.value(i)));
            Number::Int(counts.fold(0, u64::wrapping_add))
        }
    })
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

fn size(family: &Family, i: usize) -> f64 {
    match family.value(i) {
        Value::Gauge(_) => 0.0,
        Value::Counter(n) => n.as_f64(),
        other => count(other) as f64,
    }
}
