static A: tallies::Histogram = tallies::Histogram::new("h").buckets(&[2.0, 1.0]);
static B: tallies::Histogram = tallies::Histogram::new("i").buckets(&[1.0, 2.0, 3.0, 3.0]);

fn main() {}
