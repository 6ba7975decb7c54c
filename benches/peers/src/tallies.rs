//! tallies. Statics are declared as in a program; scrapes use registries of their own, which
//! contain their family only.
//!
//! Families are declared hot, and every batch begins with an untimed part, so the hot path is
//! measured.

use std::sync::{Arc, Barrier, Mutex};

use tallies::event::{Event, Events};
use tallies::{
    Counter, Gauge, Histogram, LabelValue, Labels, Registry, Summary, UpDownCounter,
    snapshot::Snapshot,
};

use crate::form::{Form, along, handles, keep, over, repeat};
use crate::workload::{self, *};
use crate::{Format, Row};

#[derive(Labels)]
struct Strings<'a> {
    method: &'a str,
    path: &'a str,
}

#[derive(LabelValue, Clone, Copy)]
enum Method {
    Get,
    Post,
    Put,
    Delete,
}

#[derive(LabelValue, Clone, Copy)]
enum Status {
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
}

#[derive(Labels)]
struct Enums {
    method: Method,
    status: Status,
}

/// The fields are the metrics.
#[derive(Event)]
struct Answer {
    event_requests_total: u64,
    event_received_total: u64,
    event_sent_total: u64,
    event_calls_total: u64,
    event_seconds: f64,
}

static COUNTER: Counter = Counter::new("counter_total").hot();
static HANDLES: [Counter; 16] = [
    handle("handle_a_total"),
    handle("handle_b_total"),
    handle("handle_c_total"),
    handle("handle_d_total"),
    handle("handle_e_total"),
    handle("handle_f_total"),
    handle("handle_g_total"),
    handle("handle_h_total"),
    handle("handle_i_total"),
    handle("handle_j_total"),
    handle("handle_k_total"),
    handle("handle_l_total"),
    handle("handle_m_total"),
    handle("handle_n_total"),
    handle("handle_o_total"),
    handle("handle_p_total"),
];
static FLOAT: Counter<(), f64> = Counter::new("float_total").hot();
static STRINGS: Counter<Strings> = Counter::new("strings_total").hot();
static ENUMERATED: Counter<Enums> = Counter::new("enums_total").hot();
static FLOATS: Counter<Strings, f64> = Counter::new("float_strings_total").hot();
static GAUGE: Gauge = Gauge::new("gauge");
static GAUGES: Gauge<Strings> = Gauge::new("gauge_strings");
static IN_FLIGHT: UpDownCounter = UpDownCounter::new("in_flight").hot();
static IN_FLIGHTS: UpDownCounter<Strings> = UpDownCounter::new("in_flight_strings").hot();
static SECONDS: Histogram = Histogram::new("seconds").buckets(&BOUNDS).hot();
static HISTOGRAMS: Histogram<Strings> = Histogram::new("strings_seconds").buckets(&BOUNDS).hot();
static SUMMARY: Summary = Summary::new("summary").hot();
static SUMMARIES: Summary<Strings> = Summary::new("summary_strings").hot();
static NATIVE: Histogram = Histogram::new("native_seconds").native(3).hot();
static NATIVES: Histogram<Strings> = Histogram::new("native_strings_seconds").native(3).hot();
static BOTH: Histogram = Histogram::new("both_seconds")
    .native(3)
    .buckets(&BOUNDS)
    .hot();
static TIMED: Histogram = Histogram::new("timed_seconds").buckets(&BOUNDS).hot();
static ANSWERS: Events<Answer, [&str; 2]> = Events::labelled(&["method", "path"]).hot();
static APART: [Counter<[&str; 2]>; 4] = [
    apart("apart_requests_total"),
    apart("apart_received_total"),
    apart("apart_sent_total"),
    apart("apart_calls_total"),
];
static APART_SECONDS: Histogram<[&str; 2]> =
    Histogram::labelled("apart_seconds", &["method", "path"])
        .buckets(&BOUNDS)
        .hot();

const fn apart(name: &'static str) -> Counter<[&'static str; 2]> {
    Counter::labelled(name, &["method", "path"]).hot()
}

const fn handle(name: &'static str) -> Counter {
    Counter::new(name).hot()
}

pub fn forms(row: Row) -> Vec<Form> {
    match row {
        Row::Counter => vec![Form::new(
            "Counter in a static",
            |_, n| repeat(n, || COUNTER.inc()),
            |done| assert_eq!(global("counter_total "), done.all as f64),
        )],
        Row::Handles => vec![Form::new(
            "Counters in a static",
            |_, n| over(n, &HANDLES, |counter| counter.inc()),
            |done| assert_eq!(global("handle_"), done.all as f64),
        )],
        Row::Float => vec![Form::new(
            "Counter<(), f64> in a static",
            |_, n| repeat(n, || FLOAT.add(0.5)),
            |done| assert_eq!(global("float_total "), done.all as f64 * 0.5),
        )],
        Row::LabelStrings => vec![Form::new(
            "with(..)",
            |_, n| {
                over(n, &REQUESTS, |(method, path)| {
                    STRINGS.with(Strings { method, path }).inc()
                })
            },
            |done| assert_eq!(global("strings_total{"), done.all as f64),
        )],
        Row::LabelFloat => vec![Form::new(
            "with(..)",
            |_, n| {
                over(n, &REQUESTS, |request| {
                    FLOATS.with(strings(request)).add(0.5)
                })
            },
            |done| assert_eq!(global("float_strings_total{"), done.all as f64 * 0.5),
        )],
        Row::LabelGauge => vec![Form::new(
            "with(..)",
            |_, n| {
                over(n, &LABELLED, |(request, value)| {
                    GAUGES.with(strings(request)).set(*value)
                })
            },
            |_| {},
        )],
        Row::LabelUpDown => vec![Form::new(
            "with(..), once",
            |_, n| {
                over(n, &REQUESTS, |request| {
                    let series = IN_FLIGHTS.with(strings(request));
                    series.inc();
                    series.dec();
                })
            },
            |_| assert_eq!(global("in_flight_strings{"), 0.0),
        )],
        Row::LabelHistogram => vec![Form::new(
            "with(..)",
            |_, n| {
                over(n, &LABELLED, |(request, value)| {
                    HISTOGRAMS.with(strings(request)).observe(*value)
                })
            },
            |done| assert_eq!(global("strings_seconds_count{"), done.all as f64),
        )],
        Row::LabelNative => vec![Form::new(
            "with(..)",
            |_, n| {
                over(n, &LABELLED, |(request, value)| {
                    NATIVES.with(strings(request)).observe(*value)
                })
            },
            |done| assert_eq!(global("native_strings_seconds_count{"), done.all as f64),
        )],
        Row::LabelSummary => vec![Form::new(
            "with(..)",
            |_, n| {
                over(n, &LABELLED, |(request, value)| {
                    SUMMARIES.with(strings(request)).observe(*value)
                })
            },
            |done| assert_eq!(global("summary_strings_count{"), done.all as f64),
        )],
        Row::LabelEnums => {
            let pairs: &Vec<(Method, Status)> = keep(ENUMS.iter().map(ours).collect());
            vec![Form::new(
                "with(..)",
                |_, n| {
                    over(n, pairs, |(method, status)| {
                        ENUMERATED
                            .with(Enums {
                                method: *method,
                                status: *status,
                            })
                            .inc();
                    });
                },
                |done| assert_eq!(global("enums_total{"), done.all as f64),
            )]
        }
        Row::Facade => {
            let registry = keep(Registry::new());
            let recorder = keep(
                ::tallies_metrics::Recorder::builder()
                    .registry(registry)
                    .build()
                    .unwrap(),
            );
            vec![Form::new(
                "counter!(..) each time, a local recorder",
                |_, n| crate::metrics::through(recorder, n),
                |done| {
                    assert_eq!(
                        sum_in(&::tallies::encode::text(&registry.snapshot()), "facade{"),
                        done.all as f64
                    )
                },
            )]
        }
        Row::Thousand | Row::Walk => {
            let family = counters(keep(Registry::new()), false);
            let all: &Vec<_> = keep(
                LABELS
                    .iter()
                    .map(|(method, path)| family.bind([*method, *path]))
                    .collect(),
            );
            handles(
                row,
                all,
                |counter| counter.inc(),
                |all| all.iter().map(|counter| counter.get()).sum(),
            )
        }
        Row::WalkHistogram => {
            let family = histograms(keep(Registry::new()), false);
            let all: &Vec<_> = keep(
                LABELS
                    .iter()
                    .map(|(method, path)| family.bind([*method, *path]))
                    .collect(),
            );
            handles(
                row,
                all,
                |histogram| histogram.observe(0.3),
                |all| all.iter().map(|histogram| histogram.get().count()).sum(),
            )
        }
        Row::InTurn => {
            let registry = keep(Registry::new());
            let family = keep(counters(registry, false));
            vec![Form::new(
                "with(..)",
                |_, n| in_turn(n, |at| family.with([LABELS[at].0, LABELS[at].1]).inc()),
                |done| assert_eq!(sum_in(&text(registry), "requests_total{"), done.all as f64),
            )]
        }
        Row::Event => {
            let check = |prefix: &'static str, done| {
                let [a, b, c, d, seconds] = [
                    "requests_total",
                    "received_total",
                    "sent_total",
                    "calls_total",
                    "seconds",
                ]
                .map(|name| format!("{prefix}_{name}"));
                let page = text(tallies::registry());
                assert_events_of(
                    |start| sum_in(&page, start),
                    [&a, &b, &c, &d],
                    &seconds,
                    done,
                )
            };
            vec![
                Form::new(
                    "Events, with(..).record(..)",
                    |_, n| {
                        over(n, &EVENTS, |&((method, path), counts, event_seconds)| {
                            let [
                                event_requests_total,
                                event_received_total,
                                event_sent_total,
                                event_calls_total,
                            ] = counts;
                            ANSWERS.with([method, path]).record(Answer {
                                event_requests_total,
                                event_received_total,
                                event_sent_total,
                                event_calls_total,
                                event_seconds,
                            })
                        })
                    },
                    move |done| check("event", done.all),
                ),
                Form::new(
                    "five metrics apart, with(..) of each",
                    |_, n| {
                        over(n, &EVENTS, |&((method, path), counts, seconds)| {
                            for (counter, count) in APART.iter().zip(counts) {
                                counter.with([method, path]).add(count);
                            }
                            APART_SECONDS.with([method, path]).observe(seconds);
                        })
                    },
                    move |done| check("apart", done.all),
                ),
            ]
        }
        Row::Gauge => vec![Form::new(
            "Gauge in a static",
            |_, n| over(n, &VALUES, |value| GAUGE.set(*value)),
            |_| assert_set(global("gauge ")),
        )],
        Row::UpDown => vec![Form::new(
            "UpDownCounter in a static",
            |_, n| {
                repeat(n, || {
                    IN_FLIGHT.inc();
                    IN_FLIGHT.dec();
                });
            },
            |_| assert_eq!(global("in_flight "), 0.0),
        )],
        Row::Histogram => vec![Form::new(
            "Histogram in a static",
            |_, n| over(n, &VALUES, |value| SECONDS.observe(*value)),
            |done| {
                assert_observed(
                    (global("seconds_count") as u64, global("seconds_sum")),
                    done.all,
                )
            },
        )],
        Row::Native => vec![
            Form::new(
                "Histogram::native(3) in a static",
                |_, n| over(n, &VALUES, |value| NATIVE.observe(*value)),
                |done| {
                    assert_observed(
                        (
                            global("native_seconds_count") as u64,
                            global("native_seconds_sum"),
                        ),
                        done.all,
                    );
                },
            ),
            Form::new(
                "native(3) and 11 bounds",
                |_, n| over(n, &VALUES, |value| BOTH.observe(*value)),
                |done| {
                    assert_observed(
                        (
                            global("both_seconds_count") as u64,
                            global("both_seconds_sum"),
                        ),
                        done.all,
                    )
                },
            ),
        ],
        // With `--features tsc` timers use another clock, so they are in that clock's row.
        Row::Timer if cfg!(feature = "tsc") => vec![],
        Row::TimerTsc if !cfg!(feature = "tsc") => vec![],
        Row::Timer | Row::TimerTsc => {
            #[cfg(feature = "tsc")]
            ::tallies::instrument::calibrate();
            vec![Form::new(
                "start_timer",
                |_, n| repeat(n, || drop(TIMED.start_timer())),
                |done| assert_eq!(global("timed_seconds_count"), done.all as f64),
            )]
        }
        Row::Summary => vec![Form::new(
            "Summary in a static",
            |_, n| along(n, &SHUFFLED, |value| SUMMARY.observe(*value)),
            |done| {
                assert_observed(
                    (global("summary_count") as u64, global("summary_sum")),
                    done.all,
                )
            },
        )],
        Row::ScrapeCounters | Row::OpenMetricsCounters | Row::ProtobufCounters => {
            scrapes(counted().0, row.format(), assert_counters)
        }
        Row::ScrapeFresh => {
            let (registry, _) = counted();
            let page = keep(Mutex::new(Vec::new()));
            vec![Form::scrape(
                "snapshot and text into a kept page",
                SERIES,
                || {
                    let mut page = page.lock().unwrap();
                    page.clear();
                    tallies::encode::Options::new().write(
                        &registry.snapshot(),
                        tallies::encode::Format::TEXT,
                        &mut page,
                    );
                },
                || assert_counters(&as_text(&page.lock().unwrap(), Format::Text)),
            )]
        }
        Row::ScrapeRendered => {
            let (registry, _) = counted();
            let page = keep(Mutex::new(Vec::new()));
            vec![Form::scrape(
                "encode::render(&registry.snapshot(), ..)",
                SERIES,
                || *page.lock().unwrap() = tallies::encode::render(&registry.snapshot(), "").1,
                || assert_counters(&as_text(&page.lock().unwrap(), Format::Text)),
            )]
        }
        Row::ScrapeChurned => {
            let (registry, family) = counted();
            let kept = keep(Mutex::new((Snapshot::default(), Vec::new(), 0)));
            vec![Form::scrape(
                "remove one, make one, snapshot_into and text, kept",
                SERIES,
                move || {
                    let (snapshot, page, run) = &mut *kept.lock().unwrap();
                    // Seven thousand series apart, so that each time another page changes.
                    let n = *run * 7_001 % SERIES;
                    *run += 1;
                    let (method, path) = LABELS[n];
                    family.remove([method, path]);
                    family.with([method, path]).add(count_of(n));
                    registry.snapshot_into(snapshot);
                    page.clear();
                    tallies::encode::Options::new().write(
                        snapshot,
                        tallies::encode::Format::TEXT,
                        page,
                    );
                },
                || assert_counters(&as_text(&kept.lock().unwrap().1, Format::Text)),
            )]
        }
        Row::ScrapeFamilies => scrapes(counted_in_families(), Format::Text, assert_counters),
        Row::ScrapeFamiliesFresh => {
            let registry = counted_in_families();
            let page = keep(Mutex::new(Vec::new()));
            vec![Form::scrape(
                "snapshot and text into a kept page",
                SERIES,
                || {
                    let mut page = page.lock().unwrap();
                    page.clear();
                    tallies::encode::Options::new().write(
                        &registry.snapshot(),
                        tallies::encode::Format::TEXT,
                        &mut page,
                    );
                },
                || assert_counters(&as_text(&page.lock().unwrap(), Format::Text)),
            )]
        }
        Row::ScrapeHistograms | Row::OpenMetricsHistograms | Row::ProtobufHistograms => {
            let registry = keep(Registry::new());
            let family = histograms(registry, true);
            on_eight_threads(move |shard| {
                for (method, path) in LABELS.iter() {
                    for value in ONE_EACH.iter().skip(shard).step_by(8) {
                        family.with([*method, *path]).observe(*value);
                    }
                }
            });
            scrapes(registry, row.format(), assert_histograms)
        }
        Row::Register => {
            let family = keep(Mutex::new((Registry::new(), None)));
            vec![Form::register(
                "with(..), never seen before",
                REGISTERED,
                || {
                    let registry = Registry::new();
                    let counters = counters(&registry, false);
                    *family.lock().unwrap() = (registry, Some(counters));
                },
                |thread| {
                    let counters = family.lock().unwrap().1.clone().unwrap();
                    for (method, path) in labels_of(thread) {
                        counters.with([*method, *path]).inc();
                    }
                },
                |done| {
                    assert_eq!(
                        sum_in(&text(&family.lock().unwrap().0), "requests_total{"),
                        done.last as f64
                    )
                },
            )]
        }
        Row::BytesBoundCounter => settled(vec![Form::held("bind(..), cold: updated once", || {
            let registry = Registry::new();
            let family = counters(&registry, false);
            let bound = LABELS
                .iter()
                .map(|(method, path)| family.bind([*method, *path]));
            Box::new((
                bound.inspect(|counter| counter.inc()).collect::<Vec<_>>(),
                registry,
                family.clone(),
            ))
        })]),
        Row::BytesBoundHistogram => {
            settled(vec![Form::held("bind(..), cold: updated once", || {
                let registry = Registry::new();
                let family = histograms(&registry, false);
                let bound = LABELS
                    .iter()
                    .map(|(method, path)| family.bind([*method, *path]));
                Box::new((
                    bound
                        .inspect(|histogram| histogram.observe(0.3))
                        .collect::<Vec<_>>(),
                    registry,
                    family.clone(),
                ))
            })])
        }
        Row::BytesCounter => settled(vec![
            Form::held("with(..), hot", || bytes_counter(true)),
            Form::held("with(..), cold: updated once", || bytes_counter(false)),
        ]),
        Row::BytesHistogram => settled(vec![
            Form::held("with(..), hot", || bytes_histogram(true)),
            Form::held("with(..), cold: updated once", || bytes_histogram(false)),
        ]),
    }
}

/// Frees what earlier rows deferred, so that it is not freed while bytes are counted. Deferred
/// memory is freed an epoch later.
fn settled(forms: Vec<Form>) -> Vec<Form> {
    let empty = Registry::new();
    (0..1000).for_each(|_| drop(empty.snapshot()));
    forms
}

fn bytes_counter(hot: bool) -> Box<dyn Send> {
    let registry = Registry::new();
    let family = counters(&registry, hot);
    LABELS
        .iter()
        .for_each(|(method, path)| family.with([*method, *path]).inc());
    Box::new((registry, family))
}

fn bytes_histogram(hot: bool) -> Box<dyn Send> {
    let registry = Registry::new();
    let family = histograms(&registry, hot);
    LABELS
        .iter()
        .for_each(|(method, path)| family.with([*method, *path]).observe(0.3));
    Box::new((registry, family))
}

/// The default limit of a family is 10 000 series.
fn counters(registry: &Registry, hot: bool) -> Arc<Counter<[&'static str; 2]>> {
    let family = Counter::builder("requests_total", "Requests.")
        .labels(["method", "path"])
        .limit(2 * SERIES);
    let family = if hot { family.hot() } else { family };
    Arc::new(family.register(registry).unwrap())
}

fn histograms(registry: &Registry, hot: bool) -> Arc<Histogram<[&'static str; 2]>> {
    let family = Histogram::builder("seconds", "Time.").labels(["method", "path"]);
    let family = family.buckets(&BOUNDS).limit(2 * SERIES);
    let family = if hot { family.hot() } else { family };
    Arc::new(family.register(registry).unwrap())
}

/// A family of `SERIES` counters. The floor adds up eight shards, so eight threads count in every
/// series until it is hot.
fn counted() -> (&'static Registry, Arc<Counter<[&'static str; 2]>>) {
    let registry = keep(Registry::new());
    let family = counters(registry, true);
    let counter = family.clone();
    on_eight_threads(move |shard| {
        for (n, (method, path)) in LABELS.iter().enumerate() {
            counter.with([*method, *path]).add(part_of(n, shard));
        }
    });
    (registry, family)
}

/// The same in families of a hundred series.
fn counted_in_families() -> &'static Registry {
    let registry = keep(Registry::new());
    let family = |n: usize| {
        let name = format!("requests_{n:03}_total");
        Counter::builder(&name, "Requests.")
            .labels(["method", "path"])
            .hot()
            .register(registry)
            .unwrap()
    };
    let families: Vec<_> = (0..SERIES / 100).map(family).collect();
    on_eight_threads(move |shard| {
        for (n, (method, path)) in LABELS.iter().enumerate() {
            families[n / 100]
                .with([*method, *path])
                .add(part_of(n, shard));
        }
    });
    registry
}

/// In the steady state: snapshot and text are reused, as the server does.
fn scrapes(registry: &'static Registry, format: Format, check: fn(&str)) -> Vec<Form> {
    let kept = keep(Mutex::new((Snapshot::default(), Vec::new())));
    use tallies::encode::{Format as Written, Options};
    let (how, written) = match format {
        Format::Text => ("snapshot_into and text, kept", Written::TEXT),
        Format::OpenMetrics => ("snapshot_into and OpenMetrics, kept", Written::OPEN_METRICS),
        Format::Protobuf => ("snapshot_into and protobuf, kept", Written::PROTOBUF),
    };
    let write = move |snapshot: &Snapshot, page: &mut Vec<u8>| {
        Options::new().write(snapshot, written, page);
    };
    vec![Form::scrape(
        how,
        SERIES,
        move || {
            let (snapshot, text) = &mut *kept.lock().unwrap();
            registry.snapshot_into(snapshot);
            text.clear();
            write(snapshot, text);
        },
        move || check(&as_text(&kept.lock().unwrap().1, format)),
    )]
}

fn strings(&(method, path): &Request) -> Strings<'_> {
    Strings { method, path }
}

fn text(registry: &Registry) -> String {
    tallies::encode::text(&registry.snapshot())
}

/// The sum of the statics' samples, which are in the default registry.
fn global(start: &str) -> f64 {
    sum_in(&text(tallies::registry()), start)
}

/// Runs `work` on eight threads, the first before the others, and keeps them alive, so that each
/// holds a shard of its own.
fn on_eight_threads(work: impl Fn(usize) + Send + Sync + 'static) {
    let work = Arc::new(work);
    for shard in 0..8 {
        let (work, done) = (work.clone(), Arc::new(Barrier::new(2)));
        let mine = done.clone();
        std::thread::spawn(move || {
            tallies::instrument::warm();
            work(shard);
            mine.wait();
            loop {
                std::thread::park();
            }
        });
        done.wait();
    }
}

fn ours((method, status): &(workload::Method, workload::Status)) -> (Method, Status) {
    let method = [Method::Get, Method::Post, Method::Put, Method::Delete][*method as usize];
    let status = [
        Status::Informational,
        Status::Success,
        Status::Redirection,
        Status::ClientError,
        Status::ServerError,
    ][*status as usize];
    (method, status)
}
