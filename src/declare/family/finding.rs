//! How a label set finds its series: in the thread's own memory, in the index, or by making it.

use std::cmp::Reverse;
use std::sync::atomic::Ordering::Relaxed;

use dashmap::SharedValue;

use crate::error::Error;
use crate::observe::{self, Found, Tag};
use crate::snapshot::labels;

use super::super::desc::Names;
use super::super::handle;
use super::{Exported, Family, Series};

impl<C: Exported> Family<C> {
    /// The series of a label set, made if there is none; the overflow series beyond the limit.
    #[inline(always)]
    pub(crate) fn with(&self, texts: &[&str]) -> handle::Found<'_, C> {
        let hash = self.hash(texts);
        let (cells, which) = match self.store.find(hash, texts) {
            Some(found) if found.series.cells.place().tag() == found.tag => parts(&found),
            _ => self.with_index(hash, texts),
        };
        let (tag, index) = Tag::unpack(which);
        handle::Found {
            family: self,
            cells,
            tag,
            index,
        }
    }

    /// Whether it has one series, without labels.
    pub(crate) fn is_unlabelled(&self) -> bool {
        self.desc.labels == Names::Fixed(&[])
    }

    /// The series, and its generation and index in one word: two words come back in registers, more of them through memory,
    /// which the way that needs none of this would have to write as well.
    #[cold]
    fn with_index(&self, hash: u64, texts: &[&str]) -> (&C, u64) {
        if self.is_unlabelled() {
            return (&self.first, self.only().which());
        }
        let Some((found, is_new)) = self.make(hash, texts) else {
            return (&self.first, self.overflow().which());
        };
        // From its second use on: label sets that are used once do not drive others out.
        if !is_new {
            self.store.remember(hash, texts, found.index, found.tag);
        }
        parts(&found)
    }

    /// The series of a label set, if there is one.
    pub(super) fn find(&self, texts: &[&str]) -> Option<&C> {
        if self.is_unlabelled() {
            return Some(&self.first);
        }
        if let Some(all) = self.dense.get() {
            let text = self.text_of(texts);
            return all
                .iter()
                .find(|series| series.text.with(|own| own == text))
                .map(|series| &series.cells);
        }
        let found = self.look_up(self.hash(texts), texts)?;
        Some(&found.series.cells)
    }

    #[inline(always)]
    pub(super) fn hash(&self, texts: &[&str]) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = self.hasher.build_hasher();
        for text in texts {
            // It takes the length in, too.
            hasher.write(text.as_bytes());
        }
        hasher.finish()
    }

    /// The hash of a series that was made, by its text.
    pub(super) fn hash_of(&self, index: u32) -> u64 {
        let Some(series) = self.series(index as usize) else {
            return 0;
        };
        series.text.with(|text| {
            let texts: Vec<_> = labels::pairs(text)
                .flat_map(|(name, value)| match self.desc.labels {
                    Names::Fixed(_) => [None, Some(value)],
                    Names::Any => [Some(name.into()), Some(value)],
                })
                .flatten()
                .collect();
            self.hash(&texts.iter().map(|text| &**text).collect::<Vec<_>>())
        })
    }

    pub(super) fn look_up(&self, hash: u64, texts: &[&str]) -> Option<Found<'_, Series<C>>> {
        let hash = spread(short(hash));
        let map = self.index();
        let shard = map.shards()[map.determine_shard(hash as usize)].read();
        let (_, index) = shard.get(hash, |(half, index)| {
            *half == short(hash) && self.is(*index.get(), texts)
        })?;
        self.found(*index.get())
    }

    fn found(&self, index: u32) -> Option<Found<'_, Series<C>>> {
        let series = self.series(index as usize)?;
        let tag = series.cells.place().tag();
        Some(Found { series, index, tag })
    }

    /// The series of a label set, made unless there is one, and whether it was; `None` beyond the limit, or where the
    /// label names of the set are not valid.
    fn make(&self, hash: u64, texts: &[&str]) -> Option<(Found<'_, Series<C>>, bool)> {
        if self.check_any(texts).is_err() {
            observe::engine().stats.refused.fetch_add(1, Relaxed);
            return None;
        }
        // Before the lock: it takes time.
        labels::with_text(self.pairs(texts), |text| self.make_of(hash, texts, text))
    }

    fn make_of(
        &self,
        hash: u64,
        texts: &[&str],
        text: &str,
    ) -> Option<(Found<'_, Series<C>>, bool)> {
        let hash = spread(short(hash));
        let map = self.index();
        let mut shard = map.shards()[map.determine_shard(hash as usize)].write();
        // Where the entry is going to be: a line far from the one that tells whether it is there.
        let place = hash as usize & (shard.buckets() - 1);
        observe::prefetch(shard.data_end().as_ptr().wrapping_sub(place + 16), 16);
        if let Some((_, index)) = shard.get(hash, |(half, index)| {
            *half == short(hash) && self.is_text(*index.get(), text)
        }) {
            return Some((self.found(*index.get())?, false));
        }
        if texts.contains(&"__overflow__") && text == self.overflow_text() {
            // That one is there already.
            return None;
        }
        let limit = self.desc.limit;
        let index = if self.has_free.load(Relaxed) {
            self.population.add(limit, false)?;
            self.used_again().unwrap_or_else(|| self.population.make())
        } else {
            self.population.add(limit, true)?
        };
        let series = self
            .store
            .get_or_make(index as usize, || Series::new(&self.shape))?;
        let tag = series.cells.place().tag();
        series.open(text);
        self.store.set_live(index as usize, true);
        let entry = (short(hash), SharedValue::new(index));
        shard.insert(hash, entry, |(half, _)| spread(*half));
        Some((Found { series, index, tag }, true))
    }

    /// A series that has ended and can be used again.
    fn used_again(&self) -> Option<u32> {
        let mut ended = self.ended();
        let index = ended.free.pop().map(|Reverse(index)| index);
        self.has_free.store(!ended.free.is_empty(), Relaxed);
        drop(ended);
        if index.is_some() {
            self.edition.fetch_add(1, Relaxed);
        }
        index
    }

    pub(super) fn is_text(&self, index: u32, text: &str) -> bool {
        self.series(index as usize)
            .is_some_and(|series| series.text.with(|own| own == text))
    }

    fn is(&self, index: u32, texts: &[&str]) -> bool {
        self.series(index as usize)
            .is_some_and(|series| series.text.with(|text| self.has_texts(text, texts)))
    }

    /// Whether a label text is that of these values.
    fn has_texts(&self, text: &str, texts: &[&str]) -> bool {
        if self.desc.utf8 {
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

    /// The label text of the overflow series.
    pub(super) fn overflow_text(&self) -> String {
        let names = match self.desc.labels {
            Names::Fixed(names) => names,
            Names::Any => &["overflow"],
        };
        let all: Vec<_> = names.iter().map(|name| (*name, "__overflow__")).collect();
        labels::text(&all)
    }

    pub(crate) fn text_of(&self, texts: &[&str]) -> String {
        labels::text_of(self.pairs(texts))
    }

    /// Whether the label names of a set are valid, where the set brings them.
    pub(crate) fn check_any(&self, texts: &[&str]) -> Result<(), Error> {
        if self.desc.labels != Names::Any {
            return Ok(());
        }
        let mut before = None;
        for (name, _) in self.pairs(texts) {
            self.desc
                .check_label(name)
                .map_err(|why| Error::label_name(&self.desc.name, name, why))?;
            if before == Some(name) {
                return Err(Error::label_name(&self.desc.name, name, "stands twice"));
            }
            before = Some(name);
        }
        self.desc
            .check_escaped(self.pairs(texts).map(|(name, _)| name))
    }
}

/// The cells of a series, and which one it is.
#[inline(always)]
fn parts<'a, C>(found: &Found<'a, Series<C>>) -> (&'a C, u64) {
    (&found.series.cells, found.tag.pack(found.index))
}

/// The half of a hash that the index keeps.
pub(super) fn short(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A whole hash again: `short(spread(half)) == half`, and the lower half is as good.
pub(super) fn spread(half: u32) -> u64 {
    u64::from(half) << 32 | u64::from(half.wrapping_mul(0x9E37_79B1))
}
