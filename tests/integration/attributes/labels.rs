//! Labels and the other arguments of the attributes.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::mpsc::Receiver;

use futures_util::future::BoxFuture;
use tallies::{
    Counter, Gauge, Histogram, LabelValue, Labels, Metrics, Registry, Summary, UpDownCounter,
    label::{AnyLabels, DynLabels},
};

use super::{panics, pause, poll_once, run};

#[derive(LabelValue, Clone, Copy)]
enum Method {
    Get,
    Post,
}

#[derive(Labels)]
struct Request<'a> {
    method: Method,
    route: &'a str,
}

#[derive(Labels)]
struct Closed {
    method: Method,
}

#[test]
fn from_arguments() {
    static T: Histogram<Request> = Histogram::new("from_arguments_seconds");
    static S: Summary<[&str; 1]> = Summary::labelled("from_arguments_quantiles", &["id"]);
    static G: UpDownCounter<Closed> = UpDownCounter::new("from_arguments_in_progress");
    static C: Counter<[&str; 2]> = Counter::labelled("from_arguments_total", &["of", "route"]);
    static A: Counter<AnyLabels> = Counter::new("from_arguments_any_total");
    static E: Counter<Request> = Counter::new("from_arguments_errors_total");

    // Labels may use arguments that the body consumes.
    #[tallies::timed(T, labels = Request { method, route: &route })]
    #[tallies::timed(S, labels = [&id.to_string()])]
    #[tallies::in_progress(G, labels = Closed { method })]
    #[tallies::count(C, labels = ["arguments", &route])]
    #[tallies::count(A, labels = &[("route", &route)])]
    #[tallies::count_errors(E, labels = Request { method, route: &route })]
    fn f(method: Method, route: String, id: u8) -> Result<String, u8> {
        assert_eq!(
            G.find(Closed { method }).map(|series| series.get()),
            Some(1)
        );
        if id == 0 { Err(id) } else { Ok(route) }
    }

    struct Host {
        name: String,
    }
    impl Host {
        #[tallies::count_errors(E, labels = Request { method: Method::Get, route: &self.name })]
        #[tallies::timed(T, labels = Request { method: Method::Post, route: &self.name })]
        async fn ask(&mut self) -> Result<(), u8> {
            self.name.push('x');
            pause().await;
            Err(1)
        }
    }

    f(Method::Post, "/a".into(), 0).unwrap_err();
    f(Method::Get, "/b".into(), 7).unwrap();
    let mut host = Host { name: "h".into() };
    run(host.ask()).unwrap_err();
    run(host.ask()).unwrap_err();

    let times = |method, route| {
        T.find(Request { method, route })
            .map(|series| series.get())
            .map(|seen| seen.count())
    };
    assert_eq!(times(Method::Post, "/a"), Some(1));
    assert_eq!(times(Method::Get, "/b"), Some(1));
    assert_eq!(times(Method::Post, "h"), Some(1));
    assert_eq!(times(Method::Post, "hx"), Some(1));
    assert_eq!(
        S.find(["7"])
            .map(|series| series.get())
            .map(|seen| seen.count()),
        Some(1)
    );
    assert_eq!(
        G.find(Closed {
            method: Method::Get
        })
        .map(|series| series.get()),
        Some(0)
    );
    assert_eq!(
        C.find(["arguments", "/a"]).map(|series| series.get()),
        Some(1)
    );
    assert_eq!(
        A.find(&[("route", "/b")]).map(|series| series.get()),
        Some(1)
    );
    let errors = |method, route| E.find(Request { method, route }).map(|series| series.get());
    assert_eq!(errors(Method::Get, "/b"), None);
    assert_eq!(E.len(), 3);
    assert_eq!(errors(Method::Post, "/a"), Some(1));
    assert_eq!(errors(Method::Get, "h"), Some(1));
    assert_eq!(errors(Method::Get, "hx"), Some(1));
}

#[test]
fn constant() {
    static E: Counter<[&str; 1]> = Counter::labelled("constant_errors_total", &["of"]);
    static T: Histogram<Closed> = Histogram::new("constant_seconds");

    #[tallies::count_errors(E, labels = ["f"])]
    #[tallies::timed(T, labels = Closed { method: Method::Post })]
    fn f(fail: bool) -> Result<(), ()> {
        if fail { Err(()) } else { Ok(()) }
    }

    f(false).unwrap();
    // Constant labels are looked up only when there is an error.
    assert_eq!(E.len(), 0);
    f(true).unwrap_err();
    assert_eq!(E.find(["f"]).map(|series| series.get()), Some(1));
    assert_eq!(
        T.find(Closed {
            method: Method::Post
        })
        .map(|series| series.get())
        .map(|seen| seen.count()),
        Some(2)
    );
}

/// Labels that depend on arguments, and pairs of names and values, used to be looked up before the
/// call, so that a call that succeeded made a series at 0.
#[test]
fn a_call_that_succeeds_makes_no_series_of_errors() {
    static S: Counter<Request> = Counter::new("no_series_of_structs_total");
    static A: Counter<[&str; 2]> = Counter::labelled("no_series_of_arrays_total", &["of", "id"]);
    static P: Counter<AnyLabels> = Counter::new("no_series_of_pairs_total");
    static L: Counter<[&str; 1], f64> = Counter::labelled("no_series_of_errors_total", &["why"]);
    let dynamic: Counter<DynLabels> = Counter::builder("no_series_of_slices_total", "")
        .labels(&["of", "route"][..])
        .register(&Registry::new())
        .unwrap();

    #[tallies::count_errors(S, labels = Request { method: Method::Get, route })]
    #[tallies::count_errors(A, labels = [route, &route.len().to_string()])]
    #[tallies::count_errors(A, labels = ["constant", ""])]
    #[tallies::count_errors(P, labels = &[("route", "constant")])]
    #[tallies::count_errors(P, labels = &[("route", route), ("of", function!())])]
    #[tallies::count_errors(dynamic, labels = &["f", route])]
    #[tallies::count_errors(L, labels = |why| [why])]
    #[tallies::count_errors(L, error_label = |why| *why)]
    fn f(dynamic: &Counter<DynLabels>, route: &str, fail: bool) -> Result<(), &'static str> {
        if fail { Err("asked") } else { Ok(()) }
    }

    #[tallies::count_errors(S, labels = Request { method: Method::Get, route })]
    #[tallies::count_errors(A, on(error, none, panic, cancel), labels = [route, concat!("a", "b")])]
    #[tallies::count_errors(P, labels = &[("route", route)])]
    #[tallies::count_errors(dynamic, labels = &["later", route])]
    async fn later(dynamic: &Counter<DynLabels>, route: &str, fail: bool) -> Result<(), ()> {
        pause().await;
        if fail { Err(()) } else { Ok(()) }
    }

    // Copies of short texts fit into the call, others do not.
    let long = "x".repeat(1000);
    let lengths = || [S.len(), A.len(), P.len(), L.len(), dynamic.len()];
    for route in ["", "/", &long] {
        f(&dynamic, route, false).unwrap();
        run(later(&dynamic, route, false)).unwrap();
    }
    assert_eq!(lengths(), [0; 5]);
    for route in ["", "/", &long] {
        f(&dynamic, route, true).unwrap_err();
        run(later(&dynamic, route, true)).unwrap_err();
        assert_eq!(
            S.find(Request {
                method: Method::Get,
                route
            })
            .unwrap()
            .get(),
            2
        );
        assert_eq!(A.find([route, &route.len().to_string()]).unwrap().get(), 1);
        assert_eq!(A.find([route, "ab"]).unwrap().get(), 1);
        assert_eq!(P.find(&[("of", "f"), ("route", route)]).unwrap().get(), 1);
        assert_eq!(P.find(&[("route", route)]).unwrap().get(), 1);
        assert_eq!(dynamic.find(&["f", route]).unwrap().get(), 1);
        assert_eq!(dynamic.find(&["later", route]).unwrap().get(), 1);
    }
    assert_eq!(A.find(["constant", ""]).unwrap().get(), 3);
    assert_eq!(P.find(&[("route", "constant")]).unwrap().get(), 3);
    assert_eq!(L.find(["asked"]).unwrap().get(), 6.0);
    assert_eq!(lengths(), [3, 7, 7, 1, 6]);
}

/// Parentheses of pairs are no call.
#[test]
fn constant_pairs_are_looked_up_after_the_call() {
    static P: Counter<AnyLabels> = Counter::new("constant_pairs_total");

    #[tallies::count_errors(P, labels = &[("route", "/"), ("of", "f")])]
    fn f() -> Result<(), ()> {
        assert_eq!(P.len(), 0);
        Err(())
    }

    f().unwrap_err();
    assert_eq!(P.find(&[("of", "f"), ("route", "/")]).unwrap().get(), 1);
}

#[test]
fn by_function() {
    static C: Counter<[&str; 1]> = Counter::labelled("by_function_total", &["function"]);

    struct S;
    #[tallies::count(C, labels = [function!()])]
    impl S {
        fn one() {}
        fn r#two() {}
    }
    #[tallies::count(C, labels = [concat!("free_", function!())])]
    fn three() {}

    S::one();
    S::one();
    S::r#two();
    three();
    assert_eq!(C.find(["one"]).map(|series| series.get()), Some(2));
    assert_eq!(C.find(["two"]).map(|series| series.get()), Some(1));
    assert_eq!(C.find(["free_three"]).map(|series| series.get()), Some(1));
    assert_eq!(C.len(), 3);
}

#[test]
fn of_the_error() {
    static E: Counter<[&str; 2]> = Counter::labelled("of_the_error_total", &["kind", "of"]);

    #[tallies::count_errors(E, labels = |error| [&error.kind().to_string(), name])]
    fn open(name: &str) -> std::io::Result<std::fs::File> {
        std::fs::File::open(name)
    }
    #[tallies::count_errors(E, labels = |(kind, _)| [kind, "async"])]
    async fn later(fail: bool) -> Result<u8, (String, u8)> {
        pause().await;
        if fail {
            Err(("late".to_owned(), 1))
        } else {
            Ok(1)
        }
    }

    // Only the alias names the error type.
    #[tallies::count_errors(E, labels = |error| [&error.to_string(), "boxed"])]
    fn boxed(
        fail: bool,
    ) -> BoxFuture<'static, Result<u8, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async move {
            if fail {
                Err("bad")?;
            }
            Ok(1)
        })
    }

    run(boxed(false)).unwrap();
    run(boxed(true)).unwrap_err();
    assert_eq!(E.find(["bad", "boxed"]).map(|series| series.get()), Some(1));
    open("/no/such").unwrap_err();
    run(later(false)).unwrap();
    run(later(true)).unwrap_err();
    assert_eq!(
        E.find(["entity not found", "/no/such"])
            .map(|series| series.get()),
        Some(1)
    );
    assert_eq!(
        E.find(["late", "async"]).map(|series| series.get()),
        Some(1)
    );
    assert_eq!(E.len(), 3);
}

/// Labels and the metric itself come from arguments that the body uses as well.
#[test]
fn of_what_the_body_uses() {
    static E: Counter<[&str; 2]> = Counter::labelled("of_what_the_body_uses_total", &["of", "why"]);

    #[tallies::count_errors(E, labels = |why| [&name, why])]
    fn f(name: String, kept: Vec<u8>) -> Result<(usize, Vec<u8>), &'static str> {
        if name.is_empty() {
            Err("empty")
        } else {
            Ok((name.len(), kept))
        }
    }
    // The future is `Send`, although the receiver is not `Sync`.
    #[tallies::count_errors(E, labels = |why| [&name, why])]
    async fn later(name: String, from: Receiver<u8>, mut tries: u8) -> Result<u8, &'static str> {
        tries -= 1;
        let got = from.try_recv();
        pause().await;
        if got.is_err() {
            Err(if name.is_empty() { "none" } else { "late" })
        } else {
            Ok(tries)
        }
    }
    // Only the labels use `name`: the future still owns it and is `Send`. The struct's field of the
    // same name is unrelated.
    #[tallies::count_errors(E, labels = |why| [&name, why])]
    fn made(name: String) -> BoxFuture<'static, Result<u8, &'static str>> {
        struct Tries {
            name: u8,
        }
        let tries = Tries { name: 1 };
        let (_, from) = std::sync::mpsc::channel::<u8>();
        Box::pin(async move {
            let got = from.try_recv();
            pause().await;
            got.map_err(|_| "made").map(|got| got + tries.name)
        })
    }
    // The parameter `future` has a name that the attribute's own code uses, and the body consumes
    // it.
    #[tallies::count_errors(E, labels = |why| [name, why])]
    fn wrapped(
        name: &str,
        future: impl Future<Output = Result<u8, &'static str>>,
    ) -> impl Future<Output = Result<u8, &'static str>> {
        std::convert::identity(future)
    }
    // Another function creates the future.
    #[tallies::timed(T, labels = [&name])]
    fn handed(name: String) -> impl Future<Output = usize> {
        std::future::ready(name.len())
    }
    static T: Histogram<[&str; 1]> = Histogram::labelled("of_what_the_body_uses_seconds", &["of"]);

    struct Host {
        errors: Counter<[&'static str; 1]>,
        calls: Vec<u8>,
    }
    impl Host {
        #[tallies::count_errors(self.errors, labels = ["push"])]
        fn push(&mut self, call: u8) -> Result<&mut u8, u8> {
            self.calls.push(call);
            self.calls.last_mut().filter(|call| **call > 0).ok_or(0)
        }
        // Counts when the call returns, through the `self` that the body borrows in between.
        #[tallies::count_errors(self.errors, labels = |_| ["all"])]
        fn all(&mut self) -> Result<(), u8> {
            self.push(0).map(drop)
        }
        #[tallies::count_errors(self.errors, labels = |_| ["later"])]
        async fn later(&mut self) -> Result<(), u8> {
            pause().await;
            self.all()
        }
    }

    assert_eq!(f("ab".into(), vec![1]), Ok((2, vec![1])));
    f(String::new(), vec![]).unwrap_err();
    let (to, from) = std::sync::mpsc::channel();
    to.send(1).unwrap();
    run(later("a".into(), from, 1)).unwrap();
    let (_, from) = std::sync::mpsc::channel();
    run(later("a".into(), from, 1)).unwrap_err();
    assert_eq!(run(handed("ab".into())), 2);
    run(made("b".into())).unwrap_err();
    run(wrapped("c", async { Err("wrapped") })).unwrap_err();
    for labels in [
        ["", "empty"],
        ["a", "late"],
        ["b", "made"],
        ["c", "wrapped"],
    ] {
        assert_eq!(
            E.find(labels).map(|series| series.get()),
            Some(1),
            "{labels:?}"
        );
    }
    assert_eq!(E.len(), 4);
    assert_eq!(
        T.find(["ab"])
            .map(|series| series.get())
            .map(|seen| seen.count()),
        Some(1)
    );

    let errors = Counter::builder("of_what_the_body_uses_in_host_total", "");
    let errors = errors.labels(["of"]).register(&Registry::new()).unwrap();
    let mut host = Host {
        errors,
        calls: vec![],
    };
    *host.push(1).unwrap() += 1;
    run(host.later()).unwrap_err();
    let of = |name| host.errors.find([name]).map(|series| series.get());
    assert_eq!(["push", "all", "later"].map(of), [Some(1); 3]);
}

/// A call in the labels used to run after the body.
#[test]
fn labels_are_evaluated_before_the_call() {
    static E: Counter<[&str; 1]> = Counter::labelled("called_before_total", &["tenant"]);
    thread_local! {
        static TENANT: Cell<&'static str> = const { Cell::new("one") };
    }
    fn tenant() -> &'static str {
        TENANT.get()
    }

    #[tallies::count_errors(E, labels = [tenant()])]
    fn f() -> Result<(), ()> {
        TENANT.set("two");
        Err(())
    }

    f().unwrap_err();
    assert_eq!(
        (
            E.find(["one"]).map(|series| series.get()),
            E.find(["two"]).map(|series| series.get())
        ),
        (Some(1), None)
    );
}

/// One function with one counter per kind of failure.
#[test]
fn failures_told_apart() {
    static F: Counter<[&str; 1]> = Counter::labelled("failures_told_apart_total", &["kind"]);
    static ALL: Counter = Counter::new("failures_told_apart_all_total");

    #[tallies::count_errors(F, on(error), labels = ["error"])]
    #[tallies::count_errors(F, on(none), labels = ["none"])]
    #[tallies::count_errors(F, on(panic), labels = ["panic"])]
    #[tallies::count_errors(F, on(cancel), labels = ["cancel"])]
    #[tallies::count_errors(ALL, on(error, none, panic, cancel))]
    async fn later(how: &str) -> Result<u8, ()> {
        pause().await;
        assert_ne!(how, "panic");
        if how == "error" { Err(()) } else { Ok(1) }
    }
    #[tallies::count_errors(F, on(none), labels = ["none"])]
    #[tallies::count_errors(F, on(panic), labels = ["panic"])]
    #[tallies::count_errors(ALL, on(error, none, panic, cancel))]
    fn find(how: &str) -> Option<u8> {
        assert_ne!(how, "panic");
        (how != "none").then_some(1)
    }

    run(later("good")).unwrap();
    find("good").unwrap();
    assert_eq!((F.len(), ALL.get()), (0, 0));
    run(later("error")).unwrap_err();
    assert!(panics(|| run(later("panic"))));
    assert!(poll_once(later("good")).is_none());
    assert!(find("none").is_none());
    assert!(panics(|| find("panic")));
    let count = |kind| F.find([kind]).map(|series| series.get()).unwrap_or(0);
    assert_eq!(
        ["error", "none", "panic", "cancel"].map(count),
        [1, 1, 2, 1]
    );
    assert_eq!(ALL.get(), 5);
}

/// A call from a destructor has not panicked itself when its thread unwinds.
#[test]
fn calls_while_unwinding() {
    static E: Counter = Counter::new("calls_while_unwinding_total");

    #[tallies::count_errors(E)]
    fn tidy() -> Result<(), ()> {
        Ok(())
    }
    #[tallies::count_errors(E, on(panic))]
    async fn tidy_later() {
        pause().await;
    }
    struct Tidy;
    impl Drop for Tidy {
        fn drop(&mut self) {
            tidy().unwrap();
            run(tidy_later());
        }
    }
    assert!(panics(|| {
        let _tidy = Tidy;
        panic!("as it must");
    }));
    assert_eq!(E.get(), 0);
}

#[test]
fn other_metrics() {
    #[derive(Metrics)]
    struct Of {
        /// Time.
        #[metric(name = "other_seconds")]
        time: Histogram,
        /// Calls.
        #[metric(name = "other_total")]
        calls: Counter<(), f64>,
        /// In flight.
        #[metric(name = "other_in_flight")]
        in_flight: Gauge,
        /// Errors.
        #[metric(name = "other_errors_total", labels = ["of"])]
        errors: Counter<[&'static str; 1], f64>,
    }
    static LAZY: LazyLock<Summary> = LazyLock::new(|| {
        let time = Summary::builder("other_quantiles", "Time.");
        time.register(&Registry::new()).unwrap()
    });
    struct Service {
        metrics: Of,
    }
    impl Service {
        #[tallies::timed(self.metrics.time)]
        #[tallies::timed(*LAZY)]
        #[tallies::count(self.metrics.calls)]
        #[tallies::in_progress(self.metrics.in_flight)]
        #[tallies::count_errors(self.metrics.errors, labels = [of])]
        fn ask(&self, of: &str) -> Result<u8, ()> {
            assert_eq!(self.metrics.in_flight.get(), 1.0);
            Err(())
        }
    }
    /// A metric passed as an argument.
    #[tallies::timed(time)]
    fn given(time: &Histogram) {}

    let metrics = Of::register(&Registry::new()).unwrap();
    let service = Service { metrics };
    service.ask("x").unwrap_err();
    given(&service.metrics.time);
    assert_eq!(service.metrics.time.get().count(), 2);
    assert_eq!(LAZY.get().count(), 1);
    assert_eq!(service.metrics.calls.get(), 1.0);
    assert_eq!(service.metrics.in_flight.get(), 0.0);
    assert_eq!(
        service
            .metrics
            .errors
            .find(["x"])
            .map(|series| series.get()),
        Some(1.0)
    );
}

/// For crates that re-export tallies.
#[test]
fn through_another_crate() {
    mod other {
        pub mod deep {
            pub use tallies as engine;
        }
    }
    static T: Histogram = Histogram::new("through_another_crate_seconds");
    static E: Counter = Counter::new("through_another_crate_total");

    #[other::deep::engine::timed(T, crate = other::deep::engine)]
    #[other::deep::engine::count_errors(E, on(error, panic, cancel), crate = other::deep::engine)]
    async fn f() -> Result<(), ()> {
        Err(())
    }
    run(f()).unwrap_err();
    assert_eq!((T.get().count(), E.get()), (1, 1));
}

/// A series is retired while a call is in flight in it.
#[test]
fn a_series_is_retired_while_a_call_is_in_flight() {
    static G: UpDownCounter<[&str; 1]> = UpDownCounter::labelled("removed_meanwhile", &["of"]);

    #[tallies::in_progress(G, labels = ["x"])]
    fn f() {
        G.retire(["x"]);
    }
    f();
    let all: i64 = G.get_all().iter().map(|(_, value)| value).sum();
    assert_eq!(all, 0);
}
