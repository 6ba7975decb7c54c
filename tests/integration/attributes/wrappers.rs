//! Guards, and the wrappers of futures.

use std::task::{Context, Waker};

use tallies::{
    Counter, Gauge, Histogram, Summary, UpDownCounter, instrument::Failure, instrument::InFlight,
    instrument::Measure, instrument::Timer,
};

use super::{panics, pause, poll_once, run};

#[test]
fn guards() {
    let registry = tallies::Registry::new();
    let quantiles = Summary::builder("guards_quantiles", "")
        .register(&registry)
        .unwrap();
    let gauge = registry.gauge("guards", "").unwrap();
    let labelled = Summary::builder("guards_labelled", "")
        .labels(["of"])
        .register(&registry)
        .unwrap();

    let took = quantiles.start_timer().stop();
    quantiles.start_timer().discard();
    quantiles.time(|| assert!(panics(|| quantiles.time(|| panic!("as it must")))));
    let seen = quantiles.get();
    assert_eq!(seen.count(), 3);
    assert!(seen.sum() >= took.as_secs_f64());

    drop(labelled.with(["x"]).start_timer());
    drop(Timer::start(labelled.bind(["x"])));
    assert_eq!(
        labelled
            .find(["x"])
            .map(|series| series.get())
            .unwrap()
            .count(),
        2
    );

    let one = gauge.track();
    let two = InFlight::enter(&gauge);
    assert_eq!(gauge.get(), 2.0);
    drop((one, two));
    assert_eq!(gauge.get(), 0.0);

    // Guards of bound series have no lifetime.
    static UP_DOWN: UpDownCounter<[&str; 1]> = UpDownCounter::labelled("guards_up_down", &["of"]);
    static GAUGE: Gauge<[&str; 1]> = Gauge::labelled("guards_gauge", &["of"]);
    let (up_down, gauge) = (UP_DOWN.bind(["x"]), GAUGE.bind(["x"]));
    run(
        async { assert_eq!(UP_DOWN.find(["x"]).map(|series| series.get()), Some(1)) }
            .in_progress(&up_down),
    );
    let kept = (InFlight::enter(up_down), InFlight::enter(gauge));
    assert_eq!(
        (
            UP_DOWN.find(["x"]).map(|series| series.get()),
            GAUGE.find(["x"]).map(|series| series.get())
        ),
        (Some(1), Some(1.0))
    );
    drop(kept);
    assert_eq!(
        (
            UP_DOWN.find(["x"]).map(|series| series.get()),
            GAUGE.find(["x"]).map(|series| series.get())
        ),
        (Some(0), Some(0.0))
    );
}

#[test]
fn errors_of_a_closure() {
    static E: Counter = Counter::new("errors_of_a_closure_total");
    let count = |r: Result<u8, u8>| tallies::instrument::count_errors(&E, || r);
    assert_eq!((count(Ok(1)), E.get()), (Ok(1), 0));
    assert_eq!((count(Err(1)), E.get()), (Err(1), 1));
    assert!(panics(|| tallies::instrument::count_errors(
        &E,
        || -> Option<u8> { panic!("as it must") }
    )));
    assert_eq!(E.get(), 2);
}

#[test]
fn futures() {
    static T: Histogram = Histogram::new("futures_seconds");
    static G: UpDownCounter = UpDownCounter::new("futures_in_flight");
    static E: Counter = Counter::new("futures_errors_total");
    static O: Counter = Counter::new("futures_other_total");

    let future = |how: &'static str| {
        async move {
            assert_eq!(G.get(), 1);
            pause().await;
            assert_ne!(how, "panic");
            if how == "error" { Err(()) } else { Ok(()) }
        }
        .timed(&T)
        .in_progress(&G)
        .count_errors(&E)
        .count_errors(&O)
        .on(&[Failure::Cancel])
    };
    let now = || (T.get().count(), G.get(), E.get(), O.get());
    run(future("good")).unwrap();
    assert_eq!(now(), (1, 0, 0, 0));
    run(future("error")).unwrap_err();
    assert_eq!(now(), (2, 0, 1, 0));
    assert!(panics(|| run(future("panic"))));
    assert_eq!(now(), (3, 0, 2, 0));
    assert!(poll_once(future("good")).is_none());
    assert_eq!(now(), (4, 0, 2, 1));
    // A future that is never polled does not count.
    drop(future("good"));
    assert_eq!(now(), (4, 0, 2, 1));
    let mut kept = Box::pin(future("good"));
    run(kept.as_mut()).unwrap();
    // Counted when it is done, before it is dropped.
    assert_eq!(now(), (5, 0, 2, 1));
    drop(kept);
    assert_eq!(now(), (5, 0, 2, 1));
}

#[test]
fn a_panic_that_was_caught() {
    static E: Counter = Counter::new("a_panic_that_was_caught_total");
    static C: Counter = Counter::new("a_panic_that_was_caught_cancels_total");
    let panicking = async {
        if true {
            panic!("as it must")
        }
    }
    .map_unit();
    let mut future = Box::pin(
        panicking
            .count_errors(&E)
            .count_errors(&C)
            .on(&[Failure::Cancel]),
    );
    assert!(panics(|| future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))));
    // The executor drops the future later, when the thread no longer panics.
    assert!(!std::thread::panicking());
    drop(future);
    assert_eq!((E.get(), C.get()), (1, 0));
}

trait MapUnit: Future + Sized {
    async fn map_unit(self) -> Option<Self::Output> {
        Some(self.await)
    }
}
impl<F: Future> MapUnit for F {}
