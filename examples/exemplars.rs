//! Leads from a slow request on a dashboard to its trace: each traced observation stores the id of
//! the current trace as an exemplar. The trace id is that of the current `tracing` span, as
//! OpenTelemetry knows it.
//!
//!     cargo run --release -p tallies-tests --example exemplars
//!
//! The program prints the page as OpenMetrics. Prometheus stores exemplars if it is started with
//! `--enable-feature=exemplar-storage`.

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tallies::{Counter, Histogram};
use tracing::info_span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Uploads answered.
#[tallies::metric]
static UPLOADS: Counter = Counter::new("uploads_total");

/// Size of uploads.
#[tallies::metric]
static SIZES: Histogram = Histogram::new("upload_size_bytes").buckets(&[1e3, 1e6]);

/// Returns the id of the current trace, if the trace is sampled.
fn current_trace() -> Option<String> {
    let context = tracing::Span::current().context();
    let span = context.span().span_context().clone();
    (span.is_valid() && span.is_sampled()).then(|| span.trace_id().to_string())
}

fn upload(bytes: f64) {
    let span = info_span!("upload");
    let _in_it = span.enter();
    SIZES.observe_traced(bytes);
    UPLOADS.inc_traced();
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A real program would add a trace exporter here.
    let traces = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer("exemplars"));
    tracing_subscriber::registry().with(layer).try_init()?;
    tallies::instrument::trace_ids(current_trace)?;

    upload(300.0);
    upload(70_000.0);
    // Outside of any span: the observation counts, but gets no exemplar.
    SIZES.observe_traced(5e6);
    print!("{}", tallies::encode::open_metrics(&tallies::snapshot()));
    Ok(())
}
