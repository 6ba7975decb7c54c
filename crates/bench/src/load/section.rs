//! A load on a page: its charts and its tables.

use std::time::SystemTime;

use crate::page::Section;
use crate::page::plot::{Axis, Plot};
use crate::recorder::Recording;
use crate::stats::{QuantileInterval, percentile};

use super::LoadReport;
use super::control::Watched;

/// The number of steps of a curve of quantiles.
const STEPS: u32 = 120;
/// The height of a chart.
const HEIGHT: f64 = 240.0;
/// The classes of latency and service time, or of the service time alone.
const CLASSES: [&str; 2] = ["a", "b"];
/// The quantiles of a chart over time, and their classes.
const LINES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
/// The classes and names of the lines of requests over time.
const RATES: [(&str, &str); 3] = [
    ("succeeded", "succeeded"),
    ("slower", "failed or panicked"),
    ("unproven", "skipped"),
];
/// The points of these lines.
const PARTS: usize = 40;
/// The fewest values of a point over time: enough for the highest quantile, but fewer if there
/// would else be fewer points than these.
const ENOUGH: u64 = 100;
const POINTS: u64 = 20;

impl LoadReport {
    pub(crate) fn section(&self, name: &str) -> Section {
        let times = self.times();
        let names = times.iter().map(|(name, _)| *name);
        let lines = LINES.map(|(class, _)| (class, class));
        let (distribution, is_cut) = self.distribution(&times);
        let section = Section::new(name);
        let section = match &self.load.target {
            Some(target) => section.line(target),
            None => section,
        };
        let section = section
            .line(&self.summary())
            .line(&self.requests())
            .notes(&self.notes())
            .chart(
                "Quantiles and their intervals",
                &CLASSES.into_iter().zip(names).collect::<Vec<_>>(),
                distribution,
            );
        let section = match is_cut {
            true => section.line("Where a line has no shade on a side, that bound is not known."),
            false => section,
        };
        let skipped = self.skipped() > 0;
        let section = section
            .chart(
                match self.control.latency {
                    Some(_) => "Latency over time",
                    None => "Service time over time",
                },
                &lines,
                self.over_time(self.control.watched()),
            )
            .chart(
                "Requests that ended, over time",
                &RATES[..if skipped { 3 } else { 2 }],
                self.rates(),
            );
        let section = match &self.control.lag {
            Some(lag) => section.chart("Schedule lag over time", &lines, self.over_time(lag)),
            None => section,
        };
        let section = self.table(section).line(&self.coverage());
        section.facts(&self.facts(), Some(self.machine()))
    }

    /// The quantiles of all times, each in a column of one unit.
    fn table(&self, section: Section) -> Section {
        let lag = self.control.lag.iter();
        let lag = lag.map(|lag| ("schedule lag", lag));
        let times: Vec<_> = self.times().into_iter().chain(lag).collect();
        let units: Vec<_> = times
            .iter()
            .map(|(_, watched)| self.unit(watched))
            .collect();
        let heads = times.iter().zip(&units);
        let heads = heads.map(|((name, _), unit)| format!("{name}, {}", unit.name));
        let heads: Vec<String> = ["quantile".to_owned()].into_iter().chain(heads).collect();
        let columns = times.iter().zip(&units).map(|((_, watched), unit)| {
            let shown = self.shown(watched);
            let cells = shown.iter().map(|interval| interval.cell(*unit)).collect();
            (
                shown,
                cells,
                Self::largest(watched).map(|max| unit.number(max)),
            )
        });
        let columns: Vec<(Vec<QuantileInterval>, Vec<String>, Option<String>)> = columns.collect();
        let longest = columns.iter().max_by_key(|(shown, ..)| shown.len());
        let longest = longest.map_or(&[][..], |(shown, ..)| shown);
        let row = |(place, interval): (usize, &QuantileInterval)| {
            let cells = columns
                .iter()
                .map(|(_, cells, _)| cells.get(place).cloned());
            let cells = cells.map(Option::unwrap_or_default);
            [percentile(interval.quantile)]
                .into_iter()
                .chain(cells)
                .collect()
        };
        let largest = columns
            .iter()
            .map(|(.., max)| max.clone().unwrap_or_default());
        let largest = ["max".to_owned()].into_iter().chain(largest).collect();
        let rows = longest.iter().enumerate().map(row).chain([largest]);
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        section.table(&heads, rows)
    }

    /// Each quantile by its number of nines, with the band of its interval, and whether a bound is
    /// not known. The band has nothing on the side of such a bound.
    fn distribution(&self, times: &[(&str, &Watched)]) -> (Plot, bool) {
        let count = |(_, watched): &(&str, &Watched)| watched.batches.total().count();
        let count = times.iter().map(count).max().unwrap_or(0);
        let nines = (count.max(10) as f64).log10();
        let phi = |i| 1.0 - 10_f64.powf(-nines * f64::from(i) / f64::from(STEPS));
        let phis: Vec<f64> = (0..=STEPS).map(|i| phi(i).max(0.001)).collect();
        let curve = |(_, watched): &(&str, &Watched)| -> Vec<QuantileInterval> {
            let quantiles = phis.iter();
            quantiles
                .flat_map(|phi| watched.quantile(*phi, self.load.alpha))
                .collect()
        };
        let curves: Vec<Vec<_>> = times.iter().map(curve).collect();
        let lower = |it: &QuantileInterval| if it.has_lower() { it.lower } else { it.value };
        let upper = |it: &QuantileInterval| if it.has_upper() { it.upper } else { it.value };
        let all = || curves.iter().flatten();
        let is_cut = all().any(|it| !(it.has_lower() && it.has_upper()));
        let y = Axis::seconds(all().flat_map(|it| [lower(it), it.value, upper(it)]));
        let mut plot = Plot::new(Axis::quantiles(count), y, HEIGHT, 26.0);
        for (class, intervals) in CLASSES.iter().zip(&curves) {
            let points = |of: &dyn Fn(&QuantileInterval) -> f64| -> Vec<(f64, f64)> {
                intervals.iter().map(|it| (it.quantile, of(it))).collect()
            };
            plot.band(class, &points(&lower), &points(&upper));
            plot.line(class, &points(&|it| it.value));
        }
        (plot, is_cut)
    }

    /// Requests per second that succeeded, failed or were skipped, over time.
    fn rates(&self) -> Plot {
        let parts = self.control.counts.parts(PARTS);
        let parts = parts.iter().filter(|(from, to)| to.at > from.at);
        let rates = parts.map(|(from, to)| {
            let seconds = (to.at - from.at).as_secs_f64();
            let counts = [
                to.succeeded - from.succeeded,
                to.failed - from.failed,
                to.skipped - from.skipped,
            ];
            let middle = f64::midpoint(from.at.as_secs_f64(), to.at.as_secs_f64());
            (middle, counts.map(|count| count as f64 / seconds))
        });
        let rates: Vec<(f64, [f64; 3])> = rates.collect();
        let all = rates.iter().flat_map(|(_, rates)| *rates);
        let per_second = |rate: f64| format!("{}/s", (rate * 1e6).round() / 1e6);
        let y = Axis::linear([0.0].into_iter().chain(all), "", per_second);
        let mut plot = Plot::new(self.time_axis(), y, HEIGHT / 2.0, 26.0);
        let shown = if self.skipped() > 0 { 3 } else { 2 };
        for (place, (class, _)) in RATES.iter().enumerate().take(shown) {
            let line = rates.iter().map(|(time, rates)| (*time, rates[place]));
            plot.line(class, &line.collect::<Vec<_>>());
        }
        plot
    }

    fn time_axis(&self) -> Axis {
        let end = self.measured.as_secs_f64();
        let label = |time: f64| format!("{} s", (time * 1e6).round() / 1e6);
        Axis::linear([0.0, end].into_iter(), "time", label)
    }

    /// Quantiles over time. Parts are joined until they have enough values for every line, so no
    /// line crosses that of a higher quantile.
    fn over_time(&self, watched: &Watched) -> Plot {
        let enough = (watched.batches.total().count() / POINTS).clamp(1, ENOUGH);
        let parts = joined(watched.timeline.parts(), enough);
        // The first part begins with the warm-up, of which it has no values.
        let first = watched.timeline.parts().first();
        let begin = first.map_or(SystemTime::UNIX_EPOCH, |first| {
            first.begin() + self.load.warm_up
        });
        let since = |time: SystemTime| time.duration_since(begin).unwrap_or_default().as_secs_f64();
        let lines = LINES.map(|(_, phi)| -> Vec<(f64, f64)> {
            let points = parts.iter().filter_map(|part| {
                let bucket = part.distribution().quantile(phi)?;
                let middle = f64::midpoint(since(part.begin()), since(part.end()));
                Some((middle, f64::midpoint(bucket.lower, bucket.upper)))
            });
            points.collect()
        });
        let values = lines.iter().flatten().map(|(_, value)| *value);
        let mut plot = Plot::new(self.time_axis(), Axis::seconds(values), HEIGHT, 26.0);
        for ((class, _), line) in LINES.iter().zip(&lines) {
            plot.line(class, line);
        }
        plot
    }
}

/// Joins neighbours until each has at least `enough` values. What is left in the end belongs to the
/// last one: a point of few values would stand out.
fn joined(parts: &[Recording], enough: u64) -> Vec<Recording> {
    let count = |part: &Recording| part.distribution().count();
    let mut left: u64 = parts.iter().map(count).sum();
    let mut joined: Vec<Recording> = Vec::new();
    for part in parts {
        match joined.last_mut() {
            // All are of one recorder, so they can be merged.
            Some(last) if left < enough || count(last) < enough => drop(last.merge(part)),
            _ => joined.push(part.clone()),
        }
        left -= count(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recorder;

    #[test]
    fn points_over_time_have_enough_values_also_the_last_one() {
        let recorder = Recorder::new("query_seconds").unwrap();
        let mut intervals = recorder.intervals();
        let mut parts = |counts: &[u64]| -> Vec<Recording> {
            let part = |count: &u64| {
                (0..*count).for_each(|_| recorder.record_seconds(1.0));
                intervals.next_interval()
            };
            counts.iter().map(part).collect()
        };
        let mut counts = |counts: &[u64]| -> Vec<u64> {
            let joined = joined(&parts(counts), 10);
            joined
                .iter()
                .map(|part| part.distribution().count())
                .collect()
        };
        assert_eq!(counts(&[10, 10, 3]), [10, 13]);
        assert_eq!(counts(&[0, 4, 5, 6, 30, 10]), [15, 30, 10]);
        assert_eq!(counts(&[3]), [3]);
        assert!(counts(&[]).is_empty());
    }
}
