//! A cache of handles per thread: a hash table from key to handle.
//!
//! The macros of `metrics` ask the recorder on every update, so this is the hot path. A look-up
//! takes no lock and allocates nothing, and the reference count of a cached handle belongs to one
//! thread. The hash of a key has a public seed, so anyone can construct colliding keys. To bound
//! the cost, a table probes only eight slots per key, and replaces an entry if all of them are
//! taken.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::LocalKey;

use metrics::{Counter, Gauge, Histogram, Key};

/// Incremented when a recorder is dropped. Each thread then clears its tables at its next cache
/// miss.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The number of slots that a key can be in.
const PROBES: usize = 8;
/// The size to which a table grows.
const MAX_SLOTS: usize = 1 << 14;

thread_local! {
    static COUNTERS: RefCell<HandleCache<Counter>> = const { RefCell::new(HandleCache::new()) };
    static GAUGES: RefCell<HandleCache<Gauge>> = const { RefCell::new(HandleCache::new()) };
    static HISTOGRAMS: RefCell<HandleCache<Histogram>> = const { RefCell::new(HandleCache::new()) };
}

/// A kind of handle that threads cache.
pub(super) trait Cached: Clone + 'static {
    /// The thread-local table for this kind.
    const TABLE: &'static LocalKey<RefCell<HandleCache<Self>>>;
}

impl Cached for Counter {
    const TABLE: &'static LocalKey<RefCell<HandleCache<Self>>> = &COUNTERS;
}

impl Cached for Gauge {
    const TABLE: &'static LocalKey<RefCell<HandleCache<Self>>> = &GAUGES;
}

impl Cached for Histogram {
    const TABLE: &'static LocalKey<RefCell<HandleCache<Self>>> = &HISTOGRAMS;
}

/// Returns the cached handle of `key` for the recorder with this `seed`. On a miss, calls `make`,
/// and caches the handle if `make` returns `true` with it.
#[inline]
pub(super) fn find_or<H: Cached>(seed: u64, key: &Key, make: impl FnOnce() -> (H, bool)) -> H {
    let found = H::TABLE.try_with(|cache| cache.try_borrow().ok()?.find(seed, key));
    match found {
        Ok(Some(handle)) => handle,
        // A miss; a table that this thread is using further up the stack; or a thread that is
        // exiting and has dropped its table.
        _ => make_and_cache(seed, key, make),
    }
}

#[cold]
#[inline(never)]
fn make_and_cache<H: Cached>(seed: u64, key: &Key, make: impl FnOnce() -> (H, bool)) -> H {
    let (handle, cacheable) = make();
    if cacheable {
        let _ = H::TABLE.try_with(|cache| {
            // Drop replaced entries after the borrow ends: their destructors may use this table
            // again.
            let cache = cache.try_borrow_mut();
            let evicted = cache.map(|mut cache| cache.insert(seed, key, handle.clone()));
            drop(evicted);
        });
    }
    handle
}

/// Lets all threads clear their tables, because a recorder was dropped. Each thread does so at its
/// next cache miss.
pub(super) fn invalidate() {
    GENERATION.fetch_add(1, Relaxed);
}

/// A hash table with linear probing over [`PROBES`] slots.
#[derive(Debug)]
pub(super) struct HandleCache<H> {
    /// The slots. Their number is zero or a power of two.
    entries: Vec<Option<Entry<H>>>,
    /// The number of slots in use.
    len: usize,
    /// The value of [`GENERATION`] when the table was last cleared.
    generation: u64,
}

#[derive(Debug)]
struct Entry<H> {
    hash: u64,
    seed: u64,
    key: Key,
    handle: H,
}

impl<H: Clone> HandleCache<H> {
    const fn new() -> Self {
        Self {
            entries: Vec::new(),
            len: 0,
            generation: 0,
        }
    }

    #[inline]
    fn find(&self, seed: u64, key: &Key) -> Option<H> {
        let hash = mix(seed, key);
        let mask = self.entries.len().wrapping_sub(1);
        for i in 0..PROBES {
            let slot = (hash as usize).wrapping_add(i) & mask;
            let entry = self.entries.get(slot)?.as_ref()?;
            if entry.hash == hash && entry.seed == seed && same(&entry.key, key) {
                return Some(entry.handle.clone());
            }
        }
        None
    }

    /// Inserts a handle. Returns the entries it replaces, so that the caller drops them.
    fn insert(&mut self, seed: u64, key: &Key, handle: H) -> Vec<Option<Entry<H>>> {
        let generation = GENERATION.load(Relaxed);
        let mut evicted = Vec::new();
        if self.generation != generation {
            evicted = std::mem::take(&mut self.entries);
            self.generation = generation;
            self.len = 0;
        }
        if self.len * 2 >= self.entries.len() && self.entries.len() < MAX_SLOTS {
            let more = (self.entries.len() * 2).max(16);
            let old = std::mem::take(&mut self.entries);
            self.entries.resize_with(more, || None);
            self.len = 0;
            for entry in old.into_iter().flatten() {
                evicted.push(self.put(entry));
            }
        }
        let hash = mix(seed, key);
        evicted.push(self.put(Entry {
            hash,
            seed,
            key: key.to_retained(),
            handle,
        }));
        evicted
    }

    /// Puts an entry into a free slot. If there is none, replaces the entry in the first slot,
    /// and returns it.
    fn put(&mut self, entry: Entry<H>) -> Option<Entry<H>> {
        let mask = self.entries.len() - 1;
        let home = entry.hash as usize & mask;
        let mut slots = (0..PROBES).map(|i| (home + i) & mask);
        let free = slots.find(|slot| self.entries[*slot].is_none());
        self.len += usize::from(free.is_some());
        self.entries[free.unwrap_or(home)].replace(entry)
    }
}

/// Mixes the seed of the recorder into the key's hash.
#[inline]
fn mix(seed: u64, key: &Key) -> u64 {
    let product = u128::from(key.get_hash() ^ seed) * 0x9E37_79B9_7F4A_7C15;
    (product >> 64) as u64 ^ product as u64
}

/// Returns whether two keys are equal. Compares addresses first, which is quick and enough for
/// constant labels. A cached key keeps its texts alive, so equal addresses cannot be a reused
/// allocation.
#[inline]
fn same(a: &Key, b: &Key) -> bool {
    let text = |a: &str, b: &str| std::ptr::eq(a, b) || a == b;
    let (ours, theirs) = (a.labels().as_slice(), b.labels().as_slice());
    text(a.name(), b.name()) && (std::ptr::eq(ours, theirs) || same_labels(a, b))
}

/// Returns whether two keys have the same labels, in any order.
#[inline(never)]
fn same_labels(a: &Key, b: &Key) -> bool {
    let text = |a: &str, b: &str| std::ptr::eq(a, b) || a == b;
    let mut pairs = a.labels().zip(b.labels());
    a.labels().len() == b.labels().len()
        && (pairs.all(|(a, b)| text(a.key(), b.key()) && text(a.value(), b.value())) || a == b)
}

#[cfg(test)]
mod tests {
    use metrics::Label;

    use super::*;

    fn key(n: usize) -> Key {
        Key::from_parts("a", vec![Label::new("n", n.to_string())])
    }

    #[test]
    fn what_was_kept_is_found_until_its_recorder_is_gone() {
        let mut cache = HandleCache::new();
        for n in 0..100 {
            cache.insert(7, &key(n), n);
        }
        let found = (0..100)
            .filter(|n| cache.find(7, &key(*n)) == Some(*n))
            .count();
        assert!(found > 90, "{found}: some may have made place");
        assert_eq!(cache.find(8, &key(99)), None, "another recorder's");
        invalidate();
        cache.insert(8, &key(1), 1);
        assert_eq!(cache.len, 1);
    }

    #[test]
    fn equal_hashes_are_told_apart_and_bounded() {
        let one = key(1);
        let mut cache = HandleCache::new();
        for n in 0..1000 {
            cache.insert(7, &key(n), n);
            let mask = cache.entries.len() - 1;
            // Pretend that this entry has the hash of `one`.
            let hash = mix(7, &one);
            if let Some(entry) = &mut cache.entries[(hash as usize) & mask] {
                entry.hash = hash;
            }
            assert!(cache.find(7, &one).is_none_or(|n| n == 1));
        }
    }

    #[test]
    fn labels_in_another_order_are_the_same_key() {
        let pair = |a: &'static str, b: &'static str| {
            Key::from_parts(
                "a",
                vec![Label::from_static_parts(a, a), Label::new(b, b.to_owned())],
            )
        };
        assert!(same(&pair("x", "y"), &pair("x", "y")));
        assert!(same(&pair("x", "y"), &pair("y", "x")));
        assert!(!same(&pair("x", "y"), &pair("x", "z")));
    }
}
