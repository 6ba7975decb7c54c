//! The families of a registry: registration, the prefix, the constant labels, and scrapes.

pub(crate) mod conflict;
mod entry;
mod names;

use std::panic::Location;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, NameRule, Subject, is_first, warn};
use crate::observe::Pass;
use crate::snapshot::clash_index::ClashIndex;
use crate::snapshot::{self, Cardinality, Catalogue, Kind, LabelCount, Snapshot, Text, labels};

use crate::family::AnyFamily;
use crate::family::desc::{Desc, Names};
use crate::family::grammar::{check_label, check_name, prefixed};
use crate::family::lint;

use conflict::Owner;
use entry::Entry;
pub(crate) use entry::meta;
pub(super) use names::Inner;
use names::Reserved;

use super::Description;
use super::view::{View, Views};

/// The families of one registry, by name.
#[derive(Debug, Default)]
pub(crate) struct Families {
    inner: Mutex<Inner>,
    /// Whether registration logs no notes about names. Written by the program, read by
    /// registrations.
    without_notes: AtomicBool,
}

/// The number of families that were rejected because the name of a static was taken.
pub(super) static REJECTED: AtomicU64 = AtomicU64::new(0);

/// The updates of one family that were rejected, and those in its overflow series.
pub(super) struct UnusualUpdates {
    /// The name of the family, with the prefix.
    pub(super) name: String,
    pub(super) rejected: u64,
    pub(super) overflowed: u64,
}

/// A note about a static, to be logged.
pub(crate) enum Note {
    /// It is not exported, or was declared before.
    Warning(Error),
    /// Its family is new: perhaps there are notes about its name.
    Names(Arc<dyn AnyFamily>),
}

impl Families {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a family.
    pub(crate) fn add(&self, family: Arc<dyn AnyFamily>) -> Result<(), Error> {
        self.lock().add(Arc::clone(&family), false)?;
        self.log_notes(family.desc());
        Ok(())
    }

    /// Logs notes about the name of a family that was just added.
    fn log_notes(&self, desc: &Desc) {
        if self.lints() {
            lint::log_notes(desc);
        }
    }

    /// Returns whether registration logs notes about names.
    pub(super) fn lints(&self) -> bool {
        !self.without_notes.load(Relaxed)
    }

    /// Sets whether registration logs notes about names.
    pub(super) fn set_lint(&self, on: bool) {
        self.without_notes.store(!on, Relaxed);
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
    pub(crate) fn log(&self, note: Note) {
        match note {
            Note::Warning(error) => warn(&error),
            Note::Names(family) => self.log_notes(family.desc()),
        }
    }

    /// Returns the family that has this description. If its name is free, makes the family and
    /// adds it.
    pub(crate) fn get_or_add(
        &self,
        desc: Desc,
        make: impl FnOnce(Desc) -> Arc<dyn AnyFamily>,
    ) -> Result<Arc<dyn AnyFamily>, Error> {
        let before = self.lock().same_as(&desc)?;
        if let Some(family) = before {
            return Ok(family);
        }
        let family = make(desc);
        let mut inner = self.lock();
        // Another thread may have added one meanwhile.
        if let Some(other) = inner.same_as(family.desc())? {
            return Ok(other);
        }
        inner.add(Arc::clone(&family), false)?;
        drop(inner);
        self.log_notes(family.desc());
        Ok(family)
    }

    /// Adds views, before the families that they change. If one of them is an error, none is added.
    pub(crate) fn add_views(&self, views: Vec<View>) -> Result<Vec<Arc<View>>, Error> {
        views.iter().try_for_each(View::check)?;
        let mut inner = self.lock();
        for view in &views {
            let mut entries = inner.entries.values().map(|entry| entry.desc());
            if let Some(desc) = entries.find(|desc| view.matches(desc.declared_name())) {
                let late = Error::other(format_args!(
                    "view `{}` is set too late: family `{}` was registered before, at {}; add \
                     views at start-up, before the metrics that they change",
                    view.pattern().escape_debug(),
                    desc.declared_name(),
                    desc.location
                ));
                return Err(view.placed(late));
            }
        }
        let added: Vec<_> = views.into_iter().map(Arc::new).collect();
        inner.views = inner.views.iter().chain(&added).cloned().collect();
        Ok(added)
    }

    /// Removes views again, before families that they would change.
    pub(crate) fn remove_views(&self, views: &[Arc<View>]) {
        let mut inner = self.lock();
        let stays = |view: &&Arc<View>| !views.iter().any(|other| Arc::ptr_eq(view, other));
        inner.views = inner.views.iter().filter(stays).cloned().collect();
    }

    /// Returns the views, in the order in which they were added.
    pub(super) fn views(&self) -> Arc<[Arc<View>]> {
        Arc::clone(&self.lock().views)
    }

    /// Changes a description by the views of its family. `shares`: label sets that become equal can
    /// share the cells of a series.
    pub(crate) fn viewed(&self, mut desc: Desc, shares: bool) -> Desc {
        let views = self.views();
        if !views.is_empty() {
            let name = desc.name.clone();
            if let Some(views) = Views::of(&views, &name) {
                views.apply(&mut desc, shares);
            }
        }
        desc
    }

    /// Gives a family another help text and unit, and another name if that is free. Returns its
    /// name afterwards.
    pub(super) fn describe(&self, name: &str, new: &Description<'_>) -> Result<Text, Error> {
        let mut inner = self.lock();
        let declared = |entry: &&Arc<Entry>| **entry.desc().declared_name() == *name;
        let entry = inner.entries.values().find(declared);
        let name = entry.map_or(name, |entry| &entry.desc().name).to_owned();
        let Some(entry) = inner.take(&name) else {
            return Err(absent(&name));
        };
        let mut desc = entry.desc().clone();
        desc.help = Text::owned(new.help);
        let is_renamed = desc.name != *desc.declared_name();
        let renamed = Desc {
            name: Text::owned(if is_renamed { &name } else { new.name }),
            unit: Text::owned(new.unit),
            ..desc.clone()
        };
        let taken = inner.check_free(&renamed).err();
        let desc = if taken.is_none() { renamed } else { desc };
        let duplicates = entry.duplicates.clone();
        let empty = OnceLock::new();
        let name = desc.name.clone();
        let changed = Some(Box::new(desc));
        inner.put(Entry {
            changed,
            duplicates,
            empty,
        });
        taken.map_or(Ok(name), Err)
    }

    /// Removes a family. Its handles keep counting, but no scrape exports it.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let removed = self.lock().take(name);
        removed.map(drop).ok_or_else(|| absent(name))
    }

    /// Removes all families and all reserved names.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        inner.reserved.clear();
        inner.reserved_index = ClashIndex::default();
        inner.index = ClashIndex::default();
        inner.in_order = None;
        let removed = std::mem::take(&mut inner.entries);
        drop(inner);
        let families = removed.values().flat_map(|entry| &entry.duplicates);
        families.for_each(|family| family.unpublish());
        drop(removed);
    }

    /// Reserves a name for a family that a collector writes. Rejects a name whose samples would
    /// have the names of another family's.
    pub(crate) fn reserve(
        &self,
        name: &str,
        kind: Kind,
        location: &'static Location<'static>,
    ) -> Result<(), Error> {
        let mut inner = self.lock();
        let prefixed = format!("{}{name}", inner.prefix);
        if let Some(family) = inner.family_clash((&prefixed, kind, false)) {
            return Err(if *family.name == *name {
                Owner::of(family).taken(Some(kind))
            } else {
                Owner::of(family).shared_samples(name)
            });
        }
        let exposed = (name, kind, false);
        if let Some((other, reserved)) = inner.reserved_clash(exposed) {
            return Err(reserved.owner(other).shared_samples(name));
        }
        let key = Text::owned(name);
        inner.reserved_index.insert(exposed, &key);
        inner.reserved.insert(key, Reserved { kind, location });
        Ok(())
    }

    /// Releases the name of a collector that was removed.
    pub(crate) fn release(&self, name: &str) {
        let mut inner = self.lock();
        if let Some((key, reserved)) = inner.reserved.remove_entry(name) {
            inner
                .reserved_index
                .remove((&key, reserved.kind, false), &key);
        }
    }

    /// Returns the names, with the prefix.
    pub(crate) fn names(&self) -> Vec<String> {
        let inner = self.lock();
        inner
            .entries
            .keys()
            .map(|name| format!("{}{name}", inner.prefix))
            .collect()
    }

    /// Returns the kind of the family of this name, and where it was registered.
    pub(crate) fn registered(&self, name: &str) -> Option<(Kind, &'static Location<'static>)> {
        let inner = self.lock();
        let desc = inner.entries.get(name)?.desc();
        Some((desc.kind, desc.location))
    }

    /// Returns the rejected and overflowed updates of the families that have any, in the order of
    /// their names.
    pub(super) fn unusual_updates(&self) -> Vec<UnusualUpdates> {
        let (entries, prefix) = {
            let mut inner = self.lock();
            (inner.in_order(), inner.prefix.clone())
        };
        entries
            .iter()
            .map(|entry| {
                let counts = entry
                    .duplicates
                    .iter()
                    .map(|family| family.unusual_updates());
                let (rejected, overflowed) = counts.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
                (entry, rejected, overflowed)
            })
            .filter(|(_, rejected, overflowed)| rejected + overflowed > 0)
            .map(|(entry, rejected, overflowed)| UnusualUpdates {
                name: format!("{prefix}{}", entry.desc().name),
                rejected,
                overflowed,
            })
            .collect()
    }

    /// Returns whether there is a family of this name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.lock().entries.contains_key(name)
    }

    /// Sets every series of every family to zero, in a process that has only one thread.
    pub(crate) fn start_over(&self, pass: &Pass<'_>) {
        let families: Vec<_> = self
            .lock()
            .entries
            .values()
            .flat_map(|entry| entry.duplicates.iter().cloned())
            .collect();
        families.iter().for_each(|family| family.start_over(pass));
    }

    /// Sets the prefix of all names, before the first scrape.
    pub(crate) fn set_prefix(&self, prefix: &str) -> Result<(), Error> {
        if !prefix.is_empty() {
            check_name(prefix.as_bytes()).map_err(|rule| rule.error(Subject::Prefix, prefix))?;
        }
        let prefix = &*prefixed(prefix, "");
        let mut inner = self.lock();
        if inner.scraped {
            return Err(too_late(Subject::Prefix, prefix));
        }
        for entry in inner.entries.values() {
            entry.desc().check_prefixed(prefix)?;
            for (name, _) in &inner.constant {
                entry.check_constant(prefix, name)?;
            }
        }
        inner.prefix = Text::owned(prefix);
        inner.index_all();
        inner.publish_all();
        Ok(())
    }

    /// Gives every family a constant label, before the first scrape.
    pub(crate) fn set_constant(&self, name: &str, value: &str) -> Result<(), Error> {
        check_label(name.as_bytes(), Kind::Histogram)
            .map_err(|rule| rule.error(Subject::Constant, name))?;
        let mut inner = self.lock();
        if inner.scraped {
            return Err(too_late(Subject::Constant, name));
        }
        if inner.constant.iter().any(|(other, _)| **other == *name) {
            return Err(NameRule::Twice.error(Subject::Constant, name));
        }
        for entry in inner.entries.values() {
            entry.check_constant(&inner.prefix, name)?;
        }
        inner.constant.push((Text::owned(name), Text::owned(value)));
        inner.publish_all();
        Ok(())
    }

    /// Adds the series of every family to a report.
    pub(super) fn count_series(&self, report: &mut Cardinality) {
        let (entries, prefix) = {
            let mut inner = self.lock();
            (inner.in_order(), inner.prefix.clone())
        };
        for entry in entries.iter().filter(|entry| !entry.desc().is_off()) {
            let (mut count, mut refused) = (LabelCount::default(), 0);
            for family in &entry.duplicates {
                family.label_texts(&mut |text| count.add(text));
                let capped = family.desc().view.as_ref().map_or(0, |view| view.refused());
                refused += family.unusual_updates().1 + capped;
            }
            let limit = entry.duplicates[0].limit();
            let name = format!("{prefix}{}", entry.desc().name);
            report.add(&name, count, limit, refused);
        }
    }

    /// Lists every family.
    pub(super) fn catalogue(&self) -> Catalogue {
        let (entries, prefix, constant) = {
            let mut inner = self.lock();
            let constant = inner.constant.clone();
            (inner.in_order(), inner.prefix.clone(), constant)
        };
        let declared = |entry: &Arc<Entry>| entry.declared(&prefix, &constant);
        Catalogue::new(entries.iter().map(declared).collect())
    }

    /// Returns the prefix of all names.
    pub(crate) fn prefix(&self) -> Text {
        self.lock().prefix.clone()
    }

    /// Returns the label text of the constant labels of all families.
    pub(crate) fn constant_text(&self) -> String {
        let inner = self.lock();
        let constant = inner.constant.iter();
        let constant: Vec<_> = constant.map(|(name, value)| (&**name, &**value)).collect();
        labels::text(&constant)
    }

    /// Writes every family into `out`, whose families reuse their memory.
    pub(crate) fn write(&self, pass: &mut Pass<'_>, out: &mut Snapshot) {
        let (entries, prefix, constant) = {
            let mut inner = self.lock();
            inner.scraped = true;
            (
                inner.in_order(),
                inner.prefix.clone(),
                inner.constant.clone(),
            )
        };
        out.families
            .reserve_exact(entries.len().saturating_sub(out.families.len()));
        let mut count = 0;
        for entry in entries.iter() {
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

fn absent(name: &str) -> Error {
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
