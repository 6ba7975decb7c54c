//! Exemplars from update to scrape.

use crate::support::{examples, http};
use tallies::{Counter, Histogram, LabelValue, Labels, Registry, snapshot::Snapshot};

/// Returns series, bucket, labels and value of every exemplar of a family.
fn of(snapshot: &Snapshot, name: &str) -> Vec<(String, usize, String, f64)> {
    let family = snapshot.family(name).unwrap();
    let series = family.series().enumerate();
    series
        .flat_map(|(i, (labels, _))| {
            let own: Vec<_> = labels.iter().map(|(_, value)| value.into_owned()).collect();
            family.exemplars(i).map(move |(bucket, exemplar)| {
                let labels: Vec<_> = exemplar
                    .labels()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                assert!(exemplar.time().is_some());
                (own.join("/"), bucket, labels.join(","), exemplar.value())
            })
        })
        .collect()
}

fn row(series: &str, bucket: usize, labels: &str, value: f64) -> (String, usize, String, f64) {
    (series.to_owned(), bucket, labels.to_owned(), value)
}

#[derive(Labels)]
struct Closed {
    ok: Outcome,
}

#[derive(Clone, Copy, LabelValue)]
enum Outcome {
    Good,
    Bad,
}

static CLOSED: Counter<Closed> = Counter::new("exemplar_closed_total");
static SECONDS: Histogram = Histogram::new("exemplar_seconds").buckets(&[0.1, 1.0]);

#[test]
fn the_last_exemplar_of_every_series_and_bucket_is_exposed() {
    CLOSED
        .with(Closed { ok: Outcome::Bad })
        .add_exemplar(1, &[("trace_id", "first")]);
    CLOSED
        .with(Closed { ok: Outcome::Bad })
        .add_exemplar(3, &[("trace_id", "a\"b"), ("span", "2")]);
    CLOSED.with(Closed { ok: Outcome::Good }).inc();
    for (value, id) in [(0.05, "a"), (0.1, "b"), (7.0, "c"), (f64::NAN, "d")] {
        SECONDS.observe_exemplar(value, &[("trace_id", id)]);
    }
    let now = tallies::snapshot();
    assert_eq!(
        of(&now, "exemplar_closed_total"),
        [row("bad", 0, "trace_id=a\"b,span=2", 3.0)]
    );
    assert_eq!(
        of(&now, "exemplar_seconds"),
        [row("", 0, "trace_id=b", 0.1), row("", 2, "trace_id=c", 7.0)]
    );
    assert_eq!(now.get("exemplar_seconds_count", &[]), Some(3.0));
    assert_eq!(SECONDS.get().counts, [2, 0, 1]);
}

/// When a snapshot was reused, exemplars of labelled families used to be missing from the second
/// scrape on.
#[test]
fn a_reused_snapshot_has_all_exemplars() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let h = Histogram::builder("h", "")
        .buckets(&[1.0])
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let mut snapshot = Snapshot::default();
    for id in ["a", "b", "longer than those before", "d"] {
        for i in 0..100 {
            let x = i.to_string();
            c.with([&x]).add_exemplar(1, &[("id", id)]);
            h.with([&x]).observe_exemplar(0.5, &[("id", id)]);
            if i % 3 == 0 {
                h.with([&x]).observe_exemplar(2.0, &[("id", id)]);
            }
        }
        registry.snapshot_into(&mut snapshot);
        for (name, count) in [("c_total", 100), ("h", 134)] {
            let all = of(&snapshot, name);
            assert_eq!(all, of(&registry.snapshot(), name));
            assert_eq!(all.len(), count);
            assert!(all.iter().all(|row| row.2 == format!("id={id}")));
        }
    }
}

/// The same over HTTP: the server reuses its snapshots.
#[test]
fn every_scrape_of_a_server_has_exemplars() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    c.with(["a"]).add_exemplar(1, &[("id", "1")]);
    let serving = tallies::serve::Server::new()
        .registry(&registry)
        .listen("127.0.0.1:0")
        .unwrap();
    let wanted = ["Accept: application/openmetrics-text"];
    for _ in 0..3 {
        let page = http::get(&serving, "/metrics", &wanted).text().to_owned();
        assert!(page.contains("c_total{x=\"a\"} 1 # {id=\"1\"} 1"), "{page}");
    }
}

#[test]
fn exemplars_are_removed_with_their_series() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .limit(2)
        .register(&registry)
        .unwrap();
    for x in ["a", "b", "beyond"] {
        c.with([x]).add_exemplar(1, &[("id", x)]);
    }
    let mut all = of(&registry.snapshot(), "c_total");
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let overflow = row("__overflow__", 0, "id=beyond", 1.0);
    assert_eq!(
        all,
        [
            overflow.clone(),
            row("a", 0, "id=a", 1.0),
            row("b", 0, "id=b", 1.0)
        ]
    );
    let stale = c.with(["a"]);
    c.retire(["a"]);
    stale.add_exemplar(1, &[("id", "stale")]);
    // Repeats until another series has the slot; any update acknowledges the safepoint request.
    for _ in 0..1000 {
        c.with(["b"]).inc();
        drop(registry.snapshot());
        c.with(["new"]).inc();
        if c.find(["new"]).map(|series| series.get()).is_some() {
            break;
        }
    }
    assert!(c.find(["new"]).map(|series| series.get()).is_some());
    let mut all = of(&registry.snapshot(), "c_total");
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(all, [overflow, row("b", 0, "id=b", 1.0)]);
}

/// The overflow series used to keep its exemplar after `clear`.
#[test]
fn clear_removes_the_exemplar_of_the_overflow_series() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .limit(1)
        .register(&registry)
        .unwrap();
    for x in ["a", "beyond"] {
        c.with([x]).add_exemplar(1, &[("id", x)]);
    }
    assert_eq!(of(&registry.snapshot(), "c_total").len(), 2);
    c.clear();
    assert_eq!(of(&registry.snapshot(), "c_total"), []);
}

#[test]
fn invalid_exemplars_are_rejected_and_their_updates_count() {
    let registry = Registry::new();
    let c = registry.counter("c_total", "").unwrap();
    let long = "ü".repeat(126);
    registry.set_self_metrics(true);
    for (labels, why) in [
        (&[("id", &*"ü".repeat(127))][..], "at most 128 characters"),
        (&[("", "x")], "has to match"),
        (&[("a b", "x")], "has to match"),
        (&[("a", "x"), ("a", "y")], "is given twice"),
    ] {
        let error = c.try_add_exemplar(1, labels).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        c.add_exemplar(1, labels);
    }
    // Four with an error, and four without.
    let rejected = [("family", "c_total")];
    let now = registry.snapshot();
    assert_eq!(
        now.get("tallies_rejected_updates_total", &rejected),
        Some(8.0)
    );
    assert_eq!(c.get(), 4);
    assert!(of(&registry.snapshot(), "c_total").is_empty());
    c.try_add_exemplar(1, &[("id", &long)]).unwrap();
    assert_eq!(of(&registry.snapshot(), "c_total").len(), 1);
}

#[test]
fn exemplars_are_never_torn_while_threads_write_and_scrape() {
    let registry = Registry::new();
    let h = Histogram::builder("h", "")
        .buckets(&[10.0, 100.0])
        .register(&registry)
        .unwrap();
    std::thread::scope(|scope| {
        for t in 0..2 {
            let h = &h;
            scope.spawn(move || {
                for i in 0..5000 {
                    let value = f64::from(i % 150 + t);
                    h.observe_exemplar(value, &[("id", &value.to_string())]);
                }
            });
        }
        for _ in 0..200 {
            let now = registry.snapshot();
            for (_, bucket, labels, value) in of(&now, "h") {
                assert_eq!(labels, format!("id={value}"));
                assert_eq!(
                    bucket,
                    usize::from(value > 10.0) + usize::from(value > 100.0)
                );
            }
        }
    });
    assert_eq!(of(&registry.snapshot(), "h").len(), 3);
}

/// Trace ids can be set once per process, so this test would better run alone in one. No other test
/// of this program uses traces, and elsewhere than on this test's thread there is no trace.
#[test]
fn traced_updates_have_the_current_trace() {
    use std::cell::Cell;
    thread_local!(static SPAN: Cell<Option<u32>> = const { Cell::new(None) });
    tallies::instrument::trace_ids(|| SPAN.get().map(|id| format!("{id:x}"))).unwrap();
    assert!(tallies::instrument::trace_ids(|| None).is_err());
    let registry = Registry::new();
    let c = registry.counter("c_total", "").unwrap();
    let h = registry.histogram("h", "").unwrap();
    c.inc_traced();
    h.observe_traced(1.0);
    assert!(of(&registry.snapshot(), "c_total").is_empty());
    SPAN.set(Some(0xBEEF));
    c.add_traced(2);
    h.observe_traced(0.5);
    c.inc();
    let now = registry.snapshot();
    assert_eq!(of(&now, "c_total"), [row("", 0, "trace_id=beef", 2.0)]);
    assert_eq!(of(&now, "h"), [row("", 6, "trace_id=beef", 0.5)]);
    assert_eq!((c.get(), h.get().count()), (4, 2));
}

/// Runs the example as a program: every exemplar has its trace, and an observation outside of any
/// span has none.
#[test]
fn the_example_has_the_trace_of_its_spans() {
    let program = examples::build(&["exemplars"]).join("exemplars");
    let run = std::process::Command::new(program).output().unwrap();
    let page = String::from_utf8(run.stdout).unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}\n{page}");
    let read = tallies_check::read_open_metrics(&page).unwrap();
    let sizes = of(&read, "upload_size_bytes");
    let [(_, 0, small, 300.0), (_, 1, large, 70_000.0)] = &sizes[..] else {
        panic!("{page}")
    };
    for trace in [small, large] {
        let id = trace.strip_prefix("trace_id=").unwrap();
        assert!(id.len() == 32 && u128::from_str_radix(id, 16).unwrap() != 0);
        assert!(page.contains(&format!("# {{trace_id=\"{id}\"}}")));
    }
    assert_ne!(small, large);
    assert_eq!(of(&read, "uploads_total"), [row("", 0, large, 1.0)]);
}
