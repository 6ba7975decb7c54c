//! A load on a page: its charts and its tables.

use std::time::SystemTime;

use crate::page::Section;
use crate::page::plot::{Axis, Plot};
use crate::recorder::Recording;
use crate::stats::QuantileInterval;

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
/// The fewest values of a point over time: enough for the highest quantile, but fewer if there
/// would else be fewer points than these.
const ENOUGH: u64 = 100;
const POINTS: u64 = 20;

impl LoadReport {
    pub(crate) fn section(&self, name: &str) -> Section {
        let latency = self.control.latency.iter();
        let latency = latency.map(|latency| ("latency", latency));
        let service = ("service time", &self.control.service);
        let times: Vec<_> = latency.chain([service]).collect();
        let names = times.iter().map(|(name, _)| *name);
        let section = Section::new(name)
            .line(&self.summary())
            .line(&self.requests())
            .notes(&self.notes())
            .chart(
                "Quantiles and their intervals",
                &CLASSES.into_iter().zip(names).collect::<Vec<_>>(),
                self.distribution(&times),
            )
            .chart(
                match self.control.latency {
                    Some(_) => "Latency over time",
                    None => "Service time over time",
                },
                &LINES.map(|(class, _)| (class, class)),
                self.over_time(self.control.watched()),
            );
        let section = match &self.control.lag {
            Some(lag) => section.chart(
                "Schedule lag over time",
                &LINES.map(|(class, _)| (class, class)),
                self.over_time(lag),
            ),
            None => section,
        };
        self.tables(section, &times).machine(self.machine())
    }

    fn tables(&self, section: Section, times: &[(&str, &Watched)]) -> Section {
        let head: Vec<&str> = times.iter().map(|(name, _)| *name).collect();
        let column = |(_, watched): &(&str, &Watched)| -> Vec<String> {
            let shown = self.shown(watched).into_iter();
            let largest = Self::largest(watched).map(|max| format!("max {max}"));
            let cells = shown.map(|interval| interval.to_string());
            cells.chain(largest).collect()
        };
        let columns: Vec<_> = times.iter().map(column).collect();
        let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
        let row = |row: usize| {
            let cells = columns.iter();
            let cells = cells.map(|column| column.get(row).cloned().unwrap_or_default());
            cells.collect()
        };
        let section = section.table(&head, (0..rows).map(row));
        let section = section.line(&self.coverage());
        match self.lag_quantiles() {
            Some(lag) => section.line(&format!("Schedule lag: {lag}")),
            None => section,
        }
    }

    /// Each quantile by its number of nines, with the band of its interval. Where a bound is not
    /// known, the band reaches to the edge.
    fn distribution(&self, times: &[(&str, &Watched)]) -> Plot {
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
        let all = curves.iter().flatten();
        let y = Axis::seconds(all.flat_map(|it| [it.lower, it.value, it.upper]));
        let mut plot = Plot::new(Axis::quantiles(count), y, HEIGHT, 26.0);
        for (class, intervals) in CLASSES.iter().zip(&curves) {
            let points = |of: fn(&QuantileInterval) -> f64| -> Vec<(f64, f64)> {
                intervals.iter().map(|it| (it.quantile, of(it))).collect()
            };
            plot.band(class, &points(|it| it.lower), &points(|it| it.upper));
            plot.line(class, &points(|it| it.value));
        }
        plot
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
        let (y, end) = (Axis::seconds(values), self.measured.as_secs_f64());
        let label = |time: f64| format!("{} s", (time * 1e6).round() / 1e6);
        let x = Axis::linear([0.0, end].into_iter(), "time", label);
        let mut plot = Plot::new(x, y, HEIGHT, 26.0);
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
