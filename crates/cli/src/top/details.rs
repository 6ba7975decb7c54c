//! The lower part of the screen: the drawing and the figures of the selected row.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use tallies::snapshot::Kind;

use super::app::{App, Row, SELF};
use super::chart;
use super::history::{FamilyHistory, Track, is_gauge};
use super::number::{plain, with_unit};
use super::view::{BAD, BOLD, DIM, color_of, known, line, now, right, write};

/// The lower part of the screen.
pub fn draw(app: &App, area: Rect, color: bool, buffer: &mut Buffer) {
    buffer.set_stringn(
        area.x,
        area.y,
        "─".repeat(area.width as usize),
        area.width as usize,
        DIM,
    );
    let Some(row) = &app.selected else { return };
    if row.family == SELF {
        let text = "Families about the metrics themselves: Enter shows them.";
        write(&[(text, DIM)], line(area, area.y + 1), buffer);
        return;
    }
    let (Some(family), Some(track)) = (app.family(row), app.track(row)) else {
        write(&[("it is gone", DIM)], line(area, area.y + 1), buffer);
        return;
    };
    let gone = if track.gone > 0 {
        "  gone from the page"
    } else {
        ""
    };
    let labels = row
        .series
        .as_ref()
        .map_or_else(String::new, |text| format!("{{{text}}}"));
    let parts = [
        (row.family.as_str(), BOLD),
        (&labels, Style::new()),
        ("  ", DIM),
        (family.help.as_str(), DIM),
        (gone, BAD),
    ];
    write(&parts, line(area, area.y + 1), buffer);
    let figures = figures(row, family, track);
    let width = figures
        .iter()
        .map(|(name, text)| name.len() + text.chars().count() + 2);
    let width = (width.max().unwrap_or(0) as u16 + 1)
        .min(area.width / 2)
        .max(18);
    let body = Rect::new(area.x, area.y + 2, area.width, area.height - 2);
    let list = Rect::new(body.right() - width, body.y, width, body.height);
    for (y, (name, text)) in (list.top()..list.bottom()).zip(&figures) {
        buffer.set_stringn(list.x, y, name, width as usize, DIM);
        right(text, (list.x, width), y, Style::new(), buffer);
    }
    let drawing = Rect::new(body.x, body.y, body.width - width - 1, body.height);
    if !track.heat.is_empty() && drawing.width > 12 {
        heat_map(row, track, drawing, app.interval, color, buffer);
    } else if drawing.width > 12 {
        plot(row, family, track, drawing, app.interval, buffer);
    }
}

/// A chart with the labels of its range at the left.
fn plot(
    row: &Row,
    family: &FamilyHistory,
    track: &Track,
    area: Rect,
    interval: Duration,
    buffer: &mut Buffer,
) {
    let axis = 11;
    let drawing = Rect::new(area.x + axis, area.y, area.width - axis, area.height - 1);
    let zero = !is_gauge(family.kind);
    let style = color_of(family.kind);
    let (low, high) = chart::area(track.points.iter(), zero, drawing, style, buffer);
    let text = |x: f64| match family.kind {
        Kind::Histogram | Kind::Summary => format!("{}/s", plain(x)),
        Kind::Counter => format!("{}/s", with_unit(x, &row.family)),
        _ => with_unit(x, &row.family),
    };
    let column = (area.x, axis - 1);
    right(&text(high), column, area.y, DIM, buffer);
    if high > low {
        right(&text(low), column, drawing.bottom() - 1, DIM, buffer);
    }
    time_axis(drawing, interval, buffer);
}

/// A heat map with the upper bounds of its rows at the left.
fn heat_map(
    row: &Row,
    track: &Track,
    area: Rect,
    interval: Duration,
    color: bool,
    buffer: &mut Buffer,
) {
    let axis = 12;
    let drawing = Rect::new(area.x + axis, area.y, area.width - axis, area.height - 1);
    let shown = track.heat.iter().rev().take(drawing.width as usize);
    let rows = chart::heat_rows(shown, track.bounds.len(), drawing.height as usize);
    for (y, range) in (drawing.top()..drawing.bottom()).zip(&rows) {
        let bound = track.bounds[range.end - 1];
        let text = match bound.is_infinite() {
            true => "+Inf".to_owned(),
            false => format!("≤ {}", with_unit(bound, &row.family)),
        };
        right(&text, (area.x, axis - 1), y, DIM, buffer);
    }
    chart::heat(track.heat.iter(), &rows, drawing, color, buffer);
    time_axis(drawing, interval, buffer);
}

/// Writes below a drawing how much time it shows.
fn time_axis(drawing: Rect, interval: Duration, buffer: &mut Buffer) {
    let span = interval.as_secs_f64() * f64::from(drawing.width);
    let text = format!("−{}", with_unit(span, "seconds"));
    let below = line(drawing, drawing.bottom());
    write(&[(&text, DIM)], below, buffer);
    right("now", (below.x, below.width), below.y, DIM, buffer);
}

/// The figures at the right of the drawing.
fn figures(row: &Row, family: &FamilyHistory, track: &Track) -> Vec<(String, String)> {
    let unit = |x: f64| with_unit(x, &row.family);
    let named = |name: &str, text: String| (name.to_owned(), text);
    let (low, high) = chart::range(track.points.iter().copied(), false);
    let mut figures = Vec::new();
    match family.kind {
        Kind::Counter => {
            figures.push(named("total", unit(track.value)));
            figures.push(named("now", now(row, family, track)));
            figures.push(named("highest", format!("{}/s", unit(high))));
        }
        Kind::Histogram | Kind::GaugeHistogram | Kind::Summary => {
            if family.kind == Kind::Summary {
                for (phi, x) in &track.quantiles {
                    figures.push((format!("p{}", plain(phi * 100.0)), unit(*x)));
                }
            } else {
                for phi in [0.5, 0.9, 0.99] {
                    let text = known(track, phi, &row.family, "");
                    figures.push((format!("p{}", phi * 100.0), text));
                }
            }
            if let Some(average) = track.average {
                figures.push(named("average", unit(average)));
            }
            figures.push(named("now", now(row, family, track)));
            figures.push(named("count", plain(track.value)));
            figures.push(named("sum", unit(track.sum)));
        }
        Kind::StateSet if row.series.is_none() => figures.push(named("now", track.state.clone())),
        _ if row.series.is_none() && family.series.len() > 1 => {
            figures.push(named("least", unit(track.least)));
            figures.push(named("most", unit(track.value)));
            figures.push(named("highest", unit(high)));
        }
        _ => {
            figures.push(named("value", unit(track.value)));
            figures.push(named("lowest", unit(low)));
            figures.push(named("highest", unit(high)));
        }
    }
    if row.series.is_none() && family.series.len() > 1 {
        figures.push(named("series", family.series.len().to_string()));
    }
    if track.resets > 0 {
        figures.push(named("resets", track.resets.to_string()));
    }
    if !family.unit.is_empty() {
        figures.push(named("unit", family.unit.clone()));
    }
    figures
}
