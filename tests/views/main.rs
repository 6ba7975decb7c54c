//! Views, the cardinality report and the catalogue, as programs use them.

mod cardinality;
mod catalogue;
mod handles;
mod labels;
mod settings;
mod statics;
#[path = "../support/mod.rs"]
mod support;

use tallies::{Counter, Registry};

/// A counter with two labels, in a registry of its own.
fn counter(view: tallies::View) -> (Registry, Counter<[&'static str; 2]>) {
    let registry = Registry::new();
    registry.add_view(view).unwrap();
    let hits = Counter::builder("hits_total", "Hits.")
        .labels(["path", "user"])
        .register(&registry)
        .unwrap();
    (registry, hits)
}

/// The series of a family as lines, without comments, sorted.
fn lines(registry: &Registry) -> Vec<String> {
    let (page, _) = support::page(registry);
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let mut lines: Vec<_> = samples.map(str::to_owned).collect();
    lines.sort();
    lines
}
