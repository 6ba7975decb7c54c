//! The state of the viewer, and what keys do to it.

use std::collections::BTreeSet;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::endpoint::{Endpoint, Report};
use super::history::{FamilyHistory, History, Track, is_gauge};

/// The beginning of the names of families about the metrics themselves. They are the last rows, or
/// one row of this name while it is folded.
pub const SELF: &str = "tallies_";

/// The beginning of the names of families about the process. By name they are behind all others, as
/// on the live page.
const PROCESS: &str = "process_";

/// The order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Name,
    Rate,
    Value,
    Kind,
}

impl Sort {
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "rate",
            Self::Value => "value",
            Self::Kind => "kind",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::Value,
            Self::Value => Self::Kind,
            Self::Kind => Self::Name,
        }
    }
}

/// A row of the table: a family, or one of its series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub endpoint: usize,
    pub family: String,
    pub series: Option<String>,
}

pub struct App {
    pub endpoints: Vec<Endpoint>,
    pub histories: Vec<History>,
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
    /// The families whose series are shown.
    expanded: BTreeSet<(usize, String)>,
    pub quit: bool,
}

impl App {
    pub fn new(endpoints: Vec<Endpoint>, interval: Duration) -> Self {
        Self {
            histories: endpoints.iter().map(|_| History::default()).collect(),
            endpoints,
            interval,
            sort: Sort::Name,
            reversed: false,
            search: String::new(),
            typing: false,
            paused: false,
            help: false,
            details: true,
            only: None,
            selected: None,
            first: 0,
            height: 1,
            expanded: BTreeSet::new(),
            quit: false,
        }
    }

    /// Applies the report of an endpoint. Pages that arrive during a pause are dropped, but the
    /// state of the endpoint stays current.
    pub fn apply(&mut self, i: usize, report: Report) {
        let failed = matches!(report, Report::Failed(_));
        let page = self.endpoints[i].apply(report);
        if self.paused {
            return;
        }
        if let Some((snapshot, at)) = page {
            self.histories[i].add(*snapshot, at);
        } else if failed {
            self.histories[i].add_gap();
        }
    }

    pub fn family(&self, row: &Row) -> Option<&FamilyHistory> {
        self.histories.get(row.endpoint)?.families.get(&row.family)
    }

    pub fn track(&self, row: &Row) -> Option<&Track> {
        let family = self.family(row)?;
        match &row.series {
            Some(series) => family.series.get(series),
            None => Some(&family.all),
        }
    }

    pub fn is_expanded(&self, row: &Row) -> bool {
        self.expanded.contains(&(row.endpoint, row.family.clone()))
    }

    /// Returns the rows in their order. A series is shown if its family is expanded, or if the
    /// search finds it by its labels.
    pub fn rows(&self) -> Vec<Row> {
        let words: Vec<String> = self
            .search
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let mut families = Vec::new();
        for (endpoint, history) in self.histories.iter().enumerate() {
            if self.only.is_some_and(|only| only != endpoint) {
                continue;
            }
            for (name, family) in &history.families {
                let lower = name.to_lowercase();
                let by_name = words.iter().all(|word| lower.contains(word));
                let row = Row {
                    endpoint,
                    family: name.clone(),
                    series: None,
                };
                let mut series = Vec::new();
                if !by_name || self.is_expanded(&row) {
                    let found = family.series.keys().filter(|labels| {
                        let labels = labels.to_lowercase();
                        let mut words = words.iter();
                        words.all(|word| lower.contains(word) || labels.contains(word))
                    });
                    series = found
                        .map(|labels| Row {
                            series: Some(labels.clone()),
                            ..row.clone()
                        })
                        .collect();
                }
                if by_name || !series.is_empty() {
                    self.sort(&mut series);
                    families.push((row, series));
                }
            }
        }
        let heads = families.iter().map(|(row, _)| row.clone());
        let (mut own, mut heads): (Vec<Row>, Vec<Row>) =
            heads.partition(|row| words.is_empty() && row.family.starts_with(SELF));
        self.sort(&mut own);
        self.sort(&mut heads);
        if self.sort == Sort::Name && !self.reversed {
            heads.sort_by_key(|row| row.family.starts_with(PROCESS));
        }
        let mut rows = Vec::new();
        let mut add = |head: Row, rows: &mut Vec<Row>| {
            let at = families.partition_point(|(row, _)| *row < head);
            rows.push(head);
            rows.append(&mut families[at].1);
        };
        heads.into_iter().for_each(|head| add(head, &mut rows));
        for endpoint in 0..self.histories.len() {
            let mut own = own
                .extract_if(.., |row| row.endpoint == endpoint)
                .peekable();
            if own.peek().is_none() {
                continue;
            }
            let fold = Row {
                endpoint,
                family: SELF.to_owned(),
                series: None,
            };
            let is_expanded = self.is_expanded(&fold);
            rows.push(fold);
            own.filter(|_| is_expanded)
                .for_each(|head| add(head, &mut rows));
        }
        rows
    }

    /// Iterates over the names of the families about the metrics themselves.
    pub fn folded(&self, endpoint: usize) -> impl Iterator<Item = &String> {
        let names = self.histories[endpoint].families.keys();
        names.filter(|name| name.starts_with(SELF))
    }

    fn sort(&self, rows: &mut [Row]) {
        let value = |row: &Row| self.track(row).map_or(0.0, |track| track.value);
        let rate = |row: &Row| match (self.family(row), self.track(row)) {
            (Some(family), Some(track)) if !is_gauge(family.kind) => track.now().max(0.0),
            _ => -1.0,
        };
        let by = |figure: &dyn Fn(&Row) -> f64, rows: &mut [Row]| {
            rows.sort_by_cached_key(|row| {
                // The largest first; the bits of a float from 0 on sort as the float does.
                let figure = figure(row);
                let bits = figure.to_bits() as i64;
                let ordered = bits ^ (((bits >> 63) as u64) >> 1) as i64;
                (std::cmp::Reverse(ordered), row.clone())
            });
        };
        match self.sort {
            Sort::Name => rows.sort_by(|a, b| {
                (&a.family, &a.series, a.endpoint).cmp(&(&b.family, &b.series, b.endpoint))
            }),
            Sort::Rate => by(&rate, rows),
            Sort::Value => by(&value, rows),
            Sort::Kind => rows.sort_by_cached_key(|row| {
                let kind = self.family(row).map(|family| family.kind.to_string());
                (kind, row.family.clone(), row.series.clone(), row.endpoint)
            }),
        }
        if self.reversed {
            rows.reverse();
        }
    }

    /// Returns the index of the selected row. If it is gone, the row at its place is selected.
    pub fn select_in(&mut self, rows: &[Row]) -> usize {
        let found = self
            .selected
            .as_ref()
            .and_then(|selected| rows.iter().position(|row| row == selected));
        let at = found.unwrap_or(self.first.min(rows.len().saturating_sub(1)));
        self.selected = rows.get(at).cloned().or(self.selected.take());
        at
    }

    pub fn key(&mut self, key: KeyEvent) {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            self.quit = true;
        } else if self.typing {
            self.key_of_search(key);
        } else if self.help {
            self.help = false;
        } else {
            self.key_of_table(key);
        }
    }

    fn key_of_search(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.search.clear();
            }
            KeyCode::Backspace => _ = self.search.pop(),
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                self.search.clear();
            }
            KeyCode::Char(c) => self.search.push(c),
            KeyCode::Up | KeyCode::Down => self.key_of_table(key),
            _ => {}
        }
    }

    fn key_of_table(&mut self, key: KeyEvent) {
        let page = self.height.max(1) as isize;
        match key.code {
            KeyCode::Char('q') => self.quit = true,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.search.clear(),
            KeyCode::Char(' ' | 'p') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('d') => self.details = !self.details,
            KeyCode::Char('e') => {
                self.only = match self.only.map_or(0, |only| only + 1) {
                    next if next < self.endpoints.len() && self.endpoints.len() > 1 => Some(next),
                    _ => None,
                }
            }
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-page),
            KeyCode::PageDown => self.step(page),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN / 2),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX / 2),
            KeyCode::Enter | KeyCode::Right => self.expand(key.code == KeyCode::Enter),
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
        let Some(row) = self.selected.clone() else {
            return;
        };
        if toggles && (row.series.is_some() || self.is_expanded(&row)) {
            return self.collapse();
        }
        self.expanded.insert((row.endpoint, row.family));
    }

    fn collapse(&mut self) {
        if let Some(row) = &mut self.selected {
            row.series = None;
            self.expanded.remove(&(row.endpoint, row.family.clone()));
        }
    }
}
