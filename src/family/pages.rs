//! The label pages of a family, which its snapshots share. A scrape builds a page again if its series
//! have changed.
//!
//! Series are removed and retired in passes only, and a scrape is part of a pass. So while a scrape
//! builds a page, series can become live, and none can be removed or get another label set.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::lockfree::{ArenaPage, PageVersion};
use crate::snapshot::Page;

use super::{Family, MetricCells, Series};

/// What a scrape leaves for the next one.
#[derive(Debug)]
pub(super) struct Scraped<T> {
    /// The family's version when these pages were built.
    version: u64,
    /// The series without labels, or the overflow series.
    first: Option<Arc<Page>>,
    /// The combinations of a closed label set.
    closed: Option<Arc<Page>>,
    /// The pages of the arena, by their numbers.
    open: Vec<OpenPage>,
    /// A buffer.
    pub(super) totals: Vec<T>,
}

/// The texts of a page of the arena.
#[derive(Debug, Default)]
struct OpenPage {
    /// The version of the series that the page has.
    version: PageVersion,
    /// `None` if there are none.
    page: Option<Arc<Page>>,
}

impl<T> Default for Scraped<T> {
    fn default() -> Self {
        Self {
            version: 0,
            first: None,
            closed: None,
            open: Vec::new(),
            totals: Vec::new(),
        }
    }
}

impl<T> Scraped<T> {
    /// Drops all pages if they were built for another version of the family.
    pub(super) fn begin(&mut self, version: u64) {
        if self.version != version {
            self.version = version;
            (self.first, self.closed) = (None, None);
            self.open.clear();
        }
    }

    /// Returns the page of the series without labels, or of the overflow series.
    pub(super) fn first<C: MetricCells>(&mut self, family: &Family<C>) -> &Arc<Page> {
        self.first.get_or_insert_with(|| {
            let mut page = Page::default();
            page.push(&family.overflow_text(), family.created.load(Relaxed));
            page.seal()
        })
    }

    /// Returns the page of the combinations of a closed label set.
    pub(super) fn closed<C>(&mut self, all: &[Series<C>]) -> &Arc<Page>
    where
        C: MetricCells,
    {
        self.closed.get_or_insert_with(|| {
            let mut page = Page::default();
            all.iter()
                .for_each(|series| _ = series.copy_text(&mut page));
            page.seal()
        })
    }

    /// Returns the label page of a page of the arena with the bits of the series that it has: those
    /// of `version.live`, without series whose texts this thread does not see yet. `scratch` is a
    /// buffer.
    #[inline]
    pub(super) fn open<C: MetricCells>(
        &mut self,
        page: &ArenaPage<'_, Series<C>>,
        version: PageVersion,
        scratch: &mut Page,
    ) -> Option<(u64, &Arc<Page>)> {
        if self.open.len() <= page.number {
            self.open.resize_with(page.number + 1, OpenPage::default);
        }
        let open = &mut self.open[page.number];
        if open.version != version {
            open.build(page, version, scratch);
        }
        Some((open.version.live, open.page.as_ref()?))
    }
}

impl OpenPage {
    #[cold]
    fn build<C: MetricCells>(
        &mut self,
        page: &ArenaPage<'_, Series<C>>,
        version: PageVersion,
        scratch: &mut Page,
    ) {
        scratch.clear();
        self.version = PageVersion { live: 0, ..version };
        for (first, slice) in page.slices() {
            for (bit, series) in (first..).zip(slice) {
                if version.live >> bit & 1 == 1 && series.copy_text(scratch) {
                    self.version.live |= 1 << bit;
                }
            }
        }
        self.page = (scratch.len() > 0).then(|| scratch.seal());
    }
}
