//! Tests that a retired series leaves nothing behind: no label text in a reused snapshot, and no
//! exemplar under the labels of another series.

use crate::declare::Counter;
use crate::snapshot::{Snapshot, Value};

use super::Registry;

fn family(registry: &Registry) -> Counter<[&'static str; 1]> {
    let builder = Counter::builder("c_total", "").labels(["x"]);
    builder.register(registry).expect("a free name")
}

fn labels(snapshot: &Snapshot) -> Vec<String> {
    let family = snapshot.family("c_total").expect("it is registered");
    let series = family.series();
    let labels = series.map(|(labels, _)| labels.get("x").expect("its label").into_owned());
    labels.filter(|label| label != "__overflow__").collect()
}

/// Takes snapshots until the slots and cells of removed series are reclaimed.
fn reclaim_removed(registry: &Registry) {
    (0..300).for_each(|_| {
        drop(registry.snapshot());
        std::thread::yield_now();
    });
}

/// The snapshot kept the label text of a removed series.
#[test]
fn a_removed_series_is_gone_from_a_snapshot_that_is_used_again() {
    let registry = Registry::new();
    let family = family(&registry);
    // Enough series for whole batches, whose label texts are reused all at once.
    let mut expected: Vec<_> = (0..200).map(|i| format!("{i:03}")).collect();
    expected
        .iter()
        .for_each(|label| family.with([label.as_str()]).inc());
    let mut snapshot = registry.snapshot();
    assert_eq!(labels(&snapshot), expected);
    family.remove(["060"]);
    expected.remove(60);
    registry.snapshot_into(&mut snapshot);
    assert_eq!(labels(&snapshot), expected);
    reclaim_removed(&registry);
    family.with(["200"]).inc();
    expected.push("200".to_owned());
    registry.snapshot_into(&mut snapshot);
    let mut now = labels(&snapshot);
    now.sort();
    assert_eq!(now, expected);
}

/// A page whose series were removed and used again in between has the same live series as before.
#[test]
fn a_number_that_is_used_again_never_shows_its_old_labels() {
    let (registry, other) = (Registry::new(), Registry::new());
    let family = family(&registry);
    let mut expected: Vec<_> = (0..200).map(|i| format!("{i:03}")).collect();
    expected
        .iter()
        .for_each(|label| family.with([label.as_str()]).inc());
    let mut snapshot = registry.snapshot();
    let kept = snapshot.clone();
    family.remove(["060"]);
    // Passes of another registry, because a scrape of this one would build the page again.
    reclaim_removed(&other);
    // Reclaims the first one. It is on another page.
    family.remove(["150"]);
    family.with(["new"]).inc();
    registry.snapshot_into(&mut snapshot);
    let old = expected.clone();
    expected[60] = "new".to_owned();
    expected.remove(150);
    assert_eq!(labels(&snapshot), expected);
    assert_eq!(labels(&registry.snapshot()), expected);
    assert_eq!(labels(&kept), old);
}

/// Pages have the creation times of series, too.
#[test]
fn creation_times_of_pages_follow_clear_and_start_over() {
    let registry = Registry::new();
    let builder = Counter::builder("c_total", "").labels(["x"]).limit(1);
    let family = builder.register(&registry).expect("a free name");
    let mut snapshot = Snapshot::default();
    let mut last = [None; 2];
    for step in 0..3 {
        crate::clock::advance(std::time::Duration::from_secs(1));
        match step {
            1 => registry.start_over(),
            2 => family.clear(),
            _ => {}
        }
        // The second one counts in the overflow series.
        family.with(["a"]).inc();
        family.with(["b"]).inc();
        registry.snapshot_into(&mut snapshot);
        let now = [0, 1].map(|i| snapshot.families[0].created(i));
        assert!(now[0] > last[0] && now[1] > last[1], "{last:?} {now:?}");
        last = now;
    }
}

fn exemplars(registry: &Registry) -> Vec<String> {
    let page = crate::encode::open_metrics(&registry.snapshot());
    let lines = page.lines().filter(|line| line.contains("trace_id"));
    lines.map(str::to_owned).collect()
}

/// The exemplar of a removed series was exported under the labels of the next series of its number.
#[test]
fn exemplars_end_with_their_series() {
    let registry = Registry::new();
    let family = family(&registry);
    family.with(["a"]).add_exemplar(1, &[("trace_id", "1f")]);
    assert_eq!(exemplars(&registry).len(), 1);
    family.remove(["a"]);
    reclaim_removed(&registry);
    family.with(["b"]).inc();
    assert_eq!(exemplars(&registry), [""; 0]);
}

/// The same, for an update through a stale handle.
#[test]
fn an_exemplar_of_a_stale_handle_is_no_other_series() {
    let registry = Registry::new();
    let family = family(&registry);
    let stale = family.with(["a"]);
    stale.inc();
    family.retire(["a"]);
    reclaim_removed(&registry);
    family.with(["b"]).inc();
    stale.add_exemplar(1, &[("trace_id", "1f")]);
    assert!(
        exemplars(&registry)
            .iter()
            .all(|line| !line.contains("\"b\""))
    );
    let snapshot = registry.snapshot();
    let family = snapshot.family("c_total").expect("it is registered");
    let all = family.series().map(|(_, value)| match value {
        Value::Counter(n) => n.as_f64(),
        _ => unreachable!("a counter"),
    });
    assert_eq!(all.sum::<f64>(), 3.0);
}

/// They kept the names and labels that their callbacks gave them, beside families that did not.
#[test]
fn prefix_and_constant_labels_hold_for_callbacks_and_collectors() {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    registry.add_constant("host", "h1").unwrap();
    registry.gauge_fn("queue", "", || 3.0).unwrap();
    registry
        .add_collector("pool", |out: &mut super::Collected| {
            out.gauge("idle", "", &[("pool", "main")], 7.0)?;
            out.gauge("own", "", &[("host", "other")], 1.0)?;
            Ok(())
        })
        .unwrap();
    registry.set_prefix("app").unwrap();
    // Reserved without the prefix, as families are.
    assert!(registry.gauge("queue", "").is_err());
    let now = registry.snapshot();
    assert_eq!(now.get("app_queue", &[("host", "h1")]), Some(3.0));
    let main = [("host", "h1"), ("pool", "main")];
    assert_eq!(now.get("app_idle", &main), Some(7.0));
    assert_eq!(now.get("app_own", &[("host", "other")]), Some(1.0));
    assert!(now.get("tallies_shards", &[("host", "h1")]).is_some());
    #[cfg(feature = "process")]
    {
        crate::process::register(&registry).unwrap();
        let cpu = registry.snapshot();
        assert!(
            cpu.get("process_cpu_seconds_total", &[("host", "h1")])
                .is_some()
        );
    }
}

/// Regression: the failures of collectors were shown without the constant labels of the registry.
#[test]
fn constant_labels_hold_for_the_failures_of_collectors() {
    let registry = Registry::new();
    registry.add_constant("host", "h1").unwrap();
    registry
        .add_collector("broken", |_: &mut super::Collected| Err("no answer".into()))
        .unwrap();
    let labels = [("collector", "broken"), ("host", "h1")];
    let errors = registry
        .snapshot()
        .get("tallies_collect_errors_total", &labels);
    assert_eq!(errors, Some(1.0));
}
