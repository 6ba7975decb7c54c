//! Label pages, which a family shares with its snapshots, agree with look-ups in the family.
//! Snapshots that are kept stay as they were.

use std::collections::BTreeMap;

use tallies::snapshot::Value;
use tallies::{Counter, Registry, encode, snapshot::Snapshot};

/// The labels and totals of a snapshot, and its page in every format.
fn content(snapshot: &Snapshot) -> (Vec<(String, f64)>, [Vec<u8>; 3]) {
    let family = snapshot.family("c_total").unwrap();
    let series = family.series().map(|(labels, value)| match value {
        Value::Counter(total) => (labels.get("x").unwrap().into_owned(), total.as_f64()),
        _ => unreachable!("a counter"),
    });
    let mut pages = [(); 3].map(|()| Vec::new());
    encode::Options::new().write(snapshot, encode::Format::TEXT, &mut pages[0]);
    encode::Options::new().write(snapshot, encode::Format::OPEN_METRICS, &mut pages[1]);
    encode::Options::new().write(snapshot, encode::Format::PROTOBUF, &mut pages[2]);
    (series.collect(), pages)
}

/// Adds, removes, retires and clears at random, between scrapes.
#[test]
fn pages_agree_with_look_ups_whatever_comes_and_goes() {
    let mut random = 7_u64;
    let mut below = |end: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % end
    };
    let (registry, other) = (Registry::new(), Registry::new());
    let counters = Counter::builder("c_total", "")
        .labels(["x"])
        .limit(1000)
        .register(&registry)
        .unwrap();
    let mut reused = Snapshot::default();
    let mut kept = Vec::new();
    for round in 0..300 {
        for _ in 0..below(40) {
            let label = below(700).to_string();
            match below(10) {
                0..6 => counters.with([&label]).add(below(5) as u64),
                6..8 => _ = counters.remove([&label]),
                8 => _ = counters.retire([&label]),
                _ => counters.with([&format!("\"{label}\\")]).inc(),
            }
        }
        match below(100) {
            0 => counters.clear(),
            1 => registry.start_over(),
            2..20 => _ = counters.retain(|_| below(8) > 0),
            // Reclaims, so that numbers are used again without a scrape in between.
            20..50 => (0..20).for_each(|_| drop(other.snapshot())),
            _ => {}
        }
        if below(3) == 0 {
            continue;
        }
        registry.snapshot_into(&mut reused);
        let fresh = registry.snapshot();
        assert_eq!(content(&reused), content(&fresh), "round {round}");
        let (series, pages) = content(&fresh);
        let mut series: BTreeMap<_, _> = series.into_iter().collect();
        series.remove("__overflow__");
        let wanted = counters.get_all().into_iter().map(|(labels, total)| {
            let [label] = <[_; 1]>::try_from(labels).unwrap();
            (label.1, total as f64)
        });
        assert_eq!(series, wanted.collect(), "round {round}");
        if below(10) == 0 {
            kept.push((fresh, pages));
        }
    }
    assert!(kept.len() > 5);
    for (snapshot, pages) in kept {
        assert_eq!(content(&snapshot).1, pages);
    }
}

/// An interval, and a snapshot that is merged, share their label pages with the snapshots that they
/// were made from. These stay as they were.
/// The last page was not full in one scrape. In the next one it has no live series, and later pages
/// have some. In the third one the reverse.
#[test]
fn a_page_that_was_the_last_one_is_skipped() {
    let registry = Registry::new();
    let counters = Counter::builder("c_total", "").labels(["x"]).limit(9000);
    let counters = counters.register(&registry).unwrap();
    let add = |labels: std::ops::Range<u32>| {
        labels.for_each(|label| counters.with([&label.to_string()]).add(label.into()));
    };
    let series = |labels: &[u32]| -> BTreeMap<_, _> {
        let labels = labels.iter();
        labels
            .map(|label| (label.to_string(), f64::from(*label)))
            .collect()
    };
    let mut snapshot = Snapshot::default();
    let mut scrape = || {
        registry.snapshot_into(&mut snapshot);
        content(&snapshot).0.into_iter().collect::<BTreeMap<_, _>>()
    };
    add(0..1100);
    assert_eq!(scrape().len(), 1100);
    add(1100..8000);
    counters.retain(|labels| ["3", "7999"].contains(&&*labels[0].1));
    assert_eq!(scrape(), series(&[3, 7999]));
    add(8000..8002);
    counters.remove(["7999"]);
    assert_eq!(scrape(), series(&[3, 8000, 8001]));
}

#[test]
fn arithmetic_leaves_the_snapshots_that_share_its_pages_as_they_were() {
    let registry = Registry::new();
    let counters = Counter::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    (0..200).for_each(|i| counters.with([&i.to_string()]).inc());
    let before = registry.snapshot();
    counters.with(["7"]).add(4);
    counters.remove(["8"]);
    counters.with(["200"]).inc();
    let now = registry.snapshot();
    let (old, new) = (content(&before), content(&now));
    let mut interval = now.since(&before);
    assert_eq!(interval.get("c_total", &[("x", "7")]), Some(4.0));
    assert_eq!(interval.get("c_total", &[("x", "9")]), Some(0.0));
    assert_eq!(interval.get("c_total", &[("x", "200")]), Some(1.0));
    interval.merge(&before).unwrap();
    assert_eq!(interval.get("c_total", &[("x", "8")]), Some(1.0));
    assert_eq!(interval.get("c_total", &[("x", "7")]), Some(5.0));
    let created = |snapshot: &Snapshot| snapshot.family("c_total").unwrap().created(9);
    assert_eq!(created(&interval), created(&before));
    assert!(created(&now.since(&before)).unwrap() >= created(&now).unwrap());
    assert_eq!((content(&before), content(&now)), (old, new));
    // An interval is a snapshot that can be used again.
    let mut interval = now.since(&before);
    registry.snapshot_into(&mut interval);
    assert_eq!(content(&interval), content(&now));
}
