//! Fifty tests on the same statics, side by side, each exact.

use tallies::testing::here;
use tallies::{Counter, Gauge, Histogram, LabelValue, Labels, Summary, UpDownCounter};

#[derive(Clone, Copy, LabelValue)]
enum Outcome {
    Ok,
    Failed,
}

#[derive(Labels)]
struct Job<'a> {
    queue: &'a str,
    outcome: Outcome,
}

#[derive(Labels)]
struct Closed {
    outcome: Outcome,
}

static CALLS: Counter = Counter::new("testing_calls_total");
static SECONDS: Counter<(), f64> = Counter::new("testing_seconds_total");
static JOBS: Counter<Job> = Counter::new("testing_jobs_total");
static CLOSED: Counter<Closed> = Counter::new("testing_closed_total");
static IN_FLIGHT: UpDownCounter = UpDownCounter::new("testing_in_flight");
static LATENCY: Histogram = Histogram::new("testing_latency_seconds").buckets(&[0.1, 1.0]);
static NATIVE: Histogram = Histogram::new("testing_native_seconds").native(3);
static SIZES: Summary = Summary::new("testing_sizes_bytes");
static TEMPERATURE: Gauge = Gauge::new("testing_temperature_celsius");

fn work(n: u64) {
    for i in 0..n {
        CALLS.inc();
        SECONDS.add(0.5);
        // More than a promotion takes, for some tests.
        (0..=n % 3 * 1000).for_each(|_| {
            CLOSED
                .with(Closed {
                    outcome: Outcome::Ok,
                })
                .inc()
        });
        JOBS.with(Job {
            queue: if i % 2 == 0 { "mail" } else { "print" },
            outcome: Outcome::Failed,
        })
        .inc();
        let _guard = IN_FLIGHT.track();
        LATENCY.observe(0.25);
        NATIVE.observe(0.25);
        SIZES.observe(100.0);
        TEMPERATURE.set(i as f64);
    }
    IN_FLIGHT.inc();
}

fn check(here: &tallies::testing::Here, n: u64, times: u64) {
    let all = (n * times) as f64;
    let expected = [
        ("testing_calls_total".to_owned(), all),
        ("testing_seconds_total".to_owned(), all / 2.0),
        (
            "testing_closed_total{outcome=\"ok\"}".to_owned(),
            all * (1 + n % 3 * 1000) as f64,
        ),
        (
            "testing_jobs_total{queue=\"mail\",outcome=\"failed\"}".to_owned(),
            (n.div_ceil(2) * times) as f64,
        ),
        (
            "testing_jobs_total{queue=\"print\",outcome=\"failed\"}".to_owned(),
            (n / 2 * times) as f64,
        ),
        ("testing_in_flight".to_owned(), times as f64),
        ("testing_latency_seconds_bucket{le=\"1.0\"}".to_owned(), all),
        (
            "testing_latency_seconds_bucket{le=\"+Inf\"}".to_owned(),
            all,
        ),
        ("testing_latency_seconds_count".to_owned(), all),
        ("testing_latency_seconds_sum".to_owned(), all / 4.0),
        ("testing_native_seconds_bucket{le=\"+Inf\"}".to_owned(), all),
        ("testing_native_seconds_count".to_owned(), all),
        ("testing_native_seconds_sum".to_owned(), all / 4.0),
        ("testing_sizes_bytes_count".to_owned(), all),
        ("testing_sizes_bytes_sum".to_owned(), all * 100.0),
    ];
    let expected: Vec<_> = expected
        .iter()
        .filter(|(_, n)| *n != 0.0)
        .map(|(sample, n)| (&**sample, *n))
        .collect();
    here.since().assert_only(&expected);
    assert_eq!(here.since().get("testing_calls_total", &[]), Some(all));
}

macro_rules! tests {
    ($($name:ident: $n:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            let here = here();
            work($n);
            check(&here, $n, 1);
            // Threads that enter are seen, others are not.
            let handle = here.handle();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let _entered = handle.enter();
                    let _again = handle.enter();
                    work($n);
                });
                scope.spawn(|| work(3));
            });
            check(&here, $n, 2);
            if $n % 10 == 0 {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let tasks: Vec<_> = (0..4)
                        .map(|_| {
                            tokio::spawn(here.handle().scope(async {
                                tokio::task::yield_now().await;
                                work($n);
                            }))
                        })
                        .collect();
                    for task in tasks {
                        task.await.unwrap();
                    }
                    // On the test's own thread, where the updates count once.
                    here.handle().scope(async { work($n) }).await;
                });
                check(&here, $n, 7);
            }
        }
    )*};
}

tests!(
    t01: 1, t02: 2, t03: 3, t04: 4, t05: 5, t06: 6, t07: 7, t08: 8, t09: 9, t10: 10, t11: 11, t12: 12, t13: 13,
    t14: 14, t15: 15, t16: 16, t17: 17, t18: 18, t19: 19, t20: 20, t21: 21, t22: 22, t23: 23, t24: 24, t25: 25,
    t26: 26, t27: 27, t28: 28, t29: 29, t30: 30, t31: 31, t32: 32, t33: 33, t34: 34, t35: 35, t36: 36, t37: 37,
    t38: 38, t39: 39, t40: 40, t41: 41, t42: 42, t43: 43, t44: 44, t45: 45, t46: 46, t47: 47, t48: 48, t49: 49,
    t50: 50,
);

#[test]
fn a_failed_assertion_shows_the_difference() {
    let registry = tallies::Registry::new();
    let sent = Counter::builder("sent_total", "")
        .labels(["peer"])
        .register(&registry)
        .unwrap();
    let here = tallies::testing::here_in(&registry);
    sent.with(["a"]).add(2);
    let wrong = std::panic::catch_unwind(|| {
        here.since().assert_only(&[
            ("sent_total{peer=\"a\"}", 1.0),
            ("sent_total{peer=\"b\"}", 4.0),
        ]);
    });
    let message = *wrong.unwrap_err().downcast::<String>().unwrap();
    for line in [
        "sent_total{peer=\"a\"}: added 2, expected 1",
        "sent_total{peer=\"b\"}: not changed, expected 4",
    ] {
        assert!(message.contains(line), "{message}");
    }
}

/// The message of the panic in `f`.
fn message(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(f).unwrap_err();
    *panic.downcast::<String>().unwrap()
}

#[test]
fn a_sample_that_is_not_there_is_explained() {
    let registry = tallies::Registry::new();
    let mails = Counter::builder("mails_sent_total", "Sent.").labels(["peer"]);
    let mails = mails.register(&registry).unwrap();
    let closed = Counter::builder("jobs_total", "Done.").label_set::<Closed>();
    let closed = closed.register(&registry).unwrap();
    registry.gauge("queue_length", "Waiting.").unwrap().set(4.0);
    registry.histogram("job_duration_seconds", "Took.").unwrap();
    registry.gauge_fn("pool_size", "Workers.", || 4.0).unwrap();
    let here = tallies::testing::here_in(&registry);
    mails.with(["a"]).add(2);
    closed
        .with(Closed {
            outcome: Outcome::Failed,
        })
        .inc();
    let since = here.since();
    since.assert("mails_sent_total", &[("peer", "a")], 2.0);
    // Nobody has sent anything to it so far.
    since.assert("mails_sent_total", &[("peer", "b")], 0.0);
    since.assert("jobs_total", &[("outcome", "ok")], 0.0);
    for (name, labels, why) in [
        (
            "mail_sent_total",
            &[][..],
            "no family exports it; `mails_sent_total` is similar",
        ),
        (
            "job_duration_seconds",
            &[],
            "no family exports it; `job_duration_seconds_count` is similar",
        ),
        ("xyz", &[], "no family exports it"),
        ("mails_sent_total", &[], "its label `peer` is missing"),
        (
            "mails_sent_total",
            &[("pear", "a")],
            "it has no label `pear`, but `peer`",
        ),
        ("mails_sent_total", &[("peer", "a")], "it has grown by 2"),
        (
            "mails_sent_total",
            &[("peer", "b")],
            "it has not; this has changed:\njobs_total{outcome=\"failed\"} 1\n\
             mails_sent_total{peer=\"a\"} 2\n",
        ),
        (
            "jobs_total",
            &[("outcome", "okay")],
            "its label `outcome` is never `okay`, but ok, failed",
        ),
        (
            "queue_length",
            &[],
            "it is of kind gauge, with one value for all threads; test it with a registry of its \
             own",
        ),
        (
            "pool_size",
            &[],
            "a collector writes it, with one value for all threads; test it with a registry of \
             its own",
        ),
    ] {
        let (since, lines) = (&since, message(|| here.since().assert(name, labels, 7.0)));
        let (what, found) = lines.split_once(": ").unwrap();
        assert!(
            what.ends_with("should have grown by 7") && found == why,
            "{lines}"
        );
        assert!(what.starts_with(&format!("`{name}")), "{lines}");
        if since.get(name, labels).is_none() && !why.starts_with("it has not") {
            let sample = match labels {
                [(label, value)] => format!("{name}{{{label}=\"{value}\"}}"),
                _ => name.to_owned(),
            };
            let lines = message(|| here.since().assert_only(&[(&sample, 1.0)]));
            assert!(
                lines.contains(&format!("  {sample}: expected 1, but {why}\n")),
                "{lines}"
            );
        }
    }
}

/// One observation changes a dozen buckets, and nobody knows what a timer adds to the sum.
#[test]
fn a_timer_is_one_count_for_assert_only() {
    let registry = tallies::Registry::new();
    let took = registry.histogram("took_seconds", "Time.").unwrap();
    let waited = registry.summary("waited_seconds", "Time.").unwrap();
    let here = tallies::testing::here_in(&registry);
    took.time(|| ());
    waited.time(|| ());
    here.since()
        .assert_only(&[("took_seconds_count", 1.0), ("waited_seconds_count", 1.0)]);
    let lines = message(|| here.since().assert_only(&[("took_seconds_count", 1.0)]));
    assert!(
        lines.contains("waited_seconds_count: added 1, expected no change"),
        "{lines}"
    );
    assert_eq!(lines.lines().count(), 2, "{lines}");
    // What is listed is compared, with all of its kind.
    let lines = message(|| {
        let bucket = "took_seconds_bucket{le=\"+Inf\"}";
        here.since().assert_only(&[
            (bucket, 1.0),
            ("took_seconds_count", 1.0),
            ("waited_seconds_count", 1.0),
        ]);
    });
    assert!(
        lines.contains("took_seconds_bucket{le=\"10.0\"}: added 1"),
        "{lines}"
    );
}

#[test]
fn a_restart_forgets_what_other_threads_counted() {
    let mut here = here();
    let handle = here.handle();
    let worker = std::thread::spawn(move || {
        let _entered = handle.enter();
        CALLS.inc();
    });
    worker.join().unwrap();
    assert_eq!(here.since().get("testing_calls_total", &[]), Some(1.0));
    here.restart();
    assert_eq!(here.since().get("testing_calls_total", &[]), Some(0.0));
}
