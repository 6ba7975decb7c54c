//! The lower part of the screen: the drawing and the figures of the selected row.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Constraint::{Fill, Length};
use ratatui::layout::{Layout, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Block, Borders, Widget};
use tallies::snapshot::Kind;

use super::app::{App, SELF, Shown};
use super::chart;
use super::history::is_gauge;
use super::number::{plain, with_unit};
use super::view::{BAD, BOLD, DIM, color_of, line, right};

/// The lower part of the screen.
pub fn draw(app: &App, area: Rect, color: bool, buffer: &mut Buffer) {
    let block = Block::new().borders(Borders::TOP).border_style(DIM);
    let [head, body] = Layout::vertical([Length(1), Fill(1)]).areas(block.inner(area));
    block.render(area, buffer);
    let Some(row) = &app.selected else { return };
    if row.family == SELF {
        let text = "Families about the metrics themselves: Enter shows them.";
        return line([(text, DIM)]).render(head, buffer);
    }
    let Some(shown) = app.shown(row) else {
        return line([("it is gone", DIM)]).render(head, buffer);
    };
    let labels = row.series.as_ref().map(|text| format!("{{{text}}}"));
    let gone = (shown.track.gone > 0).then_some("  gone from the page");
    let parts = [
        (row.family.as_str(), BOLD),
        (&labels.unwrap_or_default(), Style::new()),
        ("  ", DIM),
        (&shown.family.help, DIM),
        (gone.unwrap_or_default(), BAD),
    ];
    line(parts).render(head, buffer);
    let figures = shown.figures();
    let length = |(name, text): &(String, String)| name.len() + text.chars().count() + 3;
    let width = figures.iter().map(length).max().unwrap_or(0) as u16;
    let width = width.min(area.width / 2).max(18);
    let [drawing, _, list] = Layout::horizontal([Fill(1), Length(1), Length(width)]).areas(body);
    for ((name, text), row) in figures.iter().zip(list.rows()) {
        let [left, rest] = Layout::horizontal([Length(name.len() as u16 + 1), Fill(1)]).areas(row);
        line([(name, DIM)]).render(left, buffer);
        right(text, Style::new(), rest, buffer);
    }
    if drawing.width > 12 {
        let (axis, drawing) = axes(drawing, app.interval, buffer);
        match shown.track.heat.is_empty() {
            true => shown.plot(axis, drawing, buffer),
            false => shown.heat_map(axis, drawing, color, buffer),
        }
    }
}

/// Writes below a drawing how much time it shows. Returns the places of the labels at its left, and
/// of the drawing.
fn axes(area: Rect, interval: Duration, buffer: &mut Buffer) -> (Rect, Rect) {
    let [axis, _, right_of_axis] = Layout::horizontal([Length(11), Length(1), Fill(1)]).areas(area);
    let [drawing, below] = Layout::vertical([Fill(1), Length(1)]).areas(right_of_axis);
    let span = interval.as_secs_f64() * f64::from(drawing.width);
    line([(&format!("−{}", with_unit(span, "seconds")), DIM)]).render(below, buffer);
    right("now", DIM, below, buffer);
    let height = drawing.height;
    (Rect { height, ..axis }, drawing)
}

impl Shown<'_> {
    /// Draws a chart with the labels of its range at the left.
    fn plot(&self, axis: Rect, drawing: Rect, buffer: &mut Buffer) {
        let kind = self.family.kind;
        let points = &self.track.points;
        let (low, high) = chart::area(points, !is_gauge(kind), drawing, color_of(kind), buffer);
        let label = |x: f64| match is_gauge(kind) {
            true => self.unit(x),
            false => self.rate(x),
        };
        right(&label(high), DIM, axis, buffer);
        if let Some(last) = axis.rows().next_back().filter(|_| high > low) {
            right(&label(low), DIM, last, buffer);
        }
    }

    /// Draws a heat map with the upper bounds of its rows at the left.
    fn heat_map(&self, axis: Rect, drawing: Rect, color: bool, buffer: &mut Buffer) {
        let track = self.track;
        let shown = track.heat.iter().rev().take(drawing.width.into());
        let rows = chart::heat_rows(shown, track.page.bounds.len(), drawing.height.into());
        for (line, range) in axis.rows().zip(&rows) {
            let bound = track.page.bounds[range.end - 1];
            let text = match bound.is_infinite() {
                true => "+Inf".to_owned(),
                false => format!("≤ {}", self.unit(bound)),
            };
            right(&text, DIM, line, buffer);
        }
        chart::heat(&track.heat, &rows, drawing, color, buffer);
    }

    /// Returns the figures at the right of the drawing.
    fn figures(&self) -> Vec<(String, String)> {
        let Self { family, track, .. } = self;
        let page = &track.page;
        let (low, high) = chart::range(track.points.iter(), false);
        let unit = |x: f64| self.unit(x);
        let kind = family.kind;
        let is_counter = kind == Kind::Counter;
        let has_buckets = matches!(kind, Kind::Histogram | Kind::GaugeHistogram);
        let is_distribution = has_buckets || kind == Kind::Summary;
        let is_state = kind == Kind::StateSet && self.row.series.is_none();
        let is_gauge = !is_counter && !is_distribution && !is_state;
        let (is_range, is_value) = (is_gauge && self.is_total(), is_gauge && !self.is_total());
        let quantile = |(phi, x): &(f64, f64)| (format!("p{}", plain(phi * 100.0)), unit(*x));
        let average = track.average.filter(|_| is_distribution);
        let (series, resets) = (family.series.len(), track.resets);
        let has_unit = !family.unit.is_empty();
        let others = [
            ("p50", has_buckets.then(|| self.known(0.5, ""))),
            ("p90", has_buckets.then(|| self.known(0.9, ""))),
            ("p99", has_buckets.then(|| self.known(0.99, ""))),
            ("total", is_counter.then(|| unit(page.value))),
            ("least", is_range.then(|| unit(page.least))),
            ("most", is_range.then(|| unit(page.value))),
            ("value", is_value.then(|| unit(page.value))),
            ("average", average.map(unit)),
            ("now", (is_counter || is_distribution).then(|| self.now())),
            ("now", is_state.then(|| track.state.clone())),
            ("lowest", is_value.then(|| unit(low))),
            ("highest", is_counter.then(|| self.rate(high))),
            ("highest", is_gauge.then(|| unit(high))),
            ("count", is_distribution.then(|| plain(page.value))),
            ("sum", is_distribution.then(|| unit(page.sum))),
            ("series", self.is_total().then(|| series.to_string())),
            ("resets", (resets > 0).then(|| resets.to_string())),
            ("unit", has_unit.then(|| family.unit.clone())),
        ];
        let others = others.into_iter();
        let others = others.filter_map(|(name, text)| Some((name.to_owned(), text?)));
        page.quantiles.iter().map(quantile).chain(others).collect()
    }
}
