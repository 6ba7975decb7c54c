//! The names of a registry: the families and reserved names under its lock, and their conflicts.

use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::family::AnyFamily;
use crate::family::desc::Desc;
use crate::snapshot::clash_index::ClashIndex;
use crate::snapshot::{self, Difference, ExposedName, Kind, Text};
use crate::sync::RandomState;

use super::super::view::View;
use super::conflict::{Owner, has_collector};
use super::entry::{Entry, meta};

#[derive(Debug, Default)]
/// Everything that the lock of a registry's families guards.
pub(in crate::registry) struct Inner {
    /// The families by name, without the prefix.
    pub(super) entries: HashMap<Text, Arc<Entry>, RandomState>,
    /// The families in the order of their names, for scrapes; `None` after a change.
    pub(super) in_order: Option<Arc<[Arc<Entry>]>>,
    /// The families by the names of their samples, with the prefix. Finds conflicts.
    pub(super) index: ClashIndex<Text>,
    /// The constant labels of all families.
    pub(super) constant: Vec<(Text, Text)>,
    /// The names that are reserved for collectors.
    pub(super) reserved: HashMap<Text, Reserved>,
    /// The reserved names by the names of their samples.
    pub(super) reserved_index: ClashIndex<Text>,
    pub(super) prefix: Text,
    /// In the order in which they were added.
    pub(super) views: Arc<[Arc<View>]>,
    /// Whether other processes read the families, if the process shares its metrics.
    pub(in crate::registry) is_published: bool,
    /// The families that the program was told to declare in a `static`.
    pub(super) declared_again: HashSet<Text, RandomState>,
    /// Whether there was a scrape. From then on, prefix and constant labels cannot change.
    pub(super) scraped: bool,
}

/// A family that a collector writes, under a name that is reserved for it.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) kind: Kind,
    pub(super) location: &'static Location<'static>,
}

impl Reserved {
    pub(super) fn owner<'a>(&self, name: &'a str) -> Owner<'a> {
        Owner {
            name,
            kind: self.kind,
            location: self.location,
        }
    }
}

impl Inner {
    /// Adds a family, or makes it share the entry of an equal static.
    pub(super) fn add(&mut self, family: Arc<dyn AnyFamily>, is_static: bool) -> Result<(), Error> {
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
                let mut changed = Entry {
                    changed: entry.changed.clone(),
                    duplicates,
                    empty: entry.empty.clone(),
                };
                if registered.help.is_empty() {
                    let mut desc_with_help = registered.clone();
                    desc_with_help.help = desc.help.clone();
                    changed.changed = Some(Box::new(desc_with_help));
                    changed.empty = OnceLock::new();
                }
                *entry = Arc::new(changed);
                let entry = Arc::clone(entry);
                self.publish(&entry);
                return Ok(());
            }
            let difference = entry.difference(desc);
            return Err(if is_static {
                let help = || Difference::help(&registered.help, &desc.help);
                let difference = difference.unwrap_or_else(help);
                let owner = Owner::of(registered);
                owner.not_exported(desc.location, desc.kind, Some(&difference))
            } else {
                Owner::of(registered).registered(desc.kind, difference.as_ref())
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

    /// Returns the family that has this description, or `None` if the name is free.
    pub(super) fn same_as(&self, desc: &Desc) -> Result<Option<Arc<dyn AnyFamily>>, Error> {
        let Some(entry) = self.entries.get(&*desc.name) else {
            return Ok(None);
        };
        let is_same = entry.is_same_family(desc);
        let mut duplicates = entry.duplicates.iter();
        let found = duplicates.find(|family| is_same && family.desc().has_same_combinations(desc));
        if found.is_some() {
            return Ok(found.cloned());
        }
        let owner = Owner {
            name: &desc.name,
            kind: entry.desc().kind,
            location: entry.duplicates[0].desc().location,
        };
        let values = || Difference::in_property("other values of an enum label");
        let difference = entry.difference(desc).unwrap_or_else(values);
        Err(owner.registered(desc.kind, Some(&difference)))
    }

    /// Returns the family that the same place declared before, and whether to log, now and only
    /// now, that this place is no `static`: the declaration before was dropped, which a static
    /// never is.
    pub(super) fn declared_before<F: AnyFamily + 'static>(
        &mut self,
        desc: &Desc,
    ) -> Option<(Arc<F>, bool)> {
        let entry = self.entries.get(&*desc.name)?;
        let mut before = entry.duplicates.iter().filter(|family| {
            let before = family.desc();
            before.location == desc.location
                && before.is_same_family(desc)
                && before.has_same_combinations(desc)
        });
        let (family, is_dropped) = before.find_map(|family| {
            let is_dropped = Arc::strong_count(family) == 1;
            let family = Arc::clone(family).as_any().downcast().ok()?;
            Some((family, is_dropped))
        })?;
        let is_note_due = is_dropped && self.declared_again.insert(desc.name.clone());
        Some((family, is_note_due))
    }

    /// Checks that no sample of this family has the name of another family's sample.
    pub(super) fn check_free(&mut self, desc: &Desc) -> Result<(), Error> {
        let exposed = self.exposed(desc);
        if let Some(other) = self.family_clash((&exposed, desc.kind, desc.utf8)) {
            return Err(if other.name == desc.name {
                let difference = other.difference(desc);
                Owner::of(other).registered(desc.kind, difference.as_ref())
            } else {
                Owner::of(other).shared_samples(&desc.name)
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
    pub(super) fn family_clash(&mut self, exposed: ExposedName<'_>) -> Option<&Desc> {
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
    pub(super) fn reserved_clash(&self, exposed: ExposedName<'_>) -> Option<(&Text, &Reserved)> {
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
    pub(super) fn put(&mut self, entry: Entry) {
        self.in_order = None;
        let (name, key) = (entry.desc().name.clone(), self.exposed(entry.desc()));
        let exposed = (&*key, entry.desc().kind, entry.desc().utf8);
        self.publish(&entry);
        if self.index.knows(exposed) {
            self.index.insert(exposed, &key);
            self.entries.insert(name, Arc::new(entry));
        } else {
            self.entries.insert(name, Arc::new(entry));
            self.index = ClashIndex::new(true);
            self.index_all();
        }
    }

    /// Lets other processes read the families of an entry, if the registry is one that they read.
    fn publish(&self, entry: &Entry) {
        if self.is_published && !entry.desc().is_off() {
            let meta = meta(entry.desc(), &self.prefix, &self.constant);
            entry
                .duplicates
                .iter()
                .for_each(|family| family.publish(&meta));
        }
    }

    /// The same for all families.
    pub(in crate::registry) fn publish_all(&self) {
        self.entries.values().for_each(|entry| self.publish(entry));
    }

    /// Removes an entry.
    pub(super) fn take(&mut self, name: &str) -> Option<Arc<Entry>> {
        self.in_order = None;
        let entry = self.entries.remove(name)?;
        entry
            .duplicates
            .iter()
            .for_each(|family| family.unpublish());
        let key = self.exposed(entry.desc());
        self.index
            .remove((&key, entry.desc().kind, entry.desc().utf8), &key);
        Some(entry)
    }

    /// Returns the families in the order of their names.
    pub(super) fn in_order(&mut self) -> Arc<[Arc<Entry>]> {
        let in_order = self.in_order.get_or_insert_with(|| {
            let mut all: Vec<_> = self.entries.values().cloned().collect();
            all.sort_unstable_by(|a, b| a.desc().name.cmp(&b.desc().name));
            all.into()
        });
        Arc::clone(in_order)
    }

    /// Builds the index of the families again, for example after a change of the prefix.
    pub(super) fn index_all(&mut self) {
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
            return Err(has_collector(&desc.name, Some(kind), location));
        }
        match self.reserved_clash((&desc.name, desc.kind, desc.utf8)) {
            Some((other, reserved)) => Err(reserved.owner(other).shared_samples(&desc.name)),
            None => Ok(()),
        }
    }
}
