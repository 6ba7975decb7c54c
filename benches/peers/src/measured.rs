//! measured 0.0.25: shared atomics. Label values are mapped to numbers first; families are dense
//! arrays or sharded hash maps of these.
//!
//! Its strings are interned: in a set that is fixed at start (lasso), or in one that grows
//! (paracord). 0.1.0 needs Rust 1.98.

use std::sync::Mutex;

use measured::label::{FixedCardinalityLabel, LabelValue, LabelVisitor};
use measured::lasso::{Rodeo, RodeoReader, Spur};
use measured::metric::MetricFamilyEncoding;
use measured::metric::histogram::Thresholds;
use measured::metric::name::MetricName;
use measured::text::{BufferedTextEncoder, TextEncoder};
use measured::{Counter, CounterVec, FloatGauge, Gauge, Histogram, HistogramVec, LabelGroup};
use paracord::ParaCord;

use crate::Row;
use crate::form::{Form, keep, over, repeat};
use crate::workload::*;

type Reader = RodeoReader<Spur, ahash::RandomState>;

/// Labels whose values are all known when the program starts.
#[derive(Clone, Copy, LabelGroup)]
#[label(set = FixedSet)]
struct Fixed<'a> {
    #[label(fixed_with = Reader)]
    method: &'a str,
    #[label(fixed_with = Reader)]
    path: &'a str,
}

/// Labels with an arbitrary path, as it comes with a request.
#[derive(Clone, Copy, LabelGroup)]
#[label(set = DynamicSet)]
struct Dynamic<'a> {
    #[label(fixed_with = Reader)]
    method: &'a str,
    #[label(dynamic_with = ParaCord)]
    path: &'a str,
}

#[derive(Clone, Copy, LabelGroup)]
#[label(set = EnumSet)]
struct Enums {
    method: Method,
    status: Status,
}

pub fn forms(row: Row) -> Vec<Form> {
    match row {
        Row::Counter => {
            let counter = keep(Counter::new());
            vec![Form::new(
                "Counter",
                |_, n| repeat(n, || counter.inc()),
                |done| assert_eq!(read(counter, "c "), done.all as f64),
            )]
        }
        Row::Handles => {
            let counters: &Vec<Counter> = keep((0..16).map(|_| Counter::new()).collect());
            vec![Form::new(
                "Counter",
                |_, n| over(n, counters, |counter| counter.inc()),
                |done| {
                    counters
                        .iter()
                        .for_each(|counter| assert_eq!(read(counter, "c "), (done.all / 16) as f64))
                },
            )]
        }
        Row::Float => {
            let gauge = keep(FloatGauge::new());
            vec![Form::new(
                "FloatGauge: counters take integers",
                |_, n| repeat(n, || gauge.inc_by(0.5)),
                |done| assert_eq!(read(gauge, "c "), done.all as f64 * 0.5),
            )]
        }
        Row::LabelStrings => {
            let fixed = keep(CounterVec::with_label_set(FixedSet {
                method: reader(&METHODS),
                path: reader(&paths()),
            }));
            let dynamic = keep(counters());
            vec![
                Form::new(
                    "a fixed set, dense",
                    |_, n| {
                        over(n, &REQUESTS, |(method, path)| {
                            fixed.inc(Fixed { method, path })
                        })
                    },
                    |done| assert_eq!(read(fixed, "c{"), done.all as f64),
                ),
                Form::new(
                    "a set that grows, sparse",
                    |_, n| {
                        over(n, &REQUESTS, |(method, path)| {
                            dynamic.inc(Dynamic { method, path })
                        })
                    },
                    |done| assert_eq!(read(dynamic, "c{"), done.all as f64),
                )
                .readme(),
            ]
        }
        Row::LabelEnums => {
            let vec = keep(CounterVec::with_label_set(EnumSet::new()));
            vec![Form::new(
                "dense",
                |_, n| {
                    over(n, &ENUMS, |(method, status)| {
                        vec.inc(Enums {
                            method: *method,
                            status: *status,
                        })
                    })
                },
                |done| assert_eq!(read(vec, "c{"), done.all as f64),
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
            let mut paths: Vec<_> = EVENTS.iter().map(|event| event.0.1).collect();
            paths.sort_unstable();
            paths.dedup();
            let fixed_set = || FixedSet {
                method: reader(&METHODS),
                path: reader(&paths),
            };
            let fixed = keep([(); 4].map(|()| CounterVec::with_label_set(fixed_set())));
            let thresholds = Thresholds::with_buckets(BOUNDS);
            let fixed_seconds = keep(HistogramVec::with_label_set_and_metadata(
                fixed_set(),
                thresholds,
            ));
            let dynamic = keep([(); 4].map(|()| counters()));
            let dynamic_seconds = keep(histograms());
            vec![
                Form::new(
                    "a fixed set, dense, of each",
                    |_, n| {
                        over(n, &EVENTS, |&((method, path), counts, value)| {
                            let labels = Fixed { method, path };
                            for (vec, count) in fixed.iter().zip(counts) {
                                vec.inc_by(labels, count);
                            }
                            fixed_seconds.observe(labels, value);
                        })
                    },
                    |done| {
                        let counts = fixed.each_ref().map(|vec| read(vec, "c{") as u64);
                        let [count, sum] =
                            ["c_count{", "c_sum{"].map(|start| read(fixed_seconds, start));
                        assert_events(counts, (count as u64, sum), done.all);
                    },
                ),
                Form::new(
                    "a set that grows, sparse, of each",
                    |_, n| {
                        over(n, &EVENTS, |&((method, path), counts, value)| {
                            let labels = Dynamic { method, path };
                            for (vec, count) in dynamic.iter().zip(counts) {
                                vec.inc_by(labels, count);
                            }
                            dynamic_seconds.observe(labels, value);
                        })
                    },
                    |done| {
                        let counts = dynamic.each_ref().map(|vec| read(vec, "c{") as u64);
                        let [count, sum] =
                            ["c_count{", "c_sum{"].map(|start| read(dynamic_seconds, start));
                        assert_events(counts, (count as u64, sum), done.all);
                    },
                )
                .readme(),
            ]
        }
        // Only the facade's two recorders are in this row.
        Row::Facade => vec![],
        Row::Gauge => {
            let gauge = keep(FloatGauge::new());
            vec![Form::new(
                "FloatGauge",
                |_, n| over(n, &VALUES, |value| gauge.set(*value)),
                |_| assert_set(read(gauge, "c ")),
            )]
        }
        Row::UpDown => {
            let gauge = keep(Gauge::new());
            vec![Form::new(
                "Gauge",
                |_, n| {
                    repeat(n, || {
                        gauge.inc();
                        gauge.dec();
                    });
                },
                |_| assert_eq!(read(gauge, "c "), 0.0),
            )]
        }
        Row::Histogram => {
            let histogram = keep(Histogram::with_metadata(Thresholds::with_buckets(BOUNDS)));
            vec![Form::new(
                "Histogram",
                |_, n| over(n, &VALUES, |value| histogram.observe(*value)),
                |done| {
                    assert_observed(
                        (read(histogram, "c_count") as u64, read(histogram, "c_sum")),
                        done.all,
                    )
                },
            )]
        }
        Row::Timer | Row::TimerTsc => {
            let histogram = keep(Histogram::with_metadata(Thresholds::with_buckets(BOUNDS)));
            vec![Form::new(
                "start_timer",
                |_, n| repeat(n, || drop(histogram.start_timer())),
                |done| assert_eq!(read(histogram, "c_count"), done.all as f64),
            )]
        }
        Row::ScrapeCounters => {
            let vec = counters();
            for (n, (method, path)) in LABELS.iter().enumerate() {
                vec.inc_by(Dynamic { method, path }, count_of(n));
            }
            scrapes(keep(vec), assert_counters)
        }
        Row::ScrapeHistograms => {
            let vec = histograms();
            for (method, path) in LABELS.iter() {
                ONE_EACH
                    .iter()
                    .for_each(|value| vec.observe(Dynamic { method, path }, *value));
            }
            scrapes(keep(vec), assert_histograms)
        }
        // It writes text only.
        Row::OpenMetricsCounters
        | Row::OpenMetricsHistograms
        | Row::ProtobufCounters
        | Row::ProtobufHistograms => {
            vec![]
        }
        Row::Register => {
            let dynamic = keep(Mutex::new(keep(counters())));
            vec![Form::register(
                "a set that grows, sparse",
                REGISTERED,
                || *dynamic.lock().unwrap() = keep(counters()),
                |thread| {
                    let vec: &CounterVec<DynamicSet> = *dynamic.lock().unwrap();
                    labels_of(thread)
                        .iter()
                        .for_each(|(method, path)| vec.inc(Dynamic { method, path }));
                },
                |done| assert_eq!(read(*dynamic.lock().unwrap(), "c{"), done.last as f64),
            )]
        }
        Row::BytesCounter => vec![Form::held("a set that grows, sparse", || {
            let vec = counters();
            LABELS
                .iter()
                .for_each(|(method, path)| vec.inc(Dynamic { method, path }));
            Box::new(vec)
        })],
        Row::BytesHistogram => vec![Form::held("a set that grows, sparse", || {
            let vec = histograms();
            LABELS
                .iter()
                .for_each(|(method, path)| vec.observe(Dynamic { method, path }, 0.3));
            Box::new(vec)
        })],
        // It has no native histograms and no summaries.
        Row::Native | Row::Summary => vec![],
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

fn reader(values: &[&'static str]) -> Reader {
    let mut rodeo = Rodeo::with_hasher(ahash::RandomState::new());
    for value in values {
        rodeo.get_or_intern_static(value);
    }
    rodeo.into_reader()
}

fn dynamic_set() -> DynamicSet {
    DynamicSet {
        method: reader(&METHODS),
        path: ParaCord::default(),
    }
}

fn counters() -> CounterVec<DynamicSet> {
    CounterVec::with_label_set(dynamic_set())
}

fn histograms() -> HistogramVec<DynamicSet, 11> {
    HistogramVec::with_label_set_and_metadata(dynamic_set(), Thresholds::with_buckets(BOUNDS))
}

fn read(metric: &impl MetricFamilyEncoding<BufferedTextEncoder>, start: &str) -> f64 {
    let mut encoder = BufferedTextEncoder::new();
    metric
        .collect_family_into(MetricName::from_str("c"), &mut encoder)
        .unwrap();
    sum_in(str::from_utf8(&encoder.finish()).unwrap(), start)
}

fn scrapes<M>(metric: &'static M, check: fn(&str)) -> Vec<Form>
where
    M: MetricFamilyEncoding<BufferedTextEncoder>
        + for<'a> MetricFamilyEncoding<TextEncoder<&'a mut Vec<u8>>>
        + Sync,
{
    let kept = keep(Mutex::new(Vec::new()));
    let encoder = keep(Mutex::new(BufferedTextEncoder::new()));
    let last = keep(Mutex::new(Vec::new()));
    vec![
        Form::scrape(
            "TextEncoder into a kept Vec",
            SERIES,
            || {
                let mut text = kept.lock().unwrap();
                text.clear();
                let mut encoder = TextEncoder::new(&mut *text);
                metric
                    .collect_family_into(MetricName::from_str("c"), &mut encoder)
                    .unwrap();
            },
            move || check(str::from_utf8(&kept.lock().unwrap()).unwrap()),
        ),
        Form::scrape(
            "BufferedTextEncoder, kept",
            SERIES,
            || {
                let mut encoder = encoder.lock().unwrap();
                metric
                    .collect_family_into(MetricName::from_str("c"), &mut *encoder)
                    .unwrap();
                *last.lock().unwrap() = vec![encoder.finish()];
            },
            move || check(str::from_utf8(&last.lock().unwrap()[0]).unwrap()),
        )
        .readme(),
    ]
}

impl FixedCardinalityLabel for Method {
    fn cardinality() -> usize {
        Self::ALL.len()
    }

    fn encode(&self) -> usize {
        *self as usize
    }

    fn decode(value: usize) -> Self {
        Self::ALL[value]
    }
}

impl LabelValue for Method {
    fn visit<V: LabelVisitor>(&self, visitor: V) -> V::Output {
        visitor.write_str(self.name())
    }
}

impl FixedCardinalityLabel for Status {
    fn cardinality() -> usize {
        Self::ALL.len()
    }

    fn encode(&self) -> usize {
        *self as usize
    }

    fn decode(value: usize) -> Self {
        Self::ALL[value]
    }
}

impl LabelValue for Status {
    fn visit<V: LabelVisitor>(&self, visitor: V) -> V::Output {
        visitor.write_str(self.name())
    }
}
