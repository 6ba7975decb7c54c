#[derive(tallies::Labels)]
struct L {
    le: u16,
}
static A: tallies::Histogram<L> = tallies::Histogram::new("h");

fn main() {}
