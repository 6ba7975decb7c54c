//! A program that uses the `prometheus` crate, before and after its migration. Both versions expose
//! the same page.
//!
//!     cargo run -p tallies-tests --example migrate_prometheus

/// The requests to record: status, and seconds to answer.
const REQUESTS: [(&str, f64); 3] = [("200", 0.25), ("200", 0.03125), ("404", 0.0009765625)];

/// Uses `prometheus`: metric vectors, label values by position, errors at run time.
pub fn before() -> Result<String, Box<dyn std::error::Error>> {
    use prometheus::{
        Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    };

    let registry = Registry::new();
    let requests = IntCounterVec::new(
        Opts::new("http_requests_total", "Requests answered."),
        &["method", "status"],
    )?;
    let duration = HistogramVec::new(
        HistogramOpts::new("http_request_duration_seconds", "Time to answer."),
        &["method"],
    )?;
    let in_flight = IntGauge::new("http_requests_in_flight", "Requests being answered.")?;
    registry.register(Box::new(requests.clone()))?;
    registry.register(Box::new(duration.clone()))?;
    registry.register(Box::new(in_flight.clone()))?;

    for (status, seconds) in REQUESTS {
        in_flight.inc();
        requests.with_label_values(&["GET", status]).inc();
        duration.with_label_values(&["GET"]).observe(seconds);
        in_flight.dec();
    }
    let mut page = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut page)?;
    Ok(String::from_utf8(page)?)
}

/// Uses `tallies` in the same manner. A real program would rather use statics and derived labels.
pub fn after() -> Result<String, Box<dyn std::error::Error>> {
    use tallies::{Counter, Histogram, Registry};

    let registry = Registry::new();
    let requests = Counter::builder("http_requests_total", "Requests answered.")
        .labels(["method", "status"])
        .register(&registry)?;
    let duration = Histogram::builder("http_request_duration_seconds", "Time to answer.")
        .labels(["method"])
        .register(&registry)?;
    let in_flight =
        registry.up_down_counter("http_requests_in_flight", "Requests being answered.")?;

    for (status, seconds) in REQUESTS {
        let _in_flight = in_flight.track();
        requests.with(["GET", status]).inc();
        duration.with(["GET"]).observe(seconds);
    }
    Ok(tallies::encode::text(&registry.snapshot()))
}

#[allow(dead_code, reason = "tests call the two")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("Before:\n\n{}\nAfter:\n\n{}", before()?, after()?);
    Ok(())
}
