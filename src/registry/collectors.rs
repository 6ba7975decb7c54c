//! The collectors of a registry: running them for a snapshot, and counting their failures.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;

use crate::error::warn;
use crate::in_both::collect::Collect;
use crate::snapshot::{ExposedName, Family, Kind, Text};

use super::Registry;
use super::collected::Collected;
use super::samples::Samples;
use super::view::View;

/// A collector that was added under a name.
#[derive(Clone)]
pub(super) struct Collector {
    pub(super) name: Text,
    /// Where it was added, for error messages.
    pub(super) location: &'static Location<'static>,
    /// The kind of a function's metric, which has the name of the collector. Other collectors have
    /// none.
    pub(super) kind: Option<Kind>,
    pub(super) collect: Arc<dyn Collect>,
    /// Whether its families keep their names, whatever the registry's prefix is.
    pub(super) unprefixed: bool,
    /// The number of collectors that were added before. They run in this order.
    pub(super) order: u64,
    /// The number of snapshots in which it failed.
    pub(super) errors: u64,
    /// The families of which it was logged that the family, or a series of it, is left out.
    pub(super) logged: BTreeSet<String>,
}

impl Collector {
    /// Returns the family of a function's metric.
    pub(super) fn exposed(&self) -> ExposedName<'_> {
        (&self.name, self.kind.unwrap_or(Kind::Unknown), false)
    }
}

/// The part of a collector's family that is left out of a snapshot.
pub(super) struct LeftOut {
    pub(super) family: Text,
    pub(super) why: String,
}

/// The families that one collector wrote.
pub(super) struct Written {
    /// `None` for the family that counts failures.
    pub(super) by: Option<(Text, &'static Location<'static>)>,
    pub(super) families: Vec<Family>,
}

impl Written {
    /// Gives the crate's own families the constant labels of the registry. Their names get no
    /// prefix.
    pub(super) fn own(mut families: Vec<Family>, constant: &str) -> Self {
        for family in &mut families {
            family.add_common("", constant);
        }
        Self { by: None, families }
    }
}

impl Registry {
    /// Runs every collector. The families get the prefix, unless their collector's names stay, and
    /// the constant labels of the registry. If a collector fails or panics, only its own families
    /// are missing.
    ///
    /// The names are not locked while a collector runs or is dropped, because its code may call the
    /// registry.
    pub(super) fn collect(&self) -> Vec<Written> {
        let Some(_running) = RunGuard::begin() else {
            return Vec::new();
        };
        let (collectors, prefix, views) = {
            let names = self.lock();
            let collectors: Vec<_> = names.collectors_in_order().into_iter().cloned().collect();
            (collectors, names.prefix.clone(), Arc::clone(&names.views))
        };
        let constant = self.constant_text();
        let mut all = Vec::new();
        for collector in collectors {
            match run(&*collector.collect) {
                Ok(mut families) => {
                    let prefix = if collector.unprefixed { "" } else { &*prefix };
                    families.retain_mut(|family| {
                        let declared = family.meta.name.clone();
                        let views = View::of(&views, &declared);
                        let is_on = views.is_none_or(|views| views.apply_to(family));
                        family.add_common(prefix, &constant);
                        is_on
                    });
                    let by = Some((collector.name.clone(), collector.location));
                    all.push(Written { by, families });
                }
                Err(why) => self.count_failure(&collector.name, &why),
            }
            // If it was removed in the meantime, this is the last reference, and its destructor is
            // user code.
            catch_panic(|| drop(collector));
        }
        all.push(Written::own(self.failures().families, &constant));
        all
    }

    /// Returns the family that counts the failures of collectors.
    fn failures(&self) -> Collected {
        let (mut collected, prefix) = (Collected::default(), "tallies");
        let out = &mut collected;
        let mut samples = Samples { out, prefix };
        let names = self.lock();
        let all = names.collectors_in_order();
        for collector in all.into_iter().filter(|collector| collector.errors > 0) {
            let labels = [("collector", &*collector.name)];
            let _ = samples.write(
                (
                    "collect_errors_total",
                    "Scrapes without families or series of a collector, because it failed or they \
                     conflict.",
                ),
                &labels,
                collector.errors as f64,
            );
        }
        collected
    }

    /// Counts a failure of a collector, and logs its first one.
    pub(super) fn count_failure(&self, name: &str, why: &str) {
        let errors = self.lock().collectors.get_mut(name).map(|collector| {
            collector.errors += 1;
            collector.errors
        });
        if errors == Some(1) {
            warn(&format_args!("collector `{name}` {why}"));
        }
    }
}

impl Registry {
    /// Counts a failure of a collector if something that it wrote is left out, and logs what was
    /// not logged before.
    pub(super) fn count_left_out(&self, name: &str, mut left_out: Vec<LeftOut>) {
        if left_out.is_empty() {
            return;
        }
        if let Some(collector) = self.lock().collectors.get_mut(name) {
            collector.errors += 1;
            left_out.retain(|new| collector.logged.insert(new.family.to_string()));
        }
        for LeftOut { why, .. } in left_out {
            warn(&format_args!("collector `{name}` {why}"));
        }
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
