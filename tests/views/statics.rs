//! Views of statics, which belong to the default registry.

use std::sync::Once;

use tallies::{Counter, Histogram, LabelValue, Labels, View};

#[derive(LabelValue, Clone, Copy)]
pub enum Method {
    Get,
    Put,
}

#[derive(Labels)]
pub struct Request {
    method: Method,
    ok: bool,
}

/// Requests, by method.
#[tallies::metric]
static REQUESTS: Counter<Request> = Counter::new("static_requests_total");

/// Time to answer.
#[tallies::metric]
static TOOK: Histogram = Histogram::new("static_took_seconds");

/// Time to answer, by method.
#[tallies::metric]
static TOOK_BY: Histogram<Request> = Histogram::new("static_took_by_seconds");

/// Sizes.
#[tallies::metric]
static SIZES: Histogram = Histogram::new("static_sizes_bytes").buckets(&[1.0]);

/// Steps.
#[tallies::metric]
static STEPS: Counter = Counter::new("static_steps_total");

/// The first one of this name.
#[tallies::metric]
static FIRST: Counter = Counter::new("static_first_total");

/// The second one of this name.
#[tallies::metric]
static SECOND: Counter = Counter::new("static_second_total");

/// Adds the views of this program once, before anything is registered.
pub fn views() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for view in [
            View::new("static_requests_*").drop_label("ok"),
            View::new("static_took_*").buckets(&[0.5, 5.0]),
            View::new("static_sizes_bytes").native(3),
            View::new("static_steps_total").off(),
            View::new("static_*st_total").rename("static_*_one_total"),
            View::new("static_second_total").rename("static_fir_one_total"),
        ] {
            tallies::registry().add_view(view).unwrap();
        }
    });
}

#[test]
fn statics_have_the_views_of_the_default_registry() {
    views();
    let set = |method, ok| Request { method, ok };
    for _ in 0..2000 {
        REQUESTS.with(set(Method::Get, true)).inc();
        REQUESTS.with(set(Method::Get, false)).inc();
        TOOK.observe(1.0);
        TOOK_BY.with(set(Method::Put, true)).observe(1.0);
        SIZES.observe(1.0);
        STEPS.inc();
    }
    let now = tallies::snapshot();
    assert_eq!(
        now.get("static_requests_total", &[("method", "get")]),
        Some(4000.0)
    );
    assert_eq!(
        now.get("static_requests_total", &[("method", "put")]),
        Some(0.0)
    );
    let labels = [("method", "put"), ("ok", "true"), ("le", "5.0")];
    assert_eq!(
        now.get("static_took_by_seconds_bucket", &labels),
        Some(2000.0)
    );
    assert_eq!(
        now.get("static_took_seconds_bucket", &[("le", "5.0")]),
        Some(2000.0)
    );
    assert_eq!(
        now.get("static_took_seconds_bucket", &[("le", "0.5")]),
        Some(0.0)
    );
    assert_eq!(TOOK.get().counts, [0, 2000, 0]);
    assert_eq!(SIZES.get().native.unwrap().count(), 2000);
    assert!(now.family("static_steps_total").is_none());
}

#[test]
fn a_static_whose_new_name_is_taken_is_not_exported() {
    views();
    FIRST.inc();
    SECOND.add(7);
    let now = tallies::snapshot();
    let exported = now.get("static_fir_one_total", &[]);
    assert!(
        exported == Some(1.0) || exported == Some(7.0),
        "{exported:?}, not their sum"
    );
    assert!(now.get("tallies_rejected_families_total", &[]).unwrap() >= 1.0);
}
