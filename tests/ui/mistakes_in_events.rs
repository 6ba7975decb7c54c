use tallies::event::{Event, EventMetric, Events};

#[derive(Event)]
struct Two {
    a_seconds: f64,
    b_seconds: Option<f64>,
}

#[derive(Event)]
struct Setting {
    #[metric(labels = ["a"])]
    a_total: u64,
}

#[derive(Event)]
struct Fields(u64);

#[derive(Event)]
struct Text {
    a_total: u64,
    b: &'static str,
}

#[derive(Event)]
struct Name {
    #[metric(name = "a total")]
    a: u64,
}

const BOUNDS: EventMetric = EventMetric::histogram("a_seconds").buckets(&[2.0, 1.0]);

static NAMES: Events<Name> = Events::new();

fn main() {
    let _ = (BOUNDS, &NAMES);
}
