fn f(family: tallies::Counter<[&'static str; 2]>) {
    family.with(["GET"]);
}

fn main() {}
