//! Moments: what all families hold at one time, and what changed within the second before. All
//! streams share them.
//!
//! The first stream that wants a moment takes it, and the others wait for that one. So there is no
//! task that runs while nobody listens, but for the one of the [ring](super::ring). Streams hold
//! the number of the moment that they sent last. Their [`Audience`] holds the last moment, and is
//! dropped with the last stream.
//!
//! At most one thread works for the live page: a turn moves into the work of a stream, which
//! takes the moment if it is due, and makes the stream's frame of it. The work of a stream that has
//! gone is skipped.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;

use crate::serve::Extension;
use crate::serve::scrape::{HeldBytes, PageMemory};
use crate::serve::turns::{Common, Turns, blocking};
use crate::snapshot::{Family, Merged, MergedSnapshot, millis};
use crate::sync::lock;

use super::failure::failed_series;
use super::ring::Ring;

/// The time between two moments.
const INTERVAL: Duration = Duration::from_secs(1);

/// A moment is followed by a pause of as many times the time that it and its frames took. So the
/// live page takes at most a tenth of the time of one processor.
const PAUSE: u32 = 10;

/// Takes the moments of some sources. All streams share one hub.
pub(super) struct Hub {
    pub(super) sources: Merged,
    /// Does its work before each moment, while no other one can be taken. `None` if it has none.
    pub(super) extension: Option<Arc<dyn Extension>>,
    /// The last minutes, for pages that begin.
    pub(super) ring: Ring,
    /// Counts the bytes of moments and frames.
    pub(super) memory: Arc<PageMemory>,
    /// One turn: that of the thread that works for a stream. If collectors hang, they occupy one
    /// thread.
    pub(super) work: Turns,
    /// The streams that are open.
    pub(super) audience: Common<Audience>,
}

/// The streams that are open share the last moment.
#[derive(Default)]
pub(super) struct Audience {
    /// Written by the work of one stream, read by all.
    last: Mutex<Option<Arc<Moment>>>,
}

/// The values of all families at one time.
pub(super) struct Moment {
    /// The number of this moment, from 1 on.
    pub(super) number: u64,
    /// The time at which it was taken.
    at: Instant,
    /// The time to take it and to make its frames. Added to by the work of streams.
    cost: Mutex<Duration>,
    /// The families.
    pub(super) view: MergedSnapshot,
    /// Whether a source had no snapshot. Then there are no families.
    has_failed: bool,
    /// The seconds since the moment before, and what changed in each family. `None` if nobody
    /// listened then, or one of both has failed.
    pub(super) interval: Option<(f64, Vec<Family>)>,
    /// The series of each family that look as if something failed. Written by the first frame that
    /// has the family, read by all.
    failed: Vec<OnceLock<Vec<usize>>>,
    /// The bytes of both.
    _held: HeldBytes,
}

impl Moment {
    pub(super) fn take(sources: &Merged, before: Option<&Self>, memory: &Arc<PageMemory>) -> Self {
        let at = Instant::now();
        let mut view = MergedSnapshot::default();
        let taken = sources.take(&mut view);
        let has_failed = taken.is_err();
        if let Err(error) = taken {
            // The page shows nothing until the source is back. The text differs each time: it has
            // the age of what a store has.
            if crate::error::is_first(&"the live page is empty") {
                crate::error::warn(&format_args!("the live page is empty: {error}"));
            }
        }
        // Nothing is known of the time in which a source had no snapshot.
        let known = before.filter(|before| !before.has_failed && !has_failed);
        let interval = known.map(|before| {
            let time = view.time_since(&before.view);
            // One that was read from elsewhere may have the time of the one before.
            let time = time.unwrap_or_else(|| at.saturating_duration_since(before.at));
            (time.as_secs_f64(), view.since(&before.view))
        });
        // The changes are as large as the families.
        let bytes = view.bytes() * (1 + usize::from(interval.is_some()));
        Self {
            number: before.map_or(0, |before| before.number) + 1,
            at,
            cost: Mutex::new(at.elapsed()),
            failed: view.families().map(|_| OnceLock::new()).collect(),
            view,
            has_failed,
            interval,
            _held: HeldBytes::new(bytes, &memory.moments),
        }
    }

    /// Returns the time at which the snapshots were taken, in milliseconds since the Unix epoch.
    pub(super) fn millis(&self) -> u64 {
        match self.has_failed {
            true => millis(SystemTime::now()),
            false => millis(self.view.taken()),
        }
    }

    /// Returns the series of the family at this index that look as if something failed, in order.
    pub(super) fn failed(&self, at: usize) -> &[usize] {
        self.failed[at].get_or_init(|| failed_series(self.view.family(at)))
    }

    /// Returns the time at which the next moment is due.
    fn next(&self) -> Instant {
        self.at + INTERVAL.max(*lock(&self.cost) * PAUSE)
    }
}

impl Audience {
    fn last(&self) -> Option<Arc<Moment>> {
        lock(&self.last).clone()
    }

    /// Waits until a moment after `seen` is there or due. Frames that others make meanwhile put it
    /// off.
    async fn due(&self, seen: u64) {
        while let Some(last) = self.last().filter(|last| last.number <= seen) {
            let next = last.next();
            if next <= Instant::now() {
                return;
            }
            drop(last);
            tokio::time::sleep_until(next.into()).await;
        }
    }
}

impl Hub {
    pub(super) fn new(
        sources: Merged,
        extension: Option<Arc<dyn Extension>>,
        memory: Arc<PageMemory>,
    ) -> Self {
        Self {
            sources,
            extension,
            memory,
            work: Turns::new(1),
            audience: Common::default(),
            ring: Ring::default(),
        }
    }

    /// Makes a frame of the moment after `seen`, or of the last one if the stream has seen none and
    /// the next one is not due. Waits until it is due. Returns its number and the frame, or `None`
    /// if a snapshot panics, or if there is no runtime.
    pub(super) async fn next<T: Send + 'static>(
        self: Arc<Self>,
        audience: Arc<Audience>,
        seen: Option<u64>,
        frame: impl FnOnce(&Arc<Moment>) -> T + Send + 'static,
    ) -> Option<(u64, T)> {
        Handle::try_current().ok()?;
        if let Some(seen) = seen {
            audience.due(seen).await;
        }
        let turn = self.work.take().await?;
        let last = audience.last();
        let moment = last.clone().filter(|last| match seen {
            Some(seen) => seen < last.number,
            None => Instant::now() < last.next(),
        });
        if let (None, Some(extension)) = (&moment, &self.extension) {
            let extension = Arc::clone(extension);
            let work = tokio::spawn(async move {
                if let Some(work) = extension.before_moment() {
                    work.await;
                }
            });
            // Work that panics is no reason to show nothing.
            let _ = work.await;
        }
        let made = blocking(move |is_wanted| {
            let _turn = turn;
            if !is_wanted() {
                return None;
            }
            let moment = moment.unwrap_or_else(|| {
                // The first interval of the first stream begins where the ring ends.
                let before = last.clone().or_else(|| self.ring.last());
                let before = before.as_deref();
                let moment = Arc::new(Moment::take(&self.sources, before, &self.memory));
                *lock(&audience.last) = Some(Arc::clone(&moment));
                moment
            });
            drop(last);
            let begun = Instant::now();
            let frame = frame(&moment);
            *lock(&moment.cost) += begun.elapsed();
            Some((moment.number, frame))
        });
        made.await.ok()?
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Weak;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::Registry;
    use crate::snapshot::{Snapshot, Source};

    /// A source that counts its snapshots.
    struct Counted(Registry, Arc<AtomicUsize>);

    impl Source for Counted {
        fn snapshot_into(&self, snapshot: &mut Snapshot) {
            self.1.fetch_add(1, Relaxed);
            self.0.snapshot_into(snapshot);
        }
    }

    fn hub() -> (Registry, Arc<AtomicUsize>, Arc<Hub>) {
        let (registry, taken) = (Registry::new(), Arc::default());
        let source: Arc<dyn Source> = Arc::new(Counted(registry.clone(), Arc::clone(&taken)));
        let hub = Hub::new(Merged::from_iter([source]), None, Arc::default());
        (registry, taken, Arc::new(hub))
    }

    /// Waits for the moment after `seen`.
    async fn after(hub: &Arc<Hub>, audience: &Arc<Audience>, seen: Option<u64>) -> Arc<Moment> {
        let (hub, audience) = (Arc::clone(hub), Arc::clone(audience));
        hub.next(audience, seen, Arc::clone).await.unwrap().1
    }

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    }

    #[test]
    fn streams_share_moments_and_nobody_takes_one_alone() {
        let (registry, taken, hub) = hub();
        let jobs = registry.counter("jobs_total", "").unwrap();
        jobs.add(5);
        runtime().block_on(async {
            let audience = hub.audience.join();
            let next = |seen| after(&hub, &audience, seen);
            let first = next(None).await;
            assert!(first.interval.is_none());
            // Another stream that begins within the same second.
            assert_eq!(next(None).await.number, first.number);
            assert_eq!(taken.load(Relaxed), 1);
            jobs.add(2);
            let both = tokio::join!(next(Some(1)), next(Some(1)));
            assert_eq!((both.0.number, both.1.number), (2, 2));
            assert_eq!(taken.load(Relaxed), 2);
            let (seconds, families) = both.0.interval.as_ref().unwrap();
            assert!(*seconds >= INTERVAL.as_secs_f64(), "{seconds}");
            let increase = families[0].value(0);
            let now = both.0.view.family(0).value(0);
            let number = |n| crate::snapshot::Value::Counter(crate::snapshot::Number::Int(n));
            assert_eq!((now, increase), (number(7), number(2)));
            drop((first, both, audience));
            // The streams have ended: the next one begins from nothing.
            let again = after(&hub, &hub.audience.join(), None).await;
            assert_eq!((again.number, again.interval.is_none()), (1, true));
            assert_eq!(taken.load(Relaxed), 3);
        });
        // Whoever reads beside the page finds everything.
        assert_eq!(registry.snapshot().get("jobs_total", &[]), Some(7.0));
    }

    #[test]
    fn a_stream_that_is_behind_gets_the_last_moment() {
        let (_registry, taken, hub) = hub();
        runtime().block_on(async {
            let audience = hub.audience.join();
            let next = |seen| after(&hub, &audience, seen);
            next(None).await;
            next(Some(1)).await;
            let (third, late) = (next(Some(2)).await, next(Some(1)).await);
            assert_eq!((third.number, late.number), (3, 3));
            assert_eq!(taken.load(Relaxed), 3);
        });
    }

    #[test]
    fn without_a_runtime_there_is_no_moment() {
        let (_, taken, hub) = hub();
        let audience = hub.audience.join();
        let mut waiting = std::pin::pin!(hub.next(audience, None, |_| ()));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let polled = waiting.as_mut().poll(&mut cx);
        assert!(matches!(polled, std::task::Poll::Ready(None)));
        assert_eq!(taken.load(Relaxed), 0);
    }

    /// Each stream that read nothing held a moment of its own: 173 MB for 60 of them.
    #[test]
    fn streams_that_read_nothing_hold_no_moment() {
        let (registry, _, hub) = hub();
        registry.counter("jobs_total", "").unwrap().inc();
        runtime().block_on(async {
            let (audience, mut moments) = (hub.audience.join(), Vec::new());
            for seen in [None, Some(1), Some(2)] {
                // The stream of this moment goes no further.
                let moment = after(&hub, &audience, seen).await;
                moments.push(Arc::downgrade(&moment));
            }
            let held: Vec<_> = moments.iter().filter_map(Weak::upgrade).collect();
            assert_eq!(held.iter().map(|m| m.number).collect::<Vec<_>>(), [3]);
            assert_eq!(hub.memory.moments.load(Relaxed), 2 * held[0].view.bytes());
            drop((held, audience));
        });
        assert_eq!(
            hub.memory.moments.load(Relaxed),
            0,
            "the last stream has gone"
        );
    }

    /// Frames of 64 streams were made at once, on the threads of the scrapes, and those of streams
    /// that had gone, too.
    #[test]
    fn one_frame_at_a_time_and_none_for_streams_that_have_gone() {
        let (_registry, taken, hub) = hub();
        let at_once = Arc::new(tokio::sync::Semaphore::new(1));
        let made = Arc::new(AtomicUsize::new(0));
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        threads
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap()
            .block_on(async {
                let audience = hub.audience.join();
                let stream = || {
                    let (at_once, made) = (Arc::clone(&at_once), Arc::clone(&made));
                    let frame = move |_: &Arc<Moment>| {
                        let _alone = at_once.try_acquire().expect("one at a time");
                        std::thread::yield_now();
                        made.fetch_add(1, Relaxed);
                    };
                    tokio::spawn(Arc::clone(&hub).next(Arc::clone(&audience), None, frame))
                };
                // No work begins before they have gone.
                let permit = hub.work.take().await.unwrap();
                let gone: Vec<_> = (0..100).map(|_| stream()).collect();
                let stay: Vec<_> = (0..10).map(|_| stream()).collect();
                for stream in gone {
                    stream.abort();
                    assert!(stream.await.unwrap_err().is_cancelled());
                }
                drop(permit);
                for stream in stay {
                    assert_eq!(stream.await.unwrap(), Some((1, ())));
                }
            });
        assert_eq!((taken.load(Relaxed), made.load(Relaxed)), (1, 10));
    }

    #[test]
    fn the_time_of_frames_puts_off_the_next_moment() {
        let (_registry, _, hub) = hub();
        runtime().block_on(async {
            let audience = hub.audience.join();
            let frame = |_: &Arc<Moment>| std::thread::sleep(Duration::from_millis(1));
            let next = Arc::clone(&hub).next(Arc::clone(&audience), None, frame);
            next.await.unwrap();
            let last = audience.last().unwrap();
            assert!(*lock(&last.cost) >= Duration::from_millis(1));
            *lock(&last.cost) += INTERVAL;
            assert!(last.next() - last.at >= INTERVAL * PAUSE);
        });
    }
}
