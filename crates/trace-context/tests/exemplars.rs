//! Exemplars of tallies. The function is set once per process, so this is the only test.

#![cfg(all(target_os = "linux", not(target_feature = "crt-static")))]

mod support;

use support::{Record, SPAN, TEXT, TRACE, Tracer};
use tallies::Registry;

#[test]
fn updates_have_the_trace_of_the_record() {
    tallies::instrument::trace_ids(tallies_trace_context::sampled_trace_id).unwrap();
    let registry = Registry::new();
    let orders = registry.counter("orders_total", "Orders.").unwrap();
    let ids = || -> Vec<_> {
        let now = registry.snapshot();
        let family = now.family("orders_total").unwrap();
        let labels = family.exemplars(0).map(|(_, one)| one.labels().next());
        labels.map(|label| label.unwrap().1.into_owned()).collect()
    };
    let tracer = Tracer::get();
    orders.inc_traced();
    tracer.in_span(&Record::new(TRACE + 1, SPAN, 0), || orders.inc_traced());
    assert!(ids().is_empty(), "no trace, and one that was not sampled");
    tracer.in_span(&Record::new(TRACE, SPAN, 1), || orders.inc_traced());
    orders.inc_traced();
    assert_eq!(ids(), [TEXT]);
    assert_eq!(orders.get(), 4);
}
