//! A model of coalesced passes.

use std::sync::Arc;

use loom::thread;

use crate::sync::{AtomicU64, CoalescedPasses, Relaxed};

use super::reached;

/// Four threads: with three, at most one waits, so it does not matter how many are woken.
#[test]
fn a_shared_pass_has_the_update_of_who_asked() {
    let seen = reached(2, || {
        let passes = Arc::new(CoalescedPasses::<u64>::new());
        let cells = Arc::new([(); 4].map(|()| AtomicU64::new(0)));
        let ran = Arc::new(AtomicU64::new(0));
        let inside = Arc::new(AtomicU64::new(0));
        let scrape = {
            let ran = Arc::clone(&ran);
            Arc::new(move |me: usize| {
                cells[me].store(1 << (4 * me), Relaxed);
                let arrived = passes.arrive();
                let shared = passes.last(arrived).or_else(|| {
                    passes.run(arrived, || {
                        assert_eq!(inside.fetch_add(1, Relaxed), 0, "two passes at once");
                        ran.fetch_add(1, Relaxed);
                        let found = cells.iter().map(|cell| cell.load(Relaxed)).sum();
                        inside.fetch_sub(1, Relaxed);
                        found
                    })
                });
                let found: u64 = shared.expect("nobody is inside a pass");
                assert_eq!(
                    found >> (4 * me) & 1,
                    1,
                    "an update that returned is missing"
                );
            })
        };
        let others: Vec<_> = (1..4)
            .map(|me| {
                let scrape = Arc::clone(&scrape);
                thread::spawn(move || scrape(me))
            })
            .collect();
        scrape(0);
        others.into_iter().for_each(|t| t.join().unwrap());
        ran.load(Relaxed)
    });
    assert!(
        seen.contains(&2),
        "four scrapes never shared a pass: {seen:?}"
    );
}
