//! Threads that live as long as the program, as a service's threads do, one on each processor. A
//! job is one round: all threads start together, update until they are told to stop, and report.

use std::hint;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use peers::form::Timed;
use serde::Serialize;

use crate::machine;

/// One round of one figure.
#[derive(Clone, Copy, Serialize)]
pub struct Round {
    /// Nanoseconds per update, of each thread: of the time in which it ran or slept, and not of
    /// that in which other programs had its processor.
    pub ns: f64,
    /// Millions of updates per second, of all threads together.
    pub mops: f64,
    /// The largest part of its time for which a thread was ready to run and did not.
    pub waited: f64,
}

impl Round {
    /// Whether all threads ran (nearly) all the time. Contention is understated where they did not:
    /// a line looks free while the other threads do not run.
    pub fn is_clean(&self) -> bool {
        self.waited < 0.03
    }
}

pub struct Crew {
    jobs: Vec<Sender<Job>>,
    laps: Receiver<Lap>,
}

struct Job {
    work: Arc<Timed>,
    batch: u64,
    start: Arc<Start>,
}

/// The state that the threads of a round share. Both are read while others write other lines.
struct Start {
    /// The number of threads that have not arrived. Written by workers; read by all.
    missing: Line<AtomicUsize>,
    /// Written by the main thread, once.
    stop: Line<AtomicBool>,
}

#[repr(align(128))]
struct Line<T>(T);

struct Lap {
    operations: u64,
    /// With the untimed ones before.
    all: u64,
    time: Duration,
    waited: Duration,
}

impl Crew {
    /// Starts threads; the first ones on different cores.
    pub fn start(threads: usize, processors: &[usize]) -> Self {
        let (done, laps) = channel();
        let pinned = Arc::new(Barrier::new(threads + 1));
        let start = |thread: usize| {
            let (job, inbox) = channel::<Job>();
            let (done, pinned) = (done.clone(), pinned.clone());
            let processor = processors[thread % processors.len()];
            std::thread::spawn(move || {
                machine::pin(processor);
                pinned.wait();
                for job in inbox {
                    done.send(job.lap(thread)).expect("the main thread waits");
                }
            });
            job
        };
        let jobs = (0..threads).map(start).collect();
        pinned.wait();
        Self { jobs, laps }
    }

    /// Runs one round. `meanwhile` gets the end of the round and returns when that is over. Returns
    /// the number of all operations, with untimed ones.
    pub fn round(
        &self,
        work: &Arc<Timed>,
        threads: usize,
        batch: u64,
        meanwhile: impl FnOnce(),
    ) -> (Round, u64) {
        let start = Arc::new(Start {
            missing: Line(AtomicUsize::new(threads)),
            stop: Line(AtomicBool::new(false)),
        });
        for job in &self.jobs[..threads] {
            let (work, start) = (work.clone(), start.clone());
            job.send(Job { work, batch, start }).expect("workers live");
        }
        while start.missing.0.load(Acquire) > 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
        meanwhile();
        start.stop.0.store(true, Relaxed);
        let laps: Vec<Lap> = self.laps.iter().take(threads).collect();
        let rate = |lap: &Lap| {
            let time = lap.time.saturating_sub(lap.waited);
            lap.operations as f64 / time.as_secs_f64().max(1e-9)
        };
        let mops = laps.iter().map(rate).sum::<f64>() / 1e6;
        let waited = laps
            .iter()
            .map(|lap| lap.waited.as_secs_f64() / lap.time.as_secs_f64());
        let round = Round {
            ns: 1e3 * threads as f64 / mops,
            mops,
            waited: waited.fold(0.0, f64::max),
        };
        (round, laps.iter().map(|lap| lap.all).sum())
    }
}

impl Job {
    fn lap(self, thread: usize) -> Lap {
        // Untimed: the last contestant left its own data in the caches.
        self.work.run(thread, self.batch);
        self.start.missing.0.fetch_sub(1, Release);
        while self.start.missing.0.load(Acquire) > 0 {
            hint::spin_loop();
            std::thread::yield_now();
        }
        let (waited, from, mut operations) = (waited(), Instant::now(), 0);
        while !self.start.stop.0.load(Relaxed) {
            self.work.run(thread, self.batch);
            operations += self.batch;
        }
        let time = from.elapsed();
        Lap {
            operations,
            all: operations + self.batch,
            time,
            waited: self::waited().saturating_sub(waited),
        }
    }
}

/// For how long this thread was ready to run and waited for a processor, where the kernel counts
/// it.
fn waited() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split(' ').nth(1).and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

/// The median of the clean rounds, or of all if fewer than three are clean.
#[derive(Clone, Copy, Serialize)]
pub struct Figure {
    pub ns: f64,
    pub mops: f64,
    /// Half of the range of these rounds, in parts of the median.
    pub spread: f64,
    pub is_clean: bool,
}

impl Figure {
    pub fn of(rounds: &[Round]) -> Self {
        let clean: Vec<Round> = rounds
            .iter()
            .filter(|round| round.is_clean())
            .copied()
            .collect();
        let is_clean = clean.len() >= 3.min(rounds.len());
        let mut used = if is_clean { clean } else { rounds.to_vec() };
        used.sort_by(|a, b| a.ns.total_cmp(&b.ns));
        let middle = used[used.len() / 2];
        Self {
            ns: middle.ns,
            mops: middle.mops,
            spread: (used[used.len() - 1].ns - used[0].ns) / 2.0 / middle.ns,
            is_clean,
        }
    }
}
