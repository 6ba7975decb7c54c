//! Threads that work at the same time. Each look at the clock is one nanosecond, so that no time is
//! measured twice or not at all: sums can be compared exactly.

use std::sync::{Arc, Barrier};
use std::thread;

use tracing::{Dispatch, dispatcher, info_span};
use tracing_subscriber::layer::SubscriberExt;

use super::{all_times, sum, times_of};
use crate::clock::Clock;
use crate::settings::SpanTime;

/// Children of one thread do not overlap, so the self times of a tree add up to the duration of its
/// root.
#[test]
fn self_times_of_trees_on_many_threads_add_up_to_the_roots() {
    fn grow(depth: u32, seed: u64) {
        let _entered = info_span!(target: "t", "inner").entered();
        for i in 0..seed % 4 {
            if depth > 0 {
                grow(depth - 1, seed / 4 + i);
            }
        }
    }
    let (registry, settings) = all_times(Clock::Ticks(Arc::default()));
    let layer = settings.register(&registry).unwrap();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    thread::scope(|scope| {
        for thread in 0..4 {
            let dispatch = &dispatch;
            scope.spawn(move || {
                dispatcher::with_default(dispatch, || {
                    for i in 0..200 {
                        let _root = info_span!(target: "t", "root").entered();
                        grow(4, thread * 1_000_003 + i * 7919);
                    }
                });
            });
        }
    });
    let [root, root_self, ..] = times_of(&registry, "root");
    let [_, inner_self, ..] = times_of(&registry, "inner");
    assert!(root > 0 && root_self > 0 && inner_self > 0);
    assert_eq!(root_self + inner_self, root);
}

/// A parent whose children come and go on four threads at once.
#[test]
fn children_on_many_threads_cover_their_parent_once() {
    let (registry, settings) = all_times(Clock::Ticks(Arc::default()));
    let layer = settings.register(&registry).unwrap();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    let barrier = Barrier::new(4);
    dispatcher::with_default(&dispatch, || {
        let parent = info_span!(target: "t", "parent");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    dispatcher::with_default(&dispatch, || {
                        let _kept = info_span!(target: "t", parent: &parent, "child");
                        barrier.wait();
                        for _ in 0..500 {
                            let child = info_span!(target: "t", parent: &parent, "child");
                            let _in_both = (parent.clone().entered(), child.entered());
                        }
                        barrier.wait();
                    });
                });
            }
        });
    });
    let now = registry.snapshot();
    let labels = [("span", "child"), ("target", "t")];
    assert_eq!(sum(&now, SpanTime::Duration, &labels).0, 2004);
    let [duration, self_time, busy, idle] = times_of(&registry, "parent");
    assert_eq!(busy + idle, duration);
    // From the first child that begins to the last that ends, one is always open. Before and after
    // it, each of the four threads looks at the clock a few times at most.
    assert!(self_time > 0 && self_time < 40, "{self_time} of {duration}");
    assert!(busy <= duration && duration > 8000);
}
