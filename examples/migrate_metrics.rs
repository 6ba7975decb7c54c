//! A program that uses the `metrics` crate, once with metrics-exporter-prometheus and once with
//! tallies. Both expose the same page.
//!
//!     cargo run -p tallies-tests --example migrate_metrics

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};

const BOUNDS: [f64; 3] = [0.005, 0.05, 0.5];

/// The program itself, which the migration does not change.
fn requests() {
    describe_counter!("http_requests_total", "Requests answered.");
    describe_gauge!("http_requests_in_flight", "Requests being answered.");
    describe_histogram!(
        "http_request_duration_seconds",
        Unit::Seconds,
        "Time to answer."
    );
    for (status, seconds) in [("200", 0.25), ("200", 0.03125), ("404", 0.0009765625)] {
        gauge!("http_requests_in_flight").increment(1.0);
        counter!("http_requests_total", "method" => "GET", "status" => status).increment(1);
        histogram!("http_request_duration_seconds", "method" => "GET").record(seconds);
        histogram!("http.response.size", "method" => "GET").record(512.0);
        gauge!("http_requests_in_flight").decrement(1.0);
    }
}

/// Exports with metrics-exporter-prometheus. A real program would call
/// `PrometheusBuilder::new()…install()?`.
pub fn before() -> String {
    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BOUNDS)
        .expect("there are bounds")
        .build_recorder();
    with_local_recorder(&recorder, requests);
    recorder.handle().render()
}

/// Exports with tallies. A real program would call `Recorder::builder()…install()?` and
/// `tallies::serve("0.0.0.0:9000")?`.
pub fn after() -> Result<String, tallies::Error> {
    use tallies_metrics::{Matcher, Recorder};

    let registry = tallies::Registry::new();
    let recorder = Recorder::builder()
        .registry(&registry)
        .buckets_for(Matcher::suffix("_seconds"), &BOUNDS)
        .build()?;
    with_local_recorder(&recorder, requests);
    Ok(tallies::encode::text(&registry.snapshot()))
}

#[allow(dead_code, reason = "tests call the two")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("Before:\n\n{}\nAfter:\n\n{}", before(), after()?);
    Ok(())
}
