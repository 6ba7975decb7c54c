//! Functions that are async, and functions that return a future.

use std::fmt::Display;
use std::pin::Pin;

use super::{Bad, R, bad};
use crate::stacks::orders;
use crate::{panics, pause, poll_once, run};

macro_rules! asynchronous {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        async fn f(fail: bool) -> Result<u8, Bad> {
            assert_eq!(G.get(), 1);
            pause().await;
            assert_eq!(G.get(), 1);
            if !fail {
                return Ok(1);
            }
            Ok(bad(fail)? + 1)
        }
        run(f(false)).unwrap();
        run(f(true)).unwrap_err();
    };
}
orders!(asynchronous: 2 calls, 1 errors);

macro_rules! asynchronous_unit {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        async fn f(panic: bool) {
            pause().await;
            assert!(!panic, "as it must");
        }
        run(f(false));
        assert!(panics(|| run(f(true))));
    };
}
orders!(asynchronous_unit: 2 calls, 1 panics);

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

type Answer<'a, T> = Pin<Box<dyn Future<Output = R<T>> + Send + 'a>>;

macro_rules! returned_futures {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn boxed<'a>(fail: &'a bool) -> Pin<Box<dyn Future<Output = R<u8>> + Send + 'a>> {
            let fail = *fail;
            Box::pin(async move {
                assert_eq!(G.get(), 1);
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
        // Returns a future that another function creates.
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
        // Only the alias names the output type, whatever it stands for.
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
        // The trait names its output `Ok` and `Error` rather than `Output`.
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
        // Futures that are never polled are no calls.
        drop(boxed(&true));
        drop(block(true));
        drop(handed(true));
        drop(shortened(true));
    };
}
orders!(returned_futures: 14 calls, 7 errors);

macro_rules! cancelled {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        async fn f() -> R<u8> {
            pause().await;
            Err(Bad)
        }
        assert!(poll_once(f()).is_none());
        drop(f());
        // Dropped because of a panic elsewhere, which is a cancellation, too.
        assert!(panics(|| {
            let mut future = Box::pin(f());
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(future.as_mut().poll(&mut cx).is_pending());
            panic!("as it must");
        }));
    };
}
orders!(cancelled: 2 calls, 0 errors);
