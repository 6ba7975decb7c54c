use tallies::Counter;

fn main() {
    let names = ["peer".to_owned()];
    let _ = Counter::builder("calls_total", "").labels(&names);
    let _ = Counter::builder("peers_total", "").labels("peer");
}
