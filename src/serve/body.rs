//! The body of a response: bytes that are there, or a page block by block.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::error::Error;

#[cfg(feature = "live")]
use super::live::FrameStream;
use super::page::{PageBlock, Position};
use super::scrape::ScrapedPage;
use super::turns::{Turns, blocking};

/// The body of a response of a [`MetricsService`](crate::serve::MetricsService).
///
/// ```
/// use http_body_util::BodyExt;
/// use tallies::{Registry, serve::MetricsService};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new();
/// registry.counter("jobs_total", "")?.inc();
/// let answer = MetricsService::of([&registry]).answer(&http::Request::new(())).await;
/// let page = answer.into_body().collect().await?.to_bytes();
/// assert_eq!(page, "# TYPE jobs_total counter\njobs_total 1\n");
/// # Ok(())
/// # }
/// ```
///
/// A page of more than 124 KiB comes in blocks, each of which is made when the framework asks for
/// it. A framework that waits until the client has taken a block therefore never has a large page
/// in memory. The body holds its scrape until its last block is made.
///
/// The first block, and those that are compressed or protobuf, are made on Tokio's blocking threads
/// if there is a runtime. Others take some 40 µs each, and are made on the current thread. The body
/// ends in an error if the runtime shuts down.
#[derive(Default)]
pub struct Body {
    /// The bytes that are sent next.
    ready: Option<Bytes>,
    /// The part that has yet to be made.
    rest: Option<Rest>,
}

/// The part of a body that has yet to be made.
enum Rest {
    Page(RestOfPage),
    /// Waits for the next event.
    #[cfg(feature = "live")]
    Stream(NextFrame),
}

/// The blocks of a page from `position` on.
struct RestOfPage {
    page: Arc<ScrapedPage>,
    position: Arc<Position>,
    /// One turn for each page that may be rendered at once. Each block takes one.
    turns: Turns,
    /// Makes the block at `position`.
    making: Option<Making>,
}

/// The next frame of a live page, and the stream behind it.
#[cfg(feature = "live")]
type NextFrame = Pin<Box<dyn Future<Output = Option<(FrameStream, Bytes)>> + Send + Sync>>;

type Making = Pin<Box<dyn Future<Output = Result<Arc<PageBlock>, Error>> + Send + Sync>>;

/// The bytes of a block. They keep it alive until they are sent.
struct BlockBytes(Arc<PageBlock>);

impl AsRef<[u8]> for BlockBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Body {
    pub(super) fn whole(bytes: Bytes) -> Self {
        let ready = Some(bytes);
        Self { ready, rest: None }
    }

    /// Creates a body that ends when the client disconnects.
    #[cfg(feature = "live")]
    pub(super) fn stream(stream: FrameStream) -> Self {
        let rest = Some(Rest::Stream(Box::pin(stream.next())));
        Self { ready: None, rest }
    }

    /// Returns whether the body waits for events, rather than for the service.
    pub(super) fn is_stream(&self) -> bool {
        !matches!(self.rest, None | Some(Rest::Page(_)))
    }

    /// Creates the body of a page whose first block is made.
    pub(super) fn page(page: ScrapedPage, first: Arc<PageBlock>, turns: Turns) -> Self {
        let rest = first.next.as_ref().map(|next| RestOfPage {
            page: Arc::new(page),
            position: Arc::clone(next),
            turns,
            making: None,
        });
        Self {
            ready: Some(Bytes::from_owner(BlockBytes(first))),
            rest: rest.map(Rest::Page),
        }
    }

    /// Returns the length of the body, unless blocks have yet to be made, or events to come.
    pub(super) fn len(&self) -> Option<usize> {
        let ready = self.ready.as_ref().map_or(0, Bytes::len);
        self.rest.is_none().then_some(ready)
    }
}

impl RestOfPage {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<PageBlock>, Error>> {
        let failed = |e| Error::with_cause("cannot make the rest of the page", e);
        if self.making.is_none() {
            if let Some(block) = self.page.page.recent(&self.position) {
                return Poll::Ready(Ok(block));
            }
            if self.page.page.is_quick() {
                // To another thread and back would take half as long as the block.
                return Poll::Ready(self.page.block(&self.position).map_err(failed));
            }
        }
        let making = self.making.get_or_insert_with(|| {
            let turns = self.turns.clone();
            let (page, position) = (Arc::clone(&self.page), Arc::clone(&self.position));
            Box::pin(async move {
                let turn = turns.take().await;
                let block = blocking(move |_| {
                    let block = page.block(&position);
                    drop(turn);
                    block
                });
                let block = block.await.unwrap_or_else(|e| Err(e.into()));
                block.map_err(failed)
            })
        });
        let block = ready!(making.as_mut().poll(cx));
        self.making = None;
        Poll::Ready(block)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.ready.take().filter(|bytes| !bytes.is_empty()) {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match &mut this.rest {
                None => return Poll::Ready(None),
                #[cfg(feature = "live")]
                Some(Rest::Stream(next)) => {
                    let next = ready!(next.as_mut().poll(cx));
                    this.rest = None;
                    if let Some((stream, event)) = next {
                        this.rest = Some(Rest::Stream(Box::pin(stream.next())));
                        this.ready = Some(event);
                    }
                }
                Some(Rest::Page(rest)) => {
                    let block = ready!(rest.poll(cx));
                    match block.as_ref().ok().and_then(|block| block.next.as_ref()) {
                        Some(next) => rest.position = Arc::clone(next),
                        // The scrape is free before the client has taken the last block.
                        None => this.rest = None,
                    }
                    match block {
                        Ok(block) => this.ready = Some(Bytes::from_owner(BlockBytes(block))),
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.len() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.len()
            .map_or_else(SizeHint::default, |len| SizeHint::with_exact(len as u64))
    }
}

impl Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
