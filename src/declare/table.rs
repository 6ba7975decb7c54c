//! State sets and infos with labels, whose states and pairs are known only at run time. They change
//! rarely, so their series are in a table behind a lock.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, NameRule, Subject};
use crate::family::AnyFamily;
use crate::family::desc::{Desc, Names, label_count};
use crate::family::grammar::check_label;
use crate::family::published;
use crate::family::view::View;
use crate::observe::Pass;
use crate::registry::Registry;
use crate::snapshot::{self, Kind, Page, Text, Values, join, labels};

/// A state set with labels, whose states are known only at run time: each label set has one current
/// state. For one state set of an enum there is [`StateSet`](crate::StateSet). A clone is the same
/// state set.
///
/// ```
/// use tallies::{Registry, StateTable};
///
/// let registry = Registry::new();
/// let (labels, states) = (["site"], ["off", "running"]);
/// let pumps = StateTable::register(&registry, "pump", "What the pumps do.", &labels, &states)?;
/// pumps.set(&["north"], "running")?;
/// let north = [("pump", "running"), ("site", "north")];
/// assert_eq!(registry.snapshot().get("pump", &north), Some(1.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// An update takes a lock. At most [`DEFAULT_LIMIT`](crate::label::DEFAULT_LIMIT) label sets have a
/// state.
#[derive(Clone, Debug)]
pub struct StateTable(Arc<Table>);

/// Infos with labels, and with further labels that are known only at run time: each label set has
/// one series, whose value is 1. A clone is the same metric.
///
/// ```
/// use tallies::{InfoTable, Registry};
///
/// let registry = Registry::new();
/// let servers = InfoTable::register(&registry, "server_info", "The servers.", &["server"])?;
/// servers.set(&["a"], &[("version", "8.0")])?;
/// servers.set(&["a"], &[("version", "8.1")])?;
/// let labels = [("server", "a"), ("version", "8.1")];
/// assert_eq!(registry.snapshot().get("server_info", &labels), Some(1.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// An update takes a lock. At most [`DEFAULT_LIMIT`](crate::label::DEFAULT_LIMIT) label sets have
/// series.
#[derive(Clone, Debug)]
pub struct InfoTable(Arc<Table>);

impl StateTable {
    /// Sets the current state of a label set, whose values are in the order of the label names.
    ///
    /// # Errors
    ///
    /// A state that is none of these, another number of values, and a label set beyond the limit.
    pub fn set(&self, labels: &[&str], state: &str) -> Result<(), Error> {
        self.0.set_state(labels, state)
    }

    /// Registers a state set. Without label names, it begins in the first state.
    ///
    /// # Errors
    ///
    /// No state, a state that is given twice, a name or label name that is invalid, and a name that
    /// is already registered.
    #[track_caller]
    pub fn register(
        registry: &Registry,
        name: &str,
        help: &str,
        labels: &[impl AsRef<str>],
        states: &[impl AsRef<str>],
    ) -> Result<Self, Error> {
        let states: Vec<&str> = states.iter().map(AsRef::as_ref).collect();
        if let Some(twice) = (1..states.len()).find(|i| states[..*i].contains(&states[*i])) {
            let (name, state) = (name.escape_debug(), states[twice].escape_debug());
            let twice = format!("state `{state}` of `{name}` is given twice; remove one of them");
            return Err(Error::new(twice));
        }
        if states.is_empty() {
            let name = name.escape_debug();
            return Err(Error::new(format!(
                "state set `{name}` needs at least one state"
            )));
        }
        let desc = described(name, help, labels, Kind::StateSet, Location::caller());
        let states = states.into_iter().map(Into::into).collect();
        Table::register(desc, states, registry).map(Self)
    }
}

impl InfoTable {
    /// Sets the further labels of a label set, whose values are in the order of the label names,
    /// and removes those of before.
    ///
    /// # Errors
    ///
    /// A name that is invalid, given twice or a label of the metric; another number of values; and
    /// a label set beyond the limit.
    pub fn set(&self, labels: &[&str], pairs: &[(&str, &str)]) -> Result<(), Error> {
        self.0.set_pairs(labels, pairs)
    }

    /// Registers infos.
    ///
    /// # Errors
    ///
    /// A name or label name that is invalid, and a name that is already registered.
    #[track_caller]
    pub fn register(
        registry: &Registry,
        name: &str,
        help: &str,
        labels: &[impl AsRef<str>],
    ) -> Result<Self, Error> {
        let desc = described(name, help, labels, Kind::Info, Location::caller());
        Table::register(desc, Box::default(), registry).map(Self)
    }
}

/// Implements what both have.
macro_rules! table {
    ($table:ident) => {
        impl $table {
            /// Removes a label set. Returns `false` if it has no series, and if other label sets
            /// count in its series, because of a [`View`](crate::View).
            pub fn remove(&self, labels: &[&str]) -> bool {
                self.0.remove(labels)
            }

            /// Removes the label sets for whose values `keep` returns `false`, and returns their
            /// number. Those that share a series because of a [`View`](crate::View) stay. `keep`
            /// must not use this table, which is locked.
            pub fn retain(&self, keep: impl FnMut(&[&str]) -> bool) -> usize {
                self.0.retain(keep)
            }

            /// Removes all label sets.
            pub fn clear(&self) {
                self.0.clear();
            }

            /// Returns the name of the family, without the registry's prefix. It is not that of the
            /// declaration if a [`View`](crate::View) renames it.
            #[must_use]
            pub fn name(&self) -> &str {
                &self.0.desc.name
            }
        }
    };
}

table!(StateTable);
table!(InfoTable);

fn described(
    name: &str,
    help: &str,
    labels: &[impl AsRef<str>],
    kind: Kind,
    location: &'static Location<'static>,
) -> Desc {
    let mut desc = Desc::unchecked(Text::owned(name), kind, Names::Fixed(&[]), location);
    desc.help = Text::owned(help);
    desc.set_labels(&labels.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    desc
}

/// The family of a state table or an info table.
#[derive(Debug)]
struct Table {
    desc: Desc,
    /// The states. Empty for infos.
    states: Box<[Box<str>]>,
    /// The rows by the values of the family's labels, at most as many as the family's limit.
    /// Written by updates, read by scrapes.
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    by_labels: BTreeMap<Vec<String>, Row>,
    /// The name with the registry's prefix, and the label texts of the last scrape. `None` after a
    /// change of the series.
    texts: Option<(snapshot::Text, Arc<Page>)>,
}

#[derive(Debug)]
enum Row {
    /// The index of the current state.
    State(usize),
    /// The pairs of an info.
    Pairs(Vec<(String, String)>),
}

impl Table {
    fn register(
        desc: Desc,
        states: Box<[Box<str>]>,
        registry: &Registry,
    ) -> Result<Arc<Self>, Error> {
        // Label sets that become equal are one row, which the last update decides.
        let desc = registry.families().viewed(desc, true);
        desc.check()?;
        let is_enum = desc.kind == Kind::StateSet;
        if is_enum {
            let name = &*desc.name;
            check_label(name.as_bytes(), Kind::StateSet)
                .map_err(|_| NameRule::StateSet.error(Subject::Metric, name))?;
            if desc.declared_labels().fixed().contains(&name) {
                return Err(NameRule::States.error(Subject::Label(name), name));
            }
        }
        let mut rows = Rows::default();
        if is_enum && desc.declared_labels().fixed().is_empty() {
            rows.by_labels.insert(Vec::new(), Row::State(0));
        }
        let table = Arc::new(Self {
            desc,
            states,
            rows: Mutex::new(rows),
        });
        published::add(&table);
        registry.enlist();
        registry.families().add(table.clone())?;
        Ok(table)
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the values of a label set, if there are as many as label names.
    fn checked(&self, values: &[&str]) -> Result<Vec<String>, Error> {
        let names = self.desc.declared_labels().fixed();
        if values.len() != names.len() {
            let (expected, got) = (names.len(), values.len());
            return Err(label_count(&self.desc.name, names, expected, got));
        }
        Ok(values.iter().map(|value| (*value).to_owned()).collect())
    }

    fn set_state(&self, values: &[&str], state: &str) -> Result<(), Error> {
        let index = self.states.iter().position(|known| **known == *state);
        let index = index.ok_or_else(|| {
            let (name, state) = (&self.desc.name, state.escape_debug());
            let states = self.states.iter().map(|state| format!("`{state}`"));
            let states = join(states);
            Error::other(format_args!(
                "metric `{name}` has no state `{state}`; its states are {states}"
            ))
        })?;
        self.put(&self.checked(values)?, Row::State(index))
    }

    fn set_pairs(&self, values: &[&str], pairs: &[(&str, &str)]) -> Result<(), Error> {
        let mut row: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs {
            let wrong = |rule: NameRule| rule.error(self.desc.label(), name);
            self.desc.check_label(name).map_err(wrong)?;
            let names = self.desc.declared_labels().fixed();
            if names.contains(name) || row.iter().any(|(other, _)| other == name) {
                return Err(wrong(NameRule::Twice));
            }
            row.push(((*name).to_owned(), (*value).to_owned()));
        }
        self.put(&self.checked(values)?, Row::Pairs(row))
    }

    /// Returns the label values of the row in which a label set of the declaration counts. `makes`:
    /// the caller makes the row.
    fn reduced<'a>(&self, values: &'a [String], makes: bool) -> Cow<'a, [String]> {
        let Some(view) = self.sharing_view() else {
            return Cow::Borrowed(values);
        };
        let texts: Vec<_> = values.iter().map(String::as_str).collect();
        match view.reduce(&texts, makes) {
            Some(own) => own.texts.iter().map(|text| (*text).to_owned()).collect(),
            None => Cow::Borrowed(values),
        }
    }

    fn put(&self, values: &[String], row: Row) -> Result<(), Error> {
        let mut rows = self.lock();
        let values = &*self.reduced(values, true);
        let changed = match (rows.by_labels.get(values), &row) {
            (Some(Row::Pairs(old)), Row::Pairs(new)) => old != new,
            (Some(_), _) => false,
            (None, _) if rows.by_labels.len() >= self.desc.limit => {
                return Err(self.desc.limit_reached());
            }
            (None, _) => true,
        };
        if changed {
            rows.texts = None;
        }
        rows.by_labels.insert(values.to_vec(), row);
        Ok(())
    }

    /// Returns the view if label sets share series because of it.
    fn sharing_view(&self) -> Option<&View> {
        self.desc.changing_view()
    }

    fn remove(&self, values: &[&str]) -> bool {
        let mut rows = self.lock();
        let (Ok(own), false) = (
            self.checked(values),
            self.sharing_view().is_some_and(|view| view.shares(values)),
        ) else {
            return false;
        };
        rows.texts = None;
        rows.by_labels.remove(&*self.reduced(&own, false)).is_some()
    }

    fn retain(&self, mut keep: impl FnMut(&[&str]) -> bool) -> usize {
        let mut rows = self.lock();
        let (before, view) = (rows.by_labels.len(), self.sharing_view());
        if view.is_some_and(|view| view.off || !view.dropped.is_empty()) {
            return 0;
        }
        rows.by_labels.retain(|values, _| {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            view.is_some_and(|view| view.shares(&values)) || keep(&values)
        });
        rows.texts = None;
        before - rows.by_labels.len()
    }

    fn clear(&self) {
        let mut rows = self.lock();
        *rows = Rows::default();
        if let Some(view) = self.sharing_view() {
            view.clear();
        }
    }

    /// Sets all enums to their first state. Infos stay.
    fn start_over(&self) {
        for row in self.lock().by_labels.values_mut() {
            if let Row::State(current) = row {
                *current = 0;
            }
        }
    }

    /// Returns the label texts of all series. The label of the states has the name of the family,
    /// with the prefix.
    fn page(&self, rows: &Rows, name: &str) -> Arc<Page> {
        let mut page = Page::default();
        for (values, row) in &rows.by_labels {
            let names = self.desc.labels.fixed();
            let own = names.iter().copied();
            let mut pairs: Vec<_> = own.zip(values.iter().map(String::as_str)).collect();
            match row {
                Row::State(_) => {
                    pairs.insert(0, (name, ""));
                    for state in &self.states {
                        pairs[0].1 = state;
                        page.push(&labels::text(&pairs), 0);
                    }
                }
                Row::Pairs(more) => {
                    pairs.extend(more.iter().map(|(name, value)| (&**name, &**value)));
                    page.push(&labels::text(&pairs), 0);
                }
            }
        }
        page.seal()
    }
}

#[cfg(mapped)]
impl published::FamilyHooks for Table {
    fn lock(&self) -> Box<dyn published::Guards + '_> {
        Box::new(self.lock())
    }

    fn after_fork(&self) {
        self.start_over();
    }
}

impl AnyFamily for Table {
    fn has_own_cells(&self) -> bool {
        false
    }

    fn desc(&self) -> &Desc {
        &self.desc
    }

    fn values(&self) -> Values {
        Values::Gauge(Vec::new())
    }

    fn write(&self, _: &mut Pass<'_>, out: &mut snapshot::Family) {
        let mut rows = self.lock();
        let name = out.meta.name.clone();
        let page = match &rows.texts {
            Some((prefixed, page)) if *prefixed == name => Arc::clone(page),
            _ => {
                let page = self.page(&rows, &name);
                rows.texts = Some((name, Arc::clone(&page)));
                page
            }
        };
        out.begin(page.len());
        if let Values::Gauge(values) = &mut out.values {
            for row in rows.by_labels.values() {
                match row {
                    Row::State(current) => {
                        let states = 0..self.states.len();
                        values.extend(states.map(|i| f64::from(u8::from(i == *current))));
                    }
                    Row::Pairs(_) => values.push(1.0),
                }
            }
        }
        let mut texts = out.texts.rewrite();
        texts.put(&page);
        texts.finish();
    }

    fn label_texts(&self, each: &mut dyn FnMut(&str)) {
        let page = self.page(&self.lock(), &self.desc.name);
        page.texts().for_each(each);
    }

    // Their texts are on the heap, so other processes do not see them in mapped files.
    fn publish(&self, _: &snapshot::Meta) {}

    fn unpublish(&self) {}

    fn start_over(&self, _: &Pass<'_>) {
        self.start_over();
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}
