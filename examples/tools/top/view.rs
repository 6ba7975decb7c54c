//! The screen: endpoints, the table, the details of the selected row, and the keys.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Clear, Widget};
use tallies::snapshot::Kind;

use crate::app::{App, Row};
use crate::chart;
use crate::endpoint::Endpoint;
use crate::history::{FamilyHistory, Track, is_gauge};
use crate::number::{plain, with_unit};

/// The quantiles of histograms are those of so many last pages.
const QUANTILE_PAGES: usize = 60;

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const BAD: Style = Style::new().fg(Color::Red);
const GOOD: Style = Style::new().fg(Color::Green);

/// The keys of the help, in pairs of key and effect.
const KEYS: &[(&str, &str)] = &[
    ("↑ ↓  j k", "select a row"),
    ("PgUp PgDn  g G", "a page up or down, first and last row"),
    ("Enter  → ←", "show or hide the series of a family"),
    ("/", "search names and labels; Esc ends the search"),
    ("s  r", "sort by name, rate, value or kind; reverse"),
    ("space  p", "pause and go on"),
    ("e", "show one endpoint, the next one, all"),
    ("d", "hide or show the details"),
    ("q", "quit"),
];

/// The columns of the table: where each begins and how wide it is.
struct Columns {
    name: (u16, u16),
    kind: (u16, u16),
    value: (u16, u16),
    now: (u16, u16),
    spark: (u16, u16),
}

impl Columns {
    fn of(area: Rect) -> Self {
        let width = area.width;
        let kind = if width >= 90 { 10 } else { 0 };
        let (value, now) = (11.min(width / 4), 12.min(width / 4));
        let spark = if width >= 60 { width / 4 } else { 0 };
        let name = width.saturating_sub(kind + value + now + spark + 2);
        let mut x = area.x;
        let mut column = |width| {
            let begin = x;
            x += width;
            (begin, width)
        };
        Self {
            name: column(name),
            kind: column(kind),
            value: column(value),
            now: column(now + 1),
            spark: (x + 1, spark),
        }
    }
}

/// Draws everything.
pub fn draw(app: &mut App, color: bool, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < 20 || area.height < 5 {
        buffer.set_stringn(area.x, area.y, "too small", area.width as usize, DIM);
        return;
    }
    let rows = app.rows();
    let mut top = area.y;
    title(app, rows.len(), line(area, top), buffer);
    // Half of the screen at most.
    for i in 0..app.endpoints.len().min(area.height as usize / 2) {
        top += 1;
        endpoint(i, &app.endpoints[i], app, line(area, top), buffer);
    }
    top += 1;
    let bottom = area.bottom() - 1;
    footer(app, line(area, bottom), buffer);
    let left = bottom.saturating_sub(top);
    let details = if app.details && left >= 14 {
        (left / 2).clamp(7, 18)
    } else {
        0
    };
    let table_area = Rect::new(area.x, top, area.width, left - details);
    table(app, &rows, table_area, buffer);
    if details > 0 && !rows.is_empty() {
        let area = Rect::new(area.x, bottom - details, area.width, details);
        self::details(app, area, color, buffer);
    }
    if app.help {
        help(area, buffer);
    }
}

fn line(area: Rect, y: u16) -> Rect {
    Rect::new(area.x, y, area.width, 1)
}

/// Writes texts one after another, up to the edge.
fn write(parts: &[(&str, Style)], area: Rect, buffer: &mut Buffer) {
    let mut x = area.x;
    for (text, style) in parts {
        let left = area.right().saturating_sub(x) as usize;
        (x, _) = buffer.set_stringn(x, area.y, text, left, *style);
    }
}

/// Writes a text that ends at the right edge of a column.
fn right(text: &str, (x, width): (u16, u16), y: u16, style: Style, buffer: &mut Buffer) {
    let length = text.chars().count().min(width as usize) as u16;
    buffer.set_stringn(x + width - length, y, text, length as usize, style);
}

fn title(app: &App, rows: usize, area: Rect, buffer: &mut Buffer) {
    let order = if app.reversed { ", reversed" } else { "" };
    let sort = format!("  {rows} rows by {}{order}", app.sort.name());
    let search = match (app.typing, app.search.as_str()) {
        (false, "") => String::new(),
        (typing, search) => format!("  /{search}{}", if typing { "▏" } else { "" }),
    };
    let state = if app.paused { "  PAUSED" } else { "" };
    let parts = [
        ("tallies top", BOLD),
        (state, Style::new().fg(Color::Yellow)),
        (&sort, DIM),
        (&search, Style::new().fg(Color::Cyan)),
    ];
    write(&parts, area, buffer);
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

fn endpoint(i: usize, endpoint: &Endpoint, app: &App, area: Rect, buffer: &mut Buffer) {
    let hidden = app.only.is_some_and(|only| only != i);
    let number = format!(" {} ", i + 1);
    let age = endpoint.last.map(|(at, ..)| at.elapsed());
    let waiting = endpoint.asked.map(|asked| asked.elapsed());
    let (sign, style, text) = match (&endpoint.error, waiting, endpoint.last) {
        (Some((error, since)), ..) => {
            let text = format!("away for {}: {error}", seconds(since.elapsed()));
            ("✗", BAD, text)
        }
        (None, Some(waiting), _) if waiting > Duration::from_secs(1) => {
            let text = format!("no answer for {}", seconds(waiting));
            ("…", Style::new().fg(Color::Yellow), text)
        }
        (None, _, None) => ("…", DIM, "asked for the first time".to_owned()),
        (None, _, Some((_, took, bytes))) => {
            let history = &app.histories[i];
            let series: usize = history.families.values().map(|f| f.series.len()).sum();
            let text = format!(
                "{} families  {series} series  {} in {} ms",
                history.families.len(),
                with_unit(bytes as f64, "bytes"),
                took.as_millis(),
            );
            ("●", GOOD, text)
        }
    };
    let last = match (style == GOOD, age) {
        (false, Some(age)) => format!("  (last page {} ago)", seconds(age)),
        _ => String::new(),
    };
    let url = if hidden { DIM } else { Style::new() };
    let parts = [
        (sign, style),
        (number.as_str(), DIM),
        (&endpoint.url, url),
        ("  ", DIM),
        (&text, if style == GOOD { DIM } else { style }),
        (&last, DIM),
    ];
    write(&parts, area, buffer);
}

fn footer(app: &App, area: Rect, buffer: &mut Buffer) {
    let keys = if app.typing {
        "type to search   Enter keep   Esc end"
    } else {
        "? help   / search   s sort   Enter series   space pause   q quit"
    };
    write(&[(keys, DIM)], area, buffer);
}

fn table(app: &mut App, rows: &[Row], area: Rect, buffer: &mut Buffer) {
    let columns = Columns::of(area);
    buffer.set_stringn(
        columns.name.0,
        area.y,
        "  NAME",
        columns.name.1 as usize,
        DIM,
    );
    buffer.set_stringn(columns.kind.0, area.y, "KIND", columns.kind.1 as usize, DIM);
    right("VALUE", columns.value, area.y, DIM, buffer);
    right("NOW", columns.now, area.y, DIM, buffer);
    app.height = area.height.saturating_sub(1) as usize;
    if rows.is_empty() {
        let text = match app.search.is_empty() {
            true => "  nothing yet",
            false => "  nothing has this name or these labels",
        };
        if app.height > 0 {
            buffer.set_stringn(area.x, area.y + 1, text, area.width as usize, DIM);
        }
        return;
    }
    let at = app.select_in(rows);
    app.first = app
        .first
        .min(at)
        .max((at + 1).saturating_sub(app.height.max(1)));
    app.first = app.first.min(rows.len().saturating_sub(app.height));
    for (i, row) in rows.iter().enumerate().skip(app.first).take(app.height) {
        let y = area.y + 1 + (i - app.first) as u16;
        if let (Some(family), Some(track)) = (app.family(row), app.track(row)) {
            self::row(app, row, family, track, i == at, &columns, y, buffer);
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "all of them are what is drawn")]
fn row(
    app: &App,
    row: &Row,
    family: &FamilyHistory,
    track: &Track,
    selected: bool,
    columns: &Columns,
    y: u16,
    buffer: &mut Buffer,
) {
    let style = match (track.gone > 0, selected) {
        (true, _) => DIM.add_modifier(Modifier::CROSSED_OUT),
        (false, true) => BOLD.add_modifier(Modifier::REVERSED),
        (false, false) => Style::new(),
    };
    let several = app.endpoints.len() > 1;
    let number = if several {
        format!("{} ", row.endpoint + 1)
    } else {
        String::new()
    };
    let name = match &row.series {
        Some(labels) => format!("{number}  {{{labels}}}"),
        None if family.series.len() == 1 => {
            let labels = family.series.keys().next().map_or("", String::as_str);
            match labels {
                "" => format!("{number}{}", row.family),
                labels => format!("{number}{}{{{labels}}}", row.family),
            }
        }
        None => format!("{number}{}  ×{}", row.family, family.series.len()),
    };
    let sign = match (&row.series, app.is_expanded(row)) {
        (None, true) => "▾ ",
        (None, false) if family.series.len() > 1 => "▸ ",
        _ => "  ",
    };
    let (x, width) = columns.name;
    let width = width.saturating_sub(3) as usize;
    buffer.set_stringn(x, y, sign, 2, DIM);
    buffer.set_stringn(x + 2, y, cut(&name, width), width, style);
    let kind = kind_name(family.kind);
    buffer.set_stringn(columns.kind.0, y, kind, columns.kind.1 as usize, DIM);
    right(
        &value(row, family, track),
        columns.value,
        y,
        Style::new(),
        buffer,
    );
    right(
        &now(row, family, track),
        columns.now,
        y,
        color_of(family.kind),
        buffer,
    );
    let (x, width) = columns.spark;
    if width > 0 {
        let area = Rect::new(x, y, width, 1);
        let zero = !is_gauge(family.kind);
        chart::sparkline(
            track.points.iter(),
            zero,
            area,
            color_of(family.kind),
            buffer,
        );
    }
}

/// Cuts a text in its middle, so that both ends can be read.
fn cut(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let tail = width / 3;
    let head: String = text.chars().take(width.saturating_sub(tail + 1)).collect();
    let tail: String = text.chars().skip(length - tail).collect();
    format!("{head}…{tail}")
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Unknown => "–",
        Kind::Info => "info",
        Kind::StateSet => "states",
        Kind::GaugeHistogram => "gauge hist",
        other => other.as_text(),
    }
}

fn color_of(kind: Kind) -> Style {
    let color = match kind {
        Kind::Counter => Color::Cyan,
        Kind::Histogram | Kind::GaugeHistogram => Color::Magenta,
        Kind::Summary => Color::Blue,
        _ => Color::Yellow,
    };
    Style::new().fg(color)
}

/// The second column: a total, a value, or a median.
fn value(row: &Row, family: &FamilyHistory, track: &Track) -> String {
    match family.kind {
        Kind::Histogram | Kind::GaugeHistogram => {
            let median = track.quantile(0.5, QUANTILE_PAGES);
            median.map_or_else(String::new, |x| format!("~{}", with_unit(x, &row.family)))
        }
        Kind::Summary => {
            let middle = track.quantiles.iter().find(|(phi, _)| *phi == 0.5);
            match middle {
                Some((_, x)) if !x.is_nan() => format!("~{}", with_unit(*x, &row.family)),
                _ => String::new(),
            }
        }
        _ if row.series.is_none() && family.series.len() > 1 => {
            let sign = if is_gauge(family.kind) { "Σ " } else { "" };
            format!("{sign}{}", with_unit(track.value, &row.family))
        }
        _ => with_unit(track.value, &row.family),
    }
}

/// The third column: a rate, or how a gauge changed.
fn now(row: &Row, family: &FamilyHistory, track: &Track) -> String {
    // What a gauge histogram has over time is a number of observations.
    let unit = |x: f64| match family.kind {
        Kind::GaugeHistogram => plain(x),
        _ => with_unit(x, &row.family),
    };
    if !is_gauge(family.kind) {
        return match track.now() {
            rate if rate.is_nan() => String::new(),
            rate if family.kind == Kind::Counter => format!("{}/s", with_unit(rate, &row.family)),
            rate => format!("{}/s", plain(rate)),
        };
    }
    let mut last = track.points.iter().rev().filter(|x| x.is_finite());
    match (last.next(), last.next()) {
        (Some(now), Some(before)) if now > before => {
            format!("+{}", unit(now - before))
        }
        (Some(now), Some(before)) if now < before => {
            format!("−{}", unit(before - now))
        }
        _ => String::new(),
    }
}

/// The lower part of the screen.
fn details(app: &App, area: Rect, color: bool, buffer: &mut Buffer) {
    buffer.set_stringn(
        area.x,
        area.y,
        "─".repeat(area.width as usize),
        area.width as usize,
        DIM,
    );
    let Some(row) = &app.selected else { return };
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
                    let x = track.quantile(phi, QUANTILE_PAGES).unwrap_or(f64::NAN);
                    figures.push((format!("p{}", phi * 100.0), unit(x)));
                }
            }
            if let Some(average) = track.average {
                figures.push(named("average", unit(average)));
            }
            figures.push(named("now", now(row, family, track)));
            figures.push(named("count", plain(track.value)));
            figures.push(named("sum", unit(track.sum)));
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

fn help(area: Rect, buffer: &mut Buffer) {
    let width = 62.min(area.width);
    let height = (KEYS.len() as u16 + 4).min(area.height);
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 2;
    let window = Rect::new(x, y, width, height);
    Clear.render(window, buffer);
    Block::bordered().title(" Keys ").render(window, buffer);
    for (y, (key, effect)) in (y + 1..window.bottom() - 1).zip(KEYS) {
        buffer.set_stringn(x + 2, y, key, width as usize - 4, BOLD);
        let left = (width as usize).saturating_sub(20);
        buffer.set_stringn(x + 18, y, effect, left, Style::new());
    }
    if height as usize > KEYS.len() + 3 {
        let text = "~ median   Σ sum of gauges   NOW rate, or change of a gauge";
        buffer.set_stringn(x + 2, window.bottom() - 2, text, width as usize - 4, DIM);
    }
}

/// The times at which the screen changes by itself.
pub fn next_tick(last: Instant) -> Duration {
    Duration::from_millis(500).saturating_sub(last.elapsed())
}
