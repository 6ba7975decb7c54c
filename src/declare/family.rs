//! A family: its series, how a label set finds its own, and what ends them.
//!
//! Series lie in chunks that never move, in the order they were made. A label set is looked for in the thread's own
//! [`cache`], then in the shared index (a sharded hash map, whose locks no scrape ever takes). A retired
//! series folds into the overflow series and is used again within the family, one generation later.

use std::ops::DerefMut;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use ahash::RandomState;
use dashmap::{DashMap, SharedValue};
use hashbrown::raw::RawTable;

use crate::error::Error;
use crate::observe::{self, Cells, Pass, SharedText, Tag};
use crate::snapshot::{self, Kind, Values, labels};

use super::cache::{self, Found};
use super::desc::{Desc, Names, check_label};

/// What a kind of cells adds to [`Cells`] so that a scrape can write it.
pub(crate) trait Exported: Cells {
    /// What families of it are.
    const KIND: Kind;
    /// The shape of a family's cells.
    fn shape(desc: &Desc) -> Self::Shape;
    /// A place for the values of a family.
    fn values(desc: &Desc, shape: &Self::Shape) -> Values;
    /// Writes one series.
    fn write(total: &Self::Total, values: &mut Values);
    /// A number that changes when the series does.
    fn fingerprint(total: &Self::Total) -> u64;
    /// Takes away what the overflow series held when the family was cleared.
    fn less(total: &mut Self::Total, baseline: &Self::Total);
    /// Whether retired series add up in the overflow series.
    const FOLDS: bool;
    /// Whether `clear` forgets what was counted. What is in flight is not forgotten: it comes down later.
    const FORGETS: bool = true;
    /// Whether a series that has not changed may end.
    fn may_expire(_total: &Self::Total) -> bool {
        true
    }
}

/// A family that the registry holds.
#[derive(Debug)]
pub(crate) struct Family<C: Exported> {
    pub(crate) desc: Desc,
    pub(crate) shape: C::Shape,
    /// The series without labels; of a labelled family the overflow series.
    pub(crate) first: C,
    /// Never used twice.
    id: u64,
    /// Used again by later families: where threads keep their caches.
    place: usize,
    hasher: RandomState,
    /// The index of every series; what to hash and to compare is in the series.
    index: OnceLock<DashMap<(), u32, RandomState>>,
    chunks: OnceLock<Chunks<C>>,
    /// Every combination of closed label sets, made with the first one.
    dense: OnceLock<Box<[Series<C>]>>,
    /// Series made so far, retired ones included.
    made: AtomicUsize,
    live: AtomicUsize,
    /// Moves on when a series is retired or used again: label texts of a snapshot then have to be copied anew.
    edition: AtomicU64,
    /// Whether there is an overflow series to export.
    overflowed: AtomicBool,
    /// Whether the limit was said to be reached.
    said: AtomicBool,
    /// The sign of the infinity that was observed: 1 for plus, 2 for minus.
    infinity: AtomicU32,
    ended: Mutex<Ended<C::Total>>,
    alone: Mutex<()>,
}

type Chunks<C> = Box<[OnceLock<Box<[Series<C>]>>]>;

/// Eight chunks for every doubling, so that at most an eighth of the series is made ahead.
const CHUNKS: usize = 8 * 29;

/// Series that were retired, and what expiry remembers.
#[derive(Debug)]
struct Ended<T> {
    retired: Vec<Retired>,
    /// Series that can be used again.
    free: Vec<u32>,
    /// Per series what was last seen, and since when.
    idle: Vec<(u64, Option<Instant>)>,
    /// What the overflow series held when the family was last cleared.
    forgotten: Option<T>,
}

#[derive(Debug)]
struct Retired {
    index: u32,
    what: observe::Retired,
    /// Not to be folded: `clear` and gauges.
    forget: bool,
}

/// One label set of a family.
#[derive(Debug)]
pub(crate) struct Series<C> {
    pub(crate) cells: C,
    state: AtomicU32,
    /// Written by who makes the series, before it is live.
    text: SharedText,
}

/// Names and values of one series.
type Labels = Vec<(String, String)>;

const LIVE: u32 = 1;

impl<C: Exported> Series<C> {
    fn new(shape: &C::Shape) -> Self {
        Self {
            cells: C::new(shape),
            state: AtomicU32::new(0),
            text: SharedText::empty(),
        }
    }

    fn open(&self, text: String) {
        self.text.set(text);
        // Relaxed, as everywhere in this file: the text and the chunk carry themselves.
        self.state.store(LIVE, Relaxed);
    }

    fn is_live(&self) -> bool {
        self.state.load(Relaxed) == LIVE
    }
}

/// A series as a handle has it: borrowed, with the generation it was found in.
#[derive(Debug)]
pub(crate) struct Handle<'a, C: Exported> {
    pub(crate) family: &'a Family<C>,
    pub(crate) cells: &'a C,
    pub(crate) tag: Tag,
    /// Which series it is; `u32::MAX` for the overflow series.
    pub(crate) index: u32,
}

impl<C: Exported> Clone for Handle<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: Exported> Copy for Handle<'_, C> {}

impl<C: Exported> Family<C> {
    pub(crate) fn new(desc: Desc) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let shape = C::shape(&desc);
        let hasher = RandomState::new();
        Self {
            desc,
            first: C::new(&shape),
            shape,
            id: IDS.fetch_add(1, Relaxed),
            place: PLACES.take(),
            index: OnceLock::new(),
            hasher,
            chunks: OnceLock::new(),
            dense: OnceLock::new(),
            made: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            edition: AtomicU64::new(0),
            overflowed: AtomicBool::new(false),
            said: AtomicBool::new(false),
            infinity: AtomicU32::new(0),
            ended: Mutex::new(Ended {
                retired: Vec::new(),
                free: Vec::new(),
                idle: Vec::new(),
                forgotten: None,
            }),
            alone: Mutex::new(()),
        }
    }

    fn index(&self) -> &DashMap<(), u32, RandomState> {
        self.index
            .get_or_init(|| DashMap::with_hasher_and_shard_amount(self.hasher.clone(), 8))
    }

    /// The series of a closed label set.
    #[inline]
    pub(crate) fn dense(
        &self,
        count: usize,
        index: usize,
        texts: fn(usize) -> Vec<&'static str>,
    ) -> Handle<'_, C> {
        let all = match self.dense.get() {
            Some(all) => all,
            None => self.make_dense(count, texts),
        };
        match all.get(index) {
            Some(series) => Handle {
                family: self,
                cells: &series.cells,
                tag: Tag::FIRST,
                index: index as u32,
            },
            None => self.overflow(),
        }
    }

    #[cold]
    pub(crate) fn make_dense(
        &self,
        count: usize,
        texts: fn(usize) -> Vec<&'static str>,
    ) -> &[Series<C>] {
        self.dense.get_or_init(|| {
            (0..count)
                .map(|i| {
                    let series = Series::new(&self.shape);
                    series.open(self.text_of(&texts(i)));
                    series
                })
                .collect()
        })
    }

    /// The series of a label set, made if there is none; the overflow series beyond the limit.
    #[inline]
    pub(crate) fn with(&self, texts: &[&str]) -> Handle<'_, C> {
        let hash = self.hash(texts);
        if let Some(found) = cache::find(self.id, self.place, hash, texts)
            && let Some(series) = self.series(found.index as usize)
            && series.cells.place().tag() == found.tag
        {
            return Handle {
                family: self,
                cells: &series.cells,
                tag: found.tag,
                index: found.index,
            };
        }
        self.with_index(hash, texts)
    }

    /// Whether it has one series, without labels.
    pub(crate) fn is_unlabelled(&self) -> bool {
        self.desc.labels == Names::Fixed(&[])
    }

    #[cold]
    fn with_index(&self, hash: u64, texts: &[&str]) -> Handle<'_, C> {
        if self.is_unlabelled() {
            return self.only();
        }
        let found = self.look_up(hash, texts).or_else(|| self.make(hash, texts));
        let Some((found, series)) = found.and_then(|found| {
            let series = self.series(found.index as usize)?;
            Some((found, series))
        }) else {
            return self.overflow();
        };
        cache::remember(self.id, self.place, hash, texts, found);
        Handle {
            family: self,
            cells: &series.cells,
            tag: found.tag,
            index: found.index,
        }
    }

    /// Series `index`, if it is still of the generation `tag`.
    #[inline]
    pub(crate) fn handle(&self, index: u32, tag: Tag) -> Option<Handle<'_, C>> {
        let series = self.series(index as usize)?;
        (series.cells.place().tag() == tag).then_some(Handle {
            family: self,
            cells: &series.cells,
            tag,
            index,
        })
    }

    /// The series of a label set, if there is one.
    fn find(&self, texts: &[&str]) -> Option<&C> {
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
        self.series(found.index as usize)
            .map(|series| &series.cells)
    }

    /// The series without labels.
    pub(crate) fn only(&self) -> Handle<'_, C> {
        Handle {
            family: self,
            cells: &self.first,
            tag: Tag::FIRST,
            index: u32::MAX,
        }
    }

    /// Whether an infinite value may join a sum: not if one of the other sign did.
    pub(crate) fn admits(&self, value: f64) -> bool {
        if !value.is_infinite() {
            return true;
        }
        let sign = if value > 0.0 { 1 } else { 2 };
        match self.infinity.compare_exchange(0, sign, Relaxed, Relaxed) {
            Ok(_) => true,
            Err(seen) => seen == sign,
        }
    }

    /// Where updates land that have no series of their own.
    pub(crate) fn overflow(&self) -> Handle<'_, C> {
        observe::engine().stats.overflowed.fetch_add(1, Relaxed);
        self.overflowed.store(true, Relaxed);
        if self.live.load(Relaxed) >= self.desc.limit && !self.said.swap(true, Relaxed) {
            crate::error::report(&Error::overflow(self.desc.name, self.desc.limit));
        }
        self.only()
    }

    fn hash(&self, texts: &[&str]) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = self.hasher.build_hasher();
        for text in texts {
            hasher.write(text.as_bytes());
            hasher.write_u8(0xFF);
        }
        hasher.finish()
    }

    /// The hash of a series that was made, by its text.
    fn hash_of(&self, index: u32) -> u64 {
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

    fn look_up(&self, hash: u64, texts: &[&str]) -> Option<Found> {
        let map = self.index();
        let shard = map.shards()[map.determine_shard(hash as usize)].read();
        let ((), index) = shard.get(hash, |((), index)| self.is(*index.get(), texts))?;
        let index = *index.get();
        let tag = self.series(index as usize)?.cells.place().tag();
        Some(Found { index, tag })
    }

    /// Makes the series of a label set, unless another thread has just done so; `None` beyond the limit, or where the
    /// label names of the set are not valid.
    fn make(&self, hash: u64, texts: &[&str]) -> Option<Found> {
        if self.check_any(texts).is_err() {
            observe::engine().stats.refused.fetch_add(1, Relaxed);
            return None;
        }
        if self.text_of(texts) == self.overflow_text() {
            // That one is there already.
            return None;
        }
        let map = self.index();
        let mut shard = map.shards()[map.determine_shard(hash as usize)].write();
        if let Some(((), index)) = shard.get(hash, |((), index)| self.is(*index.get(), texts)) {
            let index = *index.get();
            let tag = self.series(index as usize)?.cells.place().tag();
            return Some(Found { index, tag });
        }
        if self.live.fetch_add(1, Relaxed) >= self.desc.limit {
            self.live.fetch_sub(1, Relaxed);
            return None;
        }
        let free = self.ended().free.pop();
        if free.is_some() {
            self.edition.fetch_add(1, Relaxed);
        }
        let index = free.map_or_else(|| self.made.fetch_add(1, Relaxed), |index| index as usize);
        let series = self.series_or_make(index)?;
        let tag = series.cells.place().tag();
        series.open(self.text_of(texts));
        let index = index as u32;
        shard.insert(hash, ((), SharedValue::new(index)), |((), index)| {
            self.hash_of(*index.get())
        });
        Some(Found { index, tag })
    }

    fn is(&self, index: u32, texts: &[&str]) -> bool {
        self.series(index as usize)
            .is_some_and(|series| series.text.with(|text| self.has_texts(text, texts)))
    }

    /// Whether a label text is that of these values.
    fn has_texts(&self, text: &str, texts: &[&str]) -> bool {
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

    fn pairs<'a>(&self, texts: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
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
    fn overflow_text(&self) -> String {
        let names = match self.desc.labels {
            Names::Fixed(names) => names,
            Names::Any => &["overflow"],
        };
        let all: Vec<_> = names.iter().map(|name| (*name, "__overflow__")).collect();
        labels::text(&all)
    }

    pub(crate) fn text_of(&self, texts: &[&str]) -> String {
        labels::text(&self.pairs(texts).collect::<Vec<_>>())
    }

    /// Whether the label names of a set are valid, where the set brings them.
    pub(crate) fn check_any(&self, texts: &[&str]) -> Result<(), Error> {
        if self.desc.labels != Names::Any {
            return Ok(());
        }
        let mut before = None;
        for (name, _) in self.pairs(texts) {
            check_label(name.as_bytes(), self.desc.kind)
                .map_err(|why| Error::label_name(self.desc.name, name, why))?;
            if before == Some(name) {
                return Err(Error::label_name(self.desc.name, name, "stands twice"));
            }
            before = Some(name);
        }
        Ok(())
    }

    /// Series `index`: chunks double, so the index says which one.
    #[inline]
    fn series(&self, index: usize) -> Option<&Series<C>> {
        let (chunk, at) = chunk(index);
        self.chunks.get()?.get(chunk)?.get()?.get(at)
    }

    fn series_or_make(&self, index: usize) -> Option<&Series<C>> {
        let (chunk, at) = chunk(index);
        self.chunks
            .get_or_init(|| (0..CHUNKS).map(|_| OnceLock::new()).collect())
            .get(chunk)?
            .get_or_init(|| {
                (0..1 << (chunk / 8))
                    .map(|_| Series::new(&self.shape))
                    .collect()
            })
            .get(at)
    }

    fn ended(&self) -> MutexGuard<'_, Ended<C::Total>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> impl Iterator<Item = (u32, &Series<C>)> {
        (0..self.made.load(Relaxed)).filter_map(|i| Some((i as u32, self.series(i)?)))
    }

    /// What the series of a label set has counted, if there is one.
    pub(crate) fn get(&self, texts: &[&str]) -> Option<C::Total> {
        // Series are retired in passes only: what is found in this one stays.
        let mut pass = observe::engine().pass();
        let cells = self.find(texts)?;
        let mut total = C::Total::default();
        read(cells, &mut pass, &mut total);
        Some(total)
    }

    /// What one series has counted.
    pub(crate) fn total(&self, cells: &C) -> C::Total {
        let mut pass = observe::engine().pass();
        let mut total = C::Total::default();
        cells.read(&mut pass, cells.place().slot(), &mut total);
        total
    }

    /// Every series: labels, and what it has counted.
    pub(crate) fn totals(&self) -> Vec<(Labels, C::Total)> {
        let mut pass = observe::engine().pass();
        if self.is_unlabelled() {
            let mut total = C::Total::default();
            read(&self.first, &mut pass, &mut total);
            return vec![(Vec::new(), total)];
        }
        let dense = self.dense.get().map_or(&[][..], |all| all);
        dense
            .iter()
            .chain(self.all().map(|(_, series)| series))
            .filter(|series| series.is_live())
            .map(|series| {
                let labels = series.text.with(|text| {
                    labels::pairs(text)
                        .map(|(name, value)| (name.to_owned(), value.into_owned()))
                        .collect()
                });
                let mut total = C::Total::default();
                read(&series.cells, &mut pass, &mut total);
                (labels, total)
            })
            .collect()
    }

    /// Retires the series of a label set; what it counted stays in the family's sum. Waits for a pass that is running.
    pub(crate) fn remove(&self, texts: &[&str]) -> bool {
        if self.is_unlabelled() {
            return false;
        }
        let hash = self.hash(texts);
        let mut pass = observe::engine().pass();
        let Some(found) = self.look_up(hash, texts) else {
            return false;
        };
        self.retire(&mut pass, found.index, false);
        self.settle(&mut pass, None);
        true
    }

    /// Retires every series that `keep` does not want; `forget`: and what it counted.
    pub(crate) fn retain(&self, forget: bool, mut keep: impl FnMut(&str) -> bool) -> usize {
        // The caller's code runs under no lock; a series that is another's by then stays.
        let unwanted: Vec<_> = self
            .all()
            .filter(|(_, series)| series.is_live())
            .map(|(index, series)| {
                let tag = series.cells.place().tag();
                (index, tag, series.text.with(str::to_owned))
            })
            .filter(|(_, _, text)| !keep(text))
            .collect();
        let forget = forget && C::FORGETS;
        let mut pass = observe::engine().pass();
        let mut gone = 0;
        for (index, tag, _) in unwanted {
            let still = self
                .series(index as usize)
                .is_some_and(|series| series.is_live() && series.cells.place().tag() == tag);
            if still {
                gone += usize::from(self.retire(&mut pass, index, forget));
            }
        }
        if forget && !self.is_unlabelled() {
            let mut held = C::Total::default();
            read(&self.first, &mut pass, &mut held);
            let mut ended = self.ended();
            ended.forgotten = Some(held);
            for retired in &mut ended.retired {
                retired.forget = true;
            }
            if !C::FOLDS {
                self.overflowed.store(false, Relaxed);
            }
        }
        self.settle(&mut pass, None);
        gone
    }

    /// Makes one change after another, for who looks first and then retires.
    pub(crate) fn alone<R>(&self, f: impl FnOnce() -> R) -> R {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        f()
    }

    /// Takes a series out of the index and makes its handles stale. Waits for nobody but who makes a series just now.
    fn retire(&self, pass: &mut Pass<'_>, index: u32, forget: bool) -> bool {
        let hash = self.hash_of(index);
        let map = self.index();
        let shard = map.shards()[map.determine_shard(hash as usize)].write();
        self.retire_in(pass, shard, hash, index, forget)
    }

    /// As [`retire`](Self::retire), in a scrape: where somebody makes a series just now, it is left for the next one.
    fn expire(&self, pass: &mut Pass<'_>, index: u32) -> bool {
        let hash = self.hash_of(index);
        let map = self.index();
        let shard = map.shards()[map.determine_shard(hash as usize)].try_write();
        shard.is_some_and(|shard| self.retire_in(pass, shard, hash, index, false))
    }

    fn retire_in(
        &self,
        pass: &mut Pass<'_>,
        mut shard: impl DerefMut<Target = RawTable<((), SharedValue<u32>)>>,
        hash: u64,
        index: u32,
        forget: bool,
    ) -> bool {
        let Some(series) = self.series(index as usize) else {
            return false;
        };
        shard.remove_entry(hash, |((), other)| *other.get() == index);
        drop(shard);
        series.state.store(0, Relaxed);
        let what = pass.retire(series.cells.place());
        let mut ended = self.ended();
        ended.retired.push(Retired {
            index,
            what,
            forget: forget || !C::FOLDS,
        });
        if let Some(idle) = ended.idle.get_mut(index as usize) {
            *idle = (0, None);
        }
        drop(ended);
        self.live.fetch_sub(1, Relaxed);
        self.edition.fetch_add(1, Relaxed);
        true
    }

    /// Writes every series into `out`, which has the shape of this family.
    pub(crate) fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family) {
        let edition = self.edition.load(Relaxed);
        out.begin((self.id, edition));
        let mut total = C::Total::default();
        if let Some(all) = self.dense.get() {
            for (i, series) in all.iter().enumerate() {
                read(&series.cells, pass, &mut total);
                out.texts.put(i, i as u32, |out| {
                    series.text.with(|text| out.push_str(text))
                });
                C::write(&total, &mut out.values);
            }
        } else if self.is_unlabelled() {
            read(&self.first, pass, &mut total);
            out.texts.put(0, 0, |_| {});
            C::write(&total, &mut out.values);
            return;
        }
        let mut i = out.len();
        let mut overflow = C::Total::default();
        for (index, series) in self.all() {
            if !series.is_live() {
                continue;
            }
            read(&series.cells, pass, &mut total);
            if self.has_expired(index, &total) && self.expire(pass, index) {
                continue;
            }
            out.texts
                .put(i, index, |out| series.text.with(|text| out.push_str(text)));
            C::write(&total, &mut out.values);
            i += 1;
        }
        self.settle(pass, Some(&mut overflow));
        if self.overflowed.load(Relaxed) {
            let slot = self.first.place().slot();
            self.first.read(pass, slot, &mut overflow);
            if let Some(forgotten) = &self.ended().forgotten {
                C::less(&mut overflow, forgotten);
            }
            out.texts.put(i, u32::MAX, |text| {
                text.push_str(&self.overflow_text());
            });
            C::write(&overflow, &mut out.values);
            i += 1;
        }
        out.texts.truncate(i);
    }

    /// Folds what was retired into the overflow series, where nobody can be updating it any more; until then adds it to
    /// `overflow` as it stands, so that the family's sum never drops.
    fn settle(&self, pass: &mut Pass<'_>, mut overflow: Option<&mut C::Total>) {
        // Not under the lock: who makes a series asks it for one to use again.
        let retired = std::mem::take(&mut self.ended().retired);
        let (mut waiting, mut free) = (Vec::new(), Vec::new());
        for retired in retired {
            let Some(series) = self.series(retired.index as usize) else {
                continue;
            };
            if !retired.forget {
                self.overflowed.store(true, Relaxed);
            }
            let into = (!retired.forget).then_some(&self.first);
            if observe::end(pass, &self.shape, &series.cells, retired.what, into) {
                free.push(retired.index);
                continue;
            }
            if let (false, Some(overflow)) = (retired.forget, &mut overflow) {
                series.cells.read(pass, retired.what.slot(), overflow);
            }
            waiting.push(retired);
        }
        let mut ended = self.ended();
        ended.retired = waiting;
        ended.free.extend(free);
    }

    fn has_expired(&self, index: u32, total: &C::Total) -> bool {
        let Some(after) = self.desc.expire_after else {
            return false;
        };
        let now = crate::clock::now();
        let seen = C::fingerprint(total);
        let mut ended = self.ended();
        let index = index as usize;
        if ended.idle.len() <= index {
            ended.idle.resize(index + 1, (0, None));
        }
        let (last, since) = &mut ended.idle[index];
        let since_when = match since {
            Some(since) if *last == seen => *since,
            _ => {
                *last = seen;
                *since = Some(now);
                now
            }
        };
        now.duration_since(since_when) >= after && C::may_expire(total)
    }

    /// The number of series, without the overflow series.
    pub(crate) fn len(&self) -> usize {
        self.dense
            .get()
            .map_or_else(|| self.live.load(Relaxed), |all| all.len())
    }
}

/// Reads one series into a total whose memory is used again.
fn read<C: Exported>(cells: &C, pass: &mut Pass<'_>, total: &mut C::Total) {
    C::reset(total);
    cells.read(pass, cells.place().slot(), total);
}

/// The chunk of a series, and its place there. In the `o`th eight, chunks have 2^o series.
#[inline]
fn chunk(index: usize) -> (usize, usize) {
    let biased = index + 8;
    let octave = biased.ilog2() as usize - 3;
    let chunk = 8 * octave + (biased >> octave & 7);
    (chunk, biased & ((1 << octave) - 1))
}

impl<C: Exported> Drop for Family<C> {
    fn drop(&mut self) {
        PLACES.give_back(self.place);
        let width = C::width(&self.shape);
        let retired = std::mem::take(&mut self.ended().retired);
        let dense = self.dense.get().map_or(&[][..], |all| all);
        let live = std::iter::once(&self.first)
            .chain(dense.iter().map(|series| &series.cells))
            .chain(self.all().map(|(_, series)| &series.cells))
            .filter_map(|cells| cells.place().slot());
        if width > 0 {
            // Nobody updates any more: handles borrow the family.
            let engine = observe::engine();
            engine.abandon(live.map(|slot| (slot, width, false)));
            engine.abandon(
                retired
                    .iter()
                    .filter_map(|retired| Some((retired.what.slot()?, width, true))),
            );
        }
    }
}

/// Places for the threads' caches, used again when a family is dropped.
struct Places(Mutex<(usize, Vec<usize>)>);

static PLACES: Places = Places(Mutex::new((0, Vec::new())));

impl Places {
    fn take(&self) -> usize {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.1.pop().unwrap_or_else(|| {
            places.0 += 1;
            places.0 - 1
        })
    }

    fn give_back(&self, place: usize) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .push(place);
    }
}

/// A family as a registry sees it.
pub(crate) trait Declared: Send + Sync + std::fmt::Debug {
    /// What it is called.
    fn desc(&self) -> &Desc;
    /// The number of its series.
    fn series(&self) -> usize;
    /// A place for its values.
    fn values(&self) -> Values;
    /// Writes its series.
    fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family);
    /// For `get_or_create`: the family itself.
    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync>;
}

impl<C: Exported> Declared for Family<C> {
    fn desc(&self) -> &Desc {
        &self.desc
    }

    fn series(&self) -> usize {
        self.len()
    }

    fn values(&self) -> Values {
        C::values(&self.desc, &self.shape)
    }

    fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family) {
        self.write(pass, out);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::observe::Tally;

    use super::*;

    fn scraped(family: &Family<Tally<u64>>) -> Vec<(String, f64)> {
        let meta = super::super::list::meta(&family.desc, "", &[]);
        let mut out = snapshot::Family::new(meta, <Tally<u64>>::values(&family.desc, &()));
        family.write(&mut observe::engine().pass(), &mut out);
        out.series()
            .map(|(labels, value)| match value {
                snapshot::Value::Counter(n) => (labels.get("x").unwrap().into_owned(), n.as_f64()),
                _ => unreachable!("a counter"),
            })
            .collect()
    }

    #[test]
    fn a_series_expires_after_its_time_and_not_before() {
        let mut desc = Desc::new("expiry_total", Kind::Counter, Names::Fixed(&["x"]));
        desc.expire_after = Some(Duration::from_secs(60));
        let family = Family::<Tally<u64>>::new(desc);
        let add = |label| {
            let handle = family.with(&[label]);
            observe::thread(|thread| {
                handle
                    .cells
                    .add_cold(observe::engine(), thread, handle.tag, 1, false)
            })
        };
        add("idle");
        add("busy");
        assert_eq!(scraped(&family).len(), 2);
        crate::clock::advance(Duration::from_secs(59));
        add("busy");
        assert_eq!(
            scraped(&family),
            [("idle".into(), 1.0), ("busy".into(), 2.0)]
        );
        crate::clock::advance(Duration::from_secs(2));
        let expected = [("busy".to_owned(), 2.0), ("__overflow__".to_owned(), 1.0)];
        assert_eq!(scraped(&family), expected);
        add("idle");
        assert_eq!(scraped(&family).len(), 3, "it comes back");
    }

    #[test]
    fn chunks_cover_every_index_once() {
        let mut next = (0, 0);
        for index in 0..10_000 {
            let (at, place) = chunk(index);
            assert!(
                (at, place) == next || (at, place) == (next.0 + 1, 0),
                "{index}"
            );
            assert!(place < 1 << (at / 8) && at < CHUNKS);
            next = (at, place + 1);
        }
        assert!(chunk(u32::MAX as usize).0 < CHUNKS + 8);
    }
}
