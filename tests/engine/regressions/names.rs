//! Conflicting names, and series that were exposed twice.

use tallies::{
    Counter, Gauge, LabelValue, Registry, StateSet, collect::Collected, label::AnyLabels,
    snapshot::Snapshot,
};

use crate::support::page;

/// A label value could equal that of the overflow series, and the page then contained one series
/// twice.
#[test]
fn nothing_is_printed_twice() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .limit(1)
        .register(&registry)
        .unwrap();
    for x in ["a", "__overflow__", "b"] {
        c.with([x]).inc();
    }
    let any = Counter::builder("any_total", "")
        .label_set::<AnyLabels>()
        .limit(1)
        .register(&registry)
        .unwrap();
    for x in ["a", "__overflow__", "b"] {
        any.with(&[("overflow", x)]).inc();
    }
    registry
        .add_collector("bad", |out: &mut Collected| {
            Ok(out.gauge("bad", "", &[("a", "1"), ("a", "2")], 1.0)?)
        })
        .unwrap();
    registry
        .add_collector("twice", |out: &mut Collected| {
            out.gauge("twice", "", &[("a", "1"), ("b", "2")], 1.0)?;
            Ok(out.gauge("twice", "", &[("b", "2"), ("a", "1")], 1.0)?)
        })
        .unwrap();
    let (page, _) = page(&registry);
    assert!(page.contains("c_total{x=\"__overflow__\"} 2\n"), "{page}");
    assert!(
        page.contains("any_total{overflow=\"__overflow__\"} 2\n"),
        "{page}"
    );
    assert!(
        !page.contains("\nbad") && !page.contains("\ntwice"),
        "{page}"
    );
}

/// Samples of function metrics were exposed twice or were missing, because only whole names were
/// compared.
#[test]
fn a_function_may_not_expose_samples_of_another_family() {
    let registry = Registry::new();
    let one = || 4.0;
    let errs = |result: Result<(), tallies::Error>, says: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    registry.histogram("h", "").unwrap();
    registry.counter("a_total", "").unwrap();
    let says =
        "would expose the same samples as `h`, registered at tests/engine/regressions/names.rs:";
    errs(registry.gauge_fn("h_count", "", one), says);
    errs(registry.counter_fn("h_sum_total", "", one), says);
    errs(registry.gauge_fn("a", "", one), "as `a_total`");
    errs(
        registry.gauge_fn("a_total", "", one),
        "`a_total` is already registered as a counter at tests/engine/regressions/names.rs:",
    );
    // In the opposite order, and between two functions.
    registry.gauge_fn("i_count", "", one).unwrap();
    let says = "would expose the same samples as `i_count`, registered at tests/engine/regressions/names.rs:";
    errs(registry.histogram("i", "").map(drop), says);
    errs(registry.counter_fn("i_count_total", "", one), says);
    errs(
        registry.gauge("i_count", "").map(drop),
        "`i_count` is already registered for `gauge_fn` at \
         tests/engine/regressions/names.rs:",
    );
    let dotted = Counter::builder("i.count", "").utf8();
    errs(dotted.register(&registry).map(drop), says);
    errs(
        registry.gauge_fn("i_count", "", one),
        "`i_count` is already registered for `gauge_fn` at \
         tests/engine/regressions/names.rs:",
    );
    // A removed family is no longer in conflict.
    registry.remove("i_count").unwrap();
    registry.histogram("i", "").unwrap();
    registry.gauge_fn("j_count", "", one).unwrap();
    registry.clear();
    registry.histogram("j", "").unwrap();
    page(&registry);
}

/// A collector's names are known only during a scrape, too late to reject them; conflicting
/// families are left out of the page.
#[test]
fn a_collector_may_not_expose_samples_of_another_family() {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    registry.histogram("h", "").unwrap();
    registry.counter("a_total", "").unwrap();
    registry
        .add_collector("late", |out: &mut Collected| {
            for name in ["a", "b", "h_bucket", "h_c"] {
                out.gauge(name, "", &[], 1.0)?;
            }
            out.counter("b_total", "", &[], 1.0)?;
            out.counter("h_sum", "", &[], 1.0)?;
            Ok(())
        })
        .unwrap();
    let now = registry.snapshot();
    let has = |name| now.family(name).is_some();
    assert!(has("b") && has("h_c"));
    for name in ["a", "h_bucket", "b_total", "h_sum"] {
        assert!(!has(name), "{name}");
    }
    // Four families are missing, but they count as one failed scrape.
    for before in [1.0, 2.0] {
        let errors = registry
            .snapshot()
            .get("tallies_collect_errors_total", &[("collector", "late")]);
        assert_eq!(errors, Some(before));
    }
    page(&registry);
}

/// In formats without UTF-8 names, both names would be `a_b`.
#[test]
fn a_collector_may_not_expose_samples_that_are_equal_once_escaped() {
    let registry = Registry::new();
    let dotted = Gauge::builder("a.b", "").utf8();
    dotted.register(&registry).unwrap().set(1.0);
    registry
        .add_collector("late", |out: &mut Collected| {
            out.gauge("a_b", "", &[], 2.0)?;
            Ok(out.gauge("a_c", "", &[], 2.0)?)
        })
        .unwrap();
    let names = |now: &Snapshot| {
        now.families()
            .map(|f| f.name().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&registry.snapshot()), ["a.b", "a_c"]);
    page(&registry);
}

/// Functions had no prefix, so a prefix could give a family the name of a function.
#[test]
fn a_prefix_keeps_families_and_functions_apart() {
    let registry = Registry::new();
    registry.gauge_fn("app_x_total", "", || 1.0).unwrap();
    registry.counter("x_total", "").unwrap();
    assert!(registry.gauge_fn("x", "", || 1.0).is_err());
    registry.set_prefix("app_").unwrap();
    let now = registry.snapshot();
    let names: Vec<_> = now.families().map(|family| family.name()).collect();
    assert_eq!(names, ["app_app_x_total", "app_x_total"]);
    assert!(registry.gauge_fn("x", "", || 1.0).is_err());
    page(&registry);
}

/// A prefix could give a counter the stem whose samples another family has.
#[test]
fn a_prefix_makes_no_two_families_share_samples() {
    let registry = Registry::new();
    registry.counter("total", "").unwrap();
    registry.gauge("created", "").unwrap();
    let error = registry.set_prefix("app").unwrap_err().to_string();
    assert!(error.contains("would expose the same samples"), "{error}");
    let names = registry.names();
    assert_eq!(names, ["created", "total"], "the prefix is not used");
    registry.set_prefix("app_x").unwrap_err();
    registry.remove("created").unwrap();
    registry.set_prefix("app").unwrap();
    page(&registry);
}

/// `clear` removed collectors first and all names afterwards. Dropping a collector could register a
/// function in between, and that function lost its name.
#[test]
fn what_is_added_while_a_registry_is_cleared_keeps_its_name() {
    struct Adds(Registry);
    impl Drop for Adds {
        fn drop(&mut self) {
            self.0.gauge_fn("h_count", "", || 2.0).unwrap();
        }
    }
    let registry = Registry::new();
    let adds = Adds(registry.clone());
    registry
        .add_collector("adds", move |_: &mut Collected| {
            let Adds(_) = &adds;
            Ok(())
        })
        .unwrap();
    registry.clear();
    assert_eq!(registry.names(), ["h_count"]);
    assert!(registry.histogram("h", "").is_err());
}

/// A state set's label has the name of its family. With some prefixes that name was not a valid
/// label name of the text format.
#[test]
fn a_prefix_makes_no_bad_label_of_a_state_set() {
    #[derive(LabelValue)]
    enum State {
        Off,
    }
    let state = |registry: &Registry| StateSet::<State>::builder("state", "").register(registry);
    for (prefix, good) in [("a:", false), ("__", false), ("a_", true)] {
        let registry = Registry::new();
        registry.set_prefix(prefix).unwrap();
        registry.counter("c_total", "").unwrap();
        assert_eq!(state(&registry).is_ok(), good, "{prefix}");
        let registry = Registry::new();
        state(&registry).unwrap().set(State::Off);
        let error = registry.set_prefix(prefix).err().map(|e| e.to_string());
        assert_eq!(error.is_none(), good, "{prefix}");
        if let Some(error) = error {
            assert!(
                error.contains(&format!("`{prefix}state` is also the label of a state set")),
                "{error}"
            );
        }
        page(&registry);
    }
}

/// A constant label could have the name of a state set's label, and the page then contained it
/// twice.
#[test]
fn a_constant_label_may_not_be_that_of_a_state_set() {
    #[derive(LabelValue)]
    enum State {
        Off,
    }
    let says = "label name `app_state` of family `state` is the label of its states";
    let refused = |result: Result<(), tallies::Error>| {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    };
    let states = |registry: &Registry| {
        let state = StateSet::<State>::builder("state", "").register(registry);
        state.map(|state| state.set(State::Off))
    };
    // In either order.
    let registry = Registry::new();
    registry.set_prefix("app").unwrap();
    states(&registry).unwrap();
    refused(registry.add_constant("app_state", "x"));
    registry.add_constant("state", "x").unwrap();
    page(&registry);
    let registry = Registry::new();
    registry.set_prefix("app").unwrap();
    registry.add_constant("app_state", "x").unwrap();
    refused(states(&registry));
    let registry = Registry::new();
    registry.add_constant("app_state", "x").unwrap();
    states(&registry).unwrap();
    refused(registry.set_prefix("app"));
    page(&registry);
}
