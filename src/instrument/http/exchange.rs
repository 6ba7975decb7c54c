//! One request and its answer, from the first sight of the one to the end of the other: what is counted, and when.
//!
//! - Every request is counted as answered exactly once: at the head of the response, or where there is none by
//!   [`finish`](Exchange::finish).
//! - It is in flight until `finish`, which comes exactly once: at the end of the body, at a failure, or in `Drop`.

use std::sync::Arc;

use crate::clock::Start;

use super::families::{End, Endpoint};

/// Why a request or a call has no proper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The handler panicked.
    Panic,
    /// The service gave an error; of a call, one that is none of the others.
    Error,
    /// The body failed on its way.
    Body,
    /// Nobody waited for the end: the client left, or the future was dropped.
    Cancelled,
    /// The call took too long.
    Timeout,
    /// No connection came about.
    Connect,
    /// Redirected too often, or to where one must not go.
    Redirect,
}

impl Failure {
    /// Its name, as labels have it.
    ///
    /// ```
    /// assert_eq!(tallies::http::Failure::Timeout.kind(), "timeout");
    /// ```
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Body => "body",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Redirect => "redirect",
        }
    }
}

/// How the response's body is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timed {
    Ordinary,
    /// A stream of events, which lasts as long as somebody listens.
    Stream,
    /// None: the connection goes on under another protocol.
    Upgrade,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Exchange {
    endpoint: Arc<Endpoint>,
    start: Start,
    /// Of the head of the response, once there is one.
    status: u16,
    timed: Timed,
    received: Option<u64>,
    sent: u64,
    ended: bool,
}

impl Exchange {
    /// A request whose body announces `received` bytes, if it does.
    #[inline]
    pub(super) fn begin(endpoint: &Arc<Endpoint>, received: Option<u64>) -> Self {
        endpoint.begin();
        Self {
            endpoint: Arc::clone(endpoint),
            start: Start::now(),
            status: 0,
            timed: Timed::Ordinary,
            received,
            sent: 0,
            ended: false,
        }
    }

    /// The head of the response; says after how many seconds.
    #[inline]
    pub(super) fn head(&mut self, status: u16, timed: Timed) -> f64 {
        let seconds = self.start.seconds();
        self.status = status;
        self.timed = timed;
        let end = self.how(None);
        let series = self.endpoint.series(end);
        series.answer(&self.endpoint, end);
        series.headers(&self.endpoint, end, seconds);
        seconds
    }

    /// Bytes of the response's body.
    #[inline]
    pub(super) fn send(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The end of the response, so many seconds after the beginning if that is known.
    #[inline]
    pub(super) fn end(mut self, seconds: Option<f64>) {
        let seconds = seconds.unwrap_or_else(|| self.start.seconds());
        self.finish(None, seconds);
    }

    /// No proper end.
    pub(super) fn fail(mut self, failure: Failure) {
        let seconds = self.start.seconds();
        self.finish(Some(failure), seconds);
    }

    fn how(&self, failure: Option<Failure>) -> End {
        End {
            status: self.status,
            failure,
        }
    }

    #[inline]
    fn finish(&mut self, failure: Option<Failure>, seconds: f64) {
        self.ended = true;
        let (endpoint, end) = (&*self.endpoint, self.how(failure));
        let series = endpoint.series(end);
        if self.status == 0 {
            series.answer(endpoint, end);
            if endpoint.families.waits_are_timed() {
                series.headers(endpoint, end, seconds);
            }
        }
        if failure.is_some_and(|f| f != Failure::Cancelled || endpoint.families.leaving_fails) {
            series.fail(endpoint, end);
        }
        match self.timed {
            Timed::Ordinary => series.duration(endpoint, end, seconds),
            Timed::Stream => series.stream(endpoint, end, seconds),
            Timed::Upgrade => {}
        }
        series.bytes(endpoint, end, self.received, self.sent);
        endpoint.leave();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended {
            // Who listens to a stream of events ends it by leaving.
            let left = (self.timed != Timed::Stream).then_some(Failure::Cancelled);
            let seconds = self.start.seconds();
            self.finish(left, seconds);
        }
    }
}

/// Runs `f`; if it panics, the request has failed.
#[inline]
pub(super) fn watched<R>(exchange: &mut Option<Exchange>, f: impl FnOnce() -> R) -> R {
    struct Unwinding<'a>(&'a mut Option<Exchange>);
    impl Drop for Unwinding<'_> {
        fn drop(&mut self) {
            if let Some(exchange) = self.0.take() {
                exchange.fail(Failure::Panic);
            }
        }
    }
    let unwinding = Unwinding(exchange);
    let result = f();
    std::mem::forget(unwinding);
    result
}
