//! Runs of loads, each bounded by a count or a short time, and by a minute if it goes wrong: the
//! reason to stop or the number of unfinished requests is then another one.

use std::sync::atomic::AtomicU64;
use std::sync::{Condvar, Mutex};
use std::thread;

use super::*;

/// Longer than anything here takes on a busy machine.
const MINUTE: Duration = Duration::from_secs(60);

/// A load without a warm-up, that stops after some requests, and not by time.
fn short(requests: u64) -> Load {
    Load::new()
        .warm_up(Duration::ZERO)
        .measure(MINUTE)
        .stop_after(requests)
}

/// Runs a future for two minutes at most.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let limited = async { tokio::time::timeout(2 * MINUTE, future).await };
    let ended = runtime.unwrap().block_on(limited);
    ended.expect("the run takes no longer than its measurement and its time to drain")
}

/// Runs a function for two minutes at most.
fn within_minutes<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = std::sync::mpsc::channel();
    thread::spawn(move || send.send(work()));
    let ended = receive.recv_timeout(2 * MINUTE);
    ended.expect("the run takes no longer than its measurement and its time to drain")
}

#[test]
fn every_planned_request_is_called_once_or_skipped() {
    for load in [
        short(300).constant(5000.0),
        short(300).poisson(5000.0).seed(1),
        short(300).closed(3),
    ] {
        let calls = Arc::new(AtomicU64::new(0));
        let called = Arc::clone(&calls);
        let counted = load.clone();
        let report = within_minutes(move || {
            counted.run(move |_| {
                called.fetch_add(1, Ordering::Relaxed);
            })
        });
        let report = report.unwrap();
        let calls = calls.load(Ordering::Relaxed);
        assert_eq!(report.succeeded(), calls);
        assert_eq!(report.succeeded() + report.skipped(), 300);
        assert_eq!(report.service().distribution().count(), calls);
        assert_eq!(report.stop_reason(), StopReason::Count);
        assert_eq!(report.unfinished(), 0);
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
    let open = Arc::new((Mutex::new(false), Condvar::new()));
    let registry = Registry::new();
    let load = short(50).constant(10_000.0).max_in_flight(2);
    let load = load.registry(&registry);
    let waiting = Arc::clone(&open);
    let run = thread::spawn(move || {
        load.run(move |_| {
            let is_open = waiting.0.lock().unwrap();
            let wait = waiting
                .1
                .wait_timeout_while(is_open, MINUTE, |is_open| !*is_open);
            assert!(!wait.unwrap().1.timed_out(), "nobody opened");
        })
    });
    let labels = [("phase", "measure")];
    let begin = Instant::now();
    while registry.snapshot().get("load_skipped_total", &labels) != Some(48.0) {
        assert!(begin.elapsed() < MINUTE, "{:?}", registry.snapshot());
        thread::yield_now();
    }
    assert_eq!(registry.snapshot().get("load_in_flight", &[]), Some(2.0));
    *open.0.lock().unwrap() = true;
    open.1.notify_all();
    let report = run.join().unwrap().unwrap();
    assert_eq!((report.succeeded(), report.skipped()), (2, 48));
    assert!(report.is_overloaded());
    assert!(report.to_string().contains("overloaded"));
    // The two began late, or did not: the machine decides.
    let expected = if report.is_generator_limited() { 3 } else { 4 };
    assert_eq!(report.exit_code(), expected);
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
        assert_eq!(
            report.first_failure(),
            Some("panicked: planned by the test")
        );
        let text = report.to_string();
        assert!(
            text.contains("failed: the times of 0 failed and 10 panicked"),
            "{text}"
        );
        let report = block_on(load.run_async(move |request| async move { work(request) }));
        let report = report.unwrap();
        assert_eq!((report.succeeded(), report.panicked()), (90, 10));
    }
}

#[test]
fn a_target_that_refuses_every_request_ends_the_run() {
    let refused = |_: Request| Err::<(), _>("connection refused");
    for load in [Load::new().closed(1), Load::new().poisson(500.0)] {
        // Far more than the half second after which it has to end.
        let load = load.measure(Duration::from_secs(10));
        let sync = load.clone();
        let error = within_minutes(move || sync.run(refused)).unwrap_err();
        assert!(error.is_target(), "{error}");
        assert!(error.to_string().contains("connection refused"), "{error}");
        let error = block_on(load.run_async(move |request| async move { refused(request) }));
        assert!(error.unwrap_err().is_target());
    }
}

#[test]
fn a_target_that_panics_at_every_request_ends_the_run() {
    let panics = |_: Request| -> () { panic!("planned by the test") };
    for load in [Load::new().closed(1), Load::new().poisson(500.0)] {
        // Far more than the half second after which it has to end.
        let load = load.measure(Duration::from_secs(10));
        let sync = load.clone();
        let error = within_minutes(move || sync.run(panics)).unwrap_err();
        let expected = "the first one: panicked: planned by the test";
        assert!(
            error.is_target() && error.to_string().contains(expected),
            "{error}"
        );
        let error = block_on(load.run_async(move |request| async move { panics(request) }));
        let error = error.unwrap_err();
        assert!(
            error.is_target() && error.to_string().contains(expected),
            "{error}"
        );
    }
}

/// Each load has eight workers. The request of one of them does not end before the test does.
#[test]
fn a_call_that_does_not_return_is_unfinished_and_the_run_ends() {
    for load in [
        short(8).closed(8),
        short(8).constant(1000.0).max_in_flight(8),
    ] {
        let (send, receive) = crossbeam_channel::bounded::<()>(0);
        let load = load.drain(Duration::from_secs(3));
        let work = move |request: Request| {
            if request.number() == 2 {
                let _ = receive.recv();
            }
        };
        let report = within_minutes(move || load.run(work)).unwrap();
        assert_eq!((report.succeeded(), report.unfinished()), (7, 1));
        assert!(report.is_overloaded());
        let text = report.to_string();
        assert!(
            text.contains("unfinished: 1 requests had not ended 3s after"),
            "{text}"
        );
        drop(send);
    }
}

#[test]
fn a_run_without_any_answer_is_an_error() {
    let load = Load::new()
        .warm_up(Duration::ZERO)
        .drain(Duration::from_millis(100));
    for load in [
        load.clone().closed(3),
        load.clone().constant(1000.0).max_in_flight(3),
    ] {
        let load = load.measure(Duration::from_millis(200));
        let (send, receive) = crossbeam_channel::bounded::<()>(0);
        let sync = load.clone();
        let work = move |_: Request| _ = receive.recv();
        let error = within_minutes(move || sync.run(work)).unwrap_err();
        let expected = "no measured request has ended: 3 were still running 100ms after";
        assert!(
            error.is_target() && error.to_string().contains(expected),
            "{error}"
        );
        drop(send);
        let error = block_on(load.run_async(|_| std::future::pending::<()>()));
        let error = error.unwrap_err();
        assert!(
            error.is_target() && error.to_string().contains(expected),
            "{error}"
        );
    }
    let never = load.poisson(1e-9).seed(1).measure(Duration::from_millis(1));
    let error = never.run(|_| ()).unwrap_err();
    assert!(
        error.is_setting() && error.to_string().contains("no request was planned"),
        "{error}"
    );
}

#[test]
fn a_load_runs_again_and_so_do_its_clones() {
    let load = short(50).closed(1);
    for workers in [1, 1, 2] {
        let report = load.clone().closed(workers).run(|_| ()).unwrap();
        assert_eq!(report.succeeded(), 50);
        assert_eq!(report.service().distribution().count(), 50);
    }
    assert_eq!(
        block_on(load.run_async(|_| async {})).unwrap().succeeded(),
        50
    );
    let registry = Registry::new();
    let load = load.registry(&registry);
    load.run(|_| ()).unwrap();
    let error = load.run(|_| ()).unwrap_err();
    assert!(error.is_setting(), "{error}");
    assert!(
        error.to_string().contains("a registry is for one"),
        "{error}"
    );
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
    let registry = Registry::new();
    let load = load.constant(1000.0).registry(&registry);
    let measured = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&measured);
    let report = load.run(move |request| {
        seen.fetch_add(u64::from(request.is_measured()), Ordering::Relaxed);
    });
    let report = report.unwrap();
    assert_eq!(report.succeeded() + report.skipped(), 5);
    assert_eq!(measured.load(Ordering::Relaxed), report.succeeded());
    let labels = [("phase", "warm_up"), ("result", "ok")];
    let seen = registry.snapshot();
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
        let load = load.drain(Duration::from_secs(3)).measure(MINUTE);
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

/// A report of 2 000 requests in parts, of which each has a latency, and a lag in seconds.
fn report_with(load: Load, times: impl Fn(usize) -> (f64, f64)) -> LoadReport {
    let run = LoadRun::new(&load).unwrap();
    let mut control = Control::new(&load, &run);
    for part in 0..100 {
        for i in 0..20 {
            let (latency, lag) = times(20 * part + i);
            run.measured.succeeded.inc();
            run.measured.service.record_seconds(latency);
            run.measured.latency.record_seconds(latency);
            run.measured.lag.record_seconds(lag);
        }
        control.read_last(&run).unwrap();
    }
    let second = Duration::from_secs(1);
    LoadReport::new(&load, &run, control, StopReason::Time, second, 0)
}

/// A report of requests that all take this long.
fn report_of(load: Load, seconds: f64) -> LoadReport {
    report_with(load.warm_up(Duration::ZERO), |_| {
        (seconds, seconds / 1000.0)
    })
}

#[test]
fn a_generator_is_limited_if_one_request_in_a_hundred_is_late_by_a_tenth_of_the_median() {
    let report = |late: usize, lag: f64| {
        let lag = move |i: usize| if i.is_multiple_of(late) { lag } else { 1e-6 };
        report_with(Load::new().constant(1.0), move |i| (0.01, lag(i)))
    };
    for (late, lag, is_limited) in [
        (50, 0.0012, true),
        (50, 0.0008, false),
        (200, 0.0012, false),
        (1, 0.02, true),
    ] {
        let report = report(late, lag);
        assert_eq!(report.is_generator_limited(), is_limited, "{late} {lag}");
        assert_eq!(report.exit_code(), if is_limited { 3 } else { 0 });
        let noted = report.to_string().contains("generator limited");
        assert_eq!(noted, is_limited, "{report}");
    }
}

/// Slow answers are one in twenty, and come together. Three in five are fast at any time.
#[test]
fn a_tail_that_is_correlated_is_noted_even_if_the_median_is_not() {
    let report = |is_slow: fn(usize) -> bool| {
        let latency = move |i: usize| match i % 5 {
            0..3 => 0.001,
            _ if is_slow(i) => 0.05,
            _ => 0.01,
        };
        report_with(Load::new().constant(1.0), move |i| (latency(i), 1e-6))
    };
    let correlated = report(|i| i % 400 < 50);
    let batches = &correlated.control.watched().batches;
    assert_eq!(batches.effective_count(0.5), 2_000.0);
    assert!(correlated.is_correlated(), "{correlated}");
    assert!(correlated.to_string().contains("note      correlated"));
    let spread = report(|i| i % 20 == 19);
    assert!(!spread.is_correlated(), "{spread}");
}

#[test]
fn a_measurement_that_was_seen_to_end_late_is_no_longer_than_asked() {
    let load = Load::new()
        .warm_up(Duration::from_secs(2))
        .measure(Duration::from_secs(3));
    for (ended, measured) in [(4, 2), (5, 3), (7, 3), (1, 0)] {
        let run = LoadRun::new(&load).unwrap();
        let control = Control::new(&load, &run);
        run.measured.succeeded.add(60);
        let ended = Duration::from_secs(ended);
        let report = LoadReport::new(&load, &run, control, StopReason::Time, ended, 0);
        assert_eq!(report.measured, Duration::from_secs(measured));
        assert!(measured == 0 || report.rate() == 60.0 / measured as f64);
    }
}

/// Requests that failed and that succeeded are apart, and per second.
#[test]
fn the_chart_of_requests_has_rates() {
    let count = |at, succeeded, failed, skipped| timeline::Count {
        at: Duration::from_millis(at),
        succeeded,
        failed,
        skipped,
    };
    let mut report = report_of(Load::new().constant(1.0), 0.01);
    report.control.counts = timeline::Progression::default();
    report.control.counts.push(count(500, 100, 0, 0));
    report.control.counts.push(count(1000, 100, 50, 0));
    let html = report.to_html("Load");
    let (_, chart) = html.split_once("Requests that ended, over time").unwrap();
    let (chart, _) = chart.split_once("</svg>").unwrap();
    // 200 succeeded in a second, then none; none failed, then 100 in a second.
    assert!(
        chart.contains(">200/s</text>") && !chart.contains(">250/s</text>"),
        "{chart}"
    );
    assert!(
        chart.contains("line succeeded") && chart.contains("line slower"),
        "{chart}"
    );
    assert!(!chart.contains("skipped"), "{chart}");
    let heights = |class: &str| {
        let (_, line) = chart.split_once(&format!("line {class}\" d=\"")).unwrap();
        let (path, _) = line.split_once('"').unwrap();
        let heights = path
            .split(['M', 'L'])
            .filter_map(|point| point.split(' ').nth(1));
        heights
            .map(|height| height.parse().unwrap())
            .collect::<Vec<f64>>()
    };
    let (succeeded, failed) = (heights("succeeded"), heights("slower"));
    let [top, bottom] = succeeded[..] else {
        panic!("{succeeded:?}");
    };
    assert_eq!(failed, [bottom, f64::midpoint(top, bottom)]);
}

#[test]
fn a_quantile_without_a_bound_has_a_note_that_says_how_long_to_run() {
    let load = || Load::new().warm_up(Duration::ZERO);
    let report = report_of(load().closed(1), 0.01);
    let text = report.to_string();
    // 2 000 requests bound the 99th percentile, and the next one needs more than ten times as many.
    assert!(report.quantile(0.99).unwrap().has_upper(), "{text}");
    let expected = "not known yet, for p99.9 of the service time; run longer: 20 s";
    assert!(text.contains(expected), "{text}");
    let run = LoadRun::new(&load()).unwrap();
    let mut control = Control::new(&load(), &run);
    run.measured.succeeded.inc();
    run.measured.service.record_seconds(0.01);
    control.read_last(&run).unwrap();
    let counted = load().stop_after(1);
    let second = Duration::from_secs(1);
    let one = LoadReport::new(&counted, &run, control, StopReason::Count, second, 0);
    assert!(!one.to_string().contains("run longer"), "{one}");
}

#[test]
fn a_report_says_what_was_measured_and_how() {
    let load = Load::new()
        .warm_up(Duration::ZERO)
        .target("http://localhost:8080/a");
    let load = load
        .constant(2000.0)
        .max_in_flight(7)
        .stop_after(10)
        .seed(3);
    let report = report_of(load, 0.01);
    let options = "warm-up 0ns, measure 10s, stop after 10, at most 7 in flight, drain 10s, \
                   seed 3, error 5 %";
    assert_eq!(report.options(), options);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["target"], "http://localhost:8080/a");
    assert_eq!(json["options"], options);
    assert!(
        json["build"]["compiler"]
            .as_str()
            .unwrap()
            .starts_with("rustc ")
    );
    let html = report.to_html("Load");
    for fact in [
        "<dt>target</dt><dd>http://localhost:8080/a</dd>",
        "<dt>compiler</dt><dd>rustc ",
        "<dt>profile</dt><dd>opt-level ",
        "<dt>measured at</dt><dd>20",
        "measured for 1.00 s",
        "logarithmic scale",
        ">max</text>",
        "Requests that ended, over time",
    ] {
        assert!(html.contains(fact), "{fact}");
    }
    assert!(html.contains(options), "{html}");
}

#[test]
fn a_column_of_a_report_has_one_unit() {
    let html = report_of(Load::new().constant(1.0), 0.0346).to_html("Load");
    assert!(html.contains("<th>latency, ms</th>") && html.contains("<th>schedule lag, µs</th>"));
    let (_, table) = html.split_once("<tbody>").unwrap();
    let (table, _) = table.split_once("</tbody>").unwrap();
    assert!(table.contains("<td>p50</td><td>34."), "{table}");
    assert!(table.contains("<td>max</td><td>34."), "{table}");
    assert!(!table.contains("s<") && !table.contains("ms"), "{table}");
}

/// Runs so short have no bounds at all.
#[test]
fn bounds_that_are_not_known_leave_the_chart_to_the_values() {
    let report = Load::new()
        .warm_up(Duration::ZERO)
        .stop_after(20)
        .run(|_| ());
    let html = report.unwrap().to_html("Load");
    assert!(html.contains("that bound is not known"), "{html}");
    let bands = html.split("class=\"band").skip(1);
    for band in bands {
        let path = band.split('"').nth(2).unwrap();
        let heights = path
            .split(['M', 'L', 'Z'])
            .filter_map(|point| point.split(' ').nth(1));
        let heights: Vec<f64> = heights.map(|height| height.parse().unwrap()).collect();
        let (lower, upper) = heights.split_at(heights.len() / 2);
        assert!(lower.iter().eq(upper.iter().rev()), "{path}");
    }
}

/// The warm-up is not on the axis of time.
#[test]
fn the_charts_over_time_begin_with_the_measurement() {
    let time = Duration::from_millis(300);
    let load = Load::new().warm_up(time).measure(time);
    let html = load.run(|_| ()).unwrap().to_html("Load");
    let (_, chart) = html.split_once("Service time over time").unwrap();
    let (_, line) = chart.split_once("line p50\" d=\"M").unwrap();
    let (path, _) = line.split_once('"').unwrap();
    let times = path
        .split('L')
        .map(|point| point.split(' ').next().unwrap());
    let times: Vec<f64> = times.map(|time| time.parse().unwrap()).collect();
    // Those beyond the end would be drawn at it: at most the last one is.
    let end = times.iter().copied().fold(0.0, f64::max);
    assert!(
        times.iter().filter(|time| **time == end).count() <= 1,
        "{path}"
    );
}

impl LoadReport {
    /// A report of a load without requests.
    pub(crate) fn empty() -> Self {
        let load = Load::new().poisson(1.0);
        let run = LoadRun::new(&load).unwrap();
        let control = Control::new(&load, &run);
        Self::new(
            &load,
            &run,
            control,
            StopReason::Time,
            Duration::from_secs(2),
            0,
        )
    }
}
