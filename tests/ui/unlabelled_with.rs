static A: tallies::Counter<[&str; 1]> = tallies::Counter::labelled("a_total", &["x"]);
fn f() {
    A.inc();
}

fn main() {}
