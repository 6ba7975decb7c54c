static N: u64 = 1;

fn main() {
    tallies::register_all!(N);
}
