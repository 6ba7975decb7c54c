//! A registry: a list of families and collectors, and the pass that turns them into a snapshot.

mod collected;
mod families;
mod listed;
mod self_metrics;
#[cfg(all(test, not(miri)))]
mod tests;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crate::error::{Error, warn};
use crate::observe;
use crate::snapshot::{Family, Kind, Snapshot, Source, clashing};

pub use collected::{Collect, Collected};
#[cfg(feature = "link-time")]
pub use listed::LISTED;
pub use listed::Listed;

use families::Families;
#[cfg(feature = "facade")]
pub(crate) use families::REFUSED;
#[cfg(test)]
pub(crate) use families::meta;
use listed::enlist_all;
use self_metrics::LastScrape;

/// The families of a program, or of a part of it: what a scrape sees.
///
/// Statics belong to the default one, [`tallies::registry()`](registry). Own ones are for libraries, tests and programs
/// that expose several pages. Cloning shares. A registry that is dropped leaves its metrics usable, only nobody sees
/// them any more.
///
/// ```
/// use tallies::Registry;
///
/// let registry = Registry::new();
/// registry.constant("host", "alpha")?;
/// let uploads = registry.counter("file_uploads_total", "Files accepted.")?;
/// uploads.inc();
/// let page = tallies::encode::text(&registry.snapshot());
/// assert!(page.ends_with("file_uploads_total{host=\"alpha\"} 1\n"));
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Registry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    families: Families,
    /// Whether statics belong to it.
    is_default: bool,
    collectors: Mutex<Vec<Collector>>,
    settings: Mutex<Settings>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    self_metrics: bool,
    last: LastScrape,
}

struct Collector {
    name: String,
    collect: Arc<dyn Collect>,
    errors: u64,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector")
            .field("name", &self.name)
            .field("errors", &self.errors)
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// Whether this thread is running a collector: a snapshot taken inside one runs none.
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
}

/// Sets [`COLLECTING`] until it is dropped, in whatever way this thread leaves the collectors.
struct Collecting(());

impl Collecting {
    /// `None` inside a collector.
    fn begin() -> Option<Self> {
        (!COLLECTING.replace(true)).then(|| Self(()))
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        COLLECTING.set(false);
    }
}

/// Runs code of the program's; `None` where it panics. The payload of a panic may panic in turn when it is dropped.
fn contain<R>(f: impl FnOnce() -> R) -> Option<R> {
    // Unwind safe: the callers drop what a panic has left half done.
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => Some(result),
        Err(payload) => {
            if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(another);
            }
            None
        }
    }
}

/// Runs one collector: the error as text, since showing it and dropping it is the program's code as well.
fn run(collector: &dyn Collect) -> Result<Vec<Family>, String> {
    let mut out = Collected::default();
    let result = contain(|| {
        collector
            .collect(&mut out)
            .map_err(|error| error.to_string())
    });
    match result {
        Some(Ok(())) => Ok(out.families),
        Some(Err(why)) => Err(why),
        None => Err("panicked".to_owned()),
    }
}

/// The default registry: the one that statics belong to.
///
/// ```
/// tallies::registry().constant("host", "alpha")?;
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use]
pub fn registry() -> &'static Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::with_settings(true));
    &REGISTRY
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty registry of its own, without self-metrics.
    #[must_use]
    pub fn new() -> Self {
        Self::with_settings(false)
    }

    fn with_settings(is_default: bool) -> Self {
        Self(Arc::new(Shared {
            families: Families::default(),
            is_default,
            settings: Mutex::new(Settings {
                self_metrics: is_default,
                last: LastScrape::default(),
            }),
            collectors: Mutex::default(),
        }))
    }

    pub(crate) fn families(&self) -> &Families {
        &self.0.families
    }

    /// Puts `prefix` before every name; one that ends in a letter or a digit gets an underscore, so `app` is `app_`.
    ///
    /// # Errors
    ///
    /// A prefix outside the grammar of names, one with a colon where there are state sets, one that makes a family's
    /// samples those of a function, and a registry that was scraped already.
    pub fn prefix(&self, prefix: &str) -> Result<(), Error> {
        self.enlist();
        self.families().set_prefix(prefix)
    }

    /// Gives every series a label: what is known at start-up only, such as the host's name. Not those of collectors.
    ///
    /// # Errors
    ///
    /// A label name outside the grammar, reserved, or used by one of the families, and a registry that was scraped
    /// already.
    pub fn constant(&self, name: &str, value: &str) -> Result<(), Error> {
        self.families().set_constant(name, value)
    }

    /// Whether snapshots carry what the engine says of itself, under names that begin with `tallies_`. On in the default
    /// registry, off in others.
    pub fn self_metrics(&self, on: bool) {
        lock(&self.0.settings).self_metrics = on;
    }

    /// A gauge whose value is asked for at scrape time.
    ///
    /// # Errors
    ///
    /// A name outside the grammar, one that is taken, or one whose samples would be another family's.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.gauge_fn("queue_length", "Jobs waiting.", || 4.0)?;
    /// assert_eq!(registry.snapshot().get("queue_length", &[]), Some(4.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[track_caller]
    pub fn gauge_fn(
        &self,
        name: &str,
        help: &str,
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), Error> {
        Collected::default().gauge(name, help, &[], 0.0)?;
        let (name, help) = (name.to_owned(), help.to_owned());
        let collect = {
            let name = name.clone();
            move |out: &mut Collected| Ok(out.gauge(&name, &help, &[], value())?)
        };
        self.add(&name, Some(Kind::Gauge), Arc::new(collect))
    }

    /// A counter that mirrors a total kept elsewhere, asked for at scrape time; it must only grow.
    ///
    /// # Errors
    ///
    /// As [`gauge_fn`](Self::gauge_fn).
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// static SENT: AtomicU64 = AtomicU64::new(12);
    /// let registry = tallies::Registry::new();
    /// registry.counter_fn("sent_total", "Messages sent.", || SENT.load(Ordering::Relaxed) as f64)?;
    /// assert_eq!(registry.snapshot().get("sent_total", &[]), Some(12.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[track_caller]
    pub fn counter_fn(
        &self,
        name: &str,
        help: &str,
        total: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), Error> {
        Collected::default().counter(name, help, &[], 0.0)?;
        let (name, help) = (name.to_owned(), help.to_owned());
        let collect = {
            let name = name.clone();
            move |out: &mut Collected| Ok(out.counter(&name, &help, &[], total())?)
        };
        self.add(&name, Some(Kind::Counter), Arc::new(collect))
    }

    /// Adds what is computed at scrape time; `name` is for error messages and for [`remove`](Self::remove).
    ///
    /// A family that it writes is left out, and counted as an error of it, where a sample would be another family's.
    ///
    /// # Errors
    ///
    /// A name that a family or another collector here has.
    pub fn collect(&self, name: &str, collect: impl Collect + 'static) -> Result<(), Error> {
        self.add(name, None, Arc::new(collect))
    }

    /// Adds a collector; of one that writes a family of its own name the kind is known.
    #[track_caller]
    fn add(&self, name: &str, kind: Option<Kind>, collect: Arc<dyn Collect>) -> Result<(), Error> {
        // Statics have their names whether or not they were used.
        self.enlist();
        let mut collectors = lock(&self.0.collectors);
        if self.families().contains(name) || collectors.iter().any(|other| other.name == name) {
            return Err(Error::collect(name, "is there already"));
        }
        if let Some(kind) = kind {
            self.families().reserve(name, kind, Location::caller())?;
        }
        collectors.push(Collector {
            name: name.to_owned(),
            collect,
            errors: 0,
        });
        Ok(())
    }

    /// Takes a family or a collector out. Handles to the family go on counting, but nobody sees it any more; the name is
    /// free again.
    ///
    /// # Errors
    ///
    /// A name that is not there.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let mut collectors = lock(&self.0.collectors);
        let at = collectors
            .iter()
            .position(|collector| collector.name == name);
        let removed = at.map(|at| collectors.remove(at));
        if removed.is_some() {
            self.families().release(name);
        }
        // Dropped without the lock: a collector's own end may come back here.
        drop(collectors);
        match removed {
            Some(_) => Ok(()),
            None => self.families().remove(name),
        }
    }

    /// Takes everything out.
    pub fn clear(&self) {
        let mut collectors = lock(&self.0.collectors);
        // At once: what somebody adds meanwhile keeps its name.
        self.families().clear();
        let removed = std::mem::take(&mut *collectors);
        // As in `remove`.
        drop(collectors);
        drop(removed);
    }

    /// Every series at zero, for a child after `fork`, which has a copy of all that its parent counted.
    ///
    /// To be called while the child has one thread. What other threads count meanwhile may or may not be forgotten.
    /// Memory of streams that the parent's threads had stays taken, slots of series that end are not used again where such
    /// threads were alive, and `fork` in a program of several threads may leave
    /// locks taken for ever, here as everywhere: fork first, or while no other thread touches metrics.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = registry.counter("jobs_total", "Jobs done.")?;
    /// jobs.add(3);
    /// // In the child:
    /// registry.start_over();
    /// jobs.inc();
    /// assert_eq!(jobs.get(), 1);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn start_over(&self) {
        self.enlist();
        self.families().start_over(&observe::engine().pass());
    }

    /// The names of all families and collectors, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.enlist();
        let mut names = self.families().names();
        names.extend(lock(&self.0.collectors).iter().map(|c| c.name.clone()));
        names.sort_unstable();
        names
    }

    /// Whether a family or a collector of this name is here.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.enlist();
        self.families().contains(name) || lock(&self.0.collectors).iter().any(|c| c.name == name)
    }

    fn enlist(&self) {
        if self.0.is_default {
            enlist_all();
        }
    }

    /// Every family's merged value now. What it promises is on the crate's front page.
    ///
    /// Runs the collectors, then adds up the cells of every thread; snapshots wait for each other, updates for none.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.snapshot_into(&mut snapshot);
        snapshot
    }

    /// As [`snapshot`](Self::snapshot), into one that was taken before: its memory is used again, and label texts that it
    /// has already are not copied anew.
    ///
    /// ```
    /// let mut snapshot = tallies::Snapshot::default();
    /// for _ in 0..3 {
    ///     tallies::registry().snapshot_into(&mut snapshot);
    /// }
    /// ```
    pub fn snapshot_into(&self, snapshot: &mut Snapshot) {
        self.enlist();
        let start = Instant::now();
        let collected = self.run_collectors();
        let mut settings = *lock(&self.0.settings);
        let mut selves = Collected::default();
        {
            let mut pass = observe::engine().pass();
            pass.take_idle();
            snapshot.taken = SystemTime::now();
            self.families().write(&mut pass, snapshot);
            if settings.self_metrics {
                // These names are ours and well-formed.
                let _ = self_metrics::collect(
                    self.families(),
                    &pass,
                    settings.last,
                    snapshot,
                    &mut selves,
                );
            }
        }
        let mut failed = None;
        for (name, family) in collected
            .into_iter()
            .chain(selves.families.into_iter().map(|family| (None, family)))
        {
            // A collector's families stand together: one failure of it in a scrape.
            if let Err(why) = insert(snapshot, family)
                && let Some(name) = name
                && failed.as_ref() != Some(&name)
            {
                self.failed(&name, &why);
                failed = Some(name);
            }
        }
        settings.last = LastScrape {
            seconds: start.elapsed().as_secs_f64(),
            bytes: snapshot.bytes(),
        };
        lock(&self.0.settings).last = settings.last;
    }

    /// Runs every collector; one that fails or panics costs its own families.
    fn run_collectors(&self) -> Vec<(Option<String>, Family)> {
        let Some(_collecting) = Collecting::begin() else {
            return Vec::new();
        };
        // Not under the lock: a collector may register something.
        let collectors: Vec<_> = lock(&self.0.collectors)
            .iter()
            .map(|collector| (collector.name.clone(), Arc::clone(&collector.collect)))
            .collect();
        let mut families = Vec::new();
        for (name, collector) in collectors {
            match run(&*collector) {
                Ok(written) => {
                    families.extend(written.into_iter().map(|f| (Some(name.clone()), f)));
                }
                Err(why) => self.failed(&name, &why),
            }
            // It may have been removed meanwhile: then this is its end, which is the program's code.
            contain(|| drop(collector));
        }
        let mut errors = Collected::default();
        for collector in lock(&self.0.collectors).iter().filter(|c| c.errors > 0) {
            let _ = errors.counter(
                "tallies_collect_errors_total",
                "Scrapes that miss a collector's families, as it failed.",
                &[("collector", &collector.name)],
                collector.errors as f64,
            );
        }
        families.extend(errors.families.into_iter().map(|family| (None, family)));
        families
    }

    /// Counts a failure; the first one is said.
    fn failed(&self, name: &str, why: &str) {
        let mut collectors = lock(&self.0.collectors);
        if let Some(collector) = collectors.iter_mut().find(|c| c.name == name) {
            collector.errors += 1;
            if collector.errors == 1 {
                warn(&Error::collect(name, why));
            }
        }
    }
}

/// Puts a family in its place, or says why not.
fn insert(snapshot: &mut Snapshot, family: Family) -> Result<(), String> {
    let families = &mut snapshot.families;
    let name = family.name();
    if let Some(other) = clashing(families, &family) {
        let other = other.name();
        return Err(format!(
            "writes `{name}`, whose samples are those of `{other}`"
        ));
    }
    let at = families.partition_point(|other| other.name() < name);
    families.insert(at, family);
    Ok(())
}

impl Source for Registry {
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        self.snapshot_into(snapshot);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
