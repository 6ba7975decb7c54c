//! The smallest program: one counter, a constant label with the host name on every series, and a
//! page to scrape.
//!
//!     cargo run --release --example simple

use tallies::Counter;

/// Rounds of the loop below.
#[tallies::metric]
static ROUNDS: Counter = Counter::new("simple_rounds_total");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    tallies::registry().add_constant("host", host.trim())?;
    let server = tallies::serve("127.0.0.1:9464")?;
    println!("Serving metrics on {}", server.metrics_url());
    loop {
        ROUNDS.inc();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
