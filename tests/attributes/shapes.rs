//! Shapes of functions. Each macro gets the attributes, writes a function under them, and calls it.

use std::fmt::Display;
use std::pin::Pin;

use super::stacks::orders;
use super::{panics, pause, poll_once, run};

#[derive(Debug)]
pub struct Bad;
type R<T> = Result<T, Bad>;

impl From<Bad> for Box<dyn std::error::Error> {
    fn from(_: Bad) -> Self {
        "bad".into()
    }
}

fn bad(is: bool) -> R<u8> {
    if is { Err(Bad) } else { Ok(1) }
}

macro_rules! function {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f(fail: bool) -> Result<u8, Bad> {
            assert_eq!(G.total(), 1);
            if !fail {
                return Ok(2);
            }
            Ok(bad(fail)? + 1)
        }
        assert_eq!(f(false).unwrap(), 2);
        f(true).unwrap_err();
    };
}
orders!(function: 2 calls, 1 errors);

macro_rules! unit {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f(seen: &mut Vec<u8>) {
            if seen.is_empty() {
                seen.push(1);
                return;
            }
            seen.push(2);
        }
        $(#[$a])*
        fn g() -> () {
        }
        let mut seen = vec![];
        f(&mut seen);
        f(&mut seen);
        g();
        assert_eq!(seen, [1, 2]);
    };
}
orders!(unit: 3 calls, 0 errors);

macro_rules! option {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f(some: Option<u8>) -> Option<u8> {
            Some(some? + 1)
        }
        assert_eq!(f(Some(1)), Some(2));
        assert_eq!(f(None), None);
    };
}
orders!(option: 2 calls, 0 errors);

macro_rules! aliases {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f(fail: bool) -> R<u8> {
            bad(fail)
        }
        $(#[$a])*
        fn g() -> std::io::Result<()> {
            std::fs::File::open("/no/such/file")?;
            Ok(())
        }
        f(false).unwrap();
        f(true).unwrap_err();
        g().unwrap_err();
    };
}
orders!(aliases: 3 calls, 2 errors);

/// A type of one's own, without an error inside.
#[derive(PartialEq, Debug)]
pub enum Reply {
    Yes,
    No,
}

impl tallies::Outcome for Reply {
    type Error = Self;

    fn error(&self) -> Option<&Self> {
        (*self == Self::No).then_some(self)
    }
}

macro_rules! own_type {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f(yes: bool) -> Reply {
            if yes { Reply::Yes } else { Reply::No }
        }
        f(true);
        f(false);
    };
}
orders!(own_type: 2 calls, 1 errors);

macro_rules! method {
    ($(#[$a:meta])*) => {
        struct S(Vec<String>);
        impl S {
            $(#[$a])*
            fn last(&mut self, fail: bool) -> Result<&mut String, Bad> {
                if fail {
                    return Err(Bad);
                }
                self.0.push("x".into());
                self.0.last_mut().ok_or(Bad)
            }
            $(#[$a])*
            fn first(&self) -> &str {
                &self.0[0]
            }
            $(#[$a])*
            fn all(self) -> Vec<String> {
                self.0
            }
            $(#[$a])*
            fn new() -> Self {
                Self(vec![])
            }
        }
        let mut s = S::new();
        s.last(false).unwrap().push('y');
        s.last(true).unwrap_err();
        assert_eq!(s.first(), "xy");
        assert_eq!(s.all(), ["xy"]);
    };
}
orders!(method: 5 calls, 1 errors);

macro_rules! generic {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f<'a, T, const N: usize>(value: &'a T, of: [&'a str; N]) -> Result<&'a str, String>
        where
            T: Display + ?Sized + 'a,
        {
            of.first().copied().ok_or_else(|| format!("{value}, {N}"))
        }
        // What is returned is of a type that only the caller knows: it is never an error.
        $(#[$a])*
        fn g<T>(value: T) -> T {
            value
        }
        assert_eq!(f("a", ["b"]).unwrap(), "b");
        assert_eq!(f::<_, 0>(&1, []).unwrap_err(), "1, 0");
        g(Err::<(), _>(Bad)).unwrap_err();
    };
}
orders!(generic: 3 calls, 1 errors);

macro_rules! impl_trait {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f(value: impl Into<String>, fail: bool) -> Result<impl Display, Bad> {
            bad(fail)?;
            Ok(value.into())
        }
        $(#[$a])*
        fn g(up_to: u8) -> impl Iterator<Item = u8> {
            (0..up_to).map(|i| i + 1)
        }
        assert_eq!(f("x", false).unwrap().to_string(), "x");
        assert!(f("x", true).is_err());
        assert_eq!(g(2).sum::<u8>(), 3);
    };
}
orders!(impl_trait: 3 calls, 1 errors);

macro_rules! asynchronous {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        async fn f(fail: bool) -> Result<u8, Bad> {
            assert_eq!(G.total(), 1);
            pause().await;
            assert_eq!(G.total(), 1);
            if !fail {
                return Ok(1);
            }
            Ok(bad(fail)? + 1)
        }
        $(#[$a])*
        async fn g() {
            pause().await;
        }
        run(f(false)).unwrap();
        run(f(true)).unwrap_err();
        run(g());
    };
}
orders!(asynchronous: 3 calls, 1 errors);

macro_rules! async_method {
    ($(#[$a:meta])*) => {
        struct S(Vec<String>);
        impl S {
            $(#[$a])*
            async fn last(&mut self, fail: bool) -> Result<&mut String, Bad> {
                pause().await;
                bad(fail)?;
                self.0.push("x".into());
                self.0.last_mut().ok_or(Bad)
            }
            $(#[$a])*
            async fn all<T: From<String>>(self) -> Vec<T> {
                self.0.into_iter().map(T::from).collect()
            }
        }
        let mut s = S(vec![]);
        run(s.last(false)).unwrap().push('y');
        run(s.last(true)).unwrap_err();
        assert_eq!(run(s.all::<String>()), ["xy"]);
    };
}
orders!(async_method: 3 calls, 1 errors);

macro_rules! coerced {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f(fail: bool) -> Result<Box<dyn Display>, Box<dyn std::error::Error>> {
            bad(fail)?;
            Ok(Box::new(1))
        }
        $(#[$a])*
        async fn g(fail: bool) -> Result<Box<dyn Display + Send>, Box<dyn std::error::Error + Send + Sync>> {
            if fail {
                Err("bad")?;
            }
            pause().await;
            Ok(Box::new(1))
        }
        f(false).unwrap();
        assert!(f(true).is_err());
        run(g(false)).unwrap();
        assert!(run(g(true)).is_err());
    };
}
orders!(coerced: 4 calls, 2 errors);

macro_rules! traits {
    ($(#[$a:meta])*) => {
        trait Ask {
            fn sync(&self) -> R<u8>;
            async fn ask(&mut self, fail: bool) -> R<u8>;
            fn future(&self, fail: bool) -> impl Future<Output = R<u8>> + Send;
            $(#[$a])*
            fn default(&self) -> R<u8> {
                self.sync()?;
                Err(Bad)
            }
        }
        struct S;
        impl Ask for S {
            $(#[$a])*
            fn sync(&self) -> R<u8> {
                Ok(1)
            }
            $(#[$a])*
            async fn ask(&mut self, fail: bool) -> R<u8> {
                pause().await;
                bad(fail)
            }
            $(#[$a])*
            fn future(&self, fail: bool) -> impl Future<Output = R<u8>> + Send {
                async move {
                    pause().await;
                    self.sync()?;
                    bad(fail)
                }
            }
        }
        let mut s = S;
        // Both `default` and `sync`.
        assert!(panics(|| s.default().unwrap()));
        run(s.ask(true)).unwrap_err();
        // Here `sync` runs within.
        run(s.future(true)).unwrap_err();
    };
}
orders!(traits: 5 calls, 3 errors);

macro_rules! boxed_by_async_trait {
    ($(#[$a:meta])*) => {
        #[async_trait::async_trait]
        trait Ask {
            async fn ask(&mut self, fail: bool) -> Result<u8, Bad>;
            $(#[$a])*
            async fn twice(&mut self, name: &str) -> u8 {
                pause().await;
                assert_eq!(G.total(), 1);
                name.len() as u8
            }
        }
        struct S(u8);
        #[async_trait::async_trait]
        impl Ask for S {
            $(#[$a])*
            async fn ask(&mut self, fail: bool) -> Result<u8, Bad> {
                pause().await;
                assert_eq!(G.total(), 1);
                self.0 += 1;
                if fail {
                    return Err(Bad);
                }
                Ok(bad(fail)? + self.0)
            }
        }
        let mut s = S(1);
        assert_eq!(run(s.ask(false)).unwrap(), 3);
        run(s.ask(true)).unwrap_err();
        assert_eq!(run(s.twice("ab")), 2);
        // Pending for good: neither an error nor still in flight.
        assert!(poll_once(s.ask(true)).is_none());
    };
}
orders!(boxed_by_async_trait: 4 calls, 1 errors);

macro_rules! whole_impl {
    ($(#[$a:meta])*) => {
        #[allow(async_fn_in_trait, reason = "one of the shapes")]
        trait Ask {
            const LEVEL: u8;
            fn sync(&self, fail: bool) -> R<u8>;
            async fn ask(&self) -> u8;
        }
        struct S<T>(T);
        $(#[$a])*
        impl<T: Display> S<T> {
            fn new(value: T) -> Self {
                Self(value)
            }
            #[tallies::timed(skip)]
            #[tallies::count(skip)]
            #[tallies::in_progress(skip)]
            #[tallies::count_errors(skip)]
            const fn value(&self) -> &T {
                &self.0
            }
        }
        $(#[$a])*
        impl<T: Display> Ask for S<T> {
            const LEVEL: u8 = 1;
            fn sync(&self, fail: bool) -> R<u8> {
                assert_eq!(G.total(), 1);
                bad(fail)
            }
            async fn ask(&self) -> u8 {
                pause().await;
                Self::LEVEL
            }
        }
        let s = S::new("x");
        assert_eq!(s.value(), &"x");
        s.sync(true).unwrap_err();
        assert_eq!(run(async { s.ask().await }), 1);
    };
}
orders!(whole_impl: 3 calls, 1 errors);

macro_rules! whole_async_trait_impl {
    ($(#[$a:meta])*) => {
        #[async_trait::async_trait]
        trait Ask {
            async fn ask(&self, fail: bool) -> R<u8>;
        }
        struct Above;
        $(#[$a])*
        #[async_trait::async_trait]
        impl Ask for Above {
            async fn ask(&self, fail: bool) -> R<u8> {
                pause().await;
                bad(fail)
            }
        }
        struct Below;
        #[async_trait::async_trait]
        $(#[$a])*
        impl Ask for Below {
            async fn ask(&self, fail: bool) -> R<u8> {
                pause().await;
                bad(fail)
            }
        }
        run(Above.ask(true)).unwrap_err();
        run(Below.ask(true)).unwrap_err();
        assert!(poll_once(Above.ask(true)).is_none());
        assert!(poll_once(Below.ask(true)).is_none());
    };
}
orders!(whole_async_trait_impl: 4 calls, 2 errors);

type Answer<'a, T> = Pin<Box<dyn Future<Output = R<T>> + Send + 'a>>;

macro_rules! returned_futures {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn boxed<'a>(fail: &'a bool) -> Pin<Box<dyn Future<Output = R<u8>> + Send + 'a>> {
            let fail = *fail;
            Box::pin(async move {
                assert_eq!(G.total(), 1);
                pause().await;
                bad(fail)
            })
        }
        $(#[$a])*
        fn block(fail: bool) -> impl Future<Output = R<u8>> {
            async move {
                pause().await;
                bad(fail)
            }
        }
        // Returns a future that another function makes.
        $(#[$a])*
        fn handed(fail: bool) -> impl Future<Output = R<u8>> + Send {
            if fail {
                return futures_util::future::Either::Left(async { bad(true) });
            }
            futures_util::future::Either::Right(async { bad(false) })
        }
        $(#[$a])*
        fn shortened(fail: bool) -> futures_util::future::BoxFuture<'static, R<u8>> {
            use futures_util::FutureExt;
            async move { bad(fail) }.boxed()
        }
        // What it comes to is known from the alias alone, whatever that stands for.
        $(#[$a])*
        fn coerced(fail: bool) -> futures_util::future::BoxFuture<'static, R<Box<dyn Display + Send>>> {
            Box::pin(async move {
                bad(fail)?;
                Ok(Box::new(1))
            })
        }
        $(#[$a])*
        fn aliased(fail: &bool) -> Answer<'_, Box<dyn Display + Send>> {
            Box::pin(async move {
                bad(*fail)?;
                Ok(Box::new(1))
            })
        }
        // What it comes to is said by other names than `Output`.
        $(#[$a])*
        fn hidden(fail: bool) -> impl futures_util::TryFuture<Ok = u8, Error = Bad> {
            Box::pin(async move { bad(fail) })
        }
        for fail in [true, false] {
            assert_eq!(run(futures_util::TryFutureExt::into_future(hidden(fail))).is_err(), fail);
            assert_eq!(run(coerced(fail)).is_err(), fail);
            assert_eq!(run(aliased(&fail)).is_err(), fail);
            assert_eq!(run(boxed(&fail)).is_err(), fail);
            assert_eq!(run(block(fail)).is_err(), fail);
            assert_eq!(run(handed(fail)).is_err(), fail);
            assert_eq!(run(shortened(fail)).is_err(), fail);
        }
        // Never polled: never called.
        drop(boxed(&true));
        drop(block(true));
        drop(handed(true));
        drop(shortened(true));
    };
}
orders!(returned_futures: 14 calls, 7 errors);

macro_rules! panicking {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f() -> Result<u8, Bad> {
            panic!("as it must")
        }
        $(#[$a])*
        fn unit(panic: bool) {
            assert!(!panic, "as it must");
        }
        $(#[$a])*
        fn never() -> ! {
            panic!("as it must")
        }
        $(#[$a])*
        async fn future() -> u8 {
            pause().await;
            panic!("as it must")
        }
        assert!(panics(f));
        assert!(panics(|| unit(true)));
        unit(false);
        assert!(panics(|| never()));
        assert!(panics(|| run(future())));
    };
}
orders!(panicking: 5 calls, 4 errors);

macro_rules! cancelled {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        async fn f() -> R<u8> {
            pause().await;
            Err(Bad)
        }
        assert!(poll_once(f()).is_none());
        drop(f());
        // Dropped because another part panics: that is a cancellation all the same.
        assert!(panics(|| {
            let mut future = Box::pin(f());
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(future.as_mut().poll(&mut cx).is_pending());
            panic!("as it must");
        }));
    };
}
orders!(cancelled: 2 calls, 0 errors);

macro_rules! recursive {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f(depth: u8) -> R<u8> {
            if depth == 0 {
                return Err(Bad);
            }
            f(depth - 1)
        }
        $(#[$a])*
        async fn g(depth: u8) -> R<u8> {
            pause().await;
            if depth == 0 { Err(Bad) } else { Box::pin(g(depth - 1)).await }
        }
        f(9).unwrap_err();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(g(9)).unwrap_err();
    };
}
orders!(recursive: 20 calls, 20 errors);

macro_rules! qualified {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        #[allow(unsafe_code)]
        unsafe fn dangerous(value: *const u8) -> R<u8> {
            // SAFETY: the caller's word.
            Ok(unsafe { *value })
        }
        #[inline(always)]
        $(#[$a])*
        #[must_use]
        extern "C" fn foreign(value: u8) -> u8 {
            value
        }
        #[inline(never)]
        #[cold]
        $(#[$a])*
        pub(crate) fn r#type(r#fn: u8) -> u8 {
            r#fn
        }
        #[allow(unsafe_code)]
        // SAFETY: the pointer is of a reference.
        let read = unsafe { dangerous(&1) };
        assert_eq!(read.unwrap() + foreign(1) + r#type(1), 3);
    };
}
orders!(qualified: 3 calls, 0 errors);

macro_rules! parameters {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f((a, b): (u8, String), [c, ..]: [u8; 3], mut d: u8, _: u8, _unused: Vec<u8>) -> R<String> {
            d += a + c;
            drop(b);
            Ok(d.to_string())
        }
        $(#[$a])*
        async fn g((a, b): (u8, String), mut d: u8, _: u8, _unused: Vec<u8>) -> R<String> {
            d += a;
            pause().await;
            Ok(b + &d.to_string())
        }
        assert_eq!(f((1, "x".into()), [2, 0, 0], 3, 0, vec![]).unwrap(), "6");
        assert_eq!(run(g((1, "x".into()), 3, 0, vec![])).unwrap(), "x4");
    };
}
orders!(parameters: 2 calls, 0 errors);

macro_rules! bodies {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f(text: &str) -> Result<u8, std::num::ParseIntError> {
            use std::str::FromStr;
            const MOST: u8 = 9;
            static LEAST: u8 = 1;
            fn inner(text: &str) -> Result<u8, std::num::ParseIntError> {
                u8::from_str(text)
            }
            let found = 'found: {
                for word in text.split(' ') {
                    match inner(word)? {
                        n if n > MOST => break 'found n,
                        n if n < LEAST => return Ok(n),
                        _ => {}
                    }
                }
                0
            };
            // Names like those that the attributes use.
            let (result, timer, unwinding, metric, future) = (found, 0, 0, 0, 0);
            Ok(result + timer + unwinding + metric + future)
        }
        assert_eq!(f("1 10"), Ok(10));
        assert_eq!(f("0 x"), Ok(0));
        f("1 x").unwrap_err();
    };
}
orders!(bodies: 3 calls, 1 errors);
