//! The errors of names that are taken.

use std::panic::Location;

use crate::error::{Error, ErrorKind};
use crate::family::desc::Desc;
use crate::snapshot::{Difference, Kind, SHARED_SAMPLES};

use super::super::collectors::Collector;

/// The family `owner` has the name of the family `new`. Without a difference, the two are the same
/// family.
pub(super) fn registered(owner: &Desc, new: &Desc, difference: Option<&Difference>) -> Error {
    let (name, rest) = (&owner.name, against(owner, new, difference));
    ErrorKind::Taken.error(format_args!("family `{name}`{rest}"))
}

/// The static `new` is not exported, because the family `owner` has its name.
pub(super) fn not_exported(owner: &Desc, new: &Desc, difference: &Difference) -> Error {
    let (name, rest) = (&owner.name, against(owner, new, Some(difference)));
    let declared = new.location;
    ErrorKind::Taken.error(format_args!(
        "family `{name}`, declared at {declared}, is not exported: it{rest}"
    ))
}

fn against(owner: &Desc, new: &Desc, difference: Option<&Difference>) -> String {
    let end = match difference {
        _ if owner.kind != new.kind => format!("; {} needs another name", new.kind.with_article()),
        None => "; `get_or_register` on its builder returns the registered one".to_owned(),
        Some(difference) => format!(
            ", but with {}{}; make both equal, rename one, or give one a prefix (`.prefix(..)`)",
            difference.property,
            difference.values("there", "here")
        ),
    };
    let (kind, location) = (owner.kind.with_article(), owner.location);
    format!(" is already registered as {kind} at {location}{end}")
}

/// A collector or, if `new` is some, a function that computes a metric of this kind, has the name
/// of the family `owner`.
pub(super) fn taken(owner: &Desc, new: Option<Kind>) -> Error {
    let (name, kind, location) = (&owner.name, owner.kind.with_article(), owner.location);
    let new = new.map_or("a collector", function);
    ErrorKind::Taken.error(format_args!(
        "family `{name}` is already registered as {kind} at {location}; {new} needs another name"
    ))
}

/// The family `new` would expose samples of another one, which was registered at `location`.
pub(super) fn shared_samples(
    other: &str,
    location: &'static Location<'static>,
    new: &str,
) -> Error {
    ErrorKind::Taken.error(format_args!(
        "family `{new}` would expose the same samples as `{other}`, registered at {location}, \
         {SHARED_SAMPLES}; rename one of them"
    ))
}

/// A collector, or a function that computes a metric, has the name.
pub(super) fn has_collector(owner: &Collector) -> Error {
    let (name, location) = (&owner.name, owner.location);
    let owner = owner.kind.map_or("a collector", function);
    ErrorKind::Taken.error(format_args!(
        "the name `{name}` is already registered for {owner} at {location}; use another name, or \
         remove that one first"
    ))
}

/// Returns the method that registers a function for a metric of this kind.
fn function(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "`counter_fn`",
        _ => "`gauge_fn`",
    }
}
