static A: tallies::Counter = tallies::Counter::new("bad-name");

fn main() {}
