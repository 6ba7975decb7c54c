//! Families: statics, builders, structs, and every sort of label set.

use tallies::{
    Counter, Gauge, Histogram, Info, Metrics, Registry, StateSet, Summary, UpDownCounter, buckets,
    label::AnyLabels,
};

use super::{Closed, Method, Request};
use crate::support::page;

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
    /// Calls.
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
fn equal_statics_share_a_family_and_others_are_refused() {
    let _alone = crate::REFUSALS.lock();
    static ONE: Counter = Counter::new("declare_twin_total").help("Twin.");
    static TWO: Counter = Counter::new("declare_twin_total").help("Twin.");
    static OTHER: Gauge = Gauge::new("declare_twin_total");
    // Same name, but a different help text, as if from another library.
    static ELSE: Counter = Counter::new("declare_twin_total").help("Else.");
    ONE.add(2);
    TWO.add(3);
    OTHER.set(9.0);
    ELSE.add(100);
    // The two statics may come in either order: the one with help text provides it for both.
    static SILENT: Counter = Counter::new("declare_silent_total");
    static SAID: Counter = Counter::new("declare_silent_total").help("Said.");
    SILENT.add(1);
    assert_eq!(help("declare_silent_total"), "");
    SAID.add(2);
    assert_eq!(help("declare_silent_total"), "Said.");
    let now = tallies::snapshot();
    assert_eq!(now.get("declare_twin_total", &[]), Some(5.0));
    assert_eq!(now.get("declare_silent_total", &[]), Some(3.0));
    assert!(now.get("tallies_rejected_families_total", &[]).unwrap() >= 2.0);
}

fn help(name: &str) -> String {
    tallies::snapshot().family(name).unwrap().help().to_owned()
}

/// Beyond the limit, each update counts once.
#[test]
fn bound_series_beyond_the_limit_count_once() {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    let overflowed = || {
        let now = registry.snapshot();
        let name = "tallies_overflowed_updates_total";
        let families = ["c_total", "u", "g", "h", "s"];
        families
            .map(|family| now.get(name, &[("family", family)]).unwrap_or(0.0))
            .iter()
            .sum::<f64>()
    };
    let c = Counter::builder("c_total", "").labels(["x"]).limit(0);
    let c = c.register(&registry).unwrap().bind(["a"]);
    let u = UpDownCounter::builder("u", "").labels(["x"]).limit(0);
    let u = u.register(&registry).unwrap().bind(["a"]);
    let g = Gauge::builder("g", "").labels(["x"]).limit(0);
    let g = g.register(&registry).unwrap().bind(["a"]);
    let h = Histogram::builder("h", "").labels(["x"]).limit(0);
    let h = h.register(&registry).unwrap().bind(["a"]);
    let s = Summary::builder("s", "").labels(["x"]).limit(0);
    let s = s.register(&registry).unwrap().bind(["a"]);
    let count = |update: &dyn Fn()| {
        let before = overflowed();
        update();
        overflowed() - before
    };
    for (what, update) in [
        ("inc", &(|| c.inc()) as &dyn Fn()),
        ("try_add", &|| c.try_add(1).unwrap()),
        ("up", &|| u.inc()),
        ("set", &|| g.set(1.0)),
        ("histogram", &|| h.observe(1.0)),
        ("summary", &|| s.observe(1.0)),
    ] {
        assert_eq!(count(update), 1.0, "{what}");
    }
}

/// A bound series can do everything that a series found by `with` can.
#[test]
fn bound_series_do_what_series_do() {
    let registry = Registry::new();
    let counter = Counter::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let c = counter.bind(["a"]);
    c.inc();
    c.clone().add(2);
    c.try_add(3).unwrap();
    assert_eq!(counter.find(["a"]).map(|series| series.get()), Some(6));
    let seconds = Counter::builder("s_total", "")
        .float()
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let s = seconds.bind(["a"]);
    s.inc();
    seconds.with(["a"]).inc();
    assert!(s.try_add(-1.0).is_err());
    assert_eq!(seconds.find(["a"]).map(|series| series.get()), Some(2.0));

    let gauge = Gauge::builder("g", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let g = gauge.bind(["a"]);
    g.add(5.0);
    g.clone().dec();
    g.raise(4.5);
    assert_eq!(gauge.find(["a"]).map(|series| series.get()), Some(4.5));
    let level = UpDownCounter::builder("u", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let u = level.bind(["a"]);
    u.add(3);
    u.clone().sub(1);
    {
        let _tracked = u.track();
        assert_eq!(level.find(["a"]).map(|series| series.get()), Some(3));
    }
    assert_eq!(level.find(["a"]).map(|series| series.get()), Some(2));

    let histogram = Histogram::builder("h", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let h = histogram.bind(["a"]);
    h.time(|| ());
    drop(h.start_timer());
    h.observe_many(20.0, 5);
    assert!(h.clone().try_observe(f64::NAN).is_err());
    assert_eq!(
        histogram
            .find(["a"])
            .map(|series| series.get())
            .unwrap()
            .count(),
        7
    );
    let summary = Summary::builder("q", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let q = summary.bind(["a"]);
    q.time(|| ());
    drop(q.start_timer());
    assert!(q.clone().try_observe(f64::NAN).is_err());
    assert_eq!(
        summary
            .find(["a"])
            .map(|series| series.get())
            .unwrap()
            .count(),
        2
    );
}

/// A clone refers to its own series, even if that series is removed and created again.
#[test]
fn a_clone_of_a_bound_series_outlives_it() {
    let registry = Registry::new();
    let counter = Counter::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let bound = counter.bind(["a"]);
    bound.inc();
    let clone = bound.clone();
    drop(bound);
    assert!(counter.remove(["a"]));
    clone.add(2);
    assert_eq!(counter.find(["a"]).map(|series| series.get()), Some(2));
    let closed = Counter::builder("d_total", "")
        .label_set::<Closed>()
        .register(&registry)
        .unwrap();
    let last = || Closed {
        method: Method::DeleteAll,
        ok: true,
    };
    let bound = closed.bind(last());
    bound.clone().inc();
    assert_eq!(closed.find(last()).map(|series| series.get()), Some(1));
}

#[test]
fn a_last_bound_of_infinity_is_implied() {
    static H: Histogram = Histogram::new("declare_infinity").buckets(&[1.0, f64::INFINITY]);
    let registry = Registry::new();
    let h = Histogram::builder("h", "")
        .buckets(&[1.0, f64::INFINITY])
        .register(&registry)
        .unwrap();
    H.observe(2.0);
    h.observe(2.0);
    assert_eq!((H.get().counts, h.get().counts), (vec![0, 1], vec![0, 1]));
    for none in [&[][..], &[f64::INFINITY], &[f64::NEG_INFINITY]] {
        let error = Histogram::builder("none", "")
            .buckets(none)
            .register(&registry)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "buckets of family `none` need at least one finite bound"
        );
    }
}

#[test]
fn objectives_one_by_one_replace_the_defaults() {
    let registry = Registry::new();
    let s = Summary::builder("s", "")
        .objective(0.5, 0.01)
        .objective(0.75, 0.01)
        .register(&registry)
        .unwrap();
    (1..=100).for_each(|i| s.observe(f64::from(i)));
    let now = registry.snapshot();
    assert_eq!(now.get("s", &[("quantile", "0.5")]), Some(50.0));
    assert_eq!(now.get("s", &[("quantile", "0.75")]), Some(75.0));
    assert_eq!(now.get("s", &[("quantile", "0.9")]), None);
    assert_eq!(now.get("s", &[]), None);
    let found = now.quantile("s", &[], 0.9).unwrap();
    assert!(found.lower <= 90.0 && 90.0 <= found.upper, "{found:?}");
    assert_eq!(now.since(&now.clone()).quantile("s", &[], 0.9), None);
    let error = Summary::builder("bad", "")
        .objective(1.5, 0.01)
        .objective(0.5, 0.01)
        .register(&registry)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "family `bad`: the quantile of an objective has to be from 0 to 1, got 1.5"
    );
    assert_eq!(format!("{error:?}"), error.to_string());
    // Only the objectives that replace the invalid ones count.
    let replaced = Summary::builder("good", "").objective(1.5, 0.01);
    let replaced = replaced.objectives(&[(0.5, 0.01)]).unwrap();
    assert!(replaced.register(&registry).is_ok());
}

#[test]
fn every_kind_at_run_time_compared_whole() {
    let registry = Registry::new();
    registry.add_constant("host", "al\"pha").unwrap();
    registry.set_prefix("app").unwrap();
    let requests = Counter::builder("requests_total", "Requests.")
        .label_set::<Request>()
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
    let busy = Counter::builder("busy_seconds_total", "Busy \\ or\nnot.")
        .float()
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
    let sizes = Histogram::builder("sizes_bytes", "Sizes.")
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
    assert_eq!(page, include_str!("../golden/every_kind.txt"));
}

/// Only a type of its own had labels, and nothing read the state.
#[test]
fn a_state_set_with_labels_has_a_state_for_each_of_them() {
    let registry = Registry::new();
    registry.set_prefix("shop").unwrap();
    let lights = StateSet::<bool>::builder("light", "Whether it is on.")
        .labels(["room"])
        .limit(2)
        .register(&registry)
        .unwrap();
    let state = |state, room| {
        let labels = [("shop_light", state), ("room", room)];
        registry.snapshot().get("shop_light", &labels)
    };
    lights.with(["a"]);
    lights.bind(["b"]).set(true);
    assert_eq!(lights.with(["a"]).get(), "false");
    assert_eq!(lights.bind(["b"]).get(), "true");
    assert_eq!(
        [state("false", "a"), state("true", "a")],
        [Some(1.0), Some(0.0)]
    );
    assert_eq!(
        [state("false", "b"), state("true", "b")],
        [Some(0.0), Some(1.0)]
    );
    // Texts of the last scrape are used again, and only then.
    lights.with(["a"]).set(true);
    assert_eq!(state("true", "a"), Some(1.0));
    assert!(lights.remove(["a"]));
    assert_eq!(state("true", "a"), None);
    lights.with(["c"]).set(true);
    lights.with(["d"]).set(true);
    assert_eq!(state("true", "c"), Some(1.0));
    assert_eq!(state("true", "__overflow__"), Some(1.0));
    let (page, _) = page(&registry);
    assert!(
        page.contains("shop_light{shop_light=\"false\",room=\"b\"} 0\n"),
        "{page}"
    );
    lights.clear();
    assert_eq!((lights.len(), state("true", "b")), (0, None));
    let constant = StateSet::<bool>::builder("pump", "").constant("pump", "x");
    assert!(constant.register(&registry).unwrap_err().is_invalid_name());
    for (name, labels) in [("a:b", "x"), ("room", "room")] {
        let wrong = StateSet::<bool>::builder(name, "").labels([labels]);
        assert!(
            wrong.register(&registry).unwrap_err().is_invalid_name(),
            "{name}"
        );
    }
}

#[test]
fn a_state_set_is_a_field_of_a_struct_and_has_states_from_data() {
    #[derive(Metrics)]
    struct Pumps {
        /// Whether it runs.
        pump_runs: StateSet<bool>,
    }
    let registry = Registry::new();
    let pumps = Pumps::register(&registry).unwrap();
    pumps.pump_runs.set(true);
    assert_eq!(pumps.pump_runs.get(), "true");
    let states = |states: &[&str]| {
        let pump = StateSet::<String>::builder("pump", "").states(states);
        pump.register(&registry)
    };
    assert!(states(&[]).is_err());
    assert!(states(&["a", "a"]).is_err());
    let pump = states(&["off", "on"]).unwrap();
    pump.try_set("on".to_owned()).unwrap();
    assert!(pump.try_set("broken".to_owned()).is_err());
    pump.set("broken".to_owned());
    assert_eq!(pump.get(), "on");
    let rejected = registry.snapshot();
    let rejected = rejected.get("tallies_rejected_updates_total", &[("family", "pump")]);
    assert!(matches!(rejected, None | Some(2.0)), "{rejected:?}");
}

#[test]
fn infos_have_labels() {
    let registry = Registry::new();
    let servers = Info::builder("server_info", "The servers.")
        .labels(["name", "version"])
        .register(&registry)
        .unwrap();
    servers.with(["a", "1"]);
    servers.with(["b", "2"]);
    assert_eq!((servers.len(), servers.get()), (2, None));
    let labels = [("name", "b"), ("version", "2")];
    assert_eq!(registry.snapshot().get("server_info", &labels), Some(1.0));
    assert!(servers.remove(["a", "1"]));
    let owned = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(servers.get(), Some(owned.to_vec()));
    // A closed label set has no series before its first use either.
    let closed = Info::builder("method_info", "").label_set::<Only>();
    let closed = closed.register(&registry).unwrap();
    closed.with(Only { ok: true });
    assert_eq!(closed.get_all().len(), 1);
    assert!(closed.remove(Only { ok: true }));
}

#[derive(tallies::Labels)]
struct Only {
    ok: bool,
}

#[test]
fn labels_from_data_by_position_and_by_name() {
    let registry = Registry::new();
    let family = Counter::builder("calls_total", "Calls.")
        .labels(["method", "path"])
        .register(&registry)
        .unwrap();
    family.with(["GET", "/"]).inc();
    family
        .named(&[("path", "/"), ("method", "GET")])
        .unwrap()
        .inc();
    assert_eq!(
        family.find(["GET", "/"]).map(|series| series.get()),
        Some(2)
    );
    assert_eq!(family.find(["GET", "/x"]).map(|series| series.get()), None);
    let error = family.named(&[("path", "/")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "family `calls_total` takes 2 labels (`method`, `path`), got 1"
    );
    let error = family
        .named(&[("path", "/"), ("verb", "GET")])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "family `calls_total` has no label `verb`; it has `method`, `path`"
    );
    let none = Counter::builder("none_total", "").labels([]);
    let none = none.register(&registry).unwrap();
    let error = none.named(&[("verb", "GET")]).unwrap_err().to_string();
    assert_eq!(error, "family `none_total` takes 0 labels, got 1");
    let twice = family.named(&[("path", "/"), ("path", "/x")]);
    assert_eq!(
        twice.unwrap_err().to_string(),
        "the label `method` of family `calls_total` is missing"
    );

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
    registry.add_constant("app", "x").unwrap();
    let events = Counter::builder("events_total", "Events.")
        .label_set::<AnyLabels>()
        .register(&registry)
        .unwrap();
    events.with(&[]).inc();
    events.with(&[("a", "1")]).inc();
    events.with(&[("b", "2"), ("a", "1")]).inc();
    events.with(&[("a", "1"), ("b", "2"), ("c", "")]).inc();
    // The family has a constant label of the same name: the series' own value wins, and the label
    // is printed once.
    events.with(&[("app", "x")]).add(10);
    events.with(&[("app", "y")]).add(20);
    let (page, _) = page(&registry);
    assert_eq!(
        page,
        "# HELP events_total Events.\n# TYPE events_total counter\n\
         events_total{app=\"x\"} 11\n\
         events_total{a=\"1\",app=\"x\"} 1\n\
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
    assert_eq!(sum, 35.0, "counted in the overflow series");
}

#[test]
fn a_struct_of_metrics() {
    /// Metrics of the mail module.
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
        error.to_string().contains(" at tests/declare/families.rs:"),
        "{error}"
    );
}

/// A builder took the name of a static that was not used yet, and the static was not exported.
#[test]
fn a_builder_does_not_get_the_name_of_an_unused_static() {
    /// Not used before the builder.
    #[tallies::metric]
    static UNUSED: Counter = Counter::new("declare_unused_total");

    let taken = Counter::builder("declare_unused_total", "Taken.").register(tallies::registry());
    assert!(taken.unwrap_err().is_already_registered());
    UNUSED.inc();
    let now = tallies::snapshot();
    assert_eq!(now.get("declare_unused_total", &[]), Some(1.0));
}
