//! A stream of frames, as server-sent events.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// The maximum age of the connection, and so of the stream, which the page is told.
    age: Duration,
    /// The time at which the stream began.
    begun: Instant,
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
        age: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            hub,
            choice: Arc::new(choice),
            age,
            begun: Instant::now(),
            seen: None,
            names: None,
            _permit: permit,
        }
    }

    /// Waits for the next moment. Returns its event and the rest of the stream, or `None` if the
    /// stream has to end, because it is too old or a snapshot panicked.
    pub(in crate::serve) async fn next(mut self) -> Option<(Self, Bytes)> {
        // A framework that shuts down waits for its streams.
        if self.seen.is_some() && self.begun.elapsed() >= self.age {
            return None;
        }
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
            event.push_str(&format!("event: age\ndata: {}\n\n", self.age.as_millis()));
        }
        event.push_str("data: ");
        event.push_str(&frame);
        event.push_str("\n\n");
        self.seen = Some(moment);
        self.names = Some(names);
        Some((self, event.into()))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::Registry;

    #[test]
    fn a_stream_ends_at_its_age() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap().block_on(async {
            let hub = Arc::new(Hub::new(vec![Arc::new(Registry::new())], None));
            let streams = Arc::new(Semaphore::new(2));
            let begin = |age| {
                let permit = Arc::clone(&streams).try_acquire_owned().unwrap();
                Stream::new(Arc::clone(&hub), Choice::default(), age, permit)
            };
            let (old, _) = begin(Duration::ZERO).next().await.unwrap();
            let (young, _) = begin(Duration::from_secs(3600)).next().await.unwrap();
            assert!(old.next().await.is_none());
            assert!(young.next().await.is_some());
            assert_eq!(streams.available_permits(), 2);
        });
    }
}
