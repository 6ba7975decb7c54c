//! Stores the series of a family in chunks that never move, with one bit per series that is set
//! while the series is live.
//!
//! - R1: a series keeps its address until its arena is dropped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Chunks double in size every eight chunks, so at most an eighth of the series is allocated ahead.
const CHUNKS: usize = 8 * 29;

/// The number of series that a scrape reads together. They share a word of `Chunk::live`.
pub const BATCH: usize = 64;

type Chunks<S> = Box<[OnceLock<Chunk<S>>]>;

/// Series that were allocated together.
#[derive(Debug)]
struct Chunk<S> {
    series: Box<[S]>,
    /// One bit for each series, set while it is live. Written by threads that create or retire
    /// series, read by scrapes. Relaxed: a scrape may see a bit late, as if the change came after
    /// the scrape.
    live: Box<[AtomicU64]>,
}

/// The part of a chunk that holds series created so far.
#[derive(Debug)]
pub struct ChunkPart<'a, S> {
    series: &'a [S],
    live: &'a [AtomicU64],
}

impl<'a, S> ChunkPart<'a, S> {
    /// Returns whether any of its series is live.
    #[inline]
    pub fn has_live(&self) -> bool {
        self.live.iter().any(|word| word.load(Relaxed) != 0)
    }

    /// Returns the series in batches of [`BATCH`]. Each item has the number of the batch's first
    /// series, the series, and whether any of them is live. `first` is the number of the chunk's
    /// first series.
    #[inline]
    pub fn batches(self, first: u32) -> impl Iterator<Item = (u32, &'a [S], bool)> {
        (first..)
            .step_by(BATCH)
            .zip(self.series.chunks(BATCH))
            .zip(self.live)
            .map(|((first, series), live)| (first, series, live.load(Relaxed) != 0))
    }
}

/// Series that never move. See the module's documentation.
#[derive(Debug)]
pub struct Arena<S> {
    chunks: OnceLock<Chunks<S>>,
}

impl<S> Arena<S> {
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
        self.chunks.get()?.get(chunk)?.get()?.series.get(offset)
    }

    /// Returns series `index`, and creates its whole chunk first if needed. Returns `None` beyond
    /// the last chunk.
    pub fn get_or_make(&self, index: usize, make: impl Fn() -> S) -> Option<&S> {
        let (chunk, offset) = locate(index);
        self.chunks
            .get_or_init(|| (0..CHUNKS).map(|_| OnceLock::new()).collect())
            .get(chunk)?
            .get_or_init(|| {
                let len: usize = 1 << (chunk / 8);
                Chunk {
                    series: (0..len).map(|_| make()).collect(),
                    live: (0..len.div_ceil(BATCH))
                        .map(|_| AtomicU64::new(0))
                        .collect(),
                }
            })
            .series
            .get(offset)
    }

    /// Sets or clears the live bit of a series. Does nothing if the series was never created.
    pub fn set_live(&self, index: usize, is_live: bool) {
        let (chunk, offset) = locate(index);
        let chunk = self
            .chunks
            .get()
            .and_then(|chunks| chunks.get(chunk)?.get());
        if let Some(word) = chunk.and_then(|chunk| chunk.live.get(offset / BATCH)) {
            let bit = 1 << (offset % BATCH);
            if is_live {
                word.fetch_or(bit, Relaxed);
            } else {
                word.fetch_and(!bit, Relaxed);
            }
        }
    }

    /// Returns the first `made` series chunk by chunk, each chunk with the number of its first
    /// series.
    pub fn chunks(&self, made: usize) -> impl Iterator<Item = (u32, ChunkPart<'_, S>)> {
        let mut first = 0;
        self.chunks
            .get()
            .into_iter()
            .flat_map(|chunks| chunks.iter())
            .enumerate()
            .map_while(move |(chunk, all)| {
                let begin = first;
                first += 1 << (chunk / 8);
                let len = made.checked_sub(begin)?;
                let (series, live) = match all.get() {
                    Some(chunk) => (&chunk.series[..len.min(chunk.series.len())], &*chunk.live),
                    None => (&[][..], &[][..]),
                };
                Some((begin as u32, ChunkPart { series, live }))
            })
    }
}

impl<S> Default for Arena<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the number of the chunk that holds a series, and the index of the series in that chunk.
/// The chunks of the `o`th group of eight have 2^o series each.
#[inline]
fn locate(index: usize) -> (usize, usize) {
    let biased = index + 8;
    let octave = biased.ilog2() as usize - 3;
    let chunk = 8 * octave + (biased >> octave & 7);
    (chunk, biased & ((1 << octave) - 1))
}

/// Prefetches `len` items from `from` on. A hint: nothing is read, and any address is allowed.
#[inline]
pub fn prefetch<S>(from: *const S, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for offset in (0..len * size_of::<S>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(offset)) };
    }
    let _ = (from, len);
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
            assert!(offset < 1 << (chunk / 8) && chunk < CHUNKS);
            next = (chunk, offset + 1);
        }
        let arena = Arena::new();
        (0..1000).for_each(|i| assert!(arena.get_or_make(i, || 7).is_some()));
        let all: Vec<_> = arena.chunks(990).collect();
        assert_eq!(
            all.iter()
                .map(|(_, chunk)| chunk.series.len())
                .sum::<usize>(),
            990
        );
        assert!(
            all.windows(2)
                .all(|two| two[0].0 as usize + two[0].1.series.len() == two[1].0 as usize)
        );
    }
}
