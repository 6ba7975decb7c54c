//! The names of a registry: the families and collectors under its lock, and their conflicts.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::family::AnyFamily;
use crate::family::desc::Desc;
use crate::family::event;
use crate::snapshot::{ClashIndex, Difference, ExposedName, Text};
use crate::sync::RandomState;

use super::super::collectors::Collector;
use super::super::view::View;
use super::conflict::{has_collector, not_exported, registered, shared_samples, taken};
use super::entry::{FamilyEntry, exposed, meta};

type Entries = HashMap<Text, Arc<FamilyEntry>, RandomState>;
type Collectors = HashMap<Text, Collector, RandomState>;

/// Everything that the lock of a registry's names guards.
#[derive(Default)]
pub(in crate::registry) struct RegistryNames {
    /// The families by name, without the prefix.
    pub(in crate::registry) entries: Entries,
    /// The families in the order of their names, for scrapes; `None` after a change.
    pub(super) in_order: Option<Arc<[Arc<FamilyEntry>]>>,
    /// The families by the names of their samples, with the prefix. Finds conflicts.
    pub(super) index: ClashIndex<Text>,
    /// The constant labels of all families.
    pub(in crate::registry) constant: Vec<(Text, Text)>,
    /// The collectors by name.
    pub(in crate::registry) collectors: Collectors,
    /// The collectors that write one family, under their own name, by the names of its samples.
    pub(super) collected: ClashIndex<Text>,
    pub(in crate::registry) prefix: Text,
    /// In the order in which they were added.
    pub(in crate::registry) views: Arc<[Arc<View>]>,
    /// Whether other processes read the families, if the process shares its metrics.
    pub(in crate::registry) is_published: bool,
    /// The families that the program was told to declare in a `static`.
    pub(super) declared_again: BTreeSet<String>,
    /// Whether there was a scrape. From then on, prefix and constant labels cannot change.
    pub(super) scraped: bool,
}

impl RegistryNames {
    /// Adds a family, or the metrics of an event. If one of them is rejected, the others of a
    /// static are added all the same; at run time none is.
    pub(super) fn add<F: AnyFamily + 'static>(
        &mut self,
        family: Arc<F>,
        is_static: bool,
    ) -> Result<(), Error> {
        let views = Arc::clone(&self.views);
        let (mut added, mut result) = (Vec::new(), Ok(()));
        for family in event::listed(family, |desc| View::viewed(&views, desc, false)) {
            let name = family.desc().name.clone();
            match self.add_one(family, is_static) {
                Ok(()) => added.push(name),
                Err(error) => result = result.and(Err(error)),
            }
        }
        if result.is_err() && !is_static {
            added.iter().for_each(|name| drop(self.take(name)));
        }
        result
    }

    /// Adds a family, or makes it share the entry of an equal static.
    fn add_one(&mut self, family: Arc<dyn AnyFamily>, is_static: bool) -> Result<(), Error> {
        let desc = family.desc();
        desc.check()?;
        desc.check_prefixed(&self.prefix)?;
        if let Some(entry) = self.entries.get_mut(&*desc.name) {
            self.in_order = None;
            let owner = entry.desc();
            if is_static && entry.is_same_family(desc) && entry.help_fits(desc) {
                let mut shared = entry.with_desc(entry.changed.clone());
                if owner.help.is_empty() {
                    let mut desc_with_help = owner.clone();
                    desc_with_help.help = desc.help.clone();
                    shared.changed = Some(Box::new(desc_with_help));
                }
                shared.duplicates.push(Arc::clone(&family));
                *entry = Arc::new(shared);
                let entry = Arc::clone(entry);
                self.publish(&entry);
                return Ok(());
            }
            let difference = entry.difference(desc);
            return Err(if is_static {
                let help = || Difference::help(&owner.help, &desc.help);
                not_exported(owner, desc, &difference.unwrap_or_else(help))
            } else {
                registered(owner, desc, difference.as_ref())
            });
        }
        self.check_free(desc)?;
        let entry = FamilyEntry {
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

    /// Returns the description under which this family is listed: that of the first metric of an
    /// event, with its views.
    fn listed_as<'a>(&self, desc: &'a Desc) -> Cow<'a, Desc> {
        if desc.event.is_empty() {
            return Cow::Borrowed(desc);
        }
        let first = event::descriptions(desc).swap_remove(0);
        Cow::Owned(View::viewed(&self.views, first, false))
    }

    /// Returns the family that has this description, or `None` if the name is free.
    pub(super) fn same_as<F: AnyFamily + 'static>(
        &self,
        desc: &Desc,
    ) -> Result<Option<Arc<F>>, Error> {
        let desc = &*self.listed_as(desc);
        let Some(entry) = self.entries.get(&*desc.name) else {
            return Ok(None);
        };
        let is_same = entry.is_same_family(desc);
        let mut duplicates = entry.duplicates.iter();
        let found = duplicates.find(|family| is_same && family.desc().has_same_combinations(desc));
        let difference = match found.map(|family| Arc::clone(family).as_any().downcast()) {
            Some(Ok(family)) => return Ok(Some(family)),
            Some(Err(_)) => Difference::in_property("another Rust type"),
            None => entry
                .difference(desc)
                .unwrap_or_else(|| Difference::in_property("other values of an enum label")),
        };
        Err(registered(entry.desc(), desc, Some(&difference)))
    }

    /// Returns the family that the same place declared before, and whether to log, now and only
    /// now, that this place is no `static`: the declaration before was dropped, which a static
    /// never is.
    pub(super) fn declared_before<F: AnyFamily + 'static>(
        &mut self,
        desc: &Desc,
    ) -> Option<(Arc<F>, bool)> {
        let desc = &*self.listed_as(desc);
        let entry = self.entries.get(&*desc.name)?;
        let mut before = entry.duplicates.iter().filter(|family| {
            let before = family.desc();
            before.location == desc.location
                && before.is_same_family(desc)
                && before.has_same_combinations(desc)
        });
        let (family, is_dropped) = before.find_map(|family| {
            let family: Arc<F> = Arc::clone(family).as_any().downcast().ok()?;
            // The registry, or an event in it, has one; and this is one.
            let is_dropped = Arc::strong_count(&family) == 2;
            Some((family, is_dropped))
        })?;
        let is_note_due = is_dropped && self.declared_again.insert(desc.name.to_string());
        Some((family, is_note_due))
    }

    /// Checks that no sample of this family has the name of another family's sample.
    pub(super) fn check_free(&mut self, desc: &Desc) -> Result<(), Error> {
        let name = exposed(desc, &self.prefix);
        if let Some(other) = self.family_clash((&name, desc.kind, desc.utf8)) {
            return Err(if other.name == desc.name {
                registered(other, desc, other.difference(desc).as_ref())
            } else {
                shared_samples(&other.name, other.location, &desc.name)
            });
        }
        self.check_collected(desc)
    }

    /// Returns the family that exposes a sample of the same name as a family `exposed`.
    pub(super) fn family_clash(&mut self, exposed: ExposedName<'_>) -> Option<&Desc> {
        if !self.index.knows(exposed) {
            self.index = self.index_with(&self.prefix, true).0;
        }
        let name = self.index.clashing(exposed, &|_| true)?;
        Some(self.desc_of(name))
    }

    /// Returns the name of an exported family that exposes a sample of the same name as a family
    /// `exposed`, with the prefix.
    pub(in crate::registry) fn exported_clash(&mut self, exposed: ExposedName<'_>) -> Option<Text> {
        self.family_clash(exposed)?;
        let is_on = |name: &Text| !self.desc_of(name).is_off();
        self.index.clashing(exposed, &is_on).cloned()
    }

    /// Returns the description of the family with this name, which has the prefix.
    fn desc_of(&self, name: &Text) -> &Desc {
        self.entries[&name[self.prefix.len()..]].desc()
    }

    /// Inserts an entry, whose name [is free](Self::check_free).
    pub(super) fn put(&mut self, entry: FamilyEntry) {
        self.in_order = None;
        self.publish(&entry);
        let desc = entry.desc();
        let key = exposed(desc, &self.prefix);
        self.index.insert((&key, desc.kind, desc.utf8), &key);
        self.entries.insert(desc.name.clone(), Arc::new(entry));
    }

    /// Lets other processes read the families of an entry, if the registry is one that they read.
    fn publish(&self, entry: &FamilyEntry) {
        if self.is_published && !entry.desc().is_off() {
            let meta = meta(entry.desc(), &self.prefix, &self.constant);
            let families = entry.duplicates.iter();
            families.for_each(|family| family.publish(&meta));
        }
    }

    /// The same for all families.
    pub(in crate::registry) fn publish_all(&self) {
        self.entries.values().for_each(|entry| self.publish(entry));
    }

    /// Removes an entry.
    pub(in crate::registry) fn take(&mut self, name: &str) -> Option<Arc<FamilyEntry>> {
        self.in_order = None;
        let entry = self.entries.remove(name)?;
        entry.unpublish();
        let key = exposed(entry.desc(), &self.prefix);
        self.index
            .remove((&key, entry.desc().kind, entry.desc().utf8));
        Some(entry)
    }

    /// Returns all families, those of equal declarations, too.
    pub(in crate::registry) fn families(&self) -> impl Iterator<Item = &Arc<dyn AnyFamily>> {
        self.entries.values().flat_map(|entry| &entry.duplicates)
    }

    /// Removes everything but the settings. The caller drops it without the lock.
    pub(in crate::registry) fn clear(&mut self) -> (Entries, Collectors) {
        self.index = ClashIndex::default();
        self.collected = ClashIndex::default();
        self.in_order = None;
        let entries = std::mem::take(&mut self.entries);
        (entries, std::mem::take(&mut self.collectors))
    }

    /// Returns the families in the order of their names, and the prefix of these.
    pub(in crate::registry) fn in_order(&mut self) -> (Arc<[Arc<FamilyEntry>]>, Text) {
        let in_order = self.in_order.get_or_insert_with(|| {
            let mut names: Vec<&str> = self.entries.keys().map(|name| &**name).collect();
            names.sort_unstable();
            let entries = names.into_iter().map(|name| &self.entries[name]);
            entries.cloned().collect()
        });
        (Arc::clone(in_order), self.prefix.clone())
    }

    /// Returns an index of the families with a prefix, and an error if two would expose the same
    /// samples. `utf8` says whether names can have several escaped forms.
    pub(super) fn index_with(
        &self,
        prefix: &str,
        utf8: bool,
    ) -> (ClashIndex<Text>, Result<(), Error>) {
        let (mut index, mut free) = (ClashIndex::<Text>::new(utf8), Ok(()));
        for entry in self.entries.values() {
            let desc = entry.desc();
            let key = exposed(desc, prefix);
            let name = (&*key, desc.kind, desc.utf8);
            if let Some(other) = index.clashing(name, &|_| true) {
                let other = self.entries[&other[prefix.len()..]].desc();
                free = Err(shared_samples(&other.name, other.location, &desc.name));
            }
            index.insert(name, &key);
        }
        (index, free)
    }
}

/// The collectors.
impl RegistryNames {
    /// Returns the order of a collector that is added now.
    pub(in crate::registry) fn next_order(&self) -> u64 {
        let orders = self.collectors.values().map(|collector| collector.order);
        orders.max().map_or(0, |last| last + 1)
    }

    /// Returns the collectors in the order in which they were added.
    pub(in crate::registry) fn collectors_in_order(&self) -> Vec<&Collector> {
        let mut all: Vec<_> = self.collectors.values().collect();
        all.sort_unstable_by_key(|collector| collector.order);
        all
    }

    /// Adds a collector, whose name no family and no other collector has. Rejects one that would
    /// write samples of another family.
    pub(in crate::registry) fn add_collector(&mut self, new: &Collector) -> Result<(), Error> {
        let name = &new.name;
        if let Some(other) = self.collectors.get(name) {
            return Err(has_collector(other));
        }
        if let Some(entry) = self.entries.get(name) {
            return Err(taken(entry.desc(), new.kind));
        }
        if let Some(kind) = new.kind {
            let exposed = format!("{}{name}", self.prefix);
            if let Some(family) = self.family_clash((&exposed, kind, false)) {
                return Err(shared_samples(&family.name, family.location, name));
            }
            if let Some(other) = self.collected_clash(new.exposed()) {
                return Err(shared_samples(&other.name, other.location, name));
            }
            if self.collected.is_empty() {
                self.collected = ClashIndex::new(true);
            }
            self.collected.insert(new.exposed(), name);
        }
        self.collectors.insert(name.clone(), new.clone());
        Ok(())
    }

    /// Removes a collector. The caller drops it without the lock, because its destructor may call
    /// the registry.
    pub(in crate::registry) fn take_collector(&mut self, name: &str) -> Option<Collector> {
        let collector = self.collectors.remove(name)?;
        if collector.kind.is_some() {
            self.collected.remove(collector.exposed());
        }
        Some(collector)
    }

    /// Returns the collector that exposes a sample of the same name as a family `exposed`.
    fn collected_clash(&self, exposed: ExposedName<'_>) -> Option<&Collector> {
        let name = self.collected.clashing(exposed, &|_| true)?;
        Some(&self.collectors[name])
    }

    /// Checks that a family exposes no sample that a collector exposes. Both get the same prefix,
    /// so names without it are compared.
    fn check_collected(&self, desc: &Desc) -> Result<(), Error> {
        let same = self.collectors.get(&desc.name);
        if let Some(other) = same.filter(|other| other.kind.is_some()) {
            return Err(has_collector(other));
        }
        match self.collected_clash((&desc.name, desc.kind, desc.utf8)) {
            Some(other) => Err(shared_samples(&other.name, other.location, &desc.name)),
            None => Ok(()),
        }
    }
}
