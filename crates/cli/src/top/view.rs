//! The screen: endpoints, the table, and the keys. `details` draws the lower part.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Clear, Widget};
use tallies::snapshot::Kind;

use super::app::{App, Row, SELF};
use super::chart;
use super::details;
use super::endpoint::Endpoint;
use super::history::{FamilyHistory, Quantile, Track, is_gauge};
use super::number::{plain, with_unit};

/// The quantiles of histograms are those of so many last pages.
pub const QUANTILE_PAGES: usize = 60;

pub const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub const BAD: Style = Style::new().fg(Color::Red);
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
        // A date, or a range, has room on wide screens.
        let value = if width >= 100 { 18 } else { 11.min(width / 4) };
        let now = 12.min(width / 4);
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
        details::draw(app, area, color, buffer);
    }
    if app.help {
        help(area, buffer);
    }
}

pub fn line(area: Rect, y: u16) -> Rect {
    Rect::new(area.x, y, area.width, 1)
}

/// Writes texts one after another, up to the edge.
pub fn write(parts: &[(&str, Style)], area: Rect, buffer: &mut Buffer) {
    let mut x = area.x;
    for (text, style) in parts {
        let left = area.right().saturating_sub(x) as usize;
        (x, _) = buffer.set_stringn(x, area.y, text, left, *style);
    }
}

/// Writes a text that ends at the right edge of a column.
pub fn right(text: &str, (x, width): (u16, u16), y: u16, style: Style, buffer: &mut Buffer) {
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
        if row.family == SELF {
            folded(app, row, i == at, &columns, y, buffer);
        } else if let (Some(family), Some(track)) = (app.family(row), app.track(row)) {
            self::row(app, row, family, track, i == at, &columns, y, buffer);
        }
    }
}

/// The row of the families about the metrics themselves.
fn folded(app: &App, row: &Row, selected: bool, columns: &Columns, y: u16, buffer: &mut Buffer) {
    let (x, width) = columns.name;
    let style = match selected {
        true => BOLD.add_modifier(Modifier::REVERSED),
        false => DIM,
    };
    let number = match app.endpoints.len() {
        1 => String::new(),
        _ => format!("{} ", row.endpoint + 1),
    };
    let sign = if app.is_expanded(row) { "▾ " } else { "▸ " };
    buffer.set_stringn(x, y, sign, 2, DIM);
    let text = format!("{number}{SELF}…  ×{}", app.folded(row.endpoint).count());
    buffer.set_stringn(x + 2, y, text, width.saturating_sub(3) as usize, style);
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

pub fn color_of(kind: Kind) -> Style {
    let color = match kind {
        Kind::Counter => Color::Cyan,
        Kind::Histogram | Kind::GaugeHistogram => Color::Magenta,
        Kind::Summary => Color::Blue,
        _ => Color::Yellow,
    };
    Style::new().fg(color)
}

/// The second column: a total, a value, the range of several gauges, a state, or a median.
fn value(row: &Row, family: &FamilyHistory, track: &Track) -> String {
    let unit = |x: f64| with_unit(x, &row.family);
    match family.kind {
        Kind::Histogram | Kind::GaugeHistogram => known(track, 0.5, &row.family, "~"),
        Kind::Summary => {
            let median =
                |track: &Track| track.quantiles.iter().find(|(phi, _)| *phi == 0.5).copied();
            let tracks = match &row.series {
                Some(_) => vec![track],
                None => family.series.values().collect(),
            };
            let medians = tracks.into_iter().filter_map(median).map(|(_, x)| x);
            let (least, most) = chart::range(medians.clone(), false);
            match medians.clone().any(f64::is_finite) {
                true => format!("~{}", between(&unit(least), &unit(most))),
                false => "–".to_owned(),
            }
        }
        Kind::StateSet if row.series.is_none() => track.state.clone(),
        Kind::StateSet => if track.value == 1.0 { "now" } else { "" }.to_owned(),
        _ if is_gauge(family.kind) && row.series.is_none() && family.series.len() > 1 => {
            between(&unit(track.least), &unit(track.value))
        }
        _ => unit(track.value),
    }
}

/// Writes what is known of a quantile of a histogram, with `sign` before an estimate.
pub fn known(track: &Track, phi: f64, family: &str, sign: &str) -> String {
    let unit = |x: f64| with_unit(x, family);
    match track.quantile(phi, QUANTILE_PAGES) {
        None => "–".to_owned(),
        Some(Quantile::About(x)) => format!("{sign}{}", unit(x)),
        Some(Quantile::AtMost(x)) => format!("≤ {}", unit(x)),
        Some(Quantile::Above(x)) => format!("> {}", unit(x)),
    }
}

/// Writes a range. A unit that both ends have is written once.
pub fn between(least: &str, most: &str) -> String {
    if least == most {
        return most.to_owned();
    }
    let unit = most.split_once(' ').map_or("", |(_, unit)| unit);
    let least = least.strip_suffix(unit).unwrap_or(least).trim_end();
    format!("{least}–{most}")
}

/// The third column: a rate, or how a gauge changed.
pub fn now(row: &Row, family: &FamilyHistory, track: &Track) -> String {
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

fn help(area: Rect, buffer: &mut Buffer) {
    let widest = KEYS.iter().map(|(_, effect)| effect.chars().count());
    let width = (widest.max().unwrap_or(0) as u16 + 20).min(area.width);
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
        let text = "~ median   a–b least and most of several   NOW rate or change";
        buffer.set_stringn(x + 2, window.bottom() - 2, text, width as usize - 4, DIM);
    }
}

/// The times at which the screen changes by itself.
pub fn next_tick(last: Instant) -> Duration {
    Duration::from_millis(500).saturating_sub(last.elapsed())
}
