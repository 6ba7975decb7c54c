//! Processor time per operation: two pinned worker threads, batches behind a barrier, rounds of all
//! forms interleaved.
//!
//! Time is the thread's own processor time, so other programs on the machine disturb only caches
//! and clock frequency. At one thread, and for scrapes with warm caches, the figure is the minimum
//! of all rounds. At two threads, and for scrapes with cold caches, it is the median of the clean
//! rounds. A round is clean if its threads ran at the same time: a contended cache line looks free
//! while the other thread does not run.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::workload::SEQUENCE;

/// Runs `op` `n` times. The empty `black_box` keeps the compiler from holding state in registers
/// from one operation to the next.
#[inline(always)]
pub fn repeat(n: u64, mut op: impl FnMut()) {
    for _ in 0..n {
        op();
        black_box(());
    }
}

/// Runs `op` `n` times, on each item in turn.
#[inline(always)]
pub fn over<T>(n: u64, items: &[T], mut op: impl FnMut(&T)) {
    for _ in 0..n / items.len() as u64 {
        for item in items {
            op(item);
            black_box(());
        }
    }
}

/// Runs `op` on `n` items, sequence after sequence, and starts over after the last one.
#[inline(always)]
pub fn along<T>(n: u64, items: &[T], mut op: impl FnMut(&T)) {
    for sequence in items
        .chunks_exact(SEQUENCE as usize)
        .cycle()
        .take((n / SEQUENCE) as usize)
    {
        for item in sequence {
            op(item);
            black_box(());
        }
    }
}

/// Updates of many series through handles: of the first thousand in turn, or of all in a random
/// walk. `total` reads the number of updates; 0 if it cannot be read.
pub fn handles<T: Send + Sync>(
    row: crate::Row,
    all: &'static Vec<T>,
    update: impl Fn(&T) + Copy + Send + Sync + 'static,
    total: impl Fn(&[T]) -> u64 + Send + Sync + 'static,
) -> Vec<Form> {
    let run = move |_: usize, n: u64| match row {
        crate::Row::Thousand => {
            let thousand = &all[..1024];
            over(n, thousand, update);
        }
        _ => crate::workload::walk(n, |at| update(&all[at])),
    };
    vec![Form::new("handles that are kept", run, move |done| {
        let total = total(all);
        assert!(total == done.all || total == 0, "{total} of {}", done.all);
    })]
}

/// Leaks `value`: contestants live as long as the program, and their closures copy the reference.
pub fn keep<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// The kind of form that a number belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The fastest documented form.
    Fastest,
    /// The form of the README or of the first page of the documentation, if it is a different one.
    Readme,
    /// Collected in a buffer of the caller's: a scrape sees nothing before the caller flushes it.
    /// Shown, not compared.
    Buffered,
}

/// One form of one operation.
pub struct Form {
    pub how: &'static str,
    pub class: Class,
    pub work: Work,
}

pub enum Work {
    Timed(Arc<Timed>),
    /// Leaves allocated what `SERIES` series need.
    Held(fn() -> Box<dyn Send>),
}

pub struct Timed {
    before: Box<dyn Fn() + Send + Sync>,
    run: Box<dyn Fn(usize, u64) + Send + Sync>,
    check: Box<dyn Fn(Done) + Send + Sync>,
    kind: Kind,
}

/// The two ways of timing each form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// At one thread; a scrape directly after another.
    Plain,
    /// At two threads; a scrape after other data has filled the caches.
    Harder,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Batches as long as necessary, at one thread and at two.
    Often,
    /// One run per batch, at one thread, with warm caches and with cold ones.
    Scrape { operations: u64 },
    /// One run per batch, at one thread and at two. No two batches register the same series.
    Register { operations: u64 },
}

/// The number of operations that a contestant has performed: in all batches, and in the last one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub all: u64,
    pub last: u64,
}

impl Form {
    /// `run(thread, n)` performs the operation `n` times, a multiple of `SEQUENCE`; `check` panics
    /// unless all of them had an effect.
    pub fn new(
        how: &'static str,
        run: impl Fn(usize, u64) + Send + Sync + 'static,
        check: impl Fn(Done) + Send + Sync + 'static,
    ) -> Self {
        let work = Timed {
            before: Box::new(|| {}),
            run: Box::new(run),
            check: Box::new(check),
            kind: Kind::Often,
        };
        Self {
            how,
            class: Class::Fastest,
            work: Work::Timed(Arc::new(work)),
        }
    }

    /// A scrape: one run at a time, on one thread, that counts as `operations`.
    pub fn scrape(
        how: &'static str,
        operations: usize,
        run: impl Fn() + Send + Sync + 'static,
        check: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let work = Timed {
            before: Box::new(|| {}),
            run: Box::new(move |_, _| run()),
            check: Box::new(move |_| check()),
            kind: Kind::Scrape {
                operations: operations as u64,
            },
        };
        Self {
            how,
            class: Class::Fastest,
            work: Work::Timed(Arc::new(work)),
        }
    }

    /// Registrations: `operations` on each thread, after an untimed `before`.
    pub fn register(
        how: &'static str,
        operations: usize,
        before: impl Fn() + Send + Sync + 'static,
        run: impl Fn(usize) + Send + Sync + 'static,
        check: impl Fn(Done) + Send + Sync + 'static,
    ) -> Self {
        let work = Timed {
            before: Box::new(before),
            run: Box::new(move |thread, _| run(thread)),
            check: Box::new(check),
            kind: Kind::Register {
                operations: operations as u64,
            },
        };
        Self {
            how,
            class: Class::Fastest,
            work: Work::Timed(Arc::new(work)),
        }
    }

    pub fn held(how: &'static str, make: fn() -> Box<dyn Send>) -> Self {
        Self {
            how,
            class: Class::Fastest,
            work: Work::Held(make),
        }
    }

    pub fn readme(self) -> Self {
        Self {
            class: Class::Readme,
            ..self
        }
    }

    pub fn buffered(self) -> Self {
        Self {
            class: Class::Buffered,
            ..self
        }
    }
}

/// Nanoseconds per operation: at one thread and at two, or of a scrape with warm caches and with
/// cold ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figure {
    pub one: f64,
    pub two: Option<f64>,
    /// There were too few clean rounds: at two threads, read `two` as a lower bound.
    pub doubtful: bool,
    /// The check failed: not every operation had an effect.
    pub wrong: bool,
}

/// Two threads that live as long as the program, as a service's threads do, so thread-local state
/// is initialized once.
pub struct Workers {
    jobs: Vec<Sender<Job>>,
    laps: Receiver<Lap>,
}

struct Job {
    work: Arc<Timed>,
    way: Way,
    n: u64,
    /// The number of threads that have not arrived yet.
    barrier: Arc<AtomicUsize>,
}

struct Lap {
    start: Instant,
    end: Instant,
    cpu: Duration,
    preempted: bool,
}

const ROUNDS: usize = 11;
const BATCH: Duration = Duration::from_millis(6);

impl Workers {
    pub fn start() -> Self {
        let (done, laps) = channel();
        let jobs = (0..2)
            .map(|thread| {
                let (job, inbox) = channel::<Job>();
                let done = done.clone();
                std::thread::spawn(move || {
                    if let Some(processor) = allowed().get(thread) {
                        pin(*processor);
                    }
                    for job in inbox {
                        done.send(job.lap(thread)).unwrap();
                    }
                });
                job
            })
            .collect();
        Self { jobs, laps }
    }

    /// Times all forms in interleaved rounds, checks each, and returns their figures in the same
    /// order.
    ///
    /// A failed check is printed on standard error, and the other forms continue.
    pub fn measure(&self, forms: &[Arc<Timed>]) -> Vec<Figure> {
        let mut done = vec![Done::default(); forms.len()];
        let mut batch = |form: usize, way: Way, n: u64| {
            let (laps, operations) = self.batch(&forms[form], way, n);
            done[form].all += operations;
            done[form].last = operations;
            laps
        };

        let lengths: Vec<u64> = (0..forms.len())
            .map(|form| match forms[form].kind {
                Kind::Often => {
                    batch(form, Way::Harder, SEQUENCE);
                    batch(form, Way::Plain, 4 * SEQUENCE);
                    let laps = batch(form, Way::Plain, 4 * SEQUENCE);
                    let share = BATCH.as_secs_f64() / laps[0].cpu.as_secs_f64().max(1e-7);
                    ((4.0 * share) as u64).clamp(1, 20_000) * SEQUENCE
                }
                Kind::Scrape { .. } | Kind::Register { .. } => 1,
            })
            .collect();

        let mut rounds: Vec<[Vec<Round>; 2]> = forms.iter().map(|_| [vec![], vec![]]).collect();
        for _ in 0..ROUNDS {
            for (form, timed) in forms.iter().enumerate() {
                for way in [Way::Plain, Way::Harder] {
                    let laps = batch(form, way, lengths[form]);
                    let operations = laps.len() as u64 * timed.operations(lengths[form]);
                    rounds[form][way as usize].push(Round::new(&laps, operations));
                }
            }
        }
        let figures = rounds.into_iter().map(figure).enumerate();
        figures
            .map(|(form, figure)| Figure {
                wrong: !forms[form].holds(done[form]),
                ..figure
            })
            .collect()
    }

    /// Runs one batch. Returns the laps of its threads and the number of operations, warm-up
    /// included.
    fn batch(&self, work: &Arc<Timed>, way: Way, n: u64) -> (Vec<Lap>, u64) {
        (work.before)();
        let threads = work.threads(way);
        let barrier = Arc::new(AtomicUsize::new(threads));
        for job in &self.jobs[..threads] {
            job.send(Job {
                work: work.clone(),
                way,
                n,
                barrier: barrier.clone(),
            })
            .unwrap();
        }
        let laps = (0..threads).map(|_| self.laps.recv().unwrap()).collect();
        (
            laps,
            threads as u64 * work.operations(n + work.warm_up(way, n)),
        )
    }
}

impl Timed {
    /// Performs the operation `n` times, a multiple of `SEQUENCE`.
    pub fn run(&self, thread: usize, n: u64) {
        (self.run)(thread, n);
    }

    /// Whether all operations had an effect. If not, standard error has the reason.
    pub fn holds(&self, done: Done) -> bool {
        catch_unwind(AssertUnwindSafe(|| (self.check)(done))).is_ok()
    }

    fn operations(&self, n: u64) -> u64 {
        match self.kind {
            Kind::Often => n,
            Kind::Scrape { operations } | Kind::Register { operations } => n * operations,
        }
    }

    /// The number of untimed operations before a batch, since the previous contestant left its own
    /// data in the caches.
    fn warm_up(&self, way: Way, n: u64) -> u64 {
        match (self.kind, way) {
            (Kind::Often, _) => (n / 8).next_multiple_of(SEQUENCE),
            (Kind::Scrape { .. }, Way::Plain) => 1,
            (Kind::Scrape { .. }, Way::Harder) | (Kind::Register { .. }, _) => 0,
        }
    }

    fn threads(&self, way: Way) -> usize {
        match (self.kind, way) {
            (Kind::Often | Kind::Register { .. }, Way::Harder) => 2,
            _ => 1,
        }
    }
}

impl Job {
    fn lap(self, thread: usize) -> Lap {
        let warm_up = self.work.warm_up(self.way, self.n);
        if warm_up > 0 {
            (self.work.run)(thread, warm_up);
        }
        if let (Kind::Scrape { .. }, Way::Harder) = (self.work.kind, self.way) {
            empty_caches();
        }
        // Spins for the other thread. A thread that has to be woken starts late, and short batches
        // would not overlap.
        self.barrier.fetch_sub(1, Release);
        while self.barrier.load(Acquire) > 0 {
            std::thread::yield_now();
        }
        let (switches, start, cpu) = (preemptions(), Instant::now(), thread_time());
        (self.work.run)(thread, black_box(self.n));
        let (cpu, end) = (thread_time() - cpu, Instant::now());
        Lap {
            start,
            end,
            cpu,
            preempted: preemptions() > switches,
        }
    }
}

struct Round {
    ns: f64,
    clean: bool,
}

impl Round {
    fn new(laps: &[Lap], operations: u64) -> Self {
        let cpu: Duration = laps.iter().map(|lap| lap.cpu).sum();
        let start = |pick: fn(Instant, Instant) -> Instant| {
            laps.iter().map(|lap| lap.start).reduce(pick).unwrap()
        };
        let end = |pick: fn(Instant, Instant) -> Instant| {
            laps.iter().map(|lap| lap.end).reduce(pick).unwrap()
        };
        let together = end(Ord::min).saturating_duration_since(start(Ord::max));
        let whole = end(Ord::max).saturating_duration_since(start(Ord::min));
        // A thread that waits for a lock does not run either, but it was not preempted.
        let ran = |lap: &Lap| {
            !lap.preempted || lap.cpu.as_secs_f64() > 0.9 * (lap.end - lap.start).as_secs_f64()
        };
        Self {
            ns: cpu.as_secs_f64() * 1e9 / operations as f64,
            clean: together.as_secs_f64() > 0.8 * whole.as_secs_f64() && laps.iter().all(ran),
        }
    }
}

fn figure([one, two]: [Vec<Round>; 2]) -> Figure {
    let one = one
        .iter()
        .map(|round| round.ns)
        .fold(f64::INFINITY, f64::min);
    let clean: Vec<f64> = two
        .iter()
        .filter(|round| round.clean)
        .map(|round| round.ns)
        .collect();
    let doubtful = !two.is_empty() && clean.len() < 3;
    let mut rest = if doubtful {
        two.iter().map(|round| round.ns).collect()
    } else {
        clean
    };
    rest.sort_by(f64::total_cmp);
    Figure {
        one,
        two: rest.get(rest.len() / 2).copied(),
        doubtful,
        wrong: false,
    }
}

/// Reads and writes more than the caches hold.
fn empty_caches() {
    static OTHER: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    let mut other = OTHER.lock().unwrap();
    other.resize(8 << 20, 0);
    other.iter_mut().for_each(|word| *word += 1);
    black_box(&*other);
}

/// The processors that this thread may use.
pub fn allowed() -> Vec<usize> {
    // SAFETY: a `cpu_set_t` consists of plain bits, for which zero is a valid value.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set has the given size. If the call fails, it stays empty.
    unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &mut allowed) };
    (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the requested bits are within the set.
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) })
        .collect()
}

/// Pins this thread to a processor. Two threads that are woken together could otherwise start on
/// the same one. Returns whether the system did it.
pub fn pin(processor: usize) -> bool {
    // SAFETY: a `cpu_set_t` consists of plain bits, for which zero is a valid value.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `processor` is below `CPU_SETSIZE`, as `allowed` returned it.
    unsafe { libc::CPU_SET(processor, &mut one) };
    // SAFETY: the set has the given size.
    unsafe { libc::sched_setaffinity(0, size_of_val(&one), &one) == 0 }
}

/// The processor time of this thread.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid pointer for the duration of the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The number of times that this thread was preempted.
fn preemptions() -> i64 {
    // SAFETY: a `rusage` consists of plain numbers, for which zero is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid pointer for the duration of the call.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    assert_eq!(failed, 0);
    usage.ru_nivcsw
}
