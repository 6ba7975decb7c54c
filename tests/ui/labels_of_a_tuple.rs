#[derive(tallies::Labels)]
struct L(u16);

fn main() {}
