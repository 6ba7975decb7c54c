//! The scrape of a family: every live series, then the overflow series, into a family of a
//! snapshot.

use std::sync::atomic::Ordering::Relaxed;

use crate::lockfree::{AtomicText, GROUP, Generation, Group, GroupVersion, SeriesKey};
use crate::observe::{self, Pass};
use crate::snapshot::{self, Exemplar, Rewrite, Values};
use crate::sync::prefetch;

use super::pages::{LabelPages, PageBuilder};
use super::quiet::Quiet;
use super::roster::OpenSet;
use super::states::Expanded;
use super::store::{ClosedSeries, OpenSeries, SeriesStore};
use super::{Family, MetricCells, read, total_of};

impl<C: MetricCells> Family<C> {
    /// Writes every series into `out`, which has the shape of this family.
    ///
    /// The label texts are pages that this family and its snapshots share. Only pages whose series
    /// have changed since the last scrape are built again.
    pub(crate) fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family) {
        // Only passes lock this, and passes are serialized.
        let mut scraped = self.scraped.lock().unwrap_or_else(|poisoned| {
            // A scrape that panicked may have left a page half built.
            self.scraped.clear_poison();
            let mut scraped = poisoned.into_inner();
            scraped.pages = LabelPages::default();
            scraped
        });
        scraped.pages.begin(self.version.load(Relaxed));
        let exemplars = ExemplarBuffer {
            all: std::mem::take(&mut out.exemplars),
            len: 0,
        };
        out.begin(self.most_lines());
        let mut output = Output {
            texts: out.texts.rewrite(),
            column: self.column(&mut out.values),
            exemplars,
        };
        self.fold_idle(pass, std::iter::once(self.first()));
        match &self.store {
            SeriesStore::One => self.write_one(pass, &mut scraped, &mut output),
            SeriesStore::Closed(closed) => {
                self.write_closed(closed, pass, &mut scraped, &mut output)
            }
            SeriesStore::Open(open) => {
                self.write_open(open, pass, &mut scraped, &mut output);
                if !pass.reads_own_cells_only() {
                    self.set_of(open).reclaim_retired(pass);
                    self.close_quiet(open, &mut scraped.quiet, pass);
                }
                self.write_overflow(open, pass, &mut scraped, &mut output);
                // Series are removed in passes only, so the list has all that this scrape did not
                // find.
                out.removed = open.roster.retirement().listed.clone();
            }
        }
        output.texts.finish();
        out.exemplars = output.exemplars.finish();
        if !self.desc.states.is_empty() {
            scraped.states.expand(self.desc.states, out);
        }
    }

    /// Prefetches what a scrape reads of this family. It has to follow pointers, so it takes two
    /// steps, and what the first one prefetches has to come from memory before the second one.
    pub(super) fn prefetch(&self, step: Prefetch) {
        let SeriesStore::Open(open) = &self.store else {
            return;
        };
        match step {
            Prefetch::Places => open.arena.prefetch_chunks(),
            Prefetch::Series => {
                open.arena.prefetch_series();
                if let Ok(scraped) = self.scraped.try_lock() {
                    scraped.pages.prefetch();
                }
            }
        }
    }

    /// Returns the column of a snapshot's family, which has the shape of this family.
    fn column<'a>(&self, values: &'a mut Values) -> &'a mut C::Column {
        if C::column(values).is_none() {
            *values = C::values(&self.desc, &self.shape);
        }
        C::column(values).expect("the values are those of these cells")
    }

    /// Returns the number of series that a scrape may write.
    fn most_lines(&self) -> usize {
        match &self.store {
            SeriesStore::One => 1,
            SeriesStore::Closed(_) => self.len(),
            SeriesStore::Open(open) => self.len() + usize::from(open.roster.overflow.may_exist()),
        }
    }

    /// Writes the only series of a family without labels.
    fn write_one(
        &self,
        pass: &mut Pass<'_>,
        scraped: &mut Scraped<C::Total>,
        out: &mut Output<'_, C>,
    ) {
        C::write(&total_of(self.first(), pass), out.column);
        self.write_exemplars(SeriesKey::OVERFLOW, 0, &mut out.exemplars);
        out.texts.put(scraped.pages.first(&self.core));
    }

    /// Writes the combinations of a closed label set.
    fn write_closed(
        &self,
        ClosedSeries { all, .. }: &ClosedSeries<C>,
        pass: &mut Pass<'_>,
        scraped: &mut Scraped<C::Total>,
        out: &mut Output<'_, C>,
    ) {
        let mut total = C::Total::default();
        self.fold_idle(pass, all.series.iter());
        for (i, cells) in all.series.iter().enumerate() {
            read(cells, pass, &mut total);
            C::write(&total, out.column);
            let key = SeriesKey::new(Generation::FIRST, i as u32);
            self.write_exemplars(key, i, &mut out.exemplars);
        }
        out.texts.put(scraped.pages.closed(&all.labels));
    }

    /// Writes the live series of the arena, and retires those that have expired.
    fn write_open(
        &self,
        open: &OpenSeries<C>,
        pass: &mut Pass<'_>,
        scraped: &mut Scraped<C::Total>,
        out: &mut Output<'_, C>,
    ) {
        let Scraped { pages, totals, .. } = scraped;
        let mut builder = PageBuilder::default();
        let mut i = out.texts.len();
        for group in open.arena.groups(open.roster.population.made()) {
            let mut version = group.version();
            if version.live != 0 {
                // Without series that another thread is making.
                version.live &= self.read_group(&group, pass, totals);
                if self.desc.expire_after.is_some() && !pass.reads_own_cells_only() {
                    let set = self.set_of(open);
                    version = Self::expire_group(&set, &group, version, pass, totals);
                }
            }
            if let Some(page) = builder.complete(pages, group.number) {
                out.texts.put(page);
            }
            let bits = builder.group(pages, &group, version);
            if bits == 0 {
                continue;
            }
            let (first, count) = (bits.trailing_zeros() as usize, bits.count_ones() as usize);
            if bits >> first == u64::MAX >> (GROUP - count) {
                C::write_all(&totals[first..first + count], out.column);
            } else {
                each(bits).for_each(|bit| C::write(&totals[bit], out.column));
            }
            if self.made_exemplars().is_some() {
                for (bit, i) in each(bits).zip(i..) {
                    let index = group.index(bit);
                    if let Some(series) = open.series(index as usize) {
                        self.write_exemplars(series.key(index), i, &mut out.exemplars);
                    }
                }
            }
            i += count;
        }
        if let Some(page) = builder.last(pages) {
            out.texts.put(page);
        }
    }

    /// Reads the series of a group into `totals`, at the indexes of their bits. Returns these bits.
    #[inline]
    fn read_group(
        &self,
        group: &Group<'_, C, AtomicText>,
        pass: &mut Pass<'_>,
        totals: &mut Vec<C::Total>,
    ) -> u64 {
        let bits = group.bits();
        totals.resize_with(totals.len().max(bits.end), C::Total::default);
        let totals = &mut totals[bits.clone()];
        let mut slices = group.slices().peekable();
        if let Some((_, slice)) = slices.next_if(|(bits, _)| bits.len() == GROUP) {
            // The series behind these are probably next.
            prefetch(slice.as_ptr_range().end, GROUP);
            self.fold_idle(pass, slice.iter());
            C::read_all(pass, slice.iter(), totals);
            return u64::MAX;
        }
        let (mut found, mut series) = (0, [self.first(); GROUP]);
        for (bits, slice) in slices {
            found |= u64::MAX >> (GROUP - bits.len()) << bits.start;
            series[bits]
                .iter_mut()
                .zip(slice)
                .for_each(|(at, one)| *at = one);
        }
        // Where a chunk is missing, this reads the first series, and nobody asks for its total.
        let series = series[bits].iter().copied();
        self.fold_idle(pass, series.clone());
        C::read_all(pass, series, totals);
        found
    }

    /// Retires the live series of a group that have expired. Returns the version afterwards,
    /// without series that have become live since.
    fn expire_group(
        set: &OpenSet<'_>,
        group: &Group<'_, C, AtomicText>,
        version: GroupVersion,
        pass: &mut Pass<'_>,
        totals: &[C::Total],
    ) -> GroupVersion {
        for bit in each(version.live) {
            let (index, total) = (group.index(bit), &totals[bit]);
            if set.is_unchanged(index, C::fingerprint(total)) && C::may_expire(total) {
                set.expire(pass, index);
            }
        }
        let now = group.version();
        GroupVersion {
            live: now.live & version.live,
            ..now
        }
    }

    /// Writes the overflow series, if the family has one.
    fn write_overflow(
        &self,
        open: &OpenSeries<C>,
        pass: &mut Pass<'_>,
        scraped: &mut Scraped<C::Total>,
        out: &mut Output<'_, C>,
    ) {
        let overflow = &open.roster.overflow;
        if !overflow.may_exist() {
            return;
        }
        let mut total = self.read_overflow(open, pass);
        let baseline = open.baseline();
        if let Some(baseline) = &*baseline {
            let is_unchanged = C::fingerprint(&total) == C::fingerprint(baseline);
            if is_unchanged && !overflow.exists() {
                return;
            }
            C::subtract(&mut total, baseline);
        }
        // A handle that was made before `clear` counts without a look-up.
        overflow.begin();
        drop(baseline);
        C::write(&total, out.column);
        self.write_exemplars(SeriesKey::OVERFLOW, out.texts.len(), &mut out.exemplars);
        out.texts.put(scraped.pages.first(&self.core));
    }

    /// Moves the counts that these series have in idle shards to their cold cells.
    #[inline]
    pub(super) fn fold_idle<'a>(&self, pass: &mut Pass<'_>, series: impl Iterator<Item = &'a C>) {
        if pass.has_idle() {
            series.for_each(|series| observe::fold_idle(pass, &self.shape, series));
        }
    }

    /// Writes the exemplars of a series, which is number `position` of the snapshot.
    #[inline]
    fn write_exemplars(&self, key: SeriesKey, position: usize, out: &mut ExemplarBuffer) {
        if let Some(exemplars) = self.made_exemplars() {
            exemplars.read(key, |bucket, exemplar| {
                out.push(position as u32, bucket, exemplar);
            });
        }
    }
}

/// A step of [`Family::prefetch`].
#[derive(Clone, Copy)]
pub(crate) enum Prefetch {
    /// Where the series are.
    Places,
    Series,
}

/// The label pages, the quiet series, the states and the buffer that a scrape keeps for the next
/// one.
#[derive(Default)]
pub(super) struct Scraped<T> {
    pages: LabelPages,
    quiet: Quiet,
    states: Expanded,
    /// A buffer.
    totals: Vec<T>,
}

/// The parts of a snapshot's family that a scrape writes.
struct Output<'a, C: MetricCells> {
    texts: Rewrite<'a>,
    column: &'a mut C::Column,
    exemplars: ExemplarBuffer,
}

/// Iterates over the bits that are set, in ascending order.
fn each(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (bit < GROUP).then_some(bit)
    })
}

/// The exemplars of a snapshot's family. They overwrite those of the last scrape and reuse their
/// memory.
struct ExemplarBuffer {
    all: Vec<(u32, u32, Exemplar)>,
    len: usize,
}

impl ExemplarBuffer {
    /// Appends the exemplar of a bucket of series number `position`.
    fn push(&mut self, position: u32, bucket: u32, exemplar: &Exemplar) {
        match self.all.get_mut(self.len) {
            Some(old) => {
                (old.0, old.1) = (position, bucket);
                old.2.labels.clone_from(&exemplar.labels);
                (old.2.value, old.2.time) = (exemplar.value, exemplar.time);
            }
            None => self.all.push((position, bucket, exemplar.clone())),
        }
        self.len += 1;
    }

    /// Returns the exemplars, without those of the last scrape that were not overwritten.
    fn finish(mut self) -> Vec<(u32, u32, Exemplar)> {
        self.all.truncate(self.len);
        self.all
    }
}
