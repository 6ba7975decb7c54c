//! The catalogue.

use tallies::snapshot::Kind;
use tallies::{Counter, Histogram, LabelValue, Labels, Registry};

use crate::statics::views;

#[derive(LabelValue, Clone, Copy)]
enum Method {
    Get,
    #[label("M-SEARCH")]
    Search,
}

#[derive(Labels)]
struct Request<'a> {
    method: Method,
    ok: bool,
    route: &'a str,
}

/// Requests
/// answered.
#[tallies::metric]
static CATALOGUE_REQUESTS: Counter<Request<'static>> =
    Counter::new("catalogue_requests_total").limit(50);

/// Never used, so it has no series.
#[tallies::metric]
static CATALOGUE_TOOK: Histogram<[&str; 1]> =
    Histogram::labelled("catalogue_took_seconds", &["queue"]).unit("seconds");

const LINE: u32 = line!() - 2;

#[test]
fn statics_are_listed_before_they_have_series() {
    views();
    let catalogue = tallies::catalogue();
    let requests = catalogue.get("catalogue_requests_total").unwrap();
    assert_eq!(
        (requests.kind, &*requests.help),
        (Kind::Counter, "Requests answered.")
    );
    assert_eq!(requests.limit, Some(50));
    assert_eq!(requests.krate.as_deref(), Some("views"));
    let labels: Vec<_> = requests
        .labels
        .iter()
        .map(|l| (&*l.name, l.values.join(" ")))
        .collect();
    let expected = [
        ("method", "get M-SEARCH"),
        ("ok", "false true"),
        ("route", ""),
    ];
    assert_eq!(
        labels,
        expected.map(|(name, values)| (name, values.to_owned()))
    );
    let took = catalogue.get("catalogue_took_seconds").unwrap();
    assert_eq!((&*took.unit, took.bounds.len()), ("seconds", 11));
    assert_eq!((&*took.file, took.line), ("tests/views/catalogue.rs", LINE));
    // What views make of the statics of another module.
    let views = catalogue.get("static_requests_total").unwrap();
    assert_eq!(
        (views.labels.len(), &*views.dropped),
        (1, &["ok".to_owned()][..])
    );
    assert!(catalogue.get("static_steps_total").unwrap().off);
    let _ = (
        &CATALOGUE_REQUESTS,
        &CATALOGUE_TOOK,
        Method::Get,
        Method::Search,
    );
}

#[test]
fn catalogues_of_several_registries_are_one() {
    let other = Registry::new();
    other.gauge("app_pump", "Another.").unwrap();
    other.gauge("aaa", "First.").unwrap();
    let registry = Registry::new();
    registry.gauge("app_pump", "What it does.").unwrap();
    let both = registry.catalogue().with(other.catalogue());
    assert_eq!(both.families()[0].name, "aaa");
    assert_eq!(both.get("app_pump").unwrap().help, "What it does.");
}
