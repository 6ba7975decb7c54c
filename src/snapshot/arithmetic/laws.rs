//! An interval has what was counted between its snapshots, whatever became of the series: compared
//! with a plain model.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::advance;
use crate::snapshot::Snapshot;
use crate::{Counter, Histogram, Registry, Summary, UpDownCounter};

const LABELS: [&str; 4] = ["a", "b", "c", "d"];
const EXPIRY: Duration = Duration::from_secs(60);

/// One family of each kind.
struct Families {
    registry: Registry,
    counter: Counter<[&'static str; 1]>,
    float: Counter<[&'static str; 1], f64>,
    histogram: Histogram<[&'static str; 1]>,
    summary: Summary<[&'static str; 1]>,
    up_down: UpDownCounter<[&'static str; 1]>,
}

/// Does the same with all families.
macro_rules! each {
    ($families:expr, $call:ident($($argument:expr),*)) => {{
        let Families { counter, float, histogram, summary, up_down, .. } = $families;
        _ = counter.$call($($argument),*);
        _ = float.$call($($argument),*);
        _ = histogram.$call($($argument),*);
        _ = summary.$call($($argument),*);
        _ = up_down.$call($($argument),*);
    }};
}

impl Families {
    fn new() -> Self {
        let registry = Registry::new();
        macro_rules! family {
            ($kind:ident, $name:literal $(.$option:ident($($value:expr),*))*) => {
                $kind::builder($name, "")
                    .labels(["x"])
                    .expire_after(EXPIRY)
                    $(.$option($($value),*))*
                    .register(&registry)
                    .unwrap()
            };
        }
        Self {
            counter: family!(Counter, "counter_total"),
            float: family!(Counter, "float_total".float()),
            histogram: family!(Histogram, "histogram".buckets(&[2.0]).native(3)),
            summary: family!(Summary, "summary"),
            up_down: family!(UpDownCounter, "up_down"),
            registry,
        }
    }

    fn add(&self, x: &str, n: u32) {
        self.handles(x)(n);
    }

    /// Returns what counts in the series of this label.
    fn handles(&self, x: &str) -> impl Fn(u32) {
        let (counter, float) = (self.counter.with([x]), self.float.with([x]));
        let (histogram, summary) = (self.histogram.with([x]), self.summary.with([x]));
        let up_down = self.up_down.with([x]);
        move |n| {
            counter.add(n.into());
            float.add(0.1 * f64::from(n));
            histogram.observe(n.into());
            summary.observe(n.into());
            up_down.add(n.into());
        }
    }
}

/// The counts of a series: all updates, those of at most 2, and the sum.
type Total = [u32; 3];

fn total(n: u32) -> Total {
    [1, u32::from(n <= 2), n]
}

fn plus(total: &mut Total, other: Total) {
    (0..3).for_each(|i| total[i] += other[i]);
}

fn minus(total: &mut Total, other: Total) {
    (0..3).for_each(|i| total[i] -= other[i]);
}

/// The expected content of all families.
#[derive(Clone, Default)]
struct Model {
    /// The live series: the number of its life, and its total.
    live: HashMap<&'static str, (usize, Total)>,
    overflow: Total,
    /// The number of times that the families were cleared.
    cleared: usize,
}

/// The lives that ended by being retired, and how often the families had been cleared by then.
type Retired = HashMap<usize, usize>;

impl Model {
    fn add(&mut self, x: &'static str, n: u32, lives: &mut usize) {
        *lives += 1;
        plus(
            &mut self.live.entry(x).or_insert((*lives, [0; 3])).1,
            total(n),
        );
    }

    fn retire(&mut self, x: &str, retired: &mut Retired) {
        if let Some((life, total)) = self.live.remove(x) {
            plus(&mut self.overflow, total);
            retired.insert(life, self.cleared);
        }
    }

    /// Returns what has to be in the interval since `before`, for each series that there is.
    fn since(&self, before: &Self, retired: &Retired) -> Vec<(&'static str, Total)> {
        let mut overflow = self.overflow;
        if self.cleared == before.cleared {
            minus(&mut overflow, before.overflow);
        }
        for (life, total) in before.live.values() {
            let is_live = self.live.values().any(|(live, _)| live == life);
            if !is_live && retired.get(life) == Some(&self.cleared) {
                minus(&mut overflow, *total);
            }
        }
        let mut all = vec![("__overflow__", overflow)];
        for (x, (life, total)) in &self.live {
            let mut total = *total;
            let before = before.live.get(x).filter(|before| before.0 == *life);
            before
                .into_iter()
                .for_each(|(_, before)| minus(&mut total, *before));
            all.push((x, total));
        }
        all
    }
}

/// Compares an interval with the model.
fn check(interval: &Snapshot, expected: &[(&'static str, Total)], story: &[String]) {
    let get = |name: &str, labels: &[(&str, &str)]| interval.get(name, labels).unwrap_or(0.0);
    for &(x, [count, low, sum]) in expected {
        let (x, sum) = (("x", x), f64::from(sum));
        for (name, found, wanted) in [
            ("counter", get("counter_total", &[x]), sum),
            ("float", get("float_total", &[x]), 0.1 * sum),
            (
                "bucket",
                get("histogram_bucket", &[x, ("le", "2")]),
                f64::from(low),
            ),
            ("histogram", get("histogram_count", &[x]), f64::from(count)),
            ("its sum", get("histogram_sum", &[x]), sum),
            ("summary", get("summary_count", &[x]), f64::from(count)),
            ("its sum", get("summary_sum", &[x]), sum),
        ] {
            assert!(
                (found - wanted).abs() < 1e-6,
                "{name} {x:?}: {found}, not {wanted}: {story:#?}"
            );
        }
    }
    for name in [
        "counter_total",
        "float_total",
        "histogram",
        "summary",
        "up_down",
    ] {
        let family = interval.family(name).unwrap();
        let known = |x: &str| expected.iter().any(|(known, _)| *known == x);
        assert!(
            family
                .series()
                .all(|(labels, _)| known(&labels.get("x").unwrap()))
        );
    }
}

/// Runs random steps, and compares the intervals between all snapshots.
fn run(seed: u64) {
    let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = move |n: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let families = Families::new();
    let (mut model, mut lives, mut retired) = (Model::default(), 0, Retired::new());
    let (mut story, mut taken): (Vec<String>, Vec<(Snapshot, Model)>) = Default::default();
    for _ in 0..40 {
        // Two lives of one label set do not begin within one tick.
        advance(Duration::from_millis(20));
        let x = LABELS[random(LABELS.len())];
        match random(12) {
            0..6 => {
                let n = 1 + random(4) as u32;
                story.push(format!("add {n} to {x}"));
                families.add(x, n);
                model.add(x, n, &mut lives);
            }
            6 | 7 => {
                story.push(format!("retire {x}"));
                // An update through an old handle counts in the overflow series.
                let late = model.live.contains_key(x).then(|| families.handles(x));
                each!(&families, retire([x]));
                model.retire(x, &mut retired);
                if let Some(late) = late.filter(|_| random(2) == 0) {
                    late(3);
                    plus(&mut model.overflow, total(3));
                }
            }
            8 => {
                story.push(format!("remove {x}"));
                each!(&families, remove([x]));
                model.live.remove(x);
            }
            9 if random(3) == 0 => {
                story.push("clear".to_owned());
                each!(&families, clear());
                model = Model {
                    cleared: model.cleared + 1,
                    ..Model::default()
                };
            }
            9 => {
                story.push(format!("all but {x} expire"));
                // What goes up and down expires at 0 only.
                for x in model.live.keys() {
                    let active = families.up_down.with([*x]);
                    active.sub(active.get() as u64);
                }
                _ = families.registry.snapshot();
                advance(EXPIRY);
                if model.live.contains_key(x) {
                    families.add(x, 1);
                    model.add(x, 1, &mut lives);
                }
                _ = families.registry.snapshot();
                for other in LABELS.into_iter().filter(|other| *other != x) {
                    model.retire(other, &mut retired);
                }
            }
            _ => {
                let snapshot = families.registry.snapshot();
                story.push("snapshot".to_owned());
                for (before, was) in &taken {
                    check(&snapshot.since(before), &model.since(was, &retired), &story);
                }
                check(&snapshot.since(&Snapshot::default()), &all(&model), &story);
                taken.push((snapshot, model.clone()));
            }
        }
    }
}

fn all(model: &Model) -> Vec<(&'static str, Total)> {
    model.since(
        &Model {
            cleared: usize::MAX,
            ..Model::default()
        },
        &Retired::new(),
    )
}

#[test]
fn intervals_have_what_was_counted_between_their_snapshots() {
    (1..=100).for_each(run);
}
