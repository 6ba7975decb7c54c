//! A program that uses the `prometheus-client` crate, before and after its migration. Both versions
//! expose the same families.
//!
//!     cargo run -p tallies-tests --example migrate_prometheus_client

/// The requests to record: status, and seconds to answer.
const REQUESTS: [(u16, f64); 3] = [(200, 0.25), (200, 0.03125), (404, 0.0009765625)];
const BOUNDS: [f64; 3] = [0.005, 0.05, 0.5];

/// Uses `prometheus-client`: it writes OpenMetrics, and adds `_total` and the full stop of help
/// texts itself.
pub fn before() -> Result<String, std::fmt::Error> {
    use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text::encode};
    use prometheus_client::metrics::{
        counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
    };
    use prometheus_client::registry::Registry;

    #[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
    struct Request {
        method: Method,
        status: u16,
    }
    #[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
    #[allow(clippy::upper_case_acronyms, reason = "it is the label's value")]
    enum Method {
        GET,
    }

    let mut registry = Registry::default();
    let requests = Family::<Request, Counter>::default();
    let duration = Histogram::new(BOUNDS);
    let in_flight = Gauge::<i64>::default();
    registry.register("http_requests", "Requests answered", requests.clone());
    registry.register(
        "http_request_duration_seconds",
        "Time to answer",
        duration.clone(),
    );
    registry.register(
        "http_requests_in_flight",
        "Requests being answered",
        in_flight.clone(),
    );

    for (status, seconds) in REQUESTS {
        in_flight.inc();
        let method = Method::GET;
        requests.get_or_create(&Request { method, status }).inc();
        duration.observe(seconds);
        in_flight.dec();
    }
    let mut page = String::new();
    encode(&mut page, &registry)?;
    Ok(page)
}

/// Uses `tallies`: names are exposed as they are declared, and label sets are borrowed.
pub fn after() -> Result<String, tallies::Error> {
    use tallies::{Counter, Histogram, LabelValue, Labels, Registry};

    #[derive(Labels)]
    struct Request {
        method: Method,
        status: u16,
    }
    #[derive(LabelValue)]
    enum Method {
        #[label("GET")]
        Get,
    }

    let registry = Registry::new();
    let requests = Counter::builder("http_requests_total", "Requests answered.")
        .label_set::<Request>()
        .register(&registry)?;
    let duration = Histogram::builder("http_request_duration_seconds", "Time to answer.")
        .buckets(&BOUNDS)
        .register(&registry)?;
    let in_flight =
        registry.up_down_counter("http_requests_in_flight", "Requests being answered.")?;

    for (status, seconds) in REQUESTS {
        let _in_flight = in_flight.track();
        let method = Method::Get;
        requests.with(Request { method, status }).inc();
        duration.observe(seconds);
    }
    Ok(tallies::encode::text(&registry.snapshot()))
}

#[allow(dead_code, reason = "tests call the two")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("Before:\n\n{}\nAfter:\n\n{}", before()?, after()?);
    Ok(())
}
