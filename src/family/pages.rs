//! The label pages of a family, which its snapshots share. A scrape builds a page again if its
//! series have changed.
//!
//! A page has the texts of several groups of the arena. Series are removed and retired in passes
//! only, and a scrape is part of a pass. So while a scrape builds a page, series can become live,
//! and none can be removed or get another label set.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::lockfree::{AtomicText, GROUP, Group, GroupVersion, SKIPPED};
use crate::snapshot::{PAGE, Page};
use crate::sync::prefetch;

use super::{Core, MetricCells};

/// The number of groups on a page.
const GROUPS: usize = PAGE / GROUP;

// The arena skips whole pages.
const _: () = assert!(SKIPPED % PAGE == 0);

/// The label pages of a family. Read and written by scrapes.
#[derive(Debug, Default)]
pub(super) struct LabelPages {
    /// The family's version when the pages were built.
    version: u64,
    /// The series without labels, or the overflow series.
    first: Option<Arc<Page>>,
    /// The combinations of a closed label set.
    closed: Option<Arc<Page>>,
    /// For each group of the arena, the version that its page has, or had: a removal changes it.
    groups: Vec<GroupVersion>,
    /// The pages of the groups; `None` where there are no live series.
    open: Vec<Option<Arc<Page>>>,
}

impl LabelPages {
    /// Drops all pages if they were built for another version of the family.
    pub(super) fn begin(&mut self, version: u64) {
        if self.version != version {
            *self = Self::default();
            self.version = version;
        }
    }

    /// Prefetches what a scrape reads of the first groups.
    pub(super) fn prefetch(&self) {
        prefetch(self.groups.as_ptr(), 1);
        prefetch(self.open.as_ptr(), 1);
    }

    /// Returns the page of the series without labels, or of the overflow series.
    pub(super) fn first(&mut self, family: &Core) -> &Arc<Page> {
        self.first.get_or_insert_with(|| {
            let mut page = Page::default();
            let created = family.created.load(Relaxed);
            page.push(&family.desc.overflow_text(), created);
            page.seal()
        })
    }

    /// Returns the page of the combinations of a closed label set.
    pub(super) fn closed(&mut self, labels: &[AtomicText]) -> &Arc<Page> {
        self.closed.get_or_insert_with(|| {
            let mut page = Page::default();
            for label in labels {
                copy_text(label, &mut page);
            }
            page.seal()
        })
    }
}

/// Appends the label text of a series to `page`. Returns `false` if the series has none.
fn copy_text(label: &AtomicText, page: &mut Page) -> bool {
    label.get(|text| {
        if let Some((text, created)) = text {
            page.push(text, created);
        }
        text.is_some()
    })
}

/// Walks over the pages of the arena, and builds those again that have changed.
#[derive(Debug, Default)]
pub(super) struct PageBuilder {
    /// The number of the page.
    page: usize,
    /// The number of series on the page as it was, in the groups so far.
    old: usize,
    /// Whether one of these groups has changed. Then `fresh` has the texts of all of them.
    changed: bool,
    fresh: Page,
}

impl PageBuilder {
    /// Returns the page before that of `group`, if it is complete. The caller passes the groups in
    /// their order, and calls this before [`group`](Self::group).
    #[inline]
    pub(super) fn complete<'p>(
        &mut self,
        pages: &'p mut LabelPages,
        group: usize,
    ) -> Option<&'p Arc<Page>> {
        if group / GROUPS == self.page {
            return None;
        }
        self.finish(pages, group / GROUPS)
    }

    /// Adds a group to the page. Returns the bits of the series that the page has: those of
    /// `version.live`, without series whose texts this thread does not see yet.
    #[inline]
    pub(super) fn group<C: MetricCells>(
        &mut self,
        pages: &mut LabelPages,
        group: &Group<'_, C, AtomicText>,
        version: GroupVersion,
    ) -> u64 {
        if pages.groups.len() <= group.number {
            let groups = group.number + 1;
            pages.groups.resize(groups, GroupVersion::default());
            pages.open.resize(self.page + 1, None);
        }
        let old = &mut pages.groups[group.number];
        let from = self.old;
        self.old += old.live.count_ones() as usize;
        if *old != version || self.changed {
            let page = pages.open[self.page].as_deref();
            self.build(page, from, &mut group.labels(), old, version);
        }
        old.live
    }

    /// Appends the texts of a group, whose labels these are, to the fresh page, and sets `old` to
    /// the version that the page then has.
    #[cold]
    fn build(
        &mut self,
        page: Option<&Page>,
        from: usize,
        labels: &mut dyn Iterator<Item = (Range<usize>, &[AtomicText])>,
        old: &mut GroupVersion,
        version: GroupVersion,
    ) {
        if !self.changed {
            self.changed = true;
            self.fresh.clear();
            page.into_iter()
                .for_each(|page| self.fresh.append(page, 0..from));
        }
        if *old == version {
            page.into_iter()
                .for_each(|page| self.fresh.append(page, from..self.old));
            return;
        }
        *old = GroupVersion { live: 0, ..version };
        for (bits, labels) in labels {
            for (bit, label) in bits.zip(labels) {
                if version.live >> bit & 1 == 1 && copy_text(label, &mut self.fresh) {
                    old.live |= 1 << bit;
                }
            }
        }
    }

    /// Returns the last page.
    pub(super) fn last<'p>(&mut self, pages: &'p mut LabelPages) -> Option<&'p Arc<Page>> {
        pages.open.truncate(self.page + 1);
        pages.groups.truncate((self.page + 1) * GROUPS);
        self.finish(pages, 0)
    }

    /// Ends a page, and begins page `next`. Drops the pages between them, which have no live
    /// series.
    fn finish<'p>(&mut self, pages: &'p mut LabelPages, next: usize) -> Option<&'p Arc<Page>> {
        let skipped = pages.open.iter_mut().take(next).skip(self.page + 1);
        skipped.for_each(|page| *page = None);
        let page = pages.open.get_mut(self.page)?;
        if std::mem::take(&mut self.changed) {
            *page = (self.fresh.len() > 0).then(|| self.fresh.seal());
        }
        (self.page, self.old) = (next, 0);
        page.as_ref()
    }
}
