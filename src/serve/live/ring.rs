//! The ring: the last minutes of each family, so that a page does not begin with an empty history.
//!
//! A task takes a moment every 5 s, also while no page is open, and keeps a frame with one line per
//! family. It takes at most a thousandth of the time of one processor: a moment that took 20 ms is
//! followed by a pause of 20 s. A service whose moments need work before them, as those of
//! exporters do, has no ring.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::sync::lock;

use super::frame::past;
use super::moment::{Hub, Moment};

/// The time between two frames.
const INTERVAL: Duration = Duration::from_secs(5);

/// A moment is followed by a pause of as many times the time that it took.
const PAUSE: u32 = 1000;

/// The most frames: five minutes.
const FRAMES: usize = 60;

/// The most bytes of all frames together. Programs with hundreds of families have fewer frames.
const BYTES: usize = 1 << 20;

/// The last frames of a hub.
#[derive(Default)]
pub(super) struct Ring {
    /// Whether the task has begun. Written by the first request or listener.
    begun: OnceLock<()>,
    /// Written by the task; read by streams that begin.
    frames: Mutex<Frames>,
}

#[derive(Default)]
struct Frames {
    /// The last moment. The first interval of a page begins there.
    last: Option<Arc<Moment>>,
    /// The frames with their times, in milliseconds since the Unix epoch.
    frames: VecDeque<(u64, String)>,
    /// Their bytes.
    bytes: usize,
}

impl Ring {
    pub(super) fn last(&self) -> Option<Arc<Moment>> {
        lock(&self.frames).last.clone()
    }

    /// Returns the frames after `time`, as a JSON array.
    pub(super) fn since(&self, time: u64) -> String {
        let frames = &lock(&self.frames).frames;
        let frames = frames.iter().filter(|(taken, _)| *taken > time);
        let frames: Vec<_> = frames.map(|(_, frame)| &**frame).collect();
        format!("[{}]", frames.join(","))
    }

    /// Adds the frame of a moment. The first one has no interval, and so no frame.
    fn push(&self, mut moment: Moment) {
        let frame = moment.interval.is_some().then(|| past(&moment));
        let mut ring = lock(&self.frames);
        if let Some(frame) = frame {
            ring.bytes += frame.len();
            ring.frames.push_back((moment.millis(), frame));
        }
        while ring.frames.len() > FRAMES || ring.bytes > BYTES {
            ring.bytes -= ring.frames.pop_front().map_or(0, |(_, frame)| frame.len());
        }
        // The next moment needs the values alone.
        moment.interval = None;
        ring.last = Some(Arc::new(moment));
    }
}

impl Hub {
    /// Begins the ring, if there is a runtime. The task ends with the hub.
    pub(in crate::serve) fn remember(self: &Arc<Self>) {
        if self.extension.is_some() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let begin = || drop(runtime.spawn(fill(Arc::downgrade(self))));
            self.ring.begun.get_or_init(begin);
        }
    }
}

async fn fill(hub: Weak<Hub>) {
    loop {
        let Some(hub) = hub.upgrade() else { return };
        let turn = hub.work.take().await;
        let Some(turn) = turn else { return };
        let work = move || {
            let _turn = turn;
            let begun = Instant::now();
            let last = hub.ring.last();
            let moment = Moment::take(&hub.sources, last.as_deref(), &hub.memory);
            hub.ring.push(moment);
            begun.elapsed()
        };
        // A snapshot that panics ends the ring.
        let cost = tokio::task::spawn_blocking(work).await;
        let Ok(cost) = cost else { return };
        tokio::time::sleep(INTERVAL.max(cost * PAUSE)).await;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::Registry;
    use crate::serve::{Extension, Later};
    use crate::snapshot::Merged;

    /// An extension with work before each moment.
    struct Work;

    impl Extension for Work {
        fn before_moment(&self) -> Option<Later<'_, ()>> {
            Some(Box::pin(async {}))
        }
    }

    #[test]
    fn the_ring_is_bounded_in_frames_and_in_bytes() {
        let registry = Registry::new();
        registry.set_lint(false);
        let jobs = registry.counter("jobs_total", "").unwrap();
        let hub = Arc::new(Hub::new(
            Merged::new().source(&registry),
            None,
            Arc::default(),
        ));
        let fill = |n| {
            for _ in 0..n {
                jobs.add(3);
                let last = hub.ring.last();
                let moment = Moment::take(&hub.sources, last.as_deref(), &hub.memory);
                hub.ring.push(moment);
            }
        };
        let frames = || lock(&hub.ring.frames).frames.len();
        fill(1);
        assert_eq!((frames(), &*hub.ring.since(0)), (0, "[]"));
        fill(1);
        let frame = hub.ring.since(0);
        assert!(
            frame.contains(r#""was":{"jobs_total":{"value":6,"increase":3}}"#),
            "{frame}"
        );
        assert_eq!(hub.ring.since(u64::MAX), "[]");
        // A page has the frame of its last moment already.
        let last = lock(&hub.ring.frames).frames[0].0;
        assert_eq!(hub.ring.since(last), "[]");
        assert_eq!(hub.ring.since(last - 1), frame);
        fill(FRAMES);
        assert_eq!(frames(), FRAMES);
        for i in 0..400 {
            let name = format!("a_counter_with_a_long_name_{}_{i}_total", "x".repeat(40));
            registry.counter(&name, "").unwrap();
        }
        fill(FRAMES);
        assert!((1..FRAMES).contains(&frames()), "{}", frames());
        assert!(hub.ring.since(0).len() <= BYTES + FRAMES + 2);
    }

    #[test]
    fn the_task_ends_with_the_hub_and_does_not_begin_where_moments_need_work() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let begin = Instant::now();
        let is_in_time = || begin.elapsed() < Duration::from_secs(60);
        runtime.enable_time().build().unwrap().block_on(async {
            let sources = || Merged::new().source(&Registry::new());
            let hub = Arc::new(Hub::new(sources(), None, Arc::default()));
            hub.remember();
            hub.remember();
            while hub.ring.last().is_none() {
                assert!(is_in_time(), "the ring gets no moment");
                tokio::task::yield_now().await;
            }
            let exporter = Arc::new(Hub::new(sources(), Some(Arc::new(Work)), Arc::default()));
            exporter.remember();
            assert!(exporter.ring.begun.get().is_none());
            let left = Arc::downgrade(&hub);
            drop(hub);
            while left.strong_count() > 0 {
                assert!(is_in_time(), "the task keeps the hub");
                tokio::task::yield_now().await;
            }
        });
    }
}
