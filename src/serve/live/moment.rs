//! Moments: what all families hold at one time, and what changed within the second before. All
//! streams share them.
//!
//! The first stream that wants a moment takes it, and the others wait for that one. So there is no
//! task that runs while nobody listens. The hub itself only has a weak reference to the last moment:
//! the streams keep it alive, and with the last stream its memory is freed.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::snapshot::{Family, MergedView, Source, millis};

/// The time between two moments.
const INTERVAL: Duration = Duration::from_secs(1);

/// A moment that took long to take is followed by a pause of as many times that long. So the
/// snapshots of very large registries take at most a tenth of the time of one processor.
const PAUSE: u32 = 10;

/// Begins the work before a moment is taken. The moment waits for its end.
pub(in crate::serve) type Before = Arc<dyn Fn() -> JoinHandle<()> + Send + Sync>;

/// Takes the moments of some sources. All streams share one hub.
pub(super) struct Hub {
    sources: Vec<Arc<dyn Source>>,
    /// Runs before each moment, while no other one can be taken.
    before: Option<Before>,
    /// The last moment, while a stream has it. The thread that takes a moment holds the lock, so at
    /// most one is being taken, and collectors that hang occupy one thread.
    last: Arc<Mutex<Weak<Moment>>>,
}

/// What all families hold at one time.
pub(super) struct Moment {
    /// The number of this moment, from 1 on.
    pub(super) number: u64,
    /// The time at which it was taken.
    at: Instant,
    /// The time to take it.
    cost: Duration,
    /// The families.
    pub(super) view: MergedView,
    /// The seconds since the moment before, and what changed in each family. `None` if nobody
    /// listened then.
    pub(super) interval: Option<(f64, Vec<Family>)>,
}

impl Moment {
    fn take(sources: &[Arc<dyn Source>], before: Option<&Self>) -> Self {
        let at = Instant::now();
        let mut view = MergedView::default();
        let taken = view.take(sources, |error| {
            crate::error::warn_once(&format_args!("left out of the live page: {error}"));
        });
        if let Err(error) = taken {
            // The page shows nothing until the source is back.
            crate::error::warn_once(&format_args!("the live page is empty: {error}"));
        }
        let interval = before.map(|before| {
            let seconds = at.saturating_duration_since(before.at).as_secs_f64();
            (seconds, view.since(&before.view))
        });
        Self {
            number: before.map_or(0, |before| before.number) + 1,
            at,
            cost: at.elapsed(),
            view,
            interval,
        }
    }

    /// Returns the time at which the snapshots were taken, in milliseconds since the Unix epoch.
    pub(super) fn millis(&self) -> u64 {
        millis(self.view.taken())
    }

    /// Returns the time at which the next moment is due.
    fn next(&self) -> Instant {
        self.at + INTERVAL.max(self.cost * PAUSE)
    }
}

impl Hub {
    pub(super) fn new(sources: Vec<Arc<dyn Source>>, before: Option<Before>) -> Self {
        Self {
            sources,
            before,
            last: Arc::default(),
        }
    }

    /// Returns the moment after `seen`, or the last one if the stream has seen none and the next one is not
    /// due. Waits until it is due. Returns `None` if a snapshot panics, or if there is no runtime.
    pub(super) async fn after(self: Arc<Self>, seen: Option<&Arc<Moment>>) -> Option<Arc<Moment>> {
        let runtime = Handle::try_current().ok()?;
        if let Some(seen) = seen {
            tokio::time::sleep_until(seen.next().into()).await;
        }
        let mut last = Arc::clone(&self.last).lock_owned().await;
        let before = last.upgrade();
        if let Some(before) = &before {
            let is_good = match seen {
                Some(seen) => seen.number < before.number,
                None => Instant::now() < before.next(),
            };
            if is_good {
                return Some(Arc::clone(before));
            }
        }
        if let Some(work) = &self.before {
            // Work that panics is no reason to show nothing.
            let _ = work().await;
        }
        // The lock moves into the blocking work, which goes on if the client disconnects.
        let work = move || {
            let moment = Arc::new(Moment::take(&self.sources, before.as_deref()));
            *last = Arc::downgrade(&moment);
            moment
        };
        runtime.spawn_blocking(work).await.ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::Registry;
    use crate::snapshot::Snapshot;

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
        let source = Counted(registry.clone(), Arc::clone(&taken));
        (
            registry,
            taken,
            Arc::new(Hub::new(vec![Arc::new(source)], None)),
        )
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
            let next = |seen: Option<Arc<Moment>>| {
                let hub = Arc::clone(&hub);
                async move { hub.after(seen.as_ref()).await.unwrap() }
            };
            let first = next(None).await;
            assert!(first.interval.is_none());
            // Another stream that begins within the same second.
            assert_eq!(next(None).await.number, first.number);
            assert_eq!(taken.load(Relaxed), 1);
            jobs.add(2);
            let both = tokio::join!(next(Some(Arc::clone(&first))), next(Some(first)));
            assert_eq!((both.0.number, both.1.number), (2, 2));
            assert_eq!(taken.load(Relaxed), 2);
            let (seconds, families) = both.0.interval.as_ref().unwrap();
            assert!(*seconds >= INTERVAL.as_secs_f64(), "{seconds}");
            let increase = families[0].value(0);
            let now = both.0.view.family(0).value(0);
            let number = |n| crate::snapshot::Value::Counter(crate::snapshot::Number::Int(n));
            assert_eq!((now, increase), (number(7), number(2)));
            drop(both);
            // The streams have ended: the next one begins from nothing.
            let again = next(None).await;
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
            let first = Arc::clone(&hub).after(None).await.unwrap();
            let second = Arc::clone(&hub).after(Some(&first)).await.unwrap();
            let third = Arc::clone(&hub).after(Some(&second)).await.unwrap();
            let late = Arc::clone(&hub).after(Some(&first)).await.unwrap();
            assert_eq!((third.number, late.number), (3, 3));
            assert_eq!(taken.load(Relaxed), 3);
        });
    }

    #[test]
    fn without_a_runtime_there_is_no_moment() {
        let (_, taken, hub) = hub();
        let mut waiting = std::pin::pin!(hub.after(None));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let polled = waiting.as_mut().poll(&mut cx);
        assert!(matches!(polled, std::task::Poll::Ready(None)));
        assert_eq!(taken.load(Relaxed), 0);
    }
}
