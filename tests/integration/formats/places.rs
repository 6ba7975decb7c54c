//! Messages about names that are taken: they point into the program, never into one of our crates.

use std::time::Duration;

use tallies::collect::Collected;
use tallies::event::{Event, Events};
use tallies::{Counter, Error, Metrics, Registry};
use tallies_config::{Config, Configure, MetricConfig, MetricKind};
use tallies_http::{ClientMetrics, ServerMetrics};
use tallies_tracing::SpanMetrics;

#[derive(Event)]
struct Job {
    /// Jobs done.
    jobs_total: u64,
}

#[derive(Metrics)]
struct Mail {
    /// Messages sent.
    sent_total: Counter,
}

fn other(error: impl std::fmt::Display) -> Error {
    Error::new(error.to_string())
}

/// Returns every public way to register something. Closures, because a function that is called
/// through a pointer has no caller.
#[expect(clippy::type_complexity, reason = "used once")]
fn ways() -> Vec<(&'static str, Box<dyn Fn(&Registry) -> Result<(), Error>>)> {
    vec![
        (
            "counter",
            Box::new(|r| r.counter("a_total", "A.").map(drop)),
        ),
        ("gauge", Box::new(|r| r.gauge("a", "A.").map(drop))),
        (
            "up_down_counter",
            Box::new(|r| r.up_down_counter("a", "A.").map(drop)),
        ),
        ("histogram", Box::new(|r| r.histogram("a", "A.").map(drop))),
        ("summary", Box::new(|r| r.summary("a", "A.").map(drop))),
        ("info", Box::new(|r| r.info("a_info", "A.", &[]).map(drop))),
        ("gauge_fn", Box::new(|r| r.gauge_fn("a", "A.", || 1.0))),
        (
            "counter_fn",
            Box::new(|r| r.counter_fn("a_total", "A.", || 1.0)),
        ),
        (
            "add_collector",
            Box::new(|r| r.add_collector("a", |_: &mut Collected| Ok(()))),
        ),
        (
            "builder",
            Box::new(|r| Counter::builder("a_total", "A.").register(r).map(drop)),
        ),
        (
            "get_or_register",
            Box::new(|r| {
                Counter::builder("a_total", "A.")
                    .get_or_register(r)
                    .map(drop)
            }),
        ),
        (
            "events",
            Box::new(|r| Events::<Job>::builder().register(r).map(drop)),
        ),
        (
            "derive(Metrics)",
            Box::new(|r| Mail::register(r).map(|mail| mail.sent_total.inc())),
        ),
        ("process", Box::new(|r| tallies::process::register(r))),
        (
            "allocator",
            Box::new(|r| tallies::process::Allocator::new().register(r)),
        ),
        (
            "build_info",
            Box::new(|r| tallies::build_info!(r).map(drop)),
        ),
        (
            "runtime",
            Box::new(|r| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                tallies::process::register_runtime(r, runtime.handle())?;
                tallies::process::register_runtime_as(r, "own", runtime.handle())
            }),
        ),
        (
            "server metrics",
            Box::new(|r| ServerMetrics::new().register(r).map(drop)),
        ),
        (
            "client metrics",
            Box::new(|r| ClientMetrics::new().version("1").register(r).map(drop)),
        ),
        (
            "spans",
            Box::new(|r| {
                let spans = SpanMetrics::new()
                    .in_progress()
                    .count_events(tracing::Level::INFO);
                spans.register::<tracing_subscriber::Registry>(r).map(drop)
            }),
        ),
        (
            "a sender",
            Box::new(|r| {
                let sender =
                    tallies_send::Sender::new("http://127.0.0.1:1/", tallies_send::Otlp::new());
                let sender = sender
                    .registry(&Registry::new())
                    .interval(Duration::from_secs(3600));
                let sending = sender.self_metrics(r).start().map_err(other)?;
                sending.stop().ok();
                Ok(())
            }),
        ),
        (
            "the facade",
            Box::new(|r| {
                let recorder = tallies_metrics::Recorder::builder().registry(r).build()?;
                metrics::with_local_recorder(&recorder, || {
                    metrics::counter!("a_total").increment(1)
                });
                Ok(())
            }),
        ),
        (
            "metrics from data",
            Box::new(|r| {
                let all = [
                    MetricKind::Counter,
                    MetricKind::Gauge,
                    MetricKind::Histogram,
                    MetricKind::Summary,
                    MetricKind::Info,
                ];
                let all = all.into_iter().enumerate();
                let one = |(i, kind)| MetricConfig::new(&format!("a{i}"), "A.", kind);
                r.create_metrics(all.map(one)).map(drop)
            }),
        ),
        (
            "a file",
            Box::new(|r| {
                r.configure(Config::from_yaml("metrics: [{name: a, type: gauge}]")?)
                    .map(drop)
            }),
        ),
        (
            "a recorder of durations",
            Box::new(|r| {
                let of = tallies_bench::recorder::Recorder::in_registry("a_seconds", "A.", r);
                of.map(drop).map_err(other)
            }),
        ),
        (
            "a load",
            Box::new(|r| {
                let load = tallies_bench::load::Load::new()
                    .closed(1)
                    .stop_after(1)
                    .registry(r);
                load.run(|_| ()).map(drop).map_err(other)
            }),
        ),
    ]
}

/// `process::register` twice used to name `src/registry/mod.rs`, and middleware its own sources.
#[test]
fn a_name_that_is_taken_is_reported_with_a_place_in_the_program() {
    for (way, register) in ways() {
        let registry = Registry::new();
        registry.set_lint(false);
        register(&registry).unwrap_or_else(|error| panic!("{way}: {error}"));
        let names = registry.names();
        assert!(!names.is_empty(), "{way}");
        for name in names {
            // Its own family is in the way of a collector of this name.
            let error = registry.add_collector(&name, |_: &mut Collected| Ok(()));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("places.rs:"), "{way}: {error}");
        }
        if let Err(error) = register(&registry) {
            let error = error.to_string();
            let is_ours = error.contains("src/") || error.contains("src\\");
            assert!(!is_ours, "{way}: {error}");
        }
    }
}
