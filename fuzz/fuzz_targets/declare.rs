//! Any sequence of registrations and updates, compared with a plain model: a map from names to maps
//! from labels to numbers.

#![cfg_attr(fuzzing, no_main)]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tallies::snapshot::Value;
use tallies::{Counter, Registry};

const LIMIT: usize = 4;
const NAMES: [&str; 5] = ["a_total", "b_total", "b", "h", "bad-name"];

#[derive(Arbitrary, Debug)]
enum Step {
    Declare(u8),
    Undeclare(u8),
    Add(u8, u8, u16),
    Bind(u8, u8),
    AddBound(u8, u16),
    Remove(u8, u8),
    Clear(u8),
    Scrape,
    Burst(u8, u8),
    Retire(u8, u8),
}

type Family = Counter<[&'static str; 1]>;

#[derive(Default)]
struct Model {
    series: BTreeMap<u8, u64>,
    overflow: u64,
}

impl Model {
    fn add(&mut self, label: u8, n: u64) {
        let known = self.series.len();
        if known >= LIMIT && !self.series.contains_key(&label) {
            self.overflow += n;
        } else {
            *self.series.entry(label).or_default() += n;
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let registry = Registry::new();
    let mut families: BTreeMap<&str, (Family, Model)> = BTreeMap::new();
    let mut bound = None;
    for step in steps {
        match step {
            Step::Declare(name) => {
                let name = NAMES[name as usize % NAMES.len()];
                let made = Counter::builder(name, "")
                    .labels(["x"])
                    .limit(LIMIT)
                    .register(&registry);
                // `b` and `b_total` are one family in OpenMetrics.
                let clash = match name {
                    "b" => families.contains_key("b_total"),
                    "b_total" => families.contains_key("b"),
                    _ => false,
                };
                let good = name != "bad-name" && !families.contains_key(name) && !clash;
                assert_eq!(made.is_ok(), good, "{name}");
                if let Ok(made) = made {
                    families.insert(name, (made, Model::default()));
                }
            }
            Step::Undeclare(name) => {
                let name = NAMES[name as usize % NAMES.len()];
                assert_eq!(
                    registry.remove(name).is_ok(),
                    families.remove(name).is_some()
                );
                if bound.as_ref().is_some_and(|(of, _, _)| *of == name) {
                    bound = None;
                }
            }
            Step::Add(name, label, n) => {
                if let Some((family, model)) = families.get_mut(NAMES[name as usize % NAMES.len()])
                {
                    family.with([&label.to_string()]).add(n.into());
                    model.add(label, n.into());
                }
            }
            Step::Burst(name, label) => {
                // More than the thousand updates that promote a series.
                if let Some((family, model)) = families.get_mut(NAMES[name as usize % NAMES.len()])
                {
                    let label_text = label.to_string();
                    (0..1100).for_each(|_| family.with([&label_text]).inc());
                    model.add(label, 1100);
                }
            }
            Step::Bind(name, label) => {
                let name = NAMES[name as usize % NAMES.len()];
                if let Some((family, model)) = families.get_mut(name) {
                    bound = Some((name, label, family.bind([&label.to_string()])));
                    model.add(label, 0);
                }
            }
            Step::AddBound(_, n) => {
                if let Some((name, label, bound)) = &bound {
                    bound.add(n.into());
                    families.get_mut(name).unwrap().1.add(*label, n.into());
                }
            }
            Step::Remove(name, label) => {
                if let Some((family, model)) = families.get_mut(NAMES[name as usize % NAMES.len()])
                {
                    let gone = model.series.remove(&label);
                    assert_eq!(family.remove([&label.to_string()]), gone.is_some());
                }
            }
            Step::Retire(name, label) => {
                if let Some((family, model)) = families.get_mut(NAMES[name as usize % NAMES.len()])
                {
                    let gone = model.series.remove(&label);
                    assert_eq!(family.retire([&label.to_string()]), gone.is_some());
                    model.overflow += gone.unwrap_or(0);
                }
            }
            Step::Clear(name) => {
                if let Some((family, model)) = families.get_mut(NAMES[name as usize % NAMES.len()])
                {
                    family.clear();
                    *model = Model::default();
                }
            }
            Step::Scrape => check(&registry, &families),
        }
    }
    check(&registry, &families);
});

fn check(registry: &Registry, families: &BTreeMap<&str, (Family, Model)>) {
    let now = registry.snapshot();
    assert!(
        now.families()
            .map(|f| f.name())
            .eq(families.keys().copied())
    );
    for (name, (_, model)) in families {
        let mut series = BTreeMap::new();
        let mut overflow = 0;
        for (labels, value) in now.family(name).unwrap().series() {
            let Value::Counter(n) = value else {
                panic!("{value:?}")
            };
            let n = n.as_f64() as u64;
            match &*labels.get("x").unwrap() {
                "__overflow__" => overflow = n,
                label => _ = series.insert(label.parse::<u8>().unwrap(), n),
            }
        }
        assert_eq!(
            (&series, overflow),
            (&model.series, model.overflow),
            "{name}"
        );
    }
}
