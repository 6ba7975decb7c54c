//! fast-telemetry 0.10: a padded atomic per shard, shards selected by the thread's number; integers
//! only.
//!
//! There are as many shards as processors, as its examples recommend.

use std::sync::Mutex;
use std::time::Instant;

use fast_telemetry::{
    Counter, CounterSet, CounterSetBuffer, Distribution, DynamicCounter, DynamicCounterSet,
    DynamicHistogram, GaugeF64, Histogram, LabelEnum, LabeledCounter, PrometheusExport,
    SampledTimer,
};

use crate::Row;
use crate::form::{Form, keep, over, repeat};
use crate::workload::*;

/// Its labelled metrics have a single label, which holds both values here.
#[derive(Clone, Copy, Debug)]
struct Pair(Method, Status);

impl LabelEnum for Pair {
    const CARDINALITY: usize = 20;
    const LABEL_NAME: &'static str = "method_and_status";

    #[inline]
    fn as_index(self) -> usize {
        self.0 as usize * 5 + self.1 as usize
    }

    fn from_index(index: usize) -> Self {
        Self(Method::ALL[index / 5], Status::ALL[index % 5])
    }

    fn variant_name(self) -> &'static str {
        format!("{} {}", self.0.name(), self.1.name()).leak()
    }
}

pub fn forms(row: Row) -> Vec<Form> {
    match row {
        Row::Counter => {
            let counter = keep(Counter::new(shards()));
            let set = keep(CounterSet::new(shards(), 1));
            vec![
                Form::new(
                    "Counter",
                    |_, n| repeat(n, || counter.inc()),
                    |done| assert_eq!(counter.sum(), done.all as isize),
                ),
                Form::new(
                    "CounterSetBuffer, flushed every 64",
                    |_, n| {
                        let mut buffer = CounterSetBuffer::new(set, 64);
                        repeat(n, || {
                            buffer.inc(0);
                            buffer.finish_op();
                        });
                    },
                    |done| assert_eq!(set.sum(0), done.all as isize),
                )
                .buffered(),
            ]
        }
        Row::Handles => {
            let counters: &Vec<_> = keep((0..16).map(|_| Counter::new(shards())).collect());
            let set = keep(CounterSet::new(shards(), 16));
            let numbers = keep((0..16).collect::<Vec<usize>>());
            vec![
                Form::new(
                    "Counter",
                    |_, n| over(n, counters, |counter| counter.inc()),
                    |done| {
                        counters
                            .iter()
                            .for_each(|counter| assert_eq!(counter.sum(), (done.all / 16) as isize))
                    },
                ),
                Form::new(
                    "CounterSet",
                    |_, n| over(n, numbers, |number| set.inc(*number)),
                    |done| {
                        numbers.iter().for_each(|number| {
                            assert_eq!(set.sum(*number), (done.all / 16) as isize)
                        })
                    },
                ),
            ]
        }
        Row::LabelStrings => {
            let dynamic = keep(DynamicCounter::new(shards()));
            vec![Form::new(
                "DynamicCounter::inc (a cache of 64 per thread)",
                |_, n| {
                    over(n, &REQUESTS, |(method, path)| {
                        dynamic.inc(&[("method", method), ("path", path)])
                    })
                },
                |done| assert_eq!(dynamic.sum_all(), done.all as isize),
            )]
        }
        Row::LabelEnums => {
            let labeled: &LabeledCounter<Pair> = keep(LabeledCounter::new(shards()));
            vec![Form::new(
                "LabeledCounter, one label for the pair",
                |_, n| {
                    over(n, &ENUMS, |(method, status)| {
                        labeled.inc(Pair(*method, *status))
                    })
                },
                |done| assert_eq!(labeled.sum_all(), done.all as isize),
            )]
        }
        // Of the contestants with labels as strings.
        Row::LabelFloat
        | Row::LabelGauge
        | Row::LabelUpDown
        | Row::LabelHistogram
        | Row::LabelNative
        | Row::LabelSummary => vec![],
        Row::Event => {
            let counters = keep(DynamicCounterSet::with_shards(
                shards(),
                ["a", "b", "c", "d"],
            ));
            let micros = keep(histograms());
            let events: &Vec<_> = keep(
                EVENTS
                    .iter()
                    .zip(&*MICROS)
                    .map(|((labels, counts, _), micros)| {
                        (*labels, counts.map(|n| n as isize), *micros)
                    })
                    .collect(),
            );
            vec![Form::new(
                "DynamicCounterSet and DynamicHistogram of integers",
                |_, n| {
                    over(n, events, |(labels, counts, value)| {
                        let labels = pairs(labels);
                        counters.add_all_values(&labels, counts);
                        micros.record(&labels, *value);
                    })
                },
                |done| {
                    let series = counters.snapshot();
                    let counts = [0, 1, 2, 3]
                        .map(|n| series.iter().map(|(_, counts)| counts[n] as u64).sum());
                    // The sum is in microseconds.
                    let all = micros.snapshot();
                    assert_micros(
                        all.iter().map(|entry| entry.3).sum(),
                        all.iter().map(|entry| entry.2).sum(),
                        done.all,
                    );
                    assert_events(counts, (done.all, sum_of(done.all)), done.all);
                },
            )]
        }
        // Only the facade's two recorders are in this row.
        Row::Facade => vec![],
        Row::Gauge => {
            let gauge = keep(GaugeF64::new());
            vec![Form::new(
                "GaugeF64",
                |_, n| over(n, &VALUES, |value| gauge.set(*value)),
                |_| assert_set(gauge.get()),
            )]
        }
        Row::UpDown => {
            let counter = keep(Counter::new(shards()));
            vec![Form::new(
                "Counter, as its Gauge advises",
                |_, n| {
                    repeat(n, || {
                        counter.add(1);
                        counter.add(-1);
                    });
                },
                |_| assert_eq!(counter.sum(), 0),
            )]
        }
        Row::Histogram => {
            let histogram = keep(Histogram::new(&bounds(), shards()));
            vec![Form::new(
                "Histogram of integers",
                |_, n| over(n, &MICROS, |value| histogram.record(*value)),
                |done| assert_micros(histogram.count(), histogram.sum(), done.all),
            )]
        }
        Row::Native => {
            let distribution = keep(Distribution::new(shards()));
            vec![Form::new(
                "Distribution of integers, powers of two",
                |_, n| over(n, &MICROS, |value| distribution.record(*value)),
                |done| assert_micros(distribution.count(), distribution.sum(), done.all),
            )]
        }
        Row::Timer | Row::TimerTsc => {
            let histogram = keep(Histogram::new(&bounds(), shards()));
            let sampled = keep(SampledTimer::new(
                &bounds().map(|bound| bound * 1000),
                shards(),
                1,
            ));
            vec![
                Form::new(
                    "Instant and Histogram",
                    |_, n| {
                        repeat(n, || {
                            let start = Instant::now();
                            histogram.record(start.elapsed().as_micros() as u64);
                        });
                    },
                    |done| assert_eq!(histogram.count(), done.all),
                ),
                Form::new(
                    "SampledTimer that samples every call",
                    |_, n| repeat(n, || drop(sampled.start())),
                    |done| assert_eq!(sampled.sample_count(), done.all),
                )
                .readme(),
            ]
        }
        Row::ScrapeCounters => {
            let counter = keep(counters());
            for (n, labels) in LABELS.iter().enumerate() {
                counter.add(&pairs(labels), count_of(n) as isize);
            }
            let text = keep(Mutex::new(String::new()));
            vec![Form::scrape(
                "export_prometheus into a kept String",
                SERIES,
                || {
                    let mut text = text.lock().unwrap();
                    text.clear();
                    counter.export_prometheus(&mut text, "requests_total", "Requests.");
                },
                || assert_counters(&text.lock().unwrap()),
            )]
        }
        Row::ScrapeHistograms => {
            let histogram = keep(histograms());
            for labels in LABELS.iter() {
                let series = histogram.series(&pairs(labels));
                ONE_EACH
                    .iter()
                    .for_each(|value| series.record((value * 1e6) as u64));
            }
            let text = keep(Mutex::new(String::new()));
            vec![Form::scrape(
                "export_prometheus into a kept String",
                SERIES,
                || {
                    let mut text = text.lock().unwrap();
                    text.clear();
                    histogram.export_prometheus(&mut text, "seconds", "Time.");
                },
                || assert_histograms(&text.lock().unwrap()),
            )]
        }
        // It writes text only.
        Row::OpenMetricsCounters
        | Row::OpenMetricsHistograms
        | Row::ProtobufCounters
        | Row::ProtobufHistograms => {
            vec![]
        }
        Row::Register => {
            let family = keep(Mutex::new(keep(counters())));
            vec![Form::register(
                "DynamicCounter::inc",
                REGISTERED,
                || *family.lock().unwrap() = keep(counters()),
                |thread| {
                    let counter: &DynamicCounter = *family.lock().unwrap();
                    labels_of(thread)
                        .iter()
                        .for_each(|labels| counter.inc(&pairs(labels)));
                },
                |done| {
                    let counter = family.lock().unwrap();
                    assert_eq!(
                        (counter.cardinality(), counter.sum_all()),
                        (done.last as usize, done.last as isize)
                    );
                },
            )]
        }
        Row::BytesCounter => vec![Form::held("DynamicCounter", || {
            let counter = counters();
            LABELS.iter().for_each(|labels| counter.inc(&pairs(labels)));
            Box::new(counter)
        })],
        Row::BytesHistogram => vec![Form::held("DynamicHistogram", || {
            let histogram = histograms();
            LABELS
                .iter()
                .for_each(|labels| histogram.record(&pairs(labels), 300_000));
            Box::new(histogram)
        })],
        // It has no float counters and no summaries.
        Row::Float | Row::Summary => vec![],
        Row::Thousand | Row::Walk | Row::WalkHistogram | Row::InTurn => vec![],
        Row::BytesBoundCounter | Row::BytesBoundHistogram => vec![],
        // Rows of tallies and the floor.
        Row::ScrapeFresh
        | Row::ScrapeRendered
        | Row::ScrapeChurned
        | Row::ScrapeFamilies
        | Row::ScrapeFamiliesFresh => vec![],
    }
}

fn shards() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn bounds() -> [u64; 11] {
    BOUNDS.map(|bound| (bound * 1e6) as u64)
}

fn pairs<'a>((method, path): &Request) -> [(&'a str, &'a str); 2] {
    [("method", method), ("path", path)]
}

fn counters() -> DynamicCounter {
    DynamicCounter::with_max_series(shards(), 2 * SERIES)
}

fn histograms() -> DynamicHistogram {
    DynamicHistogram::with_limits(&bounds(), shards(), 2 * SERIES)
}

fn assert_micros(count: u64, sum: u64, expected: u64) {
    assert_eq!(count, expected, "observations");
    assert_eq!(
        sum,
        expected / SEQUENCE * MICROS.iter().sum::<u64>(),
        "their sum"
    );
}
