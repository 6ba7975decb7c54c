#![deny(deprecated)]

use tallies::{Counter, Histogram};

/// Jobs done.
#[tallies::metric]
static JOBS: Counter = Counter::new("jobs");

/// Bytes sent.
#[tallies::metric]
static SENT: Counter = Counter::new("sent_total").unit("bytes");

#[tallies::metric]
static WAIT: Histogram = Histogram::new("wait_seconds").unit("seconds");

/// Bytes received, under a name that dashboards know.
#[tallies::metric]
#[allow(deprecated)]
static RECEIVED: Counter = Counter::new("received").unit("bytes");

fn main() {
    (JOBS.inc(), SENT.inc(), WAIT.observe(0.5), RECEIVED.inc());
}
