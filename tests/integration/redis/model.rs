//! The store shows what a plain model has, whatever becomes of series, processes and Redis.

use std::collections::HashMap;

use tallies::{Counter, Histogram, Registry, Summary};
use tallies_redis::Redis;

use super::counting::{builder, observer, view};
use super::server::Server;
use super::trouble::fold_others;
use crate::support::later_tick;

const LABELS: [&str; 3] = ["a", "b", "c"];
const OVERFLOW: &str = "__overflow__";

/// The number of a life of a series, so that it is not mixed up with an earlier one.
type Life = usize;

/// One total, and how much of it is in the folded totals.
#[derive(Clone, Copy, Default)]
struct Total {
    all: u32,
    folded: u32,
}

/// A process, and what it counts.
struct Process {
    registry: Registry,
    jobs: Counter<[&'static str; 1]>,
    busy: Counter<[&'static str; 1], f64>,
    sizes: Histogram<[&'static str; 1]>,
    times: Summary<[&'static str; 1]>,
    store: Redis,
    live: HashMap<&'static str, (Life, Total)>,
    overflow: (Life, Total),
    /// The state of this process in Redis since it was folded last: the labels, the life and the
    /// count.
    sent: Vec<(&'static str, Life, u32)>,
    /// The lives that were retired, and the overflow series that has their counts.
    retired: HashMap<Life, Life>,
    lives: Life,
}

impl Process {
    fn start(url: &str) -> Self {
        let registry = Registry::new();
        registry.add_constant("dc", "x").unwrap();
        let jobs = Counter::builder("jobs_total", "").labels(["x"]);
        let busy = Counter::builder("busy_seconds_total", "").labels(["x"]);
        let sizes = Histogram::builder("sizes", "").labels(["x"]);
        let times = Summary::builder("times", "").labels(["x"]);
        Self {
            jobs: jobs.register(&registry).unwrap(),
            busy: busy.float().register(&registry).unwrap(),
            sizes: sizes.buckets(&[1.0]).register(&registry).unwrap(),
            times: times.register(&registry).unwrap(),
            store: builder(url, &registry).start().unwrap(),
            registry,
            live: HashMap::new(),
            overflow: Default::default(),
            sent: Vec::new(),
            retired: HashMap::new(),
            lives: 0,
        }
    }

    fn add(&mut self, x: &'static str, n: u32) {
        if !self.live.contains_key(x) {
            self.lives += 1;
            // Two series with one label set that begin within one tick look like one.
            later_tick();
        }
        self.jobs.with([x]).add(n.into());
        self.busy.with([x]).add(f64::from(n) * 0.25);
        (0..n).for_each(|_| self.sizes.with([x]).observe(0.5));
        (0..n).for_each(|_| self.times.with([x]).observe(0.5));
        let new = (self.lives, Total::default());
        self.live.entry(x).or_insert(new).1.all += n;
    }

    /// Removes or retires a series.
    fn end(&mut self, x: &'static str, removed: bool) {
        if removed {
            self.jobs.remove([x]);
            self.busy.remove([x]);
            self.sizes.remove([x]);
            self.times.remove([x]);
        } else {
            self.jobs.retire([x]);
            self.busy.retire([x]);
            self.sizes.retire([x]);
            self.times.retire([x]);
        }
        let ended = self.live.remove(x);
        if let Some((life, total)) = ended.filter(|_| !removed) {
            let (overflow, to) = &mut self.overflow;
            (to.all, to.folded) = (to.all + total.all, to.folded + total.folded);
            self.retired.insert(life, *overflow);
        }
    }

    fn clear(&mut self) {
        later_tick();
        self.jobs.clear();
        self.busy.clear();
        self.sizes.clear();
        self.times.clear();
        self.live.clear();
        self.lives += 1;
        self.overflow = (self.lives, Total::default());
    }

    fn flush(&mut self) {
        self.store.flush_blocking().unwrap();
        self.sent = self.beyond();
    }

    /// Returns what this process counts beyond what was folded of it.
    fn beyond(&self) -> Vec<(&'static str, Life, u32)> {
        let live = self
            .live
            .iter()
            .map(|(x, (life, total))| (*x, *life, *total));
        live.chain([(OVERFLOW, self.overflow.0, self.overflow.1)])
            .map(|(x, life, total)| (x, life, total.all - total.folded))
            .collect()
    }

    /// Redis has folded what it has of this process.
    fn fold(&mut self, folded: &mut HashMap<&'static str, u32>) {
        for (x, life, count) in std::mem::take(&mut self.sent) {
            *folded.entry(x).or_default() += count;
            let live = self.live.values_mut().find(|(live, _)| *live == life);
            let is_in_overflow = |life| life == self.overflow.0;
            if let Some((_, total)) = live {
                total.folded += count;
            } else if is_in_overflow(*self.retired.get(&life).unwrap_or(&life)) {
                self.overflow.1.folded += count;
            }
        }
    }

    /// Redis was wiped.
    fn forget(&mut self) {
        self.sent.clear();
        let live = self.live.values_mut().map(|(_, total)| total);
        live.chain([&mut self.overflow.1])
            .for_each(|total| total.folded = 0);
    }
}

fn run(server: &Server, seed: u64) {
    let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = move |n: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let () = server.run_command(&["FLUSHALL"]);
    let mut all = [(); 2].map(|()| Process::start(&server.url()));
    let reader = observer(&server.url());
    let mut folded: HashMap<&'static str, u32> = HashMap::new();
    let mut story = Vec::new();
    for _ in 0..60 {
        let (at, x) = (random(2), LABELS[random(LABELS.len())]);
        let process = &mut all[at];
        match random(20) {
            0..8 => {
                story.push(format!("{at} adds to {x}"));
                process.add(x, 1 + random(3) as u32);
            }
            8..11 => {
                story.push(format!("{at} retires {x}"));
                process.end(x, false);
            }
            11 => {
                story.push(format!("{at} removes {x}"));
                process.end(x, true);
            }
            12 if random(3) == 0 => {
                story.push(format!("{at} clears"));
                process.clear();
            }
            12..15 => {
                story.push(format!("{at} flushes"));
                process.flush();
            }
            15..17 => {
                story.push("all are folded".to_owned());
                fold_others(&reader, 0);
                all.iter_mut().for_each(|process| process.fold(&mut folded));
            }
            17 if random(2) == 0 => {
                story.push("Redis is wiped".to_owned());
                let () = server.run_command(&["FLUSHALL"]);
                folded.clear();
                all.iter_mut().for_each(Process::forget);
                // The first ones to return are told that what was folded is gone.
                all.iter_mut().for_each(Process::flush);
            }
            _ => {
                story.push("all flush".to_owned());
                all.iter_mut().for_each(Process::flush);
                check(&reader, &all, &folded, &story);
            }
        }
    }
    all.iter_mut().for_each(Process::flush);
    check(&reader, &all, &folded, &story);
    for process in &mut all {
        process.store.close_blocking().unwrap();
    }
    fold_others(&reader, 0);
    check(&reader, &all, &folded, &story);
    drop(all.map(|process| process.registry));
}

fn check(reader: &Redis, all: &[Process], folded: &HashMap<&str, u32>, story: &[String]) {
    let page = view(reader);
    for x in LABELS.into_iter().chain([OVERFLOW]) {
        let beyond = all.iter().flat_map(Process::beyond);
        let beyond: u32 = beyond.filter(|(own, ..)| *own == x).map(|(.., n)| n).sum();
        let wanted = f64::from(beyond + folded.get(x).unwrap_or(&0));
        for (name, factor) in [
            ("jobs_total", 1.0),
            ("busy_seconds_total", 0.25),
            ("sizes_count", 1.0),
            ("sizes_sum", 0.5),
            ("times_count", 1.0),
            ("times_sum", 0.5),
        ] {
            let found = page.get(name, &[("dc", "x"), ("x", x)]).unwrap_or(0.0);
            assert_eq!(found, wanted * factor, "{name} of {x}: {story:#?}");
        }
    }
}

#[test]
fn totals_are_exact_whatever_becomes_of_series_processes_and_redis() {
    let server = Server::start();
    let cases = std::env::var("TALLIES_CASES").map_or(8, |cases| cases.parse().unwrap());
    (1..=cases).for_each(|seed| run(&server, seed));
}
