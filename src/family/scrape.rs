//! The scrape of a family: every live series, then the overflow series, into a family of a
//! snapshot.

use std::sync::atomic::Ordering::Relaxed;

use crate::lockfree::{BATCH, Generation, OVERFLOW, SeriesKey, prefetch};
use crate::observe::{self, Pass};
use crate::snapshot::{self, Exemplar};

use super::{Family, MetricCells, Series, read};

impl<C: MetricCells> Family<C> {
    /// Writes every series into `out`, which has the shape of this family.
    ///
    /// Label texts that `out` has from the last scrape are reused, unless the set of series has
    /// changed since.
    pub(crate) fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family) {
        let version = self.version.load(Relaxed);
        let mut exemplars = ExemplarBuffer::from(std::mem::take(&mut out.exemplars));
        out.begin((self.arena.id(), version));
        self.fold_idle(pass, std::iter::once(&self.first));
        if self.is_unlabelled() && self.closed.get().is_none() {
            self.write_unlabelled(pass, out, &mut exemplars);
        } else {
            if let Some(all) = self.closed.get() {
                self.write_closed(all, pass, out, &mut exemplars);
            }
            let closed = out.len();
            let written = self.write_open(closed, pass, out, &mut exemplars);
            if !pass.reads_own_cells_only() {
                self.reclaim_retired(pass);
            }
            let written = written + self.write_overflow(written, pass, out, &mut exemplars);
            out.texts.truncate(written);
        }
        out.exemplars = exemplars.finish();
    }

    /// Writes the only series of a family without labels.
    fn write_unlabelled(
        &self,
        pass: &mut Pass<'_>,
        out: &mut snapshot::Family,
        exemplars: &mut ExemplarBuffer,
    ) {
        let mut total = C::Total::default();
        read(&self.first, pass, &mut total);
        out.texts.put(0, 0, |_| self.created.load(Relaxed));
        C::write(&total, &mut out.values);
        self.write_exemplars(SeriesKey::OVERFLOW, 0, exemplars);
    }

    /// Writes the combinations of a closed label set.
    fn write_closed(
        &self,
        all: &[Series<C>],
        pass: &mut Pass<'_>,
        out: &mut snapshot::Family,
        exemplars: &mut ExemplarBuffer,
    ) {
        let mut total = C::Total::default();
        self.fold_idle(pass, all.iter().map(|series| &series.cells));
        for (i, series) in all.iter().enumerate() {
            read(&series.cells, pass, &mut total);
            out.texts.put(i, i as u32, |out| series.copy_text(out));
            C::write(&total, &mut out.values);
            let key = SeriesKey::new(Generation::FIRST, i as u32);
            self.write_exemplars(key, i, exemplars);
        }
    }

    /// Writes the live series after the first `i` of `out`, and retires those that have expired.
    /// Returns the number of series in `out` afterwards.
    fn write_open(
        &self,
        mut i: usize,
        pass: &mut Pass<'_>,
        out: &mut snapshot::Family,
        exemplars: &mut ExemplarBuffer,
    ) -> usize {
        let made = self.population.made();
        let mut totals = std::mem::take(&mut self.retirement().totals);
        totals.resize_with(BATCH.min(made), C::Total::default);
        for (first, chunk) in self.arena.chunks(made) {
            // Chunks without a live series are skipped, and below so are batches.
            if !chunk.has_live() {
                continue;
            }
            for (first, batch, has_live) in chunk.batches(first) {
                if !has_live {
                    continue;
                }
                prefetch(batch.as_ptr_range().end, BATCH);
                self.fold_idle(pass, batch.iter().map(|series| &series.cells));
                C::read_all(pass, batch.iter().map(|series| &series.cells), &mut totals);
                let totals = &totals[..batch.len()];
                if self.desc.expire_after.is_none() && out.texts.has(i, first, batch.len()) {
                    // No series was removed, retired or reused since the last scrape, because `out`
                    // has texts of this version. So all these series are still live.
                    C::write_all(totals, &mut out.values);
                    if self.exemplars.get().is_some() {
                        for ((index, position), series) in (first..).zip(i..).zip(batch) {
                            self.write_exemplars(series.key(index), position, exemplars);
                        }
                    }
                    i += batch.len();
                    continue;
                }
                for ((index, series), total) in (first..).zip(batch).zip(totals) {
                    if !series.is_live()
                        || !pass.reads_own_cells_only()
                            && self.has_expired(index, total)
                            && self.expire(pass, index)
                    {
                        continue;
                    }
                    out.texts.put(i, index, |out| series.copy_text(out));
                    C::write(total, &mut out.values);
                    self.write_exemplars(series.key(index), i, exemplars);
                    i += 1;
                }
            }
        }
        self.retirement().totals = totals;
        i
    }

    /// Writes the overflow series as number `i`, if the family has one. Returns the number of
    /// series written.
    fn write_overflow(
        &self,
        i: usize,
        pass: &mut Pass<'_>,
        out: &mut snapshot::Family,
        exemplars: &mut ExemplarBuffer,
    ) -> usize {
        let is_cleared = self.is_cleared.load(Relaxed);
        if !self.overflowed.load(Relaxed) && !is_cleared {
            return 0;
        }
        let mut overflow = self.read_overflow(pass);
        let mut retirement = self.retirement();
        if let Some(baseline) = &retirement.cleared {
            let is_unchanged = C::fingerprint(&overflow) == C::fingerprint(baseline);
            if is_unchanged && !self.overflowed.load(Relaxed) {
                return 0;
            }
            C::subtract(&mut overflow, baseline);
        }
        // A handle that was made before `clear` counts without a look-up.
        self.overflowed.store(true, Relaxed);
        if let Some(sum) = C::float_sum(&mut overflow) {
            retirement.without_rounding_back(sum);
        }
        drop(retirement);
        out.texts.put(i, OVERFLOW, |text| {
            text.push_str(&self.overflow_text());
            self.created.load(Relaxed)
        });
        C::write(&overflow, &mut out.values);
        self.write_exemplars(SeriesKey::OVERFLOW, i, exemplars);
        1
    }

    /// Moves the counts that these series have in idle shards to their shared cells.
    #[inline]
    fn fold_idle<'a>(&self, pass: &mut Pass<'_>, series: impl Iterator<Item = &'a C>) {
        if pass.has_idle() {
            series.for_each(|series| observe::fold_idle(pass, &self.shape, series));
        }
    }

    /// Writes the exemplars of a series, which is number `position` of the snapshot.
    #[inline]
    fn write_exemplars(&self, key: SeriesKey, position: usize, out: &mut ExemplarBuffer) {
        if let Some(exemplars) = self.exemplars.get() {
            exemplars.read(key, |bucket, exemplar| {
                out.push(position as u32, bucket, exemplar);
            });
        }
    }
}

/// The exemplars of a snapshot's family. They overwrite those of the last scrape and reuse their
/// memory.
struct ExemplarBuffer {
    all: Vec<(u32, u32, Exemplar)>,
    len: usize,
}

impl From<Vec<(u32, u32, Exemplar)>> for ExemplarBuffer {
    fn from(all: Vec<(u32, u32, Exemplar)>) -> Self {
        Self { all, len: 0 }
    }
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
