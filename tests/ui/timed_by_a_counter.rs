use tallies::{Counter, Histogram};

static CALLS: Counter = Counter::new("calls_total");
static BY_ROUTE: Histogram<[&str; 1]> = Histogram::labelled("by_route_seconds", &["route"]);

#[tallies::timed(CALLS)]
fn f() {}

#[tallies::timed(BY_ROUTE)]
fn g() {}

fn main() {}
