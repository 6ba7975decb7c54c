//! Charts as SVG, in the manner of the live page of `tallies`: thin lines, faint labels, and the
//! colors of the style sheet.

use std::fmt::Write as _;

use super::Escaped;
use crate::stats::percentile;

/// The width of a chart, in the units of its SVG.
const WIDTH: f64 = 720.0;
/// The room above the marks, more of it if the vertical axis has a name there, and that below for
/// the labels of the horizontal axis and its name.
const TOP: f64 = 8.0;
const NAME: f64 = 20.0;
const BOTTOM: f64 = 42.0;
/// Wider than a character of a label.
const CHARACTER: f64 = 6.2;
/// The most characters of a label; the tables have the whole names.
const LONGEST: usize = 28;

/// The places of values on an axis.
#[derive(Clone, Copy, Debug)]
enum Scale {
    Linear,
    /// Decades of seconds, from a nanosecond on.
    Seconds,
    /// Quantiles: 0.9, 0.99 and 0.999 have equal distances.
    Nines,
}

impl Scale {
    fn of(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Seconds => value.max(1e-9).log10(),
            Self::Nines => -(1.0 - value).log10(),
        }
    }
}

/// An axis: its scale, its ends on that scale, and its labels by value.
#[derive(Debug)]
pub(crate) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    labels: Vec<(f64, String)>,
    name: &'static str,
}

impl Axis {
    /// Creates an axis of durations in seconds that holds all of these, at round ends.
    pub(crate) fn seconds(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values.filter(|value| *value > 0.0)).unwrap_or((1e-6, 1e-3));
        let (low, high) = (low.clamp(1e-9, 1e9), high.clamp(1e-9, 1e9));
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let rounds = decades.flat_map(|decade| {
            // 2e-4, and not 2 * 1e-4, which has another last digit.
            [1, 2, 5].map(|digit| format!("{digit}e{decade}").parse().unwrap_or(f64::NAN))
        });
        let rounds: Vec<f64> = rounds.collect();
        let first = rounds.partition_point(|round| *round <= low).max(1) - 1;
        let last = rounds.partition_point(|round| *round < high);
        let last = last.clamp(first + 1, rounds.len() - 1);
        // Only powers of ten, of which the first is one, if there are many.
        let every = if last - first > 7 { 3 } else { 1 };
        let labels = (first..=last).filter(|place| place % every == 0);
        Self {
            scale: Scale::Seconds,
            low: rounds[first].log10(),
            high: rounds[last].log10(),
            labels: labels
                .map(|place| (rounds[place], short(rounds[place])))
                .collect(),
            name: "logarithmic scale",
        }
    }

    /// Creates an axis of plain numbers that holds all of these, at round ends.
    pub(crate) fn linear(
        values: impl Iterator<Item = f64>,
        name: &'static str,
        label: impl Fn(f64) -> String,
    ) -> Self {
        let (low, high) = range(values).unwrap_or((0.0, 1.0));
        let span = (high - low).max(low.abs() * 1e-6).max(1e-9);
        let power = 10_f64.powf((span / 6.0).log10().floor());
        let rounds = [1.0, 2.0, 2.5, 5.0, 10.0].map(|round| round * power);
        let step = rounds.into_iter().find(|step| span / step <= 6.0);
        let step = step.unwrap_or(10.0 * power);
        let first = (low / step + 1e-9).floor();
        let last = (high / step - 1e-9).ceil().max(first + 1.0);
        let labels = (0..=(last - first) as u32).map(|i| (first + f64::from(i)) * step);
        Self {
            scale: Scale::Linear,
            low: first * step,
            high: last * step,
            labels: labels.map(|value| (value, label(value))).collect(),
            name,
        }
    }

    /// Creates an axis of quantiles up to the largest of `count` values, which is its end.
    pub(crate) fn quantiles(count: u64) -> Self {
        let nines = (count.max(10) as f64).log10();
        let all = [
            0.0,
            0.5,
            0.9,
            0.99,
            0.999,
            0.9999,
            0.99999,
            0.999_999,
            0.999_999_9,
        ];
        // The label of the end has some room to its left.
        let shown = all
            .into_iter()
            .filter(|phi| Scale::Nines.of(*phi) <= nines * 0.93);
        let shown = shown.map(|phi| (phi, percentile(phi)));
        let end = (1.0 - 10_f64.powf(-nines), "max".to_owned());
        Self {
            scale: Scale::Nines,
            low: 0.0,
            high: nines,
            labels: shown.chain([end]).collect(),
            name: "percentile",
        }
    }

    /// Creates an axis with a row for each name, from the top: row `i` is from `n - i - 1` to
    /// `n - i`.
    pub(crate) fn rows<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let high = names.len() as f64;
        let middle = |i: usize| high - i as f64 - 0.5;
        Self {
            scale: Scale::Linear,
            low: 0.0,
            high,
            labels: names
                .enumerate()
                .map(|(i, name)| (middle(i), cut(name)))
                .collect(),
            name: "",
        }
    }

    /// The place of a value, from 0 at the lower end to 1 at the upper one.
    fn place(&self, value: f64) -> f64 {
        (self.scale.of(value) - self.low) / (self.high - self.low)
    }
}

/// A chart that is being drawn. Values that are not finite are gaps in a line; those beyond an axis
/// are drawn at its end.
#[derive(Debug)]
pub(crate) struct Plot {
    x: Axis,
    y: Axis,
    left: f64,
    right: f64,
    top: f64,
    height: f64,
    marks: String,
}

impl Plot {
    /// Creates a chart. `height` is that of the area of the marks, and `right` the room for text
    /// beside it.
    pub(crate) fn new(x: Axis, y: Axis, height: f64, right: f64) -> Self {
        let longest = y.labels.iter().map(|(_, text)| text.chars().count()).max();
        let top = if y.name.is_empty() { TOP } else { TOP + NAME };
        Self {
            x,
            y,
            top,
            left: longest.unwrap_or(0) as f64 * CHARACTER + 14.0,
            right,
            height,
            marks: String::new(),
        }
    }

    fn x(&self, value: f64) -> f64 {
        self.left + self.x.place(value).clamp(0.0, 1.0) * (WIDTH - self.left - self.right)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + (1.0 - self.y.place(value).clamp(0.0, 1.0)) * self.height
    }

    /// Draws a line from point to point, in the class of a style.
    pub(crate) fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let stretches = points.split(|(x, y)| !(x.is_finite() && y.is_finite()));
        for stretch in stretches.filter(|stretch| !stretch.is_empty()) {
            // A line of no length is a dot, since lines have round ends.
            let ends = &stretch[..usize::from(stretch.len() == 1)];
            let path = self.path(stretch.iter().chain(ends));
            let _ = write!(self.marks, "<path class=\"line {class}\" d=\"{path}\"/>");
        }
    }

    /// Fills what is between two lines that have the same values of `x`.
    pub(crate) fn band(&mut self, class: &str, low: &[(f64, f64)], high: &[(f64, f64)]) {
        let path = self.path(low.iter().chain(high.iter().rev()));
        if !path.is_empty() {
            let _ = write!(self.marks, "<path class=\"band {class}\" d=\"{path}Z\"/>");
        }
    }

    /// Draws a dot at the height `y`, with its interval.
    pub(crate) fn interval(&mut self, class: &str, y: f64, value: f64, ends: Option<(f64, f64)>) {
        if let Some((low, high)) = ends {
            self.line(class, &[(low, y), (high, y)]);
        }
        if value.is_finite() {
            let (x, y) = (self.x(value), self.y(y));
            let _ = write!(
                self.marks,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"
            );
        }
    }

    /// Writes text to the right of the marks.
    pub(crate) fn beside(&mut self, class: &str, y: f64, text: &str) {
        let (x, y) = (WIDTH - self.right + 10.0, self.y(y) + 4.0);
        let text = Escaped(text);
        let _ = write!(
            self.marks,
            "<text class=\"{class}\" x=\"{x}\" y=\"{y:.1}\">{text}</text>"
        );
    }

    fn path<'a>(&self, points: impl Iterator<Item = &'a (f64, f64)>) -> String {
        let mut path = String::new();
        for &(x, y) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.x(x), self.y(y));
        }
        path
    }

    /// Returns the SVG. `title` is for those who do not see it.
    pub(crate) fn svg(mut self, title: &str) -> String {
        let (left, right, top) = (self.left, WIDTH - self.right, self.top);
        let bottom = top + self.height;
        let mut axes = String::new();
        for (value, text) in &self.y.labels {
            let (y, x, text) = (self.y(*value), left - 8.0, Escaped(text));
            let _ = write!(
                axes,
                "<path class=\"rule\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>\
                 <text class=\"end\" x=\"{x:.1}\" y=\"{:.1}\">{text}</text>",
                y + 4.0
            );
        }
        for (value, text) in &self.x.labels {
            let (x, y, text) = (self.x(*value), bottom + 17.0, Escaped(text));
            let _ = write!(
                axes,
                "<path class=\"rule\" d=\"M{x:.1} {top}V{bottom:.1}\"/>\
                 <text class=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
            );
        }
        let (middle, name) = (f64::midpoint(left, right), self.x.name);
        let _ = write!(
            axes,
            "<text class=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\">{name}</text>",
            bottom + 35.0
        );
        if !self.y.name.is_empty() {
            let name = self.y.name;
            let _ = write!(
                axes,
                "<text x=\"{left:.1}\" y=\"{:.1}\">{name}</text>",
                top - 10.0
            );
        }
        if self.marks.is_empty() {
            let y = top + self.height / 2.0;
            self.marks =
                format!("<text class=\"middle\" x=\"{middle:.1}\" y=\"{y:.1}\">no data</text>");
        }
        let (title, marks, height) = (Escaped(title), self.marks, bottom + BOTTOM);
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">{axes}{marks}</svg>"
        )
    }
}

/// The least and the largest of the finite values.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    finite.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// A round duration, such as `200 µs`.
fn short(seconds: f64) -> String {
    let (scale, unit) = match seconds {
        seconds if seconds > 0.999 => (1.0, "s"),
        seconds if seconds > 0.999e-3 => (1e3, "ms"),
        seconds if seconds > 0.999e-6 => (1e6, "µs"),
        _ => (1e9, "ns"),
    };
    format!("{} {unit}", (seconds * scale).round())
}

/// A name without its middle, if it is long.
fn cut(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= LONGEST {
        return name.to_owned();
    }
    let half = LONGEST / 2;
    let (head, tail) = (
        &characters[..half],
        &characters[characters.len() - half + 1..],
    );
    head.iter().chain(&['…']).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.labels.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn an_axis_of_durations_ends_at_round_ones() {
        let axis = |values: &[f64]| Axis::seconds(values.iter().copied());
        let few = axis(&[1.3e-4, 9e-4]);
        assert_eq!(texts(&few), ["100 µs", "200 µs", "500 µs", "1 ms"]);
        assert_eq!(texts(&axis(&[1e-3])), ["1 ms", "2 ms"]);
        let many = axis(&[3e-7, 0.7, f64::INFINITY, 0.0]);
        assert_eq!(many.high, 0.0);
        assert_eq!(texts(&many)[1..3], ["10 µs", "100 µs"]);
        assert!(!texts(&axis(&[])).is_empty());
    }

    #[test]
    fn a_linear_axis_has_round_steps() {
        let axis = |values: &[f64]| Axis::linear(values.iter().copied(), "", |x| x.to_string());
        assert_eq!(texts(&axis(&[0.0, 9.7])), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(texts(&axis(&[-0.4, 1.0]))[..2], ["-0.5", "-0.25"]);
        for values in [&[][..], &[3.0], &[f64::NAN], &[0.0, 0.0]] {
            assert!(axis(values).high > axis(values).low, "{values:?}");
        }
    }

    #[test]
    fn quantiles_are_labelled_as_far_as_there_are_values() {
        assert_eq!(
            texts(&Axis::quantiles(1000)),
            ["p0", "p50", "p90", "p99", "max"]
        );
        assert_eq!(
            texts(&Axis::quantiles(2000)),
            ["p0", "p50", "p90", "p99", "p99.9", "max"]
        );
        let few = Axis::quantiles(0);
        assert_eq!(texts(&few), ["p0", "p50", "max"]);
        assert!((few.place(few.labels[2].0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_empty_infinite_or_one_point_is_drawn_without_nan() {
        let axes = || (Axis::quantiles(1), Axis::seconds([1.0].into_iter()));
        let (x, y) = axes();
        assert!(Plot::new(x, y, 100.0, 0.0).svg("empty").contains("no data"));
        let (x, y) = axes();
        let mut plot = Plot::new(x, y, 100.0, 0.0);
        plot.line("a", &[(0.5, 1.0), (f64::NAN, 1.0), (0.6, f64::INFINITY)]);
        plot.band("a", &[(0.5, 0.0)], &[(0.5, f64::INFINITY)]);
        plot.interval("a", 1.0, f64::NAN, None);
        let svg = plot.svg("<one & \"two\">");
        assert_eq!(svg.matches("class=\"line").count(), 1, "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("&lt;one &amp; &quot;two&quot;&gt;"));
    }

    #[test]
    fn long_names_lose_their_middle() {
        let name = "é".repeat(50);
        assert_eq!(cut(&name).chars().count(), LONGEST);
        assert_eq!(cut("short"), "short");
    }
}
