//! The streams of one series of a summary in a writer's memory.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::observe::{Ages, PageCopy, PageWords, VALUES, read_current, sketch_of_values};
use crate::snapshot::FloatSum;
use crate::snapshot::sketch::{Sketch, Tuple, key_of};

use super::super::format::{history, page, stream};
use super::memory::{Failed, Memory, Try};

/// The number of times that a reader tries to read a page that its thread overwrites meanwhile.
const TRIES: u32 = 1000;

/// The bytes of a stream, of a page and of a history that readers use.
const STREAM: u64 = 24;
const PAGE: u64 = 40;
const HISTORY: u64 = 32;

/// The observations of one series: count and sum of all, sketches of those in the window.
#[derive(Debug, Default)]
pub(super) struct Summed {
    pub(super) count: u64,
    /// Not rounded yet.
    pub(super) sum: FloatSum,
    sketches: Vec<Sketch>,
}

impl Summed {
    pub(super) fn reset(&mut self) {
        self.count = 0;
        self.sum = FloatSum::default();
        self.sketches.clear();
    }

    /// Merges the sketches.
    pub(super) fn sketch(&self) -> Sketch {
        match &*self.sketches {
            [one] => one.clone(),
            all => Sketch::merge(&all.iter().collect::<Vec<_>>()),
        }
    }

    fn add(&mut self, count: u64, sum: f64) {
        // Wraps, as in the process: a baseline is subtracted from it.
        self.count = self.count.wrapping_add(count);
        self.sum.add(sum);
    }

    /// Adds a prefix of the observations in the stream at an address, if there is one.
    pub(super) fn add_stream(&mut self, memory: &Memory<'_>, address: u64, ages: Ages) -> Try<()> {
        let Some(address) = memory.range(address, STREAM)? else {
            return Ok(());
        };
        for _ in 0..TRIES {
            let len = self.sketches.len();
            match memory.refunded(|| self.try_add(memory, address, ages)) {
                Err(Failed::Changed) => self.sketches.truncate(len),
                done => return done,
            }
            std::thread::yield_now();
        }
        Err(Failed::Changed)
    }

    fn try_add(&mut self, memory: &Memory<'_>, address: u64, ages: Ages) -> Try<()> {
        let seq = |order| memory.load(address + stream::SEQUENCE as u64, order);
        let pages = address + stream::PAGES as u64;
        let read = |which: usize| {
            let page = memory.published(pages + 8 * which as u64);
            read_page(memory, page, ages)
        };
        // What was read while it changed may look damaged.
        let current = read_current(seq, read).ok_or(Failed::Changed)??;
        let Some((page, limit, (started, sketch_age, mut older))) = current else {
            // The page is not published, or a flush has replaced it.
            return Ok(());
        };
        self.add(page.count(), page.sum());
        if !page.tuples.is_empty() && ages.contains(sketch_age) {
            older.push(sketch_of(page.tuples, page.is_degraded)?);
        }
        if !page.values.is_empty() && ages.contains(ages.buffer_age(started, limit)) {
            older.push(sketch_of_values(page.values));
        }
        self.sketches.append(&mut older);
        Ok(())
    }

    /// Adds the observations that were folded, if there are any.
    pub(super) fn add_folded(&mut self, memory: &Memory<'_>, address: u64, ages: Ages) -> Try<()> {
        let Some((words, first)) = sized(memory, address)? else {
            return Ok(());
        };
        if words < 2 {
            return Err(Failed::Damaged("folded observations are invalid"));
        }
        let (count, sum) = (memory.word(first), memory.word(first + 8));
        let mut sketches = read_ages(memory, first + 16, words - 2, ages)?;
        self.sketches.append(&mut sketches);
        self.add(count, f64::from_bits(sum));
        Ok(())
    }
}

/// The words of a page, which begin at an address that was checked.
struct PageAt<'a> {
    memory: &'a Memory<'a>,
    first: u64,
}

impl PageWords for PageAt<'_> {
    fn word(&self, i: usize, order: Ordering) -> u64 {
        self.memory.load(self.first + 8 * i as u64, order)
    }

    fn words(&self, range: Range<usize>) -> impl Iterator<Item = u64> {
        range.map(|i| self.memory.word(self.first + 8 * i as u64))
    }
}

/// Reads the page at an address, if it is published: its words, its limit and its ages.
fn read_page(
    memory: &Memory<'_>,
    address: u64,
    ages: Ages,
) -> Try<Option<(PageCopy, u64, PageAges)>> {
    let Some(address) = memory.range(address, PAGE)? else {
        return Ok(None);
    };
    let at = |field: usize| memory.word(address + field as u64);
    let (capacity, limit) = (at(page::CAPACITY), at(page::LIMIT));
    let (history, words) = (at(page::HISTORY), at(page::WORD_COUNT));
    if capacity.saturating_add(VALUES as u64) > words || words > 1 << 32 {
        return Err(Failed::Damaged("the page of a stream is invalid"));
    }
    let Some(first) = memory.range(at(page::WORDS), 8 * words)? else {
        return Ok(None);
    };
    let page = PageAt { memory, first };
    let copy = PageCopy::load(&page, capacity as usize, words as usize);
    Ok(Some((copy, limit, read_history(memory, history, ages)?)))
}

/// The age in which the buffer of a page was started, that of its sketch, and the sketches of
/// earlier ages.
type PageAges = (u64, u64, Vec<Sketch>);

/// Returns the number of words that follow a word with this number, and the address of the first.
pub(super) fn sized(memory: &Memory<'_>, address: u64) -> Try<Option<(u64, u64)>> {
    let Some(address) = memory.range(address, 8)? else {
        return Ok(None);
    };
    let words = memory.word(address);
    if words > 1 << 32 {
        return Err(Failed::Damaged("a length is invalid"));
    }
    let first = memory.range(address + 8, 8 * words)?;
    Ok(first.map(|first| (words, first)))
}

/// Reads the ages of a page.
fn read_history(memory: &Memory<'_>, address: u64, ages: Ages) -> Try<PageAges> {
    let Some(address) = memory.range(address, HISTORY)? else {
        return Ok((1, 1, Vec::new()));
    };
    let at = |field: usize| memory.word(address + field as u64);
    let (started, sketch_age) = (at(history::STARTED), at(history::SKETCH_AGE));
    let (first, words) = (at(history::WORDS), at(history::WORD_COUNT));
    if words > 1 << 32 {
        return Err(Failed::Damaged("a history is invalid"));
    }
    let older = match memory.range(first, 8 * words)? {
        Some(first) => read_ages(memory, first, words, ages)?,
        None => Vec::new(),
    };
    Ok((started, sketch_age, older))
}

/// Reads the sketches of ages: for each, the age, `tuples * 2 + degraded`, and the tuples.
fn read_ages(memory: &Memory<'_>, first: u64, words: u64, ages: Ages) -> Try<Vec<Sketch>> {
    let mut sketches = Vec::new();
    let mut at = 0;
    while at < words {
        if words - at < 2 {
            return Err(Failed::Damaged("an age is invalid"));
        }
        let (age, tuple_word) = (memory.word(first + 8 * at), memory.word(first + 8 * at + 8));
        let tuples = tuple_word >> 1;
        at += 2;
        if tuples > (words - at) / 2 {
            return Err(Failed::Damaged("an age is invalid"));
        }
        if ages.contains(age) {
            let tuples = (0..tuples).map(|i| {
                let at = first + 8 * (at + 2 * i);
                Tuple::from_words([memory.word(at), memory.word(at + 8)])
            });
            sketches.push(sketch_of(tuples.collect(), tuple_word & 1 == 1)?);
        }
        at += 2 * tuples;
    }
    Ok(sketches)
}

/// Creates a sketch from tuples that may come from elsewhere.
fn sketch_of(tuples: Vec<Tuple>, degraded: bool) -> Try<Sketch> {
    let last = key_of(f64::INFINITY);
    let is_valid = tuples.iter().all(|tuple| tuple.g > 0 && tuple.key <= last)
        && tuples.is_sorted_by(|one, next| one.key <= next.key);
    if is_valid {
        Ok(Sketch::from_parts(tuples, degraded))
    } else {
        Err(Failed::Damaged("a sketch is invalid"))
    }
}
