static A: tallies::Histogram = tallies::Histogram::new("h").buckets(&[2.0, 1.0]);

fn main() {}
