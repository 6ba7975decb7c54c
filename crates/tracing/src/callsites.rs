//! The series of callsites: found by address, without a lock and without memory that threads write.
//!
//! An append-only hash table. A span or an event of the program is one static [`Metadata`], so the
//! table has as many entries as the program has callsites that ran, and its entries stay until the
//! layer is dropped. Beyond 65 536 callsites, which only programs have that make callsites at run
//! time, it takes no more, and the layer looks the series up by their labels.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing::Metadata;

/// Chains of entries; a power of two.
const CHAINS: usize = 1024;

/// The most entries.
const MOST_CALLSITES: usize = 65_536;

/// The end of a chain, or its next entry. Set once, by the thread that appends.
type Link<V> = OnceLock<Box<Node<V>>>;

struct Node<V> {
    /// The address of the metadata, which is static.
    key: usize,
    value: V,
    next: Link<V>,
}

/// A value for each callsite.
pub(crate) struct CallsiteTable<V> {
    chains: Box<[Link<V>]>,
    /// The number of entries. Written by threads that append.
    len: AtomicUsize,
}

impl<V> CallsiteTable<V> {
    pub(crate) fn new() -> Self {
        Self {
            chains: (0..CHAINS).map(|_| Link::new()).collect(),
            len: AtomicUsize::new(0),
        }
    }

    /// Returns the value of a callsite, or appends the one that `make` returns. Returns `None` if
    /// the table is full.
    #[inline]
    pub(crate) fn find(
        &self,
        metadata: &'static Metadata<'static>,
        make: impl FnOnce() -> V,
    ) -> Option<&V> {
        self.find_key(std::ptr::from_ref(metadata) as usize, make)
    }

    #[inline]
    fn find_key(&self, key: usize, make: impl FnOnce() -> V) -> Option<&V> {
        let mut link = self.chains.get(chain_of(key))?;
        while let Some(node) = link.get() {
            if node.key == key {
                return Some(&node.value);
            }
            link = &node.next;
        }
        self.append(link, key, make)
    }

    /// Appends an entry. The value is made before the link is set, and not while: making it may log
    /// a warning, which may come back here as an event.
    ///
    /// - If this thread sets the link, its entry is the next one.
    /// - If another thread sets it first, this one compares that entry. If it is for the same
    ///   callsite, this thread drops its own; the series are the same. Otherwise it goes on behind.
    #[cold]
    fn append<'a>(
        &'a self,
        mut link: &'a Link<V>,
        key: usize,
        make: impl FnOnce() -> V,
    ) -> Option<&'a V> {
        if self.len.load(Relaxed) >= MOST_CALLSITES {
            return None;
        }
        let mut node = Box::new(Node {
            key,
            value: make(),
            next: Link::new(),
        });
        loop {
            match link.set(node) {
                Ok(()) => {
                    self.len.fetch_add(1, Relaxed);
                    return link.get().map(|node| &node.value);
                }
                Err(own) => node = own,
            }
            let other = link.get()?;
            if other.key == key {
                return Some(&other.value);
            }
            link = &other.next;
        }
    }
}

impl<V> Drop for CallsiteTable<V> {
    /// Drops long chains without recursion.
    fn drop(&mut self) {
        for chain in &mut self.chains {
            let mut next = chain.take();
            while let Some(mut node) = next {
                next = node.next.take();
            }
        }
    }
}

impl<V> std::fmt::Debug for CallsiteTable<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallsiteTable")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Spreads addresses, whose low bits are the same and whose high bits are, too.
#[inline]
fn chain_of(key: usize) -> usize {
    let hash = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 40) as usize % CHAINS
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn every_key_has_one_value_whoever_comes_first() {
        let table = CallsiteTable::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let table = &table;
                scope.spawn(move || {
                    for key in 0..3000 {
                        let value = table.find_key(key * 64, || (key, thread));
                        assert_eq!(value.map(|value| value.0), Some(key));
                        assert_eq!(table.find_key(key * 64, || unreachable!()), value);
                    }
                });
            }
        });
        assert_eq!(table.len.load(Relaxed), 3000);
    }

    #[test]
    fn a_full_table_finds_what_it_has_and_takes_no_more() {
        let table = CallsiteTable::new();
        for key in 0..MOST_CALLSITES {
            assert_eq!(table.find_key(key, || key), Some(&key));
        }
        let made = AtomicBool::new(false);
        let make = || {
            made.store(true, Relaxed);
            0
        };
        assert_eq!(table.find_key(usize::MAX, make), None);
        assert!(!made.load(Relaxed));
        assert_eq!(table.find_key(7, || unreachable!()), Some(&7));
    }

    #[test]
    fn making_a_value_may_come_back_to_the_same_chain() {
        let table = CallsiteTable::new();
        let outer = table.find_key(64, || {
            table.find_key(64, || "inner");
            "outer"
        });
        assert_eq!(outer, Some(&"inner"));
        assert_eq!(table.len.load(Relaxed), 1);
    }
}
