//! The constant labels of a family. A `static` borrows them from the program; families built at run
//! time share an allocation.

use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) enum Constants {
    Static(&'static [(&'static str, &'static str)]),
    Owned(Arc<[(Box<str>, Box<str>)]>),
}

impl Constants {
    pub(crate) const NONE: Self = Self::Static(&[]);

    /// Replaces the labels in a `const` context, as [`Text::set`](crate::snapshot::Text::set) does
    /// for texts. The old value is leaked, because its destructor cannot run there.
    pub(crate) const fn set(&mut self, labels: &'static [(&'static str, &'static str)]) {
        std::mem::forget(std::mem::replace(self, Self::Static(labels)));
    }

    /// Appends a label, which allocates a new list.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        *self = Self::owned(self.iter().chain([(name, value)]));
    }

    /// Drops the labels of these names.
    pub(crate) fn remove(&mut self, names: &[String]) {
        let drops = |name: &str| names.iter().any(|dropped| dropped == name);
        if self.names().any(drops) {
            *self = Self::owned(self.iter().filter(|(name, _)| !drops(name)));
        }
    }

    fn owned<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let labels = labels.map(|(name, value)| (name.into(), value.into()));
        Self::Owned(labels.collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let (fixed, owned) = match self {
            Self::Static(labels) => (*labels, &[][..]),
            Self::Owned(labels) => (&[][..], &**labels),
        };
        let owned = owned.iter().map(|(name, value)| (&**name, &**value));
        fixed.iter().copied().chain(owned)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.iter().map(|(name, _)| name)
    }
}

impl PartialEq for Constants {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}
