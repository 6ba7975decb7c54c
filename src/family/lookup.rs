//! The ways from labels to a series.
//!
//! | who has | method | if there is no series |
//! |---|---|---|
//! | given label values | [`with`](Family::with) | makes it |
//! | | [`find`](Family::find) | `None` |
//! | the index of a combination of a closed label set | [`combination`](Family::combination) | there is |
//! | the label text of a series | [`with_text`](Family::with_text) | makes it |
//! | | [`find_text`](Family::find_text) | `None` |
//! | nothing, since there are no labels | [`only`](Family::only) | there is |
//!
//! `with` takes three steps down: to the thread's label cache, which has given label values; to the
//! view, if one changes labels; and to the [roster](super::roster), which has those of series.

use std::sync::atomic::Ordering::Relaxed;

use crate::lockfree::{Generation, LONGEST_TEXT, SeriesKey, TextRef};

use super::desc::Names;
use super::store::{OpenSeries, SeriesStore};
use super::{Family, MetricCells, SeriesRef};

impl<C: MetricCells> Family<C> {
    /// Returns the series in which a label set counts, and makes it if needed. Returns the overflow
    /// series above the limit, and for a label set that is not valid.
    #[inline(always)]
    pub(crate) fn with(&self, texts: &[&str]) -> SeriesRef<'_, C> {
        let (cells, key) = match &self.store {
            SeriesStore::Open(open) => {
                let hash = open.roster.index.hash(texts);
                // A cached series may have been removed or retired since, and even be another label
                // set's. Then its generation has advanced.
                match open.arena.find(hash, texts) {
                    Some((cells, key)) if cells.slot_word().generation() == key.generation() => {
                        (cells, key)
                    }
                    _ => self.with_roster(open, hash, texts),
                }
            }
            SeriesStore::One | SeriesStore::Closed(_) => self.with_fixed(texts),
        };
        self.series_ref(cells, key)
    }

    /// Looks the series up in the roster, or makes it, for [`with`](Self::with). Returns two words,
    /// which fit in registers: `with` would have to write a larger result to memory, also after a
    /// cache hit.
    #[cold]
    #[inline(never)]
    fn with_roster<'a>(
        &'a self,
        open: &'a OpenSeries<C>,
        hash: u64,
        texts: &[&str],
    ) -> (&'a C, SeriesKey) {
        let found = self.set_of(open).with(hash, texts);
        let found = found.and_then(|found| {
            let cells = open.arena.get(found.key.index() as usize)?;
            if found.is_worth_caching {
                open.arena.remember(hash, texts, found.key);
            }
            Some((cells, found.key))
        });
        found.unwrap_or_else(|| (self.first(), self.overflow().key))
    }

    /// Returns the series of a label set, for [`with`](Self::with), of a family that makes none.
    #[cold]
    #[inline(never)]
    fn with_fixed(&self, texts: &[&str]) -> (&C, SeriesKey) {
        let series = self.find(texts).unwrap_or_else(|| self.overflow());
        (series.cells, series.key)
    }

    /// Returns the series in which a label set counts, if it exists.
    pub(crate) fn find(&self, texts: &[&str]) -> Option<SeriesRef<'_, C>> {
        let (cells, key) = match &self.store {
            SeriesStore::One => return Some(self.only()),
            SeriesStore::Closed(closed) => closed.find_text(&self.desc.text_of(texts))?,
            SeriesStore::Open(open) => {
                let own = self.desc.own(texts, false)?;
                let hash = open.roster.index.hash(&own.texts);
                let key = self.set_of(open).find(hash, &own.texts)?;
                (open.arena.get(key.index() as usize)?, key)
            }
        };
        Some(self.series_ref(cells, key))
    }

    /// Returns the series in which a combination of the declaration's closed label set counts.
    ///
    /// A caller that updates the series calls [`row`](Self::row) first, even if its own declaration
    /// needs no row. Otherwise the update could promote the series alone, and a series that has a
    /// slot of its own can no longer be part of the row.
    #[inline]
    pub(crate) fn combination(&self, index: usize) -> SeriesRef<'_, C> {
        match &self.store {
            SeriesStore::Closed(closed) => match closed.all.series.get(index) {
                Some(cells) => {
                    let key = SeriesKey::new(Generation::FIRST, index as u32);
                    self.series_ref(cells, key)
                }
                None => self.only(),
            },
            SeriesStore::One => self.only(),
            SeriesStore::Open(open) => self.changed_combination(open, index),
        }
    }

    /// Returns the series of a combination whose labels a view changes.
    #[cold]
    fn changed_combination<'a>(
        &'a self,
        open: &'a OpenSeries<C>,
        index: usize,
    ) -> SeriesRef<'a, C> {
        let known = open.roster.combination(&self.desc, index);
        if let Some(known) = known {
            let key = SeriesKey::of_word(known.load(Relaxed));
            let cells = open.arena.get(key.index() as usize);
            let series = cells.map(|cells| self.series_ref(cells, key));
            if let Some(series) = series.filter(SeriesRef::is_current) {
                return series;
            }
        }
        let Some(texts) = self.desc.closed.texts_of(index) else {
            return self.overflow();
        };
        let series = self.with(&texts);
        if let Some(known) = known {
            known.store(series.key.word(), Relaxed);
        }
        series
    }

    /// Makes the series of all combinations of the declaration's closed label set, if a view
    /// changes their labels. Otherwise they were made with the family.
    pub(crate) fn make_combinations(&self) {
        if let SeriesStore::Open(_) = &self.store {
            let combinations = self.desc.closed.texts();
            combinations.for_each(|texts| _ = self.with(&texts));
        }
    }

    /// Returns the slot of the first combination of a closed label set, and makes the row if
    /// needed. Returns `None` if there is no row.
    pub(crate) fn row(&self) -> Option<u64> {
        match &self.store {
            SeriesStore::Closed(closed) => closed.row(&self.desc),
            SeriesStore::One | SeriesStore::Open(_) => None,
        }
    }

    /// Returns whether the family has a closed label set.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.store, SeriesStore::Closed(_))
    }

    /// Returns the series with this label text, and makes it if needed, as [`with`](Self::with)
    /// does. A view has no part in it: the text is that of a series.
    pub(crate) fn with_text(&self, text: &str) -> SeriesRef<'_, C> {
        let series = match &self.store {
            SeriesStore::One | SeriesStore::Closed(_) => self.find_text(text),
            SeriesStore::Open(open) => {
                let set = self.set_of(open);
                let key = self.desc.with_values_of(text, |texts| set.with_own(texts));
                self.made(key)
            }
        };
        series.unwrap_or_else(|| self.overflow())
    }

    /// Returns the series with this label text, if it exists.
    pub(crate) fn find_text(&self, text: &str) -> Option<SeriesRef<'_, C>> {
        match &self.store {
            SeriesStore::One => Some(self.only()),
            SeriesStore::Closed(closed) => {
                let (cells, key) = closed.find_text(text)?;
                Some(self.series_ref(cells, key))
            }
            SeriesStore::Open(open) => {
                let set = self.set_of(open);
                let hash = |texts: &[&str]| open.roster.index.hash(texts);
                let find = |texts: &[&str]| set.find(hash(texts), texts);
                self.made(self.desc.with_values_of(text, find))
            }
        }
    }

    /// Returns the overflow series for a label set that is not valid. The first look-up has logged
    /// the reason.
    pub(crate) fn with_invalid(&self) -> SeriesRef<'_, C> {
        self.count_rejected(1);
        self.overflow()
    }

    /// Returns the label text of `texts` for a bound series: that of the series with this key, if
    /// the series still has it. [`with_text`](Self::with_text) does for it what
    /// [`with`](Self::with) does for `texts`. Returns `None` for a label set that is not valid and
    /// that no label text renders: then [`with_invalid`](Self::with_invalid) does.
    pub(crate) fn own_text(&self, texts: &[&str], key: SeriesKey) -> Option<TextRef> {
        let text = match (self.desc.own_text(texts), self.desc.labels) {
            (Ok(text), _) => text,
            // The text of no label values, which is not valid, either.
            (Err(_), Names::Fixed(_)) => String::new(),
            (Err(_), Names::Any) => return None,
        };
        if text.len() > LONGEST_TEXT && self.desc.labels == Names::Any {
            return None;
        }
        let index = key.index() as usize;
        let series = self.open().and_then(|open| open.series(index));
        Some(match series {
            Some(series) => series.text.own(&text),
            None => TextRef::new(&text),
        })
    }

    /// Returns the series of the arena that has this key.
    fn made(&self, key: Option<SeriesKey>) -> Option<SeriesRef<'_, C>> {
        let cells = self.open()?.arena.get(key?.index() as usize)?;
        Some(self.series_ref(cells, key?))
    }

    #[inline(always)]
    pub(super) fn series_ref<'a>(&'a self, cells: &'a C, key: SeriesKey) -> SeriesRef<'a, C> {
        let family = self;
        SeriesRef { family, cells, key }
    }
}
