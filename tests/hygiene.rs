//! Expansions of the attributes under strict lints, without a prelude, and beside items of the same
//! names.

#![no_implicit_prelude]
#![deny(
    warnings,
    unused,
    nonstandard_style,
    future_incompatible,
    let_underscore
)]
#![deny(
    keyword_idents,
    rust_2018_idioms,
    single_use_lifetimes,
    unreachable_pub
)]
#![deny(unused_qualifications, unused_lifetimes, trivial_casts)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery)]
#![forbid(unsafe_code, unused_imports, unused_variables, unreachable_code)]

use ::std::assert_eq;
use ::std::prelude::v1::test;
use ::std::result::Result::{self, Err, Ok};

static T: ::tallies::Histogram = ::tallies::Histogram::new("hygiene_seconds");
static G: ::tallies::UpDownCounter = ::tallies::UpDownCounter::new("hygiene_in_progress");
static C: ::tallies::Counter = ::tallies::Counter::new("hygiene_total");
static E: ::tallies::Counter<[&str; 1]> =
    ::tallies::Counter::labelled("hygiene_errors_total", &["kind"]);

static K: ::tallies::Counter<[&str; 1]> =
    ::tallies::Counter::labelled("hygiene_kinds_total", &["kind"]);

/// A module with the crate's name, which is not the crate.
#[allow(dead_code, reason = "it stands in the way")]
mod tallies {
    mod __private {}
}

#[::tallies::timed(T)]
#[::tallies::in_progress(G)]
#[::tallies::count(C)]
#[::tallies::count_errors(E, labels = ["failed"])]
#[::tallies::count_errors(E, labels = |error| [error])]
#[::tallies::count_errors(K, error_label = |error| *error)]
#[inline]
fn sync(fail: bool) -> Result<u8, &'static str> {
    if fail {
        return Err("sync");
    }
    Ok(1)
}

#[::tallies::count_errors(E, on(panic), labels = ["failed"])]
#[::tallies::count(C)]
#[::tallies::in_progress(G)]
#[::tallies::timed(T)]
fn unit(seen: &mut u8) {
    *seen += 1;
}

#[::tallies::timed(T)]
#[::tallies::count_errors(E, on(error, none, panic, cancel), labels = ["failed"])]
#[::tallies::in_progress(G)]
#[::tallies::count(C)]
#[::tallies::count_errors(E, labels = |error| [error])]
#[::tallies::count_errors(K, on(error, panic, cancel), error_label = |kind| kind)]
async fn later(fail: bool) -> Result<u8, &'static str> {
    ::std::future::ready(()).await;
    if fail { Err("later") } else { sync(fail) }
}

#[::tallies::timed(T)]
#[::tallies::count_errors(E, labels = ["failed"])]
fn future(fail: bool) -> impl ::std::future::Future<Output = Result<u8, &'static str>> {
    later(fail)
}

type Answer<'a> = ::std::pin::Pin<
    ::std::boxed::Box<dyn ::std::future::Future<Output = Result<u8, &'static str>> + 'a>,
>;

#[::tallies::timed(T)]
#[::tallies::count_errors(E, labels = ["failed"])]
#[::tallies::count_errors(E, labels = |error| [error])]
fn boxed(fail: &bool) -> Answer<'_> {
    ::std::boxed::Box::pin(async move { later(*fail).await })
}

#[::tallies::timed(T)]
#[::tallies::count_errors(E, labels = |_| [&name])]
async fn named(name: ::std::string::String, mut left: u8) -> Result<u8, &'static str> {
    left -= 1;
    ::std::future::ready(left).await;
    if name.is_empty() {
        Ok(left)
    } else {
        Err("named")
    }
}

#[::tallies::timed(T)]
#[::tallies::count_errors(E, on(panic), labels = ["failed"])]
#[must_use]
fn one() -> u8 {
    1
}

struct Own<'a>(&'a str);

#[::tallies::timed(T)]
#[::tallies::count_errors(E, labels = ["failed"])]
#[::tallies::count(C)]
impl<'a> Own<'a> {
    fn text(&self) -> &'a str {
        self.0
    }

    fn check(&self) -> Result<&Self, &'a str> {
        if self.0.is_empty() {
            Err(self.0)
        } else {
            Ok(self)
        }
    }
}

#[test]
fn expansions_please_every_lint() {
    let mut seen = 0;
    unit(&mut seen);
    assert_eq!(
        (sync(true), sync(false), one(), seen),
        (Err("sync"), Ok(1), 1, 1)
    );
    let run = |future: ::std::pin::Pin<&mut dyn ::std::future::Future<Output = _>>| {
        let mut cx = ::std::task::Context::from_waker(::std::task::Waker::noop());
        future.poll(&mut cx)
    };
    let now = ::std::task::Poll::Ready;
    assert_eq!(run(::std::pin::pin!(later(true))), now(Err("later")));
    assert_eq!(run(::std::pin::pin!(future(false))), now(Ok(1)));
    assert_eq!(run(::std::pin::pin!(boxed(&true))), now(Err("later")));
    let name = || ::std::string::String::from_utf8_lossy(b"name").into_owned();
    assert_eq!(run(::std::pin::pin!(named(name(), 1))), now(Err("named")));
    let own = Own("");
    assert_eq!(own.text(), own.check().map_or("", |own| own.0));
    assert_eq!(G.get(), 0);
    assert_eq!(C.get(), 9);
    assert_eq!(T.get().count(), 13);
    assert_eq!(
        E.find(["failed"]).map(|series| series.get()),
        ::std::option::Option::Some(5)
    );
    assert_eq!(
        E.find(["name"]).map(|series| series.get()),
        ::std::option::Option::Some(1)
    );
    assert_eq!(
        K.find(["sync"]).map(|series| series.get()),
        ::std::option::Option::Some(1)
    );
    assert_eq!(
        K.find(["later"]).map(|series| series.get()),
        ::std::option::Option::Some(2)
    );
}
