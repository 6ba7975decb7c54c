//! Testing a program's own metrics: what this thread added since, exact while other tests run.
//!
//! Tests of one binary run side by side and share its statics, so the totals on a page are those of
//! all tests. But a cell belongs to one thread: [`here`] remembers what the calling thread has
//! counted, and [`Here::since`] subtracts it. Nothing is reset, no other test is seen, and handles
//! that were made before count as well.
//!
//! ```
//! use tallies::Counter;
//!
//! /// Files accepted.
//! #[tallies::metric]
//! static UPLOADS: Counter = Counter::new("testing_uploads_total");
//!
//! fn upload() {
//!     UPLOADS.inc();
//! }
//!
//! let here = tallies::testing::here();
//! upload();
//! assert_eq!(here.since().get("testing_uploads_total", &[]), Some(1.0));
//! ```
//!
//! Work that the test hands to other threads is seen if these [enter](Handle::enter) the test's
//! [`Handle`]. A future does so with [`Handle::scope`], whichever thread polls it.
//!
//! # What is seen
//!
//! Counters, up-down counters, histograms and summaries (count and sum). A [`Gauge`](crate::Gauge)
//! and a [`StateSet`](crate::StateSet) have one value that all threads share, so tests of those
//! need a [`Registry`] of their own, and so do tests of callbacks.
//!
//! From the first call of [`here`] on, every series of the process takes a slot at its next update:
//! memory that a test can spend. Beyond 65 536 retired series that wait for a sleeping thread there
//! are no slots, and updates of new series are not seen.

// Functions are `#[inline]`, so that a program that does not call them does not compile them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::encode;
use crate::observe;
use crate::registry::{Registry, registry};
use crate::snapshot::{Snapshot, labels};

thread_local! {
    /// The recorders that see the updates of this thread now.
    static ACTIVE: RefCell<Vec<Arc<Recorder>>> = const { RefCell::new(Vec::new()) };
}

/// Begins to record what the calling thread counts in the default registry.
///
/// ```
/// let sent = tallies::Counter::builder("testing_sent_total", "Messages sent.").register(tallies::registry())?;
/// let here = tallies::testing::here();
/// sent.add(2);
/// assert_eq!(here.since().get("testing_sent_total", &[]), Some(2.0));
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use]
#[inline]
pub fn here() -> Here {
    here_in(registry())
}

/// Begins to record what the calling thread counts in a registry.
///
/// ```
/// let registry = tallies::Registry::new();
/// let sent = registry.counter("sent_total", "Messages sent.")?;
/// let here = tallies::testing::here_in(&registry);
/// sent.inc();
/// assert_eq!(here.since().text(), "sent_total 1\n");
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use]
#[inline]
pub fn here_in(registry: &Registry) -> Here {
    observe::engine().promote_at_first_update();
    let (registry, parts) = (registry.clone(), Mutex::default());
    let handle = Handle(Arc::new(Recorder { registry, parts }));
    let entered = handle.enter();
    Here { handle, entered }
}

/// Records what the calling thread counts. [`here`] returns one.
#[derive(Debug)]
pub struct Here {
    handle: Handle,
    entered: Entered,
}

impl Here {
    /// Returns what was counted since [`here`], or since the last [`restart`](Self::restart): by
    /// this thread, and by threads and futures that entered the [`handle`](Self::handle) and left
    /// it again.
    #[must_use]
    #[inline]
    pub fn since(&self) -> Changes {
        let mut parts = self.handle.0.parts().clone();
        parts.extend(self.entered.part());
        let registry = self.handle.0.registry.clone();
        Changes { parts, registry }
    }

    /// Begins again.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let sent = registry.counter("sent_total", "Messages sent.")?;
    /// let mut here = tallies::testing::here_in(&registry);
    /// sent.inc();
    /// here.restart();
    /// assert_eq!(here.since().get("sent_total", &[]), Some(0.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[inline]
    pub fn restart(&mut self) {
        self.entered.restart();
        self.handle.0.parts().clear();
    }

    /// Returns a handle for threads and futures that work for this test.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let sent = registry.counter("sent_total", "Messages sent.")?;
    /// let here = tallies::testing::here_in(&registry);
    /// let (handle, worker) = (here.handle(), sent.clone());
    /// std::thread::spawn(move || {
    ///     let _entered = handle.enter();
    ///     worker.inc();
    /// })
    /// .join()
    /// .unwrap();
    /// sent.inc();
    /// assert_eq!(here.since().get("sent_total", &[]), Some(2.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// Lets other threads and futures take part in a test: see [`Here::handle`].
#[derive(Clone, Debug)]
pub struct Handle(Arc<Recorder>);

struct Recorder {
    registry: Registry,
    /// Snapshots before and after, of the threads and futures that have left.
    parts: Mutex<Vec<(Snapshot, Snapshot)>>,
}

impl fmt::Debug for Recorder {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    #[inline]
    fn parts(&self) -> std::sync::MutexGuard<'_, Vec<(Snapshot, Snapshot)>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// Records what the calling thread counts until the guard is dropped. On a thread that has
    /// entered already, this changes nothing.
    #[inline]
    pub fn enter(&self) -> Entered {
        let is_new = ACTIVE.with_borrow_mut(|active| {
            let is_new = !active.iter().any(|other| Arc::ptr_eq(other, &self.0));
            if is_new {
                active.push(Arc::clone(&self.0));
            }
            is_new
        });
        // A thread takes over cells that an ended one left, with its counts: before the first look
        // at them.
        observe::warm();
        Entered {
            before: is_new.then(|| self.0.registry.snapshot_of_this_thread()),
            recorder: Arc::clone(&self.0),
            _stays: PhantomData,
        }
    }

    /// Records what a future counts, on whichever threads it is polled: for `tokio::spawn` and its
    /// like.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().build()?.block_on(async {
    /// let registry = tallies::Registry::new();
    /// let sent = registry.counter("sent_total", "Messages sent.").unwrap();
    /// let here = tallies::testing::here_in(&registry);
    /// let worker = sent.clone();
    /// tokio::spawn(here.handle().scope(async move { worker.inc() })).await.unwrap();
    /// assert_eq!(here.since().get("sent_total", &[]), Some(1.0));
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn scope<F: Future>(&self, future: F) -> Scope<F> {
        let (handle, future) = (self.clone(), Box::pin(future));
        Scope { handle, future }
    }
}

/// Records the calling thread's updates until it is dropped: see [`Handle::enter`].
#[derive(Debug)]
#[must_use = "it records until it is dropped: `let _entered = ..`, not `let _ = ..`"]
pub struct Entered {
    /// `None` if the thread had entered before.
    before: Option<Snapshot>,
    recorder: Arc<Recorder>,
    /// It belongs to the thread that made it.
    _stays: PhantomData<*const ()>,
}

impl Entered {
    #[inline]
    fn part(&self) -> Option<(Snapshot, Snapshot)> {
        let before = self.before.as_ref()?.clone();
        Some((before, self.recorder.registry.snapshot_of_this_thread()))
    }

    #[inline]
    fn restart(&mut self) {
        if self.before.is_some() {
            self.before = Some(self.recorder.registry.snapshot_of_this_thread());
        }
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        let Some(part) = self.part() else { return };
        self.recorder.parts().push(part);
        ACTIVE.with_borrow_mut(|active| active.retain(|other| !Arc::ptr_eq(other, &self.recorder)));
    }
}

/// A future whose updates a test sees: see [`Handle::scope`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Scope<F> {
    handle: Handle,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = self.handle.clone().enter();
        self.future.as_mut().poll(context)
    }
}

/// The updates between two moments: see [`Here::since`].
#[derive(Clone)]
pub struct Changes {
    /// Before and after, for each thread that took part.
    parts: Vec<(Snapshot, Snapshot)>,
    /// Tells what is declared, if an assertion fails.
    registry: Registry,
}

/// By how much a sample has grown.
#[derive(Clone, Copy, Default)]
struct Grown {
    by: f64,
    /// Whether it is a bucket or the sum of a histogram or summary.
    is_detail: bool,
}

impl Changes {
    /// Returns by how much a sample has grown: `name` and `labels` as for [`Snapshot::get`]. `None`
    /// if there is no such sample.
    #[must_use]
    #[inline]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let grown = self.parts.iter().filter_map(|(before, after)| {
            let now = after.get(name, labels)?;
            Some(now - before.get(name, labels).unwrap_or(0.0))
        });
        grown.fold(None, |sum, grown| Some(sum.unwrap_or(0.0) + grown))
    }

    /// Returns the samples that have changed, as sorted lines of the text format with what was
    /// added: for golden files.
    #[must_use]
    #[inline]
    pub fn text(&self) -> String {
        self.to_string()
    }

    /// Checks that a sample has grown by `expected`: `name` and `labels` as for [`Snapshot::get`].
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let sent = registry.counter("mails_sent_total", "Messages sent.")?;
    /// let here = tallies::testing::here_in(&registry);
    /// sent.inc();
    /// here.since().assert("mails_sent_total", &[], 1.0);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If it has not. The message says by how much it has grown instead, or why there is no such
    /// sample: ``no family exports it; `mails_sent_total` is similar``.
    #[track_caller]
    #[inline]
    pub fn assert(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        let why = match self.get(name, labels) {
            Some(grown) if grown == expected => return,
            Some(grown) => format!("it has grown by {grown}"),
            None => match self.why_absent(name, labels) {
                // Nobody has used the label set so far.
                None if expected == 0.0 => return,
                None => format!("it has not; this has changed:\n{self}"),
                Some(why) => why,
            },
        };
        let labels = labels::text(labels);
        let labels = match &*labels {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        panic!("`{name}{labels}` should have grown by {expected}: {why}");
    }

    /// Returns why there is no such sample, if it cannot be one of a thread.
    #[inline]
    fn why_absent(&self, name: &str, labels: &[(&str, &str)]) -> Option<String> {
        let catalogue = self.registry.catalogue();
        let family = match catalogue.exporter_of(name, labels) {
            Ok(family) => family,
            Err(why) => return Some(why),
        };
        let mut snapshots = self.parts.iter().map(|(_, after)| after);
        if snapshots.any(|after| after.family(&family.name).is_some()) {
            return None;
        }
        let what = match family.collector {
            Some(_) => "a collector writes it".to_owned(),
            None => format!("it is of kind {}", family.kind),
        };
        Some(format!(
            "{what}, with one value for all threads; test it with a registry of its own"
        ))
    }

    /// Checks that exactly these samples have changed, and by these amounts.
    ///
    /// Of a histogram or summary, the `_count` is enough. Its buckets are compared if one of them
    /// is listed, and so is its `_sum`.
    ///
    /// ```
    /// use tallies::{Counter, Registry};
    ///
    /// let registry = Registry::new();
    /// let sent = Counter::builder("sent_total", "Messages sent.").labels(["peer"]).register(&registry)?;
    /// let here = tallies::testing::here_in(&registry);
    /// sent.with(["a"]).add(2);
    /// here.since().assert_only(&[("sent_total{peer=\"a\"}", 2.0)]);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If they differ. The message has a line for each difference.
    #[track_caller]
    #[inline]
    pub fn assert_only(&self, expected: &[(&str, f64)]) {
        let found = self.samples();
        let expected = expected.iter().map(|(name, n)| ((*name).to_owned(), *n));
        let expected: BTreeMap<_, _> = expected.collect();
        let name = |sample: &str| sample.split('{').next().unwrap_or_default().to_owned();
        let names: BTreeSet<_> = expected.keys().map(|sample| name(sample)).collect();
        let mut wrong = String::new();
        for (sample, Grown { by, is_detail }) in &found {
            match expected.get(sample) {
                Some(wanted) if wanted == by => {}
                Some(wanted) => wrong += &format!("  {sample}: added {by}, expected {wanted}\n"),
                None if *is_detail && !names.contains(&name(sample)) => {}
                None => wrong += &format!("  {sample}: added {by}, expected no change\n"),
            }
        }
        for (sample, wanted) in expected {
            if found.contains_key(&sample) {
                continue;
            }
            let given = sample.split_once('{').map_or("", |(_, labels)| labels);
            let given: Vec<_> = labels::pairs(given.trim_end_matches('}')).collect();
            let given = given.iter().map(|(label, value)| (*label, &**value));
            let given: Vec<_> = given.collect();
            match self.why_absent(&name(&sample), &given) {
                None if wanted == 0.0 => {}
                None => wrong += &format!("  {sample}: not changed, expected {wanted}\n"),
                Some(why) => wrong += &format!("  {sample}: expected {wanted}, but {why}\n"),
            }
        }
        assert!(
            wrong.is_empty(),
            "samples differ from what was expected:\n{wrong}"
        );
    }

    /// Returns every sample that has changed.
    #[inline]
    fn samples(&self) -> BTreeMap<String, Grown> {
        let mut grown: BTreeMap<String, Grown> = BTreeMap::new();
        for (before, after) in &self.parts {
            for (snapshot, sign) in [(after, 1.0), (before, -1.0)] {
                let page = encode::text(snapshot);
                // The names of the samples of a histogram or summary without its details.
                let mut count = None;
                for line in page.lines() {
                    if let Some(of) = line.strip_prefix("# TYPE ") {
                        let name = of.strip_suffix(" histogram");
                        let name = name.or_else(|| of.strip_suffix(" summary"));
                        count = name.map(|name| format!("{name}_count"));
                    }
                    // Quantiles do not add up.
                    let is_sample = !line.starts_with('#') && !line.contains("quantile=\"");
                    let sample = line.rsplit_once(' ').filter(|_| is_sample);
                    let Some((sample, Ok(value))) =
                        sample.map(|(sample, value)| (sample, value.parse::<f64>()))
                    else {
                        continue;
                    };
                    let entry = grown.entry(sample.to_owned()).or_default();
                    entry.by += sign * value;
                    entry.is_detail = count
                        .as_ref()
                        .is_some_and(|count| !sample.starts_with(&**count));
                }
            }
        }
        grown.retain(|_, grown| grown.by != 0.0);
        grown
    }
}

impl fmt::Debug for Changes {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grown = self.samples().into_iter();
        f.debug_map()
            .entries(grown.map(|(sample, grown)| (sample, grown.by)))
            .finish()
    }
}

impl fmt::Display for Changes {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut changed = self.samples().into_iter();
        changed.try_for_each(|(sample, grown)| writeln!(f, "{sample} {}", grown.by))
    }
}
