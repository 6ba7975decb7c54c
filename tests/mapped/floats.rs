//! Float totals that a reader sees never go down, although counts move between cells.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Barrier;

use tallies::snapshot::Value;
use tallies::{Counter, Histogram, Summary, snapshot::Snapshot};

use crate::support::{Directory, child, processes};

static PAID: Counter<[&str; 1], f64> = Counter::labelled("paid_total", &["x"]).help("Paid.").hot();
static TIMES: Histogram<[&str; 1]> = Histogram::labelled("times_seconds", &["x"])
    .help("Times.")
    .buckets(&[0.1, 1.0])
    .hot();
static NATIVE: Histogram<[&str; 1]> = Histogram::labelled("native_seconds", &["x"])
    .help("Times.")
    .native(3)
    .hot();
static SIZES: Summary<[&str; 1]> = Summary::labelled("sizes", &["x"]).help("Sizes.").hot();

/// The number of threads that count at a time.
const THREADS: u64 = 4;

/// The sums of all series, by name and label.
type Sums = BTreeMap<(String, String), f64>;

fn sums(page: &Snapshot) -> Sums {
    let names = ["paid_total", "times_seconds", "native_seconds", "sizes"];
    let mut sums = Sums::new();
    for family in names.iter().filter_map(|name| page.family(name)) {
        for (labels, value) in family.series() {
            let sum = match value {
                Value::Counter(n) => n.as_f64(),
                Value::Histogram(histogram) => histogram.sum(),
                Value::Summary(summary) => summary.sum(),
                _ => unreachable!("another kind"),
            };
            let label = labels.get("x").unwrap().into_owned();
            sums.insert((family.name().to_owned(), label), sum);
        }
    }
    sums
}

/// Fails if a sum is lower than before. Those of retired series are not.
fn check(now: &Sums, before: &Sums, retired: Option<&str>, what: &str) {
    for (series, sum) in before.iter().filter(|((_, x), _)| retired != Some(x)) {
        let now = now.get(series).copied();
        assert!(now >= Some(*sum), "{series:?} {what}: {now:?} after {sum}");
    }
}

/// Returns a random number from 0 to 1.
fn random(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 * 2_f64.powi(-53)
}

fn count(seed: u64, together: &Barrier) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    // Each thread has a shard of its own.
    together.wait();
    for x in ["a", "b", "c"] {
        let x = [x];
        PAID.with(x).add(random(&mut state));
        TIMES.with(x).observe(random(&mut state));
        NATIVE.with(x).observe(random(&mut state));
        SIZES.with(x).observe(random(&mut state));
    }
    together.wait();
}

fn rounds(path: &Path) {
    tallies::share::dir(path).unwrap();
    let read = || sums(&processes(path)[0]);
    let mut last = Sums::new();
    for round in 0..403 {
        let together = Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let together = &together;
                scope.spawn(move || count(round * THREADS + thread + 1, together));
            }
        });
        let counted = read();
        check(&counted, &last, None, "counted");
        last = counted;
        let retired = (round % 5 == 4).then(|| ["a", "b", "c"][round as usize / 5 % 3]);
        if let Some(x) = retired {
            for did in [
                PAID.retire([x]),
                TIMES.retire([x]),
                NATIVE.retire([x]),
                SIZES.retire([x]),
            ] {
                assert!(did);
            }
            let now = read();
            check(&now, &last, retired, "retired");
            last = now;
        }
        // A scrape moves the counts of threads that ended, and those of retired series.
        for _ in 0..3 {
            let scraped = sums(&tallies::snapshot());
            check(&scraped, &last, None, "scraped");
            assert_eq!(read(), scraped, "the reader adds as the process does");
            last = scraped;
        }
    }
    assert_eq!(last.len(), 4 * 4, "{last:?}");
}

/// Regression: a fold lowered sums by a unit in the last place, which Prometheus takes for a
/// restart.
#[test]
fn sums_of_floats_never_go_down() {
    if let Some(path) = child() {
        return rounds(&path);
    }
    let directory = Directory::new();
    let process = directory.spawn("floats::sums_of_floats_never_go_down");
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{output:?}"
    );
}
