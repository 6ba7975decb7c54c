//! A registry: its families and collectors, and the snapshots of them.

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

/// The families and collectors of a program, or of a part of it. A scrape reads one registry or
/// several.
///
/// Statics belong to the default registry, [`tallies::registry()`](registry). Libraries, tests and
/// programs that expose several pages create their own. A clone is the same registry. After a
/// registry is dropped, its metrics can still be updated, but no scrape exports them.
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
    /// Whether statics belong to this registry.
    is_default: bool,
    /// Not locked while a collector runs or is dropped.
    collectors: Mutex<Vec<Collector>>,
    settings: Mutex<Settings>,
}

#[derive(Clone, Copy, Debug)]
/// Settings and measurements of the registry itself.
struct Settings {
    /// Whether snapshots have the self-metrics.
    self_metrics: bool,
    /// Read and written by snapshots.
    last: LastScrape,
}

/// A collector that was added under a name.
struct Collector {
    name: String,
    collect: Arc<dyn Collect>,
    /// The number of snapshots in which it failed.
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
    /// Whether this thread runs a collector. A snapshot taken inside a collector runs no
    /// collectors.
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
}

/// Sets [`COLLECTING`] until it is dropped, also when a panic unwinds.
struct Collecting(());

impl Collecting {
    /// Returns `None` inside a collector.
    fn begin() -> Option<Self> {
        (!COLLECTING.replace(true)).then(|| Self(()))
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        COLLECTING.set(false);
    }
}

/// Runs code of the user and returns `None` if it panics. The destructor of the panic's payload is
/// user code as well, and may panic again.
fn contain<R>(f: impl FnOnce() -> R) -> Option<R> {
    // Unwind safe: after a panic, the callers drop everything that the closure had access to.
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

/// Runs one collector. Returns its error as text, because formatting and dropping the error is user
/// code as well.
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

/// Returns the default registry, to which statics belong.
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
    /// Creates an empty registry without self-metrics.
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

    /// Puts `prefix` before every name of a family. A prefix that ends in an ASCII letter or digit
    /// gets an underscore, so `app` means `app_`. Families of collectors get no prefix.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.prefix("app")?;
    /// registry.counter("jobs_total", "Jobs done.")?.inc();
    /// assert_eq!(registry.snapshot().get("app_jobs_total", &[]), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An invalid prefix; a prefix with a colon if there are state sets; a prefix with which a
    /// family would expose samples of a [`gauge_fn`](Self::gauge_fn) or
    /// [`counter_fn`](Self::counter_fn); a registry that was scraped before.
    pub fn prefix(&self, prefix: &str) -> Result<(), Error> {
        self.enlist();
        self.families().set_prefix(prefix)
    }

    /// Gives every series a constant label, for a value that is known only at start-up, such as the
    /// name of the host. Series of collectors do not get it.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.constant("host", "alpha")?;
    /// registry.counter("jobs_total", "Jobs done.")?.inc();
    /// assert_eq!(registry.snapshot().get("jobs_total", &[("host", "alpha")]), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A label name that is invalid, reserved, or a label of one of the families; a registry that
    /// was scraped before.
    pub fn constant(&self, name: &str, value: &str) -> Result<(), Error> {
        self.families().set_constant(name, value)
    }

    /// Sets whether snapshots have metrics about the engine, under names that begin with
    /// `tallies_`. The default is on in the default registry and off in others.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.self_metrics(true);
    /// assert_eq!(registry.snapshot().get("tallies_families", &[]), Some(0.0));
    /// ```
    pub fn self_metrics(&self, on: bool) {
        lock(&self.0.settings).self_metrics = on;
    }

    /// Registers a gauge whose value `value` computes at scrape time.
    ///
    /// # Errors
    ///
    /// An invalid name; a name that is taken; a name whose samples would have the names of another
    /// family's.
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

    /// Registers a counter whose total is kept elsewhere. `total` reads it at scrape time. It must
    /// not go back.
    ///
    /// # Errors
    ///
    /// As for [`gauge_fn`](Self::gauge_fn).
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// static SENT: AtomicU64 = AtomicU64::new(12);
    /// let registry = tallies::Registry::new();
    /// let sent = || SENT.load(Ordering::Relaxed) as f64;
    /// registry.counter_fn("sent_total", "Messages sent.", sent)?;
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

    /// Adds a collector, which runs at scrape time. Error messages and [`remove`](Self::remove)
    /// call it by `name`.
    ///
    /// If a family that it writes would expose samples of another family, that family is left out
    /// and counts as a failure of the collector.
    ///
    /// ```
    /// use tallies::{Collected, Registry};
    ///
    /// let registry = Registry::new();
    /// registry.collect("disks", |out: &mut Collected| {
    ///     for (disk, free) in [("sda", 3e9), ("sdb", 7e9)] {
    ///         out.gauge("disk_free_bytes", "Free space.", &[("disk", disk)], free)?;
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(registry.snapshot().get("disk_free_bytes", &[("disk", "sdb")]), Some(7e9));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A name that a family or another collector of this registry has.
    pub fn collect(&self, name: &str, collect: impl Collect + 'static) -> Result<(), Error> {
        self.add(name, None, Arc::new(collect))
    }

    /// Adds a collector. `kind` is the kind of a collector that writes one family, under its own
    /// name.
    #[track_caller]
    fn add(&self, name: &str, kind: Option<Kind>, collect: Arc<dyn Collect>) -> Result<(), Error> {
        // Unused statics have their names, too, so they are registered first.
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

    /// Removes a family or a collector. Its name is free again. Handles to the family can still be
    /// updated, but no scrape exports it.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = registry.counter("jobs_total", "Jobs done.")?;
    /// registry.remove("jobs_total")?;
    /// jobs.inc();
    /// assert_eq!(registry.snapshot().get("jobs_total", &[]), None);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A name that no family and no collector of this registry has.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let mut collectors = lock(&self.0.collectors);
        let at = collectors
            .iter()
            .position(|collector| collector.name == name);
        let removed = at.map(|at| collectors.remove(at));
        if removed.is_some() {
            self.families().release(name);
        }
        // Dropped without the lock, because a collector's destructor may call the registry.
        drop(collectors);
        match removed {
            Some(_) => Ok(()),
            None => self.families().remove(name),
        }
    }

    /// Removes all families and collectors.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?;
    /// registry.clear();
    /// assert!(registry.names().is_empty());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn clear(&self) {
        let mut collectors = lock(&self.0.collectors);
        // Under the same lock, so that a collector added concurrently keeps its reserved name.
        self.families().clear();
        let removed = std::mem::take(&mut *collectors);
        // As in `remove`.
        drop(collectors);
        drop(removed);
    }

    /// Sets every series to zero, for a child process after `fork`. The child has a copy of
    /// everything that its parent counted.
    ///
    /// Call it while the child has one thread. Updates of other threads during the call may or may
    /// not be dropped. Three limits:
    ///
    /// - The memory of streams of the parent's threads stays allocated.
    /// - If other threads of the parent were alive, the slots of series that are retired later are
    ///   not used again.
    /// - `fork` in a program of several threads can leave locks taken forever, here as everywhere.
    ///   Fork before other threads start, or while none of them uses metrics.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = registry.counter("jobs_total", "Jobs done.")?;
    /// jobs.add(3);
    /// // In the child:
    /// registry.start_over();
    /// jobs.inc();
    /// assert_eq!(jobs.total(), 1);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn start_over(&self) {
        self.enlist();
        self.families().start_over(&observe::engine().pass());
    }

    /// Returns the names of all families and collectors, sorted.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?;
    /// registry.gauge_fn("queue_length", "Jobs waiting.", || 4.0)?;
    /// assert_eq!(registry.names(), ["jobs_total", "queue_length"]);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.enlist();
        let mut names = self.families().names();
        names.extend(lock(&self.0.collectors).iter().map(|c| c.name.clone()));
        names.sort_unstable();
        names
    }

    /// Returns whether the registry has a family or a collector of this name.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?;
    /// assert!(registry.contains("jobs_total"));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.enlist();
        self.families().contains(name) || lock(&self.0.collectors).iter().any(|c| c.name == name)
    }

    /// Registers the statics that the linker has listed, if this is the default registry.
    fn enlist(&self) {
        if self.0.is_default {
            enlist_all();
        }
    }

    /// Takes a snapshot: the merged value of every series.
    ///
    /// Runs the collectors, then adds up the cells of all threads. Snapshots wait for each other;
    /// updates never wait. The crate's front page says what a snapshot guarantees.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?.add(3);
    /// assert_eq!(registry.snapshot().get("jobs_total", &[]), Some(3.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.snapshot_into(&mut snapshot);
        snapshot
    }

    /// Takes a snapshot into an earlier one and reuses its memory. Label texts that it has are not
    /// copied again.
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
                // These names are valid.
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
            // A collector's families are adjacent, so a snapshot counts one failure for each
            // collector.
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

    /// Runs every collector. If one fails or panics, only its own families are missing.
    fn run_collectors(&self) -> Vec<(Option<String>, Family)> {
        let Some(_collecting) = Collecting::begin() else {
            return Vec::new();
        };
        // Not under the lock, because a collector may register something.
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
            // If it was removed in the meantime, this is the last reference, and its destructor is
            // user code.
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

    /// Counts a failure and logs the first one.
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

/// Inserts a family in the order of the names, or returns why its name conflicts.
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
