#[tallies::metric]
/// Requests by method and code.
static REQUESTS: tallies::Counter<[&str; 2]> =
    tallies::Counter::labelled("requests_total", &["method"]).limit(10);

fn main() {}
