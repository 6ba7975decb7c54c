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
        let labels = self.iter().chain([(name, value)]);
        *self = Self::Owned(
            labels
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        );
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Static(labels) => labels.len(),
            Self::Owned(labels) => labels.len(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        (0..self.len()).map(move |i| match self {
            Self::Static(labels) => labels[i],
            Self::Owned(labels) => (&*labels[i].0, &*labels[i].1),
        })
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
