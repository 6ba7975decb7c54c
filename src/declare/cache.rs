//! A thread's own memory of the label sets it has used: hash, compare, done; no lock and no shared line.
//!
//! A line remembers a copy of the label values, where the series is, and the generation it had then. Who removes a
//! series moves its generation on, and the line is no longer believed.

use std::cell::RefCell;

use crate::observe::Tag;

/// Lines after which a thread forgets a family's label sets and begins anew.
const MOST_LINES: usize = 8192;

thread_local! {
    static CACHES: RefCell<Vec<Cache>> = const { RefCell::new(Vec::new()) };
}

/// Where a label set's series is, and its generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) index: u32,
    pub(super) tag: Tag,
}

/// One thread's label sets of one family.
struct Cache {
    /// The family this is for: places are used again by later families.
    family: u64,
    lines: Vec<Line>,
    used: usize,
    /// The label values, each behind its length.
    keys: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Line {
    /// 0 where the line is empty.
    hash: u64,
    key: u32,
    found: Found,
}

impl Cache {
    const fn new(family: u64) -> Self {
        Self {
            family,
            lines: Vec::new(),
            used: 0,
            keys: Vec::new(),
        }
    }

    #[inline]
    fn find(&self, hash: u64, texts: &[&str]) -> Option<&Line> {
        let mask = self.lines.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        while let Some(line) = self.lines.get(at) {
            if line.hash == hash && self.has_key(line.key as usize, texts) {
                return Some(line);
            }
            if line.hash == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
        None
    }

    #[inline]
    fn has_key(&self, mut at: usize, texts: &[&str]) -> bool {
        texts.iter().all(|text| {
            let Some((len, rest)) = self
                .keys
                .get(at..)
                .and_then(|keys| keys.split_first_chunk())
            else {
                return false;
            };
            at += 4 + text.len();
            u32::from_ne_bytes(*len) as usize == text.len()
                && rest.get(..text.len()) == Some(text.as_bytes())
        })
    }

    fn put(&mut self, hash: u64, texts: &[&str], found: Found) {
        let mask = self.lines.len().wrapping_sub(1);
        let known = self.find(hash, texts).map(|line| line.key);
        if known.is_none() && 2 * (self.used + 1) > self.lines.len() {
            self.grow();
            return self.put(hash, texts, found);
        }
        let key = known.unwrap_or_else(|| {
            let key = self.keys.len();
            for text in texts {
                self.keys.extend((text.len() as u32).to_ne_bytes());
                self.keys.extend(text.as_bytes());
            }
            self.used += 1;
            key as u32
        });
        let mut at = hash as usize & mask;
        while self.lines[at].hash != 0 && (self.lines[at].hash, self.lines[at].key) != (hash, key) {
            at = (at + 1) & mask;
        }
        self.lines[at] = Line { hash, key, found };
    }

    fn grow(&mut self) {
        let lines = (2 * self.lines.len()).max(16);
        let old = std::mem::replace(&mut self.lines, vec![Line::EMPTY; lines]);
        if lines > MOST_LINES || self.keys.len() > MOST_LINES * 256 {
            // Begin anew: what is still in use comes back.
            self.lines = vec![Line::EMPTY; 16];
            self.keys = Vec::new();
            self.used = 0;
            return;
        }
        for line in old.iter().filter(|line| line.hash != 0) {
            let mut at = line.hash as usize & (lines - 1);
            while self.lines[at].hash != 0 {
                at = (at + 1) & (lines - 1);
            }
            self.lines[at] = *line;
        }
    }
}

impl Line {
    const EMPTY: Self = Self {
        hash: 0,
        key: 0,
        found: Found {
            index: 0,
            tag: Tag::FIRST,
        },
    };
}

/// The calling thread's line for a label set of the family `id`, which has `place` among all families.
#[inline]
pub(super) fn find(id: u64, place: usize, hash: u64, texts: &[&str]) -> Option<Found> {
    CACHES
        .try_with(|caches| {
            let caches = caches.try_borrow().ok()?;
            let cache = caches.get(place).filter(|cache| cache.family == id)?;
            cache.find(hash | 1, texts).map(|line| line.found)
        })
        .ok()
        .flatten()
}

/// Remembers where a label set's series is. Does nothing in a thread that ends, or inside an allocation of this very
/// memory.
pub(super) fn remember(id: u64, place: usize, hash: u64, texts: &[&str], found: Found) {
    let _ = CACHES.try_with(|caches| {
        let Ok(mut caches) = caches.try_borrow_mut() else {
            return;
        };
        while caches.len() <= place {
            caches.push(Cache::new(0));
        }
        if caches[place].family != id {
            caches[place] = Cache::new(id);
        }
        caches[place].put(hash | 1, texts, found);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(index: u32) -> Found {
        Found {
            index,
            tag: Tag::FIRST,
        }
    }

    #[test]
    fn remembers_and_grows() {
        let mut cache = Cache::new(1);
        assert!(cache.find(1, &["a"]).is_none());
        for i in 0..1000_u32 {
            // Few different hashes: lines have to be told apart by their keys.
            cache.put(u64::from(i % 7) | 1, &["x", &i.to_string()], found(i));
        }
        for i in 0..1000_u32 {
            let line = cache.find(u64::from(i % 7) | 1, &["x", &i.to_string()]);
            assert_eq!(line.unwrap().found.index, i);
        }
        assert!(cache.find(1, &["x1", "0"]).is_none());
        cache.put(1, &["x", "0"], found(5));
        assert_eq!(cache.find(1, &["x", "0"]).unwrap().found.index, 5);
        assert_eq!(cache.used, 1000);
    }

    #[test]
    fn forgets_rather_than_grow_for_ever() {
        let mut cache = Cache::new(1);
        for i in 0..100_000_u64 {
            cache.put(i | 1, &[&i.to_string()], found(0));
        }
        assert!(cache.lines.len() <= MOST_LINES);
    }

    #[test]
    fn another_family_in_the_same_place_begins_anew() {
        remember(41, 0, 3, &["a"], found(1));
        assert!(find(41, 0, 3, &["a"]).is_some());
        assert!(find(42, 0, 3, &["a"]).is_none());
        remember(42, 0, 3, &["a"], found(2));
        assert_eq!(find(42, 0, 3, &["a"]).unwrap().index, 2);
        assert!(find(41, 0, 3, &["a"]).is_none());
    }
}
