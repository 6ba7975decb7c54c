//! Exposes the counts of the allocator.

use crate::error::Error;
use crate::observe::{self, Allocated, Allocator};
use crate::registry::samples::Samples;
use crate::registry::{Collected, Registry};

impl<A> Allocator<A> {
    /// Exposes `process_allocated_bytes` and `process_allocations_total`. Allocations from before
    /// the call count as well.
    ///
    /// From now on, each thread that updates metrics also counts its allocations in its own cells,
    /// and a scrape reads a few more cells per thread. See [`Allocator`] for the cost of an
    /// allocation.
    ///
    /// # Errors
    ///
    /// Returns an error if the registry already has these metrics.
    #[track_caller]
    pub fn register(&self, registry: &Registry) -> Result<(), Error> {
        observe::count_allocations();
        registry.collect_unprefixed("process_allocator", |out: &mut Collected| {
            let prefix = "process";
            let (mut out, now) = (Samples { out, prefix }, allocated());
            out.write(
                (
                    "allocated_bytes",
                    "Bytes that the program allocated and has not freed yet.",
                ),
                &[],
                now.bytes as f64,
            )?;
            out.write(
                ("allocations_total", "Allocations of the program."),
                &[],
                now.allocations as f64,
            )
        })
    }

    /// Returns the counts so far, over all threads. Waits for a running scrape.
    ///
    /// ```
    /// #[global_allocator]
    /// static ALLOCATOR: tallies::process::Allocator = tallies::process::Allocator::new();
    ///
    /// let before = ALLOCATOR.total();
    /// let large = vec![1_u8; 1 << 20];
    /// assert!(ALLOCATOR.total().bytes - before.bytes >= large.len() as u64);
    /// ```
    #[must_use]
    pub fn total(&self) -> Allocated {
        allocated()
    }
}

fn allocated() -> Allocated {
    let mut pass = observe::engine().pass();
    // Without this, counts of threads that have ended would stay in their shards, and every scrape
    // would read these.
    pass.take_idle();
    observe::allocated(&mut pass)
}
