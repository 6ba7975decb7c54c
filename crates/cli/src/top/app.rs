//! The state of the viewer, and what keys do to it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tallies::snapshot::sketch::key_of;

use super::endpoint::Endpoint;
use super::history::{FamilyHistory, Track, is_gauge};

/// The beginning of the names of families about the metrics themselves. They are the last rows, or
/// one row of this name while it is folded.
pub const SELF: &str = "tallies_";

/// The beginning of the names of families about the process. By name they are behind all others, as
/// on the live page.
const PROCESS: &str = "process_";

/// The order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Moving rows first, and then by name.
    #[default]
    Moves,
    Name,
    Rate,
    Value,
    Kind,
}

impl Sort {
    const ALL: [Self; 5] = [Self::Moves, Self::Name, Self::Rate, Self::Value, Self::Kind];

    pub fn name(self) -> &'static str {
        ["what moves", "name", "rate", "value", "kind"][self as usize]
    }

    fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// A row of the table: a family, or one of its series. Rows are ordered by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub family: String,
    pub series: Option<String>,
    pub endpoint: usize,
}

impl Row {
    fn family(endpoint: usize, name: &str) -> Self {
        Self {
            family: name.to_owned(),
            series: None,
            endpoint,
        }
    }
}

/// A row with its history.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    pub row: &'a Row,
    pub family: &'a FamilyHistory,
    pub track: &'a Track,
}

#[derive(Default)]
pub struct App {
    pub endpoints: Vec<Endpoint>,
    /// The time between two pages.
    pub interval: Duration,
    pub sort: Sort,
    pub reversed: bool,
    pub search: String,
    /// Whether keys go to the search.
    pub typing: bool,
    pub paused: bool,
    pub help: bool,
    pub details: bool,
    /// The only endpoint that is shown, if any.
    pub only: Option<usize>,
    pub selected: Option<Row>,
    /// The first row on the screen.
    pub first: usize,
    /// The number of rows on the screen, as it was drawn last.
    pub height: usize,
    /// The rows of families whose series are shown.
    pub expanded: BTreeSet<Row>,
    pub quit: bool,
}

impl App {
    /// Returns what is known of a row, unless it is gone.
    pub fn shown<'a>(&'a self, row: &'a Row) -> Option<Shown<'a>> {
        let endpoint = self.endpoints.get(row.endpoint)?;
        let family = endpoint.families.get(&row.family)?;
        let track = match &row.series {
            Some(series) => family.series.get(series)?,
            None => &family.all,
        };
        Some(Shown { row, family, track })
    }

    /// Returns the rows in their order. A series is shown if its family is expanded, or if the
    /// search finds it by its labels.
    pub fn rows(&self) -> Vec<Row> {
        let search = self.search.to_lowercase();
        let words: Vec<&str> = search.split_whitespace().collect();
        let mut rows = Vec::new();
        let is_shown = |endpoint: &usize| self.only.is_none_or(|only| only == *endpoint);
        for endpoint in (0..self.endpoints.len()).filter(is_shown) {
            let folded = Row::family(endpoint, SELF);
            let has_fold = words.is_empty() && self.folded(endpoint) > 0;
            rows.extend(has_fold.then(|| folded.clone()));
            let is_folded = has_fold && !self.expanded.contains(&folded);
            let families = self.endpoints[endpoint].families.iter();
            let families = families.filter(|(name, _)| !is_folded || !name.starts_with(SELF));
            for (name, family) in families {
                let lower = name.to_lowercase();
                let by_name = words.iter().all(|word| lower.contains(word));
                let row = Row::family(endpoint, name);
                let found = family.series.keys().filter(|labels| {
                    let labels = labels.to_lowercase();
                    let mut words = words.iter();
                    words.all(|word| lower.contains(word) || labels.contains(word))
                });
                let before = rows.len();
                if !by_name || self.expanded.contains(&row) {
                    rows.extend(found.map(|labels| Row {
                        series: Some(labels.clone()),
                        ..row.clone()
                    }));
                }
                if by_name || rows.len() > before {
                    rows.push(row);
                }
            }
        }
        let process_is_last = matches!(self.sort, Sort::Moves | Sort::Name) && !self.reversed;
        // A family is above its series.
        rows.sort_by_cached_key(|row| {
            let head = Row::family(row.endpoint, &row.family);
            let part = match words.is_empty() && row.family.starts_with(SELF) {
                true => (true, row.endpoint, row.family != SELF),
                false => (false, 0, process_is_last && row.family.starts_with(PROCESS)),
            };
            let (of_head, own) = (self.order(&head), self.order(row));
            (part, of_head, row.series.is_some(), own)
        });
        rows
    }

    /// Returns the number of families about the metrics themselves.
    pub fn folded(&self, endpoint: usize) -> usize {
        let names = self.endpoints[endpoint].families.keys();
        names.filter(|name| name.starts_with(SELF)).count()
    }

    /// Returns what a row is sorted by: whether it moves, its rate, value or kind, and then its
    /// name. The largest rates and values come first.
    fn order(&self, row: &Row) -> impl Ord + use<> {
        let shown = self.shown(row);
        let figure = match (self.sort, &shown) {
            (Sort::Moves, Some(shown)) => f64::from(shown.track.moves(is_gauge(shown.family.kind))),
            (Sort::Rate, Some(shown)) if !is_gauge(shown.family.kind) => shown.track.now().max(0.0),
            (Sort::Rate, _) => -1.0,
            (Sort::Value, Some(shown)) => shown.track.page.value,
            _ => 0.0,
        };
        let kind = shown.filter(|_| self.sort == Sort::Kind);
        let kind = kind.map(|shown| shown.family.kind.to_string());
        // Rows without a figure stay together by endpoint.
        let is_figure = matches!(self.sort, Sort::Rate | Sort::Value);
        let endpoint = is_figure.then_some(row.endpoint);
        let order = (Reverse(key_of(figure)), kind, endpoint, row.clone());
        match self.reversed {
            true => (Some(Reverse(order)), None),
            false => (None, Some(order)),
        }
    }

    /// Returns the index of the selected row. If it is gone, the row at its place is selected.
    pub fn select_in(&mut self, rows: &[Row]) -> usize {
        let is_selected = |row| self.selected.as_ref() == Some(row);
        let at = rows.iter().position(is_selected);
        let at = at.unwrap_or(self.first.min(rows.len().saturating_sub(1)));
        self.selected = rows.get(at).cloned().or(self.selected.take());
        at
    }

    pub fn key(&mut self, key: KeyEvent) {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => self.quit = true,
            KeyCode::Char('u') if is_control && self.typing => self.search.clear(),
            code if self.typing => self.key_of_search(code),
            _ if self.help => self.help = false,
            code => self.key_of_table(code),
        }
    }

    fn key_of_search(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => {
                self.typing = false;
                let rows = self.rows();
                self.select_in(&rows);
                if !self.search.is_empty() {
                    self.expand(false);
                }
            }
            KeyCode::Esc => {
                self.typing = false;
                self.search.clear();
            }
            KeyCode::Backspace => _ = self.search.pop(),
            KeyCode::Char(c) => self.search.push(c),
            KeyCode::Up | KeyCode::Down => self.key_of_table(key),
            _ => {}
        }
    }

    fn key_of_table(&mut self, key: KeyCode) {
        let page = self.height.max(1) as isize;
        match key {
            KeyCode::Char('q') => self.quit = true,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.search.clear(),
            KeyCode::Char(' ' | 'p') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('d') => self.details = !self.details,
            KeyCode::Char('e') => {
                let next = self.only.map_or(0, |only| only + 1);
                self.only = (next < self.endpoints.len()).then_some(next);
            }
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-page),
            KeyCode::PageDown => self.step(page),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Enter | KeyCode::Right => self.expand(key == KeyCode::Enter),
            KeyCode::Left => self.collapse(),
            _ => {}
        }
    }

    fn step(&mut self, by: isize) {
        let rows = self.rows();
        let at = self.select_in(&rows) as isize;
        let last = rows.len().saturating_sub(1) as isize;
        let to = at.saturating_add(by).clamp(0, last) as usize;
        self.selected = rows.get(to).cloned();
    }

    fn expand(&mut self, toggles: bool) {
        match &self.selected {
            Some(row) if toggles && (row.series.is_some() || self.expanded.contains(row)) => {
                self.collapse();
            }
            Some(row) => _ = self.expanded.insert(Row::family(row.endpoint, &row.family)),
            None => {}
        }
    }

    fn collapse(&mut self) {
        if let Some(row) = &mut self.selected {
            row.series = None;
            self.expanded.remove(&*row);
        }
    }
}
