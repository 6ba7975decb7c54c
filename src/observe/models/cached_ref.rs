//! Models of the references of bound series and of declarations.

use std::sync::Arc;

use loom::thread;

use crate::lockfree::{CachedRef, Generation, PartRef, SeriesKey};
use crate::sync::{AtomicU64, Relaxed};

use super::reached;

/// A reference into an array in which each item is its own index.
type Parts = CachedRef<[u32; 3], u32>;

/// Reads in another thread.
fn spawn_reader(cached: &Arc<Parts>) -> thread::JoinHandle<Option<u32>> {
    let cached = Arc::clone(cached);
    thread::spawn(move || get(&cached))
}

/// Returns the item that is cached, if there is one. It must be the one that the key names.
fn get(cached: &Parts) -> Option<u32> {
    let (part, key) = cached.get_or(|| (&u32::MAX, SeriesKey::OVERFLOW));
    assert_eq!(*part, key.index());
    (!key.is_overflow()).then_some(*part)
}

/// Two threads look up another item each while a third one reads.
#[test]
fn a_cached_word_has_its_part() {
    let seen = reached(3, || {
        let cached = Arc::new(CachedRef::new(Arc::new([0_u32, 1, 2])));
        cached.find(|parts| (&parts[0], SeriesKey::new(Generation::FIRST, 0)));
        let find = |cached: &Parts, n: usize| {
            cached.find(|parts| (&parts[n], SeriesKey::new(Generation::FIRST, n as u32)));
        };
        let reader = spawn_reader(&cached);
        let finder = {
            let cached = Arc::clone(&cached);
            thread::spawn(move || find(&cached, 1))
        };
        find(&cached, 2);
        finder.join().unwrap();
        let seen = reader.join().unwrap();
        let last = get(&cached).expect("no thread stores a part any more");
        assert_ne!(last, 0);
        seen
    });
    assert_eq!(seen, [None, Some(0), Some(1), Some(2)].into());
}

/// A series is retired and looked up again, while one thread that found the old series has not
/// stored it yet, and another one reads.
#[test]
fn a_replaced_word_does_not_come_back() {
    let seen = reached(3, || {
        let cached = Arc::new(CachedRef::new(Arc::new([0_u32, 1, 2])));
        let current = Arc::new(AtomicU64::new(1));
        cached.find(|parts| (&parts[0], SeriesKey::new(Generation::FIRST, 0)));
        let find = |cached: &Parts, current: &AtomicU64| {
            cached.find(|parts| {
                let n = current.load(Relaxed);
                (
                    &parts[n as usize],
                    SeriesKey::new(Generation::FIRST, n as u32),
                )
            });
        };
        let reader = spawn_reader(&cached);
        let finder = {
            let (cached, current) = (Arc::clone(&cached), Arc::clone(&current));
            thread::spawn(move || find(&cached, &current))
        };
        find(&cached, &current);
        current.store(2, Relaxed);
        find(&cached, &current);
        finder.join().unwrap();
        reader.join().unwrap()
    });
    assert_eq!(seen, [None, Some(0), Some(1), Some(2)].into());
}

/// A declaration makes its family while another thread updates it.
#[test]
fn a_part_that_is_found_is_complete() {
    let seen = reached(0, || {
        let declared = Arc::new(PartRef::<AtomicU64, AtomicU64>::new());
        let reader = {
            let declared = Arc::clone(&declared);
            thread::spawn(move || declared.part().map(|part| part.load(Relaxed)))
        };
        let family = Arc::new(AtomicU64::new(0));
        family.store(7, Relaxed);
        declared.owner_or(|| family);
        declared.set_part(|family| family);
        reader.join().unwrap()
    });
    assert_eq!(seen, [None, Some(7)].into());
}
