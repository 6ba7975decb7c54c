//! Any declarations, written as text and read back by a strict reader, are unchanged.

#![cfg_attr(fuzzing, no_main)]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tallies::{Counter, Gauge, Histogram, Registry};

#[path = "../../tests/support/exposition.rs"]
#[allow(dead_code, reason = "this target uses some of it")]
mod exposition;

#[derive(Arbitrary, Debug)]
enum What {
    Counter(Vec<(String, f64)>),
    Gauge(Vec<(String, f64)>),
    Histogram(Vec<f64>, Vec<(String, f64)>),
}

#[derive(Arbitrary, Debug)]
struct Declared {
    what: What,
    help: String,
    constant: Option<String>,
}

fuzz_target!(|families: Vec<Declared>| {
    let registry = Registry::new();
    let mut expected = Vec::new();
    for (i, declared) in families.iter().take(50).enumerate() {
        let name = format!("f{i:02}");
        let constant = declared
            .constant
            .iter()
            .map(|value| ("zone", value.as_str()));
        let mut series: Vec<(String, Vec<f64>)> = Vec::new();
        let note = |series: &mut Vec<(String, Vec<f64>)>, label: &str, x: f64| match series
            .iter_mut()
            .find(|(other, _)| other == label)
        {
            Some((_, values)) => values.push(x),
            None => series.push((label.to_owned(), vec![x])),
        };
        macro_rules! build {
            ($kind:ty, $options:expr) => {{
                let builder = <$kind>::builder(&name, &declared.help);
                let builder = constant
                    .clone()
                    .fold(builder, |b, (name, value)| b.constant(name, value));
                #[allow(
                    clippy::redundant_closure_call,
                    reason = "options are given as closures"
                )]
                $options(builder).labels(["x"]).register(&registry)
            }};
        }
        match &declared.what {
            What::Counter(updates) => {
                let family = build!(Counter, |b: tallies::Builder<Counter>| b.float()).unwrap();
                for (label, x) in updates {
                    family.with([label]).add(*x);
                    note(
                        &mut series,
                        label,
                        if x.is_finite() && *x >= 0.0 { *x } else { 0.0 },
                    );
                }
            }
            What::Gauge(updates) => {
                let family = build!(Gauge<()>, |b| b).unwrap();
                for (label, x) in updates {
                    family.with([label]).set(*x);
                    note(&mut series, label, *x);
                }
            }
            What::Histogram(bounds, updates) => {
                let family = build!(Histogram<()>, |b: tallies::Builder<Histogram>| b
                    .buckets(bounds));
                let good = !bounds.is_empty()
                    && bounds.iter().all(|b| b.is_finite())
                    && bounds.windows(2).all(|w| w[0] < w[1]);
                assert_eq!(family.is_ok(), good);
                let Ok(family) = family else { continue };
                for (label, x) in updates {
                    // Sums of infinities of both signs depend on the order, and are tested
                    // elsewhere.
                    let x = if x.is_infinite() { 0.0 } else { *x };
                    family.with([label]).observe(x);
                    note(&mut series, label, x);
                }
            }
        }
        expected.push((name, declared, series));
    }
    let page = tallies::encode::text(&registry.snapshot());
    let read = exposition::read(&page).unwrap_or_else(|e| panic!("{e}\n{page}"));
    assert_eq!(read.len(), expected.len());
    for (read, (name, declared, series)) in read.iter().zip(&expected) {
        assert_eq!((&read.name, &read.help), (name, &declared.help));
        let same =
            |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || a == b;
        let find = |suffix: &str, label: &str, le: Option<&str>| {
            let mut wanted: Vec<(String, String)> = declared
                .constant
                .iter()
                .map(|value| ("zone".to_owned(), value.clone()))
                .collect();
            wanted.push(("x".to_owned(), label.to_owned()));
            wanted.extend(le.map(|le| ("le".to_owned(), le.to_owned())));
            read.samples
                .iter()
                .find(|s| s.name == format!("{name}{suffix}") && s.labels == wanted)
                .unwrap_or_else(|| panic!("{name}{suffix} {wanted:?}\n{page}"))
                .value
        };
        for (label, values) in series {
            match &declared.what {
                What::Counter(_) => assert!(
                    same(find("", label, None), values.iter().fold(0.0, |a, b| a + b)),
                    "{page}"
                ),
                What::Gauge(_) => assert!(
                    same(find("", label, None), *values.last().unwrap()),
                    "{page}"
                ),
                What::Histogram(bounds, _) => {
                    let numbers: Vec<f64> =
                        values.iter().copied().filter(|x| !x.is_nan()).collect();
                    assert_eq!(find("_count", label, None), numbers.len() as f64);
                    let buckets: Vec<f64> = read
                        .samples
                        .iter()
                        .filter(|s| {
                            s.name.ends_with("_bucket")
                                && s.labels.iter().any(|(n, v)| n == "x" && v == label)
                        })
                        .map(|s| s.value)
                        .collect();
                    let counts: Vec<f64> = bounds
                        .iter()
                        .chain([&f64::INFINITY])
                        .map(|bound| numbers.iter().filter(|x| *x <= bound).count() as f64)
                        .collect();
                    assert_eq!(buckets, counts, "{page}");
                }
            }
        }
    }
});
