//! metrics 0.24 with metrics-exporter-prometheus 0.18: a facade with handles behind `dyn`; every
//! update also increments a generation.
//!
//! Histograms store observations, and `run_upkeep` sorts them into buckets, in a task of the
//! exporter. Here the first thread runs it at the end of each batch, inside the timing, since some
//! processor has to do that work.
//!
//! At two threads their checks fail. An upkeep loses a concurrent `record` that has loaded the tail
//! block of the bucket but has not yet reserved a slot in it, or has not yet linked its new block
//! (`AtomicBucket` of metrics-util 0.20.4).

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use metrics::{
    Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, counter, gauge, histogram,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::Row;
use crate::form::{Form, along, keep, over, repeat};
use crate::workload::*;

/// The recorder that the macros use.
static GLOBAL: LazyLock<PrometheusHandle> = LazyLock::new(|| {
    PrometheusBuilder::new()
        .set_buckets(&BOUNDS)
        .unwrap()
        .install_recorder()
        .unwrap()
});

pub fn forms(row: Row) -> Vec<Form> {
    LazyLock::force(&GLOBAL);
    match row {
        Row::Counter => {
            let handle = keep(counter!("counter_held"));
            vec![
                Form::new(
                    "a held handle",
                    |_, n| repeat(n, || handle.increment(1)),
                    |done| assert_eq!(global("counter_held "), done.all as f64),
                ),
                Form::new(
                    "counter!(..) each time",
                    |_, n| repeat(n, || counter!("counter").increment(1)),
                    |done| assert_eq!(global("counter "), done.all as f64),
                )
                .readme(),
            ]
        }
        Row::Handles => {
            let of = |n: usize| counter!("handles", "n" => n.to_string());
            let handles: &Vec<Counter> = keep((0..16).map(of).collect());
            vec![Form::new(
                "held handles",
                |_, n| over(n, handles, |handle| handle.increment(1)),
                |done| assert_eq!(global("handles{"), done.all as f64),
            )]
        }
        Row::Float => {
            let handle: &Gauge = keep(gauge!("float"));
            vec![Form::new(
                "a held gauge: counters take integers",
                |_, n| repeat(n, || handle.increment(0.5)),
                |done| assert_eq!(global("float "), done.all as f64 * 0.5),
            )]
        }
        Row::LabelStrings => vec![
            Form::new(
                "counter!(.., labels) each time, &'static str",
                |_, n| {
                    over(n, &REQUESTS, |(method, path)| {
                        counter!("static_strings", "method" => *method, "path" => *path)
                            .increment(1);
                    });
                },
                |done| assert_eq!(global("static_strings{"), done.all as f64),
            ),
            Form::new(
                "the same with a String",
                |_, n| {
                    over(n, &REQUESTS, |(method, path)| {
                        counter!("strings", "method" => *method, "path" => path.to_string())
                            .increment(1);
                    });
                },
                |done| assert_eq!(global("strings{"), done.all as f64),
            )
            .readme(),
        ],
        Row::LabelFloat => vec![Form::new(
            "gauge!(.., labels) each time: counters take integers",
            |_, n| {
                over(n, &REQUESTS, |(method, path)| {
                    gauge!("float_strings", "method" => *method, "path" => *path).increment(0.5);
                });
            },
            |done| assert_eq!(global("float_strings{"), done.all as f64 * 0.5),
        )],
        Row::LabelGauge => vec![Form::new(
            "gauge!(.., labels) each time, &'static str",
            |_, n| {
                over(n, &LABELLED, |((method, path), value)| {
                    gauge!("gauge_strings", "method" => *method, "path" => *path).set(*value);
                });
            },
            |_| {},
        )],
        Row::LabelUpDown => vec![Form::new(
            "gauge!(.., labels), once",
            |_, n| {
                over(n, &REQUESTS, |(method, path)| {
                    let gauge = gauge!("up_down_strings", "method" => *method, "path" => *path);
                    gauge.increment(1.0);
                    gauge.decrement(1.0);
                });
            },
            |_| assert_eq!(global("up_down_strings{"), 0.0),
        )],
        Row::LabelEnums => vec![Form::new(
            "counter!(.., labels) each time, &'static str",
            |_, n| {
                over(n, &ENUMS, |(method, status)| {
                    counter!("enums", "method" => method.name(), "status" => status.name())
                        .increment(1);
                });
            },
            |done| assert_eq!(global("enums{"), done.all as f64),
        )],
        Row::Event => vec![Form::new(
            "counter!(.., labels) and histogram!(.., labels) each time, &'static str, upkeep",
            |thread, n| {
                over(n, &EVENTS, |&((method, path), [a, b, c, d], value)| {
                    counter!("event_a", "method" => method, "path" => path).increment(a);
                    counter!("event_b", "method" => method, "path" => path).increment(b);
                    counter!("event_c", "method" => method, "path" => path).increment(c);
                    counter!("event_d", "method" => method, "path" => path).increment(d);
                    histogram!("event_seconds", "method" => method, "path" => path).record(value);
                });
                upkeep(thread, &GLOBAL);
            },
            |done| {
                let names = ["event_a", "event_b", "event_c", "event_d"];
                assert_events_of(global, names, "event_seconds", done.all);
            },
        )],
        Row::Facade => {
            let recorder = keep(PrometheusBuilder::new().build_recorder());
            vec![Form::new(
                "counter!(..) each time, a local recorder",
                |_, n| through(recorder, n),
                |done| {
                    assert_eq!(
                        sum_in(&recorder.handle().render(), "facade{"),
                        done.all as f64
                    )
                },
            )]
        }
        Row::Gauge => {
            let handle = keep(gauge!("gauge_held"));
            vec![
                Form::new(
                    "a held handle",
                    |_, n| over(n, &VALUES, |value| handle.set(*value)),
                    |_| assert_set(global("gauge_held ")),
                ),
                Form::new(
                    "gauge!(..) each time",
                    |_, n| over(n, &VALUES, |value| gauge!("gauge").set(*value)),
                    |_| assert_set(global("gauge ")),
                )
                .readme(),
            ]
        }
        Row::UpDown => {
            let handle = keep(gauge!("up_down_held"));
            vec![
                Form::new(
                    "a held gauge",
                    |_, n| {
                        repeat(n, || {
                            handle.increment(1.0);
                            handle.decrement(1.0);
                        });
                    },
                    |_| assert_eq!(global("up_down_held "), 0.0),
                ),
                Form::new(
                    "gauge!(..) each time",
                    |_, n| {
                        repeat(n, || {
                            gauge!("up_down").increment(1.0);
                            gauge!("up_down").decrement(1.0);
                        });
                    },
                    |_| assert_eq!(global("up_down "), 0.0),
                )
                .readme(),
            ]
        }
        Row::Histogram => {
            let (recorder, handle) =
                observing(PrometheusBuilder::new().set_buckets(&BOUNDS).unwrap());
            vec![
                Form::new(
                    "a held handle, upkeep",
                    |thread, n| {
                        over(n, &VALUES, |value| handle.record(*value));
                        upkeep(thread, &recorder.handle());
                    },
                    |done| assert_observed(read(recorder), done.all),
                ),
                Form::new(
                    "histogram!(..) each time, upkeep",
                    |thread, n| {
                        over(n, &VALUES, |value| histogram!("histogram").record(*value));
                        upkeep(thread, &GLOBAL);
                    },
                    |done| {
                        assert_observed(
                            (global("histogram_count") as u64, global("histogram_sum")),
                            done.all,
                        )
                    },
                )
                .readme(),
            ]
        }
        Row::Summary => {
            let (recorder, handle) = observing(
                PrometheusBuilder::new()
                    .set_quantiles(&[0.5, 0.9, 0.99])
                    .unwrap(),
            );
            vec![Form::new(
                "a held handle, upkeep (DDSketch)",
                |thread, n| {
                    along(n, &SHUFFLED, |value| handle.record(*value));
                    upkeep(thread, &recorder.handle());
                },
                |done| assert_observed(read(recorder), done.all),
            )]
        }
        Row::Timer | Row::TimerTsc => {
            let (recorder, handle) =
                observing(PrometheusBuilder::new().set_buckets(&BOUNDS).unwrap());
            vec![Form::new(
                "Instant and a held handle, upkeep",
                |thread, n| {
                    repeat(n, || {
                        let start = Instant::now();
                        handle.record(start.elapsed());
                    });
                    upkeep(thread, &recorder.handle());
                },
                |done| assert_eq!(read(recorder).0, done.all),
            )]
        }
        Row::ScrapeCounters => {
            let recorder = keep(PrometheusBuilder::new().build_recorder());
            for (n, labels) in LABELS.iter().enumerate() {
                recorder
                    .register_counter(&key(labels), &METADATA)
                    .increment(count_of(n));
            }
            scrapes(recorder, assert_counters)
        }
        Row::ScrapeHistograms => {
            let recorder = keep(
                PrometheusBuilder::new()
                    .set_buckets(&BOUNDS)
                    .unwrap()
                    .build_recorder(),
            );
            for labels in LABELS.iter() {
                let histogram = recorder.register_histogram(&key(labels), &METADATA);
                ONE_EACH.iter().for_each(|value| histogram.record(*value));
            }
            scrapes(recorder, assert_histograms)
        }
        // It writes text only.
        Row::OpenMetricsCounters
        | Row::OpenMetricsHistograms
        | Row::ProtobufCounters
        | Row::ProtobufHistograms => {
            vec![]
        }
        Row::Register => {
            let recorder = keep(Mutex::new(keep(PrometheusBuilder::new().build_recorder())));
            vec![Form::register(
                "counter!(.., labels) with a String",
                REGISTERED,
                || *recorder.lock().unwrap() = keep(PrometheusBuilder::new().build_recorder()),
                |thread| {
                    let recorder: &PrometheusRecorder = *recorder.lock().unwrap();
                    metrics::with_local_recorder(recorder, || {
                        for (method, path) in labels_of(thread) {
                            counter!("requests_total", "method" => *method, "path" => path.to_string()).increment(1);
                        }
                    });
                },
                |done| {
                    let text = recorder.lock().unwrap().handle().render();
                    assert_eq!(sum_in(&text, "requests_total{"), done.last as f64);
                },
            )]
        }
        Row::BytesCounter => vec![Form::held("a key with a String", || {
            let recorder = PrometheusBuilder::new().build_recorder();
            for labels in LABELS.iter() {
                recorder
                    .register_counter(&key(labels), &METADATA)
                    .increment(1);
            }
            Box::new(recorder)
        })],
        Row::BytesHistogram => vec![Form::held("a key with a String, after upkeep", || {
            let recorder = PrometheusBuilder::new()
                .set_buckets(&BOUNDS)
                .unwrap()
                .build_recorder();
            for labels in LABELS.iter() {
                recorder
                    .register_histogram(&key(labels), &METADATA)
                    .record(0.3);
            }
            recorder.handle().run_upkeep();
            Box::new(recorder)
        })],
        // It has native histograms in protobuf only; their work on the hot path is that of its
        // other histograms.
        Row::Native | Row::LabelHistogram | Row::LabelNative | Row::LabelSummary => vec![],
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

pub static METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// A key that owns its path, like a key built from a request.
pub fn key((method, path): &Request) -> Key {
    let labels = vec![
        Label::new("method", *method),
        Label::new("path", path.to_string()),
    ];
    Key::from_parts("requests", labels)
}

fn observing(builder: PrometheusBuilder) -> (&'static PrometheusRecorder, &'static Histogram) {
    let recorder = keep(builder.build_recorder());
    let handle = keep(recorder.register_histogram(&Key::from_static_name("seconds"), &METADATA));
    (recorder, handle)
}

/// Runs the same line of a program with each recorder.
pub fn through(recorder: &dyn Recorder, n: u64) {
    metrics::with_local_recorder(recorder, || {
        repeat(n, || {
            counter!("facade", "method" => "GET", "status" => "200").increment(1)
        });
    });
}

fn upkeep(thread: usize, handle: &PrometheusHandle) {
    if thread == 0 {
        handle.run_upkeep();
    }
}

fn read(recorder: &PrometheusRecorder) -> (u64, f64) {
    let text = recorder.handle().render();
    (
        sum_in(&text, "seconds_count") as u64,
        sum_in(&text, "seconds_sum"),
    )
}

fn global(start: &str) -> f64 {
    sum_in(&GLOBAL.render(), start)
}

fn scrapes(recorder: &'static PrometheusRecorder, check: fn(&str)) -> Vec<Form> {
    let kept = keep(Mutex::new(Vec::new()));
    let last = keep(Mutex::new(String::new()));
    vec![
        Form::scrape(
            "render_to_write into a kept Vec",
            SERIES,
            || {
                let mut text = kept.lock().unwrap();
                text.clear();
                recorder.handle().render_to_write(&mut *text).unwrap();
            },
            move || check(str::from_utf8(&kept.lock().unwrap()).unwrap()),
        ),
        Form::scrape(
            "render",
            SERIES,
            || *last.lock().unwrap() = recorder.handle().render(),
            move || check(&last.lock().unwrap()),
        )
        .readme(),
    ]
}
