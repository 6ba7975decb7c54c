//! `error_label`: counts errors by kind.

use std::cell::RefCell;

use futures_util::future::BoxFuture;
use tallies::{Counter, Histogram, LabelValue, UpDownCounter, instrument::Outcome};

use super::{panics, pause, poll_once, run};

#[derive(LabelValue, Clone, Copy, Debug, PartialEq)]
enum Why {
    NotFound,
    Refused,
}

/// The result of a call.
#[derive(Clone, Copy, Debug)]
enum How {
    Good,
    Bad(Why),
    Nothing,
    Panics,
}
use How::{Bad, Good, Nothing, Panics};

impl How {
    fn result(self) -> Result<u8, Why> {
        match self {
            Good | Nothing => Ok(1),
            Bad(why) => Err(why),
            Panics => panic!("as it must"),
        }
    }

    fn option(self) -> Option<u8> {
        self.result().ok().filter(|_| !matches!(self, Nothing))
    }
}

/// A type that implements `Outcome` itself.
struct Reply(Result<Option<u8>, String>);

impl Outcome for Reply {
    type Error = str;

    fn error(&self) -> Option<&str> {
        self.0.as_ref().err().map(|error| &**error)
    }

    fn is_none(&self) -> bool {
        matches!(self.0, Ok(None))
    }
}

/// Calls every shape in every way and compares its counter, by label.
#[test]
fn of_every_shape() {
    macro_rules! shapes {
        ($($name:ident: |$call:ident| $run:expr, [$($label:literal = $count:literal),*], {$($item:tt)*})*) => {$({
            static E: Counter<[&str; 1]> =
                Counter::labelled(concat!("error_label_", stringify!($name), "_total"), &["error"]);
            $($item)*
            for $call in [Good, Bad(Why::NotFound), Bad(Why::Refused), Nothing, Panics] {
                panics(|| $run);
            }
            let mut all: Vec<(String, u64)> = E
                .get_all()
                .into_iter()
                .map(|(mut labels, count)| (labels.remove(0).1, count))
                .collect();
            all.sort();
            let expected: &[(&str, u64)] = &[$(($label, $count)),*];
            let expected: Vec<_> = expected.iter().map(|(label, n)| ((*label).to_owned(), *n)).collect();
            assert_eq!(all, expected, stringify!($name));
        })*};
    }
    shapes! {
        sync: |how| f(how), ["not_found" = 1, "panic" = 1, "refused" = 1], {
            #[tallies::count_errors(E, error_label = |why| *why)]
            fn f(how: How) -> Result<u8, Why> {
                how.result()
            }
        }
        errors_only: |how| f(how), ["not_found" = 1, "refused" = 1], {
            #[tallies::count_errors(E, on(error), error_label = |why| why)]
            fn f(how: How) -> Result<u8, Why> {
                Ok(how.result()? + 1)
            }
        }
        later: |how| { poll_once(f(how)); run(f(how)) },
            ["cancelled" = 5, "not_found" = 1, "panic" = 1, "refused" = 1], {
            #[tallies::count_errors(E, on(error, panic, cancel), error_label = |why| *why)]
            async fn f(how: How) -> Result<u8, Why> {
                pause().await;
                how.result()
            }
        }
        cancelled: |how| { poll_once(f(how)); run(f(how)) },
            ["cancelled" = 5, "not_found" = 1, "refused" = 1], {
            #[tallies::count_errors(E, on(error, cancel), error_label = |why| *why)]
            #[allow(clippy::manual_async_fn, reason = "one of the shapes")]
            fn f(how: How) -> impl Future<Output = Result<u8, Why>> {
                async move {
                    pause().await;
                    how.result()
                }
            }
        }
        boxed: |how| run(f(&how)), ["NotFound" = 1, "Refused" = 1, "panic" = 1], {
            // The text belongs to the error and is dropped with it.
            #[tallies::count_errors(E, error_label = |why| format!("{why:?}").as_str())]
            fn f(how: &How) -> BoxFuture<'_, Result<u8, Why>> {
                Box::pin(async move {
                    pause().await;
                    how.result()
                })
            }
        }
        option: |how| f(how), ["none" = 3, "panic" = 1], {
            #[tallies::count_errors(E, on(error, none, panic), error_label = |_| "never")]
            fn f(how: How) -> Option<u8> {
                how.option()
            }
        }
        later_option: |how| run(f(how)), ["none" = 3], {
            #[tallies::count_errors(E, on(error, none), error_label = |_| "never")]
            async fn f(how: How) -> Option<u8> {
                pause().await;
                how.option()
            }
        }
        of_its_own: |how| f(how), ["missing" = 2, "none" = 1, "panic" = 1], {
            #[tallies::count_errors(E, on(error, none, panic), error_label = |error| error)]
            fn f(how: How) -> Reply {
                Reply(match how.result() {
                    Ok(_) => Ok(how.option()),
                    Err(_) => Err("missing".to_owned()),
                })
            }
        }
        of_arguments: |how| f("x".to_owned(), how), ["panic" = 1, "x:NotFound" = 1, "x:Refused" = 1], {
            #[tallies::count_errors(E, error_label = |why| format!("{name}:{why:?}"))]
            fn f(name: String, how: How) -> Result<u8, Why> {
                Ok(how.result()? + u8::from(name.is_empty()))
            }
        }
        in_an_impl: |how| Host.ask(how), ["not_found" = 1, "panic" = 1, "refused" = 1], {
            struct Host;
            #[tallies::count_errors(E, error_label = |why| if *why == Why::Refused { "refused" } else { "not_found" })]
            impl Host {
                fn ask(&self, how: How) -> Result<u8, Why> {
                    how.result()
                }
            }
        }
    }
}

/// In any order, beside other attributes and itself, with a counter of floats, and with a counter
/// in a struct.
#[test]
fn stacked() {
    static T: Histogram = Histogram::new("error_label_stacked_seconds");
    static G: UpDownCounter = UpDownCounter::new("error_label_in_progress");
    static E: Counter<[&str; 1]> = Counter::labelled("error_label_stacked_total", &["error"]);
    static F: Counter<[&str; 1], f64> = Counter::labelled("error_label_floats_total", &["error"]);

    struct Host {
        errors: Counter<[&'static str; 1]>,
        seen: RefCell<Vec<How>>,
    }
    impl Host {
        #[tallies::timed(T)]
        #[tallies::count_errors(E, error_label = |why| *why)]
        #[tallies::in_progress(G)]
        #[tallies::count_errors(self.errors, error_label = |why| *why)]
        #[tallies::count_errors(F, on(error, panic), error_label = |_| "error")]
        fn above(&self, how: How) -> Result<u8, Why> {
            self.seen.borrow_mut().push(how);
            how.result()
        }
        #[tallies::count_errors(self.errors, on(error, panic, cancel), error_label = |why| *why)]
        #[tallies::count_errors(F, on(error, panic, cancel), error_label = |_| "error")]
        #[tallies::in_progress(G)]
        #[tallies::count_errors(E, on(error, panic, cancel), error_label = |why| *why)]
        #[tallies::timed(T)]
        async fn below(&mut self, how: How) -> Result<u8, Why> {
            self.seen.get_mut().push(how);
            pause().await;
            how.result()
        }
    }

    let errors = Counter::builder("error_label_of_a_host_total", "");
    let errors = errors.labels(["error"]);
    let mut host = Host {
        errors: errors.register(&tallies::Registry::new()).unwrap(),
        seen: RefCell::default(),
    };
    for how in [Good, Bad(Why::Refused), Panics] {
        panics(|| host.above(how));
        panics(|| run(host.below(how)));
    }
    assert!(poll_once(host.below(Good)).is_none());
    let labels = ["refused", "panic", "cancelled", "error"];
    let counts = |counter: &Counter<[&'static str; 1]>| {
        labels.map(|label| counter.find([label]).map(|series| series.get()))
    };
    assert_eq!(counts(&E), [Some(2), Some(2), Some(1), None]);
    assert_eq!(counts(&host.errors), counts(&E));
    let floats = labels.map(|label| F.find([label]).map(|series| series.get()));
    assert_eq!(floats, [None, Some(2.0), Some(1.0), Some(2.0)]);
    assert_eq!((T.get().count(), G.get()), (7, 0));
    assert_eq!(host.seen.borrow().len(), 7);
}
