static G: tallies::Gauge = tallies::Gauge::new("g");
static U: tallies::UpDownCounter<[&str; 1]> = tallies::UpDownCounter::labelled("u", &["x"]);

#[tallies::count(G)]
fn f() {}

#[tallies::count_errors(U, labels = ["x"])]
fn g() -> Result<(), ()> {
    Err(())
}

#[tallies::count_errors(G)]
fn h() -> Result<(), ()> {
    Err(())
}

fn main() {}
