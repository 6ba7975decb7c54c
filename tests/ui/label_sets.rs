use tallies::{Counter, LabelValue, Labels};

#[derive(LabelValue)]
enum Kind {
    A,
}

#[derive(Labels)]
struct Weight {
    grams: f64,
}

static NAMELESS: Counter<[&str; 2]> = Counter::new("nameless_total");
static VALUE: Counter<Kind> = Counter::new("value_total");

fn main() {
    let _ = Counter::builder("built_total", "").label_set::<[&'static str; 2]>();
}
