//! The body of a response over a connection: it tells the connection's seat whether the client or
//! the service is at work, and bounds the time in which all blocks are made.
//!
//! `stream` bounds the time in which the client takes them. A body waits for its next block while
//! nothing is written, so that limit would not end a body whose blocks are never made, because
//! collectors that hang occupy all scrape threads.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::body::Body;
use super::seats::Seat;

/// A body that reports to a seat.
pub(super) struct TimedBody {
    body: Body,
    seat: Arc<Seat>,
    limit: Duration,
    /// Runs out when the limit has passed since the body first had to wait for a block.
    sleep: Option<Pin<Box<Sleep>>>,
    /// How long the client has been reading, while a block is being made.
    read: Option<Duration>,
}

impl TimedBody {
    pub(super) fn new(body: Body, seat: Arc<Seat>, limit: Duration) -> Self {
        seat.set_more(!body.is_end_stream());
        Self {
            body,
            seat,
            limit,
            sleep: None,
            read: None,
        }
    }
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(read) = this.read.take() {
                this.seat.resume_writing(read);
            }
            this.seat.set_more(!this.body.is_end_stream());
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if this.read.is_none() {
            this.read = Some(this.seat.pause_writing());
        }
        let limit = this.limit;
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
