//! History: what the pages said about a family over time, as rates, values and distributions.

use std::collections::{BTreeMap, VecDeque};

use tallies::snapshot::{Family, Histogram, Kind, Value};

use crate::printable::label_text;

/// The number of points that are remembered: five minutes at one per second.
pub const POINTS: usize = 300;
/// The number of points of each series, in families with more than this many series.
const FEW_POINTS: usize = 60;
const MANY_SERIES: usize = 1000;
/// The quantiles of histograms are those of so many last pages.
const QUANTILE_PAGES: usize = 60;
/// A series that is gone from the page is shown for so many more pages.
pub const GONE_PAGES: u32 = 30;
/// Distributions over time are remembered for the series of families with at most this many. Those
/// of whole families always are.
const MOST_HEAT_MAPS: usize = 64;

/// How often observations fell into each bucket, between two pages.
pub type Counts = Vec<u64>;

/// The figures of one series, or of all series of a family together, on a page or in an interval.
#[derive(Clone, Default)]
pub struct Figures {
    /// A total, the value of a gauge, or a number of observations.
    pub value: f64,
    /// The least value of several gauges, of which `value` is the largest.
    pub least: f64,
    /// The sum of observations.
    pub sum: f64,
    /// The quantiles of a summary.
    pub quantiles: Vec<(f64, f64)>,
    /// The upper bounds of the buckets.
    pub bounds: Vec<f64>,
    counts: Counts,
}

/// The history of one series, or of all series of a family together.
#[derive(Default)]
pub struct Track {
    /// Rates per second of what only grows, and values of gauges. NaN where a page is missing.
    pub points: VecDeque<f64>,
    /// The figures of the last page.
    pub page: Figures,
    /// The state that is on, of a state set.
    pub state: String,
    /// The average of the observations between the last two pages.
    pub average: Option<f64>,
    /// The new observations per bucket, page by page.
    pub heat: VecDeque<Counts>,
    /// How often the total went down, because the program was restarted.
    pub resets: u32,
    /// For how many pages it has been gone.
    pub gone: u32,
    /// The most points, if they are fewer than usual.
    most: Option<usize>,
}

/// Adds an element to those that are remembered, and forgets the first one above `most`.
fn remember<T>(all: &mut VecDeque<T>, new: T, most: usize) {
    all.push_back(new);
    if all.len() > most {
        all.pop_front();
    }
}

impl Track {
    /// Returns the last rate or value.
    pub fn now(&self) -> f64 {
        self.points.back().copied().unwrap_or(f64::NAN)
    }

    /// Returns whether a total grew, or a gauge had several values.
    pub fn moves(&self, is_gauge: bool) -> bool {
        let mut known = self.points.iter().filter(|point| !point.is_nan());
        match is_gauge {
            true => known
                .next()
                .is_some_and(|first| known.any(|point| point != first)),
            false => known.any(|rate| *rate > 0.0),
        }
    }

    fn push(&mut self, point: f64) {
        remember(&mut self.points, point, self.most.unwrap_or(POINTS));
    }

    /// Adds the figures of a page, and those of the interval of so many seconds since the last
    /// page.
    fn add(&mut self, now: Figures, new: Figures, seconds: f64, is_gauge: bool, has_heat: bool) {
        if self.page.bounds != now.bounds {
            self.heat.clear();
        }
        let (point, counts) = match is_gauge {
            true => (now.value, now.counts.clone()),
            false => (new.value / seconds, new.counts),
        };
        self.average = (!is_gauge && new.value > 0.0).then_some(new.sum / new.value);
        self.page = now;
        self.push(point);
        if has_heat && !counts.is_empty() {
            remember(&mut self.heat, counts, POINTS);
        }
    }

    /// Returns a quantile of the observations of the last pages, with the sign before it: `about`
    /// for an estimate, and that of a bound if all observations are in one bucket, or the quantile
    /// is in the last one. Returns `None` if there are none, or if no bound is known.
    pub fn quantile(&self, phi: f64, about: &'static str) -> Option<(&'static str, f64)> {
        let (_, finite) = self.page.bounds.split_last()?;
        let mut counts = vec![0; self.page.bounds.len()];
        for page in self.heat.iter().rev().take(QUANTILE_PAGES) {
            counts.iter_mut().zip(page).for_each(|(sum, n)| *sum += n);
        }
        let histogram = Histogram::new(finite, &counts, 0.0).ok()?;
        let found = histogram.quantile(phi)?;
        let is_only_bucket = histogram.quantile(0.0)?.upper == histogram.quantile(1.0)?.upper;
        match (found.lower, found.upper) {
            (f64::NEG_INFINITY, f64::INFINITY) => None,
            (lower, f64::INFINITY) => Some(("> ", lower)),
            (_, upper) if is_only_bucket => Some(("≤ ", upper)),
            _ => Some((about, found.value)),
        }
    }
}

/// The history of a family.
pub struct FamilyHistory {
    pub kind: Kind,
    pub help: String,
    pub unit: String,
    /// All series together.
    pub all: Track,
    /// The series by the text of their labels.
    pub series: BTreeMap<String, Track>,
}

impl FamilyHistory {
    pub fn of(family: &Family) -> Self {
        Self {
            kind: family.kind(),
            help: family.help().to_owned(),
            unit: family.unit().to_owned(),
            all: Track::default(),
            series: BTreeMap::new(),
        }
    }

    /// Adds the family of a page, and its increase in so many seconds since the last page, which
    /// are NaN if there was none.
    pub fn add(&mut self, family: &Family, new: &Family, seconds: f64) {
        let is_gauge = is_gauge(self.kind);
        let has_heat = family.len() <= MOST_HEAT_MAPS;
        let (mut all, mut all_new) = (None, None);
        let mut restarted = false;
        self.all.state.clear();
        self.series.values_mut().for_each(|track| track.gone += 1);
        for ((labels, value), (_, new)) in family.series().zip(new.series()) {
            let figures = Figures::of(value);
            let new = match seconds.is_nan() {
                true => Figures::default(),
                false => Figures::of(new),
            };
            let track = self.series.entry(label_text(labels)).or_default();
            track.gone = 0;
            track.most = (family.len() > MANY_SERIES).then_some(FEW_POINTS);
            if self.kind == Kind::StateSet && figures.value == 1.0 {
                let state = labels.get(family.name());
                self.all.state = state.unwrap_or_default().to_string();
            }
            if !is_gauge && figures.value < track.page.value {
                track.resets += 1;
                restarted = true;
            }
            add(&mut all, &figures, is_gauge);
            add(&mut all_new, &new, is_gauge);
            track.add(figures, new, seconds, is_gauge, has_heat);
        }
        for track in self.series.values_mut().filter(|track| track.gone > 0) {
            track.push(f64::NAN);
        }
        self.series.retain(|_, track| track.gone < GONE_PAGES);
        self.all.gone = 0;
        self.all.resets += u32::from(restarted);
        let (all, new) = (all.unwrap_or_default(), all_new.unwrap_or_default());
        self.all.add(all, new, seconds, is_gauge, true);
    }

    /// Adds a gap to all series, which are `gone` from so many pages more.
    pub fn add_gap(&mut self, gone: u32) {
        for track in self.series.values_mut().chain([&mut self.all]) {
            track.gone += gone;
            track.push(f64::NAN);
        }
    }
}

/// Returns whether the values of a kind can go up and down, so that they have no rate.
pub fn is_gauge(kind: Kind) -> bool {
    !matches!(kind, Kind::Counter | Kind::Histogram | Kind::Summary)
}

impl Figures {
    fn of(value: Value<'_>) -> Self {
        let mut figures = Self::default();
        match value {
            Value::Counter(number) => figures.value = number.as_f64(),
            Value::Gauge(value) => (figures.value, figures.least) = (value, value),
            Value::Summary(summary) => {
                (figures.value, figures.sum) = (summary.count() as f64, summary.sum());
                figures.quantiles = summary.exported().collect();
            }
            Value::Histogram(histogram) => {
                (figures.value, figures.sum) = (histogram.count() as f64, histogram.sum());
                let mut below = 0;
                for (bound, total) in histogram.buckets() {
                    figures.bounds.push(bound);
                    figures.counts.push(total.wrapping_sub(below));
                    below = total;
                }
            }
            _ => {}
        }
        figures
    }
}

/// Adds the figures of a series to those of all. Gauges do not add up: their range is known.
fn add(sum: &mut Option<Figures>, one: &Figures, is_gauge: bool) {
    let Some(sum) = sum else {
        *sum = Some(one.clone());
        return;
    };
    if is_gauge {
        (sum.least, sum.value) = (sum.least.min(one.value), sum.value.max(one.value));
    } else {
        sum.value += one.value;
    }
    sum.sum += one.sum;
    // Quantiles of several series do not add up.
    sum.quantiles.clear();
    let both = sum.counts.iter_mut().zip(&one.counts);
    both.for_each(|(sum, n)| *sum += n);
}
