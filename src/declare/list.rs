//! The list of declared families: what a registry holds, what may stand beside what, and what all of it has in common.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::{Error, report};
use crate::observe::Pass;
use crate::snapshot::{self, Exposed, Kind, Meta, Snapshot, clash, labels};

use super::desc::{Desc, check_label, check_name, intern, prefixed};
use super::family::Declared;

/// Gives a family of a registry another help text and unit, and another name where that is free. Returns the name it has
/// now.
#[cfg(feature = "facade")]
pub(crate) fn describe(
    registry: &impl AsRef<List>,
    name: &str,
    new: &str,
    help: &str,
    unit: &str,
) -> Result<&'static str, Error> {
    registry.as_ref().describe(name, new, help, unit)
}

/// The families of one registry, by name.
#[derive(Debug, Default)]
pub struct List {
    inner: Mutex<Inner>,
}

/// The list that statics belong to.
pub(crate) static DEFAULT: List = List {
    inner: Mutex::new(Inner {
        entries: BTreeMap::new(),
        constant: Vec::new(),
        collected: Vec::new(),
        prefix: "",
        scraped: false,
    }),
};

/// Families that were refused: a static whose name was taken.
pub(crate) static REFUSED: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<&'static str, Arc<Entry>>,
    constant: Vec<(&'static str, String)>,
    collected: Vec<Reserved>,
    prefix: &'static str,
    scraped: bool,
}

/// A family that a collector writes.
#[derive(Debug)]
struct Reserved {
    name: String,
    kind: Kind,
    location: &'static Location<'static>,
}

/// One family, and its twins: equal declarations share their series.
#[derive(Debug)]
struct Entry {
    /// The first one's, unless it was described later.
    desc: Desc,
    twins: Vec<Arc<dyn Declared>>,
    /// What it is without series; made at the first scrape, when constant labels are settled.
    empty: OnceLock<snapshot::Family>,
}

impl List {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a family.
    pub(crate) fn add(&self, family: Arc<dyn Declared>) -> Result<(), Error> {
        self.lock().add(family, false)
    }

    /// Adds the family of a static: an equal twin shares, anything else of the name is reported once and not exported.
    pub(crate) fn add_static(&self, family: Arc<dyn Declared>) {
        // Not in the condition: the list would be locked while it is said.
        let added = self.lock().add(family, true);
        if let Err(error) = added {
            REFUSED.fetch_add(1, Relaxed);
            report(&error);
        }
    }

    /// The family of this description, added if there is none of its name.
    pub(crate) fn get_or_add(&self, family: Arc<dyn Declared>) -> Result<Arc<dyn Declared>, Error> {
        let mut inner = self.lock();
        let desc = *family.desc();
        if let Some(entry) = inner.entries.get(desc.name) {
            let mut twins = entry.twins.iter();
            let there =
                twins.find(|there| entry.is_twin(&desc) && there.desc().has_combinations_of(&desc));
            let location = entry.twins[0].desc().location;
            return there
                .cloned()
                .ok_or_else(|| Error::other_type(desc.name, Some(location)));
        }
        inner.add(Arc::clone(&family), false)?;
        Ok(family)
    }

    /// Gives a family another help text and unit, and another name where that is free. Returns the name it has now.
    #[cfg(feature = "facade")]
    fn describe(
        &self,
        name: &str,
        new: &str,
        help: &str,
        unit: &str,
    ) -> Result<&'static str, Error> {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.remove(name) else {
            return Err(Error::absent(name));
        };
        let mut desc = entry.desc;
        desc.help = intern(help);
        let renamed = Desc {
            name: intern(new),
            unit: intern(unit),
            ..desc
        };
        let taken = inner
            .entries
            .values()
            .map(|other| &other.desc)
            .find(|other| other.name == new || clash(renamed.exposed(), other.exposed()))
            .map(|other| Error::taken(new, other.name, Some(other.location)))
            .or_else(|| inner.check_collected(inner.prefix, &renamed).err());
        let desc = if taken.is_none() { renamed } else { desc };
        let twins = entry.twins.clone();
        let empty = OnceLock::new();
        let entry = Arc::new(Entry { desc, twins, empty });
        inner.entries.insert(desc.name, entry);
        taken.map_or(Ok(desc.name), Err)
    }

    /// Takes a family out; handles to it go on counting, but nobody sees it any more.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let removed = self.lock().entries.remove(name);
        removed.map(drop).ok_or_else(|| Error::absent(name))
    }

    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        inner.collected.clear();
        let removed = std::mem::take(&mut inner.entries);
        drop(inner);
        drop(removed);
    }

    /// Keeps a name for a family that a collector writes, under just this name: not where samples would be another's.
    pub(crate) fn reserve(
        &self,
        name: &str,
        kind: Kind,
        location: &'static Location<'static>,
    ) -> Result<(), Error> {
        let mut inner = self.lock();
        let prefix = inner.prefix;
        let of_family = |there: &Desc| {
            let exposed = format!("{prefix}{}", there.name);
            clash((&exposed, there.kind, there.utf8), (name, kind, false))
                .then(|| Error::taken(name, &exposed, Some(there.location)))
        };
        let of_collector = |there: &Reserved| {
            clash((&there.name, there.kind, false), (name, kind, false))
                .then(|| Error::taken(name, &there.name, Some(there.location)))
        };
        let mut families = inner.entries.values().map(|entry| &entry.desc);
        if let Some(error) = families
            .find_map(of_family)
            .or_else(|| inner.collected.iter().find_map(of_collector))
        {
            return Err(error);
        }
        inner.collected.push(Reserved {
            name: name.to_owned(),
            kind,
            location,
        });
        Ok(())
    }

    /// The collector that a name was kept for is gone.
    pub(crate) fn release(&self, name: &str) {
        self.lock().collected.retain(|other| other.name != name);
    }

    /// The names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let inner = self.lock();
        inner
            .entries
            .keys()
            .map(|name| format!("{}{name}", inner.prefix))
            .collect()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.lock().entries.contains_key(name)
    }

    /// The number of families, and of their series.
    pub(crate) fn size(&self) -> (usize, usize) {
        let inner = self.lock();
        let series = inner
            .entries
            .values()
            .flat_map(|entry| &entry.twins)
            .map(|family| family.series())
            .sum();
        (inner.entries.len(), series)
    }

    /// Every series of every family at zero again, in a process that has but one thread.
    pub(crate) fn start_over(&self, pass: &Pass<'_>) {
        let families: Vec<_> = self
            .lock()
            .entries
            .values()
            .flat_map(|entry| entry.twins.iter().cloned())
            .collect();
        families.iter().for_each(|family| family.start_over(pass));
    }

    pub(crate) fn set_prefix(&self, prefix: &str) -> Result<(), Error> {
        if !prefix.is_empty() {
            check_name(prefix.as_bytes()).map_err(|why| Error::name(prefix, why))?;
        }
        let prefix = &*prefixed(prefix, "");
        let mut inner = self.lock();
        if inner.scraped {
            return Err(Error::prefix_too_late(prefix));
        }
        for entry in inner.entries.values() {
            entry.desc.check_prefixed(prefix)?;
            for (name, _) in &inner.constant {
                entry.check_constant(prefix, name)?;
            }
            inner.check_collected(prefix, &entry.desc)?;
        }
        inner.prefix = intern(prefix);
        Ok(())
    }

    /// Gives every family a label; before the first scrape.
    pub(crate) fn set_constant(&self, name: &str, value: &str) -> Result<(), Error> {
        check_label(name.as_bytes(), Kind::Histogram)
            .map_err(|why| Error::label_name("of all", name, why))?;
        let mut inner = self.lock();
        if inner.scraped {
            return Err(Error::constants_too_late(name));
        }
        if inner.constant.iter().any(|(other, _)| *other == name) {
            return Err(Error::label_name("of all", name, "stands twice"));
        }
        for entry in inner.entries.values() {
            entry.check_constant(inner.prefix, name)?;
        }
        inner.constant.push((intern(name), value.to_owned()));
        Ok(())
    }

    /// Writes every family into `out`, whose families keep their memory.
    pub(crate) fn write(&self, pass: &mut Pass<'_>, out: &mut Snapshot) {
        let (entries, prefix, constant) = {
            let mut inner = self.lock();
            inner.scraped = true;
            let entries: Vec<_> = inner.entries.values().cloned().collect();
            (entries, inner.prefix, inner.constant.clone())
        };
        let mut at = 0;
        for entry in &entries {
            let first = &entry.twins[0];
            let empty = entry.empty.get_or_init(|| {
                let meta = meta(&entry.desc, prefix, &constant);
                snapshot::Family::new(meta, first.values())
            });
            let family = out.place(at, empty);
            first.write(pass, family);
            for twin in &entry.twins[1..] {
                let mut theirs = empty.clone();
                twin.write(pass, &mut theirs);
                family.add(&theirs);
            }
            if entry.desc.labels == super::desc::Names::Any && !empty.meta.constant.is_empty() {
                family.let_samples_win();
            }
            at += 1;
        }
        out.families.truncate(at);
    }
}

impl Inner {
    fn add(&mut self, family: Arc<dyn Declared>, is_static: bool) -> Result<(), Error> {
        let desc = *family.desc();
        desc.check()?;
        desc.check_prefixed(self.prefix)?;
        if let Some(entry) = self.entries.get_mut(desc.name) {
            let there = &entry.desc;
            if is_static && entry.is_twin(&desc) && entry.has_help_of(&desc) {
                let twins = entry.twins.iter().cloned().chain([family]).collect();
                let mut shared = Entry {
                    desc: *there,
                    twins,
                    empty: entry.empty.clone(),
                };
                if there.help.is_empty() {
                    shared.desc.help = desc.help;
                    shared.empty = OnceLock::new();
                }
                *entry = Arc::new(shared);
                return Ok(());
            }
            return Err(if is_static {
                Error::not_equal(desc.name, desc.location, there.location)
            } else {
                Error::taken(desc.name, desc.name, Some(there.location))
            });
        }
        for entry in self.entries.values() {
            let there = &entry.desc;
            if clash(desc.exposed(), there.exposed()) {
                return Err(Error::taken(desc.name, there.name, Some(there.location)));
            }
        }
        self.check_collected(self.prefix, &desc)?;
        let entry = Entry {
            desc,
            twins: vec![family],
            empty: OnceLock::new(),
        };
        for (name, _) in &self.constant {
            entry.check_constant(self.prefix, name)?;
        }
        self.entries.insert(desc.name, Arc::new(entry));
        Ok(())
    }
}

impl Inner {
    /// That a family exposes no sample of a collector's with this prefix.
    fn check_collected(&self, prefix: &str, desc: &Desc) -> Result<(), Error> {
        for other in &self.collected {
            let exposed = format!("{prefix}{}", desc.name);
            if exposed == other.name {
                return Err(Error::collect(&exposed, "is there already"));
            }
            if clash(
                (&exposed, desc.kind, desc.utf8),
                (&other.name, other.kind, false),
            ) {
                return Err(Error::taken(&exposed, &other.name, Some(other.location)));
            }
        }
        Ok(())
    }
}

impl Entry {
    /// Whether `desc` declares this family: as the first one did, or as it was described since.
    fn is_twin(&self, desc: &Desc) -> bool {
        self.twins[0].desc().is_twin(desc) || self.desc.is_twin(desc)
    }

    /// Two statics of one name and different help texts hardly mean the same; one without fits all.
    fn has_help_of(&self, desc: &Desc) -> bool {
        let helps = [self.twins[0].desc().help, self.desc.help, ""];
        helps.contains(&desc.help) || self.desc.help.is_empty()
    }

    /// That a label of the whole registry, which has this prefix, is none that the family has already.
    fn check_constant(&self, prefix: &str, name: &str) -> Result<(), Error> {
        let desc = &self.desc;
        if desc.kind == Kind::StateSet && name.strip_prefix(prefix) == Some(desc.name) {
            let why = "is the label of its states, which is called like the family";
            return Err(Error::label_name(desc.name, name, why));
        }
        desc.check_label(name)
            .map_err(|why| Error::label_name(desc.name, name, why))?;
        if desc.labels.fixed().contains(&name)
            || desc.constant.iter().any(|(other, _)| *other == name)
        {
            return Err(Error::label_name(
                desc.name,
                name,
                "is also a constant label",
            ));
        }
        let fixed = desc.labels.fixed().iter().copied();
        let constant = desc.constant.iter().map(|(name, _)| *name);
        desc.check_escaped(fixed.chain(constant).chain([name]))
    }
}

impl Desc {
    fn exposed(&self) -> Exposed<'_> {
        (self.name, self.kind, self.utf8)
    }
}

pub(super) fn meta(desc: &Desc, prefix: &str, constant: &[(&'static str, String)]) -> Meta {
    let mut text = String::new();
    for (name, value) in constant {
        labels::push(&mut text, name, value);
    }
    for (name, value) in desc.constant {
        labels::push(&mut text, name, value);
    }
    Meta {
        name: if prefix.is_empty() {
            desc.name.into()
        } else {
            format!("{prefix}{}", desc.name).into()
        },
        help: desc.help.into(),
        unit: desc.unit.into(),
        kind: desc.kind,
        merge: desc.merge,
        utf8: desc.utf8,
        constant: text,
    }
}

/// What `#[tallies::metric]` lists at link time, and `register_all!` at run time.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a metric that the default registry could list",
    label = "not a metric",
    note = "what stands in a `static` is a `Counter`, a `Gauge`, an `UpDownCounter`, a `Histogram`, a `Summary`, an `Info` or a `StateSet`"
)]
pub trait Listed: Sync {
    /// Enlists the static, if that has not happened yet.
    fn enlist(&self);
}

/// Every static with the attribute.
#[cfg(feature = "link-time")]
#[linkme::distributed_slice]
pub static LISTED: [&'static dyn Listed];

/// Enlists every static that the linker has listed.
pub(crate) fn enlist_all() {
    #[cfg(feature = "link-time")]
    for metric in LISTED {
        metric.enlist();
    }
}
