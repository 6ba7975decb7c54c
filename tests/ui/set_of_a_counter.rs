static A: tallies::Counter = tallies::Counter::new("a_total");
static B: tallies::Counter<(), f64> = tallies::Counter::new("b_total");

fn main() {
    A.set(3);
    B.set(0.5);
}
