//! Scrapes while threads update, and updates while somebody scrapes: 1 000 series with handles,
//! which every thread updates in turn, so that a scrape needs every line of every thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::Recorder;
use metrics_exporter_prometheus::PrometheusBuilder;
use peers::form::{Form, Timed, Work, keep, over};
use peers::metrics::{METADATA, key};
use peers::workload::{BOUNDS, LABELS, Request, SEQUENCE, VALUES};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use serde::Serialize;
use tallies::{Counter, Histogram, Registry, snapshot::Snapshot};

use crate::Plan;
use crate::crew::{Crew, Figure, Round};
use crate::machine::thread_time;

/// One contestant at one number of threads.
#[derive(Serialize)]
pub struct Row {
    pub operation: &'static str,
    pub contestant: &'static str,
    pub threads: usize,
    pub alone: Figure,
    /// Updates beside ten scrapes a second.
    pub beside_some: Figure,
    /// Updates beside scrapes without a pause.
    pub beside_many: Figure,
    /// The first scrape after updates, which nobody makes meanwhile: the lines are where the
    /// updates left them, and the caches do not have the rest.
    pub first: Scrape,
    /// Scrapes without a pause while all threads update.
    pub repeated: Scrape,
}

/// Microseconds of a scrape; medians.
#[derive(Clone, Copy, Serialize)]
pub struct Scrape {
    pub time: f64,
    /// Of the processor.
    pub work: f64,
}

const SERIES: usize = 1_000;

struct Contest {
    operation: &'static str,
    contestant: &'static str,
    update: Arc<Timed>,
    scrape: Box<dyn FnMut() -> usize>,
}

pub fn measure(crew: &Crew, plan: &Plan) -> Vec<Row> {
    let wanted = contests()
        .into_iter()
        .filter(|contest| plan.wants(contest.operation));
    let mut rows = vec![];
    for mut contest in wanted {
        for threads in &plan.threads {
            rows.push(row(crew, plan, &mut contest, *threads));
        }
    }
    rows
}

fn row(crew: &Crew, plan: &Plan, contest: &mut Contest, threads: usize) -> Row {
    let mut rounds: [Vec<Round>; 3] = Default::default();
    let mut scrapes: [Vec<(Duration, Duration)>; 2] = Default::default();
    let update = contest.update.clone();
    let mut scrape = || {
        let (from, work) = (Instant::now(), thread_time());
        assert!((contest.scrape)() > SERIES, "a page");
        (from.elapsed(), thread_time() - work)
    };
    for _ in 0..plan.rounds {
        let over = || std::thread::sleep(plan.round);
        rounds[0].push(crew.round(&update, threads, SEQUENCE, over).0);
        scrapes[0].push(scrape());
        let end = || Instant::now() + plan.round;
        let some = || {
            let end = end();
            while Instant::now() < end {
                std::thread::sleep(Duration::from_millis(100).min(plan.round / 2));
                scrape();
            }
        };
        rounds[1].push(crew.round(&update, threads, SEQUENCE, some).0);
        let many = || {
            let end = end();
            while Instant::now() < end {
                scrapes[1].push(scrape());
            }
        };
        rounds[2].push(crew.round(&update, threads, SEQUENCE, many).0);
    }
    let [alone, beside_some, beside_many] = rounds.map(|rounds| Figure::of(&rounds));
    let [first, repeated] = scrapes.map(|scrapes| {
        let median = |pick: fn(&(Duration, Duration)) -> Duration| {
            let mut times: Vec<Duration> = scrapes.iter().map(pick).collect();
            times.sort_unstable();
            times[times.len() / 2].as_nanos() as f64 / 1e3
        };
        Scrape {
            time: median(|scrape| scrape.0),
            work: median(|scrape| scrape.1),
        }
    });
    Row {
        operation: contest.operation,
        contestant: contest.contestant,
        threads,
        alone,
        beside_some,
        beside_many,
        first,
        repeated,
    }
}

const COUNTERS: &str = "scrape of 1 000 counters";
const HISTOGRAMS: &str = "scrape of 1 000 histograms";

fn contests() -> Vec<Contest> {
    vec![
        ours(COUNTERS, |registry| {
            let family = Counter::builder("c_total", "Counted.").labels(["method", "path"]);
            let family = keep(family.hot().register(registry).unwrap());
            let bind = |&(method, path): &Request| family.bind([method, path]);
            update(LABELS[..SERIES].iter().map(bind).collect(), |counter, _| {
                counter.inc()
            })
        }),
        theirs(COUNTERS, |registry| {
            let options = prometheus::Opts::new("c_total", "Counted.");
            let family = prometheus::IntCounterVec::new(options, &["method", "path"]).unwrap();
            registry.register(Box::new(family.clone())).unwrap();
            let child = |(method, path): &Request| family.with_label_values(&[method, path]);
            update(
                LABELS[..SERIES].iter().map(child).collect(),
                |counter, _| counter.inc(),
            )
        }),
        clients(COUNTERS, |registry| {
            type Counter = prometheus_client::metrics::counter::Counter;
            let family = Family::<Pair, Counter>::default();
            registry.register("c", "Counted", family.clone());
            let child = |labels: &Request| family.get_or_create(&Pair::of(labels)).clone();
            update(
                LABELS[..SERIES].iter().map(child).collect(),
                |counter, _| _ = counter.inc(),
            )
        }),
        {
            let recorder = keep(PrometheusBuilder::new().build_recorder());
            let handle = |labels: &Request| recorder.register_counter(&key(labels), &METADATA);
            let all = LABELS[..SERIES].iter().map(handle).collect();
            Contest {
                operation: COUNTERS,
                contestant: "metrics",
                update: update(all, |counter: &metrics::Counter, _| counter.increment(1)),
                scrape: Box::new(|| recorder.handle().render().len()),
            }
        },
        ours(HISTOGRAMS, |registry| {
            let family = Histogram::builder("seconds", "Time.").labels(["method", "path"]);
            let family = keep(family.buckets(&BOUNDS).hot().register(registry).unwrap());
            let bind = |&(method, path): &Request| family.bind([method, path]);
            update(
                LABELS[..SERIES].iter().map(bind).collect(),
                |histogram, value| histogram.observe(value),
            )
        }),
        theirs(HISTOGRAMS, |registry| {
            let options = prometheus::HistogramOpts::new("seconds", "Time.");
            let options = options.buckets(BOUNDS.to_vec());
            let family = prometheus::HistogramVec::new(options, &["method", "path"]).unwrap();
            registry.register(Box::new(family.clone())).unwrap();
            let child = |(method, path): &Request| family.with_label_values(&[method, path]);
            update(
                LABELS[..SERIES].iter().map(child).collect(),
                |histogram, value| histogram.observe(value),
            )
        }),
        clients(HISTOGRAMS, |registry| {
            use prometheus_client::metrics::histogram::Histogram;
            let make: fn() -> Histogram = || Histogram::new(BOUNDS);
            let family = Family::<Pair, Histogram, _>::new_with_constructor(make);
            registry.register("seconds", "Time", family.clone());
            let child = |labels: &Request| family.get_or_create(&Pair::of(labels)).clone();
            update(
                LABELS[..SERIES].iter().map(child).collect(),
                |histogram, value| histogram.observe(value),
            )
        }),
    ]
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Pair {
    method: &'static str,
    path: &'static str,
}

impl Pair {
    fn of(&(method, path): &Request) -> Self {
        Self { method, path }
    }
}

/// Updates of all series in turn, the values of `VALUES` in theirs.
fn update<T: Send + Sync + 'static>(
    all: Vec<T>,
    update: impl Fn(&T, f64) + Send + Sync + 'static,
) -> Arc<Timed> {
    let pairs: &'static Vec<(usize, f64)> = keep(
        VALUES
            .iter()
            .enumerate()
            .map(|(n, value)| (n % all.len(), *value))
            .collect(),
    );
    let run = move |_: usize, n: u64| over(n, pairs, |(at, value)| update(&all[*at], *value));
    let Work::Timed(work) = Form::new("handles", run, |_| {}).work else {
        unreachable!()
    };
    work
}

fn ours(operation: &'static str, make: fn(&'static Registry) -> Arc<Timed>) -> Contest {
    let registry: &'static Registry = keep(Registry::new());
    let (mut snapshot, mut page) = (Snapshot::default(), Vec::new());
    Contest {
        operation,
        contestant: "tallies",
        update: make(registry),
        scrape: Box::new(move || {
            registry.snapshot_into(&mut snapshot);
            page.clear();
            tallies::encode::Options::new().write(
                &snapshot,
                tallies::encode::Format::TEXT,
                &mut page,
            );
            page.len()
        }),
    }
}

fn theirs(operation: &'static str, make: fn(&prometheus::Registry) -> Arc<Timed>) -> Contest {
    let registry = prometheus::Registry::new();
    let update = make(&registry);
    let mut page = String::new();
    Contest {
        operation,
        contestant: "prometheus",
        update,
        scrape: Box::new(move || {
            page.clear();
            let families = registry.gather();
            prometheus::TextEncoder::new()
                .encode_utf8(&families, &mut page)
                .unwrap();
            page.len()
        }),
    }
}

fn clients(
    operation: &'static str,
    make: fn(&mut prometheus_client::registry::Registry) -> Arc<Timed>,
) -> Contest {
    let mut registry = prometheus_client::registry::Registry::default();
    let update = make(&mut registry);
    let mut page = String::new();
    Contest {
        operation,
        contestant: "prometheus-client",
        update,
        scrape: Box::new(move || {
            page.clear();
            prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
            page.len()
        }),
    }
}
