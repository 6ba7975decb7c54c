//! Runs of loads, each bounded by a count or a short time.

use std::sync::atomic::AtomicU64;
use std::sync::{Condvar, Mutex};

use super::*;

/// A load without a warm-up, that stops after some requests, however long these take.
fn short(requests: u64) -> Load {
    let hour = Duration::from_secs(3600);
    Load::new()
        .warm_up(Duration::ZERO)
        .measure(hour)
        .stop_after(requests)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

#[test]
fn every_planned_request_is_called_once_or_skipped() {
    for load in [
        short(300).constant(5000.0),
        short(300).poisson(5000.0).seed(1),
        short(300).closed(3),
    ] {
        let calls = AtomicU64::new(0);
        let report = load
            .run(|_| {
                calls.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        let calls = calls.into_inner();
        assert_eq!(report.succeeded(), calls);
        assert_eq!(report.succeeded() + report.skipped(), 300);
        assert_eq!(report.service().distribution().count(), calls);
        assert_eq!(report.stop_reason(), StopReason::Count);
        let is_open = load.schedule().is_some();
        for recording in [report.latency(), report.schedule_lag()] {
            assert_eq!(
                recording.map(|it| it.distribution().count()),
                is_open.then_some(calls)
            );
        }
    }
}

#[test]
fn tasks_make_every_planned_request() {
    for load in [short(300).constant(5000.0), short(300).closed(3)] {
        let report = block_on(load.run_async(|_| async { Ok::<(), String>(()) })).unwrap();
        assert_eq!((report.succeeded(), report.skipped()), (300, 0));
        assert_eq!(report.unfinished(), 0);
    }
}

/// Two calls wait until the schedule has gone by: all other arrivals find both workers taken.
#[test]
fn arrivals_beyond_the_limit_are_skipped_and_counted() {
    let open = (Mutex::new(false), Condvar::new());
    let load = short(50).constant(10_000.0).max_in_flight(2);
    let registry = load.registry.clone();
    let report = std::thread::scope(|scope| {
        let load = &load;
        let open = &open;
        let run = scope.spawn(move || {
            load.run(|_| {
                let mut is_open = open.0.lock().unwrap();
                while !*is_open {
                    is_open = open.1.wait(is_open).unwrap();
                }
            })
        });
        let labels = [("phase", "measure")];
        while registry.snapshot().get("load_skipped_total", &labels) != Some(48.0) {
            std::thread::yield_now();
        }
        assert_eq!(registry.snapshot().get("load_in_flight", &[]), Some(2.0));
        *open.0.lock().unwrap() = true;
        open.1.notify_all();
        run.join().unwrap().unwrap()
    });
    assert_eq!((report.succeeded(), report.skipped()), (2, 48));
    assert!(report.is_overloaded());
    assert!(report.to_string().contains("overloaded"));
}

#[test]
fn latency_counts_from_the_planned_start_and_service_time_from_the_real_one() {
    // One call at a time: the service time is that of one call, and no latency is shorter.
    let load = short(20).constant(1000.0).max_in_flight(64);
    let report = load
        .run(|_| std::thread::sleep(Duration::from_millis(2)))
        .unwrap();
    let (latency, service) = (report.latency().unwrap(), report.service());
    let sums = [latency, service, report.schedule_lag().unwrap()];
    let [latency, service, lag] = sums.map(|recording| recording.distribution().sum());
    assert!(
        (latency - service - lag).abs() < 1e-6,
        "{latency} {service} {lag}"
    );
    assert!(service >= 0.040);
}

#[test]
fn a_panic_is_counted_and_the_run_goes_on() {
    let work = |request: Request| assert!(request.number() % 10 != 3, "planned by the test");
    for load in [
        short(100).closed(2),
        short(100).constant(10_000.0).max_in_flight(200),
    ] {
        let report = load.run(work).unwrap();
        assert_eq!((report.succeeded(), report.panicked()), (90, 10));
        let load = load.registry(&Registry::new());
        let report = block_on(load.run_async(move |request| async move { work(request) }));
        let report = report.unwrap();
        assert_eq!((report.succeeded(), report.panicked()), (90, 10));
    }
}

#[test]
fn a_target_that_refuses_every_request_ends_the_run() {
    let refused = |_: Request| Err::<(), _>("connection refused");
    for load in [Load::new().closed(1), Load::new().poisson(500.0)] {
        let load = load.measure(Duration::from_secs(3600));
        let error = load.run(refused).unwrap_err();
        assert!(error.is_target(), "{error}");
        assert!(error.to_string().contains("connection refused"), "{error}");
        let load = load.registry(&Registry::new());
        let error = block_on(load.run_async(move |request| async move { refused(request) }));
        assert!(error.unwrap_err().is_target());
    }
}

#[test]
fn failures_are_counted_without_their_times() {
    let load = short(100).closed(1);
    let report = load
        .run(|request| match request.number() % 4 {
            0 => Err(format!("failure {}", request.number())),
            _ => Ok(()),
        })
        .unwrap();
    assert_eq!((report.succeeded(), report.failed()), (75, 25));
    assert_eq!(report.service().distribution().count(), 75);
    assert_eq!(report.first_failure(), Some("failure 0"));
}

#[test]
fn warm_up_requests_are_counted_apart() {
    let load = Load::new().warm_up(Duration::from_millis(50)).stop_after(5);
    let load = load.constant(1000.0);
    let measured = AtomicU64::new(0);
    let report = load
        .run(|request| {
            measured.fetch_add(u64::from(request.is_measured()), Ordering::Relaxed);
        })
        .unwrap();
    assert_eq!(report.succeeded() + report.skipped(), 5);
    assert_eq!(measured.into_inner(), report.succeeded());
    let labels = [("phase", "warm_up"), ("result", "ok")];
    let seen = load.registry.snapshot();
    let warm = seen.get("load_requests_total", &labels).unwrap();
    let skipped = seen
        .get("load_skipped_total", &[("phase", "warm_up")])
        .unwrap();
    // Planned every millisecond, from 0 to 49.
    assert_eq!(warm + skipped, 50.0);
}

#[test]
fn requests_that_do_not_end_are_aborted_and_counted() {
    for load in [short(5).constant(1000.0), short(5).closed(5)] {
        let load = load
            .drain(Duration::from_secs(3))
            .measure(Duration::from_secs(60));
        let report = block_on(load.run_async(|request| async move {
            if request.number() == 2 {
                std::future::pending::<()>().await;
            }
        }));
        let report = report.unwrap();
        assert_eq!((report.succeeded(), report.unfinished()), (4, 1));
    }
}

#[test]
fn a_width_that_is_not_reached_is_in_the_report() {
    let load = Load::new()
        .warm_up(Duration::ZERO)
        .measure(Duration::from_millis(100));
    let report = load.stop_at_width(0.999, 1e-9).run(|_| ()).unwrap();
    assert_eq!(report.stop_reason(), StopReason::Time);
    assert!(report.to_string().contains("not reached"), "{report}");
}

/// Numbers that were read from JSON can differ in the last digit.
fn assert_near(found: &serde_json::Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
}

#[test]
fn json_has_a_schema_all_buckets_and_the_machine() {
    let report = short(300).constant(5000.0).run(|_| ()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["model"], "constant");
    assert_eq!(json["planned_rate"], 5000.0);
    assert!(json["workers"].is_null());
    assert_eq!(json["stop_reason"], "count");
    for (field, recording) in [
        (&json["latency"]["recording"], report.latency().unwrap()),
        (&json["service"]["recording"], report.service()),
        (&json["schedule_lag"], report.schedule_lag().unwrap()),
    ] {
        let read = crate::recorder::Recording::from_json(&field.to_string()).unwrap();
        let expected = recording.distribution().buckets();
        assert!(read.distribution().buckets().eq(expected));
    }
    let median = report.quantile(0.5).unwrap().value;
    assert_near(&json["latency"]["quantiles"][0]["value"], median);
    assert_eq!(json["machine"]["cores"], report.machine().cores);
    let closed = short(3).run(|_| ()).unwrap().to_json();
    let closed: serde_json::Value = serde_json::from_str(&closed).unwrap();
    assert!(closed["latency"].is_null() && closed["schedule_lag"].is_null());
}

#[test]
fn bencher_gets_the_quantiles_in_nanoseconds() {
    let report = short(300).closed(1).run(|_| ()).unwrap();
    let found: serde_json::Value = serde_json::from_str(&report.to_bencher("noop")).unwrap();
    assert_eq!(found.as_object().unwrap().len(), 3);
    for (name, phi) in [("noop p50", 0.5), ("noop p90", 0.9), ("noop p99", 0.99)] {
        let interval = report.quantile(phi).unwrap();
        let latency = &found[name]["latency"];
        assert_near(&latency["value"], interval.value * 1e9);
        match interval.lower > 0.0 {
            true => assert_near(&latency["lower_value"], interval.lower * 1e9),
            false => assert!(latency.get("lower_value").is_none()),
        }
        match interval.upper.is_finite() {
            true => assert_near(&latency["upper_value"], interval.upper * 1e9),
            false => assert!(latency.get("upper_value").is_none()),
        }
    }
}

#[test]
fn settings_that_measure_nothing_are_errors() {
    for load in [
        Load::new().constant(0.0),
        Load::new().poisson(-1.0),
        Load::new().poisson(f64::NAN),
        Load::new().constant(f64::INFINITY),
        Load::new().closed(0),
        Load::new().closed(20_000),
        Load::new().constant(1.0).max_in_flight(0),
        Load::new().measure(Duration::ZERO),
        Load::new().stop_after(0),
        Load::new().stop_at_width(1.0, 0.1),
        Load::new().stop_at_width(0.5, 0.0),
        Load::new().error_probability(0.0),
    ] {
        let error = load
            .run(|_| -> () { panic!("it must not run") })
            .unwrap_err();
        assert!(error.is_setting(), "{error}");
    }
}
