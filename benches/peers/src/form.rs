//! One form of an operation: the loops that run it, and how its batches begin. `tallies-bench`
//! measures them.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use tallies_bench::compare::Field;

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
    /// The operations that `enter` had a field run: in all batches, and in the last one if it is of
    /// registrations. Written by the threads of the field.
    all: AtomicU64,
    last: AtomicU64,
}

/// The two ways of timing each form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// At one thread; a scrape directly after another.
    Plain,
    /// At two threads; a scrape after other data has filled the caches.
    Harder,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// At one thread and at two.
    Often,
    /// At one thread, with warm caches and with cold ones.
    Scrape { series: u64 },
    /// One run per batch, at one thread and at two. No two batches register the same series.
    Register { series: u64 },
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
        Self::timed(how, Kind::Often, || {}, run, check)
    }

    /// A scrape of `series` series.
    pub fn scrape(
        how: &'static str,
        series: usize,
        run: impl Fn() + Send + Sync + 'static,
        check: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let kind = Kind::Scrape {
            series: series as u64,
        };
        Self::timed(how, kind, || {}, move |_, _| run(), move |_| check())
    }

    /// Registrations: of `series` series on each thread, after an untimed `before`.
    pub fn register(
        how: &'static str,
        series: usize,
        before: impl Fn() + Send + Sync + 'static,
        run: impl Fn(usize) + Send + Sync + 'static,
        check: impl Fn(Done) + Send + Sync + 'static,
    ) -> Self {
        let kind = Kind::Register {
            series: series as u64,
        };
        Self::timed(how, kind, before, move |thread, _| run(thread), check)
    }

    fn timed(
        how: &'static str,
        kind: Kind,
        before: impl Fn() + Send + Sync + 'static,
        run: impl Fn(usize, u64) + Send + Sync + 'static,
        check: impl Fn(Done) + Send + Sync + 'static,
    ) -> Self {
        let timed = Timed {
            before: Box::new(before),
            run: Box::new(run),
            check: Box::new(check),
            kind,
            all: AtomicU64::new(0),
            last: AtomicU64::new(0),
        };
        Self {
            how,
            class: Class::Fastest,
            work: Work::Timed(Arc::new(timed)),
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

impl Timed {
    /// Performs the operation `n` times, a multiple of `SEQUENCE`.
    pub fn run(&self, thread: usize, n: u64) {
        (self.run)(thread, n);
    }

    /// Whether all operations had an effect. If not, standard error has the reason.
    pub fn holds(&self, done: Done) -> bool {
        catch_unwind(AssertUnwindSafe(|| (self.check)(done))).is_ok()
    }

    /// The number of operations in the batches of fields.
    pub fn done(&self) -> Done {
        Done {
            all: self.all.load(Relaxed),
            last: self.last.load(Relaxed),
        }
    }

    /// The number of threads of a field.
    pub fn threads(&self, way: Way) -> usize {
        match (self.kind, way) {
            (Kind::Often | Kind::Register { .. }, Way::Harder) => 2,
            _ => 1,
        }
    }

    /// The number of operations in an iteration of a field.
    pub fn operations(&self) -> u64 {
        match self.kind {
            Kind::Often => SEQUENCE,
            Kind::Scrape { series } | Kind::Register { series } => series,
        }
    }

    /// Adds this to a field.
    pub fn enter<'a>(&'a self, field: Field<'a>, how: &str, way: Way) -> Field<'a> {
        match (self.kind, way) {
            (Kind::Often, _) => field.batches(how, move |thread, n| {
                self.run(thread, n * SEQUENCE);
                self.all.fetch_add(n * SEQUENCE, Relaxed);
            }),
            (Kind::Scrape { .. }, Way::Plain) => field.candidate(how, move || self.run(0, 1)),
            (Kind::Scrape { .. }, Way::Harder) => {
                field.with_setup(how, |_| empty_caches(), move |_, ()| self.run(0, 1))
            }
            (Kind::Register { series }, _) => {
                let before = move |thread| {
                    if thread == 0 {
                        self.last.store(0, Relaxed);
                        (self.before)();
                    }
                };
                field.with_setup(how, before, move |thread, ()| {
                    self.run(thread, 1);
                    self.all.fetch_add(series, Relaxed);
                    self.last.fetch_add(series, Relaxed);
                })
            }
        }
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
