//! Metrics in fields of `self`, beside static ones, with labels from arguments and from errors: in
//! every order, on methods that change other fields, and on methods that consume an argument.

use futures_util::future::BoxFuture;
use tallies::{Counter, Histogram, Metrics, Registry, UpDownCounter};

use crate::stacks::in_every_order;
use crate::{panics, pause, poll_once, run};

/// Metrics that exist both as a static and in a field.
#[derive(Clone, Metrics)]
struct Of {
    /// Time.
    time: Histogram,
    /// Time by name.
    #[metric(labels = ["name"])]
    time_of: Histogram<[&'static str; 1]>,
    /// In flight.
    in_flight: UpDownCounter,
    /// Calls.
    calls: Counter,
    /// Calls by name.
    #[metric(labels = ["name"])]
    calls_of: Counter<[&'static str; 1]>,
    /// Errors.
    errors: Counter,
    /// Errors by kind.
    #[metric(labels = ["error"])]
    kinds: Counter<[&'static str; 1]>,
}

macro_rules! of {
    ($($name:expr),*) => {
        Of {
            time: Histogram::new(concat!($($name,)* "_seconds")),
            time_of: Histogram::labelled(concat!($($name,)* "_by_name_seconds"), &["name"]),
            in_flight: UpDownCounter::new(concat!($($name,)* "_in_flight")),
            calls: Counter::new(concat!($($name,)* "_total")),
            calls_of: Counter::labelled(concat!($($name,)* "_by_name_total"), &["name"]),
            errors: Counter::new(concat!($($name,)* "_errors_total")),
            kinds: Counter::labelled(concat!($($name,)* "_by_kind_total"), &["error"]),
        }
    };
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    time: u64,
    time_of: u64,
    in_flight: i64,
    calls: u64,
    calls_of: u64,
    errors: u64,
    /// Counts of `bad`, `panic` and `cancelled`.
    kinds: [u64; 3],
}

impl Of {
    fn seen(&self) -> Seen {
        Seen {
            time: self.time.get().count(),
            time_of: self
                .time_of
                .find(["n"])
                .map(|series| series.get())
                .map_or(0, |seen| seen.count()),
            in_flight: self.in_flight.get(),
            calls: self.calls.get(),
            calls_of: self
                .calls_of
                .find(["g"])
                .map(|series| series.get())
                .unwrap_or(0),
            errors: self.errors.get(),
            kinds: ["bad", "panic", "cancelled"].map(|kind| {
                self.kinds
                    .find([kind])
                    .map(|series| series.get())
                    .unwrap_or(0)
            }),
        }
    }
}

#[derive(Clone, Copy)]
enum How {
    Good,
    Bad,
    Panics,
}
use How::{Bad, Good, Panics};

impl How {
    fn result(self) -> Result<(), &'static str> {
        match self {
            Good => Ok(()),
            Bad => Err("bad"),
            Panics => panic!("as it must"),
        }
    }
}

/// Every shape under one order of the attributes. The identifiers of `self` and of the arguments
/// come from the caller, so that the attributes can name them.
macro_rules! every_shape {
    ($test:ident $this:tt $name:ident $gift:ident $expected:tt $times:ident $order:literal $([$($attribute:tt)*])*) => {{
        static S: Of = of!(stringify!($test), "_", $order);

        struct Host {
            of: Of,
            kept: Vec<String>,
        }
        impl Host {
            $(#[tallies::$($attribute)*])*
            fn shared(&$this, $name: String, $gift: String, how: How) -> Result<&str, &'static str> {
                drop($gift);
                how.result()?;
                Ok(&$this.kept[$name.len()])
            }
            $(#[tallies::$($attribute)*])*
            fn changed(&mut $this, $name: String, $gift: String, how: How) -> Result<&mut String, &'static str> {
                $this.kept.push($gift + &$name);
                how.result()?;
                $this.kept.last_mut().ok_or("none")
            }
            $(#[tallies::$($attribute)*])*
            async fn shared_later(&$this, $name: String, $gift: String, how: How) -> Result<&str, &'static str> {
                drop($gift);
                pause().await;
                how.result()?;
                Ok(&$this.kept[$name.len()])
            }
            $(#[tallies::$($attribute)*])*
            async fn changed_later(&mut $this, $name: String, mut $gift: String, how: How) -> Result<&mut String, &'static str> {
                $gift.push_str(&$name);
                $this.kept.push($gift);
                pause().await;
                how.result()?;
                $this.kept.last_mut().ok_or("none")
            }
            $(#[tallies::$($attribute)*])*
            async fn generic<T, const N: usize>(&mut $this, $name: T, $gift: impl Into<String> + AsRef<str> + Send, how: How) -> Result<[&str; N], &'static str>
            where
                T: AsRef<str> + Send + Sync,
            {
                $this.kept.push($gift.into());
                pause().await;
                $this.kept[0].push_str($name.as_ref());
                how.result()?;
                Ok([&$this.kept[0]; N])
            }
            $(#[tallies::$($attribute)*])*
            fn boxed(&mut $this, $name: String, $gift: String, how: How) -> BoxFuture<'_, Result<&mut String, &'static str>> {
                Box::pin(async move {
                    $this.kept.push($gift + &$name);
                    pause().await;
                    how.result()?;
                    $this.kept.last_mut().ok_or("none")
                })
            }
            // Moves another field out of `self`.
            $(#[tallies::$($attribute)*])*
            async fn owned($this, $name: String, $gift: String, how: How) -> Result<Vec<String>, &'static str> {
                drop(($gift, &$name));
                pause().await;
                how.result()?;
                Ok($this.kept)
            }
        }

        #[async_trait::async_trait]
        trait Ask {
            async fn ask(&mut self, name: String, gift: String, how: How) -> Result<&mut String, &'static str>;
            async fn shared_ask(&self, name: String, gift: String, how: How) -> Result<&str, &'static str>;
        }
        #[async_trait::async_trait]
        impl Ask for Host {
            $(#[tallies::$($attribute)*])*
            async fn ask(&mut $this, $name: String, mut $gift: String, how: How) -> Result<&mut String, &'static str> {
                $gift.push_str(&$name);
                $this.kept.push($gift);
                pause().await;
                how.result()?;
                $this.kept.last_mut().ok_or("none")
            }
            $(#[tallies::$($attribute)*])*
            async fn shared_ask(&$this, $name: String, $gift: String, how: How) -> Result<&str, &'static str> {
                drop($gift);
                pause().await;
                how.result()?;
                Ok(&$this.kept[$name.len()])
            }
        }

        let new = || Host {
            of: Of::register(&Registry::new()).unwrap(),
            kept: vec![String::new(), String::new()],
        };
        let mut host = new();
        let (mut calls, mut shapes) = (0, 0);
        let mut check = |host: &Host, shape: &str, of_it: u64| {
            calls += of_it;
            shapes += 1;
            let expected: fn(u64, u64) -> [Seen; 2] = $expected;
            let stack = stringify!($([$($attribute)*])*);
            assert_eq!([S.seen(), host.of.seen()], expected(calls, shapes), "{shape} under {stack}");
        };
        macro_rules! called {
            ($shape:ident) => {
                for how in [Good, Bad, Panics] {
                    panics(|| host.$shape("n".into(), "g".into(), how).is_ok());
                }
                check(&host, stringify!($shape), 3);
            };
        }
        macro_rules! run {
            ($shape:ident) => {
                for how in [Good, Bad, Panics] {
                    panics(|| run(host.$shape("n".into(), "g".into(), how)).is_ok());
                }
                assert!(poll_once(host.$shape("n".into(), "g".into(), Good)).is_none());
                check(&host, stringify!($shape), 4);
            };
        }
        called!(shared);
        called!(changed);
        run!(shared_later);
        run!(changed_later);
        run!(boxed);
        run!(ask);
        run!(shared_ask);
        for how in [Good, Bad, Panics] {
            panics(|| run(host.generic::<_, 2>("n", "g", how)).is_ok());
        }
        assert!(poll_once(host.generic::<_, 2>("n", "g", Good)).is_none());
        check(&host, "generic", 4);
        // `owned` consumes the host and its metrics, so only the static metrics are compared.
        for how in [Good, Bad, Panics] {
            panics(|| run(new().owned("n".into(), "g".into(), how)).is_ok());
        }
        assert!(poll_once(new().owned("n".into(), "g".into(), Good)).is_none());
        let expected: fn(u64, u64) -> [Seen; 2] = $expected;
        assert_eq!(S.seen(), expected(calls + 4, shapes + 1)[0]);
    }};
}

macro_rules! stacks {
    ($($test:ident($this:tt, $name:ident, $gift:ident): $expected:tt $a:tt $b:tt $c:tt $d:tt)*) => {$(
        #[test]
        fn $test() {
            in_every_order!(every_shape!($test $this $name $gift $expected) $a $b $c $d);
        }
    )*};
}

stacks! {
    of_fields(self, name, gift): {
        |calls, shapes| [
            Seen::default(),
            Seen { time: calls, calls, errors: 2 * shapes, ..Seen::default() },
        ]
    }
    [timed(self.of.time)] [in_progress(self.of.in_flight)] [count(self.of.calls)] [count_errors(self.of.errors)]

    of_fields_and_statics(self, name, gift): {
        |calls, shapes| [
            Seen { time: calls, errors: 2 * shapes, ..Seen::default() },
            Seen { errors: 2 * shapes, ..Seen::default() },
        ]
    }
    [timed(S.time)] [in_progress(self.of.in_flight)] [count_errors(S.errors)] [count_errors(self.of.errors)]

    of_arguments(self, name, gift): {
        |calls, shapes| [
            Seen { calls_of: calls, ..Seen::default() },
            Seen { time_of: calls, calls_of: 2 * shapes, ..Seen::default() },
        ]
    }
    [timed(self.of.time_of, labels = [name.as_ref()])] [in_progress(S.in_flight)]
    [count(S.calls_of, labels = [gift.as_ref()])] [count_errors(self.of.calls_of, labels = [gift.as_ref()])]

    of_errors(self, name, gift): {
        |calls, shapes| [
            Seen { errors: 2 * shapes, kinds: [shapes, 0, 0], ..Seen::default() },
            Seen { time: calls, kinds: [shapes, shapes, calls - 3 * shapes], ..Seen::default() },
        ]
    }
    [timed(self.of.time)] [count_errors(S.errors)]
    [count_errors(self.of.kinds, on(error, panic, cancel), error_label = |why| *why)]
    [count_errors(S.kinds, labels = |why| { let name: &str = name.as_ref(); [if name == "n" { *why } else { "" }] })]
}

/// A clone of the metric lets the body use all of `self`.
#[test]
fn clones() {
    struct Host(Of);
    impl Host {
        #[tallies::timed(self.0.time.clone())]
        #[tallies::count_errors(self.0.errors.clone())]
        #[tallies::in_progress(self.0.in_flight.clone())]
        #[tallies::count(self.0.calls_of.clone(), labels = ["g"])]
        #[tallies::timed(self.0.time_of.clone(), labels = ["n"])]
        #[tallies::count_errors(self.0.kinds.clone(), on(error, panic, cancel), error_label = |why| *why)]
        async fn given(self, how: How) -> Result<Self, &'static str> {
            pause().await;
            how.result().map(|()| self)
        }

        #[tallies::count_errors(self.0.errors.clone())]
        #[tallies::timed(self.0.time.clone())]
        fn changed(&mut self, how: How) -> Result<&mut Self, &'static str> {
            self.change();
            how.result().map(|()| self)
        }

        fn change(&mut self) {
            self.0.calls.inc();
        }
    }

    let of = Of::register(&Registry::new()).unwrap();
    let mut host = Host(of.clone());
    for how in [Good, Bad, Panics] {
        panics(|| host.changed(how).is_ok());
    }
    assert_eq!(
        host.0.seen(),
        Seen {
            time: 3,
            calls: 3,
            errors: 2,
            ..Seen::default()
        }
    );
    for how in [Good, Bad, Panics] {
        panics(|| run(Host(of.clone()).given(how)).is_ok());
    }
    assert_eq!(
        of.seen(),
        Seen {
            time: 6,
            time_of: 3,
            calls: 3,
            calls_of: 3,
            errors: 4,
            kinds: [1, 1, 0],
            ..Seen::default()
        }
    );
}

/// Attributes on an `impl` block above and below `async_trait`, on its methods, behind a
/// `cfg_attr`, and on a function with such an argument.
#[test]
fn in_parts() {
    static S: Of = of!("in_parts");

    struct Host {
        of: Of,
        kept: Vec<String>,
    }
    #[async_trait::async_trait]
    trait Ask {
        async fn ask(&mut self, how: How) -> Result<usize, &'static str>;
    }
    #[tallies::count_errors(S.errors)]
    #[tallies::timed(self.of.time)]
    #[async_trait::async_trait]
    #[tallies::count_errors(S.errors)]
    #[tallies::in_progress(self.of.in_flight)]
    impl Ask for Host {
        #[tallies::count_errors(S.errors)]
        #[tallies::count_errors(self.of.errors)]
        async fn ask(&mut self, how: How) -> Result<usize, &'static str> {
            self.kept.push(String::new());
            pause().await;
            how.result().map(|()| self.kept.len())
        }
    }
    #[tallies::count_errors(S.errors)]
    #[cfg_attr(all(), tallies::count_errors(host.of.errors))]
    async fn given(host: &mut Host, how: How) -> Result<usize, &'static str> {
        host.kept.push(String::new());
        pause().await;
        how.result().map(|()| host.kept.len())
    }

    let mut host = Host {
        of: Of::register(&Registry::new()).unwrap(),
        kept: vec![],
    };
    for how in [Good, Bad, Panics] {
        panics(|| run(host.ask(how)).is_ok());
        panics(|| run(given(&mut host, how)).is_ok());
    }
    assert_eq!((S.errors.get(), host.of.errors.get()), (8, 4));
    assert_eq!(
        (host.of.time.get().count(), host.of.in_flight.get()),
        (3, 0)
    );
    assert_eq!(host.kept.len(), 6);
}
