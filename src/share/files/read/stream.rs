//! The streams of one series of a summary in a writer's memory.

use crate::observe::{
    Ages, History, PageAges, PageCopy, VALUES, decode, encoded_len, read_current, sketch_of_values,
};
use crate::share::bytes::ensure;
use crate::share::record::checked;
use crate::snapshot::sketch::Sketch;
use crate::sync::{AtomicU64, Relaxed};

use super::super::format::{history, page, stream};
use super::blocks::Sums;
use super::memory::{Failed, Try, WriterMemory};

/// The number of times that a reader tries to read a page that its thread overwrites meanwhile.
const TRIES: u32 = 1000;

/// The bytes of a stream, of a page and of a history that readers use.
const STREAM: u64 = 24;
const PAGE: u64 = 40;
const HISTORY: u64 = 32;

impl Sums {
    /// Merges the sketches.
    pub(super) fn sketch(&self) -> Sketch {
        match &*self.sketches {
            [one] => one.clone(),
            all => Sketch::merge(&all.iter().collect::<Vec<_>>()),
        }
    }

    fn count(&mut self, count: u64, sum: f64) {
        // Wraps, as in the process: a baseline is subtracted from it.
        self.counts[0] = self.counts[0].wrapping_add(count);
        self.sum.add(sum);
    }

    /// Adds a prefix of the observations in the stream at an address, if there is one.
    pub(super) fn add_stream(
        &mut self,
        memory: &WriterMemory<'_>,
        address: u64,
        ages: Ages,
    ) -> Try<()> {
        let Some(address) = memory.range(address, STREAM)? else {
            return Ok(());
        };
        for _ in 0..TRIES {
            match memory
                .budget
                .refunded(|| self.try_add(memory, address, ages))
            {
                Err(Failed::Changed) => std::thread::yield_now(),
                done => return done,
            }
        }
        Err(Failed::Changed)
    }

    fn try_add(&mut self, memory: &WriterMemory<'_>, address: u64, ages: Ages) -> Try<()> {
        let seq = |order| memory.load(address + stream::SEQUENCE as u64, order);
        let pages = address + stream::PAGES as u64;
        let read = |which: usize| read_page(memory, memory.published(pages + 8 * which as u64));
        // What was read while it changed may look damaged.
        let current = read_current(seq, read).ok_or(Failed::Changed)??;
        let Some(found) = current else {
            // The page is not published, or a flush has replaced it.
            return Ok(());
        };
        let (copy, own) = (found.copy, found.ages);
        self.count(copy.count(), copy.sum());
        if !copy.tuples.is_empty() && ages.contains(own.sketch_age) {
            let sketch = Sketch::from_parts(copy.tuples, copy.is_degraded);
            self.sketches.push(checked(sketch)?);
        }
        if !copy.values.is_empty() && ages.contains(ages.buffer_age(own.started, found.limit)) {
            self.sketches.push(sketch_of_values(copy.values));
        }
        self.add_ages(own.older, ages)
    }

    /// Adds the observations that were folded, if there are any.
    pub(super) fn add_folded(
        &mut self,
        memory: &WriterMemory<'_>,
        address: u64,
        ages: Ages,
    ) -> Try<()> {
        let Some(words) = sized(memory, address)? else {
            return Ok(());
        };
        let [count, sum, older @ ..] = words else {
            return Err(Failed::Damaged("folded observations are invalid"));
        };
        self.count(count.load(Relaxed), f64::from_bits(sum.load(Relaxed)));
        self.add_ages(older, ages)
    }

    /// Adds the sketches of those ages that are in the window.
    fn add_ages(&mut self, words: &[AtomicU64], ages: Ages) -> Try<()> {
        let all: Vec<_> = decode(words).collect();
        ensure(encoded_len(&all) == words.len(), "an age is invalid")?;
        for part in all.into_iter().filter(|part| ages.contains(part.age)) {
            self.sketches.push(checked(part.sketch)?);
        }
        Ok(())
    }
}

/// A page of a stream.
struct StreamPageAt<'a> {
    copy: PageCopy,
    /// The age of the values in its buffer follows from it.
    limit: u64,
    ages: PageAges<'a>,
}

/// Reads the page at an address, if it is published.
fn read_page<'a>(memory: &WriterMemory<'a>, address: u64) -> Try<Option<StreamPageAt<'a>>> {
    let Some(address) = memory.range(address, PAGE)? else {
        return Ok(None);
    };
    let at = |field: usize| memory.word(address + field as u64);
    let (capacity, words) = (at(page::CAPACITY), at(page::WORD_COUNT));
    let fits = capacity.saturating_add(VALUES as u64) <= words;
    ensure(fits, "the page of a stream is invalid")?;
    let Some(words) = memory.words(at(page::WORDS), words)? else {
        return Ok(None);
    };
    let mut ages = History::view(None);
    if let Some(history) = memory.range(at(page::HISTORY), HISTORY)? {
        let at = |field: usize| memory.word(history + field as u64);
        (ages.started, ages.sketch_age) = (at(history::STARTED), at(history::SKETCH_AGE));
        let older = memory.words(at(history::WORDS), at(history::WORD_COUNT))?;
        ages.older = older.unwrap_or_default();
    }
    Ok(Some(StreamPageAt {
        copy: PageCopy::load(words, capacity as usize),
        limit: at(page::LIMIT),
        ages,
    }))
}

/// Returns the words that follow a word with their number.
pub(super) fn sized<'a>(memory: &WriterMemory<'a>, address: u64) -> Try<Option<&'a [AtomicU64]>> {
    let Some(address) = memory.range(address, 8)? else {
        return Ok(None);
    };
    memory.words(address + 8, memory.word(address))
}
