//! Traits and whole `impl` blocks, with and without `async_trait`.

use std::fmt::Display;

use super::{Bad, R, bad};
use crate::stacks::orders;
use crate::{panics, pause, poll_once, run};

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
        // Calls both `default` and `sync`.
        assert!(panics(|| s.default().unwrap()));
        run(s.ask(true)).unwrap_err();
        // Calls `sync` as well.
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
            async fn twice(&mut self, name: &str) -> Option<u8> {
                pause().await;
                assert_eq!(G.get(), 1);
                Some(name.len() as u8)
            }
        }
        struct S(u8);
        #[async_trait::async_trait]
        impl Ask for S {
            $(#[$a])*
            async fn ask(&mut self, fail: bool) -> Result<u8, Bad> {
                pause().await;
                assert_eq!(G.get(), 1);
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
        assert_eq!(run(s.twice("ab")), Some(2));
        // Dropped while pending: neither an error nor still in flight.
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
                assert_eq!(G.get(), 1);
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
