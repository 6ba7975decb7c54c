//! One request and its answer, from the first sight of the one to the end of the other: what is counted, and when.
//!
//! - Every request is counted as answered exactly once: at the head of the response, or where there is none by
//!   [`finish`](Exchange::finish).
//! - It is in flight until `finish`, which comes exactly once: at the end of the body, at a failure, or in `Drop`.

use std::mem::ManuallyDrop;

use crate::clock::Start;

use super::families::{Asked, End, Endpoint, Series};

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

/// What its status and the type of its body make of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timed {
    Ordinary,
    /// A stream of events, which lasts as long as somebody listens.
    Stream,
    /// The connection goes on under another protocol.
    Upgrade,
}

/// What came of a body that was asked for more.
#[derive(Clone, Copy, Debug)]
pub(super) enum Came {
    Data(u64),
    /// The end, or what nothing comes behind.
    End,
    Failure,
}

/// A length that nobody knows.
const UNKNOWN: u64 = u64::MAX;

/// The largest body of a request that is believed from its announcement. A client can announce anything and send nothing;
/// a sum that has taken in 2^64 steps by thousands for ever.
const MOST_ANNOUNCED: u64 = 1 << 32;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Exchange {
    endpoint: &'static Endpoint,
    /// Where the response counts, once there is its head.
    answered: Option<&'static Series>,
    /// `None` where no family wants the time.
    start: Option<Start>,
    received: u64,
    sent: u64,
    /// What will have been sent: a body may be dropped there, without being asked again.
    length: u64,
    timed: Timed,
}

impl Exchange {
    /// A request whose body announces `received` bytes, if it does.
    #[inline]
    pub(super) fn begin(endpoint: &'static Endpoint, received: Option<u64>) -> Self {
        endpoint.begin();
        Self {
            endpoint,
            answered: None,
            start: endpoint.timed.then(Start::now),
            received: received.filter(|n| *n <= MOST_ANNOUNCED).unwrap_or(UNKNOWN),
            sent: 0,
            length: UNKNOWN,
            timed: Timed::Ordinary,
        }
    }

    /// The head of the response; gives back what is not over with it. Length and type of the body are asked for only where
    /// they matter.
    #[inline]
    pub(super) fn head<'a>(
        mut self,
        status: u16,
        length: impl FnOnce() -> Option<u64>,
        content_type: impl FnOnce() -> Option<&'a [u8]>,
    ) -> Option<Self> {
        let series = self.endpoint.answering(status).series(End {
            status,
            failure: None,
        });
        series.answer();
        let seconds = series.headers(|| self.seconds());
        self.answered = Some(series);
        let (timed, length) = match (status, self.endpoint.asked) {
            // RFC 9110, RFC 8441.
            (101, _) | (200..300, Asked::Tunnel) => (Timed::Upgrade, Some(0)),
            (204 | 304, _) | (_, Asked::HeadOnly) => (Timed::Ordinary, Some(0)),
            _ => match length() {
                None if is_stream(content_type()) => (Timed::Stream, None),
                length => (Timed::Ordinary, length),
            },
        };
        self.timed = timed;
        self.length = length.unwrap_or(UNKNOWN);
        if length == Some(0) {
            ManuallyDrop::new(self).finish(None, seconds);
            return None;
        }
        Some(self)
    }

    /// The response, which is over with its head.
    #[inline]
    pub(super) fn answer(self, status: u16) {
        self.head(status, || Some(0), || None);
    }

    /// What came of the body; empties `exchange` at its end.
    #[inline]
    pub(super) fn came(exchange: &mut Option<Self>, came: Came) {
        let Some(current) = exchange else { return };
        let failure = match came {
            Came::Data(bytes) => {
                current.sent += bytes;
                if current.sent < current.length {
                    return;
                }
                None
            }
            Came::End => None,
            Came::Failure => Some(Failure::Body),
        };
        current.finish(failure, None);
        std::mem::forget(exchange.take());
    }

    /// No proper end.
    pub(super) fn fail(self, failure: Failure) {
        ManuallyDrop::new(self).finish(Some(failure), None);
    }

    #[inline]
    fn seconds(&self) -> Option<f64> {
        self.start.map(Start::seconds)
    }

    /// The end, after `seconds` if that is known already.
    #[inline]
    fn finish(&self, failure: Option<Failure>, seconds: Option<f64>) {
        let families = self.endpoint.families;
        let series = match (self.answered, failure) {
            (Some(series), None) => series,
            (answered, _) => {
                let status = answered.map_or(0, |series| series.end.status);
                self.endpoint
                    .answering(status)
                    .series(End { status, failure })
            }
        };
        let seconds = seconds.or_else(|| self.seconds());
        if self.answered.is_none() {
            series.answer();
            if families.waits_are_timed() {
                series.headers(|| seconds);
            }
        }
        if failure.is_some_and(|f| f != Failure::Cancelled || families.leaving_fails) {
            series.fail();
        }
        if let Some(seconds) = seconds {
            if self.timed == Timed::Ordinary || families.durations_count {
                series.duration(seconds);
            }
            if self.timed == Timed::Stream {
                series.stream(seconds);
            }
        }
        if self.received != UNKNOWN {
            series.received(self.received);
        }
        series.sent(self.sent);
        self.endpoint.leave();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Who listens to a stream of events ends it by leaving.
        let left = (self.timed != Timed::Stream).then_some(Failure::Cancelled);
        self.finish(left, None);
    }
}

/// Whether a response of this type lasts as long as somebody listens. Types are the same in capitals (RFC 9110).
fn is_stream(content_type: Option<&[u8]>) -> bool {
    const STREAMS: [&[u8]; 3] = [
        b"text/event-stream",
        b"application/x-ndjson",
        b"multipart/x-mixed-replace",
    ];
    let Some(ty) = content_type.and_then(|ty| ty.split(|byte| *byte == b';').next()) else {
        return false;
    };
    let ty = ty.trim_ascii();
    STREAMS.iter().any(|stream| stream.eq_ignore_ascii_case(ty))
}

/// Until it is done, a panic is the failure of this request.
#[derive(Debug)]
pub(super) struct Watch<'a>(pub(super) &'a mut Option<Exchange>);

impl Watch<'_> {
    #[inline]
    pub(super) fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(exchange) = self.0.take() {
            exchange.fail(Failure::Panic);
        }
    }
}

/// Runs `f`; if it panics, the request has failed.
#[inline]
pub(super) fn watched<R>(exchange: &mut Option<Exchange>, f: impl FnOnce() -> R) -> R {
    let watch = Watch(exchange);
    let result = f();
    watch.done();
    result
}
