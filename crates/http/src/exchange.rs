//! One request and its response, from the start of the request to the end of the response body:
//! what is counted, and when.
//!
//! - Every request is counted as answered exactly once: when the response head is ready, or in
//!   [`finish`](Exchange::finish) if there is no response.
//! - Every request is in flight until `finish`, which runs exactly once: at the end of the body, at
//!   a failure, or in `Drop`.

use std::mem::{ManuallyDrop, forget, replace};

use tallies::instrument::Start;

use super::counting::BytesRead;
use super::families::{End, EndSeries, Endpoint, MethodKind};
use super::scheme::NoAnswer;

/// The reason why a request or a call did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The handler panicked.
    Panic,
    /// The service returned an error. For a client call: an error that fits no other kind.
    Error,
    /// The transfer of the body failed.
    Body,
    /// The client left, or the future was dropped, before the end.
    Cancelled,
    /// The call timed out.
    Timeout,
    /// The connection could not be established.
    Connect,
    /// The server redirected too often, or to a target that is not allowed.
    Redirect,
}

impl FailureKind {
    /// Returns the name of this kind, as it appears in labels.
    ///
    /// ```
    /// assert_eq!(tallies_http::FailureKind::Timeout.as_str(), "timeout");
    /// ```
    #[must_use]
    pub fn as_str(self) -> &'static str {
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

/// How a response is timed. Depends on its status and on the type of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timing {
    Ordinary,
    /// An event stream, which lasts as long as the client listens.
    Stream,
    /// The connection continues with another protocol.
    Upgrade,
}

/// The length of a response body whose length is unknown.
const UNKNOWN: u64 = u64::MAX;

/// The largest announced length of a request body that is observed, which is the largest bound of
/// the buckets. A client can announce any length and send nothing.
const MOST_ANNOUNCED: u64 = 16 << 20;

/// The size of a request body.
#[derive(Debug)]
enum RequestSize {
    /// Not observed.
    Unknown,
    /// The announced length, at most `MOST_ANNOUNCED`.
    Announced(u64),
    /// The bytes that the service reads until the exchange ends.
    Read(BytesRead),
}

/// A request in flight. See the module documentation.
#[derive(Debug)]
pub(super) struct Exchange {
    endpoint: &'static Endpoint,
    /// The series of the response. Set when the response head is ready.
    answered: Option<&'static EndSeries>,
    /// `None` if no family needs the time.
    start: Option<Start>,
    /// The size of the request body. `Unknown` once it is observed.
    received: RequestSize,
    /// The bytes of the response body so far.
    sent: u64,
    /// The length of the response body, or `UNKNOWN`. The exchange ends once this much is sent,
    /// because the server may drop the body there without polling it again.
    length: u64,
    timing: Timing,
}

impl Exchange {
    /// Starts measuring a request. `received` is the announced length of its body, if there is one.
    #[inline]
    pub(super) fn begin(endpoint: &'static Endpoint, received: Option<u64>) -> Self {
        endpoint.begin();
        Self {
            endpoint,
            answered: None,
            start: endpoint.timed.then(Start::now),
            received: received
                .filter(|length| *length <= MOST_ANNOUNCED)
                .map_or(RequestSize::Unknown, RequestSize::Announced),
            sent: 0,
            length: UNKNOWN,
            timing: Timing::Ordinary,
        }
    }

    /// Observes the bytes that the service reads from the request body, instead of the announced
    /// length. Returns the counter to add them to, or `None` if the body is empty or no family
    /// needs its size.
    #[inline]
    pub(super) fn count_request_body(&mut self) -> Option<BytesRead> {
        let empty = matches!(self.received, RequestSize::Announced(0));
        if empty || self.endpoint.families.request_bytes.is_none() {
            return None;
        }
        let read = BytesRead::zero();
        self.received = RequestSize::Read(read.clone());
        Some(read)
    }

    /// Counts the response, once its head is ready. Returns the exchange if the response body is
    /// still to come. The closures run only if the length or the content type matters.
    #[inline]
    pub(super) fn head<'a>(
        mut self,
        status: u16,
        length: impl FnOnce() -> Option<u64>,
        content_type: impl FnOnce() -> Option<&'a [u8]>,
    ) -> Option<Self> {
        let failure = None;
        let series = self.endpoint.series(End { status, failure });
        series.answer();
        let seconds = series.headers(|| self.start.map(Start::seconds));
        self.answered = Some(series);
        let (timing, length) = match (status, self.endpoint.method_kind) {
            // RFC 9110, RFC 8441.
            (101, _) | (200..300, MethodKind::Tunnel) => (Timing::Upgrade, Some(0)),
            (204 | 304, _) | (_, MethodKind::HeadOnly) => (Timing::Ordinary, Some(0)),
            _ => match length() {
                None if is_stream(content_type()) => (Timing::Stream, None),
                length => (Timing::Ordinary, length),
            },
        };
        self.timing = timing;
        self.length = length.unwrap_or(UNKNOWN);
        if length == Some(0) {
            ManuallyDrop::new(self).finish(None, seconds);
            return None;
        }
        Some(self)
    }

    /// Counts a response that ends with its head.
    #[inline]
    pub(super) fn answer(self, status: u16) {
        self.head(status, || Some(0), || None);
    }

    /// Counts a part of the response body. The last part ends the exchange, because the server may
    /// not poll the body again.
    #[inline]
    pub(super) fn on_data(exchange: &mut Option<Self>, bytes: u64) {
        let Some(current) = exchange else { return };
        current.sent += bytes;
        if current.sent >= current.length {
            Self::end(exchange, None);
        }
    }

    /// Ends the exchange, if it has not ended, with the response body.
    #[inline]
    pub(super) fn end(exchange: &mut Option<Self>, failure: Option<FailureKind>) {
        if let Some(current) = exchange {
            current.finish(failure, None);
            forget(exchange.take());
        }
    }

    /// Ends the exchange with a failure.
    pub(super) fn fail(self, failure: FailureKind) {
        ManuallyDrop::new(self).finish(Some(failure), None);
    }

    /// Ends the exchange. Reads the clock unless the caller passes `seconds`.
    #[inline]
    fn finish(&mut self, failure: Option<FailureKind>, seconds: Option<f64>) {
        let families = self.endpoint.families;
        let series = match (self.answered, failure) {
            (Some(series), None) => series,
            (answered, _) => {
                let status = answered.map_or(0, |series| series.end.status);
                self.endpoint.series(End { status, failure })
            }
        };
        let seconds = seconds.or_else(|| self.start.map(Start::seconds));
        if self.answered.is_none() {
            series.answer();
            // A call without a response observes the time to its failure.
            if families.scheme.no_answer == NoAnswer::Kind {
                series.headers(|| seconds);
            }
        }
        if failure.is_some_and(|f| f != FailureKind::Cancelled || families.scheme.leaving_fails) {
            series.fail();
        }
        if let Some(seconds) = seconds {
            // Without a counter of requests, the duration histogram counts them: every one.
            if self.timing == Timing::Ordinary || families.scheme.answered.is_none() {
                series.duration(seconds);
            }
            if self.timing == Timing::Stream {
                series.stream(seconds);
            }
        }
        // Leaves nothing to drop, because most callers do not drop the exchange.
        match replace(&mut self.received, RequestSize::Unknown) {
            RequestSize::Unknown => {}
            RequestSize::Announced(length) => series.received(length),
            RequestSize::Read(read) => series.received(read.into_bytes()),
        }
        series.sent(self.sent);
        self.endpoint.leave();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // A client ends an event stream by leaving, so that is not a failure.
        let left = (self.timing != Timing::Stream).then_some(FailureKind::Cancelled);
        self.finish(left, None);
    }
}

/// Returns whether a response of this type is an event stream, which lasts as long as the client
/// listens. Media types are case-insensitive (RFC 9110).
fn is_stream(content_type: Option<&[u8]>) -> bool {
    const STREAMS: [&[u8]; 3] = [
        b"text/event-stream",
        b"application/x-ndjson",
        b"multipart/x-mixed-replace",
    ];
    let ty = content_type.and_then(|ty| ty.split(|byte| *byte == b';').next());
    let ty = ty.unwrap_or_default().trim_ascii();
    STREAMS.iter().any(|stream| stream.eq_ignore_ascii_case(ty))
}

/// A guard around calls into the service, which is forgotten after them: if it is dropped, the
/// request has panicked.
pub(super) struct PanicGuard<'a>(pub(super) &'a mut Option<Exchange>);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        Exchange::end(self.0, Some(FailureKind::Panic));
    }
}

/// Runs `f`. If `f` panics, counts the request as failed.
#[inline]
pub(super) fn fail_on_panic<R>(exchange: &mut Option<Exchange>, f: impl FnOnce() -> R) -> R {
    let guard = PanicGuard(exchange);
    let result = f();
    forget(guard);
    result
}
