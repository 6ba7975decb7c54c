//! A stream of frames, as server-sent events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ClientPlace;
use super::choice::Choice;
use super::frame::frame;
use super::moment::{Audience, Hub, Moment};
use bytes::Bytes;

/// The events of one page. Dropping it ends the stream.
pub(in crate::serve) struct FrameStream {
    hub: Arc<Hub>,
    choice: Arc<Choice>,
    /// The maximum age of the connection, and so of the stream, which the page is told.
    age: Duration,
    /// The time at which the stream began.
    begun: Instant,
    /// Has the last moment, for the next one.
    audience: Arc<Audience>,
    /// The number of the moment that was sent last.
    seen: Option<u64>,
    /// The hash of the list of names that the page has.
    names: Option<u64>,
    /// One of the streams that may be open at once.
    _place: ClientPlace,
}

impl FrameStream {
    pub(super) fn new(hub: Arc<Hub>, choice: Choice, age: Duration, place: ClientPlace) -> Self {
        Self {
            audience: hub.audience.join(),
            hub,
            choice: Arc::new(choice),
            age,
            begun: Instant::now(),
            seen: None,
            names: None,
            _place: place,
        }
    }

    /// Waits for the next moment. Returns its event and the rest of the stream, or `None` if the
    /// stream has to end, because it is too old or a snapshot panicked.
    pub(in crate::serve) async fn next(mut self) -> Option<(Self, Bytes)> {
        // A framework that shuts down waits for its streams.
        if self.seen.is_some() && self.begun.elapsed() >= self.age {
            return None;
        }
        let (choice, names) = (Arc::clone(&self.choice), self.names);
        let (hub, audience) = (Arc::clone(&self.hub), Arc::clone(&self.audience));
        let past = choice.past.filter(|_| self.seen.is_none());
        let ring = Arc::clone(&hub);
        let work = move |moment: &Arc<Moment>| {
            let past = past.map(|time| ring.ring.since(time));
            (past, frame(moment, &choice, names))
        };
        let (number, (past, (frame, names))) = hub.next(audience, self.seen, work).await?;
        let mut event = String::with_capacity(frame.len() + 64);
        if self.seen.is_none() {
            // A page whose stream ends begins the next one without a long pause.
            event.push_str("retry: 500\n");
            event.push_str(&format!("event: age\ndata: {}\n\n", self.age.as_millis()));
            if let Some(past) = past {
                event.push_str(&format!("event: past\ndata: {past}\n\n"));
            }
        }
        event.extend(["data: ", &frame, "\n\n"]);
        self.seen = Some(number);
        self.names = Some(names);
        let event = self.hub.memory.share(event);
        Some((self, event))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::ClientPlaces;
    use super::*;
    use crate::Registry;
    use crate::snapshot::Merged;

    #[test]
    fn a_stream_ends_at_its_age() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap().block_on(async {
            let hub = Arc::new(Hub::new(
                Merged::new().source(&Registry::new()),
                None,
                Arc::default(),
            ));
            let streams = ClientPlaces::new(2, 2);
            let begin = |age| {
                let place = streams.take(None).unwrap();
                FrameStream::new(Arc::clone(&hub), Choice::default(), age, place)
            };
            let (old, _) = begin(Duration::ZERO).next().await.unwrap();
            let (young, _) = begin(Duration::from_secs(3600)).next().await.unwrap();
            assert!(old.next().await.is_none());
            assert!(young.next().await.is_some());
            assert!(streams.take(None).is_some() && streams.take(None).is_some());
        });
    }
}
