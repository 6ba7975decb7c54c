//! Metrics as users declare them: statics, builders, structs, label sets, and the errors.

mod support;

use std::time::Duration;

use support::page;
use tallies::{
    AnyLabels, Counter, Gauge, Histogram, Info, LabelValue, Labels, Metrics, Registry, StateSet,
    UpDownCounter, buckets,
};

#[derive(LabelValue, Clone, Copy, Debug)]
enum Method {
    #[label("GET")]
    Get,
    DeleteAll,
}

#[derive(Labels)]
struct Request<'a> {
    method: Method,
    route: &'a str,
    #[label("code")]
    status: u16,
}

#[derive(Labels)]
struct Closed {
    method: Method,
    ok: bool,
}

#[test]
fn statics_are_exported_at_zero_before_their_first_use() {
    /// The help
    /// of two lines.
    ///
    /// And what is not the help.
    #[tallies::metric]
    static NEVER: Counter = Counter::new("declare_never_total");
    /// Not the help.
    #[tallies::metric]
    static SAID: Counter = Counter::new("declare_said_total").help("The help.");
    #[tallies::metric]
    static CLOSED: Counter<Closed> = Counter::new("declare_closed_total");
    static LAZY: Counter = Counter::new("declare_lazy_total");

    let now = tallies::snapshot();
    assert_eq!(now.get("declare_never_total", &[]), Some(0.0));
    assert_eq!(
        now.family("declare_never_total").unwrap().help(),
        "The help of two lines."
    );
    assert_eq!(
        now.family("declare_said_total").unwrap().help(),
        "The help."
    );
    assert_eq!(now.family("declare_closed_total").unwrap().len(), 4);
    assert_eq!(
        now.get(
            "declare_closed_total",
            &[("method", "delete_all"), ("ok", "true")]
        ),
        Some(0.0)
    );
    assert!(now.family("declare_lazy_total").is_none());
    LAZY.inc();
    assert_eq!(
        tallies::snapshot().get("declare_lazy_total", &[]),
        Some(1.0)
    );
    assert_eq!(
        (NEVER.name(), SAID.name(), CLOSED.len()),
        ("declare_never_total", "declare_said_total", 4)
    );
}

#[test]
fn twins_of_one_static_share_and_others_are_refused() {
    static ONE: Counter = Counter::new("declare_twin_total").help("Twin.");
    static TWO: Counter = Counter::new("declare_twin_total").help("Twin.");
    static OTHER: Gauge = Gauge::new("declare_twin_total");
    ONE.add(2);
    TWO.add(3);
    OTHER.set(9.0);
    let now = tallies::snapshot();
    assert_eq!(now.get("declare_twin_total", &[]), Some(5.0));
    assert!(now.get("tallies_refused_families_total", &[]).unwrap() >= 1.0);
}

#[test]
fn every_kind_at_run_time_compared_whole() {
    let registry = Registry::new();
    registry.constant("host", "al\"pha").unwrap();
    registry.prefix("app_").unwrap();
    let requests = Counter::<Request>::builder("requests_total", "Requests.")
        .register(&registry)
        .unwrap();
    requests
        .with(Request {
            method: Method::Get,
            route: "/a\\b\n\"",
            status: 200,
        })
        .inc();
    requests
        .with(Request {
            method: Method::DeleteAll,
            route: "",
            status: 404,
        })
        .add(2);
    let busy = Counter::<(), f64>::builder("busy_seconds_total", "Busy \\ or\nnot.")
        .unit("seconds")
        .register(&registry)
        .unwrap();
    busy.add(0.1);
    busy.add(0.2);
    registry
        .gauge("level", "A level.")
        .unwrap()
        .set(f64::NEG_INFINITY);
    let in_flight = registry.up_down_counter("in_flight", "Now.").unwrap();
    in_flight.add(5);
    in_flight.sub(2);
    let sizes = Histogram::<()>::builder("sizes_bytes", "Sizes.")
        .buckets(&buckets::exponential(1.0, 1000.0, 3).unwrap())
        .labels(["kind"])
        .constant("zone", "eu")
        .register(&registry)
        .unwrap();
    sizes.with(["a"]).observe(1.0);
    sizes.with(["a"]).observe_many(5e6, 3);
    registry
        .info("build_info", "Build.", &[("version", "1.0")])
        .unwrap();
    let state = StateSet::<Method>::builder("state", "State.")
        .register(&registry)
        .unwrap();
    state.set(Method::DeleteAll);
    registry.gauge_fn("asked", "Asked for.", || 7.5).unwrap();
    let (page, _) = page(&registry);
    assert_eq!(page, include_str!("golden/every_kind.txt"));
}

#[test]
fn labels_from_data_by_place_and_by_name() {
    let registry = Registry::new();
    let family = Counter::<()>::builder("calls_total", "Calls.")
        .labels(["method", "path"])
        .register(&registry)
        .unwrap();
    family.with(["GET", "/"]).inc();
    family
        .named(&[("path", "/"), ("method", "GET")])
        .unwrap()
        .inc();
    assert_eq!(family.get(["GET", "/"]), Some(2));
    assert_eq!(family.get(["GET", "/x"]), None);
    let error = family.named(&[("path", "/")]).unwrap_err().to_string();
    assert_eq!(error, "family `calls_total` takes 2 labels, got 1");
    let error = family
        .named(&[("path", "/"), ("verb", "GET")])
        .unwrap_err()
        .to_string();
    assert_eq!(error, "family `calls_total` misses the label `method`");

    static STATIC: Counter<[&str; 1]> = Counter::labelled("declare_labelled_total", &["peer"]);
    STATIC.with(["a"]).inc();
    assert_eq!(
        tallies::snapshot().get("declare_labelled_total", &[("peer", "a")]),
        Some(1.0)
    );
}

#[test]
fn any_labels_in_one_family() {
    let registry = Registry::new();
    registry.constant("app", "x").unwrap();
    let events = Counter::<AnyLabels>::builder("events_total", "Events.")
        .register(&registry)
        .unwrap();
    events.with(&[]).inc();
    events.with(&[("a", "1")]).inc();
    events.with(&[("a", "1")]).inc();
    events.with(&[("b", "2"), ("a", "1")]).inc();
    events.with(&[("a", "1"), ("b", "2"), ("c", "")]).inc();
    // A constant label of the same name: what the sample says stands, and nothing is printed twice.
    events.with(&[("app", "x")]).add(10);
    events.with(&[("app", "y")]).add(20);
    let (page, _) = page(&registry);
    assert_eq!(
        page,
        "# HELP events_total Events.\n# TYPE events_total counter\n\
         events_total{app=\"x\"} 11\n\
         events_total{a=\"1\",app=\"x\"} 2\n\
         events_total{a=\"1\",app=\"x\",b=\"2\"} 2\n\
         events_total{app=\"y\"} 20\n"
    );
    assert!(events.check(&[("bad-label", "x")]).is_err());
    events.with(&[("bad-label", "x")]).inc();
    let sum: f64 = registry
        .snapshot()
        .family("events_total")
        .unwrap()
        .series()
        .map(|(_, v)| match v {
            tallies::snapshot::Value::Counter(n) => n.as_f64(),
            _ => 0.0,
        })
        .sum();
    assert_eq!(sum, 36.0, "counted in the overflow series");
}

#[test]
fn a_struct_of_metrics() {
    /// What the mail part counts.
    #[derive(Metrics)]
    struct Mail {
        /// Messages sent.
        #[metric(name = "mail_sent_total", labels = ["peer"], limit = 2)]
        sent: Counter<[&'static str; 1]>,
        /// Time to send.
        #[metric(name = "mail_send_seconds", unit = "seconds", buckets = [0.1, 1.0], hot)]
        took: Histogram,
        #[metric(name = "mail_queue")]
        queue: UpDownCounter<Closed>,
        #[metric(name = "mail.bytes", labels = ["größe"], utf8)]
        bytes: Counter<[&'static str; 1]>,
    }
    let registry = Registry::new();
    let mail = Mail::register(&registry).unwrap();
    for peer in ["a", "b", "c", "d"] {
        mail.sent.with([peer]).inc();
    }
    mail.took.observe(0.5);
    mail.queue
        .with(Closed {
            method: Method::Get,
            ok: true,
        })
        .inc();
    let now = registry.snapshot();
    assert_eq!(
        now.get("mail_sent_total", &[("peer", "__overflow__")]),
        Some(2.0)
    );
    assert_eq!(
        now.get("mail_send_seconds_bucket", &[("le", "1.0")]),
        Some(1.0)
    );
    assert_eq!(
        now.get("mail_queue", &[("method", "GET"), ("ok", "true")]),
        Some(1.0)
    );
    mail.bytes.with(["klein"]).inc();
    let now = registry.snapshot();
    assert_eq!(now.get("mail.bytes", &[("größe", "klein")]), Some(1.0));
    assert_eq!(
        now.family("mail_sent_total").unwrap().help(),
        "Messages sent."
    );
    let Err(error) = Mail::register(&registry) else {
        panic!("registered twice")
    };
    assert!(
        error
            .to_string()
            .contains("already registered, at tests/declare.rs:"),
        "{error}"
    );
}

#[test]
fn errors_say_what_where_and_what_would_be_right() {
    let registry = Registry::new();
    registry.counter("taken_total", "First.").unwrap();
    for (error, says) in [
        (
            registry.counter("bad-name", "").unwrap_err(),
            "metric name `bad-name` has to match",
        ),
        (
            registry.counter("ok\n", "").unwrap_err(),
            "metric name `ok\\n` has to match",
        ),
        (registry.counter("", "").unwrap_err(), "has to match"),
        (
            registry.counter("taken_total", "").unwrap_err(),
            "already registered, at tests/declare.rs:",
        ),
        (
            registry.gauge("taken", "").unwrap_err(),
            "would expose the same samples as `taken_total`",
        ),
        (
            Counter::<()>::builder("a", "")
                .labels(["bad-label"])
                .register(&registry)
                .unwrap_err(),
            "label name `bad-label` of family `a` has to match",
        ),
        (
            Counter::<()>::builder("a", "")
                .labels(["1a"])
                .register(&registry)
                .unwrap_err(),
            "has to match",
        ),
        (
            Counter::<()>::builder("a", "")
                .labels(["__x"])
                .register(&registry)
                .unwrap_err(),
            "is reserved",
        ),
        (
            Counter::<()>::builder("a", "")
                .labels(["x", "x"])
                .register(&registry)
                .unwrap_err(),
            "stands twice",
        ),
        (
            Counter::<()>::builder("a", "")
                .labels(["x"])
                .constant("x", "1")
                .register(&registry)
                .unwrap_err(),
            "stands twice",
        ),
        (
            Counter::<()>::builder("a", "")
                .utf8()
                .labels([".-name__"])
                .register(&registry)
                .unwrap_err(),
            "label name `.-name__` of family `a` is `__name__` to a reader without UTF-8 names, which is the metric's",
        ),
        (
            Counter::<()>::builder("a", "")
                .utf8()
                .labels(["_name_"])
                .register(&registry)
                .unwrap_err(),
            "label name `_name_` of family `a` is `__name__`",
        ),
        (
            Histogram::<()>::builder("h", "")
                .labels(["le"])
                .register(&registry)
                .unwrap_err(),
            "is reserved",
        ),
        (
            Histogram::<()>::builder("h", "")
                .buckets(&[2.0, 1.0])
                .register(&registry)
                .unwrap_err(),
            "buckets of family `h` have to ascend",
        ),
        (
            Histogram::<()>::builder("h", "")
                .buckets(&[1.0, 1.0])
                .register(&registry)
                .unwrap_err(),
            "have to ascend",
        ),
        (
            Histogram::<()>::builder("h", "")
                .buckets(&[f64::NAN])
                .register(&registry)
                .unwrap_err(),
            "have to be finite",
        ),
        (
            Histogram::<()>::builder("h", "")
                .buckets(&[])
                .register(&registry)
                .unwrap_err(),
            "have to be finite",
        ),
        (
            buckets::linear(0.0, 1.0, 0).unwrap_err(),
            "the count has to be",
        ),
        (
            buckets::exponential(1.0, 1.0, 3).unwrap_err(),
            "the factor has to be above 1",
        ),
        (
            buckets::exponential(0.0, 2.0, 3).unwrap_err(),
            "the start has to be above 0",
        ),
        (registry.remove("gone").unwrap_err(), "no family `gone`"),
    ] {
        assert!(error.to_string().contains(says), "{error}, not {says}");
    }
    // Two underscores to such a reader, as most names of this script.
    Counter::<()>::builder("b", "")
        .utf8()
        .labels(["花火"])
        .register(&registry)
        .unwrap();
    registry.histogram("h", "").unwrap();
    assert!(
        registry.counter("h_count", "").is_err(),
        "a histogram has that sample"
    );
    assert!(
        registry.counter("h_sum_total", "").is_err(),
        "OpenMetrics calls that family `h_sum`"
    );
    registry.counter("h_summary_total", "").unwrap();
    let one = Counter::<()>::builder("shared_total", "")
        .get_or_register(&registry)
        .unwrap();
    let two = Counter::<()>::builder("shared_total", "")
        .get_or_register(&registry)
        .unwrap();
    one.inc();
    two.inc();
    assert_eq!(one.total(), 2);
    let error = Gauge::<()>::builder("shared_total", "")
        .get_or_register(&registry)
        .unwrap_err();
    assert!(error.to_string().contains("with another kind"), "{error}");
    registry.remove("taken_total").unwrap();
    registry.counter("taken_total", "Again.").unwrap();
    let _ = registry.snapshot();
    assert!(
        registry
            .constant("host", "x")
            .unwrap_err()
            .to_string()
            .contains("before the first scrape")
    );
}

#[test]
fn what_a_counter_may_not_add_is_dropped_and_said() {
    let registry = Registry::new();
    let x = Counter::<(), f64>::builder("x_total", "")
        .register(&registry)
        .unwrap();
    x.add(1.5);
    for bad in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        x.add(bad);
        let error = x.try_add(bad).unwrap_err();
        assert!(
            error.to_string().contains("family `x_total` only grows"),
            "{error}"
        );
    }
    x.add(-0.0);
    assert_eq!(x.total(), 1.5);
    let h = registry.histogram("h", "").unwrap();
    h.observe(f64::NAN);
    assert!(h.try_observe(f64::NAN).is_err());
    h.observe(f64::INFINITY);
    h.observe(f64::NEG_INFINITY);
    h.observe(f64::INFINITY);
    h.observe(-1.0);
    h.observe_many(1.0, 0);
    let (_, families) = page(&registry);
    assert_eq!(h.total().count(), 3);
    assert_eq!(h.total().sum, f64::INFINITY);
    assert_eq!(families.len(), 2);
}

#[test]
fn integers_are_exact_and_wrap() {
    let registry = Registry::new();
    let n = registry.counter("n_total", "").unwrap();
    n.add((1 << 53) + 1);
    let (page, _) = page(&registry);
    assert!(page.contains("n_total 9007199254740993\n"), "{page}");
    n.add(u64::MAX - (1 << 53));
    n.inc();
    assert_eq!(n.total(), 1);
}

#[test]
fn removed_series_count_into_the_overflow_series() {
    let registry = Registry::new();
    let c = Counter::<()>::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let kept = c.with(["a"]);
    let bound = c.bind(["a"]);
    kept.add(1);
    bound.add(2);
    assert!(c.remove(["a"]));
    assert!(!c.remove(["a"]));
    kept.add(4);
    bound.add(8);
    c.with(["b"]).add(16);
    for _ in 0..10 {
        let now = registry.snapshot();
        assert_eq!(
            now.get("c_total", &[("x", "a")]),
            Some(8.0),
            "bound comes back"
        );
        assert_eq!(now.get("c_total", &[("x", "__overflow__")]), Some(7.0));
        assert_eq!(now.get("c_total", &[("x", "b")]), Some(16.0));
    }
    assert_eq!(c.retain(|labels| labels[0].1 == "b"), 1);
    assert_eq!(c.len(), 1);
    c.clear();
    for _ in 0..10 {
        let now = registry.snapshot();
        assert_eq!(
            now.get("c_total", &[("x", "__overflow__")]),
            Some(0.0),
            "clear forgets on purpose"
        );
        assert_eq!(now.family("c_total").unwrap().len(), 1);
    }
    c.with(["b"]).inc();
    kept.inc();
    assert_eq!(registry.snapshot().get("c_total", &[("x", "b")]), Some(1.0));
    assert_eq!(
        registry.snapshot().get("c_total", &[("x", "__overflow__")]),
        Some(1.0)
    );
}

#[test]
fn gauges_are_forgotten_and_never_fold() {
    let registry = Registry::new();
    let g = Gauge::<()>::builder("g", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    g.with(["a"]).set(5.0);
    g.remove(["a"]);
    for _ in 0..5 {
        assert_eq!(registry.snapshot().family("g").unwrap().len(), 0);
    }
    g.with(["b"]).set(1.0);
    assert_eq!(
        g.get(["b"]),
        Some(1.0),
        "used again, and begins at its own value"
    );
    let g = g.with(["b"]);
    g.raise(3.0);
    g.raise(2.0);
    g.lower(2.5);
    g.sub(-0.5);
    g.inc();
    g.dec();
    assert_eq!(registry.snapshot().get("g", &[("x", "b")]), Some(3.0));
    g.set_to_current_time();
    assert!(registry.snapshot().get("g", &[("x", "b")]).unwrap() > 1.7e9);
}

#[test]
fn series_expire_when_nobody_updates_them() {
    let registry = Registry::new();
    let c = Counter::<()>::builder("c_total", "")
        .labels(["x"])
        .expire_after(Duration::ZERO)
        .register(&registry)
        .unwrap();
    let kept = c.bind(["a"]);
    let mut sum = 0.0;
    for i in 0..50 {
        kept.inc();
        c.with([&format!("{}", i % 3)]).inc();
        sum += 2.0;
        let now = registry.snapshot();
        let family = now.family("c_total").unwrap();
        let all: f64 = family
            .series()
            .map(|(_, v)| match v {
                tallies::snapshot::Value::Counter(n) => n.as_f64(),
                _ => 0.0,
            })
            .sum();
        assert_eq!(all, sum, "round {i}");
    }
    assert!(c.len() <= 4);
}

/// Too many for cells in a row: each series has a place of its own.
#[test]
fn closed_sets_of_many_combinations_count_as_all_do() {
    #[derive(LabelValue, Clone, Copy)]
    enum Shard {
        A,
        B,
        C,
        D,
    }
    use Shard::{A, B, C, D};
    #[derive(Labels)]
    struct Moved {
        from: Shard,
        to: Shard,
        by: Shard,
        ok: bool,
    }
    let moved = |from, to| Moved {
        from,
        to,
        by: D,
        ok: true,
    };
    let registry = Registry::new();
    let h = Histogram::<Moved>::builder("moved_bytes", "")
        .register(&registry)
        .unwrap();
    let kept = h.bind(moved(A, B));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..3000 {
                    h.with(moved(A, B)).observe(1.0);
                    h.with(moved(C, A)).observe(2.0);
                    kept.observe(3.0);
                }
            });
        }
    });
    let now = registry.snapshot();
    assert_eq!(now.family("moved_bytes").unwrap().len(), 128);
    for (from, to, count, sum) in [
        ("a", "b", 12_000.0, 24_000.0),
        ("c", "a", 6000.0, 12_000.0),
        ("b", "c", 0.0, 0.0),
    ] {
        let labels = [("from", from), ("to", to), ("by", "d"), ("ok", "true")];
        assert_eq!(now.get("moved_bytes_count", &labels), Some(count));
        assert_eq!(now.get("moved_bytes_sum", &labels), Some(sum));
    }
}

#[test]
fn info_says_what_is_the_case_now() {
    let registry = Registry::new();
    let leader = Info::<()>::builder("leader_info", "")
        .labels(["host"])
        .register(&registry)
        .unwrap();
    for host in ["a", "b", "a"] {
        leader.set([host]);
        let now = registry.snapshot();
        assert_eq!(now.family("leader_info").unwrap().len(), 1);
        assert_eq!(now.get("leader_info", &[("host", host)]), Some(1.0));
    }
}

#[test]
fn a_timer_observes_however_it_ends() {
    let registry = Registry::new();
    let h = registry.histogram("h", "").unwrap();
    let early = || {
        let _timer = h.start_timer();
        if h.total().count() == 0 {
            return 1;
        }
        2
    };
    assert_eq!(early(), 1);
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        h.time(|| panic!("as it must"))
    }));
    assert_eq!(h.total().count(), 2);
}

#[test]
fn compile_time_errors() {
    let t = trybuild::TestCases::new();
    t.compile_fail("tests/ui/*.rs");
}
