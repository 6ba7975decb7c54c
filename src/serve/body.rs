//! The body of a response: bytes that are there, or a page block by block.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::runtime::Handle;

use crate::error::Error;

#[cfg(feature = "live")]
use super::live::Stream;
use super::page::{Block, Position};
use super::scrape::ScrapedPage;
use super::turns::Turns;

/// The body of a response of a [`MetricsService`](crate::serve::MetricsService).
///
/// ```
/// use http_body_util::BodyExt;
/// use tallies::{Registry, serve::MetricsService};
/// use tower_service::Service;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new();
/// registry.counter("jobs_total", "")?.inc();
/// let answer = MetricsService::of([&registry]).call(http::Request::new(())).await?;
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
    /// The blocks that come after `ready`.
    blocks: Option<Blocks>,
    /// The events that come after `ready`, if the body is a stream of them.
    #[cfg(feature = "live")]
    events: Option<Events>,
}

/// Waits for the next event of a stream.
#[cfg(feature = "live")]
type Events = Pin<Box<dyn Future<Output = Option<(Stream, Bytes)>> + Send + Sync>>;

/// The blocks of a page from `position` on.
struct Blocks {
    page: Arc<ScrapedPage>,
    position: Arc<Position>,
    /// One turn for each page that may be rendered at once. Each block takes one.
    turns: Turns,
    /// Makes the block at `position`.
    making: Option<Making>,
}

type Making = Pin<Box<dyn Future<Output = Result<Arc<Block>, Error>> + Send + Sync>>;

/// The bytes of a block. They keep it alive until they are sent.
struct BlockBytes(Arc<Block>);

impl AsRef<[u8]> for BlockBytes {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl Body {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self {
            ready: Some(bytes),
            blocks: None,
            #[cfg(feature = "live")]
            events: None,
        }
    }

    /// Creates a body that ends when the client disconnects.
    #[cfg(feature = "live")]
    pub(super) fn stream(stream: Stream) -> Self {
        Self {
            ready: None,
            blocks: None,
            events: Some(Box::pin(stream.next())),
        }
    }

    /// Returns whether the body waits for events, rather than for the service.
    pub(super) fn is_stream(&self) -> bool {
        #[cfg(feature = "live")]
        return self.events.is_some();
        #[cfg(not(feature = "live"))]
        false
    }

    /// Creates the body of a page whose first block is made.
    pub(super) fn page(page: ScrapedPage, first: Arc<Block>, turns: Turns) -> Self {
        let blocks = first.next.as_ref().map(|next| Blocks {
            page: Arc::new(page),
            position: Arc::clone(next),
            turns,
            making: None,
        });
        Self {
            ready: Some(Bytes::from_owner(BlockBytes(first))),
            blocks,
            #[cfg(feature = "live")]
            events: None,
        }
    }

    /// Returns the length of the body, unless blocks have yet to be made, or events to come.
    pub(super) fn len(&self) -> Option<usize> {
        let ready = self.ready.as_ref().map_or(0, Bytes::len);
        (self.blocks.is_none() && !self.is_stream()).then_some(ready)
    }
}

impl Blocks {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Block>, Error>> {
        let failed = |e| Error::with_cause("cannot make the rest of the page", e);
        if self.making.is_none() {
            if let Some(block) = self.page.recent(&self.position) {
                return Poll::Ready(Ok(block));
            }
            if self.page.is_quick() {
                // To another thread and back would take half as long as the block.
                return Poll::Ready(self.page.block(&self.position).map_err(failed));
            }
        }
        let making = self.making.get_or_insert_with(|| {
            let turns = self.turns.clone();
            let (page, position) = (Arc::clone(&self.page), Arc::clone(&self.position));
            Box::pin(async move {
                let turn = turns.take().await;
                let work = move || {
                    let block = page.block(&position);
                    drop(turn);
                    block
                };
                let block = match Handle::try_current() {
                    Ok(runtime) => runtime.spawn_blocking(work).await,
                    Err(_) => Ok(work()),
                };
                block.unwrap_or_else(|e| Err(e.into())).map_err(failed)
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
            #[cfg(feature = "live")]
            if let Some(events) = &mut this.events {
                let next = ready!(events.as_mut().poll(cx));
                this.events = None;
                if let Some((stream, event)) = next {
                    this.events = Some(Box::pin(stream.next()));
                    this.ready = Some(event);
                }
                continue;
            }
            let Some(blocks) = &mut this.blocks else {
                return Poll::Ready(None);
            };
            match ready!(blocks.poll(cx)) {
                Ok(block) => {
                    match &block.next {
                        Some(next) => blocks.position = Arc::clone(next),
                        // The scrape is free before the client has taken the last block.
                        None => this.blocks = None,
                    }
                    this.ready = Some(Bytes::from_owner(BlockBytes(block)));
                }
                Err(error) => {
                    this.blocks = None;
                    return Poll::Ready(Some(Err(error)));
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
