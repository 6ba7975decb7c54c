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
    family.with(["a"]).inc_with(&[("trace_id", "1f")]);
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
    family.remove(["a"]);
    reclaim_removed(&registry);
    family.with(["b"]).inc();
    stale.inc_with(&[("trace_id", "1f")]);
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
