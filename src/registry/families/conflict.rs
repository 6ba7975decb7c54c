//! The errors of names that are taken.

use std::panic::Location;

use crate::error::{self, Error};
use crate::family::desc::Desc;
use crate::snapshot::clash_index::SHARED_SAMPLES;
use crate::snapshot::{Difference, Kind};

/// Where a family was declared or registered.
type Site = &'static Location<'static>;

/// A family that has a name.
pub(crate) struct Owner<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    pub(crate) location: Site,
}

impl<'a> Owner<'a> {
    pub(super) fn of(desc: &'a Desc) -> Self {
        Self {
            name: &desc.name,
            kind: desc.kind,
            location: desc.location,
        }
    }

    /// Another family has the name. Without a difference, the two are the same family.
    pub(crate) fn registered(&self, new: Kind, difference: Option<&Difference>) -> Error {
        let (name, rest) = (self.name, self.against(new, difference));
        error::Kind::Taken.error(format_args!("family `{name}`{rest}"))
    }

    /// A static, declared at `declared`, is not exported because its name is taken.
    pub(super) fn not_exported(
        &self,
        declared: Site,
        new: Kind,
        difference: Option<&Difference>,
    ) -> Error {
        let (name, rest) = (self.name, self.against(new, difference));
        error::Kind::Taken.error(format_args!(
            "family `{name}`, declared at {declared}, is not exported: it{rest}"
        ))
    }

    fn against(&self, new: Kind, difference: Option<&Difference>) -> String {
        let end = match difference {
            _ if self.kind != new => format!("; {} needs another name", new.with_article()),
            None => "; `get_or_register` on its builder returns the registered one".to_owned(),
            Some(difference) => format!(
                ", but with {}{}; make both equal, rename one, or give one a prefix (`.prefix(..)`)",
                difference.property,
                difference.values("there", "here")
            ),
        };
        let (kind, location) = (self.kind.with_article(), self.location);
        format!(" is already registered as {kind} at {location}{end}")
    }

    /// A collector or, if `new` is some, a function that computes a metric of this kind, has the
    /// name of this family.
    pub(crate) fn taken(&self, new: Option<Kind>) -> Error {
        let (name, kind, location) = (self.name, self.kind.with_article(), self.location);
        let new = new.map_or("a collector", function);
        error::Kind::Taken.error(format_args!(
            "family `{name}` is already registered as {kind} at {location}; {new} needs another name"
        ))
    }

    /// A family would expose samples of this one.
    pub(super) fn shared_samples(&self, new: &str) -> Error {
        let (other, location) = (self.name, self.location);
        error::Kind::Taken.error(format_args!(
            "family `{new}` would expose the same samples as `{other}`, registered at {location}, \
             {SHARED_SAMPLES}; rename one of them"
        ))
    }
}

/// A collector has the name or, if `kind` is some, a function that computes a metric of this kind.
pub(crate) fn has_collector(name: &str, kind: Option<Kind>, location: Site) -> Error {
    let owner = kind.map_or("a collector", function);
    error::Kind::Taken.error(format_args!(
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
