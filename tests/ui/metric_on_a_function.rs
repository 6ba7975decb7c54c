#[tallies::metric]
fn f() {}

fn main() {}
