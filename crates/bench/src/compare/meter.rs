//! The clock of a batch, and the count of its instructions where the kernel has one.

use std::hint::black_box;
use std::time::Instant;

use super::measure::Batch;

/// Measures batches on the thread that created it.
#[derive(Debug)]
pub(super) struct Meter {
    instructions: Instructions,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            instructions: Instructions::new(),
        }
    }

    /// Measures a batch. An eighth of its iterations runs before, unmeasured, and fetches what the
    /// other lanes displaced from the caches.
    #[inline(never)]
    pub(super) fn batch<R>(&mut self, iterations: u64, work: &mut impl FnMut() -> R) -> Batch {
        for _ in 0..iterations / 8 {
            black_box(work());
        }
        self.instructions.start();
        let start = Instant::now();
        for _ in 0..iterations {
            black_box(work());
        }
        let nanos = start.elapsed().as_nanos() as u64;
        Batch {
            nanos,
            instructions: self.instructions.stop(),
        }
    }
}

/// Counts instructions in user space, of this thread and those that it starts.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Instructions(Option<perf_event::Counter>);

#[cfg(target_os = "linux")]
impl Instructions {
    fn new() -> Self {
        let mut builder = perf_event::Builder::new(perf_event::events::Hardware::INSTRUCTIONS);
        Self(
            builder
                .inherit(true)
                .exclude_kernel(true)
                .exclude_hv(true)
                .build()
                .ok(),
        )
    }

    fn start(&mut self) {
        if let Some(counter) = &mut self.0
            && counter.reset().and_then(|()| counter.enable()).is_err()
        {
            self.0 = None;
        }
    }

    fn stop(&mut self) -> Option<u64> {
        let counter = self.0.as_mut()?;
        counter.disable().ok()?;
        counter.read().ok()
    }
}

/// Other systems count no instructions for everybody.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Instructions;

#[cfg(not(target_os = "linux"))]
impl Instructions {
    fn new() -> Self {
        Self
    }

    fn start(&mut self) {}

    fn stop(&mut self) -> Option<u64> {
        None
    }
}
