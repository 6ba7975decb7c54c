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

impl<'a, S> NameGroup<'a, S> {
    /// Returns the family that decides the shape: the first one that has a shape.
    fn model(&self) -> &'a Family {
        let mut all = std::iter::once(&self.first).chain(&self.rest);
        let model = all.find(|(family, _)| !family.is_shapeless());
        model.unwrap_or(&self.first).0
    }
}

/// Groups the families of all sources by their names, and sorts the groups. A family that has
/// samples of an earlier one of another name, or that cannot be added to those of its name, is left
/// out, and the reason is passed to `conflict`. Families of sources that are `checked` have no
/// samples in common.
pub(crate) fn merge_by_name<'a, S: Copy>(
    families: impl Iterator<Item = (&'a Family, S)> + Clone,
    checked: impl Fn(S) -> bool,
    mut conflict: impl FnMut(Error),
) -> Vec<NameGroup<'a, S>> {
    let has_utf8 = families.clone().any(|(family, _)| family.meta.utf8);
    let mut index = ClashIndex::<&Family>::new(has_utf8);
    let mut places = HashMap::new();
    let mut all: Vec<NameGroup<'a, S>> = Vec::new();
    for (family, source) in families {
        match places.entry(family.name()) {
            Entry::Vacant(place) => {
                let find = || index.clashing(family.exposed(), &|_| true);
                if let Some(other) = (!checked(source)).then(find).flatten() {
                    let (name, other) = (family.name(), other.name());
                    conflict(ErrorKind::Taken.error(format_args!(
                        "family `{name}` would expose the same samples as `{other}` of another \
                         registry on the page, {SHARED_SAMPLES}; rename one of them, or give one \
                         registry a prefix (`Registry::set_prefix`)"
                    )));
                    continue;
                }
                index.insert(family.exposed(), &family);
                place.insert(all.len());
                let (first, rest) = ((family, source), Vec::new());
                all.push(NameGroup { first, rest });
            }
            Entry::Occupied(place) => {
                let group = &mut all[*place.get()];
                match group.model().check_mergeable(family) {
                    Ok(()) => group.rest.push((family, source)),
                    Err(error) => conflict(error),
                }
            }
        }
    }
    all.sort_unstable_by(|one, other| one.first.0.name().cmp(other.first.0.name()));
    all
}
