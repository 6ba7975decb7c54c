//! A stream of frames, as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::choice::Choice;
use super::frame::frame;
use super::moment::{Hub, Moment};

/// The events of one page. Dropping it ends the stream.
pub(in crate::serve) struct Stream {
    hub: Arc<Hub>,
    choice: Arc<Choice>,
    /// The maximum age of the connection, which the page is told.
    age: Option<Duration>,
    /// The last moment that was sent. It keeps the moment alive for the next one.
    seen: Option<Arc<Moment>>,
    /// The hash of the list of names that the page has.
    names: Option<u64>,
    /// One of the streams that may be open at once.
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    pub(super) fn new(
        hub: Arc<Hub>,
        choice: Choice,
        age: Option<Duration>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            hub,
            choice: Arc::new(choice),
            age,
            seen: None,
            names: None,
            _permit: permit,
        }
    }

    /// Waits for the next moment. Returns its event and the rest of the stream, or `None` if the
    /// stream has to end, because a snapshot panicked.
    pub(in crate::serve) async fn next(mut self) -> Option<(Self, Bytes)> {
        let moment = Arc::clone(&self.hub).after(self.seen.as_ref()).await?;
        let (choice, names) = (Arc::clone(&self.choice), self.names);
        let work = {
            let moment = Arc::clone(&moment);
            move || frame(&moment, &choice, names)
        };
        let (frame, names) = Handle::try_current()
            .ok()?
            .spawn_blocking(work)
            .await
            .ok()?;
        let mut event = String::with_capacity(frame.len() + 64);
        if self.seen.is_none() {
            // A page whose stream ends begins the next one without a long pause.
            event.push_str("retry: 500\n");
            if let Some(age) = self.age {
                event.push_str(&format!("event: age\ndata: {}\n\n", age.as_millis()));
            }
        }
        event.push_str("data: ");
        event.push_str(&frame);
        event.push_str("\n\n");
        self.seen = Some(moment);
        self.names = Some(names);
        Some((self, event.into()))
    }
}
