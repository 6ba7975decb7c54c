#[derive(tallies::LabelValue)]
enum V {
    A,
    #[label("a")]
    B,
}

fn main() {}
