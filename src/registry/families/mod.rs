//! The families of a registry: registration, the prefix, the constant labels, views, and scrapes.

mod conflict;
mod entry;
mod names;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{Error, NameRule, Subject, is_first, warn};
use crate::observe::Pass;
use crate::snapshot::{self, FamilyCardinality, Kind, LabelCount, Snapshot, Text, labels};
use crate::sync::{lock, prefetch};

use crate::family::desc::{Desc, Names};
use crate::family::event;
use crate::family::grammar::{check_label, check_name, prefixed};
use crate::family::{AnyFamily, Prefetch};
use tallies_names::capture;

pub(super) use entry::FamilyEntry;
use entry::exposed;
pub(crate) use entry::meta;
pub(super) use names::RegistryNames;

use super::Registry;
use super::samples::{Fallible, Samples};
use super::view::View;

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

/// The views that [`Registry::add_views`] added.
#[derive(Debug)]
pub struct AddedViews {
    registry: Registry,
    views: Vec<Arc<View>>,
}

impl AddedViews {
    /// Takes the views back, so that they change no family that is registered from now on. Families
    /// that they have changed stay so.
    pub fn remove(self) {
        let mut names = self.registry.lock();
        let stays = |view: &&Arc<View>| !self.views.iter().any(|own| Arc::ptr_eq(view, own));
        names.views = names.views.iter().filter(stays).cloned().collect();
    }
}

/// The number of families that were rejected because the name of a static was taken.
pub(super) static REJECTED: AtomicU64 = AtomicU64::new(0);

/// A note about a static, to be logged.
pub(crate) enum Note {
    /// It is not exported, or was declared before.
    Warning(Error),
    /// Its family is new: perhaps there are notes about its name.
    Names(Arc<dyn AnyFamily>),
}

impl Registry {
    /// Adds a family.
    pub(crate) fn add_family<F: AnyFamily + 'static>(&self, family: Arc<F>) -> Result<(), Error> {
        self.lock().add(Arc::clone(&family), false)?;
        self.log_notes(family.desc());
        Ok(())
    }

    /// Logs notes about the name of a family that was just added.
    fn log_notes(&self, desc: &Desc) {
        if let Some(log_notes) = desc.lint.filter(|_| self.lints()) {
            event::descriptions(desc).iter().for_each(log_notes);
        }
    }

    /// Returns whether registration logs notes about names.
    pub(super) fn lints(&self) -> bool {
        !self.0.without_notes.load(Relaxed)
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
        self.0.without_notes.store(!on, Relaxed);
    }

    /// Returns the family of a static: the one that the same place declared before, or a new one.
    /// If another place declared the same family, the two share their series. A conflicting one is
    /// logged once and not exported.
    ///
    /// A place declares a family again if it is no `static` but a `const` or a local variable, or
    /// if its file is compiled twice.
    pub(crate) fn add_static<F: AnyFamily + 'static>(
        &self,
        desc: Desc,
        make: impl FnOnce(Desc) -> Arc<F>,
    ) -> (Arc<F>, Option<Note>) {
        let before = self.lock().declared_before::<F>(&desc);
        if let Some((family, is_note_due)) = before {
            let again = || Note::Warning(declared_again(&desc));
            return (family, is_note_due.then(again));
        }
        let family = make(desc);
        let note = match self.lock().add(Arc::<F>::clone(&family), true) {
            Ok(()) => Some(Note::Names(Arc::<F>::clone(&family))),
            Err(error) if is_first(&error) => {
                REJECTED.fetch_add(1, Relaxed);
                Some(Note::Warning(error))
            }
            Err(_) => None,
        };
        (family, note)
    }

    /// Logs what [`add_static`](Self::add_static) returned. The caller holds no lock.
    pub(crate) fn log_note(&self, note: Note) {
        match note {
            Note::Warning(error) => warn(&error),
            Note::Names(family) => self.log_notes(family.desc()),
        }
    }

    /// Returns the family that has this description. If its name is free, makes the family and
    /// adds it.
    pub(crate) fn get_or_add<F: AnyFamily + 'static>(
        &self,
        desc: Desc,
        make: impl FnOnce(Desc) -> Arc<F>,
    ) -> Result<Arc<F>, Error> {
        let before = self.lock().same_as(&desc)?;
        if let Some(family) = before {
            return Ok(family);
        }
        let family = make(desc);
        let mut names = self.lock();
        // Another thread may have added one meanwhile.
        if let Some(other) = names.same_as(family.desc())? {
            return Ok(other);
        }
        names.add(Arc::<F>::clone(&family), false)?;
        drop(names);
        self.log_notes(family.desc());
        Ok(family)
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
        self.add_views([view]).map(drop)
    }

    /// Adds several views, or none if one of them is wrong. The result takes them back.
    ///
    /// ```
    /// use tallies::{Registry, View};
    ///
    /// let registry = Registry::new();
    /// let views = registry.add_views([View::new("debug_*").off(), View::new("*").limit(100)])?;
    /// if registry.counter("jobs-total", "Jobs done.").is_err() {
    ///     views.remove();
    /// }
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`add_view`](Self::add_view).
    pub fn add_views(&self, views: impl IntoIterator<Item = View>) -> Result<AddedViews, Error> {
        let added: Vec<_> = views.into_iter().map(Arc::new).collect();
        added.iter().try_for_each(|view| view.check())?;
        let mut names = self.lock();
        for view in &added {
            let mut entries = names.entries.values().map(|entry| entry.desc());
            let is_seen = |desc: &&Desc| capture(&view.family, desc.declared_name()).is_some();
            if let Some(desc) = entries.find(is_seen) {
                let late = Error::other(format_args!(
                    "view `{}` is set too late: family `{}` was registered before, at {}; add \
                     views at start-up, before the metrics that they change",
                    view.family.escape_debug(),
                    desc.declared_name(),
                    desc.location
                ));
                return Err(view.placed(late));
            }
        }
        names.views = names.views.iter().chain(&added).cloned().collect();
        drop(names);
        let (registry, views) = (self.clone(), added);
        Ok(AddedViews { registry, views })
    }

    /// Changes a description by the views of its family. `shares`: label sets that become equal can
    /// share the cells of a series.
    pub(crate) fn viewed(&self, desc: Desc, shares: bool) -> Desc {
        let views = Arc::clone(&self.lock().views);
        View::viewed(&views, desc, shares)
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
        let mut names = self.lock();
        let declared = |entry: &&Arc<FamilyEntry>| **entry.desc().declared_name() == *name;
        let entry = names.entries.values().find(declared);
        let own_name = entry.map_or(name, |entry| &entry.desc().name).to_owned();
        let entry = names.take(&own_name).ok_or_else(|| absent(&own_name))?;
        let mut desc = entry.desc().clone();
        desc.help = Text::from(description.help);
        let is_renamed = desc.name != *desc.declared_name();
        let new_name = if is_renamed {
            &*own_name
        } else {
            description.name
        };
        let renamed = Desc {
            name: Text::from(new_name),
            unit: Text::from(description.unit),
            ..desc.clone()
        };
        let free = names.check_free(&renamed);
        let desc = if free.is_ok() { renamed } else { desc };
        let new = desc.name.to_string();
        names.put(entry.with_desc(Some(Box::new(desc))));
        drop(names);
        free?;
        let mut attached = lock(&self.0.attached);
        if let Some(value) = attached.remove(name) {
            attached.insert(new.clone(), value);
        }
        Ok(new)
    }

    /// Writes the numbers of rejected and overflowed updates of the families that have any, in the
    /// order of their names.
    pub(super) fn write_unusual_updates(&self, out: &mut Samples<'_>) -> Fallible<()> {
        let (entries, prefix) = self.lock().in_order();
        for entry in entries.iter() {
            let families = entry.duplicates.iter();
            let counts = families.map(|family| family.unusual_updates());
            let (rejected, overflowed) = counts.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
            for (sample, updates) in [
                (
                    (
                        "rejected_updates_total",
                        "Rejected updates: NaN, negative increments of counters, infinities that \
                     would make a sum NaN, invalid labels. Families without any have no series.",
                    ),
                    rejected,
                ),
                (
                    (
                        "overflowed_updates_total",
                        "Updates counted in an overflow series instead of a series of their own. \
                     Families without any have no series.",
                    ),
                    overflowed,
                ),
            ] {
                if updates > 0 {
                    let name = exposed(entry.desc(), &prefix);
                    out.write(sample, &[("family", &name)], updates as f64)?;
                }
            }
        }
        Ok(())
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
    /// Returns an error if the prefix is invalid, if it has a colon and there are state sets, if
    /// two families would expose the same samples with it, or if the registry was scraped before.
    pub fn set_prefix(&self, prefix: &str) -> Result<(), Error> {
        self.enlist();
        if !prefix.is_empty() {
            check_name(prefix.as_bytes()).map_err(|rule| rule.error(Subject::Prefix, prefix))?;
        }
        let prefix = &*prefixed(prefix, "");
        let mut names = self.lock();
        if names.scraped {
            return Err(too_late(Subject::Prefix, prefix));
        }
        for entry in names.entries.values() {
            entry.desc().check_prefixed(prefix)?;
            for (name, _) in &names.constant {
                entry.check_constant(prefix, name)?;
            }
        }
        let has_utf8 = names.index.knows(("", Kind::Gauge, true));
        let (index, free) = names.index_with(prefix, has_utf8);
        free?;
        (names.index, names.prefix) = (index, Text::from(prefix));
        names.publish_all();
        Ok(())
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
        check_label(name.as_bytes(), Kind::Histogram)
            .map_err(|rule| rule.error(Subject::Constant, name))?;
        let mut names = self.lock();
        if names.scraped {
            return Err(too_late(Subject::Constant, name));
        }
        if names.constant.iter().any(|(other, _)| **other == *name) {
            return Err(NameRule::Twice.error(Subject::Constant, name));
        }
        for entry in names.entries.values() {
            entry.check_constant(&names.prefix, name)?;
        }
        names.constant.push((Text::from(name), Text::from(value)));
        names.publish_all();
        Ok(())
    }

    /// Counts the series of every family for a report. Takes the families that collectors wrote out
    /// of `collected` if they add series to one of these.
    pub(super) fn count_series(
        &self,
        collected: &mut BTreeMap<&str, Vec<&snapshot::Family>>,
    ) -> Vec<FamilyCardinality> {
        let (entries, prefix) = self.lock().in_order();
        let exported = entries.iter().filter(|entry| !entry.desc().is_off());
        let counted = exported.map(|entry| {
            let (mut count, mut refused) = (LabelCount::default(), 0);
            for family in &entry.duplicates {
                family.label_texts(&mut |text| count.add(text));
                let capped = family.desc().view.as_ref().map_or(0, |view| view.refused());
                refused += family.unusual_updates().1 + capped;
            }
            let limit = entry.duplicates[0].limit();
            let name = format!("{prefix}{}", entry.desc().name);
            let added = collected.remove(&*name).into_iter().flatten();
            added.for_each(|family| count.add_all(family));
            FamilyCardinality::new(name, count, limit, refused)
        });
        counted.collect()
    }

    /// Returns the prefix of all names.
    pub(crate) fn prefix(&self) -> Text {
        self.lock().prefix.clone()
    }

    /// Returns the label text of the constant labels of all families.
    pub(super) fn constant_text(&self) -> String {
        let names = self.lock();
        let constant = names.constant.iter();
        let constant: Vec<_> = constant.map(|(name, value)| (&**name, &**value)).collect();
        labels::text(&constant)
    }

    /// Writes every family into `out`, whose families reuse their memory.
    pub(super) fn write(&self, pass: &mut Pass<'_>, out: &mut Snapshot) {
        let mut names = self.lock();
        names.scraped = true;
        let ((entries, prefix), constant) = (names.in_order(), names.constant.clone());
        drop(names);
        out.families
            .reserve_exact(entries.len().saturating_sub(out.families.len()));
        let mut count = 0;
        for (i, entry) in entries.iter().enumerate() {
            prefetch_next(
                &entries[i + 1..],
                out.families.get(count + 1..).unwrap_or_default(),
            );
            let first = &entry.duplicates[0];
            if entry.desc().is_off() {
                entry.duplicates.iter().for_each(|family| family.skip(pass));
                continue;
            }
            if pass.reads_own_cells_only() && !first.has_own_cells() {
                continue;
            }
            let empty = entry.empty.get_or_init(|| {
                let meta = meta(entry.desc(), &prefix, &constant);
                snapshot::Family::new(meta, first.values())
            });
            let family = out.family_for(count, empty);
            first.write(pass, family);
            for duplicate in &entry.duplicates[1..] {
                let mut values = empty.clone();
                duplicate.write(pass, &mut values);
                family.add(&values);
            }
            let view = entry.desc().view.as_deref();
            if let Some((dropped, rule)) = view.and_then(|view| view.combined.as_ref()) {
                family.drop_labels(dropped, *rule);
            }
            if entry.desc().labels == Names::Any && !empty.meta.constant.is_empty() {
                family.override_constant_labels();
            }
            count += 1;
        }
        out.families.truncate(count);
    }
}

/// Prefetches what a scrape reads of the next families, and writes of those of the snapshot. Each
/// step follows a pointer that the step before prefetched, when the family was one further away.
fn prefetch_next(next: &[Arc<FamilyEntry>], out: &[snapshot::Family]) {
    if let Some(out) = out.get(1) {
        prefetch(out, 1);
    }
    if let Some(out) = out.first() {
        out.prefetch();
    }
    if let Some(entry) = next.get(4) {
        prefetch(Arc::as_ptr(entry), 1);
    }
    if let Some(entry) = next.get(3) {
        prefetch(entry.duplicates.as_ptr(), 1);
    }
    let family = |at: usize| next.get(at).map(|entry| &*entry.duplicates[0]);
    if let Some(family) = family(2) {
        prefetch(std::ptr::from_ref(family).cast::<u8>(), size_of_val(family));
    }
    if let Some(family) = family(1) {
        family.prefetch(Prefetch::Places);
    }
    if let Some(family) = family(0) {
        family.prefetch(Prefetch::Series);
    }
}

pub(super) fn absent(name: &str) -> Error {
    let name = name.escape_debug();
    Error::other(format_args!(
        "no family or collector `{name}` is registered"
    ))
}

/// Constant labels and the prefix are fixed by the first scrape.
fn too_late(subject: Subject<'_>, name: &str) -> Error {
    Error::other(format_args!(
        "{subject} `{name}` is set too late: set it at start-up, before the first scrape"
    ))
}

/// A metric that is no static, so that each use of it declares it.
fn declared_again(desc: &Desc) -> Error {
    let (name, location) = (&desc.name, desc.location);
    Error::other(format_args!(
        "family `{name}` is declared again by each use of the metric at {location}, which makes \
         updates slow; make it a `static`"
    ))
}
