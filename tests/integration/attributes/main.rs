//! The attributes: every shape of function under all four attributes, in orders of all kinds.

mod error_label;
mod fields;
mod labels;
mod shapes;
mod stacks;
mod streams;
mod wrappers;

use tallies::{Counter, Histogram, Summary, UpDownCounter};

/// A metric that times calls: a histogram or a summary.
pub trait Times {
    fn times(&self) -> u64;
}

impl Times for Histogram {
    fn times(&self) -> u64 {
        self.get().count()
    }
}

impl Times for Summary {
    fn times(&self) -> u64 {
        self.get().count()
    }
}

/// Counts of one stack of attributes over one shape of function.
#[derive(Debug, PartialEq)]
pub struct Counted {
    pub timed: u64,
    pub in_progress: i64,
    pub count: u64,
    pub errors: u64,
}

pub fn counted(t: &impl Times, g: &UpDownCounter, c: &Counter, e: &Counter) -> Counted {
    Counted {
        timed: t.times(),
        in_progress: g.get(),
        count: c.get(),
        errors: e.get(),
    }
}

/// Polls a future once and drops it. Returns its output if it was ready.
pub fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// A future that is pending once.
pub async fn pause() {
    let mut first = true;
    std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::take(&mut first) {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
}

/// Runs a future to its end. Requires it to be `Send`.
pub fn run<F: Future + Send>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Returns whether `f` panics.
pub fn panics<R>(f: impl FnOnce() -> R) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err()
}

/// Bodies on one line: the compiler once reported the braces of their expansions as unnecessary.
#[rustfmt::skip]
#[deny(unused, unused_qualifications)]
#[allow(clippy::manual_async_fn, reason = "one of the shapes")]
mod lines {
    use super::{Counter, Histogram, UpDownCounter};

    static T: Histogram = Histogram::new("lines_seconds");
    static G: UpDownCounter = UpDownCounter::new("lines_in_progress");
    static C: Counter = Counter::new("lines_total");
    static E: Counter = Counter::new("lines_errors_total");

    pub struct Line(u8);

    #[tallies::timed(T)]
    #[tallies::in_progress(G)]
    #[tallies::count(C)]
    #[tallies::count_errors(E)]
    impl Line {
        fn get(&self) -> &u8 { &self.0 }
        async fn later(&self) -> u8 { self.0 }
        fn future(&self) -> impl Future<Output = u8> { async { 1 } }
        fn fail(&self) -> Result<u8, u8> { Err(self.0) }
        fn boxed(&self) -> futures_util::future::BoxFuture<'_, u8> { Box::pin(async { self.0 }) }
    }

    #[tokio::test]
    async fn please_the_lints_too() {
        let line = Line(7);
        assert_eq!((line.get(), line.later().await, line.future().await, line.fail()), (&7, 7, 1, Err(7)));
        assert_eq!(line.boxed().await, 7);
        assert_eq!((T.get().count(), G.get(), C.get(), E.get()), (5, 0, 5, 1));
    }
}
