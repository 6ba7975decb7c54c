//! Notes about names that Prometheus users would not expect. The rules are those of
//! `tallies-names`, which pages are checked by, too.

use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::Mutex;

use crate::snapshot::{Kind, Text};
use crate::sync::{leaf, lock};
use tallies_names::{Described, Printable, of_family, of_label};

use super::desc::{Desc, Names};

/// The number of notes that are logged. A program that makes up names would fill its log, and the
/// memory in which the notes are remembered.
const MOST_NOTES: usize = 100;

/// Logs what the rules of `tallies-names` say about a family, once for each text.
/// It goes to the program's logger only, for who reads its debug messages: a name is a matter of
/// taste, and often of somebody else's.
pub(crate) fn log_notes(desc: &Desc) {
    if !log::log_enabled!(target: "tallies", log::Level::Debug) {
        return;
    }
    let family = Described {
        name: &desc.name,
        kind: match desc.kind {
            Kind::Info => "info",
            kind => kind.as_text(),
        },
        unit: &desc.unit,
        help: &desc.help,
    };
    let mut notes = of_family(family);
    for label in desc.labels.fixed() {
        notes.extend(of_label(family, label));
    }
    if notes.is_empty() {
        return;
    }
    let notes: Vec<_> = notes.iter().map(|note| &*note.text).collect();
    let note = format!(
        "family `{}` at {}: {}; `registry.set_lint(false)` switches these notes off",
        family.name,
        desc.location,
        notes.join("; ")
    );
    if is_new(&note) {
        log::debug!(target: "tallies", "{}", Printable(&note));
    }
}

/// Logs the notes about a family that is not declared, but written at scrape time.
pub(crate) fn notes(kind: Kind, name: &str, help: &str, location: &'static Location<'static>) {
    let mut desc = Desc::unchecked(Text::from(name), kind, Names::Fixed(&[]), location);
    desc.help = Text::from(help);
    log_notes(&desc);
}

/// Returns whether this note was not logged before, and remembers it.
fn is_new(note: &str) -> bool {
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let _leaf = leaf();
    let mut logged = lock(&LOGGED);
    logged.len() < MOST_NOTES && logged.insert(note.to_owned())
}
