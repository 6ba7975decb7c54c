//! History: what the pages of one endpoint said over time, as rates, values and distributions.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use tallies::snapshot::{Family, Kind, SeriesLabels, Snapshot, Value};

/// The number of points that are remembered: five minutes at one per second.
pub const POINTS: usize = 300;
/// The number of points of each series, in families with more than this many series.
const FEW_POINTS: usize = 60;
const MANY_SERIES: usize = 1000;
/// A series that is gone from the page is shown for so many more pages.
const GONE_PAGES: u32 = 30;
/// Distributions over time are remembered for the series of families with at most this many. Those
/// of whole families always are.
const MOST_HEAT_MAPS: usize = 64;

/// How often observations fell into each bucket, between two pages.
pub type Counts = Vec<u64>;

/// The history of one series, or of all series of a family together.
#[derive(Default)]
pub struct Track {
    /// Rates per second of what only grows, and values of gauges. NaN where a page is missing.
    pub points: VecDeque<f64>,
    /// The value on the last page: a total, the value of a gauge, or a number of observations.
    pub value: f64,
    /// The least value of several gauges, of which `value` and `points` are the largest.
    pub least: f64,
    /// The state that is on, of a state set.
    pub state: String,
    /// The sum of observations on the last page.
    pub sum: f64,
    /// The average of the observations between the last two pages.
    pub average: Option<f64>,
    /// The quantiles that the last page has.
    pub quantiles: Vec<(f64, f64)>,
    /// The upper bounds of the buckets.
    pub bounds: Vec<f64>,
    /// The new observations per bucket, page by page.
    pub heat: VecDeque<Counts>,
    /// How often the total went down, because the program was restarted.
    pub resets: u32,
    /// For how many pages it has been gone.
    pub gone: u32,
    /// The most points, if they are fewer than usual.
    most: Option<usize>,
}

impl Track {
    /// Returns the last rate or value.
    pub fn now(&self) -> f64 {
        self.points.back().copied().unwrap_or(f64::NAN)
    }

    fn push(&mut self, point: f64, counts: Option<Counts>) {
        self.points.push_back(point);
        if self.points.len() > self.most.unwrap_or(POINTS) {
            self.points.pop_front();
        }
        if let Some(counts) = counts {
            self.heat.push_back(counts);
            if self.heat.len() > POINTS {
                self.heat.pop_front();
            }
        }
    }

    /// Returns a quantile of the observations of the last `pages` pages, interpolated as
    /// `histogram_quantile` does. Returns `None` if there are none, or if no bound is known.
    pub fn quantile(&self, phi: f64, pages: usize) -> Option<Quantile> {
        let mut counts = vec![0; self.bounds.len()];
        for page in self.heat.iter().rev().take(pages) {
            counts.iter_mut().zip(page).for_each(|(sum, n)| *sum += n);
        }
        let total: u64 = counts.iter().sum();
        let rank = phi * total as f64;
        let mut below = 0;
        let i = counts.iter().position(|n| {
            below += n;
            *n > 0 && below as f64 >= rank
        })?;
        let upper = self.bounds[i];
        let lower = match i {
            0 if upper > 0.0 => 0.0,
            0 => upper,
            _ => self.bounds[i - 1],
        };
        if upper.is_infinite() {
            return (i > 0).then_some(Quantile::Above(lower));
        }
        if counts[i] == total {
            return Some(Quantile::AtMost(upper));
        }
        let part = (rank - (below - counts[i]) as f64) / counts[i] as f64;
        let value = lower + (upper - lower) * part.clamp(0.0, 1.0);
        Some(Quantile::About(value))
    }
}

/// A quantile, as far as it is known.
#[derive(Clone, Copy)]
pub enum Quantile {
    /// An estimate, between two bounds.
    About(f64),
    /// Only the one bucket that has all observations.
    AtMost(f64),
    /// Only the last bucket, which has no end.
    Above(f64),
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

/// The history of an endpoint.
#[derive(Default)]
pub struct History {
    pub families: BTreeMap<String, FamilyHistory>,
    /// The last page and the time of its arrival.
    last: Option<(Snapshot, Instant)>,
}

impl History {
    /// Adds a page.
    pub fn add(&mut self, snapshot: Snapshot, at: Instant) {
        let interval = self.last.as_ref().map(|(before, then)| {
            let seconds = at.duration_since(*then).as_secs_f64().max(1e-3);
            (snapshot.since(before), seconds)
        });
        for (i, family) in snapshot.families().enumerate() {
            let new = interval
                .as_ref()
                .and_then(|(interval, seconds)| Some((interval.families().nth(i)?, *seconds)));
            let history = self
                .families
                .entry(family.name().to_owned())
                .or_insert_with(|| FamilyHistory::of(family));
            if history.kind != family.kind() {
                *history = FamilyHistory::of(family);
            }
            history.add(family, new);
        }
        for (name, history) in &mut self.families {
            if snapshot.family(name).is_none() {
                history.add_gap();
            }
        }
        self.families
            .retain(|_, history| history.all.gone < GONE_PAGES);
        self.last = Some((snapshot, at));
    }

    /// Adds a gap to every history: there was no page.
    pub fn add_gap(&mut self) {
        for history in self.families.values_mut() {
            history.all.push(f64::NAN, None);
            history
                .series
                .values_mut()
                .for_each(|track| track.push(f64::NAN, None));
        }
    }
}

impl FamilyHistory {
    fn of(family: &Family) -> Self {
        Self {
            kind: family.kind(),
            help: family.help().to_owned(),
            unit: family.unit().to_owned(),
            all: Track::default(),
            series: BTreeMap::new(),
        }
    }

    /// Adds the family of a page, and the family of the interval since the last page with its
    /// length in seconds.
    fn add(&mut self, family: &Family, interval: Option<(&Family, f64)>) {
        let is_gauge = is_gauge(self.kind);
        let has_heat = family.len() <= MOST_HEAT_MAPS;
        let mut all = Sums::default();
        let mut restarted = false;
        let mut state = String::new();
        self.series.values_mut().for_each(|track| track.gone += 1);
        let mut news = interval.map(|(interval, seconds)| (interval.series(), seconds));
        for (labels, value) in family.series() {
            let new = news
                .as_mut()
                .and_then(|(series, seconds)| Some((series.next()?.1, *seconds)));
            let track = self.series.entry(text(labels)).or_default();
            let figures = Figures::of(value);
            let new = new.map(|(value, seconds)| (Figures::of(value), seconds));
            track.gone = 0;
            track.most = (family.len() > MANY_SERIES).then_some(FEW_POINTS);
            if is_on(self.kind, &figures) {
                state = text_of_state(labels, family.name());
            }
            if !is_gauge && figures.value < track.value {
                track.resets += 1;
                restarted = true;
            }
            all.add(&figures, new.as_ref().map(|(new, _)| new), is_gauge);
            track.set(figures, new, is_gauge, has_heat);
        }
        for track in self.series.values_mut().filter(|track| track.gone > 0) {
            track.push(f64::NAN, None);
        }
        self.series.retain(|_, track| track.gone < GONE_PAGES);
        self.all.gone = 0;
        self.all.resets += u32::from(restarted);
        let new = interval.map(|(_, seconds)| (all.new, seconds));
        self.all.set(all.now, new, is_gauge, true);
        self.all.state = state;
    }

    fn add_gap(&mut self) {
        self.all.gone += 1;
        self.all.push(f64::NAN, None);
        for track in self.series.values_mut() {
            track.gone += 1;
            track.push(f64::NAN, None);
        }
    }
}

/// Returns whether the values of a kind can go up and down, so that they have no rate.
pub fn is_gauge(kind: Kind) -> bool {
    !matches!(kind, Kind::Counter | Kind::Histogram | Kind::Summary)
}

impl Track {
    fn set(&mut self, now: Figures, new: Option<(Figures, f64)>, is_gauge: bool, has_heat: bool) {
        if self.bounds != now.bounds {
            self.bounds = now.bounds;
            self.heat.clear();
        }
        (self.value, self.sum, self.quantiles) = (now.value, now.sum, now.quantiles);
        self.least = now.least;
        let (point, counts) = match new {
            _ if is_gauge => (now.value, Some(now.counts)),
            Some((new, seconds)) => {
                self.average = (new.value > 0.0).then_some(new.sum / new.value);
                (new.value / seconds, Some(new.counts))
            }
            None => (f64::NAN, None),
        };
        self.push(
            point,
            counts.filter(|counts| has_heat && !counts.is_empty()),
        );
    }
}

/// The figures of one series on a page, or in an interval.
#[derive(Clone, Default)]
struct Figures {
    value: f64,
    least: f64,
    sum: f64,
    quantiles: Vec<(f64, f64)>,
    bounds: Vec<f64>,
    counts: Counts,
    /// The number of series that are added up; 0 for one series alone.
    series: usize,
}

impl Figures {
    fn of(value: Value<'_>) -> Self {
        match value {
            Value::Counter(number) => Self {
                value: number.as_f64(),
                ..Self::default()
            },
            Value::Gauge(value) => Self {
                value,
                least: value,
                ..Self::default()
            },
            Value::Summary(summary) => Self {
                value: summary.count() as f64,
                sum: summary.sum(),
                quantiles: summary.exported().collect(),
                ..Self::default()
            },
            Value::Histogram(histogram) => {
                let (bounds, totals): (Vec<f64>, Vec<u64>) = histogram.buckets().unzip();
                let mut below = 0;
                let counts = totals.iter().map(|total| {
                    let count = total.wrapping_sub(below);
                    below = *total;
                    count
                });
                Self {
                    value: histogram.count() as f64,
                    sum: histogram.sum(),
                    counts: counts.collect(),
                    bounds,
                    ..Self::default()
                }
            }
            _ => Self::default(),
        }
    }
}

/// The sums of all series of a family.
#[derive(Default)]
struct Sums {
    now: Figures,
    new: Figures,
}

impl Sums {
    fn add(&mut self, now: &Figures, new: Option<&Figures>, is_gauge: bool) {
        add(&mut self.now, now, is_gauge);
        if let Some(new) = new {
            add(&mut self.new, new, is_gauge);
        }
    }
}

/// Adds the figures of a series. Gauges do not add up: their range is known.
fn add(sum: &mut Figures, one: &Figures, is_gauge: bool) {
    if sum.series == 0 {
        *sum = one.clone();
        sum.series = 1;
        return;
    }
    sum.series += 1;
    if is_gauge {
        (sum.least, sum.value) = (sum.least.min(one.value), sum.value.max(one.value));
    } else {
        sum.value += one.value;
    }
    sum.sum += one.sum;
    // Quantiles of several series do not add up.
    sum.quantiles.clear();
    if sum.counts.is_empty() {
        sum.bounds.clone_from(&one.bounds);
        sum.counts.clone_from(&one.counts);
    } else {
        let both = sum.counts.iter_mut().zip(&one.counts);
        both.for_each(|(sum, n)| *sum += n);
    }
}

/// Returns whether these are the figures of the state that a state set is in.
fn is_on(kind: Kind, figures: &Figures) -> bool {
    kind == Kind::StateSet && figures.value == 1.0
}

/// Returns the value of the label that has the name of the state set.
fn text_of_state(labels: SeriesLabels<'_>, family: &str) -> String {
    let state = labels.get(family).unwrap_or_default();
    state.chars().map(shown).collect()
}

/// Returns the labels as the text format writes them, with invisible characters escaped.
fn text(labels: SeriesLabels<'_>) -> String {
    let pairs = labels.iter().map(|(name, value)| {
        let value: String = value.chars().map(shown).collect();
        format!("{name}=\"{value}\"")
    });
    pairs.collect::<Vec<_>>().join(",")
}

fn shown(c: char) -> String {
    match c {
        '\'' => c.to_string(),
        c => c.escape_debug().to_string(),
    }
}
