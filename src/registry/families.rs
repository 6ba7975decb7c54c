//! The families of a registry: name conflicts, the prefix, and the constant labels of all families.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ahash::RandomState;

use crate::error::{Difference, Error, NameRule, Subject, warn};
use crate::observe::Pass;
use crate::snapshot::clash_index::ClashIndex;
use crate::snapshot::{self, ExposedName, Kind, Meta, Snapshot, Text, labels};

use crate::family::AnyFamily;
use crate::family::desc::{Desc, Names};
use crate::family::grammar::{check_label, check_name, prefixed};
use crate::family::lint;

/// The families of one registry, by name.
#[derive(Debug, Default)]
pub(crate) struct Families {
    inner: Mutex<Inner>,
    /// Whether registration logs no notes about names. Written by the program, read by
    /// registrations.
    without_notes: AtomicBool,
}

/// The number of families that were rejected because the name of a static was taken.
pub(crate) static REJECTED: AtomicU64 = AtomicU64::new(0);

/// The updates of one family that were rejected, and those in its overflow series.
pub(super) struct UnusualUpdates {
    /// The name of the family, with the prefix.
    pub(super) name: String,
    pub(super) rejected: u64,
    pub(super) overflowed: u64,
}

#[derive(Debug, Default)]
/// Everything that the lock of a registry's families guards.
struct Inner {
    /// The families by name, without the prefix.
    entries: HashMap<Text, Arc<Entry>, RandomState>,
    /// The families in the order of their names, for scrapes; `None` after a change.
    in_order: Option<Arc<[Arc<Entry>]>>,
    /// The families by the names of their samples, with the prefix. Finds conflicts.
    index: ClashIndex<Text>,
    /// The constant labels of all families.
    constant: Vec<(Text, Text)>,
    /// The names that are reserved for collectors.
    reserved: HashMap<Text, Reserved>,
    /// The reserved names by the names of their samples.
    reserved_index: ClashIndex<Text>,
    prefix: Text,
    /// Whether there was a scrape. From then on, prefix and constant labels cannot change.
    scraped: bool,
}

/// A family that a collector writes, under a name that is reserved for it.
#[derive(Debug)]
struct Reserved {
    kind: Kind,
    location: &'static Location<'static>,
}

/// A family. Equal declarations of it share its entry.
#[derive(Debug)]
struct Entry {
    /// The changed description, if the family was described after it was declared.
    changed: Option<Box<Desc>>,
    /// The families of the equal declarations, at least one. A scrape adds them up.
    duplicates: Vec<Arc<dyn AnyFamily>>,
    /// The family of a snapshot, without series. Made by the first scrape, because constant labels
    /// cannot change any more.
    empty: OnceLock<snapshot::Family>,
}

impl Families {
    fn lock(&self) -> MutexGuard<'_, Inner> {
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

    /// Adds the family of a static. If the same family is registered, the two share their series. A
    /// conflicting one is logged once and not exported.
    pub(crate) fn add_static(&self, family: Arc<dyn AnyFamily>) {
        // The lock has to be released before the warning, so this is not in the condition.
        let added = self.lock().add(Arc::clone(&family), true);
        if let Err(error) = added {
            REJECTED.fetch_add(1, Relaxed);
            warn(&error);
        } else {
            self.log_notes(family.desc());
        }
    }

    /// Returns the family that has this description, and adds it if its name is free.
    pub(crate) fn get_or_add(
        &self,
        family: Arc<dyn AnyFamily>,
    ) -> Result<Arc<dyn AnyFamily>, Error> {
        let mut inner = self.lock();
        let desc = family.desc().clone();
        if let Some(entry) = inner.entries.get(&*desc.name) {
            let mut duplicates = entry.duplicates.iter();
            let found = duplicates.find(|family| {
                entry.is_same_family(&desc) && family.desc().has_same_combinations(&desc)
            });
            let location = entry.duplicates[0].desc().location;
            return found.cloned().ok_or_else(|| {
                let difference = entry.difference(&desc).unwrap_or(Difference::LabelValues);
                Error::registered(&desc.name, entry.desc().kind, location, Some(difference))
            });
        }
        inner.add(Arc::clone(&family), false)?;
        drop(inner);
        self.log_notes(family.desc());
        Ok(family)
    }

    /// Gives a family another help text and unit, and another name if that is free. Returns its
    /// name afterwards.
    #[cfg(feature = "facade")]
    pub(crate) fn describe(
        &self,
        name: &str,
        new: &str,
        help: &str,
        unit: &str,
    ) -> Result<Text, Error> {
        let mut inner = self.lock();
        let Some(entry) = inner.take(name) else {
            return Err(Error::absent(name));
        };
        let mut desc = entry.desc().clone();
        desc.help = Text::shared(help);
        let renamed = Desc {
            name: Text::shared(new),
            unit: Text::shared(unit),
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
        removed.map(drop).ok_or_else(|| Error::absent(name))
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
                Error::taken_by_family(name, family.kind, family.location, Some(kind))
            } else {
                Error::shared_samples(name, &family.name, family.location)
            });
        }
        let exposed = (name, kind, false);
        if let Some((other, reserved)) = inner.reserved_clash(exposed) {
            return Err(Error::shared_samples(name, other, reserved.location));
        }
        let key = Text::shared(name);
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
            check_name(prefix.as_bytes())
                .map_err(|rule| Error::name_of(Subject::Prefix, prefix, rule))?;
        }
        let prefix = &*prefixed(prefix, "");
        let mut inner = self.lock();
        if inner.scraped {
            return Err(Error::prefix_too_late(prefix));
        }
        for entry in inner.entries.values() {
            entry.desc().check_prefixed(prefix)?;
            for (name, _) in &inner.constant {
                entry.check_constant(prefix, name)?;
            }
        }
        inner.prefix = Text::shared(prefix);
        inner.index_all();
        Ok(())
    }

    /// Gives every family a constant label, before the first scrape.
    pub(crate) fn set_constant(&self, name: &str, value: &str) -> Result<(), Error> {
        check_label(name.as_bytes(), Kind::Histogram)
            .map_err(|rule| Error::name_of(Subject::Constant, name, rule))?;
        let mut inner = self.lock();
        if inner.scraped {
            return Err(Error::constants_too_late(name));
        }
        if inner.constant.iter().any(|(other, _)| **other == *name) {
            return Err(Error::name_of(Subject::Constant, name, NameRule::Twice));
        }
        for entry in inner.entries.values() {
            entry.check_constant(&inner.prefix, name)?;
        }
        inner
            .constant
            .push((Text::shared(name), Text::shared(value)));
        Ok(())
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
        let mut count = 0;
        for entry in entries.iter() {
            let first = &entry.duplicates[0];
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
            if entry.desc().labels == Names::Any && !empty.meta.constant.is_empty() {
                family.override_constant_labels();
            }
            count += 1;
        }
        out.families.truncate(count);
    }
}

impl Inner {
    /// Adds a family, or makes it share the entry of an equal static.
    fn add(&mut self, family: Arc<dyn AnyFamily>, is_static: bool) -> Result<(), Error> {
        let desc = family.desc();
        desc.check()?;
        desc.check_prefixed(&self.prefix)?;
        if let Some(entry) = self.entries.get_mut(&*desc.name) {
            self.in_order = None;
            let registered = entry.desc();
            if is_static && entry.is_same_family(desc) && entry.help_fits(desc) {
                let duplicates = entry
                    .duplicates
                    .iter()
                    .cloned()
                    .chain([family.clone()])
                    .collect();
                let mut shared = Entry {
                    changed: entry.changed.clone(),
                    duplicates,
                    empty: entry.empty.clone(),
                };
                if registered.help.is_empty() {
                    let mut desc_with_help = registered.clone();
                    desc_with_help.help = desc.help.clone();
                    shared.changed = Some(Box::new(desc_with_help));
                    shared.empty = OnceLock::new();
                }
                *entry = Arc::new(shared);
                return Ok(());
            }
            let mut difference = entry.difference(desc);
            let (name, kind, first) = (&desc.name, registered.kind, registered.location);
            return Err(if is_static {
                if difference.is_none() {
                    let (first, new) = (&*registered.help, &*desc.help);
                    difference = Some(Difference::Help(first.into(), new.into()));
                }
                Error::not_exported(name, desc.location, kind, first, difference)
            } else {
                Error::registered(name, kind, first, difference)
            });
        }
        self.check_free(desc)?;
        let entry = Entry {
            changed: None,
            duplicates: vec![family],
            empty: OnceLock::new(),
        };
        for (name, _) in &self.constant {
            entry.check_constant(&self.prefix, name)?;
        }
        self.put(entry);
        Ok(())
    }

    /// Checks that no sample of this family has the name of another family's sample.
    fn check_free(&mut self, desc: &Desc) -> Result<(), Error> {
        let exposed = self.exposed(desc);
        if let Some(other) = self.family_clash((&exposed, desc.kind, desc.utf8)) {
            return Err(if other.name == desc.name {
                let difference = other.difference(desc);
                Error::registered(&desc.name, other.kind, other.location, difference)
            } else {
                Error::shared_samples(&desc.name, &other.name, other.location)
            });
        }
        self.check_reserved(desc)
    }

    /// Returns the name of a family with the prefix.
    fn exposed(&self, desc: &Desc) -> Text {
        if self.prefix.is_empty() {
            desc.name.clone()
        } else {
            Text::from(format!("{}{}", self.prefix, desc.name))
        }
    }

    /// Returns the family that exposes a sample of the same name as a family `exposed`.
    fn family_clash(&mut self, exposed: ExposedName<'_>) -> Option<&Desc> {
        if !self.index.knows(exposed) {
            self.index = ClashIndex::new(true);
            self.index_all();
        }
        let desc = |key: &Text| self.entries[&key[self.prefix.len()..]].desc();
        let clash = self.index.clash(exposed, |key| {
            let desc = desc(key);
            (key, desc.kind, desc.utf8)
        });
        clash.map(desc)
    }

    /// Returns the reserved name whose family exposes a sample of the same name as `exposed`.
    fn reserved_clash(&self, exposed: ExposedName<'_>) -> Option<(&Text, &Reserved)> {
        let clash = |key| (key as &str, self.reserved[key].kind, false);
        let key = if self.reserved_index.knows(exposed) {
            self.reserved_index.clash(exposed, clash)
        } else {
            // Rare: the name has several escaped forms.
            let mut all = self.reserved.keys();
            all.find(|key| snapshot::clash(exposed, clash(key)))
        };
        key.map(|key| (key, &self.reserved[key]))
    }

    /// Inserts an entry, whose name is free.
    fn put(&mut self, entry: Entry) {
        self.in_order = None;
        let (name, key) = (entry.desc().name.clone(), self.exposed(entry.desc()));
        let exposed = (&*key, entry.desc().kind, entry.desc().utf8);
        if self.index.knows(exposed) {
            self.index.insert(exposed, &key);
            self.entries.insert(name, Arc::new(entry));
        } else {
            self.entries.insert(name, Arc::new(entry));
            self.index = ClashIndex::new(true);
            self.index_all();
        }
    }

    /// Removes an entry.
    fn take(&mut self, name: &str) -> Option<Arc<Entry>> {
        self.in_order = None;
        let entry = self.entries.remove(name)?;
        let key = self.exposed(entry.desc());
        self.index
            .remove((&key, entry.desc().kind, entry.desc().utf8), &key);
        Some(entry)
    }

    /// Returns the families in the order of their names.
    fn in_order(&mut self) -> Arc<[Arc<Entry>]> {
        let in_order = self.in_order.get_or_insert_with(|| {
            let mut all: Vec<_> = self.entries.values().cloned().collect();
            all.sort_unstable_by(|a, b| a.desc().name.cmp(&b.desc().name));
            all.into()
        });
        Arc::clone(in_order)
    }

    /// Builds the index of the families again, for example after a change of the prefix.
    fn index_all(&mut self) {
        let mut index = ClashIndex::new(self.index.knows(("", Kind::Gauge, true)));
        for entry in self.entries.values() {
            let key = self.exposed(entry.desc());
            index.insert((&key, entry.desc().kind, entry.desc().utf8), &key);
        }
        self.index = index;
    }
}

impl Inner {
    /// Checks that a family exposes no sample that a collector exposes. Both get the same prefix,
    /// so names without it are compared.
    fn check_reserved(&self, desc: &Desc) -> Result<(), Error> {
        if self.reserved.is_empty() {
            return Ok(());
        }
        if let Some(reserved) = self.reserved.get(&*desc.name) {
            let (kind, location) = (reserved.kind, reserved.location);
            return Err(Error::collector(&desc.name, Some(kind), location));
        }
        match self.reserved_clash((&desc.name, desc.kind, desc.utf8)) {
            Some((other, reserved)) => {
                Err(Error::shared_samples(&desc.name, other, reserved.location))
            }
            None => Ok(()),
        }
    }
}

impl Entry {
    /// Returns the description that scrapes use.
    fn desc(&self) -> &Desc {
        match &self.changed {
            Some(desc) => desc,
            None => self.duplicates[0].desc(),
        }
    }

    /// Returns whether `desc` declares this family, as it was declared first or as described since.
    fn is_same_family(&self, desc: &Desc) -> bool {
        self.duplicates[0].desc().is_same_family(desc) || self.desc().is_same_family(desc)
    }

    /// Returns a property in which `desc` differs from this family, the help text aside.
    fn difference(&self, desc: &Desc) -> Option<Difference> {
        self.desc()
            .difference(desc)
            .filter(|_| !self.is_same_family(desc))
    }

    /// Returns whether the help text of `desc` fits. Two statics of the same name with different
    /// help texts are hardly the same family. An empty help text fits any other.
    fn help_fits(&self, desc: &Desc) -> bool {
        let helps = [&*self.duplicates[0].desc().help, &self.desc().help, ""];
        helps.contains(&&*desc.help) || self.desc().help.is_empty()
    }

    /// Checks that a constant label of the registry, which has this prefix, is not a label of the
    /// family.
    fn check_constant(&self, prefix: &str, name: &str) -> Result<(), Error> {
        let desc = self.desc();
        if desc.kind == Kind::StateSet && name.strip_prefix(prefix) == Some(&desc.name) {
            return Err(Error::label_name(&desc.name, name, NameRule::States));
        }
        desc.check_label(name)
            .map_err(|why| Error::label_name(&desc.name, name, why))?;
        if desc.labels.fixed().contains(&name) || desc.constant.names().any(|other| other == name) {
            return Err(Error::label_name(&desc.name, name, NameRule::Constant));
        }
        let names = desc.labels.fixed().iter().copied();
        desc.check_escaped(names.chain(desc.constant.names()).chain([name]))
    }
}

/// Builds the description of a family as a snapshot has it.
pub(crate) fn meta(desc: &Desc, prefix: &str, constant: &[(Text, Text)]) -> Meta {
    let mut text = String::new();
    for (name, value) in constant {
        labels::push(&mut text, name, value);
    }
    for (name, value) in desc.constant.iter() {
        labels::push(&mut text, name, value);
    }
    Meta {
        name: if prefix.is_empty() {
            desc.name.clone()
        } else {
            format!("{prefix}{}", desc.name).into()
        },
        help: desc.help.clone(),
        unit: desc.unit.clone(),
        kind: desc.kind,
        merge: desc.merge,
        utf8: desc.utf8,
        constant: text,
    }
}
