//! Exact numbers of allocations.

#[path = "../../../tests/support/counting.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod counting;

use counting::allocations;
use tallies::Registry;
use tallies_metrics::{Matcher, Recorder};

/// The macros look up the recorder on every update.
#[test]
fn an_update_allocates_nothing_once_warm() {
    let registry = Registry::new();
    let recorder = Recorder::builder()
        .registry(&registry)
        .buckets_for(Matcher::full("buckets"), &[1.0])
        .build()
        .unwrap();
    let update = || {
        metrics::counter!("events", "kind" => "a", "of" => "b").increment(1);
        metrics::gauge!("length", "queue" => "mail").set(1.0);
        metrics::histogram!("buckets", "a" => "b").record(0.5);
        metrics::counter!("mirrored").absolute(3);
    };
    metrics::with_local_recorder(&recorder, || {
        for _ in 0..2000 {
            update();
        }
        let n = allocations(|| {
            for _ in 0..10_000 {
                update();
            }
        });
        assert_eq!(n, 0);
    });
}
