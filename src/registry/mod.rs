//! A registry: its families and collectors, and the snapshots of them.

mod collected;
mod collectors;
mod families;
mod listed;
#[cfg(mapped)]
pub(crate) mod published;
mod self_metrics;
#[cfg(all(test, not(miri)))]
mod tests;
mod view;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crate::error::Error;
use crate::observe;
use crate::snapshot::{Cardinality, Catalogue, Family, Kind, Snapshot, Source, clashing};

pub use collected::{Collect, Collected};
#[cfg(feature = "link-time")]
pub use listed::LISTED;
pub use listed::Listed;
pub use view::View;

use collectors::Collectors;
use families::Families;
pub(crate) use families::conflict::Owner;
#[cfg(test)]
pub(crate) use families::meta;
use listed::enlist_all;
use self_metrics::LastScrape;
#[cfg(feature = "store")]
pub(crate) use self_metrics::is_self_metric;

/// The name, help text and unit of a family. See [`Registry::describe`].
///
/// ```
/// let description = tallies::Description { name: "wait_seconds", help: "Waits.", unit: "seconds" };
/// assert!(description.name.ends_with(description.unit));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description<'a> {
    /// The name of the family. It ends with the unit.
    pub name: &'a str,
    /// The help text.
    pub help: &'a str,
    /// The unit, such as `seconds`; empty for none.
    pub unit: &'a str,
}

/// The views that [`Registry::views`] added.
#[derive(Debug)]
pub struct AddedViews {
    registry: Registry,
    views: Vec<Arc<View>>,
}

impl AddedViews {
    /// Takes the views back, so that they change no family that is registered from now on. Families
    /// that they have changed stay so.
    pub fn remove(self) {
        self.registry.families().remove_views(&self.views);
    }
}

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
#[derive(Clone, Debug)]
pub struct Registry(Arc<RegistryState>);

#[derive(Debug)]
struct RegistryState {
    families: Families,
    /// Whether statics belong to this registry.
    is_default: bool,
    collectors: Collectors,
    settings: Mutex<Settings>,
    /// The values that other crates attached to families, by the names of these.
    attached: Mutex<BTreeMap<String, Box<dyn Any + Send + Sync>>>,
}

#[derive(Clone, Copy, Debug)]
/// Settings and measurements of the registry itself.
struct Settings {
    /// Whether snapshots have the self-metrics.
    self_metrics: bool,
    /// The process that made the registry, or that started over last.
    process: u32,
    /// Read and written by snapshots.
    last_scrape: LastScrape,
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
        Self(Arc::new(RegistryState {
            families: Families::default(),
            is_default,
            settings: Mutex::new(Settings {
                self_metrics: is_default,
                process: std::process::id(),
                last_scrape: LastScrape::default(),
            }),
            collectors: Collectors::default(),
            attached: Mutex::default(),
        }))
    }

    pub(crate) fn families(&self) -> &Families {
        &self.0.families
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
        Collected::default().gauge(name, help, &[], 0.0)?;
        let (own_name, own_help) = (name.to_owned(), help.to_owned());
        let collect =
            move |out: &mut Collected| Ok(out.gauge(&own_name, &own_help, &[], value())?);
        self.add(name, Some(Kind::Gauge), false, Arc::new(collect))?;
        self.log_notes(Kind::Gauge, name, help);
        Ok(())
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
        let (own_name, own_help) = (name.to_owned(), help.to_owned());
        let collect =
            move |out: &mut Collected| Ok(out.counter(&own_name, &own_help, &[], total())?);
        self.add(name, Some(Kind::Counter), false, Arc::new(collect))?;
        self.log_notes(Kind::Counter, name, help);
        Ok(())
    }

    /// Logs notes about the name of a callback.
    #[track_caller]
    fn log_notes(&self, kind: Kind, name: &str, help: &str) {
        if self.families().lints() {
            crate::family::lint::notes(kind, name, help, Location::caller());
        }
    }

    /// Adds a collector, which runs at scrape time. Error messages and [`remove`](Self::remove)
    /// call it by `name`.
    ///
    /// If a family that it writes would expose samples of another family, that family is left out
    /// and counts as a failure of the collector.
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
    #[cfg(any(feature = "process", feature = "tower"))]
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
        // Not in the closure, which would be its own caller.
        let location = Location::caller();
        self.0
            .collectors
            .add(self.families(), name, kind, location, unprefixed, collect)
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
        let collected = self.0.collectors.run(self.families());
        let mut settings = *lock(&self.0.settings);
        let mut own = Collected::default();
        {
            let mut pass = observe::engine().pass();
            pass.take_idle();
            snapshot.taken = SystemTime::now();
            self.families().write(&mut pass, snapshot);
            if settings.self_metrics {
                // These names are valid.
                let collected: Vec<_> = collected.iter().map(|(_, family)| family).collect();
                let _ = self_metrics::collect(
                    &pass,
                    settings.last_scrape,
                    snapshot,
                    &collected,
                    &self.families().unusual_updates(),
                    &mut own,
                );
            }
        }
        let constant = self.families().constant_text();
        let mut failed = None;
        for (name, family) in
            collected
                .into_iter()
                .chain(own.families.into_iter().map(|mut family| {
                    family.add_common("", &constant);
                    (None, family)
                }))
        {
            // A collector's families are adjacent, so a snapshot counts one failure for each
            // collector.
            match (insert(snapshot, family), name) {
                (Err(why), Some(name)) if failed.as_ref() != Some(&name) => {
                    self.0.collectors.count_failure(&name, &why);
                    failed = Some(name);
                }
                _ => {}
            }
        }
        settings.last_scrape = LastScrape {
            seconds: start.elapsed().as_secs_f64(),
            bytes: snapshot.bytes(),
        };
        lock(&self.0.settings).last_scrape = settings.last_scrape;
    }

    /// Returns what the calling thread has counted, as far as it counted in cells of its own:
    /// without callbacks, collectors, and gauges that are set.
    pub(crate) fn snapshot_of_this_thread(&self) -> Snapshot {
        self.enlist();
        let mut snapshot = Snapshot::default();
        let mut pass = observe::engine().pass();
        pass.read_own_cells_only();
        self.families().write(&mut pass, &mut snapshot);
        snapshot
    }

    /// Puts `prefix` before every name of a family. A prefix that ends in an ASCII letter or digit
    /// gets an underscore, so `app` means `app_`. This includes callbacks and collectors. The names
    /// that other tools expect stay: `process_*`, `tokio_*` and `tallies_*`.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.set_prefix("app")?;
    /// registry.counter("jobs_total", "Jobs done.")?.inc();
    /// assert_eq!(registry.snapshot().get("app_jobs_total", &[]), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the prefix is invalid, if it has a colon and there are state sets, or if
    /// the registry was scraped before.
    pub fn set_prefix(&self, prefix: &str) -> Result<(), Error> {
        self.enlist();
        self.families().set_prefix(prefix)
    }

    /// Gives every series a constant label, for a value that is known only at start-up, such as the
    /// name of the host. This includes callbacks, collectors and process metrics. A collector that
    /// writes a label of this name keeps its own value.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.add_constant("host", "alpha")?;
    /// registry.counter("jobs_total", "Jobs done.")?.inc();
    /// assert_eq!(registry.snapshot().get("jobs_total", &[("host", "alpha")]), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the label name is invalid, reserved, or a label of one of the families,
    /// or if the registry was scraped before.
    pub fn add_constant(&self, name: &str, value: &str) -> Result<(), Error> {
        self.families().set_constant(name, value)
    }

    /// Adds a view: a rule that changes families by their names. See [`View`].
    ///
    /// ```
    /// use tallies::{Histogram, Registry, View};
    ///
    /// let registry = Registry::new();
    /// registry.add_view(View::new("*_seconds").buckets(&[0.1, 1.0]))?;
    /// let wait = registry.histogram("wait_seconds", "Time waited.")?;
    /// wait.observe(0.25);
    /// assert_eq!(wait.get().counts, [0, 1, 0]);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Add views at start-up, before the first use of the metrics that they change. Of several
    /// views of one family, all hold, in the order in which they were added: of each setting the
    /// last one, and all dropped labels. The patterns match the names of the declarations.
    ///
    /// Views change the families of collectors, too, at every scrape: [`rename`](View::rename),
    /// [`drop_label`](View::drop_label) and [`off`](View::off) do. They do not change
    /// [self-metrics](Self::set_self_metrics).
    ///
    /// On metrics with views, look-ups and removals act on the series in which a label set counts.
    /// Other label sets may count in it as well. The labels that `retain` and `get_all` show are
    /// those of the series.
    ///
    /// Without views no update is slower. The cost of each setting is in its documentation.
    ///
    /// # Errors
    ///
    /// Returns an error in these cases:
    ///
    /// - A family that matches the pattern was registered before. A static is registered by its
    ///   first use, or by the first scrape. Statics with `#[tallies::metric]` are also registered
    ///   before the first metric, collector, prefix or constant label of the default registry.
    /// - A name, label name, bound or schema is invalid, or several families would get one name.
    pub fn add_view(&self, view: View) -> Result<(), Error> {
        self.families().add_views(vec![view]).map(drop)
    }

    /// Adds several views, or none if one of them is wrong. The result takes them back.
    ///
    /// ```
    /// use tallies::{Registry, View};
    ///
    /// let registry = Registry::new();
    /// let views = registry.views([View::new("debug_*").off(), View::new("*").limit(100)])?;
    /// if registry.counter("jobs-total", "Jobs done.").is_err() {
    ///     views.remove();
    /// }
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`add_view`](Self::add_view).
    pub fn views(&self, views: impl IntoIterator<Item = View>) -> Result<AddedViews, Error> {
        let views = self.families().add_views(views.into_iter().collect())?;
        let registry = self.clone();
        Ok(AddedViews { registry, views })
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

    /// Describes a family again, for adapters of libraries that describe a metric after its first
    /// update. Returns the name of the family afterwards, which a [`View`] may have chosen.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such family, or if the new name is taken. Then the family
    /// keeps its name and unit, and has the new help text.
    ///
    /// ```
    /// use tallies::Description;
    ///
    /// let registry = tallies::Registry::new();
    /// registry.histogram("wait", "")?;
    /// let description = Description {
    ///     name: "wait_seconds",
    ///     help: "Time in the queue.",
    ///     unit: "seconds",
    /// };
    /// assert_eq!(registry.describe("wait", description)?, "wait_seconds");
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn describe(&self, name: &str, description: Description<'_>) -> Result<String, Error> {
        let new = self.families().describe(name, &description)?;
        let mut attached = lock(&self.0.attached);
        if let Some(value) = attached.remove(name) {
            attached.insert((*new).to_owned(), value);
        }
        Ok((*new).to_owned())
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

    /// Sets whether registration logs a note about names that Prometheus users would not expect,
    /// such as a counter without `_total`, and about families without help text. The default is on.
    /// The notes are debug messages of the `log` crate, with the target `tallies`. About statics
    /// with `#[tallies::metric]` the compiler makes them.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.set_lint(false);
    /// registry.counter("jobs", "")?; // logs nothing
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The rules are those of the crate `tallies-check`.
    pub fn set_lint(&self, on: bool) {
        self.families().set_lint(on);
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
        if self.0.collectors.remove(self.families(), name) {
            Ok(())
        } else {
            // Dropped without the lock: it is code of others.
            let attached = lock(&self.0.attached).remove(name);
            drop(attached);
            self.families().remove(name)
        }
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
        let values = attached.values();
        values
            .filter_map(|value| value.downcast_ref().cloned())
            .collect()
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
        self.0.collectors.clear(self.families());
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
    /// assert_eq!(jobs.get(), 1);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn start_over(&self) {
        self.enlist();
        self.families().start_over(&observe::engine().pass());
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
        let mut names = self.families().names();
        names.extend(self.0.collectors.names());
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
        self.families().contains(name) || self.0.collectors.contains(name)
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
        let mut report = Cardinality::default();
        self.families().count_series(&mut report);
        for (_, family) in self.0.collectors.run(self.families()) {
            report.add_family(&family);
        }
        report.sort();
        report
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
        let mut catalogue = self.families().catalogue();
        for (collector, family) in self.0.collectors.run(self.families()) {
            if let Some(collector) = collector {
                let location = self.0.collectors.location(&collector);
                catalogue.add_collected(&family, &collector, location);
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

/// Inserts a family in the order of the names, or returns why its name conflicts.
fn insert(snapshot: &mut Snapshot, family: Family) -> Result<(), String> {
    let families = &mut snapshot.families;
    let name = family.name();
    if let Some(other) = clashing(families, &family) {
        let other = other.name();
        return Err(format!(
            "writes family `{name}`, which would expose the same samples as `{other}`"
        ));
    }
    let index = families.partition_point(|other| other.name() < name);
    families.insert(index, family);
    Ok(())
}

impl Source for Registry {
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        self.snapshot_into(snapshot);
    }

    fn cardinality(&self) -> Cardinality {
        self.cardinality()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
