//! The self-metrics of senders.

use std::time::SystemTime;

use tallies::{Bound, Counter, Error, Gauge, Registry};

/// The self-metrics of one sender: its series in families that all senders of a registry share.
pub(crate) struct SelfMetrics {
    sends: Bound<Counter>,
    failures: Bound<Counter>,
    rejected: Bound<Counter>,
    superseded: Bound<Counter>,
    last: Bound<Gauge>,
}

impl SelfMetrics {
    #[track_caller]
    pub(crate) fn new(registry: &Registry, receiver: &str) -> Result<Self, Error> {
        // A function, because a closure would hide the caller from messages.
        #[track_caller]
        fn counter(of: (&Registry, &str), name: &str, help: &str) -> Result<Bound<Counter>, Error> {
            let family = Counter::builder(name, help).labels(["receiver"]);
            Ok(family.get_or_register(of.0)?.bind([of.1]))
        }
        let of = (registry, receiver);
        let last = "The time of the last snapshot that a receiver has taken.";
        let last = Gauge::builder("tallies_last_send_timestamp_seconds", last).labels(["receiver"]);
        Ok(Self {
            sends: counter(
                of,
                "tallies_sends_total",
                "Requests that a receiver accepted.",
            )?,
            failures: counter(
                of,
                "tallies_send_failures_total",
                "Requests without an answer, or with one that is no success.",
            )?,
            rejected: counter(
                of,
                "tallies_send_rejected_samples_total",
                "Samples that a receiver rejected from requests that it accepted.",
            )?,
            superseded: counter(
                of,
                "tallies_send_superseded_samples_total",
                "Samples that were not sent before a newer snapshot replaced them.",
            )?,
            last: last.get_or_register(registry)?.bind([receiver]),
        })
    }

    pub(crate) fn accepted(&self, rejected: u64) {
        self.sends.inc();
        self.rejected.add(rejected);
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }

    pub(crate) fn superseded(&self, samples: u64) {
        self.superseded.add(samples);
    }

    /// Everything of a snapshot that was taken at `taken` has arrived.
    pub(crate) fn arrived(&self, taken: SystemTime) {
        let since = taken.duration_since(SystemTime::UNIX_EPOCH);
        self.last.set(since.unwrap_or_default().as_secs_f64());
    }
}
