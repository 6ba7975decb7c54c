//! The merger of families of several sources by their names: on a page, each family appears once,
//! and no two families have samples of the same name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::error::{Error, ErrorKind};

use super::{ClashIndex, Family, SHARED_SAMPLES};

/// The families of one name, each with its source. They can be added up.
pub(crate) struct NameGroup<'a, S> {
    pub(crate) first: (&'a Family, S),
    pub(crate) rest: Vec<(&'a Family, S)>,
}

impl<'a, S: Copy> NameGroup<'a, S> {
    /// Returns the family that decides the shape: the first one that has a shape.
    fn model(&self) -> (&'a Family, S) {
        let mut all = std::iter::once(&self.first).chain(&self.rest);
        let model = all.find(|(family, _)| !family.is_shapeless());
        *model.unwrap_or(&self.first)
    }
}

/// A family that is left out.
pub(crate) struct Conflict<'a, S> {
    pub(crate) left_out: (&'a Family, S),
    /// The family that it conflicts with.
    pub(crate) beside: (&'a Family, S),
    pub(crate) why: Error,
}

/// Groups the families of all sources by their names, and sorts the groups. A family that has
/// samples of an earlier one of another name, or that cannot be added to those of its name, is left
/// out, and passed to `conflict`. Families of sources that are `checked` have no samples in common.
pub(crate) fn merge_by_name<'a, S: Copy>(
    families: impl Iterator<Item = (&'a Family, S)> + Clone,
    checked: impl Fn(S) -> bool,
    mut conflict: impl FnMut(Conflict<'a, S>),
) -> Vec<NameGroup<'a, S>> {
    let has_utf8 = families.clone().any(|(family, _)| family.meta.utf8);
    let mut index = ClashIndex::<(&'a Family, S)>::new(has_utf8);
    let mut places = HashMap::new();
    let mut all: Vec<NameGroup<'a, S>> = Vec::new();
    for (family, source) in families {
        let left_out = (family, source);
        match places.entry(family.name()) {
            Entry::Vacant(place) => {
                let find = || index.clashing(family.exposed(), &|_| true);
                if let Some(other) = (!checked(source)).then(find).flatten() {
                    let (beside, other) = (*other, other.0.name());
                    let why = ErrorKind::Taken.error(format_args!(
                        "family `{}` would expose the same samples as `{other}` of another source, \
                         {SHARED_SAMPLES}; rename one of them, or give one registry a prefix \
                         (`Registry::set_prefix`)",
                        family.name()
                    ));
                    conflict(Conflict {
                        left_out,
                        beside,
                        why,
                    });
                    continue;
                }
                index.insert(family.exposed(), &left_out);
                place.insert(all.len());
                all.push(NameGroup {
                    first: left_out,
                    rest: Vec::new(),
                });
            }
            Entry::Occupied(place) => {
                let group = &mut all[*place.get()];
                let beside = group.model();
                // The exact kind: an info with the value of a gauge is no page.
                let is_same = beside.0.check_kind(family);
                match is_same.and_then(|()| beside.0.check_mergeable(family)) {
                    Ok(()) => group.rest.push(left_out),
                    Err(why) => conflict(Conflict {
                        left_out,
                        beside,
                        why,
                    }),
                }
            }
        }
    }
    all.sort_unstable_by(|one, other| one.first.0.name().cmp(other.first.0.name()));
    all
}
