//! The streams of one series of a summary in a writer's memory.

use crate::snapshot::FloatSum;
use crate::snapshot::sketch::{Sketch, Tuple, key_of};
use crate::sync::{Acquire, Relaxed, fence};

use super::super::format::{history, page, stream};
use super::memory::{Failed, Memory, Try};

/// The number of times that a reader tries to read a page that its thread overwrites meanwhile.
const TRIES: u32 = 1000;

/// The bytes of a stream, of a page and of a history that readers use.
const STREAM: u64 = 24;
const PAGE: u64 = 40;
const HISTORY: u64 = 32;

/// The ages that a window holds now: those from `oldest` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    pub(super) oldest: u64,
    pub(super) now: u64,
}

impl Ages {
    /// The ages of a summary without a window: all observations are of age 1.
    pub(super) const ALL: Self = Self { oldest: 0, now: 1 };

    fn contains(self, age: u64) -> bool {
        age >= self.oldest
    }
}

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
        let seq_at = address + stream::SEQUENCE as u64;
        // Acquire: pairs with the Release stores of `seq` in a flush.
        let seq = memory.load(seq_at, Acquire);
        let generation = seq >> 1;
        let current = memory.published(address + stream::PAGES as u64 + 8 * (generation & 1));
        let confirm = || {
            // Acquire: pairs with the Release fence in a flush.
            fence(Acquire);
            if memory.load(seq_at, Relaxed) > generation.saturating_add(1).saturating_mul(2) {
                Err(Failed::Changed)
            } else {
                Ok(())
            }
        };
        let Some(current) = memory.range(current, PAGE)? else {
            // The page is not published, or a flush has replaced it.
            return confirm();
        };
        let at = |field: usize| memory.word(current + field as u64);
        let (capacity, limit) = (at(page::CAPACITY), at(page::LIMIT));
        let (history, words) = (at(page::HISTORY), at(page::WORD_COUNT));
        let first = at(page::WORDS);
        let is_short = capacity.saturating_add(page::WORD_VALUES as u64) > words;
        if is_short || words > 1 << 32 {
            confirm()?;
            return Err(Failed::Damaged("the page of a stream is invalid"));
        }
        let Some(first) = memory.range(first, 8 * words)? else {
            return confirm();
        };
        let word = |i: u64| memory.word(first + 8 * i);
        // Acquire: pairs with the Release store of the length after its value.
        let len = memory
            .published(first + 8 * page::WORD_LEN as u64)
            .min(capacity);
        let count = word(page::WORD_OBSERVED as u64);
        let sum = f64::from_bits(word(page::WORD_SUM as u64));
        let tuple_word = word(page::WORD_TUPLES as u64);
        let tuples_at = page::WORD_VALUES as u64 + capacity;
        let tuples = (tuple_word >> 1).min((words - tuples_at) / 2);
        let tuples: Vec<_> = (0..tuples)
            .map(|i| {
                let at = tuples_at + 2 * i;
                Tuple::from_words([word(at), word(at + 1)])
            })
            .collect();
        let values = (0..len).map(|i| f64::from_bits(word(page::WORD_VALUES as u64 + i)));
        let values: Vec<_> = values.collect();
        let (started, sketch_age, mut older) = read_history(memory, history, ages)?;
        confirm()?;
        let buffer_age = if limit as i64 > 0 {
            ages.now.saturating_sub(1)
        } else {
            limit.wrapping_neg()
        };
        let buffer_age = buffer_age.max(started);
        // Rounded as the next flush will, so that a flush does not change it.
        let total = values.iter().fold(sum, |sum, value| sum + value);
        if !tuples.is_empty() && ages.contains(sketch_age) {
            older.push(sketch_of(tuples, tuple_word & 1 == 1)?);
        }
        if !values.is_empty() && ages.contains(buffer_age) {
            let mut keys: Vec<_> = values.into_iter().map(key_of).collect();
            keys.sort_unstable();
            older.push(Sketch::from_sorted(&keys));
        }
        self.sketches.append(&mut older);
        self.add(count.wrapping_add(len), total);
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

/// Reads the ages of a page: that in which its buffer was started, that of its sketch, and the
/// sketches of earlier ages.
fn read_history(memory: &Memory<'_>, address: u64, ages: Ages) -> Try<(u64, u64, Vec<Sketch>)> {
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
