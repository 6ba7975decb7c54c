//! Models of published values: exemplars and texts, and of their owners.

use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::Arc;

use loom::thread;

use crate::sync::{AtomicU64, Relaxed};

use super::{reached, set};
use crate::lockfree::atomic_box::{AtomicBox, Free};
use crate::lockfree::epoch::{pin, with_epochs};
use crate::lockfree::owners::Owners;

/// Two words that belong together. They are atomics, so that loom detects a reader that accesses
/// them before they are initialized or after they are freed.
struct Pair(AtomicU64, AtomicU64);

impl Pair {
    fn of(n: u64) -> NonNull<Self> {
        let pair = Box::new(Self(AtomicU64::new(n), AtomicU64::new(n)));
        NonNull::from(Box::leak(pair))
    }
}

impl Free for Pair {
    unsafe fn free(this: NonNull<Self>) {
        // SAFETY: leaked in `of`. The caller guarantees that no other thread can reach it.
        let mut pair = unsafe { Box::from_raw(this.as_ptr()) };
        pair.0.with_mut(|_| ());
        pair.1.with_mut(|_| ());
    }
}

fn read(published: &AtomicBox<Pair>) -> u64 {
    let pinned = pin();
    let Some(pair) = published.get(&pinned) else {
        return 0;
    };
    // SAFETY: not freed while the epoch is pinned (P2).
    let pair = unsafe { pair.as_ref() };
    let (a, b) = (pair.0.load(Relaxed), pair.1.load(Relaxed));
    assert_eq!(a, b, "torn");
    a
}

/// An exemplar: two threads replace it, and a scrape reads it twice.
#[test]
fn an_exemplar_is_never_torn() {
    let seen = with_epochs(|| {
        reached(3, || {
            let published = Arc::new(AtomicBox::empty());
            published.set(Pair::of(3));
            let writers = [1, 2].map(|n| {
                let published = Arc::clone(&published);
                thread::spawn(move || published.replace(Some(Pair::of(n))))
            });
            let seen = (read(&published), read(&published));
            writers.into_iter().for_each(|w| w.join().unwrap());
            assert_ne!(read(&published), 3);
            seen
        })
    });
    let firsts: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(firsts, set(&[1, 2, 3]));
    assert!(seen.contains(&(1, 2)) && seen.contains(&(2, 1)), "{seen:?}");
}

/// A text: one thread sets it, clears it, and sets another one.
#[test]
fn a_text_is_whole_or_absent() {
    let seen = with_epochs(|| {
        reached(3, || {
            let published = Arc::new(AtomicBox::empty());
            let owner = {
                let published = Arc::clone(&published);
                thread::spawn(move || {
                    published.set(Pair::of(1));
                    published.replace(None);
                    published.set(Pair::of(2));
                })
            };
            let seen = (read(&published), read(&published));
            owner.join().unwrap();
            // Clears the value in another thread than the one that published it.
            published.replace(None);
            seen
        })
    });
    assert!(
        seen.iter().all(|&(a, b)| a == 0 || a <= b || b == 0),
        "{seen:?}"
    );
    let firsts: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(firsts, set(&[0, 1, 2]));
}

/// A text that two bound series and a series own. Each reads it and leaves; the last one frees it.
#[test]
fn the_last_owner_frees_a_text() {
    struct Owned {
        owners: Owners,
        text: AtomicU64,
    }

    /// Reads the text and leaves. Returns whether this was the last owner.
    fn leave(owned: NonNull<Owned>) -> bool {
        // SAFETY: this owner has not left (O1).
        let it = unsafe { owned.as_ref() };
        assert_eq!((it.text.load(Relaxed), it.owners.constant()), (7, 3));
        let is_last = it.owners.leave();
        if is_last {
            // SAFETY: leaked below. No other owner is left (O1).
            let mut owned = unsafe { Box::from_raw(owned.as_ptr()) };
            owned.text.with_mut(|text| *text = 0);
        }
        is_last
    }

    let seen = reached(0, || {
        let owned = NonNull::from(Box::leak(Box::new(Owned {
            owners: Owners::one(3),
            text: AtomicU64::new(7),
        })));
        // SAFETY: this thread is an owner.
        assert!(unsafe { owned.as_ref() }.owners.add());
        let address = owned.as_ptr() as usize;
        let other = thread::spawn(move || leave(NonNull::new(address as *mut Owned).unwrap()));
        let mine = leave(owned);
        let other = other.join().unwrap();
        assert_ne!(mine, other);
        mine
    });
    assert_eq!(seen, set(&[false, true]));
}
