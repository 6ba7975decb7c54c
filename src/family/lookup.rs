//! The look-up of a series by its label set. [`Family::with`] looks in the thread's label cache,
//! then in the index, and makes the series if there is none. [`Family::find`] does not use the
//! cache, and returns `None` if there is none.
//!
//! Two similar names mean different things everywhere in this module:
//!
//! - `texts` are the label values that the caller gave, unescaped, in the order of the family's
//!   label names. In a family without fixed label names ([`Names::Any`]) they are names and values
//!   in turn.
//! - `text` is the rendered label text of one series, escaped, such as `method="GET",code="200"`.

use std::cmp::Reverse;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, NameRule};
use crate::lockfree::{LONGEST_TEXT, SeriesKey, TextRef};
use crate::snapshot::labels;

use super::desc::{ClosedSet, Names, label_count};
use super::{Family, MetricCells, Series, SeriesRef};

impl<C: MetricCells> Family<C> {
    /// Returns the series of a label set, and makes it if needed. Returns the overflow series above
    /// the limit, and for a label set that is not valid.
    #[inline(always)]
    pub(crate) fn with(&self, texts: &[&str]) -> SeriesRef<'_, C> {
        let hash = self.index.hash(texts);
        // A cached series may have been removed or retired since, and even be another label set's.
        // Then its generation has advanced.
        let (cells, key) = match self.arena.find(hash, texts) {
            Some((cells, key)) if cells.slot_word().generation() == key.generation() => {
                (cells, key)
            }
            _ => self.with_index(hash, texts),
        };
        SeriesRef {
            family: self,
            cells,
            key,
        }
    }

    /// Returns whether the family has no labels, and so a single series.
    pub(crate) fn is_unlabelled(&self) -> bool {
        self.desc.labels == Names::Fixed(&[])
    }

    /// Looks the series up in the index, or makes it, for [`with`](Self::with). Returns two words,
    /// which fit in registers: `with` would have to write a larger result to memory, also after a
    /// cache hit.
    #[cold]
    fn with_index(&self, hash: u64, texts: &[&str]) -> (&C, SeriesKey) {
        if self.is_unlabelled() {
            return (self.first(), SeriesKey::OVERFLOW);
        }
        if let Some(key) = self.look_up(hash, texts) {
            if let Some(cells) = self.arena.get(key.index() as usize) {
                self.arena.remember(hash, texts, key);
                return (cells, key);
            }
        }
        // A thread that makes a series does not cache it. It does so at its next look-up, so that
        // label sets that are used once do not evict others.
        match self.find_or_make_given(hash, texts) {
            Some((series, key)) => (series.cells, key),
            None => (self.first(), self.overflow().key),
        }
    }

    /// Does what [`find_or_make`](Self::find_or_make) does, for label values of the declaration.
    fn find_or_make_given(&self, hash: u64, texts: &[&str]) -> Option<(Series<'_, C>, SeriesKey)> {
        let Some(view) = self.desc.changing_view() else {
            return self.find_or_make(hash, texts);
        };
        let Some(reduced) = view.reduce(texts, true) else {
            self.reject(1, || self.wrong_count(texts.len()));
            return None;
        };
        if reduced.texts == texts {
            return self.find_or_make(hash, texts);
        }
        let own_hash = self.index.hash(&reduced.texts);
        let found = match self.look_up(own_hash, &reduced.texts) {
            None => self.find_or_make(own_hash, &reduced.texts),
            Some(key) => {
                if !reduced.is_capped {
                    self.arena.remember(hash, texts, key);
                }
                let series = self.series(key.index() as usize);
                series.map(|series| (series, key))
            }
        };
        if reduced.is_capped && found.is_some() {
            view.count_refused();
        }
        found
    }

    /// Returns the label values of the series in which a label set of the declaration counts. Makes
    /// no series, and takes no room of a cap.
    pub(super) fn reduced<'a>(&self, texts: &[&'a str]) -> Option<Vec<&'a str>> {
        match self.desc.changing_view() {
            None => Some(texts.to_vec()),
            Some(view) => view.reduce(texts, false).map(|reduced| reduced.texts),
        }
    }

    /// Returns the error of a label set that has not as many values as the declaration has labels.
    fn wrong_count(&self, got: usize) -> Error {
        let names = self.desc.declared_labels().fixed();
        label_count(&self.desc.name, names, names.len(), got)
    }

    /// Returns the series of a label set if it exists.
    pub(crate) fn find(&self, texts: &[&str]) -> Option<SeriesRef<'_, C>> {
        if self.has_other_labels() {
            return self.find_own(&self.reduced(texts)?);
        }
        self.find_own(texts)
    }

    /// Returns what [`find`](Self::find) does, for the label values of a series.
    fn find_own(&self, texts: &[&str]) -> Option<SeriesRef<'_, C>> {
        if self.is_unlabelled() {
            return Some(self.only());
        }
        if self.is_closed() {
            let text = self.text_of(texts);
            let index = self
                .closed_series()
                .position(|series| series.text.with(|own| own == text))?;
            return Some(self.closed(ClosedSet::NONE, index));
        }
        let key = self.look_up(self.index.hash(texts), texts)?;
        Some(SeriesRef {
            family: self,
            cells: self.arena.get(key.index() as usize)?,
            key,
        })
    }

    /// Computes the hash of an existing series' label values from its label text; the series does
    /// not store the hash.
    pub(super) fn hash_of(&self, index: u32) -> u64 {
        let Some(series) = self.series(index as usize) else {
            return 0;
        };
        series
            .text
            .with(|text| self.with_values_of(text, |texts| self.index.hash(texts)))
    }

    /// Returns what [`with`](Self::with) does, for the label set that a label text renders.
    pub(crate) fn with_text(&self, text: &str) -> SeriesRef<'_, C> {
        self.with_values_of(text, |texts| {
            if !self.has_other_labels() {
                return self.with(texts);
            }
            if self.is_unlabelled() {
                return self.only();
            }
            let hash = self.index.hash(texts);
            match self.find_or_make(hash, texts) {
                Some((series, key)) => SeriesRef {
                    family: self,
                    cells: series.cells,
                    key,
                },
                None => self.overflow(),
            }
        })
    }

    /// Returns what [`with`](Self::with) does, for a label set that is not valid, of a family
    /// without fixed label names.
    pub(crate) fn with_invalid(&self) -> SeriesRef<'_, C> {
        self.with(&["", ""])
    }

    /// Returns the label text of `texts` for a bound series: that of the series with this key, if
    /// the series still has it. [`with_text`](Self::with_text) does for it what
    /// [`with`](Self::with) does for `texts`. Returns `None` for a label set that is not valid and
    /// that no label text renders: then [`with_invalid`](Self::with_invalid) does.
    pub(crate) fn own_text(&self, texts: &[&str], key: SeriesKey) -> Option<TextRef> {
        let own = self
            .reduced(texts)
            .filter(|own| self.check_any(own).is_ok());
        let text = match (own, self.desc.labels) {
            (Some(own), _) => self.text_of(&own),
            // The text of no label values, which is not valid, either.
            (None, Names::Fixed(_)) => String::new(),
            (None, Names::Any) => return None,
        };
        if text.len() > LONGEST_TEXT && self.desc.labels == Names::Any {
            return None;
        }
        Some(match self.series(key.index() as usize) {
            Some(series) => series.text.own(&text),
            None => TextRef::new(&text),
        })
    }

    /// Returns what [`find`](Self::find) does, for the label set that a label text renders.
    pub(crate) fn find_text(&self, text: &str) -> Option<SeriesRef<'_, C>> {
        self.with_values_of(text, |texts| self.find_own(texts))
    }

    /// Calls `f` with the `texts` that a label text renders.
    pub(super) fn with_values_of<R>(&self, text: &str, f: impl FnOnce(&[&str]) -> R) -> R {
        let texts: Vec<_> = labels::pairs(text)
            .flat_map(|(name, value)| match self.desc.labels {
                Names::Fixed(_) => [None, Some(value)],
                Names::Any => [Some(name.into()), Some(value)],
            })
            .flatten()
            .collect();
        f(&texts.iter().map(|text| &**text).collect::<Vec<_>>())
    }

    /// Returns the key of the series of a label set from the index, if the series exists.
    pub(super) fn look_up(&self, hash: u64, texts: &[&str]) -> Option<SeriesKey> {
        let matches = |index| self.has_values(index, texts);
        self.index.find(hash, matches, |index| self.key_of(index))
    }

    /// Returns the current key of a series. The caller has locked the index.
    fn key_of(&self, index: u32) -> SeriesKey {
        let series = self.series(index as usize);
        series.map_or(SeriesKey::OVERFLOW, |series| series.key(index))
    }

    /// Returns the series of a label set and its key, and makes it unless another thread has just
    /// done so. Returns `None` if the label set is not valid, if it is that of the overflow series,
    /// and above the limit.
    fn find_or_make(&self, hash: u64, texts: &[&str]) -> Option<(Series<'_, C>, SeriesKey)> {
        if let Err(error) = self.check_any(texts) {
            self.reject(1, || error);
            return None;
        }
        // The text is rendered before the index is locked, because rendering takes time.
        let key = labels::with_text(self.pairs(texts), |text| {
            let make = || self.make(texts, text);
            let matches = |index| self.has_text(index, text);
            let key_of = |index| self.key_of(index);
            self.index.find_or_insert(hash, matches, key_of, make)
        })?;
        let series = self.series(key.index() as usize)?;
        Some((series, key))
    }

    /// Makes the series of a label set, in the memory of a reclaimed series if there is one.
    /// Returns its number, or `None` as [`find_or_make`](Self::find_or_make) does. The caller has
    /// locked the index for writing.
    fn make(&self, texts: &[&str], text: &str) -> Option<u32> {
        if text.len() > LONGEST_TEXT
            || texts.contains(&"__overflow__") && text == self.overflow_text()
        {
            // Too long; or the labels are those of the overflow series.
            return None;
        }
        let limit = self.desc.limit;
        let index = if self.has_free.load(Relaxed) {
            // Another thread may take the last free number in between. Then a new one is counted.
            self.population.add(limit, false)?;
            self.reuse().unwrap_or_else(|| self.population.count_made())
        } else {
            self.population.add(limit, true)?
        };
        self.arena
            .get_or_make(index as usize, || C::new(&self.shape))?;
        self.publish_run_of(index as usize);
        self.open(index as usize, text);
        self.arena.set_live(index as usize, true);
        Some(index)
    }

    /// Takes the number of a reclaimed series, if there is one.
    fn reuse(&self) -> Option<u32> {
        let mut retirement = self.retirement();
        let index = retirement.free.pop().map(|Reverse(index)| index);
        self.has_free.store(!retirement.free.is_empty(), Relaxed);
        index
    }

    /// Returns whether a series has this label text.
    pub(super) fn has_text(&self, index: u32, text: &str) -> bool {
        self.series(index as usize)
            .is_some_and(|series| series.text.with(|own| own == text))
    }

    /// Returns whether a series has the label set `texts`.
    fn has_values(&self, index: u32, texts: &[&str]) -> bool {
        self.series(index as usize)
            .is_some_and(|series| series.text.with(|text| self.is_text_of(text, texts)))
    }

    /// Returns whether `text` is [`text_of`](Self::text_of) these `texts`. Compares piece by piece,
    /// so that in most cases nothing is rendered.
    fn is_text_of(&self, text: &str, texts: &[&str]) -> bool {
        if matches!(self.desc.labels, Names::Fixed(names) if names.len() != texts.len()) {
            return false;
        }
        if self.desc.utf8 {
            // Names may be quoted.
            return text == self.text_of(texts);
        }
        let mut rest = text;
        let mut first = true;
        for (name, value) in self.pairs(texts) {
            if !first {
                let Some(after) = rest.strip_prefix(',') else {
                    return false;
                };
                rest = after;
            }
            first = false;
            let Some(after) = rest
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix("=\""))
            else {
                return false;
            };
            if labels::needs_escape(value) {
                return text == self.text_of(texts);
            }
            let Some(after) = after
                .strip_prefix(value)
                .and_then(|rest| rest.strip_prefix('"'))
            else {
                return false;
            };
            rest = after;
        }
        rest.is_empty()
    }

    /// Iterates over the pairs of name and value of a label set.
    pub(super) fn pairs<'a>(
        &self,
        texts: &'a [&'a str],
    ) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        let fixed = match self.desc.labels {
            Names::Fixed(names) => Some(names),
            Names::Any => None,
        };
        let count = fixed.map_or(texts.len() / 2, |names| names.len().min(texts.len()));
        (0..count).map(move |i| match fixed {
            Some(names) => (names[i], texts[i]),
            None => (texts[2 * i], texts[2 * i + 1]),
        })
    }

    /// Renders the label text of the overflow series.
    pub(super) fn overflow_text(&self) -> String {
        let names = match self.desc.labels {
            Names::Fixed(names) => names,
            Names::Any => &["overflow"],
        };
        let all: Vec<_> = names.iter().map(|name| (*name, "__overflow__")).collect();
        labels::text(&all)
    }

    /// Renders the label text of a label set.
    pub(crate) fn text_of(&self, texts: &[&str]) -> String {
        labels::text_of(self.pairs(texts))
    }

    /// Renders the label text of the series in which a label set of the declaration counts.
    pub(crate) fn text_of_given(&self, texts: &[&str]) -> String {
        self.text_of(&self.reduced(texts).unwrap_or_default())
    }

    /// Checks a label set of the declaration.
    pub(crate) fn check_given(&self, texts: &[&str]) -> Result<(), Error> {
        match self.reduced(texts) {
            Some(own) => self.check_any(&own),
            None => Err(self.wrong_count(texts.len())),
        }
    }

    /// Checks the label values of a series: with fixed label names the number of its values,
    /// because the names were checked at registration; otherwise its label names.
    pub(crate) fn check_any(&self, texts: &[&str]) -> Result<(), Error> {
        if let Names::Fixed(names) = self.desc.labels {
            return if names.len() == texts.len() {
                Ok(())
            } else {
                let got = texts.len();
                Err(label_count(&self.desc.name, names, names.len(), got))
            };
        }
        let mut before = None;
        for (name, _) in self.pairs(texts) {
            self.desc
                .check_label(name)
                .map_err(|reason| reason.error(self.desc.label(), name))?;
            if before == Some(name) {
                return Err(NameRule::Twice.error(self.desc.label(), name));
            }
            before = Some(name);
        }
        self.desc
            .check_escaped(self.pairs(texts).map(|(name, _)| name))
    }
}
