//! The label texts of a family, in pages that snapshots share.
//!
//! A [`Page`] has the texts of up to [`PAGE`] series. A page never changes while several owners
//! share it: a family keeps its pages from scrape to scrape, and each snapshot refers to them. So a
//! snapshot copies a reference for each page, and the page itself only before it changes it. A page
//! lives as long as the last snapshot that refers to it.

use std::ops::Range;
use std::sync::Arc;

use crate::sync::prefetch;

use super::labels::parts;
use super::names::is_label_name;

/// The number of series on a page, except in a closed label set, which has one page. A larger page
/// is read faster: the processor prefetches memory that is contiguous. A smaller one costs less to
/// build again.
pub(crate) const PAGE: usize = 1024;

/// The number of bytes behind the last text of a sealed page: the size of the largest fixed copy of
/// an encoder.
const PADDING: usize = 64;

/// The label texts of one page, concatenated in one string. See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    text: String,
    /// See [`LabelEntry::cuts`]. They are computed once, so that a format with another syntax need
    /// not search each label text for quotes in every scrape.
    cuts: Vec<u8>,
    /// For each series, the end of its data.
    ends: Vec<End>,
}

/// The end of the data of one series on a [`Page`].
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// The end of its label text in `text`.
    text: usize,
    /// The end of its cuts in `cuts`.
    cuts: usize,
    /// See [`LabelEntry::created`].
    created: u64,
}

/// The data of one series on a [`Page`].
pub(crate) struct LabelEntry<'a> {
    /// The label text, followed by other bytes. A reader may thus copy blocks of a fixed size.
    pub(crate) text: &'a [u8],
    /// The length of the label text in bytes.
    pub(crate) len: usize,
    /// For each label, the lengths of its name and of its value in the text. Empty if any label has
    /// a quoted name or an escaped value, or is long. Name, value and four more bytes together take
    /// less than 128 bytes.
    pub(crate) cuts: &'a [u8],
    /// The time since when the series counts, in milliseconds since the Unix epoch; 0 if unknown.
    pub(crate) created: u64,
}

/// Appends the [`LabelEntry::cuts`] of a label text.
fn cut(text: &str, cuts: &mut Vec<u8>) {
    let from = cuts.len();
    for (name, value) in parts(text) {
        let len = name.len() + value.len() + 4;
        if len > 127 || value.contains('\\') || !is_label_name(name.as_bytes()) {
            cuts.truncate(from);
            return;
        }
        cuts.extend([name.len() as u8, value.len() as u8]);
    }
}

impl Page {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the end of the data of the series before index `i`.
    #[inline(always)]
    fn end_before(&self, i: usize) -> End {
        i.checked_sub(1)
            .map_or(End::default(), |last| self.ends[last])
    }

    /// Returns the length of all texts together, in bytes.
    fn text_len(&self) -> usize {
        self.end_before(self.len()).text
    }

    fn get(&self, i: usize) -> &str {
        &self.text[self.end_before(i).text..self.ends[i].text]
    }

    /// Returns the label text of series `i` and its [`LabelEntry::cuts`].
    fn get_cut(&self, i: usize) -> (&str, &[u8]) {
        let (from, to) = (self.end_before(i), self.ends[i]);
        let text = &self.text[from.text..to.text];
        (text, &self.cuts[from.cuts..to.cuts])
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Iterates over the entries of the series from index `from` on.
    #[inline(always)]
    pub(crate) fn entries_from(&self, from: usize) -> impl Iterator<Item = LabelEntry<'_>> {
        let mut start = self.end_before(from);
        self.ends[from..].iter().map(move |end| {
            let entry = LabelEntry {
                text: &self.text.as_bytes()[start.text..],
                len: end.text - start.text,
                // This cannot panic, so the compiler removes it where the cuts are not used.
                cuts: self.cuts.get(start.cuts..end.cuts).unwrap_or_default(),
                created: end.created,
            };
            start = *end;
            entry
        })
    }

    /// Appends a series with this label text and [`LabelEntry::created`].
    pub(crate) fn push(&mut self, text: &str, created: u64) {
        // Without the padding.
        self.text.truncate(self.text_len());
        self.text.push_str(text);
        cut(text, &mut self.cuts);
        self.ends.push(End {
            text: self.text.len(),
            cuts: self.cuts.len(),
            created,
        });
    }

    /// Appends some series of another page.
    pub(crate) fn append(&mut self, other: &Self, series: Range<usize>) {
        let (from, to) = (other.end_before(series.start), other.end_before(series.end));
        let at = self.end_before(self.len());
        self.text.truncate(at.text);
        self.text.push_str(&other.text[from.text..to.text]);
        self.cuts.extend_from_slice(&other.cuts[from.cuts..to.cuts]);
        self.ends.extend(other.ends[series].iter().map(|end| End {
            text: end.text - from.text + at.text,
            cuts: end.cuts - from.cuts + at.cuts,
            created: end.created,
        }));
    }

    /// Removes all series, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.cuts.clear();
        self.ends.clear();
    }

    /// Returns a copy of this page to share: without spare capacity, and with padding.
    pub(crate) fn seal(&self) -> Arc<Self> {
        let len = self.text_len();
        // Nobody copies an empty text.
        let padding = if len == 0 { 0 } else { PADDING };
        let mut text = String::with_capacity(len + padding);
        text.push_str(&self.text[..len]);
        text.extend(std::iter::repeat_n('\0', padding));
        Arc::new(Self {
            text,
            cuts: self.cuts.clone(),
            ends: self.ends.clone(),
        })
    }
}

/// The label texts of one family in a snapshot. See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelTexts {
    pages: Vec<PlacedPage>,
    /// A series that counted before this time counts since this time, in milliseconds since the
    /// Unix epoch. Set in an interval, so that it shares the pages of the later snapshot.
    since: u64,
}

/// A page, and the indexes of its series.
#[derive(Clone, Debug)]
struct PlacedPage {
    page: Arc<Page>,
    series: Range<usize>,
}

impl LabelTexts {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| last.series.end)
    }

    /// Prefetches the references to the pages.
    pub(super) fn prefetch(&self) {
        prefetch(self.pages.as_ptr(), 1);
    }

    /// Returns the length of all texts together, in bytes.
    pub(crate) fn len_of_text(&self) -> usize {
        self.pages.iter().map(|placed| placed.page.text_len()).sum()
    }

    /// Returns the number of the page of series `i`, and its index on that page.
    fn locate(&self, i: usize) -> (usize, usize) {
        let page = self.pages.partition_point(|placed| placed.series.end <= i);
        let placed = self.pages.get(page);
        (page, i - placed.map_or(i, |placed| placed.series.start))
    }

    pub(crate) fn get(&self, i: usize) -> &str {
        let (page, at) = self.locate(i);
        self.pages[page].page.get(at)
    }

    /// Returns the label text of series `i` and its [`LabelEntry::cuts`].
    pub(super) fn get_cut(&self, i: usize) -> (&str, &[u8]) {
        let (page, at) = self.locate(i);
        self.pages[page].page.get_cut(at)
    }

    /// Returns [`LabelEntry::created`] of series `i`.
    pub(crate) fn created(&self, i: usize) -> u64 {
        let (page, at) = self.locate(i);
        self.pages[page].page.ends[at].created.max(self.since)
    }

    /// Iterates over the texts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.pages.iter().flat_map(|placed| placed.page.texts())
    }

    /// Iterates over the texts and their [`LabelEntry::cuts`].
    pub(super) fn all_cut(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let pages = self.pages.iter().map(|placed| &*placed.page);
        pages.flat_map(|page| (0..page.len()).map(|i| page.get_cut(i)))
    }

    /// Iterates over the texts and the values of [`LabelEntry::created`].
    pub(super) fn with_created(&self) -> impl Iterator<Item = (&str, u64)> {
        self.iter().zip(self.all_created())
    }

    /// Iterates over the values of [`LabelEntry::created`].
    pub(crate) fn all_created(&self) -> impl Iterator<Item = u64> {
        let ends = self.pages.iter().flat_map(|placed| &placed.page.ends);
        ends.map(|end| end.created.max(self.since))
    }

    /// Returns for each index that both have whether the texts there are equal.
    pub(crate) fn same(&self, other: &Self) -> Vec<bool> {
        let mut same = Vec::with_capacity(self.len().min(other.len()));
        for (ours, theirs) in self.pages.iter().zip(&other.pages) {
            if ours.series != theirs.series {
                break;
            }
            if Arc::ptr_eq(&ours.page, &theirs.page) {
                same.resize(ours.series.end, true);
            } else {
                let texts = ours.page.texts().zip(theirs.page.texts());
                same.extend(texts.map(|(a, b)| a == b));
            }
        }
        let rest = same.len();
        let rest = self.iter().skip(rest).zip(other.iter().skip(rest));
        same.extend(rest.map(|(a, b)| a == b));
        same
    }

    /// Returns whether all pages are shared with `other`.
    pub(crate) fn has_same_pages(&self, other: &Self) -> bool {
        let mut pages = self.pages.iter().zip(&other.pages);
        self.pages.len() == other.pages.len() && pages.all(|(a, b)| Arc::ptr_eq(&a.page, &b.page))
    }

    /// Iterates over the pages from series `from` on, each with the index on the page of the first
    /// series wanted. Their entries have to be counted from [`since`](Self::since) on.
    #[inline]
    pub(crate) fn pages_from(&self, from: usize) -> impl Iterator<Item = (&Page, usize)> {
        let (first, at) = self.locate(from);
        let pages = self.pages.get(first..).unwrap_or_default().iter();
        pages
            .enumerate()
            .map(move |(n, placed)| (&*placed.page, if n == 0 { at } else { 0 }))
    }

    /// Returns the earliest [`LabelEntry::created`] of all series.
    #[inline]
    pub(crate) fn since(&self) -> u64 {
        self.since
    }

    /// Begins to write the texts again.
    pub(crate) fn rewrite(&mut self) -> Rewrite<'_> {
        self.since = 0;
        Rewrite {
            texts: self,
            pages: 0,
            len: 0,
        }
    }

    /// Appends a series with this label text and [`LabelEntry::created`].
    pub(crate) fn push(&mut self, text: &str, created: u64) {
        if created < self.since {
            self.apply_since();
        }
        let last = self.pages.last_mut();
        let last = last.and_then(|placed| Arc::get_mut(&mut placed.page));
        if last.is_none_or(|page| page.len() >= PAGE) {
            let (page, series) = (Arc::default(), self.len()..self.len());
            self.pages.push(PlacedPage { page, series });
        }
        if let Some(last) = self.pages.last_mut() {
            Arc::make_mut(&mut last.page).push(text, created);
            last.series.end += 1;
        }
    }

    /// Returns the same series with other texts.
    pub(super) fn relabelled(&self, text: &dyn Fn(&str) -> String) -> Self {
        let mut texts = Self::default();
        for (own, created) in self.with_created() {
            texts.push(&text(own), created);
        }
        texts
    }

    /// Sets [`LabelEntry::created`] of series `i`.
    pub(crate) fn set_created(&mut self, i: usize, created: u64) {
        if created == self.created(i) {
            return;
        }
        if created < self.since {
            self.apply_since();
        }
        let (page, at) = self.locate(i);
        Arc::make_mut(&mut self.pages[page].page).ends[at].created = created;
    }

    /// Sets [`LabelEntry::created`] of every series that counted before `time` to `time`.
    pub(super) fn raise_created(&mut self, time: u64) {
        self.since = self.since.max(time);
    }

    /// Moves `since` into the pages.
    fn apply_since(&mut self) {
        let since = std::mem::take(&mut self.since);
        for placed in &mut self.pages {
            let ends = Arc::make_mut(&mut placed.page).ends.iter_mut();
            ends.for_each(|end| end.created = end.created.max(since));
        }
    }

    /// Returns the memory of the texts, including that of shared pages, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let page = size_of::<Page>() + size_of::<PlacedPage>() + PADDING;
        self.len_of_text() + self.pages.len() * page + self.len() * size_of::<End>()
    }
}

/// Writes the texts of a family page by page. Pages that are there already cost a comparison.
#[derive(Debug)]
pub(crate) struct Rewrite<'a> {
    texts: &'a mut LabelTexts,
    /// The number of pages written.
    pages: usize,
    /// The number of series on them.
    len: usize,
}

impl Rewrite<'_> {
    /// Returns the number of series written.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends a page.
    #[inline]
    pub(crate) fn put(&mut self, page: &Arc<Page>) {
        let (start, old) = (self.len, self.texts.pages.get_mut(self.pages));
        match old {
            Some(old) if Arc::ptr_eq(&old.page, page) => {
                // The page itself is not read: it is in no cache.
                self.len += old.series.len();
                old.series = start..self.len;
            }
            old => {
                self.len += page.len();
                let (page, series) = (Arc::clone(page), start..self.len);
                let placed = PlacedPage { page, series };
                match old {
                    Some(old) => *old = placed,
                    None => self.texts.pages.push(placed),
                }
            }
        }
        self.pages += 1;
    }

    /// Drops the pages that were not written again.
    pub(crate) fn finish(self) {
        self.texts.pages.truncate(self.pages);
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::text;
    use super::*;

    fn page(texts: &[&str]) -> Arc<Page> {
        let mut page = Page::default();
        texts.iter().for_each(|text| page.push(text, 7));
        page.seal()
    }

    fn rewrite(texts: &mut LabelTexts, pages: &[&Arc<Page>]) {
        let mut writer = texts.rewrite();
        pages.iter().for_each(|page| writer.put(page));
        assert_eq!(
            writer.len(),
            pages.iter().map(|page| page.len()).sum::<usize>()
        );
        writer.finish();
    }

    fn all(texts: &LabelTexts) -> Vec<&str> {
        let all: Vec<_> = texts.iter().collect();
        let by_index: Vec<_> = (0..texts.len()).map(|i| texts.get(i)).collect();
        assert_eq!(all, by_index);
        assert_eq!(texts.len_of_text(), all.concat().len());
        all
    }

    #[test]
    fn pages_are_replaced_added_and_dropped() {
        let [one, two, three] = [page(&["a", "b"]), page(&["c"]), page(&["", "dd"])];
        let mut texts = LabelTexts::default();
        rewrite(&mut texts, &[&one, &two]);
        assert_eq!(all(&texts), ["a", "b", "c"]);
        let other = texts.clone();
        rewrite(&mut texts, &[&three, &two, &one]);
        assert_eq!(all(&texts), ["", "dd", "c", "a", "b"]);
        rewrite(&mut texts, &[&one]);
        assert_eq!(all(&texts), ["a", "b"]);
        rewrite(&mut texts, &[&two, &three]);
        assert_eq!(all(&texts), ["c", "", "dd"]);
        rewrite(&mut texts, &[]);
        assert_eq!(all(&texts), [""; 0]);
        assert_eq!(all(&other), ["a", "b", "c"]);
    }

    #[test]
    fn a_shared_page_does_not_change() {
        let shared = page(&["a", "b"]);
        let mut texts = LabelTexts::default();
        rewrite(&mut texts, &[&shared]);
        texts.push("c", 9);
        let mut other = texts.clone();
        other.push("d", 0);
        texts.set_created(1, 3);
        texts.set_created(2, 4);
        assert_eq!(
            (all(&texts), all(&other)),
            (vec!["a", "b", "c"], vec!["a", "b", "c", "d"])
        );
        let created =
            |texts: &LabelTexts| texts.with_created().map(|(_, at)| at).collect::<Vec<_>>();
        assert_eq!(
            (created(&texts), created(&other)),
            (vec![7, 3, 4], vec![7, 7, 9, 0])
        );
        assert_eq!((texts.created(1), other.created(2)), (3, 9));
        assert!(shared.ends.iter().all(|end| end.created == 7));
        // Written again, the shared page takes the place of the changed one.
        rewrite(&mut texts, &[&shared]);
        assert_eq!(created(&texts), [7, 7]);
    }

    #[test]
    fn an_interval_counts_since_its_beginning() {
        let shared = page(&["a", "b"]);
        let mut texts = LabelTexts::default();
        rewrite(&mut texts, &[&shared]);
        texts.push("c", 20);
        let created =
            |texts: &LabelTexts| texts.with_created().map(|(_, at)| at).collect::<Vec<_>>();
        texts.raise_created(9);
        texts.raise_created(8);
        texts.push("d", 10);
        assert_eq!(created(&texts), [9, 9, 20, 10]);
        let before = texts.clone();
        texts.set_created(0, 3);
        assert_eq!(created(&texts), [3, 9, 20, 10]);
        texts.push("e", 0);
        assert_eq!(created(&texts), [3, 9, 20, 10, 0]);
        assert_eq!(
            (created(&before), before.created(1)),
            (vec![9, 9, 20, 10], 9)
        );
        texts.raise_created(9);
        rewrite(&mut texts, &[&shared]);
        assert_eq!(created(&texts), [7, 7]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of texts in safe code")]
    fn pages_have_a_limit() {
        let mut texts = LabelTexts::default();
        let names: Vec<_> = (0..5000).map(|i| i.to_string()).collect();
        names.iter().for_each(|name| texts.push(name, 0));
        assert_eq!(all(&texts), names);
        assert_eq!(texts.pages.len(), 5000_usize.div_ceil(PAGE));
    }

    #[test]
    fn cuts_are_those_of_each_text() {
        let mut page = Page::default();
        for text in ["c", r#"ab="c",d="""#, r#"ab="\\",d="""#, r#"ab="x""#] {
            page.push(text, 0);
        }
        let cuts = |page: &Page| {
            page.entries_from(0)
                .map(|e| e.cuts.to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(cuts(&page), [&[][..], &[2, 1, 1, 0], &[], &[2, 1]]);
        let mut sealed = Page::clone(&page.seal());
        sealed.push(r#"x="yz""#, 3);
        assert_eq!(sealed.get(4), r#"x="yz""#);
        assert_eq!(
            cuts(&sealed),
            [&[][..], &[2, 1, 1, 0], &[], &[2, 1], &[1, 2]]
        );
        page.clear();
        page.push(r#"y="""#, 0);
        assert_eq!(cuts(&page), [&[1, 0]]);
    }

    #[test]
    fn a_page_is_appended_in_parts() {
        let texts = ["c", r#"ab="c",d="""#, "", r#"ab="x""#];
        let whole = page(&texts);
        for (from, to) in (0..5).flat_map(|from| (from..5).map(move |to| (from, to))) {
            let mut copy = Page::clone(&page(&["é"]));
            copy.append(&whole, from..to);
            copy.push(r#"x="yz""#, 3);
            let mut direct = Page::default();
            direct.push("é", 7);
            texts[from..to].iter().for_each(|text| direct.push(text, 7));
            direct.push(r#"x="yz""#, 3);
            assert_eq!(format!("{copy:?}"), format!("{direct:?}"));
        }
    }

    /// Name, value and four more bytes take at most 127 bytes.
    #[test]
    fn long_labels_have_no_cuts() {
        for (name, value, cut) in [
            (1, 122, true),
            (1, 123, false),
            (61, 62, true),
            (62, 62, false),
        ] {
            let mut page = Page::default();
            let label = ("n".repeat(name), "v".repeat(value));
            page.push(&text(&[(&label.0, &label.1)]), 0);
            let lengths = [name as u8, value as u8];
            let wanted = if cut { &lengths[..] } else { &[] };
            assert_eq!(
                page.entries_from(0).next().unwrap().cuts,
                wanted,
                "{name} and {value}"
            );
        }
    }

    /// An encoder copies blocks of a fixed size.
    #[test]
    fn the_texts_of_a_sealed_page_are_followed_by_padding() {
        for entry in page(&["a", "bc", ""]).entries_from(0) {
            assert!(entry.text.len() >= entry.len + PADDING);
        }
        assert_eq!(page(&["", ""]).text.capacity(), 0);
    }
}
