//! Gauges that nobody set, and gauges that several registries or label sets set.

use tallies::snapshot::GaugeMode;
use tallies::{Gauge, LabelValue, Labels, Registry, StateSet, View};

const MODES: [(GaugeMode, f64); 6] = [
    (GaugeMode::LiveMin, 7.0),
    (GaugeMode::LiveMax, -7.0),
    (GaugeMode::LiveRecent, 7.0),
    (GaugeMode::Min, 7.0),
    (GaugeMode::Max, -7.0),
    (GaugeMode::Recent, 7.0),
];

/// It counted as 0, so of 7 and nothing the minimum was 0.
#[test]
fn a_gauge_that_nobody_set_takes_no_part_in_a_merge() {
    let (set, unset) = (Registry::new(), Registry::new());
    for (mode, value) in MODES {
        let declare = |registry: &Registry| {
            let gauge = Gauge::builder(mode.as_str(), "").mode(mode);
            gauge.register(registry).unwrap()
        };
        declare(&set).set(value);
        declare(&unset);
    }
    let states = |registry: &Registry| {
        let states = StateSet::<bool>::builder("broken", "");
        states.register(registry).unwrap()
    };
    states(&set).set(true);
    states(&unset);
    for (one, other) in [(&set, &unset), (&unset, &set)] {
        let mut both = one.snapshot();
        both.merge(&other.snapshot()).unwrap();
        for (mode, value) in MODES {
            assert_eq!(both.get(mode.as_str(), &[]), Some(value), "{mode:?}");
        }
        assert_eq!(both.get("broken", &[("broken", "true")]), Some(1.0));
        assert_eq!(both.get("broken", &[("broken", "false")]), Some(0.0));
    }
    let mut nobody = unset.snapshot();
    nobody.merge(&unset.snapshot()).unwrap();
    for (mode, _) in MODES {
        assert_eq!(nobody.get(mode.as_str(), &[]), Some(0.0), "{mode:?}");
    }
}

/// The one that was merged last won, whenever it was set.
#[test]
fn of_two_registries_the_last_value_is_the_one_that_was_set_last() {
    let registries = [Registry::new(), Registry::new()];
    let gauges = registries.each_ref().map(|registry| {
        let gauge = Gauge::builder("recent", "").mode(GaugeMode::Recent);
        gauge.register(registry).unwrap()
    });
    for (who, value) in [(0, 1.0), (1, 2.0), (0, 3.0)] {
        gauges[who].set(value);
    }
    for order in [[0, 1], [1, 0]] {
        let [mut one, other] = order.map(|who| registries[who].snapshot());
        one.merge(&other).unwrap();
        assert_eq!(one.get("recent", &[]), Some(3.0), "{order:?}");
    }
}

/// They compared with the 0 that a gauge shows before it is set.
#[test]
fn the_first_raise_and_the_first_lower_set_the_gauge() {
    let registry = Registry::new();
    let gauge = |name| registry.gauge(name, "").unwrap();
    gauge("lowered").lower(5);
    gauge("raised").raise(-5);
    let queues = Gauge::builder("queues", "").labels(["queue"]);
    let queues = queues.register(&registry).unwrap();
    queues.with(["lowered"]).lower(5);
    queues.with(["raised"]).raise(-5);
    queues.bind(["bound"]).lower(3);
    // One that was removed begins again.
    queues.with(["again"]).set(9);
    queues.remove(["again"]);
    queues.with(["again"]).raise(-2);
    let now = registry.snapshot();
    assert_eq!(now.get("lowered", &[]), Some(5.0));
    assert_eq!(now.get("raised", &[]), Some(-5.0));
    for (queue, value) in [
        ("lowered", 5.0),
        ("raised", -5.0),
        ("bound", 3.0),
        ("again", -2.0),
    ] {
        let found = now.get("queues", &[("queue", queue)]);
        assert_eq!(found, Some(value), "{queue}");
    }
    registry.start_over();
    let lowered = Gauge::builder("lowered", "").get_or_register(&registry);
    let lowered = lowered.unwrap();
    assert_eq!(lowered.get(), 0.0);
    lowered.add(2);
    lowered.lower(5);
    assert_eq!(lowered.get(), 2.0);
}

/// All combinations exist from the start, at 0, and took part.
#[test]
fn a_view_combines_only_what_was_set_of_a_closed_label_set() {
    #[derive(LabelValue)]
    enum Disk {
        Data,
        Log,
    }
    #[derive(Labels)]
    struct Of {
        disk: Disk,
    }
    for (mode, value) in [(GaugeMode::Min, 7.0), (GaugeMode::Max, -7.0)] {
        let registry = Registry::new();
        let view = View::new("celsius").drop_label("disk").gauge_mode(mode);
        registry.add_view(view).unwrap();
        let gauge = Gauge::builder("celsius", "").label_set::<Of>();
        let gauge = gauge.register(&registry).unwrap();
        assert_eq!(registry.snapshot().get("celsius", &[]), Some(0.0));
        gauge.with(Of { disk: Disk::Log }).set(value);
        assert_eq!(registry.snapshot().get("celsius", &[]), Some(value));
        let _ = Disk::Data;
    }
}
