use tallies::{Counter, Metrics};

#[derive(Metrics)]
struct Unknown {
    /// What it is.
    #[metric(named = "a_total")]
    a: Counter,
}

#[derive(Metrics)]
struct NoMetric {
    /// What it is.
    #[metric(name = "b_total")]
    b: u64,
}

#[derive(Metrics)]
#[metric(name = "app")]
struct OfTheStruct {
    c: Counter,
}

#[derive(tallies::LabelValue)]
#[label("x")]
enum OfTheEnum {
    A,
}

#[derive(tallies::LabelValue)]
enum Kind {
    A,
}

#[derive(Metrics)]
struct ByValue {
    e: Counter<Kind>,
}

#[tallies::metric(name = "d_total")]
static D: Counter = Counter::new("d_total");

fn main() {}
