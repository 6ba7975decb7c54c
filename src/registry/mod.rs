//! A registry: its families and collectors, and the snapshots of them.

mod collected;
mod collectors;
mod families;
mod insertion;
mod listed;
#[cfg(mapped)]
pub(crate) mod published;
pub(crate) mod samples;
mod self_metrics;
#[cfg(all(test, not(miri)))]
mod tests;
mod view;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Instant;

use crate::error::Error;
use crate::family::lint;
use crate::in_both::{collect::Collect, debug};
use crate::observe;
use crate::snapshot::{
    Cardinality, Catalogue, Family, FamilyCardinality, Kind, Snapshot, Source, Text,
};
use crate::sync::lock;

pub use collected::Collected;
pub use families::{AddedViews, Description};
#[cfg(feature = "link-time")]
pub use listed::LISTED;
pub use listed::Listed;
pub use view::View;

use collectors::{Collector, LeftOut, Written};
use families::RegistryNames;
#[cfg(test)]
pub(crate) use families::meta;
use insertion::Insertion;
use listed::enlist_all;
pub(crate) use self_metrics::is_self_metric;

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
/// registry.add_constant("host", "alpha")?;
/// let uploads = registry.counter("file_uploads_total", "Files accepted.")?;
/// uploads.inc();
/// let page = tallies::encode::text(&registry.snapshot());
/// assert!(page.ends_with("file_uploads_total{host=\"alpha\"} 1\n"));
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone)]
pub struct Registry(Arc<RegistryState>);

/// Values by the names of families.
type Attached = BTreeMap<String, Box<dyn Any + Send + Sync>>;

struct RegistryState {
    names: Mutex<RegistryNames>,
    /// Whether registration logs no notes about names. Written by the program, read by
    /// registrations.
    without_notes: AtomicBool,
    /// Whether statics belong to this registry.
    is_default: bool,
    settings: Mutex<RegistrySettings>,
    /// The values that other crates attached to families, by the names of these.
    attached: Mutex<Attached>,
}

/// Settings and measurements of the registry itself.
#[derive(Clone, Copy, Debug)]
struct RegistrySettings {
    /// Whether snapshots have the self-metrics.
    self_metrics: bool,
    /// The process that made the registry, or that started over last.
    process: u32,
    /// The duration of the last snapshot. Read and written by snapshots.
    last_seconds: f64,
}

/// Returns the default registry, to which statics belong.
///
/// ```
/// tallies::registry().add_constant("host", "alpha")?;
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use]
pub fn registry() -> &'static Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::with_settings(true));
    &REGISTRY
}

debug!([] Registry = "Registry");

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a family of one value: name, help, labels, value.
type WriteValue = fn(&mut Collected, &str, &str, &[(&str, &str)], f64) -> Result<(), Error>;

impl Registry {
    /// Creates an empty registry without self-metrics.
    #[must_use]
    pub fn new() -> Self {
        Self::with_settings(false)
    }

    fn with_settings(is_default: bool) -> Self {
        Self(Arc::new(RegistryState {
            names: Mutex::default(),
            without_notes: AtomicBool::new(false),
            is_default,
            settings: Mutex::new(RegistrySettings {
                self_metrics: is_default,
                process: std::process::id(),
                last_seconds: 0.0,
            }),
            attached: Mutex::default(),
        }))
    }

    /// Locks the names. The holder runs no code of users.
    fn lock(&self) -> MutexGuard<'_, RegistryNames> {
        lock(&self.0.names)
    }

    /// Registers a gauge whose value `value` computes at scrape time.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is invalid ([`Error::is_invalid_name`]) or taken, or if another
    /// family has samples of the same names ([`Error::is_already_registered`]).
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
        self.add_function(Kind::Gauge, Collected::gauge, name, help, value)
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
        self.add_function(Kind::Counter, Collected::counter, name, help, total)
    }

    /// Adds a collector of one family, whose value a function computes. `write` writes a value of
    /// this kind.
    #[track_caller]
    fn add_function(
        &self,
        kind: Kind,
        write: WriteValue,
        name: &str,
        help: &str,
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), Error> {
        // Finds mistakes in the name.
        write(&mut Collected::default(), name, help, &[], 0.0)?;
        let (own_name, own_help) = (name.to_owned(), help.to_owned());
        let collect =
            move |out: &mut Collected| Ok(write(out, &own_name, &own_help, &[], value())?);
        self.add(name, Some(kind), false, Arc::new(collect))?;
        if self.lints() {
            lint::notes(kind, name, help, Location::caller());
        }
        Ok(())
    }

    /// Adds a collector, which runs at scrape time. Error messages and [`remove`](Self::remove)
    /// call it by `name`.
    ///
    /// Several collectors may write series of one family, and of a family that the registry has as
    /// a metric. Its description is that of the metric, or of the collector that was added first.
    /// The scrape leaves out a series with the labels of an earlier one, and a family that has
    /// another kind or other buckets than one before, or would expose samples of another family.
    /// That counts as a failure of the collector, in `tallies_collect_errors_total`, and is logged
    /// once per family. The rest of what the collector writes is exported.
    ///
    /// ```
    /// use tallies::{Registry, collect::Collected};
    ///
    /// let registry = Registry::new();
    /// registry.add_collector("pool", |out: &mut Collected| {
    ///     out.gauge("pool_idle_connections", "Connections not in use.", &[], 7.0)?;
    ///     out.counter("pool_timeouts_total", "Timeouts of callers that waited.", &[], 3.0)?;
    ///     Ok(())
    /// })?;
    /// assert_eq!(registry.snapshot().get("pool_idle_connections", &[]), Some(7.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if a family or another collector of this registry has the name
    /// ([`Error::is_already_registered`]).
    #[track_caller]
    pub fn add_collector(&self, name: &str, collect: impl Collect + 'static) -> Result<(), Error> {
        self.add(name, None, false, Arc::new(collect))
    }

    /// Adds a collector whose families keep their names, whatever the prefix is.
    #[cfg(any(feature = "process", feature = "page"))]
    #[track_caller]
    pub(crate) fn collect_unprefixed(
        &self,
        name: &str,
        collect: impl Collect + 'static,
    ) -> Result<(), Error> {
        self.add(name, None, true, Arc::new(collect))
    }

    /// Adds a collector. `kind` is the kind of a collector that writes one family, under its own
    /// name.
    #[track_caller]
    fn add(
        &self,
        name: &str,
        kind: Option<Kind>,
        unprefixed: bool,
        collect: Arc<dyn Collect>,
    ) -> Result<(), Error> {
        // Unused statics have their names, too, so they are registered first.
        self.enlist();
        let mut names = self.lock();
        let collector = Collector {
            name: Text::from(name),
            location: Location::caller(),
            kind,
            collect,
            unprefixed,
            order: names.next_order(),
            errors: 0,
            logged: BTreeSet::new(),
        };
        let added = names.add_collector(&collector);
        // Before a collector that was not added is dropped: its destructor may call the registry.
        drop(names);
        added
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

    /// Takes a snapshot into an earlier one and reuses its memory.
    ///
    /// ```
    /// let mut snapshot = tallies::snapshot::Snapshot::default();
    /// for _ in 0..3 {
    ///     tallies::registry().snapshot_into(&mut snapshot);
    /// }
    /// ```
    pub fn snapshot_into(&self, snapshot: &mut Snapshot) {
        self.enlist();
        let start = Instant::now();
        let collected = self.collect();
        let has_self_metrics = lock(&self.0.settings).self_metrics;
        let mut own = Collected::default();
        {
            let mut pass = observe::engine().pass();
            pass.take_idle();
            snapshot.begin_pass();
            self.write(&mut pass, snapshot);
            snapshot.end_pass();
            if has_self_metrics {
                // These names are valid.
                let _ = self_metrics::collect(self, &pass, snapshot, &collected, &mut own);
            }
        }
        let own = Written::own(own.families, &self.constant_text());
        let mut insertion = Insertion::default();
        for written in collected.into_iter().chain([own]) {
            let (is_own, mut left_out) = (written.by.is_none(), Vec::new());
            for family in written.families {
                let name = family.meta.name.clone();
                let registered = self.lock().exported_clash(family.exposed());
                let inserted = insertion.insert(snapshot, family, registered, is_own);
                left_out.extend(inserted.err().map(|why| LeftOut { family: name, why }));
            }
            if let Some((collector, _)) = written.by {
                self.count_left_out(&collector, left_out);
            }
        }
        lock(&self.0.settings).last_seconds = start.elapsed().as_secs_f64();
    }

    /// Returns what the calling thread has counted, as far as it counted in cells of its own:
    /// without callbacks, collectors, and gauges that are set.
    pub(crate) fn snapshot_of_this_thread(&self) -> Snapshot {
        self.enlist();
        let mut snapshot = Snapshot::default();
        let mut pass = observe::engine().pass();
        pass.read_own_cells_only();
        self.write(&mut pass, &mut snapshot);
        snapshot
    }

    /// Sets whether snapshots have metrics about the engine, under names that begin with
    /// `tallies_`. The default is on in the default registry and off in others.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.set_self_metrics(true);
    /// assert_eq!(registry.snapshot().get("tallies_families", &[]), Some(0.0));
    /// ```
    pub fn set_self_metrics(&self, on: bool) {
        lock(&self.0.settings).self_metrics = on;
    }

    /// Counts a family that could not be registered in `tallies_rejected_families_total`, as for a
    /// static whose name is taken. For adapters whose caller gets no error.
    ///
    /// ```
    /// use tallies::{Counter, Registry};
    ///
    /// fn counter_of(registry: &Registry, name: &str) -> Option<Counter> {
    ///     let result = registry.counter(name, "Of another library.");
    ///     result.inspect_err(|_| registry.count_rejected()).ok()
    /// }
    ///
    /// assert!(counter_of(&Registry::new(), "not a name").is_none());
    /// ```
    pub fn count_rejected(&self) {
        families::REJECTED.fetch_add(1, Relaxed);
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
    /// Returns an error if no family and no collector of this registry has the name.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        // All of these are dropped without a lock: they are code of others.
        let collector = self.lock().take_collector(name);
        if collector.is_some() {
            return Ok(());
        }
        let attached = lock(&self.0.attached).remove(name);
        drop(attached);
        let family = self.lock().take(name);
        family.map(drop).ok_or_else(|| families::absent(name))
    }

    /// Keeps a value until the family of this name is removed, for crates that build on this one:
    /// the handle of a metric, for example, that others look up by name.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = std::sync::Arc::new(registry.counter("jobs_total", "Jobs done.")?);
    /// registry.attach(jobs.name(), jobs.clone());
    /// assert_eq!(registry.attached::<std::sync::Arc<tallies::Counter>>().len(), 1);
    /// registry.remove("jobs_total")?;
    /// assert!(registry.attached::<std::sync::Arc<tallies::Counter>>().is_empty());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// A family has one value. A later one replaces it.
    pub fn attach(&self, name: &str, value: impl Any + Send + Sync) {
        let before = lock(&self.0.attached).insert(name.to_owned(), Box::new(value));
        drop(before);
    }

    /// Returns the values of this type that [`attach`](Self::attach) keeps, in the order of the
    /// names. Their `clone` must not use the registry.
    #[must_use]
    pub fn attached<T: Clone + 'static>(&self) -> Vec<T> {
        let attached = lock(&self.0.attached);
        let values = attached.values().map(|value| value.downcast_ref());
        values.flatten().cloned().collect()
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
        let attached = std::mem::take(&mut *lock(&self.0.attached));
        drop(attached);
        let (families, collectors) = self.lock().clear();
        families.values().for_each(|family| family.unpublish());
        drop(collectors);
    }

    /// Sets every series to zero, for a child process after `fork`. The child has a copy of
    /// everything that its parent counted.
    ///
    /// Call it while the child has one thread. Updates of other threads during the call may or may
    /// not be dropped. Four limits:
    ///
    /// - A native histogram or summary that a thread of the parent was updating at the fork keeps
    ///   what it had counted while it was cold: that thread may have left it half written.
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
    /// assert_eq!(jobs.get(), 1);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn start_over(&self) {
        self.enlist();
        let pass = observe::engine().pass();
        let families: Vec<_> = self.lock().families().cloned().collect();
        families.iter().for_each(|family| family.start_over(&pass));
        drop(pass);
        lock(&self.0.settings).process = std::process::id();
    }

    /// [Starts over](Self::start_over) if this process was forked from the one that counted so far.
    /// Stores call it where they start, since those counts belong to the other process.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = registry.counter("jobs_total", "Jobs done.")?;
    /// jobs.inc();
    /// registry.start_over_after_fork();
    /// assert_eq!(jobs.get(), 1, "nobody forked");
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn start_over_after_fork(&self) {
        let process = lock(&self.0.settings).process;
        if process != std::process::id() {
            self.start_over();
        }
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
        let names = self.lock();
        let families = names.entries.keys();
        let families = families.map(|name| format!("{}{name}", names.prefix));
        let collectors = names.collectors.keys().map(Text::to_string);
        let mut all: Vec<_> = families.chain(collectors).collect();
        all.sort_unstable();
        all
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
        let names = self.lock();
        names.entries.contains_key(name) || names.collectors.contains_key(name)
    }

    /// Returns how many series each family has, and which labels make them, those of callbacks and
    /// collectors included. Self-metrics and families that a view switched off are not.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = tallies::Counter::builder("jobs_total", "Jobs done.")
    ///     .labels(["queue"])
    ///     .register(&registry)?;
    /// jobs.with(["mail"]).inc();
    /// assert_eq!(
    ///     registry.cardinality().to_string(),
    ///     "jobs_total: 1 series of at most 10000\n  queue: 1 (mail 1)\n"
    /// );
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Hashes every label value of every series, waits for no scrape, and reads no values. It runs
    /// the collectors. Of a family with more than 100 000 series, it reads the labels of as many,
    /// and counts the rest.
    #[must_use]
    pub fn cardinality(&self) -> Cardinality {
        self.enlist();
        let written = self.collect();
        let mut collected = BTreeMap::<&str, Vec<&Family>>::new();
        for family in written.iter().flat_map(|written| &written.families) {
            collected.entry(family.name()).or_default().push(family);
        }
        let mut families = self.count_series(&mut collected);
        let rest = collected.into_iter();
        families.extend(rest.map(|(name, all)| FamilyCardinality::of(name, all)));
        Cardinality::new(families)
    }

    /// Lists every family that is declared, with or without series. See [`Catalogue`].
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// tallies::Counter::builder("jobs_total", "Jobs done.").labels(["queue"]).register(&registry)?;
    /// let catalogue = registry.catalogue();
    /// assert_eq!(catalogue.get("jobs_total").unwrap().help, "Jobs done.");
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Registers all statics, and runs the collectors, because only they know what they write.
    #[must_use]
    pub fn catalogue(&self) -> Catalogue {
        self.enlist();
        let mut names = self.lock();
        let ((families, prefix), constant) = (names.in_order(), names.constant.clone());
        drop(names);
        let declared = families.iter();
        let declared = declared.map(|entry| entry.declared(&prefix, &constant));
        let mut catalogue = Catalogue::new(declared.collect());
        for written in self.collect() {
            if let Some((name, location)) = written.by {
                for family in &written.families {
                    catalogue.add_collected(family, &name, location);
                }
            }
        }
        catalogue
    }

    /// Registers the statics that the linker has listed, if this is the default registry.
    pub(crate) fn enlist(&self) {
        if self.0.is_default {
            enlist_all();
        }
    }
}

impl Source for Registry {
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        self.snapshot_into(snapshot);
    }

    fn cardinality(&self) -> Cardinality {
        self.cardinality()
    }

    fn declared_at(&self, family: &str) -> Option<&'static Location<'static>> {
        let names = self.lock();
        let name = family.strip_prefix(&*names.prefix).unwrap_or(family);
        let declared = names.entries.get(name).map(|entry| entry.desc().location);
        let collector = || names.collectors.get(name).map(|own| own.location);
        declared.or_else(collector)
    }
}
