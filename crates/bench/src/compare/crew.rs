//! Threads that run a batch together.
//!
//! They live as long as a measurement, as a service's threads do, so thread-local state is
//! initialized once. Before the measured part of a batch, each thread announces its arrival and
//! spins until nobody is missing: a thread that has to be woken would start late. An `Arrival`
//! announces itself when it is dropped, so that nobody waits for a thread that panicked.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

/// The clock of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Wall,
    /// The processor time of the thread.
    Processor,
}

/// Does what precedes a batch, and has `Start` measure the batch. Called with the number of the
/// thread and of iterations.
pub(super) type Run<'a> = Box<dyn Fn(usize, u64, Start) -> Lap + Sync + 'a>;

/// The time of a batch of all threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Timing {
    /// The mean of the threads.
    pub(super) nanos: f64,
    /// The threads ran at the same time, and seldom waited for a processor.
    pub(super) is_together: bool,
}

pub(super) struct Crew<'r> {
    workers: Vec<(Sender<Job<'r>>, Receiver<Lap>)>,
    clock: Clock,
}

struct Job<'r> {
    run: &'r Run<'r>,
    iterations: u64,
    start: Start,
}

/// The right to begin a batch when all threads are there.
pub(super) struct Start {
    arrival: Arrival,
    clock: Clock,
    is_alone: bool,
}

/// One thread of those that are missing.
struct Arrival(Arc<AtomicUsize>);

impl Drop for Arrival {
    fn drop(&mut self) {
        // Release: pairs with the Acquire load in `measure`, so that all threads see each other's
        // setup.
        self.0.fetch_sub(1, Release);
    }
}

/// The batch of one thread.
pub(super) struct Lap {
    start: Instant,
    end: Instant,
    time: Duration,
    /// The time for which the thread was ready to run and waited for a processor.
    waited: Duration,
}

impl<'r> Crew<'r> {
    /// Starts the threads. If there are several, each one stays on a processor.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        threads: usize,
        clock: Clock,
    ) -> io::Result<Self>
    where
        'r: 'scope,
    {
        let start = |number: usize| -> io::Result<_> {
            let (job, jobs) = bounded::<Job<'r>>(1);
            let (lap, laps) = bounded(1);
            let builder = thread::Builder::new().name("bench-worker".to_owned());
            builder.spawn_scoped(scope, move || {
                if threads > 1 {
                    system::pin(number);
                }
                for Job {
                    run,
                    iterations,
                    start,
                } in jobs
                {
                    if lap.send(run(number, iterations, start)).is_err() {
                        return;
                    }
                }
            })?;
            Ok((job, laps))
        };
        let workers = (0..threads).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { workers, clock })
    }

    /// Runs a batch in all threads. `None` if one of them panicked.
    pub(super) fn batch(&self, run: &'r Run<'r>, iterations: u64) -> Option<Timing> {
        let threads = self.workers.len();
        let missing = Arc::new(AtomicUsize::new(threads));
        for (jobs, _) in &self.workers {
            let start = Start {
                arrival: Arrival(missing.clone()),
                clock: self.clock,
                is_alone: threads == 1,
            };
            // If the thread panicked, the job is dropped, and nobody waits for its arrival.
            _ = jobs.send(Job {
                run,
                iterations,
                start,
            });
        }
        let laps = self.workers.iter().map(|(_, laps)| laps.recv().ok());
        Timing::of(&laps.collect::<Option<Vec<Lap>>>()?)
    }
}

impl Start {
    /// Waits for the other threads and measures `work`. What it returns is dropped after that.
    pub(super) fn measure<R>(self, work: impl FnOnce() -> R) -> Lap {
        let missing = self.arrival.0.clone();
        drop(self.arrival);
        // Acquire: pairs with the Release in `Arrival`.
        while missing.load(Acquire) > 0 {
            thread::yield_now();
        }
        // The file that tells it takes longer to read than a clock.
        let waited = || (!self.is_alone).then(system::waited).unwrap_or_default();
        let processor = || match self.clock {
            Clock::Processor => system::time(),
            Clock::Wall => None,
        };
        let waited_before = waited();
        let (start, before) = (Instant::now(), processor());
        let result = black_box(work());
        let (after, end) = (processor(), Instant::now());
        let waited = waited().saturating_sub(waited_before);
        drop(result);
        let time = after.zip(before).map(|(after, before)| after - before);
        Lap {
            start,
            end,
            time: time.unwrap_or(end - start),
            waited,
        }
    }
}

impl Timing {
    fn of(laps: &[Lap]) -> Option<Self> {
        let time: Duration = laps.iter().map(|lap| lap.time).sum();
        let starts = || laps.iter().map(|lap| lap.start);
        let ends = || laps.iter().map(|lap| lap.end);
        let common = ends().min()?.saturating_duration_since(starts().max()?);
        let whole = ends().max()?.saturating_duration_since(starts().min()?);
        let ran = |lap: &Lap| lap.waited <= (lap.end - lap.start) / 10;
        Some(Self {
            nanos: time.as_nanos() as f64 / laps.len() as f64,
            is_together: common >= whole * 4 / 5 && laps.iter().all(ran),
        })
    }
}

#[cfg(target_os = "linux")]
pub(super) mod system {
    use std::time::Duration;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use rustix::time::{ClockId, clock_gettime};

    /// Keeps this thread on one of the processors that it may use, if the kernel lets it: threads
    /// that are woken together could otherwise start on the same one.
    pub(super) fn pin(number: usize) {
        let Ok(allowed) = sched_getaffinity(None) else {
            return;
        };
        let mut processors = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor));
        let count = processors.clone().count().max(1);
        if let Some(processor) = processors.nth(number % count) {
            let mut one = CpuSet::new();
            one.set(processor);
            _ = sched_setaffinity(None, &one);
        }
    }

    /// The processor time of this thread.
    pub(in crate::compare) fn time() -> Option<Duration> {
        clock_gettime(ClockId::ThreadCPUTime).try_into().ok()
    }

    /// For how long this thread was ready to run and waited for a processor, where the kernel
    /// counts it.
    pub(super) fn waited() -> Duration {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanos = text.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
        Duration::from_nanos(nanos.unwrap_or(0))
    }
}

/// Other systems pin no threads, and count neither processor time nor waiting.
#[cfg(not(target_os = "linux"))]
pub(super) mod system {
    use std::time::Duration;

    pub(super) fn pin(_number: usize) {}

    pub(in crate::compare) fn time() -> Option<Duration> {
        None
    }

    pub(super) fn waited() -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// The timing of threads that ran from one moment to another, in microseconds, and waited so
    /// long for a processor.
    fn timing(threads: &[(u64, u64, u64)]) -> Timing {
        let begin = Instant::now();
        let micros = Duration::from_micros;
        let lap = |(start, end, waited): &(u64, u64, u64)| Lap {
            start: begin + micros(*start),
            end: begin + micros(*end),
            time: micros(end - start),
            waited: micros(*waited),
        };
        Timing::of(&threads.iter().map(lap).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_thread_that_is_late_or_leaves_early_was_not_together_with_the_others() {
        assert!(timing(&[(0, 100, 0)]).is_together);
        assert!(timing(&[(0, 100, 0), (0, 100, 0), (0, 100, 0)]).is_together);
        // 80 of 100 in common.
        assert!(timing(&[(0, 100, 0), (10, 90, 0)]).is_together);
        assert!(!timing(&[(0, 100, 0), (11, 90, 0)]).is_together);
        assert!(!timing(&[(0, 100, 0), (0, 100, 0), (30, 130, 0)]).is_together);
        assert!(!timing(&[(0, 100, 0), (200, 300, 0)]).is_together);
        assert_eq!(timing(&[(0, 100, 0), (0, 80, 0)]).nanos, 90_000.0);
        assert!(Timing::of(&[]).is_none());
    }

    #[test]
    fn a_thread_that_waited_for_a_processor_was_not_together_with_the_others() {
        assert!(timing(&[(0, 100, 10), (0, 100, 10)]).is_together);
        assert!(!timing(&[(0, 100, 0), (0, 100, 11)]).is_together);
        assert!(!timing(&[(0, 100, 60)]).is_together);
    }

    /// The second thread is ready late.
    #[test]
    fn no_thread_begins_before_all_are_ready() {
        let is_ready = AtomicBool::new(false);
        let run = |thread: usize, _: u64, start: Start| {
            if thread == 1 {
                (0..2_000).for_each(|_| thread::yield_now());
                is_ready.store(true, Release);
            }
            start.measure(|| assert!(is_ready.load(Acquire)))
        };
        let run: Run = Box::new(run);
        thread::scope(|scope| {
            let crew = Crew::start(scope, 2, Clock::Wall).unwrap();
            assert!(crew.batch(&run, 1).is_some());
        });
    }
}
