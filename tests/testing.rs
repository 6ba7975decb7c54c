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
        here.since()
            .assert_only(&[("sent_total{peer=\"a\"}", 1.0), ("lost_total", 4.0)]);
    });
    let message = *wrong.unwrap_err().downcast::<String>().unwrap();
    for line in [
        "sent_total{peer=\"a\"}: added 2, expected 1",
        "lost_total: not changed, expected 4",
    ] {
        assert!(message.contains(line), "{message}");
    }
}
