//! Events: several metrics of one update.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tallies::event::{Event, EventMetric, Events, Recorded};
use tallies::{Counter, Histogram, Labels, Registry, View};

use crate::Closed;
use crate::Method;
use crate::support::eventually;

#[derive(Event)]
struct Answer {
    /// Requests answered.
    requests_total: u64,
    /// Bytes sent.
    #[metric(name = "sent_bytes_total", unit = "bytes")]
    sent: u64,
    /// Time to answer.
    #[metric(name = "answer_duration_seconds", unit = "seconds", buckets = [0.1, 1.0])]
    took: Option<f64>,
}

const fn answer(sent: u64, took: f64) -> Answer {
    let (requests_total, took) = (1, Some(took));
    Answer {
        requests_total,
        sent,
        took,
    }
}

/// The same metrics, declared apart.
struct Apart {
    requests: Counter<[&'static str; 1]>,
    sent: Counter<[&'static str; 1]>,
    took: Histogram<[&'static str; 1]>,
}

impl Apart {
    fn register(registry: &Registry) -> Self {
        let requests = Counter::builder("requests_total", "Requests answered.").labels(["route"]);
        let sent = Counter::builder("sent_bytes_total", "Bytes sent.").unit("bytes");
        let took = Histogram::builder("answer_duration_seconds", "Time to answer.");
        let took = took.unit("seconds").buckets(&[0.1, 1.0]);
        Self {
            requests: requests.register(registry).unwrap(),
            sent: sent.labels(["route"]).register(registry).unwrap(),
            took: took.labels(["route"]).register(registry).unwrap(),
        }
    }

    fn record(&self, route: &str, answer: &Answer) {
        self.requests.with([route]).add(answer.requests_total);
        self.sent.with([route]).add(answer.sent);
        if let Some(took) = answer.took {
            self.took.with([route]).observe(took);
        }
    }
}

fn page(registry: &Registry) -> String {
    tallies::encode::text(&registry.snapshot())
}

/// A registry with the metrics as an event, and one with the metrics apart.
fn both(view: impl Fn() -> Vec<View>) -> ([Registry; 2], Events<Answer, [&'static str; 1]>, Apart) {
    let registries = [Registry::new(), Registry::new()];
    for registry in &registries {
        registry.add_views(view()).unwrap();
    }
    let events = Events::<Answer>::builder()
        .labels(["route"])
        .register(&registries[0])
        .unwrap();
    let apart = Apart::register(&registries[1]);
    (registries, events, apart)
}

const ANSWERS: [(&str, Answer); 4] = [
    ("/", answer(10, 0.05)),
    ("/a", answer(7, 0.5)),
    ("/", answer(5, 3.0)),
    (
        "/b",
        Answer {
            requests_total: 2,
            sent: 0,
            took: None,
        },
    ),
];

#[test]
fn each_metric_is_as_if_it_was_declared_apart() {
    let ([event, apart], events, metrics) = both(Vec::new);
    for round in 0..3 {
        for (route, answer) in ANSWERS {
            metrics.record(route, &answer);
            events.with([route]).record(answer);
        }
        // The histogram of `/b` exists here, and not there.
        metrics.took.with(["/b"]);
        assert_eq!(page(&event), page(&apart), "{round}");
        for (route, ref answer) in ANSWERS.map(|(route, _)| (route, answer(1, 0.5))) {
            events.bind([route]).record(answer_of(answer));
            metrics.record(route, answer);
        }
        assert_eq!(page(&event), page(&apart), "{round}");
    }
    assert_eq!(events.len(), 3);
    assert!(events.remove(["/a"]) && metrics.requests.remove(["/a"]));
    assert!(metrics.sent.remove(["/a"]) && metrics.took.remove(["/a"]));
    assert_eq!(page(&event), page(&apart));
    assert!(events.retire(["/"]) && metrics.requests.retire(["/"]));
    assert!(metrics.sent.retire(["/"]) && metrics.took.retire(["/"]));
    assert_eq!(page(&event), page(&apart));
    assert!(
        page(&event).contains("requests_total{route=\"__overflow__\"} 12"),
        "{}",
        page(&event)
    );
    events.clear();
    metrics.requests.clear();
    metrics.sent.clear();
    metrics.took.clear();
    assert_eq!(page(&event), page(&apart));
    assert!(events.is_empty());
}

/// A series that was removed between two snapshots is not subtracted, in any of the metrics. An
/// interval of events, OTLP's deltas and the baseline of a Redis store rest on it.
#[test]
fn the_difference_of_two_snapshots_is_as_if_declared_apart() {
    type End = fn(&Events<Answer, [&'static str; 1]>, &Apart);
    let ends: [End; 4] = [
        |_, _| {},
        |events, apart| {
            assert!(events.remove(["/"]) && apart.requests.remove(["/"]));
            assert!(apart.sent.remove(["/"]) && apart.took.remove(["/"]));
        },
        |events, apart| {
            assert!(events.retire(["/"]) && apart.requests.retire(["/"]));
            assert!(apart.sent.retire(["/"]) && apart.took.retire(["/"]));
        },
        |events, apart| {
            events.clear();
            apart.requests.clear();
            apart.sent.clear();
            apart.took.clear();
        },
    ];
    for (case, end) in ends.iter().enumerate() {
        let (registries, events, apart) = both(Vec::new);
        let record = |route: &'static str, times: u64| {
            for _ in 0..times {
                events.with([route]).record(answer(3, 0.5));
                apart.record(route, &answer(3, 0.5));
            }
        };
        record("/", 5);
        record("/a", 2);
        let before = registries.each_ref().map(Registry::snapshot);
        end(&events, &apart);
        // Fewer than before: without a list of what was removed, this is less than nothing.
        record("/", 1);
        record("/a", 1);
        let now = registries.each_ref().map(Registry::snapshot);
        let [event, other] = [0, 1].map(|i| now[i].since(&before[i]));
        let pages = [&event, &other].map(tallies::encode::text);
        assert_eq!(pages[0], pages[1], "{case}");
        for name in ["requests_total", "answer_duration_seconds_count"] {
            assert_eq!(
                event.get(name, &[("route", "/")]),
                Some(1.0),
                "{case}: {name}"
            );
        }
        assert_eq!(event.get("sent_bytes_total", &[("route", "/")]), Some(3.0));
    }
}

fn answer_of(answer: &Answer) -> Answer {
    let Answer {
        requests_total,
        sent,
        took,
    } = *answer;
    Answer {
        requests_total,
        sent,
        took,
    }
}

#[test]
fn views_act_on_each_metric_by_its_name() {
    let views = || {
        vec![
            View::new("requests_total").rename("answers_total"),
            View::new("sent_bytes_total").drop_label("route"),
            View::new("answer_duration_seconds").buckets(&[0.25]),
        ]
    };
    let ([event, apart], events, metrics) = both(views);
    for (route, answer) in ANSWERS {
        metrics.record(route, &answer);
        events.with([route]).record(answer);
    }
    metrics.took.with(["/b"]);
    assert_eq!(page(&event), page(&apart));
    assert!(
        page(&event).contains("sent_bytes_total 22"),
        "{}",
        page(&event)
    );

    let off = || vec![View::new("requests_total").off(), View::new("*").limit(1)];
    let ([event, apart], events, metrics) = both(off);
    for (route, answer) in ANSWERS {
        metrics.record(route, &answer);
        events.with([route]).record(answer);
    }
    assert_eq!(page(&event), page(&apart));
}

/// All combinations of a closed label set are there from the start, and one event of each thread
/// goes to its own cells.
#[test]
fn closed_label_sets_and_no_labels_work() {
    static CLOSED: Events<Answer, Closed> = Events::new();
    static ONE: Events<Mail> = Events::new();

    #[derive(Event)]
    struct Mail {
        /// Messages sent.
        events_mail_sent_total: u64,
        /// Time to send one.
        events_mail_send_duration_seconds: Duration,
    }

    tallies::register_all!(CLOSED, ONE);
    let now = tallies::snapshot();
    assert_eq!(now.family("sent_bytes_total").unwrap().len(), 4);
    assert_eq!(now.get("events_mail_sent_total", &[]), Some(0.0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| {
                for i in 0..3000 {
                    let labels = Closed {
                        method: Method::Get,
                        ok: i % 2 == 0,
                    };
                    CLOSED.with(labels).record(answer(2, 0.5));
                    ONE.record(Mail {
                        events_mail_sent_total: 3,
                        events_mail_send_duration_seconds: Duration::from_millis(250),
                    });
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let now = tallies::snapshot();
    let labels = [("method", "GET"), ("ok", "true")];
    assert_eq!(now.get("requests_total", &labels), Some(6000.0));
    assert_eq!(now.get("sent_bytes_total", &labels), Some(12000.0));
    assert_eq!(now.get("events_mail_sent_total", &[]), Some(36000.0));
    let observed = ONE.get().observed.unwrap();
    assert_eq!((observed.count(), observed.sum), (12000, 3000.0));
    assert_eq!(CLOSED.get_all().len(), 4);
}

/// Ends threads, also if the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The promise of events.
#[test]
fn a_scrape_sees_all_of_an_event_or_nothing() {
    let registry = Registry::new();
    let events = Events::<Answer>::builder()
        .labels(["route"])
        .register(&registry)
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    for route in ["/", "/a"] {
                        events.with([route]).record(answer(7, 0.5));
                    }
                }
            });
        }
        let _end = End(&done);
        let mut scrapes = 0;
        eventually("200 scrapes", || {
            let now = registry.snapshot();
            for route in ["/", "/a"] {
                let labels = [("route", route)];
                let get = |name| now.get(name, &labels).unwrap_or_default();
                let requests = get("requests_total");
                assert_eq!(get("sent_bytes_total"), 7.0 * requests);
                assert_eq!(get("answer_duration_seconds_count"), requests);
                assert_eq!(get("answer_duration_seconds_sum"), 0.5 * requests);
            }
            scrapes += 1;
            (scrapes > 200).then_some(())
        });
    });
}

#[test]
fn a_rejected_observation_does_not_lose_its_counters() {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    let events = Events::<Answer>::builder().register(&registry).unwrap();
    events.record(answer(1, f64::NAN));
    events.record(answer(1, f64::INFINITY));
    events.record(answer(1, f64::NEG_INFINITY));
    let Recorded { counts, observed } = events.get();
    assert_eq!(counts, [3, 3]);
    assert_eq!(observed.unwrap().counts, [0, 0, 1]);
    let rejected = [("family", "answer_duration_seconds")];
    let now = registry.snapshot();
    assert_eq!(
        now.get("tallies_rejected_updates_total", &rejected),
        Some(2.0)
    );
    // Not in the name of the counters, which have taken all of them.
    let family = now.family("tallies_rejected_updates_total").unwrap();
    assert_eq!(family.len(), 1, "{}", page(&registry));
}

/// Rejected updates and series beyond the limit, as the self-metrics of a registry count them.
#[test]
fn unusual_updates_count_as_if_declared_apart() {
    let registries = [Registry::new(), Registry::new()];
    for registry in &registries {
        registry.set_self_metrics(true);
    }
    let events = Events::<Answer>::builder().labels(["route"]).limit(2);
    let events = events.register(&registries[0]).unwrap();
    let apart = Apart {
        requests: Counter::builder("requests_total", "")
            .labels(["route"])
            .limit(2)
            .register(&registries[1])
            .unwrap(),
        sent: Counter::builder("sent_bytes_total", "")
            .labels(["route"])
            .limit(2)
            .register(&registries[1])
            .unwrap(),
        took: Histogram::builder("answer_duration_seconds", "")
            .labels(["route"])
            .limit(2)
            .register(&registries[1])
            .unwrap(),
    };
    for route in ["/a", "/b", "/c", "/d"] {
        for took in [0.5, f64::NAN, f64::NEG_INFINITY] {
            events.with([route]).record(answer(1, took));
            apart.record(route, &answer(1, took));
        }
    }
    let now = registries.each_ref().map(Registry::snapshot);
    for family in [
        "tallies_rejected_updates_total",
        "tallies_overflowed_updates_total",
    ] {
        let [event, apart] = now.each_ref().map(|now| {
            let series = now
                .family(family)
                .into_iter()
                .flat_map(|family| family.series());
            let texts = series.map(|(labels, value)| format!("{labels:?} {value:?}"));
            texts.collect::<Vec<_>>()
        });
        assert_eq!(event, apart, "{family}");
        assert!(!event.is_empty(), "{family}");
    }
}

#[test]
fn counts_that_do_not_fit_are_rejected() {
    struct Wrong;

    impl Event for Wrong {
        const METRICS: &'static [EventMetric] = &[
            EventMetric::counter("a_total"),
            EventMetric::counter("b_total"),
        ];
        type Counts = [u64; 3];
        fn counts(&self) -> [u64; 3] {
            [1; 3]
        }
        fn observed(&self) -> Option<f64> {
            None
        }
    }

    let events = Events::<Wrong>::builder()
        .register(&Registry::new())
        .unwrap();
    events.record(Wrong);
    assert_eq!(events.get().counts, [0, 0]);
}

#[test]
fn a_name_that_is_taken_rejects_the_event() {
    let registry = Registry::new();
    let sent = registry.gauge("sent_bytes_total", "").unwrap();
    let error = Events::<Answer>::builder().register(&registry).unwrap_err();
    assert!(error.is_already_registered(), "{error}");
    let now = registry.snapshot();
    assert!(now.family("requests_total").is_none() && now.family("sent_bytes_total").is_some());
    drop(sent);
    let events = Events::<Answer>::builder()
        .prefix("shop")
        .register(&registry)
        .unwrap();
    events.record(answer(5, 0.5));
    let now = registry.snapshot();
    assert_eq!(now.get("shop_requests_total", &[]), Some(1.0));
    assert_eq!(now.get("shop_sent_bytes_total", &[]), Some(5.0));
    let again = Events::<Answer>::builder()
        .prefix("shop")
        .get_or_register(&registry)
        .unwrap();
    again.record(answer(5, 0.5));
    assert_eq!(events.get().counts, [2, 10]);
    // A counter by itself has other cells.
    assert!(
        Counter::<()>::builder("shop_requests_total", "Requests answered.")
            .get_or_register(&registry)
            .is_err()
    );
}

#[test]
fn an_event_without_updates_expires_whole() {
    #[derive(Labels)]
    struct Route<'a> {
        route: &'a str,
    }
    let registry = Registry::new();
    let events = Events::<Answer>::builder()
        .label_set::<Route>()
        .expire_after(Duration::from_millis(1))
        .register(&registry)
        .unwrap();
    events.with(Route { route: "/" }).record(answer(5, 0.5));
    eventually("the series expires", || {
        let _ = registry.snapshot();
        events.is_empty().then_some(())
    });
    let now = registry.snapshot();
    let overflow = [("route", "__overflow__")];
    assert_eq!(now.get("sent_bytes_total", &overflow), Some(5.0));
    assert_eq!(
        now.get("answer_duration_seconds_count", &overflow),
        Some(1.0)
    );
}

/// Regressions: with a view of the first metric, the second call was an error.
#[test]
fn events_are_found_again_whatever_their_views_are() {
    for view in [
        View::new("requests_total").rename("answers_total"),
        View::new("requests_total").off(),
        View::new("requests_total").drop_label("route"),
        View::new("*").native(3),
        View::new("*").off(),
    ] {
        let registry = Registry::new();
        registry.add_view(view).unwrap();
        let events = || {
            Events::<Answer>::builder()
                .labels(["route"])
                .get_or_register(&registry)
        };
        events().unwrap().with(["/"]).record(answer(1, 0.5));
        events().unwrap().with(["/"]).record(answer(1, 0.5));
        let bytes = registry
            .snapshot()
            .get("sent_bytes_total", &[("route", "/")]);
        let is_off = registry.snapshot().families().next().is_none();
        assert!(is_off || bytes == Some(2.0), "{bytes:?}");
    }
}

/// Regression: a limit of a view could only be below that of the declaration.
#[test]
fn a_view_raises_the_limit_of_events() {
    let registry = Registry::new();
    registry.add_view(View::new("*").limit(3)).unwrap();
    let events = Events::<Answer>::builder().labels(["route"]).limit(2);
    let events = events.register(&registry).unwrap();
    for route in ["a", "b", "c", "d"] {
        events.with([route]).record(answer(1, 0.5));
    }
    assert_eq!(events.len(), 3);
}

/// Regressions: two equal statics of one program were taken for one, since both had a place in this
/// crate; and a counter of an event was another one than a counter by itself, for its buckets.
#[test]
fn statics_that_are_declared_apart_have_series_of_their_own() {
    static A: Events<Shared> = Events::new();
    static B: Events<Shared> = Events::new();
    static ALONE: Counter = Counter::new("events_shared_total").help("Shared.");

    #[derive(Event)]
    struct Shared {
        /// Shared.
        events_shared_total: u64,
        /// Seconds.
        events_shared_seconds: f64,
    }

    for events in [&A, &B] {
        events.record(Shared {
            events_shared_total: 1,
            events_shared_seconds: 0.5,
        });
        assert_eq!(events.get().counts, [1]);
    }
    ALONE.inc();
    let now = tallies::snapshot();
    assert_eq!(now.get("events_shared_total", &[]), Some(3.0));
    assert_eq!(now.get("events_shared_seconds_count", &[]), Some(2.0));
}
