//! Stores the series of a family in chunks that never move.
//!
//! A scrape reads the series in *groups* of 64 with consecutive numbers. Each group has one bit per
//! series, which is set while the series is live, and the number of series that were removed from
//! it. While both stay the same, so do the label sets of the group.
//!
//! Each series has a *label* beside it: what the family knows of it. Series are in the region of
//! [`mapped`](crate::mapped), so that they can be in a file that other processes read. Labels are
//! on the heap.
//!
//! - R1: a series keeps its address until its arena is dropped.
//! - R2: a [`Run`] is made by `Run::new`, which initializes all of its series. That of a chunk has
//!   as many as `len_of` says.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::PartRef;
use crate::mapped::{Place, Words, region};
use crate::sync::prefetch;

/// The number of chunks below place [`MANY`], which double in size every two chunks. Few chunks are
/// few cache lines for a scrape.
const FIRST: usize = 12;

/// The place from which on chunks double in size every eight chunks, so that at most an eighth of
/// many series is allocated ahead.
const MANY: usize = 512;

const CHUNKS: usize = FIRST + 8 * 23;

/// The number of series in a group.
pub const GROUP: usize = 64;

/// The number of a series plus this is its *place*. Groups begin at multiples of 64 of places. So a
/// chunk of 64 series or more consists of whole groups, and a group of whole smaller chunks.
const BIAS: usize = 8;

/// The least number of series that a scrape skips if none of them is live: as many as a label page
/// has. From place 8 times as many on, each chunk has that many or more.
pub const SKIPPED: usize = 1024;

/// The number of chunks in these groups, whose series are prefetched together.
const FEW: usize = 8;

/// The number of groups that consist of smaller chunks.
const SMALL: usize = 2;

/// The chunks of an arena that has a series.
struct Chunks<S, L> {
    /// The states of the first groups, which several chunks share.
    small: [GroupState; SMALL],
    /// The numbers of live series among the first places, `SKIPPED` places each, where chunks are
    /// smaller. As [`Chunk::live`].
    first_live: [AtomicU64; 8],
    /// Each chunk, and its series, which a scrape finds without it.
    chunks: [PartRef<Chunk<S, L>, S>; CHUNKS],
}

/// Series that were allocated together.
struct Chunk<S, L> {
    series: LabelledRun<S, L>,
    /// The states of its groups. Empty if it is smaller than a group.
    groups: Box<[GroupState]>,
    /// The number of live series. Written by the threads that change a bit of a group, read by
    /// scrapes. Relaxed, as the bits are.
    live: AtomicU64,
}

/// The bytes of a cache line.
const LINE: usize = 64;

/// Series that follow each other in memory, with their labels.
pub struct LabelledRun<S, L> {
    pub series: Run<S>,
    pub labels: Box<[L]>,
    /// For each series, the address of its label text in the file, or 0. Made once other processes
    /// can read the series.
    texts: OnceLock<Words>,
}

impl<S, L: Default> LabelledRun<S, L> {
    /// Makes a run.
    pub fn new(len: usize, make: impl Fn() -> S) -> Self {
        Self {
            series: Run::new(len, make),
            labels: std::iter::repeat_with(L::default).take(len).collect(),
            texts: OnceLock::new(),
        }
    }
}

impl<S, L> LabelledRun<S, L> {
    /// Returns the words with the addresses of the label texts, if other processes can read the
    /// series.
    pub(crate) fn texts(&self) -> Option<&[AtomicU64]> {
        self.texts.get().map(|texts| &**texts)
    }

    /// Makes these words, if there are none. Returns `None` if the series or the words cannot be in
    /// the file.
    pub(crate) fn make_texts(&self) -> Option<&[AtomicU64]> {
        if self.texts.get().is_none() && self.series.is_in_region() {
            let words = Words::only(self.series.len(), Place::Region)?;
            self.texts.get_or_init(|| words);
        }
        self.texts()
    }
}

/// Series that follow each other in memory. A long run begins at a cache line, so that a series
/// whose size divides that of a line is in one line.
pub struct Run<S> {
    first: NonNull<S>,
    len: usize,
    _series: PhantomData<S>,
}

// SAFETY: a run owns its series, as a boxed slice does.
unsafe impl<S: Send> Send for Run<S> {}
// SAFETY: as above.
unsafe impl<S: Sync> Sync for Run<S> {}

impl<S> Run<S> {
    /// Makes a run.
    pub fn new(len: usize, make: impl Fn() -> S) -> Self {
        let layout = Self::layout(len);
        let init = |first: NonNull<S>| {
            for i in 0..len {
                // SAFETY: the layout has `len` series. If `make` panics, those before are leaked.
                unsafe { first.add(i).write(make()) };
            }
        };
        let in_region = region::allocate_series(layout.size(), |memory| init(memory.cast()));
        let first = match in_region {
            Some(memory) => memory.cast(),
            None if layout.size() == 0 => NonNull::dangling(),
            None => {
                // SAFETY: the layout is not empty.
                let memory = NonNull::new(unsafe { alloc(layout) });
                let first = memory.unwrap_or_else(|| handle_alloc_error(layout)).cast();
                init(first);
                first
            }
        };
        Self {
            first,
            len,
            _series: PhantomData,
        }
    }

    /// Returns whether the series are in the region, so that they are in the file if there is one.
    pub(crate) fn is_in_region(&self) -> bool {
        region::contains(self.first.as_ptr().cast())
    }

    /// Returns the first series. A run has at least one.
    #[inline(always)]
    pub fn first(&self) -> &S {
        debug_assert!(self.len > 0, "a run has a series");
        // SAFETY: `new` initialized it (R2).
        unsafe { self.first.as_ref() }
    }

    fn layout(len: usize) -> Layout {
        let layout = Layout::array::<S>(len).expect("a run is smaller than the address space");
        if layout.size() < 8 * LINE {
            return layout;
        }
        layout
            .align_to(LINE)
            .expect("a cache line is a power of two")
    }
}

impl<S> std::ops::Deref for Run<S> {
    type Target = [S];

    #[inline]
    fn deref(&self) -> &[S] {
        // SAFETY: `new` initialized `len` series (R2).
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<S> Drop for Run<S> {
    fn drop(&mut self) {
        let layout = Self::layout(self.len);
        // SAFETY: `new` allocated the memory with this layout and initialized `len` series (R2).
        unsafe {
            std::ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len).drop_in_place();
            if self.is_in_region() {
                region::free(self.first.cast(), layout.size());
            } else if layout.size() > 0 {
                dealloc(self.first.as_ptr().cast(), layout);
            }
        }
    }
}

/// The state of a group. Relaxed: a scrape may see a new bit late, or before the series' label
/// text. Series are removed in passes only, so a scrape sees every earlier removal.
#[derive(Debug, Default)]
struct GroupState {
    /// One bit for each series, set while it is live. Written by threads that create or retire
    /// series, read by scrapes.
    live: AtomicU64,
    /// The number of series that were removed or retired. Written by the threads that do so, read
    /// by scrapes.
    removals: AtomicU64,
}

/// The state of a group at one time. Equal states have the same live series, each with the same
/// label set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupVersion {
    /// One bit for each live series.
    pub live: u64,
    /// The number of series that were removed or retired so far.
    pub removals: u64,
}

/// One group of an arena.
pub struct Group<'a, S, L> {
    chunks: &'a Chunks<S, L>,
    state: &'a GroupState,
    /// The number of the group.
    pub number: usize,
    /// The places of its series.
    start: usize,
    end: usize,
}

impl<'a, S, L> Group<'a, S, L> {
    /// Returns the present state of the group. It may have series that another thread is making and
    /// that [`slices`](Self::slices) does not have yet.
    #[inline]
    #[must_use]
    pub fn version(&self) -> GroupVersion {
        GroupVersion {
            live: self.state.live.load(Relaxed),
            removals: self.state.removals.load(Relaxed),
        }
    }

    /// Returns the bits of its series.
    #[inline]
    #[must_use]
    pub fn bits(&self) -> Range<usize> {
        let first = self.number * GROUP;
        self.start - first..self.end - first
    }

    /// Returns the number of the series with this bit.
    #[inline]
    #[must_use]
    pub fn index(&self, bit: usize) -> u32 {
        (self.number * GROUP + bit - BIAS) as u32
    }

    /// Iterates over the series, in slices that are contiguous in memory, each with the bits of its
    /// series. Leaves out a chunk that another thread is about to make.
    #[inline]
    pub fn slices(&self) -> impl Iterator<Item = (Range<usize>, &'a [S])> + use<'a, S, L> {
        let chunks = self.chunks;
        self.parts().filter_map(move |(bits, chunk, offset)| {
            let slice = chunks.series(chunk)?.get(offset..offset + bits.len())?;
            Some((bits, slice))
        })
    }

    /// Iterates over the labels as [`slices`](Self::slices) does over the series.
    pub fn labels(&self) -> impl Iterator<Item = (Range<usize>, &'a [L])> + use<'a, S, L> {
        let chunks = self.chunks;
        self.parts().filter_map(move |(bits, chunk, offset)| {
            let labels = &chunks.chunk(chunk)?.series.labels;
            Some((bits.clone(), labels.get(offset..offset + bits.len())?))
        })
    }

    /// Iterates over the parts of its chunks: the bits, the number of the chunk, and the index of
    /// the first series in it.
    #[inline]
    fn parts(&self) -> impl Iterator<Item = (Range<usize>, usize, usize)> + use<S, L> {
        let (mut start, end, first) = (self.start, self.end, self.number * GROUP);
        std::iter::from_fn(move || {
            if start >= end {
                return None;
            }
            let (chunk, offset) = locate(start - BIAS);
            let from = start - first;
            start += (len_of(chunk) - offset).min(end - start);
            Some((from..start - first, chunk, offset))
        })
    }
}

/// Series that never move. See the module's documentation.
pub struct Arena<S, L> {
    chunks: OnceLock<Box<Chunks<S, L>>>,
}

impl<S, L: Default> Arena<S, L> {
    /// Creates an empty arena. It allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            chunks: OnceLock::new(),
        }
    }

    /// Returns series `index` if its chunk exists.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&S> {
        let (chunk, offset) = locate(index);
        self.chunks.get()?.series(chunk)?.get(offset)
    }

    /// Returns the run that has series `index`, and the index of the series in it.
    #[inline]
    #[must_use]
    pub fn run_of(&self, index: usize) -> Option<(&LabelledRun<S, L>, usize)> {
        let (chunk, offset) = locate(index);
        Some((&self.chunks.get()?.chunk(chunk)?.series, offset))
    }

    /// Iterates over all runs, each with the number of its first series.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &LabelledRun<S, L>)> {
        let chunks = self.chunks.get().map_or(&[][..], |chunks| &chunks.chunks);
        chunks
            .iter()
            .enumerate()
            .filter_map(|(i, chunk)| Some((first_place(i) - BIAS, &chunk.owner()?.series)))
    }

    /// Returns series `index`, and creates its whole chunk first if needed. Returns `None` beyond
    /// the last chunk.
    pub fn get_or_make(&self, index: usize, make: impl Fn() -> S) -> Option<&S> {
        let (chunk, offset) = locate(index);
        let new = || {
            Box::new(Chunks {
                small: Default::default(),
                first_live: Default::default(),
                chunks: [const { PartRef::new() }; CHUNKS],
            })
        };
        let chunks = self.chunks.get_or_init(new);
        if chunks.series(chunk).is_none() {
            let made = chunks.chunks.get(chunk)?;
            made.owner_or(|| {
                let len = len_of(chunk);
                Arc::new(Chunk {
                    series: LabelledRun::new(len, &make),
                    groups: (0..len / GROUP).map(|_| GroupState::default()).collect(),
                    live: AtomicU64::new(0),
                })
            });
            made.set_parts(|chunk| &chunk.series.series);
        }
        chunks.series(chunk)?.get(offset)
    }

    /// Sets or clears the live bit of a series that was created.
    pub fn set_live(&self, index: usize, is_live: bool) {
        let place = index + BIAS;
        let chunks = self.chunks.get();
        if let Some(state) = chunks.and_then(|chunks| chunks.group(place / GROUP)) {
            let bit = 1 << (place % GROUP);
            let count = chunks.and_then(|chunks| Some(chunks.live_at(place)?.0));
            if is_live {
                state.live.fetch_or(bit, Relaxed);
                count.map(|count| count.fetch_add(1, Relaxed));
            } else {
                state.live.fetch_and(!bit, Relaxed);
                state.removals.fetch_add(1, Relaxed);
                count.map(|count| count.fetch_sub(1, Relaxed));
            }
        }
    }

    /// Prefetches where the first series are.
    #[inline]
    pub fn prefetch_chunks(&self) {
        if let Some(chunks) = self.chunks.get() {
            let bytes = offset_of!(Chunks<S, L>, chunks) + FEW * size_of::<PartRef<(), ()>>();
            prefetch(std::ptr::from_ref(&**chunks).cast::<u8>(), bytes);
        }
    }

    /// Prefetches the first series.
    #[inline]
    pub fn prefetch_series(&self) {
        if let Some(chunks) = self.chunks.get() {
            for series in (0..FEW).map_while(|chunk| chunks.series(chunk)) {
                prefetch(series.as_ptr(), series.len());
            }
        }
    }

    /// Returns the groups of the first `made` series. Those without live series are returned, too,
    /// unless [`SKIPPED`] series or more around them have none.
    #[inline]
    pub fn groups(&self, made: usize) -> impl Iterator<Item = Group<'_, S, L>> {
        let chunks = self.chunks.get();
        let end = made + BIAS;
        let groups = chunks.map_or(0, |_| end.div_ceil(GROUP));
        let mut next = 0;
        std::iter::from_fn(move || {
            let chunks = &**chunks?;
            loop {
                let number = next;
                if number >= groups {
                    return None;
                }
                next += 1;
                if (number * GROUP) % SKIPPED == 0 && number > 0 {
                    if let Some((live, len)) = chunks.live_at(number * GROUP) {
                        if live.load(Relaxed) == 0 {
                            next = number - number % (len / GROUP) + len / GROUP;
                            continue;
                        }
                    }
                }
                if let Some(state) = chunks.group(number) {
                    return Some(Group {
                        chunks,
                        state,
                        number,
                        start: (number * GROUP).max(BIAS),
                        end: end.min((number + 1) * GROUP),
                    });
                }
            }
        })
    }
}

impl<S, L> Chunks<S, L> {
    /// Returns the number of live series around a place, and the number of places that it is for.
    /// They begin at a multiple of that number.
    fn live_at(&self, place: usize) -> Option<(&AtomicU64, usize)> {
        match self.first_live.get(place / SKIPPED) {
            Some(live) => Some((live, SKIPPED)),
            None => {
                let (chunk, _) = locate(place - BIAS);
                Some((&self.chunk(chunk)?.live, len_of(chunk)))
            }
        }
    }

    /// Returns the state of a group, if its series exist.
    #[inline]
    fn group(&self, number: usize) -> Option<&GroupState> {
        if number < SMALL {
            return Some(&self.small[number]);
        }
        let (chunk, offset) = locate(number * GROUP - BIAS);
        self.chunk(chunk)?.groups.get(offset / GROUP)
    }

    /// Returns a chunk, if it was made.
    #[inline]
    fn chunk(&self, chunk: usize) -> Option<&Chunk<S, L>> {
        self.chunks.get(chunk)?.owner().map(|chunk| &**chunk)
    }

    /// Returns the series of a chunk, if it was made.
    #[inline]
    fn series(&self, chunk: usize) -> Option<&[S]> {
        // SAFETY: a chunk has so many series (R2).
        unsafe { self.chunks.get(chunk)?.parts(len_of(chunk)) }
    }
}

/// Returns the number of the chunk that holds a series, and the index of the series in that chunk.
#[inline]
fn locate(index: usize) -> (usize, usize) {
    // The number of the overflow series is beyond all chunks, where `usize` has 32 bits, too.
    let place = index.saturating_add(BIAS);
    let octave = place.ilog2() as usize;
    let (chunk, len) = if place < MANY {
        (2 * octave + (place >> (octave - 1) & 1) - 6, octave - 1)
    } else {
        (
            8 * octave + (place >> (octave - 3) & 7) + FIRST - 72,
            octave - 3,
        )
    };
    (chunk, place & ((1 << len) - 1))
}

/// Returns the place of the first series of a chunk.
fn first_place(chunk: usize) -> usize {
    match chunk.checked_sub(FIRST) {
        None => (2 + chunk % 2) << (2 + chunk / 2),
        Some(chunk) => (8 + chunk % 8) << (6 + chunk / 8),
    }
}

/// Returns the number of series of a chunk.
#[inline]
fn len_of(chunk: usize) -> usize {
    match chunk.checked_sub(FIRST) {
        None => 4 << (chunk / 2),
        Some(chunk) => 64 << (chunk / 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_index_once() {
        let mut next = (0, 0);
        for index in 0..if cfg!(miri) { 300 } else { 10_000 } {
            let (chunk, offset) = locate(index);
            assert!(
                (chunk, offset) == next || (chunk, offset) == (next.0 + 1, 0),
                "{index}"
            );
            assert!(offset < len_of(chunk) && chunk < CHUNKS);
            assert_eq!(first_place(chunk) + offset, index + BIAS);
            next = (chunk, offset + 1);
        }
        let arena = Arena::<i32, ()>::new();
        (0..1000).for_each(|i| assert!(arena.get_or_make(i, || 7).is_some()));
        let mut next = 0;
        for group in arena.groups(990) {
            for (bits, slice) in group.slices() {
                assert_eq!(group.index(bits.start) as usize, next);
                assert_eq!(slice.len(), bits.len());
                next += slice.len();
            }
            assert!(next == 990 || (next + BIAS) % GROUP == 0);
        }
        assert_eq!(next, 990);
    }

    /// A scrape looks while another thread is about to make the chunk.
    #[test]
    fn a_chunk_that_is_not_made_has_no_series() {
        let arena = Arena::<i32, ()>::new();
        assert!(arena.get_or_make(0, || 7).is_some());
        for index in [1, 2, 5] {
            arena.set_live(index, true);
        }
        let group = arena.groups(6).next().unwrap();
        let lens: Vec<_> = group.slices().map(|(bits, s)| (bits, s.len())).collect();
        assert_eq!(lens, [(8..12, 4)]);
    }

    #[test]
    fn the_last_number_is_in_the_last_chunk() {
        let last = u32::MAX as usize - BIAS;
        assert_eq!(locate(last).0, CHUNKS - 1);
        assert_eq!(first_place(CHUNKS - 1) + locate(last).1, u32::MAX as usize);
        assert!(Arena::<i32, ()>::new().get(u32::MAX as usize).is_none());
    }

    #[test]
    fn large_chunks_without_live_series_are_skipped() {
        let made = if cfg!(miri) { 17_000 } else { 70_000 };
        let arena = Arena::<i32, ()>::new();
        for index in [1, 5_000, 9_000, 9_001, made - 1] {
            assert!(arena.get_or_make(index, || 7).is_some());
            arena.set_live(index, true);
        }
        arena.set_live(5_000, false);
        let live = || -> Vec<usize> {
            let groups = arena.groups(made);
            let live = groups.filter(|group| group.version().live != 0);
            live.map(|group| group.number).collect()
        };
        let number = |index: usize| (index + BIAS) / GROUP;
        assert_eq!(live(), [0, number(9_000), number(made - 1)]);
        let visited = arena.groups(made).count();
        arena.set_live(9_000, false);
        assert_eq!(arena.groups(made).count(), visited, "its neighbour lives");
        arena.set_live(9_001, false);
        assert_eq!(live(), [0, number(made - 1)]);
        assert_eq!(arena.groups(made).count(), visited - 1024 / GROUP);
        arena.set_live(9_000, true);
        assert_eq!(live(), [0, number(9_000), number(made - 1)]);
    }

    #[test]
    fn a_group_has_a_bit_for_each_live_series() {
        let arena = Arena::<i32, ()>::new();
        assert_eq!(arena.groups(0).count(), 0);
        arena.set_live(3, true);
        (0..1000).for_each(|i| assert!(arena.get_or_make(i, || 7).is_some()));
        let live = || -> Vec<u32> {
            let groups = arena.groups(1000);
            let bits = groups.flat_map(|group| {
                let live = group.version().live;
                (0..GROUP)
                    .filter(move |bit| live >> bit & 1 == 1)
                    .map(move |bit| group.index(bit))
            });
            bits.collect()
        };
        for index in [0, 55, 56, 503, 504, 999] {
            arena.set_live(index, true);
        }
        assert_eq!(live(), [0, 55, 56, 503, 504, 999]);
        let before: Vec<_> = arena.groups(1000).map(|group| group.version()).collect();
        arena.set_live(504, false);
        assert_eq!(live(), [0, 55, 56, 503, 999]);
        arena.set_live(504, true);
        let groups = arena.groups(1000).zip(&before);
        let changed = groups.filter(|(group, before)| group.version() != **before);
        let changed: Vec<_> = changed.map(|(group, _)| group.number).collect();
        assert_eq!(changed, [8], "the group of a number that is used again");
    }
}
