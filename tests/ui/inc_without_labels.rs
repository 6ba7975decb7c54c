use tallies::{Counter, Histogram};

static REQUESTS: Counter<[&str; 1]> = Counter::labelled("requests_total", &["path"]);
static LATENCY: Histogram<[&str; 1]> = Histogram::labelled("latency_seconds", &["path"]);

fn main() {
    REQUESTS.inc();
    LATENCY.observe(0.5);
}
