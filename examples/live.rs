//! A program whose metrics move, with its live page.
//!
//!     cargo run --release --features live --example live
//!
//! It makes up a small shop: requests, a queue, payments, workers. Open the address that it prints.
//! Ctrl-C ends the program.

use std::time::{Duration, Instant};

use clap::Parser;
use tallies::{
    Counter, Gauge, Histogram, Info, LabelValue, Labels, StateSet, Summary, UpDownCounter,
    serve::Server,
};

#[derive(Labels)]
struct Request {
    method: &'static str,
    route: &'static str,
    status: u16,
}

/// Requests answered.
#[tallies::metric]
static REQUESTS: Counter<Request> = Counter::new("http_requests_total");

/// Time to answer a request.
#[tallies::metric]
static LATENCY: Histogram<[&str; 1]> =
    Histogram::labelled("http_request_duration_seconds", &["route"]);

/// Time of a payment, at the bank.
#[tallies::metric]
static PAYMENTS: Summary<[&str; 1]> = Summary::labelled("payment_duration_seconds", &["bank"]);

/// Size of uploaded pictures.
#[tallies::metric]
static PICTURES: Histogram = Histogram::new("picture_size_bytes").native(3);

/// Bytes sent to clients.
#[tallies::metric]
static SENT: Counter = Counter::new("sent_bytes_total");

/// Requests that are being answered now.
#[tallies::metric]
static IN_FLIGHT: UpDownCounter = UpDownCounter::new("http_requests_in_flight");

/// Orders that wait to be packed.
#[tallies::metric]
static QUEUE: Gauge<[&str; 1]> = Gauge::labelled("orders_waiting", &["warehouse"]);

/// Temperature of the cold store.
#[tallies::metric]
static COLD: Gauge = Gauge::new("cold_store_celsius");

/// When the program started.
#[tallies::metric]
static STARTED: Gauge = Gauge::new("process_start_time_seconds");

#[derive(LabelValue)]
enum Robot {
    Idle,
    Packing,
    Charging,
}

/// The activity of the packing robot.
#[tallies::metric]
static ROBOT: StateSet<Robot> = StateSet::new("packing_robot");

/// The version of this program.
#[tallies::metric]
static BUILD: Info =
    Info::new("shop_build_info").constant(&[("version", env!("CARGO_PKG_VERSION"))]);

/// A program whose metrics move.
#[derive(Parser)]
struct Options {
    /// Address that the metrics service listens on.
    #[arg(long, default_value = "127.0.0.1:9464")]
    listen: std::net::SocketAddr,
    /// Series of a family of its own, to see how the page deals with many.
    #[arg(long, default_value_t = 0)]
    series: usize,
}

/// Numbers that look random: a linear congruential generator.
struct Noise(u64);

impl Noise {
    /// Returns a number from 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }

    /// Returns a duration around `middle`, with a long tail.
    fn around(&mut self, middle: f64) -> f64 {
        let sum: f64 = (0..4).map(|_| self.next()).sum();
        middle * (1.1 * (sum - 2.0)).exp()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let serving = Server::new().live().listen(options.listen)?;
    println!("Watch the metrics at {}live", serving.root_url());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    STARTED.set(now.as_secs_f64());
    if options.series > 0 {
        let many = Counter::builder("shelves_total", "Goods taken from each shelf.")
            .labels(["shelf"])
            .limit(options.series)
            .register(tallies::registry())?;
        (0..options.series).for_each(|i| many.with([&*format!("{i:05}")]).add(i as u64));
    }
    let (begin, mut noise) = (Instant::now(), Noise(7));
    for step in 0_u64.. {
        let seconds = begin.elapsed().as_secs_f64();
        let busy = 1.0 + 0.5 * (seconds / 11.0).sin() + 0.2 * (seconds / 3.1).sin();
        for (route, share, middle) in [
            ("/", 6.0, 0.004),
            ("/goods/{id}", 9.0, 0.018),
            ("/search", 3.0, 0.09),
            ("/basket", 2.0, 0.03),
        ] {
            for _ in 0..(share * busy * noise.next()) as u32 {
                let failed = noise.next() < 0.015;
                let (method, status) = match route {
                    "/basket" => ("POST", if failed { 409 } else { 201 }),
                    _ => ("GET", if failed { 500 } else { 200 }),
                };
                REQUESTS
                    .with(Request {
                        method,
                        route,
                        status,
                    })
                    .inc();
                let slow = if step % 700 > 640 { 4.0 } else { 1.0 };
                LATENCY.with([route]).observe(noise.around(middle * slow));
                SENT.add((2000.0 * noise.around(4.0)) as u64);
            }
        }
        let wanted = (noise.next() * 9.0 * busy) as i64 - IN_FLIGHT.get();
        IN_FLIGHT.add(wanted.max(0).unsigned_abs());
        IN_FLIGHT.sub(wanted.min(0).unsigned_abs());
        if noise.next() < 0.5 {
            PAYMENTS
                .with([["north", "south"][(step % 2) as usize]])
                .observe(noise.around(0.24));
            PICTURES.observe(noise.around(300_000.0) * (1.0 + step as f64 % 300.0 / 100.0));
        }
        let waiting = |at: f64| (20.0 + 14.0 * (seconds / at).sin()).round();
        QUEUE.with(["harbour"]).set(waiting(17.0));
        QUEUE.with(["station"]).set(waiting(23.0));
        COLD.set(-18.0 + 0.8 * (seconds / 29.0).sin() + 0.1 * noise.next());
        ROBOT.set(match (seconds / 9.0) as usize % 3 {
            0 => Robot::Idle,
            1 => Robot::Packing,
            _ => Robot::Charging,
        });
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
