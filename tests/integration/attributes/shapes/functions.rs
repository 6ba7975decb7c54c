//! Functions and methods: their return types, how they end, and how they are written.

use std::fmt::Display;

use super::{Bad, R, bad};
use crate::stacks::orders;
use crate::{panics, pause, run};

macro_rules! function {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f(fail: bool) -> Result<u8, Bad> {
            assert_eq!(G.get(), 1);
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
orders!(unit: 3 calls, 0 panics);

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

/// A user's type without an error inside.
#[derive(PartialEq, Debug)]
pub enum Reply {
    Yes,
    No,
}

impl tallies::instrument::Outcome for Reply {
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
        }
        let mut s = S(vec![]);
        s.last(false).unwrap().push('y');
        s.last(true).unwrap_err();
        assert_eq!(s.0, ["xy"]);
    };
}
orders!(method: 2 calls, 1 errors);

macro_rules! method_that_cannot_fail {
    ($(#[$a:meta])*) => {
        struct S(Vec<String>);
        impl S {
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
        assert!(panics(|| s.first().len()));
        s.0.push("xy".into());
        assert_eq!(s.first(), "xy");
        assert_eq!(s.all(), ["xy"]);
    };
}
orders!(method_that_cannot_fail: 4 calls, 1 panics);

macro_rules! generic {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f<'a, T, const N: usize>(value: &'a T, of: [&'a str; N]) -> Result<&'a str, String>
        where
            T: Display + ?Sized + 'a,
        {
            of.first().copied().ok_or_else(|| format!("{value}, {N}"))
        }
        // The return type is generic, so a result is never an error.
        $(#[$a])*
        fn g<T>(value: T) -> T {
            value
        }
        struct S<T>(T);
        impl<T> S<T> {
            $(#[$a])*
            fn into_inner(self) -> T {
                self.0
            }
        }
        S(Err::<(), _>(Bad)).into_inner().unwrap_err();
        assert_eq!(f("a", ["b"]).unwrap(), "b");
        assert_eq!(f::<_, 0>(&1, []).unwrap_err(), "1, 0");
        g(Err::<(), _>(Bad)).unwrap_err();
    };
}
orders!(generic: 4 calls, 1 errors);

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

macro_rules! panicking {
    ($(#[$a:meta])*) => {
        $(#[$a])*
        fn f() -> Result<u8, Bad> {
            panic!("as it must")
        }
        assert!(panics(f));
    };
}
orders!(panicking: 1 calls, 1 errors);

macro_rules! panicking_without_a_result {
    ($(#[$a:meta])*) => {
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
        assert!(panics(|| unit(true)));
        unit(false);
        assert!(panics(|| never()));
        assert!(panics(|| run(future())));
    };
}
orders!(panicking_without_a_result: 4 calls, 3 panics);

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
            // SAFETY: the caller passes a valid pointer.
            Ok(unsafe { *value })
        }
        #[allow(unsafe_code)]
        // SAFETY: the pointer comes from a reference.
        let read = unsafe { dangerous(&1) };
        assert_eq!(read.unwrap(), 1);
    };
}
orders!(qualified: 1 calls, 0 errors);

macro_rules! qualified_without_a_result {
    ($(#[$a:meta])*) => {
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
        assert_eq!(foreign(1) + r#type(1), 2);
    };
}
orders!(qualified_without_a_result: 2 calls, 0 panics);

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
            // Names like those in the expansions of the attributes.
            let (result, timer, unwinding, metric, future) = (found, 0, 0, 0, 0);
            Ok(result + timer + unwinding + metric + future)
        }
        assert_eq!(f("1 10"), Ok(10));
        assert_eq!(f("0 x"), Ok(0));
        f("1 x").unwrap_err();
    };
}
orders!(bodies: 3 calls, 1 errors);
