//! The body of a response over a connection: it tells the connection's seat whether the client or
//! the service is at work, and bounds the time in which all blocks are made.
//!
//! `stream` bounds the time in which the client takes them. A body waits for its next block while
//! nothing is written, so that limit would not end a body whose blocks are never made, because
//! collectors that hang occupy all scrape threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::error::Error;
use crate::serve::body::Body;

use super::seats::{Activity, Seat};

/// A body that reports to a seat.
pub(super) struct TimedBody {
    body: Body,
    seat: Arc<Seat>,
    limit: Duration,
    /// Runs out when the limit has passed since the body first had to wait for a block.
    sleep: Option<Pin<Box<Sleep>>>,
    /// How long the client has been reading, while a block is being made.
    read: Option<Duration>,
    /// Completes when the connection has to end. Used by streams, which would not end.
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl TimedBody {
    pub(super) fn new(body: Body, seat: Arc<Seat>, limit: Duration) -> Self {
        // A stream has nothing more to send until its next event, so that the client's time begins
        // again with each.
        seat.set_more(!body.is_end_stream() && !body.is_stream());
        Self {
            body,
            seat,
            limit,
            sleep: None,
            read: None,
            closing: None,
        }
    }

    /// Polls a stream of events. Between two of them the connection counts as idle.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let closing = self.closing.get_or_insert_with(|| {
            let seat = Arc::clone(&self.seat);
            Box::pin(async move { seat.closing().await })
        });
        if closing.as_mut().poll(cx).is_ready() {
            self.body = Body::default();
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.seat.set(Activity::Writing);
        Poll::Ready(frame)
    }
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.body.is_stream() {
            return this.poll_stream(cx);
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(read) = this.read.take() {
                this.seat.resume_writing(read);
            }
            this.seat.set_more(!this.body.is_end_stream());
            if matches!(frame, Some(Err(_))) {
                // A reset tells the client that the page is not complete, in any version of HTTP.
                this.seat.evict();
            }
            return Poll::Ready(frame);
        }
        if this.read.is_none() {
            this.read = Some(this.seat.pause_writing());
        }
        let limit = this.limit;
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(sleep.as_mut().poll(cx));
        this.seat.evict();
        // The connection's task drops the connection.
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
