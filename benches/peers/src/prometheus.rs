//! prometheus 0.14: shared atomics; children are looked up by a hash of the label values under a
//! read lock.

use std::sync::Mutex;

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec,
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::form::{Form, handles, keep, over, repeat};
use crate::workload::*;
use crate::{Format, Row};

pub fn forms(row: Row) -> Vec<Form> {
    match row {
        Row::Counter => {
            let [int, local] = [(); 2].map(|()| keep(IntCounter::new("c", "h").unwrap()));
            let float = keep(Counter::new("c", "h").unwrap());
            vec![
                Form::new(
                    "IntCounter",
                    |_, n| repeat(n, || int.inc()),
                    |done| assert_eq!(int.get(), done.all),
                ),
                Form::new(
                    "Counter, of the first example",
                    |_, n| repeat(n, || float.inc()),
                    |done| assert_eq!(float.get(), done.all as f64),
                )
                .readme(),
                Form::new(
                    "local(), one flush per batch",
                    |_, n| {
                        let buffer = local.local();
                        repeat(n, || buffer.inc());
                        buffer.flush();
                    },
                    |done| assert_eq!(local.get(), done.all),
                )
                .buffered(),
            ]
        }
        Row::Handles => {
            let int: &Vec<_> = keep(
                (0..16)
                    .map(|_| IntCounter::new("c", "h").unwrap())
                    .collect(),
            );
            vec![Form::new(
                "IntCounter",
                |_, n| over(n, int, |counter| counter.inc()),
                |done| {
                    int.iter()
                        .for_each(|counter| assert_eq!(counter.get(), done.all / 16))
                },
            )]
        }
        Row::Float => {
            let float = keep(Counter::new("c", "h").unwrap());
            vec![Form::new(
                "Counter",
                |_, n| repeat(n, || float.inc_by(0.5)),
                |done| assert_eq!(float.get(), done.all as f64 * 0.5),
            )]
        }
        Row::LabelStrings => {
            let [vec, local] = [(); 2].map(|()| keep(counters()));
            vec![
                Form::new(
                    "with_label_values",
                    |_, n| {
                        over(n, &REQUESTS, |(method, path)| {
                            vec.with_label_values(&[method, path]).inc()
                        })
                    },
                    |done| assert_eq!(total(vec), done.all),
                ),
                Form::new(
                    "local(), hash only, one flush per batch",
                    |_, n| {
                        let mut buffer = local.local();
                        over(n, &REQUESTS, |(method, path)| {
                            buffer.with_label_values(&[method, path]).inc()
                        });
                        buffer.flush();
                    },
                    |done| assert_eq!(total(local), done.all),
                )
                .buffered(),
            ]
        }
        Row::LabelFloat => {
            let vec = keep(CounterVec::new(Opts::new("c", "h"), &["method", "path"]).unwrap());
            vec![Form::new(
                "with_label_values",
                |_, n| {
                    over(n, &REQUESTS, |(method, path)| {
                        vec.with_label_values(&[method, path]).inc_by(0.5)
                    })
                },
                |done| assert_eq!(sum_in(&page(vec), "c{"), done.all as f64 * 0.5),
            )]
        }
        Row::LabelGauge => {
            let vec = keep(GaugeVec::new(Opts::new("g", "h"), &["method", "path"]).unwrap());
            vec![Form::new(
                "with_label_values",
                |_, n| {
                    over(n, &LABELLED, |((method, path), value)| {
                        vec.with_label_values(&[method, path]).set(*value)
                    })
                },
                |_| {},
            )]
        }
        Row::LabelUpDown => {
            let vec = keep(IntGaugeVec::new(Opts::new("g", "h"), &["method", "path"]).unwrap());
            vec![Form::new(
                "with_label_values, once",
                |_, n| {
                    over(n, &REQUESTS, |(method, path)| {
                        let gauge = vec.with_label_values(&[method, path]);
                        gauge.inc();
                        gauge.dec();
                    })
                },
                |_| assert_eq!(sum_in(&page(vec), "g{"), 0.0),
            )]
        }
        Row::LabelHistogram => {
            let vec = keep(histograms());
            vec![Form::new(
                "with_label_values",
                |_, n| {
                    over(n, &LABELLED, |((method, path), value)| {
                        vec.with_label_values(&[method, path]).observe(*value)
                    })
                },
                |done| assert_eq!(sum_in(&page(vec), "seconds_count{"), done.all as f64),
            )]
        }
        Row::LabelEnums => {
            let [vec, fixed] = [(); 2].map(|()| {
                keep(IntCounterVec::new(Opts::new("c", "h"), &["method", "status"]).unwrap())
            });
            let children = keep(Method::ALL.map(|method| {
                Status::ALL.map(|status| fixed.with_label_values(&[method.name(), status.name()]))
            }));
            let total = |vec: &IntCounterVec| {
                let of = |method: Method, status: Status| {
                    vec.with_label_values(&[method.name(), status.name()]).get()
                };
                Method::ALL
                    .iter()
                    .flat_map(|m| Status::ALL.map(|s| of(*m, s)))
                    .sum::<u64>()
            };
            vec![
                Form::new(
                    "an array of children, as prometheus-static-metric makes",
                    |_, n| {
                        over(n, &ENUMS, |(method, status)| {
                            children[*method as usize][*status as usize].inc()
                        })
                    },
                    move |done| assert_eq!(total(fixed), done.all),
                ),
                Form::new(
                    "with_label_values",
                    |_, n| {
                        over(n, &ENUMS, |(method, status)| {
                            vec.with_label_values(&[method.name(), status.name()]).inc();
                        });
                    },
                    move |done| assert_eq!(total(vec), done.all),
                )
                .readme(),
            ]
        }
        Row::Thousand | Row::Walk => {
            let vec = counters();
            let bound = |(method, path): &Request| vec.with_label_values(&[method, path]);
            let all: &Vec<_> = keep(LABELS.iter().map(bound).collect());
            handles(
                row,
                all,
                |counter| counter.inc(),
                |all| all.iter().map(|counter| counter.get()).sum(),
            )
        }
        Row::WalkHistogram => {
            let vec = histograms();
            let bound = |(method, path): &Request| vec.with_label_values(&[method, path]);
            let all: &Vec<_> = keep(LABELS.iter().map(bound).collect());
            handles(
                row,
                all,
                |histogram| histogram.observe(0.3),
                |all| {
                    all.iter()
                        .map(|histogram| histogram.get_sample_count())
                        .sum()
                },
            )
        }
        Row::InTurn => {
            let vec = keep(counters());
            vec![Form::new(
                "with_label_values",
                |_, n| {
                    in_turn(n, |at| {
                        vec.with_label_values(&[LABELS[at].0, LABELS[at].1]).inc()
                    })
                },
                |done| {
                    let of =
                        |(method, path): &Request| vec.with_label_values(&[method, path]).get();
                    assert_eq!(LABELS.iter().map(of).sum::<u64>(), done.all);
                },
            )]
        }
        Row::Event => {
            let counters = keep([(); 4].map(|()| counters()));
            let seconds = keep(histograms());
            vec![Form::new(
                "with_label_values of each",
                |_, n| {
                    over(n, &EVENTS, |((method, path), counts, value)| {
                        for (vec, count) in counters.iter().zip(counts) {
                            vec.with_label_values(&[method, path]).inc_by(*count);
                        }
                        seconds.with_label_values(&[method, path]).observe(*value);
                    })
                },
                |done| {
                    let page = page(seconds);
                    let sums = ["seconds_count{", "seconds_sum{"].map(|start| sum_in(&page, start));
                    let counts = counters
                        .each_ref()
                        .map(|vec| sum_in(&self::page(vec), "requests_total{") as u64);
                    assert_events(counts, (sums[0] as u64, sums[1]), done.all);
                },
            )]
        }
        // Only the facade's two recorders are in this row.
        Row::Facade => vec![],
        Row::Gauge => {
            let gauge = keep(Gauge::new("g", "h").unwrap());
            vec![Form::new(
                "Gauge",
                |_, n| over(n, &VALUES, |value| gauge.set(*value)),
                |_| assert_set(gauge.get()),
            )]
        }
        Row::UpDown => {
            let int = keep(IntGauge::new("g", "h").unwrap());
            let float = keep(Gauge::new("g", "h").unwrap());
            vec![
                Form::new(
                    "IntGauge",
                    |_, n| {
                        repeat(n, || {
                            int.inc();
                            int.dec();
                        });
                    },
                    |_| assert_eq!(int.get(), 0),
                ),
                Form::new(
                    "Gauge",
                    |_, n| {
                        repeat(n, || {
                            float.inc();
                            float.dec();
                        });
                    },
                    |_| assert_eq!(float.get(), 0.0),
                )
                .readme(),
            ]
        }
        Row::Histogram => {
            let [shared, local] = [(); 2].map(|()| keep(Histogram::with_opts(options()).unwrap()));
            let read =
                |histogram: &Histogram| (histogram.get_sample_count(), histogram.get_sample_sum());
            vec![
                Form::new(
                    "Histogram",
                    |_, n| over(n, &VALUES, |value| shared.observe(*value)),
                    move |done| assert_observed(read(shared), done.all),
                ),
                Form::new(
                    "local(), one flush per batch",
                    |_, n| {
                        let buffer = local.local();
                        over(n, &VALUES, |value| buffer.observe(*value));
                        buffer.flush();
                    },
                    move |done| assert_observed(read(local), done.all),
                )
                .buffered(),
            ]
        }
        Row::Timer | Row::TimerTsc => {
            let histogram = keep(Histogram::with_opts(options()).unwrap());
            vec![Form::new(
                "start_timer (its coarse timer needs a nightly feature and counts whole milliseconds)",
                |_, n| repeat(n, || histogram.start_timer().observe_duration()),
                |done| assert_eq!(histogram.get_sample_count(), done.all),
            )]
        }
        Row::ScrapeCounters | Row::ProtobufCounters => {
            let registry = keep(Registry::new());
            let vec = counters();
            for (n, (method, path)) in LABELS.iter().enumerate() {
                vec.with_label_values(&[method, path]).inc_by(count_of(n));
            }
            registry.register(Box::new(vec)).unwrap();
            scrapes(registry, row.format(), assert_counters)
        }
        Row::ScrapeHistograms | Row::ProtobufHistograms => {
            let registry = keep(Registry::new());
            let vec = histograms();
            for (method, path) in LABELS.iter() {
                let histogram = vec.with_label_values(&[method, path]);
                ONE_EACH.iter().for_each(|value| histogram.observe(*value));
            }
            registry.register(Box::new(vec)).unwrap();
            scrapes(registry, row.format(), assert_histograms)
        }
        Row::Register => {
            let family = keep(Mutex::new(counters()));
            vec![Form::register(
                "with_label_values",
                REGISTERED,
                || *family.lock().unwrap() = counters(),
                |thread| {
                    let vec = family.lock().unwrap().clone();
                    for (method, path) in labels_of(thread) {
                        vec.with_label_values(&[method, path]).inc();
                    }
                },
                |done| {
                    let vec = family.lock().unwrap();
                    let of =
                        |(method, path): &Request| vec.with_label_values(&[method, path]).get();
                    assert_eq!(
                        LABELS.iter().take(done.last as usize).map(of).sum::<u64>(),
                        done.last
                    );
                },
            )]
        }
        Row::BytesBoundCounter => vec![Form::held("with_label_values, kept", || {
            let vec = counters();
            let bound = |(method, path): &Request| vec.with_label_values(&[method, path]);
            Box::new((
                LABELS
                    .iter()
                    .map(bound)
                    .inspect(|counter| counter.inc())
                    .collect::<Vec<_>>(),
                vec.clone(),
            ))
        })],
        Row::BytesBoundHistogram => vec![Form::held("with_label_values, kept", || {
            let vec = histograms();
            let bound = |(method, path): &Request| vec.with_label_values(&[method, path]);
            let all = LABELS
                .iter()
                .map(bound)
                .inspect(|histogram| histogram.observe(0.3));
            Box::new((all.collect::<Vec<_>>(), vec.clone()))
        })],
        Row::BytesCounter => vec![Form::held("with_label_values", || {
            let vec = counters();
            LABELS
                .iter()
                .for_each(|(method, path)| vec.with_label_values(&[method, path]).inc());
            Box::new(vec)
        })],
        Row::BytesHistogram => vec![Form::held("with_label_values", || {
            let vec = histograms();
            LABELS
                .iter()
                .for_each(|(method, path)| vec.with_label_values(&[method, path]).observe(0.3));
            Box::new(vec)
        })],
        // It has none of these.
        Row::Native
        | Row::Summary
        | Row::LabelNative
        | Row::LabelSummary
        | Row::OpenMetricsCounters
        | Row::OpenMetricsHistograms => {
            vec![]
        }
        // Rows of tallies and the floor.
        Row::ScrapeFresh
        | Row::ScrapeRendered
        | Row::ScrapeChurned
        | Row::ScrapeFamilies
        | Row::ScrapeFamiliesFresh => vec![],
    }
}

fn counters() -> IntCounterVec {
    IntCounterVec::new(
        Opts::new("requests_total", "Requests."),
        &["method", "path"],
    )
    .unwrap()
}

fn options() -> HistogramOpts {
    HistogramOpts::new("seconds", "Time.").buckets(BOUNDS.to_vec())
}

fn histograms() -> HistogramVec {
    HistogramVec::new(options(), &["method", "path"]).unwrap()
}

fn total(vec: &IntCounterVec) -> u64 {
    let of = |method, path| vec.with_label_values(&[method, path]).get();
    METHODS
        .iter()
        .map(|method| paths().iter().map(|path| of(*method, *path)).sum::<u64>())
        .sum()
}

fn page(of: &dyn Collector) -> String {
    TextEncoder::new().encode_to_string(&of.collect()).unwrap()
}

/// Its protobuf support is a feature that slows down its text format.
#[cfg(feature = "protobuf")]
fn protobuf(registry: &'static Registry, check: fn(&str)) -> Vec<Form> {
    let kept = keep(Mutex::new(Vec::new()));
    vec![Form::scrape(
        "gather and encode into a kept Vec",
        SERIES,
        || {
            let mut page = kept.lock().unwrap();
            page.clear();
            prometheus::ProtobufEncoder::new()
                .encode(&registry.gather(), &mut *page)
                .unwrap();
        },
        move || check(&as_text(&kept.lock().unwrap(), Format::Protobuf)),
    )]
}

#[cfg(not(feature = "protobuf"))]
fn protobuf(_: &'static Registry, _: fn(&str)) -> Vec<Form> {
    vec![]
}

fn scrapes(registry: &'static Registry, format: Format, check: fn(&str)) -> Vec<Form> {
    if format == Format::Protobuf {
        return protobuf(registry, check);
    }
    let text = keep(Mutex::new(String::new()));
    let last = keep(Mutex::new(Vec::new()));
    vec![
        Form::scrape(
            "gather and encode_utf8 into a kept String",
            SERIES,
            || {
                let mut text = text.lock().unwrap();
                text.clear();
                TextEncoder::new()
                    .encode_utf8(&registry.gather(), &mut text)
                    .unwrap();
            },
            move || check(&text.lock().unwrap()),
        ),
        Form::scrape(
            "gather and encode into a new Vec",
            SERIES,
            || {
                let mut buffer = vec![];
                TextEncoder::new()
                    .encode(&registry.gather(), &mut buffer)
                    .unwrap();
                *last.lock().unwrap() = buffer;
            },
            move || check(str::from_utf8(&last.lock().unwrap()).unwrap()),
        )
        .readme(),
    ]
}
