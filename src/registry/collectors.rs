//! The collectors of a registry: adding and removing them, running them for a snapshot, and
//! counting their failures.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, Mutex};

use crate::error::{Error, warn};
use crate::snapshot::{Family, Kind};

use super::families::conflict::{Owner, has_collector};

use super::collected::{Collect, Collected};
use super::families::Families;
use super::lock;
use super::view::Views;

/// The collectors of one registry.
///
/// The list is not locked while a collector runs or is dropped, because its code may call the
/// registry.
#[derive(Debug, Default)]
pub(super) struct Collectors(pub(super) Mutex<Vec<Collector>>);

/// A collector that was added under a name.
pub(super) struct Collector {
    name: String,
    /// Where it was added, for error messages.
    location: &'static Location<'static>,
    /// The kind of a function's metric. Other collectors have none.
    kind: Option<Kind>,
    collect: Arc<dyn Collect>,
    /// Whether its families keep their names, whatever the registry's prefix is.
    unprefixed: bool,
    /// The number of snapshots in which it failed.
    errors: u64,
}

impl Collectors {
    /// Adds a collector under a name that no family and no other collector has. If `kind` is
    /// the kind of a family, the collector writes this family under its own name, which is
    /// reserved.
    pub(super) fn add(
        &self,
        families: &Families,
        name: &str,
        kind: Option<Kind>,
        location: &'static Location<'static>,
        unprefixed: bool,
        collect: Arc<dyn Collect>,
    ) -> Result<(), Error> {
        let mut collectors = lock(&self.0);
        if let Some(other) = collectors.iter().find(|other| other.name == name) {
            return Err(has_collector(name, other.kind, other.location));
        }
        if let Some((first, location)) = families.registered(name) {
            let owner = Owner {
                name,
                kind: first,
                location,
            };
            return Err(owner.taken(kind));
        }
        if let Some(kind) = kind {
            families.reserve(name, kind, location)?;
        }
        collectors.push(Collector {
            name: name.to_owned(),
            location,
            kind,
            collect,
            unprefixed,
            errors: 0,
        });
        Ok(())
    }

    /// Removes a collector and releases its name. Returns whether there was one.
    pub(super) fn remove(&self, families: &Families, name: &str) -> bool {
        let mut collectors = lock(&self.0);
        let index = collectors
            .iter()
            .position(|collector| collector.name == name);
        let removed = index.map(|index| collectors.remove(index));
        if removed.is_some() {
            families.release(name);
        }
        // The collector's destructor may call the registry.
        drop(collectors);
        removed.is_some()
    }

    /// Removes all collectors and all families.
    pub(super) fn clear(&self, families: &Families) {
        let mut collectors = lock(&self.0);
        // Under the same lock, so that a collector added concurrently keeps its reserved name.
        families.clear();
        let removed = std::mem::take(&mut *collectors);
        // As in `remove`.
        drop(collectors);
        drop(removed);
    }

    /// Returns the names of all collectors.
    pub(super) fn names(&self) -> Vec<String> {
        lock(&self.0).iter().map(|c| c.name.clone()).collect()
    }

    /// Returns whether there is a collector of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        lock(&self.0).iter().any(|c| c.name == name)
    }

    /// Returns where a collector was added.
    pub(super) fn location(&self, name: &str) -> Option<&'static Location<'static>> {
        let collectors = lock(&self.0);
        let collector = collectors.iter().find(|c| c.name == name);
        collector.map(|collector| collector.location)
    }

    /// Runs every collector, and returns the families with the name of their collector. They get
    /// the prefix, unless their collector's names stay, and the constant labels of the registry. If
    /// a collector fails or panics, only its own families are missing. The family that counts the
    /// failures has no collector.
    pub(super) fn run(&self, families: &Families) -> Vec<(Option<String>, Family)> {
        let Some(_running) = RunGuard::begin() else {
            return Vec::new();
        };
        let collectors: Vec<_> = lock(&self.0)
            .iter()
            .map(|c| (c.name.clone(), c.unprefixed, Arc::clone(&c.collect)))
            .collect();
        let (prefix, constant) = (families.prefix(), families.constant_text());
        let views = families.views();
        let mut families = Vec::new();
        for (name, unprefixed, collector) in collectors {
            match run(&*collector) {
                Ok(written) => {
                    let prefix = if unprefixed { "" } else { &*prefix };
                    families.extend(written.into_iter().filter_map(|mut family| {
                        let declared = family.meta.name.clone();
                        let views = Views::of(&views, &declared);
                        if views.is_some_and(|views| !views.apply_to(&mut family)) {
                            return None;
                        }
                        family.add_common(prefix, &constant);
                        Some((Some(name.clone()), family))
                    }));
                }
                Err(why) => self.count_failure(&name, &why),
            }
            // If it was removed in the meantime, this is the last reference, and its destructor is
            // user code.
            catch_panic(|| drop(collector));
        }
        let mut errors = Collected::default();
        for collector in lock(&self.0).iter().filter(|c| c.errors > 0) {
            let _ = errors.counter(
                "tallies_collect_errors_total",
                "Scrapes without the families of a collector, because it failed.",
                &[("collector", &collector.name)],
                collector.errors as f64,
            );
        }
        families.extend(errors.families.into_iter().map(|family| (None, family)));
        families
    }

    /// Counts a failure of a collector, and logs its first one.
    pub(super) fn count_failure(&self, name: &str, why: &str) {
        let mut collectors = lock(&self.0);
        if let Some(collector) = collectors.iter_mut().find(|c| c.name == name) {
            collector.errors += 1;
            if collector.errors == 1 {
                warn(&format_args!("collector `{name}` {why}"));
            }
        }
    }
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
    /// Whether this thread runs collectors. A snapshot taken inside a collector runs none.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Sets [`RUNNING`] until it is dropped, also when a panic unwinds.
struct RunGuard(());

impl RunGuard {
    /// Returns `None` inside a collector.
    fn begin() -> Option<Self> {
        (!RUNNING.replace(true)).then(|| Self(()))
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        RUNNING.set(false);
    }
}

/// Runs code of the user and returns `None` if it panics. The destructor of the panic's payload is
/// user code as well, and may panic again.
fn catch_panic<R>(f: impl FnOnce() -> R) -> Option<R> {
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
    let result = catch_panic(|| {
        collector
            .collect(&mut out)
            .map_err(|error| error.to_string())
    });
    match result {
        Some(Ok(())) => Ok(out.families),
        Some(Err(why)) => Err(format!("failed: {why}")),
        None => Err("panicked".to_owned()),
    }
}
