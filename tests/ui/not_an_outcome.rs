static E: tallies::Counter<[&str; 1]> = tallies::Counter::labelled("e_total", &["error"]);

#[tallies::count_errors(E, labels = |error| [error])]
fn f() -> u8 {
    1
}

fn main() {}
