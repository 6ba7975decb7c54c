//! Enums and infos whose states, labels and pairs are known only at run time. They change rarely, so
//! their series are in a table behind a lock.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, NameRule};
use crate::family::AnyFamily;
use crate::family::desc::{Desc, in_order};
use crate::family::grammar::check_label;
use crate::family::published;
use crate::observe::Pass;
use crate::registry::Registry;
use crate::snapshot::{self, Kind, Page, Values, labels};

/// The family of an enum or an info.
#[derive(Debug)]
pub(super) struct Table {
    desc: Desc,
    /// The states of an enum. Empty for an info.
    states: Box<[Box<str>]>,
    /// The rows by the values of the family's labels, at most as many as the family's limit. Written
    /// by updates, read by scrapes.
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
    pub(super) fn register(
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
                .map_err(|_| Error::name(name, NameRule::StateSet))?;
            if desc.declared_labels().fixed().contains(&name) {
                return Err(Error::label_name(name, name, NameRule::States));
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

    pub(super) fn desc_ref(&self) -> &Desc {
        &self.desc
    }

    pub(super) fn values(&self, labels: &[(&str, &str)]) -> Result<Vec<String>, Error> {
        let values = in_order(&self.desc, labels)?;
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    pub(super) fn set_state(&self, values: &[String], state: &str) -> Result<(), Error> {
        let index = self.states.iter().position(|known| **known == *state);
        let index = index.ok_or_else(|| Error::no_state(&self.desc.name, state, &self.states))?;
        self.put(values, Row::State(index))
    }

    pub(super) fn set_pairs(&self, values: &[String], pairs: &[(&str, &str)]) -> Result<(), Error> {
        let mut row: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs {
            let wrong = |rule| Error::label_name(&self.desc.name, name, rule);
            self.desc.check_label(name).map_err(wrong)?;
            let names = self.desc.declared_labels().fixed();
            if names.contains(name) || row.iter().any(|(other, _)| other == name) {
                return Err(wrong(NameRule::Twice));
            }
            row.push(((*name).to_owned(), (*value).to_owned()));
        }
        self.put(values, Row::Pairs(row))
    }

    /// Returns the label values of the row in which a label set of the declaration counts. `makes`:
    /// the caller makes the row.
    fn reduced<'a>(&self, values: &'a [String], makes: bool) -> Cow<'a, [String]> {
        let Some(view) = self.desc.changing_view() else {
            return Cow::Borrowed(values);
        };
        let texts: Vec<_> = values.iter().map(String::as_str).collect();
        match view.reduce(&texts, makes) {
            Some(reduced) => reduced.texts.into_iter().map(str::to_owned).collect(),
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
                return Err(Error::overflow(&self.desc.name, self.desc.limit));
            }
            (None, _) => true,
        };
        if changed {
            rows.texts = None;
        }
        rows.by_labels.insert(values.to_vec(), row);
        Ok(())
    }

    pub(super) fn remove(&self, values: &[String]) -> bool {
        let mut rows = self.lock();
        rows.texts = None;
        rows.by_labels
            .remove(&*self.reduced(values, false))
            .is_some()
    }

    pub(super) fn retain(&self, mut keep: impl FnMut(&[String]) -> bool) -> usize {
        let mut rows = self.lock();
        let before = rows.by_labels.len();
        rows.by_labels.retain(|values, _| keep(values));
        rows.texts = None;
        before - rows.by_labels.len()
    }

    pub(super) fn clear(&self) {
        let mut rows = self.lock();
        *rows = Rows::default();
        if let Some(view) = self.desc.changing_view() {
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
