//! Notes about names that Prometheus users would not expect. `promtool check metrics` makes the
//! same ones.

use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::{Mutex, PoisonError};

use crate::error::warn;
use crate::snapshot::Kind;

use super::desc::Desc;

/// The number of notes that are logged. A program that makes up names would fill its log, and the
/// memory in which the notes are remembered.
const MOST_NOTES: usize = 100;

/// Logs what `promtool check metrics` would say about a family, once for each text.
pub(crate) fn log_notes(desc: &Desc) {
    if desc.lint {
        notes(desc.kind, &desc.name, &desc.unit, &desc.help, desc.location);
    }
}

/// Logs the notes about a family that is not declared, but written at scrape time.
pub(crate) fn notes(
    kind: Kind,
    name: &str,
    unit: &str,
    help: &str,
    location: &'static Location<'static>,
) {
    let total = if kind == Kind::Counter { "_total" } else { "" };
    let stem = name.strip_suffix(total).unwrap_or(name);
    let has_unit = unit.is_empty() || stem.ends_with(&format!("_{unit}")) || stem == unit;
    let mut notes = Vec::new();
    if !has_unit {
        notes.push(format!(
            "its unit is `{unit}`, so its name should be `{stem}_{unit}{total}`"
        ));
    } else if !name.ends_with(total) {
        notes.push(format!(
            "it is a counter, so its name should be `{name}_total`"
        ));
    }
    if help.is_empty() {
        notes.push("it has no help text".to_owned());
    }
    if notes.is_empty() {
        return;
    }
    let note = format!(
        "family `{name}` at {location}: {}; `registry.lint(false)` switches these notes off",
        notes.join("; ")
    );
    if is_new(&note) {
        warn(&note);
    }
}

/// Returns whether this note was not logged before, and remembers it.
fn is_new(note: &str) -> bool {
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    logged.len() < MOST_NOTES && logged.insert(note.to_owned())
}
