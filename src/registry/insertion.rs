//! Inserts what collectors wrote into a snapshot. Several collectors, and a metric, may write
//! series of one family; only equal label sets clash.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::snapshot::{ClashIndex, Family, Snapshot, Text, labels};
use crate::sync::RandomState;

/// The families that the collectors of a registry have written into a snapshot so far.
#[derive(Default)]
pub(super) struct Insertion {
    /// The families, by the names of their samples. They have no characters to escape.
    samples: ClashIndex<Text>,
    /// The label sets of each family with several writers, constant labels included.
    label_sets: HashMap<Text, HashSet<Text, RandomState>, RandomState>,
}

impl Insertion {
    /// Inserts a family in the order of the names, or adds its series to the family of that name.
    /// `registered` is the registered family that exposes a sample of the same name. `is_own`: it
    /// is one of the crate's own families, which come last, and whose names are distinct.
    ///
    /// # Errors
    ///
    /// Returns what is left out, and why: the family, or single series of it.
    pub(super) fn insert(
        &mut self,
        snapshot: &mut Snapshot,
        family: Family,
        registered: Option<Text>,
        is_own: bool,
    ) -> Result<(), String> {
        let (name, exposed) = (family.meta.name.clone(), family.exposed());
        let other = registered.or_else(|| self.samples.clashing(exposed, &|_| true).cloned());
        match (
            other.filter(|other| *other != name),
            snapshot.position(&name),
        ) {
            (Some(other), _) => Err(format!(
                "writes family `{name}`, which would expose the same samples as `{other}`"
            )),
            (None, Ok(at)) => self.add(&mut snapshot.families[at], family),
            (None, Err(at)) => {
                if !is_own {
                    self.samples.insert(exposed, &name);
                }
                snapshot.families.insert(at, family);
                Ok(())
            }
        }
    }

    /// Adds the series of `theirs` to a family of the same name. Of equal label sets, the first
    /// stays. So do help text and unit.
    fn add(&mut self, ours: &mut Family, mut theirs: Family) -> Result<(), String> {
        let name = theirs.meta.name.clone();
        if ours.kind() != theirs.kind() {
            let (ours, theirs) = (ours.kind().with_article(), theirs.kind().with_article());
            return Err(format!(
                "writes family `{name}` as {theirs}, which a metric or an earlier collector has as \
                 {ours}"
            ));
        }
        ours.check_mergeable(&theirs)
            .map_err(|error| format!("writes series that cannot be added: {error}"))?;
        if ours.meta.constant != theirs.meta.constant {
            if !ours.meta.constant.is_empty() {
                self.label_sets.remove(&name);
            }
            ours.inline_constant_labels();
            theirs.inline_constant_labels();
        }
        let label_sets = match self.label_sets.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(ours.texts.iter().map(label_set).collect()),
        };
        let mut left_out = Vec::new();
        for i in 0..theirs.len() {
            match label_sets.insert(label_set(theirs.texts.get(i))) {
                true => ours.push_from(&theirs, i),
                false => left_out.push(theirs.texts.get(i)),
            }
        }
        let [first, rest @ ..] = &*left_out else {
            return Ok(());
        };
        let and_more = match rest.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        Err(format!(
            "writes series `{}{{{first}}}`{and_more}, which a metric or an earlier collector has",
            theirs.meta.name
        ))
    }
}

/// Returns the text of a label set, with the labels in the order of their names.
fn label_set(text: &str) -> Text {
    Text::from(labels::ordered(text))
}
