use tallies::{Counter, Histogram};

#[tallies::metric]
static JOBS: Counter = Counter::new("jobs_total", "Jobs done.");

#[tallies::metric]
static WAIT: Histogram<[&str; 1]> =
    Histogram::labelled("wait_seconds", "Time in the queue.", &["queue"]).buckets(&[0.1, 1.0]);

fn main() {
    JOBS.inc();
    WAIT.with(["mail"]).observe(0.5);
}
