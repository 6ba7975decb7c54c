//! The screen: endpoints, the table, and the keys. `details` draws the lower part.

use std::time::Duration;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Constraint::{Fill, Length};
use ratatui::layout::{Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Padding, Paragraph, Widget};
use tallies::snapshot::Kind;

use super::app::{App, Row, SELF, Shown};
use super::chart;
use super::details;
use super::history::is_gauge;
use super::number::{plain, with_unit};
use tallies_names::Printable;

pub const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub const BAD: Style = Style::new().fg(Color::Red);
const GOOD: Style = Style::new().fg(Color::Green);
const NOTE: Style = Style::new().fg(Color::Yellow);

/// The lines of the help: keys and what they do, then signs and what they mean.
const HELP: &[(&str, &str)] = &[
    ("↑ ↓  j k", "select a row"),
    ("PgUp PgDn  g G", "a page up or down, first and last row"),
    ("Enter  → ←", "show or hide the series of a family"),
    ("/", "search names and labels; Enter opens, Esc ends"),
    (
        "s  r",
        "sort: what moves first, name, rate, value, kind; reverse",
    ),
    ("space  p", "pause and go on"),
    ("e", "show one endpoint, the next one, all"),
    ("d", "hide or show the details"),
    ("q", "quit"),
    ("~", "median"),
    ("a–b", "least and most of several"),
    ("NOW", "rate or change"),
];

/// Draws everything.
pub fn draw(app: &mut App, color: bool, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < 20 || area.height < 5 {
        return line([("too small", DIM)]).render(area, buffer);
    }
    let rows = app.rows();
    // Half of the screen at most.
    let endpoints = app.endpoints.len().min(area.height as usize / 2) as u16;
    let [head, above, body, foot] =
        Layout::vertical([Length(1), Length(endpoints), Fill(1), Length(1)]).areas(area);
    title(app, rows.len()).render(head, buffer);
    for (i, area) in above.rows().enumerate() {
        endpoint(i, app).render(area, buffer);
    }
    footer(app).render(foot, buffer);
    let height = match app.details && body.height >= 14 {
        true => (body.height / 2).clamp(7, 18),
        false => 0,
    };
    let [body, below] = Layout::vertical([Fill(1), Length(height)]).areas(body);
    table(app, &rows, body, buffer);
    if height > 0 && !rows.is_empty() {
        details::draw(app, below, color, buffer);
    }
    if app.help {
        help(area, buffer);
    }
}

/// Returns a line of texts, which the terminal shows and does not obey.
pub fn line<const N: usize>(parts: [(&str, Style); N]) -> Line<'static> {
    let span = |(text, style)| Span::styled(Printable(text).to_string(), style);
    Line::from_iter(parts.map(span))
}

/// Writes a text that ends at the right edge of an area. The end of a longer one is left out.
pub fn right(text: &str, style: Style, area: Rect, buffer: &mut Buffer) {
    let text: String = text.chars().take(area.width.into()).collect();
    let line = line([(&text, style)]).right_aligned();
    line.render(area, buffer);
}

fn title(app: &App, rows: usize) -> Line<'static> {
    let order = if app.reversed { ", reversed" } else { "" };
    let sort = format!("  {rows} rows by {}{order}", app.sort.name());
    let search = match (app.typing, app.search.as_str()) {
        (false, "") => String::new(),
        (typing, search) => format!("  /{search}{}", if typing { "▏" } else { "" }),
    };
    let state = if app.paused { "  PAUSED" } else { "" };
    line([
        ("tallies top", BOLD),
        (state, NOTE),
        (&sort, DIM),
        (&search, Style::new().fg(Color::Cyan)),
    ])
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

fn endpoint(i: usize, app: &App) -> Line<'static> {
    let endpoint = &app.endpoints[i];
    let waiting = endpoint.asked.map(|asked| asked.elapsed());
    let (sign, style, text) = match (&endpoint.error, waiting, endpoint.last) {
        (Some((error, since)), ..) => {
            let text = format!("away for {}: {error}", seconds(since.elapsed()));
            ("✗", BAD, text)
        }
        (None, Some(waiting), _) if waiting > Duration::from_secs(1) => {
            ("…", NOTE, format!("no answer for {}", seconds(waiting)))
        }
        (None, _, None) => ("…", DIM, "asked for the first time".to_owned()),
        (None, _, Some((_, took, bytes))) => {
            let families = &endpoint.families;
            let series: usize = families.values().map(|family| family.series.len()).sum();
            let text = format!(
                "{} families  {series} series  {} in {} ms",
                families.len(),
                with_unit(bytes as f64, "bytes"),
                took.as_millis(),
            );
            match &endpoint.refused {
                Some(refused) => (
                    "!",
                    NOTE,
                    format!("Prometheus refuses this page: {refused}"),
                ),
                None => ("●", GOOD, text),
            }
        }
    };
    let last = endpoint.last.filter(|_| style != GOOD && sign != "!");
    let last = last.map(|(at, ..)| format!("  (last page {} ago)", seconds(at.elapsed())));
    let is_hidden = app.only.is_some_and(|only| only != i);
    line([
        (sign, style),
        (&format!(" {} ", i + 1), DIM),
        (&endpoint.url, if is_hidden { DIM } else { Style::new() }),
        ("  ", DIM),
        (&text, if style == GOOD { DIM } else { style }),
        (&last.unwrap_or_default(), DIM),
    ])
}

fn footer(app: &App) -> Line<'static> {
    let keys = match app.typing {
        true => "type to search   Enter open   Esc end",
        false => "? help   / search   s sort   Enter series   space pause   q quit",
    };
    let remarks: u64 = app.endpoints.iter().map(|endpoint| endpoint.remarks).sum();
    let remarks = match remarks {
        0 => String::new(),
        1 => "   1 remark: `tallies lint` has it".to_owned(),
        _ => format!("   {remarks} remarks: `tallies lint` has them"),
    };
    line([(keys, DIM), (&remarks, NOTE)])
}

/// The columns of the table: names, kinds, values, what happens now, and sparklines behind a blank.
/// One that has no room has no width.
fn columns(width: u16) -> Layout {
    let kind = if width >= 90 { 10 } else { 0 };
    // A date, or a range, has room on wide screens.
    let value = if width >= 100 { 18 } else { 11.min(width / 4) };
    let now = 12.min(width / 4) + 1;
    let spark = if width >= 60 { width / 4 } else { 0 };
    let [kind, value, now, spark] = [kind, value, now, spark].map(Length);
    Layout::horizontal([Fill(1), kind, value, now, Length(1), spark])
}

fn table(app: &mut App, rows: &[Row], area: Rect, buffer: &mut Buffer) {
    let columns = columns(area.width);
    let [head, body] = Layout::vertical([Length(1), Fill(1)]).areas(area);
    let [name, kind, value, now, _, _] = columns.areas(head);
    line([("  NAME", DIM)]).render(name, buffer);
    line([("KIND", DIM)]).render(kind, buffer);
    right("VALUE", DIM, value, buffer);
    right("NOW", DIM, now, buffer);
    app.height = body.height.into();
    if rows.is_empty() {
        let text = match app.search.is_empty() {
            true => "  nothing yet",
            false => "  nothing has this name or these labels",
        };
        return line([(text, DIM)]).render(body, buffer);
    }
    let at = app.select_in(rows);
    let least = (at + 1).saturating_sub(app.height.max(1));
    let most = rows.len().saturating_sub(app.height);
    app.first = app.first.min(at).max(least).min(most);
    let visible = rows.iter().enumerate().skip(app.first);
    for ((i, row), area) in visible.zip(body.rows()) {
        table_row(app, row, i == at, columns.areas(area), buffer);
    }
}

fn table_row(app: &App, row: &Row, selected: bool, columns: [Rect; 6], buffer: &mut Buffer) {
    let [name_area, kind_area, value_area, now_area, _, spark_area] = columns;
    let number = match app.endpoints.len() {
        1 => String::new(),
        _ => format!("{} ", row.endpoint + 1),
    };
    let sign = |has_several| match (&row.series, app.expanded.contains(row)) {
        (None, true) => "▾ ",
        (None, false) if has_several => "▸ ",
        _ => "  ",
    };
    let selection = BOLD.add_modifier(Modifier::REVERSED);
    let length = name_area.width.saturating_sub(3);
    // The row of the families about the metrics themselves.
    if row.family == SELF {
        let style = if selected { selection } else { DIM };
        let text = format!("{number}{SELF}…  ×{}", app.folded(row.endpoint));
        let parts = [(sign(true), DIM), (&cut(&text, length), style)];
        return line(parts).render(name_area, buffer);
    }
    let Some(shown) = app.shown(row) else { return };
    let Shown { family, track, .. } = shown;
    let style = match (track.gone > 0, selected) {
        (true, _) => DIM.add_modifier(Modifier::CROSSED_OUT),
        (false, true) => selection,
        (false, false) => Style::new(),
    };
    let series = family.series.len();
    let only_series = family.series.keys().next().filter(|_| series == 1);
    let name = match (&row.series, only_series.map(String::as_str)) {
        (Some(labels), _) => format!("{number}  {{{labels}}}"),
        (None, Some("")) => format!("{number}{}", row.family),
        (None, Some(labels)) => format!("{number}{}{{{labels}}}", row.family),
        (None, None) => format!("{number}{}  ×{series}", row.family),
    };
    let color = color_of(family.kind);
    let name = [(sign(series > 1), DIM), (&cut(&name, length), style)];
    line(name).render(name_area, buffer);
    line([(kind_name(family.kind), DIM)]).render(kind_area, buffer);
    right(&shown.value(), Style::new(), value_area, buffer);
    right(&shown.now(), color, now_area, buffer);
    let from_zero = !is_gauge(family.kind);
    chart::area(&track.points, from_zero, spark_area, color, buffer);
}

/// Cuts a text in its middle, so that both ends can be read.
fn cut(text: &str, width: u16) -> String {
    let (length, width) = (text.chars().count(), usize::from(width));
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

impl Shown<'_> {
    /// Writes a value in the unit of the family.
    pub fn unit(&self, x: f64) -> String {
        with_unit(x, &self.row.family)
    }

    /// Returns whether it is several series together.
    pub fn is_total(&self) -> bool {
        self.row.series.is_none() && self.family.series.len() > 1
    }

    /// The second column: a total, a value, the range of several gauges, a state, or a median.
    fn value(&self) -> String {
        let page = &self.track.page;
        match (self.family.kind, &self.row.series) {
            (Kind::Histogram | Kind::GaugeHistogram, _) => self.known(0.5, "~"),
            (Kind::Summary, own) => {
                let is_shown = |series: &String| own.as_ref().is_none_or(|own| own == series);
                let series = self.family.series.iter();
                let series = series.filter(|(series, _)| is_shown(series));
                let quantiles = series.flat_map(|(_, track)| &track.page.quantiles);
                let medians = quantiles.filter(|(phi, x)| *phi == 0.5 && x.is_finite());
                let medians: Vec<_> = medians.map(|(_, x)| *x).collect();
                match medians.is_empty() {
                    true => "–".to_owned(),
                    false => format!("~{}", self.between(chart::range(medians.iter(), false))),
                }
            }
            (Kind::StateSet, None) => self.track.state.clone(),
            (Kind::StateSet, Some(_)) => if page.value == 1.0 { "now" } else { "" }.to_owned(),
            (kind, _) if is_gauge(kind) && self.is_total() => {
                self.between((page.least, page.value))
            }
            _ => self.unit(page.value),
        }
    }

    /// Writes what is known of a quantile of a histogram, with `about` before an estimate.
    pub fn known(&self, phi: f64, about: &'static str) -> String {
        match self.track.quantile(phi, about) {
            Some((sign, x)) => format!("{sign}{}", self.unit(x)),
            None => "–".to_owned(),
        }
    }

    /// Writes a range. A unit that both ends have is written once.
    fn between(&self, (least, most): (f64, f64)) -> String {
        let (least, most) = (self.unit(least), self.unit(most));
        if least == most {
            return most;
        }
        let unit = most.split_once(' ').map_or("", |(_, unit)| unit);
        let least = least.strip_suffix(unit).unwrap_or(&least).trim_end();
        format!("{least}–{most}")
    }

    /// The third column: a rate, or how a gauge changed.
    pub fn now(&self) -> String {
        if !is_gauge(self.family.kind) {
            let rate = Some(self.track.now()).filter(|rate| !rate.is_nan());
            return rate.map(|rate| self.rate(rate)).unwrap_or_default();
        }
        let mut last = self.track.points.iter().rev().filter(|x| x.is_finite());
        let (Some(now), Some(before)) = (last.next(), last.next()) else {
            return String::new();
        };
        let sign = match now - before {
            0.0 => return String::new(),
            change if change > 0.0 => "+",
            _ => "−",
        };
        let change = (now - before).abs();
        // What a gauge histogram has over time is a number of observations.
        match self.family.kind {
            Kind::GaugeHistogram => format!("{sign}{}", plain(change)),
            _ => format!("{sign}{}", self.unit(change)),
        }
    }

    /// Writes a rate: of a counter in its unit, and otherwise of observations.
    pub fn rate(&self, x: f64) -> String {
        match self.family.kind {
            Kind::Counter => format!("{}/s", self.unit(x)),
            _ => format!("{}/s", plain(x)),
        }
    }
}

fn help(area: Rect, buffer: &mut Buffer) {
    let row = |(key, effect): &(&str, &str)| {
        let key = format!("{key:16}");
        line([(&key, BOLD), (effect, Style::new())])
    };
    let text = Text::from_iter(HELP.iter().map(row));
    // With the border, and a blank beside it.
    let (width, height) = (text.width() as u16 + 4, text.height() as u16 + 2);
    let window = area.centered(Length(width), Length(height));
    Clear.render(window, buffer);
    let block = Block::bordered().title(" Keys ");
    let block = block.padding(Padding::horizontal(1));
    Paragraph::new(text).block(block).render(window, buffer);
}
