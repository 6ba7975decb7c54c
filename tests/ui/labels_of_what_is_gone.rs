static E: tallies::Counter<[&str; 2]> = tallies::Counter::labelled("e_total", &["name", "error"]);

#[tallies::count_errors(E, labels = |error| [&name, error])]
fn given_away(name: String) -> Result<(), &'static str> {
    drop(name);
    Err("gone")
}

fn main() {}
