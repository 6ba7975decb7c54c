//! The merger of families of several sources by their names: on a page, each family appears once,
//! and no two families have samples of the same name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::error::{self, Error};

use super::Family;
use super::clash::exposed;
use super::clash_index::{ClashIndex, SHARED_SAMPLES};

/// A family while those of the same name are added.
pub(crate) trait Merging<'a> {
    /// The source of a family.
    type From: Copy;

    /// Begins with the first family of its name.
    fn new(family: &'a Family, from: Self::From) -> Self;

    /// Returns the sum so far, which has the shape of the first family.
    fn family(&self) -> &Family;

    /// Adds a family of the same shape.
    fn add(&mut self, family: &'a Family, from: Self::From);
}

/// Merges the families of all sources, and sorts them by name. One that has samples of an earlier
/// one of another name, or that cannot be added to those of its name, is left out, and the reason
/// is passed to `conflict`. Families of sources that are `checked` have no samples in common.
pub(crate) fn merge_by_name<'a, M: Merging<'a>>(
    families: impl Iterator<Item = (&'a Family, M::From)> + Clone,
    checked: impl Fn(M::From) -> bool,
    mut conflict: impl FnMut(Error),
) -> Vec<M> {
    let has_utf8 = families.clone().any(|(family, _)| family.meta.utf8);
    let mut index = ClashIndex::<&Family>::new(has_utf8);
    let mut places = HashMap::new();
    let mut all: Vec<M> = Vec::new();
    for (family, from) in families {
        match places.entry(family.name()) {
            Entry::Vacant(place) => {
                let find = || index.clash(exposed(family), |other| exposed(other));
                if let Some(other) = (!checked(from)).then(find).flatten() {
                    conflict(clash_on_page(family.name(), other.name()));
                    continue;
                }
                index.insert(exposed(family), &family);
                place.insert(all.len());
                all.push(M::new(family, from));
            }
            Entry::Occupied(place) => {
                let merging = &mut all[*place.get()];
                match merging.family().check_mergeable(family) {
                    Ok(()) => merging.add(family, from),
                    Err(error) => conflict(error),
                }
            }
        }
    }
    all.sort_unstable_by(|one, other| one.family().name().cmp(other.family().name()));
    all
}

fn clash_on_page(name: &str, other: &str) -> Error {
    error::Kind::Taken.error(format_args!(
        "family `{name}` would expose the same samples as `{other}` of another registry on the \
         page, {SHARED_SAMPLES}; rename one of them, or give one registry a prefix \
         (`Registry::set_prefix`)"
    ))
}
