//! Measures one service with a closed and with an open load. It answers in a millisecond, but it
//! stops for a second every ten seconds.
//!
//! ```sh
//! cargo run --release -p tallies-bench --example omission
//! ```
//!
//! At 1 000 requests a second, those that arrive while the service stops wait half a second on
//! average, and are 10 % of all: the true 99th percentile of the latency is 0.90 s. The open load
//! finds it. The closed load sends nothing while it waits, and finds some milliseconds.

use std::time::{Duration, Instant};

use tallies_bench::Load;

/// The time from one stop to the next, and how long a stop takes.
const PERIOD: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(40);

#[tokio::main]
async fn main() -> Result<(), tallies_bench::Error> {
    let load = Load::new()
        .warm_up(Duration::ZERO)
        .measure(MEASURED)
        .progress();
    for load in [load.clone().constant(1000.0), load.closed(1)] {
        let start = Instant::now();
        let report = load.run_async(move |_| answer(start)).await?;
        println!("{report}\n");
    }
    Ok(())
}

/// Answers after a millisecond, and after the end of a stop.
async fn answer(start: Instant) {
    let phase = Duration::from_nanos((start.elapsed().as_nanos() % PERIOD.as_nanos()) as u64);
    let until = PERIOD - STOP;
    let stopped = if phase >= until {
        PERIOD - phase
    } else {
        Duration::ZERO
    };
    tokio::time::sleep(stopped + Duration::from_millis(1)).await;
}
