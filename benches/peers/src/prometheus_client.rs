//! prometheus-client 0.25: shared atomics, histograms under a mutex; a family is a hash map under
//! one read-write lock.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};
use prometheus_client::registry::Registry;

use crate::form::{Done, Form, handles, keep, over, repeat};
use crate::workload::*;
use crate::{Format, Row};

/// Static label values: not as they come with a request, but the fastest key it has.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Static {
    method: &'static str,
    path: &'static str,
}

/// The labels of its documentation's first page: a look-up allocates.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Owned {
    method: &'static str,
    path: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Enums {
    method: Method,
    status: Status,
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> std::fmt::Result {
        EncodeLabelValue::encode(&self.name(), encoder)
    }
}

impl EncodeLabelValue for Status {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> std::fmt::Result {
        EncodeLabelValue::encode(&self.name(), encoder)
    }
}

type Histograms = Family<Owned, Histogram, fn() -> Histogram>;

pub fn forms(row: Row) -> Vec<Form> {
    match row {
        Row::Counter => {
            let counter: &Counter = keep(Counter::default());
            vec![Form::new(
                "Counter",
                |_, n| {
                    repeat(n, || {
                        counter.inc();
                    });
                },
                |done| assert_eq!(counter.get(), done.all),
            )]
        }
        Row::Handles => {
            let counters: &Vec<Counter> = keep((0..16).map(|_| Counter::default()).collect());
            vec![Form::new(
                "Counter",
                |_, n| {
                    over(n, counters, |counter| {
                        counter.inc();
                    });
                },
                |done| {
                    counters
                        .iter()
                        .for_each(|counter| assert_eq!(counter.get(), done.all / 16))
                },
            )]
        }
        Row::Float => {
            let counter: &Counter<f64, AtomicU64> = keep(Counter::default());
            vec![Form::new(
                "Counter<f64, AtomicU64>",
                |_, n| {
                    repeat(n, || {
                        counter.inc_by(0.5);
                    });
                },
                |done| assert_eq!(counter.get(), done.all as f64 * 0.5),
            )]
        }
        Row::LabelStrings => {
            let fast: &Family<Static, Counter> = keep(Family::default());
            let slow: &Family<Owned, Counter> = keep(Family::default());
            let total = |of: &dyn Fn(&'static str, &'static str) -> u64| {
                METHODS
                    .iter()
                    .flat_map(|method| paths().into_iter().map(|path| of(method, path)))
                    .sum::<u64>()
            };
            vec![
                Form::new(
                    "get_or_create, struct of &'static str",
                    |_, n| {
                        over(n, &REQUESTS, |(method, path)| {
                            fast.get_or_create(&Static { method, path }).inc();
                        });
                    },
                    move |done| {
                        assert_eq!(
                            total(&|method, path| fast
                                .get_or_create(&Static { method, path })
                                .get()),
                            done.all
                        );
                    },
                ),
                Form::new(
                    "get_or_create, struct with a String",
                    |_, n| {
                        over(n, &REQUESTS, |(method, path)| {
                            slow.get_or_create(&Owned {
                                method,
                                path: path.to_string(),
                            })
                            .inc();
                        });
                    },
                    move |done| {
                        let of = |method, path: &'static str| {
                            slow.get_or_create(&Owned {
                                method,
                                path: path.into(),
                            })
                            .get()
                        };
                        assert_eq!(total(&of), done.all);
                    },
                )
                .readme(),
            ]
        }
        Row::LabelFloat => {
            let family: &Family<Static, Counter<f64, AtomicU64>> = keep(Family::default());
            vec![Form::new(
                "get_or_create, struct of &'static str",
                |_, n| {
                    over(n, &REQUESTS, |(method, path)| {
                        family.get_or_create(&Static { method, path }).inc_by(0.5);
                    })
                },
                |done| {
                    assert_eq!(
                        sum_of_page(family.clone(), "c_total{"),
                        done.all as f64 * 0.5
                    )
                },
            )]
        }
        Row::LabelGauge => {
            let family: &Family<Static, Gauge<f64, AtomicU64>> = keep(Family::default());
            vec![Form::new(
                "get_or_create, struct of &'static str",
                |_, n| {
                    over(n, &LABELLED, |((method, path), value)| {
                        family.get_or_create(&Static { method, path }).set(*value);
                    })
                },
                |_| {},
            )]
        }
        Row::LabelUpDown => {
            let family: &Family<Static, Gauge> = keep(Family::default());
            vec![Form::new(
                "get_or_create, struct of &'static str, once",
                |_, n| {
                    over(n, &REQUESTS, |(method, path)| {
                        let gauge = family.get_or_create(&Static { method, path });
                        gauge.inc();
                        gauge.dec();
                    })
                },
                |_| assert_eq!(sum_of_page(family.clone(), "c{"), 0.0),
            )]
        }
        Row::LabelHistogram => {
            let family = keep(
                Family::<Static, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                    Histogram::new(BOUNDS)
                }),
            );
            vec![Form::new(
                "get_or_create, struct of &'static str",
                |_, n| {
                    over(n, &LABELLED, |((method, path), value)| {
                        family
                            .get_or_create(&Static { method, path })
                            .observe(*value);
                    })
                },
                |done| assert_eq!(sum_of_page(family.clone(), "c_count{"), done.all as f64),
            )]
        }
        Row::LabelNative => {
            let family = keep(
                Family::<Static, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                    Histogram::new_native(NativeHistogramConfig::default())
                }),
            );
            vec![Form::new(
                "get_or_create, struct of &'static str",
                |_, n| {
                    over(n, &LABELLED, |((method, path), value)| {
                        family
                            .get_or_create(&Static { method, path })
                            .observe(*value);
                    })
                },
                |_| {},
            )]
        }
        Row::LabelEnums => {
            let family: &Family<Enums, Counter> = keep(Family::default());
            vec![Form::new(
                "get_or_create, struct of enums",
                |_, n| {
                    over(n, &ENUMS, |(method, status)| {
                        family
                            .get_or_create(&Enums {
                                method: *method,
                                status: *status,
                            })
                            .inc();
                    });
                },
                |done| {
                    let of = |method, status| family.get_or_create(&Enums { method, status }).get();
                    let all = Method::ALL
                        .iter()
                        .flat_map(|method| Status::ALL.map(|status| of(*method, status)));
                    assert_eq!(all.sum::<u64>(), done.all);
                },
            )]
        }
        Row::Thousand | Row::Walk => {
            let all: &Vec<_> = keep(LABELS.iter().map(|_| Counter::<u64>::default()).collect());
            handles(
                row,
                all,
                |counter| _ = counter.inc(),
                |all| all.iter().map(|counter| counter.get()).sum(),
            )
        }
        Row::WalkHistogram => {
            let all: &Vec<_> = keep(LABELS.iter().map(|_| Histogram::new(BOUNDS)).collect());
            handles(row, all, |histogram| histogram.observe(0.3), |_| 0)
        }
        Row::InTurn | Row::BytesBoundCounter | Row::BytesBoundHistogram => vec![],
        Row::Event => {
            let counters: &[Family<Static, Counter>; 4] = keep(Default::default());
            let seconds = keep(
                Family::<Static, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                    Histogram::new(BOUNDS)
                }),
            );
            vec![Form::new(
                "get_or_create of each, struct of &'static str",
                |_, n| {
                    over(n, &EVENTS, |&((method, path), counts, value)| {
                        let labels = Static { method, path };
                        for (family, count) in counters.iter().zip(counts) {
                            family.get_or_create(&labels).inc_by(count);
                        }
                        seconds.get_or_create(&labels).observe(value);
                    })
                },
                |done| {
                    let counts = counters
                        .each_ref()
                        .map(|family| sum_of_page(family.clone(), "c_total{") as u64);
                    let [count, sum] =
                        ["c_count{", "c_sum{"].map(|start| sum_of_page(seconds.clone(), start));
                    assert_events(counts, (count as u64, sum), done.all);
                },
            )]
        }
        // Only the facade's two recorders are in this row.
        Row::Facade => vec![],
        Row::Gauge => {
            let gauge: &Gauge<f64, AtomicU64> = keep(Gauge::default());
            vec![Form::new(
                "Gauge<f64, AtomicU64>",
                |_, n| {
                    over(n, &VALUES, |value| {
                        gauge.set(*value);
                    });
                },
                |_| assert_set(gauge.get()),
            )]
        }
        Row::UpDown => {
            let gauge: &Gauge = keep(Gauge::default());
            vec![Form::new(
                "Gauge",
                |_, n| {
                    repeat(n, || {
                        gauge.inc();
                        gauge.dec();
                    });
                },
                |_| assert_eq!(gauge.get(), 0),
            )]
        }
        Row::Histogram => observing("Histogram", Histogram::new(BOUNDS)),
        Row::Native => observing(
            "new_native, factor 1.1",
            Histogram::new_native(NativeHistogramConfig::default()),
        ),
        Row::Timer | Row::TimerTsc => {
            let histogram = keep(Histogram::new(BOUNDS));
            vec![Form::new(
                "Instant and observe: it has no timer",
                |_, n| {
                    repeat(n, || {
                        let start = Instant::now();
                        histogram.observe(start.elapsed().as_secs_f64());
                    });
                },
                |done| assert_eq!(read(histogram).0, done.all),
            )]
        }
        Row::ScrapeCounters | Row::OpenMetricsCounters | Row::ProtobufCounters => {
            let family = Family::<Owned, Counter>::default();
            for (n, labels) in LABELS.iter().enumerate() {
                family.get_or_create(&owned(labels)).inc_by(count_of(n));
            }
            let mut registry = Registry::default();
            registry.register("requests", "Requests", family);
            scrapes(keep(registry), row.format(), assert_counters)
        }
        Row::ScrapeHistograms | Row::OpenMetricsHistograms | Row::ProtobufHistograms => {
            let family = histograms();
            for labels in LABELS.iter() {
                let histogram = family.get_or_create(&owned(labels));
                ONE_EACH.iter().for_each(|value| histogram.observe(*value));
            }
            let mut registry = Registry::default();
            registry.register("seconds", "Time", family);
            scrapes(keep(registry), row.format(), assert_histograms)
        }
        Row::Register => {
            let family = keep(Mutex::new(Family::<Owned, Counter>::default()));
            vec![Form::register(
                "get_or_create, struct with a String",
                REGISTERED,
                || *family.lock().unwrap() = Family::default(),
                |thread| {
                    let family = family.lock().unwrap().clone();
                    for labels in labels_of(thread) {
                        family.get_or_create(&owned(labels)).inc();
                    }
                },
                |done: Done| {
                    let family = family.lock().unwrap();
                    let of = |labels: &Request| family.get_or_create(&owned(labels)).get();
                    assert_eq!(
                        LABELS.iter().take(done.last as usize).map(of).sum::<u64>(),
                        done.last
                    );
                },
            )]
        }
        Row::BytesCounter => vec![Form::held("get_or_create, struct with a String", || {
            let family = Family::<Owned, Counter>::default();
            for labels in LABELS.iter() {
                family.get_or_create(&owned(labels)).inc();
            }
            Box::new(family)
        })],
        Row::BytesHistogram => vec![Form::held("get_or_create, struct with a String", || {
            let family = histograms();
            LABELS
                .iter()
                .for_each(|labels| family.get_or_create(&owned(labels)).observe(0.3));
            Box::new(family)
        })],
        // It has no summaries.
        Row::Summary | Row::LabelSummary => vec![],
        // Rows of tallies and the floor.
        Row::ScrapeFresh
        | Row::ScrapeRendered
        | Row::ScrapeChurned
        | Row::ScrapeFamilies
        | Row::ScrapeFamiliesFresh => vec![],
    }
}

/// The sum of the samples of a metric with the name `c` that start with `start`.
fn sum_of_page(metric: impl prometheus_client::registry::Metric, start: &str) -> f64 {
    let (mut registry, mut page) = (Registry::default(), String::new());
    registry.register("c", "h", metric);
    encode(&mut page, &registry).unwrap();
    sum_in(&page, start)
}

fn owned((method, path): &Request) -> Owned {
    Owned {
        method,
        path: path.to_string(),
    }
}

fn histograms() -> Histograms {
    Family::new_with_constructor(|| Histogram::new(BOUNDS))
}

fn observing(how: &'static str, histogram: Histogram) -> Vec<Form> {
    let histogram = keep(histogram);
    vec![Form::new(
        how,
        |_, n| over(n, &VALUES, |value| histogram.observe(*value)),
        |done| assert_observed(read(histogram), done.all),
    )]
}

/// Returns count and sum from the `Debug` output. Otherwise they are in an exposition only, and
/// those of native histograms in protobuf only.
fn read(histogram: &Histogram) -> (u64, f64) {
    let text = format!("{histogram:?}");
    let field = |name: &str| text.split_once(name).unwrap().1.split(',').next().unwrap();
    (
        field(" count: ").parse().unwrap(),
        field(" sum: ").parse().unwrap(),
    )
}

#[cfg(feature = "protobuf")]
fn protobuf(registry: &'static Registry, check: fn(&str)) -> Vec<Form> {
    let last = keep(Mutex::new(Vec::new()));
    vec![Form::scrape(
        "prometheus_protobuf::encode_to_vec",
        SERIES,
        || {
            *last.lock().unwrap() =
                prometheus_client::encoding::prometheus_protobuf::encode_to_vec(registry).unwrap()
        },
        move || check(&as_text(&last.lock().unwrap(), Format::Protobuf)),
    )]
}

#[cfg(not(feature = "protobuf"))]
fn protobuf(_: &'static Registry, _: fn(&str)) -> Vec<Form> {
    vec![]
}

/// Its text format is OpenMetrics.
fn scrapes(registry: &'static Registry, format: Format, check: fn(&str)) -> Vec<Form> {
    if format == Format::Protobuf {
        return protobuf(registry, check);
    }
    let text = keep(Mutex::new(String::new()));
    let last = keep(Mutex::new(String::new()));
    vec![
        Form::scrape(
            "encode into a kept String",
            SERIES,
            || {
                let mut text = text.lock().unwrap();
                text.clear();
                encode(&mut *text, registry).unwrap();
            },
            move || check(&text.lock().unwrap()),
        ),
        Form::scrape(
            "encode into a new String",
            SERIES,
            || {
                let mut buffer = String::new();
                encode(&mut buffer, registry).unwrap();
                *last.lock().unwrap() = buffer;
            },
            move || check(&last.lock().unwrap()),
        )
        .readme(),
    ]
}
