//! The counts of the allocator, for a scrape.

use crate::error::Error;
use crate::observe::{self, Allocated, Allocator};
use crate::registry::{Collected, Registry};

impl<A> Allocator<A> {
    /// Exposes `process_allocated_bytes` and `process_allocations_total`. Those of before count as well.
    ///
    /// From now on threads that count metrics count this in their own cells: see [`Allocator`] for what an allocation then
    /// costs. A scrape reads some cells of each thread more.
    ///
    /// # Errors
    ///
    /// A registry that has it already.
    pub fn register(&self, registry: &Registry) -> Result<(), Error> {
        observe::count_allocations();
        registry.collect("process_allocator", |out: &mut Collected| {
            let now = allocated();
            out.gauge(
                "process_allocated_bytes",
                "Bytes that the program allocated and has not freed yet.",
                &[],
                now.bytes as f64,
            )?;
            Ok(out.counter(
                "process_allocations_total",
                "Times that the program allocated.",
                &[],
                now.allocations as f64,
            )?)
        })
    }

    /// What was counted so far, by all threads. Waits for a scrape that is running.
    #[must_use]
    pub fn total(&self) -> Allocated {
        allocated()
    }
}

fn allocated() -> Allocated {
    let mut pass = observe::engine().pass();
    // Else what threads counted that are gone would stay in their cells, which every scrape reads.
    pass.take_idle();
    observe::allocated(&mut pass)
}
