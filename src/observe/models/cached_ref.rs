//! Models of the cached reference of a bound series.

use std::sync::Arc;

use loom::thread;

use crate::lockfree::{CachedRef, Generation, SeriesKey};
use crate::sync::{AtomicU64, Relaxed};

use super::reached;

/// A reference into an array in which each item is its own index.
type Parts = CachedRef<[u32; 3], u32>;

/// Reads in another thread. The item that it gets must be the one that the key names.
fn read_aside(kept: &Arc<Parts>) -> thread::JoinHandle<Option<u32>> {
    let kept = Arc::clone(kept);
    thread::spawn(move || {
        kept.get().map(|(part, key)| {
            assert_eq!(*part, key.index());
            key.index()
        })
    })
}

/// Two threads look up another item each while a third one reads.
#[test]
fn a_kept_word_has_its_part() {
    let seen = reached(3, || {
        let kept = Arc::new(CachedRef::new(Arc::new([0_u32, 1, 2])));
        kept.find(|parts| (&parts[0], SeriesKey::new(Generation::FIRST, 0)));
        let find = |kept: &Parts, n: usize| {
            kept.find(|parts| (&parts[n], SeriesKey::new(Generation::FIRST, n as u32)));
        };
        let reader = read_aside(&kept);
        let finder = {
            let kept = Arc::clone(&kept);
            thread::spawn(move || find(&kept, 1))
        };
        find(&kept, 2);
        finder.join().unwrap();
        let seen = reader.join().unwrap();
        let (part, key) = kept.get().expect("no thread is storing a part any more");
        assert_eq!(*part, key.index());
        assert_ne!(key.index(), 0);
        seen
    });
    assert_eq!(seen, [None, Some(0), Some(1), Some(2)].into());
}

/// A series is retired and looked up again, while one thread that found the old series has not
/// stored it yet, and another one reads.
#[test]
fn a_kept_word_that_has_gone_does_not_come_back() {
    let seen = reached(3, || {
        let kept = Arc::new(CachedRef::new(Arc::new([0_u32, 1, 2])));
        let current = Arc::new(AtomicU64::new(1));
        kept.find(|parts| (&parts[0], SeriesKey::new(Generation::FIRST, 0)));
        let find = |kept: &Parts, current: &AtomicU64| {
            kept.find(|parts| {
                let n = current.load(Relaxed);
                (
                    &parts[n as usize],
                    SeriesKey::new(Generation::FIRST, n as u32),
                )
            });
        };
        let reader = read_aside(&kept);
        let finder = {
            let (kept, current) = (Arc::clone(&kept), Arc::clone(&current));
            thread::spawn(move || find(&kept, &current))
        };
        find(&kept, &current);
        current.store(2, Relaxed);
        find(&kept, &current);
        finder.join().unwrap();
        reader.join().unwrap()
    });
    assert_eq!(seen, [None, Some(0), Some(1), Some(2)].into());
}
