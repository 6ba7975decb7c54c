#[derive(tallies::LabelValue)]
enum V {
    A(u8),
}

fn main() {}
